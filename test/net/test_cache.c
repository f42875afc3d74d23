/* SPDX-License-Identifier: BSD-2-Clause */
/* The cache: what it gives back is what was put in, or nothing; and nothing that is wrong with
 * it is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "cache.h"

struct fixture {
    char dir[64], path[160];
};

static void make_object(struct srp_object *object, struct sp_bytes *bytes, uint8_t fill,
                        size_t size)
{
    uint8_t byte = fill;

    memset(bytes, 0, sizeof(*bytes));
    for (size_t i = 0; i < size; i++) {
        assert_true(sp_bytes_append(bytes, &byte, 1, SIZE_MAX));
        byte = (uint8_t)(byte * 5 + 1);
    }
    memset(object, 0, sizeof(*object));
    object->uri = "x";
    object->size = size;
    crypto_hash_sha256(object->sha256, bytes->data, bytes->size);
}

static const char *entry_path(struct fixture *f, const struct srp_object *object)
{
    int n = snprintf(f->path, sizeof(f->path), "%s/c/", f->dir);

    for (int i = 0; i < 32; i++) {
        n += snprintf(f->path + n, sizeof(f->path) - (size_t)n, "%02x", object->sha256[i]);
    }
    return f->path;
}

static struct sp_cache *open_in(struct fixture *f, uint64_t max)
{
    char dir[80];

    snprintf(dir, sizeof(dir), "%s/c", f->dir);
    return sp_cache_open(dir, max, NULL);
}

static bool hit(struct sp_cache *cache, const struct srp_object *object,
                const struct sp_bytes *same)
{
    struct sp_bytes got = {0};
    bool found = sp_cache_get(cache, object, &got);

    if (found) {
        assert_int_equal(got.size, same->size);
        assert_memory_equal(got.data, same->data, same->size);
    }
    sp_bytes_free(&got);
    return found;
}

static int count_files(struct fixture *f)
{
    char dir[80];
    int n = 0;

    snprintf(dir, sizeof(dir), "%s/c", f->dir);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        n += e->d_name[0] != '.' ? 1 : 0;
    }
    closedir(d);
    return n;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/srp-cache-XXXXXX");
    *state = f;
    return mkdtemp(f->dir) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[192];
    struct fixture *f = *state;

    snprintf(command, sizeof(command), "chmod -R u+w %s && rm -r %s", f->dir, f->dir);
    int r = system(command);
    free(f);
    return r;
}

static void gives_back_what_was_put(void **state)
{
    struct fixture *f = *state;
    struct srp_object object;
    struct sp_bytes bytes;
    struct stat st;
    struct sp_cache *cache = open_in(f, SP_CACHE_BYTES);

    make_object(&object, &bytes, 1, 50000);
    assert_non_null(cache);
    assert_false(hit(cache, &object, &bytes));
    sp_cache_put(cache, &object, &bytes);
    assert_true(hit(cache, &object, &bytes));
    assert_int_equal(stat(entry_path(f, &object), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    sp_cache_close(&cache);
    cache = open_in(f, SP_CACHE_BYTES);
    assert_true(hit(cache, &object, &bytes));
    sp_cache_close(&cache);
    snprintf(f->path, sizeof(f->path), "%s/c", f->dir);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    sp_bytes_free(&bytes);
}

static void corrupt(const char *path, off_t at, const char *data, size_t size)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, at), size);
    close(fd);
}

static void corrupt_entry_is_deleted_and_missed(void **state)
{
    struct fixture *f = *state;
    struct srp_object object;
    struct sp_bytes bytes;
    struct sp_cache *cache = open_in(f, SP_CACHE_BYTES);

    make_object(&object, &bytes, 2, 50000);
    sp_cache_put(cache, &object, &bytes);
    corrupt(entry_path(f, &object), 40000, "zz", 2);
    assert_false(hit(cache, &object, &bytes));
    assert_int_equal(access(entry_path(f, &object), F_OK), -1);
    sp_cache_put(cache, &object, &bytes);
    assert_true(hit(cache, &object, &bytes));

    assert_int_equal(truncate(entry_path(f, &object), 100), 0);
    assert_false(hit(cache, &object, &bytes));
    assert_int_equal(access(f->path, F_OK), -1);
    sp_cache_put(cache, &object, &bytes);
    corrupt(entry_path(f, &object), 50000, "longer", 6);
    assert_false(hit(cache, &object, &bytes));
    sp_cache_close(&cache);
    sp_bytes_free(&bytes);
}

/* A link in place of an entry is not followed, and what it points to stays as it is. */
static void links_are_not_followed(void **state)
{
    struct fixture *f = *state;
    struct srp_object object;
    struct sp_bytes bytes;
    struct sp_cache *cache = open_in(f, SP_CACHE_BYTES);
    char victim[96];

    make_object(&object, &bytes, 3, 1000);
    snprintf(victim, sizeof(victim), "%s/victim", f->dir);
    FILE *file = fopen(victim, "w");
    assert_int_equal(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    fclose(file);
    assert_int_equal(symlink(victim, entry_path(f, &object)), 0);
    assert_false(hit(cache, &object, &bytes));
    assert_int_equal(access(victim, F_OK), 0);
    sp_cache_put(cache, &object, &bytes);
    assert_true(hit(cache, &object, &bytes));
    sp_cache_close(&cache);

    char link_dir[96];
    snprintf(link_dir, sizeof(link_dir), "%s/link", f->dir);
    snprintf(f->path, sizeof(f->path), "%s/c", f->dir);
    assert_int_equal(symlink(f->path, link_dir), 0);
    assert_null(sp_cache_open(link_dir, SP_CACHE_BYTES, NULL));
    sp_bytes_free(&bytes);
}

static void unusable_directories_mean_no_cache(void **state)
{
    struct fixture *f = *state;
    struct srp_object object;
    struct sp_bytes bytes;
    char path[96];

    make_object(&object, &bytes, 4, 100);
    assert_null(sp_cache_open("/proc/no/such/place", SP_CACHE_BYTES, NULL));
    assert_null(sp_cache_open("", SP_CACHE_BYTES, NULL));
    snprintf(path, sizeof(path), "%s/file", f->dir);
    fclose(fopen(path, "w"));
    assert_null(sp_cache_open(path, SP_CACHE_BYTES, NULL));
    snprintf(path, sizeof(path), "%s/open", f->dir);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chmod(path, 0777), 0); /* others could plant links there */
    assert_null(sp_cache_open(path, SP_CACHE_BYTES, NULL));
    /* A NULL cache is legal. */
    sp_cache_put(NULL, &object, &bytes);
    assert_false(hit(NULL, &object, &bytes));
    sp_bytes_free(&bytes);
}

