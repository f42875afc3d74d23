/* SPDX-License-Identifier: BSD-2-Clause */
/* Strips are taken in order, the lowest of a region first, by whichever thread is free; a few for
 * each thread, so that one whose core is busy with another program takes fewer. A thread never
 * waits for another but at the end of a strip, for rows in the seam of the strip below: that strip
 * was begun earlier, and its seam is its first rows, so they are nearly always there. */
#include "exec/stream.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "exec/steps.h"
#include "model/error.h"

/* Strips of a large region for each thread. */
#define PARTS 4u
/* What is more than one of so many parts of a thread's share is large: else 5 equal pieces would
 * take 2 threads as long as 6. */
#define SHARES 4u
#define SPINS 1000u

/* How far a strip has come: blocks done, or */
#define STRIP_DONE UINT_MAX

/* A region, or one of those that it is cut into side by side. */
struct srpi_piece {
    struct srpi_region region;
    uint32_t first;     /* its first strip */
    uint32_t first_cut; /* the same, counted in `cut` */
};

struct srpi_stream_run {
    atomic_uint next;      /* number of the strip to be taken */
    atomic_uint *state;    /* of each strip of this run */
    uint32_t *cut;         /* numbers of the strips of regions that are cut: these use seams */
    atomic_uint sleepers;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct srpi_block *workers; /* each worker's place and tables */
    struct srpi_place *places;  /* those tables */

    /* Constant while a run lasts. */
    struct srpi_piece *pieces; /* of all regions, and one behind the last */
    const struct srpi_stream_io *io;
    uint32_t piece_count, strip_count;
};

/* ---- life ------------------------------------------------------------------------------------ */

/* Most pieces of one run: no region is wider than the widest. */
static uint32_t most_pieces(const struct srpi_stream_plan *plan, uint32_t width)
{
    return SRPI_STREAM_REGIONS * ((width + plan->span - 1) / plan->span);
}

/* Most strips: fewer than SHARES * workers pieces are large enough to be cut. */
static uint32_t most_strips(uint32_t pieces, uint32_t workers)
{
    return pieces + SHARES * workers * PARTS * workers;
}

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
                                                 .fine = layers->fine,
                                                 .grid = layers->grid,
                                                 .sink = *sink,
                                                 .workers = workers};
    struct srpi_stream_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    pthread_mutex_init(&run->lock, NULL);
    pthread_cond_init(&run->moved, NULL);
    stream->run = run;
    /* At most SRP_MAX_THREADS * (SRP_MAX_NODES + 1) of each: no overflow. */
    run->workers = calloc(workers, sizeof(run->workers[0]));
    run->places = calloc((size_t)workers * tensors, sizeof(run->places[0]));
    if (run->workers == NULL || run->places == NULL) {
        srpi_stream_destroy(stream);
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    for (uint32_t w = 0; w < workers; w++) {
        run->workers[w] = (struct srpi_block){.stream = stream,
                                              .worker = w,
                                              .at = run->places + (size_t)w * tensors};
    }
    return SRP_OK;
}

void srpi_stream_destroy(struct srpi_stream *stream)
{
    struct srpi_stream_run *run = stream->run;
    if (run != NULL) {
        pthread_cond_destroy(&run->moved);
        pthread_mutex_destroy(&run->lock);
        free((void *)run->state);
        free(run->cut);
        free(run->pieces);
        free(run->workers);
        free(run->places);
        free(run);
    }
    srpi_stream_plan_destroy(&stream->plan);
    memset(stream, 0, sizeof(*stream));
}

/* Room for the pieces and strips of a run. */
static enum srp_err reserve_run(struct srpi_stream *stream, struct srp_error *err)
{
    struct srpi_stream_run *run = stream->run;
    /* Pieces have 64 columns or more, so there are at most 2^16: no overflow. */
    const uint32_t pieces = most_pieces(&stream->plan, stream->params.width);
    const uint32_t strips = most_strips(pieces, stream->plan.workers);
    free((void *)run->state);
    free(run->cut);
    free(run->pieces);
    run->state = calloc(strips, sizeof(run->state[0]));
    run->cut = calloc(strips, sizeof(run->cut[0]));
    run->pieces = calloc((size_t)pieces + 1, sizeof(run->pieces[0]));
    return run->state != NULL && run->cut != NULL && run->pieces != NULL
               ? SRP_OK
               : srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
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
    enum srp_err code = srpi_stream_plan_create(&stream->plan, params, err);
    if (code == SRP_OK) {
        code = reserve_run(stream, err);
    }
    return code;
}

