/* SPDX-License-Identifier: BSD-2-Clause */
/* The set amx: int8 row kernels with AMX's tiles (TDPBUSD); all else is avx512bf16's.
 *
 * A tile register holds 16 rows of at most 64 bytes; a product adds 16 pixels x 64 values times 64
 * values x 16 outputs to 16 pixels x 16 sums, exactly, in 16 cycles. The pixels are loaded from the
 * input row as it lies: neighbouring pixels' taps of one kernel row begin a pixel's bytes apart and
 * overlap. A kernel row's run of taps is cut into equal pieces of at most 64 bytes.
 *
 * Sums go through memory to what follows them. That takes the vector units about as long as the
 * tiles take for the products, so the steps of one group of tiles stand among the products of the
 * next one. */
#ifdef SRPI_ROWS_amx

#include <string.h>

#include "kernels/row_few.h"
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
    TILE_BYTES = 64, /* of a tile's row */
    TILE_SUMS = 256,
    MOST_TILES = 6,  /* of sums */
    MOST_VECTORS = 3 /* of outputs, in a block */
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

/* Vectors of outputs that are summed up together: 2 with two tiles of pixels, 1 (what is left of an
 * odd number) with four, 3 with two, where that is all there is to do. */
static uint32_t block_of(const struct srpi_conv_shape *shape)
{
    return vectors_of(shape) % 3 == 0 ? 3 : 2;
}

/* Whether it is faster than avx512bf16, by the shape alone. Not where most of a tile of pixels is
 * empty: 1 and 3 input channels, 3x3. */
