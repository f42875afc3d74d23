/* SPDX-License-Identifier: BSD-2-Clause */
#if defined(__aarch64__)

#define STEP 4u
#define KERNELS srpi_winograd_f32_neon
#define NAME "winograd neon"
/* Not measured: as with AVX2, where fewer pay */
#define SUITS(in, out) ((in) >= 8 && (out) >= 8)

#include "kernels/winograd_f32_neon.h"

#endif
