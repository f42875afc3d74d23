/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/winograd_row.h"

#include <stdlib.h>
#include <string.h>

#define SIDE 6u
static const uint32_t row_place[SIDE] = {4, 0, 1, 2, 3, 5};

/* ---- f32 ------------------------------------------------------------------------------------- */

/* Polynomials are evaluated at 0, 1, -1, Q, -Q and infinity. With 1.5 the largest error is about
 * 0.6 of what it is with the usual 2; all powers used are exact in f32. */
#define Q 1.5

/* Three taps at the six points, divided by what Lagrange's polynomials have in the denominator. */
static void transform_taps(double out[6], const double g[3])
{
    const double q2 = Q * Q;
    const double at_one = 1.0 / (2.0 * (1.0 - q2)), at_q = 1.0 / (2.0 * q2 * (q2 - 1.0));
    out[0] = g[0] / q2;
    out[1] = (g[0] + g[1] + g[2]) * at_one;
    out[2] = (g[0] - g[1] + g[2]) * at_one;
    out[3] = (g[0] + Q * g[1] + q2 * g[2]) * at_q;
    out[4] = (g[0] - Q * g[1] + q2 * g[2]) * at_q;
    out[5] = g[2];
}

/* One pair of channels, [6][6]. */
static void transform_kernel(double whole[SIDE][SIDE], const float *g)
{
    double half[3][SIDE], column[3], points[SIDE];
    for (uint32_t y = 0; y < 3; y++) {
        const double taps[3] = {g[y * 3], g[y * 3 + 1], g[y * 3 + 2]};
        transform_taps(half[y], taps);
    }
    for (uint32_t x = 0; x < SIDE; x++) {
        for (uint32_t y = 0; y < 3; y++) {
            column[y] = half[y][x];
        }
        transform_taps(points, column);
        for (uint32_t y = 0; y < SIDE; y++) {
            whole[y][x] = points[y];
        }
    }
}

void srpi_winograd_pack_f32(const struct srpi_conv_shape *shape, const float *weights,
                              float *packed, uint32_t padded, uint32_t first, uint32_t block)
{
    const uint32_t in = shape->in_channels;
    const size_t matrix = (size_t)in * padded;
    for (uint32_t i = 0; i < in; i++) {
        for (uint32_t b = 0; b < block; b++) {
            double points[SIDE][SIDE] = {{0}};
            if (first + b < shape->out_channels) {
                transform_kernel(points, weights + ((size_t)(first + b) * in + i) * 9);
            }
            for (uint32_t y = 0; y < SIDE; y++) {
                for (uint32_t x = 0; x < SIDE; x++) {
                    packed[(row_place[y] * SIDE + x) * matrix + (size_t)i * block + b] =
                        (float)points[y][x];
                }
            }
        }
    }
}

/* ---- int8 ------------------------------------------------------------------------------------ */

#define SUM_LIMIT (1ll << 25)
#define LEAST_MULTIPLIER 0x1p-100f /* whose 64th is no subnormal number */

bool srpi_winograd_exact(const struct srpi_conv_layer *layer, const int8_t *weights)
{
    const size_t taps = (size_t)layer->shape.in_channels * 9;
    const int32_t *bias = layer->bias;
    for (uint32_t o = 0; o < layer->shape.out_channels; o++) {
        int64_t most = llabs((long long)bias[o]);
        for (size_t i = 0; i < taps; i++) {
            most += 255 * abs(*weights++);
        }
        if (most >= SUM_LIMIT || !(layer->multiplier[o] >= LEAST_MULTIPLIER)) {
            return false;
        }
    }
    return true;
}

/* Three taps at the six points, times 24, -6, -6, 24, 24 and 6 over Lagrange's denominators: so
 * that `backward4` of winograd_q8.inc.h has few multiplications. At most 7 times the largest
 * tap. */
static void whole_taps(int32_t out[SIDE], const int32_t g[3])
{
    out[0] = 6 * g[0];
    out[1] = -(g[0] + g[1] + g[2]);
    out[2] = -(g[0] - g[1] + g[2]);
    out[3] = g[0] + 2 * g[1] + 4 * g[2];
    out[4] = g[0] - 2 * g[1] + 4 * g[2];
    out[5] = 6 * g[2];
}

/* One pair of channels, [6][6]. */
static void whole_kernel(int32_t whole[SIDE][SIDE], const int8_t *g)
{
    int32_t half[3][SIDE], points[SIDE];
    for (uint32_t y = 0; y < 3; y++) {
        const int32_t taps[3] = {g[y * 3], g[y * 3 + 1], g[y * 3 + 2]};
        whole_taps(half[y], taps);
    }
    for (uint32_t x = 0; x < SIDE; x++) {
        const int32_t column[3] = {half[0][x], half[1][x], half[2][x]};
        whole_taps(points, column);
        for (uint32_t y = 0; y < SIDE; y++) {
            whole[y][x] = points[y];
        }
    }
}

void srpi_winograd_pack_q8(const struct srpi_conv_shape *shape, const int8_t *weights,
                           int16_t *packed, uint32_t pairs, uint32_t first, uint32_t block,
                           bool narrow)
{
    const uint32_t in = shape->in_channels, out = shape->out_channels;
    memset(packed, 0, (size_t)36 * pairs * block * 2 * sizeof(packed[0]));
    for (uint32_t b = 0; b < block && first + b < out; b++) {
        const uint32_t lane = narrow ? b / 4 % 2 * (block / 2) + b / 8 * 4 + b % 4 : b;
        for (uint32_t i = 0; i < in; i++) {
            int32_t points[SIDE][SIDE];
            whole_kernel(points, weights + ((size_t)(first + b) * in + i) * 9);
            for (uint32_t y = 0; y < SIDE; y++) {
                for (uint32_t x = 0; x < SIDE; x++) {
                    const size_t unit = (size_t)(row_place[y] * SIDE + x) * pairs + i / 2;
                    packed[(unit * block + lane) * 2 + i % 2] = (int16_t)points[y][x];
                }
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------------- */

const struct srpi_winograd_kernels *srpi_winograd_for(enum srpi_isa isa, enum srpi_dtype dtype)
{
    const bool q8 = dtype == SRPI_Q8;
    if (dtype == SRPI_BF16) {
        return NULL;
    }
    switch (isa) {
#if defined(__x86_64__)
    case SRPI_ISA_AVX2:
        return q8 ? &srpi_winograd_q8_avx2 : &srpi_winograd_f32_avx2;
#ifdef SRPI_ROWS_avxvnni
    case SRPI_ISA_AVXVNNI:
        return q8 ? &srpi_winograd_q8_avxvnni : &srpi_winograd_f32_avx2;
#endif
    case SRPI_ISA_AVX512:
    case SRPI_ISA_AVX512BF16:
        return q8 ? &srpi_winograd_q8_avx512 : &srpi_winograd_f32_avx512;
    case SRPI_ISA_AMX:
        /* Tiles do eight times the products of vpdpbusd. */
        return q8 ? NULL : &srpi_winograd_f32_avx512;
#elif defined(__aarch64__)
    /* sdot does four times the products of smlal, so int8 is as fast without. */
    case SRPI_ISA_NEON:
    case SRPI_ISA_DOTPROD:
        return q8 ? NULL : &srpi_winograd_f32_neon;
#endif
    default:
        return NULL;
    }
}
