/* SPDX-License-Identifier: BSD-2-Clause */
/* Latency of one picture through one model: 8-bit pixels in, 8-bit pixels out (--format), or
 * (--tensor) the network alone. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <srp/limits.h>
#include <srp/upscaler.h>

#include "base.h"
#include "bench.h"
#include "tool.h"

enum { WARM_RUNS = 3, LEAST_RUNS = 5, MOST_RUNS = 100000 };
static const uint64_t warm_ns = 300000000;

struct engine_options {
    const char *graph, *parameters;
    uint32_t width, height;
    struct sp_bench_way way;
    enum srp_format format; /* 0: RGB for RGB networks, else YUV420 */
    uint64_t runs; /* 0: as many as fit into `seconds` */
    double seconds;
    uint32_t region_width, region_height; /* 0: the whole picture */
    uint32_t reserve_width, reserve_height; /* 0: what is measured */
    uint32_t path; /* SRP_MAX_PATHS: the default one */
    bool tensor, json;
};

struct engine {
    struct srp_model *model;
    struct srp_model_info model_info;
    struct srp_upscaler *upscaler;
    struct srp_executor *executor;
    struct srp_picture in, out;
    float *tensor_in, *tensor_out;
    struct srp_region *regions; /* NULL: the whole picture */
    uint32_t region_count;
    struct srp_macs region_macs;
    uint32_t tensor_width, tensor_height;
};

static const char *const format_names[] = {[SRP_FORMAT_YUV420] = "yuv420",
                                           [SRP_FORMAT_NV12] = "nv12",
                                           [SRP_FORMAT_RGB] = "rgb",
                                           [SRP_FORMAT_BGRA] = "bgra"};

static bool format_from_name(enum srp_format *format, const char *name)
{
    for (int i = SRP_FORMAT_YUV420; i <= SRP_FORMAT_BGRA; i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *format = (enum srp_format)i;
            return true;
        }
    }
    return false;
}

