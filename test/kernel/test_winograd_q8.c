/* SPDX-License-Identifier: BSD-2-Clause */
/* The int8 Winograd kernels of every instruction set that this machine has against the plain C of
 * row_reference.h, bit for bit, between pages that nobody may touch. `suits` has a test of its own
 * and is not asked in the others: the kernels are right for all shapes, also for slow ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernel/noise.h"
#include "kernel/rows.h"
#include "kernels/winograd_row.h"

#define LIMIT (1 << 25) /* of sums: exact below */
#define LARGEST 127     /* weight of 8 bits */
#define MOST_WEIGHT 668 /* 49 times this fits 16 bits, as any weights up to it do at the points */
#define FILL 0xa5       /* what rows to be written hold before */

/* One instruction set. */
struct set {
    const struct srpi_winograd_kernels *kernels;
    uint32_t code; /* bytes of a code */
};

#define MOST_KERNELS 2u /* for int8, of an instruction set */

/* The int8 kernels of an instruction set, from number 0 on, or NULL. */
static const struct srpi_winograd_kernels *kernels_of(enum srpi_isa isa, unsigned number)
{
    for (const struct srpi_winograd_kernels *const *k = srpi_winograd_all(isa); *k != NULL; k++) {
        if ((*k)->in == SRPI_Q8 && number-- == 0) {
            return *k;
        }
    }
    return NULL;
}

/* The next kernels, from number *at of all on, that this machine can run; false: no more. */
static bool next_set(struct set *set, unsigned *at)
{
    while (*at < SRPI_ISA_COUNT * MOST_KERNELS) {
        const enum srpi_isa this = (enum srpi_isa)(*at / MOST_KERNELS);
        const struct srpi_kernels *rows = srpi_kernels_of(this);
        set->kernels = kernels_of(this, (*at)++ % MOST_KERNELS);
        if (rows != NULL && set->kernels != NULL) {
            assert_int_not_equal(rows->storage, SRPI_Q8_S8);
            set->code = srpi_element_size(rows, SRPI_Q8);
            return true;
        }
    }
    return false;
}

static void garbage(void *to, size_t bytes, uint32_t *seed)
{
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)to)[i] = (uint8_t)noise(seed);
    }
}

/* ---- layers and pictures --------------------------------------------------------------------- */

/* Taps down and across: every number of windows of either side, and sides that differ. */
static const uint32_t taps_of[][2] = {{3, 3}, {5, 5}, {3, 5}, {7, 3}, {5, 7}, {7, 7}, {9, 9}};
#define TAPS_COUNT (sizeof(taps_of) / sizeof(taps_of[0]))

struct layer {
    struct srpi_conv_layer conv;
    int16_t *weights; /* [out][in][taps down][taps across] */
    int32_t *bias;
    float *multiplier, *shift, *slope;
    struct zone vectors[4];       /* of those four */
    bool out_fine, residual_fine; /* with fractions */
};

static void *vector_create(struct zone *zone, uint32_t count)
{
    *zone = zone_create((count + 63) / 64 * 64 * sizeof(float), true);
    return zone->data;
}

