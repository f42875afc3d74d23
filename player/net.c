/* SPDX-License-Identifier: BSD-2-Clause */
#include "net.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "url.h"

enum { MAX_REDIRECTS = 5, PROGRESS_BYTES = 64 * 1024, ERROR_BODY_BYTES = 64 * 1024 };

enum request_state { WAITING, RUNNING, ENDED };

struct sp_request {
    struct sp_net *net;
    struct sp_sink sink;
    uint64_t expected, max;
    bool fresh;

    /* guarded by the gate */
    struct sp_request *next;
    bool cancelled, resume, detached;
    struct sp_request_state state;
    struct srp_error error; /* stable once state.done */
    char *url;              /* stable once state.begun */

    /* network thread only */
    struct sp_request *todo;
    enum request_state phase;
    CURL *easy;
    struct curl_slist *headers;
    char *etag;
    int64_t start_at;
    uint64_t position; /* next byte of the file for the sink */
    uint64_t discard;  /* bytes of this response that the sink already has */
    uint64_t fallback; /* position at the last attempt */
    uint64_t error_body;
    uint32_t attempt, redirects;
    bool paused, body_checked, is_error_body;
    enum srp_err refused; /* set by a callback that ends the transfer for good */
    char reason[128];           /* why it was refused */
    char curl_error[CURL_ERROR_SIZE];
};

struct sp_net {
    struct sp_net_limits limits;
    struct sp_gate *gate;
    struct sp_counters *counters;
    struct sp_log *log;
    CURLM *multi;
    pthread_t thread;
    uint64_t random; /* network thread only */

    /* guarded by the gate */
    bool stop;
    struct sp_request *requests;
};

/* ---- the retry policy ----------------------------------------------------------------------- */

static bool worth_retrying(CURLcode code, long status)
{
    switch (code) {
    case CURLE_OK:
        return status == 429 || status == 408 || (status >= 500 && status != 501 && status != 505);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
        return true;
    default:
        return false;
    }
}

static uint32_t retry_delay(struct sp_net *net, uint32_t attempt, curl_off_t retry_after)
{
    const struct sp_net_limits *l = &net->limits;
    uint64_t ms = l->backoff_ms;

    for (uint32_t i = 1; i < attempt && ms < l->backoff_max_ms; i++) {
        ms *= 2;
    }
    /* xorshift: jitter only has to differ between players, not to be unguessable. */
    net->random ^= net->random << 13;
    net->random ^= net->random >> 7;
    net->random ^= net->random << 17;
    ms = ms / 2 + net->random % (ms + 1);
    if (retry_after > 0) {
        uint64_t asked = retry_after > 86400 ? 86400000u : (uint64_t)retry_after * 1000u;
        ms = asked > ms ? asked : ms;
    }
    return (uint32_t)(ms < l->backoff_max_ms ? ms : l->backoff_max_ms);
}

/* ---- body ----------------------------------------------------------------------------------- */

static size_t refuse(struct sp_request *req, enum srp_err code, const char *text)
{
    req->refused = code;
    snprintf(req->reason, sizeof(req->reason), "%s", text);
    return CURL_WRITEFUNC_ERROR;
}

