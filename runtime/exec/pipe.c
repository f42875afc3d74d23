/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/pipe.h"

#include <string.h>

#include "kernels/yuvstore.h"

/* Even, so that a band has whole chroma rows. */
#define BAND 32u

static size_t aligned(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

/* Never whole pages: the rows of a ring, which are read together, would fight for the same lines
 * of the cache. */
static size_t row_floats(uint32_t width)
{
    const size_t floats = aligned(width + SRPI_SAMPLE_SLACK);
    return floats % 1024 == 0 ? floats + 64 : floats;
}

/* All widths are at most SRP_MAX_DIMENSION * SRP_MAX_SCALE: no overflow. */
size_t srpi_scratch_size(uint32_t source_width, uint32_t out_width)
{
    const size_t row = row_floats(out_width), half = row_floats(out_width / 2 + 1);
    const size_t padded = aligned(source_width + 2 * (size_t)SRPI_SAMPLE_SLACK);
    const size_t floats = 4 * (SRPI_RING_ROWS * row + padded) + 4 * row + 8 * half;
    return floats * sizeof(float) + 3 * row;
}

void srpi_scratch_init(struct srpi_scratch *scratch, void *memory, uint32_t source_width,
                       uint32_t out_width)
{
    const size_t row = row_floats(out_width), half = row_floats(out_width / 2 + 1);
    const size_t padded = aligned(source_width + 2 * (size_t)SRPI_SAMPLE_SLACK);
    float *next = memory;
    for (uint32_t i = 0; i < 4; i++) {
        scratch->ring[i].rows = next;
        scratch->ring[i].pitch = row;
        next += SRPI_RING_ROWS * row;
        scratch->ring[i].padded = next;
        next += padded;
        scratch->row[i] = next;
        next += row;
    }
    for (uint32_t i = 0; i < 8; i++) {
        scratch->half[i / 4][i % 4] = next;
        next += half;
    }
    for (uint32_t i = 0; i < 3; i++) {
        scratch->bytes[i] = (uint8_t *)next + i * row;
    }
}

void srpi_scratch_reset(struct srpi_scratch *scratch)
{
    scratch->rows = scratch->columns = (struct srpi_span){0, 0}; /* no part is that */
}

/* Rows in work memory are columns begin..end of the picture; those of chroma planes are their half.
 * Of these the first `margin` are there for their neighbours' sake alone. */
struct job {
    const struct srpi_pipe *pipe;
    const struct srpi_rows *wanted;
    const struct srpi_resample_kernels *kernels;
    uint32_t begin, end, margin;
};

/* Bytes of the part's first column in row y of a plane. */
static uint8_t *out_row(const struct job *job, uint32_t plane, uint32_t y)
{
    const struct srp_picture *out = job->pipe->out;
    const size_t x = job->begin + job->margin;
    const size_t at = out->format == SRP_FORMAT_RGB    ? 3 * x
                      : out->format == SRP_FORMAT_BGRA ? 4 * x
                      : plane == 0                     ? x
                      : out->format == SRP_FORMAT_NV12 ? x / 2 * 2
                                                       : x / 2;
    return out->data[plane] + (ptrdiff_t)y * out->stride[plane] + at;
}

/* Columns of the part, in luma and in chroma. */
static uint32_t part_width(const struct job *job)
{
    return job->end - job->begin - job->margin;
}

static uint32_t half_width(const struct job *job)
{
    return (part_width(job) + 1) / 2;
}

/* The tail's part of row y of a channel: `block` values, and the next pixel's further on. */
static const float *tail_pixel(const struct job *job, uint32_t channel, uint32_t y)
{
    const uint32_t block = job->pipe->block;
    const size_t pixel = job->begin / block - job->wanted->column;
    return (const float *)srpi_rows_at(job->wanted, y / block) +
           pixel * job->pipe->tail_channels * block * block +
           (size_t)(channel * block + y % block) * block;
}

/* The same, pixel after pixel, in work memory. */
static const float *tail_row(const struct job *job, uint32_t channel, uint32_t y, float *work)
{
    const struct srpi_pipe *pipe = job->pipe;
    const uint32_t block = pipe->block;
    job->kernels->spread(tail_pixel(job, channel, y), work,
                         (job->end - job->begin + block - 1) / block, block,
                         pipe->tail_channels * block * block);
    return work;
}

static void add_tail(const struct job *job, uint32_t channel, uint32_t y, float *row, float *work)
{
    const float *tail = tail_row(job, channel, y, work);
    for (uint32_t x = 0; x < job->end - job->begin; x++) {
        row[x] = row[x] + 255.0f * tail[x];
    }
}

/* Rounds a row into the picture's bytes, `step` apart. */
static void store_row(const struct job *job, const float *row, uint8_t *out, uint32_t step,
                      uint32_t count, uint8_t *spare)
{
    if (step == 1) {
        job->kernels->narrow(row, out, count);
        return;
    }
    job->kernels->narrow(row, spare, count);
    for (uint32_t x = 0; x < count; x++) {
        out[(size_t)x * step] = spare[x];
    }
}

static void store_chroma(const struct job *job, struct srpi_scratch *scratch, uint32_t component,
                         const float *row, uint32_t y)
{
    if (job->pipe->out->format == SRP_FORMAT_NV12) {
        store_row(job, row, out_row(job, 1, y) + component, 2, half_width(job),
                  scratch->bytes[0]);
    } else {
        store_row(job, row, out_row(job, 1 + component, y), 1, half_width(job), NULL);
    }
}

static void fill_row(float *row, float value, uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        row[x] = value;
    }
}

