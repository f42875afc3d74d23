/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/executor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/backend.h"
#include "exec/plan.h"
#include "model/error.h"
#include "model/model.h"

/* Kernels may read, and ignore, a few floats behind the last tensor. */
#define ARENA_SLACK 256u
#define HUGE_PAGE ((size_t)2 << 20)

struct srp_executor {
    struct srp_model *model;
    const struct srpi_graph *graph;
    const struct srpi_backend *backend;
    void *state; /* the backend's */
    struct srpi_pool *pool;
    bool own_pool;
    uint32_t wanted; /* the tensor to compute */

    struct srpi_plan plan;
    float **tensor; /* graph->tensor_count */
    uint32_t width, height; /* of the current plan; 0: none */
    char *arena;
    size_t arena_size;
};

/* ---- backends -------------------------------------------------------------------------------- */

const struct srpi_backend *srpi_backend_find(enum srp_backend backend)
{
    static const struct srpi_backend *const all[] = {
        &srpi_backend_native, /* fastest first */
#if SRP_HAVE_XNNPACK
        &srpi_backend_xnnpack,
#endif
        &srpi_backend_reference,
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if ((backend == SRP_BACKEND_AUTO || backend == all[i]->id) && all[i]->usable()) {
            return all[i];
        }
    }
    return NULL;
}

static const struct {
    enum srp_backend backend;
    const char *name;
} backend_names[] = {
    {SRP_BACKEND_AUTO, "auto"},
    {SRP_BACKEND_REFERENCE, "reference"},
    {SRP_BACKEND_XNNPACK, "xnnpack"},
    {SRP_BACKEND_NATIVE, "native"},
};
#define BACKEND_COUNT (sizeof(backend_names) / sizeof(backend_names[0]))

const char *srp_backend_name(enum srp_backend backend)
{
    for (size_t i = 0; i < BACKEND_COUNT; i++) {
        if (backend_names[i].backend == backend) {
            return backend_names[i].name;
        }
    }
    return "unknown";
}

enum srp_err srp_backend_from_name(enum srp_backend *out, const char *name)
{
    for (size_t i = 0; name != NULL && i < BACKEND_COUNT; i++) {
        if (strcmp(backend_names[i].name, name) == 0) {
            if (srpi_backend_find(backend_names[i].backend) == NULL) {
                return SRP_ERR_UNSUPPORTED;
            }
            *out = backend_names[i].backend;
            return SRP_OK;
        }
    }
    return SRP_ERR_USAGE;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum srp_err srpi_executor_create(struct srp_executor **out, struct srp_model *model,
                                  enum srp_backend backend, struct srpi_pool *pool,
                                  uint32_t wanted, bool keep_input, struct srp_error *err)
{
    const struct srpi_backend *found = srpi_backend_find(backend);
    if (found == NULL) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED,
                         "backend '%s' is not in this build or not for this machine",
                         srp_backend_name(backend));
    }
    struct srp_executor *ex = calloc(1, sizeof(*ex));
    if (ex == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
    }
    ex->model = srp_model_ref(model);
    ex->graph = srpi_model_graph(model);
    ex->backend = found;
    ex->pool = pool;
    ex->wanted = wanted;
    const uint32_t kept[2] = {wanted, ex->graph->input};
    enum srp_err code = srpi_plan_create(&ex->plan, ex->graph, kept, keep_input ? 2 : 1, err);
    if (code != SRP_OK) {
        goto fail;
    }
    ex->tensor = calloc(ex->graph->tensor_count, sizeof(ex->tensor[0]));
    if (ex->tensor == NULL) {
        code = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for an executor");
        goto fail;
    }
    code = found->create(&ex->state, ex->graph, srpi_pool_threads(pool), err);
    if (code != SRP_OK) {
        goto fail;
    }
    *out = ex;
    return SRP_OK;
fail:
    srp_executor_destroy(&ex);
    return code;
}

enum srp_err srp_executor_create(struct srp_executor **out,
                                 const struct srp_executor_params *params, struct srp_error *err)
{
    if (out == NULL || params == NULL || params->model == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "an executor needs a model");
    }
    struct srpi_pool *pool = NULL;
    enum srp_err code = srpi_pool_create(&pool, params->threads, err);
    if (code != SRP_OK) {
        return code;
    }
    struct srp_executor *ex = NULL;
    code = srpi_executor_create(&ex, params->model, params->backend, pool,
                                srpi_model_graph(params->model)->output, false, err);
    if (code != SRP_OK) {
        srpi_pool_destroy(&pool);
        return code;
    }
    ex->own_pool = true;
    *out = ex;
    return SRP_OK;
}

