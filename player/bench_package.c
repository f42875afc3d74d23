/* SPDX-License-Identifier: BSD-2-Clause */
/* Quality of a package against its original, and its bytes by kind.
 *
 * The calling thread decodes both videos and upscales into one of a few slots; scorers take filled
 * slots. What they add up are integers, and the SSIM of each frame has its own place, so that no
 * figure depends on which scorer was faster. */
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/log.h>
#include <srp/limits.h>

#include "bench.h"
#include "bench_pair.h"
#include "metrics.h"
#include "output.h"
#include "route.h"
#include "tool.h"
#include "tool_package.h"

enum { METHODS = 3, SLOTS = 4, MOST_SCORERS = 8 };
static const char *const method_name[METHODS] = {"sr", "bicubic", "lanczos"};

struct package_options {
    struct sp_pair_params pair;
    const char *save; /* SR frames go there; NULL: nowhere */
    enum sp_route_mode route;
    struct sp_bench_way way;
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
    struct sp_pair pair;
    struct srp_upscaler *upscaler;
    struct srp_model *model; /* the one set in the upscaler, which holds the reference */
    struct sp_router router;
    struct srp_picture before; /* what routing made last, for cells that are the same again */
    bool has_before;
    struct srp_picture last_reference, last_shown[METHODS]; /* the frame before */
    uint64_t sse_change[METHODS];                           /* sp_metrics_sse_change of luma */
    struct sp_output *output;
    struct queue queue;
    struct scorer scorer[MOST_SCORERS];
    uint32_t scorers, started;
    uint64_t frames, upscaled, routed;
    struct sp_route_counts routes; /* of the choice, as if nothing were reused */
    char model_name[SRP_MAX_NAME + 1];
    struct bytes_by_kind bytes;
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

static enum srp_err start_scorers(struct job *j, struct srp_error *err)
{
    struct queue *q = &j->queue;
    for (int i = 0; i < SLOTS; i++) {
        enum srp_err code =
            sp_pair_picture(&j->pair, &q->slot[i].reference, SRP_FORMAT_YUV420, err);
        for (int m = 0; m < METHODS && code == SRP_OK; m++) {
            code = sp_pair_picture(&j->pair, &q->slot[i].shown[m], SRP_FORMAT_YUV420, err);
        }
        if (code != SRP_OK) {
            return code;
        }
    }
    for (; j->started < j->scorers; j->started++) {
        struct scorer *s = &j->scorer[j->started];
        s->queue = q;
        s->scratch = malloc(sp_metrics_ssim_scratch(j->pair.info.out_width));
        if (!s->scratch ||
            sp_pair_picture(&j->pair, &s->rgb_reference, SRP_FORMAT_RGB, err) != SRP_OK ||
            sp_pair_picture(&j->pair, &s->rgb_shown, SRP_FORMAT_RGB, err) != SRP_OK ||
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
    sp_picture_free(&j->last_reference);
    for (int m = 0; m < METHODS; m++) {
        sp_picture_free(&j->last_shown[m]);
    }
    free(j->queue.ssim);
    srp_upscaler_destroy(&j->upscaler);
    sp_router_free(&j->router);
    sp_picture_free(&j->before);
    sp_output_close(&j->output, NULL);
    sp_pair_close(&j->pair);
    pthread_cond_destroy(&j->queue.changed);
    pthread_mutex_destroy(&j->queue.lock);
}

/* ---- decoding and upscaling ---------------------------------------------------------------------
 */

static enum srp_err set_model(struct job *j, struct srp_model *model, struct srp_error *err)
{
    struct srp_model_info info;
    if (model == j->model) {
        return SRP_OK;
    }
    enum srp_err code = srp_upscaler_set_model(j->upscaler, model, err);
    if (code == SRP_OK) {
        j->model = model;
        j->has_before = false;
        sp_router_set_model(&j->router, model);
        srp_model_get_info(model, &info);
        snprintf(j->model_name, sizeof j->model_name, "%s", info.name);
    }
    return code;
}

/* As the player makes the frame, with the same cells kept from the frame before: so its pixels
 * are the player's, also where two ways to the same number round differently. */
static enum srp_err by_routes(struct job *j, const struct sp_frame_meta *meta,
                              const struct srp_picture *in, struct srp_picture *out,
                              struct srp_error *err)
{
    struct srp_routing routing;
    enum srp_err code = sp_router_choose(&j->router, meta->routes, meta->routes_frame, in->width,
                                         in->height, HUGE_VAL, &routing, err);
    if (code == SRP_OK && !j->before.data[0]) {
        code = sp_pair_picture(&j->pair, &j->before, SRP_FORMAT_YUV420, err);
    }
    if (code != SRP_OK) {
        return code;
    }
    sp_pair_colours(&j->before, in);
    routing.previous = j->has_before ? &j->before : NULL;
    code = srp_upscaler_process_routed(j->upscaler, in, out, &routing, NULL, err);
    if (code == SRP_OK) {
        struct sp_route_counts counts =
            sp_route_counts_of(&routing, in->width, in->height, meta->model);
        sp_route_counts_add(&j->routes, &counts);
        sp_picture_copy(&j->before, out);
        j->has_before = true;
        j->routed++;
    }
    return code;
}

static enum srp_err upscale(struct job *j, const struct srp_picture *in, struct slot *slot,
                            const struct sp_frame_meta *meta, struct srp_error *err)
{
    enum srp_err code = SRP_OK;
    for (int m = 0; m < METHODS; m++) {
        sp_pair_colours(&slot->shown[m], in);
    }
    if (meta->model) {
        code = set_model(j, meta->model, err);
    }
    if (code == SRP_OK && meta->model) {
        code = meta->routes
                   ? by_routes(j, meta, in, &slot->shown[0], err)
                   : srp_upscaler_process(j->upscaler, SRP_METHOD_SR, in, &slot->shown[0], err);
    }
    if (code == SRP_OK) {
        code = srp_upscaler_process(j->upscaler, SRP_METHOD_BICUBIC, in, &slot->shown[1], err);
    }
    if (code == SRP_OK) {
        code = srp_upscaler_process(j->upscaler, SRP_METHOD_LANCZOS, in, &slot->shown[2], err);
    }
    if (code == SRP_OK && !meta->model) {
        sp_picture_copy(&slot->shown[0],
                        &slot->shown[1]); /* what the player shows of such a chunk */
    }
    if (code == SRP_OK && j->output) {
        code = sp_output_write(j->output, &slot->shown[0], err);
    }
    return code;
}

/* Adds up how the frame's changes differ from the original's, and keeps it for the next one. */
static enum srp_err add_change(struct job *j, const struct slot *slot, struct srp_error *err)
{
    const struct srp_picture *r = &slot->reference;
    if (j->frames == 0) {
        enum srp_err code = sp_pair_picture(&j->pair, &j->last_reference, SRP_FORMAT_YUV420, err);
        for (int m = 0; m < METHODS && code == SRP_OK; m++) {
            code = sp_pair_picture(&j->pair, &j->last_shown[m], SRP_FORMAT_YUV420, err);
        }
        if (code != SRP_OK) {
            return code;
        }
    } else {
        const struct sp_metrics_pair original = {r->data[0], j->last_reference.data[0],
                                                 r->stride[0]};
        for (int m = 0; m < METHODS; m++) {
            const struct sp_metrics_pair shown = {slot->shown[m].data[0], j->last_shown[m].data[0],
                                                  slot->shown[m].stride[0]};
            j->sse_change[m] += sp_metrics_sse_change(&shown, &original, r->width, r->height);
        }
    }
    sp_picture_copy(&j->last_reference, r);
    for (int m = 0; m < METHODS; m++) {
        sp_picture_copy(&j->last_shown[m], &slot->shown[m]);
    }
    return SRP_OK;
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

/* The manifest names routes, but they cannot be used: the player shows such a chunk by the
 * default path, but a package that was measured so is not the one that was made. */
static enum srp_err check_routes(const struct job *j, const struct sp_frame_meta *meta,
                                 struct srp_error *err)
{
    bool fine = meta->no_routes == SP_ROUTES_READY || meta->no_routes == SP_NO_ROUTES_NONE ||
                j->options.route == SP_ROUTE_OFF;
    return fine ? SRP_OK
                : sp_fail(err, SRP_ERR_PARAMS, "chunk %u: its routes cannot be used: %s",
                          meta->chunk, sp_no_routes_text(meta->no_routes));
}

static enum srp_err one_frame(struct job *j, const struct srp_picture *in,
                              const struct sp_frame_meta *meta, struct srp_error *err)
{
    enum srp_err code = check_routes(j, meta, err);
    struct slot *slot = code == SRP_OK ? take_slot(&j->queue, j->frames, err) : NULL;
    if (!slot) {
        return err->code;
    }
    code = sp_pair_reference(&j->pair, meta, in, &slot->reference, err);
    if (code == SRP_OK) {
        code = upscale(j, in, slot, meta, err);
    }
    if (code == SRP_OK) {
        code = add_change(j, slot, err);
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
    struct srp_picture in;
    enum srp_err code = SRP_OK;
    int got = 1;
    while (code == SRP_OK && (got = sp_pair_next(&j->pair, &meta, &in, err)) > 0) {
        code = one_frame(j, &in, &meta, err);
    }
    stop_scorers(j);
    if (code == SRP_OK && got < 0) {
        code = (enum srp_err)got;
    }
    if (code == SRP_OK && j->queue.error.code != SRP_OK) {
        *err = j->queue.error;
        code = err->code;
    }
    return code == SRP_OK ? sp_output_close(&j->output, err) : code;
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static const struct srp_object *routes_of(const struct srp_chunk *c)
{
    return c->has_routes ? &c->routes : NULL;
}

static const struct srp_object *update_of(const struct srp_chunk *c)
{
    return c->has_update ? &c->update : NULL;
}

/* Of one kind of objects of all chunks; what several chunks share counts once. */
static uint64_t chunks_bytes(const struct srp_package *package, uint32_t chunks,
                             const struct srp_object *(*of)(const struct srp_chunk *))
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < chunks; i++) {
        const struct srp_object *o = of(srp_package_chunk(package, i));
        bool before = o == NULL;
        for (uint32_t k = 0; k < i && !before; k++) {
            const struct srp_object *other = of(srp_package_chunk(package, k));
            before = other && strcmp(other->uri, o->uri) == 0;
        }
        sum += before ? 0 : o->size;
    }
    return sum;
}

static enum srp_err count_bytes(struct job *j, struct srp_error *err)
{
    static const char *const playlist[] = {"master.m3u8", "video.m3u8", "audio.m3u8"};
    struct sp_tool_package p;
    struct srp_package_info info;
    struct bytes_by_kind *b = &j->bytes;
    enum srp_err code = sp_tool_package_open(&p, j->options.pair.manifest, err);
    if (code != SRP_OK) {
        return code;
    }
    srp_package_get_info(p.package, &info);
    b->video = info.video.init.size;
    for (uint32_t i = 0; i < info.chunk_count; i++) {
        b->video += srp_package_chunk(p.package, i)->segment.object.size;
    }
    b->routes = chunks_bytes(p.package, info.chunk_count, routes_of);
    b->parameters = chunks_bytes(p.package, info.chunk_count, update_of);
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
                                            {"route", required_argument, NULL, 'R'},
                                            {"save", required_argument, NULL, 's'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int c = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        const char *why = NULL;
        if (sp_bench_option(&o->way, &o->pair.frames, c, optarg, &why)) {
            if (why) {
                return sp_bench_usage("package", why, optarg);
            }
            continue;
        }
        switch (c) {
        case 'r':
            o->pair.reference = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'R':
            why = sp_route_from_name(&o->route, optarg) && o->route != SP_ROUTE_BUDGET
                      ? NULL
                      : "--route takes exact or off, not";
            break;
        case 's':
            o->save = optarg;
            why = strcmp(optarg, "-") != 0 ? NULL : "--save takes a file, not";
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
    if (!o->pair.reference) {
        return sp_bench_usage("package", "required option missing:", "--reference");
    }
    o->pair.manifest = argv[optind];
    o->pair.no_routes = o->route == SP_ROUTE_OFF;
    return SP_EXIT_OK;
}

static enum srp_err prepare(struct job *j, struct srp_error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    enum srp_err code = count_bytes(j, err);
    if (code == SRP_OK) {
        code = sp_pair_open(&j->pair, &j->options.pair, err);
    }
    if (code != SRP_OK) {
        return code;
    }
    const struct srp_package_info *info = &j->pair.info;
    if (j->options.save) {
        struct sp_output_params output = {.path = j->options.save,
                                          .frame_rate_num = (int)info->frame_rate_num,
                                          .frame_rate_den = (int)info->frame_rate_den,
                                          .sar = 1};
        if ((code = sp_output_open(&j->output, &output, err)) != SRP_OK) {
            return code;
        }
    }
    struct srp_upscaler_params upscaler = {
        .scale = info->scale,
        .backend = j->options.way.backend,
        .threads = j->options.way.threads,
        .dtype = j->options.way.dtype};
    if ((code = srp_upscaler_create(&j->upscaler, &upscaler, err)) != SRP_OK) {
        return code;
    }
    j->router.mode = SP_ROUTE_EXACT;
    j->scorers = j->options.way.threads ? j->options.way.threads : cores < 1 ? 1 : (uint32_t)cores;
    j->scorers = j->scorers > MOST_SCORERS ? MOST_SCORERS : j->scorers;
    return start_scorers(j, err);
}

struct figures {
    double psnr_y[METHODS], psnr_rgb[METHODS], ssim_y[METHODS], psnr_y_change[METHODS];
};

static struct figures summarise(const struct job *j)
{
    struct figures f;
    const uint64_t frame = (uint64_t)j->pair.info.out_width * j->pair.info.out_height;
    const uint64_t samples = j->frames * frame;
    for (int m = 0; m < METHODS; m++) {
        f.psnr_y[m] = sp_metrics_psnr(j->queue.sse_y[m], samples);
        f.psnr_rgb[m] = sp_metrics_psnr(j->queue.sse_rgb[m], 3 * samples);
        f.psnr_y_change[m] = sp_metrics_psnr(j->sse_change[m], (j->frames - 1) * frame);
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
    const struct srp_package_info *info = &j->pair.info;
    if (j->options.json) {
        json_t *cells = json_array();
        for (uint32_t p = 0; p < j->routes.paths; p++) {
            json_array_append_new(cells, json_integer((json_int_t)j->routes.cells[p]));
        }
        json_t *bytes =
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "video", (json_int_t)b->video, "audio",
                      (json_int_t)b->audio, "parameters", (json_int_t)b->parameters, "routes",
                      (json_int_t)b->routes, "manifest", (json_int_t)b->manifest, "total",
                      (json_int_t)b->total);
        return sp_tool_print_json(
            SP_BENCH_PROGRAM,
            json_pack("{s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:f,s:s?,s:I,s:I,s:I}", "frames",
                      (json_int_t)j->frames, "upscaled", (json_int_t)j->upscaled, "routed",
                      (json_int_t)j->routed, "cells", cells, "macs_share",
                      j->routed > 0 ? json_real(sp_route_macs_share(&j->routes)) : json_null(),
                      "psnr_y",
                      by_method(j, f.psnr_y), "psnr_rgb", by_method(j, f.psnr_rgb), "ssim_y",
                      by_method(j, f.ssim_y), "psnr_y_change", by_method(j, f.psnr_y_change),
                      "bytes", bytes, "duration_s", info->duration,
                      "model", j->model_name[0] ? j->model_name : NULL, "width",
                      (json_int_t)info->out_width, "height", (json_int_t)info->out_height,
                      "scale", (json_int_t)info->scale));
    }
    printf("%llu frames of %ux%u, scale %u, model %s, %llu upscaled\n\n",
           (unsigned long long)j->frames, info->out_width, info->out_height, info->scale,
           j->model_name[0] ? j->model_name : "none", (unsigned long long)j->upscaled);
    if (j->routed > 0) {
        printf("%llu by routes, cells by path:", (unsigned long long)j->routed);
        for (uint32_t p = 0; p < j->routes.paths; p++) {
            printf(" %llu", (unsigned long long)j->routes.cells[p]);
        }
        printf(", %.1f%% of the dearest path's multiply-accumulates\n\n",
               sp_route_macs_share(&j->routes) * 100);
    }
    printf("           %10s %10s %10s %10s\n", "PSNR Y", "PSNR RGB", "SSIM Y", "change");
    for (int m = 0; m < METHODS; m++) {
        if (m > 0 || j->upscaled > 0) {
            printf("%-10s %10.3f %10.3f %10.5f %10.3f\n", method_name[m], f.psnr_y[m],
                   f.psnr_rgb[m], f.ssim_y[m], f.psnr_y_change[m]);
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
               info->duration > 0.0 ? 8e-3 * (double)row[i].bytes / info->duration : 0.0);
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
    j->options.route = SP_ROUTE_EXACT;
    int status = parse(&j->options, argc, argv);
    if (status == SP_EXIT_OK) {
        av_log_set_level(AV_LOG_QUIET); /* errors come back as one line of our own */
        enum srp_err code = prepare(j, &err);
        if (code == SRP_OK) {
            code = all_frames(j, &err);
        }
        if (code != SRP_OK) {
            sp_tool_complain(SP_BENCH_PROGRAM, "package: %s", err.detail);
            status = sp_pair_status(&j->pair, code);
        } else {
            sp_pair_note_damage(&j->pair, "package");
            status = report(j);
        }
    }
    free_job(j);
    free(j);
    return status;
}