static const char *header(struct sp_request *req, const char *name)
{
    struct curl_header *h = NULL;

    if (curl_easy_header(req->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK) {
        return NULL;
    }
    return h->value;
}

/* "bytes 5-9/10"; total is UINT64_MAX for "*". */
static bool parse_content_range(const char *text, uint64_t *first, uint64_t *last, uint64_t *total)
{
    int used = 0;

    if (text == NULL || strchr(text, '+') != NULL ||
        sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%n", first, last, &used) != 2 || used == 0) {
        return false;
    }
    text += used;
    if (strcmp(text, "*") == 0) {
        *total = UINT64_MAX;
        return true;
    }
    used = 0;
    return sscanf(text, "%" SCNu64 "%n", total, &used) == 1 && text[used] == '\0' &&
           *first <= *last && *last < *total;
}

static size_t accept_size(struct sp_request *req, uint64_t size)
{
    char text[128];

    if (req->expected != 0 && size != UINT64_MAX && size != req->expected) {
        snprintf(text, sizeof(text), "the server has %" PRIu64 " bytes, %" PRIu64 " are declared",
                 size, req->expected);
        return refuse(req, SRP_ERR_SIZE, text);
    }
    if (size != UINT64_MAX && size > req->max) {
        snprintf(text, sizeof(text), "%" PRIu64 " bytes, the limit is %" PRIu64, size, req->max);
        return refuse(req, SRP_ERR_LIMIT, text);
    }
    sp_gate_lock(req->net->gate);
    bool changed = req->state.begun && req->state.size != size;
    req->state.size = size;
    req->state.begun = true;
    sp_gate_signal(req->net->gate);
    sp_gate_unlock(req->net->gate);
    if (changed && req->sink.restart == NULL && req->position > 0) {
        return refuse(req, SRP_ERR_NETWORK, "the file changed on the server while it was read");
    }
    return 0;
}

/* The response to the request as a whole, before its first body byte (or its end) is looked at. */
static size_t check_response(struct sp_request *req, long status)
{
    uint64_t first = 0, last = 0, total = UINT64_MAX;
    curl_off_t length = -1;
    const char *encoding = header(req, "Content-Encoding"), *etag = header(req, "ETag");
    bool same = etag == NULL || req->etag == NULL || strcmp(etag, req->etag) == 0;

    req->body_checked = true;
    if (status != 200 && status != 206) {
        req->is_error_body = true;
        return 0;
    }
    if (encoding != NULL && strcmp(encoding, "identity") != 0) {
        return refuse(req, SRP_ERR_NETWORK, "the server sends an encoding that was not asked for");
    }
    if (status == 206) {
        if (!parse_content_range(header(req, "Content-Range"), &first, &last, &total) ||
            first != req->position || (total != UINT64_MAX && last + 1 != total) || !same) {
            return refuse(req, SRP_ERR_NETWORK,
                          "the server answers with another range than was asked for");
        }
    } else {
        curl_easy_getinfo(req->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        total = length >= 0 ? (uint64_t)length : UINT64_MAX;
        if (req->position > 0 && req->sink.restart != NULL) {
            sp_gate_lock(req->net->gate);
            req->sink.restart(req->sink.user);
            sp_gate_unlock(req->net->gate);
            req->position = 0;
        } else if (req->position > 0 && !same) {
            return refuse(req, SRP_ERR_NETWORK,
                          "the file changed on the server while it was read");
        } else {
            req->discard = req->position;
        }
    }
    if (etag != NULL && strncmp(etag, "W/", 2) != 0 && strlen(etag) < 256) {
        free(req->etag);
        req->etag = strdup(etag);
    }
    return accept_size(req, total);
}

static size_t on_body(char *data, size_t one, size_t count, void *user)
{
    struct sp_request *req = user;
    size_t size = one * count, skip = 0;
    long status = 0;

    curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!req->body_checked && check_response(req, status) != 0) {
        return CURL_WRITEFUNC_ERROR;
    }
    if (req->is_error_body) { /* bounded: nobody reads it */
        req->error_body += size;
        return req->error_body <= ERROR_BODY_BYTES ? size : CURL_WRITEFUNC_ERROR;
    }
    if (req->discard > 0) {
        skip = req->discard < size ? (size_t)req->discard : size;
    }
    /* Only this thread writes state.size. */
    uint64_t limit = req->expected != 0                ? req->expected
                     : req->state.size != UINT64_MAX ? req->state.size
                                                     : req->max;
    if (size - skip > limit || req->position > limit - (size - skip)) {
        bool declared = req->expected != 0 || req->state.size != UINT64_MAX;
        return refuse(req, declared ? SRP_ERR_SIZE : SRP_ERR_LIMIT,
                      "the server sends more bytes than are declared");
    }
    if (size > skip) {
        sp_gate_lock(req->net->gate);
        bool taken = req->sink.write(req->sink.user, data + skip, size - skip);
        if (taken) {
            sp_gate_signal(req->net->gate);
        } else {
            req->paused = true;
        }
        sp_gate_unlock(req->net->gate);
        if (!taken) { /* curl hands over the same bytes again, so nothing is counted yet */
            return CURL_WRITEFUNC_PAUSE;
        }
    }
    req->discard -= skip;
    req->position += size - skip;
    if (req->net->counters != NULL) {
        atomic_fetch_add(&req->net->counters->bytes_received, size);
    }
    return size;
}

/* ---- one attempt ---------------------------------------------------------------------------- */

static bool add_header(struct sp_request *req, const char *text)
{
    struct curl_slist *list = curl_slist_append(req->headers, text);

    if (list == NULL) {
        return false;
    }
    req->headers = list;
    return true;
}

static bool set_options(struct sp_request *req)
{
    const struct sp_net_limits *l = &req->net->limits;
    char text[320];
    const char *ca = getenv("CURL_CA_BUNDLE");
    bool ok = true;
    CURL *e = req->easy;

    ca = ca != NULL ? ca : getenv("SSL_CERT_FILE");

#define SET(option, value) ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK
    SET(CURLOPT_URL, req->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L); /* by hand: each step is checked and named */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "srplay/" SRP_VERSION_STRING);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_HTTP_TRANSFER_DECODING, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)l->connect_ms);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)l->low_speed_bytes);
    SET(CURLOPT_LOW_SPEED_TIME, (long)l->low_speed_s);
    SET(CURLOPT_ERRORBUFFER, req->curl_error);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, req);
    SET(CURLOPT_PRIVATE, req);
    /* The library alone does not look at these; the curl program does. */
    if (ca != NULL) {
        SET(CURLOPT_CAINFO, ca);
    }
    if (req->position > 0) {
        snprintf(text, sizeof(text), "%" PRIu64 "-", req->position);
        SET(CURLOPT_RANGE, text);
        if (req->etag != NULL) {
            snprintf(text, sizeof(text), "If-Range: %s", req->etag);
            ok = ok && add_header(req, text);
        }
    }
    if (req->fresh) {
        ok = ok && add_header(req, "Cache-Control: no-cache");
        ok = ok && add_header(req, "Pragma: no-cache");
    }
    if (req->headers != NULL) {
        SET(CURLOPT_HTTPHEADER, req->headers);
    }
