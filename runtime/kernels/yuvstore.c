/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/yuvstore.h"

#include <math.h>

#include "exec/cpu.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

struct yuv {
    float y, u, v;
};

static struct yuv yuv_at(const struct srpi_yuvstore *s, uint32_t row, uint32_t column)
{
    const struct srpi_colour *k = s->colour;
    const uint32_t cell = s->block * s->block;
    const float *at = s->pixel + (size_t)(column / s->block) * s->channels + row * s->block +
                      column % s->block;
    const float r = s->flat + s->gain * at[0];
    const float g = s->flat + s->gain * at[cell];
    const float b = s->flat + s->gain * at[2 * (size_t)cell];
    const float luma = k->y_r * r + k->y_g * g + k->y_b * b;
    return (struct yuv){.y = luma * k->y_inverse + k->y_offset,
                        .u = (b - luma) * k->u_scale + 128.0f,
                        .v = (r - luma) * k->v_scale + 128.0f};
}

/* As `narrow` in resample.h. */
static uint8_t code_of(float value)
{
    value = value > 0.0f ? value : 0.0f;
    value = value < 255.0f ? value : 255.0f;
    return (uint8_t)lrintf(value);
}

static float half_of(bool sited, float left, float middle, float right)
{
    return sited ? (left + right) * 0.25f + middle * 0.5f : (middle + right) * 0.5f;
}

static void store_pair(const struct srpi_yuvstore *s, uint32_t row)
{
    struct yuv left[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct srpi_yuvstore before = *s;
        before.pixel -= s->edge ? 0 : s->channels;
        left[i] = yuv_at(&before, row + i, s->edge ? 0 : s->block - 1);
    }
    for (uint32_t x = 0; x < s->count; x += 2) {
        const bool single = x + 1 == s->count;
        float u[2], v[2];
        for (uint32_t i = 0; i < 2; i++) {
            uint8_t *luma = s->luma + (ptrdiff_t)(row + i) * s->luma_stride + x;
            const struct yuv middle = yuv_at(s, row + i, x);
            const struct yuv right = single ? middle : yuv_at(s, row + i, x + 1);
            luma[0] = code_of(middle.y);
            if (!single) {
                luma[1] = code_of(right.y);
            }
            u[i] = half_of(s->sited, left[i].u, middle.u, right.u);
            v[i] = half_of(s->sited, left[i].v, middle.v, right.v);
            left[i] = right;
        }
        const ptrdiff_t at = (ptrdiff_t)(x / 2) * s->chroma_step, down = row / 2;
        s->chroma[0][at + down * s->chroma_stride[0]] = code_of((u[0] + u[1]) * 0.5f);
        s->chroma[1][at + down * s->chroma_stride[1]] = code_of((v[0] + v[1]) * 0.5f);
    }
}

void srpi_yuvstore_scalar(const struct srpi_yuvstore *store)
{
    for (uint32_t row = 0; store->count > 0 && row + 2 <= store->rows; row += 2) {
        store_pair(store, row);
    }
}

void srpi_yuvstore_rest(const struct srpi_yuvstore *store, uint32_t done)
{
    struct srpi_yuvstore rest = *store;
    rest.pixel += done / store->block * (size_t)store->channels;
    rest.edge = store->edge && done == 0;
    rest.count -= done;
    rest.luma += done;
    rest.chroma[0] += (size_t)(done / 2) * store->chroma_step;
    rest.chroma[1] += (size_t)(done / 2) * store->chroma_step;
    srpi_yuvstore_scalar(&rest);
}

void srpi_yuvstore(const struct srpi_yuvstore *store)
{
    if (srpi_yuvstore_avx512 != NULL && srpi_cpu_avx512()) {
        srpi_yuvstore_avx512(store);
    } else if (srpi_yuvstore_avx2 != NULL && srpi_cpu_avx2()) {
        srpi_yuvstore_avx2(store);
    } else {
        srpi_yuvstore_scalar(store);
    }
}
