/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode.h"

#include <stdlib.h>
#include <string.h>

#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include <srp/limits.h>

#include "media.h"
#include "url.h"

enum { MAX_STREAMS = 64, MAX_DAMAGED_IN_ROW = 512 };

const struct sp_allowed sp_allowed_package = {
    .formats = "mov,mp4",
    .codecs = "h264,hevc,libdav1d,av1,aac,opus,libopus",
};

const struct sp_allowed sp_allowed_plain = {
    .formats = "mov,mp4,matroska,webm,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,avi,flv,ogg,asf,"
               "nut,mxf,hls,yuv4mpegpipe,aac,mp3,ac3,eac3,webvtt",
    .codecs = "h264,hevc,libdav1d,av1,vp8,vp9,mpeg1video,mpeg2video,mpeg4,msmpeg4,msmpeg4v2,h263,"
              "flv,mjpeg,prores,dnxhd,ffv1,huffyuv,rawvideo,theora,wmv1,wmv2,wmv3,vc1,"
              "aac,mp3float,mp3,mp2float,mp2,ac3,eac3,vorbis,opus,libopus,flac,alac,wmav2,"
              "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_f32le,pcm_u8,pcm_alaw,"
              "pcm_mulaw,pcm_bluray,pcm_dvd,adpcm_ms,adpcm_ima_wav",
};

/* ---- demuxer -------------------------------------------------------------------------------- */

static int refuse_open(AVFormatContext *fmt, AVIOContext **pb, const char *url, int flags,
                       AVDictionary **options)
{
    const struct sp_opener *opener = fmt->opaque;

    (void)options;
    if (opener == NULL || opener->open == NULL || (flags & AVIO_FLAG_WRITE) != 0) {
        return AVERROR(EPERM);
    }
    return opener->open(opener->user, pb, url);
}

static int close_opened(AVFormatContext *fmt, AVIOContext *pb)
{
    const struct sp_opener *opener = fmt->opaque;

    if (opener != NULL && opener->close != NULL) {
        opener->close(opener->user, pb);
    }
    return 0;
}

static int interrupted(void *user)
{
    struct sp_gate *gate = user;

    sp_gate_lock(gate);
    bool yes = gate->interrupted;
    sp_gate_unlock(gate);
    return yes ? 1 : 0;
}

static enum srp_err name_error(const struct sp_demux_params *params, int code,
                               const char *what, struct srp_error *err)
{
    char shown[300], text[AV_ERROR_MAX_STRING_SIZE];
    const struct srp_error *source = sp_source_error(params->source);

    if (source->code != SRP_OK) {
        return sp_fail(err, source->code, "%s", source->detail);
    }
    sp_url_show(shown, sizeof(shown), params->location);
    av_strerror(code, text, sizeof(text));
    if (code == AVERROR_EXIT) {
        return sp_fail(err, SRP_ERR_IO, "%s: interrupted", shown);
    }
    return sp_fail(err, code == AVERROR(ENOMEM) ? SRP_ERR_NOMEM : SRP_ERR_DECODE, "%s: %s: %s",
                   shown, what, text);
}

/* The format is found here, so that one off the white-list is refused before any of its code
 * but the probe has run, and by name. */
static enum srp_err find_format(const AVInputFormat **format, const struct sp_demux_params *params,
                                struct srp_error *err)
{
    char shown[300];
    int code = av_probe_input_buffer2(params->pb, format, "", NULL, 0, 1 << 20);

    if (code < 0) {
        return name_error(params, code, "not a video format that is known", err);
    }
    if (!av_match_list((*format)->name, params->allowed->formats, ',')) {
        sp_url_show(shown, sizeof(shown), params->location);
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: the format '%s' is not one of those allowed",
                       shown, (*format)->name);
    }
    return SRP_OK;
}

enum srp_err sp_demux_open(AVFormatContext **out, const struct sp_demux_params *params,
                           struct srp_error *err)
{
    const AVInputFormat *format = NULL;
    AVFormatContext *fmt = NULL;
    AVDictionary *options = NULL;
    enum srp_err code = find_format(&format, params, err);
    int r;

