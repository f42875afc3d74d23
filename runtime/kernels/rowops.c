/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/rowops.h"

#include <math.h>
#include <string.h>

#include "exec/cpu.h"
#include "kernels/activation.h"
#include "kernels/reference.h"
#include "kernels/resample.h"
#include "kernels/select.h"
#include "kernels/unroll.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__x86_64__)
#define FMA __attribute__((target("avx2,fma")))
#endif
#define INLINE static inline __attribute__((always_inline))

/* Adding and taking away 1.5 * 2^23 rounds to the nearest even integer. */
#define ROUNDER 12582912.0f

bool srpi_codec_equal(const struct srpi_codec *a, const struct srpi_codec *b)
{
    return a->dtype == b->dtype &&
           (a->dtype != SRPI_Q8 || (a->scale == b->scale && a->zero == b->zero));
}

/* ---- codes and reals ------------------------------------------------------------------------- */

void srpi_row_fill_zero(const struct srpi_codec *codec, void *row, size_t count)
{
    if (codec->dtype != SRPI_Q8) {
        memset(row, 0, count * codec->element);
    } else if (codec->storage == SRPI_Q8_U16) {
        uint16_t *to = row;
        for (size_t i = 0; i < count; i++) {
            to[i] = codec->padding;
        }
    } else {
        memset(row, codec->storage == SRPI_Q8_S8 ? codec->padding ^ 0x80 : codec->padding, count);
    }
}

void srpi_row_load(const struct srpi_codec *codec, const void *row, float *out, size_t count)
{
    const float zero = codec->zero, scale = codec->scale;
    if (codec->dtype == SRPI_F32) {
        memcpy(out, row, count * sizeof(float));
    } else if (codec->dtype == SRPI_BF16) {
        const uint16_t *from = row;
        for (size_t i = 0; i < count; i++) {
            const uint32_t bits = (uint32_t)from[i] << 16;
            memcpy(&out[i], &bits, sizeof(bits));
        }
    } else if (codec->storage == SRPI_Q8_U16) {
        const uint16_t *from = row;
        for (size_t i = 0; i < count; i++) {
            out[i] = ((float)from[i] - zero) * scale;
        }
    } else {
        const uint8_t flip = codec->storage == SRPI_Q8_S8 ? 0x80 : 0;
        const uint8_t *from = row;
        for (size_t i = 0; i < count; i++) {
            out[i] = ((float)(from[i] ^ flip) - zero) * scale;
        }
    }
}

INLINE uint32_t code_of(float value, float inverse, float zero)
{
    float v = fmaf(value, inverse, zero);
    /* Comparisons that are false for NaN, which thereby becomes 0. */
    v = srpi_select(v > 0.0f, v, 0.0f);
    v = srpi_select(v < 255.0f, v, 255.0f);
    v += ROUNDER;
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits & 0xffu;
}

INLINE void store_codes(const struct srpi_codec *codec, const float *in, void *row, size_t count)
{
    const float inverse = codec->inverse, zero = codec->zero;
    if (codec->storage == SRPI_Q8_U16) {
        uint16_t *to = row;
        for (size_t i = 0; i < count; i++) {
            to[i] = (uint16_t)code_of(in[i], inverse, zero);
        }
    } else {
        const uint32_t flip = codec->storage == SRPI_Q8_S8 ? 0x80 : 0;
        uint8_t *to = row;
        for (size_t i = 0; i < count; i++) {
            to[i] = (uint8_t)(code_of(in[i], inverse, zero) ^ flip);
        }
    }
}

#if defined(__x86_64__)
FMA static void store_codes_fma(const struct srpi_codec *codec, const float *in, void *row,
                                size_t count)
{
    store_codes(codec, in, row, count);
}
#endif

