/* SPDX-License-Identifier: BSD-2-Clause */
/* block.h - a worker's place in a picture that flows through a program in blocks of rows, and the
 * rows of the tensors, which lie in rings (plan/stream.h). */
#ifndef SRPI_BLOCK_H
#define SRPI_BLOCK_H

#include "exec/stream.h"

/* Where a worker is in a tensor. */
struct srpi_place {
    struct srpi_span columns;     /* of the region */
    struct srpi_span strip, rows; /* of the strip; of the block */
    uint32_t origin, ring;        /* as of srpi_stream_origin; rows of the ring */
    size_t pitch;
    char *data, *below;           /* first pixel of the ring's row 0; of row `strip.end`, which is
                                     in the seam of the strip below */
};

/* A worker's place. */
struct srpi_block {
    const struct srpi_stream *stream;
    uint32_t worker;
    char *area;             /* plan.area_size bytes of this worker: work memory, rings */
    struct srpi_strip strip;
    struct srpi_place *at;  /* in each tensor */
    struct srpi_span sink;  /* rows of the wanted tensor that the strip stores */
    char *seam, *below;     /* memory of the strip's own seam, and of that of the strip below */
    uint32_t index;         /* of the block in its strip */
};

/* Goes to strip.region's columns and the strip's rows; to block `index`. */
void srpi_block_take_strip(struct srpi_block *block);
void srpi_block_take(struct srpi_block *block, uint32_t index);

static inline const struct srpi_graph *srpi_block_graph(const struct srpi_block *block)
{
    return block->stream->layers->program->graph;
}

static inline const struct srpi_stream_tensor *srpi_block_tensor(const struct srpi_block *block,
                                                                 uint32_t t)
{
    return &block->stream->plan.tensors[t];
}

static inline size_t srpi_pixel_bytes(const struct srpi_stream_tensor *tensor)
{
    return (size_t)tensor->channels * tensor->element;
}

/* First pixel of row y, which the strip below has if it is behind the end of this one. */
static inline char *srpi_block_row(const struct srpi_block *block, uint32_t t, uint32_t y)
{
    const struct srpi_place *at = &block->at[t];
    if (y >= at->strip.end) {
        return at->below + (y - at->strip.end) * at->pitch;
    }
    const uint32_t row = y - at->origin;
    return at->data + (row < at->ring ? row : row - at->ring) * at->pitch;
}

/* What is computed of a tensor: columns of the region... */
static inline struct srpi_span srpi_block_columns(const struct srpi_block *block, uint32_t t)
{
    return block->at[t].columns;
}

/* ... and rows of the block. */
static inline struct srpi_span srpi_block_rows(const struct srpi_block *block, uint32_t t)
{
    return block->at[t].rows;
}

/* Row y is there: sets the padding behind it, which kernels may have written over, and puts it
 * aside if the strip above reads it. */
void srpi_block_close_row(const struct srpi_block *block, uint32_t t, uint32_t y, char *row,
                          uint32_t pixels);
/* Fills memory with what stands for zero in tensor t. */
void srpi_fill_padding(const struct srpi_layers *layers, uint32_t t, void *memory, size_t bytes);

/* Work memory, behind that of the kernels. */
static inline float *srpi_block_work(const struct srpi_block *block)
{
    return (float *)(void *)(block->area + block->stream->layers->scratch_size);
}

/* Floats of a row of the output in work memory, with room for what enlarging reads around and what
 * kernels write behind. */
size_t srpi_work_floats(uint32_t picture_width, const struct srpi_tensor *out);

#endif
