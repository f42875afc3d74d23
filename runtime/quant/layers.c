/* SPDX-License-Identifier: BSD-2-Clause */
#include "quant/work.h"

#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* A bias is at most 2^29 steps of its sums; a channel with weights that are tiny beside its bias
 * gets coarser steps. */
#define MAX_BIAS_STEPS 0x1p29
/* Joined groups: |sums| stay below what f32 holds exactly, and 127 times two to this
 * fits 16 bits. */
#define MAX_JOINED 0x1p24
#define MOST_SHIFT 8
/* Values that are rounded to codes stay below 2^29 as computed here in double, so below 2^30 in
 * f32; F32 tensors below 2^120. */
#define MAX_CODE 0x1p29
#define MAX_REAL 0x1p120
/* Bicubic weights: their absolute sum per axis is at most 1.3. */
#define CUBIC_GAIN (1.3 * 1.3)
#define VECTOR_PAD 64u

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

/* Fractions are read by what ends in F32. */
static bool reads_fractions(const struct srpi_quant_work *work, const struct srpi_step *step)
{
    return work->quant->tensors[step->node->inputs[0]].fine &&
           work->quant->tensors[step->output].dtype == SRPI_F32;
}

static size_t part_bytes(uint32_t channels, bool slope)
{
    return (slope ? 4 : 3) * padded(channels) * sizeof(float);
}

static size_t part_weights(size_t weights)
{
    return (weights + 63) / 64 * 64;
}

size_t srpi_quant_layer_bytes(const struct srpi_graph *graph, const struct srpi_step *step)
{
    const struct srpi_node *node = step->node;
    const uint32_t channels = graph->tensors[step->output].channels;
    const size_t groups = node->groups > 1 ? node->groups : 1;
    const bool fine = graph->ranges != NULL && graph->ranges[node->inputs[0]].fine;
    /* A convolution with groups may have a sum of all. */
    const size_t parts = fine ? 2 * groups : groups > 1 ? groups + 1 : 1;
    return (parts * sizeof(struct srpi_quant_part) + 63) / 64 * 64 +
           parts * part_bytes(channels, true);
}

size_t srpi_quant_layer_weights(const struct srpi_graph *graph, const struct srpi_step *step)
{
    const size_t groups = step->node->groups > 1 ? step->node->groups : 1;
    const size_t all = (size_t)srpi_node_weight_count(graph, step->node);
    return groups * part_weights(all / groups) + (groups > 1 ? part_weights(all) : 0);
}

static enum srp_err sums_too_large(const struct srpi_quant_work *work,
                                   const struct srpi_node *node, uint32_t channel,
                                   struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_LIMIT,
                     "graph '%s': tensor '%s.weight': int8 sums of output channel %" PRIu32
                     " do not fit 32 bits",
                     work->graph->name, node->name, channel);
}

static enum srp_err values_too_large(const struct srpi_quant_work *work,
                                     const struct srpi_step *step, const char *what,
                                     struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_LIMIT,
                     "graph '%s': tensor '%s' of node '%s': its values may pass %s",
                     work->graph->name, work->graph->tensors[step->output].name,
                     srpi_step_last(step)->name, what);
}

double srpi_quant_weights(const struct srpi_node *node, uint32_t c, size_t count,
                          double in_scale, int16_t *out)
{
    const float *weight = node->weight + c * count;
    if (node->codes != NULL) {
        for (size_t i = 0; i < count; i++) {
            out[i] = node->codes[c * count + i];
        }
        return (double)node->scales[c];
    }
    double most = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double w = fabs((double)weight[i]);
        most = w > most ? w : most;
    }
    const double fine = most / 127.0;
    const double coarse = fabs((double)node->bias[c]) / in_scale / MAX_BIAS_STEPS;
    double scale = fine > coarse ? fine : coarse;
    scale = scale > 0.0 ? scale : 1.0;
    for (size_t i = 0; i < count; i++) {
        out[i] = (int16_t)lrint((double)weight[i] / scale);
    }
    return scale;
}

