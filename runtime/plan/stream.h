/* SPDX-License-Identifier: BSD-2-Clause */
/* stream.h - how a program is run row by row, with nothing computed twice.
 *
 * A region of a picture is walked from top to bottom in blocks of `block` input rows. In each block
 * every step runs once, for as many rows as its operands allow: a 3x3 convolution trails its input
 * by one row, so its rows of a block end `lag` rows above the block's own end (time skewing, as it
 * is known from stencil codes). What a step reads from above was written in the block before and is
 * still in the tensor's ring of rows: no halo is recomputed between blocks.
 *
 * A large region is cut into strips, which threads take independently. The cut is skewed the other
 * way: a strip's rows of a tensor begin `skew` rows below the strip's own begin, where all that
 * they need lies in the strip itself. So a strip ends `skew` rows below its own end, and for the
 * last of these rows it reads the first rows of the strip below, the seam, which that strip has put
 * aside.
 * Nothing is recomputed there either, and a strip waits for nobody but, at its end, for the first
 * rows of the strip below, which was begun before it.
 *
 * Some steps write several rows in one call, `grid` of them. Blocks are multiples of the grid, and
 * may end anywhere for all that; only the rows from a strip's begin to a block's end have to be
 * whole calls. So lags are the least there are, which keeps rings low, and skews are rounded up
 * until lag + skew is a multiple of the grid, which costs a few rows of seams. In every strip of a
 * region calls begin at rows that are f*base - lag modulo the grid; calls of fewer rows are only
 * where the region itself begins or ends, and its base is so chosen that they are few.
 *
 * All of this is known before the first frame. In its own rows, tensor t of factor f
 *   is computed on [f*y0 - above, f*y1 + below) of its halo, clipped to the picture, columns alike;
 *   in a strip of input rows [m, n) on [f*m + skew, f*n + skew) of these (the first and the last
 *   strip reach to the ends, and the input's rows go on as far as they are read);
 *   block b ends at f*(base + (b+1)*block) - lag, where base is the strip's first input row, or for
 *   the first strip of a region up to grid - 1 rows above. */
#ifndef SRPI_STREAM_H
#define SRPI_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/row.h"
#include "plan/program.h"

/* Rows and columns around a pixel that a resize step reads, in all modes. */
#define SRPI_RESIZE_RADIUS 2u

/* Rows and columns around others. */
struct srpi_sides {
    uint32_t above, below, left, right;
};

static inline uint32_t srpi_most_side(const struct srpi_sides *s)
{
    const uint32_t rows = s->above > s->below ? s->above : s->below;
    const uint32_t columns = s->left > s->right ? s->left : s->right;
    return rows > columns ? rows : columns;
}

static inline struct srpi_sides srpi_all_sides(uint32_t radius)
{
    return (struct srpi_sides){radius, radius, radius, radius};
}

/* What the picture's writer, the last step, reads. */
struct srpi_sink {
    struct srpi_sides wanted; /* around each pixel of the wanted tensor */
    bool reads_input;         /* the input tensor too, with so much around */
    struct srpi_sides input;
    uint32_t align;           /* it is called for multiples of so many rows of the wanted tensor;
                                 0 means 1 */
};

/* All sizes in the tensor's own rows and pixels. */
struct srpi_stream_tensor {
    bool used;
    enum srpi_dtype dtype;
    uint32_t element; /* bytes of one value in memory */
    bool fine;        /* Q8 in 16 bits */
    uint32_t factor, channels;
    uint32_t grid;    /* rows that its step writes at once: 4 with Winograd, else 1 */
    uint64_t work;    /* multiply-accumulates for a pixel, and something for what has none */
    uint32_t lag;     /* by so many rows it trails the end of a block */
    uint32_t skew;    /* its rows of a strip begin so far below the strip's begin */
    struct srpi_sides halo;
    uint32_t pad;     /* pixels of padding in front of and behind each row */
    uint32_t behind;  /* rows of an earlier block that readers look back at */
    uint32_t ahead;   /* rows below the end of a strip that the strip's readers look at */
    uint32_t kept;    /* rows in a seam: `ahead`, but none of the input, whose rows each strip loads
                         itself as far as it reads them */
    uint32_t ring;    /* rows in each worker's memory */
    bool local;       /* read in the block in which it is written, and nowhere else: its ring shares
                         memory with other local tensors' */
    uint32_t begin, end; /* first and last step of its life; local: in a block */
    size_t pitch;     /* bytes from row to row; pixel 0 is `pad` pixels behind */
    size_t fraction;  /* from a row's codes to its fractions, half the pitch; 0: it has none */
    size_t offset;    /* of the ring in a worker's area */
    size_t seam;      /* of its `kept` rows in a seam */
    size_t padding;   /* in the arena: a row of padding alone */
};

