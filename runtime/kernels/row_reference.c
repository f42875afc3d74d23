/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/row_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/row_sets.h"

static int32_t q8_at(const uint8_t *values, size_t index, enum srpi_q8_storage storage)
{
    switch (storage) {
    case SRPI_Q8_U16: {
        uint16_t value;
        memcpy(&value, values + 2 * index, sizeof(value));
        return value;
    }
    case SRPI_Q8_S8:
        return (int32_t)(int8_t)values[index] + 128;
    default:
        return values[index];
    }
}

static float float_at(const uint8_t *values, size_t index, enum srpi_dtype dtype,
                      enum srpi_q8_storage storage)
{
    if (dtype == SRPI_Q8) {
        return (float)q8_at(values, index, storage);
    }
    if (dtype == SRPI_BF16) {
        uint16_t half;
        memcpy(&half, values + 2 * index, sizeof(half));
        return srpi_from_bf16(half);
    }
    float value;
    memcpy(&value, values + 4 * index, sizeof(value));
    return value;
}

static void store_at(uint8_t *values, size_t index, enum srpi_dtype dtype,
                     enum srpi_q8_storage storage, float value)
{
    if (dtype == SRPI_F32) {
        memcpy(values + 4 * index, &value, sizeof(value));
    } else if (dtype == SRPI_BF16) {
        const uint16_t half = srpi_to_bf16(value);
        memcpy(values + 2 * index, &half, sizeof(half));
    } else {
        const float whole = nearbyintf(value);
        const uint8_t q = whole < 0.0f ? 0 : whole > 255.0f ? 255 : (uint8_t)whole;
        if (storage == SRPI_Q8_U16) {
            const uint16_t wide = q;
            memcpy(values + 2 * index, &wide, sizeof(wide));
        } else {
            values[index] = storage == SRPI_Q8_S8 ? (uint8_t)(q ^ 0x80u) : q;
        }
    }
}

/* The weights in the order of the sums, [output][kernel row][column][input]; the caller frees
 * them. */
static void *in_order(const struct srpi_conv_shape *shape, const void *weights)
{
    const size_t taps = shape->kernel_height * shape->kernel_width, in = shape->in_channels;
    const size_t count = shape->out_channels * taps * in;
    void *ordered = calloc(count, shape->in == SRPI_Q8 ? sizeof(int16_t) : sizeof(float));
    for (size_t to = 0; ordered != NULL && to < count; to++) {
        const size_t c = to / in / taps, tap = to / in % taps, i = to % in;
        const size_t from = (c * in + i) * taps + tap;
        if (shape->in == SRPI_Q8) {
            ((int16_t *)ordered)[to] = ((const int16_t *)weights)[from];
        } else {
            ((float *)ordered)[to] = ((const float *)weights)[from];
        }
    }
    return ordered;
}

/* The products of one kernel row. */
static int32_t sum_q8(const uint8_t *values, size_t first, uint32_t count,
                      enum srpi_q8_storage storage, const int16_t *weights)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        /* S8's bias makes up for the difference */
        const int32_t q = q8_at(values, first + i, storage) - (storage == SRPI_Q8_S8 ? 128 : 0);
        sum += q * weights[i];
    }
    return sum;
}

/* A value of a split layer, up to slope. */
static float convolved_split(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                             enum srpi_q8_storage storage, const int16_t *weights, uint32_t pixel,
                             uint32_t c)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const uint32_t run = shape->kernel_width * shape->in_channels;
    const uint32_t padded = (shape->out_channels + SRPI_ROW_PADDED - 1) / SRPI_ROW_PADDED *
                            SRPI_ROW_PADDED;
    weights += (size_t)c * shape->kernel_height * run;
    float v = 0.0f;
    for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
        const size_t at = (size_t)ky * padded + c;
        const int32_t sum = ((const int32_t *)layer->bias)[at] +
                            sum_q8(row->rows[ky], (size_t)pixel * shape->in_channels, run, storage,
                                   weights + (size_t)ky * run);
        const float share = fmaf((float)sum, layer->multiplier[at], layer->shift[at]);
        v = ky == 0 ? share : v + share;
    }
    const size_t last = (size_t)shape->kernel_height * padded + c;
    v = fmaf(v, layer->multiplier[last], layer->shift[last]);
    return layer->slope != NULL && v < 0.0f ? v * layer->slope[c] : v;
}

