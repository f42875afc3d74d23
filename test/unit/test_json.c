/* SPDX-License-Identifier: BSD-2-Clause */
/* The JSON reader, its getters, and the error line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/checked.h"
#include "model/error.h"
#include "model/json.h"
#include "model_data.h"

#include <srp/limits.h>

static enum srp_err read_bytes(json_t **out, const void *bytes, size_t size, struct srp_error *err)
{
    struct text t = text_copy(bytes, size);
    struct srp_blob blob = text_blob(&t, NULL);
    enum srp_err rc = srpi_json_read(out, &blob, "f.json", err);
    text_free(&t);
    return rc;
}

static void refuses_what_is_not_strict_json(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size; /* 0: strlen */
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {"", 0, SRP_ERR_PARSE, "f.json: empty"},
        {" ", 0, SRP_ERR_PARSE, "f.json: line"},
        {"{", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":1", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":1,}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":1} x", 0, SRP_ERR_PARSE, "end of file expected"},
        {"{\"a\":1}{}", 0, SRP_ERR_PARSE, "end of file expected"},
        {"{\"a\":1}\0", 8, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":1,\n\"a\":2}", 0, SRP_ERR_PARSE, "line 2"},
        {"{\"a\":\"\\u0000\"}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":\"b\0c\"}", 11, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":\"\xff\"}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":\"\xc0\x80\"}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":\"\xed\xa0\x80\"}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":\"\\ud800\"}", 0, SRP_ERR_PARSE, "line 1"},
        {"\xef\xbb\xbf{}", 0, SRP_ERR_PARSE, "line 1"},
        {"{'a':1}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":NaN}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":Infinity}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":1e999}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":99999999999999999999}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":01}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":0x10}", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":1/*c*/}", 0, SRP_ERR_PARSE, "line 1"},
        {"[1]", 0, SRP_ERR_FORMAT, "not a JSON object"},
        {"7", 0, SRP_ERR_PARSE, "line 1"},
        {"{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", 0, SRP_ERR_LIMIT, "deeper than 16"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srp_error err = {0};
        json_t *json = NULL;
        size_t size = cases[i].size > 0 ? cases[i].size : strlen(cases[i].text);
        enum srp_err rc = read_bytes(&json, cases[i].text, size, &err);
        check_failure(rc, cases[i].code, &err, cases[i].needle, cases[i].text);
        assert_null(json);
        assert_int_equal(read_bytes(&json, cases[i].text, size, NULL), cases[i].code);
    }
}

static void accepts_the_limits(void **state)
{
    (void)state;
    json_t *json = NULL;
    const char *deep = "{\"a\":[[[[[[[[[[[[[[[\"]]]]]}\\\"[[[[[[[[[[[[\"]]]]]]]]]]]]]]]} \n";
    assert_int_equal(read_bytes(&json, deep, strlen(deep), NULL), SRP_OK);
    json_decref(json);
}

/* {"a":[0,0,...]} with `count` zeros, or padded with spaces to `size`. */
static struct text long_document(size_t count, size_t size)
{
    size_t length = 5 + 2 * count + 1;
    size_t whole = length > size ? length : size;
    struct text t = {malloc(whole), whole};
    assert_non_null(t.data);
    memset(t.data, ' ', whole);
    memcpy(t.data, "{\"a\":", 5);
    for (size_t i = 0; i < count; i++) {
        t.data[5 + 2 * i] = i == 0 ? '[' : ',';
        t.data[6 + 2 * i] = '0';
    }
    t.data[5 + 2 * count] = ']';
    t.data[whole - 1] = '}';
    return t;
}

static void bounds_size_and_number_of_values(void **state)
{
    (void)state;
    struct srp_error err = {0};
    json_t *json = NULL;

    struct text t = long_document(10, SRP_MAX_JSON_BYTES + 1);
    struct srp_blob blob = text_blob(&t, NULL);
    check_failure(srpi_json_read(&json, &blob, "f.json", &err), SRP_ERR_LIMIT, &err,
                  "bytes of JSON", "size");
    text_free(&t);

    t = long_document(SRP_MAX_JSON_VALUES, 2u * SRP_MAX_JSON_VALUES + 8);
    blob = text_blob(&t, NULL);
    check_failure(srpi_json_read(&json, &blob, "f.json", &err), SRP_ERR_LIMIT, &err, "values",
                  "values");
    text_free(&t);

    t = long_document(1000, SRP_MAX_JSON_BYTES);
    blob = text_blob(&t, NULL);
    assert_int_equal(srpi_json_read(&json, &blob, "f.json", &err), SRP_OK);
    json_decref(json);
    text_free(&t);
}

static const char document[] =
    "{\"n\": 7, \"big\": 9007199254740993, \"max\": 9007199254740992, \"neg\": -3, \"r\": 1.5,"
    " \"whole\": 2.0, \"s\": \"word\", \"e\": \"\", \"bad\": \"a/b\", \"esc\": \"\\u001b[31m\\n\","
    " \"o\": {\"l\": [1, {\"deep\": true}, -9]}, \"z\": null, \"l\": [1, 2, 3]}";

