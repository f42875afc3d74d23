/* SPDX-License-Identifier: BSD-2-Clause */
#include "plan/stream.h"

#include <stdlib.h>
#include <string.h>

#include "model/checked.h"
#include "model/error.h"
#include "plan/place.h"

/* Rows of the rings that one worker touches in a block should stay in a core's second cache. */
#define BLOCK_BYTES ((size_t)640 << 10)
#define MOST_ROWS 64u
/* A region is cut into 2, 4, 6... pieces until one worker's rings take at most RING_BYTES and the
 * arena of two PAIR_BYTES, whatever the number of workers: in f32 pixels may depend on the pieces.
 * These begin at multiples of PIECE_STEP columns, and are so wide that what lies around them, and
 * is computed twice, is not more than one part of PIECE_HALOS. docs/engine.md has figures. */
#define RING_BYTES ((size_t)5 << 19)
#define PAIR_BYTES ((size_t)8000000)
#define PIECE_STEP 16u
#define LEAST_PIECE 64u
#define PIECE_HALOS 4u
#define STRIP_ROWS 16u /* so that putting seams aside is little work */
#define ALIGN 64u

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

/* How a step reads: rows around (of the operand), and output rows for each of the operand's. */
static uint32_t radius_of(const struct srpi_step *step, uint32_t read)
{
    const struct srpi_node *node = step->node;
    if (read >= node->input_count) {
        return 0;
    }
    switch (node->op) {
    case SRPI_OP_CONV2D:
        return max_u32(node->kernel_height, node->kernel_width) / 2;
    case SRPI_OP_RESIZE:
        return SRPI_RESIZE_RADIUS;
    default:
        return 0;
    }
}

static uint32_t ratio_of(const struct srpi_graph *graph, const struct srpi_step *step,
                         uint32_t read)
{
    return graph->tensors[step->output].factor /
           graph->tensors[srpi_step_read(step, read)].factor;
}

static uint32_t round_up(uint32_t value, uint32_t to)
{
    return ceil_div(value, to) * to;
}

/* Forwards: by how much each tensor trails the end of a block, and how far below the begin of a
 * strip it begins: all that its first rows read must lie in the strip. */
static void find_lags(struct srpi_stream_plan *plan, const struct srpi_stream_params *params)
{
    const struct srpi_program *program = plan->program;
    for (uint32_t s = 0; s < program->step_count; s++) {
        const struct srpi_step *step = &program->steps[s];
        struct srpi_stream_tensor *out = &plan->tensors[step->output];
        out->grid = params->grid[s];
        for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
            const struct srpi_stream_tensor *in = &plan->tensors[srpi_step_read(step, i)];
            const uint32_t ratio = ratio_of(program->graph, step, i);
            const uint32_t radius = radius_of(step, i);
            out->lag = max_u32(out->lag, (in->lag + radius) * ratio);
            out->skew = max_u32(out->skew, (in->skew + radius) * ratio);
        }
        out->skew = round_up(out->lag + out->skew, out->grid) - out->lag;
    }
    const struct srpi_stream_tensor *wanted = &plan->tensors[program->wanted];
    const struct srpi_stream_tensor *input = &plan->tensors[program->graph->input];
    /* Both are multiples by themselves, as blocks and strips are of the input. */
    const uint32_t align = max_u32(params->sink.align, 1);
    uint32_t lag = wanted->lag + params->sink.wanted.below;
    uint32_t skew = wanted->skew + params->sink.wanted.above;
    if (params->sink.reads_input) {
        lag = max_u32(lag, (input->lag + params->sink.input.below) * wanted->factor);
        skew = max_u32(skew, (input->skew + params->sink.input.above) * wanted->factor);
    }
    plan->sink_lag = round_up(lag, align);
    plan->sink_skew = round_up(skew, align);
    plan->base_step = wanted->factor % align == 0 ? 1 : align;
}

