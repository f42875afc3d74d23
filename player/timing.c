/* SPDX-License-Identifier: BSD-2-Clause */
#include "timing.h"

#include <math.h>
#include <time.h>

double sp_monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* ---- clock ---- */

static const double jump_above = 0.1;  /* seconds: more than that is a discontinuity, not jitter */
/* share of a small difference that one observation corrects */
static const double follow = 1.0 / 16;

void sp_clock_init(struct sp_clock *clock)
{
    *clock = (struct sp_clock){.media = 0};
    pthread_mutex_init(&clock->lock, NULL);
}

void sp_clock_destroy(struct sp_clock *clock)
{
    pthread_mutex_destroy(&clock->lock);
}

static double clock_at(const struct sp_clock *clock, double now)
{
    return clock->running ? clock->media + (now - clock->time) : clock->media;
}

void sp_clock_set(struct sp_clock *clock, double now, double media, bool running)
{
    pthread_mutex_lock(&clock->lock);
    clock->media = media;
    clock->time = now;
    clock->running = running;
    pthread_mutex_unlock(&clock->lock);
}

double sp_clock_read(struct sp_clock *clock, double now, bool *running)
{
    pthread_mutex_lock(&clock->lock);
    double t = clock_at(clock, now);
    *running = clock->running;
    pthread_mutex_unlock(&clock->lock);
    return t;
}

double sp_clock_get(struct sp_clock *clock, double now)
{
    bool running;
    return sp_clock_read(clock, now, &running);
}

double sp_clock_sync(struct sp_clock *clock, double now, double heard)
{
    double error = 0;
    pthread_mutex_lock(&clock->lock);
    if (clock->running) {
        error = heard - clock_at(clock, now);
        double step = fabs(error) > jump_above ? error : error * follow;
        clock->media = clock_at(clock, now) + step;
        clock->time = now;
    }
    pthread_mutex_unlock(&clock->lock);
    return error;
}

/* ---- governor ---- */

static const double hold_min = 2.0, hold_max = 30.0; /* seconds without SR after an overload */
static const double smoothing = 0.125;
static const unsigned strikes_allowed = 3;  /* per second, before SR is held back */
static const unsigned drops_allowed = 7;    /* in a row: the picture must move now and then */
static const double budget_share = 0.9;     /* of the frame time, while there is slack */

void sp_governor_init(struct sp_governor *g, double frame_time, bool may_degrade, bool may_drop)
{
    *g = (struct sp_governor){
        .frame_time = frame_time,
        .may_degrade = may_degrade,
        .may_drop = may_drop,
        .hold = hold_min,
        .resumed_at = -1e9,
        .strikes_since = -1e9,
    };
}

/* Seconds to expect of SR. The estimate of the cheapest paths is not measured while SR is held
 * back, either: what maybe_resume lowers holds for both. */
static double expected(const struct sp_governor *g)
{
    return g->least > 0 ? fmin(g->least, g->sr_cost) : g->sr_cost;
}

/* SR would be ready too late. One hiccup costs one frame's SR; a real overload begins a hold, so
 * that the picture does not flicker between sharp and soft. */
static void miss(struct sp_governor *g, double now)
{
    if (now - g->strikes_since > 1.0) {
        g->strikes_since = now;
        g->strikes = 0;
    }
    g->strikes++;
    if (g->strikes < strikes_allowed && expected(g) <= g->frame_time) {
        return;
    }
    bool failed_retry = now - g->resumed_at < 10.0;
    g->hold = failed_retry ? fmin(g->hold * 2, hold_max) : hold_min;
    g->retry_at = now + g->hold;
    g->degraded = true;
}

/* The cost of SR is not measured while it is held back: the estimate is lowered at each retry,
 * so that a machine that was busy for a while finds its way up again. */
static void maybe_resume(struct sp_governor *g, double now, double slack)
{
    if (!g->degraded || now < g->retry_at) {
        return;
    }
    if (slack < expected(g)) {
        g->sr_cost *= 0.7;
        g->retry_at = now + g->hold;
        return;
    }
    g->degraded = false;
    g->strikes = 0;
    g->resumed_at = now;
}

enum sp_action sp_governor_decide(struct sp_governor *g, double now, double slack, bool has_model)
{
    enum sp_action action = has_model ? SP_ACTION_SR : SP_ACTION_BASE;
    if (has_model && g->may_degrade) {
        maybe_resume(g, now, slack);
        if (!g->degraded && slack < expected(g)) {
            miss(g, now);
            action = SP_ACTION_BASE;
        }
        if (g->degraded) {
            action = SP_ACTION_BASE;
        }
    }
    double cost = action == SP_ACTION_SR ? expected(g) : g->base_cost;
    /* Worth its work only if it is ready before the next frame takes its place. */
    if (g->may_drop && slack + g->frame_time < cost && g->drops_in_row < drops_allowed) {
        g->drops_in_row++;
        return SP_ACTION_DROP;
    }
    g->drops_in_row = 0;
    return action;
}

/* All of the share while enough pictures are in hand, then in proportion: less is spent before a
 * frame is late, and what is saved fills the queue again. */
double sp_governor_budget(const struct sp_governor *g, double slack, double ahead)
{
    double full = g->frame_time * budget_share;
    return ahead > 0 ? full * fmin(fmax(slack / ahead, 0), 1) : full;
}

void sp_governor_record(struct sp_governor *g, enum sp_action action, double cost)
{
    if (action == SP_ACTION_DROP) {
        return;
    }
    double *mean = action == SP_ACTION_SR ? &g->sr_cost : &g->base_cost;
    if (*mean <= 0) {
        *mean = cost;
        return;
    }
    double sample = fmin(cost, *mean * 4); /* one stall of the machine is not the model's cost */
    *mean += (sample - *mean) * smoothing;
}
