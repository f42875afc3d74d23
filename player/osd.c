/* SPDX-License-Identifier: BSD-2-Clause */
#include "osd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <SDL_ttf.h>
#include <fontconfig/fontconfig.h>

enum { slot_message = SP_OSD_LINES, slot_left, slot_right, slot_time, slot_count };

/* A text keeps its texture until it changes: drawing text anew costs more than a frame's
 * presentation. */
struct slot {
    char text[SP_OSD_TEXT];
    SDL_Texture *texture;
    int width, height;
};

struct sp_osd {
    SDL_Renderer *renderer;
    char *font_file;
    TTF_Font *font;
    int font_size;
    bool ttf_ready;
    struct slot slot[slot_count];
};

static char *find_font(void)
{
    char *file = NULL;
    FcConfig *config = FcInitLoadConfigAndFonts();
    FcPattern *wanted = config ? FcNameParse((const FcChar8 *)"DejaVu Sans Mono,monospace") : NULL;
    if (wanted) {
        FcResult result;
        FcConfigSubstitute(config, wanted, FcMatchPattern);
        FcDefaultSubstitute(wanted);
        FcPattern *found = FcFontMatch(config, wanted, &result);
        FcChar8 *name;
        if (found && FcPatternGetString(found, FC_FILE, 0, &name) == FcResultMatch) {
            file = strdup((const char *)name);
        }
        if (found) {
            FcPatternDestroy(found);
        }
        FcPatternDestroy(wanted);
    }
    if (config) {
        FcConfigDestroy(config);
    }
    return file;
}

struct sp_osd *sp_osd_create(SDL_Renderer *renderer, struct sp_log *log)
{
    struct sp_osd *osd = calloc(1, sizeof *osd);
    if (!osd) {
        return NULL;
    }
    osd->renderer = renderer;
    osd->ttf_ready = TTF_Init() == 0;
    osd->font_file = osd->ttf_ready ? find_font() : NULL;
    TTF_Font *probe = osd->font_file ? TTF_OpenFont(osd->font_file, 16) : NULL;
    if (!probe) {
        sp_log(log, SP_LOG_WARN, "no font for text on the picture (%s)",
               osd->font_file ? TTF_GetError() : "fontconfig finds none");
        free(osd->font_file);
        osd->font_file = NULL;
        return osd;
    }
    TTF_CloseFont(probe);
    return osd;
}

void sp_osd_reset(struct sp_osd *osd)
{
    for (int i = 0; i < slot_count; i++) {
        if (osd->slot[i].texture) {
            SDL_DestroyTexture(osd->slot[i].texture);
        }
        osd->slot[i] = (struct slot){.texture = NULL};
    }
}

void sp_osd_destroy(struct sp_osd **out)
{
    struct sp_osd *osd = *out;
    if (!osd) {
        return;
    }
    sp_osd_reset(osd);
    if (osd->font) {
        TTF_CloseFont(osd->font);
    }
    if (osd->ttf_ready) {
        TTF_Quit();
    }
    free(osd->font_file);
    free(osd);
    *out = NULL;
}

static void fit_font(struct sp_osd *osd, int width, int height)
{
    int size = SDL_min(height / 40, width / 70);
    size = SDL_clamp(size, 11, 40);
    if (!osd->font_file || size == osd->font_size) {
        return;
    }
    if (osd->font) {
        TTF_CloseFont(osd->font);
    }
    sp_osd_reset(osd);
    osd->font = TTF_OpenFont(osd->font_file, size);
    osd->font_size = size;
}

static const struct slot *prepare(struct sp_osd *osd, int index, const char *text)
{
    struct slot *slot = &osd->slot[index];
    if (!osd->font || !*text) {
        return NULL;
    }
    if (slot->texture && strcmp(slot->text, text) == 0) {
        return slot;
    }
    if (slot->texture) {
        SDL_DestroyTexture(slot->texture);
        slot->texture = NULL;
    }
    SDL_Color white = {255, 255, 255, 255};
    SDL_Surface *surface = TTF_RenderUTF8_Blended(osd->font, text, white);
    if (!surface) {
        return NULL;
    }
    slot->texture = SDL_CreateTextureFromSurface(osd->renderer, surface);
    slot->width = surface->w;
    slot->height = surface->h;
    SDL_FreeSurface(surface);
    snprintf(slot->text, sizeof slot->text, "%s", text);
    return slot->texture ? slot : NULL;
}

