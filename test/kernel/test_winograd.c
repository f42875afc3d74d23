/* SPDX-License-Identifier: BSD-2-Clause */
/* The Winograd convolution against the reference, between pages that nobody may touch. */
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

#include "exec/cpu.h"
#include "kernel/noise.h"
#include "kernels/reference.h"
#include "kernels/winograd.h"

/* A block of floats that ends exactly where an unmapped page begins, or begins where one ends. */
struct guarded {
    char *map;
    size_t size;
    float *data;
};

static struct guarded guarded(size_t floats, bool at_end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = floats * sizeof(float);
    const size_t room = (bytes + page - 1) / page * page;
    struct guarded g = {.size = room + 2 * page};
    g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(g.map + page + room, page, PROT_NONE), 0);
    g.data = (float *)(void *)(g.map + page + (at_end ? room - bytes : 0));
    return g;
}

static void release(struct guarded *g)
{
    assert_int_equal(munmap(g->map, g->size), 0);
}

struct layer {
    uint32_t in, out;
    float *weight, *direct, *packed, *bias, *slope, *scratch;
    enum srpi_activation activation;
};

static void layer_create(struct layer *l, uint32_t in, uint32_t out, uint32_t *seed)
{
    const uint32_t padded = srpi_conv_padded(out);
    const size_t count = (size_t)out * in * 9;
    *l = (struct layer){.in = in, .out = out};
    l->weight = calloc(count, sizeof(float));
    l->direct = calloc(srpi_ref_packed_size(in, out, 3, 3), sizeof(float));
    l->packed = calloc(srpi_winograd_packed_size(in, out), sizeof(float));
    l->bias = calloc(padded, sizeof(float));
    l->slope = calloc(padded, sizeof(float));
    const size_t scratch = srpi_winograd_scratch_size(in, out);
    assert_int_equal(scratch % 16, 0);
    l->scratch = aligned_alloc(64, scratch * sizeof(float));
    assert_true(l->weight && l->direct && l->packed && l->bias && l->slope && l->scratch);
    noise_fill(l->scratch, scratch, seed); /* its content is of no account */
    noise_fill(l->weight, count, seed);
    const float scale = sqrtf(2.0f / (9.0f * (float)in)) * 1.7320508f; /* as a net begins */
    for (size_t i = 0; i < count; i++) {
        l->weight[i] *= scale;
    }
    noise_fill(l->bias, out, seed);
    noise_fill(l->slope, out, seed);
    srpi_ref_pack(l->direct, l->weight, in, out, 3, 3);
    srpi_winograd_pack(l->packed, l->weight, in, out);
}

static void layer_destroy(struct layer *l)
{
    free(l->weight), free(l->direct), free(l->packed), free(l->bias), free(l->slope);
    free(l->scratch);
}

/* One layer at one size: the reference, all rows at once, and rows one by one from the last. */
static double check(const struct layer *l, uint32_t width, uint32_t height, bool at_end,
                    uint32_t *seed)
{
    const size_t in_size = (size_t)width * height * l->in;
    const size_t out_size = (size_t)width * height * l->out;
    struct guarded in = guarded(in_size, at_end), a = guarded(out_size, at_end);
    struct guarded b = guarded(out_size, at_end), c = guarded(out_size, at_end);
    for (size_t i = 0; i < in_size; i++) {
        in.data[i] = 0.5f + 0.5f * noise_f(seed);
    }
    memset(b.data, 0xff, out_size * sizeof(float)); /* NaN where nothing is written */
    memset(c.data, 0xff, out_size * sizeof(float));
    const struct srpi_ref_conv ref = {.height = height, .width = width,
        .in_channels = l->in, .out_channels = l->out, .kernel_height = 3, .kernel_width = 3,
        .packed = l->direct, .bias = l->bias, .activation = l->activation,
        .alpha = 0.2f, .min = -0.25f, .max = 0.5f, .slope = l->slope};
    const struct srpi_conv conv = {.height = height, .width = width,
        .in_channels = l->in, .out_channels = l->out, .kernel_height = 3, .kernel_width = 3,
        .packed = l->packed, .bias = l->bias, .activation = l->activation,
        .alpha = 0.2f, .min = -0.25f, .max = 0.5f, .slope = l->slope};
    srpi_ref_conv2d(&ref, in.data, a.data, 0, height);
    const uint32_t rows = (height + SRPI_WINOGRAD_TILE - 1) / SRPI_WINOGRAD_TILE;
    srpi_winograd_avx2(&conv, in.data, b.data, l->scratch, 0, rows);
    for (uint32_t r = rows; r-- > 0;) {
        srpi_winograd_avx2(&conv, in.data, c.data, l->scratch, r, r + 1);
    }
    assert_memory_equal(b.data, c.data, out_size * sizeof(float));
    double worst = 0.0;
    for (size_t i = 0; i < out_size; i++) {
        const double off = fabs((double)a.data[i] - (double)b.data[i]);
        if (!(off <= 1.5e-5)) {
            fail_msg("%ux%u, %u -> %u, activation %d, element %zu: %g instead of %g", width,
                     height, l->in, l->out, (int)l->activation, i, (double)b.data[i],
                     (double)a.data[i]);
        }
        worst = fmax(worst, off);
    }
    release(&in), release(&a), release(&b), release(&c);
    return worst;
}

