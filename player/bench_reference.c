/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include "base.h"

static const uint64_t most_damaged = 10000;
static const double seek_from =
    5.0; /* seconds: below, decoding what is not needed is cheap enough */

struct sp_reference {
    struct sp_reference_params p;
    char name[256]; /* for messages */
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *current, *next;    /* empty: none */
    double current_at, next_at; /* seconds after the beginning of the file */
    double first_at;            /* of the package's first frame */
    double last_at;             /* of the frame decoded last, for streams without time stamps */
    uint64_t decoded, damaged;
    bool draining, ended;
    bool transpose, flip_x,
        flip_y;             /* how the picture is turned upright: mirrored after transposing */
    struct SwsContext *sws; /* from `sws_format` at the size of `converted` */
    int sws_format;
    AVFrame *converted; /* 8-bit 4:2:0, not yet turned */
};

static enum srp_err av_fail(const struct sp_reference *r, int code, const char *what,
                            struct srp_error *err)
{
    char why[AV_ERROR_MAX_STRING_SIZE];
    enum srp_err kind = code == AVERROR(ENOMEM)   ? SRP_ERR_NOMEM
                        : code == AVERROR(ENOENT) ? SRP_ERR_NOT_FOUND
                        : code == AVERROR(EIO)    ? SRP_ERR_IO
                                                  : SRP_ERR_DECODE;
    av_strerror(code, why, sizeof why);
    return sp_fail(err, kind, "%s: %s%s", r->name, what, why);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

/* The display matrix maps stored pixels to shown ones. Quarter turns and mirrorings have one entry
 * of either sign in each row; everything else would need resampling. */
static enum srp_err read_rotation(struct sp_reference *r, struct srp_error *err)
{
    const int32_t *m = (const int32_t *)(const void *)av_stream_get_side_data(
        r->stream, AV_PKT_DATA_DISPLAYMATRIX, NULL);
    if (!m) {
        return SRP_OK;
    }
    double angle = av_display_rotation_get(m);
    double quarters = round(angle / 90.0);
    if (isnan(angle) || fabs(angle - 90.0 * quarters) > 1.0) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED,
                       "%s: rotated by %.1f degrees, only quarter turns work", r->name, -angle);
    }
    /* Shown x = m[0] x + m[3] y, shown y = m[1] x + m[4] y. */
    r->transpose = fmod(fabs(quarters), 2.0) > 0.5;
    r->flip_x = (r->transpose ? m[3] : m[0]) < 0;
    r->flip_y = (r->transpose ? m[1] : m[4]) < 0;
    return SRP_OK;
}

static enum srp_err open_codec(struct sp_reference *r, struct srp_error *err)
{
    const AVCodec *decoder = avcodec_find_decoder(r->stream->codecpar->codec_id);
    if (!decoder) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: no decoder for %s", r->name,
                       avcodec_get_name(r->stream->codecpar->codec_id));
    }
    r->codec = avcodec_alloc_context3(decoder);
    if (!r->codec) {
        return sp_fail(err, SRP_ERR_NOMEM, "%s: out of memory", r->name);
    }
    int code = avcodec_parameters_to_context(r->codec, r->stream->codecpar);
    r->codec->pkt_timebase = r->stream->time_base;
    r->codec->thread_count = 0;
    if (code >= 0) {
        code = avcodec_open2(r->codec, decoder, NULL);
    }
    return code < 0 ? av_fail(r, code, "cannot be decoded: ", err) : SRP_OK;
}

