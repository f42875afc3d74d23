/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/row_depthwise.h"
#include "model/checked.h"
#include "model/error.h"

#define ALIGN ((size_t)64)

struct srpi_codec srpi_layers_codec(const struct srpi_layers *layers, uint32_t t)
{
    struct srpi_codec codec = {.dtype = layers->tensor_dtype[t],
                               .storage = layers->kernels->storage,
                               .element = srpi_element_size(layers->kernels,
                                                            layers->tensor_dtype[t]),
                               .scale = 1.0f,
                               .inverse = 1.0f};
    if (codec.dtype == SRPI_Q8) {
        const struct srpi_quant_tensor *tensor = &layers->quant.tensors[t];
        codec.scale = tensor->scale;
        codec.inverse = tensor->inverse;
        codec.zero = tensor->zero;
        codec.padding = tensor->padding;
        codec.fine_zero = tensor->fine_zero;
    }
    return codec;
}

/* ---- dtypes ---------------------------------------------------------------------------------- */

/* What only ends in the wanted tensor, or is only added to what does, stays f32; what a
 * convolution reads has the dtype that was asked for (as quant/quant.h has it for Q8). */
static void choose_dtypes(struct srpi_layers *layers)
{
    const struct srpi_program *program = layers->program;
    layers->tensor_dtype[program->graph->input] = layers->dtype;
    for (uint32_t s = program->step_count; s-- > 0;) {
        const struct srpi_step *step = &program->steps[s];
        const enum srpi_dtype out = layers->tensor_dtype[step->output];
        for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
            const bool sums = step->node->op == SRPI_OP_CONV2D && i < step->node->input_count;
            if (sums || out != SRPI_F32) {
                layers->tensor_dtype[srpi_step_read(step, i)] = layers->dtype;
            }
        }
    }
}

/* ---- one convolution ------------------------------------------------------------------------- */

/* Lays out a layer's memory: vectors of `lanes` values, then the packed weights. */
struct layout {
    size_t lanes, weights;
    char *memory;
};

static size_t padded(uint32_t channels)
{
    return (channels + SRPI_ROW_PADDED - 1) / SRPI_ROW_PADDED * SRPI_ROW_PADDED;
}

static bool lay_out(struct layout *layout, uint32_t channels, size_t weights)
{
    size_t vectors = 0, size = 0;
    layout->lanes = padded(channels);
    layout->weights = weights;
    if (weights == 0 || !srpi_mul(layout->lanes, 4 * sizeof(float), &vectors) ||
        !srpi_add(vectors, weights, &size) || !srpi_add(size, 2 * ALIGN, &size)) {
        return false;
    }
    /* Kernels may read a vector behind the last weights. */
    layout->memory = aligned_alloc(ALIGN, size / ALIGN * ALIGN);
    if (layout->memory == NULL) {
        return false;
    }
    memset(layout->memory, 0, size / ALIGN * ALIGN);
    return true;
}

static float *vector(const struct layout *layout, uint32_t which)
{
    return (float *)(void *)layout->memory + which * layout->lanes;
}

static void *weights_of(const struct layout *layout)
{
    return layout->memory + 4 * layout->lanes * sizeof(float);
}

/* Slopes and clamp in reals, from the activations before and after a sum. */
static void activations(struct srpi_layer *layer, const struct srpi_step *step,
                        const struct layout *layout)
{
    const struct srpi_node *node = step->node, *last = srpi_step_last(step);
    struct srpi_conv_layer *l = &layer->layer;
    const uint32_t channels = l->shape.out_channels;
    float *slope = vector(layout, 3);
    l->low = -INFINITY;
    l->high = INFINITY;
    if (node->activation == SRPI_ACT_PRELU) {
        memcpy(slope, node->slope, channels * sizeof(float));
        l->slope = slope;
    } else if (node->activation == SRPI_ACT_LEAKY_RELU) {
        for (uint32_t c = 0; c < channels; c++) {
            slope[c] = node->alpha;
        }
        l->slope = slope;
    } else if (node->activation == SRPI_ACT_RELU && step->sum != NULL) {
        l->slope = slope; /* zeros */
    } else if (node->activation == SRPI_ACT_TANH || node->activation == SRPI_ACT_SIGMOID) {
        layer->post = node->activation;
    }
    if (last->activation == SRPI_ACT_RELU) {
        l->low = 0.0f;
        l->clamp = true;
    } else if (last->activation == SRPI_ACT_CLIP) {
        l->low = last->min;
        l->high = last->max;
        l->clamp = true;
    }
}

