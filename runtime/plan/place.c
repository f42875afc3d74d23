/* SPDX-License-Identifier: BSD-2-Clause */
/* In the order of its work:
 *   read_items     sizes rounded up, steps compressed to the ones in which a life begins
 *   greedy         five orders, each with first fit and best fit
 *   exact          branch and bound over canonical placements, for few items
 *   local          moves in the best order, each judged by first fit
 *
 * First fit in the right order gives the optimum: take an optimal placement with every item pushed
 * down, and place by rising offset; each item then lands no higher than it lay. So orders are all
 * that has to be searched. */
#include "plan/place.h"

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "model/checked.h"
#include "model/error.h"

#define EXACT_ITEMS 48u
#define EXACT_WORK 3000000u  /* items or sections looked at */
#define LOCAL_WORK 20000000u /* pairs of items compared */
#define LOCAL_TRIES 4000u
#define QUICK_DIVISOR 10u

struct item {
    size_t size;
    uint32_t begin, end; /* sections */
    uint32_t origin;     /* index of the caller's item */
};

struct placer {
    uint32_t count;
    uint32_t sections; /* steps in which a life begins: two lives overlap where they share one */
    struct item *items; /* largest first */
    size_t *offset;  /* of the attempt at hand */
    size_t *best;    /* offsets of the best placement */
    uint32_t *order; /* of the attempt */
    uint32_t *best_order;
    uint32_t *placed; /* sorted by offset */
    size_t total, lower_bound;
    uint64_t work;
    /* exact */
    size_t *height; /* of each section: top of what lies there */
    size_t *left;   /* of each section: bytes not placed yet */
    bool *done;     /* of each item */
    void *memory;
};

/* ---- one pass -------------------------------------------------------------------------------- */

static bool overlap(const struct item *a, const struct item *b)
{
    return a->begin <= b->end && b->begin <= a->end;
}

/* Where `index` fits among placed[0..count): into the lowest gap, or into the smallest. */
static size_t find_gap(struct placer *p, uint32_t index, uint32_t count, bool smallest)
{
    const struct item *item = &p->items[index];
    size_t best = SIZE_MAX, best_gap = SIZE_MAX, top = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t other = p->placed[i];
        p->work++;
        if (!overlap(&p->items[other], item)) {
            continue;
        }
        if (p->offset[other] > top) {
            const size_t gap = p->offset[other] - top;
            if (gap >= item->size && !smallest) {
                return top;
            }
            if (gap >= item->size && gap < best_gap) {
                best = top;
                best_gap = gap;
            }
        }
        const size_t behind = p->offset[other] + p->items[other].size;
        top = behind > top ? behind : top;
    }
    return best != SIZE_MAX ? best : top;
}

/* Places all in p->order; gives up above `most`. The arena's size, SIZE_MAX when given up. */
static size_t pass(struct placer *p, bool smallest, size_t most)
{
    size_t total = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const uint32_t index = p->order[i];
        const size_t offset = find_gap(p, index, i, smallest);
        const size_t behind = offset + p->items[index].size; /* at most the sum of all sizes */
        if (behind > most) {
            return SIZE_MAX;
        }
        p->offset[index] = offset;
        total = behind > total ? behind : total;
        uint32_t low = 0, high = i;
        while (low < high) {
            const uint32_t middle = low + (high - low) / 2;
            if (p->offset[p->placed[middle]] <= offset) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        memmove(&p->placed[low + 1], &p->placed[low], (i - low) * sizeof(p->placed[0]));
        p->placed[low] = index;
    }
    return total;
}

static void keep_best(struct placer *p, size_t total)
{
    p->total = total;
    memcpy(p->best, p->offset, p->count * sizeof(p->best[0]));
    memcpy(p->best_order, p->order, p->count * sizeof(p->order[0]));
}

/* ---- greedy ---------------------------------------------------------------------------------- */

