/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/convolve.h"

#include <string.h>

#include "kernels/rowops.h"

#define ALIGN 64u

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
                     .columns = srpi_block_columns(block, step->output)};
    const struct srpi_stream_tensor *in = srpi_block_tensor(block, c.in);
    c.height = block->strip.region->picture_height * in->factor;
    const ptrdiff_t pixels = (ptrdiff_t)c.columns.begin - (ptrdiff_t)block->at[c.in].columns.begin -
                             (ptrdiff_t)(step->node->kernel_width / 2);
    c.in_shift = pixels * (ptrdiff_t)srpi_pixel_bytes(in);
    if (step->residual != SRPI_NO_TENSOR) {
        c.residual_shift = (c.columns.begin - block->at[step->residual].columns.begin) *
                           srpi_pixel_bytes(srpi_block_tensor(block, step->residual));
    }
    return c;
}

/* The input row that is `tap` rows below `y - radius`, at the leftmost tap. Above and below the
 * picture, and below what was computed for a region, lies padding. */
static const void *tap_row(const struct conv *c, int64_t y)
{
    const struct srpi_stream_tensor *in = srpi_block_tensor(c->block, c->in);
    if (y < 0 || y >= (int64_t)c->height) {
        return c->block->stream->arena + in->padding;
    }
    return srpi_block_row(c->block, c->in, (uint32_t)y) + c->in_shift;
}

/* Row y of the other summand at the output's first column; in work memory where it has to be
 * widened. */
static const void *residual_row(const struct conv *c, uint32_t y)
{
    const uint32_t t = c->step->residual;
    if (t == SRPI_NO_TENSOR) {
        return NULL;
    }
    const char *row = srpi_block_row(c->block, t, y) + c->residual_shift;
    if (!c->layer->widen_residual) {
        return row;
    }
    const struct srpi_layers *layers = c->block->stream->layers;
    const struct srpi_codec codec = srpi_layers_codec(layers, t);
    float *wide = srpi_block_work(c->block);
    srpi_row_load_fine(&codec, row, srpi_block_tensor(c->block, t)->fraction, wide,
                       (size_t)(c->columns.end - c->columns.begin) *
                           srpi_block_tensor(c->block, t)->channels);
    return wide;
}

#define FINISH_VALUES 2048u /* 8 KiB: both passes of a piece find it in the nearest cache */

/* tanh or sigmoid of a row in work memory, then into the ring. */
static void finish_row(const struct conv *c, float *values, char *row, uint32_t pixels)
{
    const size_t count = (size_t)pixels * srpi_block_tensor(c->block, c->out)->channels;
    const struct srpi_codec codec = srpi_layers_codec(c->block->stream->layers, c->out);
    for (size_t done = 0; done < count; done += FINISH_VALUES) {
        const size_t piece = count - done < FINISH_VALUES ? count - done : FINISH_VALUES;
        srpi_row_activate(values + done, piece, c->layer->post, 0.0f, 0.0f, 0.0f);
        srpi_row_store_fine(&codec, values + done, row + done * codec.element,
                            srpi_block_tensor(c->block, c->out)->fraction, piece);
    }
}

/* A row of the output as f32 in work memory. */
static float *work_row(const struct conv *c, uint32_t index)
{
    const uint32_t width = c->block->strip.region->picture_width;
    return srpi_block_work(c->block) +
           index * srpi_work_floats(width, &srpi_block_graph(c->block)->tensors[c->out]);
}

/* The rows that a band of Winograd's kernels reads for rows [y, end), as many as it makes or fewer:
 * then it hangs over, and rows that only unwanted rows would need may not be there. */
static void winograd_rows(const struct conv *c, uint32_t y, uint32_t end,
                          struct srpi_winograd_rows *call)
{
    const uint32_t height = c->step->node->kernel_height;
    const int64_t above = height / 2;
    for (uint32_t i = 0; i < height + SRPI_WINOGRAD_ROWS - 1; i++) {
        const int64_t from = (int64_t)y + i - above;
        call->rows[i] = tap_row(c, from < (int64_t)end + above ? from : -1);
    }
}

