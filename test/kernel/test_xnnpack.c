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
#include "model/model.h"

#define TENSORS 40

struct sketch {
    char json[16384];
    size_t used;
    uint32_t count;             /* tensors t1..count exist; t0 is the input */
    uint32_t channels[TENSORS]; /* of each */
    bool read[TENSORS];
    uint32_t seed;
};

__attribute__((format(printf, 2, 3))) static void put(struct sketch *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(s->json + s->used, sizeof(s->json) - s->used, format, arguments);
    va_end(arguments);
    assert_true(length > 0 && s->used + (size_t)length < sizeof(s->json));
    s->used += (size_t)length;
}

static const char *random_activation(struct sketch *s, bool prelu)
{
    static const char *const all[] = {
        "\"none\"", "\"relu\"", "\"leaky_relu\", \"alpha\": 0.2",
        "\"clip\", \"min\": -0.5, \"max\": 0.75", "\"tanh\"", "\"sigmoid\"", "\"prelu\""};
    return all[noise(&s->seed) % (prelu ? 7 : 6)];
}

static uint32_t put_conv(struct sketch *s, uint32_t from, uint32_t channels)
{
    const uint32_t to = ++s->count;
    put(s,
        "{\"op\":\"conv2d\",\"name\":\"c%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\",\"channels\":%u,"
        "\"kernel\":[%u,%u],\"activation\":%s},",
        to, from, to, channels, 1 + 2 * (noise(&s->seed) % 3), 1 + 2 * (noise(&s->seed) % 3),
        random_activation(s, true));
    s->read[from] = true;
    s->channels[to] = channels;
    return to;
}

static void draw(struct sketch *s, uint32_t seed)
{
    static const char *const colours[] = {"y", "rgb", "yuv420"};
    static const uint32_t colour_channels[] = {1, 3, 6};
    static const char *const modes[] = {"nearest", "bilinear", "bicubic"};
    memset(s, 0, sizeof(*s));
    s->seed = seed * 7919 + 1;
    const uint32_t colour = noise(&s->seed) % 3, scale = 1 + noise(&s->seed) % 4;
    const uint32_t channels = colour_channels[colour];
    s->channels[0] = channels;
    put(s,
        "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"random%u\",\"scale\":%u,\"colour\":\"%s\","
        "\"mean\":0.25,\"input\":\"t0\",\"output\":\"y\",\"nodes\":[",
        seed, scale, colours[colour]);
    uint32_t last = put_conv(s, 0, 1 + noise(&s->seed) % 20);
    const uint32_t steps = 1 + noise(&s->seed) % 6;
    for (uint32_t i = 0; i < steps; i++) {
        const uint32_t kind = noise(&s->seed) % 5;
        const uint32_t other = noise(&s->seed) % (s->count + 1); /* any tensor so far */
        if (kind < 2) {
            last = put_conv(s, last, 1 + noise(&s->seed) % 34);
        } else if (kind == 2) {
            const uint32_t a = put_conv(s, other, s->channels[last]), to = ++s->count;
            const bool third = s->channels[1] == s->channels[last] && noise(&s->seed) % 2 == 0;
            put(s,
                "{\"op\":\"%s\",\"name\":\"a%u\",\"inputs\":[\"t%u\",\"t%u\"%s],\"output\":\"t%u\","
                "\"activation\":%s},",
                noise(&s->seed) % 2 ? "add" : "mul", to, last, a, third ? ",\"t1\"" : "", to,
                random_activation(s, false));
            s->read[last] = s->read[a] = true;
            s->channels[to] = s->channels[last];
            last = to;
        } else if (kind == 3) {
            const uint32_t first = noise(&s->seed) % s->channels[last], to = ++s->count;
            s->channels[to] = 1 + noise(&s->seed) % (s->channels[last] - first);
            put(s,
                "{\"op\":\"slice\",\"name\":\"i%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\","
                "\"first\":%u,\"channels\":%u},",
                to, last, to, first, s->channels[to]);
            s->read[last] = true;
            last = to;
        } else {
            const uint32_t to = ++s->count;
            put(s,
                "{\"op\":\"concat\",\"name\":\"k%u\",\"inputs\":[\"t%u\",\"t%u\"],\"output\":\"t%u\"},",
                to, last, other, to);
            s->read[last] = s->read[other] = true;
            s->channels[to] = s->channels[last] + s->channels[other];
            last = to;
        }
    }
    /* Whatever nobody has read yet joins in at the end. */
    const uint32_t loose = s->count;
    for (uint32_t t = 0; t < loose; t++) {
        if (!s->read[t] && t != last) {
            const uint32_t to = ++s->count;
            put(s,
                "{\"op\":\"concat\",\"name\":\"k%u\",\"inputs\":[\"t%u\",\"t%u\"],\"output\":\"t%u\"},",
                to, last, t, to);
            s->channels[to] = s->channels[last] + s->channels[t];
            last = to;
        }
    }
    last = put_conv(s, last, channels * scale * scale);
    put(s,
        "{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"t%u\"],\"output\":\"%s\",\"block\":%u,"
        "\"order\":\"%s\"}",
        last, seed % 3 ? "d" : "y", scale, noise(&s->seed) % 2 ? "crd" : "dcr");
    if (seed % 3) {
        put(s,
            ",{\"op\":\"resize\",\"name\":\"b\",\"inputs\":[\"t0\"],\"output\":\"b\",\"scale\":%u,"
            "\"mode\":\"%s\"},{\"op\":\"add\",\"name\":\"e\",\"inputs\":[\"d\",\"b\"],\"output\":\"y\"}",
            scale, modes[noise(&s->seed) % 3]);
    }
    put(s, "]}");
}

static struct srp_model *model_from(const char *json, uint64_t seed)
{
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    const struct srp_blob blob = {.data = json, .size = strlen(json), .name = "graph"};
    if (srp_model_create_random(&model, &blob, seed, &err) != SRP_OK) {
        fail_msg("%s\n%s", err.detail, json);
    }
    return model;
}

static struct srp_executor *executor(struct srp_model *model, enum srp_backend backend,
                                     uint32_t threads)
{
    struct srp_executor *ex = NULL;
    struct srp_error err = {0};
    const struct srp_executor_params params = {
        .model = model, .backend = backend, .threads = threads};
    if (srp_executor_create(&ex, &params, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    return ex;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xnnpack),   cmocka_unit_test(test_native),
        cmocka_unit_test(test_reference_threads), cmocka_unit_test(test_plan),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
