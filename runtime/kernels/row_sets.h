/* SPDX-License-Identifier: BSD-2-Clause */
/* row_sets.h - what the generated sets of row kernels share with the registry (row.c) and with
 * the packing of their weights (row_pack.c), and srpi_row_half with Winograd's kernels. Nobody else
 * needs it: see row.h. */
#ifndef SRPI_ROW_SETS_H
#define SRPI_ROW_SETS_H

#include "kernels/row.h"

#define SRPI_ROW_MAX_VECTORS 4u /* vectors of output channels in one block */

/* A function that runs when a network is loaded alone. Of all sets these lie together, or what
 * looks for a kernel would bring pages of every set that it asks into memory. */
#define SRPI_SETUP __attribute__((cold))
/* What all rows go through on the way to their kernel lies together too, and not between kernels:
 * of these, only the pages of those that run are needed. */
#define SRPI_ENTRY __attribute__((section(".text.hot")))

/* How one instruction set lays out weights: [block][kernel row][unit][vector][lane][value], 4
 * bytes to a lane of a unit; `planar`: [vector][value][lane]. */
struct srpi_row_layout {
    uint32_t lanes;       /* output channels (32-bit sums) in one vector */
    uint32_t max_vectors; /* in one block: 1..SRPI_ROW_MAX_VECTORS */
    uint32_t q8_values;   /* quantised values in one unit: 4 (weights of 8 bits) or 2 (of 16) */
    bool q8_planar;       /* widening products take one value of all lanes at a time */
};

/* The vectors of a layer are shared out evenly: 5 are 3 + 2. */
struct srpi_row_blocks {
    uint32_t vectors, blocks;
    bool half; /* the last vector of the last block: see srpi_row_half */
};

/* Whether half of the lanes are enough for a layer's last vector, beside whole ones. The products
 * of these are then instructions on half a vector: half the time on processors that take two steps
 * for a vector of 64 bytes. */
static inline bool srpi_row_half(uint32_t out_channels, uint32_t lanes)
{
    const uint32_t rest = out_channels % lanes;
    return lanes == 16 && out_channels > lanes && rest != 0 && rest <= lanes / 2;
}

static inline struct srpi_row_blocks srpi_row_blocks(uint32_t out_channels, uint32_t lanes,
                                                     uint32_t max_vectors)
{
    const uint32_t vectors = (out_channels + lanes - 1) / lanes;
    return (struct srpi_row_blocks){vectors, (vectors + max_vectors - 1) / max_vectors,
                                    srpi_row_half(out_channels, lanes)};
}

/* First vector of a block; of block `blocks`: their number. */
static inline uint32_t srpi_row_first(const struct srpi_row_blocks *blocks, uint32_t block)
{
    return block * blocks->vectors / blocks->blocks;
}

/* A block of output channels: its vectors, and whether half of the last one is empty. */
struct srpi_row_block {
    uint32_t first, vectors;
    bool half;
};

static inline struct srpi_row_block srpi_row_block(const struct srpi_row_blocks *blocks,
                                                   uint32_t block)
{
    const uint32_t first = srpi_row_first(blocks, block);
    return (struct srpi_row_block){first, srpi_row_first(blocks, block + 1) - first,
                                   blocks->half && block + 1 == blocks->blocks};
}

/* The channel, counted from the block's first, in lane `lane` of vector `vector` of a block. Q8 to
 * Q8: the instructions that narrow sums to bytes work within 128 bits, and this order makes their
 * results come out in natural order. */
static inline uint32_t srpi_row_channel(bool narrow, uint32_t lanes,
                                        const struct srpi_row_block *block, uint32_t vector,
                                        uint32_t lane)
{
    if (!narrow || lanes < 4) {
        return vector * lanes + lane;
    }
    const uint32_t part = lane / 4, full = block->half ? lanes / 8 : lanes / 4;
    /* Behind `full` parts of all vectors come those that all but the last one have. */
    const uint32_t place = part < full ? block->vectors * part + vector
                           : vector + 1 < block->vectors
                               ? full + (block->vectors - 1) * part + vector
                               : (block->vectors - 1) * lanes / 4 + part;
    return 4 * place + lane % 4;
}

/* Values of one unit. */
static inline uint32_t srpi_row_values(enum srpi_dtype in, uint32_t q8_values)
{
    return in == SRPI_F32 ? 1 : in == SRPI_BF16 ? 2 : q8_values;
}

size_t srpi_row_packed_size(const struct srpi_row_layout *layout,
                            const struct srpi_conv_shape *shape);
void srpi_row_pack(const struct srpi_row_layout *layout, const struct srpi_conv_shape *shape,
                   const void *weights, void *packed);

/* A kernel for one shape. */
struct srpi_row_kernel {
    struct srpi_conv_shape shape;
    srpi_conv_fn run;
    const char *name;
};

/* The kernel of `made` for exactly this shape, else that of `general` for its dtypes, else NULL. */
srpi_conv_fn srpi_row_find(const struct srpi_row_kernel *made, size_t made_count,
                           const struct srpi_row_kernel *general, size_t general_count,
                           const struct srpi_conv_shape *shape, const char **name);

/* BF16, rounded to nearest even; NaN stays NaN. */
static inline uint16_t srpi_to_bf16(float value)
{
    union {
        float f;
        uint32_t u;
    } bits = {.f = value};
    if ((bits.u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits.u >> 16 | 0x40u);
    }
    return (uint16_t)((bits.u + 0x7fffu + (bits.u >> 16 & 1u)) >> 16);
}

static inline float srpi_from_bf16(uint16_t value)
{
    const union {
        uint32_t u;
        float f;
    } bits = {.u = (uint32_t)value << 16};
    return bits.f;
}

/* A generated set: what row.h shows of it, and the shapes that it has kernels of their own for (of
 * its own dtypes: another set may serve the rest). */
struct srpi_row_set {
    struct srpi_kernels kernels; /* first: srpi_row_set_of relies on it */
    const struct srpi_row_kernel *made;
    size_t made_count;
    const struct srpi_row_set *narrow; /* for layers of few output channels, or NULL */
};

static inline const struct srpi_row_set *srpi_row_set_of(const struct srpi_kernels *kernels)
{
    return (const struct srpi_row_set *)(const void *)kernels;
}

/* The build says which of them there are (SRPI_ROWS_...). */
extern const struct srpi_row_set srpi_rows_scalar;
extern const struct srpi_row_set srpi_rows_avx2;
extern const struct srpi_row_set srpi_rows_avxvnni;
extern const struct srpi_row_set srpi_rows_avx512;
extern const struct srpi_row_set srpi_rows_avx512vl; /* of avx512, for narrow layers */
extern const struct srpi_row_set srpi_rows_avx512bf16;
extern const struct srpi_row_set srpi_rows_amx; /* by hand: row_amx.c */
extern const struct srpi_row_set srpi_rows_neon;
extern const struct srpi_row_set srpi_rows_dotprod;

#endif
