/* SPDX-License-Identifier: BSD-2-Clause */
/* stats.h - what happened during playback: one structure behind the overlay, the log, --stats
 * and srbench, so that they cannot disagree. docs/srplay.md describes the keys of the JSON form. */
#ifndef SP_STATS_H
#define SP_STATS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <srp/limits.h>

#include "media.h"
#include "route.h"

enum sp_stage { SP_STAGE_DECODE, SP_STAGE_UPSCALE, SP_STAGE_PRESENT, SP_STAGE_COUNT };
const char *sp_stage_name(enum sp_stage stage);

enum { SP_NO_SR_COUNT = SP_NO_SR_SIZE + 1 };
/* The key of a reason in JSON, for example "not_verified". */
const char *sp_no_sr_key(enum sp_no_sr reason);

enum { SP_NO_ROUTES_COUNT = SP_NO_ROUTES_USER + 1 };
const char *sp_no_routes_key(enum sp_no_routes reason);

/* Distribution of times in fixed memory: logarithmic buckets of 1 %, 1 us .. 100 s. */
enum { SP_HISTOGRAM_BUCKETS = 1860 };
struct sp_histogram {
    uint32_t bucket[SP_HISTOGRAM_BUCKETS];
    uint64_t count;
    double sum, max, last; /* seconds */
};
void sp_histogram_add(struct sp_histogram *h, double seconds);
/* share 0..1; 0 when nothing was added. Exact to 1 %. */
double sp_histogram_quantile(const struct sp_histogram *h, double share);

struct sp_stage_times { /* milliseconds */
    double avg, p50, p95, p99, max;
};

/* The result of sp_playback_run. frames = upscaled + not_upscaled + dropped. */
struct sp_playback_stats {
    uint64_t frames;       /* decoded and accounted for; frames thrown away by a seek are not */
    uint64_t upscaled;     /* shown, made by the model */
    uint64_t not_upscaled; /* shown, made by the base upscaler; by reason: */
    uint64_t not_upscaled_by[SP_NO_SR_COUNT];
    /* upscaled = routed + by_default: each cell by its own path; the default path everywhere */
    uint64_t routed, by_default, by_default_by[SP_NO_ROUTES_COUNT];
    struct sp_route_counts route; /* of the routed frames */
    uint64_t late;         /* output was ready after its due time (shown or not) */
    uint64_t dropped;      /* never shown */
    uint64_t stalls;       /* playback waited for data */
    double fps;            /* shown frames per second of wall time, standstills included */
    double duration;       /* seconds from the first to the last picture, wall time */
    double media_duration; /* seconds of the medium that were accounted for */
    double frame_time;     /* seconds */
    double av_offset;      /* mean of clock minus picture at the moment of showing, seconds */
    struct sp_stage_times stage[SP_STAGE_COUNT];
    uint64_t peak_rss_bytes, arena_bytes;
    uint32_t lr_width, lr_height, out_width, out_height, scale, threads;
    char model[SRP_MAX_NAME + 1]; /* of the last upscaled frame; "" none */
    char backend[32], isa[32], dtype[16];
    bool untimed, audio, interrupted;
    struct sp_media_stats media;
    struct srp_error error;       /* why playback ended early; code SRP_OK: it did not */
};

/* Collects while threads run. Thread-safe. */
struct sp_meter {
    pthread_mutex_t lock;
    struct sp_histogram stage[SP_STAGE_COUNT];
    struct sp_playback_stats s; /* counters alone; times are made by sp_meter_read */
    double av_sum, first_shown, last_shown;
    uint64_t shown;
};
struct sp_meter *sp_meter_create(void); /* NULL: no memory */
void sp_meter_destroy(struct sp_meter **m);
void sp_meter_stage(struct sp_meter *m, enum sp_stage stage, double seconds);
/* A frame was put on the screen at `now`; reason SP_SR_READY: upscaled. */
void sp_meter_shown(struct sp_meter *m, double now, double av_offset, enum sp_no_sr reason,
                    double duration);
/* An upscaled frame was shown; counts: of its cells, or NULL: the default path, for this reason. */
void sp_meter_route(struct sp_meter *m, const struct sp_route_counts *counts,
                    enum sp_no_routes reason);
/* The clock begins to run. Time that the first picture stood before is not counted. */
void sp_meter_go(struct sp_meter *m, double now);
void sp_meter_dropped(struct sp_meter *m, double duration);
void sp_meter_late(struct sp_meter *m);
void sp_meter_stall(struct sp_meter *m);
void sp_meter_engine(struct sp_meter *m, const char *model, const struct srp_executor_info *info);
void sp_meter_read(struct sp_meter *m, struct sp_playback_stats *stats);

/* One sentence: could this machine keep up, and was SR applied? */
void sp_stats_verdict(const struct sp_playback_stats *s, char *text, size_t size);
/* Line 1 of the overlay: the truth about one frame. reason SP_SR_READY: it was upscaled. */
void sp_stats_status(const struct sp_playback_stats *s, enum sp_no_sr reason, uint32_t chunk,
                     double upscale_seconds, double av_offset, char *text, size_t size);
/* Cells by path so far, for the overlay and tables: "12 30 6 cells by path, 40 kept, 35.1% MAC". */
void sp_stats_routes(const struct sp_route_counts *counts, char *text, size_t size);
/* The same for JSON; docs/srbench.md has the keys. */
json_t *sp_stats_routes_json(const struct sp_playback_stats *s);
/* Writes the JSON object and a newline to path; "-" is stdout. */
enum srp_err sp_stats_write(const struct sp_playback_stats *s, const char *path,
                            struct srp_error *err);

#endif
