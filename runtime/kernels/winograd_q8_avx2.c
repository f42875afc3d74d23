/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include <stdbool.h>

#include "kernels/unroll.h"
#include "kernels/vector_avx2.h"
#include "kernels/winograd_q8_256.h"

#define CODE_BYTES 2u
#define KERNELS srpi_winograd_q8_avx2
#define NAME "winograd int8 avx2"
#define SUITS(in, out) ((in) >= 6)
/* More taps: of few outputs, for which the direct kernel has its own way, where at most a sixth
 * of the units is made up. */
#define SUITS_WINDOWS(in, out) \
    ((in) >= 12 && ((out) > FEW || (in)*6 >= ((in) + 15) / 16 * 16 * 5))
#define FEW_ROWS 1u /* two take 1.4 to 1.6 times as long */

#define t_codes(p) (tvec)i_load(p)

/* The empty statement keeps the sum in its register, as gcc 12 else adds products to each other
 * first, for which it has none. */
#define i_add_dot(sum, x, w) \
    do { \
        (sum) = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)); \
        __asm__("" : "+v"(sum)); \
    } while (0)

/* Products and additions are instructions of their own: the first product needs no addition. */
#define DOT_IN_TWO
#define SUM_LEAST 4u /* units that a sum begins with */
#define i_product(x, w) _mm256_madd_epi16(x, w)

/* Two products, then two additions: the empty statements keep the order. */
#define i_add_two(a, b, x, wa, wb) \
    do { \
        ivec pa = i_product(x, wa), pb = i_product(x, wb); \
        __asm__("" : "+v"(pa), "+v"(pb)); \
        (a) = _mm256_add_epi32(a, pa); \
        (b) = _mm256_add_epi32(b, pb); \
        __asm__("" : "+v"(a), "+v"(b)); \
    } while (0)

/* Channels 0..3 and 8..11 of 16 are the first vector of a pair, 4..7 and 12..15 the second: so
 * narrowing leaves neighbours in their order, and a pixel's codes are stored at once. */
#define PAIRS
#define i_of_float(v) _mm256_castps_si256(v)

INLINE vfloat load_part(const void *p, bool second)
{
    const float *from = (const float *)p + (second ? 4 : 0);
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)),
                                _mm_loadu_ps(from + 8), 1);
}

/* The first vectors of four pixels, before they are narrowed. */
INLINE void hold_part(__m256i held[4], const vfloat v[4])
{
    UNROLL for (uint32_t x = 0; x < 4; x++) {
        held[x] = _mm256_cvtps_epi32(v[x]);
    }
}

/* With the second ones. */
INLINE void store_pair(uint8_t *out, size_t fraction, size_t step, const __m256i held[4],
                       const vfloat v[4])
{
    UNROLL for (uint32_t x = 0; x < 4; x++) {
        const __m256i pixel = _mm256_packus_epi32(held[x], _mm256_cvtps_epi32(v[x]));
        const __m256i bytes = _mm256_set1_epi16(255);
        if (fraction == 0) {
            put_2(out, step, _mm256_min_epu16(pixel, bytes));
        } else {
            put_2(out, step, _mm256_srli_epi16(pixel, 8));
            put_2(out + fraction, step, _mm256_and_si256(pixel, bytes));
        }
        out += step;
    }
}

#define IN_PLACE

/* A last vector of four channels or fewer. */
#define FEW 4u
#define i_two(p) _mm256_castpd_si256(_mm256_broadcast_sd((const double *)(const void *)(p)))
#define i_add_lanes(a, b) _mm256_hadd_epi32(a, b)
#define i_of_both(v) \
    _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 1, 0, 1, 2, 3, 2, 3))
#define of_first(v) \
    _mm256_castps128_ps256(_mm_movelh_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)))
#define of_second(v) \
    _mm256_castps128_ps256(_mm_movehl_ps(_mm256_extractf128_ps(v, 1), _mm256_castps256_ps128(v)))

#include "kernels/winograd_q8.inc.h"

#endif
