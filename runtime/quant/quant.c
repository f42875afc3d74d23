/* SPDX-License-Identifier: BSD-2-Clause */
#include "quant/quant.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "model/checked.h"
#include "model/error.h"
#include "quant/work.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* What another picture may exceed the calibration picture's values by. */
#define HEADROOM 1.125f
/* Scales keep clear of numbers whose inverse is not finite. */
#define MIN_SCALE 0x1p-100f
#define ALIGN ((size_t)64)

/* ---- which tensors are what ------------------------------------------------------------------ */

static void choose_dtypes(struct srpi_quant_work *work)
{
    const struct srpi_program *program = work->program;
    struct srpi_quant_tensor *tensors = work->quant->tensors;
    for (uint32_t s = program->step_count; s-- > 0;) {
        const struct srpi_step *step = &program->steps[s];
        const bool conv = step->node->op == SRPI_OP_CONV2D;
        for (uint32_t i = 0; i < step->node->input_count; i++) {
            if (conv || tensors[step->output].dtype == SRPI_Q8) {
                tensors[step->node->inputs[i]].dtype = SRPI_Q8;
            }
        }
    }
    tensors[work->graph->input].dtype = SRPI_Q8;
}

/* Whether codes pass through unchanged when the operands have the output's scale and zero. */
static bool moves_codes(const struct srpi_node *node)
{
    return node->op == SRPI_OP_SLICE || node->op == SRPI_OP_CONCAT ||
           node->op == SRPI_OP_DEPTH_TO_SPACE ||
           (node->op == SRPI_OP_RESIZE && node->mode == SRPI_RESIZE_NEAREST);
}

static void unite(struct srpi_quant_work *work, uint32_t a, uint32_t b)
{
    const uint32_t from = work->group[a] > work->group[b] ? work->group[a] : work->group[b];
    const uint32_t to = work->group[a] < work->group[b] ? work->group[a] : work->group[b];
    for (uint32_t t = 0; t < work->graph->tensor_count; t++) {
        work->group[t] = work->group[t] == from ? to : work->group[t];
    }
}

static bool is_input_stated(const struct srpi_graph *graph)
{
    const struct srpi_stated_range *range =
        graph->ranges != NULL ? &graph->ranges[graph->input] : NULL;
    return range != NULL && range->low < range->high;
}

/* The input's group is what holds nothing but the input's codes. Others never join it: its scale is
 * not theirs to choose. */
static void find_groups(struct srpi_quant_work *work)
{
    const struct srpi_program *program = work->program;
    const uint32_t input = work->graph->input; /* 0, the least of all */
    for (uint32_t t = 0; t < work->graph->tensor_count; t++) {
        work->group[t] = t;
    }
    for (uint32_t s = 0; s < program->step_count; s++) {
        const struct srpi_step *step = &program->steps[s];
        if (!moves_codes(step->node) || work->quant->tensors[step->output].dtype != SRPI_Q8) {
            continue;
        }
        uint32_t of_input = 0;
        for (uint32_t i = 0; i < step->node->input_count; i++) {
            of_input += work->group[step->node->inputs[i]] == input ? 1 : 0;
        }
        for (uint32_t i = 0; i < step->node->input_count; i++) {
            if (of_input == step->node->input_count ||
                work->group[step->node->inputs[i]] != input) {
                unite(work, step->output, step->node->inputs[i]);
            }
        }
    }
}

/* ---- ranges, scales -------------------------------------------------------------------------- */

static struct srpi_range activation_limits(const struct srpi_node *node)
{
    switch (node->activation) {
    case SRPI_ACT_RELU:
        return (struct srpi_range){0.0f, FLT_MAX};
    case SRPI_ACT_CLIP:
        return (struct srpi_range){node->min < 0.0f ? node->min : 0.0f,
                                   node->max > 0.0f ? node->max : 0.0f};
    case SRPI_ACT_TANH:
        return (struct srpi_range){-1.0f, 1.0f};
    case SRPI_ACT_SIGMOID:
        return (struct srpi_range){0.0f, 1.0f};
    default:
        return (struct srpi_range){-FLT_MAX, FLT_MAX};
    }
}

