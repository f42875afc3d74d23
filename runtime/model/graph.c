/* SPDX-License-Identifier: BSD-2-Clause */
/* The graph reader and validator, in the order of its work:
 *   read_header, read_node  JSON to drafts, each field in its range
 *   link_names              names are unique, each input is written by someone
 *   sort_nodes              execution order (Kahn; of the ready nodes the first in the document)
 *   build                   the immutable graph in one block of memory
 *   infer                   shapes, receptive field and cost in execution order
 *   check_use               nothing is left unread; the output has the promised shape
 *   check_route             its paths are different tensors, and its output the graph's */
#include "graph.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "error.h"
#include "json.h"

/* Real attributes beyond this are no sane network, and stay finite as f32. */
#define MAX_REAL 1e6
/* Radii are counted in twelfths of an input pixel, exact for every factor up to SRP_MAX_SCALE. */
#define RADIUS_UNIT 12u

_Static_assert(SRP_MAX_SCALE == 4, "RADIUS_UNIT is a common multiple of 1..SRP_MAX_SCALE");

/* A node as it stands in the document. */
struct draft_node {
    struct srpi_node node;  /* inputs, output and names are filled by build() */
    const char *name;
    const char *output;
    struct srpi_at inputs;  /* the list; .up is not followed after read_node */
    size_t first_input;     /* into draft.inputs */
};

/* Everything before build(). Strings belong to the JSON tree. */
struct draft {
    const char *file;
    struct srp_error *err;
    struct srpi_graph graph;
    const char *input, *output; /* names */
    struct draft_node *nodes;   /* in document order */
    uint32_t *inputs;           /* SRPI_NO_NODE: the graph's input; else a document index */
    uint32_t *order;            /* execution order: document indices */
    uint32_t *position;         /* the inverse */
    uint32_t node_count;
    size_t input_count;
};

static const char *const op_words[] = {"conv2d", "add", "concat", "depth_to_space", "resize",
                                       "mul",    "slice", "route", NULL};
static const char *const activation_words[] = {"none",  "relu", "leaky_relu", "prelu",
                                               "clip", "tanh", "sigmoid",    NULL};
static const char *const mode_words[] = {"nearest", "bilinear", "bicubic", NULL};
static const char *const order_words[] = {"crd", "dcr", NULL};
static const char *const colour_words[] = {"y", "rgb", "yuv420", NULL};
static const uint32_t colour_channels[] = {1, 3, 6};

static enum srp_err get_real(const struct srpi_at *at, const char *key, double min, double max,
                             float *out, struct srp_error *err)
{
    double value = 0;
    enum srp_err rc = srpi_get_real(at, key, min, max, &value, err);
    if (rc == SRP_OK) {
        *out = (float)value;
    }
    return rc;
}

static enum srp_err read_activation(const struct srpi_at *at, struct srpi_node *node,
                                    struct srp_error *err)
{
    uint32_t word = 0;
    struct srpi_at field;
    enum srp_err rc = SRP_OK;

