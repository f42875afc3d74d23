/* SPDX-License-Identifier: BSD-2-Clause */
#include <srp/upscaler.h>

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "exec/executor.h"
#include "exec/picture.h"
#include "exec/pipe.h"
#include "exec/upscaler.h"
#include "model/error.h"
#include "model/model.h"

struct srp_upscaler {
    uint32_t scale;
    enum srp_backend backend;
    bool unfused; /* tests alone */
    struct srpi_pool *pool;
    struct srp_model *model; /* NULL: none */
    struct srp_executor *executor;
    struct srpi_tail tail;

    enum srp_dtype dtype;

    /* Work memory, grown to the largest pictures seen. */
    struct srpi_scratch *scratch; /* one per worker, for the output */
    struct srpi_scratch *loading; /* one per worker, for the input */
    void *memory;
    size_t memory_size;
    uint8_t *halved; /* an RGB input as 4:2:0, for networks that want that */
    size_t halved_size;

    struct srpi_pipe pipe;
    struct srpi_loader loader;
    struct srpi_codec codec; /* of the network's input */
};

/* ---- life ------------------------------------------------------------------------------------ */

/* Where the base is made of the network's own input. */
static bool base_of_input(const struct srpi_tail *tail, const struct srpi_graph *graph)
{
    return tail->has_base &&
           (graph->colour == SRP_COLOUR_RGB || tail->mode != SRPI_RESIZE_BICUBIC);
}

/* With 4:2:0, rows of the output picture come in pairs, and chroma may need the row above a pair
 * (with SRP_COLOUR_YUV420, two chroma rows around). */
struct srpi_sink srpi_upscaler_sink(const struct srpi_tail *tail, const struct srpi_graph *graph)
{
    struct srpi_sink sink = {.wanted_radius = 1, .align = 2};
    if (tail->fused) {
        sink.align = graph->scale % 2 == 0 ? 1 : 2;
        sink.reads_input = base_of_input(tail, graph);
        sink.input_radius = 3; /* of the taps, and the row above */
    } else if (graph->colour == SRP_COLOUR_YUV420) {
        sink.align = 1;
        sink.wanted_radius = 3;
    }
    return sink;
}

static enum srp_err make_executor(const struct srp_upscaler *up, struct srp_model *model,
                                  struct srpi_tail *tail, struct srp_executor **out,
                                  struct srp_error *err)
{
    const struct srpi_graph *graph = srpi_model_graph(model);
    if (graph->scale != up->scale) {
        return srpi_fail(err, SRP_ERR_USAGE, "model '%s' has scale %u, the upscaler %u",
                         graph->name, graph->scale, up->scale);
    }
    srpi_tail_find(tail, graph);
    if (up->unfused) {
        *tail = (struct srpi_tail){.tensor = graph->output};
    }
    const struct srpi_sink sink = srpi_upscaler_sink(tail, graph);
    return srpi_executor_create(out, model, up->backend, up->dtype, up->pool, tail->tensor, &sink,
                                err);
}

enum srp_err srp_upscaler_set_model(struct srp_upscaler *up, struct srp_model *model,
                                    struct srp_error *err)
{
    if (up == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no upscaler");
    }
    struct srp_executor *executor = NULL;
    struct srpi_tail tail = {0};
    if (model != NULL) {
        const enum srp_err code = make_executor(up, model, &tail, &executor, err);
        if (code != SRP_OK) {
            return code;
        }
        srp_model_ref(model);
        if (up->executor != NULL) {
            srpi_executor_inherit(executor, up->executor);
        }
    }
    srp_executor_destroy(&up->executor);
    srp_model_unref(&up->model);
    up->executor = executor;
    up->model = model;
    up->tail = tail;
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
    enum srp_err code = srpi_pool_create(&up->pool, params->threads, err);
    if (code != SRP_OK) {
        goto fail;
    }
    up->scratch = calloc(srpi_pool_threads(up->pool), sizeof(up->scratch[0]));
    up->loading = calloc(srpi_pool_threads(up->pool), sizeof(up->loading[0]));
    if (up->scratch == NULL || up->loading == NULL) {
        code = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an upscaler");
        goto fail;
    }
    code = srp_upscaler_set_model(up, params->model, err);
    if (code != SRP_OK) {
        goto fail;
    }
    *out = up;
    return SRP_OK;
fail:
    srp_upscaler_destroy(&up);
    return code;
}

