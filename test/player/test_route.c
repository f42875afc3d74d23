/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes and the governor together, on devices that are made up: what a frame costs, what is chosen, and
 * when pictures are late. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_data.h"
#include "route_data.h"
#include "stats.h"
#include "timing.h"

enum { COLUMNS = 10, ROWS = 5, CELLS = COLUMNS * ROWS, FRAMES = 100, PATHS = 3 };
static const uint32_t width = 480, height = 270, pixels = 480 * 270;
static const double frame_time = 1.0 / 30, ahead = 4.0 / 30;
static const uint64_t macs[PATHS] = {0, 5000, 20000};

struct device {
    struct sp_router router;
    struct sp_governor governor;
    struct srp_routes *routes;
    double cost[PATHS]; /* seconds for a pixel */
    double rest;        /* for a frame */
    double now;
    uint32_t index;
    /* of the frames since count() */
    uint32_t sr, base, drop, late;
    uint64_t cells[PATHS];
    double busy, most;
};

static struct srp_routes *make(uint8_t kind)
{
    static uint8_t levels[2 * FRAMES * CELLS];
    struct route_spec s = {.kind = kind, .paths = PATHS, .threshold = kind == 0 ? 24 : 0,
                           .cell_width = 48, .cell_height = 54, .columns = COLUMNS, .rows = ROWS,
                           .frames = FRAMES, .levels = levels};
    struct srp_routes *routes = NULL;
    random_levels(&s, levels, 3);
    struct text t = make_routes(&s);
    const struct srp_blob blob = text_blob(&t, NULL);
    assert_int_equal(srp_routes_create(&routes, &blob, NULL), SRP_OK);
    text_free(&t);
    return routes;
}

/* `speed`: of the dearest path over the whole picture, in frames per second. */
static void set_speed(struct device *d, double speed)
{
    d->cost[2] = 1 / (speed * pixels);
    d->cost[1] = d->cost[2] / 3; /* not as multiply-accumulates say */
    d->cost[0] = d->cost[2] / 50;
    d->rest = 0.001;
}

static void start(struct device *d, double speed)
{
    *d = (struct device){.now = -1, .routes = make(SRP_ROUTES_GAINS)};
    d->router.path_count = PATHS;
    memcpy(d->router.macs, macs, sizeof(macs));
    sp_governor_init(&d->governor, frame_time, true, true);
    set_speed(d, speed);
}

static void stop(struct device *d)
{
    sp_router_free(&d->router);
    srp_routes_unref(&d->routes);
}

/* What the routes chosen cost here. */
static double run_routes(struct device *d, double budget)
{
    struct srp_routing routing;
    struct srp_routing_stats stats = {.reused = 0};
    double seconds = d->rest;
    assert_int_equal(sp_router_choose(&d->router, d->routes, d->index % FRAMES, width, height, budget,
                                      &routing, NULL), SRP_OK);
    for (uint32_t i = 0; i < CELLS; i++) {
        stats.cells[routing.paths[i]]++;
        stats.pixels[routing.paths[i]] += 48 * 54;
        d->cells[routing.paths[i]]++;
    }
    for (uint32_t p = 0; p < PATHS; p++) {
        stats.seconds[p] = (double)stats.pixels[p] * d->cost[p];
        seconds += stats.seconds[p];
    }
    sp_router_record(&d->router, &stats, seconds);
    return seconds;
}

/* One frame, as pipeline.c does it, with a queue of eight. */
static void step(struct device *d)
{
    const double due = d->index * frame_time;
    d->now = fmax(d->now, due - 8 * frame_time);
    const double slack = due - d->now, budget = sp_governor_budget(&d->governor, slack, ahead);
    d->governor.least = sp_router_least(&d->router, pixels);
    const enum sp_action action = sp_governor_decide(&d->governor, d->now, slack, true);
    double cost = 0;
    if (action == SP_ACTION_SR) {
        cost = run_routes(d, budget);
        d->most = fmax(d->most, cost);
        d->busy += cost;
        d->sr++;
    } else if (action == SP_ACTION_BASE) {
        cost = d->cost[0] * pixels;
        d->base++;
    } else {
        d->drop++;
    }
    sp_governor_record(&d->governor, action, cost);
    d->now += cost;
    d->late += d->now > due;
    d->index++;
}