    if (!srpi_at_has(at, "activation")) {
        return SRP_OK;
    }
    rc = srpi_at_field(&field, at, "activation", err);
    if (rc == SRP_OK) {
        rc = srpi_at_word(&field, activation_words, &word, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    node->activation = (enum srpi_activation)word;
    switch (node->activation) {
    case SRPI_ACT_LEAKY_RELU:
        return get_real(at, "alpha", -MAX_REAL, MAX_REAL, &node->alpha, err);
    case SRPI_ACT_CLIP:
        rc = get_real(at, "min", -MAX_REAL, MAX_REAL, &node->min, err);
        if (rc == SRP_OK) {
            rc = get_real(at, "max", -MAX_REAL, MAX_REAL, &node->max, err);
        }
        if (rc == SRP_OK && node->min > node->max) {
            rc = srpi_at_fail(at, err, SRP_ERR_FORMAT, "clip from %g down to %g",
                              (double)node->min, (double)node->max);
        }
        return rc;
    case SRPI_ACT_PRELU:
        if (node->op != SRPI_OP_CONV2D) {
            return srpi_at_fail(&field, err, SRP_ERR_FORMAT, "prelu is for conv2d alone");
        }
        return SRP_OK;
    default:
        return SRP_OK;
    }
}

static enum srp_err read_conv2d(const struct srpi_at *at, struct draft_node *draft,
                                uint32_t *channels, struct srp_error *err)
{
    struct srpi_at kernel;
    size_t count = 0;
    uint32_t *sizes[2] = {&draft->node.kernel_height, &draft->node.kernel_width};

    enum srp_err rc = srpi_get_u32(at, "channels", 1, SRP_MAX_CHANNELS, channels, err);
    if (rc == SRP_OK) {
        rc = srpi_get_list(at, "kernel", 2, 2, &kernel, &count, err);
    }
    for (size_t i = 0; rc == SRP_OK && i < count; i++) {
        struct srpi_at item = srpi_at_item(&kernel, i);
        rc = srpi_at_u32(&item, 1, SRP_MAX_KERNEL, sizes[i], err);
        if (rc == SRP_OK && *sizes[i] % 2 == 0) {
            rc = srpi_at_fail(&item, err, SRP_ERR_FORMAT, "%" PRIu32 " is even", *sizes[i]);
        }
    }
    return rc;
}

/* `channels` is 0 where the operator has no such key; infer() finds it then. */
static enum srp_err read_attributes(const struct srpi_at *at, struct draft_node *draft,
                                    uint32_t *channels, struct srp_error *err)
{
    struct srpi_node *node = &draft->node;
    uint32_t word = 0;
    enum srp_err rc = SRP_OK;

    *channels = 0;
    switch (node->op) {
    case SRPI_OP_CONV2D:
        rc = read_conv2d(at, draft, channels, err);
        return rc != SRP_OK ? rc : read_activation(at, node, err);
    case SRPI_OP_ADD:
    case SRPI_OP_MUL:
        return read_activation(at, node, err);
    case SRPI_OP_CONCAT:
        return SRP_OK;
    case SRPI_OP_DEPTH_TO_SPACE:
        rc = srpi_get_u32(at, "block", 1, SRP_MAX_SCALE, &node->block, err);
        if (rc == SRP_OK && srpi_at_has(at, "order")) {
            rc = srpi_get_word(at, "order", order_words, &word, err);
            node->order = (enum srpi_block_order)word;
        }
        return rc;
    case SRPI_OP_RESIZE:
        rc = srpi_get_u32(at, "scale", 1, SRP_MAX_SCALE, &node->scale, err);
        if (rc == SRP_OK) {
            rc = srpi_get_word(at, "mode", mode_words, &word, err);
            node->mode = (enum srpi_resize_mode)word;
        }
        return rc;
    case SRPI_OP_SLICE:
        rc = srpi_get_u32(at, "first", 0, SRP_MAX_CHANNELS - 1, &node->first, err);
        return rc != SRP_OK
                   ? rc
                   : srpi_get_u32(at, "channels", 1, SRP_MAX_CHANNELS, channels, err);
    case SRPI_OP_ROUTE:
        return srpi_get_u32(at, "default", 0, SRP_MAX_PATHS - 1, &node->default_path, err);
    }
    return srpi_at_fail(at, err, SRP_ERR_UNSUPPORTED, "unknown operator");
}

static enum srp_err read_op(const struct srpi_at *at, enum srpi_op *op, struct srp_error *err)
{
    struct srpi_at field;
    const char *text = NULL;

    enum srp_err rc = srpi_at_field(&field, at, "op", err);
    if (rc == SRP_OK) {
        rc = srpi_at_text(&field, SRP_MAX_NAME, &text, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    for (uint32_t i = 0; op_words[i] != NULL; i++) {
        if (strcmp(text, op_words[i]) == 0) {
            *op = (enum srpi_op)(SRPI_OP_CONV2D + i);
            return SRP_OK;
        }
    }
    return srpi_at_fail(&field, err, SRP_ERR_UNSUPPORTED, "unknown operator '%.64s'", text);
}

/* Elsewhere unknown keys are ignored; what a node computes is all in its keys. */
static enum srp_err check_keys(const struct srpi_at *at, enum srpi_op op, struct srp_error *err)
{
    static const char *const common[] = {"op", "name", "inputs", "output", NULL};
    static const char *const own[][8] = {
        [SRPI_OP_CONV2D] = {"channels", "kernel", "activation", "alpha", "min", "max"},
        [SRPI_OP_ADD] = {"activation", "alpha", "min", "max"},
        [SRPI_OP_MUL] = {"activation", "alpha", "min", "max"},
        [SRPI_OP_CONCAT] = {NULL},
        [SRPI_OP_DEPTH_TO_SPACE] = {"block", "order"},
        [SRPI_OP_RESIZE] = {"scale", "mode"},
        [SRPI_OP_SLICE] = {"first", "channels"},
        [SRPI_OP_ROUTE] = {"default"}};
    json_t *node = (json_t *)(uintptr_t)at->value, *value = NULL; /* is only read */
    const char *key = NULL;
    json_object_foreach(node, key, value) {
        bool known = false;
        for (uint32_t i = 0; common[i] != NULL; i++) {
            known = known || strcmp(key, common[i]) == 0;
        }
        for (uint32_t i = 0; own[op][i] != NULL; i++) {
            known = known || strcmp(key, own[op][i]) == 0;
        }
        if (!known) {
            return srpi_at_fail(at, err, SRP_ERR_UNSUPPORTED, "%s has no '%.64s'",
                                op_words[op - SRPI_OP_CONV2D], key);
        }
    }
    return SRP_OK;
}

static enum srp_err read_node(struct draft *d, const struct srpi_at *at, uint32_t index)
{
    struct draft_node *draft = &d->nodes[index];
    struct srp_error *err = d->err;
    uint32_t channels = 0;
    size_t count = 0;

    enum srp_err rc = read_op(at, &draft->node.op, err);
    if (rc == SRP_OK) {
        rc = srpi_get_name(at, "name", SRP_MAX_NAME, "", &draft->name, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_name(at, "output", SRP_MAX_NAME, "", &draft->output, err);
    }
    if (rc == SRP_OK) {
        const bool route = draft->node.op == SRPI_OP_ROUTE;
        const bool several = draft->node.op == SRPI_OP_ADD || draft->node.op == SRPI_OP_MUL ||
                             draft->node.op == SRPI_OP_CONCAT;
        rc = srpi_get_list(at, "inputs", several || route ? 2 : 1,
                           route ? SRP_MAX_PATHS : several ? SRP_MAX_INPUTS : 1, &draft->inputs,
                           &count, err);
    }
    for (size_t i = 0; rc == SRP_OK && i < count; i++) {
        struct srpi_at item = srpi_at_item(&draft->inputs, i);
        const char *name = NULL;
        rc = srpi_at_name(&item, SRP_MAX_NAME, "", &name, err);
    }
    if (rc == SRP_OK) {
        rc = read_attributes(at, draft, &channels, err);
    }
    if (rc == SRP_OK) {
        rc = check_keys(at, draft->node.op, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    draft->node.input_count = (uint32_t)count;
    draft->node.output = channels; /* parked here until build() gives it its tensor */
    draft->first_input = d->input_count;
    d->input_count += count; /* at most SRP_MAX_NODES * SRP_MAX_INPUTS */
    return SRP_OK;
}

static enum srp_err read_header(struct draft *d, const struct srpi_at *root, struct srpi_at *nodes)
{
    struct srpi_graph *g = &d->graph;
    struct srp_error *err = d->err;
    uint32_t word = 0;
    size_t count = 0;

    enum srp_err rc = srpi_get_version(root, "srp-graph", 1, err);
    if (rc == SRP_OK) {
        rc = srpi_get_name(root, "name", SRP_MAX_NAME, "-", &g->name, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_u32(root, "scale", 1, SRP_MAX_SCALE, &g->scale, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_word(root, "colour", colour_words, &word, err);
    }
    if (rc == SRP_OK) {
        g->colour = (enum srp_colour_space)(SRP_COLOUR_Y + word);
        g->channels = colour_channels[word];
    }
    if (rc == SRP_OK && srpi_at_has(root, "mean")) {
        rc = get_real(root, "mean", 0, 1, &g->mean, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_name(root, "input", SRP_MAX_NAME, "", &d->input, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_name(root, "output", SRP_MAX_NAME, "", &d->output, err);
    }
    if (rc == SRP_OK) {
        rc = srpi_get_list(root, "nodes", 1, SRP_MAX_NODES, nodes, &count, err);
    }
    d->node_count = (uint32_t)count;
    return rc;
}

/* Document index of the node that writes `name`, or node_count. */
static uint32_t find_writer(const struct draft *d, const char *name)
{
    uint32_t i = 0;
    while (i < d->node_count && strcmp(d->nodes[i].output, name) != 0) {
        i++;
    }
    return i;
}

static enum srp_err link_names(struct draft *d)
{
    for (uint32_t i = 0; i < d->node_count; i++) {
        const struct draft_node *node = &d->nodes[i];
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(d->nodes[j].name, node->name) == 0) {
                return srpi_fail(d->err, SRP_ERR_FORMAT, "%s: node name '%s' is used twice",
                                 d->file, node->name);
            }
        }
        if (find_writer(d, node->output) != i || strcmp(node->output, d->input) == 0) {
            return srpi_fail(d->err, SRP_ERR_GRAPH, "%s: node '%s': tensor '%s' is written twice",
                             d->file, node->name, node->output);
        }
        for (uint32_t k = 0; k < node->node.input_count; k++) {
            const char *name = json_string_value(json_array_get(node->inputs.value, k));
            uint32_t writer = find_writer(d, name);
            if (strcmp(name, d->input) == 0) {
                writer = SRPI_NO_NODE;
            } else if (writer == d->node_count) {
                return srpi_fail(d->err, SRP_ERR_GRAPH,
                                 "%s: node '%s': nobody writes its input '%s'", d->file,
                                 node->name, name);
            }
            d->inputs[node->first_input + k] = writer;
        }
    }
    if (find_writer(d, d->output) == d->node_count) {
        return srpi_fail(d->err, SRP_ERR_GRAPH, "%s: no node writes the output '%s'", d->file,
                         d->output);
    }
    return SRP_OK;
}

static enum srp_err sort_nodes(struct draft *d)
{
    for (uint32_t i = 0; i < d->node_count; i++) {
        d->position[i] = SRPI_NO_NODE;
    }
    for (uint32_t done = 0; done < d->node_count; done++) {
        uint32_t next = 0;
        for (; next < d->node_count; next++) {
            const struct draft_node *node = &d->nodes[next];
            bool ready = d->position[next] == SRPI_NO_NODE;
            for (uint32_t k = 0; ready && k < node->node.input_count; k++) {
                uint32_t writer = d->inputs[node->first_input + k];
                ready = writer == SRPI_NO_NODE || d->position[writer] != SRPI_NO_NODE;
            }
            if (ready) {
                break;
            }
        }
        if (next == d->node_count) {
            uint32_t stuck = 0;
            while (d->position[stuck] != SRPI_NO_NODE) {
                stuck++;
            }
            return srpi_fail(d->err, SRP_ERR_GRAPH, "%s: node '%s' hangs on a cycle", d->file,
                             d->nodes[stuck].name);
        }
        d->order[done] = next;
        d->position[next] = done;
    }
    return SRP_OK;
}

static const char *copy_text(char **cursor, const char *text)
{
    char *copy = *cursor;
    size_t size = strlen(text) + 1;
    memcpy(copy, text, size);
    *cursor += size;
    return copy;
}

/* One block: tensors, nodes, input indices, text. */
static enum srp_err build(const struct draft *d, struct srpi_graph *g)
{
    size_t tensor_count = (size_t)d->node_count + 1;
    size_t tensors = 0;
    size_t nodes = 0;
    size_t inputs = 0;
    size_t size = 0;
    size_t text = strlen(d->graph.name) + 1 + strlen(d->input) + 1;

    for (uint32_t i = 0; i < d->node_count; i++) {
        text += strlen(d->nodes[i].name) + 1 + strlen(d->nodes[i].output) + 1;
    }
    if (!srpi_mul(tensor_count, sizeof(struct srpi_tensor), &tensors) ||
        !srpi_mul(d->node_count, sizeof(struct srpi_node), &nodes) ||
        !srpi_mul(d->input_count, sizeof(uint32_t), &inputs) || !srpi_add(nodes, tensors, &size) ||
        !srpi_add(size, inputs, &size) || !srpi_add(size, text, &size)) {
        return srpi_fail(d->err, SRP_ERR_LIMIT, "%s: graph too large", d->file);
    }
    char *memory = calloc(1, size);
    if (memory == NULL) {
        return srpi_fail(d->err, SRP_ERR_NOMEM, "%s: out of memory", d->file);
    }
    /* Nodes hold pointers and come first, so that each part is aligned where it starts. */
    *g = d->graph;
    g->memory = memory;
    g->nodes = (struct srpi_node *)(void *)memory;
    g->tensors = (struct srpi_tensor *)(void *)(memory + nodes);
    uint32_t *input = (uint32_t *)(void *)(memory + nodes + tensors);
    char *cursor = memory + nodes + tensors + inputs;

    g->node_count = d->node_count;
    g->tensor_count = d->node_count + 1;
    g->name = copy_text(&cursor, d->graph.name);
    g->tensors[0].name = copy_text(&cursor, d->input);
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct draft_node *draft = &d->nodes[d->order[i]];
        struct srpi_node *node = &g->nodes[i];
        struct srpi_tensor *output = &g->tensors[i + 1];

        *node = draft->node;
        node->name = copy_text(&cursor, draft->name);
        node->output = i + 1;
        output->name = copy_text(&cursor, draft->output);
        output->channels = draft->node.output;
        output->producer = i;
        for (uint32_t k = 0; k < node->input_count; k++) {
            uint32_t writer = d->inputs[draft->first_input + k];
            input[k] = writer == SRPI_NO_NODE ? 0 : d->position[writer] + 1;
        }
        node->inputs = input;
        input += node->input_count;
    }
    g->input = 0;
    g->output = d->position[find_writer(d, d->output)] + 1;
    return SRP_OK;
}

/* Receptive field radius of a tensor, in RADIUS_UNITs. */
struct radius {
    uint32_t vertical, horizontal;
};

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static enum srp_err infer_join(const struct srpi_graph *g, const struct srpi_node *node,
                               const char *file, struct srp_error *err)
{
    const struct srpi_tensor *first = &g->tensors[node->inputs[0]];
    struct srpi_tensor *out = &g->tensors[node->output];
    uint32_t channels = first->channels;

    for (uint32_t k = 1; k < node->input_count; k++) {
        const struct srpi_tensor *other = &g->tensors[node->inputs[k]];
        if (other->factor != first->factor) {
            return srpi_fail(err, SRP_ERR_GRAPH,
                             "%s: node '%s': '%s' is %" PRIu32 " times the input's size, '%s' is "
                             "%" PRIu32 " times",
                             file, node->name, first->name, first->factor, other->name,
                             other->factor);
        }
        if (node->op == SRPI_OP_CONCAT) {
            channels += other->channels; /* at most SRP_MAX_INPUTS * SRP_MAX_CHANNELS */
        } else if (other->channels != first->channels) {
            return srpi_fail(err, SRP_ERR_GRAPH,
                             "%s: node '%s': '%s' has %" PRIu32 " channels, '%s' has %" PRIu32,
                             file, node->name, first->name, first->channels, other->name,
                             other->channels);
        }
    }
    out->channels = channels;
    out->factor = first->factor;
    return SRP_OK;
}

/* Shape of the node's output; `channels` of a conv2d or slice is there already. */
static enum srp_err infer_shape(const struct srpi_graph *g, const struct srpi_node *node,
                                const char *file, struct srp_error *err)
{
    const struct srpi_tensor *in = &g->tensors[node->inputs[0]];
    struct srpi_tensor *out = &g->tensors[node->output];
    enum srp_err rc = SRP_OK;

    switch (node->op) {
    case SRPI_OP_CONV2D:
        out->factor = in->factor;
        break;
    case SRPI_OP_ADD:
    case SRPI_OP_MUL:
    case SRPI_OP_CONCAT:
    case SRPI_OP_ROUTE:
        rc = infer_join(g, node, file, err);
        break;
    case SRPI_OP_DEPTH_TO_SPACE:
        if (in->channels % (node->block * node->block) != 0) {
            return srpi_fail(err, SRP_ERR_GRAPH,
                             "%s: node '%s': %" PRIu32 " channels do not divide into blocks of "
                             "%" PRIu32 " x %" PRIu32,
                             file, node->name, in->channels, node->block, node->block);
        }
        out->channels = in->channels / (node->block * node->block);
        out->factor = in->factor * node->block;
        break;
    case SRPI_OP_RESIZE:
        out->channels = in->channels;
        out->factor = in->factor * node->scale;
        break;
    case SRPI_OP_SLICE:
        /* Both are at most SRP_MAX_CHANNELS: the sum does not wrap. */
        if (node->first + out->channels > in->channels) {
            return srpi_fail(err, SRP_ERR_GRAPH,
                             "%s: node '%s': channels %" PRIu32 "..%" PRIu32 " of '%s', which has "
                             "%" PRIu32,
                             file, node->name, node->first, node->first + out->channels - 1,
                             in->name, in->channels);
        }
        out->factor = in->factor;
        break;
    }
    if (rc == SRP_OK && out->channels > SRP_MAX_CHANNELS) {
        rc = srpi_fail(err, SRP_ERR_LIMIT, "%s: node '%s': %" PRIu32 " channels, more than %u",
                       file, node->name, out->channels, SRP_MAX_CHANNELS);
    }
    /* Factors never shrink on the way to the output, so this bounds them all. */
    if (rc == SRP_OK && out->factor > g->scale) {
        rc = srpi_fail(err, SRP_ERR_GRAPH,
                       "%s: node '%s': enlarges to %" PRIu32 " times the input's size in a graph "
                       "of scale %" PRIu32,
                       file, node->name, out->factor, g->scale);
    }
    return rc;
}

static struct radius infer_radius(const struct srpi_graph *g, const struct srpi_node *node,
                                  const struct radius *radii)
{
    struct radius r = {0, 0};
    uint32_t unit = RADIUS_UNIT / g->tensors[node->inputs[0]].factor;

    for (uint32_t k = 0; k < node->input_count; k++) {
        r.vertical = max_u32(r.vertical, radii[node->inputs[k]].vertical);
        r.horizontal = max_u32(r.horizontal, radii[node->inputs[k]].horizontal);
    }
    if (node->op == SRPI_OP_CONV2D) {
        r.vertical += unit * ((node->kernel_height - 1) / 2);
        r.horizontal += unit * ((node->kernel_width - 1) / 2);
    } else if (node->op == SRPI_OP_RESIZE) {
        uint32_t taps = node->mode == SRPI_RESIZE_BICUBIC ? 2 : 1;
        r.vertical += unit * taps;
        r.horizontal += unit * taps;
    }
    return r;
}

static enum srp_err infer_cost(struct srpi_graph *g, const struct srpi_node *node,
                               const char *file, struct srp_error *err)
{
    const struct srpi_tensor *out = &g->tensors[node->output];

    if (node->op != SRPI_OP_CONV2D) {
        return SRP_OK;
    }
    /* Products of bounded numbers: below 2^25 weights, 2^29 multiply-accumulates per node. */
    uint64_t weights = srpi_node_weight_count(g, node);
    g->parameter_count += weights + out->channels;
    g->parameter_count += node->activation == SRPI_ACT_PRELU ? out->channels : 0;
    g->macs_per_pixel += weights * out->factor * out->factor;
    if (g->parameter_count > SRP_MAX_PARAMETERS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: node '%s': more than %u parameters so far", file,
                         node->name, SRP_MAX_PARAMETERS);
    }
    if (g->macs_per_pixel > SRP_MAX_MACS_PER_PIXEL) {
        return srpi_fail(err, SRP_ERR_LIMIT,
                         "%s: node '%s': more than %u multiply-accumulates per pixel so far", file,
                         node->name, SRP_MAX_MACS_PER_PIXEL);
    }
    return SRP_OK;
}

static enum srp_err infer(struct srpi_graph *g, const char *file, struct srp_error *err)
{
    struct radius radii[SRP_MAX_NODES + 1] = {{0, 0}};
    enum srp_err rc = SRP_OK;

    g->tensors[0].channels = g->channels;
    g->tensors[0].factor = 1;
    g->tensors[0].producer = SRPI_NO_NODE;
    for (uint32_t i = 0; rc == SRP_OK && i < g->node_count; i++) {
        const struct srpi_node *node = &g->nodes[i];
        rc = infer_shape(g, node, file, err);
        if (rc == SRP_OK) {
            rc = infer_cost(g, node, file, err);
        }
        if (rc != SRP_OK) {
            break;
        }
        struct radius r = infer_radius(g, node, radii);
        radii[node->output] = r;
        g->halo = max_u32(g->halo, (max_u32(r.vertical, r.horizontal) + RADIUS_UNIT - 1) /
                                       RADIUS_UNIT);
        if (g->halo > SRP_MAX_HALO) {
            rc = srpi_fail(err, SRP_ERR_LIMIT,
                           "%s: node '%s': receptive field radius above %u pixels", file,
                           node->name, SRP_MAX_HALO);
        }
    }
    return rc;
}

/* A route chooses between different tensors, each for the whole output. */
static enum srp_err check_route(const struct srpi_graph *g, const char *file, struct srp_error *err)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct srpi_node *node = &g->nodes[i];
        if (node->op != SRPI_OP_ROUTE) {
            continue;
        }
        if (node->output != g->output || i + 1 != g->node_count) {
            return srpi_fail(err, SRP_ERR_GRAPH,
                             "%s: node '%s': a route makes the graph's output, and nobody "
                             "reads it",
                             file, node->name);
        }
        if (node->default_path >= node->input_count) {
            return srpi_fail(err, SRP_ERR_GRAPH, "%s: node '%s': no path %" PRIu32, file,
                             node->name, node->default_path);
        }
        for (uint32_t k = 0; k < node->input_count; k++) {
            const char *tensor = g->tensors[node->inputs[k]].name;
            if (node->inputs[k] == g->input) {
                return srpi_fail(err, SRP_ERR_GRAPH,
                                 "%s: node '%s': the graph's input '%s' is no path", file,
                                 node->name, tensor);
            }
            for (uint32_t j = 0; j < k; j++) {
                if (node->inputs[j] == node->inputs[k]) {
                    return srpi_fail(err, SRP_ERR_GRAPH,
                                     "%s: node '%s': '%s' is two of its paths", file, node->name,
                                     tensor);
                }
            }
        }
    }
    return SRP_OK;
}

static enum srp_err check_use(struct srpi_graph *g, const char *file, struct srp_error *err)
{
    bool read[SRP_MAX_NODES + 1] = {false};

    for (uint32_t i = 0; i < g->node_count; i++) {
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            read[g->nodes[i].inputs[k]] = true;
            g->tensors[g->nodes[i].inputs[k]].last_use = i;
        }
    }
    g->tensors[g->output].last_use = g->node_count;
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        if (!read[t] && t != g->output) {
            return srpi_fail(err, SRP_ERR_GRAPH, "%s: nobody reads tensor '%s'", file,
                             g->tensors[t].name);
        }
    }
    const struct srpi_tensor *output = &g->tensors[g->output];
    if (output->factor != g->scale) {
        return srpi_fail(err, SRP_ERR_GRAPH,
                         "%s: output '%s' is %" PRIu32 " times the input's size, scale is %" PRIu32,
                         file, output->name, output->factor, g->scale);
    }
    if (output->channels != g->channels) {
        return srpi_fail(err, SRP_ERR_GRAPH,
                         "%s: output '%s' has %" PRIu32 " channels, the input has %" PRIu32, file,
                         output->name, output->channels, g->channels);
    }
    return SRP_OK;
}

static enum srp_err read_document(struct draft *d, const json_t *json, struct srpi_graph *graph)
{
    struct srpi_at root = srpi_at_root(d->file, json);
    struct srpi_at nodes;

    enum srp_err rc = read_header(d, &root, &nodes);
    if (rc != SRP_OK) {
        return rc;
    }
    d->nodes = calloc(d->node_count, sizeof(*d->nodes));
    d->order = calloc(d->node_count, sizeof(*d->order));
    d->position = calloc(d->node_count, sizeof(*d->position));
    if (d->nodes == NULL || d->order == NULL || d->position == NULL) {
        return srpi_fail(d->err, SRP_ERR_NOMEM, "%s: out of memory", d->file);
    }
    for (uint32_t i = 0; rc == SRP_OK && i < d->node_count; i++) {
        struct srpi_at at = srpi_at_item(&nodes, i);
        rc = read_node(d, &at, i);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    d->inputs = calloc(d->input_count, sizeof(*d->inputs));
    if (d->inputs == NULL) {
        return srpi_fail(d->err, SRP_ERR_NOMEM, "%s: out of memory", d->file);
    }
    rc = link_names(d);
    if (rc == SRP_OK) {
        rc = sort_nodes(d);
    }
    if (rc == SRP_OK) {
        rc = build(d, graph);
    }
    if (rc == SRP_OK) {
        rc = infer(graph, d->file, d->err);
    }
    if (rc == SRP_OK) {
        rc = check_use(graph, d->file, d->err);
    }
    if (rc == SRP_OK) {
        rc = check_route(graph, d->file, d->err);
    }
    return rc;
}

enum srp_err srpi_graph_read(struct srpi_graph *out, const struct srp_blob *json,
                             struct srp_error *err)
{
    struct draft d = {.file = srpi_blob_name(json, "graph"), .err = err};
    struct srpi_graph graph = {0};
    json_t *root = NULL;

    enum srp_err rc = srpi_json_read(&root, json, d.file, err);
    if (rc == SRP_OK) {
        rc = read_document(&d, root, &graph);
    }
    if (rc == SRP_OK) {
        *out = graph;
    } else {
        srpi_graph_free(&graph);
    }
    free(d.nodes);
    free(d.inputs);
    free(d.order);
    free(d.position);
    json_decref(root);
    return rc;
}

void srpi_graph_unbind(struct srpi_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct srpi_node *node = &graph->nodes[n];
        node->weight = node->bias = node->slope = node->scales = NULL;
        node->codes = NULL;
    }
}

enum srp_err srpi_graph_check_bound(const struct srpi_graph *graph, struct srp_error *err)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (graph->nodes[n].op == SRPI_OP_CONV2D && graph->nodes[n].weight == NULL) {
            return srpi_fail(err, SRP_ERR_USAGE, "graph '%s': its parameters were dropped",
                             graph->name);
        }
    }
    return SRP_OK;
}

void srpi_graph_free(struct srpi_graph *graph)
{
    free(graph->memory);
    memset(graph, 0, sizeof(*graph));
}

/* ---- paths ----------------------------------------------------------------------------------- */

const struct srpi_node *srpi_graph_route(const struct srpi_graph *graph)
{
    const struct srpi_node *last = &graph->nodes[graph->node_count - 1];
    return last->op == SRPI_OP_ROUTE ? last : NULL; /* check_route */
}

/* Which nodes of the graph make `tensor`; their number. */
static uint32_t mark(const struct srpi_graph *graph, uint32_t tensor, bool *used)
{
    bool wanted[SRP_MAX_NODES + 1] = {false};
    uint32_t count = 0;
    wanted[tensor] = true;
    for (uint32_t n = graph->node_count; n-- > 0;) {
        const struct srpi_node *node = &graph->nodes[n];
        used[n] = wanted[node->output];
        count += used[n] ? 1 : 0;
        for (uint32_t k = 0; used[n] && k < node->input_count; k++) {
            wanted[node->inputs[k]] = true;
        }
    }
    return count;
}

/* Room for a graph of `count` nodes in one block, as build() lays it out, and for its ranges. Names
 * stay those of the graph that it is part of. */
static bool allocate_path(struct srpi_graph *out, const struct srpi_graph *graph, uint32_t count,
                          uint32_t **inputs, struct srpi_stated_range **ranges)
{
    /* SRP_MAX_NODES of SRP_MAX_INPUTS each at most: no overflow. */
    size_t input_count = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        input_count += graph->nodes[n].input_count;
    }
    const size_t nodes = count * sizeof(struct srpi_node);
    const size_t tensors = ((size_t)count + 1) * sizeof(struct srpi_tensor);
    char *memory = calloc(1, nodes + tensors + input_count * sizeof(uint32_t) +
                                 ((size_t)count + 1) * sizeof(**ranges));
    if (memory == NULL) {
        return false;
    }
    *out = *graph;
    out->memory = memory;
    out->nodes = (struct srpi_node *)(void *)memory;
    out->tensors = (struct srpi_tensor *)(void *)(memory + nodes);
    *inputs = (uint32_t *)(void *)(memory + nodes + tensors);
    *ranges = (struct srpi_stated_range *)(void *)(*inputs + input_count);
    out->node_count = count;
    out->tensor_count = count + 1;
    out->halo = 0;
    out->macs_per_pixel = out->parameter_count = 0;
    out->ranges = graph->ranges != NULL ? *ranges : NULL;
    return true;
}

