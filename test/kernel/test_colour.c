/* SPDX-License-Identifier: BSD-2-Clause */
/* Colour conversion against the standards' numbers and against itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernel/noise.h"
#include "kernels/colour.h"

/* Codes of pure colours, from the definitions in BT.709, BT.601 and BT.2020. */
static void test_known_codes(void **state)
{
    (void)state;
    static const struct {
        enum srp_matrix matrix;
        enum srp_range range;
        float rgb[3];
        double yuv[3];
    } known[] = {
        {SRP_MATRIX_BT709, SRP_RANGE_LIMITED, {0, 0, 0}, {16, 128, 128}},
        {SRP_MATRIX_BT709, SRP_RANGE_LIMITED, {255, 255, 255}, {235, 128, 128}},
        {SRP_MATRIX_BT709, SRP_RANGE_LIMITED, {255, 0, 0}, {62.5594, 102.3360, 240}},
        {SRP_MATRIX_BT709, SRP_RANGE_LIMITED, {0, 0, 255}, {31.8118, 240, 117.7303}},
        {SRP_MATRIX_BT601, SRP_RANGE_LIMITED, {255, 0, 0}, {81.481, 90.2032, 240}},
        {SRP_MATRIX_BT601, SRP_RANGE_FULL, {0, 255, 0}, {149.685, 43.5276, 21.2345}},
        {SRP_MATRIX_BT2020, SRP_RANGE_FULL, {255, 0, 0}, {66.9885, 92.3947, 255.5}},
        {SRP_MATRIX_BT709, SRP_RANGE_FULL, {255, 255, 255}, {255, 128, 128}},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct srpi_colour colour;
        float row[3][1], *rows[3] = {row[0], row[1], row[2]};
        for (int c = 0; c < 3; c++) {
            row[c][0] = known[i].rgb[c];
        }
        srpi_colour_init(&colour, known[i].matrix, known[i].range);
        srpi_colour_to_yuv(&colour, rows, 1);
        for (int c = 0; c < 3; c++) {
            if (!(fabs((double)row[c][0] - known[i].yuv[c]) < 0.002)) {
                fail_msg("case %zu component %d: %f instead of %f", i, c, (double)row[c][0],
                         known[i].yuv[c]);
            }
        }
        srpi_colour_to_rgb(&colour, rows, 1);
        for (int c = 0; c < 3; c++) {
            assert_true(fabsf(row[c][0] - known[i].rgb[c]) < 0.001f);
        }
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int matrix = 0; matrix < 3; matrix++) {
        for (int range = 0; range < 2; range++) {
            struct srpi_colour colour;
            float row[3][61], before[3][61], *rows[3] = {row[0], row[1], row[2]};
            srpi_colour_init(&colour, (enum srp_matrix)matrix, (enum srp_range)range);
            for (int c = 0; c < 3; c++) {
                for (int x = 0; x < 61; x++) {
                    row[c][x] = (float)(noise(&seed) & 255);
                }
            }
            memcpy(before, row, sizeof(row));
            srpi_colour_to_rgb(&colour, rows, 61);
            srpi_colour_to_yuv(&colour, rows, 61);
            for (int c = 0; c < 3; c++) {
                for (int x = 0; x < 61; x++) {
                    assert_true(fabsf(row[c][x] - before[c][x]) < 0.001f);
                }
            }
        }
    }
}

static double at(const float *in, int x, uint32_t count)
{
    return (double)in[x < 0 ? 0 : x >= (int)count ? (int)count - 1 : x];
}

static void test_halving(void **state)
{
    (void)state;
    uint32_t seed = 4;
    float in[40], out[20];
    noise_fill(in, 40, &seed);
    for (uint32_t count = 1; count <= 40; count++) {
        for (int sited = 0; sited < 2; sited++) {
            srpi_chroma_half(in, out, count, sited);
            for (int x = 0; x < (int)(count + 1) / 2; x++) {
                const double wanted =
                    sited ? (at(in, 2 * x - 1, count) + 2.0 * at(in, 2 * x, count) +
                             at(in, 2 * x + 1, count)) / 4.0
                          : (at(in, 2 * x, count) + at(in, 2 * x + 1, count)) / 2.0;
                assert_true(fabs((double)out[x] - wanted) < 1e-6);
            }
        }
    }
    float made[40];
    srpi_rows_121(in, in + 1, in + 2, made, 37);
    assert_true(fabsf(made[36] - (in[36] + 2.0f * in[37] + in[38]) / 4.0f) < 1e-6f);
    srpi_rows_11(in, in + 3, made, 37);
    assert_true(fabsf(made[36] - (in[36] + in[39]) / 2.0f) < 1e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_codes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_halving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
