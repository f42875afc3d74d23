/* SPDX-License-Identifier: BSD-2-Clause */
#include "tool.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <srp/limits.h>
#include <zstd.h>

void sp_tool_complain(const char *program, const char *format, ...)
{
    char text[1024], line[4 * sizeof text];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f) {
            n += (size_t)snprintf(line + n, sizeof line - n, "\\x%02x", c);
        } else {
            line[n++] = *p;
        }
    }
    line[n] = '\0';
    fprintf(stderr, "%s: %s\n", program, line);
}

int sp_tool_status(enum srp_err code)
{
    if (code == SRP_OK) {
        return SP_EXIT_OK;
    }
    if (code <= SRP_ERR_PARSE && code > SRP_ERR_DECODE && code != SRP_ERR_UNSUPPORTED) {
        return SP_EXIT_VERIFY;
    }
    return code == SRP_ERR_USAGE ? SP_EXIT_USAGE : SP_EXIT_FAILED;
}

int sp_tool_file_status(enum srp_err code)
{
    return code == SRP_ERR_UNSUPPORTED ? SP_EXIT_VERIFY : sp_tool_status(code);
}

bool sp_tool_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}

bool sp_tool_number(const char *text, double min, double max, double *out)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || !isfinite(value) || value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}

bool sp_tool_size(const char *text, uint32_t *width, uint32_t *height)
{
    char first[16];
    const char *x = strchr(text, 'x');
    uint64_t w = 0, h = 0;
    if (!x || (size_t)(x - text) >= sizeof first) {
        return false;
    }
    memcpy(first, text, (size_t)(x - text));
    first[x - text] = '\0';
    if (!sp_tool_uint(first, 1, SRP_MAX_DIMENSION, &w) ||
        !sp_tool_uint(x + 1, 1, SRP_MAX_DIMENSION, &h)) {
        return false;
    }
    *width = (uint32_t)w;
    *height = (uint32_t)h;
    return true;
}

uint64_t sp_tool_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sp_tool_quantile(double *values, size_t n, double q)
{
    if (n == 0) {
        return 0.0;
    }
    qsort(values, n, sizeof *values, compare);
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n) {
        return values[n - 1];
    }
    return values[i] + (at - (double)i) * (values[i + 1] - values[i]);
}

int sp_tool_print_json(const char *program, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (!text) {
        sp_tool_complain(program, "out of memory while writing JSON");
        return SP_EXIT_FAILED;
    }
    bool written = puts(text) >= 0 && fflush(stdout) == 0;
    free(text);
    if (!written) {
        sp_tool_complain(program, "standard output: %s", strerror(errno));
        return SP_EXIT_FAILED;
    }
    return SP_EXIT_OK;
}

char *sp_tool_bytes(char *text, size_t size, double bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    while (bytes >= 1000.0 && u + 1 < sizeof unit / sizeof unit[0]) {
        bytes /= 1000.0;
        u++;
    }
    snprintf(text, size, u ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
    return text;
}

bool sp_tool_is_zstd(const struct sp_bytes *file)
{
    static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    return file->size >= sizeof magic && memcmp(file->data, magic, sizeof magic) == 0;
}

enum srp_err sp_tool_decompress(struct sp_bytes *file, const char *shown, struct srp_error *err)
{
    unsigned long long size = ZSTD_getFrameContentSize(file->data, file->size);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN) {
        return sp_fail(err, SRP_ERR_PARSE, "%s: not a zstd frame with its content size", shown);
    }
    if (size > SRP_MAX_OBJECT_BYTES) {
        return sp_fail(err, SRP_ERR_LIMIT, "%s: decompresses to more than the limit", shown);
    }
    struct sp_bytes plain = {.data = malloc((size_t)size + 1), .capacity = (size_t)size + 1};
    if (!plain.data) {
        return sp_fail(err, SRP_ERR_NOMEM, "%s: out of memory", shown);
    }
    plain.size = ZSTD_decompress(plain.data, (size_t)size, file->data, file->size);
    if (ZSTD_isError(plain.size) || plain.size != size) {
        sp_bytes_free(&plain);
        return sp_fail(err, SRP_ERR_PARSE, "%s: damaged zstd frame", shown);
    }
    sp_bytes_free(file);
    *file = plain;
    return SRP_OK;
}
