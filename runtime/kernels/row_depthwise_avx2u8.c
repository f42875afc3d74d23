/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include "kernels/vector_256_u8.h"

#define KERNELS srpi_depthwise_bytes
#define STORAGE SRPI_Q8_U8
#define NAME "avx2 u8"
#define CODE_BYTES 1u
#define load_codes(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define store_codes(out, step, v) store_q8_1(out, step, (v)[0], (v)[1], (v)[2], (v)[3])
#define store_both(out, rest, step, v) \
    store_fine_1(out, rest, step, (v)[0], (v)[1], (v)[2], (v)[3])

#include "kernels/row_depthwise.inc.h"

#endif
