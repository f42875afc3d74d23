/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/program.h"

#include <stdlib.h>
#include <string.h>

#include "model/error.h"

/* ---- the tail -------------------------------------------------------------------------------- */

static uint32_t reader_count(const struct srpi_graph *graph, uint32_t tensor)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++) {
            count += graph->nodes[n].inputs[i] == tensor ? 1 : 0;
        }
    }
    return count;
}

/* The node that writes `tensor` if it is a pixel shuffle in our order straight from the input's
 * size. */
static const struct srpi_node *final_shuffle(const struct srpi_graph *graph, uint32_t tensor)
{
    const uint32_t producer = graph->tensors[tensor].producer;
    if (producer == SRPI_NO_NODE) {
        return NULL;
    }
    const struct srpi_node *node = &graph->nodes[producer];
    return node->op == SRPI_OP_DEPTH_TO_SPACE && node->order == SRPI_ORDER_CRD &&
                   node->block == graph->scale && node->inputs[0] != graph->input &&
                   graph->tensors[node->inputs[0]].factor == 1
               ? node
               : NULL;
}

void srpi_tail_find(struct srpi_tail *tail, const struct srpi_graph *graph)
{
    memset(tail, 0, sizeof(*tail));
    tail->tensor = graph->output;
    const struct srpi_node *last = &graph->nodes[graph->tensors[graph->output].producer];
    if (graph->colour == SRP_COLOUR_YUV420 || reader_count(graph, graph->output) != 0) {
        return; /* the six planes do not lie as the picture's rows do */
    }
    const struct srpi_node *shuffle = final_shuffle(graph, graph->output);
    if (shuffle != NULL) {
        tail->fused = true;
        tail->tensor = shuffle->inputs[0];
        return;
    }
    if (last->op != SRPI_OP_ADD || last->input_count != 2 || last->activation != SRPI_ACT_NONE) {
        return;
    }
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t base = last->inputs[1 - i];
        const uint32_t producer = graph->tensors[base].producer;
        shuffle = final_shuffle(graph, last->inputs[i]);
        if (shuffle == NULL || producer == SRPI_NO_NODE) {
            continue;
        }
        const struct srpi_node *resize = &graph->nodes[producer];
        if (resize->op == SRPI_OP_RESIZE && resize->inputs[0] == graph->input &&
            resize->scale == graph->scale && reader_count(graph, base) == 1 &&
            reader_count(graph, last->inputs[i]) == 1) {
            tail->fused = true;
            tail->tensor = shuffle->inputs[0];
            tail->has_base = true;
            tail->mode = resize->mode;
            return;
        }
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

uint32_t srpi_step_reads(const struct srpi_step *step)
{
    return step->node->input_count + (step->residual != SRPI_NO_TENSOR ? 1 : 0);
}

uint32_t srpi_step_read(const struct srpi_step *step, uint32_t i)
{
    return i < step->node->input_count ? step->node->inputs[i] : step->residual;
}

const struct srpi_node *srpi_step_last(const struct srpi_step *step)
{
    return step->sum != NULL ? step->sum : step->node;
}

/* Which activations the row kernels apply in front of a sum, and behind it. */
static bool fits_before(enum srpi_activation activation)
{
    return activation == SRPI_ACT_NONE || activation == SRPI_ACT_RELU ||
           activation == SRPI_ACT_LEAKY_RELU || activation == SRPI_ACT_PRELU;
}

static bool fits_after(enum srpi_activation activation)
{
    return activation == SRPI_ACT_NONE || activation == SRPI_ACT_RELU ||
           activation == SRPI_ACT_CLIP;
}

/* The convolution that may take over the sum `add`: written for it alone, the last of its operands
 * to be ready. SRPI_NO_NODE: none. */
static uint32_t taker(const struct srpi_program *program, uint32_t wanted, uint32_t add)
{
    const struct srpi_graph *graph = program->graph;
    const struct srpi_node *sum = &graph->nodes[add];
    if (sum->op != SRPI_OP_ADD || sum->input_count != 2 || !fits_after(sum->activation) ||
        sum->inputs[0] == sum->inputs[1]) {
        return SRPI_NO_NODE;
    }
    uint32_t best = SRPI_NO_NODE;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t tensor = sum->inputs[i];
        const uint32_t producer = graph->tensors[tensor].producer;
        if (producer == SRPI_NO_NODE || tensor == wanted || program->readings[tensor] != 1 ||
            graph->nodes[producer].op != SRPI_OP_CONV2D ||
            !fits_before(graph->nodes[producer].activation)) {
            continue;
        }
        if (best == SRPI_NO_NODE || producer > best) {
            best = producer;
        }
    }
    return best;
}

