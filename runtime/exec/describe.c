/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes the plan that the upscaler would make, and hands it to the writer (plan/report.c). */
#include <srp/plan.h>

#include <stdlib.h>
#include <string.h>

#include "exec/executor.h"
#include "exec/steps.h"
#include "exec/branch.h"
#include "model/error.h"
#include "model/model.h"
#include "plan/report.h"

struct description {
    const struct srpi_graph *graph;
    struct srpi_tail tail;
    struct srpi_sink sink;
    struct srpi_program program;
    struct srpi_layers layers;
    struct srpi_shapes shapes;
    struct srpi_stream_plan plan;
    bool has_whole;
    struct srpi_layout whole;
    const char **kernel;
    uint64_t bound;
};

static const struct srpi_kernels *find_kernels(const char *isa)
{
    if (isa == NULL) {
        return srpi_kernels_best();
    }
    for (int i = 0; i < SRPI_ISA_COUNT; i++) {
        const struct srpi_kernels *kernels = srpi_kernels_of((enum srpi_isa)i);
        if (kernels != NULL && strcmp(kernels->name, isa) == 0) {
            return kernels;
        }
    }
    return NULL;
}

/* ---- for one picture ------------------------------------------------------------------------- */

/* Bytes of a whole tensor; SIZE_MAX where that does not fit, which the layout refuses. */
static size_t tensor_bytes(const struct description *d, uint32_t t, const uint32_t *symbols)
{
    uint64_t elements = 0;
    if (!srpi_shape_elements(&d->shapes.tensors[t], symbols, &elements) ||
        elements > SRP_MAX_ARENA_BYTES) {
        return SIZE_MAX;
    }
    return (size_t)elements * d->plan.tensors[t].element;
}

/* What the same steps would need if they ran one after the other on whole tensors; that it would be
 * more than the limit is no failure of the plan. */
static enum srp_err plan_whole(struct description *d, const uint32_t *symbols,
                               struct srp_error *err)
{
    const struct srpi_graph *graph = d->graph;
    struct srpi_order_node nodes[SRP_MAX_NODES];
    size_t size[SRP_MAX_NODES + 1];
    bool kept[SRP_MAX_NODES + 1] = {false};
    /* Of each step its node's inputs and perhaps a residual. */
    uint32_t *operands = calloc((size_t)d->program.step_count * (SRP_MAX_INPUTS + 1),
                                sizeof(operands[0]));
    if (operands == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the plan of '%s'", graph->name);
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        size[t] = d->program.used[t] ? tensor_bytes(d, t, symbols) : 0;
    }
    for (uint32_t s = 0; s < d->program.step_count; s++) {
        const struct srpi_step *step = &d->program.steps[s];
        uint32_t *inputs = &operands[s * (SRP_MAX_INPUTS + 1)];
        for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
            inputs[i] = srpi_step_read(step, i);
        }
        nodes[s] = (struct srpi_order_node){
            .inputs = inputs,
            .input_count = srpi_step_reads(step),
            .output = step->output,
            .in_place = step->node->op == SRPI_OP_ADD || step->node->op == SRPI_OP_MUL};
    }
    kept[d->program.wanted] = true;
    kept[graph->input] = d->sink.reads_input || kept[graph->input];
    const struct srpi_order_graph order = {.node_count = d->program.step_count,
                                           .nodes = nodes,
                                           .tensor_count = graph->tensor_count,
                                           .size = size,
                                           .kept = kept};
    struct srp_error refusal = {0};
    enum srp_err code = srpi_layout_create(&d->whole, &order, 64, &refusal);
    free(operands);
    if (code != SRP_OK && code != SRP_ERR_LIMIT) {
        return srpi_fail(err, code, "%s", refusal.detail);
    }
    d->has_whole = code == SRP_OK;
    return SRP_OK;
}

/* Bytes of the rings' pixels alone, in the step in which most of them are alive, for all workers:
 * at most what the rings have in the arena. */
static uint64_t alive(const struct description *d, uint32_t width)
{
    uint64_t most = 0;
    for (uint32_t s = 0; s <= d->program.step_count; s++) {
        uint64_t bytes = 0;
        for (uint32_t t = 0; t < d->graph->tensor_count; t++) {
            const struct srpi_stream_tensor *tensor = &d->plan.tensors[t];
            if (tensor->used && tensor->begin <= s && s <= tensor->end) {
                bytes += (uint64_t)tensor->ring * width * tensor->factor * tensor->channels *
                         tensor->element;
            }
        }
        most = bytes > most ? bytes : most;
    }
    return d->plan.workers * most;
}

