/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_q8_few.inc.h - the products and the backward stage of winograd_q8_stages.inc.h for at
 * most half a vector of output channels: half the products, and one backward stage for two tiles.
 *
 * Sums of a tile at a point: lane 2 * channel + u of VECTOR has the products of every second unit
 * from unit u on. So a term's load brings two units to all lanes. In the end neighbouring lanes
 * are added, of two tiles at once, to a vector of both: in each half of it two channels of the one,
 * then the same two of the other. Whoever includes this has, beside the words of winograd_q8.inc.h,
 *   FEW                half a vector
 *   i_two(p)           two units at p for each channel
 *   i_add_lanes(a, b)  the vector of two tiles, from the sums of each
 *   i_of_both(v)       the same, from values of channels that both have
 *   of_first(v), of_second(v)  a vector that begins with the channels of one of them */

/* Units come in twos: what is made up has weights of 0. */
INLINE uint32_t in_twos(uint32_t units)
{
    return (units + 1) / 2 * 2;
}

/* `tiles` is a constant at each call. */
INLINE void sum_few(int32_t *to, const int32_t *terms, const int32_t *weights, uint32_t units,
                    const uint32_t tiles)
{
    ivec s[GROUP], w = i_load(weights);
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        s[t] = i_product(i_two(terms + t * VECTOR), w);
    }
    for (uint32_t u = 2; u < units; u += 2) {
        weights += VECTOR;
        terms += u % VECTOR == 0 ? SLOTS * GROUP * VECTOR - (VECTOR - 2) : 2;
        w = i_load(weights);
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            i_add_dot(s[t], i_two(terms + t * VECTOR), w);
        }
    }
    UNROLL for (uint32_t t = 0; t < tiles; t += 2) {
        i_store(to + product_at(0, t / 2, 0), i_add_lanes(s[t], s[t + 1]));
    }
}

/* The products of two tiles at a point are one vector. */
static __attribute__((noinline)) void products_few(const struct work *w)
{
    const int32_t *weights = w->layer->weights;
    for (uint32_t p = 0; p < POINTS; p++) {
        const struct units at = units_at(&w->windows, w->units, p);
        const int32_t *terms = w->terms + unit_at(at.first) + term_at(0, p);
        const uint32_t units = in_twos(at.count);
        int32_t *to = w->products + product_at(0, 0, p);
        if (w->group.tiles > GROUP / 3 * 2) {
            sum_few(to, terms, weights, units, GROUP);
        } else if (w->group.tiles > GROUP / 3) {
            sum_few(to, terms, weights, units, GROUP / 3 * 2);
        } else {
            sum_few(to, terms, weights, units, GROUP / 3);
        }
        weights += units * FEW;
    }
}

/* Where a tile's values go: value `at` of a stretch's rows. */
struct spot {
    const struct stretch *stretch; /* NULL: nowhere */
    size_t at;
};

/* Four pixels of an output row of two tiles: see finish(). */
INLINE void finish_few(const struct work *w, const struct spot spots[2], const struct ending *e,
                       uint32_t row, const int twos, const ivec m[SIDE])
{
    vfloat times[STEP], v[STEP];
    times_of(times, e, twos);
    sums_of(v, m);
    UNROLL for (uint32_t i = 0; i < 2; i++) {
        if (spots[i].stretch != NULL && spots[i].stretch->out[row] != NULL) {
            const struct q8_row to = row_of(w, spots[i].stretch, row);
            vfloat own[STEP];
            UNROLL for (uint32_t x = 0; x < STEP; x++) {
                own[x] = i == 0 ? of_first(v[x]) : of_second(v[x]);
            }
            end_four(&e->steps, times, &to, spots[i].at, own);
        }
    }
}

static __attribute__((noinline)) void backward_few(const struct work *w)
{
    struct spot spots[GROUP + 1];
    uint32_t tiles = 0;
    for (uint32_t k = 0; k < w->group.stretch_count; k++) {
        const struct stretch *s = &w->group.stretches[k];
        for (uint32_t t = 0; t < s->tiles; t++) {
            spots[tiles++] = (struct spot){s, (size_t)t * STEP * w->layer->shape.out_channels};
        }
    }
    spots[tiles] = (struct spot){NULL, 0};
    struct ending e = ending_of(w, 0, 0);
    e.raised = i_of_both(e.raised);
    for (uint32_t t = 0; t < tiles; t += 2) {
        const int32_t *m = w->products + product_at(0, t / 2, 0);
        ivec a[SIDE], b[SIDE];
        columns_even(a, b, &e, m);
        finish_few(w, &spots[t], &e, 0, 3, a);
        finish_few(w, &spots[t], &e, 2, 1, b);
        columns_odd(a, b, &e, m);
        finish_few(w, &spots[t], &e, 1, 2, a);
        finish_few(w, &spots[t], &e, 3, 1, b);
    }
}
