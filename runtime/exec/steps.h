/* SPDX-License-Identifier: BSD-2-Clause */
/* steps.h - one step of a streamed program on one block of rows. */
#ifndef SRPI_STEPS_H
#define SRPI_STEPS_H

#include "exec/stream.h"

struct srpi_block {
    const struct srpi_stream *stream;
    const struct srpi_region *region;
    uint32_t index;        /* of the block in its region */
    uint32_t worker;
    const uint32_t *phase; /* of each tensor's ring: row y is at position (y + phase) % ring */
    char *area;            /* plan.area_size bytes of this worker: work memory, local tensors */
};

void srpi_block_load(const struct srpi_block *block, const struct srpi_stream_io *io);
void srpi_block_step(const struct srpi_block *block, uint32_t step);
void srpi_block_store(const struct srpi_block *block, const struct srpi_stream_io *io);

/* Bytes of work memory for rows of a picture that wide, beyond what the layers say. */
size_t srpi_steps_scratch(const struct srpi_layers *layers, uint32_t picture_width);
/* Fills memory with what stands for zero in tensor t. */
void srpi_fill_padding(const struct srpi_layers *layers, uint32_t t, void *memory, size_t bytes);

#endif