    *out = NULL;
    if (code != SRP_OK) {
        return code;
    }
    fmt = avformat_alloc_context();
    if (fmt == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    fmt->pb = params->pb;
    fmt->flags |= AVFMT_FLAG_CUSTOM_IO;
    fmt->opaque = (void *)(uintptr_t)params->opener;
    fmt->io_open = refuse_open;
    fmt->io_close2 = close_opened;
    fmt->interrupt_callback = (AVIOInterruptCB){interrupted, params->gate};
    fmt->protocol_whitelist = av_strdup("");
    fmt->format_whitelist = av_strdup(params->allowed->formats);
    fmt->codec_whitelist = av_strdup(params->allowed->codecs);
    fmt->max_streams = MAX_STREAMS;
    /* The HLS reader's shortcuts work on FFmpeg's own http contexts, which are never ours. */
    av_dict_set(&options, "http_persistent", "0", 0);
    av_dict_set(&options, "http_multiple", "0", 0);
    r = avformat_open_input(&fmt, params->location, format, &options); /* frees fmt on failure */
    av_dict_free(&options);
    if (r < 0) {
        return name_error(params, r, "cannot be opened", err);
    }
    if (params->analyse && (r = avformat_find_stream_info(fmt, NULL)) < 0) {
        code = name_error(params, r, "no stream parameters were found", err);
        avformat_close_input(&fmt);
        return code;
    }
    *out = fmt;
    return SRP_OK;
}

double sp_stream_rotation(const AVStream *stream)
{
    size_t size = 0;
    const uint8_t *data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    int32_t matrix[9];

    if (data == NULL || size < sizeof(matrix)) {
        return 0;
    }
    memcpy(matrix, data, sizeof(matrix));
    double degrees = -av_display_rotation_get(matrix);
    return degrees == degrees ? degrees : 0; /* NaN: a singular matrix */
}

/* ---- decoder -------------------------------------------------------------------------------- */

enum srp_err sp_decoder_open(AVCodecContext **out, const AVStream *stream,
                             const struct sp_allowed *allowed, uint32_t threads,
                             const char *location, struct srp_error *err)
{
    const char *name = avcodec_get_name(stream->codecpar->codec_id);
    const AVCodec *decoder = avcodec_find_decoder(stream->codecpar->codec_id);
    AVCodecContext *codec = NULL;
    char shown[300], text[AV_ERROR_MAX_STRING_SIZE];
    int r;

    *out = NULL;
    sp_url_show(shown, sizeof(shown), location);
    if (decoder == NULL || !av_match_list(decoder->name, allowed->codecs, ',')) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: the codec '%s' is not one of those allowed",
                       shown, decoder != NULL ? decoder->name : name);
    }
    codec = avcodec_alloc_context3(decoder);
    if (codec == NULL || avcodec_parameters_to_context(codec, stream->codecpar) < 0) {
        avcodec_free_context(&codec);
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    codec->pkt_timebase = stream->time_base;
    codec->codec_whitelist = av_strdup(allowed->codecs);
    codec->max_pixels = SRP_MAX_PICTURE_PIXELS;
    codec->thread_count = threads < SRP_MAX_THREADS ? (int)threads : (int)SRP_MAX_THREADS;
    if ((r = avcodec_open2(codec, decoder, NULL)) < 0) {
        av_strerror(r, text, sizeof(text));
        avcodec_free_context(&codec);
        return sp_fail(err, SRP_ERR_DECODE, "%s: the %s decoder cannot be opened: %s", shown,
                       decoder->name, text);
    }
    *out = codec;
    return SRP_OK;
}

