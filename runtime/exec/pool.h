/* SPDX-License-Identifier: BSD-2-Clause */
/* pool.h - a fixed set of threads that share loops. Waits on condition variables, never spins. */
#ifndef SRPI_POOL_H
#define SRPI_POOL_H

#include <stdint.h>

#include <srp/common.h>

struct srpi_pool;

/* Cores that the process may use, 1..SRP_MAX_THREADS. */
uint32_t srpi_core_count(void);

/* Does items [begin, end) of a loop. `worker` is 0 .. threads - 1 and names the scratch memory that
 * this call may use alone. */
typedef void (*srpi_task)(void *context, uint32_t begin, uint32_t end, uint32_t worker);

/* `threads` includes the caller of srpi_pool_for; 0 means one per core that the process may use.
 * Errors: NOMEM (also when the system refuses a thread), LIMIT. */
enum srp_err srpi_pool_create(struct srpi_pool **out, uint32_t threads, struct srp_error *err);
void srpi_pool_destroy(struct srpi_pool **pool); /* joins; NULL and &{NULL} are fine */
uint32_t srpi_pool_threads(const struct srpi_pool *pool);

/* Runs task over 0 .. count - 1 in pieces of `step` items (the last may be shorter), handed out in
 * order, and returns when all are done. One caller at a time; a task must not call it. */
void srpi_pool_for(struct srpi_pool *pool, srpi_task task, void *context, uint32_t count,
                   uint32_t step);

#endif
