/* SPDX-License-Identifier: BSD-2-Clause */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavutil/error.h>
#include <libavutil/mem.h>

#include "url.h"

enum {
    AVIO_BUFFER = 32 * 1024,
    RING_BYTES = 4 << 20,
    RING_MIN = 128 * 1024,      /* several of curl's writes */
    SKIP_FORWARD = 256 * 1024,  /* reading on over so much is cheaper than a new request */
};
#define FILE_MAX_BYTES (1ull << 50)

enum source_kind { SOURCE_FILE, SOURCE_HTTP, SOURCE_MEMORY };

struct sp_source {
    enum source_kind kind;
    const struct sp_source_env *env;
    char *location;
    uint64_t position, size;
    struct srp_error error;

    int fd;              /* file */
    const uint8_t *data; /* memory */

    /* http. The ring holds bytes [begin, end) of the file; a quarter of it lies behind the
     * reader, so that short jumps back cost nothing. */
    struct sp_request *request;
    uint8_t *ring; /* guarded by the gate, as are the next three */
    size_t ring_bytes;
    uint64_t begin, end;
};

/* ---- http ring ------------------------------------------------------------------------------ */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Forgets bytes far behind the reader. Gate locked. */
static void release_behind(struct sp_source *src)
{
    uint64_t behind = src->ring_bytes / 4;

    if (src->position > src->begin + behind) {
        src->begin = smaller(src->position - behind, src->end);
    }
}

static bool ring_write(void *user, const void *data, size_t size)
{
    struct sp_source *src = user;
    const uint8_t *bytes = data;

    release_behind(src);
    if (src->end - src->begin + size > src->ring_bytes) {
        return false;
    }
    while (size > 0) {
        size_t at = (size_t)(src->end % src->ring_bytes);
        size_t n = src->ring_bytes - at < size ? src->ring_bytes - at : size;
        memcpy(src->ring + at, bytes, n);
        bytes += n;
        size -= n;
        src->end += n;
    }
    return true;
}

static enum srp_err request_from(struct sp_source *src, uint64_t position, struct srp_error *err)
{
    struct sp_request_params params = {.url = src->location,
                                       .offset = position,
                                       .expected = src->size != UINT64_MAX ? src->size : 0,
                                       .max = FILE_MAX_BYTES,
                                       .sink = {ring_write, NULL, src}};

    sp_request_free(&src->request);
    src->begin = src->end = position;
    return sp_request_create(&src->request, src->env->net, &params, err);
}

static size_t take_from_ring(struct sp_source *src, void *buffer, size_t size)
{
    size_t done = 0;

    while (done < size && src->position < src->end) {
        size_t at = (size_t)(src->position % src->ring_bytes);
        size_t n = (size_t)smaller(src->end - src->position, size - done);
        n = n < src->ring_bytes - at ? n : src->ring_bytes - at;
        memcpy((uint8_t *)buffer + done, src->ring + at, n);
        done += n;
        src->position += n;
    }
    return done;
}

static int64_t http_read(struct sp_source *src, void *buffer, size_t size, struct srp_error *err)
{
    struct sp_gate *gate = src->env->gate;
    struct sp_request_state state;
    size_t done = 0;

    if (src->position >= src->size) {
        return 0;
    }
    /* Only the network thread moves `end`, and forwards: a stale value here only costs a
     * request. */
    sp_gate_lock(gate);
    bool reachable = src->request != NULL && src->position >= src->begin &&
                     src->position <= src->end + SKIP_FORWARD;
    sp_gate_unlock(gate);
    if (!reachable && request_from(src, src->position, err) != SRP_OK) {
        return SRP_ERR_NOMEM;
    }
    sp_gate_lock(gate);
    for (;;) {
        if (gate->interrupted) {
            sp_gate_unlock(gate);
            return sp_fail(err, SRP_ERR_IO, "interrupted");
        }
        if (src->position < src->end) {
            done = take_from_ring(src, buffer, size);
            release_behind(src);
            sp_request_resume(src->request);
            break;
        }
        release_behind(src); /* a jump ahead: what comes before the position is not kept */
        sp_request_get_state(src->request, &state);
        if (state.done) {
            break;
        }
        sp_request_resume(src->request);
        sp_gate_wait(gate, INT64_MAX);
    }
    sp_gate_unlock(gate);
    if (done == 0 && state.result != SRP_OK) {
        enum srp_err code = sp_fail(err, state.result, "%s", sp_request_detail(src->request));
        sp_request_free(&src->request); /* the next read tries again */
        return code;
    }
    return (int64_t)done;
}

static enum srp_err open_http(struct sp_source *src, struct srp_error *err)
{
    struct sp_gate *gate = src->env->gate;
    struct sp_request_state state;
    enum srp_err code;

