/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernels of resample.h that write pictures, for AVX-512. What is left of a row is for AVX2. */
#include "kernels/resample.h"
#include "kernels/unroll.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdbool.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define INLINE AVX512 static inline __attribute__((always_inline))

/* Sixteen outputs of four taps each. The axis has patterns of eight, of samples from a window of
 * eight; two follow each other in a window of sixteen, which holds them where the second begins at
 * most eight samples later. */
AVX512 void srpi_horizontal_avx512(const struct srpi_axis *axis, const float *in, float *out,
                                   uint32_t count)
{
    const uint32_t advance = axis->advance;
    if (!axis->narrow || axis->taps != 4 || axis->patterns != 1 || advance > 8) {
        srpi_resample_avx2->horizontal(axis, in, out, count);
        return;
    }
    __m512i lane[4];
    __m512 tap[4];
    UNROLL for (uint32_t k = 0; k < 4; k++) {
        const __m256i first =
            _mm256_loadu_si256((const __m256i *)(const void *)axis->lane[0][k]);
        const __m256i second = _mm256_add_epi32(first, _mm256_set1_epi32((int)advance));
        const __m256 taps = _mm256_loadu_ps(axis->lane_tap[0][k]);
        lane[k] = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
        tap[k] = _mm512_insertf32x8(_mm512_castps256_ps512(taps), taps, 1);
    }
    in += axis->start[0];
    for (uint32_t j = 0; j < count; j += 16) {
        const __m512 window = _mm512_loadu_ps(in);
        __m512 sum = _mm512_mul_ps(tap[0], _mm512_permutexvar_ps(lane[0], window));
        UNROLL for (uint32_t k = 1; k < 4; k++) {
            sum = _mm512_add_ps(sum,
                                _mm512_mul_ps(tap[k], _mm512_permutexvar_ps(lane[k], window)));
        }
        _mm512_storeu_ps(out + j, sum);
        in += 2 * (size_t)advance;
    }
}

/* Codes after narrowing with unsigned saturation, which makes 0 of all below. With the value second
 * the minimum of NaN is NaN, whose conversion is the least integer. It rounds to nearest even. */
INLINE __m512i codes_of(__m512 value)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(255.0f), value));
}

/* Sixteen values of one channel: of four pixels of the network (block 4), or of eight (2) or
 * sixteen (1) where that is the only channel. */
INLINE __m512 shuffled(const float *pixel, uint32_t channels, const uint32_t block)
{
    if (block == 1) {
        return _mm512_loadu_ps(pixel);
    }
    if (block == 2) { /* every second two of 32, whose last two might not be there */
        const __m512d low = _mm512_castps_pd(_mm512_loadu_ps(pixel));
        const __m512d high = _mm512_castps_pd(_mm512_maskz_loadu_ps(0x3fff, pixel + 16));
        const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
        return _mm512_castpd_ps(_mm512_permutex2var_pd(low, even, high));
    }
    __m512 all = _mm512_castps128_ps512(_mm_loadu_ps(pixel));
    all = _mm512_insertf32x4(all, _mm_loadu_ps(pixel + channels), 1);
    all = _mm512_insertf32x4(all, _mm_loadu_ps(pixel + 2 * (size_t)channels), 2);
    return _mm512_insertf32x4(all, _mm_loadu_ps(pixel + 3 * (size_t)channels), 3);
}

#define BLEND 64u /* pixels a round */
#define TAPS 4u   /* bicubic: other filters are for AVX2 */

/* `block` (0: no tail) is a constant at each call. Rows and taps are copied: bytes that are stored
 * might be theirs, as far as the compiler knows. */
INLINE void blend_row(const struct srpi_blend *blend, uint8_t *out, uint32_t count,
                      const uint32_t block)
{
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512 gain = _mm512_set1_ps(blend->gain);
    const float *tail = blend->tail;
    const float *rows[TAPS];
    __m512 tap[TAPS];
    UNROLL for (uint32_t k = 0; k < TAPS; k++) {
        rows[k] = blend->rows[k];
        tap[k] = _mm512_set1_ps(blend->tap[k]);
    }
    for (uint32_t x = 0; x < count; x += BLEND) {
        __m512i codes[4];
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            __m512 sum = _mm512_mul_ps(tap[0], _mm512_loadu_ps(rows[0] + x + 16 * i));
            UNROLL for (uint32_t k = 1; k < TAPS; k++) {
                sum = _mm512_add_ps(
                    sum, _mm512_mul_ps(tap[k], _mm512_loadu_ps(rows[k] + x + 16 * i)));
            }
            if (block != 0) {
                sum = _mm512_add_ps(sum,
                                    _mm512_mul_ps(gain, shuffled(tail, block * block, block)));
                tail += 16 * block;
            }
            codes[i] = codes_of(sum);
        }
        const __m512i low = _mm512_packus_epi32(codes[0], codes[1]);
        const __m512i high = _mm512_packus_epi32(codes[2], codes[3]);
        _mm512_storeu_si512(out + x,
                            _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high)));
    }
}

