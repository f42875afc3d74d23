/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_neon.h - the vocabulary of the generated row kernels: AArch64 without dot products.
 * Quantised values lie in 16 bits and are summed by widening products. */
#ifndef SRPI_VECTOR_NEON_H
#define SRPI_VECTOR_NEON_H

#include "kernels/vector_128.h"

/* Two values, twice; the weights of all lanes for the first value, then for the second. */
typedef int16x4_t value_q8;
typedef int16x8_t weight_q8;

INLINE value_q8 spread_q8(const uint8_t *p)
{
    return vreinterpret_s16_s32(vdup_n_s32(load32(p)));
}

INLINE weight_q8 load_q8(const uint8_t *p)
{
    return vreinterpretq_s16_u8(vld1q_u8(p));
}

INLINE vint dot_q8(vint sum, value_q8 x, weight_q8 w)
{
    return vmlal_high_lane_s16(vmlal_lane_s16(sum, vget_low_s16(w), x, 0), w, x, 1);
}

INLINE uint16x4_t narrow(vfloat v)
{
    return vqmovun_s32(vcvtnq_s32_f32(v));
}

INLINE void put(uint8_t *out, uint16x4_t q)
{
    vst1_u8(out, vreinterpret_u8_u16(q));
}

INLINE void store_q8(uint8_t *out, vfloat v)
{
    put(out, vmin_u16(narrow(v), vdup_n_u16(255)));
}

/* 16 bits, the lower byte of each to `rest`. */
INLINE void store_fine(uint8_t *out, uint8_t *rest, vfloat v)
{
    const uint16x4_t q = narrow(v);
    put(out, vshr_n_u16(q, 8));
    put(rest, vand_u16(q, vdup_n_u16(255)));
}

INLINE void store_q8_1(uint8_t *out, size_t step, vfloat a)
{
    (void)step;
    store_q8(out, a);
}

INLINE void store_q8_2(uint8_t *out, size_t step, vfloat a, vfloat b)
{
    store_q8_1(out, step, a);
    store_q8(out + 8, b);
}

INLINE void store_q8_3(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c)
{
    store_q8_2(out, step, a, b);
    store_q8(out + 16, c);
}

INLINE void store_q8_4(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c, vfloat d)
{
    store_q8_2(out, step, a, b);
    store_q8_2(out + 16, step, c, d);
}

INLINE void store_fine_1(uint8_t *out, uint8_t *rest, size_t step, vfloat a)
{
    (void)step;
    store_fine(out, rest, a);
}

INLINE void store_fine_2(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b)
{
    store_fine_1(out, rest, step, a);
    store_fine(out + 8, rest + 8, b);
}

INLINE void store_fine_3(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, vfloat c)
{
    store_fine_2(out, rest, step, a, b);
    store_fine(out + 16, rest + 16, c);
}

INLINE void store_fine_4(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, vfloat c,
                         vfloat d)
{
    store_fine_2(out, rest, step, a, b);
    store_fine_2(out + 16, rest + 16, step, c, d);
}

INLINE uint16x4_t load_words(const uint8_t *p, int vector)
{
    return vreinterpret_u16_u8(vld1_u8(p + (size_t)8 * (size_t)vector));
}

INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    (void)vectors;
    return vcvtq_f32_u32(vmovl_u16(load_words(p, vector)));
}

INLINE vfloat other_fine(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    (void)vectors;
    const uint16x4_t q = vorr_u16(vshl_n_u16(load_words(p, vector), 8), load_words(rest, vector));
    return vcvtq_f32_u32(vmovl_u16(q));
}

#endif
