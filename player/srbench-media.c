/* SPDX-License-Identifier: BSD-2-Clause */
/* srbench-media - the commands of srbench that decode video; srbench runs it. */
#include <string.h>

#include "base.h"
#include "bench.h"
#include "tool.h"

int main(int argc, char **argv)
{
    sp_return_memory();
    if (argc > 1 && strcmp(argv[1], "package") == 0) {
        return sp_bench_package(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "gains") == 0) {
        return sp_bench_gains(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "play") == 0) {
        return sp_bench_play(argc - 1, argv + 1);
    }
    sp_tool_complain(SP_BENCH_PROGRAM, "srbench-media is run by srbench package, gains and play");
    return SP_EXIT_USAGE;
}
