/* SPDX-License-Identifier: BSD-2-Clause */
/* The geometry of streams (plan/stream.h), followed row by row without a pixel: every row that a
 * step or the writer reads is in its ring or in the seam of the strip below, nothing is made twice,
 * and steps that make several rows at once begin at the same rows whatever the cut. The rules of
 * reading are those of exec/convolve.c, exec/steps.c and exec/stream.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <srp/plan.h>
#include <stdlib.h>

#include "kernel/sketch.h"
#include "kernels/reference.h"
#include "model/model.h"
#include "plan/stream.h"

#define NOWHERE UINT32_MAX
#define FAULT 256

struct row {
    uint32_t y, block; /* which row, and the block in which it was made */
};

/* A walk over a region; each array has an entry for each tensor. */
struct walk {
    const struct srpi_stream_plan *plan;
    const struct srpi_sink *sink;
    const struct srpi_region *region;
    struct srpi_strip strip;
    struct srpi_span rows[TENSORS + 1], all[TENSORS + 1]; /* of the strip; of the region */
    struct row *ring[TENSORS + 1], *seam[TENSORS + 1], *below[TENSORS + 1];
    uint8_t *made[TENSORS + 1]; /* how often each row was */
    uint8_t *stored;            /* the same of the writer's rows */
    uint32_t block, strips;
    char fault[FAULT]; /* the first one, or empty */
};

__attribute__((format(printf, 2, 3))) static void fault(struct walk *walk, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (walk->fault[0] == '\0') {
        const int used = snprintf(walk->fault, sizeof(walk->fault), "strip [%u, %u), block %u: ",
                                  walk->strip.y.begin, walk->strip.y.end, walk->block);
        vsnprintf(walk->fault + used, sizeof(walk->fault) - (size_t)used, format, arguments);
    }
    va_end(arguments);
}

static struct row *row_table(uint32_t count)
{
    struct row *rows = malloc((count + 1) * sizeof(rows[0]));
    assert_non_null(rows);
    for (uint32_t i = 0; i <= count; i++) {
        rows[i] = (struct row){NOWHERE, NOWHERE};
    }
    return rows;
}

static const struct srpi_graph *graph_of(const struct walk *walk)
{
    return walk->plan->program->graph;
}

/* ---- one strip ------------------------------------------------------------------------------- */

static void read_row(struct walk *walk, uint32_t t, int64_t at)
{
    const struct srpi_stream_tensor *tensor = &walk->plan->tensors[t];
    const int64_t height = (int64_t)walk->region->picture_height * tensor->factor;
    if (at < 0 || at >= height) {
        return; /* padding */
    }
    const uint32_t y = (uint32_t)at, end = walk->rows[t].end;
    const char *name = graph_of(walk)->tensors[t].name;
    if (y < end) {
        const struct row *row = &walk->ring[t][y % tensor->ring];
        const struct srpi_span now =
            srpi_stream_block_rows(walk->plan, &walk->strip, t, walk->rows[t], walk->block);
        const uint32_t origin = srpi_stream_origin(walk->plan, t, now);
        if (origin % tensor->ring != 0 || y - origin >= 2 * tensor->ring) {
            fault(walk, "row %u of %s is too far from %u", y, name, origin);
        } else if (row->y != y) {
            fault(walk, "row %u of %s is not in its ring", y, name);
        } else if (tensor->local && row->block != walk->block) {
            fault(walk, "row %u of %s is of an earlier block", y, name);
        }
        return;
    }
    const uint32_t blocks =
        srpi_stream_seam_blocks(walk->plan, &walk->strip, t, walk->block);
    if (walk->strip.last || y - end >= tensor->kept || walk->below[t][y - end].y != y) {
        fault(walk, "row %u of %s, which ends at %u, is in no seam", y, name, end);
    } else if (walk->below[t][y - end].block >= blocks) {
        fault(walk, "row %u of %s may not yet be in the seam: nobody waits for block %u", y, name,
              walk->below[t][y - end].block);
    }
}

