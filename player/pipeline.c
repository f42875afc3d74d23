/* SPDX-License-Identifier: BSD-2-Clause */
#include "pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base.h"
#include "output.h"

/* Eight finished pictures are slack for a hiccup of a quarter of a second; one more is on the
 * screen, one in the making, one about to be shown, one kept for the cells that the next one has in
 * common with it. */
enum { lr_capacity = 6, ready_capacity = 8, in_use = 4, pool_size = ready_capacity + in_use };

/* Large pictures get fewer buffers: bytes that finished ones may take. */
static const uint64_t ready_bytes = 256u << 20;
static const double slow_first_frame = 0.15; /* seconds: above it a seek shows bicubic first */
static const double no_deadline = 1e9;

struct lr_item {
    AVFrame *frame;
    struct sp_frame_meta meta;
    struct srp_model *model; /* own references */
    struct srp_routes *routes;
    bool first;              /* after a seek */
};

struct sp_pipeline {
    struct sp_pipeline_params params;
    struct sp_media_info info;
    pthread_t read_thread, upscale_thread;
    int threads_started;

    /* read thread only */
    AVFrame *incoming;

    /* upscale thread only */
    struct srp_upscaler *upscaler;
    struct srp_model *model;        /* set in the upscaler; own reference */
    struct srp_model *broken;       /* failed once: not tried again; own reference */
    struct sp_governor governor;
    struct sp_router router;
    double ahead; /* seconds of finished pictures below which less is spent; constant */
    enum sp_no_sr last_reason;
    struct lr_item working;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    bool stop, seek_pending, seek_exact, read_ended, upscaling;
    double seek_to;
    uint64_t frames_read;
    unsigned events, events_seen; /* by the owner: a wait never sleeps over a change */
    unsigned serial; /* counts seeks: what carries an older number is thrown away */
    bool sr_on, compare;
    struct srp_error error;
    struct lr_item lr[lr_capacity];
    unsigned lr_head, lr_count;
    struct sp_frame frames[pool_size];
    struct sp_frame *idle[pool_size], *ready[ready_capacity];
    unsigned idle_count, ready_count;
    unsigned ready_limit; /* constant, at most ready_capacity */
    /* The frame that routing made last (NULL: none), and whether everybody else is done with it.
     * Only read until the upscale thread lets go of it. */
    struct sp_frame *previous;
    bool previous_idle;
};

static void wake(struct sp_pipeline *p)
{
    p->events++;
    pthread_cond_broadcast(&p->changed);
}

static void item_clear(struct lr_item *item)
{
    av_frame_unref(item->frame);
    srp_model_unref(&item->model);
    srp_routes_unref(&item->routes);
}

/* A picture that nobody shows any more. Lock held. */
static void give_back(struct sp_pipeline *p, struct sp_frame *frame)
{
    if (frame == p->previous) {
        p->previous_idle = true;
    } else {
        p->idle[p->idle_count++] = frame;
    }
}

/* Upscale thread, lock held. */
static void keep_previous(struct sp_pipeline *p, struct sp_frame *frame)
{
    struct sp_frame *old = p->previous;
    if (old == frame) {
        return;
    }
    bool idle = p->previous_idle;
    p->previous = frame;
    p->previous_idle = false;
    if (old && idle) {
        give_back(p, old);
    }
}

/* ---- read thread ---- */

static void flush(struct sp_pipeline *p)
{
    while (p->lr_count > 0) {
        item_clear(&p->lr[p->lr_head]);
        p->lr_head = (p->lr_head + 1) % lr_capacity;
        p->lr_count--;
    }
    while (p->ready_count > 0) {
        give_back(p, p->ready[--p->ready_count]);
    }
}

