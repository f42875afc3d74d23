/* SPDX-License-Identifier: BSD-2-Clause */
#include <srp/upscaler.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <srp/limits.h>

#include "exec/branch.h"
#include "exec/cells.h"
#include "exec/recipe.h"
#include "exec/upscaler.h"
#include "model/error.h"

/* A cell that is copied from the picture before instead of being computed. */
#define REUSED 255u

/* What routings need from one call to the next. */
struct routed {
    bool valid;                /* the last call made a picture with what is here */
    uint32_t cell_width, cell_height;
    uint8_t *paths;            /* of each cell */
    uint8_t *work;             /* the same, and REUSED */
    struct srp_region *regions;
    uint32_t room;             /* cells that fit */
    struct srp_picture in;     /* a copy; in memory of its own, without gaps */
    size_t in_size;
    struct srp_picture out;    /* where it lies is not looked at */
};

/* Time that a worker took for each path in a routed call; in a cache line of its own. */
struct spent {
    _Alignas(64) double seconds[SRP_MAX_PATHS];
};

struct srp_upscaler {
    uint32_t scale;
    enum srp_backend backend;
    enum srp_dtype dtype;
    bool unfused; /* tests alone */
    struct srp_model *model; /* NULL: none */
    struct srpi_branch *branches; /* of each path; NULL: no model */
    uint32_t branch_count;
    struct srpi_work work;
    struct srpi_filtering filtering; /* without a model */
    struct spent *spent; /* one entry per worker */
    uint8_t *halved;       /* an RGB input as 4:2:0, for networks that want that */
    size_t halved_size;
    struct routed routed;
};

/* ---- life ------------------------------------------------------------------------------------ */

static void destroy_branches(struct srpi_branch *branches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        srpi_branch_destroy(&branches[i]);
    }
    free(branches);
}

static enum srp_err create_branches(struct srp_upscaler *up, struct srp_model *model,
                                    struct srpi_branch **out, struct srp_error *err)
{
    const struct srpi_graph *graph = srpi_model_graph(model);
    if (graph->scale != up->scale) {
        return srpi_fail(err, SRP_ERR_USAGE, "model '%s' has scale %u, the upscaler %u",
                         graph->name, graph->scale, up->scale);
    }
    struct srpi_branch *branches = calloc(model->path_count, sizeof(branches[0]));
    if (branches == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an upscaler");
    }
    for (uint32_t i = 0; i < model->path_count; i++) {
        struct srp_model *path = model->paths != NULL ? &model->paths[i] : model;
        const enum srp_err code = srpi_branch_create(&branches[i], path, up->backend, up->dtype,
                                                     up->work.pool, !up->unfused, err);
        if (code != SRP_OK) {
            destroy_branches(branches, i);
            return code;
        }
    }
    *out = branches;
    return SRP_OK;
}

enum srp_err srp_upscaler_set_model(struct srp_upscaler *up, struct srp_model *model,
                                    struct srp_error *err)
{
    if (up == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no upscaler");
    }
    struct srpi_branch *branches = NULL;
    const uint32_t count = model != NULL ? model->path_count : 0;
    if (model != NULL) {
        const enum srp_err code = create_branches(up, model, &branches, err);
        if (code != SRP_OK) {
            return code;
        }
        srp_model_ref(model);
    }
    for (uint32_t i = 0; i < count && i < up->branch_count; i++) {
        if (branches[i].executor != NULL && up->branches[i].executor != NULL) {
            srpi_executor_inherit(branches[i].executor, up->branches[i].executor);
        }
    }
    destroy_branches(up->branches, up->branch_count);
    srp_model_unref(&up->model);
    up->branches = branches;
    up->branch_count = count;
    up->model = model;
    up->routed.valid = false;
    return SRP_OK;
}

enum srp_err srpi_upscaler_set_fused(struct srp_upscaler *up, bool fused, struct srp_error *err)
{
    up->unfused = !fused;
    return srp_upscaler_set_model(up, up->model, err);
}