int sp_decode(AVCodecContext *codec, AVPacket *packet, int (*next)(void *user, AVPacket *packet),
              void *user, AVFrame *frame, uint64_t *damaged)
{
    for (unsigned bad = 0; bad < MAX_DAMAGED_IN_ROW;) {
        int r = avcodec_receive_frame(codec, frame);
        if (r >= 0) {
            if (frame->decode_error_flags != 0 || (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0) {
                ++*damaged;
            }
            return 1;
        }
        if (r == AVERROR_EOF) {
            return 0;
        }
        /* ENOMEM too: damaged data ask for absurd amounts. When memory is really short, the end of
         * the row comes soon enough. */
        if (r != AVERROR(EAGAIN)) {
            ++*damaged;
            bad++;
            continue;
        }
        r = next(user, packet);
        if (r < 0) {
            return r;
        }
        r = avcodec_send_packet(codec, r > 0 ? packet : NULL);
        av_packet_unref(packet);
        if (r < 0 && r != AVERROR_EOF) {
            ++*damaged;
            bad++;
        }
    }
    return SRP_ERR_DECODE;
}

/* ---- frames --------------------------------------------------------------------------------- */

struct sp_converter {
    struct SwsContext *sws;
    int width, height, format, matrix, range, chroma;
    enum AVChromaLocation out_chroma;
};

struct sp_converter *sp_converter_create(void)
{
    struct sp_converter *conv = calloc(1, sizeof(*conv));

    if (conv != NULL) {
        conv->format = AV_PIX_FMT_NONE;
    }
    return conv;
}

void sp_converter_destroy(struct sp_converter **conv)
{
    if (*conv != NULL) {
        sws_freeContext((*conv)->sws);
        free(*conv);
        *conv = NULL;
    }
}

/* Positions in 1/256 luma samples. swscale's own default is centred, which no video codec's is. */
static void set_chroma_positions(struct SwsContext *sws, const AVPixFmtDescriptor *desc,
                                 enum AVChromaLocation *location)
{
    bool wide = desc->log2_chroma_w > 0, high = desc->log2_chroma_h > 0;
    int h = wide && *location == AVCHROMA_LOC_CENTER ? 128 : 0;
    int v = high && *location == AVCHROMA_LOC_TOPLEFT ? 0 : 128;

    if (wide) {
        av_opt_set_int(sws, "src_h_chr_pos", h, 0);
    }
    if (high) {
        av_opt_set_int(sws, "src_v_chr_pos", v, 0);
    }
    av_opt_set_int(sws, "dst_h_chr_pos", h, 0);
    av_opt_set_int(sws, "dst_v_chr_pos", v, 0);
    *location = h == 128 ? AVCHROMA_LOC_CENTER : v == 0 ? AVCHROMA_LOC_TOPLEFT : AVCHROMA_LOC_LEFT;
}

static int sws_matrix(const AVFrame *in, bool rgb)
{
    switch (rgb ? AVCOL_SPC_UNSPECIFIED : in->colorspace) {
    case AVCOL_SPC_BT709:
        return SWS_CS_ITU709;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return SWS_CS_BT2020;
    case AVCOL_SPC_UNSPECIFIED:
        return in->height >= 720 ? SWS_CS_ITU709 : SWS_CS_ITU601;
    default:
        return SWS_CS_ITU601;
    }
}

static bool prepare_sws(struct sp_converter *conv, const AVFrame *in,
                        const AVPixFmtDescriptor *desc, enum AVChromaLocation *location)
{
    bool rgb = (desc->flags & AV_PIX_FMT_FLAG_RGB) != 0;
    int matrix = sws_matrix(in, rgb), range = in->color_range == AVCOL_RANGE_JPEG ? 1 : 0;

    if (conv->sws != NULL && conv->width == in->width && conv->height == in->height &&
        conv->format == in->format && conv->matrix == matrix && conv->range == range &&
        conv->chroma == (int)in->chroma_location) {
        *location = conv->out_chroma;
        return true;
    }
    sws_freeContext(conv->sws);
    conv->sws = sws_alloc_context();
    if (conv->sws == NULL) {
        return false;
    }
    av_opt_set_int(conv->sws, "srcw", in->width, 0);
    av_opt_set_int(conv->sws, "srch", in->height, 0);
    av_opt_set_int(conv->sws, "dstw", in->width, 0);
    av_opt_set_int(conv->sws, "dsth", in->height, 0);
    av_opt_set_int(conv->sws, "src_format", in->format, 0);
    av_opt_set_int(conv->sws, "dst_format", AV_PIX_FMT_YUV420P, 0);
    av_opt_set_int(conv->sws, "sws_flags",
                   SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, 0);
    set_chroma_positions(conv->sws, desc, location);
    if (sws_init_context(conv->sws, NULL, NULL) < 0) {
        sws_freeContext(conv->sws);
        conv->sws = NULL;
        return false;
    }
    const int *table = sws_getCoefficients(matrix);
    sws_setColorspaceDetails(conv->sws, table, rgb ? 1 : range, table, rgb ? 0 : range, 0, 1 << 16,
                             1 << 16);
    conv->width = in->width;
    conv->height = in->height;
    conv->format = in->format;
    conv->matrix = matrix;
    conv->range = range;
    conv->chroma = (int)in->chroma_location;
    conv->out_chroma = *location;
    return true;
}

enum srp_err sp_converter_run(struct sp_converter *conv, AVFrame *frame, struct srp_error *err)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get((enum AVPixelFormat)frame->format);
    AVFrame *out = NULL;

    if (frame->format == AV_PIX_FMT_YUV420P) {
        return SRP_OK;
    }
    if (frame->format == AV_PIX_FMT_YUVJ420P) { /* the same samples; full range is said apart */
        frame->format = AV_PIX_FMT_YUV420P;
        frame->color_range = AVCOL_RANGE_JPEG;
        return SRP_OK;
    }
    if (desc == NULL || !sws_isSupportedInput((enum AVPixelFormat)frame->format)) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "pixel format %s cannot be shown",
                       desc != NULL ? desc->name : "(unknown)");
    }
    bool rgb = (desc->flags & AV_PIX_FMT_FLAG_RGB) != 0;
    if (strncmp(desc->name, "yuvj", 4) == 0) {
        frame->color_range = AVCOL_RANGE_JPEG;
    }
    out = av_frame_alloc();
    if (out == NULL || av_frame_copy_props(out, frame) < 0) {
        goto no_memory;
    }
    out->format = AV_PIX_FMT_YUV420P;
    out->width = frame->width;
    out->height = frame->height;
    if (av_frame_get_buffer(out, 0) < 0 || !prepare_sws(conv, frame, desc, &out->chroma_location)) {
        goto no_memory;
    }
    sws_scale(conv->sws, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height,
              out->data, out->linesize);
    if (rgb) {
        out->colorspace = conv->matrix == SWS_CS_ITU709 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
        out->color_range = AVCOL_RANGE_MPEG;
    }
    av_frame_unref(frame);
    av_frame_move_ref(frame, out);
    av_frame_free(&out);
    return SRP_OK;

