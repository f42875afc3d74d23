/* SPDX-License-Identifier: BSD-2-Clause */
/* The Winograd row kernels of every instruction set that this machine has against a convolution in
 * double precision, between pages that nobody may touch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/noise.h"
#include "kernels/winograd_row.h"

#define MOST_CHANNELS 128u
/* The largest difference, of sums of order 1: inputs in 0..1, weights as a net begins.
 * docs/engine.md quotes it. */
static double tolerance(uint32_t taps_down, uint32_t taps_across)
{
    const double windows = (double)(taps_down / 2) * (taps_across / 2);
    return windows == 1.0 ? 1e-5 : 1.5e-5 * sqrt(windows);
}

static bool can_run(enum srpi_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case SRPI_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case SRPI_ISA_AVX512:
        return __builtin_cpu_supports("avx512f");
#elif defined(__aarch64__)
    case SRPI_ISA_NEON:
        return true;
#endif
    default:
        return false;
    }
}

/* Kernels that can run here, one by one, those of several instruction sets once; NULL: no more. */
static const struct srpi_winograd_kernels *next_kernels(unsigned *at)
{
    const struct srpi_winograd_kernels *seen[32];
    unsigned count = 0;
    for (unsigned isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        const struct srpi_winograd_kernels *const *k = srpi_winograd_all((enum srpi_isa)isa);
        for (; can_run((enum srpi_isa)isa) && *k != NULL; k++) {
            bool new = (*k)->in == SRPI_F32;
            for (unsigned i = 0; i < count; i++) {
                new = new && seen[i] != *k;
            }
            if (new && count == *at) {
                (*at)++;
                return *k;
            }
            if (new) {
                seen[count++] = *k;
            }
        }
    }
    assert_int_not_equal(count, 0);
    return NULL;
}

/* Taps down and across: every number of windows of either side, and sides that differ. */
static const uint32_t taps_of[][2] = {{3, 3}, {5, 5}, {3, 5}, {7, 3}, {5, 7}, {7, 7}, {9, 9}};
#define TAPS_COUNT (sizeof(taps_of) / sizeof(taps_of[0]))
#define MOST_ROWS SRPI_WINOGRAD_INPUTS

/* Memory that ends exactly where an unmapped page begins, and begins soon behind one. */
struct guarded {
    char *map;
    size_t size;
    char *data;
};

static struct guarded guarded(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    struct guarded g = {.size = room + 2 * page};
    g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(g.map + page + room, page, PROT_NONE), 0);
    g.data = g.map + page + room - bytes;
    return g;
}

static void release(struct guarded *g)
{
    assert_int_equal(munmap(g->map, g->size), 0);
}

struct layer {
    struct srpi_conv_layer conv;
    float *weights; /* [out][in][taps down][taps across] */
    float bias[MOST_CHANNELS], slope[MOST_CHANNELS];
};

static struct layer *layer_create(const uint32_t taps[2], uint32_t in, uint32_t out,
                                  uint32_t *seed)
{
    struct layer *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    const size_t count = (size_t)out * in * taps[0] * taps[1];
    l->weights = calloc(count, sizeof(float));
    assert_non_null(l->weights);
    l->conv.shape = (struct srpi_conv_shape){.kernel_height = taps[0], .kernel_width = taps[1],
        .in_channels = in, .out_channels = out, .in = SRPI_F32, .out = SRPI_F32};
    noise_fill(l->weights, count, seed);
    const float scale = sqrtf(2.0f / (float)(taps[0] * taps[1] * in)) * 1.7320508f; /* as a net begins */
    for (size_t i = 0; i < count; i++) {
        l->weights[i] *= scale;
    }
    noise_fill(l->bias, out, seed);
    noise_fill(l->slope, out, seed);
    l->conv.bias = l->bias;
    l->conv.residual = SRPI_F32;
    l->conv.residual_multiplier = 0.75f;
    l->conv.low = -0.25f;
    l->conv.high = 0.5f;
    return l;
}

static void layer_steps(struct layer *l, unsigned steps)
{
    l->conv.slope = steps & 1 ? l->slope : NULL;
    l->conv.has_residual = steps & 2;
    l->conv.clamp = steps & 4;
}

static void layer_destroy(struct layer *l)
{
    free(l->weights);
    free(l);
}

static void *aligned(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(data);
    return data;
}

