/* SPDX-License-Identifier: BSD-2-Clause */
/* Compact parameters: what they unpack to, and each refusal. The files are put together here, byte
 * by byte, from docs/format.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium/crypto_hash_sha256.h>
#include <zstd.h>

#include "model_data.h"

#include <srp/limits.h>

/* Nodes are not in the order of their names. */
static const char graph_text[] =
    "{\"format\": \"srp-graph\", \"version\": 1, \"name\": \"small-x2\", \"scale\": 2,"
    " \"colour\": \"y\", \"input\": \"x\", \"output\": \"y\", \"nodes\": ["
    "{\"op\": \"conv2d\", \"name\": \"z\", \"inputs\": [\"x\"], \"output\": \"t\","
    " \"channels\": 4, \"kernel\": [1, 1], \"activation\": \"prelu\"},"
    "{\"op\": \"conv2d\", \"name\": \"m\", \"inputs\": [\"t\"], \"output\": \"u\","
    " \"channels\": 4, \"kernel\": [1, 1]},"
    "{\"op\": \"depth_to_space\", \"name\": \"s\", \"inputs\": [\"u\"], \"output\": \"y\","
    " \"block\": 2}]}";

/* m: codes, scales of two groups in F16, bias in BF16. z: weight in F32, bias and slope in F16.
 * t.range16 and u.range in F32. */
#define KINDS 6u
static const uint8_t head[8 + KINDS] = {'S', 'R', 'P', 'M', 1, 1, 2, 0, 3 | 2 << 2 | 1 << 6, 2,
                                        0 | 1 << 2 | 1 << 4, 0, 4, 0};
static const int8_t codes[16] = {5, -7, 127, 0, 1, 2, 3, 4, -127, 8, 9, -1, 0, 0, 0, 1};
static const uint16_t halves[20] = {
    0x3800, 0x3400, 0x3c00, 0x4000, 0x3801, 0x3400, 0x3800, 0x3400, /* m.scale: 0.5, 0.25, 1, 2 .. */
    0x3fc0, 0xbf80, 0x0000, 0x4000,                                 /* m.bias: 1.5, -1, 0, 2 */
    0x3c00, 0xc000, 0x0001, 0x3800,                                 /* z.bias: 1, -2, 2^-24, 0.5 */
    0x3400, 0x0000, 0xb400, 0x3c00};                                /* z.slope: 0.25, 0, -0.25, 1 */
static const float words[8] = {0.1f, -3.0f, 1e-30f, 7.5f, /* z.weight */
                               -1.0f, 3.0f, -2.0f, 0.5f}; /* t.range16, u.range */
#define BYTES (16u + 2 * 20 + 4 * 8)

static void fill_streams(uint8_t *out)
{
    memcpy(out, codes, sizeof(codes));
    out += sizeof(codes);
    for (int byte = 1; byte >= 0; byte--) {
        for (size_t i = 0; i < 20; i++) {
            *out++ = (uint8_t)(halves[i] >> 8 * byte);
        }
    }
    for (int byte = 3; byte >= 0; byte--) {
        for (size_t i = 0; i < 8; i++) {
            uint32_t bits;
            memcpy(&bits, &words[i], sizeof(bits));
            *out++ = (uint8_t)(bits >> 8 * byte);
        }
    }
}

static void append(struct text *t, const uint8_t *data, size_t size)
{
    t->data = realloc(t->data, t->size + size);
    assert_non_null(t->data);
    memcpy(t->data + t->size, data, size);
    t->size += size;
}

static void append_frame(struct text *t, const uint8_t *data, size_t size, bool declare)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_non_null(context);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, declare);
    const size_t most = ZSTD_compressBound(size);
    t->data = realloc(t->data, t->size + most);
    assert_non_null(t->data);
    const size_t n = ZSTD_compress2(context, t->data + t->size, most, data, size);
    assert_false(ZSTD_isError(n));
    t->size += n;
    ZSTD_freeCCtx(context);
}

