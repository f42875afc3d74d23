/* SPDX-License-Identifier: BSD-2-Clause */
/* XNNPACK by its operators: float32, or signed 8-bit with weights scaled per output channel. */
#include <pthreadpool.h>
#include <stdio.h>
#include <stdlib.h>
#include <xnnpack.h>

#include "harness.h"

enum { MOST_OPERATORS = 200 };

struct state {
    const struct plan *plan;
    enum dtype dtype;
    size_t size; /* of a sample */
    pthreadpool_t pool;
    void **value; /* of each tensor, [h][w][c], with room for reading beyond the end */
    struct work {
        xnn_operator_t operator; /* NULL: a step of ours */
        const struct step *step;
    } work[MOST_OPERATORS];
    int work_count;
    struct work *current;
};

static const char *version(void)
{
    return XNNPACK_VERSION;
}

static void must(enum xnn_status status)
{
    if (status != xnn_status_success) {
        harness_fail("XNNPACK refuses an operator");
    }
}

static void add_work(struct state *s, xnn_operator_t operator, const struct step *step)
{
    if (s->work_count == MOST_OPERATORS) {
        harness_fail("too many steps");
    }
    s->work[s->work_count++] = (struct work){operator, step};
}

/* Quantisation of a tensor; the tanh operator allows one alone. */
static float scale_of(const struct state *s, int tensor, int8_t *zero)
{
    int z = 0;
    float scale = harness_asymmetric(&s->plan->tensor[tensor], &z);
    for (int i = 0; i < s->plan->step_count; i++) {
        if (s->plan->step[i].target == tensor && s->plan->step[i].activation == TANH) {
            scale = 1.0f / 128.0f;
            z = 0;
        } else if (s->plan->step[i].kind == PAD && s->plan->step[i].target == tensor) {
            return scale_of(s, s->plan->step[i].source, zero);
        }
    }
    if (tensor == 0) {
        scale = 1.0f / 255.0f;
        z = 0;
    }
    *zero = (int8_t)z;
    return scale;
}

/* [out][in][h][w] to [out][h][w][in], elements of `size` bytes. */
static void *reorder(const struct plan *p, const struct step *step, const char *from, size_t size)
{
    size_t out = (size_t)p->tensor[step->target].channels;
    size_t in = (size_t)p->tensor[step->source].channels;
    size_t area = (size_t)step->kernel * (size_t)step->kernel;
    char *to = harness_memory(out * in * area * size);
    for (size_t i = 0; i < out * in * area; i++) {
        size_t o = i / (in * area), c = i / area % in, a = i % area;
        for (size_t b = 0; b < size; b++) {
            to[((o * area + a) * in + c) * size + b] = from[i * size + b];
        }
    }
    return to;
}

static xnn_operator_t convolution_f32(const struct plan *p, const struct step *step)
{
    uint32_t k = (uint32_t)step->kernel, pad = (uint32_t)step->pad;
    size_t in = (size_t)p->tensor[step->source].channels;
    size_t out = (size_t)p->tensor[step->target].channels;
    float *weight = reorder(p, step, (const char *)step->weight, sizeof(float));
    float low = step->activation == RELU ? 0.0f : -__builtin_inff();
    xnn_operator_t op = NULL;
    must(xnn_create_convolution2d_nhwc_f32(pad, pad, pad, pad, k, k, 1, 1, 1, 1, 1, in, out, in,
                                           out, weight, step->bias, low, __builtin_inff(), 0, &op));
    free(weight);
    return op;
}

static xnn_operator_t convolution_int8(const struct state *s, const struct step *step,
                                       float out_scale, int8_t out_zero)
{
    const struct plan *p = s->plan;
    uint32_t k = (uint32_t)step->kernel, pad = (uint32_t)step->pad;
    size_t in = (size_t)p->tensor[step->source].channels;
    size_t out = (size_t)p->tensor[step->target].channels;
    int8_t *plain = harness_memory(out * in * k * k), in_zero = 0;
    float *scale = harness_memory(out * sizeof(float));
    int32_t *bias = harness_memory(out * sizeof(int32_t));
    float in_scale = scale_of(s, step->source, &in_zero);
    harness_quantise(p, step, plain, scale);
    for (size_t c = 0; c < out; c++) {
        bias[c] = (int32_t)__builtin_lrintf(step->bias[c] / (in_scale * scale[c]));
    }
    int8_t *weight = reorder(p, step, (const char *)plain, 1);
    xnn_operator_t op = NULL;
    must(xnn_create_convolution2d_nhwc_qc8(
        pad, pad, pad, pad, k, k, 1, 1, 1, 1, 1, in, out, in, out, in_zero, in_scale, scale, weight,
        bias, out_zero, out_scale, step->activation == RELU ? out_zero : INT8_MIN, INT8_MAX, 0,
        &op));
    free(plain);
    free(scale);
    free(bias);
    free(weight);
    return op;
}

