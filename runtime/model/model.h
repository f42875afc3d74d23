/* SPDX-License-Identifier: BSD-2-Clause */
/* model.h - what a struct srp_model is, for the executors. Private to runtime/. */
#ifndef SRPI_MODEL_H
#define SRPI_MODEL_H

#include <stdatomic.h>

#include "graph.h"

/* Immutable after creation but for the counts, and until the parameters are dropped. */
struct srp_model {
    atomic_uint references;  /* of a path: those of its owner are counted */
    struct srpi_graph graph; /* parameters are bound */
    void *parameters;        /* what the graph points to, see parameters.h; NULL: dropped */
    atomic_uint readers;     /* of the owner: executors that go on reading the parameters */
    uint32_t path_count;     /* 1: no route */
    uint32_t default_path;
    struct srp_model *paths; /* path_count of them, or NULL where the model is the one path */
    struct srp_model *owner; /* the model that this is a path of, or NULL */
};

/* What runs when nothing chooses: the default path, or the model itself. Borrowed. */
static inline struct srp_model *srpi_model_default(struct srp_model *model)
{
    return model->paths != NULL ? &model->paths[model->default_path] : model;
}

/* Adds (1) or removes (-1) an executor that reads the parameters whenever it runs. */
void srpi_model_read(struct srp_model *model, int change);

/* The graph lives as long as the caller's reference. */
static inline const struct srpi_graph *srpi_model_graph(const struct srp_model *model)
{
    return &model->graph;
}

#endif