static void run(struct device *d, double seconds)
{
    d->sr = d->base = d->drop = d->late = 0;
    d->busy = d->most = 0;
    memset(d->cells, 0, sizeof(d->cells));
    for (double end = d->index + seconds / frame_time; d->index < end;) {
        step(d);
    }
}

static void a_fast_device_takes_every_gain(void **state)
{
    (void)state;
    struct device d;
    uint64_t wanted[PATHS] = {0};
    start(&d, 300);
    for (uint32_t f = 0; f < FRAMES; f++) {
        struct srp_routing routing;
        struct sp_router all = d.router;
        assert_int_equal(sp_router_choose(&all, d.routes, f, width, height, (double)INFINITY,
                                          &routing, NULL), SRP_OK);
        for (uint32_t i = 0; i < CELLS; i++) {
            wanted[routing.paths[i]]++;
        }
        sp_router_free(&all);
    }
    run(&d, 10);
    assert_true(d.cells[2] > 0 && d.base + d.drop + d.late == 0);
    run(&d, FRAMES * frame_time);
    assert_memory_equal(d.cells, wanted, sizeof(wanted));
    stop(&d);
}

static void slower_devices_take_less_and_are_in_time(void **state)
{
    (void)state;
    static const double speeds[] = {60, 30, 20, 12, 6, 3, 1.5};
    uint64_t before = UINT64_MAX;
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
        struct device d;
        start(&d, speeds[i]);
        run(&d, 10); /* learns */
        run(&d, 60);
        assert_int_equal(d.base + d.drop + d.late, 0);
        assert_true(d.busy <= 60);
        assert_true(d.most < 1.2 * frame_time);
        const uint64_t dear = d.cells[1] + 3 * d.cells[2];
        assert_true(dear <= before);
        before = dear;
        if (speeds[i] < 20 && speeds[i] > 2) { /* and it does not idle: most of the time is used */
            assert_true(d.busy > 0.7 * 60);
        }
        stop(&d);
    }
}

static void a_device_that_slows_down_gives_up_cells_alone(void **state)
{
    (void)state;
    struct device d;
    start(&d, 60);
    run(&d, 20);
    assert_int_equal(d.base + d.drop + d.late, 0);
    const uint64_t before = d.cells[2];
    set_speed(&d, 15); /* four times as slow from one frame to the next */
    run(&d, 20);
    assert_true(d.base + d.drop <= 2);
    assert_true(d.cells[2] < before);
    run(&d, 20);
    assert_int_equal(d.base + d.drop + d.late, 0);
    set_speed(&d, 60);
    run(&d, 20);
    run(&d, 20);
    assert_int_equal(d.base + d.drop + d.late, 0);
    assert_true(d.cells[2] > before * 9 / 10);
    stop(&d);
}

static void a_hopeless_device_goes_down_the_ladder(void **state)
{
    (void)state;
    struct device d;
    start(&d, 0.4); /* even path 0 takes longer than a frame lasts */
    run(&d, 60);
    assert_true(d.drop > 0);
    assert_true((d.sr + d.base) * 8 >= 60 * 30 - 16);
    set_speed(&d, 60);
    run(&d, 60);
    run(&d, 20);
    assert_int_equal(d.base + d.drop, 0);
    stop(&d);
}

static void one_stall_is_not_the_paths_cost(void **state)
{
    (void)state;
    struct device d;
    start(&d, 20);
    run(&d, 10);
    const double least = sp_router_least(&d.router, pixels);
    const struct srp_routing_stats stats = {.pixels = {1000, 1000, 1000}, .seconds = {5, 5, 5}};
    sp_router_record(&d.router, &stats, 15);
    assert_true(sp_router_least(&d.router, pixels) < 1.5 * least);
    run(&d, 10);
    assert_int_equal(d.drop, 0);
    stop(&d);
}

