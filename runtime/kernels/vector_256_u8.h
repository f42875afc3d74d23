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

/* The same as 16 bits, the upper and the lower bytes. */
INLINE __m256i narrow_fine(vfloat a, vfloat b, vfloat c, vfloat d, __m256i *low)
{
    const __m256i bytes = _mm256_set1_epi16(255);
    const __m256i ab = _mm256_packus_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
    const __m256i cd = _mm256_packus_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
    *low = _mm256_packus_epi16(_mm256_and_si256(ab, bytes), _mm256_and_si256(cd, bytes));
    return _mm256_packus_epi16(_mm256_srli_epi16(ab, 8), _mm256_srli_epi16(cd, 8));
}

/* put_V: V vectors of as many pixels as fill a register, narrowed; `step`: bytes from pixel to
 * pixel. */
INLINE void put_1(uint8_t *out, size_t step, __m256i q)
{
    const __m256i pixel_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    q = _mm256_permutevar8x32_epi32(q, pixel_order);
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

INLINE void put_2(uint8_t *out, size_t step, __m256i q)
{
    q = _mm256_permute4x64_epi64(q, 0xd8);
    if (step == 16) {
        _mm256_storeu_si256((__m256i *)(void *)out, q);
    } else {
        store128(out, _mm256_castsi256_si128(q));
        store128(out + step, _mm256_extracti128_si256(q, 1));
    }
}

/* store_q8_V: as codes; store_fine_V: as 16 bits, the lower byte of each to `rest`. */
#define STORE_Q8(vectors) \
    INLINE void store_q8_##vectors(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c, \
                                   vfloat d) \
    { \
        put_##vectors(out, step, narrow_q8(a, b, c, d)); \
    } \
    INLINE void store_fine_##vectors(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, \
                                     vfloat c, vfloat d) \
    { \
        __m256i low; \
        put_##vectors(out, step, narrow_fine(a, b, c, d, &low)); \
        put_##vectors(rest, step, low); \
    }
STORE_Q8(1)
STORE_Q8(2)
#undef STORE_Q8

/* Vector `vector` of a pixel's `vectors`, in narrowing order. */
INLINE __m128i load_bytes(const uint8_t *p, int vectors, int vector)
{
    if (vectors == 1) {
        return _mm_loadl_epi64((const __m128i *)(const void *)p);
    }
    return vector == 0 ? _mm_shuffle_epi32(load128(p), 0x08) : _mm_shuffle_epi32(load128(p), 0x0d);
}

INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_bytes(p, vectors, vector)));
}

/* 16 bits, the lower bytes from `rest`. */
INLINE vfloat other_fine(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    const __m128i high = load_bytes(p, vectors, vector), low = load_bytes(rest, vectors, vector);
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_unpacklo_epi8(low, high)));
}

#endif