enum srp_err srpi_graph_path(struct srpi_graph *out, const struct srpi_graph *graph, uint32_t path,
                             struct srp_error *err)
{
    bool used[SRP_MAX_NODES];
    uint32_t renamed[SRP_MAX_NODES + 1] = {0}; /* tensor there -> tensor here */
    uint32_t *inputs = NULL, at = 0;
    struct srpi_stated_range *ranges = NULL;
    const uint32_t wanted = srpi_graph_route(graph)->inputs[path];
    struct srpi_graph g;

    if (!allocate_path(&g, graph, mark(graph, wanted, used), &inputs, &ranges)) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a path of '%s'", graph->name);
    }
    g.tensors[0] = graph->tensors[0];
    if (graph->ranges != NULL) {
        ranges[0] = graph->ranges[0];
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (!used[n]) {
            continue;
        }
        const struct srpi_node *from = &graph->nodes[n];
        struct srpi_node *node = &g.nodes[at];
        *node = *from;
        node->output = renamed[from->output] = at + 1;
        node->inputs = inputs;
        for (uint32_t k = 0; k < node->input_count; k++) {
            *inputs++ = renamed[from->inputs[k]];
        }
        g.tensors[at + 1] = graph->tensors[from->output];
        g.tensors[at + 1].producer = at;
        if (graph->ranges != NULL && from->output != wanted) {
            ranges[at + 1] = graph->ranges[from->output];
        }
        at++;
    }
    g.output = at; /* nothing after it is part of it */
    /* These are parts of a graph that passed. */
    enum srp_err rc = infer(&g, graph->name, err);
    if (rc == SRP_OK) {
        rc = check_use(&g, graph->name, err);
    }
    if (rc == SRP_OK) {
        *out = g;
    } else {
        srpi_graph_free(&g);
    }
    return rc;
}

uint64_t srpi_node_weight_count(const struct srpi_graph *graph, const struct srpi_node *node)
{
    if (node->op != SRPI_OP_CONV2D) {
        return 0;
    }
    return (uint64_t)graph->tensors[node->output].channels *
           graph->tensors[node->inputs[0]].channels * node->kernel_height * node->kernel_width;
}
