/* SPDX-License-Identifier: BSD-2-Clause */
/* The manifest validator, object verification, and the loading of models. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <zstd.h>

#include "model_data.h"

#include <srp/limits.h>

/* A good package: small_graph, its parameters, a manifest. */
struct package {
    struct text graph, parameters, manifest;
};

static struct package good_package(void)
{
    struct package p = {.graph = text_copy(small_graph, strlen(small_graph)),
                        .parameters = small_parameters()};
    p.manifest = make_manifest(&p.graph, &p.parameters, "small-x2", ".safetensors");
    return p;
}

static void package_free(struct package *p)
{
    text_free(&p->graph);
    text_free(&p->parameters);
    text_free(&p->manifest);
}

static enum srp_err open_manifest(struct srp_package **pkg, const struct text *t,
                                  struct srp_error *err)
{
    struct text exact = text_copy(t->data, t->size);
    struct srp_blob blob = text_blob(&exact, NULL);
    enum srp_err rc = srp_package_create(pkg, &blob, err);
    text_free(&exact); /* the package keeps no pointer into it */
    return rc;
}

static void reads_every_field(void **state)
{
    (void)state;
    struct package p = good_package();
    struct srp_package *pkg = NULL;
    struct srp_package_info info;
    struct srp_error err = {0};

    if (open_manifest(&pkg, &p.manifest, &err) != SRP_OK) {
        fail_msg("%s", err.detail);
    }
    srp_package_get_info(pkg, &info);
    assert_string_equal(info.content_id, "0123abcdef");
    assert_string_equal(info.generator, "tests");
    assert_int_equal(info.scale, 2);
    assert_int_equal(info.lr_width, 64);
    assert_int_equal(info.lr_height, 48);
    assert_int_equal(info.out_width, 126);
    assert_int_equal(info.out_height, 94);
    assert_int_equal(info.frame_rate_num, 24000);
    assert_int_equal(info.frame_rate_den, 1001);
    assert_int_equal(info.frame_count, 150);
    assert_int_equal(info.matrix, SRP_MATRIX_BT601);
    assert_int_equal(info.range, SRP_RANGE_FULL);
    assert_int_equal(info.chroma, SRP_CHROMA_CENTER);
    assert_true(info.source_start == 1.5);
    assert_int_equal(info.chunk_count, 2);
    assert_int_equal(info.model_count, 1);
    assert_true(info.has_audio);
    assert_true(fabs(info.duration - 150150.0 / 24000) < 1e-12);
    assert_string_equal(info.video.codec, "avc1.64001e");
    assert_int_equal(info.video.timescale, 24000);
    assert_string_equal(info.video.init.uri, "video-init.mp4");
    assert_int_equal(info.video.init.size, 700);
    assert_int_equal(info.video.init.sha256[31], 0x11);
    assert_int_equal(info.video.segment_count, 2);
    assert_string_equal(info.audio.codec, "mp4a.40.2");
    assert_int_equal(info.audio.timescale, 48000);
    assert_string_equal(info.audio.init.uri, "audio-init.mp4");
    assert_int_equal(info.audio.segment_count, 2);

    const struct srp_chunk *c = srp_package_chunk(pkg, 1);
    assert_string_equal(c->segment.object.uri, "video-1.m4s");
    assert_int_equal(c->segment.object.size, 52);
    assert_int_equal(c->segment.object.sha256[0], 0x66);
    assert_int_equal(c->segment.start, 100100);
    assert_int_equal(c->segment.duration, 50050);
    assert_int_equal(c->frames, 50);
    assert_int_equal(c->model, -1);
    assert_int_equal(srp_package_chunk(pkg, 0)->model, 0);
    assert_null(srp_package_chunk(pkg, 2));
    assert_string_equal(srp_package_audio_segment(pkg, 1)->object.uri, "audio-1.m4s");
    assert_int_equal(srp_package_audio_segment(pkg, 0)->start, 10);
    assert_null(srp_package_audio_segment(pkg, 2));
    const struct srp_package_model *m = srp_package_get_model(pkg, 0);
    assert_string_equal(m->name, "small-x2");
    assert_int_equal(m->graph.size, p.graph.size);
    assert_int_equal(strlen(m->parameters.uri), 8 + 64 + 12);
    assert_null(srp_package_get_model(pkg, 1));

    /* 100100 ticks of 24000 are 4.1708 s */
    static const struct {
        double seconds;
        uint32_t chunk;
    } at[] = {{0, 0}, {-5, 0}, {4.17, 0}, {4.171, 1}, {6, 1}, {1e300, 1}, {-1e300, 0}};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        assert_int_equal(srp_package_chunk_at(pkg, at[i].seconds), at[i].chunk);
    }
    assert_int_equal(srp_package_chunk_at(pkg, (double)NAN), 0);
    assert_int_equal(srp_package_chunk_at(pkg, (double)INFINITY), 1);
    srp_package_destroy(&pkg);
    assert_null(pkg);
    srp_package_destroy(&pkg);
    srp_package_destroy(NULL);

    /* no audio, no models, unknown keys */
    char *end = strstr((char *)p.manifest.data, " \"audio\"");
    assert_non_null(end);
    memcpy(end, " \"aud1o\"", 8);
    assert_int_equal(open_manifest(&pkg, &p.manifest, &err), SRP_OK);
    srp_package_get_info(pkg, &info);
    assert_false(info.has_audio);
    assert_int_equal(info.audio.segment_count, 0);
    assert_null(srp_package_audio_segment(pkg, 0));
    srp_package_destroy(&pkg);
    check_failure(srp_package_create(&pkg, NULL, &err), SRP_ERR_USAGE, &err, "NULL", "manifest");
    check_failure(srp_package_create(NULL, NULL, &err), SRP_ERR_USAGE, &err, "NULL", "out");
    package_free(&p);
}

