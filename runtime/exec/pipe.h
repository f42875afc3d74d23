/* SPDX-License-Identifier: BSD-2-Clause */
/* pipe.h - the last stage of an upscale: from planes and network outputs to the rows of a
 * picture. */
#ifndef SRPI_PIPE_H
#define SRPI_PIPE_H

#include <stdatomic.h>
#include <stdbool.h>

#include <srp/upscaler.h>

#include "exec/pool.h"
#include "kernels/colour.h"
#include "kernels/resample.h"
#include "plan/stream.h"

enum srpi_convert { SRPI_KEEP = 0, SRPI_TO_RGB, SRPI_TO_YUV };

#define SRPI_PIPE_AXES 6u

/* One picture's recipe; `factor` is the enlargement. All rows are f32 in units of 8-bit codes until
 * the one rounding at the end.
 *
 * full: three rows of the output's width (RGB or YCbCr 4:4:4) are made from source[0..2], converted
 * by `first`; then row 0 is replaced by `luma` if has_luma, and the tail is added to the first
 * tail_channels rows; then `second` converts them; then they are stored, with chroma halved for a
 * 4:2:0 output. Not full: source[0] (and the tail) makes luma, source[1] and [2] the chroma
 * planes. */
struct srpi_pipe {
    const struct srp_picture *out;
    uint32_t factor;
    bool full;
    struct srpi_source source[3];
    /* the rows that the tail is added to begin as flat_value, not as what the sources give */
    bool flat;
    float flat_value;
    bool has_luma;
    struct srpi_source luma;
    enum srpi_convert first, second;
    struct srpi_colour first_colour, second_colour;
    /* Before depth_to_space: the wanted tensor has tail_channels * block * block channels in f32 */
    bool has_tail;
    uint32_t tail_channels, block;
    struct srpi_axis axis[SRPI_PIPE_AXES]; /* what the sources point to */
};

/* Work memory of one worker, for the rows of one part of a picture at a time. */
struct srpi_scratch {
    struct srpi_span rows, columns; /* the part */
    struct srpi_ring ring[4];
    float *row[4];
    float *half[2][4];
    uint8_t *bytes[3];
};

/* Bytes of work memory for one worker; sizes are those of the largest source and output rows. */
size_t srpi_scratch_size(uint32_t source_width, uint32_t out_width);
/* Lays it out; `memory` is 64-byte aligned. */
void srpi_scratch_init(struct srpi_scratch *scratch, void *memory, uint32_t source_width,
                       uint32_t out_width);
/* The pixels of all sources have changed. */
void srpi_scratch_reset(struct srpi_scratch *scratch);

/* A part of the output picture: its rows and columns begin at even multiples of the enlargement,
 * and end there or with the picture. Of what is bound, srpi_pipe_margin around it is there, as far
 * as the picture goes, and what the filters read. */
struct srpi_part {
    struct srpi_span rows, columns;
};
/* What the halving of chroma reads around a part, in pixels of the input of which one or two make
 * at least a pair of columns or rows of the output. */
static inline struct srpi_sides srpi_pipe_margin(uint32_t factor, enum srp_chroma chroma)
{
    const uint32_t pair = factor == 1 ? 2 : 1;
    return (struct srpi_sides){.left = chroma != SRP_CHROMA_CENTER ? pair : 0,
                               .above = chroma == SRP_CHROMA_TOPLEFT ? pair : 0};
}
/* Rows [begin, end) of a part, begin even (for 4:2:0 outputs), end too or the last. `wanted` and
 * `input` are the rows that are there now, for what is bound to them. Nothing else of the picture
 * is written: other parts may be made at the same time. */
void srpi_pipe_rows(const struct srpi_pipe *pipe, struct srpi_scratch *scratch,
                    const struct srpi_part *part, const struct srpi_rows *wanted,
                    const struct srpi_rows *input, uint32_t begin, uint32_t end);

/* Parts of the picture that are being made, where nothing is bound, in bands of a few rows. */
struct srpi_bands {
    const struct srpi_pipe *pipe;
    struct srpi_scratch *scratch; /* one entry per worker */
    const struct srpi_part *parts;
    uint32_t count;   /* bands of all parts */
    atomic_uint next; /* the one to be taken */
};
/* All that is given stays until the parts are made: when each worker that called work returned. */
void srpi_bands_start(struct srpi_bands *bands, const struct srpi_pipe *pipe,
                      struct srpi_scratch *scratch, const struct srpi_part *parts, uint32_t count);
void srpi_bands_work(struct srpi_bands *bands, uint32_t worker);

#endif
