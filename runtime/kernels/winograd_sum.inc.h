/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_sum.inc.h - the products of matrices of winograd_tiles.inc.h with one kind of vectors of
 * output channels: `value` and s_vec, SUM_LANES, s_load, s_store, s_all, s_add; SUM(name) makes
 * names. All of these but `value` are undefined again at the end.
 *
 * Of a block of `wide` vectors and `tiles` tiles, which are constants at each call, all sums stay
 * in registers: s[t * wide + v]. The order of additions is the same in all of these. Where there is
 * s_add_half, `half`, a constant too, says that the last vector's upper half is empty. */

/* Of a block's weights for a unit. */
INLINE size_t SUM(lanes)(const uint32_t wide, const bool half)
{
    return (size_t)wide * SUM_LANES - (half ? SUM_LANES / 2 : 0);
}

/* Adds `steps` units of the input. */
INLINE void SUM(add)(s_vec s[SUMS], const value *terms, const value *weights, const uint32_t steps,
                     const uint32_t tiles, const uint32_t wide, const bool half)
{
#ifdef s_four
    /* A load for four terms, and four instructions to spread them: where all loads would take
     * longer than the products. */
    const uint32_t spread = wide == 1 && steps == 4 ? tiles * 5 / 12 : 0;
    s_vec four[GROUP];
    UNROLL for (uint32_t t = 0; t < spread; t++) {
        four[t] = s_four(terms + t * VECTOR);
    }
#endif
    UNROLL for (uint32_t k = 0; k < steps; k++) {
        s_vec w[WIDE];
        UNROLL for (uint32_t v = 0; v < wide; v++) {
#ifdef s_add_half
            if (half && v + 1 == wide) {
                w[v] = s_load_half(weights + v * SUM_LANES);
                continue;
            }
#endif
            w[v] = s_load(weights + v * SUM_LANES);
        }
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
#ifdef s_add_at /* a load and a product in one instruction; with s_four */
            if (wide == 1 && t >= spread) {
#ifdef s_add_at_half
                if (half) {
                    s_add_at_half(s[t], terms + t * VECTOR + k, w[0]);
                    continue;
                }
#endif
                s_add_at(s[t], terms + t * VECTOR + k, w[0]);
                continue;
            }
#endif
#ifdef s_four
            const s_vec term = t < spread ? s_spread(four[t], k) : s_all(terms[t * VECTOR + k]);
#else
            const s_vec term = s_all(terms[t * VECTOR + k]);
#endif
#ifdef s_add_two
            if (wide == 2) {
                s_add_two(s[2 * t], s[2 * t + 1], term, w[0], w[1]);
                continue;
            }
#endif
            UNROLL for (uint32_t v = 0; v < wide; v++) {
#ifdef s_add_half
                if (half && v + 1 == wide) {
                    s_add_half(s[t * wide + v], term, w[v]);
                    continue;
                }
#endif
                s_add(s[t * wide + v], term, w[v]);
            }
        }
        weights += SUM(lanes)(wide, half);
    }
}

/* What the sums begin with: `start`, a block's; or the products of the first unit. */
INLINE void SUM(begin)(s_vec s[SUMS], const value *terms, const value *weights, const value *start,
                       const uint32_t tiles, const uint32_t wide)
{
    s_vec first[WIDE];
    UNROLL for (uint32_t v = 0; v < wide; v++) {
#ifdef s_product
        first[v] = s_load(weights + v * SUM_LANES);
#else
        first[v] = s_load(start + v * SUM_LANES);
#endif
    }
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        UNROLL for (uint32_t v = 0; v < wide; v++) {
#ifdef s_product
            s[t * wide + v] = s_product(s_all(terms[t * VECTOR]), first[v]);
#else
            s[t * wide + v] = first[v];
#endif
        }
    }
    (void)terms, (void)weights, (void)start;
}

/* tiles x in times in x out. One loop for whole and broken vectors of units, and gcc 12 or clang 14
 * keeps the sums in memory, at half the speed. `ahead`: half a block of weights that come later and
 * are to be fetched into the caches meanwhile, where FETCH is defined; NULL: none. */
