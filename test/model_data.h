/* SPDX-License-Identifier: BSD-2-Clause */
/* model_data.h - good graphs, parameters and manifests for tests to break, and the ways to do it.
 * Include after cmocka.h. What is returned as a struct text is released with text_free. */
#ifndef TEST_MODEL_DATA_H
#define TEST_MODEL_DATA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium/crypto_hash_sha256.h>

#include <srp/package.h>

#include "model/model.h"

struct text {
    uint8_t *data;
    size_t size;
};

/* Every operator and every attribute; 3316 parameters, 3704 MAC per pixel, halo 5. */
static const char full_graph[] =
    "{\"format\": \"srp-graph\", \"version\": 1,\n"
    " \"name\": \"every-op\", \"scale\": 4, \"colour\": \"y\", \"mean\": 0.5,\n"
    " \"input\": \"x\", \"output\": \"y\",\n"
    " \"nodes\": [\n"
    " {\"op\": \"add\", \"name\": \"out\", \"inputs\": [\"q\", \"b\"], \"output\": \"y\"},\n"
    " {\"op\": \"conv2d\", \"name\": \"head\", \"inputs\": [\"x\"], \"output\": \"h\","
    " \"channels\": 8, \"kernel\": [3, 3], \"activation\": \"prelu\"},\n"
    " {\"op\": \"conv2d\", \"name\": \"low\", \"inputs\": [\"h\"], \"output\": \"l\","
    " \"channels\": 4, \"kernel\": [1, 1], \"activation\": \"leaky_relu\", \"alpha\": 0.25},\n"
    " {\"op\": \"concat\", \"name\": \"cat\", \"inputs\": [\"h\", \"l\"], \"output\": \"c\"},\n"
    " {\"op\": \"conv2d\", \"name\": \"mid\", \"inputs\": [\"c\"], \"output\": \"m\","
    " \"channels\": 12, \"kernel\": [3, 5], \"activation\": \"clip\", \"min\": -1, \"max\": 1.5},\n"
    " {\"op\": \"add\", \"name\": \"sum\", \"inputs\": [\"m\", \"c\"], \"output\": \"s\","
    " \"activation\": \"relu\"},\n"
    " {\"op\": \"conv2d\", \"name\": \"body\", \"inputs\": [\"s\"], \"output\": \"u\","
    " \"channels\": 8, \"kernel\": [3, 3], \"activation\": \"tanh\"},\n"
    " {\"op\": \"depth_to_space\", \"name\": \"shuffle\", \"inputs\": [\"u\"], \"output\": \"d\","
    " \"block\": 2},\n"
    " {\"op\": \"resize\", \"name\": \"soft\", \"inputs\": [\"x\"], \"output\": \"b2\","
    " \"scale\": 2, \"mode\": \"bilinear\"},\n"
    " {\"op\": \"resize\", \"name\": \"hard\", \"inputs\": [\"x\"], \"output\": \"n2\","
    " \"scale\": 2, \"mode\": \"nearest\"},\n"
    " {\"op\": \"concat\", \"name\": \"cat2\", \"inputs\": [\"d\", \"b2\", \"g\"],"
    " \"output\": \"e\"},\n"
    " {\"op\": \"conv2d\", \"name\": \"post\", \"inputs\": [\"e\"], \"output\": \"p\","
    " \"channels\": 4, \"kernel\": [3, 3], \"activation\": \"sigmoid\"},\n"
    " {\"op\": \"depth_to_space\", \"name\": \"last\", \"inputs\": [\"p\"], \"output\": \"q\","
    " \"block\": 2, \"order\": \"dcr\"},\n"
    " {\"op\": \"resize\", \"name\": \"base\", \"inputs\": [\"x\"], \"output\": \"b\","
    " \"scale\": 4, \"mode\": \"bicubic\"},\n"
    " {\"op\": \"slice\", \"name\": \"part\", \"inputs\": [\"d\"], \"output\": \"v\","
    " \"first\": 1, \"channels\": 1},\n"
    " {\"op\": \"mul\", \"name\": \"gate\", \"inputs\": [\"v\", \"n2\"], \"output\": \"g\","
    " \"activation\": \"sigmoid\"}\n"
    " ]}\n";

/* 44 parameters. */
static const char small_graph[] =
    "{\"format\": \"srp-graph\", \"version\": 1, \"name\": \"small-x2\", \"scale\": 2,"
    " \"colour\": \"y\", \"input\": \"x\", \"output\": \"y\", \"nodes\": ["
    "{\"op\": \"conv2d\", \"name\": \"a\", \"inputs\": [\"x\"], \"output\": \"t\","
    " \"channels\": 4, \"kernel\": [3, 3], \"activation\": \"prelu\"},"
    "{\"op\": \"depth_to_space\", \"name\": \"s\", \"inputs\": [\"t\"], \"output\": \"y\","
    " \"block\": 2}]}";

static inline void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