static enum srp_err open_input(struct sp_reference *r, struct srp_error *err)
{
    bool standard_input = strcmp(r->p.path, "-") == 0;
    AVDictionary *options = NULL;
    /* A prefix, so that no part of a file name is taken for a protocol. */
    char *url = standard_input ? av_strdup("pipe:0") : av_asprintf("file:%s", r->p.path);
    if (!url) {
        return sp_fail(err, SRP_ERR_NOMEM, "%s: out of memory", r->name);
    }
    av_dict_set(&options, "protocol_whitelist", "file,pipe", 0);
    const AVInputFormat *y4m = standard_input ? av_find_input_format("yuv4mpegpipe") : NULL;
    int code = avformat_open_input(&r->format, url, y4m, &options);
    av_dict_free(&options);
    av_free(url);
    if (code < 0) {
        return av_fail(r, code, "", err);
    }
    if ((code = avformat_find_stream_info(r->format, NULL)) < 0) {
        return av_fail(r, code, "", err);
    }
    for (unsigned i = 0; i < r->format->nb_streams; i++) {
        AVStream *s = r->format->streams[i];
        bool video = s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
                     !(s->disposition & AV_DISPOSITION_ATTACHED_PIC);
        if (video && !r->stream) {
            r->stream = s;
        } else {
            s->discard = AVDISCARD_ALL;
        }
    }
    if (!r->stream) {
        return sp_fail(err, SRP_ERR_FORMAT, "%s: no video stream", r->name);
    }
    enum srp_err result = read_rotation(r, err);
    return result == SRP_OK ? open_codec(r, err) : result;
}

/* ---- decoding -----------------------------------------------------------------------------------
 */

static double frame_time(const struct sp_reference *r, const AVFrame *frame)
{
    AVRational rate = r->stream->r_frame_rate;
    if (frame->best_effort_timestamp != AV_NOPTS_VALUE) {
        double begin = r->format->start_time == AV_NOPTS_VALUE
                           ? 0.0
                           : (double)r->format->start_time / (double)AV_TIME_BASE;
        return (double)frame->best_effort_timestamp * av_q2d(r->stream->time_base) - begin;
    }
    return r->decoded == 0 ? 0.0
                           : r->last_at + (rate.num > 0 && rate.den > 0 ? av_q2d(av_inv_q(rate))
                                                                        : 1.0 / r->p.frame_rate);
}

/* Fills r->next, or sets r->ended. */
static enum srp_err decode_next(struct sp_reference *r, struct srp_error *err)
{
    for (;;) {
        int code = avcodec_receive_frame(r->codec, r->next);
        if (code >= 0) {
            r->next_at = r->last_at = frame_time(r, r->next);
            r->decoded++;
            return SRP_OK;
        }
        if (code == AVERROR_EOF) {
            r->ended = true;
            return SRP_OK;
        }
        if (code != AVERROR(EAGAIN)) {
            if (code == AVERROR(ENOMEM)) {
                return av_fail(r, code, "", err);
            }
            if (++r->damaged > most_damaged) {
                return av_fail(r, code, "too much of it cannot be decoded: ", err);
            }
            continue;
        }
        code = r->draining ? AVERROR_EOF : av_read_frame(r->format, r->packet);
        if (code == AVERROR_EOF) {
            r->draining = true;
            avcodec_send_packet(r->codec, NULL);
            continue;
        }
        if (code < 0) {
            return av_fail(r, code, "", err);
        }
        if (r->packet->stream_index == r->stream->index &&
            avcodec_send_packet(r->codec, r->packet) < 0) {
            r->damaged++;
        }
        av_packet_unref(r->packet);
    }
}

static void close_input(struct sp_reference *r)
{
    avcodec_free_context(&r->codec);
    avformat_close_input(&r->format);
    r->stream = NULL;
    r->decoded = r->damaged = 0;
    r->draining = r->ended = false;
    av_frame_unref(r->current);
    av_frame_unref(r->next);
}

/* Leaves the frame that the package begins with in r->current. */
static enum srp_err find_first(struct sp_reference *r, struct srp_error *err)
{
    double begin = r->p.start - 0.25 / r->p.frame_rate;
    bool sought = false;
    if (r->p.start > seek_from && r->format->pb &&
        (r->format->pb->seekable & AVIO_SEEKABLE_NORMAL)) {
        int64_t at = (int64_t)((r->p.start - 1.0) * (double)AV_TIME_BASE);
        at += r->format->start_time == AV_NOPTS_VALUE ? 0 : r->format->start_time;
        sought = avformat_seek_file(r->format, -1, INT64_MIN, at, at, 0) >= 0;
    }
    do {
        av_frame_unref(r->next);
        enum srp_err code = decode_next(r, err);
        bool timed = r->ended || r->next->best_effort_timestamp != AV_NOPTS_VALUE;
        if (code == SRP_OK && sought && (r->ended || !timed || r->next_at > begin)) {
            /* Some containers seek badly, and streams without time stamps cannot: decode it all. */
            close_input(r);
            code = open_input(r, err);
            sought = false;
            if (code == SRP_OK) {
                code = decode_next(r, err);
            }
        }
        sought = false;
        if (code != SRP_OK) {
            return code;
        }
        if (r->ended) {
            return sp_fail(err, SRP_ERR_NOT_FOUND,
                           "%s: ends before %.3f s, where the package begins: not its original?",
                           r->name, r->p.start);
        }
    } while (r->next_at < begin);
    av_frame_move_ref(r->current, r->next);
    r->current_at = r->first_at = r->next_at;
    return SRP_OK;
}

