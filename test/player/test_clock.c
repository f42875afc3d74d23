/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock and the governor, with time told to them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stats.h"
#include "timing.h"

static const double tolerance = 1e-9;

static void near(double a, double b)
{
    assert_true(fabs(a - b) <= tolerance);
}

/* ---- clock ---- */

static void clock_runs_and_stands(void **state)
{
    (void)state;
    struct sp_clock c;
    sp_clock_init(&c);
    near(sp_clock_get(&c, 100), 0);
    sp_clock_set(&c, 100, 5, true);
    near(sp_clock_get(&c, 100), 5);
    near(sp_clock_get(&c, 103.5), 8.5);
    sp_clock_set(&c, 104, 9, false);
    bool running = true;
    near(sp_clock_read(&c, 200, &running), 9);
    assert_false(running);
    sp_clock_destroy(&c);
}

static void clock_follows_small_differences_slowly(void **state)
{
    (void)state;
    struct sp_clock c;
    sp_clock_init(&c);
    sp_clock_set(&c, 0, 0, true);
    near(sp_clock_sync(&c, 1, 1.016), 0.016);
    near(sp_clock_get(&c, 1), 1.001);
    double now = 1;
    for (int i = 0; i < 200; i++) { /* the sound card runs 16 ms ahead all the time */
        now += 0.02;
        sp_clock_sync(&c, now, now + 0.016);
    }
    assert_true(fabs(sp_clock_get(&c, now) - (now + 0.016)) < 1e-4);
    sp_clock_destroy(&c);
}

static void clock_jumps_to_far_ones(void **state)
{
    (void)state;
    struct sp_clock c;
    sp_clock_init(&c);
    sp_clock_set(&c, 0, 0, true);
    near(sp_clock_sync(&c, 1, 0.5), -0.5);
    near(sp_clock_get(&c, 1), 0.5);
    sp_clock_destroy(&c);
}

static void clock_that_stands_is_not_corrected(void **state)
{
    (void)state;
    struct sp_clock c;
    sp_clock_init(&c);
    sp_clock_set(&c, 0, 3, false);
    near(sp_clock_sync(&c, 1, 10), 0);
    near(sp_clock_get(&c, 2), 3);
    sp_clock_destroy(&c);
}

/* ---- governor: a small simulation of an upscaler that works ahead by `ahead` frames ---- */

struct world {
    struct sp_governor g;
    double now, frame, sr_cost, base_cost;
    int ahead, index;
    int sr, base, drop;
};

static void world_init(struct world *w, double frame, double sr_cost, bool degrade)
{
    *w = (struct world){.frame = frame, .sr_cost = sr_cost, .base_cost = 0.002, .ahead = 4,
                        .now = -1}; /* playback starts when pictures are there */
    sp_governor_init(&w->g, frame, degrade, true);
}

static enum sp_action world_step(struct world *w)
{
    double due = w->index * w->frame;
    w->now = fmax(w->now, due - w->ahead * w->frame); /* the queue was full until then */
    enum sp_action a = sp_governor_decide(&w->g, w->now, due - w->now, true);
    double cost = a == SP_ACTION_SR ? w->sr_cost : a == SP_ACTION_BASE ? w->base_cost : 0;
    sp_governor_record(&w->g, a, cost);
    w->now += cost;
    w->index++;
    w->sr += a == SP_ACTION_SR;
    w->base += a == SP_ACTION_BASE;
    w->drop += a == SP_ACTION_DROP;
    return a;
}

static void run(struct world *w, double seconds)
{
    w->sr = w->base = w->drop = 0;
    for (double end = w->index * w->frame + seconds; w->index * w->frame < end;) {
        world_step(w);
    }
}

static void fast_machine_never_degrades(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.030, true);
    run(&w, 60);
    assert_int_equal(w.base + w.drop, 0);
}

static void slow_machine_degrades_and_does_not_drop(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.080, true);
    run(&w, 60);
    assert_true(w.base > 50 * 30);
    assert_true(w.drop <= 3); /* the very first frames, before a cost is known */
    assert_true(w.sr > 0);
}

