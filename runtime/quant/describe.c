/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks at each convolution as the dearest path that has it runs it, and tells. */
#include <srp/quant.h>

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "model/model.h"
#include "quant/work.h"

/* A layer is flagged above this share of weights lost, or below so many dB of its columns. */
#define MOST_LOST 0.10
#define LEAST_COLUMNS 25.0

struct layer {
    const struct srpi_node *node; /* of the model's graph; of a path once it was looked at */
    bool seen;
    uint32_t in, out;          /* channels */
    bool one_scale;            /* all scales of the codes are equal */
    uint32_t in_bits, out_bits; /* 32: floats */
    double zero;               /* share of weights that are 0 as they are stored */
    double lost;               /* share of the others that a scale per channel rounds to 0 */
    double columns;            /* dB by a scale per channel, each input channel of equal weight */
    double sqnr;               /* dB of the weights that int8 computes with */
};

struct description {
    const struct srpi_graph *graph;
    uint64_t file_bytes, f16_bytes;
    struct layer layers[SRP_MAX_NODES];
    uint32_t count;
};

/* ---- the figures ----------------------------------------------------------------------------- */

static double decibel(double signal, double noise)
{
    return signal > 0.0 && noise > 0.0 ? 10.0 * log10(signal / noise)
           : noise > 0.0               ? -INFINITY
                                       : INFINITY; /* nothing is lost */
}

static bool is_flagged(const struct layer *layer)
{
    return layer->lost > MOST_LOST || layer->columns < LEAST_COLUMNS;
}

/* By a scale for each channel, whatever the parameters hold; `codes` has room for one channel. */
static void measure_channels(struct layer *layer, const struct srpi_node *node, double in_scale,
                             int16_t *codes)
{
    struct srpi_node plain = *node;
    double power[SRP_MAX_CHANNELS] = {0.0}, noise[SRP_MAX_CHANNELS] = {0.0};
    double signal = 0.0, error = 0.0, shares = 0.0;
    const size_t taps = (size_t)node->kernel_height * node->kernel_width;
    const size_t count = taps * layer->in;
    uint64_t there = 0, lost = 0, zeros = 0;
    uint32_t live = 0;
    plain.codes = NULL;
    for (uint32_t c = 0; c < layer->out; c++) {
        const double scale = srpi_quant_weights(&plain, c, count, in_scale, codes);
        for (size_t i = 0; i < count; i++) {
            const double w = (double)node->weight[c * count + i];
            const double e = (double)codes[i] * scale - w;
            there += w != 0.0;
            lost += w != 0.0 && codes[i] == 0;
            zeros += w == 0.0;
            power[i / taps] += w * w;
            noise[i / taps] += e * e;
        }
    }
    for (uint32_t i = 0; i < layer->in; i++) {
        signal += power[i];
        error += noise[i];
        live += power[i] > 0.0;
        shares += power[i] > 0.0 ? noise[i] / power[i] : 0.0;
    }
    layer->zero = (double)zeros / (double)(count * layer->out);
    layer->lost = there > 0 ? (double)lost / (double)there : 0.0;
    layer->columns = live > 0 ? decibel((double)live, shares) : INFINITY;
    layer->sqnr = decibel(signal, error);
}

/* Of codes: what they stand for is not there any more, so the error is that of a uniform step. */
static void measure_codes(struct layer *layer, const struct srpi_node *node)
{
    const size_t taps = (size_t)node->kernel_height * node->kernel_width;
    const size_t count = taps * layer->in, part = count / node->groups;
    double signal = 0.0, error = 0.0;
    uint64_t zeros = 0;
    layer->one_scale = true;
    for (size_t i = 0; i < count * layer->out; i++) {
        const double w = (double)node->weight[i];
        signal += w * w;
        zeros += node->codes[i] == 0;
    }
    for (size_t s = 0; s < (size_t)layer->out * node->groups; s++) {
        const double scale = (double)node->scales[s];
        error += (double)part * scale * scale / 12.0;
        layer->one_scale = layer->one_scale && node->scales[s] == node->scales[0];
    }
    layer->zero = (double)zeros / (double)(count * layer->out);
    layer->sqnr = decibel(signal, error);
}

