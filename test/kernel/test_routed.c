/* SPDX-License-Identifier: BSD-2-Clause */
/* A path for each cell: every pixel is that of the whole picture by its own path, whatever the
 * cells, the colours, the formats and the threads; what has not changed is not computed again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/upscaler.h>

#include "exec/cells.h"
#include "kernel/noise.h"

#define HEAD(scale, colour)                                                                        \
    "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"dynamic\",\"scale\":" #scale                  \
    ",\"colour\":\"" colour "\",\"mean\":0.5,\"input\":\"x\",\"output\":\"y\",\"nodes\":["
#define CONV(in, out, channels, size)                                                             \
    "{\"op\":\"conv2d\",\"name\":\"c" out "\",\"inputs\":[\"" in "\"],\"output\":\"" out              \
    "\",\"channels\":" #channels ",\"kernel\":[" #size "," #size "],\"activation\":\"relu\"},"
#define TAIL(in, out, channels)                                                                   \
    "{\"op\":\"conv2d\",\"name\":\"c" out "\",\"inputs\":[\"" in "\"],\"output\":\"" out              \
    "\",\"channels\":" #channels ",\"kernel\":[3,3]},"
#define SHUFFLE(in, out, block)                                                                   \
    "{\"op\":\"depth_to_space\",\"name\":\"s" out "\",\"inputs\":[\"" in "\"],\"output\":\"" out       \
    "\",\"block\":" #block "},"
#define RESIZE(out, scale, mode)                                                                  \
    "{\"op\":\"resize\",\"name\":\"r" out "\",\"inputs\":[\"x\"],\"output\":\"" out "\",\"scale\":"  \
    #scale ",\"mode\":\"" mode "\"},"
#define SUM(a, b, out)                                                                            \
    "{\"op\":\"add\",\"name\":\"a" out "\",\"inputs\":[\"" a "\",\"" b "\"],\"output\":\"" out "\"},"
#define ROUTE                                                                                     \
    "{\"op\":\"route\",\"name\":\"route\",\"inputs\":[\"y0\",\"y1\",\"y2\"],\"output\":\"y\","       \
    "\"default\":1}]}"

/* Paths that share a head, paths of their own, a base of each kind, tails that fuse and one that
 * does not. */
static const char *const networks[] = {
    HEAD(2, "y") CONV("x", "h", 8, 3) TAIL("h", "t", 4) SHUFFLE("t", "d", 2) RESIZE("b", 2, "bicubic")
        SUM("d", "b", "y1") RESIZE("y0", 2, "bicubic") CONV("h", "i", 8, 5) TAIL("i", "u", 4)
        SHUFFLE("u", "e", 2) RESIZE("f", 2, "bicubic") SUM("e", "f", "y2") ROUTE,
    HEAD(3, "y") RESIZE("y0", 3, "bilinear") CONV("x", "h", 5, 3) TAIL("h", "t", 9)
        SHUFFLE("t", "y1", 3) TAIL("h", "u", 9) SHUFFLE("u", "e", 3) RESIZE("f", 3, "nearest")
        SUM("f", "e", "y2") ROUTE,
    HEAD(4, "rgb") RESIZE("y0", 4, "bicubic") TAIL("x", "t", 48) SHUFFLE("t", "y1", 4)
        CONV("x", "h", 8, 3) TAIL("h", "u", 48) SHUFFLE("u", "e", 4) RESIZE("f", 4, "bicubic")
        SUM("e", "f", "y2") ROUTE,
    HEAD(3, "rgb") RESIZE("y0", 3, "bicubic") TAIL("x", "t", 27) SHUFFLE("t", "y1", 3)
        CONV("x", "h", 8, 3) TAIL("h", "u", 27) SHUFFLE("u", "e", 3) RESIZE("f", 3, "bicubic")
        SUM("e", "f", "y2") ROUTE,
    HEAD(1, "y") RESIZE("y0", 1, "bicubic") CONV("x", "h", 4, 3) TAIL("h", "t", 1)
        SUM("t", "x", "y1") TAIL("h", "u", 1) SUM("x", "u", "y2") ROUTE,
    HEAD(2, "yuv420") RESIZE("y0", 2, "bicubic") TAIL("x", "t", 24) SHUFFLE("t", "y1", 2)
        CONV("x", "h", 8, 3) TAIL("h", "u", 24) SHUFFLE("u", "e", 2) RESIZE("f", 2, "bicubic")
        SUM("e", "f", "y2") ROUTE,
};
#define NETWORKS (sizeof(networks) / sizeof(networks[0]))
#define PATHS 3u