/* Weights and bias by chance, multiplier 1, no other step. */
static struct layer layer_create(const uint32_t taps[2], uint32_t in, uint32_t out,
                                 enum srpi_dtype to, uint32_t *seed)
{
    const size_t count = (size_t)out * in * taps[0] * taps[1];
    struct layer l = {.conv.shape = {.kernel_height = taps[0], .kernel_width = taps[1],
                                     .in_channels = in, .out_channels = out, .in = SRPI_Q8,
                                     .out = to}};
    l.weights = malloc(count * sizeof(l.weights[0]));
    assert_non_null(l.weights);
    garbage(l.weights, count * sizeof(l.weights[0]), seed);
    /* Sums stay below the limit, however many taps there are, and weights at the points, too. */
    const int fitting = LIMIT / 2 / 255 / (int)(taps[0] * taps[1] * in);
    const int largest = noise(seed) % 2 == 0 ? LARGEST : MOST_WEIGHT;
    const int most = fitting < largest ? fitting : largest;
    for (size_t i = 0; i < count; i++) {
        l.weights[i] = (int16_t)(l.weights[i] % (most + 1));
    }
    l.bias = vector_create(&l.vectors[0], out);
    l.multiplier = vector_create(&l.vectors[1], out);
    l.shift = vector_create(&l.vectors[2], out);
    l.slope = vector_create(&l.vectors[3], out);
    for (uint32_t o = 0; o < out; o++) {
        l.bias[o] = (int32_t)(noise(seed) % 200001) - 100000;
        l.multiplier[o] = 1.0f;
        l.shift[o] = 0.0f;
        l.slope[o] = 2.5f * noise_f(seed);
    }
    l.conv.bias = l.bias;
    l.conv.multiplier = l.multiplier;
    l.conv.shift = to == SRPI_F32 ? l.shift : NULL;
    return l;
}

/* Each step or not, by chance, such that most codes are not saturated. */
static void layer_steps(struct layer *l, uint32_t *seed)
{
    const struct srpi_conv_shape *s = &l->conv.shape;
    const bool narrow = s->out == SRPI_Q8;
    l->out_fine = narrow && noise(seed) % 2 != 0;
    const float unit = l->out_fine ? 256.0f : 1.0f; /* a code */
    for (uint32_t o = 0; o < s->out_channels; o++) {
        l->multiplier[o] = unit * (0.2f + fabsf(noise_f(seed))) * 200.0f /
                           (8192.0f * sqrtf((float)(s->kernel_height * s->kernel_width *
                                                    s->in_channels)));
        l->shift[o] = 10.0f * noise_f(seed);
    }
    l->conv.slope = noise(seed) % 2 != 0 ? l->slope : NULL;
    l->conv.offset = unit * (128.0f + 40.0f * noise_f(seed));
    l->conv.has_residual = noise(seed) % 4 != 0;
    l->conv.residual = narrow && noise(seed) % 3 != 0 ? SRPI_Q8 : SRPI_F32;
    l->residual_fine = l->conv.residual == SRPI_Q8 && noise(seed) % 2 != 0;
    l->conv.residual_multiplier =
        (l->conv.residual == SRPI_F32 ? 40.0f : l->residual_fine ? 0x1p-8f : 1.0f) *
        0.7f * unit * noise_f(seed);
    l->conv.clamp = noise(seed) % 2 != 0;
    l->conv.low = narrow ? unit * (40.0f + 30.0f * noise_f(seed)) : -20.0f;
    l->conv.high = narrow ? unit * (200.0f + 30.0f * noise_f(seed)) : 30.0f;
}

static void layer_destroy(struct layer *l)
{
    free(l->weights);
    for (unsigned i = 0; i < 4; i++) {
        zone_destroy(&l->vectors[i]);
    }
}

/* What goes in, and what the reference makes of it: codes in bytes, whatever the instruction set.
 * Fractions lie `values` behind their codes. */
struct picture {
    uint32_t pixels;
    unsigned rows;       /* of the input */
    size_t taps, values; /* of an input row, of an output row */
    uint8_t *in[SRPI_WINOGRAD_INPUTS];
    uint8_t *residual[4], *expected[4]; /* codes or floats */
};

static uint8_t *bytes_create(size_t bytes)
{
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    return data;
}

static struct picture picture_create(const struct layer *l, uint32_t pixels, uint32_t *seed)
{
    const struct srpi_conv_shape *s = &l->conv.shape;
    struct picture p = {.pixels = pixels,
                        .rows = s->kernel_height + 3,
                        .taps = (size_t)(pixels + s->kernel_width - 1) * s->in_channels,
                        .values = (size_t)pixels * s->out_channels};
    for (unsigned r = 0; r < p.rows; r++) {
        p.in[r] = bytes_create(p.taps);
        garbage(p.in[r], p.taps, seed);
    }
    for (unsigned r = 0; r < 4; r++) {
        p.expected[r] = bytes_create(4 * p.values);
        p.residual[r] = bytes_create(4 * p.values);
        if (l->conv.residual == SRPI_Q8) {
            garbage(p.residual[r], 2 * p.values, seed);
        } else {
            noise_fill((float *)(void *)p.residual[r], p.values, seed);
        }
    }
    return p;
}