struct key {
    uint64_t first, second; /* larger comes first */
    uint32_t index;         /* smaller comes first */
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (x->first != y->first) {
        return x->first > y->first ? -1 : 1;
    }
    if (x->second != y->second) {
        return x->second > y->second ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

enum { BY_SIZE = 0, BY_LENGTH, BY_BEGIN, BY_CONFLICTS, BY_AREA, CRITERIA };

static void set_key(const struct placer *p, struct key *key, uint32_t index, int criterion)
{
    const struct item *item = &p->items[index];
    const uint64_t length = item->end - item->begin + 1;
    *key = (struct key){.index = index, .first = item->size, .second = length};
    switch (criterion) {
    case BY_LENGTH:
        key->first = length;
        key->second = item->size;
        break;
    case BY_BEGIN:
        key->first = p->sections - item->begin;
        key->second = item->size;
        break;
    case BY_CONFLICTS: /* bytes that it must avoid */
        key->first = 0;
        for (uint32_t i = 0; i < p->count; i++) {
            key->first += overlap(&p->items[i], item) ? p->items[i].size : 0;
        }
        key->second = item->size;
        break;
    case BY_AREA: /* sizes are at most 2^32: no overflow */
        key->first = item->size * length;
        break;
    default:
        break;
    }
}

static void greedy(struct placer *p, struct key *keys)
{
    for (int criterion = 0; criterion < CRITERIA; criterion++) {
        for (uint32_t i = 0; i < p->count; i++) {
            set_key(p, &keys[i], i, criterion);
        }
        qsort(keys, p->count, sizeof(keys[0]), compare_keys);
        for (uint32_t i = 0; i < p->count; i++) {
            p->order[i] = keys[i].index;
        }
        for (int smallest = 0; smallest < 2; smallest++) {
            const size_t total = pass(p, smallest != 0, p->total - 1);
            if (total < p->total) {
                keep_best(p, total);
            }
            if (p->total == p->lower_bound) {
                return;
            }
        }
    }
}

/* ---- exact ----------------------------------------------------------------------------------- */

static size_t skyline(struct placer *p, uint32_t index)
{
    size_t top = 0;
    for (uint32_t s = p->items[index].begin; s <= p->items[index].end; s++) {
        top = p->height[s] > top ? p->height[s] : top;
        p->work++;
    }
    return top;
}

/* Whether what is left can still end below the best total, if it all lies at `floor` or higher. */
static bool hopeful(struct placer *p, size_t floor)
{
    for (uint32_t s = 0; s < p->sections; s++) {
        const size_t from = p->height[s] > floor ? p->height[s] : floor;
        p->work++;
        if (p->left[s] != 0 && from + p->left[s] >= p->total) {
            return false;
        }
    }
    return true;
}

/* Of equal items only the first that is not placed is worth a try. */
static bool has_earlier_twin(const struct placer *p, uint32_t index)
{
    const struct item *item = &p->items[index];
    for (uint32_t i = 0; i < index; i++) {
        if (!p->done[i] && p->items[i].size == item->size && p->items[i].begin == item->begin &&
            p->items[i].end == item->end) {
            return true;
        }
    }
    return false;
}

static void put(struct placer *p, uint32_t index, size_t offset)
{
    p->offset[index] = offset;
    p->done[index] = true;
    for (uint32_t s = p->items[index].begin; s <= p->items[index].end; s++) {
        p->height[s] = offset + p->items[index].size;
        p->left[s] -= p->items[index].size;
    }
}

/* Items are placed by rising offset, each on top of what lies under it: a canonical placement, as
 * in MiniMalloc. At depth d, order[d] is the item that is being tried, `floor` the offset of the
 * one before. Where an item j could be put whole below the next offset, lowering it later would be
 * no worse: so only offsets below the end of every such j are tried. True: searched to the end. */
static bool exact_from(struct placer *p, uint32_t depth, size_t floor, size_t total, uint64_t limit)
{
    size_t offsets[EXACT_ITEMS], saved[EXACT_ITEMS], lowest = SIZE_MAX;
    if (depth == p->count) {
        keep_best(p, total);
        return true;
    }
    if (!hopeful(p, floor)) {
        return true;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (!p->done[i]) {
            offsets[i] = skyline(p, i);
            const size_t end = offsets[i] + p->items[i].size;
            lowest = end < lowest ? end : lowest;
        }
    }
    for (size_t least = 0;;) {
        /* The lowest offset next, and there the largest item. */
        uint32_t next = UINT32_MAX;
        for (uint32_t i = 0; i < p->count; i++) {
            p->work++;
            if (!p->done[i] && offsets[i] >= floor && offsets[i] >= least &&
                (next == UINT32_MAX || offsets[i] < offsets[next])) {
                next = i;
            }
        }
        if (next == UINT32_MAX || offsets[next] >= lowest) {
            return true;
        }
        least = offsets[next];
        for (uint32_t i = next; i < p->count; i++) {
            if (p->done[i] || offsets[i] != least || has_earlier_twin(p, i)) {
                continue;
            }
            const size_t end = least + p->items[i].size;
            if (end >= p->total) {
                continue;
            }
            const uint32_t begin = p->items[i].begin, length = p->items[i].end - begin + 1;
            memcpy(saved, &p->height[begin], length * sizeof(saved[0]));
            put(p, i, least);
            p->order[depth] = i;
            const bool ended = exact_from(p, depth + 1, least, end > total ? end : total, limit);
            p->done[i] = false;
            memcpy(&p->height[begin], saved, length * sizeof(saved[0]));
            for (uint32_t s = begin; s < begin + length; s++) {
                p->left[s] += p->items[i].size;
            }
            if (!ended || p->work > limit) {
                return false;
            }
            if (p->total == p->lower_bound) {
                return true;
            }
        }
        least++;
    }
}

static bool exact(struct placer *p, uint64_t work)
{
    memset(p->height, 0, p->sections * sizeof(p->height[0]));
    memset(p->left, 0, p->sections * sizeof(p->left[0]));
    memset(p->done, 0, p->count * sizeof(p->done[0]));
    uint32_t empty = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->items[i].size == 0) {
            p->offset[i] = 0;
            p->done[i] = true;
            p->order[empty++] = i;
        }
        for (uint32_t s = p->items[i].begin; s <= p->items[i].end; s++) {
            p->left[s] += p->items[i].size;
        }
    }
    return exact_from(p, empty, 0, 0, p->work + work);
}

