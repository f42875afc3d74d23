/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <srp/limits.h>

#include "model/error.h"

struct worker {
    struct srpi_pool *pool;
    uint32_t index;
    pthread_t thread;
};

struct srpi_pool {
    uint32_t threads;
    uint32_t started; /* worker threads that exist; the caller is not one of them */
    pthread_mutex_t lock;
    pthread_cond_t wake, done;

    /* Guarded by lock; constant while a loop runs. */
    uint64_t generation; /* number of the loop */
    uint32_t busy;       /* workers that have not finished this loop */
    bool stop;
    srpi_task task;
    void *context;
    uint32_t count, step;

    atomic_uint next; /* next piece to hand out */
    struct worker workers[];
};

static void take_pieces(struct srpi_pool *pool, uint32_t worker)
{
    const uint32_t count = pool->count, step = pool->step;
    const uint32_t pieces = count / step + (count % step != 0 ? 1 : 0);
    for (;;) {
        const uint32_t piece = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (piece >= pieces) {
            return;
        }
        const uint32_t begin = piece * step;
        const uint32_t end = count - begin > step ? begin + step : count;
        pool->task(pool->context, begin, end, worker);
    }
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    struct srpi_pool *pool = self->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->stop && pool->generation == seen) {
            pthread_cond_wait(&pool->wake, &pool->lock);
        }
        if (pool->stop) {
            break;
        }
        seen = pool->generation;
        pthread_mutex_unlock(&pool->lock);
        take_pieces(pool, self->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->busy == 0) {
            pthread_cond_signal(&pool->done);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

uint32_t srpi_core_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    const int count = CPU_COUNT(&set);
    if (count < 1) {
        return 1;
    }
    return (uint32_t)count > SRP_MAX_THREADS ? SRP_MAX_THREADS : (uint32_t)count;
}

enum srp_err srpi_pool_create(struct srpi_pool **out, uint32_t threads, struct srp_error *err)
{
    if (threads > SRP_MAX_THREADS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "more threads than SRP_MAX_THREADS were asked for");
    }
    if (threads == 0) {
        threads = srpi_core_count();
    }
    struct srpi_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->workers[0]));
    if (pool == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the thread pool");
    }
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (uint32_t i = 1; i < threads; i++) {
        struct worker *worker = &pool->workers[i];
        worker->pool = pool;
        worker->index = i;
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            srpi_pool_destroy(&pool);
            return srpi_fail(err, SRP_ERR_NOMEM, "the system refused to start a worker thread");
        }
        pool->started = i;
    }
    *out = pool;
    return SRP_OK;
}

void srpi_pool_destroy(struct srpi_pool **pool_pointer)
{
    if (pool_pointer == NULL || *pool_pointer == NULL) {
        return;
    }
    struct srpi_pool *pool = *pool_pointer;
    *pool_pointer = NULL;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 1; i <= pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

uint32_t srpi_pool_threads(const struct srpi_pool *pool)
{
    return pool->threads;
}

void srpi_pool_for(struct srpi_pool *pool, srpi_task task, void *context, uint32_t count,
                   uint32_t step)
{
    if (count == 0) {
        return;
    }
    if (pool->started == 0 || count <= step) {
        /* Alone, but still in pieces: what a task sees does not depend on the number of threads. */
        for (uint32_t begin = 0; begin < count;) {
            const uint32_t end = count - begin > step ? begin + step : count;
            task(context, begin, end, 0);
            begin = end;
        }
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->task = task;
    pool->context = context;
    pool->count = count;
    pool->step = step;
    pool->busy = pool->started;
    pool->generation++;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);

    take_pieces(pool, 0);

    pthread_mutex_lock(&pool->lock);
    while (pool->busy != 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}
