/* SPDX-License-Identifier: BSD-2-Clause */
/* The fast metrics against their formulas written out, at sizes around every block boundary. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics.h"
#include "tool.h"

enum { WIDE = 150, HIGH = 40, STRIDE = 160 };

struct pair {
    uint8_t a[STRIDE * HIGH], b[STRIDE * HIGH];
};

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* noise: how far b may be from a; 256: unrelated. */
static void fill(struct pair *p, uint32_t seed, uint32_t noise)
{
    for (size_t i = 0; i < sizeof p->a; i++) {
        p->a[i] = (uint8_t)next(&seed);
        int v = noise > 255 ? (int)(next(&seed) & 255)
                            : (int)p->a[i] + (int)(next(&seed) % (2 * noise + 1)) - (int)noise;
        p->b[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

static uint64_t naive_sse(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs,
                          uint32_t width, uint32_t height)
{
    uint64_t sum = 0;
    for (ptrdiff_t y = 0; y < (ptrdiff_t)height; y++) {
        for (ptrdiff_t x = 0; x < (ptrdiff_t)width; x++) {
            int d = a[y * as + x] - b[y * bs + x];
            sum += (uint64_t)(d * d);
        }
    }
    return sum;
}

/* Means, variances and covariance of every window, straight from the definition. */
static double naive_ssim(const uint8_t *a, ptrdiff_t as, const uint8_t *b, ptrdiff_t bs,
                         uint32_t width, uint32_t height)
{
    const uint32_t w = width < 8 ? width : 8, h = height < 8 ? height : 8;
    const double n = (double)w * h, c1 = 0.01 * 255 * 0.01 * 255 / n, c2 = 0.03 * 255 * 0.03 * 255;
    double total = 0.0, windows = 0.0;
    for (uint32_t y = 0; y + h <= height; y += 4) {
        for (uint32_t x = 0; x + w <= width; x += 4) {
            double ma = 0.0, mb = 0.0, va = 0.0, vb = 0.0, ab = 0.0;
            for (uint32_t k = 0; k < w * h; k++) {
                ma += a[(ptrdiff_t)(y + k / w) * as + (ptrdiff_t)(x + k % w)] / n;
                mb += b[(ptrdiff_t)(y + k / w) * bs + (ptrdiff_t)(x + k % w)] / n;
            }
            for (uint32_t k = 0; k < w * h; k++) {
                double da = a[(ptrdiff_t)(y + k / w) * as + (ptrdiff_t)(x + k % w)] - ma;
                double db = b[(ptrdiff_t)(y + k / w) * bs + (ptrdiff_t)(x + k % w)] - mb;
                double free = n > 1.0 ? n - 1.0 : 1.0;
                va += da * da / free;
                vb += db * db / free;
                ab += da * db / free;
            }
            total +=
                (2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            windows += 1.0;
        }
    }
    return total / windows;
}

static const uint32_t width_of[] = {1,  2,  7,  8,  9,  11, 12,  15, 16,
                                    17, 31, 32, 33, 64, 67, 143, 150};
static const uint32_t height_of[] = {1, 3, 7, 8, 11, 12, 13, 40};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_sse(void **state)
{
    static struct pair p;
    (void)state;
    fill(&p, 1, 256);
    for (size_t i = 0; i < COUNT(width_of); i++) {
        for (size_t j = 0; j < COUNT(height_of); j++) {
            uint32_t w = width_of[i], h = height_of[j];
            assert_int_equal(sp_metrics_sse(p.a + 3, STRIDE, p.b, STRIDE, w, h),
                             naive_sse(p.a + 3, STRIDE, p.b, STRIDE, w, h));
        }
    }
}

static void test_sse_extremes(void **state)
{
    enum { N = 65536 };
    uint8_t *black = calloc(2, N), *white = malloc(2 * (size_t)N);
    (void)state;
    assert_non_null(black);
    assert_non_null(white);
    for (size_t i = 0; i < 2 * (size_t)N; i++) {
        white[i] = 255;
    }
    /* The widest row of the largest difference is what a lane must hold. */
    assert_int_equal(sp_metrics_sse(black, N, white, N, N, 2), (uint64_t)65025 * N * 2);
    free(black);
    free(white);
}

static uint64_t naive_change(const struct sp_metrics_pair *a, const struct sp_metrics_pair *b,
                             uint32_t width, uint32_t height)
{
    uint64_t sum = 0;
    for (ptrdiff_t y = 0; y < (ptrdiff_t)height; y++) {
        for (ptrdiff_t x = 0; x < (ptrdiff_t)width; x++) {
            const ptrdiff_t i = y * a->stride + x, k = y * b->stride + x;
            int d = (a->now[i] - a->before[i]) - (b->now[k] - b->before[k]);
            sum += (uint64_t)(d * d);
        }
    }
    return sum;
}

static void test_change(void **state)
{
    static struct pair p, q;
    (void)state;
    fill(&p, 1, 256);
    fill(&q, 2, 256);
    const struct sp_metrics_pair a = {p.a + 3, p.b + 1, STRIDE};
    const struct sp_metrics_pair b = {q.a, q.b + 2, STRIDE};
    for (size_t i = 0; i < COUNT(width_of); i++) {
        for (size_t j = 0; j < COUNT(height_of); j++) {
            const uint32_t w = width_of[i], h = height_of[j];
            assert_int_equal(sp_metrics_sse_change(&a, &b, w, h), naive_change(&a, &b, w, h));
        }
    }
    /* What is wrong in both frames alike is no flicker. */
    assert_int_equal(sp_metrics_sse_change(&a, &a, 143, 40), 0);
    const struct sp_metrics_pair still = {p.a, p.a, STRIDE}, other = {q.b, q.b, STRIDE};
    assert_int_equal(sp_metrics_sse_change(&still, &other, 143, 40), 0);
}

static void test_change_extremes(void **state)
{
    enum { N = 65536 };
    uint8_t *black = calloc(1, N), *white = malloc(N);
    (void)state;
    assert_non_null(black);
    assert_non_null(white);
    memset(white, 255, N);
    const struct sp_metrics_pair up = {white, black, N}, down = {black, white, N};
    assert_int_equal(sp_metrics_sse_change(&up, &down, N, 1), (uint64_t)510 * 510 * N);
    free(black);
    free(white);
}

static void test_negative_stride(void **state)
{
    static struct pair p;
    (void)state;
    fill(&p, 5, 9);
    const uint8_t *last = p.a + STRIDE * (HIGH - 1);
    assert_int_equal(sp_metrics_sse(last, -STRIDE, p.b, STRIDE, WIDE, HIGH),
                     naive_sse(last, -STRIDE, p.b, STRIDE, WIDE, HIGH));
    double naive = naive_ssim(last, -STRIDE, p.b, STRIDE, WIDE, HIGH);
    _Alignas(16) char aligned[4096];
    assert_true(sp_metrics_ssim_scratch(WIDE) <= sizeof aligned);
    assert_true(fabs(sp_metrics_ssim(last, -STRIDE, p.b, STRIDE, WIDE, HIGH, aligned) - naive) <
                1e-6);
}

static void test_psnr(void **state)
{
    (void)state;
    assert_true(fabs(sp_metrics_psnr(65025, 1)) < 1e-12);
    assert_true(fabs(sp_metrics_psnr(1000, 1000) - 48.1308036086791) < 1e-9);
    assert_true(fabs(sp_metrics_psnr(2500, 100) - (20 * log10(255.0 / 5.0))) < 1e-9);
    assert_true(sp_metrics_psnr(0, 1000) == SP_PSNR_CAP);
    assert_true(sp_metrics_psnr(0, 0) == SP_PSNR_CAP);
    assert_true(sp_metrics_psnr(1, UINT64_C(1000000000000)) == SP_PSNR_CAP);
}

static void test_ssim(void **state)
{
    static struct pair p;
    static const uint32_t noise_of[] = {2, 30, 256};
    (void)state;
    for (size_t n = 0; n < COUNT(noise_of); n++) {
        fill(&p, 77 + (uint32_t)n, noise_of[n]);
        for (size_t i = 0; i < COUNT(width_of); i++) {
            for (size_t j = 0; j < COUNT(height_of); j++) {
                uint32_t w = width_of[i], h = height_of[j];
                /* Exactly as large as promised, so that the sanitizer sees a byte too many. */
                void *scratch = malloc(sp_metrics_ssim_scratch(w));
                assert_non_null(scratch);
                double fast = sp_metrics_ssim(p.a, STRIDE, p.b + 1, STRIDE, w, h, scratch);
                double slow = naive_ssim(p.a, STRIDE, p.b + 1, STRIDE, w, h);
                free(scratch);
                if (fabs(fast - slow) > 1e-5) {
                    fail_msg("%ux%u noise %u: %.9f, expected %.9f", w, h, noise_of[n], fast, slow);
                }
            }
        }
    }
}

static void test_ssim_of_equal_pictures(void **state)
{
    static struct pair p;
    _Alignas(16) char scratch[4096];
    (void)state;
    fill(&p, 3, 5);
    assert_true(sp_metrics_ssim(p.a, STRIDE, p.a, STRIDE, WIDE, HIGH, scratch) == 1.0);
}

static void test_arguments(void **state)
{
    uint64_t u = 7;
    double d = 7.0;
    uint32_t w = 7, h = 7;
    (void)state;
    assert_true(sp_tool_uint("0", 0, 5, &u) && u == 0);
    assert_true(sp_tool_uint("18446744073709551615", 0, UINT64_MAX, &u) && u == UINT64_MAX);
    static const char *const bad_uint[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "x1", "6", "1.0", "0x1", "18446744073709551616"};
    u = 7;
    for (size_t i = 0; i < COUNT(bad_uint); i++) {
        assert_false(sp_tool_uint(bad_uint[i], 0, 5, &u));
        assert_int_equal(u, 7);
    }
    assert_true(sp_tool_number("2.5", 0.0, 3.0, &d) && d == 2.5);
    static const char *const bad_number[] = {"", "x", "2.5x", "nan", "inf", "4", "-1"};
    for (size_t i = 0; i < COUNT(bad_number); i++) {
        assert_false(sp_tool_number(bad_number[i], 0.0, 3.0, &d));
    }
    assert_true(sp_tool_size("640x359", &w, &h) && w == 640 && h == 359);
    static const char *const bad_size[] = {"",      "640",     "x",       "640x",
                                           "x360",  "0x360",   "1x0",     "1x-1",
                                           "1x2x3", "16385x1", "1x16385", "00000000000000000001x1"};
    for (size_t i = 0; i < COUNT(bad_size); i++) {
        assert_false(sp_tool_size(bad_size[i], &w, &h));
    }
}

static void test_quantile(void **state)
{
    double v[] = {5, 1, 4, 2, 3};
    (void)state;
    assert_true(sp_tool_quantile(v, 5, 0.5) == 3.0);
    assert_true(v[0] == 1.0 && v[4] == 5.0);
    assert_true(sp_tool_quantile(v, 5, 0.0) == 1.0);
    assert_true(sp_tool_quantile(v, 5, 1.0) == 5.0);
    assert_true(sp_tool_quantile(v, 5, 0.625) == 3.5);
    assert_true(sp_tool_quantile(v, 4, 0.5) == 2.5);
    assert_true(sp_tool_quantile(v, 0, 0.5) == 0.0);
}

static void test_status(void **state)
{
    (void)state;
    assert_int_equal(sp_tool_status(SRP_OK), SP_EXIT_OK);
    assert_int_equal(sp_tool_status(SRP_ERR_USAGE), SP_EXIT_USAGE);
    assert_int_equal(sp_tool_status(SRP_ERR_NOT_FOUND), SP_EXIT_FAILED);
    assert_int_equal(sp_tool_status(SRP_ERR_NETWORK), SP_EXIT_FAILED);
    assert_int_equal(sp_tool_status(SRP_ERR_DECODE), SP_EXIT_FAILED);
    assert_int_equal(sp_tool_status(SRP_ERR_DEVICE), SP_EXIT_FAILED);
    assert_int_equal(sp_tool_status(SRP_ERR_NOMEM), SP_EXIT_FAILED);
    assert_int_equal(sp_tool_status(SRP_ERR_PARSE), SP_EXIT_VERIFY);
    assert_int_equal(sp_tool_status(SRP_ERR_HASH), SP_EXIT_VERIFY);
    assert_int_equal(sp_tool_status(SRP_ERR_NONFINITE), SP_EXIT_VERIFY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sse),
        cmocka_unit_test(test_sse_extremes),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_change_extremes),
        cmocka_unit_test(test_negative_stride),
        cmocka_unit_test(test_psnr),
        cmocka_unit_test(test_ssim),
        cmocka_unit_test(test_ssim_of_equal_pictures),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
