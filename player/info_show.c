/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>
#include <srp/model.h>

#include "info.h"
#include "info_route.h"
#include "tool.h"
#include "tool_package.h"
#include "url.h"

int sp_info_complain(const struct srp_error *err)
{
    sp_tool_complain(SP_INFO_PROGRAM, "%s", err->detail);
    return sp_tool_file_status(err->code);
}

/* ---- packages -----------------------------------------------------------------------------------
 */

static const char *const matrix_name[] = {"bt709", "bt601", "bt2020"};
static const char *const range_name[] = {"limited", "full"};
static const char *const chroma_name[] = {"left", "center", "topleft"};

static json_t *object_json(const struct srp_object *o)
{
    char hash[65];
    for (size_t i = 0; i < 32; i++) {
        snprintf(hash + 2 * i, 3, "%02x", o->sha256[i]);
    }
    return json_pack("{s:s,s:I,s:s}", "uri", o->uri, "size", (json_int_t)o->size, "sha256", hash);
}

static json_t *model_json(struct sp_tool_package *tool, uint32_t index)
{
    const struct srp_package_model *m = srp_package_get_model(tool->package, index);
    struct srp_model *model = sp_info_package_graph(tool, index);
    struct srp_model_info info = {.name = NULL};
    if (model) {
        srp_model_get_info(model, &info);
    }
    json_t *object =
        json_pack("{s:s,s:o,s:o,s:o,s:o}", "name", m->name, "graph", object_json(&m->graph),
                  "parameters", object_json(&m->parameters), "path_macs",
                  model ? sp_info_paths_json(model) : json_null(), "default_path",
                  model ? json_integer(info.default_path) : json_null());
    srp_model_unref(&model);
    return object;
}

static json_t *package_json(struct sp_tool_package *tool, const struct srp_package_info *i)
{
    const struct srp_package *p = tool->package;
    json_t *models = json_array(), *chunks = json_array();
    for (uint32_t k = 0; k < i->model_count; k++) {
        json_array_append_new(models, model_json(tool, k));
    }
    for (uint32_t k = 0; k < i->chunk_count; k++) {
        const struct srp_chunk *c = srp_package_chunk(p, k);
        json_array_append_new(
            chunks, json_pack("{s:o,s:f,s:f,s:I,s:o,s:o,s:o}", "segment",
                              object_json(&c->segment.object), "start",
                              (double)c->segment.start / i->video.timescale, "duration",
                              (double)c->segment.duration / i->video.timescale, "frames",
                              (json_int_t)c->frames, "model",
                              c->model < 0 ? json_null() : json_integer(c->model), "update",
                              c->has_update ? object_json(&c->update) : json_null(), "routes",
                              sp_info_chunk_routes(tool, k)));
    }
    return json_pack(
        "{s:s,s:s,s:s,s:I,s:[I,I],s:[I,I],s:[I,I],s:I,s:f,s:f,s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "kind",
        "package", "content_id", i->content_id, "generator", i->generator ? i->generator : "",
        "scale", (json_int_t)i->scale, "lr_size", (json_int_t)i->lr_width, (json_int_t)i->lr_height,
        "out_size", (json_int_t)i->out_width, (json_int_t)i->out_height, "frame_rate",
        (json_int_t)i->frame_rate_num, (json_int_t)i->frame_rate_den, "frame_count",
        (json_int_t)i->frame_count, "duration_s", i->duration, "source_start", i->source_start,
        "matrix", matrix_name[i->matrix], "range", range_name[i->range], "chroma",
        chroma_name[i->chroma], "video_codec", i->video.codec, "audio_codec",
        i->has_audio ? json_string(i->audio.codec) : json_null(), "models", models, "chunks",
        chunks);
}

