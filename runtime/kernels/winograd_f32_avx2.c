/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include "kernels/winograd_f32_256.h"

#define KERNELS srpi_winograd_f32_avx2
#define NAME "winograd avx2"
/* From 1.25 times as fast as a direct convolution could be (docs/engine.md) */
#define SUITS(in, out) ((in) >= 6 || ((in) >= 4 && (out) > 8))
#define SUITS_WINDOWS(in, out) ((in) >= 8 || ((in) >= 5 && (out) > 8))
#define GROUP 12u /* tiles */

#include "kernels/winograd_f32.inc.h"

#endif
