/* SPDX-License-Identifier: BSD-2-Clause */
/* pipeline.h - from a medium to finished pictures: one thread reads and decodes, one upscales,
 * the owner takes pictures in order. All memory for pictures is there before the first frame.
 *
 * Functions are for the owner's thread alone. */
#ifndef SP_PIPELINE_H
#define SP_PIPELINE_H

#include "audio.h"
#include "route.h"
#include "stats.h"
#include "timing.h"

enum sp_sr_mode { SP_SR_AUTO = 0, SP_SR_ON, SP_SR_OFF };

struct sp_pipeline;

struct sp_pipeline_params { /* everything borrowed, for as long as the pipeline lives */
    struct sp_media *media;
    struct sp_audio *audio; /* parked while seeking; may be NULL */
    struct sp_clock *clock;
    struct sp_meter *meter;
    struct sp_log *log;
    enum srp_backend backend;
    enum srp_dtype dtype;
    uint32_t threads;
    enum sp_sr_mode sr;
    enum sp_route_mode route;
    bool compare;        /* make the base picture of each frame too */
    bool lossless;       /* never degrade or drop */
    double start;        /* begin at this second of the medium */
    double end;          /* stop at this second of the medium; 0: at its end */
    uint64_t max_frames; /* stop after so many frames read; 0: no limit */
};

/* A finished picture. The owner holds it from _take to _release. */
struct sp_frame {
    struct srp_picture picture; /* YUV420 */
    struct srp_picture base;    /* by the base upscaler; valid when has_base */
    bool has_base;
    struct sp_frame_meta meta;  /* without the model and the routes */
    enum sp_no_sr reason;       /* SP_SR_READY: made by the model */
    bool routed;                /* made by the model, each cell by its own path: */
    struct sp_route_counts routes;
    double upscale_seconds;
    AVFrame *source;            /* the decoded frame */
};

enum srp_err sp_pipeline_create(struct sp_pipeline **out, const struct sp_pipeline_params *params,
                                struct srp_error *err);
void sp_pipeline_destroy(struct sp_pipeline **p); /* interrupts the medium and joins */

/* The next finished picture and the one after it, without taking them; NULL: not there (yet). */
const struct sp_frame *sp_pipeline_peek(struct sp_pipeline *p, unsigned index);
struct sp_frame *sp_pipeline_take(struct sp_pipeline *p); /* NULL: none */
void sp_pipeline_release(struct sp_pipeline *p, struct sp_frame **frame);

struct sp_pipeline_state {
    bool seeking; /* the seek asked for last has not been done yet */
    bool full;    /* no more pictures can be made before one is taken */
    bool starved; /* the upscaler waits for decoded frames */
    bool draining; /* everything is made, only finished pictures are left */
    bool ended;   /* everything was taken; see error */
    bool limited; /* max_frames were read */
    struct srp_error error; /* code SRP_OK: the medium's end or a limit of the params */
};
void sp_pipeline_get_state(struct sp_pipeline *p, struct sp_pipeline_state *state);

/* Finished and decoded frames are thrown away; the next picture is from the new place. Does not
 * block. */
void sp_pipeline_seek(struct sp_pipeline *p, double seconds, bool exact);
/* on: the mode of the params, or auto after off */
void sp_pipeline_set_sr(struct sp_pipeline *p, bool on);
void sp_pipeline_set_compare(struct sp_pipeline *p, bool on);

/* Waits until something changed since sp_pipeline_get_state, or sp_monotonic() passes `until`. */
void sp_pipeline_wait(struct sp_pipeline *p, double until);

#endif