static void what_is_known_of_costs(void **state)
{
    (void)state;
    struct device d;
    struct srp_routing routing;
    uint8_t exact[CELLS];
    start(&d, 60);
    assert_true(sp_router_least(&d.router, pixels) <= 0);
    /* Nothing is: the packer's choice, whatever the budget. */
    assert_int_equal(sp_router_choose(&d.router, d.routes, 5, width, height, 0, &routing, NULL), SRP_OK);
    assert_int_equal(srp_routes_exact(d.routes, 5, exact, NULL), SRP_OK);
    assert_memory_equal(routing.paths, exact, CELLS);
    assert_int_equal(routing.cell_width, 48);
    assert_int_equal(routing.cell_height, 54);
    assert_null(routing.previous);
    /* The dearest path alone: the others by their multiply-accumulates. */
    const struct srp_routing_stats stats = {.pixels = {0, 0, 1000}, .seconds = {0, 0, 0.002}};
    sp_router_record(&d.router, &stats, 0.003);
    assert_true(fabs(sp_router_least(&d.router, pixels) - 0.001) < 1e-12); /* path 0 has none */
    assert_int_equal(sp_router_choose(&d.router, d.routes, 5, width, height, 0, &routing, NULL), SRP_OK);
    for (uint32_t i = 0; i < CELLS; i++) {
        assert_int_equal(routing.paths[i], 0);
    }
    /* Other paths than the model's. */
    struct srp_error err = {0};
    d.router.path_count = 2;
    check_failure(sp_router_choose(&d.router, d.routes, 5, width, height, 0, &routing, &err), SRP_ERR_USAGE,
                  &err, "routes of 3 paths for a model of 2", "paths");
    stop(&d);

    struct sp_router r = {.mode = SP_ROUTE_BUDGET};
    struct srp_routes *choice = make(SRP_ROUTES_CHOICE);
    assert_false(sp_router_is_elastic(&r, choice));
    srp_routes_unref(&choice);
    choice = make(SRP_ROUTES_GAINS);
    assert_true(sp_router_is_elastic(&r, choice));
    r.mode = SP_ROUTE_EXACT;
    assert_false(sp_router_is_elastic(&r, choice));
    srp_routes_unref(&choice);
}

static void counts_add_up_and_are_told(void **state)
{
    (void)state;
    char text[160], small[8];
    struct sp_meter *m = sp_meter_create();
    struct sp_playback_stats s;
    struct sp_route_counts one = {
        .paths = 3, .cells = {12, 30, 6}, .reused = 2, .macs = 25, .macs_dearest = 100};
    sp_meter_route(m, &one, SP_ROUTES_READY);
    one.macs = 45;
    sp_meter_route(m, &one, SP_ROUTES_READY);
    sp_meter_route(m, NULL, SP_NO_ROUTES_NOT_ARRIVED);
    sp_meter_read(m, &s);
    assert_int_equal(s.routed, 2);
    assert_int_equal(s.by_default, 1);
    assert_int_equal(s.by_default_by[SP_NO_ROUTES_NOT_ARRIVED], 1);
    assert_int_equal(s.route.cells[1], 60);
    sp_stats_routes(&s.route, text, sizeof(text));
    assert_string_equal(text, "24 60 12 cells by path, 4 kept, 35.0% MAC");
    sp_stats_routes(&s.route, small, sizeof(small));
    assert_string_equal(small, "24 60 1");
    json_t *json = sp_stats_routes_json(&s);
    assert_int_equal(json_integer_value(json_object_get(json, "frames")), 2);
    assert_int_equal(json_array_size(json_object_get(json, "cells")), 3);
    assert_true(json_real_value(json_object_get(json, "macs_share")) == 0.35);
    json_decref(json);
    sp_meter_destroy(&m);
    for (int r = SP_NO_ROUTES_NONE; r < SP_NO_ROUTES_COUNT; r++) {
        assert_true(strlen(sp_no_routes_key((enum sp_no_routes)r)) > 0);
        assert_string_not_equal(sp_no_routes_text((enum sp_no_routes)r), "unknown");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fast_device_takes_every_gain),
        cmocka_unit_test(slower_devices_take_less_and_are_in_time),
        cmocka_unit_test(a_device_that_slows_down_gives_up_cells_alone),
        cmocka_unit_test(a_hopeless_device_goes_down_the_ladder),
        cmocka_unit_test(one_stall_is_not_the_paths_cost),
        cmocka_unit_test(what_is_known_of_costs),
        cmocka_unit_test(counts_add_up_and_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