static struct srp_model *model_from(const char *json)
{
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    const struct srp_blob blob = {.data = json, .size = strlen(json), .name = "graph"};
    if (srp_model_create_random(&model, &blob, 3, &err) != SRP_OK) {
        fail_msg("%s\n%s", err.detail, json);
    }
    return model;
}

static struct srp_upscaler *upscaler_of(struct srp_model *model, enum srp_dtype dtype,
                                        enum srp_backend backend, uint32_t threads)
{
    struct srp_upscaler *up = NULL;
    struct srp_error err = {0};
    const struct srp_upscaler_params params = {
        .model = model, .threads = threads, .dtype = dtype, .backend = backend};
    if (srp_upscaler_create(&up, &params, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    return up;
}

/* ---- pictures -------------------------------------------------------------------------------- */

static size_t picture_size(enum srp_format format, uint32_t width, uint32_t height)
{
    const size_t half = (size_t)(width + 1) / 2 * ((height + 1) / 2);
    const size_t pixels = (size_t)width * height;
    return format == SRP_FORMAT_RGB ? 3 * pixels : format == SRP_FORMAT_BGRA ? 4 * pixels
                                                                             : pixels + 2 * half;
}

static struct srp_picture picture_of(enum srp_format format, uint32_t width, uint32_t height)
{
    const size_t step = format == SRP_FORMAT_RGB ? 3 : format == SRP_FORMAT_BGRA ? 4 : 1;
    const size_t half = (size_t)(width + 1) / 2;
    struct srp_picture p = {.format = format, .width = width, .height = height};
    p.data[0] = malloc(picture_size(format, width, height));
    assert_non_null(p.data[0]);
    memset(p.data[0], 77, picture_size(format, width, height));
    p.data[1] = p.data[0] + (size_t)width * height;
    p.data[2] = p.data[1] + half * ((height + 1) / 2);
    p.stride[0] = (ptrdiff_t)(width * step);
    p.stride[1] = (ptrdiff_t)(format == SRP_FORMAT_NV12 ? 2 * half : half);
    p.stride[2] = (ptrdiff_t)half;
    return p;
}

static void fill(const struct srp_picture *p, uint32_t seed)
{
    const size_t size = picture_size(p->format, p->width, p->height);
    for (size_t i = 0; i < size; i++) {
        p->data[0][i] = (uint8_t)(100 + noise(&seed) % 60 + (i / 13 % 2) * 40);
    }
}

/* Fails where a differs from b in a region by more than `most`. */
static void check_region(const struct srp_picture *a, const struct srp_picture *b,
                         const struct srp_region *r, int most, const char *what)
{
    const uint32_t planes = a->format == SRP_FORMAT_YUV420 ? 3 : a->format == SRP_FORMAT_NV12 ? 2 : 1;
    for (uint32_t plane = 0; plane < planes; plane++) {
        const bool half = plane > 0;
        const size_t step = a->format == SRP_FORMAT_RGB    ? 3
                            : a->format == SRP_FORMAT_BGRA ? 4
                            : half && planes == 2          ? 2
                                                           : 1;
        const uint32_t left = half ? r->x / 2 : r->x, top = half ? r->y / 2 : r->y;
        const uint32_t right = half ? (r->x + r->width + 1) / 2 : r->x + r->width;
        const uint32_t bottom = half ? (r->y + r->height + 1) / 2 : r->y + r->height;
        for (uint32_t y = top; y < bottom; y++) {
            const uint8_t *one = a->data[plane] + (ptrdiff_t)y * a->stride[plane];
            const uint8_t *other = b->data[plane] + (ptrdiff_t)y * b->stride[plane];
            for (size_t x = left * step; x < right * step; x++) {
                if (abs(one[x] - other[x]) > most) {
                    fail_msg("%s: plane %u, row %u, byte %zu: %d and %d", what, plane, y, x, one[x],
                             other[x]);
                }
            }
        }
    }
}

/* ---- routings -------------------------------------------------------------------------------- */

struct scene {
    struct srp_model *model;
    enum srp_dtype dtype;
    enum srp_backend backend;
    uint32_t scale, threads, width, height, cell_width, cell_height;
    enum srp_format in_format, out_format;
    enum srp_chroma chroma;
    uint32_t seed;
    char text[160];
};

static struct srp_picture scene_picture(const struct scene *s, enum srp_format format,
                                        uint32_t width, uint32_t height)
{
    struct srp_picture picture = picture_of(format, width, height);
    picture.chroma = s->chroma;
    return picture;
}

static struct srp_region out_region(const struct scene *s, const struct srpi_cells *cells,
                                    uint32_t x, uint32_t y)
{
    struct srp_region r = srpi_cell_region(cells, x, y);
    r.x *= s->scale;
    r.y *= s->scale;
    r.width *= s->scale;
    r.height *= s->scale;
    return r;
}

static void check_scene(const struct scene *s)
{
    struct srp_error err = {0};
    struct srpi_cells cells;
    const struct srp_picture in = scene_picture(s, s->in_format, s->width, s->height);
    const uint32_t ow = s->width * s->scale, oh = s->height * s->scale;
    struct srp_picture by[PATHS], out = scene_picture(s, s->out_format, ow, oh);
    const struct srp_picture next = scene_picture(s, s->out_format, ow, oh);
    uint32_t seed = s->seed;
    fill(&in, seed);
    assert_int_equal(srpi_cells_init(&cells, &in, s->cell_width, s->cell_height, &err), SRP_OK);
    const uint32_t count = cells.columns * cells.rows;
    uint8_t *paths = malloc(count);
    assert_non_null(paths);

    for (uint32_t p = 0; p < PATHS; p++) {
        struct srp_model *path = srp_model_path(s->model, p);
        struct srp_upscaler *whole = upscaler_of(path, s->dtype, s->backend, 1);
        by[p] = scene_picture(s, s->out_format, ow, oh);
        assert_int_equal(srp_upscaler_process(whole, SRP_METHOD_SR, &in, &by[p], &err), SRP_OK);
        srp_upscaler_destroy(&whole);
        srp_model_unref(&path);
    }
    struct srp_upscaler *up = upscaler_of(s->model, s->dtype, s->backend, s->threads);
    struct srp_routing routing = {
        .cell_width = s->cell_width, .cell_height = s->cell_height, .paths = paths};
    struct srp_routing_stats stats;
    /* In f32 a sum may take another order in a region than in the picture. */
    const int most = s->dtype == SRP_DTYPE_F32 && s->backend != SRP_BACKEND_REFERENCE ? 1 : 0;
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < count; i++) {
            paths[i] = (uint8_t)(round < PATHS ? round : noise(&seed) % PATHS);
        }
        if (srp_upscaler_process_routed(up, &in, &out, &routing, &stats, &err) != SRP_OK) {
            fail_msg("%s: %s", s->text, err.detail);
        }
        uint64_t pixels = 0;
        for (uint32_t p = 0; p < PATHS; p++) {
            pixels += stats.pixels[p];
        }
        assert_int_equal(pixels, (uint64_t)s->width * s->height);
        assert_int_equal(stats.cells[0] + stats.cells[1] + stats.cells[2], count);
        for (uint32_t i = 0; i < count; i++) {
            const struct srp_region r = out_region(s, &cells, i % cells.columns, i / cells.columns);
            check_region(&by[paths[i]], &out, &r, most, s->text);
        }
    }

