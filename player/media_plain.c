/* SPDX-License-Identifier: BSD-2-Clause */
/* Any video file, and HLS playlists without a package: one FFmpeg demuxer whose packets two
 * readers share. */
#include "media_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "url.h"

enum {
    VIDEO = 0,
    AUDIO = 1,
    MAX_OPENED = 16, /* files that HLS may hold open at once */
    MAX_READ_ERRORS = 32,
};

/* What one reader may be behind the other, bytes of packets. A badly interleaved file can need
 * much; audio that nobody reads (no device) is forgotten. */
static const size_t queue_limit[2] = {256u << 20, 16u << 20};

struct node {
    struct node *next;
    AVPacket *packet;
};

struct queue {
    struct node *first, **last;
    size_t bytes;
    bool overflowed;
};

struct reader { /* one thread each */
    struct plain *plain;
    int which;
    const AVStream *stream; /* changes under the lock, when both readers are parked */
    int index;              /* of the stream */
    AVCodecContext *codec;
    AVPacket *packet;
    uint64_t damaged, damaged_said;
    double last_pts;   /* NAN: none since open or seek */
    double skip_until; /* frames before are not handed out */
};

struct opened {
    struct sp_source *source;
    AVIOContext *pb;
};

struct plain {
    struct sp_media *media;
    struct sp_source *source;
    AVIOContext *pb;
    struct sp_opener opener;
    struct reader readers[2];
    struct sp_converter *converter;
    AVFrame *pending; /* video: the next frame to hand out; has a buffer when it is set */
    double pending_pts, zero, nominal;
    uint64_t index;
    uint32_t width, height;
    double sar, duration;
    AVRational rate;

    pthread_mutex_t lock; /* guards what follows; held while the demuxer reads */
    AVFormatContext *fmt;
    struct queue queues[2];
    struct opened opened[MAX_OPENED];
    struct srp_error refused; /* the last file that was not opened, and why */
    unsigned read_errors;
};

/* ---- packets -------------------------------------------------------------------------------- */

static void queue_pop(struct queue *q, AVPacket *into)
{
    struct node *node = q->first;

    q->first = node->next;
    if (q->first == NULL) {
        q->last = &q->first;
    }
    q->bytes -= (size_t)node->packet->size;
    if (into != NULL) {
        av_packet_move_ref(into, node->packet);
    }
    av_packet_free(&node->packet);
    free(node);
}

static void queue_clear(struct queue *q)
{
    while (q->first != NULL) {
        queue_pop(q, NULL);
    }
    q->overflowed = false;
}

static bool queue_push(struct queue *q, AVPacket *packet)
{
    struct node *node = calloc(1, sizeof(*node));

    if (node == NULL || (node->packet = av_packet_alloc()) == NULL) {
        free(node);
        return false;
    }
    av_packet_move_ref(node->packet, packet);
    *q->last = node;
    q->last = &node->next;
    q->bytes += (size_t)node->packet->size;
    return true;
}

static int read_error(struct plain *p, int r, struct srp_error *err)
{
    const struct srp_error *source = sp_source_error(p->source);
    char shown[300], text[AV_ERROR_MAX_STRING_SIZE];

    sp_url_show(shown, sizeof(shown), sp_source_location(p->source));
    if (r == AVERROR_EXIT) {
        return sp_fail(err, SRP_ERR_IO, "interrupted");
    }
    if (source->code != SRP_OK && source->code != SRP_ERR_IO) {
        return sp_fail(err, source->code, "%s", source->detail);
    }
    av_strerror(r, text, sizeof(text));
    return sp_fail(err, r == AVERROR(ENOMEM) ? SRP_ERR_NOMEM : SRP_ERR_DECODE, "%s: %s", shown,
                   text);
}

/* Puts away a packet of the other stream. Lock held. */
static void put_away(struct plain *p, AVPacket *packet, int which)
{
    struct queue *q = &p->queues[which];

    while (q->first != NULL && q->bytes + (size_t)packet->size > queue_limit[which]) {
        if (!q->overflowed && which == VIDEO) {
            sp_log(p->media->params.log, SP_LOG_WARN,
                   "the file is interleaved too badly: video was dropped");
        }
        q->overflowed = true;
        queue_pop(q, NULL);
    }
    if (!queue_push(q, packet)) {
        av_packet_unref(packet);
    }
}

