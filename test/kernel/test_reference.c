/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference operators against the formulas of docs/format.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/noise.h"
#include "kernels/reference.h"

static float *new_floats(size_t count)
{
    float *data = calloc(count + 1, sizeof(float));
    assert_non_null(data);
    return data;
}

static void assert_near(const float *a, const double *b, size_t count, double tolerance)
{
    for (size_t i = 0; i < count; i++) {
        if (!(fabs((double)a[i] - b[i]) <= tolerance)) {
            fail_msg("element %zu: %.9g instead of %.9g", i, (double)a[i], b[i]);
        }
    }
}

struct shape {
    uint32_t height, width, in, out, kh, kw;
};
static const struct shape shapes[] = {
    {1, 1, 1, 1, 1, 1},   {1, 1, 3, 5, 3, 3},    {2, 7, 4, 9, 3, 3},   {5, 3, 2, 16, 5, 5},
    {17, 31, 3, 4, 3, 3}, {9, 40, 16, 16, 3, 3}, {4, 19, 8, 17, 1, 1}, {3, 2, 5, 33, 7, 3},
    {6, 5, 1, 24, 1, 11}, {13, 1, 6, 28, 11, 1}, {3, 23, 32, 12, 3, 3}};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static double activated(double x, enum srpi_activation a, double alpha, double low, double high)
{
    switch (a) {
    case SRPI_ACT_NONE:
        break;
    case SRPI_ACT_RELU:
        return fmax(x, 0.0);
    case SRPI_ACT_LEAKY_RELU:
    case SRPI_ACT_PRELU:
        return x < 0.0 ? alpha * x : x;
    case SRPI_ACT_CLIP:
        return fmin(fmax(x, low), high);
    case SRPI_ACT_TANH:
        return tanh(x);
    case SRPI_ACT_SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    }
    return x;
}

static double convolved(const struct shape *s, const float *in, const float *weight, int y, int x,
                        uint32_t o)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < s->in; i++) {
        for (int ky = 0; ky < (int)s->kh; ky++) {
            for (int kx = 0; kx < (int)s->kw; kx++) {
                const int sy = y + ky - ((int)s->kh - 1) / 2, sx = x + kx - ((int)s->kw - 1) / 2;
                if (sy >= 0 && sx >= 0 && sy < (int)s->height && sx < (int)s->width) {
                    sum += (double)in[((size_t)sy * s->width + (size_t)sx) * s->in + i] *
                           (double)weight[((o * s->in + i) * s->kh + (size_t)ky) * s->kw +
                                          (size_t)kx];
                }
            }
        }
    }
    return sum;
}

static void check_convolution(const struct shape *s, enum srpi_activation activation)
{
    uint32_t seed = 7 + (uint32_t)activation;
    const size_t weights = (size_t)s->out * s->in * s->kh * s->kw;
    const size_t pixels = (size_t)s->height * s->width;
    float *in = new_floats(pixels * s->in), *out = new_floats(pixels * s->out);
    float *weight = new_floats(weights), *bias = new_floats(s->out), *slope = new_floats(s->out);
    float *packed = new_floats(srpi_ref_packed_size(s->in, s->out, s->kh, s->kw));
    double *expected = calloc(pixels * s->out, sizeof(double));
    assert_non_null(expected);
    noise_fill(in, pixels * s->in, &seed);
    noise_fill(weight, weights, &seed);
    noise_fill(bias, s->out, &seed);
    noise_fill(slope, s->out, &seed);
    for (size_t p = 0; p < pixels; p++) {
        for (uint32_t o = 0; o < s->out; o++) {
            const double alpha = activation == SRPI_ACT_PRELU ? (double)slope[o] : 0.125;
            expected[p * s->out + o] =
                activated(convolved(s, in, weight, (int)(p / s->width), (int)(p % s->width), o) +
                              (double)bias[o],
                          activation, alpha, -0.25, 0.75);
        }
    }
    srpi_ref_pack(packed, weight, s->in, s->out, s->kh, s->kw);
    const struct srpi_ref_conv conv = {.height = s->height,
                                       .width = s->width,
                                       .in_channels = s->in,
                                       .out_channels = s->out,
                                       .kernel_height = s->kh,
                                       .kernel_width = s->kw,
                                       .packed = packed,
                                       .bias = bias,
                                       .activation = activation,
                                       .alpha = 0.125f,
                                       .min = -0.25f,
                                       .max = 0.75f,
                                       .slope = slope};
    srpi_ref_conv2d(&conv, in, out, s->height / 2, s->height); /* in two parts */
    srpi_ref_conv2d(&conv, in, out, 0, s->height / 2);
    assert_near(out, expected, pixels * s->out, 1e-4);

    free(in), free(out), free(weight), free(bias), free(slope), free(packed);
    free(expected);
}

static void test_convolution(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        check_convolution(&shapes[i], SRPI_ACT_NONE);
    }
    for (enum srpi_activation a = SRPI_ACT_RELU; a <= SRPI_ACT_SIGMOID; a++) {
        check_convolution(&shapes[3], a);
        check_convolution(&shapes[2], a);
    }
}

static void test_add(void **state)
{
    (void)state;
    uint32_t seed = 3;
    float a[37], b[37], out[37];
    double expected[37];
    noise_fill(a, 37, &seed);
    noise_fill(b, 37, &seed);
    for (size_t i = 0; i < 37; i++) {
        expected[i] = (double)(a[i] + b[i]);
    }
    srpi_ref_add(a, b, out, 37);
    assert_near(out, expected, 37, 0.0);
    srpi_ref_add(a, b, a, 37); /* in place */
    assert_near(a, expected, 37, 0.0);
}

