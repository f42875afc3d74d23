/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_forward.inc.h - the walk of the forward stage of winograd_tiles.inc.h. The includer has
 * `value`, what a term's memory is of, and forward2(), forward6(); and defines, for this file
 * alone, f_vec, f_store, `sample`, what the input is of, and FORWARD(name), which makes names. */

/* The terms of one vector of units for neighbouring tiles, which share columns. `at`, `pixel`:
 * samples to the first column's, and from one column to the next. */
INLINE void FORWARD(forward_tiles)(value *to, const char *const from[SIDE], size_t at, size_t pixel,
                          uint32_t tiles)
{
#define ROW_OF(r) (const sample *)(const void *)from[r]
    const sample *const rows[SIDE] = {ROW_OF(0), ROW_OF(1), ROW_OF(2),
                                      ROW_OF(3), ROW_OF(4), ROW_OF(5)};
#undef ROW_OF
    f_vec a[3][SIDE - STEP], b[3][SIDE - STEP], c[SIDE], d[SIDE], v[SIDE];
    UNROLL for (uint32_t p = 0; p < 3; p++) {
        UNROLL for (uint32_t x = 0; x < SIDE - STEP; x++) {
            FORWARD(forward2)(&a[p][x], &b[p][x], rows, at + x * pixel, p);
        }
    }
    for (uint32_t t = 0; t < tiles; t++) {
        UNROLL for (uint32_t p = 0; p < 3; p++) {
            UNROLL for (uint32_t x = 0; x < SIDE - STEP; x++) {
                c[x] = a[p][x];
                d[x] = b[p][x];
            }
            UNROLL for (uint32_t x = SIDE - STEP; x < SIDE; x++) {
                FORWARD(forward2)(&c[x], &d[x], rows, at + x * pixel, p);
            }
            UNROLL for (uint32_t x = 0; x < SIDE - STEP; x++) {
                a[p][x] = c[STEP + x];
                b[p][x] = d[STEP + x];
            }
            FORWARD(forward6)(v, c);
            UNROLL for (uint32_t x = 0; x < SIDE; x++) {
                f_store(to + term_at(0, p * 2 * SIDE + x), v[x]);
            }
            FORWARD(forward6)(v, d);
            UNROLL for (uint32_t x = 0; x < SIDE; x++) {
                f_store(to + term_at(0, p * 2 * SIDE + SIDE + x), v[x]);
            }
        }
        at += STEP * pixel;
        to += VECTOR;
    }
}

/* The terms of a group, of vectors [first, end) of units, `step` samples apart. `copy`: SIDE times
 * broken_row() bytes; `pixels`: of a band. */
static void FORWARD(forward_group)(value *terms, const struct group *group, uint32_t first,
                                   uint32_t end, size_t step, size_t pixel, char *copy,
                                   uint32_t pixels)
{
    terms += first * term_at(0, POINTS);
    for (uint32_t k = 0; k < group->stretch_count; k++) {
        const struct stretch *s = &group->stretches[k];
        const uint32_t whole = s->broken ? s->tiles - 1 : s->tiles;
        const char *broken[SIDE] = {NULL};
        value *to = terms;
        if (s->broken) {
            copy_broken(broken, copy, s, pixel * sizeof(sample), pixels % STEP);
        }
        for (uint32_t i = first; i < end; i++) {
            if (whole != 0) {
                FORWARD(forward_tiles)(to, s->rows, i * step, pixel, whole);
            }
            if (s->broken) {
                FORWARD(forward_tiles)(to + term_at(whole, 0), broken, i * step, pixel, 1);
            }
            to += term_at(0, POINTS);
        }
        terms += term_at(s->tiles, 0);
    }
}

#undef sample
#undef f_vec
#undef f_store
#undef FORWARD
