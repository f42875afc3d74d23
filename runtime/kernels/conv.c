/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/conv.h"

#include <stdbool.h>

#include "kernels/reference.h"

/* Blocks of 16 output channels; the last has 8 when that is enough. */
static uint32_t block_at(uint32_t out_channels, uint32_t first)
{
    return out_channels - first > 8 ? 16 : 8;
}

uint32_t srpi_conv_padded(uint32_t out_channels)
{
    return (out_channels + 7) / 8 % 2 == 1 ? (out_channels + 7) / 8 * 8
                                           : (out_channels + 15) / 16 * 16;
}

size_t srpi_conv_packed_size(uint32_t in_channels, uint32_t out_channels, uint32_t kernel_height,
                             uint32_t kernel_width)
{
    return (size_t)srpi_conv_padded(out_channels) * in_channels * kernel_height * kernel_width;
}

void srpi_conv_pack(float *packed, const float *weight, uint32_t in_channels,
                    uint32_t out_channels, uint32_t kernel_height, uint32_t kernel_width)
{
    const size_t taps = (size_t)kernel_height * kernel_width;
    for (uint32_t first = 0; first < out_channels;) {
        const uint32_t block = block_at(out_channels, first);
        for (size_t tap = 0; tap < taps; tap++) {
            for (uint32_t i = 0; i < in_channels; i++) {
                for (uint32_t o = first; o < first + block; o++) {
                    *packed++ = o < out_channels
                                    ? weight[((size_t)o * in_channels + i) * taps + tap]
                                    : 0.0f;
                }
            }
        }
        first += block;
    }
}

#if defined(__x86_64__)

#include "kernels/avx2.h"

/* The kernel rows that meet the picture at one output row, and the floats of each that do. */
struct span {
    const float *in;      /* first float that the first kernel row meets, for the first pixel */
    const float *weight;  /* its weights */
    uint32_t rows, count; /* kernel rows; floats in each */
    size_t in_step, weight_step; /* floats from one kernel row to the next */
};

/* `pixels` neighbours x 16 channels; pixels is a constant at each call, so that sums stay in
 * registers. */
AVX2 INLINE void tile16(const struct srpi_conv *conv, const struct span *span, float *out,
                        uint32_t first, const uint32_t pixels)
{
    const size_t channels = conv->in_channels;
    __m256 sum[6][2];
    UNROLL for (uint32_t p = 0; p < pixels; p++) {
        sum[p][0] = _mm256_loadu_ps(conv->bias + first);
        sum[p][1] = _mm256_loadu_ps(conv->bias + first + 8);
    }
    const float *row = span->in, *weights = span->weight;
    for (uint32_t r = 0; r < span->rows; r++) {
        const float *w = weights;
        for (uint32_t k = 0; k < span->count; k++) {
            const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);
            UNROLL for (uint32_t p = 0; p < pixels; p++) {
                const __m256 value = _mm256_broadcast_ss(row + p * channels + k);
                sum[p][0] = _mm256_fmadd_ps(value, w0, sum[p][0]);
                sum[p][1] = _mm256_fmadd_ps(value, w1, sum[p][1]);
            }
            w += 16;
        }
        row += span->in_step;
        weights += span->weight_step;
    }
    const uint32_t left = conv->out_channels - first;
    UNROLL for (uint32_t p = 0; p < pixels; p++) {
        float *to = out + (size_t)p * conv->out_channels + first;
        store8(to, activate8(sum[p][0], conv, conv->activation, first), 8);
        store8(to + 8, activate8(sum[p][1], conv, conv->activation, first + 8), left - 8);
    }
}

AVX2 INLINE void tile8(const struct srpi_conv *conv, const struct span *span, float *out,
                       uint32_t first, const uint32_t pixels)
{
    const size_t channels = conv->in_channels;
    __m256 sum[8];
    UNROLL for (uint32_t p = 0; p < pixels; p++) {
        sum[p] = _mm256_loadu_ps(conv->bias + first);
    }
    const float *row = span->in, *weights = span->weight;
    for (uint32_t r = 0; r < span->rows; r++) {
        const float *w = weights;
        for (uint32_t k = 0; k < span->count; k++) {
            const __m256 w0 = _mm256_loadu_ps(w);
            UNROLL for (uint32_t p = 0; p < pixels; p++) {
                sum[p] = _mm256_fmadd_ps(_mm256_broadcast_ss(row + p * channels + k), w0, sum[p]);
            }
            w += 8;
        }
        row += span->in_step;
        weights += span->weight_step;
    }
    const uint32_t left = conv->out_channels - first;
    UNROLL for (uint32_t p = 0; p < pixels; p++) {
        store8(out + (size_t)p * conv->out_channels + first,
               activate8(sum[p], conv, conv->activation, first), left);
    }
}