/* A good file in frames of at most `piece` bytes. */
static struct text good_file(size_t piece)
{
    uint8_t streams[BYTES];
    struct text t = text_copy(head, sizeof(head));
    fill_streams(streams);
    for (size_t at = 0; at < BYTES; at += piece) {
        append_frame(&t, streams + at, BYTES - at < piece ? BYTES - at : piece, true);
    }
    return t;
}

static enum srp_err create(struct srp_model **model, const struct text *t, struct srp_error *err)
{
    struct text exact = text_copy(t->data, t->size);
    struct srp_model_params params = {.graph = {graph_text, strlen(graph_text), "g"},
                                      .parameters = text_blob(&exact, "p")};
    enum srp_err rc = srp_model_create(model, &params, err);
    text_free(&exact);
    assert_true((rc == SRP_OK) == (*model != NULL));
    return rc;
}

static void check_model(const struct srp_model *model)
{
    const struct srpi_graph *g = srpi_model_graph(model);
    static const float scales[8] = {0.5f, 0.25f, 1.0f, 2.0f, 0x1.004p-1f, 0.25f, 0.5f, 0.25f};
    static const float bias[4] = {1.5f, -1.0f, 0.0f, 2.0f};
    static const float z_bias[4] = {1.0f, -2.0f, 0x1p-24f, 0.5f};
    static const float z_slope[4] = {0.25f, 0.0f, -0.25f, 1.0f};
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct srpi_node *n = &g->nodes[i];
        if (strcmp(n->name, "m") == 0) {
            assert_int_equal(n->groups, 2);
            assert_memory_equal(n->codes, codes, sizeof(codes));
            assert_memory_equal(n->scales, scales, sizeof(scales));
            assert_memory_equal(n->bias, bias, sizeof(bias));
            assert_true(n->weight[1] == -3.5f && n->weight[2] == 31.75f && n->weight[15] == 0.25f);
        } else if (strcmp(n->name, "z") == 0) {
            assert_null(n->codes);
            assert_memory_equal(n->weight, words, 4 * sizeof(float));
            assert_memory_equal(n->bias, z_bias, sizeof(z_bias));
            assert_memory_equal(n->slope, z_slope, sizeof(z_slope));
        }
    }
    assert_true(g->ranges[1].fine && g->ranges[1].low == -1.0f && g->ranges[1].high == 3.0f);
    assert_true(!g->ranges[2].fine && g->ranges[2].low == -2.0f && g->ranges[2].high == 0.5f);
}

static void unpacks_however_it_is_cut(void **state)
{
    (void)state;
    static const size_t pieces[] = {BYTES, 20, 7, 1};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct text t = good_file(pieces[i]);
        struct srp_model *model = NULL;
        struct srp_error err = {0};
        if (create(&model, &t, &err) != SRP_OK) {
            fail_msg("%s", err.detail);
        }
        check_model(model);
        srp_model_unref(&model);
        text_free(&t);
    }
}

