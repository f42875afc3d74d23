/* SPDX-License-Identifier: BSD-2-Clause */
/* The manifest validator: docs/format.md, field by field. What passes here can be trusted to be
 * consistent with itself; whether the objects are what it says is srp_object_verify's question. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "package.h"

#include <srp/limits.h>

#define MAX_CONTENT_ID 64u
#define MAX_GENERATOR 256u
#define MAX_CODEC 64u
#define MAX_TIMESCALE 1000000000u
#define MAX_CHUNK_FRAMES (1u << 20)
#define MAX_START_SECONDS 1e9
#define MAX_SAMPLE_RATE 768000u
#define MAX_AUDIO_CHANNELS 64u
#define HASH_DIGITS 64u

struct reader {
    struct srp_package *pkg;
    struct srp_error *err;
    char *text; /* where the next string goes; the whole fits, see srpi_manifest_read */
};

static const char *const matrix_words[] = {"bt709", "bt601", "bt2020", NULL};
static const char *const range_words[] = {"limited", "full", NULL};
static const char *const chroma_words[] = {"left", "center", "topleft", NULL};

static const char *keep(struct reader *r, const char *text)
{
    char *copy = r->text;
    size_t size = strlen(text) + 1;
    memcpy(copy, text, size);
    r->text += size;
    return copy;
}

