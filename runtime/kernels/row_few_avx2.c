/* SPDX-License-Identifier: BSD-2-Clause */
/* Layers of at most four outputs to f32, AVX2: the last layers of networks for luma at x2. Vectors
 * of eight outputs would be half empty or worse. Here the lanes are neighbouring products of one
 * output instead, and are added up at the end of a pixel. */
#include "kernels/row_few.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "model/checked.h"

enum {
    OUTPUTS = SRPI_ROW_FEW_OUTPUTS,
    VALUES = SRPI_ROW_FEW_VALUES,
    PIXELS = 2, /* together: 8 sums, 2 values and a weight are 11 of 16 registers */
};

/* [kernel row][vector][output][value], as 16 bits */
static size_t packed_size(const struct srpi_conv_shape *shape)
{
    size_t size = OUTPUTS * VALUES * sizeof(int16_t);
    return srpi_mul(size, srpi_row_few_vectors(shape), &size) &&
                   srpi_mul(size, shape->kernel_height, &size)
               ? size
               : 0;
}

static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    const uint32_t in = shape->in_channels, vectors = srpi_row_few_vectors(shape);
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    int16_t *to = packed;
    memset(packed, 0, packed_size(shape));
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
            for (uint32_t run = 0; run < shape->kernel_width * in; run++) {
                const size_t tap = ky * shape->kernel_width + run / in;
                const size_t vector = (size_t)ky * vectors + run / VALUES;
                to[(vector * OUTPUTS + o) * VALUES + run % VALUES] =
                    ((const int16_t *)weights)[((size_t)o * in + run % in) * taps + tap];
            }
        }
    }
}

#define AVX2 __attribute__((target("avx2,fma")))

AVX2 static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* Four sums of eight lanes each as four numbers. */
AVX2 static inline __m128i add_up(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    const __m256i all =
        _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* What row.h says of a sum that goes to F32. */
AVX2 static void finish(const struct srpi_conv_layer *layer, const float *residual, __m128i sum,
                        float *out)
{
    const uint32_t channels = layer->shape.out_channels;
    sum = _mm_add_epi32(sum, _mm_loadu_si128(layer->bias));
    __m128 v = _mm_fmadd_ps(_mm_cvtepi32_ps(sum), _mm_loadu_ps(layer->multiplier),
                            _mm_loadu_ps(layer->shift));
    if (layer->slope != NULL) {
        v = _mm_blendv_ps(v, _mm_mul_ps(v, _mm_loadu_ps(layer->slope)),
                          _mm_cmplt_ps(v, _mm_setzero_ps()));
    }
    if (residual != NULL) {
        v = _mm_fmadd_ps(_mm_loadu_ps(residual), _mm_set1_ps(layer->residual_multiplier), v);
    }
    if (layer->clamp) {
        v = _mm_min_ps(_mm_max_ps(v, _mm_set1_ps(layer->low)), _mm_set1_ps(layer->high));
    }
    if (channels == OUTPUTS) {
        _mm_storeu_ps(out, v);
    } else {
        float values[OUTPUTS];
        _mm_storeu_ps(values, v);
        memcpy(out, values, channels * sizeof(float));
    }
}

AVX2 static void run_row(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const size_t stride = shape->in_channels;
    const uint32_t vectors = srpi_row_few_vectors(shape), channels = shape->out_channels;
    const float *residual = layer->has_residual ? row->residual : NULL;
    float *out = row->out;
    for (size_t pixel = 0; pixel < row->pixels; pixel += PIXELS) {
        __m256i s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, t0 = {0}, t1 = {0}, t2 = {0}, t3 = {0};
        const int16_t *w = layer->weights;
        for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
            const uint16_t *x = (const uint16_t *)row->rows[ky] + pixel * stride;
            for (uint32_t v = vectors; v > 0; v--, x += VALUES, w += OUTPUTS * VALUES) {
                const __m256i a = load(x), b = load(x + stride);
                __m256i weight = load(w);
                s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, weight));
                t0 = _mm256_add_epi32(t0, _mm256_madd_epi16(b, weight));
                weight = load(w + VALUES);
                s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, weight));
                t1 = _mm256_add_epi32(t1, _mm256_madd_epi16(b, weight));
                weight = load(w + 2 * VALUES);
                s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(a, weight));
                t2 = _mm256_add_epi32(t2, _mm256_madd_epi16(b, weight));
                weight = load(w + 3 * VALUES);
                s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(a, weight));
                t3 = _mm256_add_epi32(t3, _mm256_madd_epi16(b, weight));
            }
        }
        finish(layer, residual, add_up(s0, s1, s2, s3), out + pixel * channels);
        if (pixel + 1 < row->pixels) {
            finish(layer, residual != NULL ? residual + channels : NULL,
                   add_up(t0, t1, t2, t3), out + (pixel + 1) * channels);
        }
        residual = residual != NULL ? residual + (size_t)PIXELS * channels : NULL;
    }
}

static void run(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                uint32_t count)
{
    for (uint32_t r = 0; r < count; r++) {
        run_row(layer, &rows[r]);
    }
}

static srpi_conv_fn find(const struct srpi_conv_shape *shape, const char **name)
{
    (void)shape;
    if (name != NULL) {
        *name = "avx2 q8-f32 ->4";
    }
    return run;
}

const struct srpi_row_set srpi_rows_avx2few = {
    .kernels = {.isa = SRPI_ISA_AVX2,
                .name = "avx2",
                .storage = SRPI_Q8_U16,
                .has = {[SRPI_Q8] = true},
                .packed_size = packed_size,
                .pack = pack,
                .find = find},
};

#endif