static void box(struct sp_osd *osd, SDL_Rect r)
{
    SDL_SetRenderDrawBlendMode(osd->renderer, SDL_BLENDMODE_BLEND);
    SDL_SetRenderDrawColor(osd->renderer, 0, 0, 0, 170);
    SDL_RenderFillRect(osd->renderer, &r);
}

static void text_at(struct sp_osd *osd, const struct slot *slot, int x, int y)
{
    SDL_Rect to = {x, y, slot->width, slot->height};
    SDL_RenderCopy(osd->renderer, slot->texture, NULL, &to);
}

/* Text on its own dark box, so that it can be read on any picture. */
static void boxed(struct sp_osd *osd, const struct slot *slot, int x, int y)
{
    int pad = osd->font_size / 2;
    box(osd, (SDL_Rect){x - pad, y - pad / 2, slot->width + 2 * pad, slot->height + pad});
    text_at(osd, slot, x, y);
}

static void draw_lines(struct sp_osd *osd, const struct sp_osd_content *c, int x, int y)
{
    const struct slot *slot[SP_OSD_LINES] = {NULL};
    int width = 0, height = 0, pad = osd->font_size / 2;
    for (unsigned i = 0; i < c->line_count && i < SP_OSD_LINES; i++) {
        slot[i] = prepare(osd, (int)i, c->line[i]);
        width = slot[i] ? SDL_max(width, slot[i]->width) : width;
        height += slot[i] ? slot[i]->height : 0;
    }
    if (height == 0) {
        return;
    }
    box(osd, (SDL_Rect){x - pad, y - pad / 2, width + 2 * pad, height + pad});
    for (unsigned i = 0; i < c->line_count && i < SP_OSD_LINES; i++) {
        if (slot[i]) {
            text_at(osd, slot[i], x, y);
            y += slot[i]->height;
        }
    }
}

static void format_time(char *text, size_t size, double seconds)
{
    long s = lround(floor(fmax(seconds, 0)));
    snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

static void draw_progress(struct sp_osd *osd, const struct sp_osd_content *c, int width, int height)
{
    int margin = SDL_max(width / 40, 8), thick = SDL_max(height / 60, 6);
    SDL_Rect bar = {margin, height - 2 * margin - thick, width - 2 * margin, thick};
    double scale = c->duration > 0 ? bar.w / c->duration : 0;
    int done = (int)(fmin(c->position, c->duration) * scale);
    int ahead = (int)(fmin(c->position + c->buffered, c->duration) * scale);
    box(osd, (SDL_Rect){bar.x - 3, bar.y - 3, bar.w + 6, bar.h + 6});
    SDL_SetRenderDrawColor(osd->renderer, 130, 130, 130, 200);
    SDL_RenderFillRect(osd->renderer, &(SDL_Rect){bar.x, bar.y, ahead, bar.h});
    SDL_SetRenderDrawColor(osd->renderer, 255, 255, 255, 255);
    SDL_RenderFillRect(osd->renderer, &(SDL_Rect){bar.x, bar.y, done, bar.h});
    char at[32], of[32], text[SP_OSD_TEXT];
    format_time(at, sizeof at, c->position);
    format_time(of, sizeof of, c->duration);
    snprintf(text, sizeof text, "%s / %s", at, of);
    const struct slot *slot = prepare(osd, slot_time, text);
    if (slot) {
        boxed(osd, slot, bar.x + osd->font_size / 2, bar.y - 2 * osd->font_size);
    }
}

void sp_osd_draw(struct sp_osd *osd, const struct sp_osd_content *c, int width, int height,
                 SDL_Rect area, int split)
{
    fit_font(osd, width, height);
    int margin = SDL_max(osd->font_size, 8);
    draw_lines(osd, c, margin, margin);
    const struct slot *message = prepare(osd, slot_message, c->message);
    if (message) {
        int below = c->line_count > 0 ? (int)c->line_count + 1 : 0;
        boxed(osd, message, margin, margin + below * (message->height + 2));
    }
    int label_y = area.y + area.h - 3 * margin;
    const struct slot *left = prepare(osd, slot_left, c->left);
    if (left) {
        boxed(osd, left, SDL_max(area.x + margin, split - left->width - margin), label_y);
    }
    const struct slot *right = prepare(osd, slot_right, c->right);
    if (right) {
        int x = SDL_min(split + margin, area.x + area.w - right->width - margin);
        boxed(osd, right, x, label_y);
    }
    if (c->progress) {
        draw_progress(osd, c, width, height);
    }
}
