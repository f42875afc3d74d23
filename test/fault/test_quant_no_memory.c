/* SPDX-License-Identifier: BSD-2-Clause */
/* Each allocation of the quantiser and of the int8 reference fails in turn, as in
 * test_no_memory.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Allocations until the failing one; 0: none fails. */
static unsigned countdown;
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

static void *scarce_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : aligned_alloc(alignment, size);
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#define aligned_alloc scarce_aligned_alloc
#include "plan/program.c"
#include "quant/calibrate.c"
#include "quant/describe.c"
#include "quant/layers.c"
#include "quant/quant.c"
#include "quant/reference.c"
#undef malloc
#undef calloc
#undef aligned_alloc

#include "model_data.h"

static struct srp_model *model;

static enum srp_err run_all(struct srp_error *err)
{
    static const uint8_t codes[6] = {0, 255, 128, 1, 2, 3}, fractions[6] = {9, 0, 255, 1, 7, 128};
    const struct srpi_graph *graph = srpi_model_graph(model);
    struct srpi_program program = {0};
    struct srpi_quant quant = {0};
    float out[6 * 16];

    enum srp_err rc = srpi_program_create(&program, graph, graph->output, true, err);
    if (rc == SRP_OK) {
        rc = srpi_quant_create(&quant, &program, err);
        assert_true((rc == SRP_OK) == (quant.memory != NULL));
    }
    if (rc == SRP_OK) {
        rc = srpi_quant_run(&quant, codes, fractions, 3, 2, out, err);
    }
    srpi_quant_destroy(&quant);
    srpi_program_destroy(&program);
    return rc;
}

/* Every tensor that may have them with 16 bits, the input too. */
static enum srp_err run_fine(struct srp_error *err)
{
    struct srpi_stated_range ranges[64];
    struct srpi_graph *graph = &model->graph;
    assert_true(graph->tensor_count <= 64);
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct srpi_node *node =
            t == graph->input ? NULL : &graph->nodes[graph->tensors[t].producer];
        ranges[t] = (struct srpi_stated_range){
            .low = -1.0f, .high = 1.0f, .fine = node == NULL || node->op == SRPI_OP_ADD};
    }
    graph->ranges = ranges;
    const enum srp_err rc = run_all(err);
    graph->ranges = NULL;
    return rc;
}

static enum srp_err describe(struct srp_error *err)
{
    const struct srp_quant_params params = {.model = model};
    char *text = NULL;
    enum srp_err rc = srp_quant_describe(&text, &params, SRP_QUANT_JSON, err);
    assert_true((rc == SRP_OK) == (text != NULL));
    srp_quant_free(text);
    return rc;
}

static unsigned starve(enum srp_err (*run)(struct srp_error *))
{
    for (unsigned count = 1;; count++) {
        struct srp_error err = {0};
        countdown = count;
        failures = 0;
        enum srp_err rc = run(&err);
        countdown = 0;
        if (failures == 0) {
            assert_int_equal(rc, SRP_OK);
            return count;
        }
        check_failure(rc, SRP_ERR_NOMEM, &err, "memory", "starved");
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    assert_true(starve(run_all) > 60);
    assert_true(starve(run_fine) > 60);
    assert_true(starve(describe) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    struct srp_blob graph = {full_graph, strlen(full_graph), NULL};
    if (srp_model_create_random(&model, &graph, 1, NULL) != SRP_OK) {
        return 1;
    }
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    srp_model_unref(&model);
    return rc;
}
