/* SPDX-License-Identifier: BSD-2-Clause */
#include "playback.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "output.h"
#include "ui.h"

/* seconds: nearer than that is now */
static const double due_early = 0.001;
/* seconds without a picture before playback stands still */
static const double starved_after = 0.25;
/* seconds to wait for sound before starting without it */
static const double preroll_patience = 5.0;
static const double idle_wait = 0.1;
static const unsigned drops_allowed = 7; /* overdue pictures in a row */

struct player {
    const struct sp_playback_params *params;
    struct sp_log *log;
    struct sp_media *media;
    struct sp_media_info info;
    struct sp_clock clock;
    struct sp_meter *meter;
    struct sp_audio *audio;
    struct sp_pipeline *pipeline;
    struct sp_output *output;
    struct srp_picture pair; /* both pictures side by side, for the dump */
    struct sp_ui *ui;
    bool untimed, lossless;

    struct sp_frame *shown; /* the picture on the screen */
    double show_cost;       /* seconds that showing takes, of the last pictures; 0: not known */
    unsigned shows;         /* pictures shown */
    unsigned drops_in_row;  /* by the rule for overdue pictures */
    double anchor;          /* where the clock goes on when it stands */
    bool need_first;        /* show the next picture at once: start, seek */
    bool buffering;         /* the clock stands until pictures and sound are there */
    double buffering_since;
    bool paused, finished, interrupted;
    struct srp_error failure;
};

static double frame_time(const struct sp_media_info *info)
{
    bool known = info->frame_rate_num > 0 && info->frame_rate_den > 0;
    return known ? (double)info->frame_rate_den / info->frame_rate_num : 0.04;
}

static double position(struct player *pl)
{
    bool moving = !pl->paused && !pl->buffering && !pl->need_first;
    return moving ? sp_clock_get(&pl->clock, sp_monotonic()) : pl->anchor;
}

/* ---- clock and sound together ---- */

static void stand(struct player *pl, double at)
{
    pl->anchor = at;
    sp_clock_set(&pl->clock, sp_monotonic(), at, false);
    if (pl->audio) {
        sp_audio_pause(pl->audio);
    }
}

static void go(struct player *pl)
{
    sp_meter_go(pl->meter, sp_monotonic());
    sp_clock_set(&pl->clock, sp_monotonic(), pl->anchor, true);
    if (pl->audio) {
        sp_audio_play(pl->audio, pl->anchor);
    }
}

static void begin_buffering(struct player *pl)
{
    pl->buffering = true;
    pl->buffering_since = sp_monotonic();
}

static void seek(struct player *pl, double to, bool exact)
{
    double last = pl->info.duration > 0 ? pl->info.duration - frame_time(&pl->info) : to;
    to = fmax(fmin(to, last), 0);
    stand(pl, to);
    pl->need_first = true;
    begin_buffering(pl);
    sp_pipeline_seek(pl->pipeline, to, exact);
}

static void set_paused(struct player *pl, bool paused)
{
    if (pl->paused == paused) {
        return;
    }
    double at = position(pl);
    pl->paused = paused;
    if (paused) {
        stand(pl, at);
    } else if (!pl->buffering) {
        go(pl);
    }
}

/* ---- showing ---- */

static void copy_columns(const struct srp_picture *to, const struct srp_picture *from, bool right)
{
    struct srp_picture half = *to;
    half.width = from->width;
    for (int i = 0; i < 3 && right; i++) {
        half.data[i] += i == 0 ? from->width : from->width / 2;
    }
    sp_picture_copy(&half, from);
}

static enum srp_err write_dump(struct player *pl, const struct sp_frame *f, struct srp_error *err)
{
    if (pl->params->compare != SP_COMPARE_SIDE) {
        return sp_output_write(pl->output, &f->picture, err);
    }
    struct srp_picture *pair = &pl->pair;
    uint32_t width = f->picture.width / 2 * 2; /* two halves that both begin on a chroma sample */
    if (pair->width != width * 2 || pair->height != f->picture.height) {
        sp_picture_free(pair);
        enum srp_err r = sp_picture_alloc(pair, SRP_FORMAT_YUV420, width * 2, f->picture.height,
                                          err);
        if (r != SRP_OK) {
            return r;
        }
    }
    pair->matrix = f->picture.matrix;
    pair->range = f->picture.range;
    pair->chroma = f->picture.chroma;
    struct srp_picture left = f->has_base ? f->base : f->picture, right = f->picture;
    left.width = right.width = width;
    copy_columns(pair, &left, false);
    copy_columns(pair, &right, true);
    return sp_output_write(pl->output, pair, err);
}