    src->ring_bytes = src->env->ring_bytes != 0 ? src->env->ring_bytes : RING_BYTES;
    src->ring_bytes = src->ring_bytes < RING_MIN ? RING_MIN : src->ring_bytes;
    src->ring = malloc(src->ring_bytes);
    if (src->ring == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    code = request_from(src, 0, err);
    if (code != SRP_OK) {
        return code;
    }
    sp_gate_lock(gate);
    for (;;) {
        sp_request_get_state(src->request, &state);
        if (state.begun || gate->interrupted) {
            break;
        }
        sp_gate_wait(gate, INT64_MAX);
    }
    sp_gate_unlock(gate);
    if (!state.begun) {
        return sp_fail(err, SRP_ERR_IO, "interrupted");
    }
    if (state.done && state.result != SRP_OK) {
        return sp_fail(err, state.result, "%s", sp_request_detail(src->request));
    }
    src->size = state.size;
    char *location = strdup(sp_request_url(src->request));
    if (location == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    free(src->location);
    src->location = location;
    return SRP_OK;
}

/* ---- file ----------------------------------------------------------------------------------- */

static enum srp_err open_file(struct sp_source *src, struct srp_error *err)
{
    char shown[300];
    struct stat st;

    sp_escape(shown, sizeof(shown), src->location);
    src->fd = open(src->location, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (src->fd < 0) {
        return sp_fail(err, errno == ENOENT || errno == ENOTDIR ? SRP_ERR_NOT_FOUND : SRP_ERR_IO,
                       "%s: %s", shown, strerror(errno));
    }
    if (fstat(src->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return sp_fail(err, SRP_ERR_IO, "%s: not a regular file", shown);
    }
    src->size = (uint64_t)st.st_size;
    return SRP_OK;
}

static int64_t file_read(struct sp_source *src, void *buffer, size_t size, struct srp_error *err)
{
    ssize_t n;

    do {
        n = pread(src->fd, buffer, size, (off_t)src->position);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return sp_fail(err, SRP_ERR_IO, "%s: %s", src->location, strerror(errno));
    }
    src->position += (uint64_t)n;
    return n;
}

/* ---- public --------------------------------------------------------------------------------- */

static struct sp_source *new_source(const struct sp_source_env *env, enum source_kind kind,
                                    const char *location)
{
    struct sp_source *src = calloc(1, sizeof(*src));

    if (src != NULL) {
        src->kind = kind;
        src->env = env;
        src->fd = -1;
        src->size = UINT64_MAX;
        src->location = strdup(location);
        if (src->location == NULL) {
            free(src);
            src = NULL;
        }
    }
    return src;
}

enum srp_err sp_source_open(struct sp_source **out, const struct sp_source_env *env,
                            const char *location, struct srp_error *err)
{
    bool remote = sp_url_is_remote(location);
    struct sp_source *src = new_source(env, remote ? SOURCE_HTTP : SOURCE_FILE, location);

    *out = NULL;
    if (src == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    enum srp_err code = remote ? open_http(src, err) : open_file(src, err);
    if (code != SRP_OK) {
        sp_source_close(&src);
        return code;
    }
    *out = src;
    return SRP_OK;
}

enum srp_err sp_source_open_memory(struct sp_source **out, const struct sp_source_env *env,
                                   const void *data, size_t size, struct srp_error *err)
{
    struct sp_source *src = new_source(env, SOURCE_MEMORY, "memory");

    *out = src;
    if (src == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    src->data = data;
    src->size = size;
    return SRP_OK;
}

void sp_source_close(struct sp_source **src)
{
    struct sp_source *s = *src;

    if (s == NULL) {
        return;
    }
    sp_request_free(&s->request);
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s->ring);
    free(s->location);
    free(s);
    *src = NULL;
}

int64_t sp_source_read(struct sp_source *src, void *buffer, size_t size, struct srp_error *err)
{
    switch (src->kind) {
    case SOURCE_FILE:
        return file_read(src, buffer, size, err);
    case SOURCE_HTTP:
        return http_read(src, buffer, size, err);
    case SOURCE_MEMORY:
        break;
    }
    if (src->position >= src->size) {
        return 0;
    }
    size_t n = (size_t)smaller(size, src->size - src->position);
    memcpy(buffer, src->data + src->position, n);
    src->position += n;
    return (int64_t)n;
}

void sp_source_seek(struct sp_source *src, uint64_t position)
{
    /* The network thread reads the position of an http source when it makes room in the ring. */
    sp_gate_lock(src->env->gate);
    src->position = position;
    sp_gate_unlock(src->env->gate);
}

uint64_t sp_source_size(const struct sp_source *src)
{
    return src->size;
}

const char *sp_source_location(const struct sp_source *src)
{
    return src->location;
}

const struct srp_error *sp_source_error(const struct sp_source *src)
{
    return &src->error;
}

static int avio_read_source(void *user, uint8_t *buffer, int size)
{
    struct sp_source *src = user;
    int64_t n = size > 0 ? sp_source_read(src, buffer, (size_t)size, &src->error) : 0;

    if (n == 0) {
        return AVERROR_EOF;
    }
    if (n < 0) {
        return n == SRP_ERR_IO ? AVERROR_EXIT : AVERROR(EIO);
    }
    return (int)n;
}

static int64_t avio_seek_source(void *user, int64_t offset, int whence)
{
    struct sp_source *src = user;
    uint64_t size = src->size;

    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE) {
        return size != UINT64_MAX ? (int64_t)size : AVERROR(ENOSYS);
    }
    if (whence == SEEK_CUR) {
        offset += (int64_t)src->position;
    } else if (whence == SEEK_END && size != UINT64_MAX) {
        offset += (int64_t)size;
    } else if (whence != SEEK_SET) {
        return AVERROR(EINVAL);
    }
    if (offset < 0) {
        return AVERROR(EINVAL);
    }
    sp_source_seek(src, (uint64_t)offset);
    return offset;
}

AVIOContext *sp_source_avio(struct sp_source *src)
{
    unsigned char *buffer = av_malloc(AVIO_BUFFER);
    bool seekable = src->size != UINT64_MAX;
    AVIOContext *pb = NULL;

    if (buffer != NULL) {
        pb = avio_alloc_context(buffer, AVIO_BUFFER, 0, src, avio_read_source, NULL,
                                seekable ? avio_seek_source : NULL);
        if (pb == NULL) {
            av_free(buffer);
        } else {
            pb->seekable = seekable ? AVIO_SEEKABLE_NORMAL : 0;
        }
    }
    return pb;
}

void sp_source_avio_free(AVIOContext **pb)
{
    if (*pb != NULL) {
        av_freep(&(*pb)->buffer);
        avio_context_free(pb);
    }
}
