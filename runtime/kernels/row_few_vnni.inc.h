/* SPDX-License-Identifier: BSD-2-Clause */
/* row_few_vnni.inc.h - row kernels of layers of at most four outputs to f32 where vpdpbusd is at
 * hand. A register holds whole neighbouring pixels of one tap, or, where these do not fill it, a
 * part of the run of taps of one pixel; its 32-bit lanes sum products of one output for four values
 * of one pixel, and are added up at the end. So hardly a lane is idle, and a value is loaded once
 * for all outputs.
 *
 * The file that includes this says, once for each instruction set:
 *   BYTES, GROUPS       bytes of a register; registers of pixels in the longest tile (even)
 *   KERNELS, ISA, NAME  the set, and how its kernels are called
 *   vint, vfloat        registers of int32_t and of float; the operations v_... below */
#include <math.h>
#include <string.h>

#include "kernels/row_few.h"
#include "kernels/unroll.h"
#include "model/checked.h"

#define INLINE static inline __attribute__((always_inline))

enum { OUTPUTS = SRPI_ROW_FEW_OUTPUTS, LANES = BYTES / 4 };

/* Registers of weights of an output for a kernel row: of a tap each, or of a part of the run. */
static uint32_t steps_of(const struct srpi_conv_shape *shape)
{
    return srpi_row_few_whole(shape)
               ? shape->kernel_width
               : (uint32_t)(((uint64_t)shape->kernel_width * shape->in_channels + BYTES - 1) /
                            BYTES);
}

/* [kernel row][step][output][byte of a register]: the channels over and over, or the run's values
 * and zeros behind it */
static size_t packed_size(const struct srpi_conv_shape *shape)
{
    size_t size = (size_t)OUTPUTS * BYTES;
    return srpi_mul(size, steps_of(shape), &size) &&
                   srpi_mul(size, shape->kernel_height, &size)
               ? size
               : 0;
}

static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    const uint32_t in = shape->in_channels, width = shape->kernel_width, steps = steps_of(shape);
    const size_t taps = (size_t)shape->kernel_height * width;
    const bool whole = srpi_row_few_whole(shape);
    memset(packed, 0, packed_size(shape));
    for (uint32_t i = 0; i < shape->kernel_height * steps * OUTPUTS * BYTES; i++) {
        const uint32_t byte = i % BYTES, o = i / BYTES % OUTPUTS;
        const uint32_t step = i / (BYTES * OUTPUTS) % steps, ky = i / (BYTES * OUTPUTS) / steps;
        const uint32_t kx = whole ? step : (step * BYTES + byte) / in;
        const uint32_t c = whole ? byte % in : (step * BYTES + byte) % in;
        if (kx < width && o < shape->out_channels) {
            ((int8_t *)packed)[i] =
                (int8_t)((const int16_t *)weights)[((size_t)o * in + c) * taps + ky * width + kx];
        }
    }
}

/* What comes after the sums: the layer's vectors, once for each pixel of a register. */
struct ending {
    const struct srpi_conv_layer *layer;
    vint bias;
    vfloat multiplier, shift, slope;
    float *out;
    const float *residual; /* or NULL */
};

/* From memory with `channels` values a pixel. */
INLINE vfloat load_pixels(const float *from, uint32_t channels)
{
    if (channels == OUTPUTS) {
        return v_load_float(from);
    }
    float values[LANES] = {0};
    for (uint32_t p = 0; p < LANES / OUTPUTS; p++) {
        for (uint32_t c = 0; c < channels; c++) {
            values[p * OUTPUTS + c] = from[p * channels + c];
        }
    }
    return v_load_float(values);
}

/* What row.h says of a sum that goes to F32; a register of pixels from `pixel` on. */
INLINE void finish(const struct ending *e, size_t pixel, vint sum)
{
    const struct srpi_conv_layer *layer = e->layer;
    const uint32_t channels = layer->shape.out_channels;
    vfloat v = v_fma(v_to_float(v_add(sum, e->bias)), e->multiplier, e->shift);
    if (layer->slope != NULL) {
        v = v_lean(v, e->slope);
    }
    if (e->residual != NULL) {
        v = v_fma(load_pixels(e->residual + pixel * channels, channels),
                  v_all(layer->residual_multiplier), v);
    }
    if (layer->clamp) {
        v = v_min(v_max(v, v_all(layer->low)), v_all(layer->high));
    }
    float *out = e->out + pixel * channels;
    if (channels == OUTPUTS) {
        v_store_float(out, v);
    } else {
        float values[LANES];
        v_store_float(values, v);
        for (uint32_t p = 0; p < LANES / OUTPUTS; p++) {
            for (uint32_t c = 0; c < channels; c++) {
                out[p * channels + c] = values[p * OUTPUTS + c];
            }
        }
    }
}

/* Each 128 bits of four registers, of one output each, to [output] of one pixel. */
INLINE vint add_fours(const vint *s)
{
    const vint ab = v_add(v_low32(s[0], s[1]), v_high32(s[0], s[1]));
    const vint cd = v_add(v_low32(s[2], s[3]), v_high32(s[2], s[3]));
    return v_add(v_low64(ab, cd), v_high64(ab, cd));
}

/* The same of two pixels: the first one of each 128 bits, and the second one. */
INLINE vint add_twos(const vint *s, vint *odd)
{
    const vint ab_low = v_low32(s[0], s[1]), ab_high = v_high32(s[0], s[1]);
    const vint cd_low = v_low32(s[2], s[3]), cd_high = v_high32(s[2], s[3]);
    const vint ab = v_add(v_low64(ab_low, ab_high), v_high64(ab_low, ab_high));
    const vint cd = v_add(v_low64(cd_low, cd_high), v_high64(cd_low, cd_high));
    *odd = v_high64(ab, cd);
    return v_low64(ab, cd);
}

