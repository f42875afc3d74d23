/* SPDX-License-Identifier: BSD-2-Clause */
/* order.h - the execution order of a graph with a low peak of memory (SoD2's static execution
 * planning). layout.h has order and placement together.
 *
 * Exact where the sets of done nodes can be searched within a bounded number of states, else the
 * best of a beam search, a greedy order and the given one. Bounded by counts of work, never by a
 * clock: the result is the same on every machine. Any thread. */
#ifndef SRPI_ORDER_H
#define SRPI_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <srp/common.h>

struct srpi_order_node {
    const uint32_t *inputs; /* tensors; one may stand there twice */
    uint32_t input_count;
    uint32_t output;        /* a tensor that no other node writes */
    bool in_place;          /* element-wise: may overwrite an operand of the output's size that it
                               reads once and that nobody reads afterwards */
};

/* Any directed graph without cycles; the nodes stand in one order in which each can run. */
struct srpi_order_graph {
    uint32_t node_count;   /* 1..SRP_MAX_NODES */
    const struct srpi_order_node *nodes;
    uint32_t tensor_count; /* at most 2 * SRP_MAX_NODES */
    const size_t *size;    /* bytes of each tensor */
    const bool *kept;      /* of each tensor: is read after the last node */
};

/* A tensor without a writer lives from the first step on. One that nobody reads and that is not
 * kept lives in its writer's step alone, without a writer not at all.
 *
 * Finds order[node_count]: node order[i] runs in step i. *peak: the most bytes alive in one step,
 * all operands and the output of the step among them. *bound (may be NULL), at most *peak: it is
 * proved that no order has a lower peak. Errors: LIMIT (sizes whose sum does not fit size_t, too
 * many nodes), GRAPH (an input that is not written before, a tensor that is written twice),
 * NOMEM. */
enum srp_err srpi_order_find(const struct srpi_order_graph *graph, uint32_t *order, size_t *peak,
                             size_t *bound, struct srp_error *err);

/* A graph's lists, each without repetitions. */
struct srpi_order_lists {
    uint32_t *writer;                    /* of each tensor: node, or UINT32_MAX */
    uint32_t *first_input, *input;       /* tensors that node n reads: input[first_input[n] ..
                                            first_input[n + 1]) */
    bool *once;                          /* beside input: the node reads it once */
    uint32_t *first_reader, *reader;     /* nodes that read tensor t, likewise */
    void *memory;
};

/* Also checks the graph. Errors: LIMIT, GRAPH, NOMEM as above. */
enum srp_err srpi_order_lists_create(struct srpi_order_lists *lists,
                                     const struct srpi_order_graph *graph, struct srp_error *err);
void srpi_order_lists_destroy(struct srpi_order_lists *lists);

/* A run of nodes in some order, step by step. */
struct srpi_order_walk {
    const struct srpi_order_graph *graph;
    const struct srpi_order_lists *lists;
    uint16_t *left;    /* of each tensor: readers that have not run */
    uint16_t *waiting; /* of each node: tensors that it reads and that are not there */
    bool *done;        /* of each node */
    size_t live;       /* bytes between two steps */
};

/* Bytes alive during a step, and behind it. */
struct srpi_order_step {
    size_t during, behind;
};

size_t srpi_order_walk_size(const struct srpi_order_graph *graph);
/* Before the first step. `memory` has srpi_order_walk_size() bytes and is the caller's. */
void srpi_order_walk_start(struct srpi_order_walk *walk, const struct srpi_order_graph *graph,
                           const struct srpi_order_lists *lists, void *memory);
/* Of a node that can run: neither done nor waiting. */
struct srpi_order_step srpi_order_walk_look(const struct srpi_order_walk *walk, uint32_t node);
void srpi_order_walk_run(struct srpi_order_walk *walk, uint32_t node);
void srpi_order_walk_undo(struct srpi_order_walk *walk, uint32_t node, size_t live_before);

#endif
