/* SPDX-License-Identifier: BSD-2-Clause */
/* All backends run the same random networks: each agrees with the reference, whatever the size, the
 * order of sizes and the number of threads. And no two tensors that live at once share memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/model.h>

#include "exec/plan.h"
#include "kernel/noise.h"
#include "kernel/sketch.h"
#include "model/model.h"

static struct srp_executor *executor_in(struct srp_model *model, enum srp_backend backend,
                                        uint32_t threads, enum srp_dtype dtype)
{
    struct srp_executor *ex = NULL;
    struct srp_error err = {0};
    const struct srp_executor_params params = {
        .model = model, .backend = backend, .threads = threads, .dtype = dtype};
    if (srp_executor_create(&ex, &params, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    return ex;
}

static struct srp_executor *executor(struct srp_model *model, enum srp_backend backend,
                                     uint32_t threads)
{
    return executor_in(model, backend, threads, SRP_DTYPE_F32);
}

static const uint32_t sizes[][2] = {{17, 31}, {1, 1}, {67, 67}, {1, 7}, {5, 1}, {2, 2}, {33, 16}};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void check_graph(uint32_t seed, enum srp_backend backend)
{
    static struct sketch sketch;
    draw(&sketch, seed);
    struct srp_model *model = model_from(sketch.json, seed);
    struct srp_model_info info;
    srp_model_get_info(model, &info);
    struct srp_executor *reference = executor(model, SRP_BACKEND_REFERENCE, 1);
    struct srp_executor *one = executor(model, backend, 1);
    struct srp_executor *many = executor(model, backend, seed % 2 ? 2 : 5);
    const size_t most = (size_t)67 * 67 * info.channels, cell = (size_t)info.scale * info.scale;
    float *in = calloc(most, sizeof(float)), *a = calloc(most * cell, sizeof(float));
    float *b = calloc(most * cell, sizeof(float)), *c = calloc(most * cell, sizeof(float));
    assert_true(in != NULL && a != NULL && b != NULL && c != NULL);
    for (size_t i = 0; i < SIZES; i++) {
        if (sizes[i][0] == 67 && seed % 8 != 0) {
            continue; /* the plain reference is slow */
        }
        const uint32_t w = sizes[i][1], h = sizes[i][0];
        const size_t count = (size_t)w * h * info.channels;
        struct srp_error err = {0};
        noise_fill(in, count, &sketch.seed);
        assert_int_equal(srp_executor_run(reference, in, w, h, a, &err), SRP_OK);
        assert_int_equal(srp_executor_run(one, in, w, h, b, &err), SRP_OK);
        assert_int_equal(srp_executor_run(many, in, w, h, c, &err), SRP_OK);
        assert_memory_equal(b, c, count * cell * sizeof(float));
        double largest = 0.0;
        for (size_t k = 0; k < count * cell; k++) {
            largest = fmax(largest, fabs((double)a[k]));
            if (!(fabs((double)a[k] - (double)b[k]) <= 1e-4 * (1.0 + fabs((double)a[k])))) {
                fail_msg("%s, %ux%u, element %zu: %g instead of %g\n%s", srp_backend_name(backend),
                         w, h, k, (double)b[k], (double)a[k], sketch.json);
            }
        }
        assert_true(largest > 0.0);
    }
    free(in), free(a), free(b), free(c);
    srp_executor_destroy(&reference);
    srp_executor_destroy(&one);
    srp_executor_destroy(&many);
    srp_model_unref(&model);
}

#define GRAPHS 40u

static void check_backend(enum srp_backend backend)
{
    enum srp_backend found;
    const enum srp_err code = srp_backend_from_name(&found, srp_backend_name(backend));
    if (code == SRP_OK) {
        assert_int_equal(found, backend);
        for (uint32_t seed = 0; seed < GRAPHS; seed++) {
            check_graph(seed, backend);
        }
        return;
    }
    /* Not in this build or not for this machine: refused by name, with one line that says so. */
    assert_int_equal(code, SRP_ERR_UNSUPPORTED);
    static struct sketch sketch;
    draw(&sketch, 0);
    struct srp_model *model = model_from(sketch.json, 0);
    struct srp_executor *ex = NULL;
    struct srp_error err = {0};
    const struct srp_executor_params params = {.model = model, .backend = backend, .threads = 1};
    assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.detail, srp_backend_name(backend)));
    assert_null(ex);
    srp_model_unref(&model);
}

static void test_xnnpack(void **state)
{
    (void)state;
    check_backend(SRP_BACKEND_XNNPACK);
}