void srp_executor_destroy(struct srp_executor **pointer)
{
    if (pointer == NULL || *pointer == NULL) {
        return;
    }
    struct srp_executor *ex = *pointer;
    *pointer = NULL;
    if (ex->state != NULL) {
        ex->backend->destroy(ex->state);
    }
    if (ex->own_pool) {
        srpi_pool_destroy(&ex->pool);
    }
    if (ex->arena != NULL) {
        munmap(ex->arena, ex->arena_size);
    }
    free(ex->tensor);
    srpi_plan_destroy(&ex->plan);
    srp_model_unref(&ex->model);
    free(ex);
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct touch {
    char *memory;
    size_t size;
};

/* First touch from the threads that will work there, and before the first frame. */
static void touch_pages(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct touch *touch = context;
    for (size_t at = begin * HUGE_PAGE; at < end * HUGE_PAGE && at < touch->size; at += 4096) {
        ((volatile char *)touch->memory)[at] = 0;
    }
}

static enum srp_err grow_arena(struct srp_executor *ex, size_t needed, struct srp_error *err)
{
    const size_t size = (needed + ARENA_SLACK + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (size <= ex->arena_size) {
        return SRP_OK;
    }
    if (ex->arena != NULL) {
        munmap(ex->arena, ex->arena_size);
        ex->arena = NULL;
        ex->arena_size = 0;
    }
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for %zu bytes of intermediates", size);
    }
    madvise(memory, size, MADV_HUGEPAGE); /* only faster */
    ex->arena = memory;
    ex->arena_size = size;
    struct touch touch = {.memory = ex->arena, .size = size};
    srpi_pool_for(ex->pool, touch_pages, &touch, (uint32_t)(size / HUGE_PAGE), 1);
    return SRP_OK;
}

void srpi_executor_inherit(struct srp_executor *ex, struct srp_executor *from)
{
    ex->arena = from->arena;
    ex->arena_size = from->arena_size;
    from->arena = NULL;
    from->arena_size = 0;
    from->width = from->height = 0;
}

static struct srpi_run current_run(const struct srp_executor *ex)
{
    return (struct srpi_run){.graph = ex->graph,
                             .pool = ex->pool,
                             .tensor = ex->tensor,
                             .width = ex->width,
                             .height = ex->height};
}

enum srp_err srp_executor_reserve(struct srp_executor *ex, uint32_t width, uint32_t height,
                                  struct srp_error *err)
{
    if (ex == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "there is no executor");
    }
    if (width == ex->width && height == ex->height) {
        return SRP_OK;
    }
    ex->width = ex->height = 0;
    enum srp_err code = srpi_plan_place(&ex->plan, width, height, err);
    if (code != SRP_OK) {
        return code;
    }
    code = grow_arena(ex, ex->plan.arena_bytes, err);
    if (code != SRP_OK) {
        return code;
    }
    for (uint32_t t = 0; t < ex->graph->tensor_count; t++) {
        const size_t offset = ex->plan.offset[t];
        ex->tensor[t] = offset == SRPI_NOT_PLACED ? NULL : (float *)(void *)(ex->arena + offset);
    }
    ex->width = width;
    ex->height = height;
    if (ex->backend->resize != NULL) {
        const struct srpi_run run = current_run(ex);
        code = ex->backend->resize(ex->state, &run, err);
        if (code != SRP_OK) {
            ex->width = ex->height = 0;
        }
    }
    return code;
}

/* ---- running --------------------------------------------------------------------------------- */

float *srpi_executor_input(const struct srp_executor *ex)
{
    return ex->tensor[ex->graph->input];
}

const float *srpi_executor_output(const struct srp_executor *ex)
{
    return ex->tensor[ex->wanted];
}

enum srp_err srpi_executor_compute(struct srp_executor *ex, struct srp_error *err)
{
    const struct srpi_run run = current_run(ex);
    for (uint32_t n = 0; n < ex->graph->node_count; n++) {
        const struct srpi_node *node = &ex->graph->nodes[n];
        if (!ex->plan.needed[node->output]) {
            continue;
        }
        if (node->op == SRPI_OP_CONV2D) {
            const enum srp_err code = ex->backend->convolve(ex->state, &run, n, err);
            if (code != SRP_OK) {
                return code;
            }
        } else {
            srpi_run_simple(&run, node);
        }
    }
    return SRP_OK;
}

struct shift {
    const float *in;
    float *out;
    size_t row;
    float add;
};

static void shift_rows(void *context, uint32_t begin, uint32_t end, uint32_t worker)
{
    (void)worker;
    const struct shift *shift = context;
    const size_t last = end * shift->row;
    for (size_t i = begin * shift->row; i < last; i++) {
        shift->out[i] = shift->in[i] + shift->add;
    }
}

enum srp_err srp_executor_run(struct srp_executor *ex, const float *in, uint32_t width,
                              uint32_t height, float *out, struct srp_error *err)
{
    if (ex == NULL || in == NULL || out == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "running needs an executor, an input and an output");
    }
    enum srp_err code = srp_executor_reserve(ex, width, height, err);
    if (code != SRP_OK) {
        return code;
    }
    const struct srpi_graph *graph = ex->graph;
    struct shift shift = {.in = in,
                          .out = srpi_executor_input(ex),
                          .row = (size_t)width * graph->channels,
                          .add = -graph->mean};
    srpi_pool_for(ex->pool, shift_rows, &shift, height, 16);
    code = srpi_executor_compute(ex, err);
    if (code != SRP_OK) {
        return code;
    }
    shift = (struct shift){.in = srpi_executor_output(ex),
                           .out = out,
                           .row = (size_t)width * graph->scale * graph->channels,
                           .add = graph->mean};
    srpi_pool_for(ex->pool, shift_rows, &shift, height * graph->scale, 16);
    return SRP_OK;
}

void srp_executor_get_info(const struct srp_executor *ex, struct srp_executor_info *info)
{
    const char *isa = ex->backend->isa != NULL ? ex->backend->isa() : NULL;
    *info = (struct srp_executor_info){.backend = ex->backend->id,
                                       .dtype = "f32",
                                       .isa = isa != NULL ? isa : "",
                                       .threads = srpi_pool_threads(ex->pool),
                                       .arena_bytes = ex->width != 0 ? ex->plan.arena_bytes : 0};
}
