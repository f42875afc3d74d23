/* SPDX-License-Identifier: BSD-2-Clause */
/* options.h - srplay's command line. One table makes the parser and --help. */
#ifndef SP_OPTIONS_H
#define SP_OPTIONS_H

#include <stdio.h>

#include "playback.h"

struct sp_options {
    struct sp_playback_params playback; /* .log is left NULL; strings point into argv */
    enum sp_log_level level;
    const char *stats;    /* NULL: none; "-": stdout */
    const char *log_file;
    bool help, version;   /* then nothing else is filled in */
};

/* Errors: USAGE, *err names the option. */
enum srp_err sp_options_parse(struct sp_options *options, int argc, char **argv,
                              struct srp_error *err);
void sp_options_help(FILE *to);
/* Version, engine, instruction set, linked libraries. */
void sp_options_version(FILE *to);

#endif