AVX2 static void tile(const struct srpi_conv *conv, const struct span *span, float *out,
                      uint32_t first, uint32_t block, uint32_t pixels)
{
    if (block == 16) {
        switch (pixels) {
        case 6:
            tile16(conv, span, out, first, 6);
            break;
        case 4:
            tile16(conv, span, out, first, 4);
            break;
        default:
            tile16(conv, span, out, first, 1);
            break;
        }
    } else {
        switch (pixels) {
        case 8:
            tile8(conv, span, out, first, 8);
            break;
        case 4:
            tile8(conv, span, out, first, 4);
            break;
        default:
            tile8(conv, span, out, first, 1);
            break;
        }
    }
}

/* One output row, one block of channels. */
AVX2 static void row_block(const struct srpi_conv *conv, const float *in, float *out, uint32_t y,
                           const float *packed, uint32_t first, uint32_t block)
{
    const uint32_t width = conv->width, channels = conv->in_channels;
    const uint32_t pad_y = conv->kernel_height / 2, pad_x = conv->kernel_width / 2;
    const uint32_t ky0 = y < pad_y ? pad_y - y : 0;
    const uint32_t below = conv->height - y; /* rows from y to the end */
    const uint32_t ky1 = conv->kernel_height < pad_y + below ? conv->kernel_height : pad_y + below;
    const uint32_t line = conv->kernel_width * channels;
    const uint32_t most = block == 16 ? 6 : 8;
    const float *row = in + (size_t)(y + ky0 - pad_y) * width * channels;
    struct span span = {.rows = ky1 - ky0,
                        .in_step = (size_t)width * channels,
                        .weight_step = (size_t)line * block};
    packed += (size_t)ky0 * line * block;
    for (uint32_t x = 0; x < width;) {
        /* At the left and right edge the kernel hangs over: fewer floats, one pixel at a time. */
        const uint32_t skip = x < pad_x ? pad_x - x : 0;
        const uint32_t right = width - x;
        const uint32_t kx1 = conv->kernel_width < pad_x + right ? conv->kernel_width
                                                                : pad_x + right;
        uint32_t pixels = 1;
        if (skip == 0 && right > pad_x) {
            const uint32_t inner = right - pad_x;
            pixels = inner >= most ? most : inner >= 4 ? 4 : 1;
        }
        span.in = row + (size_t)(x + skip - pad_x) * channels;
        span.weight = packed + (size_t)skip * channels * block;
        span.count = (kx1 - skip) * channels;
        tile(conv, &span, out + (size_t)x * conv->out_channels, first, block, pixels);
        x += pixels;
    }
}

void srpi_conv_avx2(const struct srpi_conv *conv, const float *in, float *out, uint32_t row_begin,
                    uint32_t row_end)
{
    const size_t taps = (size_t)conv->kernel_height * conv->kernel_width * conv->in_channels;
    const size_t out_row = (size_t)conv->width * conv->out_channels;
    const bool later =
        conv->activation == SRPI_ACT_TANH || conv->activation == SRPI_ACT_SIGMOID;
    for (uint32_t y = row_begin; y < row_end; y++) {
        const float *packed = conv->packed;
        for (uint32_t first = 0; first < conv->out_channels;) {
            const uint32_t block = block_at(conv->out_channels, first);
            row_block(conv, in, out + y * out_row, y, packed, first, block);
            packed += taps * block;
            first += block;
        }
        if (later) {
            srpi_ref_activate(out + y * out_row, conv->width, conv->out_channels,
                              conv->activation, 0.0f, 0.0f, 0.0f, NULL);
        }
    }
}

#else

void srpi_conv_avx2(const struct srpi_conv *conv, const float *in, float *out, uint32_t row_begin,
                    uint32_t row_end)
{
    (void)conv, (void)in, (void)out, (void)row_begin, (void)row_end;
}

#endif
