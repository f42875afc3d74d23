/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernels of resample.h for AVX2. Multiplications and additions stay apart, as in plain C. */
#include "kernels/resample.h"
#include "kernels/unroll.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

/* Four taps. Of four neighbouring outputs the samples of a tap lie within four, and those of the
 * next tap one further on: so halves of a vector are loaded where they are, and spread by a shuffle
 * that is the same for all taps (vpermps takes more than twice as long). `patterns` and `near`,
 * that a whole vector's samples of a tap lie within four, are constants at each call. */
AVX2 static inline __attribute__((always_inline)) void
horizontal_four(const struct srpi_axis *axis, const float *in, float *out, uint32_t count,
                const uint32_t patterns, const bool near)
{
    const __m256i bytes = _mm256_set1_epi32(0x03020100), times = _mm256_set1_epi32(0x04040404);
    __m256i order[3];
    __m256 tap[3][4];
    size_t first[3], second[3]; /* the samples of a vector's halves */
    UNROLL for (uint32_t r = 0; r < patterns; r++) {
        const int32_t *lane = axis->lane[r][0];
        const int32_t middle = near ? lane[0] : lane[4];
        const __m256i from = _mm256_setr_epi32(lane[0], lane[0], lane[0], lane[0], middle, middle,
                                               middle, middle);
        const __m256i within =
            _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)(const void *)lane), from);
        order[r] = _mm256_add_epi32(_mm256_mullo_epi32(within, times), bytes);
        UNROLL for (uint32_t k = 0; k < 4; k++) {
            tap[r][k] = _mm256_loadu_ps(axis->lane_tap[r][k]);
        }
        first[r] = (size_t)(axis->start[r] + lane[0]);
        second[r] = (size_t)(axis->start[r] + middle);
    }
    const uint32_t advance = axis->advance;
    for (uint32_t j = 0; j < count; j += 8 * patterns) {
        UNROLL for (uint32_t r = 0; r < patterns; r++) {
            __m256 sum = _mm256_setzero_ps();
            UNROLL for (uint32_t k = 0; k < 4; k++) {
                const __m128 low = _mm_loadu_ps(in + first[r] + k);
                const __m256 both =
                    near ? _mm256_set_m128(low, low)
                         : _mm256_set_m128(_mm_loadu_ps(in + second[r] + k), low);
                const __m256 sample = _mm256_castsi256_ps(
                    _mm256_shuffle_epi8(_mm256_castps_si256(both), order[r]));
                const __m256 part = _mm256_mul_ps(tap[r][k], sample);
                sum = k == 0 ? part : _mm256_add_ps(sum, part);
            }
            _mm256_storeu_ps(out + j + 8 * r, sum);
        }
        in += advance;
    }
}

/* Whether each vector's samples of a tap lie within four. */
static bool is_near(const struct srpi_axis *axis)
{
    bool near = true;
    for (uint32_t r = 0; r < axis->patterns; r++) {
        near = near && axis->lane[r][0][7] - axis->lane[r][0][0] < 4;
    }
    return near;
}

AVX2 static void horizontal_avx2(const struct srpi_axis *axis, const float *in, float *out,
                                 uint32_t count)
{
    const uint32_t taps = axis->taps;
    const bool near = is_near(axis);
    if (taps == 4 && axis->patterns == 1 && near) {
        horizontal_four(axis, in, out, count, 1, true);
        return;
    }
    if (taps == 4 && axis->patterns == 1) {
        horizontal_four(axis, in, out, count, 1, false);
        return;
    }
    if (taps == 4 && near) {
        horizontal_four(axis, in, out, count, 3, true);
        return;
    }
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

/* Each store covers what the one before wrote too much. `block` is a constant at each call. */
AVX2 static inline __attribute__((always_inline)) void
spread_block(const float *pixel, float *out, uint32_t width, const uint32_t block,
             uint32_t channels)
{
    uint32_t x = 0;
    for (; x + 4 <= width; x += 4) {
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            _mm_storeu_ps(out + i * block, _mm_loadu_ps(pixel + (size_t)i * channels));
        }
        out += 4 * block;
        pixel += 4 * (size_t)channels;
    }
    for (; x < width; x++) {
        _mm_storeu_ps(out, _mm_loadu_ps(pixel));
        out += block;
        pixel += channels;
    }
}

