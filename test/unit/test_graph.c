/* SPDX-License-Identifier: BSD-2-Clause */
/* The graph validator and model objects. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/graph.h"
#include "model_data.h"

#include <srp/limits.h>

static enum srp_err read_graph(struct srpi_graph *g, const struct text *t, struct srp_error *err)
{
    struct text exact = text_copy(t->data, t->size);
    struct srp_blob blob = text_blob(&exact, "g.json");
    enum srp_err rc = srpi_graph_read(g, &blob, err);
    text_free(&exact);
    return rc;
}

static void check_read(struct srpi_graph *g, const char *graph)
{
    struct srp_error err = {0};
    struct text t = text_copy(graph, strlen(graph));
    if (read_graph(g, &t, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    text_free(&t);
}

static const struct srpi_node *find_node(const struct srpi_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (strcmp(g->nodes[i].name, name) == 0) {
            return &g->nodes[i];
        }
    }
    fail_msg("no node %s", name);
    abort();
}

/* What graph.h promises to its consumers. */
static void check_invariants(const struct srpi_graph *g)
{
    assert_int_equal(g->tensor_count, g->node_count + 1);
    assert_int_equal(g->input, 0);
    assert_true(g->output > 0 && g->output < g->tensor_count);
    assert_int_equal(g->tensors[0].producer, SRPI_NO_NODE);
    assert_int_equal(g->tensors[g->output].last_use, g->node_count);
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct srpi_node *n = &g->nodes[i];
        assert_int_equal(n->output, i + 1);
        assert_int_equal(g->tensors[i + 1].producer, i);
        assert_null(n->weight);
        for (uint32_t k = 0; k < n->input_count; k++) {
            assert_true(n->inputs[k] <= i); /* written by an earlier node, or the input */
            assert_true(g->tensors[n->inputs[k]].last_use >= i);
        }
    }
}

static void reads_every_operator_and_attribute(void **state)
{
    (void)state;
    struct srpi_graph g = {0};
    check_read(&g, full_graph);
    check_invariants(&g);
    assert_string_equal(g.name, "every-op");
    assert_int_equal(g.scale, 4);
    assert_int_equal(g.colour, SRP_COLOUR_Y);
    assert_int_equal(g.channels, 1);
    assert_true(g.mean == 0.5f);
    assert_int_equal(g.node_count, 16);
    assert_int_equal(g.parameter_count, 3316);
    assert_int_equal(g.macs_per_pixel, 3704);
    assert_int_equal(g.halo, 5);
    assert_string_equal(g.tensors[g.output].name, "y");
    /* "out" stands first and needs everything: it has moved to the end. */
    assert_string_equal(g.nodes[15].name, "out");
    assert_int_equal(g.output, 16);

    const struct srpi_node *n = find_node(&g, "head");
    assert_int_equal(n->op, SRPI_OP_CONV2D);
    assert_int_equal(n->activation, SRPI_ACT_PRELU);
    assert_int_equal(n->kernel_height, 3);
    assert_int_equal(g.tensors[n->output].channels, 8);
    assert_int_equal(srpi_node_weight_count(&g, n), 72);
    n = find_node(&g, "low");
    assert_int_equal(n->activation, SRPI_ACT_LEAKY_RELU);
    assert_true(n->alpha == 0.25f);
    n = find_node(&g, "cat");
    assert_int_equal(n->op, SRPI_OP_CONCAT);
    assert_int_equal(n->input_count, 2);
    assert_string_equal(g.tensors[n->inputs[0]].name, "h");
    assert_string_equal(g.tensors[n->inputs[1]].name, "l");
    assert_int_equal(g.tensors[n->output].channels, 12);
    n = find_node(&g, "mid");
    assert_int_equal(n->activation, SRPI_ACT_CLIP);
    assert_true(n->min == -1.0f && n->max == 1.5f);
    assert_int_equal(n->kernel_height, 3);
    assert_int_equal(n->kernel_width, 5);
    n = find_node(&g, "sum");
    assert_int_equal(n->op, SRPI_OP_ADD);
    assert_int_equal(n->activation, SRPI_ACT_RELU);
    assert_int_equal(find_node(&g, "body")->activation, SRPI_ACT_TANH);
    n = find_node(&g, "shuffle");
    assert_int_equal(n->op, SRPI_OP_DEPTH_TO_SPACE);
    assert_int_equal(n->block, 2);
    assert_int_equal(n->order, SRPI_ORDER_CRD);
    assert_int_equal(g.tensors[n->output].channels, 2);
    assert_int_equal(g.tensors[n->output].factor, 2);
    n = find_node(&g, "soft");
    assert_int_equal(n->op, SRPI_OP_RESIZE);
    assert_int_equal(n->mode, SRPI_RESIZE_BILINEAR);
    assert_int_equal(n->scale, 2);
    assert_int_equal(find_node(&g, "hard")->mode, SRPI_RESIZE_NEAREST);
    n = find_node(&g, "post");
    assert_int_equal(n->activation, SRPI_ACT_SIGMOID);
    assert_int_equal(g.tensors[n->output].factor, 2);
    n = find_node(&g, "last");
    assert_int_equal(n->order, SRPI_ORDER_DCR);
    assert_int_equal(g.tensors[n->output].channels, 1);
    assert_int_equal(g.tensors[n->output].factor, 4);
    n = find_node(&g, "base");
    assert_int_equal(n->mode, SRPI_RESIZE_BICUBIC);
    assert_int_equal(n->scale, 4);
    assert_int_equal(g.tensors[0].last_use, n->output - 1);
    n = find_node(&g, "part");
    assert_int_equal(n->op, SRPI_OP_SLICE);
    assert_int_equal(n->first, 1);
    assert_int_equal(g.tensors[n->output].channels, 1);
    assert_int_equal(g.tensors[n->output].factor, 2);
    n = find_node(&g, "gate");
    assert_int_equal(n->op, SRPI_OP_MUL);
    assert_int_equal(n->input_count, 2);
    assert_int_equal(n->activation, SRPI_ACT_SIGMOID);
    assert_int_equal(g.tensors[n->output].factor, 2);
    srpi_graph_free(&g);
    assert_null(g.memory);
}

