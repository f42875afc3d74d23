/* SPDX-License-Identifier: BSD-2-Clause */
/* info.h - the commands of srinfo; docs/srinfo.md says what they print. Each returns the exit
 * status. */
#ifndef SP_INFO_H
#define SP_INFO_H

#include <stdbool.h>

#include "base.h"

#define SP_INFO_PROGRAM "srinfo"

/* A manifest (path or URL), a graph or a parameter file. */
int sp_info_show(const char *what, bool json);
/* A package: path or URL of its manifest. */
int sp_info_verify(const char *manifest, bool json);
/* How a graph will be run: the arguments behind the word "plan". */
int sp_info_plan(int argc, char **argv);
/* What int8 makes of parameters: the arguments behind the word "quant". */
int sp_info_quant(int argc, char **argv);

bool sp_info_is_zstd(const struct sp_bytes *file);
/* One zstd frame becomes its content. Errors: PARSE, LIMIT, NOMEM. */
enum srp_err sp_info_decompress(struct sp_bytes *file, const char *shown, struct srp_error *err);

#endif
