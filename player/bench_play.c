/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole pipeline of srplay without a window, a clock or sound: how fast this machine can go. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include <libavutil/log.h>
#include <srp/limits.h>

#include "bench.h"
#include "playback.h"
#include "tool.h"

struct play_options {
    struct sp_playback_params playback;
    struct sp_bench_way way;
    bool json;
};

static int parse(struct play_options *o, int argc, char **argv)
{
    static const struct option options[] = {
        {"frames", required_argument, NULL, 'n'},  {"threads", required_argument, NULL, 't'},
        {"backend", required_argument, NULL, 'b'}, {"model", required_argument, NULL, 'm'},
        {"dtype", required_argument, NULL, 'd'},   {"route", required_argument, NULL, 'R'},
        {"no-sr", no_argument, NULL, 'S'},
        {"no-audio", no_argument, NULL, 'A'},      {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0}};
    struct sp_playback_params *p = &o->playback;
    int c = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        const char *why = NULL;
        if (sp_bench_option(&o->way, &p->frames, c, optarg, &why)) {
            if (why) {
                return sp_bench_usage("play", why, optarg);
            }
            continue;
        }
        switch (c) {
        case 'R':
            why = sp_route_from_name(&p->route, optarg) ? NULL
                                                        : "--route takes budget, exact or off, not";
            break;
        case 'm':
            p->media.model_name = optarg;
            break;
        case 'S':
            p->sr = SP_SR_OFF;
            break;
        case 'A':
            break; /* an untimed run never has sound */
        case 'j':
            o->json = true;
            break;
        default:
            return sp_bench_usage("play", NULL, argv[optind - 1]);
        }
        if (why) {
            return sp_bench_usage("play", why, optarg);
        }
    }
    if (argc - optind != 1) {
        const char *what = optind < argc ? argv[optind + 1] : "none";
        return sp_bench_usage("play", "takes one manifest, playlist or video, not", what);
    }
    p->media.url = argv[optind];
    p->threads = o->way.threads;
    p->backend = o->way.backend;
    p->dtype = o->way.dtype;
    return SP_EXIT_OK;
}

static int report_json(const struct sp_playback_stats *s)
{
    json_t *stages = json_object();
    for (int i = 0; i < SP_STAGE_COUNT; i++) {
        const struct sp_stage_times *t = &s->stage[i];
        json_object_set_new(
            stages, sp_stage_name((enum sp_stage)i),
            json_pack("{s:f,s:f,s:f}", "p50", t->p50, "p95", t->p95, "p99", t->p99));
    }
    return sp_tool_print_json(
        SP_BENCH_PROGRAM,
        json_pack("{s:f,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:I,s:I,s:s,s:s,s:s,s:s,s:I,s:I,s:I}", "fps",
                  s->fps, "frames", (json_int_t)s->frames, "upscaled", (json_int_t)s->upscaled,
                  "not_upscaled", (json_int_t)s->not_upscaled, "late", (json_int_t)s->late,
                  "dropped", (json_int_t)s->dropped, "stage_ms", stages, "routes",
                  sp_stats_routes_json(s), "peak_rss_bytes",
                  (json_int_t)s->peak_rss_bytes, "arena_bytes", (json_int_t)s->arena_bytes, "model",
                  s->model, "backend", s->backend, "dtype", s->dtype, "isa", s->isa, "threads",
                  (json_int_t)s->threads, "width", (json_int_t)s->out_width, "height",
                  (json_int_t)s->out_height));
}

static void report_table(const struct sp_playback_stats *s)
{
    char rss[32], arena[32];
    printf("%.2f frames/s: %llu frames of %ux%u -> %ux%u, %llu upscaled, %llu not, %llu late, "
           "%llu dropped\n",
           s->fps, (unsigned long long)s->frames, s->lr_width, s->lr_height, s->out_width,
           s->out_height, (unsigned long long)s->upscaled, (unsigned long long)s->not_upscaled,
           (unsigned long long)s->late, (unsigned long long)s->dropped);
    if (s->upscaled > 0) {
        printf("model %s, %s, %s, %s, %u threads\n", s->model, s->backend, s->dtype, s->isa,
               s->threads);
    }
    if (s->routed > 0) {
        char counts[160];
        sp_stats_routes(&s->route, counts, sizeof counts);
        printf("routes: %llu frames, %s; %llu frames by the default path\n",
               (unsigned long long)s->routed, counts, (unsigned long long)s->by_default);
    }
    printf("\nmilliseconds %10s %10s %10s\n", "p50", "p95", "p99");
    for (int i = 0; i < SP_STAGE_COUNT; i++) {
        const struct sp_stage_times *t = &s->stage[i];
        printf("%-12s %10.3f %10.3f %10.3f\n", sp_stage_name((enum sp_stage)i), t->p50, t->p95,
               t->p99);
    }
    printf("\nmemory       %s at most, arena %s\n",
           sp_tool_bytes(rss, sizeof rss, (double)s->peak_rss_bytes),
           sp_tool_bytes(arena, sizeof arena, (double)s->arena_bytes));
}

int sp_bench_play(int argc, char **argv)
{
    static struct sp_log log = {.program = SP_BENCH_PROGRAM, .level = SP_LOG_WARN};
    struct play_options o = {.playback = {.media = {.cache_dir = "", .exact_bytes = true},
                                          .untimed = true,
                                          .route = SP_ROUTE_EXACT,
                                          .log = &log}};
    struct srp_error err = {.code = SRP_OK};
    struct sp_playback_stats *stats = calloc(1, sizeof *stats);
    if (!stats) {
        sp_tool_complain(SP_BENCH_PROGRAM, "play: out of memory");
        return SP_EXIT_FAILED;
    }
    int status = parse(&o, argc, argv);
    if (status != SP_EXIT_OK) {
        free(stats);
        return status;
    }
    av_log_set_level(AV_LOG_QUIET);
    enum srp_err code = sp_playback_run(&o.playback, stats, &err);
    if (code == SRP_OK && stats->error.code != SRP_OK) {
        code = stats->error.code;
        err = stats->error;
    }
    if (code != SRP_OK) {
        sp_tool_complain(SP_BENCH_PROGRAM, "play: %s", err.detail);
        status = sp_tool_status(code);
    } else if (stats->frames == 0) {
        sp_tool_complain(SP_BENCH_PROGRAM, "play: %s: no frames", o.playback.media.url);
        status = SP_EXIT_FAILED;
    } else if (o.json) {
        status = report_json(stats);
    } else {
        report_table(stats);
    }
    if (status == SP_EXIT_OK && stats->not_upscaled_by[SP_NO_SR_NOT_VERIFIED] > 0) {
        sp_tool_complain(SP_BENCH_PROGRAM, "play: %llu frames without SR: %s",
                         (unsigned long long)stats->not_upscaled_by[SP_NO_SR_NOT_VERIFIED],
                         sp_no_sr_text(SP_NO_SR_NOT_VERIFIED));
        status = SP_EXIT_VERIFY;
    }
    for (int i = SP_NO_ROUTES_NONE; i < SP_NO_ROUTES_COUNT && status != SP_EXIT_FAILED; i++) {
        const bool refused = i == SP_NO_ROUTES_NOT_VERIFIED || i == SP_NO_ROUTES_MISMATCH;
        if (refused && stats->by_default_by[i] > 0) {
            sp_tool_complain(SP_BENCH_PROGRAM, "play: %llu frames by the default path: %s",
                             (unsigned long long)stats->by_default_by[i],
                             sp_no_routes_text((enum sp_no_routes)i));
            status = SP_EXIT_VERIFY;
        }
    }
    free(stats);
    return status;
}