static void getters_name_the_field(void **state)
{
    (void)state;
    struct srp_error err = {0};
    json_t *json = NULL;
    assert_int_equal(read_bytes(&json, document, strlen(document), &err), SRP_OK);
    struct srpi_at root = srpi_at_root("f.json", json);
    struct srpi_at at = {0};
    static const char *const words[] = {"other", "word", NULL};
    uint64_t u = 99;
    uint32_t v = 99;
    double d = 99;
    size_t count = 99;
    const char *s = NULL;

#define FAILS(call, code, needle) check_failure((call), (code), &err, (needle), #call)
    FAILS(srpi_get_u64(&root, "none", 0, 9, &u, &err), SRP_ERR_FORMAT, "f.json: none: missing");
    FAILS(srpi_get_u64(&root, "s", 0, 9, &u, &err), SRP_ERR_FORMAT, "s: a string where an integer");
    FAILS(srpi_get_u64(&root, "whole", 0, 9, &u, &err), SRP_ERR_FORMAT, "whole: a real number");
    FAILS(srpi_get_u64(&root, "z", 0, 9, &u, &err), SRP_ERR_FORMAT, "z: null where");
    FAILS(srpi_get_u64(&root, "neg", 0, 9, &u, &err), SRP_ERR_FORMAT, "neg: negative number -3");
    FAILS(srpi_get_u64(&root, "n", 0, 6, &u, &err), SRP_ERR_LIMIT, "n: 7 is above 6");
    FAILS(srpi_get_u64(&root, "n", 8, 9, &u, &err), SRP_ERR_FORMAT, "n: 7 is below 8");
    FAILS(srpi_get_u64(&root, "big", 0, UINT64_MAX, &u, &err), SRP_ERR_LIMIT, "big: 9007");
    FAILS(srpi_get_u32(&root, "max", 0, UINT32_MAX, &v, &err), SRP_ERR_LIMIT, "max: 9007");
    FAILS(srpi_get_real(&root, "s", 0, 9, &d, &err), SRP_ERR_FORMAT, "s: a string where a number");
    FAILS(srpi_get_real(&root, "r", 2, 9, &d, &err), SRP_ERR_FORMAT, "r: 1.5 is below 2");
    FAILS(srpi_get_real(&root, "r", 0, 1, &d, &err), SRP_ERR_LIMIT, "r: 1.5 is above 1");
    FAILS(srpi_get_text(&root, "n", 9, &s, &err), SRP_ERR_FORMAT, "n: an integer where a string");
    FAILS(srpi_get_text(&root, "e", 9, &s, &err), SRP_ERR_FORMAT, "e: empty");
    FAILS(srpi_get_text(&root, "s", 3, &s, &err), SRP_ERR_LIMIT, "s: string of 4 bytes");
    FAILS(srpi_get_name(&root, "bad", 9, "-", &s, &err), SRP_ERR_FORMAT, "bad: 'a/b'");
    FAILS(srpi_get_name(&root, "esc", 9, "-", &s, &err), SRP_ERR_FORMAT, "'\\x1b[31m\\x0a'");
    FAILS(srpi_get_word(&root, "bad", words, &v, &err), SRP_ERR_FORMAT, "bad: 'a/b' is unknown");
    FAILS(srpi_get_word(&root, "n", words, &v, &err), SRP_ERR_FORMAT, "n: an integer");
    FAILS(srpi_get_object(&root, "l", &at, &err), SRP_ERR_FORMAT, "l: a list where an object");
    FAILS(srpi_get_list(&root, "o", 0, 9, &at, &count, &err), SRP_ERR_FORMAT, "o: an object where");
    FAILS(srpi_get_list(&root, "l", 0, 2, &at, &count, &err), SRP_ERR_LIMIT, "l: 3 items");
    FAILS(srpi_get_list(&root, "l", 2, 2, &at, &count, &err), SRP_ERR_FORMAT, "l: 3 items");
    FAILS(srpi_get_list(&root, "l", 4, 9, &at, &count, &err), SRP_ERR_FORMAT, "l: 3 items, fewer");
    assert_true(u == 99 && v == 99 && d == 99 && count == 99 && s == NULL && at.value == NULL);

    struct srpi_at object;
    struct srpi_at list;
    assert_int_equal(srpi_get_object(&root, "o", &object, &err), SRP_OK);
    assert_int_equal(srpi_get_list(&object, "l", 3, 3, &list, &count, &err), SRP_OK);
    struct srpi_at item = srpi_at_item(&list, 1);
    FAILS(srpi_get_u64(&item, "deep", 0, 9, &u, &err), SRP_ERR_FORMAT,
          "f.json: o.l[1].deep: a truth value where");
    item = srpi_at_item(&list, 2);
    FAILS(srpi_at_u64(&item, 0, 9, &u, &err), SRP_ERR_FORMAT, "f.json: o.l[2]: negative number -9");
    FAILS(srpi_get_u64(&item, "x", 0, 9, &u, &err), SRP_ERR_FORMAT, "o.l[2]: an integer where an");

    assert_int_equal(srpi_get_u64(&root, "max", 0, UINT64_MAX, &u, &err), SRP_OK);
    assert_true(u == UINT64_C(9007199254740992));
    assert_int_equal(srpi_get_u32(&root, "n", 7, 7, &v, &err), SRP_OK);
    assert_int_equal(v, 7);
    assert_int_equal(srpi_get_real(&root, "neg", -3, 0, &d, &err), SRP_OK);
    assert_true(d == -3.0);
    assert_int_equal(srpi_get_word(&root, "s", words, &v, &err), SRP_OK);
    assert_int_equal(v, 1);
    assert_int_equal(srpi_get_name(&root, "s", 4, "", &s, &err), SRP_OK);
    assert_string_equal(s, "word");
    json_decref(json);
}

