/* SPDX-License-Identifier: BSD-2-Clause */
/* picture.h - pictures of the caller: checks, views, and the way into a network's input tensor. */
#ifndef SRPI_PICTURE_H
#define SRPI_PICTURE_H

#include <stdbool.h>

#include <srp/upscaler.h>

#include "exec/pipe.h"

bool srpi_picture_is_yuv(const struct srp_picture *picture);

/* `which` names it in messages. Errors: USAGE (format, properties, pointers, strides), LIMIT. */
enum srp_err srpi_picture_check(const struct srp_picture *picture, const char *which,
                                struct srp_error *err);

/* Component 0..2 (Y U V or R G B) of a checked picture. */
struct srpi_view srpi_picture_view(const struct srp_picture *picture, uint32_t component);

/* Fills [height][width][channels] (halved for YUV420) with code / 255 - mean. `like` has the
 * matrix and
 * range in which luma is computed from an RGB picture. A SRP_COLOUR_YUV420 tensor needs a YUV
 * picture;
 * an odd width or height is continued by the last sample. */
void srpi_picture_to_tensor(const struct srp_picture *picture, const struct srp_picture *like,
                            enum srp_colour_space colour, float mean, float *tensor,
                            struct srpi_pool *pool, struct srpi_scratch *scratch);

#endif
