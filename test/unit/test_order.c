/* SPDX-License-Identifier: BSD-2-Clause */
/* Execution orders against every order there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_data.h"
#include "plan_data.h"

#define SEEDS 150u

static size_t find(const struct srpi_order_graph *g, uint32_t *order, bool *exact)
{
    struct srp_error err = {0};
    size_t peak = 0, bound = 0;
    if (srpi_order_find(g, order, &peak, &bound, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    assert_true(bound > 0 && bound <= peak);
    if (exact != NULL) {
        *exact = bound == peak;
    }
    data_check_order(g, order);
    assert_int_equal(peak, data_peak(g, order));
    return peak;
}

static bool take_peak(struct data_orders *orders, const uint32_t *order)
{
    const size_t peak = data_peak(orders->graph, order);
    orders->best = peak < orders->best ? peak : orders->best;
    return orders->best > orders->enough;
}

static void finds_the_lowest_peak(void **state)
{
    (void)state;
    static struct order_data d;
    uint32_t order[SRP_MAX_NODES], improved = 0;
    for (int kind = 0; kind < DATA_KINDS; kind++) {
        for (uint32_t nodes = 1; nodes <= 8; nodes++) {
            for (uint32_t seed = 0; seed < SEEDS; seed++) {
                bool exact = false;
                data_make(&d, nodes, (enum data_kind)kind, seed);
                const size_t peak = find(&d.graph, order, &exact);
                struct data_orders orders = {
                    .graph = &d.graph, .take = take_peak, .best = SIZE_MAX};
                data_all_orders(&orders, 0);
                if (!exact || peak != orders.best) {
                    fail_msg("kind %d, %u nodes, seed %u: %zu, not %zu", kind, nodes, seed, peak,
                             orders.best);
                }
                for (uint32_t n = 0; n < nodes; n++) {
                    order[n] = n;
                }
                improved += data_peak(&d.graph, order) > peak ? 1 : 0;
            }
        }
    }
    assert_true(improved > 300); /* the given order is often not the best */
}

/* Two long branches, each of which swells and shrinks: only one may be swollen at a time. */
static void branches_go_one_after_the_other(void **state)
{
    (void)state;
    static uint32_t inputs[41][2];
    static struct srpi_order_node nodes[41];
    static size_t size[42];
    static bool kept[42];
    const struct srpi_order_graph g = {41, nodes, 42, size, kept};
    uint32_t order[41];
    bool exact = false;
    size[0] = 1;
    for (uint32_t n = 0; n < 40; n++) { /* even: left branch, odd: right */
        inputs[n][0] = n < 2 ? 0 : n - 1;
        nodes[n] = (struct srpi_order_node){inputs[n], 1, n + 1, false};
        size[n + 1] = n >= 38 ? 1 : 1000;
    }
    inputs[40][0] = 39;
    inputs[40][1] = 40;
    nodes[40] = (struct srpi_order_node){inputs[40], 2, 41, false};
    size[41] = 1;
    kept[41] = true;
    for (uint32_t n = 0; n < 41; n++) {
        order[n] = n;
    }
    assert_int_equal(data_peak(&g, order), 3000);
    assert_int_equal(find(&g, order, &exact), 2001);
    assert_true(exact);
}

static void sums_overwrite_what_dies(void **state)
{
    (void)state;
    uint32_t inputs[3][2] = {{0, 0}, {0, 1}, {2, 2}}, order[3];
    struct srpi_order_node nodes[] = {
        {inputs[0], 1, 1, false}, {inputs[1], 2, 2, true}, {inputs[2], 2, 3, true}};
    const size_t size[] = {64, 64, 64, 64};
    bool kept[] = {false, false, false, true};
    const struct srpi_order_graph g = {3, nodes, 4, size, kept};
    /* 0 and 1 into 2, which takes 0's place; then 2 + 2, which must not overwrite itself. */
    assert_int_equal(find(&g, order, NULL), 128);
    nodes[1].in_place = false;
    assert_int_equal(find(&g, order, NULL), 192);
    nodes[1].in_place = true;
    kept[0] = kept[1] = true;
    assert_int_equal(find(&g, order, NULL), 256);
}

/* Beyond what can be searched: better than the given order, and the same each time. */
static void large_graphs(void **state)
{
    (void)state;
    static struct order_data d;
    static uint32_t given[SRP_MAX_NODES], order[SRP_MAX_NODES], again[SRP_MAX_NODES];
    for (int kind = 0; kind < DATA_KINDS; kind++) {
        data_make(&d, SRP_MAX_NODES, (enum data_kind)kind, 1);
        for (uint32_t n = 0; n < SRP_MAX_NODES; n++) {
            given[n] = n;
        }
        assert_true(find(&d.graph, order, NULL) < data_peak(&d.graph, given));
        find(&d.graph, again, NULL);
        assert_memory_equal(order, again, sizeof(order));
    }
}

static void refuses_bad_graphs(void **state)
{
    (void)state;
    uint32_t inputs[2][2] = {{0, 0}, {1, 0}}, order[2];
    struct srpi_order_node nodes[] = {{inputs[0], 1, 1, false}, {inputs[1], 2, 2, false}};
    size_t size[] = {64, 64, 64}, peak = 7;
    const bool kept[] = {false, false, true};
    struct srpi_order_graph g = {2, nodes, 3, size, kept};
    struct srp_error err = {0};
    assert_int_equal(srpi_order_find(&g, order, &peak, NULL, &err), SRP_OK);
    size[1] = SIZE_MAX - 100;
    enum srp_err rc = srpi_order_find(&g, order, &peak, NULL, &err);
    check_failure(rc, SRP_ERR_LIMIT, &err, "does not fit", "sum of sizes");
    size[1] = 64;
    inputs[0][0] = 2;
    rc = srpi_order_find(&g, order, &peak, NULL, &err);
    check_failure(rc, SRP_ERR_GRAPH, &err, "node 0 of the order: input 2", "read before written");
    inputs[0][0] = 3;
    rc = srpi_order_find(&g, order, &peak, NULL, &err);
    check_failure(rc, SRP_ERR_GRAPH, &err, "input 3", "no such tensor");
    inputs[0][0] = 0;
    nodes[1].output = 1;
    rc = srpi_order_find(&g, order, &peak, NULL, &err);
    check_failure(rc, SRP_ERR_GRAPH, &err, "output 1", "written twice");
    g.node_count = 0;
    rc = srpi_order_find(&g, order, &peak, NULL, &err);
    check_failure(rc, SRP_ERR_LIMIT, &err, "0 nodes", "no nodes");
    g.node_count = SRP_MAX_NODES + 1;
    rc = srpi_order_find(&g, order, &peak, NULL, &err);
    check_failure(rc, SRP_ERR_LIMIT, &err, "513 nodes", "too many nodes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_lowest_peak),
        cmocka_unit_test(branches_go_one_after_the_other),
        cmocka_unit_test(sums_overwrite_what_dies),
        cmocka_unit_test(large_graphs),
        cmocka_unit_test(refuses_bad_graphs),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