/* Called and returns with the lock held. */
static void do_seek(struct sp_pipeline *p)
{
    struct srp_error err = {.code = SRP_OK};
    double to = p->seek_to;
    bool exact = p->seek_exact;
    p->seek_pending = false;
    p->read_ended = false;
    flush(p);
    pthread_mutex_unlock(&p->lock);
    if (p->params.audio) {
        sp_audio_park(p->params.audio);
    }
    enum srp_err r = sp_media_seek(p->params.media, to, exact, &err);
    pthread_mutex_lock(&p->lock);
    if (p->params.audio && !p->seek_pending && !p->stop) {
        sp_audio_end_seek(p->params.audio);
    }
    if (r != SRP_OK && !p->seek_pending && !p->stop) {
        p->error = err;
        p->read_ended = true;
    }
}

static bool limit_reached(const struct sp_pipeline *p)
{
    return p->params.max_frames > 0 && p->frames_read >= p->params.max_frames;
}

/* Reads one frame. Called and returns with the lock held. */
static void read_one(struct sp_pipeline *p, bool *first)
{
    struct srp_error err = {.code = SRP_OK};
    struct sp_frame_meta meta = {.pts = 0};
    pthread_mutex_unlock(&p->lock);
    double begun = sp_monotonic();
    int r = sp_media_read_video(p->params.media, p->incoming, &meta, &err);
    double seconds = sp_monotonic() - begun;
    pthread_mutex_lock(&p->lock);
    if (p->seek_pending || p->stop) {
        av_frame_unref(p->incoming);
        return;
    }
    bool past_end = p->params.end > 0 && meta.pts >= p->params.end - meta.duration / 2;
    if (r <= 0 || past_end) {
        av_frame_unref(p->incoming);
        p->read_ended = true;
        p->error = err;
        return;
    }
    sp_meter_stage(p->params.meter, SP_STAGE_DECODE, seconds);
    struct lr_item *item = &p->lr[(p->lr_head + p->lr_count) % lr_capacity];
    av_frame_move_ref(item->frame, p->incoming);
    item->meta = meta;
    item->model = meta.model ? srp_model_ref(meta.model) : NULL;
    item->routes = srp_routes_ref(meta.routes);
    item->meta.model = NULL;
    item->meta.routes = NULL;
    item->first = *first;
    *first = false;
    p->lr_count++;
    p->frames_read++;
    p->read_ended = limit_reached(p);
}

