/* SPDX-License-Identifier: BSD-2-Clause */
#include "output.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>

#include <srp/limits.h>

#include "base.h"

/* ---- pictures with memory ---- */

struct plane_size {
    uint32_t width, height; /* bytes, rows */
};

static unsigned plane_sizes(enum srp_format format, uint32_t w, uint32_t h,
                            struct plane_size size[3])
{
    uint32_t cw = (w + 1) / 2, ch = (h + 1) / 2;
    switch (format) {
    case SRP_FORMAT_YUV420:
        size[0] = (struct plane_size){w, h};
        size[1] = size[2] = (struct plane_size){cw, ch};
        return 3;
    case SRP_FORMAT_NV12:
        size[0] = (struct plane_size){w, h};
        size[1] = (struct plane_size){cw * 2, ch};
        return 2;
    case SRP_FORMAT_RGB:
        size[0] = (struct plane_size){w * 3, h};
        return 1;
    case SRP_FORMAT_BGRA:
        break;
    }
    size[0] = (struct plane_size){w * 4, h};
    return 1;
}

enum srp_err sp_picture_alloc(struct srp_picture *picture, enum srp_format format, uint32_t width,
                              uint32_t height, struct srp_error *err)
{
    *picture = (struct srp_picture){.format = format, .width = width, .height = height};
    if (width == 0 || height == 0 || width > SRP_MAX_DIMENSION || height > SRP_MAX_DIMENSION ||
        (uint64_t)width * height > SRP_MAX_PICTURE_PIXELS) {
        return sp_fail(err, SRP_ERR_LIMIT, "a picture of %ux%u is not supported", width, height);
    }
    struct plane_size size[3];
    unsigned planes = plane_sizes(format, width, height, size);
    size_t total = 0, offset[3] = {0};
    for (unsigned i = 0; i < planes; i++) { /* below 2^31: limited above */
        size_t stride = ((size_t)size[i].width + 63) / 64 * 64;
        picture->stride[i] = (ptrdiff_t)stride;
        offset[i] = total;
        total += stride * size[i].height;
    }
    uint8_t *memory = aligned_alloc(64, total);
    if (!memory) {
        return sp_fail(err, SRP_ERR_NOMEM, "no memory for a picture of %ux%u", width, height);
    }
    memset(memory, 0, total); /* pages are touched now, not during the first frames */
    for (unsigned i = 0; i < planes; i++) {
        picture->data[i] = memory + offset[i];
    }
    return SRP_OK;
}

void sp_picture_free(struct srp_picture *picture)
{
    free(picture->data[0]);
    *picture = (struct srp_picture){.format = picture->format};
}

void sp_picture_copy(const struct srp_picture *to, const struct srp_picture *from)
{
    struct plane_size size[3];
    unsigned planes = plane_sizes(from->format, from->width, from->height, size);
    for (unsigned i = 0; i < planes; i++) {
        for (uint32_t y = 0; y < size[i].height; y++) {
            memcpy(to->data[i] + (ptrdiff_t)y * to->stride[i],
                   from->data[i] + (ptrdiff_t)y * from->stride[i], size[i].width);
        }
    }
}

/* ---- PNG ---- */

static enum srp_err encode_png(const char *path, const struct srp_picture *rgb, AVPacket *packet,
                               struct srp_error *err)
{
    enum srp_err result = SRP_ERR_NOMEM;
    AVFrame *frame = av_frame_alloc();
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
    AVCodecContext *ctx = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!codec) {
        result = sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: this FFmpeg has no PNG encoder", path);
        goto done;
    }
    if (!frame || !ctx) {
        sp_fail(err, SRP_ERR_NOMEM, "%s: no memory for the PNG encoder", path);
        goto done;
    }
    ctx->width = frame->width = (int)rgb->width;
    ctx->height = frame->height = (int)rgb->height;
    ctx->pix_fmt = AV_PIX_FMT_RGB24;
    frame->format = AV_PIX_FMT_RGB24;
    ctx->time_base = (AVRational){1, 25};
    ctx->compression_level = 3; /* a screenshot must not hold up the picture */
    frame->data[0] = rgb->data[0];
    frame->linesize[0] = (int)rgb->stride[0];
    if (avcodec_open2(ctx, codec, NULL) < 0 || avcodec_send_frame(ctx, frame) < 0 ||
        avcodec_receive_packet(ctx, packet) < 0) {
        result = sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: the PNG encoder failed", path);
        goto done;
    }
    result = SRP_OK;
