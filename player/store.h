/* SPDX-License-Identifier: BSD-2-Clause */
/* store.h - the objects of one package, wherever they lie: only verified bytes come out. */
#ifndef SP_STORE_H
#define SP_STORE_H

#include "cache.h"
#include "net.h"

struct sp_store { /* filled by the owner, then constant; get is safe from several threads */
    char *base;             /* location of the manifest */
    struct sp_net *net;     /* for remote packages */
    struct sp_cache *cache; /* may be NULL */
    struct sp_counters *counters;
    struct sp_log *log;
};

/* Cache, then disk or network; size and SHA-256 checked; wrong bytes from the network are
 * fetched once more, past all caches. `cancel` as in struct sp_fetch. Errors: HASH, SIZE,
 * NOT_FOUND, NETWORK, IO, LIMIT, NOMEM. */
enum srp_err sp_store_get(struct sp_store *store, const struct srp_object *object, uint64_t max,
                          const bool *cancel, struct sp_bytes *out, struct srp_error *err);

#endif
