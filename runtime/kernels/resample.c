/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/resample.h"

#include <math.h>
#include <string.h>

#include "exec/cpu.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

static double cubic(double x)
{
    const double a = -0.6;
    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a : 0.0;
}

static double lanczos(double x)
{
    const double pi = 3.14159265358979323846;
    x = fabs(x);
    if (x < 1e-9) {
        return 1.0;
    }
    return x < 3.0 ? 3.0 * sin(pi * x) * sin(pi * x / 3.0) / (pi * pi * x * x) : 0.0;
}

uint32_t srpi_filter_taps(enum srpi_filter filter, uint32_t factor, uint32_t a4, uint32_t b4,
                          uint32_t j, float *taps, int64_t *first)
{
    /* In units of 1/(4 factor) of a source sample, so that the whole part is exact. */
    const int64_t unit = 4 * (int64_t)factor;
    const int64_t position = 4 * (int64_t)j + a4 - (int64_t)b4 * factor;
    const int64_t whole = (position + unit) / unit - 1; /* position >= -unit: floor */
    const double fraction = (double)(position - whole * unit) / (double)unit;
    switch (filter) {
    case SRPI_FILTER_NEAREST:
        *first = fraction >= 0.5 ? whole + 1 : whole;
        taps[0] = 1.0f;
        return 1;
    case SRPI_FILTER_LINEAR:
        *first = whole;
        taps[0] = (float)(1.0 - fraction);
        taps[1] = (float)fraction;
        return 2;
    case SRPI_FILTER_CUBIC:
        *first = whole - 1;
        for (int k = 0; k < 4; k++) {
            taps[k] = (float)cubic((double)(k - 1) - fraction);
        }
        return 4;
    case SRPI_FILTER_LANCZOS:
        break;
    }
    double weight[6], sum = 0.0;
    for (int k = 0; k < 6; k++) {
        weight[k] = lanczos((double)(k - 2) - fraction);
        sum += weight[k];
    }
    for (int k = 0; k < 6; k++) {
        taps[k] = (float)(weight[k] / sum);
    }
    *first = whole - 2;
    return 6;
}

void srpi_axis_init(struct srpi_axis *axis, enum srpi_filter filter, uint32_t factor, uint32_t a4,
                    uint32_t b4)
{
    memset(axis, 0, sizeof(*axis));
    axis->filter = filter;
    axis->factor = factor;
    axis->a4 = a4;
    axis->b4 = b4;
    axis->identity = factor == 1;
    for (uint32_t phase = 0; phase < factor; phase++) {
        int64_t first;
        axis->taps = srpi_filter_taps(filter, factor, a4, b4, phase, axis->tap[phase], &first);
        axis->first[phase] = (int32_t)first;
    }
    axis->patterns = factor % 3 == 0 ? 3 : 1;
    axis->advance = axis->patterns * 8 / factor;
    axis->narrow = true;
    for (uint32_t r = 0; r < axis->patterns; r++) {
        int32_t low = INT32_MAX, high = INT32_MIN;
        for (uint32_t l = 0; l < 8; l++) {
            const uint32_t j = r * 8 + l;
            const int32_t first = axis->first[j % factor] + (int32_t)(j / factor);
            low = first < low ? first : low;
            high = first > high ? first : high;
        }
        axis->start[r] = low;
        axis->narrow = axis->narrow && high - low + (int32_t)axis->taps <= 8;
        for (uint32_t l = 0; l < 8; l++) {
            const uint32_t j = r * 8 + l;
            const int32_t first = axis->first[j % factor] + (int32_t)(j / factor);
            for (uint32_t k = 0; k < axis->taps; k++) {
                axis->lane[r][k][l] = first - low + (int32_t)k;
                axis->lane_tap[r][k][l] = axis->tap[j % factor][k];
            }
        }
    }
}

void srpi_ring_reset(struct srpi_ring *ring, uint32_t begin, uint32_t end)
{
    ring->begin = begin;
    ring->end = end;
    for (uint32_t i = 0; i < SRPI_RING_ROWS; i++) {
        ring->held[i] = -1;
    }
}

/* A sample of the rarer kinds. */
static float sample_at(const struct srpi_view *view, const void *row, size_t at)
{
    float value;
    if (view->sample == SRPI_SAMPLE_U8) {
        value = (float)((const uint8_t *)row)[at];
    } else if (view->sample == SRPI_SAMPLE_U16) {
        value = (float)((const uint16_t *)row)[at];
    } else if (view->sample == SRPI_SAMPLE_S8) {
        value = (float)(((const uint8_t *)row)[at] ^ 0x80);
    } else {
        const uint32_t bits = (uint32_t)((const uint16_t *)row)[at] << 16; /* BF16 */
        memcpy(&value, &bits, sizeof(value));
    }
    return view->multiply == 0.0f ? value : value * view->multiply + view->add;
}

