/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/winograd_row.h"

#include <stdlib.h>
#include <string.h>

#define SIDE SRPI_WINOGRAD_SIDE
#define MOST_TAPS 5u
static const uint32_t row_place[SIDE] = {4, 0, 1, 2, 3, 5};

/* ---- f32 ------------------------------------------------------------------------------------- */

/* Polynomials are evaluated at 0, 1, -1, Q, -Q and infinity. With 1.5 the largest error is about
 * 0.6 of what it is with the usual 2; all powers used are exact in f32. */
#define Q 1.5

/* 3 or 5 taps at the six points, divided by what Lagrange's polynomials have in the denominator. */
static void transform_taps(double out[SIDE], const double *g, uint32_t taps)
{
    const double q2 = Q * Q;
    const double points[SIDE - 1] = {0.0, 1.0, -1.0, Q, -Q};
    const double denominators[SIDE - 1] = {q2, 2.0 * (1.0 - q2), 2.0 * (1.0 - q2),
                                           2.0 * q2 * (q2 - 1.0), 2.0 * q2 * (q2 - 1.0)};
    for (uint32_t p = 0; p < SIDE - 1; p++) {
        double sum = 0.0;
        for (uint32_t t = taps; t-- > 0;) {
            sum = sum * points[p] + g[t];
        }
        out[p] = sum / denominators[p];
    }
    out[SIDE - 1] = g[taps - 1];
}

/* One pair of channels, [6][6]. */
static void transform_kernel(double whole[SIDE][SIDE], const float *g, uint32_t taps)
{
    double half[MOST_TAPS][SIDE], line[MOST_TAPS], points[SIDE];
    for (uint32_t y = 0; y < taps; y++) {
        for (uint32_t x = 0; x < taps; x++) {
            line[x] = g[y * taps + x];
        }
        transform_taps(half[y], line, taps);
    }
    for (uint32_t x = 0; x < SIDE; x++) {
        for (uint32_t y = 0; y < taps; y++) {
            line[y] = half[y][x];
        }
        transform_taps(points, line, taps);
        for (uint32_t y = 0; y < SIDE; y++) {
            whole[y][x] = points[y];
        }
    }
}

void srpi_winograd_pack_f32(const struct srpi_conv_shape *shape, const float *weights,
                              float *packed, uint32_t padded, uint32_t first, uint32_t block)
{
    const uint32_t in = shape->in_channels, taps = shape->kernel_width;
    const size_t matrix = (size_t)in * padded;
    for (uint32_t i = 0; i < in; i++) {
        for (uint32_t b = 0; b < block; b++) {
            double points[SIDE][SIDE] = {{0}};
            if (first + b < shape->out_channels) {
                transform_kernel(points, weights + ((size_t)(first + b) * in + i) * taps * taps,
                                 taps);
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

const struct srpi_winograd_kernels *const *srpi_winograd_all(enum srpi_isa isa)
{
    static const struct srpi_winograd_kernels *const none[] = {NULL};
    switch (isa) {
#if defined(__x86_64__)
    case SRPI_ISA_AVX2: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_avx2, &srpi_winograd5_f32_avx2, &srpi_winograd_q8_avx2, NULL};
        return all;
    }
#ifdef SRPI_ROWS_avxvnni
    case SRPI_ISA_AVXVNNI: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_avx2, &srpi_winograd5_f32_avx2, &srpi_winograd_q8_avxvnni, NULL};
        return all;
    }
#endif
    case SRPI_ISA_AVX512:
    case SRPI_ISA_AVX512BF16: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_avx512, &srpi_winograd5_f32_avx512, &srpi_winograd_f32_avx2,
            &srpi_winograd5_f32_avx2,  &srpi_winograd_q8_overlap512, &srpi_winograd_q8_avx512,
            NULL};
        return all;
    }
    case SRPI_ISA_AMX: {
        /* Not in int8: tiles do eight times the products of vpdpbusd. */
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_avx512, &srpi_winograd5_f32_avx512, &srpi_winograd_f32_avx2,
            &srpi_winograd5_f32_avx2, NULL};
        return all;
    }
#elif defined(__aarch64__)
    /* Not in int8: sdot does four times the products of smlal, so it is as fast without. */
    case SRPI_ISA_NEON:
    case SRPI_ISA_DOTPROD: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_neon, &srpi_winograd5_f32_neon, NULL};
        return all;
    }
#endif
    default:
        return none;
    }
}

const struct srpi_winograd_kernels *srpi_winograd_for(enum srpi_isa isa,
                                                      const struct srpi_conv_shape *shape,
                                                      bool overlap)
{
    const struct srpi_winograd_kernels *const *k = srpi_winograd_all(isa);
    while (*k != NULL && (!(*k)->suits(shape) || ((*k)->overlap && !overlap))) {
        k++;
    }
    return *k;
}
