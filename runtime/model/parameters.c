/* SPDX-License-Identifier: BSD-2-Clause */
#include "parameters.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "error.h"

#define ALIGN ((size_t)64)
#define NAME_BYTES (SRP_MAX_NAME + 16)

/* The arrays of a convolution. Those in front of PART_SCALE become floats, in this order. */
enum part { PART_WEIGHT, PART_BIAS, PART_SLOPE, PART_SCALE, PART_COUNT };
static const char *const part_names[PART_COUNT] = {"weight", "bias", "slope", "scale"};

struct binding {
    struct srpi_graph *graph;
    const struct srpi_safetensors *file;
    uint8_t *claimed; /* by array of the file */
    bool has_ranges;
    size_t scales, codes; /* how many there are */
};

/* The array is one that the graph wants; `node`: whose it is, or NULL. */
static void claim(struct binding *b, const struct srpi_array *array, struct srpi_node *node)
{
    /* A node has at most SRP_MAX_PARAMETERS values of each part. */
    const uint32_t bytes = (uint32_t)array->count * srpi_dtype_bytes(array->dtype);
    b->claimed[array - b->file->arrays] = 1;
    b->graph->stored_bytes += bytes;
    if (node != NULL) {
        node->stored_bytes += bytes;
    }
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

static enum srp_err wrong_shape(const struct binding *b, const struct srpi_array *array,
                                const char *wants, struct srp_error *err)
{
    char has[64];
    put_shape(has, sizeof(has), array->shape, array->rank);
    return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensor '%s': shape [%s] where graph '%s' wants %s",
                     b->file->file, array->name, has, b->graph->name, wants);
}

/* ---- arrays of convolutions ------------------------------------------------------------------ */

static const struct srpi_array *find_part(const struct binding *b, const struct srpi_node *node,
                                          enum part part, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s.%s", node->name, part_names[part]);
    return srpi_safetensors_find(b->file, name);
}

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

/* Scales are there where weights are codes. */
static enum srp_err match_scales(struct binding *b, struct srpi_node *node, struct srp_error *err)
{
    char name[NAME_BYTES];
    const struct srpi_array *array = find_part(b, node, PART_SCALE, name);
    const uint32_t out = b->graph->tensors[node->output].channels;
    const uint32_t in = b->graph->tensors[node->inputs[0]].channels;
    if (array == NULL) {
        return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensor '%s' is missing for weights in I8",
                         b->file->file, name);
    }
    if (array->dtype == SRPI_DTYPE_I8) {
        return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensor '%s': I8 is for weights", b->file->file,
                         name);
    }
    const uint32_t groups = array->rank == 2 ? array->shape[1] : 1;
    if (array->rank < 1 || array->rank > 2 || array->shape[0] != out) {
        char wants[64];
        snprintf(wants, sizeof(wants), "[%" PRIu32 "] or [%" PRIu32 ",groups]", out, out);
        return wrong_shape(b, array, wants, err);
    }
    if (groups > SRP_MAX_GROUPS || in % groups != 0) {
        return srpi_fail(err, SRP_ERR_PARAMS,
                         "%s: tensor '%s': %" PRIu32 " groups of %" PRIu32 " input channels: they "
                         "do not divide these or are more than %u",
                         b->file->file, name, groups, in, SRP_MAX_GROUPS);
    }
    claim(b, array, node);
    node->groups = groups;
    b->scales += (size_t)out * groups;
    b->codes += (size_t)srpi_node_weight_count(b->graph, node);
    return SRP_OK;
}

