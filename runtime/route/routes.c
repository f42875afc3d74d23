/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes of a chunk: read and validated once (docs/format.md, "Routes"), then asked frame by frame.
 *
 * Levels lie as they came, [plane][frame][row][column], with the differences over time undone. */
#include <srp/routes.h>

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "model/checked.h"
#include "model/error.h"
#include "model/package.h"

#define HEADER_BYTES 24u
#define MAX_LEVEL 64u

struct srp_routes {
    atomic_uint references;
    struct srp_routes_info info;
    uint32_t planes;
    size_t cells;    /* of a frame */
    size_t plane;    /* bytes of a plane: frames * cells */
    uint8_t *levels; /* planes * plane */
};

/* ---- reading --------------------------------------------------------------------------------- */

static uint32_t little(const uint8_t *p, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = bytes; i > 0; i--) {
        value = value << 8 | p[i - 1];
    }
    return value;
}

static enum srp_err read_cell(uint32_t value, const char *name, const char *what,
                              struct srp_error *err)
{
    if (value > SRP_MAX_CELL) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %s %" PRIu32 " is more than %u", name, what,
                         value, SRP_MAX_CELL);
    }
    if (value < SRP_MIN_CELL || value % 2 != 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: %s %" PRIu32 " is not even and at least %u",
                         name, what, value, SRP_MIN_CELL);
    }
    return SRP_OK;
}

static enum srp_err read_count(uint32_t value, uint32_t cell, const char *name, const char *what,
                               struct srp_error *err)
{
    if (value == 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: no %s", name, what);
    }
    if ((uint64_t)(value - 1) * cell >= SRP_MAX_DIMENSION) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %" PRIu32 " %s of %" PRIu32
                         " pixels are more than a picture has", name, value, what, cell);
    }
    return SRP_OK;
}

static enum srp_err read_kind(struct srp_routes_info *info, const uint8_t *header, const char *name,
                              struct srp_error *err)
{
    if (memcmp(header, "SRTE", 4) != 0) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: not routes: it does not begin with SRTE", name);
    }
    if (header[4] != 1) {
        return srpi_fail(err, SRP_ERR_UNSUPPORTED, "%s: routes of version %u, this library reads 1",
                         name, header[4]);
    }
    if (header[5] > SRP_ROUTES_CHOICE) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: kind %u is neither gains nor choice", name,
                         header[5]);
    }
    info->kind = (enum srp_routes_kind)header[5];
    info->paths = header[6];
    info->threshold = header[7];
    if (info->paths > SRP_MAX_PATHS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %" PRIu32 " paths, more than %u", name,
                         info->paths, SRP_MAX_PATHS);
    }
    if (info->paths < 2) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: %" PRIu32 " paths leave no choice", name,
                         info->paths);
    }
    const bool fits = info->kind == SRP_ROUTES_GAINS
                          ? info->threshold >= 1 && info->threshold <= MAX_LEVEL
                          : info->threshold == 0;
    if (!fits) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: threshold %" PRIu32 " of %s", name,
                         info->threshold,
                         info->kind == SRP_ROUTES_GAINS ? "gains is not 1 to 64"
                                                        : "a choice is not 0");
    }
    return SRP_OK;
}

