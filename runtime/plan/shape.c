/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/shape.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checked.h"
#include "model/error.h"

/* ---- dimensions ------------------------------------------------------------------------------ */

/* How an operation on dimensions ends. */
enum outcome {
    DONE = 0,
    NOT_LINEAR, /* two symbols in one sum */
    NOT_EXACT,  /* a constant that does not divide */
    TOO_LARGE,
};

static const struct srpi_dim nac = {.state = SRPI_DIM_NAC};

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

/* In lowest terms. The arguments are at most 2^62 in magnitude, `over` is positive. */
static enum outcome make(struct srpi_dim *out, enum srpi_symbol symbol, int64_t times, int64_t plus,
                         int64_t over)
{
    const int64_t common = gcd(gcd(times, plus), over);
    times /= common;
    plus /= common;
    over /= common;
    if (times == 0 && over != 1) {
        return NOT_EXACT;
    }
    if (times > INT32_MAX || times < -INT32_MAX || plus > INT32_MAX || plus < -INT32_MAX ||
        over > INT32_MAX) {
        return TOO_LARGE;
    }
    *out = (struct srpi_dim){.state = SRPI_DIM_KNOWN,
                             .symbol = times == 0 ? SRPI_SYMBOL_NONE : symbol,
                             .times = (int32_t)times,
                             .plus = (int32_t)plus,
                             .over = (int32_t)over};
    return DONE;
}

/* Of a known dimension; both factors are positive and below 2^31. */
static enum outcome scale(struct srpi_dim *out, struct srpi_dim a, uint32_t times, uint32_t over)
{
    return make(out, a.symbol, (int64_t)a.times * times, (int64_t)a.plus * times,
                (int64_t)a.over * over);
}

/* a + sign * b, both known. */
static enum outcome sum(struct srpi_dim *out, struct srpi_dim a, struct srpi_dim b, int32_t sign)
{
    if (a.times != 0 && b.times != 0 && a.symbol != b.symbol) {
        return NOT_LINEAR;
    }
    /* Products of two numbers below 2^31, and their sum: no overflow of 63 bits. */
    return make(out, a.times != 0 ? a.symbol : b.symbol,
                (int64_t)a.times * b.over + (int64_t)sign * b.times * a.over,
                (int64_t)a.plus * b.over + (int64_t)sign * b.plus * a.over,
                (int64_t)a.over * b.over);
}

struct srpi_dim srpi_dim_constant(int32_t value)
{
    return (struct srpi_dim){.state = SRPI_DIM_KNOWN, .plus = value, .over = 1};
}

struct srpi_dim srpi_dim_symbol(enum srpi_symbol symbol)
{
    return (struct srpi_dim){.state = SRPI_DIM_KNOWN, .symbol = symbol, .times = 1, .over = 1};
}

bool srpi_dim_equal(struct srpi_dim a, struct srpi_dim b)
{
    return a.state == SRPI_DIM_KNOWN && b.state == SRPI_DIM_KNOWN && a.symbol == b.symbol &&
           a.times == b.times && a.plus == b.plus && a.over == b.over;
}

struct srpi_dim srpi_dim_merge(struct srpi_dim a, struct srpi_dim b)
{
    if (a.state == SRPI_DIM_UNDEFINED) {
        return b;
    }
    return b.state == SRPI_DIM_UNDEFINED || srpi_dim_equal(a, b) ? a : nac;
}

bool srpi_shape_equal(const struct srpi_shape *a, const struct srpi_shape *b)
{
    for (int axis = 0; axis < SRPI_AXIS_COUNT; axis++) {
        if (!srpi_dim_equal(a->dim[axis], b->dim[axis])) {
            return false;
        }
    }
    return true;
}

bool srpi_dim_value(struct srpi_dim dim, const uint32_t symbols[SRPI_SYMBOL_COUNT],
                    uint64_t *value)
{
    if (dim.state != SRPI_DIM_KNOWN) {
        return false;
    }
    const int64_t above =
        (int64_t)dim.times * (dim.times == 0 ? 0 : symbols[dim.symbol]) + dim.plus;
    if (above < 0 || above % dim.over != 0) {
        return false;
    }
    *value = (uint64_t)(above / dim.over);
    return true;
}

bool srpi_shape_elements(const struct srpi_shape *shape, const uint32_t symbols[SRPI_SYMBOL_COUNT],
                         uint64_t *elements)
{
    uint64_t product = 1;
    for (int axis = 0; axis < SRPI_AXIS_COUNT; axis++) {
        uint64_t value = 0;
        if (!srpi_dim_value(shape->dim[axis], symbols, &value) ||
            !srpi_mul_u64(product, value, &product)) {
            return false;
        }
    }
    *elements = product;
    return true;
}

