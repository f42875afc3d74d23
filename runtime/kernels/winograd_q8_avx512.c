/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with the flags of the generated kernels of avx512 (Makefile). */
#if defined(__x86_64__)

#include "kernels/winograd_q8_512.h"

#define KERNELS srpi_winograd_q8_avx512
#define NAME "winograd int8 avx512"
#define SUITS(in, out) ((in) >= 24 && (out) > 8)
/* More taps: where at most a sixth of the units is made up. */
#define SUITS_WINDOWS(in, out) \
    ((in) >= 24 && (out) > 8 && (in)*6 >= ((in) + 31) / 32 * 32 * 5)
/* Vectors of output channels of a block, at most; tiles whose sums stay in 32 registers; sums */
#define WIDE 4u
#define TILES(wide) ((wide) < 3 ? 12u : 6u)
#define SUMS 24u

#include "kernels/winograd_q8.inc.h"

#endif
