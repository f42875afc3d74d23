/* SPDX-License-Identifier: BSD-2-Clause */
/* route_data.h - routes for tests, written by docs/format.md. Include after model_data.h. */
#ifndef TEST_ROUTE_DATA_H
#define TEST_ROUTE_DATA_H

#include <zstd.h>

#include <srp/routes.h>

struct route_spec {
    uint8_t kind, paths, threshold;
    uint16_t cell_width, cell_height, columns, rows;
    uint32_t frames;
    const uint8_t *levels; /* [plane][frame][row][column] */
};

static inline size_t route_levels(const struct route_spec *s)
{
    const size_t planes = s->kind == SRP_ROUTES_GAINS ? s->paths - 1u : 1u;
    return planes * s->frames * s->rows * s->columns;
}

static inline void route_number(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static inline struct text make_routes(const struct route_spec *s)
{
    const size_t cells = (size_t)s->rows * s->columns, total = route_levels(s);
    uint8_t *differences = malloc(total);
    struct text t = {malloc(24 + ZSTD_compressBound(total)), 24};
    assert_non_null(differences);
    assert_non_null(t.data);
    for (size_t i = 0; i < total; i++) {
        const uint8_t before = i / cells % s->frames > 0 ? s->levels[i - cells] : 0;
        differences[i] = (uint8_t)(s->levels[i] - before);
    }
    memcpy(t.data, "SRTE", 4);
    t.data[4] = 1;
    t.data[5] = s->kind;
    t.data[6] = s->paths;
    t.data[7] = s->threshold;
    route_number(t.data + 8, s->cell_width, 2);
    route_number(t.data + 10, s->cell_height, 2);
    route_number(t.data + 12, s->columns, 2);
    route_number(t.data + 14, s->rows, 2);
    route_number(t.data + 16, s->frames, 4);
    route_number(t.data + 20, 0, 4);
    const size_t packed =
        ZSTD_compress(t.data + 24, ZSTD_compressBound(total), differences, total, 3);
    assert_false(ZSTD_isError(packed));
    t.size += packed;
    free(differences);
    struct text exact = text_copy(t.data, t.size); /* so that AddressSanitizer sees the next byte */
    text_free(&t);
    return exact;
}

/* Levels that do not rise from plane to plane, many of them 0. */
static inline void random_levels(const struct route_spec *s, uint8_t *levels, uint64_t seed)
{
    const size_t plane = (size_t)s->frames * s->rows * s->columns, total = route_levels(s);
    for (size_t i = 0; i < total; i++) {
        const uint64_t r = next_random_u64(&seed) >> 20;
        const uint8_t most = i < plane ? 64 : levels[i - plane];
        levels[i] = (uint8_t)(s->kind == SRP_ROUTES_CHOICE ? r % s->paths
                              : r % 4 == 0                 ? 0
                                                           : r / 4 % (most + 1u));
    }
}

/* make_manifest with these routes in the first chunk. */
static inline struct text routed_manifest(const struct text *manifest, const struct text *routes)
{
    char entry[400], digits[65];
    hex_hash(routes, digits);
    snprintf(entry, sizeof(entry),
             "\"model\": 0, \"routes\": {\"uri\": \"objects/%s.routes\", \"size\": %zu, "
             "\"sha256\": \"%s\"}}", digits, routes->size, digits);
    struct text t = text_replace((const char *)manifest->data, "\"model\": 0}", entry);
    t.data[t.size] = '\0'; /* to be replaced in again; there is room */
    return t;
}

#endif
