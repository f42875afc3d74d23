/* SPDX-License-Identifier: BSD-2-Clause */
/* rowops.h - rows of the operators without parameters, in any dtype: values go through f32 (see
 * docs/arithmetic.md), or are copied where nothing is computed. All rows are dense. */
#ifndef SRPI_ROWOPS_H
#define SRPI_ROWOPS_H

#include <math.h>

#include "kernels/row.h"
#include "model/graph.h"

/* How a tensor's values lie in memory. */
struct srpi_codec {
    enum srpi_dtype dtype;
    enum srpi_q8_storage storage; /* Q8 */
    uint32_t element;             /* bytes */
    /* Q8: real = (q - zero) * scale; inverse is 1 / scale, rounded; the zero point of the input's
     * codes need not be whole, and `padding` is the code that stands for zero */
    float scale, inverse, zero;
    uint8_t padding;
    /* With fractions, which lie as the codes do some bytes behind them: real = (256 q + fraction -
     * fine_zero) * scale / 256. */
    float fine_zero;
};
/* Code of an input value that still has the mean: inverse * value + this, rounded. */
static inline float srpi_codec_origin(const struct srpi_codec *codec, float mean)
{
    return (float)((double)codec->zero - (double)mean * (double)codec->inverse);
}
/* The same of its 16 bits: 256 * inverse * value + this. */
static inline float srpi_codec_fine_origin(const struct srpi_codec *codec, float mean)
{
    return (float)((double)codec->fine_zero - 256.0 * ((double)mean * (double)codec->inverse));
}
/* Whether the code of an input value is the picture's 8-bit sample that it stands for. */
static inline bool srpi_codec_is_sample(const struct srpi_codec *codec, float mean)
{
    return codec->inverse == 255.0f && fabsf(srpi_codec_origin(codec, mean)) < 0.25f;
}
/* Whether values may be copied from one to the other. */
bool srpi_codec_equal(const struct srpi_codec *a, const struct srpi_codec *b);

/* `count` values. */
void srpi_row_fill_zero(const struct srpi_codec *codec, void *row, size_t count);
void srpi_row_load(const struct srpi_codec *codec, const void *row, float *out, size_t count);
void srpi_row_store(const struct srpi_codec *codec, const float *in, void *row, size_t count);

/* The same where `fraction` bytes behind the codes (Q8) lie their fractions; 0: there are none. */
void srpi_row_load_fine(const struct srpi_codec *codec, const void *row, size_t fraction,
                        float *out, size_t count);
void srpi_row_store_fine(const struct srpi_codec *codec, const float *in, void *row,
                         size_t fraction, size_t count);

/* What follows the sums of a convolution, in place: v < 0 ? v * slope : v (slope may be NULL), then
 * + other (may be NULL), then the clamp. */
struct srpi_row_finish {
    const float *slope; /* of each channel */
    const float *other; /* pixels * channels */
    bool clamp;
    float low, high;
};
void srpi_row_finish(const struct srpi_row_finish *finish, float *v, uint32_t pixels,
                     uint32_t channels);

/* What follows the sums of a layer that reads Q8 (row.h), in place: sums as f32, which hold them
 * exactly, become real values, or those to be rounded to codes. other: the other summand as f32, in
 * the same units times 1 / residual_multiplier, or NULL. */
void srpi_row_finish_sums(const struct srpi_conv_layer *layer, const float *other, float *v,
                          uint32_t pixels);

/* to[i] = from[i] + value. */
void srpi_row_shift(const float *from, float value, float *to, size_t count);

/* In place: a[i] += b[i], a[i] *= b[i], activation (no PRELU). */
void srpi_row_add(float *a, const float *b, size_t count);
void srpi_row_mul(float *a, const float *b, size_t count);
void srpi_row_activate(float *a, size_t count, enum srpi_activation activation, float alpha,
                       float min, float max);

/* Some channels of each pixel of one row, to some channels of another. Strides and firsts count
 * values. */
struct srpi_channels {
    const void *from;
    uint32_t from_stride, from_first;
    void *to;
    uint32_t to_stride, to_first;
    uint32_t count, pixels;
};
void srpi_row_copy(const struct srpi_channels *channels, uint32_t element);
/* Some channels of the same pixels of several rows: in each pixel those of row 0, then of row 1 and
 * so on. Strides and first count values. Writes up to 8 bytes behind the last pixel. */
struct srpi_columns {
    const void *const *rows; /* `height` of them */
    uint32_t height, stride, first;
    uint32_t count, pixels;
    void *to;
};
void srpi_row_columns(const struct srpi_columns *columns, uint32_t element);
/* The same of the first pixels, where `count` is 1 and `element` 1 or 2: how many it did, none or
 * most of them. Needs AVX2, and writes nothing behind the last pixel. */
uint32_t srpi_columns_avx2(const struct srpi_columns *columns, uint32_t element);
/* `work` has room for pixels * count values. */
void srpi_row_convert(const struct srpi_channels *channels, const struct srpi_codec *from,
                      const struct srpi_codec *to, float *work);

/* depth_to_space: one row of the output. */
struct srpi_row_shuffle {
    const void *from;             /* the row of the operand */
    void *to;
    uint32_t first_in, first_out; /* columns at which they begin */
    uint32_t pixels, channels;    /* of the output */
    uint32_t block, row;          /* row: 0 .. block - 1 */
    enum srpi_block_order order;
};
void srpi_row_shuffle(const struct srpi_row_shuffle *shuffle, uint32_t element);

/* One row of an enlarged tensor. */
struct srpi_row_resize {
    uint32_t scale;
    enum srpi_resize_mode mode;
    uint32_t channels;
    uint32_t width;               /* of the picture's row of the operand */
    uint32_t first_in, first_out; /* columns at which rows[] and the result begin */
    uint32_t pixels;              /* of the result */
    uint32_t y;                   /* row of the result */
    const void *rows[5];          /* operand's rows y / scale - 2 .. + 2, edges replicated */
};
/* `out` has pixels * channels values; `work` and `spare` as many and 5 pixels more. */
void srpi_row_resize(const struct srpi_row_resize *resize, const struct srpi_codec *codec,
                     float *out, float *work, float *spare);
/* NEAREST is a repetition: output pixel x is pixel x / scale, whatever the scale. from: the pixel
 * of output pixel first_out, and those that follow. */
void srpi_row_repeat(const struct srpi_row_resize *resize, const void *from, void *to,
                     size_t pixel_bytes);

#endif
