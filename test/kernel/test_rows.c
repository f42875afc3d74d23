/* SPDX-License-Identifier: BSD-2-Clause */
/* Every set of row kernels that this machine can run, against the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>

#include "kernel/rows.h"
#include "model/graph.h"

static void check_all(const char *(*check)(const struct srpi_kernels *))
{
    for (int isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        const struct srpi_kernels *k = srpi_kernels_of((enum srpi_isa)isa);
        const char *why = k != NULL ? check(k) : NULL;
        if (why != NULL) {
            fail_msg("%s: %s", k->name, why);
        }
    }
}

static const char *many(const struct srpi_kernels *k)
{
    return check_random(k, 600);
}

static void random_shapes(void **state)
{
    (void)state;
    check_all(many);
}

static void row_widths(void **state)
{
    (void)state;
    check_all(check_widths);
}

static void runs_of_taps(void **state)
{
    (void)state;
    check_all(check_runs);
}

static void rows_together(void **state)
{
    (void)state;
    check_all(check_rows_together);
}

static void rows_with_sums_of_their_own(void **state)
{
    (void)state;
    check_all(check_split);
}

static void few_outputs(void **state)
{
    (void)state;
    check_all(check_few);
}

static void made_for_models(void **state)
{
    (void)state;
    check_all(check_made);
}

/* Each convolution of models/ (the build gives them all to the generator) has its own kernels. */
static void every_model_has_its_own(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob("models/*.json", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        static char text[1 << 20];
        struct srpi_graph graph = {0};
        FILE *file = fopen(found.gl_pathv[i], "rb");
        assert_non_null(file);
        const size_t size = fread(text, 1, sizeof(text), file);
        fclose(file);
        assert_int_equal(srpi_graph_read(&graph, &(struct srp_blob){text, size, NULL}, NULL), 0);
        for (uint32_t n = 0; n < graph.node_count; n++) {
            const struct srpi_node *node = &graph.nodes[n];
            for (int isa = SRPI_ISA_AVX2; node->op == SRPI_OP_CONV2D && isa < SRPI_ISA_COUNT; isa++) {
                const struct srpi_kernels *k = srpi_kernels_of((enum srpi_isa)isa);
                for (int pair = 0; k != NULL && pair < DTYPE_PAIRS; pair++) {
                    const struct srpi_conv_shape shape = {
                        node->kernel_height, node->kernel_width,
                        graph.tensors[node->inputs[0]].channels,
                        graph.tensors[node->output].channels, dtype_pairs[pair].in,
                        dtype_pairs[pair].out, false};
                    const char *name = NULL;
                    const srpi_conv_fn fn = k->find(&shape, &name);
                    assert_int_equal(fn != NULL, k->has[shape.in]);
                    assert_true(fn == NULL || strstr(name, "->") != NULL);
                }
            }
        }
        srpi_graph_free(&graph);
    }
    globfree(&found);
}

static void golden_hash_on_every_set(void **state)
{
    (void)state;
    check_all(check_golden);
}

/* The best set is the last that can be had: a build that forgot the others fails. */
static void registry(void **state)
{
    (void)state;
    int best = 0, count = 0;
    for (int isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        const struct srpi_kernels *k = srpi_kernels_of((enum srpi_isa)isa);
        if (k != NULL) {
            assert_int_equal(k->isa, isa);
            assert_true(k->has[SRPI_F32] && k->has[SRPI_Q8]);
            best = isa;
            count++;
        }
    }
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    assert_true(count > 1 || !avx2);
#endif
    if (getenv("SRP_CPU") == NULL) {
        assert_int_equal(srpi_kernels_best()->isa, best);
    }
    assert_null(srpi_kernels_of(SRPI_ISA_COUNT));
    const struct srpi_conv_shape huge = {SRP_MAX_KERNEL, SRP_MAX_KERNEL, UINT32_MAX / 16,
                                         UINT32_MAX / 16, SRPI_F32, SRPI_F32, false};
    assert_int_equal(srpi_kernels_of(SRPI_ISA_SCALAR)->packed_size(&huge), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(row_widths),
        cmocka_unit_test(runs_of_taps),
        cmocka_unit_test(rows_together),
        cmocka_unit_test(rows_with_sums_of_their_own), cmocka_unit_test(few_outputs),
        cmocka_unit_test(made_for_models),
        cmocka_unit_test(every_model_has_its_own),
        cmocka_unit_test(golden_hash_on_every_set),
        cmocka_unit_test(registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
