/* SPDX-License-Identifier: BSD-2-Clause */
/* The wavefront: blocks are claimed in order, each by one thread that takes it through all steps.
 * Step s of a block waits until step s of the block before is done, so blocks also end in order,
 * at most one block for each worker is under way, and the rings are as long as the plan says. A
 * thread that waits spins shortly and then sleeps, so a core that another program takes costs its
 * share and not more. */
#include "exec/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "exec/steps.h"
#include "model/error.h"

#define SPINS 2000u

struct srpi_wave {
    atomic_uint next;              /* block to be claimed */
    _Atomic uint64_t *done;        /* by block % slots: block * (steps + 2) + finished steps */
    uint32_t slots;
    atomic_uint sleepers;
    pthread_mutex_t lock;
    pthread_cond_t moved;

    /* One run; constant while it lasts. */
    const struct srpi_region *regions;
    uint32_t region_count, block_count;
    const struct srpi_stream_io *io;
    uint32_t *first;               /* each worker's table of phases: tensor_count entries */
};

/* ---- life ------------------------------------------------------------------------------------ */

enum srp_err srpi_stream_create(struct srpi_stream *stream, const struct srpi_layers *layers,
                                struct srpi_pool *pool, const struct srpi_sink *sink,
                                struct srp_error *err)
{
    const uint32_t workers = srpi_pool_threads(pool);
    const uint32_t tensors = layers->program->graph->tensor_count;
    memset(stream, 0, sizeof(*stream));
    stream->layers = layers;
    stream->pool = pool;
    stream->params = (struct srpi_stream_params){.program = layers->program,
                                                 .kernels = layers->kernels,
                                                 .dtype = layers->tensor_dtype,
                                                 .grid = layers->grid,
                                                 .sink = *sink,
                                                 .workers = workers};
    struct srpi_wave *wave = calloc(1, sizeof(*wave));
    if (wave == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    pthread_mutex_init(&wave->lock, NULL);
    pthread_cond_init(&wave->moved, NULL);
    stream->wave = wave;
    wave->slots = workers + 1;
    wave->done = calloc(wave->slots, sizeof(wave->done[0]));
    /* At most SRP_MAX_THREADS * (SRP_MAX_NODES + 1): no overflow. */
    wave->first = calloc((size_t)workers * tensors, sizeof(wave->first[0]));
    if (wave->done == NULL || wave->first == NULL) {
        srpi_stream_destroy(stream);
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    return SRP_OK;
}

void srpi_stream_destroy(struct srpi_stream *stream)
{
    if (stream->wave != NULL) {
        pthread_cond_destroy(&stream->wave->moved);
        pthread_mutex_destroy(&stream->wave->lock);
        free((void *)stream->wave->done);
        free(stream->wave->first);
        free(stream->wave);
    }
    srpi_stream_plan_destroy(&stream->plan);
    memset(stream, 0, sizeof(*stream));
}

enum srp_err srpi_stream_reserve(struct srpi_stream *stream, uint32_t picture_width,
                                 uint32_t picture_height, uint32_t width, uint32_t height,
                                 struct srp_error *err)
{
    struct srpi_stream_params *params = &stream->params;
    srpi_stream_plan_destroy(&stream->plan);
    stream->arena = NULL;
    params->picture_width = picture_width;
    params->picture_height = picture_height;
    params->width = width;
    params->height = height;
    params->scratch_size =
        stream->layers->scratch_size + srpi_steps_scratch(stream->layers, picture_width);
    return srpi_stream_plan_create(&stream->plan, params, err);
}

void srpi_stream_attach(struct srpi_stream *stream, char *arena)
{
    const struct srpi_graph *graph = stream->layers->program->graph;
    stream->arena = arena;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct srpi_stream_tensor *tensor = &stream->plan.tensors[t];
        if (!tensor->used) {
            continue;
        }
        char *padding = arena + tensor->padding;
        srpi_fill_padding(stream->layers, t, padding, tensor->pitch);
        for (uint32_t row = 0; !tensor->local && row < tensor->ring; row++) {
            memcpy(arena + tensor->offset + row * tensor->pitch, padding, tensor->pitch);
        }
    }
}

/* ---- the wavefront --------------------------------------------------------------------------- */

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until the block before has got as far. */
static void wait_for(struct srpi_wave *wave, uint32_t block, uint64_t wanted)
{
    _Atomic uint64_t *done = &wave->done[block % wave->slots];
    for (uint32_t i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(done, memory_order_acquire) >= wanted) {
            return;
        }
        pause_cpu();
    }
    pthread_mutex_lock(&wave->lock);
    atomic_fetch_add(&wave->sleepers, 1);
    while (atomic_load(done) < wanted) {
        pthread_cond_wait(&wave->moved, &wave->lock);
    }
    atomic_fetch_sub(&wave->sleepers, 1);
    pthread_mutex_unlock(&wave->lock);
}

