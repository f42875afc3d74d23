/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <srp/limits.h>

#include "error.h"

/* The parser recurses once per level and builds a tree many times the size of its text, so depth
 * and number of values are bounded before it starts. On text that is no JSON the counts may be
 * wrong; the parser then refuses it anyway. */
static enum srp_err check_bounds(const struct srp_blob *blob, const char *file,
                                 struct srp_error *err)
{
    const unsigned char *text = blob->data;
    size_t depth = 0;
    size_t values = 1;
    bool in_string = false;

    for (size_t i = 0; i < blob->size; i++) {
        unsigned char c = text[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            values++;
            if (++depth > SRP_MAX_JSON_DEPTH) {
                return srpi_fail(err, SRP_ERR_LIMIT, "%s: byte %zu: nested deeper than %u levels",
                                 file, i, SRP_MAX_JSON_DEPTH);
            }
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        } else if (c == ',') {
            values++;
        }
        if (values > SRP_MAX_JSON_VALUES) {
            return srpi_fail(err, SRP_ERR_LIMIT, "%s: byte %zu: more than %u values", file, i,
                             SRP_MAX_JSON_VALUES);
        }
    }
    return SRP_OK;
}

enum srp_err srpi_json_read(json_t **out, const struct srp_blob *blob, const char *file,
                            struct srp_error *err)
{
    json_error_t error;

    if (blob->data == NULL || blob->size == 0) {
        return srpi_fail(err, SRP_ERR_PARSE, "%s: empty", file);
    }
    if (blob->size > SRP_MAX_JSON_BYTES) {
        return srpi_fail(err, SRP_ERR_LIMIT, "%s: %zu bytes of JSON, more than %u", file,
                         blob->size, SRP_MAX_JSON_BYTES);
    }
    enum srp_err rc = check_bounds(blob, file, err);
    if (rc != SRP_OK) {
        return rc;
    }
    json_t *root = json_loadb(blob->data, blob->size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return srpi_fail(err, SRP_ERR_NOMEM, "%s: out of memory", file);
        }
        return srpi_fail(err, SRP_ERR_PARSE, "%s: line %d, byte %d: %s", file, error.line,
                         error.position, error.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return srpi_fail(err, SRP_ERR_FORMAT, "%s: not a JSON object", file);
    }
    *out = root;
    return SRP_OK;
}

struct srpi_at srpi_at_root(const char *file, const json_t *value)
{
    return (struct srpi_at){.file = file, .value = value};
}

struct srpi_at srpi_at_item(const struct srpi_at *list, size_t index)
{
    return (struct srpi_at){
        .file = list->file,
        .up = list,
        .index = index,
        .value = json_array_get(list->value, index),
    };
}

bool srpi_at_has(const struct srpi_at *object, const char *key)
{
    return json_object_get(object->value, key) != NULL;
}

/* Appends the path of `at`, root first. The text is cut where `size` ends. */
static void put_path(const struct srpi_at *at, char *text, size_t size)
{
    if (at->up == NULL) {
        text[0] = '\0';
        return;
    }
    put_path(at->up, text, size);
    size_t used = strlen(text);
    if (at->key != NULL) {
        snprintf(text + used, size - used, "%s%.80s", used > 0 ? "." : "", at->key);
    } else {
        snprintf(text + used, size - used, "[%zu]", at->index);
    }
}