struct bad {
    const char *from, *to; /* in the manifest; `from` stands there once */
    enum srp_err code;
    const char *needle;
};

static void check_bad(const struct bad *cases, size_t count)
{
    struct package p = good_package();
    for (size_t i = 0; i < count; i++) {
        struct srp_error err = {0};
        struct srp_package *pkg = NULL;
        struct text t = text_replace((const char *)p.manifest.data, cases[i].from, cases[i].to);
        enum srp_err rc = open_manifest(&pkg, &t, &err);
        if (cases[i].code == SRP_OK) {
            assert_int_equal(rc, SRP_OK);
            srp_package_destroy(&pkg);
        } else {
            check_failure(rc, cases[i].code, &err, cases[i].needle, cases[i].to);
            assert_memory_equal(err.detail, "manifest.json: ", 15);
            assert_null(pkg);
            assert_int_equal(open_manifest(&pkg, &t, NULL), cases[i].code);
        }
        text_free(&t);
    }
    package_free(&p);
}
#define CHECK_BAD(cases) check_bad(cases, sizeof(cases) / sizeof((cases)[0]))

static void refuses_bad_heads(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"\"srplay-package\"", "\"zip\"", SRP_ERR_FORMAT, "format: 'zip'"},
        {"\"format\": \"srplay-package\", ", "", SRP_ERR_FORMAT, "format: missing"},
        {"\"version\": 1", "\"version\": 2", SRP_ERR_UNSUPPORTED, "version: version 2"},
        {"\"version\": 1", "\"version\": 1, \"version\": 1", SRP_ERR_PARSE, "line 1"},
        {"\"0123abcdef\"", "\"0123ABCDEF\"", SRP_ERR_FORMAT, "content_id: not lower-case hex"},
        {"\"0123abcdef\"", "\"\"", SRP_ERR_FORMAT, "content_id: empty"},
        {"\"0123abcdef\"", "\"" H64("a") "a\"", SRP_ERR_LIMIT, "content_id: string of 65"},
        {"\"0123abcdef\"", "7", SRP_ERR_FORMAT, "content_id: an integer"},
        {"\"tests\"", "null", SRP_ERR_FORMAT, "generator: null"},
        {"\"tests\"", "\"" H64("g") H64("g") H64("g") H64("g") "g\"", SRP_ERR_LIMIT,
         "generator: string of 257"},
        {"\"scale\": 2", "\"scale\": 0", SRP_ERR_FORMAT, "scale: 0"},
        {"\"scale\": 2", "\"scale\": 5", SRP_ERR_LIMIT, "scale: 5"},
        {"\"scale\": 2", "\"scale\": -2", SRP_ERR_FORMAT, "scale: negative"},
        {"\"scale\": 2", "\"scale\": 2.5", SRP_ERR_FORMAT, "scale: a real"},
        {"[24000, 1001]", "[24000]", SRP_ERR_FORMAT, "frame_rate: 1 items"},
        {"[24000, 1001]", "[24000, 1001, 1]", SRP_ERR_FORMAT, "frame_rate: 3 items"},
        {"[24000, 1001]", "[24000, 0]", SRP_ERR_FORMAT, "frame_rate[1]: 0"},
        {"[24000, 1001]", "[0, 1001]", SRP_ERR_FORMAT, "frame_rate[0]: 0"},
        {"[24000, 1001]", "[4294967296, 1]", SRP_ERR_LIMIT, "frame_rate[0]: 4294967296"},
        {"[24000, 1001]", "23.976", SRP_ERR_FORMAT, "frame_rate: a real"},
        {"\"bt601\"", "\"bt470\"", SRP_ERR_FORMAT, "colour.matrix: 'bt470'"},
        {"\"full\"", "\"pc\"", SRP_ERR_FORMAT, "colour.range: 'pc'"},
        {"\"center\"", "\"middle\"", SRP_ERR_FORMAT, "colour.chroma: 'middle'"},
        {", \"chroma\": \"center\"", "", SRP_ERR_FORMAT, "colour.chroma: missing"},
        {"\"colour\": {", "\"color\": {", SRP_ERR_FORMAT, "colour: missing"},
        {"\"colour\": {", "\"colour\": 7, \"color\": {", SRP_ERR_FORMAT, "colour: an integer"},
        {"\"frame_count\": 150", "\"frame_count\": 151", SRP_ERR_FORMAT,
         "frame_count: 151 where the chunks have 150"},
        {"\"frame_count\": 150", "\"frame_count\": 9007199254740993", SRP_ERR_LIMIT,
         "frame_count: 9007"},
        {", \"frame_count\": 150", "", SRP_ERR_FORMAT, "frame_count: missing"},
    };
    CHECK_BAD(cases);
}

