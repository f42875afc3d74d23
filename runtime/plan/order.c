/* SPDX-License-Identifier: BSD-2-Clause */
/* The most bytes alive at once depend on the order only through the set of nodes that are done: so
 * the search is over sets, not over permutations.
 *
 * A ready node that neither raises the peak so far nor leaves more bytes alive is run at once: in
 * any completion it could be moved to the front without raising any step (its output takes no more
 * than the operands that it frees, and other readers of its operands free them no later). Without
 * branches that settles everything; a search begins where branches compete. */
#include "plan/order.h"

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "model/checked.h"
#include "model/error.h"

#define NONE UINT32_MAX
#define WORDS (SRP_MAX_NODES / 64)
#define MOST_SETS 16384u
#define SETS_WORK 2000000u /* operands looked at */
#define BEAM_WORK 2000000u
#define BEAM_WIDTH 64u

_Static_assert(SRP_MAX_NODES % 64 == 0, "sets of nodes are whole words");

/* ---- lists ----------------------------------------------------------------------------------- */

static enum srp_err check(const struct srpi_order_graph *graph, struct srp_error *err)
{
    size_t sum = 0;
    if (graph->node_count == 0 || graph->node_count > SRP_MAX_NODES ||
        graph->tensor_count > 2 * SRP_MAX_NODES) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%u nodes with %u tensors to put in order",
                         graph->node_count, graph->tensor_count);
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        if (!srpi_add(sum, graph->size[t], &sum)) {
            return srpi_fail(err, SRP_ERR_LIMIT, "the sum of all tensors' sizes does not fit");
        }
    }
    return SRP_OK;
}

/* Fills the readers from the inputs. */
static void find_readers(struct srpi_order_lists *lists, const struct srpi_order_graph *graph)
{
    for (uint32_t i = 0; i < lists->first_input[graph->node_count]; i++) {
        lists->first_reader[lists->input[i] + 1]++;
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        lists->first_reader[t + 1] += lists->first_reader[t];
    }
    for (uint32_t n = graph->node_count; n-- > 0;) {
        for (uint32_t i = lists->first_input[n]; i < lists->first_input[n + 1]; i++) {
            /* Backwards into the end of each list; afterwards the ends are the beginnings. */
            lists->reader[--lists->first_reader[lists->input[i] + 1]] = n;
        }
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        lists->first_reader[t] = lists->first_reader[t + 1];
    }
    lists->first_reader[graph->tensor_count] = lists->first_input[graph->node_count];
}

static enum srp_err find_inputs(struct srpi_order_lists *lists,
                                const struct srpi_order_graph *graph, struct srp_error *err)
{
    uint32_t used = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct srpi_order_node *node = &graph->nodes[n];
        if (node->output >= graph->tensor_count || lists->writer[node->output] != NONE) {
            return srpi_fail(err, SRP_ERR_GRAPH, "node %u of the order: output %u is no new tensor",
                             n, node->output);
        }
        lists->writer[node->output] = n;
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct srpi_order_node *node = &graph->nodes[n];
        lists->first_input[n] = used;
        for (uint32_t i = 0; i < node->input_count; i++) {
            const uint32_t tensor = node->inputs[i];
            if (tensor >= graph->tensor_count ||
                (lists->writer[tensor] != NONE && lists->writer[tensor] >= n)) {
                return srpi_fail(err, SRP_ERR_GRAPH, "node %u of the order: input %u is not there",
                                 n, tensor);
            }
            uint32_t at = lists->first_input[n];
            while (at < used && lists->input[at] != tensor) {
                at++;
            }
            lists->once[at] = at == used;
            lists->input[at] = tensor;
            used += at == used ? 1 : 0;
        }
    }
    lists->first_input[graph->node_count] = used;
    return SRP_OK;
}