done:
    avcodec_free_context(&ctx);
    av_frame_free(&frame);
    return result;
}

static enum srp_err write_png_to(int fd, const char *path, const struct srp_picture *picture,
                                 struct srp_error *err)
{
    struct srp_picture rgb = {.width = 0};
    AVPacket *packet = av_packet_alloc();
    enum srp_err result = packet ? SRP_OK : sp_fail(err, SRP_ERR_NOMEM, "%s: no memory", path);
    if (result == SRP_OK) {
        result = sp_picture_alloc(&rgb, SRP_FORMAT_RGB, picture->width, picture->height, err);
    }
    if (result == SRP_OK) {
        result = srp_picture_convert(picture, &rgb, err);
    }
    if (result == SRP_OK) {
        result = encode_png(path, &rgb, packet, err);
    }
    for (int at = 0; result == SRP_OK && at < packet->size;) {
        ssize_t n = write(fd, packet->data + at, (size_t)(packet->size - at));
        if (n < 0 && errno != EINTR) {
            result = sp_fail(err, SRP_ERR_IO, "%s: %s", path, strerror(errno));
        }
        at += n > 0 ? (int)n : 0;
    }
    if (close(fd) != 0 && result == SRP_OK) {
        result = sp_fail(err, SRP_ERR_IO, "%s: %s", path, strerror(errno));
    }
    sp_picture_free(&rgb);
    av_packet_free(&packet);
    return result;
}

enum srp_err sp_png_write(const char *path, const struct srp_picture *picture,
                          struct srp_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return sp_fail(err, SRP_ERR_IO, "%s: %s", path, strerror(errno));
    }
    return write_png_to(fd, path, picture, err);
}

enum srp_err sp_screenshot(const char *dir, const struct srp_picture *picture, char *name,
                           size_t name_size, struct srp_error *err)
{
    bool here = !dir || !*dir;
    for (int number = 1; number <= 9999; number++) {
        int n = snprintf(name, name_size, "%s/srplay-shot%04d.png", here ? "." : dir, number);
        if (n < 0 || (size_t)n >= name_size) {
            return sp_fail(err, SRP_ERR_USAGE, "the name of the screenshot folder is too long");
        }
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            return write_png_to(fd, name, picture, err);
        }
        if (errno != EEXIST) {
            return sp_fail(err, SRP_ERR_IO, "%s: %s", name, strerror(errno));
        }
    }
    return sp_fail(err, SRP_ERR_IO, "all screenshot numbers up to 9999 are taken");
}

/* ---- y4m and series ---- */

enum output_kind { OUTPUT_Y4M, OUTPUT_PNG_LAST, OUTPUT_PNG_SERIES };

struct sp_output {
    enum output_kind kind;
    char *path;
    FILE *file; /* y4m */
    int num, den;
    double sar;
    uint64_t frames;
    struct srp_picture last; /* of y4m: only its size is used */
};

