/* SPDX-License-Identifier: BSD-2-Clause */
/* present.h - the window: keeps the aspect, compares two pictures, draws the OSD. Main thread
 * only. */
#ifndef SP_PRESENT_H
#define SP_PRESENT_H

#include <stdbool.h>

#include <srp/upscaler.h>

#include "log.h"
#include "osd.h"

struct sp_window;

struct sp_window_params {
    const char *title;
    uint32_t width, height; /* of the picture */
    double sar;             /* of its samples */
    /* "WxH", "WxH+X+Y" or NULL: the picture's size where the screen has room */
    const char *geometry;
    bool fullscreen;
    struct sp_log *log;
};

/* False: not "WxH" or "WxH+X+Y" with 1..16384. x, y are -1 when not given; the text NULL gives
 * -1 for all. */
bool sp_geometry_parse(const char *text, int *width, int *height, int *x, int *y);

/* Errors: DEVICE (no display), NOMEM. */
enum srp_err sp_window_create(struct sp_window **out, const struct sp_window_params *params,
                              struct srp_error *err);
void sp_window_destroy(struct sp_window **w);

enum sp_view {
    SP_VIEW_PICTURE,
    SP_VIEW_BASE,
    SP_VIEW_SPLIT, /* base to the left of a line, the picture to the right of it */
    SP_VIEW_SIDE,  /* both whole: base left, picture right */
};

/* Hands over new pixels; they are copied. base may be NULL when the view does not need it. */
enum srp_err sp_window_upload(struct sp_window *w, const struct srp_picture *picture,
                              const struct srp_picture *base, struct srp_error *err);
/* Draws what was uploaded last. split: 0..1 of the picture's width, base to the left of it. */
void sp_window_draw(struct sp_window *w, enum sp_view view, double split,
                    const struct sp_osd_content *osd);
/* As _draw, and copies the window's pixels into a new BGRA picture (free with sp_picture_free). */
enum srp_err sp_window_capture(struct sp_window *w, enum sp_view view, double split,
                               const struct sp_osd_content *osd, struct srp_picture *shot,
                               struct srp_error *err);

/* The renderer lost its textures: upload again. */
void sp_window_reset(struct sp_window *w);
void sp_window_fullscreen(struct sp_window *w, bool on);
bool sp_window_is_fullscreen(const struct sp_window *w);
/* Place of a mouse position, 0..1 of the picture's width. */
double sp_window_split_at(const struct sp_window *w, int mouse_x);
/* "1280x720 software": size in pixels and name of the renderer. */
void sp_window_describe(const struct sp_window *w, char *text, size_t size);

#endif
