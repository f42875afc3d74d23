/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include "kernels/vector_avx2.h"

#define KERNELS srpi_depthwise_words
#define STORAGE SRPI_Q8_U16
#define NAME "avx2"
#define CODE_BYTES 2u
#define load_codes(p) _mm256_cvtepu16_epi32(load128(p))
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

#include "kernels/row_depthwise.inc.h"

#endif
