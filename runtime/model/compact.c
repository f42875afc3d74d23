/* SPDX-License-Identifier: BSD-2-Clause */
#include "compact.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium/crypto_hash_sha256.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "checked.h"
#include "error.h"

#define COMPACT_HEADER 8u
#define UPDATE_HEADER 40u
#define ARRAY_NAME_BYTES (SRP_MAX_NAME + 16u)
#define FINE 4u    /* in a range's byte: 16 bits */

static const uint8_t compact_magic[4] = {'S', 'R', 'P', 'M'};
static const uint8_t update_magic[4] = {'S', 'R', 'P', 'U'};

struct compact {
    const char *file;
    const struct srpi_graph *graph;
    const struct srpi_node *nodes[SRP_MAX_NODES];      /* the convolutions, by name */
    const struct srpi_tensor *tensors[SRP_MAX_NODES];  /* those that take a range, by name */
    uint32_t node_count, tensor_count;
    const uint8_t *kinds; /* in the file: two bytes of each convolution, one of each range */
    struct srpi_array *arrays;
    char (*names)[ARRAY_NAME_BYTES];
    uint32_t array_count;
    size_t values[5]; /* how many there are, by their bytes */
};

bool srpi_is_compact(const struct srp_blob *blob)
{
    return blob->data != NULL && blob->size >= sizeof(compact_magic) &&
           memcmp(blob->data, compact_magic, sizeof(compact_magic)) == 0;
}

static int by_node_name(const void *a, const void *b)
{
    const struct srpi_node *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_tensor_name(const void *a, const void *b)
{
    const struct srpi_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void sort_graph(struct compact *c, bool ranges, bool of_input)
{
    const struct srpi_graph *g = c->graph;
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (g->nodes[i].op == SRPI_OP_CONV2D) {
            c->nodes[c->node_count++] = &g->nodes[i];
        }
    }
    for (uint32_t t = 0; ranges && t < g->tensor_count; t++) {
        if (t != g->output && (t != g->input || of_input)) {
            c->tensors[c->tensor_count++] = &g->tensors[t];
        }
    }
    if (c->node_count > 0) {
        qsort(c->nodes, c->node_count, sizeof(c->nodes[0]), by_node_name);
    }
    if (c->tensor_count > 0) {
        qsort(c->tensors, c->tensor_count, sizeof(c->tensors[0]), by_tensor_name);
    }
}

/* ---- which arrays there are ------------------------------------------------------------------ */

static struct srpi_array *add_array(struct compact *c, const char *owner, const char *part,
                                    enum srpi_array_dtype dtype, uint32_t rank,
                                    const uint32_t *shape)
{
    struct srpi_array *array = &c->arrays[c->array_count];
    char *name = c->names[c->array_count++];
    snprintf(name, ARRAY_NAME_BYTES, "%s.%s", owner, part);
    *array = (struct srpi_array){.name = name, .dtype = dtype, .rank = rank, .count = 1};
    for (uint32_t i = 0; i < rank; i++) {
        array->shape[i] = shape[i];
        array->count *= shape[i]; /* at most 512 * 512 * 11 * 11 */
    }
    c->values[srpi_dtype_bytes(dtype)] += (size_t)array->count;
    return array;
}

static enum srp_err bad_kind(const struct compact *c, const char *owner, const uint8_t *at,
                             const uint8_t *start, const char *what, struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_FORMAT, "%s: byte %zu, '%s': %s", c->file,
                     (size_t)(at - start), owner, what);
}

