/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/block.h"

#include <string.h>

#include "kernels/reference.h"
#include "kernels/rowops.h"

#define ALIGN 64u

void srpi_block_take_strip(struct srpi_block *block)
{
    const struct srpi_stream_plan *plan = &block->stream->plan;
    for (uint32_t t = 0; t < srpi_block_graph(block)->tensor_count; t++) {
        const struct srpi_stream_tensor *tensor = srpi_block_tensor(block, t);
        if (tensor->used) {
            const size_t padding = tensor->pad * srpi_pixel_bytes(tensor);
            struct srpi_place *at = &block->at[t];
            at->columns = srpi_stream_columns(plan, block->strip.region, t);
            at->strip = srpi_stream_rows(plan, &block->strip, t);
            at->ring = tensor->ring;
            at->pitch = tensor->pitch;
            at->data = block->area + tensor->offset + padding;
            at->below = block->below != NULL ? block->below + tensor->seam + padding : NULL;
        }
    }
}

void srpi_block_take(struct srpi_block *block, uint32_t index)
{
    const struct srpi_stream_plan *plan = &block->stream->plan;
    block->index = index;
    for (uint32_t t = 0; t < srpi_block_graph(block)->tensor_count; t++) {
        if (srpi_block_tensor(block, t)->used) {
            struct srpi_place *at = &block->at[t];
            at->rows = srpi_stream_block_rows(plan, &block->strip, t, at->strip, index);
            at->origin = srpi_stream_origin(plan, t, at->rows);
        }
    }
}

void srpi_block_close_row(const struct srpi_block *block, uint32_t t, uint32_t y, char *row,
                      uint32_t pixels)
{
    const struct srpi_stream_tensor *tensor = srpi_block_tensor(block, t);
    const size_t pixel = srpi_pixel_bytes(tensor);
    const size_t padding = tensor->pad * pixel, bytes = pixels * pixel;
    /* A convolution may multiply one bf16 more by zero, and that must be finite: kernels/row.h. */
    const size_t behind = padding + (tensor->dtype == SRPI_BF16 ? tensor->element : 0);
    const uint32_t from_begin = y - block->at[t].strip.begin;
    const bool kept = !block->strip.first && from_begin < tensor->kept;
    char *seam = block->seam + tensor->seam + from_begin * tensor->pitch;
    for (size_t half = 0; half <= tensor->fraction; half += tensor->fraction) {
        const char *zeros = block->stream->arena + tensor->padding + half;
        for (size_t done = 0; done < behind; done += ALIGN) { /* the rest meets the row's slack */
            memcpy(row + half + bytes + done, zeros + done, ALIGN);
        }
        if (kept) {
            memcpy(seam + half, row + half - padding, padding + bytes + behind);
        }
        if (tensor->fraction == 0) {
            break;
        }
    }
}

void srpi_fill_padding(const struct srpi_layers *layers, uint32_t t, void *memory, size_t bytes)
{
    struct srpi_codec codec = srpi_layers_codec(layers, t);
    srpi_row_fill_zero(&codec, memory, bytes / codec.element);
    if (layers->fine[t]) {
        codec.padding = 128; /* no fraction */
        srpi_row_fill_zero(&codec, (char *)memory + bytes / 2, bytes / 2 / codec.element);
    }
}

size_t srpi_work_floats(uint32_t picture_width, const struct srpi_tensor *out)
{
    const size_t pixels = (size_t)picture_width * out->factor + SRPI_REF_WINDOW;
    const size_t floats = pixels * out->channels + SRPI_ROW_SLACK / sizeof(float);
    return (floats + ALIGN - 1) / ALIGN * ALIGN;
}
