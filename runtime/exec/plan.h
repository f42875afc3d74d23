/* SPDX-License-Identifier: BSD-2-Clause */
/* plan.h - where each tensor lies in the arena, from liveness. */
#ifndef SRPI_PLAN_H
#define SRPI_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <srp/common.h>

#include "model/graph.h"

#define SRPI_PLAN_ALIGN 64u
#define SRPI_NOT_PLACED SIZE_MAX

/* What of the graph is run, and the plan for one size. All arrays have graph->tensor_count
 * entries. */
struct srpi_plan {
    const struct srpi_graph *graph;
    bool *needed;       /* is computed, or is the input */
    bool *kept;         /* is read after the run */
    uint32_t *root;     /* the tensor whose memory it shares; itself when it has its own */
    /* first and last node index of its life; of roots, with all that share it */
    uint32_t *begin;
    uint32_t *end;
    size_t *size;       /* bytes of a root at the current size */
    size_t *offset;     /* bytes from the arena's start; SRPI_NOT_PLACED when not needed */
    uint32_t *order;    /* work memory */
    size_t arena_bytes; /* of the current size */
    void *memory;
};

/* Plans a run that computes `wanted` tensors (and what they need). Errors: NOMEM. */
enum srp_err srpi_plan_create(struct srpi_plan *plan, const struct srpi_graph *graph,
                              const uint32_t *wanted, uint32_t wanted_count,
                              struct srp_error *err);
void srpi_plan_destroy(struct srpi_plan *plan); /* accepts a zeroed plan */

/* Places everything for an input of width x height; allocates nothing. Errors: LIMIT (above
 * SRP_MAX_ARENA_BYTES or SRP_MAX_DIMENSION); the plan is then void until the next success. */
enum srp_err srpi_plan_place(struct srpi_plan *plan, uint32_t width, uint32_t height,
                             struct srp_error *err);

#endif
