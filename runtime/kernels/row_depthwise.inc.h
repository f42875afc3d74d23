/* SPDX-License-Identifier: BSD-2-Clause */
/* row_depthwise.inc.h - a sum for each channel by itself: a vector of neighbouring channels, four
 * pixels at a time. Whoever includes it says, beside what q8_steps.inc.h asks for:
 *   KERNELS, STORAGE, NAME          the set, how its codes lie, the beginning of its names
 *   load_codes(p)                   a vector of codes, in 32 bits each */
#include <string.h>

#include "kernels/q8_steps.inc.h"
#include "kernels/row_depthwise.h"
#include "kernels/row_sets.h"
#include "model/checked.h"

_Static_assert(LANES == SRPI_DEPTHWISE_LEAST, "what a last vector writes ends in the next pixel");
_Static_assert(SRPI_ROW_GROUP == 4, "pixels are computed by four");

/* [vector][kernel row][tap][lane]: floats, or weights of codes in the lower halves of 32 bits. */
SRPI_SETUP static size_t packed_size(const struct srpi_conv_shape *shape)
{
    size_t size = (shape->out_channels + LANES - 1) / LANES * LANES * sizeof(float);
    return srpi_mul(size, (size_t)shape->kernel_height * shape->kernel_width, &size) &&
                   srpi_add(size, 63, &size)
               ? size / 64 * 64
               : 0;
}

SRPI_SETUP static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    memset(packed, 0, packed_size(shape));
    for (size_t c = 0; c < shape->out_channels; c++) {
        for (size_t tap = 0; tap < taps; tap++) {
            const size_t from = (c * shape->in_channels + c) * taps + tap;
            const size_t to = (c / LANES * taps + tap) * LANES + c % LANES;
            if (shape->in == SRPI_F32) {
                ((float *)packed)[to] = ((const float *)weights)[from];
            } else {
                ((int32_t *)packed)[to] = (uint16_t)((const int16_t *)weights)[from];
            }
        }
    }
}

static void q8_vector(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                      uint32_t channel)
{
    const uint32_t height = layer->shape.kernel_height, width = layer->shape.kernel_width;
    const uint8_t *weights =
        (const uint8_t *)layer->weights + (size_t)4 * channel * height * width;
    const size_t step = CODE_BYTES * (size_t)layer->shape.out_channels;
    const struct steps steps = steps_of(layer, channel, row->out_fraction != 0);
    const vfloat times[4] = {steps.times, steps.times, steps.times, steps.times};
    const vint bias = load_int((const int32_t *)layer->bias + channel);
    const struct q8_row to = {row->out, row->residual, row->out_fraction, row->residual_fraction};
    for (size_t pixel = 0; pixel < row->pixels; pixel += 4) {
        const uint8_t *w = weights;
        vint sums[4] = {bias, bias, bias, bias};
        for (uint32_t ky = 0; ky < height; ky++) {
            const uint8_t *x =
                (const uint8_t *)row->rows[ky] + pixel * step + (size_t)CODE_BYTES * channel;
            for (uint32_t kx = width; kx > 0; kx--, x += step, w += 4 * LANES) {
                const __m256i weight = (__m256i)load_int(w);
                UNROLL for (uint32_t i = 0; i < 4; i++) {
                    sums[i] += (vint)_mm256_madd_epi16(load_codes(x + i * step), weight);
                }
            }
        }
        vfloat v[4];
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            v[i] = to_float(sums[i]);
        }
        end_four(&steps, times, &to, pixel * layer->shape.out_channels + channel, v);
    }
}

static void f32_vector(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                       uint32_t channel)
{
    const uint32_t height = layer->shape.kernel_height, width = layer->shape.kernel_width;
    const float *weights = (const float *)layer->weights + (size_t)channel * height * width;
    const size_t step = layer->shape.out_channels;
    const vfloat bias = load_float((const float *)layer->bias + channel);
    const vfloat other = set_float(layer->residual_multiplier);
    const vfloat low = set_float(layer->low), high = set_float(layer->high);
    const vfloat slope = layer->slope != NULL ? load_float(layer->slope + channel) : other;
    for (size_t pixel = 0; pixel < row->pixels; pixel += 4) {
        const size_t at = pixel * step + channel;
        const float *w = weights;
        vfloat sums[4] = {bias, bias, bias, bias};
        for (uint32_t ky = 0; ky < height; ky++) {
            const float *x = (const float *)row->rows[ky] + at;
            for (uint32_t kx = width; kx > 0; kx--, x += step, w += LANES) {
                const vfloat weight = load_float(w);
                UNROLL for (uint32_t i = 0; i < 4; i++) {
                    sums[i] = muladd(load_float(x + i * step), weight, sums[i]);
                }
            }
        }
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            vfloat v = layer->slope != NULL ? lean(sums[i], slope) : sums[i];
            if (layer->has_residual) {
                v = muladd(load_float((const float *)row->residual + at + i * step), other, v);
            }
            store_float((float *)row->out + at + i * step,
                        layer->clamp ? clamp(v, low, high) : v);
        }
    }
}

/* From the last vector to the first, as what the last one writes beyond its channels is then
 * overwritten. */
static void run(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                uint32_t count)
{
    const uint32_t vectors = (layer->shape.out_channels + LANES - 1) / LANES;
    for (uint32_t r = 0; r < count; r++) {
        for (uint32_t vector = vectors; vector-- > 0;) {
            if (layer->shape.in == SRPI_F32) {
                f32_vector(layer, &rows[r], vector * LANES);
            } else {
                q8_vector(layer, &rows[r], vector * LANES);
            }
        }
    }
}

SRPI_SETUP static srpi_conv_fn find(const struct srpi_conv_shape *shape, const char **name)
{
    if (name != NULL) {
        *name = shape->in == SRPI_F32    ? NAME " f32-f32 depthwise"
                : shape->out == SRPI_F32 ? NAME " q8-f32 depthwise"
                                         : NAME " q8-q8 depthwise";
    }
    return run;
}

const struct srpi_kernels KERNELS = {.isa = SRPI_ISA_AVX2,
                                     .name = NAME,
                                     .storage = STORAGE,
                                     .has = {[SRPI_F32] = true, [SRPI_Q8] = true},
                                     .packed_size = packed_size,
                                     .pack = pack,
                                     .find = find};
