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
    /* The picture: HEIGHT x WIDTH x channels; fractions are read where the input has 16 bits. */
    const uint8_t *codes, *fractions;
    void *stated;         /* memory of what state_codes made, or NULL */
    float *out;
    /* What the wanted tensor is, or NULL; values around a region's that were not that. */
    const float *expected;
    double tolerance;
    atomic_uint wrong;
};

/* Gives the model's parameters the form of docs/format.md for int8: ranges, some of 16 bits, and for
 * some convolutions codes, with scales for groups of input channels. */
static void state_codes(struct rig *rig, uint32_t seed)
{
    struct srpi_graph *graph = &rig->model->graph;
    size_t bytes = graph->tensor_count * sizeof(struct srpi_stated_range);
    for (uint32_t n = 0; n < graph->node_count; n++) {
        bytes += (size_t)srpi_node_weight_count(graph, &graph->nodes[n]) +
                 SRP_MAX_CHANNELS * SRP_MAX_GROUPS * sizeof(float);
    }
    char *next = rig->stated = calloc(1, bytes);
    assert_non_null(next);
    struct srpi_stated_range *ranges = rig->stated;
    next += graph->tensor_count * sizeof(ranges[0]);
    for (uint32_t t = noise(&seed) % 2; t < graph->tensor_count; t++) {
        const struct srpi_node *node = t > 0 ? &graph->nodes[t - 1] : NULL;
        const bool fine = t == 0 ||
                          (node->op == SRPI_OP_CONV2D && node->activation != SRPI_ACT_TANH &&
                           node->activation != SRPI_ACT_SIGMOID) ||
                          node->op == SRPI_OP_ADD || node->op == SRPI_OP_MUL;
        ranges[t].low = -0.25f - (float)(noise(&seed) % 5);
        ranges[t].high = 0.5f + (float)(noise(&seed) % 4);
        ranges[t].fine = fine && noise(&seed) % 3 != 0;
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct srpi_node *node = &graph->nodes[n];
        const size_t count = (size_t)srpi_node_weight_count(graph, node);
        const uint32_t in = graph->tensors[node->inputs[0]].channels;
        if (count == 0 || noise(&seed) % 4 == 0) {
            continue;
        }
        const uint32_t out = graph->tensors[node->output].channels;
        do {
            node->groups = 1 + noise(&seed) % (in < SRP_MAX_GROUPS ? in : SRP_MAX_GROUPS);
        } while (in % node->groups != 0);
        float *scales = (float *)(void *)next;
        next += out * node->groups * sizeof(float);
        int8_t *codes = (int8_t *)next;
        next += (count + 3) / 4 * 4;
        /* By chance, or powers of two apart and with smaller codes: then groups have one sum. */
        const uint32_t shifts = noise(&seed) % 2 == 0 ? 1 + noise(&seed) % 5 : 0;
        const uint32_t most = shifts != 0 ? 8 + noise(&seed) % 56 : 127;
        for (uint32_t i = 0; i < out * node->groups; i++) {
            const bool first = shifts == 0 || i % node->groups == 0;
            scales[i] = first ? (float)(1 + noise(&seed) % 100) * 2e-5f
                              : ldexpf(scales[i - i % node->groups], (int)(noise(&seed) % shifts));
        }
        for (size_t i = 0; i < count; i++) {
            codes[i] = (int8_t)(noise(&seed) % (2 * most + 1) - most);
        }
        node->scales = scales;
        node->codes = codes;
    }
    graph->ranges = ranges;
}