/* Each two neighbouring lanes of 128 bits, of a and then of b. */
INLINE vint add_halves(vint a, vint b)
{
    return v_add(v_even_lanes(a, b), v_odd_lanes(a, b));
}

/* `groups` registers of pixels from `pixel` on. channels: 8, 16 or 32 of whole pixels; 0 where each
 * register is of one pixel: then there are GROUPS, whose ends fill a register. */
INLINE void run_tile(const struct ending *e, const void *const *rows, size_t pixel,
                     uint32_t channels, uint32_t groups)
{
    const struct srpi_conv_shape *shape = &e->layer->shape;
    const uint8_t *w = e->layer->weights;
    /* Bytes from pixel to pixel, from register to register, from step to step */
    const size_t next = channels != 0 ? channels : shape->in_channels;
    const size_t apart = channels != 0 ? BYTES : next, ahead = channels != 0 ? channels : BYTES;
    const uint32_t steps = channels != 0 ? shape->kernel_width : steps_of(shape);
    vint s[GROUPS][OUTPUTS];
    UNROLL for (uint32_t g = 0; g < groups; g++) {
        UNROLL for (uint32_t o = 0; o < OUTPUTS; o++) {
            s[g][o] = v_zero();
        }
    }
    for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
        const uint8_t *x = (const uint8_t *)rows[ky] + pixel * next;
        for (uint32_t step = steps; step > 0; step--) {
            vint value[GROUPS];
            UNROLL for (uint32_t g = 0; g < groups; g++) {
                value[g] = v_load(x + g * apart);
            }
            UNROLL for (uint32_t o = 0; o < OUTPUTS; o++) {
                const vint weight = v_load(w + (size_t)o * BYTES);
                UNROLL for (uint32_t g = 0; g < groups; g++) {
                    s[g][o] = v_dot(s[g][o], value[g], weight);
                }
            }
            x += ahead;
            w += OUTPUTS * BYTES;
        }
    }
    enum { TOGETHER = LANES / OUTPUTS }; /* pixels that end in a register */
    if (channels == 0) {
        vint v = add_halves(add_fours(s[0]), add_fours(s[1]));
        if (GROUPS == 4) {
            v = add_halves(v, add_halves(add_fours(s[GROUPS - 2]), add_fours(s[GROUPS - 1])));
        }
        finish(e, pixel, v);
        return;
    }
    UNROLL for (uint32_t g = 0; g < groups; g += 2) {
        if (channels == 8) {
            vint odd, even = add_twos(s[g], &odd);
            finish(e, pixel, v_zip_low(even, odd));
            finish(e, pixel + TOGETHER, v_zip_high(even, odd));
            even = add_twos(s[g + 1], &odd);
            finish(e, pixel + 2 * TOGETHER, v_zip_low(even, odd));
            finish(e, pixel + 3 * TOGETHER, v_zip_high(even, odd));
            pixel += 4 * TOGETHER;
        } else if (channels == 16) {
            finish(e, pixel, add_fours(s[g]));
            finish(e, pixel + TOGETHER, add_fours(s[g + 1]));
            pixel += 2 * TOGETHER;
        } else {
            finish(e, pixel, add_halves(add_fours(s[g]), add_fours(s[g + 1])));
            pixel += TOGETHER;
        }
    }
}

INLINE void run_row(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                    uint32_t channels)
{
    const size_t together = channels != 0 ? BYTES / channels : 1; /* pixels in a register */
    const struct ending ending = {
        .layer = layer,
        .bias = v_four_ints(layer->bias),
        .multiplier = v_four(layer->multiplier),
        .shift = v_four(layer->shift),
        .slope = layer->slope != NULL ? v_four(layer->slope) : v_all(0.0f),
        .out = row->out,
        .residual = layer->has_residual ? row->residual : NULL,
    };
    size_t pixel = 0;
    for (; pixel + GROUPS * together <= row->pixels; pixel += GROUPS * together) {
        run_tile(&ending, row->rows, pixel, channels, GROUPS);
    }
    /* At most 12 pixels more than the row has, and than 4 more: within SRPI_ROW_SLACK. */
    const uint32_t least = channels != 0 ? 2 : GROUPS;
    for (; pixel < row->pixels; pixel += least * together) {
        run_tile(&ending, row->rows, pixel, channels, least);
    }
}

INLINE void run(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                uint32_t count, uint32_t channels)
{
    for (uint32_t r = 0; r < count; r++) {
        run_row(layer, &rows[r], channels);
    }
}

static void run_8(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                  uint32_t count)
{
    run(layer, rows, count, 8);
}

static void run_16(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                   uint32_t count)
{
    run(layer, rows, count, 16);
}

static void run_32(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                   uint32_t count)
{
    run(layer, rows, count, 32);
}

static void run_any(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                    uint32_t count)
{
    run(layer, rows, count, 0);
}

static srpi_conv_fn find(const struct srpi_conv_shape *shape, const char **name)
{
    const uint32_t in = shape->in_channels;
    if (!srpi_row_few_whole(shape)) {
        if (name != NULL) {
            *name = NAME " q8-f32 ->4";
        }
        return run_any;
    }
    if (name != NULL) {
        *name = in == 8 ? NAME " q8-f32 8->4" : in == 16 ? NAME " q8-f32 16->4"
                                                         : NAME " q8-f32 32->4";
    }
    return in == 8 ? run_8 : in == 16 ? run_16 : run_32;
}

const struct srpi_row_set KERNELS = {
    .kernels = {.isa = ISA,
                .name = NAME,
                .storage = SRPI_Q8_U8,
                .has = {[SRPI_Q8] = true},
                .packed_size = packed_size,
                .pack = pack,
                .find = find},
};
