/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_f32_256.h - what winograd_f32.inc.h needs of vectors of 256 bits: AVX2 + FMA. */
#ifndef SRPI_WINOGRAD_F32_256_H
#define SRPI_WINOGRAD_F32_256_H

#include <immintrin.h>
#include <stdint.h>

typedef __m256 vec;
static const int32_t lanes_on[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define VECTOR 8u
#define LEAST 8u /* output channels are rounded up to a multiple of this */
/* Vectors of output channels of a block, at most; tiles whose sums stay in 16 registers; sums */
#define WIDE 2u
#define TILES(wide) ((wide) == 1 ? 12u : 6u)
#define SUMS 12u

#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_all(x) _mm256_set1_ps(x)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
/* An instruction, as gcc 12 else moves sums about until it has no registers left. */
#define v_sum(sum, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
/* The first n lanes, and zeros. */
#define v_first(v, n) \
    _mm256_and_ps(v, _mm256_loadu_ps((const float *)(const void *)(lanes_on + VECTOR - (n))))
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_slope(v, s) _mm256_blendv_ps(v, _mm256_mul_ps(v, s), v)

#endif