static void write_row(struct walk *walk, uint32_t t, uint32_t y)
{
    const struct srpi_stream_tensor *tensor = &walk->plan->tensors[t];
    const uint32_t from_begin = y - walk->rows[t].begin;
    walk->ring[t][y % tensor->ring] = (struct row){y, walk->block};
    if (!walk->strip.first && from_begin < tensor->kept) {
        walk->seam[t][from_begin] = (struct row){y, walk->block};
    }
    if (t != graph_of(walk)->input && ++walk->made[t][y] > 1) {
        fault(walk, "row %u of %s is made twice", y, graph_of(walk)->tensors[t].name);
    }
}

static void read_for(struct walk *walk, const struct srpi_step *step, uint32_t y, uint32_t count)
{
    const struct srpi_node *node = step->node;
    for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
        const uint32_t t = srpi_step_read(step, i);
        const int64_t last = (int64_t)walk->region->picture_height * walk->plan->tensors[t].factor;
        if (i >= node->input_count || (node->op != SRPI_OP_CONV2D && node->op != SRPI_OP_RESIZE &&
                                       node->op != SRPI_OP_DEPTH_TO_SPACE)) {
            for (uint32_t k = 0; k < count; k++) {
                read_row(walk, t, (int64_t)y + k);
            }
        } else if (node->op == SRPI_OP_CONV2D) {
            const int64_t radius = node->kernel_height / 2;
            for (int64_t k = -radius; k < (int64_t)count + radius; k++) {
                read_row(walk, t, (int64_t)y + k);
            }
        } else if (node->op == SRPI_OP_DEPTH_TO_SPACE) {
            read_row(walk, t, (int64_t)(y / node->block));
        } else {
            for (int64_t k = 0; k < (int64_t)SRPI_REF_WINDOW; k++) {
                const int64_t from = (int64_t)(y / node->scale) + k - 2;
                read_row(walk, t, from < 0 ? 0 : from >= last ? last - 1 : from);
            }
        }
    }
}

static void run_step(struct walk *walk, const struct srpi_step *step)
{
    const uint32_t t = step->output;
    const struct srpi_stream_tensor *out = &walk->plan->tensors[t];
    const struct srpi_span rows =
        srpi_stream_block_rows(walk->plan, &walk->strip, t, walk->rows[t], walk->block);
    uint32_t count = 0;
    for (uint32_t y = rows.begin; y < rows.end; y += count) {
        count = srpi_stream_call(walk->plan, &walk->strip, t, y);
        count = count < rows.end - y ? count : rows.end - y;
        if (count < out->grid && y != walk->all[t].begin && y + count != walk->all[t].end) {
            fault(walk, "rows %u..%u of %s are no whole call", y, y + count,
                  graph_of(walk)->tensors[t].name);
        }
        read_for(walk, step, y, count);
        for (uint32_t k = 0; k < count; k++) {
            write_row(walk, t, y + k);
        }
    }
}

static void run_sink(struct walk *walk, struct srpi_span strip_rows)
{
    const struct srpi_sink *sink = walk->sink;
    const uint32_t wanted = walk->plan->program->wanted;
    const uint32_t factor = walk->plan->tensors[wanted].factor;
    const uint32_t align = sink->align != 0 ? sink->align : 1;
    const uint32_t first = walk->region->y.begin * factor, last = walk->region->y.end * factor;
    const struct srpi_span rows =
        srpi_stream_block_sink(walk->plan, &walk->strip, strip_rows, walk->block);
    if (rows.begin == rows.end) {
        return;
    }
    if ((rows.begin % align != 0 && rows.begin != first) ||
        (rows.end % align != 0 && rows.end != last)) {
        fault(walk, "the writer's rows %u..%u are not aligned", rows.begin, rows.end);
    }
    for (int64_t y = (int64_t)rows.begin - sink->wanted.above;
         y < (int64_t)rows.end + sink->wanted.below; y++) {
        read_row(walk, wanted, y);
    }
    for (int64_t y = (int64_t)(rows.begin / factor) - sink->input.above;
         sink->reads_input && y <= (int64_t)((rows.end - 1) / factor) + sink->input.below; y++) {
        read_row(walk, graph_of(walk)->input, y);
    }
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        walk->stored[y]++;
    }
}