static void refuses_bad_geometry(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"\"source\"", "\"sauce\"", SRP_ERR_FORMAT, "source: missing"},
        {"\"width\": 127, ", "", SRP_ERR_FORMAT, "source.width: missing"},
        {"\"width\": 127", "\"width\": 16385", SRP_ERR_LIMIT, "source.width: 16385"},
        {"\"height\": 95", "\"height\": 0", SRP_ERR_FORMAT, "source.height: 0"},
        {"\"width\": 127, \"height\": 95", "\"width\": 16384, \"height\": 8192", SRP_ERR_LIMIT,
         "source: 16384 x 8192 is more than"},
        {"\"start\": 1.5", "\"start\": -0.5", SRP_ERR_FORMAT, "source.start: -0.5"},
        {"\"start\": 1.5", "\"start\": 1e10", SRP_ERR_LIMIT, "source.start: 1e+10"},
        {"\"start\": 1.5", "\"start\": \"0\"", SRP_ERR_FORMAT, "source.start: a string"},
        {", \"start\": 1.5", "", SRP_ERR_FORMAT, "source.start: missing"},
        {"\"start\": 1.5", "\"start\": 0", SRP_OK, NULL},
        {"\"output\"", "\"out\"", SRP_ERR_FORMAT, "output: missing"},
        {"\"width\": 126", "\"width\": 0", SRP_ERR_FORMAT, "output.width: 0"},
        {"\"width\": 126", "\"width\": 129", SRP_ERR_FORMAT,
         "output.width: 129 does not fit 64 enlarged by 2"},
        {"\"width\": 126", "\"width\": 128", SRP_OK, NULL},
        {"\"width\": 126", "\"width\": 125", SRP_OK, NULL},
        {"\"width\": 126", "\"width\": 124", SRP_ERR_FORMAT, "output.width: 124 does not fit"},
        {"\"height\": 94", "\"height\": 97", SRP_ERR_FORMAT, "output.height: 97 does not fit 48"},
        {"\"height\": 94", "\"height\": 92", SRP_ERR_FORMAT, "output.height: 92 does not fit 48"},
        {"\"height\": 94", "\"height\": 93", SRP_OK, NULL},
        {"\"video\"", "\"vid\"", SRP_ERR_FORMAT, "video: missing"},
        {"\"width\": 64,", "\"width\": -64,", SRP_ERR_FORMAT, "video.width: negative"},
        {"\"height\": 48,", "\"height\": 48.0,", SRP_ERR_FORMAT, "video.height: a real"},
        {"\"width\": 126, \"height\": 94},", "\"width\": 16384, \"height\": 94},", SRP_ERR_FORMAT,
         "output.width: 16384 does not fit"},
        {"\"timescale\": 24000", "\"timescale\": 0", SRP_ERR_FORMAT, "video.timescale: 0"},
        {"\"timescale\": 24000", "\"timescale\": 1000000001", SRP_ERR_LIMIT, "video.timescale: 10"},
        {"\"avc1.64001e\"", "\"avc1;rm\"", SRP_ERR_FORMAT, "video.codec: 'avc1;rm'"},
        {"\"codec\": \"avc1.64001e\", ", "", SRP_ERR_FORMAT, "video.codec: missing"},
        {"\"avc1.64001e\"", "\"" H64("c") "c\"", SRP_ERR_LIMIT, "video.codec: string of 65"},
    };
    CHECK_BAD(cases);

    /* 8193 x 48 enlarged by 2 is too wide, although both pictures are allowed. */
    struct package p = good_package();
    struct srp_package *pkg = NULL;
    struct srp_error err = {0};
    struct text t =
        text_replace((const char *)p.manifest.data, "\"width\": 64,", "\"width\": 8193,");
    t.data[t.size] = '\0';
    struct text u = text_replace((const char *)t.data, "\"width\": 126", "\"width\": 16384");
    check_failure(open_manifest(&pkg, &u, &err), SRP_ERR_LIMIT, &err,
                  "video: 8193 x 48 enlarged by 2 is too large", "wide");
    text_free(&t);
    text_free(&u);
    package_free(&p);
}

