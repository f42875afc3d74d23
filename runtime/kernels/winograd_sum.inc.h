/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_sum.inc.h - the products of matrices of winograd_row.inc.h with one kind of vectors of
 * output channels: s_vec, LANES, s_load, s_store, s_all, s_fma; SUM(name) makes names. */

/* Adds `steps` channels of the input. */
INLINE void SUM(add)(s_vec acc[PANEL][2], const float *terms, const float *weights,
                     const uint32_t steps, const uint32_t tiles, const uint32_t wide)
{
    UNROLL for (uint32_t k = 0; k < steps; k++) {
        s_vec x[2];
        UNROLL for (uint32_t b = 0; b < wide; b++) {
            x[b] = s_load(weights + (k * wide + b) * LANES);
        }
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            const s_vec term = s_all(terms[t * VECTOR + k]);
            UNROLL for (uint32_t b = 0; b < wide; b++) {
                acc[t][b] = s_fma(term, x[b], acc[t][b]);
            }
        }
    }
}

/* tiles x in times in x (wide vectors), on top of `start`. `tiles` and `wide` are constants at each
 * call, so that sums stay in registers. The order of additions is the same in all of these. */
INLINE void SUM(multiply)(float *to, const float *terms, const float *weights, const float *start,
                          uint32_t in, const uint32_t tiles, const uint32_t wide)
{
    s_vec acc[PANEL][2];
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        UNROLL for (uint32_t b = 0; b < wide; b++) {
            acc[t][b] = s_load(start + b * LANES);
        }
    }
    while (in >= VECTOR) {
        for (uint32_t k = 0; k < VECTOR; k += 4) {
            SUM(add)(acc, terms + k, weights, 4, tiles, wide);
            weights += 4 * wide * LANES;
        }
        terms += POINTS * PANEL * VECTOR;
        in -= VECTOR;
    }
    for (; in != 0; in--) {
        SUM(add)(acc, terms, weights, 1, tiles, wide);
        weights += wide * LANES;
        terms++;
    }
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        UNROLL for (uint32_t b = 0; b < wide; b++) {
            s_store(to + product_at(b, t, 0), acc[t][b]);
        }
    }
}

/* One panel with one block of output channels. */
INLINE void SUM(multiply_panel)(float *to, const float *terms, const float *weights,
                                const float *start, uint32_t in, uint32_t tiles,
                                const uint32_t most, const uint32_t wide)
{
    for (; tiles > most * 2 / 3; tiles -= most < tiles ? most : tiles) {
        SUM(multiply)(to, terms, weights, start, in, most, wide);
        to += product_at(0, most, 0);
        terms += term_at(most, 0);
    }
    if (tiles > most / 3) {
        SUM(multiply)(to, terms, weights, start, in, most * 2 / 3, wide);
    } else if (tiles != 0) {
        SUM(multiply)(to, terms, weights, start, in, most / 3, wide);
    }
}
