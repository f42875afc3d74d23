/* SPDX-License-Identifier: BSD-2-Clause */
#include "quant/quant.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "model/checked.h"
#include "model/error.h"
#include "quant/calibrate.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* What another picture may exceed the calibration picture's values by. */
#define HEADROOM 1.125f
/* Scales keep clear of numbers whose inverse is not finite. */
#define MIN_SCALE 0x1p-100f
/* A bias is at most 2^29 steps of its sums; a channel with weights that are tiny beside its bias
 * gets coarser steps. */
#define MAX_BIAS_STEPS 0x1p29
/* Values that are rounded to codes stay below 2^29 as computed here in double, so below 2^30 in
 * f32; F32 tensors below 2^120. */
#define MAX_CODE 0x1p29
#define MAX_REAL 0x1p120
/* Bicubic weights: their absolute sum per axis is at most 1.3. */
#define CUBIC_GAIN (1.3 * 1.3)
#define VECTOR_PAD 64u

struct work {
    const struct srpi_program *program;
    const struct srpi_graph *graph;
    struct srpi_quant *quant;
    bool *wanted;              /* tensors whose range is looked for */
    uint32_t *group;           /* tensors of one group share scale and zero; its least member */
    struct srpi_range *ranges; /* by tensor */
    struct srpi_range *limits; /* by tensor: what activations allow */
    double *bound;             /* by tensor: no value is greater, whatever the picture */
};

/* ---- which tensors are what ------------------------------------------------------------------ */

static void choose_dtypes(struct work *work)
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

static void unite(struct work *work, uint32_t a, uint32_t b)
{
    const uint32_t from = work->group[a] > work->group[b] ? work->group[a] : work->group[b];
    const uint32_t to = work->group[a] < work->group[b] ? work->group[a] : work->group[b];
    for (uint32_t t = 0; t < work->graph->tensor_count; t++) {
        work->group[t] = work->group[t] == from ? to : work->group[t];
    }
}

/* The input's group is what holds nothing but the input's codes. Others never join it: its scale is
 * not theirs to choose. */
static void find_groups(struct work *work)
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

static void find_limits(struct work *work)
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

static enum srp_err find_ranges(struct work *work, struct srp_error *err)
{
    const struct srpi_graph *graph = work->graph;
    bool any = false;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        work->wanted[t] = work->program->used[t] && work->group[t] != graph->input &&
                          work->quant->tensors[t].dtype == SRPI_Q8;
        any = any || work->wanted[t];
    }
    for (uint32_t t = 0; graph->ranges != NULL && t < graph->tensor_count; t++) {
        work->ranges[t] = (struct srpi_range){graph->ranges[2 * t], graph->ranges[2 * t + 1]};
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
    tensor->padding = (uint8_t)lrint(zero);
}

static void choose_scales(struct work *work)
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
        if (work->group[t] == graph->input) {
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

/* ---- layers ---------------------------------------------------------------------------------- */

static size_t padded(uint32_t channels)
{
    return ((size_t)channels + VECTOR_PAD - 1) / VECTOR_PAD * VECTOR_PAD;
}

static bool is_curve(enum srpi_activation activation)
{
    return activation == SRPI_ACT_TANH || activation == SRPI_ACT_SIGMOID;
}

/* Whether the row kernel bends negative values before the residual is added. */
static bool has_slope(const struct srpi_step *step)
{
    const enum srpi_activation activation = step->node->activation;
    return activation == SRPI_ACT_PRELU || activation == SRPI_ACT_LEAKY_RELU ||
           (activation == SRPI_ACT_RELU && step->sum != NULL);
}

static float slope_of(const struct srpi_node *node, uint32_t channel)
{
    return node->activation == SRPI_ACT_PRELU        ? node->slope[channel]
           : node->activation == SRPI_ACT_LEAKY_RELU ? node->alpha
                                                     : 0.0f;
}

/* Bytes of a layer's arrays: weights, then bias, multiplier, shift, slope. Never overflows: a model
 * has at most SRP_MAX_PARAMETERS. */
static size_t layer_bytes(const struct srpi_graph *graph, const struct srpi_step *step)
{
    const size_t weights = (size_t)srpi_node_weight_count(graph, step->node);
    const size_t vectors = has_slope(step) ? 4 : 3;
    return (weights + 63) / 64 * 64 +
           vectors * padded(graph->tensors[step->output].channels) * sizeof(float);
}

static enum srp_err too_large(const struct work *work, const struct srpi_node *node,
                              const char *what, struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_LIMIT, "graph '%s': node '%s': %s", work->graph->name, node->name,
                     what);
}

