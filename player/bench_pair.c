/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench_pair.h"

#include <string.h>

#include "base.h"
#include "bench.h"
#include "output.h"
#include "tool.h"

static struct sp_log log_of_bench = {.program = SP_BENCH_PROGRAM, .level = SP_LOG_WARN};

enum srp_err sp_pair_open(struct sp_pair *pair, const struct sp_pair_params *params,
                          struct srp_error *err)
{
    struct sp_media_info media_info;
    struct sp_media_params media = {.url = params->manifest,
                                    .cache_dir = "",
                                    .exact_bytes = true,
                                    .no_routes = params->no_routes,
                                    .log = &log_of_bench};
    *pair = (struct sp_pair){.params = *params};
    enum srp_err code = sp_media_open(&pair->media, &media, err);
    if (code != SRP_OK) {
        return code;
    }
    sp_media_get_info(pair->media, &media_info);
    if (!media_info.package) {
        return sp_fail(err, SRP_ERR_FORMAT, "%s: not a package", params->manifest);
    }
    srp_package_get_info(media_info.package, &pair->info);
    const struct srp_package_info *info = &pair->info;
    struct sp_reference_params reference = {
        .path = params->reference,
        .start = info->source_start,
        .frame_rate = (double)info->frame_rate_num / info->frame_rate_den,
        .width = info->out_width,
        .height = info->out_height,
        .range = info->range,
        .chroma = info->chroma};
    code = sp_reference_open(&pair->reference, &reference, err);
    pair->reference_fault = code != SRP_OK;
    if (code == SRP_OK && !(pair->frame = av_frame_alloc())) {
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    return code;
}

void sp_pair_close(struct sp_pair *pair)
{
    av_frame_free(&pair->frame);
    sp_reference_close(&pair->reference);
    if (pair->media) {
        sp_media_close(&pair->media);
    }
}

/* The end of the video, or of what was asked for: was everything there? */
static int end(const struct sp_pair *pair, struct srp_error *err)
{
    struct sp_media_stats stats;
    const char *name = pair->params.manifest;
    sp_media_get_stats(pair->media, &stats);
    if (stats.damaged_chunks > 0) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "%s: %llu chunks are damaged (srinfo verify names them)", name,
                       (unsigned long long)stats.damaged_chunks);
    }
    if (pair->params.frames == 0 && pair->frames != pair->info.frame_count) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "%s: %llu frames could be decoded, the manifest says %llu", name,
                       (unsigned long long)pair->frames,
                       (unsigned long long)pair->info.frame_count);
    }
    return pair->frames == 0 ? sp_fail(err, SRP_ERR_FORMAT, "%s: no frames", name) : 0;
}

int sp_pair_next(struct sp_pair *pair, struct sp_frame_meta *meta, struct srp_picture *in,
                 struct srp_error *err)
{
    const struct srp_package_info *info = &pair->info;
    memset(meta, 0, sizeof *meta);
    av_frame_unref(pair->frame);
    if (pair->params.frames > 0 && pair->frames >= pair->params.frames) {
        return end(pair, err);
    }
    int got = sp_media_read_video(pair->media, pair->frame, meta, err);
    if (got <= 0) {
        return got == 0 ? end(pair, err) : got;
    }
    if (pair->frame->width != (int)info->lr_width || pair->frame->height != (int)info->lr_height) {
        return sp_fail(err, SRP_ERR_FORMAT,
                       "chunk %u: the picture is %dx%d, the manifest says %ux%u", meta->chunk,
                       pair->frame->width, pair->frame->height, info->lr_width,
                       info->lr_height);
    }
    if (!meta->model && meta->no_sr != SP_NO_SR_NO_MODEL) {
        return sp_fail(err, SRP_ERR_PARAMS, "chunk %u: its model cannot be used: %s", meta->chunk,
                       sp_no_sr_text(meta->no_sr));
    }
    sp_picture_from_frame(in, pair->frame, info->out_height);
    pair->first_pts = pair->frames == 0 ? meta->pts : pair->first_pts;
    pair->frames++;
    return 1;
}

enum srp_err sp_pair_reference(struct sp_pair *pair, const struct sp_frame_meta *meta,
                               const struct srp_picture *in, struct srp_picture *original,
                               struct srp_error *err)
{
    enum srp_err code =
        sp_reference_read(pair->reference, meta->pts - pair->first_pts, original, err);
    pair->reference_fault = code != SRP_OK;
    sp_pair_colours(original, in);
    return code;
}

void sp_pair_note_damage(const struct sp_pair *pair, const char *command)
{
    unsigned long long damaged = sp_reference_damaged(pair->reference);
    if (damaged > 0) {
        sp_tool_complain(SP_BENCH_PROGRAM, "%s: %s: %llu damaged packets were skipped", command,
                         pair->params.reference, damaged);
    }
}

int sp_pair_status(const struct sp_pair *pair, enum srp_err code)
{
    return code != SRP_OK && pair->reference_fault ? SP_EXIT_FAILED : sp_tool_status(code);
}

enum srp_err sp_pair_picture(const struct sp_pair *pair, struct srp_picture *picture,
                             enum srp_format format, struct srp_error *err)
{
    const struct srp_package_info *info = &pair->info;
    enum srp_err code =
        sp_picture_alloc(picture, format, info->out_width, info->out_height, err);
    picture->matrix = info->matrix;
    picture->range = info->range;
    picture->chroma = info->chroma;
    return code;
}

void sp_pair_colours(struct srp_picture *picture, const struct srp_picture *in)
{
    picture->matrix = in->matrix;
    picture->range = in->range;
    picture->chroma = in->chroma;
}
