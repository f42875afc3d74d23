/* SPDX-License-Identifier: BSD-2-Clause */
/* Placements against every placement there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_data.h"
#include "plan_data.h"

#include "plan/place.h"

#define ALIGN 64u

static void check_placement(const struct srpi_place_item *items, uint32_t count, size_t align,
                            const struct srpi_placement *p)
{
    size_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct srpi_place_item *a = &items[i];
        assert_int_equal(a->offset % align, 0);
        total = a->offset + a->size > total ? a->offset + a->size : total;
        for (uint32_t k = 0; k < i; k++) {
            const struct srpi_place_item *b = &items[k];
            const bool in_time = a->begin <= b->end && b->begin <= a->end;
            const bool in_space = a->offset < b->offset + b->size && b->offset < a->offset + a->size;
            assert_false(in_time && in_space);
        }
    }
    assert_true(p->total >= total && p->total < total + align);
    assert_true(p->total >= p->lower_bound);
}

static struct srpi_placement place(struct srpi_place_item *items, uint32_t count, size_t align,
                                   enum srpi_place_effort effort)
{
    struct srpi_placement placement;
    struct srp_error err = {0};
    if (srpi_place(items, count, align, effort, &placement, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    check_placement(items, count, align, &placement);
    return placement;
}

/* Lowest fit in every order of the items: among those is the optimum (place.c says why). */
struct brute {
    const struct srpi_place_item *items;
    uint32_t count, order[8];
    size_t offset[8], best;
    bool used[8];
};

static void try_orders(struct brute *b, uint32_t depth, size_t total)
{
    if (total >= b->best) {
        return;
    }
    if (depth == b->count) {
        b->best = total;
        return;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        size_t offset = 0;
        for (uint32_t k = 0; !b->used[i] && k < depth; k++) {
            const uint32_t other = b->order[k];
            const struct srpi_place_item *a = &b->items[i], *c = &b->items[other];
            if (a->begin <= c->end && c->begin <= a->end && offset < b->offset[other] + c->size &&
                b->offset[other] < offset + a->size) {
                offset = b->offset[other] + c->size;
                k = UINT32_MAX; /* look at all again from here */
            }
        }
        if (!b->used[i]) {
            b->used[i] = true;
            b->order[depth] = i;
            b->offset[i] = offset;
            const size_t end = offset + b->items[i].size;
            try_orders(b, depth + 1, end > total ? end : total);
            b->used[i] = false;
        }
    }
}

static void draw_items(struct srpi_place_item *items, uint32_t count, uint32_t steps, uint32_t sizes,
                       uint64_t seed)
{
    uint64_t state = seed * 31 + count;
    data_draw(&state, 2);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t begin = data_draw(&state, steps), length = data_draw(&state, steps);
        items[i] = (struct srpi_place_item){
            .size = ALIGN * data_draw(&state, sizes),
            .begin = begin,
            .end = begin + length < steps ? begin + length : steps - 1};
    }
}

static void finds_the_smallest_arena(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 7; count++) {
        for (uint32_t seed = 0; seed < 400; seed++) {
            struct srpi_place_item items[8];
            draw_items(items, count, 4 + seed % 5, 3 + seed % 17, seed);
            struct brute brute = {.items = items, .count = count, .best = SIZE_MAX};
            try_orders(&brute, 0, 0);
            const struct srpi_placement p = place(items, count, ALIGN, SRPI_PLACE_FULL);
            if (p.total != brute.best || !p.exact) {
                fail_msg("%u items, seed %u: %zu, not %zu", count, seed, p.total, brute.best);
            }
        }
    }
}

