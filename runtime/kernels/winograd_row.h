/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_row.h - convolution by Winograd's F(4x4, 3x3), four rows at a time: what the executor
 * that keeps rows in rings calls instead of a kernel of row.h where it is faster.
 *
 * A tile of 6x6 pixels takes 36 products for each pair of channels, where 4x4 output pixels of 3x3
 * taps would take 144. Tiles lie side by side from pixel 0 of a band of four rows; a call takes
 * several bands, so that narrow ones, too, have as many tiles as go together best.
 *
 * A kernel of more taps is a sum of 3x3 kernels, its *windows*, which begin at every second tap of
 * every second row. A tap that two of them hold is the upper and left one's; the other has 0 there.
 * So a window that is not at the top (not at the left) has zeros for its first row (column), and no
 * product at the points that are evaluated at 0 down the columns (along the rows): 5x5 taps take
 * 36 + 30 + 30 + 25 = 121 products for 16 pixels, and not 400; 7x7 256, and not 784.
 *
 * In int8 (and from int8 to f32) the result is that of row.h, bit for bit, if srpi_winograd_exact
 * says so of the layer: winograd_q8.inc.h has the reason.
 *
 * In f32 a pixel's value depends on nothing but its place in its tile and the pixels that the tile
 * reads: all of them, by rounding errors, also those that a direct convolution would not read for
 * this pixel. So two calls agree bit for bit where their first pixels are a multiple of a tile
 * apart and all input rows are the same; and so do all instruction sets. */
#ifndef SRPI_WINOGRAD_ROW_H
#define SRPI_WINOGRAD_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/row.h"

#define SRPI_WINOGRAD_TAPS 9u  /* of a side of a kernel, at most */
#define SRPI_WINOGRAD_ROWS 4u  /* output rows of a band */
#define SRPI_WINOGRAD_BANDS 4u /* of a call, at most */
/* Input rows of a band, at most: kernel_height + 3. */
#define SRPI_WINOGRAD_INPUTS (SRPI_WINOGRAD_TAPS + SRPI_WINOGRAD_ROWS - 1)

/* A band. Over-read and over-write are those of row.h: input rows are read up to pixel
 * 4 * ceil(pixels / 4) + kernel_width - 1 from the leftmost tap and SRPI_ROW_SLACK bytes more,
 * output rows written and residual rows read up to pixel 4 * ceil(pixels / 4) and SRPI_ROW_SLACK
 * bytes more. Output rows must overlap neither each other nor the input nor the residual. */
struct srpi_winograd_rows {
    /* kernel_height + 3 rows of the input from 4t - kernel_height / 2 on, each at the leftmost tap
     * of output pixel 0. What is behind the rightmost tap of the last pixel may be anything. Rows
     * that no wanted output row needs are read too and must be finite: a row of zeros where the
     * picture ended. */
    const void *rows[SRPI_WINOGRAD_INPUTS];
    /* Rows 4t and so on, pixel 0; NULL: not wanted. */
    void *out[SRPI_WINOGRAD_ROWS];
    /* The same places in the other summand; read where `out` is wanted and the layer has a
     * residual. */
    const void *residual[SRPI_WINOGRAD_ROWS];
    /* The same in all bands of a call: */
    size_t out_fraction, residual_fraction; /* as in row.h */
    uint32_t pixels;                        /* at least 1 */
    void *scratch; /* scratch_size bytes, 64-byte aligned, the thread's own; its content is of no
                      account */
};

/* Kernels for one instruction set and type of input. All functions are thread-safe. */
struct srpi_winograd_kernels {
    const char *name;
    enum srpi_dtype in;
    /* So many rows of a band, or fewer, are faster made by the direct kernel. */
    uint32_t few;
    bool overlap; /* faster alone where srpi_adds_apart(), in calls of several groups of tiles */
    /* Whether this is the faster way, by the shape alone. False for what it cannot do: that is all
     * but 3..SRPI_WINOGRAD_TAPS taps of either side, 1..SRP_MAX_CHANNELS channels, F32 to F32 or Q8
     * to Q8 or F32. What follows is only for shapes that suit. */
    bool (*suits)(const struct srpi_conv_shape *shape);
    /* Bytes of packed weights, which are 64-byte aligned. */
    size_t (*packed_size)(const struct srpi_conv_shape *shape);
    /* From [out][in][kernel_height][kernel_width]: float, int16_t (Q8). */
    void (*pack)(const struct srpi_conv_shape *shape, const void *weights, void *packed);
    /* Bytes, whatever the number of pixels. */
    size_t (*scratch_size)(const struct srpi_conv_shape *shape);
    /* layer->weights are of `pack`. The steps after the sum are those of row.h. `count`: of bands,
     * 1..SRPI_WINOGRAD_BANDS; no band reads what another one writes. */
    void (*fn)(const struct srpi_conv_layer *layer, const struct srpi_winograd_rows *bands,
               uint32_t count);
};

/* The kernels that a machine with this instruction set shall use for a convolution: those that suit
 * its shape. NULL: none, a direct one is faster. Does not look at the machine. overlap: also those
 * that have `overlap`. */