static void receptive_field_counts_input_pixels(void **state)
{
    (void)state;
    static const struct {
        const char *nodes;
        const char *scale;
        uint32_t halo;
    } cases[] = {
        {"{\"op\":\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"y\",\"scale\":2,"
         "\"mode\":\"nearest\"}", "2", 1},
        {"{\"op\":\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"y\",\"scale\":2,"
         "\"mode\":\"bicubic\"}", "2", 2},
        /* 1 + 5/4 after a factor of 4: 2.25 */
        {"{\"op\":\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"t\",\"scale\":4,"
         "\"mode\":\"bilinear\"},{\"op\":\"conv2d\",\"name\":\"c\",\"inputs\":[\"t\"],"
         "\"output\":\"y\",\"channels\":1,\"kernel\":[11,1]}", "4", 3},
        /* 3 * 1/3: exactly 1, not rounded up three times */
        {"{\"op\":\"conv2d\",\"name\":\"p\",\"inputs\":[\"x\"],\"output\":\"t0\",\"channels\":9,"
         "\"kernel\":[1,1]},{\"op\":\"depth_to_space\",\"name\":\"d\",\"inputs\":[\"t0\"],"
         "\"output\":\"t1\",\"block\":3},{\"op\":\"conv2d\",\"name\":\"c1\",\"inputs\":[\"t1\"],"
         "\"output\":\"t2\",\"channels\":1,\"kernel\":[3,3]},{\"op\":\"conv2d\",\"name\":\"c2\","
         "\"inputs\":[\"t2\"],\"output\":\"t3\",\"channels\":1,\"kernel\":[3,3]},{\"op\":\"conv2d\""
         ",\"name\":\"c3\",\"inputs\":[\"t3\"],\"output\":\"y\",\"channels\":1,\"kernel\":[3,3]}",
         "3", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[1200];
        struct srpi_graph g = {0};
        snprintf(text, sizeof(text),
                 "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"n\",\"scale\":%s,\"colour\":"
                 "\"y\",\"input\":\"x\",\"output\":\"y\",\"nodes\":[%s]}",
                 cases[i].scale, cases[i].nodes);
        check_read(&g, text);
        assert_int_equal(g.halo, cases[i].halo);
        assert_true(g.mean == 0.0f);
        srpi_graph_free(&g);
    }
}

struct bad {
    const char *from, *to; /* in full_graph; `from` stands there once */
    enum srp_err code;
    const char *needle;
};

static void check_bad(const struct bad *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct srp_error err = {0};
        struct srpi_graph g = {0};
        struct text t = text_replace(full_graph, cases[i].from, cases[i].to);
        check_failure(read_graph(&g, &t, &err), cases[i].code, &err, cases[i].needle, cases[i].to);
        assert_memory_equal(err.detail, "g.json: ", 8);
        assert_null(g.memory);
        assert_int_equal(read_graph(&g, &t, NULL), cases[i].code);
        text_free(&t);
    }
}
#define CHECK_BAD(cases) check_bad(cases, sizeof(cases) / sizeof((cases)[0]))

static void refuses_bad_headers(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"\"srp-graph\"", "\"onnx\"", SRP_ERR_FORMAT, "format: 'onnx' where"},
        {"\"format\": \"srp-graph\", ", "", SRP_ERR_FORMAT, "format: missing"},
        {"\"version\": 1,", "\"version\": 2,", SRP_ERR_UNSUPPORTED, "version: version 2"},
        {"\"version\": 1,", "\"version\": \"1\",", SRP_ERR_FORMAT, "version: a string"},
        {"\"version\": 1,", "", SRP_ERR_FORMAT, "version: missing"},
        {"\"every-op\"", "\"every op\"", SRP_ERR_FORMAT, "name: 'every op'"},
        {"\"every-op\"", "\"../x\"", SRP_ERR_FORMAT, "name: '../x'"},
        {"\"every-op\"", "\"\"", SRP_ERR_FORMAT, "name: empty"},
        {"\"every-op\"", "\"" H64("n") "n\"", SRP_ERR_LIMIT, "name: string of 65"},
        {"\"scale\": 4, \"colour\"", "\"scale\": 5, \"colour\"", SRP_ERR_LIMIT, "scale: 5"},
        {"\"scale\": 4, \"colour\"", "\"scale\": 0, \"colour\"", SRP_ERR_FORMAT, "scale: 0"},
        {"\"scale\": 4, \"colour\"", "\"scale\": -4, \"colour\"", SRP_ERR_FORMAT,
         "scale: negative"},
        {"\"scale\": 4, \"colour\"", "\"scale\": 4.0, \"colour\"", SRP_ERR_FORMAT,
         "scale: a real number"},
        {"\"scale\": 4, \"colour\"", "\"colour\"", SRP_ERR_FORMAT, "scale: missing"},
        {"\"colour\": \"y\"", "\"colour\": \"cmyk\"", SRP_ERR_FORMAT, "colour: 'cmyk'"},
        {"\"colour\": \"y\", ", "", SRP_ERR_FORMAT, "colour: missing"},
        {"\"mean\": 0.5", "\"mean\": 1.01", SRP_ERR_LIMIT, "mean: 1.01"},
        {"\"mean\": 0.5", "\"mean\": -0.5", SRP_ERR_FORMAT, "mean: -0.5"},
        {"\"mean\": 0.5", "\"mean\": \"0.5\"", SRP_ERR_FORMAT, "mean: a string"},
        {"\"mean\": 0.5", "\"mean\": null", SRP_ERR_FORMAT, "mean: null"},
        {"\"mean\": 0.5", "\"mean\": 0.5, \"mean\": 0.5", SRP_ERR_PARSE, "line 2"},
        {"\"input\": \"x\", ", "", SRP_ERR_FORMAT, "input: missing"},
        {"\"input\": \"x\", ", "\"input\": 3, ", SRP_ERR_FORMAT, "input: an integer"},
        {"\"output\": \"y\",\n", "", SRP_ERR_FORMAT, "output: missing"},
        {"\"output\": \"y\",\n", "\"output\": \"y/\",\n", SRP_ERR_FORMAT, "output: 'y/'"},
        {"\"nodes\"", "\"knots\"", SRP_ERR_FORMAT, "nodes: missing"},
        {" ]}\n", " ]}\n]", SRP_ERR_PARSE, "line"},
        {" ]}\n", " ]", SRP_ERR_PARSE, "line"},
    };
    CHECK_BAD(cases);
}

