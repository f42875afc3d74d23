/* SPDX-License-Identifier: BSD-2-Clause */
/* base.h - what the files of the media layer share: errors, byte buffers, the gate and counters. */
#ifndef SP_BASE_H
#define SP_BASE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <srp/common.h>

/* Fills `err` (may be NULL) with one escaped line and returns `code`. */
enum srp_err sp_fail(struct srp_error *err, enum srp_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies `in` with control and non-ASCII bytes as %XX, cut to `size` bytes with its NUL. */
void sp_escape(char *out, size_t size, const char *in);

/* First thing in a program: large blocks that are freed go back to the system, always. glibc would
 * keep them, from the first that was freed on: what int8 calibration needed for a moment would stay
 * with the process (2.5 MB, a sixth of a small one). */
void sp_return_memory(void);
/* Smaller ones too, those that are free now: for after something was loaded. */
void sp_return_free_memory(void);

/* ---- owned bytes ---------------------------------------------------------------------------- */

struct sp_bytes {
    uint8_t *data;
    size_t size, capacity;
};

void sp_bytes_free(struct sp_bytes *bytes);
/* Appends; false when the result would be larger than `max` or memory is short. */
bool sp_bytes_append(struct sp_bytes *bytes, const void *data, size_t size, uint64_t max);
/* Reads a whole regular file of at most `max` bytes. Errors: NOT_FOUND, IO, LIMIT, NOMEM. */
enum srp_err sp_bytes_read_file(struct sp_bytes *out, const char *path, uint64_t max,
                                struct srp_error *err);

/* ---- the gate ------------------------------------------------------------------------------- */

/* One lock and one condition for every hand-over between the threads of one medium: requests
 * that end, ring buffers that fill, look-ahead items that arrive. Waiters test their own
 * predicate. */
struct sp_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool interrupted; /* guarded by lock: readers (not the workers) give up waiting */
};

bool sp_gate_init(struct sp_gate *gate);
void sp_gate_destroy(struct sp_gate *gate);
void sp_gate_lock(struct sp_gate *gate);
void sp_gate_unlock(struct sp_gate *gate);
void sp_gate_signal(struct sp_gate *gate); /* wakes every waiter; lock held or not */
/* Lock held. deadline: of sp_now_ms, or INT64_MAX. False when the deadline has passed. */
bool sp_gate_wait(struct sp_gate *gate, int64_t deadline);

int64_t sp_now_ms(void); /* monotonic clock */

/* ---- counters ------------------------------------------------------------------------------- */

struct sp_counters { /* any thread */
    _Atomic uint64_t bytes_received, bytes_video, bytes_audio, bytes_parameters, bytes_routes;
    _Atomic uint64_t cache_hits, cache_misses, retries, hash_failures, damaged_chunks;
    _Atomic uint64_t missed_routes;
    _Atomic long last_http_status;
};

#endif
