/* SPDX-License-Identifier: BSD-2-Clause */
/* steps.h - one step of a streamed program on one block of rows. */
#ifndef SRPI_STEPS_H
#define SRPI_STEPS_H

#include "exec/block.h"

void srpi_block_load(const struct srpi_block *block, const struct srpi_stream_io *io);
void srpi_block_step(const struct srpi_block *block, uint32_t step);
void srpi_block_store(const struct srpi_block *block, const struct srpi_stream_io *io);

/* Bytes of work memory for rows of a picture that wide, beyond what the layers say. */
size_t srpi_steps_scratch(const struct srpi_layers *layers, uint32_t picture_width);

#endif