static void refuses_bad_nodes(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"\"op\": \"conv2d\", \"name\": \"mid\"", "\"op\": \"conv3d\", \"name\": \"mid\"",
         SRP_ERR_UNSUPPORTED, "nodes[4].op: unknown operator 'conv3d'"},
        {"\"op\": \"conv2d\", \"name\": \"mid\"", "\"op\": \"\\u001b[2J\", \"name\": \"mid\"",
         SRP_ERR_UNSUPPORTED, "unknown operator '\\x1b[2J'"},
        {"\"op\": \"conv2d\", \"name\": \"mid\"", "\"name\": \"mid\"", SRP_ERR_FORMAT,
         "nodes[4].op: missing"},
        {"\"op\": \"conv2d\", \"name\": \"mid\"", "\"op\": 1, \"name\": \"mid\"", SRP_ERR_FORMAT,
         "nodes[4].op: an integer"},
        {"\"name\": \"mid\", ", "\"name\": \"mid\", \"stride\": 2, ", SRP_ERR_UNSUPPORTED,
         "nodes[4]: conv2d has no 'stride'"},
        {"\"name\": \"mid\", ", "\"name\": \"mid\", \"\\u001b\": 2, ", SRP_ERR_UNSUPPORTED,
         "conv2d has no '\\x1b'"},
        {"\"output\": \"c\"}", "\"output\": \"c\", \"activation\": \"relu\"}", SRP_ERR_UNSUPPORTED,
         "concat has no 'activation'"},
        {"\"name\": \"mid\", ", "", SRP_ERR_FORMAT, "nodes[4].name: missing"},
        {"\"name\": \"mid\"", "\"name\": \"mi-d\"", SRP_ERR_FORMAT, "nodes[4].name: 'mi-d'"},
        {"\"name\": \"mid\"", "\"name\": \"low\"", SRP_ERR_FORMAT, "'low' is used twice"},
        {"\"inputs\": [\"c\"], ", "", SRP_ERR_FORMAT, "nodes[4].inputs: missing"},
        {"\"inputs\": [\"c\"]", "\"inputs\": \"c\"", SRP_ERR_FORMAT, "nodes[4].inputs: a string"},
        {"\"inputs\": [\"c\"]", "\"inputs\": []", SRP_ERR_FORMAT, "nodes[4].inputs: 0 items"},
        {"\"inputs\": [\"c\"]", "\"inputs\": [\"c\", \"h\"]", SRP_ERR_FORMAT,
         "nodes[4].inputs: 2 items"},
        {"\"inputs\": [\"c\"]", "\"inputs\": [7]", SRP_ERR_FORMAT, "nodes[4].inputs[0]: an int"},
        {"\"inputs\": [\"m\", \"c\"]", "\"inputs\": [\"m\"]", SRP_ERR_FORMAT,
         "nodes[5].inputs: 1 items, fewer"},
        {"\"inputs\": [\"h\", \"l\"]", "\"inputs\": [\"h\"]", SRP_ERR_FORMAT,
         "nodes[3].inputs: 1 items, fewer"},
        {"\"output\": \"m\", ", "\"output\": \"m m\", ", SRP_ERR_FORMAT, "nodes[4].output: 'm m'"},
        {"\"output\": \"m\", ", "", SRP_ERR_FORMAT, "nodes[4].output: missing"},
        {"\"channels\": 12", "\"channels\": 0", SRP_ERR_FORMAT, "nodes[4].channels: 0"},
        {"\"channels\": 12", "\"channels\": -1", SRP_ERR_FORMAT, "nodes[4].channels: negative"},
        {"\"channels\": 12", "\"channels\": 513", SRP_ERR_LIMIT, "nodes[4].channels: 513"},
        {"\"channels\": 12", "\"channels\": 4294967308", SRP_ERR_LIMIT, "nodes[4].channels: 4294"},
        {"\"channels\": 12, ", "", SRP_ERR_FORMAT, "nodes[4].channels: missing"},
        {"\"kernel\": [3, 5], ", "", SRP_ERR_FORMAT, "nodes[4].kernel: missing"},
        {"[3, 5]", "3", SRP_ERR_FORMAT, "nodes[4].kernel: an integer"},
        {"[3, 5]", "[3]", SRP_ERR_FORMAT, "nodes[4].kernel: 1 items"},
        {"[3, 5]", "[3, 5, 1]", SRP_ERR_FORMAT, "nodes[4].kernel: 3 items"},
        {"[3, 5]", "[3, 4]", SRP_ERR_FORMAT, "nodes[4].kernel[1]: 4 is even"},
        {"[3, 5]", "[0, 5]", SRP_ERR_FORMAT, "nodes[4].kernel[0]: 0"},
        {"[3, 5]", "[3, 13]", SRP_ERR_LIMIT, "nodes[4].kernel[1]: 13"},
        {"[3, 5]", "[-3, 5]", SRP_ERR_FORMAT, "nodes[4].kernel[0]: negative"},
        {"\"clip\"", "\"swish\"", SRP_ERR_FORMAT, "nodes[4].activation: 'swish'"},
        {"\"clip\"", "7", SRP_ERR_FORMAT, "nodes[4].activation: an integer"},
        {", \"min\": -1", "", SRP_ERR_FORMAT, "nodes[4].min: missing"},
        {", \"max\": 1.5", "", SRP_ERR_FORMAT, "nodes[4].max: missing"},
        {"\"min\": -1", "\"min\": 2", SRP_ERR_FORMAT, "nodes[4]: clip from 2 down to 1.5"},
        {"\"max\": 1.5", "\"max\": 1e30", SRP_ERR_LIMIT, "nodes[4].max: 1e+30"},
        {"\"min\": -1", "\"min\": -1e30", SRP_ERR_FORMAT, "nodes[4].min: -1e+30"},
        {"\"max\": 1.5", "\"max\": true", SRP_ERR_FORMAT, "nodes[4].max: a truth value"},
        {", \"alpha\": 0.25", "", SRP_ERR_FORMAT, "nodes[2].alpha: missing"},
        {"\"alpha\": 0.25", "\"alpha\": 1e7", SRP_ERR_LIMIT, "nodes[2].alpha"},
        {"\"alpha\": 0.25", "\"alpha\": 1e400", SRP_ERR_PARSE, "line"},
        {"\"activation\": \"relu\"}", "\"activation\": \"prelu\"}", SRP_ERR_FORMAT,
         "nodes[5].activation: prelu is for conv2d"},
        {"\"block\": 2}", "\"block\": 5}", SRP_ERR_LIMIT, "nodes[7].block: 5"},
        {"\"block\": 2}", "\"block\": 0}", SRP_ERR_FORMAT, "nodes[7].block: 0"},
        {", \"block\": 2}", "}", SRP_ERR_FORMAT, "nodes[7].block: missing"},
        {"\"dcr\"", "\"rcd\"", SRP_ERR_FORMAT, "nodes[12].order: 'rcd'"},
        {"\"mode\": \"bicubic\"", "\"mode\": \"lanczos\"", SRP_ERR_FORMAT, "nodes[13].mode"},
        {", \"mode\": \"bicubic\"", "", SRP_ERR_FORMAT, "nodes[13].mode: missing"},
        {"\"scale\": 4, \"mode\"", "\"scale\": 5, \"mode\"", SRP_ERR_LIMIT, "nodes[13].scale: 5"},
        {"\"scale\": 4, \"mode\"", "\"mode\"", SRP_ERR_FORMAT, "nodes[13].scale: missing"},
        {"\"first\": 1, ", "", SRP_ERR_FORMAT, "nodes[14].first: missing"},
        {"\"first\": 1,", "\"first\": -1,", SRP_ERR_FORMAT, "nodes[14].first: negative"},
        {"\"first\": 1,", "\"first\": 512,", SRP_ERR_LIMIT, "nodes[14].first: 512"},
        {"\"channels\": 1}", "\"channels\": 0}", SRP_ERR_FORMAT, "nodes[14].channels: 0"},
        {"\"channels\": 1}", "\"channels\": 513}", SRP_ERR_LIMIT, "nodes[14].channels: 513"},
        {", \"channels\": 1}", "}", SRP_ERR_FORMAT, "nodes[14].channels: missing"},
        {"\"inputs\": [\"d\"]", "\"inputs\": [\"d\", \"d\"]", SRP_ERR_FORMAT,
         "nodes[14].inputs: 2 items"},
        {"\"inputs\": [\"v\", \"n2\"]", "\"inputs\": [\"v\"]", SRP_ERR_FORMAT,
         "nodes[15].inputs: 1 items, fewer"},
        {"\"sigmoid\"}\n", "\"prelu\"}\n", SRP_ERR_FORMAT,
         "nodes[15].activation: prelu is for conv2d"},
    };
    CHECK_BAD(cases);
}

