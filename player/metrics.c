/* SPDX-License-Identifier: BSD-2-Clause */
#include "metrics.h"

#include <math.h>
#include <stdbool.h>

/* The inner loops have constant trip counts, so that the compiler vectorises them at -O2; they are
 * compiled a second time for AVX2 where the compiler knows it, and the choice is made when they
 * run. */
#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#define TARGET_AVX2 __attribute__((target("avx2")))
#else
#define HAVE_AVX2 0
#endif
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, SUMS = 4 };

static bool use_avx2(void)
{
#if HAVE_AVX2
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

/* ---- squared error ------------------------------------------------------------------------------
 */

/* A lane takes at most 65,536 / LANES squares of at most 65,025: below 2^32. */
INLINE uint64_t sse_row(const uint8_t *restrict a, const uint8_t *restrict b, uint32_t width)
{
    uint32_t lane[LANES] = {0};
    uint32_t x = 0;
    for (; x + LANES <= width; x += LANES) {
        const uint8_t *pa = a + x, *pb = b + x; /* a sum of indices would not be vectorised */
        for (int i = 0; i < LANES; i++) {
            int32_t d = (int32_t)pa[i] - (int32_t)pb[i];
            lane[i] += (uint32_t)(d * d);
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < LANES; i++) {
        sum += lane[i];
    }
    for (; x < width; x++) {
        int32_t d = (int32_t)a[x] - (int32_t)b[x];
        sum += (uint32_t)(d * d);
    }
    return sum;
}

INLINE uint64_t sse_rows(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                         uint32_t width, uint32_t height)
{
    uint64_t sum = 0;
    for (uint32_t y = 0; y < height; y++) {
        sum += sse_row(a + (ptrdiff_t)y * a_stride, b + (ptrdiff_t)y * b_stride, width);
    }
    return sum;
}

#if HAVE_AVX2
TARGET_AVX2 static uint64_t sse_avx2(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b,
                                     ptrdiff_t b_stride, uint32_t width, uint32_t height)
{
    return sse_rows(a, a_stride, b, b_stride, width, height);
}
#endif

uint64_t sp_metrics_sse(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                        uint32_t width, uint32_t height)
{
#if HAVE_AVX2
    if (use_avx2()) {
        return sse_avx2(a, a_stride, b, b_stride, width, height);
    }
#endif
    return sse_rows(a, a_stride, b, b_stride, width, height);
}

/* A lane takes at most 65,536 / LANES squares of at most 510^2: below 2^32. */
INLINE uint64_t change_row(const uint8_t *restrict a, const uint8_t *restrict a_before,
                           const uint8_t *restrict b, const uint8_t *restrict b_before,
                           uint32_t width)
{
    uint32_t lane[LANES] = {0};
    uint32_t x = 0;
    for (; x + LANES <= width; x += LANES) {
        const uint8_t *pa = a + x, *qa = a_before + x, *pb = b + x, *qb = b_before + x;
        for (int i = 0; i < LANES; i++) {
            int32_t d = (int32_t)pa[i] - (int32_t)qa[i] - (int32_t)pb[i] + (int32_t)qb[i];
            lane[i] += (uint32_t)(d * d);
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < LANES; i++) {
        sum += lane[i];
    }
    for (; x < width; x++) {
        int32_t d = (int32_t)a[x] - (int32_t)a_before[x] - (int32_t)b[x] + (int32_t)b_before[x];
        sum += (uint32_t)(d * d);
    }
    return sum;
}

INLINE uint64_t change_rows(const struct sp_metrics_pair *a, const struct sp_metrics_pair *b,
                            uint32_t width, uint32_t height)
{
    uint64_t sum = 0;
    for (uint32_t y = 0; y < height; y++) {
        const ptrdiff_t at = (ptrdiff_t)y * a->stride, bt = (ptrdiff_t)y * b->stride;
        sum += change_row(a->now + at, a->before + at, b->now + bt, b->before + bt, width);
    }
    return sum;
}

#if HAVE_AVX2
TARGET_AVX2 static uint64_t change_avx2(const struct sp_metrics_pair *a,
                                        const struct sp_metrics_pair *b, uint32_t width,
                                        uint32_t height)
{
    return change_rows(a, b, width, height);
}
#endif

uint64_t sp_metrics_sse_change(const struct sp_metrics_pair *a, const struct sp_metrics_pair *b,
                               uint32_t width, uint32_t height)
{
#if HAVE_AVX2
    if (use_avx2()) {
        return change_avx2(a, b, width, height);
    }
#endif
    return change_rows(a, b, width, height);
}

double sp_metrics_psnr(uint64_t sse, uint64_t samples)
{
    if (sse == 0 || samples == 0) {
        return SP_PSNR_CAP;
    }
    double psnr = 10.0 * log10(255.0 * 255.0 * (double)samples / (double)sse);
    return psnr > SP_PSNR_CAP ? SP_PSNR_CAP : psnr;
}

/* ---- SSIM ---------------------------------------------------------------------------------------
 */

/* Of the samples a, b of a block: sum a, sum b, sum (a^2 + b^2), sum a*b. */
typedef uint32_t block_sums[SUMS];

/* Four columns' worth of one block, walking 4 rows; LANES columns (four blocks) at a time first sum
 * each column down, which vectorises, and then four neighbours across. */
INLINE void sum_blocks(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                       uint32_t blocks, block_sums *restrict out)
{
    uint32_t k = 0;
    for (; k + LANES / 4 <= blocks; k += LANES / 4) {
        uint32_t sa[LANES] = {0}, sb[LANES] = {0}, sq[LANES] = {0}, ab[LANES] = {0};
        for (int y = 0; y < 4; y++) {
            const uint8_t *pa = a + y * a_stride + (ptrdiff_t)k * 4;
            const uint8_t *pb = b + y * b_stride + (ptrdiff_t)k * 4;
            for (int i = 0; i < LANES; i++) {
                uint32_t va = pa[i], vb = pb[i];
                sa[i] += va;
                sb[i] += vb;
                sq[i] += va * va + vb * vb;
                ab[i] += va * vb;
            }
        }
        for (int j = 0; j < LANES / 4; j++) {
            uint32_t *o = out[k + (uint32_t)j];
            int i = 4 * j;
            o[0] = sa[i] + sa[i + 1] + sa[i + 2] + sa[i + 3];
            o[1] = sb[i] + sb[i + 1] + sb[i + 2] + sb[i + 3];
            o[2] = sq[i] + sq[i + 1] + sq[i + 2] + sq[i + 3];
            o[3] = ab[i] + ab[i + 1] + ab[i + 2] + ab[i + 3];
        }
    }
    for (; k < blocks; k++) {
        uint32_t *o = out[k];
        o[0] = o[1] = o[2] = o[3] = 0;
        for (int y = 0; y < 4; y++) {
            const uint8_t *pa = a + y * a_stride + (ptrdiff_t)k * 4;
            const uint8_t *pb = b + y * b_stride + (ptrdiff_t)k * 4;
            for (int i = 0; i < 4; i++) {
                uint32_t va = pa[i], vb = pb[i];
                o[0] += va;
                o[1] += vb;
                o[2] += va * va + vb * vb;
                o[3] += va * vb;
            }
        }
    }
}

#if HAVE_AVX2
TARGET_AVX2 static void sum_blocks_avx2(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b,
                                        ptrdiff_t b_stride, uint32_t blocks,
                                        block_sums *restrict out)
{
    sum_blocks(a, a_stride, b, b_stride, blocks, out);
}
#endif

static void sum_block_row(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b,
                          ptrdiff_t b_stride, uint32_t blocks, block_sums *out)
{
#if HAVE_AVX2
    if (use_avx2()) {
        sum_blocks_avx2(a, a_stride, b, b_stride, blocks, out);
        return;
    }
#endif
    sum_blocks(a, a_stride, b, b_stride, blocks, out);
}

/* SSIM of one window of n samples. Means are scaled by n, (co)variances, the unbiased ones, by
 * n (n - 1). x264 scales the first constant by n where n^2 would be consistent, so that it acts as
 * 1/64 of its value; to give the same figures we do too. */
static double window_ssim(const double s[SUMS], double n)
{
    double c1 = 0.01 * 0.01 * 255.0 * 255.0 * n;
    double c2 = 0.03 * 0.03 * 255.0 * 255.0 * n * (n > 1.0 ? n - 1.0 : 1.0);
    if (n >= 64.0) { /* integers in x264, and so the same figure to the last digit that it prints */
        c1 = floor(c1 + 0.5);
        c2 = floor(c2 + 0.5);
    }
    double squares = s[0] * s[0] + s[1] * s[1];
    double variances = s[2] * n - squares;
    double covariance = s[3] * n - s[0] * s[1];
    return (2.0 * s[0] * s[1] + c1) * (2.0 * covariance + c2) / ((squares + c1) * (variances + c2));
}

/* A picture thinner than a window: windows as wide and high as there are samples, stepped by 4. */
static double small_ssim(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                         uint32_t width, uint32_t height)
{
    uint32_t w = width < 8 ? width : 8, h = height < 8 ? height : 8;
    double sum = 0.0;
    uint64_t windows = 0;
    for (uint32_t y = 0; y + h <= height; y += 4) {
        for (uint32_t x = 0; x + w <= width; x += 4) {
            double s[SUMS] = {0.0};
            for (uint32_t j = 0; j < h; j++) {
                for (uint32_t i = 0; i < w; i++) {
                    double va = a[(ptrdiff_t)(y + j) * a_stride + (ptrdiff_t)(x + i)];
                    double vb = b[(ptrdiff_t)(y + j) * b_stride + (ptrdiff_t)(x + i)];
                    s[0] += va;
                    s[1] += vb;
                    s[2] += va * va + vb * vb;
                    s[3] += va * vb;
                }
            }
            sum += window_ssim(s, (double)w * h);
            windows++;
        }
    }
    return sum / (double)windows;
}

size_t sp_metrics_ssim_scratch(uint32_t width)
{
    return 2 * ((size_t)width / 4 + 1) * sizeof(block_sums);
}

/* An 8x8 window is four 4x4 blocks, and each block belongs to four windows: the sums of a row of
 * blocks are made once and kept until the row below has been used with them. */
double sp_metrics_ssim(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                       uint32_t width, uint32_t height, void *scratch)
{
    if (width < 8 || height < 8) {
        return small_ssim(a, a_stride, b, b_stride, width, height);
    }
    uint32_t columns = width / 4, rows = height / 4;
    block_sums *above = scratch, *below = above + columns;
    double total = 0.0;
    sum_block_row(a, a_stride, b, b_stride, columns, above);
    for (uint32_t r = 1; r < rows; r++) {
        sum_block_row(a + 4 * (ptrdiff_t)r * a_stride, a_stride, b + 4 * (ptrdiff_t)r * b_stride,
                      b_stride, columns, below);
        for (uint32_t k = 0; k + 1 < columns; k++) {
            double s[SUMS];
            for (int i = 0; i < SUMS; i++) {
                s[i] = (double)(above[k][i] + above[k + 1][i] + below[k][i] + below[k + 1][i]);
            }
            total += window_ssim(s, 64.0);
        }
        block_sums *swap = above;
        above = below;
        below = swap;
    }
    return total / ((double)(rows - 1) * (double)(columns - 1));
}