no_memory:
    av_frame_free(&out);
    return sp_fail(err, SRP_ERR_NOMEM, "out of memory for a %dx%d frame", frame->width,
                   frame->height);
}

void sp_picture_from_frame(struct srp_picture *picture, const AVFrame *frame, uint32_t lines)
{
    memset(picture, 0, sizeof(*picture));
    picture->format = SRP_FORMAT_YUV420;
    picture->width = (uint32_t)frame->width;
    picture->height = (uint32_t)frame->height;
    switch (frame->colorspace) {
    case AVCOL_SPC_BT709:
        picture->matrix = SRP_MATRIX_BT709;
        break;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
    case AVCOL_SPC_FCC:
    case AVCOL_SPC_SMPTE240M:
        picture->matrix = SRP_MATRIX_BT601;
        break;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        picture->matrix = SRP_MATRIX_BT2020;
        break;
    default:
        picture->matrix = lines >= 720 ? SRP_MATRIX_BT709 : SRP_MATRIX_BT601;
        break;
    }
    picture->range = frame->color_range == AVCOL_RANGE_JPEG ? SRP_RANGE_FULL : SRP_RANGE_LIMITED;
    switch (frame->chroma_location) {
    case AVCHROMA_LOC_CENTER:
        picture->chroma = SRP_CHROMA_CENTER;
        break;
    case AVCHROMA_LOC_TOPLEFT:
        picture->chroma = SRP_CHROMA_TOPLEFT;
        break;
    default:
        picture->chroma = SRP_CHROMA_LEFT;
        break;
    }
    for (int i = 0; i < 3; i++) {
        picture->data[i] = frame->data[i];
        picture->stride[i] = frame->linesize[i];
    }
}
