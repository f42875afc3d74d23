/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_f32.inc.h - the f32 kernels of winograd_row.h over the vectors of whoever includes it:
 * see winograd_f32_avx2.c. Units are channels. */
#define INLINE static inline __attribute__((always_inline))

#define COPY_BROKEN true
/* IN_PLACE: terms begin one point behind products, in the same memory: products at a point come to
 * lie where the terms at the point before were, which are needed no more. */
#ifdef IN_PLACE
#define SLOTS (POINTS + 1)
#else
#define SLOTS POINTS
#endif
#include "kernels/winograd_tiles.inc.h"

#define Q 1.5f

/* Output channels are padded to halves of a vector, where there are such; the last half is a block
 * of its own. */
static uint32_t padded_out(uint32_t out)
{
    return (out + LEAST - 1) / LEAST * LEAST;
}

static uint32_t block_at(uint32_t o, uint32_t padded)
{
    const uint32_t whole = (padded - o) / VECTOR;
    return whole == 0 ? LEAST : block_of(whole) * VECTOR;
}

struct work {
    const struct srpi_conv_layer *layer;
    struct srpi_winograd_windows windows;
    struct group group;
    uint32_t units, out_vectors; /* of a window; of channels */
    float *terms, *products;
};

/* Six neighbours to six points, along a row. */
INLINE void forward6(vec v[6], const vec d[6])
{
    const vec q = v_all(Q), q2 = v_all(Q * Q);
    const vec even1 = v_fnma(q2, d[2], d[4]), odd1 = v_fnma(q2, d[1], d[3]);
    const vec even2 = v_sub(d[4], d[2]), odd2 = v_sub(d[3], d[1]);
    v[0] = v_fma(q2, v_sub(d[0], d[2]), even2);
    v[1] = v_add(even1, odd1);
    v[2] = v_sub(even1, odd1);
    v[3] = v_fma(q, odd2, even2);
    v[4] = v_fnma(q, odd2, even2);
    v[5] = v_fma(q2, v_sub(d[1], d[3]), v_sub(d[5], d[3]));
}

/* Six neighbours at `at` down a column to the two points of a pass. */
INLINE void forward2(vec *a, vec *b, const float *const rows[SIDE], size_t at, const uint32_t pass)
{
    const vec d1 = v_load(rows[1] + at), d2 = v_load(rows[2] + at);
    const vec d3 = v_load(rows[3] + at), d4 = v_load(rows[4] + at);
    if (pass == 0) {
        const vec q2 = v_all(Q * Q), even = v_fnma(q2, d2, d4), odd = v_fnma(q2, d1, d3);
        *a = v_add(even, odd);
        *b = v_sub(even, odd);
    } else if (pass == 1) {
        const vec q = v_all(Q), even = v_sub(d4, d2), odd = v_sub(d3, d1);
        *a = v_fma(q, odd, even);
        *b = v_fnma(q, odd, even);
    } else {
        const vec q2 = v_all(Q * Q);
        *a = v_fma(q2, v_sub(v_load(rows[0] + at), d2), v_sub(d4, d2));
        *b = v_fma(q2, v_sub(d1, d3), v_sub(v_load(rows[5] + at), d3));
    }
}

typedef float value;
#define FORWARD(name) name
#define sample float
#define f_vec vec
#define f_store(p, v, rest) v_store(p, v)
#define f_lanes VECTOR
#define f_step VECTOR
#include "kernels/winograd_forward.inc.h"

/* With zeros for channels that there are not: what is there of the next pixel may be no number, and
 * a weight of 0 would not make it 0. */
#define forward6_last forward6
#define forward2_last forward2
#define FORWARD(name) name##_last
#define sample float
#define f_vec vec
#define f_store(p, v, rest) v_store(p, v_first(v, rest))
#define f_lanes VECTOR
#define f_step VECTOR
#include "kernels/winograd_forward.inc.h"

/* The products: with whole vectors, and with half of one where that is less work. */
#define SUM(name) name
#define SUM_LANES VECTOR
#define s_vec vec
#define s_load v_load
#define s_store v_store
#define s_all v_all
#define s_add v_sum
#ifdef v_four
#define s_four v_four
#define s_spread v_spread
#endif
#ifdef v_sum_at
#define s_add_at v_sum_at
#endif
#include "kernels/winograd_sum.inc.h"

#if LEAST != VECTOR
#define SUM(name) name##_half
#define SUM_LANES LEAST
#define s_vec half_vec
#define s_load h_load
#define s_store h_store
#define s_all h_all
#define s_add v_sum
#include "kernels/winograd_sum.inc.h"
#else
#define sum_tiles_half sum_tiles /* never called */
#endif

