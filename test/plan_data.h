/* SPDX-License-Identifier: BSD-2-Clause */
/* plan_data.h - random graphs for the tests of order and layout. Include after cmocka.h. */
#ifndef TEST_PLAN_DATA_H
#define TEST_PLAN_DATA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "plan/order.h"

#define DATA_INPUTS 8u

struct order_data {
    struct srpi_order_graph graph;
    struct srpi_order_node nodes[SRP_MAX_NODES];
    uint32_t inputs[SRP_MAX_NODES][DATA_INPUTS];
    size_t size[SRP_MAX_NODES + 1];
    bool kept[SRP_MAX_NODES + 1];
};

enum data_kind {
    DATA_ANY = 0, /* edges from anywhere, many sizes */
    DATA_ALIKE,   /* few sizes: many ways to be equal */
    DATA_LOCAL,   /* edges from a few nodes back, as in networks */
    DATA_KINDS,
};

static inline uint32_t data_draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

/* Tensor 0 is the input, tensor n + 1 the output of node n; the last is kept, and an eighth of the
 * others. A third of the nodes work in place. */
static inline void data_make(struct order_data *d, uint32_t nodes, enum data_kind kind, uint64_t seed)
{
    uint64_t state = seed * 977 + nodes * 31 + (uint64_t)kind;
    const uint32_t sizes = kind == DATA_ALIKE ? 4 : 20;
    memset(d, 0, sizeof(*d));
    d->graph = (struct srpi_order_graph){.node_count = nodes,
                                         .nodes = d->nodes,
                                         .tensor_count = nodes + 1,
                                         .size = d->size,
                                         .kept = d->kept};
    data_draw(&state, 2);
    d->size[0] = 64 * (1 + data_draw(&state, sizes));
    for (uint32_t n = 0; n < nodes; n++) {
        const uint32_t wanted = 1 + data_draw(&state, 3);
        const uint32_t lowest = kind == DATA_LOCAL && n > 3 ? n - 3 : 0;
        for (uint32_t i = 0; i < wanted; i++) {
            d->inputs[n][i] = lowest + data_draw(&state, n + 1 - lowest);
        }
        d->size[n + 1] = 64 * (1 + data_draw(&state, sizes));
        d->kept[n + 1] = n + 1 == nodes || data_draw(&state, 8) == 0;
        const bool in_place = data_draw(&state, 3) == 0;
        if (in_place) {
            d->size[n + 1] = d->size[d->inputs[n][0]];
        }
        d->nodes[n] = (struct srpi_order_node){d->inputs[n], wanted, n + 1, in_place};
    }
}

/* How often node n reads tensor t. */
static inline uint32_t data_reads(const struct srpi_order_graph *g, uint32_t n, uint32_t t)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->nodes[n].input_count; i++) {
        count += g->nodes[n].inputs[i] == t ? 1 : 0;
    }
    return count;
}

/* First and last step of a tensor's life in an order; false: it has none. Straight from the
 * definition in order.h. */
static inline bool data_life(const struct srpi_order_graph *g, const uint32_t *order, uint32_t t,
                             uint32_t *begin, uint32_t *end)
{
    bool lives = g->kept[t];
    *begin = 0;
    *end = 0;
    for (uint32_t step = 0; step < g->node_count; step++) {
        if (g->nodes[order[step]].output == t) {
            *begin = *end = step;
            lives = true;
        }
        if (data_reads(g, order[step], t) > 0) {
            *end = step;
            lives = true;
        }
    }
    *end = g->kept[t] ? g->node_count : *end;
    return lives;
}

/* Whether the node of `step` may overwrite tensor t. */
static inline bool data_may_overwrite(const struct srpi_order_graph *g, const uint32_t *order,
                                      uint32_t step, uint32_t t)
{
    const struct srpi_order_node *node = &g->nodes[order[step]];
    uint32_t begin = 0, end = 0;
    return node->in_place && data_reads(g, order[step], t) == 1 && !g->kept[t] &&
           g->size[t] == g->size[node->output] && data_life(g, order, t, &begin, &end) && end == step;
}

static inline size_t data_peak(const struct srpi_order_graph *g, const uint32_t *order)
{
    size_t peak = 0;
    for (uint32_t step = 0; step < g->node_count; step++) {
        size_t live = 0;
        bool over = false;
        for (uint32_t t = 0; t < g->tensor_count; t++) {
            uint32_t begin = 0, end = 0;
            if (data_life(g, order, t, &begin, &end) && begin <= step && step <= end) {
                live += g->size[t];
            }
            over = over || data_may_overwrite(g, order, step, t);
        }
        live -= over ? g->size[g->nodes[order[step]].output] : 0;
        peak = live > peak ? live : peak;
    }
    return peak;
}

static inline void data_check_order(const struct srpi_order_graph *g, const uint32_t *order)
{
    bool there[2 * SRP_MAX_NODES] = {false}, seen[SRP_MAX_NODES] = {false};
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        there[t] = true;
    }
    for (uint32_t n = 0; n < g->node_count; n++) {
        there[g->nodes[n].output] = false;
    }
    for (uint32_t step = 0; step < g->node_count; step++) {
        const struct srpi_order_node *node = &g->nodes[order[step]];
        assert_false(seen[order[step]]);
        seen[order[step]] = true;
        for (uint32_t i = 0; i < node->input_count; i++) {
            assert_true(there[node->inputs[i]]);
        }
        there[node->output] = true;
    }
}

/* Calls `take` with every order in which the nodes can run, until it returns false. */
struct data_orders {
    const struct srpi_order_graph *graph;
    bool (*take)(struct data_orders *orders, const uint32_t *order);
    uint32_t order[12];
    bool done[12];
    size_t best;
    size_t enough; /* for take's use */
};

static inline bool data_all_orders(struct data_orders *o, uint32_t step)
{
    const struct srpi_order_graph *g = o->graph;
    if (step == g->node_count) {
        return o->take(o, o->order);
    }
    for (uint32_t n = 0; n < g->node_count; n++) {
        bool ready = !o->done[n];
        for (uint32_t k = 0; k < g->node_count && ready; k++) {
            ready = o->done[k] || data_reads(g, n, g->nodes[k].output) == 0;
        }
        if (!ready) {
            continue;
        }
        o->order[step] = n;
        o->done[n] = true;
        const bool go_on = data_all_orders(o, step + 1);
        o->done[n] = false;
        if (!go_on) {
            return false;
        }
    }
    return true;
}

#endif
