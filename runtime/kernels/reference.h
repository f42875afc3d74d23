/* SPDX-License-Identifier: BSD-2-Clause */
/* reference.h - every operator of docs/format.md in plain C: the definition that the other
 * kernels are
 * tested against.
 *
 * Tensors are dense [height][width][channels] f32. Each function computes the output rows
 * [row_begin, row_end) alone, so that rows can be shared between threads; it reads no memory
 * outside
 * of its tensors and allocates nothing. Outputs do not overlap inputs unless said otherwise. */
#ifndef SRPI_REFERENCE_H
#define SRPI_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

#include "model/graph.h"

/* Output channels are computed in blocks of this many. */
#define SRPI_REF_BLOCK 8u

/* Floats of the packed weights of one convolution: [block][ky][kx][in][SRPI_REF_BLOCK]. */
size_t srpi_ref_packed_size(uint32_t in_channels, uint32_t out_channels, uint32_t kernel_height,
                            uint32_t kernel_width);
/* From [out][in][ky][kx]; surplus output channels become zero. */
void srpi_ref_pack(float *packed, const float *weight, uint32_t in_channels, uint32_t out_channels,
                   uint32_t kernel_height, uint32_t kernel_width);

struct srpi_ref_conv {
    uint32_t height, width, in_channels, out_channels, kernel_height, kernel_width;
    const float *packed, *bias;
    enum srpi_activation activation;
    float alpha, min, max;
    const float *slope;
};

/* Cross-correlation with zero padding, bias, activation. */
void srpi_ref_conv2d(const struct srpi_ref_conv *conv, const float *in, float *out,
                     uint32_t row_begin, uint32_t row_end);

/* Activation of `pixels` pixels in place; slope (PRELU) has one value per channel. */
void srpi_ref_activate(float *data, size_t pixels, uint32_t channels,
                       enum srpi_activation activation, float alpha, float min, float max,
                       const float *slope);

/* out[i] = a[i] + b[i]; out may be a or b. */
void srpi_ref_add(const float *a, const float *b, float *out, size_t count);

/* out[i] = a[i] * b[i]; out may be a or b. */
void srpi_ref_mul(const float *a, const float *b, float *out, size_t count);

/* Copies `channels` channels from channel `first` on of `pixels` pixels of in_channels. */
void srpi_ref_slice(const float *in, uint32_t in_channels, uint32_t first, float *out,
                    uint32_t channels, size_t pixels);

/* Copies `pixels` pixels of `channels` to channel `offset` of a tensor with out_channels. */
void srpi_ref_concat(const float *in, uint32_t channels, float *out, uint32_t out_channels,
                     uint32_t offset, size_t pixels);

/* Rows of the *input*, each of which makes `block` rows of the output. */
void srpi_ref_depth_to_space(const float *in, float *out, uint32_t width, uint32_t out_channels,
                             uint32_t block, enum srpi_block_order order, uint32_t row_begin,
                             uint32_t row_end);

/* Source samples -2 .. 2 around a pixel bear on what it becomes, in all modes: their weights for
 * the output sample `phase` of the `scale` that a source sample makes. */
#define SRPI_REF_WINDOW 5u
void srpi_ref_resize_taps(enum srpi_resize_mode mode, uint32_t scale, uint32_t phase,
                          float *weight);

/* Enlarges a height x width tensor by `scale`; rows of the output. */
void srpi_ref_resize(const float *in, float *out, uint32_t height, uint32_t width,
                     uint32_t channels, uint32_t scale, enum srpi_resize_mode mode,
                     uint32_t row_begin, uint32_t row_end);

#endif