static struct srpi_range hull(struct srpi_range a, struct srpi_range b)
{
    return (struct srpi_range){a.low < b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
}

static void find_limits(struct srpi_quant_work *work)
{
    const struct srpi_graph *graph = work->graph;
    work->limits[graph->input] = (struct srpi_range){-graph->mean, 1.0f - graph->mean};
    for (uint32_t s = 0; s < work->program->step_count; s++) {
        const struct srpi_step *step = &work->program->steps[s];
        struct srpi_range limits = activation_limits(srpi_step_last(step));
        if (moves_codes(step->node)) {
            limits = work->limits[step->node->inputs[0]];
            for (uint32_t i = 1; i < step->node->input_count; i++) {
                limits = hull(limits, work->limits[step->node->inputs[i]]);
            }
        }
        work->limits[step->output] = limits;
    }
}

static enum srp_err find_ranges(struct srpi_quant_work *work, struct srp_error *err)
{
    const struct srpi_graph *graph = work->graph;
    bool any = false;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        work->wanted[t] = work->program->used[t] && work->group[t] != graph->input &&
                          work->quant->tensors[t].dtype == SRPI_Q8;
        any = any || work->wanted[t];
    }
    for (uint32_t t = 0; graph->ranges != NULL && t < graph->tensor_count; t++) {
        work->ranges[t] = (struct srpi_range){graph->ranges[t].low, graph->ranges[t].high};
        work->quant->tensors[t].fine =
            (work->wanted[t] || t == graph->input) && graph->ranges[t].fine;
    }
    if (!any || graph->ranges != NULL) {
        return SRP_OK;
    }
    find_limits(work);
    enum srp_err rc = srpi_calibrate(work->program, work->wanted, work->ranges, err);
    for (uint32_t t = 0; rc == SRP_OK && t < graph->tensor_count; t++) {
        struct srpi_range *range = &work->ranges[t];
        const float low = range->low * HEADROOM, high = range->high * HEADROOM;
        range->low = low > work->limits[t].low ? low : work->limits[t].low;
        range->high = high < work->limits[t].high ? high : work->limits[t].high;
    }
    return rc;
}

static void set_scale(struct srpi_quant_tensor *tensor, double scale, double zero)
{
    tensor->exact_scale = scale;
    tensor->exact_zero = zero;
    tensor->scale = (float)scale;
    tensor->zero = (float)zero;
    tensor->inverse = (float)(1.0 / scale);
    tensor->fine_zero = (float)(256.0 * zero + 128.0);
    tensor->padding = (uint8_t)lrint(zero);
}