/* What a tensor's codes count: steps and their zero, of 16 bits where it has them. */
static double step_of(const struct srpi_quant_tensor *tensor)
{
    return tensor->fine ? tensor->exact_scale / 256.0 : tensor->exact_scale;
}

static double zero_of(const struct srpi_quant_tensor *tensor)
{
    return tensor->fine ? 256.0 * tensor->exact_zero + 128.0 : tensor->exact_zero;
}

struct vectors {
    int16_t *weights;
    int32_t *bias;
    float *multiplier, *shift, *slope;
};

static struct vectors vectors_of(char *memory, int16_t *weights, uint32_t channels, bool slope)
{
    const size_t length = padded(channels);
    int32_t *bias = (int32_t *)(void *)memory;
    float *multiplier = (float *)(void *)(bias + length);
    return (struct vectors){.weights = weights,
                            .bias = bias,
                            .multiplier = multiplier,
                            .shift = multiplier + length,
                            .slope = slope ? multiplier + 2 * length : NULL};
}

static void set_vectors(struct srpi_conv_layer *layer, const struct vectors *v)
{
    layer->weights = v->weights;
    layer->bias = v->bias;
    layer->multiplier = v->multiplier;
    layer->shift = v->shift;
    layer->slope = v->slope;
}

static float least_scale(const struct srpi_node *node, uint32_t c)
{
    const float *scales = node->scales + (size_t)c * node->groups;
    float least = scales[0];
    for (uint32_t g = 1; g < node->groups; g++) {
        least = fminf(least, scales[g]);
    }
    return least;
}

/* Codes of all groups of a channel in steps of the least of their scales, which is returned; 0: the
 * scales are not powers of two of each other, or too far apart for 16 bits. */
static double joined_weights(const struct srpi_node *node, uint32_t c, size_t count, int16_t *out)
{
    const float *scales = node->scales + (size_t)c * node->groups;
    const int8_t *codes = node->codes + c * count;
    const double least = (double)least_scale(node, c);
    for (uint32_t g = 0; g < node->groups; g++) {
        int exponent = 0;
        if (frexp((double)scales[g] / least, &exponent) != 0.5 || exponent > MOST_SHIFT + 1) {
            return 0.0;
        }
        for (size_t i = 0; i < count / node->groups; i++) {
            *out++ = (int16_t)(*codes++ * (1 << (exponent - 1)));
        }
    }
    return least;
}

/* What the weights of an output channel make of its bias. */
struct channel_sum {
    double step;         /* of the sum, in reals */
    double exact, whole; /* the bias in steps, the zero point's share included; rounded */
    double most;         /* no |sum| is greater, nor is any part of it in S8 storage */
    double above, below; /* nor are sums of codes alone, up and down */
    int16_t greatest;    /* |weight| */
};

/* Of the weights in 8 bits, or of all groups'; writes them. `step` is 0 where these have none. */
static struct channel_sum sum_channel(const struct srpi_quant_work *work,
                                      const struct srpi_step *step, uint32_t c, int16_t *weights)
{
    const struct srpi_node *node = step->node;
    const struct srpi_quant_tensor *in = &work->quant->tensors[node->inputs[0]];
    const size_t count = (size_t)srpi_node_weight_count(work->graph, node) /
                         work->graph->tensors[node->output].channels;
    struct channel_sum s = {
        .step = in->exact_scale *
                (node->groups > 1 ? joined_weights(node, c, count, weights)
                                  : srpi_quant_weights(node, c, count, in->exact_scale, weights))};
    if (s.step == 0.0) {
        return s;
    }
    int64_t sum = 0, absolute = 0;
    for (size_t i = 0; i < count; i++) {
        const int16_t size = (int16_t)abs(weights[i]);
        sum += weights[i];
        absolute += size;
        s.greatest = size > s.greatest ? size : s.greatest;
    }
    s.above = 255.0 * (double)(absolute + sum) / 2.0;
    s.below = 255.0 * (double)(absolute - sum) / 2.0;
    s.exact = (double)node->bias[c] / s.step - in->exact_zero * (double)sum;
    s.whole = rint(s.exact);
    /* 256: in S8 storage the bias grows by 128 * sum, and codes reach 128. */
    s.most = fabs(s.whole) + 256.0 * (double)absolute;
    return s;
}

