/* SPDX-License-Identifier: BSD-2-Clause */
/* rows.h - checks of a set of row kernels against the reference, for a cmocka program and for one
 * without cmocka (another processor, measuring). Each check returns NULL, or what is wrong. */
#ifndef TEST_ROWS_H
#define TEST_ROWS_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/noise.h"
#include "kernels/row_depthwise.h"
#include "kernels/row_reference.h"
#include "kernels/row_sets.h"

/* Bytes between two pages that nobody may touch; they end (or begin) where such a page does. */
struct zone {
    uint8_t *map;
    size_t map_size;
    uint8_t *data;
};

static inline struct zone zone_create(size_t size, bool at_end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    struct zone z = {.map_size = room + 2 * page};
    z.map = mmap(NULL, z.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (z.map == MAP_FAILED || mprotect(z.map, page, PROT_NONE) != 0 ||
        mprotect(z.map + page + room, page, PROT_NONE) != 0) {
        perror("zone_create");
        exit(1);
    }
    z.data = z.map + page + (at_end ? room - size : 0);
    return z;
}

static inline void zone_destroy(struct zone *z)
{
    munmap(z->map, z->map_size);
    *z = (struct zone){0};
}

enum { CANARY = 64, MOST_TAP_ROWS = 16 };

/* A layer and one row of it, everything in zones. */
struct trial {
    const struct srpi_kernels *kernels;
    struct srpi_conv_layer layer;
    struct srpi_conv_row row;
    uint32_t group_pixels; /* row.pixels rounded up to whole groups */
    float *real_weights;   /* one of the two, by dtype */
    int16_t *weights;
    const void *taps[MOST_TAP_ROWS]; /* row.rows */
    struct zone rows[MOST_TAP_ROWS], packed, bias, multiplier, shift, slope, out, residual;
    uint8_t *expected;
};

/* What a trial is to have; the rest is by chance. */
struct wish {
    struct srpi_conv_shape shape;
    uint32_t pixels;
    bool worst; /* greatest values and least weights */
    bool slope, has_residual, clamp;
    bool f32_residual; /* else the layer's out dtype */
    bool fractions;    /* of what is Q8: the output, the residual */
    bool depthwise;    /* weights of 0 but from each channel to itself */
};

static inline void put_value(uint8_t *to, size_t index, enum srpi_dtype dtype,
                             enum srpi_q8_storage storage, bool worst, uint32_t *seed)
{
    const uint32_t random = noise(seed);
    if (dtype == SRPI_F32) {
        const float value = noise_f(seed);
        memcpy(to + 4 * index, &value, 4);
    } else if (dtype == SRPI_BF16) {
        const uint16_t half = srpi_to_bf16(noise_f(seed));
        memcpy(to + 2 * index, &half, 2);
    } else {
        const uint8_t q = worst ? 255 : (uint8_t)random;
        if (storage == SRPI_Q8_U16) {
            const uint16_t wide = q;
            memcpy(to + 2 * index, &wide, 2);
        } else {
            to[index] = storage == SRPI_Q8_S8 ? (uint8_t)(q ^ 0x80u) : q;
        }
    }
}

/* Of a Q8 tensor with fractions: values from a code to its fraction; 0: none. */
static inline size_t fraction_of(const struct trial *t, enum srpi_dtype dtype, bool fractions)
{
    const size_t values = (size_t)t->group_pixels * t->layer.shape.out_channels;
    return fractions && dtype == SRPI_Q8 ? values + SRPI_ROW_SLACK : 0;
}

static inline struct zone values_create(size_t bytes, enum srpi_dtype dtype, uint32_t size,
                                        const struct srpi_kernels *k, bool worst, uint32_t *seed)
{
    struct zone z = zone_create(bytes, noise(seed) % 4 != 0);
    for (size_t i = 0; i < bytes / size; i++) {
        put_value(z.data, i, dtype, k->storage, worst, seed);
    }
    return z;
}

static inline void make_parameters(struct trial *t, const struct wish *wish, uint32_t *seed)
{
    const struct srpi_conv_shape *s = &wish->shape;
    const size_t products = (size_t)s->kernel_height * s->kernel_width * s->in_channels;
    const size_t count = products * s->out_channels;
    const size_t padded =
        (s->out_channels + SRPI_ROW_PADDED - 1) / SRPI_ROW_PADDED * SRPI_ROW_PADDED;
    const size_t vectors = s->split ? s->kernel_height + 1 : 1;
    const float typical = 128.0f * 64.0f * sqrtf((float)products);
    const float unit = wish->fractions && s->out == SRPI_Q8 ? 256.0f : 1.0f; /* a code */
    /* Where codes have 16 bits in memory, weights may have too, as long as sums fit 32. */
    const bool wide = s->in == SRPI_Q8 && t->kernels->storage == SRPI_Q8_U16 && !wish->worst &&
                      products < 20000 && noise(seed) % 2 == 0;
    const int most = !wide               ? 128
                     : products < 200 ? 127 * 256
                                      : (int)(INT32_MAX / 2 / 256 / products);
    t->real_weights = malloc(count * sizeof(float));
    t->weights = malloc(count * sizeof(t->weights[0]));
    for (size_t i = 0; i < count; i++) {
        t->real_weights[i] = noise_f(seed);
        t->weights[i] = wish->worst ? -128 : (int16_t)((int)(noise(seed) % (2u * (uint32_t)most)) - most);
    }
    for (size_t i = 0; wish->depthwise && i < count; i++) {
        if (i / products != i % products / s->kernel_height / s->kernel_width) {
            t->real_weights[i] = i % 2 == 0 ? 0.0f : -0.0f;
            t->weights[i] = 0;
        }
    }
    t->bias = zone_create(vectors * padded * 4, true);
    t->multiplier = zone_create(vectors * padded * 4, true);
    t->shift = zone_create(vectors * padded * 4, true);
    t->slope = zone_create(padded * 4, true);
    for (size_t c = 0; c < vectors * padded; c++) {
        const float bias = noise_f(seed);
        const int32_t whole = (int32_t)(noise(seed) % 200001) - 100000;
        if (s->in == SRPI_Q8) {
            memcpy(t->bias.data + 4 * c, &whole, 4);
        } else {
            memcpy(t->bias.data + 4 * c, &bias, 4);
        }
        ((float *)(void *)t->multiplier.data)[c] =
            unit * (0.2f + fabsf(noise_f(seed))) * 200.0f / typical;
        ((float *)(void *)t->shift.data)[c] = 10.0f * noise_f(seed);
    }
    for (uint32_t c = 0; c < s->out_channels; c++) {
        ((float *)(void *)t->slope.data)[c] = noise_f(seed);
    }
    t->layer = (struct srpi_conv_layer){
        .shape = *s,
        .bias = t->bias.data,
        .multiplier = s->in == SRPI_Q8 ? (float *)(void *)t->multiplier.data : NULL,
        .shift = s->in == SRPI_Q8 && s->out == SRPI_F32 ? (float *)(void *)t->shift.data : NULL,
        .slope = wish->slope ? (float *)(void *)t->slope.data : NULL,
        .offset = unit * (128.0f + 40.0f * noise_f(seed)),
        .has_residual = wish->has_residual,
        .residual = wish->f32_residual ? SRPI_F32 : s->out,
        .residual_multiplier = unit * 0.7f * noise_f(seed),
        .clamp = wish->clamp,
        .low = s->out == SRPI_Q8 ? unit * (40.0f + 30.0f * noise_f(seed)) : -0.4f,
        .high = s->out == SRPI_Q8 ? unit * (200.0f + 30.0f * noise_f(seed)) : 0.6f,
    };
    const size_t size = t->kernels->packed_size(s);
    t->packed = zone_create(size, true);
    t->kernels->pack(s, s->in == SRPI_Q8 ? (const void *)t->weights : t->real_weights,
                     t->packed.data);
    t->layer.weights = t->packed.data;
}

static inline void trial_create(struct trial *t, const struct srpi_kernels *k,
                                const struct wish *wish, uint32_t *seed)
{
    const struct srpi_conv_shape *s = &wish->shape;
    const uint32_t in_size = srpi_element_size(k, s->in), out_size = srpi_element_size(k, s->out);
    *t = (struct trial){.kernels = k};
    make_parameters(t, wish, seed);
    t->row.pixels = wish->pixels;
    t->group_pixels = (wish->pixels + SRPI_ROW_GROUP - 1) / SRPI_ROW_GROUP * SRPI_ROW_GROUP;
    const size_t need =
        (size_t)(t->group_pixels - 1 + s->kernel_width) * s->in_channels * in_size;
    for (uint32_t ky = 0; ky < s->kernel_height; ky++) {
        t->rows[ky] = values_create(need + SRPI_ROW_SLACK, s->in, in_size, k, wish->worst, seed);
        t->taps[ky] = t->rows[ky].data;
    }
    t->row.rows = t->taps;
    const size_t values = (size_t)t->group_pixels * s->out_channels;
    if (wish->has_residual) {
        const uint32_t size = srpi_element_size(k, t->layer.residual);
        t->row.residual_fraction = fraction_of(t, t->layer.residual, wish->fractions) * size;
        t->residual = values_create(t->row.residual_fraction + values * size + SRPI_ROW_SLACK,
                                    t->layer.residual, size, k, false, seed);
        t->row.residual = t->residual.data;
    }
    t->row.out_fraction = fraction_of(t, s->out, wish->fractions) * out_size;
    const size_t bytes = t->row.out_fraction + values * out_size + SRPI_ROW_SLACK;
    t->out = zone_create(CANARY + bytes, true);
    memset(t->out.data, 0xa5, CANARY + bytes);
    t->row.out = t->out.data + CANARY;
    t->expected = calloc(bytes, 1);
}

static inline void trial_destroy(struct trial *t)
{
    for (uint32_t ky = 0; ky < t->layer.shape.kernel_height; ky++) {
        zone_destroy(&t->rows[ky]);
    }
    if (t->layer.has_residual) {
        zone_destroy(&t->residual);
    }
    zone_destroy(&t->packed), zone_destroy(&t->bias), zone_destroy(&t->multiplier);
    zone_destroy(&t->shift), zone_destroy(&t->slope), zone_destroy(&t->out);
    free(t->real_weights), free(t->weights), free(t->expected);
}

/* Sum of absolute products of one value. */
static inline double magnitude(const struct trial *t, uint32_t pixel, uint32_t c)
{
    const struct srpi_conv_shape *s = &t->layer.shape;
    double sum = fabs((double)((const float *)t->layer.bias)[c]);
    for (uint32_t ky = 0; ky < s->kernel_height; ky++) {
        for (uint32_t kx = 0; kx < s->kernel_width; kx++) {
            for (uint32_t i = 0; i < s->in_channels; i++) {
                const size_t at = ((size_t)pixel + kx) * s->in_channels + i;
                const size_t w = (((size_t)c * s->in_channels + i) * s->kernel_height + ky) *
                                     s->kernel_width + kx;
                const float x = s->in == SRPI_BF16
                                    ? srpi_from_bf16(((const uint16_t *)t->row.rows[ky])[at])
                                    : ((const float *)t->row.rows[ky])[at];
                sum += fabs((double)x * (double)t->real_weights[w]);
            }
        }
    }
    return sum + 1.0; /* the other summand */
}

/* NULL, or the first value that differs. */
static inline const char *compare(const struct trial *t, const char *name)
{
    static char why[300];
    const struct srpi_conv_shape *s = &t->layer.shape;
    const uint32_t products = s->kernel_height * s->kernel_width * s->in_channels;
    const uint32_t size = srpi_element_size(t->kernels, s->out);
    /* Whatever fuses its multiply-adds sums in the reference's order. */
    const bool exact =
        s->in == SRPI_Q8 || (s->in == SRPI_F32 && t->kernels->isa != SRPI_ISA_SCALAR);
    for (int i = 0; i < CANARY; i++) {
        if (t->out.data[i] != 0xa5) {
            snprintf(why, sizeof(why), "%s wrote in front of the row", name);
            return why;
        }
    }
    const size_t values = (size_t)t->row.pixels * s->out_channels;
    for (size_t n = 0; n < (t->row.out_fraction != 0 ? 2 : 1) * values; n++) {
        const size_t i = n % values, from = i * size + (n < values ? 0 : t->row.out_fraction);
        const uint8_t *got = (const uint8_t *)t->row.out + from;
        const uint8_t *want = t->expected + from;
        double a = 0.0, b = 0.0;
        if (s->out == SRPI_F32) {
            float x, y;
            memcpy(&x, got, 4), memcpy(&y, want, 4);
            a = (double)x, b = (double)y;
        } else if (s->out == SRPI_BF16) {
            uint16_t x, y;
            memcpy(&x, got, 2), memcpy(&y, want, 2);
            a = (double)srpi_from_bf16(x), b = (double)srpi_from_bf16(y);
        } else {
            a = got[0], b = want[0];
            a += size == 2 ? 256.0 * got[1] : 0.0;
        }
        double bound = 0.0;
        if (!exact && a != b) {
            bound = (products + 4) * 0x1p-23 *
                    magnitude(t, (uint32_t)(i / s->out_channels), (uint32_t)(i % s->out_channels));
            bound += s->out == SRPI_BF16 ? 0x1p-7 * fabs(b) : 0.0;
        }
        if (!(fabs(a - b) <= bound)) {
            snprintf(why, sizeof(why),
                     "%s, %ux%u %u->%u%s, %u pixels%s%s%s%s: pixel %zu channel %zu%s is %g, not %g",
                     name, s->kernel_height, s->kernel_width, s->in_channels, s->out_channels,
                     s->split ? " split" : "", t->row.pixels, t->layer.slope != NULL ? ", slope" : "",
                     t->layer.has_residual ? ", residual" : "",
                     t->layer.has_residual && t->layer.residual == SRPI_F32 ? " f32" : "",
                     t->layer.clamp ? ", clamp" : "", i / s->out_channels, i % s->out_channels,
                     n < values ? "" : ", fraction", a, b);
            return why;
        }
    }
    return NULL;
}

static inline const char *check_wish(const struct srpi_kernels *k, const struct wish *wish,
                                     uint32_t *seed)
{
    struct trial t;
    const char *name = NULL;
    const srpi_conv_fn fn = k->find(&wish->shape, &name);
    if (fn == NULL || name == NULL) {
        return "no kernel for a shape";
    }
    trial_create(&t, k, wish, seed);
    struct srpi_conv_row row = t.row;
    row.out = t.expected;
    srpi_row_reference(&t.layer, &row, k->storage,
                       wish->shape.in == SRPI_Q8 ? (const void *)t.weights : t.real_weights);
    fn(&t.layer, &t.row, 1);
    if (k->rest != NULL && noise(seed) % 4 == 0) {
        k->rest();
    }
    const char *why = compare(&t, name);
    trial_destroy(&t);
    return why;
}

/* Every way to finish a value, on one shape, of one kind or of both where the output is Q8. */
static inline const char *check_shape(const struct srpi_kernels *k, struct srpi_conv_shape shape,
                                      uint32_t pixels, uint32_t *seed)
{
    for (uint32_t bits = 0; bits < (shape.out == SRPI_Q8 ? 32 : 16); bits++) {
        const struct wish wish = {
            .shape = shape,
            .pixels = pixels,
            .slope = (bits & 1) != 0,
            .clamp = (bits & 2) != 0,
            .has_residual = (bits & 4) != 0,
            .f32_residual = (bits & 8) != 0,
            .fractions = (bits & 16) != 0,
        };
        const char *why = wish.f32_residual && !wish.has_residual ? NULL
                                                                  : check_wish(k, &wish, seed);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

static const struct {
    enum srpi_dtype in, out;
} dtype_pairs[] = {{SRPI_F32, SRPI_F32},
                   {SRPI_Q8, SRPI_Q8},
                   {SRPI_Q8, SRPI_F32},
                   {SRPI_BF16, SRPI_BF16},
                   {SRPI_BF16, SRPI_F32}};
enum { DTYPE_PAIRS = sizeof(dtype_pairs) / sizeof(dtype_pairs[0]) };

/* The worst values, and what follows the sums, by chance. */
static inline void chance_steps(struct wish *wish, uint32_t *seed)
{
    wish->worst = noise(seed) % 8 == 0;
    wish->slope = noise(seed) % 3 == 0;
    wish->has_residual = noise(seed) % 2 == 0;
    wish->clamp = noise(seed) % 2 == 0;
    wish->f32_residual = noise(seed) % 3 == 0;
    wish->fractions = noise(seed) % 2 == 0;
}

static inline const char *check_random(const struct srpi_kernels *k, uint32_t rounds)
{
    static const uint8_t kernels[][2] = {{1, 1}, {3, 3}, {5, 5}, {7, 7}, {1, 3}, {3, 1}, {3, 3},
                                         {9, 1}, {16, 1}}; /* those of taps in one column */
    uint32_t seed = 7;
    for (uint32_t i = 0; i < rounds; i++) {
        const uint32_t kernel = noise(&seed) % 9, pair = i % DTYPE_PAIRS;
        if (!k->has[dtype_pairs[pair].in]) {
            continue;
        }
        const bool small = noise(&seed) % 2 != 0;
        struct wish wish = {
            .shape = {.kernel_height = kernels[kernel][0],
                      .kernel_width = kernels[kernel][1],
                      .in_channels = 1 + noise(&seed) % (small ? 8 : 67),
                      .out_channels = 1 + noise(&seed) % (i % 16 == 0 ? 150 : 67),
                      .in = dtype_pairs[pair].in,
                      .out = dtype_pairs[pair].out, false},
            .pixels = 1 + noise(&seed) % (small ? 200 : 40),
        };
        chance_steps(&wish, &seed);
        if (wish.shape.in == SRPI_Q8 && noise(&seed) % 4 == 0) {
            /* as the sums of groups are: columns side by side */
            wish.shape.in_channels *= wish.shape.kernel_height;
            wish.shape.kernel_height = 1;
        }
        const char *why = check_wish(k, &wish, &seed);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

/* Every number of pixels up to some groups, and of vectors, whole and half empty, one kernel. */
static inline const char *check_widths(const struct srpi_kernels *k)
{
    static const uint32_t out_channels[] = {1, 16, 17, 24, 32, 40, 48, 55, 64, 65, 80};
    uint32_t seed = 11;
    for (size_t o = 0; o < sizeof(out_channels) / sizeof(out_channels[0]); o++) {
        for (uint32_t pair = 0; pair < DTYPE_PAIRS; pair++) {
            for (uint32_t pixels = 1; k->has[dtype_pairs[pair].in] && pixels < 60; pixels++) {
                const struct wish wish = {.shape = {1, 3, 2, out_channels[o], dtype_pairs[pair].in,
                                                    dtype_pairs[pair].out, false},
                                          .pixels = pixels,
                                          .has_residual = pixels % 2 == 0,
                                          .f32_residual = pixels % 6 == 0,
                                          .fractions = pixels % 4 < 2};
                const char *why = check_wish(k, &wish, &seed);
                if (why != NULL) {
                    return why;
                }
            }
        }
    }
    return NULL;
}

/* Quantised layers whose runs of taps are short and long, in rows of about a few tiles (row_amx.c):
 * 16, 32 and 64 pixels. */
static inline const char *check_runs(const struct srpi_kernels *k)
{
    static const uint32_t shapes[][4] = {{3, 3, 32, 64}, {3, 3, 64, 24}, {3, 3, 16, 16},
                                         {5, 5, 3, 48},  {3, 3, 22, 33}, {1, 1, 64, 96},
                                         {1, 1, 130, 7}, {3, 3, 12, 40}, {1, 5, 43, 80}};
    static const uint32_t pixels[] = {1, 4, 5, 13, 15, 16, 17, 31, 32, 33, 49, 63, 64, 65, 80, 97};
    uint32_t seed = 17;
    for (uint32_t i = 0; i < 9 * 16; i++) {
        const uint32_t *s = shapes[i / 16];
        for (int narrow = 0; narrow < 2; narrow++) {
            const struct wish wish = {
                .shape = {s[0], s[1], s[2], s[3], SRPI_Q8, narrow ? SRPI_Q8 : SRPI_F32, false},
                .pixels = pixels[i % 16],
                .worst = noise(&seed) % 8 == 0,
                .slope = noise(&seed) % 3 == 0,
                .has_residual = noise(&seed) % 2 == 0,
                .clamp = noise(&seed) % 2 == 0,
                .f32_residual = noise(&seed) % 3 == 0,
                .fractions = noise(&seed) % 2 == 0,
            };
            const char *why = check_wish(k, &wish, &seed);
            why = why == NULL && i % 16 == 10 ? check_shape(k, wish.shape, 50, &seed) : why;
            if (why != NULL) {
                return why;
            }
        }
    }
    const struct wish most = {.shape = {3, 3, SRP_MAX_CHANNELS, 20, SRPI_Q8, SRPI_Q8, false},
                              .pixels = 37,
                              .worst = true};
    return check_wish(k, &most, &seed);
}

/* Layers from each channel to itself. */
static inline const char *check_depthwise(const struct srpi_kernels *k, uint32_t rounds)
{
    uint32_t seed = 29;
    for (uint32_t i = 0; i < rounds; i++) {
        const uint32_t pair = noise(&seed) % 3; /* no bf16 */
        const uint32_t channels = SRPI_DEPTHWISE_LEAST + noise(&seed) % 67;
        struct wish wish = {
            .shape = {.kernel_height = 1 + 2 * (noise(&seed) % 4),
                      .kernel_width = 1 + 2 * (noise(&seed) % 4),
                      .in_channels = channels,
                      .out_channels = channels,
                      .in = dtype_pairs[pair].in,
                      .out = dtype_pairs[pair].out},
            .pixels = 1 + noise(&seed) % 70,
            .depthwise = true,
        };
        chance_steps(&wish, &seed);
        const char *why = check_wish(k, &wish, &seed);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

/* A sum for each kernel row. */
static inline const char *check_split(const struct srpi_kernels *k)
{
    uint32_t seed = 23;
    for (uint32_t i = 0; i < 1500; i++) {
        const struct wish wish = {
            .shape = {.kernel_height = 1 + noise(&seed) % MOST_TAP_ROWS,
                      .kernel_width = 1 + 2 * (noise(&seed) % 3),
                      .in_channels = 1 + noise(&seed) % 40,
                      .out_channels = 1 + noise(&seed) % 100,
                      .in = SRPI_Q8,
                      .out = SRPI_F32,
                      .split = true},
            .pixels = 1 + noise(&seed) % 67,
            .worst = noise(&seed) % 8 == 0,
            .slope = noise(&seed) % 4 == 0,
            .has_residual = noise(&seed) % 2 == 0,
            .clamp = noise(&seed) % 4 == 0,
        };
        const char *why = check_wish(k, &wish, &seed);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

/* Several rows of one layer in one call, what follows the sums by chance. */
static inline const char *check_together(const struct srpi_kernels *k, const struct wish *wish,
                                         uint32_t count, uint32_t *seed)
{
    enum { MOST = 8 };
    const struct srpi_conv_shape *s = &wish->shape;
    const size_t weights =
        (size_t)s->kernel_height * s->kernel_width * s->in_channels * s->out_channels;
    struct trial trials[MOST];
    struct srpi_conv_row rows[MOST];
    const char *why = NULL, *name = NULL;
    const srpi_conv_fn fn = k->find(&wish->shape, &name);
    for (uint32_t i = 0; i < count; i++) {
        struct trial *t = &trials[i];
        trial_create(t, k, wish, seed);
        t->layer = trials[0].layer;
        memcpy(t->weights, trials[0].weights, weights * sizeof(t->weights[0]));
        memcpy(t->real_weights, trials[0].real_weights, weights * sizeof(float));
        rows[i] = t->row;
        struct srpi_conv_row row = t->row;
        row.out = t->expected;
        srpi_row_reference(&t->layer, &row, k->storage,
                           s->in == SRPI_Q8 ? (const void *)t->weights : t->real_weights);
    }
    fn(&trials[0].layer, rows, count);
    for (uint32_t i = 0; i < count; i++) {
        why = why == NULL ? compare(&trials[i], name) : why;
    }
    for (uint32_t i = 0; i < count; i++) {
        trial_destroy(&trials[i]);
    }
    return why;
}

static inline const char *check_rows_together(const struct srpi_kernels *k)
{
    static const uint32_t shapes[][3] = {{3, 32, 64}, {3, 64, 32}, {3, 64, 20}, {3, 16, 16},
                                         {5, 3, 48},  {3, 22, 33}, {1, 64, 96}, {3, 12, 80},
                                         {3, 16, 4},  {1, 20, 150}};
    uint32_t seed = 19;
    for (uint32_t i = 0; i < 10 * 60; i++) {
        const uint32_t *s = shapes[i / 60], pair = noise(&seed) % DTYPE_PAIRS;
        const struct wish wish = {
            .shape = {s[0], s[0], s[1], s[2], dtype_pairs[pair].in, dtype_pairs[pair].out,
                      .split = dtype_pairs[pair].in == SRPI_Q8 &&
                               dtype_pairs[pair].out == SRPI_F32 && noise(&seed) % 2},
            .pixels = 1 + noise(&seed) % 70,
            .worst = noise(&seed) % 8 == 0,
            .slope = noise(&seed) % 4 == 0,
            .has_residual = noise(&seed) % 2 == 0,
            .clamp = noise(&seed) % 4 == 0,
            .f32_residual = noise(&seed) % 4 == 0,
            .fractions = noise(&seed) % 4 == 0,
        };
        const char *why = !k->has[wish.shape.in]
                              ? NULL
                              : check_together(k, &wish, 1 + noise(&seed) % 8, &seed);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

/* Layers of few outputs, which have kernels of their own (row_few.h), and their neighbours. */
static inline const char *check_few(const struct srpi_kernels *k)
{
    static const uint32_t in_channels[] = {4, 8, 12, 16, 32, 48, 21};
    static const uint32_t kernels[][2] = {{1, 1}, {3, 3}, {5, 3}, {5, 5}};
    uint32_t seed = 13;
    for (uint32_t i = 0; i < 7 * 5 * 70; i++) {
        const uint32_t *kernel = kernels[i % 4];
        const struct wish wish = {
            .shape = {kernel[0], kernel[1], in_channels[i % 7], 1 + i / 7 % 5, SRPI_Q8,
                      SRPI_F32, false},
            .pixels = 1 + i / 35,
            .worst = noise(&seed) % 8 == 0,
            .slope = noise(&seed) % 3 == 0,
            .has_residual = noise(&seed) % 2 == 0,
            .clamp = noise(&seed) % 2 == 0,
        };
        const char *why = check_wish(k, &wish, &seed);
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

/* The kernels made for one shape each. */
static inline const char *check_made(const struct srpi_kernels *k)
{
    static const uint32_t pixels[] = {3, 24, 58, 81};
    const struct srpi_row_set *set = srpi_row_set_of(k);
    uint32_t seed = 5;
    for (size_t i = 0; i < set->made_count; i++) {
        const char *name = NULL;
        if (k->find(&set->made[i].shape, &name) != set->made[i].run ||
            strcmp(name, set->made[i].name) != 0) {
            return set->made[i].name;
        }
        for (size_t p = 0; p < sizeof(pixels) / sizeof(pixels[0]); p++) {
            const char *why = check_shape(k, set->made[i].shape, pixels[p], &seed);
            if (why != NULL) {
                return why;
            }
        }
    }
    return set->narrow != NULL ? check_made(&set->narrow->kernels) : NULL;
}

/* ---- a small network whose result is the same on every machine ---------------------------------*/

enum { GOLDEN_WIDTH = 37, GOLDEN_HEIGHT = 11, GOLDEN_ZERO = 90 };

/* A picture of quantised values with a border of zeros (one row or pixel all around), in the
 * kernels' own storage. */
struct golden_picture {
    uint32_t channels;
    size_t pitch; /* values from row to row */
    uint8_t *values;
};

static inline uint8_t *golden_at(const struct golden_picture *p, uint32_t y, uint32_t size)
{
    return p->values + y * p->pitch * size;
}

static inline struct golden_picture golden_picture(uint32_t channels, const struct srpi_kernels *k)
{
    const size_t pitch = (size_t)(GOLDEN_WIDTH + 2 + SRPI_ROW_GROUP) * channels + SRPI_ROW_SLACK;
    struct golden_picture p = {.channels = channels, .pitch = pitch};
    const uint32_t size = srpi_element_size(k, SRPI_Q8);
    p.values = malloc((GOLDEN_HEIGHT + 2) * pitch * size);
    for (size_t i = 0; i < (GOLDEN_HEIGHT + 2) * pitch; i++) {
        p.values[i * size] =
            k->storage == SRPI_Q8_S8 ? (uint8_t)(GOLDEN_ZERO ^ 0x80u) : GOLDEN_ZERO;
        if (size == 2) {
            p.values[i * size + 1] = 0;
        }
    }
    return p;
}

static inline uint64_t golden_hash(uint64_t hash, uint32_t value)
{
    return (hash ^ value) * 0x100000001b3u;
}

/* One 3x3 layer; adds its result to the hash. `out` NULL: to f32. */
static inline uint64_t golden_layer(const struct srpi_kernels *k, const struct golden_picture *in,
                                    const struct golden_picture *out, uint32_t out_channels,
                                    const struct golden_picture *other, bool slope, uint64_t hash)
{
    const struct srpi_conv_shape shape = {
        3, 3, in->channels, out_channels, SRPI_Q8, out != NULL ? SRPI_Q8 : SRPI_F32, false};
    const uint32_t size = srpi_element_size(k, SRPI_Q8), count = in->channels * 9;
    static int32_t bias[64];
    static float multiplier[64], shift[64], slopes[64];
    uint32_t seed = in->channels * 100 + out_channels;
    int16_t *weights = malloc(sizeof(int16_t) * count * out_channels);
    for (uint32_t c = 0; c < out_channels; c++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            weights[c * count + i] = (int16_t)(noise(&seed) % 256 - 128);
            sum += weights[c * count + i];
        }
        bias[c] = (int32_t)(noise(&seed) % 2000) - GOLDEN_ZERO * sum +
                  (k->storage == SRPI_Q8_S8 ? 128 * sum : 0);
        multiplier[c] = (float)(1000 + noise(&seed) % 1000) * 0x1p-19f;
        shift[c] = (float)(noise(&seed) % 100) * 0.01f;
        slopes[c] = (float)(noise(&seed) % 100) * 0.01f;
    }
    void *packed = NULL;
    if (posix_memalign(&packed, 64, k->packed_size(&shape)) != 0) {
        exit(1);
    }
    k->pack(&shape, weights, packed);
    const struct srpi_conv_layer layer = {
        .shape = shape,
        .weights = packed,
        .bias = bias,
        .multiplier = multiplier,
        .shift = shift,
        .slope = slope ? slopes : NULL,
        .offset = GOLDEN_ZERO,
        .has_residual = other != NULL,
        .residual = SRPI_Q8,
        .residual_multiplier = 0.75f,
        .clamp = other != NULL,
        .low = 20.25f,
        .high = 230.5f,
    };
    const size_t row_values = (size_t)(GOLDEN_WIDTH + SRPI_ROW_GROUP) * out_channels;
    uint8_t *row = malloc(row_values * 4 + SRPI_ROW_SLACK);
    for (uint32_t y = 0; y < GOLDEN_HEIGHT; y++) {
        const void *taps[3];
        for (uint32_t ky = 0; ky < 3; ky++) {
            taps[ky] = golden_at(in, y + ky, size);
        }
        struct srpi_conv_row r = {.rows = taps, .out = row, .pixels = GOLDEN_WIDTH};
        if (other != NULL) {
            r.residual = golden_at(other, y + 1, size) + (size_t)other->channels * size;
        }
        k->find(&shape, NULL)(&layer, &r, 1);
        for (size_t i = 0; i < (size_t)GOLDEN_WIDTH * out_channels; i++) {
            uint32_t value = 0;
            if (out == NULL) {
                memcpy(&value, row + 4 * i, 4);
            } else {
                uint8_t *to = golden_at(out, y + 1, size) + (out_channels + i) * size;
                memcpy(to, row + i * size, size);
                value = k->storage == SRPI_Q8_S8 ? row[i] ^ 0x80u : row[i * size];
            }
            hash = golden_hash(hash, value);
        }
    }
    free(row), free(packed), free(weights);
    return hash;
}

static inline uint64_t golden_chain(const struct srpi_kernels *k)
{
    struct golden_picture a = golden_picture(3, k), b = golden_picture(16, k);
    struct golden_picture c = golden_picture(40, k), d = golden_picture(16, k);
    const uint32_t size = srpi_element_size(k, SRPI_Q8);
    uint32_t seed = 1;
    for (uint32_t y = 1; y <= GOLDEN_HEIGHT; y++) {
        for (uint32_t i = 3; i < 3 * (GOLDEN_WIDTH + 1); i++) {
            const uint8_t q = (uint8_t)noise(&seed);
            golden_at(&a, y, size)[i * size] = k->storage == SRPI_Q8_S8 ? (uint8_t)(q ^ 0x80u) : q;
        }
    }
    uint64_t hash = 0xcbf29ce484222325u;
    hash = golden_layer(k, &a, &b, 16, NULL, false, hash);
    hash = golden_layer(k, &b, &c, 40, NULL, true, hash);
    hash = golden_layer(k, &c, &d, 16, &b, false, hash);
    hash = golden_layer(k, &d, NULL, 27, NULL, true, hash);
    free(a.values), free(b.values), free(c.values), free(d.values);
    return hash;
}

static const uint64_t golden_expected = 0x159d5f38f4818907u;

static inline const char *check_golden(const struct srpi_kernels *k)
{
    static char why[100];
    const uint64_t hash = golden_chain(k);
    if (hash == golden_expected) {
        return NULL;
    }
    snprintf(why, sizeof(why), "the chain's hash is %016llx", (unsigned long long)hash);
    return why;
}

#endif
