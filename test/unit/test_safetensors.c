/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader of parameter files: its table, the three number formats, and each refusal. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/safetensors.h"
#include "model_data.h"

#include <srp/limits.h>

static enum srp_err read_file(struct srpi_safetensors *file, const struct text *t,
                              struct srp_error *err)
{
    struct srp_blob blob = text_blob(t, "p.safetensors");
    return srpi_safetensors_read(file, &blob, err);
}

static void reads_a_table(void **state)
{
    (void)state;
    struct srpi_safetensors file = {0};
    struct text t = small_parameters();
    assert_int_equal(read_file(&file, &t, NULL), SRP_OK);
    assert_int_equal(file.count, 3);
    assert_string_equal(file.arrays[0].name, "a.bias");
    assert_string_equal(file.arrays[1].name, "a.weight");
    assert_string_equal(file.arrays[2].name, "a.slope");
    const struct srpi_array *w = srpi_safetensors_find(&file, "a.weight");
    assert_ptr_equal(w, &file.arrays[1]);
    assert_int_equal(w->rank, 4);
    assert_int_equal(w->shape[0], 4);
    assert_int_equal(w->shape[1], 1);
    assert_int_equal(w->shape[3], 3);
    assert_int_equal(w->count, 36);
    assert_ptr_equal(w->data, t.data + 8 + strlen(small_header) + 16);
    assert_null(srpi_safetensors_find(&file, "a.weigh"));
    assert_null(srpi_safetensors_find(&file, "__metadata__"));
    srpi_safetensors_free(&file);
    text_free(&t);
}