static enum srp_err add_node(struct compact *c, const struct srpi_node *node, const uint8_t *kind,
                             const uint8_t *start, struct srp_error *err)
{
    const uint32_t in = c->graph->tensors[node->inputs[0]].channels;
    const uint32_t out = c->graph->tensors[node->output].channels;
    const uint32_t shape[4] = {out, in, node->kernel_height, node->kernel_width};
    const uint32_t groups = kind[1];
    enum srpi_array_dtype dtype[4]; /* of weight, bias, slope, scale */
    for (uint32_t i = 0; i < 4; i++) {
        dtype[i] = (enum srpi_array_dtype)(kind[0] >> 2 * i & 3);
    }
    const bool codes = dtype[0] == SRPI_DTYPE_I8;
    const bool slope = node->activation == SRPI_ACT_PRELU;
    if (dtype[1] == SRPI_DTYPE_I8 || dtype[2] == SRPI_DTYPE_I8 || dtype[3] == SRPI_DTYPE_I8) {
        return bad_kind(c, node->name, kind, start, "I8 is for weights", err);
    }
    if ((!slope && dtype[2] != 0) || (!codes && (dtype[3] != 0 || groups != 0))) {
        return bad_kind(c, node->name, kind, start,
                        "a dtype or groups of an array that is not there", err);
    }
    if (codes && (groups == 0 || groups > SRP_MAX_GROUPS || in % groups != 0)) {
        return srpi_fail(err, SRP_ERR_FORMAT,
                         "%s: byte %zu, '%s': %" PRIu32 " groups of %" PRIu32
                         " input channels: they do not divide these or are not 1..%u",
                         c->file, (size_t)(kind + 1 - start), node->name, groups, in,
                         SRP_MAX_GROUPS);
    }
    add_array(c, node->name, "weight", dtype[0], 4, shape);
    if (codes) {
        const uint32_t scales[2] = {out, groups};
        add_array(c, node->name, "scale", dtype[3], groups > 1 ? 2 : 1, scales);
    }
    add_array(c, node->name, "bias", dtype[1], 1, shape);
    if (slope) {
        add_array(c, node->name, "slope", dtype[2], 1, shape);
    }
    return SRP_OK;
}

static enum srp_err list_arrays(struct compact *c, const uint8_t *start, struct srp_error *err)
{
    const uint8_t *kind = c->kinds;
    enum srp_err rc = SRP_OK;
    for (uint32_t i = 0; rc == SRP_OK && i < c->node_count; i++, kind += 2) {
        rc = add_node(c, c->nodes[i], kind, start, err);
    }
    for (uint32_t i = 0; rc == SRP_OK && i < c->tensor_count; i++, kind++) {
        static const uint32_t pair = 2;
        const char *name = c->tensors[i]->name;
        const enum srpi_array_dtype dtype = (enum srpi_array_dtype)(*kind & 3);
        if (*kind >= 2 * FINE || dtype == SRPI_DTYPE_I8) {
            rc = bad_kind(c, name, kind, start, "no kind of a range", err);
        } else {
            const bool input = c->tensors[i] == &c->graph->tensors[c->graph->input];
            const bool fine = (*kind & FINE) != 0;
            add_array(c, name,
                      input  ? fine ? "input_range16" : "input_range"
                      : fine ? "range16"
                             : "range",
                      dtype, 1, &pair);
        }
    }
    return rc;
}

/* ---- their values ---------------------------------------------------------------------------- */

/* One frame into the room that is left; moves both ends on. */
static enum srp_err unpack_frame(const struct compact *c, const char *file, const uint8_t **in,
                                 size_t *in_left, uint8_t **out, size_t *out_left,
                                 struct srp_error *err)
{
    static const uint8_t zstd_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    /* The library reports a skippable frame as one of size 0. */
    if (*in_left < sizeof(zstd_magic) || memcmp(*in, zstd_magic, sizeof(zstd_magic)) != 0) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: not a zstd frame, %zu bytes before the end",
                         file, *in_left);
    }
    const size_t frame = ZSTD_findFrameCompressedSize(*in, *in_left);
    const unsigned long long declared = ZSTD_getFrameContentSize(*in, *in_left);
    if (ZSTD_isError(frame) || declared == ZSTD_CONTENTSIZE_ERROR) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: broken zstd frame", file);
    }
    if (declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == 0) {
        return srpi_fail(err, SRP_ERR_FORMAT,
                         "%s: the zstd frame does not declare its content's size", file);
    }
    if (declared > *out_left) {
        return srpi_fail(err, SRP_ERR_SIZE,
                         "%s: %llu bytes in a zstd frame where graph '%s' has use for %zu", file,
                         declared, c->graph->name, *out_left);
    }
    const size_t size = ZSTD_decompress(*out, (size_t)declared, *in, frame);
    if (ZSTD_isError(size) || size != declared) {
        const bool memory = ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation;
        return srpi_fail(err, memory ? SRP_ERR_NOMEM : SRP_ERR_PARSE, "%s: zstd: %s", file,
                         ZSTD_isError(size) ? ZSTD_getErrorName(size) : "wrong content size");
    }
    *in += frame;
    *in_left -= frame;
    *out += size;
    *out_left -= size;
    return SRP_OK;
}

