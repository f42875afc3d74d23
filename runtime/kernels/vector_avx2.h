/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_avx2.h - the vocabulary of the generated row kernels: AVX2 + FMA. Quantised values lie
 * in 16 bits: the product of bytes (vpmaddubsw) saturates at 16 bits, that of words does not. */
#ifndef SRPI_VECTOR_AVX2_H
#define SRPI_VECTOR_AVX2_H

#include "kernels/vector_256.h"

/* x: two values in each lane; w: their weights, in 16 bits too. */
INLINE vint dot_q8(vint sum, value_q8 x, weight_q8 w)
{
    return (vint)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16((__m256i)x, (__m256i)w));
}

/* Two vectors as words; in each 128 bits: 4 of a, 4 of b. */
INLINE __m256i narrow_q8(vfloat a, vfloat b)
{
    return _mm256_min_epu16(_mm256_packus_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b)),
                            _mm256_set1_epi16(255));
}

/* store_q8_V: V vectors of as many pixels as fill a register; `step`: bytes from pixel to pixel. */
INLINE void store_q8_1(uint8_t *out, size_t step, vfloat a, vfloat b)
{
    const __m256i q = _mm256_permute4x64_epi64(narrow_q8(a, b), 0xd8);
    store128(out, _mm256_castsi256_si128(q));
    store128(out + step, _mm256_extracti128_si256(q, 1));
}

INLINE void store_q8_2(uint8_t *out, size_t step, vfloat a, vfloat b)
{
    (void)step;
    _mm256_storeu_si256((__m256i *)(void *)out, narrow_q8(a, b));
}

/* Vector `vector` of a pixel's `vectors`, in narrowing order, as floats. */
INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    if (vectors == 1) {
        return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(load128(p)));
    }
    const __m256i q = (__m256i)load_int(p), zero = _mm256_setzero_si256();
    return _mm256_cvtepi32_ps(vector == 0 ? _mm256_unpacklo_epi16(q, zero)
                                          : _mm256_unpackhi_epi16(q, zero));
}

#endif