void srp_upscaler_destroy(struct srp_upscaler **pointer)
{
    if (pointer == NULL || *pointer == NULL) {
        return;
    }
    struct srp_upscaler *up = *pointer;
    *pointer = NULL;
    srp_executor_destroy(&up->executor);
    srp_model_unref(&up->model);
    srpi_pool_destroy(&up->pool);
    free(up->scratch);
    free(up->loading);
    free(up->memory);
    free(up->halved);
    free(up);
}

void srp_upscaler_get_info(const struct srp_upscaler *up, struct srp_executor_info *info)
{
    if (up->executor == NULL) {
        *info = (struct srp_executor_info){.dtype = "", .isa = ""};
    } else {
        srp_executor_get_info(up->executor, info);
    }
}

/* ---- work memory ----------------------------------------------------------------------------- */

/* loading_width is that of the input's rows, or 0 where they are not loaded. */
static enum srp_err reserve_scratch(struct srp_upscaler *up, uint32_t source_width,
                                    uint32_t out_width, uint32_t loading_width,
                                    struct srp_error *err)
{
    const uint32_t threads = srpi_pool_threads(up->pool);
    const size_t store = (srpi_scratch_size(source_width, out_width) + 63) / 64 * 64;
    const size_t load =
        loading_width == 0
            ? 0
            : (srpi_scratch_size(loading_width, loading_width) + 63) / 64 * 64;
    const size_t each = store + load;
    if (each * threads > up->memory_size) {
        free(up->memory);
        up->memory_size = 0;
        up->memory = aligned_alloc(64, each * threads);
        if (up->memory == NULL) {
            return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the work rows");
        }
        up->memory_size = each * threads;
    }
    for (uint32_t i = 0; i < threads; i++) {
        char *memory = (char *)up->memory + i * each;
        srpi_scratch_init(&up->scratch[i], memory, source_width, out_width);
        srpi_scratch_reset(&up->scratch[i]);
        if (loading_width != 0) {
            srpi_scratch_init(&up->loading[i], memory + store, loading_width, loading_width);
            srpi_scratch_reset(&up->loading[i]);
        }
    }
    return SRP_OK;
}

/* ---- the output recipe ----------------------------------------------------------------------- */

enum {
    AXIS_BASE = 0,
    AXIS_BASE_CHROMA_X,
    AXIS_BASE_CHROMA_Y,
    AXIS_ONE,
    AXIS_SPARE_X,
    AXIS_SPARE_Y,
};

static struct srpi_source source(struct srpi_pipe *pipe, struct srpi_view view, int h, int v,
                                 uint32_t out_width)
{
    return (struct srpi_source){.view = view,
                                .h = &pipe->axis[h],
                                .v = &pipe->axis[v],
                                .out_width = out_width};
}

/* What is not YCbCr takes on the properties of the YCbCr at the other end. */
static struct srp_picture yuv_like(const struct srp_picture *in, const struct srp_picture *out)
{
    struct srp_picture like = {
        .matrix = SRP_MATRIX_BT709, .range = SRP_RANGE_FULL, .chroma = SRP_CHROMA_LEFT};
    const struct srp_picture *yuv = srpi_picture_is_yuv(in) ? in : out;
    if (srpi_picture_is_yuv(yuv)) {
        like.matrix = yuv->matrix;
        like.range = yuv->range;
        like.chroma = yuv->chroma;
    }
    return like;
}

/* Quarters of the chroma offset: 1/4 sample when it sits on the first luma sample, else 1/2. */
static uint32_t offset_x(enum srp_chroma chroma)
{
    return chroma == SRP_CHROMA_CENTER ? 2 : 1;
}

static uint32_t offset_y(enum srp_chroma chroma)
{
    return chroma == SRP_CHROMA_TOPLEFT ? 1 : 2;
}

/* Everything from the input picture by `filter`; `base` is the filter of the rows the tail is
 * added to. */