static void picture_expect(struct picture *p, const struct layer *l)
{
    for (unsigned r = 0; r < 4; r++) {
        const void *taps[SRPI_WINOGRAD_TAPS];
        for (unsigned i = 0; i < l->conv.shape.kernel_height; i++) {
            taps[i] = p->in[r + i];
        }
        const struct srpi_conv_row row = {
            .rows = taps,
            .out = p->expected[r],
            .residual = p->residual[r],
            .out_fraction = l->out_fine ? p->values : 0,
            .residual_fraction = l->residual_fine ? p->values : 0,
            .pixels = p->pixels,
        };
        srpi_row_reference(&l->conv, &row, SRPI_Q8_U8, l->weights);
    }
}

static void picture_destroy(struct picture *p)
{
    for (unsigned r = 0; r < p->rows; r++) {
        free(p->in[r]);
    }
    for (unsigned r = 0; r < 4; r++) {
        free(p->residual[r]);
        free(p->expected[r]);
    }
}

/* ---- one call -------------------------------------------------------------------------------- */

/* All zones end with what may be touched at most. */
struct call {
    struct zone packed, in[SRPI_WINOGRAD_INPUTS], out[4], residual[4], scratch;
    struct srpi_winograd_rows rows;
};

/* `size`: bytes of a value there; in bytes codes lie in `from`, floats as they are. */
static void put(uint8_t *to, const uint8_t *from, size_t count, uint32_t size)
{
    if (size != 2) {
        memcpy(to, from, count * size);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const uint16_t code = from[i];
        memcpy(to + 2 * i, &code, sizeof(code));
    }
}

/* Only bit r of `wanted` gives output row r. */
static void call_create(struct call *c, const struct set *set, const struct layer *l,
                        const struct picture *p, uint32_t pixels, unsigned wanted, uint32_t *seed)
{
    const struct srpi_conv_shape *s = &l->conv.shape;
    const size_t group = (pixels + 3) / 4 * 4, values = group * s->out_channels;
    const uint32_t out_size = s->out == SRPI_F32 ? 4 : set->code;
    const uint32_t other_size = l->conv.residual == SRPI_F32 ? 4 : set->code;
    const size_t out_bytes = values * out_size + SRPI_ROW_SLACK;
    const size_t other_bytes = values * other_size + SRPI_ROW_SLACK;
    *c = (struct call){.rows.pixels = pixels};
    /* A second canary lies between the codes and their fractions. */
    c->rows.out_fraction = l->out_fine ? out_bytes + CANARY : 0;
    c->rows.residual_fraction = l->residual_fine ? other_bytes : 0;
    for (unsigned r = 0; r < p->rows; r++) {
        const size_t more = s->kernel_width - 1;
        const size_t bytes = (group + more) * s->in_channels * set->code + SRPI_ROW_SLACK;
        c->in[r] = zone_create(bytes, true);
        garbage(c->in[r].data, bytes, seed);
        put(c->in[r].data, p->in[r], (pixels + more) * s->in_channels, set->code);
        c->rows.rows[r] = c->in[r].data;
    }
    for (unsigned r = 0; r < 4; r++) {
        if (!(wanted >> r & 1)) {
            continue;
        }
        const size_t bytes = CANARY + c->rows.out_fraction + out_bytes;
        c->out[r] = zone_create(bytes, true);
        memset(c->out[r].data, FILL, bytes);
        c->rows.out[r] = c->out[r].data + CANARY;
        if (l->conv.has_residual) {
            const size_t count = (size_t)pixels * s->out_channels;
            c->residual[r] = zone_create(c->rows.residual_fraction + other_bytes, true);
            uint8_t *to = c->residual[r].data;
            garbage(to, c->rows.residual_fraction + other_bytes, seed);
            put(to, p->residual[r], count, other_size);
            if (l->residual_fine) {
                put(to + other_bytes, p->residual[r] + p->values, count, other_size);
            }
            c->rows.residual[r] = to;
        }
    }
    const size_t scratch = set->kernels->scratch_size(s), packed = set->kernels->packed_size(s);
    assert_int_equal(scratch % 64, 0); /* else the ends would not be aligned */
    assert_int_equal(packed % 64, 0);
    c->scratch = zone_create(scratch, true);
    garbage(c->scratch.data, scratch, seed);
    c->rows.scratch = c->scratch.data;
    c->packed = zone_create(packed, true);
    garbage(c->packed.data, packed, seed);
    set->kernels->pack(s, l->weights, c->packed.data);
}