static void *read_thread(void *opaque)
{
    struct sp_pipeline *p = opaque;
    bool first = true;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (p->seek_pending) {
            do_seek(p);
            first = true;
        } else if (p->read_ended || p->lr_count == lr_capacity) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        } else {
            read_one(p, &first);
        }
        wake(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- upscale thread ---- */

static void report(struct sp_pipeline *p, enum sp_no_sr reason, uint32_t chunk)
{
    if (reason == p->last_reason) {
        return;
    }
    p->last_reason = reason;
    if (reason == SP_SR_READY) {
        sp_log(p->params.log, SP_LOG_INFO, "SR on from chunk %u", chunk);
    } else {
        /* else the medium has warned */
        bool ours = reason == SP_NO_SR_LATE || reason == SP_NO_SR_FAILED;
        sp_log(p->params.log, ours ? SP_LOG_WARN : SP_LOG_INFO,
               "SR off from chunk %u: %s", chunk, sp_no_sr_text(reason));
    }
}

/* The model of this frame into the upscaler; *fresh: the next run sets things up and is no
 * measure. */
static enum sp_no_sr prepare_model(struct sp_pipeline *p, const struct lr_item *item, bool *fresh)
{
    if (!item->model) {
        return item->meta.no_sr == SP_SR_READY ? SP_NO_SR_NO_MODEL : item->meta.no_sr;
    }
    if (item->model == p->broken) {
        return SP_NO_SR_FAILED;
    }
    if (item->model == p->model) {
        return SP_SR_READY;
    }
    struct srp_error err = {.code = SRP_OK};
    if (srp_upscaler_set_model(p->upscaler, item->model, &err) != SRP_OK) {
        sp_log(p->params.log, SP_LOG_ERROR, "%s", err.detail);
        srp_model_unref(&p->broken);
        p->broken = srp_model_ref(item->model);
        return SP_NO_SR_FAILED;
    }
    srp_model_unref(&p->model);
    p->model = srp_model_ref(item->model);
    sp_router_set_model(&p->router, p->model);
    *fresh = true;
    return SP_SR_READY;
}

/* The output's memory for this input; allocates only when the size of the video changes. */
static enum srp_err fit(struct sp_pipeline *p, struct srp_picture *out,
                        const struct srp_picture *in, struct srp_error *err)
{
    bool usual = in->width == p->info.width && in->height == p->info.height;
    uint32_t w = usual ? p->info.out_width : in->width * p->info.scale;
    uint32_t h = usual ? p->info.out_height : in->height * p->info.scale;
    enum srp_err r = SRP_OK;
    if (out->width != w || out->height != h) {
        sp_picture_free(out);
        r = sp_picture_alloc(out, SRP_FORMAT_YUV420, w, h, err);
    }
    out->matrix = in->matrix;
    out->range = in->range;
    out->chroma = in->chroma;
    return r;
}

static enum srp_err run_base(struct sp_pipeline *p, const struct srp_picture *in,
                             struct srp_picture *out, struct srp_error *err)
{
    enum srp_err r = fit(p, out, in, err);
    return r == SRP_OK ? srp_upscaler_process(p->upscaler, SRP_METHOD_BICUBIC, in, out, err) : r;
}

/* Each cell by its own path. */
static enum srp_err run_routed(struct sp_pipeline *p, const struct srp_picture *in,
                               struct sp_frame *out, double budget, bool fresh,
                               struct srp_error *err)
{
    const struct lr_item *item = &p->working;
    const struct srp_picture *to = &out->picture;
    const struct srp_picture *before = p->previous ? &p->previous->picture : NULL;
    struct srp_routing routing;
    struct srp_routing_stats stats = {.reused = 0};
    double begun = sp_monotonic();
    enum srp_err r = sp_router_choose(&p->router, item->routes, item->meta.routes_frame, in->width,
                                      in->height, budget, &routing, err);
    if (r != SRP_OK) {
        return r;
    }
    if (before && before->width == to->width && before->height == to->height) {
        routing.previous = before;
    }
    r = srp_upscaler_process_routed(p->upscaler, in, to, &routing, &stats, err);
    if (r != SRP_OK) {
        return r;
    }
    if (!fresh) {
        sp_router_record(&p->router, &stats, sp_monotonic() - begun);
    }
    out->routed = true;
    out->routes = sp_router_counts(&p->router, &stats, (uint64_t)in->width * in->height);
    pthread_mutex_lock(&p->lock);
    keep_previous(p, out);
    pthread_mutex_unlock(&p->lock);
    return SRP_OK;
}

static bool has_routes(const struct sp_pipeline *p)
{
    return p->working.routes && p->params.route != SP_ROUTE_OFF;
}

static enum srp_err run_sr(struct sp_pipeline *p, const struct srp_picture *in,
                           struct sp_frame *out, double budget, bool fresh, struct srp_error *err)
{
    enum srp_err r = fit(p, &out->picture, in, err);
    if (r == SRP_OK) {
        r = has_routes(p)
                ? run_routed(p, in, out, budget, fresh, err)
                : srp_upscaler_process(p->upscaler, SRP_METHOD_SR, in, &out->picture, err);
    }
    if (r == SRP_OK) {
        struct srp_executor_info info;
        struct srp_model_info model;
        srp_upscaler_get_info(p->upscaler, &info);
        srp_model_get_info(p->model, &model);
        sp_meter_engine(p->params.meter, model.name, &info);
        return SRP_OK;
    }
    sp_log(p->params.log, SP_LOG_ERROR, "chunk %u: %s", out->meta.chunk, err->detail);
    srp_model_unref(&p->broken);
    p->broken = srp_model_ref(p->model);
    return r;
}

/* Makes `out` from p->working. False: dropped, or (with p->error set) not possible. No lock
 * held. */
static bool upscale(struct sp_pipeline *p, struct sp_frame *out, bool sr_on, bool compare)
{
    const struct lr_item *item = &p->working;
    struct srp_error err = {.code = SRP_OK};
    struct srp_picture in;
    sp_picture_from_frame(&in, item->frame, p->info.out_height);

    double now = sp_monotonic();
    bool running, fresh = false;
    double clock = sp_clock_read(p->params.clock, now, &running);
    double slack = running ? item->meta.pts - clock : no_deadline;
    out->meta = item->meta;
    out->has_base = out->routed = false;
    out->reason = !sr_on ? SP_NO_SR_USER : prepare_model(p, item, &fresh);
    bool has_model = out->reason == SP_SR_READY;
    if (item->first || fresh) {
        pthread_mutex_lock(&p->lock);
        keep_previous(p, NULL);
        pthread_mutex_unlock(&p->lock);
    }
    bool elastic =
        has_model && has_routes(p) && sp_router_is_elastic(&p->router, item->routes);
    double budget =
        p->params.lossless ? INFINITY : sp_governor_budget(&p->governor, slack, p->ahead);
    p->governor.least =
        elastic ? sp_router_least(&p->router, (uint64_t)in.width * in.height) : 0;
    enum sp_action action = sp_governor_decide(&p->governor, now, slack, has_model);
    if (action == SP_ACTION_DROP) {
        sp_meter_dropped(p->params.meter, item->meta.duration);
        return false;
    }
    double first_cost = p->governor.least > 0 ? budget : p->governor.sr_cost;
    if (item->first && action == SP_ACTION_SR && p->governor.may_degrade &&
        first_cost > slow_first_frame) {
        action = SP_ACTION_BASE;
    }
    enum srp_err r = SRP_OK;
    if (action == SP_ACTION_SR && run_sr(p, &in, out, budget, fresh, &err) != SRP_OK) {
        out->reason = SP_NO_SR_FAILED;
        action = SP_ACTION_BASE;
        fresh = true;
    } else if (action == SP_ACTION_BASE && has_model) {
        out->reason = SP_NO_SR_LATE;
    }
    if (action == SP_ACTION_BASE) {
        r = run_base(p, &in, &out->picture, &err);
    }
    double done = sp_monotonic();
    out->upscale_seconds = done - now;
    sp_meter_stage(p->params.meter, SP_STAGE_UPSCALE, out->upscale_seconds);
    if (r == SRP_OK && compare && out->reason == SP_SR_READY) {
        out->has_base = run_base(p, &in, &out->base, &err) == SRP_OK;
        done = sp_monotonic();
    }
    if (!fresh) {
        sp_governor_record(&p->governor, action, done - now);
    }
    clock = sp_clock_read(p->params.clock, done, &running);
    if (running && !p->params.lossless && clock > item->meta.pts) {
        sp_meter_late(p->params.meter);
    }
    report(p, out->reason, item->meta.chunk);
    if (r != SRP_OK) {
        pthread_mutex_lock(&p->lock);
        p->error = err;
        p->read_ended = true;
        pthread_mutex_unlock(&p->lock);
    }
    return r == SRP_OK;
}

static void *upscale_thread(void *opaque)
{
    struct sp_pipeline *p = opaque;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (p->lr_count == 0 || p->idle_count == 0 || p->ready_count == p->ready_limit) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        struct lr_item taken = p->lr[p->lr_head]; /* swapped, so that both keep an AVFrame */
        p->lr[p->lr_head] = p->working;
        p->working = taken;
        p->lr_head = (p->lr_head + 1) % lr_capacity;
        p->lr_count--;
        struct sp_frame *out = p->idle[--p->idle_count];
        unsigned serial = p->serial;
        bool sr_on = p->sr_on, compare = p->compare;
        p->upscaling = true;
        wake(p);
        pthread_mutex_unlock(&p->lock);

        bool made = upscale(p, out, sr_on, compare);
        av_frame_unref(out->source);
        av_frame_move_ref(out->source, p->working.frame);
        item_clear(&p->working);

        pthread_mutex_lock(&p->lock);
        p->upscaling = false;
        if (made && serial == p->serial && !p->stop) {
            p->ready[p->ready_count++] = out;
        } else {
            give_back(p, out);
        }
        wake(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- owner ---- */

static enum srp_err no_memory(struct srp_error *err)
{
    return sp_fail(err, SRP_ERR_NOMEM, "no memory for the frame queues");
}

static enum srp_err allocate(struct sp_pipeline *p, struct srp_error *err)
{
    p->incoming = av_frame_alloc();
    p->working.frame = av_frame_alloc();
    bool ok = p->incoming && p->working.frame;
    for (int i = 0; i < lr_capacity; i++) {
        p->lr[i].frame = av_frame_alloc();
        ok = ok && p->lr[i].frame;
    }
    enum srp_err r = SRP_OK;
    uint64_t bytes = (uint64_t)p->info.out_width * p->info.out_height * 3 / 2 + 1;
    uint64_t fit_in = ready_bytes / bytes;
    p->ready_limit = fit_in > ready_capacity ? ready_capacity : fit_in < 2 ? 2 : (unsigned)fit_in;
    for (unsigned i = 0; i < p->ready_limit + in_use; i++) {
        struct sp_frame *f = &p->frames[i];
        f->source = av_frame_alloc();
        ok = ok && f->source;
        if (ok && r == SRP_OK) {
            r = sp_picture_alloc(&f->picture, SRP_FORMAT_YUV420, p->info.out_width,
                                 p->info.out_height, err);
        }
        p->idle[p->idle_count++] = f;
    }
    return ok ? r : no_memory(err);
}

enum srp_err sp_pipeline_create(struct sp_pipeline **out, const struct sp_pipeline_params *params,
                                struct srp_error *err)
{
    *out = NULL;
    struct sp_pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        return no_memory(err);
    }
    p->params = *params;
    sp_media_get_info(params->media, &p->info);
    p->sr_on = params->sr != SP_SR_OFF;
    p->compare = params->compare;
    p->last_reason = SP_SR_READY;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &attr);
    pthread_condattr_destroy(&attr);
    double rate = p->info.frame_rate_den > 0
                      ? (double)p->info.frame_rate_num / p->info.frame_rate_den : 0;
    double frame_time = rate > 0 ? 1 / rate : 0.04;
    sp_governor_init(&p->governor, frame_time, !params->lossless && params->sr != SP_SR_ON,
                     !params->lossless);
    p->router.mode = params->route;
    struct srp_upscaler_params up = {
        .scale = p->info.scale,
        .backend = params->backend,
        .threads = params->threads,
        .dtype = params->dtype};
    enum srp_err r = allocate(p, err);
    p->ahead = frame_time * p->ready_limit / 2;
    if (r == SRP_OK) {
        r = srp_upscaler_create(&p->upscaler, &up, err);
    }
    if (r == SRP_OK && params->start > 0) {
        sp_pipeline_seek(p, params->start, true); /* before a thread can read from elsewhere */
    }
    void *(*const entry[])(void *) = {read_thread, upscale_thread};
    pthread_t *const thread[] = {&p->read_thread, &p->upscale_thread};
    for (int i = 0; i < 2 && r == SRP_OK; i++) {
        if (pthread_create(thread[i], NULL, entry[i], p) != 0) {
            r = no_memory(err);
            break;
        }
        p->threads_started++;
    }
    if (r != SRP_OK) {
        sp_pipeline_destroy(&p);
        return r;
    }
    *out = p;
    return SRP_OK;
}

void sp_pipeline_destroy(struct sp_pipeline **out)
{
    struct sp_pipeline *p = *out;
    if (!p) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    wake(p);
    pthread_mutex_unlock(&p->lock);
    if (p->params.audio) {
        sp_audio_begin_seek(p->params.audio);
    }
    sp_media_interrupt(p->params.media);
    if (p->threads_started > 0) {
        pthread_join(p->read_thread, NULL);
    }
    if (p->threads_started > 1) {
        pthread_join(p->upscale_thread, NULL);
    }
    srp_upscaler_destroy(&p->upscaler);
    sp_router_free(&p->router);
    srp_model_unref(&p->model);
    srp_model_unref(&p->broken);
    srp_model_unref(&p->working.model);
    srp_routes_unref(&p->working.routes);
    av_frame_free(&p->working.frame);
    av_frame_free(&p->incoming);
    for (int i = 0; i < lr_capacity; i++) {
        srp_model_unref(&p->lr[i].model);
        srp_routes_unref(&p->lr[i].routes);
        av_frame_free(&p->lr[i].frame);
    }
    for (int i = 0; i < pool_size; i++) {
        sp_picture_free(&p->frames[i].picture);
        sp_picture_free(&p->frames[i].base);
        av_frame_free(&p->frames[i].source);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *out = NULL;
}

const struct sp_frame *sp_pipeline_peek(struct sp_pipeline *p, unsigned index)
{
    pthread_mutex_lock(&p->lock);
    const struct sp_frame *f = index < p->ready_count && !p->seek_pending ? p->ready[index] : NULL;
    pthread_mutex_unlock(&p->lock);
    return f;
}

struct sp_frame *sp_pipeline_take(struct sp_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    struct sp_frame *f = NULL;
    if (p->ready_count > 0 && !p->seek_pending) {
        f = p->ready[0];
        p->ready_count--;
        for (unsigned i = 0; i < p->ready_count; i++) {
            p->ready[i] = p->ready[i + 1];
        }
        wake(p);
    }
    pthread_mutex_unlock(&p->lock);
    return f;
}

void sp_pipeline_release(struct sp_pipeline *p, struct sp_frame **frame)
{
    if (!*frame) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    give_back(p, *frame);
    wake(p);
    pthread_mutex_unlock(&p->lock);
    *frame = NULL;
}

void sp_pipeline_get_state(struct sp_pipeline *p, struct sp_pipeline_state *state)
{
    pthread_mutex_lock(&p->lock);
    p->events_seen = p->events;
    state->seeking = p->seek_pending;
    state->full = p->ready_count == p->ready_limit;
    state->starved = p->lr_count == 0 && !p->upscaling && !p->read_ended;
    state->draining = p->read_ended && !p->seek_pending && p->lr_count == 0 && !p->upscaling;
    state->ended = state->draining && p->ready_count == 0;
    state->limited = limit_reached(p);
    state->error = p->error;
    pthread_mutex_unlock(&p->lock);
}

void sp_pipeline_seek(struct sp_pipeline *p, double seconds, bool exact)
{
    pthread_mutex_lock(&p->lock);
    p->seek_pending = true;
    p->seek_to = seconds;
    p->seek_exact = exact;
    p->serial++;
    p->error.code = SRP_OK;
    if (p->params.audio) {
        sp_audio_begin_seek(p->params.audio); /* its lock is never held while ours is taken */
    }
    sp_media_interrupt(p->params.media);
    wake(p);
    pthread_mutex_unlock(&p->lock);
}

void sp_pipeline_set_sr(struct sp_pipeline *p, bool on)
{
    pthread_mutex_lock(&p->lock);
    p->sr_on = on;
    pthread_mutex_unlock(&p->lock);
}

void sp_pipeline_set_compare(struct sp_pipeline *p, bool on)
{
    pthread_mutex_lock(&p->lock);
    p->compare = on;
    pthread_mutex_unlock(&p->lock);
}

void sp_pipeline_wait(struct sp_pipeline *p, double until)
{
    struct timespec ts = {.tv_sec = (time_t)until};
    ts.tv_nsec = (long)((until - floor(until)) * 1e9);
    pthread_mutex_lock(&p->lock);
    while (p->events == p->events_seen &&
           pthread_cond_timedwait(&p->changed, &p->lock, &ts) == 0) {
    }
    pthread_mutex_unlock(&p->lock);
}
