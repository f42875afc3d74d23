/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/steps.h"

#include "exec/convolve.h"
#include "kernels/reference.h"
#include "kernels/rowops.h"

/* ---- all operators but the convolution ------------------------------------------------------- */

#define ROWS_OF_WORK 3u

struct simple {
    const struct srpi_block *block;
    const struct srpi_node *node;
    uint32_t out;
    struct srpi_span columns;
    struct srpi_codec codec;
    float *work[ROWS_OF_WORK]; /* rows of the output */
};

static struct simple simple_of(const struct srpi_block *block, const struct srpi_step *step)
{
    struct simple s = {.block = block,
                       .node = step->node,
                       .out = step->output,
                       .columns = srpi_block_columns(block, step->output),
                       .codec = srpi_layers_codec(block->stream->layers, step->output)};
    const size_t floats =
        srpi_work_floats(block->strip.region->picture_width,
                         &srpi_block_graph(block)->tensors[s.out]);
    s.work[0] = srpi_block_work(block);
    s.work[1] = s.work[0] + floats;
    s.work[2] = s.work[1] + floats;
    return s;
}

/* Operand i's row y at the output's first column. */
static const char *operand_row(const struct simple *s, uint32_t t, uint32_t y)
{
    const struct srpi_stream_tensor *tensor = srpi_block_tensor(s->block, t);
    return srpi_block_row(s->block, t, y) +
           (s->columns.begin - s->block->at[t].columns.begin) * srpi_pixel_bytes(tensor);
}

static void join_row(const struct simple *s, uint32_t y, char *row, uint32_t count)
{
    const struct srpi_layers *layers = s->block->stream->layers;
    for (uint32_t i = 0; i < s->node->input_count; i++) {
        const uint32_t t = s->node->inputs[i];
        const struct srpi_codec codec = srpi_layers_codec(layers, t);
        srpi_row_load_fine(&codec, operand_row(s, t, y), srpi_block_tensor(s->block, t)->fraction,
                           s->work[i > 0], count);
        if (i > 0 && s->node->op == SRPI_OP_MUL) {
            srpi_row_mul(s->work[0], s->work[1], count);
        } else if (i > 0) {
            srpi_row_add(s->work[0], s->work[1], count);
        }
    }
    srpi_row_activate(s->work[0], count, s->node->activation, s->node->alpha, s->node->min,
                      s->node->max);
    srpi_row_store_fine(&s->codec, s->work[0], row,
                        srpi_block_tensor(s->block, s->out)->fraction, count);
}

/* Copies channels between tensors, in the form that both have or by way of f32. */
static void move_channels(const struct simple *s, const struct srpi_codec *from,
                          struct srpi_channels *channels)
{
    if (srpi_codec_equal(from, &s->codec)) {
        srpi_row_copy(channels, from->element);
    } else {
        srpi_row_convert(channels, from, &s->codec, s->work[0]);
    }
}

static void concat_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const struct srpi_layers *layers = s->block->stream->layers;
    struct srpi_channels channels = {.to = row, .pixels = pixels};
    channels.to_stride = srpi_block_tensor(s->block, s->out)->channels;
    for (uint32_t i = 0; i < s->node->input_count; i++) {
        const uint32_t t = s->node->inputs[i];
        const struct srpi_codec codec = srpi_layers_codec(layers, t);
        channels.from = operand_row(s, t, y);
        channels.from_stride = channels.count = srpi_block_tensor(s->block, t)->channels;
        move_channels(s, &codec, &channels);
        channels.to_first += channels.count;
    }
}

static void slice_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const uint32_t t = s->node->inputs[0];
    const struct srpi_codec codec = srpi_layers_codec(s->block->stream->layers, t);
    struct srpi_channels channels = {.from = operand_row(s, t, y),
                                     .from_stride = srpi_block_tensor(s->block, t)->channels,
                                     .from_first = s->node->first,
                                     .to = row,
                                     .to_stride = srpi_block_tensor(s->block, s->out)->channels,
                                     .count = srpi_block_tensor(s->block, s->out)->channels,
                                     .pixels = pixels};
    move_channels(s, &codec, &channels);
}

/* Row y of the output is row y / block of the input, block row y % block of each pixel. */
static void shuffle_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const uint32_t t = s->node->inputs[0];
    const struct srpi_codec codec = srpi_layers_codec(s->block->stream->layers, t);
    const bool same = srpi_codec_equal(&codec, &s->codec);
    const struct srpi_row_shuffle shuffle = {
        .from = srpi_block_row(s->block, t, y / s->node->block),
        .to = same ? row : (char *)s->work[1],
        .first_in = s->block->at[t].columns.begin,
        .first_out = s->columns.begin,
        .pixels = pixels,
        .channels = srpi_block_tensor(s->block, s->out)->channels,
        .block = s->node->block,
        .row = y % s->node->block,
        .order = s->node->order};
    srpi_row_shuffle(&shuffle, codec.element);
    if (!same) {
        srpi_row_load(&codec, s->work[1], s->work[0], (size_t)pixels * shuffle.channels);
        srpi_row_store(&s->codec, s->work[0], row, (size_t)pixels * shuffle.channels);
    }
}

