/* SPDX-License-Identifier: BSD-2-Clause */
#include "route.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

static const double smoothing = 0.125;
static const double outlier = 4; /* times the mean: a stall of the machine is not the path's cost */

bool sp_route_from_name(enum sp_route_mode *out, const char *name)
{
    static const char *const names[] = {"budget", "exact", "off"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum sp_route_mode)i;
            return true;
        }
    }
    return false;
}

/* ---- counts ---- */

void sp_route_counts_add(struct sp_route_counts *sum, const struct sp_route_counts *one)
{
    sum->paths = one->paths > sum->paths ? one->paths : sum->paths;
    for (int p = 0; p < (int)SRP_MAX_PATHS; p++) {
        sum->cells[p] += one->cells[p];
    }
    sum->reused += one->reused;
    sum->macs += one->macs;
    sum->macs_dearest += one->macs_dearest;
}

double sp_route_macs_share(const struct sp_route_counts *counts)
{
    return counts->macs_dearest > 0 ? counts->macs / counts->macs_dearest : 0;
}

/* Multiply-accumulates per pixel of each path; returns how many paths there are. */
static uint32_t path_macs(struct srp_model *model, uint64_t macs[SRP_MAX_PATHS])
{
    struct srp_model_info info;
    srp_model_get_info(model, &info);
    for (uint32_t p = 0; p < info.path_count; p++) {
        struct srp_model_info one;
        struct srp_model *path = srp_model_path(model, p);
        srp_model_get_info(path, &one);
        macs[p] = one.macs_per_pixel;
        srp_model_unref(&path);
    }
    return info.path_count;
}

static uint64_t dearest(const uint64_t *macs, uint32_t count)
{
    uint64_t most = 0;
    for (uint32_t p = 0; p < count; p++) {
        most = macs[p] > most ? macs[p] : most;
    }
    return most;
}

static uint32_t side(uint32_t index, uint32_t cell, uint32_t whole)
{
    uint32_t left = whole - index * cell;
    return left < cell ? left : cell;
}

struct sp_route_counts sp_route_counts_of(const struct srp_routing *routing, uint32_t width,
                                          uint32_t height, struct srp_model *model)
{
    struct sp_route_counts counts = {.reused = 0};
    uint64_t macs[SRP_MAX_PATHS] = {0};
    const uint32_t count = path_macs(model, macs);
    counts.paths = count;
    const uint32_t columns = (width + routing->cell_width - 1) / routing->cell_width;
    const uint32_t rows = (height + routing->cell_height - 1) / routing->cell_height;
    const uint8_t *path = routing->paths;
    for (uint32_t y = 0; y < rows; y++) {
        for (uint32_t x = 0; x < columns; x++, path++) {
            double pixels = (double)side(x, routing->cell_width, width) *
                            side(y, routing->cell_height, height);
            counts.cells[*path]++;
            counts.macs += pixels * (double)macs[*path];
        }
    }
    counts.macs_dearest = (double)width * height * (double)dearest(macs, count);
    return counts;
}

struct sp_route_counts sp_router_counts(const struct sp_router *r,
                                        const struct srp_routing_stats *stats, uint64_t pixels)
{
    struct sp_route_counts counts = {.paths = r->path_count, .reused = stats->reused};
    for (uint32_t p = 0; p < r->path_count; p++) {
        counts.cells[p] = stats->cells[p];
        counts.macs += (double)stats->pixels[p] * (double)r->macs[p];
    }
    counts.macs_dearest = (double)pixels * (double)dearest(r->macs, r->path_count);
    return counts;
}

/* ---- costs ---- */

void sp_router_free(struct sp_router *r)
{
    free(r->paths);
    r->paths = NULL;
    r->room = 0;
}

