/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <srp/limits.h>
#include <srp/quant.h>

#include "info.h"
#include "tool.h"
#include "tool_package.h"

struct options {
    const char *manifest, *graph, *parameters;
    bool json;
};

static int misuse(const char *what)
{
    sp_tool_complain(SP_INFO_PROGRAM, "quant %s (srinfo --help)", what);
    return SP_EXIT_USAGE;
}

static int read_options(struct options *o, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const bool graph = strcmp(argv[i], "--graph") == 0;
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (graph || strcmp(argv[i], "--parameters") == 0) {
            if (i + 1 == argc) {
                return misuse(graph ? "--graph: wants a file" : "--parameters: wants a file");
            }
            *(graph ? &o->graph : &o->parameters) = argv[++i];
        } else if (argv[i][0] == '-' || o->manifest != NULL) {
            sp_tool_complain(SP_INFO_PROGRAM, "unexpected argument \"%.100s\" (srinfo --help)",
                             argv[i]);
            return SP_EXIT_USAGE;
        } else {
            o->manifest = argv[i];
        }
    }
    if (o->manifest != NULL && (o->graph != NULL || o->parameters != NULL)) {
        return misuse("wants a package, or --graph and --parameters, not both");
    }
    if (o->manifest == NULL && (o->graph == NULL || o->parameters == NULL)) {
        return misuse("wants a package, or --graph and --parameters");
    }
    return SP_EXIT_OK;
}

/* Adds the model to `list`, or prints it. */
static enum srp_err tell(struct srp_model *model, uint64_t bytes, json_t *list, bool first,
                         struct srp_error *err)
{
    const struct srp_quant_params params = {.model = model, .file_bytes = bytes};
    char *text = NULL;
    enum srp_err code =
        srp_quant_describe(&text, &params, list ? SRP_QUANT_JSON : SRP_QUANT_TEXT, err);
    if (code == SRP_OK && list) {
        json_array_append_new(list, json_loads(text, 0, NULL));
    } else if (code == SRP_OK) {
        printf("%s%s", first ? "" : "\n", text);
    }
    srp_quant_free(text);
    return code;
}

static enum srp_err tell_files(const struct options *o, json_t *list, struct srp_error *err)
{
    struct srp_model *model = NULL;
    uint64_t bytes = 0;
    enum srp_err code = sp_info_load_model(&model, o->graph, o->parameters, &bytes, err);
    if (code == SRP_OK) {
        code = tell(model, bytes, list, true, err);
    }
    srp_model_unref(&model);
    return code;
}

static enum srp_err tell_package(const struct options *o, json_t *list, struct srp_error *err)
{
    struct sp_tool_package tool;
    struct srp_package_info info;
    enum srp_err code = sp_tool_package_open(&tool, o->manifest, err);
    if (code != SRP_OK) {
        return code;
    }
    srp_package_get_info(tool.package, &info);
    for (uint32_t i = 0; i < info.model_count && code == SRP_OK; i++) {
        const struct srp_package_model *m = srp_package_get_model(tool.package, i);
        struct sp_bytes graph = {0}, parameters = {0};
        struct srp_model *model = NULL;
        code = sp_tool_package_get(&tool, &m->graph, SRP_MAX_OBJECT_BYTES, &graph, err);
        if (code == SRP_OK) {
            code = sp_tool_package_get(&tool, &m->parameters, SRP_MAX_OBJECT_BYTES, &parameters,
                                       err);
        }
        if (code == SRP_OK) {
            const struct srp_blob g = {graph.data, graph.size, m->graph.uri};
            const struct srp_blob p = {parameters.data, parameters.size, m->parameters.uri};
            code = srp_package_load_model(tool.package, i, &g, &p, &model, err);
        }
        if (code == SRP_OK) {
            code = tell(model, m->parameters.size, list, i == 0, err);
        }
        srp_model_unref(&model);
        sp_bytes_free(&graph);
        sp_bytes_free(&parameters);
    }
    if (code == SRP_OK && info.model_count == 0 && !list) {
        printf("no models\n");
    }
    sp_tool_package_close(&tool);
    return code;
}

int sp_info_quant(int argc, char **argv)
{
    struct options o = {.json = false};
    struct srp_error err = {.code = SRP_OK};
    const int status = read_options(&o, argc, argv);
    if (status != SP_EXIT_OK) {
        return status;
    }
    json_t *list = o.json ? json_array() : NULL;
    const enum srp_err code =
        o.manifest != NULL ? tell_package(&o, list, &err) : tell_files(&o, list, &err);
    if (code != SRP_OK) {
        json_decref(list);
        return sp_info_complain(&err);
    }
    if (list) {
        return sp_tool_print_json(SP_INFO_PROGRAM,
                                  json_pack("{s:s,s:o}", "kind", "quant", "models", list));
    }
    return fflush(stdout) == 0 ? SP_EXIT_OK : SP_EXIT_FAILED;
}
