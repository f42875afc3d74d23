/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole networks of models/ by the library's own executor: int8 is held to known hashes, so that
 * any machine can be asked whether it makes the same pictures.
 *   aid_whole check MODELS       "SET: networks ok", or what differs
 *   aid_whole list MODELS        the networks: name, weights, width, height, channels, scale, and
 *                                the hashes of tensor and picture
 *   aid_whole write DTYPE MODELS FOLDER
 *                                for each NAME.codes, what went into the tensor, and the results
 *                                NAME.tensor and NAME.picture; prints the set
 * MODELS is the folder of graphs, with general/. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/upscaler.h>

#include "golden/aid_file.h"
#include "kernel/noise.h"

enum { ROUTED_CELL = 10, SEED = 7, PATH_MAX_LENGTH = 4096 };

#define FNV_START UINT64_C(0xcbf29ce484222325)

/* One network: a tensor by the executor, and a picture by the upscaler. */
struct network {
    const char *name;
    bool general; /* weights of models/general; otherwise pseudo-random ones */
    uint32_t width, height, threads;
    enum srp_format from, to;
    uint32_t crop;            /* columns and rows that the picture made has less than all */
    uint64_t tensor, picture; /* hashes of int8's results; test_whole.py says how they are known */
};

static const struct network networks[] = {
    {"edge16-x1", true, 31, 22, 1, SRP_FORMAT_YUV420, SRP_FORMAT_YUV420, 0,
     UINT64_C(0x8c351b1e41a26533), UINT64_C(0xb10f3f67851c6196)},
    {"edge16-x2", true, 45, 34, 2, SRP_FORMAT_YUV420, SRP_FORMAT_YUV420, 0,
     UINT64_C(0x66b48fb6ad0dd5a8), UINT64_C(0xa0c9b4f339507d98)},
    {"edge16-x3", true, 23, 17, 2, SRP_FORMAT_NV12, SRP_FORMAT_BGRA, 0,
     UINT64_C(0x2a4c8f8310781841), UINT64_C(0xb4545e3dde64b052)},
    {"edge16-x4", true, 37, 19, 3, SRP_FORMAT_YUV420, SRP_FORMAT_RGB, 3,
     UINT64_C(0x9dd61b0156cb38a2), UINT64_C(0xf157252239f1eaa9)},
    {"edge8-x3", false, 26, 25, 1, SRP_FORMAT_BGRA, SRP_FORMAT_NV12, 1,
     UINT64_C(0xb0c4bc57dfb7c231), UINT64_C(0x2010d9ef7500f117)},
    {"espcn-x3", false, 21, 15, 2, SRP_FORMAT_YUV420, SRP_FORMAT_YUV420, 0,
     UINT64_C(0x69424d0b9f525687), UINT64_C(0x83db0be11dd143e5)},
    {"edge-dyn-x2", false, 43, 35, 2, SRP_FORMAT_YUV420, SRP_FORMAT_YUV420, 0,
     UINT64_C(0x29ec42a6ea4aab44), UINT64_C(0x0d60c24774f62d0b)},
    {"wdsr2-x2", false, 19, 13, 2, SRP_FORMAT_YUV420, SRP_FORMAT_YUV420, 0,
     UINT64_C(0x93953b85a0261fac), UINT64_C(0x6d90280205312f47)},
};

enum { NETWORKS = sizeof(networks) / sizeof(networks[0]) };

/* ---- data ------------------------------------------------------------------------------------ */

static void *allocate(size_t size)
{
    void *data = calloc(size, 1);
    if (data == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return data;
}

static void want(enum srp_err code, const struct srp_error *err)
{
    if (code != SRP_OK) {
        fprintf(stderr, "%s\n", err->detail);
        exit(1);
    }
}

static void write_file(const char *folder, const struct network *n, const char *end,
                       const void *data, size_t size)
{
    char path[PATH_MAX_LENGTH];
    snprintf(path, sizeof(path), "%s/%s.%s", folder, n->name, end);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

/* FNV-1a over bytes; f32 in the order of little-endian machines. */
static uint64_t hash_bytes(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = FNV_START;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static struct srp_model *open_model(const char *folder, const struct network *n)
{
    char graph[PATH_MAX_LENGTH], weights[PATH_MAX_LENGTH];
    snprintf(graph, sizeof(graph), "%s/%s.json", folder, n->name);
    snprintf(weights, sizeof(weights), "%s/general/%s.safetensors", folder, n->name);
    struct srp_model_params params = {.graph = read_file(graph)};
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    if (n->general) {
        params.parameters = read_file(weights);
        want(srp_model_create(&model, &params, &err), &err);
        free((void *)(uintptr_t)params.parameters.data);
    } else {
        want(srp_model_create_random(&model, &params.graph, SEED, &err), &err);
    }
    free((void *)(uintptr_t)params.graph.data);
    return model;
}

/* ---- pictures -------------------------------------------------------------------------------- */

/* Ramps, hard edges and noise. */
static void draw(uint8_t *to, uint32_t width, uint32_t height, uint32_t channels, uint32_t seed)
{
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < channels; c++) {
                const uint32_t ramp = (x * 7 + y * 3 + c * 50) & 127u;
                const uint32_t edge = (x / 5 + y / 4) % 2 * 90;
                *to++ = (uint8_t)(ramp + edge + noise(&seed) % 32);
            }
        }
    }
}