static void refuses_bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to; /* in small_header */
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {"\"F32\",\"shape\":[4],\"data_offsets\":[0,16]", "\"U8\",\"shape\":[16],\"data_offsets\":"
         "[0,16]", SRP_ERR_PARAMS, "a.bias.dtype: 'U8' is none of"},
        {"\"F32\",\"shape\":[4],\"data_offsets\":[0,16]", "7,\"shape\":[4],\"data_offsets\":[0,16]",
         SRP_ERR_FORMAT, "a.bias.dtype: an integer"},
        {"\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]",
         "\"shape\":[4],\"data_offsets\":[0,16]", SRP_ERR_FORMAT, "a.bias.dtype: missing"},
        {"\"shape\":[4],\"data_offsets\":[0,16]", "\"data_offsets\":[0,16]", SRP_ERR_FORMAT,
         "a.bias.shape: missing"},
        {"\"shape\":[4],\"data_offsets\":[0,16]", "\"shape\":[4]", SRP_ERR_FORMAT,
         "a.bias.data_offsets: missing"},
        {"[4],\"data_offsets\":[0,16]", "4,\"data_offsets\":[0,16]", SRP_ERR_FORMAT,
         "a.bias.shape: an integer where a list"},
        {"[4],\"data_offsets\":[0,16]", "[-4],\"data_offsets\":[0,16]", SRP_ERR_FORMAT,
         "a.bias.shape[0]: negative number"},
        {"[4],\"data_offsets\":[0,16]", "[4.0],\"data_offsets\":[0,16]", SRP_ERR_FORMAT,
         "a.bias.shape[0]: a real number"},
        {"[4],\"data_offsets\":[0,16]", "[0],\"data_offsets\":[0,0]", SRP_ERR_FORMAT,
         "a.bias.shape[0]: 0 is below 1"},
        {"[4],\"data_offsets\":[0,16]", "[4,1,1,1,1],\"data_offsets\":[0,16]", SRP_ERR_LIMIT,
         "a.bias.shape: 5 items"},
        {"[4],\"data_offsets\":[0,16]", "[16777217],\"data_offsets\":[0,16]", SRP_ERR_LIMIT,
         "a.bias.shape[0]: 16777217 is above"},
        {"[4],\"data_offsets\":[0,16]", "[4096,4097],\"data_offsets\":[0,16]", SRP_ERR_LIMIT,
         "a.bias.shape: more than 16777216 values"},
        /* 2^96: the product wraps to 0 in 64 bits. */
        {"[4],\"data_offsets\":[0,16]",
         "[16777216,16777216,16777216,16777216],\"data_offsets\":[0,0]", SRP_ERR_LIMIT,
         "a.bias.shape: more than"},
        {"[4],\"data_offsets\":[0,16]", "[5],\"data_offsets\":[0,16]", SRP_ERR_FORMAT,
         "a.bias.data_offsets: 16 bytes where shape and dtype make 20"},
        {"[4],\"data_offsets\":[0,16]", "[],\"data_offsets\":[0,16]", SRP_ERR_FORMAT,
         "a.bias.data_offsets: 16 bytes where shape and dtype make 4"},
        {"[0,16]", "[16,0]", SRP_ERR_FORMAT, "a.bias.data_offsets: ends before it begins"},
        {"[0,16]", "[0,16,32]", SRP_ERR_FORMAT, "a.bias.data_offsets: 3 items"},
        {"[0,16]", "[16]", SRP_ERR_FORMAT, "a.bias.data_offsets: 1 items"},
        {"[0,16]", "[0,-16]", SRP_ERR_FORMAT, "a.bias.data_offsets[1]: negative number"},
        {"[0,16]", "[0,\"16\"]", SRP_ERR_FORMAT, "a.bias.data_offsets[1]: a string"},
        {"[0,16]", "[0,9007199254740993]", SRP_ERR_LIMIT, "a.bias.data_offsets[1]: 9007"},
        {"[0,16]", "[9007199254740976,9007199254740992]", SRP_ERR_SIZE,
         "a.bias.data_offsets: ends at byte 9007199254740992 of 176"},
        {"[160,176]", "[161,177]", SRP_ERR_SIZE, "a.slope.data_offsets: ends at byte 177 of 176"},
        {"[160,176]", "[156,172]", SRP_ERR_FORMAT, "'a.slope': overlaps"},
        {"[0,16]", "[16,32]", SRP_ERR_FORMAT, "leaves a gap"},
        {"[0,16]", "[160,176]", SRP_ERR_FORMAT, "leaves a gap"},
        {"\"a.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},", "",
         SRP_ERR_FORMAT, "'a.weight': leaves a gap"},
        {",\"a.slope\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[160,176]}", "",
         SRP_ERR_SIZE, "16 bytes after the last tensor"},
        {"\"a.slope\":{", "\"a.bias\":{", SRP_ERR_PARSE, "p.safetensors: line 1"},
        {"\"a.slope\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[160,176]}",
         "\"a.slope\":[]", SRP_ERR_FORMAT, "a.slope: a list where an object"},
        {"\"a.slope\"", "\"" H64("n") "nnnnnnnnnnnnn\"", SRP_ERR_LIMIT, "name of 77 bytes"},
        {"}}  ", "}}  x", SRP_ERR_PARSE, "p.safetensors: line 1"},
        {"}}  ", "}  ", SRP_ERR_PARSE, "p.safetensors: line 1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srpi_safetensors file = {0};
        struct srp_error err = {0};
        struct text header = text_replace(small_header, cases[i].from, cases[i].to);
        header.data[header.size] = '\0';
        struct text t = make_safetensors((const char *)header.data, NULL, SMALL_DATA);
        check_failure(read_file(&file, &t, &err), cases[i].code, &err, cases[i].needle,
                      cases[i].to);
        assert_null(file.arrays);
        text_free(&t);
        text_free(&header);
    }
}

