/* SPDX-License-Identifier: BSD-2-Clause */
/* What each path of a package's models is worth in each cell of each frame: squared error of luma
 * against the original. The packer makes routes of it (docs/format.md). */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <libavutil/log.h>
#include <srp/limits.h>

#include "base.h"
#include "bench.h"
#include "bench_pair.h"
#include "metrics.h"
#include "output.h"
#include "tool.h"

enum { HEADER_WORDS = 7 }; /* of 32 bits, behind the magic */

struct gains_options {
    struct sp_pair_params pair;
    const char *out;
    uint32_t cell_width, cell_height; /* 0: by scale */
    struct sp_bench_way way;
    bool json;
};

struct job {
    struct gains_options options;
    struct sp_pair pair;
    struct srp_model *model;                    /* of the upscalers; the first one refers to it */
    struct srp_upscaler *upscaler[SRP_MAX_PATHS]; /* one for each path */
    uint32_t paths;                             /* 0: no frame had a model yet */
    uint32_t columns, rows;
    struct srp_picture original, shown;
    uint8_t *values;  /* of a frame, as they go to the file: [paths][rows][columns] */
    FILE *file;
    uint64_t without; /* frames at the beginning that no model belongs to */
    uint64_t frames;  /* written */
};

/* ---- the file ---- */

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static void put_double(uint8_t *at, double value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    put(at, bits, 8);
}

static enum srp_err write_all(struct job *j, const void *data, size_t size, struct srp_error *err)
{
    return fwrite(data, 1, size, j->file) == size
               ? SRP_OK
               : sp_fail(err, SRP_ERR_IO, "%s: %s", j->options.out, strerror(errno));
}

static enum srp_err write_header(struct job *j, struct srp_error *err)
{
    uint8_t header[4 + 4 * HEADER_WORDS] = "SRGN";
    const uint32_t word[HEADER_WORDS] = {
        1, j->columns, j->rows, j->paths, (uint32_t)j->frames, j->options.cell_width,
        j->options.cell_height};
    for (int i = 0; i < HEADER_WORDS; i++) {
        put(header + 4 + 4 * i, word[i], 4);
    }
    return write_all(j, header, sizeof header, err);
}

static size_t frame_values(const struct job *j)
{
    return (size_t)j->paths * j->rows * j->columns; /* at most 8 paths of 2^20 cells */
}

static enum srp_err write_frame(struct job *j, struct srp_error *err)
{
    j->frames++;
    return write_all(j, j->values, frame_values(j) * 8, err);
}

/* A frame whose chunk has no model. */
static enum srp_err write_nothing(struct job *j, struct srp_error *err)
{
    for (size_t i = 0; i < frame_values(j); i++) {
        put_double(j->values + 8 * i, NAN);
    }
    return write_frame(j, err);
}

/* ---- measuring ---- */

/* Every path of the model has its own upscaler: changing one's model would plan anew. */
static enum srp_err set_model(struct job *j, struct srp_model *model, struct srp_error *err)
{
    struct srp_model_info info;
    srp_model_get_info(model, &info);
    if (j->paths != 0 && info.path_count != j->paths) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED, "model %s has %u paths, the one before %u",
                       info.name, info.path_count, j->paths);
    }
    enum srp_err code = SRP_OK;
    for (uint32_t p = 0; p < info.path_count && code == SRP_OK; p++) {
        struct srp_model *path = srp_model_path(model, p);
        struct srp_upscaler_params params = {.model = path,
                                             .backend = j->options.way.backend,
                                             .threads = j->options.way.threads,
                                             .dtype = j->options.way.dtype};
        code = j->upscaler[p] ? srp_upscaler_set_model(j->upscaler[p], path, err)
                              : srp_upscaler_create(&j->upscaler[p], &params, err);
        srp_model_unref(&path);
    }
    j->model = code == SRP_OK ? model : NULL;
    if (j->paths == 0 && code == SRP_OK) {
        j->paths = info.path_count;
        j->values = malloc(frame_values(j) * 8);
        code = j->values ? write_header(j, err) : sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    while (code == SRP_OK && j->without > 0) {
        j->without--;
        code = write_nothing(j, err);
    }
    return code;
}

