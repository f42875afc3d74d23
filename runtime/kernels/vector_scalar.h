/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_scalar.h - the vocabulary of the generated row kernels in plain C: vectors of one lane. */
#ifndef SRPI_VECTOR_SCALAR_H
#define SRPI_VECTOR_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 1
#define INLINE static inline __attribute__((always_inline))

typedef int32_t vint;
typedef float vfloat;
typedef struct {
    int32_t v[4];
} value_q8;
typedef value_q8 weight_q8;
typedef float value_f32;
typedef float weight_f32;

INLINE vint load_int(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

INLINE vfloat load_float(const void *p)
{
    float value;
    memcpy(&value, p, sizeof(value));
    return value;
}

INLINE void store_float(void *p, vfloat v)
{
    memcpy(p, &v, sizeof(v));
}

INLINE vfloat set_float(float v)
{
    return v;
}

INLINE value_q8 spread_q8(const uint8_t *p)
{
    return (value_q8){{p[0], p[1], p[2], p[3]}};
}

INLINE weight_q8 load_q8(const uint8_t *p)
{
    int8_t w[4];
    memcpy(w, p, sizeof(w));
    return (weight_q8){{w[0], w[1], w[2], w[3]}};
}

INLINE vint dot_q8(vint sum, value_q8 x, weight_q8 w)
{
    return sum + x.v[0] * w.v[0] + x.v[1] * w.v[1] + x.v[2] * w.v[2] + x.v[3] * w.v[3];
}

INLINE value_f32 spread_f32(const uint8_t *p)
{
    return load_float(p);
}

INLINE weight_f32 load_f32(const uint8_t *p)
{
    return load_float(p);
}

/* Not fmaf: without an instruction for it that is a slow function. */
INLINE vfloat dot_f32(vfloat sum, value_f32 x, weight_f32 w)
{
    return sum + x * w;
}

INLINE vfloat to_float(vint v)
{
    return (float)v;
}

/* a * b + c, rounded once */
INLINE vfloat muladd(vfloat a, vfloat b, vfloat c)
{
    return fmaf(a, b, c);
}

INLINE vfloat multiply(vfloat a, vfloat b)
{
    return a * b;
}

INLINE vfloat plus(vfloat a, vfloat b)
{
    return a + b;
}

INLINE vfloat lean(vfloat v, vfloat slope)
{
    return v < 0.0f ? v * slope : v;
}

INLINE vfloat clamp(vfloat v, vfloat low, vfloat high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

INLINE void narrow_q8(uint8_t *out, vfloat v)
{
    const long q = lrintf(v);
    *out = (uint8_t)(q < 0 ? 0 : q > 255 ? 255 : q);
}

INLINE void store_q8_1(uint8_t *out, size_t step, vfloat a)
{
    (void)step;
    narrow_q8(out, a);
}

INLINE void store_q8_2(uint8_t *out, size_t step, vfloat a, vfloat b)
{
    (void)step;
    narrow_q8(out, a);
    narrow_q8(out + 1, b);
}

INLINE void store_q8_3(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c)
{
    store_q8_2(out, step, a, b);
    narrow_q8(out + 2, c);
}

INLINE void store_q8_4(uint8_t *out, size_t step, vfloat a, vfloat b, vfloat c, vfloat d)
{
    store_q8_2(out, step, a, b);
    store_q8_2(out + 2, step, c, d);
}

/* 16 bits, the lower byte to `rest`. */
INLINE void narrow_fine(uint8_t *out, uint8_t *rest, vfloat v)
{
    const long q = lrintf(v), limited = q < 0 ? 0 : q > 65535 ? 65535 : q;
    *out = (uint8_t)(limited >> 8);
    *rest = (uint8_t)limited;
}

INLINE void store_fine_1(uint8_t *out, uint8_t *rest, size_t step, vfloat a)
{
    (void)step;
    narrow_fine(out, rest, a);
}

INLINE void store_fine_2(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b)
{
    (void)step;
    narrow_fine(out, rest, a);
    narrow_fine(out + 1, rest + 1, b);
}

INLINE void store_fine_3(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, vfloat c)
{
    store_fine_2(out, rest, step, a, b);
    narrow_fine(out + 2, rest + 2, c);
}

INLINE void store_fine_4(uint8_t *out, uint8_t *rest, size_t step, vfloat a, vfloat b, vfloat c,
                         vfloat d)
{
    store_fine_2(out, rest, step, a, b);
    store_fine_2(out + 2, rest + 2, step, c, d);
}

INLINE vfloat other_q8(const uint8_t *p, int vectors, int vector)
{
    (void)vectors;
    return p[vector];
}

INLINE vfloat other_fine(const uint8_t *p, const uint8_t *rest, int vectors, int vector)
{
    (void)vectors;
    return (float)(p[vector] * 256 + rest[vector]);
}

#endif
