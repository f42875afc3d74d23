/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_q8.inc.h - the int8 kernels of winograd_row.h over the vectors of whoever includes it:
 * see winograd_q8_avx512.c.
 *
 * Exact. The points are 0, 1, -1, 2, -2 and infinity. Codes are 0..255, so terms lie in
 * -17340..17340 and fit 16 bits; so do the weights at the points, whole numbers after they were
 * multiplied by 4, 6 or 24. The backward stage gives 9 times a power of 2 times the sum, and works
 * modulo 2^32 as do the sums of products: what leaves 32 bits on the way does no harm. At the end
 * a multiplication by the inverse of 9 modulo 2^32 divides by 9, without a rest; so all that counts
 * is that the sum itself, times a power of 2 of at most 64, fits 32 bits, which
 * srpi_winograd_exact knows from the weights. What a tile reads beside its pixels' taps cancels.
 *
 * A unit is a pair of input channels: two products of 16 bits are added to 32 (vpdpwssd,
 * vpmaddwd). */
#include "kernels/q8_steps.inc.h"
#include "kernels/row_sets.h"
#define COPY_BROKEN (CODE_BYTES != 1)
#define SLOTS POINTS
#include "kernels/winograd_tiles.inc.h"

#define INVERSE_OF_9 0x38e38e39

/* KEPT: vectors of products in memory: a block's, or one that is made and one that is finished.
 * RUN: where there are several windows, each has a multiple of so many units: sums begin with a
 * whole vector, those of winograd_q8_overlap.inc.h also in the middle of one. */
#ifdef OVERLAP
#define KEPT 2u
#define RUN (VECTOR / 2)
#else
#define KEPT WIDE
#define RUN VECTOR
#endif

struct work {
    const struct srpi_conv_layer *layer;
    const struct srpi_winograd_rows *bands;
    struct srpi_winograd_windows windows;
    struct sizes sizes;
    struct group group;
    uint32_t units;       /* of a window */
    size_t channel_units; /* of an output channel's weights */
    int32_t *terms, *products;
};

typedef int32_t value;
#define FORWARD(name) name
#define f_vec tvec
#define f_codes t_codes
#define f_store(p, v, rest) t_store(p, v)
#define f_lanes VECTOR
#define f_step (2 * VECTOR * CODE_BYTES)
#include "kernels/winograd_forward_q8.inc.h"

#ifdef t_codes_half
#define FORWARD(name) name##_half
#define f_vec half_tvec
#define f_codes t_codes_half
#define f_store(p, v, rest) t_store_half(p, v)
#define f_lanes (VECTOR / 2)
#define f_step (VECTOR * CODE_BYTES)
#include "kernels/winograd_forward_q8.inc.h"
#endif

/* All terms of a group. A last vector of units that is at most half full takes half the work, where
 * there are such. A window that begins with the second half of a vector goes by halves. */
static __attribute__((noinline)) void forward(const struct work *w)
{
    struct forward_work f = {.shape = &w->layer->shape,
                             .sizes = &w->sizes,
                             .units = w->units,
                             .end = vectors((w->layer->shape.in_channels + 1) / 2),
                             .copy = (char *)(w->products + product_at(KEPT, 0, 0)),
                             .pixels = w->bands->pixels};
#ifdef t_codes_half
    const uint32_t units = (w->layer->shape.in_channels + 1) / 2, rest = units % VECTOR;
    const bool halves = w->units % VECTOR != 0 && window_count(&w->layer->shape) != 1;
    if (halves || (rest != 0 && rest <= VECTOR / 2)) {
        struct forward_work half = f;
        f.end = halves ? 0 : f.end - 1;
        half.first = 2 * f.end;
        half.end = (units + VECTOR / 2 - 1) / (VECTOR / 2);
        forward_group_half(w->terms, &w->group, &half);
    }
#endif
    forward_group(w->terms, &w->group, &f);
}

#define SUM(name) name
#define SUM_LANES VECTOR
#define s_vec ivec
#define s_load i_load
#define s_store i_store
#define s_all i_all
#define s_add i_add_dot
#ifdef DOT_IN_TWO
#define s_product i_product
#define s_add_two i_add_two
#endif
#ifdef i_add_dot_half
#define s_add_half i_add_dot_half
#define s_load_half i_load_half
#endif
#ifdef i_add_dot_at
#define s_add_at i_add_dot_at
#define s_add_at_half i_add_dot_at_half
#endif
#ifdef i_four
#define s_four i_four
#define s_spread i_spread
#endif
#include "kernels/winograd_sum.inc.h"

