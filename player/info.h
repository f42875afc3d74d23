/* SPDX-License-Identifier: BSD-2-Clause */
/* info.h - the commands of srinfo; docs/srinfo.md says what they print. Each returns the exit
 * status. */
#ifndef SP_INFO_H
#define SP_INFO_H

#include <stdbool.h>

#include <srp/model.h>

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

/* The model of a graph and its parameters, random ones where `parameters` is NULL, else as
 * safetensors or compact ones, compressed or not. *bytes, may be NULL: of their file. */
enum srp_err sp_info_load_model(struct srp_model **model, const char *graph, const char *parameters,
                                uint64_t *bytes, struct srp_error *err);

/* Says what is wrong with a file; the exit status, sp_tool_file_status()'s. */
int sp_info_complain(const struct srp_error *err);

#endif
