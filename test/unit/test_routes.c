/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes: reading, refusing, the packer's choice, and what a budget buys. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_data.h"
#include "route_data.h"

#include <srp/limits.h>

enum { COLUMNS = 5, ROWS = 4, CELLS = COLUMNS * ROWS, FRAMES = 6, MOST = 7 * CELLS * FRAMES };
static const uint32_t width = 48 * COLUMNS - 13, height = 32 * ROWS - 2;

static struct route_spec spec_of(uint8_t kind, uint8_t paths, uint8_t threshold)
{
    return (struct route_spec){.kind = kind,
                               .paths = paths,
                               .threshold = threshold,
                               .cell_width = 48,
                               .cell_height = 32,
                               .columns = COLUMNS,
                               .rows = ROWS,
                               .frames = FRAMES};
}

static struct srp_routes *read_routes(const struct text *t)
{
    struct srp_routes *routes = NULL;
    struct srp_error err = {0};
    const struct srp_blob blob = text_blob(t, "r");
    if (srp_routes_create(&routes, &blob, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    return routes;
}

static void refuse(const struct text *t, enum srp_err code, const char *needle, const char *what)
{
    struct srp_error err = {0};
    struct srp_routes *routes = NULL;
    const struct srp_blob blob = text_blob(t, "r");
    check_failure(srp_routes_create(&routes, &blob, &err), code, &err, needle, what);
    assert_memory_equal(err.detail, "r: ", 3);
    assert_null(routes);
    assert_int_equal(srp_routes_create(&routes, &blob, NULL), code);
}

/* ---- reading ---- */

static void reads_gains(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    for (uint8_t paths = 2; paths <= 8; paths++) {
        struct route_spec s = spec_of(SRP_ROUTES_GAINS, paths, 20);
        struct srp_routes_info info;
        uint8_t found[CELLS];
        s.levels = levels;
        random_levels(&s, levels, paths);
        struct text t = make_routes(&s);
        struct srp_routes *routes = read_routes(&t), *other = srp_routes_ref(routes);
        text_free(&t); /* nothing points into it */
        assert_ptr_equal(other, routes);
        srp_routes_unref(&other);
        assert_null(other);
        srp_routes_get_info(routes, &info);
        assert_int_equal(info.kind, SRP_ROUTES_GAINS);
        assert_int_equal(info.paths, paths);
        assert_int_equal(info.threshold, 20);
        assert_int_equal(info.cell_width, 48);
        assert_int_equal(info.cell_height, 32);
        assert_int_equal(info.columns, COLUMNS);
        assert_int_equal(info.rows, ROWS);
        assert_int_equal(info.frames, FRAMES);
        for (uint32_t f = 0; f < FRAMES; f++) {
            assert_int_equal(srp_routes_exact(routes, f, found, NULL), SRP_OK);
            for (uint32_t i = 0; i < CELLS; i++) {
                uint8_t path = 0;
                for (uint8_t p = 1; p < paths; p++) {
                    path = levels[((p - 1u) * FRAMES + f) * CELLS + i] >= 20 ? p : path;
                }
                assert_int_equal(found[i], path);
            }
        }
        struct srp_error err = {0};
        check_failure(srp_routes_exact(routes, FRAMES, found, &err), SRP_ERR_USAGE, &err,
                      "frame 6 of routes for 6", "a frame too far");
        srp_routes_unref(&routes);
        assert_null(routes);
        srp_routes_unref(&routes);
        srp_routes_unref(NULL);
    }
    assert_null(srp_routes_ref(NULL));
}

static void reads_choices(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    struct route_spec s = spec_of(SRP_ROUTES_CHOICE, 5, 0);
    struct srp_path_cost costs[5];
    uint8_t found[CELLS];
    s.levels = levels;
    random_levels(&s, levels, 9);
    struct text t = make_routes(&s);
    struct srp_routes *routes = read_routes(&t);
    for (uint32_t p = 0; p < 5; p++) {
        costs[p] = (struct srp_path_cost){.macs_per_pixel = p, .cost = p};
    }
    for (uint32_t f = 0; f < FRAMES; f++) {
        double spent = 0, wanted = 0;
        assert_int_equal(srp_routes_exact(routes, f, found, NULL), SRP_OK);
        assert_memory_equal(found, levels + f * CELLS, CELLS);
        memset(found, 9, sizeof(found));
        assert_int_equal(
            srp_routes_budget(routes, f, width, height, costs, 0, found, &spent, NULL), SRP_OK);
        assert_memory_equal(found, levels + f * CELLS, CELLS);
        for (uint32_t i = 0; i < CELLS; i++) {
            const uint32_t w = i % COLUMNS == COLUMNS - 1 ? 48 - 13 : 48;
            const uint32_t h = i / COLUMNS == ROWS - 1 ? 32 - 2 : 32;
            wanted += (double)w * h * found[i];
        }
        assert_true(spent == wanted);
    }
    srp_routes_unref(&routes);
    text_free(&t);
}

/* ---- refusing ---- */

struct broken {
    uint32_t at, bytes;
    uint64_t value;
    enum srp_err code;
    const char *needle;
};

static void refuses_each_field(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    static const struct broken cases[] = {
        {0, 1, 'Z', SRP_ERR_PARSE, "not routes"},
        {3, 1, 'e', SRP_ERR_PARSE, "not routes"},
        {4, 1, 0, SRP_ERR_UNSUPPORTED, "version 0"},
        {4, 1, 2, SRP_ERR_UNSUPPORTED, "version 2"},
        {5, 1, 2, SRP_ERR_FORMAT, "kind 2"},
        {5, 1, 1, SRP_ERR_FORMAT, "threshold 20 of a choice"},
        {6, 1, 0, SRP_ERR_FORMAT, "0 paths"},
        {6, 1, 1, SRP_ERR_FORMAT, "1 paths"},
        {6, 1, 9, SRP_ERR_LIMIT, "9 paths"},
        {6, 1, 2, SRP_ERR_FORMAT, "bytes where"},
        {7, 1, 0, SRP_ERR_FORMAT, "threshold 0 of gains"},
        {7, 1, 65, SRP_ERR_FORMAT, "threshold 65 of gains"},
        {8, 2, 0, SRP_ERR_FORMAT, "cell_width 0"},
        {8, 2, 6, SRP_ERR_FORMAT, "cell_width 6"},
        {8, 2, 9, SRP_ERR_FORMAT, "cell_width 9"},
        {8, 2, 1026, SRP_ERR_LIMIT, "cell_width 1026"},
        {10, 2, 7, SRP_ERR_FORMAT, "cell_height 7"},
        {10, 2, 65534, SRP_ERR_LIMIT, "cell_height 65534"},
        {12, 2, 0, SRP_ERR_FORMAT, "no columns"},
        {12, 2, 4, SRP_ERR_FORMAT, "bytes where"},
        {12, 2, 343, SRP_ERR_LIMIT, "343 columns"},
        {14, 2, 0, SRP_ERR_FORMAT, "no rows"},
        {8, 8, 0x01ff01ff00080008u, SRP_ERR_LIMIT, "511 x 511 cells, more than"},
        {14, 2, 65535, SRP_ERR_LIMIT, "65535 rows"},
        {16, 4, 0, SRP_ERR_FORMAT, "no frames"},
        {16, 4, 7, SRP_ERR_FORMAT, "bytes where"},
        {16, 4, 0xffffffffu, SRP_ERR_LIMIT, "levels"},
        {16, 4, SRP_MAX_ROUTES_LEVELS / (2 * CELLS) + 1, SRP_ERR_LIMIT, "levels"},
        {16, 4, SRP_MAX_ROUTES_LEVELS / (2 * CELLS), SRP_ERR_FORMAT, "bytes where"},
        {20, 4, 1, SRP_ERR_FORMAT, "bytes 20 to 23"},
        {20, 4, 0x80000000u, SRP_ERR_FORMAT, "bytes 20 to 23"},
        {24, 1, 0, SRP_ERR_PARSE, "not a zstd frame"},
    };
    struct route_spec s = spec_of(SRP_ROUTES_GAINS, 3, 20);
    s.levels = levels;
    random_levels(&s, levels, 1);
    struct text good = make_routes(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct text t = text_copy(good.data, good.size);
        route_number(t.data + cases[i].at, cases[i].value, cases[i].bytes);
        refuse(&t, cases[i].code, cases[i].needle, cases[i].needle);
        text_free(&t);
    }

    struct srp_routes *routes = NULL;
    struct srp_error err = {0};
    check_failure(srp_routes_create(&routes, NULL, &err), SRP_ERR_USAGE, &err, "NULL", "bytes");
    const struct srp_blob blob = text_blob(&good, NULL);
    check_failure(srp_routes_create(NULL, &blob, &err), SRP_ERR_USAGE, &err, "NULL", "out");
    text_free(&good);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    struct route_spec s = spec_of(SRP_ROUTES_GAINS, 3, 20);
    s.levels = levels;
    random_levels(&s, levels, 2);
    struct text good = make_routes(&s);
    for (size_t size = 0; size < good.size; size++) {
        struct text t = text_copy(good.data, size);
        refuse(&t, SRP_ERR_PARSE, "", "cut short");
        text_free(&t);
    }
    struct text t = {malloc(good.size + 1), good.size + 1};
    assert_non_null(t.data);
    memcpy(t.data, good.data, good.size);
    t.data[good.size] = 0;
    refuse(&t, SRP_ERR_SIZE, "1 bytes after", "one byte more");
    text_free(&t);
    /* Any flipped bit: an outcome, and no read or write out of bounds. */
    for (size_t bit = 0; bit < 8 * good.size; bit++) {
        struct srp_error err = {0};
        struct srp_routes *routes = NULL;
        uint8_t found[CELLS * 64];
        t = text_copy(good.data, good.size);
        t.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const struct srp_blob blob = text_blob(&t, NULL);
        const enum srp_err rc = srp_routes_create(&routes, &blob, &err);
        check_outcome(rc, &err);
        if (rc == SRP_OK) {
            assert_int_equal(srp_routes_exact(routes, FRAMES - 1, found, NULL), SRP_OK);
        }
        srp_routes_unref(&routes);
        text_free(&t);
    }
    text_free(&good);
}

static void refuses_bad_levels(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    struct route_spec s = spec_of(SRP_ROUTES_GAINS, 3, 20);
    struct text t;
    s.levels = levels;
    levels[3 * CELLS + 7] = 65;
    t = make_routes(&s);
    refuse(&t, SRP_ERR_FORMAT, "frame 3, row 1, column 2: level 65 of plane 0 is out", "high");
    text_free(&t);
    levels[3 * CELLS + 7] = 12;
    levels[(FRAMES + 3) * CELLS + 7] = 13;
    t = make_routes(&s);
    refuse(&t, SRP_ERR_FORMAT, "frame 3, row 1, column 2: level 13 of plane 1 is above", "rises");
    text_free(&t);
    levels[(FRAMES + 3) * CELLS + 7] = 12;
    t = make_routes(&s);
    struct srp_routes *routes = read_routes(&t);
    srp_routes_unref(&routes);
    text_free(&t);
    s = spec_of(SRP_ROUTES_CHOICE, 3, 0);
    s.levels = levels;
    memset(levels, 0, sizeof(levels));
    levels[CELLS] = 3;
    t = make_routes(&s);
    refuse(&t, SRP_ERR_FORMAT, "frame 1, row 0, column 0: level 3 of plane 0 is out", "no path");
    text_free(&t);
    /* 64 MiB are promised in a few bytes: refused before they are looked for. */
    s = spec_of(SRP_ROUTES_GAINS, 3, 20);
    memset(levels, 0, sizeof(levels));
    s.levels = levels;
    t = make_routes(&s);
    t.data[24 + 4] = 0xa0; /* a frame that declares its size in 4 bytes */
    route_number(t.data + 24 + 5, 1u << 28, 4);
    refuse(&t, SRP_ERR_FORMAT, "declares 268435456 bytes where 240 are", "a lie");
    text_free(&t);
}

/* ---- budgets ---- */

static void costs_like_macs(struct srp_path_cost *costs, uint32_t paths)
{
    static const uint64_t macs[8] = {0, 300, 1000, 1700, 4000, 4100, 9000, 20000};
    for (uint32_t p = 0; p < paths; p++) {
        costs[p] = (struct srp_path_cost){macs[p], 0.125 * (double)macs[p]};
    }
}

static double pixels_of(uint32_t cell)
{
    const uint32_t w = cell % COLUMNS == COLUMNS - 1 ? 48 - 13 : 48;
    const uint32_t h = cell / COLUMNS == ROWS - 1 ? 32 - 2 : 32;
    return (double)w * h;
}

static double cost_of(const uint8_t *paths, const struct srp_path_cost *costs)
{
    double sum = 0;
    for (uint32_t i = 0; i < CELLS; i++) {
        sum += pixels_of(i) * costs[paths[i]].cost;
    }
    return sum;
}

static void a_budget_of_the_exact_choice_buys_it(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    struct srp_path_cost costs[8];
    uint8_t exact[CELLS], found[CELLS];
    for (uint8_t paths = 2; paths <= 8; paths++) {
        for (uint8_t threshold = 1; threshold <= 64; threshold++) {
            struct route_spec s = spec_of(SRP_ROUTES_GAINS, paths, threshold);
            s.levels = levels;
            random_levels(&s, levels, 64u * paths + threshold);
            struct text t = make_routes(&s);
            struct srp_routes *routes = read_routes(&t);
            costs_like_macs(costs, paths);
            double spent = 0;
            assert_int_equal(srp_routes_exact(routes, 3, exact, NULL), SRP_OK);
            const double budget = cost_of(exact, costs);
            assert_int_equal(srp_routes_budget(routes, 3, width, height, costs, budget, found,
                                               &spent, NULL), SRP_OK);
            assert_memory_equal(found, exact, CELLS);
            assert_true(spent == budget);
            srp_routes_unref(&routes);
            text_free(&t);
        }
    }
}

/* The same by trying every price there can be, and every path at each. */
static void naive(const struct route_spec *s, uint32_t frame, const struct srp_path_cost *costs,
                  double budget, uint8_t best[CELLS])
{
    long double gain[CELLS][8], price[CELLS * 36]; /* sums of very unlike numbers */
    uint32_t prices = 0;
    for (uint32_t i = 0; i < CELLS; i++) {
        gain[i][0] = 0;
        for (uint32_t p = 1; p < s->paths; p++) {
            const uint8_t level = s->levels[((p - 1u) * FRAMES + frame) * CELLS + i];
            gain[i][p] = gain[i][p - 1] +
                         (level == 0 ? 0 : powl(2, (level - 1) / 2.0L) * 1e-6L *
                                               (long double)(costs[p].macs_per_pixel -
                                                        costs[p - 1].macs_per_pixel));
            for (uint32_t q = 0; q < p; q++) {
                price[prices++] = (gain[i][p] - gain[i][q]) /
                                  (long double)(costs[p].cost - costs[q].cost);
            }
        }
    }
    memset(best, 0, CELLS);
    double dearest = -1;
    for (uint32_t k = 0; k < prices; k++) {
        const long double at = price[k] * (1 - 1e-9L);
        uint8_t paths[CELLS];
        for (uint32_t i = 0; at > 0 && i < CELLS; i++) {
            paths[i] = 0;
            for (uint8_t p = 1; p < s->paths; p++) {
                const long double more = gain[i][p] - gain[i][paths[i]];
                const double cost = costs[p].cost - costs[paths[i]].cost;
                paths[i] = more > at * (long double)cost ? p : paths[i];
            }
        }
        if (at > 0 && cost_of(paths, costs) <= budget && cost_of(paths, costs) > dearest) {
            dearest = cost_of(paths, costs);
            memcpy(best, paths, CELLS);
        }
    }
}

static void budgets_are_kept_and_spent_well(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    uint64_t seed = 77;
    for (uint32_t round = 0; round < 60; round++) {
        const uint8_t paths = (uint8_t)(2 + round % 7);
        struct route_spec s = spec_of(SRP_ROUTES_GAINS, paths, 20);
        struct srp_path_cost costs[8];
        uint8_t found[CELLS], before[CELLS] = {0}, all[CELLS], wanted[CELLS];
        s.levels = levels;
        random_levels(&s, levels, 1000 + round);
        struct text t = make_routes(&s);
        struct srp_routes *routes = read_routes(&t);
        costs_like_macs(costs, paths);
        for (uint32_t p = 1; p < paths; p++) { /* rising, but not as multiply-accumulates do */
            costs[p].cost = costs[p - 1].cost + 1 + (double)(next_random_u64(&seed) >> 20 & 255);
        }
        double most = 0, last = 0;
        assert_int_equal(srp_routes_budget(routes, 2, width, height, costs, (double)INFINITY, all,
                                           &most, NULL), SRP_OK);
        for (uint32_t i = 0; i < CELLS; i++) { /* everything that gains, and nothing else */
            uint8_t top = 0;
            for (uint8_t p = 1; p < paths; p++) {
                top = levels[((p - 1u) * FRAMES + 2) * CELLS + i] > 0 ? p : top;
            }
            assert_int_equal(all[i], top);
        }
        for (uint32_t k = 0; k <= 64; k++) {
            const double budget = most * k / 64;
            double spent = -1;
            assert_int_equal(srp_routes_budget(routes, 2, width, height, costs, budget, found,
                                               &spent, NULL), SRP_OK);
            assert_true(spent == cost_of(found, costs));
            assert_true(spent <= budget && spent >= last);
            for (uint32_t i = 0; i < CELLS; i++) {
                assert_true(found[i] >= before[i]);
            }
            naive(&s, 2, costs, budget, wanted);
            assert_memory_equal(found, wanted, CELLS);
            memcpy(before, found, CELLS);
            last = spent;
        }
        assert_memory_equal(found, all, CELLS);
        srp_routes_unref(&routes);
        text_free(&t);
    }
}

static void budgets_with_odd_costs(void **state)
{
    (void)state;
    static uint8_t levels[MOST];
    struct route_spec s = spec_of(SRP_ROUTES_GAINS, 3, 20);
    struct srp_path_cost costs[3] = {{100, 5}, {200, 5}, {300, 3}};
    struct srp_error err = {0};
    uint8_t found[CELLS];
    double spent = 0;
    s.levels = levels;
    memset(levels, 8, sizeof(levels));
    levels[FRAMES * CELLS] = 0; /* the last step of cell 0 gains nothing, though it costs less */
    levels[1] = levels[FRAMES * CELLS + 1] = 0;
    struct text t = make_routes(&s);
    struct srp_routes *routes = read_routes(&t);
#define BUDGET(budget) \
    srp_routes_budget(routes, 0, width, height, costs, budget, found, &spent, &err)
    assert_int_equal(BUDGET(-1), SRP_OK); /* steps that cost nothing are always taken */
    assert_int_equal(found[0], 1);
    assert_int_equal(found[1], 0);
    assert_int_equal(found[2], 2);
    costs[1].cost = 50; /* dear first, but the two together are cheaper than none: still taken */
    assert_int_equal(BUDGET(0), SRP_OK);
    assert_int_equal(found[0], 0);
    assert_int_equal(found[2], 2);
    costs[2].macs_per_pixel = 200; /* no more multiply-accumulates: nothing gained */
    assert_int_equal(BUDGET((double)INFINITY), SRP_OK);
    assert_int_equal(found[2], 1);
    assert_int_equal(BUDGET(0), SRP_OK);
    assert_int_equal(found[2], 0);
    assert_true(spent == 5.0 * width * height); /* what cannot be avoided */
    costs[2].cost = -1;
    check_failure(BUDGET(1), SRP_ERR_USAGE, &err, "cost of path 2", "negative");
    costs[2].cost = (double)NAN;
    check_failure(BUDGET(1), SRP_ERR_USAGE, &err, "cost of path 2", "NaN");
    costs[2].cost = (double)INFINITY;
    check_failure(BUDGET(1), SRP_ERR_USAGE, &err, "cost of path 2", "infinite");
    costs[2].cost = 1;
    check_failure(BUDGET((double)NAN), SRP_ERR_USAGE, &err, "budget", "NaN budget");
    check_failure(srp_routes_budget(routes, 6, width, height, costs, 1, found, NULL, &err),
                  SRP_ERR_USAGE, &err, "frame 6", "frame");
    check_failure(srp_routes_budget(routes, 0, width + 14, height, costs, 1, found, NULL, &err),
                  SRP_ERR_USAGE, &err, "cells", "another picture");
    check_failure(srp_routes_budget(routes, 0, width, height, NULL, 1, found, NULL, &err),
                  SRP_ERR_USAGE, &err, "no costs", "no costs");
    srp_routes_unref(&routes);
    text_free(&t);
}

/* ---- packages ---- */

struct packed {
    struct text graph, parameters, manifest, routes;
};

static struct packed pack(const struct route_spec *s)
{
    struct packed p = {.graph = text_copy(small_graph, strlen(small_graph)),
                       .parameters = small_parameters(),
                       .routes = make_routes(s)};
    struct text plain = make_manifest(&p.graph, &p.parameters, "small-x2", ".safetensors");
    p.manifest = routed_manifest(&plain, &p.routes);
    text_free(&plain);
    return p;
}

static void packed_free(struct packed *p)
{
    text_free(&p->graph);
    text_free(&p->parameters);
    text_free(&p->manifest);
    text_free(&p->routes);
}

static struct srp_package *open_package(const struct text *manifest)
{
    struct srp_package *pkg = NULL;
    struct srp_error err = {0};
    const struct srp_blob blob = text_blob(manifest, NULL);
    if (srp_package_create(&pkg, &blob, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    return pkg;
}

static void loads_the_routes_of_a_chunk(void **state)
{
    (void)state;
    static const uint8_t levels[100 * 2 * 2];
    struct route_spec s = {.paths = 2, .threshold = 3, .cell_width = 48, .cell_height = 32,
                           .columns = 2, .rows = 2, .frames = 100, .levels = levels};
    struct srp_error err = {0};
    struct srp_routes *routes = NULL;
    struct packed p = pack(&s); /* a picture of 64 x 48 */
    struct srp_package *pkg = open_package(&p.manifest);
    struct srp_blob blob = text_blob(&p.routes, NULL);
    const struct srp_chunk *chunk = srp_package_chunk(pkg, 0);
    assert_true(chunk->has_routes);
    assert_int_equal(chunk->routes.size, p.routes.size);
    assert_int_equal(strlen(chunk->routes.uri), 8 + 64 + 7);
    assert_false(srp_package_chunk(pkg, 1)->has_routes);
    assert_int_equal(srp_package_load_routes(pkg, 0, &blob, &routes, &err), SRP_OK);
    srp_routes_unref(&routes);
    check_failure(srp_package_load_routes(pkg, 1, &blob, &routes, &err), SRP_ERR_USAGE, &err,
                  "chunk 1 has no routes", "none");
    check_failure(srp_package_load_routes(pkg, 2, &blob, &routes, &err), SRP_ERR_USAGE, &err,
                  "chunk 2 does not exist", "too far");
    check_failure(srp_package_load_routes(NULL, 0, &blob, &routes, &err), SRP_ERR_USAGE, &err,
                  "NULL", "no package");
    blob.size--;
    check_failure(srp_package_load_routes(pkg, 0, &blob, &routes, &err), SRP_ERR_SIZE, &err,
                  ".routes: ", "short");
    blob.size++;
    p.routes.data[p.routes.size - 1] ^= 1;
    check_failure(srp_package_load_routes(pkg, 0, &blob, &routes, &err), SRP_ERR_HASH, &err,
                  "SHA-256", "flipped");
    assert_null(routes);
    srp_package_destroy(&pkg);
    packed_free(&p);

    /* Sound, and what the manifest says, but of another chunk or picture. */
    static const struct {
        uint16_t cell, columns, rows;
        uint32_t frames;
        const char *needle;
    } odd[] = {{32, 2, 2, 99, "99 frames, chunk 0 has 100"}, {32, 1, 2, 100, "1 x 2"},
               {32, 2, 3, 100, "2 x 3"}, {64, 2, 2, 100, "2 x 2"}};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        static const uint8_t zeros[1000];
        s = (struct route_spec){.paths = 2, .threshold = 3, .cell_width = odd[i].cell,
                                .cell_height = odd[i].cell, .columns = odd[i].columns,
                                .rows = odd[i].rows, .frames = odd[i].frames, .levels = zeros};
        p = pack(&s);
        pkg = open_package(&p.manifest);
        blob = text_blob(&p.routes, NULL);
        check_failure(srp_package_load_routes(pkg, 0, &blob, &routes, &err), SRP_ERR_FORMAT, &err,
                      odd[i].needle, odd[i].needle);
        srp_package_destroy(&pkg);
        packed_free(&p);
    }
}

static void refuses_bad_entries(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *needle;
        enum srp_err code;
    } cases[] = {
        {".routes\"", ".json\"", "chunks[0].routes.uri: '.json'", SRP_ERR_FORMAT},
        {".routes\"", ".routes.zst\"", "chunks[0].routes.uri", SRP_ERR_FORMAT},
        {"\"routes\": {", "\"routes\": null, \"x\": {", "chunks[0].routes: null", SRP_ERR_FORMAT},
        {"\"model\": 0, \"routes\"", "\"model\": null, \"routes\"",
         "chunks[0].routes: routes of a chunk without a model", SRP_ERR_FORMAT},
        {"\"routes\": {\"uri\": \"objects/", "\"routes\": {\"uri\": \"objects/0",
         "chunks[0].routes.uri", SRP_ERR_FORMAT},
    };
    static const uint8_t levels[100 * 2 * 2];
    const struct route_spec s = {.paths = 2, .threshold = 3, .cell_width = 48, .cell_height = 32,
                                 .columns = 2, .rows = 2, .frames = 100, .levels = levels};
    struct packed p = pack(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srp_package *pkg = NULL;
        struct srp_error err = {0};
        struct text t =
            text_replace((const char *)p.manifest.data, cases[i].from, cases[i].to);
        const struct srp_blob blob = text_blob(&t, NULL);
        check_failure(srp_package_create(&pkg, &blob, &err), cases[i].code, &err, cases[i].needle,
                      cases[i].to);
        assert_null(pkg);
        text_free(&t);
    }
    packed_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_gains),
        cmocka_unit_test(reads_choices),
        cmocka_unit_test(refuses_each_field),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_bad_levels),
        cmocka_unit_test(a_budget_of_the_exact_choice_buys_it),
        cmocka_unit_test(budgets_are_kept_and_spent_well),
        cmocka_unit_test(budgets_with_odd_costs),
        cmocka_unit_test(loads_the_routes_of_a_chunk),
        cmocka_unit_test(refuses_bad_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
