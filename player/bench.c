/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include <srp/limits.h>

#include "tool.h"

int sp_bench_usage(const char *command, const char *why, const char *what)
{
    sp_tool_complain(SP_BENCH_PROGRAM, "%s: %s \"%.100s\" (srbench --help)", command,
                     why ? why : "unknown or incomplete option", what);
    return SP_EXIT_USAGE;
}

bool sp_bench_option(struct sp_bench_way *way, uint64_t *frames, int option, const char *value,
                     const char **why)
{
    uint64_t threads = 0;
    *why = NULL;
    switch (option) {
    case 'n':
        if (!sp_tool_uint(value, 1, UINT32_MAX, frames)) {
            *why = "--frames takes 1 or more, not";
        }
        return true;
    case 't':
        if (sp_tool_uint(value, 1, SRP_MAX_THREADS, &threads)) {
            way->threads = (uint32_t)threads;
        } else {
            *why = "--threads takes 1..64, not";
        }
        return true;
    case 'b':
        if (srp_backend_from_name(&way->backend, value) != SRP_OK) {
            *why = "no such backend in this build:";
        }
        return true;
    case 'd':
        if (srp_dtype_from_name(&way->dtype, value) != SRP_OK) {
            *why = "no such dtype:";
        }
        return true;
    default:
        return false;
    }
}
