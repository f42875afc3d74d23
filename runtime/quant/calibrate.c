/* SPDX-License-Identifier: BSD-2-Clause */
#include "quant/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/reference.h"
#include "model/error.h"

/* ---- the picture ----------------------------------------------------------------------------- */

#define WIDTH 96u
#define HEIGHT 64u
#define MIN_WIDTH 12u
/* Above these, per picture, it is halved: multiply-accumulates, values in tensors. */
#define MAX_MACS (UINT64_C(1) << 31)
#define MAX_VALUES (UINT64_C(1) << 27)

static uint32_t scramble(uint32_t y, uint32_t x)
{
    uint32_t h = x * 374761393u + y * 668265263u;
    h = (h ^ h >> 13) * 1274126177u;
    return h ^ h >> 16;
}

/* A triangle wave of n: 0 .. height - 1 and back. */
static int32_t wave(uint32_t n, uint32_t period, int32_t height)
{
    const uint32_t p = n % period;
    return (int32_t)(2 * (p < period - p ? p : period - p)) * height / (int32_t)period;
}

/* Tiles of 16x16 of what pictures are made of: slopes, texture, edges, lines, noise, letters. */
static int32_t luma(uint32_t y, uint32_t x)
{
    const uint32_t h = scramble(y, x);
    const int32_t dy = (int32_t)(y % 16) - 8, dx = (int32_t)(x % 16) - 8;
    int32_t v = 0;
    switch ((x / 16 + 5 * (y / 16)) % 8) {
    case 0:
        v = 40 + wave(3 * x + 2 * y, 256, 160);
        break;
    case 1:
        v = 100 + wave(5 * x + 3 * y, 16, 60);
        break;
    case 2:
        v = dy * dy + dx * dx < 36 ? 220 : 50;
        break;
    case 3:
        v = (x + 2 * y) % 32 < 16 ? 235 : 16;
        break;
    case 4:
        v = x % 4 == 0 ? 200 : 90;
        break;
    case 5:
        v = 96 + (int32_t)(h >> 8) % 64;
        break;
    case 6:
        v = 128 + ((x + y) % 2 == 0 ? 1 : -1) * wave(y, 32, 40);
        break;
    default:
        v = scramble(y / 3, x / 2) % 2 == 0 ? 16 : 240;
        break;
    }
    v += (int32_t)(h % 7) - 3;
    return v < 0 ? 0 : v > 255 ? 255 : v;
}

uint8_t srpi_calibration_code(enum srp_colour_space colour, uint32_t c, uint32_t y, uint32_t x)
{
    const int32_t u = wave(7 * x + 3 * y, 160, 80) - 40, v = wave(2 * x + 9 * y, 112, 64) - 32;
    int32_t code = 0;
    switch (colour) {
    case SRP_COLOUR_RGB:
        code = luma(y, x) + (c == 0 ? v : c == 1 ? 0 : u);
        break;
    case SRP_COLOUR_YUV420:
        code = c < 4 ? luma(2 * y + c / 2, 2 * x + c % 2) : 128 + (c == 4 ? u : v);
        break;
    case SRP_COLOUR_Y:
        code = luma(y, x);
        break;
    }
    return (uint8_t)(code < 0 ? 0 : code > 255 ? 255 : code);
}

/* ---- one step in f32 ------------------------------------------------------------------------- */

static void convolve(const struct srpi_graph *graph, const struct srpi_node *node, uint32_t width,
                     uint32_t height, const float *packed, const float *in, float *out)
{
    const struct srpi_tensor *tensor = &graph->tensors[node->inputs[0]];
    const struct srpi_ref_conv conv = {
        .height = height * tensor->factor,
        .width = width * tensor->factor,
        .in_channels = tensor->channels,
        .out_channels = graph->tensors[node->output].channels,
        .kernel_height = node->kernel_height,
        .kernel_width = node->kernel_width,
        .packed = packed,
        .bias = node->bias,
        .activation = node->activation,
        .alpha = node->alpha,
        .min = node->min,
        .max = node->max,
        .slope = node->slope,
    };
    srpi_ref_conv2d(&conv, in, out, 0, conv.height);
}

