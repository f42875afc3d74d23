/* SPDX-License-Identifier: BSD-2-Clause */
/* emit.h - the row kernels of one instruction set as C source. docs/codegen.md shows the result. */
#ifndef SRCC_EMIT_H
#define SRCC_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/row_few.h"

enum { EMIT_MAX_VECTORS = 4 };

/* From one dtype to another, in one sum or in one for each kernel row: a family of kernels. */
enum pair { PAIR_F32, PAIR_Q8, PAIR_Q8_F32, PAIR_Q8_SPLIT, PAIR_BF16, PAIR_BF16_F32, PAIR_COUNT };

/* What the generator knows of an instruction set; the rest is in the vector header. */
struct isa {
    const char *name;       /* as in row.h; the header is kernels/vector_NAME.h */
    const char *constant;   /* SRPI_ISA_... */
    const char *storage;    /* SRPI_Q8_... */
    const char *base;       /* the set that has the pairs which this one lacks, or NULL */
    const char *narrow;     /* the set for layers of at most `narrow_channels` outputs, or NULL */
    uint32_t narrow_channels;
    const char *few;        /* the set written by hand for layers of few outputs, or NULL */
    const char *few_suits;  /* and the function of kernels/row_few.h that says for which */
    bool (*few_has)(const struct srpi_conv_shape *shape); /* the same function */
    bool has_bf16;
    bool pairs[PAIR_COUNT]; /* its own */
    bool shapes;            /* kernels made for one shape too */
    bool few_loads;         /* as a load takes as long as two products; has the words for that */
    uint32_t lanes;         /* 32-bit sums in a vector */
    uint32_t max_vectors;   /* of output channels in a block */
    uint32_t q8_values;     /* in a unit of 32 bits */
    bool q8_planar;
    /* By vectors in a block, less 1: pixels of the widest tile, and the step to the next. */
    struct {
        uint32_t most, step;
        uint32_t q8_pixels; /* that one call of store_q8_V takes */
    } tiles[EMIT_MAX_VECTORS];
};

/* The shape of a convolution, whatever its dtypes. */
struct shape {
    uint32_t kernel_height, kernel_width, in_channels, out_channels;
};

/* NULL: no such set. */
const struct isa *isa_find(const char *name);
/* Their names in one line, for messages. */
const char *isa_names(void);

/* Whether kernels of its own are made for a shape: not in plain C, and not where the vectors would
 * be half empty and there is a narrower set. */
bool isa_serves(const struct isa *isa, const struct shape *shape);

/* Writes the whole file; isa_serves all shapes. `hash`: of the inputs. `graphs`: their names,
 * separated by blanks. */
void emit_file(FILE *to, const struct isa *isa, const struct shape *shapes, size_t shape_count,
               const char *graphs, uint64_t hash);

#endif