/* The steps' work; the mean skew of their rows, weighted by it, in input rows. */
static void find_work(struct srpi_stream_plan *plan)
{
    const struct srpi_graph *graph = plan->program->graph;
    uint64_t skews = 0, work = 1;
    for (uint32_t s = 0; s < plan->program->step_count; s++) {
        const struct srpi_step *step = &plan->program->steps[s];
        struct srpi_stream_tensor *out = &plan->tensors[step->output];
        out->work = srpi_node_weight_count(graph, step->node) + out->channels;
        /* Within the limits this fits by far. */
        const uint64_t cost = out->work * out->factor;
        skews += cost * out->skew; /* in the tensor's rows: the factor again */
        work += cost * out->factor;
    }
    plan->mean_skew = (uint32_t)(skews / work);
}

/* What is read around `out`, in the operand's pixels. */
static void include(struct srpi_sides *in, const struct srpi_sides *out, uint32_t ratio,
                    uint32_t radius)
{
    in->above = max_u32(in->above, ceil_div(out->above, ratio) + radius);
    in->below = max_u32(in->below, ceil_div(out->below, ratio) + radius);
    in->left = max_u32(in->left, ceil_div(out->left, ratio) + radius);
    in->right = max_u32(in->right, ceil_div(out->right, ratio) + radius);
}

/* How many rows of an operand of `lag` a reader of `reader_lag` looks back at: those between what
 * its own first row of a block reads and the operand's first row of this block. With skews instead:
 * those between the operand's last row of a strip and what the reader's last row reads. */
static uint32_t reach(uint32_t reader_lag, uint32_t ratio, uint32_t lag, uint32_t radius)
{
    return ceil_div(reader_lag, ratio) - lag + radius;
}

/* Backwards: what readers need around a region, padding, and how many rows must stay. */
static void find_halos(struct srpi_stream_plan *plan, const struct srpi_stream_params *params)
{
    const struct srpi_program *program = plan->program;
    struct srpi_stream_tensor *wanted = &plan->tensors[program->wanted];
    struct srpi_stream_tensor *input = &plan->tensors[program->graph->input];
    wanted->halo = params->sink.wanted;
    wanted->behind = reach(plan->sink_lag, 1, wanted->lag, params->sink.wanted.above);
    wanted->ahead = reach(plan->sink_skew, 1, wanted->skew, params->sink.wanted.below);
    if (params->sink.reads_input) {
        const struct srpi_sides *around = &params->sink.input;
        input->halo = *around;
        input->behind = max_u32(input->behind, reach(plan->sink_lag, wanted->factor, input->lag,
                                                     around->above));
        input->ahead = max_u32(input->ahead, reach(plan->sink_skew, wanted->factor, input->skew,
                                                   around->below));
    }
    for (uint32_t s = program->step_count; s-- > 0;) {
        const struct srpi_step *step = &program->steps[s];
        const struct srpi_stream_tensor *out = &plan->tensors[step->output];
        for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
            struct srpi_stream_tensor *in = &plan->tensors[srpi_step_read(step, i)];
            const uint32_t ratio = ratio_of(program->graph, step, i);
            const uint32_t radius = radius_of(step, i);
            include(&in->halo, &out->halo, ratio, radius);
            in->behind = max_u32(in->behind, reach(out->lag, ratio, in->lag, radius));
            in->ahead = max_u32(in->ahead, reach(out->skew, ratio, in->skew, radius));
            if (step->node->op == SRPI_OP_CONV2D && i == 0) {
                in->pad = max_u32(in->pad, step->node->kernel_width / 2);
            }
        }
    }
}

/* Whether all that step `s` reads of tensor t was written in the same block. */
static bool reads_locally(const struct srpi_stream_plan *plan, uint32_t s, uint32_t t)
{
    const struct srpi_step *step = &plan->program->steps[s];
    const struct srpi_stream_tensor *in = &plan->tensors[t], *out = &plan->tensors[step->output];
    bool local = true;
    for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
        if (srpi_step_read(step, i) == t) {
            local = local && radius_of(step, i) == 0 &&
                    out->lag == in->lag * ratio_of(plan->program->graph, step, i);
        }
    }
    return local;
}