static __attribute__((noinline)) void products(const struct work *w)
{
    static const float zeros[WIDE * VECTOR];
    const uint32_t padded = padded_out(w->layer->shape.out_channels);
    const float *weights = w->layer->weights, *bias = w->layer->bias;
    for (uint32_t p = 0; p < POINTS; p++) {
        const struct units units = units_at(&w->windows, w->units, p);
        const float *terms = w->terms + unit_at(units.first) + term_at(0, p);
        for (uint32_t o = 0; o < padded;) {
            const uint32_t block = block_at(o, padded);
            /* What is added to the product at (1, 1) is added to all 16 pixels. */
            const float *start = p == 1 ? bias + o : zeros;
            float *to = w->products + product_at(o / VECTOR, 0, p);
#ifdef FETCH
            const float *ahead = weights + (size_t)units.count * block;
#else
            const float *ahead = NULL;
#endif
            if (block >= VECTOR) {
                sum_block(to, terms, weights, start, units.count, ahead, w->group.tiles,
                          block / VECTOR, false);
            } else {
                sum_tiles_half(to, terms, weights, start, units.count, ahead, w->group.tiles, 1,
                               false);
            }
            weights += (size_t)units.count * block;
            o += block;
        }
    }
}

/* Six points to four neighbours. */
INLINE void backward6(vec y[STEP], const vec m[SIDE])
{
    const vec even1 = v_add(m[1], m[2]), odd1 = v_sub(m[1], m[2]);
    const vec even2 = v_add(m[3], m[4]), odd2 = v_sub(m[3], m[4]);
    y[0] = v_add(v_add(m[0], even1), even2);
    y[1] = v_fma(v_all(Q), odd2, odd1);
    y[2] = v_fma(v_all(Q * Q), even2, even1);
    y[3] = v_fma(v_all(Q * Q * Q), odd2, v_add(odd1, m[5]));
}

/* The layer's steps after the sum. */
struct steps {
    bool slope, residual, clamp; /* constants */
    vec times, low, high;
};

/* Four pixels of an output row. */
INLINE void finish(const struct srpi_conv_layer *layer, const struct stretch *stretch,
                   const struct steps *s, uint32_t row, size_t at, uint32_t o, const vec m[SIDE])
{
    float *out = (float *)(void *)stretch->out[row];
    const float *residual = (const float *)(const void *)stretch->residual[row];
    const size_t pixel = layer->shape.out_channels;
    vec y[STEP];
    if (out == NULL) {
        return;
    }
    backward6(y, m);
    UNROLL for (uint32_t x = 0; x < STEP; x++) {
        if (s->slope) {
            y[x] = v_slope(y[x], v_load(layer->slope + o));
        }
        if (s->residual) {
            y[x] = v_fma(v_load(residual + at + x * pixel), s->times, y[x]);
        }
        if (s->clamp) {
            y[x] = v_min(v_max(y[x], s->low), s->high);
        }
        v_store(out + at + x * pixel, y[x]);
    }
}

/* A stretch, whose first tile is number `first` of the group. The last vector of channels may reach
 * into the next pixels; so it comes before the others, and pixels come from left to right. */
INLINE void backward(const struct work *w, const struct stretch *stretch, uint32_t first,
                     const bool slope, const bool residual, const bool clamp)
{
    const struct srpi_conv_layer *layer = w->layer;
    const struct steps s = {.slope = slope, .residual = residual, .clamp = clamp,
                            .times = v_all(layer->residual_multiplier),
                            .low = v_all(layer->low), .high = v_all(layer->high)};
    for (uint32_t t = 0; t < stretch->tiles; t++) {
        for (uint32_t i = w->out_vectors; i-- > 0;) {
            const float *m = w->products + product_at(i, first + t, 0);
            const size_t at = (size_t)t * STEP * layer->shape.out_channels + i * VECTOR;
            vec a[SIDE], b[SIDE];
            UNROLL for (uint32_t c = 0; c < SIDE; c++) {
                const float *p = m + c * POINT;
                const vec e1 = v_add(v_load(p + ROW1), v_load(p + ROW2));
                const vec e2 = v_add(v_load(p + ROW3), v_load(p + ROW4));
                a[c] = v_add(v_add(v_load(p + ROW0), e1), e2);
                b[c] = v_fma(v_all(Q * Q), e2, e1);
            }
            finish(layer, stretch, &s, 0, at, i * VECTOR, a);
            finish(layer, stretch, &s, 2, at, i * VECTOR, b);
            UNROLL for (uint32_t c = 0; c < SIDE; c++) {
                const float *p = m + c * POINT;
                const vec o1 = v_sub(v_load(p + ROW1), v_load(p + ROW2));
                const vec o2 = v_sub(v_load(p + ROW3), v_load(p + ROW4));
                a[c] = v_fma(v_all(Q), o2, o1);
                b[c] = v_fma(v_all(Q * Q * Q), o2, v_add(o1, v_load(p + ROW5)));
            }
            finish(layer, stretch, &s, 1, at, i * VECTOR, a);
            finish(layer, stretch, &s, 3, at, i * VECTOR, b);
        }
    }
}

#define BACKWARD(name, slope, residual, clamp) \
    static void name(const struct work *w, const struct stretch *stretch, uint32_t first) \
    { \
        backward(w, stretch, first, slope, residual, clamp); \
    }
