/* SPDX-License-Identifier: BSD-2-Clause */
/* A vector holds four columns of two rows, one row in each half: so a pair of rows lies in the
 * network's values where the block is 4, and all that is done across columns stays in a half. */
#include "kernels/yuvstore.h"
#include "kernels/unroll.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 static inline __attribute__((always_inline))

/* Columns of a round. */
#define ROUND 16u

/* Coefficients, each in all lanes. */
struct constants {
    __m256 flat, gain, y_r, y_g, y_b, y_inverse, y_offset, u_scale, v_scale;
};

INLINE __m256 code_of(__m256 value)
{
    value = _mm256_max_ps(value, _mm256_setzero_ps());
    return _mm256_min_ps(value, _mm256_set1_ps(255.0f));
}

/* Rows `row` and `row` + 1, four columns from a pixel's first on. */
INLINE __m256 load(const float *pixel, uint32_t channels, const uint32_t block, const uint32_t c,
                   const uint32_t row, const struct constants *k)
{
    __m256 value;
    if (block == 4) {
        value = _mm256_loadu_ps(pixel + 16 * c + 4 * row);
    } else {
        const __m128d one = _mm_castps_pd(_mm_loadu_ps(pixel + 4 * c));
        const __m128d two = _mm_castps_pd(_mm_loadu_ps(pixel + channels + 4 * c));
        value = _mm256_insertf128_ps(
            _mm256_castps128_ps256(_mm_castpd_ps(_mm_unpacklo_pd(one, two))),
            _mm_castpd_ps(_mm_unpackhi_pd(one, two)), 1);
    }
    return _mm256_add_ps(k->flat, _mm256_mul_ps(k->gain, value));
}

/* Cb and Cr of a vector; its luma, clipped and rounded. */
struct values {
    __m256 chroma[2];
    __m256i luma;
};

INLINE struct values convert(const float *pixel, uint32_t channels, const uint32_t block,
                             const uint32_t row, const struct constants *k)
{
    const __m256 r = load(pixel, channels, block, 0, row, k);
    const __m256 g = load(pixel, channels, block, 1, row, k);
    const __m256 b = load(pixel, channels, block, 2, row, k);
    const __m256 luma =
        _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(k->y_r, r), _mm256_mul_ps(k->y_g, g)),
                      _mm256_mul_ps(k->y_b, b));
    const __m256 centre = _mm256_set1_ps(128.0f);
    const __m256 y = _mm256_add_ps(_mm256_mul_ps(luma, k->y_inverse), k->y_offset);
    return (struct values){
        .luma = _mm256_cvtps_epi32(code_of(y)),
        .chroma = {
            _mm256_add_ps(_mm256_mul_ps(_mm256_sub_ps(b, luma), k->u_scale), centre),
            _mm256_add_ps(_mm256_mul_ps(_mm256_sub_ps(r, luma), k->v_scale), centre)}};
}

/* Every second of eight columns in two vectors, filtered. *odd: the columns between those that were
 * before, of which the last is on the left; then these. */
INLINE __m256 halve(__m256 one, __m256 two, __m256 *odd, const bool sited)
{
    const __m256 even = _mm256_shuffle_ps(one, two, 0x88);
    const __m256 right = _mm256_shuffle_ps(one, two, 0xdd);
    const __m256 left = _mm256_castsi256_ps(
        _mm256_alignr_epi8(_mm256_castps_si256(right), _mm256_castps_si256(*odd), 12));
    const __m256 half = _mm256_set1_ps(0.5f);
    *odd = right;
    if (!sited) {
        return _mm256_mul_ps(_mm256_add_ps(even, right), half);
    }
    return _mm256_add_ps(_mm256_mul_ps(_mm256_add_ps(left, right), _mm256_set1_ps(0.25f)),
                         _mm256_mul_ps(even, half));
}

/* The means of the two rows in each of two vectors, as codes. */
INLINE __m256i mean_codes(__m256 one, __m256 two)
{
    const __m256 above = _mm256_permute2f128_ps(one, two, 0x20);
    const __m256 below = _mm256_permute2f128_ps(one, two, 0x31);
    const __m256 mean = _mm256_mul_ps(_mm256_add_ps(above, below), _mm256_set1_ps(0.5f));
    return _mm256_cvtps_epi32(code_of(mean));
}

