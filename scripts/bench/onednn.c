/* SPDX-License-Identifier: BSD-2-Clause */
/* oneDNN 2 by its convolution primitives: memory layouts of the library's choice, activation and
 * residual fused (the residual is overwritten). f32; bf16 with f32 at the end; or signed 8-bit
 * tensors (unsigned after ReLU) with weights scaled per output channel. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include <dnnl.h>

#include "harness.h"

enum { MOST_WORK = 400, MOST_ARGUMENTS = 5 };

struct work {
    dnnl_primitive_t primitive; /* NULL: a step of ours */
    const struct step *step;
    int count;
    dnnl_exec_arg_t argument[MOST_ARGUMENTS];
};

struct state {
    const struct plan *plan;
    enum dtype dtype;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_memory_t *value; /* of each tensor, in the layout its writer chose */
    struct slot {
        void *data;
        size_t size;
    } *slot; /* of the plan */
    struct work work[MOST_WORK];
    int work_count;
};

static const char *version(void)
{
    static char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

static void must(dnnl_status_t status)
{
    if (status != dnnl_success) {
        harness_fail("oneDNN refuses a primitive");
    }
}

static struct work *add_work(struct state *s)
{
    if (s->work_count == MOST_WORK) {
        harness_fail("too many steps");
    }
    return &s->work[s->work_count++];
}

/* Tensors that our own loops read stay [h][w][c]: around padding and shuffle. */
static bool plain(const struct plan *p, int tensor)
{
    const struct step *last = &p->step[p->step_count - 1];
    if (tensor == 0 || tensor == last->source) {
        return true;
    }
    for (int i = 0; i < p->step_count; i++) {
        const struct step *s = &p->step[i];
        if ((s->kind == PAD && s->target == tensor) ||
            (s->target == last->source && s->residual == tensor)) {
            return true;
        }
    }
    return false;
}

static bool relu_output(const struct plan *p, int tensor)
{
    for (int i = 0; i < p->step_count; i++) {
        if (p->step[i].target == tensor) {
            return p->step[i].kind == CONV && p->step[i].activation == RELU;
        }
    }
    return false;
}

static dnnl_data_type_t type_of(const struct state *s, int tensor)
{
    if (s->dtype == INT8) {
        return relu_output(s->plan, tensor) ? dnnl_u8 : dnnl_s8;
    }
    /* The picture comes as f32, and the residual of the last convolution leaves as it. */
    return s->dtype == BF16 && !plain(s->plan, tensor) ? dnnl_bf16 : dnnl_f32;
}

static float scale_of(const struct state *s, int tensor)
{
    const struct tensor *t = &s->plan->tensor[tensor];
    if (tensor == 0 || t->low == s->plan->tensor[0].low) { /* the picture, padded or not */
        return 1.0f / 255.0f;
    }
    return relu_output(s->plan, tensor) ? fmaxf(t->high, 1e-6f) / 255.0f : harness_symmetric(t);
}

static dnnl_memory_desc_t describe(const struct state *s, int tensor, dnnl_data_type_t type,
                                   dnnl_format_tag_t tag)
{
    const struct tensor *t = &s->plan->tensor[tensor];
    dnnl_dims_t dims = {1, t->channels, t->height, t->width};
    dnnl_memory_desc_t md;
    must(dnnl_memory_desc_init_by_tag(&md, 4, dims, type, tag));
    return md;
}

static dnnl_memory_t allocate(const struct state *s, const dnnl_memory_desc_t *md)
{
    dnnl_memory_t memory = NULL;
    must(dnnl_memory_create(&memory, md, s->engine,
                            harness_memory(dnnl_memory_desc_get_size(md))));
    return memory;
}

static dnnl_memory_t allocate_tensor(struct state *s, int tensor, const dnnl_memory_desc_t *md)
{
    struct slot *slot = &s->slot[s->plan->tensor[tensor].slot];
    size_t size = dnnl_memory_desc_get_size(md);
    dnnl_memory_t memory = NULL;
    if (slot->size < size) {
        *slot = (struct slot){harness_memory(size), size};
    }
    must(dnnl_memory_create(&memory, md, s->engine, slot->data));
    return memory;
}

static const dnnl_memory_desc_t *layout(dnnl_memory_t memory)
{
    const dnnl_memory_desc_t *md = NULL;
    must(dnnl_memory_get_memory_desc(memory, &md));
    return md;
}

static struct work reorder_work(const struct state *s, dnnl_memory_t from, dnnl_memory_t to,
                                dnnl_primitive_attr_t attr)
{
    dnnl_primitive_desc_t pd = NULL;
    struct work w = {.count = 2, .argument = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}};
    must(dnnl_reorder_primitive_desc_create(&pd, layout(from), s->engine, layout(to), s->engine,
                                            attr));
    must(dnnl_primitive_create(&w.primitive, pd));
    dnnl_primitive_desc_destroy(pd);
    return w;
}

