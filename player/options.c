/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include <SDL.h>
#include <SDL_ttf.h>
#include <curl/curl.h>
#include <jansson.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avutil.h>

#include <srp/limits.h>

#include "base.h"
#include "present.h"
#include "tool.h"

enum id {
    ID_NO_DISPLAY = 256, ID_FRAMES, ID_START, ID_LENGTH, ID_DUMP, ID_STATS, ID_SCREENSHOT_DIR,
    ID_SR, ID_ROUTE, ID_COMPARE, ID_BACKEND, ID_DTYPE, ID_THREADS, ID_MODEL, ID_MODELS_DIR,
    ID_SCALE, ID_FS, ID_GEOMETRY,
    ID_NO_AUDIO, ID_VOLUME, ID_PAUSE, ID_LOOP, ID_MUTE, ID_UNTIMED, ID_CACHE_DIR, ID_NO_CACHE,
    ID_LOG_FILE, ID_VERBOSE = 'v', ID_QUIET = 'q', ID_HELP = 'h', ID_VERSION = 'V',
};

struct entry {
    const char *name;
    int id;
    const char *argument; /* NULL: none */
    const char *help;
};

static const struct entry table[] = {
    {"sr", ID_SR, "auto|on|off",
     "super-resolution; on: rather drop frames than show bicubic (auto)"},
    {"route", ID_ROUTE, "budget|exact|off",
     "paths of a dynamic model: as time allows, the packer's choice, the default (budget)"},
    {"compare", ID_COMPARE, "off|split|side", "bicubic left, SR right (off)"},
    {"model", ID_MODEL, "NAME", "a general model instead of the package's, for example edge16-x2"},
    {"models-dir", ID_MODELS_DIR, "DIR", "where general models lie"},
    {"scale", ID_SCALE, "1..4", "enlargement of media that are no package (2)"},
    {"backend", ID_BACKEND, "NAME", "auto, native, xnnpack or reference (auto)"},
    {"dtype", ID_DTYPE, "TYPE", "arithmetic: auto, f32, int8 or bf16 (auto)"},
    {"threads", ID_THREADS, "N", "threads of the upscaler (one per core)"},
    {"start", ID_START, "T", "begin at T: seconds, M:S or H:M:S"},
    {"length", ID_LENGTH, "T", "play so long"},
    {"frames", ID_FRAMES, "N", "stop after N frames"},
    {"loop", ID_LOOP, NULL, "begin again at the end"},
    {"pause", ID_PAUSE, NULL, "begin paused"},
    {"fs", ID_FS, NULL, "fullscreen"},
    {"geometry", ID_GEOMETRY, "WxH[+X+Y]", "size and place of the window"},
    {"no-audio", ID_NO_AUDIO, NULL, "no sound"},
    {"volume", ID_VOLUME, "0..100", "(100)"},
    {"mute", ID_MUTE, NULL, "begin without sound"},
    {"screenshot-dir", ID_SCREENSHOT_DIR, "DIR", "for the keys s and S (here)"},
    {"no-display", ID_NO_DISPLAY, NULL, "no window; real time all the same"},
    {"untimed", ID_UNTIMED, NULL, "as fast as it goes, every frame, no sound"},
    {"dump", ID_DUMP, "FILE",
     "write pictures: .y4m, - (y4m on stdout), .png (the last), %d.png (all)"},
    {"stats", ID_STATS, "FILE", "write statistics as JSON at the end; - is stdout"},
    {"cache-dir", ID_CACHE_DIR, "DIR", "($XDG_CACHE_HOME/srplay)"},
    {"no-cache", ID_NO_CACHE, NULL, "keep nothing on disk"},
    {"log-file", ID_LOG_FILE, "FILE", "messages go there instead of stderr"},
    {"verbose", ID_VERBOSE, NULL, "more messages (-v)"},
    {"quiet", ID_QUIET, NULL, "errors only (-q)"},
    {"help", ID_HELP, NULL, "this text (-h)"},
    {"version", ID_VERSION, NULL, "versions of the program and its libraries (-V)"},
};
enum { table_size = sizeof table / sizeof table[0] };