/* ---- text ------------------------------------------------------------------------------------ */

char *srpi_dim_text(char *buffer, size_t size, struct srpi_dim dim)
{
    static const char letter[SRPI_SYMBOL_COUNT] = {'?', 'H', 'W', 'N'};
    char times[16] = "", plus[24] = "", over[16] = "";
    if (dim.state != SRPI_DIM_KNOWN) {
        snprintf(buffer, size, "%s", dim.state == SRPI_DIM_NAC ? "nac" : "?");
        return buffer;
    }
    if (dim.times == 0) {
        snprintf(buffer, size, "%" PRId32, dim.plus);
        return buffer;
    }
    if (dim.times != 1) {
        snprintf(times, sizeof(times), "%" PRId32, dim.times);
    }
    if (dim.plus != 0) {
        snprintf(plus, sizeof(plus), " %c %" PRId32, dim.plus < 0 ? '-' : '+',
                 dim.plus < 0 ? -dim.plus : dim.plus);
    }
    if (dim.over != 1) {
        snprintf(over, sizeof(over), "/%" PRId32, dim.over);
    }
    const bool brackets = dim.plus != 0 && dim.over != 1;
    snprintf(buffer, size, "%s%s%c%s%s%s", brackets ? "(" : "", times, letter[dim.symbol], plus,
             brackets ? ")" : "", over);
    return buffer;
}

char *srpi_shape_text(char *buffer, size_t size, const struct srpi_shape *shape)
{
    const bool one = srpi_dim_equal(shape->dim[SRPI_AXIS_N], srpi_dim_constant(1));
    size_t used = 0;
    buffer[0] = '\0';
    for (int axis = one ? SRPI_AXIS_H : SRPI_AXIS_N; axis < SRPI_AXIS_COUNT; axis++) {
        char text[48];
        srpi_dim_text(text, sizeof(text), shape->dim[axis]);
        const int wrote =
            snprintf(buffer + used, size - used, "%s%s", used != 0 ? " x " : "", text);
        if (wrote < 0 || (size_t)wrote >= size - used) {
            break;
        }
        used += (size_t)wrote;
    }
    return buffer;
}

/* ---- operators ------------------------------------------------------------------------------- */

const struct srpi_shape_rule *srpi_shape_rule_of(enum srpi_op op)
{
    static const struct srpi_shape_rule rules[] = {
        [SRPI_OP_CONV2D] = {"conv2d", SRPI_SHAPE_ISDOS,
                            "same padding keeps N, H and W; C is an attribute"},
        [SRPI_OP_ADD] = {"add", SRPI_SHAPE_ISDOS, "all operands and the result have one shape"},
        [SRPI_OP_MUL] = {"mul", SRPI_SHAPE_ISDOS, "all operands and the result have one shape"},
        [SRPI_OP_CONCAT] = {"concat", SRPI_SHAPE_ISDOS,
                            "operands agree in N, H and W; C is the sum of theirs"},
        [SRPI_OP_SLICE] = {"slice", SRPI_SHAPE_ISDOS,
                           "first and count of channels are attributes, not tensors"},
        [SRPI_OP_DEPTH_TO_SPACE] = {"depth_to_space", SRPI_SHAPE_ISDOS,
                                    "block is an attribute: H and W times block, C over block^2"},
        [SRPI_OP_RESIZE] = {"resize", SRPI_SHAPE_ISDOS,
                            "scale is an attribute (as a tensor it would be ISVDOS): H and W "
                            "times scale"},
        [SRPI_OP_ROUTE] = {"route", SRPI_SHAPE_ED,
                           "which path makes a pixel is known with the routes alone; as all paths "
                           "have one shape, the result's does not wait for that"},
    };
    return &rules[op];
}

const struct srpi_shape_rule *srpi_shape_rule_of_routing(void)
{
    static const struct srpi_shape_rule rule = {
        "routing", SRPI_SHAPE_ED,
        "how many regions a branch gets depends on the picture's values: N is nac until the "
        "router has run, and the symbol N in the branch behind it"};
    return &rule;
}

const char *srpi_shape_class_name(enum srpi_shape_class shape_class)
{
    static const char *const names[] = {"ISDO", "ISDOS", "ISVDOS", "ED"};
    return names[shape_class];
}

/* ---- the analysis ---------------------------------------------------------------------------- */

struct analysis {
    const struct srpi_graph *graph;
    struct srpi_shape *shapes;
    const struct srpi_node *node; /* whose transfer runs */
    bool backward;
    bool changed;
    struct srp_error *err;
};

static const char *const axis_name[SRPI_AXIS_COUNT] = {"count", "height", "width", "channels"};

