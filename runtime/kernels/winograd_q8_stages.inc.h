/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_q8_stages.inc.h - the walk of winograd_q8.inc.h, one stage after the other. */

/* Of a block of `count` vectors of output channels, from vector o on. In a function of its own, as
 * the backward stage is: with both in `run` gcc 12 has no registers left for either. */
static __attribute__((noinline)) void products(const struct work *w, uint32_t o, uint32_t count)
{
    const bool half = half_empty(&w->layer->shape) &&
                      o + count == vectors(w->layer->shape.out_channels);
    static const int32_t zeros[WIDE * VECTOR];
#ifndef DOT_IN_TWO
    const int32_t *bias = (const int32_t *)w->layer->bias + o * VECTOR;
#endif
    const int32_t *weights = (const int32_t *)w->layer->weights + o * VECTOR * w->channel_units;
#ifndef DOT_IN_TWO
    /* What is added to the product at (1, 1) comes out as 1/36 of it in all 16 pixels. */
    int32_t raised[WIDE * VECTOR];
    for (uint32_t i = 0; i < count; i++) {
        i_store(raised + i * VECTOR, i_mul(i_load(bias + i * VECTOR), i_all(36)));
    }
#else
    const int32_t *const raised = zeros; /* `backward` adds it */
#endif
    for (uint32_t p = 0; p < POINTS; p++) {
        const struct units units = units_at(&w->windows, w->units, p);
        const int32_t *terms = w->terms + unit_at(units.first) + term_at(0, p);
        const int32_t *start = p == 1 ? raised : zeros;
        int32_t *to = w->products + product_at(0, 0, p);
        if (half) {
            sum_block(to, terms, weights, start, units.count, NULL, w->group.tiles, count, true);
        } else {
            sum_block(to, terms, weights, start, units.count, NULL, w->group.tiles, count, false);
        }
        weights += units.count * lanes(count, half);
    }
}

/* The product at (1, c). Without DOT_IN_TWO the bias is in it. */
INLINE ivec at_one(const int32_t *p, uint32_t c, const struct ending *e)
{
#ifdef DOT_IN_TWO
    if (c == 1) {
        return i_add(i_load(p + ROW1), e->raised);
    }
#endif
    (void)c, (void)e;
    return i_load(p + ROW1);
}

/* The points of a tile down its columns, for output rows 0 (a) and 2 (b). */
INLINE void columns_even(ivec a[SIDE], ivec b[SIDE], const struct ending *e, const int32_t *m)
{
    UNROLL for (uint32_t c = 0; c < SIDE; c++) {
        const int32_t *p = m + c * POINT;
        const ivec even1 = i_add(at_one(p, c, e), i_load(p + ROW2));
        const ivec even2 = i_add(i_load(p + ROW3), i_load(p + ROW4));
        a[c] = i_add(i_add(i_load(p + ROW0), i_shl(even1, 2)), even2);
        b[c] = i_add(even1, even2);
    }
}

/* The same for output rows 1 and 3. The empty statement has points read again that were read
 * before: gcc 12 would keep them, in memory too. */
INLINE void columns_odd(ivec a[SIDE], ivec b[SIDE], const struct ending *e, const int32_t *m)
{
    __asm__ volatile("" ::: "memory");
    UNROLL for (uint32_t c = 0; c < SIDE; c++) {
        const int32_t *p = m + c * POINT;
        const ivec odd1 = i_sub(at_one(p, c, e), i_load(p + ROW2));
        const ivec odd2 = i_sub(i_load(p + ROW3), i_load(p + ROW4));
        const ivec odd = i_add(odd1, odd2);
        a[c] = i_add(odd, odd1);
        b[c] = i_add(i_add(odd, i_load(p + ROW5)), odd2);
    }
}

/* A tile of a vector of channels, whose first value is `at` of each row. */
INLINE void backward_tile(const struct work *w, const struct stretch *s, const struct ending *e,
                          const int32_t *m, size_t at, ivec held[STEP][STEP])
{
    ivec a[SIDE], b[SIDE];
    columns_even(a, b, e, m);
    finish(w, s, e, 0, 3, at, a, held);
    finish(w, s, e, 2, 1, at, b, held);
    columns_odd(a, b, e, m);
    finish(w, s, e, 1, 2, at, a, held);
    finish(w, s, e, 3, 1, at, b, held);
}

/* A vector of channels, from `channel` on. */
static __attribute__((noinline)) void backward(const struct work *w, const int32_t *m,
                                               uint32_t channel)
{
    const struct ending e = ending_of(w, channel, 0);
    for (uint32_t k = 0; k < w->group.stretch_count; k++) {
        const struct stretch *s = &w->group.stretches[k];
        size_t at = channel;
        for (uint32_t t = 0; t < s->tiles; t++) {
            backward_tile(w, s, &e, m, at, NULL);
            m += product_at(0, 1, 0);
            at += (size_t)STEP * w->layer->shape.out_channels;
        }
    }
}

#ifdef PAIRS

/* Two vectors of channels that become codes. */
static __attribute__((noinline)) void backward_pair(const struct work *w, uint32_t channel)
{
    const struct ending first = ending_of(w, channel, 1), second = ending_of(w, channel, 2);
    const int32_t *m = w->products;
    ivec held[STEP][STEP] = {{i_all(0)}};
    for (uint32_t k = 0; k < w->group.stretch_count; k++) {
        const struct stretch *s = &w->group.stretches[k];
        size_t at = channel;
        for (uint32_t t = 0; t < s->tiles; t++) {
            backward_tile(w, s, &first, m, at, held);
            backward_tile(w, s, &second, m + product_at(1, 0, 0), at, held);
            m += product_at(0, 1, 0);
            at += (size_t)STEP * w->layer->shape.out_channels;
        }
    }
}

#endif

#ifdef FEW
#include "kernels/winograd_q8_few.inc.h"
#endif

static void run_groups(struct work *w, uint32_t all)
{
    const struct srpi_conv_shape *shape = &w->layer->shape;
    for (uint32_t first = 0; first < all; first += w->group.tiles) {
        group_next(&w->group, w->bands, &w->sizes, first, all - first);
        forward(w);
#ifdef FEW
        if (shape->out_channels <= FEW) {
            products_few(w);
            backward_few(w);
            continue;
        }
#endif
        for (uint32_t o = vectors(shape->out_channels); o != 0;) {
            const uint32_t block = block_of(o);
            o -= block;
            products(w, o, block);
#ifdef PAIRS
            if (block == 2 && shape->out == SRPI_Q8) {
                backward_pair(w, o * VECTOR);
                continue;
            }
#endif
            /* The last vector of channels may reach into the next pixels: the others follow. */
            for (uint32_t i = block; i-- > 0;) {
                backward(w, w->products + product_at(i, 0, 0), (o + i) * VECTOR);
            }
        }
    }
}