#undef SET
    return ok;
}

static void detach(struct sp_request *req)
{
    if (req->easy != NULL) {
        curl_multi_remove_handle(req->net->multi, req->easy);
        curl_easy_cleanup(req->easy);
        req->easy = NULL;
    }
    curl_slist_free_all(req->headers);
    req->headers = NULL;
    req->paused = false;
}

static void end(struct sp_request *req, enum srp_err code, const char *why)
{
    char shown[300];

    detach(req);
    req->phase = ENDED;
    sp_gate_lock(req->net->gate);
    if (code != SRP_OK) {
        sp_url_show(shown, sizeof(shown), req->url);
        sp_fail(&req->error, code, "%s: %s", shown, why);
    }
    req->state.result = code;
    req->state.begun = true;
    req->state.done = true;
    sp_gate_signal(req->net->gate);
    sp_gate_unlock(req->net->gate);
}

static void start(struct sp_request *req)
{
    req->easy = curl_easy_init();
    req->curl_error[0] = '\0';
    req->refused = SRP_OK;
    req->body_checked = req->is_error_body = false;
    req->error_body = req->discard = 0;
    req->phase = RUNNING;
    if (req->easy == NULL || !set_options(req) ||
        curl_multi_add_handle(req->net->multi, req->easy) != CURLM_OK) {
        end(req, SRP_ERR_NETWORK, "curl could not be set up");
    }
}