/* Writing fails without a word to the caller; reading what is there goes on. */
static void unwritable_directory_still_reads(void **state)
{
    struct fixture *f = *state;
    struct srp_object first, second;
    struct sp_bytes bytes, other;
    struct sp_cache *cache = open_in(f, SP_CACHE_BYTES);

    make_object(&first, &bytes, 5, 1000);
    make_object(&second, &other, 6, 1000);
    sp_cache_put(cache, &first, &bytes);
    snprintf(f->path, sizeof(f->path), "%s/c", f->dir);
    assert_int_equal(chmod(f->path, 0500), 0);
    if (geteuid() == 0) { /* permissions do not stop root: take the directory itself away */
        char moved[96];
        snprintf(moved, sizeof(moved), "%s/moved", f->dir);
        assert_int_equal(rename(f->path, moved), 0);
        assert_true(hit(cache, &first, &bytes));
        snprintf(moved, sizeof(moved), "rm -r %s/moved", f->dir);
        assert_int_equal(system(moved), 0);
    }
    sp_cache_put(cache, &second, &other);
    assert_false(hit(cache, &second, &other));
    sp_cache_close(&cache);
    sp_bytes_free(&bytes);
    sp_bytes_free(&other);
}

static void longest_unused_makes_room(void **state)
{
    struct fixture *f = *state;
    struct srp_object objects[5];
    struct sp_bytes bytes[5];
    struct sp_cache *cache = open_in(f, 3500);

    for (uint8_t i = 0; i < 5; i++) {
        make_object(&objects[i], &bytes[i], (uint8_t)(i + 10), 1000);
    }
    for (int i = 0; i < 3; i++) {
        sp_cache_put(cache, &objects[i], &bytes[i]);
        struct timespec old[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000}};
        assert_int_equal(utimensat(AT_FDCWD, entry_path(f, &objects[i]), old, 0), 0);
    }
    assert_true(hit(cache, &objects[0], &bytes[0])); /* now the youngest */
    sp_cache_put(cache, &objects[3], &bytes[3]);
    assert_true(hit(cache, &objects[0], &bytes[0]));
    assert_false(hit(cache, &objects[1], &bytes[1]));
    assert_true(hit(cache, &objects[2], &bytes[2]));
    assert_true(hit(cache, &objects[3], &bytes[3]));
    assert_int_equal(count_files(f), 3);

    struct srp_object big;
    struct sp_bytes too_much;
    make_object(&big, &too_much, 9, 4000);
    sp_cache_put(cache, &big, &too_much);
    assert_false(hit(cache, &big, &too_much));
    assert_int_equal(count_files(f), 3);
    sp_bytes_free(&too_much);
    for (int i = 0; i < 5; i++) {
        sp_bytes_free(&bytes[i]);
    }
    sp_cache_close(&cache);
}

struct user {
    struct sp_cache *cache;
    struct srp_object objects[8];
    struct sp_bytes bytes[8];
};

static void *use_cache(void *argument)
{
    struct user *u = argument;
    uintptr_t wrong = 0;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++) {
            struct sp_bytes got = {0};
            if (sp_cache_get(u->cache, &u->objects[i], &got)) {
                wrong += memcmp(got.data, u->bytes[i].data, got.size) != 0 ? 1 : 0;
            } else {
                sp_cache_put(u->cache, &u->objects[i], &u->bytes[i]);
            }
            sp_bytes_free(&got);
        }
    }
    return (void *)wrong;
}

/* Two programs (two handles) with two threads each, in a directory that is too small for all
 * they want. */
static void shared_by_several(void **state)
{
    struct fixture *f = *state;
    struct user users[2] = {{.cache = open_in(f, 20000)}, {.cache = open_in(f, 20000)}};
    pthread_t threads[4];

    for (int i = 0; i < 8; i++) {
        make_object(&users[0].objects[i], &users[0].bytes[i], (uint8_t)(i + 1), 3000);
        make_object(&users[1].objects[i], &users[1].bytes[i], (uint8_t)(i + 5), 3000);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_cache, &users[i / 2]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    for (int i = 0; i < 8; i++) {
        sp_bytes_free(&users[0].bytes[i]);
        sp_bytes_free(&users[1].bytes[i]);
    }
    sp_cache_close(&users[0].cache);
    sp_cache_close(&users[1].cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_back_what_was_put, set_up, tear_down),
        cmocka_unit_test_setup_teardown(corrupt_entry_is_deleted_and_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unusable_directories_mean_no_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unwritable_directory_still_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(longest_unused_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shared_by_several, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