/* Lives that cannot be placed without a hole: one unit more than is ever alive. */
static void knows_when_the_bound_is_out_of_reach(void **state)
{
    (void)state;
    static const struct {
        size_t bound;
        struct {
            uint32_t size, begin, end;
        } items[7];
    } cases[] = {
        {4, {{2, 6, 6}, {1, 3, 5}, {2, 4, 6}, {1, 2, 3}, {2, 0, 0}, {1, 2, 5}, {2, 0, 2}}},
        {5, {{3, 4, 6}, {3, 0, 2}, {1, 3, 4}, {2, 5, 6}, {2, 0, 1}, {1, 2, 3}, {1, 2, 4}}},
        {6, {{3, 2, 2}, {3, 1, 4}, {3, 6, 7}, {3, 7, 7}, {1, 3, 5}, {2, 5, 6}, {1, 4, 6}}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srpi_place_item items[7];
        for (uint32_t k = 0; k < 7; k++) {
            items[k] = (struct srpi_place_item){.size = ALIGN * cases[i].items[k].size,
                                                .begin = cases[i].items[k].begin,
                                                .end = cases[i].items[k].end};
        }
        struct brute brute = {.items = items, .count = 7, .best = SIZE_MAX};
        try_orders(&brute, 0, 0);
        assert_int_equal(brute.best, ALIGN * (cases[i].bound + 1));
        const struct srpi_placement p = place(items, 7, ALIGN, SRPI_PLACE_FULL);
        assert_int_equal(p.lower_bound, ALIGN * cases[i].bound);
        assert_int_equal(p.total, brute.best);
        assert_true(p.exact);
    }
}

static void large_placements(void **state)
{
    (void)state;
    static struct srpi_place_item items[2000], again[2000];
    static const struct {
        uint32_t count, steps, sizes;
        double most; /* times the lower bound */
    } cases[] = {{60, 20, 30, 1.05}, {200, 40, 1000, 1.06}, {2000, 1000, 1000, 1.08},
                 {2000, 3, 50, 1.03}, {2000, 1, 3, 1.0}, {500, 500, 2, 1.05}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int effort = SRPI_PLACE_FULL; effort <= SRPI_PLACE_QUICK; effort++) {
            draw_items(items, cases[i].count, cases[i].steps, cases[i].sizes, 11);
            memcpy(again, items, sizeof(again));
            const struct srpi_placement p =
                place(items, cases[i].count, ALIGN, (enum srpi_place_effort)effort);
            const double ratio = (double)p.total / (double)p.lower_bound;
            if (ratio > cases[i].most) {
                fail_msg("case %zu, effort %d: %.4f", i, effort, ratio);
            }
            place(again, cases[i].count, ALIGN, (enum srpi_place_effort)effort);
            assert_memory_equal(items, again, sizeof(items));
        }
    }
}

static void odd_sizes_and_alignments(void **state)
{
    (void)state;
    struct srpi_place_item items[] = {
        {.size = 1, .begin = 0, .end = 5},           {.size = 65, .begin = 1, .end = 1},
        {.size = 0, .begin = 0, .end = UINT32_MAX},  {.size = 4097, .begin = 5, .end = UINT32_MAX},
        {.size = 64, .begin = 2, .end = 2},
    };
    assert_int_equal(place(items, 5, 1, SRPI_PLACE_FULL).total, 4098);
    assert_int_equal(place(items, 5, 64, SRPI_PLACE_FULL).total, 4160 + 64);
    assert_int_equal(place(items, 5, 4096, SRPI_PLACE_FULL).total, 3 * 4096);
    assert_int_equal(place(items, 0, 64, SRPI_PLACE_FULL).total, 0);
    for (size_t i = 0; i < 5; i++) {
        items[i].size = 0;
    }
    assert_int_equal(place(items, 5, 64, SRPI_PLACE_FULL).total, 0);
}

static void refuses_hostile_sizes(void **state)
{
    (void)state;
    static struct srpi_place_item items[2000];
    struct srpi_placement p;
    struct srp_error err = {0};
    items[0] = (struct srpi_place_item){.size = SIZE_MAX};
    enum srp_err rc = srpi_place(items, 1, 64, SRPI_PLACE_FULL, &p, &err);
    check_failure(rc, SRP_ERR_LIMIT, &err, "bytes of intermediates", "SIZE_MAX");
    for (uint32_t i = 0; i < 2000; i++) {
        items[i] = (struct srpi_place_item){.size = SIZE_MAX / 1000, .begin = i, .end = i};
    }
    rc = srpi_place(items, 2000, 64, SRPI_PLACE_FULL, &p, &err);
    check_failure(rc, SRP_ERR_LIMIT, &err, "bytes of intermediates", "wraps twice");
    for (uint32_t i = 0; i < 2000; i++) {
        items[i] = (struct srpi_place_item){.size = SRP_MAX_ARENA_BYTES, .begin = i, .end = i};
    }
    rc = srpi_place(items, 2000, 64, SRPI_PLACE_FULL, &p, &err);
    assert_int_equal(rc, SRP_OK); /* one after the other they fit */
    assert_int_equal(p.total, SRP_MAX_ARENA_BYTES);
    items[5].end = 6;
    rc = srpi_place(items, 2000, 64, SRPI_PLACE_FULL, &p, &err);
    check_failure(rc, SRP_ERR_LIMIT, &err, "bytes of intermediates", "two at once");
    items[5].end = 4;
    rc = srpi_place(items, 2000, 64, SRPI_PLACE_FULL, &p, &err);
    check_failure(rc, SRP_ERR_USAGE, &err, "item 5", "backwards");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_smallest_arena),
        cmocka_unit_test(knows_when_the_bound_is_out_of_reach),
        cmocka_unit_test(large_placements),
        cmocka_unit_test(odd_sizes_and_alignments),
        cmocka_unit_test(refuses_hostile_sizes),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