static double direct(const struct layer *l, const float *const rows[], uint32_t y, uint32_t x,
                     uint32_t o, float residual)
{
    const uint32_t in = l->conv.shape.in_channels;
    const uint32_t down = l->conv.shape.kernel_height, across = l->conv.shape.kernel_width;
    double v = l->bias[o];
    for (uint32_t i = 0; i < in; i++) {
        for (uint32_t ky = 0; ky < down; ky++) {
            for (uint32_t kx = 0; kx < across; kx++) {
                v += (double)l->weights[(((size_t)o * in + i) * down + ky) * across + kx] *
                     (double)rows[y + ky][(size_t)(x + kx) * in + i];
            }
        }
    }
    if (l->conv.slope && v < 0.0) {
        v *= (double)l->slope[o];
    }
    if (l->conv.has_residual) {
        v += (double)residual * (double)l->conv.residual_multiplier;
    }
    if (l->conv.clamp) {
        v = fmin(fmax(v, (double)l->conv.low), (double)l->conv.high);
    }
    return v;
}

/* One call's memory. All blocks end with what may be touched at most. */
struct call {
    struct guarded in[MOST_ROWS], out[4], residual[4], scratch;
    unsigned in_rows;
    struct srpi_winograd_rows rows;
    size_t out_bytes; /* that may be written */
};

/* Rows end where row.h allows at the latest, so most begin at no multiple of a vector. Bit r of
 * `wanted`: output row r. */
static void call_create(struct call *c, const struct srpi_winograd_kernels *k,
                        const struct layer *l, uint32_t pixels, unsigned wanted, uint32_t *seed)
{
    const struct srpi_conv_shape *shape = &l->conv.shape;
    const size_t whole = (pixels + 3) / 4 * 4, more = shape->kernel_width - 1;
    const size_t in = (whole + more) * shape->in_channels * 4 + SRPI_ROW_SLACK;
    *c = (struct call){.rows.pixels = pixels,
                       .out_bytes = whole * shape->out_channels * 4 + SRPI_ROW_SLACK,
                       .in_rows = shape->kernel_height + 3};
    for (unsigned r = 0; r < c->in_rows; r++) {
        c->in[r] = guarded(in);
        float *row = (float *)(void *)c->in[r].data;
        noise_fill(row, in / 4, seed);
        for (size_t i = 0; i < in / 4; i++) {
            row[i] = 0.5f + 0.5f * row[i];
        }
        /* What is behind the pixels that count may be anything. */
        const size_t all = (pixels + more) * shape->in_channels;
        memset(row + all, 0xff, in - all * 4);
        c->rows.rows[r] = row;
    }
    for (unsigned r = 0; r < 4; r++) {
        if (!(wanted >> r & 1)) {
            continue;
        }
        c->out[r] = guarded(c->out_bytes + 64);
        memset(c->out[r].data, 0x55, c->out_bytes + 64);
        c->rows.out[r] = (float *)(void *)(c->out[r].data + 64);
        if (l->conv.has_residual) {
            c->residual[r] = guarded(c->out_bytes);
            noise_fill((float *)(void *)c->residual[r].data, c->out_bytes / 4, seed);
            c->rows.residual[r] = (const float *)(void *)c->residual[r].data;
        }
    }
    const size_t scratch = k->scratch_size(shape);
    assert_int_equal(scratch % 64, 0);
    c->scratch = guarded(scratch);
    memset(c->scratch.data, 0xff, scratch); /* NaN */
    c->rows.scratch = c->scratch.data;
}

static void call_destroy(struct call *c)
{
    for (unsigned r = 0; r < c->in_rows; r++) {
        release(&c->in[r]);
    }
    for (unsigned r = 0; r < 4; r++) {
        if (c->rows.out[r]) {
            release(&c->out[r]);
        }
        if (c->rows.residual[r]) {
            release(&c->residual[r]);
        }
    }
    release(&c->scratch);
}

/* The largest difference. Nothing in front of a row may have changed. */
static double compare(const struct call *c, const struct srpi_winograd_kernels *k,
                      const struct layer *l)
{
    const uint32_t out = l->conv.shape.out_channels;
    const double most = tolerance(l->conv.shape.kernel_height, l->conv.shape.kernel_width);
    double worst = 0.0;
    for (uint32_t y = 0; y < 4; y++) {
        const float *row = c->rows.out[y];
        if (row == NULL) {
            continue;
        }
        for (unsigned i = 0; i < 64; i++) {
            assert_int_equal(c->out[y].data[i], 0x55);
        }
        for (uint32_t x = 0; x < c->rows.pixels; x++) {
            for (uint32_t o = 0; o < out; o++) {
                const size_t at = (size_t)x * out + o;
                const float residual = c->rows.residual[y] ? ((const float *)c->rows.residual[y])[at] : 0.0f;
                const double right = direct(l, (const float *const *)c->rows.rows, y, x, o, residual);
                const double off = fabs(right - (double)row[at]);
                if (!(off <= most)) {
                    fail_msg("%s: %ux%u, %u -> %u, %u pixels, row %u, pixel %u, channel %u: %g, "
                             "not %g", k->name, l->conv.shape.kernel_height,
                             l->conv.shape.kernel_width, l->conv.shape.in_channels, out,
                             c->rows.pixels, y, x, o,
                             (double)row[at], right);
                }
                worst = fmax(worst, off);
            }
        }
    }
    return worst;
}