static void redirect(struct sp_request *req)
{
    char *target = NULL;
    char text[300], shown[200];
    struct srp_error why;

    curl_easy_getinfo(req->easy, CURLINFO_REDIRECT_URL, &target);
    if (target == NULL) {
        end(req, SRP_ERR_NETWORK, "a redirect without a target");
        return;
    }
    sp_url_show(shown, sizeof(shown), target);
    if (++req->redirects > MAX_REDIRECTS) {
        snprintf(text, sizeof(text), "more than %d redirects", MAX_REDIRECTS);
        end(req, SRP_ERR_NETWORK, text);
        return;
    }
    if (!sp_url_is_remote(target) || sp_url_allowed(req->url, target, &why) != SRP_OK) {
        snprintf(text, sizeof(text), "refused to follow a redirect to '%s'", shown);
        end(req, SRP_ERR_FORMAT, text);
        return;
    }
    char *copy = strdup(target);
    if (copy == NULL) {
        end(req, SRP_ERR_NOMEM, "out of memory");
        return;
    }
    detach(req);
    sp_gate_lock(req->net->gate);
    free(req->url);
    req->url = copy;
    sp_gate_unlock(req->net->gate);
    start(req);
}

/* Decides what follows the end of one attempt: done, redirect, another attempt, or a named
 * error. */
static void finish(struct sp_request *req, CURLcode code)
{
    struct sp_net *net = req->net;
    long status = 0;
    curl_off_t retry_after = 0;
    char text[CURL_ERROR_SIZE + 64];

    curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(req->easy, CURLINFO_RETRY_AFTER, &retry_after);
    if (status != 0 && net->counters != NULL) {
        atomic_store(&net->counters->last_http_status, status);
    }
    sp_gate_lock(net->gate);
    req->state.http_status = status;
    sp_gate_unlock(net->gate);
    if (code == CURLE_OK && !req->body_checked) { /* no body at all */
        check_response(req, status);
    }
    if (req->refused != SRP_OK) {
        end(req, req->refused, req->reason);
        return;
    }
    if (req->is_error_body) {
        code = CURLE_OK; /* the status says it all, however its body ended */
    }
    if (code == CURLE_OK && (status == 301 || status == 302 || status == 303 || status == 307 ||
                             status == 308)) {
        redirect(req);
        return;
    }
    bool short_body = false;
    if (code == CURLE_OK && (status == 200 || status == 206)) {
        uint64_t size = req->expected != 0 ? req->expected : req->state.size;
        if (size == UINT64_MAX || req->position >= size) {
            end(req, SRP_OK, NULL);
            return;
        }
        short_body = true; /* a 200 without a length that ended too early */
    }
    if (code == CURLE_OK && !short_body) {
        snprintf(text, sizeof(text), "HTTP status %ld", status);
    } else if (short_body) {
        snprintf(text, sizeof(text), "the body ended after %" PRIu64 " bytes", req->position);
    } else {
        snprintf(text, sizeof(text), "%s",
                 req->curl_error[0] != '\0' ? req->curl_error : curl_easy_strerror(code));
    }
    if (req->position >= req->fallback + PROGRESS_BYTES) {
        req->attempt = 0;
    }
    req->fallback = req->position;
    if ((short_body || worth_retrying(code, status)) && ++req->attempt < net->limits.attempts) {
        char shown[300];
        uint32_t delay = retry_delay(net, req->attempt, retry_after);
        sp_url_show(shown, sizeof(shown), req->url);
        sp_log(net->log, SP_LOG_WARN, "%s: %s; attempt %" PRIu32 " in %" PRIu32 " ms", shown, text,
               req->attempt + 1, delay);
        if (net->counters != NULL) {
            atomic_fetch_add(&net->counters->retries, 1);
        }
        detach(req);
        req->phase = WAITING;
        req->start_at = sp_now_ms() + delay;
        return;
    }
    end(req, status == 404 || status == 410 ? SRP_ERR_NOT_FOUND : SRP_ERR_NETWORK, text);
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* Takes the orders of other threads; returns milliseconds until a waiting request is due. */
static int take_orders(struct sp_net *net, bool *stop)
{
    struct sp_request *req, **link, *starts = NULL, *resumes = NULL, *dead = NULL;
    int64_t now = sp_now_ms(), wait = 60000;

    sp_gate_lock(net->gate);
    *stop = net->stop;
    for (link = &net->requests; (req = *link) != NULL;) {
        if (req->cancelled) {
            *link = req->next;
            req->todo = dead;
            dead = req;
            continue;
        }
        if (req->phase == WAITING && req->start_at <= now) {
            req->todo = starts;
            starts = req;
        } else if (req->phase == WAITING) {
            wait = req->start_at - now < wait ? req->start_at - now : wait;
        } else if (req->resume && req->paused) {
            req->paused = false;
            req->todo = resumes;
            resumes = req;
        }
        req->resume = false;
        link = &req->next;
    }
    sp_gate_unlock(net->gate);
    /* curl calls back into the sinks, which lock the gate: so not while it is held. */
    for (; starts != NULL; starts = starts->todo) {
        start(starts);
    }
    for (; resumes != NULL; resumes = resumes->todo) {
        curl_easy_pause(resumes->easy, CURLPAUSE_CONT);
    }
    while (dead != NULL) {
        struct sp_request *next = dead->todo;
        detach(dead);
        sp_gate_lock(net->gate);
        dead->detached = true;
        sp_gate_signal(net->gate);
        sp_gate_unlock(net->gate);
        dead = next;
    }
    return (int)wait;
}

static void *net_main(void *user)
{
    struct sp_net *net = user;
    bool stop = false;

    pthread_setname_np(pthread_self(), "srp-net");
    while (!stop) {
        int running = 0, left = 0;
        int wait = take_orders(net, &stop);
        curl_multi_perform(net->multi, &running);
        for (CURLMsg *msg; (msg = curl_multi_info_read(net->multi, &left)) != NULL;) {
            struct sp_request *req = NULL;
            CURLcode code = msg->data.result;
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &req);
            finish(req, code);
            wait = 0;
        }
        if (!stop) {
            curl_multi_poll(net->multi, NULL, 0, wait, NULL);
        }
    }
    return NULL;
}

