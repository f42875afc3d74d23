/* SPDX-License-Identifier: BSD-2-Clause */
/* calibrate.h - ranges of tensors, where the parameters do not state them: what a small picture of
 * our own makes in f32. Same bits on every machine. */
#ifndef SRPI_CALIBRATE_H
#define SRPI_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "plan/program.h"

/* A range of real values around 0: low <= 0 <= high. */
struct srpi_range {
    float low, high;
};

/* Code of sample (y, x) of channel c of the picture, in a graph of this colour. */
uint8_t srpi_calibration_code(enum srp_colour_space colour, uint32_t c, uint32_t y, uint32_t x);

/* Sets ranges[t] for every tensor t with wanted[t], both arrays of graph->tensor_count: the least
 * and the greatest value and 0. Errors: NONFINITE, NOMEM. */
enum srp_err srpi_calibrate(const struct srpi_program *program, const bool *wanted,
                            struct srpi_range *ranges, struct srp_error *err);

/* Runs one step in f32, in the order of docs/arithmetic.md. tensors[t]: dense [H][W][C], height and
 * width are the input's. `packed` are a convolution's weights (srpi_ref_pack), else NULL. */
void srpi_step_run(const struct srpi_graph *graph, const struct srpi_step *step, uint32_t width,
                   uint32_t height, const float *packed, float *const *tensors);

#endif
