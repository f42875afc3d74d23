/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>
#include <srp/plan.h>

#include "base.h"
#include "info.h"
#include "tool.h"

static int complain(const struct srp_error *err)
{
    sp_tool_complain(SP_INFO_PROGRAM, "%s", err->detail);
    return sp_tool_status(err->code);
}

static int misuse(const char *option, const char *value, const char *wanted)
{
    sp_tool_complain(SP_INFO_PROGRAM, "%s \"%.100s\": %s (srinfo --help)", option, value, wanted);
    return SP_EXIT_USAGE;
}

struct options {
    const char *graph, *parameters; /* NULL: random ones */
    struct srp_plan_params params;
    uint32_t path; /* SRP_MAX_PATHS: the default one */
    enum srp_plan_format format;
};

/* Of any machine: the library tells those that this one cannot run. */
static bool is_isa(const char *name)
{
    static const char *const all[] = {"scalar",     "avx2", "avxvnni", "avx512",
                                      "avx512bf16", "amx",  "neon",    "dotprod"};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static int read_options(struct options *o, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--json") == 0 || strcmp(option, "--dot") == 0) {
            const enum srp_plan_format format =
                strcmp(option, "--json") == 0 ? SRP_PLAN_JSON : SRP_PLAN_DOT;
            if (o->format != SRP_PLAN_TEXT && o->format != format) {
                return misuse("argument", option, "--json and --dot exclude each other");
            }
            o->format = format;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : "";
        uint64_t number = 0;
        if (strcmp(option, "--graph") == 0) {
            o->graph = value;
        } else if (strcmp(option, "--parameters") == 0) {
            if (value[0] == '\0') {
                return misuse(option, value, "wants a file");
            }
            o->parameters = value;
        } else if (strcmp(option, "--isa") == 0) {
            if (!is_isa(value)) {
                return misuse(option, value,
                              "wants scalar, avx2, avxvnni, avx512, avx512bf16, amx, neon or "
                              "dotprod");
            }
            o->params.isa = value;
        } else if (strcmp(option, "--size") == 0) {
            if (!sp_tool_size(value, &o->params.width, &o->params.height)) {
                return misuse(option, value, "wants WIDTHxHEIGHT");
            }
        } else if (strcmp(option, "--dtype") == 0) {
            if (srp_dtype_from_name(&o->params.dtype, value) != SRP_OK) {
                return misuse(option, value, "wants f32, int8 or bf16");
            }
        } else if (strcmp(option, "--path") == 0) {
            if (!sp_tool_uint(value, 0, SRP_MAX_PATHS - 1, &number)) {
                return misuse(option, value, "wants the number of a path");
            }
            o->path = (uint32_t)number;
        } else if (strcmp(option, "--threads") == 0) {
            if (!sp_tool_uint(value, 1, SRP_MAX_THREADS, &number)) {
                return misuse(option, value, "wants a number of threads");
            }
            o->params.threads = (uint32_t)number;
        } else {
            return misuse("argument", option, "unexpected");
        }
    }
    return o->graph != NULL && o->graph[0] != '\0' ? SP_EXIT_OK
                                                   : misuse("--graph", "", "wants a file");
}

/* The model becomes that of one path. */
static enum srp_err choose_path(struct options *o, struct srp_error *err)
{
    struct srp_model_info info;
    srp_model_get_info(o->params.model, &info);
    const uint32_t index = o->path == SRP_MAX_PATHS ? info.default_path : o->path;
    struct srp_model *path = srp_model_path(o->params.model, index);
    if (!path) {
        return sp_fail(err, SRP_ERR_USAGE, "--path %u: model %s has paths 0 to %u", index,
                       info.name, info.path_count - 1);
    }
    srp_model_unref(&o->params.model);
    o->params.model = path;
    return SRP_OK;
}

/* As an upscaler refuses it. The library's own limit is that of tensors, which are smaller than the
 * picture where the network works at the size of chroma. */
static enum srp_err check_size(const struct options *o, struct srp_error *err)
{
    struct srp_model_info info;
    srp_model_get_info(o->params.model, &info);
    const uint64_t width = (uint64_t)o->params.width * info.scale;
    const uint64_t height = (uint64_t)o->params.height * info.scale;
    if (width > SRP_MAX_DIMENSION || height > SRP_MAX_DIMENSION ||
        width * height > SRP_MAX_PICTURE_PIXELS) {
        return sp_fail(err, SRP_ERR_LIMIT,
                       "--size %ux%u: times %u, sides are at most %u, pixels at most %u",
                       o->params.width, o->params.height, info.scale, SRP_MAX_DIMENSION,
                       SRP_MAX_PICTURE_PIXELS);
    }
    return SRP_OK;
}

int sp_info_plan(int argc, char **argv)
{
    struct options o = {.path = SRP_MAX_PATHS};
    struct srp_error err = {.code = SRP_OK};
    char *text = NULL;
    const int status = read_options(&o, argc, argv);
    if (status != SP_EXIT_OK) {
        return status;
    }
    enum srp_err code = sp_info_load_model(&o.params.model, o.graph, o.parameters, NULL, &err);
    if (code != SRP_OK) {
        return sp_info_complain(&err);
    }
    code = choose_path(&o, &err);
    if (code == SRP_OK) {
        code = check_size(&o, &err);
    }
    if (code == SRP_OK) {
        code = srp_plan_describe(&text, &o.params, o.format, &err);
    }
    srp_model_unref(&o.params.model);
    if (code != SRP_OK) {
        return complain(&err);
    }
    const bool written = fputs(text, stdout) >= 0 && fflush(stdout) == 0;
    srp_plan_free(text);
    return written ? SP_EXIT_OK : SP_EXIT_FAILED;
}