/* Round to nearest even; NaN stays NaN. */
INLINE uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint32_t nan = 0u - (uint32_t)((bits & 0x7fffffffu) > 0x7f800000u);
    const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    return (uint16_t)(((rounded & ~nan) | ((bits | 0x400000u) & nan)) >> 16);
}

INLINE void store_bf16(const float *in, uint16_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = bf16_of(in[i]);
    }
}

#if defined(__x86_64__)
FMA static void store_bf16_fma(const float *in, uint16_t *to, size_t count)
{
    store_bf16(in, to, count);
}
#else
#define store_bf16_fma store_bf16
#endif

void srpi_row_store(const struct srpi_codec *codec, const float *in, void *row, size_t count)
{
    if (codec->dtype == SRPI_F32) {
        memcpy(row, in, count * sizeof(float));
    } else if (codec->dtype == SRPI_BF16) {
        if (srpi_cpu_avx2()) {
            store_bf16_fma(in, row, count);
        } else {
            store_bf16(in, row, count);
        }
    } else {
#if defined(__x86_64__)
        if (srpi_cpu_avx2()) { /* without it fmaf is a function, with the same result */
            store_codes_fma(codec, in, row, count);
            return;
        }
#endif
        store_codes(codec, in, row, count);
    }
}

/* ---- 16 bits --------------------------------------------------------------------------------- */

/* Value i as it is stored. */
INLINE float stored(const struct srpi_codec *codec, const void *row, size_t i)
{
    return codec->storage == SRPI_Q8_U16
               ? (float)((const uint16_t *)row)[i]
               : (float)(((const uint8_t *)row)[i] ^ (codec->storage == SRPI_Q8_S8 ? 0x80 : 0));
}

void srpi_row_load_fine(const struct srpi_codec *codec, const void *row, size_t fraction,
                        float *out, size_t count)
{
    const float zero = codec->fine_zero, scale = codec->scale * 0x1p-8f;
    if (fraction == 0) {
        srpi_row_load(codec, row, out, count);
        return;
    }
    const char *rest = (const char *)row + fraction;
    for (size_t i = 0; i < count; i++) {
        out[i] = (stored(codec, row, i) * 256.0f + stored(codec, rest, i) - zero) * scale;
    }
}

/* The value as 16 bits. */
INLINE uint32_t fine_of(float value, float inverse, float zero)
{
    float v = fmaf(value, inverse, zero);
    v = srpi_select(v > 0.0f, v, 0.0f);
    v = srpi_select(v < 65535.0f, v, 65535.0f);
    return (uint32_t)(int32_t)(v + ROUNDER - ROUNDER);
}

INLINE void store_fine(const struct srpi_codec *codec, const float *in, char *row, size_t fraction,
                       size_t count)
{
    const float inverse = codec->inverse * 256.0f, zero = codec->fine_zero;
    if (codec->storage == SRPI_Q8_U16) {
        uint16_t *codes = (void *)row, *rest = (void *)(row + fraction);
        for (size_t i = 0; i < count; i++) {
            const uint32_t fine = fine_of(in[i], inverse, zero);
            codes[i] = (uint16_t)(fine >> 8);
            rest[i] = (uint16_t)(fine & 255);
        }
    } else {
        const uint32_t flip = codec->storage == SRPI_Q8_S8 ? 0x80 : 0;
        uint8_t *codes = (void *)row, *rest = codes + fraction;
        for (size_t i = 0; i < count; i++) {
            const uint32_t fine = fine_of(in[i], inverse, zero);
            codes[i] = (uint8_t)(fine >> 8 ^ flip);
            rest[i] = (uint8_t)(fine ^ flip);
        }
    }
}

#if defined(__x86_64__)
FMA static void store_fine_fma(const struct srpi_codec *codec, const float *in, char *row,
                               size_t fraction, size_t count)
{
    store_fine(codec, in, row, fraction, count);
}
#endif

