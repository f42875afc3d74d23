/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_q8_256.h - what winograd_q8.inc.h needs of vectors of 256 bits. */
#ifndef SRPI_WINOGRAD_Q8_256_H
#define SRPI_WINOGRAD_Q8_256_H

typedef uint16_t tvec __attribute__((vector_size(32))); /* terms */
typedef __m256i ivec; /* sums, 32 bits */
#define VECTOR 8u
#define GROUP 12u /* tiles */
/* Vectors of output channels of a block, at most; tiles whose sums stay in 16 registers; sums */
#define WIDE 2u
#define TILES(wide) ((wide) == 1 ? 12u : 6u)
#define SUMS 12u

#define t_store(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), (__m256i)(v))

#define i_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define i_store(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define i_all(x) _mm256_set1_epi32(x)
#define i_add(a, b) _mm256_add_epi32(a, b)
#define i_sub(a, b) _mm256_sub_epi32(a, b)
#define i_mul(a, b) _mm256_mullo_epi32(a, b)
#define i_shl(v, n) _mm256_slli_epi32(v, n)
#define i_sra(v, n) _mm256_srai_epi32(v, n)
#define i_float(v) _mm256_cvtepi32_ps(v)

#endif
