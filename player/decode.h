/* SPDX-License-Identifier: BSD-2-Clause */
/* decode.h - FFmpeg behind white-lists: demuxers, decoders, and frames brought to 8-bit 4:2:0. */
#ifndef SP_DECODE_H
#define SP_DECODE_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "source.h"

/* What a medium may hold. Names are FFmpeg's, comma-separated. */
struct sp_allowed {
    const char *formats, *codecs;
};
extern const struct sp_allowed sp_allowed_package, sp_allowed_plain;

/* Opens files that a format names (HLS). NULL members: every such attempt is refused. */
struct sp_opener {
    int (*open)(void *user, AVIOContext **pb, const char *url);
    void (*close)(void *user, AVIOContext *pb);
    void *user;
};

struct sp_demux_params {
    AVIOContext *pb;            /* stays the caller's */
    const struct sp_source *source; /* behind pb: names its errors */
    const char *location;
    const struct sp_allowed *allowed;
    const struct sp_opener *opener; /* outlives the context; may be NULL */
    struct sp_gate *gate;
    bool analyse; /* read ahead to complete the stream parameters */
};

/* *out: free with avformat_close_input. Errors: UNSUPPORTED (named format), DECODE, NETWORK,
 * IO, NOMEM. */
enum srp_err sp_demux_open(AVFormatContext **out, const struct sp_demux_params *params,
                           struct srp_error *err);

/* *out: free with avcodec_free_context. threads: 0 is one per core. Errors: UNSUPPORTED,
 * DECODE, NOMEM. */
enum srp_err sp_decoder_open(AVCodecContext **out, const AVStream *stream,
                             const struct sp_allowed *allowed, uint32_t threads,
                             const char *location, struct srp_error *err);

/* One decoded frame. `next` gives packets: 1, 0 at the end, <0 an enum srp_err that is passed
 * on. Damaged packets are counted in *damaged and decoding goes on. 1: a frame; 0: end
 * (drained); <0. */
int sp_decode(AVCodecContext *codec, AVPacket *packet, int (*next)(void *user, AVPacket *packet),
              void *user, AVFrame *frame, uint64_t *damaged);

/* Converts to AV_PIX_FMT_YUV420P where needed, keeping times and colour properties. */
struct sp_converter; /* one thread */
struct sp_converter *sp_converter_create(void);
void sp_converter_destroy(struct sp_converter **conv);
enum srp_err sp_converter_run(struct sp_converter *conv, AVFrame *frame, struct srp_error *err);

/* Rotation in degrees that the stream asks for, 0 for none. */
double sp_stream_rotation(const AVStream *stream);

#endif