static void concatenate(const struct srpi_graph *graph, const struct srpi_node *node, size_t pixels,
                       float *const *tensors)
{
    uint32_t offset = 0;
    for (uint32_t i = 0; i < node->input_count; i++) {
        const uint32_t channels = graph->tensors[node->inputs[i]].channels;
        srpi_ref_concat(tensors[node->inputs[i]], channels, tensors[node->output],
                        graph->tensors[node->output].channels, offset, pixels);
        offset += channels;
    }
}

void srpi_step_run(const struct srpi_graph *graph, const struct srpi_step *step, uint32_t width,
                   uint32_t height, const float *packed, float *const *tensors)
{
    const struct srpi_node *node = step->node, *last = srpi_step_last(step);
    const struct srpi_tensor *in = &graph->tensors[node->inputs[0]];
    const struct srpi_tensor *to = &graph->tensors[step->output];
    const uint32_t in_width = width * in->factor, in_height = height * in->factor;
    const size_t pixels = (size_t)width * to->factor * height * to->factor;
    const float *first = tensors[node->inputs[0]];
    float *out = tensors[step->output];
    void (*combine)(const float *, const float *, float *, size_t) = srpi_ref_add;

    switch (node->op) {
    case SRPI_OP_CONV2D:
        convolve(graph, node, width, height, packed, first, out);
        if (step->residual != SRPI_NO_TENSOR) {
            srpi_ref_add(out, tensors[step->residual], out, pixels * to->channels);
        }
        break;
    case SRPI_OP_MUL:
        combine = srpi_ref_mul;
        /* fall through */
    case SRPI_OP_ADD:
        for (uint32_t i = 1; i < node->input_count; i++) {
            combine(i == 1 ? first : out, tensors[node->inputs[i]], out, pixels * to->channels);
        }
        break;
    case SRPI_OP_CONCAT:
        concatenate(graph, node, pixels, tensors);
        break;
    case SRPI_OP_SLICE:
        srpi_ref_slice(first, in->channels, node->first, out, to->channels, pixels);
        break;
    case SRPI_OP_DEPTH_TO_SPACE:
        srpi_ref_depth_to_space(first, out, in_width, to->channels, node->block, node->order, 0,
                                in_height);
        break;
    case SRPI_OP_RESIZE:
        srpi_ref_resize(first, out, in_height, in_width, to->channels, node->scale, node->mode, 0,
                        in_height * node->scale);
        break;
    case SRPI_OP_ROUTE: /* in no path */
        break;
    }
    if (node->op != SRPI_OP_CONV2D || step->sum != NULL) {
        srpi_ref_activate(out, pixels, to->channels, last->activation, last->alpha, last->min,
                          last->max, NULL);
    }
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static void choose_size(const struct srpi_graph *graph, uint32_t *width, uint32_t *height)
{
    uint64_t values = 0; /* at most 2^9 tensors, 2^9 channels, 2^4 pixels */
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        values += (uint64_t)graph->tensors[t].channels * graph->tensors[t].factor *
                  graph->tensors[t].factor;
    }
    *width = WIDTH;
    *height = HEIGHT;
    while (*width > MIN_WIDTH && (graph->macs_per_pixel * *width * *height > MAX_MACS ||
                                  values * *width * *height > MAX_VALUES)) {
        *width /= 2;
        *height /= 2;
    }
}

/* The step after which a tensor is not read any more; step_count: none reads it. */
static uint32_t last_reader(const struct srpi_program *program, uint32_t tensor)
{
    for (uint32_t s = program->step_count; s-- > 0;) {
        for (uint32_t i = 0; i < srpi_step_reads(&program->steps[s]); i++) {
            if (srpi_step_read(&program->steps[s], i) == tensor) {
                return s;
            }
        }
    }
    return program->step_count;
}

static float *make_input(const struct srpi_graph *graph, uint32_t width, uint32_t height)
{
    float *values = malloc((size_t)width * height * graph->channels * sizeof(float));
    float *to = values;
    for (uint32_t i = 0; values != NULL && i < width * height; i++) {
        for (uint32_t c = 0; c < graph->channels; c++) {
            *to++ = (float)srpi_calibration_code(graph->colour, c, i / width, i % width) / 255.0f -
                    graph->mean;
        }
    }
    return values;
}