/* Everything but the levels; *total: how many of them there are. */
static enum srp_err read_head(struct srp_routes *r, const struct srp_blob *bytes,
                                const char *name, size_t *total, struct srp_error *err)
{
    const uint8_t *header = bytes->data;
    struct srp_routes_info *info = &r->info;

    if (bytes->size < HEADER_BYTES) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: %zu bytes are too few for the header of routes",
                         name, bytes->size);
    }
    enum srp_err rc = read_kind(info, header, name, err);
    if (rc != SRP_OK) {
        return rc;
    }
    info->cell_width = little(header + 8, 2);
    info->cell_height = little(header + 10, 2);
    info->columns = little(header + 12, 2);
    info->rows = little(header + 14, 2);
    info->frames = little(header + 16, 4);
    if ((rc = read_cell(info->cell_width, name, "cell_width", err)) != SRP_OK ||
        (rc = read_cell(info->cell_height, name, "cell_height", err)) != SRP_OK ||
        (rc = read_count(info->columns, info->cell_width, name, "columns", err)) != SRP_OK ||
        (rc = read_count(info->rows, info->cell_height, name, "rows", err)) != SRP_OK) {
        return rc;
    }
    if (info->frames == 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: no frames", name);
    }
    if (little(header + 20, 4) != 0) {
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: bytes 20 to 23 are not 0", name);
    }
    if (info->columns * info->rows > SRP_MAX_REGIONS) { /* both are small by now */
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %" PRIu32 " x %" PRIu32 " cells, more than %u",
                         name, info->columns, info->rows, SRP_MAX_REGIONS);
    }
    r->planes = info->kind == SRP_ROUTES_GAINS ? info->paths - 1 : 1;
    if (!srpi_mul(info->columns, info->rows, &r->cells) ||
        !srpi_mul(r->cells, info->frames, &r->plane) || !srpi_mul(r->plane, r->planes, total) ||
        *total > SRP_MAX_ROUTES_LEVELS) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %" PRIu32 " x %" PRIu32 " cells of %" PRIu32
                         " frames in %" PRIu32 " planes are more than %u levels",
                         name, info->columns, info->rows, info->frames, r->planes,
                         SRP_MAX_ROUTES_LEVELS);
    }
    return SRP_OK;
}

/* From differences between frames to levels. */
static void accumulate(struct srp_routes *r)
{
    for (uint32_t p = 0; p < r->planes; p++) {
        uint8_t *plane = r->levels + p * r->plane;
        for (size_t i = r->cells; i < r->plane; i++) {
            plane[i] = (uint8_t)(plane[i] + plane[i - r->cells]);
        }
    }
}

static enum srp_err fail_level(const struct srp_routes *r, const char *name, size_t at,
                               const char *why, struct srp_error *err)
{
    const size_t cell = at % r->plane;
    return srpi_fail(err, SRP_ERR_FORMAT, "%s: frame %zu, row %zu, column %zu: level %u of plane "
                     "%zu %s", name, cell / r->cells, cell % r->cells / r->info.columns,
                     cell % r->info.columns, r->levels[at], at / r->plane, why);
}

static enum srp_err check_levels(const struct srp_routes *r, const char *name,
                                 struct srp_error *err)
{
    const uint32_t most = r->info.kind == SRP_ROUTES_GAINS ? MAX_LEVEL : r->info.paths - 1;

    for (uint32_t p = 0; p < r->planes; p++) {
        const uint8_t *plane = r->levels + p * r->plane;
        for (size_t i = 0; i < r->plane; i++) {
            if (plane[i] > most) {
                return fail_level(r, name, p * r->plane + i, "is out of range", err);
            }
            if (p > 0 && plane[i] > plane[i - r->plane]) {
                return fail_level(r, name, p * r->plane + i, "is above that of the path before",
                                  err);
            }
        }
    }
    return SRP_OK;
}

enum srp_err srp_routes_create(struct srp_routes **out, const struct srp_blob *bytes,
                               struct srp_error *err)
{
    if (out == NULL || bytes == NULL || (bytes->data == NULL && bytes->size > 0)) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_routes_create: out and bytes must not be NULL");
    }
    const char *name = srpi_blob_name(bytes, "routes");
    size_t total = 0;
    void *levels = NULL;

    *out = NULL;
    struct srp_routes *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", name);
    }
    atomic_init(&r->references, 1);
    enum srp_err rc = read_head(r, bytes, name, &total, err);
    if (rc == SRP_OK) {
        const struct srp_blob packed = {.data = (const uint8_t *)bytes->data + HEADER_BYTES,
                                        .size = bytes->size - HEADER_BYTES};
        rc = srpi_decompress(&packed, name, total, &levels, &total, err);
        r->levels = levels;
    }
    if (rc == SRP_OK) {
        accumulate(r);
        rc = check_levels(r, name, err);
    }
    if (rc != SRP_OK) {
        srp_routes_unref(&r);
    }
    *out = r;
    return rc;
}