/* Whether a tap has a weight other than 0. */
static bool is_used(const struct srpi_conv_shape *shape, const void *weights, size_t tap)
{
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const size_t count = (size_t)shape->out_channels * shape->in_channels * taps;
    for (size_t at = tap; at < count; at += taps) {
        if (shape->in == SRPI_Q8 ? ((const int16_t *)weights)[at] != 0
                                 : ((const float *)weights)[at] != 0.0f) {
            return true;
        }
    }
    return false;
}

/* Whether a layer is faster by so many taps one by one than by `winograd` (NULL: by rows of taps).
 * A window of 3x3 taps costs Winograd's kernels 36 products for 16 pixels, and some more. */
static bool is_sparse(const struct srpi_conv_shape *shape, uint32_t count,
                      const struct srpi_winograd_kernels *winograd)
{
    const uint64_t height = shape->kernel_height, width = shape->kernel_width;
    if (winograd != NULL) {
        return 2 * count <= 5 * ((height + 2) / 3) * ((width + 2) / 3);
    }
    const uint64_t unit = shape->in == SRPI_Q8 ? 4 : shape->in == SRPI_BF16 ? 2 : 1;
    const uint64_t all = height * ((width * shape->in_channels + unit - 1) / unit);
    return 8 * count * ((shape->in_channels + unit - 1) / unit) <= 7 * all;
}

/* Where many of a kernel's taps are not used, as in dilated ones, the layer becomes one of those
 * that are. Its weights are then *taken, to be freed, which is NULL for other layers. */
static bool take_taps(struct srpi_layer *layer, const void *weights,
                      const struct srpi_winograd_kernels *winograd, void **taken)
{
    struct srpi_conv_shape *shape = &layer->layer.shape;
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const size_t size = shape->in == SRPI_Q8 ? sizeof(int16_t) : sizeof(float);
    const size_t pairs = (size_t)shape->out_channels * shape->in_channels;
    uint32_t count = 0;
    *taken = NULL;
    for (size_t tap = 0; tap < taps; tap++) {
        if (is_used(shape, weights, tap)) {
            layer->taps[count++] = (struct srpi_tap){(uint8_t)(tap / shape->kernel_width),
                                                     (uint8_t)(tap % shape->kernel_width)};
        }
    }
    if (count == 0 || !is_sparse(shape, count, winograd)) {
        return true;
    }
    char *to = malloc(pairs * count * size); /* less than all weights */
    if (to == NULL) {
        return false;
    }
    *taken = to;
    for (size_t pair = 0; pair < pairs; pair++) {
        for (uint32_t t = 0; t < count; t++, to += size) {
            const size_t tap = (size_t)layer->taps[t].y * shape->kernel_width + layer->taps[t].x;
            memcpy(to, (const char *)weights + (pair * taps + tap) * size, size);
        }
    }
    layer->tap_count = count;
    shape->kernel_height = count;
    shape->kernel_width = 1;
    return true;
}