/* One output channel. *bound: no |value| before the residual is greater, in units of the output. */
static enum srp_err make_channel(const struct srpi_quant_work *work, const struct srpi_step *step,
                                 uint32_t c, const struct vectors *v, double *bound,
                                 struct srp_error *err)
{
    const struct srpi_node *node = step->node;
    const struct srpi_quant_conv *conv =
        &work->quant->convs[work->program->writer[step->output]];
    const bool to_codes = conv->layer.shape.out == SRPI_Q8;
    const double out_scale = to_codes ? step_of(&work->quant->tensors[step->output]) : 1.0;
    const size_t count = (size_t)srpi_node_weight_count(work->graph, node) /
                         work->graph->tensors[node->output].channels;
    const struct channel_sum s = sum_channel(work, step, c, v->weights + c * count);
    if (s.most > (double)INT32_MAX) {
        return sums_too_large(work, node, c, err);
    }
    v->bias[c] = (int32_t)s.whole;
    v->multiplier[c] = (float)(s.step / out_scale);
    v->shift[c] = to_codes ? 0.0f : (float)((s.exact - s.whole) * s.step);
    double channel = s.most * (double)v->multiplier[c] + fabs((double)v->shift[c]);
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
    const double scale = to_codes ? step_of(out) : 1.0, zero = to_codes ? zero_of(out) : 0.0;
    const float greatest = out->fine ? 65535.0f : 255.0f;
    layer->low = -FLT_MAX;
    layer->high = FLT_MAX;
    if (last->activation == SRPI_ACT_RELU) {
        layer->low = (float)zero;
        layer->clamp = !to_codes || layer->low > 0.0f;
    } else if (last->activation == SRPI_ACT_CLIP) {
        layer->low = (float)((double)last->min / scale + zero);
        layer->high = (float)((double)last->max / scale + zero);
        layer->clamp = !to_codes || layer->low > 0.0f || layer->high < greatest;
    }
}

/* Returns the bound of the residual, in units of the output. */
static double set_residual(const struct srpi_quant_work *work, const struct srpi_step *step,
                           struct srpi_quant_conv *conv)
{
    struct srpi_conv_layer *layer = &conv->layer;
    const struct srpi_quant_tensor *out = &work->quant->tensors[step->output];
    const bool to_codes = layer->shape.out == SRPI_Q8;
    layer->offset = to_codes ? (float)zero_of(out) : 0.0f;
    if (step->residual == SRPI_NO_TENSOR) {
        return 0.0;
    }
    const struct srpi_quant_tensor *other = &work->quant->tensors[step->residual];
    layer->has_residual = true;
    if (to_codes && other->dtype == SRPI_Q8) {
        const double ratio = step_of(other) / step_of(out);
        layer->residual = SRPI_Q8;
        layer->residual_multiplier = (float)ratio;
        layer->offset = (float)(zero_of(out) - zero_of(other) * ratio);
        return (other->fine ? 65535.0 : 255.0) * ratio;
    }
    layer->residual = SRPI_F32;
    layer->residual_multiplier = to_codes ? (float)(1.0 / step_of(out)) : 1.0f;
    conv->widen_residual = other->dtype == SRPI_Q8;
    return work->bound[step->residual] * (double)layer->residual_multiplier;
}

/* A tensor's codes are at most 255 steps from its zero, and fractions half a step. */
static double bound_of(const struct srpi_quant_tensor *tensor, double real)
{
    const double zero = tensor->exact_zero;
    return tensor->dtype == SRPI_Q8
               ? tensor->exact_scale * ((zero > 255.0 - zero ? zero : 255.0 - zero) + 0.5)
               : real;
}

static enum srp_err check_bound(const struct srpi_quant_work *work, const struct srpi_step *step,
                                double real, double codes, struct srp_error *err)
{
    if (!(codes <= MAX_CODE)) {
        return values_too_large(work, step, "2^29 steps of its int8 codes", err);
    }
    if (!(real <= MAX_REAL)) {
        return values_too_large(work, step, "2^120", err);
    }
    return SRP_OK;
}

