/* SPDX-License-Identifier: BSD-2-Clause */
#include "info_route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "info.h"
#include "tool.h"

/* ---- paths --------------------------------------------------------------------------------------
 */

static uint64_t macs_of(struct srp_model *model, uint32_t index)
{
    struct srp_model_info info;
    struct srp_model *path = srp_model_path(model, index);
    srp_model_get_info(path, &info);
    srp_model_unref(&path);
    return info.macs_per_pixel;
}

json_t *sp_info_paths_json(struct srp_model *model)
{
    struct srp_model_info info;
    json_t *list = json_array();
    srp_model_get_info(model, &info);
    for (uint32_t p = 0; p < info.path_count; p++) {
        json_array_append_new(list, json_integer((json_int_t)macs_of(model, p)));
    }
    return list;
}

void sp_info_paths_text(struct srp_model *model, char *text, size_t size)
{
    struct srp_model_info info;
    size_t n = 0;
    srp_model_get_info(model, &info);
    text[0] = '\0';
    for (uint32_t p = 0; p < info.path_count && info.path_count > 1 && n < size; p++) {
        int more = snprintf(text + n, size - n, "%s%u: %llu%s", p ? ", " : "", p,
                            (unsigned long long)macs_of(model, p),
                            p == info.default_path ? " (default)" : "");
        n += more > 0 ? (size_t)more : 0;
    }
}

struct srp_model *sp_info_package_graph(struct sp_tool_package *p, uint32_t index)
{
    const struct srp_package_model *m = srp_package_get_model(p->package, index);
    struct sp_bytes bytes = {0};
    struct srp_model *model = NULL;
    if (sp_tool_package_get(p, &m->graph, SRP_MAX_JSON_BYTES, &bytes, NULL) == SRP_OK) {
        struct srp_blob blob = {bytes.data, bytes.size, m->graph.uri};
        srp_model_create_random(&model, &blob, 1, NULL);
    }
    sp_bytes_free(&bytes);
    return model;
}

/* ---- routes -------------------------------------------------------------------------------------
 */

struct choice { /* the packer's */
    uint64_t cells[SRP_MAX_PATHS], total;
    uint32_t paths;
};

static enum srp_err add_choice(struct choice *c, const struct srp_routes *routes,
                               struct srp_error *err)
{
    struct srp_routes_info info;
    srp_routes_get_info(routes, &info);
    const size_t cells = (size_t)info.columns * info.rows;
    uint8_t *paths = malloc(cells);
    enum srp_err code =
        paths ? SRP_OK : sp_fail(err, SRP_ERR_NOMEM, "no memory for %zu cells", cells);
    for (uint32_t f = 0; f < info.frames && code == SRP_OK; f++) {
        code = srp_routes_exact(routes, f, paths, err);
        for (size_t i = 0; i < cells && code == SRP_OK; i++) {
            c->cells[paths[i]]++;
        }
        c->total += cells;
    }
    free(paths);
    c->paths = info.paths > c->paths ? info.paths : c->paths;
    return code;
}

static const char *kind_name(const struct srp_routes_info *info)
{
    return info->kind == SRP_ROUTES_GAINS ? "gains" : "choice";
}

/* Takes over nothing; adds to `object`. */
static void describe(json_t *object, const struct srp_routes_info *info, const struct choice *c)
{
    json_t *cells = json_array();
    for (uint32_t p = 0; p < info->paths; p++) {
        json_array_append_new(cells, json_integer((json_int_t)c->cells[p]));
    }
    json_object_set_new(object, "routes_kind", json_string(kind_name(info)));
    json_object_set_new(object, "threshold", json_integer(info->threshold));
    json_object_set_new(object, "paths", json_integer(info->paths));
    json_object_set_new(object, "cell", json_pack("[I,I]", (json_int_t)info->cell_width,
                                                  (json_int_t)info->cell_height));
    json_object_set_new(object, "grid", json_pack("[I,I]", (json_int_t)info->columns,
                                                  (json_int_t)info->rows));
    json_object_set_new(object, "frames", json_integer(info->frames));
    json_object_set_new(object, "cells", cells);
}

static void print_choice(const struct choice *c)
{
    printf("choice      ");
    for (uint32_t p = 0; p < c->paths; p++) {
        printf("%spath %u: %.1f%%", p ? ", " : "", p,
               c->total ? 100.0 * (double)c->cells[p] / (double)c->total : 0.0);
    }
    printf(" of the cells\n");
}

