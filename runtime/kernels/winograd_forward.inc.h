/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_forward.inc.h - the walk of the forward stage of winograd_tiles.inc.h. The includer has
 * `value`, what a term's memory is of, and forward2(), forward6(); and defines, for this file
 * alone, f_vec, f_store (which may store zeros behind the first `rest` units), f_lanes (units of
 * such a vector), f_step (samples from one to the next), `sample`, what the input is of, and
 * FORWARD(name), which makes names. */

/* The terms of one vector of units for neighbouring tiles, which share columns. `at`, `pixel`:
 * samples to the first column's, and from one column to the next. `rest`: for f_store. */
INLINE void FORWARD(forward_tiles)(value *to, const char *const from[SIDE], size_t at, size_t pixel,
                                   uint32_t tiles, uint32_t rest)
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
                f_store(to + term_at(0, p * 2 * SIDE + x), v[x], rest);
            }
            FORWARD(forward6)(v, d);
            UNROLL for (uint32_t x = 0; x < SIDE; x++) {
                f_store(to + term_at(0, p * 2 * SIDE + SIDE + x), v[x], rest);
            }
        }
        at += STEP * pixel;
        to += VECTOR;
    }
    (void)rest;
}

/* The terms of a group. */
static void FORWARD(forward_group)(value *terms, const struct group *group,
                                   const struct forward_work *f)
{
    const struct srpi_winograd_windows windows = srpi_winograd_windows(f->shape);
    const size_t pixel = f->sizes->in / sizeof(sample);
    for (uint32_t k = 0; k < group->stretch_count; k++) {
        const struct stretch *s = &group->stretches[k];
        const uint32_t whole = s->broken ? s->tiles - 1 : s->tiles;
        const char *broken[SRPI_WINOGRAD_INPUTS] = {NULL};
        if (s->broken) {
            copy_broken(broken, f->copy, s, f->sizes, f->pixels % STEP);
        }
        for (uint32_t w = 0; w < windows.down * windows.across; w++) {
            uint32_t down = 0, across = 0;
            srpi_winograd_window(&windows, w, &down, &across);
            for (uint32_t i = f->first; i < f->end; i++) {
                value *to = terms + unit_at(w * f->units + i * f_lanes);
                const size_t at = i * f_step + 2 * across * pixel;
                if (whole != 0) {
                    FORWARD(forward_tiles)(to, s->rows + 2 * down, at, pixel, whole, f->rest);
                }
                if (s->broken) {
                    FORWARD(forward_tiles)(to + term_at(whole, 0), broken + 2 * down, at, pixel, 1,
                                           f->rest);
                }
            }
        }
        terms += term_at(s->tiles, 0);
    }
}

#undef sample
#undef f_vec
#undef f_store
#undef f_lanes
#undef f_step
#undef FORWARD