void srpi_stream_attach(struct srpi_stream *stream, char *arena)
{
    const struct srpi_graph *graph = stream->layers->program->graph;
    const struct srpi_stream_plan *plan = &stream->plan;
    stream->arena = arena;
    for (uint32_t w = 0; w < plan->workers; w++) {
        stream->run->workers[w].area = arena + plan->area + w * plan->area_size;
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct srpi_stream_tensor *tensor = &plan->tensors[t];
        if (!tensor->used) {
            continue;
        }
        char *padding = arena + tensor->padding;
        srpi_fill_padding(stream->layers, t, padding, tensor->pitch);
        /* In front of each row; what is behind one is written with the row. A local ring's memory
         * is others' too, but nobody reads its padding. */
        for (uint32_t w = 0; !tensor->local && w < plan->workers; w++) {
            char *ring = stream->run->workers[w].area + tensor->offset;
            for (uint32_t row = 0; row < tensor->ring; row++) {
                memcpy(ring + row * tensor->pitch, padding, tensor->pitch);
            }
        }
    }
}

/* ---- strips ---------------------------------------------------------------------------------- */

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for(struct srpi_stream_run *run, uint32_t strip, unsigned wanted)
{
    for (uint32_t i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&run->state[strip], memory_order_acquire) >= wanted) {
            return;
        }
        pause_cpu();
    }
    pthread_mutex_lock(&run->lock);
    atomic_fetch_add(&run->sleepers, 1);
    while (atomic_load(&run->state[strip]) < wanted) {
        pthread_cond_wait(&run->moved, &run->lock);
    }
    atomic_fetch_sub(&run->sleepers, 1);
    pthread_mutex_unlock(&run->lock);
}

static void announce(struct srpi_stream_run *run, uint32_t strip, unsigned state)
{
    /* Sequentially consistent, as `sleepers` is: either the sleeper sees the new state or we see
     * the sleeper. */
    atomic_store(&run->state[strip], state);
    if (atomic_load(&run->sleepers) != 0) {
        pthread_mutex_lock(&run->lock);
        pthread_cond_broadcast(&run->moved);
        pthread_mutex_unlock(&run->lock);
    }
}

/* Piece of a strip; pieces are few. */
static const struct srpi_piece *piece_of(const struct srpi_stream_run *run, uint32_t number)
{
    uint32_t low = 0, high = run->piece_count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (run->pieces[middle].first <= number) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &run->pieces[low];
}

/* Sets the worker's place to strip `number`: the lowest strip of a piece has its first number. */
static void take_strip(const struct srpi_stream *stream, struct srpi_block *block, uint32_t number)
{
    const struct srpi_stream_run *run = stream->run;
    const struct srpi_stream_plan *plan = &stream->plan;
    const struct srpi_piece *piece = piece_of(run, number);
    const uint32_t end = piece[1].first, count = end - piece->first;
    block->strip = srpi_stream_strip(plan, &piece->region, end - 1 - number, count);
    block->sink = srpi_stream_sink_rows(plan, &block->strip);
    block->seam = block->below = NULL;
    if (count > 1) {
        char *seams = stream->arena + plan->seam;
        const uint32_t cut = piece->first_cut + number - piece->first;
        block->seam = seams + cut % plan->seams * plan->seam_size;
        block->below = seams + (cut + plan->seams - 1) % plan->seams * plan->seam_size;
        /* The seam's memory was that of the strip `seams` before, which the one after that reads;
         * both are done with it, and so are all earlier ones, for they waited likewise. */
        if (cut >= plan->seams) {
            wait_for(stream->run, run->cut[cut - plan->seams], STRIP_DONE);
            wait_for(stream->run, run->cut[cut - plan->seams + 1], STRIP_DONE);
        }
    }
    srpi_block_take_strip(block);
}