enum srp_err sp_reference_open(struct sp_reference **out, const struct sp_reference_params *params,
                               struct srp_error *err)
{
    struct sp_reference *r = calloc(1, sizeof *r);
    if (!r) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    r->p = *params;
    sp_escape(r->name, sizeof r->name,
              strcmp(params->path, "-") == 0 ? "standard input" : params->path);
    r->packet = av_packet_alloc();
    r->current = av_frame_alloc();
    r->next = av_frame_alloc();
    r->converted = av_frame_alloc();
    enum srp_err code = SRP_OK;
    if (!r->packet || !r->current || !r->next || !r->converted) {
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    if (code == SRP_OK) {
        code = open_input(r, err);
    }
    if (code == SRP_OK) {
        code = find_first(r, err);
    }
    if (code != SRP_OK) {
        sp_reference_close(&r);
        return code;
    }
    *out = r;
    return SRP_OK;
}

void sp_reference_close(struct sp_reference **r)
{
    if (!*r) {
        return;
    }
    avcodec_free_context(&(*r)->codec);
    avformat_close_input(&(*r)->format);
    av_packet_free(&(*r)->packet);
    av_frame_free(&(*r)->current);
    av_frame_free(&(*r)->next);
    av_frame_free(&(*r)->converted);
    sws_freeContext((*r)->sws);
    free(*r);
    *r = NULL;
}

uint64_t sp_reference_damaged(const struct sp_reference *r)
{
    return r->damaged;
}

/* ---- conversion ---------------------------------------------------------------------------------
 */

static bool is_full(const AVFrame *frame)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(frame->format);
    bool rgb = desc && (desc->flags & AV_PIX_FMT_FLAG_RGB);
    return rgb || frame->color_range == AVCOL_RANGE_JPEG || frame->format == AV_PIX_FMT_YUVJ420P ||
           frame->format == AV_PIX_FMT_YUVJ422P || frame->format == AV_PIX_FMT_YUVJ444P;
}

/* A range that the stream does not state is the package's; formats with a J state it. */
static bool same_range(const struct sp_reference *r, const AVFrame *frame)
{
    bool stated = frame->color_range != AVCOL_RANGE_UNSPECIFIED || is_full(frame);
    return !stated || is_full(frame) == (r->p.range == SRP_RANGE_FULL);
}

/* The packer's conversion: bicubic with accurate rounding and the chroma siting given. */
static enum srp_err setup_sws(struct sp_reference *r, const AVFrame *f, struct srp_error *err)
{
    const int horizontal = r->p.chroma == SRP_CHROMA_CENTER ? 128 : 0;
    const int vertical = r->p.chroma == SRP_CHROMA_TOPLEFT ? 0 : 128;
    const bool full = r->p.range == SRP_RANGE_FULL;
    const int from_full = same_range(r, f) ? full : is_full(f);
    sws_freeContext(r->sws);
    r->sws = sws_alloc_context();
    if (!r->sws) {
        return sp_fail(err, SRP_ERR_NOMEM, "%s: out of memory", r->name);
    }
    const struct {
        const char *name;
        int64_t value;
    } option[] = {
        {"sws_flags", SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP},
        {"srcw", f->width},
        {"srch", f->height},
        {"src_format", f->format},
        {"dstw", f->width},
        {"dsth", f->height},
        {"dst_format", AV_PIX_FMT_YUV420P},
        {"src_range", from_full},
        {"dst_range", full},
        {"src_h_chr_pos", horizontal},
        {"src_v_chr_pos", vertical},
        {"dst_h_chr_pos", horizontal},
        {"dst_v_chr_pos", vertical},
    };
    for (size_t i = 0; i < sizeof option / sizeof option[0]; i++) {
        av_opt_set_int(r->sws, option[i].name, option[i].value, 0);
    }
    int code = sws_init_context(r->sws, NULL, NULL);
    return code < 0 ? av_fail(r, code, "its pixel format cannot be converted: ", err) : SRP_OK;
}

