/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/upscaler.h - tier 2: picture in, picture out. Needs neither network nor display.
 *
 *     struct srp_upscaler *up = NULL;
 *     struct srp_upscaler_params p = {.model = model, .threads = 2};
 *     if (srp_upscaler_create(&up, &p, &err) == SRP_OK)
 *         srp_upscaler_process(up, SRP_METHOD_SR, &in, &out, &err);
 *     srp_upscaler_destroy(&up);
 */
#ifndef SRP_UPSCALER_H
#define SRP_UPSCALER_H

#include <stdbool.h>

#include <srp/limits.h>
#include <srp/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All formats have 8 bits per sample. Chroma planes of 4:2:0 have ceil(w/2) x ceil(h/2) samples. */
enum srp_format {
    SRP_FORMAT_YUV420 = 1, /* planes Y, U, V */
    SRP_FORMAT_NV12,       /* planes Y, interleaved UV */
    SRP_FORMAT_RGB,        /* one plane, R G B bytes, full range */
    SRP_FORMAT_BGRA,       /* one plane, B G R A bytes, full range; A: written as 255, never read */
};
/* BT2020: non-constant luminance */
enum srp_matrix { SRP_MATRIX_BT709 = 0, SRP_MATRIX_BT601, SRP_MATRIX_BT2020 };
enum srp_range { SRP_RANGE_LIMITED = 0, SRP_RANGE_FULL };
/* Siting of 4:2:0 samples. */
enum srp_chroma { SRP_CHROMA_LEFT = 0, SRP_CHROMA_CENTER, SRP_CHROMA_TOPLEFT };

/* A view on pixels that the caller owns. `matrix`, `range`, `chroma` describe YUV formats; an RGB
 * or BGRA picture ignores them. Strides are in bytes and may be negative (bottom-up) or larger than
 * a row. */
struct srp_picture {
    enum srp_format format;
    uint32_t width, height;
    enum srp_matrix matrix;
    enum srp_range range;
    enum srp_chroma chroma;
    uint8_t *data[3];
    ptrdiff_t stride[3];
};

/* How an output picture is made. */
enum srp_method {
    SRP_METHOD_SR = 0,  /* the model */
    SRP_METHOD_BICUBIC, /* the base upscaler: cubic, B=0, C=0.6 (as swscale), edges replicated */
    SRP_METHOD_LANCZOS, /* Lanczos, 3 lobes */
};

/* Thread-safety: one thread at a time per upscaler; upscalers are independent. */
struct srp_upscaler;

struct srp_upscaler_params {
    struct srp_model *model; /* referenced; NULL: SRP_METHOD_SR is refused, the others work */
    uint32_t scale;          /* used when model is NULL; otherwise 0 or the model's */
    enum srp_backend backend;
    uint32_t threads;        /* 0: one per core */
    enum srp_dtype dtype;
};

SRP_API enum srp_err srp_upscaler_create(struct srp_upscaler **out,
                                         const struct srp_upscaler_params *params,
                                         struct srp_error *err);
SRP_API void srp_upscaler_destroy(struct srp_upscaler **up);

/* Replaces the model (same scale; NULL: none). On failure the old one stays. */
SRP_API enum srp_err srp_upscaler_set_model(struct srp_upscaler *up, struct srp_model *model,
                                            struct srp_error *err);

/* in: YUV420, NV12, RGB or BGRA. out: any format; YUV -> YUV keeps in's matrix, range and chroma
 * siting, and out's must be equal. out's size is at most in's size times scale; a smaller one crops
 * right and bottom.
 * The result does not depend on the number of threads. Errors: USAGE, LIMIT, NOMEM, DEVICE. */
SRP_API enum srp_err srp_upscaler_process(struct srp_upscaler *up, enum srp_method method,
                                          const struct srp_picture *in,
                                          const struct srp_picture *out, struct srp_error *err);

/* ---- a path for each cell -------------------------------------------------------------------- */

/* Which path of the model makes which part of the picture. The grid has ceil(width / cell_width)
 * columns and ceil(height / cell_height) rows over the input picture; the cells at the right and
 * bottom are as large as what is left. */
struct srp_routing {
    uint32_t cell_width, cell_height; /* input pixels, even, from SRP_MIN_CELL to SRP_MAX_CELL */
    const uint8_t *paths;             /* row-major; each less than the model's path_count */
    /* The picture that the last successful call with a routing on this upscaler made, unchanged, or
     * NULL. Cells whose input pixels, as far as their path sees, are those of that call, and whose
     * path is the same, are copied from it. Its size and format are out's. */
    const struct srp_picture *previous;
};

struct srp_routing_stats {
    uint32_t cells[SRP_MAX_PATHS];   /* computed by path; where the reused ones are not counted */
    uint32_t reused;
    uint64_t pixels[SRP_MAX_PATHS];  /* input pixels computed by path, without their surroundings */
    double seconds[SRP_MAX_PATHS];   /* wall clock, shared out by what the threads took for each */
};

/* As srp_upscaler_process with SRP_METHOD_SR, but each cell by its own path. Paths see beyond their
 * cells: where the path is the same, a pixel is that of the whole picture by that path (in int8 and
 * bicubic bit for bit, in f32 within the tolerance of docs/arithmetic.md): there are no seams.
 * SRP_METHOD_SR without a routing takes the default path. `stats` may be NULL.
 * Errors: as above, and USAGE for a cell size or path out of range. */
SRP_API enum srp_err srp_upscaler_process_routed(struct srp_upscaler *up,
                                                 const struct srp_picture *in,
                                                 const struct srp_picture *out,
                                                 const struct srp_routing *routing,
                                                 struct srp_routing_stats *stats,
                                                 struct srp_error *err);

/* Arena, dtype, ISA, threads; zeros and "" before a model is set. */
SRP_API void srp_upscaler_get_info(const struct srp_upscaler *up, struct srp_executor_info *info);

/* Format conversion at equal size, single-threaded. 4:2:0 chroma is enlarged with the base
 * upscaler's cubic and reduced with [1 2 1]/4 (co-sited) or [1 1]/2 (centred) filters, at the sited
 * positions. */
SRP_API enum srp_err srp_picture_convert(const struct srp_picture *in,
                                         const struct srp_picture *out, struct srp_error *err);

#ifdef __cplusplus
}
#endif
#endif
