/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"

#define MEBIBYTE 1048576.0

static const char *const activation_name[] = {"",     "relu", "leaky_relu", "prelu",
                                              "clip", "tanh", "sigmoid"};
static const char *const colour_name[] = {"", "y", "rgb", "yuv420"};
static const char *const mode_name[] = {"nearest", "bilinear", "bicubic"};
static const char *const dtype_name[] = {"f32", "bf16", "int8"};

static const struct srpi_graph *graph_of(const struct srpi_report *r)
{
    return r->program->graph;
}

/* First and last step that touch tensor t; the picture's writer comes after the last. */
static void life_of(const struct srpi_report *r, uint32_t t, uint32_t *begin, uint32_t *end)
{
    const struct srpi_program *p = r->program;
    *begin = p->writer[t] == SRPI_NO_NODE ? 0 : p->writer[t];
    *end = *begin;
    for (uint32_t s = 0; s < p->step_count; s++) {
        for (uint32_t i = 0; i < srpi_step_reads(&p->steps[s]); i++) {
            *end = srpi_step_read(&p->steps[s], i) == t ? s : *end;
        }
    }
    if (t == p->wanted || (t == graph_of(r)->input && r->sink_reads_input)) {
        *end = p->step_count;
    }
}

/* Multiply-accumulates for each pixel of the network's input. */
static uint64_t macs_of(const struct srpi_report *r, const struct srpi_step *step)
{
    const uint64_t factor = graph_of(r)->tensors[step->output].factor;
    return srpi_node_weight_count(graph_of(r), step->node) * factor * factor;
}

/* The step that a node is part of; step_count: the picture's writer. */
static uint32_t step_of(const struct srpi_report *r, const struct srpi_node *node)
{
    uint32_t s = 0;
    while (s < r->program->step_count && r->program->steps[s].node != node &&
           r->program->steps[s].sum != node) {
        s++;
    }
    return s;
}

/* "conv2d 3x3 prelu", "resize x2 bicubic". */
static char *node_text(char *buffer, size_t size, const struct srpi_node *node)
{
    char attribute[48] = "";
    if (node->op == SRPI_OP_CONV2D) {
        snprintf(attribute, sizeof(attribute), " %" PRIu32 "x%" PRIu32, node->kernel_height,
                 node->kernel_width);
    } else if (node->op == SRPI_OP_RESIZE) {
        snprintf(attribute, sizeof(attribute), " x%" PRIu32 " %s", node->scale,
                 mode_name[node->mode]);
    } else if (node->op == SRPI_OP_DEPTH_TO_SPACE) {
        snprintf(attribute, sizeof(attribute), " x%" PRIu32, node->block);
    } else if (node->op == SRPI_OP_SLICE) {
        snprintf(attribute, sizeof(attribute), " from %" PRIu32, node->first);
    }
    snprintf(buffer, size, "%s%s%s%s", srpi_shape_rule_of(node->op)->name, attribute,
             node->activation != SRPI_ACT_NONE ? " " : "", activation_name[node->activation]);
    return buffer;
}

static char *step_text(char *buffer, size_t size, const struct srpi_step *step)
{
    char node[96], sum[96] = "";
    node_text(node, sizeof(node), step->node);
    if (step->sum != NULL) {
        node_text(sum, sizeof(sum), step->sum);
    }
    snprintf(buffer, size, "%s%s%s", node, step->sum != NULL ? " + " : "", sum);
    return buffer;
}

static char *shape_text(char *buffer, const struct srpi_report *r, uint32_t t)
{
    return srpi_shape_text(buffer, SRPI_SHAPE_TEXT, &r->shapes->tensors[t]);
}