static void run_strip(struct walk *walk)
{
    const struct srpi_stream_plan *plan = walk->plan;
    const uint32_t input = graph_of(walk)->input;
    for (uint32_t t = 0; t < graph_of(walk)->tensor_count; t++) {
        if (!plan->tensors[t].used) {
            continue;
        }
        walk->rows[t] = srpi_stream_rows(plan, &walk->strip, t);
        free(walk->ring[t]);
        free(walk->below[t]);
        walk->ring[t] = row_table(plan->tensors[t].ring);
        walk->below[t] = walk->seam[t];
        walk->seam[t] = row_table(plan->tensors[t].kept);
    }
    const struct srpi_span sink = srpi_stream_sink_rows(plan, &walk->strip);
    const uint32_t blocks = srpi_stream_blocks(plan, &walk->strip);
    for (walk->block = 0; walk->block < blocks; walk->block++) {
        const struct srpi_span rows =
            srpi_stream_block_rows(plan, &walk->strip, input, walk->rows[input], walk->block);
        for (uint32_t y = rows.begin; y < rows.end; y++) {
            write_row(walk, input, y);
        }
        for (uint32_t s = 0; s < plan->program->step_count; s++) {
            run_step(walk, &plan->program->steps[s]);
        }
        run_sink(walk, sink);
    }
}

/* ---- regions --------------------------------------------------------------------------------- */

/* Goes over a region in strips, the lowest first; `text` is the first fault or empty. */
static uint32_t walk_region(char *text, const struct srpi_stream_plan *plan,
                            const struct srpi_sink *sink, const struct srpi_region *region,
                            uint32_t parts)
{
    const uint32_t tensors = plan->program->graph->tensor_count;
    struct walk *walk = calloc(1, sizeof(*walk));
    assert_non_null(walk);
    assert_true(tensors <= TENSORS + 1);
    walk->plan = plan;
    walk->sink = sink;
    walk->region = region;
    const uint32_t strips = walk->strips = srpi_stream_strips(plan, region, parts);
    const struct srpi_strip whole = srpi_stream_strip(plan, region, 0, 1);
    const uint32_t factor = plan->tensors[plan->program->wanted].factor;
    walk->stored = calloc((size_t)region->picture_height * factor + 1, 1);
    assert_non_null(walk->stored);
    for (uint32_t t = 0; t < tensors; t++) {
        if (plan->tensors[t].used) {
            walk->all[t] = srpi_stream_rows(plan, &whole, t);
            walk->seam[t] = row_table(plan->tensors[t].kept);
            walk->made[t] =
                calloc((size_t)region->picture_height * plan->tensors[t].factor + 1, 1);
            assert_non_null(walk->made[t]);
        }
    }
    uint32_t end = region->y.end;
    for (uint32_t index = strips; index-- > 0;) {
        walk->strip = srpi_stream_strip(plan, region, index, strips);
        if (walk->strip.y.end != end || walk->strip.y.begin >= end) {
            fault(walk, "the strip below begins at %u", end);
        }
        end = walk->strip.y.begin;
        run_strip(walk);
    }
    if (end != region->y.begin) {
        fault(walk, "the region begins at %u", region->y.begin);
    }
    for (uint32_t y = 0; y < region->picture_height * factor; y++) {
        const bool wanted = y >= region->y.begin * factor && y < region->y.end * factor;
        if (walk->stored[y] != (wanted ? 1 : 0)) {
            fault(walk, "row %u is stored %u times", y, walk->stored[y]);
        }
    }
    for (uint32_t t = 0; t < tensors; t++) {
        free(walk->ring[t]);
        free(walk->below[t]);
        free(walk->seam[t]);
        free(walk->made[t]);
    }
    free(walk->stored);
    memcpy(text, walk->fault, sizeof(walk->fault));
    free(walk);
    return strips;
}

