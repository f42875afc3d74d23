/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a package back as a player would, but all of it, and names every fault. */
#include <stdio.h>
#include <string.h>

#include <libavformat/avformat.h>
#include <libavutil/log.h>
#include <srp/limits.h>
#include <srp/routes.h>

#include "info.h"
#include "tool.h"
#include "tool_package.h"

struct verdict {
    struct sp_tool_package *package;
    struct srp_package_info info;
    json_t *faults; /* NULL without --json */
    bool json;
    uint64_t count, objects, bytes, frames;
    uint32_t path_count[SRP_MAX_MODELS]; /* of each model; 0: it cannot be loaded */
    bool failed; /* something could not be looked at: network, memory */
};

/* A fault of content, or (failed) a reason why content could not be looked at. */
static void report(struct verdict *v, const char *file, enum srp_err code, const char *cause)
{
    switch (code) {
    case SRP_ERR_IO:
    case SRP_ERR_NETWORK:
    case SRP_ERR_DEVICE:
    case SRP_ERR_NOMEM:
        v->failed = true;
        break;
    default:
        break;
    }
    v->count++;
    sp_tool_complain(SP_INFO_PROGRAM, "%s", cause);
    if (v->json) {
        json_array_append_new(v->faults, json_pack("{s:s,s:s,s:s}", "file", file, "kind",
                                                   srp_strerror(code), "cause", cause));
    }
}

/* Bytes of an object; false after a report. */
static bool get(struct verdict *v, const struct srp_object *object, uint64_t max,
                struct sp_bytes *out)
{
    struct srp_error err = {.code = SRP_OK};
    enum srp_err code = sp_tool_package_get(v->package, object, max, out, &err);
    v->objects++;
    if (code != SRP_OK) {
        report(v, object->uri, code, err.detail);
        return false;
    }
    v->bytes += out->size;
    return true;
}

/* ---- segments -----------------------------------------------------------------------------------
 */

struct memory { /* an init and a segment, read as one file */
    const struct sp_bytes *part[2];
    size_t at;
};

static int read_memory(void *opaque, uint8_t *buffer, int size)
{
    struct memory *m = opaque;
    size_t first = m->part[0]->size;
    const struct sp_bytes *p = m->part[m->at >= first];
    size_t at = m->at >= first ? m->at - first : m->at;
    size_t n = p->size - at;
    if (n == 0) {
        return AVERROR_EOF;
    }
    n = n < (size_t)size ? n : (size_t)size;
    memcpy(buffer, p->data + at, n);
    m->at += n;
    return (int)n;
}

struct contents { /* of a segment */
    uint64_t packets;
    bool first_is_key;
    int width, height;
};

/* Counts the packets of the one stream. NULL, or what is wrong. Nothing is decoded, and no byte
 * comes from anywhere but the two verified files. */
static const char *demux(const struct sp_bytes *init, const struct sp_bytes *segment,
                         enum AVMediaType type, struct contents *out)
{
    const char *wrong = NULL;
    struct memory memory = {.part = {init, segment}};
    enum { BUFFER = 32768 };
    AVFormatContext *format = avformat_alloc_context();
    AVPacket *packet = av_packet_alloc();
    uint8_t *buffer = av_malloc(BUFFER);
    AVIOContext *io =
        buffer ? avio_alloc_context(buffer, BUFFER, 0, &memory, read_memory, NULL, NULL) : NULL;
    memset(out, 0, sizeof *out);
    if (!format || !packet || !io) {
        wrong = "out of memory";
        if (!io) {
            av_free(buffer);
        }
        goto done;
    }
    format->pb = io;
    format->flags |= AVFMT_FLAG_CUSTOM_IO;
    if (avformat_open_input(&format, NULL, av_find_input_format("mov"), NULL) < 0) {
        wrong = "the header and segment are not a readable MP4 file";
        goto done; /* format has been freed */
    }
    if (format->nb_streams != 1 || format->streams[0]->codecpar->codec_type != type) {
        wrong = type == AVMEDIA_TYPE_VIDEO ? "does not hold exactly one video stream"
                                           : "does not hold exactly one audio stream";
        goto done;
    }
    out->width = format->streams[0]->codecpar->width;
    out->height = format->streams[0]->codecpar->height;
    int code = 0;
    while ((code = av_read_frame(format, packet)) >= 0) {
        if (out->packets++ == 0) {
            out->first_is_key = packet->flags & AV_PKT_FLAG_KEY;
        }
        if (packet->flags & AV_PKT_FLAG_CORRUPT) {
            wrong = "is cut short";
        }
        av_packet_unref(packet);
    }
    if (code != AVERROR_EOF) {
        wrong = "cannot be read to its end";
    }
done:
    avformat_close_input(&format);
    if (io) {
        av_freep(&io->buffer);
        avio_context_free(&io);
    }
    av_packet_free(&packet);
    return wrong;
}

