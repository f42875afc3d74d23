/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/executor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <srp/limits.h>

#include "exec/whole.h"
#include "model/error.h"
#include "model/model.h"

/* Kernels may read, and ignore, a few floats behind the last tensor. */
#define ARENA_SLACK 256u
#define HUGE_PAGE ((size_t)2 << 20)
#define LARGEST_PAGE ((size_t)64 << 10) /* of small ones, of any machine */
#define LEAST_WASTE ((size_t)128 << 10) /* up to so much a huge page more is worth */

struct srp_executor {
    struct srp_model *model;
    const struct srpi_graph *graph;
    const struct srpi_backend *backend;
    struct srpi_pool *pool;
    bool own_pool;
    uint32_t wanted; /* the tensor to compute */
    uint32_t width, height; /* reserved; 0: none */
    uint32_t span;          /* width of the widest region */
    char *arena;
    size_t arena_size, arena_bytes; /* mapped; needed by the plan */

    /* NATIVE */
    bool streams;
    struct srpi_program program;
    struct srpi_layers layers;
    struct srpi_stream stream;

    struct srpi_whole whole; /* the others */
};

/* ---- backends -------------------------------------------------------------------------------- */

const struct srpi_backend *srpi_backend_find(enum srp_backend backend)
{
    static const struct srpi_backend *const all[] = {
        &srpi_backend_native, /* fastest first */
#if SRP_HAVE_XNNPACK
        &srpi_backend_xnnpack,
#endif
        &srpi_backend_reference,
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if ((backend == SRP_BACKEND_AUTO || backend == all[i]->id) && all[i]->usable()) {
            return all[i];
        }
    }
    return NULL;
}

static const struct {
    enum srp_backend backend;
    const char *name;
} backend_names[] = {
    {SRP_BACKEND_AUTO, "auto"},
    {SRP_BACKEND_REFERENCE, "reference"},
    {SRP_BACKEND_XNNPACK, "xnnpack"},
    {SRP_BACKEND_NATIVE, "native"},
};
#define BACKEND_COUNT (sizeof(backend_names) / sizeof(backend_names[0]))

const char *srp_backend_name(enum srp_backend backend)
{
    for (size_t i = 0; i < BACKEND_COUNT; i++) {
        if (backend_names[i].backend == backend) {
            return backend_names[i].name;
        }
    }
    return "unknown";
}

enum srp_err srp_backend_from_name(enum srp_backend *out, const char *name)
{
    for (size_t i = 0; name != NULL && i < BACKEND_COUNT; i++) {
        if (strcmp(backend_names[i].name, name) == 0) {
            if (srpi_backend_find(backend_names[i].backend) == NULL) {
                return SRP_ERR_UNSUPPORTED;
            }
            *out = backend_names[i].backend;
            return SRP_OK;
        }
    }
    return SRP_ERR_USAGE;
}

/* ---- dtypes ---------------------------------------------------------------------------------- */

static const struct {
    enum srp_dtype dtype;
    const char *name;
    enum srpi_dtype kernels;
} dtypes[] = {
    {SRP_DTYPE_AUTO, "auto", SRPI_F32},
    {SRP_DTYPE_F32, "f32", SRPI_F32},
    {SRP_DTYPE_INT8, "int8", SRPI_Q8},
    {SRP_DTYPE_BF16, "bf16", SRPI_BF16},
};
#define DTYPE_COUNT (sizeof(dtypes) / sizeof(dtypes[0]))

const char *srp_dtype_name(enum srp_dtype dtype)
{
    return (size_t)dtype < DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

enum srp_err srp_dtype_from_name(enum srp_dtype *out, const char *name)
{
    for (size_t i = 0; name != NULL && i < DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = dtypes[i].dtype;
            return SRP_OK;
        }
    }
    return SRP_ERR_USAGE;
}

