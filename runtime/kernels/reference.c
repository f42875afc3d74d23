/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/reference.h"

#include <string.h>

#include "kernels/activation.h"
#include "kernels/resample.h"

size_t srpi_ref_packed_size(uint32_t in_channels, uint32_t out_channels, uint32_t kernel_height,
                            uint32_t kernel_width)
{
    const size_t blocks = (out_channels + SRPI_REF_BLOCK - 1) / SRPI_REF_BLOCK;
    return blocks * kernel_height * kernel_width * in_channels * SRPI_REF_BLOCK;
}

void srpi_ref_pack(float *packed, const float *weight, uint32_t in_channels, uint32_t out_channels,
                   uint32_t kernel_height, uint32_t kernel_width)
{
    const size_t taps = (size_t)kernel_height * kernel_width;
    for (uint32_t first = 0; first < out_channels; first += SRPI_REF_BLOCK) {
        for (size_t tap = 0; tap < taps; tap++) {
            for (uint32_t i = 0; i < in_channels; i++) {
                for (uint32_t o = first; o < first + SRPI_REF_BLOCK; o++) {
                    *packed++ = o < out_channels
                                    ? weight[((size_t)o * in_channels + i) * taps + tap]
                                    : 0.0f;
                }
            }
        }
    }
}

static float activate(float x, enum srpi_activation activation, float alpha, float min, float max)
{
    switch (activation) {
    case SRPI_ACT_NONE:
        return x;
    case SRPI_ACT_RELU:
        return x > 0.0f ? x : 0.0f;
    case SRPI_ACT_LEAKY_RELU:
    case SRPI_ACT_PRELU:
        return x >= 0.0f ? x : alpha * x;
    case SRPI_ACT_CLIP:
        x = x > min ? x : min;
        return x < max ? x : max;
    case SRPI_ACT_TANH:
    case SRPI_ACT_SIGMOID:
        break; /* whole rows, below */
    }
    return x;
}

void srpi_ref_activate(float *data, size_t pixels, uint32_t channels,
                       enum srpi_activation activation, float alpha, float min, float max,
                       const float *slope)
{
    if (activation == SRPI_ACT_NONE) {
        return;
    }
    if (activation == SRPI_ACT_TANH || activation == SRPI_ACT_SIGMOID) {
        (activation == SRPI_ACT_TANH ? srpi_row_tanh : srpi_row_sigmoid)(data, data,
                                                                         pixels * channels);
        return;
    }
    for (size_t p = 0; p < pixels; p++) {
        for (uint32_t c = 0; c < channels; c++) {
            const float a = activation == SRPI_ACT_PRELU ? slope[c] : alpha;
            *data = activate(*data, activation, a, min, max);
            data++;
        }
    }
}

/* One pixel, one block of output channels. */
static void conv_pixel(const struct srpi_ref_conv *conv, const float *in, const float *packed,
                       uint32_t y, uint32_t x, float *sum)
{
    const uint32_t pad_y = conv->kernel_height / 2, pad_x = conv->kernel_width / 2;
    for (uint32_t ky = 0; ky < conv->kernel_height; ky++) {
        for (uint32_t kx = 0; kx < conv->kernel_width; kx++) {
            const float *w = packed;
            packed += (size_t)conv->in_channels * SRPI_REF_BLOCK;
            /* Unsigned wrap-around sends what lies left of 0 beyond the end, too. */
            const uint32_t sy = y + ky - pad_y, sx = x + kx - pad_x;
            if (sy >= conv->height || sx >= conv->width) {
                continue;
            }
            const float *pixel = in + ((size_t)sy * conv->width + sx) * conv->in_channels;
            for (uint32_t i = 0; i < conv->in_channels; i++) {
                for (uint32_t o = 0; o < SRPI_REF_BLOCK; o++) {
                    sum[o] += pixel[i] * w[o];
                }
                w += SRPI_REF_BLOCK;
            }
        }
    }
}

void srpi_ref_conv2d(const struct srpi_ref_conv *conv, const float *in, float *out,
                     uint32_t row_begin, uint32_t row_end)
{
    const uint32_t channels = conv->out_channels;
    const size_t block_size = (size_t)conv->kernel_height * conv->kernel_width *
                              conv->in_channels * SRPI_REF_BLOCK;
    for (uint32_t y = row_begin; y < row_end; y++) {
        float *row = out + (size_t)y * conv->width * channels;
        for (uint32_t x = 0; x < conv->width; x++) {
            const float *packed = conv->packed;
            for (uint32_t first = 0; first < channels; first += SRPI_REF_BLOCK) {
                float sum[SRPI_REF_BLOCK] = {0};
                const uint32_t left = channels - first;
                const uint32_t count = left < SRPI_REF_BLOCK ? left : SRPI_REF_BLOCK;
                memcpy(sum, conv->bias + first, count * sizeof(float));
                conv_pixel(conv, in, packed, y, x, sum);
                memcpy(row + (size_t)x * channels + first, sum, count * sizeof(float));
                packed += block_size;
            }
        }
        srpi_ref_activate(row, conv->width, channels, conv->activation, conv->alpha, conv->min,
                          conv->max, conv->slope);
    }
}

void srpi_ref_add(const float *a, const float *b, float *out, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        float sum[8];
        for (size_t k = 0; k < 8; k++) {
            sum[k] = a[i + k] + b[i + k];
        }
        memcpy(out + i, sum, sizeof(sum));
    }
    for (; i < count; i++) {
        out[i] = a[i] + b[i];
    }
}

