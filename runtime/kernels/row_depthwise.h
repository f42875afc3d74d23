/* SPDX-License-Identifier: BSD-2-Clause */
/* row_depthwise.h - row kernels for layers each of whose outputs reads one input channel, its own:
 * depthwise convolutions, and 1x1 layers that are only there for their activation. A graph has them
 * as dense layers, so it is the weights that tell. */
#ifndef SRPI_ROW_DEPTHWISE_H
#define SRPI_ROW_DEPTHWISE_H

#include "kernels/row.h"

#define SRPI_DEPTHWISE_LEAST 8u /* channels: a vector's */

/* The kernels for a layer in place of those of `kernels`, or NULL: the weights ([out][in][ky][kx],
 * as `pack` takes them) are not such, or there are none for this set. */
const struct srpi_kernels *srpi_depthwise_for(const struct srpi_kernels *kernels,
                                              const struct srpi_conv_shape *shape,
                                              const void *weights);

/* For codes in 16 bits and in bytes. Both are AVX2 + FMA, and serve all sets above. */
extern const struct srpi_kernels srpi_depthwise_words;
extern const struct srpi_kernels srpi_depthwise_bytes;

#endif
