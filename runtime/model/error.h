/* SPDX-License-Identifier: BSD-2-Clause */
/* error.h - how every file of the library reports a failure. */
#ifndef SRPI_ERROR_H
#define SRPI_ERROR_H

#include <srp/common.h>

/* Puts `code` and one formatted line into *err (NULL: nowhere) and returns `code`, so that callers
 * write `return srpi_fail(err, ...)`. Bytes outside printable ASCII and backslashes come out as
 * \xHH, so that text from outside can neither forge lines nor drive a terminal. What does not fit
 * is cut and ends in "...". Unbounded remote text wants a precision, %.80s. Any thread. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
enum srp_err
srpi_fail(struct srp_error *err, enum srp_err code, const char *fmt, ...);

/* The name for messages: blob's own, or `fallback`. */
const char *srpi_blob_name(const struct srp_blob *blob, const char *fallback);

#endif