static void refuses_impossible_graphs(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"\"inputs\": [\"c\"]", "\"inputs\": [\"nix\"]", SRP_ERR_GRAPH,
         "node 'mid': nobody writes its input 'nix'"},
        {"\"output\": \"m\", ", "\"output\": \"l\", ", SRP_ERR_GRAPH,
         "node 'mid': tensor 'l' is written twice"},
        {"\"output\": \"m\", ", "\"output\": \"x\", ", SRP_ERR_GRAPH,
         "node 'mid': tensor 'x' is written twice"},
        {"\"output\": \"y\",\n", "\"output\": \"z\",\n", SRP_ERR_GRAPH,
         "no node writes the output 'z'"},
        {"\"output\": \"y\",\n", "\"output\": \"x\",\n", SRP_ERR_GRAPH,
         "no node writes the output 'x'"},
        {"\"output\": \"y\",\n", "\"output\": \"q\",\n", SRP_ERR_GRAPH, "nobody reads tensor 'y'"},
        {"\"inputs\": [\"c\"]", "\"inputs\": [\"s\"]", SRP_ERR_GRAPH, "hangs on a cycle"},
        {"\"inputs\": [\"c\"]", "\"inputs\": [\"m\"]", SRP_ERR_GRAPH, "hangs on a cycle"},
        {"\"inputs\": [\"c\"]", "\"inputs\": [\"y\"]", SRP_ERR_GRAPH, "hangs on a cycle"},
        {"\"inputs\": [\"q\", \"b\"]", "\"inputs\": [\"q\", \"q\"]", SRP_ERR_GRAPH,
         "nobody reads tensor 'b'"},
        {"\"inputs\": [\"q\", \"b\"]", "\"inputs\": [\"q\", \"x\"]", SRP_ERR_GRAPH,
         "node 'out': 'q' is 4 times the input's size, 'x' is 1 times"},
        {"\"inputs\": [\"m\", \"c\"]", "\"inputs\": [\"m\", \"h\"]", SRP_ERR_GRAPH,
         "node 'sum': 'm' has 12 channels, 'h' has 8"},
        {"\"inputs\": [\"h\", \"l\"]", "\"inputs\": [\"h\", \"l\", \"b2\"]", SRP_ERR_GRAPH,
         "node 'cat': 'h' is 1 times the input's size, 'b2' is 2 times"},
        {"\"channels\": 8, \"kernel\": [3, 3], \"activation\": \"tanh\"",
         "\"channels\": 9, \"kernel\": [3, 3]", SRP_ERR_GRAPH,
         "node 'shuffle': 9 channels do not divide into blocks of 2 x 2"},
        {"\"scale\": 2, \"mode\": \"nearest\"", "\"scale\": 3, \"mode\": \"nearest\"",
         SRP_ERR_GRAPH, "node 'gate': 'v' is 2 times the input's size, 'n2' is 3 times"},
        {"\"first\": 1,", "\"first\": 2,", SRP_ERR_GRAPH,
         "node 'part': channels 2..2 of 'd', which has 2"},
        {"\"first\": 1, \"channels\": 1", "\"first\": 511, \"channels\": 512", SRP_ERR_GRAPH,
         "node 'part': channels 511..1022 of 'd', which has 2"},
        {"\"inputs\": [\"v\", \"n2\"]", "\"inputs\": [\"v\", \"n2\", \"d\"]", SRP_ERR_GRAPH,
         "node 'gate': 'v' has 1 channels, 'd' has 2"},
        {"\"scale\": 4, \"colour\"", "\"scale\": 3, \"colour\"", SRP_ERR_GRAPH,
         "enlarges to 4 times the input's size in a graph of scale 3"},
        {"\"channels\": 4, \"kernel\": [3, 3]", "\"channels\": 8, \"kernel\": [3, 3]",
         SRP_ERR_GRAPH, "node 'out': 'q' has 2 channels, 'b' has 1"},
        {"{\"op\": \"add\", \"name\": \"out\", \"inputs\": [\"q\", \"b\"]",
         "{\"op\": \"concat\", \"name\": \"out\", \"inputs\": [\"q\", \"b\"]", SRP_ERR_GRAPH,
         "output 'y' has 2 channels, the input has 1"},
        {" \"nodes\": [\n", " \"nodes\": [{\"op\": \"conv2d\", \"name\": \"idle\", \"inputs\": "
         "[\"x\"], \"output\": \"i\", \"channels\": 1, \"kernel\": [1, 1]},\n", SRP_ERR_GRAPH,
         "nobody reads tensor 'i'"},
    };
    CHECK_BAD(cases);

    struct srp_error err = {0};
    struct srpi_graph g = {0};
    struct text t = text_replace(small_graph, "\"scale\": 2", "\"scale\": 4");
    check_failure(read_graph(&g, &t, &err), SRP_ERR_GRAPH, &err,
                  "output 'y' is 2 times the input's size, scale is 4", "scale");
    text_free(&t);
    t = text_replace(small_graph, "\"inputs\": [\"x\"]", "\"inputs\": [\"t\"]");
    check_failure(read_graph(&g, &t, &err), SRP_ERR_GRAPH, &err, "node 'a' hangs on a cycle", "");
    text_free(&t);
}