bool srpi_executor_dtype(enum srpi_dtype *out, enum srp_dtype dtype)
{
    if ((size_t)dtype >= DTYPE_COUNT) {
        return false;
    }
    *out = dtypes[dtype].kernels;
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum srp_err create_stream(struct srp_executor *ex, enum srp_dtype dtype,
                                  const struct srpi_sink *sink, struct srp_error *err)
{
    ex->streams = true;
    enum srp_err code = srpi_program_create(&ex->program, ex->graph, ex->wanted, true, err);
    if (code == SRP_OK) {
        code = srpi_layers_create(&ex->layers, &ex->program, srpi_kernels_best(),
                                  dtypes[dtype].kernels, err);
    }
    return code == SRP_OK ? srpi_stream_create(&ex->stream, &ex->layers, ex->pool, sink, err)
                          : code;
}

static enum srp_err create_whole(struct srp_executor *ex, enum srp_dtype dtype,
                                 const struct srpi_sink *sink, struct srp_error *err)
{
    srpi_model_read(ex->model, 1);
    const enum srp_err code = srpi_graph_check_bound(ex->graph, err);
    return code == SRP_OK ? srpi_whole_create(&ex->whole, ex->graph, ex->backend,
                                              dtypes[dtype].kernels, ex->pool, ex->wanted, sink,
                                              err)
                          : code;
}

enum srp_err srpi_executor_create(struct srp_executor **out, struct srp_model *model,
                                  enum srp_backend backend, enum srp_dtype dtype,
                                  struct srpi_pool *pool, uint32_t wanted,
                                  const struct srpi_sink *sink, struct srp_error *err)
{
    const struct srpi_backend *found = srpi_backend_find(backend);
    if (found == NULL) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED,
                         "backend '%s' is not in this build or not for this machine",
                         srp_backend_name(backend));
    }
    if ((size_t)dtype >= DTYPE_COUNT) {
        return srpi_fail(err, SRP_ERR_USAGE, "%d is not a dtype", (int)dtype);
    }
    const struct srpi_graph *graph = srpi_model_graph(model);
    if (dtype == SRP_DTYPE_AUTO && graph->ranges != NULL && found->id == SRP_BACKEND_NATIVE) {
        dtype = SRP_DTYPE_INT8; /* whoever made the parameters says what that does to the picture */
    }
    struct srp_executor *ex = calloc(1, sizeof(*ex));
    if (ex == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    ex->model = srp_model_ref(model);
    ex->graph = graph;
    ex->backend = found;
    ex->pool = pool;
    ex->wanted = wanted;
    const enum srp_err code = found->id == SRP_BACKEND_NATIVE ? create_stream(ex, dtype, sink, err)
                                                              : create_whole(ex, dtype, sink, err);
    if (code != SRP_OK) {
        srp_executor_destroy(&ex);
        return code;
    }
    *out = ex;
    return SRP_OK;
}

enum srp_err srp_executor_create(struct srp_executor **out,
                                 const struct srp_executor_params *params, struct srp_error *err)
{
    if (out == NULL || params == NULL || params->model == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "an executor needs a model");
    }
    struct srpi_pool *pool = NULL;
    enum srp_err code = srpi_pool_create(&pool, params->threads, err);
    if (code != SRP_OK) {
        return code;
    }
    struct srp_executor *ex = NULL;
    struct srp_model *model = srpi_model_default(params->model);
    const struct srpi_sink sink = {0};
    code = srpi_executor_create(&ex, model, params->backend, params->dtype, pool,
                                srpi_model_graph(model)->output, &sink, err);
    if (code != SRP_OK) {
        srpi_pool_destroy(&pool);
        return code;
    }
    ex->own_pool = true;
    *out = ex;
    return SRP_OK;
}

