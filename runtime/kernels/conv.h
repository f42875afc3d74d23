/* SPDX-License-Identifier: BSD-2-Clause */
/* conv.h - direct convolution for AVX2 + FMA, dense [height][width][channels] f32.
 *
 * A row of the kernel meets kernel_width * in_channels neighbouring floats of one input row, so one
 * output pixel is a sum of kernel_height long dot products; neither patches nor pointers to them
 * are
 * ever written to memory. Weights are packed as [block][ky][kx * in_channels + in][block size]. */
#ifndef SRPI_CONV_H
#define SRPI_CONV_H

#include <stddef.h>
#include <stdint.h>

#include "model/graph.h"

struct srpi_conv {
    uint32_t height, width, in_channels, out_channels, kernel_height, kernel_width;
    const float *packed; /* srpi_conv_pack */
    const float *bias;   /* padded with zeros to whole blocks */
    const float *slope;  /* PRELU: the same; else NULL */
    enum srpi_activation activation;
    float alpha, min, max;
};

/* Output channels rounded up to whole blocks. */
uint32_t srpi_conv_padded(uint32_t out_channels);
/* Floats of the packed weights. */
size_t srpi_conv_packed_size(uint32_t in_channels, uint32_t out_channels, uint32_t kernel_height,
                             uint32_t kernel_width);
/* From [out][in][ky][kx]. */
void srpi_conv_pack(float *packed, const float *weight, uint32_t in_channels,
                    uint32_t out_channels, uint32_t kernel_height, uint32_t kernel_width);

/* Output rows [row_begin, row_end). Reads and writes nothing outside of the tensors. A pixel's
 * value
 * depends on its receptive field alone, not on its place or on how rows are shared. Only where
 * srpi_cpu_avx2() is true; does nothing on other architectures. */
void srpi_conv_avx2(const struct srpi_conv *conv, const float *in, float *out, uint32_t row_begin,
                    uint32_t row_end);

#endif