static void rig_make(struct rig *rig, const char *json, uint32_t threads, enum srpi_dtype dtype,
                     const struct srpi_sink *sink, const struct srpi_kernels *kernels,
                     uint32_t stated)
{
    struct srp_error err = {0};
    memset(rig, 0, sizeof(*rig));
    rig->model = model_from(json, 5);
    if (stated != 0) {
        state_codes(rig, stated);
    }
    rig->graph = srpi_model_graph(rig->model);
    assert_int_equal(srpi_pool_create(&rig->pool, threads, &err), SRP_OK);
    assert_int_equal(srpi_program_create(&rig->program, rig->graph, rig->graph->output, true, &err),
                     SRP_OK);
    if (srpi_layers_create(&rig->layers, &rig->program, kernels, dtype, &err) != SRP_OK) {
        fail_msg("%s\n%s", err.detail, json);
    }
    assert_int_equal(srpi_stream_create(&rig->stream, &rig->layers, rig->pool, sink, &err), SRP_OK);
    rig->codec = srpi_layers_codec(&rig->layers, rig->graph->input);
    if (dtype == SRPI_Q8) {
        rig->codec.inverse = 1.0f; /* codes as they are */
        rig->codec.zero = rig->codec.fine_zero = 0.0f;
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
    free(rig->stated);
}

static void rig_plan(struct rig *rig, uint32_t block, uint32_t span)
{
    struct srp_error err = {0};
    rig->stream.params.block = block;
    rig->stream.params.span = span;
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

static void load(void *context, uint32_t worker, uint32_t y, struct srpi_span columns, void *row,
                 size_t fraction)
{
    const struct rig *rig = context;
    const uint32_t channels = rig->graph->channels;
    const size_t first = ((size_t)y * WIDTH + columns.begin) * channels;
    const uint8_t *codes = rig->codes + first;
    float values[WIDTH * 6];
    const uint32_t count = (columns.end - columns.begin) * channels;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = rig->codec.dtype == SRPI_Q8 ? (float)codes[i]
                                                : (float)codes[i] / 255.0f - rig->graph->mean;
        if (fraction != 0) {
            values[i] += (float)rig->fractions[first + i] / 256.0f;
        }
    }
    srpi_row_store_fine(&rig->codec, values, row, fraction, count);
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

/* Whether there are Winograd's kernels for int8. */
static bool has_winograd(enum srpi_isa isa)
{
    const struct srpi_conv_shape wide = {.kernel_height = 3, .kernel_width = 3,
        .in_channels = 64, .out_channels = 64, .in = SRPI_Q8, .out = SRPI_Q8};
    return srpi_winograd_for(isa, &wide, true) != NULL;
}

/* Convolutions of `dtype` by Winograd. */
static uint32_t winograd_steps(const struct rig *rig, enum srpi_dtype dtype)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < rig->program.step_count; s++) {
        const struct srpi_layer *layer = &rig->layers.steps[s];
        const bool winograd = layer->winograd != NULL ||
                              (layer->part_count != 0 && layer->parts[0].winograd != NULL);
        count += winograd && layer->layer.shape.in == dtype;
    }
    return count;
}

/* However a network is cut into blocks, strips, pieces and regions, its values are the same: to the
 * bit, or to rounding where tiles lie elsewhere. Returns how many convolutions were by Winograd. */
static uint32_t check(const char *json, uint32_t seed, enum srpi_dtype dtype)
{
    static struct srpi_region regions[256];
    static uint8_t codes[WIDTH * HEIGHT * 6];
    uint32_t random = seed + 1;
    for (size_t i = 0; i < sizeof(codes); i++) {
        codes[i] = (uint8_t)noise(&random);
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
    rig_make(&one, json, 1, dtype, &sink, srpi_kernels_best(), 0);
    rig_make(&other, json, 2 + seed % 4, dtype, &sink, srpi_kernels_best(), 0);
    one.codes = other.codes = codes;
    rig_plan(&one, 0, 0);
    rig_run(&one, &whole, 1);
    const size_t count = (size_t)WIDTH * HEIGHT * one.graph->scale * one.graph->scale *
                         one.graph->channels;
    rig_plan(&other, 1 + seed % 19, 0);
    rig_run(&other, &whole, 1);
    if (memcmp(one.out, other.out, count * sizeof(float)) != 0) {
        fail_msg("blocks of %u, %u threads\n%s", other.stream.plan.block,
                 srpi_pool_threads(other.pool), json);
    }
    memset(other.out, 0, count * sizeof(float));
    float *first = malloc(count * sizeof(float));
    assert_non_null(first);
    memcpy(first, one.out, count * sizeof(float));
    other.expected = first;
    other.tolerance = winograd_steps(&one, SRPI_F32) != 0 ? 1e-5 : 0.0; /* int8's is exact */
    rig_run(&other, &whole, 1);
    rig_run(&other, regions, cut(regions, &random));
    for (size_t i = 0; i < count; i++) {
        const float a = one.out[i], b = other.out[i];
        const double tolerance = other.tolerance * (1.0 + fabs((double)a));
        if (!(fabs((double)a - (double)b) <= tolerance)) {
            fail_msg("regions, value %zu: %g, not %g\n%s", i, (double)b, (double)a, json);
        }
    }
    /* Pieces side by side, of the whole picture and of regions; by one thread and by several. */
    const uint32_t span = 1 + seed % 60;
    rig_plan(&one, 1 + seed % 19, span);
    rig_plan(&other, 0, span);
    rig_run(&one, &whole, 1);
    rig_run(&other, &whole, 1);
    assert_memory_equal(one.out, other.out, count * sizeof(float));
    rig_run(&other, regions, cut(regions, &random));
    for (size_t i = 0; i < count; i++) {
        const double a = (double)first[i], tolerance = other.tolerance * (1.0 + fabs(a));
        if (!(fabs(a - (double)one.out[i]) <= tolerance) ||
            !(fabs(a - (double)other.out[i]) <= tolerance)) {
            fail_msg("pieces of %u, value %zu: %g and %g, not %g\n%s", one.stream.plan.span, i,
                     (double)one.out[i], (double)other.out[i], a, json);
        }
    }
    if (other.wrong != 0) {
        fail_msg("%u values around regions are not those of the picture\n%s", other.wrong,
                 json);
    }
    const uint32_t winograd = winograd_steps(&one, dtype);
    free(first);
    rig_free(&one);
    rig_free(&other);
    return winograd;
}

static void check_drawn(uint32_t seed, enum srpi_dtype dtype)
{
    static struct sketch sketch;
    draw(&sketch, seed);
    check(sketch.json, seed, dtype);
}

static void test_f32(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 120; seed++) {
        check_drawn(seed, SRPI_F32);
    }
}