/* ---- plans ----------------------------------------------------------------------------------- */

struct rig {
    struct srp_model *model;
    struct srpi_program program;
    enum srpi_dtype dtype[TENSORS + 1];
    bool fine[TENSORS + 1];
    uint32_t grid[TENSORS];
};

static void rig_make(struct rig *rig, const char *json, bool fused)
{
    struct srp_error err = {0};
    memset(rig, 0, sizeof(*rig));
    rig->model = model_from(json, 1);
    const struct srpi_graph *graph = srpi_model_graph(rig->model);
    struct srpi_tail tail = {.tensor = graph->output};
    if (fused) {
        srpi_tail_find(&tail, graph);
    }
    assert_int_equal(srpi_program_create(&rig->program, graph, tail.tensor, true, &err), SRP_OK);
    for (uint32_t s = 0; s < rig->program.step_count; s++) {
        rig->grid[s] = 1;
    }
}

static void rig_free(struct rig *rig)
{
    srpi_program_destroy(&rig->program);
    srp_model_unref(&rig->model);
}

static void rig_plan(const struct rig *rig, struct srpi_stream_plan *plan,
                     const struct srpi_sink *sink, uint32_t height, uint32_t workers,
                     uint32_t block)
{
    struct srp_error err = {0};
    const struct srpi_stream_params params = {.program = &rig->program,
                                              .kernels = srpi_kernels_best(),
                                              .dtype = rig->dtype,
                                              .fine = rig->fine,
                                              .grid = rig->grid,
                                              .sink = *sink,
                                              .picture_width = 64,
                                              .picture_height = height,
                                              .width = 64,
                                              .height = height,
                                              .workers = workers,
                                              .block = block};
    assert_int_equal(srpi_stream_plan_create(plan, &params, &err), SRP_OK);
}

static struct srpi_sides random_sides(uint32_t *seed)
{
    return (struct srpi_sides){.above = noise(seed) % 4, .below = noise(seed) % 4};
}

static uint32_t check(uint32_t seed)
{
    static struct sketch sketch;
    struct rig rig;
    uint32_t most = 0, random = seed * 31 + 7;
    draw(&sketch, seed);
    rig_make(&rig, sketch.json, seed % 2 == 0);
    for (uint32_t s = 0; s < rig.program.step_count; s++) {
        const bool conv = rig.program.steps[s].node->op == SRPI_OP_CONV2D;
        rig.grid[s] = conv && seed % 4 != 0 && noise(&random) % 3 != 0 ? 4 : 1;
    }
    for (uint32_t i = 0; i < 12; i++) {
        char text[FAULT];
        struct srpi_stream_plan plan;
        const struct srpi_sink sink = {.wanted = random_sides(&random),
                                       .reads_input = noise(&random) % 2 == 0,
                                       .input = random_sides(&random),
                                       .align = noise(&random) % 3};
        const uint32_t height = 1 + noise(&random) % (i % 3 == 0 ? 40 : 600);
        const uint32_t workers = 1 + noise(&random) % 5, parts = noise(&random) % 9;
        rig_plan(&rig, &plan, &sink, height, workers, noise(&random) % 20);
        struct srpi_region region = {.x = {0, 64},
                                     .y = {0, height},
                                     .picture_width = 64,
                                     .picture_height = height};
        if (i % 2 == 0) {
            region.y.begin = noise(&random) % height;
            region.y.end = region.y.begin + 1 + noise(&random) % (height - region.y.begin);
        }
        const uint32_t strips = walk_region(text, &plan, &sink, &region, parts);
        most = strips > most ? strips : most;
        if (text[0] != '\0') {
            fail_msg("seed %u, rows [%u, %u) of %u, blocks of %u, %u strips: %s\n%s", seed,
                     region.y.begin, region.y.end, height, plan.block, strips, text, sketch.json);
        }
        srpi_stream_plan_destroy(&plan);
    }
    rig_free(&rig);
    return most;
}

