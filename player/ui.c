/* SPDX-License-Identifier: BSD-2-Clause */
#include "ui.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "input.h"
#include "output.h"
#include "present.h"

static const double message_seconds = 1.5;
/* seconds between new statistics: faster cannot be read */
static const double text_interval = 0.25;

struct sp_ui {
    struct sp_ui_params params;
    struct sp_media_info info;
    struct sp_window *window;
    struct sp_osd_content osd;
    struct srp_upscaler *base_upscaler; /* for pictures that came without a base picture */
    struct srp_picture base;            /* its result, for `base_of` */
    const struct sp_frame *base_of;
    const struct sp_frame *frame;
    double av, split;
    bool compare, original, stats_on, progress_on, sr_on, mute;
    int volume;
    bool fresh;  /* the frame's pixels are not in the window yet */
    bool dirty;  /* draw again */
    double message_until, text_at;
};

enum srp_err sp_ui_create(struct sp_ui **out, const struct sp_ui_params *params,
                          struct srp_error *err)
{
    *out = NULL;
    struct sp_ui *ui = calloc(1, sizeof *ui);
    if (!ui) {
        return sp_fail(err, SRP_ERR_NOMEM, "no memory for the window");
    }
    ui->params = *params;
    ui->info = *params->info;
    ui->split = 0.5;
    ui->compare = params->compare != SP_COMPARE_OFF;
    ui->sr_on = params->sr_on;
    ui->volume = params->volume;
    ui->mute = params->mute;
    const char *slash = strrchr(params->url, '/');
    char title[256];
    snprintf(title, sizeof title, "%s - srplay", slash && slash[1] ? slash + 1 : params->url);
    struct sp_window_params window = {
        .title = title,
        .width = ui->info.out_width,
        .height = ui->info.out_height,
        .sar = ui->info.sar,
        .geometry = params->geometry,
        .fullscreen = params->fullscreen,
        .log = params->log,
    };
    struct srp_upscaler_params up = {.scale = ui->info.scale, .threads = params->threads};
    enum srp_err r = srp_upscaler_create(&ui->base_upscaler, &up, err);
    if (r == SRP_OK) {
        r = sp_window_create(&ui->window, &window, err);
    }
    if (r != SRP_OK) {
        sp_ui_destroy(&ui);
        return r;
    }
    *out = ui;
    return SRP_OK;
}

void sp_ui_destroy(struct sp_ui **out)
{
    struct sp_ui *ui = *out;
    if (!ui) {
        return;
    }
    sp_window_destroy(&ui->window);
    srp_upscaler_destroy(&ui->base_upscaler);
    sp_picture_free(&ui->base);
    free(ui);
    *out = NULL;
}

/* ---- the picture ---- */

static enum sp_view view_of(const struct sp_ui *ui)
{
    if (ui->original) {
        return SP_VIEW_BASE;
    }
    if (!ui->compare) {
        return SP_VIEW_PICTURE;
    }
    return ui->params.compare == SP_COMPARE_SIDE ? SP_VIEW_SIDE : SP_VIEW_SPLIT;
}

/* The base picture of the frame shown: from the pipeline, or made now (paused, or the mode was just
 * switched on). A frame without SR is its own base picture. */
static const struct srp_picture *base_picture(struct sp_ui *ui)
{
    const struct sp_frame *f = ui->frame;
    struct srp_error err = {.code = SRP_OK};
    if (f->reason != SP_SR_READY) {
        return &f->picture;
    }
    if (f->has_base) {
        return &f->base;
    }
    if (ui->base_of == f) {
        return &ui->base;
    }
    struct srp_picture in;
    sp_picture_from_frame(&in, f->source, ui->info.out_height);
    enum srp_err r = SRP_OK;
    if (ui->base.width != f->picture.width || ui->base.height != f->picture.height) {
        sp_picture_free(&ui->base);
        r = sp_picture_alloc(&ui->base, SRP_FORMAT_YUV420, f->picture.width, f->picture.height,
                             &err);
    }
    ui->base.matrix = in.matrix;
    ui->base.range = in.range;
    ui->base.chroma = in.chroma;
    if (r == SRP_OK) {
        r = srp_upscaler_process(ui->base_upscaler, SRP_METHOD_BICUBIC, &in, &ui->base, &err);
    }
    if (r != SRP_OK) {
        sp_log(ui->params.log, SP_LOG_ERROR, "comparison: %s", err.detail);
        return &f->picture;
    }
    ui->base_of = f;
    return &ui->base;
}