/* Whether the upper half of the last vector of output channels is empty, and that saves work. */
static bool half_empty(const struct srpi_conv_shape *shape)
{
    return srpi_row_half(shape->out_channels, VECTOR);
}

/* Six points to four neighbours, times 24, 12, 6 and 6. */
INLINE void backward4(ivec y[4], const ivec m[6])
{
    const ivec even1 = i_add(m[1], m[2]), odd1 = i_sub(m[1], m[2]);
    const ivec even2 = i_add(m[3], m[4]), odd2 = i_sub(m[3], m[4]);
    y[0] = i_add(i_add(m[0], i_shl(even1, 2)), even2);
    const ivec odd = i_add(odd1, odd2);
    y[1] = i_add(odd, odd1);
    y[2] = i_add(even1, even2);
    y[3] = i_add(i_add(odd, m[5]), odd2);
}

/* What follows the sum, of a vector of channels. */
struct ending {
    struct steps steps;
    vfloat times[5]; /* [i]: for sums that are 4 << i too large */
#ifdef DOT_IN_TWO
    ivec raised; /* bias, for the product at (1, 1) */
#endif
};

/* `pair` as in struct steps; channel `channel` is then the pair's first. */
INLINE struct ending ending_of(const struct work *w, uint32_t channel, const int pair)
{
    struct ending e = {.steps = steps_of(w->layer, channel, w->bands->out_fraction != 0)};
#ifdef PAIRS
    e.steps.pair = pair;
    if (pair != 0) {
        e.steps.to_codes = true;
        e.steps.times = LOAD_LANES(&e.steps, w->layer->multiplier + channel);
        e.steps.lean = e.steps.slope ? LOAD_LANES(&e.steps, w->layer->slope + channel)
                                     : e.steps.shift;
    }
#endif
    (void)pair;
    UNROLL for (uint32_t i = 0; i < 5; i++) {
        e.times[i] = multiply(e.steps.times, set_float(0.25f / (float)(1u << i)));
    }
#ifdef DOT_IN_TWO
    const int32_t *bias = (const int32_t *)w->layer->bias + channel;
    e.raised = i_mul(i_of_float(LOAD_LANES(&e.steps, bias)), i_all(36));
#endif
    return e;
}

/* Four pixels of an output row: their sums from m. */
INLINE void sums_of(vfloat v[STEP], const ivec m[6])
{
    const ivec ninth = i_all(INVERSE_OF_9);
    ivec y[STEP];
    backward4(y, m);
    UNROLL for (uint32_t x = 0; x < STEP; x++) {
        v[x] = i_float(i_mul(y[x], ninth));
    }
}

/* The multipliers of a row whose m is 3 << `twos` too large. (float)(sum << n) has the bits of
 * (float)sum but for its exponent, so the multiplier does the rest of the division. */
INLINE void times_of(vfloat times[STEP], const struct ending *e, const int twos)
{
    times[0] = e->times[twos + 1];
    times[1] = e->times[twos];
    times[2] = times[3] = e->times[twos - 1];
}

INLINE struct q8_row row_of(const struct work *w, const struct stretch *s, uint32_t row)
{
    return (struct q8_row){.out = (uint8_t *)s->out[row],
                           .residual = (const uint8_t *)s->residual[row],
                           .out_fraction = w->bands->out_fraction,
                           .residual_fraction = w->bands->residual_fraction};
}

/* Four pixels of an output row. `held`: what the first vector of a pair leaves to the second one,
 * of this row. */
INLINE void finish(const struct work *w, const struct stretch *s, const struct ending *e,
                   uint32_t row, const int twos, size_t at, const ivec m[6], ivec held[STEP][STEP])
{
    if (s->out[row] == NULL) {
        return;
    }
    const struct q8_row to = row_of(w, s, row);
    vfloat times[STEP], v[STEP];
    times_of(times, e, twos);
    sums_of(v, m);
#ifdef PAIRS
    if (e->steps.pair != 0) {
        take_steps(&e->steps, times, &to, at, v);
        if (e->steps.pair == 1) {
            hold_part(held[row], v);
        } else {
            store_pair(to.out + CODE_BYTES * at, to.out_fraction, CODE_BYTES * e->steps.pixel,
                       held[row], v);
        }
        return;
    }
#endif
    (void)held;
    end_four(&e->steps, times, &to, at, v);
}

static uint32_t units_of(const struct srpi_conv_shape *shape)
{
    const uint32_t units = (shape->in_channels + 1) / 2;
    if (window_count(shape) != 1) { /* see winograd_tiles.inc.h */
        return (units + RUN - 1) / RUN * RUN;
    }
#ifdef DOT_IN_TWO
    return units < SUM_LEAST ? SUM_LEAST : units;
#else
    return units;
#endif
}