static void choose_scales(struct srpi_quant_work *work)
{
    const struct srpi_graph *graph = work->graph;
    struct srpi_quant_tensor *tensors = work->quant->tensors;
    for (uint32_t t = graph->tensor_count; t-- > 0;) { /* to the least member of each group */
        if (work->wanted[t]) {
            struct srpi_range *range = &work->ranges[work->group[t]];
            *range = hull(*range, work->ranges[t]);
        }
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        struct srpi_quant_tensor *tensor = &tensors[t];
        if (tensor->dtype != SRPI_Q8) {
            continue;
        }
        if (work->group[t] == graph->input && !is_input_stated(graph)) {
            tensor->low = -graph->mean;
            tensor->high = 1.0f - graph->mean;
            set_scale(tensor, 1.0 / 255.0, 255.0 * (double)graph->mean);
            continue;
        }
        const struct srpi_range *range = &work->ranges[work->group[t]];
        tensor->low = range->low;
        tensor->high = range->low == range->high ? 1.0f : range->high;
        float scale = (float)(((double)tensor->high - (double)tensor->low) / 255.0);
        scale = scale > MIN_SCALE ? scale : MIN_SCALE;
        set_scale(tensor, (double)scale, rint(-(double)tensor->low / (double)scale));
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum srp_err out_of_memory(const struct srpi_graph *graph, struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the int8 layers of '%s'", graph->name);
}

/* Weights, which may go first, and one block: layers' arrays (64-byte aligned), then structs. */
static enum srp_err allocate(struct srpi_quant *quant, const struct srpi_program *program,
                             struct srp_error *err)
{
    const size_t tensors = program->graph->tensor_count, steps = program->step_count;
    const size_t structs =
        tensors * sizeof(quant->tensors[0]) + steps * sizeof(quant->convs[0]) + ALIGN - 1;
    size_t bytes = 0, weights = ALIGN; /* how many */
    for (uint32_t s = 0; s < steps; s++) {
        const struct srpi_step *step = &program->steps[s];
        if (step->node->op == SRPI_OP_CONV2D &&
            (!srpi_add(bytes, srpi_quant_layer_bytes(program->graph, step), &bytes) ||
             !srpi_add(weights, srpi_quant_layer_weights(program->graph, step), &weights))) {
            return out_of_memory(program->graph, err);
        }
    }
    const size_t arrays = bytes;
    char *memory = NULL;
    if (srpi_add(bytes, structs, &bytes)) {
        bytes -= bytes % ALIGN;
        memory = aligned_alloc(ALIGN, bytes);
    }
    if (memory != NULL && srpi_mul(weights, sizeof(quant->weights[0]), &weights)) {
        quant->weights = aligned_alloc(ALIGN, weights);
    }
    if (quant->weights == NULL) {
        free(memory);
        return out_of_memory(program->graph, err);
    }
    memset(memory, 0, bytes);
    memset(quant->weights, 0, weights);
    quant->memory = memory;
    quant->program = program;
    quant->tensors = (struct srpi_quant_tensor *)(void *)(memory + arrays);
    quant->convs = (struct srpi_quant_conv *)(void *)(quant->tensors + tensors);
    return SRP_OK;
}

enum srp_err srpi_quant_create(struct srpi_quant *quant, const struct srpi_program *program,
                               struct srp_error *err)
{
    const size_t tensors = program->graph->tensor_count;
    struct srpi_quant_work work = {.program = program, .graph = program->graph, .quant = quant};
    memset(quant, 0, sizeof(*quant));
    /* At most SRP_MAX_NODES of everything: no overflow. */
    work.bound = calloc(tensors, sizeof(work.bound[0]) + 2 * sizeof(work.ranges[0]) +
                                     sizeof(work.group[0]) + sizeof(work.wanted[0]));
    if (work.bound == NULL) {
        return out_of_memory(program->graph, err);
    }
    work.ranges = (struct srpi_range *)(void *)(work.bound + tensors);
    work.limits = work.ranges + tensors;
    work.group = (uint32_t *)(void *)(work.limits + tensors);
    work.wanted = (bool *)(void *)(work.group + tensors);
    enum srp_err rc = allocate(quant, program, err);
    if (rc == SRP_OK) {
        choose_dtypes(&work);
        find_groups(&work);
        rc = find_ranges(&work, err);
    }
    if (rc == SRP_OK) {
        choose_scales(&work);
        rc = srpi_quant_layers(&work, quant->memory, quant->weights, err);
    }
    free(work.bound);
    if (rc != SRP_OK) {
        srpi_quant_destroy(quant);
    }
    return rc;
}

void srpi_quant_drop_weights(struct srpi_quant *quant)
{
    for (uint32_t s = 0; s < quant->program->step_count; s++) {
        struct srpi_quant_conv *conv = &quant->convs[s];
        conv->layer.weights = NULL;
        for (uint32_t p = 0; p < conv->part_count; p++) {
            conv->parts[p].weights = NULL;
        }
    }
    free(quant->weights);
    quant->weights = NULL;
}

void srpi_quant_destroy(struct srpi_quant *quant)
{
    free(quant->memory);
    free(quant->weights);
    memset(quant, 0, sizeof(*quant));
}

enum srp_err srpi_quant_check(const struct srpi_graph *graph, struct srp_error *err)
{
    struct srpi_tail tail;
    struct srpi_program program = {0};
    struct srpi_quant quant = {0};
    srpi_tail_find(&tail, graph);
    enum srp_err rc = srpi_program_create(&program, graph, tail.tensor, true, err);
    uint32_t s = 0;
    while (rc == SRP_OK && s < program.step_count &&
           program.steps[s].node->op != SRPI_OP_CONV2D) {
        s++;
    }
    if (rc == SRP_OK && s < program.step_count) {
        rc = srpi_quant_create(&quant, &program, err);
    }
    srpi_quant_destroy(&quant);
    srpi_program_destroy(&program);
    return rc;
}