static enum srp_err complain(const struct analysis *a, enum srp_err code, uint32_t tensor, int axis,
                             const char *what)
{
    return srpi_fail(a->err, code, "model '%s': node '%s': %s of '%s': %s", a->graph->name,
                     a->node->name, axis_name[axis], a->graph->tensors[tensor].name, what);
}

/* The tensor's dimension is `value` too. */
static enum srp_err learn(struct analysis *a, uint32_t tensor, int axis, struct srpi_dim value)
{
    struct srpi_dim *dim = &a->shapes[tensor].dim[axis];
    if (value.state == SRPI_DIM_UNDEFINED || dim->state == SRPI_DIM_NAC ||
        srpi_dim_equal(*dim, value)) {
        return SRP_OK;
    }
    if (value.state == SRPI_DIM_NAC) {
        /* What an operand is known to be stays known whatever becomes of the result. */
        if (!a->backward) {
            *dim = nac;
            a->changed = true;
        }
        return SRP_OK;
    }
    char text[128], had[48], has[48];
    srpi_dim_text(has, sizeof(has), value);
    if (value.times == 0 && value.plus < 1) {
        snprintf(text, sizeof(text), "%s is impossible", has);
        return complain(a, SRP_ERR_GRAPH, tensor, axis, text);
    }
    if (dim->state == SRPI_DIM_KNOWN) {
        srpi_dim_text(had, sizeof(had), *dim);
        snprintf(text, sizeof(text), "%s and %s contradict each other", had, has);
        return complain(a, SRP_ERR_GRAPH, tensor, axis, text);
    }
    *dim = value;
    a->changed = true;
    return SRP_OK;
}

static enum srp_err refuse(const struct analysis *a, enum outcome outcome, uint32_t tensor,
                           int axis)
{
    return outcome == NOT_EXACT
               ? complain(a, SRP_ERR_GRAPH, tensor, axis, "does not divide into whole parts")
               : complain(a, SRP_ERR_LIMIT, tensor, axis, "a coefficient above 2^31");
}

/* to = from * times / over */
static enum srp_err transfer(struct analysis *a, uint32_t from, uint32_t to, int axis,
                             uint32_t times, uint32_t over)
{
    struct srpi_dim value = a->shapes[from].dim[axis];
    if (value.state == SRPI_DIM_KNOWN) {
        const enum outcome outcome = scale(&value, value, times, over);
        if (outcome != DONE) {
            return refuse(a, outcome, from, axis);
        }
    }
    return learn(a, to, axis, value);
}

/* Forward: the result's channels; backward: those of the one operand (be it there several times)
 * that is not known yet. */
static enum srp_err concat_channels(struct analysis *a)
{
    const struct srpi_node *node = a->node;
    struct srpi_dim total = srpi_dim_constant(0);
    uint32_t missing = SRPI_NO_NODE, times = 0;
    enum outcome outcome = DONE;
    for (uint32_t i = 0; i < node->input_count && outcome == DONE; i++) {
        const uint32_t tensor = node->inputs[i];
        const struct srpi_dim dim = a->shapes[tensor].dim[SRPI_AXIS_C];
        if (dim.state == SRPI_DIM_UNDEFINED && (times == 0 || missing == tensor)) {
            missing = tensor;
            times++;
        } else if (dim.state == SRPI_DIM_UNDEFINED) {
            return SRP_OK; /* two unknowns */
        } else if (dim.state == SRPI_DIM_NAC) {
            outcome = NOT_LINEAR;
        } else {
            outcome = sum(&total, total, dim, 1);
        }
    }
    if (outcome == TOO_LARGE || outcome == NOT_EXACT) {
        return refuse(a, outcome, node->output, SRPI_AXIS_C);
    }
    if (!a->backward) {
        return times != 0 ? SRP_OK
                          : learn(a, node->output, SRPI_AXIS_C, outcome == DONE ? total : nac);
    }
    const struct srpi_dim all = a->shapes[node->output].dim[SRPI_AXIS_C];
    if (outcome != DONE || times == 0 || all.state != SRPI_DIM_KNOWN) {
        return SRP_OK;
    }
    outcome = sum(&total, all, total, -1);
    if (outcome == NOT_LINEAR) {
        return SRP_OK;
    }
    if (outcome == DONE) {
        outcome = scale(&total, total, 1, times);
    }
    return outcome == DONE ? learn(a, missing, SRPI_AXIS_C, total)
                           : refuse(a, outcome, missing, SRPI_AXIS_C);
}

