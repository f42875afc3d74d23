/* SPDX-License-Identifier: BSD-2-Clause */
/* The set amx: int8 row kernels with AMX's tiles (TDPBUSD); all else is avx512bf16's.
 *
 * A tile register holds 16 rows of at most 64 bytes; a product adds 16 pixels x 64 values times 64
 * values x 16 outputs to 16 pixels x 16 sums, exactly, in 16 cycles. The pixels are loaded from the
 * input row as it lies: neighbouring pixels' taps of one kernel row begin a pixel's bytes apart, and
 * overlap. A kernel row's run of taps is cut into equal pieces of at most 64 bytes.
 *
 * Sums go through memory to what follows them. That takes the vector units about as long as the
 * tiles take for the products, so the steps of one group of tiles stand among the products of the
 * next one. */
#ifdef SRPI_ROWS_amx

#include <string.h>

#include "kernels/row_sets.h"
#include "kernels/vector_avx512.h"
#include "model/checked.h"

#define VECTOR 16u
#define CODE_BYTES 1u
#define store_codes(out, step, v) store_q8_1(out, step, (v)[0], (v)[1], (v)[2], (v)[3])
#define store_both(out, rest, step, v) \
    store_fine_1(out, rest, step, (v)[0], (v)[1], (v)[2], (v)[3])

#include "kernels/q8_steps.inc.h"

enum {
    TILE_PIXELS = 16,
    TILE_BYTES = 64,  /* of a tile's row */
    TILE_SUMS = 256,
    GROUP_TILES = 4,  /* whose sums are added up at once */
    BLOCK_VECTORS = 2 /* of outputs, in a group */
};

/* ---- weights --------------------------------------------------------------------------------- */

/* How a kernel row's run of taps is cut. */
struct cut {
    uint32_t pieces, units; /* of 4 bytes, in a piece */
};

static struct cut cut_of(const struct srpi_conv_shape *shape)
{
    const uint32_t run = shape->kernel_width * shape->in_channels;
    const uint32_t pieces = (run + TILE_BYTES - 1) / TILE_BYTES;
    return (struct cut){pieces, (run + 4 * pieces - 1) / (4 * pieces)};
}

static uint32_t vectors_of(const struct srpi_conv_shape *shape)
{
    return (shape->out_channels + VECTOR - 1) / VECTOR;
}

/* Whether it is faster than avx512bf16, by the shape alone. */
static bool suits(const struct srpi_conv_shape *shape)
{
    return shape->in == SRPI_Q8 && shape->out_channels > 4 &&
           shape->in_channels <= SRP_MAX_CHANNELS && shape->out_channels <= SRP_MAX_CHANNELS;
}

static size_t packed_size(const struct srpi_conv_shape *shape)
{
    if (!suits(shape)) {
        return srpi_rows_avx512bf16.kernels.packed_size(shape);
    }
    const struct cut cut = cut_of(shape);
    return (size_t)vectors_of(shape) * shape->kernel_height * cut.pieces * cut.units * TILE_BYTES;
}

/* [block of vectors][kernel row][piece][vector][unit][output][4] */
static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    if (!suits(shape)) {
        srpi_rows_avx512bf16.kernels.pack(shape, weights, packed);
        return;
    }
    const struct cut cut = cut_of(shape);
    const uint32_t in = shape->in_channels, run = shape->kernel_width * in;
    const uint32_t vectors = vectors_of(shape), piece = 4 * cut.units;
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const int8_t *from = weights;
    memset(packed, 0, packed_size(shape));
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        const uint32_t vector = o / VECTOR, first = vector / BLOCK_VECTORS * BLOCK_VECTORS;
        const uint32_t width = vectors - first < BLOCK_VECTORS ? 1 : BLOCK_VECTORS;
        for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
            for (uint32_t at = 0; at < run; at++) {
                const size_t step = ky * cut.pieces + at / piece;
                const size_t tile = first * shape->kernel_height * cut.pieces + step * width +
                                    vector - first;
                const size_t unit = tile * cut.units + at % piece / 4;
                ((int8_t *)packed)[(unit * VECTOR + o % VECTOR) * 4 + at % 4] =
                    from[((size_t)o * in + at % in) * taps + ky * shape->kernel_width + at / in];
            }
        }
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* As ldtilecfg has it. */
struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* What the compilers' intrinsics do not say: all 64 bytes are read and written. */
#define CHANGED(memory) __asm__ volatile("" : : "r"(memory) : "memory")

/* Sums are tiles 0..3, pixels 4 and 5, weights 6 and 7. To set tiles up takes 200 cycles, to see
 * that they are as they shall be 20: most rows are of the same layer as the one before. */