void sp_router_set_model(struct sp_router *r, struct srp_model *model)
{
    uint64_t macs[SRP_MAX_PATHS] = {0};
    uint32_t count = path_macs(model, macs);
    if (count == r->path_count && memcmp(macs, r->macs, sizeof macs) == 0) {
        return;
    }
    memcpy(r->macs, macs, sizeof macs);
    memset(r->seconds, 0, sizeof r->seconds);
    memset(r->pixels, 0, sizeof r->pixels);
    r->rest = 0;
    r->path_count = count;
}

/* Seconds for a multiply-accumulate, by the dearest path that was measured; 0: none was. */
static double rate(const struct sp_router *r)
{
    double found = 0;
    uint64_t most = 0;
    for (uint32_t p = 0; p < r->path_count; p++) {
        if (r->pixels[p] > 0 && r->macs[p] > most) {
            most = r->macs[p];
            found = r->seconds[p] / r->pixels[p] / (double)most;
        }
    }
    return found;
}

/* Seconds for a pixel: as measured, else by multiply-accumulates. */
static double cost(const struct sp_router *r, uint32_t path)
{
    return r->pixels[path] > 0 ? r->seconds[path] / r->pixels[path]
                               : rate(r) * (double)r->macs[path];
}

bool sp_router_is_elastic(const struct sp_router *r, const struct srp_routes *routes)
{
    struct srp_routes_info info;
    srp_routes_get_info(routes, &info);
    return r->mode == SP_ROUTE_BUDGET && info.kind == SRP_ROUTES_GAINS;
}

double sp_router_least(const struct sp_router *r, uint64_t pixels)
{
    return rate(r) > 0 ? r->rest + cost(r, 0) * (double)pixels : 0;
}

void sp_router_record(struct sp_router *r, const struct srp_routing_stats *stats, double seconds)
{
    double rest = seconds;
    for (uint32_t p = 0; p < r->path_count; p++) {
        double took = stats->seconds[p], pixels = (double)stats->pixels[p];
        rest -= took;
        if (pixels <= 0) {
            continue;
        }
        if (r->pixels[p] > 0) {
            took = fmin(took, outlier * cost(r, p) * pixels);
        }
        r->seconds[p] += (took - r->seconds[p]) * (r->pixels[p] > 0 ? smoothing : 1);
        r->pixels[p] += (pixels - r->pixels[p]) * (r->pixels[p] > 0 ? smoothing : 1);
    }
    rest = fmax(rest, 0);
    r->rest += (rest - r->rest) * (r->rest > 0 ? smoothing : 1);
}

/* ---- the choice ---- */

enum srp_err sp_router_choose(struct sp_router *r, const struct srp_routes *routes, uint32_t frame,
                              uint32_t width, uint32_t height, double budget,
                              struct srp_routing *routing, struct srp_error *err)
{
    struct srp_routes_info info;
    struct srp_path_cost costs[SRP_MAX_PATHS];
    srp_routes_get_info(routes, &info);
    const size_t cells = (size_t)info.columns * info.rows; /* limited when they were read */
    if (info.paths != r->path_count) {
        return sp_fail(err, SRP_ERR_USAGE, "routes of %u paths for a model of %u", info.paths,
                       r->path_count);
    }
    if (cells > r->room) { /* grows once for a video: a grid belongs to its size */
        uint8_t *grown = realloc(r->paths, cells);
        if (!grown) {
            return sp_fail(err, SRP_ERR_NOMEM, "no memory for routes");
        }
        r->paths = grown;
        r->room = cells;
    }
    *routing = (struct srp_routing){
        .cell_width = info.cell_width, .cell_height = info.cell_height, .paths = r->paths};
    if (r->mode == SP_ROUTE_EXACT || (rate(r) <= 0 && isfinite(budget))) {
        return srp_routes_exact(routes, frame, r->paths, err);
    }
    for (uint32_t p = 0; p < r->path_count; p++) {
        costs[p].macs_per_pixel = r->macs[p];
        costs[p].cost = rate(r) > 0 ? cost(r, p) : (double)r->macs[p];
    }
    return srp_routes_budget(routes, frame, width, height, costs, budget - r->rest, r->paths, NULL,
                             err);
}
