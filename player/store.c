/* SPDX-License-Identifier: BSD-2-Clause */
#include "store.h"

#include <stdlib.h>

#include "url.h"

static enum srp_err verify(struct sp_store *store, const char *location,
                           const struct srp_object *object, struct sp_bytes *bytes,
                           struct srp_error *err)
{
    enum srp_err code = srp_object_verify(object, bytes->data, bytes->size, NULL);
    char shown[300];

    if (code != SRP_OK) {
        sp_url_show(shown, sizeof(shown), location);
        sp_fail(err, code, "%s: %s", shown,
                code == SRP_ERR_SIZE ? "has another size than the manifest declares"
                                     : "the SHA-256 is not the one in the manifest");
        atomic_fetch_add(&store->counters->hash_failures, 1);
        sp_bytes_free(bytes);
    }
    return code;
}

static enum srp_err get_remote(struct sp_store *store, const char *url,
                               const struct srp_object *object, const bool *cancel,
                               struct sp_bytes *out, struct srp_error *err)
{
    struct sp_fetch what = {
        .url = url, .expected = object->size, .max = object->size, .cancel = cancel};
    enum srp_err code = SRP_OK;

    if (store->cache != NULL) {
        if (sp_cache_get(store->cache, object, out)) {
            atomic_fetch_add(&store->counters->cache_hits, 1);
            return SRP_OK;
        }
        atomic_fetch_add(&store->counters->cache_misses, 1);
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        struct srp_error why = {0};
        what.fresh = attempt > 0;
        code = sp_net_fetch(store->net, &what, out, NULL, &why);
        if (code == SRP_OK) {
            code = verify(store, url, object, out, &why);
        } else if (code == SRP_ERR_SIZE) {
            atomic_fetch_add(&store->counters->hash_failures, 1);
        }
        if (code == SRP_OK) {
            sp_cache_put(store->cache, object, out);
            return SRP_OK;
        }
        sp_fail(err, code, "%s", why.detail);
        if (code != SRP_ERR_HASH && code != SRP_ERR_SIZE) {
            break; /* the network layer has retried what is worth it */
        }
        sp_log(store->log, SP_LOG_WARN, "%s%s", why.detail,
               attempt == 0 ? "; fetching it again" : "");
    }
    return code;
}

enum srp_err sp_store_get(struct sp_store *store, const struct srp_object *object, uint64_t max,
                          const bool *cancel, struct sp_bytes *out, struct srp_error *err)
{
    char *location = NULL, shown[300];
    enum srp_err code = sp_url_resolve(&location, store->base, object->uri, err);

    if (code != SRP_OK) {
        return code;
    }
    if (object->size > max) {
        sp_url_show(shown, sizeof(shown), location);
        code = sp_fail(err, SRP_ERR_LIMIT, "%s: %llu bytes are declared, the limit is %llu", shown,
                       (unsigned long long)object->size, (unsigned long long)max);
    } else if (sp_url_is_remote(location)) {
        code = get_remote(store, location, object, cancel, out, err);
    } else {
        code = sp_bytes_read_file(out, location, object->size, err);
        if (code == SRP_ERR_LIMIT) {
            code = SRP_ERR_SIZE;
            if (err != NULL) {
                err->code = code;
            }
        } else if (code == SRP_OK) {
            code = verify(store, location, object, out, err);
        }
    }
    free(location);
    return code;
}