/* Weights of one channel. Returns the step of its sums in units of the input's scale. */
static double quantise_weights(const float *weight, size_t count, float bias, double in_scale,
                               int8_t *out)
{
    double most = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double w = fabs((double)weight[i]);
        most = w > most ? w : most;
    }
    const double fine = most / 127.0;
    const double coarse = fabs((double)bias) / in_scale / MAX_BIAS_STEPS;
    double scale = fine > coarse ? fine : coarse;
    scale = scale > 0.0 ? scale : 1.0;
    for (size_t i = 0; i < count; i++) {
        out[i] = (int8_t)lrint((double)weight[i] / scale);
    }
    return scale;
}

struct vectors {
    int8_t *weights;
    int32_t *bias;
    float *multiplier, *shift, *slope;
};

/* One output channel. *bound: no |value| before the residual is greater, in units of the output. */
static enum srp_err make_channel(const struct work *work, const struct srpi_step *step, uint32_t c,
                                 const struct vectors *v, double *bound, struct srp_error *err)
{
    const struct srpi_node *node = step->node;
    const struct srpi_quant_tensor *in = &work->quant->tensors[node->inputs[0]];
    const struct srpi_quant_conv *conv =
        &work->quant->convs[work->program->writer[step->output]];
    const bool to_codes = conv->layer.shape.out == SRPI_Q8;
    const double out_scale = to_codes ? work->quant->tensors[step->output].exact_scale : 1.0;
    const size_t count = (size_t)srpi_node_weight_count(work->graph, node) /
                         work->graph->tensors[node->output].channels;
    int8_t *weights = v->weights + c * count;
    const double weight_scale =
        quantise_weights(node->weight + c * count, count, node->bias[c], in->exact_scale, weights);

    int64_t sum = 0, absolute = 0;
    for (size_t i = 0; i < count; i++) {
        sum += weights[i];
        absolute += abs(weights[i]);
    }
    const double step_size = in->exact_scale * weight_scale;
    const double exact = (double)node->bias[c] / step_size - in->exact_zero * (double)sum;
    const double whole = rint(exact);
    /* 256: in S8 storage the bias grows by 128 * sum, and codes reach 128. */
    const double most = fabs(whole) + 256.0 * (double)absolute;
    if (most > (double)INT32_MAX) {
        return too_large(work, node, "its int8 sums do not fit 32 bits", err);
    }
    v->bias[c] = (int32_t)whole;
    v->multiplier[c] = (float)(step_size / out_scale);
    v->shift[c] = to_codes ? 0.0f : (float)((exact - whole) * step_size);
    double channel = most * (double)v->multiplier[c] + fabs((double)v->shift[c]);
    if (v->slope != NULL) {
        v->slope[c] = slope_of(node, c);
        const double steep = fabs((double)v->slope[c]);
        channel *= steep > 1.0 ? steep : 1.0;
    }
    *bound = channel > *bound ? channel : *bound;
    return SRP_OK;
}

static void set_clamp(struct srpi_conv_layer *layer, const struct srpi_node *last,
                      const struct srpi_quant_tensor *out)
{
    const bool to_codes = layer->shape.out == SRPI_Q8;
    const double scale = to_codes ? out->exact_scale : 1.0, zero = to_codes ? out->exact_zero : 0.0;
    layer->low = -FLT_MAX;
    layer->high = FLT_MAX;
    if (last->activation == SRPI_ACT_RELU) {
        layer->low = (float)zero;
        layer->clamp = !to_codes || layer->low > 0.0f;
    } else if (last->activation == SRPI_ACT_CLIP) {
        layer->low = (float)((double)last->min / scale + zero);
        layer->high = (float)((double)last->max / scale + zero);
        layer->clamp = !to_codes || layer->low > 0.0f || layer->high < 255.0f;
    }
}

