/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx512f -mfma (Makefile). */
#if defined(__x86_64__)

#define STEP 2u
#define KERNELS srpi_winograd5_f32_avx512
#define NAME "winograd 5x5 avx512"
/* From 1.2 times as fast as the direct kernels; few channels are for the kernels of AVX2, to whose
 * vectors they fit better (docs/engine.md) */
#define SUITS(in, out) ((in) >= 16 || ((in) >= 6 && (out) > 8))

#include "kernels/winograd_f32_avx512.h"

#endif
