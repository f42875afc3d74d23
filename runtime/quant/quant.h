/* SPDX-License-Identifier: BSD-2-Clause */
/* quant.h - a program in int8: the dtype of each tensor, its scale and zero point, and the layers
 * that the row kernels run. The rules are docs/arithmetic.md; equal model bytes give equal numbers
 * on every machine. */
#ifndef SRPI_QUANT_H
#define SRPI_QUANT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/row.h"
#include "plan/program.h"

struct srpi_quant_tensor {
    enum srpi_dtype dtype; /* SRPI_Q8 or SRPI_F32; nothing else is set for F32 */
    /* real = (code - zero) * scale. The zero point is a whole number but for the graph's input
     * where no range is stated for it, where it is 255 * mean, and what only moves its codes. */
    double exact_scale, exact_zero;
    float scale, zero, inverse; /* exact_scale, exact_zero and 1 / exact_scale, rounded */
    uint8_t padding;            /* exact_zero rounded to nearest even: what padding holds */
    /* 16 bits: each code has a fraction in 0..255, and w = 256 * code + fraction; real =
     * (w - fine_zero) * scale / 256, fine_zero = 256 * exact_zero + 128, rounded. */
    bool fine;
    float fine_zero;
    float low, high;            /* the range that scale and zero were made for */
};

/* One of the sums of a convolution that has several: input channels [first, first + channels) of
 * the codes or of their fractions. v = fma((float)sum, multiplier[c], shift[c]), in reals. Vectors
 * as in struct srpi_conv_layer; weights [out][channels][ky][kx], of 8 bits. */
struct srpi_quant_part {
    bool fractions;
    uint32_t first, channels;
    const int16_t *weights;
    const int32_t *bias;
    const float *multiplier, *shift;
};

/* A convolution step. `layer` is complete but for the packing: weights are int16_t
 * [out][in][ky][kx], of 8 bits unless `joined`, bias is that for U8 storage (U16 alike; for S8
 * storage add 128 * the sum of the channel's weights). */
struct srpi_quant_conv {
    struct srpi_conv_layer layer;
    /* TANH or SIGMOID: the layer's output is F32, whatever the tensor is; this follows
     * (kernels/activation.h), then the code if the tensor is Q8. Else NONE. */
    enum srpi_activation activation;
    /* The other summand is Q8 and the layer wants F32 (layer.residual): its row goes through
     * srpi_dequantise first. */
    bool widen_residual;
    /* Not 0: there are several sums, which are added in this order. `layer` is then only what
     * follows them, all in reals: its shape (output F32), slope and clamp; the residual is added
     * as its real value, and the code follows last, if the tensor is Q8. */
    uint32_t part_count;
    struct srpi_quant_part *parts;
    /* Groups with one sum (arithmetic.md, "Joined groups"): `layer` is complete, with weights of up
     * to 16 bits. Who has no products of these adds up the parts: the v's are whole numbers below
     * 2^24, and their sum is that of `layer`, bias included. */
    bool joined;
};

/* Immutable, but that the weights may go. */
struct srpi_quant {
    const struct srpi_program *program; /* outlives it */
    struct srpi_quant_tensor *tensors;  /* graph->tensor_count; set where program->used */
    struct srpi_quant_conv *convs;      /* program->step_count; zeroed for other operators */
    void *memory;
    int16_t *weights; /* of all convs; NULL: gone */
};

/* The graph's parameters are bound. On failure *quant is zeroed. Errors, each with the node's or
 * tensor's name: LIMIT (sums that could leave 32 bits, values that could leave the range in which
 * rounding is exact), NONFINITE (the calibration picture makes infinite values), NOMEM. */
enum srp_err srpi_quant_create(struct srpi_quant *quant, const struct srpi_program *program,
                               struct srp_error *err);
/* Frees the weights: for who has packed them. All else stays. */
void srpi_quant_drop_weights(struct srpi_quant *quant);
/* Accepts a zeroed one. */
void srpi_quant_destroy(struct srpi_quant *quant);

/* Whether int8 can run the graph (of one path) as the upscaler does; what was made for that is
 * dropped. Errors: as above. */
enum srp_err srpi_quant_check(const struct srpi_graph *graph, struct srp_error *err);

/* Whether codes of one mean the same in the other, so that they may be copied. */
static inline bool srpi_quant_equal(const struct srpi_quant_tensor *a,
                                    const struct srpi_quant_tensor *b)
{
    return a->dtype == b->dtype &&
           (a->dtype != SRPI_Q8 ||
            (a->exact_scale == b->exact_scale && a->exact_zero == b->exact_zero));
}

static inline float srpi_dequantise(const struct srpi_quant_tensor *tensor, uint8_t code)
{
    return ((float)code - tensor->zero) * tensor->scale;
}

/* w: 256 * code + fraction. */
static inline float srpi_dequantise_fine(const struct srpi_quant_tensor *tensor, float w)
{
    return (w - tensor->fine_zero) * (tensor->scale * 0x1p-8f);
}

/* Rounds to nearest even and saturates; v is in codes. */
static inline uint8_t srpi_saturate(float v)
{
    v = v > 0.0f ? v : 0.0f;
    v = v < 255.0f ? v : 255.0f;
    return (uint8_t)lrintf(v);
}

/* The same to 16 bits; v is in 1/256 of codes. */
static inline uint16_t srpi_saturate_fine(float v)
{
    v = v > 0.0f ? v : 0.0f;
    v = v < 65535.0f ? v : 65535.0f;
    return (uint16_t)lrintf(v);
}

/* The definition of int8 execution, in plain C on whole tensors, one thread.
 * in: codes [height][width][channels] of the graph's input; fractions: alike, where it has 16 bits,
 * else not read; out: the program's wanted tensor, dense f32. Errors: LIMIT (size), NOMEM. */
enum srp_err srpi_quant_run(const struct srpi_quant *quant, const uint8_t *in,
                            const uint8_t *fractions, uint32_t width, uint32_t height, float *out,
                            struct srp_error *err);

#endif