/* Value of a lower-case hex digit, or -1. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Writes the digits' address too: the name of an object repeats them. */
static enum srp_err read_hash(struct reader *r, const struct srpi_at *at, uint8_t hash[32],
                              const char **digits)
{
    struct srpi_at field;
    const char *text = NULL;

    enum srp_err rc = srpi_at_field(&field, at, "sha256", r->err);
    if (rc == SRP_OK) {
        rc = srpi_at_text(&field, HASH_DIGITS, &text, r->err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    bool ok = strlen(text) == HASH_DIGITS;
    for (uint32_t i = 0; ok && i < HASH_DIGITS / 2; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        ok = high >= 0 && low >= 0;
        hash[i] = (uint8_t)(ok ? high * 16 + low : 0);
    }
    if (!ok) {
        return srpi_at_fail(&field, r->err, SRP_ERR_FORMAT, "not %u lower-case hex digits",
                            HASH_DIGITS);
    }
    *digits = text;
    return SRP_OK;
}

/* A plain file name: without separator and leading dot it never leaves the directory. */
static enum srp_err check_file_name(struct reader *r, const struct srpi_at *uri)
{
    const char *name = NULL;
    enum srp_err rc = srpi_at_name(uri, SRP_MAX_URI, "-", &name, r->err);
    if (rc == SRP_OK && name[0] == '.') {
        rc = srpi_at_fail(uri, r->err, SRP_ERR_FORMAT, "'%s' begins with a dot", name);
    }
    return rc;
}

/* "objects/" + digits + one of the extensions. */
static enum srp_err check_object_name(struct reader *r, const struct srpi_at *uri,
                                      const char *digits, const char *const *extensions)
{
    static const char prefix[] = "objects/";
    const size_t head = sizeof(prefix) - 1;
    const char *text = NULL;

    enum srp_err rc = srpi_at_text(uri, SRP_MAX_URI, &text, r->err);
    if (rc != SRP_OK) {
        return rc;
    }
    if (strncmp(text, prefix, head) != 0 || strlen(text) < head + HASH_DIGITS) {
        return srpi_at_fail(uri, r->err, SRP_ERR_FORMAT, "'%.128s' is not objects/<sha256>.<ext>",
                            text);
    }
    if (memcmp(text + head, digits, HASH_DIGITS) != 0) {
        return srpi_at_fail(uri, r->err, SRP_ERR_FORMAT, "the name's hash is not the object's");
    }
    for (uint32_t i = 0; extensions[i] != NULL; i++) {
        if (strcmp(text + head + HASH_DIGITS, extensions[i]) == 0) {
            return SRP_OK;
        }
    }
    return srpi_at_fail(uri, r->err, SRP_ERR_FORMAT, "'%.32s' is no extension for this object",
                        text + head + HASH_DIGITS);
}

/* `extensions` NULL: a media file. */
static enum srp_err read_object(struct reader *r, const struct srpi_at *at,
                                const char *const *extensions, struct srp_object *object)
{
    struct srpi_at uri;
    const char *digits = NULL;
    uint64_t max = extensions != NULL ? SRP_MAX_OBJECT_BYTES : SRP_MAX_SEGMENT_BYTES;

    enum srp_err rc = srpi_at_field(&uri, at, "uri", r->err);
    if (rc == SRP_OK) {
        rc = srpi_get_u64(at, "size", 1, max, &object->size, r->err);
    }
    if (rc == SRP_OK) {
        rc = read_hash(r, at, object->sha256, &digits);
    }
    if (rc == SRP_OK) {
        rc = extensions != NULL ? check_object_name(r, &uri, digits, extensions)
                                : check_file_name(r, &uri);
    }
    if (rc == SRP_OK) {
        object->uri = keep(r, json_string_value(uri.value));
    }
    return rc;
}

static enum srp_err read_segment(struct reader *r, const struct srpi_at *at,
                                 struct srp_segment *segment)
{
    enum srp_err rc = read_object(r, at, NULL, &segment->object);
    if (rc == SRP_OK) {
        rc = srpi_get_u64(at, "start", 0, SRPI_JSON_MAX_INTEGER, &segment->start, r->err);
    }
    if (rc == SRP_OK) {
        /* The end, too, is an integer of this format. */
        rc = srpi_get_u64(at, "duration", 1, SRPI_JSON_MAX_INTEGER - segment->start,
                          &segment->duration, r->err);
    }
    return rc;
}

/* `previous` NULL: the first. Video has to fill the time line; audio may begin late and pause. */
static enum srp_err check_order(struct reader *r, const struct srpi_at *at,
                                const struct srp_segment *previous,
                                const struct srp_segment *segment, bool gaps)
{
    uint64_t end = previous != NULL ? previous->start + previous->duration : 0;
    struct srpi_at start;

    enum srp_err rc = srpi_at_field(&start, at, "start", r->err);
    if (rc == SRP_OK && segment->start < end) {
        rc = srpi_at_fail(&start, r->err, SRP_ERR_FORMAT,
                          "%" PRIu64 " overlaps the segment before, which ends at %" PRIu64,
                          segment->start, end);
    }
    if (rc == SRP_OK && segment->start > end && !gaps) {
        rc = srpi_at_fail(&start, r->err, SRP_ERR_FORMAT, "%" PRIu64 " leaves a gap after %" PRIu64,
                          segment->start, end);
    }
    return rc;
}

static enum srp_err read_size(struct reader *r, const struct srpi_at *at, uint32_t *width,
                              uint32_t *height)
{
    enum srp_err rc = srpi_get_u32(at, "width", 1, SRP_MAX_DIMENSION, width, r->err);
    if (rc == SRP_OK) {
        rc = srpi_get_u32(at, "height", 1, SRP_MAX_DIMENSION, height, r->err);
    }
    if (rc == SRP_OK && (uint64_t)*width * *height > SRP_MAX_PICTURE_PIXELS) {
        rc = srpi_at_fail(at, r->err, SRP_ERR_LIMIT,
                          "%" PRIu32 " x %" PRIu32 " is more than %u pixels", *width, *height,
                          SRP_MAX_PICTURE_PIXELS);
    }
    return rc;
}

static enum srp_err read_track(struct reader *r, const struct srpi_at *at, struct srp_track *track)
{
    struct srpi_at init;
    const char *codec = NULL;

    enum srp_err rc = srpi_get_name(at, "codec", MAX_CODEC, "-", &codec, r->err);
    if (rc == SRP_OK) {
        track->codec = keep(r, codec);
        rc = srpi_get_u32(at, "timescale", 1, MAX_TIMESCALE, &track->timescale, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_object(at, "init", &init, r->err);
    }
    if (rc == SRP_OK) {
        rc = read_object(r, &init, NULL, &track->init);
    }
    return rc;
}

static enum srp_err read_colour(struct reader *r, const struct srpi_at *root)
{
    struct srp_package_info *info = &r->pkg->info;
    struct srpi_at at;
    uint32_t matrix = 0;
    uint32_t range = 0;
    uint32_t chroma = 0;

    enum srp_err rc = srpi_get_object(root, "colour", &at, r->err);
    if (rc == SRP_OK) {
        rc = srpi_get_word(&at, "matrix", matrix_words, &matrix, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_word(&at, "range", range_words, &range, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_word(&at, "chroma", chroma_words, &chroma, r->err);
    }
    info->matrix = (enum srp_matrix)matrix;
    info->range = (enum srp_range)range;
    info->chroma = (enum srp_chroma)chroma;
    return rc;
}

/* One axis of the output: lr * scale is cropped by less than two LR pixels. */
static enum srp_err check_axis(struct reader *r, const struct srpi_at *output, const char *key,
                               uint32_t out, uint32_t lr)
{
    uint32_t scale = r->pkg->info.scale;
    uint32_t full = lr * scale; /* at most SRP_MAX_DIMENSION * SRP_MAX_SCALE */
    struct srpi_at at;

    enum srp_err rc = srpi_at_field(&at, output, key, r->err);
    if (rc == SRP_OK && (out > full || out + 2 * scale <= full)) {
        rc = srpi_at_fail(&at, r->err, SRP_ERR_FORMAT,
                          "%" PRIu32 " does not fit %" PRIu32 " enlarged by %" PRIu32, out, lr,
                          scale);
    }
    return rc;
}

static enum srp_err read_geometry(struct reader *r, const struct srpi_at *root)
{
    struct srp_package_info *info = &r->pkg->info;
    struct srpi_at source;
    struct srpi_at output;
    struct srpi_at video;
    uint32_t width = 0;
    uint32_t height = 0;

    enum srp_err rc = srpi_get_object(root, "source", &source, r->err);
    if (rc == SRP_OK) {
        rc = read_size(r, &source, &width, &height);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_real(&source, "start", 0, MAX_START_SECONDS, &info->source_start, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_object(root, "output", &output, r->err);
    }
    if (rc == SRP_OK) {
        rc = read_size(r, &output, &info->out_width, &info->out_height);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_object(root, "video", &video, r->err);
    }
    if (rc == SRP_OK) {
        rc = read_size(r, &video, &info->lr_width, &info->lr_height);
    }
    if (rc == SRP_OK) {
        rc = check_axis(r, &output, "width", info->out_width, info->lr_width);
    }
    if (rc == SRP_OK) {
        rc = check_axis(r, &output, "height", info->out_height, info->lr_height);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    uint64_t full_width = (uint64_t)info->lr_width * info->scale;
    uint64_t full_height = (uint64_t)info->lr_height * info->scale;
    if (full_width > SRP_MAX_DIMENSION || full_height > SRP_MAX_DIMENSION ||
        full_width * full_height > SRP_MAX_PICTURE_PIXELS) {
        return srpi_at_fail(&video, r->err, SRP_ERR_LIMIT,
                            "%" PRIu32 " x %" PRIu32 " enlarged by %" PRIu32 " is too large",
                            info->lr_width, info->lr_height, info->scale);
    }
    return read_track(r, &video, &info->video);
}

static enum srp_err read_audio(struct reader *r, const struct srpi_at *root)
{
    struct srp_package_info *info = &r->pkg->info;
    struct srpi_at audio;
    struct srpi_at list;
    size_t count = 0;

    if (!srpi_at_has(root, "audio")) {
        return SRP_OK;
    }
    enum srp_err rc = srpi_get_object(root, "audio", &audio, r->err);
    if (rc == SRP_OK) {
        rc = read_track(r, &audio, &info->audio);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_u32(&audio, "sample_rate", 1, MAX_SAMPLE_RATE, &info->audio_sample_rate,
                          r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_u32(&audio, "channels", 1, MAX_AUDIO_CHANNELS, &info->audio_channels, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_list(&audio, "segments", 1, SRP_MAX_CHUNKS, &list, &count, r->err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    r->pkg->audio = calloc(count, sizeof(*r->pkg->audio));
    if (r->pkg->audio == NULL) {
        return srpi_at_fail(&list, r->err, SRP_ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; rc == SRP_OK && i < count; i++) {
        struct srpi_at at = srpi_at_item(&list, i);
        struct srp_segment *segment = &r->pkg->audio[i];
        rc = read_segment(r, &at, segment);
        if (rc == SRP_OK) {
            rc = check_order(r, &at, i > 0 ? segment - 1 : NULL, segment, true);
        }
    }
    info->audio.segment_count = (uint32_t)count;
    info->has_audio = true;
    return rc;
}

static enum srp_err read_models(struct reader *r, const struct srpi_at *root)
{
    static const char *const graph_extensions[] = {".json", NULL};
    static const char *const parameter_extensions[] = {".safetensors", ".safetensors.zst",
                                                       ".parameters", NULL};
    struct srpi_at list;
    size_t count = 0;

    enum srp_err rc = srpi_get_list(root, "models", 0, SRP_MAX_MODELS, &list, &count, r->err);
    if (rc != SRP_OK || count == 0) {
        return rc;
    }
    r->pkg->models = calloc(count, sizeof(*r->pkg->models));
    if (r->pkg->models == NULL) {
        return srpi_at_fail(&list, r->err, SRP_ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; rc == SRP_OK && i < count; i++) {
        struct srpi_at at = srpi_at_item(&list, i);
        struct srp_package_model *model = &r->pkg->models[i];
        struct srpi_at graph;
        struct srpi_at parameters;
        const char *name = NULL;

        rc = srpi_get_name(&at, "name", SRP_MAX_NAME, "-", &name, r->err);
        if (rc == SRP_OK) {
            model->name = keep(r, name);
            rc = srpi_get_object(&at, "graph", &graph, r->err);
        }
        if (rc == SRP_OK) {
            rc = read_object(r, &graph, graph_extensions, &model->graph);
        }
        if (rc == SRP_OK) {
            rc = srpi_get_object(&at, "parameters", &parameters, r->err);
        }
        if (rc == SRP_OK) {
            rc = read_object(r, &parameters, parameter_extensions, &model->parameters);
        }
    }
    r->pkg->info.model_count = (uint32_t)count;
    return rc;
}

/* Routes choose between the paths of a model, so there are none without one. */
static enum srp_err read_routes(struct reader *r, const struct srpi_at *at, struct srp_chunk *chunk)
{
    static const char *const extensions[] = {".routes", NULL};
    struct srpi_at routes;

    if (!srpi_at_has(at, "routes")) {
        return SRP_OK;
    }
    enum srp_err rc = srpi_get_object(at, "routes", &routes, r->err);
    if (rc == SRP_OK && chunk->model < 0) {
        rc = srpi_at_fail(&routes, r->err, SRP_ERR_FORMAT, "routes of a chunk without a model");
    }
    if (rc == SRP_OK) {
        rc = read_object(r, &routes, extensions, &chunk->routes);
    }
    chunk->has_routes = rc == SRP_OK;
    return rc;
}

/* Updates change compact parameters. */
static enum srp_err read_update(struct reader *r, const struct srpi_at *at, struct srp_chunk *chunk)
{
    static const char *const extensions[] = {".update", NULL};
    static const char wanted[] = ".parameters";
    struct srpi_at update;

    if (!srpi_at_has(at, "update")) {
        return SRP_OK;
    }
    enum srp_err rc = srpi_get_object(at, "update", &update, r->err);
    if (rc == SRP_OK && chunk->model < 0) {
        rc = srpi_at_fail(&update, r->err, SRP_ERR_FORMAT, "an update of a chunk without a model");
    }
    if (rc == SRP_OK) {
        const char *uri = r->pkg->models[chunk->model].parameters.uri;
        const size_t size = strlen(uri), tail = sizeof(wanted) - 1;
        if (size < tail || strcmp(uri + size - tail, wanted) != 0) {
            rc = srpi_at_fail(&update, r->err, SRP_ERR_FORMAT,
                              "an update of parameters that are not compact");
        }
    }
    if (rc == SRP_OK) {
        rc = read_object(r, &update, extensions, &chunk->update);
    }
    chunk->has_update = rc == SRP_OK;
    return rc;
}

static enum srp_err read_chunk(struct reader *r, const struct srpi_at *at, struct srp_chunk *chunk)
{
    uint32_t models = r->pkg->info.model_count;
    struct srpi_at segment;
    struct srpi_at model;

    enum srp_err rc = srpi_get_object(at, "segment", &segment, r->err);
    if (rc == SRP_OK) {
        rc = read_segment(r, &segment, &chunk->segment);
    }
    if (rc == SRP_OK) {
        rc = check_order(r, &segment, chunk > r->pkg->chunks ? &chunk[-1].segment : NULL,
                         &chunk->segment, false);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_u32(at, "frames", 1, MAX_CHUNK_FRAMES, &chunk->frames, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_at_field(&model, at, "model", r->err);
    }
    chunk->model = -1;
    if (rc == SRP_OK && !json_is_null(model.value)) {
        uint64_t index = 0;
        rc = srpi_at_u64(&model, 0, SRPI_JSON_MAX_INTEGER, &index, r->err);
        if (rc == SRP_OK && index >= models) {
            rc = srpi_at_fail(&model, r->err, SRP_ERR_FORMAT,
                              "model %" PRIu64 " of %" PRIu32, index, models);
        }
        if (rc == SRP_OK) {
            chunk->model = (int32_t)index;
        }
    }
    if (rc == SRP_OK) {
        rc = read_routes(r, at, chunk);
    }
    return rc == SRP_OK ? read_update(r, at, chunk) : rc;
}

static enum srp_err read_chunks(struct reader *r, const struct srpi_at *root)
{
    struct srp_package_info *info = &r->pkg->info;
    struct srpi_at list;
    struct srpi_at total;
    size_t count = 0;
    uint64_t frames = 0; /* at most SRP_MAX_CHUNKS * MAX_CHUNK_FRAMES */

    enum srp_err rc = srpi_get_list(root, "chunks", 1, SRP_MAX_CHUNKS, &list, &count, r->err);
    if (rc != SRP_OK) {
        return rc;
    }
    r->pkg->chunks = calloc(count, sizeof(*r->pkg->chunks));
    if (r->pkg->chunks == NULL) {
        return srpi_at_fail(&list, r->err, SRP_ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; rc == SRP_OK && i < count; i++) {
        struct srpi_at at = srpi_at_item(&list, i);
        rc = read_chunk(r, &at, &r->pkg->chunks[i]);
        frames += r->pkg->chunks[i].frames;
    }
    if (rc == SRP_OK) {
        rc = srpi_at_field(&total, root, "frame_count", r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_at_u64(&total, 1, SRPI_JSON_MAX_INTEGER, &info->frame_count, r->err);
    }
    if (rc == SRP_OK && info->frame_count != frames) {
        rc = srpi_at_fail(&total, r->err, SRP_ERR_FORMAT,
                          "%" PRIu64 " where the chunks have %" PRIu64, info->frame_count, frames);
    }
    if (rc == SRP_OK) {
        const struct srp_segment *last = &r->pkg->chunks[count - 1].segment;
        info->chunk_count = (uint32_t)count;
        info->video.segment_count = (uint32_t)count;
        info->duration = (double)(last->start + last->duration) / (double)info->video.timescale;
    }
    return rc;
}

static enum srp_err read_identity(struct reader *r, const struct srpi_at *root)
{
    struct srp_package_info *info = &r->pkg->info;
    struct srpi_at id;
    struct srpi_at rate;
    const char *text = NULL;
    size_t two = 0;
    uint32_t *parts[2] = {&info->frame_rate_num, &info->frame_rate_den};

    enum srp_err rc = srpi_get_version(root, "srplay-package", 1, r->err);
    if (rc == SRP_OK) {
        rc = srpi_at_field(&id, root, "content_id", r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_at_text(&id, MAX_CONTENT_ID, &text, r->err);
    }
    if (rc == SRP_OK && strspn(text, "0123456789abcdef") != strlen(text)) {
        rc = srpi_at_fail(&id, r->err, SRP_ERR_FORMAT, "not lower-case hex digits");
    }
    if (rc == SRP_OK) {
        info->content_id = keep(r, text);
        rc = srpi_get_text(root, "generator", MAX_GENERATOR, &text, r->err);
    }
    if (rc == SRP_OK) {
        info->generator = keep(r, text);
        rc = srpi_get_u32(root, "scale", 1, SRP_MAX_SCALE, &info->scale, r->err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_list(root, "frame_rate", 2, 2, &rate, &two, r->err);
    }
    for (size_t i = 0; rc == SRP_OK && i < two; i++) {
        struct srpi_at item = srpi_at_item(&rate, i);
        rc = srpi_at_u32(&item, 1, INT32_MAX, parts[i], r->err);
    }
    return rc;
}

enum srp_err srpi_manifest_read(struct srp_package *pkg, const struct srp_blob *manifest,
                                struct srp_error *err)
{
    const char *file = srpi_blob_name(manifest, "manifest.json");
    struct reader r = {.pkg = pkg, .err = err};
    json_t *json = NULL;

    enum srp_err rc = srpi_json_read(&json, manifest, file, err);
    if (rc != SRP_OK) {
        return rc;
    }
    /* Each string is kept at most once, and in the document it stands between two quotes: all of
     * them, each with its NUL, are shorter than the document. */
    pkg->text = malloc(manifest->size);
    if (pkg->text == NULL) {
        rc = srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", file);
        goto end;
    }
    r.text = pkg->text;
    struct srpi_at root = srpi_at_root(file, json);
    rc = read_identity(&r, &root);
    if (rc == SRP_OK) {
        rc = read_colour(&r, &root);
    }
    if (rc == SRP_OK) {
        rc = read_geometry(&r, &root);
    }
    if (rc == SRP_OK) {
        rc = read_audio(&r, &root);
    }
    if (rc == SRP_OK) {
        rc = read_models(&r, &root);
    }
    if (rc == SRP_OK) {
        rc = read_chunks(&r, &root);
    }
end:
    json_decref(json);
    return rc;
}