/* One byte of the header is another. */
static void refuses_bad_headers(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {0, 'X', SRP_ERR_LIMIT, "p: header of"}, /* then it is read as safetensors */
        {4, 2, SRP_ERR_UNSUPPORTED, "p: version 2 of compact parameters"},
        {4, 0, SRP_ERR_UNSUPPORTED, "p: version 0"},
        {5, 3, SRP_ERR_FORMAT, "p: byte 5 is 3"},
        {6, 3, SRP_ERR_PARAMS, "p: parameters of 3 convolutions; graph 'small-x2' has 2"},
        {7, 1, SRP_ERR_PARAMS, "p: parameters of 258 convolutions"},
        {8, 3 | 3 << 2 | 1 << 6, SRP_ERR_FORMAT, "p: byte 8, 'm': I8 is for weights"},
        {8, 3 | 2 << 2 | 3 << 6, SRP_ERR_FORMAT, "p: byte 8, 'm': I8 is for weights"},
        {8, 3 | 2 << 2 | 1 << 4 | 1 << 6, SRP_ERR_FORMAT, "'m': a dtype or groups of an array"},
        {9, 0, SRP_ERR_FORMAT, "p: byte 9, 'm': 0 groups of 4 input channels"},
        {9, 3, SRP_ERR_FORMAT, "p: byte 9, 'm': 3 groups of 4 input channels"},
        {9, 65, SRP_ERR_FORMAT, "p: byte 9, 'm': 65 groups"},
        {9, 1, SRP_ERR_SIZE, "p: 88 bytes in a zstd frame where graph 'small-x2' has use for 80"},
        {9, 4, SRP_ERR_SIZE, "p: ends 16 bytes before what graph 'small-x2' wants"},
        {10, 1 << 2 | 3 << 4, SRP_ERR_FORMAT, "p: byte 10, 'z': I8 is for weights"},
        {10, 1 << 2 | 1 << 4 | 1 << 6, SRP_ERR_FORMAT, "'z': a dtype or groups of an array"},
        {11, 1, SRP_ERR_FORMAT, "'z': a dtype or groups of an array"},
        {12, 8, SRP_ERR_FORMAT, "p: byte 12, 't': no kind of a range"},
        {13, 3, SRP_ERR_FORMAT, "p: byte 13, 'u': no kind of a range"},
        {12, 0x84, SRP_ERR_FORMAT, "no kind of a range"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct text t = good_file(BYTES);
        struct srp_model *model = NULL;
        struct srp_error err = {0};
        t.data[cases[i].at] = cases[i].value;
        check_failure(create(&model, &t, &err), cases[i].code, &err, cases[i].needle, "header");
        text_free(&t);
    }
}

static void refuses_bad_frames(void **state)
{
    (void)state;
    static const uint8_t skippable[9] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7};
    static const uint8_t bomb[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x10, 3, 0, 0, 7};
    uint8_t streams[BYTES + 1] = {0};
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    struct text t = good_file(BYTES);
    fill_streams(streams);

#define REFUSED(code, needle)                                                                      \
    do {                                                                                           \
        check_failure(create(&model, &t, &err), code, &err, needle, "frame");                      \
        text_free(&t);                                                                             \
        t = text_copy(head, sizeof(head));                                                         \
    } while (0)
    append(&t, skippable, sizeof(skippable));
    REFUSED(SRP_ERR_SIZE, "p: 9 bytes after the last zstd frame");
    append(&t, skippable, sizeof(skippable));
    append_frame(&t, streams, BYTES, true);
    REFUSED(SRP_ERR_PARSE, "p: not a zstd frame");
    append_frame(&t, streams, BYTES, false);
    REFUSED(SRP_ERR_FORMAT, "p: the zstd frame does not declare its content's size");
    append_frame(&t, streams, BYTES + 1, true);
    REFUSED(SRP_ERR_SIZE, "p: 89 bytes in a zstd frame where graph 'small-x2' has use for 88");
    append_frame(&t, streams, 80, true);
    append_frame(&t, streams + 80, 9, true);
    REFUSED(SRP_ERR_SIZE, "p: 9 bytes in a zstd frame where graph 'small-x2' has use for 8");
    append_frame(&t, streams, 80, true);
    REFUSED(SRP_ERR_SIZE, "p: ends 8 bytes before");
    REFUSED(SRP_ERR_SIZE, "p: ends 88 bytes before");
    append_frame(&t, streams, 0, true);
    append_frame(&t, streams, BYTES, true);
    REFUSED(SRP_ERR_FORMAT, "does not declare");
    append(&t, bomb, sizeof(bomb));
    REFUSED(SRP_ERR_SIZE, "p: 268435456 bytes in a zstd frame");
    text_free(&t);
#undef REFUSED
}

