/* SPDX-License-Identifier: BSD-2-Clause */
/* avx2.h - what the AVX2 convolutions share. */
#ifndef SRPI_AVX2_H
#define SRPI_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#include "kernels/conv.h"

/* prfchw names a hint that every processor with AVX2 accepts, if only to ignore it. */
#define AVX2 __attribute__((target("avx2,fma,prfchw")))
#define INLINE static inline __attribute__((always_inline))
/* Before a loop over the pixels of a tile: without it the sums would live in memory. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* `activation` is conv's; a parameter of its own so that a caller can make it a constant. */
AVX2 INLINE __m256 activate8(__m256 x, const struct srpi_conv *conv,
                             enum srpi_activation activation, uint32_t channel)
{
    switch (activation) {
    case SRPI_ACT_RELU:
        return _mm256_max_ps(x, _mm256_setzero_ps());
    case SRPI_ACT_CLIP:
        x = _mm256_max_ps(x, _mm256_set1_ps(conv->min));
        return _mm256_min_ps(x, _mm256_set1_ps(conv->max));
    case SRPI_ACT_LEAKY_RELU:
        return _mm256_blendv_ps(x, _mm256_mul_ps(x, _mm256_set1_ps(conv->alpha)), x);
    case SRPI_ACT_PRELU:
        return _mm256_blendv_ps(x, _mm256_mul_ps(x, _mm256_loadu_ps(conv->slope + channel)), x);
    default:
        return x; /* tanh and sigmoid: afterwards, row by row */
    }
}

AVX2 INLINE void store8(float *out, __m256 value, uint32_t channels)
{
    if (channels >= 8) {
        _mm256_storeu_ps(out, value);
        return;
    }
    float some[8];
    _mm256_storeu_ps(some, value);
    for (uint32_t i = 0; i < channels; i++) {
        out[i] = some[i];
    }
}

#endif
