/* SPDX-License-Identifier: BSD-2-Clause */
/* Rank and dimension propagation: expressions, every transfer forwards and backwards, conflicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_data.h"
#include "plan/shape.h"

static const struct srpi_dim nac = {.state = SRPI_DIM_NAC};

static void read_text(struct srpi_graph *graph, const char *json)
{
    struct srp_error err = {0};
    const struct srp_blob blob = {json, strlen(json), "g.json"};
    if (srpi_graph_read(graph, &blob, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
}

static uint32_t tensor_of(const struct srpi_graph *graph, const char *name)
{
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        if (strcmp(graph->tensors[t].name, name) == 0) {
            return t;
        }
    }
    fail_msg("no tensor %s", name);
    return 0;
}

static const char *text_of(const struct srpi_shapes *shapes, const struct srpi_graph *graph,
                           const char *name)
{
    static char text[SRPI_SHAPE_TEXT];
    return srpi_shape_text(text, sizeof(text), &shapes->tensors[tensor_of(graph, name)]);
}

static void infer(struct srpi_shapes *shapes, const struct srpi_graph *graph,
                  const struct srpi_shape *given)
{
    struct srp_error err = {0};
    if (srpi_shapes_infer(shapes, graph, given, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
}

static struct srpi_dim dim(enum srpi_symbol symbol, int32_t times, int32_t plus, int32_t over)
{
    return (struct srpi_dim){SRPI_DIM_KNOWN, symbol, times, plus, over};
}

static void dimensions_are_expressions(void **state)
{
    (void)state;
    static const struct {
        struct srpi_dim dim;
        const char *text;
        bool has;
        uint64_t value; /* with H = 7, W = 10, N = 3 */
    } cases[] = {
        {{SRPI_DIM_UNDEFINED, 0, 0, 0, 0}, "?", false, 0},
        {{SRPI_DIM_NAC, 0, 0, 0, 0}, "nac", false, 0},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_NONE, 0, 16, 1}, "16", true, 16},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_H, 1, 0, 1}, "H", true, 7},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_W, 4, 0, 1}, "4W", true, 40},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_N, 2, -1, 1}, "2N - 1", true, 5},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_W, 1, 0, 2}, "W/2", true, 5},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_H, 1, 0, 2}, "H/2", false, 0},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_H, 3, 1, 2}, "(3H + 1)/2", true, 11},
        {{SRPI_DIM_KNOWN, SRPI_SYMBOL_H, 1, -8, 1}, "H - 8", false, 0},
    };
    static const uint32_t symbols[SRPI_SYMBOL_COUNT] = {0, 7, 10, 3};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[SRPI_SHAPE_TEXT];
        uint64_t value = 0;
        assert_string_equal(srpi_dim_text(text, sizeof(text), cases[i].dim), cases[i].text);
        assert_int_equal(srpi_dim_value(cases[i].dim, symbols, &value), cases[i].has);
        assert_int_equal(value, cases[i].value);
    }
    const struct srpi_shape large = {{dim(SRPI_SYMBOL_N, INT32_MAX, 0, 1), srpi_dim_constant(INT32_MAX),
                                      srpi_dim_constant(INT32_MAX), srpi_dim_constant(3)}};
    uint64_t elements = 0;
    assert_false(srpi_shape_elements(&large, symbols, &elements));
    char small[8];
    assert_string_equal(srpi_shape_text(small, sizeof(small), &large), "2147483");
}

static void joins_follow_the_lattice(void **state)
{
    (void)state;
    const struct srpi_dim undefined = {.state = SRPI_DIM_UNDEFINED};
    const struct srpi_dim h = srpi_dim_symbol(SRPI_SYMBOL_H), two = dim(SRPI_SYMBOL_H, 2, 0, 1);
    assert_true(srpi_dim_equal(srpi_dim_merge(undefined, h), h));
    assert_true(srpi_dim_equal(srpi_dim_merge(h, undefined), h));
    assert_true(srpi_dim_equal(srpi_dim_merge(h, h), h));
    assert_int_equal(srpi_dim_merge(h, two).state, SRPI_DIM_NAC);
    assert_int_equal(srpi_dim_merge(h, nac).state, SRPI_DIM_NAC);
    assert_int_equal(srpi_dim_merge(nac, undefined).state, SRPI_DIM_NAC);
    assert_false(srpi_dim_equal(nac, nac));
    assert_false(srpi_dim_equal(undefined, undefined));
    assert_false(srpi_dim_equal(h, srpi_dim_symbol(SRPI_SYMBOL_W)));

    /* Two branches that end in a Combine: what they agree on stays. */
    const struct srpi_shape a = {{srpi_dim_constant(1), h, two, srpi_dim_constant(16)}};
    const struct srpi_shape b = {{srpi_dim_constant(1), h, h, srpi_dim_constant(16)}};
    struct srpi_shape joined;
    for (int i = 0; i < SRPI_AXIS_COUNT; i++) {
        joined.dim[i] = srpi_dim_merge(a.dim[i], b.dim[i]);
    }
    char text[SRPI_SHAPE_TEXT];
    assert_string_equal(srpi_shape_text(text, sizeof(text), &joined), "H x nac x 16");
    assert_true(srpi_shape_equal(&a, &a));
    assert_false(srpi_shape_equal(&a, &b));
    assert_false(srpi_shape_equal(&joined, &joined));
}

