/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs by streams: whatever the height of blocks, the number of threads and the cut into
 * regions, the pixels are those of the whole picture, and nothing is written outside of the memory
 * that was planned. That the pixels are right at all, test_backends.c says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "exec/stream.h"
#include "kernel/noise.h"
#include "kernel/sketch.h"
#include "model/model.h"

#define WIDTH 61u
#define HEIGHT 53u
#define CANARY 0x5a

struct rig {
    struct srp_model *model;
    const struct srpi_graph *graph;
    struct srpi_pool *pool;
    struct srpi_program program;
    struct srpi_layers layers;
    struct srpi_stream stream;
    struct srpi_codec codec;
    char *arena;
    size_t size;
    const uint8_t *codes; /* the picture: HEIGHT x WIDTH x channels */
    float *out;
    /* What the wanted tensor is, or NULL; values around a region's that were not that. */
    const float *expected;
    double tolerance;
    atomic_uint wrong;
};

static void rig_make(struct rig *rig, const char *json, uint32_t threads, enum srpi_dtype dtype,
                     const struct srpi_sink *sink)
{
    struct srp_error err = {0};
    memset(rig, 0, sizeof(*rig));
    rig->model = model_from(json, 5);
    rig->graph = srpi_model_graph(rig->model);
    assert_int_equal(srpi_pool_create(&rig->pool, threads, &err), SRP_OK);
    assert_int_equal(srpi_program_create(&rig->program, rig->graph, rig->graph->output, true, &err),
                     SRP_OK);
    if (srpi_layers_create(&rig->layers, &rig->program, srpi_kernels_best(), dtype, &err) !=
        SRP_OK) {
        fail_msg("%s\n%s", err.detail, json);
    }
    assert_int_equal(srpi_stream_create(&rig->stream, &rig->layers, rig->pool, sink, &err), SRP_OK);
    rig->codec = srpi_layers_codec(&rig->layers, rig->graph->input);
    if (dtype == SRPI_Q8) {
        rig->codec.inverse = 1.0f; /* codes as they are */
        rig->codec.zero = 0.0f;
    }
}

static void rig_free(struct rig *rig)
{
    srpi_stream_destroy(&rig->stream);
    srpi_layers_destroy(&rig->layers);
    srpi_program_destroy(&rig->program);
    srpi_pool_destroy(&rig->pool);
    srp_model_unref(&rig->model);
    free(rig->arena);
    free(rig->out);
}

static void rig_plan(struct rig *rig, uint32_t block)
{
    struct srp_error err = {0};
    rig->stream.params.block = block;
    assert_int_equal(srpi_stream_reserve(&rig->stream, WIDTH, HEIGHT, WIDTH, HEIGHT, &err), SRP_OK);
    free(rig->arena);
    free(rig->out);
    rig->size = rig->stream.plan.arena_bytes + SRPI_ROW_SLACK;
    rig->arena = aligned_alloc(64, (rig->size + 64 + 63) / 64 * 64);
    const size_t pixels = (size_t)WIDTH * HEIGHT * rig->graph->scale * rig->graph->scale;
    rig->out = calloc(pixels * rig->graph->channels, sizeof(float));
    assert_true(rig->arena != NULL && rig->out != NULL);
    memset(rig->arena, CANARY, rig->size + 64);
    srpi_stream_attach(&rig->stream, rig->arena);
}

static void load(void *context, uint32_t worker, uint32_t y, struct srpi_span columns, void *row)
{
    const struct rig *rig = context;
    const uint32_t channels = rig->graph->channels;
    const uint8_t *codes = rig->codes + ((size_t)y * WIDTH + columns.begin) * channels;
    float values[WIDTH * 6];
    const uint32_t count = (columns.end - columns.begin) * channels;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = rig->codec.dtype == SRPI_Q8 ? (float)codes[i]
                                                : (float)codes[i] / 255.0f - rig->graph->mean;
    }
    srpi_row_store(&rig->codec, values, row, count);
    assert_true(worker < srpi_pool_threads(rig->pool));
}

