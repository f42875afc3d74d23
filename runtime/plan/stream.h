/* SPDX-License-Identifier: BSD-2-Clause */
/* stream.h - how a program is run row by row, with nothing computed twice.
 *
 * A region of a picture is walked from top to bottom in blocks of `block` input rows. In each block
 * every step runs once, for as many rows as its operands allow: a 3x3 convolution trails its input
 * by one row, so its rows of block b end `lag` rows above the block's own end (time skewing, as it
 * is known from stencil codes). What a step reads from above was written in the block before and is
 * still in the tensor's ring of rows: no halo is recomputed between blocks, only at the borders of
 * a region. Blocks may overlap in time: step s of a block may run as soon as step s of the block
 * before has ended, so `workers` threads walk as many blocks at once and share the rings.
 *
 * All of this is known before the first frame. For tensor t of a region with input rows
 * [y0, y1) and columns [x0, x1), factor f, in its own rows:
 *   it is computed on [f*y0 - halo, f*y1 + halo), clipped to the picture, columns alike;
 *   block b ends at f*(base + (b+1)*block) - lag, rounded down to `grid` rows from its first. */
#ifndef SRPI_STREAM_H
#define SRPI_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/row.h"
#include "plan/program.h"

/* Rows and columns around a pixel that a resize step reads, in all modes. */
#define SRPI_RESIZE_RADIUS 2u

/* What the picture's writer, the last step, reads. */
struct srpi_sink {
    uint32_t wanted_radius; /* rows around each row of the wanted tensor */
    bool reads_input;       /* the input tensor too, with so many rows around */
    uint32_t input_radius;
    uint32_t align;         /* it is called for multiples of so many rows of the wanted tensor;
                               0 means 1 */
};

/* All sizes in the tensor's own rows and pixels. */
struct srpi_stream_tensor {
    bool used;
    enum srpi_dtype dtype;
    uint32_t element; /* bytes of one value in memory */
    uint32_t factor, channels;
    uint32_t grid;    /* rows that its step writes at once: 4 with Winograd, else 1 */
    uint32_t lag;
    uint32_t halo;
    uint32_t pad;     /* pixels of padding in front of and behind each row */
    uint32_t ring;    /* rows in memory */
    bool local;       /* read in the block in which it is written, and nowhere else: each worker has
                         a ring of its own, in memory that other local tensors use too, after their
                         lives in the block */
    uint32_t begin, end; /* local: first and last step of its life in a block */
    size_t pitch;     /* bytes from row to row of the ring; pixel 0 is `pad` pixels behind */
    size_t offset;    /* of the ring in the arena; local: in the worker's area */
    size_t padding;   /* in the arena: a row of padding alone */
};

struct srpi_stream_params {
    const struct srpi_program *program;
    const struct srpi_kernels *kernels;
    const enum srpi_dtype *dtype; /* of each tensor */
    const uint32_t *grid;         /* of each step's output, see above */
    struct srpi_sink sink;
    /* The picture's and the widest region's width and height in pixels of the input tensor. */
    uint32_t picture_width, picture_height, width, height;
    uint32_t workers;
    uint32_t block;      /* input rows; 0: chosen */
    size_t scratch_size; /* work memory for each worker */
};

struct srpi_stream_plan {
    const struct srpi_program *program;
    uint32_t workers, block;
    uint32_t sink_lag;   /* in rows of the wanted tensor */
    struct srpi_stream_tensor *tensors; /* graph->tensor_count */
    /* Each worker's area: work memory, then local tensors. Place of the first in the arena; bytes
     * of each; the least that the local tensors need, and what they got. */
    size_t area, area_size;
    size_t local_bound, local_size;
    size_t arena_bytes;
};

/* Errors: LIMIT (arena above SRP_MAX_ARENA_BYTES, sizes beyond the limits), NOMEM. */
enum srp_err srpi_stream_plan_create(struct srpi_stream_plan *plan,
                                     const struct srpi_stream_params *params,
                                     struct srp_error *err);
void srpi_stream_plan_destroy(struct srpi_stream_plan *plan);

/* Half-open ranges of rows and columns. */
struct srpi_span {
    uint32_t begin, end;
};

/* A region: input pixels [x.begin, x.end) x [y.begin, y.end) of a width x height picture. */
struct srpi_region {
    struct srpi_span x, y;
    uint32_t picture_width, picture_height;
};

/* Columns, and rows of all blocks together, of tensor t. */
struct srpi_span srpi_stream_columns(const struct srpi_stream_plan *plan,
                                     const struct srpi_region *region, uint32_t t);
struct srpi_span srpi_stream_rows(const struct srpi_stream_plan *plan,
                                  const struct srpi_region *region, uint32_t t);
/* Number of blocks; rows of tensor t, and rows of the wanted tensor for the sink, in block b. */
uint32_t srpi_stream_blocks(const struct srpi_stream_plan *plan, const struct srpi_region *region);
struct srpi_span srpi_stream_block_rows(const struct srpi_stream_plan *plan,
                                        const struct srpi_region *region, uint32_t t, uint32_t b);
struct srpi_span srpi_stream_sink_rows(const struct srpi_stream_plan *plan,
                                       const struct srpi_region *region, uint32_t b);

#endif