static void forward_from_the_input(void **state)
{
    (void)state;
    struct srpi_graph graph = {0};
    struct srpi_shapes shapes = {0};
    struct srpi_shape given[32];
    read_text(&graph, full_graph);
    srpi_shapes_start(given, &graph, srpi_dim_constant(1));
    infer(&shapes, &graph, given);
    assert_int_equal(shapes.count, graph.tensor_count);
    assert_int_equal(shapes.sweeps, 2);
    static const char *const wanted[][2] = {
        {"x", "H x W x 1"},   {"h", "H x W x 8"},   {"c", "H x W x 12"},   {"u", "H x W x 8"},
        {"d", "2H x 2W x 2"}, {"e", "2H x 2W x 4"}, {"p", "2H x 2W x 4"},  {"v", "2H x 2W x 1"},
        {"q", "4H x 4W x 1"}, {"b", "4H x 4W x 1"}, {"g", "2H x 2W x 1"},  {"y", "4H x 4W x 1"},
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_string_equal(text_of(&shapes, &graph, wanted[i][0]), wanted[i][1]);
    }
    /* As the validator, which counts in numbers, and what fusion asks for. */
    static const uint32_t symbols[SRPI_SYMBOL_COUNT] = {0, 5, 9, 1};
    for (uint32_t t = 0; t < graph.tensor_count; t++) {
        const struct srpi_tensor *tensor = &graph.tensors[t];
        uint64_t elements = 0;
        assert_true(srpi_shape_elements(&shapes.tensors[t], symbols, &elements));
        assert_int_equal(elements, 45ull * tensor->factor * tensor->factor * tensor->channels);
    }
    assert_true(srpi_shape_equal(&shapes.tensors[tensor_of(&graph, "m")],
                                 &shapes.tensors[tensor_of(&graph, "c")]));
    srpi_shapes_destroy(&shapes);

    /* A routed list: the count is a symbol inside the branch, and nac in front of the router. */
    srpi_shapes_start(given, &graph, srpi_dim_symbol(SRPI_SYMBOL_N));
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "y"), "N x 4H x 4W x 1");
    srpi_shapes_destroy(&shapes);
    srpi_shapes_start(given, &graph, nac);
    infer(&shapes, &graph, given);
    for (uint32_t t = 0; t < graph.tensor_count; t++) {
        assert_int_equal(shapes.tensors[t].dim[SRPI_AXIS_N].state, SRPI_DIM_NAC);
        assert_int_equal(shapes.tensors[t].dim[SRPI_AXIS_H].state, SRPI_DIM_KNOWN);
    }
    assert_string_equal(text_of(&shapes, &graph, "d"), "nac x 2H x 2W x 2");
    srpi_shapes_destroy(&shapes);
    srpi_graph_free(&graph);
}