/* Row y in `row`, where it may be changed. */
static void own_row(const struct srpi_source *source, struct srpi_ring *ring, uint32_t y,
                    float *row)
{
    const float *made = srpi_source_row(source, ring, y, row);
    if (made != row) {
        memcpy(row, made, (ring->end - ring->begin) * sizeof(float));
    }
}

/* Row y of a plane: the source's, or a flat one, and the tail's share. `rows` is part of it.
 * The blend is written in place: copied, it would be read in other pieces than those it was written
 * in, and such a load waits until all bytes of the row before have left for the caches. */
static void plane_row(const struct job *job, struct srpi_scratch *scratch, uint32_t component,
                      uint32_t y, const float **rows, struct srpi_blend *blend)
{
    const struct srpi_pipe *pipe = job->pipe;
    blend->rows = rows;
    blend->tap = NULL;
    blend->taps = 0;
    blend->flat = pipe->flat_value;
    blend->tail = NULL;
    blend->block = 0;
    blend->gain = 255.0f;
    if (component > 0 || !pipe->flat) {
        blend->taps = srpi_source_taps(&pipe->source[component], &scratch->ring[component], y,
                                       rows, &blend->tap);
    }
    if (component == 0 && pipe->has_tail) {
        blend->block = pipe->block;
        blend->tail = tail_pixel(job, 0, y);
        if (pipe->block == 3) { /* the kernels want 1, 2 or 4 side by side */
            blend->tail = tail_row(job, 0, y, scratch->row[0]);
            blend->block = 1;
        }
    }
}

static void store_plane_row(const struct job *job, struct srpi_scratch *scratch,
                            uint32_t component, uint32_t y, uint8_t *out, uint32_t count)
{
    const float *rows[SRPI_MAX_TAPS];
    struct srpi_blend blend;
    plane_row(job, scratch, component, y, rows, &blend);
    job->kernels->blend(&blend, out, count);
}

/* Rows begin..end of luma, at most SHUFFLE_ROWS, all of one row of the network: piece by piece,
 * since each reads a part of every pixel's values, and the nearest cache does not hold a row of
 * these. */
#define SHUFFLE_ROWS 4u
#define PIECE 512u

static void store_shuffled_rows(const struct job *job, struct srpi_scratch *scratch,
                                uint32_t begin, uint32_t end)
{
    const uint32_t width = part_width(job);
    const float *rows[SHUFFLE_ROWS][SRPI_MAX_TAPS] = {{NULL}};
    struct srpi_blend blend[SHUFFLE_ROWS];
    for (uint32_t y = begin; y < end; y++) {
        plane_row(job, scratch, 0, y, rows[y - begin], &blend[y - begin]);
    }
    for (uint32_t x = 0; x < width; x += PIECE) {
        const uint32_t count = width - x < PIECE ? width - x : PIECE;
        for (uint32_t y = begin; y < end; y++) {
            struct srpi_blend *b = &blend[y - begin];
            job->kernels->blend(b, out_row(job, 0, y) + x, count);
            b->tail += PIECE * b->block;
            for (uint32_t k = 0; k < b->taps; k++) {
                rows[y - begin][k] += PIECE;
            }
        }
    }
}

