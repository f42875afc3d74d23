/* SPDX-License-Identifier: BSD-2-Clause */
#include "safetensors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "checked.h"
#include "error.h"
#include "json.h"

#define LENGTH_BYTES 8u
/* "N.weight": a node's name and the longest suffix. */
#define MAX_ARRAY_NAME (SRP_MAX_NAME + 12u)
/* Weight, scale, bias and slope of each node and the range of its output; the graph's output has
 * none, its input may. */
#define MAX_ARRAYS (5u * SRP_MAX_NODES)

static const char *const dtype_words[] = {"F32", "F16", "BF16", "I8"};

const char *srpi_dtype_word(enum srpi_array_dtype dtype)
{
    return dtype_words[dtype];
}

uint32_t srpi_dtype_bytes(enum srpi_array_dtype dtype)
{
    static const uint8_t bytes[] = {4, 2, 2, 1};
    return bytes[dtype];
}

static enum srp_err read_dtype(const struct srpi_at *at, enum srpi_array_dtype *dtype,
                               struct srp_error *err)
{
    struct srpi_at field;
    const char *text = NULL;

    enum srp_err rc = srpi_at_field(&field, at, "dtype", err);
    if (rc == SRP_OK) {
        rc = srpi_at_text(&field, SRP_MAX_NAME, &text, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < sizeof(dtype_words) / sizeof(dtype_words[0]); i++) {
        if (strcmp(text, dtype_words[i]) == 0) {
            *dtype = (enum srpi_array_dtype)i;
            return SRP_OK;
        }
    }
    return srpi_at_fail(&field, err, SRP_ERR_PARAMS, "'%.64s' is none of F32, F16, BF16, I8", text);
}

static enum srp_err read_shape(const struct srpi_at *at, struct srpi_array *array,
                               struct srp_error *err)
{
    struct srpi_at shape;
    size_t rank = 0;

    enum srp_err rc =
        srpi_get_list(at, "shape", 0, SRPI_SAFETENSORS_MAX_RANK, &shape, &rank, err);
    array->rank = (uint32_t)rank;
    array->count = 1;
    for (size_t i = 0; rc == SRP_OK && i < rank; i++) {
        struct srpi_at item = srpi_at_item(&shape, i);
        rc = srpi_at_u32(&item, 1, SRP_MAX_PARAMETERS, &array->shape[i], err);
        if (rc == SRP_OK && (!srpi_mul_u64(array->count, array->shape[i], &array->count) ||
                             array->count > SRP_MAX_PARAMETERS)) {
            rc = srpi_at_fail(&shape, err, SRP_ERR_LIMIT, "more than %u values",
                              SRP_MAX_PARAMETERS);
        }
    }
    return rc;
}

static enum srp_err read_array(const struct srpi_at *at, const struct srp_blob *blob,
                               size_t data_start, struct srpi_array *array, struct srp_error *err)
{
    struct srpi_at offsets;
    size_t two = 0;
    uint64_t range[2] = {0, 0};
    uint64_t data_size = blob->size - data_start;

    enum srp_err rc = read_dtype(at, &array->dtype, err);
    if (rc == SRP_OK) {
        rc = read_shape(at, array, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_list(at, "data_offsets", 2, 2, &offsets, &two, err);
    }
    for (size_t i = 0; rc == SRP_OK && i < two; i++) {
        struct srpi_at item = srpi_at_item(&offsets, i);
        rc = srpi_at_u64(&item, 0, SRPI_JSON_MAX_INTEGER, &range[i], err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    if (range[0] > range[1]) {
        return srpi_at_fail(&offsets, err, SRP_ERR_FORMAT, "ends before it begins");
    }
    if (range[1] > data_size) {
        return srpi_at_fail(&offsets, err, SRP_ERR_SIZE,
                            "ends at byte %" PRIu64 " of %" PRIu64 " bytes of data", range[1],
                            data_size);
    }
    /* count is at most SRP_MAX_PARAMETERS: the product fits. */
    uint64_t wanted = array->count * srpi_dtype_bytes(array->dtype);
    if (range[1] - range[0] != wanted) {
        return srpi_at_fail(&offsets, err, SRP_ERR_FORMAT,
                            "%" PRIu64 " bytes where shape and dtype make %" PRIu64,
                            range[1] - range[0], wanted);
    }
    array->offset = data_start + range[0];
    array->data = (const uint8_t *)blob->data + array->offset;
    return SRP_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct srpi_array *x = a;
    const struct srpi_array *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Arrays are never empty, so equal offsets are an overlap like any other. */
static enum srp_err check_packing(const struct srpi_safetensors *file, uint64_t data_start,
                                  uint64_t size, struct srp_error *err)
{
    uint64_t end = data_start;

    for (uint32_t i = 0; i < file->count; i++) {
        const struct srpi_array *array = &file->arrays[i];
        if (array->offset != end) {
            return srpi_fail(err, SRP_ERR_FORMAT, "%s: tensor '%s': %s", file->file, array->name,
                             array->offset < end ? "overlaps the one before"
                                                 : "leaves a gap before it");
        }
        end += array->count * srpi_dtype_bytes(array->dtype);
    }
    if (end != size) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %" PRIu64 " bytes after the last tensor",
                         file->file, size - end);
    }
    return SRP_OK;
}

static enum srp_err read_table(struct srpi_safetensors *file, const struct srp_blob *blob,
                               size_t data_start, struct srp_error *err)
{
    json_t *header = file->header;
    struct srpi_at root = srpi_at_root(file->file, header);
    size_t size = json_object_size(header);
    void *iter = NULL;

    if (size > MAX_ARRAYS + 1u) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %zu tensors, more than %u", file->file, size,
                         MAX_ARRAYS);
    }
    file->arrays = calloc(size + 1, sizeof(*file->arrays));
    if (file->arrays == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", file->file);
    }
    for (iter = json_object_iter(header); iter != NULL;
         iter = json_object_iter_next(header, iter)) {
        const char *name = json_object_iter_key(iter);
        struct srpi_array *array = &file->arrays[file->count];
        struct srpi_at at;

        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        enum srp_err rc = srpi_at_field(&at, &root, name, err);
        if (rc != SRP_OK) {
            return rc;
        }
        if (strlen(name) > MAX_ARRAY_NAME) {
            return srpi_at_fail(&at, err, SRP_ERR_LIMIT, "name of %zu bytes, more than %u",
                                strlen(name), MAX_ARRAY_NAME);
        }
        array->name = name;
        rc = read_array(&at, blob, data_start, array, err);
        if (rc != SRP_OK) {
            return rc;
        }
        file->count++;
    }
    if (file->count > 0) {
        qsort(file->arrays, file->count, sizeof(*file->arrays), by_offset);
    }
    return check_packing(file, data_start, blob->size, err);
}

/* What is delivered under other names and taken for parameters by mistake; NULL: none of that. */
static const char *other_kind(const uint8_t *bytes)
{
    return memcmp(bytes, "SRPU", 4) == 0               ? "an update of parameters"
           : memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0 ? "a zstd frame"
                                                       : NULL;
}

static uint64_t read_length(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (uint32_t i = LENGTH_BYTES; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

enum srp_err srpi_safetensors_read(struct srpi_safetensors *out, const struct srp_blob *blob,
                                   struct srp_error *err)
{
    struct srpi_safetensors file = {.file = srpi_blob_name(blob, "parameters")};
    json_t *header = NULL;

    if (blob->data == NULL || blob->size < LENGTH_BYTES) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: %zu bytes are no safetensors file", file.file,
                         blob->data == NULL ? 0 : blob->size);
    }
    if (blob->size > SRP_MAX_OBJECT_BYTES) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %zu bytes, more than %llu", file.file, blob->size,
                         SRP_MAX_OBJECT_BYTES);
    }
    const char *other = other_kind(blob->data);
    if (other != NULL) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: %s, not a safetensors file", file.file, other);
    }
    uint64_t length = read_length(blob->data);
    if (length > SRP_MAX_SAFETENSORS_HEADER) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: header of %" PRIu64 " bytes, more than %u",
                         file.file, length, SRP_MAX_SAFETENSORS_HEADER);
    }
    if (length > blob->size - LENGTH_BYTES) {
        return srpi_fail(err, SRP_ERR_SIZE, "%s: header of %" PRIu64 " bytes in a file of %zu",
                         file.file, length, blob->size);
    }
    struct srp_blob text = {
        .data = (const uint8_t *)blob->data + LENGTH_BYTES,
        .size = (size_t)length,
    };
    enum srp_err rc = srpi_json_read(&header, &text, file.file, err);
    if (rc != SRP_OK) {
        return rc;
    }
    file.header = header;
    rc = read_table(&file, blob, LENGTH_BYTES + (size_t)length, err);
    if (rc != SRP_OK) {
        srpi_safetensors_free(&file);
        return rc;
    }
    *out = file;
    return SRP_OK;
}