/* The tensor in the layout `wanted`: itself, or a copy made on each run. */
static dnnl_memory_t in_layout(struct state *s, dnnl_memory_t memory,
                               const dnnl_memory_desc_t *wanted)
{
    if (dnnl_memory_desc_equal(layout(memory), wanted)) {
        return memory;
    }
    dnnl_memory_t copy = allocate(s, wanted);
    *add_work(s) = reorder_work(s, memory, copy, NULL);
    return copy;
}

static dnnl_primitive_attr_t attributes(const struct state *s, const struct step *step,
                                        const float *weight_scale)
{
    const int out = s->plan->tensor[step->target].channels;
    const float source = scale_of(s, step->source), target = scale_of(s, step->target);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    must(dnnl_primitive_attr_create(&attr));
    must(dnnl_post_ops_create(&ops));
    if (s->dtype == INT8) {
        float *scale = harness_memory((size_t)out * sizeof *scale);
        for (int c = 0; c < out; c++) {
            scale[c] = source * weight_scale[c] / (step->activation == TANH ? 1.0f : target);
        }
        must(dnnl_primitive_attr_set_output_scales(attr, out, 1 << 1, scale));
        free(scale);
    }
    if (step->residual >= 0) {
        float scale = s->dtype == INT8 ? scale_of(s, step->residual) / target : 1.0f;
        must(dnnl_post_ops_append_sum(ops, scale));
    }
    if (step->activation == RELU) {
        must(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f));
    } else if (step->activation == TANH) {
        float scale = s->dtype == INT8 ? 1.0f / target : 1.0f;
        must(dnnl_post_ops_append_eltwise(ops, scale, dnnl_eltwise_tanh, 0.0f, 0.0f));
    }
    must(dnnl_primitive_attr_set_post_ops(attr, ops));
    dnnl_post_ops_destroy(ops);
    return attr;
}

/* Weights and bias in the layouts of `pd`. The bias of an 8-bit convolution is in units of its
 * accumulators. */
static void parameters(const struct state *s, const struct step *step, dnnl_primitive_desc_t pd,
                       int8_t *quantised, const float *weight_scale, dnnl_memory_t *weight,
                       dnnl_memory_t *bias)
{
    const struct plan *p = s->plan;
    const int out = p->tensor[step->target].channels, in = p->tensor[step->source].channels;
    dnnl_dims_t dims = {out, in, step->kernel, step->kernel}, bias_dims = {out};
    dnnl_memory_desc_t plain_md, bias_md;
    dnnl_memory_t from = NULL;
    bool int8 = s->dtype == INT8;
    must(dnnl_memory_desc_init_by_tag(&plain_md, 4, dims, int8 ? dnnl_s8 : dnnl_f32, dnnl_oihw));
    must(dnnl_memory_create(&from, &plain_md, s->engine,
                            int8 ? (void *)quantised : (void *)(uintptr_t)step->weight));
    *weight = allocate(s, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    struct work w = reorder_work(s, from, *weight, NULL);
    must(dnnl_primitive_execute(w.primitive, s->stream, w.count, w.argument));
    must(dnnl_stream_wait(s->stream));
    dnnl_primitive_destroy(w.primitive);
    dnnl_memory_destroy(from);
    must(dnnl_memory_desc_init_by_tag(&bias_md, 1, bias_dims, dnnl_f32, dnnl_x));
    *bias = allocate(s, &bias_md);
    void *handle = NULL;
    must(dnnl_memory_get_data_handle(*bias, &handle));
    for (int c = 0; c < out; c++) {
        float unit = int8 ? scale_of(s, step->source) * weight_scale[c] : 1.0f;
        ((float *)handle)[c] = step->bias[c] / unit;
    }
}

static dnnl_primitive_desc_t convolution(const struct state *s, const struct step *step,
                                         dnnl_primitive_attr_t attr)
{
    const struct plan *p = s->plan;
    const int out = p->tensor[step->target].channels, in = p->tensor[step->source].channels;
    dnnl_dims_t dims = {out, in, step->kernel, step->kernel}, bias_dims = {out};
    dnnl_dims_t strides = {1, 1}, pad = {step->pad, step->pad};
    dnnl_data_type_t weight_type = s->dtype == INT8 ? dnnl_s8 : dnnl_f32;
    dnnl_data_type_t source_type = type_of(s, step->source);
    if (s->dtype == BF16) {
        weight_type = source_type = dnnl_bf16;
    }
    dnnl_memory_desc_t weight, bias;
    dnnl_memory_desc_t source = describe(s, step->source, source_type, dnnl_format_tag_any);
    dnnl_memory_desc_t target =
        describe(s, step->target, type_of(s, step->target),
                 plain(p, step->target) ? dnnl_nhwc : dnnl_format_tag_any);
    must(dnnl_memory_desc_init_by_tag(&weight, 4, dims, weight_type, dnnl_format_tag_any));
    must(dnnl_memory_desc_init_by_tag(&bias, 1, bias_dims, dnnl_f32, dnnl_x));
    dnnl_convolution_desc_t desc;
    must(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference, dnnl_convolution_auto,
                                            &source, &weight, &bias, &target, strides, pad, pad));
    dnnl_primitive_desc_t pd = NULL;
    must(dnnl_primitive_desc_create(&pd, &desc, attr, s->engine, NULL));
    return pd;
}