/* All frames of `file`: exactly `size` bytes. */
static enum srp_err unpack(const struct compact *c, const char *file, const uint8_t *in,
                           size_t in_size, uint8_t *out, size_t size, struct srp_error *err)
{
    enum srp_err rc = SRP_OK;
    while (rc == SRP_OK && size > 0 && in_size > 0) {
        rc = unpack_frame(c, file, &in, &in_size, &out, &size, err);
    }
    if (rc == SRP_OK && size > 0) {
        rc = srpi_fail(err, SRP_ERR_SIZE, "%s: ends %zu bytes before what graph '%s' wants",
                       file, size, c->graph->name);
    }
    if (rc == SRP_OK && in_size > 0) {
        rc = srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes after the last zstd frame", file,
                       in_size);
    }
    return rc;
}

/* Adds the bytes of an update to those of its base. */
static enum srp_err apply(const struct compact *c, const struct srp_blob *base,
                          const struct srp_blob *update, uint8_t *streams, size_t bytes,
                          struct srp_error *err)
{
    const char *file = srpi_blob_name(update, "update");
    const uint8_t *start = update->data;
    uint8_t hash[crypto_hash_sha256_BYTES];

    if (update->size > SRP_MAX_OBJECT_BYTES) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %zu bytes, more than %llu", file, update->size,
                         SRP_MAX_OBJECT_BYTES);
    }
    if (update->size < sizeof(update_magic) ||
        memcmp(start, update_magic, sizeof(update_magic)) != 0) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: no update of parameters", file);
    }
    if (update->size < UPDATE_HEADER) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes end in the header", file, update->size);
    }
    if (start[4] != 1) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED, "%s: version %u of updates", file, start[4]);
    }
    if (start[5] != 0 || start[6] != 0 || start[7] != 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: bytes 5 to 7 are not 0", file);
    }
    crypto_hash_sha256(hash, base->data, base->size);
    if (memcmp(hash, start + 8, sizeof(hash)) != 0) {
        return srpi_fail(err, SRP_ERR_HASH,
                         "%s: an update of parameters %02x%02x%02x%02x..., not of "
                         "%02x%02x%02x%02x...",
                         file, start[8], start[9], start[10], start[11], hash[0], hash[1], hash[2],
                         hash[3]);
    }
    uint8_t *change = malloc(bytes + 1);
    if (change == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: no memory for %zu bytes", file, bytes);
    }
    const enum srp_err rc = unpack(c, file, start + UPDATE_HEADER, update->size - UPDATE_HEADER,
                                   change, bytes, err);
    for (size_t i = 0; rc == SRP_OK && i < bytes; i++) {
        streams[i] = (uint8_t)(streams[i] + change[i]);
    }
    free(change);
    return rc;
}

/* Streams of bytes become values again, the widths one after the other; arrays point to them. */
static void place(struct compact *c, const uint8_t *streams, uint8_t *data)
{
    size_t start[5] = {0};
    start[2] = c->values[1];
    start[4] = start[2] + 2 * c->values[2];
    for (uint32_t width = 1; width <= 4; width *= 2) {
        for (uint32_t k = width; k-- > 0;) { /* the most significant bytes come first */
            for (size_t i = 0; i < c->values[width]; i++) {
                data[start[width] + i * width + k] = *streams++;
            }
        }
    }
    for (uint32_t i = 0; i < c->array_count; i++) {
        const uint32_t width = srpi_dtype_bytes(c->arrays[i].dtype);
        c->arrays[i].data = data + start[width];
        start[width] += width * (size_t)c->arrays[i].count;
    }
}