void srpi_safetensors_free(struct srpi_safetensors *file)
{
    free(file->arrays);
    free(file->memory);
    json_decref(file->header);
    memset(file, 0, sizeof(*file));
}

const struct srpi_array *srpi_safetensors_find(const struct srpi_safetensors *file,
                                               const char *name)
{
    for (uint32_t i = 0; i < file->count; i++) {
        if (strcmp(file->arrays[i].name, name) == 0) {
            return &file->arrays[i];
        }
    }
    return NULL;
}

/* Bits of the f32 of the same value. Infinity and NaN keep their kind. */
static uint32_t half_bits(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 31u;
    uint32_t mantissa = half & 0x3ffu;

    if (exponent == 31) {
        return sign | 0x7f800000u | mantissa << 13;
    }
    if (exponent == 0) {
        if (mantissa == 0) {
            return sign;
        }
        /* A subnormal half is a normal f32: shift its leading one into the hidden place. */
        exponent = 1;
        while ((mantissa & 0x400u) == 0) {
            mantissa <<= 1;
            exponent--;
        }
        mantissa &= 0x3ffu;
    }
    /* Bias 15 to bias 127; unsigned wrap of a subnormal's exponent is undone by the sum. */
    return sign | (exponent + 112u) << 23 | mantissa << 13;
}

static uint32_t value_bits(enum srpi_array_dtype dtype, const uint8_t *p)
{
    uint16_t low = (uint16_t)(p[0] | p[1] << 8);

    switch (dtype) {
    case SRPI_DTYPE_F16:
        return half_bits(low);
    case SRPI_DTYPE_BF16:
        return (uint32_t)low << 16;
    case SRPI_DTYPE_F32:
    case SRPI_DTYPE_I8: /* not asked for */
        break;
    }
    return low | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum srp_err srpi_array_to_f32(const struct srpi_safetensors *file, const struct srpi_array *array,
                               float *out, struct srp_error *err)
{
    uint32_t step = srpi_dtype_bytes(array->dtype);

    for (uint64_t i = 0; i < array->count; i++) {
        uint32_t bits = value_bits(array->dtype, array->data + i * step);
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            return srpi_fail(err, SRP_ERR_NONFINITE,
                             "%s: tensor '%s': element %" PRIu64 " is %s", file->file, array->name,
                             i, (bits & 0x7fffffu) != 0 ? "NaN" : "infinite");
        }
        memcpy(&out[i], &bits, sizeof(bits));
    }
    return SRP_OK;
}
