/* SPDX-License-Identifier: BSD-2-Clause */
/* parameters.h - from a parameter file to what a graph's nodes point to. */
#ifndef SRPI_PARAMETERS_H
#define SRPI_PARAMETERS_H

#include "graph.h"
#include "safetensors.h"

/* Checks that the file holds what the graph wants and no more, and points the graph's nodes and
 * ranges into *memory, one block (64-byte aligned, of the caller) that begins with
 * graph->parameter_count floats: of each convolution weight, bias and slope, in the order of the
 * nodes. `file` NULL: all zeros, without ranges and codes. On failure *memory is untouched and the
 * graph's pointers mean nothing. Errors: PARAMS (a tensor is missing, not wanted, of another shape
 * or dtype), FORMAT (ranges, scales and codes that are none), NONFINITE, NOMEM. */
enum srp_err srpi_parameters_bind(void **memory, struct srpi_graph *graph,
                                  const struct srpi_safetensors *file, struct srp_error *err);

#endif
