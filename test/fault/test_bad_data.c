/* SPDX-License-Identifier: BSD-2-Clause */
/* Damaged and hostile files: every truncation, every flipped bit, and some thousands of mutations
 * that keep the structure. Promise P0: no damaged object ever becomes a model. Promise P1: whatever
 * comes, the process lives (run it under `make asan` too) and each refusal has its line. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <zstd.h>

#include "model/safetensors.h"
#include "model_data.h"

#include <srp/limits.h>

#define ROUNDS 4000u

/* A reader under attack: reads `t`, checks what it accepted, and says how it ended. */
typedef enum srp_err (*reader)(const struct text *t);

static enum srp_err try_graph(const struct text *t)
{
    struct srp_error err = {0};
    struct srpi_graph g = {0};
    struct srp_blob blob = text_blob(t, "g");
    enum srp_err rc = srpi_graph_read(&g, &blob, &err);

    check_outcome(rc, &err);
    if (rc != SRP_OK) {
        assert_null(g.memory);
        return rc;
    }
    assert_in_range(g.node_count, 1, SRP_MAX_NODES);
    assert_in_range(g.scale, 1, SRP_MAX_SCALE);
    assert_true(g.halo <= SRP_MAX_HALO && g.macs_per_pixel <= SRP_MAX_MACS_PER_PIXEL);
    assert_true(g.parameter_count <= SRP_MAX_PARAMETERS);
    assert_true(g.mean >= 0 && g.mean <= 1);
    assert_int_equal(g.tensors[g.output].factor, g.scale);
    assert_int_equal(g.tensors[g.output].channels, g.channels);
    for (uint32_t i = 0; i < g.node_count; i++) {
        const struct srpi_node *n = &g.nodes[i];
        assert_in_range(g.tensors[n->output].channels, 1, SRP_MAX_CHANNELS);
        assert_in_range(g.tensors[n->output].factor, 1, g.scale);
        assert_in_range(n->input_count, 1, SRP_MAX_INPUTS);
        assert_true(isfinite(n->alpha) && isfinite(n->min) && isfinite(n->max));
        for (uint32_t k = 0; k < n->input_count; k++) {
            assert_true(n->inputs[k] <= i);
        }
    }
    srpi_graph_free(&g);
    return rc;
}

static enum srp_err try_parameters(const struct text *t)
{
    struct srp_error err = {0};
    struct srpi_safetensors file = {0};
    struct srp_blob blob = text_blob(t, "p");
    enum srp_err rc = srpi_safetensors_read(&file, &blob, &err);

    check_outcome(rc, &err);
    for (uint32_t i = 0; i < file.count; i++) {
        const struct srpi_array *a = &file.arrays[i];
        assert_in_range(a->count, 1, t->size);
        float *values = malloc((size_t)a->count * sizeof(float));
        assert_non_null(values);
        enum srp_err converted = srpi_array_to_f32(&file, a, values, &err);
        check_outcome(converted, &err);
        for (uint64_t k = 0; converted == SRP_OK && k < a->count; k++) {
            assert_true(isfinite(values[k]));
        }
        free(values);
    }
    srpi_safetensors_free(&file);
    return rc;
}

static enum srp_err try_manifest(const struct text *t)
{
    struct srp_error err = {0};
    struct srp_package *pkg = NULL;
    struct srp_blob blob = text_blob(t, NULL);
    enum srp_err rc = srp_package_create(&pkg, &blob, &err);

    check_outcome(rc, &err);
    if (rc != SRP_OK) {
        assert_null(pkg);
        return rc;
    }
    struct srp_package_info info;
    uint64_t end = 0;
    srp_package_get_info(pkg, &info);
    for (uint32_t i = 0; i < info.chunk_count; i++) {
        const struct srp_chunk *c = srp_package_chunk(pkg, i);
        assert_true(c->segment.start == end);
        assert_true(c->model >= -1 && c->model < (int32_t)info.model_count);
        assert_null(strchr(c->segment.object.uri, '/'));
        assert_int_not_equal(c->segment.object.uri[0], '.');
        end += c->segment.duration;
    }
    for (uint32_t i = 0; i < info.model_count; i++) {
        const struct srp_package_model *m = srp_package_get_model(pkg, i);
        assert_memory_equal(m->graph.uri, "objects/", 8);
        assert_ptr_equal(strrchr(m->graph.uri, '/'), m->graph.uri + 7);
        assert_ptr_equal(strrchr(m->parameters.uri, '/'), m->parameters.uri + 7);
    }
    for (uint32_t i = 0; i < info.audio.segment_count; i++) {
        assert_null(strchr(srp_package_audio_segment(pkg, i)->object.uri, '/'));
    }
    assert_true(info.out_width <= info.lr_width * info.scale);
    srp_package_destroy(&pkg);
    return rc;
}

