/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/recipe.h"

#include <string.h>

#include "exec/picture.h"

/* What a recipe is made for. */
struct recipe {
    struct srpi_pipe *pipe;
    const struct srpi_tail *tail;
    const struct srpi_codec *codec;
    uint32_t scale;
};

enum {
    AXIS_BASE = 0,
    AXIS_BASE_CHROMA_X,
    AXIS_BASE_CHROMA_Y,
    AXIS_ONE,
    AXIS_SPARE_X,
    AXIS_SPARE_Y,
};

static struct srpi_source source(struct srpi_pipe *pipe, struct srpi_view view, int h, int v)
{
    return (struct srpi_source){.view = view, .h = &pipe->axis[h], .v = &pipe->axis[v]};
}

struct srp_picture srpi_picture_like(const struct srp_picture *in, const struct srp_picture *out)
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

/* `base` is the filter of the rows the tail is added to. */
static void from_picture(struct srpi_pipe *pipe, const struct srp_picture *in,
                         const struct srp_picture *out, uint32_t scale, enum srpi_filter filter,
                         enum srpi_filter base)
{
    const bool in_yuv = srpi_picture_is_yuv(in), out_yuv = srpi_picture_is_yuv(out);
    const uint32_t ox = offset_x(in->chroma), oy = offset_y(in->chroma);
    memset(pipe, 0, sizeof(*pipe));
    pipe->out = out;
    pipe->factor = scale;
    srpi_axis_init(&pipe->axis[AXIS_BASE], base, scale, 2, 2);
    srpi_axis_init(&pipe->axis[AXIS_ONE], SRPI_FILTER_NEAREST, 1, 2, 2);
    pipe->source[0] = source(pipe, srpi_picture_view(in, 0), AXIS_BASE, AXIS_BASE);
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
            pipe->source[c] = source(pipe, view, AXIS_BASE_CHROMA_X, AXIS_BASE_CHROMA_Y);
        } else {
            pipe->source[c] = source(pipe, view, AXIS_BASE, AXIS_BASE);
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

/* Channel `channel` of the input tensor as samples. */
static struct srpi_view input_view(const struct recipe *r, uint32_t channel,
                                   uint32_t channels, uint32_t width, uint32_t height, float mean)
{
    static const enum srpi_sample samples[] = {[SRPI_Q8_U8] = SRPI_SAMPLE_U8,
                                               [SRPI_Q8_U16] = SRPI_SAMPLE_U16,
                                               [SRPI_Q8_S8] = SRPI_SAMPLE_S8};
    const struct srpi_codec *codec = r->codec;
    float multiply = 255.0f, add = 255.0f * mean;
    if (codec->dtype == SRPI_Q8 && srpi_codec_is_sample(codec, mean)) {
        multiply = add = 0.0f;
    } else if (codec->dtype == SRPI_Q8) {
        multiply = 255.0f * codec->scale;
        add = 255.0f * (mean - codec->zero * codec->scale);
    }
    return (struct srpi_view){.bound = SRPI_BOUND_INPUT,
                              .offset = (size_t)channel * codec->element,
                              .step = channels,
                              .sample = codec->dtype == SRPI_F32    ? SRPI_SAMPLE_F32
                                        : codec->dtype == SRPI_BF16 ? SRPI_SAMPLE_BF16
                                                                    : samples[codec->storage],
                              .multiply = multiply,
                              .add = add,
                              .width = width,
                              .height = height};
}

static void use_tail(struct recipe *r, uint32_t channels, float mean)
{
    struct srpi_pipe *pipe = r->pipe;
    pipe->has_tail = true;
    pipe->tail_channels = channels;
    pipe->block = r->scale;
    pipe->flat = !r->tail->has_base;
    pipe->flat_value = 255.0f * mean;
}

static enum srpi_filter base_filter(const struct srpi_tail *tail)
{
    if (!tail->has_base || tail->mode == SRPI_RESIZE_BICUBIC) {
        return SRPI_FILTER_CUBIC;
    }
    return tail->mode == SRPI_RESIZE_BILINEAR ? SRPI_FILTER_LINEAR : SRPI_FILTER_NEAREST;
}

static void from_y(struct recipe *r, const struct srp_picture *in,
                     const struct srp_picture *out, float mean)
{
    struct srpi_pipe *pipe = r->pipe;
    const bool in_yuv = srpi_picture_is_yuv(in);
    const enum srpi_filter base = base_filter(r->tail);
    from_picture(pipe, in, out, r->scale, SRPI_FILTER_CUBIC,
                        in_yuv ? base : SRPI_FILTER_CUBIC);
    if (!in_yuv) {
        const struct srp_picture like = srpi_picture_like(in, out);
        pipe->first = SRPI_TO_YUV;
        srpi_colour_init(&pipe->first_colour, like.matrix, like.range);
        pipe->second = srpi_picture_is_yuv(out) ? SRPI_KEEP : SRPI_TO_RGB;
        pipe->second_colour = pipe->first_colour;
    }
    if (r->tail->fused) {
        use_tail(r, 1, mean);
        if (!in_yuv && base != SRPI_FILTER_CUBIC) {
            /* Chroma is cubic and comes from R, G and B; luma has its own filter. */
            srpi_axis_init(&pipe->axis[AXIS_SPARE_X], base, r->scale, 2, 2);
            pipe->has_luma = true;
            pipe->luma = source(pipe, input_view(r, 0, 1, in->width, in->height, mean),
                                AXIS_SPARE_X, AXIS_SPARE_X);
        }
        return;
    }
    const struct srpi_view view =
        wanted_view(0, 1, in->width * r->scale, in->height * r->scale, mean);
    if (in_yuv) {
        pipe->source[0] = source(pipe, view, AXIS_ONE, AXIS_ONE);
    } else {
        pipe->has_luma = true;
        pipe->luma = source(pipe, view, AXIS_ONE, AXIS_ONE);
    }
}

static void from_rgb(struct recipe *r, const struct srp_picture *in,
                       const struct srp_picture *out, float mean)
{
    struct srpi_pipe *pipe = r->pipe;
    memset(pipe, 0, sizeof(*pipe));
    pipe->out = out;
    pipe->factor = r->scale;
    pipe->full = true;
    srpi_axis_init(&pipe->axis[AXIS_BASE], base_filter(r->tail), r->scale, 2, 2);
    srpi_axis_init(&pipe->axis[AXIS_ONE], SRPI_FILTER_NEAREST, 1, 2, 2);
    if (srpi_picture_is_yuv(out)) {
        pipe->second = SRPI_TO_YUV;
        srpi_colour_init(&pipe->second_colour, out->matrix, out->range);
    }
    if (r->tail->fused) {
        use_tail(r, 3, mean);
    }
    for (uint32_t c = 0; c < 3; c++) {
        if (r->tail->fused) {
            const struct srpi_view view = input_view(r, c, 3, in->width, in->height, mean);
            pipe->source[c] = source(pipe, view, AXIS_BASE, AXIS_BASE);
        } else {
            const struct srpi_view view =
                wanted_view(c, 3, in->width * r->scale, in->height * r->scale, mean);
            pipe->source[c] = source(pipe, view, AXIS_ONE, AXIS_ONE);
        }
    }
}

static void from_yuv420(struct recipe *r, const struct srp_picture *in,
                          const struct srp_picture *out, float mean)
{
    struct srpi_pipe *pipe = r->pipe;
    const struct srp_picture like = srpi_picture_like(in, out);
    const uint32_t width = (in->width + 1) / 2 * r->scale;
    const uint32_t height = (in->height + 1) / 2 * r->scale;
    memset(pipe, 0, sizeof(*pipe));
    pipe->out = out;
    pipe->factor = r->scale;
    srpi_axis_init(&pipe->axis[AXIS_ONE], SRPI_FILTER_NEAREST, 1, 2, 2);
    srpi_axis_init(&pipe->axis[AXIS_SPARE_X], SRPI_FILTER_CUBIC, 2, 2, offset_x(like.chroma));
    srpi_axis_init(&pipe->axis[AXIS_SPARE_Y], SRPI_FILTER_CUBIC, 2, 2, offset_y(like.chroma));
    struct srpi_view luma = wanted_view(0, 6, width, height, mean);
    luma.paired = true;
    luma.width *= 2;
    luma.height *= 2;
    pipe->source[0] = source(pipe, luma, AXIS_ONE, AXIS_ONE);
    pipe->full = !srpi_picture_is_yuv(out);
    for (uint32_t c = 1; c < 3; c++) {
        const struct srpi_view view = wanted_view(3 + c, 6, width, height, mean);
        pipe->source[c] = pipe->full
                              ? source(pipe, view, AXIS_SPARE_X, AXIS_SPARE_Y)
                              : source(pipe, view, AXIS_ONE, AXIS_ONE);
    }
    if (pipe->full) {
        pipe->second = SRPI_TO_RGB;
        srpi_colour_init(&pipe->second_colour, like.matrix, like.range);
    }
}

void srpi_recipe_base(struct srpi_pipe *pipe, const struct srp_picture *in,
                      const struct srp_picture *out, uint32_t scale, enum srpi_filter filter)
{
    from_picture(pipe, in, out, scale, filter, filter);
}

void srpi_recipe_network(struct srpi_pipe *pipe, const struct srp_picture *in,
                         const struct srp_picture *out, const struct srpi_graph *graph,
                         const struct srpi_tail *tail, const struct srpi_codec *codec)
{
    struct recipe recipe = {.pipe = pipe, .tail = tail, .codec = codec, .scale = graph->scale};
    switch (graph->colour) {
    case SRP_COLOUR_Y:
        from_y(&recipe, in, out, graph->mean);
        break;
    case SRP_COLOUR_RGB:
        from_rgb(&recipe, in, out, graph->mean);
        break;
    case SRP_COLOUR_YUV420:
        from_yuv420(&recipe, in, out, graph->mean);
        break;
    }
}