static void test_q8(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 120; seed++) {
        check_drawn(seed, SRPI_Q8);
    }
}

/* The picture, whole and in regions, is what the plain C says. */
static void check_ways(struct rig *rig, const float *expected, uint32_t span, uint32_t *seed,
                       const char *json)
{
    static struct srpi_region regions[256];
    const size_t count = (size_t)WIDTH * HEIGHT * rig->graph->scale * rig->graph->scale *
                         rig->graph->channels;
    for (int cuts = 0; cuts < 2; cuts++) {
        memset(rig->out, 0, count * sizeof(float));
        if (cuts == 0) {
            rig_run(rig, &whole, 1);
        } else {
            rig_run(rig, regions, cut(regions, seed));
        }
        for (size_t i = 0; i < count; i++) {
            if (memcmp(&rig->out[i], &expected[i], sizeof(float)) != 0) {
                fail_msg("%s, blocks of %u, pieces of %u, %u threads%s, value %zu: %g, not %g\n%s",
                         rig->layers.kernels->name, rig->stream.plan.block, span,
                         srpi_pool_threads(rig->pool), cuts ? ", regions" : "", i,
                         (double)rig->out[i], (double)expected[i], json);
            }
        }
    }
}

/* Ranges that are calibrated or (`stated` is not 0) parameters as codes, groups, 16 bits: every set
 * gives what the plain C says, in one piece, in blocks by several threads, in pieces side by side
 * and in regions. Returns how many convolutions were by Winograd, over all sets. */
static uint32_t check_exact(const char *json, uint32_t seed, uint32_t stated)
{
    static uint8_t codes[WIDTH * HEIGHT * 6];
    const struct srpi_sink sink = {.wanted = srpi_all_sides(seed % 4)};
    struct srp_error err = {0};
    float *expected = NULL;
    static uint8_t fractions[sizeof(codes)];
    uint32_t random = seed + 1, winograd = 0;
    for (size_t i = 0; i < sizeof(codes); i++) {
        codes[i] = (uint8_t)noise(&random);
        fractions[i] = (uint8_t)noise(&random);
    }
    for (int isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        const struct srpi_kernels *kernels = srpi_kernels_of((enum srpi_isa)isa);
        if (kernels == NULL) {
            continue;
        }
        struct rig rig;
        rig_make(&rig, json, 1 + (seed + (uint32_t)isa) % 3, SRPI_Q8, &sink, kernels, stated);
        rig.codes = codes;
        rig.fractions = fractions;
        rig_plan(&rig, seed % 2 == 0 ? 0 : 1 + seed % 19, 0);
        if (expected == NULL) {
            const size_t cell = (size_t)rig.graph->scale * rig.graph->scale;
            expected = malloc(WIDTH * HEIGHT * cell * rig.graph->channels * sizeof(float));
            struct srpi_quant quant; /* one that has its weights: those of the layers are gone */
            assert_int_equal(srpi_quant_create(&quant, &rig.program, &err), SRP_OK);
            const enum srp_err code =
                srpi_quant_run(&quant, codes, fractions, WIDTH, HEIGHT, expected, &err);
            assert_int_equal(code, SRP_OK);
            srpi_quant_destroy(&quant);
        }
        check_ways(&rig, expected, 0, &random, json);
        const uint32_t span = 1 + seed % 60;
        rig_plan(&rig, seed % 3 == 0 ? 0 : 1 + seed % 7, span);
        check_ways(&rig, expected, span, &random, json);
        winograd += winograd_steps(&rig, SRPI_Q8);
        rig_free(&rig);
    }
    free(expected);
    return winograd;
}