static void store_luma(const struct job *job, struct srpi_scratch *scratch, uint32_t begin,
                       uint32_t end)
{
    const uint32_t block = job->pipe->has_tail ? job->pipe->block : 1;
    for (uint32_t y = begin; y < end;) {
        const uint32_t next = (y / block + 1) * block, stop = next < end ? next : end;
        if (block == 2 || block == 4) {
            store_shuffled_rows(job, scratch, y, stop);
            y = stop;
        } else {
            store_plane_row(job, scratch, 0, y, out_row(job, 0, y), part_width(job));
            y++;
        }
    }
}

static void planes_band(const struct job *job, struct srpi_scratch *scratch, uint32_t begin,
                        uint32_t end)
{
    const struct srp_picture *out = job->pipe->out;
    const uint32_t half = half_width(job);
    store_luma(job, scratch, begin, end);
    for (uint32_t y = begin / 2; y < (end + 1) / 2; y++) {
        for (uint32_t c = 0; c < 2; c++) {
            if (out->format == SRP_FORMAT_NV12) {
                store_plane_row(job, scratch, 1 + c, y, scratch->bytes[0], half);
                uint8_t *to = out_row(job, 1, y) + c;
                for (uint32_t x = 0; x < half; x++) {
                    to[2 * (size_t)x] = scratch->bytes[0][x];
                }
            } else {
                store_plane_row(job, scratch, 1 + c, y, out_row(job, 1 + c, y), half);
            }
        }
    }
}

static void convert(enum srpi_convert what, const struct srpi_colour *colour, float *const *rows,
                    uint32_t count)
{
    if (what == SRPI_TO_RGB) {
        srpi_colour_to_rgb(colour, rows, count);
    } else if (what == SRPI_TO_YUV) {
        srpi_colour_to_yuv(colour, rows, count);
    }
}

/* The three rows y of the output in scratch->row[0..2]. */
static void full_rows(const struct job *job, struct srpi_scratch *scratch, uint32_t y)
{
    const struct srpi_pipe *pipe = job->pipe;
    const uint32_t width = job->end - job->begin;
    for (uint32_t c = 0; c < 3 && !(pipe->flat && pipe->tail_channels == 3); c++) {
        own_row(&pipe->source[c], &scratch->ring[c], y, scratch->row[c]);
    }
    convert(pipe->first, &pipe->first_colour, scratch->row, width);
    for (uint32_t c = 0; pipe->flat && c < pipe->tail_channels; c++) {
        fill_row(scratch->row[c], pipe->flat_value, width);
    }
    if (pipe->has_luma) {
        own_row(&pipe->luma, &scratch->ring[3], y, scratch->row[0]);
    }
    for (uint32_t c = 0; pipe->has_tail && c < pipe->tail_channels; c++) {
        add_tail(job, c, y, scratch->row[c], scratch->row[3]);
    }
    convert(pipe->second, &pipe->second_colour, scratch->row, width);
}

static void packed_band(const struct job *job, struct srpi_scratch *scratch, uint32_t begin,
                        uint32_t end)
{
    static const uint8_t orders[2][3] = {{0, 1, 2}, {2, 1, 0}};
    const struct srpi_pipe *pipe = job->pipe;
    const bool bgra = pipe->out->format == SRP_FORMAT_BGRA;
    const uint32_t width = part_width(job);
    /* Nothing but the tail: straight from the network to bytes. */
    const bool straight = pipe->flat && pipe->tail_channels == 3 && pipe->second == SRPI_KEEP;
    for (uint32_t y = begin; y < end; y++) {
        uint8_t *to = out_row(job, 0, y);
        if (straight) {
            const uint32_t cell = pipe->block * pipe->block;
            job->kernels->interleave_shuffled(tail_pixel(job, 0, y), 3 * cell, cell, pipe->block,
                                              pipe->flat_value, 255.0f, orders[bgra],
                                              bgra ? 4 : 3, to, width);
        } else {
            full_rows(job, scratch, y);
            job->kernels->interleave((const float *const *)scratch->row, 0.0f, 1.0f, orders[bgra],
                                     bgra ? 4 : 3, to, width);
        }
    }
}

