/* SPDX-License-Identifier: BSD-2-Clause */
/* osd.h - text and bars that the renderer draws over the picture. Main thread only. */
#ifndef SP_OSD_H
#define SP_OSD_H

#include <SDL.h>
#include <stdbool.h>

#include "log.h"

enum { SP_OSD_LINES = 8, SP_OSD_TEXT = 160 };

struct sp_osd_content {
    unsigned line_count;                     /* statistics, top left */
    char line[SP_OSD_LINES][SP_OSD_TEXT];
    char message[SP_OSD_TEXT];               /* what a key did; "" none */
    bool progress;                           /* bar at the bottom */
    double position, duration, buffered;     /* seconds; buffered: from position on */
    char left[SP_OSD_TEXT], right[SP_OSD_TEXT]; /* labels of the split, "" none */
};

struct sp_osd;

/* NULL when there is no memory. Without a usable font it warns once and draws bars alone. */
struct sp_osd *sp_osd_create(SDL_Renderer *renderer, struct sp_log *log);
void sp_osd_destroy(struct sp_osd **osd);
/* Forgets its textures, for example because the renderer lost them. */
void sp_osd_reset(struct sp_osd *osd);
/* width, height: of the output; area: of the picture in it; split: x of the split line. In
 * pixels. */
void sp_osd_draw(struct sp_osd *osd, const struct sp_osd_content *content, int width, int height,
                 SDL_Rect area, int split);

#endif