/* Pixels go to the window once per frame, and again when another view needs the second picture. */
static void upload(struct sp_ui *ui)
{
    struct srp_error err = {.code = SRP_OK};
    if (!ui->frame || !ui->fresh) {
        return;
    }
    const struct srp_picture *base = view_of(ui) == SP_VIEW_PICTURE ? NULL : base_picture(ui);
    if (sp_window_upload(ui->window, &ui->frame->picture, base, &err) != SRP_OK) {
        sp_log(ui->params.log, SP_LOG_ERROR, "%s", err.detail);
    }
    ui->fresh = false;
}

static void fill_labels(struct sp_ui *ui)
{
    bool both = !ui->original && ui->compare && ui->frame;
    ui->osd.left[0] = ui->osd.right[0] = 0;
    if (both) {
        snprintf(ui->osd.left, sizeof ui->osd.left, "bicubic");
        snprintf(ui->osd.right, sizeof ui->osd.right, "%s",
                 ui->frame->reason == SP_SR_READY ? "SR" : "bicubic (SR off)");
    }
}

static void draw(struct sp_ui *ui)
{
    upload(ui);
    fill_labels(ui);
    sp_window_draw(ui->window, view_of(ui), ui->split, &ui->osd);
    ui->dirty = false;
}

void sp_ui_show(struct sp_ui *ui, const struct sp_frame *frame, double av)
{
    ui->frame = frame;
    ui->base_of = NULL;
    ui->av = av;
    ui->fresh = true;
    draw(ui);
}

/* ---- texts ---- */

static void message(struct sp_ui *ui, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void message(struct sp_ui *ui, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ui->osd.message, sizeof ui->osd.message, format, args);
    va_end(args);
    ui->message_until = sp_monotonic() + message_seconds;
    ui->dirty = true;
}

/* About the very frame on the screen, as line 1 is. */
static void fill_routes(const struct sp_frame *frame, char text[SP_OSD_TEXT])
{
    char counts[SP_OSD_TEXT - 16];
    if (frame->routed) {
        sp_stats_routes(&frame->routes, counts, sizeof counts);
        snprintf(text, SP_OSD_TEXT, "routes: %s", counts);
    } else {
        snprintf(text, SP_OSD_TEXT, "default path: %s", sp_no_routes_text(frame->meta.no_routes));
    }
}

