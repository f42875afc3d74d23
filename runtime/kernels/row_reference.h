/* SPDX-License-Identifier: BSD-2-Clause */
/* row_reference.h - the contract of row.h in plain C, for tests: it defines the results. */
#ifndef SRPI_ROW_REFERENCE_H
#define SRPI_ROW_REFERENCE_H

#include "kernels/row.h"

/* One row. `weights` lie as srpi_kernels.pack takes them; layer->weights is not used. Quantised
 * results are exact; f32 sums are made in the order of kernel rows, columns and input channels with
 * fused multiply-adds, bf16 ones in double. Writes row->pixels pixels, nothing else;
 * nothing at all without memory. */
void srpi_row_reference(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row,
                        enum srpi_q8_storage storage, const void *weights);

#endif