/* Returns the bound of the residual, in units of the output. */
static double set_residual(const struct work *work, const struct srpi_step *step,
                           struct srpi_quant_conv *conv)
{
    struct srpi_conv_layer *layer = &conv->layer;
    const struct srpi_quant_tensor *out = &work->quant->tensors[step->output];
    const bool to_codes = layer->shape.out == SRPI_Q8;
    layer->offset = to_codes ? (float)out->exact_zero : 0.0f;
    if (step->residual == SRPI_NO_TENSOR) {
        return 0.0;
    }
    const struct srpi_quant_tensor *other = &work->quant->tensors[step->residual];
    layer->has_residual = true;
    if (to_codes && other->dtype == SRPI_Q8) {
        const double ratio = other->exact_scale / out->exact_scale;
        layer->residual = SRPI_Q8;
        layer->residual_multiplier = (float)ratio;
        layer->offset = (float)(out->exact_zero - other->exact_zero * ratio);
        return 255.0 * ratio;
    }
    layer->residual = SRPI_F32;
    layer->residual_multiplier = to_codes ? out->inverse : 1.0f;
    conv->widen_residual = other->dtype == SRPI_Q8;
    return work->bound[step->residual] * (double)layer->residual_multiplier;
}

/* A tensor's codes are at most 255 steps from its zero. */
static double bound_of(const struct srpi_quant_tensor *tensor, double real)
{
    const double zero = tensor->exact_zero;
    return tensor->dtype == SRPI_Q8
               ? tensor->exact_scale * (zero > 255.0 - zero ? zero : 255.0 - zero)
               : real;
}

static enum srp_err check_bound(const struct work *work, const struct srpi_step *step, double real,
                                double codes, struct srp_error *err)
{
    if (!(codes <= MAX_CODE)) {
        return too_large(work, srpi_step_last(step),
                         "its values may pass 2^29 steps of its int8 output", err);
    }
    if (!(real <= MAX_REAL)) {
        return too_large(work, srpi_step_last(step), "its values may pass 2^120", err);
    }
    return SRP_OK;
}

static enum srp_err make_layer(struct work *work, uint32_t index, char *memory,
                               struct srp_error *err)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_node *node = step->node;
    const struct srpi_quant_tensor *out = &work->quant->tensors[step->output];
    struct srpi_quant_conv *conv = &work->quant->convs[index];
    struct srpi_conv_layer *layer = &conv->layer;
    const uint32_t channels = work->graph->tensors[step->output].channels;
    const size_t weights = (size_t)srpi_node_weight_count(work->graph, node);
    const size_t length = padded(channels);
    int32_t *bias = (int32_t *)(void *)(memory + (weights + 63) / 64 * 64);
    float *multiplier = (float *)(void *)(bias + length);
    const struct vectors v = {
        .weights = (int8_t *)memory,
        .bias = bias,
        .multiplier = multiplier,
        .shift = multiplier + length,
        .slope = has_slope(step) ? multiplier + 2 * length : NULL,
    };

    conv->activation = is_curve(srpi_step_last(step)->activation)
                           ? srpi_step_last(step)->activation
                           : SRPI_ACT_NONE;
    layer->shape = (struct srpi_conv_shape){
        .kernel_height = node->kernel_height,
        .kernel_width = node->kernel_width,
        .in_channels = work->graph->tensors[node->inputs[0]].channels,
        .out_channels = channels,
        .in = SRPI_Q8,
        .out = conv->activation != SRPI_ACT_NONE ? SRPI_F32 : out->dtype,
    };
    layer->weights = v.weights;
    layer->bias = v.bias;
    layer->multiplier = v.multiplier;
    layer->shift = v.shift;
    layer->slope = v.slope;
    double bound = 0.0;
    for (uint32_t c = 0; c < channels; c++) {
        enum srp_err rc = make_channel(work, step, c, &v, &bound, err);
        if (rc != SRP_OK) {
            return rc;
        }
    }
    bound += set_residual(work, step, conv) + fabs((double)layer->offset);
    set_clamp(layer, srpi_step_last(step), out);
    const bool to_codes = layer->shape.out == SRPI_Q8;
    const double curved = conv->activation != SRPI_ACT_NONE ? 1.0 : bound;
    work->bound[step->output] = bound_of(out, curved);
    return check_bound(work, step, to_codes ? 0.0 : bound, to_codes ? bound : 0.0, err);
}

