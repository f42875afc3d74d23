/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/steps.h"

#include <string.h>

#include "kernels/reference.h"
#include "kernels/rowops.h"

#define ALIGN 64u

/* ---- rows in rings --------------------------------------------------------------------------- */

static const struct srpi_graph *graph_of(const struct srpi_block *block)
{
    return block->stream->layers->program->graph;
}

static const struct srpi_stream_tensor *tensor_of(const struct srpi_block *block, uint32_t t)
{
    return &block->stream->plan.tensors[t];
}

static size_t pixel_bytes(const struct srpi_stream_tensor *tensor)
{
    return (size_t)tensor->channels * tensor->element;
}

void srpi_block_take_strip(struct srpi_block *block)
{
    const struct srpi_stream_plan *plan = &block->stream->plan;
    for (uint32_t t = 0; t < graph_of(block)->tensor_count; t++) {
        const struct srpi_stream_tensor *tensor = tensor_of(block, t);
        if (tensor->used) {
            const size_t padding = tensor->pad * pixel_bytes(tensor);
            struct srpi_place *at = &block->at[t];
            at->columns = srpi_stream_columns(plan, block->strip.region, t);
            at->strip = srpi_stream_rows(plan, &block->strip, t);
            at->ring = tensor->ring;
            at->pitch = tensor->pitch;
            at->data = block->area + tensor->offset + padding;
            at->below = block->below != NULL ? block->below + tensor->seam + padding : NULL;
        }
    }
}

void srpi_block_take(struct srpi_block *block, uint32_t index)
{
    const struct srpi_stream_plan *plan = &block->stream->plan;
    block->index = index;
    for (uint32_t t = 0; t < graph_of(block)->tensor_count; t++) {
        if (tensor_of(block, t)->used) {
            struct srpi_place *at = &block->at[t];
            at->rows = srpi_stream_block_rows(plan, &block->strip, t, at->strip, index);
            at->origin = srpi_stream_origin(plan, t, at->rows);
        }
    }
}

/* First pixel of row y, which the strip below has if it is behind the end of this one. */
static inline char *row_at(const struct srpi_block *block, uint32_t t, uint32_t y)
{
    const struct srpi_place *at = &block->at[t];
    if (y >= at->strip.end) {
        return at->below + (y - at->strip.end) * at->pitch;
    }
    const uint32_t row = y - at->origin;
    return at->data + (row < at->ring ? row : row - at->ring) * at->pitch;
}

static struct srpi_span columns_of(const struct srpi_block *block, uint32_t t)
{
    return block->at[t].columns;
}

static struct srpi_span rows_of(const struct srpi_block *block, uint32_t t)
{
    return block->at[t].rows;
}

/* Row y is there: sets the padding behind it, which kernels may have written over, and puts it
 * aside if the strip above reads it. */
static void close_row(const struct srpi_block *block, uint32_t t, uint32_t y, char *row,
                      uint32_t pixels)
{
    const struct srpi_stream_tensor *tensor = tensor_of(block, t);
    const size_t padding = tensor->pad * pixel_bytes(tensor), bytes = pixels * pixel_bytes(tensor);
    /* A convolution may multiply one bf16 more by zero, and that must be finite: kernels/row.h. */
    const size_t behind = padding + (tensor->dtype == SRPI_BF16 ? tensor->element : 0);
    const uint32_t from_begin = y - block->at[t].strip.begin;
    const bool kept = !block->strip.first && from_begin < tensor->kept;
    char *seam = block->seam + tensor->seam + from_begin * tensor->pitch;
    for (size_t half = 0; half <= tensor->fraction; half += tensor->fraction) {
        const char *zeros = block->stream->arena + tensor->padding + half;
        for (size_t done = 0; done < behind; done += ALIGN) { /* the rest meets the row's slack */
            memcpy(row + half + bytes + done, zeros + done, ALIGN);
        }
        if (kept) {
            memcpy(seam + half, row + half - padding, padding + bytes + behind);
        }
        if (tensor->fraction == 0) {
            break;
        }
    }
}

void srpi_fill_padding(const struct srpi_layers *layers, uint32_t t, void *memory, size_t bytes)
{
    struct srpi_codec codec = srpi_layers_codec(layers, t);
    srpi_row_fill_zero(&codec, memory, bytes / codec.element);
    if (layers->fine[t]) {
        codec.padding = 128; /* no fraction */
        srpi_row_fill_zero(&codec, (char *)memory + bytes / 2, bytes / 2 / codec.element);
    }
}