static double check(const struct srpi_winograd_kernels *k, struct layer *l, uint32_t pixels,
                    unsigned wanted, uint32_t *seed)
{
    void *packed = aligned(k->packed_size(&l->conv.shape));
    k->pack(&l->conv.shape, l->weights, packed);
    l->conv.weights = packed;
    struct call c;
    call_create(&c, k, l, pixels, wanted, seed);
    k->fn(&l->conv, &c.rows, 1);
    const double worst = compare(&c, k, l);
    call_destroy(&c);
    free(packed);
    return worst;
}

static void test_random(void **state)
{
    (void)state;
    unsigned at = 0;
    for (const struct srpi_winograd_kernels *k; (k = next_kernels(&at)) != NULL;) {
        uint32_t seed = 1;
        double worst = 0.0;
        for (unsigned i = 0; i < 400; i++) {
            const uint32_t in = 1 + noise(&seed) % 70, out = 1 + noise(&seed) % 70;
            struct layer *l = layer_create(taps_of[i % 2 ? noise(&seed) % TAPS_COUNT : 0], in, out,
                                           &seed);
            layer_steps(l, i);
            const unsigned wanted = i % 4 ? 15 : noise(&seed) % 16;
            worst = fmax(worst, check(k, l, 1 + noise(&seed) % 150, wanted, &seed));
            layer_destroy(l);
        }
        assert_true(worst > 0.0); /* it is not the reference itself */
        print_message("%s: largest difference %.2g\n", k->name, worst);
    }
}

/* Every number of pixels around the sizes of groups and panels, with whole and broken vectors. */
static void test_pixels(void **state)
{
    (void)state;
    static const uint32_t channels[][2] = {{16, 16}, {12, 20}, {3, 8}, {24, 33}};
    unsigned at = 0;
    for (const struct srpi_winograd_kernels *k; (k = next_kernels(&at)) != NULL;) {
        uint32_t seed = 2;
        for (uint32_t pixels = 1; pixels <= 130; pixels++) {
            const uint32_t *c = channels[pixels % 4];
            struct layer *l = layer_create(taps_of[pixels / 4 % 3], c[0], c[1], &seed);
            layer_steps(l, pixels / 4);
            check(k, l, pixels, 15, &seed);
            layer_destroy(l);
        }
    }
}

/* Several bands in one call have the bits of each alone. */
static void test_bands(void **state)
{
    (void)state;
    enum { BANDS = SRPI_WINOGRAD_BANDS };
    unsigned at = 0;
    for (const struct srpi_winograd_kernels *k; (k = next_kernels(&at)) != NULL;) {
        uint32_t seed = 4;
        for (uint32_t pixels = 1; pixels <= 70; pixels++) {
            const uint32_t in = 1 + noise(&seed) % 40, out = 1 + noise(&seed) % 40;
            const uint32_t count = 2 + pixels % (BANDS - 1);
            struct layer *l = layer_create(taps_of[pixels % TAPS_COUNT], in, out, &seed);
            layer_steps(l, pixels);
            void *packed = aligned(k->packed_size(&l->conv.shape));
            k->pack(&l->conv.shape, l->weights, packed);
            l->conv.weights = packed;
            struct call calls[BANDS];
            struct srpi_winograd_rows bands[BANDS];
            for (uint32_t b = 0; b < count; b++) {
                call_create(&calls[b], k, l, pixels, b == 1 ? noise(&seed) % 16 : 15, &seed);
                bands[b] = calls[b].rows;
            }
            k->fn(&l->conv, bands, count);
            for (uint32_t b = 0; b < count; b++) {
                const size_t bytes = (size_t)pixels * out * sizeof(float);
                void *together[4] = {NULL};
                compare(&calls[b], k, l);
                for (unsigned r = 0; r < 4; r++) {
                    if (bands[b].out[r] != NULL) {
                        together[r] = aligned(bytes + 64);
                        memcpy(together[r], bands[b].out[r], bytes);
                    }
                }
                k->fn(&l->conv, &calls[b].rows, 1);
                for (unsigned r = 0; r < 4; r++) {
                    assert_true(together[r] == NULL ||
                                memcmp(together[r], bands[b].out[r], bytes) == 0);
                    free(together[r]);
                }
                call_destroy(&calls[b]);
            }
            free(packed);
            layer_destroy(l);
        }
    }
}