/* A graph of `nodes`, y, scale 1. */
static void check_generated(const char *nodes, enum srp_err code, const char *needle)
{
    size_t size = strlen(nodes) + 200;
    char *text = malloc(size);
    struct srp_error err = {0};
    struct srpi_graph g = {0};

    assert_non_null(text);
    snprintf(text, size,
             "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"n\",\"scale\":1,\"colour\":\"y\","
             "\"input\":\"x\",\"output\":\"y\",\"nodes\":[%s]}",
             nodes);
    struct text t = text_copy(text, strlen(text));
    enum srp_err rc = read_graph(&g, &t, &err);
    if (code == SRP_OK) {
        assert_int_equal(rc, SRP_OK);
        check_invariants(&g);
        srpi_graph_free(&g);
    } else {
        check_failure(rc, code, &err, needle, needle);
    }
    text_free(&t);
    free(text);
}

/* A chain of convolutions x -> t1 -> ... -> y; `backwards`: the last node stands first. */
static char *chain(unsigned count, unsigned channels, unsigned kernel, bool backwards)
{
    const size_t room = (size_t)count * 160 + 1;
    char *text = malloc(room);
    size_t used = 0;
    assert_non_null(text);
    for (unsigned k = 0; k < count; k++) {
        unsigned i = backwards ? count - 1 - k : k;
        char in[16] = "x";
        char out[16] = "y";
        if (i > 0) {
            snprintf(in, sizeof(in), "t%u", i);
        }
        if (i + 1 < count) {
            snprintf(out, sizeof(out), "t%u", i + 1);
        }
        used += (size_t)snprintf(text + used, room - used,
                                 "%s{\"op\":\"conv2d\",\"name\":\"c%u\",\"inputs\":[\"%s\"],"
                                 "\"output\":\"%s\",\"channels\":%u,\"kernel\":[%u,%u]}",
                                 k > 0 ? "," : "", i, in, out, i + 1 < count ? channels : 1, kernel,
                                 kernel);
    }
    return text;
}

/* Three paths: one that only enlarges, two that share a layer. 3 x 3 x 4 x 1 + 4 weights and biases
 * in the head, 148 in each tail. */
static const char routed_graph[] =
    "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"n\",\"scale\":2,\"colour\":\"y\","
    "\"input\":\"x\",\"output\":\"y\",\"nodes\":["
    "{\"op\":\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"p0\",\"scale\":2,"
    "\"mode\":\"bicubic\"},"
    "{\"op\":\"conv2d\",\"name\":\"h\",\"inputs\":[\"x\"],\"output\":\"c\",\"channels\":4,"
    "\"kernel\":[3,3]},"
    "{\"op\":\"conv2d\",\"name\":\"a\",\"inputs\":[\"c\"],\"output\":\"d\",\"channels\":4,"
    "\"kernel\":[3,3]},"
    "{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"d\"],\"output\":\"p1\",\"block\":2},"
    "{\"op\":\"conv2d\",\"name\":\"b\",\"inputs\":[\"d\"],\"output\":\"e\",\"channels\":4,"
    "\"kernel\":[3,3]},"
    "{\"op\":\"depth_to_space\",\"name\":\"u\",\"inputs\":[\"e\"],\"output\":\"p2\",\"block\":2},"
    "{\"op\":\"route\",\"name\":\"way\",\"inputs\":[\"p0\",\"p1\",\"p2\"],\"output\":\"y\","
    "\"default\":1}]}";

static void paths_are_graphs(void **state)
{
    (void)state;
    struct srpi_graph g = {0};
    struct srp_error err = {0};
    check_read(&g, routed_graph);
    const struct srpi_node *route = srpi_graph_route(&g);
    assert_non_null(route);
    assert_int_equal(route->input_count, 3);
    assert_int_equal(route->default_path, 1);
    static const uint32_t nodes[] = {1, 3, 4}, macs[] = {0, 36 + 144, 36 + 144 + 144},
                          halo[] = {2, 2, 3};
    for (uint32_t p = 0; p < 3; p++) {
        struct srpi_graph path = {0};
        assert_int_equal(srpi_graph_path(&path, &g, p, &err), SRP_OK);
        check_invariants(&path);
        assert_int_equal(path.node_count, nodes[p]);
        assert_int_equal(path.macs_per_pixel, macs[p]);
        assert_int_equal(path.halo, halo[p]);
        assert_null(srpi_graph_route(&path));
        assert_string_equal(path.tensors[path.output].name, p == 0   ? "p0"
                                                            : p == 1 ? "p1"
                                                                     : "p2");
        srpi_graph_free(&path);
    }
    srpi_graph_free(&g);
}