/* Before tensor t is read: waits for its rows in the seam of the strip below. */
static void await_seam(const struct srpi_stream *stream, const struct srpi_block *block,
                       uint32_t number, uint32_t t)
{
    const uint32_t blocks =
        srpi_stream_seam_blocks(&stream->plan, &block->strip, t, block->index);
    if (blocks > 0) {
        wait_for(stream->run, number - 1, blocks);
    }
}

static void run_strip(const struct srpi_stream *stream, struct srpi_block *block, uint32_t number)
{
    struct srpi_stream_run *run = stream->run;
    const struct srpi_program *program = stream->layers->program;
    const uint32_t blocks = srpi_stream_blocks(&stream->plan, &block->strip);
    for (uint32_t b = 0; b < blocks; b++) {
        srpi_block_take(block, b);
        srpi_block_load(block, run->io);
        for (uint32_t s = 0; s < program->step_count; s++) {
            const struct srpi_step *step = &program->steps[s];
            for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
                await_seam(stream, block, number, srpi_step_read(step, i));
            }
            srpi_block_step(block, s);
        }
        await_seam(stream, block, number, program->wanted);
        srpi_block_store(block, run->io);
        if (!block->strip.first) {
            announce(run, number, b + 1);
        }
    }
    announce(run, number, STRIP_DONE);
}

void srpi_stream_work(const struct srpi_stream *stream, uint32_t worker)
{
    struct srpi_stream_run *run = stream->run;
    struct srpi_block *block = &run->workers[worker];
    for (;;) {
        const uint32_t number = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (number >= run->strip_count) {
            break;
        }
        take_strip(stream, block, number);
        run_strip(stream, block, number);
    }
    const struct srpi_kernels *kernels = stream->layers->kernels;
    if (kernels->rest != NULL) {
        kernels->rest();
    }
}

static void work(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)begin;
    (void)end;
    srpi_stream_work(context, worker);
}

static uint64_t pixels_of(const struct srpi_region *region)
{
    return (uint64_t)(region->x.end - region->x.begin) * (region->y.end - region->y.begin);
}

void srpi_stream_start(struct srpi_stream *stream, const struct srpi_region *regions,
                       uint32_t count, const struct srpi_stream_io *io)
{
    struct srpi_stream_run *run = stream->run;
    const struct srpi_stream_plan *plan = &stream->plan;
    run->io = io;
    run->piece_count = run->strip_count = 0;
    uint64_t all = 0;
    uint32_t cut_count = 0;
    for (uint32_t r = 0; r < count; r++) {
        const uint32_t pieces = srpi_stream_pieces(plan, &regions[r]);
        all += pixels_of(&regions[r]);
        for (uint32_t i = 0; i < pieces; i++) {
            run->pieces[run->piece_count++].region = srpi_stream_piece(plan, &regions[r], i);
        }
    }
    for (uint32_t p = 0; p < run->piece_count; p++) {
        struct srpi_piece *piece = &run->pieces[p];
        const bool large = SHARES * plan->workers * pixels_of(&piece->region) > all;
        const uint32_t strips = srpi_stream_strips(plan, &piece->region, large ? PARTS : 0);
        piece->first = run->strip_count;
        piece->first_cut = cut_count;
        for (uint32_t i = 0; strips > 1 && i < strips; i++) {
            run->cut[cut_count++] = run->strip_count + i;
        }
        run->strip_count += strips;
    }
    run->pieces[run->piece_count].first = run->strip_count;
    for (uint32_t i = 0; i < run->strip_count; i++) {
        atomic_store_explicit(&run->state[i], 0, memory_order_relaxed);
    }
    atomic_store(&run->next, 0);
}

void srpi_stream_process(struct srpi_stream *stream, const struct srpi_region *regions,
                         uint32_t count, const struct srpi_stream_io *io)
{
    srpi_stream_start(stream, regions, count, io);
    srpi_pool_for(stream->pool, work, stream, stream->plan.workers, 1);
}
