/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/picture.h"

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "model/error.h"

bool srpi_picture_is_yuv(const struct srp_picture *picture)
{
    return picture->format == SRP_FORMAT_YUV420 || picture->format == SRP_FORMAT_NV12;
}

static uint32_t plane_count(enum srp_format format)
{
    return format == SRP_FORMAT_YUV420 ? 3 : format == SRP_FORMAT_NV12 ? 2 : 1;
}

/* Bytes of one row of a plane. */
static size_t row_bytes(const struct srp_picture *picture, uint32_t plane)
{
    const size_t width = picture->width, half = (width + 1) / 2;
    switch (picture->format) {
    case SRP_FORMAT_YUV420:
        return plane == 0 ? width : half;
    case SRP_FORMAT_NV12:
        return plane == 0 ? width : 2 * half;
    case SRP_FORMAT_RGB:
        return 3 * width;
    case SRP_FORMAT_BGRA:
        return 4 * width;
    }
    return 0;
}

enum srp_err srpi_picture_check(const struct srp_picture *picture, const char *which,
                                struct srp_error *err)
{
    if (picture == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no %s picture", which);
    }
    if ((int)picture->format < SRP_FORMAT_YUV420 || (int)picture->format > SRP_FORMAT_BGRA) {
        return srpi_fail(err, SRP_ERR_USAGE, "the %s picture has an unknown format %d", which,
                         (int)picture->format);
    }
    if ((int)picture->matrix < 0 || (int)picture->matrix > SRP_MATRIX_BT2020 ||
        (int)picture->range < 0 || (int)picture->range > SRP_RANGE_FULL ||
        (int)picture->chroma < 0 || (int)picture->chroma > SRP_CHROMA_TOPLEFT) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "the %s picture has an unknown matrix, range or chroma position", which);
    }
    const uint32_t width = picture->width, height = picture->height;
    if (width == 0 || height == 0 || width > SRP_MAX_DIMENSION || height > SRP_MAX_DIMENSION ||
        (uint64_t)width * height > SRP_MAX_PICTURE_PIXELS) {
        return srpi_fail(err, SRP_ERR_LIMIT,
                         "the %s picture is %ux%u; sides are 1 to %u, pixels at most %u", which,
                         width, height, SRP_MAX_DIMENSION, SRP_MAX_PICTURE_PIXELS);
    }
    for (uint32_t plane = 0; plane < plane_count(picture->format); plane++) {
        const ptrdiff_t stride = picture->stride[plane];
        const size_t distance = stride < 0 ? (size_t)0 - (size_t)stride : (size_t)stride;
        const uint32_t rows = plane == 0 ? height : (height + 1) / 2;
        if (picture->data[plane] == NULL) {
            return srpi_fail(err, SRP_ERR_USAGE, "plane %u of the %s picture is missing", plane,
                             which);
        }
        if (rows > 1 && distance < row_bytes(picture, plane)) {
            return srpi_fail(err, SRP_ERR_USAGE,
                             "plane %u of the %s picture has a stride of %td, shorter than a row",
                             plane, which, stride);
        }
    }
    return SRP_OK;
}

struct srpi_view srpi_picture_view(const struct srp_picture *picture, uint32_t component)
{
    struct srpi_view view = {.data = picture->data[0],
                             .stride = picture->stride[0],
                             .step = 1,
                             .width = picture->width,
                             .height = picture->height};
    switch (picture->format) {
    case SRP_FORMAT_RGB:
        view.data = picture->data[0] + component;
        view.step = 3;
        return view;
    case SRP_FORMAT_BGRA:
        view.data = picture->data[0] + (2 - component);
        view.step = 4;
        return view;
    case SRP_FORMAT_YUV420:
    case SRP_FORMAT_NV12:
        break;
    }
    if (component > 0) {
        view.width = (picture->width + 1) / 2;
        view.height = (picture->height + 1) / 2;
        if (picture->format == SRP_FORMAT_NV12) {
            view.data = picture->data[1] + (component - 1);
            view.stride = picture->stride[1];
            view.step = 2;
        } else {
            view.data = picture->data[component];
            view.stride = picture->stride[component];
        }
    }
    return view;
}

