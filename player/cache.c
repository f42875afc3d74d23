/* SPDX-License-Identifier: BSD-2-Clause */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_BYTES = 64, STALE_SECONDS = 3600 };

struct sp_cache {
    struct sp_log *log;
    uint64_t max_bytes;
    int dir;
    pthread_mutex_t lock;
    uint64_t bytes;    /* guarded: what the directory holds, as far as we know */
    uint64_t serial;   /* guarded: for names of temporary files */
    bool warned_write; /* guarded: a full disk is said once */
};

static void object_name(const struct srp_object *object, char name[NAME_BYTES + 1])
{
    for (int i = 0; i < 32; i++) {
        snprintf(name + 2 * i, 3, "%02x", object->sha256[i]);
    }
}

static bool is_object_name(const char *name)
{
    return strlen(name) == NAME_BYTES && strspn(name, "0123456789abcdef") == NAME_BYTES;
}

static char *default_dir(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *dir = NULL;
    int n = -1;

    if (xdg != NULL && xdg[0] == '/') {
        n = asprintf(&dir, "%s/srplay", xdg);
    } else if (home != NULL && home[0] == '/') {
        n = asprintf(&dir, "%s/.cache/srplay", home);
    }
    return n < 0 ? NULL : dir;
}

/* mkdir -p; components that exist are left as they are. */
static bool make_dirs(const char *dir)
{
    char *path = strdup(dir);
    bool ok = path != NULL;

    for (char *c = path != NULL ? path + 1 : NULL; ok; c++) {
        if (*c == '/' || *c == '\0') {
            char was = *c;
            *c = '\0';
            ok = mkdir(path, 0700) == 0 || errno == EEXIST || errno == EROFS;
            *c = was;
            if (was == '\0') {
                break;
            }
        }
    }
    free(path);
    return ok;
}

/* ---- eviction ------------------------------------------------------------------------------- */

struct entry {
    char name[NAME_BYTES + 1];
    struct timespec used;
    uint64_t size;
};

static int by_age(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->used.tv_sec != y->used.tv_sec) {
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    }
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

static bool add_entry(struct entry **list, size_t *count, size_t *room, const struct entry *entry)
{
    if (*count == *room) {
        size_t more = *room == 0 ? 64 : *room * 2;
        struct entry *grown = reallocarray(*list, more, sizeof(**list));
        if (grown == NULL) {
            return false;
        }
        *list = grown;
        *room = more;
    }
    (*list)[(*count)++] = *entry;
    return true;
}

/* Counts what is there and deletes the longest unused until at most `target` bytes stay. Lock
 * held. */
static void trim(struct sp_cache *cache, uint64_t target)
{
    struct entry *list = NULL;
    size_t count = 0, room = 0;
    int fd = openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct timespec now;

    if (dir == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    cache->bytes = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        struct entry entry;
        if (fstatat(cache->dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode)) {
            continue;
        }
        if (strncmp(d->d_name, "tmp-", 4) == 0 && now.tv_sec - st.st_mtim.tv_sec > STALE_SECONDS) {
            unlinkat(cache->dir, d->d_name, 0); /* left by a program that was killed */
        } else if (is_object_name(d->d_name)) {
            memcpy(entry.name, d->d_name, sizeof(entry.name));
            entry.used = st.st_atim;
            entry.size = (uint64_t)st.st_size;
            cache->bytes += entry.size;
            if (!add_entry(&list, &count, &room, &entry)) {
                break;
            }
        }
    }
    closedir(dir);
    if (cache->bytes > target) {
        qsort(list, count, sizeof(*list), by_age);
        for (size_t i = 0; i < count && cache->bytes > target; i++) {
            if (unlinkat(cache->dir, list[i].name, 0) == 0) {
                cache->bytes -= list[i].size;
            }
        }
    }
    free(list);
}

/* ---- public --------------------------------------------------------------------------------- */

struct sp_cache *sp_cache_open(const char *dir, uint64_t max_bytes, struct sp_log *log)
{
    char *path = dir != NULL ? strdup(dir) : default_dir();
    struct sp_cache *cache = calloc(1, sizeof(*cache));
    struct stat st;