static void error_line_is_escaped_and_cut(void **state)
{
    (void)state;
    struct srp_error err = {0};

    assert_int_equal(srpi_fail(NULL, SRP_ERR_IO, "x"), SRP_ERR_IO);
    assert_int_equal(srpi_fail(&err, SRP_ERR_IO, "a\n%s\\%c", "\x1b\xc3\xa9", 7), SRP_ERR_IO);
    assert_string_equal(err.detail, "a\\x0a\\x1b\\xc3\\xa9\\x5c\\x07");
    srpi_fail(&err, SRP_ERR_PARSE, "outer: %s", err.detail);
    assert_memory_equal(err.detail, "outer: a\\x5cx0a", 15);

    char text[2000];
    for (size_t n = 1; n < sizeof(text) - 1; n++) {
        memset(text, 'y', n);
        text[n] = '\0';
        srpi_fail(&err, SRP_ERR_IO, "%s", text);
        size_t length = strlen(err.detail);
        assert_true(length < sizeof(err.detail));
        assert_true(length == n || strcmp(err.detail + length - 3, "...") == 0);
        text[n - 1] = '\n';
        srpi_fail(&err, SRP_ERR_IO, "%s", text);
        assert_true(strlen(err.detail) < sizeof(err.detail));
        assert_null(strchr(err.detail, '\n'));
    }
    memset(text, '\t', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    srpi_fail(&err, SRP_ERR_IO, "%s", text);
    assert_true(strlen(err.detail) < sizeof(err.detail));
    assert_string_equal(err.detail + strlen(err.detail) - 7, "\\x09...");
}

static void every_code_has_its_own_text(void **state)
{
    (void)state;
    static const enum srp_err codes[] = {
        SRP_OK,          SRP_ERR_IO,          SRP_ERR_NOT_FOUND, SRP_ERR_NETWORK,
        SRP_ERR_PARSE,   SRP_ERR_FORMAT,      SRP_ERR_LIMIT,     SRP_ERR_HASH,
        SRP_ERR_SIZE,    SRP_ERR_UNSUPPORTED, SRP_ERR_GRAPH,     SRP_ERR_PARAMS,
        SRP_ERR_NONFINITE, SRP_ERR_DECODE,    SRP_ERR_DEVICE,    SRP_ERR_NOMEM,
        SRP_ERR_USAGE,
    };
    const size_t count = sizeof(codes) / sizeof(codes[0]);
    for (size_t i = 0; i < count; i++) {
        assert_string_not_equal(srp_strerror(codes[i]), "unknown error");
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(srp_strerror(codes[i]), srp_strerror(codes[j]));
        }
    }
    assert_string_equal(srp_strerror((enum srp_err)-12345), "unknown error");
    assert_string_equal(srp_strerror(SRP_ERR_HASH), "hash mismatch");
    assert_string_equal(srp_version(), SRP_VERSION_STRING);
}

static void checked_arithmetic(void **state)
{
    (void)state;
    size_t s = 0;
    uint64_t u = 0;
    assert_true(srpi_mul(6, 7, &s) && s == 42);
    assert_true(srpi_add(SIZE_MAX - 1, 1, &s) && s == SIZE_MAX);
    assert_false(srpi_mul(SIZE_MAX / 2 + 1, 2, &s));
    assert_false(srpi_add(SIZE_MAX, 1, &s));
    assert_true(srpi_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 31, &u) && u == UINT64_C(1) << 63);
    assert_true(srpi_add_u64(1, 2, &u) && u == 3);
    assert_false(srpi_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &u));
    assert_false(srpi_add_u64(UINT64_MAX, 1, &u));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_strict_json),
        cmocka_unit_test(accepts_the_limits),
        cmocka_unit_test(bounds_size_and_number_of_values),
        cmocka_unit_test(getters_name_the_field),
        cmocka_unit_test(error_line_is_escaped_and_cut),
        cmocka_unit_test(every_code_has_its_own_text),
        cmocka_unit_test(checked_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