void srpi_loader_init(struct srpi_loader *loader, const struct srp_picture *picture,
                      const struct srp_picture *like, enum srp_colour_space colour, float mean)
{
    const bool yuv = srpi_picture_is_yuv(picture);
    memset(loader, 0, sizeof(*loader));
    srpi_axis_init(&loader->one, SRPI_FILTER_NEAREST, 1, 2, 2);
    srpi_axis_init(&loader->chroma_x, SRPI_FILTER_CUBIC, 2, 2,
                   picture->chroma == SRP_CHROMA_CENTER ? 2 : 1);
    srpi_axis_init(&loader->chroma_y, SRPI_FILTER_CUBIC, 2, 2,
                   picture->chroma == SRP_CHROMA_TOPLEFT ? 1 : 2);
    loader->mean = mean;
    loader->components = 3;
    loader->channels = colour == SRP_COLOUR_Y ? 1 : colour == SRP_COLOUR_RGB ? 3 : 6;
    for (uint32_t c = 0; c < 3; c++) {
        const bool half = yuv && c > 0;
        loader->source[c] = (struct srpi_source){.view = srpi_picture_view(picture, c),
                                                 .h = half ? &loader->chroma_x : &loader->one,
                                                 .v = half ? &loader->chroma_y : &loader->one};
    }
    if (colour == SRP_COLOUR_YUV420) {
        loader->blocks = true;
    } else if (colour == SRP_COLOUR_Y && yuv) {
        loader->components = 1;
    } else if (colour == SRP_COLOUR_Y) {
        loader->convert = SRPI_TO_YUV;
        srpi_colour_init(&loader->colour, like->matrix, like->range);
    } else if (yuv) {
        loader->convert = SRPI_TO_RGB;
        srpi_colour_init(&loader->colour, picture->matrix, picture->range);
    }
}

/* Rows of the components in units of codes, from column scratch->columns.begin on. */
static void plane_rows(const struct srpi_loader *loader, struct srpi_scratch *scratch, uint32_t y,
                       struct srpi_span columns, const float **rows)
{
    /* Chroma is enlarged from whole samples on. */
    columns.begin &= ~1u;
    if (columns.begin != scratch->columns.begin || columns.end != scratch->columns.end) {
        scratch->columns = columns;
        for (uint32_t c = 0; c < loader->components; c++) {
            srpi_ring_reset(&scratch->ring[c], columns.begin, columns.end);
        }
    }
    const uint32_t count = columns.end - columns.begin;
    for (uint32_t c = 0; c < loader->components; c++) {
        rows[c] = srpi_source_row(&loader->source[c], &scratch->ring[c], y, scratch->row[c]);
        if (loader->convert != SRPI_KEEP && rows[c] != scratch->row[c]) {
            memcpy(scratch->row[c], rows[c], count * sizeof(float));
            rows[c] = scratch->row[c]; /* converted in place below; a ring's row is not ours */
        }
    }
    if (loader->convert == SRPI_TO_RGB) {
        srpi_colour_to_rgb(&loader->colour, scratch->row, count);
    } else if (loader->convert == SRPI_TO_YUV) {
        srpi_colour_to_yuv(&loader->colour, scratch->row, count);
    }
}

/* One pixel of a tensor whose pixels are 2x2 blocks of a 4:2:0 picture. */
static void block_pixel(const struct srpi_loader *loader, uint32_t x, uint32_t y, float *codes)
{
    const struct srpi_view *luma = &loader->source[0].view;
    for (uint32_t k = 0; k < 4; k++) {
        uint32_t row = 2 * y + k / 2, column = 2 * x + k % 2;
        row = row < luma->height ? row : luma->height - 1;
        column = column < luma->width ? column : luma->width - 1;
        const uint8_t *samples = (const uint8_t *)luma->data + (ptrdiff_t)row * luma->stride;
        codes[k] = (float)samples[column];
    }
    for (uint32_t c = 1; c < 3; c++) {
        const struct srpi_view *view = &loader->source[c].view;
        const uint8_t *samples = (const uint8_t *)view->data + (ptrdiff_t)y * view->stride;
        codes[3 + c] = (float)samples[(size_t)x * view->step];
    }
}