static void recipe_from_picture(struct srpi_pipe *pipe, const struct srp_picture *in,
                                const struct srp_picture *out, uint32_t scale,
                                enum srpi_filter filter, enum srpi_filter base)
{
    const bool in_yuv = srpi_picture_is_yuv(in), out_yuv = srpi_picture_is_yuv(out);
    const uint32_t ox = offset_x(in->chroma), oy = offset_y(in->chroma);
    memset(pipe, 0, sizeof(*pipe));
    pipe->out = out;
    srpi_axis_init(&pipe->axis[AXIS_BASE], base, scale, 2, 2);
    srpi_axis_init(&pipe->axis[AXIS_ONE], SRPI_FILTER_NEAREST, 1, 2, 2);
    pipe->source[0] =
        source(pipe, srpi_picture_view(in, 0), AXIS_BASE, AXIS_BASE, out->width);
    if (in_yuv && out_yuv) {
        srpi_axis_init(&pipe->axis[AXIS_BASE_CHROMA_X], filter, scale, ox, ox);
        srpi_axis_init(&pipe->axis[AXIS_BASE_CHROMA_Y], filter, scale, oy, oy);
    } else if (in_yuv) {
        srpi_axis_init(&pipe->axis[AXIS_BASE_CHROMA_X], filter, 2 * scale, 2, ox);
        srpi_axis_init(&pipe->axis[AXIS_BASE_CHROMA_Y], filter, 2 * scale, 2, oy);
    }
    for (uint32_t c = 1; c < 3; c++) {
        const struct srpi_view view = srpi_picture_view(in, c);
        if (in_yuv) {
            pipe->source[c] = source(pipe, view, AXIS_BASE_CHROMA_X, AXIS_BASE_CHROMA_Y,
                                     out_yuv ? (out->width + 1) / 2 : out->width);
        } else {
            pipe->source[c] = source(pipe, view, AXIS_BASE, AXIS_BASE, out->width);
        }
    }
    pipe->full = !in_yuv || !out_yuv;
    if (in_yuv && !out_yuv) {
        pipe->second = SRPI_TO_RGB;
        srpi_colour_init(&pipe->second_colour, in->matrix, in->range);
    } else if (!in_yuv && out_yuv) {
        pipe->second = SRPI_TO_YUV;
        srpi_colour_init(&pipe->second_colour, out->matrix, out->range);
    }
}

/* Channel `channel` of the wanted tensor (f32) as codes; `height` and `width` count samples of the
 * view. */
static struct srpi_view wanted_view(uint32_t channel, uint32_t channels, uint32_t width,
                                    uint32_t height, float mean)
{
    return (struct srpi_view){.bound = SRPI_BOUND_WANTED,
                              .offset = channel * sizeof(float),
                              .step = channels,
                              .sample = SRPI_SAMPLE_F32,
                              .multiply = 255.0f,
                              .add = 255.0f * mean,
                              .width = width,
                              .height = height};
}

/* Channel `channel` of the input tensor as codes. */
static struct srpi_view input_view(const struct srp_upscaler *up, uint32_t channel,
                                   uint32_t channels, uint32_t width, uint32_t height, float mean)
{
    static const enum srpi_sample samples[] = {[SRPI_Q8_U8] = SRPI_SAMPLE_U8,
                                               [SRPI_Q8_U16] = SRPI_SAMPLE_U16,
                                               [SRPI_Q8_S8] = SRPI_SAMPLE_S8};
    const struct srpi_codec *codec = &up->codec;
    return (struct srpi_view){.bound = SRPI_BOUND_INPUT,
                              .offset = (size_t)channel * codec->element,
                              .step = channels,
                              .sample = codec->dtype == SRPI_F32    ? SRPI_SAMPLE_F32
                                        : codec->dtype == SRPI_BF16 ? SRPI_SAMPLE_BF16
                                                                    : samples[codec->storage],
                              .multiply = 255.0f,
                              .add = 255.0f * mean,
                              .width = width,
                              .height = height};
}

static void use_tail(struct srp_upscaler *up, uint32_t channels, float mean)
{
    struct srpi_pipe *pipe = &up->pipe;
    pipe->has_tail = true;
    pipe->tail_channels = channels;
    pipe->block = up->scale;
    pipe->flat = !up->tail.has_base;
    pipe->flat_value = 255.0f * mean;
}

static enum srpi_filter base_filter(const struct srpi_tail *tail)
{
    if (!tail->has_base || tail->mode == SRPI_RESIZE_BICUBIC) {
        return SRPI_FILTER_CUBIC;
    }
    return tail->mode == SRPI_RESIZE_BILINEAR ? SRPI_FILTER_LINEAR : SRPI_FILTER_NEAREST;
}