/* Eight samples of Cb and of Cr. */
INLINE void store_chroma(const struct srpi_yuvstore *s, __m256i u, __m256i v, uint32_t x,
                         uint32_t row)
{
    const __m256i words = _mm256_packus_epi32(u, v);
    const __m256i bytes = _mm256_packus_epi16(words, words);
    /* Each half: four of Cb, four of Cr, twice. */
    const __m128i both =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    uint8_t *to = s->chroma[0] + (ptrdiff_t)(row / 2) * s->chroma_stride[0] +
                  (size_t)(x / 2) * s->chroma_step;
    if (s->chroma_step == 2) {
        _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi8(both, _mm_srli_si128(both, 8)));
        return;
    }
    _mm_storel_epi64((__m128i *)(void *)to, both);
    to = s->chroma[1] + (ptrdiff_t)(row / 2) * s->chroma_stride[1] + x / 2;
    _mm_storel_epi64((__m128i *)(void *)to, _mm_srli_si128(both, 8));
}

INLINE void store_luma(const struct srpi_yuvstore *s, const struct values *values, uint32_t x,
                       uint32_t row)
{
    const __m256i bytes = _mm256_packus_epi16(
        _mm256_packus_epi32(values[0].luma, values[1].luma),
        _mm256_packus_epi32(values[2].luma, values[3].luma));
    uint8_t *to = s->luma + (ptrdiff_t)row * s->luma_stride + x;
    _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i *)(void *)(to + s->luma_stride),
                     _mm256_extracti128_si256(bytes, 1));
}

/* The columns on the left of the first, in the last lane of each half. */
INLINE void left_of(const struct srpi_yuvstore *s, const uint32_t block, uint32_t row,
                    const struct constants *k, __m256 *odd)
{
    if (s->edge) { /* continued by the first column */
        const struct values v = convert(s->pixel, s->channels, block, row, k);
        odd[0] = _mm256_permute_ps(v.chroma[0], 0);
        odd[1] = _mm256_permute_ps(v.chroma[1], 0);
        return;
    }
    /* Where the block is 2, the pixel on the left is taken for both that make four columns. */
    const struct values v =
        convert(s->pixel - s->channels, block == 4 ? s->channels : 0, block, row, k);
    odd[0] = v.chroma[0];
    odd[1] = v.chroma[1];
}

/* Whole rounds; returns their columns. `block` and `sited` are constants at each call. */
INLINE uint32_t store_rounds(const struct srpi_yuvstore *s, const uint32_t block, const bool sited)
{
    const struct srpi_colour *colour = s->colour;
    const struct constants k = {.flat = _mm256_set1_ps(s->flat),
                                .gain = _mm256_set1_ps(s->gain),
                                .y_r = _mm256_set1_ps(colour->y_r),
                                .y_g = _mm256_set1_ps(colour->y_g),
                                .y_b = _mm256_set1_ps(colour->y_b),
                                .y_inverse = _mm256_set1_ps(colour->y_inverse),
                                .y_offset = _mm256_set1_ps(colour->y_offset),
                                .u_scale = _mm256_set1_ps(colour->u_scale),
                                .v_scale = _mm256_set1_ps(colour->v_scale)};
    const size_t four = 4 / block * (size_t)s->channels; /* values that make four columns */
    const float *pixel = s->pixel;
    __m256 odd[2][2];
    for (uint32_t row = 0; row < s->rows; row += 2) {
        left_of(s, block, row, &k, odd[row / 2]);
    }
    uint32_t x = 0;
    for (; x + ROUND <= s->count; x += ROUND) {
        /* All rows of these pixels, while the nearest cache has them. */
        for (uint32_t row = 0; row < s->rows; row += 2) {
            struct values v[4];
            __m256i codes[2];
            UNROLL for (uint32_t i = 0; i < 4; i++) {
                v[i] = convert(pixel + i * four, s->channels, block, row, &k);
            }
            store_luma(s, v, x, row);
            UNROLL for (uint32_t c = 0; c < 2; c++) {
                __m256 *left = &odd[row / 2][c];
                const __m256 one = halve(v[0].chroma[c], v[1].chroma[c], left, sited);
                const __m256 two = halve(v[2].chroma[c], v[3].chroma[c], left, sited);
                codes[c] = mean_codes(one, two);
            }
            store_chroma(s, codes[0], codes[1], x, row);
        }
        pixel += 4 * four;
    }
    return x;
}

AVX2 static void yuvstore_avx2(const struct srpi_yuvstore *s)
{
    const uint32_t x = s->count < ROUND ? 0
                       : s->block == 4 && s->sited ? store_rounds(s, 4, true)
                       : s->block == 4             ? store_rounds(s, 4, false)
                       : s->sited                  ? store_rounds(s, 2, true)
                                                   : store_rounds(s, 2, false);
    srpi_yuvstore_rest(s, x);
}
const srpi_yuvstore_fn srpi_yuvstore_avx2 = yuvstore_avx2;

#else

const srpi_yuvstore_fn srpi_yuvstore_avx2 = NULL;

#endif