/* The other operators: how large their f32 values may become. */
static enum srp_err bound_step(struct work *work, uint32_t index, struct srp_error *err)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_node *node = step->node;
    const struct srpi_quant_tensor *out = &work->quant->tensors[step->output];
    double bound = work->bound[node->inputs[0]];
    double most = 0.0; /* of what comes in between */
    for (uint32_t i = 1; i < node->input_count; i++) {
        const double other = work->bound[node->inputs[i]];
        bound = node->op == SRPI_OP_ADD   ? bound + other
                : node->op == SRPI_OP_MUL ? bound * other
                                          : fmax(bound, other);
        most = fmax(most, bound);
    }
    if (node->op == SRPI_OP_RESIZE && node->mode == SRPI_RESIZE_BICUBIC) {
        bound *= CUBIC_GAIN;
    }
    if (node->activation == SRPI_ACT_LEAKY_RELU && fabsf(node->alpha) > 1.0f) {
        bound *= fabs((double)node->alpha);
    } else if (node->activation == SRPI_ACT_CLIP) {
        bound = fmax(bound, fmax(fabs((double)node->min), fabs((double)node->max)));
    } else if (node->activation == SRPI_ACT_SIGMOID) {
        bound = fmax(bound, 1.0);
    }
    const bool to_codes = out->dtype == SRPI_Q8;
    work->bound[step->output] = bound_of(out, bound);
    return check_bound(work, step, fmax(bound, most),
                       to_codes ? bound * (double)out->inverse + 255.0 : 0.0, err);
}

static enum srp_err make_layers(struct work *work, char *memory, struct srp_error *err)
{
    enum srp_err rc = SRP_OK;
    work->bound[work->graph->input] = 1.0;
    for (uint32_t s = 0; rc == SRP_OK && s < work->program->step_count; s++) {
        if (work->program->steps[s].node->op == SRPI_OP_CONV2D) {
            rc = make_layer(work, s, memory, err);
            memory += layer_bytes(work->graph, &work->program->steps[s]);
        } else {
            rc = bound_step(work, s, err);
        }
    }
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum srp_err out_of_memory(const struct srpi_graph *graph, struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the int8 layers of '%s'", graph->name);
}

/* One block: layers' arrays first (64-byte aligned), then the structs. */
static enum srp_err allocate(struct srpi_quant *quant, const struct srpi_program *program,
                             struct srp_error *err)
{
    const size_t tensors = program->graph->tensor_count, steps = program->step_count;
    size_t arrays = 0, bytes = 0;
    for (uint32_t s = 0; s < steps; s++) {
        if (program->steps[s].node->op == SRPI_OP_CONV2D &&
            !srpi_add(arrays, layer_bytes(program->graph, &program->steps[s]), &arrays)) {
            return out_of_memory(program->graph, err);
        }
    }
    if (!srpi_add(arrays, tensors * sizeof(quant->tensors[0]) + steps * sizeof(quant->convs[0]),
                  &bytes) ||
        !srpi_add(bytes, 63, &bytes)) {
        return out_of_memory(program->graph, err);
    }
    bytes -= bytes % 64;
    char *memory = aligned_alloc(64, bytes);
    if (memory == NULL) {
        return out_of_memory(program->graph, err);
    }
    memset(memory, 0, bytes);
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
    struct work work = {.program = program, .graph = program->graph, .quant = quant};
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
        rc = make_layers(&work, quant->memory, err);
    }
    free(work.bound);
    if (rc != SRP_OK) {
        srpi_quant_destroy(quant);
    }
    return rc;
}

void srpi_quant_destroy(struct srpi_quant *quant)
{
    free(quant->memory);
    memset(quant, 0, sizeof(*quant));
}
