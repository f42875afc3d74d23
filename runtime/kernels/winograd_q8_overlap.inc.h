/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_q8_overlap.inc.h - the walk of winograd_q8.inc.h for processors that add vectors by
 * other units than those that multiply them: while the sums of one vector of channels are made, the
 * backward stage of the one before goes on, in pieces. A piece is a column of a tile's points or a
 * row of its pixels; among the products of three points, which have four places for pieces each,
 * are those of a tile. They stand in the code as they come: with one place whose branches say what
 * comes next nothing is won. */

#define PLACES 4u /* among the products of a point */
#define POINTS_OF_TILE (POINTS / GROUP)
_Static_assert(POINTS_OF_TILE * PLACES == 12 && SIDE == 6 && STEP == 4, "see back_piece");

/* A vector of channels whose products are made, and whose backward stage goes on tile by tile. */
struct back {
    struct group group;
    struct ending ending;
    const struct work *work;
    const int32_t *products; /* of the tile */
    uint32_t left, channel;  /* tiles; the vector's first channel */
    /* Where the tile is: its place in a stretch, and its first value in a row of that. */
    uint32_t stretch, tile;
    size_t at;
    _Alignas(64) int32_t columns[STEP * SIDE * VECTOR]; /* of the tile: [row][column] */
};

static void back_begin(struct back *b, const struct work *w, const int32_t *products,
                       uint32_t channel)
{
    b->group = w->group;
    b->ending = ending_of(w, channel, 0);
    b->work = w;
    b->products = products;
    b->left = w->group.tiles;
    b->channel = channel;
    b->stretch = b->tile = 0;
    b->at = channel;
}

INLINE void back_column(struct back *b, const uint32_t column)
{
    const int32_t *p = b->products + column * POINT;
    int32_t *to = b->columns + column * VECTOR;
    const ivec one = i_load(p + ROW1), two = i_load(p + ROW2);
    const ivec three = i_load(p + ROW3), four = i_load(p + ROW4);
    const ivec even1 = i_add(one, two), even2 = i_add(three, four);
    const ivec odd1 = i_sub(one, two), odd2 = i_sub(three, four), odd = i_add(odd1, odd2);
    i_store(to, i_add(i_add(i_load(p + ROW0), i_shl(even1, 2)), even2));
    i_store(to + SIDE * VECTOR, i_add(odd, odd1));
    i_store(to + 2 * SIDE * VECTOR, i_add(even1, even2));
    i_store(to + 3 * SIDE * VECTOR, i_add(i_add(odd, i_load(p + ROW5)), odd2));
}

INLINE void back_row(struct back *b, const uint32_t row)
{
    ivec m[SIDE];
    UNROLL for (uint32_t c = 0; c < SIDE; c++) {
        m[c] = i_load(b->columns + (row * SIDE + c) * VECTOR);
    }
    finish(b->work, &b->group.stretches[b->stretch], &b->ending, row, row < 2 ? 3 - (int)row : 1,
           b->at, m, NULL);
}

/* What stands at a place of three points: columns, then rows, with a place left free in front of
 * the second and the last row, as rows take longer. */
INLINE void back_piece(struct back *b, const uint32_t place)
{
    if (place < SIDE) {
        back_column(b, place);
    } else if (place == 6 || place == 11) {
        back_row(b, place == 6 ? 0 : 3);
    } else if (place == 8 || place == 9) {
        back_row(b, place - 7);
    }
}

INLINE void back_next(struct back *b)
{
    b->products += product_at(0, 1, 0);
    b->at += (size_t)STEP * b->work->layer->shape.out_channels;
    b->left--;
    if (++b->tile == b->group.stretches[b->stretch].tiles) {
        b->tile = 0;
        b->stretch++;
        b->at = b->channel;
    }
}

static __attribute__((noinline)) void back_rest(struct back *b)
{
    while (b->left != 0) {
        UNROLL for (uint32_t c = 0; c < SIDE; c++) {
            back_column(b, c);
        }
        UNROLL for (uint32_t r = 0; r < STEP; r++) {
            back_row(b, r);
        }
        back_next(b);
    }
}

/* What sums read beside weights: a copy, as they might be stored over struct work as far as the
 * compiler knows. */
struct input {
    const int32_t *terms;
    uint32_t units; /* of a window */
    struct srpi_winograd_windows windows;
};

/* The sums of a vector of channels at POINTS_OF_TILE points from `first` on, of `tiles` tiles or
 * less; gives the next weights. one: of one window, for which there is less to be found out.
 * pieces: and the backward stage of a tile of `b`. */
