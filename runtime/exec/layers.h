/* SPDX-License-Identifier: BSD-2-Clause */
/* layers.h - the parameters of a program, packed for the kernels that will run it. */
#ifndef SRPI_LAYERS_H
#define SRPI_LAYERS_H

#include "kernels/row.h"
#include "kernels/rowops.h"
#include "kernels/winograd_row.h"
#include "plan/program.h"
#include "quant/quant.h"

/* One of several sums of a convolution, to f32. The second is added to the first and so on. Either
 * all of a convolution's sums have `winograd` or all have `run`, and then read all channels. */
struct srpi_sum {
    struct srpi_conv_layer layer;
    srpi_conv_fn run;
    const struct srpi_winograd_kernels *winograd;
    bool fractions; /* of the operand's fractions */
    uint32_t first, channels; /* of the operand: which it reads */
};

/* A tap of a kernel: from its upper left corner. */
struct srpi_tap {
    uint8_t y, x;
};

/* One step. For a convolution `layer` and either `direct` or `winograd` are set; or parts, and then
 * `layer` is what follows them (quant/quant.h). In int8 both may be: `direct`, with the weights of
 * `few`, for what is left of rows that are no multiple of a band's. With `groups` a split
 * `layer` and `direct`: kernel row p are columns of the channels that sum p reads, in each pixel
 * what the convolution's rows hold of these channels, row after row. Kernels multiply 2, 4 or 64
 * neighbours at a time, and in a column few of these are missing, however narrow the group. Where
 * `sum` is there, parts or groups add up to the whole sum of that layer, as f32. With `tap_count`
 * the kernel has so many taps, as if they lay in one column: all others have weights of 0. */
struct srpi_layer {
    struct srpi_conv_layer layer, few;
    bool widen_residual; /* the other summand's row is turned into f32 first */
    srpi_conv_fn direct;
    const struct srpi_winograd_kernels *winograd;
    struct srpi_sum *parts; /* NULL, or part_count of them */
    uint32_t part_count;
    const struct srpi_quant_part *groups; /* NULL, or layer.shape.kernel_height of them */
    const struct srpi_conv_layer *sum;    /* what follows the sum of all parts or groups, or NULL */
    uint32_t tap_count; /* 0: all taps */
    struct srpi_tap taps[SRP_MAX_KERNEL * SRP_MAX_KERNEL];
    /* TANH and SIGMOID come after the convolution, which then computes f32 into work memory. */
    enum srpi_activation post;
    const char *kernel; /* name, static storage */
    void *memory;       /* owner of what `layer` points to */
};

struct srpi_layers {
    const struct srpi_program *program;
    const struct srpi_kernels *kernels;
    enum srpi_dtype dtype;         /* asked for: what convolutions read */
    struct srpi_quant quant;       /* with Q8 */
    enum srpi_dtype *tensor_dtype; /* graph->tensor_count */
    bool *fine;                    /* graph->tensor_count: Q8 with fractions */
    uint32_t *grid;                /* step_count: rows written at once, see plan/stream.h */
    struct srpi_layer *steps;      /* step_count */
    size_t scratch_size;           /* bytes of work memory that the kernels need, for each worker */
};

/* The program and its graph's parameters outlive the layers; the parameters are copied.
 * Errors: UNSUPPORTED (dtype on this machine), NOMEM, LIMIT, and those of the quantiser. */
enum srp_err srpi_layers_create(struct srpi_layers *layers, const struct srpi_program *program,
                                const struct srpi_kernels *kernels, enum srpi_dtype dtype,
                                struct srp_error *err);
void srpi_layers_destroy(struct srpi_layers *layers);

/* How tensor t lies in memory. */
struct srpi_codec srpi_layers_codec(const struct srpi_layers *layers, uint32_t t);

#endif
