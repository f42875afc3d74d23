/* SPDX-License-Identifier: BSD-2-Clause */
/* program.h - a graph as fused steps in execution order: what every backend and the quantiser run.
 *
 * Fusion is by proof from the graph's structure, never by names: a convolution takes over the sum
 * that is the only reader of its result, so that the sum happens in registers; the last pixel
 * shuffle (with the enlarged input that is added to it) is left to the picture's writer. */
#ifndef SRPI_PROGRAM_H
#define SRPI_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "model/graph.h"

#define SRPI_NO_TENSOR UINT32_MAX

/* The end of a network that the upscaler does itself while it stores the picture:
 * output = depth_to_space(tensor) [+ resize(input)]. */
struct srpi_tail {
    bool fused;      /* false: `tensor` is the graph's output */
    uint32_t tensor; /* the tensor at which the program stops */
    bool has_base;
    enum srpi_resize_mode mode; /* of the base */
};

/* Finds such an end from the graph's structure. */
void srpi_tail_find(struct srpi_tail *tail, const struct srpi_graph *graph);

/* Reads as: output = activation(op(inputs) [+ residual]), where a convolution has its own
 * activation before the residual is added and that of the sum after it. */
struct srpi_step {
    const struct srpi_node *node; /* the operator */
    const struct srpi_node *sum;  /* conv2d: the add that it took over, or NULL */
    uint32_t residual;            /* conv2d: the add's other operand, or SRPI_NO_TENSOR */
    uint32_t output;              /* tensor index */
};

struct srpi_program {
    const struct srpi_graph *graph; /* outlives the program */
    uint32_t wanted;                /* the tensor to compute */
    uint32_t step_count;
    struct srpi_step *steps;
    /* Arrays of graph->tensor_count: whether a step writes it or reads it as the input; index of
     * the step that writes it (SRPI_NO_NODE: none); how many operands (inputs and residuals) of
     * steps it is. */
    bool *used;
    uint32_t *writer;
    uint32_t *readings;
    void *memory;
};

/* Steps that compute `wanted`. With `fuse` false each step is one node (for backends that run node
 * after node). Errors: NOMEM. */
enum srp_err srpi_program_create(struct srpi_program *program, const struct srpi_graph *graph,
                                 uint32_t wanted, bool fuse, struct srp_error *err);
void srpi_program_destroy(struct srpi_program *program);

/* Number of tensors that a step reads, and the i-th of them; the residual is the last. */
uint32_t srpi_step_reads(const struct srpi_step *step);
uint32_t srpi_step_read(const struct srpi_step *step, uint32_t i);
/* Activation after everything else: of the sum if there is one, else of the node. */
const struct srpi_node *srpi_step_last(const struct srpi_step *step);

#endif