static enum srp_err make_float(struct srpi_layer *layer, const struct srpi_step *step,
                               const struct srpi_kernels *kernels, struct srp_error *err)
{
    const struct srpi_node *node = step->node;
    struct srpi_conv_layer *l = &layer->layer;
    const uint32_t channels = l->shape.out_channels;
    const struct srpi_kernels *depthwise = srpi_depthwise_for(kernels, &l->shape, node->weight);
    const struct srpi_winograd_kernels *winograd =
        srpi_winograd_for(kernels->isa, &l->shape, srpi_adds_apart());
    void *taken = NULL;
    if (depthwise != NULL) {
        kernels = depthwise;
        winograd = NULL;
    } else if (!take_taps(layer, node->weight, winograd, &taken)) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the weights of '%s'", node->name);
    }
    const void *weights = taken != NULL ? taken : node->weight;
    winograd = taken != NULL ? NULL : winograd;
    if (winograd != NULL) {
        layer->winograd = winograd;
        layer->kernel = winograd->name;
    } else {
        layer->direct = kernels->find(&l->shape, &layer->kernel);
    }
    struct layout layout;
    if (!lay_out(&layout, channels,
                 layer->winograd != NULL ? winograd->packed_size(&l->shape)
                                         : kernels->packed_size(&l->shape))) {
        free(taken);
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the weights of '%s'", node->name);
    }
    layer->memory = layout.memory;
    memcpy(vector(&layout, 0), node->bias, channels * sizeof(float));
    l->bias = vector(&layout, 0);
    activations(layer, step, &layout);
    l->has_residual = step->residual != SRPI_NO_TENSOR;
    l->residual_multiplier = 1.0f;
    if (layer->winograd != NULL) {
        winograd->pack(&l->shape, weights, weights_of(&layout));
    } else {
        kernels->pack(&l->shape, weights, weights_of(&layout));
    }
    free(taken);
    l->weights = weights_of(&layout);
    return SRP_OK;
}

/* Codes are stored 128 lower: their share of the sum is put back. */
static void lift_bias(const struct srpi_conv_shape *shape, const int16_t *weight,
                      const int32_t *bias, int32_t *lifted)
{
    const size_t taps =
        (size_t)shape->kernel_height * shape->kernel_width * shape->in_channels;
    for (uint32_t c = 0; c < shape->out_channels; c++) {
        int32_t sum = 0;
        for (size_t i = 0; i < taps; i++) {
            sum += *weight++;
        }
        lifted[c] = bias[c] + 128 * sum;
    }
}

static enum srp_err no_weights(const struct srpi_layers *layers, uint32_t s, struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the weights of '%s'",
                     layers->program->steps[s].node->name);
}

/* The shape by which kernels know one of a convolution's sums. */
static struct srpi_conv_shape part_shape(const struct srpi_conv_shape *whole,
                                         const struct srpi_quant_part *part)
{
    struct srpi_conv_shape shape = *whole;
    shape.out = SRPI_F32;
    shape.in_channels = part->channels;
    return shape;
}

/* Groups of so many channels, with more outputs than that, have Winograd's kernels where the whole
 * layer would have them: that is faster than a split layer, though a layer of so few channels alone
 * may be faster without (docs/engine.md). */
#define WINOGRAD_GROUP 16u

/* The kernels for all sums of a convolution, or NULL where not all can be by Winograd. */
static const struct srpi_winograd_kernels *winograd_of_parts(const struct srpi_layers *layers,
                                                             uint32_t s)
{
    const struct srpi_quant_conv *quant = &layers->quant.convs[s];
    const struct srpi_winograd_kernels *winograd = NULL;
    bool all = true;
    for (uint32_t p = 0; all && p < quant->part_count; p++) {
        const struct srpi_quant_part *part = &quant->parts[p];
        const struct srpi_conv_layer sum = {
            .shape = part_shape(&quant->layer.shape, part),
            .bias = part->bias,
            .multiplier = part->multiplier};
        struct srpi_conv_shape asked = sum.shape;
        if (asked.in_channels >= WINOGRAD_GROUP && asked.out_channels > WINOGRAD_GROUP) {
            asked.in_channels = quant->layer.shape.in_channels;
        }
        /* Without overlap, as a call has one group of tiles at most. */
        const struct srpi_winograd_kernels *its =
            srpi_winograd_for(layers->kernels->isa, &asked, false);
        winograd = p == 0 ? its : winograd;
        all = its != NULL && its == winograd && srpi_winograd_exact(&sum, part->weights);
    }
    return all ? winograd : NULL;
}

