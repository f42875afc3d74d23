/* SPDX-License-Identifier: BSD-2-Clause */
/* playback.h - plays one medium from beginning to end: the core of srplay and of `srbench play`.
 *
 * No state outlives a call, and nothing is global but what SDL keeps itself. */
#ifndef SP_PLAYBACK_H
#define SP_PLAYBACK_H

#include <stdatomic.h>

#include "pipeline.h"

enum sp_compare { SP_COMPARE_OFF = 0, SP_COMPARE_SPLIT, SP_COMPARE_SIDE };

/* Zero-initialised parameters play in real time, headless, with SR and silently. */
struct sp_playback_params {
    struct sp_media_params media; /* url, cache, models; log is filled in from below */
    enum srp_backend backend;
    enum srp_dtype dtype;
    uint32_t threads;          /* of the upscaler; 0: one per core */
    enum sp_sr_mode sr;
    enum sp_route_mode route;  /* budget, unless set; without a limit where nothing is degraded */
    enum sp_compare compare;
    double start, length;      /* seconds; length 0: to the end */
    uint64_t frames;           /* 0: all */
    bool display;              /* a window; otherwise headless */
    /* as fast as it goes, without sound; no frame is degraded or dropped */
    bool untimed;
    bool sound;
    bool paused, loop, mute, fullscreen;
    int volume;                /* 0..100 */
    const char *geometry;      /* see present.h */
    const char *screenshot_dir;
    /* see output.h; no frame is degraded or dropped; headless: untimed */
    const char *dump;
    const atomic_int *stop;    /* ends playback soon after it becomes nonzero; may be NULL */
    struct sp_log *log;
};

/* SRP_OK: something was played or the medium was empty; stats->error and stats->interrupted tell
 * how it ended. Other values: it could not begin (medium, display, dump file), *err says why,
 * and stats are zero but for error. */
enum srp_err sp_playback_run(const struct sp_playback_params *params,
                             struct sp_playback_stats *stats, struct srp_error *err);

#endif
