/* SPDX-License-Identifier: BSD-2-Clause */
#include "present.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "output.h"

/* One of the two pictures on the graphics side. */
struct layer {
    SDL_Texture *texture;
    Uint32 format;
    SDL_YUV_CONVERSION_MODE mode;
    uint32_t width, height;
    struct srp_picture converted; /* BGRA, where SDL cannot show the YUV as it is */
};

struct sp_window {
    SDL_Window *window;
    SDL_Renderer *renderer;
    struct sp_osd *osd;
    struct sp_log *log;
    double sar;
    bool fullscreen;
    struct layer picture, base;
};

bool sp_geometry_parse(const char *text, int *width, int *height, int *x, int *y)
{
    *width = *height = *x = *y = -1;
    if (!text) {
        return true;
    }
    int used = 0;
    if (sscanf(text, "%5dx%5d%n", width, height, &used) != 2 || *width < 1 || *height < 1 ||
        *width > 16384 || *height > 16384) {
        return false;
    }
    if (text[used] == 0) {
        return true;
    }
    int more = 0;
    bool place = sscanf(text + used, "+%5d+%5d%n", x, y, &more) == 2 && text[used + more] == 0;
    return place && *x >= 0 && *y >= 0;
}

static enum srp_err device_error(struct srp_error *err, const char *what)
{
    return sp_fail(err, SRP_ERR_DEVICE, "%s: %s", what, SDL_GetError());
}

/* The picture's own size, made smaller where the screen has no room for it. */
static void initial_size(const struct sp_window_params *params, double sar, int *width, int *height)
{
    double w = params->width * sar, h = params->height;
    SDL_Rect room;
    if (SDL_GetDisplayUsableBounds(0, &room) == 0 && room.w > 0 && room.h > 0) {
        double shrink = fmin(1, fmin(room.w / w, room.h / h));
        w *= shrink;
        h *= shrink;
    }
    *width = SDL_max((int)lround(w), 16);
    *height = SDL_max((int)lround(h), 16);
}

/* Whether a driver has something to draw with. Where nothing has, OpenGL is Mesa's llvmpipe: it
 * takes three times as long as SDL's own renderer, on the cores that the network needs. */
static bool has_gpu(void)
{
#ifdef __linux__
    bool found = access("/dev/nvidiactl", F_OK) == 0 || access("/dev/dxg", F_OK) == 0;
    DIR *folder = opendir("/dev/dri");
    for (const struct dirent *entry; !found && folder && (entry = readdir(folder)) != NULL;) {
        found = strncmp(entry->d_name, "renderD", 7) == 0;
    }
    if (folder) {
        closedir(folder);
    }
    return found;
#else
    return true;
#endif
}

enum srp_err sp_window_create(struct sp_window **out, const struct sp_window_params *params,
                              struct srp_error *err)
{
    *out = NULL;
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_RENDER_SCALE_QUALITY, "linear");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "0");
    /* What SDL's own renderer has drawn goes straight to the screen, not through OpenGL. */
    SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0");
    struct sp_window *w = calloc(1, sizeof *w);
    if (!w) {
        SDL_SetError("no memory");
        return device_error(err, "window");
    }
    w->log = params->log;
    w->sar = params->sar > 0 ? params->sar : 1;
    if (SDL_InitSubSystem(SDL_INIT_VIDEO) != 0) {
        free(w);
        return device_error(err, "display");
    }
    int width, height, x, y;
    sp_geometry_parse(params->geometry, &width, &height, &x, &y);
    if (width < 0) {
        initial_size(params, w->sar, &width, &height);
    }
    w->fullscreen = params->fullscreen;
    Uint32 flags = SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI |
                   (params->fullscreen ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0u);
    w->window = SDL_CreateWindow(params->title, x < 0 ? (int)SDL_WINDOWPOS_CENTERED : x,
                                 y < 0 ? (int)SDL_WINDOWPOS_CENTERED : y, width, height, flags);
    const char *chosen = SDL_GetHint(SDL_HINT_RENDER_DRIVER); /* $SDL_RENDER_DRIVER */
    if (w->window && ((chosen && *chosen) || has_gpu())) {
        w->renderer = SDL_CreateRenderer(w->window, -1, SDL_RENDERER_PRESENTVSYNC);
    }
    if (!w->renderer && w->window) {
        w->renderer = SDL_CreateRenderer(w->window, -1, SDL_RENDERER_SOFTWARE);
    }
    if (!w->renderer) {
        device_error(err, "window");
        sp_window_destroy(&w);
        return SRP_ERR_DEVICE;
    }
    SDL_RendererInfo info;
    if (SDL_GetRendererInfo(w->renderer, &info) == 0) {
        sp_log(w->log, SP_LOG_DEBUG, "window: drawn by SDL's renderer '%s'", info.name);
    }
    w->osd = sp_osd_create(w->renderer, params->log);
    *out = w;
    return SRP_OK;
}

