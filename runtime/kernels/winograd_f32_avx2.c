/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#define STEP 4u
#define KERNELS srpi_winograd_f32_avx2
#define NAME "winograd avx2"
/* From 1.25 times as fast as a direct convolution could be (docs/engine.md) */
#define SUITS(in, out) ((in) >= 6 || ((in) >= 4 && (out) > 8))

#include "kernels/winograd_f32_avx2.h"

#endif
