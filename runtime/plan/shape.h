/* SPDX-License-Identifier: BSD-2-Clause */
/* shape.h - rank and dimension propagation (RDP, as in SoD2): the shape of every tensor as an
 * expression of symbols, proved before the first frame. docs/plan.md has the theory.
 *
 * Every tensor has rank 4, [N][H][W][C]: a picture, or a list of N regions of one size, so of RDP's
 * two halves the dimensions alone are left. A dimension's value only ever moves down its lattice,
 *   undefined -> known expression (times * symbol + plus) / over -> nac ("not a constant"),
 * which is what ends the sweeps. Everything here is a pure function: any thread. */
#ifndef SRPI_SHAPE_H
#define SRPI_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/graph.h"

enum srpi_dim_state {
    SRPI_DIM_UNDEFINED = 0, /* nothing found out yet */
    SRPI_DIM_KNOWN,
    SRPI_DIM_NAC,           /* known only by running, or different on two paths that join */
};

enum srpi_symbol {
    SRPI_SYMBOL_NONE = 0,
    SRPI_SYMBOL_H, /* height of the region, of its width, number of regions */
    SRPI_SYMBOL_W,
    SRPI_SYMBOL_N,
};
#define SRPI_SYMBOL_COUNT 4u

/* KNOWN: (times * symbol + plus) / over, in lowest terms, the division exact for every value that
 * the symbol may take; times is 0 without a symbol, over is at least 1. Two known dimensions are
 * the same expression exactly when all fields are equal. All zero: undefined. */
struct srpi_dim {
    enum srpi_dim_state state;
    enum srpi_symbol symbol;
    int32_t times, plus, over;
};

enum { SRPI_AXIS_N = 0, SRPI_AXIS_H, SRPI_AXIS_W, SRPI_AXIS_C, SRPI_AXIS_COUNT };

struct srpi_shape {
    struct srpi_dim dim[SRPI_AXIS_COUNT];
};

struct srpi_dim srpi_dim_constant(int32_t value);
struct srpi_dim srpi_dim_symbol(enum srpi_symbol symbol);

/* Where two paths join (SoD2's Combine): undefined gives way, equal stays, all else is nac. */
struct srpi_dim srpi_dim_merge(struct srpi_dim a, struct srpi_dim b);
/* Proved equal: both known and the same expression. nac equals nothing, not even itself. */
bool srpi_dim_equal(struct srpi_dim a, struct srpi_dim b);
/* For element-wise operands: every axis proved equal. */
bool srpi_shape_equal(const struct srpi_shape *a, const struct srpi_shape *b);

/* The number, with symbols[SRPI_SYMBOL_H] and so on at most 2^31. False: not known, negative, or
 * the division is not exact for these values. */
bool srpi_dim_value(struct srpi_dim dim, const uint32_t symbols[SRPI_SYMBOL_COUNT],
                    uint64_t *value);
/* Number of elements. False as above, or when it does not fit 64 bits. */
bool srpi_shape_elements(const struct srpi_shape *shape, const uint32_t symbols[SRPI_SYMBOL_COUNT],
                         uint64_t *elements);

#define SRPI_SHAPE_TEXT 160u /* bytes that hold any shape's text */
/* "4H", "H/2", "(H + 1)/2", "16"; "?" when undefined, "nac". Returns buffer, cut if need be. */
char *srpi_dim_text(char *buffer, size_t size, struct srpi_dim dim);
/* "4H x 4W x 16"; the count comes first, "N x H x W x 3", unless it is known to be 1. */
char *srpi_shape_text(char *buffer, size_t size, const struct srpi_shape *shape);

/* ---- operators ------------------------------------------------------------------------------- */

/* What an operator's output needs (SoD2, section 3): the further down, the later it is known. */
enum srpi_shape_class {
    SRPI_SHAPE_ISDO = 0, /* input shape determined output: even the value needs a shape alone */
    SRPI_SHAPE_ISDOS,    /* input shape determined output shape */
    SRPI_SHAPE_ISVDOS,   /* input shape and value determined output shape */
    SRPI_SHAPE_ED,       /* execution determined */
};

struct srpi_shape_rule {
    const char *name;
    enum srpi_shape_class shape_class;
    const char *reason;
};

/* Static storage. */
const struct srpi_shape_rule *srpi_shape_rule_of(enum srpi_op op);
/* What cuts a picture into regions and hands each to a branch. It is no node of a graph: a graph is
 * one branch, and the cut lies in front of it, where the count stops being known. */
const struct srpi_shape_rule *srpi_shape_rule_of_routing(void);
const char *srpi_shape_class_name(enum srpi_shape_class shape_class); /* "ISDOS" */

/* ---- the analysis ---------------------------------------------------------------------------- */

struct srpi_shapes {
    uint32_t count;             /* graph->tensor_count */
    struct srpi_shape *tensors; /* owned */
    uint32_t sweeps;            /* forward and backward over all nodes, the last without a change */
};

/* The usual start: the input is [count][H][W][graph->channels], the output has as many channels,
 * all else is undefined. `given` has graph->tensor_count entries. */
void srpi_shapes_start(struct srpi_shape *given, const struct srpi_graph *graph,
                       struct srpi_dim count);
/* Propagates what is given and the operators' attributes through the graph, forward and backward,
 * until nothing changes. What cannot be found out stays undefined. Of the graph it trusts order and
 * attributes, not its tensors' factors and channels, of which it takes the channels that conv2d and
 * slice declare. Errors: GRAPH (names the node at which two shapes contradict), LIMIT (a
 * coefficient above 2^31), NOMEM. */
enum srp_err srpi_shapes_infer(struct srpi_shapes *out, const struct srpi_graph *graph,
                               const struct srpi_shape *given, struct srp_error *err);
void srpi_shapes_destroy(struct srpi_shapes *shapes); /* accepts a zeroed one */

#endif
