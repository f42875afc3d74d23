/* SPDX-License-Identifier: BSD-2-Clause */
/* The set amx: row kernels of int8 and bf16 with AMX's tiles (TDPBUSD, TDPBF16PS); all else is
 * avx512bf16's.
 *
 * A tile register holds 16 rows of at most 64 bytes; a product adds 16 pixels x 64 codes times 64
 * codes x 16 outputs to 16 pixels x 16 sums, exactly, in 16 cycles; in bf16 32 values. The pixels
 * are loaded from the input row as it lies: neighbouring pixels' taps of one kernel row begin a
 * pixel's bytes apart and overlap. A kernel row's run of taps is cut into equal pieces of at most
 * 64 bytes.
 *
 * Sums go through memory to what follows them. That takes the vector units about as long as the
 * tiles take for the products, so the steps of one group of tiles stand among the products of the
 * next one. */
#ifdef SRPI_ROWS_amx

#include <string.h>

#include "kernels/row_few.h"
#include "kernels/vector_avx512bf16.h"
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

/* Values in a unit of 32 bits. */
static uint32_t values_of(const struct srpi_conv_shape *shape)
{
    return shape->in == SRPI_BF16 ? 2 : 4;
}

/* How a kernel row's run of taps is cut. */
struct cut {
    uint32_t pieces, units; /* of 32 bits, in a piece */
};