/* Exactly sized, so that AddressSanitizer sees a read of the next byte. */
static inline struct text text_copy(const void *data, size_t size)
{
    struct text t = {malloc(size > 0 ? size : 1), size};
    assert_non_null(t.data);
    if (size > 0) {
        memcpy(t.data, data, size);
    }
    return t;
}

static inline struct srp_blob text_blob(const struct text *t, const char *name)
{
    return (struct srp_blob){t->data, t->size, name};
}

/* `doc` with the one place where `from` stands replaced by `to`. */
static inline struct text text_replace(const char *doc, const char *from, const char *to)
{
    const char *at = strstr(doc, from);
    if (at == NULL || strstr(at + 1, from) != NULL) {
        fail_msg("'%s' does not stand in the document exactly once", from);
        abort();
    }
    size_t head = (size_t)(at - doc);
    size_t tail = strlen(at + strlen(from));
    struct text t = {malloc(head + strlen(to) + tail + 1), head + strlen(to) + tail};
    assert_non_null(t.data);
    memcpy(t.data, doc, head);
    memcpy(t.data + head, to, strlen(to));
    memcpy(t.data + head + strlen(to), at + strlen(from), tail);
    return t;
}

/* One failure: the code, the error's text names what it should, in one printable line. */
static inline void check_failure(enum srp_err rc, enum srp_err code, const struct srp_error *err,
                                 const char *needle, const char *what)
{
    if (rc != code) {
        fail_msg("%s: %d (%s) where %d is wanted; %s", what, (int)rc, srp_strerror(rc), (int)code,
                 err->detail);
    }
    assert_int_equal(err->code, code);
    if (strstr(err->detail, needle) == NULL) {
        fail_msg("%s: '%s' does not say '%s'", what, err->detail, needle);
    }
    for (const char *p = err->detail; *p != '\0'; p++) {
        assert_true(*p >= 0x20 && *p < 0x7f);
    }
}

/* Any outcome is fine but a silent failure. */
static inline void check_outcome(enum srp_err rc, const struct srp_error *err)
{
    if (rc != SRP_OK) {
        assert_int_equal(err->code, rc);
        assert_true(strlen(err->detail) > 5);
        assert_null(strchr(err->detail, '\n'));
        assert_string_not_equal(srp_strerror(rc), "unknown error");
    }
}

/* ---- parameters ---- */

