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
INLINE __m256i narrow(vfloat a, vfloat b)
{
    return _mm256_packus_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
}

/* put_V: V vectors of as many pixels as fill a register, narrowed; `step`: bytes from pixel to
 * pixel. */
INLINE void put_1(uint8_t *out, size_t step, __m256i q)
{
    q = _mm256_permute4x64_epi64(q, 0xd8);
    store128(out, _mm256_castsi256_si128(q));
    store128(out + step, _mm256_extracti128_si256(q, 1));
}

INLINE void put_2(uint8_t *out, size_t step, __m256i q)
{
    (void)step;
    _mm256_storeu_si256((__m256i *)(void *)out, q);
}

/* store_q8_V: as codes; store_fine_V: as 16 bits, the lower byte of each to `rest`. */
#define STORE_Q8(vectors) \
    INLINE void store_q8_##vectors(uint8_t *out, size_t step, vfloat a, vfloat b) \
    { \
        put_##vectors(out, step, _mm256_min_epu16(narrow(a, b), _mm256_set1_epi16(255))); \
    } \
    INLINE void store_fine_##vectors(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b) \
    { \
        const __m256i q = narrow(a, b); \
        put_##vectors(out, step, _mm256_srli_epi16(q, 8)); \
        put_##vectors(rest, step, _mm256_and_si256(q, _mm256_set1_epi16(255))); \
    }
STORE_Q8(1)
STORE_Q8(2)
#undef STORE_Q8

/* One vector of each of four pixels: for q8_steps.inc.h. */
#define store_codes(out, step, v) \
    do { \
        store_q8_1(out, step, (v)[0], (v)[1]); \
        store_q8_1((out) + 2 * (step), step, (v)[2], (v)[3]); \
    } while (0)
#define store_both(out, rest, step, v) \
    do { \
        store_fine_1(out, rest, step, (v)[0], (v)[1]); \
        store_fine_1((out) + 2 * (step), (rest) + 2 * (step), step, (v)[2], (v)[3]); \
    } while (0)

INLINE vfloat words(__m256i q, int vector)
{
    const __m256i zero = _mm256_setzero_si256();
    return _mm256_cvtepi32_ps(vector == 0 ? _mm256_unpacklo_epi16(q, zero)
                                          : _mm256_unpackhi_epi16(q, zero));
}

/* Vector `vector` of a pixel's `vectors`, in narrowing order, as floats. */
INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    return vectors == 1 ? _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(load128(p)))
                        : words((__m256i)load_int(p), vector);
}

/* 16 bits, the lower bytes from `rest`. */
INLINE vfloat other_fine(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    if (vectors == 1) {
        const __m128i q = _mm_or_si128(_mm_slli_epi16(load128(p), 8), load128(rest));
        return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(q));
    }
    return words(_mm256_or_si256(_mm256_slli_epi16((__m256i)load_int(p), 8),
                                 (__m256i)load_int(rest)), vector);
}

#endif