static void refuses_bad_routes(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"[\"p0\",\"p1\",\"p2\"]", "[\"p2\"]", SRP_ERR_FORMAT, "nodes[6].inputs: 1 items, fewer"},
        {"[\"p0\",\"p1\",\"p2\"]", "[\"p0\",\"p1\",\"p2\",\"p2\",\"p2\",\"p2\",\"p2\",\"p2\",\"p2\"]",
         SRP_ERR_LIMIT, "nodes[6].inputs: 9 items"},
        {"[\"p0\",\"p1\",\"p2\"]", "[\"p0\",\"p1\",\"p2\",\"p1\"]", SRP_ERR_GRAPH,
         "node 'way': 'p1' is two of its paths"},
        {"[\"p0\",\"p1\",\"p2\"]", "[\"x\",\"p1\",\"p2\"]", SRP_ERR_GRAPH, "node 'way'"},
        {"[\"p0\",\"p1\",\"p2\"]", "[\"d\",\"p0\",\"p1\",\"p2\"]", SRP_ERR_GRAPH, "node 'way'"},
        {"\"default\":1", "\"default\":3", SRP_ERR_GRAPH, "node 'way': no path 3"},
        {"\"default\":1", "\"default\":8", SRP_ERR_LIMIT, "nodes[6].default: 8"},
        {",\"default\":1", "", SRP_ERR_FORMAT, "nodes[6].default: missing"},
        {"\"output\":\"y\",\"default\":1}",
         "\"output\":\"z\",\"default\":1},{\"op\":\"conv2d\",\"name\":\"last\",\"inputs\":[\"z\"],"
         "\"output\":\"y\",\"channels\":1,\"kernel\":[1,1]}",
         SRP_ERR_GRAPH, "node 'way': a route makes the graph's output"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srp_error err = {0};
        struct srpi_graph g = {0};
        struct text t = text_replace(routed_graph, cases[i].from, cases[i].to);
        check_failure(read_graph(&g, &t, &err), cases[i].code, &err, cases[i].needle, cases[i].to);
        assert_null(g.memory);
        text_free(&t);
    }
}

static void holds_the_limits(void **state)
{
    (void)state;
    static const struct {
        unsigned count, channels, kernel;
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {SRP_MAX_NODES, 1, 1, SRP_OK, NULL},
        {SRP_MAX_NODES + 1, 1, 1, SRP_ERR_LIMIT, "nodes: 513 items, more than 512"},
        {102, 1, 11, SRP_OK, NULL}, /* radius 510 */
        {103, 1, 11, SRP_ERR_LIMIT, "node 'c102': receptive field radius above 512 pixels"},
        {20, 512, 1, SRP_ERR_LIMIT, "node 'c16': more than 4194304 multiply-accumulates per pixel"},
        {3, 512, 11, SRP_ERR_LIMIT, "node 'c1': more than 16777216 parameters"},
        {2, 512, 11, SRP_OK, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int backwards = 0; backwards < 2; backwards++) {
            char *text = chain(cases[i].count, cases[i].channels, cases[i].kernel, backwards);
            check_generated(text, cases[i].code, cases[i].needle);
            free(text);
        }
    }
    check_generated("", SRP_ERR_FORMAT, "nodes: 0 items");

    /* concat of 64 inputs, of 65, and of too many channels */
    for (unsigned count = 64; count <= 65; count++) {
        char text[2000] = "{\"op\":\"concat\",\"name\":\"k\",\"output\":\"t\",\"inputs\":[\"x\"";
        for (unsigned i = 1; i < count; i++) {
            strcat(text, ",\"x\"");
        }
        strcat(text, "]},{\"op\":\"conv2d\",\"name\":\"c\",\"inputs\":[\"t\"],\"output\":\"y\","
                     "\"channels\":1,\"kernel\":[1,1]}");
        check_generated(text, count == 64 ? SRP_OK : SRP_ERR_LIMIT, "inputs: 65 items");
    }
    check_generated("{\"op\":\"conv2d\",\"name\":\"c\",\"inputs\":[\"x\"],\"output\":\"t\","
                    "\"channels\":257,\"kernel\":[1,1]},"
                    "{\"op\":\"concat\",\"name\":\"k\",\"inputs\":[\"t\",\"t\"],\"output\":\"u\"},"
                    "{\"op\":\"conv2d\",\"name\":\"e\",\"inputs\":[\"u\"],\"output\":\"y\","
                    "\"channels\":1,\"kernel\":[1,1]}",
                    SRP_ERR_LIMIT, "node 'k': 514 channels");
}

static void factor_counts_in_cost(void **state)
{
    (void)state;
    static const char format[] =
        "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"n\",\"scale\":4,\"colour\":\"y\","
        "\"input\":\"x\",\"output\":\"y\",\"nodes\":["
        "{\"op\":\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"t\",\"scale\":4,"
        "\"mode\":\"nearest\"},"
        "{\"op\":\"conv2d\",\"name\":\"c\",\"inputs\":[\"t\"],\"output\":\"u\",\"channels\":%u,"
        "\"kernel\":[11,11]},"
        "{\"op\":\"conv2d\",\"name\":\"e\",\"inputs\":[\"u\"],\"output\":\"y\",\"channels\":1,"
        "\"kernel\":[11,11]}]}";
    char text[sizeof(format) + 8];
    struct srp_error err = {0};
    struct srpi_graph g = {0};

    snprintf(text, sizeof(text), format, 8u);
    check_read(&g, text);
    assert_int_equal(g.macs_per_pixel, 2 * 8 * 121 * 16);
    srpi_graph_free(&g);
    /* 512 * 121 * 16 = 991232 for each of the two: allowed. Thrice as deep would not be. */
    snprintf(text, sizeof(text), format, 512u);
    check_read(&g, text);
    assert_int_equal(g.macs_per_pixel, 2 * 512 * 121 * 16);
    srpi_graph_free(&g);
    struct text t = text_replace(text, "\"channels\":1,", "\"channels\":5,");
    check_failure(read_graph(&g, &t, &err), SRP_ERR_LIMIT, &err,
                  "node 'e': more than 4194304 multiply-accumulates", "factor");
    text_free(&t);
}

/* ---- models ---- */

