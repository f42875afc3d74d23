/* SPDX-License-Identifier: BSD-2-Clause */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compact.h"
#include "error.h"
#include "parameters.h"
#include "quant/quant.h"
#include "safetensors.h"

/* Takes graph and parameters over in every case. */
static enum srp_err create(struct srp_model **out, struct srpi_graph *graph, void *parameters,
                           struct srp_error *err)
{
    struct srp_model *model = calloc(1, sizeof(*model));
    if (model == NULL) {
        srpi_graph_free(graph);
        free(parameters);
        return srpi_fail(err, SRP_ERR_NOMEM, "no memory for a model");
    }
    atomic_init(&model->references, 1);
    atomic_init(&model->readers, 0);
    model->graph = *graph;
    model->parameters = parameters;
    *out = model;
    return SRP_OK;
}

/* The paths of a graph with a route; parameters are there. */
static enum srp_err split(struct srp_model *model, struct srp_error *err)
{
    const struct srpi_node *route = srpi_graph_route(&model->graph);
    model->path_count = 1;
    if (route == NULL) {
        return SRP_OK;
    }
    model->paths = calloc(route->input_count, sizeof(model->paths[0]));
    if (model->paths == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the paths of '%s'",
                         model->graph.name);
    }
    model->path_count = route->input_count;
    model->default_path = route->default_path;
    enum srp_err rc = SRP_OK;
    for (uint32_t i = 0; rc == SRP_OK && i < model->path_count; i++) {
        struct srp_model *path = &model->paths[i];
        path->owner = model;
        path->path_count = 1;
        rc = srpi_graph_path(&path->graph, &model->graph, i, err);
    }
    return rc;
}

/* Parameters that state ranges are for int8: what it cannot hold whatever the picture is refused
 * here, and no frame needs a look. */
static enum srp_err check_int8(const struct srp_model *model, const char *file,
                               struct srp_error *err)
{
    struct srp_error why = {0};
    enum srp_err rc = SRP_OK;
    for (uint32_t i = 0; rc == SRP_OK && model->graph.ranges != NULL && i < model->path_count;
         i++) {
        rc = srpi_quant_check(model->paths != NULL ? &model->paths[i].graph : &model->graph, &why);
    }
    return rc == SRP_OK ? rc : srpi_fail(err, rc, "%s: %.300s", file, why.detail);
}

enum srp_err srp_model_create(struct srp_model **out, const struct srp_model_params *params,
                              struct srp_error *err)
{
    struct srpi_graph graph = {0};
    struct srpi_safetensors file = {0};
    struct srp_model *model = NULL;
    void *parameters = NULL;

    if (out == NULL || params == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_model_create: out and params must not be NULL");
    }
    *out = NULL;
    enum srp_err rc = srpi_graph_read(&graph, &params->graph, err);
    if (rc != SRP_OK) {
        return rc;
    }
    if (srpi_is_compact(&params->parameters)) {
        rc = srpi_compact_read(&file, &params->parameters, &params->update, &graph, err);
    } else if (params->update.data != NULL) {
        rc = srpi_fail(err, SRP_ERR_FORMAT, "%s: an update of parameters that are not compact",
                       srpi_blob_name(&params->update, "update"));
    } else {
        rc = srpi_safetensors_read(&file, &params->parameters, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_parameters_bind(&parameters, &graph, &file, err);
    }
    if (rc == SRP_OK) {
        rc = create(&model, &graph, parameters, err);
    } else {
        srpi_graph_free(&graph);
    }
    if (rc == SRP_OK) {
        rc = split(model, err);
    }
    if (rc == SRP_OK) {
        rc = check_int8(model, file.file, err);
    }
    srpi_safetensors_free(&file);
    if (rc != SRP_OK) {
        srp_model_unref(&model);
        return rc;
    }
    *out = model;
    return SRP_OK;
}

/* splitmix64 (Steele, Lea, Flood 2014): same numbers on every machine. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void fill_random(float *values, uint64_t count, float amplitude, uint64_t *state)
{
    for (uint64_t i = 0; i < count; i++) {
        /* 24 bits: every value is exact in f32, -1 included and 1 not. */
        float unit = (float)(int32_t)(next_random(state) >> 40) * 0x1p-23f - 1.0f;
        values[i] = unit * amplitude;
    }
}