static uint32_t before(uint32_t at, uint32_t side)
{
    return at > side ? at - side : 0;
}

static uint32_t after(uint32_t at, uint32_t side, uint32_t most)
{
    return most - at > side ? at + side : most;
}

/* Looks at what is around these rows as far as the sink asked for it. */
static void look_around(struct rig *rig, const struct srpi_region *region, struct srpi_span rows,
                        const struct srpi_rows *wanted)
{
    const struct srpi_sides *sides = &rig->stream.params.sink.wanted;
    const uint32_t scale = rig->graph->scale, channels = rig->graph->channels;
    const uint32_t left = before(region->x.begin * scale, sides->left);
    const uint32_t right = after(region->x.end * scale, sides->right, WIDTH * scale);
    const uint32_t bottom = after(rows.end, sides->below, HEIGHT * scale);
    for (uint32_t y = before(rows.begin, sides->above); y < bottom; y++) {
        const float *from = srpi_rows_at(wanted, y);
        const float *expected = rig->expected + (size_t)y * WIDTH * scale * channels;
        for (size_t i = (size_t)left * channels; i < (size_t)right * channels; i++) {
            const float a = expected[i], b = from[i - (size_t)wanted->column * channels];
            const bool alike =
                fabs((double)a - (double)b) <= rig->tolerance * (1.0 + fabs((double)a));
            atomic_fetch_add(&rig->wrong, alike ? 0 : 1);
        }
    }
}

static void store(void *context, uint32_t worker, const struct srpi_region *region,
                  struct srpi_span rows, const struct srpi_rows *wanted,
                  const struct srpi_rows *input)
{
    (void)worker;
    struct rig *rig = context;
    const uint32_t scale = rig->graph->scale, channels = rig->graph->channels;
    const size_t first = (size_t)region->x.begin * scale * channels;
    const size_t count = (size_t)(region->x.end - region->x.begin) * scale * channels;
    assert_int_equal(input->column <= region->x.begin, true);
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        const float *from = (const float *)srpi_rows_at(wanted, y) +
                            (first - (size_t)wanted->column * channels);
        memcpy(rig->out + (size_t)y * WIDTH * scale * channels + first, from,
               count * sizeof(float));
    }
    if (rig->expected != NULL) {
        look_around(rig, region, rows, wanted);
    }
}

static void rig_run(struct rig *rig, const struct srpi_region *regions, uint32_t count)
{
    const struct srpi_stream_io io = {.load = load, .store = store, .context = rig};
    srpi_stream_process(&rig->stream, regions, count, &io);
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal((uint8_t)rig->arena[rig->size + i], CANARY);
    }
}

static const struct srpi_region whole = {.x = {0, WIDTH},
                                         .y = {0, HEIGHT},
                                         .picture_width = WIDTH,
                                         .picture_height = HEIGHT};

/* A random cut of the picture into rectangles, in a random order. */
static uint32_t cut(struct srpi_region *regions, uint32_t *seed)
{
    const uint32_t w = 5 + noise(seed) % 40, h = 5 + noise(seed) % 40;
    uint32_t count = 0;
    for (uint32_t y = 0; y < HEIGHT; y += h) {
        for (uint32_t x = 0; x < WIDTH; x += w) {
            regions[count] = whole;
            regions[count].x = (struct srpi_span){x, x + w < WIDTH ? x + w : WIDTH};
            regions[count].y = (struct srpi_span){y, y + h < HEIGHT ? y + h : HEIGHT};
            count++;
        }
    }
    for (uint32_t i = count; i > 1; i--) {
        const uint32_t k = noise(seed) % i;
        const struct srpi_region swap = regions[k];
        regions[k] = regions[i - 1];
        regions[i - 1] = swap;
    }
    return count;
}