static void recipe_y(struct srp_upscaler *up, const struct srp_picture *in,
                     const struct srp_picture *out, float mean)
{
    struct srpi_pipe *pipe = &up->pipe;
    const bool in_yuv = srpi_picture_is_yuv(in);
    const enum srpi_filter base = base_filter(&up->tail);
    recipe_from_picture(pipe, in, out, up->scale, SRPI_FILTER_CUBIC,
                        in_yuv ? base : SRPI_FILTER_CUBIC);
    if (!in_yuv) {
        const struct srp_picture like = yuv_like(in, out);
        pipe->first = SRPI_TO_YUV;
        srpi_colour_init(&pipe->first_colour, like.matrix, like.range);
        pipe->second = srpi_picture_is_yuv(out) ? SRPI_KEEP : SRPI_TO_RGB;
        pipe->second_colour = pipe->first_colour;
    }
    if (up->tail.fused) {
        use_tail(up, 1, mean);
        if (!in_yuv && base != SRPI_FILTER_CUBIC) {
            /* Chroma is cubic and comes from R, G and B; luma has its own filter. */
            srpi_axis_init(&pipe->axis[AXIS_SPARE_X], base, up->scale, 2, 2);
            pipe->has_luma = true;
            pipe->luma = source(pipe,
                                input_view(up, 0, 1, in->width, in->height, mean),
                                AXIS_SPARE_X, AXIS_SPARE_X, out->width);
        }
        return;
    }
    const struct srpi_view view =
        wanted_view(0, 1, in->width * up->scale, in->height * up->scale, mean);
    if (in_yuv) {
        pipe->source[0] = source(pipe, view, AXIS_ONE, AXIS_ONE, out->width);
    } else {
        pipe->has_luma = true;
        pipe->luma = source(pipe, view, AXIS_ONE, AXIS_ONE, out->width);
    }
}

static void recipe_rgb(struct srp_upscaler *up, const struct srp_picture *in,
                       const struct srp_picture *out, float mean)
{
    struct srpi_pipe *pipe = &up->pipe;
    memset(pipe, 0, sizeof(*pipe));
    pipe->out = out;
    pipe->full = true;
    srpi_axis_init(&pipe->axis[AXIS_BASE], base_filter(&up->tail), up->scale, 2, 2);
    srpi_axis_init(&pipe->axis[AXIS_ONE], SRPI_FILTER_NEAREST, 1, 2, 2);
    if (srpi_picture_is_yuv(out)) {
        pipe->second = SRPI_TO_YUV;
        srpi_colour_init(&pipe->second_colour, out->matrix, out->range);
    }
    if (up->tail.fused) {
        use_tail(up, 3, mean);
    }
    for (uint32_t c = 0; c < 3; c++) {
        if (up->tail.fused) {
            const struct srpi_view view = input_view(up, c, 3, in->width, in->height, mean);
            pipe->source[c] = source(pipe, view, AXIS_BASE, AXIS_BASE, out->width);
        } else {
            const struct srpi_view view =
                wanted_view(c, 3, in->width * up->scale, in->height * up->scale, mean);
            pipe->source[c] = source(pipe, view, AXIS_ONE, AXIS_ONE, out->width);
        }
    }
}

