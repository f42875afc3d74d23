/* SPDX-License-Identifier: BSD-2-Clause */
/* A stated range of the input in int8: pictures whose R, G and B lie outside of 0..255 reach the
 * network and the base as they are, within half a code, by every way into and out of it; in 16 bits
 * what the network hands on is exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <srp/upscaler.h>

#include "exec/upscaler.h"
#include "kernel/noise.h"
#include "model/model.h"

#define WIDTH 70u /* more than a chunk of the loader */
#define HEIGHT 22u
#define BYTES (4 * WIDTH * HEIGHT)
#define STEP 4.0f /* samples by which codes are apart */

#define HEAD(colour, nodes)                                                                       \
    "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"n\",\"scale\":1,\"colour\":\"" colour         \
    "\",\"mean\":0.45,\"input\":\"x\",\"output\":\"y\",\"nodes\":[" nodes "]}"
#define CONV(channels)                                                                            \
    "{\"op\":\"conv2d\",\"name\":\"c\",\"inputs\":[\"x\"],\"output\":\"t\",\"channels\":" channels     \
    ",\"kernel\":[1,1]}"
/* The convolution gives nothing: what comes out is the input. */
#define WITH_BASE(channels, mode)                                                                 \
    CONV(channels)                                                                                \
    ",{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"t\"],\"output\":\"d\",\"block\":1}"       \
    ",{\"op\":\"resize\",\"name\":\"base\",\"inputs\":[\"x\"],\"output\":\"b\",\"scale\":1,"             \
    "\"mode\":\"" mode "\"},{\"op\":\"add\",\"name\":\"sum\",\"inputs\":[\"d\",\"b\"],\"output\":\"y\"}"
/* The convolution hands the input on. */
#define ALONE(channels)                                                                           \
    CONV(channels)                                                                                \
    ",{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"t\"],\"output\":\"y\",\"block\":1}"

static const struct network {
    const char *json;
    bool hands_on;
} networks[] = {
    {HEAD("rgb", WITH_BASE("3", "bicubic")), false}, {HEAD("rgb", ALONE("3")), true},
    {HEAD("y", WITH_BASE("1", "nearest")), false},   {HEAD("y", ALONE("1")), true},
    {HEAD("yuv420", ALONE("6")), true},
};

static struct srp_model *model_of(const struct network *network)
{
    struct srp_model *model = NULL;
    const struct srp_blob blob = {network->json, strlen(network->json), "graph"};
    assert_int_equal(srp_model_create_random(&model, &blob, 1, NULL), SRP_OK);
    const struct srpi_node *node = &model->graph.nodes[0];
    const uint32_t channels = model->graph.channels;
    float *weights = (float *)(uintptr_t)node->weight, *bias = (float *)(uintptr_t)node->bias;
    for (uint32_t i = 0; i < channels * channels; i++) {
        weights[i] = network->hands_on && i % (channels + 1) == 0 ? 1.0f : 0.0f;
    }
    memset(bias, 0, channels * sizeof(bias[0]));
    return model;
}

static struct srp_picture picture(enum srp_format format, uint8_t *bytes)
{
    const bool yuv = format == SRP_FORMAT_YUV420;
    const uint32_t width = format == SRP_FORMAT_BGRA ? 4 * WIDTH : yuv ? WIDTH : 3 * WIDTH;
    return (struct srp_picture){
        .format = format,
        .width = WIDTH,
        .height = HEIGHT,
        .data = {bytes, bytes + WIDTH * HEIGHT, bytes + WIDTH * HEIGHT * 5 / 4},
        .stride = {(ptrdiff_t)width, WIDTH / 2, WIDTH / 2}};
}

static void run_on(enum srp_backend backend, struct srp_model *model, enum srp_dtype dtype,
                   bool fused, enum srp_format from, enum srp_format to, uint8_t *out)
{
    static uint8_t in[BYTES];
    uint32_t seed = 3;
    for (uint32_t i = 0; i < BYTES; i++) {
        /* saturated colours: chroma of noise makes R, G and B of -300 to 560 */
        in[i] = (uint8_t)noise(&seed);
    }
    const struct srp_upscaler_params params = {
        .model = model, .threads = 2, .dtype = dtype, .backend = backend};
    struct srp_upscaler *up = NULL;
    struct srp_error err = {0};
    assert_int_equal(srp_upscaler_create(&up, &params, &err), SRP_OK);
    assert_int_equal(srpi_upscaler_set_fused(up, fused, NULL), SRP_OK);
    const struct srp_picture source = picture(from, in), target = picture(to, out);
    memset(out, 0, BYTES);
    assert_int_equal(srp_upscaler_process(up, SRP_METHOD_SR, &source, &target, &err), SRP_OK);
    srp_upscaler_destroy(&up);
}

static void run(struct srp_model *model, enum srp_dtype dtype, bool fused, enum srp_format from,
                enum srp_format to, uint8_t *out)
{
    run_on(SRP_BACKEND_NATIVE, model, dtype, fused, from, to, out);
}