static uint32_t cells_along(uint32_t pixels, uint32_t cell)
{
    return (pixels + cell - 1) / cell; /* both are small: SRP_MAX_DIMENSION, SRP_MAX_CELL */
}

enum srp_err srp_package_load_routes(const struct srp_package *pkg, uint32_t chunk,
                                     const struct srp_blob *bytes, struct srp_routes **out,
                                     struct srp_error *err)
{
    if (pkg == NULL || bytes == NULL || out == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_package_load_routes: NULL");
    }
    *out = NULL;
    const struct srp_chunk *entry = srp_package_chunk(pkg, chunk);
    if (entry == NULL || !entry->has_routes) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_package_load_routes: chunk %" PRIu32 " %s", chunk,
                         entry == NULL ? "does not exist" : "has no routes");
    }
    const struct srp_blob named = {bytes->data, bytes->size,
                                   srpi_blob_name(bytes, entry->routes.uri)};
    struct srp_routes *routes = NULL;
    enum srp_err rc =
        srpi_object_verify(&entry->routes, named.name, named.data, named.size, err);
    if (rc == SRP_OK) {
        rc = srp_routes_create(&routes, &named, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    const struct srp_routes_info *info = &routes->info;
    const uint32_t columns = cells_along(pkg->info.lr_width, info->cell_width);
    const uint32_t rows = cells_along(pkg->info.lr_height, info->cell_height);
    if (info->frames != entry->frames) {
        rc = srpi_fail(err, SRP_ERR_FORMAT, "%s: routes of %" PRIu32 " frames, chunk %" PRIu32
                       " has %" PRIu32, named.name, info->frames, chunk, entry->frames);
    } else if (info->columns != columns || info->rows != rows) {
        rc = srpi_fail(err, SRP_ERR_FORMAT, "%s: a grid of %" PRIu32 " x %" PRIu32
                       " where the picture has %" PRIu32 " x %" PRIu32 " cells", named.name,
                       info->columns, info->rows, columns, rows);
    }
    if (rc != SRP_OK) {
        srp_routes_unref(&routes);
    }
    *out = routes;
    return rc;
}

struct srp_routes *srp_routes_ref(struct srp_routes *routes)
{
    if (routes != NULL) {
        atomic_fetch_add_explicit(&routes->references, 1, memory_order_relaxed);
    }
    return routes;
}

void srp_routes_unref(struct srp_routes **routes)
{
    if (routes == NULL || *routes == NULL) {
        return;
    }
    struct srp_routes *r = *routes;
    *routes = NULL;
    if (atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) == 1) {
        free(r->levels);
        free(r);
    }
}