static void recipe_yuv420(struct srp_upscaler *up, const struct srp_picture *in,
                          const struct srp_picture *out, float mean)
{
    struct srpi_pipe *pipe = &up->pipe;
    const struct srp_picture like = yuv_like(in, out);
    const uint32_t width = (in->width + 1) / 2 * up->scale;
    const uint32_t height = (in->height + 1) / 2 * up->scale;
    memset(pipe, 0, sizeof(*pipe));
    pipe->out = out;
    srpi_axis_init(&pipe->axis[AXIS_ONE], SRPI_FILTER_NEAREST, 1, 2, 2);
    srpi_axis_init(&pipe->axis[AXIS_SPARE_X], SRPI_FILTER_CUBIC, 2, 2, offset_x(like.chroma));
    srpi_axis_init(&pipe->axis[AXIS_SPARE_Y], SRPI_FILTER_CUBIC, 2, 2, offset_y(like.chroma));
    struct srpi_view luma = wanted_view(0, 6, width, height, mean);
    luma.paired = true;
    luma.width *= 2;
    luma.height *= 2;
    pipe->source[0] = source(pipe, luma, AXIS_ONE, AXIS_ONE, out->width);
    pipe->full = !srpi_picture_is_yuv(out);
    for (uint32_t c = 1; c < 3; c++) {
        const struct srpi_view view = wanted_view(3 + c, 6, width, height, mean);
        pipe->source[c] = pipe->full
                              ? source(pipe, view, AXIS_SPARE_X, AXIS_SPARE_Y, out->width)
                              : source(pipe, view, AXIS_ONE, AXIS_ONE, (out->width + 1) / 2);
    }
    if (pipe->full) {
        pipe->second = SRPI_TO_RGB;
        srpi_colour_init(&pipe->second_colour, like.matrix, like.range);
    }
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

static enum srp_err run_base(struct srp_upscaler *up, const struct srp_picture *in,
                             const struct srp_picture *out, uint32_t scale,
                             enum srpi_filter filter, struct srp_error *err)
{
    const enum srp_err code = reserve_scratch(up, in->width, out->width, 0, err);
    if (code == SRP_OK) {
        recipe_from_picture(&up->pipe, in, out, scale, filter, filter);
        srpi_pipe_run(&up->pipe, up->pool, up->scratch);
    }
    return code;
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
    *halved = yuv_like(in, out);
    halved->format = SRP_FORMAT_YUV420;
    halved->width = in->width;
    halved->height = in->height;
    halved->data[0] = up->halved;
    halved->data[1] = up->halved + width * height;
    halved->data[2] = halved->data[1] + half;
    halved->stride[0] = (ptrdiff_t)width;
    halved->stride[1] = halved->stride[2] = (ptrdiff_t)half_width;
    return run_base(up, in, halved, 1, SRPI_FILTER_CUBIC, err);
}

static void load_row(void *context, uint32_t worker, uint32_t y, struct srpi_span columns,
                     void *row)
{
    const struct srp_upscaler *up = context;
    srpi_loader_row(&up->loader, &up->loading[worker], y, columns, &up->codec, row);
}

static void store_rows(void *context, uint32_t worker, const struct srpi_region *region,
                       struct srpi_span rows, const struct srpi_rows *wanted,
                       const struct srpi_rows *input)
{
    (void)region; /* the whole picture */
    const struct srp_upscaler *up = context;
    const enum srp_colour_space colour = srpi_model_graph(up->model)->colour;
    const uint32_t each = up->tail.fused                ? up->scale
                          : colour == SRP_COLOUR_YUV420 ? 2
                                                        : 1;
    const uint32_t height = up->pipe.out->height;
    const uint32_t end = rows.end * each < height ? rows.end * each : height;
    if (rows.begin * each < end) {
        srpi_pipe_rows(&up->pipe, &up->scratch[worker], wanted, input, rows.begin * each, end);
    }
}

static enum srp_err run_model(struct srp_upscaler *up, const struct srp_picture *in,
                              const struct srp_picture *out, struct srp_error *err)
{
    const struct srpi_graph *graph = srpi_model_graph(up->model);
    const bool halves = graph->colour == SRP_COLOUR_YUV420;
    struct srp_picture halved;
    enum srp_err code = SRP_OK;
    if (halves && !srpi_picture_is_yuv(in)) {
        code = halve_input(up, in, out, &halved, err);
        if (code != SRP_OK) {
            return code;
        }
        in = &halved;
    }
    const uint32_t width = halves ? (in->width + 1) / 2 : in->width;
    const uint32_t height = halves ? (in->height + 1) / 2 : in->height;
    code = srp_executor_reserve(up->executor, width, height, err);
    if (code != SRP_OK) {
        return code;
    }
    code = reserve_scratch(up, in->width, out->width, in->width, err);
    if (code != SRP_OK) {
        return code;
    }
    const struct srp_picture like = yuv_like(in, out);
    srpi_loader_init(&up->loader, in, &like, graph->colour, graph->mean);
    up->codec = srpi_executor_input_codec(up->executor);
    switch (graph->colour) {
    case SRP_COLOUR_Y:
        recipe_y(up, in, out, graph->mean);
        break;
    case SRP_COLOUR_RGB:
        recipe_rgb(up, in, out, graph->mean);
        break;
    case SRP_COLOUR_YUV420:
        recipe_yuv420(up, in, out, graph->mean);
        break;
    }
    const struct srpi_region whole = {.x = {.begin = 0, .end = width},
                                      .y = {.begin = 0, .end = height},
                                      .picture_width = width,
                                      .picture_height = height};
    const struct srpi_stream_io io = {.load = load_row, .store = store_rows, .context = up};
    return srpi_executor_process(up->executor, &whole, 1, &io, err);
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
        return run_base(up, in, out, up->scale, SRPI_FILTER_CUBIC, err);
    case SRP_METHOD_LANCZOS:
        return run_base(up, in, out, up->scale, SRPI_FILTER_LANCZOS, err);
    }
    return srpi_fail(err, SRP_ERR_USAGE, "%d is not a method", (int)method);
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
        code = run_base(up, in, out, 1, SRPI_FILTER_CUBIC, err);
    }
    srp_upscaler_destroy(&up);
    return code;
}