/* Every width and height from 1 to 67 comes once. */
static void test_sizes(void **state)
{
    (void)state;
    if (!srpi_cpu_avx2()) {
        print_message("no AVX2 on this machine: nothing to test\n");
        skip();
    }
    uint32_t seed = 1;
    struct layer l;
    layer_create(&l, 16, 16, &seed);
    l.activation = SRPI_ACT_RELU;
    for (uint32_t w = 1; w <= 67; w++) {
        check(&l, w, 1 + w * 41 % 67, w % 2 == 0, &seed);
    }
    check(&l, 1, 1, true, &seed);
    check(&l, 203, 5, true, &seed); /* several groups of tiles, the last one short */
    layer_destroy(&l);
}

static void test_channels(void **state)
{
    (void)state;
    if (!srpi_cpu_avx2()) {
        skip();
    }
    static const uint32_t ins[] = {8, 16, 24, 32, 64};
    static const uint32_t outs[] = {1, 3, 4, 7, 8, 9, 12, 16, 23, 24, 27, 32, 33, 48, 64};
    static const uint32_t sizes[][2] = {{9, 11}, {25, 6}, {1, 3}, {34, 4}};
    static const enum srpi_activation activations[] = {
        SRPI_ACT_NONE, SRPI_ACT_RELU, SRPI_ACT_LEAKY_RELU, SRPI_ACT_PRELU,
        SRPI_ACT_CLIP, SRPI_ACT_TANH, SRPI_ACT_SIGMOID};
    uint32_t seed = 2, turn = 0;
    double worst = 0.0;
    for (size_t i = 0; i < sizeof(ins) / sizeof(ins[0]); i++) {
        for (size_t o = 0; o < sizeof(outs) / sizeof(outs[0]); o++) {
            struct layer l;
            layer_create(&l, ins[i], outs[o], &seed);
            for (size_t a = 0; a < sizeof(activations) / sizeof(activations[0]); a++, turn++) {
                l.activation = activations[a];
                const double off = check(&l, sizes[turn % 4][0], sizes[turn % 4][1],
                                         turn / 4 % 2 == 0, &seed);
                worst = fmax(worst, off);
            }
            layer_destroy(&l);
        }
    }
    assert_true(worst > 0.0); /* it is not the reference itself */
    print_message("largest difference from the reference: %.2g\n", worst);
}

static void test_suits(void **state)
{
    (void)state;
    assert_true(srpi_winograd_suits(16, 16, 3, 3));
    assert_false(srpi_winograd_suits(16, 16, 1, 3));
    assert_false(srpi_winograd_suits(16, 16, 3, 1));
    assert_false(srpi_winograd_suits(16, 16, 5, 5));
    assert_false(srpi_winograd_suits(1, 16, 3, 3));
    assert_false(srpi_winograd_suits(12, 16, 3, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_suits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