/* Samples first..first + count of row y of the view as floats. */
static void load_row(const struct srpi_view *view, const struct srpi_rows *bound, uint32_t y,
                     uint32_t first, uint32_t count, float *out)
{
    const uint32_t line = view->paired ? y / 2 : y;
    const bool is_bound = view->bound != SRPI_BOUND_NONE;
    const unsigned char *row =
        is_bound ? (const unsigned char *)srpi_rows_at(bound, line) + view->offset
                 : (const unsigned char *)view->data + (ptrdiff_t)line * view->stride;
    const size_t step = view->step;
    if (view->paired) {
        const float *in = (const float *)(const void *)row + y % 2 * 2;
        for (uint32_t x = 0; x < count; x++) {
            const uint32_t at = first + x;
            out[x] = in[(at / 2 - bound->column) * step + at % 2] * view->multiply + view->add;
        }
        return;
    }
    const size_t skipped = (size_t)(first - (is_bound ? bound->column : 0)) * step;
    const bool bytes = view->sample == SRPI_SAMPLE_U8 && view->multiply == 0.0f;
    if (bytes && step == 1) {
        srpi_resample_kernels()->widen(row + skipped, out, count);
    } else if (bytes) {
        for (uint32_t x = 0; x < count; x++) {
            out[x] = (float)row[skipped + x * step];
        }
    } else if (view->sample == SRPI_SAMPLE_F32) {
        const float *in = (const float *)(const void *)row + skipped;
        for (uint32_t x = 0; x < count; x++) {
            out[x] = in[x * step] * view->multiply + view->add;
        }
    } else {
        for (uint32_t x = 0; x < count; x++) {
            out[x] = sample_at(view, row, skipped + x * step);
        }
    }
}

/* Row y of the view enlarged horizontally: the ring's columns. */
static void enlarge_row(const struct srpi_source *source, const struct srpi_ring *ring, uint32_t y,
                        float *row)
{
    const struct srpi_view *view = &source->view;
    const uint32_t factor = source->h->factor, reach = (source->h->taps + 1) / 2;
    const uint32_t begin = ring->begin / factor, end = (ring->end + factor - 1) / factor;
    const uint32_t first = begin > reach ? begin - reach : 0;
    const uint32_t last = view->width - end > reach ? end + reach : view->width;
    float *samples = ring->padded + SRPI_SAMPLE_SLACK; /* that of column begin */
    float *from = samples - (begin - first), *to = samples + (last - begin);
    load_row(view, ring->bound, y, first, last - first, from);
    /* The picture's edge is continued by its last sample; elsewhere nobody's sample depends on
     * these. */
    const float left = from[0], right = to[-1];
    for (float *at = ring->padded; at < from; at++) {
        *at = left;
    }
    for (float *at = to; at < samples + (end - begin) + SRPI_SAMPLE_SLACK; at++) {
        *at = right;
    }
    srpi_resample_kernels()->horizontal(source->h, samples, row, ring->end - ring->begin);
}

static const float *ring_row(const struct srpi_source *source, struct srpi_ring *ring, uint32_t y)
{
    const uint32_t slot = y % SRPI_RING_ROWS;
    float *row = ring->rows + slot * ring->pitch;
    if (ring->held[slot] != (int64_t)y) {
        if (source->h->identity) {
            load_row(&source->view, ring->bound, y, ring->begin, ring->end - ring->begin, row);
        } else {
            enlarge_row(source, ring, y, row);
        }
        ring->held[slot] = (int64_t)y;
    }
    return row;
}

uint32_t srpi_source_taps(const struct srpi_source *source, struct srpi_ring *ring, uint32_t y,
                          const float **rows, const float **taps)
{
    static const float one = 1.0f;
    const struct srpi_axis *axis = source->v;
    const int64_t last = (int64_t)source->view.height - 1;
    if (axis->identity) {
        rows[0] = ring_row(source, ring, y);
        *taps = &one;
        return 1;
    }
    const uint32_t phase = y % axis->factor;
    const int64_t first = (int64_t)(y / axis->factor) + axis->first[phase];
    for (uint32_t k = 0; k < axis->taps; k++) {
        int64_t wanted = first + k;
        wanted = wanted < 0 ? 0 : wanted > last ? last : wanted;
        rows[k] = ring_row(source, ring, (uint32_t)wanted);
    }
    *taps = axis->tap[phase];
    return axis->taps;
}