static void show(struct player *pl, struct sp_frame *f, double clock)
{
    struct srp_error err = {.code = SRP_OK};
    double begun = sp_monotonic();
    sp_pipeline_release(pl->pipeline, &pl->shown);
    pl->shown = f;
    if (pl->output && write_dump(pl, f, &err) != SRP_OK) {
        pl->failure = err;
        pl->finished = true;
    }
    if (pl->ui) {
        sp_ui_show(pl->ui, f, clock - f->meta.pts);
    }
    double now = sp_monotonic();
    if (pl->output || pl->ui) {
        sp_meter_stage(pl->meter, SP_STAGE_PRESENT, now - begun);
    }
    /* The first picture also sets up textures and shaders: it says nothing about the others. */
    if (pl->shows++ > 0) {
        double cost = now - begun;
        pl->show_cost = pl->show_cost > 0 ? (pl->show_cost + cost) / 2 : cost;
    }
    sp_meter_shown(pl->meter, now, clock - f->meta.pts, f->reason, f->meta.duration);
    if (f->reason == SP_SR_READY) {
        sp_meter_route(pl->meter, f->routed ? &f->routes : NULL, f->meta.no_routes);
    }
}

/* ---- one turn of the loop ---- */

static void show_first(struct player *pl)
{
    struct sp_frame *f = sp_pipeline_take(pl->pipeline);
    if (f) {
        stand(pl, f->meta.pts);
        pl->need_first = false;
        show(pl, f, f->meta.pts);
        if (!pl->paused && !pl->buffering) { /* a step, and play was pressed before it was there */
            go(pl);
        }
    }
}

static void at_end(struct player *pl, const struct sp_pipeline_state *st, double now, double clock,
                   double *wake_at)
{
    if (pl->paused) {
        pl->need_first = false;
        return;
    }
    double end = pl->shown ? pl->shown->meta.pts + pl->shown->meta.duration : clock;
    bool over = pl->untimed || pl->need_first || clock >= end;
    if (!over) {
        *wake_at = now + (end - clock);
    } else if (pl->params->loop && !st->limited && pl->failure.code == SRP_OK) {
        seek(pl, pl->params->start, true);
    } else {
        pl->finished = true;
    }
}

static void play_due(struct player *pl, const struct sp_pipeline_state *st, double now,
                     double *wake_at)
{
    double clock = sp_clock_get(&pl->clock, now);
    const struct sp_frame *next = sp_pipeline_peek(pl->pipeline, 0);
    if (!next) {
        double missing = pl->shown ? clock - pl->shown->meta.pts - pl->shown->meta.duration : 0;
        if (st->ended) {
            at_end(pl, st, now, clock, wake_at);
        } else if (st->starved && missing > starved_after) {
            sp_log(pl->log, SP_LOG_WARN, "waiting for data at %.1f s", clock);
            sp_meter_stall(pl->meter);
            stand(pl, pl->shown ? pl->shown->meta.pts + pl->shown->meta.duration : clock);
            begin_buffering(pl);
        } else if (st->starved) {
            *wake_at = now + 0.02;
        }
        return;
    }
    if (next->meta.pts > clock + due_early) {
        *wake_at = now + (next->meta.pts - clock);
        return;
    }
    const struct sp_frame *after = sp_pipeline_peek(pl->pipeline, 1);
    struct sp_frame *f = sp_pipeline_take(pl->pipeline);
    /* Overdue, and the next one too: shown all the same when that leaves time to catch up, and now
     * and then in any case, so that the picture moves and the estimate of the cost stays true. */
    bool hopeless = after && clock + pl->show_cost - after->meta.pts > f->meta.duration;
    if (hopeless && !pl->lossless && pl->drops_in_row < drops_allowed) {
        pl->drops_in_row++;
        sp_meter_dropped(pl->meter, f->meta.duration);
        sp_pipeline_release(pl->pipeline, &f);
    } else {
        pl->drops_in_row = 0;
        show(pl, f, clock);
    }
    *wake_at = now;
}

/* Sets *wake_at to when something is to be done next, unless the pipeline reports a change
 * before. */
