/* SPDX-License-Identifier: BSD-2-Clause */
/* docs/arithmetic.md, in plain C: what int8 kernels are compared with, bit by bit. */
#include <stdlib.h>
#include <string.h>

#include "kernels/activation.h"
#include "model/checked.h"
#include "model/error.h"
#include "quant/calibrate.h"
#include "quant/quant.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

struct run {
    const struct srpi_quant *quant;
    const struct srpi_graph *graph;
    uint32_t width, height;
    /* By tensor, NULL where there are none: codes, with fractions or without, or reals. */
    uint8_t **codes, **fractions;
    float **reals;
};

static size_t pixels_of(const struct run *run, uint32_t tensor)
{
    const size_t factor = run->graph->tensors[tensor].factor;
    return run->width * factor * run->height * factor;
}

/* Checked once for all tensors, in can_hold. */
static size_t values_of(const struct run *run, uint32_t tensor)
{
    return pixels_of(run, tensor) * run->graph->tensors[tensor].channels;
}

static bool can_hold(const struct run *run)
{
    for (uint32_t t = 0; t < run->graph->tensor_count; t++) {
        const size_t factor = run->graph->tensors[t].factor;
        size_t size = 0;
        if (!srpi_mul(run->width * factor, run->height * factor, &size) ||
            !srpi_mul(size, run->graph->tensors[t].channels * sizeof(float), &size)) {
            return false;
        }
    }
    return true;
}

/* ---- convolutions ---------------------------------------------------------------------------- */

/* Some input channels of a convolution, and what they are multiplied by. */
struct sum {
    const uint8_t *values; /* of the whole tensor, all channels */
    int32_t padding;
    uint32_t first, channels;
    const int32_t *bias;
    int32_t *weights; /* [ky][kx][in][out]; owned */
};

/* From [out][in][ky][kx] to [ky][kx][in][out]. */
static int32_t *spread_weights(const struct srpi_conv_shape *shape, uint32_t in_channels,
                               const int16_t *weights)
{
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    int32_t *spread = malloc(taps * in_channels * shape->out_channels * sizeof(int32_t));
    int32_t *to = spread;
    for (size_t tap = 0; spread != NULL && tap < taps; tap++) {
        for (uint32_t i = 0; i < in_channels; i++) {
            for (uint32_t o = 0; o < shape->out_channels; o++) {
                *to++ = weights[((size_t)o * in_channels + i) * taps + tap];
            }
        }
    }
    return spread;
}

/* One pixel, all output channels. */
static void sum_pixel(const struct run *run, const struct srpi_conv_shape *shape, uint32_t tensor,
                      const struct sum *sum, uint32_t y, uint32_t x, int32_t *sums)
{
    const uint32_t factor = run->graph->tensors[tensor].factor;
    const uint32_t width = run->width * factor, height = run->height * factor;
    const int32_t *weights = sum->weights;
    memcpy(sums, sum->bias, shape->out_channels * sizeof(sums[0]));
    for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
        for (uint32_t kx = 0; kx < shape->kernel_width; kx++) {
            /* Unsigned wrap-around sends what lies left of 0 beyond the end, too. */
            const uint32_t sy = y + ky - shape->kernel_height / 2;
            const uint32_t sx = x + kx - shape->kernel_width / 2;
            const bool inside = sy < height && sx < width;
            const uint8_t *pixel =
                sum->values + ((size_t)sy * width + sx) * shape->in_channels + sum->first;
            for (uint32_t i = 0; i < sum->channels; i++) {
                const int32_t q = inside ? pixel[i] : sum->padding;
                for (uint32_t o = 0; o < shape->out_channels; o++) {
                    sums[o] += q * weights[o];
                }
                weights += shape->out_channels;
            }
        }
    }
}

/* What kernels/row.h says of a Q8 layer, up to the last rounding. */
static float finish(const struct srpi_conv_layer *layer, uint32_t c, int32_t sum, float residual)
{
    const float s = (float)sum, multiplier = layer->multiplier[c];
    float v;
    if (layer->shape.out != SRPI_Q8) {
        v = fmaf(s, multiplier, layer->shift[c]);
        if (layer->slope != NULL && v < 0.0f) {
            v = v * layer->slope[c];
        }
    } else if (layer->slope != NULL) {
        v = s * multiplier;
        v = (v < 0.0f ? v * layer->slope[c] : v) + layer->offset;
    } else {
        v = fmaf(s, multiplier, layer->offset);
    }
    if (layer->has_residual) {
        v = fmaf(residual, layer->residual_multiplier, v);
    }
    if (layer->clamp) {
        v = v > layer->low ? v : layer->low;
        v = v < layer->high ? v : layer->high;
    }
    return v;
}