enum srp_err srp_model_create_random(struct srp_model **out, const struct srp_blob *graph,
                                     uint64_t seed, struct srp_error *err)
{
    struct srpi_graph g = {0};
    struct srp_model *model = NULL;

    if (out == NULL || graph == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "srp_model_create_random: out and graph must not be NULL");
    }
    *out = NULL;
    enum srp_err rc = srpi_graph_read(&g, graph, err);
    if (rc != SRP_OK) {
        return rc;
    }
    void *parameters = NULL;
    rc = srpi_parameters_bind(&parameters, &g, NULL, err);
    if (rc != SRP_OK) {
        srpi_graph_free(&g);
        return rc;
    }
    rc = create(&model, &g, parameters, err);
    if (rc != SRP_OK) {
        return rc;
    }
    float *next = parameters;
    for (uint32_t i = 0; i < model->graph.node_count; i++) {
        const struct srpi_node *node = &model->graph.nodes[i];
        uint64_t weights = srpi_node_weight_count(&model->graph, node);
        uint64_t outputs = model->graph.tensors[node->output].channels;
        if (weights == 0) {
            continue;
        }
        /* Variance 1 / fan-in keeps activations near the input's size through any depth. */
        fill_random(next, weights, sqrtf(3.0f * (float)outputs / (float)weights), &seed);
        next += weights;
        fill_random(next, outputs, 0.05f, &seed);
        next += outputs;
        if (node->slope != NULL) {
            fill_random(next, outputs, 0.25f, &seed);
            next += outputs;
        }
    }
    rc = split(model, err);
    if (rc != SRP_OK) {
        srp_model_unref(&model);
        return rc;
    }
    *out = model;
    return SRP_OK;
}

enum srp_err srp_parameters_check(const struct srp_blob *parameters, struct srp_error *err)
{
    struct srpi_safetensors file = {0};
    if (parameters == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_parameters_check: NULL");
    }
    const enum srp_err rc = srpi_safetensors_read(&file, parameters, err);
    srpi_safetensors_free(&file);
    return rc;
}

/* Who is counted: a path lives as long as its owner. */
static struct srp_model *owner_of(struct srp_model *model)
{
    return model->owner != NULL ? model->owner : model;
}

struct srp_model *srp_model_ref(struct srp_model *model)
{
    if (model != NULL) {
        atomic_fetch_add_explicit(&owner_of(model)->references, 1, memory_order_relaxed);
    }
    return model;
}

void srp_model_unref(struct srp_model **model)
{
    if (model == NULL || *model == NULL) {
        return;
    }
    struct srp_model *m = owner_of(*model);
    *model = NULL;
    if (atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1) {
        for (uint32_t i = 0; m->paths != NULL && i < m->path_count; i++) {
            srpi_graph_free(&m->paths[i].graph);
        }
        free(m->paths);
        srpi_graph_free(&m->graph);
        free(m->parameters);
        free(m);
    }
}

void srpi_model_read(struct srp_model *model, int change)
{
    atomic_fetch_add_explicit(&owner_of(model)->readers, (unsigned)change, memory_order_relaxed);
}

enum srp_err srp_model_drop_parameters(struct srp_model *model, struct srp_error *err)
{
    if (model == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no model");
    }
    struct srp_model *m = owner_of(model);
    if (atomic_load_explicit(&m->readers, memory_order_relaxed) != 0) {
        return srpi_fail(err, SRP_ERR_USAGE, "graph '%s': an executor reads its parameters",
                         m->graph.name);
    }
    srpi_graph_unbind(&m->graph);
    m->graph.ranges = NULL; /* in the same memory; paths have copies */
    for (uint32_t i = 0; m->paths != NULL && i < m->path_count; i++) {
        srpi_graph_unbind(&m->paths[i].graph);
    }
    free(m->parameters);
    m->parameters = NULL;
    return SRP_OK;
}

struct srp_model *srp_model_path(struct srp_model *model, uint32_t index)
{
    if (model == NULL || index >= model->path_count) {
        return NULL;
    }
    return srp_model_ref(model->paths != NULL ? &model->paths[index] : model);
}

void srp_model_get_info(const struct srp_model *model, struct srp_model_info *info)
{
    const struct srpi_graph *g = &model->graph;
    uint64_t macs = model->paths == NULL ? g->macs_per_pixel : 0;
    for (uint32_t i = 0; model->paths != NULL && i < model->path_count; i++) {
        const uint64_t path = model->paths[i].graph.macs_per_pixel;
        macs = path > macs ? path : macs;
    }
    *info = (struct srp_model_info){
        .name = g->name,
        .scale = g->scale,
        .colour = g->colour,
        .channels = g->channels,
        .parameter_count = g->parameter_count,
        .macs_per_pixel = macs,
        .halo = g->halo,
        .node_count = g->node_count,
        .path_count = model->path_count,
        .default_path = model->default_path,
    };
}