static void add_convolution(struct state *s, const struct step *step)
{
    const struct plan *p = s->plan;
    size_t count = (size_t)p->tensor[step->target].channels *
                   (size_t)p->tensor[step->source].channels * (size_t)step->kernel *
                   (size_t)step->kernel;
    int8_t *quantised = harness_memory(count);
    float *weight_scale =
        harness_memory((size_t)p->tensor[step->target].channels * sizeof *weight_scale);
    harness_quantise(p, step, quantised, weight_scale);
    dnnl_primitive_attr_t attr = attributes(s, step, weight_scale);
    dnnl_primitive_desc_t pd = convolution(s, step, attr);
    dnnl_memory_t weight = NULL, bias = NULL;
    parameters(s, step, pd, quantised, weight_scale, &weight, &bias);
    dnnl_memory_t source = in_layout(s, s->value[step->source],
                                     dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0));
    const dnnl_memory_desc_t *target = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    s->value[step->target] = step->residual >= 0
                                 ? in_layout(s, s->value[step->residual], target)
                                 : allocate_tensor(s, step->target, target);
    struct work *w = add_work(s);
    *w = (struct work){.count = 4,
                       .argument = {{DNNL_ARG_SRC, source},
                                    {DNNL_ARG_WEIGHTS, weight},
                                    {DNNL_ARG_BIAS, bias},
                                    {DNNL_ARG_DST, s->value[step->target]}}};
    must(dnnl_primitive_create(&w->primitive, pd));
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    free(quantised);
    free(weight_scale);
}

static void *create(const struct plan *p, enum dtype dtype, int threads, const char **missing)
{
    struct state *s = harness_memory(sizeof *s);
    omp_set_num_threads(threads);
    if (dtype == BF16 && (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) !=
                             dnnl_cpu_isa_avx512_core_bf16) {
        *missing = "this processor has no bf16";
        return NULL;
    }
    s->plan = p;
    s->dtype = dtype;
    s->value = harness_memory((size_t)p->tensor_count * sizeof *s->value);
    must(dnnl_engine_create(&s->engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags));
    dnnl_memory_desc_t input = describe(s, 0, type_of(s, 0), dnnl_nhwc);
    s->slot = harness_memory((size_t)p->tensor_count * sizeof *s->slot);
    s->value[0] = allocate(s, &input);
    void *samples = NULL;
    must(dnnl_memory_get_data_handle(s->value[0], &samples));
    harness_input(p, dtype, samples);
    for (int i = 0; i < p->step_count; i++) {
        const struct step *step = &p->step[i];
        if (step->kind == CONV) {
            add_convolution(s, step);
            continue;
        }
        dnnl_memory_desc_t md = describe(s, step->target, type_of(s, step->source),
                                         step->kind == PAD ? dnnl_nhwc : dnnl_nchw);
        s->value[step->target] = allocate_tensor(s, step->target, &md);
        add_work(s)->step = step;
    }
    return s;
}

static void run_ours(struct state *s, const struct step *step)
{
    void *source = NULL, *target = NULL;
    const size_t size = s->dtype == INT8 ? 1 : sizeof(float);
    const int rows = s->plan->tensor[step->kind == PAD ? step->target : step->source].height;
    must(dnnl_memory_get_data_handle(s->value[step->source], &source));
    must(dnnl_memory_get_data_handle(s->value[step->target], &target));
#pragma omp parallel for
    for (int y = 0; y < rows; y++) {
        if (step->kind == PAD) {
            harness_pad_row(s->plan, step, size, source, target, y);
        } else {
            harness_shuffle_row(s->plan, size, source, target, y);
        }
    }
}

static void run(void *state)
{
    struct state *s = state;
    for (int i = 0; i < s->work_count; i++) {
        struct work *w = &s->work[i];
        if (!w->primitive) {
            run_ours(s, w->step);
            continue;
        }
        must(dnnl_primitive_execute(w->primitive, s->stream, w->count, w->argument));
    }
    must(dnnl_stream_wait(s->stream));
}

static void output(void *state, float *samples)
{
    struct state *s = state;
    const struct step *last = &s->plan->step[s->plan->step_count - 1];
    void *value = NULL;
    must(dnnl_memory_get_data_handle(s->value[last->target], &value));
    for (size_t i = 0; i < harness_elements(&s->plan->tensor[last->target]); i++) {
        samples[i] = s->dtype == INT8
                         ? scale_of(s, last->source) * (float)((const int8_t *)value)[i]
                         : ((const float *)value)[i];
    }
}

int main(int argc, char **argv)
{
    static const struct engine engine = {"onednn", version, create, run, output};
    return harness_main(argc, argv, &engine);
}