    /* The same again: nothing is computed, and the picture is the one before. */
    routing.previous = &out;
    assert_int_equal(srp_upscaler_process_routed(up, &in, &next, &routing, &stats, &err), SRP_OK);
    assert_int_equal(stats.reused, count);
    assert_int_equal(stats.pixels[0] + stats.pixels[1] + stats.pixels[2], 0);
    assert_memory_equal(out.data[0], next.data[0], picture_size(s->out_format, ow, oh));

    /* Another path in one cell, and another pixel somewhere: as without a picture before. */
    paths[noise(&seed) % count] ^= 1;
    for (uint32_t i = 0; i < count; i++) {
        paths[i] = paths[i] < PATHS ? paths[i] : 0;
    }
    in.data[0][noise(&seed) % ((size_t)s->width * s->height)] ^= 0x55;
    routing.previous = &next;
    assert_int_equal(srp_upscaler_process_routed(up, &in, &out, &routing, &stats, &err), SRP_OK);
    if (stats.reused == count) {
        fail_msg("%s: a changed picture was reused as a whole", s->text);
    }
    routing.previous = NULL;
    assert_int_equal(srp_upscaler_process_routed(up, &in, &next, &routing, &stats, &err), SRP_OK);
    assert_int_equal(stats.reused, 0);
    const struct srp_region all = {.width = ow, .height = oh};
    check_region(&out, &next, &all, most, s->text);