static void test_stated(void **state)
{
    (void)state;
    static struct sketch sketch;
    for (uint32_t seed = 0; seed < 80; seed++) {
        draw(&sketch, seed);
        check_exact(sketch.json, seed, 31 + seed);
    }
}

#define CONV_OF(height, width, name, from, to, channels, rest) \
    "{\"op\":\"conv2d\",\"name\":\"" name "\",\"inputs\":[\"" from "\"],\"output\":\"" to \
    "\",\"channels\":" #channels ",\"kernel\":[" #height "," #width "]" rest "},"
#define CONV(name, from, to, channels, rest) CONV_OF(3, 3, name, from, to, channels, rest)
#define SUM(a, b, to, rest) \
    "{\"op\":\"add\",\"name\":\"n" to "\",\"inputs\":[\"" a "\",\"" b "\"],\"output\":\"" to \
    "\"" rest "},"

/* A stream of sums, as in EDSR and WDSR: what chance seldom draws. */
static void test_stated_sums(void **state)
{
    (void)state;
    static const char json[] =
        "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"sums\",\"scale\":2,\"colour\":\"y\","
        "\"mean\":0.25,\"input\":\"x\",\"output\":\"y\",\"nodes\":["
        CONV("head", "x", "h", 20, "")
        CONV("a1", "h", "b1", 13, ",\"activation\":\"relu\"") CONV("a2", "b1", "b2", 20, "")
        SUM("h", "b2", "s1", "")
        CONV("c1", "s1", "d1", 36, ",\"activation\":\"relu\"")
        CONV("c2", "d1", "d2", 20, ",\"activation\":\"leaky_relu\",\"alpha\":0.1")
        SUM("d2", "s1", "s2", ",\"activation\":\"clip\",\"min\":-0.5,\"max\":1.5")
        CONV("e2", "s2", "e", 20, ",\"activation\":\"relu\"") SUM("s2", "e", "s3", "")
        CONV("tail", "s3", "t", 4, "") CONV("skip", "x", "k", 4, "") SUM("t", "k", "u", "")
        "{\"op\":\"depth_to_space\",\"name\":\"d\",\"inputs\":[\"u\"],\"output\":\"y\","
        "\"block\":2}]}";
    for (uint32_t seed = 0; seed < 30; seed++) {
        check_exact(json, seed, 31 + seed);
    }
}

/* Wide layers, which are by Winograd where there are kernels for it: 8 and 16 bits, sums, f32. */
static void test_wide(void **state)
{
    (void)state;
    static const char json[] =
        "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"wide\",\"scale\":2,\"colour\":\"rgb\","
        "\"mean\":0.25,\"input\":\"x\",\"output\":\"y\",\"nodes\":["
        CONV("head", "x", "h", 32, ",\"activation\":\"relu\"")
        CONV("a1", "h", "b1", 64, ",\"activation\":\"leaky_relu\",\"alpha\":0.2")
        CONV("a2", "b1", "b2", 32, "") SUM("h", "b2", "s1", "")
        CONV("c1", "s1", "d1", 33, ",\"activation\":\"prelu\"")
        CONV("c2", "d1", "d2", 32, "")
        SUM("d2", "s1", "s2", ",\"activation\":\"clip\",\"min\":-0.5,\"max\":1.5")
        CONV("e1", "s2", "e", 25, ",\"activation\":\"tanh\"")
        CONV("tail", "e", "t", 12, "") CONV("skip", "x", "k", 12, "") SUM("t", "k", "u", "")
        "{\"op\":\"depth_to_space\",\"name\":\"d\",\"inputs\":[\"u\"],\"output\":\"y\","
        "\"block\":2}]}";
    uint32_t sets = 0, stated = 0;
    for (int isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        sets += srpi_kernels_of((enum srpi_isa)isa) != NULL &&
                has_winograd((enum srpi_isa)isa);
    }
    for (uint32_t seed = 0; seed < 8; seed++) {
        if (seed % 3 == 0) {
            assert_int_equal(check_exact(json, seed, 0), 6 * sets);
        } else {
            stated += check_exact(json, seed, 31 + seed);
        }
    }
    assert_true(stated >= 4 * sets);
}