/* Rows and pixels of a tensor for this picture. */
static void size_of(const struct srpi_report *r, uint32_t t, uint64_t *height, uint64_t *width)
{
    const uint32_t half = graph_of(r)->colour == SRP_COLOUR_YUV420 ? 2 : 1;
    const uint32_t symbols[SRPI_SYMBOL_COUNT] = {0, (r->height + half - 1) / half,
                                                 (r->width + half - 1) / half, 1};
    *height = 0;
    *width = 0;
    srpi_dim_value(r->shapes->tensors[t].dim[SRPI_AXIS_H], symbols, height);
    srpi_dim_value(r->shapes->tensors[t].dim[SRPI_AXIS_W], symbols, width);
}

static uint64_t total_macs(const struct srpi_report *r)
{
    uint64_t macs = 0;
    for (uint32_t s = 0; s < r->program->step_count; s++) {
        macs += macs_of(r, &r->program->steps[s]);
    }
    return macs;
}

/* ---- text ------------------------------------------------------------------------------------ */

static int longest(int a, const char *text)
{
    const int length = (int)strlen(text); /* names and texts are short */
    return length > a ? length : a;
}

static void text_steps(FILE *out, const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    char text[224], shape[SRPI_SHAPE_TEXT];
    int step_width = 4, name_width = 6;
    for (uint32_t s = 0; s < r->program->step_count; s++) {
        const struct srpi_step *step = &r->program->steps[s];
        step_width = longest(step_width, step_text(text, sizeof(text), step));
        snprintf(text, sizeof(text), "%s%s%s", step->node->name, step->sum != NULL ? " + " : "",
                 step->sum != NULL ? step->sum->name : "");
        name_width = longest(name_width, text);
    }
    fprintf(out, "\nsteps\n");
    for (uint32_t s = 0; s < r->program->step_count; s++) {
        const struct srpi_step *step = &r->program->steps[s];
        fprintf(out, "%4" PRIu32 "  %-*s", s, step_width, step_text(text, sizeof(text), step));
        snprintf(text, sizeof(text), "%s%s%s", step->node->name, step->sum != NULL ? " + " : "",
                 step->sum != NULL ? step->sum->name : "");
        fprintf(out, "  %-*s ", name_width, text);
        for (uint32_t i = 0; i < step->node->input_count; i++) {
            fprintf(out, "%s%s", i == 0 ? " " : ", ", g->tensors[step->node->inputs[i]].name);
        }
        if (step->residual != SRPI_NO_TENSOR) {
            fprintf(out, " + %s", g->tensors[step->residual].name);
        }
        fprintf(out, " -> %s  %s %s", g->tensors[step->output].name,
                shape_text(shape, r, step->output), dtype_name[r->dtype[step->output]]);
        if (macs_of(r, step) != 0) {
            fprintf(out, "  %" PRIu64 " MAC", macs_of(r, step));
        }
        fprintf(out, "%s%s\n", r->kernel[s][0] != '\0' ? "  " : "", r->kernel[s]);
    }
    fprintf(out, "the picture's writer");
    for (uint32_t n = 0; n < g->node_count; n++) {
        if (step_of(r, &g->nodes[n]) == r->program->step_count) {
            fprintf(out, ", %s (%s)", g->nodes[n].name,
                    node_text(text, sizeof(text), &g->nodes[n]));
        }
    }
    fprintf(out, ": reads %s%s%s\n", g->tensors[r->program->wanted].name,
            r->sink_reads_input ? ", " : "",
            r->sink_reads_input ? g->tensors[g->input].name : "");
}