static enum srp_err make_single(struct srpi_quant_work *work, uint32_t index, char *memory,
                                int16_t *weights, struct srp_error *err)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_quant_tensor *out = &work->quant->tensors[step->output];
    struct srpi_quant_conv *conv = &work->quant->convs[index];
    struct srpi_conv_layer *layer = &conv->layer;
    const uint32_t channels = layer->shape.out_channels;
    const struct vectors v = vectors_of(memory, weights, channels, has_slope(step));
    set_vectors(layer, &v);
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

/* ---- convolutions with several sums ---------------------------------------------------------- */

/* Codes of group `group` of one channel, [in / groups][ky][kx]; the scale of weights of the whole
 * channel where the parameters hold no codes. */
static double group_codes(const struct srpi_node *node, uint32_t c, size_t count, uint32_t group,
                          double in_scale, int16_t *out)
{
    if (node->groups <= 1) {
        return srpi_quant_weights(node, c, count, in_scale, out);
    }
    const size_t part = count / node->groups;
    for (size_t i = 0; i < part; i++) {
        out[i] = node->codes[c * count + group * part + i];
    }
    return (double)node->scales[c * node->groups + group];
}

/* The sum of one group's codes in channel c; adds its greatest value to *bound. */
static enum srp_err make_sum(const struct srpi_quant_work *work, const struct srpi_step *step,
                             uint32_t group, uint32_t c, const struct vectors *v, double *bound,
                             struct srp_error *err)
{
    const struct srpi_node *node = step->node;
    const struct srpi_quant_tensor *in = &work->quant->tensors[node->inputs[0]];
    const uint32_t groups = node->groups > 1 ? node->groups : 1;
    const size_t count = (size_t)srpi_node_weight_count(work->graph, node) /
                         work->graph->tensors[node->output].channels;
    const size_t part = count / groups;
    int16_t *weights = v->weights + c * part;
    const double step_size =
        in->exact_scale * group_codes(node, c, count, group, in->exact_scale, weights);
    int64_t sum = 0, absolute = 0;
    for (size_t i = 0; i < part; i++) {
        sum += weights[i];
        absolute += abs(weights[i]);
    }
    const double zero = in->exact_zero + (reads_fractions(work, step) ? 0.5 : 0.0);
    const double exact = -zero * (double)sum, whole = rint(exact);
    const double most = fabs(whole) + 256.0 * (double)absolute;
    if (most > (double)INT32_MAX) {
        return sums_too_large(work, node, c, err);
    }
    v->bias[c] = (int32_t)whole;
    v->multiplier[c] = (float)step_size;
    v->shift[c] =
        (float)((exact - whole) * step_size + (group == 0 ? (double)node->bias[c] : 0.0));
    bound[c] += most * (double)v->multiplier[c] + fabs((double)v->shift[c]);
    return SRP_OK;
}

/* The fractions' share of a sum: the same codes, 1/256 of the scale, no constant. */
static void add_fractions(const struct srpi_quant_part *codes, uint32_t channels,
                          const struct vectors *v, struct srpi_quant_part *part)
{
    *part = *codes;
    part->fractions = true;
    part->bias = v->bias;
    part->multiplier = v->multiplier;
    part->shift = v->shift;
    for (uint32_t c = 0; c < channels; c++) {
        v->multiplier[c] = codes->multiplier[c] * 0x1p-8f;
    }
}

/* Slope, clamp and residual after several sums, and how large that becomes. */
static enum srp_err finish_split(struct srpi_quant_work *work, const struct srpi_step *step,
                                 struct srpi_quant_conv *conv, double bound, struct srp_error *err)
{
    const struct srpi_quant_tensor *out = &work->quant->tensors[step->output];
    set_clamp(&conv->layer, srpi_step_last(step), out);
    bound += step->residual != SRPI_NO_TENSOR ? work->bound[step->residual] : 0.0;
    const double curved = conv->activation != SRPI_ACT_NONE ? 1.0 : bound;
    work->bound[step->output] = bound_of(out, curved);
    return check_bound(work, step, bound,
                       out->dtype == SRPI_Q8 ? curved / step_of(out) + 65535.0 : 0.0, err);
}