/* ---- local ----------------------------------------------------------------------------------- */

static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

/* Moves the item at `from` to `to`, those between by one. */
static void move(uint32_t *order, uint32_t from, uint32_t to)
{
    const uint32_t item = order[from];
    if (to < from) {
        memmove(&order[to + 1], &order[to], (from - to) * sizeof(order[0]));
    } else {
        memmove(&order[from], &order[from + 1], (to - from) * sizeof(order[0]));
    }
    order[to] = item;
}

/* Every other try takes an item that reaches the top and places it earlier; the others exchange
 * two. What is no worse stays. */
static void local(struct placer *p, uint64_t work, uint32_t tries)
{
    uint64_t state = 1;
    const uint64_t limit = p->work + work;
    if (p->count < 2) {
        return;
    }
    for (uint32_t n = 0; n < tries && p->work < limit && p->total > p->lower_bound; n++) {
        memcpy(p->order, p->best_order, p->count * sizeof(p->order[0]));
        uint32_t at = draw(&state, p->count);
        if (n % 2 == 0) {
            const uint32_t skip = draw(&state, p->count);
            for (uint32_t i = 0; i < p->count; i++) {
                const uint32_t index = p->order[(i + skip) % p->count];
                if (p->best[index] + p->items[index].size == p->total) {
                    at = (i + skip) % p->count;
                    break;
                }
            }
            move(p->order, at, draw(&state, at + 1));
        } else {
            const uint32_t with = draw(&state, p->count), item = p->order[at];
            p->order[at] = p->order[with];
            p->order[with] = item;
        }
        const size_t total = pass(p, false, p->total);
        if (total <= p->total) {
            keep_best(p, total);
        }
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int compare_steps(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Number of the last of the sorted steps that is not behind `step`. */
static uint32_t section_of(const uint32_t *steps, uint32_t count, uint32_t step)
{
    uint32_t low = 0, high = count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (steps[middle] <= step) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static enum srp_err too_large(struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_LIMIT, "more than %llu bytes of intermediates",
                     SRP_MAX_ARENA_BYTES);
}

/* Largest first. */
static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->size != y->size) {
        return x->size > y->size ? -1 : 1;
    }
    const uint32_t x_length = x->end - x->begin, y_length = y->end - y->begin;
    if (x_length != y_length) {
        return x_length > y_length ? -1 : 1;
    }
    return x->origin < y->origin ? -1 : 1;
}

/* Uses p->order and p->height as work memory. */
static enum srp_err read_items(struct placer *p, const struct srpi_place_item *items, size_t align,
                               struct srp_error *err)
{
    size_t sum = 0;
    uint32_t *steps = p->order;
    for (uint32_t i = 0; i < p->count; i++) {
        if (items[i].begin > items[i].end) {
            return srpi_fail(err, SRP_ERR_USAGE, "item %u lives from step %u to step %u", i,
                             items[i].begin, items[i].end);
        }
        if (items[i].size > SRP_MAX_ARENA_BYTES) {
            return too_large(err);
        }
        p->items[i].size = (items[i].size + align - 1) & ~(align - 1);
        if (!srpi_add(sum, p->items[i].size, &sum)) {
            return too_large(err);
        }
        steps[i] = items[i].begin;
    }
    qsort(steps, p->count, sizeof(steps[0]), compare_steps);
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->sections == 0 || steps[i] != steps[p->sections - 1]) {
            steps[p->sections++] = steps[i];
        }
    }
    for (uint32_t i = 0; i < p->count; i++) {
        p->items[i].origin = i;
        p->items[i].begin = section_of(steps, p->sections, items[i].begin);
        p->items[i].end = section_of(steps, p->sections, items[i].end);
    }
    qsort(p->items, p->count, sizeof(p->items[0]), compare_items);
    /* Live bytes by differences: += where lives begin, -= behind their ends. */
    for (uint32_t i = 0; i < p->count; i++) {
        p->height[p->items[i].begin] += p->items[i].size;
        p->height[p->items[i].end + 1] -= p->items[i].size; /* wraps, and back in the sum */
    }
    size_t live = 0;
    for (uint32_t s = 0; s < p->sections; s++) {
        live += p->height[s];
        p->lower_bound = live > p->lower_bound ? live : p->lower_bound;
    }
    p->total = sum == SIZE_MAX ? sum : sum + 1; /* any placement is better */
    return p->lower_bound > SRP_MAX_ARENA_BYTES ? too_large(err) : SRP_OK;
}

