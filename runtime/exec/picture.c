/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/picture.h"

#include <stdlib.h>

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

struct job {
    struct srpi_source source[3];
    uint32_t components;
    enum srpi_convert convert;
    struct srpi_colour colour;
    uint32_t channels, width; /* of the tensor's rows */
    float mean;
    float *tensor;
    struct srpi_scratch *scratch;
    const struct srp_picture *picture;
};

#define TO_UNIT (1.0f / 255.0f)

static void rows_to_tensor(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    const struct job *job = context;
    struct srpi_scratch *scratch = &job->scratch[worker];
    for (uint32_t y = begin; y < end; y++) {
        float *to = job->tensor + (size_t)y * job->width * job->channels;
        for (uint32_t c = 0; c < job->components; c++) {
            float *row = scratch->row[c];
            const float *made = srpi_source_row(&job->source[c], &scratch->ring[c], y, row);
            for (uint32_t x = 0; made != row && x < job->width; x++) {
                row[x] = made[x];
            }
        }
        if (job->convert == SRPI_TO_RGB) {
            srpi_colour_to_rgb(&job->colour, scratch->row, job->width);
        } else if (job->convert == SRPI_TO_YUV) {
            srpi_colour_to_yuv(&job->colour, scratch->row, job->width);
        }
        for (uint32_t c = 0; c < job->channels; c++) {
            const float *row = scratch->row[c];
            for (uint32_t x = 0; x < job->width; x++) {
                to[(size_t)x * job->channels + c] = row[x] * TO_UNIT - job->mean;
            }
        }
    }
}

static void blocks_to_tensor(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct srpi_view *luma = &job->source[0].view;
    for (uint32_t y = begin; y < end; y++) {
        float *to = job->tensor + (size_t)y * job->width * 6;
        for (uint32_t x = 0; x < job->width; x++) {
            for (uint32_t k = 0; k < 4; k++) {
                uint32_t row = 2 * y + k / 2, column = 2 * x + k % 2;
                row = row < luma->height ? row : luma->height - 1;
                column = column < luma->width ? column : luma->width - 1;
                const uint8_t *codes = (const uint8_t *)luma->data + (ptrdiff_t)row * luma->stride;
                to[k] = (float)codes[column] * TO_UNIT - job->mean;
            }
            for (uint32_t c = 1; c < 3; c++) {
                const struct srpi_view *view = &job->source[c].view;
                const uint8_t *codes = (const uint8_t *)view->data + (ptrdiff_t)y * view->stride;
                to[3 + c] = (float)codes[(size_t)x * view->step] * TO_UNIT - job->mean;
            }
            to += 6;
        }
    }
}

void srpi_picture_to_tensor(const struct srp_picture *picture, const struct srp_picture *like,
                            enum srp_colour_space colour, float mean, float *tensor,
                            struct srpi_pool *pool, struct srpi_scratch *scratch)
{
    const bool yuv = srpi_picture_is_yuv(picture);
    struct srpi_axis one, chroma_x, chroma_y;
    srpi_axis_init(&one, SRPI_FILTER_NEAREST, 1, 2, 2);
    srpi_axis_init(&chroma_x, SRPI_FILTER_CUBIC, 2, 2,
                   picture->chroma == SRP_CHROMA_CENTER ? 2 : 1);
    srpi_axis_init(&chroma_y, SRPI_FILTER_CUBIC, 2, 2,
                   picture->chroma == SRP_CHROMA_TOPLEFT ? 1 : 2);
    struct job job = {.components = 3,
                      .channels = colour == SRP_COLOUR_Y     ? 1
                                  : colour == SRP_COLOUR_RGB ? 3
                                                             : 6,
                      .width = picture->width,
                      .mean = mean,
                      .tensor = tensor,
                      .scratch = scratch,
                      .picture = picture};
    for (uint32_t c = 0; c < 3; c++) {
        const bool half = yuv && c > 0;
        job.source[c] = (struct srpi_source){.view = srpi_picture_view(picture, c),
                                             .h = half ? &chroma_x : &one,
                                             .v = half ? &chroma_y : &one,
                                             .out_width = picture->width};
    }
    if (colour == SRP_COLOUR_YUV420) {
        job.width = (picture->width + 1) / 2;
        srpi_pool_for(pool, blocks_to_tensor, &job, (picture->height + 1) / 2, 8);
        return;
    }
    if (colour == SRP_COLOUR_Y && yuv) {
        job.components = 1;
    } else if (colour == SRP_COLOUR_Y) {
        job.convert = SRPI_TO_YUV;
        srpi_colour_init(&job.colour, like->matrix, like->range);
    } else if (yuv) {
        job.convert = SRPI_TO_RGB;
        srpi_colour_init(&job.colour, picture->matrix, picture->range);
    }
    for (uint32_t i = 0; i < srpi_pool_threads(pool); i++) {
        srpi_scratch_reset(&scratch[i]);
    }
    srpi_pool_for(pool, rows_to_tensor, &job, picture->height, 16);
}