static void check_chunk(struct verdict *v, const struct srp_chunk *chunk,
                        const struct sp_bytes *init, bool have_init)
{
    const struct srp_object *object = &chunk->segment.object;
    struct sp_bytes bytes = {0};
    struct contents c;
    char text[320] = "";
    if (!get(v, object, SRP_MAX_SEGMENT_BYTES, &bytes)) {
        return;
    }
    if (have_init) {
        const char *wrong = demux(init, &bytes, AVMEDIA_TYPE_VIDEO, &c);
        if (wrong) {
            snprintf(text, sizeof text, "%s: %s", object->uri, wrong);
        } else if (c.packets != chunk->frames) {
            snprintf(text, sizeof text, "%s: holds %llu frames, the manifest says %u", object->uri,
                     (unsigned long long)c.packets, chunk->frames);
        } else if (!c.first_is_key) {
            snprintf(text, sizeof text, "%s: does not begin with a key frame", object->uri);
        } else if (c.width != (int)v->info.lr_width || c.height != (int)v->info.lr_height) {
            snprintf(text, sizeof text, "%s: the picture is %dx%d, the manifest says %ux%u",
                     object->uri, c.width, c.height, v->info.lr_width, v->info.lr_height);
        }
        v->frames += c.packets;
    }
    if (text[0]) {
        report(v, object->uri, SRP_ERR_FORMAT, text);
    }
    sp_bytes_free(&bytes);
}

static void check_video(struct verdict *v)
{
    struct sp_bytes init = {0};
    bool have_init = get(v, &v->info.video.init, SRP_MAX_OBJECT_BYTES, &init);
    for (uint32_t i = 0; i < v->info.chunk_count; i++) {
        check_chunk(v, srp_package_chunk(v->package->package, i), &init, have_init);
    }
    sp_bytes_free(&init);
}

static void check_audio(struct verdict *v)
{
    struct sp_bytes init = {0};
    if (!v->info.has_audio) {
        return;
    }
    bool have_init = get(v, &v->info.audio.init, SRP_MAX_OBJECT_BYTES, &init);
    for (uint32_t i = 0; i < v->info.audio.segment_count; i++) {
        const struct srp_object *object =
            &srp_package_audio_segment(v->package->package, i)->object;
        struct sp_bytes bytes = {0};
        struct contents c;
        if (!get(v, object, SRP_MAX_SEGMENT_BYTES, &bytes)) {
            continue;
        }
        const char *wrong = have_init ? demux(&init, &bytes, AVMEDIA_TYPE_AUDIO, &c) : NULL;
        if (!wrong && have_init && c.packets == 0) {
            wrong = "holds no audio";
        }
        if (wrong) {
            char text[320];
            snprintf(text, sizeof text, "%s: %s", object->uri, wrong);
            report(v, object->uri, SRP_ERR_FORMAT, text);
        }
        sp_bytes_free(&bytes);
    }
    sp_bytes_free(&init);
}

/* ---- models -------------------------------------------------------------------------------------
 */

static void check_models(struct verdict *v)
{
    for (uint32_t i = 0; i < v->info.model_count; i++) {
        const struct srp_package_model *m = srp_package_get_model(v->package->package, i);
        struct sp_bytes graph = {0}, parameters = {0};
        struct srp_model *model = NULL;
        struct srp_error err = {.code = SRP_OK};
        bool have = get(v, &m->graph, SRP_MAX_OBJECT_BYTES, &graph);
        have = get(v, &m->parameters, SRP_MAX_OBJECT_BYTES, &parameters) && have;
        if (have) {
            struct srp_blob g = {graph.data, graph.size, m->graph.uri};
            struct srp_blob p = {parameters.data, parameters.size, m->parameters.uri};
            enum srp_err code =
                srp_package_load_model(v->package->package, i, &g, &p, &model, &err);
            if (code != SRP_OK) {
                report(v, m->graph.uri, code, err.detail);
            } else {
                struct srp_model_info info;
                srp_model_get_info(model, &info);
                v->path_count[i] = info.path_count;
            }
        }
        srp_model_unref(&model);
        sp_bytes_free(&graph);
        sp_bytes_free(&parameters);
    }
}