/* Work memory, behind that of the kernels. */
static float *work_of(const struct srpi_block *block)
{
    return (float *)(void *)(block->area + block->stream->layers->scratch_size);
}

/* A row of the output as f32, with room for what enlarging reads around and what kernels write
 * behind. */
static size_t work_floats(uint32_t picture_width, const struct srpi_tensor *out)
{
    const size_t pixels = (size_t)picture_width * out->factor + SRPI_REF_WINDOW;
    const size_t floats = pixels * out->channels + SRPI_ROW_SLACK / sizeof(float);
    return (floats + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- convolution ----------------------------------------------------------------------------- */

struct conv {
    const struct srpi_block *block;
    const struct srpi_step *step;
    const struct srpi_layer *layer;
    uint32_t in, out;
    uint32_t height;       /* of the picture, in rows of the operand */
    struct srpi_span columns;
    ptrdiff_t in_shift;    /* bytes from an input row's first pixel to the leftmost tap */
    size_t residual_shift;
};

static struct conv conv_of(const struct srpi_block *block, const struct srpi_step *step,
                           const struct srpi_layer *layer)
{
    struct conv c = {.block = block,
                     .step = step,
                     .layer = layer,
                     .in = step->node->inputs[0],
                     .out = step->output,
                     .columns = columns_of(block, step->output)};
    const struct srpi_stream_tensor *in = tensor_of(block, c.in);
    c.height = block->strip.region->picture_height * in->factor;
    const ptrdiff_t pixels = (ptrdiff_t)c.columns.begin - (ptrdiff_t)block->at[c.in].columns.begin -
                             (ptrdiff_t)(step->node->kernel_width / 2);
    c.in_shift = pixels * (ptrdiff_t)pixel_bytes(in);
    if (step->residual != SRPI_NO_TENSOR) {
        c.residual_shift = (c.columns.begin - block->at[step->residual].columns.begin) *
                           pixel_bytes(tensor_of(block, step->residual));
    }
    return c;
}

/* The input row that is `tap` rows below `y - radius`, at the leftmost tap. Above and below the
 * picture, and below what was computed for a region, lies padding. */
static const void *tap_row(const struct conv *c, int64_t y)
{
    const struct srpi_stream_tensor *in = tensor_of(c->block, c->in);
    if (y < 0 || y >= (int64_t)c->height) {
        return c->block->stream->arena + in->padding;
    }
    return row_at(c->block, c->in, (uint32_t)y) + c->in_shift;
}

/* Row y of the other summand at the output's first column; in work memory where it has to be
 * widened. */
static const void *residual_row(const struct conv *c, uint32_t y)
{
    const uint32_t t = c->step->residual;
    if (t == SRPI_NO_TENSOR) {
        return NULL;
    }
    const char *row = row_at(c->block, t, y) + c->residual_shift;
    if (!c->layer->widen_residual) {
        return row;
    }
    const struct srpi_layers *layers = c->block->stream->layers;
    const struct srpi_codec codec = srpi_layers_codec(layers, t);
    float *wide = work_of(c->block);
    srpi_row_load_fine(&codec, row, tensor_of(c->block, t)->fraction, wide,
                       (size_t)(c->columns.end - c->columns.begin) *
                           tensor_of(c->block, t)->channels);
    return wide;
}

#define FINISH_VALUES 2048u /* 8 KiB: both passes of a piece find it in the nearest cache */

/* tanh or sigmoid of a row in work memory, then into the ring. */
static void finish_row(const struct conv *c, float *values, char *row, uint32_t pixels)
{
    const size_t count = (size_t)pixels * tensor_of(c->block, c->out)->channels;
    const struct srpi_codec codec = srpi_layers_codec(c->block->stream->layers, c->out);
    for (size_t done = 0; done < count; done += FINISH_VALUES) {
        const size_t piece = count - done < FINISH_VALUES ? count - done : FINISH_VALUES;
        srpi_row_activate(values + done, piece, c->layer->post, 0.0f, 0.0f, 0.0f);
        srpi_row_store_fine(&codec, values + done, row + done * codec.element,
                            tensor_of(c->block, c->out)->fraction, piece);
    }
}

/* A row of the output as f32 in work memory. */
static float *work_row(const struct conv *c, uint32_t index)
{
    return work_of(c->block) + index * work_floats(c->block->strip.region->picture_width,
                                                   &graph_of(c->block)->tensors[c->out]);
}

/* The rows that a band of Winograd's kernels reads for rows [y, end), as many as it makes or fewer:
 * then it hangs over, and rows that only unwanted rows would need may not be there. */
static void winograd_rows(const struct conv *c, uint32_t y, uint32_t end,
                          struct srpi_winograd_rows *call)
{
    const int64_t above = c->step->node->kernel_height / 2;
    for (uint32_t i = 0; i < SRPI_WINOGRAD_SIDE; i++) {
        const int64_t from = (int64_t)y + i - above;
        call->rows[i] = tap_row(c, from < (int64_t)end + above ? from : -1);
    }
}

/* Rows that a kernel is given at once, at most. */
#define ROWS_AT_ONCE 8u

/* Rows [from, end) of the output. */
static void run_rows(const struct conv *c, const struct srpi_conv_layer *layer, uint32_t from,
                     uint32_t end)
{
    const struct srpi_node *node = c->step->node;
    const uint32_t pixels = c->columns.end - c->columns.begin;
    const size_t fraction = tensor_of(c->block, c->out)->fraction;
    const bool post = c->layer->post != SRPI_ACT_NONE;
    void *work = work_of(c->block);
    /* What needs work memory has it for one row. */
    const bool alone = post || c->layer->widen_residual;
    struct srpi_conv_row calls[ROWS_AT_ONCE];
    const void *taps[SRP_MAX_KERNEL + ROWS_AT_ONCE - 1];
    for (uint32_t y = from, count = 0; y < end; y += count) {
        count = alone ? 1 : end - y < ROWS_AT_ONCE ? end - y : ROWS_AT_ONCE;
        for (uint32_t i = 0; i < node->kernel_height + count - 1; i++) {
            taps[i] = tap_row(c, (int64_t)y + i - node->kernel_height / 2);
        }
        for (uint32_t r = 0; r < count; r++) {
            struct srpi_conv_row *call = &calls[r];
            call->rows = taps + r;
            call->out = post ? work : row_at(c->block, c->out, y + r);
            call->residual = residual_row(c, y + r);
            call->out_fraction = post ? 0 : fraction;
            call->residual_fraction =
                call->residual != NULL && !c->layer->widen_residual
                    ? tensor_of(c->block, c->step->residual)->fraction
                    : 0;
            call->pixels = pixels;
        }
        c->layer->direct(layer, calls, count);
        for (uint32_t r = 0; r < count; r++) {
            char *row = row_at(c->block, c->out, y + r);
            if (post) {
                finish_row(c, work, row, pixels);
            }
            close_row(c->block, c->out, y + r, row, pixels);
        }
    }
}

/* What follows the kernel: tanh or sigmoid, the code, padding. */
static void end_winograd(const struct conv *c, uint32_t y, void *made, uint32_t pixels)
{
    char *row = row_at(c->block, c->out, y);
    if (made != row) {
        finish_row(c, made, row, pixels);
    } else if (c->layer->post != SRPI_ACT_NONE) {
        srpi_row_activate(made, (size_t)pixels * tensor_of(c->block, c->out)->channels,
                          c->layer->post, 0.0f, 0.0f, 0.0f);
    }
    close_row(c->block, c->out, y, row, pixels);
}

/* One call, whose rows are y and those that follow; the first and the last band may have fewer than
 * the others. */
static void run_bands(const struct conv *c, const struct srpi_winograd_rows *bands, uint32_t count,
                      uint32_t y)
{
    c->layer->winograd->fn(&c->layer->layer, bands, count);
    for (uint32_t b = 0; b < count; b++) {
        for (uint32_t i = 0; i < SRPI_WINOGRAD_ROWS && bands[b].out[i] != NULL; i++) {
            end_winograd(c, y++, bands[b].out[i], bands[b].pixels);
        }
    }
}

static void run_winograd(const struct conv *c)
{
    const struct srpi_span rows = rows_of(c->block, c->out);
    const struct srpi_stream_tensor *out = tensor_of(c->block, c->out);
    /* tanh and sigmoid take f32, which has to be put elsewhere if the tensor holds codes; there is
     * room for one band. */
    const bool in_place = out->dtype == c->layer->layer.shape.out;
    const uint32_t most = in_place ? SRPI_WINOGRAD_BANDS : 1;
    const uint32_t residual = c->step->residual;
    struct srpi_winograd_rows bands[SRPI_WINOGRAD_BANDS]; /* not cleared: that takes long */
    uint32_t held = 0, first = rows.begin, count = 0;
    for (uint32_t y = rows.begin; y < rows.end; y += count) {
        /* Tiles begin at the same rows in all blocks (plan/stream.h), so that no pixel depends on
         * the blocks' height. The first band of a region and the last one may have fewer rows. */
        count = srpi_stream_call(&c->block->stream->plan, &c->block->strip, c->out, y);
        count = count < rows.end - y ? count : rows.end - y;
        const bool few = c->layer->direct != NULL && count <= c->layer->winograd->few;
        if (held == most || (few && held != 0)) {
            run_bands(c, bands, held, first);
            held = 0;
        }
        if (few) {
            run_rows(c, &c->layer->few, y, y + count);
            continue;
        }
        first = held == 0 ? y : first;
        struct srpi_winograd_rows *band = &bands[held++];
        band->pixels = c->columns.end - c->columns.begin;
        band->out_fraction = in_place ? out->fraction : 0;
        band->residual_fraction =
            residual != SRPI_NO_TENSOR ? tensor_of(c->block, residual)->fraction : 0;
        band->scratch = c->block->area;
        winograd_rows(c, y, y + count, band);
        for (uint32_t i = 0; i < SRPI_WINOGRAD_ROWS; i++) {
            const bool wanted = i < count;
            band->out[i] = !wanted    ? NULL
                           : in_place ? (void *)row_at(c->block, c->out, y + i)
                                      : (void *)work_row(c, i);
            band->residual[i] = wanted ? residual_row(c, y + i) : NULL;
        }
    }
    if (held != 0) {
        run_bands(c, bands, held, first);
    }
}

/* ---- convolutions with several sums ---------------------------------------------------------- */

/* They go piece by piece of a row, or of SRPI_WINOGRAD_ROWS rows, which stays in the near caches
 * while one sum after the other is added to it. It has about so many values, in a multiple of the
 * pixels of a group of Winograd's tiles. */
#define SUM_VALUES 8192u
#define SUM_PIXELS 48u

/* Work memory: twice the rows of a piece as f32, as sums are added from one to the other; a row of
 * the other summand; and the channels that one of Winograd's sums reads. */
struct sums {
    uint32_t rows, pixels; /* of a piece */
    size_t floats;         /* from row to row */
    uint32_t inputs;       /* rows of channels */
    size_t bytes;          /* from row to row of these */
    size_t size;           /* of all, in floats */
};

static struct sums sums_of(const struct srpi_layer *layer, uint32_t element)
{
    const struct srpi_conv_shape *part = &layer->parts[0].layer.shape;
    const bool winograd = layer->parts[0].winograd != NULL;
    const uint32_t out = part->out_channels, in = part->in_channels;
    struct sums s = {.rows = winograd ? SRPI_WINOGRAD_ROWS : 1,
                     .inputs = winograd ? SRPI_WINOGRAD_SIDE : 0};
    s.pixels = SUM_VALUES / (s.rows * (out > in ? out : in)) / SUM_PIXELS * SUM_PIXELS;
    s.pixels = s.pixels > SUM_PIXELS ? s.pixels : SUM_PIXELS;
    s.floats = (size_t)s.pixels * out + SRPI_ROW_SLACK / sizeof(float);
    s.floats = (s.floats + ALIGN - 1) / ALIGN * ALIGN;
    s.bytes = (size_t)(s.pixels + part->kernel_width) * in * element + SRPI_ROW_SLACK;
    s.bytes = (s.bytes + ALIGN - 1) / ALIGN * ALIGN;
    s.size = (2 * s.rows + 1) * s.floats + s.inputs * s.bytes / sizeof(float);
    return s;
}

/* A piece of the output: rows [y, y + count) of a block that ends at `end`, columns [x, x + pixels)
 * of those that are computed. */
struct piece {
    uint32_t y, count, end, x, pixels;
};

/* What a sum reads of an input row, as tap_row has it, from the piece on. Where that is some of the
 * channels they are copied to work memory. */
static const void *part_row(const struct conv *c, const struct srpi_sum *part, const void *row,
                            const struct piece *piece, char *to)
{
    const struct srpi_stream_tensor *in = tensor_of(c->block, c->in);
    const char *from = (const char *)row + (part->fractions ? in->fraction : 0) +
                       piece->x * pixel_bytes(in);
    if (part->channels == in->channels) {
        return from;
    }
    const struct srpi_channels channels = {
        .from = from,
        .from_stride = in->channels,
        .from_first = part->first,
        .to = to,
        .to_stride = part->channels,
        .count = part->channels,
        .pixels = piece->pixels + part->layer.shape.kernel_width - 1,
    };
    srpi_row_copy(&channels, in->element);
    return to;
}

/* Adds a sum to `before` (if it is not the first one), which gives `after`. */
static void add_row(const struct conv *c, const struct srpi_sum *part, const struct piece *piece,
                    const float *before, float *after)
{
    const uint32_t height = c->step->node->kernel_height;
    const void *rows[SRP_MAX_KERNEL];
    for (uint32_t i = 0; i < height; i++) {
        const void *row = tap_row(c, (int64_t)piece->y + i - height / 2);
        rows[i] = part_row(c, part, row, piece, NULL);
    }
    const struct srpi_conv_row call = {
        .rows = rows, .out = after, .residual = before, .pixels = piece->pixels};
    part->run(&part->layer, &call, 1);
}

/* The same of some rows. */
static void add_winograd(const struct conv *c, const struct srpi_sum *part,
                         const struct piece *piece, const struct sums *s, char *gathered,
                         float *const before[], float *const after[])
{
    struct srpi_winograd_rows call = {.pixels = piece->pixels, .scratch = c->block->area};
    winograd_rows(c, piece->y, piece->end, &call);
    for (uint32_t i = 0; i < SRPI_WINOGRAD_SIDE; i++) {
        call.rows[i] = part_row(c, part, call.rows[i], piece, gathered + i * s->bytes);
    }
    for (uint32_t i = 0; i < piece->count; i++) {
        call.residual[i] = before[i];
        call.out[i] = after[i];
    }
    part->winograd->fn(&part->layer, &call, 1);
}

/* All sums of a piece. values[]: where they end up, in the output's rows where that is f32. */
static void add_sums(const struct conv *c, const struct sums *s, const struct piece *piece,
                     bool in_place, float *values[SRPI_WINOGRAD_ROWS])
{
    const struct srpi_layer *layer = c->layer;
    float *work = work_of(c->block), *before[SRPI_WINOGRAD_ROWS] = {NULL};
    char *gathered = (char *)(work + (2 * s->rows + 1) * s->floats);
    for (uint32_t p = 0; p < layer->part_count; p++) {
        const struct srpi_sum *part = &layer->parts[p];
        for (uint32_t i = 0; i < piece->count; i++) {
            values[i] = work + (p % 2 * s->rows + i) * s->floats;
            if (in_place && p + 1 == layer->part_count) {
                values[i] = (float *)(void *)row_at(c->block, c->out, piece->y + i) +
                            (size_t)piece->x * layer->layer.shape.out_channels;
            }
        }
        if (part->winograd != NULL) {
            add_winograd(c, part, piece, s, gathered, before, values);
        } else {
            add_row(c, part, piece, before[0], values[0]);
        }
        memcpy(before, values, sizeof(before));
    }
}

/* Row y of the other summand from the piece on, as f32: in `wide` if it is something else. */
static const float *real_residual(const struct conv *c, const struct piece *piece, uint32_t y,
                                  float *wide)
{
    const uint32_t t = c->step->residual;
    if (t == SRPI_NO_TENSOR) {
        return NULL;
    }
    const struct srpi_stream_tensor *other = tensor_of(c->block, t);
    const struct srpi_codec codec = srpi_layers_codec(c->block->stream->layers, t);
    const char *row = row_at(c->block, t, y) + c->residual_shift + piece->x * pixel_bytes(other);
    if (codec.dtype == SRPI_F32) {
        return (const float *)(const void *)row;
    }
    srpi_row_load_fine(&codec, row, other->fraction, wide, (size_t)piece->pixels * other->channels);
    return wide;
}

/* What follows the sums of row y of a piece. */
static void finish_sums(const struct conv *c, const struct sums *s, const struct piece *piece,
                        uint32_t y, float *values)
{
    const struct srpi_conv_layer *layer = &c->layer->layer;
    const struct srpi_stream_tensor *out = tensor_of(c->block, c->out);
    const struct srpi_row_finish finish = {
        .slope = layer->slope,
        .other = real_residual(c, piece, y, work_of(c->block) + 2 * s->rows * s->floats),
        .clamp = layer->clamp,
        .low = layer->low,
        .high = layer->high};
    srpi_row_finish(&finish, values, piece->pixels, out->channels);
    char *row = row_at(c->block, c->out, y) + piece->x * pixel_bytes(out);
    if ((char *)values != row) {
        finish_row(c, values, row, piece->pixels);
    }
}

static void run_parts(const struct conv *c)
{
    const struct sums s = sums_of(c->layer, tensor_of(c->block, c->in)->element);
    const struct srpi_span rows = rows_of(c->block, c->out);
    const uint32_t pixels = c->columns.end - c->columns.begin;
    const bool in_place =
        tensor_of(c->block, c->out)->dtype == SRPI_F32 && c->layer->post == SRPI_ACT_NONE;
    struct piece piece = {.end = rows.end};
    for (piece.y = rows.begin; piece.y < rows.end; piece.y += piece.count) {
        piece.count = rows.end - piece.y < s.rows ? rows.end - piece.y : s.rows;
        for (piece.x = 0; piece.x < pixels; piece.x += piece.pixels) {
            float *values[SRPI_WINOGRAD_ROWS] = {NULL};
            piece.pixels = pixels - piece.x < s.pixels ? pixels - piece.x : s.pixels;
            add_sums(c, &s, &piece, in_place, values);
            for (uint32_t i = 0; i < piece.count; i++) {
                finish_sums(c, &s, &piece, piece.y + i, values[i]);
            }
        }
        for (uint32_t i = 0; i < piece.count; i++) {
            close_row(c->block, c->out, piece.y + i, row_at(c->block, c->out, piece.y + i), pixels);
        }
    }
}

/* ---- convolutions with groups ---------------------------------------------------------------- */

/* A row goes piece by piece, whose columns stay in the nearest cache: about so many bytes. */
#define COLUMN_BYTES 16384u
#define MOST_GROUPS (2 * SRP_MAX_CHANNELS) /* of codes, of fractions */

/* Work memory: a piece as f32, one of the other summand, and the columns of each group. */
struct split {
    uint32_t pixels; /* of a piece */
    size_t floats;   /* of a piece as f32 */
    size_t bytes;    /* of a group's columns */
    size_t size;     /* of all, in floats */
};

static struct split split_of(const struct srpi_conv_shape *shape, uint32_t element)
{
    const size_t column = (size_t)shape->in_channels * element;
    struct split s = {.pixels = (uint32_t)(COLUMN_BYTES / (column * shape->kernel_height)) /
                                SUM_PIXELS * SUM_PIXELS};
    s.pixels = s.pixels > SUM_PIXELS ? s.pixels : SUM_PIXELS;
    s.floats = (size_t)s.pixels * shape->out_channels + SRPI_ROW_SLACK / sizeof(float);
    s.floats = (s.floats + ALIGN - 1) / ALIGN * ALIGN;
    s.bytes = (s.pixels + shape->kernel_width) * column + SRPI_ROW_SLACK;
    s.bytes = (s.bytes + ALIGN - 1) / ALIGN * ALIGN;
    s.size = 2 * s.floats + shape->kernel_height * s.bytes / sizeof(float);
    return s;
}

/* The columns that the sums of a piece read, to `columns`. */
static void gather(const struct conv *c, const struct split *s, const struct piece *piece,
                   char *columns, const void *rows[])
{
    const struct srpi_stream_tensor *in = tensor_of(c->block, c->in);
    const struct srpi_node *node = c->step->node;
    for (uint32_t g = 0; g < c->layer->layer.shape.kernel_height; g++) {
        const struct srpi_quant_part *group = &c->layer->groups[g];
        const void *taps[SRP_MAX_KERNEL];
        for (uint32_t i = 0; i < node->kernel_height; i++) {
            const char *row = tap_row(c, (int64_t)piece->y + i - node->kernel_height / 2);
            taps[i] = row + (group->fractions ? in->fraction : 0) + piece->x * pixel_bytes(in);
        }
        const struct srpi_columns all = {.rows = taps,
                                         .height = node->kernel_height,
                                         .stride = in->channels,
                                         .first = group->first,
                                         .count = group->channels,
                                         .pixels = piece->pixels + node->kernel_width - 1,
                                         .to = columns + g * s->bytes};
        srpi_row_columns(&all, in->element);
        rows[g] = all.to;
    }
}

static void run_split(const struct conv *c)
{
    const struct srpi_conv_layer *layer = &c->layer->layer;
    const struct srpi_stream_tensor *in = tensor_of(c->block, c->in);
    const struct srpi_stream_tensor *out = tensor_of(c->block, c->out);
    const struct split s = split_of(&layer->shape, in->element);
    const struct srpi_span rows = rows_of(c->block, c->out);
    const uint32_t pixels = c->columns.end - c->columns.begin;
    const bool in_place = out->dtype == SRPI_F32 && c->layer->post == SRPI_ACT_NONE;
    float *work = work_of(c->block), *wide = work + s.floats;
    char *columns = (char *)(wide + s.floats);
    const void *gathered[MOST_GROUPS];
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        struct piece piece = {.y = y, .pixels = s.pixels};
        char *row = row_at(c->block, c->out, y);
        for (; piece.x < pixels; piece.x += piece.pixels) {
            piece.pixels = pixels - piece.x < s.pixels ? pixels - piece.x : s.pixels;
            gather(c, &s, &piece, columns, gathered);
            char *to = row + piece.x * pixel_bytes(out);
            const struct srpi_conv_row call = {.rows = gathered,
                                               .out = in_place ? to : (char *)work,
                                               .residual = real_residual(c, &piece, y, wide),
                                               .pixels = piece.pixels};
            c->layer->direct(layer, &call, 1);
            if (!in_place) {
                finish_row(c, work, to, piece.pixels);
            }
        }
        close_row(c->block, c->out, y, row, pixels);
    }
}

/* ---- the other operators --------------------------------------------------------------------- */

struct simple {
    const struct srpi_block *block;
    const struct srpi_node *node;
    uint32_t out;
    struct srpi_span columns;
    struct srpi_codec codec;
    float *work[3]; /* rows of the output */
};

static struct simple simple_of(const struct srpi_block *block, const struct srpi_step *step)
{
    struct simple s = {.block = block,
                       .node = step->node,
                       .out = step->output,
                       .columns = columns_of(block, step->output),
                       .codec = srpi_layers_codec(block->stream->layers, step->output)};
    const size_t floats =
        work_floats(block->strip.region->picture_width, &graph_of(block)->tensors[s.out]);
    s.work[0] = work_of(block);
    s.work[1] = s.work[0] + floats;
    s.work[2] = s.work[1] + floats;
    return s;
}

size_t srpi_steps_scratch(const struct srpi_layers *layers, uint32_t picture_width)
{
    const struct srpi_program *program = layers->program;
    size_t most = 0;
    for (uint32_t s = 0; s < program->step_count; s++) {
        const struct srpi_layer *layer = &layers->steps[s];
        const struct srpi_node *node = program->steps[s].node;
        const size_t floats = work_floats(picture_width,
                                          &program->graph->tensors[program->steps[s].output]);
        const bool post = layer->post != SRPI_ACT_NONE;
        const bool needs =
            node->op != SRPI_OP_CONV2D || post || layer->widen_residual;
        const size_t rows = post && layer->winograd != NULL ? SRPI_WINOGRAD_ROWS : needs ? 3 : 0;
        const uint32_t element = srpi_element_size(layers->kernels, SRPI_Q8);
        const size_t size = layer->part_count != 0 ? sums_of(layer, element).size
                            : layer->groups != NULL
                                ? split_of(&layer->layer.shape, element).size
                                : rows * floats;
        most = size > most ? size : most;
    }
    return most * sizeof(float);
}

/* Operand i's row y at the output's first column. */
static const char *operand_row(const struct simple *s, uint32_t t, uint32_t y)
{
    const struct srpi_stream_tensor *tensor = tensor_of(s->block, t);
    return row_at(s->block, t, y) +
           (s->columns.begin - s->block->at[t].columns.begin) * pixel_bytes(tensor);
}

static void join_row(const struct simple *s, uint32_t y, char *row, uint32_t count)
{
    const struct srpi_layers *layers = s->block->stream->layers;
    for (uint32_t i = 0; i < s->node->input_count; i++) {
        const uint32_t t = s->node->inputs[i];
        const struct srpi_codec codec = srpi_layers_codec(layers, t);
        srpi_row_load_fine(&codec, operand_row(s, t, y), tensor_of(s->block, t)->fraction,
                           s->work[i > 0], count);
        if (i > 0 && s->node->op == SRPI_OP_MUL) {
            srpi_row_mul(s->work[0], s->work[1], count);
        } else if (i > 0) {
            srpi_row_add(s->work[0], s->work[1], count);
        }
    }
    srpi_row_activate(s->work[0], count, s->node->activation, s->node->alpha, s->node->min,
                      s->node->max);
    srpi_row_store_fine(&s->codec, s->work[0], row, tensor_of(s->block, s->out)->fraction, count);
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
    channels.to_stride = tensor_of(s->block, s->out)->channels;
    for (uint32_t i = 0; i < s->node->input_count; i++) {
        const uint32_t t = s->node->inputs[i];
        const struct srpi_codec codec = srpi_layers_codec(layers, t);
        channels.from = operand_row(s, t, y);
        channels.from_stride = channels.count = tensor_of(s->block, t)->channels;
        move_channels(s, &codec, &channels);
        channels.to_first += channels.count;
    }
}

static void slice_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const uint32_t t = s->node->inputs[0];
    const struct srpi_codec codec = srpi_layers_codec(s->block->stream->layers, t);
    struct srpi_channels channels = {.from = operand_row(s, t, y),
                                     .from_stride = tensor_of(s->block, t)->channels,
                                     .from_first = s->node->first,
                                     .to = row,
                                     .to_stride = tensor_of(s->block, s->out)->channels,
                                     .count = tensor_of(s->block, s->out)->channels,
                                     .pixels = pixels};
    move_channels(s, &codec, &channels);
}