/* One block that the table owns: arrays, names, data. */
static enum srp_err read_arrays(struct compact *c, struct srpi_safetensors *out,
                                const struct srp_blob *blob, const struct srp_blob *update,
                                struct srp_error *err)
{
    const uint8_t *start = blob->data;
    const bool changed = update != NULL && update->data != NULL;
    const size_t most = 4u * (size_t)c->node_count + c->tensor_count + 1;
    const size_t kinds = 2u * (size_t)c->node_count + c->tensor_count;
    struct srpi_safetensors table = {.file = changed ? srpi_blob_name(update, "update") : c->file};
    uint8_t *streams = NULL, *data = NULL;
    size_t bytes = 0;

    c->arrays = calloc(most, sizeof(c->arrays[0]) + ARRAY_NAME_BYTES);
    if (c->arrays == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", c->file);
    }
    c->names = (char(*)[ARRAY_NAME_BYTES])(void *)(c->arrays + most);
    table.arrays = c->arrays;
    enum srp_err rc = list_arrays(c, start, err);
    if (rc == SRP_OK) {
        /* The graph's limit on parameters, and at most one scale for each weight. */
        bytes = c->values[1] + 2 * c->values[2] + 4 * c->values[4];
        streams = malloc(bytes + 1);
        data = malloc(bytes + 1);
        table.memory = data;
        rc = streams != NULL && data != NULL
                 ? unpack(c, c->file, c->kinds + kinds, blob->size - COMPACT_HEADER - kinds,
                          streams, bytes, err)
                 : srpi_fail(err, SRP_ERR_NOMEM, "%s: no memory for %zu bytes", c->file, bytes);
    }
    if (rc == SRP_OK && changed) {
        rc = apply(c, blob, update, streams, bytes, err);
    }
    if (rc == SRP_OK) {
        place(c, streams, data);
        table.count = c->array_count;
        *out = table;
    } else {
        srpi_safetensors_free(&table);
    }
    free(streams);
    return rc;
}

enum srp_err srpi_compact_read(struct srpi_safetensors *out, const struct srp_blob *blob,
                               const struct srp_blob *update, const struct srpi_graph *graph,
                               struct srp_error *err)
{
    struct compact c = {.file = srpi_blob_name(blob, "parameters"), .graph = graph};
    const uint8_t *start = blob->data;

    if (!srpi_is_compact(blob)) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: no compact parameters", c.file);
    }
    if (blob->size > SRP_MAX_OBJECT_BYTES) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %zu bytes, more than %llu", c.file, blob->size,
                         SRP_MAX_OBJECT_BYTES);
    }
    if (blob->size < COMPACT_HEADER) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes end in the header", c.file, blob->size);
    }
    if (start[4] != 1) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED, "%s: version %u of compact parameters", c.file,
                         start[4]);
    }
    if (start[5] > 2) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: byte 5 is %u, not 0 to 2", c.file, start[5]);
    }
    sort_graph(&c, start[5] >= 1, start[5] == 2);
    const uint32_t declared = (uint32_t)start[6] | (uint32_t)start[7] << 8;
    if (declared != c.node_count) {
        return srpi_fail(err, SRP_ERR_PARAMS,
                         "%s: parameters of %" PRIu32 " convolutions; graph '%s' has %" PRIu32,
                         c.file, declared, graph->name, c.node_count);
    }
    if (blob->size - COMPACT_HEADER < 2 * (size_t)c.node_count + c.tensor_count) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes end in the header", c.file, blob->size);
    }
    c.kinds = start + COMPACT_HEADER;
    return read_arrays(&c, out, blob, update, err);
}
