/* SPDX-License-Identifier: BSD-2-Clause */
/* kernels/rowops.h, what whole networks do not reach in all its forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernel/rows.h"
#include "kernels/reference.h"
#include "kernels/rowops.h"

/* Columns of some channels, of rows of any element, number and width; nothing but the 8 bytes
 * behind them is written. */
static void columns(void **state)
{
    (void)state;
    uint32_t seed = 29;
    for (uint32_t i = 0; i < 3000; i++) {
        const uint32_t element = 1u << noise(&seed) % 3, height = 1 + noise(&seed) % SRP_MAX_KERNEL;
        const uint32_t stride = 1 + noise(&seed) % 12, pixels = 1 + noise(&seed) % 40;
        const uint32_t first = noise(&seed) % stride;
        const uint32_t count = i % 2 == 0 ? 1 : 1 + noise(&seed) % (stride - first);
        const size_t column = (size_t)height * count * element, bytes = pixels * column;
        struct zone rows[SRP_MAX_KERNEL], to = zone_create(bytes + 8, true);
        const void *taps[SRP_MAX_KERNEL];
        for (uint32_t k = 0; k < height; k++) {
            rows[k] = zone_create((size_t)pixels * stride * element, true);
            for (size_t b = 0; b < (size_t)pixels * stride * element; b++) {
                rows[k].data[b] = (uint8_t)noise(&seed);
            }
            taps[k] = rows[k].data;
        }
        const struct srpi_columns all = {.rows = taps,
                                         .height = height,
                                         .stride = stride,
                                         .first = first,
                                         .count = count,
                                         .pixels = pixels,
                                         .to = to.data};
        srpi_row_columns(&all, element);
        for (size_t b = 0; b < bytes; b++) {
            const size_t pixel = b / column, k = b % column / (count * element);
            const size_t at = (pixel * stride + first) * element + b % (count * element);
            assert_int_equal(to.data[b], rows[k].data[at]);
        }
        for (uint32_t k = 0; k < height; k++) {
            zone_destroy(&rows[k]);
        }
        zone_destroy(&to);
    }
}

/* The loops of rows against the plain reference, value by value; NaN and both zeros among them. */
static void activations(void **state)
{
    (void)state;
    static const enum srpi_activation all[] = {SRPI_ACT_NONE, SRPI_ACT_RELU, SRPI_ACT_LEAKY_RELU,
                                               SRPI_ACT_CLIP};
    uint32_t seed = 31;
    for (uint32_t i = 0; i < 400; i++) {
        const uint32_t count = 1 + noise(&seed) % 67;
        struct zone got = zone_create(count * sizeof(float), true);
        float *const values = (float *)(void *)got.data;
        float expected[67];
        for (uint32_t k = 0; k < count; k++) {
            const uint32_t kind = noise(&seed) % 12;
            values[k] = kind == 0 ? 0.0f : kind == 1 ? -0.0f : kind == 2 ? NAN : noise_f(&seed);
            expected[k] = values[k];
        }
        const float alpha = 2.0f * noise_f(&seed), min = noise_f(&seed), max = min + 0.5f;
        srpi_row_activate(values, count, all[i % 4], alpha, min, max);
        srpi_ref_activate(expected, count, 1, all[i % 4], alpha, min, max, NULL);
        assert_memory_equal(values, expected, count * sizeof(float));
        zone_destroy(&got);
    }
}

