/* SPDX-License-Identifier: BSD-2-Clause */
#if defined(__aarch64__)

#define STEP 2u
#define KERNELS srpi_winograd5_f32_neon
#define NAME "winograd 5x5 neon"
/* Not measured: as with 3x3 taps */
#define SUITS(in, out) ((in) >= 8 && (out) >= 8)

#include "kernels/winograd_f32_neon.h"

#endif
