/* SPDX-License-Identifier: BSD-2-Clause */
/* srpi_columns_avx2 of rowops.h. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels/rowops.h"
#include "kernels/unroll.h"

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 static inline __attribute__((always_inline))
#define FROM 16u /* bytes of a row that a shuffle reads, in each of its two lanes */
#define TO 32u   /* bytes of columns that it makes */

/* Pixels at a time: as many as fit, in a row and as columns. */
static uint32_t pixels_at_once(const struct srpi_columns *c, uint32_t element)
{
    const uint32_t values = (FROM - element) / (c->stride * element) + 1;
    const uint32_t columns = TO / (c->height * element);
    return values < columns ? values : columns;
}

/* places[k]: where in row k the bytes of its columns come from; elsewhere zeros. */
static void find_places(const struct srpi_columns *c, uint32_t element, uint32_t pixels,
                        uint8_t places[][TO])
{
    memset(places, 0x80, (size_t)c->height * TO);
    for (uint32_t k = 0; k < c->height; k++) {
        for (uint32_t i = 0; i < pixels * element; i++) {
            const uint32_t x = i / element, b = i % element;
            places[k][(x * c->height + k) * element + b] = (uint8_t)(x * c->stride * element + b);
        }
    }
}

/* `pixels` pixels at a time, while nothing outside the rows is read or written. What is behind
 * their columns is written over by the next ones. */
INLINE uint32_t fill(const struct srpi_columns *c, const uint32_t element, const uint32_t height,
                     uint32_t pixels, const uint8_t places[][TO])
{
    const size_t step = (size_t)c->stride * element, column = (size_t)height * element;
    const size_t first = (size_t)c->first * element;
    const size_t end = c->pixels * step, end_to = c->pixels * column;
    uint8_t *const to = c->to;
    __m256i place[SRP_MAX_KERNEL];
    uint32_t x = 0;
    UNROLL for (uint32_t k = 0; k < height; k++) {
        place[k] = _mm256_loadu_si256((const __m256i *)(const void *)places[k]);
    }
    for (; x * step + first + FROM <= end && x * column + TO <= end_to; x += pixels) {
        __m256i all = _mm256_setzero_si256();
        UNROLL for (uint32_t k = 0; k < height; k++) {
            const uint8_t *from = (const uint8_t *)c->rows[k] + x * step + first;
            const __m256i row = _mm256_broadcastsi128_si256(
                _mm_loadu_si128((const __m128i *)(const void *)from));
            all = _mm256_or_si256(all, _mm256_shuffle_epi8(row, place[k]));
        }
        _mm256_storeu_si256((__m256i *)(void *)(to + x * column), all);
    }
    return x;
}

AVX2 uint32_t srpi_columns_avx2(const struct srpi_columns *c, uint32_t element)
{
    uint8_t places[SRP_MAX_KERNEL][TO];
    const uint32_t pixels = pixels_at_once(c, element);
    if (pixels == 0) {
        return 0;
    }
    find_places(c, element, pixels, places);
    switch (16 * element + c->height) { /* constants: rows' places stay in registers */
#define FILL(element, height) \
    case 16 * (element) + (height): \
        return fill(c, element, height, pixels, places);
        FILL(1, 3)
        FILL(1, 5)
        FILL(1, 7)
        FILL(2, 3)
        FILL(2, 5)
        FILL(2, 7)
#undef FILL
    default:
        return 0;
    }
}

#endif
