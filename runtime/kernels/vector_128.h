/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_128.h - what the AArch64 sets of row kernels share. */
#ifndef SRPI_VECTOR_128_H
#define SRPI_VECTOR_128_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define LANES 4
#define INLINE static inline __attribute__((always_inline))

typedef int32x4_t vint;
typedef float32x4_t vfloat;
typedef float32x4_t value_f32;
typedef float32x4_t weight_f32;

INLINE int32_t load32(const uint8_t *p)
{
    int32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

INLINE vint load_int(const void *p)
{
    return vreinterpretq_s32_u8(vld1q_u8(p));
}

INLINE vfloat load_float(const void *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

INLINE void store_float(void *p, vfloat v)
{
    vst1q_u8(p, vreinterpretq_u8_f32(v));
}

INLINE vfloat set_float(float v)
{
    return vdupq_n_f32(v);
}

INLINE value_f32 spread_f32(const uint8_t *p)
{
    return vreinterpretq_f32_s32(vdupq_n_s32(load32(p)));
}

INLINE weight_f32 load_f32(const uint8_t *p)
{
    return load_float(p);
}

INLINE vfloat dot_f32(vfloat sum, value_f32 x, weight_f32 w)
{
    return vfmaq_f32(sum, x, w);
}

INLINE vfloat to_float(vint v)
{
    return vcvtq_f32_s32(v);
}

/* a * b + c, rounded once */
INLINE vfloat muladd(vfloat a, vfloat b, vfloat c)
{
    return vfmaq_f32(c, a, b);
}

INLINE vfloat multiply(vfloat a, vfloat b)
{
    return vmulq_f32(a, b);
}

INLINE vfloat plus(vfloat a, vfloat b)
{
    return vaddq_f32(a, b);
}

/* v < 0 ? v * slope : v */
INLINE vfloat lean(vfloat v, vfloat slope)
{
    return vbslq_f32(vcltzq_f32(v), vmulq_f32(v, slope), v);
}

INLINE vfloat clamp(vfloat v, vfloat low, vfloat high)
{
    return vminq_f32(vmaxq_f32(v, low), high);
}

#endif
