/* SPDX-License-Identifier: BSD-2-Clause */
/* source.h - a readable, seekable stream of bytes: a local file, an http file behind a bounded
 * read-ahead ring, or memory; and the AVIOContext through which FFmpeg reads it.
 * One reader thread per source. An interrupted gate ends blocked reads. */
#ifndef SP_SOURCE_H
#define SP_SOURCE_H

#include <libavformat/avio.h>

#include "net.h"

struct sp_source;

struct sp_source_env { /* outlives the sources */
    struct sp_gate *gate;
    struct sp_net *net;
    struct sp_log *log;
    size_t ring_bytes; /* read-ahead of an http source; 0: 4 MiB */
};

/* Opens the location (a path or an http(s) URL) and, for http, waits for the first answer.
 * Errors: NOT_FOUND, IO, NETWORK, FORMAT (a refused redirect), NOMEM. */
enum srp_err sp_source_open(struct sp_source **out, const struct sp_source_env *env,
                            const char *location, struct srp_error *err);
/* The bytes stay the caller's and outlive the source. */
enum srp_err sp_source_open_memory(struct sp_source **out, const struct sp_source_env *env,
                                   const void *data, size_t size, struct srp_error *err);
void sp_source_close(struct sp_source **src);

/* Bytes read (1..size), 0 at the end, or <0: enum srp_err. */
int64_t sp_source_read(struct sp_source *src, void *buffer, size_t size, struct srp_error *err);
/* Where the next read begins. Nothing is transferred until then. */
void sp_source_seek(struct sp_source *src, uint64_t position);
/* UINT64_MAX when unknown. */
uint64_t sp_source_size(const struct sp_source *src);
/* The location after redirects. */
const char *sp_source_location(const struct sp_source *src);
/* The last error of a read that went through the AVIOContext; code SRP_OK: none. */
const struct srp_error *sp_source_error(const struct sp_source *src);

/* An AVIOContext on the source, which has to outlive it. NULL: no memory. */
AVIOContext *sp_source_avio(struct sp_source *src);
void sp_source_avio_free(AVIOContext **pb);

#endif
