/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_tiles.inc.h - what winograd_f32.inc.h and winograd_q8.inc.h share, over vectors of
 * VECTOR values of 32 bits: how the memory between the stages is laid out. The includer defines
 * COPY_BROKEN, see there, and SLOTS, below.
 *
 * GROUP tiles, a number of the includer's, go through three stages together, and what lies between
 * the stages stays in the L1 or L2 cache:
 *
 *   forward   6x6 pixels to 36 terms for each window, tile and channel, down the columns and along
 *             the rows at once; a pair of rows of points at a time, (1, 2), (3, 4), (0, 5), which
 *             share work
 *   products  for each point, tiles x in times in x out, the sum of the windows: the weights are
 *             read once for a group
 *   backward  36 products to 4x4 pixels, a pair of output rows at a time; the layer's other steps
 *
 * All distances in inner loops are constants. A *unit* is what is multiplied at once: an f32, or
 * two terms of 16 bits.
 *   terms     [vector of units][36 points of SLOTS][GROUP tiles][VECTOR]
 *   products  [vector of out][36 points of SLOTS][GROUP tiles][VECTOR]: what a point's sums write
 *             lies together
 *
 * The units of a window follow those of the one before. Where there are several windows, the units
 * of each are made up to whole vectors (or halves), with weights of 0: so sums run through all of
 * them.
 *
 * Output channels are summed in *blocks* of 1 to WIDE vectors, TILES(vectors) tiles at a time: so
 * many sums stay in registers, and as few loads as may be come with a product. */
#include <string.h>

#include "kernels/unroll.h"
#include "kernels/winograd_row.h"

#define SIDE SRPI_WINOGRAD_SIDE
#define STEP SRPI_WINOGRAD_ROWS /* also columns of pixels that a tile makes */
#define POINTS SRPI_WINOGRAD_POINTS

/* Neighbouring tiles of one band. */
struct stretch {
    const char *rows[SRPI_WINOGRAD_INPUTS]; /* at the first tile */
    char *out[STEP];
    const char *residual[STEP];
    uint32_t tiles;
    bool broken; /* the last one has less than STEP pixels, and is read from a copy */
};

/* A group of tiles: those of the bands follow each other. */
struct group {
    struct stretch stretches[SRPI_WINOGRAD_BANDS];
    uint32_t stretch_count, tiles;
};

/* Bytes of a pixel; rows and columns of pixels that a tile reads. */
struct sizes {
    size_t in, out, residual;
    uint32_t rows, columns;
};

INLINE uint32_t vectors(uint32_t count)
{
    return (count + VECTOR - 1) / VECTOR;
}

/* How many of `left` tiles go together next, `most` at most: one or two that remain would do little
 * but wait for the weights. */
INLINE uint32_t next_tiles(uint32_t left, const uint32_t most)
{
    return left <= most ? left : left <= most + most / 3 ? most * 2 / 3 : most;
}

/* Bytes. */
INLINE size_t aligned(size_t size)
{
    return (size + 63) / 64 * 64;
}

static uint32_t tiles_of(const struct srpi_winograd_rows *band)
{
    return (band->pixels + STEP - 1) / STEP;
}

/* `left` tiles of a call are left: those that go together next. */
static void group_next(struct group *group, const struct srpi_winograd_rows *bands,
                       const struct sizes *sizes, uint32_t first, uint32_t left)
{
    const uint32_t all = tiles_of(bands);
    group->tiles = next_tiles(left, GROUP);
    group->stretch_count = 0;
    for (uint32_t end = first + group->tiles; first < end;) {
        const struct srpi_winograd_rows *band = &bands[first / all];
        struct stretch *s = &group->stretches[group->stretch_count++];
        const uint32_t tile = first % all;
        const size_t x = (size_t)tile * STEP;
        s->tiles = all - tile < end - first ? all - tile : end - first;
        s->broken = COPY_BROKEN && tile + s->tiles == all && band->pixels % STEP != 0;
        for (uint32_t r = 0; r < sizes->rows; r++) {
            s->rows[r] = (const char *)band->rows[r] + x * sizes->in;
        }
        for (uint32_t r = 0; r < STEP; r++) {
            s->out[r] = band->out[r] ? (char *)band->out[r] + x * sizes->out : NULL;
            s->residual[r] =
                band->residual[r] ? (const char *)band->residual[r] + x * sizes->residual : NULL;
        }
        first += s->tiles;
    }
}

/* Bytes of a row of a broken tile; what a vector reads too many is in there. */
static size_t broken_row(const struct sizes *sizes)
{
    return aligned(sizes->columns * sizes->in + 64);
}

