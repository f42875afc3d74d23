/* SPDX-License-Identifier: BSD-2-Clause */
/* Quality of a package against its original, and its bytes by kind.
 *
 * The calling thread decodes both videos and upscales into one of a few slots; scorers take filled
 * slots. What they add up are integers, and the SSIM of each frame has its own place, so that no
 * figure depends on which scorer was faster. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/log.h>
#include <srp/limits.h>

#include "bench.h"
#include "bench_reference.h"
#include "media.h"
#include "metrics.h"
#include "output.h"
#include "tool.h"
#include "tool_package.h"

enum { METHODS = 3, SLOTS = 4, MOST_SCORERS = 8 };
static const char *const method_name[METHODS] = {"sr", "bicubic", "lanczos"};

struct package_options {
    const char *manifest, *reference;
    uint64_t frames; /* 0: all */
    uint32_t threads;
    enum srp_backend backend;
    enum srp_dtype dtype;
    bool json;
};

struct bytes_by_kind {
    uint64_t video, audio, parameters, routes, manifest, total;
};

enum slot_state { SLOT_EMPTY, SLOT_FILLED, SLOT_TAKEN };

struct slot {
    enum slot_state state; /* guarded by the queue's lock */
    uint64_t index;        /* of the frame */
    struct srp_picture reference, shown[METHODS];
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed; /* no more slots will be filled */
    struct slot slot[SLOTS];
    /* Results, guarded by lock. */
    uint64_t sse_y[METHODS], sse_rgb[METHODS];
    double (*ssim)[METHODS]; /* of frame i */
    uint64_t room;           /* of ssim */
    struct srp_error error;
};

struct scorer {
    struct queue *queue;
    pthread_t thread;
    struct srp_picture rgb_reference, rgb_shown;
    void *scratch;
};

struct job {
    struct package_options options;
    struct sp_media *media;
    struct sp_media_info media_info;
    struct srp_package_info info;
    struct sp_reference *reference;
    struct srp_upscaler *upscaler;
    struct srp_model *model; /* the one set in the upscaler, which holds the reference */
    struct queue queue;
    struct scorer scorer[MOST_SCORERS];
    uint32_t scorers, started;
    uint64_t frames, upscaled;
    char model_name[SRP_MAX_NAME + 1];
    struct bytes_by_kind bytes;
    bool reference_fault; /* what failed is the original, not the package */
};

/* ---- scoring ------------------------------------------------------------------------------------
 */

static enum srp_err score(struct scorer *s, const struct slot *slot, uint64_t sse_y[METHODS],
                          uint64_t sse_rgb[METHODS], double ssim[METHODS], struct srp_error *err)
{
    const struct srp_picture *r = &slot->reference;
    enum srp_err code = srp_picture_convert(r, &s->rgb_reference, err);
    for (int m = 0; m < METHODS && code == SRP_OK; m++) {
        const struct srp_picture *p = &slot->shown[m];
        code = srp_picture_convert(p, &s->rgb_shown, err);
        sse_y[m] =
            sp_metrics_sse(p->data[0], p->stride[0], r->data[0], r->stride[0], r->width, r->height);
        ssim[m] = sp_metrics_ssim(p->data[0], p->stride[0], r->data[0], r->stride[0], r->width,
                                  r->height, s->scratch);
        sse_rgb[m] =
            sp_metrics_sse(s->rgb_shown.data[0], s->rgb_shown.stride[0], s->rgb_reference.data[0],
                           s->rgb_reference.stride[0], 3 * r->width, r->height);
    }
    return code;
}

static struct slot *find_slot(struct queue *q, enum slot_state state)
{
    for (int i = 0; i < SLOTS; i++) {
        if (q->slot[i].state == state) {
            return &q->slot[i];
        }
    }
    return NULL;
}

/* Lock held. */
static bool make_room(struct queue *q, uint64_t frames)
{
    if (frames > q->room) {
        size_t room =
            q->room ? (size_t)q->room * 2 : 1024; /* frames come one by one: doubling suffices */
        double(*grown)[METHODS] = reallocarray(q->ssim, room, sizeof *q->ssim);
        if (!grown) {
            return false;
        }
        q->ssim = grown;
        q->room = room;
    }
    return true;
}