static void configure(uint32_t pixels, uint32_t units)
{
    struct config want = {.palette = 1}, have = {0};
    for (uint32_t i = 0; i < 8; i++) {
        want.rows[i] = (uint8_t)(i < 6 ? pixels : units);
        want.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? 4 * units : TILE_BYTES);
    }
    CHANGED(&have);
    _tile_storeconfig(&have);
    CHANGED(&have);
    if (memcmp(&have, &want, sizeof(want)) != 0) {
        CHANGED(&want);
        _tile_loadconfig(&want);
    }
}

static void rest(void)
{
    _tile_release();
}

/* Sums in memory, whose steps are still to come: [vector, the last one first][tile][pixel][16]. So
 * what a vector writes beyond the channels is overwritten by what belongs there. */
struct sums {
    const int32_t *values;
    size_t pixel[GROUP_TILES]; /* first one of each tile */
    uint32_t tiles, vectors;
    uint32_t tile, four; /* where to go on: of tiles * vectors, of a tile's pixels */
};

/* One block of outputs of a row. */
struct work {
    const struct srpi_conv_row *row;
    const uint8_t *weights;
    size_t in_step;      /* bytes from pixel to pixel */
    struct cut cut;
    uint32_t kernel_height;
    uint32_t fours;      /* of pixels in a tile */
    uint32_t first;      /* channel of the block */
    struct steps steps[BLOCK_VECTORS];
    vint bias[BLOCK_VECTORS];
    struct q8_row to;
    struct sums sums;
};

/* The steps of `count` times four pixels, or of as many as are left. */
INLINE void finish(struct work *w, uint32_t count)
{
    struct sums *sums = &w->sums;
    for (; count > 0 && sums->tile < sums->tiles * sums->vectors; count--) {
        const bool high = sums->tile >= sums->tiles;
        const uint32_t vector = sums->vectors == 2 && !high, at = sums->tile - (high ? sums->tiles : 0);
        const int32_t *values =
            sums->values + (size_t)sums->tile * TILE_SUMS + (size_t)sums->four * 4 * VECTOR;
        const struct steps *s = &w->steps[vector];
        const size_t pixel = sums->pixel[at] + (size_t)4 * sums->four;
        const vfloat times[4] = {s->times, s->times, s->times, s->times};
        vfloat v[4];
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            v[x] = to_float(load_int(values + x * VECTOR) + w->bias[vector]);
        }
        end_four(s, times, &w->to, pixel * s->pixel + w->first + vector * VECTOR, v);
        if (++sums->four == w->fours) {
            sums->four = 0;
            sums->tile++;
        }
    }
}

/* Adds up `tiles` times `vectors` tiles, at most four, and puts them into `values`; meanwhile what
 * is left of the sums before. */
INLINE void sum_tiles(struct work *w, const size_t *pixel, int32_t *values,
                      const uint32_t tiles, const uint32_t vectors)
{
    const size_t piece = 4 * w->cut.units, tile_weights = w->cut.units * TILE_BYTES;
    const uint32_t steps = w->kernel_height * w->cut.pieces;
    const uint32_t share = (w->sums.tiles * w->sums.vectors * w->fours + steps - 1) / steps;
    const uint8_t *b = w->weights;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (uint32_t ky = 0; ky < w->kernel_height; ky++) {
        const uint8_t *a = w->row->rows[ky];
        for (uint32_t i = 0; i < w->cut.pieces; i++) {
            _tile_loadd(4, a + pixel[0] * w->in_step, w->in_step);
            if (vectors == 2) {
                _tile_loadd(7, b + tile_weights, TILE_BYTES);
                _tile_loadd(6, b, TILE_BYTES);
                _tile_dpbusd(0, 4, 7);
                if (tiles == 2) {
                    _tile_loadd(5, a + pixel[1] * w->in_step, w->in_step);
                    _tile_dpbusd(2, 4, 6);
                    _tile_dpbusd(1, 5, 7);
                    _tile_dpbusd(3, 5, 6);
                } else {
                    _tile_dpbusd(1, 4, 6);
                }
            } else {
                _tile_loadd(6, b, TILE_BYTES);
                _tile_dpbusd(0, 4, 6);
                if (tiles > 1) {
                    _tile_loadd(5, a + pixel[1] * w->in_step, w->in_step);
                    _tile_dpbusd(1, 5, 6);
                }
                if (tiles > 2) {
                    _tile_loadd(4, a + pixel[2] * w->in_step, w->in_step);
                    _tile_dpbusd(2, 4, 6);
                }
                if (tiles > 3) {
                    _tile_loadd(5, a + pixel[3] * w->in_step, w->in_step);
                    _tile_dpbusd(3, 5, 6);
                }
            }
            a += piece;
            b += vectors * tile_weights;
            finish(w, share);
        }
    }
    _tile_stored(0, values, TILE_BYTES);
    if (tiles * vectors > 1) {
        _tile_stored(1, values + TILE_SUMS, TILE_BYTES);
    }
    if (tiles * vectors > 2) {
        _tile_stored(2, values + 2 * TILE_SUMS, TILE_BYTES);
    }
    if (tiles * vectors > 3) {
        _tile_stored(3, values + 3 * TILE_SUMS, TILE_BYTES);
    }
    w->sums.values = values;
    w->sums.tiles = tiles;
    w->sums.vectors = vectors;
    w->sums.tile = 0;
    memcpy(w->sums.pixel, pixel, sizeof(w->sums.pixel));
}