struct plane {
    uint32_t width, height, channels; /* all 0: there is none */
};

static struct plane plane_of(enum srp_format format, uint32_t width, uint32_t height, int plane)
{
    const uint32_t w = (width + 1) / 2, h = (height + 1) / 2;
    if (format == SRP_FORMAT_RGB || format == SRP_FORMAT_BGRA) {
        const uint32_t bytes = format == SRP_FORMAT_RGB ? 3 : 4;
        return plane == 0 ? (struct plane){width, height, bytes} : (struct plane){0};
    }
    if (plane == 0) {
        return (struct plane){width, height, 1};
    }
    if (format == SRP_FORMAT_NV12) {
        return plane == 1 ? (struct plane){w, h, 2} : (struct plane){0};
    }
    return (struct plane){w, h, 1};
}

/* A picture in memory of its own, its planes one behind the other, without gaps. Returns its
 * bytes; they are released as data[0]. */
static size_t make_picture(struct srp_picture *p, enum srp_format format, uint32_t width,
                           uint32_t height)
{
    size_t size = 0;
    *p = (struct srp_picture){.format = format, .width = width, .height = height};
    for (int i = 0; i < 3; i++) {
        const struct plane plane = plane_of(format, width, height, i);
        size += (size_t)plane.width * plane.height * plane.channels;
    }
    uint8_t *next = allocate(size);
    for (int i = 0; i < 3; i++) {
        const struct plane plane = plane_of(format, width, height, i);
        if (plane.width > 0) {
            p->data[i] = next;
            p->stride[i] = (ptrdiff_t)plane.width * plane.channels;
            draw(next, plane.width, plane.height, plane.channels, (uint32_t)i);
            next += (size_t)plane.width * plane.height * plane.channels;
        }
    }
    return size;
}

/* All paths of a dynamic model side by side. */
static void upscale_routed(struct srp_upscaler *up, const struct srp_picture *in,
                           const struct srp_picture *out, uint32_t paths)
{
    const uint32_t columns = (in->width + ROUTED_CELL - 1) / ROUTED_CELL;
    const uint32_t rows = (in->height + ROUTED_CELL - 1) / ROUTED_CELL;
    uint8_t *cells = allocate((size_t)columns * rows);
    for (uint32_t i = 0; i < columns * rows; i++) {
        cells[i] = (uint8_t)(i * 5 / 2 % paths);
    }
    const struct srp_routing routing = {ROUTED_CELL, ROUTED_CELL, cells, NULL};
    struct srp_error err = {0};
    want(srp_upscaler_process_routed(up, in, out, &routing, NULL, &err), &err);
    free(cells);
}

/* ---- the two results of a network ------------------------------------------------------------ */

struct result {
    uint8_t *codes; /* [height][width][channels], the tensor that went in, times 255 */
    size_t code_count;
    float *tensor;
    size_t tensor_size; /* bytes */
    uint8_t *picture;
    size_t picture_size;
};

static void run_tensor(const struct network *n, struct srp_model *model, enum srp_dtype dtype,
                       struct result *r)
{
    struct srp_model_info info;
    struct srp_executor *executor = NULL;
    struct srp_error err = {0};
    srp_model_get_info(model, &info);
    r->code_count = (size_t)n->width * n->height * info.channels;
    r->codes = allocate(r->code_count);
    draw(r->codes, n->width, n->height, info.channels, 0);
    float *in = allocate(r->code_count * sizeof(float));
    for (size_t i = 0; i < r->code_count; i++) {
        in[i] = (float)r->codes[i] / 255.0f;
    }
    r->tensor_size = r->code_count * info.scale * info.scale * sizeof(float);
    r->tensor = allocate(r->tensor_size);
    const struct srp_executor_params params = {model, SRP_BACKEND_NATIVE, n->threads, dtype};
    want(srp_executor_create(&executor, &params, &err), &err);
    want(srp_executor_run(executor, in, n->width, n->height, r->tensor, &err), &err);
    srp_executor_destroy(&executor);
    free(in);
}