static void measure_cells(struct job *j, uint32_t path)
{
    const struct srp_picture *a = &j->shown, *b = &j->original;
    const uint32_t width = j->options.cell_width * j->pair.info.scale;
    const uint32_t height = j->options.cell_height * j->pair.info.scale;
    uint8_t *value = j->values + (size_t)path * j->rows * j->columns * 8;
    for (uint32_t row = 0; row < j->rows; row++) {
        for (uint32_t column = 0; column < j->columns; column++, value += 8) {
            const uint32_t x = column * width, y = row * height;
            uint64_t sse = 0;
            if (x < a->width && y < a->height) { /* a last cell may be cropped away */
                sse = sp_metrics_sse(a->data[0] + (ptrdiff_t)y * a->stride[0] + x, a->stride[0],
                                     b->data[0] + (ptrdiff_t)y * b->stride[0] + x, b->stride[0],
                                     a->width - x < width ? a->width - x : width,
                                     a->height - y < height ? a->height - y : height);
            }
            put_double(value, (double)sse);
        }
    }
}

static enum srp_err one_frame(struct job *j, const struct sp_frame_meta *meta,
                              const struct srp_picture *in, struct srp_error *err)
{
    if (!meta->model) {
        j->without += j->paths == 0;
        return j->paths == 0 ? SRP_OK : write_nothing(j, err);
    }
    enum srp_err code = meta->model == j->model ? SRP_OK : set_model(j, meta->model, err);
    if (code == SRP_OK) {
        code = sp_pair_reference(&j->pair, meta, in, &j->original, err);
    }
    sp_pair_colours(&j->shown, in);
    for (uint32_t p = 0; p < j->paths && code == SRP_OK; p++) {
        code = srp_upscaler_process(j->upscaler[p], SRP_METHOD_SR, in, &j->shown, err);
        if (code == SRP_OK) {
            measure_cells(j, p);
        }
    }
    return code == SRP_OK ? write_frame(j, err) : code;
}

static enum srp_err all_frames(struct job *j, struct srp_error *err)
{
    struct sp_frame_meta meta;
    struct srp_picture in;
    enum srp_err code = SRP_OK;
    int got = 1;
    while (code == SRP_OK && (got = sp_pair_next(&j->pair, &meta, &in, err)) > 0) {
        code = one_frame(j, &meta, &in, err);
    }
    if (code == SRP_OK && got < 0) {
        code = (enum srp_err)got;
    }
    if (code == SRP_OK && j->paths == 0) {
        code = sp_fail(err, SRP_ERR_FORMAT, "%s: no chunk has a model", j->options.pair.manifest);
    }
    if (code == SRP_OK && fseek(j->file, 0, SEEK_SET) != 0) {
        code = sp_fail(err, SRP_ERR_IO, "%s: %s", j->options.out, strerror(errno));
    }
    return code == SRP_OK ? write_header(j, err) : code; /* again: now with the frames */
}

/* ---- the command ---- */