/* In bf16 without a unit too many: what is there may be no number. */
static struct cut cut_of(const struct srpi_conv_shape *shape)
{
    const uint32_t values = values_of(shape), most = TILE_BYTES / 4;
    const uint32_t units = (shape->kernel_width * shape->in_channels + values - 1) / values;
    uint32_t pieces = (units + most - 1) / most;
    while (shape->in == SRPI_BF16 && units % pieces != 0) {
        pieces++;
    }
    return (struct cut){pieces, (units + pieces - 1) / pieces};
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

/* Whether it is faster than avx512bf16, by the shape alone. Not where int8 leaves most of a tile of
 * pixels empty, 3x3 from 1 and 3 channels, nor for few outputs of whole pixels; in bf16 from 1, or
 * where that can only be cut small. */
static bool suits(const struct srpi_conv_shape *shape)
{
    const uint32_t run = shape->kernel_width * shape->in_channels;
    if (shape->in == SRPI_F32 || shape->split || run < (shape->in == SRPI_BF16 ? 5 : 12) ||
        shape->in_channels > SRP_MAX_CHANNELS || shape->out_channels > SRP_MAX_CHANNELS) {
        return false;
    }
    const struct cut cut = cut_of(shape);
    return shape->in == SRPI_BF16 ? cut.pieces == 1 || cut.units >= TILE_BYTES / 8
                                  : !srpi_row_few_suits_vnni(shape) ||
                                        !srpi_row_few_whole(shape);
}

static size_t packed_size(const struct srpi_conv_shape *shape)
{
    if (!suits(shape)) {
        return srpi_rows_avx512bf16.kernels.packed_size(shape);
    }
    const struct cut cut = cut_of(shape);
    return (size_t)vectors_of(shape) * shape->kernel_height * cut.pieces * cut.units * TILE_BYTES;
}

/* [block of vectors][kernel row][piece][vector][unit][output][values of a unit] */
static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    if (!suits(shape)) {
        srpi_rows_avx512bf16.kernels.pack(shape, weights, packed);
        return;
    }
    const struct cut cut = cut_of(shape);
    const uint32_t in = shape->in_channels, run = shape->kernel_width * in;
    const uint32_t vectors = vectors_of(shape), block = block_of(shape);
    const uint32_t values = values_of(shape), piece = values * cut.units;
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    memset(packed, 0, packed_size(shape));
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        const uint32_t vector = o / VECTOR, first = vector / block * block;
        const uint32_t width = vectors - first < block ? vectors - first : block;
        for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
            for (uint32_t at = 0; at < run; at++) {
                const size_t step = ky * cut.pieces + at / piece;
                const size_t tile = first * shape->kernel_height * cut.pieces + step * width +
                                    vector - first;
                const size_t unit = tile * cut.units + at % piece / values;
                const size_t to = (unit * VECTOR + o % VECTOR) * values + at % values;
                const size_t from =
                    ((size_t)o * in + at % in) * taps + ky * shape->kernel_width + at / in;
                if (shape->in == SRPI_BF16) {
                    ((uint16_t *)packed)[to] = srpi_to_bf16(((const float *)weights)[from]);
                } else {
                    ((int8_t *)packed)[to] = (int8_t)((const int16_t *)weights)[from];
                }
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

/* Some tiles of pixels, one after the other, at most as many as there are registers for their
 * sums. */
struct group {
    const struct block *block;
    uint32_t tiles;
    uint32_t row[4];   /* of each, among those of the call */
    uint32_t pixel[4]; /* its first one */
};

/* What follows the sums of a group, for the compiler to know. Each instruction that stands among
 * the products takes room in the processor's window, which has to reach to the products that come
 * next; so the usual cases stand there inline and are short. */
enum way {
    ANY,
    CODES,          /* to codes without fractions, and nothing on the way */
    RESIDUALS,      /* the same with a residual of such codes */
    FLOATS,         /* to f32, and at most a residual in f32 on the way */
    FINE,           /* to codes with fractions, and at most a residual in codes on the way */
    CODE_PAIRS,     /* CODES and RESIDUALS of two vectors at once */
    RESIDUAL_PAIRS,
    WAYS,
    BF16            /* from bf16, whatever it is */
};

/* Of a vector of a layer that reads bf16. */
static struct steps steps_of_bf16(const struct srpi_conv_layer *layer, uint32_t channel)
{
    return (struct steps){.slope = layer->slope != NULL,
                          .residual = layer->has_residual,
                          .wide_residual = layer->residual == SRPI_F32,
                          .clamp = layer->clamp,
                          .to_codes = layer->shape.out == SRPI_BF16,
                          .pixel = layer->shape.out_channels,
                          .lean = layer->slope != NULL ? load_float(layer->slope + channel)
                                                       : set_float(0.0f),
                          .other = set_float(layer->residual_multiplier),
                          .low = set_float(layer->low),
                          .high = set_float(layer->high)};
}

static enum way way_of(const struct block *block, const struct srpi_conv_row *row)
{
    const struct steps *s = &block->steps[0]; /* flags are the layer's */
    if (s->slope || s->clamp) {
        return ANY;
    }
    if (!s->to_codes) {
        return s->residual && !s->wide_residual ? ANY : FLOATS;
    }
    if (s->residual && s->wide_residual) {
        return ANY;
    }
    if (row->out_fraction != 0) {
        return FINE;
    }
    if (!s->residual) {
        return block->vectors == 2 ? CODE_PAIRS : CODES;
    }
    if (row->residual_fraction != 0) {
        return ANY;
    }
    return block->vectors == 2 ? RESIDUAL_PAIRS : RESIDUALS;
}

/* A call. */
struct work {
    const struct srpi_conv_row *rows; /* all as long as the first, fractions alike */
    size_t in_step;                   /* bytes from pixel to pixel */
    struct cut cut;
    uint32_t kernel_height;
    uint32_t height; /* pixels of a tile, at least 4 */
    bool bf16;       /* read */
    /* The group whose sums are in registers, and then here: [vector, the last one first][tile]
     * [pixel][16]. So what a vector writes beyond the channels is overwritten by what belongs
     * there. */
    struct group group;
    int32_t *sums;
};

/* How far the steps after a group's sums have come. They go strip by strip, the pixels of a tile
 * with one vector of their outputs or, in pairs, two; and in a strip unit by unit: 4 pixels, or 2
 * in pairs. The last unit of a strip may overlap the one before. */
struct finish {
    vint bias[2];
    vfloat times[2], shift, other;
    bool has_residual;
    size_t step;     /* values from pixel to pixel */
    size_t vector;   /* sums from one vector of a pair to the other */
    uint32_t strips, last, end; /* number; a strip's last unit's first pixel; behind its units */
    /* What comes next: a strip; in the one before, a pixel. Where that strip is. */
    uint32_t strip, pixel;
    const struct steps *steps;
    const int32_t *sums;
    struct q8_row to;
    size_t at;
    /* So many units in so many products, and how many of them are due, times `products`. */
    uint32_t units, products, due;
};

INLINE uint32_t unit_of(const enum way way)
{
    return way == CODE_PAIRS || way == RESIDUAL_PAIRS ? 2 : 4;
}

INLINE struct finish finish_of(const struct work *w, uint32_t products, const enum way way)
{
    const struct group *g = &w->group;
    const struct steps *s = g->block->steps;
    const uint32_t unit = unit_of(way), end = (w->height + unit - 1) / unit * unit;
    struct finish f = {.bias = {g->block->bias[0], g->block->bias[1]},
                       .times = {s[0].times, s[1].times},
                       .shift = s[0].shift,
                       .other = s[0].other,
                       .has_residual = s[0].residual,
                       .step = s[0].pixel,
                       .vector = (size_t)g->tiles * TILE_SUMS,
                       .strips = g->tiles * (unit == 2 ? 1 : g->block->vectors),
                       .last = w->height - unit,
                       .end = end,
                       .pixel = end,
                       .products = products};
    f.units = f.strips * (end / unit);
    if (way == ANY || way == FINE) {
        f.to.out_fraction = w->rows[0].out_fraction;
        f.to.residual_fraction = w->rows[0].residual_fraction;
    }
    return f;
}

INLINE void next_strip(const struct work *w, struct finish *f, const enum way way)
{
    const struct group *g = &w->group;
    uint32_t tile = f->strip, vector = 0;
    if (unit_of(way) != 2) {
        vector = g->block->vectors - 1;
        for (; tile >= g->tiles; tile -= g->tiles) {
            vector--;
        }
        f->steps = &g->block->steps[vector];
        f->bias[0] = g->block->bias[vector];
        f->times[0] = f->steps->times;
        f->shift = f->steps->shift;
    }
    const struct srpi_conv_row *row = &w->rows[g->row[tile]];
    f->to.out = row->out;
    f->to.residual = row->residual;
    f->sums = w->sums + (size_t)f->strip * TILE_SUMS;
    f->at = g->pixel[tile] * f->step + g->block->first + vector * VECTOR;
    f->pixel = 0;
    f->strip++;
}

INLINE void finish_four(const struct finish *f, size_t pixel, const enum way way)
{
    const struct steps usual = {.residual = way == RESIDUALS ||
                                            ((way == FLOATS || way == FINE) && f->has_residual),
                                .wide_residual = way == FLOATS,
                                .to_codes = way != FLOATS,
                                .pixel = f->step,
                                .times = f->times[0],
                                .shift = f->shift,
                                .other = f->other};
    const vfloat times[4] = {f->times[0], f->times[0], f->times[0], f->times[0]};
    vfloat v[4];
    UNROLL for (uint32_t x = 0; x < 4; x++) {
        v[x] = to_float(load_int(f->sums + (pixel + x) * VECTOR) + f->bias[0]);
    }
    end_four(way == ANY ? f->steps : &usual, times, &f->to, f->at + pixel * f->step, v);
}

INLINE void finish_four_bf16(const struct finish *f, size_t pixel)
{
    const struct steps *s = f->steps;
    const vfloat bias = (vfloat)f->bias[0];
    for (uint32_t x = 0; x < 4; x++) {
        const size_t at = f->at + (pixel + x) * f->step;
        vfloat v = plus(load_float(f->sums + (pixel + x) * VECTOR), bias);
        if (s->slope) {
            v = lean(v, s->lean);
        }
        if (s->residual) {
            const vfloat other = s->wide_residual ? load_float(f->to.residual + 4 * at)
                                                  : other_bf16(f->to.residual + 2 * at);
            v = muladd(other, s->other, v);
        }
        if (s->clamp) {
            v = clamp(v, s->low, s->high);
        }
        if (s->to_codes) {
            store_bf16(f->to.out + 2 * at, v);
        } else {
            store_float(f->to.out + 4 * at, v);
        }
    }
}

INLINE void finish_pair(const struct finish *f, size_t pixel, const bool residual)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const size_t at = f->at + pixel * f->step;
    vfloat v[4]; /* pixel after pixel */
    UNROLL for (uint32_t i = 0; i < 4; i++) {
        const int32_t *sums = f->sums + (pixel + i / 2) * VECTOR + (i % 2 == 0 ? f->vector : 0);
        v[i] = muladd(to_float(load_int(sums) + f->bias[i % 2]), f->times[i % 2], f->shift);
        if (residual) {
            const uint8_t *codes = f->to.residual + at + i / 2 * f->step + i % 2 * VECTOR;
            v[i] = muladd(other_q8(codes, 1, 0), f->other, v[i]);
        }
    }
    const __m512i q = _mm512_permutexvar_epi32(order, narrow_q8(v[0], v[1], v[2], v[3]));
    uint8_t *out = f->to.out + at;
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(q));
    _mm256_storeu_si256((__m256i *)(void *)(out + f->step), _mm512_extracti64x4_epi64(q, 1));
}

