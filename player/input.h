/* SPDX-License-Identifier: BSD-2-Clause */
/* input.h - keys, mouse and window events as commands of the player. The keys are mpv's;
 * docs/srplay.md lists them. */
#ifndef SP_INPUT_H
#define SP_INPUT_H

#include <SDL.h>
#include <stdbool.h>

enum sp_command_type {
    SP_COMMAND_NONE = 0,
    SP_COMMAND_QUIT,
    SP_COMMAND_PAUSE,
    SP_COMMAND_SEEK,         /* by `value` seconds, `exact` */
    SP_COMMAND_STEP,         /* value > 0: one frame on; < 0: one frame back */
    SP_COMMAND_FULLSCREEN,   /* value > 0: toggle; < 0: leave */
    SP_COMMAND_MUTE,
    SP_COMMAND_VOLUME,       /* by `value` percent */
    SP_COMMAND_SHOT,         /* the picture */
    SP_COMMAND_SHOT_WINDOW,  /* the window with OSD */
    SP_COMMAND_STATS,
    SP_COMMAND_PROGRESS,
    SP_COMMAND_SR,           /* on/off */
    SP_COMMAND_COMPARE,      /* split on/off */
    SP_COMMAND_ORIGINAL,     /* value > 0: show the base picture, < 0: no longer */
    SP_COMMAND_SPLIT,        /* move the split to mouse x `value` */
    SP_COMMAND_REDRAW,
    SP_COMMAND_RESET,        /* textures are lost */
};

struct sp_command {
    enum sp_command_type type;
    double value;
    bool exact;
};

struct sp_command sp_input_translate(const SDL_Event *event);

#endif