    if (path == NULL || cache == NULL) {
        goto fail;
    }
    cache->log = log;
    cache->max_bytes = max_bytes;
    cache->dir = -1;
    if (path[0] == '\0' || !make_dirs(path) ||
        (cache->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
        sp_log(log, SP_LOG_WARN, "cache %s: %s; playing without it", path, strerror(errno));
        goto fail;
    }
    if (fstat(cache->dir, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        sp_log(log, SP_LOG_WARN, "cache %s: others can write there; playing without it", path);
        goto fail;
    }
    if (pthread_mutex_init(&cache->lock, NULL) != 0) {
        goto fail;
    }
    trim(cache, max_bytes);
    free(path);
    return cache;

fail:
    if (cache != NULL && cache->dir >= 0) {
        close(cache->dir);
    }
    free(cache);
    free(path);
    return NULL;
}

void sp_cache_close(struct sp_cache **cache)
{
    if (*cache == NULL) {
        return;
    }
    close((*cache)->dir);
    pthread_mutex_destroy(&(*cache)->lock);
    free(*cache);
    *cache = NULL;
}

static bool read_entry(struct sp_cache *cache, const char *name, const struct srp_object *object,
                       struct sp_bytes *out, bool *exists)
{
    int fd = openat(cache->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    uint8_t part[16384];
    struct stat st;
    ssize_t n = -1;

    *exists = fd >= 0 || errno == ELOOP;
    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == object->size) {
        while ((n = read(fd, part, sizeof(part))) > 0) {
            if (!sp_bytes_append(out, part, (size_t)n, object->size)) {
                n = -1;
                break;
            }
        }
    }
    if (n == 0) {
        /* Access times are what eviction goes by, and file systems rarely keep them by
         * themselves. */
        struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
        futimens(fd, times);
    }
    close(fd);
    return n == 0 && srp_object_verify(object, out->data, out->size, NULL) == SRP_OK;
}

bool sp_cache_get(struct sp_cache *cache, const struct srp_object *object, struct sp_bytes *out)
{
    char name[NAME_BYTES + 1];
    struct sp_bytes bytes = {0};
    bool exists = false;

    if (cache == NULL) {
        return false;
    }
    object_name(object, name);
    if (read_entry(cache, name, object, &bytes, &exists)) {
        *out = bytes;
        return true;
    }
    sp_bytes_free(&bytes);
    if (exists) {
        sp_log(cache->log, SP_LOG_WARN, "cache entry %.12s... is damaged; fetching it again", name);
        unlinkat(cache->dir, name, 0);
    }
    return false;
}

void sp_cache_put(struct sp_cache *cache, const struct srp_object *object,
                  const struct sp_bytes *bytes)
{
    char name[NAME_BYTES + 1], temporary[64];
    size_t done = 0;

    if (cache == NULL || bytes->size > cache->max_bytes) {
        return;
    }
    object_name(object, name);
    pthread_mutex_lock(&cache->lock);
    if (cache->bytes + bytes->size > cache->max_bytes) {
        trim(cache, cache->max_bytes - bytes->size);
    }
    snprintf(temporary, sizeof(temporary), "tmp-%ld-%llu", (long)getpid(),
             (unsigned long long)cache->serial++);
    int fd = openat(cache->dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    bool ok = fd >= 0;
    while (ok && done < bytes->size) {
        ssize_t n = write(fd, bytes->data + done, bytes->size - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        ok = n > 0;
        done += ok ? (size_t)n : 0;
    }
    ok = ok && fsync(fd) == 0;
    ok = ok && renameat(cache->dir, temporary, cache->dir, name) == 0;
    if (!ok && !cache->warned_write) {
        sp_log(cache->log, SP_LOG_WARN, "cache: cannot store %.12s...: %s", name, strerror(errno));
        cache->warned_write = true;
    }
    if (fd >= 0) {
        close(fd);
        if (!ok) {
            unlinkat(cache->dir, temporary, 0);
        }
    }
    cache->bytes += ok ? bytes->size : 0;
    pthread_mutex_unlock(&cache->lock);
}
