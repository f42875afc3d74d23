/* SPDX-License-Identifier: BSD-2-Clause */
/* picture.h - pictures of the caller: checks, views, and the way into a network's input tensor. */
#ifndef SRPI_PICTURE_H
#define SRPI_PICTURE_H

#include <stdbool.h>

#include <srp/upscaler.h>

#include "exec/pipe.h"
#include "kernels/rowops.h"
#include "plan/stream.h"

bool srpi_picture_is_yuv(const struct srp_picture *picture);

/* `which` names it in messages. Errors: USAGE (format, properties, pointers, strides), LIMIT. */
enum srp_err srpi_picture_check(const struct srp_picture *picture, const char *which,
                                struct srp_error *err);

/* Component 0..2 (Y U V or R G B) of a checked picture. */
struct srpi_view srpi_picture_view(const struct srp_picture *picture, uint32_t component);

/* The way from a picture's rows to those of a network's input tensor. */
struct srpi_loader {
    struct srpi_source source[3];
    struct srpi_axis one, chroma_x, chroma_y; /* what the sources point to */
    uint32_t components;
    enum srpi_convert convert;
    struct srpi_colour colour;
    bool blocks;              /* SRP_COLOUR_YUV420: 2x2 luma samples and chroma in a pixel */
    uint32_t channels;        /* of the tensor */
    float mean;
};

/* `like` has the matrix and range in which luma is computed from an RGB picture. A
 * SRP_COLOUR_YUV420 tensor (of half the size) needs a YUV picture; an odd width or height is
 * continued by the last sample. The loader must not be moved. */
void srpi_loader_init(struct srpi_loader *loader, const struct srp_picture *picture,
                      const struct srp_picture *like, enum srp_colour_space colour, float mean);

/* Writes pixels `columns` of row y of the tensor: sample / 255 - mean in F32 and BF16, in Q8 the
 * code of that, which is the rounded sample where no range of the input is stated; unless
 * `fraction` is 0 its fraction too, so many bytes behind. */
void srpi_loader_row(const struct srpi_loader *loader, struct srpi_scratch *scratch, uint32_t y,
                     struct srpi_span columns, const struct srpi_codec *codec, void *row,
                     size_t fraction);

#endif