void srpi_row_store_fine(const struct srpi_codec *codec, const float *in, void *row,
                         size_t fraction, size_t count)
{
    if (fraction == 0) {
        srpi_row_store(codec, in, row, count);
        return;
    }
#if defined(__x86_64__)
    if (srpi_cpu_avx2()) {
        store_fine_fma(codec, in, row, fraction, count);
        return;
    }
#endif
    store_fine(codec, in, row, fraction, count);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

INLINE void finish_values(const struct srpi_row_finish *finish, float *restrict v, uint32_t pixels,
                          uint32_t channels)
{
    const size_t count = (size_t)pixels * channels;
    const float low = finish->low, high = finish->high, *other = finish->other;
    for (uint32_t p = 0; finish->slope != NULL && p < pixels; p++) {
        float *pixel = v + (size_t)p * channels;
        for (uint32_t c = 0; c < channels; c++) {
            pixel[c] = srpi_select(pixel[c] < 0.0f, pixel[c] * finish->slope[c], pixel[c]);
        }
    }
    for (size_t i = 0; other != NULL && i < count; i++) {
        v[i] += other[i];
    }
    for (size_t i = 0; finish->clamp && i < count; i++) {
        const float above = v[i] > low ? v[i] : low;
        v[i] = above < high ? above : high;
    }
}

#if defined(__x86_64__)
FMA static void finish_values_fma(const struct srpi_row_finish *finish, float *v, uint32_t pixels,
                                  uint32_t channels)
{
    finish_values(finish, v, pixels, channels);
}
#endif

void srpi_row_finish(const struct srpi_row_finish *finish, float *v, uint32_t pixels,
                     uint32_t channels)
{
#if defined(__x86_64__)
    if (srpi_cpu_avx2()) {
        finish_values_fma(finish, v, pixels, channels);
        return;
    }
#endif
    finish_values(finish, v, pixels, channels);
}

INLINE void finish_sums(const struct srpi_conv_layer *layer, const float *restrict other,
                        float *restrict v, uint32_t pixels)
{
    const uint32_t channels = layer->shape.out_channels;
    const bool codes = layer->shape.out == SRPI_Q8, bends = layer->slope != NULL;
    const float *restrict multiplier = layer->multiplier, *restrict slope = layer->slope;
    const float offset = layer->offset, low = layer->low, high = layer->high;
    for (uint32_t p = 0; p < pixels; p++, v += channels) {
        for (uint32_t c = 0; codes && !bends && c < channels; c++) {
            v[c] = fmaf(v[c], multiplier[c], offset);
        }
        for (uint32_t c = 0; codes && bends && c < channels; c++) {
            const float t = v[c] * multiplier[c];
            v[c] = srpi_select(t < 0.0f, t * slope[c], t) + offset;
        }
        for (uint32_t c = 0; !codes && c < channels; c++) {
            v[c] = fmaf(v[c], multiplier[c], layer->shift[c]);
        }
        for (uint32_t c = 0; !codes && bends && c < channels; c++) {
            v[c] = srpi_select(v[c] < 0.0f, v[c] * slope[c], v[c]);
        }
        for (uint32_t c = 0; other != NULL && c < channels; c++) {
            v[c] = fmaf(other[(size_t)p * channels + c], layer->residual_multiplier, v[c]);
        }
        for (uint32_t c = 0; layer->clamp && c < channels; c++) {
            const float above = v[c] > low ? v[c] : low;
            v[c] = above < high ? above : high;
        }
    }
}

#if defined(__x86_64__)
FMA static void finish_sums_fma(const struct srpi_conv_layer *layer, const float *other, float *v,
                                uint32_t pixels)
{
    finish_sums(layer, other, v, pixels);
}
#endif

void srpi_row_finish_sums(const struct srpi_conv_layer *layer, const float *other, float *v,
                          uint32_t pixels)
{
#if defined(__x86_64__)
    if (srpi_cpu_avx2()) {
        finish_sums_fma(layer, other, v, pixels);
        return;
    }
#endif
    finish_sums(layer, other, v, pixels);
}

void srpi_row_shift(const float *restrict from, float value, float *restrict to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = from[i] + value;
    }
}