/* Samples that are codes. */
static void copy_codes(void *row, const uint8_t *from, size_t count, enum srpi_q8_storage storage)
{
    if (storage == SRPI_Q8_U8) {
        memcpy(row, from, count);
        return;
    }
    uint16_t *to = row;
    for (size_t i = 0; i < count; i++) {
        to[i] = from[i];
    }
}

#define TO_UNIT (1.0f / 255.0f)
#define CHUNK 64u /* pixels */

void srpi_loader_row(const struct srpi_loader *loader, struct srpi_scratch *scratch, uint32_t y,
                     struct srpi_span columns, const struct srpi_codec *codec, void *row,
                     size_t fraction)
{
    const uint32_t channels = loader->channels;
    const struct srpi_view *view = &loader->source[0].view;
    const bool q8 = codec->dtype == SRPI_Q8, fine = fraction != 0;
    const bool bytes = q8 && !fine && codec->storage == SRPI_Q8_U8 && !loader->blocks;
    /* A sample's value in the tensor, in Q8 its code before rounding, of 16 bits where it has a
     * fraction, is gain * sample + offset. */
    const float gain = q8 ? codec->inverse / 255.0f * (fine ? 256.0f : 1.0f) : TO_UNIT;
    const float offset = fine ? srpi_codec_fine_origin(codec, loader->mean)
                         : q8 ? srpi_codec_origin(codec, loader->mean)
                              : -loader->mean;
    /* Luma, or R, G and B side by side, that are their own codes. */
    if (q8 && !fine && codec->storage != SRPI_Q8_S8 && !loader->blocks &&
        loader->convert == SRPI_KEEP && view->step == channels &&
        srpi_codec_is_sample(codec, loader->mean)) {
        const uint8_t *from = (const uint8_t *)view->data + (ptrdiff_t)y * view->stride +
                              (size_t)columns.begin * channels;
        copy_codes(row, from, (size_t)(columns.end - columns.begin) * channels, codec->storage);
        return;
    }
    if (bytes && channels == 3) {
        static const uint8_t order[3] = {0, 1, 2};
        const float *rgb[3];
        plane_rows(loader, scratch, y, columns, rgb);
        for (uint32_t c = 0; c < 3; c++) {
            rgb[c] += columns.begin - scratch->columns.begin;
        }
        srpi_resample_kernels()->interleave(rgb, offset, gain, order, 3, row,
                                            columns.end - columns.begin);
        return;
    }
    const struct srpi_codec raw = {.dtype = codec->dtype,
                                   .storage = codec->storage,
                                   .element = codec->element,
                                   .scale = fine ? 256.0f : 1.0f,
                                   .inverse = fine ? 0x1p-8f : 1.0f}; /* codes as they are */
    const float *rows[3] = {NULL};
    char *to = row;
    if (!loader->blocks) {
        plane_rows(loader, scratch, y, columns, rows);
    }
    for (uint32_t begin = columns.begin; begin < columns.end; begin += CHUNK) {
        const uint32_t end = columns.end - begin > CHUNK ? begin + CHUNK : columns.end;
        float values[CHUNK * 6];
        const uint32_t count = (end - begin) * channels;
        for (uint32_t x = begin; loader->blocks && x < end; x++) {
            block_pixel(loader, x, y, values + (size_t)(x - begin) * 6);
        }
        for (uint32_t i = 0; loader->blocks && i < count; i++) {
            values[i] = values[i] * gain + offset;
        }
        for (uint32_t c = 0; !loader->blocks && c < channels; c++) {
            const float *from = rows[c] + (begin - scratch->columns.begin);
            for (uint32_t x = 0; x < end - begin; x++) {
                values[(size_t)x * channels + c] = from[x] * gain + offset;
            }
        }
        srpi_row_store_fine(&raw, values, to, fraction, count);
        to += (size_t)count * codec->element;
    }
}
