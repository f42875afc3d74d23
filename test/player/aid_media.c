/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens a medium and prints what comes out of it, one line per event, for the tests in Python.
 *
 *     aid_media URL [option value]...
 *
 *     --cache DIR  --models DIR  --model NAME  --scale N  --start-wait MS  --attempts N  --stall S
 *
 *     --frames N (0: all)  --seek SECONDS  --key 1  --audio 1  --exact 1  --no-model 1
 *
 *     --interrupt MS (another thread interrupts after so long)
 *     --rounds N (open and close so often)
 *
 *     --pace MS (sleeps after each frame) */
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libavutil/adler32.h>
#include <libavutil/pixdesc.h>

#include "media.h"

struct options {
    const char *url, *cache, *models, *model;
    long frames, scale, start_wait, attempts, stall, key, audio, exact, no_model, interrupt, rounds,
        pace, ring;
    double seek;
};

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static bool set_option(struct options *o, const char *name, const char *value)
{
    struct {
        const char *name;
        const char **text;
        long *number;
    } table[] = {
        {"--cache", &o->cache, NULL},       {"--models", &o->models, NULL},
        {"--model", &o->model, NULL},       {"--frames", NULL, &o->frames},
        {"--scale", NULL, &o->scale},       {"--start-wait", NULL, &o->start_wait},
        {"--attempts", NULL, &o->attempts}, {"--stall", NULL, &o->stall},
        {"--key", NULL, &o->key},           {"--audio", NULL, &o->audio},
        {"--exact", NULL, &o->exact},       {"--no-model", NULL, &o->no_model},
        {"--interrupt", NULL, &o->interrupt}, {"--rounds", NULL, &o->rounds},
        {"--pace", NULL, &o->pace},
    };

    if (strcmp(name, "--seek") == 0) {
        o->seek = atof(value);
        return true;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(name, table[i].name) == 0) {
            if (table[i].text != NULL) {
                *table[i].text = value;
            } else {
                *table[i].number = atol(value);
            }
            return true;
        }
    }
    return false;
}

static uint32_t checksum(const AVFrame *frame)
{
    uint32_t sum = 1;

    for (int plane = 0; plane < 3; plane++) {
        int shift = plane > 0 ? 1 : 0;
        int width = (frame->width + shift) >> shift, height = (frame->height + shift) >> shift;
        for (int y = 0; y < height; y++) {
            sum = av_adler32_update(sum, frame->data[plane] + y * frame->linesize[plane],
                                    (unsigned)width);
        }
    }
    return sum;
}

static void print_info(struct sp_media *m)
{
    struct sp_media_info info;

    sp_media_get_info(m, &info);
    printf("info package=%d size=%ux%u out=%ux%u scale=%u rate=%d/%d duration=%.3f audio=%d/%d/%d "
           "model=%s\n",
           info.package != NULL, info.width, info.height, info.out_width, info.out_height,
           info.scale, info.frame_rate_num, info.frame_rate_den, info.duration, info.has_audio,
           info.audio_rate, info.audio_channels, info.model_name != NULL ? info.model_name : "-");
}

static void print_stats(struct sp_media *m)
{
    struct sp_media_stats s;

    sp_media_get_stats(m, &s);
    printf("stats received=%" PRIu64 " video=%" PRIu64 " audio=%" PRIu64 " parameters=%" PRIu64
           " hits=%" PRIu64 " misses=%" PRIu64 " retries=%" PRIu64 " hash=%" PRIu64
           " damaged=%" PRIu64 " status=%ld\n",
           s.bytes_received, s.bytes_video, s.bytes_audio, s.bytes_parameters, s.cache_hits,
           s.cache_misses, s.retries, s.hash_failures, s.damaged_chunks, s.last_http_status);
}

static const char *model_name(const struct srp_model *model)
{
    struct srp_model_info info;

    if (model == NULL) {
        return "-";
    }
    srp_model_get_info(model, &info);
    return info.name;
}

