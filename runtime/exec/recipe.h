/* SPDX-License-Identifier: BSD-2-Clause */
/* recipe.h - how the rows of an output picture come from an input picture and a network. */
#ifndef SRPI_RECIPE_H
#define SRPI_RECIPE_H

#include "exec/pipe.h"
#include "kernels/rowops.h"
#include "plan/program.h"

/* What is not YCbCr takes on the properties of the YCbCr at the other end. */
struct srp_picture srpi_picture_like(const struct srp_picture *in, const struct srp_picture *out);

/* Everything from the input picture by `filter`. The pipe must not be moved after that, and keeps
 * `out`. */
void srpi_recipe_base(struct srpi_pipe *pipe, const struct srp_picture *in,
                      const struct srp_picture *out, uint32_t scale, enum srpi_filter filter);
/* What the tail's tensor and the input's (in `codec`) become. */
void srpi_recipe_network(struct srpi_pipe *pipe, const struct srp_picture *in,
                         const struct srp_picture *out, const struct srpi_graph *graph,
                         const struct srpi_tail *tail, const struct srpi_codec *codec);

#endif
