/* SPDX-License-Identifier: BSD-2-Clause */
/* media.h - opens whatever srplay can open and yields decoded frames.
 *
 * A medium is a package (manifest.json, or a playlist that announces one), a plain HLS playlist, or
 * any video file; local or over http(s). Bytes come through our own sources (source.h): libcurl on
 * one network thread, an on-disk cache keyed by hash, SHA-256 checked before anything is parsed.
 * FFmpeg only sees our AVIO and the white-lists of formats and codecs.
 *
 * Threads: one thread may read video while another reads audio; seek needs both to be parked.
 * sp_media_interrupt may be called from any thread. */
#ifndef SP_MEDIA_H
#define SP_MEDIA_H

#include <stdbool.h>

#include <libavutil/frame.h>
#include <srp/routes.h>

#include "log.h"
#include "net.h"

struct sp_media;

struct sp_media_params {
    const char *url;        /* as the user typed it: path, file:, http: or https: URL */
    const char *cache_dir;  /* NULL: $XDG_CACHE_HOME/srplay; "" : no cache */
    const char *models_dir; /* where general models lie; NULL: the installed one, then models/ */
    const char *model_name; /* --model: a general model instead of the package's; NULL: choose */
    bool no_model;          /* never load a model (measuring the base upscaler) */
    bool no_routes;         /* never load routes */
    uint32_t plain_scale;   /* scale for a medium without a package: 1..4, 0 = 2 */
    bool exact_bytes;       /* bench: wait for the network rather than play a chunk without SR */
    uint32_t decode_threads;
    struct sp_log *log;     /* may be NULL */
    const struct sp_net_limits *net; /* time-outs and retries (net.h); NULL: the defaults. Copied */
    uint32_t start_wait_ms; /* the first frame after open or seek waits so for its model; 0: 5000 */
};

struct sp_media_info {
    const struct srp_package *package; /* NULL for plain media; lives as long as the medium */
    uint32_t width, height;            /* coded LR picture, display-cropped by the codec */
    uint32_t out_width, out_height, scale;
    double sar;                        /* sample aspect ratio, 1 when unknown */
    int frame_rate_num, frame_rate_den;
    double duration;                   /* seconds, 0 when unknown */
    bool has_audio;
    int audio_rate, audio_channels;
    const char *model_name;            /* model of the first chunk, or NULL */
};

/* Why a frame comes without a model. The text of each is what log, OSD and statistics show. */
enum sp_no_sr {
    SP_SR_READY = 0,
    SP_NO_SR_NO_MODEL,      /* the package or chunk names none, or there is no general one */
    SP_NO_SR_NOT_VERIFIED,  /* hash, size or validation failed */
    SP_NO_SR_NOT_ARRIVED,   /* parameters not here in time */
    SP_NO_SR_USER,          /* switched off */
    SP_NO_SR_LATE,          /* over the frame budget */
    SP_NO_SR_FAILED,        /* the engine reported an error */
    SP_NO_SR_SIZE,          /* the picture changed to a size or format that is not supported */
};
const char *sp_no_sr_text(enum sp_no_sr reason);

/* Why a frame that has a model comes without routes: it is played by the model's default path. */
enum sp_no_routes {
    SP_ROUTES_READY = 0,
    SP_NO_ROUTES_NONE,         /* the chunk has none, or the model is not the package's */
    SP_NO_ROUTES_NOT_VERIFIED, /* hash, size or validation failed */
    SP_NO_ROUTES_NOT_ARRIVED,  /* not here in time */
    SP_NO_ROUTES_MISMATCH,     /* they choose between other paths than the model has */
    SP_NO_ROUTES_FRAME,        /* the frame is none of the chunk's */
    SP_NO_ROUTES_USER,         /* switched off */
};
const char *sp_no_routes_text(enum sp_no_routes reason);

struct sp_frame_meta {
    double pts;              /* seconds from the beginning of the medium */
    double duration;         /* nominal seconds */
    uint64_t index;          /* running number since open or the last seek */
    uint32_t chunk;          /* 0 for plain media */
    struct srp_model *model; /* borrowed until the next call; NULL: see no_sr */
    enum sp_no_sr no_sr;
    struct srp_routes *routes; /* borrowed as the model is; NULL: see no_routes */
    uint32_t routes_frame;     /* the frame's place in its chunk, also after a lost frame or seek */
    enum sp_no_routes no_routes;
    bool key;
};

enum srp_err sp_media_open(struct sp_media **out, const struct sp_media_params *params,
                           struct srp_error *err);
/* Interrupts and waits for readers that are inside, and joins its threads. */
void sp_media_close(struct sp_media **m);
void sp_media_get_info(const struct sp_media *m, struct sp_media_info *info);

/* Next decoded frame, always 8-bit 4:2:0 (AV_PIX_FMT_YUV420P; other formats are converted),
 * colour properties set. 1: a frame was moved into `frame`; 0: end; <0: enum srp_err. A
 * damaged chunk is concealed or skipped and logged (sp_media_stats counts it), and is only an
 * error when nothing more can be played. */
int sp_media_read_video(struct sp_media *m, AVFrame *frame, struct sp_frame_meta *meta,
                        struct srp_error *err);
/* Next decoded audio frame, in the codec's sample format. As above; *pts in seconds. */
int sp_media_read_audio(struct sp_media *m, AVFrame *frame, double *pts, struct srp_error *err);

/* exact: the next video frame is the first with pts >= seconds - half a frame; otherwise the
 * key frame at or before. */
enum srp_err sp_media_seek(struct sp_media *m, double seconds, bool exact, struct srp_error *err);
/* Makes blocked reads return SRP_ERR_IO at once, until the next seek. */
void sp_media_interrupt(struct sp_media *m);

struct sp_media_stats {
    uint64_t bytes_received, bytes_video, bytes_audio, bytes_parameters, bytes_routes;
    uint64_t cache_hits, cache_misses, retries, hash_failures, damaged_chunks;
    uint64_t missed_routes; /* chunks of which frames were made without the routes named */
    double buffered_seconds;
    long last_http_status;
};
void sp_media_get_stats(struct sp_media *m, struct sp_media_stats *stats);

/* A view of a decoded YUV420P frame as a libsrp picture; colour properties unknown to the
 * stream are guessed as mpv does (BT.709 from 720 lines up, else BT.601; limited; left).
 * `lines`: of the picture shown. */
void sp_picture_from_frame(struct srp_picture *picture, const AVFrame *frame, uint32_t lines);

#endif