static void backward_from_the_output(void **state)
{
    (void)state;
    struct srpi_graph graph = {0};
    struct srpi_shapes shapes = {0};
    struct srpi_shape given[32] = {0};
    read_text(&graph, full_graph);
    given[graph.output].dim[SRPI_AXIS_N] = srpi_dim_constant(1);
    given[graph.output].dim[SRPI_AXIS_H] = dim(SRPI_SYMBOL_H, 4, 0, 1);
    given[graph.output].dim[SRPI_AXIS_W] = dim(SRPI_SYMBOL_W, 4, 0, 1);
    given[graph.output].dim[SRPI_AXIS_C] = srpi_dim_constant(1);
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "x"), "H x W x 1");
    assert_string_equal(text_of(&shapes, &graph, "e"), "2H x 2W x 4");
    assert_string_equal(text_of(&shapes, &graph, "y"), "4H x 4W x 1");
    srpi_shapes_destroy(&shapes);

    /* An output of H rows needs an exact quarter; a number has to divide. */
    given[graph.output].dim[SRPI_AXIS_H] = srpi_dim_symbol(SRPI_SYMBOL_H);
    given[graph.output].dim[SRPI_AXIS_W] = srpi_dim_constant(48);
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "x"), "H/4 x 12 x 1");
    assert_string_equal(text_of(&shapes, &graph, "d"), "H/2 x 24 x 2");
    srpi_shapes_destroy(&shapes);
    given[graph.output].dim[SRPI_AXIS_W] = srpi_dim_constant(50);
    struct srp_error err = {0};
    enum srp_err rc = srpi_shapes_infer(&shapes, &graph, given, &err);
    check_failure(rc, SRP_ERR_GRAPH, &err, "node 'base': width of 'b': does not divide", "50 columns");
    given[graph.output].dim[SRPI_AXIS_W] = srpi_dim_constant(0);
    rc = srpi_shapes_infer(&shapes, &graph, given, &err);
    check_failure(rc, SRP_ERR_GRAPH, &err, "node 'out': width of 'q': 0 is impossible", "0 columns");
    assert_null(shapes.tensors);
    srpi_graph_free(&graph);
}

/* One tensor in the middle is given in each axis: the rest follows both ways. */
static void from_the_middle(void **state)
{
    (void)state;
    struct srpi_graph graph = {0};
    struct srpi_shapes shapes = {0};
    struct srpi_shape given[32] = {0};
    read_text(&graph, full_graph);
    given[tensor_of(&graph, "e")].dim[SRPI_AXIS_N] = srpi_dim_symbol(SRPI_SYMBOL_N);
    given[tensor_of(&graph, "b2")].dim[SRPI_AXIS_H] = dim(SRPI_SYMBOL_H, 2, 6, 1);
    given[tensor_of(&graph, "s")].dim[SRPI_AXIS_W] = srpi_dim_symbol(SRPI_SYMBOL_W);
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "x"), "N x H + 3 x W x 1");
    assert_string_equal(text_of(&shapes, &graph, "y"), "N x 4H + 12 x 4W x 1");
    for (uint32_t t = 0; t < graph.tensor_count; t++) {
        for (int axis = 0; axis < SRPI_AXIS_COUNT; axis++) {
            assert_int_equal(shapes.tensors[t].dim[axis].state, SRPI_DIM_KNOWN);
        }
    }
    srpi_shapes_destroy(&shapes);

    /* Nothing given: channels alone can be found out, and they are. */
    memset(given, 0, sizeof(given));
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "e"), "? x ? x ? x 4");
    srpi_shapes_destroy(&shapes);
    srpi_graph_free(&graph);
}

/* The operand that stands there twice gets half of what the others leave of the result, and the
 * shuffle gives its own operand four times that. */
static void channels_from_the_result(void **state)
{
    (void)state;
    static const char json[] =
        "{\"format\": \"srp-graph\", \"version\": 1, \"name\": \"cat\", \"scale\": 2,"
        " \"colour\": \"rgb\", \"input\": \"x\", \"output\": \"y\", \"nodes\": ["
        "{\"op\": \"concat\", \"name\": \"c\", \"inputs\": [\"x\", \"x\", \"x\", \"x\"],"
        " \"output\": \"w\"},"
        "{\"op\": \"depth_to_space\", \"name\": \"d\", \"inputs\": [\"w\"], \"output\": \"t\","
        " \"block\": 2},"
        "{\"op\": \"slice\", \"name\": \"k\", \"inputs\": [\"t\"], \"output\": \"o\","
        " \"first\": 0, \"channels\": 1},"
        "{\"op\": \"concat\", \"name\": \"e\", \"inputs\": [\"t\", \"o\", \"t\"],"
        " \"output\": \"u\"},"
        "{\"op\": \"slice\", \"name\": \"s\", \"inputs\": [\"u\"], \"output\": \"y\","
        " \"first\": 2, \"channels\": 3}]}";
    struct srpi_graph graph = {0};
    struct srpi_shapes shapes = {0};
    struct srpi_shape given[8] = {0};
    struct srp_error err = {0};
    read_text(&graph, json);
    struct srpi_dim *channels = &given[tensor_of(&graph, "u")].dim[SRPI_AXIS_C];
    *channels = srpi_dim_constant(7);
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "t"), "? x ? x ? x 3");
    assert_string_equal(text_of(&shapes, &graph, "w"), "? x ? x ? x 12");
    assert_string_equal(text_of(&shapes, &graph, "x"), "? x ? x ? x 3");
    srpi_shapes_destroy(&shapes);
    *channels = dim(SRPI_SYMBOL_N, 2, 1, 1);
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "x"), "? x ? x ? x N");
    srpi_shapes_destroy(&shapes);
    *channels = nac;
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "t"), "? x ? x ? x ?");
    srpi_shapes_destroy(&shapes);
    *channels = srpi_dim_constant(8);
    const enum srp_err rc = srpi_shapes_infer(&shapes, &graph, given, &err);
    check_failure(rc, SRP_ERR_GRAPH, &err, "node 'e': channels of 't': does not divide", "7/2");
    *channels = (struct srpi_dim){.state = SRPI_DIM_UNDEFINED};
    given[tensor_of(&graph, "t")].dim[SRPI_AXIS_C] = srpi_dim_symbol(SRPI_SYMBOL_H);
    infer(&shapes, &graph, given);
    assert_string_equal(text_of(&shapes, &graph, "u"), "? x ? x ? x 2H + 1");
    assert_string_equal(text_of(&shapes, &graph, "x"), "? x ? x ? x H");
    srpi_shapes_destroy(&shapes);
    srpi_graph_free(&graph);
}