static void test_native(void **state)
{
    (void)state;
    check_backend(SRP_BACKEND_NATIVE);
}

static void test_reference_threads(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 10; seed++) {
        check_graph(seed, SRP_BACKEND_REFERENCE);
    }
}

/* int8 is defined by the reference, bit for bit; sizes go up and down, as plans are kept. */
static void test_int8(void **state)
{
    (void)state;
    static struct sketch sketch;
    for (uint32_t seed = 0; seed < 60; seed++) {
        draw(&sketch, seed);
        struct srp_model *model = model_from(sketch.json, seed);
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        struct srp_executor *reference =
            executor_in(model, SRP_BACKEND_REFERENCE, 1, SRP_DTYPE_INT8);
        struct srp_executor *native =
            executor_in(model, SRP_BACKEND_NATIVE, 1 + seed % 3, SRP_DTYPE_INT8);
        const size_t most = (size_t)33 * 31 * info.channels;
        const size_t cell = (size_t)info.scale * info.scale;
        float *in = calloc(most, sizeof(float)), *a = calloc(most * cell, sizeof(float));
        float *b = calloc(most * cell, sizeof(float));
        assert_true(in != NULL && a != NULL && b != NULL);
        for (size_t i = 0; i < SIZES; i++) {
            const uint32_t w = sizes[i][1] % 34, h = sizes[i][0] % 34;
            const size_t count = (size_t)w * h * info.channels;
            struct srp_error err = {0};
            if (count == 0 || count > most) {
                continue;
            }
            noise_fill(in, count, &sketch.seed);
            for (size_t k = 0; k < count; k++) {
                in[k] = in[k] * 0.6f + 0.5f; /* some of it beyond 0 and 1 */
            }
            assert_int_equal(srp_executor_run(reference, in, w, h, a, &err), SRP_OK);
            assert_int_equal(srp_executor_run(native, in, w, h, b, &err), SRP_OK);
            for (size_t k = 0; k < count * cell; k++) {
                if (memcmp(&a[k], &b[k], sizeof(float)) != 0) {
                    fail_msg("%ux%u, value %zu: %.9g instead of %.9g\n%s", w, h, k, (double)b[k],
                             (double)a[k], sketch.json);
                }
            }
        }
        free(in), free(a), free(b);
        srp_executor_destroy(&reference);
        srp_executor_destroy(&native);
        srp_model_unref(&model);
    }
}

static void test_plan(void **state)
{
    (void)state;
    static struct sketch sketch;
    for (uint32_t seed = 0; seed < 200; seed++) {
        draw(&sketch, seed);
        struct srp_model *model = model_from(sketch.json, seed);
        const struct srpi_graph *graph = srpi_model_graph(model);
        struct srpi_plan plan;
        const uint32_t wanted[2] = {graph->output, graph->input};
        const uint32_t count = 1 + seed % 2;
        assert_int_equal(srpi_plan_create(&plan, graph, wanted, count, NULL), SRP_OK);
        assert_int_equal(srpi_plan_place(&plan, 1 + seed, 3, NULL), SRP_OK);
        size_t separate = 0;
        for (uint32_t a = 0; a < graph->tensor_count; a++) {
            assert_true(plan.needed[a]);
            assert_int_equal(plan.offset[a] % SRPI_PLAN_ALIGN, 0);
            assert_true(plan.offset[a] + plan.size[a] <= plan.arena_bytes);
            separate += plan.size[a];
            /* Lives from the graph, not from the plan: written by its node, read until last_use. */
            const uint32_t a_end = a == 0 && count == 2 ? graph->node_count
                                                        : graph->tensors[a].last_use;
            for (uint32_t b = a + 1; b < graph->tensor_count; b++) {
                const bool apart = plan.offset[a] + plan.size[a] <= plan.offset[b] ||
                                   plan.offset[b] + plan.size[b] <= plan.offset[a];
                /* b is written by node b - 1; an operand of an in-place join may end there. */
                const enum srpi_op op = graph->nodes[b - 1].op;
                const bool sum = (op == SRPI_OP_ADD || op == SRPI_OP_MUL) &&
                                 plan.root[a] == plan.root[b];
                if (!apart && !(sum ? a_end <= b - 1 : a_end < b - 1)) {
                    fail_msg("tensors %u and %u overlap\n%s", a, b, sketch.json);
                }
            }
        }
        assert_true(plan.arena_bytes <= separate);
        assert_int_equal(srpi_plan_place(&plan, 0, 3, NULL), SRP_ERR_LIMIT);
        assert_int_equal(srpi_plan_place(&plan, 3, SRP_MAX_DIMENSION + 1, NULL), SRP_ERR_LIMIT);
        assert_int_equal(
            srpi_plan_place(&plan, SRP_MAX_DIMENSION, SRP_MAX_DIMENSION, NULL), SRP_ERR_LIMIT);
        srpi_plan_destroy(&plan);
        srp_model_unref(&model);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    enum srp_backend backend;
    assert_int_equal(srp_backend_from_name(&backend, "fast"), SRP_ERR_USAGE);
    assert_int_equal(srp_backend_from_name(&backend, "auto"), SRP_OK);
    assert_int_equal(backend, SRP_BACKEND_AUTO);
    static struct sketch sketch;
    draw(&sketch, 1);
    struct srp_model *model = model_from(sketch.json, 1);
    struct srp_executor *ex = NULL;
    struct srp_error err = {0};
    struct srp_executor_params params = {.threads = 1};
    assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_ERR_USAGE);
    params.model = model;
    params.threads = SRP_MAX_THREADS + 1;
    assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_ERR_LIMIT);
    params.threads = 1;
    params.backend = (enum srp_backend)99;
    assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_ERR_UNSUPPORTED);
    params.backend = SRP_BACKEND_AUTO;
    assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_OK);
    struct srp_executor_info info;
    srp_executor_get_info(ex, &info);
    assert_true(info.backend != SRP_BACKEND_AUTO);
    assert_int_equal(info.arena_bytes, 0);
    float pixel[64];
    assert_int_equal(srp_executor_run(ex, NULL, 1, 1, pixel, &err), SRP_ERR_USAGE);
    assert_int_equal(srp_executor_reserve(ex, 0, 5, &err), SRP_ERR_LIMIT);
    assert_int_equal(srp_executor_reserve(ex, 16384, 16384, &err), SRP_ERR_LIMIT);
    assert_int_equal(srp_executor_reserve(ex, 9, 5, &err), SRP_OK);
    srp_executor_get_info(ex, &info);
    assert_true(info.arena_bytes > 0);
    srp_executor_destroy(&ex);
    srp_executor_destroy(&ex);
    srp_model_unref(&model);
}