static enum srp_err look_at(struct layer *layer, const struct srpi_quant *quant,
                            const struct srpi_step *step, struct srp_error *err)
{
    const struct srpi_node *node = step->node;
    const struct srpi_quant_tensor *in = &quant->tensors[node->inputs[0]];
    const struct srpi_quant_tensor *out = &quant->tensors[step->output];
    int16_t *codes = malloc(sizeof(int16_t) * layer->in * node->kernel_height * node->kernel_width);
    if (codes == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for node '%s'", node->name);
    }
    layer->seen = true;
    layer->out_bits = out->dtype != SRPI_Q8 ? 32 : out->fine ? 16 : 8;
    layer->in_bits = in->fine && out->dtype != SRPI_Q8 ? 16 : 8;
    measure_channels(layer, node, in->exact_scale, codes);
    if (node->codes != NULL) {
        measure_codes(layer, node);
    }
    free(codes);
    return SRP_OK;
}

/* ---- paths ----------------------------------------------------------------------------------- */

static struct layer *find_layer(struct description *d, const char *name)
{
    for (uint32_t i = 0; i < d->count; i++) {
        if (strcmp(d->layers[i].node->name, name) == 0) {
            return &d->layers[i];
        }
    }
    return NULL;
}

/* Layers that no dearer path had. */
static enum srp_err look_at_path(struct description *d, const struct srpi_graph *graph,
                                 struct srp_error *err)
{
    struct srpi_tail tail;
    struct srpi_program program = {0};
    struct srpi_quant quant = {0};
    srpi_tail_find(&tail, graph);
    enum srp_err rc = srpi_program_create(&program, graph, tail.tensor, true, err);
    if (rc == SRP_OK) {
        rc = srpi_quant_create(&quant, &program, err);
    }
    for (uint32_t s = 0; rc == SRP_OK && s < program.step_count; s++) {
        const struct srpi_step *step = &program.steps[s];
        struct layer *layer =
            step->node->op == SRPI_OP_CONV2D ? find_layer(d, step->node->name) : NULL;
        if (layer != NULL && !layer->seen) {
            rc = look_at(layer, &quant, step, err);
        }
    }
    srpi_quant_destroy(&quant);
    srpi_program_destroy(&program);
    return rc;
}

static bool has_convolution(const struct srpi_graph *graph)
{
    uint32_t i = 0;
    while (i < graph->node_count && graph->nodes[i].op != SRPI_OP_CONV2D) {
        i++;
    }
    return i < graph->node_count;
}

static enum srp_err look(struct description *d, const struct srp_model *model,
                         struct srp_error *err)
{
    enum srp_err rc = SRP_OK;
    d->graph = &model->graph;
    for (uint32_t i = 0; i < d->graph->node_count; i++) {
        const struct srpi_node *node = &d->graph->nodes[i];
        if (node->op == SRPI_OP_CONV2D) {
            d->layers[d->count++] =
                (struct layer){.node = node,
                               .in = d->graph->tensors[node->inputs[0]].channels,
                               .out = d->graph->tensors[node->output].channels};
        }
    }
    for (uint32_t p = model->path_count; rc == SRP_OK && p-- > 0;) {
        const struct srpi_graph *graph =
            model->paths != NULL ? &model->paths[p].graph : &model->graph;
        rc = has_convolution(graph) ? look_at_path(d, graph, err) : SRP_OK;
    }
    return rc;
}

/* ---- the same in f16 ------------------------------------------------------------------------- */

struct f16_array {
    char name[SRP_MAX_NAME + 16];
    char shape[64];
    uint64_t bytes;
};