enum srp_err srp_upscaler_create(struct srp_upscaler **out,
                                 const struct srp_upscaler_params *params, struct srp_error *err)
{
    if (out == NULL || params == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "an upscaler needs parameters");
    }
    uint32_t scale = params->scale;
    if (params->model != NULL) {
        const uint32_t models = srpi_model_graph(params->model)->scale;
        if (scale != 0 && scale != models) {
            return srpi_fail(err, SRP_ERR_USAGE, "scale %u was asked for, the model has %u", scale,
                             models);
        }
        scale = models;
    }
    if (scale < 1 || scale > SRP_MAX_SCALE) {
        return srpi_fail(err, SRP_ERR_USAGE, "scale %u is not from 1 to %u", scale, SRP_MAX_SCALE);
    }
    struct srp_upscaler *up = calloc(1, sizeof(*up));
    if (up == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an upscaler");
    }
    up->scale = scale;
    up->backend = params->backend;
    up->dtype = params->dtype;
    enum srp_err code = srpi_work_create(&up->work, params->threads, err);
    if (code == SRP_OK) {
        const size_t size = srpi_pool_threads(up->work.pool) * sizeof(up->spent[0]);
        up->spent = aligned_alloc(_Alignof(struct spent), size);
        if (up->spent == NULL) {
            code = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an upscaler");
        }
    }
    if (code == SRP_OK) {
        code = srp_upscaler_set_model(up, params->model, err);
    }
    if (code != SRP_OK) {
        srp_upscaler_destroy(&up);
        return code;
    }
    *out = up;
    return SRP_OK;
}

void srp_upscaler_destroy(struct srp_upscaler **pointer)
{
    if (pointer == NULL || *pointer == NULL) {
        return;
    }
    struct srp_upscaler *up = *pointer;
    *pointer = NULL;
    destroy_branches(up->branches, up->branch_count);
    srp_model_unref(&up->model);
    srpi_work_destroy(&up->work);
    free(up->halved);
    free(up->spent);
    free(up->routed.paths);
    free(up->routed.work);
    free(up->routed.regions);
    free(up->routed.in.data[0]);
    free(up);
}

void srp_upscaler_get_info(const struct srp_upscaler *up, struct srp_executor_info *info)
{
    *info = (struct srp_executor_info){.dtype = "", .isa = ""};
    uint64_t arena = 0;
    for (uint32_t i = 0; i < up->branch_count; i++) {
        if (up->branches[i].executor != NULL) {
            srp_executor_get_info(up->branches[i].executor, info);
            arena += info->arena_bytes;
        }
    }
    info->arena_bytes = arena;
}

/* ---- processing ------------------------------------------------------------------------------ */

static enum srp_err check_pair(const struct srp_picture *in, const struct srp_picture *out,
                               uint32_t scale, struct srp_error *err)
{
    enum srp_err code = srpi_picture_check(in, "input", err);
    if (code == SRP_OK) {
        code = srpi_picture_check(out, "output", err);
    }
    if (code != SRP_OK) {
        return code;
    }
    if (out->width > in->width * scale || out->height > in->height * scale) {
        return srpi_fail(err, SRP_ERR_USAGE, "the output %ux%u is larger than %u times %ux%u",
                         out->width, out->height, scale, in->width, in->height);
    }
    if (srpi_picture_is_yuv(in) && srpi_picture_is_yuv(out) &&
        (in->matrix != out->matrix || in->range != out->range || in->chroma != out->chroma)) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "input and output differ in matrix, range or chroma position");
    }
    return SRP_OK;
}

static struct srp_region whole_of(const struct srp_picture *in)
{
    return (struct srp_region){.width = in->width, .height = in->height};
}

static enum srp_err run_filter(struct srp_upscaler *up, const struct srp_picture *in,
                               const struct srp_picture *out, uint32_t scale,
                               enum srpi_filter filter, struct srp_error *err)
{
    return srpi_filter_run(&up->filtering, &up->work, in, out, scale, filter, err);
}

/* An RGB picture as 4:2:0 in memory of the upscaler. */
static enum srp_err halve_input(struct srp_upscaler *up, const struct srp_picture *in,
                                const struct srp_picture *out, struct srp_picture *halved,
                                struct srp_error *err)
{
    const size_t width = in->width, height = in->height;
    const size_t half_width = (width + 1) / 2, half = half_width * ((height + 1) / 2);
    const size_t size = width * height + 2 * half; /* SRP_MAX_PICTURE_PIXELS bounds it */
    if (size > up->halved_size) {
        free(up->halved);
        up->halved_size = 0;
        up->halved = malloc(size);
        if (up->halved == NULL) {
            return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a %ux%u picture", in->width,
                             in->height);
        }
        up->halved_size = size;
    }
    *halved = srpi_picture_like(in, out);
    halved->format = SRP_FORMAT_YUV420;
    halved->width = in->width;
    halved->height = in->height;
    halved->data[0] = up->halved;
    halved->data[1] = up->halved + width * height;
    halved->data[2] = halved->data[1] + half;
    halved->stride[0] = (ptrdiff_t)width;
    halved->stride[1] = halved->stride[2] = (ptrdiff_t)half_width;
    return run_filter(up, in, halved, 1, SRPI_FILTER_CUBIC, err);
}