static int parse(struct gains_options *o, int argc, char **argv)
{
    static const struct option options[] = {{"reference", required_argument, NULL, 'r'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"grid", required_argument, NULL, 'g'},
                                            {"frames", required_argument, NULL, 'n'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"backend", required_argument, NULL, 'b'},
                                            {"dtype", required_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int c = 0;
    while ((c = getopt_long(argc, argv, ":o:", options, NULL)) != -1) {
        const char *why = NULL;
        if (sp_bench_option(&o->way, &o->pair.frames, c, optarg, &why)) {
            if (why) {
                return sp_bench_usage("gains", why, optarg);
            }
            continue;
        }
        switch (c) {
        case 'r':
            o->pair.reference = optarg;
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'g':
            why = sp_tool_size(optarg, &o->cell_width, &o->cell_height) &&
                          o->cell_width % 2 == 0 && o->cell_height % 2 == 0 &&
                          o->cell_width >= SRP_MIN_CELL && o->cell_height >= SRP_MIN_CELL &&
                          o->cell_width <= SRP_MAX_CELL && o->cell_height <= SRP_MAX_CELL
                      ? NULL
                      : "--grid takes WIDTHxHEIGHT, both even and 8..1024, not";
            break;
        default:
            return sp_bench_usage("gains", NULL, argv[optind - 1]);
        }
        if (why) {
            return sp_bench_usage("gains", why, optarg);
        }
    }
    if (argc - optind != 1) {
        return sp_bench_usage("gains", "takes one manifest, not",
                              optind < argc ? argv[optind + 1] : "none");
    }
    if (!o->pair.reference || !o->out) {
        return sp_bench_usage("gains", "required option missing:",
                              o->pair.reference ? "-o" : "--reference");
    }
    o->pair.manifest = argv[optind];
    o->pair.no_routes = true; /* they are about to be made */
    return SP_EXIT_OK;
}

static enum srp_err prepare(struct job *j, struct srp_error *err)
{
    struct gains_options *o = &j->options;
    enum srp_err code = sp_pair_open(&j->pair, &o->pair, err);
    const struct srp_package_info *info = &j->pair.info;
    if (code == SRP_OK) {
        code = sp_pair_picture(&j->pair, &j->original, SRP_FORMAT_YUV420, err);
    }
    if (code == SRP_OK) {
        code = sp_pair_picture(&j->pair, &j->shown, SRP_FORMAT_YUV420, err);
    }
    if (code != SRP_OK) {
        return code;
    }
    if (o->cell_width == 0) { /* multiples of what the kernels like, and many in usual sizes */
        o->cell_width = info->scale == 3 ? 64 : 48;
        o->cell_height = info->scale == 3 ? 60 : 54;
    }
    j->columns = (info->lr_width + o->cell_width - 1) / o->cell_width;
    j->rows = (info->lr_height + o->cell_height - 1) / o->cell_height;
    j->file = fopen(o->out, "wb");
    return j->file ? SRP_OK : sp_fail(err, SRP_ERR_IO, "%s: %s", o->out, strerror(errno));
}

static int report(const struct job *j)
{
    const struct gains_options *o = &j->options;
    const unsigned long long bytes = 4 + 4 * HEADER_WORDS + 8 * j->frames * frame_values(j);
    if (o->json) {
        return sp_tool_print_json(
            SP_BENCH_PROGRAM,
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "frames", (json_int_t)j->frames, "paths",
                      (json_int_t)j->paths, "columns", (json_int_t)j->columns, "rows",
                      (json_int_t)j->rows, "cell_width", (json_int_t)o->cell_width, "cell_height",
                      (json_int_t)o->cell_height, "bytes", (json_int_t)bytes));
    }
    printf("%llu frames, %u paths, %ux%u cells of %ux%u pixels, %llu bytes\n",
           (unsigned long long)j->frames, j->paths, j->columns, j->rows, o->cell_width,
           o->cell_height, bytes);
    return SP_EXIT_OK;
}

static void free_job(struct job *j)
{
    for (uint32_t p = 0; p < SRP_MAX_PATHS; p++) {
        srp_upscaler_destroy(&j->upscaler[p]);
    }
    sp_picture_free(&j->original);
    sp_picture_free(&j->shown);
    sp_pair_close(&j->pair);
    free(j->values);
}

int sp_bench_gains(int argc, char **argv)
{
    struct srp_error err = {.code = SRP_OK};
    struct job j = {.model = NULL};
    int status = parse(&j.options, argc, argv);
    if (status != SP_EXIT_OK) {
        return status;
    }
    av_log_set_level(AV_LOG_QUIET);
    enum srp_err code = prepare(&j, &err);
    if (code == SRP_OK) {
        code = all_frames(&j, &err);
    }
    if (j.file && fclose(j.file) != 0 && code == SRP_OK) {
        code = sp_fail(&err, SRP_ERR_IO, "%s: %s", j.options.out, strerror(errno));
    }
    if (code != SRP_OK) {
        sp_tool_complain(SP_BENCH_PROGRAM, "gains: %s", err.detail);
        status = sp_pair_status(&j.pair, code);
        if (j.file) {
            remove(j.options.out); /* half a file is none */
        }
    } else {
        sp_pair_note_damage(&j.pair, "gains");
        status = report(&j);
    }
    free_job(&j);
    return status;
}