static void call_destroy(struct call *c)
{
    struct zone *const zones[] = {&c->packed, &c->scratch, c->in, c->out, c->residual};
    static const unsigned counts[] = {1, 1, SRPI_WINOGRAD_INPUTS, 4, 4};
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned z = 0; z < counts[i]; z++) {
            if (zones[i][z].map != NULL) {
                zone_destroy(&zones[i][z]);
            }
        }
    }
}

static bool untouched(const uint8_t *canary)
{
    bool all = true;
    for (unsigned i = 0; i < CANARY; i++) {
        all = all && canary[i] == FILL;
    }
    return all;
}

/* The first of `count` values that is not the expected one. */
static size_t differs(const uint8_t *got, const uint8_t *expected, size_t count, uint32_t size)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t wide = 0;
        memcpy(&wide, got + i * size, size == 2 ? 2 : 1);
        if (size == 4 ? memcmp(got + 4 * i, expected + 4 * i, 4) != 0 : wide != expected[i]) {
            return i;
        }
    }
    return count;
}

static void compare_row(const struct call *c, const struct set *set, const struct layer *l,
                        const struct picture *p, unsigned r)
{
    const struct srpi_conv_shape *s = &l->conv.shape;
    const uint32_t size = s->out == SRPI_F32 ? 4 : set->code;
    const size_t count = (size_t)c->rows.pixels * s->out_channels;
    const uint8_t *got = c->rows.out[r];
    assert_true(untouched(got - CANARY));
    size_t at = differs(got, p->expected[r], count, size);
    if (at == count && l->out_fine) {
        got += c->rows.out_fraction;
        assert_true(untouched(got - CANARY));
        at = differs(got, p->expected[r] + p->values, count, size);
    }
    if (at != count) {
        fail_msg("%s: %ux%u, %u -> %u%s, %u pixels, row %u, pixel %zu, channel %zu%s%s%s%s",
                 set->kernels->name, s->kernel_height, s->kernel_width, s->in_channels, s->out_channels,
                 s->out == SRPI_F32 ? " f32" : l->out_fine ? " fine" : "", c->rows.pixels, r,
                 at / s->out_channels, at % s->out_channels, l->conv.slope ? ", slope" : "",
                 l->conv.has_residual ? ", residual" : "",
                 !l->conv.has_residual ? "" : l->residual_fine ? " fine" :
                 l->conv.residual == SRPI_F32 ? " f32" : "",
                 l->conv.clamp ? ", clamp" : "");
    }
}

/* The first `pixels` of a picture. */
static void check(const struct set *set, const struct layer *l, const struct picture *p,
                  uint32_t pixels, unsigned wanted, uint32_t *seed)
{
    struct call c;
    call_create(&c, set, l, p, pixels, wanted, seed);
    struct srpi_conv_layer conv = l->conv;
    conv.weights = c.packed.data;
    set->kernels->fn(&conv, &c.rows, 1);
    for (unsigned r = 0; r < 4; r++) {
        if (wanted >> r & 1) {
            compare_row(&c, set, l, p, r);
        }
    }
    call_destroy(&c);
}

