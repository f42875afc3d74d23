/* SPDX-License-Identifier: BSD-2-Clause */
#include "models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <srp/limits.h>

#ifndef SRP_DATADIR
#define SRP_DATADIR "/usr/local/share/srplay"
#endif

static enum srp_err load_pair(struct srp_model **out, const char *graph_path,
                              const char *parameters_path, struct srp_error *err)
{
    struct sp_bytes graph = {0}, parameters = {0};
    enum srp_err code = sp_bytes_read_file(&graph, graph_path, SRP_MAX_JSON_BYTES, err);

    if (code == SRP_OK) {
        code = sp_bytes_read_file(&parameters, parameters_path, SRP_MAX_OBJECT_BYTES, err);
    }
    if (code == SRP_OK) {
        struct srp_model_params params = {
            .graph = {graph.data, graph.size, graph_path},
            .parameters = {parameters.data, parameters.size, parameters_path}};
        code = srp_model_create(out, &params, err);
    }
    sp_bytes_free(&graph);
    sp_bytes_free(&parameters);
    return code;
}

static enum srp_err load_path(struct srp_model **out, const char *path, struct srp_error *err)
{
    char *parameters = NULL;
    int stem = (int)(strlen(path) - strlen(".json"));

    if (asprintf(&parameters, "%.*s.safetensors", stem, path) < 0) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    enum srp_err code = load_pair(out, path, parameters, err);
    free(parameters);
    return code;
}

/* Sets *found when the graph file exists, so that errors of a model that is there are not hidden by
 * looking elsewhere. */
static enum srp_err load_from(struct srp_model **out, const char *dir, const char *name,
                              bool *found, struct srp_error *err)
{
    char *graph = NULL, *parameters = NULL;
    enum srp_err code = SRP_ERR_NOMEM;

    if (asprintf(&graph, "%s/%s.json", dir, name) < 0) {
        graph = NULL;
    } else if (asprintf(&parameters, "%s/general/%s.safetensors", dir, name) < 0) {
        parameters = NULL;
    }
    if (graph == NULL || parameters == NULL) {
        *found = true;
        sp_fail(err, code, "out of memory");
    } else if (access(graph, F_OK) == 0) {
        *found = true;
        code = access(parameters, F_OK) == 0 ? load_pair(out, graph, parameters, err)
                                             : load_path(out, graph, err);
    } else {
        code = SRP_ERR_NOT_FOUND;
    }
    free(graph);
    free(parameters);
    return code;
}

enum srp_err sp_models_load(struct srp_model **out, const char *models_dir, const char *name,
                            struct srp_error *err)
{
    const char *places[] = {models_dir, getenv("SRP_MODELS_DIR"), SRP_DATADIR "/models", "models"};
    size_t count = sizeof(places) / sizeof(places[0]), length = strlen(name);
    char shown[200];
    bool found = false;

    *out = NULL;
    if (length > 5 && strcmp(name + length - 5, ".json") == 0) {
        return load_path(out, name, err);
    }
    sp_escape(shown, sizeof(shown), name);
    if (length == 0 || strchr(name, '/') != NULL || name[0] == '.') {
        return sp_fail(err, SRP_ERR_USAGE, "'%s' is not the name of a model", shown);
    }
    for (size_t i = 0; i < count; i++) {
        if (places[i] != NULL) {
            enum srp_err code = load_from(out, places[i], name, &found, err);
            if (found) {
                return code;
            }
        }
    }
    return sp_fail(err, SRP_ERR_NOT_FOUND,
                   "there is no general model '%s' in %s%s$SRP_MODELS_DIR, %s or models", shown,
                   models_dir != NULL ? models_dir : "", models_dir != NULL ? ", " : "",
                   SRP_DATADIR "/models");
}