/* Code and fraction as one number. */
static float wide_code(const struct run *run, uint32_t tensor, size_t at)
{
    return 256.0f * (float)run->codes[tensor][at] + (float)run->fractions[tensor][at];
}

static float residual_at(const struct run *run, const struct srpi_quant_conv *conv, uint32_t tensor,
                         size_t at)
{
    if (run->reals[tensor] != NULL) {
        return run->reals[tensor][at];
    }
    const struct srpi_quant_tensor *q = &run->quant->tensors[tensor];
    const uint8_t code = run->codes[tensor][at];
    if (run->fractions[tensor] != NULL) {
        const float w = wide_code(run, tensor, at);
        return conv->widen_residual ? srpi_dequantise_fine(q, w) : w;
    }
    return conv->widen_residual ? srpi_dequantise(q, code) : (float)code;
}

/* v is in codes, in 1/256 of them with fractions. */
static void store_code(const struct run *run, uint32_t tensor, size_t at, float v)
{
    if (run->fractions[tensor] != NULL) {
        const uint16_t w = srpi_saturate_fine(v);
        run->codes[tensor][at] = (uint8_t)(w >> 8);
        run->fractions[tensor][at] = (uint8_t)w;
    } else {
        run->codes[tensor][at] = srpi_saturate(v);
    }
}

static void store(const struct run *run, uint32_t tensor, size_t at, const float *values,
                  uint32_t count)
{
    if (run->reals[tensor] != NULL) {
        memcpy(run->reals[tensor] + at, values, count * sizeof(values[0]));
        return;
    }
    const struct srpi_quant_tensor *q = &run->quant->tensors[tensor];
    for (uint32_t i = 0; i < count; i++) {
        store_code(run, tensor, at + i,
                   q->fine ? fmaf(values[i], q->inverse * 256.0f, q->fine_zero)
                           : fmaf(values[i], q->inverse, q->zero));
    }
}

static struct sum sum_of(const struct run *run, const struct srpi_conv_shape *shape,
                         uint32_t tensor, const struct srpi_quant_part *part)
{
    return (struct sum){
        .values = part->fractions ? run->fractions[tensor] : run->codes[tensor],
        .padding = part->fractions ? 128 : run->quant->tensors[tensor].padding,
        .first = part->first,
        .channels = part->channels,
        .bias = part->bias,
        .weights = spread_weights(shape, part->channels, part->weights)};
}

/* Several sums, one after the other over the whole picture. values: dense f32, zeroed. */
static bool add_parts(const struct run *run, const struct srpi_quant_conv *conv, uint32_t in,
                      float *values)
{
    const struct srpi_conv_shape *shape = &conv->layer.shape;
    const uint32_t width = run->width * run->graph->tensors[in].factor;
    const uint32_t channels = shape->out_channels;
    for (uint32_t i = 0; i < conv->part_count; i++) {
        const struct srpi_quant_part *part = &conv->parts[i];
        const struct sum sum = sum_of(run, shape, in, part);
        if (sum.weights == NULL) {
            return false;
        }
        for (size_t p = 0; p < pixels_of(run, in); p++) {
            int32_t sums[SRP_MAX_CHANNELS];
            sum_pixel(run, shape, in, &sum, (uint32_t)(p / width), (uint32_t)(p % width), sums);
            for (uint32_t c = 0; c < channels; c++) {
                const float v = fmaf((float)sums[c], part->multiplier[c], part->shift[c]);
                values[p * channels + c] = i == 0 ? v : values[p * channels + c] + v;
            }
        }
        free(sum.weights);
    }
    return true;
}

static void activate(const struct srpi_quant_conv *conv, float *values, uint32_t count)
{
    if (conv->activation == SRPI_ACT_TANH) {
        srpi_row_tanh(values, values, count);
    } else if (conv->activation == SRPI_ACT_SIGMOID) {
        srpi_row_sigmoid(values, values, count);
    }
}

