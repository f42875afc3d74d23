/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include "kernels/vector_avx2.h"
#include "kernels/winograd_q8_256.h"

#define CODE_BYTES 2u
#define KERNELS srpi_winograd_q8_avx2
#define NAME "winograd int8 avx2"
#define SUITS(in, out) ((in) >= 8 && (out) >= 4)

/* What a tile reads behind a row may be no code: such a tile is copied. */
#define COPY_BROKEN
#define t_codes(p) i_load(p)

/* The empty statement keeps gcc from adding products to each other first, for which it has no
 * registers. */
INLINE ivec i_dot(ivec x, ivec w, ivec sum)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
    __asm__("" : "+x"(sum));
    return sum;
}

/* Products and additions are instructions of their own: the first product needs no addition. */
#define DOT_IN_TWO
#define SUM_LEAST 4u /* units that a sum begins with */
#define i_product(x, w) _mm256_madd_epi16(x, w)

/* Two products, then two additions. */
INLINE void i_dot_two(ivec x, ivec wa, ivec wb, ivec *a, ivec *b)
{
    ivec pa = i_product(x, wa), pb = i_product(x, wb);
    __asm__("" : "+x"(pa), "+x"(pb));
    ivec sa = _mm256_add_epi32(*a, pa), sb = _mm256_add_epi32(*b, pb);
    __asm__("" : "+x"(sa), "+x"(sb));
    *a = sa;
    *b = sb;
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
