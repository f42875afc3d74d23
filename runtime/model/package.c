/* SPDX-License-Identifier: BSD-2-Clause */
#include "package.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium/crypto_hash_sha256.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <srp/limits.h>

#include "compact.h"
#include "error.h"

_Static_assert(crypto_hash_sha256_BYTES == 32, "struct srp_object holds a SHA-256");

enum srp_err srp_package_create(struct srp_package **out, const struct srp_blob *manifest,
                                struct srp_error *err)
{
    if (out == NULL || manifest == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "srp_package_create: out and manifest must not be NULL");
    }
    *out = NULL;
    struct srp_package *pkg = calloc(1, sizeof(*pkg));
    if (pkg == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory",
                         srpi_blob_name(manifest, "manifest.json"));
    }
    enum srp_err rc = srpi_manifest_read(pkg, manifest, err);
    if (rc != SRP_OK) {
        srp_package_destroy(&pkg);
        return rc;
    }
    *out = pkg;
    return SRP_OK;
}

void srp_package_destroy(struct srp_package **pkg)
{
    if (pkg == NULL || *pkg == NULL) {
        return;
    }
    struct srp_package *p = *pkg;
    *pkg = NULL;
    free(p->chunks);
    free(p->audio);
    free(p->models);
    free(p->text);
    free(p);
}

void srp_package_get_info(const struct srp_package *pkg, struct srp_package_info *info)
{
    *info = pkg->info;
}

const struct srp_chunk *srp_package_chunk(const struct srp_package *pkg, uint32_t index)
{
    return index < pkg->info.chunk_count ? &pkg->chunks[index] : NULL;
}

const struct srp_segment *srp_package_audio_segment(const struct srp_package *pkg, uint32_t index)
{
    return index < pkg->info.audio.segment_count ? &pkg->audio[index] : NULL;
}

const struct srp_package_model *srp_package_get_model(const struct srp_package *pkg, uint32_t index)
{
    return index < pkg->info.model_count ? &pkg->models[index] : NULL;
}

uint32_t srp_package_chunk_at(const struct srp_package *pkg, double seconds)
{
    /* Ticks as a real number: no conversion of a wild argument to an integer. */
    double tick = seconds * (double)pkg->info.video.timescale;
    uint32_t low = 0;
    uint32_t high = pkg->info.chunk_count;

    /* The last chunk that starts at or before the tick. A NaN compares false: the first. */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if ((double)pkg->chunks[middle].segment.start <= tick) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

enum srp_err srpi_object_verify(const struct srp_object *object, const char *name, const void *data,
                                size_t size, struct srp_error *err)
{
    static const uint8_t nothing[1] = {0};
    uint8_t hash[crypto_hash_sha256_BYTES];

    if (size != object->size) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes where the manifest declares %" PRIu64,
                         name, size, object->size);
    }
    /* Needs no sodium_init: the hash uses neither random numbers nor dispatch. */
    crypto_hash_sha256(hash, size > 0 ? data : nothing, size);
    if (memcmp(hash, object->sha256, sizeof(hash)) != 0) {
        return srpi_fail(err, SRP_ERR_HASH, "%s: SHA-256 is %02x%02x%02x%02x..., the manifest "
                         "declares %02x%02x%02x%02x...",
                         name, hash[0], hash[1], hash[2], hash[3], object->sha256[0],
                         object->sha256[1], object->sha256[2], object->sha256[3]);
    }
    return SRP_OK;
}

enum srp_err srp_object_verify(const struct srp_object *object, const void *data, size_t size,
                               struct srp_error *err)
{
    if (object == NULL || (data == NULL && size > 0)) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_object_verify: NULL");
    }
    return srpi_object_verify(object, object->uri != NULL ? object->uri : "object", data, size,
                              err);
}

enum srp_err srpi_decompress(const struct srp_blob *in, const char *name, size_t expected,
                             void **out, size_t *out_size, struct srp_error *err)
{
    static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

    /* The library reports a skippable frame as one of size 0. */
    if (in->size < sizeof(magic) || memcmp(in->data, magic, sizeof(magic)) != 0) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: not a zstd frame", name);
    }
    unsigned long long declared = ZSTD_getFrameContentSize(in->data, in->size);
    if (declared == ZSTD_CONTENTSIZE_ERROR) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: broken zstd frame header", name);
    }
    if (declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: the zstd frame does not declare its content's "
                         "size", name);
    }
    if (declared > SRP_MAX_OBJECT_BYTES) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %llu bytes once decompressed, more than %llu",
                         name, declared, SRP_MAX_OBJECT_BYTES);
    }
    if (expected != 0 && declared != expected) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: the zstd frame declares %llu bytes where %zu "
                         "are wanted", name, declared, expected);
    }
    size_t frame = ZSTD_findFrameCompressedSize(in->data, in->size);
    if (ZSTD_isError(frame)) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: zstd: %s", name, ZSTD_getErrorName(frame));
    }
    if (frame != in->size) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes after the zstd frame", name,
                         in->size - frame);
    }
    void *data = malloc((size_t)declared);
    if (data == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: no memory for %llu bytes", name, declared);
    }
    size_t size = ZSTD_decompress(data, (size_t)declared, in->data, in->size);
    if (ZSTD_isError(size) || size != declared) {
        bool memory = ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation;
        free(data);
        return srpi_fail(err, memory ? SRP_ERR_NOMEM : SRP_ERR_PARSE, "%s: zstd: %s", name,
                         ZSTD_isError(size) ? ZSTD_getErrorName(size) : "wrong content size");
    }
    *out = data;
    *out_size = size;
    return SRP_OK;
}