void srpi_row_add(float *a, const float *b, size_t count)
{
    srpi_ref_add(a, b, a, count);
}

void srpi_row_mul(float *a, const float *b, size_t count)
{
    srpi_ref_mul(a, b, a, count);
}

/* The activations without a curve. */
INLINE void bend(float *a, size_t count, enum srpi_activation activation, float alpha, float min,
                 float max)
{
    if (activation == SRPI_ACT_RELU) {
        for (size_t i = 0; i < count; i++) {
            a[i] = srpi_select(a[i] > 0.0f, a[i], 0.0f);
        }
    } else if (activation == SRPI_ACT_LEAKY_RELU) {
        for (size_t i = 0; i < count; i++) {
            a[i] = srpi_select(a[i] >= 0.0f, a[i], alpha * a[i]);
        }
    } else if (activation == SRPI_ACT_CLIP) {
        for (size_t i = 0; i < count; i++) {
            const float above = srpi_select(a[i] > min, a[i], min);
            a[i] = srpi_select(above < max, above, max);
        }
    }
}

#if defined(__x86_64__)
FMA static void bend_fma(float *a, size_t count, enum srpi_activation activation, float alpha,
                         float min, float max)
{
    bend(a, count, activation, alpha, min, max);
}
#endif

void srpi_row_activate(float *a, size_t count, enum srpi_activation activation, float alpha,
                       float min, float max)
{
    if (activation == SRPI_ACT_TANH) {
        srpi_row_tanh(a, a, count);
        return;
    }
    if (activation == SRPI_ACT_SIGMOID) {
        srpi_row_sigmoid(a, a, count);
        return;
    }
#if defined(__x86_64__)
    if (srpi_cpu_avx2()) {
        bend_fma(a, count, activation, alpha, min, max);
        return;
    }
#endif
    bend(a, count, activation, alpha, min, max);
}

/* ---- channels -------------------------------------------------------------------------------- */

/* `bytes` is a constant where that is worth it: a call of memcpy for each pixel takes long. */
INLINE void copy_pixels(const char *from, size_t from_step, char *to, size_t to_step,
                        const size_t bytes, uint32_t pixels)
{
    for (; pixels >= 4; pixels -= 4) {
        memcpy(to, from, bytes);
        memcpy(to + to_step, from + from_step, bytes);
        memcpy(to + 2 * to_step, from + 2 * from_step, bytes);
        memcpy(to + 3 * to_step, from + 3 * from_step, bytes);
        from += 4 * from_step;
        to += 4 * to_step;
    }
    for (; pixels > 0; pixels--) {
        memcpy(to, from, bytes);
        from += from_step;
        to += to_step;
    }
}

void srpi_row_copy(const struct srpi_channels *channels, uint32_t element)
{
    const char *from = (const char *)channels->from + (size_t)channels->from_first * element;
    char *to = (char *)channels->to + (size_t)channels->to_first * element;
    const size_t bytes = (size_t)channels->count * element;
    const size_t from_step = (size_t)channels->from_stride * element;
    const size_t to_step = (size_t)channels->to_stride * element;
    switch (bytes) {
#define COPY(constant) \
    case constant: \
        copy_pixels(from, from_step, to, to_step, constant, channels->pixels); \
        break;
        COPY(1)
        COPY(2)
        COPY(4)
        COPY(8)
        COPY(16)
        COPY(32)
#undef COPY
    default:
        copy_pixels(from, from_step, to, to_step, bytes, channels->pixels);
    }
}

INLINE uint64_t value_at(const uint8_t *from, const uint32_t element)
{
    uint16_t value = *from;
    if (element == 2) {
        memcpy(&value, from, sizeof(value));
    }
    return value;
}

