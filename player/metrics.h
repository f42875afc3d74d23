/* SPDX-License-Identifier: BSD-2-Clause */
/* metrics.h - how far one 8-bit picture is from another. Pure functions, safe from any thread. */
#ifndef SP_METRICS_H
#define SP_METRICS_H

#include <stddef.h>
#include <stdint.h>

/* What a PSNR of identical pictures (and anything above it) is reported as, since JSON has no
 * infinity. */
#define SP_PSNR_CAP 100.0

/* Sum of squared differences of width x height samples (bytes: pass 3 * pixels as the width of a
 * packed RGB picture). Strides in bytes, possibly negative. Exact for width up to 65,536 and any
 * height. */
uint64_t sp_metrics_sse(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                        uint32_t width, uint32_t height);

/* A plane of 8-bit samples, and the same one of the frame before. Stride in bytes, of both. */
struct sp_metrics_pair {
    const uint8_t *now, *before;
    ptrdiff_t stride;
};

/* How differently two videos change from one frame to the next: sum of squares of (a.now -
 * a.before) - (b.now - b.before) over width x height samples. An error that stays where it is
 * counts nothing, one that comes and goes counts: flicker. Exact as sp_metrics_sse is. */
uint64_t sp_metrics_sse_change(const struct sp_metrics_pair *a, const struct sp_metrics_pair *b,
                               uint32_t width, uint32_t height);

/* Decibels from a sum of squared errors over `samples` 8-bit samples, at most SP_PSNR_CAP. 0
 * samples: the cap. */
double sp_metrics_psnr(uint64_t sse, uint64_t samples);

/* Bytes of working memory that sp_metrics_ssim wants for this width. */
size_t sp_metrics_ssim_scratch(uint32_t width);

/* Mean SSIM of 8x8 windows stepped by 4 in both directions, as x264 and FFmpeg's ssim filter
 * measure it: unbiased variances, constants (0.01 * 255)^2 / 64 and (0.03 * 255)^2; columns and
 * rows beyond the last multiple of 4 belong to no window. Below 8 samples in a direction windows
 * are as long as the picture. scratch: at least sp_metrics_ssim_scratch(width) bytes, aligned for
 * uint32_t. Width, height >= 1. */
double sp_metrics_ssim(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                       uint32_t width, uint32_t height, void *scratch);

#endif
