/* SPDX-License-Identifier: BSD-2-Clause */
/* srbench - measures quality, speed and the machine. docs/srbench.md.
 *
 * What needs FFmpeg is a program of its own, srbench-media beside this one: its libraries would be
 * most of the memory of a process that measures the engine. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "bench.h"
#include "tool.h"

/* Goes on as program `name` beside this one; returns where that cannot be. argv ends with NULL. */
static int go_on_as(const char *name, char **argv)
{
    char own[PATH_MAX], program[PATH_MAX + 32];
    const ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length > 0) {
        own[length] = '\0';
        snprintf(program, sizeof program, "%s/%s", dirname(own), name);
        execv(program, argv);
    }
    sp_tool_complain(SP_BENCH_PROGRAM, "cannot run %s: %s", name, strerror(errno));
    return SP_EXIT_FAILED;
}

/* argv - 1 is this program's own name, and the command follows. */
static int media(int argc, char **argv)
{
    (void)argc;
    return go_on_as("srbench-media", argv - 1);
}

/* What is trained is the packer's. */
static int paper(int argc, char **argv)
{
    (void)argc;
    return go_on_as("srpack", argv - 1);
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} command[] = {
    {"package", media},
    {"gains", media},
    {"play", media},
    {"engine", sp_bench_engine},
    {"peak", sp_bench_peak},
    {"paper", paper},
};

static const char usage[] =
    "srbench package M --reference ORIGINAL [--frames N] [--threads N] [--backend B] [--dtype D]\n"
    "        [--route exact|off] [--save FILE] [--json]\n"
    "        quality of SR, bicubic and Lanczos against the original, and bytes by kind\n"
    "srbench gains M --reference ORIGINAL -o FILE [--grid WxH] [--frames N] [--threads N]\n"
    "        [--backend B] [--dtype D] [--json]\n"
    "        error of each path of the model in each cell of each frame\n"
    "srbench play M [--frames N] [--no-audio] [--threads N] [--backend B] [--dtype D]\n"
    "        [--model NAME] [--route budget|exact|off] [--json]\n"
    "        the whole pipeline as fast as it goes\n"
    "srbench engine --graph G [--parameters P] --size WxH [--threads N] [--backend B] [--dtype D]\n"
    "        [--format F] [--runs N] [--seconds S] [--tensor] [--regions WxH]\n"
    "        [--reserve WxH] [--path I] [--json]\n"
    "        latency of one picture\n"
    "srbench peak [--threads N] [--json]\n"
    "        what this machine can do at best\n"
    "srbench paper CLIP --method M ...\n"
    "        the published methods, trained side by side (srpack paper --help)\n"
    "D: auto, f32, int8, bf16. F: yuv420, nv12, rgb, bgra.\n"
    "M: manifest.json of a package, or for play anything that srplay opens. ORIGINAL: a video "
    "file, or - for\n"
    "YUV4MPEG2 on standard input. Exit status: 0 done, 1 usage, 2 failed, 5 the package failed "
    "verification.\n";

int main(int argc, char **argv)
{
    sp_return_memory();
    if (argc < 2) {
        fputs(usage, stderr);
        return SP_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return fputs(usage, stdout) < 0 ? SP_EXIT_FAILED : SP_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        return printf("srbench %s\n", srp_version()) < 0 ? SP_EXIT_FAILED : SP_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof command / sizeof command[0]; i++) {
        if (strcmp(argv[1], command[i].name) == 0) {
            return command[i].run(argc - 1, argv + 1);
        }
    }
    sp_tool_complain(SP_BENCH_PROGRAM, "unknown command \"%.100s\" (srbench --help lists them)",
                     argv[1]);
    return SP_EXIT_USAGE;
}
