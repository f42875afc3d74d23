/* SPDX-License-Identifier: BSD-2-Clause */
/* Fetches one URL the way the player does and prints how it ended, for the tests in Python.
 *
 *     aid_fetch URL [option value]...
 *
 *     --expected N  --max N  --attempts N  --stall S  --cancel MS
 *
 *     --read OFFSET:SIZE   (any number: through a source instead; SIZE 0 reads to the end) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "net.h"
#include "source.h"

struct options {
    const char *url;
    uint64_t expected, max, attempts, stall, cancel, read_count;
    const char *reads[64];
};

static void print_sum(const char *what, const void *data, size_t size)
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, data, size);
    printf("%s %zu ", what, size);
    for (size_t i = 0; i < sizeof(hash); i++) {
        printf("%02x", hash[i]);
    }
}

struct canceller {
    struct sp_gate *gate;
    bool cancel;
    uint64_t ms;
};

static void *cancel_main(void *user)
{
    struct canceller *c = user;
    struct timespec t = {(time_t)(c->ms / 1000), (long)(c->ms % 1000) * 1000000L};

    nanosleep(&t, NULL);
    sp_gate_lock(c->gate);
    c->cancel = true;
    sp_gate_signal(c->gate);
    sp_gate_unlock(c->gate);
    return NULL;
}

static int fetch(struct sp_net *net, struct sp_gate *gate, const struct options *o)
{
    struct canceller canceller = {gate, false, o->cancel};
    struct sp_fetch what = {.url = o->url,
                            .expected = o->expected,
                            .max = o->max != 0 ? o->max : 1u << 30,
                            .cancel = &canceller.cancel};
    struct sp_bytes bytes = {0};
    struct srp_error err = {0};
    char *final_url = NULL;
    pthread_t thread;

    if (o->cancel > 0 && pthread_create(&thread, NULL, cancel_main, &canceller) != 0) {
        return 2;
    }
    enum srp_err code = sp_net_fetch(net, &what, &bytes, &final_url, &err);
    if (o->cancel > 0) {
        pthread_join(thread, NULL);
    }
    if (code != SRP_OK) {
        printf("error %d %s\n", code, err.detail);
        return 1;
    }
    print_sum("ok", bytes.data, bytes.size);
    printf(" %s\n", final_url);
    free(final_url);
    sp_bytes_free(&bytes);
    return 0;
}

static int read_source(struct sp_net *net, struct sp_gate *gate, const struct options *o)
{
    struct sp_source_env env = {.gate = gate, .net = net, .ring_bytes = 256 * 1024};
    struct sp_source *source = NULL;
    struct srp_error err = {0};
    enum srp_err code = sp_source_open(&source, &env, o->url, &err);

    if (code != SRP_OK) {
        printf("error %d %s\n", code, err.detail);
        return 1;
    }
    printf("size %" PRId64 "\n", (int64_t)sp_source_size(source));
    for (uint64_t i = 0; i < o->read_count && code == SRP_OK; i++) {
        struct sp_bytes bytes = {0};
        uint8_t part[10000];
        uint64_t offset = 0, size = 0;
        sscanf(o->reads[i], "%" SCNu64 ":%" SCNu64, &offset, &size);
        sp_source_seek(source, offset);
        while (size == 0 || bytes.size < size) {
            size_t want = size != 0 && size - bytes.size < sizeof(part)
                              ? (size_t)(size - bytes.size)
                              : sizeof(part);
            int64_t n = sp_source_read(source, part, want, &err);
            if (n < 0) {
                code = (enum srp_err)n;
                printf("error %d %s\n", code, err.detail);
            }
            if (n <= 0) {
                break;
            }
            sp_bytes_append(&bytes, part, (size_t)n, UINT64_MAX);
        }
        if (code == SRP_OK) {
            print_sum("read", bytes.data, bytes.size);
            printf("\n");
        }
        sp_bytes_free(&bytes);
    }
    sp_source_close(&source);
    return code == SRP_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct sp_gate gate;
    struct sp_counters counters = {0};
    struct sp_log log = {.program = "aid", .level = SP_LOG_INFO};
    struct sp_net *net = NULL;
    struct srp_error err = {0};

    if (argc < 2 || !sp_gate_init(&gate)) {
        return 2;
    }
    o.url = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        uint64_t number = strtoull(value, NULL, 10);
        if (strcmp(argv[i], "--expected") == 0) {
            o.expected = number;
        } else if (strcmp(argv[i], "--max") == 0) {
            o.max = number;
        } else if (strcmp(argv[i], "--attempts") == 0) {
            o.attempts = number;
        } else if (strcmp(argv[i], "--stall") == 0) {
            o.stall = number;
        } else if (strcmp(argv[i], "--cancel") == 0) {
            o.cancel = number;
        } else if (strcmp(argv[i], "--read") == 0 && o.read_count < 64) {
            o.reads[o.read_count++] = value;
        } else {
            return 2;
        }
    }
    uint32_t attempts = o.attempts != 0 ? (uint32_t)o.attempts : 4;
    struct sp_net_params params = {.limits = {.attempts = attempts,
                                              .backoff_ms = 20,
                                              .backoff_max_ms = 2000,
                                              .connect_ms = 2000,
                                              .low_speed_bytes = 1000,
                                              .low_speed_s = o.stall != 0 ? (uint32_t)o.stall : 1},
                                   .gate = &gate,
                                   .counters = &counters,
                                   .log = &log};
    if (sp_net_create(&net, &params, &err) != SRP_OK) {
        return 2;
    }
    int r = o.read_count > 0 ? read_source(net, &gate, &o) : fetch(net, &gate, &o);
    printf("counters received=%" PRIu64 " retries=%" PRIu64 " status=%ld\n",
           (uint64_t)counters.bytes_received, (uint64_t)counters.retries,
           (long)counters.last_http_status);
    sp_net_destroy(&net);
    sp_gate_destroy(&gate);
    return r;
}
