/* SPDX-License-Identifier: BSD-2-Clause */
/* A package: tracks of independently decodable segments, and one model per chunk.
 * Lanes load ahead of the readers: video segments, audio segments, models, routes. A segment that
 * arrived is verified and is decoded from memory: "init + segment" is a whole small file
 * to FFmpeg. A segment that cannot be had is skipped, and the next one starts afresh. */
#include "media_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "lane.h"
#include "store.h"
#include "url.h"

/* So many segments in a row that cannot be fetched mean that the network is gone. */
enum { NETWORK_FAILURES = 2, MODELS_KEPT = 4, ROUTES_KEPT = 2 };

/* Audio decoded before a seek target, so that overlapping codecs are in step, seconds. */
static const double audio_preroll = 0.1;

struct package;

struct track {
    struct package *pkg;
    bool is_video;
    const char *name;
    struct srp_track info;
    struct sp_lane *lane;

    struct sp_bytes init; /* lane thread only */

    /* reader */
    uint32_t index;      /* segment being read or next to be opened */
    bool open, draining;
    bool played;         /* something came out since open or seek */
    unsigned failures;   /* segments in a row that could not be had */
    struct srp_error last_error;
    struct sp_source *source;
    AVIOContext *pb;
    AVFormatContext *fmt;
    AVCodecContext *codec;
    AVPacket *packet;
    double offset;       /* added to stream seconds */
    bool offset_known;
    double first_raw;    /* stream seconds of the first packet of this segment; NAN: none yet */
    double skip_until;   /* frames that end before are not handed out */
    double last_pts;     /* of the last frame, decoded or handed out; NAN: none */
    uint32_t frames;     /* decoded in this segment */
    uint64_t damaged;
    bool contiguous;     /* audio: the decoder continues from the segment before */
};

/* What updates of one model have in common. */
struct files {
    uint32_t model; /* means nothing while parameters.size is 0 */
    struct sp_bytes graph, parameters;
};

struct package {
    struct sp_media *media;
    struct srp_package *manifest;
    struct srp_package_info info;
    struct sp_store store;
    char *location;
    struct track video, audio;
    struct sp_lane *models, *routes;
    struct files loaded; /* models' lane thread only */
    struct sp_converter *converter;
    bool patient;     /* the next chunk may wait for its model: nothing is playing yet */
    uint64_t index;   /* running frame number */
    enum sp_no_sr said; /* the last reason that was logged */
    uint32_t said_chunk;
    enum sp_no_routes said_routes; /* of chunk routes_chunk; READY: nothing yet */
    uint32_t routes_chunk;
    double position;  /* guarded by the gate: pts of the last video frame handed out */
    uint32_t chunk;   /* guarded by the gate */
};

/* ---- loading (lane threads) ----------------------------------------------------------------- */

static const struct srp_segment *segment_at(struct track *t, uint32_t index)
{
    if (t->is_video) {
        const struct srp_chunk *chunk = srp_package_chunk(t->pkg->manifest, index);
        return chunk != NULL ? &chunk->segment : NULL;
    }
    return srp_package_audio_segment(t->pkg->manifest, index);
}

static void drop_segment(void *user, void *value)
{
    struct sp_bytes *bytes = value;

    (void)user;
    sp_bytes_free(bytes);
    free(bytes);
}

static enum srp_err load_segment(void *user, uint32_t key, const bool *cancel, void **value,
                                 struct srp_error *err)
{
    struct track *t = user;
    struct sp_store *store = &t->pkg->store;
    const struct srp_segment *segment = segment_at(t, key);
    struct sp_bytes bytes = {0};
    struct sp_bytes *whole = NULL;
    enum srp_err code = SRP_OK;

    if (segment == NULL) {
        return sp_fail(err, SRP_ERR_USAGE, "no such segment");
    }
    if (t->init.size == 0) {
        code = sp_store_get(store, &t->info.init, SRP_MAX_SEGMENT_BYTES, cancel, &t->init, err);
    }
    if (code == SRP_OK) {
        code = sp_store_get(store, &segment->object, SRP_MAX_SEGMENT_BYTES, cancel, &bytes, err);
    }
    if (code != SRP_OK) {
        return code;
    }
    atomic_fetch_add(t->is_video ? &store->counters->bytes_video : &store->counters->bytes_audio,
                     bytes.size);
    whole = calloc(1, sizeof(*whole));
    if (whole == NULL || !sp_bytes_append(whole, t->init.data, t->init.size, SIZE_MAX) ||
        !sp_bytes_append(whole, bytes.data, bytes.size, SIZE_MAX)) {
        if (whole != NULL) {
            drop_segment(NULL, whole);
        }
        whole = NULL;
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory for a segment");
    }
    sp_bytes_free(&bytes);
    *value = whole;
    return code;
}

