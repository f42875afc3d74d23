/* SPDX-License-Identifier: BSD-2-Clause */
/* bench.h - the commands of srbench; docs/srbench.md says what each measures and prints.
 *
 * Each takes the arguments that follow its name (argv[0] is the name itself), prints to stdout,
 * complains on stderr and returns the exit status of the program. */
#ifndef SP_BENCH_H
#define SP_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <srp/model.h>

#define SP_BENCH_PROGRAM "srbench"

int sp_bench_package(int argc, char **argv);
int sp_bench_gains(int argc, char **argv);
int sp_bench_play(int argc, char **argv);
int sp_bench_engine(int argc, char **argv);
int sp_bench_peak(int argc, char **argv);

/* How a command is to compute: --threads, --backend, --dtype. */
struct sp_bench_way {
    uint32_t threads; /* 0: one per core */
    enum srp_backend backend;
    enum srp_dtype dtype;
};
/* Takes option 't', 'b' or 'd' of these, and 'n' (a number of frames). False: it is none of them;
 * else *why is what is wrong with its value, to stand before it, or NULL. */
bool sp_bench_option(struct sp_bench_way *way, uint64_t *frames, int option, const char *value,
                     const char **why);

/* Complains "command: why \"what\"" (why NULL: an unknown or incomplete option). Returns
 * SP_EXIT_USAGE. */
int sp_bench_usage(const char *command, const char *why, const char *what);

#endif