enum srp_err srpi_order_lists_create(struct srpi_order_lists *lists,
                                     const struct srpi_order_graph *graph, struct srp_error *err)
{
    memset(lists, 0, sizeof(*lists));
    enum srp_err rc = check(graph, err);
    size_t edges = 0;
    for (uint32_t n = 0; rc == SRP_OK && n < graph->node_count; n++) {
        edges += graph->nodes[n].input_count;
    }
    if (rc != SRP_OK) {
        return rc;
    }
    const size_t nodes = graph->node_count, tensors = graph->tensor_count;
    if (edges > SRP_MAX_NODES * SRP_MAX_INPUTS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%zu operands to put in order", edges);
    }
    lists->memory = calloc(2 * tensors + nodes + 2 + 2 * edges, sizeof(uint32_t));
    lists->once = calloc(edges + 1, sizeof(bool));
    if (lists->memory == NULL || lists->once == NULL) {
        srpi_order_lists_destroy(lists);
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the order of %zu nodes", nodes);
    }
    lists->writer = lists->memory;
    lists->first_input = lists->writer + tensors;
    lists->first_reader = lists->first_input + nodes + 1;
    lists->input = lists->first_reader + tensors + 1;
    lists->reader = lists->input + edges;
    for (size_t t = 0; t < tensors; t++) {
        lists->writer[t] = NONE;
    }
    rc = find_inputs(lists, graph, err);
    if (rc == SRP_OK) {
        find_readers(lists, graph);
    } else {
        srpi_order_lists_destroy(lists);
    }
    return rc;
}

void srpi_order_lists_destroy(struct srpi_order_lists *lists)
{
    free(lists->memory);
    free(lists->once);
    memset(lists, 0, sizeof(*lists));
}

/* ---- walks ----------------------------------------------------------------------------------- */

size_t srpi_order_walk_size(const struct srpi_order_graph *graph)
{
    return (size_t)(graph->tensor_count + graph->node_count) * sizeof(uint16_t) + graph->node_count;
}

void srpi_order_walk_start(struct srpi_order_walk *walk, const struct srpi_order_graph *graph,
                           const struct srpi_order_lists *lists, void *memory)
{
    *walk = (struct srpi_order_walk){.graph = graph, .lists = lists, .left = memory};
    walk->waiting = walk->left + graph->tensor_count;
    walk->done = (bool *)(void *)(walk->waiting + graph->node_count);
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const uint32_t readers = lists->first_reader[t + 1] - lists->first_reader[t];
        walk->left[t] = (uint16_t)readers;
        if (lists->writer[t] == NONE && (readers != 0 || graph->kept[t])) {
            walk->live += graph->size[t];
        }
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        walk->waiting[n] = 0;
        walk->done[n] = false;
        for (uint32_t i = lists->first_input[n]; i < lists->first_input[n + 1]; i++) {
            walk->waiting[n] =
                (uint16_t)(walk->waiting[n] + (lists->writer[lists->input[i]] != NONE ? 1 : 0));
        }
    }
}

struct srpi_order_step srpi_order_walk_look(const struct srpi_order_walk *walk, uint32_t node)
{
    const struct srpi_order_graph *graph = walk->graph;
    const struct srpi_order_lists *lists = walk->lists;
    const uint32_t output = graph->nodes[node].output;
    const size_t size = graph->size[output];
    size_t freed = 0;
    bool over = false; /* the output takes an operand's place */
    for (uint32_t i = lists->first_input[node]; i < lists->first_input[node + 1]; i++) {
        const uint32_t tensor = lists->input[i];
        if (walk->left[tensor] == 1 && !graph->kept[tensor]) {
            freed += graph->size[tensor];
            over = over || (lists->once[i] && graph->size[tensor] == size);
        }
    }
    const bool unread = walk->left[output] == 0 && !graph->kept[output];
    const struct srpi_order_step step = {
        .during = walk->live + (graph->nodes[node].in_place && over ? 0 : size),
        .behind = walk->live - freed + (unread ? 0 : size)};
    return step;
}

/* `by` is 1 or -1 in 16 bits. */
static void tally(struct srpi_order_walk *walk, uint32_t node, uint16_t by)
{
    const struct srpi_order_lists *lists = walk->lists;
    const uint32_t output = walk->graph->nodes[node].output;
    for (uint32_t i = lists->first_input[node]; i < lists->first_input[node + 1]; i++) {
        walk->left[lists->input[i]] = (uint16_t)(walk->left[lists->input[i]] + by);
    }
    for (uint32_t i = lists->first_reader[output]; i < lists->first_reader[output + 1]; i++) {
        walk->waiting[lists->reader[i]] = (uint16_t)(walk->waiting[lists->reader[i]] + by);
    }
}