void sp_options_help(FILE *to)
{
    fputs("usage: srplay [options] <manifest.json | http(s)://.../manifest.json | playlist.m3u8 | "
          "video>\nPlays video with neural super-resolution.\n\n", to);
    for (size_t i = 0; i < table_size; i++) {
        char left[64];
        const struct entry *e = &table[i];
        snprintf(left, sizeof left, "--%s%s%s", e->name, e->argument ? "=" : "",
                 e->argument ? e->argument : "");
        fprintf(to, "  %-26s %s\n", left, e->help);
    }
    fputs("\nkeys: space pause, arrows seek, . , step, n SR on/off, c compare, h held: original,\n"
          "      i statistics, o progress, f fullscreen, m mute, 9 0 volume, s S shot, q quit\n"
          "exit: 0 ok, 1 usage, 2 could not play, 3 partly played, 4 interrupted,\n"
          "      5 verification failed\n", to);
}

void sp_options_version(FILE *to)
{
    SDL_version sdl;
    SDL_GetVersion(&sdl);
    const SDL_version *ttf = TTF_Linked_Version();
    const char *backends[3]; /* all but auto */
    int count = 0;
    enum srp_backend any;
    for (int b = SRP_BACKEND_REFERENCE; b <= SRP_BACKEND_NATIVE; b++) {
        const char *name = srp_backend_name((enum srp_backend)b);
        if (srp_backend_from_name(&any, name) == SRP_OK) {
            backends[count++] = name;
        }
    }
    fprintf(to, "srplay %s (libsrp %s)\nbackends:", SRP_VERSION_STRING, srp_version());
    for (int i = 0; i < count; i++) {
        fprintf(to, " %s", backends[i]);
    }
    unsigned av = avcodec_version(), fmt = avformat_version();
    fprintf(to, "\ninstruction set: %s\n", srp_isa());
    fprintf(to, "FFmpeg %s (libavcodec %u.%u.%u, libavformat %u.%u.%u)\n", av_version_info(),
            av >> 16, av >> 8 & 255, av & 255, fmt >> 16, fmt >> 8 & 255, fmt & 255);
    fprintf(to, "SDL %d.%d.%d, SDL_ttf %d.%d.%d\n", sdl.major, sdl.minor, sdl.patch, ttf->major,
            ttf->minor, ttf->patch);
    fprintf(to, "libcurl %s, jansson %s\n", curl_version_info(CURLVERSION_NOW)->version,
            jansson_version_str());
}

/* ---- values ---- */

/* Seconds, M:S or H:M:S. */
static bool parse_time(const char *text, double *seconds)
{
    double total = 0;
    for (int part = 0; part < 3; part++) {
        const char *colon = strchr(text, ':');
        size_t length = colon ? (size_t)(colon - text) : strlen(text);
        char field[32];
        double value;
        if (length >= sizeof field) {
            return false;
        }
        memcpy(field, text, length);
        field[length] = 0;
        if (!sp_tool_number(field, 0, 1e7, &value)) {
            return false;
        }
        total = total * 60 + value;
        if (!colon) {
            *seconds = total;
            return true;
        }
        text = colon + 1;
    }
    return false;
}

static bool parse_integer(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    return sp_tool_uint(text, min, max, out);
}

static bool parse_choice(const char *text, const char *const names[], int *out)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* False: the value is not valid. */
static bool apply_value(struct sp_options *o, int id, const char *value)
{
    static const char *const sr[] = {"auto", "on", "off", NULL};
    static const char *const compare[] = {"off", "split", "side", NULL};
    struct sp_playback_params *p = &o->playback;
    uint64_t n = 0;
    int choice = 0, w, h, x, y;
    bool ok = true;
    switch (id) {
    case ID_FRAMES: return parse_integer(value, 1, UINT64_MAX / 2, &p->frames);
    case ID_START: return parse_time(value, &p->start);
    case ID_LENGTH: return parse_time(value, &p->length) && p->length > 0;
    case ID_DUMP: p->dump = value; return *value != 0;
    case ID_STATS: o->stats = value; return *value != 0;
    case ID_SCREENSHOT_DIR: p->screenshot_dir = value; return true;
    case ID_SR:
        ok = parse_choice(value, sr, &choice);
        p->sr = (enum sp_sr_mode)choice;
        return ok;
    case ID_ROUTE: return sp_route_from_name(&p->route, value);
    case ID_COMPARE:
        ok = parse_choice(value, compare, &choice);
        p->compare = (enum sp_compare)choice;
        return ok;
    case ID_BACKEND: return srp_backend_from_name(&p->backend, value) == SRP_OK;
    case ID_DTYPE: return srp_dtype_from_name(&p->dtype, value) == SRP_OK;
    case ID_THREADS:
        ok = parse_integer(value, 1, SRP_MAX_THREADS, &n);
        p->threads = (uint32_t)n;
        return ok;
    case ID_MODEL: p->media.model_name = value; return *value != 0;
    case ID_MODELS_DIR: p->media.models_dir = value; return *value != 0;
    case ID_SCALE:
        ok = parse_integer(value, 1, SRP_MAX_SCALE, &n);
        p->media.plain_scale = (uint32_t)n;
        return ok;
    case ID_GEOMETRY: p->geometry = value; return sp_geometry_parse(value, &w, &h, &x, &y);
    case ID_VOLUME:
        ok = parse_integer(value, 0, 100, &n);
        p->volume = (int)n;
        return ok;
    case ID_CACHE_DIR: p->media.cache_dir = value; return *value != 0;
    case ID_LOG_FILE: o->log_file = value; return *value != 0;
    default: return false;
    }
}

