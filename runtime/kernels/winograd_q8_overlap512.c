/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with the flags of the generated kernels of avx512 (Makefile). */
#if defined(__x86_64__)

#include "kernels/winograd_q8_512.h"

#define KERNELS srpi_winograd_q8_overlap512
#define NAME "winograd int8 avx512 overlap"
#define SUITS(in, out) ((in) >= 14 && (out) > 8)
/* More taps: where at most a sixth of the units is made up. */
#define SUITS_WINDOWS(in, out) \
    ((in) >= 16 && (out) > 8 && (in)*6 >= ((in) + 15) / 16 * 16 * 5)
#define OVERLAP
/* One vector of output channels and twelve tiles leave registers for the pieces. */
#define WIDE 1u
#define TILES(wide) 12u
#define SUMS 12u

/* The term is loaded and spread by the product's own instruction. */
#define i_add_dot_at(sum, p, w) \
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(p)))
#define i_add_dot_at_half(sum, p, w) \
    __asm__("vpdpwssd %2%{1to8%}, %t1, %t0" : "+v"(sum) : "v"(w), "m"(*(p)))

#include "kernels/winograd_q8.inc.h"

#endif