static void drop_model(void *user, void *value)
{
    struct srp_model *model = value;

    (void)user;
    srp_model_unref(&model);
}

static void free_files(struct files *f)
{
    sp_bytes_free(&f->graph);
    sp_bytes_free(&f->parameters);
}

/* The files of a model, verified; they stay until those of another are wanted. */
static enum srp_err fetch_files(struct package *p, uint32_t index, const bool *cancel,
                                struct srp_error *err)
{
    const struct srp_package_model *entry = srp_package_get_model(p->manifest, index);
    struct files *f = &p->loaded;
    enum srp_err code;

    if (f->parameters.size > 0 && f->model == index) {
        return SRP_OK;
    }
    free_files(f);
    code = sp_store_get(&p->store, &entry->graph, SRP_MAX_JSON_BYTES, cancel, &f->graph, err);
    if (code == SRP_OK) {
        code = sp_store_get(&p->store, &entry->parameters, SRP_MAX_OBJECT_BYTES, cancel,
                            &f->parameters, err);
    }
    if (code != SRP_OK) {
        free_files(f);
        return code;
    }
    f->model = index;
    atomic_fetch_add(&p->media->counters.bytes_parameters, f->graph.size + f->parameters.size);
    return SRP_OK;
}

/* What the models' lane calls the model of a chunk: its number, or, with an update, that of all
 * models and then that of the first of the chunks in a row which share this update. -1: none. */
static int64_t model_key(const struct package *p, uint32_t index)
{
    const struct srp_chunk *chunk = srp_package_chunk(p->manifest, index);

    if (chunk == NULL || !chunk->has_update) {
        return chunk != NULL ? chunk->model : -1;
    }
    for (; index > 0; index--) {
        const struct srp_chunk *before = srp_package_chunk(p->manifest, index - 1);
        if (!before->has_update || before->model != chunk->model ||
            strcmp(before->update.uri, chunk->update.uri) != 0) {
            break;
        }
    }
    return (int64_t)p->info.model_count + index;
}

static enum srp_err load_model(void *user, uint32_t key, const bool *cancel, void **value,
                               struct srp_error *err)
{
    struct package *p = user;
    const bool updated = key >= p->info.model_count;
    const uint32_t chunk = key - p->info.model_count;
    const uint32_t index = updated ? (uint32_t)srp_package_chunk(p->manifest, chunk)->model : key;
    const struct srp_object *object =
        updated ? &srp_package_chunk(p->manifest, chunk)->update : NULL;
    const struct srp_package_model *entry = srp_package_get_model(p->manifest, index);
    struct sp_bytes update = {0};
    struct srp_model *model = NULL;
    enum srp_err code = fetch_files(p, index, cancel, err);

    if (code == SRP_OK && updated) {
        code = sp_store_get(&p->store, object, SRP_MAX_OBJECT_BYTES, cancel, &update, err);
        atomic_fetch_add(&p->media->counters.bytes_parameters, update.size);
    }
    if (code == SRP_OK) {
        struct srp_blob g = {p->loaded.graph.data, p->loaded.graph.size, entry->graph.uri};
        struct srp_blob q = {p->loaded.parameters.data, p->loaded.parameters.size,
                             entry->parameters.uri};
        struct srp_blob u = {update.data, update.size, updated ? object->uri : NULL};
        code = updated
                   ? srp_package_load_chunk_model(p->manifest, chunk, &g, &q, &u, &model, err)
                   : srp_package_load_model(p->manifest, index, &g, &q, &model, err);
    }
    sp_bytes_free(&update);
    *value = model;
    return code;
}

static void drop_routes(void *user, void *value)
{
    struct srp_routes *routes = value;

    (void)user;
    srp_routes_unref(&routes);
}

