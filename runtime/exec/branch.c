/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/branch.h"

#include <stdlib.h>
#include <string.h>

#include "exec/recipe.h"
#include "model/error.h"

/* ---- work memory ----------------------------------------------------------------------------- */

enum srp_err srpi_work_create(struct srpi_work *work, uint32_t threads, struct srp_error *err)
{
    memset(work, 0, sizeof(*work));
    const enum srp_err code = srpi_pool_create(&work->pool, threads, err);
    if (code != SRP_OK) {
        return code;
    }
    work->storing = calloc(srpi_pool_threads(work->pool), sizeof(work->storing[0]));
    work->loading = calloc(srpi_pool_threads(work->pool), sizeof(work->loading[0]));
    if (work->storing == NULL || work->loading == NULL) {
        srpi_work_destroy(work);
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an upscaler");
    }
    return SRP_OK;
}

void srpi_work_destroy(struct srpi_work *work)
{
    srpi_pool_destroy(&work->pool);
    free(work->storing);
    free(work->loading);
    free(work->memory);
    memset(work, 0, sizeof(*work));
}

static size_t rows_size(uint32_t source_width, uint32_t out_width)
{
    return (srpi_scratch_size(source_width, out_width) + 63) / 64 * 64;
}

enum srp_err srpi_work_reserve(struct srpi_work *work, uint32_t source_width, uint32_t out_width,
                               uint32_t loading, struct srp_error *err)
{
    const uint32_t threads = srpi_pool_threads(work->pool);
    const size_t store = rows_size(source_width, out_width);
    const size_t each = store + (loading == 0 ? 0 : rows_size(loading, loading));
    if (each * threads > work->memory_size) {
        free(work->memory);
        work->memory_size = 0;
        work->memory = aligned_alloc(64, each * threads);
        if (work->memory == NULL) {
            return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the work rows");
        }
        work->memory_size = each * threads;
    }
    for (uint32_t i = 0; i < threads; i++) {
        char *memory = (char *)work->memory + i * each;
        srpi_scratch_init(&work->storing[i], memory, source_width, out_width);
        srpi_scratch_reset(&work->storing[i]);
        if (loading != 0) {
            srpi_scratch_init(&work->loading[i], memory + store, loading, loading);
            srpi_scratch_reset(&work->loading[i]);
        }
    }
    return SRP_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Where the base is made of the network's own input. */
static bool base_of_input(const struct srpi_tail *tail, const struct srpi_graph *graph)
{
    return tail->has_base &&
           (graph->colour == SRP_COLOUR_RGB || tail->mode != SRPI_RESIZE_BICUBIC);
}

static struct srpi_sides larger_sides(struct srpi_sides sides, uint32_t by, uint32_t factor)
{
    return (struct srpi_sides){.above = by + sides.above * factor,
                               .below = by + sides.below * factor,
                               .left = by + sides.left * factor,
                               .right = by + sides.right * factor};
}

/* With 4:2:0, rows of the output picture come in pairs. Where chroma is halved on the way out, a
 * pair may need the row above it and the column on its left; where it is enlarged
 * (SRP_COLOUR_YUV420), the filter's taps. */
struct srpi_sink srpi_branch_sink(const struct srpi_tail *tail, const struct srpi_graph *graph,
                                  bool yuv_in, bool yuv_out, enum srp_chroma chroma)
{
    const bool halves = yuv_out && (graph->colour == SRP_COLOUR_RGB ||
                                    (graph->colour == SRP_COLOUR_Y && !yuv_in));
    const struct srpi_sides margin =
        halves ? srpi_pipe_margin(graph->scale, chroma) : (struct srpi_sides){0};
    struct srpi_sink sink = {.wanted = margin, .align = 2};
    if (tail->fused) {
        sink.align = graph->scale % 2 == 0 ? 1 : 2;
        sink.reads_input = base_of_input(tail, graph);
        sink.input = larger_sides(margin, 2, 1); /* the taps */
    } else if (graph->colour == SRP_COLOUR_YUV420) {
        sink.align = 1;
        sink.wanted = srpi_all_sides(yuv_out ? 0 : 3);
    } else {
        sink.wanted = larger_sides(margin, 0, graph->scale); /* by whole input pixels */
    }
    return sink;
}

/* A network that only enlarges its input as the base upscaler does. */
static bool is_base(const struct srpi_graph *graph)
{
    const struct srpi_node *node = &graph->nodes[0];
    return graph->node_count == 1 && node->op == SRPI_OP_RESIZE &&
           node->mode == SRPI_RESIZE_BICUBIC;
}

enum srp_err srpi_branch_create(struct srpi_branch *branch, struct srp_model *path,
                                enum srp_backend backend, enum srp_dtype dtype,
                                struct srpi_pool *pool, bool fused, struct srp_error *err)
{
    const struct srpi_graph *graph = srpi_model_graph(path);
    memset(branch, 0, sizeof(*branch));
    enum srp_err code = SRP_OK;
    if (is_base(graph)) {
        branch->base = true;
    } else {
        srpi_tail_find(&branch->tail, graph);
        if (!fused) {
            branch->tail = (struct srpi_tail){.tensor = graph->output};
        }
        const struct srpi_sink sink = srpi_branch_sink(&branch->tail, graph, true, true,
                                                       SRP_CHROMA_LEFT);
        code = srpi_executor_create(&branch->executor, path, backend, dtype, pool,
                                    branch->tail.tensor, &sink, err);
    }
    branch->model = code == SRP_OK ? srp_model_ref(path) : NULL;
    return code;
}

void srpi_branch_destroy(struct srpi_branch *branch)
{
    srp_executor_destroy(&branch->executor);
    srp_model_unref(&branch->model);
    memset(branch, 0, sizeof(*branch));
}

/* ---- running --------------------------------------------------------------------------------- */

static struct srpi_span enlarged(uint32_t begin, uint32_t size, uint32_t factor, uint32_t limit)
{
    const uint32_t end = (begin + size) * factor; /* SRP_MAX_DIMENSION * SRP_MAX_SCALE at most */
    return (struct srpi_span){.begin = begin * factor, .end = end < limit ? end : limit};
}

static struct srpi_part part_of(const struct srp_region *region, const struct srp_picture *out,
                                uint32_t scale)
{
    return (struct srpi_part){.rows = enlarged(region->y, region->height, scale, out->height),
                              .columns = enlarged(region->x, region->width, scale, out->width)};
}

/* Nothing of the region is left where the output is cropped. */
static bool is_empty(const struct srpi_part *part)
{
    return part->rows.begin >= part->rows.end || part->columns.begin >= part->columns.end;
}

static void do_bands(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)begin;
    (void)end;
    srpi_bands_work(context, worker);
}