void srp_executor_destroy(struct srp_executor **pointer)
{
    if (pointer == NULL || *pointer == NULL) {
        return;
    }
    struct srp_executor *ex = *pointer;
    *pointer = NULL;
    if (ex->streams) {
        srpi_stream_destroy(&ex->stream);
        if (ex->layers.program != NULL) {
            srpi_layers_destroy(&ex->layers);
        }
        srpi_program_destroy(&ex->program);
    } else {
        srpi_whole_destroy(&ex->whole);
        srpi_model_read(ex->model, -1);
    }
    if (ex->own_pool) {
        srpi_pool_destroy(&ex->pool);
    }
    if (ex->arena != NULL) {
        munmap(ex->arena, ex->arena_size);
    }
    srp_model_unref(&ex->model);
    free(ex);
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct touch {
    char *memory;
    size_t size;
};

/* First touch from the threads that will work there, and before the first frame. */
static void touch_pages(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct touch *touch = context;
    for (size_t at = begin * HUGE_PAGE; at < end * HUGE_PAGE && at < touch->size; at += 4096) {
        ((volatile char *)touch->memory)[at] = 0;
    }
}

/* Memory that begins at a huge page and ends at a small one: what the last huge page would add
 * counts where a program is measured by its memory. NULL: there is none. */
static void *map_arena(size_t size)
{
    const size_t whole = size / HUGE_PAGE * HUGE_PAGE;
    char *mapped = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    const size_t before = (HUGE_PAGE - (uintptr_t)mapped % HUGE_PAGE) % HUGE_PAGE;
    if (before != 0) {
        munmap(mapped, before);
    }
    munmap(mapped + before + size, HUGE_PAGE - before); /* never empty */
    if (whole != 0) {
        madvise(mapped + before, whole, MADV_HUGEPAGE); /* only faster */
    }
    return mapped + before;
}

static enum srp_err grow_arena(struct srp_executor *ex, size_t needed, struct srp_error *err)
{
    size_t size = (needed + ARENA_SLACK + LARGEST_PAGE - 1) / LARGEST_PAGE * LARGEST_PAGE;
    const size_t rest = HUGE_PAGE - size % HUGE_PAGE;
    size += rest <= LEAST_WASTE ? rest : 0;
    if (size <= ex->arena_size) {
        return SRP_OK;
    }
    if (ex->arena != NULL) {
        munmap(ex->arena, ex->arena_size);
        ex->arena = NULL;
        ex->arena_size = 0;
    }
    void *memory = map_arena(size);
    if (memory == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for %zu bytes of intermediates", size);
    }
    ex->arena = memory;
    ex->arena_size = size;
    struct touch touch = {.memory = ex->arena, .size = size};
    srpi_pool_for(ex->pool, touch_pages, &touch,
                  (uint32_t)((size + HUGE_PAGE - 1) / HUGE_PAGE), 1);
    return SRP_OK;
}

void srpi_executor_inherit(struct srp_executor *ex, struct srp_executor *from)
{
    ex->arena = from->arena;
    ex->arena_size = from->arena_size;
    from->arena = NULL;
    from->arena_size = 0;
    from->width = from->height = 0;
}

/* Rings do not depend on the height, and wide rings hold narrow rows: a plan serves all smaller
 * pictures and regions down to half its width, below which blocks of more rows are worth a new
 * plan. */
static enum srp_err reserve_stream(struct srp_executor *ex, uint32_t width, uint32_t height,
                                   uint32_t span, struct srp_error *err)
{
    const struct srpi_stream_params *planned = &ex->stream.params;
    if (ex->stream.arena != NULL && width > 0 && height > 0 && width <= planned->picture_width &&
        height <= planned->picture_height && span <= planned->width &&
        span > planned->width / 2) {
        return SRP_OK;
    }
    enum srp_err code = srpi_stream_reserve(&ex->stream, width, height, span, height, err);
    if (code == SRP_OK) {
        ex->arena_bytes = ex->stream.plan.arena_bytes;
        code = grow_arena(ex, ex->arena_bytes, err);
    }
    if (code == SRP_OK) {
        srpi_stream_attach(&ex->stream, ex->arena);
    }
    return code;
}

static enum srp_err reserve_whole(struct srp_executor *ex, uint32_t width, uint32_t height,
                                  struct srp_error *err)
{
    enum srp_err code = srpi_whole_reserve(&ex->whole, width, height, err);
    if (code == SRP_OK) {
        ex->arena_bytes = ex->whole.arena_bytes;
        code = grow_arena(ex, ex->arena_bytes, err);
    }
    return code == SRP_OK ? srpi_whole_attach(&ex->whole, ex->arena, err) : code;
}

/* For regions of a width x height picture that are at most `span` wide. */
static enum srp_err reserve(struct srp_executor *ex, uint32_t width, uint32_t height, uint32_t span,
                            struct srp_error *err)
{
    if (ex == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no executor");
    }
    if (width == ex->width && height == ex->height && span == ex->span) {
        return SRP_OK;
    }
    const uint64_t pixels = (uint64_t)width * height;
    if (pixels * ex->graph->scale * ex->graph->scale > SRP_MAX_PICTURE_PIXELS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u times %u is more than %u pixels", width, height,
                         ex->graph->scale, SRP_MAX_PICTURE_PIXELS);
    }
    ex->width = ex->height = 0;
    const enum srp_err code = ex->streams ? reserve_stream(ex, width, height, span, err)
                                          : reserve_whole(ex, width, height, err);
    if (code == SRP_OK) {
        ex->width = width;
        ex->height = height;
        ex->span = span;
    }
    return code;
}