/* ---- files that a playlist names ------------------------------------------------------------ */

static int open_named(void *user, AVIOContext **pb, const char *url)
{
    struct plain *p = user;
    struct srp_error why = {0};
    struct opened *slot = NULL;
    enum srp_err code = sp_url_allowed(sp_source_location(p->source), url, &why);

    for (int i = 0; i < MAX_OPENED && slot == NULL; i++) {
        slot = p->opened[i].source == NULL ? &p->opened[i] : NULL;
    }
    if (code == SRP_OK && slot == NULL) {
        code = sp_fail(&why, SRP_ERR_LIMIT, "a playlist that opens too many files at once");
    }
    if (code == SRP_OK) {
        code = sp_source_open(&slot->source, &p->media->env, url, &why);
    }
    /* The first answer may have come over a redirect; where it leads was checked step by step. */
    if (code == SRP_OK && (slot->pb = sp_source_avio(slot->source)) == NULL) {
        sp_source_close(&slot->source);
        code = sp_fail(&why, SRP_ERR_NOMEM, "out of memory");
    }
    if (code != SRP_OK) {
        if (code != SRP_ERR_IO) {
            sp_log(p->media->params.log, SP_LOG_WARN, "%s", why.detail);
            p->refused = why;
        }
        return code == SRP_ERR_IO ? AVERROR_EXIT : AVERROR(EIO);
    }
    *pb = slot->pb;
    return 0;
}

static void close_named(void *user, AVIOContext *pb)
{
    struct plain *p = user;

    for (int i = 0; i < MAX_OPENED; i++) {
        if (p->opened[i].pb == pb && pb != NULL) {
            sp_source_avio_free(&p->opened[i].pb);
            sp_source_close(&p->opened[i].source);
        }
    }
}

/* ---- the demuxer ---------------------------------------------------------------------------- */

static void close_demuxer(struct plain *p)
{
    avformat_close_input(&p->fmt);
    for (int i = 0; i < MAX_OPENED; i++) {
        sp_source_avio_free(&p->opened[i].pb);
        sp_source_close(&p->opened[i].source);
    }
    sp_source_avio_free(&p->pb);
}