static int read_video(struct sp_media *m, const struct options *o)
{
    AVFrame *frame = av_frame_alloc();
    struct srp_error err = {0};
    struct sp_frame_meta meta;
    struct srp_picture picture;
    int r = 1;

    for (long n = 0; frame != NULL && (o->frames == 0 || n < o->frames); n++) {
        r = sp_media_read_video(m, frame, &meta, &err);
        if (r <= 0) {
            break;
        }
        sp_picture_from_frame(&picture, frame, (uint32_t)frame->height);
        printf("frame pts=%.5f index=%" PRIu64 " chunk=%u sum=%08" PRIx32 " size=%dx%d format=%s "
               "matrix=%d range=%d chroma=%d key=%d model=%s no_sr=%d place=%u no_routes=%d\n",
               meta.pts, meta.index, meta.chunk, checksum(frame), frame->width, frame->height,
               av_get_pix_fmt_name((enum AVPixelFormat)frame->format), picture.matrix,
               picture.range, picture.chroma, meta.key, model_name(meta.model), meta.no_sr,
               meta.routes_frame, meta.no_routes);
        if (o->pace > 0) {
            fflush(stdout);
            sleep_ms(o->pace);
        }
        av_frame_unref(frame);
    }
    av_frame_free(&frame);
    if (r < 0) {
        printf("error %d %s\n", r, err.detail);
    } else if (r == 0) {
        printf("end\n");
    }
    return r;
}

static int read_audio(struct sp_media *m)
{
    AVFrame *frame = av_frame_alloc();
    struct srp_error err = {0};
    double pts = 0;
    int r = 1;

    while (frame != NULL && (r = sp_media_read_audio(m, frame, &pts, &err)) > 0) {
        printf("audio pts=%.5f samples=%d rate=%d\n", pts, frame->nb_samples, frame->sample_rate);
        av_frame_unref(frame);
    }
    av_frame_free(&frame);
    printf(r < 0 ? "error %d %s\n" : "audio-end\n", r, err.detail);
    return r;
}

struct interrupter {
    struct sp_media *media;
    long ms;
};

static void *interrupt_main(void *user)
{
    struct interrupter *i = user;

    sleep_ms(i->ms);
    sp_media_interrupt(i->media);
    return NULL;
}

static int one_round(const struct options *o)
{
    struct sp_log log = {.program = "aid", .level = SP_LOG_INFO};
    struct sp_net_limits net = {.attempts = o->attempts > 0 ? (uint32_t)o->attempts : 3,
                                .backoff_ms = 20,
                                .backoff_max_ms = 1500,
                                .connect_ms = 2000,
                                .low_speed_bytes = 1000,
                                .low_speed_s = o->stall > 0 ? (uint32_t)o->stall : 1};
    struct sp_media_params params = {.url = o->url,
                                     .cache_dir = o->cache != NULL ? o->cache : "",
                                     .models_dir = o->models,
                                     .model_name = o->model,
                                     .no_model = o->no_model != 0,
                                     .plain_scale = (uint32_t)o->scale,
                                     .exact_bytes = o->exact != 0,
                                     .start_wait_ms = (uint32_t)o->start_wait,
                                     .decode_threads = 2,
                                     .log = &log,
                                     .net = &net};
    struct sp_media *m = NULL;
    struct srp_error err = {0};
    struct interrupter interrupter = {NULL, o->interrupt};
    pthread_t thread;
    enum srp_err code = sp_media_open(&m, &params, &err);

    if (code != SRP_OK) {
        printf("open-error %d %s\n", code, err.detail);
        return 1;
    }
    print_info(m);
    interrupter.media = m;
    if (o->interrupt > 0 && pthread_create(&thread, NULL, interrupt_main, &interrupter) != 0) {
        return 2;
    }
    if (o->seek >= 0) {
        code = sp_media_seek(m, o->seek, o->key == 0, &err);
        if (code != SRP_OK) {
            printf("seek-error %d %s\n", code, err.detail);
        }
    }
    int r = code == SRP_OK ? read_video(m, o) : -1;
    if (r >= 0 && o->audio != 0) {
        r = read_audio(m);
    }
    print_stats(m);
    if (o->interrupt > 0) {
        pthread_join(thread, NULL);
    }
    sp_media_close(&m);
    return r < 0 ? 1 : 0;
}

static int count_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;

    while (dir != NULL && readdir(dir) != NULL) {
        n++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

int main(int argc, char **argv)
{
    struct options o = {.seek = -1, .rounds = 1};
    int r = 0;

    if (argc < 2) {
        return 2;
    }
    o.url = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        if (!set_option(&o, argv[i], argv[i + 1])) {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    for (long i = 0; i < o.rounds; i++) {
        r = one_round(&o);
        printf("round fds=%d threads=%d\n", count_entries("/proc/self/fd"),
               count_entries("/proc/self/task"));
    }
    return r;
}