/* What a sum becomes, up to slope. */
static float scaled(const struct srpi_conv_layer *layer, uint32_t c, int32_t sum)
{
    const float s = (float)sum, m = layer->multiplier[c];
    if (layer->shape.out == SRPI_Q8) {
        if (layer->slope == NULL) {
            return fmaf(s, m, layer->offset);
        }
        const float t = s * m;
        return (t < 0.0f ? t * layer->slope[c] : t) + layer->offset;
    }
    const float v = fmaf(s, m, layer->shift[c]);
    return layer->slope != NULL && v < 0.0f ? v * layer->slope[c] : v;
}

/* A value up to slope. */
static float convolved(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                       enum srpi_q8_storage storage, const void *weights, uint32_t pixel,
                       uint32_t c)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const uint32_t run = shape->kernel_width * shape->in_channels;
    if (shape->split) {
        return convolved_split(layer, row, storage, weights, pixel, c);
    }
    int32_t whole = shape->in == SRPI_Q8 ? ((const int32_t *)layer->bias)[c] : 0;
    float real = shape->in == SRPI_Q8 ? 0.0f : ((const float *)layer->bias)[c];
    double fine = (double)real;
    for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
        const size_t w = ((size_t)c * shape->kernel_height + ky) * run;
        const size_t at = (size_t)pixel * shape->in_channels;
        if (shape->in == SRPI_Q8) {
            whole += sum_q8(row->rows[ky], at, run, storage, (const int16_t *)weights + w);
        }
        for (uint32_t i = 0; shape->in == SRPI_BF16 && i < run; i++) {
            const uint16_t half = srpi_to_bf16(((const float *)weights)[w + i]);
            fine += (double)float_at(row->rows[ky], at + i, SRPI_BF16, storage) *
                    (double)srpi_from_bf16(half);
        }
        for (uint32_t i = 0; shape->in == SRPI_F32 && i < run; i++) {
            real = fmaf(float_at(row->rows[ky], at + i, SRPI_F32, storage),
                        ((const float *)weights)[w + i], real);
        }
    }
    if (shape->in == SRPI_Q8) {
        return scaled(layer, c, whole);
    }
    const float v = shape->in == SRPI_BF16 ? (float)fine : real;
    return layer->slope != NULL && v < 0.0f ? v * layer->slope[c] : v;
}

void srpi_row_reference(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                        enum srpi_q8_storage storage, const void *weights)
{
    const uint32_t out = layer->shape.out_channels;
    void *ordered = in_order(&layer->shape, weights);
    for (uint32_t pixel = 0; ordered != NULL && pixel < row->pixels; pixel++) {
        for (uint32_t c = 0; c < out; c++) {
            const size_t at = (size_t)pixel * out + c;
            float v = convolved(layer, row, storage, ordered, pixel, c);
            if (layer->has_residual) {
                float r = float_at(row->residual, at, layer->residual, storage);
                if (row->residual_fraction != 0 && layer->residual == SRPI_Q8) {
                    const uint8_t *rest = (const uint8_t *)row->residual + row->residual_fraction;
                    r = 256.0f * r + float_at(rest, at, SRPI_Q8, storage);
                }
                v = fmaf(r, layer->residual_multiplier, v);
            }
            if (layer->clamp) {
                v = fminf(fmaxf(v, layer->low), layer->high);
            }
            if (row->out_fraction != 0) {
                const float whole = fminf(fmaxf(nearbyintf(v), 0.0f), 65535.0f);
                v = floorf(whole / 256.0f);
                store_at((uint8_t *)row->out + row->out_fraction, at, SRPI_Q8, storage,
                         whole - 256.0f * v);
            }
            store_at(row->out, at, layer->shape.out, storage, v);
        }
    }
    free(ordered);
}
