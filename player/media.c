/* SPDX-License-Identifier: BSD-2-Clause */
#include "media.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "media_internal.h"
#include "models.h"
#include "playlist.h"
#include "url.h"

const char *sp_no_sr_text(enum sp_no_sr reason)
{
    switch (reason) {
    case SP_SR_READY:
        return "on";
    case SP_NO_SR_NO_MODEL:
        return "no model for this video";
    case SP_NO_SR_NOT_VERIFIED:
        return "parameters failed verification";
    case SP_NO_SR_NOT_ARRIVED:
        return "parameters have not arrived";
    case SP_NO_SR_USER:
        return "switched off";
    case SP_NO_SR_LATE:
        return "over the frame budget";
    case SP_NO_SR_FAILED:
        return "the engine reported an error";
    case SP_NO_SR_SIZE:
        return "the picture changed its size";
    }
    return "unknown";
}

const char *sp_no_routes_text(enum sp_no_routes reason)
{
    switch (reason) {
    case SP_ROUTES_READY:
        return "in use";
    case SP_NO_ROUTES_NONE:
        return "no routes for this chunk";
    case SP_NO_ROUTES_NOT_VERIFIED:
        return "routes failed verification";
    case SP_NO_ROUTES_NOT_ARRIVED:
        return "routes have not arrived";
    case SP_NO_ROUTES_MISMATCH:
        return "routes are for a model of other paths";
    case SP_NO_ROUTES_FRAME:
        return "routes do not know this frame";
    case SP_NO_ROUTES_USER:
        return "switched off";
    }
    return "unknown";
}

/* ---- opening -------------------------------------------------------------------------------- */

enum srp_err sp_media_need_net(struct sp_media *m, struct srp_error *err)
{
    struct sp_net_params params = {
        .gate = &m->gate, .counters = &m->counters, .log = m->params.log};

    if (m->net != NULL) {
        return SRP_OK;
    }
    if (m->params.net != NULL) {
        params.limits = *m->params.net;
    }
    enum srp_err code = sp_net_create(&m->net, &params, err);
    m->env.net = m->net;
    return code;
}

/* The rest of the source, from its beginning. */
static enum srp_err read_all(struct sp_source *source, uint64_t max, struct sp_bytes *out,
                             struct srp_error *err)
{
    char shown[300];
    uint8_t part[16384];

    sp_url_show(shown, sizeof(shown), sp_source_location(source));
    sp_source_seek(source, 0);
    for (;;) {
        int64_t n = sp_source_read(source, part, sizeof(part), err);
        if (n < 0) {
            sp_bytes_free(out);
            return (enum srp_err)n;
        }
        if (n == 0) {
            return SRP_OK;
        }
        if (!sp_bytes_append(out, part, (size_t)n, max)) {
            sp_bytes_free(out);
            return sp_fail(err, SRP_ERR_LIMIT, "%s: more than %llu bytes", shown,
                           (unsigned long long)max);
        }
    }
}

static enum srp_err open_manifest(struct sp_media *m, struct sp_source *source,
                                  struct srp_error *err)
{
    struct sp_bytes bytes = {0};
    enum srp_err code = read_all(source, SRP_MAX_JSON_BYTES, &bytes, err);

    if (code == SRP_OK) {
        code = sp_package_media_open(m, &bytes, sp_source_location(source), err);
    }
    sp_bytes_free(&bytes);
    return code;
}

/* The package that the playlist announces; NOT_FOUND: it announces none. */
static enum srp_err open_announced(struct sp_media *m, struct sp_source *playlist,
                                   struct srp_error *err)
{
    struct sp_bytes bytes = {0};
    struct sp_source *source = NULL;
    char *reference = NULL, *location = NULL, shown[300];
    enum srp_err code = read_all(playlist, SP_PLAYLIST_MAX_BYTES, &bytes, err);

    if (code != SRP_OK) {
        return code;
    }
    sp_url_show(shown, sizeof(shown), sp_source_location(playlist));
    code = sp_playlist_manifest(&reference, bytes.data, bytes.size);
    if (code == SRP_ERR_NOT_FOUND) {
        goto out;
    }
    if (code != SRP_OK) {
        sp_fail(err, code, "%s: malformed EXT-X-SESSION-DATA", shown);
        goto warn;
    }
    code = sp_url_resolve(&location, sp_source_location(playlist), reference, err);
    if (code == SRP_OK) {
        code = sp_source_open(&source, &m->env, location, err);
    }
    if (code == SRP_OK) {
        code = open_manifest(m, source, err);
    }
warn:
    if (code != SRP_OK) { /* enhancement may fail, playback may not */
        sp_log(m->params.log, SP_LOG_WARN, "%s; playing the playlist without its package",
               err != NULL ? err->detail : shown);
        code = SRP_ERR_NOT_FOUND;
    }
out:
    sp_source_close(&source);
    free(location);
    free(reference);
    sp_bytes_free(&bytes);
    return code;
}