static void fill_stats(struct sp_ui *ui, const struct sp_ui_status *status)
{
    const struct sp_playback_stats *s = &status->stats;
    const struct sp_stage_times *t = s->stage;
    const struct sp_media_stats *m = &s->media;
    const double mb = 1.0 / (1 << 20);
    struct sp_osd_content *o = &ui->osd;
    char window[64];
    o->line_count = 6;
    if (ui->frame) {
        sp_stats_status(s, ui->frame->reason, ui->frame->meta.chunk, ui->frame->upscale_seconds,
                        ui->av, o->line[0], SP_OSD_TEXT);
    } else {
        snprintf(o->line[0], SP_OSD_TEXT, "SR: no picture yet");
    }
    snprintf(o->line[1], SP_OSD_TEXT,
             "ms avg/p95: decode %.1f/%.1f  upscale %.1f/%.1f  present %.1f/%.1f", t[0].avg,
             t[0].p95, t[1].avg, t[1].p95, t[2].avg, t[2].p95);
    snprintf(o->line[2], SP_OSD_TEXT,
             "%.2f fps  frames %llu  upscaled %llu  not upscaled %llu  stalls %llu",
             s->fps, (unsigned long long)s->frames, (unsigned long long)s->upscaled,
             (unsigned long long)s->not_upscaled, (unsigned long long)s->stalls);
    snprintf(o->line[3], SP_OSD_TEXT,
             "buffered %.1f s  video %.2f audio %.2f parameters %.2f MiB  cache %llu/%llu  "
             "retries %llu",
             m->buffered_seconds, (double)m->bytes_video * mb, (double)m->bytes_audio * mb,
             (double)m->bytes_parameters * mb, (unsigned long long)m->cache_hits,
             (unsigned long long)(m->cache_hits + m->cache_misses), (unsigned long long)m->retries);
    sp_window_describe(ui->window, window, sizeof window);
    snprintf(o->line[4], SP_OSD_TEXT, "%ux%u -> %ux%u  window %.50s", ui->info.width,
             ui->info.height, ui->info.out_width, ui->info.out_height, window);
    snprintf(o->line[5], SP_OSD_TEXT, "%s %s %s  %u threads  arena %.1f MiB  RSS %.0f MiB",
             s->backend[0] ? s->backend : "no engine", s->dtype, s->isa, s->threads,
             (double)s->arena_bytes * mb, (double)s->peak_rss_bytes * mb);
    if (ui->frame && ui->frame->reason == SP_SR_READY && s->routed > 0) {
        fill_routes(ui->frame, o->line[o->line_count++]);
    }
}

void sp_ui_refresh(struct sp_ui *ui, const struct sp_ui_status *status)
{
    double now = sp_monotonic();
    if (ui->message_until > 0 && now > ui->message_until) {
        ui->osd.message[0] = 0;
        ui->message_until = 0;
        ui->dirty = true;
    }
    if (now >= ui->text_at || ui->dirty) {
        bool was = ui->osd.line_count > 0 || ui->osd.progress;
        ui->text_at = now + text_interval;
        ui->osd.line_count = 0;
        ui->osd.progress = ui->progress_on;
        ui->osd.position = status->position;
        ui->osd.duration = ui->info.duration;
        ui->osd.buffered = status->stats.media.buffered_seconds;
        if (ui->stats_on) {
            fill_stats(ui, status);
        }
        if (ui->message_until <= 0) {
            snprintf(ui->osd.message, sizeof ui->osd.message, "%s",
                     status->buffering && status->stats.stalls > 0 ? "buffering" : "");
        }
        /* While pictures come, they carry the new texts; a standing picture is drawn again for
         * them. */
        ui->dirty = ui->dirty || (was && status->paused) || (was && status->buffering);
    }
    if (ui->dirty) {
        draw(ui);
    }
}

/* ---- wishes ---- */

static void screenshot(struct sp_ui *ui, bool window)
{
    struct srp_error err = {.code = SRP_OK};
    struct srp_picture shot = {.width = 0};
    char name[4096];
    if (!ui->frame) {
        return;
    }
    enum srp_err r = SRP_OK;
    if (window) {
        upload(ui);
        fill_labels(ui);
        r = sp_window_capture(ui->window, view_of(ui), ui->split, &ui->osd, &shot, &err);
    }
    if (r == SRP_OK) {
        r = sp_screenshot(ui->params.screenshot_dir, window ? &shot : &ui->frame->picture, name,
                          sizeof name, &err);
    }
    sp_picture_free(&shot);
    if (r == SRP_OK) {
        sp_log(ui->params.log, SP_LOG_INFO, "screenshot %s", name);
        message(ui, "screenshot %.140s", name);
    } else {
        sp_log(ui->params.log, SP_LOG_ERROR, "%s", err.detail);
        message(ui, "no screenshot: %.120s", err.detail);
    }
}

static bool request(struct sp_ui_request *out, enum sp_request_type type, double value, bool exact)
{
    *out = (struct sp_ui_request){type, value, exact};
    return true;
}