AVX512 void srpi_blend_avx512(const struct srpi_blend *blend, uint8_t *out, uint32_t count)
{
    const uint32_t block = blend->tail == NULL ? 0 : blend->block;
    uint32_t done = count - count % BLEND;
    if (blend->taps != TAPS || block == 3) {
        done = 0;
    } else if (block == 0) {
        blend_row(blend, out, done, 0);
    } else if (block == 1) {
        blend_row(blend, out, done, 1);
    } else if (block == 2) {
        blend_row(blend, out, done, 2);
    } else {
        blend_row(blend, out, done, 4);
    }
    if (done == count) {
        return;
    }
    const float *rows[SRPI_MAX_TAPS] = {NULL};
    struct srpi_blend rest = *blend;
    for (uint32_t k = 0; k < rest.taps; k++) {
        rows[k] = blend->rows[k] + done;
    }
    rest.rows = rows;
    if (block != 0) {
        rest.tail += done * block;
    }
    srpi_resample_avx2->blend(&rest, out + done, count - done);
}

#define PIXELS 16u /* a round of interleaving */

/* As many pixels as can be stored without reaching beyond; returns their number. */
INLINE uint32_t interleave_block(const float *pixel, uint32_t channels, uint32_t cell,
                                 const uint32_t block, float flat, float gain,
                                 const uint8_t *order, const uint32_t step, uint8_t *out,
                                 uint32_t count)
{
    const __m512 offset = _mm512_set1_ps(flat), factor = _mm512_set1_ps(gain);
    const __m128i shift[3] = {_mm_cvtsi32_si128(8 * order[0]), _mm_cvtsi32_si128(8 * order[1]),
                              _mm_cvtsi32_si128(8 * order[2])};
    /* Of four pixels' sixteen bytes, those that are stored; then the dwords that hold any. */
    const __m512i three = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    const __m512i dense = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
    const uint32_t rounds = count / PIXELS;
    for (uint32_t round = 0; round < rounds; round++) {
        __m512i pixels = _mm512_setzero_si512();
        UNROLL for (uint32_t c = 0; c < 3; c++) {
            const __m512 value = shuffled(pixel + (size_t)c * cell, channels, block);
            const __m512i code = _mm512_max_epi32(
                codes_of(_mm512_add_ps(offset, _mm512_mul_ps(factor, value))),
                _mm512_setzero_si512());
            pixels = _mm512_or_si512(pixels, _mm512_sll_epi32(code, shift[c]));
        }
        if (step == 4) {
            const __m512i alpha = _mm512_set1_epi32((int)0xff000000u);
            _mm512_storeu_si512(out, _mm512_or_si512(pixels, alpha));
        } else {
            pixels = _mm512_permutexvar_epi32(dense, _mm512_shuffle_epi8(pixels, three));
            _mm512_mask_storeu_epi32(out, 0x0fff, pixels);
        }
        out += PIXELS * step;
        pixel += PIXELS / block * (size_t)channels;
    }
    return rounds * PIXELS;
}

AVX512 void srpi_interleave_shuffled_avx512(const float *pixel, uint32_t channels, uint32_t cell,
                                            uint32_t block, float flat, float gain,
                                            const uint8_t *order, uint32_t step, uint8_t *out,
                                            uint32_t count)
{
    uint32_t x = 0;
    if (block == 4 && step == 3) {
        x = interleave_block(pixel, channels, cell, 4, flat, gain, order, 3, out, count);
    } else if (block == 4) {
        x = interleave_block(pixel, channels, cell, 4, flat, gain, order, 4, out, count);
    }
    if (x < count) {
        srpi_resample_avx2->interleave_shuffled(pixel + x / 4 * (size_t)channels, channels, cell,
                                                block, flat, gain, order, step,
                                                out + (size_t)x * step, count - x);
    }
}

#endif