/* What is due, or what is left. */
INLINE void finish_due(const struct work *w, struct finish *f, const enum way way)
{
    while (f->due >= f->products) {
        f->due -= f->products;
        if (f->pixel == f->end) {
            if (f->strip == f->strips) {
                return;
            }
            next_strip(w, f, way);
        }
        const size_t pixel = f->pixel < f->last ? f->pixel : f->last;
        if (unit_of(way) == 2) {
            finish_pair(f, pixel, way == RESIDUAL_PAIRS);
        } else if (way == BF16) {
            finish_four_bf16(f, pixel);
        } else {
            finish_four(f, pixel, way);
        }
        f->pixel += unit_of(way);
    }
}

static __attribute__((noinline)) void finish_any(const struct work *w, struct finish *f)
{
    finish_due(w, f, ANY);
}

static __attribute__((noinline)) void finish_bf16(const struct work *w, struct finish *f)
{
    finish_due(w, f, BF16);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Before the first product for tile i of sums: those of the group before are put into memory, one
 * tile after the other, so that products go on meanwhile. */
#define BEGIN(i) \
    if (first) { \
        _tile_stored(i, w->sums + (i)*TILE_SUMS, TILE_BYTES); \
        _tile_zero(i); \
    }
/* A product, and its share of what follows the sums of the group before, once all of these are in
 * memory. */
#define SUM(i, pixels, weights) \
    BEGIN(i) \
    if (way == BF16) { \
        _tile_dpbf16ps(i, pixels, weights); \
    } else { \
        _tile_dpbusd(i, pixels, weights); \
    } \
    f->due += f->units; \
    if (way != ANY && way != BF16 && !first) { \
        finish_due(w, f, way); \
    }
#define PIXELS(tile, t) _tile_loadd(tile, a[t], w->in_step);
#define WEIGHTS(tile, v) _tile_loadd(tile, b + (v)*weights, TILE_BYTES);

/* The products of one piece of a kernel row, which begins at a[tile] and b. The sums are in the
 * order that `struct work` has. */
INLINE void multiply_piece(const struct work *w, const uint8_t *const a[4], const uint8_t *b,
                           const bool first, struct finish *f, const uint32_t tiles,
                           const uint32_t vectors, const enum way way)
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

/* The products of a group; meanwhile, in the way given, the steps after the sums of the one
 * before. */
INLINE void multiply_group(struct work *w, const struct group *g, const uint32_t tiles,
                           const uint32_t vectors, const enum way way)
{
    const size_t weights = vectors * w->cut.units * TILE_BYTES;
    const uint32_t pieces = w->kernel_height * w->cut.pieces;
    struct finish f = finish_of(w, pieces * tiles * vectors, way);
    const uint8_t *b = g->block->weights, *a[4] = {NULL};
    for (uint32_t ky = 0; ky < w->kernel_height; ky++) {
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            a[t] = (const uint8_t *)w->rows[g->row[t]].rows[ky] + g->pixel[t] * w->in_step;
        }
        for (uint32_t i = 0; i < w->cut.pieces; i++) {
            const bool first = ky == 0 && i == 0;
            multiply_piece(w, a, b, first, &f, tiles, vectors, way);
            if (way == ANY) {
                finish_any(w, &f);
            } else if (way == BF16) {
                finish_bf16(w, &f);
            } else if (first) {
                finish_due(w, &f, way);
            }
            UNROLL for (uint32_t t = 0; t < tiles; t++) {
                a[t] += 4 * w->cut.units;
            }
            b += weights;
        }
    }
    w->group = *g;
}