enum srp_err srpi_at_fail(const struct srpi_at *at, struct srp_error *err, enum srp_err code,
                          const char *fmt, ...)
{
    char path[256];
    char why[256];
    va_list args;

    put_path(at, path, sizeof(path));
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    if (path[0] == '\0') {
        return srpi_fail(err, code, "%s: %s", at->file, why);
    }
    return srpi_fail(err, code, "%s: %s: %s", at->file, path, why);
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a truth value";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

static enum srp_err wrong_type(const struct srpi_at *at, const char *wanted, struct srp_error *err)
{
    return srpi_at_fail(at, err, SRP_ERR_FORMAT, "%s where %s is wanted", type_name(at->value),
                        wanted);
}

enum srp_err srpi_at_field(struct srpi_at *out, const struct srpi_at *object, const char *key,
                           struct srp_error *err)
{
    if (!json_is_object(object->value)) {
        return wrong_type(object, "an object", err);
    }
    struct srpi_at at = {
        .file = object->file,
        .up = object,
        .key = key,
        .value = json_object_get(object->value, key),
    };
    if (at.value == NULL) {
        return srpi_at_fail(&at, err, SRP_ERR_FORMAT, "missing");
    }
    *out = at;
    return SRP_OK;
}

enum srp_err srpi_at_u64(const struct srpi_at *at, uint64_t min, uint64_t max, uint64_t *out,
                         struct srp_error *err)
{
    if (!json_is_integer(at->value)) {
        return wrong_type(at, "an integer", err);
    }
    json_int_t raw = json_integer_value(at->value);
    if (raw < 0) {
        return srpi_at_fail(at, err, SRP_ERR_FORMAT, "negative number %" JSON_INTEGER_FORMAT, raw);
    }
    uint64_t value = (uint64_t)raw;
    if (max > SRPI_JSON_MAX_INTEGER) {
        max = SRPI_JSON_MAX_INTEGER;
    }
    if (value > max) {
        return srpi_at_fail(at, err, SRP_ERR_LIMIT, "%" PRIu64 " is above %" PRIu64, value, max);
    }
    if (value < min) {
        return srpi_at_fail(at, err, SRP_ERR_FORMAT, "%" PRIu64 " is below %" PRIu64, value, min);
    }
    *out = value;
    return SRP_OK;
}

enum srp_err srpi_at_u32(const struct srpi_at *at, uint32_t min, uint32_t max, uint32_t *out,
                         struct srp_error *err)
{
    uint64_t value = 0;
    enum srp_err rc = srpi_at_u64(at, min, max, &value, err);
    if (rc == SRP_OK) {
        *out = (uint32_t)value;
    }
    return rc;
}

enum srp_err srpi_at_real(const struct srpi_at *at, double min, double max, double *out,
                          struct srp_error *err)
{
    if (!json_is_number(at->value)) {
        return wrong_type(at, "a number", err);
    }
    double value = json_number_value(at->value);
    /* Written so that a NaN fails, although JSON has no way to write one. */
    if (!(value >= min)) {
        return srpi_at_fail(at, err, SRP_ERR_FORMAT, "%g is below %g", value, min);
    }
    if (!(value <= max)) {
        return srpi_at_fail(at, err, SRP_ERR_LIMIT, "%g is above %g", value, max);
    }
    *out = value;
    return SRP_OK;
}

enum srp_err srpi_at_text(const struct srpi_at *at, size_t max_bytes, const char **out,
                          struct srp_error *err)
{
    if (!json_is_string(at->value)) {
        return wrong_type(at, "a string", err);
    }
    size_t length = json_string_length(at->value);
    if (length == 0) {
        return srpi_at_fail(at, err, SRP_ERR_FORMAT, "empty string");
    }
    if (length > max_bytes) {
        return srpi_at_fail(at, err, SRP_ERR_LIMIT, "string of %zu bytes, more than %zu", length,
                            max_bytes);
    }
    *out = json_string_value(at->value);
    return SRP_OK;
}

enum srp_err srpi_at_name(const struct srpi_at *at, size_t max_bytes, const char *extra,
                          const char **out, struct srp_error *err)
{
    const char *text = NULL;
    enum srp_err rc = srpi_at_text(at, max_bytes, &text, err);
    if (rc != SRP_OK) {
        return rc;
    }
    for (const char *p = text; *p != '\0'; p++) {
        char c = *p;
        /* Not isalnum: what is a letter must not depend on the locale. */
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '.' || strchr(extra, c) != NULL;
        if (!ok) {
            return srpi_at_fail(at, err, SRP_ERR_FORMAT, "'%.128s': a byte that no name may have",
                                text);
        }
    }
    *out = text;
    return SRP_OK;
}

enum srp_err srpi_at_word(const struct srpi_at *at, const char *const *words, uint32_t *out,
                          struct srp_error *err)
{
    if (!json_is_string(at->value)) {
        return wrong_type(at, "a string", err);
    }
    const char *text = json_string_value(at->value);
    for (uint32_t i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return SRP_OK;
        }
    }
    return srpi_at_fail(at, err, SRP_ERR_FORMAT, "'%.80s' is unknown", text);
}