static void text_memory(FILE *out, const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    const struct srpi_stream_plan *plan = r->plan;
    int name_width = 6;
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        name_width = plan->tensors[t].used ? longest(name_width, g->tensors[t].name) : name_width;
    }
    fprintf(out,
            "\npicture %" PRIu32 " x %" PRIu32 ": blocks of %" PRIu32 " rows, %" PRIu32
            " strip%s at once, pieces of at most %" PRIu32 " columns\n"
            "%-*s  %-18s dtype   lag  skew  halo  ring  row bytes      offset"
            "       bytes  steps\n",
            r->width, r->height, plan->block, plan->workers, plan->workers == 1 ? "" : "s",
            plan->span, name_width, "tensor", "size");
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        const struct srpi_stream_tensor *tensor = &plan->tensors[t];
        char size[64];
        uint64_t height = 0, width = 0;
        uint32_t begin = 0, end = 0;
        if (!tensor->used) {
            continue;
        }
        size_of(r, t, &height, &width);
        life_of(r, t, &begin, &end);
        snprintf(size, sizeof(size), "%" PRIu64 " x %" PRIu64 " x %" PRIu32, height, width,
                 tensor->channels);
        fprintf(out,
                "%-*s  %-18s %-5s %5" PRIu32 " %5" PRIu32 " %5" PRIu32 " %5" PRIu32
                "  %9zu %s%10zu  %10zu  ",
                name_width, g->tensors[t].name, size, dtype_name[tensor->dtype], tensor->lag,
                tensor->skew, srpi_most_side(&tensor->halo), tensor->ring, tensor->pitch,
                tensor->local ? "+" : " ", tensor->offset, tensor->ring * tensor->pitch);
        if (end == r->program->step_count) {
            fprintf(out, "%" PRIu32 "..writer\n", begin);
        } else {
            fprintf(out, "%" PRIu32 "..%" PRIu32 "\n", begin, end);
        }
    }
    fprintf(out,
            "arena         %10.3f MiB: %" PRIu32 " x (%zu bytes of rings + %zu of work memory), "
            "%" PRIu32 " seams of %zu bytes, padding\n"
            "lower bound   %10.3f MiB: the rings' pixels alone\n",
            (double)plan->arena_bytes / MEBIBYTE, plan->workers, plan->ring_bytes,
            plan->scratch_size, plan->seams, plan->seam_size, (double)r->bound / MEBIBYTE);
    if (r->whole == NULL) {
        fprintf(out, "whole tensors above the limit of %.0f MiB\n", SRP_MAX_ARENA_BYTES / MEBIBYTE);
    } else {
        fprintf(out,
                "whole tensors %10.3f MiB in the best order and placement found (lower bound %.3f "
                "MiB%s)\n",
                (double)r->whole->arena_bytes / MEBIBYTE,
                (double)r->whole->lower_bound / MEBIBYTE,
                r->whole->exact_peak ? "" : ", which no order is known to reach");
    }
    fprintf(out, "a picture     %10.3f million MAC\n",
            (double)total_macs(r) * r->width * r->height /
                (g->colour == SRP_COLOUR_YUV420 ? 4e6 : 1e6));
}

static void write_text(FILE *out, const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    fprintf(out,
            "model        %s: scale %" PRIu32 ", %s, %" PRIu64 " MAC per pixel of the input\n"
            "run with     %s, %s, %" PRIu32 " thread%s\n"
            "symbols      H x W: rows and columns of the network's input\n",
            g->name, g->scale, colour_name[g->colour], g->macs_per_pixel, r->dtype_name, r->isa,
            r->threads, r->threads == 1 ? "" : "s");
    text_steps(out, r);
    if (r->width != 0) {
        text_memory(out, r);
    }
}

/* ---- graphviz -------------------------------------------------------------------------------- */

/* Names hold no quotes and no backslashes (docs/format.md). */
static void dot_cluster(FILE *out, const struct srpi_report *r, uint32_t step)
{
    const struct srpi_graph *g = graph_of(r);
    const bool writer = step == r->program->step_count;
    char text[96];
    fprintf(out, "  subgraph cluster_%" PRIu32 " {\n    label=\"", step);
    if (writer) {
        fprintf(out, "picture's writer\";\n    store [label=\"convert, clip, store\"];\n");
    } else {
        fprintf(out, "%" PRIu32 "%s%s\";\n", step, r->kernel[step][0] != '\0' ? ": " : "",
                r->kernel[step]);
    }
    for (uint32_t n = 0; n < g->node_count; n++) {
        if (step_of(r, &g->nodes[n]) == step) {
            fprintf(out, "    n%" PRIu32 " [label=\"%s\\n%s\"];\n", n, g->nodes[n].name,
                    node_text(text, sizeof(text), &g->nodes[n]));
        }
    }
    fprintf(out, "  }\n");
}

