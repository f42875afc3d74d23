/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_dotprod.h - the vocabulary of the generated row kernels: AArch64 with dot products of
 * signed bytes. Quantised values are stored less 128. */
#ifndef SRPI_VECTOR_DOTPROD_H
#define SRPI_VECTOR_DOTPROD_H

#include "kernels/vector_128.h"

typedef int8x16_t value_q8;
typedef int8x16_t weight_q8;

INLINE value_q8 spread_q8(const uint8_t *p)
{
    return vreinterpretq_s8_s32(vdupq_n_s32(load32(p)));
}

INLINE weight_q8 load_q8(const uint8_t *p)
{
    return vreinterpretq_s8_u8(vld1q_u8(p));
}

INLINE vint dot_q8(vint sum, value_q8 x, weight_q8 w)
{
    return vdotq_s32(sum, x, w);
}

/* q - 128 saturated to -128..127 is q saturated to 0..255, less 128. */
INLINE int16x4_t narrow_q8(vfloat v)
{
    return vqmovn_s32(vsubq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(128)));
}

INLINE int8x8_t narrow2_q8(vfloat a, vfloat b)
{
    return vqmovn_s16(vcombine_s16(narrow_q8(a), narrow_q8(b)));
}

INLINE void store_q8_1(uint8_t *out, size_t step, vfloat a)
{
    (void)step;
    const uint32_t q = vget_lane_u32(vreinterpret_u32_s8(narrow2_q8(a, a)), 0);
    memcpy(out, &q, sizeof(q));
}

INLINE void store_q8_2(uint8_t *out, size_t step, vfloat a, vfloat b)
{
    (void)step;
    vst1_u8(out, vreinterpret_u8_s8(narrow2_q8(a, b)));
}

INLINE void store_q8_3(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c)
{
    store_q8_2(out, step, a, b);
    store_q8_1(out + 8, step, c);
}

INLINE void store_q8_4(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c, vfloat d)
{
    (void)step;
    vst1q_u8(out, vreinterpretq_u8_s8(vcombine_s8(narrow2_q8(a, b), narrow2_q8(c, d))));
}

INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    (void)vectors;
    const int8x8_t four = vreinterpret_s8_s32(vdup_n_s32(load32(p + (size_t)4 * (size_t)vector)));
    const int32x4_t q = vmovl_s16(vget_low_s16(vmovl_s8(four)));
    return vcvtq_f32_s32(vaddq_s32(q, vdupq_n_s32(128)));
}

#endif