/* A call that begins 4n pixels to the right, is shorter by 4n pixels or wants fewer rows gives the
 * same bits. */
static void test_same_bits(void **state)
{
    (void)state;
    static const uint32_t channels[][2] = {{16, 16}, {20, 12}, {7, 33}};
    enum { PIXELS = 203 };
    unsigned at = 0;
    for (const struct srpi_winograd_kernels *k; (k = next_kernels(&at)) != NULL;) {
        uint32_t seed = 3;
        for (unsigned s = 0; s < 9; s++) {
            const uint32_t in = channels[s % 3][0], out = channels[s % 3][1];
            struct layer *l = layer_create(taps_of[s / 3], in, out, &seed);
            layer_steps(l, 7);
            void *packed = aligned(k->packed_size(&l->conv.shape));
            k->pack(&l->conv.shape, l->weights, packed);
            l->conv.weights = packed;
            struct call whole;
            call_create(&whole, k, l, PIXELS, 15, &seed);
            k->fn(&l->conv, &whole.rows, 1);
            for (uint32_t from = 0; from < PIXELS; from += 28) {
                const uint32_t some = 4 + noise(&seed) % 64 * 4;
                const uint32_t pixels = some < PIXELS - from ? some : PIXELS - from;
                struct call part;
                call_create(&part, k, l, pixels, 1 + noise(&seed) % 15, &seed);
                for (unsigned r = 0; r < part.in_rows; r++) {
                    part.rows.rows[r] = (const float *)whole.rows.rows[r] + (size_t)from * in;
                }
                for (unsigned r = 0; r < 4; r++) {
                    if (part.rows.out[r]) {
                        memcpy((float *)(void *)part.residual[r].data,
                               (const float *)whole.rows.residual[r] + (size_t)from * out,
                               (size_t)pixels * out * 4);
                    }
                }
                k->fn(&l->conv, &part.rows, 1);
                for (unsigned r = 0; r < 4; r++) {
                    if (part.rows.out[r]) {
                        assert_memory_equal(part.rows.out[r],
                                            (const float *)whole.rows.out[r] + (size_t)from * out,
                                            (size_t)pixels * out * 4);
                    }
                }
                call_destroy(&part);
            }
            call_destroy(&whole);
            free(packed);
            layer_destroy(l);
        }
    }
}

/* All instruction sets give the same bits. */
static void test_same_everywhere(void **state)
{
    (void)state;
    static const uint32_t channels[][2] = {{16, 16}, {20, 12}, {7, 33}};
    enum { PIXELS = 57 };
    for (unsigned s = 0; s < 9; s++) {
        const uint32_t out = channels[s % 3][1];
        const size_t bytes = (size_t)PIXELS * out * 4;
        char *first = calloc(4, bytes);
        assert_non_null(first);
        unsigned at = 0;
        bool new = true;
        for (const struct srpi_winograd_kernels *k; (k = next_kernels(&at)) != NULL;) {
            uint32_t seed = 5;
            struct layer *l = layer_create(taps_of[s / 3], channels[s % 3][0], out, &seed);
            layer_steps(l, 7);
            void *packed = aligned(k->packed_size(&l->conv.shape));
            k->pack(&l->conv.shape, l->weights, packed);
            l->conv.weights = packed;
            struct call c;
            call_create(&c, k, l, PIXELS, 15, &seed);
            k->fn(&l->conv, &c.rows, 1);
            for (unsigned r = 0; r < 4; r++) {
                if (new) {
                    memcpy(first + r * bytes, c.rows.out[r], bytes);
                }
                assert_memory_equal(first + r * bytes, c.rows.out[r], bytes);
            }
            new = false;
            call_destroy(&c);
            free(packed);
            layer_destroy(l);
        }
        free(first);
    }
}

/* What the docs say of the error, for a wide layer. */
static void test_error(void **state)
{
    (void)state;
    unsigned at = 0;
    for (const struct srpi_winograd_kernels *k; (k = next_kernels(&at)) != NULL;) {
        uint32_t seed = 4;
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t channels = 16u << i % 4, *taps = taps_of[i / 4];
            struct layer *l = layer_create(taps, channels, channels, &seed);
            double worst = 0.0;
            for (unsigned n = 0; n < 4; n++) {
                worst = fmax(worst, check(k, l, 96, 15, &seed));
            }
            print_message("%s: %ux%u, %u channels: largest difference %.2g\n", k->name, taps[0],
                          taps[1], channels, worst);
            layer_destroy(l);
        }
    }
}