static void announce(struct srpi_wave *wave, uint32_t block, uint64_t value)
{
    /* Sequentially consistent, as `sleepers` is: either the sleeper sees the new value or we see
     * the sleeper. */
    atomic_store(&wave->done[block % wave->slots], value);
    if (atomic_load(&wave->sleepers) != 0) {
        pthread_mutex_lock(&wave->lock);
        pthread_cond_broadcast(&wave->moved);
        pthread_mutex_unlock(&wave->lock);
    }
}

/* Where one worker stands in the list of regions. */
struct place {
    uint32_t region;
    uint32_t first_block; /* of the region */
    uint32_t blocks;      /* in the region */
};

/* Goes on to the region that holds `block`. Rings go on from region to region without a gap. */
static void move_on(const struct srpi_stream *stream, struct place *place, uint32_t block,
                    uint32_t *phase, bool fresh)
{
    const struct srpi_wave *wave = stream->wave;
    const struct srpi_graph *graph = stream->layers->program->graph;
    while (fresh || block - place->first_block >= place->blocks) {
        const struct srpi_region *from = &wave->regions[place->region];
        if (!fresh) {
            place->first_block += place->blocks;
            place->region++;
        }
        const struct srpi_region *to = &wave->regions[place->region];
        place->blocks = srpi_stream_blocks(&stream->plan, to);
        for (uint32_t t = 0; t < graph->tensor_count; t++) {
            const struct srpi_stream_tensor *tensor = &stream->plan.tensors[t];
            if (!tensor->used) {
                continue;
            }
            const uint32_t begin = srpi_stream_rows(&stream->plan, to, t).begin % tensor->ring;
            uint32_t position = 0;
            if (!fresh) {
                position = (srpi_stream_rows(&stream->plan, from, t).end + phase[t]) % tensor->ring;
            }
            phase[t] = (position + tensor->ring - begin) % tensor->ring;
        }
        fresh = false;
    }
}

static void run_block(const struct srpi_stream *stream, const struct srpi_block *block,
                      uint32_t number)
{
    struct srpi_wave *wave = stream->wave;
    const struct srpi_program *program = stream->layers->program;
    const uint32_t stages = program->step_count + 2; /* load, steps, store */
    for (uint32_t stage = 0; stage < stages; stage++) {
        if (number > 0) {
            wait_for(wave, number - 1, (uint64_t)(number - 1) * stages + stage + 1);
        }
        if (stage == 0) {
            srpi_block_load(block, wave->io);
        } else if (stage <= program->step_count) {
            srpi_block_step(block, stage - 1);
        } else {
            srpi_block_store(block, wave->io);
        }
        announce(wave, number, (uint64_t)number * stages + stage + 1);
    }
}

static void work(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)begin;
    (void)end;
    const struct srpi_stream *stream = context;
    struct srpi_wave *wave = stream->wave;
    const uint32_t tensors = stream->layers->program->graph->tensor_count;
    uint32_t *phase = wave->first + (size_t)worker * tensors;
    struct place place = {0};
    bool fresh = true;
    for (;;) {
        const uint32_t number = atomic_fetch_add_explicit(&wave->next, 1, memory_order_relaxed);
        if (number >= wave->block_count) {
            return;
        }
        move_on(stream, &place, number, phase, fresh);
        fresh = false;
        const struct srpi_block block = {.stream = stream,
                                         .region = &wave->regions[place.region],
                                         .index = number - place.first_block,
                                         .worker = worker,
                                         .phase = phase,
                                         .area = stream->arena + stream->plan.area +
                                                 worker * stream->plan.area_size};
        run_block(stream, &block, number);
    }
}

void srpi_stream_run(struct srpi_stream *stream, const struct srpi_region *regions, uint32_t count,
                     const struct srpi_stream_io *io)
{
    struct srpi_wave *wave = stream->wave;
    wave->regions = regions;
    wave->region_count = count;
    wave->io = io;
    wave->block_count = 0;
    for (uint32_t r = 0; r < count; r++) {
        wave->block_count += srpi_stream_blocks(&stream->plan, &regions[r]);
    }
    for (uint32_t i = 0; i < wave->slots; i++) {
        atomic_store_explicit(&wave->done[i], 0, memory_order_relaxed);
    }
    atomic_store(&wave->next, 0);
    srpi_pool_for(stream->pool, work, stream, stream->plan.workers, 1);
}
