/* SPDX-License-Identifier: BSD-2-Clause */
/* model.h - what a struct srp_model is, for the executors. Private to runtime/. */
#ifndef SRPI_MODEL_H
#define SRPI_MODEL_H

#include <stdatomic.h>

#include "graph.h"

/* Immutable after creation but for the reference count. */
struct srp_model {
    atomic_uint references;
    struct srpi_graph graph; /* parameters are bound */
    float *parameters;       /* graph.parameter_count floats and the ranges, 64-byte aligned; the
                                graph points here */
};

/* The graph lives as long as the caller's reference. */
static inline const struct srpi_graph *srpi_model_graph(const struct srp_model *model)
{
    return &model->graph;
}

#endif