BACKWARD(backward_plain, false, false, false)
BACKWARD(backward_c, false, false, true)
BACKWARD(backward_r, false, true, false)
BACKWARD(backward_rc, false, true, true)
BACKWARD(backward_s, true, false, false)
BACKWARD(backward_sc, true, false, true)
BACKWARD(backward_sr, true, true, false)
BACKWARD(backward_src, true, true, true)

/* Where there are several windows: see winograd_tiles.inc.h. */
static uint32_t units_of(const struct srpi_conv_shape *shape)
{
    const uint32_t in = shape->in_channels;
    return window_count(shape) == 1 ? in : vectors(in) * VECTOR;
}

/* Values between the stages. */
static size_t between_size(const struct srpi_conv_shape *shape)
{
    const size_t terms = terms_size(shape, units_of(shape));
    const size_t products = product_at(vectors(shape->out_channels), 0, 0);
#ifdef IN_PLACE
    return terms > products ? terms : products;
#else
    return terms + products;
#endif
}

static struct sizes float_sizes(const struct srpi_conv_shape *shape)
{
    struct sizes sizes = sizes_of(shape);
    sizes.in = shape->in_channels * sizeof(float);
    sizes.out = sizes.residual = shape->out_channels * sizeof(float);
    return sizes;
}

static void run(const struct srpi_conv_layer *layer, const struct srpi_winograd_rows *bands,
                uint32_t band_count)
{
    static void (*const finishers[8])(const struct work *, const struct stretch *, uint32_t) = {
        backward_plain, backward_c, backward_r, backward_rc,
        backward_s, backward_sc, backward_sr, backward_src};
    const uint32_t all = tiles_of(bands) * band_count;
    const uint32_t in = layer->shape.in_channels, out = layer->shape.out_channels;
    const struct sizes sizes = float_sizes(&layer->shape);
    struct work w = {.layer = layer,
                     .windows = srpi_winograd_windows(&layer->shape),
                     .units = units_of(&layer->shape),
                     .out_vectors = vectors(out),
                     .terms = bands->scratch};
#ifdef IN_PLACE
    w.products = w.terms;
    w.terms += term_at(0, 1);
#else
    w.products = w.terms + terms_size(&layer->shape, w.units);
#endif
    struct forward_work f = {.shape = &layer->shape,
                             .sizes = &sizes,
                             .units = w.units,
                             .end = vectors(in),
                             .copy = (char *)bands->scratch +
                                     sizeof(float) * between_size(&layer->shape),
                             .pixels = bands->pixels};
    struct forward_work last = f;
    if (w.units != in) {
        last.first = --f.end;
        last.rest = in % VECTOR;
    }
    void (*const finisher)(const struct work *, const struct stretch *, uint32_t) =
        finishers[(layer->slope ? 4 : 0) + (layer->has_residual ? 2 : 0) + (layer->clamp ? 1 : 0)];
    for (uint32_t first = 0; first < all; first += w.group.tiles) {
        group_next(&w.group, bands, &sizes, first, all - first);
        forward_group(w.terms, &w.group, &f);
        if (w.units != in) {
            forward_group_last(w.terms, &w.group, &last);
        }
        products(&w);
        uint32_t tile = 0;
        for (uint32_t k = 0; k < w.group.stretch_count; k++) {
            finisher(&w, &w.group.stretches[k], tile);
            tile += w.group.stretches[k].tiles;
        }
    }
}

/* Sizes of shapes that has_way() knows fit 32 bits. */
static size_t packed_size(const struct srpi_conv_shape *shape)
{
    const struct srpi_winograd_windows windows = srpi_winograd_windows(shape);
    return aligned(sizeof(float) * srpi_winograd_before(&windows, POINTS) * units_of(shape) *
                   padded_out(shape->out_channels));
}

static bool suits(const struct srpi_conv_shape *shape)
{
    return has_way(shape) && shape->in == SRPI_F32 && shape->out == SRPI_F32 &&
           (window_count(shape) == 1 ? SUITS(shape->in_channels, shape->out_channels)
                                     : SUITS_WINDOWS(shape->in_channels, shape->out_channels) &&
                                           packed_size(shape) <= MOST_WEIGHTS);
}

static void pack(const struct srpi_conv_shape *shape, const void *weights, void *packed)
{
    const uint32_t padded = padded_out(shape->out_channels);
    for (uint32_t o = 0; o < padded;) {
        const uint32_t block = block_at(o, padded);
        srpi_winograd_pack_f32(shape, weights, packed, units_of(shape), padded, o, block);
        o += block;
    }
}

static size_t scratch_size(const struct srpi_conv_shape *shape)
{
    const struct sizes sizes = float_sizes(shape);
    return sizeof(float) * between_size(shape) + sizes.rows * broken_row(&sizes);
}

const struct srpi_winograd_kernels KERNELS = {
    .name = NAME,
    .in = SRPI_F32,
    .suits = suits,
    .packed_size = packed_size,
    .pack = pack,
    .scratch_size = scratch_size,
    .fn = run,
};