static void find_lives(struct srpi_stream_plan *plan)
{
    const struct srpi_program *program = plan->program;
    for (uint32_t t = 0; t < program->graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        tensor->local = tensor->used && t != program->wanted && t != program->graph->input;
        tensor->begin = t == program->graph->input ? 0 : program->writer[t];
    }
    for (uint32_t s = 0; s < program->step_count; s++) {
        const struct srpi_step *step = &program->steps[s];
        for (uint32_t i = 0; i < srpi_step_reads(step); i++) {
            const uint32_t t = srpi_step_read(step, i);
            struct srpi_stream_tensor *tensor = &plan->tensors[t];
            tensor->end = s;
            tensor->local = tensor->local && reads_locally(plan, s, t);
        }
    }
    for (uint32_t t = 0; t < program->graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        if (tensor->local) {
            tensor->behind = 0; /* what the step before wrote, not the block before */
        } else {
            tensor->begin = 0;
            tensor->end = program->step_count;
        }
    }
}

/* Offsets of the rings behind a worker's work memory. */
static enum srp_err place_rings(struct srpi_stream_plan *plan, struct srp_error *err)
{
    const uint32_t tensors = plan->program->graph->tensor_count;
    struct srpi_place_item *items = calloc(tensors, sizeof(items[0]));
    struct srpi_placement placement = {0};
    uint32_t count = 0;
    if (items == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for a plan");
    }
    for (uint32_t t = 0; t < tensors; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        if (!tensor->used) {
            continue;
        }
        struct srpi_place_item *item = &items[count++];
        *item = (struct srpi_place_item){.begin = tensor->begin, .end = tensor->end};
        if (!srpi_mul(tensor->ring, tensor->pitch, &item->size)) {
            item->size = SIZE_MAX; /* refused below */
        }
    }
    const enum srp_err code = srpi_place(items, count, ALIGN, SRPI_PLACE_FULL, &placement, err);
    count = 0;
    for (uint32_t t = 0; code == SRP_OK && t < tensors; t++) {
        if (plan->tensors[t].used) {
            plan->tensors[t].offset = plan->scratch_size + items[count++].offset;
        }
    }
    free(items);
    plan->ring_bound = placement.lower_bound;
    plan->ring_bytes = placement.total;
    return code;
}

/* Bytes of one row in memory. */
static bool row_bytes(const struct srpi_stream_tensor *t, const struct srpi_stream_params *params,
                      uint32_t span, size_t *bytes)
{
    const uint64_t picture = (uint64_t)params->picture_width * t->factor;
    uint64_t pixels = (uint64_t)span * t->factor + t->halo.left + t->halo.right;
    pixels = pixels < picture ? pixels : picture;
    /* computed in groups; the last group's taps reach over the padding */
    pixels += 3 * (uint64_t)t->pad + SRPI_ROW_GROUP;
    size_t size = 0;
    if (!srpi_mul((size_t)pixels, (size_t)t->channels * t->element, &size) ||
        !srpi_add(size, SRPI_ROW_SLACK + ALIGN - 1, &size)) {
        return false;
    }
    *bytes = size & ~(size_t)(ALIGN - 1);
    return !t->fine || srpi_mul(*bytes, 2, bytes);
}

static bool take(struct srpi_stream_plan *plan, size_t count, size_t size, size_t *offset)
{
    size_t bytes = 0;
    *offset = plan->arena_bytes;
    return srpi_mul(count, size, &bytes) &&
           srpi_add(plan->arena_bytes, bytes, &plan->arena_bytes) &&
           plan->arena_bytes <= SRP_MAX_ARENA_BYTES;
}

static uint32_t choose_block(const struct srpi_stream_plan *plan)
{
    const struct srpi_graph *graph = plan->program->graph;
    size_t row = 1;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        row += plan->tensors[t].used ? plan->tensors[t].pitch * plan->tensors[t].factor : 0;
    }
    const size_t rows = BLOCK_BYTES / row / plan->grid * plan->grid;
    return rows < plan->grid ? plan->grid : rows > MOST_ROWS ? MOST_ROWS : (uint32_t)rows;
}