static void check_sets(const struct layer *l, const struct picture *p, unsigned wanted,
                       uint32_t *seed)
{
    struct set set;
    for (unsigned at = 0; next_set(&set, &at);) {
        check(&set, l, p, p->pixels, wanted, seed);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_random(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (unsigned i = 0; i < 400; i++) {
        const uint32_t in = 1 + noise(&seed) % 70, out = 1 + noise(&seed) % 70;
        struct layer l = layer_create(taps_of[i % 2 ? noise(&seed) % TAPS_COUNT : 0], in, out,
                                      i % 3 ? SRPI_Q8 : SRPI_F32, &seed);
        layer_steps(&l, &seed);
        assert_true(srpi_winograd_exact(&l.conv, l.weights));
        struct picture p = picture_create(&l, 1 + noise(&seed) % (i % 4 ? 40 : 150), &seed);
        picture_expect(&p, &l);
        check_sets(&l, &p, i % 2 ? 15 : noise(&seed) % 16, &seed);
        picture_destroy(&p);
        layer_destroy(&l);
    }
}

/* Every number of tiles of a group and around groups, with whole and broken vectors. */
static void test_tiles(void **state)
{
    (void)state;
    static const uint32_t channels[][2] = {{32, 64}, {24, 33}, {17, 16}, {33, 9}, {64, 32},
                                           {16, 24}, {48, 9}, {10, 17}};
    static const unsigned taps[] = {0, 0, 0, 0, 0, 1, 2, 5};
    uint32_t seed = 2;
    for (unsigned i = 0; i < 8; i++) {
        struct layer l = layer_create(taps_of[taps[i]], channels[i][0], channels[i][1],
                                      i == 2 ? SRPI_F32 : SRPI_Q8, &seed);
        layer_steps(&l, &seed);
        struct picture p = picture_create(&l, 130, &seed);
        picture_expect(&p, &l);
        struct set set;
        for (unsigned at = 0; next_set(&set, &at);) {
            for (uint32_t pixels = 1; pixels <= p.pixels; pixels++) {
                check(&set, &l, &p, pixels, 15, &seed);
            }
        }
        picture_destroy(&p);
        layer_destroy(&l);
    }
}

/* Narrow bands in one call: their tiles go together, and groups end anywhere in a band. */
static void test_bands(void **state)
{
    (void)state;
    enum { BANDS = SRPI_WINOGRAD_BANDS };
    uint32_t seed = 3;
    for (uint32_t pixels = 1; pixels <= 64; pixels += pixels % 8 == 5 ? 4 : 1) {
        const uint32_t count = 2 + pixels % (BANDS - 1);
        struct layer l = layer_create(taps_of[pixels % 4 ? 0 : noise(&seed) % TAPS_COUNT],
                                      1 + noise(&seed) % 40, 1 + noise(&seed) % 40,
                                      pixels % 3 ? SRPI_Q8 : SRPI_F32, &seed);
        layer_steps(&l, &seed);
        struct picture p[BANDS];
        for (uint32_t b = 0; b < count; b++) {
            p[b] = picture_create(&l, pixels, &seed);
            picture_expect(&p[b], &l);
        }
        struct set set;
        for (unsigned at = 0; next_set(&set, &at);) {
            struct call calls[BANDS];
            struct srpi_winograd_rows bands[BANDS];
            for (uint32_t b = 0; b < count; b++) {
                call_create(&calls[b], &set, &l, &p[b], pixels, b == 1 ? noise(&seed) % 16 : 15,
                            &seed);
                bands[b] = calls[b].rows;
            }
            struct srpi_conv_layer conv = l.conv;
            conv.weights = calls[0].packed.data;
            set.kernels->fn(&conv, bands, count);
            for (uint32_t b = 0; b < count; b++) {
                for (unsigned r = 0; r < 4; r++) {
                    if (calls[b].rows.out[r] != NULL) {
                        compare_row(&calls[b], &set, &l, &p[b], r);
                    }
                }
                call_destroy(&calls[b]);
            }
        }
        for (uint32_t b = 0; b < count; b++) {
            picture_destroy(&p[b]);
        }
        layer_destroy(&l);
    }
}

/* What the points 0, 1, -1, 2, -2 and infinity take of six neighbours and of three taps. */
static const int taken[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                                {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
static const int taps[6][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1},
                               {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};

enum { TERMS = 36, BLOCK = 8, BLOCKS = 2 * TERMS + 5 };

/* Codes of blocks of BLOCK pixels, which begin with a tile. For each of its 36 terms two blocks
 * make it as small and as large as can be; the others are plain patterns. */
static uint8_t extreme_code(uint32_t block, uint32_t y, uint32_t x, uint32_t *seed)
{
    bool on = noise(seed) % 2 != 0;
    switch (block) {
    case 2 * TERMS:
        on = true;
        break;
    case 2 * TERMS + 1:
        on = false;
        break;
    case 2 * TERMS + 2:
        on = (x + y) % 2 != 0;
        break;
    case 2 * TERMS + 3:
        on = x % 2 != 0;
        break;
    case 2 * TERMS + 4:
        on = y % 2 != 0;
        break;
    default:
        if (x < 6) {
            const int sign = taken[block / 2 / 6][y] * taken[block / 2 % 6][x];
            on = block % 2 ? sign > 0 : sign < 0;
        }
    }
    return on ? 255 : 0;
}

/* Weights of output channels: 36 that make one point as large as can be, and plain ones. */
static int extreme_weight(int largest, uint32_t o, uint32_t y, uint32_t x)
{
    if (o < TERMS) {
        return taps[o / 6][y] * taps[o % 6][x] < 0 ? -largest : largest;
    }
    return o == TERMS || (o == TERMS + 2 && (x + y) % 2) ? largest : -largest;
}

/* The bias that brings the layer as near to the limit as can be. */
static int32_t most_bias(const struct layer *l, uint32_t o)
{
    const size_t count = (size_t)l->conv.shape.in_channels * l->conv.shape.kernel_height *
                         l->conv.shape.kernel_width;
    int32_t most = LIMIT - 1;
    for (size_t i = 0; i < count; i++) {
        most -= 255 * abs(l->weights[o * count + i]);
    }
    assert_true(most >= 0);
    return most;
}

/* The largest terms, weights at the points and sums that there can be, of both signs; sums become
 * floats. `turn`: what odd input channels hold is turned around. */
static void check_worst(int largest, bool turn, bool negative, uint32_t *seed)
{
    enum { OUT = TERMS + 3 };
    const uint32_t in = (uint32_t)((LIMIT - 1) / (255 * largest * 9));
    struct layer l = layer_create(taps_of[0], in, OUT, SRPI_F32, seed);
    for (uint32_t o = 0; o < OUT; o++) {
        for (uint32_t i = 0; i < in * 9; i++) {
            const int w = extreme_weight(largest, o, i % 9 / 3, i % 3);
            l.weights[o * in * 9 + i] = (int16_t)(turn && i / 9 % 2 ? -w : w);
        }
        l.bias[o] = most_bias(&l, o) * ((o % 2 != 0) == negative ? 1 : -1);
    }
    assert_true(srpi_winograd_exact(&l.conv, l.weights));
    struct picture p = picture_create(&l, BLOCKS * BLOCK, seed);
    for (uint32_t y = 0; y < p.rows; y++) {
        for (uint32_t x = 0; x < p.pixels; x++) {
            const uint8_t code = extreme_code(x / BLOCK, y, x % BLOCK, seed);
            for (uint32_t i = 0; i < in; i++) {
                p.in[y][x * in + i] = turn && i % 2 ? 255 - code : code;
            }
        }
    }
    picture_expect(&p, &l);
    if (!turn && !negative) { /* it was worth the trouble */
        const float *sums = (const float *)(void *)p.expected[0];
        const size_t white = 2 * TERMS * BLOCK * OUT;
        assert_true(sums[white + TERMS] == (float)(LIMIT - 1));
        assert_true(sums[white + TERMS + 1] == -(float)(LIMIT - 1));
    }
    check_sets(&l, &p, 15, seed);
    picture_destroy(&p);
    layer_destroy(&l);
}

static void test_worst(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (unsigned i = 0; i < 4; i++) {
        check_worst(LARGEST, i % 2, i / 2, &seed);
        check_worst(MOST_WEIGHT, i % 2, i / 2, &seed);
    }
}

/* Sums that are almost all bias. */
static void test_large_bias(void **state)
{
    (void)state;
    uint32_t seed = 4;
    for (uint32_t in = 1; in <= 4; in++) {
        struct layer l = layer_create(taps_of[0], in, 17, SRPI_F32, &seed);
        for (uint32_t o = 0; o < 17; o++) {
            l.bias[o] = most_bias(&l, o) * (o % 2 ? 1 : -1);
        }
        struct picture p = picture_create(&l, 57, &seed);
        for (unsigned r = 0; r < p.rows; r++) {
            for (size_t i = 0; i < p.taps; i++) {
                p.in[r][i] = p.in[r][i] & 1 ? 255 : 0;
            }
        }
        picture_expect(&p, &l);
        check_sets(&l, &p, 15, &seed);
        picture_destroy(&p);
        layer_destroy(&l);
    }
}

/* As many channels as there can be, with weights that keep the sums small. */
static void test_most_channels(void **state)
{
    (void)state;
    static const uint32_t channels[][2] = {{SRP_MAX_CHANNELS, 9}, {3, SRP_MAX_CHANNELS}};
    uint32_t seed = 6;
    for (unsigned i = 0; i < 2; i++) {
        struct layer l = layer_create(taps_of[0], channels[i][0], channels[i][1], SRPI_Q8, &seed);
        layer_steps(&l, &seed);
        for (size_t w = 0; w < (size_t)channels[i][0] * channels[i][1] * 9; w++) {
            l.weights[w] = (int16_t)(l.weights[w] % 8);
        }
        struct picture p = picture_create(&l, 21, &seed);
        picture_expect(&p, &l);
        assert_true(srpi_winograd_exact(&l.conv, l.weights));
        check_sets(&l, &p, 15, &seed);
        picture_destroy(&p);
        layer_destroy(&l);
    }
}

static void check_exact(const uint32_t sides[2])
{
    enum { IN = 5, OUT = 7 };
    const uint32_t count = IN * sides[0] * sides[1];
    uint32_t seed = 5;
    struct layer l = layer_create(sides, IN, OUT, SRPI_Q8, &seed);
    for (uint32_t o = 0; o < OUT; o++) {
        const int32_t bias = l.bias[o];
        for (int sign = -1; sign <= 1; sign += 2) {
            const int32_t most = most_bias(&l, o);
            l.bias[o] = sign * most;
            assert_true(srpi_winograd_exact(&l.conv, l.weights));
            l.bias[o] = sign * (most + 1);
            assert_false(srpi_winograd_exact(&l.conv, l.weights));
            l.bias[o] = sign < 0 ? INT32_MIN : INT32_MAX;
            assert_false(srpi_winograd_exact(&l.conv, l.weights));
        }
        /* each weight alone counts, of either sign */
        int16_t *weights = l.weights + o * count;
        for (uint32_t i = 0; i < count; i++) {
            const int16_t weight = weights[i];
            weights[i] = 0;
            l.bias[o] = most_bias(&l, o);
            assert_true(srpi_winograd_exact(&l.conv, l.weights));
            weights[i] = i % 2 ? 1 : -1;
            assert_false(srpi_winograd_exact(&l.conv, l.weights));
            l.bias[o] -= 255;
            assert_true(srpi_winograd_exact(&l.conv, l.weights));
            weights[i] = weight;
        }
        l.bias[o] = bias;
    }
    layer_destroy(&l);
}

static void test_exact(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TAPS_COUNT; i++) {
        check_exact(taps_of[i]);
    }
}

/* The greatest weights that fit 16 bits at all points, in one corner and everywhere. */
static void test_points(void **state)
{
    (void)state;
    uint32_t seed = 7;
    struct layer l = layer_create(taps_of[0], 1, 1, SRPI_F32, &seed);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int more = 0; more <= 1; more++) {
            for (unsigned tap = 0; tap < 9; tap++) {
                l.weights[tap] = (int16_t)(sign * (MOST_WEIGHT + more));
            }
            l.bias[0] = 0;
            assert_true(srpi_winograd_exact(&l.conv, l.weights) == (more == 0));
            memset(l.weights, 0, 9 * sizeof(l.weights[0]));
            l.weights[6] = (int16_t)(sign * (INT16_MAX / 36 + more));
            assert_true(srpi_winograd_exact(&l.conv, l.weights) == (more == 0));
        }
    }
    layer_destroy(&l);
}

static void test_suits(void **state)
{
    (void)state;
    assert_null(kernels_of(SRPI_ISA_SCALAR, 0));
    for (unsigned at = 0; at < SRPI_ISA_COUNT * MOST_KERNELS; at++) {
        const enum srpi_isa isa = (enum srpi_isa)(at / MOST_KERNELS);
        const struct srpi_winograd_kernels *k = kernels_of(isa, at % MOST_KERNELS);
        assert_null(kernels_of(isa, MOST_KERNELS));
        if (k == NULL) {
            continue;
        }
        const struct srpi_conv_shape good = {.kernel_height = 3, .kernel_width = 3,
            .in_channels = 64, .out_channels = 64, .in = SRPI_Q8, .out = SRPI_Q8};
        struct srpi_conv_shape s = good;
        assert_true(k->suits(&s));
        s.out = SRPI_F32;
        assert_true(k->suits(&s));
        s.in = SRPI_F32;
        assert_false(k->suits(&s));
        s.in = s.out = SRPI_BF16;
        assert_false(k->suits(&s));
        assert_null(srpi_winograd_for(isa, &s, true));
        for (uint32_t side = 1; side <= 11; side += 2) {
            s = good, s.kernel_height = side;
            assert_int_equal(k->suits(&s), side >= 3 && side <= SRPI_WINOGRAD_TAPS);
            s = good, s.kernel_width = side;
            assert_int_equal(k->suits(&s), side >= 3 && side <= SRPI_WINOGRAD_TAPS);
        }
        s = good, s.in_channels = 0;
        assert_false(k->suits(&s));
        /* Weights that no cache holds. */
        s = good, s.in_channels = s.out_channels = SRP_MAX_CHANNELS;
        assert_true(k->suits(&s));
        s.kernel_height = s.kernel_width = SRPI_WINOGRAD_TAPS;
        assert_false(k->suits(&s));
        s = good, s.out_channels = 0;
        assert_false(k->suits(&s));
        s = good, s.in_channels = SRP_MAX_CHANNELS + 1;
        assert_false(k->suits(&s));
        s = good, s.out_channels = SRP_MAX_CHANNELS + 1;
        assert_false(k->suits(&s));
        /* Few outputs, also of larger kernels: where two tiles share a vector. */
        for (s = good, s.out_channels = 1; s.out_channels <= 4; s.out_channels++) {
            s.kernel_height = s.kernel_width = 3;
            assert_int_equal(k->suits(&s), isa == SRPI_ISA_AVX2);
            s.kernel_height = s.kernel_width = 5;
            assert_int_equal(k->suits(&s), isa == SRPI_ISA_AVX2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),     cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_worst),      cmocka_unit_test(test_large_bias),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_points),      cmocka_unit_test(test_most_channels),
        cmocka_unit_test(test_suits),      cmocka_unit_test(test_bands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
