/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of srplay, and the files it writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "options.h"
#include "output.h"

static struct srp_error last;

/* Up to six words after the program's name. */
static enum srp_err parse(struct sp_options *o, const char *a, const char *b, const char *c)
{
    char *argv[8] = {strdup("srplay")};
    int argc = 1;
    for (const char *const *w = (const char *const[]){a, b, c, NULL}; *w; w++) {
        argv[argc++] = (char *)(uintptr_t)*w; /* options keep pointers: literals live on */
    }
    last.code = SRP_OK;
    enum srp_err r = sp_options_parse(o, argc, argv, &last);
    free(argv[0]);
    return r;
}

static void refuse(const char *a, const char *b, const char *c, const char *names)
{
    struct sp_options o;
    assert_int_equal(parse(&o, a, b, c), SRP_ERR_USAGE);
    assert_int_equal(last.code, SRP_ERR_USAGE);
    if (!strstr(last.detail, names)) {
        fail_msg("\"%s\" does not name %s", last.detail, names);
    }
}

static void defaults(void **state)
{
    (void)state;
    struct sp_options o;
    assert_int_equal(parse(&o, "x.mp4", NULL, NULL), SRP_OK);
    assert_string_equal(o.playback.media.url, "x.mp4");
    assert_true(o.playback.display && o.playback.sound);
    assert_int_equal(o.playback.volume, 100);
    assert_int_equal(o.playback.sr, SP_SR_AUTO);
    assert_int_equal(o.playback.route, SP_ROUTE_BUDGET);
    assert_int_equal(o.playback.compare, SP_COMPARE_OFF);
    assert_int_equal(o.playback.frames, 0);
    assert_null(o.stats);
}

static void values(void **state)
{
    (void)state;
    struct sp_options o;
    assert_int_equal(parse(&o, "--start=1:02:03.5", "--frames=7", "x"), SRP_OK);
    assert_true(o.playback.start == 3723.5);
    assert_int_equal(o.playback.frames, 7);
    assert_int_equal(parse(&o, "--length", "90", "x"), SRP_OK);
    assert_true(o.playback.length == 90);
    assert_int_equal(parse(&o, "--sr=on", "--compare=side", "x"), SRP_OK);
    assert_int_equal(o.playback.sr, SP_SR_ON);
    assert_int_equal(o.playback.compare, SP_COMPARE_SIDE);
    assert_int_equal(parse(&o, "--route=exact", "x", NULL), SRP_OK);
    assert_int_equal(o.playback.route, SP_ROUTE_EXACT);
    assert_int_equal(parse(&o, "--route=off", "x", NULL), SRP_OK);
    assert_int_equal(o.playback.route, SP_ROUTE_OFF);
    assert_int_equal(parse(&o, "--no-cache", "-q", "x"), SRP_OK);
    assert_string_equal(o.playback.media.cache_dir, "");
    assert_int_equal(o.level, SP_LOG_ERROR);
    assert_int_equal(parse(&o, "--scale=3", "--threads=2", "x"), SRP_OK);
    assert_int_equal(o.playback.media.plain_scale, 3);
    assert_int_equal(o.playback.threads, 2);
    assert_int_equal(parse(&o, "--geometry=640x360+10+20", "--backend=reference", "x"), SRP_OK);
    assert_int_equal(o.playback.backend, SRP_BACKEND_REFERENCE);
    assert_int_equal(parse(&o, "--no-display", "--", "--odd-name"), SRP_OK);
    assert_string_equal(o.playback.media.url, "--odd-name");
    assert_int_equal(parse(&o, "--help", NULL, NULL), SRP_OK);
    assert_true(o.help);
    assert_int_equal(parse(&o, "--version", NULL, NULL), SRP_OK);
    assert_true(o.version);
}

static void refusals(void **state)
{
    (void)state;
    refuse(NULL, NULL, NULL, "nothing to play");
    refuse("a", "b", NULL, "only one");
    refuse("--bogus", "x", NULL, "--bogus");
    refuse("-z", "x", NULL, "-z");
    refuse("x", "--frames", NULL, "--frames");
    refuse("--frames=0", "x", NULL, "--frames");
    refuse("--frames=-1", "x", NULL, "--frames");
    refuse("--frames=1x", "x", NULL, "--frames");
    refuse("--start=abc", "x", NULL, "--start");
    refuse("--start=1:2:3:4", "x", NULL, "--start");
    refuse("--start=-5", "x", NULL, "--start");
    refuse("--start=nan", "x", NULL, "--start");
    refuse("--length=0", "x", NULL, "--length");
    refuse("--sr=maybe", "x", NULL, "--sr");
    refuse("--compare=left", "x", NULL, "--compare");
    refuse("--route=cheap", "x", NULL, "--route");
    refuse("--backend=magic", "x", NULL, "--backend");
    refuse("--threads=0", "x", NULL, "--threads");
    refuse("--threads=65", "x", NULL, "--threads");
    refuse("--scale=5", "x", NULL, "--scale");
    refuse("--volume=101", "x", NULL, "--volume");
    refuse("--geometry=640", "x", NULL, "--geometry");
    refuse("--geometry=0x5", "x", NULL, "--geometry");
    refuse("--geometry=640x360+5", "x", NULL, "--geometry");
    refuse("--geometry=640x360+5+5z", "x", NULL, "--geometry");
    refuse("--dump=", "x", NULL, "--dump");
    refuse("--no-display", "--pause", "x", "--pause");
    refuse("--stats=-", "--dump=-", "x", "standard output");
}