INLINE const int32_t *sum_points(const struct input *in, int32_t *to, const int32_t *weights,
                                 const int32_t *raised, uint32_t first, const uint32_t tiles,
                                 const bool half, const bool one, struct back *b,
                                 const bool pieces)
{
    static const int32_t zeros[VECTOR];
    UNROLL for (uint32_t k = 0; k < POINTS_OF_TILE; k++) {
        const uint32_t p = first + k;
        const struct units units = one ? (struct units){0, in->units}
                                       : units_at(&in->windows, in->units, p);
        const int32_t *const terms = in->terms + term_at(0, p);
        uint32_t unit = units.first;
        ivec s[SUMS];
        begin(s, terms, weights, p == 1 ? raised : zeros, tiles, 1);
        UNROLL for (uint32_t place = 0; place < PLACES; place++) {
            const uint32_t end = units.first + units.count * (place + 1) / PLACES;
            while (unit < end) {
                const int32_t *at = terms + unit_at(unit);
                const uint32_t left = VECTOR - unit % VECTOR;
                const uint32_t count = left < end - unit ? left : end - unit;
                const int32_t *const stop = weights + count * lanes(1, half);
                for (; weights != stop; weights += lanes(1, half)) {
                    add(s, at++, weights, 1, tiles, 1, half);
                }
                unit += count;
            }
            if (pieces) {
                back_piece(b, k * PLACES + place);
            }
        }
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            i_store(to + product_at(0, t, p), s[t]);
        }
    }
    if (pieces) {
        back_next(b);
    }
    return weights;
}

/* All points, and all that is left of `b`: a group has as many tiles at most. */
#define SUMS_FN(name, tiles, half, one) \
    static __attribute__((noinline)) void name(const struct work *w, int32_t *to, \
                                               const int32_t *weights, const int32_t *raised, \
                                               struct back *b) \
    { \
        const struct input in = {w->terms, w->units, w->windows}; \
        const uint32_t end = b->left * POINTS_OF_TILE; \
        uint32_t p = 0; \
        for (; p < end; p += POINTS_OF_TILE) { \
            weights = sum_points(&in, to, weights, raised, p, tiles, half, one, b, true); \
        } \
        for (; p < POINTS; p += POINTS_OF_TILE) { \
            weights = sum_points(&in, to, weights, raised, p, tiles, half, one, b, false); \
        } \
    }
SUMS_FN(sums_6, 6, false, true)
SUMS_FN(sums_8, 8, false, true)
SUMS_FN(sums_12, 12, false, true)
SUMS_FN(sums_8_half, 8, true, true)
SUMS_FN(sums_12_half, 12, true, true)
SUMS_FN(sums_windows_6, 6, false, false)
SUMS_FN(sums_windows_12, 12, false, false)
SUMS_FN(sums_windows_12_half, 12, true, false)

/* The products of vector o of output channels. */
static void products(const struct work *w, uint32_t o, int32_t *to, struct back *b)
{
    const struct srpi_conv_shape *shape = &w->layer->shape;
    const bool half = half_empty(shape) && o + 1 == vectors(shape->out_channels);
    const int32_t *weights = (const int32_t *)w->layer->weights + o * VECTOR * w->channel_units;
    int32_t raised[VECTOR];
    /* What is added to the product at (1, 1) comes out as 1/36 of it in all 16 pixels. */
    i_store(raised, i_mul(i_load((const int32_t *)w->layer->bias + o * VECTOR), i_all(36)));
    if (window_count(shape) != 1) {
        if (half) {
            sums_windows_12_half(w, to, weights, raised, b);
        } else {
            (w->group.tiles > 6 ? sums_windows_12 : sums_windows_6)(w, to, weights, raised, b);
        }
    } else if (w->group.tiles > 8) {
        (half ? sums_12_half : sums_12)(w, to, weights, raised, b);
    } else if (half || w->group.tiles > 6) {
        (half ? sums_8_half : sums_8)(w, to, weights, raised, b);
    } else {
        sums_6(w, to, weights, raised, b);
    }
}

static void run_groups(struct work *w, uint32_t all)
{
    struct back back; /* not cleared: that takes long */
    uint32_t vector = 0;
    back.left = 0;
    for (uint32_t first = 0; first < all; first += w->group.tiles) {
        group_next(&w->group, w->bands, &w->sizes, first, all - first);
        forward(w);
        /* The last vector of channels may reach into the next pixels: the others follow. */
        for (uint32_t o = vectors(w->layer->shape.out_channels); o-- > 0;) {
            int32_t *to = w->products + product_at(vector++ % KEPT, 0, 0);
            products(w, o, to, &back);
            back_begin(&back, w, to, o * VECTOR);
        }
    }
    back_rest(&back);
}
