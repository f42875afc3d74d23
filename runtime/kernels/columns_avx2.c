/* SPDX-License-Identifier: BSD-2-Clause */
/* srpi_columns_avx2 of rowops.h. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/rowops.h"
#include "kernels/unroll.h"

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 static inline __attribute__((always_inline))
#define LANE 16u /* bytes, that a shuffle stays within */

/* Pixels that a lane takes: their columns fit one, and so do their values in a row. */
static uint32_t pixels_of_lane(const struct srpi_columns *c, uint32_t element)
{
    const uint32_t columns = LANE / (c->height * element);
    const uint32_t values = (LANE - element) / (c->stride * element) + 1;
    return columns < values ? columns : values;
}

/* places[k]: where in a lane of row k the bytes of its columns come from; elsewhere zeros. */
static void find_places(const struct srpi_columns *c, uint32_t element, uint32_t pixels,
                        uint8_t places[][LANE])
{
    memset(places, 0x80, (size_t)c->height * LANE);
    for (uint32_t k = 0; k < c->height; k++) {
        for (uint32_t i = 0; i < pixels * element; i++) {
            const uint32_t x = i / element, b = i % element;
            places[k][(x * c->height + k) * element + b] = (uint8_t)(x * c->stride * element + b);
        }
    }
}

/* Two lanes of `pixels` pixels each at a time, while nothing outside the rows is read or
 * written. */
INLINE uint32_t fill(const struct srpi_columns *c, const uint32_t element, const uint32_t height,
                     uint32_t pixels, const uint8_t places[][LANE])
{
    const size_t step = (size_t)c->stride * element, column = (size_t)height * element;
    const size_t first = (size_t)c->first * element;
    const size_t end = c->pixels * step, end_to = c->pixels * column;
    uint8_t *const to = c->to;
    __m256i place[SRP_MAX_KERNEL];
    uint32_t x = 0;
    UNROLL for (uint32_t k = 0; k < height; k++) {
        const __m128i *of = (const __m128i *)(const void *)places[k];
        place[k] = _mm256_broadcastsi128_si256(_mm_loadu_si128(of));
    }
    for (; (x + pixels) * step + first + LANE <= end && (x + pixels) * column + LANE <= end_to;
         x += 2 * pixels) {
        __m256i all = _mm256_setzero_si256();
        UNROLL for (uint32_t k = 0; k < height; k++) {
            const uint8_t *from = (const uint8_t *)c->rows[k] + x * step + first;
            const __m256i row = _mm256_loadu2_m128i(
                (const __m128i *)(const void *)(from + pixels * step),
                (const __m128i *)(const void *)from);
            all = _mm256_or_si256(all, _mm256_shuffle_epi8(row, place[k]));
        }
        /* In this order: what is behind a lane's columns is written over. */
        _mm_storeu_si128((__m128i *)(void *)(to + x * column), _mm256_castsi256_si128(all));
        _mm_storeu_si128((__m128i *)(void *)(to + (x + pixels) * column),
                         _mm256_extracti128_si256(all, 1));
    }
    return x;
}

AVX2 uint32_t srpi_columns_avx2(const struct srpi_columns *c, uint32_t element)
{
    uint8_t places[SRP_MAX_KERNEL][LANE];
    const uint32_t pixels = pixels_of_lane(c, element);
    if (pixels == 0) {
        return 0;
    }
    find_places(c, element, pixels, places);
    switch (16 * element + c->height) { /* constants: rows' places stay in registers */
    case 16 + 3:
        return fill(c, 1, 3, pixels, places);
    case 16 + 5:
        return fill(c, 1, 5, pixels, places);
    case 16 + 7:
        return fill(c, 1, 7, pixels, places);
    case 32 + 3:
        return fill(c, 2, 3, pixels, places);
    case 32 + 5:
        return fill(c, 2, 5, pixels, places);
    default:
        return 0;
    }
}

#endif