/* Groups of one to many channels in kernels of all sorts, to codes and f32, with a residual and
 * without; layers so wide that a row is summed up in several pieces, directly and by Winograd. */
static void test_groups(void **state)
{
    (void)state;
    static const char json[] =
        "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"groups\",\"scale\":2,"
        "\"colour\":\"rgb\",\"mean\":0.25,\"input\":\"x\",\"output\":\"y\",\"nodes\":["
        CONV_OF(5, 5, "a", "x", "b", 200, ",\"activation\":\"relu\"")
        CONV_OF(1, 1, "c", "b", "d", 16, "")
        CONV_OF(1, 3, "e", "d", "f", 16, ",\"activation\":\"prelu\"")
        CONV_OF(3, 1, "g", "f", "h", 16, "") SUM("d", "h", "i", "")
        CONV("j", "i", "k", 64, ",\"activation\":\"leaky_relu\",\"alpha\":0.2")
        CONV("l", "k", "m", 16, "") SUM("m", "i", "n", ",\"activation\":\"relu\"")
        CONV("o", "n", "p", 6, ",\"activation\":\"tanh\"")
        CONV_OF(5, 3, "q", "p", "r", 12, "") CONV_OF(5, 5, "s", "x", "t", 12, "")
        SUM("r", "t", "u", "")
        "{\"op\":\"depth_to_space\",\"name\":\"v\",\"inputs\":[\"u\"],\"output\":\"y\","
        "\"block\":2}]}";
    uint32_t winograd = 0;
    for (uint32_t seed = 0; seed < 10; seed++) {
        winograd += check_exact(json, seed, 31 + seed);
    }
    assert_true(winograd > 10 || !has_winograd(srpi_kernels_best()->isa));
}

/* Layers of 3x3 and more taps by Winograd's kernels, one after the other; with what they read from
 * above, sums, tanh. */
static const char large_taps[] =
    "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"large\",\"scale\":2,\"colour\":\"y\","
    "\"mean\":0.25,\"input\":\"x\",\"output\":\"y\",\"nodes\":["
    CONV_OF(5, 5, "a", "x", "h", 32, ",\"activation\":\"relu\"")
    CONV_OF(5, 5, "b", "h", "i", 24, ",\"activation\":\"leaky_relu\",\"alpha\":0.2")
    CONV("c", "i", "j", 32, "") SUM("h", "j", "k", "")
    CONV_OF(7, 7, "d", "k", "l", 17, ",\"activation\":\"tanh\"")
    CONV_OF(9, 3, "e", "l", "m", 32, "") SUM("m", "k", "n", ",\"activation\":\"relu\"")
    CONV_OF(3, 5, "tail", "n", "t", 12, "") CONV_OF(5, 5, "skip", "x", "u", 12, "")
    SUM("t", "u", "v", "")
    "{\"op\":\"conv2d\",\"name\":\"w\",\"inputs\":[\"v\"],\"output\":\"z\",\"channels\":4,"
    "\"kernel\":[1,1]},{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"z\"],"
    "\"output\":\"y\",\"block\":2}]}";

static void test_large_taps_f32(void **state)
{
    (void)state;
    const bool some = srpi_winograd_all(srpi_kernels_best()->isa)[0] != NULL;
    for (uint32_t seed = 0; seed < 12; seed++) {
        assert_true(check(large_taps, seed, SRPI_F32) >= (some ? 4u : 0u));
    }
}

static void test_large_taps_q8(void **state)
{
    (void)state;
    uint32_t winograd = 0;
    for (uint32_t seed = 0; seed < 6; seed++) {
        winograd += check_exact(large_taps, seed, seed < 2 ? 0 : 31 + seed);
    }
    assert_true(winograd > 6 || !has_winograd(srpi_kernels_best()->isa));
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
        check_drawn(seed, SRPI_BF16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_q8),
        cmocka_unit_test(test_stated),
        cmocka_unit_test(test_stated_sums),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_large_taps_f32),
        cmocka_unit_test(test_large_taps_q8),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
