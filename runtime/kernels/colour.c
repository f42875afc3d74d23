/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/colour.h"

#include <stddef.h>

#include "exec/cpu.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* One body, compiled for the base instruction set and for AVX2; operations and their order are
 * the same,
 * so are the results. */
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define VARIANTS(name, parameters, arguments)                                                     \
    __attribute__((target("avx2"))) static void name##_avx2 parameters                            \
    {                                                                                             \
        name##_body arguments;                                                                    \
    }                                                                                             \
    static void name parameters                                                                   \
    {                                                                                             \
        if (srpi_cpu_avx2()) {                                                                    \
            name##_avx2 arguments;                                                                \
        } else {                                                                                  \
            name##_body arguments;                                                                \
        }                                                                                         \
    }
#else
#define VARIANTS(name, parameters, arguments)                                                     \
    static void name parameters                                                                   \
    {                                                                                             \
        name##_body arguments;                                                                    \
    }
#endif

void srpi_colour_init(struct srpi_colour *colour, enum srp_matrix matrix, enum srp_range range)
{
    const double kr = matrix == SRP_MATRIX_BT601    ? 0.299
                      : matrix == SRP_MATRIX_BT2020 ? 0.2627
                                                    : 0.2126;
    const double kb = matrix == SRP_MATRIX_BT601    ? 0.114
                      : matrix == SRP_MATRIX_BT2020 ? 0.0593
                                                    : 0.0722;
    const double kg = 1.0 - kr - kb;
    const bool full = range == SRP_RANGE_FULL;
    const double y_gain = full ? 1.0 : 255.0 / 219.0, c_gain = full ? 1.0 : 255.0 / 224.0;
    colour->y_offset = full ? 0.0f : 16.0f;
    colour->y_gain = (float)y_gain;
    colour->c_gain = (float)c_gain;
    colour->r_v = (float)(2.0 * (1.0 - kr));
    colour->g_u = (float)(2.0 * kb * (1.0 - kb) / kg);
    colour->g_v = (float)(2.0 * kr * (1.0 - kr) / kg);
    colour->b_u = (float)(2.0 * (1.0 - kb));
    colour->y_r = (float)kr;
    colour->y_g = (float)kg;
    colour->y_b = (float)kb;
    colour->u_scale = (float)(1.0 / (2.0 * (1.0 - kb) * c_gain));
    colour->v_scale = (float)(1.0 / (2.0 * (1.0 - kr) * c_gain));
    colour->y_inverse = (float)(1.0 / y_gain);
}

INLINE void to_rgb_body(const struct srpi_colour *colour, float *restrict a, float *restrict b,
                        float *restrict c, uint32_t count)
{
    const struct srpi_colour k = *colour;
    for (uint32_t x = 0; x < count; x++) {
        const float luma = (a[x] - k.y_offset) * k.y_gain;
        const float u = (b[x] - 128.0f) * k.c_gain;
        const float v = (c[x] - 128.0f) * k.c_gain;
        a[x] = luma + k.r_v * v;
        b[x] = luma - k.g_u * u - k.g_v * v;
        c[x] = luma + k.b_u * u;
    }
}

INLINE void to_yuv_body(const struct srpi_colour *colour, float *restrict a, float *restrict b,
                        float *restrict c, uint32_t count)
{
    const struct srpi_colour k = *colour;
    for (uint32_t x = 0; x < count; x++) {
        const float luma = k.y_r * a[x] + k.y_g * b[x] + k.y_b * c[x];
        const float u = (c[x] - luma) * k.u_scale + 128.0f;
        const float v = (a[x] - luma) * k.v_scale + 128.0f;
        a[x] = luma * k.y_inverse + k.y_offset;
        b[x] = u;
        c[x] = v;
    }
}

#define COLOUR_PARAMETERS                                                                         \
    (const struct srpi_colour *colour, float *restrict a, float *restrict b, float *restrict c,   \
     uint32_t count)
VARIANTS(to_rgb, COLOUR_PARAMETERS, (colour, a, b, c, count))
VARIANTS(to_yuv, COLOUR_PARAMETERS, (colour, a, b, c, count))

void srpi_colour_to_rgb(const struct srpi_colour *colour, float *const *rows, uint32_t count)
{
    to_rgb(colour, rows[0], rows[1], rows[2], count);
}

void srpi_colour_to_yuv(const struct srpi_colour *colour, float *const *rows, uint32_t count)
{
    to_yuv(colour, rows[0], rows[1], rows[2], count);
}

INLINE void half_body(const float *restrict in, float *restrict out, uint32_t pairs, bool sited)
{
    /* Pairs that have all their neighbours; in[-1] belongs to the pair before. */
    if (sited) {
        for (uint32_t x = 0; x < pairs; x++) {
            out[x] = (in[2 * (ptrdiff_t)x - 1] + in[2 * x + 1]) * 0.25f + in[2 * x] * 0.5f;
        }
    } else {
        for (uint32_t x = 0; x < pairs; x++) {
            out[x] = (in[2 * x] + in[2 * x + 1]) * 0.5f;
        }
    }
}
VARIANTS(half, (const float *restrict in, float *restrict out, uint32_t pairs, bool sited),
         (in, out, pairs, sited))

void srpi_chroma_half(const float *in, float *out, uint32_t count, bool sited)
{
    const float next = count > 1 ? in[1] : in[0];
    out[0] = sited ? (in[0] + next) * 0.25f + in[0] * 0.5f : (in[0] + next) * 0.5f;
    if (count > 2) {
        half(in + 2, out + 1, count / 2 - 1, sited);
    }
    if (count > 1 && count % 2 == 1) {
        const float last = in[count - 1];
        out[count / 2] = sited ? (in[count - 2] + last) * 0.25f + last * 0.5f : last;
    }
}

INLINE void rows_121_body(const float *restrict a, const float *restrict b,
                          const float *restrict c, float *restrict out, uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        out[x] = (a[x] + c[x]) * 0.25f + b[x] * 0.5f;
    }
}
VARIANTS(rows_121,
         (const float *restrict a, const float *restrict b, const float *restrict c,
          float *restrict out, uint32_t count),
         (a, b, c, out, count))

void srpi_rows_121(const float *a, const float *b, const float *c, float *out, uint32_t count)
{
    rows_121(a, b, c, out, count);
}

INLINE void rows_11_body(const float *restrict a, const float *restrict b, float *restrict out,
                         uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        out[x] = (a[x] + b[x]) * 0.5f;
    }
}
VARIANTS(rows_11,
         (const float *restrict a, const float *restrict b, float *restrict out, uint32_t count),
         (a, b, out, count))

void srpi_rows_11(const float *a, const float *b, float *out, uint32_t count)
{
    rows_11(a, b, out, count);
}
