/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/layout.h"

#include <stdlib.h>
#include <string.h>

#include "model/error.h"

#define NONE UINT32_MAX
/* Work of the search for other orders, about a microsecond each. Few nodes: every order in turn;
 * many: only the last steps would ever change, so each order is drawn anew. */
#define SEARCH_WORK 40000u
#define DRAWN_NODES 12u

struct attempt {
    struct srpi_layout layout; /* arrays of the attempt; order is the walk's path */
    struct srpi_place_item *items;
    uint32_t *tensor; /* of each item */
    bool *kept;       /* work: of each root */
};

struct maker {
    const struct srpi_order_graph *graph;
    struct srpi_order_lists lists;
    struct srpi_layout *best;
    struct attempt attempt;
    struct srpi_order_walk walk;
    uint64_t state; /* of the random numbers */
    uint64_t work;
    size_t align;
    struct srp_error *err;
};

/* ---- lives and shares ------------------------------------------------------------------------ */

static void find_lives(struct maker *m)
{
    const struct srpi_order_graph *graph = m->graph;
    struct srpi_layout *l = &m->attempt.layout;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        l->root[t] = t;
        l->begin[t] = 0;
        l->end[t] = 0;
        m->attempt.kept[t] = graph->kept[t];
    }
    for (uint32_t step = 0; step < graph->node_count; step++) {
        const uint32_t n = l->order[step], output = graph->nodes[n].output;
        l->begin[output] = step;
        l->end[output] = step;
        for (uint32_t i = m->lists.first_input[n]; i < m->lists.first_input[n + 1]; i++) {
            l->end[m->lists.input[i]] = step;
        }
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        l->end[t] = graph->kept[t] ? graph->node_count : l->end[t];
    }
}

/* Of several operands that could be overwritten: the one that has lived longest, or the youngest.
 * Both make lives that may fit where the other does not. */
static void share(struct maker *m, bool youngest)
{
    const struct srpi_order_graph *graph = m->graph;
    struct srpi_layout *l = &m->attempt.layout;
    for (uint32_t step = 0; step < graph->node_count; step++) {
        const uint32_t n = l->order[step], output = graph->nodes[n].output;
        uint32_t best = NONE;
        for (uint32_t i = m->lists.first_input[n];
             graph->nodes[n].in_place && i < m->lists.first_input[n + 1]; i++) {
            const uint32_t tensor = m->lists.input[i], root = l->root[tensor];
            if (!m->lists.once[i] || l->end[root] != step || m->attempt.kept[root] ||
                graph->size[tensor] != graph->size[output]) {
                continue;
            }
            if (best == NONE || (l->begin[root] < l->begin[best]) != youngest) {
                best = root;
            }
        }
        if (best != NONE) {
            l->root[output] = best;
            l->end[best] = l->end[output];
            m->attempt.kept[best] = m->attempt.kept[output];
        }
    }
}

static bool lives(const struct maker *m, uint32_t tensor)
{
    return m->lists.writer[tensor] != NONE || m->graph->kept[tensor] ||
           m->lists.first_reader[tensor] != m->lists.first_reader[tensor + 1];
}

static void copy_best(struct maker *m, const struct srpi_placement *placement)
{
    const struct srpi_layout *from = &m->attempt.layout;
    struct srpi_layout *to = m->best;
    const size_t words = m->graph->tensor_count * sizeof(uint32_t);
    memcpy(to->order, from->order, m->graph->node_count * sizeof(uint32_t));
    memcpy(to->root, from->root, words);
    memcpy(to->begin, from->begin, words);
    memcpy(to->end, from->end, words);
    memcpy(to->offset, from->offset, m->graph->tensor_count * sizeof(size_t));
    to->arena_bytes = placement->total;
}

/* Places the order of the attempt both ways; the best so far stays. */
static enum srp_err try_order(struct maker *m, enum srpi_place_effort effort)
{
    struct srpi_layout *l = &m->attempt.layout;
    for (int youngest = 0; youngest < 2; youngest++) {
        struct srpi_placement placement;
        uint32_t count = 0;
        find_lives(m);
        share(m, youngest != 0);
        for (uint32_t t = 0; t < m->graph->tensor_count; t++) {
            if (l->root[t] == t && lives(m, t)) {
                m->attempt.tensor[count] = t;
                m->attempt.items[count++] = (struct srpi_place_item){
                    .size = m->graph->size[t], .begin = l->begin[t], .end = l->end[t]};
            }
            l->offset[t] = SRPI_NOWHERE;
        }
        m->work += 8 + (uint64_t)count * count / 32;
        const enum srp_err rc =
            srpi_place(m->attempt.items, count, m->align, effort, &placement, m->err);
        if (rc != SRP_OK) {
            return rc;
        }
        if (placement.total >= m->best->arena_bytes) {
            continue;
        }
        for (uint32_t i = 0; i < count; i++) {
            l->offset[m->attempt.tensor[i]] = m->attempt.items[i].offset;
        }
        for (uint32_t t = 0; t < m->graph->tensor_count; t++) {
            l->offset[t] = l->offset[l->root[t]];
        }
        copy_best(m, &placement);
    }
    return SRP_OK;
}

/* ---- other orders ---------------------------------------------------------------------------- */

static bool satisfied(const struct maker *m)
{
    /* The bound is of sizes as they are; the arena's are rounded up. */
    const size_t bound = (m->best->lower_bound + m->align - 1) & ~(m->align - 1);
    return m->best->arena_bytes <= bound;
}