static enum srp_err too_large(const struct srpi_stream_params *params, struct srp_error *err)
{
    return srpi_fail(err, SRP_ERR_LIMIT,
                     "model '%s' at %ux%u needs more than %llu bytes of intermediates",
                     params->program->graph->name, params->width, params->height,
                     SRP_MAX_ARENA_BYTES);
}

/* Rows of padding, and where each tensor's rows lie in a seam. */
static bool take_rows(struct srpi_stream_plan *plan)
{
    for (uint32_t t = 0; t < plan->program->graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        size_t rows = 0;
        if (!tensor->used) {
            continue;
        }
        tensor->seam = plan->seam_size;
        if (!take(plan, 1, tensor->pitch, &tensor->padding) ||
            !srpi_mul(tensor->kept, tensor->pitch, &rows) ||
            !srpi_add(plan->seam_size, rows, &plan->seam_size)) {
            return false;
        }
    }
    return true;
}

/* Each worker's rings, for pieces of plan->span columns. */
static enum srp_err place_area(struct srpi_stream_plan *plan,
                               const struct srpi_stream_params *params, struct srp_error *err)
{
    const struct srpi_graph *graph = plan->program->graph;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        if (tensor->used && !row_bytes(tensor, params, plan->span, &tensor->pitch)) {
            return too_large(params, err);
        }
        tensor->fraction = tensor->fine ? tensor->pitch / 2 : 0;
    }
    plan->block = params->block != 0 ? round_up(params->block, plan->grid) : choose_block(plan);
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        tensor->ring = tensor->behind + tensor->factor * plan->block;
    }
    return place_rings(plan, err);
}

/* Workers with the same number of pieces each, and that more than one, need no strips. */
static uint32_t seams_of(uint32_t pieces, uint32_t workers)
{
    const bool shared_out = pieces % workers == 0 && pieces >= 2 * workers;
    return workers > 1 && !shared_out ? workers + 1 : 0;
}

/* The whole arena for pieces of `span` columns: padding, seams, areas. */
static enum srp_err place_arena(struct srpi_stream_plan *plan,
                                const struct srpi_stream_params *params, uint32_t span,
                                struct srp_error *err)
{
    plan->span = span;
    plan->arena_bytes = plan->seam_size = 0;
    const enum srp_err code = place_area(plan, params, err);
    if (code != SRP_OK) {
        return code;
    }
    plan->area_size = plan->scratch_size + plan->ring_bytes;
    plan->seams = seams_of(ceil_div(params->width, plan->span), plan->workers);
    return take_rows(plan) && take(plan, plan->seams, plan->seam_size, &plan->seam) &&
                   take(plan, plan->workers, plan->area_size, &plan->area)
               ? SRP_OK
               : too_large(params, err);
}

/* Whether narrower pieces than these, so many, are needed; `code`: what place_arena said. */
static bool too_wide(const struct srpi_stream_plan *plan, uint32_t pieces, enum srp_err code)
{
    const size_t padding = plan->seam; /* lies in front */
    const size_t pair = padding + seams_of(pieces, 2) * plan->seam_size + 2 * plan->area_size;
    return code == SRP_ERR_LIMIT ||
           (code == SRP_OK && (plan->ring_bytes > RING_BYTES || pair > PAIR_BYTES));
}

static enum srp_err place(struct srpi_stream_plan *plan, const struct srpi_stream_params *params,
                          struct srp_error *err)
{
    const struct srpi_graph *graph = plan->program->graph;
    plan->scratch_size = (params->scratch_size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        tensor->kept = t == graph->input ? 0 : tensor->ahead;
        if (tensor->used) {
            /* Its seam must lie in one strip. */
            plan->strip_rows =
                max_u32(plan->strip_rows, ceil_div(tensor->kept, tensor->factor));
        }
    }
    plan->strip_rows = round_up(max_u32(plan->strip_rows, STRIP_ROWS), plan->grid);
    const uint32_t wanted = params->span != 0 ? round_up(params->span, PIECE_STEP) : params->width;
    const struct srpi_sides *around = &plan->tensors[graph->input].halo;
    const uint32_t least = max_u32(LEAST_PIECE, PIECE_HALOS * (around->left + around->right));
    const uint32_t whole = wanted < params->width ? wanted : params->width;
    enum srp_err code = place_arena(plan, params, whole, err);
    for (uint32_t pieces = 1; params->span == 0 && too_wide(plan, pieces, code);) {
        pieces = pieces == 1 ? 2 : pieces + 2;
        const uint32_t span = round_up(ceil_div(params->width, pieces), PIECE_STEP);
        if (span < least || span >= params->width) {
            break;
        }
        code = place_arena(plan, params, span, err);
    }
    return code;
}

