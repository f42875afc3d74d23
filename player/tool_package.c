/* SPDX-License-Identifier: BSD-2-Clause */
#include "tool_package.h"

#include <stdlib.h>
#include <string.h>

#include <srp/limits.h>

#include "url.h"

static enum srp_err read_location(struct sp_tool_package *p, const char *location, uint64_t max,
                                  struct sp_bytes *out, struct srp_error *err)
{
    if (!sp_url_is_remote(location)) {
        return sp_bytes_read_file(out, location, max, err);
    }
    struct sp_fetch what = {.url = location, .max = max};
    return sp_net_fetch(p->store.net, &what, out, NULL, err);
}

enum srp_err sp_tool_package_open(struct sp_tool_package *p, const char *typed,
                                  struct srp_error *err)
{
    memset(p, 0, sizeof *p);
    p->store.counters = &p->counters;
    enum srp_err code = sp_url_from_user(&p->store.base, typed, err);
    if (code != SRP_OK) {
        /* A URL of another scheme is no package of another version. */
        err->code = code == SRP_ERR_UNSUPPORTED ? SRP_ERR_NOT_FOUND : code;
        return err->code;
    }
    sp_url_show(p->shown, sizeof p->shown, p->store.base);
    if (sp_url_is_remote(p->store.base)) {
        p->gated = sp_gate_init(&p->gate);
        struct sp_net_params net = {.gate = &p->gate, .counters = &p->counters};
        code = p->gated ? sp_net_create(&p->store.net, &net, err)
                        : sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    if (code == SRP_OK) {
        code = read_location(p, p->store.base, SRP_MAX_JSON_BYTES, &p->manifest, err);
    }
    if (code == SRP_OK) {
        struct srp_blob blob = {p->manifest.data, p->manifest.size, p->shown};
        code = srp_package_create(&p->package, &blob, err);
    }
    if (code != SRP_OK) {
        sp_tool_package_close(p);
    }
    return code;
}

void sp_tool_package_close(struct sp_tool_package *p)
{
    srp_package_destroy(&p->package);
    sp_bytes_free(&p->manifest);
    sp_net_destroy(&p->store.net);
    if (p->gated) {
        sp_gate_destroy(&p->gate);
        p->gated = false;
    }
    free(p->store.base);
    p->store.base = NULL;
}

enum srp_err sp_tool_package_get(struct sp_tool_package *p, const struct srp_object *object,
                                 uint64_t max, struct sp_bytes *out, struct srp_error *err)
{
    return sp_store_get(&p->store, object, max, NULL, out, err);
}

enum srp_err sp_tool_package_beside(struct sp_tool_package *p, const char *name, uint64_t max,
                                    struct sp_bytes *out, struct srp_error *err)
{
    char *location = NULL;
    enum srp_err code = sp_url_resolve(&location, p->store.base, name, err);
    if (code == SRP_OK) {
        code = read_location(p, location, max, out, err);
    }
    free(location);
    return code;
}