INLINE void run_group_as(struct work *w, const struct group *g, const enum way way)
{
    switch (g->block->vectors * 8 + g->tiles) {
    case 3 * 8 + 2:
        multiply_group(w, g, 2, 3, way);
        break;
    case 3 * 8 + 1:
        multiply_group(w, g, 1, 3, way);
        break;
    case 2 * 8 + 2:
        multiply_group(w, g, 2, 2, way);
        break;
    case 2 * 8 + 1:
        multiply_group(w, g, 1, 2, way);
        break;
    case 8 + 4:
        multiply_group(w, g, 4, 1, way);
        break;
    case 8 + 3:
        multiply_group(w, g, 3, 1, way);
        break;
    case 8 + 2:
        multiply_group(w, g, 2, 1, way);
        break;
    default:
        multiply_group(w, g, 1, 1, way);
    }
}

/* Groups that are less than full are few. */
static void run_group(struct work *w, const struct group *g)
{
    if (w->bf16) {
        run_group_as(w, g, BF16);
        return;
    }
    const enum way way = w->group.block == g->block ? way_of(g->block, &w->rows[0]) : ANY;
    switch ((g->block->vectors * 8 + g->tiles) * WAYS + way) {
#define GROUP(vectors, tiles, way) \
    case ((vectors)*8 + (tiles)) * WAYS + (way): \
        multiply_group(w, g, tiles, vectors, way); \
        break;
        GROUP(3, 2, CODES)
        GROUP(3, 2, RESIDUALS)
        GROUP(3, 2, FLOATS)
        GROUP(3, 2, FINE)
        GROUP(2, 2, CODE_PAIRS)
        GROUP(2, 2, RESIDUAL_PAIRS)
        GROUP(2, 2, FLOATS)
        GROUP(2, 2, FINE)
        GROUP(1, 4, CODES)
        GROUP(1, 4, RESIDUALS)
        GROUP(1, 4, FLOATS)
        GROUP(1, 4, FINE)
#undef GROUP
    default:
        run_group_as(w, g, ANY);
    }
}

