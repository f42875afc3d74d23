/* SPDX-License-Identifier: BSD-2-Clause */
/* backend.h - what an executor needs from a way to run nodes. */
#ifndef SRPI_BACKEND_H
#define SRPI_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "exec/pool.h"
#include "model/graph.h"

/* One size of one executor. tensor[t] is where tensor t lies (64-byte aligned; memory goes on
 * for at
 * least 64 bytes behind the last of them), NULL for what is not computed. */
struct srpi_run {
    const struct srpi_graph *graph;
    struct srpi_pool *pool;
    float *const *tensor;
    uint32_t width, height; /* of the input */
};

struct srpi_backend {
    enum srp_backend id;
    /* Name of the instruction set that it uses; may be NULL: not known. */
    const char *(*isa)(void);
    /* Whether this machine can run it. */
    bool (*usable)(void);
    /* Packs the parameters of all convolutions. The graph outlives the state. Errors: NOMEM,
     * DEVICE. */
    enum srp_err (*create)(void **state, const struct srpi_graph *graph, uint32_t threads,
                           struct srp_error *err);
    void (*destroy)(void *state);
    /* Called before the first run at a size, or when tensors moved. NULL: nothing to do. */
    enum srp_err (*resize)(void *state, const struct srpi_run *run, struct srp_error *err);
    /* Runs a convolution with its activation. Errors: DEVICE. */
    enum srp_err (*convolve)(void *state, const struct srpi_run *run, uint32_t node,
                             struct srp_error *err);
};

/* NULL when not built in or not for this machine; never for REFERENCE. AUTO: the fastest. */
const struct srpi_backend *srpi_backend_find(enum srp_backend backend);

extern const struct srpi_backend srpi_backend_reference;
extern const struct srpi_backend srpi_backend_native;
extern const struct srpi_backend srpi_backend_xnnpack;

/* Runs a node that is not a convolution, in rows shared by the pool's threads. */
void srpi_run_simple(const struct srpi_run *run, const struct srpi_node *node);

#endif