static enum srp_err open_source(struct sp_media *m, struct sp_source **source,
                                struct srp_error *err)
{
    struct srp_error why = {0};
    uint8_t head[64];
    size_t n = 0, at = 0;

    while (n < sizeof(head)) {
        int64_t r = sp_source_read(*source, head + n, sizeof(head) - n, err);
        if (r < 0) {
            return (enum srp_err)r;
        }
        if (r == 0) {
            break;
        }
        n += (size_t)r;
    }
    if (n == 0) {
        char shown[300];
        sp_url_show(shown, sizeof(shown), sp_source_location(*source));
        return sp_fail(err, SRP_ERR_FORMAT, "%s: the file is empty", shown);
    }
    while (at < n && isspace(head[at])) {
        at++;
    }
    if (at < n && head[at] == '{') {
        return open_manifest(m, *source, err);
    }
    if (sp_playlist_is(head, n)) {
        enum srp_err code = sp_media_need_net(m, err);
        if (code == SRP_OK) {
            code = open_announced(m, *source, &why);
        }
        if (code != SRP_ERR_NOT_FOUND) {
            if (code != SRP_OK) {
                sp_fail(err, code, "%s", why.detail);
            }
            return code;
        }
    }
    sp_source_seek(*source, 0);
    return sp_plain_media_open(m, source, err);
}

static enum srp_err load_general(struct sp_media *m, const char *name, struct srp_error *err)
{
    enum srp_err code = sp_models_load(&m->general, m->params.models_dir, name, err);

    if (code == SRP_OK) {
        struct srp_model_info info;
        srp_model_get_info(m->general, &info);
        snprintf(m->general_name, sizeof(m->general_name), "%s", info.name);
    }
    return code;
}

/* A named model has to load; the default one for plain media may be missing. */
static enum srp_err choose_general(struct sp_media *m, bool is_package, struct srp_error *err)
{
    struct srp_error why = {0};
    char name[32];

    if (m->params.no_model) {
        return SRP_OK;
    }
    if (m->params.model_name != NULL) {
        return load_general(m, m->params.model_name, err);
    }
    if (!is_package) {
        snprintf(name, sizeof(name), "edge16-x%u", (unsigned)m->params.plain_scale);
        if (load_general(m, name, &why) != SRP_OK) {
            sp_log(m->params.log, SP_LOG_WARN, "%s; playing without super-resolution", why.detail);
        }
    }
    return SRP_OK;
}

enum srp_err sp_media_open(struct sp_media **out, const struct sp_media_params *params,
                           struct srp_error *err)
{
    struct sp_media *m = calloc(1, sizeof(*m));
    struct sp_source *source = NULL;
    struct sp_media_info info = {0};
    char *location = NULL;
    enum srp_err code;