/* What the taps of a layer that has not all of them read for row y, each as a kernel row. */
static void sparse_rows(const struct conv *c, uint32_t y, const void **rows)
{
    const struct srpi_layer *layer = c->layer;
    const size_t pixel = srpi_pixel_bytes(srpi_block_tensor(c->block, c->in));
    const int64_t top = (int64_t)y - c->step->node->kernel_height / 2;
    for (uint32_t t = 0; t < layer->tap_count; t++) {
        rows[t] = (const char *)tap_row(c, top + layer->taps[t].y) + layer->taps[t].x * pixel;
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
    const size_t fraction = srpi_block_tensor(c->block, c->out)->fraction;
    const bool post = c->layer->post != SRPI_ACT_NONE;
    void *work = srpi_block_work(c->block);
    /* What needs work memory has it for one row. */
    const bool alone = post || c->layer->widen_residual;
    struct srpi_conv_row calls[ROWS_AT_ONCE];
    const uint32_t sparse = c->layer->tap_count;
    const void *taps[ROWS_AT_ONCE * SRP_MAX_KERNEL * SRP_MAX_KERNEL];
    for (uint32_t y = from, count = 0; y < end; y += count) {
        count = alone ? 1 : end - y < ROWS_AT_ONCE ? end - y : ROWS_AT_ONCE;
        for (uint32_t i = 0; sparse == 0 && i < node->kernel_height + count - 1; i++) {
            taps[i] = tap_row(c, (int64_t)y + i - node->kernel_height / 2);
        }
        for (uint32_t r = 0; r < count; r++) {
            struct srpi_conv_row *call = &calls[r];
            call->rows = taps + r;
            if (sparse != 0) {
                call->rows = taps + (size_t)r * sparse;
                sparse_rows(c, y + r, taps + (size_t)r * sparse);
            }
            call->out = post ? work : srpi_block_row(c->block, c->out, y + r);
            call->residual = residual_row(c, y + r);
            call->out_fraction = post ? 0 : fraction;
            call->residual_fraction =
                call->residual != NULL && !c->layer->widen_residual
                    ? srpi_block_tensor(c->block, c->step->residual)->fraction
                    : 0;
            call->pixels = pixels;
        }
        c->layer->direct(layer, calls, count);
        for (uint32_t r = 0; r < count; r++) {
            char *row = srpi_block_row(c->block, c->out, y + r);
            if (post) {
                finish_row(c, work, row, pixels);
            }
            srpi_block_close_row(c->block, c->out, y + r, row, pixels);
        }
    }
}

/* What follows the kernel: tanh or sigmoid, the code, padding. */
static void end_winograd(const struct conv *c, uint32_t y, void *made, uint32_t pixels)
{
    char *row = srpi_block_row(c->block, c->out, y);
    if (made != row) {
        finish_row(c, made, row, pixels);
    } else if (c->layer->post != SRPI_ACT_NONE) {
        srpi_row_activate(made, (size_t)pixels * srpi_block_tensor(c->block, c->out)->channels,
                          c->layer->post, 0.0f, 0.0f, 0.0f);
    }
    srpi_block_close_row(c->block, c->out, y, row, pixels);
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
    const struct srpi_span rows = srpi_block_rows(c->block, c->out);
    const struct srpi_stream_tensor *out = srpi_block_tensor(c->block, c->out);
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
            residual != SRPI_NO_TENSOR ? srpi_block_tensor(c->block, residual)->fraction : 0;
        band->scratch = c->block->area;
        winograd_rows(c, y, y + count, band);
        for (uint32_t i = 0; i < SRPI_WINOGRAD_ROWS; i++) {
            const bool wanted = i < count;
            band->out[i] = !wanted    ? NULL
                           : in_place ? (void *)srpi_block_row(c->block, c->out, y + i)
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
                     .inputs = winograd ? part->kernel_height + SRPI_WINOGRAD_ROWS - 1 : 0};
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
    const struct srpi_stream_tensor *in = srpi_block_tensor(c->block, c->in);
    const char *from = (const char *)row + (part->fractions ? in->fraction : 0) +
                       piece->x * srpi_pixel_bytes(in);
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
    for (uint32_t i = 0; i < s->inputs; i++) {
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
    float *work = srpi_block_work(c->block), *before[SRPI_WINOGRAD_ROWS] = {NULL};
    char *gathered = (char *)(work + (2 * s->rows + 1) * s->floats);
    for (uint32_t p = 0; p < layer->part_count; p++) {
        const struct srpi_sum *part = &layer->parts[p];
        for (uint32_t i = 0; i < piece->count; i++) {
            values[i] = work + (p % 2 * s->rows + i) * s->floats;
            if (in_place && p + 1 == layer->part_count) {
                values[i] = (float *)(void *)srpi_block_row(c->block, c->out, piece->y + i) +
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

/* As srpi_layers_codec, for values that count the tensor's codes, or their fractions. */
static struct srpi_codec code_codec(const struct conv *c, uint32_t t)
{
    struct srpi_codec codec = srpi_layers_codec(c->block->stream->layers, t);
    const bool fine = srpi_block_tensor(c->block, t)->fraction != 0;
    codec.scale = fine ? 256.0f : 1.0f;
    codec.inverse = fine ? 0x1p-8f : 1.0f;
    codec.zero = codec.fine_zero = 0.0f;
    return codec;
}

/* Row y of the other summand from the piece on, as f32 (of codes: their numbers unless `real`): in
 * `wide` if it is something else. */
static const float *other_values(const struct conv *c, const struct piece *piece, uint32_t y,
                                 bool real, float *wide)
{
    const uint32_t t = c->step->residual;
    if (t == SRPI_NO_TENSOR) {
        return NULL;
    }
    const struct srpi_stream_tensor *other = srpi_block_tensor(c->block, t);
    const struct srpi_codec codec =
        real ? srpi_layers_codec(c->block->stream->layers, t) : code_codec(c, t);
    const char *row =
        srpi_block_row(c->block, t, y) + c->residual_shift + piece->x * srpi_pixel_bytes(other);
    if (codec.dtype == SRPI_F32) {
        return (const float *)(const void *)row;
    }
    srpi_row_load_fine(&codec, row, other->fraction, wide, (size_t)piece->pixels * other->channels);
    return wide;
}

/* Whether what follows the sums of parts or groups ends in real values. */
static bool ends_real(const struct conv *c)
{
    return c->layer->sum == NULL || c->layer->sum->shape.out != SRPI_Q8;
}

/* The codes of a piece from the sum of its groups. */
static void finish_codes(const struct conv *c, const struct piece *piece, float *sums,
                         const float *other, char *to)
{
    const struct srpi_stream_tensor *out = srpi_block_tensor(c->block, c->out);
    const struct srpi_codec codec = code_codec(c, c->out);
    srpi_row_finish_sums(c->layer->sum, other, sums, piece->pixels);
    srpi_row_store_fine(&codec, sums, to, out->fraction, (size_t)piece->pixels * out->channels);
}

/* What follows the sums of row y of a piece. */
static void finish_sums(const struct conv *c, const struct sums *s, const struct piece *piece,
                        uint32_t y, float *values)
{
    const struct srpi_conv_layer *layer = &c->layer->layer;
    const struct srpi_stream_tensor *out = srpi_block_tensor(c->block, c->out);
    const float *other = other_values(c, piece, y, ends_real(c),
                                      srpi_block_work(c->block) + 2 * s->rows * s->floats);
    char *row = srpi_block_row(c->block, c->out, y) + piece->x * srpi_pixel_bytes(out);
    if (!ends_real(c)) {
        finish_codes(c, piece, values, other, row);
        return;
    }
    if (c->layer->sum != NULL) {
        srpi_row_finish_sums(c->layer->sum, other, values, piece->pixels);
    } else {
        const struct srpi_row_finish finish = {.slope = layer->slope,
                                               .other = other,
                                               .clamp = layer->clamp,
                                               .low = layer->low,
                                               .high = layer->high};
        srpi_row_finish(&finish, values, piece->pixels, out->channels);
    }
    if ((char *)values != row) {
        finish_row(c, values, row, piece->pixels);
    }
}

static void run_parts(const struct conv *c)
{
    const struct sums s = sums_of(c->layer, srpi_block_tensor(c->block, c->in)->element);
    const struct srpi_span rows = srpi_block_rows(c->block, c->out);
    const uint32_t pixels = c->columns.end - c->columns.begin;
    const bool in_place =
        srpi_block_tensor(c->block, c->out)->dtype == SRPI_F32 && c->layer->post == SRPI_ACT_NONE;
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
            const uint32_t y = piece.y + i;
            srpi_block_close_row(c->block, c->out, y, srpi_block_row(c->block, c->out, y), pixels);
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
    const struct srpi_stream_tensor *in = srpi_block_tensor(c->block, c->in);
    const struct srpi_node *node = c->step->node;
    const size_t at = piece->x * srpi_pixel_bytes(in);
    const char *codes[SRP_MAX_KERNEL];
    for (uint32_t i = 0; i < node->kernel_height; i++) {
        const int64_t y = (int64_t)piece->y + i - node->kernel_height / 2;
        codes[i] = (const char *)tap_row(c, y) + at;
    }
    for (uint32_t g = 0; g < c->layer->layer.shape.kernel_height; g++) {
        const struct srpi_quant_part *group = &c->layer->groups[g];
        const void *taps[SRP_MAX_KERNEL];
        for (uint32_t i = 0; i < node->kernel_height; i++) {
            taps[i] = codes[i] + (group->fractions ? in->fraction : 0);
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
    const bool real = ends_real(c);
    const struct srpi_conv_layer *layer = &c->layer->layer;
    const struct srpi_stream_tensor *in = srpi_block_tensor(c->block, c->in);
    const struct srpi_stream_tensor *out = srpi_block_tensor(c->block, c->out);
    const struct split s = split_of(&layer->shape, in->element);
    const struct srpi_span rows = srpi_block_rows(c->block, c->out);
    const uint32_t pixels = c->columns.end - c->columns.begin;
    const bool in_place = out->dtype == SRPI_F32 && c->layer->post == SRPI_ACT_NONE;
    float *work = srpi_block_work(c->block), *wide = work + s.floats;
    char *columns = (char *)(wide + s.floats);
    const void *gathered[MOST_GROUPS];
    for (uint32_t y = rows.begin; y < rows.end; y++) {
        struct piece piece = {.y = y, .pixels = s.pixels};
        char *row = srpi_block_row(c->block, c->out, y);
        for (; piece.x < pixels; piece.x += piece.pixels) {
            piece.pixels = pixels - piece.x < s.pixels ? pixels - piece.x : s.pixels;
            gather(c, &s, &piece, columns, gathered);
            char *to = row + piece.x * srpi_pixel_bytes(out);
            const float *other = other_values(c, &piece, y, real, wide);
            const struct srpi_conv_row call = {.rows = gathered,
                                               .out = in_place ? to : (char *)work,
                                               .residual = other,
                                               .pixels = piece.pixels};
            c->layer->direct(layer, &call, 1);
            if (!real) {
                finish_codes(c, &piece, work, other, to);
            } else if (!in_place) {
                finish_row(c, work, to, piece.pixels);
            }
        }
        srpi_block_close_row(c->block, c->out, y, row, pixels);
    }
}

void srpi_convolve(const struct srpi_block *block, const struct srpi_step *step,
                   const struct srpi_layer *layer)
{
    const struct conv conv = conv_of(block, step, layer);
    if (layer->winograd != NULL) {
        run_winograd(&conv);
    } else if (layer->part_count != 0) {
        run_parts(&conv);
    } else if (layer->groups != NULL) {
        run_split(&conv);
    } else {
        const struct srpi_span rows = srpi_block_rows(block, conv.out);
        run_rows(&conv, &layer->layer, rows.begin, rows.end);
    }
}

size_t srpi_convolve_floats(const struct srpi_layers *layers, uint32_t step, size_t row)
{
    const struct srpi_layer *layer = &layers->steps[step];
    const uint32_t element = srpi_element_size(layers->kernels, SRPI_Q8);
    if (layer->part_count != 0) {
        return sums_of(layer, element).size;
    }
    if (layer->groups != NULL) {
        return split_of(&layer->layer.shape, element).size;
    }
    const bool post = layer->post != SRPI_ACT_NONE;
    return post && layer->winograd != NULL ? SRPI_WINOGRAD_ROWS * row
           : post || layer->widen_residual ? row
                                           : 0;
}