static void binds_parameters_in_order(void **state)
{
    (void)state;
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    struct text p = graph_parameters(full_graph);
    struct srp_model_params params = {
        .graph = {full_graph, strlen(full_graph), "g.json"},
        .parameters = text_blob(&p, "p.safetensors"),
    };
    if (srp_model_create(&model, &params, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    text_free(&p); /* nothing points into it any more */
    const struct srpi_graph *g = srpi_model_graph(model);
    const struct srpi_node *n = find_node(g, "head");
    assert_true(n->weight[0] == 0.0f && n->weight[71] == 71.0f / 64);
    assert_true(n->bias[0] == 72.0f / 64 && n->slope[7] == 87.0f / 64);
    n = find_node(g, "low");
    assert_true(n->weight[0] == 88.0f / 64 && n->bias[3] == 123.0f / 64);
    assert_null(n->slope);
    n = find_node(g, "post");
    assert_true(n->bias[3] == 3315.0f / 64);
    assert_null(find_node(g, "sum")->weight);
    assert_null(find_node(g, "base")->bias);
    assert_int_equal((uintptr_t)model->parameters % 64, 0);

    struct srp_model_info info;
    srp_model_get_info(model, &info);
    assert_string_equal(info.name, "every-op");
    assert_int_equal(info.scale, 4);
    assert_int_equal(info.colour, SRP_COLOUR_Y);
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.parameter_count, 3316);
    assert_int_equal(info.macs_per_pixel, 3704);
    assert_int_equal(info.halo, 5);
    assert_int_equal(info.node_count, 16);

    struct srp_model *second = srp_model_ref(model);
    assert_ptr_equal(second, model);
    srp_model_unref(&model);
    assert_null(model);
    assert_true(find_node(srpi_model_graph(second), "low")->weight[0] == 88.0f / 64);
    srp_model_unref(&second);
    srp_model_unref(&second);
    srp_model_unref(NULL);
    assert_null(srp_model_ref(NULL));
}

static void refuses_parameters_of_another_graph(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to; /* in small_header */
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {"\"a.bias\"", "\"a.bios\"", SRP_ERR_PARAMS, "p: tensor 'a.bias' is missing"},
        {"\"a.weight\"", "\"weight\"", SRP_ERR_PARAMS, "p: tensor 'a.weight' is missing"},
        {"\"a.slope\"", "\"a.slap\"", SRP_ERR_PARAMS, "p: tensor 'a.slope' is missing"},
        {"[4,1,3,3]", "[4,3,3,1]", SRP_ERR_PARAMS,
         "tensor 'a.weight': shape [4,3,3,1] where graph 'small-x2' wants [4,1,3,3]"},
        {"[4,1,3,3]", "[36]", SRP_ERR_PARAMS, "tensor 'a.weight': shape [36]"},
        {"\"a.bias\":{\"dtype\":\"F32\",\"shape\":[4]",
         "\"a.bias\":{\"dtype\":\"F32\",\"shape\":[2,2]", SRP_ERR_PARAMS,
         "tensor 'a.bias': shape [2,2]"},
        {"\"a.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}",
         "\"a.bias\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},"
         "\"extra\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[8,16]}", SRP_ERR_PARAMS,
         "p: graph 'small-x2' has no use for tensor 'extra'"},
    };
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    struct srp_model_params params = {.graph = {small_graph, strlen(small_graph), "g"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct text header = text_replace(small_header, cases[i].from, cases[i].to);
        header.data[header.size] = '\0';
        struct text t = make_safetensors((const char *)header.data, NULL, SMALL_DATA);
        params.parameters = text_blob(&t, "p");
        check_failure(srp_model_create(&model, &params, &err), cases[i].code, &err,
                      cases[i].needle, cases[i].to);
        assert_null(model);
        text_free(&t);
        text_free(&header);
    }

    /* a slope where no prelu is */
    struct text graph = text_replace(small_graph, "prelu", "relu");
    struct text t = small_parameters();
    params.graph = text_blob(&graph, "g");
    params.parameters = text_blob(&t, "p");
    check_failure(srp_model_create(&model, &params, &err), SRP_ERR_PARAMS, &err,
                  "no use for tensor 'a.slope'", "slope");
    /* NaN and infinity, each element in turn */
    params.graph = (struct srp_blob){small_graph, strlen(small_graph), "g"};
    for (size_t i = t.size - SMALL_DATA; i < t.size; i += 4) {
        t.data[i + 3] = 0x7f;
        check_failure(srp_model_create(&model, &params, &err), SRP_ERR_NONFINITE, &err,
                      "is infinite", "infinity");
        t.data[i] = 1;
        check_failure(srp_model_create(&model, &params, &err), SRP_ERR_NONFINITE, &err, "is NaN",
                      "NaN");
        assert_null(model);
        t.data[i] = 0;
        t.data[i + 3] = 0x3f;
    }
    assert_int_equal(srp_model_create(&model, &params, &err), SRP_OK);
    srp_model_unref(&model);
    text_free(&t);
    text_free(&graph);

    check_failure(srp_model_create(NULL, &params, &err), SRP_ERR_USAGE, &err, "NULL", "out");
    check_failure(srp_model_create(&model, NULL, &err), SRP_ERR_USAGE, &err, "NULL", "params");
    check_failure(srp_model_create_random(&model, NULL, 1, &err), SRP_ERR_USAGE, &err, "NULL", "");
    check_failure(srp_model_create(&model, &(struct srp_model_params){0}, &err), SRP_ERR_PARSE,
                  &err, "graph: empty", "zeroed params");
}

/* small_graph with a second convolution, so that two tensors may have a range. */
static const char ranged_graph[] =
    "{\"format\": \"srp-graph\", \"version\": 1, \"name\": \"ranged\", \"scale\": 1,"
    " \"colour\": \"y\", \"input\": \"x\", \"output\": \"y\", \"nodes\": ["
    "{\"op\": \"conv2d\", \"name\": \"a\", \"inputs\": [\"x\"], \"output\": \"t\","
    " \"channels\": 1, \"kernel\": [1, 1]},"
    "{\"op\": \"conv2d\", \"name\": \"b\", \"inputs\": [\"t\"], \"output\": \"u\","
    " \"channels\": 1, \"kernel\": [1, 1]},"
    "{\"op\": \"conv2d\", \"name\": \"c\", \"inputs\": [\"u\"], \"output\": \"y\","
    " \"channels\": 1, \"kernel\": [1, 1]}]}";
static const char ranged_header[] =
    "{\"a.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[4,8]},"
    "\"b.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]},"
    "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[12,16]},"
    "\"c.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]},"
    "\"c.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[20,24]},"
    "\"t.range\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]},"
    "\"u.range\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[32,40]}}";

static enum srp_err load_ranged(struct srp_model **model, const char *from, const char *to,
                                const float *ranges, struct srp_error *err)
{
    float data[10] = {0};
    memcpy(data + 6, ranges, 4 * sizeof(float));
    struct text header = text_replace(ranged_header, from, to);
    header.data[header.size] = '\0';
    struct text t = make_safetensors((const char *)header.data, data, sizeof(data));
    struct srp_model_params params = {.graph = {ranged_graph, strlen(ranged_graph), "g"},
                                      .parameters = text_blob(&t, "p")};
    enum srp_err rc = srp_model_create(model, &params, err);
    text_free(&t);
    text_free(&header);
    return rc;
}

static void reads_and_refuses_ranges(void **state)
{
    (void)state;
    static const float good[4] = {-0.5f, 2.0f, 0.0f, 1.0f};
    static const struct {
        const char *from, *to; /* in ranged_header */
        enum srp_err code;
        const char *needle;
    } headers[] = {
        {"t.range", "y.range", SRP_ERR_PARAMS, "p: tensor 't.range' is missing where others have"},
        {"u.range", "w.range", SRP_ERR_PARAMS, "p: tensor 'u.range' is missing where others have"},
        {"t.range\":{\"dtype\":\"F32\",\"shape\":[2]", "t.range\":{\"dtype\":\"F32\",\"shape\":[2,1]",
         SRP_ERR_PARAMS, "p: tensor 't.range': shape [2,1] where a range is [2] floats"},
        {"\"t.range\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]},"
         "\"u.range\":{\"dtype\":\"F32\",\"shape\":[2],",
         "\"x.range\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]},"
         "\"y.range\":{\"dtype\":\"F32\",\"shape\":[2],", SRP_ERR_PARAMS,
         "graph 'ranged' has no use for tensor 'x.range'"},
    };
    static const struct {
        float ranges[4];
        enum srp_err code;
        const char *needle;
    } values[] = {
        {{0.5f, 2.0f, 0.0f, 1.0f}, SRP_ERR_FORMAT, "p: tensor 't.range': 0.5 to 2 is no range"},
        {{-2.0f, -1.0f, 0.0f, 1.0f}, SRP_ERR_FORMAT, "'t.range': -2 to -1 is no range"},
        {{-1.0f, 1.0f, 0.0f, 0.0f}, SRP_ERR_FORMAT, "'u.range': 0 to 0 is no range"},
        {{-1.0f, 1.0f, 1.0f, -1.0f}, SRP_ERR_FORMAT, "'u.range': 1 to -1 is no range"},
        {{-1.0f, 1.0f, NAN, 1.0f}, SRP_ERR_NONFINITE, "'u.range': element 0 is NaN"},
        {{-1.0f, INFINITY, 0.0f, 1.0f}, SRP_ERR_NONFINITE, "'t.range': element 1 is infinite"},
    };
    struct srp_model *model = NULL;
    struct srp_error err = {0};

    assert_int_equal(load_ranged(&model, "t.range", "t.range", good, &err), SRP_OK);
    const struct srpi_graph *g = srpi_model_graph(model);
    for (uint32_t t = 0; t < 4; t++) {
        const bool stated = t == 1 || t == 2;
        assert_true(g->ranges[t].low == (stated ? good[2 * t - 2] : 0.0f));
        assert_true(g->ranges[t].high == (stated ? good[2 * t - 1] : 0.0f));
        assert_false(g->ranges[t].fine);
    }
    assert_int_equal(g->parameter_count, 6);
    srp_model_unref(&model);
    assert_int_equal(load_ranged(&model, "t.range", "t.range16", good, &err), SRP_OK);
    assert_true(srpi_model_graph(model)->ranges[1].fine);
    assert_true(srpi_model_graph(model)->ranges[1].high == good[1]);
    assert_false(srpi_model_graph(model)->ranges[2].fine);
    srp_model_unref(&model);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        check_failure(load_ranged(&model, headers[i].from, headers[i].to, good, &err),
                      headers[i].code, &err, headers[i].needle, headers[i].to);
        assert_null(model);
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        check_failure(load_ranged(&model, "t.range", "t.range", values[i].ranges, &err),
                      values[i].code, &err, values[i].needle, values[i].needle);
        assert_null(model);
    }
}

