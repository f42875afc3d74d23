/* SPDX-License-Identifier: BSD-2-Clause */
/* row_tile.h - the part of the row kernels that needs no generator: a row is walked block of
 * output channels after block, and in each in groups of pixels. A group is a "tile", whose sums
 * stay in registers; the tiles are generated.
 *
 * Only the generated files include this, each after its vector header (vector_*.h), which says
 * LANES, and after TILE_VECTORS, the most vectors of output channels in a block. */
#ifndef SRPI_ROW_TILE_H
#define SRPI_ROW_TILE_H

#include <math.h>

#include "kernels/row_sets.h"

/* In front of a loop whose rounds read some of the same values: written out, the compiler would
 * keep those, and have no registers for them. */
#ifdef __clang__
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define KEEP_LOOP _Pragma("GCC unroll 1")
#endif

/* One block of output channels of one row. */
struct tile {
    const struct srpi_conv_layer *layer;
    const void *const *rows; /* as in struct srpi_conv_row */
    const uint8_t *weights;  /* of the block, packed */
    /* LANES entries a vector, in the order of the lanes. */
    const uint8_t *bias;
    const float *multiplier, *shift, *slope;
    uint8_t *out;                        /* of pixel 0, first channel of the block */
    const uint8_t *residual;             /* the same place, or NULL */
    size_t in_step, out_step;            /* bytes from pixel to pixel */
    size_t residual_step;
    size_t out_fraction, residual_fraction; /* as in struct srpi_conv_row */
    uint32_t kernel_height, units;
    size_t padded; /* split: entries of a vector for each kernel row */
};

/* Computes a group of pixels from `pixel` on. */
typedef void (*tile_fn)(const struct tile *t, size_t pixel);

/* The tiles of a number of vectors: fn[i] computes i * step pixels, i <= most. A kernel's table has
 * those of whole vectors, 1 to TILE_VECTORS, and then those of 2 and more whose last one is half
 * empty. */
struct tile_widths {
    uint32_t step, most;
    tile_fn fn[7];
};

static inline const struct tile_widths *widths_of(const struct tile_widths *widths,
                                                  const struct srpi_row_block *block)
{
    return &widths[block->vectors - 1 + (block->half ? TILE_VECTORS - 1 : 0)];
}

/* The sums of a tile in memory, as floats, plus the other summand where that has another dtype
 * than the output: rare enough for plain C. Natural or narrowing order of lanes. */
static __attribute__((noinline, unused)) void
add_f32_residual(const struct tile *t, size_t pixel, uint32_t pixels, uint32_t vectors, bool half,
                 bool narrow, float *sums)
{
    const struct srpi_row_block block = {.vectors = vectors, .half = half};
    for (uint32_t p = 0; p < pixels; p++) {
        const uint8_t *other = t->residual + (pixel + p) * t->residual_step;
        for (uint32_t v = 0; v < vectors; v++) {
            for (uint32_t lane = 0; lane < LANES; lane++) {
                float value;
                const uint32_t c = srpi_row_channel(narrow, LANES, &block, v, lane);
                memcpy(&value, other + (size_t)4 * c, sizeof(value));
                *sums = fmaf(value, t->layer->residual_multiplier, *sums);
                sums++;
            }
        }
    }
}

/* Vectors of a layer in the order of the lanes of one block. */
struct lane_order {
    int32_t bias[TILE_VECTORS * LANES];
    float multiplier[TILE_VECTORS * LANES], slope[TILE_VECTORS * LANES];
};

static inline void order_lanes(struct tile *t, struct lane_order *order,
                               const struct srpi_row_block *block)
{
    const struct srpi_conv_layer *layer = t->layer;
    /* Neighbours stay together by fours: a row of few pixels feels this. */
    enum { GROUP = LANES >= 4 ? 4 : 1 };
    for (uint32_t i = 0; i < block->vectors * LANES; i += GROUP) {
        const uint32_t c = block->first * LANES +
                           srpi_row_channel(true, LANES, block, i / LANES, i % LANES);
        memcpy(order->bias + i, (const int32_t *)layer->bias + c, GROUP * sizeof(int32_t));
        memcpy(order->multiplier + i, layer->multiplier + c, GROUP * sizeof(float));
        if (layer->slope != NULL) {
            memcpy(order->slope + i, layer->slope + c, GROUP * sizeof(float));
        }
    }
    t->bias = (const uint8_t *)order->bias;
    t->multiplier = order->multiplier;
    t->slope = layer->slope != NULL ? order->slope : NULL;
}

