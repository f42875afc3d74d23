/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_f32_neon.h - the vectors of NEON for winograd_f32.inc.h. The includer defines STEP,
 * KERNELS, NAME and SUITS. */
#include <arm_neon.h>

typedef float32x4_t vec;
#define VECTOR 4u
#define LEAST 4u /* output channels are rounded up to a multiple of this */
#define GROUP 12u /* tiles */
/* Vectors of output channels of a block, at most; tiles whose sums stay in 32 registers; sums */
#define WIDE 2u
#define TILES(wide) 12u
#define SUMS 24u

#define v_load(p) vld1q_f32(p)
#define v_store(p, v) vst1q_f32(p, v)
#define v_all(x) vdupq_n_f32(x)
#define v_add(a, b) vaddq_f32(a, b)
#define v_sub(a, b) vsubq_f32(a, b)
#define v_fma(a, b, c) vfmaq_f32(c, a, b)
#define v_sum(sum, a, b) ((sum) = vfmaq_f32(sum, a, b))
#define v_fnma(a, b, c) vfmsq_f32(c, a, b)
#define v_max(a, b) vmaxq_f32(a, b)
#define v_min(a, b) vminq_f32(a, b)
#define v_slope(v, s) vbslq_f32(vcltzq_f32(v), vmulq_f32(v, s), v)

#include "kernels/winograd_f32.inc.h"