void srpi_ref_mul(const float *a, const float *b, float *out, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        float product[8];
        for (size_t k = 0; k < 8; k++) {
            product[k] = a[i + k] * b[i + k];
        }
        memcpy(out + i, product, sizeof(product));
    }
    for (; i < count; i++) {
        out[i] = a[i] * b[i];
    }
}

void srpi_ref_slice(const float *in, uint32_t in_channels, uint32_t first, float *out,
                    uint32_t channels, size_t pixels)
{
    in += first;
    for (size_t p = 0; p < pixels; p++) {
        memcpy(out, in, channels * sizeof(float));
        in += in_channels;
        out += channels;
    }
}

void srpi_ref_concat(const float *in, uint32_t channels, float *out, uint32_t out_channels,
                     uint32_t offset, size_t pixels)
{
    out += offset;
    for (size_t p = 0; p < pixels; p++) {
        memcpy(out, in, channels * sizeof(float));
        in += channels;
        out += out_channels;
    }
}

void srpi_ref_depth_to_space(const float *in, float *out, uint32_t width, uint32_t out_channels,
                             uint32_t block, enum srpi_block_order order, uint32_t row_begin,
                             uint32_t row_end)
{
    const uint32_t in_channels = out_channels * block * block;
    const uint32_t step_c = order == SRPI_ORDER_CRD ? block * block : 1;
    const uint32_t step_ij = order == SRPI_ORDER_CRD ? 1 : out_channels;
    for (uint32_t y = row_begin; y < row_end; y++) {
        for (uint32_t i = 0; i < block; i++) {
            const float *pixel = in + (size_t)y * width * in_channels;
            float *to = out + ((size_t)y * block + i) * width * block * out_channels;
            for (uint32_t x = 0; x < width; x++) {
                for (uint32_t j = 0; j < block; j++) {
                    const float *from = pixel + (size_t)(i * block + j) * step_ij;
                    for (uint32_t c = 0; c < out_channels; c++) {
                        *to++ = from[(size_t)c * step_c];
                    }
                }
                pixel += in_channels;
            }
        }
    }
}

#define REACH 2
#define WINDOW SRPI_REF_WINDOW

void srpi_ref_resize_taps(enum srpi_resize_mode mode, uint32_t scale, uint32_t phase,
                          float *weight)
{
    const enum srpi_filter filter = mode == SRPI_RESIZE_BICUBIC    ? SRPI_FILTER_CUBIC
                                    : mode == SRPI_RESIZE_BILINEAR ? SRPI_FILTER_LINEAR
                                                                   : SRPI_FILTER_NEAREST;
    float taps[SRPI_MAX_TAPS];
    int64_t first;
    const uint32_t count = srpi_filter_taps(filter, scale, 2, 2, phase, taps, &first);
    memset(weight, 0, WINDOW * sizeof(weight[0]));
    for (uint32_t k = 0; k < count; k++) {
        const int64_t at = first + k + REACH;
        if (at >= 0 && at < WINDOW) { /* beyond it a tap is 0: scale 1 has such */
            weight[at] = taps[k];
        }
    }
}

/* The column at `x`, replicated beyond the edges, of five rows. */
static float blend_column(const float *const *rows, const float *weight, int64_t x, uint32_t width,
                          uint32_t channels)
{
    const size_t at = (size_t)(x < 0 ? 0 : x >= width ? (int64_t)width - 1 : x) * channels;
    float sum = 0.0f;
    for (uint32_t k = 0; k < WINDOW; k++) {
        sum += weight[k] * rows[k][at];
    }
    return sum;
}

void srpi_ref_resize(const float *in, float *out, uint32_t height, uint32_t width,
                     uint32_t channels, uint32_t scale, enum srpi_resize_mode mode,
                     uint32_t row_begin, uint32_t row_end)
{
    float weight[SRP_MAX_SCALE][WINDOW];
    for (uint32_t phase = 0; phase < scale; phase++) {
        srpi_ref_resize_taps(mode, scale, phase, weight[phase]);
    }
    const size_t in_row = (size_t)width * channels, out_row = in_row * scale;
    for (uint32_t y = row_begin; y < row_end; y++) {
        const float *rows[WINDOW];
        for (int64_t k = 0; k < WINDOW; k++) {
            const int64_t at = (int64_t)(y / scale) + k - REACH;
            rows[k] = in + (size_t)(at < 0 ? 0 : at >= height ? (int64_t)height - 1 : at) * in_row;
        }
        for (uint32_t c = 0; c < channels; c++) {
            /* Columns blended downwards, sliding along the row. */
            float window[WINDOW];
            float *to = out + y * out_row + c;
            for (int64_t k = 1; k < WINDOW; k++) {
                window[k] = blend_column(rows, weight[y % scale], k - 1 - REACH, width, channels);
            }
            for (uint32_t x = 0; x < width; x++) {
                memmove(window, window + 1, (WINDOW - 1) * sizeof(window[0]));
                window[WINDOW - 1] = blend_column(rows, weight[y % scale], (int64_t)x + REACH,
                                                  width, channels);
                for (uint32_t phase = 0; phase < scale; phase++) {
                    float sum = 0.0f;
                    for (uint32_t k = 0; k < WINDOW; k++) {
                        sum += weight[phase][k] * window[k];
                    }
                    *to = sum;
                    to += channels;
                }
            }
            for (uint32_t k = 0; k < WINDOW; k++) {
                rows[k]++;
            }
        }
    }
}
