/* SPDX-License-Identifier: BSD-2-Clause */
/* place.h - offsets in one arena from lives (dynamic storage allocation, which is NP-hard).
 *
 * Greedy passes in several orders, then an exact search where items are few, then a local search;
 * each stops at the lower bound. All are bounded by counts of work, never by a clock, so the result
 * is the same on every machine. docs/plan.md has the measured distance from the optimum. */
#ifndef SRPI_PLACE_H
#define SRPI_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <srp/common.h>

struct srpi_place_item {
    size_t size;         /* bytes; 0 is legal */
    uint32_t begin, end; /* first and last step of its life, both inclusive */
    size_t offset;       /* set: bytes from the arena's start, a multiple of the alignment */
};

struct srpi_placement {
    size_t total;       /* bytes of the arena, a multiple of the alignment */
    size_t lower_bound; /* most bytes alive in one step, each size rounded up to the alignment */
    bool exact;         /* proved: no placement is smaller */
};

/* How long to look for a better placement than the greedy ones. */
enum srpi_place_effort {
    SRPI_PLACE_FULL = 0,
    SRPI_PLACE_QUICK, /* for one candidate of many: about a tenth of the work */
};

/* Places `count` items. `align` is a power of two. Errors: LIMIT (more than SRP_MAX_ARENA_BYTES),
 * USAGE (a life that ends before it begins), NOMEM; the offsets are then void. Any thread. */
enum srp_err srpi_place(struct srpi_place_item *items, uint32_t count, size_t align,
                        enum srpi_place_effort effort, struct srpi_placement *placement,
                        struct srp_error *err);

#endif