static void check(uint32_t seed, enum srpi_dtype dtype)
{
    static struct sketch sketch;
    static struct srpi_region regions[256];
    static uint8_t codes[WIDTH * HEIGHT * 6];
    draw(&sketch, seed);
    for (size_t i = 0; i < sizeof(codes); i++) {
        codes[i] = (uint8_t)noise(&sketch.seed);
    }
    /* Everywhere alike, and on single sides. */
    struct srpi_sides wanted = srpi_all_sides(seed % 4), input = srpi_all_sides(seed % 5);
    wanted.below = seed % 7 < 2 ? 0 : wanted.below;
    wanted.right = seed % 7 < 3 ? 0 : wanted.right;
    wanted.above = seed % 7 == 1 ? 0 : wanted.above;
    input.right = seed % 11 < 3 ? 0 : input.right;
    input.below = seed % 11 < 2 ? 0 : input.below;
    const struct srpi_sink sink = {.wanted = wanted,
                                   .reads_input = seed % 3 == 0,
                                   .input = input,
                                   .align = 1 + seed % 2};
    struct rig one, other;
    rig_make(&one, sketch.json, 1, dtype, &sink);
    rig_make(&other, sketch.json, 2 + seed % 4, dtype, &sink);
    one.codes = other.codes = codes;
    rig_plan(&one, 0);
    rig_run(&one, &whole, 1);
    const size_t count = (size_t)WIDTH * HEIGHT * one.graph->scale * one.graph->scale *
                         one.graph->channels;
    bool winograd = false;
    for (uint32_t s = 0; s < one.program.step_count; s++) {
        winograd = winograd || one.layers.steps[s].winograd != NULL;
    }
    rig_plan(&other, 1 + seed % 19);
    rig_run(&other, &whole, 1);
    if (memcmp(one.out, other.out, count * sizeof(float)) != 0) {
        fail_msg("blocks of %u, %u threads\n%s", other.stream.plan.block,
                 srpi_pool_threads(other.pool), sketch.json);
    }
    memset(other.out, 0, count * sizeof(float));
    other.expected = one.out;
    other.tolerance = winograd ? 1e-5 : 0.0;
    rig_run(&other, &whole, 1);
    rig_run(&other, regions, cut(regions, &sketch.seed));
    for (size_t i = 0; i < count; i++) {
        const float a = one.out[i], b = other.out[i];
        const double tolerance = other.tolerance * (1.0 + fabs((double)a));
        if (!(fabs((double)a - (double)b) <= tolerance)) {
            fail_msg("regions, value %zu: %g, not %g\n%s", i, (double)b, (double)a, sketch.json);
        }
    }
    if (other.wrong != 0) {
        fail_msg("%u values around regions are not those of the picture\n%s", other.wrong,
                 sketch.json);
    }
    rig_free(&one);
    rig_free(&other);
}

static void test_f32(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 120; seed++) {
        check(seed, SRPI_F32);
    }
}

static void test_q8(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 120; seed++) {
        check(seed, SRPI_Q8);
    }
}

static void test_bf16(void **state)
{
    (void)state;
    if (!srpi_kernels_best()->has[SRPI_BF16]) {
        struct rig rig = {.model = model_from("{\"format\":\"srp-graph\",\"version\":1,"
                                              "\"name\":\"one\",\"scale\":1,\"colour\":\"y\","
                                              "\"input\":\"x\",\"output\":\"y\",\"nodes\":[{\"op\":"
                                              "\"conv2d\",\"name\":\"c\",\"inputs\":[\"x\"],"
                                              "\"output\":\"y\",\"channels\":1,\"kernel\":[1,1]}]}",
                                              1)};
        rig.graph = srpi_model_graph(rig.model);
        struct srp_error err = {0};
        assert_int_equal(srpi_program_create(&rig.program, rig.graph, 1, true, &err), SRP_OK);
        assert_int_equal(srpi_layers_create(&rig.layers, &rig.program, srpi_kernels_best(),
                                            SRPI_BF16, &err),
                         SRP_ERR_UNSUPPORTED);
        srpi_program_destroy(&rig.program);
        srp_model_unref(&rig.model);
        return;
    }
    for (uint32_t seed = 0; seed < 40; seed++) {
        check(seed, SRPI_BF16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_q8),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