/* Row y of the output is row y / block of the input, block row y % block of each pixel. */
static void shuffle_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const uint32_t t = s->node->inputs[0];
    const struct srpi_codec codec = srpi_layers_codec(s->block->stream->layers, t);
    const bool same = srpi_codec_equal(&codec, &s->codec);
    const struct srpi_row_shuffle shuffle = {.from = row_at(s->block, t, y / s->node->block),
                                             .to = same ? row : (char *)s->work[1],
                                             .first_in = s->block->at[t].columns.begin,
                                             .first_out = s->columns.begin,
                                             .pixels = pixels,
                                             .channels = tensor_of(s->block, s->out)->channels,
                                             .block = s->node->block,
                                             .row = y % s->node->block,
                                             .order = s->node->order};
    srpi_row_shuffle(&shuffle, codec.element);
    if (!same) {
        srpi_row_load(&codec, s->work[1], s->work[0], (size_t)pixels * shuffle.channels);
        srpi_row_store(&s->codec, s->work[0], row, (size_t)pixels * shuffle.channels);
    }
}

static void resize_row(const struct simple *s, uint32_t y, char *row, uint32_t pixels)
{
    const struct srpi_node *node = s->node;
    const uint32_t t = node->inputs[0];
    const struct srpi_stream_tensor *in = tensor_of(s->block, t);
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
        resize.rows[k] = row_at(s->block, t, (uint32_t)(from < 0 ? 0 : from > last ? last : from));
    }
    srpi_row_resize(&resize, &codec, s->work[0], s->work[1], s->work[2]);
    srpi_row_store(&s->codec, s->work[0], row, pixels * in->channels);
}