/* What was made of a model goes on without its parameters, and nothing more is made. */
static void test_dropped(void **state)
{
    (void)state;
    static struct sketch sketch;
    draw(&sketch, 3);
    struct srp_model *model = model_from(sketch.json, 7);
    struct srp_model_info info;
    srp_model_get_info(model, &info);
    struct srp_error err = {0};
    const size_t in_count = (size_t)20 * 12 * info.channels;
    const size_t out_count = in_count * info.scale * info.scale;
    float *in = calloc(in_count, sizeof(float)), *out = calloc(2 * out_count, sizeof(float));
    assert_true(in != NULL && out != NULL);
    for (size_t i = 0; i < in_count; i++) {
        in[i] = (float)(i * 37 % 256) / 255.0f;
    }
    struct srp_executor_params params = {
        .model = model, .backend = SRP_BACKEND_REFERENCE, .threads = 1};
    struct srp_executor *ex = NULL;
    assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_OK);
    assert_int_equal(srp_model_drop_parameters(model, &err), SRP_ERR_USAGE);
    srp_executor_destroy(&ex);
    for (int i = 0; i < 2; i++) {
        params.backend = SRP_BACKEND_NATIVE;
        params.dtype = i == 0 ? SRP_DTYPE_INT8 : SRP_DTYPE_F32;
        assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_OK);
        assert_int_equal(srp_executor_run(ex, in, 20, 12, out, &err), SRP_OK);
        assert_int_equal(srp_model_drop_parameters(model, &err), SRP_OK);
        assert_int_equal(srp_executor_run(ex, in, 20, 12, out + out_count, &err), SRP_OK);
        assert_memory_equal(out, out + out_count, out_count * sizeof(float));
        srp_executor_destroy(&ex);
        for (int b = 0; b < 2; b++) {
            params.backend = b == 0 ? SRP_BACKEND_NATIVE : SRP_BACKEND_REFERENCE;
            assert_int_equal(srp_executor_create(&ex, &params, &err), SRP_ERR_USAGE);
            assert_non_null(strstr(err.detail, "dropped"));
        }
        srp_model_unref(&model);
        model = params.model = model_from(sketch.json, 7);
    }
    assert_int_equal(srp_model_drop_parameters(NULL, &err), SRP_ERR_USAGE);
    srp_model_unref(&model);
    free(in);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xnnpack),   cmocka_unit_test(test_native),
        cmocka_unit_test(test_reference_threads), cmocka_unit_test(test_int8),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
