/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_256.h - what the 256-bit sets of row kernels share: AVX2 + FMA. */
#ifndef SRPI_VECTOR_256_H
#define SRPI_VECTOR_256_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define INLINE static inline __attribute__((always_inline))

/* Of 32-bit integers, unlike __m256i: where a sum changes its type between the loop and what
 * follows, gcc keeps it twice and spills. */
typedef int32_t vint __attribute__((vector_size(32)));
typedef __m256 vfloat;
typedef vint value_q8;
typedef vint weight_q8;
typedef __m256 value_f32;
typedef __m256 weight_f32;

INLINE int32_t load32(const uint8_t *p)
{
    int32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

INLINE __m128i load128(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

INLINE void store128(uint8_t *p, __m128i v)
{
    _mm_storeu_si128((__m128i *)(void *)p, v);
}

INLINE vint load_int(const void *p)
{
    return (vint)_mm256_loadu_si256(p);
}

INLINE vfloat load_float(const void *p)
{
    return _mm256_loadu_ps(p);
}

INLINE void store_float(void *p, vfloat v)
{
    _mm256_storeu_ps(p, v);
}

INLINE vfloat set_float(float v)
{
    return _mm256_set1_ps(v);
}

INLINE value_q8 spread_q8(const uint8_t *p)
{
    return (vint)_mm256_set1_epi32(load32(p));
}

INLINE weight_q8 load_q8(const uint8_t *p)
{
    return load_int(p);
}

INLINE value_f32 spread_f32(const uint8_t *p)
{
    float value;
    memcpy(&value, p, sizeof(value));
    return _mm256_set1_ps(value);
}

INLINE weight_f32 load_f32(const uint8_t *p)
{
    return load_float(p);
}

INLINE vfloat dot_f32(vfloat sum, value_f32 x, weight_f32 w)
{
    return _mm256_fmadd_ps(x, w, sum);
}

INLINE vfloat to_float(vint v)
{
    return _mm256_cvtepi32_ps((__m256i)v);
}

/* a * b + c, rounded once */
INLINE vfloat muladd(vfloat a, vfloat b, vfloat c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vfloat multiply(vfloat a, vfloat b)
{
    return _mm256_mul_ps(a, b);
}

INLINE vfloat plus(vfloat a, vfloat b)
{
    return _mm256_add_ps(a, b);
}

/* v < 0 ? v * slope : v. By the sign: -0, which no multiple of a sum of integers is, is multiplied,
 * too. */
INLINE vfloat lean(vfloat v, vfloat slope)
{
    return _mm256_blendv_ps(v, _mm256_mul_ps(v, slope), v);
}

INLINE vfloat clamp(vfloat v, vfloat low, vfloat high)
{
    return _mm256_min_ps(_mm256_max_ps(v, low), high);
}

#endif
