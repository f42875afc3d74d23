/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernels of resample.h for AVX2. Multiplications and additions stay apart, as in plain C. */
#include "kernels/resample.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 static void horizontal_avx2(const struct srpi_axis *axis, const float *in, float *out,
                                 uint32_t count)
{
    const uint32_t taps = axis->taps;
    for (uint32_t j = 0; j < count; in += axis->advance) {
        for (uint32_t r = 0; r < axis->patterns && j < count; r++, j += 8) {
            const float *from = in + axis->start[r];
            const __m256 window = _mm256_loadu_ps(from);
            __m256 sum = _mm256_setzero_ps();
            for (uint32_t k = 0; k < taps; k++) {
                const __m256i lane =
                    _mm256_loadu_si256((const __m256i *)(const void *)axis->lane[r][k]);
                const __m256 sample = axis->narrow ? _mm256_permutevar8x32_ps(window, lane)
                                                   : _mm256_i32gather_ps(from, lane, 4);
                const __m256 part = _mm256_mul_ps(_mm256_loadu_ps(axis->lane_tap[r][k]), sample);
                sum = k == 0 ? part : _mm256_add_ps(sum, part);
            }
            _mm256_storeu_ps(out + j, sum);
        }
    }
}

AVX2 static void vertical_avx2(const float *const *rows, const float *tap, uint32_t taps,
                               float *out, uint32_t count)
{
    if (taps == 4) {
        const __m256 t0 = _mm256_set1_ps(tap[0]), t1 = _mm256_set1_ps(tap[1]);
        const __m256 t2 = _mm256_set1_ps(tap[2]), t3 = _mm256_set1_ps(tap[3]);
        for (uint32_t x = 0; x < count; x += 8) {
            __m256 sum = _mm256_mul_ps(t0, _mm256_loadu_ps(rows[0] + x));
            sum = _mm256_add_ps(sum, _mm256_mul_ps(t1, _mm256_loadu_ps(rows[1] + x)));
            sum = _mm256_add_ps(sum, _mm256_mul_ps(t2, _mm256_loadu_ps(rows[2] + x)));
            sum = _mm256_add_ps(sum, _mm256_mul_ps(t3, _mm256_loadu_ps(rows[3] + x)));
            _mm256_storeu_ps(out + x, sum);
        }
        return;
    }
    for (uint32_t x = 0; x < count; x += 8) {
        __m256 sum = _mm256_mul_ps(_mm256_set1_ps(tap[0]), _mm256_loadu_ps(rows[0] + x));
        for (uint32_t k = 1; k < taps; k++) {
            sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_set1_ps(tap[k]),
                                                   _mm256_loadu_ps(rows[k] + x)));
        }
        _mm256_storeu_ps(out + x, sum);
    }
}

AVX2 static void widen_avx2(const uint8_t *in, float *out, uint32_t count)
{
    uint32_t x = 0;
    for (; x + 8 <= count; x += 8) {
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(in + x));
        _mm256_storeu_ps(out + x, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)));
    }
    srpi_resample_scalar.widen(in + x, out + x, count - x);
}

/* max(x, 0) with 0 second gives 0 for NaN; the conversion rounds to nearest even. */
AVX2 static __m256i to_codes(const float *in)
{
    __m256 value = _mm256_max_ps(_mm256_loadu_ps(in), _mm256_setzero_ps());
    value = _mm256_min_ps(value, _mm256_set1_ps(255.0f));
    return _mm256_cvtps_epi32(value);
}

AVX2 static void narrow_avx2(const float *in, uint8_t *out, uint32_t count)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint32_t x = 0;
    for (; x + 32 <= count; x += 32) {
        const __m256i low = _mm256_packus_epi32(to_codes(in + x), to_codes(in + x + 8));
        const __m256i high = _mm256_packus_epi32(to_codes(in + x + 16), to_codes(in + x + 24));
        const __m256i bytes =
            _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)(void *)(out + x), bytes);
    }
    srpi_resample_scalar.narrow(in + x, out + x, count - x);
}

AVX2 static void add_shuffled_avx2(float *row, const float *pixel, uint32_t width, uint32_t block,
                                   uint32_t channels, float gain)
{
    const __m256 factor = _mm256_set1_ps(gain);
    uint32_t x = 0;
    if (block == 4) {
        for (; x + 2 <= width; x += 2) {
            const __m256 two = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(pixel)),
                                                    _mm_loadu_ps(pixel + channels), 1);
            _mm256_storeu_ps(row, _mm256_add_ps(_mm256_loadu_ps(row), _mm256_mul_ps(factor, two)));
            row += 8;
            pixel += 2 * (size_t)channels;
        }
    } else if (block == 2) {
        for (; x + 4 <= width; x += 4) {
            __m128 low = _mm_setzero_ps(), high = _mm_setzero_ps();
            low = _mm_loadl_pi(low, (const __m64 *)(const void *)pixel);
            low = _mm_loadh_pi(low, (const __m64 *)(const void *)(pixel + channels));
            high = _mm_loadl_pi(high, (const __m64 *)(const void *)(pixel + 2 * channels));
            high = _mm_loadh_pi(high, (const __m64 *)(const void *)(pixel + 3 * channels));
            const __m256 four = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
            _mm256_storeu_ps(row, _mm256_add_ps(_mm256_loadu_ps(row), _mm256_mul_ps(factor, four)));
            row += 8;
            pixel += 4 * (size_t)channels;
        }
    }
    srpi_resample_scalar.add_shuffled(row, pixel, width - x, block, channels, gain);
}

static const struct srpi_resample_kernels kernels_avx2 = {
    .horizontal = horizontal_avx2,
    .vertical = vertical_avx2,
    .widen = widen_avx2,
    .narrow = narrow_avx2,
    .add_shuffled = add_shuffled_avx2,
};
const struct srpi_resample_kernels *const srpi_resample_avx2 = &kernels_avx2;

#else

const struct srpi_resample_kernels *const srpi_resample_avx2 = NULL;

#endif