/* Makes all but the last regions, which are started. */
static void start_filter(struct srpi_filtering *f, struct srpi_work *work,
                         const struct srp_region *regions, uint32_t count)
{
    for (uint32_t r = 0; r < count;) {
        uint32_t n = 0;
        for (; n < SRPI_FILTER_REGIONS && r < count; r++) {
            f->parts[n] = part_of(&regions[r], f->pipe.out, f->pipe.factor);
            n += is_empty(&f->parts[n]) ? 0 : 1;
        }
        srpi_bands_start(&f->bands, &f->pipe, work->storing, f->parts, n);
        if (r < count) {
            srpi_pool_for(work->pool, do_bands, &f->bands, srpi_pool_threads(work->pool), 1);
        }
    }
}

enum srp_err srpi_filter_run(struct srpi_filtering *filtering, struct srpi_work *work,
                             const struct srp_picture *in, const struct srp_picture *out,
                             uint32_t scale, enum srpi_filter filter, struct srp_error *err)
{
    const struct srp_region whole = {.width = in->width, .height = in->height};
    const enum srp_err code = srpi_work_reserve(work, in->width, out->width, 0, err);
    if (code == SRP_OK) {
        srpi_recipe_base(&filtering->pipe, in, out, scale, filter);
        start_filter(filtering, work, &whole, 1);
        srpi_pool_for(work->pool, do_bands, &filtering->bands, srpi_pool_threads(work->pool), 1);
    }
    return code;
}

static void load_row(void *context, uint32_t worker, uint32_t y, struct srpi_span columns,
                     void *row, size_t fraction)
{
    const struct srpi_branch *branch = context;
    srpi_loader_row(&branch->loader, &branch->work->loading[worker], y, columns, &branch->codec,
                    row, fraction);
}

/* Pixels of the input tensor by those of the input picture. */
static uint32_t halves(const struct srpi_branch *branch)
{
    return srpi_model_graph(branch->model)->colour == SRP_COLOUR_YUV420 ? 2 : 1;
}

