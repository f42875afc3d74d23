/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

const char *sp_stage_name(enum sp_stage stage)
{
    static const char *const names[SP_STAGE_COUNT] = {"decode", "upscale", "present"};
    return names[stage];
}

const char *sp_no_sr_key(enum sp_no_sr reason)
{
    static const char *const keys[SP_NO_SR_COUNT] = {
        [SP_SR_READY] = "ready",       [SP_NO_SR_NO_MODEL] = "no_model",
        [SP_NO_SR_USER] = "user",      [SP_NO_SR_NOT_VERIFIED] = "not_verified",
        [SP_NO_SR_LATE] = "late",      [SP_NO_SR_NOT_ARRIVED] = "not_arrived",
        [SP_NO_SR_FAILED] = "failed",  [SP_NO_SR_SIZE] = "size",
    };
    return keys[reason];
}

const char *sp_no_routes_key(enum sp_no_routes reason)
{
    static const char *const keys[SP_NO_ROUTES_COUNT] = {
        [SP_ROUTES_READY] = "ready",
        [SP_NO_ROUTES_NONE] = "none",
        [SP_NO_ROUTES_NOT_VERIFIED] = "not_verified",
        [SP_NO_ROUTES_NOT_ARRIVED] = "not_arrived",
        [SP_NO_ROUTES_MISMATCH] = "mismatch",
        [SP_NO_ROUTES_FRAME] = "frame",
        [SP_NO_ROUTES_USER] = "user",
    };
    return keys[reason];
}

/* ---- histogram ---- */

static const double shortest = 1e-6;
static const double bucket_ratio = 1.01;

void sp_histogram_add(struct sp_histogram *h, double seconds)
{
    double position = log(fmax(seconds, shortest) / shortest) / log(bucket_ratio);
    int index = (int)fmin(position, SP_HISTOGRAM_BUCKETS - 1);
    h->bucket[index]++;
    h->count++;
    h->sum += seconds;
    h->last = seconds;
    h->max = fmax(h->max, seconds);
}

double sp_histogram_quantile(const struct sp_histogram *h, double share)
{
    if (h->count == 0) {
        return 0;
    }
    uint64_t rank = (uint64_t)(share * (double)(h->count - 1)), seen = 0;
    int i = 0;
    for (; i < SP_HISTOGRAM_BUCKETS - 1; i++) {
        seen += h->bucket[i];
        if (seen > rank) {
            break;
        }
    }
    double value = shortest * pow(bucket_ratio, i + 0.5);
    return fmin(value, h->max);
}

/* ---- meter ---- */

struct sp_meter *sp_meter_create(void)
{
    struct sp_meter *m = calloc(1, sizeof *m);
    if (m) {
        pthread_mutex_init(&m->lock, NULL);
    }
    return m;
}

void sp_meter_destroy(struct sp_meter **m)
{
    if (m && *m) {
        pthread_mutex_destroy(&(*m)->lock);
        free(*m);
        *m = NULL;
    }
}