static void refuses_bad_objects(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        /* file names */
        {"\"video-init.mp4\"", "\"\"", SRP_ERR_FORMAT, "video.init.uri: empty"},
        {"\"video-init.mp4\"", "\"a/b.mp4\"", SRP_ERR_FORMAT, "video.init.uri: 'a/b.mp4'"},
        {"\"video-init.mp4\"", "\"/etc/passwd\"", SRP_ERR_FORMAT, "video.init.uri: '/etc/passwd'"},
        {"\"video-init.mp4\"", "\"..\"", SRP_ERR_FORMAT, "'..' begins with a dot"},
        {"\"video-init.mp4\"", "\".hidden\"", SRP_ERR_FORMAT, "'.hidden' begins with a dot"},
        {"\"video-init.mp4\"", "\"../x.mp4\"", SRP_ERR_FORMAT, "video.init.uri: '../x.mp4'"},
        {"\"video-init.mp4\"", "\"a\\\\b.mp4\"", SRP_ERR_FORMAT, "video.init.uri: 'a\\x5cb.mp4'"},
        {"\"video-init.mp4\"", "\"http://h/x\"", SRP_ERR_FORMAT, "video.init.uri: 'http:"},
        {"\"video-init.mp4\"", "\"file:x\"", SRP_ERR_FORMAT, "video.init.uri: 'file:x'"},
        {"\"video-init.mp4\"", "\"a%2fb\"", SRP_ERR_FORMAT, "video.init.uri: 'a%2fb'"},
        {"\"video-init.mp4\"", "\"a b\"", SRP_ERR_FORMAT, "video.init.uri: 'a b'"},
        {"\"video-init.mp4\"", "\"a?b\"", SRP_ERR_FORMAT, "video.init.uri: 'a?b'"},
        {"\"video-init.mp4\"", "\"a#b\"", SRP_ERR_FORMAT, "video.init.uri: 'a#b'"},
        {"\"video-init.mp4\"", "\"\xc3\xa9.mp4\"", SRP_ERR_FORMAT, "'\\xc3\\xa9.mp4'"},
        {"\"video-init.mp4\"", "\"a\\u0000b\"", SRP_ERR_PARSE, "line"},
        {"\"video-init.mp4\"", "\"a\\nb\"", SRP_ERR_FORMAT, "'a\\x0ab'"},
        {"\"video-init.mp4\"", "\"" H64("u") H64("u") "u\"", SRP_ERR_LIMIT,
         "video.init.uri: string of 129"},
        {"\"uri\": \"video-init.mp4\", ", "", SRP_ERR_FORMAT, "video.init.uri: missing"},
        {"\"size\": 700", "\"size\": 0", SRP_ERR_FORMAT, "video.init.size: 0"},
        {"\"size\": 700", "\"size\": -700", SRP_ERR_FORMAT, "video.init.size: negative"},
        {"\"size\": 700", "\"size\": 1073741825", SRP_ERR_LIMIT, "video.init.size: 1073741825"},
        {"\"size\": 700", "\"size\": \"700\"", SRP_ERR_FORMAT, "video.init.size: a string"},
        {"\"size\": 700, ", "", SRP_ERR_FORMAT, "video.init.size: missing"},
        {"\"" H64("1") "\"", "\"" H64("A") "\"", SRP_ERR_FORMAT,
         "video.init.sha256: not 64 lower-case hex digits"},
        {"\"" H64("1") "\"", "\"11\"", SRP_ERR_FORMAT, "video.init.sha256: not 64"},
        {"\"" H64("1") "\"", "\"" H64("1") "1\"", SRP_ERR_LIMIT, "video.init.sha256: string of 65"},
        {"\"" H64("1") "\"", "11", SRP_ERR_FORMAT, "video.init.sha256: an integer"},
        {", \"sha256\": \"" H64("1") "\"", "", SRP_ERR_FORMAT, "video.init.sha256: missing"},
        {"\"init\": {\"uri\": \"video-init.mp4\"", "\"i\": {\"uri\": \"video-init.mp4\"",
         SRP_ERR_FORMAT, "video.init: missing"},
        {"\"init\": {\"uri\": \"video-init.mp4\"", "\"init\": null, \"i\": {\"uri\": \"v.mp4\"",
         SRP_ERR_FORMAT, "video.init: null"},
        /* models */
        {"\"small-x2\"", "\"small/x2\"", SRP_ERR_FORMAT, "models[0].name: 'small/x2'"},
        {"\"small-x2\"", "\"" H64("n") "n\"", SRP_ERR_LIMIT, "models[0].name: string of 65"},
        {"\"name\": \"small-x2\",", "", SRP_ERR_FORMAT, "models[0].name: missing"},
        {"\"models\"", "\"mod\"", SRP_ERR_FORMAT, "models: missing"},
        {"\"graph\": {", "\"g\": {", SRP_ERR_FORMAT, "models[0].graph: missing"},
        {"\"parameters\": {", "\"p\": {", SRP_ERR_FORMAT, "models[0].parameters: missing"},
        {".json\"", ".jsn\"", SRP_ERR_FORMAT, "models[0].graph.uri: '.jsn' is no extension"},
        {".json\"", ".safetensors\"", SRP_ERR_FORMAT, "models[0].graph.uri: '.safetensors' is no"},
        {".json\"", "\"", SRP_ERR_FORMAT, "models[0].graph.uri: '' is no extension"},
        {".json\"", ".json/../../x\"", SRP_ERR_FORMAT, "models[0].graph.uri: '.json/../../x'"},
        {".safetensors\"", ".json\"", SRP_ERR_FORMAT, "models[0].parameters.uri: '.json' is no"},
        {".safetensors\"", ".safetensors.gz\"", SRP_ERR_FORMAT, "models[0].parameters.uri"},
        {".safetensors\"", ".safetensors.zst\"", SRP_OK, NULL},
        {"\"graph\": {\"uri\": \"objects/", "\"graph\": {\"uri\": \"../objects/", SRP_ERR_FORMAT,
         "models[0].graph.uri: '../objects/"},
        {"\"graph\": {\"uri\": \"objects/", "\"graph\": {\"uri\": \"objects/0", SRP_ERR_FORMAT,
         "models[0].graph.uri: the name's hash is not the object's"},
        {"\"graph\": {\"uri\": \"objects/", "\"graph\": {\"uri\": \"Objects/", SRP_ERR_FORMAT,
         "models[0].graph.uri: 'Objects/"},
        {"\"graph\": {\"uri\": \"objects/", "\"graph\": {\"uri\": \"objects/short.json\", \"u\": "
         "\"", SRP_ERR_FORMAT, "models[0].graph.uri: 'objects/short.json' is not"},
        {"\"graph\": {\"uri\": \"objects/", "\"graph\": {\"uri\": \"objects/" H64("0")
         ".json\", \"u\": \"", SRP_ERR_FORMAT, "models[0].graph.uri: the name's hash"},
        {"\"size\": 184", "\"size\": 268435457", SRP_ERR_LIMIT, "size: 268435457"},
    };
    size_t count = sizeof(cases) / sizeof(cases[0]);
    check_bad(cases, count - 1);

    /* The size of the graph object is only known here. */
    char from[32];
    snprintf(from, sizeof(from), "\"size\": %zu", strlen(small_graph));
    struct bad big = cases[count - 1];
    big.from = from;
    check_bad(&big, 1);
}

