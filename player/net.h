/* SPDX-License-Identifier: BSD-2-Clause */
/* net.h - http and https transfers on one network thread that owns one curl multi handle.
 * Other threads put requests on a list and wake the thread; it alone touches curl. A request
 * lives through redirects, retries with backoff, and resumption at the first missing byte, and
 * hands the body to a sink as one gapless stream. All hand-overs go through the gate. */
#ifndef SP_NET_H
#define SP_NET_H

#include "base.h"
#include "log.h"

struct sp_net;
struct sp_request;

/* Zero in any field: the default. One retry policy for everything that is fetched. */
struct sp_net_limits {
    uint32_t attempts;        /* per request without progress between them; 6 */
    uint32_t backoff_ms;      /* before the second attempt, doubled each time, +-50 % jitter; 250 */
    uint32_t backoff_max_ms;  /* also the longest Retry-After that is honoured; 8000 */
    uint32_t connect_ms;      /* 10000 */
    uint32_t low_speed_bytes; /* fewer bytes per second ... ; 500 */
    uint32_t low_speed_s;     /* ... for so long end an attempt; 10 */
};

struct sp_net_params {
    struct sp_net_limits limits;
    struct sp_gate *gate;         /* outlives the net */
    struct sp_counters *counters; /* may be NULL */
    struct sp_log *log;           /* may be NULL */
};

enum srp_err sp_net_create(struct sp_net **out, const struct sp_net_params *params,
                           struct srp_error *err);
void sp_net_destroy(struct sp_net **net); /* every request has been freed before */

/* Where a body goes. Called by the network thread with the gate locked. */
struct sp_sink {
    /* Takes all of `size` bytes, or none of them (false): the request pauses until
     * sp_request_resume. */
    bool (*write)(void *user, const void *data, size_t size);
    /* The body begins again at byte 0, because the server ignores ranges or has another version.
     * NULL: bytes that were already delivered are dropped from a server that ignores ranges, and
     * another version is an error. */
    void (*restart)(void *user);
    void *user;
};

struct sp_request_params {
    const char *url;   /* http or https */
    uint64_t offset;   /* first byte wanted */
    uint64_t expected; /* size of the whole file where it is known, else 0 */
    uint64_t max;      /* no more than this many bytes of the file are ever accepted */
    bool fresh;        /* ask caches on the way for a new copy */
    struct sp_sink sink;
};

enum srp_err sp_request_create(struct sp_request **out, struct sp_net *net,
                               const struct sp_request_params *params, struct srp_error *err);
void sp_request_resume(struct sp_request *req); /* gate locked: the sink can take bytes again */
/* Cancels where needed; when it returns the sink is not called again. Gate not locked. */
void sp_request_free(struct sp_request **req);

struct sp_request_state { /* a copy; take it with the gate locked */
    bool begun;           /* body or end has come: size, url are valid */
    bool done;
    enum srp_err result; /* when done */
    uint64_t size;       /* of the whole file; UINT64_MAX when the server does not say */
    long http_status;
};
void sp_request_get_state(const struct sp_request *req, struct sp_request_state *state);
const char *sp_request_detail(const struct sp_request *req); /* when done with an error: one line */
const char *sp_request_url(const struct sp_request *req);    /* when begun: after redirects */

/* Fetches a whole file and waits for it. `cancel` (may be NULL) is read under the gate lock;
 * signal the gate after setting it. *final_url (may be NULL) is the URL after redirects, for
 * the caller to free. Errors: NOT_FOUND (404, 410), NETWORK, SIZE, LIMIT, FORMAT (a refused
 * redirect), IO (cancelled). */
struct sp_fetch {
    const char *url;
    uint64_t expected, max; /* as in sp_request_params */
    bool fresh;
    const bool *cancel;
};
enum srp_err sp_net_fetch(struct sp_net *net, const struct sp_fetch *what, struct sp_bytes *out,
                          char **final_url, struct srp_error *err);

#endif