static void advance(struct player *pl, const struct sp_pipeline_state *st, double *wake_at)
{
    double now = sp_monotonic();
    *wake_at = now + idle_wait;
    if (st->error.code != SRP_OK && st->draining) {
        pl->failure = st->error;
    }
    if (st->seeking) {
        return;
    }
    if (pl->untimed && !pl->paused) {
        struct sp_frame *f = sp_pipeline_take(pl->pipeline);
        if (f) {
            show(pl, f, f->meta.pts);
            *wake_at = now;
        } else if (st->ended) {
            at_end(pl, st, now, 0, wake_at);
        }
        pl->need_first = pl->buffering = false;
        return;
    }
    if (pl->need_first) {
        show_first(pl);
        if (pl->need_first && st->ended) {
            at_end(pl, st, now, 0, wake_at);
        }
        return;
    }
    if (pl->paused) {
        return;
    }
    if (pl->buffering) {
        bool sound = !pl->audio || sp_audio_ready(pl->audio) ||
                     now - pl->buffering_since > preroll_patience;
        if ((st->full || st->draining) && sound) {
            pl->buffering = false;
            go(pl);
            *wake_at = now;
        } else if (st->full) {
            *wake_at = now + 0.01; /* the sound wakes nobody */
        }
        return;
    }
    play_due(pl, st, now, wake_at);
}

/* ---- what the user asks for ---- */

static void step(struct player *pl, int direction)
{
    set_paused(pl, true);
    if (direction < 0) {
        double frame = pl->shown ? pl->shown->meta.duration : 0.04;
        seek(pl, (pl->shown && !pl->need_first ? pl->shown->meta.pts : pl->anchor) - frame, true);
        return;
    }
    if (!pl->need_first) {
        pl->need_first = true; /* the next picture, whenever it is there */
    }
}

static void obey(struct player *pl, const struct sp_ui_request *request)
{
    switch (request->type) {
    case SP_REQUEST_QUIT:
        pl->finished = true;
        break;
    case SP_REQUEST_PAUSE:
        set_paused(pl, !pl->paused);
        break;
    case SP_REQUEST_SEEK:
        /* The key frame before a place ahead may lie behind where we are. */
        seek(pl, position(pl) + request->value, request->exact || request->value > 0);
        break;
    case SP_REQUEST_STEP:
        step(pl, request->value < 0 ? -1 : 1);
        break;
    case SP_REQUEST_SR:
        sp_pipeline_set_sr(pl->pipeline, request->value > 0);
        if (pl->paused && pl->shown) { /* make the standing picture anew */
            seek(pl, pl->shown->meta.pts, true);
        }
        break;
    case SP_REQUEST_COMPARE:
        sp_pipeline_set_compare(pl->pipeline, request->value > 0);
        break;
    case SP_REQUEST_VOLUME:
        if (pl->audio) {
            sp_audio_set_volume(pl->audio, (int)request->value, request->exact);
        }
        break;
    case SP_REQUEST_NONE:
        break;
    }
}

static void serve_ui(struct player *pl, double wake_at)
{
    struct sp_ui_status status = {
        .position = position(pl),
        .paused = pl->paused,
        .buffering = pl->buffering && !pl->paused,
    };
    sp_ui_wait(pl->ui, wake_at);
    struct sp_ui_request request;
    while (sp_ui_next(pl->ui, &request)) {
        obey(pl, &request);
        status.position = position(pl);
        status.paused = pl->paused;
    }
    sp_meter_read(pl->meter, &status.stats);
    sp_media_get_stats(pl->media, &status.stats.media);
    status.stats.frame_time = frame_time(&pl->info);
    status.stats.scale = pl->info.scale;
    sp_ui_refresh(pl->ui, &status);
}

static void loop(struct player *pl)
{
    while (!pl->finished) {
        struct sp_pipeline_state st;
        double wake_at;
        if (pl->params->stop && atomic_load(pl->params->stop)) {
            pl->interrupted = true;
            break;
        }
        sp_pipeline_get_state(pl->pipeline, &st);
        advance(pl, &st, &wake_at);
        if (pl->finished) {
            break;
        }
        if (pl->ui) {
            serve_ui(pl, wake_at);
        } else if (wake_at > sp_monotonic()) {
            sp_pipeline_wait(pl->pipeline, wake_at);
        }
    }
}

/* ---- beginning and end ---- */

static void open_sound(struct player *pl)
{
    const struct sp_playback_params *params = pl->params;
    if (!params->sound || pl->untimed || !pl->info.has_audio) {
        return;
    }
    struct srp_error err = {.code = SRP_OK};
    struct sp_audio_params audio = {
        .media = pl->media,
        .clock = &pl->clock,
        .rate = pl->info.audio_rate,
        .channels = pl->info.audio_channels,
        .silent = !params->display,
        .volume = params->volume,
        .mute = params->mute,
        .log = pl->log,
    };
    if (sp_audio_create(&pl->audio, &audio, &err) != SRP_OK) {
        sp_log(pl->log, SP_LOG_WARN, "playing without sound: %s", err.detail);
    }
}

static enum srp_err open_output(struct player *pl, struct srp_error *err)
{
    struct sp_output_params output = {
        .path = pl->params->dump,
        .frame_rate_num = pl->info.frame_rate_num,
        .frame_rate_den = pl->info.frame_rate_den,
        .sar = pl->info.sar,
    };
    return pl->params->dump ? sp_output_open(&pl->output, &output, err) : SRP_OK;
}

