/* SPDX-License-Identifier: BSD-2-Clause */
/* Pictures in, pictures out: every format, odd sizes, strides of both signs between guard pages,
 * crops,
 * thread counts, fused and unfused tails, and no allocation once a size is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <srp/upscaler.h>

#include "exec/upscaler.h"
#include "kernel/noise.h"

/* ---- counting allocations -------------------------------------------------------------------- */

static atomic_ulong allocations;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifndef SANITIZED /* sanitizers bring their own malloc */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}
#endif

/* ---- networks -------------------------------------------------------------------------------- */

#define HEAD(name, scale, colour, mean)                                                           \
    "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"" name "\",\"scale\":" #scale               \
    ",\"colour\":\"" colour "\",\"mean\":" #mean ",\"input\":\"x\",\"output\":\"y\",\"nodes\":["
#define CONV(in, out, channels, act)                                                              \
    "{\"op\":\"conv2d\",\"name\":\"c" out "\",\"inputs\":[\"" in "\"],\"output\":\"" out              \
    "\",\"channels\":" #channels ",\"kernel\":[3,3],\"activation\":\"" act "\"},"
#define SHUFFLE(in, out, block)                                                                   \
    "{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"" in "\"],\"output\":\"" out             \
    "\",\"block\":" #block "}"
#define BASE(scale, mode)                                                                         \
    ",{\"op\":\"resize\",\"name\":\"b\",\"inputs\":[\"x\"],\"output\":\"b\",\"scale\":" #scale        \
    ",\"mode\":\"" mode "\"}"
#define SUM(a, b)                                                                                 \
    ",{\"op\":\"add\",\"name\":\"sum\",\"inputs\":[\"" a "\",\"" b "\"],\"output\":\"y\"}"

static const struct {
    const char *json;
    bool fuses;
} networks[] = {
    {HEAD("y4", 4, "y", 0.5) CONV("x", "h", 5, "relu") CONV("h", "t", 16, "none")
         SHUFFLE("t", "d", 4) BASE(4, "bicubic") SUM("d", "b") "]}",
     true},
    {HEAD("y3", 3, "y", 0) CONV("x", "t", 9, "tanh") SHUFFLE("t", "d", 3)
         BASE(3, "bilinear") SUM("b", "d") "]}",
     true},
    {HEAD("y2", 2, "y", 0.5) CONV("x", "t", 4, "none") SHUFFLE("t", "y", 2) "]}", true},
    {HEAD("y2n", 2, "y", 0.5) CONV("x", "t", 4, "none") SHUFFLE("t", "d", 2)
         BASE(2, "nearest") SUM("d", "b") "]}",
     true},
    {HEAD("y1", 1, "y", 0) CONV("x", "h", 3, "relu")
         "{\"op\":\"conv2d\",\"name\":\"l\",\"inputs\":[\"h\"],\"output\":\"t\",\"channels\":1,"
         "\"kernel\":[1,1]}" SUM("t", "x") "]}",
     false},
    {HEAD("rgb2", 2, "rgb", 0.45) CONV("x", "t", 12, "none") SHUFFLE("t", "d", 2)
         BASE(2, "bicubic") SUM("d", "b") "]}",
     true},
    {HEAD("rgb4", 4, "rgb", 0.45) CONV("x", "t", 48, "none") CONV("x", "u", 48, "none")
         "{\"op\":\"add\",\"name\":\"two\",\"inputs\":[\"t\",\"u\"],\"output\":\"v\"},"
         SHUFFLE("v", "y", 4) "]}",
     true},
    {HEAD("planes2", 2, "yuv420", 0.5) CONV("x", "t", 24, "none") SHUFFLE("t", "d", 2)
         BASE(2, "bicubic") SUM("d", "b") "]}",
     false},
};
#define NETWORKS (sizeof(networks) / sizeof(networks[0]))

