/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "emit.h"

/* Sums of a tile (vectors x pixels) fill the registers that weights, one value and one product
 * leave. With two and four vectors the step is 2 pixels, else the row's own group of 4. */
#define FEW(set, suits) .few = set, .few_suits = #suits, .few_has = suits
#define F32_PAIR [PAIR_F32] = true
#define Q8_PAIRS [PAIR_Q8] = true, [PAIR_Q8_F32] = true, [PAIR_Q8_SPLIT] = true
#define TILES_32(q1, q2) {{24, 4, q1}, {12, 2, q2}, {8, 4, 1}, {6, 2, 1}}
#define TILES_16(q1, q2) {{12, 4, q1}, {6, 2, q2}}

static const struct isa isas[] = {
    {
        .name = "scalar",
        .constant = "SRPI_ISA_SCALAR",
        .storage = "SRPI_Q8_U8",
        .pairs = {F32_PAIR, Q8_PAIRS},
        .lanes = 1,
        .max_vectors = 4,
        .q8_values = 4,
        .tiles = {{4, 4, 1}, {4, 4, 1}, {4, 4, 1}, {4, 4, 1}},
    },
    {
        .name = "avx2",
        .constant = "SRPI_ISA_AVX2",
        .storage = "SRPI_Q8_U16",
        FEW("avx2few", srpi_row_few_suits_avx2),
        .pairs = {F32_PAIR, Q8_PAIRS},
        .shapes = true,
        .lanes = 8,
        .max_vectors = 2,
        .q8_values = 2,
        .tiles = TILES_16(2, 1),
    },
    {
        .name = "avxvnni",
        .constant = "SRPI_ISA_AVXVNNI",
        .storage = "SRPI_Q8_U8",
        .base = "avx2",
        FEW("avxvnnifew", srpi_row_few_suits_vnni),
        .pairs = {Q8_PAIRS},
        .shapes = true,
        .lanes = 8,
        .max_vectors = 2,
        .q8_values = 4,
        .tiles = TILES_16(4, 2),
    },
    {
        .name = "avx512",
        .constant = "SRPI_ISA_AVX512",
        .storage = "SRPI_Q8_U8",
        .narrow = "avx512vl",
        .narrow_channels = 8,
        .pairs = {F32_PAIR, Q8_PAIRS},
        .shapes = true,
        .few_loads = true,
        .lanes = 16,
        .max_vectors = 4,
        .q8_values = 4,
        .tiles = TILES_32(4, 2),
    },
    {
        .name = "avx512vl",
        .constant = "SRPI_ISA_AVX512",
        .storage = "SRPI_Q8_U8",
        FEW("avx512few", srpi_row_few_suits_vnni),
        .pairs = {F32_PAIR, Q8_PAIRS},
        .shapes = true,
        .lanes = 8,
        .max_vectors = 1,
        .q8_values = 4,
        .tiles = {{24, 4, 4}},
    },
    {
        .name = "avx512bf16",
        .constant = "SRPI_ISA_AVX512BF16",
        .storage = "SRPI_Q8_U8",
        .base = "avx512",
        .has_bf16 = true,
        .pairs = {[PAIR_BF16] = true, [PAIR_BF16_F32] = true},
        .shapes = true,
        .lanes = 16,
        .max_vectors = 4,
        .q8_values = 4,
        .tiles = TILES_32(4, 2),
    },
    {
        .name = "neon",
        .constant = "SRPI_ISA_NEON",
        .storage = "SRPI_Q8_U16",
        .pairs = {F32_PAIR, Q8_PAIRS},
        .shapes = true,
        .lanes = 4,
        .max_vectors = 4,
        .q8_values = 2,
        .q8_planar = true,
        .tiles = TILES_32(1, 1),
    },
    {
        .name = "dotprod",
        .constant = "SRPI_ISA_DOTPROD",
        .storage = "SRPI_Q8_S8",
        .base = "neon",
        .pairs = {Q8_PAIRS},
        .shapes = true,
        .lanes = 4,
        .max_vectors = 4,
        .q8_values = 4,
        .tiles = TILES_32(1, 1),
    },
};

const struct isa *isa_find(const char *name)
{
    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
        if (strcmp(isas[i].name, name) == 0) {
            return &isas[i];
        }
    }
    return NULL;
}

const char *isa_names(void)
{
    return "scalar, avx2, avxvnni, avx512, avx512vl, avx512bf16, neon, dotprod";
}

bool isa_serves(const struct isa *isa, const struct shape *shape)
{
    if (isa->max_vectors == 1) {
        return shape->out_channels <= isa->lanes;
    }
    return isa->shapes && (isa->narrow == NULL || shape->out_channels > isa->narrow_channels);
}