/* One value of `element` bytes from each row. The first 8 bytes go in one word: where it is more
 * than a column, the next pixel writes over the rest. All machines of the engine are
 * little-endian. */
INLINE void column_values(const struct srpi_columns *c, const uint32_t element,
                          const uint32_t height, uint32_t begin)
{
    const uint8_t *from[SRP_MAX_KERNEL] = {NULL};
    const uint32_t together = 8 / element;
    const size_t step = (size_t)c->stride * element;
    uint8_t *to = (uint8_t *)c->to + (size_t)begin * height * element;
    UNROLL for (uint32_t k = 0; k < height; k++) {
        from[k] = (const uint8_t *)c->rows[k] + (size_t)c->first * element;
    }
    for (size_t x = begin * step; x < c->pixels * step; x += step) {
        uint64_t word = 0;
        UNROLL for (uint32_t k = 0; k < height && k < together; k++) {
            word |= value_at(from[k] + x, element) << 8 * element * k;
        }
        memcpy(to, &word, sizeof(word));
        UNROLL for (uint32_t k = together; k < height; k++) {
            memcpy(to + (size_t)k * element, from[k] + x, element);
        }
        to += (size_t)height * element;
    }
}

/* For some heights, as constants: what is in `from` stays in registers. */
static bool columns_of_values(const struct srpi_columns *c, uint32_t element)
{
    uint32_t begin = 0;
#if defined(__x86_64__)
    if (srpi_cpu_avx2()) {
        begin = srpi_columns_avx2(c, element);
    }
#endif
    switch (16 * element + c->height) {
#define COLUMN(element, height) \
    case 16 * (element) + (height): \
        column_values(c, element, height, begin); \
        return true;
        COLUMN(1, 3)
        COLUMN(1, 5)
        COLUMN(1, 7)
        COLUMN(2, 3)
        COLUMN(2, 5)
        COLUMN(2, 7)
#undef COLUMN
    default:
        return false;
    }
}

void srpi_row_columns(const struct srpi_columns *columns, uint32_t element)
{
    if (columns->count == 1 && element <= 2 && columns_of_values(columns, element)) {
        return;
    }
    for (uint32_t k = 0; k < columns->height; k++) {
        const struct srpi_channels channels = {.from = columns->rows[k],
                                               .from_stride = columns->stride,
                                               .from_first = columns->first,
                                               .to = columns->to,
                                               .to_stride = columns->count * columns->height,
                                               .to_first = columns->count * k,
                                               .count = columns->count,
                                               .pixels = columns->pixels};
        srpi_row_copy(&channels, element);
    }
}

void srpi_row_convert(const struct srpi_channels *channels, const struct srpi_codec *from,
                      const struct srpi_codec *to, float *work)
{
    for (uint32_t x = 0; x < channels->pixels; x++) {
        const size_t source = (size_t)x * channels->from_stride + channels->from_first;
        const size_t target = (size_t)x * channels->to_stride + channels->to_first;
        srpi_row_load(from, (const char *)channels->from + source * from->element, work,
                      channels->count);
        srpi_row_store(to, work, (char *)channels->to + target * to->element, channels->count);
    }
}

/* ---- enlarging ------------------------------------------------------------------------------- */

INLINE void shuffle_values(const struct srpi_row_shuffle *s, const uint32_t element)
{
    const uint32_t channels = s->channels, block = s->block;
    const uint32_t step_c = s->order == SRPI_ORDER_CRD ? block * block : 1;
    const uint32_t step_j = s->order == SRPI_ORDER_CRD ? 1 : channels;
    const size_t pixel = (size_t)channels * block * block * element;
    uint32_t j = s->first_out % block;
    const char *from = (const char *)s->from + (s->first_out / block - s->first_in) * pixel;
    char *to = s->to;
    for (uint32_t x = 0; x < s->pixels; x++) {
        const char *first = from + (size_t)(s->row * block + j) * step_j * element;
        for (uint32_t c = 0; c < channels; c++) {
            memcpy(to, first + (size_t)c * step_c * element, element);
            to += element;
        }
        if (++j == block) {
            j = 0;
            from += pixel;
        }
    }
}

