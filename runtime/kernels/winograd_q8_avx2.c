/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include "kernels/vector_avx2.h"
#include "kernels/winograd_q8_256.h"

#define CODE_BYTES 2u
#define KERNELS srpi_winograd_q8_avx2
#define NAME "winograd int8 avx2"
#define SUITS(in, out) ((in) >= 8 && (out) >= 4)
#define FEW_ROWS 1u /* two take 1.4 to 1.6 times as long */

/* What a tile reads behind a row may be no code. */
#define t_codes(p) _mm256_and_si256(i_load(p), _mm256_set1_epi16(255))

/* The empty statement keeps gcc from adding products to each other first, for which it has no
 * registers. */
INLINE ivec i_dot(ivec x, ivec w, ivec sum)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
    __asm__("" : "+x"(sum));
    return sum;
}

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

#include "kernels/winograd_q8.inc.h"

#endif