/* Every srpi_get_X is the field and then srpi_at_X of it. */
#define GET(call)                                                 \
    do {                                                          \
        struct srpi_at at;                                        \
        enum srp_err rc = srpi_at_field(&at, object, key, err);   \
        return rc != SRP_OK ? rc : (call);                        \
    } while (0)

enum srp_err srpi_get_u64(const struct srpi_at *object, const char *key, uint64_t min, uint64_t max,
                          uint64_t *out, struct srp_error *err)
{
    GET(srpi_at_u64(&at, min, max, out, err));
}

enum srp_err srpi_get_u32(const struct srpi_at *object, const char *key, uint32_t min, uint32_t max,
                          uint32_t *out, struct srp_error *err)
{
    GET(srpi_at_u32(&at, min, max, out, err));
}

enum srp_err srpi_get_real(const struct srpi_at *object, const char *key, double min, double max,
                           double *out, struct srp_error *err)
{
    GET(srpi_at_real(&at, min, max, out, err));
}

enum srp_err srpi_get_text(const struct srpi_at *object, const char *key, size_t max_bytes,
                           const char **out, struct srp_error *err)
{
    GET(srpi_at_text(&at, max_bytes, out, err));
}

enum srp_err srpi_get_name(const struct srpi_at *object, const char *key, size_t max_bytes,
                           const char *extra, const char **out, struct srp_error *err)
{
    GET(srpi_at_name(&at, max_bytes, extra, out, err));
}

enum srp_err srpi_get_word(const struct srpi_at *object, const char *key, const char *const *words,
                           uint32_t *out, struct srp_error *err)
{
    GET(srpi_at_word(&at, words, out, err));
}

enum srp_err srpi_get_object(const struct srpi_at *object, const char *key, struct srpi_at *out,
                             struct srp_error *err)
{
    struct srpi_at at;
    enum srp_err rc = srpi_at_field(&at, object, key, err);
    if (rc != SRP_OK) {
        return rc;
    }
    if (!json_is_object(at.value)) {
        return wrong_type(&at, "an object", err);
    }
    *out = at;
    return SRP_OK;
}

enum srp_err srpi_get_list(const struct srpi_at *object, const char *key, size_t min, size_t max,
                           struct srpi_at *out, size_t *count, struct srp_error *err)
{
    struct srpi_at at;
    enum srp_err rc = srpi_at_field(&at, object, key, err);
    if (rc != SRP_OK) {
        return rc;
    }
    if (!json_is_array(at.value)) {
        return wrong_type(&at, "a list", err);
    }
    size_t size = json_array_size(at.value);
    if (size > max) {
        /* A list of fixed length is not "limited". */
        return srpi_at_fail(&at, err, min == max ? SRP_ERR_FORMAT : SRP_ERR_LIMIT,
                            "%zu items, more than %zu", size, max);
    }
    if (size < min) {
        return srpi_at_fail(&at, err, SRP_ERR_FORMAT, "%zu items, fewer than %zu", size, min);
    }
    *out = at;
    *count = size;
    return SRP_OK;
}

enum srp_err srpi_get_version(const struct srpi_at *object, const char *format, uint64_t version,
                              struct srp_error *err)
{
    const char *text = NULL;
    uint64_t number = 0;
    struct srpi_at at;
    enum srp_err rc = srpi_at_field(&at, object, "format", err);
    if (rc == SRP_OK) {
        rc = srpi_at_text(&at, SRP_MAX_NAME, &text, err);
    }
    if (rc == SRP_OK && strcmp(text, format) != 0) {
        rc = srpi_at_fail(&at, err, SRP_ERR_FORMAT, "'%.64s' where '%s' is wanted", text, format);
    }
    if (rc == SRP_OK) {
        rc = srpi_at_field(&at, object, "version", err);
    }
    if (rc == SRP_OK) {
        rc = srpi_at_u64(&at, 0, SRPI_JSON_MAX_INTEGER, &number, err);
    }
    if (rc == SRP_OK && number != version) {
        rc = srpi_at_fail(&at, err, SRP_ERR_UNSUPPORTED,
                          "version %" PRIu64 ", this reader knows %" PRIu64, number, version);
    }
    return rc;
}
