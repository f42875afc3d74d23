/* SPDX-License-Identifier: BSD-2-Clause */
/* json.h - strict JSON, and getters whose errors name the field.
 *
 * A struct srpi_at is a value together with the way to it. It lives on the reader's stack, points
 * to the srpi_at that it was reached from, and is valid as long as that and the document are.
 * Errors are FORMAT (missing, wrong type, too small) or LIMIT (too large, too long). A getter
 * writes its result on success alone. */
#ifndef SRPI_JSON_H
#define SRPI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <srp/common.h>

#define SRPI_JSON_MAX_INTEGER (UINT64_C(1) << 53)

struct srpi_at {
    const char *file;         /* name of the document, for messages */
    const struct srpi_at *up; /* NULL at the root */
    const char *key;          /* in an object; NULL in a list */
    size_t index;             /* in a list */
    const json_t *value;
};

/* Parses a document: an object, nothing after it, no key twice, no NUL, valid UTF-8, at most
 * SRP_MAX_JSON_BYTES, SRP_MAX_JSON_DEPTH and SRP_MAX_JSON_VALUES. The caller drops *out with
 * json_decref. Errors: PARSE, FORMAT (not an object), LIMIT, NOMEM. */
enum srp_err srpi_json_read(json_t **out, const struct srp_blob *blob, const char *file,
                            struct srp_error *err);

struct srpi_at srpi_at_root(const char *file, const json_t *value);
struct srpi_at srpi_at_item(const struct srpi_at *list, size_t index); /* index is in range */
bool srpi_at_has(const struct srpi_at *object, const char *key);
enum srp_err srpi_at_field(struct srpi_at *out, const struct srpi_at *object, const char *key,
                           struct srp_error *err);

/* Fails with "FILE: PATH: WHY". */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
enum srp_err
srpi_at_fail(const struct srpi_at *at, struct srp_error *err, enum srp_err code, const char *fmt,
             ...);

/* The value itself. */
enum srp_err srpi_at_u64(const struct srpi_at *at, uint64_t min, uint64_t max, uint64_t *out,
                         struct srp_error *err);
enum srp_err srpi_at_u32(const struct srpi_at *at, uint32_t min, uint32_t max, uint32_t *out,
                         struct srp_error *err);
/* An integer of either sign or a real, min..max. */
enum srp_err srpi_at_real(const struct srpi_at *at, double min, double max, double *out,
                          struct srp_error *err);
/* 1..max_bytes bytes. *out lives as long as the document. */
enum srp_err srpi_at_text(const struct srpi_at *at, size_t max_bytes, const char **out,
                          struct srp_error *err);
/* As text, all bytes of [A-Za-z0-9_.] or of `extra`. */
enum srp_err srpi_at_name(const struct srpi_at *at, size_t max_bytes, const char *extra,
                          const char **out, struct srp_error *err);
/* Index in the NULL-ended list of the word that the value is. FORMAT: none of them. */
enum srp_err srpi_at_word(const struct srpi_at *at, const char *const *words, uint32_t *out,
                          struct srp_error *err);

/* A field of an object: srpi_at_field and then the above. */
enum srp_err srpi_get_u64(const struct srpi_at *object, const char *key, uint64_t min, uint64_t max,
                          uint64_t *out, struct srp_error *err);
enum srp_err srpi_get_u32(const struct srpi_at *object, const char *key, uint32_t min, uint32_t max,
                          uint32_t *out, struct srp_error *err);
enum srp_err srpi_get_real(const struct srpi_at *object, const char *key, double min, double max,
                           double *out, struct srp_error *err);
enum srp_err srpi_get_text(const struct srpi_at *object, const char *key, size_t max_bytes,
                           const char **out, struct srp_error *err);
enum srp_err srpi_get_name(const struct srpi_at *object, const char *key, size_t max_bytes,
                           const char *extra, const char **out, struct srp_error *err);
enum srp_err srpi_get_word(const struct srpi_at *object, const char *key, const char *const *words,
                           uint32_t *out, struct srp_error *err);
enum srp_err srpi_get_object(const struct srpi_at *object, const char *key, struct srpi_at *out,
                             struct srp_error *err);
/* A list of min..max items. */
enum srp_err srpi_get_list(const struct srpi_at *object, const char *key, size_t min, size_t max,
                           struct srpi_at *out, size_t *count, struct srp_error *err);
/* "format" must be `format` (else FORMAT) and "version" `version` (else UNSUPPORTED). */
enum srp_err srpi_get_version(const struct srpi_at *object, const char *format, uint64_t version,
                              struct srp_error *err);

#endif