static struct srp_model *model_from(const char *json)
{
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    const struct srp_blob blob = {.data = json, .size = strlen(json), .name = "graph"};
    if (srp_model_create_random(&model, &blob, 1, &err) != SRP_OK) {
        fail_msg("%s\n%s", err.detail, json);
    }
    return model;
}

static struct srp_upscaler *upscaler(struct srp_model *model, uint32_t scale, uint32_t threads,
                                     enum srp_backend backend)
{
    struct srp_upscaler *up = NULL;
    struct srp_error err = {0};
    const struct srp_upscaler_params params = {
        .model = model, .scale = scale, .threads = threads, .backend = backend};
    if (srp_upscaler_create(&up, &params, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    return up;
}

/* ---- pictures between guard pages ------------------------------------------------------------ */

enum layout { DENSE = 0, PADDED, FLIPPED, LAYOUTS };

struct canvas {
    struct srp_picture picture;
    void *map[3];
    size_t map_size[3];
    uint32_t planes, row[3], rows[3];
};

/* Each plane ends right before an inaccessible page, or, flipped, begins right behind one. */
static void canvas_init(struct canvas *c, enum srp_format format, uint32_t width, uint32_t height,
                        enum layout layout)
{
    memset(c, 0, sizeof(*c));
    const uint32_t half_width = (width + 1) / 2, half_height = (height + 1) / 2;
    c->picture.format = format;
    c->picture.width = width;
    c->picture.height = height;
    c->planes = format == SRP_FORMAT_YUV420 ? 3 : format == SRP_FORMAT_NV12 ? 2 : 1;
    for (uint32_t p = 0; p < c->planes; p++) {
        c->rows[p] = p == 0 ? height : half_height;
        c->row[p] = format == SRP_FORMAT_RGB    ? 3 * width
                    : format == SRP_FORMAT_BGRA ? 4 * width
                    : p == 0                    ? width
                    : format == SRP_FORMAT_NV12 ? 2 * half_width
                                                : half_width;
        const size_t stride = c->row[p] + (layout == PADDED ? 13 : 0);
        const size_t size = stride * (c->rows[p] - 1) + c->row[p];
        const size_t pages = (size + 4095) / 4096 * 4096;
        c->map_size[p] = pages + 2 * 4096;
        uint8_t *map = mmap(NULL, c->map_size[p], PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(map != MAP_FAILED);
        assert_int_equal(mprotect(map, 4096, PROT_NONE), 0);
        assert_int_equal(mprotect(map + 4096 + pages, 4096, PROT_NONE), 0);
        c->map[p] = map;
        if (layout == FLIPPED) {
            c->picture.data[p] = map + 4096 + stride * (c->rows[p] - 1);
            c->picture.stride[p] = -(ptrdiff_t)stride;
        } else {
            c->picture.data[p] = map + 4096 + pages - size;
            c->picture.stride[p] = (ptrdiff_t)stride;
        }
    }
}

static void canvas_free(struct canvas *c)
{
    for (uint32_t p = 0; p < c->planes; p++) {
        munmap(c->map[p], c->map_size[p]);
    }
}

static uint8_t *canvas_row(const struct canvas *c, uint32_t plane, uint32_t y)
{
    return c->picture.data[plane] + (ptrdiff_t)y * c->picture.stride[plane];
}

static void canvas_paint(struct canvas *c, uint32_t seed)
{
    for (uint32_t p = 0; p < c->planes; p++) {
        for (uint32_t y = 0; y < c->rows[p]; y++) {
            for (uint32_t x = 0; x < c->row[p]; x++) {
                canvas_row(c, p, y)[x] = (uint8_t)noise(&seed);
            }
        }
    }
}

static int canvas_difference(const struct canvas *a, const struct canvas *b)
{
    int most = 0;
    for (uint32_t p = 0; p < a->planes; p++) {
        for (uint32_t y = 0; y < a->rows[p]; y++) {
            for (uint32_t x = 0; x < a->row[p]; x++) {
                const int d = abs((int)canvas_row(a, p, y)[x] - (int)canvas_row(b, p, y)[x]);
                most = d > most ? d : most;
            }
        }
    }
    return most;
}

static void process(struct srp_upscaler *up, enum srp_method method, const struct canvas *in,
                    const struct canvas *out)
{
    struct srp_error err = {0};
    if (srp_upscaler_process(up, method, &in->picture, &out->picture, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
}

static const enum srp_format formats[] = {SRP_FORMAT_YUV420, SRP_FORMAT_NV12, SRP_FORMAT_RGB,
                                          SRP_FORMAT_BGRA};
static const uint32_t sizes[][2] = {{1, 1}, {17, 31}, {2, 3}, {40, 9}};

/* One network and pair of formats: all of these must give the same bytes. */
static void check_same(struct srp_model *model, uint32_t scale, bool fuses, enum srp_method method,
                       enum srp_format from, enum srp_format to)
{
    const bool sr = method == SRP_METHOD_SR;
    struct srp_upscaler *one = upscaler(sr ? model : NULL, scale, 1, SRP_BACKEND_AUTO);
    struct srp_upscaler *two = upscaler(sr ? model : NULL, scale, 2, SRP_BACKEND_AUTO);
    struct srp_upscaler *five = upscaler(sr ? model : NULL, scale, 5, SRP_BACKEND_AUTO);
    struct srp_upscaler *plain = upscaler(sr ? model : NULL, scale, 2, SRP_BACKEND_AUTO);
    if (sr) {
        assert_int_equal(srpi_upscaler_set_fused(plain, false, NULL), SRP_OK);
    }
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        const uint32_t w = sizes[s][0], h = sizes[s][1];
        const uint32_t crop_x = (uint32_t)s % 3, crop_y = (uint32_t)s % 2;
        const uint32_t ow = w * scale > crop_x ? w * scale - crop_x : 1;
        const uint32_t oh = h * scale > crop_y ? h * scale - crop_y : 1;
        struct canvas in[LAYOUTS], out[LAYOUTS], unfused;
        for (enum layout l = DENSE; l < LAYOUTS; l++) {
            canvas_init(&in[l], from, w, h, l);
            canvas_init(&out[l], to, ow, oh, l);
            in[l].picture.chroma = out[l].picture.chroma = (enum srp_chroma)(s % 3);
            canvas_paint(&in[l], 5);
        }
        canvas_init(&unfused, to, ow, oh, DENSE);
        unfused.picture.chroma = out[0].picture.chroma;
        process(one, method, &in[DENSE], &out[DENSE]);
        process(two, method, &in[PADDED], &out[PADDED]);
        process(five, method, &in[FLIPPED], &out[FLIPPED]);
        process(plain, method, &in[DENSE], &unfused);
        assert_int_equal(canvas_difference(&out[DENSE], &out[PADDED]), 0);
        assert_int_equal(canvas_difference(&out[DENSE], &out[FLIPPED]), 0);
        const int difference = canvas_difference(&out[DENSE], &unfused);
        if (difference > (fuses ? 1 : 0)) {
            fail_msg("%ux%u, format %d to %d, scale %u: fused and unfused differ by %d", w, h,
                     (int)from, (int)to, scale, difference);
        }
        for (enum layout l = DENSE; l < LAYOUTS; l++) {
            canvas_free(&in[l]), canvas_free(&out[l]);
        }
        canvas_free(&unfused);
    }
    srp_upscaler_destroy(&one), srp_upscaler_destroy(&two);
    srp_upscaler_destroy(&five), srp_upscaler_destroy(&plain);
}

static void test_formats(void **state)
{
    (void)state;
    for (size_t n = 0; n < NETWORKS; n++) {
        struct srp_model *model = model_from(networks[n].json);
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        for (size_t from = 0; from < 4; from++) {
            for (size_t to = 0; to < 4; to++) {
                check_same(model, info.scale, networks[n].fuses, SRP_METHOD_SR, formats[from],
                           formats[to]);
            }
        }
        srp_model_unref(&model);
    }
    for (uint32_t scale = 1; scale <= 4; scale++) {
        for (size_t from = 0; from < 4; from++) {
            for (size_t to = 0; to < 4; to++) {
                check_same(NULL, scale, false, SRP_METHOD_BICUBIC, formats[from], formats[to]);
                check_same(NULL, scale, false, SRP_METHOD_LANCZOS, formats[from], formats[to]);
            }
        }
    }
}

/* A network that only enlarges must equal the base upscaler. */
static void test_against_base(void **state)
{
    (void)state;
    static const char *const graphs[] = {HEAD("e", 3, "y", 0.5) "{\"op\":\"resize\",\"name\":\"b\","
                                         "\"inputs\":[\"x\"],\"output\":\"y\",\"scale\":3,"
                                         "\"mode\":\"bicubic\"}]}",
                                         HEAD("f", 2, "rgb", 0.5) "{\"op\":\"resize\",\"name\":\"b\","
                                         "\"inputs\":[\"x\"],\"output\":\"y\",\"scale\":2,"
                                         "\"mode\":\"bicubic\"}]}",
                                         HEAD("g", 1, "yuv420", 0.5)
                                         "{\"op\":\"resize\",\"name\":\"b\",\"inputs\":[\"x\"],"
                                         "\"output\":\"y\",\"scale\":1,\"mode\":\"nearest\"}]}"};
    for (size_t g = 0; g < 3; g++) {
        struct srp_model *model = model_from(graphs[g]);
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        struct srp_upscaler *up = upscaler(model, 0, 2, SRP_BACKEND_AUTO);
        for (size_t k = 0; k < 4; k++) {
            const bool rgb = formats[k] == SRP_FORMAT_RGB || formats[k] == SRP_FORMAT_BGRA;
            if (rgb != (g == 1)) {
                continue; /* only where the network's space is the picture's own */
            }
            struct canvas in, a, b;
            canvas_init(&in, formats[k], 37, 21, DENSE);
            canvas_init(&a, formats[k], 37 * info.scale, 21 * info.scale, DENSE);
            canvas_init(&b, formats[k], 37 * info.scale, 21 * info.scale, DENSE);
            canvas_paint(&in, 8);
            process(up, SRP_METHOD_SR, &in, &a);
            process(up, SRP_METHOD_BICUBIC, &in, &b);
            assert_true(canvas_difference(&a, &b) <= 1);
            if (info.scale == 1) {
                assert_int_equal(canvas_difference(&a, &in),
                                 formats[k] == SRP_FORMAT_BGRA ? 255 : 0);
            }
            canvas_free(&in), canvas_free(&a), canvas_free(&b);
        }
        srp_upscaler_destroy(&up);
        srp_model_unref(&model);
    }
}

/* Cropping changes nothing in what remains; NV12 is YUV420 in another order. */
static void test_crop_and_nv12(void **state)
{
    (void)state;
    struct srp_model *model = model_from(networks[0].json);
    struct srp_upscaler *up = upscaler(model, 0, 2, SRP_BACKEND_AUTO);
    struct canvas in, nv12, whole, crop, other;
    canvas_init(&in, SRP_FORMAT_YUV420, 19, 13, DENSE);
    canvas_init(&nv12, SRP_FORMAT_NV12, 19, 13, DENSE);
    canvas_init(&whole, SRP_FORMAT_YUV420, 76, 52, DENSE);
    canvas_init(&crop, SRP_FORMAT_YUV420, 71, 49, PADDED);
    canvas_init(&other, SRP_FORMAT_NV12, 76, 52, DENSE);
    canvas_paint(&in, 3);
    memcpy(nv12.picture.data[0], in.picture.data[0], 19 * 13);
    for (uint32_t i = 0; i < 10 * 7; i++) {
        nv12.picture.data[1][2 * i] = in.picture.data[1][i];
        nv12.picture.data[1][2 * i + 1] = in.picture.data[2][i];
    }
    process(up, SRP_METHOD_SR, &in, &whole);
    process(up, SRP_METHOD_SR, &in, &crop);
    process(up, SRP_METHOD_SR, &nv12, &other);
    for (uint32_t p = 0; p < 3; p++) {
        for (uint32_t y = 0; y < crop.rows[p]; y++) {
            assert_memory_equal(canvas_row(&crop, p, y), canvas_row(&whole, p, y), crop.row[p]);
        }
    }
    assert_memory_equal(other.picture.data[0], whole.picture.data[0], 76 * 52);
    for (uint32_t i = 0; i < 38 * 26; i++) {
        assert_int_equal(other.picture.data[1][2 * i], whole.picture.data[1][i]);
        assert_int_equal(other.picture.data[1][2 * i + 1], whole.picture.data[2][i]);
    }
    canvas_free(&in), canvas_free(&nv12), canvas_free(&whole), canvas_free(&crop);
    canvas_free(&other);
    srp_upscaler_destroy(&up);
    srp_model_unref(&model);
}

static void check_no_allocation(enum srp_backend backend)
{
    for (size_t n = 0; n < NETWORKS; n++) {
        struct srp_model *model = model_from(networks[n].json);
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        struct srp_upscaler *up = upscaler(model, 0, 2, backend);
        for (size_t k = 0; k < 4; k++) {
            struct canvas in, out;
            canvas_init(&in, formats[k], 33, 18, DENSE);
            canvas_init(&out, formats[3 - k], 33 * info.scale, 18 * info.scale, DENSE);
            canvas_paint(&in, 6);
            process(up, SRP_METHOD_SR, &in, &out);
            const unsigned long before = atomic_load(&allocations);
#ifndef SANITIZED
            assert_true(before > 0);
#endif
            for (int frame = 0; frame < 3; frame++) {
                process(up, SRP_METHOD_SR, &in, &out);
                process(up, SRP_METHOD_BICUBIC, &in, &out);
                process(up, SRP_METHOD_LANCZOS, &in, &out);
            }
            assert_int_equal(atomic_load(&allocations) - before, 0);
            canvas_free(&in), canvas_free(&out);
        }
        srp_upscaler_destroy(&up);
        srp_model_unref(&model);
    }
}

static void test_no_allocation(void **state)
{
    (void)state;
    check_no_allocation(SRP_BACKEND_AUTO);
    check_no_allocation(SRP_BACKEND_REFERENCE);
    enum srp_backend backend;
    if (srp_backend_from_name(&backend, "xnnpack") == SRP_OK) {
        check_no_allocation(backend);
    }
}

static void test_set_model(void **state)
{
    (void)state;
    struct srp_model *a = model_from(networks[2].json), *b = model_from(networks[3].json);
    struct srp_model *large = model_from(networks[0].json);
    struct srp_upscaler *up = upscaler(a, 0, 2, SRP_BACKEND_AUTO);
    struct srp_upscaler *fresh = upscaler(b, 0, 2, SRP_BACKEND_AUTO);
    struct srp_error err = {0};
    struct srp_executor_info info;
    struct canvas in, first, out, expected;
    canvas_init(&in, SRP_FORMAT_YUV420, 20, 11, DENSE);
    canvas_init(&first, SRP_FORMAT_YUV420, 40, 22, DENSE);
    canvas_init(&out, SRP_FORMAT_YUV420, 40, 22, DENSE);
    canvas_init(&expected, SRP_FORMAT_YUV420, 40, 22, DENSE);
    canvas_paint(&in, 2);
    process(up, SRP_METHOD_SR, &in, &first);
    process(fresh, SRP_METHOD_SR, &in, &expected);
    assert_true(canvas_difference(&first, &expected) > 0);
    assert_int_equal(srp_upscaler_set_model(up, b, &err), SRP_OK);
    process(up, SRP_METHOD_SR, &in, &out);
    assert_int_equal(canvas_difference(&out, &expected), 0);
    /* Another scale is refused and the old model stays. */
    assert_int_equal(srp_upscaler_set_model(up, large, &err), SRP_ERR_USAGE);
    process(up, SRP_METHOD_SR, &in, &out);
    assert_int_equal(canvas_difference(&out, &expected), 0);
    srp_upscaler_get_info(up, &info);
    assert_true(info.arena_bytes > 0 && info.threads == 2);
    assert_int_equal(srp_upscaler_set_model(up, NULL, &err), SRP_OK);
    assert_int_equal(
        srp_upscaler_process(up, SRP_METHOD_SR, &in.picture, &out.picture, &err), SRP_ERR_USAGE);
    process(up, SRP_METHOD_BICUBIC, &in, &out);
    srp_upscaler_get_info(up, &info);
    assert_true(info.arena_bytes == 0 && strcmp(info.isa, "") == 0);
    canvas_free(&in), canvas_free(&first), canvas_free(&out), canvas_free(&expected);
    srp_upscaler_destroy(&up), srp_upscaler_destroy(&fresh);
    srp_model_unref(&a), srp_model_unref(&b), srp_model_unref(&large);
}

static void test_convert(void **state)
{
    (void)state;
    struct srp_error err = {0};
    struct canvas rgb, yuv, back;
    for (enum srp_chroma chroma = SRP_CHROMA_LEFT; chroma <= SRP_CHROMA_TOPLEFT; chroma++) {
        canvas_init(&rgb, SRP_FORMAT_RGB, 15, 9, PADDED);
        canvas_init(&yuv, SRP_FORMAT_NV12, 15, 9, FLIPPED);
        canvas_init(&back, SRP_FORMAT_BGRA, 15, 9, DENSE);
        yuv.picture.chroma = chroma;
        yuv.picture.matrix = SRP_MATRIX_BT601;
        for (uint32_t i = 0; i < 15 * 9; i++) {
            uint8_t *pixel = canvas_row(&rgb, 0, i / 15) + i % 15 * 3;
            pixel[0] = 200, pixel[1] = 100, pixel[2] = 50;
        }
        assert_int_equal(srp_picture_convert(&rgb.picture, &yuv.picture, &err), SRP_OK);
        /* BT.601: 16 + (65.481 r + 128.553 g + 24.966 b) / 255 and so on. */
        assert_int_equal(canvas_row(&yuv, 0, 4)[7], 123);
        assert_int_equal(canvas_row(&yuv, 1, 2)[6], 91);
        assert_int_equal(canvas_row(&yuv, 1, 2)[7], 175);
        assert_int_equal(srp_picture_convert(&yuv.picture, &back.picture, &err), SRP_OK);
        for (uint32_t i = 0; i < 15 * 9; i++) {
            const uint8_t *pixel = back.picture.data[0] + 4 * (size_t)i;
            assert_true(abs(pixel[0] - 50) <= 2 && abs(pixel[1] - 100) <= 2 &&
                        abs(pixel[2] - 200) <= 2 && pixel[3] == 255);
        }
        canvas_free(&rgb), canvas_free(&yuv), canvas_free(&back);
    }
}

static void refused(struct srp_upscaler *up, struct canvas *in, struct canvas *out,
                    enum srp_err code, const char *text)
{
    struct srp_error err = {0};
    const enum srp_err got =
        srp_upscaler_process(up, SRP_METHOD_BICUBIC, &in->picture, &out->picture, &err);
    if (got != code || strstr(err.detail, text) == NULL) {
        fail_msg("%d '%s' instead of %d with '%s'", (int)got, err.detail, (int)code, text);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct srp_upscaler *up = upscaler(NULL, 2, 1, SRP_BACKEND_AUTO);
    struct srp_error err = {0};
    struct canvas in, out;
    canvas_init(&in, SRP_FORMAT_YUV420, 8, 6, DENSE);
    canvas_init(&out, SRP_FORMAT_YUV420, 16, 12, DENSE);
    canvas_paint(&in, 1);
    const struct srp_picture good_in = in.picture, good_out = out.picture;
#define REFUSED(change, code, text)                                                               \
    do {                                                                                          \
        change;                                                                                   \
        refused(up, &in, &out, code, text);                                                       \
        in.picture = good_in;                                                                     \
        out.picture = good_out;                                                                   \
    } while (0)
    REFUSED(in.picture.format = (enum srp_format)9, SRP_ERR_USAGE, "format");
    REFUSED(out.picture.format = (enum srp_format)0, SRP_ERR_USAGE, "format");
    REFUSED(in.picture.matrix = (enum srp_matrix)7, SRP_ERR_USAGE, "matrix");
    REFUSED(in.picture.range = (enum srp_range)7, SRP_ERR_USAGE, "range");
    REFUSED(in.picture.chroma = (enum srp_chroma)7, SRP_ERR_USAGE, "chroma");
    REFUSED(in.picture.width = 0, SRP_ERR_LIMIT, "0x6");
    REFUSED(in.picture.height = 20000, SRP_ERR_LIMIT, "8x20000");
    REFUSED((in.picture.width = 16384, in.picture.height = 16384), SRP_ERR_LIMIT, "pixels");
    REFUSED(in.picture.data[2] = NULL, SRP_ERR_USAGE, "plane 2 of the input");
    REFUSED(out.picture.stride[1] = 7, SRP_ERR_USAGE, "stride of 7");
    REFUSED(in.picture.stride[0] = -7, SRP_ERR_USAGE, "stride of -7");
    REFUSED(out.picture.width = 17, SRP_ERR_USAGE, "plane 0 of the output");
    REFUSED((out.picture.width = 17, out.picture.stride[0] = 17, out.picture.stride[1] = 9,
             out.picture.stride[2] = 9),
            SRP_ERR_USAGE, "larger than 2 times");
    REFUSED(out.picture.matrix = SRP_MATRIX_BT601, SRP_ERR_USAGE, "differ");
    REFUSED(out.picture.range = SRP_RANGE_FULL, SRP_ERR_USAGE, "differ");
    REFUSED(out.picture.chroma = SRP_CHROMA_CENTER, SRP_ERR_USAGE, "differ");
    assert_int_equal(srp_upscaler_process(up, SRP_METHOD_SR, &in.picture, &out.picture, &err),
                     SRP_ERR_USAGE);
    assert_int_equal(
        srp_upscaler_process(up, (enum srp_method)5, &in.picture, &out.picture, &err),
        SRP_ERR_USAGE);
    assert_int_equal(srp_upscaler_process(up, SRP_METHOD_BICUBIC, NULL, &out.picture, &err),
                     SRP_ERR_USAGE);
    assert_int_equal(srp_picture_convert(&in.picture, &out.picture, &err), SRP_ERR_USAGE);
    srp_upscaler_destroy(&up);
    struct srp_upscaler_params params = {.threads = 1};
    assert_int_equal(srp_upscaler_create(&up, &params, &err), SRP_ERR_USAGE);
    params.scale = 5;
    assert_int_equal(srp_upscaler_create(&up, &params, &err), SRP_ERR_USAGE);
    params.model = model_from(networks[0].json);
    params.scale = 2;
    assert_int_equal(srp_upscaler_create(&up, &params, &err), SRP_ERR_USAGE);
    srp_model_unref(&params.model);
    assert_null(up);
    canvas_free(&in), canvas_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),       cmocka_unit_test(test_against_base),
        cmocka_unit_test(test_crop_and_nv12), cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_set_model),     cmocka_unit_test(test_convert),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
