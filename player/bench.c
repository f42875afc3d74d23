/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "tool.h"

int sp_bench_usage(const char *command, const char *why, const char *what)
{
    sp_tool_complain(SP_BENCH_PROGRAM, "%s: %s \"%.100s\" (srbench --help)", command,
                     why ? why : "unknown or incomplete option", what);
    return SP_EXIT_USAGE;
}
