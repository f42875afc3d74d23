/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include "kernels/vector_avx2.h"

#define KERNELS srpi_depthwise_words
#define STORAGE SRPI_Q8_U16
#define NAME "avx2"
#define CODE_BYTES 2u
#define load_codes(p) _mm256_cvtepu16_epi32(load128(p))

#include "kernels/row_depthwise.inc.h"

#endif