/* The picture as the model's networks take it. */
static enum srp_err network_input(struct srp_upscaler *up, const struct srp_picture *in,
                                  const struct srp_picture *out, struct srp_picture *taken,
                                  struct srp_error *err)
{
    *taken = *in;
    return srpi_model_graph(up->model)->colour == SRP_COLOUR_YUV420 && !srpi_picture_is_yuv(in)
               ? halve_input(up, in, out, taken, err)
               : SRP_OK;
}

static enum srp_err run_model(struct srp_upscaler *up, const struct srp_picture *in,
                              const struct srp_picture *out, struct srp_error *err)
{
    const struct srp_region whole = whole_of(in);
    struct srp_picture taken;
    const enum srp_err code = network_input(up, in, out, &taken, err);
    return code == SRP_OK ? srpi_branch_run(&up->branches[up->model->default_path], &up->work,
                                            &taken, out, &whole, 1, err)
                          : code;
}

enum srp_err srp_upscaler_process(struct srp_upscaler *up, enum srp_method method,
                                  const struct srp_picture *in, const struct srp_picture *out,
                                  struct srp_error *err)
{
    if (up == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no upscaler");
    }
    const enum srp_err code = check_pair(in, out, up->scale, err);
    if (code != SRP_OK) {
        return code;
    }
    switch (method) {
    case SRP_METHOD_SR:
        if (up->model == NULL) {
            return srpi_fail(err, SRP_ERR_USAGE, "the upscaler has no model");
        }
        return run_model(up, in, out, err);
    case SRP_METHOD_BICUBIC:
        return run_filter(up, in, out, up->scale, SRPI_FILTER_CUBIC, err);
    case SRP_METHOD_LANCZOS:
        return run_filter(up, in, out, up->scale, SRPI_FILTER_LANCZOS, err);
    }
    return srpi_fail(err, SRP_ERR_USAGE, "%d is not a method", (int)method);
}

/* ---- a path for each cell -------------------------------------------------------------------- */

/* Room for the cells, and for a copy of the input; allocates when these are larger than before. */
static enum srp_err reserve_routed(struct routed *routed, const struct srpi_cells *cells,
                                   const struct srp_picture *in, struct srp_error *err)
{
    const uint32_t count = cells->columns * cells->rows;
    if (count > routed->room) {
        routed->valid = false;
        routed->room = 0;
        free(routed->paths);
        free(routed->work);
        free(routed->regions);
        routed->paths = malloc(count);
        routed->work = malloc(count);
        routed->regions = malloc(count * sizeof(routed->regions[0]));
        if (routed->paths == NULL || routed->work == NULL || routed->regions == NULL) {
            return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for %u cells", count);
        }
        routed->room = count;
    }
    /* SRP_MAX_PICTURE_PIXELS bounds them. */
    const size_t pixels = (size_t)in->width * in->height;
    const size_t half = ((size_t)in->width + 1) / 2 * (((size_t)in->height + 1) / 2);
    const bool yuv = srpi_picture_is_yuv(in);
    const size_t step = in->format == SRP_FORMAT_RGB ? 3 : in->format == SRP_FORMAT_BGRA ? 4 : 1;
    const size_t size = yuv ? pixels + 2 * half : step * pixels;
    if (size > routed->in_size) {
        routed->valid = false;
        routed->in_size = 0;
        free(routed->in.data[0]);
        routed->in.data[0] = malloc(size);
        if (routed->in.data[0] == NULL) {
            return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a %ux%u picture", in->width,
                             in->height);
        }
        routed->in_size = size;
    }
    return SRP_OK;
}