static bool change_volume(struct sp_ui *ui, int by, bool toggle_mute, struct sp_ui_request *out)
{
    ui->volume = ui->volume + by < 0 ? 0 : ui->volume + by > 100 ? 100 : ui->volume + by;
    ui->mute = toggle_mute ? !ui->mute : ui->mute;
    message(ui, ui->mute ? "volume %d%% (muted)" : "volume %d%%", ui->volume);
    return request(out, SP_REQUEST_VOLUME, ui->volume, ui->mute);
}

/* True: *out is a request; else the command was done here. */
static bool command(struct sp_ui *ui, const struct sp_command *c, struct sp_ui_request *out)
{
    ui->dirty = ui->dirty || c->type != SP_COMMAND_NONE;
    switch (c->type) {
    case SP_COMMAND_QUIT:
        return request(out, SP_REQUEST_QUIT, 0, false);
    case SP_COMMAND_PAUSE:
        return request(out, SP_REQUEST_PAUSE, 0, false);
    case SP_COMMAND_SEEK:
        message(ui, "seek %+.0f s", c->value);
        return request(out, SP_REQUEST_SEEK, c->value, c->exact);
    case SP_COMMAND_STEP:
        return request(out, SP_REQUEST_STEP, c->value, true);
    case SP_COMMAND_FULLSCREEN:
        if (c->value > 0 || sp_window_is_fullscreen(ui->window)) {
            sp_window_fullscreen(ui->window, c->value > 0 && !sp_window_is_fullscreen(ui->window));
        }
        return false;
    case SP_COMMAND_MUTE:
        return change_volume(ui, 0, true, out);
    case SP_COMMAND_VOLUME:
        return change_volume(ui, (int)c->value, false, out);
    case SP_COMMAND_SHOT:
    case SP_COMMAND_SHOT_WINDOW:
        screenshot(ui, c->type == SP_COMMAND_SHOT_WINDOW);
        return false;
    case SP_COMMAND_STATS:
        ui->stats_on = !ui->stats_on;
        return false;
    case SP_COMMAND_PROGRESS:
        ui->progress_on = !ui->progress_on;
        return false;
    case SP_COMMAND_SR:
        ui->sr_on = !ui->sr_on;
        message(ui, ui->sr_on ? "SR wanted" : "SR off");
        return request(out, SP_REQUEST_SR, ui->sr_on, false);
    case SP_COMMAND_COMPARE:
        ui->compare = !ui->compare;
        ui->fresh = true;
        return request(out, SP_REQUEST_COMPARE, ui->compare || ui->original, false);
    case SP_COMMAND_ORIGINAL:
        ui->original = c->value > 0;
        ui->fresh = true;
        return request(out, SP_REQUEST_COMPARE, ui->compare || ui->original, false);
    case SP_COMMAND_SPLIT:
        if (view_of(ui) == SP_VIEW_SPLIT) {
            ui->split = sp_window_split_at(ui->window, (int)c->value);
        }
        return false;
    case SP_COMMAND_RESET:
        sp_window_reset(ui->window);
        ui->fresh = true;
        return false;
    case SP_COMMAND_REDRAW:
    case SP_COMMAND_NONE:
        break;
    }
    return false;
}

void sp_ui_wait(struct sp_ui *ui, double until)
{
    (void)ui;
    double ms = (until - sp_monotonic()) * 1000;
    int timeout = ms > 10 ? 10 : ms > 0 ? (int)ms + 1 : 0;
    if (timeout > 0) {
        SDL_WaitEventTimeout(NULL, timeout);
    }
}

bool sp_ui_next(struct sp_ui *ui, struct sp_ui_request *out)
{
    SDL_Event event;
    while (SDL_PollEvent(&event)) {
        struct sp_command c = sp_input_translate(&event);
        if (command(ui, &c, out)) {
            return true;
        }
    }
    return false;
}
