/* SPDX-License-Identifier: BSD-2-Clause */
/* layout.h - order and placement together: where each tensor of a graph lies in one arena. */
#ifndef SRPI_LAYOUT_H
#define SRPI_LAYOUT_H

#include "plan/order.h"
#include "plan/place.h"

struct srpi_layout {
    uint32_t *order;    /* node_count: the node of each step */
    uint32_t *root;     /* tensor_count: whose memory it shares; itself when it has its own */
    uint32_t *begin;    /* of roots: first and last step of its life, with all that share it; a */
    uint32_t *end;      /* kept tensor lives to step node_count */
    size_t *offset;     /* tensor_count: bytes from the arena's start; SRPI_NOWHERE where it has
                           no life */
    size_t arena_bytes;
    size_t lower_bound; /* no order has a lower peak, so no arena is smaller */
    bool exact_peak;    /* an order has that peak */
    void *memory;
};
#define SRPI_NOWHERE SIZE_MAX

/* Takes the order of the lowest peak; where its arena is larger than the bound, other orders are
 * placed too, within a bounded amount of work. Deterministic. Errors: as srpi_order_find and
 * srpi_place. Any thread. */
enum srp_err srpi_layout_create(struct srpi_layout *layout, const struct srpi_order_graph *graph,
                                size_t align, struct srp_error *err);
void srpi_layout_destroy(struct srpi_layout *layout); /* accepts a zeroed one */

#endif
