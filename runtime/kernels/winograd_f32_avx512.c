/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx512f -mfma (Makefile). */
#if defined(__x86_64__)

#include <immintrin.h>

#define KERNELS srpi_winograd_f32_avx512
#define NAME "winograd avx512"
/* From 1.25 times as fast as a direct convolution could be (docs/engine.md) */
#define SUITS(in, out) ((in) >= 9 || ((in) >= 4 && (out) > 8))
/* More taps: where AVX2's vectors do not fit the input channels better. */
#define SUITS_WINDOWS(in, out) (((in) - 1) % 16 >= 8 && ((in) >= 16 || (out) > 8))

typedef __m512 vec;
#define VECTOR 16u
#define LEAST 8u /* output channels are rounded up to a multiple of this */
#define GROUP 12u /* tiles */
/* Vectors of output channels of a block, at most; tiles whose sums stay in 32 registers; sums */
#define WIDE 4u
#define TILES(wide) ((wide) < 3 ? 12u : 6u)
#define SUMS 24u

#define v_load(p) _mm512_loadu_ps(p)
#define v_store(p, v) _mm512_storeu_ps(p, v)
#define v_all(x) _mm512_set1_ps(x)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define v_four(p) _mm512_broadcast_f32x4(_mm_loadu_ps(p))
#define v_spread(v, k) OF_FOUR(_mm512_permute_ps, v, k)
/* An instruction, as gcc 12 else moves sums about until it has no registers left. */
#define v_sum(sum, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
/* The term is loaded and spread by the same instruction: on a Zen 4 a ninth less time. */
#define v_sum_at(sum, p, b) \
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(b), "m"(*(p)))
/* The first n lanes, and zeros. */
#define v_first(v, n) _mm512_maskz_mov_ps((__mmask16)((1u << (n)) - 1), v)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_slope(v, s) \
    _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, s)

typedef __m256 half_vec;
#define h_load(p) _mm256_loadu_ps(p)
#define h_store(p, v) _mm256_storeu_ps(p, v)
#define h_all(x) _mm256_set1_ps(x)

#include "kernels/winograd_f32.inc.h"

#endif
