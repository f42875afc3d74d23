/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's own vector kernels. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "exec/cpu.h"
#include "model/error.h"
#include "kernels/conv.h"

#define ROWS 2u

struct native {
    struct srpi_conv *conv; /* one per node; `packed` is NULL for other nodes */
    float *memory;          /* packed weights, biases and slopes of all */
};

static void native_destroy(void *state)
{
    struct native *self = state;
    if (self != NULL) {
        free(self->conv);
        free(self->memory);
        free(self);
    }
}

static enum srp_err native_create(void **out, const struct srpi_graph *graph, uint32_t threads,
                                  struct srp_error *err)
{
    (void)threads;
    size_t floats = 0;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct srpi_node *node = &graph->nodes[i];
        if (node->op == SRPI_OP_CONV2D) {
            /* SRP_MAX_PARAMETERS bounds the whole. */
            const uint32_t channels = graph->tensors[node->output].channels;
            floats += srpi_conv_packed_size(graph->tensors[node->inputs[0]].channels, channels,
                                            node->kernel_height, node->kernel_width) +
                      2 * (size_t)srpi_conv_padded(channels);
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
    float *next = self->memory;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct srpi_node *node = &graph->nodes[i];
        if (node->op != SRPI_OP_CONV2D) {
            continue;
        }
        struct srpi_conv *conv = &self->conv[i];
        conv->in_channels = graph->tensors[node->inputs[0]].channels;
        conv->out_channels = graph->tensors[node->output].channels;
        conv->kernel_height = node->kernel_height;
        conv->kernel_width = node->kernel_width;
        conv->activation = node->activation;
        conv->alpha = node->alpha;
        conv->min = node->min;
        conv->max = node->max;
        const uint32_t padded = srpi_conv_padded(conv->out_channels);
        srpi_conv_pack(next, node->weight, conv->in_channels, conv->out_channels,
                       conv->kernel_height, conv->kernel_width);
        conv->packed = next;
        next += srpi_conv_packed_size(conv->in_channels, conv->out_channels, conv->kernel_height,
                                      conv->kernel_width);
        memcpy(next, node->bias, conv->out_channels * sizeof(float));
        conv->bias = next;
        next += padded;
        if (node->slope != NULL) {
            memcpy(next, node->slope, conv->out_channels * sizeof(float));
        }
        conv->slope = next;
        next += padded;
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
};

static void conv_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct conv_job *job = context;
    srpi_conv_avx2(&job->conv, job->in, job->out, begin, end);
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
    };
    job.conv.height = run->height * in->factor;
    job.conv.width = run->width * in->factor;
    srpi_pool_for(run->pool, conv_rows, &job, job.conv.height, ROWS);
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