/* The order in which safetensors' writer puts arrays of one dtype. */
static int by_array_name(const void *a, const void *b)
{
    const struct f16_array *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Writes the arrays of a convolution; how many they are. */
static uint32_t f16_arrays_of(const struct layer *layer, struct f16_array *arrays)
{
    const struct srpi_node *node = layer->node;
    const uint32_t count = node->activation == SRPI_ACT_PRELU ? 3 : 2;
    static const char *const parts[] = {"weight", "bias", "slope"};
    for (uint32_t i = 0; i < count; i++) {
        snprintf(arrays[i].name, sizeof(arrays[i].name), "%s.%s", node->name, parts[i]);
        snprintf(arrays[i].shape, sizeof(arrays[i].shape), "%" PRIu32, layer->out);
        arrays[i].bytes = 2 * (uint64_t)layer->out;
    }
    snprintf(arrays[0].shape, sizeof(arrays[0].shape),
             "%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32, layer->out, layer->in,
             node->kernel_height, node->kernel_width);
    arrays[0].bytes *= (uint64_t)layer->in * node->kernel_height * node->kernel_width;
    return count;
}

/* The size of the F16 safetensors file that srpack would write of these parameters: eight bytes of
 * length; the header, as JSON without spaces but for those that make it a multiple of eight; the
 * values. */
static enum srp_err measure_f16(struct description *d, struct srp_error *err)
{
    struct f16_array *arrays = calloc((size_t)3 * d->count + 1, sizeof(*arrays));
    uint64_t header = 2, data = 0; /* the braces */
    uint32_t count = 0;
    if (arrays == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a description");
    }
    for (uint32_t i = 0; i < d->count; i++) {
        count += f16_arrays_of(&d->layers[i], arrays + count);
    }
    qsort(arrays, count, sizeof(*arrays), by_array_name);
    for (uint32_t i = 0; i < count; i++) {
        const struct f16_array *a = &arrays[i];
        const int length = snprintf(NULL, 0,
                                    "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%s],"
                                    "\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                                    i > 0 ? "," : "", a->name, a->shape, data, data + a->bytes);
        header += length > 0 ? (uint64_t)length : 0;
        data += a->bytes;
    }
    d->f16_bytes = 8 + (header + 7) / 8 * 8 + data;
    free(arrays);
    return SRP_OK;
}

/* ---- in words -------------------------------------------------------------------------------- */

static const char *granularity_of(const struct layer *layer)
{
    return layer->node->groups > 1 ? "group" : layer->one_scale ? "tensor" : "channel";
}

static uint64_t layer_bytes(const struct description *d)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        bytes += d->layers[i].node->stored_bytes;
    }
    return bytes;
}

static uint32_t flagged_count(const struct description *d)
{
    uint32_t flagged = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        flagged += is_flagged(&d->layers[i]);
    }
    return flagged;
}

static char *decibel_text(char text[16], double value)
{
    if (isfinite(value)) {
        snprintf(text, 16, "%.1f", value);
    } else {
        strcpy(text, value > 0.0 ? "exact" : "none");
    }
    return text;
}

static void write_sums(FILE *out, const struct description *d)
{
    const uint64_t layers = layer_bytes(d), ranges = d->graph->stored_bytes - layers;
    fprintf(out, "bytes      %" PRIu64 " (layers %" PRIu64 ", ranges %" PRIu64 ")",
            d->graph->stored_bytes, layers, ranges);
    if (d->file_bytes != 0) {
        fprintf(out, "; as a file %" PRIu64 ", %.1f %% of %" PRIu64 " in f16", d->file_bytes,
                100.0 * (double)d->file_bytes / (double)d->f16_bytes, d->f16_bytes);
    }
    fprintf(out, "\nflagged    %" PRIu32 " of %" PRIu32
            " layers (more than %.0f %% lost, or columns below %.0f dB)\n",
            flagged_count(d), d->count, 100.0 * MOST_LOST, LEAST_COLUMNS);
}

static void write_text(FILE *out, const struct description *d)
{
    int width = 5;
    for (uint32_t i = 0; i < d->count; i++) {
        const int length = (int)strlen(d->layers[i].node->name);
        width = length > width ? length : width;
    }
    fprintf(out, "model      %s\n%-*s  kernel  channels    weights  scales     in  out    zero"
            "    lost  columns  SQNR dB           bytes\n",
            d->graph->name, width, "layer");
    for (uint32_t i = 0; i < d->count; i++) {
        const struct layer *l = &d->layers[i];
        const struct srpi_node *node = l->node;
        char kernel[16], channels[32], scales[32], columns[16], sqnr[16];
        snprintf(kernel, sizeof(kernel), "%" PRIu32 "x%" PRIu32, node->kernel_height,
                 node->kernel_width);
        snprintf(channels, sizeof(channels), "%" PRIu32 "->%" PRIu32, l->in, l->out);
        snprintf(scales, sizeof(scales), "%s", granularity_of(l));
        if (node->groups > 1) {
            snprintf(scales, sizeof(scales), "%" PRIu32 " of %" PRIu32, node->groups,
                     l->in / node->groups);
        }
        fprintf(out, "%-*s  %-6s  %-10s  %-7s  %-9s  %2" PRIu32 "  %3s  %5.1f %%  %5.1f %%",
                width, node->name, kernel, channels, node->stored, scales, l->in_bits,
                l->out_bits == 32 ? "f32" : l->out_bits == 16 ? "16" : "8", 100.0 * l->zero,
                100.0 * l->lost);
        fprintf(out, "  %7s  %5s %-9s  %7" PRIu32 "%s\n", decibel_text(columns, l->columns),
                decibel_text(sqnr, l->sqnr), node->codes != NULL ? "uniform" : "measured",
                node->stored_bytes, is_flagged(l) ? "  FLAGGED" : "");
    }
    write_sums(out, d);
}

