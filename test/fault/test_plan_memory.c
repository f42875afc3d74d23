/* SPDX-License-Identifier: BSD-2-Clause */
/* Each allocation of the planner fails in turn: NOMEM, nothing leaks (AddressSanitizer looks). The
 * sources are compiled into this program with other allocators, as in test_no_memory.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned countdown; /* allocations until the failing one; 0: none fails */
static unsigned failures;

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0) {
        return false;
    }
    failures++;
    return true;
}

static void *scarce_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *scarce_calloc(size_t count, size_t size)
{
    return fails() ? NULL : calloc(count, size);
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#include "plan/layout.c"
#include "plan/order.c"
#include "plan/place.c"
#include "plan/shape.c"
#undef malloc
#undef calloc

#include "model_data.h"
#include "plan_data.h"

static struct order_data data;
static struct srpi_graph graph;

static enum srp_err lay_out(struct srp_error *err)
{
    struct srpi_layout layout;
    const enum srp_err rc = srpi_layout_create(&layout, &data.graph, 64, err);
    assert_true((rc == SRP_OK) == (layout.memory != NULL));
    srpi_layout_destroy(&layout);
    return rc;
}

static enum srp_err infer(struct srp_error *err)
{
    struct srpi_shape given[SRP_MAX_NODES + 1];
    struct srpi_shapes shapes;
    srpi_shapes_start(given, &graph, srpi_dim_constant(1));
    const enum srp_err rc = srpi_shapes_infer(&shapes, &graph, given, err);
    assert_true((rc == SRP_OK) == (shapes.tensors != NULL));
    srpi_shapes_destroy(&shapes);
    return rc;
}

/* Returns how many allocations there are. */
static unsigned starve(enum srp_err (*run)(struct srp_error *))
{
    for (unsigned n = 1;; n++) {
        struct srp_error err = {0};
        countdown = n;
        failures = 0;
        const enum srp_err rc = run(&err);
        countdown = 0;
        if (failures == 0) {
            assert_int_equal(rc, SRP_OK);
            return n - 1;
        }
        check_failure(rc, SRP_ERR_NOMEM, &err, "memory", "starved");
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const struct srp_blob blob = {full_graph, strlen(full_graph), NULL};
    assert_int_equal(srpi_graph_read(&graph, &blob, NULL), SRP_OK);
    assert_int_equal(starve(infer), 1);
    srpi_graph_free(&graph);
    /* Large enough for every kind of search. */
    data_make(&data, 40, DATA_ANY, 1);
    assert_true(starve(lay_out) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("plan memory", tests, NULL, NULL);
}