AVX2 static void spread_avx2(const float *pixel, float *out, uint32_t width, uint32_t block,
                             uint32_t channels)
{
    switch (block) {
    case 4:
        spread_block(pixel, out, width, 4, channels);
        break;
    case 3:
        spread_block(pixel, out, width, 3, channels);
        break;
    case 2:
        spread_block(pixel, out, width, 2, channels);
        break;
    default:
        spread_block(pixel, out, width, 1, channels);
        break;
    }
}

/* Codes after narrowing with unsigned saturation, which makes 0 of all below. With the value second
 * the minimum of NaN is NaN, whose conversion is the least integer. It rounds to nearest even. */
AVX2 static __m256i low_codes_of(__m256 value)
{
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(255.0f), value));
}

/* The same as 0..255. */
AVX2 static __m256i codes_of(__m256 value)
{
    return _mm256_max_epi32(low_codes_of(value), _mm256_setzero_si256());
}

/* Eight values of one channel: of two pixels of the network (block 4), four (2) or eight (1). With
 * block 3 three of each pixel, and one that counts for nothing. */
AVX2 static inline __attribute__((always_inline)) __m256 shuffled(const float *pixel,
                                                                  uint32_t channels,
                                                                  const uint32_t block)
{
    if (block == 1) {
        return _mm256_loadu_ps(pixel); /* of one channel: all lie side by side */
    }
    if (block >= 3) {
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(pixel)),
                                    _mm_loadu_ps(pixel + channels), 1);
    }
    __m128 low = _mm_setzero_ps(), high = _mm_setzero_ps();
    low = _mm_loadl_pi(low, (const __m64 *)(const void *)pixel);
    low = _mm_loadh_pi(low, (const __m64 *)(const void *)(pixel + channels));
    high = _mm_loadl_pi(high, (const __m64 *)(const void *)(pixel + 2 * (size_t)channels));
    high = _mm_loadh_pi(high, (const __m64 *)(const void *)(pixel + 3 * (size_t)channels));
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

/* `taps` and `block` (0: no tail) are constants at each call. Rows and taps are copied: bytes that
 * are stored might be theirs, as far as the compiler knows. */
AVX2 static inline __attribute__((always_inline)) void
blend_row(const struct srpi_blend *blend, uint8_t *out, uint32_t count, const uint32_t taps,
          const uint32_t block)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 flat = _mm256_set1_ps(blend->flat), gain = _mm256_set1_ps(blend->gain);
    const float *tail = blend->tail;
    const float *rows[SRPI_MAX_TAPS] = {NULL};
    __m256 tap[SRPI_MAX_TAPS];
    UNROLL for (uint32_t k = 0; k < taps; k++) {
        rows[k] = blend->rows[k];
        tap[k] = _mm256_set1_ps(blend->tap[k]);
    }
    for (size_t x = 0; x < count; x += 32) {
        __m256i codes[4];
        UNROLL for (size_t i = 0; i < 4; i++) {
            __m256 sum = flat;
            UNROLL for (uint32_t k = 0; k < taps; k++) {
                const __m256 part = _mm256_mul_ps(tap[k], _mm256_loadu_ps(rows[k] + x + 8 * i));
                sum = k == 0 ? part : _mm256_add_ps(sum, part);
            }
            if (block != 0) {
                const __m256 own = shuffled(tail + 8 * i * block, block * block, block);
                sum = _mm256_add_ps(sum, _mm256_mul_ps(gain, own));
            }
            codes[i] = low_codes_of(sum);
        }
        tail += 32 * block;
        const __m256i low = _mm256_packus_epi32(codes[0], codes[1]);
        const __m256i high = _mm256_packus_epi32(codes[2], codes[3]);
        const __m256i bytes =
            _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
        if (count - x >= 32) {
            _mm256_storeu_si256((__m256i *)(void *)(out + x), bytes);
        } else {
            uint8_t some[32];
            _mm256_storeu_si256((__m256i *)(void *)some, bytes);
            memcpy(out + x, some, count - x);
        }
    }
}