static void layer_clear(struct layer *layer)
{
    if (layer->texture) {
        SDL_DestroyTexture(layer->texture);
    }
    sp_picture_free(&layer->converted);
    *layer = (struct layer){.texture = NULL};
}

void sp_window_destroy(struct sp_window **out)
{
    struct sp_window *w = *out;
    if (!w) {
        return;
    }
    layer_clear(&w->picture);
    layer_clear(&w->base);
    sp_osd_destroy(&w->osd);
    if (w->renderer) {
        SDL_DestroyRenderer(w->renderer);
    }
    if (w->window) {
        SDL_DestroyWindow(w->window);
    }
    SDL_QuitSubSystem(SDL_INIT_VIDEO);
    free(w);
    *out = NULL;
}

/* SDL's YUV textures know BT.601 and BT.709 in limited range and BT.601 in full range, and halve
 * odd sizes in ways that differ between drivers. Everything else is converted here. */
static Uint32 choose(const struct srp_picture *p, SDL_YUV_CONVERSION_MODE *mode)
{
    bool full = p->range == SRP_RANGE_FULL;
    *mode = full ? SDL_YUV_CONVERSION_JPEG
            : p->matrix == SRP_MATRIX_BT601 ? SDL_YUV_CONVERSION_BT601 : SDL_YUV_CONVERSION_BT709;
    bool known = full ? p->matrix == SRP_MATRIX_BT601 : p->matrix != SRP_MATRIX_BT2020;
    bool even = p->width % 2 == 0 && p->height % 2 == 0;
    bool yuv = p->format == SRP_FORMAT_YUV420 && known && even;
    /* BGRA in memory, little-endian */
    return yuv ? SDL_PIXELFORMAT_IYUV : SDL_PIXELFORMAT_ARGB8888;
}

static enum srp_err layer_upload(struct sp_window *w, struct layer *layer,
                                 const struct srp_picture *p, struct srp_error *err)
{
    SDL_YUV_CONVERSION_MODE mode;
    Uint32 format = choose(p, &mode);
    if (!layer->texture || layer->format != format || layer->width != p->width ||
        layer->height != p->height || (format == SDL_PIXELFORMAT_IYUV && layer->mode != mode)) {
        layer_clear(layer);
        SDL_SetYUVConversionMode(mode);
        layer->texture = SDL_CreateTexture(w->renderer, format, SDL_TEXTUREACCESS_STREAMING,
                                           (int)p->width, (int)p->height);
        if (!layer->texture) {
            return device_error(err, "texture");
        }
        layer->format = format;
        layer->mode = mode;
        layer->width = p->width;
        layer->height = p->height;
        enum srp_err r = SRP_OK;
        if (format != SDL_PIXELFORMAT_IYUV) {
            r = sp_picture_alloc(&layer->converted, SRP_FORMAT_BGRA, p->width, p->height, err);
        }
        if (r != SRP_OK) {
            return r;
        }
    }
    int failed;
    if (format == SDL_PIXELFORMAT_IYUV) {
        failed = SDL_UpdateYUVTexture(layer->texture, NULL, p->data[0], (int)p->stride[0],
                                      p->data[1], (int)p->stride[1], p->data[2], (int)p->stride[2]);
    } else {
        enum srp_err r = srp_picture_convert(p, &layer->converted, err);
        if (r != SRP_OK) {
            return r;
        }
        failed = SDL_UpdateTexture(layer->texture, NULL, layer->converted.data[0],
                                   (int)layer->converted.stride[0]);
    }
    return failed ? device_error(err, "texture") : SRP_OK;
}

enum srp_err sp_window_upload(struct sp_window *w, const struct srp_picture *picture,
                              const struct srp_picture *base, struct srp_error *err)
{
    enum srp_err r = layer_upload(w, &w->picture, picture, err);
    if (r == SRP_OK && base) {
        r = layer_upload(w, &w->base, base, err);
    }
    return r;
}

/* Where the picture (side: two of them) lies in the window: as large as its aspect allows,
 * centred. */