void srpi_order_walk_run(struct srpi_order_walk *walk, uint32_t node)
{
    walk->live = srpi_order_walk_look(walk, node).behind;
    walk->done[node] = true;
    tally(walk, node, UINT16_MAX);
}

void srpi_order_walk_undo(struct srpi_order_walk *walk, uint32_t node, size_t live_before)
{
    walk->live = live_before;
    walk->done[node] = false;
    tally(walk, node, 1);
}

/* ---- what all searches share ----------------------------------------------------------------- */

struct search {
    const struct srpi_order_graph *graph;
    struct srpi_order_lists lists;
    uint32_t *order; /* the best so far, and its peak */
    size_t peak;
    size_t bound;    /* no order has a lower peak */
    uint64_t work;
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static uint32_t degree(const struct search *s, uint32_t node)
{
    return 1 + s->lists.first_input[node + 1] - s->lists.first_input[node];
}

/* The peak of the order in which the nodes stand, and the bound: what each node needs by itself. */
static enum srp_err start(struct search *s, struct srp_error *err)
{
    const struct srpi_order_graph *graph = s->graph;
    struct srpi_order_walk walk;
    void *memory = malloc(srpi_order_walk_size(graph));
    if (memory == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the order of %u nodes",
                         graph->node_count);
    }
    srpi_order_walk_start(&walk, graph, &s->lists, memory);
    s->bound = walk.live;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct srpi_order_step step = srpi_order_walk_look(&walk, n);
        s->peak = larger(s->peak, step.during);
        s->order[n] = n;
        srpi_order_walk_run(&walk, n);
    }
    size_t kept = 0;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        kept += graph->kept[t] ? graph->size[t] : 0;
    }
    s->bound = larger(s->bound, kept);
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct srpi_order_node *node = &graph->nodes[n];
        size_t operands = 0;
        bool over = false;
        for (uint32_t i = s->lists.first_input[n]; i < s->lists.first_input[n + 1]; i++) {
            const uint32_t tensor = s->lists.input[i];
            operands += graph->size[tensor];
            over = over || (s->lists.once[i] && !graph->kept[tensor] &&
                            graph->size[tensor] == graph->size[node->output]);
        }
        s->bound = larger(s->bound,
                          operands + (node->in_place && over ? 0 : graph->size[node->output]));
    }
    free(memory);
    return SRP_OK;
}

/* ---- beam ------------------------------------------------------------------------------------ */

struct beam_state {
    struct srpi_order_walk walk;
    uint64_t set[WORDS];
    size_t peak;
    uint32_t trace; /* of the step that led here */
};

struct beam_move {
    size_t first, second; /* what it is judged by, less is better */
    size_t peak;
    uint64_t hash; /* of the set that it leads to */
    uint32_t state, node;
};

struct beam {
    struct beam_state *states, *next;
    uint32_t count, width;
    bool by_live; /* fewest bytes alive first, else lowest peak first */
    struct beam_move *moves;
    uint32_t move_count;
    struct trace {
        uint32_t parent, node;
    } *traces;
    uint32_t trace_count;
};

