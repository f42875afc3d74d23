/* SPDX-License-Identifier: BSD-2-Clause */
/* tool_package.h - the files of one package, local or over http, for programs that look at them one
 * by one. Used by one thread. */
#ifndef SP_TOOL_PACKAGE_H
#define SP_TOOL_PACKAGE_H

#include "store.h"

struct sp_tool_package {
    struct srp_package *package;
    struct sp_bytes manifest;
    char shown[256]; /* location of the manifest, for messages */
    struct sp_store store;
    struct sp_counters counters;
    struct sp_gate gate;
    bool gated;
};

/* typed: path or URL of a manifest. Nothing is cached. On failure there is nothing to close.
 * Errors: those of sp_net_fetch, sp_bytes_read_file and srp_package_create. */
enum srp_err sp_tool_package_open(struct sp_tool_package *p, const char *typed,
                                  struct srp_error *err);
void sp_tool_package_close(struct sp_tool_package *p);

/* An object that the manifest names, verified. As sp_store_get. */
enum srp_err sp_tool_package_get(struct sp_tool_package *p, const struct srp_object *object,
                                 uint64_t max, struct sp_bytes *out, struct srp_error *err);

/* A file beside the manifest that the manifest does not name (a playlist). */
enum srp_err sp_tool_package_beside(struct sp_tool_package *p, const char *name, uint64_t max,
                                    struct sp_bytes *out, struct srp_error *err);

#endif