enum srp_err srp_executor_reserve(struct srp_executor *ex, uint32_t width, uint32_t height,
                                  struct srp_error *err)
{
    return reserve(ex, width, height, width, err);
}

static bool same_sides(const struct srpi_sides *a, const struct srpi_sides *b)
{
    return a->above == b->above && a->below == b->below && a->left == b->left &&
           a->right == b->right;
}

void srpi_executor_set_sink(struct srp_executor *ex, const struct srpi_sink *sink)
{
    struct srpi_sink *planned = &ex->stream.params.sink;
    if (!ex->streams || (same_sides(&planned->wanted, &sink->wanted) &&
                         planned->reads_input == sink->reads_input &&
                         same_sides(&planned->input, &sink->input) &&
                         planned->align == sink->align)) {
        return; /* the others have whole tensors */
    }
    *planned = *sink;
    ex->stream.arena = NULL;
    ex->width = ex->height = 0;
}

struct srpi_codec srpi_executor_input_codec(const struct srp_executor *ex)
{
    return ex->streams ? srpi_layers_codec(&ex->layers, ex->graph->input)
                       : srpi_whole_codec(&ex->whole);
}

enum srp_err srpi_executor_process(struct srp_executor *ex, const struct srpi_region *regions,
                                   uint32_t count, const struct srpi_stream_io *io,
                                   struct srp_error *err)
{
    if (ex->streams) {
        srpi_stream_process(&ex->stream, regions, count, io);
        return SRP_OK;
    }
    return srpi_whole_process(&ex->whole, regions, count, io, err);
}

bool srpi_executor_start(struct srp_executor *ex, const struct srpi_region *regions, uint32_t count,
                         const struct srpi_stream_io *io)
{
    if (ex->streams) {
        srpi_stream_start(&ex->stream, regions, count, io);
    }
    return ex->streams;
}

void srpi_executor_work(const struct srp_executor *ex, uint32_t worker)
{
    srpi_stream_work(&ex->stream, worker);
}

/* ---- tensors --------------------------------------------------------------------------------- */

struct tensors {
    const float *in;
    float *out;
    size_t in_row, out_row; /* values */
    uint32_t height;        /* rows of `in` */
    uint32_t channels, factor;
    float mean;
    struct srpi_codec codec;
};

/* Rows of a region are too short, and too far from each other, for the processor to foresee. */
#define ROWS_AHEAD 4u

static void prefetch(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i += 64 / sizeof(float)) {
        __builtin_prefetch(values + i);
    }
}

static void load_tensor(void *context, uint32_t worker, uint32_t y, struct srpi_span columns,
                        void *row, size_t fraction)
{
    (void)worker;
    const struct tensors *t = context;
    const float *in = t->in + y * t->in_row + (size_t)columns.begin * t->channels;
    size_t left = (size_t)(columns.end - columns.begin) * t->channels;
    struct srpi_codec codec = t->codec;
    codec.zero = srpi_codec_origin(&codec, t->mean); /* values have the mean */
    codec.fine_zero = srpi_codec_fine_origin(&codec, t->mean);
    const float mean = codec.dtype == SRPI_Q8 ? 0.0f : t->mean;
    char *to = row;
    if (t->height - y > ROWS_AHEAD) {
        prefetch(in + ROWS_AHEAD * t->in_row, left);
    }
    while (left > 0) {
        float values[256];
        const size_t count = left < 256 ? left : 256;
        srpi_row_shift(in, -mean, values, count);
        srpi_row_store_fine(&codec, values, to, fraction, count);
        in += count;
        to += count * codec.element;
        left -= count;
    }
}