/* A copy of a stretch's last tile, which has `pixels` pixels, with zeros behind what these need:
 * what comes behind there may be anything. In f32 each pixel's value depends a little on all of the
 * tile; in int8 terms of what is no code would not cancel if they left 16 bits. Where codes are
 * bytes anything is a code, and COPY_BROKEN false. */
static void copy_broken(const char *rows[], char *to, const struct stretch *s,
                        const struct sizes *sizes, uint32_t pixels)
{
    const size_t first = (size_t)(s->tiles - 1) * STEP * sizes->in;
    const size_t bytes = (pixels + sizes->columns - STEP) * sizes->in, row = broken_row(sizes);
    for (uint32_t r = 0; r < sizes->rows; r++) {
        memcpy(to, s->rows[r] + first, bytes);
        memset(to + bytes, 0, row - bytes);
        rows[r] = to;
        to += row;
    }
}

/* What forward_group() makes: the terms of vectors [first, end) of each window's units. */
struct forward_work {
    const struct srpi_conv_shape *shape;
    const struct sizes *sizes;
    uint32_t units, first, end;
    uint32_t rest;   /* of a vector: for f_store */
    char *copy;      /* sizes->rows times broken_row() bytes */
    uint32_t pixels; /* of a band */
};

/* How many of `left` vectors of output channels are the next block. */
INLINE uint32_t block_of(uint32_t left)
{
    const uint32_t blocks = (left + WIDE - 1) / WIDE;
    return (left + blocks - 1) / blocks;
}

/* Places in the memory between the stages, in values. */
INLINE size_t term_at(uint32_t t, uint32_t p)
{
    return ((size_t)p * GROUP + t) * VECTOR;
}

INLINE size_t product_at(uint32_t i, uint32_t t, uint32_t p)
{
    return (((size_t)i * SLOTS + p) * GROUP + t) * VECTOR;
}

/* Where the terms of a unit are, of all windows' units. */
INLINE size_t unit_at(uint32_t unit)
{
    return unit / VECTOR * term_at(0, SLOTS) + unit % VECTOR;
}

/* Units [first, first + count) of all windows' have a product at a point. */
struct units {
    uint32_t first, count;
};

/* `units`: of a window. With one window nothing is looked up: on that the first loads of a point
 * would wait. */
INLINE struct units units_at(const struct srpi_winograd_windows *windows, uint32_t units,
                             uint32_t point)
{
    struct units at = {0, units};
    if (windows->down * windows->across != 1) {
        const struct srpi_winograd_span span = srpi_winograd_at(windows, point);
        at.first = span.first * units;
        at.count = span.count * units;
    }
    return at;
}

/* A tile reads as many rows more than it makes as the kernel has below the first, and columns. */
static struct sizes sizes_of(const struct srpi_conv_shape *shape)
{
    return (struct sizes){.rows = STEP - 1 + shape->kernel_height,
                          .columns = STEP - 1 + shape->kernel_width};
}

static uint32_t window_count(const struct srpi_conv_shape *shape)
{
    const struct srpi_winograd_windows windows = srpi_winograd_windows(shape);
    return windows.down * windows.across;
}

/* Values of all terms. `units`: of a window. */
static size_t terms_size(const struct srpi_conv_shape *shape, uint32_t units)
{
    return vectors(window_count(shape) * units) * term_at(0, SLOTS);
}

/* Bytes of the weights of several windows, at most. Each group of tiles fetches them again, from
 * the third cache or from memory, which takes less time than the products that they save; this is
 * for their memory. */
#define MOST_WEIGHTS (64u << 20)

/* Whether there is a way for a shape, whatever it takes. */
static bool has_way(const struct srpi_conv_shape *shape)
{
    return shape->kernel_height >= 3 && shape->kernel_height <= SRPI_WINOGRAD_TAPS &&
           shape->kernel_width >= 3 && shape->kernel_width <= SRPI_WINOGRAD_TAPS &&
           shape->in_channels != 0 && shape->in_channels <= SRP_MAX_CHANNELS &&
           shape->out_channels != 0 && shape->out_channels <= SRP_MAX_CHANNELS;
}

/* Distances of the points, and of their rows, among the products of a tile. */
#define POINT (GROUP * VECTOR)
#define ROW(n) ((n)*SIDE * POINT)
enum { ROW1 = ROW(0), ROW2 = ROW(1), ROW3 = ROW(2), ROW4 = ROW(3), ROW0 = ROW(4), ROW5 = ROW(5) };