static enum srp_err match_node(struct binding *b, struct srpi_node *node, struct srp_error *err)
{
    for (enum part part = PART_WEIGHT; part < PART_SCALE; part++) {
        uint32_t shape[SRPI_SAFETENSORS_MAX_RANK] = {0};
        char name[NAME_BYTES];
        const uint32_t rank = part_shape(b->graph, node, part, shape);
        if (rank == 0) {
            continue;
        }
        const struct srpi_array *array = find_part(b, node, part, name);
        if (array == NULL) {
            return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensor '%s' is missing", b->file->file,
                             name);
        }
        if (array->rank != rank || memcmp(array->shape, shape, rank * sizeof(shape[0])) != 0) {
            char wants[64] = "[";
            put_shape(wants + 1, sizeof(wants) - 2, shape, rank);
            strcat(wants, "]");
            return wrong_shape(b, array, wants, err);
        }
        if (array->dtype == SRPI_DTYPE_I8 && part != PART_WEIGHT) {
            return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensor '%s': I8 is for weights",
                             b->file->file, name);
        }
        claim(b, array, node);
        node->stored = part == PART_WEIGHT ? srpi_dtype_word(array->dtype) : node->stored;
        if (array->dtype == SRPI_DTYPE_I8) {
            enum srp_err rc = match_scales(b, node, err);
            if (rc != SRP_OK) {
                return rc;
            }
        }
    }
    return SRP_OK;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

/* Tensor t's range of 8 or of 16 bits, or NULL. That of the input has names of its own, by which
 * a file says that there is one. */
static const struct srpi_array *find_range(const struct binding *b, uint32_t t, bool fine,
                                           char name[NAME_BYTES])
{
    const struct srpi_graph *g = b->graph;
    snprintf(name, NAME_BYTES, "%s.%srange%s", g->tensors[t].name, t == g->input ? "input_" : "",
             fine ? "16" : "");
    return srpi_safetensors_find(b->file, name);
}

/* Whether tensor t may come with a range. A route hands on what its paths made: its output, the
 * graph's, has none. That of the input may be missing: then its codes are the picture's. */
static bool takes_range(const struct srpi_graph *g, uint32_t t)
{
    return t != g->output;
}

/* Whether it may be kept in 16 bits: what sums make, before it is a code, and the picture. */
static bool takes_fine(const struct srpi_graph *g, uint32_t t)
{
    if (t == g->input) {
        return true;
    }
    const struct srpi_node *node = &g->nodes[g->tensors[t].producer];
    return node->op == SRPI_OP_ADD || node->op == SRPI_OP_MUL ||
           (node->op == SRPI_OP_CONV2D && node->activation != SRPI_ACT_TANH &&
            node->activation != SRPI_ACT_SIGMOID);
}

static enum srp_err match_range(struct binding *b, uint32_t t, struct srp_error *err)
{
    char name[NAME_BYTES], coarse_name[NAME_BYTES];
    const struct srpi_array *fine = find_range(b, t, true, name);
    const struct srpi_array *array = find_range(b, t, false, coarse_name);
    if (array == NULL && fine == NULL && t == b->graph->input) {
        return SRP_OK;
    }
    if (array == NULL && fine == NULL) {
        return srpi_fail(err, SRP_ERR_PARAMS,
                         "%s: tensor '%s' is missing where others have a range", b->file->file,
                         coarse_name);
    }
    if (array != NULL && fine != NULL) {
        return srpi_fail(err, SRP_ERR_PARAMS, "%s: tensors '%s' and '%s': one of them is enough",
                         b->file->file, coarse_name, name);
    }
    if (fine != NULL && !takes_fine(b->graph, t)) {
        return srpi_fail(err, SRP_ERR_PARAMS,
                         "%s: tensor '%s': 16 bits are for what conv2d (without tanh and sigmoid), "
                         "add and mul write",
                         b->file->file, name);
    }
    array = fine != NULL ? fine : array;
    if (array->rank != 1 || array->shape[0] != 2 || array->dtype == SRPI_DTYPE_I8) {
        char has[64];
        put_shape(has, sizeof(has), array->shape, array->rank);
        return srpi_fail(err, SRP_ERR_PARAMS,
                         "%s: tensor '%s': shape [%s]%s where a range is [2] floats",
                         b->file->file, array->name, has,
                         array->dtype == SRPI_DTYPE_I8 ? " in I8" : "");
    }
    claim(b, array, NULL);
    return SRP_OK;
}

