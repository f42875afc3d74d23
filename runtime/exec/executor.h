/* SPDX-License-Identifier: BSD-2-Clause */
/* executor.h - the inside of srp_executor, for the upscaler.
 *
 * There are two ways to run: by streams (NATIVE; exec/stream.h), where rows come and go in rings,
 * and by whole tensors (the other backends), where each tensor is one dense block of memory. The
 * caller sees the same: rows are loaded and stored by its functions. */
#ifndef SRPI_EXECUTOR_H
#define SRPI_EXECUTOR_H

#include "exec/pool.h"
#include "exec/stream.h"
#include "plan/program.h"

/* Computes `wanted` alone. The pool is the caller's and outlives the executor. Errors as
 * srp_executor_create. */
enum srp_err srpi_executor_create(struct srp_executor **out, struct srp_model *model,
                                  enum srp_backend backend, enum srp_dtype dtype,
                                  struct srpi_pool *pool, uint32_t wanted,
                                  const struct srpi_sink *sink, struct srp_error *err);

/* Other needs of the picture's writer than at creation: planned anew where they differ. */
void srpi_executor_set_sink(struct srp_executor *ex, const struct srpi_sink *sink);
/* What the kernels compute with. False: there is no such dtype. */
bool srpi_executor_dtype(enum srpi_dtype *out, enum srp_dtype dtype);
/* How the input's values are to be written. */
struct srpi_codec srpi_executor_input_codec(const struct srp_executor *ex);
/* Moves the memory of `from`, which is then to be destroyed, to a fresh executor: a new model
 * needs no new pages. */
void srpi_executor_inherit(struct srp_executor *ex, struct srp_executor *from);
/* Runs regions of a picture of the reserved size. Errors: DEVICE. */
enum srp_err srpi_executor_process(struct srp_executor *ex, const struct srpi_region *regions,
                                   uint32_t count, const struct srpi_stream_io *io,
                                   struct srp_error *err);
/* By streams: the same in two parts, as srpi_stream_start and srpi_stream_work. False: this
 * executor has whole tensors, and nothing was started. */
bool srpi_executor_start(struct srp_executor *ex, const struct srpi_region *regions, uint32_t count,
                         const struct srpi_stream_io *io);
void srpi_executor_work(const struct srp_executor *ex, uint32_t worker);

#endif