static void overload_steps_down_at_once(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.020, true);
    run(&w, 10);
    assert_int_equal(w.base, 0);
    w.sr_cost = 0.100;
    int frames = 0;
    while (!w.g.degraded && frames < 1000) {
        world_step(&w);
        frames++;
    }
    assert_true(frames < 15); /* half a second */
}

static void recovery_waits_and_comes(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.020, true);
    run(&w, 5);
    w.sr_cost = 0.100;
    while (!w.g.degraded) {
        world_step(&w);
    }
    w.sr_cost = 0.020;
    run(&w, 1.8);
    assert_int_equal(w.sr, 0); /* the hold of two seconds */
    run(&w, 10);
    run(&w, 10);
    assert_int_equal(w.base + w.drop, 0);
}

static void failing_retries_become_rare(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.060, true);
    run(&w, 120);
    double hold = w.g.hold;
    assert_true(hold > 15);
    assert_true(hold <= 30);
    run(&w, 60);
    assert_true(w.sr < 60); /* of 1800 */
}

static void one_hiccup_costs_one_frame(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.025, true);
    run(&w, 5);
    w.now += 0.125; /* the machine was away */
    run(&w, 5);
    assert_true(w.base <= 2);
    assert_int_equal(w.drop, 0);
}

static void sr_on_drops_but_never_degrades(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 0.060, false);
    run(&w, 20);
    assert_int_equal(w.base, 0);
    assert_true(w.drop > 200);
    assert_true(w.sr > 250);
}

static void hopeless_machine_still_shows_pictures(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1.0 / 30, 10, true);
    w.base_cost = 1;
    run(&w, 20);
    assert_true(w.drop > 0);
    assert_true((w.sr + w.base) * 8 >= 20 * 30 - 8); /* one of eight at least */
}

static void lossless_obeys_nothing(void **state)
{
    (void)state;
    struct sp_governor g;
    sp_governor_init(&g, 0.04, false, false);
    sp_governor_record(&g, SP_ACTION_SR, 5);
    assert_int_equal(sp_governor_decide(&g, 100, -50, true), SP_ACTION_SR);
    assert_int_equal(sp_governor_decide(&g, 100, -50, false), SP_ACTION_BASE);
}

static void without_model_nothing_is_held_back(void **state)
{
    (void)state;
    struct sp_governor g;
    sp_governor_init(&g, 0.04, true, true);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(sp_governor_decide(&g, i * 0.04, 0.1, false), SP_ACTION_BASE);
        sp_governor_record(&g, SP_ACTION_BASE, 0.001);
    }
    assert_false(g.degraded);
}

/* ---- figures and words ---- */

static void histogram_finds_quantiles(void **state)
{
    (void)state;
    struct sp_histogram *h = calloc(1, sizeof *h);
    assert_non_null(h);
    near(sp_histogram_quantile(h, 0.5), 0);
    for (int i = 1; i <= 1000; i++) {
        sp_histogram_add(h, i * 1e-3);
    }
    assert_true(fabs(sp_histogram_quantile(h, 0.50) - 0.500) < 0.006);
    assert_true(fabs(sp_histogram_quantile(h, 0.95) - 0.950) < 0.011);
    assert_true(sp_histogram_quantile(h, 1) <= 1.0);
    near(h->sum / (double)h->count, 0.5005);
    sp_histogram_add(h, 1e9); /* above and below the range: clamped, not lost */
    sp_histogram_add(h, 0);
    assert_int_equal(h->count, 1002);
    free(h);
}

