/* SPDX-License-Identifier: BSD-2-Clause */
/* A vector holds the whole block of four columns by four rows of one channel of one pixel, a row in
 * each quarter. The rest is as with AVX2. */
#include "kernels/yuvstore.h"
#include "kernels/unroll.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define INLINE AVX512 static inline __attribute__((always_inline))

#define ROUND 16u /* columns */
#define BLOCK 4u
#define CELL 16u /* values of a channel of a pixel */

/* Coefficients, each in all lanes. */
struct constants {
    __m512 flat, gain, y_r, y_g, y_b, y_inverse, y_offset, u_scale, v_scale;
};

INLINE __m512i code_of(__m512 value)
{
    value = _mm512_max_ps(value, _mm512_setzero_ps());
    return _mm512_cvtps_epi32(_mm512_min_ps(value, _mm512_set1_ps(255.0f)));
}

/* Cb and Cr of a pixel; its luma, clipped and rounded. */
struct values {
    __m512 chroma[2];
    __m512i luma;
};

INLINE struct values convert(const float *pixel, const struct constants *k)
{
    __m512 rgb[3];
    UNROLL for (uint32_t c = 0; c < 3; c++) {
        const __m512 value = _mm512_loadu_ps(pixel + CELL * c);
        rgb[c] = _mm512_add_ps(k->flat, _mm512_mul_ps(k->gain, value));
    }
    const __m512 red = _mm512_mul_ps(k->y_r, rgb[0]), green = _mm512_mul_ps(k->y_g, rgb[1]);
    const __m512 luma =
        _mm512_add_ps(_mm512_add_ps(red, green), _mm512_mul_ps(k->y_b, rgb[2]));
    const __m512 centre = _mm512_set1_ps(128.0f);
    const __m512 y = _mm512_add_ps(_mm512_mul_ps(luma, k->y_inverse), k->y_offset);
    return (struct values){
        .luma = code_of(y),
        .chroma = {
            _mm512_add_ps(_mm512_mul_ps(_mm512_sub_ps(rgb[2], luma), k->u_scale), centre),
            _mm512_add_ps(_mm512_mul_ps(_mm512_sub_ps(rgb[0], luma), k->v_scale), centre)}};
}

/* Every second of eight columns in two pixels, filtered; *odd as with AVX2. */
INLINE __m512 halve(__m512 one, __m512 two, __m512 *odd, const bool sited)
{
    const __m512 even = _mm512_shuffle_ps(one, two, 0x88);
    const __m512 right = _mm512_shuffle_ps(one, two, 0xdd);
    const __m512 left = _mm512_castsi512_ps(
        _mm512_alignr_epi8(_mm512_castps_si512(right), _mm512_castps_si512(*odd), 12));
    const __m512 half = _mm512_set1_ps(0.5f);
    *odd = right;
    if (!sited) {
        return _mm512_mul_ps(_mm512_add_ps(even, right), half);
    }
    return _mm512_add_ps(_mm512_mul_ps(_mm512_add_ps(left, right), _mm512_set1_ps(0.25f)),
                         _mm512_mul_ps(even, half));
}

/* Two rows of eight codes, one after the other: the means of each two rows of both vectors. */
INLINE __m128i mean_codes(__m512 one, __m512 two)
{
    const __m512 above = _mm512_shuffle_f32x4(one, two, 0x88);
    const __m512 below = _mm512_shuffle_f32x4(one, two, 0xdd);
    const __m512 mean = _mm512_mul_ps(_mm512_add_ps(above, below), _mm512_set1_ps(0.5f));
    /* Quarters: of each vector its first row, its second row. */
    return _mm_shuffle_epi32(_mm512_cvtepi32_epi8(code_of(mean)), 0xd8);
}

