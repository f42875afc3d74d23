/* SPDX-License-Identifier: BSD-2-Clause */
/* Convolutions by XNNPACK's operators, with relu and clip inside.
 *
 * A shared XNNPACK is loaded when it is first asked for: it and what it needs would be 300 KB and
 * relocations of every process, and `auto` never takes it. */
#include "backends/backend.h"

#if SRP_HAVE_XNNPACK

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include <pthreadpool.h>
#include <xnnpack.h>

#include "kernels/reference.h"
#include "model/error.h"

#define ROWS 8u

struct xnnpack {
    const struct srpi_graph *graph;
    xnn_operator_t *convolution; /* one per node; NULL for other nodes */
    pthreadpool_t threads;       /* NULL: the caller alone */
};

#define FUNCTIONS(F)                                                                              \
    F(initialize, xnn_initialize)                                                                 \
    F(create_convolution, xnn_create_convolution2d_nhwc_f32)                                      \
    F(setup_convolution, xnn_setup_convolution2d_nhwc_f32)                                        \
    F(run_operator, xnn_run_operator)                                                             \
    F(delete_operator, xnn_delete_operator)                                                       \
    F(create_threads, pthreadpool_create)                                                         \
    F(destroy_threads, pthreadpool_destroy)

/* Set once, and then as constant as the functions themselves. */
#define DECLARE(member, function) __typeof__(&(function)) member;
static struct {
    FUNCTIONS(DECLARE)
} xnn;
static bool found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find(void)
{
#ifdef SRP_XNNPACK_SONAME
    void *library = dlopen(SRP_XNNPACK_SONAME, RTLD_NOW | RTLD_LOCAL); /* never closed */
    found = library != NULL;
#define FIND(member, function)                                                                    \
    xnn.member = found ? (__typeof__(xnn.member))dlsym(library, #function) : NULL;                \
    found = xnn.member != NULL;
#else
    found = true;
#define FIND(member, function) xnn.member = function;
#endif
    FUNCTIONS(FIND)
}

static bool xnnpack_usable(void)
{
    pthread_once(&once, find);
    return found && xnn.initialize(NULL) == xnn_status_success; /* idempotent, thread-safe */
}

static void xnnpack_destroy(void *state)
{
    struct xnnpack *self = state;
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; self->convolution != NULL && i < self->graph->node_count; i++) {
        if (self->convolution[i] != NULL) {
            xnn.delete_operator(self->convolution[i]);
        }
    }
    if (self->threads != NULL) {
        xnn.destroy_threads(self->threads);
    }
    free(self->convolution);
    free(self);
}

static enum srp_err status_error(enum xnn_status status, const struct srpi_node *node,
                                 struct srp_error *err)
{
    return status == xnn_status_out_of_memory
               ? srpi_fail(err, SRP_ERR_NOMEM, "XNNPACK: out of memory for node '%s'", node->name)
               : srpi_fail(err, SRP_ERR_DEVICE, "XNNPACK refused node '%s' (status %d)",
                           node->name, (int)status);
}

/* [out][in][ky][kx] to XNNPACK's [out][ky][kx][in]. */
static float *reorder(const struct srpi_node *node, size_t in, size_t out)
{
    const size_t taps = (size_t)node->kernel_height * node->kernel_width;
    float *weight = malloc(out * taps * in * sizeof(float)); /* SRP_MAX_PARAMETERS bounds it */
    for (size_t o = 0; weight != NULL && o < out; o++) {
        for (size_t tap = 0; tap < taps; tap++) {
            for (size_t i = 0; i < in; i++) {
                weight[(o * taps + tap) * in + i] = node->weight[(o * in + i) * taps + tap];
            }
        }
    }
    return weight;
}