/* Routes are named by their chunk. */
static enum srp_err load_routes(void *user, uint32_t key, const bool *cancel, void **value,
                                struct srp_error *err)
{
    struct package *p = user;
    const struct srp_chunk *chunk = srp_package_chunk(p->manifest, key);
    struct sp_bytes bytes = {0};
    struct srp_routes *routes = NULL;

    if (chunk == NULL || !chunk->has_routes) {
        return sp_fail(err, SRP_ERR_USAGE, "no such routes");
    }
    enum srp_err code =
        sp_store_get(&p->store, &chunk->routes, SRP_MAX_OBJECT_BYTES, cancel, &bytes, err);
    if (code == SRP_OK) {
        struct srp_blob blob = {bytes.data, bytes.size, chunk->routes.uri};
        atomic_fetch_add(&p->media->counters.bytes_routes, bytes.size);
        code = srp_package_load_routes(p->manifest, key, &blob, &routes, err);
    }
    sp_bytes_free(&bytes);
    *value = routes;
    return code;
}

/* ---- one segment ---------------------------------------------------------------------------- */

static void close_segment(struct track *t)
{
    avformat_close_input(&t->fmt);
    sp_source_avio_free(&t->pb);
    sp_source_close(&t->source);
    t->open = t->draining = false;
}

/* Says what became of a segment that could not be played (or only in part), and counts it. */
static void note_damage(struct track *t, const char *why)
{
    const struct srp_segment *segment = segment_at(t, t->index);

    sp_log(t->pkg->media->params.log, SP_LOG_WARN, "%s segment %u (%s): %s", t->name, t->index,
           segment != NULL ? segment->object.uri : "?", why);
    atomic_fetch_add(&t->pkg->media->counters.damaged_chunks, 1);
}

static enum srp_err demux_segment(struct track *t, const struct sp_bytes *bytes,
                                  struct srp_error *err)
{
    const struct srp_segment *segment = segment_at(t, t->index);
    struct package *p = t->pkg;
    const enum AVMediaType type = t->is_video ? AVMEDIA_TYPE_VIDEO : AVMEDIA_TYPE_AUDIO;
    enum srp_err code =
        sp_source_open_memory(&t->source, &p->media->env, bytes->data, bytes->size, err);