    *out = NULL;
    if (m == NULL || !sp_gate_init(&m->gate)) {
        free(m);
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    if (params->log == NULL || params->log->level < SP_LOG_DEBUG) {
        /* What matters is logged by us, escaped and with its file. */
        av_log_set_level(AV_LOG_QUIET);
    }
    m->params = *params;
    m->params.plain_scale = params->plain_scale != 0 ? params->plain_scale : 2;
    m->params.start_wait_ms = params->start_wait_ms != 0 ? params->start_wait_ms : 5000;
    m->env = (struct sp_source_env){.gate = &m->gate, .log = params->log};
    if (m->params.plain_scale > SRP_MAX_SCALE) {
        code = sp_fail(err, SRP_ERR_USAGE, "scale %u is not 1 to 4", m->params.plain_scale);
        goto fail;
    }
    code = sp_url_from_user(&location, params->url, err);
    if (code != SRP_OK) {
        goto fail;
    }
    if (sp_url_is_remote(location)) {
        code = sp_media_need_net(m, err);
        if (code != SRP_OK) {
            goto fail;
        }
        if (params->cache_dir == NULL || params->cache_dir[0] != '\0') {
            m->cache = sp_cache_open(params->cache_dir, SP_CACHE_BYTES, params->log);
        }
    }
    code = sp_source_open(&source, &m->env, location, err);
    if (code == SRP_OK) {
        code = open_source(m, &source, err);
    }
    if (code == SRP_OK) {
        m->ops->get_info(m->kind, &info);
        code = choose_general(m, info.package != NULL, err);
    }
    if (code == SRP_OK && m->general != NULL && info.package != NULL) {
        struct srp_model_info model;
        srp_model_get_info(m->general, &model);
        if (model.scale != info.scale) {
            code = sp_fail(err, SRP_ERR_UNSUPPORTED,
                           "model %s enlarges %u times, the package is made for %u",
                           m->general_name, model.scale, info.scale);
        }
    }
    if (code != SRP_OK) {
        goto fail;
    }
    sp_source_close(&source);
    free(location);
    *out = m;
    return SRP_OK;

fail:
    sp_source_close(&source);
    free(location);
    sp_media_close(&m);
    return code;
}

void sp_media_close(struct sp_media **media)
{
    struct sp_media *m = *media;

    if (m == NULL) {
        return;
    }
    sp_gate_lock(&m->gate);
    m->gate.interrupted = true;
    sp_gate_signal(&m->gate);
    while (m->readers > 0) {
        sp_gate_wait(&m->gate, INT64_MAX);
    }
    sp_gate_unlock(&m->gate);
    if (m->kind != NULL) {
        m->ops->close(m->kind);
    }
    sp_net_destroy(&m->net);
    sp_cache_close(&m->cache);
    srp_model_unref(&m->general);
    sp_gate_destroy(&m->gate);
    free(m);
    *media = NULL;
}

/* ---- the rest of the contract --------------------------------------------------------------- */

void sp_media_get_info(const struct sp_media *m, struct sp_media_info *info)
{
    memset(info, 0, sizeof(*info));
    m->ops->get_info(m->kind, info);
    if (m->general != NULL) {
        struct srp_model_info model;
        srp_model_get_info(m->general, &model);
        info->model_name = m->general_name;
        if (info->package == NULL) {
            info->scale = model.scale;
        }
    } else if (m->params.no_model) {
        info->model_name = NULL;
    }
    if (info->package == NULL) {
        info->out_width = info->width * info->scale;
        info->out_height = info->height * info->scale;
    }
}

/* False when interrupted: reads end at once until the next seek. */
static bool enter(struct sp_media *m, struct srp_error *err)
{
    sp_gate_lock(&m->gate);
    bool ok = !m->gate.interrupted;
    m->readers += ok ? 1 : 0;
    sp_gate_unlock(&m->gate);
    if (!ok) {
        sp_fail(err, SRP_ERR_IO, "interrupted");
    }
    return ok;
}

static void leave(struct sp_media *m)
{
    sp_gate_lock(&m->gate);
    m->readers--;
    sp_gate_signal(&m->gate);
    sp_gate_unlock(&m->gate);
}

int sp_media_read_video(struct sp_media *m, AVFrame *frame, struct sp_frame_meta *meta,
                        struct srp_error *err)
{
    if (!enter(m, err)) {
        return SRP_ERR_IO;
    }
    int r = m->ops->read_video(m->kind, frame, meta, err);
    leave(m);
    return r;
}

int sp_media_read_audio(struct sp_media *m, AVFrame *frame, double *pts, struct srp_error *err)
{
    if (!enter(m, err)) {
        return SRP_ERR_IO;
    }
    int r = m->ops->read_audio(m->kind, frame, pts, err);
    leave(m);
    return r;
}

enum srp_err sp_media_seek(struct sp_media *m, double seconds, bool exact, struct srp_error *err)
{
    sp_gate_lock(&m->gate);
    m->gate.interrupted = false;
    m->readers++;
    sp_gate_unlock(&m->gate);
    if (!(seconds > 0)) { /* NaN too */
        seconds = 0;
    }
    enum srp_err code = m->ops->seek(m->kind, seconds, exact, err);
    leave(m);
    return code;
}

void sp_media_interrupt(struct sp_media *m)
{
    sp_gate_lock(&m->gate);
    m->gate.interrupted = true;
    sp_gate_signal(&m->gate);
    sp_gate_unlock(&m->gate);
}

void sp_media_get_stats(struct sp_media *m, struct sp_media_stats *stats)
{
    struct sp_counters *c = &m->counters;

    *stats = (struct sp_media_stats){
        .bytes_received = atomic_load(&c->bytes_received),
        .bytes_video = atomic_load(&c->bytes_video),
        .bytes_audio = atomic_load(&c->bytes_audio),
        .bytes_parameters = atomic_load(&c->bytes_parameters),
        .bytes_routes = atomic_load(&c->bytes_routes),
        .cache_hits = atomic_load(&c->cache_hits),
        .cache_misses = atomic_load(&c->cache_misses),
        .retries = atomic_load(&c->retries),
        .hash_failures = atomic_load(&c->hash_failures),
        .damaged_chunks = atomic_load(&c->damaged_chunks),
        .missed_routes = atomic_load(&c->missed_routes),
        .buffered_seconds = m->ops->buffered(m->kind),
        .last_http_status = atomic_load(&c->last_http_status),
    };
}