static void refuses_bad_lengths(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        enum srp_err code;
        const char *needle;
    } cases[] = {
        {0, SRP_ERR_PARSE, "empty"},
        {1, SRP_ERR_PARSE, "line 1"},
        {400, SRP_ERR_PARSE, "line 1"}, /* reaches into the data */
        {10000, SRP_ERR_SIZE, "header of 10000 bytes in a file of"},
        {SRP_MAX_SAFETENSORS_HEADER, SRP_ERR_SIZE, "header of 1048576"},
        {SRP_MAX_SAFETENSORS_HEADER + 1, SRP_ERR_LIMIT, "header of 1048577"},
        {UINT64_MAX, SRP_ERR_LIMIT, "header of 18446744073709551615"},
        {UINT64_MAX - 7, SRP_ERR_LIMIT, "header of"}, /* 8 + length wraps to 0 */
        {UINT64_C(1) << 63, SRP_ERR_LIMIT, "header of"},
        {UINT64_C(0x0155505253), SRP_ERR_FORMAT, "an update of parameters"}, /* "SRPU" */
        {UINT64_C(0xfd2fb528), SRP_ERR_FORMAT, "a zstd frame"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srpi_safetensors file = {0};
        struct srp_error err = {0};
        struct text t = small_parameters();
        for (uint32_t b = 0; b < 8; b++) {
            t.data[b] = (uint8_t)(cases[i].length >> 8 * b);
        }
        check_failure(read_file(&file, &t, &err), cases[i].code, &err, cases[i].needle, "length");
        text_free(&t);
    }
}

static void refuses_every_truncation_and_a_longer_file(void **state)
{
    (void)state;
    struct srpi_safetensors file = {0};
    struct srp_error err = {0};
    struct text t = small_parameters();

    for (size_t size = 0; size < t.size; size++) {
        struct text part = text_copy(t.data, size);
        enum srp_err rc = read_file(&file, &part, &err);
        assert_true(rc == SRP_ERR_SIZE);
        assert_null(file.arrays);
        text_free(&part);
    }
    struct text more = text_copy(t.data, t.size);
    more.data = realloc(more.data, more.size + 1);
    assert_non_null(more.data);
    more.data[more.size++] = 0;
    check_failure(read_file(&file, &more, &err), SRP_ERR_SIZE, &err, "1 bytes after", "longer");
    text_free(&more);

    struct srp_blob nothing = {NULL, 100, NULL};
    check_failure(srpi_safetensors_read(&file, &nothing, &err), SRP_ERR_SIZE, &err, "parameters: 0",
                  "NULL");
    struct srp_blob huge = {t.data, (size_t)SRP_MAX_OBJECT_BYTES + 1, "huge"};
    check_failure(srpi_safetensors_read(&file, &huge, &err), SRP_ERR_LIMIT, &err, "huge:", "huge");
    text_free(&t);
}

static void refuses_too_many_tensors(void **state)
{
    (void)state;
    const size_t room = 200000;
    char *header = malloc(room);
    struct srpi_safetensors file = {0};
    struct srp_error err = {0};
    size_t used = 0;

    assert_non_null(header);
    for (unsigned i = 0; i < 5 * SRP_MAX_NODES + 2; i++) {
        used += (size_t)snprintf(header + used, room - used,
                                 "%s\"t%u\":{\"dtype\":\"BF16\",\"shape\":[1],"
                                 "\"data_offsets\":[%u,%u]}",
                                 i > 0 ? "," : "{", i, 2 * i, 2 * i + 2);
    }
    snprintf(header + used, room - used, "}");
    struct text t = make_safetensors(header, NULL, 2 * (5 * SRP_MAX_NODES + 2));
    check_failure(read_file(&file, &t, &err), SRP_ERR_LIMIT, &err, "2562 tensors", "count");
    text_free(&t);
    free(header);
}

/* Value of `bits` in `dtype`, as the reader gives it. */
static enum srp_err convert(const char *dtype, uint32_t bits, float *out, struct srp_error *err)
{
    char header[128];
    struct srpi_safetensors file = {0};
    size_t bytes = strcmp(dtype, "F32") == 0 ? 4 : 2;
    uint8_t data[12] = {0};

    snprintf(header, sizeof(header),
             "{\"v\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}", dtype, 3 * bytes);
    for (size_t b = 0; b < bytes; b++) {
        data[bytes + b] = (uint8_t)(bits >> 8 * b);
    }
    struct text t = make_safetensors(header, data, 3 * bytes);
    assert_int_equal(read_file(&file, &t, NULL), SRP_OK);
    float three[3] = {9, 9, 9};
    enum srp_err rc = srpi_array_to_f32(&file, &file.arrays[0], three, err);
    *out = three[1];
    srpi_safetensors_free(&file);
    text_free(&t);
    return rc;
}