/* Keeps the input for the next call. */
static void remember(struct routed *routed, const struct srpi_cells *cells,
                     const struct srp_picture *in, const struct srp_picture *out,
                     const uint8_t *paths)
{
    uint8_t *memory = routed->in.data[0];
    const size_t pixels = (size_t)in->width * in->height, half = ((size_t)in->width + 1) / 2;
    routed->in = *in;
    routed->in.data[0] = memory;
    routed->in.data[1] = memory + pixels;
    routed->in.data[2] = memory + pixels + half * (((size_t)in->height + 1) / 2);
    const size_t step = in->format == SRP_FORMAT_RGB ? 3 : in->format == SRP_FORMAT_BGRA ? 4 : 1;
    routed->in.stride[0] = (ptrdiff_t)(in->width * step);
    routed->in.stride[1] = (ptrdiff_t)(in->format == SRP_FORMAT_NV12 ? 2 * half : half);
    routed->in.stride[2] = (ptrdiff_t)half;
    const struct srp_region whole = whole_of(in);
    srpi_picture_copy(in, &routed->in, &whole);
    routed->out = *out;
    routed->cell_width = cells->cell_width;
    routed->cell_height = cells->cell_height;
    memcpy(routed->paths, paths, (size_t)cells->columns * cells->rows);
    routed->valid = true;
}

static bool same_kind(const struct srp_picture *a, const struct srp_picture *b)
{
    return a->format == b->format && a->width == b->width && a->height == b->height &&
           a->matrix == b->matrix && a->range == b->range && a->chroma == b->chroma;
}

/* How far around a cell its pixels see in the input picture: the network, and in front of it or
 * instead of it chroma that is enlarged, which takes two samples of it. */
static uint32_t sight(const struct srpi_branch *branch)
{
    const struct srpi_graph *graph = srpi_model_graph(branch->model);
    const uint32_t by = graph->colour == SRP_COLOUR_YUV420 ? 2 : 1;
    return graph->halo * by + 6;
}

/* Marks and copies the cells that are those of the picture before; returns their number. */
static uint32_t reuse(struct srp_upscaler *up, const struct srpi_cells *cells,
                      const struct srp_picture *in, const struct srp_picture *out,
                      const struct srp_routing *routing)
{
    const struct routed *routed = &up->routed;
    const struct srp_picture *previous = routing->previous;
    if (previous == NULL || !routed->valid || routed->cell_width != cells->cell_width ||
        routed->cell_height != cells->cell_height || !same_kind(&routed->in, in) ||
        !same_kind(&routed->out, out) || !same_kind(previous, out)) {
        return 0;
    }
    uint32_t count = 0;
    for (uint32_t y = 0; y < cells->rows; y++) {
        for (uint32_t x = 0; x < cells->columns; x++) {
            const uint32_t i = y * cells->columns + x;
            const struct srp_region region = srpi_cell_region(cells, x, y);
            if (routing->paths[i] == routed->paths[i] &&
                srpi_pictures_equal(&routed->in, in, &region,
                                    sight(&up->branches[routing->paths[i]]))) {
                routed->work[i] = REUSED;
                count++;
            }
        }
    }
    const uint32_t regions = srpi_cells_merge(cells, routed->work, REUSED, routed->regions);
    for (uint32_t r = 0; r < regions; r++) {
        const struct srp_region *from = &routed->regions[r];
        const uint32_t right = (from->x + from->width) * up->scale;
        const uint32_t bottom = (from->y + from->height) * up->scale;
        struct srp_region to = {.x = from->x * up->scale, .y = from->y * up->scale};
        if (to.x < out->width && to.y < out->height) {
            to.width = (right < out->width ? right : out->width) - to.x;
            to.height = (bottom < out->height ? bottom : out->height) - to.y;
            srpi_picture_copy(previous, out, &to);
        }
    }
    return count;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum srp_err check_routing(const struct srp_upscaler *up, const struct srp_picture *in,
                                  const struct srp_routing *routing, struct srpi_cells *cells,
                                  struct srp_error *err)
{
    if (routing == NULL || routing->paths == NULL || up->model == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "a routing needs a model and paths");
    }
    enum srp_err code =
        srpi_cells_init(cells, in, routing->cell_width, routing->cell_height, err);
    for (uint32_t i = 0; code == SRP_OK && i < cells->columns * cells->rows; i++) {
        if (routing->paths[i] >= up->branch_count) {
            code = srpi_fail(err, SRP_ERR_USAGE, "cell %u takes path %u of %u", i,
                             routing->paths[i], up->branch_count);
        }
    }
    if (code == SRP_OK && routing->previous != NULL) {
        code = srpi_picture_check(routing->previous, "previous", err);
    }
    return code;
}

/* Each worker goes through all paths that were started, the dearest first: so the cheapest, whose
 * parts are small, are what evens out the threads at the end, and nobody waits between paths. */
