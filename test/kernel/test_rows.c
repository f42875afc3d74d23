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

/* Those of bytes too where no set has bytes: they ask for no more than AVX2. */
static void depthwise(void **state)
{
    (void)state;
#if defined(__x86_64__)
    const char *why = NULL;
    if (srpi_kernels_of(SRPI_ISA_AVX2) != NULL) {
        why = check_depthwise(&srpi_depthwise_words, 1500);
        why = why == NULL ? check_depthwise(&srpi_depthwise_bytes, 1500) : why;
    }
    if (why != NULL) {
        fail_msg("%s", why);
    }
#endif
}

/* One weight elsewhere, however small, and a layer is none. */
static void depthwise_by_its_weights(void **state)
{
    (void)state;
    enum { CHANNELS = 8, COUNT = CHANNELS * CHANNELS * 3 };
    const struct srpi_kernels *k = srpi_kernels_of(SRPI_ISA_AVX2);
    float weights[COUNT] = {0.0f};
    int16_t codes[COUNT] = {0};
    struct srpi_conv_shape real = {3, 1, CHANNELS, CHANNELS, SRPI_F32, SRPI_F32, false};
    const struct srpi_conv_shape whole = {1, 3, CHANNELS, CHANNELS, SRPI_Q8, SRPI_Q8, false};
    for (size_t c = 0; k != NULL && c < CHANNELS; c++) {
        weights[(c * CHANNELS + c) * 3 + c % 3] = 1.0f;
        codes[(c * CHANNELS + c) * 3 + c % 3] = 1;
    }
    for (size_t i = 0; k != NULL && i < COUNT; i++) {
        const bool own = i / 3 / CHANNELS == i / 3 % CHANNELS;
        const float before = weights[i];
        weights[i] = 1e-30f;
        assert_true((srpi_depthwise_for(k, &real, weights) != NULL) == own);
        weights[i] = before;
        codes[i] += 1;
        assert_true((srpi_depthwise_for(k, &whole, codes) != NULL) == own);
        codes[i] -= 1;
    }
    assert_null(srpi_depthwise_for(srpi_kernels_of(SRPI_ISA_SCALAR), &real, weights));
    real.in_channels = real.out_channels = CHANNELS - 1;
    assert_true(k == NULL || srpi_depthwise_for(k, &real, weights) == NULL);
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
        cmocka_unit_test(depthwise),
        cmocka_unit_test(depthwise_by_its_weights),
        cmocka_unit_test(made_for_models),
        cmocka_unit_test(every_model_has_its_own),
        cmocka_unit_test(golden_hash_on_every_set),
        cmocka_unit_test(registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
