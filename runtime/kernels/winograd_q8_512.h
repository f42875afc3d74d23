/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_q8_512.h - what winograd_q8.inc.h needs of vectors of 512 bits. */
#ifndef SRPI_WINOGRAD_Q8_512_H
#define SRPI_WINOGRAD_Q8_512_H

#include "kernels/vector_avx512.h"

typedef uint16_t tvec __attribute__((vector_size(64))); /* terms */
typedef uint16_t half_tvec __attribute__((vector_size(32)));
typedef __m512i ivec; /* sums, 32 bits */
#define VECTOR 16u
#define CODE_BYTES 1u
#define FEW_ROWS 2u /* three take as long as four */
#define GROUP 12u /* tiles */

#define t_codes(p) \
    (tvec)_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define t_store(p, v) _mm512_storeu_si512(p, (__m512i)(v))
#define t_codes_half(p) \
    (half_tvec)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define t_store_half(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), (__m256i)(v))

#define i_load(p) _mm512_loadu_si512(p)
#define i_store(p, v) _mm512_storeu_si512(p, v)
#define i_all(x) _mm512_set1_epi32(x)
#define i_add(a, b) _mm512_add_epi32(a, b)
#define i_sub(a, b) _mm512_sub_epi32(a, b)
#define i_mul(a, b) _mm512_mullo_epi32(a, b)
#define i_shl(v, n) _mm512_slli_epi32(v, n)
#define i_sra(v, n) _mm512_srai_epi32(v, (unsigned)(n))
/* The empty statement keeps the sum in its register, as gcc 12 else moves sums about until it has
 * none left. */
#define i_add_dot(sum, x, w) \
    do { \
        (sum) = _mm512_dpwssd_epi32(sum, x, w); \
        __asm__("" : "+v"(sum)); \
    } while (0)
/* The same of the lower halves. */
#define i_add_dot_half(sum, x, w) \
    __asm__("vpdpwssd %t2, %t1, %t0" : "+v"(sum) : "v"(x), "v"(w))
#define i_load_half(p) \
    _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define i_four(p) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define i_spread(v, k) OF_FOUR(_mm512_shuffle_epi32, v, k)
#define i_float(v) _mm512_cvtepi32_ps(v)

#define store_codes(out, step, v) store_q8_1(out, step, (v)[0], (v)[1], (v)[2], (v)[3])
#define store_both(out, rest, step, v) \
    store_fine_1(out, rest, step, (v)[0], (v)[1], (v)[2], (v)[3])

#endif