static enum srp_err make_split(struct srpi_quant_work *work, uint32_t index, char *memory,
                               int16_t *weights, struct srp_error *err)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_node *node = step->node;
    struct srpi_quant_conv *conv = &work->quant->convs[index];
    const uint32_t channels = conv->layer.shape.out_channels;
    const uint32_t groups = node->groups > 1 ? node->groups : 1;
    const uint32_t in = conv->layer.shape.in_channels / groups;
    const size_t each = (size_t)srpi_node_weight_count(work->graph, node) / groups;
    const bool slope = has_slope(step);
    double bound[SRP_MAX_CHANNELS] = {0.0}, most = 0.0;
    struct vectors v = {0};
    conv->part_count = reads_fractions(work, step) ? 2 * groups : groups;
    conv->parts = (struct srpi_quant_part *)(void *)memory;
    memory += (conv->part_count * sizeof(conv->parts[0]) + 63) / 64 * 64;
    for (uint32_t p = 0; p < conv->part_count; p++) {
        struct srpi_quant_part *part = &conv->parts[p];
        v = vectors_of(memory, weights, channels, slope);
        memory += part_bytes(channels, slope);
        if (p >= groups) {
            add_fractions(&conv->parts[p - groups], channels, &v, part);
            continue;
        }
        weights += part_weights(each);
        *part = (struct srpi_quant_part){.first = p * in,
                                         .channels = in,
                                         .weights = v.weights,
                                         .bias = v.bias,
                                         .multiplier = v.multiplier,
                                         .shift = v.shift};
        for (uint32_t c = 0; c < channels; c++) {
            enum srp_err rc = make_sum(work, step, p, c, &v, bound, err);
            if (rc != SRP_OK) {
                return rc;
            }
        }
    }
    for (uint32_t c = 0; c < channels; c++) {
        if (slope) {
            v.slope[c] = slope_of(node, c);
            const double steep = fabs((double)v.slope[c]);
            bound[c] *= steep > 1.0 ? steep : 1.0;
        }
        most = bound[c] > most ? bound[c] : most;
    }
    conv->layer.shape.out = SRPI_F32;
    conv->layer.slope = v.slope;
    /* The fractions' sums are no greater than those of the codes. */
    return finish_split(work, step, conv, conv->part_count > groups ? 2.0 * most : most, err);
}

/* ---- joined groups -------------------------------------------------------------------------- */

/* Whether they have. *greatest: the greatest |weight|. `weights` has room for them. */
static bool can_join(const struct srpi_quant_work *work, const struct srpi_step *step,
                        int16_t *weights, int16_t *greatest)
{
    *greatest = 0;
    for (uint32_t c = 0; c < work->graph->tensors[step->output].channels; c++) {
        const struct channel_sum s = sum_channel(work, step, c, weights);
        const double codes = fmax(s.above, s.below);
        const double most = fmax(fabs(s.whole + s.above), fabs(s.whole - s.below));
        if (s.step == 0.0 || !(fmax(codes, most) < MAX_JOINED)) {
            return false;
        }
        *greatest = s.greatest > *greatest ? s.greatest : *greatest;
    }
    return true;
}