static void store_tensor(void *context, uint32_t worker, const struct srpi_region *region,
                         struct srpi_span rows, const struct srpi_rows *wanted,
                         const struct srpi_rows *input)
{
    (void)worker;
    (void)input;
    const struct tensors *t = context;
    const size_t first = (size_t)region->x.begin * t->factor * t->channels;
    const size_t count = (size_t)(region->x.end - region->x.begin) * t->factor * t->channels;
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        const float *from = (const float *)srpi_rows_at(wanted, y) +
                            (first - (size_t)wanted->column * t->channels);
        float *to = t->out + y * t->out_row + first;
        if (rows.end - y > ROWS_AHEAD) {
            prefetch(to + ROWS_AHEAD * t->out_row, count);
        }
        srpi_row_shift(from, t->mean, to, count);
    }
}

static enum srp_err check_regions(const struct srp_region *regions, uint32_t count, uint32_t width,
                                  uint32_t height, struct srp_error *err)
{
    if (count > SRP_MAX_REGIONS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%u regions are more than %u", count,
                         SRP_MAX_REGIONS);
    }
    for (uint32_t r = 0; r < count; r++) {
        const struct srp_region *region = &regions[r];
        if (region->width == 0 || region->height == 0 || region->x > width ||
            region->y > height || region->width > width - region->x ||
            region->height > height - region->y) {
            return srpi_fail(err, SRP_ERR_USAGE, "region %u, %ux%u at (%u, %u), is not in %ux%u", r,
                             region->width, region->height, region->x, region->y, width, height);
        }
    }
    return SRP_OK;
}

static struct srpi_region region_of(const struct srp_region *region, uint32_t width,
                                    uint32_t height)
{
    return (struct srpi_region){.x = {.begin = region->x, .end = region->x + region->width},
                                .y = {.begin = region->y, .end = region->y + region->height},
                                .picture_width = width,
                                .picture_height = height};
}

static uint32_t widest(const struct srp_region *regions, uint32_t count)
{
    uint32_t most = 1;
    for (uint32_t r = 0; r < count; r++) {
        most = regions[r].width > most ? regions[r].width : most;
    }
    return most;
}

/* Rows of a step that is made in bands, with those that hang over. */
static uint64_t band_rows(const struct srp_executor *ex, const struct srpi_strip *strip, uint32_t s,
                          struct srpi_span rows)
{
    const struct srpi_layer *layer = &ex->layers.steps[s];
    const uint32_t few =
        layer->winograd != NULL && layer->direct != NULL ? layer->winograd->few : 0;
    uint64_t made = 0;
    for (uint32_t y = rows.begin, count = 0; y < rows.end; y += count) {
        count = srpi_stream_call(&ex->stream.plan, strip, ex->program.steps[s].output, y);
        count = count < rows.end - y ? count : rows.end - y;
        made += count > few ? ex->layers.grid[s] : count;
    }
    return made;
}

/* Both of a piece's spans are within the picture: 2^26 pixels of 2^22 MAC at most. */
static void add_piece(const struct srp_executor *ex, const struct srpi_region *region,
                      struct srp_macs *macs)
{
    const struct srpi_strip strip = srpi_stream_strip(&ex->stream.plan, region, 0, 1);
    for (uint32_t s = 0; s < ex->program.step_count; s++) {
        const struct srpi_step *step = &ex->program.steps[s];
        const struct srpi_span x = srpi_stream_columns(&ex->stream.plan, region, step->output);
        const struct srpi_span y = srpi_stream_rows(&ex->stream.plan, &strip, step->output);
        const uint64_t weights = srpi_node_weight_count(ex->graph, step->node);
        const uint32_t columns = x.end - x.begin, grid = ex->layers.grid[s];
        macs->needed += weights * columns * (uint64_t)(y.end - y.begin);
        macs->made += weights * ((columns + grid - 1) / grid * grid) *
                      band_rows(ex, &strip, s, y);
    }
}

