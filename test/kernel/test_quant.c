/* SPDX-License-Identifier: BSD-2-Clause */
/* The quantiser: what it makes of a program, what it refuses, and that its results are the same
 * bits everywhere. Its numbers are tested by test/golden/test_int8.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hash.h"
#include "model/model.h"
#include "model_data.h"
#include "quant/quant.h"

#define HEAD \
    "{\"format\": \"srp-graph\", \"version\": 1, \"name\": \"g\", \"scale\": 1, \"colour\": \"y\"," \
    " \"mean\": 0.5, \"input\": \"x\", \"output\": \"y\", \"nodes\": ["
#define CONV(name, in, out, channels, kernel, activation) \
    "{\"op\": \"conv2d\", \"name\": \"" name "\", \"inputs\": [\"" in "\"], \"output\": \"" out \
    "\", \"channels\": " channels ", \"kernel\": [" kernel ", " kernel "], \"activation\": \"" \
    activation "\"}"
#define JOIN(op, name, a, b, out) \
    "{\"op\": \"" op "\", \"name\": \"" name "\", \"inputs\": [\"" a "\", \"" b "\"]," \
    " \"output\": \"" out "\"}"

struct fixture {
    struct srp_model *model;
    struct srpi_program program;
    struct srpi_quant quant;
};

static void open_graph(struct fixture *f, const char *text)
{
    struct srp_blob blob = {text, strlen(text), "g"};
    struct srp_error err = {0};
    if (srp_model_create_random(&f->model, &blob, 7, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    const struct srpi_graph *g = srpi_model_graph(f->model);
    assert_int_equal(srpi_program_create(&f->program, g, g->output, true, &err), SRP_OK);
}

static void close_graph(struct fixture *f)
{
    srpi_quant_destroy(&f->quant);
    srpi_program_destroy(&f->program);
    srp_model_unref(&f->model);
}

/* Sets weights and biases of a node. */
static void set_node(struct fixture *f, const char *name, float weight, float bias)
{
    const struct srpi_graph *g = srpi_model_graph(f->model);
    for (uint32_t n = 0; n < g->node_count; n++) {
        if (strcmp(g->nodes[n].name, name) == 0) {
            float *w = (float *)g->nodes[n].weight, *b = (float *)g->nodes[n].bias;
            for (uint64_t i = 0; i < srpi_node_weight_count(g, &g->nodes[n]); i++) {
                w[i] = weight;
            }
            for (uint32_t i = 0; i < g->tensors[g->nodes[n].output].channels; i++) {
                b[i] = bias;
            }
            return;
        }
    }
    fail_msg("no node %s", name);
}

static uint32_t tensor_of(const struct fixture *f, const char *name)
{
    const struct srpi_graph *g = srpi_model_graph(f->model);
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        if (strcmp(g->tensors[t].name, name) == 0) {
            return t;
        }
    }
    fail_msg("no tensor %s", name);
    abort();
}

static const struct srpi_quant_tensor *at(const struct fixture *f, const char *name)
{
    return &f->quant.tensors[tensor_of(f, name)];
}

static const struct srpi_quant_conv *conv_at(const struct fixture *f, const char *name)
{
    return &f->quant.convs[f->program.writer[tensor_of(f, name)]];
}