enum srp_err srpi_stream_plan_create(struct srpi_stream_plan *plan,
                                     const struct srpi_stream_params *params,
                                     struct srp_error *err)
{
    const struct srpi_graph *graph = params->program->graph;
    memset(plan, 0, sizeof(*plan));
    if (params->width == 0 || params->height == 0 || params->width > SRP_MAX_DIMENSION ||
        params->height > SRP_MAX_DIMENSION) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u is not a size from 1x1 to %ux%u",
                         params->width, params->height, SRP_MAX_DIMENSION, SRP_MAX_DIMENSION);
    }
    if ((uint64_t)params->picture_width * params->picture_height * graph->scale * graph->scale >
        SRP_MAX_PICTURE_PIXELS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%ux%u times %u is more than %u pixels",
                         params->picture_width, params->picture_height, graph->scale,
                         SRP_MAX_PICTURE_PIXELS);
    }
    plan->program = params->program;
    plan->workers = params->workers;
    plan->tensors = calloc(graph->tensor_count, sizeof(plan->tensors[0]));
    if (plan->tensors == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "out of memory for the plan of '%s'", graph->name);
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        struct srpi_stream_tensor *tensor = &plan->tensors[t];
        tensor->used = params->program->used[t];
        tensor->dtype = params->dtype[t];
        tensor->fine = params->fine[t];
        tensor->element = srpi_element_size(params->kernels, tensor->dtype);
        tensor->factor = graph->tensors[t].factor;
        tensor->channels = graph->tensors[t].channels;
        tensor->grid = 1;
    }
    plan->grid = 2; /* chroma rows */
    for (uint32_t s = 0; s < params->program->step_count; s++) {
        plan->grid = max_u32(plan->grid, params->grid[s]);
    }
    find_lags(plan, params);
    find_work(plan);
    find_halos(plan, params);
    find_lives(plan);
    const enum srp_err code = place(plan, params, err);
    if (code != SRP_OK) {
        srpi_stream_plan_destroy(plan);
    }
    return code;
}

void srpi_stream_plan_destroy(struct srpi_stream_plan *plan)
{
    free(plan->tensors);
    memset(plan, 0, sizeof(*plan));
}

/* ---- geometry -------------------------------------------------------------------------------- */

uint32_t srpi_stream_pieces(const struct srpi_stream_plan *plan, const struct srpi_region *region)
{
    return ceil_div(region->x.end - region->x.begin, plan->span);
}

struct srpi_region srpi_stream_piece(const struct srpi_stream_plan *plan,
                                     const struct srpi_region *region, uint32_t index)
{
    const uint32_t width = region->x.end - region->x.begin;
    const uint32_t count = srpi_stream_pieces(plan, region);
    const uint32_t each = count == 1 ? width : round_up(ceil_div(width, count), PIECE_STEP);
    struct srpi_region piece = *region;
    piece.x.begin += index * each;
    if (index + 1 < count) {
        piece.x.end = piece.x.begin + each;
    }
    return piece;
}

uint32_t srpi_stream_strips(const struct srpi_stream_plan *plan, const struct srpi_region *region,
                            uint32_t parts)
{
    const uint32_t most = (region->y.end - region->y.begin) /
                          (plan->strip_rows + plan->mean_skew + plan->grid);
    if (plan->seams == 0 || most < 2 || parts == 0) {
        return 1;
    }
    /* The same number for each worker, where there are so many. */
    const uint32_t each = most / plan->workers;
    return each == 0 ? most : plan->workers * (parts < each ? parts : each);
}

