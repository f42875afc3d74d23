/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/routes.h - what each path of a dynamic model is worth in each cell of each frame of a chunk,
 * and which one to take. docs/format.md is the specification.
 *
 * After Dy-DCA (Zhan et al., ECCV 2024), which sends each patch through the path that its texture
 * deserves; here the packer measures what each path saves and the viewer spends its own budget. */
#ifndef SRP_ROUTES_H
#define SRP_ROUTES_H

#include <srp/package.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The routes of one chunk. Immutable. Thread-safety: safe; reference-counted. */
struct srp_routes;

enum srp_routes_kind { SRP_ROUTES_GAINS = 0, SRP_ROUTES_CHOICE };

struct srp_routes_info {
    enum srp_routes_kind kind;
    uint32_t paths;                   /* of the model they are for */
    uint32_t cell_width, cell_height; /* input pixels */
    uint32_t columns, rows;
    uint32_t frames;
    uint32_t threshold;               /* gains: the level at which the packer takes a path */
};

/* Decodes and validates. Errors: PARSE (truncated, not zstd), FORMAT, LIMIT, SIZE (bytes behind the
 * end), UNSUPPORTED (version), NOMEM. */
SRP_API enum srp_err srp_routes_create(struct srp_routes **out, const struct srp_blob *bytes,
                                       struct srp_error *err);
/* Verifies the bytes against chunk `chunk` of the manifest, decodes, and checks that grid and
 * frames are the chunk's. Errors: USAGE (no such chunk, or it has no routes), SIZE, HASH, and as
 * above. */
SRP_API enum srp_err srp_package_load_routes(const struct srp_package *pkg, uint32_t chunk,
                                             const struct srp_blob *bytes, struct srp_routes **out,
                                             struct srp_error *err);
SRP_API struct srp_routes *srp_routes_ref(struct srp_routes *routes);
SRP_API void srp_routes_unref(struct srp_routes **routes);
SRP_API void srp_routes_get_info(const struct srp_routes *routes, struct srp_routes_info *info);

/* The packer's own choice for frame `frame` of the chunk: columns * rows bytes, row-major.
 * Errors: USAGE (frame out of range). */
SRP_API enum srp_err srp_routes_exact(const struct srp_routes *routes, uint32_t frame,
                                      uint8_t *paths, struct srp_error *err);

/* What a path costs. Those of one model have rising macs; cost is of any unit, finite and not
 * negative, and need not rise. */
struct srp_path_cost {
    uint64_t macs_per_pixel; /* of the model, as srp_model_get_info() of the path says */
    double cost;             /* of one input pixel on this device */
};
/* Spends `budget` (in the unit of cost, for the whole frame) where it gains most for its cost:
 * path 0 everywhere, then dearer paths by falling gain per cost, as long as all cells of equal gain
 * per cost still fit. Never takes a path whose gain is 0. Choices (SRP_ROUTES_CHOICE) are taken as
 * they are. *spent (may be NULL): what that costs.
 * `width`, `height`: the input picture, which gives the cells at the edge their size.
 * Errors: USAGE (frame out of range, a picture of another grid, a cost or budget that is no
 * number). */
SRP_API enum srp_err srp_routes_budget(const struct srp_routes *routes, uint32_t frame,
                                       uint32_t width, uint32_t height,
                                       const struct srp_path_cost *costs, double budget,
                                       uint8_t *paths, double *spent, struct srp_error *err);

#ifdef __cplusplus
}
#endif
#endif