static void *score_frames(void *opaque)
{
    struct scorer *s = opaque;
    struct queue *q = s->queue;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        struct slot *slot = find_slot(q, SLOT_FILLED);
        if (!slot) {
            if (q->closed) {
                break;
            }
            pthread_cond_wait(&q->changed, &q->lock);
            continue;
        }
        uint64_t sse_y[METHODS] = {0}, sse_rgb[METHODS] = {0};
        double ssim[METHODS] = {0.0};
        struct srp_error err = {.code = SRP_OK};
        slot->state = SLOT_TAKEN;
        pthread_mutex_unlock(&q->lock);
        enum srp_err code = score(s, slot, sse_y, sse_rgb, ssim, &err);
        pthread_mutex_lock(&q->lock);
        for (int m = 0; m < METHODS && code == SRP_OK; m++) {
            q->sse_y[m] += sse_y[m];
            q->sse_rgb[m] += sse_rgb[m];
            q->ssim[slot->index][m] = ssim[m];
        }
        if (code != SRP_OK && q->error.code == SRP_OK) {
            q->error = err;
        }
        slot->state = SLOT_EMPTY;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static bool same_colour_picture(struct srp_picture *p, enum srp_format format, const struct job *j,
                                struct srp_error *err)
{
    if (sp_picture_alloc(p, format, j->info.out_width, j->info.out_height, err) != SRP_OK) {
        return false;
    }
    p->matrix = j->info.matrix;
    p->range = j->info.range;
    p->chroma = j->info.chroma;
    return true;
}

static enum srp_err start_scorers(struct job *j, struct srp_error *err)
{
    struct queue *q = &j->queue;
    for (int i = 0; i < SLOTS; i++) {
        bool ok = same_colour_picture(&q->slot[i].reference, SRP_FORMAT_YUV420, j, err);
        for (int m = 0; m < METHODS && ok; m++) {
            ok = same_colour_picture(&q->slot[i].shown[m], SRP_FORMAT_YUV420, j, err);
        }
        if (!ok) {
            return err->code;
        }
    }
    for (; j->started < j->scorers; j->started++) {
        struct scorer *s = &j->scorer[j->started];
        s->queue = q;
        s->scratch = malloc(sp_metrics_ssim_scratch(j->info.out_width));
        if (!s->scratch || !same_colour_picture(&s->rgb_reference, SRP_FORMAT_RGB, j, err) ||
            !same_colour_picture(&s->rgb_shown, SRP_FORMAT_RGB, j, err) ||
            pthread_create(&s->thread, NULL, score_frames, s) != 0) {
            return sp_fail(err, SRP_ERR_NOMEM, "no memory or threads for measuring");
        }
    }
    return SRP_OK;
}

/* Waits until every filled slot has been scored. */
static void stop_scorers(struct job *j)
{
    struct queue *q = &j->queue;
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    for (uint32_t i = 0; i < j->started; i++) {
        pthread_join(j->scorer[i].thread, NULL);
    }
    j->started = 0;
}

static void free_job(struct job *j)
{
    stop_scorers(j);
    for (uint32_t i = 0; i < MOST_SCORERS; i++) {
        free(j->scorer[i].scratch);
        sp_picture_free(&j->scorer[i].rgb_reference);
        sp_picture_free(&j->scorer[i].rgb_shown);
    }
    for (int i = 0; i < SLOTS; i++) {
        sp_picture_free(&j->queue.slot[i].reference);
        for (int m = 0; m < METHODS; m++) {
            sp_picture_free(&j->queue.slot[i].shown[m]);
        }
    }
    free(j->queue.ssim);
    srp_upscaler_destroy(&j->upscaler);
    sp_reference_close(&j->reference);
    sp_media_close(&j->media);
    pthread_cond_destroy(&j->queue.changed);
    pthread_mutex_destroy(&j->queue.lock);
}

/* ---- decoding and upscaling ---------------------------------------------------------------------
 */

static enum srp_err upscale(struct job *j, const struct srp_picture *in, struct slot *slot,
                            struct srp_model *model, struct srp_error *err)
{
    enum srp_err code = SRP_OK;
    for (int m = 0; m < METHODS; m++) {
        struct srp_picture *out = &slot->shown[m];
        out->matrix = in->matrix;
        out->range = in->range;
        out->chroma = in->chroma;
    }
    slot->reference.matrix = in->matrix; /* equal codes must be equal colours on both sides */
    slot->reference.range = in->range;
    slot->reference.chroma = in->chroma;
    if (model && model != j->model) {
        struct srp_model_info info;
        if ((code = srp_upscaler_set_model(j->upscaler, model, err)) != SRP_OK) {
            return code;
        }
        j->model = model;
        srp_model_get_info(model, &info);
        snprintf(j->model_name, sizeof j->model_name, "%s", info.name);
    }
    if (model) {
        code = srp_upscaler_process(j->upscaler, SRP_METHOD_SR, in, &slot->shown[0], err);
    }
    if (code == SRP_OK) {
        code = srp_upscaler_process(j->upscaler, SRP_METHOD_BICUBIC, in, &slot->shown[1], err);
    }
    if (code == SRP_OK) {
        code = srp_upscaler_process(j->upscaler, SRP_METHOD_LANCZOS, in, &slot->shown[2], err);
    }
    if (code == SRP_OK && !model) {
        sp_picture_copy(&slot->shown[0],
                        &slot->shown[1]); /* what the player shows of such a chunk */
    }
    return code;
}

/* Waits for an empty slot and keeps it for the caller. */
static struct slot *take_slot(struct queue *q, uint64_t index, struct srp_error *err)
{
    struct slot *slot = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->error.code == SRP_OK && !(slot = find_slot(q, SLOT_EMPTY))) {
        pthread_cond_wait(&q->changed, &q->lock);
    }
    if (q->error.code != SRP_OK) {
        *err = q->error;
        slot = NULL;
    } else if (!make_room(q, index + 1)) {
        sp_fail(err, SRP_ERR_NOMEM, "out of memory");
        slot = NULL;
    } else {
        slot->state = SLOT_TAKEN;
        slot->index = index;
    }
    pthread_mutex_unlock(&q->lock);
    return slot;
}

