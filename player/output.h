/* SPDX-License-Identifier: BSD-2-Clause */
/* output.h - frames into files: YUV4MPEG2 video and PNG pictures. Used by one thread at a time. */
#ifndef SP_OUTPUT_H
#define SP_OUTPUT_H

#include <srp/upscaler.h>

#include "log.h"

struct sp_output;

struct sp_output_params {
    /* "x.y4m" or "-": video; "x.png": the last frame; "x%04d.png": every frame, from 1 */
    const char *path;
    int frame_rate_num, frame_rate_den;
    double sar;
};

/* Errors: USAGE (neither .y4m nor .png, or a bad % pattern), IO, NOMEM. */
enum srp_err sp_output_open(struct sp_output **out, const struct sp_output_params *params,
                            struct srp_error *err);
/* picture: YUV420. All frames of a y4m have one size; another size is SRP_ERR_UNSUPPORTED. */
enum srp_err sp_output_write(struct sp_output *o, const struct srp_picture *picture,
                             struct srp_error *err);
/* Writes what is outstanding (the last frame of a single PNG), closes, frees. A half-written y4m
 * is kept. */
enum srp_err sp_output_close(struct sp_output **o, struct srp_error *err);

/* One picture of any format as an RGB PNG. */
enum srp_err sp_png_write(const char *path, const struct srp_picture *picture,
                          struct srp_error *err);

/* Writes srplay-shotNNNN.png with the first free number into `dir` ("" or NULL: here), `name`
 * receives the path. */
enum srp_err sp_screenshot(const char *dir, const struct srp_picture *picture, char *name,
                           size_t name_size, struct srp_error *err);

/* A picture with its own memory, planes aligned to 64 bytes. */
enum srp_err sp_picture_alloc(struct srp_picture *picture, enum srp_format format, uint32_t width,
                              uint32_t height, struct srp_error *err);
void sp_picture_free(struct srp_picture *picture);
/* Copies pixels and colour properties; equal format and size. */
void sp_picture_copy(const struct srp_picture *to, const struct srp_picture *from);

#endif