static enum srp_err open_window(struct player *pl, struct srp_error *err)
{
    const struct sp_playback_params *params = pl->params;
    struct sp_ui_params ui = {
        .url = params->media.url,
        .info = &pl->info,
        .geometry = params->geometry,
        .screenshot_dir = params->screenshot_dir,
        .fullscreen = params->fullscreen,
        .compare = params->compare,
        .sr_on = params->sr != SP_SR_OFF,
        .volume = params->volume,
        .mute = params->mute,
        .threads = params->threads,
        .log = pl->log,
    };
    return params->display ? sp_ui_create(&pl->ui, &ui, err) : SRP_OK;
}

static enum srp_err open_all(struct player *pl, struct srp_error *err)
{
    const struct sp_playback_params *params = pl->params;
    struct sp_media_params media = params->media;
    media.log = pl->log;
    media.exact_bytes = media.exact_bytes || pl->lossless;
    media.no_routes = media.no_routes || params->route == SP_ROUTE_OFF;
    pl->meter = sp_meter_create();
    if (!pl->meter) {
        return sp_fail(err, SRP_ERR_NOMEM, "no memory");
    }
    enum srp_err r = sp_media_open(&pl->media, &media, err);
    if (r != SRP_OK) {
        return r;
    }
    sp_media_get_info(pl->media, &pl->info);
    r = open_output(pl, err);
    if (r == SRP_OK) {
        r = open_window(pl, err);
    }
    if (r != SRP_OK) {
        return r;
    }
    open_sound(pl);
    struct sp_pipeline_params pipeline = {
        .media = pl->media,
        .audio = pl->audio,
        .clock = &pl->clock,
        .meter = pl->meter,
        .log = pl->log,
        .backend = params->backend,
        .dtype = params->dtype,
        .threads = params->threads,
        .sr = params->sr,
        .route = params->route,
        .compare = params->compare != SP_COMPARE_OFF,
        .lossless = pl->lossless,
        .start = params->start,
        .end = params->length > 0 ? params->start + params->length : 0,
        .max_frames = params->frames,
    };
    return sp_pipeline_create(&pl->pipeline, &pipeline, err);
}

static void collect(struct player *pl, struct sp_playback_stats *stats)
{
    sp_meter_read(pl->meter, stats);
    sp_media_get_stats(pl->media, &stats->media);
    stats->frame_time = frame_time(&pl->info);
    stats->lr_width = pl->info.width;
    stats->lr_height = pl->info.height;
    stats->out_width = pl->info.out_width;
    stats->out_height = pl->info.out_height;
    stats->scale = pl->info.scale;
    stats->untimed = pl->untimed;
    stats->audio = pl->audio != NULL;
    stats->interrupted = pl->interrupted;
    stats->error = pl->failure;
}

static void close_all(struct player *pl)
{
    if (pl->pipeline) {
        sp_pipeline_release(pl->pipeline, &pl->shown);
    }
    sp_ui_destroy(&pl->ui);
    sp_pipeline_destroy(&pl->pipeline);
    if (pl->media) {
        sp_media_interrupt(pl->media);
    }
    sp_audio_destroy(&pl->audio);
    sp_media_close(&pl->media);
    sp_meter_destroy(&pl->meter);
    sp_picture_free(&pl->pair);
    sp_clock_destroy(&pl->clock);
}

enum srp_err sp_playback_run(const struct sp_playback_params *params,
                             struct sp_playback_stats *stats, struct srp_error *err)
{
    struct player pl = {
        .params = params,
        .log = params->log,
        .untimed = params->untimed || (params->dump && !params->display),
        .lossless = params->untimed || params->dump,
        .paused = params->paused && params->display,
        .need_first = true,
        .anchor = params->start,
    };
    struct srp_error failure = {.code = SRP_OK};
    *stats = (struct sp_playback_stats){.frames = 0};
    sp_clock_init(&pl.clock);
    sp_clock_set(&pl.clock, sp_monotonic(), params->start, false);
    enum srp_err r = open_all(&pl, &failure);
    if (r == SRP_OK) {
        begin_buffering(&pl);
        loop(&pl);
        struct srp_error closing = {.code = SRP_OK};
        if (sp_output_close(&pl.output, &closing) != SRP_OK && pl.failure.code == SRP_OK) {
            pl.failure = closing;
        }
        collect(&pl, stats);
    } else {
        sp_output_close(&pl.output, NULL);
        stats->error = failure;
        if (err) {
            *err = failure;
        }
    }
    close_all(&pl);
    return r;
}