/* JSON has no infinity. */
static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *layer_json(const struct layer *l)
{
    const struct srpi_node *node = l->node;
    const json_int_t width = node->groups > 1 ? l->in / node->groups : 0;
    return json_pack("{s:s,s:[I,I],s:I,s:I,s:s,s:s,s:o,s:I,s:I,s:f,s:f,s:o,s:o,s:s,s:I,s:b}",
                     "name", node->name, "kernel", (json_int_t)node->kernel_height,
                     (json_int_t)node->kernel_width, "in", (json_int_t)l->in, "out",
                     (json_int_t)l->out, "weights", node->stored, "granularity",
                     granularity_of(l), "group", width != 0 ? json_integer(width) : json_null(),
                     "in_bits", (json_int_t)l->in_bits, "out_bits", (json_int_t)l->out_bits,
                     "zero_fraction", l->zero, "lost_fraction", l->lost, "columns_db",
                     number_or_null(l->columns), "sqnr_db", number_or_null(l->sqnr), "sqnr_kind",
                     node->codes != NULL ? "uniform" : "measured", "bytes",
                     (json_int_t)node->stored_bytes, "flagged", is_flagged(l));
}

/* False: out of memory. */
static bool write_json(FILE *out, const struct description *d)
{
    json_t *layers = json_array();
    for (uint32_t i = 0; i < d->count; i++) {
        json_array_append_new(layers, layer_json(&d->layers[i])); /* NULL is refused */
    }
    const bool whole = json_array_size(layers) == d->count;
    json_t *root = json_pack(
        "{s:s,s:o,s:I,s:I,s:o,s:I,s:I}", "model", d->graph->name, "layers", layers, "bytes",
        (json_int_t)d->graph->stored_bytes, "range_bytes",
        (json_int_t)(d->graph->stored_bytes - layer_bytes(d)), "file_bytes",
        d->file_bytes != 0 ? json_integer((json_int_t)d->file_bytes) : json_null(), "f16_bytes",
        (json_int_t)d->f16_bytes, "flagged", (json_int_t)flagged_count(d));
    char *text = whole ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (text != NULL) {
        fprintf(out, "%s\n", text);
    }
    free(text);
    json_decref(root);
    return text != NULL;
}

enum srp_err srp_quant_describe(char **text, const struct srp_quant_params *params,
                                enum srp_quant_format format, struct srp_error *err)
{
    char *memory = NULL;
    size_t size = 0;
    if (text == NULL || params == NULL || params->model == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_quant_describe: NULL");
    }
    struct description *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a description");
    }
    d->file_bytes = params->file_bytes;
    enum srp_err rc = srpi_graph_check_bound(&params->model->graph, err);
    if (rc == SRP_OK) {
        rc = look(d, params->model, err);
    }
    if (rc == SRP_OK) {
        rc = measure_f16(d, err);
    }
    if (rc == SRP_OK) {
        bool written = false;
        FILE *out = open_memstream(&memory, &size);
        if (out != NULL) {
            written = true;
            if (format == SRP_QUANT_JSON) {
                written = write_json(out, d);
            } else {
                write_text(out, d);
            }
            written = ferror(out) == 0 && written;
            written = fclose(out) == 0 && written;
        }
        if (written) {
            *text = memory;
        } else {
            free(memory);
            rc = srpi_fail(err, SRP_ERR_NOMEM, "out of memory for '%s' in words", d->graph->name);
        }
    }
    free(d);
    return rc;
}

void srp_quant_free(char *text)
{
    free(text);
}
