/* SPDX-License-Identifier: BSD-2-Clause */
/* ui.h - the window with everything that is on it, and the user's wishes. Main thread only. */
#ifndef SP_UI_H
#define SP_UI_H

#include "playback.h"

struct sp_ui;

struct sp_ui_params {
    const char *url;
    const struct sp_media_info *info;
    const char *geometry, *screenshot_dir;
    bool fullscreen, sr_on, mute;
    enum sp_compare compare;
    int volume;
    uint32_t threads;
    struct sp_log *log;
};

/* What the ui cannot do by itself. */
enum sp_request_type {
    SP_REQUEST_NONE = 0,
    SP_REQUEST_QUIT,
    SP_REQUEST_PAUSE,   /* toggle */
    SP_REQUEST_SEEK,    /* by value seconds, exact */
    SP_REQUEST_STEP,    /* value < 0: back */
    SP_REQUEST_SR,      /* value > 0: on */
    SP_REQUEST_COMPARE, /* value > 0: base pictures wanted */
    SP_REQUEST_VOLUME,  /* value 0..100; exact: muted */
};

struct sp_ui_request {
    enum sp_request_type type;
    double value;
    bool exact;
};

struct sp_ui_status {
    double position; /* seconds */
    bool paused, buffering;
    struct sp_playback_stats stats;
};

enum srp_err sp_ui_create(struct sp_ui **out, const struct sp_ui_params *params,
                          struct srp_error *err);
void sp_ui_destroy(struct sp_ui **ui);

/* Puts a frame on the screen. It is borrowed until the next call. av: clock minus picture,
 * seconds. */
void sp_ui_show(struct sp_ui *ui, const struct sp_frame *frame, double av);
/* Sleeps until an event comes or sp_monotonic() passes `until`, for 10 ms at most. */
void sp_ui_wait(struct sp_ui *ui, double until);
/* Handles events; true: one of them became a request. */
bool sp_ui_next(struct sp_ui *ui, struct sp_ui_request *request);
/* Brings the texts up to date and draws where something changed. */
void sp_ui_refresh(struct sp_ui *ui, const struct sp_ui_status *status);

#endif