/* Below it an order may still make a smaller arena. */
static bool worth(const struct maker *m, uint32_t node)
{
    return !m->walk.done[node] && m->walk.waiting[node] == 0 &&
           srpi_order_walk_look(&m->walk, node).during < m->best->arena_bytes;
}

static enum srp_err try_all_from(struct maker *m, uint32_t step)
{
    if (step == m->graph->node_count) {
        return try_order(m, SRPI_PLACE_QUICK);
    }
    for (uint32_t n = 0; n < m->graph->node_count; n++) {
        m->work++;
        if (m->work > SEARCH_WORK || satisfied(m)) {
            return SRP_OK;
        }
        if (!worth(m, n)) {
            continue;
        }
        const size_t live = m->walk.live;
        m->attempt.layout.order[step] = n;
        srpi_order_walk_run(&m->walk, n);
        const enum srp_err rc = try_all_from(m, step + 1);
        srpi_order_walk_undo(&m->walk, n, live);
        if (rc != SRP_OK) {
            return rc;
        }
    }
    return SRP_OK;
}

static enum srp_err try_drawn(struct maker *m)
{
    while (m->work < SEARCH_WORK && !satisfied(m)) {
        uint32_t step = 0;
        srpi_order_walk_start(&m->walk, m->graph, &m->lists, m->walk.left);
        for (bool stuck = false; step < m->graph->node_count && !stuck;) {
            uint32_t chosen = NONE, seen = 0;
            for (uint32_t n = 0; n < m->graph->node_count; n++) {
                if (worth(m, n)) {
                    m->state = m->state * 6364136223846793005u + 1442695040888963407u;
                    chosen = (m->state >> 33) % ++seen == 0 ? n : chosen;
                }
            }
            stuck = chosen == NONE;
            if (!stuck) {
                m->attempt.layout.order[step++] = chosen;
                srpi_order_walk_run(&m->walk, chosen);
            }
        }
        m->work += m->graph->node_count;
        const enum srp_err rc =
            step == m->graph->node_count ? try_order(m, SRPI_PLACE_QUICK) : SRP_OK;
        if (rc != SRP_OK) {
            return rc;
        }
    }
    return SRP_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum srp_err allocate_layout(struct srpi_layout *layout,
                                    const struct srpi_order_graph *graph, struct srp_error *err)
{
    /* At most SRP_MAX_NODES and twice as many tensors: no overflow. */
    const size_t n = graph->node_count, t = graph->tensor_count;
    memset(layout, 0, sizeof(*layout));
    layout->memory = calloc(1, t * (sizeof(size_t) + 3 * sizeof(uint32_t)) + n * sizeof(uint32_t));
    if (layout->memory == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the layout of %zu tensors", t);
    }
    layout->offset = layout->memory;
    layout->root = (uint32_t *)(void *)(layout->offset + t);
    layout->begin = layout->root + t;
    layout->end = layout->begin + t;
    layout->order = layout->end + t;
    return SRP_OK;
}

static enum srp_err search(struct maker *m)
{
    size_t peak = 0;
    enum srp_err rc = srpi_order_find(m->graph, m->attempt.layout.order, &peak,
                                      &m->best->lower_bound, m->err);
    m->best->exact_peak = m->best->lower_bound == peak;
    m->best->arena_bytes = SIZE_MAX;
    if (rc == SRP_OK) {
        rc = try_order(m, SRPI_PLACE_FULL);
    }
    if (rc != SRP_OK || satisfied(m)) {
        return rc;
    }
    srpi_order_walk_start(&m->walk, m->graph, &m->lists, m->walk.left);
    m->work = 0;
    return m->graph->node_count <= DRAWN_NODES ? try_all_from(m, 0) : try_drawn(m);
}

enum srp_err srpi_layout_create(struct srpi_layout *layout, const struct srpi_order_graph *graph,
                                size_t align, struct srp_error *err)
{
    struct maker m = {.graph = graph, .best = layout, .state = 1, .align = align, .err = err};
    memset(layout, 0, sizeof(*layout));
    enum srp_err rc = srpi_order_lists_create(&m.lists, graph, err);
    if (rc != SRP_OK) {
        return rc;
    }
    const size_t tensors = (size_t)graph->tensor_count + 1;
    rc = allocate_layout(layout, graph, err);
    if (rc == SRP_OK) {
        rc = allocate_layout(&m.attempt.layout, graph, err);
    }
    m.attempt.items = calloc(tensors, sizeof(m.attempt.items[0]));
    m.attempt.tensor = calloc(tensors, sizeof(m.attempt.tensor[0]));
    m.attempt.kept = calloc(tensors, sizeof(m.attempt.kept[0]));
    m.walk.left = calloc(1, srpi_order_walk_size(graph));
    if (rc == SRP_OK && (m.attempt.items == NULL || m.attempt.tensor == NULL ||
                         m.attempt.kept == NULL || m.walk.left == NULL)) {
        rc = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the layout of %u tensors",
                       graph->tensor_count);
    }
    void *walk = m.walk.left;
    if (rc == SRP_OK) {
        rc = search(&m);
    }
    free(walk);
    free(m.attempt.items);
    free(m.attempt.tensor);
    free(m.attempt.kept);
    srpi_layout_destroy(&m.attempt.layout);
    srpi_order_lists_destroy(&m.lists);
    if (rc != SRP_OK) {
        srpi_layout_destroy(layout);
    }
    return rc;
}

void srpi_layout_destroy(struct srpi_layout *layout)
{
    free(layout->memory);
    memset(layout, 0, sizeof(*layout));
}
