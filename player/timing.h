/* SPDX-License-Identifier: BSD-2-Clause */
/* timing.h - the master clock, and the governor that decides what each frame may cost. Neither
 * looks at the time itself: `now` is handed in (seconds, monotonic), so that tests can tell any
 * story. */
#ifndef SP_TIMING_H
#define SP_TIMING_H

#include <pthread.h>
#include <stdbool.h>

/* Seconds of CLOCK_MONOTONIC. */
double sp_monotonic(void);

/* ---- clock: which second of the medium is seen and heard now ---- */

/* Thread-safe. */
struct sp_clock {
    pthread_mutex_t lock;
    double media, time; /* the medium stood at `media` when the machine's clock showed `time` */
    bool running;
};

void sp_clock_init(struct sp_clock *clock);
void sp_clock_destroy(struct sp_clock *clock);
void sp_clock_set(struct sp_clock *clock, double now, double media, bool running);
double sp_clock_get(struct sp_clock *clock, double now);
/* As sp_clock_get; also says whether the clock runs. */
double sp_clock_read(struct sp_clock *clock, double now, bool *running);
/* The sound card is heard to be at `heard`: small differences are followed smoothly, large ones at
 * once. Ignored while the clock stands. Returns heard minus clock as it was, 0 when ignored. */
double sp_clock_sync(struct sp_clock *clock, double now, double heard);

/* ---- governor: fewer dear cells -> base upscaler -> drop; down at once, up slowly ---- */

enum sp_action {
    SP_ACTION_SR,   /* run the model */
    SP_ACTION_BASE, /* bicubic */
    SP_ACTION_DROP, /* do nothing, never shown */
};

/* Used by one thread. */
struct sp_governor {
    double frame_time;    /* seconds between frames */
    bool may_degrade;     /* SR may become bicubic */
    bool may_drop;
    double sr_cost;       /* seconds, smoothed; 0: not known yet */
    double base_cost;
    /* seconds that SR of the next frame takes at the least, where its paths can be chosen; 0: it
     * costs what it costs. Set before each decision. */
    double least;
    bool degraded;        /* SR is held back until retry_at */
    double retry_at;
    double hold;          /* seconds of the latest hold: doubles while retries fail */
    double resumed_at;    /* when SR was last tried again */
    double strikes_since; /* a window of one second in which predicted misses are counted */
    unsigned strikes;
    unsigned drops_in_row;
};

void sp_governor_init(struct sp_governor *g, double frame_time, bool may_degrade, bool may_drop);
/* slack: seconds until the frame is due (negative: overdue; a large value while the clock
 * stands). */
enum sp_action sp_governor_decide(struct sp_governor *g, double now, double slack, bool has_model);
/* Seconds that SR of a frame may take whose paths can be chosen. `ahead`: seconds of finished
 * pictures that are to be kept in hand. Decoding and showing go on beside, on the same
 * processors: what they take makes `slack` smaller, and so the budget. */
double sp_governor_budget(const struct sp_governor *g, double slack, double ahead);
/* What an action cost. Leave out runs that also set something up: they say nothing about the
 * next. */
void sp_governor_record(struct sp_governor *g, enum sp_action action, double cost);

#endif
