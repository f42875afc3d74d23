/* SPDX-License-Identifier: BSD-2-Clause */
/* srplay - plays video with neural super-resolution. docs/srplay.md. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libavutil/log.h>

#include "base.h"
#include "options.h"

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_USAGE = 1,
    EXIT_STATUS_NOT_PLAYED = 2,
    EXIT_STATUS_PARTLY = 3,
    EXIT_STATUS_INTERRUPTED = 4,
    EXIT_STATUS_VERIFY = 5,
};

/* SIGINT and SIGTERM are waited for by a thread of their own: it sets `stop`, and helps out when
 * playback hangs in something that cannot be interrupted. */
struct signals {
    sigset_t set;
    pthread_t thread;
    atomic_int stop;
    atomic_bool over;
};

static void *wait_for_signals(void *opaque)
{
    struct signals *s = opaque;
    const struct timespec tick = {.tv_nsec = 100000000};
    int ticks_left = 30;
    while (!atomic_load(&s->over)) {
        int number = sigtimedwait(&s->set, NULL, &tick);
        bool asked = atomic_load(&s->stop) != 0;
        if (number > 0 && !asked) {
            atomic_store(&s->stop, number);
        } else if (asked && (number > 0 || --ticks_left == 0)) {
            _exit(EXIT_STATUS_INTERRUPTED); /* asked twice, or three seconds without an answer */
        }
    }
    return NULL;
}

static void start_signals(struct signals *s)
{
    atomic_init(&s->stop, 0);
    atomic_init(&s->over, false);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the dump, not of the process */
    sigemptyset(&s->set);
    sigaddset(&s->set, SIGINT);
    sigaddset(&s->set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &s->set, NULL); /* before any other thread: they inherit it */
    if (pthread_create(&s->thread, NULL, wait_for_signals, s) != 0) {
        pthread_sigmask(SIG_UNBLOCK, &s->set, NULL);
        atomic_store(&s->over, true);
    }
}

static void end_signals(struct signals *s)
{
    if (!atomic_exchange(&s->over, true)) {
        pthread_join(s->thread, NULL);
    }
}

static bool refused(enum srp_err code)
{
    return code == SRP_ERR_HASH || code == SRP_ERR_SIZE;
}

static enum exit_status status_of(enum srp_err begun, const struct sp_playback_stats *s)
{
    if (s->interrupted) {
        return EXIT_STATUS_INTERRUPTED;
    }
    if (begun == SRP_ERR_USAGE || begun == SRP_ERR_DEVICE) {
        return EXIT_STATUS_USAGE;
    }
    bool failed = s->error.code != SRP_OK;
    if (s->frames == 0) {
        return failed && refused(s->error.code) ? EXIT_STATUS_VERIFY : EXIT_STATUS_NOT_PLAYED;
    }
    return failed || s->media.damaged_chunks > 0 ? EXIT_STATUS_PARTLY : EXIT_STATUS_OK;
}

static enum exit_status play(struct sp_options *o, struct sp_log *log)
{
    struct signals signals;
    struct sp_playback_stats stats;
    struct srp_error err = {.code = SRP_OK};
    start_signals(&signals);
    o->playback.log = log;
    o->playback.stop = &signals.stop;
    enum srp_err begun = sp_playback_run(&o->playback, &stats, &err);
    end_signals(&signals);
    if (begun != SRP_OK && atomic_load(&signals.stop)) {
        stats.interrupted = true;
    }
    enum exit_status status = status_of(begun, &stats);
    if (stats.error.code != SRP_OK) {
        sp_log(log, SP_LOG_ERROR, "%s", stats.error.detail);
    } else if (stats.frames == 0 && !stats.interrupted) {
        sp_log(log, SP_LOG_ERROR, "%s: no picture could be decoded", o->playback.media.url);
    }
    if (begun == SRP_OK) {
        char verdict[512];
        sp_stats_verdict(&stats, verdict, sizeof verdict);
        sp_log(log, SP_LOG_INFO, "%s", verdict);
    }
    if (o->stats && sp_stats_write(&stats, o->stats, &err) != SRP_OK) {
        sp_log(log, SP_LOG_ERROR, "%s", err.detail);
        status = status == EXIT_STATUS_OK ? EXIT_STATUS_PARTLY : status;
    }
    return status;
}

static bool log_to(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    bool ok = fd >= 0 && dup2(fd, STDERR_FILENO) >= 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

int main(int argc, char **argv)
{
    struct sp_options options;
    struct srp_error err = {.code = SRP_OK};
    struct sp_log log = {.program = "srplay", .level = SP_LOG_INFO};
    sp_return_memory();
    if (sp_options_parse(&options, argc, argv, &err) != SRP_OK) {
        sp_log(&log, SP_LOG_ERROR, "%s", err.detail);
        return EXIT_STATUS_USAGE;
    }
    if (options.help || options.version) {
        (options.help ? sp_options_help : sp_options_version)(stdout);
        return fflush(stdout) == 0 ? EXIT_STATUS_OK : EXIT_STATUS_NOT_PLAYED;
    }
    log.level = options.level;
    av_log_set_level(options.level >= SP_LOG_DEBUG ? AV_LOG_WARNING : AV_LOG_QUIET);
    if (options.log_file && !log_to(options.log_file)) {
        sp_log(&log, SP_LOG_ERROR, "%s: %s", options.log_file, strerror(errno));
        return EXIT_STATUS_USAGE;
    }
    return (int)play(&options, &log);
}
