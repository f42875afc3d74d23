/* SPDX-License-Identifier: BSD-2-Clause */
/* The resampler: positions, constants, equality of its variants, and agreement with libswscale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <srp/upscaler.h>

#include "exec/cpu.h"
#include "kernel/noise.h"
#include "kernels/resample.h"

/* factor, a4, b4: pictures and centred planes; sited chroma to chroma; both to luma. */
static const uint32_t axes[][3] = {{1, 2, 2}, {2, 2, 2}, {3, 2, 2}, {4, 2, 2}, {1, 1, 1},
                                   {2, 1, 1}, {3, 1, 1}, {4, 1, 1}, {2, 2, 1}, {4, 2, 1},
                                   {6, 2, 1}, {8, 2, 1}, {6, 2, 2}, {8, 2, 2}};
#define AXES (sizeof(axes) / sizeof(axes[0]))

struct bench {
    float padded[64 + 2 * SRPI_SAMPLE_SLACK], rows[SRPI_RING_ROWS * 1024], out[1024];
    struct srpi_ring ring;
};

static void bench_init(struct bench *b, uint32_t width)
{
    memset(b, 0, sizeof(*b));
    b->ring = (struct srpi_ring){.rows = b->rows, .pitch = 1024, .padded = b->padded};
    srpi_ring_reset(&b->ring, 0, width);
}

/* A plane of width x height whose value grows along x or along y is enlarged along that axis. */
static void check_ramp(const uint32_t *definition, enum srpi_filter filter, bool vertical)
{
    static struct bench b;
    uint8_t plane[64 * 64];
    const uint32_t count = 50, factor = definition[0];
    struct srpi_axis axis, one;
    srpi_axis_init(&axis, filter, factor, definition[1], definition[2]);
    srpi_axis_init(&one, SRPI_FILTER_NEAREST, 1, 2, 2);
    for (uint32_t i = 0; i < count * count; i++) {
        plane[i] = (uint8_t)(10 + 4 * (vertical ? i / count : i % count));
    }
    const struct srpi_source source = {.view = {.data = plane,
                                                .stride = (ptrdiff_t)count,
                                                .step = 1,
                                                .width = count,
                                                .height = count},
                                       .h = vertical ? &one : &axis,
                                       .v = vertical ? &axis : &one};
    bench_init(&b, vertical ? count : count * factor);
    for (uint32_t j = 0; j < count * factor; j++) {
        const double position = (j + definition[1] / 4.0) / factor - definition[2] / 4.0;
        if (position < 4.0 || position > count - 5.0) {
            continue;
        }
        const float *row = srpi_source_row(&source, &b.ring, vertical ? j : 7, b.out);
        const double value = (double)row[vertical ? 13 : j];
        /* A cubic with C = 0.6 is off a straight line by up to 0.02 source samples, Lanczos by less
         * than 0.05; a wrong siting is off by 1/8 at least. */
        const double tolerance = filter == SRPI_FILTER_LANCZOS ? 0.05 : 0.021;
        if (!(fabs((value - 10.0) / 4.0 - position) < tolerance)) {
            fail_msg("factor %u (%u/4, %u/4), sample %u: at %.4f instead of %.4f", factor,
                     definition[1], definition[2], j, (value - 10.0) / 4.0, position);
        }
    }
}

static void test_ramp(void **state)
{
    (void)state;
    for (size_t i = 0; i < AXES; i++) {
        for (int vertical = 0; vertical < 2; vertical++) {
            check_ramp(axes[i], SRPI_FILTER_LINEAR, vertical);
            check_ramp(axes[i], SRPI_FILTER_CUBIC, vertical);
            check_ramp(axes[i], SRPI_FILTER_LANCZOS, vertical);
        }
    }
}

/* Over all phases of one source sample the deviations cancel: what remains would be a shift. */
static void test_mean_position(void **state)
{
    (void)state;
    for (size_t i = 0; i < AXES; i++) {
        for (enum srpi_filter f = SRPI_FILTER_LINEAR; f <= SRPI_FILTER_LANCZOS; f++) {
            double sum = 0.0, expected = 0.0;
            for (uint32_t j = 0; j < axes[i][0]; j++) {
                float taps[SRPI_MAX_TAPS];
                int64_t first;
                const uint32_t n = srpi_filter_taps(f, axes[i][0], axes[i][1], axes[i][2], j, taps,
                                                    &first);
                double total = 0.0;
                for (uint32_t k = 0; k < n; k++) {
                    sum += (double)taps[k] * (double)(first + k);
                    total += (double)taps[k];
                }
                assert_true(fabs(total - 1.0) < 1e-6);
                expected += (j + axes[i][1] / 4.0) / axes[i][0] - axes[i][2] / 4.0;
            }
            if (axes[i][1] == axes[i][2] && axes[i][1] == 2) {
                assert_true(fabs(sum - expected) < 1e-6);
            } else {
                assert_true(fabs(sum - expected) < 0.03 * axes[i][0]);
            }
        }
    }
}

