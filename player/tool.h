/* SPDX-License-Identifier: BSD-2-Clause */
/* tool.h - what the measuring programs srbench and srinfo share: arguments, files, clock, JSON,
 * exit status. */
#ifndef SP_TOOL_H
#define SP_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <srp/common.h>

#include "base.h"

/* Exit statuses of the programs. */
enum { SP_EXIT_OK = 0, SP_EXIT_USAGE = 1, SP_EXIT_FAILED = 2, SP_EXIT_VERIFY = 5 };

/* "program: message" on stderr, control bytes escaped. */
void sp_tool_complain(const char *program, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The status that a library error ends a program with: SP_EXIT_VERIFY for content that was refused
 * (parse, format, limit, hash, size, graph, parameters), SP_EXIT_USAGE for usage, else
 * SP_EXIT_FAILED. */
int sp_tool_status(enum srp_err code);
/* The same where manifests, graphs, parameters and routes alone were looked at: a version or an
 * operator that this build does not know is a fault of the file's. */
int sp_tool_file_status(enum srp_err code);

/* Decimal unsigned integer in min..max, nothing before or after it. False: *out is untouched. */
bool sp_tool_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* Finite decimal number in min..max. */
bool sp_tool_number(const char *text, double min, double max, double *out);
/* "640x360". */
bool sp_tool_size(const char *text, uint32_t *width, uint32_t *height);

/* Monotonic nanoseconds. */
uint64_t sp_tool_now(void);

/* Value below which a share `q` (0..1) of the n values lies, interpolated; sorts them. 0 for n = 0.
 */
double sp_tool_quantile(double *values, size_t n, double q);

/* Prints the value to stdout with a newline, all of it or nothing, and drops the reference. Takes
 * NULL for "out of memory while it was built". Returns the exit status. */
int sp_tool_print_json(const char *program, json_t *value);

/* "12.3 kB", "4.0 MB": for tables. Returns `text`. */
char *sp_tool_bytes(char *text, size_t size, double bytes);

bool sp_tool_is_zstd(const struct sp_bytes *file);
/* One zstd frame becomes its content. Errors: PARSE, LIMIT, NOMEM. */
enum srp_err sp_tool_decompress(struct sp_bytes *file, const char *shown, struct srp_error *err);

#endif