static int parse(struct engine_options *o, int argc, char **argv)
{
    static const struct option options[] = {{"graph", required_argument, NULL, 'g'},
                                            {"parameters", required_argument, NULL, 'p'},
                                            {"size", required_argument, NULL, 'z'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"backend", required_argument, NULL, 'b'},
                                            {"dtype", required_argument, NULL, 'd'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"runs", required_argument, NULL, 'r'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"tensor", no_argument, NULL, 'T'},
                                            {"regions", required_argument, NULL, 'R'},
                                            {"reserve", required_argument, NULL, 'V'},
                                            {"path", required_argument, NULL, 'P'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int c = 0;
    uint64_t path = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        const char *why = NULL;
        if (sp_bench_option(&o->way, NULL, c, optarg, &why)) {
            if (why) {
                return sp_bench_usage("engine", why, optarg);
            }
            continue;
        }
        switch (c) {
        case 'g':
            o->graph = optarg;
            break;
        case 'p':
            o->parameters = optarg;
            break;
        case 'T':
            o->tensor = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'z':
            why = sp_tool_size(optarg, &o->width, &o->height) ? NULL
                                                              : "--size takes WIDTHxHEIGHT, not";
            break;
        case 'R':
            o->tensor = true;
            why = sp_tool_size(optarg, &o->region_width, &o->region_height)
                      ? NULL
                      : "--regions takes WIDTHxHEIGHT, not";
            break;
        case 'V':
            o->tensor = true;
            why = sp_tool_size(optarg, &o->reserve_width, &o->reserve_height)
                      ? NULL
                      : "--reserve takes WIDTHxHEIGHT, not";
            break;
        case 'P':
            why = sp_tool_uint(optarg, 0, SRP_MAX_PATHS - 1, &path) ? NULL
                                                                    : "--path takes 0..7, not";
            o->path = (uint32_t)path;
            break;
        case 'r':
            why =
                sp_tool_uint(optarg, 1, MOST_RUNS, &o->runs) ? NULL : "--runs takes 1..100000, not";
            break;
        case 's':
            why = sp_tool_number(optarg, 0.01, 3600.0, &o->seconds)
                      ? NULL
                      : "--seconds takes 0.01..3600, not";
            break;
        case 'f':
            why = format_from_name(&o->format, optarg) ? NULL : "no such format:";
            break;
        default:
            return sp_bench_usage("engine", NULL, argv[optind - 1]);
        }
        if (why) {
            return sp_bench_usage("engine", why, optarg);
        }
    }
    if (optind < argc) {
        return sp_bench_usage("engine", "unexpected argument", argv[optind]);
    }
    if (!o->graph || !o->width) {
        return sp_bench_usage("engine",
                              "required option missing:", o->graph ? "--size" : "--graph");
    }
    return SP_EXIT_OK;
}

static int fail(const struct srp_error *err)
{
    sp_tool_complain(SP_BENCH_PROGRAM, "engine: %s", err->detail);
    return sp_tool_status(err->code);
}

static int load_model(struct engine *e, struct engine_options *o)
{
    struct srp_error err = {.code = SRP_OK};
    struct sp_bytes graph = {0}, parameters = {0};
    enum srp_err code = sp_bytes_read_file(&graph, o->graph, SRP_MAX_JSON_BYTES, &err);
    struct srp_blob blob = {.data = graph.data, .size = graph.size, .name = o->graph};
    if (code == SRP_OK && o->parameters) {
        code = sp_bytes_read_file(&parameters, o->parameters, SRP_MAX_OBJECT_BYTES, &err);
        if (code == SRP_OK && sp_tool_is_zstd(&parameters)) {
            code = sp_tool_decompress(&parameters, o->parameters, &err);
        }
        struct srp_model_params params = {
            .graph = blob, .parameters = {parameters.data, parameters.size, o->parameters}};
        if (code == SRP_OK) {
            code = srp_model_create(&e->model, &params, &err);
        }
    } else if (code == SRP_OK) {
        code = srp_model_create_random(&e->model, &blob, 1, &err);
    }
    sp_bytes_free(&graph);
    sp_bytes_free(&parameters);
    if (code != SRP_OK) {
        (void)fail(&err);
        return sp_tool_file_status(code);
    }
    srp_model_get_info(e->model, &e->model_info);
    if (o->path == SRP_MAX_PATHS) {
        o->path = e->model_info.default_path;
    }
    /* The model of one path alone: what its figures say is about that path. */
    struct srp_model *path = srp_model_path(e->model, o->path);
    if (!path) {
        char text[16];
        snprintf(text, sizeof text, "%u", o->path);
        return sp_bench_usage("engine", "the model has no such path:", text);
    }
    srp_model_unref(&e->model);
    e->model = path;
    srp_model_get_info(e->model, &e->model_info);
    return SP_EXIT_OK;
}

/* Something with edges and texture: a busy picture costs no more than a flat one today, but may
 * tomorrow. */
static uint8_t sample(uint32_t x, uint32_t y, uint32_t plane)
{
    uint32_t noise = (x * 2654435761u) ^ (y * 2246822519u) ^ (plane * 3266489917u);
    noise ^= noise >> 15;
    uint32_t edges = ((x >> 4) + (y >> 3)) % 3 * 60;
    return (uint8_t)(40u + edges + (noise * 747796405u >> 28));
}

/* A picture whose planes follow one another from data[0] on, which the caller frees. */
static bool make_picture(struct srp_picture *p, enum srp_format format, uint32_t width,
                         uint32_t height)
{
    const size_t step = format == SRP_FORMAT_RGB ? 3 : format == SRP_FORMAT_BGRA ? 4 : 1;
    const size_t cw = step > 1 ? 0 : ((size_t)width + 1) / 2, ch = ((size_t)height + 1) / 2;
    const size_t first = (size_t)width * height * step; /* SRP_MAX_PICTURE_PIXELS bounds it */
    uint8_t *memory = malloc(first + 2 * cw * ch);
    if (!memory) {
        return false;
    }
    *p = (struct srp_picture){.format = format, .width = width, .height = height};
    p->data[0] = memory;
    p->data[1] = memory + first;
    p->data[2] = p->data[1] + cw * ch;
    p->stride[0] = (ptrdiff_t)(width * step);
    p->stride[1] = (ptrdiff_t)(format == SRP_FORMAT_NV12 ? 2 * cw : cw);
    p->stride[2] = (ptrdiff_t)cw;
    for (size_t i = 0; i < first + 2 * cw * ch; i++) {
        const uint32_t plane = step > 1 ? (uint32_t)(i % step) : i >= first;
        const size_t at = step > 1 ? i / step : i >= first ? i - first : i;
        const size_t row = step == 1 && i >= first ? cw : width;
        memory[i] = sample((uint32_t)(at % row), (uint32_t)(at / row), plane);
    }
    return true;
}

/* A grid of regions over the tensor. */
static int make_regions(struct engine *e, const struct engine_options *o)
{
    struct srp_error err = {.code = SRP_OK};
    const uint32_t w = o->region_width, h = o->region_height;
    const uint32_t across = (e->tensor_width + w - 1) / w, down = (e->tensor_height + h - 1) / h;
    if ((uint64_t)across * down > SRP_MAX_REGIONS) {
        return sp_bench_usage("engine", "that would be too many regions:", "--regions");
    }
    e->regions = calloc((size_t)across * down, sizeof e->regions[0]);
    if (!e->regions) {
        sp_tool_complain(SP_BENCH_PROGRAM, "engine: out of memory");
        return SP_EXIT_FAILED;
    }
    for (uint32_t i = 0; i < across * down; i++) {
        struct srp_region *r = &e->regions[i];
        r->x = i % across * w;
        r->y = i / across * h;
        r->width = e->tensor_width - r->x < w ? e->tensor_width - r->x : w;
        r->height = e->tensor_height - r->y < h ? e->tensor_height - r->y : h;
    }
    e->region_count = across * down;
    return srp_executor_region_macs(e->executor, e->tensor_width, e->tensor_height, e->regions,
                                    e->region_count, &e->region_macs, &err) == SRP_OK
               ? SP_EXIT_OK
               : fail(&err);
}

/* What was needed to load the model alone. */
static void forget(struct engine *e)
{
    srp_model_drop_parameters(e->model, NULL); /* other backends read them */
    sp_return_free_memory();
}

static int prepare(struct engine *e, const struct engine_options *o)
{
    struct srp_error err = {.code = SRP_OK};
    const uint32_t scale = e->model_info.scale;
    bool halves = e->model_info.colour == SRP_COLOUR_YUV420;
    e->tensor_width = halves ? (o->width + 1) / 2 : o->width;
    e->tensor_height = halves ? (o->height + 1) / 2 : o->height;
    if ((uint64_t)o->width * o->height * scale * scale > SRP_MAX_PICTURE_PIXELS) {
        return sp_bench_usage("engine", "the upscaled picture would be too large:", "--size");
    }
    if (o->tensor) {
        struct srp_executor_params params = {
            .model = e->model,
            .backend = o->way.backend,
            .threads = o->way.threads,
            .dtype = o->way.dtype};
        size_t n = (size_t)e->tensor_width * e->tensor_height * e->model_info.channels;
        e->tensor_in = malloc(n * sizeof(float));
        e->tensor_out = malloc(n * scale * scale * sizeof(float));
        if (!e->tensor_in || !e->tensor_out) {
            sp_tool_complain(SP_BENCH_PROGRAM, "engine: out of memory");
            return SP_EXIT_FAILED;
        }
        for (size_t i = 0; i < n; i++) {
            e->tensor_in[i] = (float)sample((uint32_t)i, (uint32_t)(i >> 10), 0) / 255.0f;
        }
        if (srp_executor_create(&e->executor, &params, &err) != SRP_OK ||
            (o->reserve_width != 0 && srp_executor_reserve(e->executor, o->reserve_width,
                                                           o->reserve_height, &err) != SRP_OK) ||
            srp_executor_reserve(e->executor, e->tensor_width, e->tensor_height, &err) != SRP_OK) {
            return fail(&err);
        }
        forget(e);
        return o->region_width ? make_regions(e, o) : SP_EXIT_OK;
    }
    struct srp_upscaler_params params = {
        .model = e->model,
        .backend = o->way.backend,
        .threads = o->way.threads,
        .dtype = o->way.dtype};
    /* Before the pictures: what it takes for a while and gives back is then not on top of them. */
    if (srp_upscaler_create(&e->upscaler, &params, &err) != SRP_OK) {
        return fail(&err);
    }
    forget(e);
    const enum srp_format format = o->format != 0 ? o->format
                                   : e->model_info.colour == SRP_COLOUR_RGB ? SRP_FORMAT_RGB
                                                                            : SRP_FORMAT_YUV420;
    if (!make_picture(&e->in, format, o->width, o->height) ||
        !make_picture(&e->out, format, o->width * scale, o->height * scale)) {
        sp_tool_complain(SP_BENCH_PROGRAM, "engine: out of memory");
        return SP_EXIT_FAILED;
    }
    return SP_EXIT_OK;
}

static enum srp_err run_once(struct engine *e, struct srp_error *err)
{
    if (e->regions) {
        return srp_executor_run_regions(e->executor, e->tensor_in, e->tensor_width,
                                        e->tensor_height, e->regions, e->region_count,
                                        e->tensor_out, err);
    }
    if (e->executor) {
        return srp_executor_run(e->executor, e->tensor_in, e->tensor_width, e->tensor_height,
                                e->tensor_out, err);
    }
    return srp_upscaler_process(e->upscaler, SRP_METHOD_SR, &e->in, &e->out, err);
}

/* cpu_ms: processor time of all threads for each run. */
static int report(const struct engine *e, const struct engine_options *o, double *ms, size_t runs,
                  double cpu_ms)
{
    struct srp_executor_info info = {.dtype = "", .isa = ""};
    if (e->executor) {
        srp_executor_get_info(e->executor, &info);
    } else {
        srp_upscaler_get_info(e->upscaler, &info);
    }
    double p50 = sp_tool_quantile(ms, runs, 0.5);
    uint64_t macs = e->model_info.macs_per_pixel * e->tensor_width * e->tensor_height;
    double ops = p50 > 0.0 ? 2.0 * (double)macs / (p50 * 1e-3) : 0.0;
    if (!o->json) {
        char arena[32];
        printf("%s, %ux%u -> %ux%u, %s, %s, %s, %u thread%s, %zu runs\n", e->model_info.name,
               o->width, o->height, o->width * e->model_info.scale, o->height * e->model_info.scale,
               srp_backend_name(info.backend), info.dtype, info.isa, info.threads,
               info.threads == 1 ? "" : "s", runs);
        printf("latency   %.3f ms (min %.3f, max %.3f)\n", p50, ms[0], ms[runs - 1]);
        printf("processor %.3f ms\n", cpu_ms);
        printf("work      %.1f MMAC, %.1f Gop/s\n", (double)macs * 1e-6, ops * 1e-9);
        if (e->regions) {
            printf("regions   %u, with surroundings %.3f times the multiply-accumulates, "
                   "with tiles that hang over %.3f\n",
                   e->region_count, (double)e->region_macs.needed / (double)macs,
                   (double)e->region_macs.made / (double)macs);
        }
        printf("arena     %s\n", sp_tool_bytes(arena, sizeof arena, (double)info.arena_bytes));
        return SP_EXIT_OK;
    }
    return sp_tool_print_json(
        SP_BENCH_PROGRAM,
        json_pack("{s:f,s:f,s:f,s:f,s:I,s:f,s:I,s:s,s:s,s:s,s:I,s:I,s:s,s:I,s:I,s:I,s:s,s:s,s:I,"
                  "s:I,s:I,s:I}",
                  "ms_p50", p50, "ms_cpu", cpu_ms, "ms_min", ms[0], "ms_max", ms[runs - 1], "macs",
                  (json_int_t)macs, "ops_per_s", ops, "arena_bytes", (json_int_t)info.arena_bytes,
                  "backend", srp_backend_name(info.backend), "dtype", info.dtype, "isa", info.isa,
                  "threads", (json_int_t)info.threads, "runs", (json_int_t)runs, "model",
                  e->model_info.name, "width", (json_int_t)o->width, "height",
                  (json_int_t)o->height, "scale", (json_int_t)e->model_info.scale, "path",
                  e->executor ? "tensor" : "picture", "format",
                  e->executor ? "" : format_names[e->in.format], "regions",
                  (json_int_t)e->region_count, "region_macs", (json_int_t)e->region_macs.needed,
                  "region_macs_made", (json_int_t)e->region_macs.made, "model_path",
                  (json_int_t)o->path));
}

/* Milliseconds of all threads of this process. */
static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int sp_bench_engine(int argc, char **argv)
{
    struct engine_options o = {.path = SRP_MAX_PATHS, .seconds = 3.0};
    struct engine e = {.model = NULL};
    struct srp_error err = {.code = SRP_OK};
    double *ms = NULL;
    size_t runs = 0;
    int status = parse(&o, argc, argv);
    if (status != SP_EXIT_OK) {
        return status;
    }
    if ((status = load_model(&e, &o)) != SP_EXIT_OK || (status = prepare(&e, &o)) != SP_EXIT_OK) {
        goto done;
    }
    uint64_t begin = sp_tool_now();
    for (int i = 0; i < WARM_RUNS || sp_tool_now() - begin < warm_ns; i++) {
        if (run_once(&e, &err) != SRP_OK) {
            status = fail(&err);
            goto done;
        }
    }
    size_t most = o.runs ? (size_t)o.runs : MOST_RUNS;
    ms = malloc(most * sizeof *ms);
    if (!ms) {
        sp_tool_complain(SP_BENCH_PROGRAM, "engine: out of memory");
        status = SP_EXIT_FAILED;
        goto done;
    }
    begin = sp_tool_now();
    const double cpu_begin = cpu_now();
    while (runs < most) {
        uint64_t t = sp_tool_now();
        if (!o.runs && runs >= LEAST_RUNS && (double)(t - begin) * 1e-9 >= o.seconds) {
            break;
        }
        if (run_once(&e, &err) != SRP_OK) {
            status = fail(&err);
            goto done;
        }
        ms[runs++] = (double)(sp_tool_now() - t) * 1e-6;
    }
    status = report(&e, &o, ms, runs, (cpu_now() - cpu_begin) / (double)runs);
done:
    free(ms);
    free(e.in.data[0]);
    free(e.out.data[0]);
    free(e.regions);
    free(e.tensor_in);
    free(e.tensor_out);
    srp_upscaler_destroy(&e.upscaler);
    srp_executor_destroy(&e.executor);
    srp_model_unref(&e.model);
    return status;
}