static void test_random(void **state)
{
    (void)state;
    const char *seeds = getenv("SRP_TEST_SEEDS");
    const uint32_t count = seeds != NULL ? (uint32_t)atoi(seeds) : 400;
    uint32_t most = 0;
    for (uint32_t seed = 0; seed < count; seed++) {
        const uint32_t strips = check(seed);
        most = strips > most ? strips : most;
    }
    assert_true(count < 100 || most >= 12);
}

#define CONV(from, to, kernel) \
    "{\"op\":\"conv2d\",\"name\":\"n" to "\",\"inputs\":[\"" from "\"],\"output\":\"" to \
    "\",\"channels\":4,\"kernel\":[" #kernel "," #kernel "]},"
#define SUM(a, b, to) \
    "{\"op\":\"add\",\"name\":\"n" to "\",\"inputs\":[\"" a "\",\"" b "\"],\"output\":\"" to "\"},"

static const char chain[] =
    "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"chain\",\"scale\":2,\"colour\":\"y\","
    "\"input\":\"x\",\"output\":\"y\",\"nodes\":["
    CONV("x", "h", 3) CONV("h", "a", 3) CONV("a", "b", 1) CONV("b", "c", 3) SUM("c", "h", "s")
    CONV("s", "t", 3)
    "{\"op\":\"depth_to_space\",\"name\":\"d\",\"inputs\":[\"t\"],\"output\":\"u\",\"block\":2},"
    "{\"op\":\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"v\",\"scale\":2,"
    "\"mode\":\"bicubic\"},{\"op\":\"add\",\"name\":\"e\",\"inputs\":[\"u\",\"v\"],"
    "\"output\":\"y\"}]}";

/* A chain of layers that make 4 rows at once: what the lags and skews are, and that rings are those
 * of layers that make one. */
static void test_grid(void **state)
{
    (void)state;
    struct rig rig;
    struct srpi_stream_plan one, four;
    const struct srpi_sink sink = {0};
    rig_make(&rig, chain, true);
    rig_plan(&rig, &one, &sink, 400, 3, 4);
    uint32_t layer = 0;
    for (uint32_t s = 0; s < rig.program.step_count; s++) {
        rig.grid[s] = rig.program.steps[s].node->kernel_height == 3 ? 4 : 1;
    }
    rig_plan(&rig, &four, &sink, 400, 3, 4);
    for (uint32_t s = 0; s < rig.program.step_count; s++) {
        const uint32_t t = rig.program.steps[s].output;
        const struct srpi_stream_tensor *tensor = &four.tensors[t];
        layer += rig.grid[s] == 4 ? 1 : 0;
        assert_int_equal(tensor->lag, layer);
        assert_int_equal(tensor->skew, 3 * layer);
        assert_int_equal(tensor->ring, one.tensors[t].ring);
        assert_int_equal(one.tensors[t].lag, layer);
        assert_int_equal(one.tensors[t].skew, layer);
    }
    assert_int_equal(layer, 4);
    assert_int_equal(one.ring_bytes, four.ring_bytes);
    srpi_stream_plan_destroy(&one);
    srpi_stream_plan_destroy(&four);
    rig_free(&rig);
}