/* Channels that stand in the node. */
static enum srp_err declared_channels(struct analysis *a)
{
    const struct srpi_node *node = a->node;
    const uint32_t channels = a->graph->tensors[node->output].channels;
    if (node->op == SRPI_OP_SLICE) {
        const struct srpi_dim in = a->shapes[node->inputs[0]].dim[SRPI_AXIS_C];
        if (in.state == SRPI_DIM_KNOWN && in.times == 0 &&
            (int64_t)node->first + channels > in.plus) {
            return complain(a, SRP_ERR_GRAPH, node->inputs[0], SRPI_AXIS_C,
                            "fewer than the slice takes");
        }
    }
    return learn(a, node->output, SRPI_AXIS_C, srpi_dim_constant((int32_t)channels));
}

static enum srp_err channels_of(struct analysis *a)
{
    const struct srpi_node *node = a->node;
    const uint32_t in = node->inputs[0], out = node->output, square = node->block * node->block;
    switch (node->op) {
    case SRPI_OP_CONV2D:
    case SRPI_OP_SLICE:
        return declared_channels(a);
    case SRPI_OP_CONCAT:
        return concat_channels(a);
    case SRPI_OP_DEPTH_TO_SPACE:
        return a->backward ? transfer(a, out, in, SRPI_AXIS_C, square, 1)
                           : transfer(a, in, out, SRPI_AXIS_C, 1, square);
    default:
        break;
    }
    enum srp_err rc = SRP_OK;
    for (uint32_t i = 0; i < node->input_count && rc == SRP_OK; i++) {
        rc = a->backward ? transfer(a, out, node->inputs[i], SRPI_AXIS_C, 1, 1)
                         : transfer(a, node->inputs[i], out, SRPI_AXIS_C, 1, 1);
    }
    return rc;
}

static enum srp_err visit(struct analysis *a, const struct srpi_node *node, bool backward)
{
    const uint32_t factor = node->op == SRPI_OP_DEPTH_TO_SPACE ? node->block
                            : node->op == SRPI_OP_RESIZE       ? node->scale
                                                               : 1;
    enum srp_err rc = SRP_OK;
    a->node = node;
    a->backward = backward;
    for (uint32_t i = 0; i < node->input_count && rc == SRP_OK; i++) {
        for (int axis = SRPI_AXIS_N; axis <= SRPI_AXIS_W && rc == SRP_OK; axis++) {
            const uint32_t times = axis == SRPI_AXIS_N ? 1 : factor;
            rc = backward ? transfer(a, node->output, node->inputs[i], axis, 1, times)
                          : transfer(a, node->inputs[i], node->output, axis, times, 1);
        }
    }
    return rc == SRP_OK ? channels_of(a) : rc;
}

void srpi_shapes_start(struct srpi_shape *given, const struct srpi_graph *graph,
                       struct srpi_dim count)
{
    memset(given, 0, graph->tensor_count * sizeof(*given));
    given[graph->input].dim[SRPI_AXIS_N] = count;
    given[graph->input].dim[SRPI_AXIS_H] = srpi_dim_symbol(SRPI_SYMBOL_H);
    given[graph->input].dim[SRPI_AXIS_W] = srpi_dim_symbol(SRPI_SYMBOL_W);
    given[graph->input].dim[SRPI_AXIS_C] = srpi_dim_constant((int32_t)graph->channels);
    given[graph->output].dim[SRPI_AXIS_C] = srpi_dim_constant((int32_t)graph->channels);
}

enum srp_err srpi_shapes_infer(struct srpi_shapes *out, const struct srpi_graph *graph,
                               const struct srpi_shape *given, struct srp_error *err)
{
    struct analysis a = {.graph = graph, .err = err};
    memset(out, 0, sizeof(*out));
    a.shapes = calloc(graph->tensor_count, sizeof(*a.shapes));
    if (a.shapes == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the shapes of '%s'", graph->name);
    }
    memcpy(a.shapes, given, graph->tensor_count * sizeof(*a.shapes));
    enum srp_err rc = SRP_OK;
    /* A dimension changes at most twice, so this ends; a sweep each way settles a tree. */
    for (a.changed = true; rc == SRP_OK && a.changed; out->sweeps++) {
        a.changed = false;
        for (uint32_t n = 0; n < graph->node_count && rc == SRP_OK; n++) {
            rc = visit(&a, &graph->nodes[n], false);
        }
        for (uint32_t n = graph->node_count; n-- > 0 && rc == SRP_OK;) {
            rc = visit(&a, &graph->nodes[n], true);
        }
    }
    if (rc != SRP_OK) {
        free(a.shapes);
        memset(out, 0, sizeof(*out));
        return rc;
    }
    out->count = graph->tensor_count;
    out->tensors = a.shapes;
    return SRP_OK;
}

void srpi_shapes_destroy(struct srpi_shapes *shapes)
{
    free(shapes->tensors);
    memset(shapes, 0, sizeof(*shapes));
}