static void package_table(struct sp_tool_package *tool, const struct srp_package_info *i)
{
    const struct srp_package *p = tool->package;
    uint64_t video = i->video.init.size, audio = i->has_audio ? i->audio.init.size : 0;
    char text[32];
    for (uint32_t k = 0; k < i->chunk_count; k++) {
        video += srp_package_chunk(p, k)->segment.object.size;
    }
    for (uint32_t k = 0; i->has_audio && k < i->audio.segment_count; k++) {
        audio += srp_package_audio_segment(p, k)->object.size;
    }
    printf("package     %s\n", i->content_id);
    if (i->generator && i->generator[0]) {
        printf("generator   ");
        for (const char *c = i->generator; *c;
             c++) { /* text of a stranger on its way to a terminal */
            putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c);
        }
        putchar('\n');
    }
    printf("picture     %ux%u -> %ux%u (scale %u), %.3f frames/s, %s, %s, %s\n", i->lr_width,
           i->lr_height, i->out_width, i->out_height, i->scale,
           (double)i->frame_rate_num / i->frame_rate_den, matrix_name[i->matrix],
           range_name[i->range], chroma_name[i->chroma]);
    printf("length      %.3f s, %llu frames, %u chunks, from second %.3f of the source\n",
           i->duration, (unsigned long long)i->frame_count, i->chunk_count, i->source_start);
    printf("video       %s, %s\n", i->video.codec, sp_tool_bytes(text, sizeof text, (double)video));
    if (i->has_audio) {
        printf("audio       %s, %s\n", i->audio.codec,
               sp_tool_bytes(text, sizeof text, (double)audio));
    }
    for (uint32_t k = 0; k < i->model_count; k++) {
        const struct srp_package_model *m = srp_package_get_model(p, k);
        uint32_t used = 0, updated = 0;
        for (uint32_t c = 0; c < i->chunk_count; c++) {
            const struct srp_chunk *chunk = srp_package_chunk(p, c);
            used += chunk->model == (int32_t)k;
            updated += chunk->model == (int32_t)k && chunk->has_update;
        }
        printf("model %-5u %s, %s, used by %u chunks", k, m->name,
               sp_tool_bytes(text, sizeof text, (double)(m->graph.size + m->parameters.size)),
               used);
        if (updated > 0) {
            printf(", %u with an update", updated);
        }
        printf("\n");
        struct srp_model *model = sp_info_package_graph(tool, k);
        if (model) {
            char paths[256];
            sp_info_paths_text(model, paths, sizeof paths);
            if (paths[0]) {
                printf("paths %-5u MAC per pixel of each: %s\n", k, paths);
            }
        }
        srp_model_unref(&model);
    }
    sp_info_print_routes(tool);
}

static int show_package(const char *what, bool json)
{
    struct srp_error err = {.code = SRP_OK};
    struct sp_tool_package tool;
    struct srp_package_info info;
    int status = SP_EXIT_OK;
    if (sp_tool_package_open(&tool, what, &err) != SRP_OK) {
        return sp_info_complain(&err);
    }
    srp_package_get_info(tool.package, &info);
    if (json) {
        status = sp_tool_print_json(SP_INFO_PROGRAM, package_json(&tool, &info));
    } else {
        package_table(&tool, &info);
    }
    sp_tool_package_close(&tool);
    return status;
}

/* ---- graphs -------------------------------------------------------------------------------------
 */

static const char *text_of(const json_t *node, const char *key)
{
    const char *text = json_string_value(json_object_get(node, key));
    return text ? text : "";
}

/* The graph has been validated: only what is optional can be missing. */
static void graph_table(const json_t *root, const struct srp_model_info *info, const char *paths)
{
    size_t i = 0, k = 0;
    json_t *node = NULL, *input = NULL;
    printf("model       %s, scale %u, %u channels (%s), mean %g\n", info->name, info->scale,
           info->channels, text_of(root, "colour"),
           json_number_value(json_object_get(root, "mean")));
    printf("size        %llu parameters, %llu MAC per pixel, sees %u pixels around\n",
           (unsigned long long)info->parameter_count, (unsigned long long)info->macs_per_pixel,
           info->halo);
    if (paths[0]) {
        printf("paths       MAC per pixel of each: %s\n", paths);
    }
    json_array_foreach(json_object_get(root, "nodes"), i, node)
    {
        const json_t *kernel = json_object_get(node, "kernel");
        printf("%-11s %-15s", text_of(node, "name"), text_of(node, "op"));
        json_array_foreach(json_object_get(node, "inputs"), k, input)
        {
            printf("%s%s", k ? ", " : " ", json_string_value(input));
        }
        printf(" -> %s", text_of(node, "output"));
        if (kernel) {
            printf("  %lldx%lld to %lld", (long long)json_integer_value(json_array_get(kernel, 0)),
                   (long long)json_integer_value(json_array_get(kernel, 1)),
                   (long long)json_integer_value(json_object_get(node, "channels")));
        }
        printf("%s%s\n", json_object_get(node, "activation") ? "  " : "",
               text_of(node, "activation"));
    }
}