void sp_meter_stage(struct sp_meter *m, enum sp_stage stage, double seconds)
{
    pthread_mutex_lock(&m->lock);
    sp_histogram_add(&m->stage[stage], seconds);
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_shown(struct sp_meter *m, double now, double av_offset, enum sp_no_sr reason,
                    double duration)
{
    pthread_mutex_lock(&m->lock);
    m->s.frames++;
    m->s.media_duration += duration;
    if (reason == SP_SR_READY) {
        m->s.upscaled++;
    } else {
        m->s.not_upscaled++;
        m->s.not_upscaled_by[reason]++;
    }
    m->av_sum += av_offset;
    if (m->shown++ == 0) {
        m->first_shown = now;
    }
    m->last_shown = now;
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_route(struct sp_meter *m, const struct sp_route_counts *counts,
                    enum sp_no_routes reason)
{
    pthread_mutex_lock(&m->lock);
    if (counts) {
        m->s.routed++;
        sp_route_counts_add(&m->s.route, counts);
    } else {
        m->s.by_default++;
        m->s.by_default_by[reason]++;
    }
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_go(struct sp_meter *m, double now)
{
    pthread_mutex_lock(&m->lock);
    if (m->shown == 1) {
        m->first_shown = m->last_shown = now;
    }
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_dropped(struct sp_meter *m, double duration)
{
    pthread_mutex_lock(&m->lock);
    m->s.frames++;
    m->s.dropped++;
    m->s.media_duration += duration;
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_late(struct sp_meter *m)
{
    pthread_mutex_lock(&m->lock);
    m->s.late++;
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_stall(struct sp_meter *m)
{
    pthread_mutex_lock(&m->lock);
    m->s.stalls++;
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_engine(struct sp_meter *m, const char *model, const struct srp_executor_info *info)
{
    pthread_mutex_lock(&m->lock);
    struct sp_playback_stats *s = &m->s;
    snprintf(s->model, sizeof s->model, "%s", model);
    snprintf(s->backend, sizeof s->backend, "%s", srp_backend_name(info->backend));
    snprintf(s->isa, sizeof s->isa, "%s", info->isa ? info->isa : "");
    snprintf(s->dtype, sizeof s->dtype, "%s", info->dtype ? info->dtype : "");
    s->threads = info->threads;
    if (info->arena_bytes > s->arena_bytes) {
        s->arena_bytes = info->arena_bytes;
    }
    pthread_mutex_unlock(&m->lock);
}

void sp_meter_read(struct sp_meter *m, struct sp_playback_stats *stats)
{
    pthread_mutex_lock(&m->lock);
    *stats = m->s;
    for (int i = 0; i < SP_STAGE_COUNT; i++) {
        const struct sp_histogram *h = &m->stage[i];
        stats->stage[i] = (struct sp_stage_times){
            .avg = h->count ? h->sum / (double)h->count * 1e3 : 0,
            .p50 = sp_histogram_quantile(h, 0.50) * 1e3,
            .p95 = sp_histogram_quantile(h, 0.95) * 1e3,
            .p99 = sp_histogram_quantile(h, 0.99) * 1e3,
            .max = h->max * 1e3,
        };
    }
    double wall = m->last_shown - m->first_shown;
    stats->duration = wall;
    stats->fps = m->shown > 1 && wall > 0 ? (double)(m->shown - 1) / wall : 0;
    stats->av_offset = m->shown ? m->av_sum / (double)m->shown : 0;
    pthread_mutex_unlock(&m->lock);
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        stats->peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
    }
}

/* ---- words ---- */

static enum sp_no_sr main_reason(const struct sp_playback_stats *s)
{
    int best = SP_NO_SR_NO_MODEL;
    for (int i = 0; i < SP_NO_SR_COUNT; i++) {
        if (s->not_upscaled_by[i] > s->not_upscaled_by[best]) {
            best = i;
        }
    }
    return (enum sp_no_sr)best;
}

void sp_stats_verdict(const struct sp_playback_stats *s, char *text, size_t size)
{
    char sr[192];
    double budget = s->frame_time * 1e3;
    const struct sp_stage_times *up = &s->stage[SP_STAGE_UPSCALE];
    if (s->frames == 0) {
        snprintf(text, size, "nothing was played");
        return;
    }
    if (s->upscaled == 0 && s->not_upscaled == 0) {
        snprintf(sr, sizeof sr, "no frame was shown");
    } else if (s->not_upscaled == 0) {
        snprintf(sr, sizeof sr, "SR on every frame shown");
    } else if (s->upscaled == 0) {
        snprintf(sr, sizeof sr, "SR on no frame (%s)", sp_no_sr_text(main_reason(s)));
    } else {
        snprintf(sr, sizeof sr, "SR on %llu of %llu frames shown (otherwise mostly: %s)",
                 (unsigned long long)s->upscaled,
                 (unsigned long long)(s->upscaled + s->not_upscaled),
                 sp_no_sr_text(main_reason(s)));
    }
    if (s->untimed) {
        snprintf(text, size, "%.1f frames per second; %s", s->fps, sr);
        return;
    }
    bool smooth = s->dropped == 0 && s->stalls == 0;
    /* Upscaling and showing run side by side: the dearer one sets the pace. */
    const struct sp_stage_times *show = &s->stage[SP_STAGE_PRESENT];
    bool upscaling = up->avg >= show->avg;
    double used = upscaling ? up->avg : show->avg;
    bool strained = s->late > 0 || s->not_upscaled_by[SP_NO_SR_LATE] > 0 || used > budget;
    snprintf(text, size,
             "%s: %s takes %.1f of %.1f ms per frame (%.0f%%), %llu late, %llu dropped; %s",
             smooth ? (strained ? "only just keeps up" : "keeps up") : "does not keep up",
             upscaling ? "upscaling" : "showing", used, budget,
             budget > 0 ? used / budget * 100 : 0,
             (unsigned long long)s->late, (unsigned long long)s->dropped, sr);
}

void sp_stats_status(const struct sp_playback_stats *s, enum sp_no_sr reason, uint32_t chunk,
                     double upscale_seconds, double av_offset, char *text, size_t size)
{
    if (reason != SP_SR_READY) {
        snprintf(text, size, "SR OFF: %s  chunk %u  late %llu drop %llu  A-V %+.3f",
                 sp_no_sr_text(reason), chunk, (unsigned long long)s->late,
                 (unsigned long long)s->dropped, av_offset);
        return;
    }
    double used = upscale_seconds * 1e3, budget = s->frame_time * 1e3;
    snprintf(text, size,
             "SR x%u %s chunk %u  ON %.1f/%.1f ms (%.0f%%)  late %llu drop %llu  A-V %+.3f",
             s->scale, s->model, chunk, used, budget, budget > 0 ? used / budget * 100 : 0,
             (unsigned long long)s->late, (unsigned long long)s->dropped, av_offset);
}

void sp_stats_routes(const struct sp_route_counts *counts, char *text, size_t size)
{
    int n = 0;
    for (uint32_t p = 0; p < counts->paths && n >= 0 && (size_t)n < size; p++) {
        int more = snprintf(text + n, size - (size_t)n, "%s%llu", p > 0 ? " " : "",
                            (unsigned long long)counts->cells[p]);
        n = more < 0 ? more : n + more;
    }
    if (n >= 0 && (size_t)n < size) {
        snprintf(text + n, size - (size_t)n, " cells by path, %llu kept, %.1f%% MAC",
                 (unsigned long long)counts->reused, sp_route_macs_share(counts) * 100);
    }
}

/* ---- JSON ---- */

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* Six decimals are more than any of these figures can hold, and keep the file readable. */
static json_t *real(double value)
{
    return json_real(isfinite(value) ? round(value * 1e6) / 1e6 : 0);
}

static json_t *stages(const struct sp_playback_stats *s)
{
    json_t *all = json_object();
    for (int i = 0; i < SP_STAGE_COUNT; i++) {
        const struct sp_stage_times *t = &s->stage[i];
        json_object_set_new(all, sp_stage_name((enum sp_stage)i),
                            json_pack("{s:o,s:o,s:o,s:o,s:o}", "p50", real(t->p50), "p95",
                                      real(t->p95), "p99", real(t->p99), "avg", real(t->avg), "max",
                                      real(t->max)));
    }
    return all;
}

json_t *sp_stats_routes_json(const struct sp_playback_stats *s)
{
    json_t *cells = json_array();
    json_t *by_default = json_pack("{s:o}", "total", integer(s->by_default));
    for (int i = SP_NO_ROUTES_NONE; i < SP_NO_ROUTES_COUNT; i++) {
        json_object_set_new(by_default, sp_no_routes_key((enum sp_no_routes)i),
                            integer(s->by_default_by[i]));
    }
    for (uint32_t p = 0; p < s->route.paths; p++) {
        json_array_append_new(cells, integer(s->route.cells[p]));
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "frames", integer(s->routed), "default",
                     by_default, "cells", cells, "reused", integer(s->route.reused), "macs_share",
                     s->routed > 0 ? real(sp_route_macs_share(&s->route)) : json_null(),
                     "missed_chunks", integer(s->media.missed_routes));
}

static json_t *to_json(const struct sp_playback_stats *s)
{
    char verdict[512];
    sp_stats_verdict(s, verdict, sizeof verdict);
    json_t *not_upscaled = json_pack("{s:o}", "total", integer(s->not_upscaled));
    for (int i = SP_NO_SR_NO_MODEL; i < SP_NO_SR_COUNT; i++) {
        json_object_set_new(not_upscaled, sp_no_sr_key((enum sp_no_sr)i),
                            integer(s->not_upscaled_by[i]));
    }
    const struct sp_media_stats *m = &s->media;
    json_t *media = json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "bytes_received", integer(m->bytes_received),
        "bytes_video", integer(m->bytes_video), "bytes_audio", integer(m->bytes_audio),
        "bytes_parameters", integer(m->bytes_parameters), "bytes_routes", integer(m->bytes_routes),
        "cache_hits", integer(m->cache_hits),
        "cache_misses", integer(m->cache_misses), "retries", integer(m->retries), "hash_failures",
        integer(m->hash_failures), "damaged_chunks", integer(m->damaged_chunks));
    json_t *sr = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o}", "model", s->model, "backend", s->backend,
                           "isa", s->isa, "dtype", s->dtype, "threads", integer(s->threads),
                           "scale", integer(s->scale));
    json_t *errors = json_array();
    if (s->error.code != SRP_OK) {
        json_array_append_new(errors, json_pack("{s:s,s:s}", "code", srp_strerror(s->error.code),
                                                "detail", s->error.detail));
    }
    json_t *root = json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "fps", real(s->fps), "frames", integer(s->frames),
        "upscaled", integer(s->upscaled), "not_upscaled", not_upscaled, "late", integer(s->late),
        "dropped", integer(s->dropped), "stalls", integer(s->stalls), "stage_ms", stages(s));
    json_object_set_new(root, "frame_ms", real(s->frame_time * 1e3));
    json_object_set_new(root, "peak_rss_bytes", integer(s->peak_rss_bytes));
    json_object_set_new(root, "arena_bytes", integer(s->arena_bytes));
    json_object_set_new(root, "duration_s", real(s->duration));
    json_object_set_new(root, "media_duration_s", real(s->media_duration));
    json_object_set_new(root, "av_offset_ms", real(s->av_offset * 1e3));
    json_object_set_new(root, "audio", json_boolean(s->audio));
    json_object_set_new(root, "untimed", json_boolean(s->untimed));
    json_object_set_new(root, "interrupted", json_boolean(s->interrupted));
    json_object_set_new(root, "lr", json_pack("{s:o,s:o}", "width", integer(s->lr_width), "height",
                                              integer(s->lr_height)));
    json_object_set_new(root, "output", json_pack("{s:o,s:o}", "width", integer(s->out_width),
                                                  "height", integer(s->out_height)));
    json_object_set_new(root, "sr", sr);
    json_object_set_new(root, "routes", sp_stats_routes_json(s));
    json_object_set_new(root, "media", media);
    json_object_set_new(root, "verdict", json_string(verdict));
    json_object_set_new(root, "errors", errors);
    return root;
}

enum srp_err sp_stats_write(const struct sp_playback_stats *s, const char *path,
                            struct srp_error *err)
{
    json_t *root = to_json(s);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    bool to_stdout = strcmp(path, "-") == 0;
    FILE *file = !text ? NULL : to_stdout ? stdout : fopen(path, "w");
    bool ok = file && fprintf(file, "%s\n", text) > 0 && fflush(file) == 0;
    int cause = errno;
    if (file && !to_stdout && fclose(file) != 0) {
        ok = false;
        cause = errno;
    }
    free(text);
    if (!ok && err) {
        err->code = SRP_ERR_IO;
        snprintf(err->detail, sizeof err->detail, "%s: cannot write the statistics: %s", path,
                 strerror(cause));
    }
    return ok ? SRP_OK : SRP_ERR_IO;
}