/* One plane turned upright: row j, column i of the picture shown. */
static void turn_plane(const struct sp_reference *r, const uint8_t *from, int from_stride,
                       int from_width, int from_height, uint8_t *to, ptrdiff_t to_stride, int width,
                       int height)
{
    const int across = r->transpose ? from_height : from_width; /* of the whole picture shown */
    const int down = r->transpose ? from_width : from_height;
    for (int j = 0; j < height; j++) {
        int y = r->flip_y ? down - 1 - j : j;
        uint8_t *row = to + (ptrdiff_t)j * to_stride;
        if (!r->transpose && !r->flip_x) {
            memcpy(row, from + (ptrdiff_t)y * from_stride, (size_t)width);
            continue;
        }
        for (int i = 0; i < width; i++) {
            int x = r->flip_x ? across - 1 - i : i;
            row[i] = from[r->transpose ? (ptrdiff_t)x * from_stride + y
                                       : (ptrdiff_t)y * from_stride + x];
        }
    }
}

static enum srp_err deliver(struct sp_reference *r, const struct srp_picture *picture,
                            struct srp_error *err)
{
    const AVFrame *f = r->current;
    const uint32_t shown_width = (uint32_t)(r->transpose ? f->height : f->width);
    const uint32_t shown_height = (uint32_t)(r->transpose ? f->width : f->height);
    if (shown_width < picture->width || shown_height < picture->height) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "%s: %ux%u is smaller than the package's %ux%u: not its original?", r->name,
                       shown_width, shown_height, picture->width, picture->height);
    }
    bool plain = f->format == AV_PIX_FMT_YUV420P || f->format == AV_PIX_FMT_YUVJ420P;
    if (!plain || !same_range(r, f)) {
        bool changed = r->converted->width != f->width || r->converted->height != f->height ||
                       r->sws_format != f->format;
        if (changed) {
            enum srp_err code = setup_sws(r, f, err);
            if (code != SRP_OK) {
                return code;
            }
            av_frame_unref(r->converted);
            r->converted->width = f->width;
            r->converted->height = f->height;
            r->converted->format = AV_PIX_FMT_YUV420P;
            int got = av_frame_get_buffer(r->converted, 0);
            if (got < 0) {
                return av_fail(r, got, "", err);
            }
            r->sws_format = f->format;
        }
        int lines = sws_scale(r->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height,
                              r->converted->data, r->converted->linesize);
        if (lines < 0) {
            return av_fail(r, lines, "cannot be converted to 8-bit 4:2:0: ", err);
        }
        f = r->converted;
    }
    for (int plane = 0; plane < 3; plane++) {
        int shift = plane ? 1 : 0;
        turn_plane(r, f->data[plane], f->linesize[plane], (f->width + shift) >> shift,
                   (f->height + shift) >> shift, picture->data[plane], picture->stride[plane],
                   (int)(picture->width + (uint32_t)shift) >> shift,
                   (int)(picture->height + (uint32_t)shift) >> shift);
    }
    return SRP_OK;
}

enum srp_err sp_reference_read(struct sp_reference *r, double seconds,
                               const struct srp_picture *picture, struct srp_error *err)
{
    const double due = r->first_at + seconds, frame = 1.0 / r->p.frame_rate;
    for (;;) {
        if (!r->ended && !r->next->buf[0]) {
            enum srp_err code = decode_next(r, err);
            if (code != SRP_OK) {
                return code;
            }
        }
        if (r->ended || r->next_at >= due + 0.5 * frame) {
            break;
        }
        av_frame_unref(r->current);
        av_frame_move_ref(r->current, r->next);
        r->current_at = r->next_at;
    }
    if (r->ended && due >= r->current_at + frame) {
        return sp_fail(err, SRP_ERR_NOT_FOUND,
                       "%s: ends at %.3f s, before the package does: not its original?", r->name,
                       r->current_at + frame);
    }
    return deliver(r, picture, err);
}
