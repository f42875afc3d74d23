/* SPDX-License-Identifier: BSD-2-Clause */
/* row_few.h - row kernels for layers of few outputs, which the generated ones serve badly. */
#ifndef SRPI_ROW_FEW_H
#define SRPI_ROW_FEW_H

#include "kernels/row_sets.h"

#define SRPI_ROW_FEW_OUTPUTS 4u
#define SRPI_ROW_FEW_VALUES 16u /* quantised values of 16 bits in a register */

/* Registers of values in a kernel row's run of taps. */
static inline uint32_t srpi_row_few_vectors(const struct srpi_conv_shape *shape)
{
    return (shape->kernel_width * shape->in_channels + SRPI_ROW_FEW_VALUES - 1) /
           SRPI_ROW_FEW_VALUES;
}

/* Whether the set avx2 leaves a shape to srpi_rows_avx2few. What lies behind a run of taps is
 * multiplied too, by zero: not worth it where that is more than a quarter. */
static inline bool srpi_row_few_suits_avx2(const struct srpi_conv_shape *shape)
{
    const uint64_t run = (uint64_t)shape->kernel_width * shape->in_channels;
    return shape->in == SRPI_Q8 && shape->out == SRPI_F32 && !shape->split &&
           shape->out_channels <= SRPI_ROW_FEW_OUTPUTS && run >= SRPI_ROW_FEW_VALUES &&
           4 * (uint64_t)srpi_row_few_vectors(shape) * SRPI_ROW_FEW_VALUES <= 5 * run;
}

/* Whether whole pixels fill a register, for the sets with vpdpbusd. */
static inline bool srpi_row_few_whole(const struct srpi_conv_shape *shape)
{
    const uint32_t in = shape->in_channels;
    return in == 8 || in == 16 || in == 32;
}

/* The same as above of the sets with vpdpbusd. Of other pixels a register holds a part of the run,
 * the last one half of it at least where it is alone. */
static inline bool srpi_row_few_suits_vnni(const struct srpi_conv_shape *shape)
{
    const uint64_t run = (uint64_t)shape->kernel_width * shape->in_channels;
    return shape->in == SRPI_Q8 && shape->out == SRPI_F32 && !shape->split &&
           shape->out_channels <= SRPI_ROW_FEW_OUTPUTS &&
           (srpi_row_few_whole(shape) || (run >= 32 && run * shape->kernel_height >= 96));
}

extern const struct srpi_row_set srpi_rows_avx2few;
extern const struct srpi_row_set srpi_rows_avxvnnifew;
extern const struct srpi_row_set srpi_rows_avx512few;

#endif
