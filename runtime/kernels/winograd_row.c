/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/winograd_row.h"

#include <stdlib.h>
#include <string.h>

#define SIDE SRPI_WINOGRAD_SIDE
static const uint32_t row_place[SIDE] = {4, 0, 1, 2, 3, 5};

uint32_t srpi_winograd_before(const struct srpi_winograd_windows *w, uint32_t point)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < point; p++) {
        count += srpi_winograd_at(w, p).count;
    }
    return count;
}

/* Where the taps of a window begin in those of a kernel. */
struct place {
    uint32_t y, x;
};

static struct place place_of(const struct srpi_winograd_windows *windows, uint32_t index)
{
    struct place at;
    srpi_winograd_window(windows, index, &at.y, &at.x);
    at.y *= 2;
    at.x *= 2;
    return at;
}

/* Whether tap (y, x) of a window is its own. */
static bool has_tap(const struct place *at, uint32_t y, uint32_t x)
{
    return (y != 0 || at->y == 0) && (x != 0 || at->x == 0);
}

/* Values of packed weights: of one window, all output channels; of the output channels before a
 * block; of the block. */
struct block {
    size_t all, before, own;
};

#define NOWHERE SIZE_MAX

/* Where, for point [y][x], a window's weights of the block lie; NOWHERE: it has no product
 * there. */
static void places_of(size_t places[SIDE][SIDE], const struct srpi_winograd_windows *windows,
                      uint32_t index, const struct block *block)
{
    for (uint32_t y = 0; y < SIDE; y++) {
        for (uint32_t x = 0; x < SIDE; x++) {
            const uint32_t point = row_place[y] * SIDE + x;
            const struct srpi_winograd_span span = srpi_winograd_at(windows, point);
            const bool there = index >= span.first && index - span.first < span.count;
            places[y][x] = !there ? NOWHERE
                                  : srpi_winograd_before(windows, point) * block->all +
                                        span.count * block->before +
                                        (index - span.first) * block->own;
        }
    }
}

/* ---- f32 ------------------------------------------------------------------------------------- */

/* Polynomials are evaluated at 0, 1, -1, Q, -Q and infinity. With 1.5 the largest error is about
 * 0.6 of what it is with the usual 2; all powers used are exact in f32. */
#define Q 1.5

/* Three taps at the six points, divided by what Lagrange's polynomials have in the denominator. */
static void transform_taps(double out[SIDE], const double g[3])
{
    const double q2 = Q * Q;
    const double points[SIDE - 1] = {0.0, 1.0, -1.0, Q, -Q};
    const double denominators[SIDE - 1] = {q2, 2.0 * (1.0 - q2), 2.0 * (1.0 - q2),
                                           2.0 * q2 * (q2 - 1.0), 2.0 * q2 * (q2 - 1.0)};
    for (uint32_t p = 0; p < SIDE - 1; p++) {
        out[p] = ((g[2] * points[p] + g[1]) * points[p] + g[0]) / denominators[p];
    }
    out[SIDE - 1] = g[2];
}

/* A window of the taps of one pair of channels, [6][6]. `width`: of a row of taps. */
static void transform_kernel(double whole[SIDE][SIDE], const float *g, uint32_t width,
                             const struct place *at)
{
    double half[3][SIDE], points[SIDE];
    for (uint32_t y = 0; y < 3; y++) {
        double line[3];
        for (uint32_t x = 0; x < 3; x++) {
            line[x] = has_tap(at, y, x) ? g[(at->y + y) * width + at->x + x] : 0.0;
        }
        transform_taps(half[y], line);
    }
    for (uint32_t x = 0; x < SIDE; x++) {
        const double line[3] = {half[0][x], half[1][x], half[2][x]};
        transform_taps(points, line);
        for (uint32_t y = 0; y < SIDE; y++) {
            whole[y][x] = points[y];
        }
    }
}

void srpi_winograd_pack_f32(const struct srpi_conv_shape *shape, const float *weights,
                            float *packed, uint32_t units, uint32_t padded, uint32_t first,
                            uint32_t block)
{
    const struct srpi_winograd_windows windows = srpi_winograd_windows(shape);
    const uint32_t in = shape->in_channels, width = shape->kernel_width;
    const size_t taps = (size_t)shape->kernel_height * width;
    const struct block sizes = {(size_t)units * padded, (size_t)units * first,
                                (size_t)units * block};
    for (uint32_t w = 0; w < windows.down * windows.across; w++) {
        const struct place at = place_of(&windows, w);
        size_t places[SIDE][SIDE];
        places_of(places, &windows, w, &sizes);
        for (size_t n = 0; n < sizes.own; n++) {
            const uint32_t i = (uint32_t)(n / block), o = first + (uint32_t)(n % block);
            double points[SIDE][SIDE] = {{0}};
            if (i < in && o < shape->out_channels) {
                transform_kernel(points, weights + ((size_t)o * in + i) * taps, width, &at);
            }
            for (uint32_t p = 0; p < SRPI_WINOGRAD_POINTS; p++) {
                if (places[p / SIDE][p % SIDE] != NOWHERE) {
                    packed[places[p / SIDE][p % SIDE] + n] = (float)points[p / SIDE][p % SIDE];
                }
            }
        }
    }
}

/* ---- int8 ------------------------------------------------------------------------------------ */

#define SUM_LIMIT (1ll << 25)
#define MOST_GAIN 49 /* of a weight at the points: see whole_taps */
#define LEAST_MULTIPLIER 0x1p-100f /* whose 64th is no subnormal number */

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