/* Once per process, and never undone: other code of the program may use curl as well. */
static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

enum srp_err sp_net_create(struct sp_net **out, const struct sp_net_params *params,
                           struct srp_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct sp_net *net = calloc(1, sizeof(*net));
    const struct sp_net_limits *l = &params->limits;

    *out = NULL;
    if (net == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    net->limits = (struct sp_net_limits){
        .attempts = or_default(l->attempts, 6),
        .backoff_ms = or_default(l->backoff_ms, 250),
        .backoff_max_ms = or_default(l->backoff_max_ms, 8000),
        .connect_ms = or_default(l->connect_ms, 10000),
        .low_speed_bytes = or_default(l->low_speed_bytes, 500),
        .low_speed_s = or_default(l->low_speed_s, 10),
    };
    net->gate = params->gate;
    net->counters = params->counters;
    net->log = params->log;
    net->random = ((uint64_t)sp_now_ms() << 20) ^ (uint64_t)(uintptr_t)net ^ 0x9e3779b97f4a7c15u;
    pthread_once(&once, init_curl);
    net->multi = curl_multi_init();
    if (net->multi == NULL || pthread_create(&net->thread, NULL, net_main, net) != 0) {
        curl_multi_cleanup(net->multi);
        free(net);
        return sp_fail(err, SRP_ERR_NETWORK, "the network thread could not be started");
    }
    *out = net;
    return SRP_OK;
}

void sp_net_destroy(struct sp_net **net)
{
    struct sp_net *n = *net;

    if (n == NULL) {
        return;
    }
    sp_gate_lock(n->gate);
    n->stop = true;
    sp_gate_unlock(n->gate);
    curl_multi_wakeup(n->multi);
    pthread_join(n->thread, NULL);
    curl_multi_cleanup(n->multi);
    free(n);
    *net = NULL;
}

/* ---- requests ------------------------------------------------------------------------------- */

enum srp_err sp_request_create(struct sp_request **out, struct sp_net *net,
                               const struct sp_request_params *params, struct srp_error *err)
{
    struct sp_request *req = calloc(1, sizeof(*req));

    *out = NULL;
    if (req == NULL || (req->url = strdup(params->url)) == NULL) {
        free(req);
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    req->net = net;
    req->sink = params->sink;
    req->expected = params->expected;
    req->max = params->max;
    req->fresh = params->fresh;
    req->position = req->fallback = params->offset;
    req->state.size = UINT64_MAX;
    sp_gate_lock(net->gate);
    req->next = net->requests;
    net->requests = req;
    sp_gate_unlock(net->gate);
    curl_multi_wakeup(net->multi);
    *out = req;
    return SRP_OK;
}

void sp_request_resume(struct sp_request *req)
{
    req->resume = true;
    curl_multi_wakeup(req->net->multi);
}

void sp_request_free(struct sp_request **req)
{
    struct sp_request *r = *req;

    if (r == NULL) {
        return;
    }
    sp_gate_lock(r->net->gate);
    r->cancelled = true;
    curl_multi_wakeup(r->net->multi);
    while (!r->detached) {
        sp_gate_wait(r->net->gate, INT64_MAX);
    }
    sp_gate_unlock(r->net->gate);
    free(r->etag);
    free(r->url);
    free(r);
    *req = NULL;
}

void sp_request_get_state(const struct sp_request *req, struct sp_request_state *state)
{
    *state = req->state;
}

const char *sp_request_detail(const struct sp_request *req)
{
    return req->error.detail;
}

const char *sp_request_url(const struct sp_request *req)
{
    return req->url;
}

/* ---- whole files ---------------------------------------------------------------------------- */

struct fetch_sink {
    struct sp_bytes bytes;
    uint64_t max;
    bool short_of_memory;
};

static bool fetch_write(void *user, const void *data, size_t size)
{
    struct fetch_sink *sink = user;

    /* The request has checked the limit, so a failure here is memory: take the bytes, and say
     * so at the end. */
    if (!sp_bytes_append(&sink->bytes, data, size, sink->max)) {
        sink->short_of_memory = true;
    }
    return true;
}

static void fetch_restart(void *user)
{
    struct fetch_sink *sink = user;
    sink->bytes.size = 0;
}

enum srp_err sp_net_fetch(struct sp_net *net, const struct sp_fetch *what, struct sp_bytes *out,
                          char **final_url, struct srp_error *err)
{
    struct fetch_sink sink = {.max = what->max};
    struct sp_request_params params = {.url = what->url,
                                       .expected = what->expected,
                                       .max = what->max,
                                       .fresh = what->fresh,
                                       .sink = {fetch_write, fetch_restart, &sink}};
    struct sp_request *req = NULL;
    struct sp_request_state state;
    enum srp_err code = sp_request_create(&req, net, &params, err);
    bool cancelled = false;

    if (code != SRP_OK) {
        return code;
    }
    sp_gate_lock(net->gate);
    for (;;) {
        sp_request_get_state(req, &state);
        cancelled = what->cancel != NULL && *what->cancel;
        if (state.done || cancelled) {
            break;
        }
        sp_gate_wait(net->gate, INT64_MAX);
    }
    sp_gate_unlock(net->gate);
    if (!state.done) {
        code = sp_fail(err, SRP_ERR_IO, "interrupted");
    } else if (state.result != SRP_OK) {
        code = sp_fail(err, state.result, "%s", sp_request_detail(req));
    } else if (sink.short_of_memory) {
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    } else if (final_url != NULL && (*final_url = strdup(sp_request_url(req))) == NULL) {
        code = sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    sp_request_free(&req);
    if (code == SRP_OK) {
        *out = sink.bytes;
    } else {
        sp_bytes_free(&sink.bytes);
    }
    return code;
}
