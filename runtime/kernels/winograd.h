/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd.h - 3x3 convolution by Winograd's F(4x4, 3x3) for AVX2 + FMA, dense
 * [height][width][channels] f32.
 *
 * A tile of 4x4 output pixels takes 36 products for each pair of channels instead of 144. Tiles lie
 * on a grid that starts at the picture's (0, 0). Weights are transformed once and packed as
 * [36][block][in][block size], blocks as in conv.h. */
#ifndef SRPI_WINOGRAD_H
#define SRPI_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/conv.h"

/* Side of a tile, in output pixels. */
#define SRPI_WINOGRAD_TILE 4u

/* Whether this is the faster way for a layer; depends on nothing but its shape. False for all that
 * srpi_winograd_avx2 cannot do. */
bool srpi_winograd_suits(uint32_t in_channels, uint32_t out_channels, uint32_t kernel_height,
                         uint32_t kernel_width);
/* Floats of the packed weights. */
size_t srpi_winograd_packed_size(uint32_t in_channels, uint32_t out_channels);
/* From [out][in][3][3]. */
void srpi_winograd_pack(float *packed, const float *weight, uint32_t in_channels,
                        uint32_t out_channels);
/* Floats of scratch memory that one thread needs, whatever the picture's size: a multiple of 16. */
size_t srpi_winograd_scratch_size(uint32_t in_channels, uint32_t out_channels);

/* Rows of tiles [row_begin, row_end), the last of which may hang over the picture. conv->packed is
 * of srpi_winograd_pack; in_channels is a multiple of 8, the kernel 3x3. `scratch` is 64-byte
 * aligned and its content of no account. Reads and writes nothing outside of the tensors. A pixel's
 * value does not depend on how rows are shared. Only where srpi_cpu_avx2() is true; does nothing on
 * other architectures. */
void srpi_winograd_avx2(const struct srpi_conv *conv, const float *in, float *out, float *scratch,
                        uint32_t row_begin, uint32_t row_end);

#endif