/* Chroma rows need neighbours, with TOPLEFT one from the band above: it is made twice. */
static void halved_rows(const struct job *job, struct srpi_scratch *scratch, uint32_t begin,
                        uint32_t end)
{
    const struct srp_picture *out = job->pipe->out;
    const bool sited_x = out->chroma != SRP_CHROMA_CENTER;
    const bool sited_y = out->chroma == SRP_CHROMA_TOPLEFT;
    const uint32_t margin = job->margin, odd = margin % 2, half = half_width(job);
    for (uint32_t y = sited_y && begin > 0 ? begin - 1 : begin; y < end; y++) {
        full_rows(job, scratch, y);
        if (y >= begin) {
            store_row(job, scratch->row[0] + margin, out_row(job, 0, y), 1, part_width(job), NULL);
        }
        for (uint32_t c = 0; c < 2; c++) {
            srpi_chroma_half(scratch->row[1 + c] + odd, scratch->half[c][y % 4],
                             job->end - job->begin - odd, sited_x); /* pairs begin evenly */
        }
        const bool last = y + 1 == out->height;
        if (y < begin || (y % 2 == 0 && !last)) {
            continue;
        }
        const uint32_t row = y / 2, middle = row * 2;
        const uint32_t above = middle > 0 ? middle - 1 : 0;
        for (uint32_t c = 0; c < 2; c++) {
            const float *held[4];
            for (uint32_t i = 0; i < 4; i++) {
                held[i] = scratch->half[c][i] + margin / 2;
            }
            float *made = scratch->row[3];
            if (sited_y) {
                srpi_rows_121(held[above % 4], held[middle % 4], held[y % 4], made, half);
            } else {
                srpi_rows_11(held[middle % 4], held[y % 4], made, half);
            }
            store_chroma(job, scratch, c, made, row);
        }
    }
}

/* Nothing but the tail, in R, G and B, and each row of the network gives whole pairs of rows: no
 * row is made as floats. */
static bool is_direct(const struct srpi_pipe *pipe)
{
    return pipe->flat && pipe->tail_channels == 3 && pipe->first == SRPI_KEEP &&
           pipe->second == SRPI_TO_YUV && !pipe->has_luma &&
           (pipe->block == 2 || pipe->block == 4) && pipe->out->chroma != SRP_CHROMA_TOPLEFT;
}

/* Rows begin..end of one row of the network. */
static void direct_rows(const struct job *job, uint32_t begin, uint32_t end)
{
    const struct srpi_pipe *pipe = job->pipe;
    const struct srp_picture *out = pipe->out;
    const bool nv12 = out->format == SRP_FORMAT_NV12;
    const uint32_t channels = 3 * pipe->block * pipe->block;
    const struct srpi_yuvstore store = {
        .pixel = tail_pixel(job, 0, begin) + job->margin / pipe->block * (size_t)channels,
        .channels = channels,
        .block = pipe->block,
        .flat = pipe->flat_value,
        .gain = 255.0f,
        .colour = &pipe->second_colour,
        .sited = out->chroma != SRP_CHROMA_CENTER,
        .edge = job->begin == 0,
        .rows = end - begin,
        .count = part_width(job),
        .luma = out_row(job, 0, begin),
        .luma_stride = out->stride[0],
        .chroma = {out_row(job, 1, begin / 2),
                   nv12 ? out_row(job, 1, begin / 2) + 1 : out_row(job, 2, begin / 2)},
        .chroma_stride = {out->stride[1], out->stride[nv12 ? 1 : 2]},
        .chroma_step = nv12 ? 2 : 1};
    srpi_yuvstore(&store);
}

static void halved_band(const struct job *job, struct srpi_scratch *scratch, uint32_t begin,
                        uint32_t end)
{
    const uint32_t block = job->pipe->block;
    const uint32_t pairs = end - end % 2; /* a single last row is averaged with itself */
    uint32_t y = begin;
    while (is_direct(job->pipe) && y < pairs) {
        const uint32_t next = (y / block + 1) * block, stop = next < pairs ? next : pairs;
        direct_rows(job, y, stop);
        y = stop;
    }
    if (y < end) {
        halved_rows(job, scratch, y, end);
    }
}