static void find_used(struct srpi_program *program)
{
    const struct srpi_graph *graph = program->graph;
    program->used[program->wanted] = true;
    for (uint32_t n = graph->node_count; n-- > 0;) {
        const struct srpi_node *node = &graph->nodes[n];
        for (uint32_t i = 0; program->used[node->output] && i < node->input_count; i++) {
            program->used[node->inputs[i]] = true;
            program->readings[node->inputs[i]]++;
        }
    }
    program->used[graph->input] = true; /* the caller writes it, whoever reads it */
}

/* taken[n]: the sum that node n took over, or SRPI_NO_NODE; fused[n]: node n is such a sum. */
static void emit(struct srpi_program *program, const uint32_t *taken, const bool *fused)
{
    const struct srpi_graph *graph = program->graph;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct srpi_node *node = &graph->nodes[n];
        if (!program->used[node->output] || taken[n] != SRPI_NO_NODE) {
            continue; /* a convolution with a sum runs where the sum stood: all is ready there */
        }
        struct srpi_step step = {.node = node, .residual = SRPI_NO_TENSOR, .output = node->output};
        for (uint32_t k = 0; fused[n] && k < graph->node_count; k++) {
            if (taken[k] == n) {
                step.sum = node;
                step.node = &graph->nodes[k];
                step.residual = node->inputs[0] == step.node->output ? node->inputs[1]
                                                                     : node->inputs[0];
                program->used[step.node->output] = false;
            }
        }
        program->writer[step.output] = program->step_count;
        program->steps[program->step_count++] = step;
    }
}

enum srp_err srpi_program_create(struct srpi_program *program, const struct srpi_graph *graph,
                                 uint32_t wanted, bool fuse, struct srp_error *err)
{
    const size_t nodes = graph->node_count, tensors = graph->tensor_count;
    memset(program, 0, sizeof(*program));
    /* At most SRP_MAX_NODES of everything: no overflow. */
    char *memory = calloc(1, nodes * (sizeof(struct srpi_step) + sizeof(uint32_t) + sizeof(bool)) +
                                 tensors * (2 * sizeof(uint32_t) + sizeof(bool)));
    if (memory == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the plan of '%s'", graph->name);
    }
    program->memory = memory;
    program->graph = graph;
    program->wanted = wanted;
    program->steps = (struct srpi_step *)(void *)memory;
    program->writer = (uint32_t *)(void *)(program->steps + nodes);
    program->readings = program->writer + tensors;
    uint32_t *taken = program->readings + tensors;
    program->used = (bool *)(void *)(taken + nodes);
    bool *fused = program->used + tensors;
    find_used(program);
    for (uint32_t n = 0; n < graph->node_count; n++) {
        taken[n] = SRPI_NO_NODE;
    }
    for (uint32_t n = 0; fuse && n < graph->node_count; n++) {
        const uint32_t conv = program->used[graph->nodes[n].output]
                                  ? taker(program, wanted, n)
                                  : SRPI_NO_NODE;
        if (conv != SRPI_NO_NODE) {
            taken[conv] = n;
            fused[n] = true;
        }
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        program->writer[t] = SRPI_NO_NODE;
    }
    emit(program, taken, fused);
    return SRP_OK;
}

void srpi_program_destroy(struct srpi_program *program)
{
    free(program->memory);
    memset(program, 0, sizeof(*program));
}
