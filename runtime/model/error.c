/* SPDX-License-Identifier: BSD-2-Clause */
#include "error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *srp_strerror(enum srp_err code)
{
    switch (code) {
    case SRP_OK:
        return "success";
    case SRP_ERR_IO:
        return "input/output error";
    case SRP_ERR_NOT_FOUND:
        return "not found";
    case SRP_ERR_NETWORK:
        return "network error";
    case SRP_ERR_PARSE:
        return "malformed data";
    case SRP_ERR_FORMAT:
        return "invalid field";
    case SRP_ERR_LIMIT:
        return "limit exceeded";
    case SRP_ERR_HASH:
        return "hash mismatch";
    case SRP_ERR_SIZE:
        return "size mismatch";
    case SRP_ERR_UNSUPPORTED:
        return "not supported";
    case SRP_ERR_GRAPH:
        return "invalid graph";
    case SRP_ERR_PARAMS:
        return "parameters do not fit the graph";
    case SRP_ERR_NONFINITE:
        return "parameters not finite";
    case SRP_ERR_DECODE:
        return "decoding failed";
    case SRP_ERR_DEVICE:
        return "device or backend failed";
    case SRP_ERR_NOMEM:
        return "out of memory";
    case SRP_ERR_USAGE:
        return "wrong use of the library";
    }
    return "unknown error";
}

const char *srp_version(void)
{
    return SRP_VERSION_STRING;
}

const char *srpi_blob_name(const struct srp_blob *blob, const char *fallback)
{
    return blob->name != NULL ? blob->name : fallback;
}

enum srp_err srpi_fail(struct srp_error *err, enum srp_err code, const char *fmt, ...)
{
    static const char hex[] = "0123456789abcdef";
    static const char ellipsis[] = "...";
    char raw[sizeof(err->detail)];
    va_list args;

    if (err == NULL) {
        return code;
    }
    va_start(args, fmt);
    int length = vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);
    if (length < 0) {
        raw[0] = '\0'; /* an encoding error, which %s and integers never have */
    }
    /* The line never outgrows its buffer, so an escape that does not fit ends it. */
    bool cut = length >= (int)sizeof(raw);
    size_t room = sizeof(err->detail) - sizeof(ellipsis);
    size_t used = 0;
    char escaped[sizeof(err->detail)];
    for (const char *p = raw; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = c >= 0x20 && c < 0x7f && c != '\\';
        if (used + (plain ? 1u : 4u) > room) {
            cut = true;
            break;
        }
        if (plain) {
            escaped[used++] = (char)c;
        } else {
            escaped[used++] = '\\';
            escaped[used++] = 'x';
            escaped[used++] = hex[c >> 4];
            escaped[used++] = hex[c & 15];
        }
    }
    memcpy(escaped + used, cut ? ellipsis : "", cut ? sizeof(ellipsis) : 1);
    /* Copied last: an argument may be the previous err->detail. */
    err->code = code;
    memcpy(err->detail, escaped, strlen(escaped) + 1);
    return code;
}
