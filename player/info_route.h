/* SPDX-License-Identifier: BSD-2-Clause */
/* info_route.h - what srinfo shows of paths and routes. */
#ifndef SP_INFO_ROUTE_H
#define SP_INFO_ROUTE_H

#include <jansson.h>
#include <srp/routes.h>

#include "tool_package.h"

/* Multiply-accumulates per pixel of each path, and which one is taken without routes: a list,
 * and a line ("0: 0, 1: 2304 (default)"); the line is "" for a model of one path. */
json_t *sp_info_paths_json(struct srp_model *model);
void sp_info_paths_text(struct srp_model *model, char *text, size_t size);
/* The graph of a package's model, with parameters that mean nothing; NULL: it cannot be had. */
struct srp_model *sp_info_package_graph(struct sp_tool_package *p, uint32_t index);

/* A file of routes. Returns the exit status. */
int sp_info_show_routes(const struct sp_bytes *file, const char *shown, bool json);
/* Those of a chunk: grid, kind, threshold, cells by path of the packer's choice; "error" where they
 * cannot be read. null without routes. */
json_t *sp_info_chunk_routes(struct sp_tool_package *p, uint32_t chunk);
/* Those of all chunks, in two lines; nothing without routes. */
void sp_info_print_routes(struct sp_tool_package *p);

#endif
