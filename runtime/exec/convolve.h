/* SPDX-License-Identifier: BSD-2-Clause */
/* convolve.h - a convolution of a streamed program on one block of rows: by direct kernels, by
 * Winograd's, or as several sums (exec/layers.h). */
#ifndef SRPI_CONVOLVE_H
#define SRPI_CONVOLVE_H

#include "exec/block.h"

/* The rows of the block. */
void srpi_convolve(const struct srpi_block *block, const struct srpi_step *step,
                   const struct srpi_layer *layer);
/* Floats of work memory that it needs, if a row of the output takes `row`. */
size_t srpi_convolve_floats(const struct srpi_layers *layers, uint32_t step, size_t row);

#endif