INLINE void SUM(sum)(value *to, const value *terms, const value *weights, const value *start,
                     uint32_t units, const value *ahead, const uint32_t tiles,
                     const uint32_t wide, const bool half)
{
    const size_t step = SUM(lanes)(wide, half);
    s_vec s[SUMS];
    SUM(begin)(s, terms, weights, start, tiles, wide);
#ifdef s_product
    SUM(add)(s, terms + 1, weights + step, SUM_LEAST - 1, tiles, wide, half);
    weights += SUM_LEAST * step;
    uint32_t done = SUM_LEAST;
    for (; units - done >= SUM_LEAST; done += SUM_LEAST) {
        const value *from = terms + done / VECTOR * (SLOTS * GROUP * VECTOR) + done % VECTOR;
        SUM(add)(s, from, weights, SUM_LEAST, tiles, wide, half);
        weights += SUM_LEAST * step;
    }
    terms += done / VECTOR * (SLOTS * GROUP * VECTOR) + done % VECTOR;
    units -= done;
#else
    while (units >= VECTOR) {
#ifdef FETCH
        if (ahead != NULL) {
            UNROLL for (uint32_t k = 0; k < HALF_BLOCK; k += 64 / sizeof(value)) {
                FETCH(ahead + k);
            }
            ahead += HALF_BLOCK;
        }
#endif
        for (uint32_t k = 0; k < VECTOR; k += 4) {
            SUM(add)(s, terms + k, weights, 4, tiles, wide, half);
            weights += 4 * step;
        }
        terms += SLOTS * GROUP * VECTOR;
        units -= VECTOR;
    }
#endif
    for (; units != 0; units--) {
        SUM(add)(s, terms, weights, 1, tiles, wide, half);
        weights += step;
        terms++;
    }
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        UNROLL for (uint32_t v = 0; v < wide; v++) {
            s_store(to + product_at(v, t, 0), s[t * wide + v]);
        }
    }
    (void)ahead;
}

/* A group of tiles with a block, TILES(wide) at a time. Fewer are made up to one of four numbers:
 * the terms of the others are whatever was there. */
INLINE void SUM(sum_tiles)(value *to, const value *terms, const value *weights, const value *start,
                           uint32_t units, const value *ahead, uint32_t tiles,
                           const uint32_t wide, const bool half)
{
    const uint32_t most = TILES(wide);
    uint32_t now = 0;
#ifdef FETCH
    const value *second = ahead != NULL ? ahead + units / VECTOR * HALF_BLOCK : NULL;
#endif
    for (; tiles != 0; tiles -= now) {
        now = next_tiles(tiles, most);
        if (now > most * 5 / 6) {
            SUM(sum)(to, terms, weights, start, units, ahead, most, wide, half);
        } else if (now > most * 2 / 3) {
            SUM(sum)(to, terms, weights, start, units, ahead, most * 5 / 6, wide, half);
        } else if (now > most / 2) {
            SUM(sum)(to, terms, weights, start, units, ahead, most * 2 / 3, wide, half);
        } else {
            SUM(sum)(to, terms, weights, start, units, ahead, most / 2, wide, half);
        }
        to += product_at(0, now, 0);
        terms += term_at(now, 0);
#ifdef FETCH
        ahead = second;
        second = NULL;
#endif
    }
}

/* The same, with a block of `wide` vectors, which is no constant. */
INLINE void SUM(sum_block)(value *to, const value *terms, const value *weights, const value *start,
                           uint32_t units, const value *ahead, uint32_t tiles, uint32_t wide,
                           const bool half)
{
    if (WIDE >= 4 && wide == 4) {
        SUM(sum_tiles)(to, terms, weights, start, units, ahead, tiles, 4, half);
    } else if (WIDE >= 3 && wide == 3) {
        SUM(sum_tiles)(to, terms, weights, start, units, ahead, tiles, 3, half);
    } else if (wide == 2) {
        SUM(sum_tiles)(to, terms, weights, start, units, ahead, tiles, 2, half);
    } else {
        SUM(sum_tiles)(to, terms, weights, start, units, ahead, tiles, 1, false);
    }
}

#undef SUM
#undef SUM_LANES
#undef s_vec
#undef s_load
#undef s_store
#undef s_all
#undef s_add
#undef s_four
#undef s_spread
#undef s_add_at
#undef s_add_at_half
#undef s_add_half
#undef s_load_half
#undef s_product
#undef s_add_two