static void test_constant(void **state)
{
    (void)state;
    static struct bench b;
    uint8_t plane[5 * 3];
    memset(plane, 200, sizeof(plane));
    for (size_t i = 0; i < AXES; i++) {
        for (enum srpi_filter f = SRPI_FILTER_NEAREST; f <= SRPI_FILTER_LANCZOS; f++) {
            struct srpi_axis axis;
            srpi_axis_init(&axis, f, axes[i][0], axes[i][1], axes[i][2]);
            const struct srpi_source source = {
                .view = {.data = plane, .stride = 5, .step = 1, .width = 5, .height = 3},
                .h = &axis,
                .v = &axis};
            bench_init(&b, 5 * axes[i][0]);
            for (uint32_t y = 0; y < 3 * axes[i][0]; y++) {
                const float *row = srpi_source_row(&source, &b.ring, y, b.out);
                for (uint32_t x = 0; x < 5 * axes[i][0]; x++) {
                    assert_true(fabsf(row[x] - 200.0f) < 0.001f);
                }
            }
        }
    }
}

/* Some columns of a row are those of the whole row, bit for bit, and need no other samples. */
static void test_columns(void **state)
{
    (void)state;
    static struct bench whole, part;
    enum { WIDTH = 40, HEIGHT = 9 };
    uint8_t plane[WIDTH * HEIGHT];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof(plane); i++) {
        seed = seed * 1664525u + 1013904223u;
        plane[i] = (uint8_t)(seed >> 24);
    }
    for (size_t i = 0; i < AXES; i++) {
        for (enum srpi_filter f = SRPI_FILTER_NEAREST; f <= SRPI_FILTER_LANCZOS; f++) {
            const uint32_t factor = axes[i][0];
            struct srpi_axis axis;
            srpi_axis_init(&axis, f, factor, axes[i][1], axes[i][2]);
            const struct srpi_source source = {
                .view = {.data = plane, .stride = WIDTH, .step = 1, .width = WIDTH, .height = HEIGHT},
                .h = &axis,
                .v = &axis};
            bench_init(&whole, WIDTH * factor);
            for (uint32_t begin = 0; begin < WIDTH; begin += 7) {
                for (uint32_t end = begin + 1; end <= WIDTH; end += 11) {
                    bench_init(&part, 0);
                    srpi_ring_reset(&part.ring, begin * factor, end * factor);
                    for (uint32_t y = 0; y < HEIGHT * factor; y += 5) {
                        const float *a = srpi_source_row(&source, &whole.ring, y, whole.out);
                        const float *b = srpi_source_row(&source, &part.ring, y, part.out);
                        assert_memory_equal(a + begin * factor, b,
                                            (end - begin) * factor * sizeof(float));
                    }
                }
            }
        }
    }
}

/* Rows of bytes, and nothing behind them. */
static void check_bytes(const struct srpi_resample_kernels *k, float (*in)[512], uint32_t count)
{
    const float *rows[SRPI_MAX_TAPS] = {in[0], in[1], in[2], in[3], in[4], in[5]};
    const float taps[SRPI_MAX_TAPS] = {-0.1f, 0.4f, 0.9f, -0.2f, 0.05f, -0.05f};
    uint8_t a[4 * 333 + 1], b[4 * 333 + 1];
    for (uint32_t n = 0; n <= SRPI_MAX_TAPS; n++) {
        for (uint32_t block = 0; block <= 4 && count * block <= 400; block++) {
            const struct srpi_blend blend = {.rows = rows,
                                             .tap = taps,
                                             .taps = n,
                                             .flat = 99.5f,
                                             .tail = block > 0 ? in[2] : NULL,
                                             .block = block,
                                             .gain = 0.75f};
            a[count] = b[count] = 77;
            srpi_resample_scalar.blend(&blend, a, count);
            k->blend(&blend, b, count);
            assert_memory_equal(a, b, count);
            assert_true(a[count] == 77 && b[count] == 77);
        }
    }
    static const uint8_t orders[2][3] = {{0, 1, 2}, {2, 1, 0}};
    for (uint32_t step = 3; step <= 4; step++) {
        for (uint32_t block = 1; block <= 4; block++) {
            const uint32_t cell = block * block, n = count < 100 ? count : 100;
            a[n * step] = b[n * step] = 77;
            srpi_resample_scalar.interleave_shuffled(in[0], 3 * cell, cell, block, 9.5f, 0.4f,
                                                     orders[step - 3], step, a, n);
            k->interleave_shuffled(in[0], 3 * cell, cell, block, 9.5f, 0.4f,
                                                    orders[step - 3], step, b, n);
            assert_memory_equal(a, b, (size_t)n * step);
            assert_true(a[n * step] == 77 && b[n * step] == 77);
        }
        a[count * step] = b[count * step] = 77;
        srpi_resample_scalar.interleave(rows, 3.25f, 0.5f, orders[step - 3], step, a, count);
        k->interleave(rows, 3.25f, 0.5f, orders[step - 3], step, b, count);
        assert_memory_equal(a, b, (size_t)count * step);
        assert_true(a[count * step] == 77 && b[count * step] == 77);
    }
}