    if (code == SRP_OK && (t->pb = sp_source_avio(t->source)) == NULL) {
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    if (code == SRP_OK) {
        struct sp_demux_params params = {.pb = t->pb,
                                         .source = t->source,
                                         .location = segment->object.uri,
                                         .allowed = &sp_allowed_package,
                                         .gate = &p->media->gate};
        code = sp_demux_open(&t->fmt, &params, err);
    }
    if (code == SRP_OK && (t->fmt->nb_streams != 1 ||
                           t->fmt->streams[0]->codecpar->codec_type != type)) {
        code = sp_fail(err, SRP_ERR_FORMAT, "%s: does not hold one %s stream",
                       segment->object.uri, t->name);
    }
    /* One decoder serves all segments of a track: they share one init. */
    if (code == SRP_OK && t->codec == NULL) {
        code = sp_decoder_open(&t->codec, t->fmt->streams[0], &sp_allowed_package,
                               t->is_video ? p->media->params.decode_threads : 1,
                               segment->object.uri, err);
    }
    if (code != SRP_OK) {
        close_segment(t);
    }
    return code;
}

/* 1: open; 0: this segment cannot be had (last_error says why); <0: stop. */
static int open_segment(struct track *t, struct srp_error *err)
{
    uint32_t wants[2] = {t->index, t->index + 1};
    size_t count = t->index + 1 < t->info.segment_count ? 2 : 1;
    struct srp_error why = {0};
    void *value = NULL;
    enum srp_err code;

    sp_lane_want(t->lane, wants, count, true);
    switch (sp_lane_wait(t->lane, t->index, INT64_MAX, &value, &why)) {
    case SP_LANE_READY:
        code = demux_segment(t, value, &why);
        break;
    case SP_LANE_FAILED:
        code = why.code;
        break;
    case SP_LANE_PENDING:
    case SP_LANE_INTERRUPTED:
    default:
        return sp_fail(err, SRP_ERR_IO, "interrupted");
    }
    if (code == SRP_OK) {
        if (t->is_video || !t->contiguous) {
            avcodec_flush_buffers(t->codec);
        }
        t->open = true;
        t->draining = t->offset_known = false;
        t->first_raw = NAN;
        t->frames = 0;
        t->damaged = 0;
        return 1;
    }
    note_damage(t, why.detail);
    t->last_error = why;
    t->contiguous = false;
    t->failures++;
    if (code == SRP_ERR_NOMEM || (code == SRP_ERR_NETWORK && t->failures >= NETWORK_FAILURES)) {
        return sp_fail(err, code, "%s", why.detail);
    }
    return 0;
}

static int next_packet(void *user, AVPacket *packet)
{
    struct track *t = user;
    int r;

    if (t->draining) {
        return 0;
    }
    r = av_read_frame(t->fmt, packet);
    if (r < 0) {
        t->draining = true;
        t->damaged += r != AVERROR_EOF ? 1 : 0;
        /* The end of the segment, but not of an audio track: its decoder goes on with the next
         * one. */
        return t->is_video || t->index + 1 >= t->info.segment_count ? 0 : SRP_ERR_NOT_FOUND;
    }
    if (isnan(t->first_raw) && packet->pts != AV_NOPTS_VALUE &&
        !(packet->flags & AV_PKT_FLAG_DISCARD)) {
        t->first_raw = (double)packet->pts * av_q2d(t->fmt->streams[0]->time_base);
    }
    if (!t->is_video && t->contiguous && t->frames == 0) {
        /* Every init says "drop the encoder's priming", but only the first segment has it. */
        for (int i = 0; i < packet->side_data_elems; i++) {
            AVPacketSideData *side = &packet->side_data[i];
            if (side->type == AV_PKT_DATA_SKIP_SAMPLES && side->size >= 4) {
                memset(side->data, 0, 4); /* samples to skip at the start */
            }
        }
    }
    return 1;
}

static double ticks(const struct track *t, uint64_t value)
{
    return (double)value / (double)t->info.timescale;
}

/* Stream seconds of a frame, on the zero of the medium; always within its segment. */
static double frame_pts(struct track *t, const AVFrame *frame, double nominal)
{
    const struct srp_segment *segment = segment_at(t, t->index);
    const AVStream *stream = t->fmt->streams[0];
    double start = ticks(t, segment->start), length = ticks(t, segment->duration);
    double slack = t->is_video ? nominal / 2 : 0.5;
    double raw = frame->best_effort_timestamp != AV_NOPTS_VALUE
                     ? (double)frame->best_effort_timestamp * av_q2d(stream->time_base)
                 : t->offset_known ? t->last_pts - t->offset + nominal
                                   : start;

    if (!t->offset_known) {
        /* Video: the first picture of a chunk is shown when the chunk begins, whether it could be
         * decoded or not. Audio keeps its own times, which are finer than the manifest, unless they
         * are plainly on another zero. */
        bool lost = t->is_video && t->first_raw < raw && t->first_raw > raw - length;
        double first = lost ? t->first_raw : raw;
        t->offset = t->is_video || fabs(raw - start) > 0.5 ? start - first : 0;
        t->offset_known = true;
    }
    double pts = raw + t->offset;
    if (pts < start - slack || pts > start + length + slack) { /* damage, whatever it claims */
        t->damaged++;
        pts = !isnan(t->last_pts) && t->last_pts >= start ? t->last_pts + nominal : start;
    }
    return pts;
}

/* More pictures than the manifest declares: they would be shown in the time of the next chunk. */
static bool is_surplus(const struct track *t)
{
    const struct srp_chunk *chunk =
        t->is_video ? srp_package_chunk(t->pkg->manifest, t->index) : NULL;

    return chunk != NULL && t->frames >= chunk->frames;
}

/* Frame by frame over all segments. 1, 0, <0 as sp_media_read_video. */
static int track_read(struct track *t, AVFrame *frame, double nominal, double *pts,
                      struct srp_error *err)
{
    for (;;) {
        if (!t->open) {
            if (t->index >= t->info.segment_count) {
                if (t->failures > 0) { /* nothing after the damage can be played */
                    return sp_fail(err, t->last_error.code, "%s", t->last_error.detail);
                }
                return 0;
            }
            int r = open_segment(t, err);
            if (r < 0) {
                return r;
            }
            if (r == 0) {
                t->index++;
                continue;
            }
        }
        int r = sp_decode(t->codec, t->packet, next_packet, t, frame, &t->damaged);
        if (r > 0 && is_surplus(t)) {
            t->damaged++;
            av_frame_unref(frame);
            continue;
        }
        if (r > 0) {
            *pts = frame_pts(t, frame, nominal);
            if (!isnan(t->last_pts) && *pts <= t->last_pts) {
                *pts = t->last_pts + nominal;
            }
            t->last_pts = *pts;
            t->frames++;
            t->failures = 0;
            return 1;
        }
        /* 0: drained; NOT_FOUND: an audio segment went in whole; DECODE: nothing but damage. */
        const struct srp_chunk *chunk =
            t->is_video ? srp_package_chunk(t->pkg->manifest, t->index) : NULL;
        if (t->damaged > 0 || r == SRP_ERR_DECODE || (chunk != NULL && t->frames < chunk->frames)) {
            note_damage(t, "damaged: not every frame could be decoded");
        }
        t->contiguous = !t->is_video && r == SRP_ERR_NOT_FOUND;
        close_segment(t);
        t->index++;
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool failed_verification(enum srp_err code)
{
    return code == SRP_ERR_HASH || code == SRP_ERR_SIZE || code == SRP_ERR_LIMIT ||
           (code <= SRP_ERR_PARSE && code > SRP_ERR_DECODE);
}

/* What one lane has to have ready: `now` of this chunk, `next` of the following one; -1:
 * nothing. */
static void want(struct sp_lane *lane, int64_t now, int64_t next)
{
    uint32_t wants[2];
    size_t count = 0;

    if (now >= 0) {
        wants[count++] = (uint32_t)now;
    }
    if (next >= 0) {
        wants[count++] = (uint32_t)next;
    }
    sp_lane_want(lane, wants, count, true);
}

/* The model of this chunk and of no other, or the reason why there is none. deadline: as
 * sp_lane_wait. */
static enum sp_no_sr find_model(struct package *p, uint32_t index, bool first_of_chunk,
                                int64_t deadline, struct srp_model **model)
{
    const struct sp_media_params *params = &p->media->params;
    const int64_t key = model_key(p, index);
    struct srp_error why = {0};
    void *value = NULL;

    *model = NULL;
    if (params->no_model) {
        return SP_NO_SR_USER;
    }
    if (p->media->general != NULL) {
        *model = p->media->general;
        return SP_SR_READY;
    }
    if (first_of_chunk) {
        want(p->models, key, model_key(p, index + 1));
    }
    if (key < 0) {
        return SP_NO_SR_NO_MODEL;
    }
    if (sp_lane_wait(p->models, (uint32_t)key, deadline, &value, &why) == SP_LANE_READY) {
        *model = value;
        return SP_SR_READY;
    }
    enum sp_no_sr reason =
        failed_verification(why.code) ? SP_NO_SR_NOT_VERIFIED : SP_NO_SR_NOT_ARRIVED;
    if (p->said != reason || p->said_chunk != index) {
        sp_log(params->log, SP_LOG_WARN, "chunk %u without super-resolution: %s%s%s", index,
               sp_no_sr_text(reason), why.code != SRP_OK ? ": " : "", why.detail);
        p->said = reason;
        p->said_chunk = index;
    }
    return reason;
}

/* The frame's place in its chunk. Its time says so, whatever was decoded before it: nothing else
 * holds after a lost frame or a seek. */
static uint32_t place_in_chunk(const struct package *p, uint32_t index, double pts)
{
    const struct srp_segment *segment = &srp_package_chunk(p->manifest, index)->segment;
    double frames = (pts - ticks(&p->video, segment->start)) * (double)p->info.frame_rate_num /
                    (double)p->info.frame_rate_den;

    return frames > -0.5 && frames < UINT32_MAX - 1.0 ? (uint32_t)(frames + 0.5) : UINT32_MAX;
}

/* The routes of this frame, or the reason why there are none. The model is meta's. */
static enum sp_no_routes find_routes(struct package *p, uint32_t index, bool first_of_chunk,
                                     int64_t deadline, struct sp_frame_meta *meta,
                                     struct srp_error *why)
{
    const struct sp_media_params *params = &p->media->params;
    const struct srp_chunk *chunk = srp_package_chunk(p->manifest, index);
    const struct srp_chunk *next = srp_package_chunk(p->manifest, index + 1);
    struct srp_model_info model;
    struct srp_routes_info info;
    void *value = NULL;

    if (params->no_model || params->no_routes || p->media->general != NULL) {
        return params->no_routes ? SP_NO_ROUTES_USER : SP_NO_ROUTES_NONE;
    }
    if (first_of_chunk) {
        want(p->routes, chunk->has_routes ? (int64_t)index : -1,
             next != NULL && next->has_routes ? (int64_t)index + 1 : -1);
    }
    if (!chunk->has_routes || meta->model == NULL) {
        return SP_NO_ROUTES_NONE;
    }
    if (sp_lane_wait(p->routes, index, deadline, &value, why) != SP_LANE_READY) {
        return failed_verification(why->code) ? SP_NO_ROUTES_NOT_VERIFIED
                                              : SP_NO_ROUTES_NOT_ARRIVED;
    }
    srp_routes_get_info(value, &info);
    srp_model_get_info(meta->model, &model);
    meta->routes_frame = place_in_chunk(p, index, meta->pts);
    if (info.paths != model.path_count) {
        sp_fail(why, SRP_ERR_FORMAT, "%s: %u paths, model %s has %u", chunk->routes.uri,
                info.paths, model.name, model.path_count);
        return SP_NO_ROUTES_MISMATCH;
    }
    if (meta->routes_frame >= info.frames) {
        return SP_NO_ROUTES_FRAME;
    }
    meta->routes = value;
    return SP_ROUTES_READY;
}

/* Says once for a chunk and reason why its frames are made by the default path, and counts the
 * chunk. */
static void note_routes(struct package *p, uint32_t index, enum sp_no_routes reason,
                        const struct srp_error *why)
{
    bool missed = reason != SP_ROUTES_READY && reason != SP_NO_ROUTES_NONE &&
                  reason != SP_NO_ROUTES_USER;

    if (p->routes_chunk != index) {
        p->routes_chunk = index;
        p->said_routes = SP_ROUTES_READY;
    }
    if (!missed || p->said_routes == reason) {
        return;
    }
    if (p->said_routes == SP_ROUTES_READY) {
        atomic_fetch_add(&p->media->counters.missed_routes, 1);
    }
    p->said_routes = reason;
    sp_log(p->media->params.log, SP_LOG_WARN, "chunk %u by the model's default path: %s%s%s", index,
           sp_no_routes_text(reason), why->code != SRP_OK ? ": " : "", why->detail);
}

/* What the stream does not say, the manifest does. */
static void complete_colour(const struct package *p, AVFrame *frame)
{
    if (frame->colorspace == AVCOL_SPC_UNSPECIFIED) {
        frame->colorspace = p->info.matrix == SRP_MATRIX_BT709   ? AVCOL_SPC_BT709
                            : p->info.matrix == SRP_MATRIX_BT601 ? AVCOL_SPC_SMPTE170M
                                                                 : AVCOL_SPC_BT2020_NCL;
    }
    if (frame->color_range == AVCOL_RANGE_UNSPECIFIED) {
        frame->color_range =
            p->info.range == SRP_RANGE_FULL ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    }
    if (frame->chroma_location == AVCHROMA_LOC_UNSPECIFIED) {
        frame->chroma_location = p->info.chroma == SRP_CHROMA_CENTER    ? AVCHROMA_LOC_CENTER
                                 : p->info.chroma == SRP_CHROMA_TOPLEFT ? AVCHROMA_LOC_TOPLEFT
                                                                        : AVCHROMA_LOC_LEFT;
    }
}

static int package_read_video(void *kind, AVFrame *frame, struct sp_frame_meta *meta,
                              struct srp_error *err)
{
    struct package *p = kind;
    struct track *t = &p->video;
    double nominal = (double)p->info.frame_rate_den / (double)p->info.frame_rate_num, pts = 0;
    struct srp_error why = {0};
    int64_t deadline = 0;
    enum srp_err code;
    int r;

    for (;;) {
        av_frame_unref(frame);
        r = track_read(t, frame, nominal, &pts, err);
        if (r <= 0) {
            return r;
        }
        if (pts >= t->skip_until - nominal / 2 - 1e-6) {
            break;
        }
    }
    complete_colour(p, frame);
    code = sp_converter_run(p->converter, frame, err);
    if (code != SRP_OK) {
        return code;
    }
    memset(meta, 0, sizeof(*meta));
    meta->pts = pts;
    meta->duration = nominal;
    meta->index = p->index++;
    meta->chunk = t->index;
    meta->key = frame->key_frame != 0;
    bool first = !t->played || p->chunk != t->index;
    if (first) {
        deadline = p->media->params.exact_bytes ? INT64_MAX
                   : p->patient                 ? sp_now_ms() + p->media->params.start_wait_ms
                                                : 0;
        p->patient = false;
    }
    meta->no_sr = find_model(p, t->index, first, deadline, &meta->model);
    meta->no_routes = find_routes(p, t->index, first, deadline, meta, &why);
    if ((uint32_t)frame->width != p->info.lr_width ||
        (uint32_t)frame->height != p->info.lr_height) {
        meta->no_sr = SP_NO_SR_SIZE;
        meta->model = NULL;
        meta->routes = NULL;
        meta->no_routes = SP_NO_ROUTES_NONE;
    }
    note_routes(p, t->index, meta->no_routes, &why);
    t->played = true;
    sp_gate_lock(&p->media->gate);
    p->position = pts;
    p->chunk = t->index;
    sp_gate_unlock(&p->media->gate);
    return 1;
}

static int package_read_audio(void *kind, AVFrame *frame, double *pts, struct srp_error *err)
{
    struct package *p = kind;
    struct track *t = &p->audio;

    if (!p->info.has_audio) {
        return 0;
    }
    for (;;) {
        av_frame_unref(frame);
        int r = track_read(t, frame, 1e-4, pts, err);
        if (r <= 0) {
            return r;
        }
        double length =
            frame->sample_rate > 0 ? (double)frame->nb_samples / (double)frame->sample_rate : 0;
        if (*pts + length > t->skip_until) {
            return 1;
        }
    }
}

/* ---- the rest of the operations ------------------------------------------------------------- */

static void rewind_track(struct track *t, uint32_t index, double skip_until)
{
    close_segment(t);
    if (t->codec != NULL) {
        avcodec_flush_buffers(t->codec);
    }
    t->index = index;
    t->skip_until = skip_until;
    t->last_pts = NAN;
    t->contiguous = false;
    t->played = false;
    t->failures = 0;
}

static enum srp_err package_seek(void *kind, double seconds, bool exact, struct srp_error *err)
{
    struct package *p = kind;
    uint32_t chunk = srp_package_chunk_at(p->manifest, seconds), i = 0;
    double start = ticks(&p->video, srp_package_chunk(p->manifest, chunk)->segment.start);

    (void)err;
    rewind_track(&p->video, chunk, exact ? seconds : 0);
    p->patient = true;
    p->index = 0;
    if (p->info.has_audio) {
        double target = exact ? seconds : start;
        while (i + 1 < p->audio.info.segment_count &&
               ticks(&p->audio, srp_package_audio_segment(p->manifest, i + 1)->start) <=
                   target - audio_preroll) {
            i++;
        }
        rewind_track(&p->audio, i, target);
    }
    return SRP_OK;
}

static void package_get_info(const void *kind, struct sp_media_info *info)
{
    const struct package *p = kind;
    const struct srp_chunk *chunk = srp_package_chunk(p->manifest, 0);

    info->package = p->manifest;
    info->width = p->info.lr_width;
    info->height = p->info.lr_height;
    info->out_width = p->info.out_width;
    info->out_height = p->info.out_height;
    info->scale = p->info.scale;
    info->sar = 1;
    info->frame_rate_num = (int)p->info.frame_rate_num;
    info->frame_rate_den = (int)p->info.frame_rate_den;
    info->duration = p->info.duration;
    info->has_audio = p->info.has_audio;
    info->audio_rate = (int)p->info.audio_sample_rate;
    info->audio_channels = (int)p->info.audio_channels;
    if (chunk != NULL && chunk->model >= 0) {
        info->model_name = srp_package_get_model(p->manifest, (uint32_t)chunk->model)->name;
    }
}

static double package_buffered(void *kind)
{
    struct package *p = kind;
    struct track *t = &p->video;
    double seconds = 0;
    void *value = NULL;

    sp_gate_lock(&p->media->gate);
    uint32_t chunk = p->chunk;
    double position = p->position;
    sp_gate_unlock(&p->media->gate);
    const struct srp_segment *now = segment_at(t, chunk), *next = segment_at(t, chunk + 1);
    if (sp_lane_wait(t->lane, chunk, 0, &value, NULL) == SP_LANE_READY) {
        seconds += ticks(t, now->start + now->duration) - position;
        if (next != NULL && sp_lane_wait(t->lane, chunk + 1, 0, &value, NULL) == SP_LANE_READY) {
            seconds += ticks(t, next->duration);
        }
    }
    return seconds > 0 ? seconds : 0;
}

static void close_track(struct track *t)
{
    sp_lane_destroy(&t->lane);
    close_segment(t);
    avcodec_free_context(&t->codec);
    av_packet_free(&t->packet);
    sp_bytes_free(&t->init);
}

static void package_close(void *kind)
{
    struct package *p = kind;

    sp_lane_destroy(&p->models);
    sp_lane_destroy(&p->routes);
    free_files(&p->loaded);
    close_track(&p->video);
    close_track(&p->audio);
    sp_converter_destroy(&p->converter);
    srp_package_destroy(&p->manifest);
    free(p->location);
    free(p);
}

static enum srp_err open_track(struct track *t, struct package *p, bool is_video,
                               struct srp_error *err)
{
    struct sp_lane_params lane = {.name = is_video ? "srp-video" : "srp-audio",
                                  .gate = &p->media->gate,
                                  .load = load_segment,
                                  .drop = drop_segment,
                                  .user = t};
    uint32_t wants[2] = {0, 1};

    t->pkg = p;
    t->is_video = is_video;
    t->name = is_video ? "video" : "audio";
    t->info = is_video ? p->info.video : p->info.audio;
    t->last_pts = NAN;
    t->packet = av_packet_alloc();
    if (t->packet == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    enum srp_err code = sp_lane_create(&t->lane, &lane, err);
    if (code == SRP_OK) {
        sp_lane_want(t->lane, wants, t->info.segment_count < 2 ? t->info.segment_count : 2, false);
    }
    return code;
}

static const struct sp_media_ops package_ops = {
    .close = package_close,
    .get_info = package_get_info,
    .read_video = package_read_video,
    .read_audio = package_read_audio,
    .seek = package_seek,
    .buffered = package_buffered,
};

enum srp_err sp_package_media_open(struct sp_media *m, const struct sp_bytes *manifest,
                                   const char *location, struct srp_error *err)
{
    struct package *p = calloc(1, sizeof(*p));
    struct srp_blob blob = {manifest->data, manifest->size, NULL};
    struct sp_lane_params lane = {
        .name = "srp-models", .keep = MODELS_KEPT, .load = load_model, .drop = drop_model};
    struct sp_lane_params routes = {
        .name = "srp-routes", .keep = ROUTES_KEPT, .load = load_routes, .drop = drop_routes};
    const struct srp_chunk *first;
    char shown[300];
    enum srp_err code;

    if (p == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    sp_url_show(shown, sizeof(shown), location);
    blob.name = shown;
    p->media = m;
    code = srp_package_create(&p->manifest, &blob, err);
    if (code != SRP_OK) {
        free(p);
        return code;
    }
    srp_package_get_info(p->manifest, &p->info);
    p->patient = true;
    p->location = strdup(location);
    p->converter = sp_converter_create();
    p->store = (struct sp_store){.base = p->location,
                                 .net = m->net,
                                 .cache = m->cache,
                                 .counters = &m->counters,
                                 .log = m->params.log};
    if (p->location == NULL || p->converter == NULL) {
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory");
        goto fail;
    }
    lane.gate = routes.gate = &m->gate;
    lane.user = routes.user = p;
    if ((code = sp_lane_create(&p->models, &lane, err)) != SRP_OK ||
        (code = sp_lane_create(&p->routes, &routes, err)) != SRP_OK ||
        (code = open_track(&p->video, p, true, err)) != SRP_OK ||
        (p->info.has_audio && (code = open_track(&p->audio, p, false, err)) != SRP_OK)) {
        goto fail;
    }
    first = srp_package_chunk(p->manifest, 0);
    if (first->model >= 0 && !m->params.no_model && m->params.model_name == NULL) {
        uint32_t key = (uint32_t)model_key(p, 0);
        sp_lane_want(p->models, &key, 1, false);
        key = 0;
        sp_lane_want(p->routes, &key, first->has_routes && !m->params.no_routes ? 1 : 0, false);
    }
    m->ops = &package_ops;
    m->kind = p;
    return SRP_OK;

fail:
    package_close(p);
    return code;
}