static enum srp_err create_convolution(struct xnnpack *self, uint32_t index,
                                       struct srp_error *err)
{
    const struct srpi_node *node = &self->graph->nodes[index];
    const uint32_t in = self->graph->tensors[node->inputs[0]].channels;
    const uint32_t out = self->graph->tensors[node->output].channels;
    float *weight = reorder(node, in, out);
    if (weight == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for node '%s'", node->name);
    }
    const uint32_t pad_y = node->kernel_height / 2, pad_x = node->kernel_width / 2;
    float low = -INFINITY, high = INFINITY;
    if (node->activation == SRPI_ACT_RELU) {
        low = 0.0f;
    } else if (node->activation == SRPI_ACT_CLIP && node->min < node->max) {
        low = node->min;
        high = node->max;
    }
    const enum xnn_status status = xnn.create_convolution(
        pad_y, pad_x, pad_y, pad_x, node->kernel_height, node->kernel_width, 1, 1, 1, 1, 1, in, out,
        in, out, weight, node->bias, low, high, XNN_FLAG_YIELD_WORKERS, &self->convolution[index]);
    free(weight);
    return status == xnn_status_success ? SRP_OK : status_error(status, node, err);
}

static enum srp_err xnnpack_create(void **out, const struct srpi_graph *graph, uint32_t threads,
                                   struct srp_error *err)
{
    enum srp_err code = SRP_OK;
    struct xnnpack *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for XNNPACK");
    }
    self->graph = graph;
    self->convolution = calloc(graph->node_count, sizeof(xnn_operator_t));
    self->threads = threads > 1 ? xnn.create_threads(threads) : NULL;
    if (self->convolution == NULL || (threads > 1 && self->threads == NULL)) {
        code = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for XNNPACK");
    }
    for (uint32_t i = 0; code == SRP_OK && i < graph->node_count; i++) {
        if (graph->nodes[i].op == SRPI_OP_CONV2D) {
            code = create_convolution(self, i, err);
        }
    }
    if (code != SRP_OK) {
        xnnpack_destroy(self);
        return code;
    }
    *out = self;
    return SRP_OK;
}

static enum srp_err xnnpack_resize(void *state, const struct srpi_run *run, struct srp_error *err)
{
    const struct xnnpack *self = state;
    for (uint32_t i = 0; i < run->graph->node_count; i++) {
        const struct srpi_node *node = &run->graph->nodes[i];
        if (self->convolution[i] == NULL || run->tensor[node->output] == NULL) {
            continue;
        }
        const uint32_t factor = run->graph->tensors[node->inputs[0]].factor;
        const enum xnn_status status = xnn.setup_convolution(
            self->convolution[i], 1, (size_t)run->height * factor, (size_t)run->width * factor,
            run->tensor[node->inputs[0]], run->tensor[node->output], self->threads);
        if (status != xnn_status_success) {
            return status_error(status, node, err);
        }
    }
    return SRP_OK;
}

struct activate_job {
    const struct srpi_node *node;
    float *data;
    size_t width;
    uint32_t channels;
};

static void activate_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct activate_job *job = context;
    srpi_ref_activate(job->data + begin * job->width * job->channels, (end - begin) * job->width,
                      job->channels, job->node->activation, job->node->alpha, job->node->min,
                      job->node->max, job->node->slope);
}

static enum srp_err xnnpack_convolve(void *state, const struct srpi_run *run, uint32_t index,
                                     struct srp_error *err)
{
    const struct xnnpack *self = state;
    const struct srpi_node *node = &run->graph->nodes[index];
    const enum xnn_status status = xnn.run_operator(self->convolution[index], self->threads);
    if (status != xnn_status_success) {
        return status_error(status, node, err);
    }
    const bool inside = node->activation == SRPI_ACT_NONE || node->activation == SRPI_ACT_RELU ||
                        (node->activation == SRPI_ACT_CLIP && node->min < node->max);
    if (!inside) {
        const struct srpi_tensor *tensor = &run->graph->tensors[node->output];
        struct activate_job job = {.node = node,
                                   .data = run->tensor[node->output],
                                   .width = (size_t)run->width * tensor->factor,
                                   .channels = tensor->channels};
        srpi_pool_for(run->pool, activate_rows, &job, run->height * tensor->factor, ROWS);
    }
    return SRP_OK;
}

const struct srpi_backend srpi_backend_xnnpack = {
    .id = SRP_BACKEND_XNNPACK,
    .usable = xnnpack_usable,
    .create = xnnpack_create,
    .destroy = xnnpack_destroy,
    .resize = xnnpack_resize,
    .convolve = xnnpack_convolve,
};

#endif
