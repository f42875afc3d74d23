/* SPDX-License-Identifier: BSD-2-Clause */
#include "input.h"

struct binding {
    SDL_Keycode key;
    bool shift;
    struct sp_command command;
};

static const struct binding bindings[] = {
    {SDLK_q, false, {SP_COMMAND_QUIT, 0, false}},
    {SDLK_SPACE, false, {SP_COMMAND_PAUSE, 0, false}},
    {SDLK_p, false, {SP_COMMAND_PAUSE, 0, false}},
    {SDLK_LEFT, false, {SP_COMMAND_SEEK, -5, false}},
    {SDLK_RIGHT, false, {SP_COMMAND_SEEK, 5, false}},
    {SDLK_DOWN, false, {SP_COMMAND_SEEK, -60, false}},
    {SDLK_UP, false, {SP_COMMAND_SEEK, 60, false}},
    {SDLK_LEFT, true, {SP_COMMAND_SEEK, -1, true}},
    {SDLK_RIGHT, true, {SP_COMMAND_SEEK, 1, true}},
    {SDLK_DOWN, true, {SP_COMMAND_SEEK, -5, true}},
    {SDLK_UP, true, {SP_COMMAND_SEEK, 5, true}},
    {SDLK_PERIOD, false, {SP_COMMAND_STEP, 1, false}},
    {SDLK_COMMA, false, {SP_COMMAND_STEP, -1, false}},
    {SDLK_f, false, {SP_COMMAND_FULLSCREEN, 1, false}},
    {SDLK_ESCAPE, false, {SP_COMMAND_FULLSCREEN, -1, false}},
    {SDLK_m, false, {SP_COMMAND_MUTE, 0, false}},
    {SDLK_9, false, {SP_COMMAND_VOLUME, -2, false}},
    {SDLK_0, false, {SP_COMMAND_VOLUME, 2, false}},
    {SDLK_s, false, {SP_COMMAND_SHOT, 0, false}},
    {SDLK_s, true, {SP_COMMAND_SHOT_WINDOW, 0, false}},
    {SDLK_i, false, {SP_COMMAND_STATS, 0, false}},
    {SDLK_o, false, {SP_COMMAND_PROGRESS, 0, false}},
    {SDLK_n, false, {SP_COMMAND_SR, 0, false}},
    {SDLK_c, false, {SP_COMMAND_COMPARE, 0, false}},
};

static struct sp_command key_down(const SDL_KeyboardEvent *event)
{
    bool shift = (event->keysym.mod & KMOD_SHIFT) != 0;
    if (event->keysym.mod & (KMOD_CTRL | KMOD_ALT | KMOD_GUI)) {
        return (struct sp_command){SP_COMMAND_NONE, 0, false};
    }
    if (event->keysym.sym == SDLK_h && !event->repeat) {
        return (struct sp_command){SP_COMMAND_ORIGINAL, 1, false};
    }
    for (size_t i = 0; i < sizeof bindings / sizeof bindings[0]; i++) {
        const struct binding *b = &bindings[i];
        /* Only steps, seeks and volume make sense while a key is held down. */
        bool repeats = b->command.type == SP_COMMAND_SEEK || b->command.type == SP_COMMAND_STEP ||
                       b->command.type == SP_COMMAND_VOLUME;
        if (b->key == event->keysym.sym && b->shift == shift && (repeats || !event->repeat)) {
            return b->command;
        }
    }
    return (struct sp_command){SP_COMMAND_NONE, 0, false};
}

struct sp_command sp_input_translate(const SDL_Event *event)
{
    struct sp_command none = {SP_COMMAND_NONE, 0, false};
    switch (event->type) {
    case SDL_QUIT:
        return (struct sp_command){SP_COMMAND_QUIT, 0, false};
    case SDL_KEYDOWN:
        return key_down(&event->key);
    case SDL_KEYUP:
        return event->key.keysym.sym == SDLK_h
                   ? (struct sp_command){SP_COMMAND_ORIGINAL, -1, false} : none;
    case SDL_MOUSEBUTTONDOWN:
        if (event->button.button != SDL_BUTTON_LEFT) {
            return none;
        }
        return event->button.clicks == 2
                   ? (struct sp_command){SP_COMMAND_FULLSCREEN, 1, false}
                   : (struct sp_command){SP_COMMAND_SPLIT, event->button.x, false};
    case SDL_MOUSEMOTION:
        return event->motion.state & SDL_BUTTON_LMASK
                   ? (struct sp_command){SP_COMMAND_SPLIT, event->motion.x, false} : none;
    case SDL_WINDOWEVENT:
        return (struct sp_command){SP_COMMAND_REDRAW, 0, false};
    case SDL_RENDER_TARGETS_RESET:
    case SDL_RENDER_DEVICE_RESET:
        return (struct sp_command){SP_COMMAND_RESET, 0, false};
    default:
        return none;
    }
}