static void test_mul(void **state)
{
    (void)state;
    uint32_t seed = 4;
    float a[37], b[37], out[37];
    double expected[37];
    noise_fill(a, 37, &seed);
    noise_fill(b, 37, &seed);
    for (size_t i = 0; i < 37; i++) {
        expected[i] = (double)(a[i] * b[i]);
    }
    srpi_ref_mul(a, b, out, 37);
    assert_near(out, expected, 37, 0.0);
    srpi_ref_mul(a, b, b, 37); /* in place */
    assert_near(b, expected, 37, 0.0);
}

static void test_slice(void **state)
{
    (void)state;
    const float in[] = {1, 2, 3, 4, 5, 10, 20, 30, 40, 50};
    const double expected[] = {2, 3, 4, 20, 30, 40};
    float out[7] = {0, 0, 0, 0, 0, 0, 77};
    srpi_ref_slice(in, 5, 1, out, 3, 2);
    assert_near(out, expected, 6, 0.0);
    assert_true(out[6] == 77.0f);
}

static void test_concat(void **state)
{
    (void)state;
    const float a[] = {1, 2, 3, 4}, b[] = {10, 20, 30, 40, 50, 60};
    const double expected[] = {1, 2, 10, 20, 30, 3, 4, 40, 50, 60};
    float out[10];
    srpi_ref_concat(a, 2, out, 5, 0, 2);
    srpi_ref_concat(b, 3, out, 5, 2, 2);
    assert_near(out, expected, 10, 0.0);
}

static void test_depth_to_space(void **state)
{
    (void)state;
    uint32_t seed = 11;
    for (uint32_t block = 1; block <= 4; block++) {
        const uint32_t channels = 3, height = 5, width = 7;
        const uint32_t deep = channels * block * block;
        float *in = new_floats((size_t)height * width * deep);
        float *out = new_floats((size_t)height * width * deep);
        noise_fill(in, (size_t)height * width * deep, &seed);
        for (int dcr = 0; dcr < 2; dcr++) {
            srpi_ref_depth_to_space(in, out, width, channels, block,
                                    dcr ? SRPI_ORDER_DCR : SRPI_ORDER_CRD, 0, height);
            for (uint32_t y = 0; y < height * block; y++) {
                for (uint32_t x = 0; x < width * block; x++) {
                    for (uint32_t c = 0; c < channels; c++) {
                        const uint32_t i = y % block, j = x % block;
                        const uint32_t from = dcr ? (i * block + j) * channels + c
                                                  : c * block * block + i * block + j;
                        const float wanted = in[(y / block * width + x / block) * deep + from];
                        assert_true(out[(y * width * block + x) * channels + c] == wanted);
                    }
                }
            }
        }
        free(in), free(out);
    }
}

static double keys(double x)
{
    const double a = -0.6;
    x = fabs(x);
    return x <= 1.0  ? (a + 2) * x * x * x - (a + 3) * x * x + 1
           : x < 2.0 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a
                     : 0.0;
}

static double weight_of(enum srpi_resize_mode mode, double distance)
{
    switch (mode) {
    case SRPI_RESIZE_NEAREST:
        return fabs(distance) < 0.5 ? 1.0 : 0.0;
    case SRPI_RESIZE_BILINEAR:
        return fmax(0.0, 1.0 - fabs(distance));
    case SRPI_RESIZE_BICUBIC:
        break;
    }
    return keys(distance);
}

static int clamped(int i, uint32_t count)
{
    return i < 0 ? 0 : i >= (int)count ? (int)count - 1 : i;
}

static void test_resize(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{1, 1}, {2, 3}, {5, 4}, {7, 11}};
    uint32_t seed = 5;
    for (size_t n = 0; n < 4; n++) {
        for (uint32_t scale = 1; scale <= 4; scale++) {
            for (enum srpi_resize_mode mode = SRPI_RESIZE_NEAREST; mode <= SRPI_RESIZE_BICUBIC;
                 mode++) {
                const uint32_t h = sizes[n][0], w = sizes[n][1], channels = 2;
                const uint32_t oh = h * scale, ow = w * scale;
                float *in = new_floats((size_t)h * w * channels);
                float *out = new_floats((size_t)oh * ow * channels);
                double *expected = calloc((size_t)oh * ow * channels, sizeof(double));
                assert_non_null(expected);
                noise_fill(in, (size_t)h * w * channels, &seed);
                for (uint32_t y = 0; y < oh; y++) {
                    for (uint32_t x = 0; x < ow; x++) {
                        const double py = (y + 0.5) / scale - 0.5, px = (x + 0.5) / scale - 0.5;
                        for (int sy = (int)floor(py) - 3; sy < (int)floor(py) + 5; sy++) {
                            for (int sx = (int)floor(px) - 3; sx < (int)floor(px) + 5; sx++) {
                                const double k =
                                    weight_of(mode, py - sy) * weight_of(mode, px - sx);
                                const int at = clamped(sy, h) * (int)w + clamped(sx, w);
                                for (uint32_t c = 0; c < channels; c++) {
                                    expected[(y * ow + x) * channels + c] +=
                                        k * (double)in[(uint32_t)at * channels + c];
                                }
                            }
                        }
                    }
                }
                srpi_ref_resize(in, out, h, w, channels, scale, mode, 0, oh);
                assert_near(out, expected, (size_t)oh * ow * channels, 1e-5);
                free(in), free(out), free(expected);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),    cmocka_unit_test(test_add),
        cmocka_unit_test(test_concat),         cmocka_unit_test(test_depth_to_space),
        cmocka_unit_test(test_resize),         cmocka_unit_test(test_mul),
        cmocka_unit_test(test_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