/* Regions of 54 rows, wherever they begin: no layer takes more calls than its rows fill. */
static void test_few_calls(void **state)
{
    (void)state;
    struct rig rig;
    struct srpi_stream_plan plan;
    const struct srpi_sink sink = {0};
    rig_make(&rig, chain, true);
    for (uint32_t s = 0; s < rig.program.step_count; s++) {
        rig.grid[s] = rig.program.steps[s].node->kernel_height == 3 ? 4 : 1;
    }
    rig_plan(&rig, &plan, &sink, 400, 1, 16);
    for (uint32_t begin = 96; begin < 104; begin++) {
        const struct srpi_region region = {.x = {0, 64},
                                           .y = {begin, begin + 54},
                                           .picture_width = 64,
                                           .picture_height = 400};
        const struct srpi_strip strip = srpi_stream_strip(&plan, &region, 0, 1);
        for (uint32_t s = 0; s < rig.program.step_count; s++) {
            const uint32_t t = rig.program.steps[s].output, grid = rig.grid[s];
            const struct srpi_span rows = srpi_stream_rows(&plan, &strip, t);
            uint32_t calls = 0;
            for (uint32_t y = rows.begin; y < rows.end; calls++) {
                y += srpi_stream_call(&plan, &strip, t, y);
            }
            assert_int_equal(calls, (rows.end - rows.begin + grid - 1) / grid);
        }
    }
    srpi_stream_plan_destroy(&plan);
    rig_free(&rig);
}

/* What the walk is good for: it finds each number of a plan that is less by one. This also says
 * that no ring and no seam has a row too many. */
static void test_every_row_counts(void **state)
{
    (void)state;
    static const char *const what[] = {"ring", "kept", "ahead", "lag", "skew"};
    const struct srpi_sink sink = {.wanted = {.above = 1, .below = 2}, .align = 1};
    const struct srpi_region region = {.x = {0, 64},
                                       .y = {0, 400},
                                       .picture_width = 64,
                                       .picture_height = 400};
    for (uint32_t grid = 1; grid <= 4; grid += 3) {
        struct rig rig;
        struct srpi_stream_plan plan;
        uint32_t tried[5] = {0};
        char text[FAULT];
        rig_make(&rig, chain, false);
        for (uint32_t s = 0; s < rig.program.step_count; s++) {
            rig.grid[s] = rig.program.steps[s].node->op == SRPI_OP_CONV2D ? grid : 1;
        }
        rig_plan(&rig, &plan, &sink, 400, 3, 4);
        assert_true(walk_region(text, &plan, &sink, &region, 2) > 3);
        assert_string_equal(text, "");
        for (uint32_t t = 0; t < rig.program.graph->tensor_count; t++) {
            struct srpi_stream_tensor *tensor = &plan.tensors[t];
            const bool input = t == rig.program.graph->input;
            uint32_t *const numbers[] = {&tensor->ring, &tensor->kept, &tensor->ahead,
                                         &tensor->lag, &tensor->skew};
            for (uint32_t i = 0; tensor->used && i < 5; i++) {
                if (*numbers[i] == 0 || (i == 2 && !input)) { /* of others `kept` says it */
                    continue;
                }
                *numbers[i] -= 1;
                walk_region(text, &plan, &sink, &region, 2);
                *numbers[i] += 1;
                tried[i]++;
                if (text[0] == '\0') {
                    fail_msg("one less in %s of %s: nothing is missing", what[i],
                             rig.program.graph->tensors[t].name);
                }
            }
        }
        for (uint32_t i = 0; i < 5; i++) {
            assert_true(tried[i] > 0);
        }
        srpi_stream_plan_destroy(&plan);
        rig_free(&rig);
    }
}

/* Pictures that the engine refuses are not planned either. */
static void test_size(void **state)
{
    (void)state;
    struct srp_model *model = model_from(chain, 1);
    struct srp_error err = {0};
    char *text = NULL;
    struct srp_plan_params params = {.model = model, .width = 4096, .height = 4096};
    assert_int_equal(srp_plan_describe(&text, &params, SRP_PLAN_TEXT, &err), SRP_OK);
    srp_plan_free(text);
    params.height++;
    assert_int_equal(srp_plan_describe(&text, &params, SRP_PLAN_TEXT, &err), SRP_ERR_LIMIT);
    assert_string_equal(err.detail, "4096x4097 times 2 is more than 67108864 pixels");
    srp_model_unref(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_grid),
        cmocka_unit_test(test_few_calls),
        cmocka_unit_test(test_every_row_counts),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
