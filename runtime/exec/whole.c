/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/whole.h"

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "model/error.h"

#define ALIGN ((size_t)64)

/* ---- life ------------------------------------------------------------------------------------ */

enum srp_err srpi_whole_create(struct srpi_whole *whole, const struct srpi_graph *graph,
                               const struct srpi_backend *backend, enum srpi_dtype dtype,
                               struct srpi_pool *pool, uint32_t wanted,
                               const struct srpi_sink *sink, struct srp_error *err)
{
    memset(whole, 0, sizeof(*whole));
    whole->graph = graph;
    whole->pool = pool;
    whole->backend = backend;
    whole->wanted = wanted;
    whole->store_align = sink->align > 1 ? sink->align : 1;
    if (dtype == SRPI_Q8 && backend->id == SRP_BACKEND_REFERENCE) {
        whole->quantised = true;
        const enum srp_err code =
            srpi_program_create(&whole->program, graph, wanted, true, err);
        return code == SRP_OK ? srpi_quant_create(&whole->quant, &whole->program, err) : code;
    }
    if (dtype != SRPI_F32) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED, "backend '%s' does not compute in %s",
                         srp_backend_name(backend->id), dtype == SRPI_Q8 ? "int8" : "bf16");
    }
    const uint32_t kept[2] = {wanted, graph->input};
    const enum srp_err code =
        srpi_plan_create(&whole->plan, graph, kept, sink->reads_input ? 2 : 1, err);
    if (code != SRP_OK) {
        return code;
    }
    whole->tensor = calloc(graph->tensor_count, sizeof(whole->tensor[0]));
    if (whole->tensor == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    return backend->create(&whole->state, graph, srpi_pool_threads(pool), err);
}

void srpi_whole_destroy(struct srpi_whole *whole)
{
    if (whole->state != NULL) {
        whole->backend->destroy(whole->state);
    }
    srpi_quant_destroy(&whole->quant);
    srpi_program_destroy(&whole->program);
    srpi_plan_destroy(&whole->plan);
    free(whole->tensor);
    memset(whole, 0, sizeof(*whole));
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Bytes of the input's codes; its fractions have as many. */
static size_t code_bytes(const struct srpi_whole *whole)
{
    const size_t bytes = (size_t)whole->width * whole->height * whole->graph->channels;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN; /* SRP_MAX_PICTURE_PIXELS bounds it */
}

static bool is_input_fine(const struct srpi_whole *whole)
{
    return whole->quantised && whole->quant.tensors[whole->graph->input].fine;
}

static size_t input_bytes(const struct srpi_whole *whole)
{
    return (is_input_fine(whole) ? 2 : 1) * code_bytes(whole);
}

static struct srpi_run run_of(const struct srpi_whole *whole)
{
    return (struct srpi_run){.graph = whole->graph,
                             .pool = whole->pool,
                             .tensor = whole->tensor,
                             .width = whole->width,
                             .height = whole->height};
}

enum srp_err srpi_whole_reserve(struct srpi_whole *whole, uint32_t width, uint32_t height,
                                struct srp_error *err)
{
    whole->width = width;
    whole->height = height;
    if (!whole->quantised) {
        const enum srp_err code = srpi_plan_place(&whole->plan, width, height, err);
        whole->arena_bytes = whole->plan.arena_bytes;
        return code;
    }
    if (width == 0 || height == 0 || width > SRP_MAX_DIMENSION || height > SRP_MAX_DIMENSION) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u is not a size from 1x1 to %ux%u", width,
                         height, SRP_MAX_DIMENSION, SRP_MAX_DIMENSION);
    }
    const struct srpi_tensor *wanted = &whole->graph->tensors[whole->wanted];
    const size_t values =
        (size_t)width * height * wanted->factor * wanted->factor * wanted->channels;
    whole->arena_bytes = input_bytes(whole) + values * sizeof(float);
    return SRP_OK;
}

enum srp_err srpi_whole_attach(struct srpi_whole *whole, char *arena, struct srp_error *err)
{
    if (whole->quantised) {
        whole->codes = (uint8_t *)arena;
        whole->fractions = whole->codes + code_bytes(whole);
        whole->result = (float *)(void *)(arena + input_bytes(whole));
        return SRP_OK;
    }
    for (uint32_t t = 0; t < whole->graph->tensor_count; t++) {
        const size_t offset = whole->plan.offset[t];
        whole->tensor[t] =
            offset == SRPI_NOT_PLACED ? NULL : (float *)(void *)(arena + offset);
    }
    if (whole->backend->resize == NULL) {
        return SRP_OK;
    }
    const struct srpi_run run = run_of(whole);
    return whole->backend->resize(whole->state, &run, err);
}