static void add_convolution(struct state *s, const struct step *step)
{
    const struct tensor *from = &s->plan->tensor[step->source];
    const struct tensor *to = &s->plan->tensor[step->target];
    size_t h = (size_t)from->height, w = (size_t)from->width;
    void *in = s->value[step->source], *out = s->value[step->target];
    size_t shape[1] = {harness_elements(to)};
    xnn_operator_t op = NULL, sum = NULL, tanh_op = NULL;
    if (s->dtype == F32) {
        op = convolution_f32(s->plan, step);
        must(xnn_setup_convolution2d_nhwc_f32(op, 1, h, w, in, out, s->pool));
        add_work(s, op, NULL);
        if (step->residual >= 0) {
            must(xnn_create_add_nd_f32(-__builtin_inff(), __builtin_inff(), 0, &sum));
            must(xnn_setup_add_nd_f32(sum, 1, shape, 1, shape, out, s->value[step->residual], out,
                                      s->pool));
            add_work(s, sum, NULL);
        }
        return;
    }
    int8_t zero = 0, residual_zero = 0, linear_zero = 0;
    float scale = scale_of(s, step->target, &zero), linear = scale;
    linear_zero = zero;
    if (step->residual >= 0 || step->activation == TANH) {
        int z = 0;
        linear = harness_asymmetric(&step->linear, &z);
        linear_zero = (int8_t)z;
    }
    op = convolution_int8(s, step, linear, linear_zero);
    must(xnn_setup_convolution2d_nhwc_qc8(op, 1, h, w, in, out, s->pool));
    add_work(s, op, NULL);
    if (step->residual >= 0) {
        float other = scale_of(s, step->residual, &residual_zero);
        must(xnn_create_add_nd_qs8(linear_zero, linear, residual_zero, other, zero, scale, INT8_MIN,
                                   INT8_MAX, 0, &sum));
        must(xnn_setup_add_nd_qs8(sum, 1, shape, 1, shape, out, s->value[step->residual], out,
                                  s->pool));
        add_work(s, sum, NULL);
    }
    if (step->activation == TANH) {
        size_t c = (size_t)to->channels;
        must(xnn_create_tanh_nc_qs8(c, c, c, linear_zero, linear, zero, scale, INT8_MIN, INT8_MAX,
                                    0, &tanh_op));
        must(xnn_setup_tanh_nc_qs8(tanh_op, shape[0] / c, out, out, s->pool));
        add_work(s, tanh_op, NULL);
    }
}

static void *create(const struct plan *p, enum dtype dtype, int threads, const char **missing)
{
    struct state *s = harness_memory(sizeof *s);
    if (dtype == BF16) {
        *missing = "no bf16 on x86-64";
        return NULL;
    }
    for (int i = 0; i < p->step_count; i++) {
        if (dtype == F32 && p->step[i].activation == TANH) {
            *missing = "this version has no tanh in f32";
            return NULL;
        }
    }
    must(xnn_initialize(NULL));
    s->plan = p;
    s->dtype = dtype;
    s->size = dtype == F32 ? sizeof(float) : 1;
    s->pool = pthreadpool_create((size_t)threads);
    s->value = harness_values(p, s->size, XNN_EXTRA_BYTES);
    harness_input(p, dtype, s->value[0]);
    for (int i = 0; i < p->step_count; i++) {
        if (p->step[i].kind == CONV) {
            add_convolution(s, &p->step[i]);
        } else {
            add_work(s, NULL, &p->step[i]);
        }
    }
    return s;
}

static void row(void *context, size_t y)
{
    struct state *s = context;
    const struct step *step = s->current->step;
    const void *source = s->value[step->source];
    if (step->kind == PAD) {
        harness_pad_row(s->plan, step, s->size, source, s->value[step->target], (int)y);
    } else {
        harness_shuffle_row(s->plan, s->size, source, s->value[step->target], (int)y);
    }
}

static void run(void *state)
{
    struct state *s = state;
    for (int i = 0; i < s->work_count; i++) {
        struct work *w = &s->work[i];
        if (w->operator) {
            must(xnn_run_operator(w->operator, s->pool));
            continue;
        }
        int rows = w->step->kind == PAD ? s->plan->tensor[w->step->target].height
                                        : s->plan->tensor[w->step->source].height;
        s->current = w;
        pthreadpool_parallelize_1d(s->pool, row, s, (size_t)rows, 0);
    }
}

static void output(void *state, float *samples)
{
    const struct state *s = state;
    const struct step *last = &s->plan->step[s->plan->step_count - 1];
    const void *value = s->value[last->target];
    int8_t zero = 0;
    float scale = scale_of(s, last->source, &zero);
    for (size_t i = 0; i < harness_elements(&s->plan->tensor[last->target]); i++) {
        samples[i] = s->dtype == F32 ? ((const float *)value)[i]
                                     : scale * (float)(((const int8_t *)value)[i] - zero);
    }
}

int main(int argc, char **argv)
{
    static const struct engine engine = {"xnnpack", version, create, run, output};
    return harness_main(argc, argv, &engine);
}