int sp_info_show_routes(const struct sp_bytes *file, const char *shown, bool json)
{
    struct srp_error err = {.code = SRP_OK};
    struct srp_blob blob = {file->data, file->size, shown};
    struct srp_routes *routes = NULL;
    struct srp_routes_info info;
    struct choice c = {.paths = 0};
    enum srp_err code = srp_routes_create(&routes, &blob, &err);
    if (code == SRP_OK) {
        code = add_choice(&c, routes, &err);
    }
    if (code != SRP_OK) {
        srp_routes_unref(&routes);
        return sp_info_complain(&err);
    }
    srp_routes_get_info(routes, &info);
    srp_routes_unref(&routes);
    if (json) {
        json_t *object = json_pack("{s:s,s:I}", "kind", "routes", "bytes", (json_int_t)file->size);
        describe(object, &info, &c);
        return sp_tool_print_json(SP_INFO_PROGRAM, object);
    }
    printf("routes      %s, %u paths, threshold %u, %ux%u cells of %ux%u pixels, %u frames\n",
           kind_name(&info), info.paths, info.threshold, info.columns, info.rows, info.cell_width,
           info.cell_height, info.frames);
    print_choice(&c);
    return SP_EXIT_OK;
}

static enum srp_err load(struct sp_tool_package *p, uint32_t index, struct srp_routes **routes,
                         struct srp_error *err)
{
    const struct srp_chunk *chunk = srp_package_chunk(p->package, index);
    struct sp_bytes bytes = {0};
    enum srp_err code =
        sp_tool_package_get(p, &chunk->routes, SRP_MAX_OBJECT_BYTES, &bytes, err);
    if (code == SRP_OK) {
        struct srp_blob blob = {bytes.data, bytes.size, chunk->routes.uri};
        code = srp_package_load_routes(p->package, index, &blob, routes, err);
    }
    sp_bytes_free(&bytes);
    return code;
}

json_t *sp_info_chunk_routes(struct sp_tool_package *p, uint32_t index)
{
    const struct srp_chunk *chunk = srp_package_chunk(p->package, index);
    struct srp_error err = {.code = SRP_OK};
    struct srp_routes *routes = NULL;
    struct choice c = {.paths = 0};
    if (!chunk->has_routes) {
        return json_null();
    }
    json_t *object = json_pack("{s:s,s:I}", "uri", chunk->routes.uri, "size",
                               (json_int_t)chunk->routes.size);
    enum srp_err code = load(p, index, &routes, &err);
    if (code == SRP_OK) {
        code = add_choice(&c, routes, &err);
    }
    if (code == SRP_OK) {
        struct srp_routes_info info;
        srp_routes_get_info(routes, &info);
        describe(object, &info, &c);
    } else {
        json_object_set_new(object, "error", json_string(err.detail));
    }
    srp_routes_unref(&routes);
    return object;
}

void sp_info_print_routes(struct sp_tool_package *p)
{
    struct srp_package_info package;
    struct srp_routes_info first = {.paths = 0};
    struct choice c = {.paths = 0};
    uint64_t bytes = 0;
    uint32_t chunks = 0, unread = 0, low = 0, high = 0;
    bool alike = true;
    char text[32];
    srp_package_get_info(p->package, &package);
    for (uint32_t i = 0; i < package.chunk_count; i++) {
        const struct srp_chunk *chunk = srp_package_chunk(p->package, i);
        struct srp_routes *routes = NULL;
        struct srp_routes_info info;
        if (!chunk->has_routes) {
            continue;
        }
        chunks++;
        bytes += chunk->routes.size;
        if (load(p, i, &routes, NULL) != SRP_OK || add_choice(&c, routes, NULL) != SRP_OK) {
            unread++;
            srp_routes_unref(&routes);
            continue;
        }
        srp_routes_get_info(routes, &info);
        if (first.paths == 0) {
            first = info;
            low = high = info.threshold;
        }
        low = info.threshold < low ? info.threshold : low;
        high = info.threshold > high ? info.threshold : high;
        alike = alike && info.kind == first.kind && info.paths == first.paths &&
                info.cell_width == first.cell_width && info.cell_height == first.cell_height;
        srp_routes_unref(&routes);
    }
    if (chunks == 0) {
        return;
    }
    printf("routes      %s in %u chunks", sp_tool_bytes(text, sizeof text, (double)bytes), chunks);
    if (first.paths != 0) {
        printf(", %s of %u paths, %ux%u cells of %ux%u pixels%s, threshold %u", kind_name(&first),
               first.paths, first.columns, first.rows, first.cell_width, first.cell_height,
               alike ? "" : " (others differ)", low);
        if (high > low) {
            printf("..%u", high);
        }
    }
    if (unread > 0) {
        printf(", %u cannot be read (srinfo verify says why)", unread);
    }
    putchar('\n');
    if (first.paths != 0) {
        print_choice(&c);
    }
}