/* Of chunks in a row that share an update, the first. */
static void check_updates(struct verdict *v)
{
    const struct srp_package *package = v->package->package;
    for (uint32_t i = 0; i < v->info.chunk_count; i++) {
        const struct srp_chunk *c = srp_package_chunk(package, i);
        const struct srp_chunk *before = i > 0 ? srp_package_chunk(package, i - 1) : NULL;
        struct sp_bytes bytes[3] = {{0}};
        struct srp_model *model = NULL;
        struct srp_error err = {.code = SRP_OK};
        if (!c->has_update || v->path_count[c->model] == 0 || /* it has been said */
            (before && before->has_update && before->model == c->model &&
             strcmp(before->update.uri, c->update.uri) == 0)) {
            continue;
        }
        const struct srp_package_model *m = srp_package_get_model(package, (uint32_t)c->model);
        const struct srp_object *objects[3] = {&m->graph, &m->parameters, &c->update};
        struct srp_blob blobs[3];
        bool have = get(v, &c->update, SRP_MAX_OBJECT_BYTES, &bytes[2]);
        for (int k = 0; k < 2 && have; k++) { /* counted with the models */
            have = sp_tool_package_get(v->package, objects[k], SRP_MAX_OBJECT_BYTES, &bytes[k],
                                       &err) == SRP_OK;
        }
        for (int k = 0; k < 3; k++) {
            blobs[k] = (struct srp_blob){bytes[k].data, bytes[k].size, objects[k]->uri};
        }
        enum srp_err code = have ? srp_package_load_chunk_model(package, i, &blobs[0], &blobs[1],
                                                                &blobs[2], &model, &err)
                                 : err.code;
        if (code != SRP_OK) {
            report(v, c->update.uri, code, err.detail);
        }
        srp_model_unref(&model);
        for (int k = 0; k < 3; k++) {
            sp_bytes_free(&bytes[k]);
        }
    }
}

/* After the models: routes have to choose between the paths of theirs. */
static void check_routes(struct verdict *v)
{
    for (uint32_t i = 0; i < v->info.chunk_count; i++) {
        const struct srp_chunk *chunk = srp_package_chunk(v->package->package, i);
        struct sp_bytes bytes = {0};
        struct srp_routes *routes = NULL;
        struct srp_error err = {.code = SRP_OK};
        if (!chunk->has_routes || !get(v, &chunk->routes, SRP_MAX_OBJECT_BYTES, &bytes)) {
            continue;
        }
        struct srp_blob blob = {bytes.data, bytes.size, chunk->routes.uri};
        enum srp_err code = srp_package_load_routes(v->package->package, i, &blob, &routes, &err);
        uint32_t paths = v->path_count[chunk->model];
        if (code == SRP_OK) {
            struct srp_routes_info info;
            srp_routes_get_info(routes, &info);
            if (paths != 0 && info.paths != paths) {
                code = sp_fail(&err, SRP_ERR_FORMAT, "%s: routes of %u paths, the model has %u",
                               chunk->routes.uri, info.paths, paths);
            }
        }
        if (code != SRP_OK) {
            report(v, chunk->routes.uri, code, err.detail);
        }
        srp_routes_unref(&routes);
        sp_bytes_free(&bytes);
    }
}

int sp_info_verify(const char *manifest, bool json)
{
    struct sp_tool_package package;
    struct srp_error err = {.code = SRP_OK};
    struct verdict v = {.package = &package, .json = json, .faults = json ? json_array() : NULL};
    av_log_set_level(AV_LOG_QUIET); /* what demuxers say is said again, with the file's name */
    enum srp_err code = sp_tool_package_open(&package, manifest, &err);
    if (code != SRP_OK) {
        report(&v, manifest, code, err.detail);
        v.failed = v.failed || code == SRP_ERR_NOT_FOUND;
    } else {
        srp_package_get_info(package.package, &v.info);
        check_models(&v);
        check_updates(&v);
        check_routes(&v);
        check_video(&v);
        check_audio(&v);
        sp_tool_package_close(&package);
    }
    int status = v.failed ? SP_EXIT_FAILED : v.count ? SP_EXIT_VERIFY : SP_EXIT_OK;
    if (code == SRP_ERR_USAGE) {
        status = SP_EXIT_USAGE;
    }
    if (json) {
        int printed = sp_tool_print_json(
            SP_INFO_PROGRAM, json_pack("{s:b,s:o,s:I,s:I,s:I}", "ok", v.count == 0, "faults",
                                       v.faults, "objects", (json_int_t)v.objects, "bytes",
                                       (json_int_t)v.bytes, "frames", (json_int_t)v.frames));
        status = printed == SP_EXIT_OK ? status : printed;
    } else if (v.count == 0) {
        printf("ok\n");
    }
    return status;
}
