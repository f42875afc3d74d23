/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_avx512.h - the vocabulary of the generated row kernels: AVX-512 F, BW, DQ, VL + VNNI. */
#ifndef SRPI_VECTOR_AVX512_H
#define SRPI_VECTOR_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/unroll.h"

#define LANES 16
#define INLINE static inline __attribute__((always_inline))

/* Of 32-bit integers, unlike __m512i: where a sum changes its type between the loop and what
 * follows, gcc keeps it twice and spills. */
typedef int32_t vint __attribute__((vector_size(64)));
typedef __m512 vfloat;
/* Four u8 in each lane, and four s8. */
typedef vint value_q8;
typedef vint weight_q8;
typedef __m512 value_f32;
typedef __m512 weight_f32;

INLINE int32_t load32(const uint8_t *p)
{
    int32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

INLINE vint load_int(const void *p)
{
    return (vint)_mm512_loadu_si512(p);
}

INLINE vfloat load_float(const void *p)
{
    return _mm512_loadu_ps(p);
}

INLINE void store_float(void *p, vfloat v)
{
    _mm512_storeu_ps(p, v);
}

INLINE vfloat set_float(float v)
{
    return _mm512_set1_ps(v);
}

INLINE value_q8 spread_q8(const uint8_t *p)
{
    return (vint)_mm512_set1_epi32(load32(p));
}

/* An address is made where this stands: gcc would keep each distance from it in a register, or on
 * the stack. */
#define MADE_HERE(address) __asm__("" : "+r"(address))

/* Four units, in each 128 bits; and one of them in all lanes. */
INLINE value_q8 four_q8(const uint8_t *p)
{
    return (vint)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE value_q8 of_four_q8(value_q8 four, const int unit)
{
    return (vint)OF_FOUR(_mm512_shuffle_epi32, (__m512i)four, unit);
}

INLINE weight_q8 load_q8(const uint8_t *p)
{
    return load_int(p);
}

INLINE vint dot_q8(vint sum, value_q8 x, weight_q8 w)
{
    return (vint)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
}

/* Of the vectors' lower halves alone. */
INLINE vint dot_half_q8(vint sum, value_q8 x, weight_q8 w)
{
    __asm__("vpdpbusd %t2, %t1, %t0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

INLINE value_f32 spread_f32(const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_set1_epi32(load32(p)));
}

INLINE value_f32 four_f32(const uint8_t *p)
{
    return _mm512_castsi512_ps((__m512i)four_q8(p));
}

INLINE value_f32 of_four_f32(value_f32 four, const int unit)
{
    return OF_FOUR(_mm512_permute_ps, four, unit);
}

INLINE weight_f32 load_f32(const uint8_t *p)
{
    return _mm512_loadu_ps(p);
}

INLINE vfloat dot_f32(vfloat sum, value_f32 x, weight_f32 w)
{
    return _mm512_fmadd_ps(x, w, sum);
}

INLINE vfloat dot_half_f32(vfloat sum, value_f32 x, weight_f32 w)
{
    __asm__("vfmadd231ps %t2, %t1, %t0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

INLINE vfloat to_float(vint v)
{
    return _mm512_cvtepi32_ps((__m512i)v);
}

/* a * b + c, rounded once */
INLINE vfloat muladd(vfloat a, vfloat b, vfloat c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vfloat multiply(vfloat a, vfloat b)
{
    return _mm512_mul_ps(a, b);
}

INLINE vfloat plus(vfloat a, vfloat b)
{
    return _mm512_add_ps(a, b);
}

/* v < 0 ? v * slope : v */
INLINE vfloat lean(vfloat v, vfloat slope)
{
    return _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, slope);
}

INLINE vfloat clamp(vfloat v, vfloat low, vfloat high)
{
    return _mm512_min_ps(_mm512_max_ps(v, low), high);
}

/* Four vectors as bytes, saturated; in each 128 bits: 4 of a, 4 of b, 4 of c, 4 of d. */
INLINE __m512i narrow_q8(vfloat a, vfloat b, vfloat c, vfloat d)
{
    return _mm512_packus_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b)),
                               _mm512_packs_epi32(_mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d)));
}

/* The same as 16 bits, the upper and the lower bytes. */
INLINE __m512i narrow_fine(vfloat a, vfloat b, vfloat c, vfloat d, __m512i *low)
{
    const __m512i bytes = _mm512_set1_epi16(255);
    const __m512i ab = _mm512_packus_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
    const __m512i cd = _mm512_packus_epi32(_mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d));
    *low = _mm512_packus_epi16(_mm512_and_si512(ab, bytes), _mm512_and_si512(cd, bytes));
    return _mm512_packus_epi16(_mm512_srli_epi16(ab, 8), _mm512_srli_epi16(cd, 8));
}

/* put_V: V vectors of as many pixels as fill a register, narrowed; put_Vh: the last one half empty.
 * `step`: bytes from pixel to pixel; a constant in kernels made for one shape. */