static enum srp_err plan_picture(struct description *d, const struct srp_plan_params *params,
                                 uint32_t threads, struct srp_error *err)
{
    const uint32_t half = d->graph->colour == SRP_COLOUR_YUV420 ? 2 : 1;
    const uint32_t width = (params->width + half - 1) / half;
    const uint32_t height = (params->height + half - 1) / half;
    const struct srpi_stream_params stream = {
        .program = &d->program,
        .kernels = d->layers.kernels,
        .dtype = d->layers.tensor_dtype,
        .fine = d->layers.fine,
        .grid = d->layers.grid,
        .sink = d->sink,
        .picture_width = width,
        .picture_height = height,
        .width = width,
        .height = height,
        .workers = threads,
        .scratch_size = d->layers.scratch_size + srpi_steps_scratch(&d->layers, width)};
    enum srp_err code = srpi_stream_plan_create(&d->plan, &stream, err);
    if (code != SRP_OK) {
        return code;
    }
    d->bound = alive(d, d->plan.span);
    const uint32_t symbols[SRPI_SYMBOL_COUNT] = {0, height, width, 1};
    return plan_whole(d, symbols, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum srp_err make(struct description *d, const struct srp_plan_params *params,
                         const struct srpi_kernels *kernels, enum srpi_dtype dtype,
                         uint32_t threads, struct srp_error *err)
{
    struct srpi_shape given[SRP_MAX_NODES + 1];
    d->graph = srpi_model_graph(srpi_model_default(params->model));
    srpi_tail_find(&d->tail, d->graph);
    const bool yuv = d->graph->colour != SRP_COLOUR_RGB; /* as srbench engine has it */
    d->sink = srpi_branch_sink(&d->tail, d->graph, yuv, yuv, SRP_CHROMA_LEFT);
    enum srp_err code = srpi_program_create(&d->program, d->graph, d->tail.tensor, true, err);
    if (code == SRP_OK) {
        code = srpi_layers_create(&d->layers, &d->program, kernels, dtype, err);
    }
    if (code == SRP_OK) {
        srpi_shapes_start(given, d->graph, srpi_dim_constant(1));
        code = srpi_shapes_infer(&d->shapes, d->graph, given, err);
    }
    if (code != SRP_OK) {
        return code;
    }
    d->kernel = calloc(d->program.step_count, sizeof(d->kernel[0]));
    if (d->kernel == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the plan of '%s'", d->graph->name);
    }
    for (uint32_t s = 0; s < d->program.step_count; s++) {
        d->kernel[s] = d->layers.steps[s].kernel;
    }
    return params->width != 0 ? plan_picture(d, params, threads, err) : SRP_OK;
}

enum srp_err srp_plan_describe(char **text, const struct srp_plan_params *params,
                               enum srp_plan_format format, struct srp_error *err)
{
    struct description d = {0};
    enum srpi_dtype dtype = SRPI_F32;
    if (text == NULL || params == NULL || params->model == NULL ||
        (params->width == 0) != (params->height == 0) || params->threads > SRP_MAX_THREADS ||
        !srpi_executor_dtype(&dtype, params->dtype)) {
        return srpi_fail(err, SRP_ERR_USAGE,
                         "a plan needs a model, a dtype, both sizes or none, at most %u threads",
                         SRP_MAX_THREADS);
    }
    const struct srpi_kernels *kernels = find_kernels(params->isa);
    if (kernels == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "no kernels for '%.40s' on this machine",
                         params->isa);
    }
    const uint32_t threads = params->threads != 0 ? params->threads : srpi_core_count();
    enum srp_err code = make(&d, params, kernels, dtype, threads, err);
    if (code == SRP_OK) {
        const struct srpi_report report = {.program = &d.program,
                                           .shapes = &d.shapes,
                                           .dtype = d.layers.tensor_dtype,
                                           .kernel = d.kernel,
                                           .dtype_name = params->dtype == SRP_DTYPE_AUTO
                                                             ? srp_dtype_name(SRP_DTYPE_F32)
                                                             : srp_dtype_name(params->dtype),
                                           .isa = kernels->name,
                                           .threads = threads,
                                           .sink_reads_input = d.sink.reads_input,
                                           .width = params->width,
                                           .height = params->height,
                                           .plan = &d.plan,
                                           .whole = d.has_whole ? &d.whole : NULL,
                                           .bound = d.bound};
        code = srpi_report_write(text, &report, format, err);
    }
    free(d.kernel);
    srpi_layout_destroy(&d.whole);
    srpi_stream_plan_destroy(&d.plan);
    srpi_shapes_destroy(&d.shapes);
    srpi_layers_destroy(&d.layers);
    srpi_program_destroy(&d.program);
    return code;
}

void srp_plan_free(char *text)
{
    free(text);
}
