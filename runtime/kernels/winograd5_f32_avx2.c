/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#define STEP 2u
#define KERNELS srpi_winograd5_f32_avx2
#define NAME "winograd 5x5 avx2"
/* From 1.2 times as fast as the direct kernels (docs/engine.md) */
#define SUITS(in, out) ((in) >= 8 || ((in) >= 5 && (out) > 8))

#include "kernels/winograd_f32_avx2.h"

#endif
