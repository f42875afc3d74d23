/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_sum.inc.h - the products of matrices of winograd_tiles.inc.h with one kind of vectors of
 * output channels: `value` and s_vec, SUM_LANES, s_load, s_store, s_all, s_fma; SUM(name) makes
 * names. All of these but `value` are undefined again at the end. */

/* Adds `steps` units of the input to sums a and, if `two`, b. */
INLINE void SUM(add)(s_vec a[GROUP], s_vec b[GROUP], const value *terms, const value *weights,
                     const uint32_t steps, const uint32_t tiles, const bool two)
{
    UNROLL for (uint32_t k = 0; k < steps; k++) {
        const s_vec wa = s_load(weights);
        const s_vec wb = two ? s_load(weights + SUM_LANES) : wa;
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            const s_vec term = s_all(terms[t * VECTOR + k]);
#ifdef s_product
            if (two) {
                s_fma_two(term, wa, wb, &a[t], &b[t]);
                continue;
            }
#endif
            a[t] = s_fma(term, wa, a[t]);
            if (two) {
                b[t] = s_fma(term, wb, b[t]);
            }
        }
        weights += two ? 2 * SUM_LANES : SUM_LANES;
    }
}

#ifdef s_product
/* The products of the first unit: so the sums need no zeros to begin with. */
INLINE void SUM(begin)(s_vec a[GROUP], s_vec b[GROUP], const value *terms, const value *weights,
                       const uint32_t tiles, const bool two)
{
    const s_vec wa = s_load(weights);
    const s_vec wb = two ? s_load(weights + SUM_LANES) : wa;
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        const s_vec term = s_all(terms[t * VECTOR]);
        a[t] = s_product(term, wa);
        if (two) {
            b[t] = s_product(term, wb);
        }
    }
}
#endif

/* tiles x in times in x (one or two vectors), on top of `start`. `tiles` and `two` are constants at
 * each call, so that sums stay in registers. The order of additions is the same in all of these.
 * The loops are fragile: one for whole and broken vectors of units, or sums in an array of
 * two dimensions, and gcc 12 or clang 14 keeps the sums in memory, at half the speed. */
INLINE void SUM(sum)(value *to, const value *terms, const value *weights, const value *start,
                          uint32_t units, const uint32_t tiles, const bool two)
{
    const size_t step = two ? 2 * SUM_LANES : SUM_LANES;
    s_vec a[GROUP], b[GROUP];
#ifdef s_product
    (void)start;
    SUM(begin)(a, b, terms, weights, tiles, two);
    SUM(add)(a, b, terms + 1, weights + step, SUM_LEAST - 1, tiles, two);
    weights += SUM_LEAST * step;
    uint32_t done = SUM_LEAST;
    for (; units - done >= SUM_LEAST; done += SUM_LEAST) {
        const value *from = terms + done / VECTOR * (POINTS * GROUP * VECTOR) + done % VECTOR;
        SUM(add)(a, b, from, weights, SUM_LEAST, tiles, two);
        weights += SUM_LEAST * step;
    }
    terms += done / VECTOR * (POINTS * GROUP * VECTOR) + done % VECTOR;
    units -= done;
#else
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        a[t] = s_load(start);
        if (two) {
            b[t] = s_load(start + SUM_LANES);
        }
    }
    while (units >= VECTOR) {
        for (uint32_t k = 0; k < VECTOR; k += 4) {
            SUM(add)(a, b, terms + k, weights, 4, tiles, two);
            weights += 4 * step;
        }
        terms += POINTS * GROUP * VECTOR;
        units -= VECTOR;
    }
#endif
    for (; units != 0; units--) {
        SUM(add)(a, b, terms, weights, 1, tiles, two);
        weights += step;
        terms++;
    }
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        s_store(to + product_at(0, t, 0), a[t]);
        if (two) {
            s_store(to + product_at(1, t, 0), b[t]);
        }
    }
}

/* A group with one block of output channels, `most` (a constant) tiles at a time. Fewer are made up
 * to one of four numbers: the terms of the others are whatever was there. */
INLINE void SUM(sum_tiles)(value *to, const value *terms, const value *weights,
                                const value *start, uint32_t units, uint32_t tiles,
                                const uint32_t most, const bool two)
{
    uint32_t now = 0;
    for (; tiles != 0; tiles -= now) {
        now = next_tiles(tiles, most);
        if (now > most * 5 / 6) {
            SUM(sum)(to, terms, weights, start, units, most, two);
        } else if (now > most * 2 / 3) {
            SUM(sum)(to, terms, weights, start, units, most * 5 / 6, two);
        } else if (now > most / 2) {
            SUM(sum)(to, terms, weights, start, units, most * 2 / 3, two);
        } else {
            SUM(sum)(to, terms, weights, start, units, most / 2, two);
        }
        to += product_at(0, now, 0);
        terms += term_at(now, 0);
    }
}

#undef SUM
#undef SUM_LANES
#undef s_vec
#undef s_load
#undef s_store
#undef s_all
#undef s_fma
#undef s_product
#undef s_fma_two
