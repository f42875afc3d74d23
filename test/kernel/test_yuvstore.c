/* SPDX-License-Identifier: BSD-2-Clause */
/* From shuffled R, G and B to the bytes of 4:2:0: the same as by way of whole rows, and nothing
 * beside them is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exec/cpu.h"
#include "kernel/noise.h"
#include "kernels/resample.h"
#include "kernels/yuvstore.h"

#define MOST 100u /* columns */
#define PIXELS (MOST / 2 + 2)
#define WIDTH 128u /* of a row of bytes */
#define UNTOUCHED 0xa5u

struct planes {
    uint8_t luma[4 + 2][WIDTH], chroma[2][2 + 2][WIDTH];
};

/* Where the first row of the planes and its first column are. */
#define MARGIN 8u

static void place(struct srpi_yuvstore *s, struct planes *planes, bool interleaved)
{
    memset(planes, UNTOUCHED, sizeof(*planes));
    s->luma = &planes->luma[1][MARGIN];
    s->luma_stride = WIDTH;
    s->chroma[0] = &planes->chroma[0][1][MARGIN];
    s->chroma[1] = interleaved ? s->chroma[0] + 1 : &planes->chroma[1][1][MARGIN];
    s->chroma_stride[0] = s->chroma_stride[1] = WIDTH;
    s->chroma_step = interleaved ? 2 : 1;
}

/* The definition: rows of floats, as an upscaler makes them for every other network. */
static void by_rows(const struct srpi_yuvstore *s)
{
    const struct srpi_resample_kernels *kernels = &srpi_resample_scalar;
    const uint32_t margin = s->edge ? 0 : s->block, all = s->count + margin;
    float rows[3][MOST + 8], half[2][2][MOST], mean[MOST];
    uint8_t codes[MOST];
    for (uint32_t y = 0; y < s->rows; y++) {
        float *const row[3] = {rows[0], rows[1], rows[2]};
        for (uint32_t x = 0; x < all; x++) {
            const float *pixel = s->edge ? s->pixel : s->pixel - s->channels;
            for (uint32_t c = 0; c < 3; c++) {
                const float value = pixel[x / s->block * s->channels +
                                          (c * s->block + y) * s->block + x % s->block];
                rows[c][x] = s->flat + s->gain * value;
            }
        }
        srpi_colour_to_yuv(s->colour, row, all);
        kernels->narrow(rows[0] + margin, s->luma + y * s->luma_stride, s->count);
        for (uint32_t c = 0; c < 2; c++) {
            srpi_chroma_half(rows[1 + c], half[c][y % 2], all, s->sited);
        }
        for (uint32_t c = 0; c < 2 && y % 2 == 1; c++) {
            const uint32_t count = (s->count + 1) / 2;
            srpi_rows_11(half[c][0] + margin / 2, half[c][1] + margin / 2, mean, count);
            kernels->narrow(mean, codes, count);
            for (uint32_t x = 0; x < count; x++) {
                s->chroma[c][y / 2 * s->chroma_stride[c] + x * s->chroma_step] = codes[x];
            }
        }
    }
}

static void check_case(uint32_t *seed, float *values)
{
    struct srpi_colour colour;
    struct srpi_yuvstore s = {.colour = &colour, .gain = 255.0f};
    struct planes wanted, made;
    const bool interleaved = noise(seed) % 2;
    s.block = noise(seed) % 2 ? 4 : 2;
    s.channels = 3 * s.block * s.block;
    s.flat = noise(seed) % 2 ? 114.75f : 0.0f;
    s.sited = noise(seed) % 2;
    s.edge = noise(seed) % 2;
    s.rows = s.block == 4 && noise(seed) % 4 ? 4 : 2;
    s.count = 1 + noise(seed) % MOST;
    s.pixel = values + s.channels;
    const uint32_t matrix = noise(seed) % 3;
    srpi_colour_init(&colour, (enum srp_matrix)matrix,
                     noise(seed) % 2 ? SRP_RANGE_FULL : SRP_RANGE_LIMITED);
    const srpi_yuvstore_fn ways[] = {srpi_yuvstore, srpi_yuvstore_scalar,
                                     srpi_cpu_avx2() ? srpi_yuvstore_avx2 : NULL,
                                     srpi_cpu_avx512() ? srpi_yuvstore_avx512 : NULL};
    place(&s, &wanted, interleaved);
    by_rows(&s);
    for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
        if (ways[way] == NULL) {
            continue; /* not on this machine: the others stay */
        }
        place(&s, &made, interleaved);
        ways[way](&s);
        if (memcmp(&wanted, &made, sizeof(made)) != 0) {
            fail_msg("way %zu: block %u, %u columns, %u rows, sited %d, edge %d, interleaved %d", way,
                     s.block, s.count, s.rows, s.sited, s.edge, interleaved);
        }
    }
}

static void same_bytes(void **state)
{
    (void)state;
    uint32_t seed = 9;
    float *values = malloc(PIXELS * 48 * sizeof(float));
    assert_non_null(values);
    for (uint32_t round = 0; round < 400; round++) {
        noise_fill(values, PIXELS * 48, &seed);
        for (uint32_t i = 0; round % 4 == 3 && i < 40; i++) {
            static const float far[] = {1e30f, -1e30f, INFINITY, -INFINITY, NAN};
            values[noise(&seed) % (PIXELS * 48)] = far[noise(&seed) % 5];
        }
        check_case(&seed, values);
    }
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