static void conflicts_name_the_node(void **state)
{
    (void)state;
    struct srpi_graph graph = {0};
    struct srpi_shapes shapes = {0};
    struct srp_error err = {0};
    read_text(&graph, full_graph);
    const struct {
        const char *tensor;
        int axis;
        struct srpi_dim dim;
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {"m", SRPI_AXIS_H, dim(SRPI_SYMBOL_H, 2, 0, 1), SRP_ERR_GRAPH,
         "node 'mid': height of 'm': 2H and H contradict"},
        {"n2", SRPI_AXIS_W, dim(SRPI_SYMBOL_H, 2, 0, 1), SRP_ERR_GRAPH, "node 'hard': width of 'n2'"},
        {"x", SRPI_AXIS_C, srpi_dim_constant(3), SRP_ERR_GRAPH, "channels of 'g': 1 and 3"},
        {"y", SRPI_AXIS_C, srpi_dim_symbol(SRPI_SYMBOL_H), SRP_ERR_GRAPH, "channels of 'y': H and 1"},
        {"d", SRPI_AXIS_C, srpi_dim_constant(1), SRP_ERR_GRAPH, "node 'shuffle'"},
        {"e", SRPI_AXIS_C, srpi_dim_constant(5), SRP_ERR_GRAPH, "node 'cat2'"},
        {"b", SRPI_AXIS_N, srpi_dim_constant(2), SRP_ERR_GRAPH, "node 'base': count of 'b': 2 and 1"},
        {"x", SRPI_AXIS_W, dim(SRPI_SYMBOL_W, INT32_MAX / 2, 0, 1), SRP_ERR_LIMIT, "above 2^31"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srpi_shape given[32];
        srpi_shapes_start(given, &graph, srpi_dim_constant(1));
        given[tensor_of(&graph, cases[i].tensor)].dim[cases[i].axis] = cases[i].dim;
        const enum srp_err rc = srpi_shapes_infer(&shapes, &graph, given, &err);
        check_failure(rc, cases[i].code, &err, cases[i].needle, cases[i].tensor);
        assert_null(shapes.tensors);
    }
    srpi_graph_free(&graph);
}

static void every_operator_has_a_class(void **state)
{
    (void)state;
    for (int op = SRPI_OP_CONV2D; op <= SRPI_OP_SLICE; op++) {
        const struct srpi_shape_rule *rule = srpi_shape_rule_of((enum srpi_op)op);
        assert_true(strlen(rule->name) > 2 && strlen(rule->reason) > 20);
        /* Why graphs can be planned ahead: no shape of ours waits for a value. */
        assert_string_equal(srpi_shape_class_name(rule->shape_class), "ISDOS");
    }
    assert_string_equal(srpi_shape_class_name(srpi_shape_rule_of(SRPI_OP_ROUTE)->shape_class),
                        "ED");
    assert_string_equal(srpi_shape_class_name(srpi_shape_rule_of_routing()->shape_class), "ED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dimensions_are_expressions),
        cmocka_unit_test(joins_follow_the_lattice),
        cmocka_unit_test(forward_from_the_input),
        cmocka_unit_test(backward_from_the_output),
        cmocka_unit_test(from_the_middle),
        cmocka_unit_test(channels_from_the_result),
        cmocka_unit_test(conflicts_name_the_node),
        cmocka_unit_test(every_operator_has_a_class),
    };
    return cmocka_run_group_tests_name("shape", tests, NULL, NULL);
}
