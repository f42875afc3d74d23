/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_256_u8.h - quantised values in bytes and vectors of 256 bits. */
#ifndef SRPI_VECTOR_256_U8_H
#define SRPI_VECTOR_256_U8_H

#include "kernels/vector_256.h"

/* Four vectors as bytes, saturated; in each 128 bits: 4 of a, 4 of b, 4 of c, 4 of d. */
INLINE __m256i narrow_q8(vfloat a, vfloat b, vfloat c, vfloat d)
{
    return _mm256_packus_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b)),
                               _mm256_packs_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d)));
}

/* store_q8_V: V vectors of as many pixels as fill a register; `step`: bytes from pixel to pixel. */
INLINE void store_q8_1(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c, vfloat d)
{
    const __m256i pixel_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i q = _mm256_permutevar8x32_epi32(narrow_q8(a, b, c, d), pixel_order);
    const __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    if (step == 8) {
        _mm256_storeu_si256((__m256i *)(void *)out, q);
    } else {
        _mm_storel_epi64((__m128i *)(void *)out, low);
        _mm_storel_epi64((__m128i *)(void *)(out + step), _mm_unpackhi_epi64(low, low));
        _mm_storel_epi64((__m128i *)(void *)(out + 2 * step), high);
        _mm_storel_epi64((__m128i *)(void *)(out + 3 * step), _mm_unpackhi_epi64(high, high));
    }
}

INLINE void store_q8_2(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c, vfloat d)
{
    const __m256i q = _mm256_permute4x64_epi64(narrow_q8(a, b, c, d), 0xd8);
    if (step == 16) {
        _mm256_storeu_si256((__m256i *)(void *)out, q);
    } else {
        store128(out, _mm256_castsi256_si128(q));
        store128(out + step, _mm256_extracti128_si256(q, 1));
    }
}

/* Vector `vector` of a pixel's `vectors`, in narrowing order, as floats. */
INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    __m128i q;
    if (vectors == 1) {
        q = _mm_loadl_epi64((const __m128i *)(const void *)p);
    } else {
        q = vector == 0 ? _mm_shuffle_epi32(load128(p), 0x08) : _mm_shuffle_epi32(load128(p), 0x0d);
    }
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q));
}

#endif