void srpi_row_shuffle(const struct srpi_row_shuffle *shuffle, uint32_t element)
{
    switch (element) { /* constants: copies become moves */
    case 1:
        shuffle_values(shuffle, 1);
        break;
    case 2:
        shuffle_values(shuffle, 2);
        break;
    default:
        shuffle_values(shuffle, 4);
        break;
    }
}

/* Columns first..last of the operand blended downwards; those beyond the picture repeat its
 * edge. */
static void blend_rows(const struct srpi_row_resize *resize, const struct srpi_codec *codec,
                       const float *down, int64_t first, int64_t last, float *work, float *spare)
{
    const uint32_t channels = resize->channels;
    const int64_t edge = (int64_t)resize->width - 1;
    const int64_t begin = first < 0 ? 0 : first, end = last > edge ? edge : last;
    const size_t count = (size_t)(end - begin + 1) * channels;
    float *inner = work + (size_t)(begin - first) * channels;
    memset(inner, 0, count * sizeof(float));
    for (uint32_t k = 0; k < SRPI_REF_WINDOW; k++) {
        const size_t at = (size_t)(begin - (int64_t)resize->first_in) * channels * codec->element;
        srpi_row_load(codec, (const char *)resize->rows[k] + at, spare, count);
        for (size_t i = 0; i < count; i++) {
            inner[i] = inner[i] + down[k] * spare[i];
        }
    }
    for (int64_t x = first; x < begin; x++) {
        memcpy(work + (size_t)(x - first) * channels, inner, channels * sizeof(float));
    }
    for (int64_t x = end + 1; x <= last; x++) {
        memcpy(work + (size_t)(x - first) * channels, inner + count - channels,
               channels * sizeof(float));
    }
}

void srpi_row_resize(const struct srpi_row_resize *resize, const struct srpi_codec *codec,
                     float *out, float *work, float *spare)
{
    float weight[SRP_MAX_SCALE][SRPI_REF_WINDOW];
    for (uint32_t phase = 0; phase < resize->scale; phase++) {
        srpi_ref_resize_taps(resize->mode, resize->scale, phase, weight[phase]);
    }
    const uint32_t channels = resize->channels, scale = resize->scale;
    const int64_t first = (int64_t)(resize->first_out / scale) - 2;
    const int64_t last = (int64_t)((resize->first_out + resize->pixels - 1) / scale) + 2;
    /* Columns downwards, then neighbours along the row: the reference's order. */
    blend_rows(resize, codec, weight[resize->y % scale], first, last, work, spare);
    for (uint32_t x = 0; x < resize->pixels; x++) {
        const uint32_t at = resize->first_out + x;
        const float *across = weight[at % scale];
        const float *from = work + (size_t)((int64_t)(at / scale) - 2 - first) * channels;
        for (uint32_t c = 0; c < channels; c++) {
            float sum = 0.0f;
            for (uint32_t k = 0; k < SRPI_REF_WINDOW; k++) {
                sum += across[k] * from[(size_t)k * channels + c];
            }
            *out++ = sum;
        }
    }
}

void srpi_row_repeat(const struct srpi_row_resize *resize, const void *from, void *to,
                     size_t pixel_bytes)
{
    const char *pixel = from;
    char *next = to;
    uint32_t left = resize->scale - resize->first_out % resize->scale; /* of the first one */
    for (uint32_t x = 0; x < resize->pixels; x++) {
        memcpy(next, pixel, pixel_bytes);
        next += pixel_bytes;
        if (--left == 0) {
            left = resize->scale;
            pixel += pixel_bytes;
        }
    }
}
