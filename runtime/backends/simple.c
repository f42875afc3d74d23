/* SPDX-License-Identifier: BSD-2-Clause */
/* The operators without parameters: little work for much memory, so one version serves all
 * backends. */
#include <stdbool.h>

#include "backends/backend.h"
#include "kernels/reference.h"

#define ROWS 8u

struct job {
    const struct srpi_run *run;
    const struct srpi_node *node;
};

static const struct srpi_tensor *tensor_of(const struct job *job, uint32_t index)
{
    return &job->run->graph->tensors[index];
}

/* add and mul */
static void join_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct srpi_node *node = job->node;
    const struct srpi_tensor *tensor = tensor_of(job, node->output);
    const size_t pixels = (size_t)job->run->width * tensor->factor;
    const size_t row = pixels * tensor->channels;
    const size_t at = begin * row, count = (end - begin) * row;
    void (*const combine)(const float *, const float *, float *, size_t) =
        node->op == SRPI_OP_MUL ? srpi_ref_mul : srpi_ref_add;
    float *out = job->run->tensor[node->output] + at;
    /* The output may share the memory of any one operand: that one comes first. */
    uint32_t first = 0;
    for (uint32_t i = 0; i < node->input_count; i++) {
        first = job->run->tensor[node->inputs[i]] + at == out ? i : first;
    }
    const float *so_far = job->run->tensor[node->inputs[first]] + at;
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (i != first) {
            combine(so_far, job->run->tensor[node->inputs[i]] + at, out, count);
            so_far = out;
        }
    }
    srpi_ref_activate(out, (end - begin) * pixels, tensor->channels, node->activation, node->alpha,
                      node->min, node->max, NULL);
}

static void concat_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct srpi_tensor *tensor = tensor_of(job, job->node->output);
    const size_t width = (size_t)job->run->width * tensor->factor;
    uint32_t offset = 0;
    for (uint32_t i = 0; i < job->node->input_count; i++) {
        const uint32_t input = job->node->inputs[i];
        const uint32_t channels = tensor_of(job, input)->channels;
        srpi_ref_concat(job->run->tensor[input] + begin * width * channels, channels,
                        job->run->tensor[job->node->output] + begin * width * tensor->channels,
                        tensor->channels, offset, (end - begin) * width);
        offset += channels;
    }
}

static void slice_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct srpi_tensor *in = tensor_of(job, job->node->inputs[0]);
    const struct srpi_tensor *out = tensor_of(job, job->node->output);
    const size_t width = (size_t)job->run->width * out->factor;
    srpi_ref_slice(job->run->tensor[job->node->inputs[0]] + begin * width * in->channels,
                   in->channels, job->node->first,
                   job->run->tensor[job->node->output] + begin * width * out->channels,
                   out->channels, (end - begin) * width);
}

static void shuffle_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct srpi_node *node = job->node;
    const uint32_t input = node->inputs[0];
    srpi_ref_depth_to_space(job->run->tensor[input], job->run->tensor[node->output],
                            job->run->width * tensor_of(job, input)->factor,
                            tensor_of(job, node->output)->channels, node->block, node->order,
                            begin, end);
}

static void resize_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct job *job = context;
    const struct srpi_node *node = job->node;
    const struct srpi_tensor *in = tensor_of(job, node->inputs[0]);
    srpi_ref_resize(job->run->tensor[node->inputs[0]], job->run->tensor[node->output],
                    job->run->height * in->factor, job->run->width * in->factor, in->channels,
                    node->scale, node->mode, begin, end);
}

void srpi_run_simple(const struct srpi_run *run, const struct srpi_node *node)
{
    struct job job = {.run = run, .node = node};
    const struct srpi_graph *graph = run->graph;
    const uint32_t in_rows = run->height * graph->tensors[node->inputs[0]].factor;
    const uint32_t out_rows = run->height * graph->tensors[node->output].factor;
    switch (node->op) {
    case SRPI_OP_CONV2D: /* the backend's own */
    case SRPI_OP_ROUTE:  /* in no path */
        break;
    case SRPI_OP_ADD:
    case SRPI_OP_MUL:
        srpi_pool_for(run->pool, join_rows, &job, out_rows, ROWS);
        break;
    case SRPI_OP_SLICE:
        srpi_pool_for(run->pool, slice_rows, &job, out_rows, ROWS);
        break;
    case SRPI_OP_CONCAT:
        srpi_pool_for(run->pool, concat_rows, &job, out_rows, ROWS);
        break;
    case SRPI_OP_DEPTH_TO_SPACE:
        srpi_pool_for(run->pool, shuffle_rows, &job, in_rows, ROWS);
        break;
    case SRPI_OP_RESIZE:
        srpi_pool_for(run->pool, resize_rows, &job, out_rows, ROWS);
        break;
    }
}