static void random_models_depend_on_the_seed_alone(void **state)
{
    (void)state;
    struct srp_blob blob = {full_graph, strlen(full_graph), "g"};
    struct srp_model *m[3] = {NULL, NULL, NULL};
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(srp_model_create_random(&m[i], &blob, 7 + i / 2, NULL), SRP_OK);
    }
    size_t bytes = (size_t)m[0]->graph.parameter_count * sizeof(float);
    assert_memory_equal(m[0]->parameters, m[1]->parameters, bytes);
    assert_memory_not_equal(m[0]->parameters, m[2]->parameters, bytes);
    const struct srpi_node *n = find_node(srpi_model_graph(m[0]), "mid");
    double sum = 0;
    double squares = 0;
    const uint32_t count = 12 * 12 * 15;
    for (uint32_t i = 0; i < count; i++) {
        sum += (double)n->weight[i];
        squares += (double)n->weight[i] * (double)n->weight[i];
    }
    /* variance 1 / fan-in = 1/180 */
    assert_true(sum / count > -0.01 && sum / count < 0.01);
    assert_true(squares / count > 0.9 / 180 && squares / count < 1.1 / 180);
    const struct srpi_node *head = find_node(srpi_model_graph(m[0]), "head");
    assert_non_null(head->slope);
    for (int i = 0; i < 3; i++) {
        srp_model_unref(&m[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_operator_and_attribute),
        cmocka_unit_test(receptive_field_counts_input_pixels),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_nodes),
        cmocka_unit_test(refuses_impossible_graphs),
        cmocka_unit_test(paths_are_graphs),
        cmocka_unit_test(refuses_bad_routes),
        cmocka_unit_test(holds_the_limits),
        cmocka_unit_test(factor_counts_in_cost),
        cmocka_unit_test(binds_parameters_in_order),
        cmocka_unit_test(refuses_parameters_of_another_graph),
        cmocka_unit_test(reads_and_refuses_ranges),
        cmocka_unit_test(random_models_depend_on_the_seed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