INLINE void put_1(uint8_t *out, size_t step, __m512i q)
{
    const __m512i pixel_order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    q = _mm512_permutexvar_epi32(pixel_order, q);
    if (step == 16) {
        _mm512_storeu_si512(out, q);
    } else {
        _mm_storeu_si128((__m128i *)(void *)out, _mm512_castsi512_si128(q));
        _mm_storeu_si128((__m128i *)(void *)(out + step), _mm512_extracti32x4_epi32(q, 1));
        _mm_storeu_si128((__m128i *)(void *)(out + 2 * step), _mm512_extracti32x4_epi32(q, 2));
        _mm_storeu_si128((__m128i *)(void *)(out + 3 * step), _mm512_extracti32x4_epi32(q, 3));
    }
}

INLINE void put_2(uint8_t *out, size_t step, __m512i q)
{
    const __m512i pixel_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    q = _mm512_permutexvar_epi64(pixel_order, q);
    if (step == 32) {
        _mm512_storeu_si512(out, q);
    } else {
        _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(q));
        _mm256_storeu_si256((__m256i *)(void *)(out + step), _mm512_extracti64x4_epi64(q, 1));
    }
}

INLINE void put_3(uint8_t *out, size_t step, __m512i q)
{
    /* The last 16 bytes are of no use, and must not fall on another block's channels. */
    const __m512i channel_order =
        _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
    q = _mm512_permutexvar_epi32(channel_order, q);
    if (step == 48) {
        _mm512_storeu_si512(out, q);
    } else {
        _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(q));
        _mm_storeu_si128((__m128i *)(void *)(out + 32), _mm512_extracti32x4_epi32(q, 2));
    }
}

INLINE void put_4(uint8_t *out, size_t step, __m512i q)
{
    (void)step;
    _mm512_storeu_si512(out, q);
}

INLINE void put_2h(uint8_t *out, size_t step, __m512i q)
{
    const __m512i pixel_order =
        _mm512_setr_epi32(0, 1, 4, 5, 8, 12, 9, 13, 2, 3, 6, 7, 10, 14, 11, 15);
    q = _mm512_permutexvar_epi32(pixel_order, q);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(q));
    _mm256_storeu_si256((__m256i *)(void *)(out + step), _mm512_extracti64x4_epi64(q, 1));
}

INLINE void put_3h(uint8_t *out, size_t step, __m512i q)
{
    const __m512i channel_order =
        _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 12, 13, 10, 14, 3, 7, 11, 15);
    (void)step;
    q = _mm512_permutexvar_epi32(channel_order, q);
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(q));
    _mm_storeu_si128((__m128i *)(void *)(out + 32), _mm512_extracti32x4_epi32(q, 2));
}

INLINE void put_4h(uint8_t *out, size_t step, __m512i q)
{
    const __m512i channel_order =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 11, 15);
    (void)step;
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(channel_order, q));
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
        __m512i low; \
        put_##vectors(out, step, narrow_fine(a, b, c, d, &low)); \
        put_##vectors(rest, step, low); \
    }
STORE_Q8(1)
STORE_Q8(2)
STORE_Q8(4)
STORE_Q8(2h)
STORE_Q8(4h)
#undef STORE_Q8

#define STORE_Q8(vectors) \
    INLINE void store_q8_##vectors(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c) \
    { \
        put_##vectors(out, step, narrow_q8(a, b, c, c)); \
    } \
    INLINE void store_fine_##vectors(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, \
                                     vfloat c) \
    { \
        __m512i low; \
        put_##vectors(out, step, narrow_fine(a, b, c, c, &low)); \
        put_##vectors(rest, step, low); \
    }
STORE_Q8(3)
STORE_Q8(3h)
#undef STORE_Q8

/* Vector `vector` of a pixel's `vectors`, in narrowing order. half: the last one is half empty;
 * what its other half holds is of no use. */
INLINE __m128i load_bytes(const uint8_t *p, int vectors, int vector, const bool half)
{
    const int n = vectors, a = vector, b = n + a, c = 2 * n + a, d = (half ? 3 * n - 1 : 3 * n) + a;
    if (vectors == 1) {
        return _mm_loadu_si128((const __m128i *)(const void *)p);
    }
    if (vectors == 2) {
        const __m256i order = _mm256_setr_epi32(a, b, c, d, a, a, a, a);
        const __m256i all = _mm256_loadu_si256((const __m256i *)(const void *)p);
        return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(all, order));
    }
    const __m512i order = _mm512_setr_epi32(a, b, c, d, a, a, a, a, a, a, a, a, a, a, a, a);
    return _mm512_castsi512_si128(_mm512_permutexvar_epi32(order, _mm512_loadu_si512(p)));
}

INLINE vfloat float_q8(__m128i codes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
}

INLINE vfloat float_fine(__m128i high, __m128i low)
{
    const __m256i all =
        _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(all));
}

INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    return float_q8(load_bytes(p, vectors, vector, false));
}

INLINE vfloat other_q8h(const uint8_t *p, int vectors, int vector)
{
    return float_q8(load_bytes(p, vectors, vector, true));
}

/* 16 bits, the lower bytes from `rest`. */
INLINE vfloat other_fine(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    return float_fine(load_bytes(p, vectors, vector, false),
                      load_bytes(rest, vectors, vector, false));
}

INLINE vfloat other_fineh(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    return float_fine(load_bytes(p, vectors, vector, true),
                      load_bytes(rest, vectors, vector, true));
}

#endif
