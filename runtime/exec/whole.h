/* SPDX-License-Identifier: BSD-2-Clause */
/* whole.h - runs a graph on whole tensors, each a dense block of memory: node after node by a
 * backend in f32, or by the plain C that defines int8. The way of every backend but NATIVE. */
#ifndef SRPI_WHOLE_H
#define SRPI_WHOLE_H

#include "backends/backend.h"
#include "exec/plan.h"
#include "exec/stream.h"
#include "quant/quant.h"

struct srpi_whole {
    const struct srpi_graph *graph; /* outlives it, as the pool does */
    struct srpi_pool *pool;
    const struct srpi_backend *backend;
    uint32_t wanted, store_align;
    uint32_t width, height;     /* of the current plan; 0: none */
    size_t arena_bytes;         /* needed from the caller */

    /* f32 */
    void *state;                /* the backend's */
    struct srpi_plan plan;
    float **tensor;             /* graph->tensor_count */

    /* int8 */
    bool quantised;
    struct srpi_program program;
    struct srpi_quant quant;
    /* The input, its fractions if it has such, then the wanted tensor, in the arena. */
    uint8_t *codes, *fractions;
    float *result;
};

/* dtype: F32, or Q8 with the reference backend. Errors: UNSUPPORTED, NOMEM, DEVICE, and those of
 * the quantiser. On failure srpi_whole_destroy is to be called all the same. */
enum srp_err srpi_whole_create(struct srpi_whole *whole, const struct srpi_graph *graph,
                               const struct srpi_backend *backend, enum srpi_dtype dtype,
                               struct srpi_pool *pool, uint32_t wanted,
                               const struct srpi_sink *sink, struct srp_error *err);
void srpi_whole_destroy(struct srpi_whole *whole);

/* Plans; then `arena_bytes` are to be attached. Errors: LIMIT; DEVICE, NOMEM. */
enum srp_err srpi_whole_reserve(struct srpi_whole *whole, uint32_t width, uint32_t height,
                                struct srp_error *err);
enum srp_err srpi_whole_attach(struct srpi_whole *whole, char *arena, struct srp_error *err);

struct srpi_codec srpi_whole_codec(const struct srpi_whole *whole);
struct srpi_rows srpi_whole_rows(const struct srpi_whole *whole, bool input);
/* Computes everything, then stores the regions. Errors: DEVICE, NOMEM. */
enum srp_err srpi_whole_process(struct srpi_whole *whole, const struct srpi_region *regions,
                                uint32_t count, const struct srpi_stream_io *io,
                                struct srp_error *err);

#endif