/* Exactly one conversion, %d with an optional width: the name goes through snprintf later. */
static bool series_pattern(const char *path, bool *valid)
{
    const char *p = strchr(path, '%');
    *valid = true;
    if (!p) {
        return false;
    }
    const char *digits = ++p;
    while (isdigit((unsigned char)*p)) {
        p++;
    }
    *valid = *p == 'd' && p - digits <= 3 && strchr(p, '%') == NULL;
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

enum srp_err sp_output_open(struct sp_output **out, const struct sp_output_params *params,
                            struct srp_error *err)
{
    const char *path = params->path;
    bool to_stdout = strcmp(path, "-") == 0, valid;
    bool series = series_pattern(path, &valid);
    *out = NULL;
    enum output_kind kind = OUTPUT_Y4M;
    if (ends_with(path, ".png")) {
        kind = series ? OUTPUT_PNG_SERIES : OUTPUT_PNG_LAST;
        if (!valid) {
            return sp_fail(err, SRP_ERR_USAGE, "%s: only one %%d or %%04d may stand in the name",
                           path);
        }
    } else if (!to_stdout && !ends_with(path, ".y4m")) {
        return sp_fail(err, SRP_ERR_USAGE, "%s: the name of a dump ends in .y4m or .png", path);
    }
    struct sp_output *o = calloc(1, sizeof *o);
    char *copy = strdup(path);
    if (!o || !copy) {
        free(o);
        free(copy);
        return sp_fail(err, SRP_ERR_NOMEM, "%s: no memory", path);
    }
    o->kind = kind;
    o->path = copy;
    o->num = params->frame_rate_num;
    o->den = params->frame_rate_den;
    o->sar = params->sar;
    if (kind == OUTPUT_Y4M) {
        o->file = to_stdout ? stdout : fopen(path, "wb");
        if (!o->file) {
            enum srp_err code = sp_fail(err, SRP_ERR_IO, "%s: %s", path, strerror(errno));
            free(o->path);
            free(o);
            return code;
        }
    }
    *out = o;
    return SRP_OK;
}

static bool y4m_header(struct sp_output *o, const struct srp_picture *p)
{
    static const char *const siting[] = {
        [SRP_CHROMA_LEFT] = "420mpeg2",
        [SRP_CHROMA_CENTER] = "420jpeg",
        [SRP_CHROMA_TOPLEFT] = "420paldv",
    };
    bool known_rate = o->num > 0 && o->den > 0;
    AVRational sar = av_d2q(o->sar > 0 ? o->sar : 1, 255);
    return fprintf(o->file, "YUV4MPEG2 W%u H%u F%d:%d Ip A%d:%d C%s XCOLORRANGE=%s\n", p->width,
                   p->height, known_rate ? o->num : 25, known_rate ? o->den : 1, sar.num, sar.den,
                   siting[p->chroma], p->range == SRP_RANGE_FULL ? "FULL" : "LIMITED") > 0;
}

static enum srp_err write_y4m(struct sp_output *o, const struct srp_picture *p,
                              struct srp_error *err)
{
    bool ok = true;
    if (o->frames == 0) {
        ok = y4m_header(o, p);
        o->last = *p;
    } else if (p->width != o->last.width || p->height != o->last.height) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "%s: the picture changed from %ux%u to %ux%u",
                       o->path, o->last.width, o->last.height, p->width, p->height);
    }
    ok = ok && fputs("FRAME\n", o->file) >= 0;
    struct plane_size size[3];
    unsigned planes = plane_sizes(p->format, p->width, p->height, size);
    for (unsigned i = 0; ok && i < planes; i++) {
        for (uint32_t y = 0; ok && y < size[i].height; y++) {
            const uint8_t *row = p->data[i] + (ptrdiff_t)y * p->stride[i];
            ok = fwrite(row, 1, size[i].width, o->file) == size[i].width;
        }
    }
    return ok ? SRP_OK : sp_fail(err, SRP_ERR_IO, "%s: %s", o->path, strerror(errno));
}

enum srp_err sp_output_write(struct sp_output *o, const struct srp_picture *picture,
                             struct srp_error *err)
{
    enum srp_err result = SRP_OK;
    if (o->kind == OUTPUT_Y4M) {
        result = write_y4m(o, picture, err);
    } else if (o->kind == OUTPUT_PNG_SERIES) {
        char name[4096];
        bool valid;
        if (!series_pattern(o->path, &valid) || !valid) {
            return sp_fail(err, SRP_ERR_USAGE, "%s: not a pattern", o->path);
        }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(name, sizeof name, o->path, (int)(o->frames + 1)); /* checked by series_pattern */
#pragma GCC diagnostic pop
        result = sp_png_write(name, picture, err);
    } else {
        if (picture->width != o->last.width || picture->height != o->last.height) {
            sp_picture_free(&o->last);
            result = sp_picture_alloc(&o->last, picture->format, picture->width, picture->height,
                                      err);
        }
        if (result == SRP_OK) {
            sp_picture_copy(&o->last, picture);
            o->last.matrix = picture->matrix;
            o->last.range = picture->range;
            o->last.chroma = picture->chroma;
        }
    }
    o->frames += result == SRP_OK;
    return result;
}

enum srp_err sp_output_close(struct sp_output **out, struct srp_error *err)
{
    struct sp_output *o = *out;
    enum srp_err result = SRP_OK;
    if (!o) {
        return result;
    }
    if (o->kind == OUTPUT_PNG_LAST && o->frames > 0) {
        result = sp_png_write(o->path, &o->last, err);
    }
    if (o->kind == OUTPUT_PNG_LAST) {
        sp_picture_free(&o->last);
    }
    if (o->file && (o->file == stdout ? fflush(o->file) : fclose(o->file)) != 0) {
        result = sp_fail(err, SRP_ERR_IO, "%s: %s", o->path, strerror(errno));
    }
    free(o->path);
    free(o);
    *out = NULL;
    return result;
}