static void sum_group(struct work *w, const size_t *pixel, int32_t *values, uint32_t tiles,
                      uint32_t vectors)
{
    switch (vectors * 8 + tiles) {
    case 2 * 8 + 2:
        sum_tiles(w, pixel, values, 2, 2);
        break;
    case 2 * 8 + 1:
        sum_tiles(w, pixel, values, 1, 2);
        break;
    case 8 + 4:
        sum_tiles(w, pixel, values, 4, 1);
        break;
    case 8 + 3:
        sum_tiles(w, pixel, values, 3, 1);
        break;
    case 8 + 2:
        sum_tiles(w, pixel, values, 2, 1);
        break;
    default:
        sum_tiles(w, pixel, values, 1, 1);
    }
}

static void run(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const uint32_t vectors = vectors_of(shape);
    struct work w = {
        .row = row,
        .in_step = shape->in_stride != 0 ? shape->in_stride : shape->in_channels,
        .cut = cut_of(shape),
        .kernel_height = shape->kernel_height,
        .to = {.out = row->out,
               .residual = row->residual,
               .out_fraction = row->out_fraction,
               .residual_fraction = row->residual_fraction},
    };
    /* A row's last tile ends with its last pixel, and overlaps the one before; a row that is
     * shorter than a tile has a lower one. So nothing far behind the row is read. */
    const uint32_t groups = (row->pixels + SRPI_ROW_GROUP - 1) / SRPI_ROW_GROUP;
    w.fours = groups < TILE_PIXELS / 4 ? groups : TILE_PIXELS / 4;
    const uint32_t all = (row->pixels + TILE_PIXELS - 1) / TILE_PIXELS;
    const size_t last = all > 1 ? row->pixels - TILE_PIXELS : 0;
    const size_t vector_weights = (size_t)shape->kernel_height * w.cut.pieces * w.cut.units *
                                  TILE_BYTES;
    int32_t values[2][GROUP_TILES * TILE_SUMS] __attribute__((aligned(64)));
    configure(w.fours * 4, w.cut.units);
    /* As in row_tile.h: the last block first. */
    for (uint32_t end = vectors; end > 0;) {
        const uint32_t block = 2 - end % 2, most = GROUP_TILES / block, first = end - block;
        w.first = first * VECTOR;
        w.weights = (const uint8_t *)layer->weights + first * vector_weights;
        for (uint32_t v = 0; v < block; v++) {
            const uint32_t channel = (first + v) * VECTOR;
            w.steps[v] = steps_of(layer, channel, row->out_fraction != 0);
            w.bias[v] = load_int((const int32_t *)layer->bias + channel);
        }
        uint32_t tiles = 0;
        for (uint32_t t = 0, g = 0; t < all; t += tiles, g++) {
            size_t pixel[GROUP_TILES];
            tiles = all - t < most ? all - t : most;
            for (uint32_t i = 0; i < GROUP_TILES; i++) {
                const size_t at = (size_t)(t + i) * TILE_PIXELS;
                pixel[i] = at < last ? at : last;
            }
            sum_group(&w, pixel, values[g % 2], tiles, block);
        }
        finish(&w, UINT32_MAX);
        end = first;
    }
}

static srpi_conv_fn find(const struct srpi_conv_shape *shape, const char **name)
{
    if (!suits(shape)) {
        return srpi_rows_avx512bf16.kernels.find(shape, name);
    }
    if (name != NULL) {
        *name = shape->out == SRPI_Q8 ? "amx tiles q8->q8" : "amx tiles q8->f32";
    }
    return run;
}

const struct srpi_row_set srpi_rows_amx = {
    .kernels = {.isa = SRPI_ISA_AMX,
                .name = "amx",
                .storage = SRPI_Q8_U8,
                .has = {[SRPI_F32] = true, [SRPI_BF16] = true, [SRPI_Q8] = true},
                .packed_size = packed_size,
                .pack = pack,
                .find = find,
                .rest = rest},
};

#else
typedef int srpi_no_amx; /* no translation unit is empty */
#endif