static void bind(const struct srpi_source *source, struct srpi_ring *ring,
                 const struct srpi_rows *wanted, const struct srpi_rows *input)
{
    ring->bound = source->view.bound == SRPI_BOUND_INPUT ? input : wanted;
}

static bool same_span(struct srpi_span a, struct srpi_span b)
{
    return a.begin == b.begin && a.end == b.end;
}

/* Rings hold the rows of one part. */
static void turn_to(const struct job *job, struct srpi_scratch *scratch,
                    const struct srpi_part *part)
{
    if (same_span(scratch->rows, part->rows) && same_span(scratch->columns, part->columns)) {
        return;
    }
    scratch->rows = part->rows;
    scratch->columns = part->columns;
    for (uint32_t i = 0; i < 4; i++) {
        const bool half = !job->pipe->full && (i == 1 || i == 2);
        const uint32_t begin = half ? job->begin / 2 : job->begin;
        const uint32_t end = half ? (job->end + 1) / 2 : job->end;
        scratch->ring[i].pitch = row_floats(end - begin); /* no more memory than is used */
        srpi_ring_reset(&scratch->ring[i], begin, end);
    }
}

void srpi_pipe_rows(const struct srpi_pipe *pipe, struct srpi_scratch *scratch,
                    const struct srpi_part *part, const struct srpi_rows *wanted,
                    const struct srpi_rows *input, uint32_t begin, uint32_t end)
{
    struct job job = {.pipe = pipe,
                      .wanted = wanted,
                      .kernels = srpi_resample_kernels(),
                      .begin = part->columns.begin,
                      .end = part->columns.end};
    const enum srp_format format = pipe->out->format;
    const bool packed = format == SRP_FORMAT_RGB || format == SRP_FORMAT_BGRA;
    /* Chroma that is halved may see the column on its left, which belongs to a pair. */
    if (pipe->full && !packed && job.begin > 0) {
        job.margin = srpi_pipe_margin(pipe->factor, pipe->out->chroma).left * pipe->factor;
        job.begin -= job.margin;
    }
    turn_to(&job, scratch, part);
    for (uint32_t c = 0; c < 3; c++) {
        bind(&pipe->source[c], &scratch->ring[c], wanted, input);
    }
    bind(&pipe->luma, &scratch->ring[3], wanted, input);
    if (!pipe->full) {
        planes_band(&job, scratch, begin, end);
    } else if (packed) {
        packed_band(&job, scratch, begin, end);
    } else {
        halved_band(&job, scratch, begin, end);
    }
}

/* ---- parts in bands -------------------------------------------------------------------------- */

static uint32_t bands_of(const struct srpi_part *part)
{
    return (part->rows.end - part->rows.begin + BAND - 1) / BAND;
}

void srpi_bands_start(struct srpi_bands *bands, const struct srpi_pipe *pipe,
                      struct srpi_scratch *scratch, const struct srpi_part *parts, uint32_t count)
{
    bands->pipe = pipe;
    bands->scratch = scratch;
    bands->parts = parts;
    bands->count = 0;
    for (uint32_t p = 0; p < count; p++) {
        bands->count += bands_of(&parts[p]);
    }
    atomic_store(&bands->next, 0);
}

void srpi_bands_work(struct srpi_bands *bands, uint32_t worker)
{
    struct srpi_scratch *scratch = &bands->scratch[worker];
    uint32_t skipped = 0, p = 0; /* bands are counted through all parts, one after the other */
    srpi_scratch_reset(scratch);
    for (;;) {
        const uint32_t i = atomic_fetch_add_explicit(&bands->next, 1, memory_order_relaxed);
        if (i >= bands->count) {
            return;
        }
        while (i - skipped >= bands_of(&bands->parts[p])) {
            skipped += bands_of(&bands->parts[p++]);
        }
        const struct srpi_part *part = &bands->parts[p];
        const uint32_t begin = part->rows.begin + (i - skipped) * BAND;
        const uint32_t end = part->rows.end - begin < BAND ? part->rows.end : begin + BAND;
        srpi_pipe_rows(bands->pipe, scratch, part, NULL, NULL, begin, end);
    }
}