/* `span` of a picture's rows or columns, in the rows or columns of a tensor of `factor`, with what
 * is before and after it. */
static struct srpi_span widen(struct srpi_span span, uint32_t picture, uint32_t factor,
                              uint32_t before, uint32_t after)
{
    const uint32_t begin = span.begin * factor, end = span.end * factor, most = picture * factor;
    return (struct srpi_span){.begin = begin > before ? begin - before : 0,
                              .end = most - end > after ? end + after : most};
}

struct srpi_span srpi_stream_columns(const struct srpi_stream_plan *plan,
                                     const struct srpi_region *region, uint32_t t)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    return widen(region->x, region->picture_width, tensor->factor, tensor->halo.left,
                 tensor->halo.right);
}

/* Rows of tensor t that are computed for a region. */
static struct srpi_span region_rows(const struct srpi_stream_plan *plan,
                                    const struct srpi_region *region, uint32_t t)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    return widen(region->y, region->picture_height, tensor->factor, tensor->halo.above,
                 tensor->halo.below);
}

/* The calls in which steps of a grid write a region's rows, each as often as its work, if block 0
 * begins at input row `base`. */
static uint64_t calls_from(const struct srpi_stream_plan *plan, const struct srpi_region *region,
                           uint32_t base)
{
    uint64_t calls = 0;
    for (uint32_t s = 0; s < plan->program->step_count; s++) {
        const uint32_t t = plan->program->steps[s].output;
        const struct srpi_stream_tensor *tensor = &plan->tensors[t];
        if (tensor->grid > 1) {
            const struct srpi_span rows = region_rows(plan, region, t);
            const uint32_t origin = base * tensor->factor;
            const uint32_t begin = rows.begin + tensor->lag - origin;
            const uint32_t end = rows.end + tensor->lag - origin;
            calls += (ceil_div(end, tensor->grid) - begin / tensor->grid) * tensor->work;
        }
    }
    return calls;
}

/* Where block 0 of a region begins: at its first input row, or so far above that the least is
 * computed in calls that are not whole. */
static uint32_t region_base(const struct srpi_stream_plan *plan, const struct srpi_region *region)
{
    const uint32_t first = region_rows(plan, region, plan->program->graph->input).begin;
    const uint32_t highest = first / plan->base_step * plan->base_step;
    uint32_t best = highest;
    uint64_t least = UINT64_MAX;
    for (uint32_t above = 0; above < plan->grid && above <= highest; above += plan->base_step) {
        const uint64_t calls = calls_from(plan, region, highest - above);
        if (calls < least) {
            least = calls;
            best = highest - above;
        }
    }
    return best;
}

/* Cuts so that the strips' work is alike: that of each lies lower than the strip by the mean skew,
 * so the first one has as much more to do. */
static uint32_t cut(const struct srpi_stream_plan *plan, const struct srpi_region *region,
                    uint32_t base, uint32_t index, uint32_t count)
{
    const uint64_t rows = region->y.end - region->y.begin;
    const uint32_t at = region->y.begin + (uint32_t)(rows * index / count) - plan->mean_skew;
    return base + (at - base + plan->grid / 2) / plan->grid * plan->grid;
}

struct srpi_strip srpi_stream_strip(const struct srpi_stream_plan *plan,
                                    const struct srpi_region *region, uint32_t index,
                                    uint32_t count)
{
    struct srpi_strip strip = {.region = region,
                               .y = region->y,
                               .base = region_base(plan, region),
                               .first = index == 0,
                               .last = index + 1 == count};
    if (!strip.last) {
        strip.y.end = cut(plan, region, strip.base, index + 1, count);
    }
    if (!strip.first) {
        strip.base = strip.y.begin = cut(plan, region, strip.base, index, count);
    }
    return strip;
}

/* The strip's share of a region's rows. */
static struct srpi_span skewed(const struct srpi_strip *strip, struct srpi_span rows,
                               uint32_t factor, uint32_t skew)
{
    const uint32_t begin = strip->y.begin * factor + skew, end = strip->y.end * factor + skew;
    const uint32_t last = rows.end;
    if (!strip->last && end < last) {
        rows.end = end;
    }
    if (!strip->first) {
        rows.begin = begin < last ? begin : last;
    }
    return rows;
}

