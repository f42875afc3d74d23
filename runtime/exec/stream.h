/* SPDX-License-Identifier: BSD-2-Clause */
/* stream.h - runs a program row by row after its plan (plan/stream.h), picture in, picture out. */
#ifndef SRPI_EXEC_STREAM_H
#define SRPI_EXEC_STREAM_H

#include "exec/layers.h"
#include "exec/pool.h"
#include "kernels/resample.h"
#include "plan/stream.h"

/* The two ends of a run; called by the pool's threads, several at once, with worker < threads. */
struct srpi_stream_io {
    /* Writes pixels `columns` of row y of the input tensor to `row`, in the tensor's dtype and
     * storage, and, unless `fraction` is 0, their fractions so many bytes behind. Each row is asked
     * for once for each region. */
    void (*load)(void *context, uint32_t worker, uint32_t y, struct srpi_span columns, void *row,
                 size_t fraction);
    /* Takes rows `rows` of the wanted tensor for a region; `wanted` and `input` hold them (and the
     * rows around that the sink asked for). A worker's rows go downwards within a region's strip;
     * several calls may overlap. */
    void (*store)(void *context, uint32_t worker, const struct srpi_region *region,
                  struct srpi_span rows, const struct srpi_rows *wanted,
                  const struct srpi_rows *input);
    void *context;
};

#define SRPI_STREAM_REGIONS 256u /* in one run */

struct srpi_stream {
    const struct srpi_layers *layers; /* outlive the stream */
    struct srpi_pool *pool;
    struct srpi_stream_plan plan;
    struct srpi_stream_params params; /* of the plan; its pointers are the layers' */
    char *arena;                      /* of the caller */
    struct srpi_stream_run *run;      /* see stream.c */
};

/* Errors: NOMEM. */
enum srp_err srpi_stream_create(struct srpi_stream *stream, const struct srpi_layers *layers,
                                struct srpi_pool *pool, const struct srpi_sink *sink,
                                struct srp_error *err);
void srpi_stream_destroy(struct srpi_stream *stream);

/* Plans for pictures of this size and regions within them up to width x height (input tensor
 * pixels). plan.arena_bytes says how much memory srpi_stream_attach needs. Errors: LIMIT, NOMEM. */
enum srp_err srpi_stream_reserve(struct srpi_stream *stream, uint32_t picture_width,
                                 uint32_t picture_height, uint32_t width, uint32_t height,
                                 struct srp_error *err);
/* Gives the planned memory, 64-byte aligned, with SRPI_ROW_SLACK bytes behind it; writes the
 * padding. */
void srpi_stream_attach(struct srpi_stream *stream, char *arena);

/* Runs at most SRPI_STREAM_REGIONS regions, each cut into strips, in any order. Allocates nothing.
 * The result does not depend on the number of threads. */
void srpi_stream_process(struct srpi_stream *stream, const struct srpi_region *regions,
                         uint32_t count, const struct srpi_stream_io *io);
/* The same in two parts, so that several streams can share one loop of the pool. start prepares a
 * run, for which `regions` and `io` stay; each worker that calls work does strips until none is
 * left to be taken, so when all have returned the run is done. */
void srpi_stream_start(struct srpi_stream *stream, const struct srpi_region *regions,
                       uint32_t count, const struct srpi_stream_io *io);
void srpi_stream_work(const struct srpi_stream *stream, uint32_t worker);

#endif