static bool suits(const struct srpi_conv_shape *shape)
{
    return shape->in == SRPI_Q8 && shape->kernel_width * shape->in_channels >= 12 &&
           !srpi_row_few_suits_vnni(shape) && shape->in_channels <= SRP_MAX_CHANNELS &&
           shape->out_channels <= SRP_MAX_CHANNELS;
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
    const uint32_t vectors = vectors_of(shape), block = block_of(shape), piece = 4 * cut.units;
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const int8_t *from = weights;
    memset(packed, 0, packed_size(shape));
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        const uint32_t vector = o / VECTOR, first = vector / block * block;
        const uint32_t width = vectors - first < block ? vectors - first : block;
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

/* Blocks of 3 vectors: sums are tiles 0..5, pixels 6, weights 7. Others: sums 0..3, pixels 4 and 5,
 * weights 6 and 7. To set tiles up takes 200 cycles, to see that they are as they shall be 20, and
 * most rows are of the same layer as the one before. */
static void configure(uint32_t pixels, uint32_t units, uint32_t block)
{
    const uint32_t values = block == 3 ? 6 : 4, weights = block == 3 ? 7 : 6;
    struct config want = {.palette = 1}, have = {0};
    for (uint32_t i = 0; i < 8; i++) {
        want.rows[i] = (uint8_t)(i < weights ? pixels : units);
        want.row_bytes[i] = (uint16_t)(i >= values && i < weights ? 4 * units : TILE_BYTES);
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

/* ---- sums and what follows them -------------------------------------------------------------- */

/* A block of outputs. */
struct block {
    uint32_t vectors, first; /* number; channel of the first */
    const uint8_t *weights;
    struct steps steps[MOST_VECTORS];
    vint bias[MOST_VECTORS];
};

/* Some neighbouring tiles of pixels, at most as many as there are registers for their sums. */
struct group {
    const struct block *block;
    uint32_t tiles;
    size_t pixel[4]; /* first one of each */
};

/* What follows the sums, for the compiler to know. */
enum ending {
    ANY,
    CODES,     /* to codes without fractions, and nothing on the way */
    RESIDUALS, /* the same with a residual of such codes */
    FLOATS     /* to f32, and at most a residual in f32 on the way */
};

static enum ending ending_of(const struct steps *s, const struct q8_row *row)
{
    if (s->slope || s->clamp || row->out_fraction != 0) {
        return ANY;
    }
    if (!s->to_codes) {
        return s->residual && !s->wide_residual ? ANY : FLOATS;
    }
    if (!s->residual) {
        return CODES;
    }
    return s->wide_residual || row->residual_fraction != 0 ? ANY : RESIDUALS;
}

/* A row. */
struct work {
    const struct srpi_conv_row *row;
    size_t in_step;      /* bytes from pixel to pixel */
    struct cut cut;
    uint32_t kernel_height;
    uint32_t fours;      /* of pixels in a tile */
    enum ending ending;
    struct q8_row to;
    /* The sums of `group`: [vector, the last one first][tile][pixel][16]. So what a vector writes
     * beyond the channels is overwritten by what belongs there. `tile` of them are done with, and
     * `four` times four pixels of the next one. */
    int32_t *sums;
    struct group group;
    uint32_t tile, four;
};

/* The steps after `count` times four sums, or as many as are left. */
INLINE void finish_as(struct work *w, uint32_t count, const enum ending ending)
{
    const struct group *g = &w->group;
    const uint32_t tiles = g->tiles, vectors = g->block->vectors, fours = w->fours;
    /* Copies, which no store of a row can change. */
    struct q8_row to = w->to;
    uint32_t tile = w->tile, four = w->four;
    if (ending != ANY) {
        to.out_fraction = to.residual_fraction = 0;
    }
    while (count > 0 && tile < tiles * vectors) {
        const uint32_t last = tile >= tiles ? tile >= 2 * tiles ? 2 : 1 : 0;
        const uint32_t vector = vectors - 1 - last;
        struct steps s = g->block->steps[vector];
        if (ending != ANY) {
            s.slope = s.clamp = false;
            s.to_codes = ending != FLOATS;
            s.wide_residual = ending == FLOATS;
            s.residual = ending == RESIDUALS || (s.residual && ending == FLOATS);
        }
        const vint bias = g->block->bias[vector];
        const vfloat times[4] = {s.times, s.times, s.times, s.times};
        const int32_t *sums = w->sums + (size_t)tile * TILE_SUMS + (size_t)four * 4 * VECTOR;
        size_t at = (g->pixel[tile - last * tiles] + (size_t)4 * four) * s.pixel + g->block->first +
                    vector * VECTOR;
        for (; count > 0 && four < fours; count--, four++) {
            vfloat v[4];
            UNROLL for (uint32_t x = 0; x < 4; x++) {
                v[x] = to_float(load_int(sums + x * VECTOR) + bias);
            }
            end_four(&s, times, &to, at, v);
            sums += 4 * VECTOR;
            at += 4 * s.pixel;
        }
        if (four == fours) {
            four = 0;
            tile++;
        }
    }
    w->tile = tile;
    w->four = four;
}

static __attribute__((noinline)) void finish_any(struct work *w, uint32_t count)
{
    finish_as(w, count, ANY);
}

static __attribute__((noinline)) void finish_codes(struct work *w, uint32_t count)
{
    finish_as(w, count, CODES);
}

static __attribute__((noinline)) void finish_residuals(struct work *w, uint32_t count)
{
    finish_as(w, count, RESIDUALS);
}

static __attribute__((noinline)) void finish_floats(struct work *w, uint32_t count)
{
    finish_as(w, count, FLOATS);
}

static void finish(struct work *w, uint32_t count)
{
    static void (*const finishes[])(struct work *, uint32_t) = {
        [ANY] = finish_any,
        [CODES] = finish_codes,
        [RESIDUALS] = finish_residuals,
        [FLOATS] = finish_floats};
    finishes[w->ending](w, count);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Before the first product for tile i of sums: those of the group before are put into memory, one
 * tile after the other, so that products go on meanwhile. */
#define BEGIN(i) \
    if (first) { \
        _tile_stored(i, w->sums + (i)*TILE_SUMS, TILE_BYTES); \
        _tile_zero(i); \
    }
#define SUM(i, pixels, weights) \
    BEGIN(i) \
    _tile_dpbusd(i, pixels, weights);
#define PIXELS(tile, t) _tile_loadd(tile, a + g->pixel[t] * w->in_step, w->in_step);
#define WEIGHTS(tile, v) _tile_loadd(tile, b + (v)*weights, TILE_BYTES);

/* The products of one piece of a kernel row. The sums are in the order that `struct work` has. */
INLINE void multiply_piece(struct work *w, const struct group *g, const uint8_t *a,
                           const uint8_t *b, const uint32_t tiles, const uint32_t vectors,
                           const bool first)
{
    const size_t weights = w->cut.units * TILE_BYTES;
    if (vectors == 3) {
        PIXELS(6, 0)
        WEIGHTS(7, 2) SUM(0, 6, 7)
        if (tiles == 2) {
            WEIGHTS(7, 1) SUM(2, 6, 7)
            WEIGHTS(7, 0) SUM(4, 6, 7)
            PIXELS(6, 1) SUM(5, 6, 7)
            WEIGHTS(7, 1) SUM(3, 6, 7)
            WEIGHTS(7, 2) SUM(1, 6, 7)
        } else {
            WEIGHTS(7, 1) SUM(1, 6, 7)
            WEIGHTS(7, 0) SUM(2, 6, 7)
            BEGIN(3) BEGIN(4) BEGIN(5)
        }
    } else if (vectors == 2) {
        PIXELS(4, 0)
        WEIGHTS(7, 1) SUM(0, 4, 7)
        if (tiles == 2) {
            WEIGHTS(6, 0) SUM(2, 4, 6)
            PIXELS(5, 1) SUM(1, 5, 7) SUM(3, 5, 6)
        } else {
            WEIGHTS(6, 0) SUM(1, 4, 6)
            BEGIN(2) BEGIN(3)
        }
    } else {
        WEIGHTS(6, 0)
        PIXELS(4, 0) SUM(0, 4, 6)
        if (tiles > 1) {
            PIXELS(5, 1) SUM(1, 5, 6)
        } else {
            BEGIN(1)
        }
        if (tiles > 2) {
            PIXELS(4, 2) SUM(2, 4, 6)
        } else {
            BEGIN(2)
        }
        if (tiles > 3) {
            PIXELS(5, 3) SUM(3, 5, 6)
        } else {
            BEGIN(3)
        }
    }
}

/* The products of a group; meanwhile the steps after the sums of the one before. */
INLINE void multiply_group(struct work *w, const struct group *g, const uint32_t tiles,
                           const uint32_t vectors)
{
    const size_t weights = vectors * w->cut.units * TILE_BYTES;
    const uint32_t pieces = w->kernel_height * w->cut.pieces;
    const uint32_t before = w->group.tiles * w->group.block->vectors * w->fours;
    const uint32_t share = (before + pieces - 1) / pieces;
    const uint8_t *b = g->block->weights;
    multiply_piece(w, g, w->row->rows[0], b, tiles, vectors, true);
    finish(w, share);
    for (uint32_t ky = 0; ky < w->kernel_height; ky++) {
        const uint8_t *a = w->row->rows[ky];
        for (uint32_t i = 0; i < w->cut.pieces; i++) {
            if (ky != 0 || i != 0) {
                multiply_piece(w, g, a, b, tiles, vectors, false);
                finish(w, share);
            }
            a += 4 * w->cut.units;
            b += weights;
        }
    }
    w->group = *g;
    w->tile = w->four = 0;
}

static void run_group(struct work *w, const struct group *g)
{
    switch (g->block->vectors * 8 + g->tiles) {
    case 3 * 8 + 2:
        multiply_group(w, g, 2, 3);
        break;
    case 3 * 8 + 1:
        multiply_group(w, g, 1, 3);
        break;
    case 2 * 8 + 2:
        multiply_group(w, g, 2, 2);
        break;
    case 2 * 8 + 1:
        multiply_group(w, g, 1, 2);
        break;
    case 8 + 4:
        multiply_group(w, g, 4, 1);
        break;
    case 8 + 3:
        multiply_group(w, g, 3, 1);
        break;
    case 8 + 2:
        multiply_group(w, g, 2, 1);
        break;
    default:
        multiply_group(w, g, 1, 1);
    }
}

/* What is left of the last group of a row. */
static void end_row(struct work *w, uint32_t block)
{
    const bool first = true;
    BEGIN(0) BEGIN(1) BEGIN(2) BEGIN(3)
    if (block == 3) {
        BEGIN(4) BEGIN(5)
    }
    finish(w, UINT32_MAX);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static struct block block_at(const struct srpi_conv_layer *layer, const struct work *w,
                             uint32_t first, uint32_t vectors)
{
    const size_t pieces = (size_t)w->kernel_height * w->cut.pieces;
    struct block block = {.vectors = vectors,
                          .first = first * VECTOR,
                          .weights = (const uint8_t *)layer->weights +
                                     first * pieces * w->cut.units * TILE_BYTES};
    for (uint32_t v = 0; v < vectors; v++) {
        const uint32_t channel = (first + v) * VECTOR;
        block.steps[v] = steps_of(layer, channel, w->to.out_fraction != 0);
        block.bias[v] = load_int((const int32_t *)layer->bias + channel);
    }
    return block;
}

/* A row's last tile ends with its last pixel, and overlaps the one before; a row that is shorter
 * than a tile has a lower one. So nothing far behind the row is read. */
static void run_block(struct work *w, const struct block *block)
{
    const uint32_t pixels = w->row->pixels, all = (pixels + TILE_PIXELS - 1) / TILE_PIXELS;
    const size_t last = pixels > TILE_PIXELS ? pixels - TILE_PIXELS : 0;
    const uint32_t at_once = block->vectors == 1 ? 4 : 2;
    for (uint32_t t = 0; t < all; t += at_once) {
        struct group g = {.block = block, .tiles = all - t < at_once ? all - t : at_once};
        for (uint32_t i = 0; i < g.tiles; i++) {
            const size_t at = (size_t)(t + i) * TILE_PIXELS;
            g.pixel[i] = at < last ? at : last;
        }
        run_group(w, &g);
    }
}

static void run(const struct srpi_conv_layer *layer, const struct srpi_conv_row *row)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const uint32_t vectors = vectors_of(shape), most = block_of(shape);
    const uint32_t fours = (row->pixels + SRPI_ROW_GROUP - 1) / SRPI_ROW_GROUP;
    int32_t sums[MOST_TILES * TILE_SUMS] __attribute__((aligned(64)));
    struct block blocks[2]; /* the one whose sums are still in work, and the next one */
    blocks[0].vectors = 0;  /* no sums are in work yet */
    struct work w = {
        .row = row,
        .in_step = shape->in_stride != 0 ? shape->in_stride : shape->in_channels,
        .cut = cut_of(shape),
        .kernel_height = shape->kernel_height,
        .fours = fours < TILE_PIXELS / 4 ? fours : TILE_PIXELS / 4,
        .to = {.out = row->out,
               .residual = row->residual,
               .out_fraction = row->out_fraction,
               .residual_fraction = row->residual_fraction},
        .sums = sums,
        .group = {.block = blocks},
    };
    configure(w.fours * 4, w.cut.units, most);
    /* As in row_tile.h: the last block first. */
    for (uint32_t n = (vectors + most - 1) / most; n-- > 0;) {
        const uint32_t first = n * most, left = vectors - first;
        struct block *block = &blocks[n % 2];
        *block = block_at(layer, &w, first, left < most ? left : most);
        w.ending = ending_of(&block->steps[0], &w.to);
        run_block(&w, block);
    }
    end_row(&w, most);
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

#endif