static int show_graph(const struct srp_blob *blob, const json_t *root, bool json)
{
    struct srp_model *model = NULL;
    struct srp_model_info info;
    struct srp_error err = {.code = SRP_OK};
    int status = SP_EXIT_OK;
    if (srp_model_create_random(&model, blob, 1, &err) != SRP_OK) {
        return sp_info_complain(&err);
    }
    srp_model_get_info(model, &info);
    if (json) {
        status = sp_tool_print_json(
            SP_INFO_PROGRAM,
            json_pack("{s:s,s:s,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:I}", "kind", "graph", "name",
                      info.name,
                      "scale", (json_int_t)info.scale, "colour", text_of(root, "colour"),
                      "channels", (json_int_t)info.channels, "parameter_count",
                      (json_int_t)info.parameter_count, "macs_per_pixel",
                      (json_int_t)info.macs_per_pixel, "halo", (json_int_t)info.halo, "node_count",
                      (json_int_t)info.node_count, "path_macs", sp_info_paths_json(model),
                      "default_path", (json_int_t)info.default_path));
    } else {
        char paths[256];
        sp_info_paths_text(model, paths, sizeof paths);
        graph_table(root, &info, paths);
    }
    srp_model_unref(&model);
    return status;
}

/* ---- parameters ---------------------------------------------------------------------------------
 */

static float from_half(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    float value = exponent == 31  ? (mantissa ? NAN : INFINITY)
                  : exponent == 0 ? ldexpf((float)mantissa, -24)
                                  : ldexpf((float)(mantissa + 1024), exponent - 25);
    return h & 0x8000 ? -value : value;
}

/* Element i of a little-endian tensor. */
static float element(const uint8_t *data, const char *dtype, size_t i)
{
    float value = 0.0f;
    uint32_t bits = 0;
    if (strcmp(dtype, "I8") == 0) {
        return (float)(int8_t)data[i];
    }
    if (strcmp(dtype, "F32") == 0) {
        data += 4 * i;
        bits = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
               (uint32_t)data[3] << 24;
    } else {
        data += 2 * i;
        bits = (uint32_t)data[0] | (uint32_t)data[1] << 8;
        if (dtype[0] == 'F') {
            return from_half((uint16_t)bits);
        }
        bits <<= 16;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct tensor {
    const char *name, *dtype;
    uint64_t count;
    json_t *shape;
    float least, most;
    uint64_t nonfinite;
};

/* Of an entry that the library's reader has accepted; data: what follows the header. */
static void read_tensor(struct tensor *t, json_t *entry, const uint8_t *data)
{
    const json_t *offsets = json_object_get(entry, "data_offsets"), *side = NULL;
    size_t i = 0;
    t->dtype = text_of(entry, "dtype");
    t->shape = json_object_get(entry, "shape");
    t->count = 1;
    json_array_foreach(t->shape, i, side)
    {
        t->count *= (uint64_t)json_integer_value(side);
    }
    data += json_integer_value(json_array_get(offsets, 0));
    t->least = INFINITY;
    t->most = -INFINITY;
    for (uint64_t k = 0; k < t->count; k++) {
        float v = element(data, t->dtype, (size_t)k);
        if (!isfinite(v)) {
            t->nonfinite++;
        } else {
            t->least = v < t->least ? v : t->least;
            t->most = v > t->most ? v : t->most;
        }
    }
}

static void print_tensor(const struct tensor *t)
{
    size_t i = 0;
    json_t *side = NULL;
    char shape[64] = "";
    size_t n = 0;
    json_array_foreach(t->shape, i, side)
    {
        int wrote = snprintf(shape + n, sizeof shape - n, "%s%lld", i ? "x" : "",
                             (long long)json_integer_value(side));
        n = wrote < 0 || n + (size_t)wrote >= sizeof shape ? sizeof shape - 1 : n + (size_t)wrote;
    }
    printf("%-24s %-5s %-14s %8llu", t->name, t->dtype, shape, (unsigned long long)t->count);
    if (t->least <= t->most) {
        printf("  %+.4g .. %+.4g", (double)t->least, (double)t->most);
    }
    if (t->nonfinite) {
        printf("  %llu NOT FINITE", (unsigned long long)t->nonfinite);
    }
    putchar('\n');
}

static int fail_parameters(const char *shown, const char *cause)
{
    sp_tool_complain(SP_INFO_PROGRAM, "%s: %s", shown, cause);
    return SP_EXIT_VERIFY;
}

/* What the player's reader refuses is refused here too, but for values that are not finite: those
 * are to be seen. No graph is needed. */
static int show_parameters(const struct sp_bytes *file, const char *shown, bool json)
{
    const struct srp_blob blob = {file->data, file->size, shown};
    struct srp_error err = {.code = SRP_OK};
    uint64_t header = 0;
    for (size_t i = file->size < 8 ? 0 : 8; i-- > 0;) {
        header = header << 8 | file->data[i];
    }
    if (file->size < 8 || header > SRP_MAX_SAFETENSORS_HEADER) {
        return fail_parameters(shown, "neither JSON nor safetensors (or cut short)");
    }
    if (srp_parameters_check(&blob, &err) != SRP_OK) {
        return sp_info_complain(&err);
    }
    json_t *root = json_loadb((const char *)file->data + 8, (size_t)header, 0, NULL);
    if (!root) {
        sp_tool_complain(SP_INFO_PROGRAM, "%s: out of memory", shown);
        return SP_EXIT_FAILED;
    }
    const uint8_t *data = file->data + 8 + header;
    json_t *entry = NULL, *list = json_array();
    const char *name = NULL;
    uint64_t total = 0;
    int status = SP_EXIT_OK;
    json_object_foreach(root, name, entry)
    {
        struct tensor t = {.name = name};
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        read_tensor(&t, entry, data);
        total += t.count;
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:O,s:I,s:o,s:o,s:I}", "name", name, "dtype", t.dtype,
                            "shape", t.shape, "count", (json_int_t)t.count, "min",
                            t.least <= t.most ? json_real((double)t.least) : json_null(), "max",
                            t.least <= t.most ? json_real((double)t.most) : json_null(),
                            "nonfinite", (json_int_t)t.nonfinite));
        if (!json) {
            print_tensor(&t);
        }
    }
    if (json) {
        status = sp_tool_print_json(SP_INFO_PROGRAM,
                                    json_pack("{s:s,s:I,s:I,s:O}", "kind", "parameters",
                                              "parameter_count", (json_int_t)total, "bytes",
                                              (json_int_t)file->size, "tensors", list));
    } else {
        printf("%llu parameters in %zu tensors\n", (unsigned long long)total,
               json_array_size(list));
    }
    json_decref(list);
    json_decref(root);
    return status;
}

