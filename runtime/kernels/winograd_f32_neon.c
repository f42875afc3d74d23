/* SPDX-License-Identifier: BSD-2-Clause */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <stdint.h>

#define KERNELS srpi_winograd_f32_neon
#define NAME "winograd neon"
/* Not measured: as with AVX2, where fewer pay */
#define SUITS(in, out) ((in) >= 8 && (out) >= 8)
#define SUITS_WINDOWS(in, out) SUITS(in, out)

typedef float32x4_t vec;
static const uint32_t lanes_on[8] = {~0u, ~0u, ~0u, ~0u};
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
/* The first n lanes, and zeros. */
#define v_first(v, n) \
    vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vld1q_u32(lanes_on + VECTOR - (n))))
#define v_max(a, b) vmaxq_f32(a, b)
#define v_min(a, b) vminq_f32(a, b)
#define v_slope(v, s) vbslq_f32(vcltzq_f32(v), vmulq_f32(v, s), v)

#include "kernels/winograd_f32.inc.h"

#endif