static inline void start_block(struct tile *t, struct lane_order *order,
                               const struct srpi_row_block *block)
{
    const struct srpi_conv_layer *layer = t->layer;
    const struct srpi_conv_shape *shape = &layer->shape;
    const uint32_t first = block->first * LANES;
    t->weights =
        (const uint8_t *)layer->weights + (size_t)first * 4 * t->kernel_height * t->units;
    if (shape->in == SRPI_Q8 && shape->out == SRPI_Q8) {
        order_lanes(t, order, block);
    } else {
        t->bias = (const uint8_t *)layer->bias + (size_t)4 * first;
        t->multiplier = shape->in == SRPI_Q8 ? layer->multiplier + first : NULL;
        t->shift = shape->in == SRPI_Q8 ? layer->shift + first : NULL;
        t->slope = layer->slope != NULL ? layer->slope + first : NULL;
    }
}

/* A block of a row. */
static inline void run_tiles(const struct tile *t, const struct tile_widths *w, uint32_t pixels)
{
    /* The shortest tile has a row's own group of pixels. */
    const uint32_t shortest = SRPI_ROW_GROUP / w->step;
    const uint32_t wanted = (pixels + w->step - 1) / w->step;
    const uint32_t steps = wanted > shortest ? wanted : shortest;
    /* Groups as equal as possible: they differ by one step. */
    const uint32_t groups = (steps + w->most - 1) / w->most;
    const uint32_t least = steps / groups, longer = steps % groups;
    size_t pixel = 0;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t size = least + (g < longer ? 1 : 0);
        w->fn[size](t, pixel);
        pixel += (size_t)size * w->step;
    }
}

/* Whole rows. Sizes are of one element. */
SRPI_ENTRY
static void run_rows(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                     uint32_t count, const struct tile_widths *widths, uint32_t in_size,
                     uint32_t out_size)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const struct srpi_row_blocks blocks =
        srpi_row_blocks(shape->out_channels, LANES, TILE_VECTORS);
    const uint32_t other_size =
        layer->has_residual && layer->residual == SRPI_F32 ? (uint32_t)sizeof(float) : out_size;
    struct lane_order order;
    struct tile t = {
        .layer = layer,
        .in_step = (size_t)in_size * shape->in_channels,
        .out_step = (size_t)shape->out_channels * out_size,
        .residual_step = (size_t)shape->out_channels * other_size,
        .out_fraction = rows->out_fraction,
        .residual_fraction = rows->residual_fraction,
        .kernel_height = shape->kernel_height,
        .units = (shape->kernel_width * shape->in_channels * in_size + 3) / 4,
        .padded = (shape->out_channels + SRPI_ROW_PADDED - 1) / SRPI_ROW_PADDED * SRPI_ROW_PADDED,
    };
    /* All blocks of a row find it in the nearest cache. They go from the last to the first, and
     * pixels from the first to the last: then what the last block's vectors write beyond the
     * channels lies where the right values are still to come. */
    const uint32_t together = blocks.blocks == 1 ? count : 1;
    for (const struct srpi_conv_row *end = rows + count; rows != end; rows += together) {
        for (uint32_t b = blocks.blocks; b-- > 0;) {
            const struct srpi_row_block block = srpi_row_block(&blocks, b);
            const uint32_t first = block.first * LANES;
            start_block(&t, &order, &block);
            for (uint32_t r = 0; r < together; r++) {
                const struct srpi_conv_row *row = &rows[r];
                t.rows = row->rows;
                t.out = (uint8_t *)row->out + (size_t)first * out_size;
                t.residual = layer->has_residual
                                 ? (const uint8_t *)row->residual + (size_t)first * other_size
                                 : NULL;
                run_tiles(&t, widths_of(widths, &block), row->pixels);
            }
        }
    }
}

#endif