static void work_on_paths(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)begin;
    (void)end;
    struct srp_upscaler *up = context;
    for (uint32_t p = up->branch_count; p-- > 0;) {
        const double start = now();
        srpi_branch_work(&up->branches[p], worker);
        up->spent[worker].seconds[p] += now() - start;
    }
}

static enum srp_err run_paths(struct srp_upscaler *up, const struct srpi_cells *cells,
                              const struct srp_picture *in, const struct srp_picture *out,
                              struct srp_routing_stats *stats, struct srp_error *err)
{
    struct routed *routed = &up->routed;
    const uint32_t threads = srpi_pool_threads(up->work.pool);
    memset(up->spent, 0, threads * sizeof(up->spent[0]));
    for (uint32_t p = 0; p < up->branch_count; p++) {
        const double begin = now();
        const uint32_t regions =
            stats->cells[p] == 0
                ? 0
                : srpi_cells_merge(cells, routed->work, (uint8_t)p, routed->regions);
        for (uint32_t r = 0; r < regions; r++) {
            stats->pixels[p] += (uint64_t)routed->regions[r].width * routed->regions[r].height;
        }
        const enum srp_err code = srpi_branch_start(&up->branches[p], &up->work, in, out,
                                                    routed->regions, regions, err);
        if (code != SRP_OK) {
            return code;
        }
        stats->seconds[p] = regions == 0 ? 0.0 : now() - begin;
    }
    const double begin = now();
    srpi_pool_for(up->work.pool, work_on_paths, up, threads, 1);
    const double wall = now() - begin;
    double of[SRP_MAX_PATHS] = {0.0}, all = 0.0;
    for (uint32_t p = 0; p < up->branch_count; p++) {
        for (uint32_t worker = 0; stats->cells[p] > 0 && worker < threads; worker++) {
            of[p] += up->spent[worker].seconds[p];
        }
        all += of[p];
    }
    for (uint32_t p = 0; all > 0.0 && p < up->branch_count; p++) {
        stats->seconds[p] += wall * of[p] / all;
    }
    return SRP_OK;
}

enum srp_err srp_upscaler_process_routed(struct srp_upscaler *up, const struct srp_picture *in,
                                         const struct srp_picture *out,
                                         const struct srp_routing *routing,
                                         struct srp_routing_stats *stats, struct srp_error *err)
{
    if (up == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no upscaler");
    }
    struct srp_routing_stats unused;
    stats = stats != NULL ? stats : &unused;
    memset(stats, 0, sizeof(*stats));
    struct srpi_cells cells;
    struct routed *routed = &up->routed;
    struct srp_picture taken;
    enum srp_err code = check_pair(in, out, up->scale, err);
    if (code == SRP_OK) {
        code = check_routing(up, in, routing, &cells, err);
    }
    if (code == SRP_OK) {
        code = reserve_routed(routed, &cells, in, err);
    }
    if (code == SRP_OK) {
        code = network_input(up, in, out, &taken, err);
    }
    if (code != SRP_OK) {
        return code;
    }
    const uint32_t count = cells.columns * cells.rows;
    memcpy(routed->work, routing->paths, count);
    stats->reused = reuse(up, &cells, in, out, routing);
    routed->valid = false;
    for (uint32_t i = 0; i < count; i++) {
        if (routed->work[i] != REUSED) {
            stats->cells[routed->work[i]]++;
        }
    }
    code = run_paths(up, &cells, &taken, out, stats, err);
    if (code == SRP_OK) {
        remember(routed, &cells, in, out, routing->paths);
    }
    return code;
}

enum srp_err srp_picture_convert(const struct srp_picture *in, const struct srp_picture *out,
                                 struct srp_error *err)
{
    enum srp_err code = check_pair(in, out, 1, err);
    if (code == SRP_OK && (in->width != out->width || in->height != out->height)) {
        code = srpi_fail(err, SRP_ERR_USAGE, "a conversion of %ux%u to %ux%u is not of equal size",
                         in->width, in->height, out->width, out->height);
    }
    struct srp_upscaler *up = NULL;
    const struct srp_upscaler_params params = {.scale = 1, .threads = 1};
    if (code == SRP_OK) {
        code = srp_upscaler_create(&up, &params, err);
    }
    if (code == SRP_OK) {
        code = run_filter(up, in, out, 1, SRPI_FILTER_CUBIC, err);
    }
    srp_upscaler_destroy(&up);
    return code;
}