/* Compact parameters say only together with their graph what they are: here is what their header
 * says without. */
static int show_compact(const struct sp_bytes *file, const char *shown, bool json)
{
    static const char *const words[] = {"F32", "F16", "BF16", "I8"};
    uint64_t by_dtype[4] = {0};
    char text[32];
    if (file->size < 8) {
        return fail_parameters(shown, "too short for compact parameters");
    }
    const size_t convolutions = (size_t)file->data[6] | (size_t)file->data[7] << 8;
    if (file->data[4] != 1) {
        return fail_parameters(shown, "compact parameters of an unknown version");
    }
    if (file->data[5] > 2 || 8 + 2 * convolutions > file->size) {
        return fail_parameters(shown, "compact parameters with a damaged header");
    }
    for (size_t i = 0; i < convolutions; i++) {
        by_dtype[file->data[8 + 2 * i] & 3]++;
    }
    if (json) {
        json_t *weights = json_object();
        for (int i = 0; i < 4; i++) {
            json_object_set_new(weights, words[i], json_integer((json_int_t)by_dtype[i]));
        }
        return sp_tool_print_json(
            SP_INFO_PROGRAM,
            json_pack("{s:s,s:b,s:I,s:I,s:b,s:o}", "kind", "parameters", "compact", 1, "bytes",
                      (json_int_t)file->size, "convolutions", (json_int_t)convolutions, "ranges",
                      file->data[5] != 0, "weights", weights));
    }
    printf("parameters  compact, %s, %zu convolutions, weights in",
           sp_tool_bytes(text, sizeof text, (double)file->size), convolutions);
    for (int i = 0, any = 0; i < 4; i++) {
        if (by_dtype[i] != 0) {
            printf("%s %s (%llu)", any++ ? "," : "", words[i], (unsigned long long)by_dtype[i]);
        }
    }
    printf(", %s ranges (srinfo quant shows them with their graph)\n",
           file->data[5] != 0 ? "with" : "no");
    return SP_EXIT_OK;
}