/* Whether an instruction set has kernels for a shape in f32. */
static bool some_suit(enum srpi_isa isa, const struct srpi_conv_shape *shape)
{
    const struct srpi_winograd_kernels *const *k = srpi_winograd_all(isa);
    while (*k != NULL && ((*k)->in != SRPI_F32 || !(*k)->suits(shape))) {
        k++;
    }
    return *k != NULL;
}

static void test_suits(void **state)
{
    (void)state;
    assert_null(srpi_winograd_all(SRPI_ISA_SCALAR)[0]);
    for (unsigned i = 0; i < SRPI_ISA_COUNT; i++) {
        const enum srpi_isa isa = (enum srpi_isa)i;
        if (srpi_winograd_all(isa)[0] == NULL) {
            continue;
        }
        const struct srpi_conv_shape good = {.kernel_height = 3,
            .kernel_width = 3, .in_channels = 16, .out_channels = 16, .in = SRPI_F32,
            .out = SRPI_F32};
        struct srpi_conv_shape s = good;
        assert_true(some_suit(isa, &s));
        for (uint32_t side = 1; side <= 11; side += 2) {
            s = good, s.kernel_height = side;
            assert_int_equal(some_suit(isa, &s), side >= 3 && side <= SRPI_WINOGRAD_TAPS);
            s = good, s.kernel_width = side;
            assert_int_equal(some_suit(isa, &s), side >= 3 && side <= SRPI_WINOGRAD_TAPS);
        }
        s = good, s.in = SRPI_Q8;
        assert_false(some_suit(isa, &s));
        s = good, s.in = s.out = SRPI_BF16;
        assert_false(some_suit(isa, &s));
        s = good, s.in_channels = 1, s.out_channels = 1;
        assert_false(some_suit(isa, &s));
        /* Weights that no cache holds. */
        s = good, s.in_channels = s.out_channels = SRP_MAX_CHANNELS;
        assert_true(some_suit(isa, &s));
        s.kernel_height = s.kernel_width = SRPI_WINOGRAD_TAPS;
        assert_false(some_suit(isa, &s));
        s = good, s.out_channels = 0;
        assert_false(some_suit(isa, &s));
        s = good, s.out_channels = SRP_MAX_CHANNELS + 1;
        assert_false(some_suit(isa, &s));
    }
}

#if defined(__x86_64__)

static const struct srpi_winograd_kernels *avx2_for(uint32_t taps, uint32_t in, uint32_t out)
{
    const struct srpi_conv_shape shape = {.kernel_height = taps, .kernel_width = taps,
        .in_channels = in, .out_channels = out, .in = SRPI_F32, .out = SRPI_F32};
    return srpi_winograd_for(SRPI_ISA_AVX2, &shape, false);
}

/* Wide layers of 3x3 taps have kernels of their own, which need less memory than two tensors of
 * terms for twelve tiles took. */
static void test_wide(void **state)
{
    (void)state;
    assert_ptr_equal(avx2_for(3, 96, 96), &srpi_winograd_f32_wide_avx2);
    assert_ptr_equal(avx2_for(3, 256, 256), &srpi_winograd_f32_wide_avx2);
    assert_ptr_equal(avx2_for(3, 95, 256), &srpi_winograd_f32_avx2);
    assert_ptr_equal(avx2_for(3, 256, 95), &srpi_winograd_f32_avx2);
    assert_ptr_equal(avx2_for(5, 256, 256), &srpi_winograd_f32_avx2);
    for (uint32_t channels = 96; channels <= 256; channels += 16) {
        const struct srpi_conv_shape shape = {.kernel_height = 3, .kernel_width = 3,
            .in_channels = channels, .out_channels = channels, .in = SRPI_F32, .out = SRPI_F32};
        const size_t terms = (size_t)12 * 36 * channels * sizeof(float);
        assert_true(avx2_for(3, channels, channels)->scratch_size(&shape) < 2 * terms);
    }
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random), cmocka_unit_test(test_pixels),
        cmocka_unit_test(test_bands),
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_same_everywhere),
        cmocka_unit_test(test_error), cmocka_unit_test(test_suits),
#if defined(__x86_64__)
        cmocka_unit_test(test_wide),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