enum srp_err srp_executor_region_macs(struct srp_executor *ex, uint32_t width, uint32_t height,
                                      const struct srp_region *regions, uint32_t count,
                                      struct srp_macs *macs, struct srp_error *err)
{
    if (ex == NULL || macs == NULL || (regions == NULL && count > 0)) {
        return srpi_fail(err, SRP_ERR_USAGE, "counting needs an executor and regions");
    }
    enum srp_err code = check_regions(regions, count, width, height, err);
    if (code == SRP_OK) {
        code = reserve(ex, width, height, widest(regions, count), err);
    }
    macs->needed = code == SRP_OK && !ex->streams ? ex->graph->macs_per_pixel * width * height : 0;
    macs->made = macs->needed;
    for (uint32_t r = 0; code == SRP_OK && ex->streams && r < count; r++) {
        const struct srpi_region region = region_of(&regions[r], width, height);
        for (uint32_t i = 0; i < srpi_stream_pieces(&ex->stream.plan, &region); i++) {
            const struct srpi_region piece = srpi_stream_piece(&ex->stream.plan, &region, i);
            add_piece(ex, &piece, macs);
        }
    }
    return code;
}

enum srp_err srp_executor_run_regions(struct srp_executor *ex, const float *in, uint32_t width,
                                      uint32_t height, const struct srp_region *regions,
                                      uint32_t count, float *out, struct srp_error *err)
{
    if (ex == NULL || in == NULL || out == NULL || (regions == NULL && count > 0)) {
        return srpi_fail(err, SRP_ERR_USAGE, "running needs an executor, an input and an output");
    }
    enum srp_err code = check_regions(regions, count, width, height, err);
    if (code == SRP_OK) {
        code = reserve(ex, width, height, widest(regions, count), err);
    }
    if (code != SRP_OK) {
        return code;
    }
    const struct srpi_graph *graph = ex->graph;
    struct tensors tensors = {.in = in,
                              .out = out,
                              .in_row = (size_t)width * graph->channels,
                              .out_row = (size_t)width * graph->scale * graph->channels,
                              .height = height,
                              .channels = graph->channels,
                              .factor = graph->scale,
                              .mean = graph->mean,
                              .codec = srpi_executor_input_codec(ex)};
    const struct srpi_stream_io io = {
        .load = load_tensor, .store = store_tensor, .context = &tensors};
    struct srpi_region some[SRPI_STREAM_REGIONS]; /* so many at a time: no allocation */
    for (uint32_t first = 0; code == SRP_OK && first < count;) {
        uint32_t n = 0;
        for (; n < SRPI_STREAM_REGIONS && first + n < count; n++) {
            some[n] = region_of(&regions[first + n], width, height);
        }
        code = srpi_executor_process(ex, some, n, &io, err);
        first += n;
    }
    return code;
}

enum srp_err srp_executor_run(struct srp_executor *ex, const float *in, uint32_t width,
                              uint32_t height, float *out, struct srp_error *err)
{
    const struct srp_region whole = {.width = width, .height = height};
    if (width == 0 || height == 0) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u is not a size from 1x1 to %ux%u", width,
                         height, SRP_MAX_DIMENSION, SRP_MAX_DIMENSION);
    }
    return srp_executor_run_regions(ex, in, width, height, &whole, 1, out, err);
}

void srp_executor_get_info(const struct srp_executor *ex, struct srp_executor_info *info)
{
    const char *isa = ex->streams                 ? ex->layers.kernels->name
                      : ex->backend->isa != NULL ? ex->backend->isa()
                                                  : NULL;
    const enum srpi_dtype dtype = ex->streams           ? ex->layers.dtype
                                  : ex->whole.quantised ? SRPI_Q8
                                                        : SRPI_F32;
    *info = (struct srp_executor_info){.backend = ex->backend->id,
                                       .dtype = dtype == SRPI_Q8     ? "int8"
                                                : dtype == SRPI_BF16 ? "bf16"
                                                                     : "f32",
                                       .isa = isa != NULL ? isa : "",
                                       .threads = srpi_pool_threads(ex->pool),
                                       .arena_bytes = ex->width != 0 ? ex->arena_bytes : 0};
}
