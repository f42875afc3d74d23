/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/row_depthwise.h"

#if defined(__x86_64__)

static bool is_zero(const void *weights, enum srpi_dtype dtype, size_t at)
{
    return dtype == SRPI_F32 ? ((const float *)weights)[at] == 0.0f
                             : ((const int16_t *)weights)[at] == 0;
}

static bool is_depthwise(const struct srpi_conv_shape *shape, const void *weights)
{
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const uint32_t channels = shape->out_channels;
    for (uint32_t o = 0; o < channels; o++) {
        for (uint32_t i = 0; i < channels; i++) {
            const size_t from = ((size_t)o * channels + i) * taps;
            for (size_t tap = 0; o != i && tap < taps; tap++) {
                if (!is_zero(weights, shape->in, from + tap)) {
                    return false;
                }
            }
        }
    }
    return true;
}

const struct srpi_kernels *srpi_depthwise_for(const struct srpi_kernels *kernels,
                                              const struct srpi_conv_shape *shape,
                                              const void *weights)
{
    if (kernels->isa == SRPI_ISA_SCALAR || shape->in == SRPI_BF16 || shape->split ||
        shape->in_channels != shape->out_channels || shape->out_channels < SRPI_DEPTHWISE_LEAST ||
        !is_depthwise(shape, weights)) {
        return NULL;
    }
    return kernels->storage == SRPI_Q8_U16 ? &srpi_depthwise_words : &srpi_depthwise_bytes;
}

#else

const struct srpi_kernels *srpi_depthwise_for(const struct srpi_kernels *kernels,
                                              const struct srpi_conv_shape *shape,
                                              const void *weights)
{
    (void)kernels, (void)shape, (void)weights;
    return NULL;
}

#endif
