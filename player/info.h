/* SPDX-License-Identifier: BSD-2-Clause */
/* info.h - the commands of srinfo; docs/srinfo.md says what they print. Each returns the exit
 * status. */
#ifndef SP_INFO_H
#define SP_INFO_H

#include <stdbool.h>

#define SP_INFO_PROGRAM "srinfo"

/* A manifest (path or URL), a graph or a parameter file. */
int sp_info_show(const char *what, bool json);
/* A package: path or URL of its manifest. */
int sp_info_verify(const char *manifest, bool json);
/* How a graph will be run: the arguments behind the word "plan". */
int sp_info_plan(int argc, char **argv);

#endif