/* One sum: its shape and kernel, and its weights packed. `memory` begins with room for the bias
 * (`lanes` values). */
static void make_part(struct srpi_layers *layers, struct srpi_layer *layer,
                      const struct srpi_quant_part *from, size_t lanes, char *memory,
                      struct srpi_sum *part)
{
    const struct srpi_kernels *kernels = layers->kernels;
    void *packed = memory + lanes * sizeof(int32_t);
    part->fractions = from->fractions;
    part->first = from->first;
    part->channels = from->channels;
    part->layer = (struct srpi_conv_layer){
        .shape = part_shape(&layer->layer.shape, from),
        .weights = packed,
        .bias = from->bias,
        .multiplier = from->multiplier,
        .shift = from->shift,
        .has_residual = part != layer->parts,
        .residual = SRPI_F32,
        .residual_multiplier = 1.0f,
    };
    if (part->winograd != NULL) {
        layer->kernel = part->winograd->name;
        part->winograd->pack(&part->layer.shape, from->weights, packed);
        return;
    }
    part->run = kernels->find(&part->layer.shape, &layer->kernel);
    if (kernels->storage == SRPI_Q8_S8) {
        int32_t *bias = (int32_t *)(void *)memory;
        lift_bias(&part->layer.shape, from->weights, from->bias, bias);
        part->layer.bias = bias;
    }
    kernels->pack(&part->layer.shape, from->weights, packed);
}

/* A convolution with several sums. Each one's weights are packed, those of fractions are those of
 * the codes. */
static enum srp_err make_parts(struct srpi_layers *layers, uint32_t s,
                               const struct srpi_winograd_kernels *winograd, struct srp_error *err)
{
    const struct srpi_quant_conv *quant = &layers->quant.convs[s];
    struct srpi_layer *layer = &layers->steps[s];
    const size_t lanes = padded(layer->layer.shape.out_channels);
    size_t each = 0, size = 0;
    for (uint32_t p = 0; p < quant->part_count; p++) {
        const struct srpi_conv_shape shape = part_shape(&layer->layer.shape, &quant->parts[p]);
        const size_t weights = winograd != NULL ? winograd->packed_size(&shape)
                                                : layers->kernels->packed_size(&shape);
        each = weights > each ? weights : each;
    }
    layer->parts = calloc(quant->part_count, sizeof(layer->parts[0]));
    if (layer->parts == NULL || each == 0 ||
        !srpi_add(each, lanes * sizeof(int32_t) + ALIGN - 1, &each) ||
        !srpi_mul(each & ~(ALIGN - 1), quant->part_count, &size) ||
        !srpi_add(size, ALIGN, &size) || (layer->memory = aligned_alloc(ALIGN, size)) == NULL) {
        return no_weights(layers, s, err);
    }
    memset(layer->memory, 0, size);
    layer->part_count = quant->part_count;
    for (uint32_t p = 0; p < quant->part_count; p++) {
        layer->parts[p].winograd = winograd;
        make_part(layers, layer, &quant->parts[p], lanes,
                  (char *)layer->memory + p * (each & ~(ALIGN - 1)), &layer->parts[p]);
    }
    return SRP_OK;
}

/* Weights of all sums, each [out][channels][ky][kx], as those of the split layer whose kernel rows
 * are columns: [out][ky][channels][sum][kx]. */
static void turn_weights(const struct srpi_quant_conv *quant, int16_t *turned)
{
    const uint32_t channels = quant->parts[0].channels, count = quant->part_count;
    const uint32_t width = quant->layer.shape.kernel_width;
    const uint32_t height = quant->layer.shape.kernel_height;
    for (uint32_t p = 0; p < count; p++) {
        const int16_t *from = quant->parts[p].weights;
        for (uint32_t o = 0; o < quant->layer.shape.out_channels; o++) {
            for (uint32_t i = 0; i < channels; i++) {
                for (uint32_t ky = 0; ky < height; ky++) {
                    const size_t column = ((size_t)o * height + ky) * channels + i;
                    memcpy(turned + (column * count + p) * width, from, width * sizeof(from[0]));
                    from += width;
                }
            }
        }
    }
}