static void refuses_bad_tracks_and_chunks(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"\"chunks\"", "\"chonks\"", SRP_ERR_FORMAT, "chunks: missing"},
        {"\"segment\": {\"uri\": \"video-1", "\"seg\": {\"uri\": \"video-1", SRP_ERR_FORMAT,
         "chunks[1].segment: missing"},
        {"\"video-1.m4s\"", "\"objects/x\"", SRP_ERR_FORMAT, "chunks[1].segment.uri: 'objects/x'"},
        {"\"size\": 52", "\"size\": -52", SRP_ERR_FORMAT, "chunks[1].segment.size: negative"},
        {"\"start\": 0, \"duration\"", "\"start\": 1, \"duration\"", SRP_ERR_FORMAT,
         "chunks[0].segment.start: 1 leaves a gap after 0"},
        {"\"start\": 100100", "\"start\": 100101", SRP_ERR_FORMAT,
         "chunks[1].segment.start: 100101 leaves a gap after 100100"},
        {"\"start\": 100100", "\"start\": 100099", SRP_ERR_FORMAT,
         "chunks[1].segment.start: 100099 overlaps"},
        {"\"start\": 100100", "\"start\": 0", SRP_ERR_FORMAT, "chunks[1].segment.start: 0 over"},
        {"\"start\": 100100", "\"start\": -1", SRP_ERR_FORMAT,
         "chunks[1].segment.start: negative"},
        {"\"start\": 100100, ", "", SRP_ERR_FORMAT, "chunks[1].segment.start: missing"},
        {"\"duration\": 100100", "\"duration\": 0", SRP_ERR_FORMAT, "chunks[0].segment.duration"},
        {"\"duration\": 50050", "\"duration\": 9007199254640893", SRP_ERR_LIMIT,
         "chunks[1].segment.duration: 9007199254640893 is above 9007199254640892"},
        {"\"frames\": 50", "\"frames\": 0", SRP_ERR_FORMAT, "chunks[1].frames: 0"},
        {"\"frames\": 50", "\"frames\": 1048577", SRP_ERR_LIMIT, "chunks[1].frames: 1048577"},
        {"\"frames\": 50", "\"frames\": 49", SRP_ERR_FORMAT, "frame_count: 150 where"},
        {"\"frames\": 50, ", "", SRP_ERR_FORMAT, "chunks[1].frames: missing"},
        {"\"model\": 0", "\"model\": 1", SRP_ERR_FORMAT, "chunks[0].model: model 1 of 1"},
        {"\"model\": 0", "\"model\": -1", SRP_ERR_FORMAT, "chunks[0].model: negative"},
        {"\"model\": 0", "\"model\": 4294967296", SRP_ERR_FORMAT, "chunks[0].model: model 42949"},
        {"\"model\": 0", "\"model\": \"0\"", SRP_ERR_FORMAT, "chunks[0].model: a string"},
        {"\"model\": 0", "\"model\": false", SRP_ERR_FORMAT, "chunks[0].model: a truth"},
        {", \"model\": null", "", SRP_ERR_FORMAT, "chunks[1].model: missing"},
        {"\"audio\": {", "\"audio\": null, \"a\": {", SRP_ERR_FORMAT, "audio: null"},
        {"\"mp4a.40.2\"", "\"mp4a 40\"", SRP_ERR_FORMAT, "audio.codec: 'mp4a 40'"},
        {"\"timescale\": 48000", "\"timescale\": 0", SRP_ERR_FORMAT, "audio.timescale: 0"},
        {"\"sample_rate\": 44100", "\"sample_rate\": 0", SRP_ERR_FORMAT, "audio.sample_rate: 0"},
        {"\"sample_rate\": 44100", "\"sample_rate\": 768001", SRP_ERR_LIMIT, "audio.sample_rate"},
        {" \"sample_rate\": 44100,", "", SRP_ERR_FORMAT, "audio.sample_rate: missing"},
        {"\"channels\": 2", "\"channels\": 0", SRP_ERR_FORMAT, "audio.channels: 0"},
        {"\"channels\": 2", "\"channels\": 65", SRP_ERR_LIMIT, "audio.channels: 65"},
        {"\"audio-init.mp4\"", "\"./a\"", SRP_ERR_FORMAT, "audio.init.uri: './a'"},
        {"\"segments\": [", "\"segments\": [], \"s\": [", SRP_ERR_FORMAT, "audio.segments: 0 item"},
        {"\"segments\": [", "\"s\": [", SRP_ERR_FORMAT, "audio.segments: missing"},
        {"\"audio-1.m4s\"", "\"a:1\"", SRP_ERR_FORMAT, "audio.segments[1].uri: 'a:1'"},
        {"\"start\": 200010", "\"start\": 200009", SRP_ERR_FORMAT,
         "audio.segments[1].start: 200009 overlaps"},
        {"\"start\": 200010", "\"start\": 200020", SRP_OK, NULL}, /* audio may pause */
        {"\"duration\": 200000", "\"duration\": 0", SRP_ERR_FORMAT, "audio.segments[0].duration"},
    };
    CHECK_BAD(cases);
}