struct srpi_codec srpi_whole_codec(const struct srpi_whole *whole)
{
    struct srpi_codec codec = {
        .dtype = SRPI_F32, .element = sizeof(float), .scale = 1.0f, .inverse = 1.0f};
    if (whole->quantised) {
        const struct srpi_quant_tensor *input = &whole->quant.tensors[whole->graph->input];
        codec = (struct srpi_codec){.dtype = SRPI_Q8,
                                    .storage = SRPI_Q8_U8,
                                    .element = 1,
                                    .scale = input->scale,
                                    .inverse = input->inverse,
                                    .zero = input->zero,
                                    .padding = input->padding,
                                    .fine_zero = input->fine_zero};
    }
    return codec;
}

struct srpi_rows srpi_whole_rows(const struct srpi_whole *whole, bool input)
{
    const uint32_t t = input ? whole->graph->input : whole->wanted;
    const struct srpi_tensor *tensor = &whole->graph->tensors[t];
    const size_t element = input ? srpi_whole_codec(whole).element : sizeof(float);
    const void *data = !whole->quantised ? (const void *)whole->tensor[t]
                       : input           ? (const void *)whole->codes
                                         : (const void *)whole->result;
    return (struct srpi_rows){
        .data = data,
        .pitch = (size_t)whole->width * tensor->factor * tensor->channels * element,
        .ring = whole->height * tensor->factor,
        .end = whole->height * tensor->factor};
}

/* ---- running --------------------------------------------------------------------------------- */

static enum srp_err compute(struct srpi_whole *whole, struct srp_error *err)
{
    if (whole->quantised) {
        return srpi_quant_run(&whole->quant, whole->codes, whole->fractions, whole->width,
                              whole->height, whole->result, err);
    }
    const struct srpi_run run = run_of(whole);
    for (uint32_t n = 0; n < whole->graph->node_count; n++) {
        const struct srpi_node *node = &whole->graph->nodes[n];
        if (!whole->plan.needed[node->output]) {
            continue;
        }
        if (node->op == SRPI_OP_CONV2D) {
            const enum srp_err code = whole->backend->convolve(whole->state, &run, n, err);
            if (code != SRP_OK) {
                return code;
            }
        } else {
            srpi_run_simple(&run, node);
        }
    }
    return SRP_OK;
}

struct job {
    const struct srpi_whole *whole;
    const struct srpi_stream_io *io;
    const struct srpi_region *region;
    uint32_t begin; /* first row of the wanted tensor in the region */
};

static void load_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    const struct job *job = context;
    const struct srpi_whole *whole = job->whole;
    const struct srpi_rows rows = srpi_whole_rows(whole, true);
    char *memory = whole->quantised ? (char *)whole->codes
                                    : (char *)whole->tensor[whole->graph->input];
    const struct srpi_span columns = {.begin = 0, .end = whole->width};
    for (uint32_t y = begin; y < end; y++) {
        job->io->load(job->io->context, worker, y, columns, memory + y * rows.pitch,
                      is_input_fine(whole) ? code_bytes(whole) : 0);
    }
}

static void store_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    const struct job *job = context;
    const struct srpi_rows wanted = srpi_whole_rows(job->whole, false);
    const struct srpi_rows input = srpi_whole_rows(job->whole, true);
    const struct srpi_span rows = {.begin = job->begin + begin, .end = job->begin + end};
    job->io->store(job->io->context, worker, job->region, rows, &wanted, &input);
}

enum srp_err srpi_whole_process(struct srpi_whole *whole, const struct srpi_region *regions,
                                uint32_t count, const struct srpi_stream_io *io,
                                struct srp_error *err)
{
    struct job job = {.whole = whole, .io = io};
    const uint32_t factor = whole->graph->tensors[whole->wanted].factor;
    srpi_pool_for(whole->pool, load_rows, &job, whole->height, 16);
    const enum srp_err code = compute(whole, err);
    for (uint32_t r = 0; code == SRP_OK && r < count; r++) {
        job.region = &regions[r];
        job.begin = regions[r].y.begin * factor;
        srpi_pool_for(whole->pool, store_rows, &job,
                      (regions[r].y.end - regions[r].y.begin) * factor, 8 * whole->store_align);
    }
    return code;
}
