/* SPDX-License-Identifier: BSD-2-Clause */
/* work.h - what the quantiser's two halves share: quant.c says what each tensor is, layers.c makes
 * the layers from that. */
#ifndef SRPI_QUANT_WORK_H
#define SRPI_QUANT_WORK_H

#include "quant/calibrate.h"
#include "quant/quant.h"

struct srpi_quant_work {
    const struct srpi_program *program;
    const struct srpi_graph *graph;
    struct srpi_quant *quant;
    bool *wanted;              /* tensors whose range is looked for */
    uint32_t *group;           /* tensors of one group share scale and zero; its least member */
    struct srpi_range *ranges; /* by tensor */
    struct srpi_range *limits; /* by tensor: what activations allow */
    double *bound;             /* by tensor: no value is greater, whatever the picture */
};

/* Bytes of a convolution's arrays, and how many weights it has, multiples of 64. Never overflows: a
 * model has at most SRP_MAX_PARAMETERS. */
size_t srpi_quant_layer_bytes(const struct srpi_graph *graph, const struct srpi_step *step);
size_t srpi_quant_layer_weights(const struct srpi_graph *graph, const struct srpi_step *step);

/* The layers of all convolutions, one after the other in `memory` and `weights` (64-byte aligned),
 * and the proof that no value of any tensor leaves the range in which the arithmetic is exact.
 * Errors: LIMIT. */
enum srp_err srpi_quant_layers(struct srpi_quant_work *work, char *memory, int16_t *weights,
                               struct srp_error *err);

/* Weights of output channel `c`, `count` of them, as codes; a node that has codes has one group.
 * in_scale: of the input tensor. Returns their scale. */
double srpi_quant_weights(const struct srpi_node *node, uint32_t c, size_t count, double in_scale,
                          int16_t *out);

#endif
