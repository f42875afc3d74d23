/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with the flags of the generated kernels of avxvnni, where the compiler knows them
 * (Makefile). */
#if defined(__x86_64__) && defined(SRPI_ROWS_avxvnni)

#include "kernels/vector_256_u8.h"
#include "kernels/winograd_q8_256.h"

#define CODE_BYTES 1u
#define KERNELS srpi_winograd_q8_avxvnni
#define NAME "winograd int8 avxvnni"
#define SUITS(in, out) ((in) >= 20 && (out) > 8)
/* More taps: where at most a sixth of the units is made up. */
#define SUITS_WINDOWS(in, out) \
    ((in) >= 24 && (out) > 8 && (in)*6 >= ((in) + 15) / 16 * 16 * 5)
#define FEW_ROWS 2u /* three take as long as four */

#define t_codes(p) (tvec)_mm256_cvtepu8_epi16(load128(p))

/* The empty statement keeps the sum in its register, as gcc 12 else moves sums about until it has
 * none left. */
#define i_add_dot(sum, x, w) \
    do { \
        (sum) = _mm256_dpwssd_avx_epi32(sum, x, w); \
        __asm__("" : "+v"(sum)); \
    } while (0)

#define store_codes(out, step, v) store_q8_1(out, step, (v)[0], (v)[1], (v)[2], (v)[3])
#define store_both(out, rest, step, v) \
    store_fine_1(out, rest, step, (v)[0], (v)[1], (v)[2], (v)[3])

#include "kernels/winograd_q8.inc.h"

#endif