static void run_simple(const struct simple *s)
{
    const struct srpi_span rows = rows_of(s->block, s->out);
    const uint32_t pixels = s->columns.end - s->columns.begin;
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        char *row = row_at(s->block, s->out, y);
        switch (s->node->op) {
        case SRPI_OP_CONV2D: /* rows of several at once */
        case SRPI_OP_ROUTE:  /* in no path */
            break;
        case SRPI_OP_ADD:
        case SRPI_OP_MUL:
            join_row(s, y, row, pixels * tensor_of(s->block, s->out)->channels);
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
        close_row(s->block, s->out, y, row, pixels);
    }
}

/* ---- the stages of a block ------------------------------------------------------------------- */

void srpi_block_step(const struct srpi_block *block, uint32_t step)
{
    const struct srpi_layers *layers = block->stream->layers;
    const struct srpi_step *what = &layers->program->steps[step];
    if (what->node->op != SRPI_OP_CONV2D) {
        const struct simple simple = simple_of(block, what);
        run_simple(&simple);
        return;
    }
    const struct conv conv = conv_of(block, what, &layers->steps[step]);
    if (conv.layer->winograd != NULL) {
        run_winograd(&conv);
    } else if (conv.layer->part_count != 0) {
        run_parts(&conv);
    } else if (conv.layer->groups != NULL) {
        run_split(&conv);
    } else {
        const struct srpi_span rows = rows_of(block, conv.out);
        run_rows(&conv, &conv.layer->layer, rows.begin, rows.end);
    }
}

void srpi_block_load(const struct srpi_block *block, const struct srpi_stream_io *io)
{
    const uint32_t t = graph_of(block)->input;
    const struct srpi_span rows = rows_of(block, t), columns = columns_of(block, t);
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        char *row = row_at(block, t, y);
        io->load(io->context, block->worker, y, columns, row);
        close_row(block, t, y, row, columns.end - columns.begin);
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
    const struct srpi_rows input = view_of(block, graph_of(block)->input);
    io->store(io->context, block->worker, block->strip.region, rows, &wanted, &input);
}