static void quantise_well(struct fixture *f)
{
    struct srp_error err = {0};
    if (srpi_quant_create(&f->quant, &f->program, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
}

static void refuse(struct fixture *f, enum srp_err code, const char *needle)
{
    struct srp_error err = {0};
    check_failure(srpi_quant_create(&f->quant, &f->program, &err), code, &err, needle, needle);
    assert_null(f->quant.memory);
    assert_null(f->quant.tensors);
}

static void chooses_dtypes_and_layers(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_graph(&f, HEAD CONV("a", "x", "h", "65", "3", "relu") "," CONV("b", "h", "g", "65", "1", "relu")
               "," JOIN("add", "s", "g", "h", "i") "," CONV("c", "i", "j", "1", "3", "tanh")
               "," CONV("d", "j", "k", "1", "3", "none") "," CONV("e", "x", "l", "1", "1", "none")
               "," JOIN("add", "t", "k", "l", "m") "," JOIN("add", "u", "m", "x", "y") "]}");
    quantise_well(&f);
    assert_int_equal(at(&f, "x")->dtype, SRPI_Q8);
    assert_true(at(&f, "x")->zero == 127.5f && at(&f, "x")->padding == 128);
    assert_true(at(&f, "x")->exact_scale == 1.0 / 255.0);
    assert_int_equal(at(&f, "h")->dtype, SRPI_Q8);
    assert_int_equal(at(&f, "i")->dtype, SRPI_Q8);
    assert_int_equal(at(&f, "j")->dtype, SRPI_Q8);
    assert_int_equal(at(&f, "m")->dtype, SRPI_F32); /* k or l is taken into the sum */
    assert_int_equal(at(&f, "y")->dtype, SRPI_F32);
    assert_true(at(&f, "h")->low == 0.0f && at(&f, "h")->zero == 0.0f);
    assert_true(at(&f, "j")->low >= -1.0f && at(&f, "j")->high <= 1.0f);

    const struct srpi_conv_layer *h = &conv_at(&f, "h")->layer;
    assert_int_equal(h->shape.out, SRPI_Q8);
    assert_false(h->clamp); /* saturation at 0 is relu */
    assert_null(h->slope);
    assert_int_equal((uintptr_t)h->weights % 64, 0);
    for (uint32_t c = 65; c < 128; c++) {
        assert_true(((const int32_t *)h->bias)[c] == 0 && h->multiplier[c] == 0.0f);
    }
    const struct srpi_conv_layer *i = &conv_at(&f, "i")->layer;
    assert_true(i->has_residual && i->residual == SRPI_Q8 && i->slope != NULL && i->slope[64] == 0);
    assert_false(conv_at(&f, "i")->widen_residual);
    const struct srpi_quant_conv *j = conv_at(&f, "j");
    assert_int_equal(j->activation, SRPI_ACT_TANH);
    assert_int_equal(j->layer.shape.out, SRPI_F32);
    const struct srpi_quant_conv *m = conv_at(&f, "m");
    assert_int_equal(m->layer.shape.out, SRPI_F32);
    assert_true(m->layer.has_residual && m->layer.residual == SRPI_F32);
    assert_true(m->layer.residual_multiplier == 1.0f);
    close_graph(&f);
}

static void widens_a_quantised_residual_of_a_float_sum(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_graph(&f, HEAD CONV("a", "x", "h", "1", "3", "none") "," CONV("b", "h", "g", "1", "3", "none")
               "," JOIN("add", "s", "g", "h", "y") "]}");
    quantise_well(&f);
    assert_int_equal(at(&f, "h")->dtype, SRPI_Q8);
    assert_true(conv_at(&f, "y")->widen_residual);
    assert_int_equal(conv_at(&f, "y")->layer.residual, SRPI_F32);
    close_graph(&f);
}

static void refuses_sums_beyond_32_bits(void **state)
{
    (void)state;
    static const char *const graphs[2] = {
        HEAD CONV("wide", "x", "h", "512", "1", "none") "," CONV("deep", "h", "y", "1", "11", "none") "]}",
        HEAD CONV("wide", "x", "h", "512", "1", "relu") "," CONV("deep", "h", "y", "1", "11", "none") "]}",
    };
    for (int i = 0; i < 2; i++) {
        struct fixture f = {0};
        open_graph(&f, graphs[i]);
        set_node(&f, "wide", 1.0f, 0.0f);
        set_node(&f, "deep", 1.0f, 0.0f);
        if (i == 0) { /* zero point 128 */
            refuse(&f, SRP_ERR_LIMIT, "graph 'g': tensor 'deep.weight': int8 sums of output "
                   "channel 0 do not fit 32 bits");
        } else { /* zero point 0: 256 * 127 * 61952 is just below 2^31 */
            quantise_well(&f);
        }
        close_graph(&f);
    }
}

static void a_bias_without_weights_is_kept(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_graph(&f, HEAD CONV("a", "x", "h", "1", "3", "none") "," CONV("b", "h", "y", "1", "3", "none") "]}");
    const float weights[3] = {0.0f, 1e-30f, 1e-9f};
    for (int i = 0; i < 3; i++) {
        set_node(&f, "a", weights[i], 0.75f);
        set_node(&f, "b", weights[i], -0.3f);
        quantise_well(&f);
        static uint8_t codes[64] = {0, 255, 3};
        float out[64];
        assert_int_equal(srpi_quant_run(&f.quant, codes, NULL, 8, 8, out, NULL), SRP_OK);
        for (int k = 0; k < 64; k++) {
            assert_true(fabsf(out[k] + 0.3f) < 1e-6f);
        }
        srpi_quant_destroy(&f.quant);
    }
    close_graph(&f);
}

static void refuses_values_that_cannot_be_rounded(void **state)
{
    (void)state;
    static struct srpi_stated_range ranges[] = {
        {0, 0, false},     {0, 1e-9f, false}, {0, 1e-9f, false},
        {0, 1e-9f, false}, {0, 1e-9f, false}, {0, 1e-9f, false}};
    struct fixture f = {0};
    open_graph(&f, HEAD CONV("small", "x", "h", "1", "3", "none") ","
               CONV("b", "h", "y", "1", "3", "none") "]}");
    f.model->graph.ranges = ranges;
    refuse(&f, SRP_ERR_LIMIT, "tensor 'h' of node 'small': its values may pass 2^29 steps");
    close_graph(&f);

    /* of a sum outside of a convolution */
    open_graph(&f, HEAD CONV("a", "x", "h", "1", "3", "tanh") "," JOIN("add", "tiny", "h", "x", "i")
               "," CONV("b", "i", "y", "1", "3", "none") "]}");
    ranges[1].high = 1.0f;
    f.model->graph.ranges = ranges;
    refuse(&f, SRP_ERR_LIMIT, "node 'tiny': its values may pass 2^29 steps");
    close_graph(&f);

    /* of a residual in f32 */
    open_graph(&f, HEAD CONV("big", "x", "h", "1", "3", "none") "," CONV("a", "x", "i", "1", "3", "none")
               "," JOIN("add", "huge", "i", "h", "j") "," CONV("b", "j", "y", "1", "3", "none") "]}");
    f.model->graph.ranges = NULL;
    quantise_well(&f);
    assert_int_equal(at(&f, "h")->dtype, SRPI_F32);
    srpi_quant_destroy(&f.quant);
    static const struct srpi_stated_range stated[] = {
        {0, 0, false}, {0, 1, false}, {0, 1, false}, {0, 1, false}, {0, 0, false}};
    f.model->graph.ranges = stated;
    set_node(&f, "big", 1e9f, 0.0f);
    refuse(&f, SRP_ERR_LIMIT, "node 'huge': its values may pass 2^29 steps");
    close_graph(&f);

    /* 2^120 */
    open_graph(&f, HEAD CONV("a", "x", "h", "1", "1", "none") "," JOIN("mul", "square", "h", "h", "i")
               "," JOIN("mul", "fourth", "i", "i", "y") "]}");
    set_node(&f, "a", 1e10f, 0.0f);
    refuse(&f, SRP_ERR_LIMIT, "node 'fourth': its values may pass 2^120");
    set_node(&f, "a", 1e8f, 0.0f);
    quantise_well(&f);
    close_graph(&f);
}

static void refuses_infinite_values_in_calibration(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_graph(&f, HEAD CONV("a", "x", "h", "2", "3", "none") "," CONV("b", "h", "i", "2", "3", "relu")
               "," CONV("c", "i", "y", "1", "3", "none") "]}");
    set_node(&f, "a", 3e38f, 0.0f);
    refuse(&f, SRP_ERR_NONFINITE, "graph 'g': tensor 'h' becomes infinite");
    close_graph(&f);
}

static void flat_tensors_get_a_range(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_graph(&f, HEAD CONV("a", "x", "h", "1", "3", "none") "," CONV("b", "h", "y", "1", "3", "none") "]}");
    set_node(&f, "a", 0.0f, 0.0f);
    quantise_well(&f);
    assert_true(at(&f, "h")->low == 0.0f && at(&f, "h")->high == 1.0f);
    srpi_quant_destroy(&f.quant);
    static const struct srpi_stated_range tiny[] = {
        {0, 0, false}, {0, 1e-44f, false}, {0, 0, false}}; /* its scale would be 0 */
    f.model->graph.ranges = tiny;
    quantise_well(&f);
    assert_true(at(&f, "h")->exact_scale == 0x1p-100 && isfinite(at(&f, "h")->inverse));
    close_graph(&f);
}

/* Every operator, from random weights that do not depend on the machine. */
static void has_the_same_bits_everywhere(void **state)
{
    (void)state;
    struct fixture f = {0};
    static uint8_t codes[19 * 23];
    static float out[4 * 19 * 4 * 23];
    open_graph(&f, full_graph);
    quantise_well(&f);
    for (uint32_t i = 0; i < sizeof(codes); i++) {
        codes[i] = (uint8_t)(i * i / 7 + 31 * (i % 23));
    }
    assert_int_equal(srpi_quant_run(&f.quant, codes, NULL, 23, 19, out, NULL), SRP_OK);
    assert_int_equal(hash_floats(out, sizeof(out) / sizeof(out[0])), UINT64_C(0xed1a1159d2d6b988));
    struct srp_error err = {0};
    check_failure(srpi_quant_run(&f.quant, codes, NULL, UINT32_MAX, UINT32_MAX, out, &err),
                  SRP_ERR_LIMIT, &err, "pixels are too many", "size");
    close_graph(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_dtypes_and_layers),
        cmocka_unit_test(widens_a_quantised_residual_of_a_float_sum),
        cmocka_unit_test(refuses_sums_beyond_32_bits),
        cmocka_unit_test(a_bias_without_weights_is_kept),
        cmocka_unit_test(refuses_values_that_cannot_be_rounded),
        cmocka_unit_test(refuses_infinite_values_in_calibration),
        cmocka_unit_test(flat_tensors_get_a_range),
        cmocka_unit_test(has_the_same_bits_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