AVX2 static void blend_avx2(const struct srpi_blend *blend, uint8_t *out, uint32_t count)
{
    const uint32_t block = blend->tail == NULL ? 0 : blend->block;
#define CASE(n)                                                                                    \
    case n * 8:                                                                                    \
        blend_row(blend, out, count, n, 0);                                                        \
        break;                                                                                     \
    case n * 8 + 1:                                                                                \
        blend_row(blend, out, count, n, 1);                                                        \
        break;                                                                                     \
    case n * 8 + 2:                                                                                \
        blend_row(blend, out, count, n, 2);                                                        \
        break;                                                                                     \
    case n * 8 + 4:                                                                                \
        blend_row(blend, out, count, n, 4);                                                        \
        break
    switch (blend->taps * 8 + block) {
        CASE(0);
        CASE(1);
        CASE(2);
        CASE(4);
        CASE(6);
    default: /* three values a pixel: for the caller to spread */
        srpi_resample_scalar.blend(blend, out, count);
        break;
    }
#undef CASE
}

/* Eight pixels' dwords, a byte for each channel, stored as `step` bytes a pixel. Where that is 3,
 * four bytes more are written. */
AVX2 static inline __attribute__((always_inline)) void store_pixels(__m256i pixels, uint32_t step,
                                                                    uint8_t *out)
{
    /* Of four pixels' sixteen bytes, those that are stored. */
    const __m256i three = _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
                                           0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    if (step == 4) {
        const __m256i alpha = _mm256_set1_epi32((int)0xff000000u);
        _mm256_storeu_si256((__m256i *)(void *)out, _mm256_or_si256(pixels, alpha));
        return;
    }
    pixels = _mm256_shuffle_epi8(pixels, three);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(pixels));
    _mm_storeu_si128((__m128i *)(void *)(out + 12), _mm256_extracti128_si256(pixels, 1));
}

/* Three of four pixels' dwords, twice. Up to seven bytes more are written. */
AVX2 static inline __attribute__((always_inline)) void store_threes(__m256i pixels, uint32_t step,
                                                                    uint8_t *out)
{
    const __m256i three = _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, -1, -1, -1, -1, -1, -1, -1,
                                           0, 1, 2, 4, 5, 6, 8, 9, 10, -1, -1, -1, -1, -1, -1, -1);
    pixels = step == 4 ? _mm256_or_si256(pixels, _mm256_set1_epi32((int)0xff000000u))
                       : _mm256_shuffle_epi8(pixels, three);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(pixels));
    _mm_storeu_si128((__m128i *)(void *)(out + 3 * step), _mm256_extracti128_si256(pixels, 1));
}

/* As many pixels as can be stored without reaching beyond; returns their number. */
AVX2 static inline __attribute__((always_inline)) uint32_t
interleave_block(const float *pixel, uint32_t channels, uint32_t cell, const uint32_t block,
                 float flat, float gain, const uint8_t *order, const uint32_t step, uint8_t *out,
                 uint32_t count)
{
    const __m256 offset = _mm256_set1_ps(flat), factor = _mm256_set1_ps(gain);
    const __m128i shift[3] = {_mm_cvtsi32_si128(8 * order[0]), _mm_cvtsi32_si128(8 * order[1]),
                              _mm_cvtsi32_si128(8 * order[2])};
    const uint32_t together = block == 3 ? 6 : 8, beyond = 3;
    uint32_t x = 0;
    for (; x + together + beyond <= count; x += together) {
        __m256i pixels = _mm256_setzero_si256();
        UNROLL for (uint32_t c = 0; c < 3; c++) {
            const __m256 value = shuffled(pixel + (size_t)c * cell, channels, block);
            const __m256i code =
                codes_of(_mm256_add_ps(offset, _mm256_mul_ps(factor, value)));
            pixels = _mm256_or_si256(pixels, _mm256_sll_epi32(code, shift[c]));
        }
        if (block == 3) {
            store_threes(pixels, step, out);
        } else {
            store_pixels(pixels, step, out);
        }
        out += together * step;
        pixel += together / block * (size_t)channels;
    }
    return x;
}