static void run_picture(const struct network *n, struct srp_model *model, enum srp_dtype dtype,
                        struct result *r)
{
    struct srp_model_info info;
    struct srp_upscaler *up = NULL;
    struct srp_picture in, out;
    struct srp_error err = {0};
    srp_model_get_info(model, &info);
    make_picture(&in, n->from, n->width, n->height);
    r->picture_size = make_picture(&out, n->to, n->width * info.scale - n->crop,
                                   n->height * info.scale - n->crop);
    r->picture = out.data[0];
    memset(r->picture, 0x55, r->picture_size);
    const struct srp_upscaler_params params = {.model = model,
                                               .backend = SRP_BACKEND_NATIVE,
                                               .threads = n->threads,
                                               .dtype = dtype};
    want(srp_upscaler_create(&up, &params, &err), &err);
    if (info.path_count > 1) {
        upscale_routed(up, &in, &out, info.path_count);
    } else {
        want(srp_upscaler_process(up, SRP_METHOD_SR, &in, &out, &err), &err);
    }
    srp_upscaler_destroy(&up);
    free(in.data[0]);
}

static struct result run(const struct network *n, const char *folder, enum srp_dtype dtype)
{
    struct result r = {0};
    struct srp_model *model = open_model(folder, n);
    run_tensor(n, model, dtype, &r);
    run_picture(n, model, dtype, &r);
    srp_model_unref(&model);
    return r;
}

static void result_free(struct result *r)
{
    free(r->codes), free(r->tensor), free(r->picture);
    *r = (struct result){0};
}

/* ---- commands -------------------------------------------------------------------------------- */

static int check(const char *folder)
{
    int bad = 0;
    for (int i = 0; i < NETWORKS; i++) {
        const struct network *n = &networks[i];
        struct result r = run(n, folder, SRP_DTYPE_INT8);
        const uint64_t tensor = hash_bytes(r.tensor, r.tensor_size);
        const uint64_t picture = hash_bytes(r.picture, r.picture_size);
        if (tensor != n->tensor || picture != n->picture) {
            printf("%s: %s: tensor 0x%016llx, picture 0x%016llx\n", srp_isa(), n->name,
                   (unsigned long long)tensor, (unsigned long long)picture);
            bad++;
        }
        result_free(&r);
    }
    if (bad == 0) {
        printf("%s: networks ok\n", srp_isa());
    }
    return bad > 0;
}

static int list(const char *folder)
{
    for (int i = 0; i < NETWORKS; i++) {
        const struct network *n = &networks[i];
        struct srp_model *model = open_model(folder, n);
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        printf("%s %s %u %u %u %u %016llx %016llx\n", n->name, n->general ? "general" : "random",
               n->width, n->height, info.channels, info.scale, (unsigned long long)n->tensor,
               (unsigned long long)n->picture);
        srp_model_unref(&model);
    }
    return 0;
}

static int write_all(const char *name, const char *folder, const char *to)
{
    enum srp_dtype dtype;
    if (srp_dtype_from_name(&dtype, name) != SRP_OK) {
        fprintf(stderr, "%s is no dtype\n", name);
        return 2;
    }
    for (int i = 0; i < NETWORKS; i++) {
        const struct network *n = &networks[i];
        struct result r = run(n, folder, dtype);
        write_file(to, n, "codes", r.codes, r.code_count);
        write_file(to, n, "tensor", r.tensor, r.tensor_size);
        write_file(to, n, "picture", r.picture, r.picture_size);
        result_free(&r);
    }
    puts(srp_isa());
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "check") == 0) {
        return check(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "list") == 0) {
        return list(argv[2]);
    }
    if (argc == 5 && strcmp(argv[1], "write") == 0) {
        return write_all(argv[2], argv[3], argv[4]);
    }
    fputs("usage: aid_whole check MODELS | list MODELS | write DTYPE MODELS FOLDER\n", stderr);
    return 2;
}