struct srpi_span srpi_stream_rows(const struct srpi_stream_plan *plan,
                                  const struct srpi_strip *strip, uint32_t t)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    const struct srpi_span all = region_rows(plan, strip->region, t);
    struct srpi_span rows = skewed(strip, all, tensor->factor, tensor->skew);
    if (t == plan->program->graph->input) {
        rows.end = all.end - rows.end > tensor->ahead ? rows.end + tensor->ahead : all.end;
    }
    return rows;
}

struct srpi_span srpi_stream_sink_rows(const struct srpi_stream_plan *plan,
                                       const struct srpi_strip *strip)
{
    const uint32_t factor = plan->tensors[plan->program->wanted].factor;
    const struct srpi_span rows = {.begin = strip->region->y.begin * factor,
                                   .end = strip->region->y.end * factor};
    return skewed(strip, rows, factor, plan->sink_skew);
}

uint32_t srpi_stream_blocks(const struct srpi_stream_plan *plan, const struct srpi_strip *strip)
{
    const uint32_t factor = plan->tensors[plan->program->wanted].factor;
    const uint32_t end = srpi_stream_sink_rows(plan, strip).end + plan->sink_lag;
    return ceil_div(end - strip->base * factor, plan->block * factor);
}

/* Where block b - 1 ends and block b begins. */
static uint32_t boundary(const struct srpi_stream_plan *plan, const struct srpi_strip *strip,
                         const struct srpi_span rows, uint32_t factor, uint32_t lag, uint32_t b)
{
    const uint64_t end = ((uint64_t)strip->base + (uint64_t)b * plan->block) * factor;
    if (b == 0 || end <= (uint64_t)rows.begin + lag) {
        return rows.begin;
    }
    return end - lag >= rows.end ? rows.end : (uint32_t)(end - lag);
}

struct srpi_span srpi_stream_block_rows(const struct srpi_stream_plan *plan,
                                        const struct srpi_strip *strip, uint32_t t,
                                        struct srpi_span rows, uint32_t b)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    return (struct srpi_span){
        .begin = boundary(plan, strip, rows, tensor->factor, tensor->lag, b),
        .end = boundary(plan, strip, rows, tensor->factor, tensor->lag, b + 1)};
}

struct srpi_span srpi_stream_block_sink(const struct srpi_stream_plan *plan,
                                        const struct srpi_strip *strip, struct srpi_span rows,
                                        uint32_t b)
{
    const uint32_t factor = plan->tensors[plan->program->wanted].factor;
    return (struct srpi_span){
        .begin = boundary(plan, strip, rows, factor, plan->sink_lag, b),
        .end = boundary(plan, strip, rows, factor, plan->sink_lag, b + 1)};
}

uint32_t srpi_stream_origin(const struct srpi_stream_plan *plan, uint32_t t,
                            struct srpi_span rows)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    const uint32_t first = rows.begin > tensor->behind ? rows.begin - tensor->behind : 0;
    return first - first % tensor->ring;
}

uint32_t srpi_stream_call(const struct srpi_stream_plan *plan, const struct srpi_strip *strip,
                          uint32_t t, uint32_t y)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    return tensor->grid - (y + tensor->lag - strip->base * tensor->factor) % tensor->grid;
}

uint32_t srpi_stream_seam_blocks(const struct srpi_stream_plan *plan,
                                 const struct srpi_strip *strip, uint32_t t, uint32_t b)
{
    const struct srpi_stream_tensor *tensor = &plan->tensors[t];
    const uint64_t end = strip->base + (uint64_t)(b + 1) * plan->block;
    /* Its rows of a strip end `skew` below the strip's end, and trail the block's end by `lag`. */
    const uint32_t away = tensor->lag + tensor->skew;
    if (strip->last || tensor->kept == 0 ||
        end * tensor->factor <= (uint64_t)strip->y.end * tensor->factor + away) {
        return 0;
    }
    return ceil_div(tensor->kept + away, tensor->factor * plan->block);
}