static SDL_Rect picture_area(const struct sp_window *w, bool side, int *width, int *height)
{
    if (SDL_GetRendererOutputSize(w->renderer, width, height) != 0) {
        SDL_GetWindowSize(w->window, width, height);
    }
    double pw = fmax(w->picture.width, 1) * w->sar * (side ? 2 : 1);
    double ph = fmax(w->picture.height, 1);
    double scale = fmin(*width / pw, *height / ph);
    SDL_Rect r = {.w = (int)fmax(round(pw * scale), 1), .h = (int)fmax(round(ph * scale), 1)};
    r.x = (*width - r.w) / 2;
    r.y = (*height - r.h) / 2;
    return r;
}

static void draw(struct sp_window *w, enum sp_view view, double split,
                 const struct sp_osd_content *content)
{
    int width, height;
    SDL_Rect area = picture_area(w, view == SP_VIEW_SIDE, &width, &height);
    int line = area.x + (int)lround(split * area.w);
    SDL_SetRenderDrawColor(w->renderer, 0, 0, 0, 255);
    SDL_RenderClear(w->renderer);
    bool has_base = w->base.texture && view != SP_VIEW_PICTURE;
    SDL_Rect right = area;
    if (view == SP_VIEW_SIDE) {
        right.w = area.w / 2;
        right.x = line = area.x + area.w - right.w;
    }
    if (w->picture.texture) {
        SDL_RenderCopy(w->renderer, w->picture.texture, NULL, &right);
    }
    if (has_base && view == SP_VIEW_SIDE) {
        SDL_Rect left = {area.x, area.y, right.w, right.h};
        SDL_RenderCopy(w->renderer, w->base.texture, NULL, &left);
    } else if (has_base) {
        /* Both sides use one and the same destination and differ in the clip alone: nothing can
         * shift. */
        SDL_Rect clip = area;
        clip.w = view == SP_VIEW_SPLIT ? line - area.x : area.w;
        if (clip.w > 0) {
            SDL_RenderSetClipRect(w->renderer, &clip);
            SDL_RenderCopy(w->renderer, w->base.texture, NULL, &area);
            SDL_RenderSetClipRect(w->renderer, NULL);
        }
    }
    if (view == SP_VIEW_SPLIT) {
        int thick = SDL_max(width / 640, 2);
        SDL_SetRenderDrawColor(w->renderer, 255, 255, 255, 255);
        SDL_RenderFillRect(w->renderer, &(SDL_Rect){line - thick / 2, area.y, thick, area.h});
    }
    if (w->osd && content) {
        sp_osd_draw(w->osd, content, width, height, area, line);
    }
}

void sp_window_draw(struct sp_window *w, enum sp_view view, double split,
                    const struct sp_osd_content *osd)
{
    draw(w, view, split, osd);
    SDL_RenderPresent(w->renderer);
}

enum srp_err sp_window_capture(struct sp_window *w, enum sp_view view, double split,
                               const struct sp_osd_content *osd, struct srp_picture *shot,
                               struct srp_error *err)
{
    int width, height;
    picture_area(w, false, &width, &height);
    draw(w, view, split, osd);
    enum srp_err r = sp_picture_alloc(shot, SRP_FORMAT_BGRA, (uint32_t)width, (uint32_t)height,
                                      err);
    if (r == SRP_OK && SDL_RenderReadPixels(w->renderer, NULL, SDL_PIXELFORMAT_ARGB8888,
                                            shot->data[0], (int)shot->stride[0]) != 0) {
        r = device_error(err, "screenshot");
        sp_picture_free(shot);
    }
    SDL_RenderPresent(w->renderer);
    return r;
}

void sp_window_reset(struct sp_window *w)
{
    layer_clear(&w->picture);
    layer_clear(&w->base);
    if (w->osd) {
        sp_osd_reset(w->osd);
    }
}

void sp_window_fullscreen(struct sp_window *w, bool on)
{
    if (SDL_SetWindowFullscreen(w->window, on ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0) == 0) {
        w->fullscreen = on;
    }
}

bool sp_window_is_fullscreen(const struct sp_window *w)
{
    return w->fullscreen;
}

double sp_window_split_at(const struct sp_window *w, int mouse_x)
{
    int width, height, logical_width, logical_height;
    SDL_Rect area = picture_area(w, false, &width, &height);
    SDL_GetWindowSize(w->window, &logical_width, &logical_height); /* the mouse counts in these */
    double x = (double)mouse_x * width / SDL_max(logical_width, 1);
    return fmin(fmax((x - area.x) / area.w, 0), 1);
}

void sp_window_describe(const struct sp_window *w, char *text, size_t size)
{
    int width, height;
    picture_area(w, false, &width, &height);
    SDL_RendererInfo info = {.name = "?"};
    SDL_GetRendererInfo(w->renderer, &info);
    snprintf(text, size, "%dx%d %s", width, height, info.name);
}
