/* SPDX-License-Identifier: BSD-2-Clause */
/* cache.h - an on-disk cache of whole objects, named by their SHA-256.
 * Several programs may share the directory. Whatever goes wrong here is a warning and a miss,
 * never an error: a player without a cache still plays. Thread-safe. */
#ifndef SP_CACHE_H
#define SP_CACHE_H

#include <srp/package.h>

#include "base.h"
#include "log.h"

struct sp_cache;

#define SP_CACHE_BYTES (2ull << 30)

/* dir: NULL is $XDG_CACHE_HOME/srplay or ~/.cache/srplay; it is created with mode 0700.
 * Returns NULL (after a warning) when there is no usable directory; NULL is legal below. */
struct sp_cache *sp_cache_open(const char *dir, uint64_t max_bytes, struct sp_log *log);
void sp_cache_close(struct sp_cache **cache);

/* True: *out holds the object, verified again. A corrupt entry is deleted and is a miss. */
bool sp_cache_get(struct sp_cache *cache, const struct srp_object *object, struct sp_bytes *out);
/* Stores verified bytes; entries that were not used for longest make room. */
void sp_cache_put(struct sp_cache *cache, const struct srp_object *object,
                  const struct sp_bytes *bytes);

#endif