/* The same sum in parts whose weights are the codes. */
static void make_joined_parts(struct srpi_quant_work *work, uint32_t index, char *memory,
                         int16_t *weights)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_node *node = step->node;
    struct srpi_quant_conv *conv = &work->quant->convs[index];
    const uint32_t channels = conv->layer.shape.out_channels;
    const uint32_t in = conv->layer.shape.in_channels / node->groups;
    const size_t count = (size_t)srpi_node_weight_count(work->graph, node) / channels;
    const size_t part = count / node->groups;
    const int32_t *bias = conv->layer.bias;
    for (uint32_t g = 0; g < node->groups; g++) {
        const struct vectors v = vectors_of(memory, weights, channels, false);
        memory += part_bytes(channels, false);
        weights += part_weights(part * channels);
        conv->parts[g] = (struct srpi_quant_part){.first = g * in,
                                                  .channels = in,
                                                  .weights = v.weights,
                                                  .bias = v.bias,
                                                  .multiplier = v.multiplier,
                                                  .shift = v.shift};
        for (uint32_t c = 0; c < channels; c++) {
            group_codes(node, c, count, g, 0.0, v.weights + c * part);
            v.multiplier[c] = node->scales[(size_t)c * node->groups + g] / least_scale(node, c);
            v.shift[c] = g == 0 ? (float)bias[c] : 0.0f;
        }
    }
}

/* The vectors of the whole, then those of the parts, and weights alike. */
static enum srp_err make_groups(struct srpi_quant_work *work, uint32_t index, char *memory,
                                int16_t *weights, struct srp_error *err)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_node *node = step->node;
    struct srpi_quant_conv *conv = &work->quant->convs[index];
    int16_t greatest = 0;
    if (reads_fractions(work, step) || !can_join(work, step, weights, &greatest)) {
        return make_split(work, index, memory, weights, err);
    }
    struct srpi_quant_part *parts = (struct srpi_quant_part *)(void *)memory;
    memory += (node->groups * sizeof(parts[0]) + 63) / 64 * 64;
    enum srp_err rc = make_single(work, index, memory, weights, err);
    if (rc == SRP_OK && greatest > INT8_MAX) {
        conv->joined = true;
        conv->part_count = node->groups;
        conv->parts = parts;
        make_joined_parts(work, index,
                     memory + part_bytes(conv->layer.shape.out_channels, has_slope(step)),
                     weights + part_weights((size_t)srpi_node_weight_count(work->graph, node)));
    }
    return rc;
}

static enum srp_err make_layer(struct srpi_quant_work *work, uint32_t index, char *memory,
                               int16_t *weights, struct srp_error *err)
{
    const struct srpi_step *step = &work->program->steps[index];
    const struct srpi_node *node = step->node;
    struct srpi_quant_conv *conv = &work->quant->convs[index];
    conv->activation = is_curve(srpi_step_last(step)->activation)
                           ? srpi_step_last(step)->activation
                           : SRPI_ACT_NONE;
    conv->layer.shape = (struct srpi_conv_shape){
        .kernel_height = node->kernel_height,
        .kernel_width = node->kernel_width,
        .in_channels = work->graph->tensors[node->inputs[0]].channels,
        .out_channels = work->graph->tensors[step->output].channels,
        .in = SRPI_Q8,
        .out = conv->activation != SRPI_ACT_NONE ? SRPI_F32
                                                 : work->quant->tensors[step->output].dtype,
    };
    return node->groups > 1             ? make_groups(work, index, memory, weights, err)
           : reads_fractions(work, step) ? make_split(work, index, memory, weights, err)
                                         : make_single(work, index, memory, weights, err);
}

/* The other operators: how large their f32 values may become. */
static enum srp_err bound_step(struct srpi_quant_work *work, uint32_t index, struct srp_error *err)
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
                       to_codes ? bound / step_of(out) + 65535.0 : 0.0, err);
}

enum srp_err srpi_quant_layers(struct srpi_quant_work *work, char *memory, int16_t *weights,
                               struct srp_error *err)
{
    enum srp_err rc = SRP_OK;
    work->bound[work->graph->input] =
        bound_of(&work->quant->tensors[work->graph->input], 1.0);
    for (uint32_t s = 0; rc == SRP_OK && s < work->program->step_count; s++) {
        if (work->program->steps[s].node->op == SRPI_OP_CONV2D) {
            rc = make_layer(work, s, memory, weights, err);
            memory += srpi_quant_layer_bytes(work->graph, &work->program->steps[s]);
            weights += srpi_quant_layer_weights(work->graph, &work->program->steps[s]);
        } else {
            rc = bound_step(work, s, err);
        }
    }
    return rc;
}