void srp_routes_get_info(const struct srp_routes *routes, struct srp_routes_info *info)
{
    *info = routes->info;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The levels of a frame; that of cell i in plane p is at [p * routes->plane + i]. */
static const uint8_t *frame_levels(const struct srp_routes *routes, uint32_t frame)
{
    return routes->levels + frame * routes->cells;
}

static enum srp_err check_frame(const struct srp_routes *routes, uint32_t frame,
                                const uint8_t *paths, struct srp_error *err)
{
    if (routes == NULL || paths == NULL) {
        return srpi_fail(err, SRP_ERR_USAGE, "routes and paths must not be NULL");
    }
    if (frame >= routes->info.frames) {
        return srpi_fail(err, SRP_ERR_USAGE, "frame %" PRIu32 " of routes for %" PRIu32, frame,
                         routes->info.frames);
    }
    return SRP_OK;
}

enum srp_err srp_routes_exact(const struct srp_routes *routes, uint32_t frame, uint8_t *paths,
                              struct srp_error *err)
{
    const enum srp_err rc = check_frame(routes, frame, paths, err);
    if (rc != SRP_OK) {
        return rc;
    }
    const uint8_t *levels = frame_levels(routes, frame);
    if (routes->info.kind == SRP_ROUTES_CHOICE) {
        memcpy(paths, levels, routes->cells);
        return SRP_OK;
    }
    /* Levels do not rise with the path: the planes that reach the threshold come first. */
    memset(paths, 0, routes->cells);
    for (uint32_t p = 0; p < routes->planes; p++) {
        const uint8_t *plane = levels + p * routes->plane;
        for (size_t i = 0; i < routes->cells; i++) {
            paths[i] = (uint8_t)(paths[i] + (plane[i] >= routes->info.threshold));
        }
    }
    return SRP_OK;
}

/* What a step from a path to the next dearer one brings and costs, for each input pixel. */
struct step {
    double gain[MAX_LEVEL + 1]; /* of each level; 0: nothing to gain */
    double cost;
};

/* One call of srp_routes_budget. */
struct budget {
    const struct srp_routes *routes;
    const uint8_t *levels; /* of the frame */
    const struct srp_path_cost *costs;
    struct step step[SRP_MAX_PATHS];
    uint32_t width, height;
};

/* Paths for one price of cost. */
struct taken {
    uint64_t pixels[SRP_MAX_PATHS];
    double least; /* the smallest gain per cost that was taken; INFINITY: nothing that costs */
    double next;  /* the largest that was not: the best step that is left; 0: none */
};

static double per_cost(double gain, double cost)
{
    return gain <= 0 ? 0 : cost <= 0 ? INFINITY : gain / cost;
}

/* The path of cell `at` when a unit of cost has to gain `price`.
 *
 * Steps are taken in order, so a step that gains more for its cost than the one before is worth
 * what the two are worth together ("pool adjacent violators"). The packer's levels do not rise
 * with the path, but on this device a later step may be relatively cheaper than by multiply-
 * accumulates. */
static uint32_t path_at(const struct budget *b, size_t at, double price, struct taken *taken)
{
    struct {
        double gain, cost, ratio;
        uint32_t last; /* path */
    } block[SRP_MAX_PATHS];
    uint32_t blocks = 0, path = 0;

    for (uint32_t p = 1; p < b->routes->info.paths; p++) {
        const struct step *step = &b->step[p];
        double gain = step->gain[b->levels[(p - 1) * b->routes->plane + at]];
        double cost = step->cost;
        double ratio = per_cost(gain, cost);
        while (blocks > 0 && ratio > block[blocks - 1].ratio) {
            blocks--;
            gain += block[blocks].gain;
            cost += block[blocks].cost;
            ratio = per_cost(gain, cost);
        }
        block[blocks].gain = gain;
        block[blocks].cost = cost;
        block[blocks].ratio = ratio;
        block[blocks++].last = p;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        const double ratio = block[i].ratio;
        if (ratio <= 0 || ratio < price) {
            taken->next = ratio > taken->next ? ratio : taken->next;
            break; /* ratios fall */
        }
        taken->least = ratio < taken->least ? ratio : taken->least;
        path = block[i].last;
    }
    return path;
}

/* Every cell at one price. */
static void take(const struct budget *b, double price, uint8_t *paths, struct taken *taken)
{
    const struct srp_routes_info *info = &b->routes->info;
    size_t at = 0;

    *taken = (struct taken){.least = INFINITY};
    for (uint32_t row = 0; row < info->rows; row++) {
        const uint32_t y = row * info->cell_height;
        const uint32_t height =
            b->height - y < info->cell_height ? b->height - y : info->cell_height;
        for (uint32_t column = 0; column < info->columns; column++, at++) {
            const uint32_t x = column * info->cell_width;
            const uint32_t width =
                b->width - x < info->cell_width ? b->width - x : info->cell_width;
            if (info->kind == SRP_ROUTES_GAINS) {
                paths[at] = (uint8_t)path_at(b, at, price, taken);
            }
            taken->pixels[paths[at]] += (uint64_t)width * height;
        }
    }
}

static double spent_on(const struct budget *b, const struct taken *taken)
{
    double sum = 0;
    for (uint32_t p = 0; p < b->routes->info.paths; p++) {
        sum += (double)taken->pixels[p] * b->costs[p].cost;
    }
    return sum;
}

/* Positive doubles in the order of their bits: halving these halves the list of candidates,
 * whatever their magnitude. */
static double between(double low, double high)
{
    uint64_t l = 0, h = 0;
    double middle = 0;
    memcpy(&l, &low, sizeof(l));
    memcpy(&h, &high, sizeof(h));
    l += (h - l + 1) / 2;
    memcpy(&middle, &l, sizeof(middle));
    return middle;
}

/* The smallest price that fits the budget. Each attempt either fits, and then the next lower
 * ratio of any cell is what could still be had, or does not, and then the next higher one is: so
 * the search ends after about the logarithm of the number of different ratios. */
static void search(const struct budget *b, double budget, uint8_t *paths, struct taken *taken)
{
    take(b, 0, paths, taken);
    if (spent_on(b, taken) <= budget) {
        return;
    }
    double low = taken->least; /* does not fit */
    double high = INFINITY;    /* fits, or there is nothing cheaper */
    take(b, high, paths, taken);
    while (taken->next > low) {
        struct taken tried;
        const double price = between(low, taken->next);
        take(b, price, paths, &tried);
        if (spent_on(b, &tried) <= budget) {
            *taken = tried;
            high = price;
        } else {
            low = tried.least;
        }
    }
    take(b, high, paths, taken);
}

static enum srp_err check_costs(const struct srp_routes *routes, const struct srp_path_cost *costs,
                                double budget, struct srp_error *err)
{
    if (costs == NULL || isnan(budget)) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_routes_budget: %s",
                         costs == NULL ? "no costs" : "the budget is no number");
    }
    for (uint32_t p = 0; p < routes->info.paths; p++) {
        if (!isfinite(costs[p].cost) || costs[p].cost < 0) {
            return srpi_fail(err, SRP_ERR_USAGE, "srp_routes_budget: the cost of path %" PRIu32
                             " is negative or no number", p);
        }
    }
    return SRP_OK;
}