static void test_interleaving(void **state)
{
    (void)state;
    const float r[3] = {1, 2, 3}, g[3] = {10, 20, 30}, b[3] = {100, 110, 120};
    const float *const rows[3] = {r, g, b};
    const uint8_t rgb[9] = {3, 21, 201, 5, 41, 221, 7, 61, 241};
    const uint8_t bgra[12] = {201, 21, 3, 255, 221, 41, 5, 255, 241, 61, 7, 255};
    uint8_t out[12];
    srpi_resample_scalar.interleave(rows, 1.0f, 2.0f, (const uint8_t[]){0, 1, 2}, 3, out, 3);
    assert_memory_equal(out, rgb, 9);
    srpi_resample_scalar.interleave(rows, 1.0f, 2.0f, (const uint8_t[]){2, 1, 0}, 4, out, 3);
    assert_memory_equal(out, bgra, 12);
}

/* The kernels give the bits of the plain ones, at odd counts too. */
static void check_variant(const struct srpi_resample_kernels *k)
{
    static float in[SRPI_MAX_TAPS][512], a[1024], b[1024];
    static uint8_t bytes[512], c[512], d[512];
    uint32_t seed = 9;
    for (uint32_t row = 0; row < SRPI_MAX_TAPS; row++) {
        for (uint32_t i = 0; i < 512; i++) {
            in[row][i] = noise_f(&seed) * 300.0f;
            bytes[i] = (uint8_t)noise(&seed);
        }
    }
    const uint32_t counts[] = {1, 7, 8, 9, 31, 32, 33, 64, 65, 128, 200, 333};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        const uint32_t count = counts[n];
        for (size_t i = 0; i < AXES; i++) {
            for (enum srpi_filter f = SRPI_FILTER_LINEAR; f <= SRPI_FILTER_LANCZOS; f++) {
                struct srpi_axis axis;
                srpi_axis_init(&axis, f, axes[i][0], axes[i][1], axes[i][2]);
                srpi_resample_scalar.horizontal(&axis, in[0] + SRPI_SAMPLE_SLACK, a, count);
                k->horizontal(&axis, in[0] + SRPI_SAMPLE_SLACK, b, count);
                assert_memory_equal(a, b, count * sizeof(float));
                const float *rows[SRPI_MAX_TAPS] = {in[0], in[1], in[2], in[3], in[4], in[5]};
                srpi_resample_scalar.vertical(rows, axis.tap[0], axis.taps, a, count);
                k->vertical(rows, axis.tap[0], axis.taps, b, count);
                assert_memory_equal(a, b, count * sizeof(float));
            }
        }
        srpi_resample_scalar.widen(bytes, a, count);
        k->widen(bytes, b, count);
        assert_memory_equal(a, b, count * sizeof(float));
        in[1][0] = 0.5f, in[1][1] = 1.5f, in[1][2] = 254.5f, in[1][3] = -0.5f;
        in[1][4] = 1e30f, in[1][5] = -1e30f, in[1][6] = 255.49f;
        srpi_resample_scalar.narrow(in[1], c, count);
        k->narrow(in[1], d, count);
        assert_memory_equal(c, d, count);
        in[1][7] = NAN; /* as a code 0 */
        check_bytes(k, in, count);
        in[1][7] = 0.0f;
        for (uint32_t block = 1; block <= 4 && count * block < 500; block++) {
            const uint32_t width = count / (block * block) + 1;
            srpi_resample_scalar.spread(in[3], a, width, block, block * block);
            k->spread(in[3], b, width, block, block * block);
            assert_memory_equal(a, b, width * block * sizeof(float));
        }
    }
    assert_int_equal(c[0], 0); /* ties go to even */
    assert_int_equal(c[1], 2);
    assert_int_equal(c[2], 254);
    assert_int_equal(c[4], 255);
}

static void test_variants(void **state)
{
    (void)state;
    if (srpi_resample_avx2 == NULL || !srpi_cpu_avx2()) {
        print_message("no vector variant on this machine: nothing to compare\n");
        return;
    }
    check_variant(srpi_resample_avx2);
    if (srpi_cpu_avx512()) {
        check_variant(srpi_resample_avx512);
    }
}