/* Vectors of the sums, one behind the other. */
static void join_vectors(const struct srpi_quant_conv *quant, enum srpi_q8_storage storage,
                         int32_t *bias, float *multiplier, float *shift)
{
    const size_t channels = quant->layer.shape.out_channels;
    for (uint32_t p = 0; p < quant->part_count; p++) {
        const struct srpi_quant_part *part = &quant->parts[p];
        const struct srpi_conv_shape shape = part_shape(&quant->layer.shape, part);
        const size_t at = p * padded((uint32_t)channels);
        memcpy(bias + at, part->bias, channels * sizeof(bias[0]));
        memcpy(multiplier + at, part->multiplier, channels * sizeof(multiplier[0]));
        memcpy(shift + at, part->shift, channels * sizeof(shift[0]));
        if (storage == SRPI_Q8_S8) {
            lift_bias(&shape, part->weights, part->bias, bias + at);
        }
    }
    /* What the sum of all is multiplied by and gains. */
    const bool real = quant->joined && quant->layer.shape.out == SRPI_F32;
    const size_t last = quant->part_count * padded((uint32_t)channels);
    for (size_t c = 0; c < channels; c++) {
        multiplier[last + c] = real ? quant->layer.multiplier[c] : 1.0f;
        shift[last + c] = real ? quant->layer.shift[c] : -0.0f;
    }
}

/* A convolution whose sums read some of the channels each: see struct srpi_layer. */
static enum srp_err make_split(struct srpi_layers *layers, uint32_t s, struct srp_error *err)
{
    const struct srpi_kernels *kernels = layers->kernels;
    const struct srpi_quant_conv *quant = &layers->quant.convs[s];
    const uint32_t count = quant->part_count, residual = layers->program->steps[s].residual;
    struct srpi_layer *layer = &layers->steps[s];
    struct srpi_conv_layer *l = &layer->layer;
    l->shape.in_channels = quant->parts[0].channels * l->shape.kernel_height;
    l->shape.kernel_height = count;
    l->shape.split = true;
    l->shape.out = SRPI_F32;
    l->has_residual = residual != SRPI_NO_TENSOR;
    l->residual = SRPI_F32;
    l->residual_multiplier = 1.0f;
    layer->widen_residual = l->has_residual && layers->tensor_dtype[residual] != SRPI_F32;
    layer->groups = quant->parts;
    if (quant->layer.shape.out != SRPI_F32) {
        layer->sum = &quant->layer;
        l->has_residual = l->clamp = false;
        l->slope = NULL;
    }
    layer->direct = kernels->find(&l->shape, &layer->kernel);
    /* At most SRP_MAX_CHANNELS of sums and of vectors' entries: no overflow. */
    const size_t lanes = (count + 1) * padded(l->shape.out_channels);
    const size_t packed = kernels->packed_size(&l->shape);
    size_t turned_size = sizeof(int16_t) * l->shape.out_channels * l->shape.kernel_width, size = 0;
    int16_t *turned = NULL;
    if (packed == 0 || !srpi_mul(turned_size, count, &turned_size) ||
        !srpi_mul(turned_size, l->shape.in_channels, &turned_size) ||
        !srpi_add(packed, 3 * lanes * sizeof(float) + 2 * ALIGN, &size) ||
        (turned = malloc(turned_size)) == NULL ||
        (layer->memory = aligned_alloc(ALIGN, size / ALIGN * ALIGN)) == NULL) {
        free(turned);
        return no_weights(layers, s, err);
    }
    memset(layer->memory, 0, size / ALIGN * ALIGN);
    int32_t *bias = layer->memory;
    float *multiplier = (float *)(void *)(bias + lanes), *shift = multiplier + lanes;
    join_vectors(quant, kernels->storage, bias, multiplier, shift);
    turn_weights(quant, turned);
    kernels->pack(&l->shape, turned, shift + lanes);
    free(turned);
    l->weights = shift + lanes;
    l->bias = bias;
    l->multiplier = multiplier;
    l->shift = shift;
    return SRP_OK;
}