static enum srp_err open_demuxer(struct plain *p, struct srp_error *err)
{
    sp_source_seek(p->source, 0);
    p->pb = sp_source_avio(p->source);
    if (p->pb == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    struct sp_demux_params params = {.pb = p->pb,
                                     .source = p->source,
                                     .location = sp_source_location(p->source),
                                     .allowed = &sp_allowed_plain,
                                     .opener = &p->opener,
                                     .gate = &p->media->gate,
                                     .analyse = true};
    p->refused.code = SRP_OK;
    enum srp_err code = sp_demux_open(&p->fmt, &params, err);
    if (code != SRP_OK && code != SRP_ERR_IO && p->refused.code != SRP_OK) {
        code = sp_fail(err, p->refused.code, "%s", p->refused.detail); /* the true reason */
    }
    return code;
}

static void discard_others(struct plain *p)
{
    for (unsigned i = 0; i < p->fmt->nb_streams; i++) {
        AVStream *stream = p->fmt->streams[i];
        if (stream != p->readers[VIDEO].stream && stream != p->readers[AUDIO].stream) {
            stream->discard = AVDISCARD_ALL;
        }
    }
}

/* The same streams again, from the beginning; the decoders stay. Lock held. */
static enum srp_err reopen(struct plain *p, struct srp_error *err)
{
    close_demuxer(p);
    enum srp_err code = open_demuxer(p, err);
    if (code != SRP_OK) {
        return code;
    }
    for (int i = 0; i < 2; i++) {
        struct reader *d = &p->readers[i];
        if (d->codec == NULL) {
            continue;
        }
        if ((unsigned)d->index >= p->fmt->nb_streams ||
            p->fmt->streams[d->index]->codecpar->codec_id != d->codec->codec_id) {
            close_demuxer(p);
            return sp_fail(err, SRP_ERR_DECODE, "the file changed while it was played");
        }
        d->stream = p->fmt->streams[d->index];
    }
    discard_others(p);
    return SRP_OK;
}

/* The next packet of either stream, past the queues. 1, 0 at the end, <0. Lock held. */
static int fetch_fresh(struct plain *p, AVPacket *packet, struct srp_error *err)
{
    for (;;) {
        int r = av_read_frame(p->fmt, packet);
        if (r == AVERROR_EOF) {
            return 0;
        }
        if ((r == AVERROR_INVALIDDATA || r == AVERROR(ENOMEM)) &&
            ++p->read_errors < MAX_READ_ERRORS) {
            continue;
        }
        if (r < 0) {
            return read_error(p, r, err);
        }
        p->read_errors = 0;
        for (int i = 0; i < 2; i++) {
            if (p->readers[i].stream != NULL &&
                packet->stream_index == p->readers[i].stream->index) {
                return 1;
            }
        }
        av_packet_unref(packet);
    }
}

/* The next packet of a stream. 1, 0 at the end, <0. Lock held. */
static int fetch_packet(struct plain *p, int which, AVPacket *packet, struct srp_error *err)
{
    if (p->queues[which].first != NULL) {
        queue_pop(&p->queues[which], packet);
        return 1;
    }
    if (p->fmt == NULL) {
        return sp_fail(err, SRP_ERR_IO, "the file could not be opened again after a seek");
    }
    for (;;) {
        int r = fetch_fresh(p, packet, err);
        if (r <= 0 || packet->stream_index == p->readers[which].stream->index) {
            return r;
        }
        put_away(p, packet, which == VIDEO ? AUDIO : VIDEO);
    }
}

struct next_context {
    struct reader *reader;
    struct srp_error *err;
};

static int next_packet(void *user, AVPacket *packet)
{
    struct next_context *c = user;
    struct plain *p = c->reader->plain;

    pthread_mutex_lock(&p->lock);
    int r = fetch_packet(p, c->reader->which, packet, c->err);
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* ---- frames --------------------------------------------------------------------------------- */

static int decode_frame(struct reader *d, AVFrame *frame, double nominal, double *pts,
                        struct srp_error *err)
{
    struct next_context context = {d, err};
    int r = sp_decode(d->codec, d->packet, next_packet, &context, frame, &d->damaged);

    if (d->damaged > d->damaged_said) {
        sp_log(d->plain->media->params.log, SP_LOG_WARN, "damaged %s near %.2f s",
               d->which == VIDEO ? "video" : "audio", isnan(d->last_pts) ? 0 : d->last_pts);
        atomic_fetch_add(&d->plain->media->counters.damaged_chunks, d->damaged - d->damaged_said);
        d->damaged_said = d->damaged;
    }
    if (r == SRP_ERR_DECODE && (err == NULL || err->code != SRP_ERR_DECODE)) {
        return sp_fail(err, SRP_ERR_DECODE, "the %s decoder finds nothing but damage",
                       d->which == VIDEO ? "video" : "audio");
    }
    if (r <= 0) {
        return r;
    }
    if (frame->best_effort_timestamp != AV_NOPTS_VALUE) {
        *pts = (double)frame->best_effort_timestamp * av_q2d(d->stream->time_base) - d->plain->zero;
    } else {
        *pts = isnan(d->last_pts) ? 0 : d->last_pts + nominal;
    }
    if (!isnan(d->last_pts) && *pts <= d->last_pts) {
        *pts = d->last_pts + nominal;
    }
    d->last_pts = *pts;
    return 1;
}

static int read_pending(struct plain *p, AVFrame *frame, double *pts, struct srp_error *err)
{
    if (p->pending->buf[0] != NULL) {
        av_frame_move_ref(frame, p->pending);
        *pts = p->pending_pts;
        return 1;
    }
    return decode_frame(&p->readers[VIDEO], frame, p->nominal, pts, err);
}

static int plain_read_video(void *kind, AVFrame *frame, struct sp_frame_meta *meta,
                            struct srp_error *err)
{
    struct plain *p = kind;
    struct reader *d = &p->readers[VIDEO];
    double pts = 0;

    do {
        av_frame_unref(frame);
        int r = read_pending(p, frame, &pts, err);
        if (r <= 0) {
            return r;
        }
    } while (pts < d->skip_until - p->nominal / 2 - 1e-6);
    enum srp_err code = sp_converter_run(p->converter, frame, err);
    if (code != SRP_OK) {
        return code;
    }
    memset(meta, 0, sizeof(*meta));
    meta->no_routes = SP_NO_ROUTES_NONE;
    meta->pts = pts;
    meta->duration = p->nominal;
    meta->index = p->index++;
    meta->key = frame->key_frame != 0;
    if ((uint32_t)frame->width != p->width || (uint32_t)frame->height != p->height) {
        meta->no_sr = SP_NO_SR_SIZE;
    } else if (p->media->params.no_model) {
        meta->no_sr = SP_NO_SR_USER;
    } else if (p->media->general == NULL) {
        meta->no_sr = SP_NO_SR_NO_MODEL;
    } else {
        meta->model = p->media->general;
    }
    return 1;
}

static int plain_read_audio(void *kind, AVFrame *frame, double *pts, struct srp_error *err)
{
    struct plain *p = kind;
    struct reader *d = &p->readers[AUDIO];

    if (d->stream == NULL) {
        return 0;
    }
    for (;;) {
        av_frame_unref(frame);
        int r = decode_frame(d, frame, 1e-4, pts, err);
        if (r <= 0) {
            return r;
        }
        double length =
            frame->sample_rate > 0 ? (double)frame->nb_samples / (double)frame->sample_rate : 0;
        if (*pts + length > d->skip_until) {
            return 1;
        }
    }
}

/* ---- seeking -------------------------------------------------------------------------------- */

static void forget(struct plain *p)
{
    for (int i = 0; i < 2; i++) {
        queue_clear(&p->queues[i]);
        if (p->readers[i].codec != NULL) {
            avcodec_flush_buffers(p->readers[i].codec);
        }
        p->readers[i].last_pts = NAN;
        p->readers[i].skip_until = -1e9;
    }
    p->read_errors = 0;
    av_frame_unref(p->pending);
}

/* Audio that ends before the picture begins will not be heard. Lock held. */
static void forget_audio_before(struct plain *p, double seconds)
{
    struct queue *q = &p->queues[AUDIO];

    while (q->first != NULL && q->first->packet->pts != AV_NOPTS_VALUE &&
           (double)q->first->packet->pts * av_q2d(p->readers[AUDIO].stream->time_base) - p->zero <
               seconds - 0.5) {
        queue_pop(q, NULL);
    }
}

/* Lock held. */
static bool jump(struct plain *p, double seconds)
{
    int64_t target = (int64_t)((seconds + p->zero) * AV_TIME_BASE);

    forget(p);
    if (p->fmt == NULL) {
        return false;
    }
    p->pb->error = 0;
    p->pb->eof_reached = 0;
    return avformat_seek_file(p->fmt, -1, INT64_MIN, target, target, 0) >= 0;
}

/* Begins the file again and reads on to the last key frame before the target. Slow, and it
 * always works: FFmpeg cannot search in fragmented MP4 behind HLS, nor in what has no length.
 * Lock held. */
static int read_on(struct plain *p, double seconds, struct srp_error *err)
{
    const struct reader *video = &p->readers[VIDEO];
    AVPacket *packet = av_packet_alloc();
    int r = packet != NULL ? 1 : sp_fail(err, SRP_ERR_NOMEM, "out of memory");

    forget(p);
    if (r > 0) {
        enum srp_err code = reopen(p, err);
        r = code == SRP_OK ? 1 : (int)code;
    }
    while (r > 0 && (r = fetch_fresh(p, packet, err)) > 0) {
        int which = packet->stream_index == video->stream->index ? VIDEO : AUDIO;
        const AVStream *stream = p->readers[which].stream;
        int64_t stamp = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
        double pts = stamp != AV_NOPTS_VALUE
                         ? (double)stamp * av_q2d(stream->time_base) - p->zero
                         : 0;
        bool past = which == VIDEO && pts > seconds + p->nominal / 2;
        if (which == VIDEO && !past && (packet->flags & AV_PKT_FLAG_KEY) != 0) {
            queue_clear(&p->queues[VIDEO]);
            forget_audio_before(p, pts);
        }
        put_away(p, packet, which);
        if (past) {
            break;
        }
    }
    av_packet_free(&packet);
    return r < 0 ? r : 1;
}

static enum srp_err plain_seek(void *kind, double seconds, bool exact, struct srp_error *err)
{
    /* Containers without an index land where they can, sometimes behind the target: step back
     * then. */
    static const double back[] = {0, 1, 5, 20};
    const size_t tries = sizeof(back) / sizeof(back[0]);
    struct plain *p = kind;
    const double from = seconds - p->nominal / 2; /* the earliest picture that may be asked for */
    double pts = 0;
    int r = 0;

    for (size_t i = 0; i <= tries; i++) {
        bool last = i == tries || (i > 0 && seconds < back[i - 1]);
        r = 1;
        pthread_mutex_lock(&p->lock);
        if (last) {
            r = read_on(p, seconds, err);
        } else if (!jump(p, from > back[i] ? from - back[i] : 0)) {
            r = 0;
        }
        pthread_mutex_unlock(&p->lock);
        if (r > 0) {
            r = decode_frame(&p->readers[VIDEO], p->pending, p->nominal, &pts, err);
        }
        if (r == SRP_ERR_IO || r == SRP_ERR_NOMEM || r == SRP_ERR_NETWORK) {
            return (enum srp_err)r;
        }
        if (last || (r > 0 && pts < from + p->nominal - 1e-6)) {
            break;
        }
    }
    p->pending_pts = pts;
    p->index = 0;
    p->readers[VIDEO].skip_until = exact ? seconds : -1e9;
    p->readers[AUDIO].skip_until = exact || r <= 0 ? seconds : pts;
    return r < 0 ? (enum srp_err)r : SRP_OK;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void plain_close(void *kind)
{
    struct plain *p = kind;

    for (int i = 0; i < 2; i++) {
        avcodec_free_context(&p->readers[i].codec);
        av_packet_free(&p->readers[i].packet);
        queue_clear(&p->queues[i]);
    }
    av_frame_free(&p->pending);
    close_demuxer(p);
    sp_source_close(&p->source);
    sp_converter_destroy(&p->converter);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void plain_get_info(const void *kind, struct sp_media_info *info)
{
    const struct plain *p = kind;
    const AVCodecContext *audio = p->readers[AUDIO].codec;

    info->width = p->width;
    info->height = p->height;
    info->scale = p->media->params.plain_scale;
    info->sar = p->sar;
    info->frame_rate_num = p->rate.num;
    info->frame_rate_den = p->rate.den;
    info->duration = p->duration;
    info->has_audio = audio != NULL;
    info->audio_rate = audio != NULL ? audio->sample_rate : 0;
    info->audio_channels = audio != NULL ? audio->ch_layout.nb_channels : 0;
}

static double plain_buffered(void *kind)
{
    (void)kind;
    return 0;
}

static enum srp_err open_reader(struct plain *p, int which, struct srp_error *err)
{
    struct reader *d = &p->readers[which];
    enum AVMediaType type = which == VIDEO ? AVMEDIA_TYPE_VIDEO : AVMEDIA_TYPE_AUDIO;
    int related = which == AUDIO ? p->readers[VIDEO].stream->index : -1;
    int index = av_find_best_stream(p->fmt, type, -1, related, NULL, 0);
    char shown[300];

    d->plain = p;
    d->which = which;
    d->last_pts = NAN;
    d->skip_until = -1e9;
    sp_url_show(shown, sizeof(shown), sp_source_location(p->source));
    if (index < 0 || (p->fmt->streams[index]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: no %s stream", shown,
                       which == VIDEO ? "video" : "audio");
    }
    d->packet = av_packet_alloc();
    if (d->packet == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    enum srp_err code =
        sp_decoder_open(&d->codec, p->fmt->streams[index], &sp_allowed_plain,
                        which == VIDEO ? p->media->params.decode_threads : 1,
                        sp_source_location(p->source), err);
    if (code == SRP_OK) {
        d->stream = p->fmt->streams[index];
        d->index = index;
    }
    return code;
}

static void describe(struct plain *p)
{
    AVStream *stream = p->fmt->streams[p->readers[VIDEO].stream->index];
    AVRational sar = av_guess_sample_aspect_ratio(p->fmt, stream, p->pending);
    double rotation = sp_stream_rotation(stream);

    p->rate = av_guess_frame_rate(p->fmt, stream, NULL);
    if (p->rate.num <= 0 || p->rate.den <= 0) {
        p->rate = (AVRational){25, 1};
    }
    p->nominal = av_q2d(av_inv_q(p->rate));
    p->sar = sar.num > 0 && sar.den > 0 ? av_q2d(sar) : 1;
    p->duration = p->fmt->duration > 0 ? (double)p->fmt->duration / AV_TIME_BASE : 0;
    if (fabs(rotation) > 0.5) {
        sp_log(p->media->params.log, SP_LOG_WARN,
               "the video asks to be turned by %.0f degrees, which is not done", rotation);
    }
}

/* The first picture is decoded now: it proves that the file plays, gives the size, and its
 * time is zero. */
static enum srp_err first_frame(struct plain *p, struct srp_error *err)
{
    char shown[300];
    double pts = 0;
    int r = decode_frame(&p->readers[VIDEO], p->pending, 0, &pts, err);

    if (r == 0) {
        sp_url_show(shown, sizeof(shown), sp_source_location(p->source));
        return sp_fail(err, SRP_ERR_DECODE, "%s: no picture could be decoded", shown);
    }
    if (r < 0) {
        return (enum srp_err)r;
    }
    p->zero = pts;
    p->readers[VIDEO].last_pts = p->pending_pts = 0;
    p->readers[AUDIO].skip_until = 0;
    p->width = (uint32_t)p->pending->width;
    p->height = (uint32_t)p->pending->height;
    return SRP_OK;
}

static const struct sp_media_ops plain_ops = {
    .close = plain_close,
    .get_info = plain_get_info,
    .read_video = plain_read_video,
    .read_audio = plain_read_audio,
    .seek = plain_seek,
    .buffered = plain_buffered,
};

enum srp_err sp_plain_media_open(struct sp_media *m, struct sp_source **source,
                                 struct srp_error *err)
{
    struct plain *p = calloc(1, sizeof(*p));
    struct srp_error why = {0};
    enum srp_err code = SRP_ERR_NOMEM;

    if (p == NULL || pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p);
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    p->media = m;
    p->source = *source;
    *source = NULL;
    p->queues[0].last = &p->queues[0].first;
    p->queues[1].last = &p->queues[1].first;
    p->opener = (struct sp_opener){open_named, close_named, p};
    p->pending = av_frame_alloc();
    p->converter = sp_converter_create();
    if (p->pending == NULL || p->converter == NULL) {
        sp_fail(err, code, "out of memory");
        goto fail;
    }
    code = open_demuxer(p, err);
    if (code != SRP_OK) {
        goto fail;
    }
    code = open_reader(p, VIDEO, err);
    if (code != SRP_OK) {
        goto fail;
    }
    if (open_reader(p, AUDIO, &why) != SRP_OK) {
        bool there = av_find_best_stream(p->fmt, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0) >= 0;
        sp_log(m->params.log, there ? SP_LOG_WARN : SP_LOG_DEBUG, "%s; playing without sound",
               why.detail);
    }
    discard_others(p);
    code = first_frame(p, err);
    if (code != SRP_OK) {
        goto fail;
    }
    describe(p);
    m->ops = &plain_ops;
    m->kind = p;
    return SRP_OK;

fail:
    plain_close(p);
    return code;
}