INLINE void store_chroma(const struct srpi_yuvstore *s, const __m128i *codes, uint32_t x)
{
    if (s->chroma_step == 2) {
        uint8_t *to = s->chroma[0] + x;
        _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi8(codes[0], codes[1]));
        _mm_storeu_si128((__m128i *)(void *)(to + s->chroma_stride[0]),
                         _mm_unpackhi_epi8(codes[0], codes[1]));
        return;
    }
    UNROLL for (uint32_t c = 0; c < 2; c++) {
        uint8_t *to = s->chroma[c] + x / 2;
        _mm_storel_epi64((__m128i *)(void *)to, codes[c]);
        _mm_storel_epi64((__m128i *)(void *)(to + s->chroma_stride[c]),
                         _mm_unpackhi_epi64(codes[c], codes[c]));
    }
}

INLINE void store_luma(const struct srpi_yuvstore *s, const struct values *v, uint32_t x)
{
    const __m512i bytes = _mm512_packus_epi16(_mm512_packus_epi32(v[0].luma, v[1].luma),
                                              _mm512_packus_epi32(v[2].luma, v[3].luma));
    const __m128i rows[BLOCK] = {
        _mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1),
        _mm512_extracti32x4_epi32(bytes, 2), _mm512_extracti32x4_epi32(bytes, 3)};
    UNROLL for (uint32_t i = 0; i < BLOCK; i++) {
        uint8_t *to = s->luma + (ptrdiff_t)i * s->luma_stride + x;
        _mm_storeu_si128((__m128i *)(void *)to, rows[i]);
    }
}

/* Whole rounds; returns their columns. `sited` is a constant at each call. */
INLINE uint32_t store_rounds(const struct srpi_yuvstore *s, const bool sited)
{
    const struct srpi_colour *colour = s->colour;
    const struct constants k = {.flat = _mm512_set1_ps(s->flat),
                                .gain = _mm512_set1_ps(s->gain),
                                .y_r = _mm512_set1_ps(colour->y_r),
                                .y_g = _mm512_set1_ps(colour->y_g),
                                .y_b = _mm512_set1_ps(colour->y_b),
                                .y_inverse = _mm512_set1_ps(colour->y_inverse),
                                .y_offset = _mm512_set1_ps(colour->y_offset),
                                .u_scale = _mm512_set1_ps(colour->u_scale),
                                .v_scale = _mm512_set1_ps(colour->v_scale)};
    const float *pixel = s->pixel;
    const struct values before = convert(s->edge ? pixel : pixel - s->channels, &k);
    __m512 odd[2];
    UNROLL for (uint32_t c = 0; c < 2; c++) { /* the edge is continued by the first column */
        odd[c] = s->edge ? _mm512_permute_ps(before.chroma[c], 0) : before.chroma[c];
    }
    uint32_t x = 0;
    for (; x + ROUND <= s->count; x += ROUND) {
        struct values v[4];
        __m128i codes[2];
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            v[i] = convert(pixel + i * (size_t)s->channels, &k);
        }
        store_luma(s, v, x);
        UNROLL for (uint32_t c = 0; c < 2; c++) {
            const __m512 one = halve(v[0].chroma[c], v[1].chroma[c], &odd[c], sited);
            const __m512 two = halve(v[2].chroma[c], v[3].chroma[c], &odd[c], sited);
            codes[c] = mean_codes(one, two);
        }
        store_chroma(s, codes, x);
        pixel += 4 * (size_t)s->channels;
    }
    return x;
}

AVX512 static void yuvstore_avx512(const struct srpi_yuvstore *s)
{
    if (s->block != BLOCK || s->rows != BLOCK || s->count < ROUND) {
        srpi_yuvstore_avx2(s);
        return;
    }
    const uint32_t x = s->sited ? store_rounds(s, true) : store_rounds(s, false);
    srpi_yuvstore_rest(s, x);
}
const srpi_yuvstore_fn srpi_yuvstore_avx512 = yuvstore_avx512;

#else

const srpi_yuvstore_fn srpi_yuvstore_avx512 = NULL;

#endif