/* NEAREST as a repetition against the five taps of all modes. */
static void repeats(void **state)
{
    (void)state;
    enum { WIDTH = 19, CHANNELS = 5, MOST = 4 * WIDTH };
    const struct srpi_codec codec = {.dtype = SRPI_F32, .element = sizeof(float)};
    uint32_t seed = 37;
    float row[WIDTH * CHANNELS], work[(MOST + 5) * CHANNELS], spare[(MOST + 5) * CHANNELS];
    for (uint32_t i = 0; i < WIDTH * CHANNELS; i++) {
        row[i] = noise_f(&seed);
    }
    for (uint32_t i = 0; i < 500; i++) {
        const uint32_t scale = 1 + noise(&seed) % 4, all = WIDTH * scale;
        struct srpi_row_resize resize = {.scale = scale,
                                         .mode = SRPI_RESIZE_NEAREST,
                                         .channels = CHANNELS,
                                         .width = WIDTH,
                                         .first_out = noise(&seed) % all,
                                         .y = noise(&seed) % 9,
                                         .rows = {row, row, row, row, row}};
        resize.pixels = 1 + noise(&seed) % (all - resize.first_out);
        const size_t bytes = resize.pixels * CHANNELS * sizeof(float);
        struct zone got = zone_create(bytes, true);
        float expected[MOST * CHANNELS];
        srpi_row_resize(&resize, &codec, expected, work, spare);
        srpi_row_repeat(&resize, row + (size_t)(resize.first_out / scale) * CHANNELS, got.data,
                        CHANNELS * sizeof(float));
        assert_memory_equal(got.data, expected, bytes);
        zone_destroy(&got);
    }
}

/* What follows whole sums, against the reference of a layer of one tap whose weights are 0, so that
 * its bias is the sum. */
static void sums(void **state)
{
    (void)state;
    enum { CHANNELS = 21, PIXELS = 9 };
    const int16_t weights[CHANNELS] = {0};
    uint32_t seed = 41;
    for (uint32_t i = 0; i < 400; i++) {
        int32_t bias[64] = {0};
        float multiplier[64] = {0.0f}, shift[64] = {0.0f}, slope[64] = {0.0f};
        float other[CHANNELS * PIXELS], v[CHANNELS * PIXELS], expected[CHANNELS];
        const bool bends = noise(&seed) % 2, adds = noise(&seed) % 2;
        struct srpi_conv_layer layer = {
            .shape = {1, 1, 1, CHANNELS, SRPI_Q8, i % 2 ? SRPI_Q8 : SRPI_F32, false},
            .bias = bias, .multiplier = multiplier, .shift = shift,
            .slope = bends ? slope : NULL, .offset = 90.0f + noise_f(&seed),
            .has_residual = adds, .residual = SRPI_F32, .residual_multiplier = noise_f(&seed),
            .clamp = noise(&seed) % 2, .low = 40.0f, .high = 200.0f};
        for (uint32_t c = 0; c < CHANNELS; c++) {
            bias[c] = (int32_t)(noise(&seed) % (1u << 24)) - (1 << 23);
            multiplier[c] = 1e-5f * (1.0f + noise_f(&seed));
            shift[c] = noise_f(&seed), slope[c] = 2.0f * noise_f(&seed);
        }
        for (uint32_t k = 0; k < CHANNELS * PIXELS; k++) {
            v[k] = (float)bias[k % CHANNELS];
            other[k] = 30.0f * noise_f(&seed);
        }
        srpi_row_finish_sums(&layer, adds ? other : NULL, v, PIXELS);
        for (uint32_t p = 0; p < PIXELS; p++) {
            const uint8_t code = 0;
            const void *tap = &code;
            uint8_t codes[CHANNELS];
            const bool narrow = layer.shape.out == SRPI_Q8;
            const struct srpi_conv_row row = {.rows = &tap,
                                              .out = narrow ? (void *)codes : expected,
                                              .residual = other + (size_t)p * CHANNELS,
                                              .pixels = 1};
            srpi_row_reference(&layer, &row, SRPI_Q8_U8, weights);
            for (uint32_t c = 0; c < CHANNELS; c++) {
                const float value = v[p * CHANNELS + c];
                if (narrow) {
                    const float whole = rintf(value);
                    assert_int_equal(codes[c], whole < 0.0f ? 0 : whole > 255.0f ? 255 : whole);
                } else {
                    assert_true(value == expected[c]);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(columns), cmocka_unit_test(activations),
                                       cmocka_unit_test(repeats), cmocka_unit_test(sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