/* ---- dumps ---- */

static enum srp_err open_dump(struct sp_output **o, const char *path)
{
    struct sp_output_params p = {.path = path, .frame_rate_num = 30000, .frame_rate_den = 1001,
                                 .sar = 1};
    return sp_output_open(o, &p, &last);
}

static void dump_names(void **state)
{
    (void)state;
    struct sp_output *o = NULL;
    assert_int_equal(open_dump(&o, "x.avi"), SRP_ERR_USAGE);
    assert_int_equal(open_dump(&o, "x%s.png"), SRP_ERR_USAGE);
    assert_int_equal(open_dump(&o, "x%d%d.png"), SRP_ERR_USAGE);
    assert_int_equal(open_dump(&o, "x%99999d.png"), SRP_ERR_USAGE);
    assert_int_equal(open_dump(&o, "x%n.png"), SRP_ERR_USAGE);
    assert_int_equal(open_dump(&o, "/nonexistent/folder/x.y4m"), SRP_ERR_IO);
    assert_null(o);
}

static void y4m_bytes(void **state)
{
    (void)state;
    char path[] = "/tmp/srplay-test-XXXXXX.y4m";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    close(fd);
    struct sp_output *o = NULL;
    struct srp_picture p;
    assert_int_equal(open_dump(&o, path), SRP_OK);
    assert_int_equal(sp_picture_alloc(&p, SRP_FORMAT_YUV420, 3, 3, &last), SRP_OK);
    for (int i = 0; i < 3; i++) {
        for (int y = 0; y < (i ? 2 : 3); y++) {
            for (int x = 0; x < (i ? 2 : 3); x++) {
                p.data[i][y * p.stride[i] + x] = (uint8_t)(i * 100 + y * 10 + x);
            }
        }
    }
    assert_int_equal(sp_output_write(o, &p, &last), SRP_OK);
    struct srp_picture other = p;
    other.width = 2;
    assert_int_equal(sp_output_write(o, &other, &last), SRP_ERR_UNSUPPORTED);
    assert_int_equal(sp_output_close(&o, &last), SRP_OK);
    assert_null(o);
    static const char head[] =
        "YUV4MPEG2 W3 H3 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\nFRAME\n";
    static const uint8_t body[17] = {0,   1,   2,   10,  11,  12,  20,  21, 22,
                                     100, 101, 110, 111, 200, 201, 210, 211};
    char data[256];
    FILE *f = fopen(path, "rb");
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    unlink(path);
    assert_int_equal(n, sizeof head - 1 + sizeof body);
    assert_memory_equal(data, head, sizeof head - 1);
    assert_memory_equal(data + sizeof head - 1, body, sizeof body);
    sp_picture_free(&p);
}

static void pictures_have_limits(void **state)
{
    (void)state;
    struct srp_picture p;
    assert_int_equal(sp_picture_alloc(&p, SRP_FORMAT_YUV420, 0, 5, &last), SRP_ERR_LIMIT);
    assert_int_equal(sp_picture_alloc(&p, SRP_FORMAT_BGRA, 16385, 5, &last), SRP_ERR_LIMIT);
    assert_int_equal(sp_picture_alloc(&p, SRP_FORMAT_BGRA, 16384, 16384, &last), SRP_ERR_LIMIT);
}

static void screenshots_never_overwrite(void **state)
{
    (void)state;
    char dir[] = "/tmp/srplay-shots-XXXXXX", first[256], second[256];
    assert_non_null(mkdtemp(dir));
    struct srp_picture p;
    assert_int_equal(sp_picture_alloc(&p, SRP_FORMAT_BGRA, 4, 4, &last), SRP_OK);
    assert_int_equal(sp_screenshot(dir, &p, first, sizeof first, &last), SRP_OK);
    assert_int_equal(sp_screenshot(dir, &p, second, sizeof second, &last), SRP_OK);
    assert_non_null(strstr(first, "/srplay-shot0001.png"));
    assert_non_null(strstr(second, "/srplay-shot0002.png"));
    unlink(first);
    unlink(second);
    rmdir(dir);
    assert_int_equal(sp_screenshot(dir, &p, first, sizeof first, &last), SRP_ERR_IO);
    sp_picture_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values),
        cmocka_unit_test(refusals),
        cmocka_unit_test(dump_names),
        cmocka_unit_test(y4m_bytes),
        cmocka_unit_test(pictures_have_limits),
        cmocka_unit_test(screenshots_never_overwrite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