static void refuses_lists_that_are_too_long(void **state)
{
    (void)state;
    struct package p = good_package();
    struct srp_package *pkg = NULL;
    struct srp_error err = {0};
    const size_t room = 4u * SRP_MAX_CHUNKS;
    char *list = malloc(room);
    static const struct {
        const char *from, *head, *needle;
        unsigned count;
    } cases[] = {
        {"\"models\": [", "\"models\": [", "models: 66 items", SRP_MAX_MODELS + 1},
        {"\"chunks\": [", "\"chunks\": [", "chunks: 100003 items", SRP_MAX_CHUNKS + 1},
        {"\"segments\": [", "\"segments\": [", "audio.segments: 100003", SRP_MAX_CHUNKS + 1},
    };
    assert_non_null(list);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t used = strlen(cases[i].head);
        memcpy(list, cases[i].head, used);
        for (unsigned k = 0; k < cases[i].count; k++) {
            list[used++] = '7';
            list[used++] = ',';
        }
        list[used] = '\0';
        struct text t = text_replace((const char *)p.manifest.data, cases[i].from, list);
        check_failure(open_manifest(&pkg, &t, &err), SRP_ERR_LIMIT, &err, cases[i].needle, "list");
        text_free(&t);
    }
    struct text t = text_replace((const char *)p.manifest.data, "\"chunks\": [",
                                 "\"chunks\": [], \"c\": [");
    check_failure(open_manifest(&pkg, &t, &err), SRP_ERR_FORMAT, &err, "chunks: 0 items", "none");
    text_free(&t);
    free(list);
    package_free(&p);
}

/* ---- objects and models ---- */

