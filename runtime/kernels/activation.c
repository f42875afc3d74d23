/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/activation.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "exec/cpu.h"
#include "kernels/select.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#define INLINE static inline __attribute__((always_inline))

/* Adding and taking away 1.5 * 2^23 rounds to the nearest even integer. */
#define ROUNDER 12582912.0f

/* exp(-a) for a in 0..87: 2^n * exp(r) with |r| <= ln(2)/2; the two parts of ln(2) are such that
 * n times the first is exact. The polynomial is the minimax one for its degree. */
INLINE float exp_of_minus(float a)
{
    const float n = (a * -1.44269504f + ROUNDER) - ROUNDER;
    const float r = (-a - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 0.00138142216f;
    p = p * r + 0.00836889911f;
    p = p * r + 0.0416684039f;
    p = p * r + 0.166665196f;
    p = p * r + 0.49999994f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    const int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof(power));
    return p * power;
}

static inline float tanh_of(float x)
{
    float a = fabsf(x);
    a = srpi_select(a < 10.0f, a, 10.0f); /* beyond 9.02 the result is 1 */
    const float e = exp_of_minus(a + a);
    const float large = (1.0f - e) / (1.0f + e);
    const float z = a * a;
    float p = -0.00566690043f;
    p = p * z + 0.0206061099f;
    p = p * z + -0.0537299886f;
    p = p * z + 0.133313313f;
    p = p * z + -0.333332777f;
    const float small = p * z * a + a;
    return copysignf(srpi_select(a < 0.625f, small, large), x);
}

static inline float sigmoid_of(float x)
{
    float a = fabsf(x);
    a = srpi_select(a < 87.0f, a, 87.0f);
    const float e = exp_of_minus(a);
    return srpi_select(x < 0.0f, e, 1.0f) / (1.0f + e);
}

/* Groups of a fixed size become vectors at -O2, too. */
#define GROUP 16u

INLINE void tanh_body(const float *in, float *out, size_t count)
{
    size_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        float values[GROUP];
        for (size_t k = 0; k < GROUP; k++) {
            values[k] = tanh_of(in[i + k]);
        }
        memcpy(out + i, values, sizeof(values));
    }
    for (; i < count; i++) {
        out[i] = tanh_of(in[i]);
    }
}

INLINE void sigmoid_body(const float *in, float *out, size_t count)
{
    size_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        float values[GROUP];
        for (size_t k = 0; k < GROUP; k++) {
            values[k] = sigmoid_of(in[i + k]);
        }
        memcpy(out + i, values, sizeof(values));
    }
    for (; i < count; i++) {
        out[i] = sigmoid_of(in[i]);
    }
}

/* The same operations, and so the same bits, in vectors of the compiler's default, of AVX2 and of
 * AVX-512. */
static void tanh_plain(const float *in, float *out, size_t count)
{
    tanh_body(in, out, count);
}

static void sigmoid_plain(const float *in, float *out, size_t count)
{
    sigmoid_body(in, out, count);
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) static void tanh_avx2(const float *in, float *out, size_t count)
{
    tanh_body(in, out, count);
}

__attribute__((target("avx2"))) static void sigmoid_avx2(const float *in, float *out, size_t count)
{
    sigmoid_body(in, out, count);
}

__attribute__((target("avx512f"))) static void tanh_avx512(const float *in, float *out,
                                                           size_t count)
{
    tanh_body(in, out, count);
}

__attribute__((target("avx512f"))) static void sigmoid_avx512(const float *in, float *out,
                                                              size_t count)
{
    sigmoid_body(in, out, count);
}

#else
#define tanh_avx2 tanh_plain
#define tanh_avx512 tanh_plain
#define sigmoid_avx2 sigmoid_plain
#define sigmoid_avx512 sigmoid_plain
#endif

void srpi_row_tanh(const float *in, float *out, size_t count)
{
    (srpi_cpu_avx512() ? tanh_avx512 : srpi_cpu_avx2() ? tanh_avx2 : tanh_plain)(in, out, count);
}

void srpi_row_sigmoid(const float *in, float *out, size_t count)
{
    (srpi_cpu_avx512() ? sigmoid_avx512 : srpi_cpu_avx2() ? sigmoid_avx2 : sigmoid_plain)(in, out,
                                                                                        count);
}
