/* SPDX-License-Identifier: BSD-2-Clause */
/* colour.h - rows of Y'CbCr and R'G'B' in f32, all in units of 8-bit codes (0..255), not clipped.
 *
 * RGB is full range. Limited YCbCr: Y 16..235, Cb and Cr 16..240 around 128; full: 0..255 around
 * 128. */
#ifndef SRPI_COLOUR_H
#define SRPI_COLOUR_H

#include <stdbool.h>
#include <stdint.h>

#include <srp/upscaler.h>

/* Coefficients of both directions. */
struct srpi_colour {
    float y_offset, y_gain, c_gain;                   /* code to full-range code */
    float r_v, g_u, g_v, b_u;                         /* YCbCr to RGB */
    float y_r, y_g, y_b, u_scale, v_scale, y_inverse; /* RGB to YCbCr */
};
void srpi_colour_init(struct srpi_colour *colour, enum srp_matrix matrix, enum srp_range range);

/* Three rows in place. */
void srpi_colour_to_rgb(const struct srpi_colour *colour, float *const *rows, uint32_t count);
void srpi_colour_to_yuv(const struct srpi_colour *colour, float *const *rows, uint32_t count);

/* Every second sample after [1 2 1]/4 around it (sited) or [1 1]/2 with the next one, the edge
 * replicated:
 * (count + 1) / 2 samples. */
void srpi_chroma_half(const float *in, float *out, uint32_t count, bool sited);
/* out = (a + 2 b + c)/4 and (a + b)/2. */
void srpi_rows_121(const float *a, const float *b, const float *c, float *out, uint32_t count);
void srpi_rows_11(const float *a, const float *b, float *out, uint32_t count);

#endif
