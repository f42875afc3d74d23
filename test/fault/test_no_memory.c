/* SPDX-License-Identifier: BSD-2-Clause */
/* Each allocation of the readers fails in turn: NOMEM, nothing leaks (AddressSanitizer looks), and
 * the next attempt works. The sources are compiled into this program with other allocators; the
 * linker then has no use for the library's copies. The JSON library's own allocations are not
 * part of this: see docs/model.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Allocations until the failing one; 0: none fails. */
static unsigned countdown;
static unsigned failures;

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0) {
        return false;
    }
    failures++;
    return true;
}

static void *scarce_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *scarce_calloc(size_t count, size_t size)
{
    return fails() ? NULL : calloc(count, size);
}

static void *scarce_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : aligned_alloc(alignment, size);
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#define aligned_alloc scarce_aligned_alloc
#include "model/compact.c"
#include "model/graph.c"
#include "model/manifest.c"
#include "model/model.c"
#include "model/package.c"
#include "model/parameters.c"
#include "model/safetensors.c"
#include "route/routes.c"
#undef malloc
#undef calloc
#undef aligned_alloc

#include "model_data.h"
#include "route_data.h"

static struct text parameters, zst, manifest, routes, routed, compact, update;

static enum srp_err open_and_load(struct srp_error *err)
{
    struct srp_package *pkg = NULL;
    struct srp_model *model = NULL;
    struct srp_blob m = text_blob(&manifest, NULL);
    struct srp_blob g = {small_graph, strlen(small_graph), NULL};
    struct srp_blob p = text_blob(&zst, NULL);

    enum srp_err rc = srp_package_create(&pkg, &m, err);
    assert_true((rc == SRP_OK) == (pkg != NULL));
    if (rc == SRP_OK) {
        rc = srp_package_load_model(pkg, 0, &g, &p, &model, err);
        assert_true((rc == SRP_OK) == (model != NULL));
    }
    srp_model_unref(&model);
    srp_package_destroy(&pkg);
    return rc;
}

static enum srp_err create_compact(struct srp_error *err)
{
    struct srp_model *model = NULL;
    struct srp_model_params params = {.graph = {small_graph, strlen(small_graph), NULL},
                                      .parameters = text_blob(&compact, NULL),
                                      .update = text_blob(&update, NULL)};
    enum srp_err rc = srp_model_create(&model, &params, err);
    assert_true((rc == SRP_OK) == (model != NULL));
    srp_model_unref(&model);
    return rc;
}

static enum srp_err create_random(struct srp_error *err)
{
    struct srp_model *model = NULL;
    struct srp_blob g = {full_graph, strlen(full_graph), NULL};
    enum srp_err rc = srp_model_create_random(&model, &g, 1, err);
    assert_true((rc == SRP_OK) == (model != NULL));
    srp_model_unref(&model);
    return rc;
}

static enum srp_err open_and_load_routes(struct srp_error *err)
{
    struct srp_package *pkg = NULL;
    struct srp_routes *r = NULL;
    const struct srp_blob m = text_blob(&routed, NULL), b = text_blob(&routes, NULL);

    enum srp_err rc = srp_package_create(&pkg, &m, err);
    if (rc == SRP_OK) {
        rc = srp_package_load_routes(pkg, 0, &b, &r, err);
        assert_true((rc == SRP_OK) == (r != NULL));
    }
    srp_routes_unref(&r);
    srp_package_destroy(&pkg);
    return rc;
}

/* Returns how many allocations there are. */
static unsigned starve(enum srp_err (*run)(struct srp_error *))
{
    for (unsigned n = 1;; n++) {
        struct srp_error err = {0};
        countdown = n;
        failures = 0;
        enum srp_err rc = run(&err);
        countdown = 0;
        if (failures == 0) {
            assert_int_equal(rc, SRP_OK);
            return n - 1;
        }
        check_failure(rc, SRP_ERR_NOMEM, &err, "memory", "starved");
        assert_int_equal(run(NULL), SRP_OK);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    /* package, text, audio, models, chunks; decompressed; draft: 4, graph; table, claims, model,
     * values */
    assert_int_equal(starve(open_and_load), 15);
    assert_int_equal(starve(create_random), 7);
    /* draft: 4, graph; arrays, streams, data, change; claims, model, values */
    assert_int_equal(starve(create_compact), 12);
    /* the package's 5; routes, levels */
    assert_int_equal(starve(open_and_load_routes), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    struct text graph = {(uint8_t *)(uintptr_t)small_graph, strlen(small_graph)};
    uint8_t frame[1024], small[1024] = {'S', 'R', 'P', 'M', 1, 0, 1, 0, 0, 0};
    uint8_t change[1024] = {'S', 'R', 'P', 'U', 1};

    parameters = small_parameters();
    zst.data = frame;
    zst.size = ZSTD_compress(frame, sizeof(frame), parameters.data, parameters.size, 1);
    manifest = make_manifest(&graph, &zst, "small-x2", ".safetensors.zst");
    static const uint8_t zeros[SMALL_DATA];
    compact.data = small;
    compact.size = 10 + ZSTD_compress(small + 10, sizeof(small) - 10, zeros, SMALL_DATA, 1);
    update.data = change;
    crypto_hash_sha256(change + 8, small, compact.size);
    update.size = 40 + ZSTD_compress(change + 40, sizeof(change) - 40, zeros, SMALL_DATA, 1);
    static const uint8_t levels[100 * 4];
    const struct route_spec spec = {.paths = 2, .threshold = 9, .cell_width = 32, .cell_height = 32,
                                    .columns = 2, .rows = 2, .frames = 100, .levels = levels};
    routes = make_routes(&spec);
    routed = routed_manifest(&manifest, &routes);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    text_free(&parameters);
    text_free(&manifest);
    text_free(&routes);
    text_free(&routed);
    return rc;
}