    srp_upscaler_destroy(&up);
    for (uint32_t p = 0; p < PATHS; p++) {
        free(by[p].data[0]);
    }
    free(in.data[0]);
    free(out.data[0]);
    free(next.data[0]);
    free(paths);
}

static void cells_by_their_paths(void **state)
{
    (void)state;
    static const enum srp_format formats[] = {SRP_FORMAT_YUV420, SRP_FORMAT_NV12, SRP_FORMAT_RGB,
                                              SRP_FORMAT_BGRA};
    static const struct {
        enum srp_dtype dtype;
        enum srp_backend backend;
    } ways[] = {{SRP_DTYPE_INT8, SRP_BACKEND_NATIVE},
                {SRP_DTYPE_F32, SRP_BACKEND_NATIVE},
                {SRP_DTYPE_F32, SRP_BACKEND_REFERENCE}};
    uint32_t seed = 11;
    for (size_t n = 0; n < NETWORKS; n++) {
        struct srp_model *model = model_from(networks[n]);
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        assert_int_equal(info.path_count, PATHS);
        assert_int_equal(info.default_path, 1);
        for (uint32_t round = 0; round < 24; round++) {
            struct scene s = {.model = model,
                              .dtype = ways[round % 3].dtype,
                              .backend = ways[round % 3].backend,
                              .scale = info.scale,
                              .threads = 1 + noise(&seed) % 4,
                              .width = 1 + noise(&seed) % 90,
                              .height = 1 + noise(&seed) % 70,
                              .cell_width = 8 + 2 * (noise(&seed) % 12),
                              .cell_height = 8 + 2 * (noise(&seed) % 12),
                              .in_format = formats[noise(&seed) % 4],
                              .out_format = formats[noise(&seed) % 4],
                              .chroma = (enum srp_chroma)(noise(&seed) % 3),
                              .seed = seed};
            snprintf(s.text, sizeof(s.text),
                     "network %zu, %ux%u, cells %ux%u, format %d to %d, chroma %d, dtype %d, "
                     "backend %d, %u threads",
                     n, s.width, s.height, s.cell_width, s.cell_height, s.in_format, s.out_format,
                     (int)s.chroma, s.dtype, s.backend, s.threads);
            check_scene(&s);
        }
        srp_model_unref(&model);
    }
}

/* More regions of each path than are run at a time. */
static void many_regions(void **state)
{
    (void)state;
    struct srp_model *model = model_from(networks[2]);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        const struct scene s = {.model = model,
                                .dtype = SRP_DTYPE_INT8,
                                .backend = SRP_BACKEND_NATIVE,
                                .scale = 4,
                                .threads = threads,
                                .width = 402,
                                .height = 254,
                                .cell_width = 8,
                                .cell_height = 8,
                                .in_format = SRP_FORMAT_YUV420,
                                .out_format = SRP_FORMAT_YUV420,
                                .seed = threads,
                                .text = "many regions"};
        check_scene(&s);
    }
    srp_model_unref(&model);
}