static int show_update(const struct sp_bytes *file, const char *shown, bool json)
{
    char text[32], hash[65];
    if (file->size < 40) {
        return fail_parameters(shown, "too short for an update of parameters");
    }
    if (file->data[4] != 1) {
        return fail_parameters(shown, "an update of parameters of an unknown version");
    }
    for (size_t i = 0; i < 32; i++) {
        snprintf(hash + 2 * i, 3, "%02x", file->data[8 + i]);
    }
    if (json) {
        return sp_tool_print_json(SP_INFO_PROGRAM,
                                  json_pack("{s:s,s:I,s:s}", "kind", "update", "bytes",
                                            (json_int_t)file->size, "base", hash));
    }
    printf("update      %s, of parameters %s\n",
           sp_tool_bytes(text, sizeof text, (double)file->size), hash);
    return SP_EXIT_OK;
}

enum srp_err sp_info_load_model(struct srp_model **model, const char *graph, const char *parameters,
                                uint64_t *bytes, struct srp_error *err)
{
    struct sp_bytes text = {0}, data = {0};
    enum srp_err code = sp_bytes_read_file(&text, graph, SRP_MAX_JSON_BYTES, err);
    if (code == SRP_OK && parameters) {
        code = sp_bytes_read_file(&data, parameters, SRP_MAX_OBJECT_BYTES, err);
    }
    if (bytes) {
        *bytes = data.size;
    }
    if (code == SRP_OK && sp_tool_is_zstd(&data)) {
        code = sp_tool_decompress(&data, parameters, err);
    }
    const struct srp_blob blob = {text.data, text.size, graph};
    if (code == SRP_OK && parameters) {
        const struct srp_model_params params = {.graph = blob,
                                                .parameters = {data.data, data.size, parameters}};
        code = srp_model_create(model, &params, err);
    } else if (code == SRP_OK) {
        code = srp_model_create_random(model, &blob, 1, err);
    }
    sp_bytes_free(&text);
    sp_bytes_free(&data);
    return code;
}

/* ---- the command --------------------------------------------------------------------------------
 */

static int show_json(const char *what, const struct sp_bytes *file, const char *shown, bool json)
{
    json_error_t error;
    struct srp_blob blob = {file->data, file->size, shown};
    int status = SP_EXIT_OK;
    json_t *root =
        file->size <= SRP_MAX_JSON_BYTES
            ? json_loadb((const char *)file->data, file->size, JSON_REJECT_DUPLICATES, &error)
            : NULL;
    if (root && strcmp(text_of(root, "format"), "srp-graph") == 0) {
        status = show_graph(&blob, root, json);
    } else { /* also what is not JSON: the manifest's reader says why */
        status = show_package(what, json);
    }
    json_decref(root);
    return status;
}

/* A safetensors file begins with a 64-bit length below 2^20, so with zero bytes that no JSON text
 * has; the length's lowest byte may well look like a brace. */
static bool is_text(const struct sp_bytes *file)
{
    size_t i = 0;
    while (i < file->size && isspace(file->data[i])) {
        i++;
    }
    return i < file->size && file->data[i] == '{' &&
           !memchr(file->data, 0, file->size < 8 ? file->size : 8);
}

int sp_info_show(const char *what, bool json)
{
    struct srp_error err = {.code = SRP_OK};
    struct sp_bytes file = {0};
    char *location = NULL, shown[256];
    int status = SP_EXIT_OK;
    if (sp_url_from_user(&location, what, &err) != SRP_OK) {
        sp_tool_complain(SP_INFO_PROGRAM, "%s", err.detail);
        return sp_tool_status(err.code);
    }
    if (sp_url_is_remote(location)) {
        free(location);
        return show_package(what, json);
    }
    sp_url_show(shown, sizeof shown, location);
    enum srp_err code = sp_bytes_read_file(&file, location, SRP_MAX_OBJECT_BYTES, &err);
    if (code == SRP_OK && sp_tool_is_zstd(&file)) {
        code = sp_tool_decompress(&file, shown, &err);
    }
    if (code != SRP_OK) {
        status = sp_info_complain(&err);
    } else if (file.size >= 4 && memcmp(file.data, "SRTE", 4) == 0) {
        status = sp_info_show_routes(&file, shown, json);
    } else if (file.size >= 4 && memcmp(file.data, "SRPM", 4) == 0) {
        status = show_compact(&file, shown, json);
    } else if (file.size >= 4 && memcmp(file.data, "SRPU", 4) == 0) {
        status = show_update(&file, shown, json);
    } else {
        status = is_text(&file) ? show_json(what, &file, shown, json)
                                : show_parameters(&file, shown, json);
    }
    sp_bytes_free(&file);
    free(location);
    return status;
}
