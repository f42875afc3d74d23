/* SPDX-License-Identifier: BSD-2-Clause */
/* srinfo - shows and verifies packages, graphs, parameters, plans, quantisation. docs/srinfo.md. */
#include <stdio.h>
#include <string.h>

#include "info.h"
#include "tool.h"

static const char usage[] =
    "srinfo show M|GRAPH|PARAMETERS|ROUTES [--json]\n"
    "        what a manifest, a model graph, a safetensors file or routes hold\n"
    "srinfo verify M [--json]\n"
    "        checks the manifest, every object and segment, every model and every chunk's frames\n"
    "srinfo plan --graph GRAPH [--parameters PARAMETERS] [--size WxH] [--isa I] [--dtype T]\n"
    "        [--threads N] [--path I] [--json | --dot]\n"
    "        how the native backend will run a graph: fused steps, shapes, memory\n"
    "srinfo quant M [--json]\n"
    "srinfo quant --graph GRAPH --parameters PARAMETERS [--json]\n"
    "        how the weights of each layer are stored, and what int8 makes of them\n"
    "M: manifest.json of a package, local or http(s). Exit status: 0 sound, 1 usage, 2 failed, 5 "
    "faults found.\n";

int main(int argc, char **argv)
{
    const char *word[2] = {NULL, NULL};
    int words = 0;
    bool json = false;
    if (argc > 1 && strcmp(argv[1], "plan") == 0) {
        return sp_info_plan(argc - 2, argv + 2);
    }
    if (argc > 1 && strcmp(argv[1], "quant") == 0) {
        return sp_info_quant(argc - 2, argv + 2);
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return fputs(usage, stdout) < 0 ? SP_EXIT_FAILED : SP_EXIT_OK;
        }
        if (strcmp(argv[i], "--version") == 0) {
            return printf("srinfo %s\n", srp_version()) < 0 ? SP_EXIT_FAILED : SP_EXIT_OK;
        }
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (argv[i][0] == '-' || words == 2) {
            sp_tool_complain(SP_INFO_PROGRAM, "unexpected argument \"%.100s\" (srinfo --help)",
                             argv[i]);
            return SP_EXIT_USAGE;
        } else {
            word[words++] = argv[i];
        }
    }
    if (words == 2 && strcmp(word[0], "show") == 0) {
        return sp_info_show(word[1], json);
    }
    if (words == 2 && strcmp(word[0], "verify") == 0) {
        return sp_info_verify(word[1], json);
    }
    fputs(usage, stderr);
    return SP_EXIT_USAGE;
}
