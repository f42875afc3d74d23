/* SPDX-License-Identifier: BSD-2-Clause */
#include "model.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "error.h"
#include "safetensors.h"

#define PARAMETER_ALIGNMENT 64u

/* The parameter arrays of a convolution, in the order of their storage. */
enum part { PART_WEIGHT, PART_BIAS, PART_SLOPE, PART_COUNT };
static const char *const part_names[PART_COUNT] = {"weight", "bias", "slope"};

/* Writes the shape and returns the rank; 0: the node has no such array. */
static uint32_t part_shape(const struct srpi_graph *g, const struct srpi_node *node, enum part part,
                           uint32_t shape[SRPI_SAFETENSORS_MAX_RANK])
{
    if (node->op != SRPI_OP_CONV2D ||
        (part == PART_SLOPE && node->activation != SRPI_ACT_PRELU)) {
        return 0;
    }
    shape[0] = g->tensors[node->output].channels;
    if (part != PART_WEIGHT) {
        return 1;
    }
    shape[1] = g->tensors[node->inputs[0]].channels;
    shape[2] = node->kernel_height;
    shape[3] = node->kernel_width;
    return 4;
}

static void put_shape(char *text, size_t size, const uint32_t *shape, uint32_t rank)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < rank && used < size; i++) {
        int n = snprintf(text + used, size - used, "%s%" PRIu32, i > 0 ? "," : "", shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* The array for one part of a node, its shape checked. */
static enum srp_err find_part(const struct srpi_graph *g, const struct srpi_node *node,
                              enum part part, const struct srpi_safetensors *file,
                              const struct srpi_array **out, struct srp_error *err)
{
    uint32_t shape[SRPI_SAFETENSORS_MAX_RANK] = {0};
    char name[SRP_MAX_NAME + 16];
    uint32_t rank = part_shape(g, node, part, shape);

    *out = NULL;
    if (rank == 0) {
        return SRP_OK;
    }
    snprintf(name, sizeof(name), "%s.%s", node->name, part_names[part]);
    const struct srpi_array *array = srpi_safetensors_find(file, name);
    if (array == NULL) {
        return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensor '%s' is missing", file->file, name);
    }
    if (array->rank != rank || memcmp(array->shape, shape, rank * sizeof(shape[0])) != 0) {
        char has[64];
        char wants[64];
        put_shape(has, sizeof(has), array->shape, array->rank);
        put_shape(wants, sizeof(wants), shape, rank);
        return srpi_fail(err, SRP_ERR_PARAMS,
                         "%s: tensor '%s': shape [%s] where graph '%s' wants [%s]", file->file,
                         name, has, g->name, wants);
    }
    *out = array;
    return SRP_OK;
}

/* Whether tensor t may come with a range: all but the graph's input and output. */
static bool takes_range(const struct srpi_graph *g, uint32_t t)
{
    return t != g->input && t != g->output;
}

static const struct srpi_array *find_range(const struct srpi_graph *g,
                                           const struct srpi_safetensors *file, uint32_t t,
                                           char name[SRP_MAX_NAME + 16])
{
    snprintf(name, SRP_MAX_NAME + 16, "%s.range", g->tensors[t].name);
    return takes_range(g, t) ? srpi_safetensors_find(file, name) : NULL;
}

/* All tensors have a range, or none has. */
static enum srp_err match_ranges(const struct srpi_graph *g, const struct srpi_safetensors *file,
                                 uint8_t *claimed, bool *has_ranges, struct srp_error *err)
{
    char name[SRP_MAX_NAME + 16];
    *has_ranges = false;
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        *has_ranges = *has_ranges || find_range(g, file, t, name) != NULL;
    }
    for (uint32_t t = 0; *has_ranges && t < g->tensor_count; t++) {
        const struct srpi_array *array = find_range(g, file, t, name);
        if (!takes_range(g, t)) {
            continue;
        }
        if (array == NULL) {
            return srpi_fail(err, SRP_ERR_PARAMS,
                             "%s: tensor '%s' is missing where others have a range", file->file,
                             name);
        }
        if (array->rank != 1 || array->shape[0] != 2) {
            char has[64];
            put_shape(has, sizeof(has), array->shape, array->rank);
            return srpi_fail(err, SRP_ERR_PARAMS,
                             "%s: tensor '%s': shape [%s] where a range is [2]", file->file, name,
                             has);
        }
        claimed[array - file->arrays] = 1;
    }
    return SRP_OK;
}

/* Every array that the graph wants is there, and no other. */
static enum srp_err match(const struct srpi_graph *g, const struct srpi_safetensors *file,
                          bool *has_ranges, struct srp_error *err)
{
    uint8_t *claimed = calloc((size_t)file->count + 1, 1);
    enum srp_err rc = SRP_OK;

    if (claimed == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", file->file);
    }
    for (uint32_t i = 0; rc == SRP_OK && i < g->node_count; i++) {
        for (enum part part = PART_WEIGHT; rc == SRP_OK && part < PART_COUNT; part++) {
            const struct srpi_array *array = NULL;
            rc = find_part(g, &g->nodes[i], part, file, &array, err);
            if (rc == SRP_OK && array != NULL) {
                claimed[array - file->arrays] = 1;
            }
        }
    }
    if (rc == SRP_OK) {
        rc = match_ranges(g, file, claimed, has_ranges, err);
    }
    for (uint32_t i = 0; rc == SRP_OK && i < file->count; i++) {
        if (!claimed[i]) {
            rc = srpi_fail(err, SRP_ERR_PARAMS, "%s: graph '%s' has no use for tensor '%.80s'",
                           file->file, g->name, file->arrays[i].name);
        }
    }
    free(claimed);
    return rc;
}

static void set_part(struct srpi_node *node, enum part part, const float *values)
{
    if (part == PART_WEIGHT) {
        node->weight = values;
    } else if (part == PART_BIAS) {
        node->bias = values;
    } else {
        node->slope = values;
    }
}

/* Points the nodes into model->parameters, in the order in which they are laid out there. */
static void lay_out(struct srp_model *model, bool has_ranges)
{
    struct srpi_graph *g = &model->graph;
    float *next = model->parameters;

    for (uint32_t i = 0; i < g->node_count; i++) {
        for (enum part part = PART_WEIGHT; part < PART_COUNT; part++) {
            uint32_t shape[SRPI_SAFETENSORS_MAX_RANK] = {0};
            uint32_t rank = part_shape(g, &g->nodes[i], part, shape);
            if (rank == 0) {
                continue;
            }
            set_part(&g->nodes[i], part, next);
            next += part == PART_WEIGHT ? srpi_node_weight_count(g, &g->nodes[i]) : shape[0];
        }
    }
    g->ranges = has_ranges ? next : NULL;
}

/* Takes the graph over in every case. */
static enum srp_err allocate(struct srp_model **out, struct srpi_graph *graph, bool has_ranges,
                             struct srp_error *err)
{
    size_t bytes = 0;
    struct srp_model *model = calloc(1, sizeof(*model));
    const size_t ranges = has_ranges ? 2 * (size_t)graph->tensor_count : 0;
    bool fits = graph->parameter_count <= SRP_MAX_PARAMETERS &&
                srpi_mul((size_t)graph->parameter_count + ranges, sizeof(float), &bytes) &&
                srpi_add(bytes, PARAMETER_ALIGNMENT, &bytes);

    bytes -= bytes % PARAMETER_ALIGNMENT; /* aligned_alloc wants a multiple */
    if (model != NULL && fits) {
        model->parameters = aligned_alloc(PARAMETER_ALIGNMENT, bytes);
    }
    if (model == NULL || model->parameters == NULL) {
        srpi_graph_free(graph);
        free(model);
        return srpi_fail(err, SRP_ERR_NOMEM, "no memory for %zu bytes of parameters", bytes);
    }
    memset(model->parameters, 0, bytes);
    atomic_init(&model->references, 1);
    model->graph = *graph;
    lay_out(model, has_ranges);
    *out = model;
    return SRP_OK;
}

/* `out`: two floats for each tensor, zeros for those without a range. */
static enum srp_err load_ranges(const struct srpi_graph *g, const struct srpi_safetensors *file,
                                float *out, struct srp_error *err)
{
    char name[SRP_MAX_NAME + 16];
    for (uint32_t t = 0; t < g->tensor_count; t++, out += 2) {
        const struct srpi_array *array = find_range(g, file, t, name);
        if (array == NULL) {
            continue;
        }
        enum srp_err rc = srpi_array_to_f32(file, array, out, err);
        if (rc != SRP_OK) {
            return rc;
        }
        if (!(out[0] <= 0.0f && out[1] >= 0.0f && out[0] < out[1])) {
            return srpi_fail(err, SRP_ERR_FORMAT,
                             "%s: tensor '%s': %g to %g is no range that holds 0 and more",
                             file->file, name, (double)out[0], (double)out[1]);
        }
    }
    return SRP_OK;
}

static enum srp_err load(struct srp_model *model, const struct srpi_safetensors *file,
                         struct srp_error *err)
{
    const struct srpi_graph *g = &model->graph;
    float *next = model->parameters;

    for (uint32_t i = 0; i < g->node_count; i++) {
        for (enum part part = PART_WEIGHT; part < PART_COUNT; part++) {
            const struct srpi_array *array = NULL;
            enum srp_err rc = find_part(g, &g->nodes[i], part, file, &array, err);
            if (rc == SRP_OK && array != NULL) {
                rc = srpi_array_to_f32(file, array, next, err);
                next += array->count;
            }
            if (rc != SRP_OK) {
                return rc;
            }
        }
    }
    return g->ranges != NULL ? load_ranges(g, file, next, err) : SRP_OK;
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

enum srp_err srp_model_create(struct srp_model **out, const struct srp_model_params *params,
                              struct srp_error *err)
{
    struct srpi_graph graph = {0};
    struct srpi_safetensors file = {0};
    struct srp_model *model = NULL;
    bool has_ranges = false;

    if (out == NULL || params == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_model_create: out and params must not be NULL");
    }
    *out = NULL;
    enum srp_err rc = srpi_graph_read(&graph, &params->graph, err);
    if (rc != SRP_OK) {
        return rc;
    }
    rc = srpi_safetensors_read(&file, &params->parameters, err);
    if (rc == SRP_OK) {
        rc = match(&graph, &file, &has_ranges, err);
    }
    if (rc == SRP_OK) {
        rc = allocate(&model, &graph, has_ranges, err);
    } else {
        srpi_graph_free(&graph);
    }
    if (rc == SRP_OK) {
        rc = load(model, &file, err);
    }
    if (rc == SRP_OK) {
        rc = split(model, err);
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
    if (rc == SRP_OK) {
        rc = allocate(&model, &g, false, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    float *next = model->parameters;
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
