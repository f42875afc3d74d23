/* SPDX-License-Identifier: BSD-2-Clause */
/* Layers whose weights do not stay in the second cache: more tiles read them at once, and while a
 * block's products are made the next block's weights are fetched, evenly. Else the first tiles wait
 * for weights, and the others leave memory idle. More tiles take no more memory, as products lie in
 * the terms' place. Compiled with -mavx2 -mfma (Makefile). */
#if defined(__x86_64__)

#include <stdbool.h>

#include "kernels/winograd_f32_256.h"

#define KERNELS srpi_winograd_f32_wide_avx2
#define NAME "winograd wide avx2"
#define SUITS(in, out) ((in) >= 96 && (out) >= 96)
#define SUITS_WINDOWS(in, out) ((void)(in), (void)(out), false)
#define GROUP 18u /* tiles */
#define IN_PLACE
/* For a vector of units: half the weights of a block of two vectors. */
#define HALF_BLOCK (VECTOR * VECTOR)
#define FETCH(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)

#include "kernels/winograd_f32.inc.h"

#endif