/* False: infinite or NaN. */
static bool find_range(const float *values, size_t count, struct srpi_range *range)
{
    *range = (struct srpi_range){0.0f, 0.0f};
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
        range->low = values[i] < range->low ? values[i] : range->low;
        range->high = values[i] > range->high ? values[i] : range->high;
    }
    return true;
}

struct trial {
    const struct srpi_program *program;
    uint32_t width, height;
    const bool *wanted;
    bool *needed;    /* what the wanted ones are made from */
    float **tensors; /* NULL: not there */
};

static enum srp_err try_step(struct trial *trial, uint32_t index, struct srpi_range *ranges,
                            struct srp_error *err)
{
    const struct srpi_graph *graph = trial->program->graph;
    const struct srpi_step *step = &trial->program->steps[index];
    const struct srpi_tensor *to = &graph->tensors[step->output];
    /* Bounded by choose_size and the limits: no overflow. */
    const size_t count =
        (size_t)trial->width * to->factor * trial->height * to->factor * to->channels;
    float *packed = NULL;
    enum srp_err rc = SRP_OK;

    trial->tensors[step->output] = malloc(count * sizeof(float));
    if (step->node->op == SRPI_OP_CONV2D) {
        const uint32_t in = graph->tensors[step->node->inputs[0]].channels;
        const uint32_t kh = step->node->kernel_height, kw = step->node->kernel_width;
        packed = malloc(srpi_ref_packed_size(in, to->channels, kh, kw) * sizeof(float));
        if (packed != NULL) {
            srpi_ref_pack(packed, step->node->weight, in, to->channels, kh, kw);
        }
    }
    if (trial->tensors[step->output] == NULL ||
        (step->node->op == SRPI_OP_CONV2D && packed == NULL)) {
        rc = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the ranges of '%s'", graph->name);
    } else {
        srpi_step_run(graph, step, trial->width, trial->height, packed, trial->tensors);
    }
    free(packed);
    if (rc == SRP_OK && trial->wanted[step->output] &&
        !find_range(trial->tensors[step->output], count, &ranges[step->output])) {
        rc = srpi_fail(err, SRP_ERR_NONFINITE,
                       "graph '%s': tensor '%s' becomes infinite: no range for int8", graph->name,
                       to->name);
    }
    return rc;
}

enum srp_err srpi_calibrate(const struct srpi_program *program, const bool *wanted,
                            struct srpi_range *ranges, struct srp_error *err)
{
    const struct srpi_graph *graph = program->graph;
    struct trial trial = {.program = program, .wanted = wanted};
    enum srp_err rc = SRP_OK;

    trial.needed = calloc(graph->tensor_count, sizeof(trial.needed[0]));
    trial.tensors = calloc(graph->tensor_count, sizeof(trial.tensors[0]));
    choose_size(graph, &trial.width, &trial.height);
    if (trial.needed != NULL && trial.tensors != NULL) {
        trial.tensors[graph->input] = make_input(graph, trial.width, trial.height);
    }
    if (trial.needed == NULL || trial.tensors == NULL || trial.tensors[graph->input] == NULL) {
        rc = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the ranges of '%s'", graph->name);
        goto done;
    }
    for (uint32_t s = program->step_count; s-- > 0;) {
        const struct srpi_step *step = &program->steps[s];
        trial.needed[step->output] = trial.needed[step->output] || wanted[step->output];
        for (uint32_t i = 0; trial.needed[step->output] && i < srpi_step_reads(step); i++) {
            trial.needed[srpi_step_read(step, i)] = true;
        }
    }
    for (uint32_t s = 0; rc == SRP_OK && s < program->step_count; s++) {
        const struct srpi_step *step = &program->steps[s];
        if (!trial.needed[step->output]) {
            continue;
        }
        rc = try_step(&trial, s, ranges, err);
        for (uint32_t i = 0; rc == SRP_OK && i < srpi_step_reads(step); i++) {
            const uint32_t t = srpi_step_read(step, i);
            if (last_reader(program, t) == s) {
                free(trial.tensors[t]);
                trial.tensors[t] = NULL;
            }
        }
    }
done:
    for (uint32_t t = 0; trial.tensors != NULL && t < graph->tensor_count; t++) {
        free(trial.tensors[t]);
    }
    free(trial.tensors);
    free(trial.needed);
    return rc;
}