static void verifies_objects(void **state)
{
    (void)state;
    /* FIPS 180-2: SHA-256 of "abc" */
    struct srp_object object = {
        .uri = "objects/abc",
        .size = 3,
        .sha256 = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                   0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                   0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad},
    };
    struct srp_error err = {0};
    assert_int_equal(srp_object_verify(&object, "abc", 3, &err), SRP_OK);
    assert_int_equal(err.code, 0);
    check_failure(srp_object_verify(&object, "abd", 3, &err), SRP_ERR_HASH, &err,
                  "objects/abc: SHA-256 is a52d159f..., the manifest declares ba7816bf...", "abd");
    check_failure(srp_object_verify(&object, "ab", 2, &err), SRP_ERR_SIZE, &err,
                  "objects/abc: 2 bytes where the manifest declares 3", "short");
    check_failure(srp_object_verify(&object, "abcd", 4, &err), SRP_ERR_SIZE, &err, "4 bytes", "");
    check_failure(srp_object_verify(&object, NULL, 0, &err), SRP_ERR_SIZE, &err, "0 bytes", "");
    check_failure(srp_object_verify(&object, NULL, 3, &err), SRP_ERR_USAGE, &err, "NULL", "");
    check_failure(srp_object_verify(NULL, "abc", 3, &err), SRP_ERR_USAGE, &err, "NULL", "");
}

/* Loads model 0 of a package made of these files. */
static enum srp_err load(const struct text *graph, const struct text *parameters, const char *name,
                         const char *extension, struct srp_model **model, struct srp_error *err)
{
    struct srp_package *pkg = NULL;
    struct text manifest = make_manifest(graph, parameters, name, extension);
    struct srp_blob g = text_blob(graph, NULL);
    struct srp_blob p = text_blob(parameters, NULL);

    assert_int_equal(open_manifest(&pkg, &manifest, err), SRP_OK);
    enum srp_err rc = srp_package_load_model(pkg, 0, &g, &p, model, err);
    srp_package_destroy(&pkg);
    text_free(&manifest);
    return rc;
}

static struct text compressed(const struct text *plain, bool declare)
{
    struct text t = {malloc(ZSTD_compressBound(plain->size)), 0};
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_non_null(t.data);
    assert_non_null(context);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, declare);
    t.size = ZSTD_compress2(context, t.data, ZSTD_compressBound(plain->size), plain->data,
                            plain->size);
    assert_false(ZSTD_isError(t.size));
    ZSTD_freeCCtx(context);
    struct text exact = text_copy(t.data, t.size);
    text_free(&t);
    return exact;
}

static void loads_plain_and_compressed_models(void **state)
{
    (void)state;
    struct package p = good_package();
    struct text zst = compressed(&p.parameters, true);
    struct srp_error err = {0};
    for (int i = 0; i < 2; i++) {
        struct srp_model *model = NULL;
        enum srp_err rc = load(&p.graph, i == 0 ? &p.parameters : &zst, "small-x2",
                               i == 0 ? ".safetensors" : ".safetensors.zst", &model, &err);
        if (rc != SRP_OK) {
            fail_msg("%s", err.detail);
        }
        assert_true(model->graph.nodes[0].weight[35] == 1.0f);
        srp_model_unref(&model);
    }
    text_free(&zst);
    package_free(&p);
}

static void refuses_models_that_are_not_the_promised_ones(void **state)
{
    (void)state;
    struct package p = good_package();
    struct srp_package *pkg = NULL;
    struct srp_error err = {0};
    struct srp_model *model = NULL;
    struct srp_blob g = text_blob(&p.graph, NULL);
    struct srp_blob q = text_blob(&p.parameters, NULL);

    check_failure(load(&p.graph, &p.parameters, "other-x2", ".safetensors", &model, &err),
                  SRP_ERR_FORMAT, &err, "named 'small-x2' where the manifest has 'other-x2'",
                  "name");
    const char *x1 = "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"n\",\"scale\":1,"
                     "\"colour\":\"y\",\"input\":\"x\",\"output\":\"y\",\"nodes\":[{\"op\":"
                     "\"resize\",\"name\":\"r\",\"inputs\":[\"x\"],\"output\":\"y\",\"scale\":1,"
                     "\"mode\":\"nearest\"}]}";
    struct text graph = text_copy(x1, strlen(x1));
    struct text none = make_safetensors("{}", NULL, 0);
    check_failure(load(&graph, &none, "n", ".safetensors", &model, &err), SRP_ERR_FORMAT, &err,
                  ".json: scale 1 in a package of scale 2", "scale");
    text_free(&graph);
    text_free(&none);

    assert_int_equal(open_manifest(&pkg, &p.manifest, &err), SRP_OK);
    check_failure(srp_package_load_model(pkg, 1, &g, &q, &model, &err), SRP_ERR_USAGE, &err,
                  "model 1 of 1", "index");
    check_failure(srp_package_load_model(pkg, 0, NULL, &q, &model, &err), SRP_ERR_USAGE, &err,
                  "NULL", "graph");
    check_failure(srp_package_load_model(pkg, 0, &q, &q, &model, &err), SRP_ERR_SIZE, &err,
                  "objects/", "graph and parameters exchanged");
    p.graph.data[p.graph.size - 1] ^= 1;
    check_failure(srp_package_load_model(pkg, 0, &g, &q, &model, &err), SRP_ERR_HASH, &err,
                  ".json: SHA-256 is", "graph");
    p.graph.data[p.graph.size - 1] ^= 1;
    p.parameters.data[p.parameters.size - 1] ^= 1;
    check_failure(srp_package_load_model(pkg, 0, &g, &q, &model, &err), SRP_ERR_HASH, &err,
                  ".safetensors: SHA-256 is", "parameters");
    p.parameters.data[p.parameters.size - 1] ^= 1;
    g.name = "cache/1";
    g.size--;
    check_failure(srp_package_load_model(pkg, 0, &g, &q, &model, &err), SRP_ERR_SIZE, &err,
                  "cache/1: ", "the caller's name");
    assert_null(model);
    srp_package_destroy(&pkg);
    package_free(&p);
}

