/* SPDX-License-Identifier: BSD-2-Clause */
/* package.h - what a struct srp_package is. Private to runtime/model. */
#ifndef SRPI_PACKAGE_H
#define SRPI_PACKAGE_H

#include <srp/package.h>

/* Immutable once read. All strings and lists belong to it. */
struct srp_package {
    struct srp_package_info info;
    struct srp_chunk *chunks;
    struct srp_segment *audio;
    struct srp_package_model *models;
    char *text; /* every string of the manifest that is kept */
};

/* Fills *pkg (zeroed before). On failure srp_package_destroy still has to release it.
 * Errors: PARSE, FORMAT, LIMIT, UNSUPPORTED, NOMEM. */
enum srp_err srpi_manifest_read(struct srp_package *pkg, const struct srp_blob *manifest,
                                struct srp_error *err);

/* As srp_object_verify, with a name for messages. */
enum srp_err srpi_object_verify(const struct srp_object *object, const char *name, const void *data,
                                size_t size, struct srp_error *err);

/* Unpacks one zstd frame that declares the size of its content, at most SRP_MAX_OBJECT_BYTES,
 * with nothing behind it. `expected`: the only size that is accepted, or 0: any. The caller
 * frees *out.
 * Errors: PARSE, FORMAT (no size declared, or another one), LIMIT, SIZE (bytes behind it),
 * NOMEM. */
enum srp_err srpi_decompress(const struct srp_blob *in, const char *name, size_t expected,
                             void **out, size_t *out_size, struct srp_error *err);

#endif