/* What arrives is checked as the values of a safetensors file are. */
static void refuses_bad_values(void **state)
{
    (void)state;
    static const struct {
        size_t at; /* in the streams */
        uint8_t value;
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {3, 0x80, SRP_ERR_FORMAT, "p: tensor 'm.weight': element 3 is -128"},
        {16 + 1, 0xb4, SRP_ERR_FORMAT, "p: tensor 'm.scale': element 1 is -0.25, no scale"},
        {16 + 0, 0x7c, SRP_ERR_NONFINITE, "p: tensor 'm.scale': element 0 is infinite"},
        {16 + 12, 0x7e, SRP_ERR_NONFINITE, "p: tensor 'z.bias': element 0 is NaN"},
        {16 + 40 + 4, 0x3f, SRP_ERR_FORMAT, "p: tensor 't.range16': 1 to 3 is no range"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t streams[BYTES];
        struct text t = text_copy(head, sizeof(head));
        struct srp_model *model = NULL;
        struct srp_error err = {0};
        fill_streams(streams);
        assert_int_not_equal(streams[cases[i].at], cases[i].value);
        streams[cases[i].at] = cases[i].value;
        append_frame(&t, streams, BYTES, true);
        check_failure(create(&model, &t, &err), cases[i].code, &err, cases[i].needle, "value");
        text_free(&t);
    }
}

static void survives_damage(void **state)
{
    (void)state;
    static const size_t pieces[] = {BYTES, 20};
    for (size_t k = 0; k < 2; k++) {
        struct text t = good_file(pieces[k]);
        struct srp_model *model = NULL;
        struct srp_error err = {0};
        const size_t whole = t.size;
        for (t.size = 0; t.size < whole; t.size++) {
            assert_int_not_equal(create(&model, &t, &err), SRP_OK);
            check_outcome(err.code, &err);
        }
        for (size_t i = 0; i < whole * 8; i++) {
            t.data[i / 8] ^= (uint8_t)(1u << i % 8);
            check_outcome(create(&model, &t, &err), &err);
            srp_model_unref(&model);
            t.data[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        assert_int_equal(create(&model, &t, &err), SRP_OK);
        check_model(model);
        srp_model_unref(&model);
        text_free(&t);
    }
}

/* In a package the file's name says which kind it is. */
static void packages_hold_them(void **state)
{
    (void)state;
    struct text graph = {(uint8_t *)(uintptr_t)graph_text, strlen(graph_text)};
    struct text plain = good_file(BYTES), zst = {0};
    append_frame(&zst, plain.data, plain.size, true);
    const struct {
        const struct text *parameters;
        const char *extension;
        enum srp_err code;
    } cases[] = {{&plain, ".parameters", SRP_OK},
                 {&plain, ".safetensors", SRP_ERR_PARSE},
                 {&zst, ".safetensors.zst", SRP_ERR_PARSE},
                 {&zst, ".parameters", SRP_ERR_PARSE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srp_package *pkg = NULL;
        struct srp_model *model = NULL;
        struct srp_error err = {0};
        struct text manifest =
            make_manifest(&graph, cases[i].parameters, "small-x2", cases[i].extension);
        struct srp_blob m = text_blob(&manifest, NULL), g = text_blob(&graph, NULL);
        struct srp_blob p = text_blob(cases[i].parameters, NULL);
        assert_int_equal(srp_package_create(&pkg, &m, &err), SRP_OK);
        const enum srp_err rc = srp_package_load_model(pkg, 0, &g, &p, &model, &err);
        if (cases[i].code == SRP_OK) {
            assert_int_equal(rc, SRP_OK);
            check_model(model);
            srp_model_unref(&model);
        } else {
            check_failure(rc, cases[i].code, &err, "holds other parameters than its name says",
                          cases[i].extension);
        }
        srp_package_destroy(&pkg);
        text_free(&manifest);
    }
    text_free(&plain);
    text_free(&zst);
}

/* A graph without a convolution has no values, so the file has no frame. */
static void nothing_is_fine(void **state)
{
    (void)state;
    static const char bare[] =
        "{\"format\": \"srp-graph\", \"version\": 1, \"name\": \"bare\", \"scale\": 2,"
        " \"colour\": \"y\", \"input\": \"x\", \"output\": \"y\", \"nodes\": [{\"op\": \"resize\","
        " \"name\": \"b\", \"inputs\": [\"x\"], \"output\": \"y\", \"scale\": 2,"
        " \"mode\": \"bicubic\"}]}";
    static const uint8_t none[8] = {'S', 'R', 'P', 'M', 1, 0, 0, 0};
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    struct srp_model_params params = {.graph = {bare, strlen(bare), "g"},
                                      .parameters = {none, sizeof(none), "p"}};
    assert_int_equal(srp_model_create(&model, &params, &err), SRP_OK);
    srp_model_unref(&model);
}

/* ---- updates --------------------------------------------------------------------------------- */

#define UPDATE_HEAD 40u

/* m.codes[1] -7 -> -5, m.bias[3] 2 -> 1.5, z.weight[1] -3 -> 1: the rest stays. */
static void fill_change(uint8_t *out)
{
    memset(out, 0, BYTES);
    out[1] = 2;
    out[16 + 11] = (0x3f - 0x40) & 255; /* m.bias are bf16: 0x4000 -> 0x3fc0 */
    out[16 + 20 + 11] = 0xc0;
    out[16 + 40 + 1] = (0x3f - 0xc0) & 255; /* 0xc0400000 -> 0x3f800000 */
    out[16 + 40 + 8 + 1] = 0x80 - 0x40;
}

/* `base` NULL: names no base. In frames of at most `piece` bytes. */
static struct text make_update(const struct text *base, const uint8_t *change, size_t size,
                               size_t piece)
{
    uint8_t header[UPDATE_HEAD] = {'S', 'R', 'P', 'U', 1};
    if (base != NULL) {
        crypto_hash_sha256(header + 8, base->data, base->size);
    }
    struct text t = text_copy(header, sizeof(header));
    for (size_t at = 0; at < size; at += piece) {
        append_frame(&t, change + at, size - at < piece ? size - at : piece, true);
    }
    return t;
}

static enum srp_err create_updated(struct srp_model **model, const struct text *base,
                                   const struct text *update, struct srp_error *err)
{
    struct text exact = text_copy(update->data, update->size);
    struct srp_model_params params = {.graph = {graph_text, strlen(graph_text), "g"},
                                      .parameters = text_blob(base, "p"),
                                      .update = text_blob(&exact, "u")};
    enum srp_err rc = srp_model_create(model, &params, err);
    text_free(&exact);
    assert_true((rc == SRP_OK) == (*model != NULL));
    return rc;
}

static void updates_add_to_their_base(void **state)
{
    (void)state;
    uint8_t change[BYTES], none[BYTES] = {0};
    fill_change(change);
    struct text base = good_file(BYTES);
    for (size_t piece = 1; piece <= BYTES; piece = piece * 2 + 1) {
        struct srp_model *model = NULL, *plain = NULL;
        struct srp_error err = {0};
        struct text update = make_update(&base, change, BYTES, piece);
        struct text idle = make_update(&base, none, BYTES, piece);
        if (create_updated(&model, &base, &update, &err) != SRP_OK) {
            fail_msg("%s", err.detail);
        }
        assert_int_equal(create(&plain, &base, &err), SRP_OK);
        const struct srpi_graph *g = srpi_model_graph(model), *h = srpi_model_graph(plain);
        for (uint32_t i = 0; i < g->node_count; i++) {
            const struct srpi_node *n = &g->nodes[i], *o = &h->nodes[i];
            if (strcmp(n->name, "m") == 0) {
                int8_t wanted[16];
                memcpy(wanted, codes, sizeof(wanted));
                wanted[1] = -5;
                assert_memory_equal(n->codes, wanted, sizeof(wanted));
                assert_memory_equal(n->scales, o->scales, 8 * sizeof(float));
                assert_true(n->bias[3] == 1.5f && n->bias[0] == 1.5f && n->bias[1] == -1.0f);
                assert_true(n->weight[1] == -2.5f && n->weight[2] == 31.75f);
            } else if (strcmp(n->name, "z") == 0) {
                assert_true(n->weight[1] == 1.0f && n->weight[0] == words[0]);
                assert_memory_equal(n->bias, o->bias, 4 * sizeof(float));
                assert_memory_equal(n->slope, o->slope, 4 * sizeof(float));
            }
        }
        srp_model_unref(&model);
        srp_model_unref(&plain);
        assert_int_equal(create_updated(&model, &base, &idle, &err), SRP_OK);
        check_model(model);
        srp_model_unref(&model);
        text_free(&update);
        text_free(&idle);
    }
    text_free(&base);
}

static void refuses_bad_updates(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        enum srp_err code;
        const char *needle;
    } headers[] = {
        {0, 'X', SRP_ERR_PARSE, "u: no update of parameters"},
        {4, 2, SRP_ERR_UNSUPPORTED, "u: version 2 of updates"},
        {5, 1, SRP_ERR_FORMAT, "u: bytes 5 to 7 are not 0"},
        {7, 9, SRP_ERR_FORMAT, "u: bytes 5 to 7 are not 0"},
    };
    static const uint8_t bomb[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x10, 3, 0, 0, 7};
    uint8_t change[BYTES + 1] = {0};
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    struct text base = good_file(BYTES), other = good_file(20), t;

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        t = make_update(&base, change, BYTES, BYTES);
        t.data[headers[i].at] = headers[i].value;
        check_failure(create_updated(&model, &base, &t, &err), headers[i].code, &err,
                      headers[i].needle, "header");
        text_free(&t);
    }
#define REFUSED(text, code, needle)                                                                \
    do {                                                                                           \
        t = text;                                                                                  \
        check_failure(create_updated(&model, &base, &t, &err), code, &err, needle, "update");      \
        text_free(&t);                                                                             \
    } while (0)
    /* The same values, but not the same file. */
    REFUSED(make_update(&other, change, BYTES, BYTES), SRP_ERR_HASH, "u: an update of parameters");
    REFUSED(make_update(&base, change, BYTES - 1, BYTES), SRP_ERR_SIZE,
            "u: ends 1 bytes before what graph 'small-x2' wants");
    REFUSED(make_update(&base, change, BYTES + 1, BYTES + 1), SRP_ERR_SIZE,
            "u: 89 bytes in a zstd frame where graph 'small-x2' has use for 88");
    REFUSED(make_update(&base, change, 0, 1), SRP_ERR_SIZE, "u: ends 88 bytes before");
    REFUSED(text_copy("SRPU", 4), SRP_ERR_SIZE, "u: 4 bytes end in the header");
    struct text wild = make_update(&base, NULL, 0, 1); /* declares 50 MB */
    append(&wild, bomb, sizeof(bomb));
    REFUSED(wild, SRP_ERR_SIZE, "in a zstd frame where graph 'small-x2' has use for 88");
    /* Values that no file may hold are refused by the update's name. */
    change[2] = 1; /* 127 + 1 */
    REFUSED(make_update(&base, change, BYTES, BYTES), SRP_ERR_FORMAT, "u: tensor 'm.weight'");
    change[2] = 0;
    change[16] = 0x80; /* a scale below zero */
    REFUSED(make_update(&base, change, BYTES, BYTES), SRP_ERR_FORMAT, "u: tensor 'm.scale'");
#undef REFUSED
    /* Parameters that are no sequence of bytes in this order. */
    struct srp_model_params params = {.graph = {graph_text, strlen(graph_text), "g"},
                                      .parameters = {"{}", 2, "p"},
                                      .update = {"SRPU", 4, "u"}};
    check_failure(srp_model_create(&model, &params, &err), SRP_ERR_FORMAT, &err,
                  "u: an update of parameters that are not compact", "base");
    text_free(&base);
    text_free(&other);
}

static void updates_survive_damage(void **state)
{
    (void)state;
    uint8_t change[BYTES];
    fill_change(change);
    struct text base = good_file(BYTES), t = make_update(&base, change, BYTES, 20);
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    const size_t whole = t.size;
    for (t.size = 0; t.size < whole; t.size++) {
        if (t.size > 0) { /* none of it is no update at all */
            assert_int_not_equal(create_updated(&model, &base, &t, &err), SRP_OK);
            check_outcome(err.code, &err);
        }
    }
    for (size_t i = 0; i < whole * 8; i++) {
        t.data[i / 8] ^= (uint8_t)(1u << i % 8);
        check_outcome(create_updated(&model, &base, &t, &err), &err);
        assert_true(model == NULL || i >= 8 * UPDATE_HEAD);
        srp_model_unref(&model);
        t.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    text_free(&base);
    text_free(&t);
}

/* A chunk's model is made with the chunk's own update, or not at all. */
static void chunks_have_their_updates(void **state)
{
    (void)state;
    uint8_t change[BYTES];
    fill_change(change);
    struct text graph = {(uint8_t *)(uintptr_t)graph_text, strlen(graph_text)};
    struct text base = good_file(BYTES), update = make_update(&base, change, BYTES, BYTES);
    struct text plain = make_manifest(&graph, &base, "small-x2", ".parameters");
    struct text manifest = updated_manifest(&plain, &update, "0");
    struct srp_package *pkg = NULL;
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    struct srp_blob m = text_blob(&manifest, NULL), g = text_blob(&graph, NULL);
    struct srp_blob p = text_blob(&base, NULL), u = text_blob(&update, NULL);

    assert_int_equal(srp_package_create(&pkg, &m, &err), SRP_OK);
    const struct srp_chunk *chunk = srp_package_chunk(pkg, 0);
    assert_true(chunk->has_update && chunk->update.size == update.size && chunk->model == 0);
    assert_false(srp_package_chunk(pkg, 1)->has_update);
    assert_int_equal(srp_package_load_chunk_model(pkg, 0, &g, &p, &u, &model, &err), SRP_OK);
    srp_model_unref(&model);
    check_failure(srp_package_load_chunk_model(pkg, 0, &g, &p, NULL, &model, &err), SRP_ERR_USAGE,
                  &err, "chunk 0 has an update", "left out");
    check_failure(srp_package_load_chunk_model(pkg, 1, &g, &p, &u, &model, &err), SRP_ERR_USAGE,
                  &err, "chunk 1 has no model", "no model");
    check_failure(srp_package_load_chunk_model(pkg, 2, &g, &p, &u, &model, &err), SRP_ERR_USAGE,
                  &err, "chunk 2 has no model", "no chunk");
    update.data[update.size - 1] ^= 1;
    check_failure(srp_package_load_chunk_model(pkg, 0, &g, &p, &u, &model, &err), SRP_ERR_HASH,
                  &err, ".update: SHA-256 is", "damaged");
    u.size--;
    check_failure(srp_package_load_chunk_model(pkg, 0, &g, &p, &u, &model, &err), SRP_ERR_SIZE,
                  &err, ".update: ", "cut");
    /* The base alone, for who has no use for updates. */
    assert_int_equal(srp_package_load_model(pkg, 0, &g, &p, &model, &err), SRP_OK);
    check_model(model);
    srp_model_unref(&model);
    srp_package_destroy(&pkg);

    struct text lonely = updated_manifest(&plain, &update, "null");
    struct srp_blob l = text_blob(&lonely, "m");
    check_failure(srp_package_create(&pkg, &l, &err), SRP_ERR_FORMAT, &err,
                  "an update of a chunk without a model", "no model");
    struct text named = make_manifest(&graph, &base, "small-x2", ".safetensors");
    struct text large = updated_manifest(&named, &update, "0");
    l = text_blob(&large, "m");
    check_failure(srp_package_create(&pkg, &l, &err), SRP_ERR_FORMAT, &err,
                  "an update of parameters that are not compact", "not compact");
    text_free(&lonely), text_free(&named), text_free(&large);
    text_free(&manifest), text_free(&plain), text_free(&update), text_free(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacks_however_it_is_cut),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_frames),
        cmocka_unit_test(refuses_bad_values),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(packages_hold_them),
        cmocka_unit_test(nothing_is_fine),
        cmocka_unit_test(updates_add_to_their_base),
        cmocka_unit_test(refuses_bad_updates),
        cmocka_unit_test(updates_survive_damage),
        cmocka_unit_test(chunks_have_their_updates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