const float *srpi_source_row(const struct srpi_source *source, struct srpi_ring *ring, uint32_t y,
                             float *out)
{
    const float *rows[SRPI_MAX_TAPS], *taps;
    const uint32_t count = srpi_source_taps(source, ring, y, rows, &taps);
    if (source->v->identity) {
        return rows[0];
    }
    srpi_resample_kernels()->vertical(rows, taps, count, out, ring->end - ring->begin);
    return out;
}

/* ---- plain C --------------------------------------------------------------------------------- */

static void horizontal_scalar(const struct srpi_axis *axis, const float *in, float *out,
                              uint32_t count)
{
    uint32_t phase = 0;
    for (uint32_t j = 0; j < count; j++) {
        const float *from = in + axis->first[phase];
        float sum = axis->tap[phase][0] * from[0];
        for (uint32_t k = 1; k < axis->taps; k++) {
            sum = sum + axis->tap[phase][k] * from[k];
        }
        out[j] = sum;
        if (++phase == axis->factor) {
            phase = 0;
            in++;
        }
    }
}

static void vertical_scalar(const float *const *rows, const float *tap, uint32_t taps, float *out,
                            uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        float sum = tap[0] * rows[0][x];
        for (uint32_t k = 1; k < taps; k++) {
            sum = sum + tap[k] * rows[k][x];
        }
        out[x] = sum;
    }
}

static void widen_scalar(const uint8_t *in, float *out, uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        out[x] = (float)in[x];
    }
}

/* Comparisons that are false for NaN, which thereby becomes 0. */
static uint8_t code_of(float value)
{
    value = value > 0.0f ? value : 0.0f;
    value = value < 255.0f ? value : 255.0f;
    return (uint8_t)lrintf(value);
}

static void narrow_scalar(const float *in, uint8_t *out, uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        out[x] = code_of(in[x]);
    }
}

static void spread_scalar(const float *pixel, float *out, uint32_t width, uint32_t block,
                          uint32_t channels)
{
    for (uint32_t x = 0; x < width; x++) {
        for (uint32_t j = 0; j < block; j++) {
            out[j] = pixel[j];
        }
        out += block;
        pixel += channels;
    }
}

static void blend_scalar(const struct srpi_blend *blend, uint8_t *out, uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        float sum = blend->taps == 0 ? blend->flat : blend->tap[0] * blend->rows[0][x];
        for (uint32_t k = 1; k < blend->taps; k++) {
            sum = sum + blend->tap[k] * blend->rows[k][x];
        }
        if (blend->tail != NULL) {
            const size_t cell = (size_t)blend->block * blend->block;
            const size_t at = x / blend->block * cell + x % blend->block;
            sum = sum + blend->gain * blend->tail[at];
        }
        out[x] = code_of(sum);
    }
}

static void interleave_shuffled_scalar(const float *pixel, uint32_t channels, uint32_t cell,
                                       uint32_t block, float flat, float gain,
                                       const uint8_t *order, uint32_t step, uint8_t *out,
                                       uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        for (uint32_t c = 0; c < 3; c++) {
            const float value = pixel[(size_t)(x / block) * channels + c * cell + x % block];
            out[order[c]] = code_of(flat + gain * value);
        }
        if (step == 4) {
            out[3] = 255;
        }
        out += step;
    }
}

static void interleave_scalar(const float *const *rows, float flat, float gain,
                              const uint8_t *order, uint32_t step, uint8_t *out, uint32_t count)
{
    for (uint32_t x = 0; x < count; x++) {
        for (uint32_t c = 0; c < 3; c++) {
            out[order[c]] = code_of(flat + gain * rows[c][x]);
        }
        if (step == 4) {
            out[3] = 255;
        }
        out += step;
    }
}

const struct srpi_resample_kernels srpi_resample_scalar = {
    .horizontal = horizontal_scalar,
    .vertical = vertical_scalar,
    .widen = widen_scalar,
    .narrow = narrow_scalar,
    .spread = spread_scalar,
    .blend = blend_scalar,
    .interleave_shuffled = interleave_shuffled_scalar,
    .interleave = interleave_scalar,
};

const struct srpi_resample_kernels *srpi_resample_kernels(void)
{
    if (srpi_resample_avx512 != NULL && srpi_cpu_avx512()) {
        return srpi_resample_avx512;
    }
    return srpi_resample_avx2 != NULL && srpi_cpu_avx2() ? srpi_resample_avx2
                                                         : &srpi_resample_scalar;
}
