/* SPDX-License-Identifier: BSD-2-Clause */
/* yuvstore.h - from a network's R, G and B, still shuffled, to the bytes of a 4:2:0 picture in one
 * pass: shuffle, colour, halving of chroma, rounding.
 *
 * Every value passes the same operations in the same order as by way of whole rows (colour.h), so
 * the bytes are the same. */
#ifndef SRPI_YUVSTORE_H
#define SRPI_YUVSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/colour.h"

/* A part of one row of the network. Row i, column j, of channel c of a pixel is at
 * (c * block + i) * block + j, and stands for the code flat + gain * value. */
struct srpi_yuvstore {
    const float *pixel;   /* the first */
    uint32_t channels;    /* values from pixel to pixel */
    uint32_t block;       /* 2 or 4 */
    float flat, gain;
    const struct srpi_colour *colour;
    /* Chroma lies on the left column of each pair, and is [1 2 1]/4 around that; otherwise it is
     * [1 1]/2. The rows of a pair are averaged in any case. */
    bool sited;
    bool edge;            /* nothing is on the left of the first pixel; otherwise a pixel is */
    uint32_t rows, count; /* rows of luma, even, at most block; columns */
    uint8_t *luma;
    ptrdiff_t luma_stride;
    uint8_t *chroma[2];   /* Cb and Cr */
    ptrdiff_t chroma_stride[2];
    uint32_t chroma_step; /* bytes from sample to sample: 1, or 2 where chroma[1] is
                             chroma[0] + 1 */
};

typedef void (*srpi_yuvstore_fn)(const struct srpi_yuvstore *store);
void srpi_yuvstore_scalar(const struct srpi_yuvstore *store);
/* All but the first `done` columns, a multiple of 2 * block. */
void srpi_yuvstore_rest(const struct srpi_yuvstore *store, uint32_t done);
/* NULL where this was compiled without them; only for machines that srpi_cpu_avx2() and
 * srpi_cpu_avx512() say. */
extern const srpi_yuvstore_fn srpi_yuvstore_avx2, srpi_yuvstore_avx512;
/* By the one to use. */
void srpi_yuvstore(const struct srpi_yuvstore *store);

#endif