static float real_at(const struct run *run, uint32_t tensor, size_t at)
{
    const struct srpi_quant_tensor *q = &run->quant->tensors[tensor];
    return run->reals[tensor] != NULL ? run->reals[tensor][at]
           : run->fractions[tensor] != NULL
               ? srpi_dequantise_fine(q, wide_code(run, tensor, at))
               : srpi_dequantise(q, run->codes[tensor][at]);
}

static bool run_split(struct run *run, uint32_t index)
{
    const struct srpi_step *step = &run->quant->program->steps[index];
    const struct srpi_quant_conv *conv = &run->quant->convs[index];
    const struct srpi_conv_layer *layer = &conv->layer;
    const uint32_t channels = layer->shape.out_channels;
    const size_t pixels = pixels_of(run, step->output);
    float *values = malloc(pixels * channels * sizeof(values[0]));
    const bool ran = values != NULL && add_parts(run, conv, step->node->inputs[0], values);
    for (size_t i = 0; ran && i < pixels * channels; i++) {
        float v = values[i];
        v = layer->slope != NULL && v < 0.0f ? v * layer->slope[i % channels] : v;
        v = step->residual != SRPI_NO_TENSOR ? v + real_at(run, step->residual, i) : v;
        if (layer->clamp) {
            v = v > layer->low ? v : layer->low;
            v = v < layer->high ? v : layer->high;
        }
        values[i] = v;
    }
    for (size_t p = 0; ran && p < pixels; p++) {
        activate(conv, values + p * channels, channels);
        store(run, step->output, p * channels, values + p * channels, channels);
    }
    free(values);
    return ran;
}

static bool run_conv(struct run *run, uint32_t index)
{
    const struct srpi_step *step = &run->quant->program->steps[index];
    const struct srpi_quant_conv *conv = &run->quant->convs[index];
    const struct srpi_conv_layer *layer = &conv->layer;
    const uint32_t in = step->node->inputs[0], channels = layer->shape.out_channels;
    const uint32_t width = run->width * run->graph->tensors[in].factor;
    if (conv->part_count != 0 && !conv->joined) {
        return run_split(run, index);
    }
    const struct srpi_quant_part all = {
        .channels = layer->shape.in_channels, .weights = layer->weights, .bias = layer->bias};
    const struct sum sum = sum_of(run, &layer->shape, in, &all);
    if (sum.weights == NULL) {
        return false;
    }
    for (size_t p = 0; p < pixels_of(run, in); p++) {
        int32_t sums[SRP_MAX_CHANNELS];
        float values[SRP_MAX_CHANNELS];
        sum_pixel(run, &layer->shape, in, &sum, (uint32_t)(p / width), (uint32_t)(p % width),
                  sums);
        for (uint32_t c = 0; c < channels; c++) {
            const size_t at = p * channels + c;
            values[c] = finish(layer, c, sums[c],
                               layer->has_residual ? residual_at(run, conv, step->residual, at)
                                                   : 0.0f);
            if (layer->shape.out == SRPI_Q8) {
                store_code(run, step->output, at, values[c]);
            }
        }
        activate(conv, values, channels);
        if (layer->shape.out != SRPI_Q8) {
            store(run, step->output, p * channels, values, channels);
        }
    }
    free(sum.weights);
    return true;
}

/* ---- the other operators --------------------------------------------------------------------- */