static enum srp_err make_quantised(struct srpi_layers *layers, uint32_t s, struct srp_error *err)
{
    const struct srpi_kernels *kernels = layers->kernels;
    const struct srpi_quant_conv *quant = &layers->quant.convs[s];
    struct srpi_layer *layer = &layers->steps[s];
    struct srpi_conv_layer *l = &layer->layer;
    *l = quant->layer; /* its vectors live as long as `quant` */
    layer->post = quant->activation;
    layer->widen_residual = quant->widen_residual;
    if (quant->part_count != 0 && !quant->joined) {
        const struct srpi_winograd_kernels *winograd = winograd_of_parts(layers, s);
        return winograd == NULL && quant->parts[0].channels != l->shape.in_channels
                   ? make_split(layers, s, err)
                   : make_parts(layers, s, winograd, err);
    }
    /* Of weights of 16 bits only kernels of such codes have products. */
    const bool rows = !quant->joined || kernels->storage == SRPI_Q8_U16;
    const struct srpi_kernels *depthwise =
        rows ? srpi_depthwise_for(kernels, &l->shape, l->weights) : NULL;
    const struct srpi_winograd_kernels *winograd =
        srpi_winograd_for(kernels->isa, &l->shape, srpi_adds_apart());
    bool tiles = depthwise == NULL && winograd != NULL && !layer->widen_residual &&
                 srpi_winograd_exact(l, l->weights);
    kernels = depthwise != NULL ? depthwise : kernels;
    void *taken = NULL;
    if (rows && depthwise == NULL &&
        !take_taps(layer, l->weights, tiles ? winograd : NULL, &taken)) {
        return no_weights(layers, s, err);
    }
    const void *weights = taken != NULL ? taken : l->weights;
    tiles = tiles && taken == NULL;
    if (quant->joined && !tiles && depthwise == NULL && taken == NULL) {
        const struct srpi_winograd_kernels *of_parts = winograd_of_parts(layers, s);
        if (of_parts != NULL) {
            layer->sum = &quant->layer;
            return make_parts(layers, s, of_parts, err);
        }
    }
    if (!rows && !tiles) {
        return make_split(layers, s, err);
    }
    const size_t first = rows ? kernels->packed_size(&l->shape) : 0;
    size_t size = first;
    if ((rows && first == 0) ||
        (tiles && !srpi_add(first, winograd->packed_size(&l->shape), &size))) {
        size = 0;
    }
    struct layout layout;
    if (!lay_out(&layout, l->shape.out_channels, size)) {
        free(taken);
        return no_weights(layers, s, err);
    }
    layer->memory = layout.memory;
    if (kernels->storage == SRPI_Q8_S8) {
        int32_t *bias = (int32_t *)(void *)vector(&layout, 0);
        lift_bias(&l->shape, weights, l->bias, bias);
        l->bias = bias;
    }
    if (rows) {
        layer->direct = kernels->find(&l->shape, &layer->kernel);
        kernels->pack(&l->shape, weights, weights_of(&layout));
        l->weights = weights_of(&layout);
    }
    if (tiles) {
        char *packed = (char *)weights_of(&layout) + first; /* a multiple of ALIGN */
        winograd->pack(&l->shape, weights, packed);
        layer->few = *l;
        l->weights = packed;
        layer->winograd = winograd;
        layer->kernel = winograd->name;
    }
    free(taken);
    return SRP_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum srp_err make_step(struct srpi_layers *layers, uint32_t s, struct srp_error *err)
{
    const struct srpi_step *step = &layers->program->steps[s];
    const struct srpi_graph *graph = layers->program->graph;
    struct srpi_layer *layer = &layers->steps[s];
    layers->grid[s] = 1;
    layer->kernel = "";
    if (step->node->op != SRPI_OP_CONV2D) {
        return SRP_OK;
    }
    struct srpi_conv_shape *shape = &layer->layer.shape;
    *shape = (struct srpi_conv_shape){
        .kernel_height = step->node->kernel_height,
        .kernel_width = step->node->kernel_width,
        .in_channels = graph->tensors[step->node->inputs[0]].channels,
        .out_channels = graph->tensors[step->output].channels,
        .in = layers->tensor_dtype[step->node->inputs[0]],
        .out = layers->tensor_dtype[step->output]};
    const enum srpi_activation activation = step->node->activation;
    if (activation == SRPI_ACT_TANH || activation == SRPI_ACT_SIGMOID) {
        shape->out = SRPI_F32; /* into work memory; the activation stores it */
    }
    if (step->residual != SRPI_NO_TENSOR) {
        const enum srpi_dtype residual = layers->tensor_dtype[step->residual];
        layer->widen_residual = residual != SRPI_F32 && shape->out == SRPI_F32;
        layer->layer.residual = layer->widen_residual ? SRPI_F32 : residual;
    }
    const enum srp_err code = shape->in == SRPI_Q8
                                  ? make_quantised(layers, s, err)
                                  : make_float(layer, step, layers->kernels, err);
    const struct srpi_winograd_kernels *winograd =
        code == SRP_OK && layer->part_count != 0 ? layer->parts[0].winograd : layer->winograd;
    if (code == SRP_OK && winograd != NULL) {
        const size_t size = winograd->scratch_size(shape);
        layers->grid[s] = SRPI_WINOGRAD_ROWS;
        layers->scratch_size = size > layers->scratch_size ? size : layers->scratch_size;
    }
    return code;
}

enum srp_err srpi_layers_create(struct srpi_layers *layers, const struct srpi_program *program,
                                const struct srpi_kernels *kernels, enum srpi_dtype dtype,
                                struct srp_error *err)
{
    memset(layers, 0, sizeof(*layers));
    enum srp_err code = srpi_graph_check_bound(program->graph, err);
    if (code != SRP_OK) {
        return code;
    }
    if (!kernels->has[dtype]) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED, "bf16 is not for this machine ('%s')",
                         kernels->name);
    }
    layers->program = program;
    layers->kernels = kernels;
    layers->dtype = dtype;
    layers->tensor_dtype = calloc(program->graph->tensor_count, sizeof(layers->tensor_dtype[0]));
    layers->fine = calloc(program->graph->tensor_count, sizeof(layers->fine[0]));
    layers->grid = calloc(program->step_count, sizeof(layers->grid[0]));
    layers->steps = calloc(program->step_count, sizeof(layers->steps[0]));
    if (layers->tensor_dtype == NULL || layers->fine == NULL || layers->grid == NULL ||
        layers->steps == NULL) {
        code = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
        goto fail;
    }
    if (dtype == SRPI_Q8) {
        code = srpi_quant_create(&layers->quant, program, err);
        if (code != SRP_OK) {
            goto fail;
        }
        for (uint32_t t = 0; t < program->graph->tensor_count; t++) {
            layers->tensor_dtype[t] = layers->quant.tensors[t].dtype;
            layers->fine[t] = layers->quant.tensors[t].fine;
        }
    } else {
        choose_dtypes(layers);
    }
    for (uint32_t s = 0; s < program->step_count; s++) {
        code = make_step(layers, s, err);
        if (code != SRP_OK) {
            goto fail;
        }
    }
    if (dtype == SRPI_Q8) {
        srpi_quant_drop_weights(&layers->quant);
    }
    layers->scratch_size = (layers->scratch_size + ALIGN - 1) & ~(ALIGN - 1);
    return SRP_OK;
fail:
    srpi_layers_destroy(layers);
    return code;
}

void srpi_layers_destroy(struct srpi_layers *layers)
{
    for (uint32_t s = 0; layers->steps != NULL && s < layers->program->step_count; s++) {
        free(layers->steps[s].memory);
        free(layers->steps[s].parts);
    }
    srpi_quant_destroy(&layers->quant);
    free(layers->tensor_dtype);
    free(layers->fine);
    free(layers->grid);
    free(layers->steps);
    memset(layers, 0, sizeof(*layers));
}