static enum srp_err one_frame(struct job *j, const AVFrame *frame, const struct sp_frame_meta *meta,
                              double first_pts, struct srp_error *err)
{
    struct srp_picture in;
    if (!meta->model && meta->no_sr != SP_NO_SR_NO_MODEL) {
        return sp_fail(err, SRP_ERR_PARAMS, "chunk %u: its model cannot be used: %s", meta->chunk,
                       sp_no_sr_text(meta->no_sr));
    }
    if (frame->width != (int)j->info.lr_width || frame->height != (int)j->info.lr_height) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "chunk %u: the picture is %dx%d, the manifest says %ux%u", meta->chunk,
                       frame->width, frame->height, j->info.lr_width, j->info.lr_height);
    }
    struct slot *slot = take_slot(&j->queue, j->frames, err);
    if (!slot) {
        return err->code;
    }
    sp_picture_from_frame(&in, frame, j->info.out_height);
    enum srp_err code =
        sp_reference_read(j->reference, meta->pts - first_pts, &slot->reference, err);
    j->reference_fault = code != SRP_OK;
    if (code == SRP_OK) {
        code = upscale(j, &in, slot, meta->model, err);
    }
    pthread_mutex_lock(&j->queue.lock);
    slot->state = code == SRP_OK ? SLOT_FILLED : SLOT_EMPTY;
    pthread_cond_broadcast(&j->queue.changed);
    pthread_mutex_unlock(&j->queue.lock);
    j->frames += code == SRP_OK;
    j->upscaled += code == SRP_OK && meta->model;
    return code;
}