/* All in f32: codes that are only moved come back as they were. */
static bool run_other(struct run *run, const struct srpi_step *step)
{
    const struct srpi_node *node = step->node;
    float **reals = calloc(run->graph->tensor_count, sizeof(reals[0]));
    bool fits = reals != NULL;
    const size_t count = values_of(run, step->output);
    const bool sums = node->op == SRPI_OP_ADD || node->op == SRPI_OP_MUL; /* read 16 bits */

    for (uint32_t i = 0; fits && i < node->input_count; i++) {
        const uint32_t t = node->inputs[i];
        if (run->reals[t] != NULL || reals[t] != NULL) {
            reals[t] = run->reals[t] != NULL ? run->reals[t] : reals[t];
            continue;
        }
        reals[t] = malloc(values_of(run, t) * sizeof(float));
        fits = reals[t] != NULL;
        for (size_t k = 0; fits && k < values_of(run, t); k++) {
            reals[t][k] = sums ? real_at(run, t, k)
                               : srpi_dequantise(&run->quant->tensors[t], run->codes[t][k]);
        }
    }
    if (fits) {
        reals[step->output] = run->reals[step->output] != NULL ? run->reals[step->output]
                                                               : malloc(count * sizeof(float));
        fits = reals[step->output] != NULL;
    }
    if (fits) {
        srpi_step_run(run->graph, step, run->width, run->height, NULL, reals);
        for (size_t k = 0; run->codes[step->output] != NULL && k < count; k++) {
            store(run, step->output, k, &reals[step->output][k], 1);
        }
    }
    for (uint32_t t = 0; reals != NULL && t < run->graph->tensor_count; t++) {
        if (reals[t] != run->reals[t]) {
            free(reals[t]);
        }
    }
    free(reals);
    return fits;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void drop(struct run *run, uint32_t tensor)
{
    free(run->codes[tensor]);
    free(run->fractions[tensor]);
    free(run->reals[tensor]);
    run->codes[tensor] = run->fractions[tensor] = NULL;
    run->reals[tensor] = NULL;
}

/* After step `index` nobody reads `tensor` any more. */
static bool is_done(const struct srpi_program *program, uint32_t tensor, uint32_t index)
{
    for (uint32_t s = index + 1; s < program->step_count; s++) {
        for (uint32_t i = 0; i < srpi_step_reads(&program->steps[s]); i++) {
            if (srpi_step_read(&program->steps[s], i) == tensor) {
                return false;
            }
        }
    }
    return tensor != program->wanted;
}

static bool run_step(struct run *run, uint32_t index)
{
    const struct srpi_program *program = run->quant->program;
    const struct srpi_step *step = &program->steps[index];
    const size_t count = values_of(run, step->output);
    const bool to_codes = run->quant->tensors[step->output].dtype == SRPI_Q8;
    const bool fine = run->quant->tensors[step->output].fine;
    if (to_codes) {
        run->codes[step->output] = malloc(count);
        run->fractions[step->output] = fine ? malloc(count) : NULL;
    } else {
        run->reals[step->output] = malloc(count * sizeof(float));
    }
    if ((run->codes[step->output] == NULL && run->reals[step->output] == NULL) ||
        (fine && run->fractions[step->output] == NULL)) {
        return false;
    }
    const bool ran = step->node->op == SRPI_OP_CONV2D ? run_conv(run, index) : run_other(run, step);
    for (uint32_t i = 0; ran && i < srpi_step_reads(step); i++) {
        if (is_done(program, srpi_step_read(step, i), index)) {
            drop(run, srpi_step_read(step, i));
        }
    }
    return ran;
}

static bool copy_input(const struct run *run, const uint8_t *in, uint8_t **to)
{
    const size_t count = values_of(run, run->graph->input);
    *to = malloc(count);
    if (*to != NULL) {
        memcpy(*to, in, count);
    }
    return *to != NULL;
}

enum srp_err srpi_quant_run(const struct srpi_quant *quant, const uint8_t *in,
                            const uint8_t *fractions, uint32_t width, uint32_t height, float *out,
                            struct srp_error *err)
{
    const struct srpi_program *program = quant->program;
    const struct srpi_graph *graph = program->graph;
    struct run run = {.quant = quant, .graph = graph, .width = width, .height = height};
    bool fits = false;

    if (!can_hold(&run)) {
        return srpi_fail(err, SRP_ERR_LIMIT, "graph '%s': %ux%u pixels are too many", graph->name,
                         width, height);
    }
    run.codes = calloc(graph->tensor_count, sizeof(run.codes[0]));
    run.fractions = calloc(graph->tensor_count, sizeof(run.fractions[0]));
    run.reals = calloc(graph->tensor_count, sizeof(run.reals[0]));
    const bool tables = run.codes != NULL && run.fractions != NULL && run.reals != NULL;
    if (tables) {
        fits = copy_input(&run, in, &run.codes[graph->input]) &&
               (!quant->tensors[graph->input].fine ||
                copy_input(&run, fractions, &run.fractions[graph->input]));
    }
    for (uint32_t s = 0; fits && s < program->step_count; s++) {
        fits = run_step(&run, s);
    }
    for (size_t i = 0; fits && i < values_of(&run, program->wanted); i++) {
        out[i] = real_at(&run, program->wanted, i);
    }
    for (uint32_t t = 0; tables && t < graph->tensor_count; t++) {
        drop(&run, t);
    }
    free(run.codes);
    free(run.fractions);
    free(run.reals);
    return fits ? SRP_OK
                : srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a run of '%s'", graph->name);
}
