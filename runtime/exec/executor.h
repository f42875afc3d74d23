/* SPDX-License-Identifier: BSD-2-Clause */
/* executor.h - the inside of srp_executor, for the upscaler. */
#ifndef SRPI_EXECUTOR_H
#define SRPI_EXECUTOR_H

#include <stdbool.h>

#include "exec/pool.h"
#include "model/graph.h"
#include "plan/program.h"

/* Computes `wanted` alone, and leaves the input unharmed with `keep_input`. The pool is the
 * caller's and outlives the executor. Errors as
 * srp_executor_create. */
enum srp_err srpi_executor_create(struct srp_executor **out, struct srp_model *model,
                                  enum srp_backend backend, struct srpi_pool *pool,
                                  uint32_t wanted, bool keep_input, struct srp_error *err);

/* After a reserve: where the input (less mean) is to be written, and where the wanted tensor lies
 * after srpi_executor_compute. Both move with the next reserve. */
float *srpi_executor_input(const struct srp_executor *ex);
const float *srpi_executor_output(const struct srp_executor *ex);
/* Moves the memory of `from`, which is then to be destroyed, to a fresh executor: a new model
 * needs no
 * new pages. */
void srpi_executor_inherit(struct srp_executor *ex, struct srp_executor *from);
/* Runs at the reserved size. Errors: DEVICE. */
enum srp_err srpi_executor_compute(struct srp_executor *ex, struct srp_error *err);

#endif
