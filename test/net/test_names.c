/* SPDX-License-Identifier: BSD-2-Clause */
/* Locations, what may name what, and playlists that announce a package. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "playlist.h"
#include "url.h"

static void check_user(const char *typed, const char *expected)
{
    struct srp_error err = {0};
    char *location = NULL;

    assert_int_equal(sp_url_from_user(&location, typed, &err), SRP_OK);
    assert_string_equal(location, expected);
    free(location);
}

static void what_users_type(void **state)
{
    char *location = NULL;

    (void)state;
    check_user("movie.mp4", "movie.mp4");
    check_user("/a b/m%20.mp4", "/a b/m%20.mp4");
    check_user("name:with:colons", "name:with:colons");
    check_user("file:///a%20b/m.mp4", "/a b/m.mp4");
    check_user("file://localhost/m", "/m");
    check_user("file:m.mp4", "m.mp4");
    check_user("http://host/a?b#c", "http://host/a?b");
    check_user("HTTPS://Host/", "https://Host/");
    assert_int_equal(sp_url_from_user(&location, "", NULL), SRP_ERR_USAGE);
    assert_int_equal(sp_url_from_user(&location, "file://host/x", NULL), SRP_ERR_USAGE);
    assert_int_equal(sp_url_from_user(&location, "file:///a%00b", NULL), SRP_ERR_USAGE);
    assert_int_equal(sp_url_from_user(&location, "ftp://host/x", NULL), SRP_ERR_UNSUPPORTED);
    assert_int_equal(sp_url_from_user(&location, "http://ho st/", NULL), SRP_ERR_USAGE);
    assert_null(location);
}

static void check_resolve(const char *base, const char *reference, const char *expected)
{
    struct srp_error err = {0};
    char *location = NULL;
    enum srp_err code = sp_url_resolve(&location, base, reference, &err);

    if (expected == NULL) {
        assert_int_equal(code, SRP_ERR_FORMAT);
        assert_null(location);
        assert_non_null(strstr(err.detail, "refused"));
    } else {
        assert_int_equal(code, SRP_OK);
        assert_string_equal(location, expected);
    }
    free(location);
}

static void what_files_may_name(void **state)
{
    (void)state;
    check_resolve("http://h/d/m.json", "x.m4s", "http://h/d/x.m4s");
    check_resolve("http://h/d/m.json?k=1", "objects/y", "http://h/d/objects/y");
    check_resolve("http://h/d/m.json", "/etc/passwd", "http://h/etc/passwd");
    check_resolve("http://h/m", "https://other/x", "https://other/x");
    check_resolve("https://h/m", "//other/x", "https://other/x");
    check_resolve("https://h/m", "http://h/x", NULL);
    check_resolve("http://h/m", "file:///etc/passwd", NULL);
    check_resolve("http://h/m", "FILE:/etc/passwd", NULL);
    check_resolve("http://h/m", "data:,x", NULL);
    check_resolve("http://h/m", "", NULL);
    check_resolve("/d/m.m3u8", "x.m4s", "/d/x.m4s");
    check_resolve("m.m3u8", "sub/x.m4s", "sub/x.m4s");
    check_resolve("/d/m.m3u8", "http://h/x", "http://h/x");
    check_resolve("/d/m.m3u8", "../x", NULL);
    check_resolve("/d/m.m3u8", "sub/../../x", NULL);
    check_resolve("/d/m.m3u8", "/etc/passwd", NULL);
    check_resolve("/d/m.m3u8", "file:///d/x", NULL);
    check_resolve("/d/m.m3u8", "concat:x|y", NULL);
    assert_int_equal(sp_url_allowed("/d/m.m3u8", "/e/x", NULL), SRP_ERR_FORMAT);
    assert_int_equal(sp_url_allowed("/d/m.m3u8", "/d//etc/passwd", NULL), SRP_ERR_FORMAT);
    assert_int_equal(sp_url_allowed("/d/m.m3u8", "/d/e/x", NULL), SRP_OK);
}

static void what_messages_show(void **state)
{
    char shown[64];

    (void)state;
    sp_url_show(shown, sizeof(shown), "http://me:secret@host/a@b\n");
    assert_string_equal(shown, "http://host/a@b%0A");
    sp_url_show(shown, 12, "http://host/long");
    assert_string_equal(shown, "http://host");
    sp_escape(shown, sizeof(shown), "a\x1b[31m\xc3");
    assert_string_equal(shown, "a%1B[31m%C3");
}

static void check_playlist(const char *text, enum srp_err expected, const char *uri)
{
    char *found = NULL;

    assert_int_equal(sp_playlist_manifest(&found, text, strlen(text)), expected);
    if (uri != NULL) {
        assert_string_equal(found, uri);
    } else {
        assert_null(found);
    }
    free(found);
}

#define TAG "#EXTM3U\n#EXT-X-SESSION-DATA:"

static void playlists(void **state)
{
    (void)state;
    assert_true(sp_playlist_is("#EXTM3U\n", 8));
    assert_true(sp_playlist_is("\xef\xbb\xbf#EXTM3U\r\n", 12));
    assert_false(sp_playlist_is("#EXTM3UX", 8));
    assert_false(sp_playlist_is("#EXT", 4));
    check_playlist(TAG "DATA-ID=\"org.srplay.manifest\",URI=\"m.json\"\r\nx\n",
                   SRP_OK, "m.json");
    check_playlist(TAG "LANGUAGE=en,URI=\"a,b=c\",DATA-ID=\"org.srplay.manifest\"",
                   SRP_OK, "a,b=c");
    check_playlist(TAG "DATA-ID=\"other\",URI=\"m.json\"\n",
                   SRP_ERR_NOT_FOUND, NULL);
    check_playlist("#EXTM3U\nvideo.m3u8\n", SRP_ERR_NOT_FOUND, NULL);
    check_playlist(TAG "DATA-ID=\"org.srplay.manifest\"\n",
                   SRP_ERR_FORMAT, NULL);
    check_playlist(TAG "DATA-ID=\"org.srplay.manifest\",URI=\"\"\n",
                   SRP_ERR_FORMAT, NULL);
    check_playlist(TAG "DATA-ID=\"org.srplay.manifest,URI=\n",
                   SRP_ERR_FORMAT, NULL);
    check_playlist(TAG "nonsense\n",
                   SRP_ERR_FORMAT, NULL);
    check_playlist(TAG "URI=\"a\"DATA-ID=\"org.srplay.manifest\"\n",
                   SRP_ERR_FORMAT, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_users_type),
        cmocka_unit_test(what_files_may_name),
        cmocka_unit_test(what_messages_show),
        cmocka_unit_test(playlists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
