/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/row_sets.h"

#include <string.h>

#include "model/checked.h"

static uint32_t units_of(const struct srpi_row_layout *layout, const struct srpi_conv_shape *shape)
{
    const uint32_t values = srpi_row_values(shape->in, layout->q8_values);
    return (shape->kernel_width * shape->in_channels + values - 1) / values;
}

size_t srpi_row_packed_size(const struct srpi_row_layout *layout,
                            const struct srpi_conv_shape *shape)
{
    const struct srpi_row_blocks blocks =
        srpi_row_blocks(shape->out_channels, layout->lanes, layout->max_vectors);
    size_t size = (size_t)layout->lanes * 4;
    if (!srpi_mul(size, blocks.vectors, &size) || !srpi_mul(size, shape->kernel_height, &size) ||
        !srpi_mul(size, units_of(layout, shape), &size) || !srpi_add(size, 63, &size)) {
        return 0;
    }
    return size / 64 * 64;
}

/* Writes value `index` of a lane: the lane's 4 bytes, or the planes of values, begin at `to`. */
static void put(const struct srpi_row_layout *layout, const struct srpi_conv_shape *shape,
                const void *weights, size_t at, uint8_t *vector, uint32_t lane, uint32_t index)
{
    switch (shape->in) {
    case SRPI_F32:
        memcpy(vector + (size_t)4 * lane, (const float *)weights + at, 4);
        break;
    case SRPI_BF16: {
        const uint16_t value = srpi_to_bf16(((const float *)weights)[at]);
        memcpy(vector + (size_t)4 * lane + (size_t)2 * index, &value, 2);
        break;
    }
    case SRPI_Q8: {
        const int16_t value = ((const int16_t *)weights)[at];
        if (layout->q8_values == 4) {
            const int8_t code = (int8_t)value;
            memcpy(vector + (size_t)4 * lane + index, &code, 1);
        } else {
            const size_t place = layout->q8_planar ? layout->lanes * index + lane
                                                   : (size_t)2 * lane + index;
            memcpy(vector + 2 * place, &value, 2);
        }
        break;
    }
    }
}

void srpi_row_pack(const struct srpi_row_layout *layout, const struct srpi_conv_shape *shape,
                   const void *weights, void *packed)
{
    const struct srpi_row_blocks blocks =
        srpi_row_blocks(shape->out_channels, layout->lanes, layout->max_vectors);
    const uint32_t values = srpi_row_values(shape->in, layout->q8_values);
    const uint32_t units = units_of(layout, shape), in = shape->in_channels;
    const size_t taps = (size_t)shape->kernel_height * shape->kernel_width;
    const bool narrow = shape->in == SRPI_Q8 && shape->out == SRPI_Q8;
    uint8_t *to = packed;
    memset(packed, 0, srpi_row_packed_size(layout, shape));
    for (uint32_t b = 0; b < blocks.blocks; b++) {
        const struct srpi_row_block block = srpi_row_block(&blocks, b);
        const uint32_t vectors = block.vectors;
        for (uint32_t ky = 0; ky < shape->kernel_height; ky++) {
            for (uint32_t run = 0; run < units * values; run++) {
                if (run >= shape->kernel_width * in) {
                    break; /* the rest of the last unit stays zero */
                }
                const uint32_t kx = run / in, i = run % in;
                uint8_t *unit = to + (size_t)(run / values) * vectors * layout->lanes * 4;
                for (uint32_t lane = 0; lane < vectors * layout->lanes; lane++) {
                    const uint32_t v = lane / layout->lanes, l = lane % layout->lanes;
                    const uint32_t o = block.first * layout->lanes +
                                       srpi_row_channel(narrow, layout->lanes, &block, v, l);
                    if (o < shape->out_channels) {
                        put(layout, shape, weights,
                            ((size_t)o * in + i) * taps + ky * shape->kernel_width + kx,
                            unit + (size_t)v * layout->lanes * 4, l, run % values);
                    }
                }
            }
            to += (size_t)units * vectors * layout->lanes * 4;
        }
    }
}

srpi_conv_fn srpi_row_find(const struct srpi_row_kernel *made, size_t made_count,
                           const struct srpi_row_kernel *general, size_t general_count,
                           const struct srpi_conv_shape *shape, const char **name)
{
    const struct srpi_row_kernel *found = NULL;
    for (size_t i = 0; i < made_count && found == NULL; i++) {
        const struct srpi_conv_shape *s = &made[i].shape;
        if (s->kernel_height == shape->kernel_height && s->kernel_width == shape->kernel_width &&
            s->in_channels == shape->in_channels && s->out_channels == shape->out_channels &&
            s->in == shape->in && s->out == shape->out && s->split == shape->split) {
            found = &made[i];
        }
    }
    for (size_t i = 0; i < general_count && found == NULL; i++) {
        const struct srpi_conv_shape *s = &general[i].shape;
        if (s->in == shape->in && s->out == shape->out && s->split == shape->split) {
            found = &general[i];
        }
    }
    if (found == NULL) {
        return NULL;
    }
    if (name != NULL) {
        *name = found->name;
    }
    return found->run;
}