static enum srp_err all_frames(struct job *j, struct srp_error *err)
{
    struct sp_frame_meta meta;
    double first_pts = 0.0;
    enum srp_err code = SRP_OK;
    AVFrame *frame = av_frame_alloc();
    if (!frame) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    while (code == SRP_OK && (j->options.frames == 0 || j->frames < j->options.frames)) {
        memset(&meta, 0, sizeof meta);
        int got = sp_media_read_video(j->media, frame, &meta, err);
        if (got <= 0) {
            code = (enum srp_err)got;
            break;
        }
        first_pts = j->frames == 0 ? meta.pts : first_pts;
        code = one_frame(j, frame, &meta, first_pts, err);
        av_frame_unref(frame);
    }
    av_frame_free(&frame);
    stop_scorers(j);
    if (code == SRP_OK && j->queue.error.code != SRP_OK) {
        *err = j->queue.error;
        code = err->code;
    }
    struct sp_media_stats stats;
    sp_media_get_stats(j->media, &stats);
    if (code == SRP_OK && stats.damaged_chunks > 0) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "%s: %llu chunks are damaged (srinfo verify names them)",
                       j->options.manifest, (unsigned long long)stats.damaged_chunks);
    }
    if (code == SRP_OK && j->options.frames == 0 && j->frames != j->info.frame_count) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "%s: %llu frames could be decoded, the manifest says %llu",
                       j->options.manifest, (unsigned long long)j->frames,
                       (unsigned long long)j->info.frame_count);
    }
    if (code == SRP_OK && j->frames == 0) {
        return sp_fail(err, SRP_ERR_FORMAT, "%s: no frames", j->options.manifest);
    }
    return code;
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static enum srp_err count_bytes(struct job *j, struct srp_error *err)
{
    static const char *const playlist[] = {"master.m3u8", "video.m3u8", "audio.m3u8"};
    struct sp_tool_package p;
    struct srp_package_info info;
    struct bytes_by_kind *b = &j->bytes;
    enum srp_err code = sp_tool_package_open(&p, j->options.manifest, err);
    if (code != SRP_OK) {
        return code;
    }
    srp_package_get_info(p.package, &info);
    b->video = info.video.init.size;
    for (uint32_t i = 0; i < info.chunk_count; i++) {
        b->video += srp_package_chunk(p.package, i)->segment.object.size;
    }
    if (info.has_audio) {
        b->audio = info.audio.init.size;
        for (uint32_t i = 0; i < info.audio.segment_count; i++) {
            b->audio += srp_package_audio_segment(p.package, i)->object.size;
        }
    }
    for (uint32_t i = 0; i < 2 * info.model_count;
         i++) { /* files that several models share count once */
        const struct srp_package_model *m = srp_package_get_model(p.package, i / 2);
        const struct srp_object *o = i % 2 ? &m->parameters : &m->graph;
        bool before = false;
        for (uint32_t k = 0; k < i && !before; k++) {
            const struct srp_package_model *other = srp_package_get_model(p.package, k / 2);
            before = strcmp((k % 2 ? &other->parameters : &other->graph)->uri, o->uri) == 0;
        }
        b->parameters += before ? 0 : o->size;
    }
    b->manifest = p.manifest.size;
    for (size_t i = 0; i < sizeof playlist / sizeof playlist[0] - !info.has_audio; i++) {
        struct sp_bytes bytes = {0};
        code = sp_tool_package_beside(&p, playlist[i], SRP_MAX_JSON_BYTES, &bytes, err);
        b->manifest += bytes.size;
        sp_bytes_free(&bytes);
        if (code == SRP_ERR_NOT_FOUND) {
            code = SRP_OK; /* a package that only srplay plays needs none */
        } else if (code != SRP_OK) {
            break;
        }
    }
    b->total = b->video + b->audio + b->parameters + b->routes + b->manifest;
    sp_tool_package_close(&p);
    return code;
}

/* ---- the command --------------------------------------------------------------------------------
 */