AVX2 static void interleave_shuffled_avx2(const float *pixel, uint32_t channels, uint32_t cell,
                                          uint32_t block, float flat, float gain,
                                          const uint8_t *order, uint32_t step, uint8_t *out,
                                          uint32_t count)
{
    uint32_t x = 0;
    if (block == 4 && step == 3) {
        x = interleave_block(pixel, channels, cell, 4, flat, gain, order, 3, out, count);
    } else if (block == 4) {
        x = interleave_block(pixel, channels, cell, 4, flat, gain, order, 4, out, count);
    } else if (block == 3 && step == 3) {
        x = interleave_block(pixel, channels, cell, 3, flat, gain, order, 3, out, count);
    } else if (block == 3) {
        x = interleave_block(pixel, channels, cell, 3, flat, gain, order, 4, out, count);
    } else if (block == 2 && step == 3) {
        x = interleave_block(pixel, channels, cell, 2, flat, gain, order, 3, out, count);
    } else if (block == 2) {
        x = interleave_block(pixel, channels, cell, 2, flat, gain, order, 4, out, count);
    }
    srpi_resample_scalar.interleave_shuffled(pixel + x / block * (size_t)channels, channels, cell,
                                             block, flat, gain, order, step,
                                             out + (size_t)x * step, count - x);
}

AVX2 static void interleave_avx2(const float *const *rows, float flat, float gain,
                                 const uint8_t *order, uint32_t step, uint8_t *out, uint32_t count)
{
    const __m256 offset = _mm256_set1_ps(flat), factor = _mm256_set1_ps(gain);
    uint32_t x = 0;
    /* The last pixels one by one: sixteen bytes are stored for twelve. */
    for (; x + 10 <= count; x += 8) {
        __m256i pixels = _mm256_setzero_si256();
        UNROLL for (uint32_t c = 0; c < 3; c++) {
            const __m256 value =
                _mm256_add_ps(offset, _mm256_mul_ps(factor, _mm256_loadu_ps(rows[c] + x)));
            pixels = _mm256_or_si256(
                pixels, _mm256_sll_epi32(codes_of(value), _mm_cvtsi32_si128(8 * order[c])));
        }
        store_pixels(pixels, step, out + (size_t)x * step);
    }
    const float *const left[3] = {rows[0] + x, rows[1] + x, rows[2] + x};
    srpi_resample_scalar.interleave(left, flat, gain, order, step, out + (size_t)x * step,
                                    count - x);
}

#define SHARED \
    .vertical = vertical_avx2, .widen = widen_avx2, .narrow = narrow_avx2, \
    .spread = spread_avx2, .interleave = interleave_avx2
static const struct srpi_resample_kernels kernels_avx2 = {
    SHARED,
    .horizontal = horizontal_avx2,
    .blend = blend_avx2,
    .interleave_shuffled = interleave_shuffled_avx2};
static const struct srpi_resample_kernels kernels_avx512 = {
    SHARED,
    .horizontal = srpi_horizontal_avx512,
    .blend = srpi_blend_avx512,
    .interleave_shuffled = srpi_interleave_shuffled_avx512};
const struct srpi_resample_kernels *const srpi_resample_avx2 = &kernels_avx2;
const struct srpi_resample_kernels *const srpi_resample_avx512 = &kernels_avx512;

#else

const struct srpi_resample_kernels *const srpi_resample_avx2 = NULL;
const struct srpi_resample_kernels *const srpi_resample_avx512 = NULL;

#endif