INLINE void finish_group(const struct work *w, const enum way way)
{
    struct finish f = finish_of(w, 1, way);
    f.due = f.units;
    finish_due(w, &f, way);
}

/* What is left of the last group. */
static void end_rows(struct work *w, uint32_t block)
{
    const bool first = true;
    BEGIN(0) BEGIN(1) BEGIN(2) BEGIN(3)
    if (block == 3) {
        BEGIN(4) BEGIN(5)
    }
    switch (w->bf16 ? BF16 : way_of(w->group.block, &w->rows[0])) {
    case BF16:
        finish_group(w, BF16);
        break;
    case CODES:
        finish_group(w, CODES);
        break;
    case RESIDUALS:
        finish_group(w, RESIDUALS);
        break;
    case FLOATS:
        finish_group(w, FLOATS);
        break;
    case FINE:
        finish_group(w, FINE);
        break;
    case CODE_PAIRS:
        finish_group(w, CODE_PAIRS);
        break;
    case RESIDUAL_PAIRS:
        finish_group(w, RESIDUAL_PAIRS);
        break;
    default:
        finish_group(w, ANY);
    }
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
        block.steps[v] = w->bf16 ? steps_of_bf16(layer, channel)
                                 : steps_of(layer, channel, w->rows[0].out_fraction != 0);
        block.bias[v] = load_int((const int32_t *)layer->bias + channel);
    }
    return block;
}