/* A fixed number for each node: a set's hash is the sum of its members'. */
static uint64_t mark(uint32_t node)
{
    uint64_t x = (node + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t hash_of(const uint64_t *set, uint32_t words)
{
    uint64_t hash = 0;
    for (uint32_t w = 0; w < words; w++) {
        for (uint64_t rest = set[w]; rest != 0; rest &= rest - 1) {
            hash += mark(w * 64 + (uint32_t)__builtin_ctzll(rest));
        }
    }
    return hash;
}

static int compare_moves(const void *a, const void *b)
{
    const struct beam_move *x = a, *y = b;
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    if (x->second != y->second) {
        return x->second < y->second ? -1 : 1;
    }
    if (x->state != y->state) {
        return x->state < y->state ? -1 : 1;
    }
    return x->node < y->node ? -1 : 1;
}

static void beam_expand(struct search *s, struct beam *beam, uint32_t index)
{
    const struct beam_state *state = &beam->states[index];
    const uint32_t first = beam->move_count, words = (s->graph->node_count + 63) / 64;
    const uint64_t hash = hash_of(state->set, words);
    for (uint32_t n = 0; n < s->graph->node_count; n++) {
        s->work++;
        if (state->walk.done[n] || state->walk.waiting[n] != 0) {
            continue;
        }
        s->work += degree(s, n);
        const struct srpi_order_step step = srpi_order_walk_look(&state->walk, n);
        const size_t peak = larger(state->peak, step.during);
        const struct beam_move move = {.first = beam->by_live ? step.behind : peak,
                                       .second = beam->by_live ? peak : step.behind,
                                       .peak = peak,
                                       .hash = hash + mark(n),
                                       .state = index,
                                       .node = n};
        if (step.during <= state->peak && step.behind <= state->walk.live) {
            beam->move_count = first;
            beam->moves[beam->move_count++] = move;
            return;
        }
        if (move.peak < s->peak) {
            beam->moves[beam->move_count++] = move;
        }
    }
}

/* The best moves become the next states, each set once. */
static void beam_advance(struct search *s, struct beam *beam)
{
    const size_t memory = srpi_order_walk_size(s->graph);
    uint64_t hashes[BEAM_WIDTH];
    uint32_t chosen = 0;
    qsort(beam->moves, beam->move_count, sizeof(beam->moves[0]), compare_moves);
    for (uint32_t m = 0; m < beam->move_count && chosen < beam->width; m++) {
        const struct beam_move *move = &beam->moves[m];
        const struct beam_state *from = &beam->states[move->state];
        struct beam_state *to = &beam->next[chosen];
        bool known = false;
        for (uint32_t i = 0; i < chosen && !known; i++) {
            known = hashes[i] == move->hash; /* two sets with one hash cost a state, no more */
        }
        if (known) {
            continue;
        }
        hashes[chosen++] = move->hash;
        memcpy(to->walk.left, from->walk.left, memory);
        memcpy(to->set, from->set, sizeof(to->set));
        to->walk.live = from->walk.live;
        srpi_order_walk_run(&to->walk, move->node);
        to->set[move->node / 64] |= UINT64_C(1) << (move->node % 64);
        to->peak = move->peak;
        to->trace = beam->trace_count;
        beam->traces[beam->trace_count++] = (struct trace){from->trace, move->node};
        s->work += memory / 32;
    }
    struct beam_state *old = beam->states;
    beam->states = beam->next;
    beam->next = old;
    beam->count = chosen;
}

/* As wide as the work that is left allows, judged by what the last step cost. */
static void beam_search(struct search *s, struct beam *beam)
{
    const uint32_t nodes = s->graph->node_count;
    const uint64_t limit = s->work + BEAM_WORK;
    for (uint32_t step = 0; step < nodes && beam->count > 0; step++) {
        const uint64_t before = s->work;
        const uint32_t states = beam->count;
        beam->move_count = 0;
        for (uint32_t i = 0; i < states; i++) {
            beam_expand(s, beam, i);
        }
        beam_advance(s, beam);
        const uint64_t each = (s->work - before) / states + 1;
        const uint64_t left = s->work < limit ? limit - s->work : 0;
        const uint64_t width = left / each / (nodes - step);
        beam->width = width < 1 ? 1 : width > BEAM_WIDTH ? BEAM_WIDTH : (uint32_t)width;
    }
    if (beam->count > 0 && beam->states[0].peak < s->peak) {
        s->peak = beam->states[0].peak;
        uint32_t trace = beam->states[0].trace;
        for (uint32_t step = nodes; step-- > 0;) {
            s->order[step] = beam->traces[trace].node;
            trace = beam->traces[trace].parent;
        }
    }
}

static enum srp_err find_by_beam(struct search *s, bool by_live, struct srp_error *err)
{
    const size_t nodes = s->graph->node_count;
    /* Whole words, so that each state's walk is aligned. */
    const size_t memory = (srpi_order_walk_size(s->graph) + 7) & ~(size_t)7;
    struct beam beam = {.count = 1, .width = BEAM_WIDTH, .by_live = by_live};
    struct beam_state *states = calloc(2 * BEAM_WIDTH, sizeof(*states));
    char *walks = malloc(2 * BEAM_WIDTH * memory);
    beam.moves = malloc(BEAM_WIDTH * nodes * sizeof(beam.moves[0]));
    beam.traces = malloc(BEAM_WIDTH * nodes * sizeof(beam.traces[0]));
    enum srp_err rc = SRP_OK;
    if (states == NULL || walks == NULL || beam.moves == NULL || beam.traces == NULL) {
        rc = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the order of %zu nodes", nodes);
    } else {
        beam.states = states;
        beam.next = states + BEAM_WIDTH;
        for (uint32_t i = 0; i < 2 * BEAM_WIDTH; i++) {
            srpi_order_walk_start(&states[i].walk, s->graph, &s->lists, walks + i * memory);
        }
        states[0].peak = states[0].walk.live;
        states[0].trace = NONE;
        beam_search(s, &beam);
    }
    free(states);
    free(walks);
    free(beam.moves);
    free(beam.traces);
    return rc;
}

/* ---- exact: best first over sets ------------------------------------------------------------- */

struct set_state {
    uint64_t set[WORDS];
    size_t peak;
    uint32_t parent, node, done;
};

struct sets {
    struct set_state *states;
    uint32_t count;
    uint32_t *table; /* open addressing: states by hash */
    uint32_t *heap;  /* states to expand: lowest peak first, then the one with the most done */
    uint32_t heap_count;
    struct srpi_order_walk walk;
    void *memory;
};
#define TABLE (4u * MOST_SETS)

static bool before(const struct sets *sets, uint32_t a, uint32_t b)
{
    const struct set_state *x = &sets->states[a], *y = &sets->states[b];
    if (x->peak != y->peak) {
        return x->peak < y->peak;
    }
    return x->done != y->done ? x->done > y->done : a < b;
}

static void push(struct sets *sets, uint32_t state)
{
    uint32_t at = sets->heap_count++;
    while (at > 0 && before(sets, state, sets->heap[(at - 1) / 2])) {
        sets->heap[at] = sets->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sets->heap[at] = state;
}

static uint32_t pop(struct sets *sets)
{
    const uint32_t top = sets->heap[0], last = sets->heap[--sets->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= sets->heap_count) {
            break;
        }
        if (child + 1 < sets->heap_count &&
            before(sets, sets->heap[child + 1], sets->heap[child])) {
            child++;
        }
        if (!before(sets, sets->heap[child], last)) {
            break;
        }
        sets->heap[at] = sets->heap[child];
        at = child;
    }
    sets->heap[at] = last;
    return top;
}

/* Adds the set `from` and `node` unless it is known with as low a peak. False: no room. */
static bool add_state(struct sets *sets, uint32_t from, uint32_t node, size_t peak)
{
    struct set_state state = sets->states[from];
    state.set[node / 64] |= UINT64_C(1) << (node % 64);
    state.peak = peak;
    state.parent = from;
    state.node = node;
    state.done++;
    uint32_t at = (uint32_t)(hash_of(state.set, WORDS) % TABLE);
    while (sets->table[at] != NONE &&
           memcmp(sets->states[sets->table[at]].set, state.set, sizeof(state.set)) != 0) {
        at = (at + 1) % TABLE;
    }
    if (sets->table[at] != NONE && sets->states[sets->table[at]].peak <= peak) {
        return true;
    }
    if (sets->count == MOST_SETS) {
        return false;
    }
    /* A worse twin stays in the heap, and comes out when nothing is left to gain from it. */
    sets->table[at] = sets->count;
    sets->states[sets->count] = state;
    push(sets, sets->count++);
    return true;
}

/* The walk after the state's nodes. */
static void walk_to(struct search *s, struct sets *sets, const struct set_state *state)
{
    uint32_t path[SRP_MAX_NODES];
    uint32_t count_of = 0;
    for (const struct set_state *at = state; at->node != NONE; at = &sets->states[at->parent]) {
        path[count_of++] = at->node;
    }
    srpi_order_walk_start(&sets->walk, s->graph, &s->lists, sets->memory);
    while (count_of > 0) {
        const uint32_t node = path[--count_of];
        srpi_order_walk_run(&sets->walk, node);
        s->work += 2 * degree(s, node);
    }
    s->work += s->graph->node_count;
}

/* Searched to the end, s->peak is the lowest, and the bound too. Until then the bound follows the
 * sets that come out: their peaks never fall, and what is cut off has none below s->peak. */
static void search_sets(struct search *s, struct sets *sets)
{
    const uint64_t limit = s->work + SETS_WORK;
    const uint32_t nodes = s->graph->node_count;
    while (sets->heap_count > 0 && s->work < limit) {
        const uint32_t index = pop(sets);
        const struct set_state *state = &sets->states[index];
        s->bound = larger(s->bound, state->peak);
        if (state->done == nodes) { /* the first that is complete: none has a lower peak */
            s->peak = state->peak;
            for (uint32_t step = nodes; step-- > 0;) {
                s->order[step] = state->node;
                state = &sets->states[state->parent];
            }
            return;
        }
        walk_to(s, sets, state);
        uint32_t free_move = NONE;
        for (uint32_t n = 0; n < nodes && free_move == NONE; n++) {
            if (!sets->walk.done[n] && sets->walk.waiting[n] == 0) {
                const struct srpi_order_step step = srpi_order_walk_look(&sets->walk, n);
                free_move =
                    step.during <= state->peak && step.behind <= sets->walk.live ? n : NONE;
            }
        }
        for (uint32_t n = free_move == NONE ? 0 : free_move; n < nodes; n++) {
            if (sets->walk.done[n] || sets->walk.waiting[n] != 0) {
                continue;
            }
            const size_t during = srpi_order_walk_look(&sets->walk, n).during;
            s->work += degree(s, n);
            if (larger(state->peak, during) < s->peak &&
                !add_state(sets, index, n, larger(state->peak, during))) {
                return;
            }
            if (free_move != NONE) {
                break;
            }
        }
    }
    s->bound = sets->heap_count == 0 ? s->peak : s->bound;
}

static enum srp_err find_exactly(struct search *s, struct srp_error *err)
{
    struct sets sets = {0};
    sets.states = malloc(MOST_SETS * sizeof(sets.states[0]));
    sets.table = malloc((TABLE + MOST_SETS) * sizeof(sets.table[0]));
    sets.memory = malloc(srpi_order_walk_size(s->graph));
    enum srp_err rc = SRP_OK;
    if (sets.states == NULL || sets.table == NULL || sets.memory == NULL) {
        rc = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the order of %u nodes",
                       s->graph->node_count);
    } else {
        sets.heap = sets.table + TABLE;
        memset(sets.table, 0xff, TABLE * sizeof(sets.table[0]));
        srpi_order_walk_start(&sets.walk, s->graph, &s->lists, sets.memory);
        sets.states[0] = (struct set_state){.peak = sets.walk.live, .parent = NONE, .node = NONE};
        sets.count = 1;
        push(&sets, 0);
        search_sets(s, &sets);
    }
    free(sets.states);
    free(sets.table);
    free(sets.memory);
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

enum srp_err srpi_order_find(const struct srpi_order_graph *graph, uint32_t *order, size_t *peak,
                             size_t *bound, struct srp_error *err)
{
    struct search s = {.graph = graph, .order = order};
    enum srp_err rc = srpi_order_lists_create(&s.lists, graph, err);
    if (rc == SRP_OK) {
        rc = start(&s, err);
    }
    for (int by_live = 0; rc == SRP_OK && by_live < 2 && s.peak > s.bound; by_live++) {
        rc = find_by_beam(&s, by_live != 0, err);
    }
    if (rc == SRP_OK && s.peak > s.bound) {
        rc = find_exactly(&s, err);
    }
    if (rc == SRP_OK) {
        *peak = s.peak;
        if (bound != NULL) {
            *bound = s.bound;
        }
    }
    srpi_order_lists_destroy(&s.lists);
    return rc;
}
