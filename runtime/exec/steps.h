/* SPDX-License-Identifier: BSD-2-Clause */
/* steps.h - one step of a streamed program on one block of rows. */
#ifndef SRPI_STEPS_H
#define SRPI_STEPS_H

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
void srpi_block_load(const struct srpi_block *block, const struct srpi_stream_io *io);
void srpi_block_step(const struct srpi_block *block, uint32_t step);
void srpi_block_store(const struct srpi_block *block, const struct srpi_stream_io *io);

/* Bytes of work memory for rows of a picture that wide, beyond what the layers say. */
size_t srpi_steps_scratch(const struct srpi_layers *layers, uint32_t picture_width);
/* Fills memory with what stands for zero in tensor t. */
void srpi_fill_padding(const struct srpi_layers *layers, uint32_t t, void *memory, size_t bytes);

#endif