/* 2^((level - 1) / 2), with no rounding but that of the root. */
static double gain_of(uint32_t level)
{
    return level == 0 ? 0 : ldexp(level % 2 == 1 ? 1.0 : 1.4142135623730951, (int)(level - 1) / 2);
}

enum srp_err srp_routes_budget(const struct srp_routes *routes, uint32_t frame, uint32_t width,
                               uint32_t height, const struct srp_path_cost *costs, double budget,
                               uint8_t *paths, double *spent, struct srp_error *err)
{
    struct taken taken;
    enum srp_err rc = check_frame(routes, frame, paths, err);
    if (rc == SRP_OK) {
        rc = check_costs(routes, costs, budget, err);
    }
    if (rc != SRP_OK) {
        return rc;
    }
    const struct srp_routes_info *info = &routes->info;
    if (width == 0 || height == 0 || width > SRP_MAX_DIMENSION || height > SRP_MAX_DIMENSION ||
        cells_along(width, info->cell_width) != info->columns ||
        cells_along(height, info->cell_height) != info->rows) {
        return srpi_fail(err, SRP_ERR_USAGE, "srp_routes_budget: %" PRIu32 " x %" PRIu32
                         " pixels are not %" PRIu32 " x %" PRIu32 " cells of %" PRIu32 " x %"
                         PRIu32,
                         width, height, info->columns, info->rows, info->cell_width,
                         info->cell_height);
    }
    struct budget b = {.routes = routes,
                       .levels = frame_levels(routes, frame),
                       .costs = costs,
                       .width = width,
                       .height = height};
    if (info->kind == SRP_ROUTES_CHOICE) {
        memcpy(paths, b.levels, routes->cells);
        take(&b, 0, paths, &taken);
    } else {
        for (uint32_t p = 1; p < info->paths; p++) {
            const uint64_t before = costs[p - 1].macs_per_pixel, macs = costs[p].macs_per_pixel;
            for (uint32_t level = 1; level <= MAX_LEVEL && macs > before; level++) {
                b.step[p].gain[level] = gain_of(level) * 1e-6 * (double)(macs - before);
            }
            b.step[p].cost = costs[p].cost - costs[p - 1].cost;
        }
        search(&b, budget, paths, &taken);
    }
    if (spent != NULL) {
        *spent = spent_on(&b, &taken);
    }
    return SRP_OK;
}
