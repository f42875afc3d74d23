/* SPDX-License-Identifier: BSD-2-Clause */
/* safetensors.h - parameter files: a table of named arrays, read in place.
 *
 * Layout: header length (8 bytes, little-endian), header (JSON), data. The reader refuses what
 * docs/format.md does not allow; see docs/model.md for each check. */
#ifndef SRPI_SAFETENSORS_H
#define SRPI_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include <srp/common.h>

#define SRPI_SAFETENSORS_MAX_RANK 4u

enum srpi_array_dtype {
    SRPI_DTYPE_F32 = 0,
    SRPI_DTYPE_F16,
    SRPI_DTYPE_BF16,
    SRPI_DTYPE_I8,
};

struct srpi_array {
    const char *name; /* owned by the table */
    enum srpi_array_dtype dtype;
    uint32_t rank;
    uint32_t shape[SRPI_SAFETENSORS_MAX_RANK]; /* each at least 1 */
    uint64_t count;                            /* product of the shape */
    const uint8_t *data;                       /* count values in the caller's blob, unaligned */
    uint64_t offset;                           /* of data, in the file */
};

struct srpi_safetensors {
    const char *file;          /* the blob's name */
    struct srpi_array *arrays; /* in the order of their data */
    uint32_t count;
    void *header; /* owner of the names */
};

/* *out points into `blob` and is valid as long as it is. On failure *out is untouched. Does not
 * look at the values. Errors: PARSE, FORMAT, LIMIT, SIZE, PARAMS (dtype), NOMEM. */
enum srp_err srpi_safetensors_read(struct srpi_safetensors *out, const struct srp_blob *blob,
                                   struct srp_error *err);
void srpi_safetensors_free(struct srpi_safetensors *file); /* accepts a zeroed one */

/* NULL: there is none. */
const struct srpi_array *srpi_safetensors_find(const struct srpi_safetensors *file,
                                               const char *name);

/* Writes array->count floats, of any dtype but I8. Errors: NONFINITE, by bit pattern, with the
 * element's index. */
enum srp_err srpi_array_to_f32(const struct srpi_safetensors *file, const struct srpi_array *array,
                               float *out, struct srp_error *err);

#endif