/* All tensors have a range, or none has. */
static enum srp_err match_ranges(struct binding *b, struct srp_error *err)
{
    const struct srpi_graph *g = b->graph;
    char name[NAME_BYTES];
    enum srp_err rc = SRP_OK;
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        b->has_ranges = b->has_ranges || (takes_range(g, t) && (find_range(b, t, false, name) ||
                                                                find_range(b, t, true, name)));
    }
    for (uint32_t t = 0; rc == SRP_OK && b->has_ranges && t < g->tensor_count; t++) {
        rc = takes_range(g, t) ? match_range(b, t, err) : SRP_OK;
    }
    return rc;
}

/* `out`: of each tensor, zeroed. */
static enum srp_err load_ranges(const struct binding *b, struct srpi_stated_range *out,
                                struct srp_error *err)
{
    const struct srpi_graph *g = b->graph;
    for (uint32_t t = 0; t < g->tensor_count; t++, out++) {
        char name[NAME_BYTES];
        const struct srpi_array *array =
            takes_range(g, t) ? find_range(b, t, false, name) : NULL;
        if (array == NULL && takes_range(g, t)) {
            array = find_range(b, t, true, name);
            out->fine = array != NULL;
        }
        if (array == NULL) {
            continue;
        }
        float range[2];
        enum srp_err rc = srpi_array_to_f32(b->file, array, range, err);
        if (rc != SRP_OK) {
            return rc;
        }
        if (!(range[0] <= 0.0f && range[1] >= 0.0f && range[0] < range[1])) {
            return srpi_fail(err, SRP_ERR_FORMAT,
                             "%s: tensor '%s': %g to %g is no range that holds 0 and more",
                             b->file->file, name, (double)range[0], (double)range[1]);
        }
        out->low = range[0];
        out->high = range[1];
    }
    return SRP_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Every array that the graph wants is there, and no other. */
static enum srp_err match(struct binding *b, struct srp_error *err)
{
    struct srpi_graph *g = b->graph;
    enum srp_err rc = SRP_OK;
    for (uint32_t i = 0; rc == SRP_OK && i < g->node_count; i++) {
        rc = match_node(b, &g->nodes[i], err);
    }
    if (rc == SRP_OK) {
        rc = match_ranges(b, err);
    }
    for (uint32_t i = 0; rc == SRP_OK && i < b->file->count; i++) {
        if (!b->claimed[i]) {
            rc = srpi_fail(err, SRP_ERR_PARAMS, "%s: graph '%s' has no use for tensor '%.80s'",
                           b->file->file, g->name, b->file->arrays[i].name);
        }
    }
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

/* The block: floats of the parts, floats of the scales, ranges, codes. Points the graph into it. */
static enum srp_err allocate(const struct binding *b, void **memory, struct srp_error *err)
{
    struct srpi_graph *g = b->graph;
    const size_t ranges = b->has_ranges ? g->tensor_count * sizeof(g->ranges[0]) : 0;
    size_t bytes = 0;
    void *block = NULL;
    if (g->parameter_count <= SRP_MAX_PARAMETERS &&
        srpi_mul((size_t)g->parameter_count + b->scales, sizeof(float), &bytes) &&
        srpi_add(bytes, ranges + b->codes + ALIGN, &bytes)) {
        bytes -= bytes % ALIGN; /* aligned_alloc wants a multiple */
        block = aligned_alloc(ALIGN, bytes);
    }
    if (block == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "no memory for %zu bytes of parameters", bytes);
    }
    memset(block, 0, bytes);
    float *next = block, *scales = next + g->parameter_count;
    struct srpi_stated_range *stated = (struct srpi_stated_range *)(void *)(scales + b->scales);
    int8_t *codes = (int8_t *)stated + ranges;
    for (uint32_t i = 0; i < g->node_count; i++) {
        struct srpi_node *node = &g->nodes[i];
        node->stored = node->stored != NULL ? node->stored : "";
        for (enum part part = PART_WEIGHT; part < PART_SCALE; part++) {
            uint32_t shape[SRPI_SAFETENSORS_MAX_RANK] = {0};
            const uint32_t rank = part_shape(g, node, part, shape);
            if (rank != 0) {
                set_part(node, part, next);
                next += part == PART_WEIGHT ? srpi_node_weight_count(g, node) : shape[0];
            }
        }
        if (node->groups != 0) {
            node->scales = scales;
            node->codes = codes;
            scales += (size_t)g->tensors[node->output].channels * node->groups;
            codes += srpi_node_weight_count(g, node);
        }
    }
    g->ranges = b->has_ranges ? stated : NULL;
    *memory = block;
    return SRP_OK;
}

/* Codes and scales, and the weights that they stand for. */
static enum srp_err load_codes(const struct binding *b, const struct srpi_node *node,
                               const struct srpi_array *array, struct srp_error *err)
{
    const struct srpi_graph *g = b->graph;
    char name[NAME_BYTES];
    const struct srpi_array *scale = find_part(b, node, PART_SCALE, name);
    float *scales = (float *)node->scales, *weight = (float *)node->weight;
    const uint32_t in = g->tensors[node->inputs[0]].channels;
    const uint32_t taps = node->kernel_height * node->kernel_width;
    enum srp_err rc = srpi_array_to_f32(b->file, scale, scales, err);
    for (uint64_t i = 0; rc == SRP_OK && i < scale->count; i++) {
        if (!(scales[i] > 0.0f) || !isfinite(scales[i] * 127.0f)) {
            rc = srpi_fail(err, SRP_ERR_FORMAT,
                           "%s: tensor '%s': element %" PRIu64 " is %g, no scale of weights",
                           b->file->file, name, i, (double)scales[i]);
        }
    }
    memcpy((int8_t *)node->codes, array->data, (size_t)array->count);
    for (uint64_t i = 0; rc == SRP_OK && i < array->count; i++) {
        if (node->codes[i] == INT8_MIN) {
            return srpi_fail(err, SRP_ERR_FORMAT,
                             "%s: tensor '%s': element %" PRIu64 " is -128; codes are -127..127",
                             b->file->file, array->name, i);
        }
        const uint64_t channel = i / taps; /* of all output channels' input channels */
        const uint64_t group = channel % in / (in / node->groups);
        weight[i] = (float)node->codes[i] * scales[channel / in * node->groups + group];
    }
    return rc;
}

static enum srp_err load(const struct binding *b, void *memory, struct srp_error *err)
{
    const struct srpi_graph *g = b->graph;
    float *next = memory;
    enum srp_err rc = SRP_OK;
    for (uint32_t i = 0; rc == SRP_OK && i < g->node_count; i++) {
        for (enum part part = PART_WEIGHT; rc == SRP_OK && part < PART_SCALE; part++) {
            uint32_t shape[SRPI_SAFETENSORS_MAX_RANK] = {0};
            char name[NAME_BYTES];
            if (part_shape(g, &g->nodes[i], part, shape) == 0) {
                continue;
            }
            const struct srpi_array *array = find_part(b, &g->nodes[i], part, name);
            rc = array->dtype == SRPI_DTYPE_I8 ? load_codes(b, &g->nodes[i], array, err)
                                               : srpi_array_to_f32(b->file, array, next, err);
            next += array->count;
        }
    }
    return rc == SRP_OK && g->ranges != NULL
               ? load_ranges(b, (struct srpi_stated_range *)g->ranges, err)
               : rc;
}

enum srp_err srpi_parameters_bind(void **memory, struct srpi_graph *graph,
                                  const struct srpi_safetensors *file, struct srp_error *err)
{
    struct binding b = {.graph = graph, .file = file};
    enum srp_err rc = SRP_OK;
    void *block = NULL;
    if (file != NULL) {
        b.claimed = calloc((size_t)file->count + 1, 1);
        rc = b.claimed != NULL
                 ? match(&b, err)
                 : srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", file->file);
    }
    if (rc == SRP_OK) {
        rc = allocate(&b, &block, err);
    }
    if (rc == SRP_OK && file != NULL) {
        rc = load(&b, block, err);
    }
    free(b.claimed);
    if (rc == SRP_OK) {
        *memory = block;
    } else {
        free(block);
    }
    return rc;
}