static void dot_edge(FILE *out, const struct srpi_report *r, uint32_t t, const char *to, uint32_t n)
{
    const struct srpi_graph *g = graph_of(r);
    char shape[SRPI_SHAPE_TEXT], number[16] = "";
    if (t == g->input) {
        fprintf(out, "  input");
    } else {
        fprintf(out, "  n%" PRIu32, g->tensors[t].producer);
    }
    if (n != SRPI_NO_NODE) {
        snprintf(number, sizeof(number), "%" PRIu32, n);
    }
    fprintf(out, " -> %s%s [label=\"%s\"];\n", to, number, shape_text(shape, r, t));
}

static void write_dot(FILE *out, const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    char shape[SRPI_SHAPE_TEXT];
    fprintf(out,
            "digraph \"%s\" {\n  node [shape=box];\n  input [shape=ellipse, label=\"%s\\n%s\"];\n",
            g->name, g->tensors[g->input].name, shape_text(shape, r, g->input));
    for (uint32_t s = 0; s <= r->program->step_count; s++) {
        dot_cluster(out, r, s);
    }
    for (uint32_t n = 0; n < g->node_count; n++) {
        for (uint32_t i = 0; i < g->nodes[n].input_count; i++) {
            dot_edge(out, r, g->nodes[n].inputs[i], "n", n);
        }
    }
    dot_edge(out, r, g->output, "store", SRPI_NO_NODE);
    fprintf(out, "}\n");
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Sizes are below 2^53; a NULL anywhere makes the whole NULL. */
static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *json_steps(const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    json_t *list = json_array();
    for (uint32_t s = 0; s < r->program->step_count; s++) {
        const struct srpi_step *step = &r->program->steps[s];
        json_t *inputs = json_array(), *nodes = json_array();
        json_array_append_new(nodes, json_string(step->node->name));
        if (step->sum != NULL) {
            json_array_append_new(nodes, json_string(step->sum->name));
        }
        for (uint32_t i = 0; i < step->node->input_count; i++) {
            json_array_append_new(inputs, json_string(g->tensors[step->node->inputs[i]].name));
        }
        const struct srpi_shape_rule *rule = srpi_shape_rule_of(step->node->op);
        json_t *value = json_pack(
            "{s:s,s:s,s:o,s:o,s:o,s:s,s:s,s:o}", "op", rule->name, "class",
            srpi_shape_class_name(rule->shape_class), "nodes", nodes, "inputs", inputs, "residual",
            step->residual != SRPI_NO_TENSOR ? json_string(g->tensors[step->residual].name)
                                             : json_null(),
            "output", g->tensors[step->output].name, "kernel", r->kernel[s], "macs_per_pixel",
            number(macs_of(r, step)));
        if (value == NULL || json_array_append_new(list, value) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *json_memory(const struct srpi_report *r, uint32_t t)
{
    const struct srpi_stream_tensor *tensor = &r->plan->tensors[t];
    uint64_t height = 0, width = 0;
    uint32_t begin = 0, end = 0;
    size_of(r, t, &height, &width);
    life_of(r, t, &begin, &end);
    return json_pack("{s:[o,o,o],s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:o,s:[o,o]}", "size",
                     number(height), number(width), number(tensor->channels), "lag",
                     number(tensor->lag), "skew", number(tensor->skew), "halo",
                     number(srpi_most_side(&tensor->halo)),
                     "padding_pixels", number(tensor->pad), "ring_rows", number(tensor->ring),
                     "row_bytes", number(tensor->pitch), "local", tensor->local, "offset",
                     number(tensor->offset), "bytes", number(tensor->ring * tensor->pitch), "steps",
                     number(begin), number(end));
}

static json_t *json_tensors(const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    json_t *list = json_array();
    for (uint32_t t = 0; t < g->tensor_count; t++) {
        char text[SRPI_SHAPE_TEXT];
        if (!r->program->used[t]) {
            continue;
        }
        json_t *value = json_pack("{s:s,s:s,s:s}", "name", g->tensors[t].name, "shape",
                                  shape_text(text, r, t), "dtype", dtype_name[r->dtype[t]]);
        if (r->width != 0 && value != NULL) {
            json_t *memory = json_memory(r, t);
            if (json_object_update(value, memory) != 0) {
                json_decref(value);
                value = NULL;
            }
            json_decref(memory);
        }
        if (value == NULL || json_array_append_new(list, value) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *json_writer(const struct srpi_report *r)
{
    const struct srpi_graph *g = graph_of(r);
    json_t *nodes = json_array(), *reads = json_array();
    for (uint32_t n = 0; n < g->node_count; n++) {
        if (step_of(r, &g->nodes[n]) == r->program->step_count) {
            json_array_append_new(nodes, json_string(g->nodes[n].name));
        }
    }
    json_array_append_new(reads, json_string(g->tensors[r->program->wanted].name));
    if (r->sink_reads_input) {
        json_array_append_new(reads, json_string(g->tensors[g->input].name));
    }
    return json_pack("{s:o,s:o}", "nodes", nodes, "reads", reads);
}

static void write_json(FILE *out, const struct srpi_report *r, bool *failed)
{
    const struct srpi_graph *g = graph_of(r);
    const struct srpi_layout *whole = r->whole;
    json_t *root = json_pack("{s:s,s:s,s:o,s:s,s:o,s:s,s:s,s:o,s:o,s:o,s:o}", "kind", "plan",
                             "model", g->name, "scale", number(g->scale), "colour",
                             colour_name[g->colour], "macs_per_pixel", number(g->macs_per_pixel),
                             "dtype", r->dtype_name, "isa", r->isa, "threads", number(r->threads),
                             "steps", json_steps(r), "writer", json_writer(r), "tensors",
                             json_tensors(r));
    json_t *memory =
        r->width == 0
            ? json_object()
            : json_pack("{s:[o,o],s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "picture",
                        number(r->width), number(r->height), "block_rows",
                        number(r->plan->block), "piece_columns", number(r->plan->span),
                        "arena_bytes",
                        number(r->plan->arena_bytes), "ring_bytes", number(r->plan->ring_bytes),
                        "work_bytes", number(r->plan->scratch_size), "seams",
                        number(r->plan->seams), "seam_bytes", number(r->plan->seam_size),
                        "lower_bound_bytes", number(r->bound), "whole_arena_bytes",
                        whole ? number(whole->arena_bytes) : json_null(),
                        "whole_lower_bound_bytes",
                        whole ? number(whole->lower_bound) : json_null(),
                        "whole_lower_bound_proved",
                        whole ? json_boolean(whole->exact_peak) : json_null());
    char *text = NULL;
    if (root != NULL && json_object_update(root, memory) == 0) {
        text = json_dumps(root, JSON_INDENT(1));
    }
    *failed = text == NULL || fprintf(out, "%s\n", text) < 0;
    free(text);
    json_decref(memory);
    json_decref(root);
}

/* ---- the whole ------------------------------------------------------------------------------- */

enum srp_err srpi_report_write(char **text, const struct srpi_report *report,
                               enum srp_plan_format format, struct srp_error *err)
{
    char *memory = NULL;
    size_t size = 0;
    bool failed = false;
    FILE *out = open_memstream(&memory, &size);
    if (out != NULL) {
        if (format == SRP_PLAN_JSON) {
            write_json(out, report, &failed);
        } else if (format == SRP_PLAN_DOT) {
            write_dot(out, report);
        } else {
            write_text(out, report);
        }
        failed = ferror(out) != 0 || failed;
        failed = fclose(out) != 0 || failed;
    }
    if (out == NULL || failed) {
        free(memory);
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the plan of '%s' in words",
                         graph_of(report)->name);
    }
    *text = memory;
    return SRP_OK;
}
