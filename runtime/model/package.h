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

#endif