/* A window of the taps of one pair of channels, [6][6]. */
static void whole_kernel(int32_t whole[SIDE][SIDE], const int16_t *g, uint32_t width,
                         const struct place *at)
{
    int32_t half[3][SIDE], points[SIDE];
    for (uint32_t y = 0; y < 3; y++) {
        int32_t taps[3];
        for (uint32_t x = 0; x < 3; x++) {
            taps[x] = has_tap(at, y, x) ? g[(at->y + y) * width + at->x + x] : 0;
        }
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

/* Whether the weights of a pair of channels fit 16 bits at all points. */
static bool points_fit(const struct srpi_winograd_windows *windows, const int16_t *g,
                       uint32_t width)
{
    for (uint32_t w = 0; w < windows->down * windows->across; w++) {
        const struct place at = place_of(windows, w);
        int32_t points[SIDE][SIDE];
        whole_kernel(points, g, width, &at);
        for (uint32_t p = 0; p < SRPI_WINOGRAD_POINTS; p++) {
            if (abs(points[p / SIDE][p % SIDE]) > INT16_MAX) {
                return false;
            }
        }
    }
    return true;
}

bool srpi_winograd_exact(const struct srpi_conv_layer *layer, const int16_t *weights)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const struct srpi_winograd_windows windows = srpi_winograd_windows(shape);
    const uint32_t taps = shape->kernel_height * shape->kernel_width;
    const int32_t *bias = layer->bias;
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        int64_t most = llabs((long long)bias[o]);
        for (uint32_t i = 0; i < shape->in_channels; i++, weights += taps) {
            int greatest = 0;
            for (uint32_t t = 0; t < taps; t++) {
                most += 255 * abs(weights[t]);
                greatest = abs(weights[t]) > greatest ? abs(weights[t]) : greatest;
            }
            if (greatest > INT16_MAX / MOST_GAIN &&
                !points_fit(&windows, weights, shape->kernel_width)) {
                return false;
            }
        }
        if (most >= SUM_LIMIT || !(layer->multiplier[o] >= LEAST_MULTIPLIER)) {
            return false;
        }
    }
    return true;
}

/* Where the weight of input channel i and of output channel b of a block lies. */
static size_t place_in_block(enum srpi_winograd_order order, uint32_t i, uint32_t b,
                             uint32_t block)
{
    if (order == SRPI_WINOGRAD_TWOS) {
        return ((size_t)(i / 4) * block + b) * 4 + i % 4;
    }
    const uint32_t lane =
        order == SRPI_WINOGRAD_PAIR ? b / 4 % 2 * (block / 2) + b / 8 * 4 + b % 4 : b;
    return ((size_t)(i / 2) * block + lane) * 2 + i % 2;
}

void srpi_winograd_pack_q8(const struct srpi_conv_shape *shape, const int16_t *weights,
                           int16_t *packed, uint32_t pairs, uint32_t first, uint32_t block,
                           enum srpi_winograd_order order)
{
    const struct srpi_winograd_windows windows = srpi_winograd_windows(shape);
    const uint32_t in = shape->in_channels;
    const uint32_t left = shape->out_channels - first, out = left < block ? left : block;
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const size_t own = (size_t)pairs * block * 2;
    const struct block sizes = {own, 0, own};
    memset(packed, 0,
           srpi_winograd_before(&windows, SRPI_WINOGRAD_POINTS) * own * sizeof(packed[0]));
    for (uint32_t w = 0; w < windows.down * windows.across; w++) {
        const struct place at = place_of(&windows, w);
        size_t places[SIDE][SIDE];
        places_of(places, &windows, w, &sizes);
        for (uint32_t n = 0; n < in * out; n++) {
            const uint32_t i = n % in, b = n / in;
            const size_t place = place_in_block(order, i, b, block);
            int32_t points[SIDE][SIDE];
            whole_kernel(points, weights + ((size_t)(first + b) * in + i) * taps,
                         shape->kernel_width, &at);
            for (uint32_t p = 0; p < SRPI_WINOGRAD_POINTS; p++) {
                if (places[p / SIDE][p % SIDE] != NOWHERE) {
                    packed[places[p / SIDE][p % SIDE] + place] =
                        (int16_t)points[p / SIDE][p % SIDE];
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
            &srpi_winograd_f32_wide_avx2, &srpi_winograd_f32_avx2, &srpi_winograd_q8_avx2, NULL};
        return all;
    }
#ifdef SRPI_ROWS_avxvnni
    case SRPI_ISA_AVXVNNI: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_wide_avx2, &srpi_winograd_f32_avx2, &srpi_winograd_q8_avxvnni,
            NULL};
        return all;
    }
#endif
    case SRPI_ISA_AVX512:
    case SRPI_ISA_AVX512BF16: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_avx512, &srpi_winograd_f32_avx2, &srpi_winograd_q8_overlap512,
            &srpi_winograd_q8_avx512, NULL};
        return all;
    }
    case SRPI_ISA_AMX: {
        /* Not in int8: tiles do eight times the products of vpdpbusd. */
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_avx512, &srpi_winograd_f32_avx2, NULL};
        return all;
    }
#elif defined(__aarch64__)
    /* Not in int8: sdot does four times the products of smlal, so it is as fast without. */
    case SRPI_ISA_NEON:
    case SRPI_ISA_DOTPROD: {
        static const struct srpi_winograd_kernels *const all[] = {
            &srpi_winograd_f32_neon, NULL};
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
