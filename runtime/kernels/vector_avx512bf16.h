/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_avx512bf16.h - AVX-512 BF16, beyond vector_avx512.h. */
#ifndef SRPI_VECTOR_AVX512BF16_H
#define SRPI_VECTOR_AVX512BF16_H

#include "kernels/vector_avx512.h"

/* Two bf16 in each lane. */
typedef __m512bh value_bf16;
typedef __m512bh weight_bf16;

INLINE value_bf16 spread_bf16(const uint8_t *p)
{
    return (__m512bh)_mm512_set1_epi32(load32(p));
}

INLINE weight_bf16 load_bf16(const uint8_t *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

INLINE vfloat dot_bf16(vfloat sum, value_bf16 x, weight_bf16 w)
{
    return _mm512_dpbf16_ps(sum, x, w);
}

/* Of the vectors' lower halves alone. */
INLINE vfloat dot_half_bf16(vfloat sum, value_bf16 x, weight_bf16 w)
{
    __asm__("vdpbf16ps %t2, %t1, %t0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

INLINE void store_bf16(uint8_t *p, vfloat v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, (__m256i)_mm512_cvtneps_pbh(v));
}

INLINE vfloat other_bf16(const uint8_t *p)
{
    const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

#endif