static void apply_flag(struct sp_options *o, int id)
{
    struct sp_playback_params *p = &o->playback;
    switch (id) {
    case ID_NO_DISPLAY: p->display = false; break;
    case ID_FS: p->fullscreen = true; break;
    case ID_NO_AUDIO: p->sound = false; break;
    case ID_PAUSE: p->paused = true; break;
    case ID_LOOP: p->loop = true; break;
    case ID_MUTE: p->mute = true; break;
    case ID_UNTIMED: p->untimed = true; break;
    case ID_NO_CACHE: p->media.cache_dir = ""; break;
    case ID_VERBOSE: o->level = SP_LOG_DEBUG; break;
    case ID_QUIET: o->level = SP_LOG_ERROR; break;
    case ID_HELP: o->help = true; break;
    case ID_VERSION: o->version = true; break;
    default: break;
    }
}

static enum srp_err check_together(const struct sp_options *o, struct srp_error *err)
{
    const struct sp_playback_params *p = &o->playback;
    if (p->paused && !p->display) {
        return sp_fail(err, SRP_ERR_USAGE, "--pause needs a window: nobody could end it");
    }
    if (o->stats && p->dump && strcmp(o->stats, "-") == 0 && strcmp(p->dump, "-") == 0) {
        return sp_fail(err, SRP_ERR_USAGE,
                       "only one of --dump and --stats can go to standard output");
    }
    return SRP_OK;
}

enum srp_err sp_options_parse(struct sp_options *options, int argc, char **argv,
                              struct srp_error *err)
{
    struct option list[table_size + 1] = {{NULL, 0, NULL, 0}};
    for (size_t i = 0; i < table_size; i++) {
        int argument = table[i].argument ? required_argument : no_argument;
        list[i] = (struct option){table[i].name, argument, NULL, table[i].id};
    }
    *options = (struct sp_options){
        .playback = {.display = true, .sound = true, .volume = 100},
        .level = SP_LOG_INFO,
    };
    opterr = 0;
    optind = 0; /* a fresh start, also when this is called twice */
    int index = -1;
    for (int id; (id = getopt_long(argc, argv, ":vqhV", list, &index)) != -1; index = -1) {
        const char *given = argv[optind > 0 ? optind - 1 : 0];
        if (id == ':') {
            return sp_fail(err, SRP_ERR_USAGE, "option %s needs a value", given);
        }
        if (id == '?') {
            return sp_fail(err, SRP_ERR_USAGE, "unknown option %s (see --help)", given);
        }
        if (!optarg) {
            apply_flag(options, id);
        } else if (!apply_value(options, id, optarg)) {
            return sp_fail(err, SRP_ERR_USAGE, "--%s: \"%.100s\" is not valid (see --help)",
                           index >= 0 ? list[index].name : "?", optarg);
        }
    }
    if (options->help || options->version) {
        return SRP_OK;
    }
    if (optind != argc - 1) {
        return sp_fail(err, SRP_ERR_USAGE, "%s (see --help)",
                       optind >= argc ? "nothing to play" : "only one thing can be played");
    }
    options->playback.media.url = argv[optind];
    return check_together(options, err);
}