static enum srp_err allocate(struct placer *p, uint32_t count, struct srp_error *err)
{
    const size_t each = sizeof(struct key) + sizeof(struct item) + 4 * sizeof(size_t) +
                        3 * sizeof(uint32_t) + sizeof(bool);
    /* One section more than items: for the differences. */
    p->memory = calloc((size_t)count + 1, each);
    if (p->memory == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for placing %u tensors", count);
    }
    const size_t n = (size_t)count + 1;
    p->count = count;
    struct key *keys = p->memory;
    p->items = (struct item *)(void *)(keys + n);
    p->offset = (size_t *)(void *)(p->items + n);
    p->best = p->offset + n;
    p->height = p->best + n;
    p->left = p->height + n;
    p->order = (uint32_t *)(void *)(p->left + n);
    p->best_order = p->order + n;
    p->placed = p->best_order + n;
    p->done = (bool *)(void *)(p->placed + n);
    return SRP_OK;
}

enum srp_err srpi_place(struct srpi_place_item *items, uint32_t count, size_t align,
                        enum srpi_place_effort effort, struct srpi_placement *placement,
                        struct srp_error *err)
{
    struct placer p = {0};
    const uint32_t divisor = effort == SRPI_PLACE_QUICK ? QUICK_DIVISOR : 1;
    memset(placement, 0, sizeof(*placement));
    if (count == 0) {
        placement->exact = true;
        return SRP_OK;
    }
    enum srp_err rc = allocate(&p, count, err);
    if (rc == SRP_OK) {
        rc = read_items(&p, items, align, err);
    }
    bool proved = false;
    if (rc == SRP_OK) {
        greedy(&p, p.memory);
        if (p.total > p.lower_bound && count <= EXACT_ITEMS) {
            proved = exact(&p, EXACT_WORK / divisor);
        }
        if (p.total > p.lower_bound && !proved) {
            local(&p, LOCAL_WORK / divisor, LOCAL_TRIES / divisor);
        }
        rc = p.total > SRP_MAX_ARENA_BYTES ? too_large(err) : SRP_OK;
    }
    for (uint32_t i = 0; rc == SRP_OK && i < count; i++) {
        items[p.items[i].origin].offset = p.best[i];
    }
    if (rc == SRP_OK) {
        *placement = (struct srpi_placement){.total = p.total,
                                             .lower_bound = p.lower_bound,
                                             .exact = proved || p.total == p.lower_bound};
    }
    free(p.memory);
    return rc;
}