static void converts_every_half(void **state)
{
    (void)state;
    char header[128];
    struct srpi_safetensors file = {0};
    uint8_t *data = malloc(2 * 65536);
    size_t count = 0;

    assert_non_null(data);
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7c00u) != 0x7c00u) {
            data[2 * count] = (uint8_t)h;
            data[2 * count + 1] = (uint8_t)(h >> 8);
            count++;
        }
    }
    snprintf(header, sizeof(header),
             "{\"v\":{\"dtype\":\"F16\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", count,
             2 * count);
    struct text t = make_safetensors(header, data, 2 * count);
    float *out = malloc(count * sizeof(float));
    assert_non_null(out);
    assert_int_equal(read_file(&file, &t, NULL), SRP_OK);
    assert_int_equal(srpi_array_to_f32(&file, &file.arrays[0], out, NULL), SRP_OK);
    for (size_t i = 0; i < count; i++) {
        uint32_t h = data[2 * i] | (uint32_t)data[2 * i + 1] << 8;
        int exponent = (int)(h >> 10 & 31u);
        double mantissa = (double)(h & 1023u) / 1024.0;
        double value = exponent == 0 ? ldexp(mantissa, -14) : ldexp(1.0 + mantissa, exponent - 15);
        assert_true((double)out[i] == (h & 0x8000u ? -value : value));
        assert_true(!!signbit(out[i]) == !!(h & 0x8000u));
    }
    srpi_safetensors_free(&file);
    text_free(&t);
    free(out);
    free(data);
}

static void converts_and_refuses_by_bits(void **state)
{
    (void)state;
    static const struct {
        const char *dtype;
        uint32_t bits;
        float value;
        const char *needle; /* NULL: accepted */
    } cases[] = {
        {"F32", 0x3f800000, 1.0f, NULL},
        {"F32", 0xc0490fdb, -3.14159274f, NULL},
        {"F32", 0x00000001, 0x1p-149f, NULL},
        {"F32", 0x7f7fffff, 0x1.fffffep127f, NULL},
        {"BF16", 0x3f80, 1.0f, NULL},
        {"BF16", 0xbfc0, -1.5f, NULL},
        {"BF16", 0x7f7f, 0x1.fep127f, NULL},
        {"F32", 0x7f800000, 0, "p.safetensors: tensor 'v': element 1 is infinite"},
        {"F32", 0xff800000, 0, "element 1 is infinite"},
        {"F32", 0x7fc00000, 0, "element 1 is NaN"},
        {"F32", 0x7f800001, 0, "element 1 is NaN"},
        {"F32", 0xffffffff, 0, "element 1 is NaN"},
        {"F16", 0x7c00, 0, "element 1 is infinite"},
        {"F16", 0xfc00, 0, "element 1 is infinite"},
        {"F16", 0x7c01, 0, "element 1 is NaN"},
        {"F16", 0x7e00, 0, "element 1 is NaN"},
        {"BF16", 0x7f80, 0, "element 1 is infinite"},
        {"BF16", 0xff80, 0, "element 1 is infinite"},
        {"BF16", 0x7f81, 0, "element 1 is NaN"},
        {"BF16", 0xffc0, 0, "element 1 is NaN"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct srp_error err = {0};
        float value = 0;
        enum srp_err rc = convert(cases[i].dtype, cases[i].bits, &value, &err);
        if (cases[i].needle != NULL) {
            check_failure(rc, SRP_ERR_NONFINITE, &err, cases[i].needle, cases[i].dtype);
        } else {
            assert_int_equal(rc, SRP_OK);
            assert_memory_equal(&value, &cases[i].value, sizeof(value));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_table),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_lengths),
        cmocka_unit_test(refuses_every_truncation_and_a_longer_file),
        cmocka_unit_test(refuses_too_many_tensors),
        cmocka_unit_test(converts_every_half),
        cmocka_unit_test(converts_and_refuses_by_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