static struct sizes code_sizes(const struct srpi_conv_shape *shape)
{
    struct sizes sizes = sizes_of(shape);
    sizes.in = (size_t)shape->in_channels * CODE_BYTES;
    sizes.out = (size_t)shape->out_channels * (shape->out == SRPI_F32 ? 4 : CODE_BYTES);
    sizes.residual = (size_t)shape->out_channels * CODE_BYTES;
    return sizes;
}

/* Of an output channel's weights at all points. */
static size_t channel_units(const struct srpi_conv_shape *shape)
{
    const struct srpi_winograd_windows windows = srpi_winograd_windows(shape);
    return (size_t)srpi_winograd_before(&windows, POINTS) * units_of(shape);
}

#ifdef OVERLAP
#include "kernels/winograd_q8_overlap.inc.h"
#else
#include "kernels/winograd_q8_stages.inc.h"
#endif

/* Where the products begin: behind the terms, or in their place. That is so where IN_PLACE is
 * defined, a group's terms are read by one block, and there are as many vectors of products: at
 * each point a tile's are read before its products are written. */
static size_t products_from(const struct srpi_conv_shape *shape)
{
    const size_t terms = terms_size(shape, units_of(shape));
#ifdef IN_PLACE
    const uint32_t count = vectors(shape->out_channels);
    if (count <= WIDE && terms <= product_at(count, 0, 0)) {
        return 0;
    }
#endif
    return terms;
}

static void run(const struct srpi_conv_layer *layer, const struct srpi_winograd_rows *bands,
                uint32_t band_count)
{
    struct work w = {.layer = layer,
                     .bands = bands,
                     .windows = srpi_winograd_windows(&layer->shape),
                     .sizes = code_sizes(&layer->shape),
                     .units = units_of(&layer->shape),
                     .channel_units = channel_units(&layer->shape),
                     .terms = bands->scratch,
                     .products = (int32_t *)bands->scratch + products_from(&layer->shape)};
    if (layer->residual == SRPI_F32) {
        w.sizes.residual = layer->shape.out_channels * sizeof(float);
    }
    run_groups(&w, tiles_of(bands) * band_count);
}

/* Sizes of shapes that has_way() knows fit 32 bits. */
static size_t packed_size(const struct srpi_conv_shape *shape)
{
    return aligned(sizeof(int32_t) * channel_units(shape) *
                   lanes(vectors(shape->out_channels), half_empty(shape)));
}

static bool suits(const struct srpi_conv_shape *shape)
{
    return has_way(shape) && shape->in == SRPI_Q8 && shape->out != SRPI_BF16 &&
           (window_count(shape) == 1 ? SUITS(shape->in_channels, shape->out_channels)
                                     : SUITS_WINDOWS(shape->in_channels, shape->out_channels) &&
                                           packed_size(shape) <= MOST_WEIGHTS);
}

static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    const uint32_t units = units_of(shape);
    const size_t all = channel_units(shape);
    int16_t *const to = packed;
    bool half = half_empty(shape);
#ifdef FEW
    if (shape->out_channels <= FEW) {
        srpi_winograd_pack_q8(shape, weights, to, in_twos(units), 0, FEW, SRPI_WINOGRAD_TWOS);
        return;
    }
#endif
    for (uint32_t o = vectors(shape->out_channels), block; o != 0; o -= block) {
        block = block_of(o);
        enum srpi_winograd_order order = SRPI_WINOGRAD_PLAIN;
#ifdef PAIRS
        order = shape->out == SRPI_Q8 && block == 2 ? SRPI_WINOGRAD_PAIR : order;
#endif
        const uint32_t first = (o - block) * VECTOR;
        srpi_winograd_pack_q8(shape, weights, to + 2 * first * all, units, first,
                              (uint32_t)lanes(block, half), order);
        half = false; /* only the last block, which comes first */
    }
}

static size_t scratch_size(const struct srpi_conv_shape *shape)
{
    const struct sizes sizes = code_sizes(shape);
    return sizeof(int32_t) * (products_from(shape) + product_at(KEPT, 0, 0)) +
           sizes.rows * broken_row(&sizes);
}

const struct srpi_winograd_kernels KERNELS = {
    .name = NAME,
    .in = SRPI_Q8,
    .few = FEW_ROWS,
#ifdef OVERLAP
    .overlap = true,
#endif
    .suits = suits,
    .packed_size = packed_size,
    .pack = pack,
    .scratch_size = scratch_size,
    .fn = run,
};