static int difference(const uint8_t *a, const uint8_t *b)
{
    int most = 0;
    for (uint32_t i = 0; i < BYTES; i++) {
        const int d = abs((int)a[i] - (int)b[i]);
        most = d > most ? d : most;
    }
    return most;
}

static void nothing_is_clipped(void **state)
{
    (void)state;
    static const enum srp_format formats[] = {SRP_FORMAT_YUV420, SRP_FORMAT_RGB, SRP_FORMAT_BGRA};
    static uint8_t exact[BYTES], coarse[BYTES], fine[BYTES], clipped[BYTES];
    for (size_t n = 0; n < sizeof(networks) / sizeof(networks[0]); n++) {
        struct srp_model *model = model_of(&networks[n]);
        /* of the input alone, -340 to 680, and of what stands between */
        const float low = -340.0f / 255.0f - model->graph.mean;
        struct srpi_stated_range ranges[8] = {{low, low + STEP, false}};
        for (size_t t = 1; t < 8; t++) {
            ranges[t] = (struct srpi_stated_range){low, low + STEP, false};
        }
        for (size_t i = 0; i < 18; i++) {
            const enum srp_format from = formats[i % 3], to = formats[i / 3 % 3];
            const bool fused = i < 9;
            model->graph.ranges = NULL;
            run(model, SRP_DTYPE_F32, fused, from, to, exact);
            run(model, SRP_DTYPE_INT8, fused, from, to, clipped);
            model->graph.ranges = ranges;
            ranges[0].fine = false;
            run(model, SRP_DTYPE_INT8, fused, from, to, coarse);
            ranges[0].fine = true;
            run(model, SRP_DTYPE_INT8, fused, from, to, fine);
            model->graph.ranges = NULL;
            const int off = difference(exact, coarse);
            /* Half a step, four times that where Y and U become B; the base of luma may be the
             * picture's. */
            if (off > 8 || (off < 1 && networks[n].hands_on)) {
                fail_msg("network %zu, format %d to %d: %d", n, (int)from, (int)to, off);
            }
            /* The convolution reads 16 bits, the base the codes alone. */
            const int left = difference(exact, fine);
            if (networks[n].hands_on ? left > 1 : left != off) {
                fail_msg("network %zu, format %d to %d, 16 bits: %d", n, (int)from, (int)to, left);
            }
            const bool outside = model->graph.colour == SRP_COLOUR_RGB &&
                                 from == SRP_FORMAT_YUV420 && to == SRP_FORMAT_YUV420;
            assert_true(difference(exact, clipped) <= 1 || outside);
            assert_true(difference(exact, clipped) > 30 || !outside);
        }
        srp_model_unref(&model);
    }
}

/* A range that asks for the samples themselves gives the bytes that there are without one. */
static void samples_stay_what_they_are(void **state)
{
    (void)state;
    static uint8_t plain[BYTES], stated[BYTES];
    for (size_t n = 0; n < sizeof(networks) / sizeof(networks[0]); n++) {
        struct srp_model *model = model_of(&networks[n]);
        model->graph.mean = 128.0f / 255.0f; /* the zero point is whole */
        const struct srpi_stated_range ranges[8] = {
            {-model->graph.mean, 1.0f - model->graph.mean, false}};
        run(model, SRP_DTYPE_INT8, true, SRP_FORMAT_YUV420, SRP_FORMAT_RGB, plain);
        model->graph.ranges = ranges;
        run(model, SRP_DTYPE_INT8, true, SRP_FORMAT_YUV420, SRP_FORMAT_RGB, stated);
        model->graph.ranges = NULL;
        assert_int_equal(difference(plain, stated), 0);
        srp_model_unref(&model);
    }
}

/* The reference takes the same pictures to the same bytes. */
static void the_reference_agrees(void **state)
{
    (void)state;
    static uint8_t native[BYTES], reference[BYTES];
    for (size_t i = 0; i < 2 * sizeof(networks) / sizeof(networks[0]); i++) {
        struct srp_model *model = model_of(&networks[i / 2]);
        struct srpi_stated_range ranges[8];
        for (size_t t = 0; t < 8; t++) {
            ranges[t] = (struct srpi_stated_range){-1.5f, 2.0f, t == 0 && i % 2 == 1};
        }
        model->graph.ranges = ranges;
        run(model, SRP_DTYPE_INT8, true, SRP_FORMAT_YUV420, SRP_FORMAT_RGB, native);
        run_on(SRP_BACKEND_REFERENCE, model, SRP_DTYPE_INT8, true, SRP_FORMAT_YUV420,
               SRP_FORMAT_RGB, reference);
        model->graph.ranges = NULL;
        assert_int_equal(difference(native, reference), 0);
        srp_model_unref(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_clipped),
        cmocka_unit_test(samples_stay_what_they_are),
        cmocka_unit_test(the_reference_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
