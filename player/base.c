/* SPDX-License-Identifier: BSD-2-Clause */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#define LARGE_BLOCK (256 << 10)

void sp_return_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK); /* and so it no longer grows */
#endif
}

void sp_return_free_memory(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

enum srp_err sp_fail(struct srp_error *err, enum srp_err code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->detail, sizeof(err->detail), format, args);
        va_end(args);
        for (char *c = err->detail; *c != '\0'; c++) {
            if ((unsigned char)*c < 0x20 || *c == 0x7f) {
                *c = '?';
            }
        }
        err->code = code;
    }
    return code;
}

void sp_escape(char *out, size_t size, const char *in)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    for (; *in != '\0'; in++) {
        unsigned char c = (unsigned char)*in;
        bool plain = c >= 0x20 && c < 0x7f;
        if (n + (plain ? 1 : 3) >= size) {
            break;
        }
        if (plain) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    out[n] = '\0';
}

void sp_bytes_free(struct sp_bytes *bytes)
{
    free(bytes->data);
    memset(bytes, 0, sizeof(*bytes));
}

bool sp_bytes_append(struct sp_bytes *bytes, const void *data, size_t size, uint64_t max)
{
    if (size > max || bytes->size > max - size) {
        return false;
    }
    size_t need = bytes->size + size;
    if (need > bytes->capacity) {
        /* Doubling: a declared size is never allocated before that many bytes have come. */
        size_t capacity = bytes->capacity < 4096 ? 4096 : bytes->capacity;
        while (capacity < need) {
            if (capacity > SIZE_MAX / 2) {
                return false;
            }
            capacity *= 2;
        }
        uint8_t *grown = realloc(bytes->data, capacity);
        if (grown == NULL) {
            return false;
        }
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    if (size > 0) {
        memcpy(bytes->data + bytes->size, data, size);
        bytes->size = need;
    }
    return true;
}

enum srp_err sp_bytes_read_file(struct sp_bytes *out, const char *path, uint64_t max,
                                struct srp_error *err)
{
    struct sp_bytes bytes = {0};
    struct stat st;
    enum srp_err code = SRP_OK;
    char name[384];
    uint8_t part[16384];

    sp_escape(name, sizeof(name), path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return sp_fail(err, errno == ENOENT || errno == ENOTDIR ? SRP_ERR_NOT_FOUND : SRP_ERR_IO,
                       "%s: %s", name, strerror(errno));
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        code = sp_fail(err, SRP_ERR_IO, "%s: not a regular file", name);
        goto fail;
    }
    if ((uint64_t)st.st_size > max) {
        code = sp_fail(err, SRP_ERR_LIMIT, "%s: %llu bytes, the limit is %llu", name,
                       (unsigned long long)st.st_size, (unsigned long long)max);
        goto fail;
    }
    for (;;) {
        ssize_t n = read(fd, part, sizeof(part));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            code = sp_fail(err, SRP_ERR_IO, "%s: %s", name, strerror(errno));
            goto fail;
        }
        if (n == 0) {
            break;
        }
        if (!sp_bytes_append(&bytes, part, (size_t)n, max)) {
            code = sp_fail(err, SRP_ERR_NOMEM, "%s: too large or out of memory", name);
            goto fail;
        }
    }
    close(fd);
    *out = bytes;
    return SRP_OK;

fail:
    close(fd);
    sp_bytes_free(&bytes);
    return code;
}

bool sp_gate_init(struct sp_gate *gate)
{
    pthread_condattr_t attr;

    memset(gate, 0, sizeof(*gate));
    if (pthread_mutex_init(&gate->lock, NULL) != 0) {
        return false;
    }
    if (pthread_condattr_init(&attr) != 0) {
        pthread_mutex_destroy(&gate->lock);
        return false;
    }
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    bool ok = pthread_cond_init(&gate->changed, &attr) == 0;
    pthread_condattr_destroy(&attr);
    if (!ok) {
        pthread_mutex_destroy(&gate->lock);
    }
    return ok;
}

void sp_gate_destroy(struct sp_gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

void sp_gate_lock(struct sp_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
}

void sp_gate_unlock(struct sp_gate *gate)
{
    pthread_mutex_unlock(&gate->lock);
}

void sp_gate_signal(struct sp_gate *gate)
{
    pthread_cond_broadcast(&gate->changed);
}

bool sp_gate_wait(struct sp_gate *gate, int64_t deadline)
{
    if (deadline == INT64_MAX) {
        pthread_cond_wait(&gate->changed, &gate->lock);
        return true;
    }
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000),
                             .tv_nsec = (long)(deadline % 1000) * 1000000L};
    return pthread_cond_timedwait(&gate->changed, &gate->lock, &until) != ETIMEDOUT;
}

int64_t sp_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