#define W 66u /* even, and half of it odd */
#define H 44u

/* Smooth with some noise: what a picture is like. */
static void paint(uint8_t *plane, uint32_t width, uint32_t height, uint32_t seed)
{
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            const double v = 128.0 + 70.0 * sin(x * 0.31 + y * 0.07) * cos(y * 0.23) +
                             20.0 * (double)noise_f(&seed);
            plane[y * width + x] = (uint8_t)lrint(v);
        }
    }
}

static void check_swscale(uint32_t scale, enum srp_chroma chroma)
{
    static uint8_t in[3][W * H], out[3][16 * W * H], theirs[3][16 * W * H];
    const uint32_t cw = (W + 1) / 2, ch = (H + 1) / 2, ow = W * scale, oh = H * scale;
    const uint32_t ocw = (ow + 1) / 2, och = (oh + 1) / 2;
    paint(in[0], W, H, 1), paint(in[1], cw, ch, 2), paint(in[2], cw, ch, 3);
    struct srp_picture from = {.format = SRP_FORMAT_YUV420,
                               .width = W,
                               .height = H,
                               .chroma = chroma,
                               .data = {in[0], in[1], in[2]},
                               .stride = {W, (ptrdiff_t)cw, (ptrdiff_t)cw}};
    struct srp_picture to = from;
    to.width = ow, to.height = oh;
    for (int i = 0; i < 3; i++) {
        to.data[i] = out[i];
        to.stride[i] = (ptrdiff_t)(i == 0 ? ow : ocw);
    }
    struct srp_upscaler *up = NULL;
    struct srp_error err = {0};
    const struct srp_upscaler_params params = {.scale = scale, .threads = 1};
    assert_int_equal(srp_upscaler_create(&up, &params, &err), SRP_OK);
    assert_int_equal(srp_upscaler_process(up, SRP_METHOD_BICUBIC, &from, &to, &err), SRP_OK);
    srp_upscaler_destroy(&up);

    struct SwsContext *sws = sws_alloc_context();
    assert_non_null(sws);
    const int x_pos = chroma == SRP_CHROMA_CENTER ? 128 : 0;
    const int y_pos = chroma == SRP_CHROMA_TOPLEFT ? 0 : 128;
    av_opt_set_int(sws, "srcw", W, 0), av_opt_set_int(sws, "srch", H, 0);
    av_opt_set_int(sws, "dstw", (int64_t)ow, 0), av_opt_set_int(sws, "dsth", (int64_t)oh, 0);
    av_opt_set_int(sws, "src_format", AV_PIX_FMT_YUV420P, 0);
    av_opt_set_int(sws, "dst_format", AV_PIX_FMT_YUV420P, 0);
    av_opt_set_int(sws, "src_h_chr_pos", x_pos, 0), av_opt_set_int(sws, "dst_h_chr_pos", x_pos, 0);
    av_opt_set_int(sws, "src_v_chr_pos", y_pos, 0), av_opt_set_int(sws, "dst_v_chr_pos", y_pos, 0);
    av_opt_set_int(sws, "sws_flags", SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT, 0);
    assert_true(sws_init_context(sws, NULL, NULL) >= 0);
    const uint8_t *source[4] = {in[0], in[1], in[2], NULL};
    uint8_t *target[4] = {theirs[0], theirs[1], theirs[2], NULL};
    const int source_stride[4] = {(int)W, (int)cw, (int)cw, 0};
    const int target_stride[4] = {(int)ow, (int)ocw, (int)ocw, 0};
    sws_scale(sws, source, source_stride, 0, H, target, target_stride);
    sws_freeContext(sws);

    for (int i = 0; i < 3; i++) {
        const uint32_t width = i == 0 ? ow : ocw, height = i == 0 ? oh : och;
        for (uint32_t k = 0; k < width * height; k++) {
            if (abs((int)out[i][k] - (int)theirs[i][k]) > 2) {
                fail_msg("x%u plane %d (%u,%u): %d, swscale %d", scale, i, k % width, k / width,
                         out[i][k], theirs[i][k]);
            }
        }
    }
}

static void test_swscale(void **state)
{
    (void)state;
    for (uint32_t scale = 2; scale <= 4; scale++) {
        check_swscale(scale, SRP_CHROMA_LEFT);
        check_swscale(scale, SRP_CHROMA_CENTER);
        check_swscale(scale, SRP_CHROMA_TOPLEFT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramp),     cmocka_unit_test(test_mean_position),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_columns), cmocka_unit_test(test_variants),
        cmocka_unit_test(test_interleaving),
        cmocka_unit_test(test_swscale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
