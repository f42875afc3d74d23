/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/plan.h"

#include <stdlib.h>
#include <string.h>

#include "model/error.h"

/* An element-wise sum or product may overwrite an operand that nobody reads afterwards. */
static void share_sums(struct srpi_plan *plan)
{
    const struct srpi_graph *graph = plan->graph;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct srpi_node *node = &graph->nodes[n];
        if ((node->op != SRPI_OP_ADD && node->op != SRPI_OP_MUL) ||
            !plan->needed[node->output]) {
            continue;
        }
        for (uint32_t i = 0; i < node->input_count; i++) {
            const uint32_t root = plan->root[node->inputs[i]];
            uint32_t readings = 0; /* x + x + x must not overwrite x half way */
            for (uint32_t k = 0; k < node->input_count; k++) {
                readings += node->inputs[k] == node->inputs[i] ? 1 : 0;
            }
            if (plan->end[root] == n && !plan->kept[root] && readings == 1) {
                plan->root[node->output] = root;
                plan->end[root] = plan->end[node->output];
                plan->kept[root] = plan->kept[node->output];
                break;
            }
        }
    }
}

static void find_lives(struct srpi_plan *plan)
{
    const struct srpi_graph *graph = plan->graph;
    for (uint32_t n = graph->node_count; n-- > 0;) {
        const struct srpi_node *node = &graph->nodes[n];
        if (!plan->needed[node->output]) {
            continue;
        }
        for (uint32_t i = 0; i < node->input_count; i++) {
            const uint32_t tensor = node->inputs[i];
            if (!plan->needed[tensor]) {
                plan->needed[tensor] = true;
                plan->end[tensor] = n;
            } else if (plan->end[tensor] < n) {
                plan->end[tensor] = n;
            }
        }
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        plan->root[t] = t;
        plan->begin[t] = t == graph->input ? 0 : t - 1;
        if (plan->kept[t]) {
            plan->end[t] = graph->node_count;
        }
    }
}

enum srp_err srpi_plan_create(struct srpi_plan *plan, const struct srpi_graph *graph,
                              const uint32_t *wanted, uint32_t wanted_count,
                              struct srp_error *err)
{
    const size_t n = graph->tensor_count;
    memset(plan, 0, sizeof(*plan));
    /* At most 513 tensors: no overflow. */
    char *memory = calloc(n, 2 * sizeof(size_t) + 4 * sizeof(uint32_t) + 2 * sizeof(bool));
    if (memory == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the plan of '%s'", graph->name);
    }
    plan->memory = memory;
    plan->graph = graph;
    plan->size = (size_t *)(void *)memory;
    plan->offset = plan->size + n;
    plan->root = (uint32_t *)(void *)(plan->offset + n);
    plan->begin = plan->root + n;
    plan->end = plan->begin + n;
    plan->order = plan->end + n;
    plan->needed = (bool *)(void *)(plan->order + n);
    plan->kept = plan->needed + n;
    for (uint32_t i = 0; i < wanted_count; i++) {
        plan->needed[wanted[i]] = true;
        plan->kept[wanted[i]] = true;
    }
    plan->needed[graph->input] = true; /* the caller writes it, whoever reads it */
    find_lives(plan);
    share_sums(plan);
    return SRP_OK;
}

void srpi_plan_destroy(struct srpi_plan *plan)
{
    free(plan->memory);
    memset(plan, 0, sizeof(*plan));
}

/* Among the gaps between the placed tensors whose lives overlap: the smallest that fits, else
 * behind
 * the last. */
static size_t best_fit(const struct srpi_plan *plan, uint32_t tensor, uint32_t placed)
{
    size_t best = SRPI_NOT_PLACED, best_gap = SIZE_MAX, top = 0;
    /* order[0 .. placed) is sorted by offset. */
    for (uint32_t i = 0; i < placed; i++) {
        const uint32_t other = plan->order[i];
        if (plan->end[other] < plan->begin[tensor] || plan->begin[other] > plan->end[tensor]) {
            continue;
        }
        if (plan->offset[other] > top) {
            const size_t gap = plan->offset[other] - top;
            if (gap >= plan->size[tensor] && gap < best_gap) {
                best = top;
                best_gap = gap;
            }
        }
        const size_t behind = plan->offset[other] + plan->size[other];
        top = behind > top ? behind : top;
    }
    return best != SRPI_NOT_PLACED ? best : top;
}

static void keep_order(struct srpi_plan *plan, uint32_t tensor, uint32_t placed)
{
    uint32_t at = placed;
    while (at > 0 && plan->offset[plan->order[at - 1]] > plan->offset[tensor]) {
        plan->order[at] = plan->order[at - 1];
        at--;
    }
    plan->order[at] = tensor;
}

enum srp_err srpi_plan_place(struct srpi_plan *plan, uint32_t width, uint32_t height,
                             struct srp_error *err)
{
    const struct srpi_graph *graph = plan->graph;
    if (width == 0 || height == 0 || width > SRP_MAX_DIMENSION || height > SRP_MAX_DIMENSION) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u is not a size from 1x1 to %ux%u", width,
                           height, SRP_MAX_DIMENSION, SRP_MAX_DIMENSION);
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct srpi_tensor *tensor = &graph->tensors[t];
        /* At most 2^14 * 2^14 * 2^4 * 2^9 * 2^2 bytes: fits 64 bits. */
        const uint64_t bytes = (uint64_t)width * height * tensor->factor * tensor->factor *
                               tensor->channels * sizeof(float);
        if (plan->needed[t] && bytes > SRP_MAX_ARENA_BYTES) {
            return srpi_fail(err, SRP_ERR_LIMIT,
                               "tensor '%s' at %ux%u is larger than the arena may be",
                               tensor->name, width, height);
        }
        plan->size[t] =
            plan->needed[t] ? ((size_t)bytes + SRPI_PLAN_ALIGN - 1) & ~(size_t)(SRPI_PLAN_ALIGN - 1)
                            : 0;
        plan->offset[t] = SRPI_NOT_PLACED;
    }
    /* Largest first: what comes later fits into the gaps between lives. */
    plan->arena_bytes = 0;
    uint32_t placed = 0;
    for (;;) {
        uint32_t next = UINT32_MAX;
        for (uint32_t t = 0; t < graph->tensor_count; t++) {
            if (plan->needed[t] && plan->root[t] == t && plan->offset[t] == SRPI_NOT_PLACED &&
                (next == UINT32_MAX || plan->size[t] > plan->size[next])) {
                next = t;
            }
        }
        if (next == UINT32_MAX) {
            break;
        }
        plan->offset[next] = best_fit(plan, next, placed);
        keep_order(plan, next, placed++);
        const size_t behind = plan->offset[next] + plan->size[next];
        if (behind > SRP_MAX_ARENA_BYTES) {
            return srpi_fail(err, SRP_ERR_LIMIT,
                               "model '%s' at %ux%u needs more than %llu bytes of intermediates",
                               graph->name, width, height, SRP_MAX_ARENA_BYTES);
        }
        plan->arena_bytes = behind > plan->arena_bytes ? behind : plan->arena_bytes;
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        plan->offset[t] = plan->offset[plan->root[t]];
    }
    return SRP_OK;
}
