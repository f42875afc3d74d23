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

/* 16 bits of two vectors, the upper or the lower bytes, less 128. */
INLINE uint16x8_t narrow2_fine(vfloat a, vfloat b)
{
    return vcombine_u16(vqmovun_s32(vcvtnq_s32_f32(a)), vqmovun_s32(vcvtnq_s32_f32(b)));
}

INLINE uint8x8_t high_bytes(uint16x8_t q)
{
    return veor_u8(vshrn_n_u16(q, 8), vdup_n_u8(0x80));
}

INLINE uint8x8_t low_bytes(uint16x8_t q)
{
    return veor_u8(vmovn_u16(q), vdup_n_u8(0x80));
}

INLINE void put4(uint8_t *out, uint8x8_t bytes)
{
    const uint32_t q = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
    memcpy(out, &q, sizeof(q));
}

INLINE void store_fine_1(uint8_t *out, uint8_t *rest, size_t step, vfloat a)
{
    (void)step;
    const uint16x8_t q = narrow2_fine(a, a);
    put4(out, high_bytes(q));
    put4(rest, low_bytes(q));
}

INLINE void store_fine_2(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b)
{
    (void)step;
    const uint16x8_t q = narrow2_fine(a, b);
    vst1_u8(out, high_bytes(q));
    vst1_u8(rest, low_bytes(q));
}

INLINE void store_fine_3(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, vfloat c)
{
    store_fine_2(out, rest, step, a, b);
    store_fine_1(out + 8, rest + 8, step, c);
}

INLINE void store_fine_4(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, vfloat c,
                         vfloat d)
{
    store_fine_2(out, rest, step, a, b);
    store_fine_2(out + 8, rest + 8, step, c, d);
}

INLINE int32x4_t load_bytes(const uint8_t *p, int vector)
{
    const int8x8_t four = vreinterpret_s8_s32(vdup_n_s32(load32(p + (size_t)4 * (size_t)vector)));
    return vaddq_s32(vmovl_s16(vget_low_s16(vmovl_s8(four))), vdupq_n_s32(128));
}

INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    (void)vectors;
    return vcvtq_f32_s32(load_bytes(p, vector));
}

/* 16 bits, the lower bytes from `rest`. */
INLINE vfloat other_fine(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    (void)vectors;
    const int32x4_t high = vshlq_n_s32(load_bytes(p, vector), 8);
    return vcvtq_f32_s32(vaddq_s32(high, load_bytes(rest, vector)));
}

#endif
