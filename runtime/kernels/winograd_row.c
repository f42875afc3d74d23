/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/winograd_row.h"

/* Polynomials are evaluated at 0, 1, -1, Q, -Q and infinity. With 1.5 the largest error is about
 * 0.6 of what it is with the usual 2; all powers used are exact in f32. */
#define Q 1.5
#define SIDE 6u

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

void srpi_winograd_pack_block(const struct srpi_conv_shape *shape, const float *weights,
                              float *packed, uint32_t padded, uint32_t first, uint32_t block)
{
    static const uint32_t place[SIDE] = {4, 0, 1, 2, 3, 5};
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
                    packed[(place[y] * SIDE + x) * matrix + (size_t)i * block + b] =
                        (float)points[y][x];
                }
            }
        }
    }
}

const struct srpi_winograd_kernels *srpi_winograd_for(enum srpi_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case SRPI_ISA_AVX2:
    case SRPI_ISA_AVXVNNI:
        return &srpi_winograd_rows_avx2;
    case SRPI_ISA_AVX512:
    case SRPI_ISA_AVX512BF16:
        return &srpi_winograd_rows_avx512;
#elif defined(__aarch64__)
    case SRPI_ISA_NEON:
    case SRPI_ISA_DOTPROD:
        return &srpi_winograd_rows_neon;
#endif
    default:
        return NULL;
    }
}