struct srpi_stream_params {
    const struct srpi_program *program;
    const struct srpi_kernels *kernels;
    const enum srpi_dtype *dtype; /* of each tensor */
    const bool *fine;             /* of each tensor: it has fractions */
    const uint32_t *grid;         /* of each step's output, see above */
    struct srpi_sink sink;
    /* The picture's and the widest region's width and height in pixels of the input tensor. */
    uint32_t picture_width, picture_height, width, height;
    uint32_t workers;
    uint32_t block;      /* input rows, rounded up to the grid; 0: chosen */
    uint32_t span;       /* of pieces, rounded up to their step; 0: chosen */
    size_t scratch_size; /* work memory for each worker */
};

struct srpi_stream_plan {
    const struct srpi_program *program;
    uint32_t workers, block;
    uint32_t span;       /* width of the widest piece, see srpi_stream_pieces */
    uint32_t sink_lag;   /* in rows of the wanted tensor */
    uint32_t sink_skew;  /* the same */
    uint32_t base_step;  /* bases are multiples of so many input rows, */
    uint32_t grid;       /* and a region's lie multiples of so many apart, as blocks end */
    uint32_t strip_rows; /* input rows that a strip has at least */
    uint32_t mean_skew;  /* input rows by which the work of a strip lies below the strip, in the
                            mean over all steps */
    struct srpi_stream_tensor *tensors; /* graph->tensor_count */
    /* Each worker's area: work memory, then rings. Place of the first in the arena; bytes of each;
     * bytes of its work memory; the least that the rings need, and what they got. */
    size_t area, area_size, scratch_size;
    size_t ring_bound, ring_bytes;
    /* Seams: one more than workers, none for one worker. */
    size_t seam, seam_size;
    uint32_t seams;
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

/* A region whose rows are too long for a worker's share of the caches is cut into pieces side by
 * side, as equal as their step allows: they are regions of their own, and what lies around them is
 * computed twice. Their number; piece `index` from the left. */
uint32_t srpi_stream_pieces(const struct srpi_stream_plan *plan, const struct srpi_region *region);
struct srpi_region srpi_stream_piece(const struct srpi_stream_plan *plan,
                                     const struct srpi_region *region, uint32_t index);

/* A part of a region from top to bottom: input rows `y`. */
struct srpi_strip {
    const struct srpi_region *region;
    struct srpi_span y;
    uint32_t base;    /* input row at which block 0 begins */
    bool first, last; /* of the region */
};

/* Into how many strips a region is cut, at best `parts` for each worker; strip `index` of `count`,
 * from the top. */
uint32_t srpi_stream_strips(const struct srpi_stream_plan *plan, const struct srpi_region *region,
                            uint32_t parts);
struct srpi_strip srpi_stream_strip(const struct srpi_stream_plan *plan,
                                    const struct srpi_region *region, uint32_t index,
                                    uint32_t count);

/* Columns of tensor t in a region; rows in a strip; rows of the wanted tensor for the sink. */
struct srpi_span srpi_stream_columns(const struct srpi_stream_plan *plan,
                                     const struct srpi_region *region, uint32_t t);
struct srpi_span srpi_stream_rows(const struct srpi_stream_plan *plan,
                                  const struct srpi_strip *strip, uint32_t t);
struct srpi_span srpi_stream_sink_rows(const struct srpi_stream_plan *plan,
                                       const struct srpi_strip *strip);

/* Number of blocks of a strip. What of `rows` (as above) block b does. */
uint32_t srpi_stream_blocks(const struct srpi_stream_plan *plan, const struct srpi_strip *strip);
struct srpi_span srpi_stream_block_rows(const struct srpi_stream_plan *plan,
                                        const struct srpi_strip *strip, uint32_t t,
                                        struct srpi_span rows, uint32_t b);
struct srpi_span srpi_stream_block_sink(const struct srpi_stream_plan *plan,
                                        const struct srpi_strip *strip, struct srpi_span rows,
                                        uint32_t b);
/* If `rows` are tensor t's rows of a block: a multiple of its ring from which those and all that
 * the block reads of it are less than two rings away. */
uint32_t srpi_stream_origin(const struct srpi_stream_plan *plan, uint32_t t,
                            struct srpi_span rows);
/* Of tensor t's rows from y on, how many its step writes in one call, if there are so many. */
uint32_t srpi_stream_call(const struct srpi_stream_plan *plan, const struct srpi_strip *strip,
                          uint32_t t, uint32_t y);
/* What reads tensor t in block b may need its rows in the seam of the strip below: so many blocks
 * that strip must have done before; 0: none. */
uint32_t srpi_stream_seam_blocks(const struct srpi_stream_plan *plan,
                                 const struct srpi_strip *strip, uint32_t t, uint32_t b);

#endif