/* ---- truncation and bit flips ---- */

/* White space may be missing at the end; nothing else. */
static void cut_everywhere(const struct text *good, reader read)
{
    size_t end = good->size;
    while (good->data[end - 1] == '\n' || good->data[end - 1] == ' ') {
        end--;
    }
    for (size_t size = 0; size < good->size; size++) {
        struct text part = text_copy(good->data, size);
        enum srp_err rc = read(&part);
        assert_true((rc == SRP_OK) == (size >= end));
        text_free(&part);
    }
    assert_int_equal(read(good), SRP_OK);
}

/* Returns how many flips were accepted (a digit may become another). */
static size_t flip_every_bit(const struct text *good, reader read)
{
    size_t accepted = 0;
    struct text t = text_copy(good->data, good->size);
    for (size_t i = 0; i < t.size * 8; i++) {
        t.data[i / 8] ^= (uint8_t)(1u << i % 8);
        accepted += read(&t) == SRP_OK;
        t.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_memory_equal(t.data, good->data, good->size);
    text_free(&t);
    return accepted;
}

static struct text good_manifest(void)
{
    struct text graph = text_copy(small_graph, strlen(small_graph));
    struct text parameters = small_parameters();
    struct text manifest = make_manifest(&graph, &parameters, "small-x2", ".safetensors");
    text_free(&graph);
    text_free(&parameters);
    return manifest;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct text t = text_copy(small_graph, strlen(small_graph));
    cut_everywhere(&t, try_graph);
    text_free(&t);
    t = text_copy(full_graph, strlen(full_graph));
    cut_everywhere(&t, try_graph);
    text_free(&t);
    t = small_parameters();
    cut_everywhere(&t, try_parameters);
    text_free(&t);
    t = good_manifest();
    cut_everywhere(&t, try_manifest);
    text_free(&t);
}

static void every_flipped_bit_is_survived(void **state)
{
    (void)state;
    struct text t = text_copy(small_graph, strlen(small_graph));
    size_t bits = 8 * t.size;
    size_t accepted = flip_every_bit(&t, try_graph);
    assert_true(accepted < bits / 4);
    text_free(&t);

    t = small_parameters();
    accepted = flip_every_bit(&t, try_parameters);
    /* Every flip of a value is well-formed: finding those is the hash's work. */
    assert_true(accepted > SMALL_DATA * 8 * 9 / 10 && accepted < 8 * t.size);
    text_free(&t);

    t = good_manifest();
    bits = 8 * t.size;
    accepted = flip_every_bit(&t, try_manifest);
    assert_true(accepted < bits / 2);
    text_free(&t);
}

struct objects {
    struct text graph, parameters;
    struct srp_package *pkg;
};

static struct objects make_objects(const struct text *parameters, const char *extension)
{
    struct objects o = {.graph = text_copy(small_graph, strlen(small_graph)),
                        .parameters = text_copy(parameters->data, parameters->size)};
    struct text manifest = make_manifest(&o.graph, &o.parameters, "small-x2", extension);
    struct srp_blob blob = text_blob(&manifest, NULL);
    assert_int_equal(srp_package_create(&o.pkg, &blob, NULL), SRP_OK);
    text_free(&manifest);
    return o;
}

static void free_objects(struct objects *o)
{
    srp_package_destroy(&o->pkg);
    text_free(&o->graph);
    text_free(&o->parameters);
}

static enum srp_err load(const struct objects *o, struct srp_error *err)
{
    struct srp_model *model = NULL;
    struct srp_blob g = text_blob(&o->graph, NULL);
    struct srp_blob p = text_blob(&o->parameters, NULL);
    enum srp_err rc = srp_package_load_model(o->pkg, 0, &g, &p, &model, err);
    assert_true((rc == SRP_OK) == (model != NULL));
    srp_model_unref(&model);
    return rc;
}

static void the_hash_catches_every_flipped_bit_and_truncation(void **state)
{
    (void)state;
    struct text plain = small_parameters();
    struct objects o = make_objects(&plain, ".safetensors");
    struct text *files[2] = {&o.graph, &o.parameters};
    struct srp_error err = {0};

    assert_int_equal(load(&o, &err), SRP_OK);
    for (int f = 0; f < 2; f++) {
        for (size_t i = 0; i < files[f]->size * 8; i++) {
            files[f]->data[i / 8] ^= (uint8_t)(1u << i % 8);
            assert_int_equal(load(&o, &err), SRP_ERR_HASH);
            files[f]->data[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        size_t whole = files[f]->size;
        for (size_t size = 0; size < whole; size++) {
            files[f]->size = size;
            assert_int_equal(load(&o, &err), SRP_ERR_SIZE);
        }
        files[f]->size = whole;
    }
    assert_int_equal(load(&o, &err), SRP_OK);
    free_objects(&o);
    text_free(&plain);
}

/* A publisher may sign damage: the hash is right, the frame is not. */
static void hostile_zstd_is_survived(void **state)
{
    (void)state;
    struct text plain = small_parameters();
    struct text zst = {malloc(ZSTD_compressBound(plain.size)), 0};
    struct srp_error err = {0};

    assert_non_null(zst.data);
    zst.size = ZSTD_compress(zst.data, ZSTD_compressBound(plain.size), plain.data, plain.size, 19);
    assert_false(ZSTD_isError(zst.size));
    for (size_t i = 0; i < zst.size * 8; i++) {
        zst.data[i / 8] ^= (uint8_t)(1u << i % 8);
        struct objects o = make_objects(&zst, ".safetensors.zst");
        check_outcome(load(&o, &err), &err);
        free_objects(&o);
        zst.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    struct objects o = make_objects(&zst, ".safetensors.zst");
    assert_int_equal(load(&o, &err), SRP_OK);
    free_objects(&o);
    text_free(&zst);
    text_free(&plain);
}

/* ---- structured mutations ---- */

struct span {
    size_t start, size;
};

/* A token of JSON at or after `from`, wrapping: a string with its quotes, a word, a sign. */
static struct span find_token(const struct text *t, size_t from)
{
    for (size_t k = 0; k < t->size; k++) {
        size_t i = (from + k) % t->size;
        uint8_t c = t->data[i];
        if (c == ' ' || c == '\n') {
            continue;
        }
        size_t end = i + 1;
        if (c == '"') {
            while (end < t->size && t->data[end] != '"') {
                end++;
            }
            end += end < t->size;
        } else if (strchr("{}[],:", c) == NULL) {
            while (end < t->size && strchr("{}[],: \n\"", t->data[end]) == NULL) {
                end++;
            }
        }
        return (struct span){i, end - i};
    }
    return (struct span){0, 0};
}

static void splice(struct text *t, struct span at, const void *with, size_t size)
{
    struct text out = {malloc(t->size - at.size + size + 1), t->size - at.size + size};
    assert_non_null(out.data);
    memcpy(out.data, t->data, at.start);
    if (size > 0) {
        memcpy(out.data + at.start, with, size);
    }
    memcpy(out.data + at.start + size, t->data + at.start + at.size,
           t->size - at.start - at.size);
    text_free(t);
    *t = out;
}

static void mutate(struct text *t, uint64_t *seed)
{
    static const char *const words[] = {
        "0",       "1",    "-1",   "2",          "3",      "5",      "11",     "4294967295",
        "512",     "4",    "null", "4294967296", "1e308",  "0.5",    "[]",     "{}",
        "\"x\"",   "\"y\"", "\"\"", "true",       "16384",  "\"prelu\"", "\"F16\"",
        "9007199254740992", "9223372036854775807", "-9223372036854775808", "\"concat\"",
        "\"../../etc/passwd\"", "\"\\u0000\"", "\"\\ud800\"", "[[[[[[[[[[[[[[[[[[[[", "1e-400",
    };
    uint64_t r = next_random_u64(seed);
    if (t->size == 0) {
        return;
    }
    struct span a = find_token(t, (size_t)(r >> 8) % t->size);
    struct span b = find_token(t, (size_t)(r >> 32) % t->size);
    struct text copy = text_copy(t->data + b.start, b.size);
    switch (r % 6) {
    case 0: /* a token becomes a hard value */
    case 1: {
        const char *word = words[(r >> 16) % (sizeof(words) / sizeof(words[0]))];
        splice(t, a, word, strlen(word));
        break;
    }
    case 2: /* a token becomes another of the same file */
        splice(t, a, copy.data, copy.size);
        break;
    case 3: /* a token goes */
        splice(t, a, NULL, 0);
        break;
    case 4: { /* a stretch is repeated */
        size_t size = a.start + 60 < t->size ? 60 : t->size - a.start;
        struct text stretch = text_copy(t->data + a.start, size);
        splice(t, (struct span){b.start, 0}, stretch.data, stretch.size);
        text_free(&stretch);
        break;
    }
    default: /* a byte becomes any other */
        t->data[a.start] = (uint8_t)(r >> 24);
        break;
    }
    text_free(&copy);
}

/* One to three mutations of a good text, again and again; `data` bytes of tensors follow it in a
 * safetensors file of the right header length. Returns how many were accepted. */
static unsigned attack(const char *good, size_t data, reader read, uint64_t seed)
{
    unsigned accepted = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct text t = text_copy(good, strlen(good));
        uint64_t count = 1 + next_random_u64(&seed) % 3;
        for (uint64_t k = 0; k < count; k++) {
            mutate(&t, &seed);
        }
        struct text whole;
        if (data > 0) {
            struct text header = text_copy(t.data, t.size);
            header.data = realloc(header.data, header.size + 1);
            assert_non_null(header.data);
            header.data[header.size] = '\0';
            whole = make_safetensors((const char *)header.data, NULL, data);
            text_free(&header);
        } else {
            whole = text_copy(t.data, t.size);
        }
        accepted += read(&whole) == SRP_OK;
        text_free(&whole);
        text_free(&t);
    }
    return accepted;
}

static void structured_mutations_are_survived(void **state)
{
    (void)state;
    struct text manifest = good_manifest();
    /* Both ends are reached: most are refused, and some are sound all the same. */
    const unsigned counts[] = {
        attack(full_graph, 0, try_graph, UINT64_C(0x5eed0001)),
        attack(small_graph, 0, try_graph, UINT64_C(0x5eed0002)),
        attack(small_header, SMALL_DATA, try_parameters, UINT64_C(0x5eed0003)),
        attack((const char *)manifest.data, 0, try_manifest, UINT64_C(0x5eed0004)),
    };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        assert_in_range(counts[i], 1, ROUNDS / 2);
    }
    text_free(&manifest);
}

/* ---- whole files that are something else ---- */

static void other_files_are_refused(void **state)
{
    (void)state;
    static const char page[] = "<!DOCTYPE html><html><head><title>404</title></head></html>";
    static const uint8_t zeros[64] = {0};
    const struct text others[] = {
        {(uint8_t *)(uintptr_t)page, sizeof(page) - 1},
        {(uint8_t *)(uintptr_t)zeros, sizeof(zeros)},
        {(uint8_t *)(uintptr_t) "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16},
        {(uint8_t *)(uintptr_t) "#EXTM3U\n#EXT-X-VERSION:7\n", 25},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(try_graph(&others[i]), SRP_ERR_PARSE);
        assert_int_equal(try_manifest(&others[i]), SRP_ERR_PARSE);
        assert_int_not_equal(try_parameters(&others[i]), SRP_OK);
    }
    /* each kind for another kind */
    struct text graph = text_copy(small_graph, strlen(small_graph));
    struct text manifest = good_manifest();
    struct text parameters = small_parameters();
    assert_int_equal(try_graph(&manifest), SRP_ERR_FORMAT);
    assert_int_equal(try_manifest(&graph), SRP_ERR_FORMAT);
    assert_int_equal(try_graph(&parameters), SRP_ERR_PARSE);
    assert_int_equal(try_manifest(&parameters), SRP_ERR_PARSE);
    assert_int_equal(try_parameters(&graph), SRP_ERR_LIMIT);
    assert_int_equal(try_parameters(&manifest), SRP_ERR_LIMIT);
    text_free(&graph);
    text_free(&manifest);
    text_free(&parameters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_survived),
        cmocka_unit_test(the_hash_catches_every_flipped_bit_and_truncation),
        cmocka_unit_test(hostile_zstd_is_survived),
        cmocka_unit_test(structured_mutations_are_survived),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