static void refuses_bad_zstd(void **state)
{
    (void)state;
    struct package p = good_package();
    struct text good = compressed(&p.parameters, true);
    struct text silent = compressed(&p.parameters, false);
    struct srp_error err = {0};
    struct srp_model *model = NULL;

#define ZST(t) load(&p.graph, (t), "small-x2", ".safetensors.zst", &model, &err)
    check_failure(ZST(&p.parameters), SRP_ERR_PARSE, &err, "not a zstd frame", "plain");
    check_failure(ZST(&silent), SRP_ERR_FORMAT, &err, "does not declare", "silent");
    check_failure(load(&p.graph, &good, "small-x2", ".safetensors", &model, &err), SRP_ERR_FORMAT,
                  &err, "a zstd frame", "read as plain");

    /* one byte more, a second frame, a skippable frame behind and before */
    static const uint8_t skippable[9] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7};
    struct text two = {malloc(2 * good.size + 16), good.size + 1};
    assert_non_null(two.data);
    memcpy(two.data, good.data, good.size);
    two.data[good.size] = 0;
    check_failure(ZST(&two), SRP_ERR_SIZE, &err, "1 bytes after the zstd frame", "trailing");
    memcpy(two.data + good.size, good.data, good.size);
    two.size = 2 * good.size;
    check_failure(ZST(&two), SRP_ERR_SIZE, &err, "bytes after the zstd frame", "two frames");
    memcpy(two.data + good.size, skippable, 9);
    two.size = good.size + 9;
    check_failure(ZST(&two), SRP_ERR_SIZE, &err, "9 bytes after the zstd frame", "skippable");
    memcpy(two.data, skippable, 9);
    memcpy(two.data + 9, good.data, good.size);
    check_failure(ZST(&two), SRP_ERR_PARSE, &err, "not a zstd frame", "skippable first");
    text_free(&two);

    /* every truncation */
    for (size_t size = 1; size < good.size; size++) {
        struct text part = text_copy(good.data, size);
        enum srp_err rc = ZST(&part);
        assert_int_equal(rc, SRP_ERR_PARSE);
        check_outcome(rc, &err);
        text_free(&part);
    }

    /* A frame header that declares 2^28 + 1 bytes and then 2^28: single segment, 4-byte size. */
    uint8_t bomb[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 1, 0, 0, 0x10, 3, 0, 0, 7};
    struct text t = text_copy(bomb, sizeof(bomb));
    check_failure(ZST(&t), SRP_ERR_LIMIT, &err, "268435457 bytes once decompressed", "bomb");
    text_free(&t);
    /* Declares 100 bytes, carries a run of 0. */
    bomb[5] = 100;
    bomb[8] = 0;
    t = text_copy(bomb, sizeof(bomb));
    check_failure(ZST(&t), SRP_ERR_PARSE, &err, "zstd:", "lies about its size");
    text_free(&t);
    /* Declares 0 bytes. */
    bomb[5] = 0;
    t = text_copy(bomb, sizeof(bomb));
    check_failure(ZST(&t), SRP_ERR_FORMAT, &err, "does not declare", "empty");
    text_free(&t);

    assert_null(model);
    text_free(&good);
    text_free(&silent);
    package_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_field),
        cmocka_unit_test(refuses_bad_heads),
        cmocka_unit_test(refuses_bad_geometry),
        cmocka_unit_test(refuses_bad_objects),
        cmocka_unit_test(refuses_bad_tracks_and_chunks),
        cmocka_unit_test(refuses_lists_that_are_too_long),
        cmocka_unit_test(verifies_objects),
        cmocka_unit_test(loads_plain_and_compressed_models),
        cmocka_unit_test(refuses_models_that_are_not_the_promised_ones),
        cmocka_unit_test(refuses_bad_zstd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