static bool ends_in(const char *text, const char *suffix)
{
    size_t n = strlen(text);
    size_t m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* The model has to be the one that the manifest promises. */
static enum srp_err check_promise(const struct srp_package *pkg, uint32_t index, const char *file,
                                  const struct srp_model *model, struct srp_error *err)
{
    struct srp_model_info info;
    const char *name = pkg->models[index].name;

    srp_model_get_info(model, &info);
    if (info.scale != pkg->info.scale) {
        return srpi_fail(err, SRP_ERR_FORMAT,
                         "%s: scale %" PRIu32 " in a package of scale %" PRIu32, file, info.scale,
                         pkg->info.scale);
    }
    if (strcmp(info.name, name) != 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: named '%s' where the manifest has '%s'", file,
                         info.name, name);
    }
    return SRP_OK;
}

/* `promise`: the update that `update` has to be, or both are NULL. */
static enum srp_err load_model(const struct srp_package *pkg, uint32_t index,
                               const struct srp_blob *graph, const struct srp_blob *parameters,
                               const struct srp_object *promise, const struct srp_blob *update,
                               struct srp_model **out, struct srp_error *err)
{
    struct srp_model *model = NULL;
    void *plain = NULL;

    const struct srp_package_model *promised = &pkg->models[index];
    struct srp_model_params params = {
        .graph = {graph->data, graph->size, srpi_blob_name(graph, promised->graph.uri)},
        .parameters = {parameters->data, parameters->size,
                       srpi_blob_name(parameters, promised->parameters.uri)},
    };
    enum srp_err rc =
        srpi_object_verify(&promised->graph, params.graph.name, graph->data, graph->size, err);
    if (rc == SRP_OK) {
        rc = srpi_object_verify(&promised->parameters, params.parameters.name, parameters->data,
                                parameters->size, err);
    }
    if (rc == SRP_OK && update != NULL) {
        params.update =
            (struct srp_blob){update->data, update->size, srpi_blob_name(update, promise->uri)};
        rc = srpi_object_verify(promise, params.update.name, update->data, update->size, err);
    }
    if (rc == SRP_OK && ends_in(promised->parameters.uri, ".zst")) {
        rc = srpi_decompress(parameters, params.parameters.name, 0, &plain, &params.parameters.size,
                             err);
        params.parameters.data = plain;
    }
    if (rc == SRP_OK &&
        srpi_is_compact(&params.parameters) != ends_in(promised->parameters.uri, ".parameters")) {
        rc = srpi_fail(err, SRP_ERR_PARSE, "%s: holds other parameters than its name says",
                       params.parameters.name);
    }
    if (rc == SRP_OK) {
        rc = srp_model_create(&model, &params, err);
    }
    if (rc == SRP_OK) {
        rc = check_promise(pkg, index, params.graph.name, model, err);
    }
    free(plain);
    if (rc != SRP_OK) {
        srp_model_unref(&model);
        return rc;
    }
    *out = model;
    return SRP_OK;
}

enum srp_err srp_package_load_model(const struct srp_package *pkg, uint32_t index,
                                    const struct srp_blob *graph, const struct srp_blob *parameters,
                                    struct srp_model **out, struct srp_error *err)
{
    if (pkg == NULL || graph == NULL || parameters == NULL || out == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_package_load_model: NULL");
    }
    *out = NULL;
    if (index >= pkg->info.model_count) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_package_load_model: model %" PRIu32
                         " of %" PRIu32, index, pkg->info.model_count);
    }
    return load_model(pkg, index, graph, parameters, NULL, NULL, out, err);
}

enum srp_err srp_package_load_chunk_model(const struct srp_package *pkg, uint32_t index,
                                          const struct srp_blob *graph,
                                          const struct srp_blob *parameters,
                                          const struct srp_blob *update, struct srp_model **out,
                                          struct srp_error *err)
{
    if (pkg == NULL || graph == NULL || parameters == NULL || out == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_package_load_chunk_model: NULL");
    }
    *out = NULL;
    const struct srp_chunk *chunk = srp_package_chunk(pkg, index);
    if (chunk == NULL || chunk->model < 0) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "srp_package_load_chunk_model: chunk %" PRIu32 " has no model", index);
    }
    if (chunk->has_update != (update != NULL)) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "srp_package_load_chunk_model: chunk %" PRIu32 " has %s update", index,
                         chunk->has_update ? "an" : "no");
    }
    return load_model(pkg, (uint32_t)chunk->model, graph, parameters, &chunk->update, update, out,
                      err);
}
