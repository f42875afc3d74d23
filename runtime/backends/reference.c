/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "model/error.h"
#include "kernels/reference.h"

#define ROWS 4u

static const char *reference_isa(void)
{
    return "scalar";
}

static bool reference_usable(void)
{
    return true;
}

struct reference {
    float **packed; /* one per node; NULL for other nodes than convolutions */
    uint32_t count;
};

static void reference_destroy(void *state)
{
    struct reference *self = state;
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; self->packed != NULL && i < self->count; i++) {
        free(self->packed[i]);
    }
    free(self->packed);
    free(self);
}

static enum srp_err reference_create(void **out, const struct srpi_graph *graph, uint32_t threads,
                                     struct srp_error *err)
{
    (void)threads;
    struct reference *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        goto fail;
    }
    self->count = graph->node_count;
    self->packed = calloc(graph->node_count, sizeof(self->packed[0]));
    if (self->packed == NULL) {
        goto fail;
    }
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct srpi_node *node = &graph->nodes[i];
        if (node->op != SRPI_OP_CONV2D) {
            continue;
        }
        const uint32_t in = graph->tensors[node->inputs[0]].channels;
        const uint32_t channels = graph->tensors[node->output].channels;
        self->packed[i] = calloc(
            srpi_ref_packed_size(in, channels, node->kernel_height, node->kernel_width),
            sizeof(float));
        if (self->packed[i] == NULL) {
            goto fail;
        }
        srpi_ref_pack(self->packed[i], node->weight, in, channels, node->kernel_height,
                      node->kernel_width);
    }
    *out = self;
    return SRP_OK;
fail:
    reference_destroy(self);
    return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the parameters of '%s'",
                       graph->name);
}

struct conv_job {
    struct srpi_ref_conv conv;
    const float *in;
    float *out;
};

static void conv_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct conv_job *job = context;
    srpi_ref_conv2d(&job->conv, job->in, job->out, begin, end);
}

static enum srp_err reference_convolve(void *state, const struct srpi_run *run, uint32_t index,
                                       struct srp_error *err)
{
    (void)err;
    const struct reference *self = state;
    const struct srpi_node *node = &run->graph->nodes[index];
    const struct srpi_tensor *in = &run->graph->tensors[node->inputs[0]];
    struct conv_job job = {
        .conv = {.height = run->height * in->factor,
                 .width = run->width * in->factor,
                 .in_channels = in->channels,
                 .out_channels = run->graph->tensors[node->output].channels,
                 .kernel_height = node->kernel_height,
                 .kernel_width = node->kernel_width,
                 .packed = self->packed[index],
                 .bias = node->bias,
                 .activation = node->activation,
                 .alpha = node->alpha,
                 .min = node->min,
                 .max = node->max,
                 .slope = node->slope},
        .in = run->tensor[node->inputs[0]],
        .out = run->tensor[node->output],
    };
    srpi_pool_for(run->pool, conv_rows, &job, job.conv.height, ROWS);
    return SRP_OK;
}

const struct srpi_backend srpi_backend_reference = {
    .id = SRP_BACKEND_REFERENCE,
    .isa = reference_isa,
    .usable = reference_usable,
    .create = reference_create,
    .destroy = reference_destroy,
    .convolve = reference_convolve,
};