static inline uint64_t next_random_u64(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A safetensors file from a header and `data_size` bytes of data (`data` NULL: 1.0f, ...). */
static inline struct text make_safetensors(const char *header, const void *data, size_t data_size)
{
    size_t length = strlen(header);
    struct text t = {malloc(8 + length + data_size), 8 + length + data_size};
    assert_non_null(t.data);
    for (uint32_t i = 0; i < 8; i++) {
        t.data[i] = (uint8_t)((uint64_t)length >> 8 * i);
    }
    memcpy(t.data + 8, header, length);
    for (size_t i = 0; i < data_size; i++) {
        static const uint8_t one[4] = {0, 0, 0x80, 0x3f};
        t.data[8 + length + i] = data != NULL ? ((const uint8_t *)data)[i] : one[i % 4];
    }
    return t;
}

/* The header that fits small_graph. */
static const char small_header[] =
    "{\"__metadata__\":{\"made\":\"by hand\"},"
    "\"a.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[4,1,3,3],\"data_offsets\":[16,160]},"
    "\"a.slope\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[160,176]}}  ";
#define SMALL_DATA 176u

static inline struct text small_parameters(void)
{
    return make_safetensors(small_header, NULL, SMALL_DATA);
}

/* Parameters of every convolution of a graph, value i of the whole being i / 64. */
static inline struct text graph_parameters(const char *graph_text)
{
    struct srp_blob blob = {graph_text, strlen(graph_text), "graph"};
    struct srpi_graph g = {0};
    static char header[1 << 16];
    size_t used = 1;
    size_t at = 0;

    assert_int_equal(srpi_graph_read(&g, &blob, NULL), SRP_OK);
    size_t bytes = (size_t)g.parameter_count * 4;
    float *data = malloc(bytes);
    assert_non_null(data);
    header[0] = '{';
    for (uint32_t i = 0; i < g.node_count; i++) {
        const struct srpi_node *n = &g.nodes[i];
        uint32_t out = g.tensors[n->output].channels;
        size_t weights = (size_t)srpi_node_weight_count(&g, n);
        if (n->op != SRPI_OP_CONV2D) {
            continue;
        }
        size_t sizes[3] = {weights, out, n->activation == SRPI_ACT_PRELU ? out : 0};
        const char *parts[3] = {"weight", "bias", "slope"};
        for (int part = 0; part < 3 && sizes[part] > 0; part++) {
            char shape[64];
            snprintf(shape, sizeof(shape), "[%u,%u,%u,%u]", out, g.tensors[n->inputs[0]].channels,
                     n->kernel_height, n->kernel_width);
            if (part > 0) {
                snprintf(shape, sizeof(shape), "[%u]", out);
            }
            used += (size_t)snprintf(header + used, sizeof(header) - used,
                                     "%s\"%s.%s\":{\"dtype\":\"F32\",\"shape\":%s,"
                                     "\"data_offsets\":[%zu,%zu]}",
                                     used > 1 ? "," : "", n->name, parts[part], shape, at * 4,
                                     (at + sizes[part]) * 4);
            at += sizes[part];
        }
    }
    snprintf(header + used, sizeof(header) - used, "}");
    for (size_t i = 0; i < at; i++) {
        data[i] = (float)i / 64.0f;
    }
    assert_int_equal(at * 4, bytes);
    struct text t = make_safetensors(header, data, bytes);
    free(data);
    srpi_graph_free(&g);
    return t;
}

/* ---- packages ---- */

static inline void hex_hash(const struct text *t, char digits[65])
{
    uint8_t hash[32];
    crypto_hash_sha256(hash, t->data, t->size);
    for (int i = 0; i < 32; i++) {
        snprintf(digits + 2 * i, 3, "%02x", hash[i]);
    }
}

/* A string, 64 times. */
#define H8(c) c c c c c c c c
#define H64(c) H8(c) H8(c) H8(c) H8(c) H8(c) H8(c) H8(c) H8(c)

/* A manifest of two video chunks, two audio segments and one model. `extension` is that of the
 * parameters: ".safetensors" or ".safetensors.zst". NUL-terminated beyond `size`. */
static inline struct text make_manifest(const struct text *graph, const struct text *parameters,
                                        const char *name, const char *extension)
{
    char g[65];
    char p[65];
    static char text[8192];
    hex_hash(graph, g);
    hex_hash(parameters, p);
    int n = snprintf(
        text, sizeof(text),
        "{\"format\": \"srplay-package\", \"version\": 1, \"content_id\": \"0123abcdef\",\n"
        " \"generator\": \"tests\", \"scale\": 2,\n"
        " \"source\": {\"width\": 127, \"height\": 95, \"start\": 1.5},\n"
        " \"output\": {\"width\": 126, \"height\": 94},\n"
        " \"frame_rate\": [24000, 1001], \"frame_count\": 150,\n"
        " \"colour\": {\"matrix\": \"bt601\", \"range\": \"full\", \"chroma\": \"center\"},\n"
        " \"video\": {\"codec\": \"avc1.64001e\", \"timescale\": 24000, \"width\": 64,"
        " \"height\": 48, \"init\": {\"uri\": \"video-init.mp4\", \"size\": 700,"
        " \"sha256\": \"" H64("1") "\"}},\n"
        " \"audio\": {\"codec\": \"mp4a.40.2\", \"timescale\": 48000, \"sample_rate\": 44100,"
        " \"channels\": 2, \"init\": {\"uri\": \"audio-init.mp4\", \"size\": 600,"
        " \"sha256\": \"" H64("2") "\"},\n  \"segments\": [\n"
        "  {\"uri\": \"audio-0.m4s\", \"size\": 31, \"sha256\": \"" H64("3") "\","
        " \"start\": 10, \"duration\": 200000},\n"
        "  {\"uri\": \"audio-1.m4s\", \"size\": 32, \"sha256\": \"" H64("4") "\","
        " \"start\": 200010, \"duration\": 100000}]},\n"
        " \"models\": [{\"name\": \"%s\",\n"
        "  \"graph\": {\"uri\": \"objects/%s.json\", \"size\": %zu, \"sha256\": \"%s\"},\n"
        "  \"parameters\": {\"uri\": \"objects/%s%s\", \"size\": %zu, \"sha256\": \"%s\"}}],\n"
        " \"chunks\": [\n"
        "  {\"segment\": {\"uri\": \"video-0.m4s\", \"size\": 51, \"sha256\": \"" H64("5") "\","
        " \"start\": 0, \"duration\": 100100}, \"frames\": 100, \"model\": 0},\n"
        "  {\"segment\": {\"uri\": \"video-1.m4s\", \"size\": 52, \"sha256\": \"" H64("6") "\","
        " \"start\": 100100, \"duration\": 50050}, \"frames\": 50, \"model\": null}]\n"
        "}\n",
        name, g, graph->size, g, p, extension, parameters->size, p);
    assert_true(n > 0 && (size_t)n < sizeof(text));
    struct text t = text_copy(text, (size_t)n + 1);
    t.size = (size_t)n;
    return t;
}

/* That manifest, its chunk of `model` ("0" or "null") with an update. */
static inline struct text updated_manifest(const struct text *manifest, const struct text *update,
                                           const char *model)
{
    char hash[65], from[32], to[400];
    hex_hash(update, hash);
    snprintf(from, sizeof(from), "\"model\": %s}", model);
    snprintf(to, sizeof(to), "\"model\": %s, \"update\": {\"uri\": \"objects/%s.update\","
             " \"size\": %zu, \"sha256\": \"%s\"}}", model, hash, update->size, hash);
    struct text t = text_replace((const char *)manifest->data, from, to);
    return t;
}

#endif