/* A row's tiles are as many as need be, of equal height. The last one ends with the row's last
 * pixel, and may overlap the one before: so nothing far behind the row is read. */
static uint32_t tiles_of(uint32_t pixels)
{
    return (pixels + TILE_PIXELS - 1) / TILE_PIXELS;
}

static uint32_t height_of(uint32_t pixels)
{
    const uint32_t tiles = tiles_of(pixels), height = (pixels + tiles - 1) / tiles;
    return height < SRPI_ROW_GROUP ? SRPI_ROW_GROUP : height;
}

static void run_block(struct work *w, const struct block *block, uint32_t count)
{
    const uint32_t pixels = w->rows[0].pixels, tiles = tiles_of(pixels);
    const uint32_t last = pixels > w->height ? pixels - w->height : 0;
    const uint32_t at_once = block->vectors == 1 ? 4 : 2;
    struct group g = {.block = block};
    for (uint32_t row = 0; row < count; row++) {
        for (uint32_t t = 0; t < tiles; t++) {
            g.row[g.tiles] = row;
            g.pixel[g.tiles] = t * w->height < last ? t * w->height : last;
            if (++g.tiles == at_once) {
                run_group(w, &g);
                g.tiles = 0;
            }
        }
    }
    if (g.tiles != 0) {
        run_group(w, &g);
    }
}

static void run_rows(const struct srpi_conv_layer *layer, const struct srpi_conv_row *rows,
                     uint32_t count)
{
    const struct srpi_conv_shape *shape = &layer->shape;
    const uint32_t vectors = vectors_of(shape), most = block_of(shape);
    int32_t sums[MOST_TILES * TILE_SUMS] __attribute__((aligned(64)));
    struct block blocks[2]; /* the one whose sums are still in work, and the next one */
    struct work w = {
        .rows = rows,
        .in_step = (shape->in == SRPI_BF16 ? 2 : 1) * (size_t)shape->in_channels,
        .cut = cut_of(shape),
        .kernel_height = shape->kernel_height,
        .height = height_of(rows[0].pixels),
        .bf16 = shape->in == SRPI_BF16,
        .sums = sums,
    };
    configure(w.height, w.cut.units, most);
    /* As in row_tile.h: the last block first. */
    for (uint32_t n = (vectors + most - 1) / most; n-- > 0;) {
        const uint32_t first = n * most, left = vectors - first;
        struct block *block = &blocks[n % 2];
        *block = block_at(layer, &w, first, left < most ? left : most);
        if (w.group.block == NULL) {
            w.group.block = block; /* no tiles are in work yet */
        }
        run_block(&w, block, count);
    }
    end_rows(&w, most);
}

static srpi_conv_fn find(const struct srpi_conv_shape *shape, const char **name)
{
    if (!suits(shape)) {
        return srpi_rows_avx512bf16.kernels.find(shape, name);
    }
    if (name != NULL) {
        *name = shape->in == SRPI_BF16
                    ? shape->out == SRPI_BF16 ? "amx tiles bf16->bf16" : "amx tiles bf16->f32"
                : shape->out == SRPI_Q8 ? "amx tiles q8->q8"
                                        : "amx tiles q8->f32";
    }
    return run_rows;
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