/* As codes if they mean the same. What f32 gives has no negative zero, as a sum from 0 has none. */
static void repeat_row(const struct simple *s, const struct srpi_row_resize *resize,
                       const struct srpi_codec *codec, char *row)
{
    const uint32_t first = resize->first_out / resize->scale;
    const uint32_t last = (resize->first_out + resize->pixels - 1) / resize->scale;
    const size_t count = (size_t)(last - first + 1) * resize->channels;
    const char *from = (const char *)resize->rows[SRPI_REF_WINDOW / 2] +
                       (size_t)(first - resize->first_in) * resize->channels * codec->element;
    if (codec->dtype == SRPI_Q8 && srpi_codec_equal(codec, &s->codec)) {
        srpi_row_repeat(resize, from, row, (size_t)resize->channels * codec->element);
        return;
    }
    srpi_row_load(codec, from, s->work[1], count);
    srpi_row_shift(s->work[1], 0.0f, s->work[2], count);
    srpi_row_repeat(resize, s->work[2], s->work[0], resize->channels * sizeof(float));
    srpi_row_store(&s->codec, s->work[0], row, (size_t)resize->pixels * resize->channels);
}

static void resize_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const struct srpi_node *node = s->node;
    const uint32_t t = node->inputs[0];
    const struct srpi_stream_tensor *in = srpi_block_tensor(s->block, t);
    const struct srpi_codec codec = srpi_layers_codec(s->block->stream->layers, t);
    struct srpi_row_resize resize = {
        .scale = node->scale,
        .mode = node->mode,
        .channels = in->channels,
        .width = s->block->strip.region->picture_width * in->factor,
        .first_in = s->block->at[t].columns.begin,
        .first_out = s->columns.begin,
        .pixels = pixels,
        .y = y,
    };
    const int64_t last = (int64_t)s->block->strip.region->picture_height * in->factor - 1;
    for (int64_t k = 0; k < (int64_t)SRPI_REF_WINDOW; k++) {
        const int64_t from = (int64_t)(y / node->scale) + k - 2;
        const int64_t at = from < 0 ? 0 : from > last ? last : from;
        resize.rows[k] = srpi_block_row(s->block, t, (uint32_t)at);
    }
    if (node->mode == SRPI_RESIZE_NEAREST) {
        repeat_row(s, &resize, &codec, row);
        return;
    }
    srpi_row_resize(&resize, &codec, s->work[0], s->work[1], s->work[2]);
    srpi_row_store(&s->codec, s->work[0], row, pixels * in->channels);
}

static void run_simple(const struct simple *s)
{
    const struct srpi_span rows = srpi_block_rows(s->block, s->out);
    const uint32_t pixels = s->columns.end - s->columns.begin;
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        char *row = srpi_block_row(s->block, s->out, y);
        switch (s->node->op) {
        case SRPI_OP_CONV2D: /* rows of several at once */
        case SRPI_OP_ROUTE:  /* in no path */
            break;
        case SRPI_OP_ADD:
        case SRPI_OP_MUL:
            join_row(s, y, row, pixels * srpi_block_tensor(s->block, s->out)->channels);
            break;
        case SRPI_OP_CONCAT:
            concat_row(s, y, row, pixels);
            break;
        case SRPI_OP_SLICE:
            slice_row(s, y, row, pixels);
            break;
        case SRPI_OP_DEPTH_TO_SPACE:
            shuffle_row(s, y, row, pixels);
            break;
        case SRPI_OP_RESIZE:
            resize_row(s, y, row, pixels);
            break;
        }
        srpi_block_close_row(s->block, s->out, y, row, pixels);
    }
}

/* ---- the stages of a block ------------------------------------------------------------------- */

void srpi_block_step(const struct srpi_block *block, uint32_t step)
{
    const struct srpi_layers *layers = block->stream->layers;
    const struct srpi_step *what = &layers->program->steps[step];
    if (what->node->op == SRPI_OP_CONV2D) {
        srpi_convolve(block, what, &layers->steps[step]);
    } else {
        const struct simple simple = simple_of(block, what);
        run_simple(&simple);
    }
}

size_t srpi_steps_scratch(const struct srpi_layers *layers, uint32_t picture_width)
{
    const struct srpi_program *program = layers->program;
    size_t most = 0;
    for (uint32_t s = 0; s < program->step_count; s++) {
        const struct srpi_step *step = &program->steps[s];
        const size_t row =
            srpi_work_floats(picture_width, &program->graph->tensors[step->output]);
        const size_t size = step->node->op == SRPI_OP_CONV2D
                                ? srpi_convolve_floats(layers, s, row)
                                : ROWS_OF_WORK * row;
        most = size > most ? size : most;
    }
    return most * sizeof(float);
}

void srpi_block_load(const struct srpi_block *block, const struct srpi_stream_io *io)
{
    const uint32_t t = srpi_block_graph(block)->input;
    const struct srpi_span rows = srpi_block_rows(block, t), columns = srpi_block_columns(block, t);
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        char *row = srpi_block_row(block, t, y);
        io->load(io->context, block->worker, y, columns, row,
                 srpi_block_tensor(block, t)->fraction);
        srpi_block_close_row(block, t, y, row, columns.end - columns.begin);
    }
}

static struct srpi_rows view_of(const struct srpi_block *block, uint32_t t)
{
    const struct srpi_place *at = &block->at[t];
    return (struct srpi_rows){.data = at->data,
                              .below = at->below,
                              .pitch = at->pitch,
                              .ring = at->ring,
                              .end = at->strip.end,
                              .column = at->columns.begin};
}

void srpi_block_store(const struct srpi_block *block, const struct srpi_stream_io *io)
{
    const struct srpi_span rows =
        srpi_stream_block_sink(&block->stream->plan, &block->strip, block->sink, block->index);
    if (rows.begin == rows.end) {
        return;
    }
    const struct srpi_rows wanted = view_of(block, block->stream->layers->program->wanted);
    const struct srpi_rows input = view_of(block, srpi_block_graph(block)->input);
    io->store(io->context, block->worker, block->strip.region, rows, &wanted, &input);
}