const struct srpi_winograd_kernels *srpi_winograd_for(enum srpi_isa isa,
                                                      const struct srpi_conv_shape *shape,
                                                      bool overlap);
/* All kernels for this instruction set, in the order in which they are asked; NULL ends them. */
const struct srpi_winograd_kernels *const *srpi_winograd_all(enum srpi_isa isa);

/* Whether Winograd is exact for a Q8 layer, with weights [out][in][kernel_height]
 * [kernel_width], its bias and its multipliers: sums fit 26 bits whatever the codes are, and the
 * weights at the points 16 (those of 8 bits always do). */
bool srpi_winograd_exact(const struct srpi_conv_layer *layer, const int16_t *weights);

/* Between winograd_row.c and the kernels. Rows and columns of points come in the order 1, 2, 3, 4,
 * 0, 5 and 0, 1, 2, 3, 4, 5. */
#define SRPI_WINOGRAD_SIDE 6u
#define SRPI_WINOGRAD_POINTS 36u

/* Windows [first, first + count) of the order below. */
struct srpi_winograd_span {
    uint32_t first, count;
};

#define SRPI_WINOGRAD_KINDS 4u /* of points: by where a window may have no product */

static inline uint32_t srpi_winograd_kind(uint32_t point)
{
    static const uint8_t kinds[SRPI_WINOGRAD_POINTS] = {
        1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
        1, 0, 0, 0, 0, 0, 3, 2, 2, 2, 2, 2, 1, 0, 0, 0, 0, 0};
    return kinds[point];
}

/* The windows of a kernel. They come in an order in which those that have a product at a point
 * follow each other: the left ones but the first, that, the upper ones, the others. */
struct srpi_winograd_windows {
    uint32_t down, across;
    /* With a product at points: at 0 in neither direction, along the rows, down the columns, in
     * both. */
    struct srpi_winograd_span spans[SRPI_WINOGRAD_KINDS];
};

static inline struct srpi_winograd_windows
srpi_winograd_windows(const struct srpi_conv_shape *shape)
{
    const uint32_t down = shape->kernel_height / 2, across = shape->kernel_width / 2;
    return (struct srpi_winograd_windows){
        .down = down,
        .across = across,
        .spans = {{0, down * across}, {0, down}, {down - 1, across}, {down - 1, 1}}};
}

/* Those that have a product at a point. */
static inline struct srpi_winograd_span
srpi_winograd_at(const struct srpi_winograd_windows *w, uint32_t point)
{
    return w->spans[srpi_winograd_kind(point)];
}

/* Where window `index` of that order is. */
static inline void srpi_winograd_window(const struct srpi_winograd_windows *w, uint32_t index,
                                        uint32_t *down, uint32_t *across)
{
    const uint32_t top = w->down - 1, others = top + w->across;
    *down = index < top ? index + 1 : index < others ? 0 : 1 + (index - others) / (w->across - 1);
    *across = index < top      ? 0
              : index < others ? index - top
                               : 1 + (index - others) % (w->across - 1);
}

/* Products of all windows at the points before `point`, which may be 36. Not in this header: what
 * it has is compiled for instruction sets that a machine may lack, whose kernels are asked all the
 * same what they would do, and compilers make vectors of a loop. */
uint32_t srpi_winograd_before(const struct srpi_winograd_windows *w, uint32_t point);

/* f32: output channels [first, first + block) of `padded`, in the order in which weights are used:
 * [36 points][blocks][windows][units][of a block]; `units`: all input channels, or more. */
void srpi_winograd_pack_f32(const struct srpi_conv_shape *shape, const float *weights,
                            float *packed, uint32_t units, uint32_t padded, uint32_t first,
                            uint32_t block);
/* How a block's channels lie: in their order; every second four of them first, the block's first
 * vector, then the others, its second; in their order, two pairs of input channels of each
 * ([36 points][windows][two of pairs][of a block][2][2]). */
enum srpi_winograd_order { SRPI_WINOGRAD_PLAIN, SRPI_WINOGRAD_PAIR, SRPI_WINOGRAD_TWOS };

/* int8: the same channels, in 16 bits: [36 points][windows][pairs of in][of a block][2], zeros for
 * channels that there are not. `packed` is the place of the block. `pairs`: all input channels, or
 * more; an even number for SRPI_WINOGRAD_TWOS. */
void srpi_winograd_pack_q8(const struct srpi_conv_shape *shape, const int16_t *weights,
                           int16_t *packed, uint32_t pairs, uint32_t first, uint32_t block,
                           enum srpi_winograd_order order);
extern const struct srpi_winograd_kernels srpi_winograd_f32_wide_avx2, srpi_winograd_f32_avx2,
    srpi_winograd_f32_avx512, srpi_winograd_f32_neon, srpi_winograd_q8_avx2,
    srpi_winograd_q8_avxvnni, srpi_winograd_q8_avx512, srpi_winograd_q8_overlap512;

#endif