/* Every cell of a value is in exactly one rectangle, and rectangles do not reach beyond. */
static void cells_merge(void **state)
{
    (void)state;
    uint32_t seed = 5;
    for (uint32_t round = 0; round < 200; round++) {
        struct srp_error err = {0};
        struct srpi_cells cells;
        const struct srp_picture picture = {.format = SRP_FORMAT_YUV420,
                                            .width = 1 + noise(&seed) % 120,
                                            .height = 1 + noise(&seed) % 120};
        assert_int_equal(srpi_cells_init(&cells, &picture, 8 + 2 * (noise(&seed) % 4), 8, &err),
                         SRP_OK);
        const uint32_t count = cells.columns * cells.rows;
        uint8_t values[16 * 16], covered[128 * 128] = {0};
        struct srp_region regions[16 * 16];
        assert_true(count <= sizeof(values));
        for (uint32_t i = 0; i < count; i++) {
            values[i] = (uint8_t)(noise(&seed) % 8 < round % 8);
        }
        const uint32_t n = srpi_cells_merge(&cells, values, 1, regions);
        for (uint32_t r = 0; r < n; r++) {
            for (uint32_t y = regions[r].y; y < regions[r].y + regions[r].height; y++) {
                for (uint32_t x = regions[r].x; x < regions[r].x + regions[r].width; x++) {
                    assert_int_equal(covered[y * 128 + x]++, 0);
                }
            }
            assert_true(r == 0 || regions[r].width * regions[r].height <=
                                      regions[r - 1].width * regions[r - 1].height);
        }
        for (uint32_t y = 0; y < picture.height; y++) {
            for (uint32_t x = 0; x < picture.width; x++) {
                const uint32_t i = y / cells.cell_height * cells.columns + x / cells.cell_width;
                assert_int_equal(covered[y * 128 + x], values[i]);
            }
        }
        if (round % 8 == 7 && memchr(values, 0, count) == NULL) {
            assert_int_equal(n, 1); /* the whole picture is one */
        }
    }
}

static void refusals(void **state)
{
    (void)state;
    struct srp_error err = {0};
    struct srp_model *model = model_from(networks[0]);
    struct srp_upscaler *up = upscaler_of(model, SRP_DTYPE_F32, SRP_BACKEND_AUTO, 1);
    const struct srp_picture in = picture_of(SRP_FORMAT_YUV420, 20, 20);
    const struct srp_picture out = picture_of(SRP_FORMAT_YUV420, 40, 40);
    uint8_t paths[9] = {0};
    struct srp_routing routing = {.cell_width = 8, .cell_height = 8, .paths = paths};
    static const uint32_t sizes[] = {0, 6, 9, 1026, UINT32_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct srp_routing bad = routing;
        bad.cell_width = sizes[i];
        assert_int_equal(srp_upscaler_process_routed(up, &in, &out, &bad, NULL, &err),
                         SRP_ERR_USAGE);
        bad = routing;
        bad.cell_height = sizes[i];
        assert_int_equal(srp_upscaler_process_routed(up, &in, &out, &bad, NULL, &err),
                         SRP_ERR_USAGE);
    }
    paths[8] = 3;
    assert_int_equal(srp_upscaler_process_routed(up, &in, &out, &routing, NULL, &err),
                     SRP_ERR_USAGE);
    assert_non_null(strstr(err.detail, "path 3 of 3"));
    paths[8] = 2;
    assert_int_equal(srp_upscaler_process_routed(up, &in, &out, &routing, NULL, &err), SRP_OK);
    assert_int_equal(srp_upscaler_process_routed(up, &in, &out, NULL, NULL, &err), SRP_ERR_USAGE);
    assert_int_equal(srp_upscaler_set_model(up, NULL, &err), SRP_OK);
    assert_int_equal(srp_upscaler_process_routed(up, &in, &out, &routing, NULL, &err),
                     SRP_ERR_USAGE);
    /* A path is a model of its own, and holds the whole. */
    struct srp_model *path = srp_model_path(model, 2);
    assert_non_null(path);
    assert_null(srp_model_path(model, 3));
    srp_model_unref(&model);
    assert_int_equal(srp_upscaler_set_model(up, path, &err), SRP_OK);
    srp_model_unref(&path);
    assert_int_equal(srp_upscaler_process(up, SRP_METHOD_SR, &in, &out, &err), SRP_OK);
    srp_upscaler_destroy(&up);
    free(in.data[0]);
    free(out.data[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_merge),
        cmocka_unit_test(cells_by_their_paths),
        cmocka_unit_test(many_regions),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