static void meter_adds_up(void **state)
{
    (void)state;
    struct sp_meter *m = sp_meter_create();
    struct sp_playback_stats s;
    for (int i = 0; i < 11; i++) {
        sp_meter_shown(m, 50 + i * 0.1, 0.004, i < 8 ? SP_SR_READY : SP_NO_SR_LATE, 0.04);
    }
    sp_meter_dropped(m, 0.04);
    sp_meter_late(m);
    sp_meter_read(m, &s);
    assert_int_equal(s.frames, s.upscaled + s.not_upscaled + s.dropped);
    assert_int_equal(s.frames, 12);
    assert_int_equal(s.upscaled, 8);
    assert_int_equal(s.not_upscaled_by[SP_NO_SR_LATE], 3);
    assert_int_equal(s.late, 1);
    near(s.fps, 10);
    near(s.media_duration, 0.48);
    near(s.av_offset, 0.004);
    sp_meter_destroy(&m);
    assert_null(m);
}

static void status_line_tells_the_truth(void **state)
{
    (void)state;
    char text[160];
    struct sp_playback_stats s = {.scale = 4, .frame_time = 1.0 / 30, .dropped = 3, .late = 5};
    strcpy(s.model, "edge16-x4");
    sp_stats_status(&s, SP_SR_READY, 2, 0.0112, -0.004, text, sizeof text);
    assert_string_equal(text, "SR x4 edge16-x4 chunk 2  ON 11.2/33.3 ms (34%)  late 5 drop 3  "
                              "A-V -0.004");
    for (int r = SP_NO_SR_NO_MODEL; r < SP_NO_SR_COUNT; r++) {
        sp_stats_status(&s, (enum sp_no_sr)r, 2, 0.0112, 0, text, sizeof text);
        assert_non_null(strstr(text, "SR OFF: "));
        assert_non_null(strstr(text, sp_no_sr_text((enum sp_no_sr)r)));
        assert_null(strstr(text, "ON "));
        assert_true(strlen(sp_no_sr_key((enum sp_no_sr)r)) > 0);
    }
}

static void verdict_names_what_happened(void **state)
{
    (void)state;
    char text[512];
    struct sp_playback_stats s = {.frames = 100, .upscaled = 100, .frame_time = 0.04};
    s.stage[SP_STAGE_UPSCALE].avg = 10;
    sp_stats_verdict(&s, text, sizeof text);
    assert_non_null(strstr(text, "keeps up: upscaling takes 10.0 of 40.0 ms per frame (25%)"));
    assert_non_null(strstr(text, "SR on every frame"));
    s.dropped = 10;
    s.upscaled = 0;
    s.not_upscaled = s.not_upscaled_by[SP_NO_SR_NOT_VERIFIED] = 90;
    sp_stats_verdict(&s, text, sizeof text);
    assert_non_null(strstr(text, "does not keep up"));
    assert_non_null(strstr(text, sp_no_sr_text(SP_NO_SR_NOT_VERIFIED)));
    s.stage[SP_STAGE_PRESENT].avg = 50;
    sp_stats_verdict(&s, text, sizeof text);
    assert_non_null(strstr(text, "showing takes 50.0"));
    s = (struct sp_playback_stats){.frames = 0};
    sp_stats_verdict(&s, text, sizeof text);
    assert_string_equal(text, "nothing was played");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_runs_and_stands),
        cmocka_unit_test(clock_follows_small_differences_slowly),
        cmocka_unit_test(clock_jumps_to_far_ones),
        cmocka_unit_test(clock_that_stands_is_not_corrected),
        cmocka_unit_test(fast_machine_never_degrades),
        cmocka_unit_test(slow_machine_degrades_and_does_not_drop),
        cmocka_unit_test(overload_steps_down_at_once),
        cmocka_unit_test(recovery_waits_and_comes),
        cmocka_unit_test(failing_retries_become_rare),
        cmocka_unit_test(one_hiccup_costs_one_frame),
        cmocka_unit_test(sr_on_drops_but_never_degrades),
        cmocka_unit_test(hopeless_machine_still_shows_pictures),
        cmocka_unit_test(lossless_obeys_nothing),
        cmocka_unit_test(without_model_nothing_is_held_back),
        cmocka_unit_test(histogram_finds_quantiles),
        cmocka_unit_test(meter_adds_up),
        cmocka_unit_test(status_line_tells_the_truth),
        cmocka_unit_test(verdict_names_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