static int parse(struct package_options *o, int argc, char **argv)
{
    static const struct option options[] = {{"reference", required_argument, NULL, 'r'},
                                            {"frames", required_argument, NULL, 'n'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"backend", required_argument, NULL, 'b'},
                                            {"dtype", required_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int c = 0;
    uint64_t threads = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        const char *why = NULL;
        switch (c) {
        case 'r':
            o->reference = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'n':
            why = sp_tool_uint(optarg, 1, UINT32_MAX, &o->frames) ? NULL
                                                                  : "--frames takes 1 or more, not";
            break;
        case 't':
            why = sp_tool_uint(optarg, 1, SRP_MAX_THREADS, &threads) ? NULL
                                                                     : "--threads takes 1..64, not";
            break;
        case 'b':
            why = srp_backend_from_name(&o->backend, optarg) ? "no such backend in this build:"
                                                             : NULL;
            break;
        case 'd':
            why = srp_dtype_from_name(&o->dtype, optarg) ? "no such dtype:" : NULL;
            break;
        default:
            return sp_bench_usage("package", NULL, argv[optind - 1]);
        }
        if (why) {
            return sp_bench_usage("package", why, optarg);
        }
    }
    if (argc - optind != 1) {
        return sp_bench_usage("package", "takes one manifest, not",
                              optind < argc ? argv[optind + 1] : "none");
    }
    if (!o->reference) {
        return sp_bench_usage("package", "required option missing:", "--reference");
    }
    o->manifest = argv[optind];
    o->threads = (uint32_t)threads;
    return SP_EXIT_OK;
}

static enum srp_err prepare(struct job *j, struct srp_error *err)
{
    static struct sp_log log = {.program = SP_BENCH_PROGRAM, .level = SP_LOG_WARN};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    enum srp_err code = count_bytes(j, err);
    if (code != SRP_OK) {
        return code;
    }
    struct sp_media_params media = {
        .url = j->options.manifest, .cache_dir = "", .exact_bytes = true, .log = &log};
    if ((code = sp_media_open(&j->media, &media, err)) != SRP_OK) {
        return code;
    }
    sp_media_get_info(j->media, &j->media_info);
    if (!j->media_info.package) {
        return sp_fail(err, SRP_ERR_FORMAT, "%s: not a package", j->options.manifest);
    }
    srp_package_get_info(j->media_info.package, &j->info);
    struct sp_reference_params reference = {.path = j->options.reference,
                                            .start = j->info.source_start,
                                            .frame_rate = (double)j->info.frame_rate_num /
                                                          j->info.frame_rate_den,
                                            .width = j->info.out_width,
                                            .height = j->info.out_height,
                                            .range = j->info.range,
                                            .chroma = j->info.chroma};
    if ((code = sp_reference_open(&j->reference, &reference, err)) != SRP_OK) {
        j->reference_fault = true;
        return code;
    }
    struct srp_upscaler_params upscaler = {
        .scale = j->info.scale,
        .backend = j->options.backend,
        .threads = j->options.threads,
        .dtype = j->options.dtype};
    if ((code = srp_upscaler_create(&j->upscaler, &upscaler, err)) != SRP_OK) {
        return code;
    }
    j->scorers = j->options.threads ? j->options.threads : cores < 1 ? 1 : (uint32_t)cores;
    j->scorers = j->scorers > MOST_SCORERS ? MOST_SCORERS : j->scorers;
    return start_scorers(j, err);
}

struct figures {
    double psnr_y[METHODS], psnr_rgb[METHODS], ssim_y[METHODS];
};

static struct figures summarise(const struct job *j)
{
    struct figures f;
    uint64_t samples = j->frames * j->info.out_width * j->info.out_height;
    for (int m = 0; m < METHODS; m++) {
        f.psnr_y[m] = sp_metrics_psnr(j->queue.sse_y[m], samples);
        f.psnr_rgb[m] = sp_metrics_psnr(j->queue.sse_rgb[m], 3 * samples);
        f.ssim_y[m] = 0.0;
        for (uint64_t i = 0; i < j->frames; i++) {
            f.ssim_y[m] += j->queue.ssim[i][m];
        }
        f.ssim_y[m] /= (double)j->frames;
    }
    return f;
}

static json_t *by_method(const struct job *j, const double value[METHODS])
{
    json_t *object = json_object();
    for (int m = 0; m < METHODS; m++) {
        bool none = m == 0 && j->upscaled == 0;
        json_object_set_new(object, method_name[m], none ? json_null() : json_real(value[m]));
    }
    return object;
}

static int report(const struct job *j)
{
    const struct bytes_by_kind *b = &j->bytes;
    struct figures f = summarise(j);
    if (j->options.json) {
        json_t *bytes =
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "video", (json_int_t)b->video, "audio",
                      (json_int_t)b->audio, "parameters", (json_int_t)b->parameters, "routes",
                      (json_int_t)b->routes, "manifest", (json_int_t)b->manifest, "total",
                      (json_int_t)b->total);
        return sp_tool_print_json(
            SP_BENCH_PROGRAM,
            json_pack("{s:I,s:I,s:o,s:o,s:o,s:o,s:f,s:s?,s:I,s:I,s:I}", "frames",
                      (json_int_t)j->frames, "upscaled", (json_int_t)j->upscaled, "psnr_y",
                      by_method(j, f.psnr_y), "psnr_rgb", by_method(j, f.psnr_rgb), "ssim_y",
                      by_method(j, f.ssim_y), "bytes", bytes, "duration_s", j->info.duration,
                      "model", j->model_name[0] ? j->model_name : NULL, "width",
                      (json_int_t)j->info.out_width, "height", (json_int_t)j->info.out_height,
                      "scale", (json_int_t)j->info.scale));
    }
    printf("%llu frames of %ux%u, scale %u, model %s, %llu upscaled\n\n",
           (unsigned long long)j->frames, j->info.out_width, j->info.out_height, j->info.scale,
           j->model_name[0] ? j->model_name : "none", (unsigned long long)j->upscaled);
    printf("           %10s %10s %10s\n", "PSNR Y", "PSNR RGB", "SSIM Y");
    for (int m = 0; m < METHODS; m++) {
        if (m > 0 || j->upscaled > 0) {
            printf("%-10s %10.3f %10.3f %10.5f\n", method_name[m], f.psnr_y[m], f.psnr_rgb[m],
                   f.ssim_y[m]);
        }
    }
    const struct {
        const char *name;
        uint64_t bytes;
    } row[] = {{"video", b->video},   {"audio", b->audio},       {"parameters", b->parameters},
               {"routes", b->routes}, {"manifest", b->manifest}, {"total", b->total}};
    printf("\n           %10s %10s\n", "bytes", "kbit/s");
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        printf("%-10s %10llu %10.1f\n", row[i].name, (unsigned long long)row[i].bytes,
               j->info.duration > 0.0 ? 8e-3 * (double)row[i].bytes / j->info.duration : 0.0);
    }
    return SP_EXIT_OK;
}

int sp_bench_package(int argc, char **argv)
{
    struct srp_error err = {.code = SRP_OK};
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        sp_tool_complain(SP_BENCH_PROGRAM, "package: out of memory");
        return SP_EXIT_FAILED;
    }
    pthread_mutex_init(&j->queue.lock, NULL);
    pthread_cond_init(&j->queue.changed, NULL);
    int status = parse(&j->options, argc, argv);
    if (status == SP_EXIT_OK) {
        av_log_set_level(AV_LOG_QUIET); /* errors come back as one line of our own */
        enum srp_err code = prepare(j, &err);
        if (code == SRP_OK) {
            code = all_frames(j, &err);
        }
        if (code != SRP_OK) {
            sp_tool_complain(SP_BENCH_PROGRAM, "package: %s", err.detail);
            status = j->reference_fault ? SP_EXIT_FAILED : sp_tool_status(code);
        } else {
            if (sp_reference_damaged(j->reference) > 0) {
                sp_tool_complain(SP_BENCH_PROGRAM, "package: %s: %llu damaged packets were skipped",
                                 j->options.reference,
                                 (unsigned long long)sp_reference_damaged(j->reference));
            }
            status = report(j);
        }
    }
    free_job(j);
    free(j);
    return status;
}