static void store_rows(void *context, uint32_t worker, const struct srpi_region *region,
                       struct srpi_span rows, const struct srpi_rows *wanted,
                       const struct srpi_rows *input)
{
    const struct srpi_branch *branch = context;
    const struct srp_picture *out = branch->filtering.pipe.out;
    const uint32_t scale = branch->filtering.pipe.factor, factor = scale * halves(branch);
    const struct srpi_part part = {
        .rows = enlarged(region->y.begin, region->y.end - region->y.begin, factor, out->height),
        .columns = enlarged(region->x.begin, region->x.end - region->x.begin, factor, out->width)};
    /* Rows of the picture for each of the wanted tensor. */
    const uint32_t each = branch->tail.fused ? scale : halves(branch);
    const struct srpi_span made =
        enlarged(rows.begin, rows.end - rows.begin, each, out->height);
    if (made.begin < made.end && !is_empty(&part)) {
        srpi_pipe_rows(&branch->filtering.pipe, &branch->work->storing[worker], &part, wanted,
                       input, made.begin, made.end);
    }
}

static enum srp_err start_network(struct srpi_branch *branch, const struct srp_picture *in,
                                  const struct srp_picture *out, const struct srp_region *regions,
                                  uint32_t count, struct srp_error *err)
{
    const struct srpi_graph *graph = srpi_model_graph(branch->model);
    const uint32_t by = halves(branch);
    const uint32_t width = (in->width + by - 1) / by, height = (in->height + by - 1) / by;
    const struct srpi_sink sink = srpi_branch_sink(
        &branch->tail, graph, srpi_picture_is_yuv(in), srpi_picture_is_yuv(out), out->chroma);
    srpi_executor_set_sink(branch->executor, &sink);
    enum srp_err code = srp_executor_reserve(branch->executor, width, height, err);
    if (code != SRP_OK) {
        return code;
    }
    const struct srp_picture like = srpi_picture_like(in, out);
    srpi_loader_init(&branch->loader, in, &like, graph->colour, graph->mean);
    branch->codec = srpi_executor_input_codec(branch->executor);
    srpi_recipe_network(&branch->filtering.pipe, in, out, graph, &branch->tail, &branch->codec);
    branch->io =
        (struct srpi_stream_io){.load = load_row, .store = store_rows, .context = branch};
    for (uint32_t r = 0; code == SRP_OK && r < count;) {
        uint32_t n = 0;
        for (; n < SRPI_STREAM_REGIONS && r < count; n++, r++) {
            const struct srp_region *region = &regions[r];
            const uint32_t right = region->x + region->width, bottom = region->y + region->height;
            branch->some[n] = (struct srpi_region){
                .x = {.begin = region->x / by, .end = (right + by - 1) / by},
                .y = {.begin = region->y / by, .end = (bottom + by - 1) / by},
                .picture_width = width,
                .picture_height = height};
        }
        branch->started = r == count && srpi_executor_start(branch->executor, branch->some, n,
                                                            &branch->io);
        if (!branch->started) {
            code = srpi_executor_process(branch->executor, branch->some, n, &branch->io, err);
        }
    }
    return code;
}

enum srp_err srpi_branch_start(struct srpi_branch *branch, struct srpi_work *work,
                               const struct srp_picture *in, const struct srp_picture *out,
                               const struct srp_region *regions, uint32_t count,
                               struct srp_error *err)
{
    branch->work = work;
    branch->started = false;
    /* The same for all branches: they share it. */
    const enum srp_err code = srpi_work_reserve(work, in->width, out->width, in->width, err);
    if (code != SRP_OK || count == 0) {
        return code;
    }
    if (!branch->base) {
        return start_network(branch, in, out, regions, count, err);
    }
    srpi_recipe_base(&branch->filtering.pipe, in, out, srpi_model_graph(branch->model)->scale,
                     SRPI_FILTER_CUBIC);
    start_filter(&branch->filtering, work, regions, count);
    branch->started = true;
    return SRP_OK;
}

void srpi_branch_work(struct srpi_branch *branch, uint32_t worker)
{
    if (!branch->started) {
        return;
    }
    if (branch->base) {
        srpi_bands_work(&branch->filtering.bands, worker);
        return;
    }
    /* What the worker made for another branch is none of this one's. */
    srpi_scratch_reset(&branch->work->storing[worker]);
    srpi_scratch_reset(&branch->work->loading[worker]);
    srpi_executor_work(branch->executor, worker);
}

static void do_branch(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)begin;
    (void)end;
    srpi_branch_work(context, worker);
}

enum srp_err srpi_branch_run(struct srpi_branch *branch, struct srpi_work *work,
                             const struct srp_picture *in, const struct srp_picture *out,
                             const struct srp_region *regions, uint32_t count,
                             struct srp_error *err)
{
    const enum srp_err code = srpi_branch_start(branch, work, in, out, regions, count, err);
    if (code == SRP_OK) {
        srpi_pool_for(work->pool, do_branch, branch, srpi_pool_threads(work->pool), 1);
    }
    return code;
}
