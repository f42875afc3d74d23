/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's own vector kernels. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "exec/cpu.h"
#include "model/error.h"
#include "kernels/conv.h"
#include "kernels/winograd.h"

#define ROWS 2u

struct native {
    struct srpi_conv *conv; /* one per node; `packed` is NULL for other nodes */
    float *memory;          /* packed weights, biases and slopes of all */
    float *scratch;         /* scratch_size floats for each thread; NULL: no layer needs it */
    size_t scratch_size;
};

/* By the shape alone: what is computed does not depend on the machine's mood. */
static bool by_winograd(const struct srpi_conv *conv)
{
    return srpi_winograd_suits(conv->in_channels, conv->out_channels, conv->kernel_height,
                               conv->kernel_width);
}

static size_t packed_size(const struct srpi_conv *conv)
{
    return by_winograd(conv)
               ? srpi_winograd_packed_size(conv->in_channels, conv->out_channels)
               : srpi_conv_packed_size(conv->in_channels, conv->out_channels,
                                       conv->kernel_height, conv->kernel_width);
}

static struct srpi_conv conv_of(const struct srpi_graph *graph, const struct srpi_node *node)
{
    return (struct srpi_conv){.in_channels = graph->tensors[node->inputs[0]].channels,
                              .out_channels = graph->tensors[node->output].channels,
                              .kernel_height = node->kernel_height,
                              .kernel_width = node->kernel_width,
                              .activation = node->activation,
                              .alpha = node->alpha,
                              .min = node->min,
                              .max = node->max};
}

/* Packs the node's parameters at `next` and returns the place after them. */
static float *pack(struct srpi_conv *conv, const struct srpi_node *node, float *next)
{
    const uint32_t padded = srpi_conv_padded(conv->out_channels);
    if (by_winograd(conv)) {
        srpi_winograd_pack(next, node->weight, conv->in_channels, conv->out_channels);
    } else {
        srpi_conv_pack(next, node->weight, conv->in_channels, conv->out_channels,
                       conv->kernel_height, conv->kernel_width);
    }
    conv->packed = next;
    next += packed_size(conv);
    memcpy(next, node->bias, conv->out_channels * sizeof(float));
    conv->bias = next;
    next += padded;
    if (node->slope != NULL) {
        memcpy(next, node->slope, conv->out_channels * sizeof(float));
    }
    conv->slope = next;
    return next + padded;
}

static void native_destroy(void *state)
{
    struct native *self = state;
    if (self != NULL) {
        free(self->conv);
        free(self->memory);
        free(self->scratch);
        free(self);
    }
}

static enum srp_err native_create(void **out, const struct srpi_graph *graph, uint32_t threads,
                                  struct srp_error *err)
{
    size_t floats = 0, scratch = 0;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct srpi_node *node = &graph->nodes[i];
        if (node->op == SRPI_OP_CONV2D) {
            /* SRP_MAX_PARAMETERS bounds the whole. */
            const struct srpi_conv conv = conv_of(graph, node);
            floats += packed_size(&conv) + 2 * (size_t)srpi_conv_padded(conv.out_channels);
            if (by_winograd(&conv)) {
                const size_t need = srpi_winograd_scratch_size(conv.in_channels,
                                                               conv.out_channels);
                scratch = need > scratch ? need : scratch;
            }
        }
    }
    struct native *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        goto fail;
    }
    self->conv = calloc(graph->node_count, sizeof(self->conv[0]));
    self->memory = aligned_alloc(64, (floats * sizeof(float) / 64 + 1) * 64);
    if (self->conv == NULL || self->memory == NULL) {
        goto fail;
    }
    memset(self->memory, 0, floats * sizeof(float));
    if (scratch != 0) {
        self->scratch_size = scratch;
        self->scratch = aligned_alloc(64, threads * scratch * sizeof(float));
        if (self->scratch == NULL) {
            goto fail;
        }
        memset(self->scratch, 0, threads * scratch * sizeof(float)); /* no page fault in a frame */
    }
    float *next = self->memory;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct srpi_node *node = &graph->nodes[i];
        if (node->op == SRPI_OP_CONV2D) {
            self->conv[i] = conv_of(graph, node);
            next = pack(&self->conv[i], node, next);
        }
    }
    *out = self;
    return SRP_OK;
fail:
    native_destroy(self);
    return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the parameters of '%s'",
                       graph->name);
}

struct conv_job {
    struct srpi_conv conv;
    const float *in;
    float *out;
    float *scratch;
    size_t scratch_size;
};

static void conv_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct conv_job *job = context;
    srpi_conv_avx2(&job->conv, job->in, job->out, begin, end);
}

static void winograd_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    const struct conv_job *job = context;
    srpi_winograd_avx2(&job->conv, job->in, job->out, job->scratch + worker * job->scratch_size,
                       begin, end);
}

static enum srp_err native_convolve(void *state, const struct srpi_run *run, uint32_t index,
                                    struct srp_error *err)
{
    (void)err;
    const struct native *self = state;
    const struct srpi_node *node = &run->graph->nodes[index];
    const struct srpi_tensor *in = &run->graph->tensors[node->inputs[0]];
    struct conv_job job = {
        .conv = self->conv[index],
        .in = run->tensor[node->inputs[0]],
        .out = run->tensor[node->output],
        .scratch = self->scratch,
        .scratch_size = self->scratch_size,
    };
    job.conv.height = run->height * in->factor;
    job.conv.width = run->width * in->factor;
    if (by_winograd(&job.conv)) {
        const uint32_t tiles = (job.conv.height + SRPI_WINOGRAD_TILE - 1) / SRPI_WINOGRAD_TILE;
        srpi_pool_for(run->pool, winograd_rows, &job, tiles, 1);
    } else {
        srpi_pool_for(run->pool, conv_rows, &job, job.conv.height, ROWS);
    }
    return SRP_OK;
}

const struct srpi_backend srpi_backend_native = {
    .id = SRP_BACKEND_NATIVE,
    .isa = srp_isa,
    .usable = srpi_cpu_avx2,
    .create = native_create,
    .destroy = native_destroy,
    .convolve = native_convolve,
};
