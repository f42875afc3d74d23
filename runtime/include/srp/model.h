/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/model.h - tier 1: a model (graph + parameters) and its execution on float tensors.
 *
 * Format of both inputs: docs/format.md. Apps that want pictures in and out use srp/upscaler.h. */
#ifndef SRP_MODEL_H
#define SRP_MODEL_H

#include <srp/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable, validated model. Thread-safety: safe, unless said; reference-counted. */
struct srp_model;

/* What the channels of the network's input and output mean. */
enum srp_colour_space {
    SRP_COLOUR_Y = 1,  /* 1 channel: luma code / 255; chroma is enlarged by the base upscaler */
    SRP_COLOUR_RGB,    /* 3 channels: full-range R'G'B' in 0..1, chroma enlarged to 4:4:4 first */
    SRP_COLOUR_YUV420, /* 6 channels at chroma resolution: luma (0,0) (0,1) (1,0) (1,1) of each
                          2x2 block as (row, column), then U, V; codes / 255 */
};

struct srp_model_params {
    struct srp_blob graph;      /* JSON */
    struct srp_blob parameters; /* safetensors, or compact as in docs/format.md */
    struct srp_blob update;     /* of compact parameters; {NULL}: none */
};

struct srp_model_info {
    const char *name;              /* lives as long as the model */
    uint32_t scale;                /* 1..4 */
    enum srp_colour_space colour;
    uint32_t channels;             /* of input and output tensor: 1, 3 or 6 */
    uint64_t parameter_count;
    /* multiply-accumulates per pixel of the input *tensor*; of the dearest path where there are
     * several */
    uint64_t macs_per_pixel;
    uint32_t halo;                 /* receptive field radius in input tensor pixels */
    uint32_t node_count;
    uint32_t path_count;           /* 1, or the inputs of the graph's route */
    uint32_t default_path;         /* the one to take without routes; 0 for one path */
};

/* Parses and validates everything before any allocation that depends on a declared size.
 * Errors: PARSE, FORMAT, LIMIT, SIZE, UNSUPPORTED, GRAPH, PARAMS, NONFINITE, NOMEM, HASH (an
 * update of other parameters). */
SRP_API enum srp_err srp_model_create(struct srp_model **out, const struct srp_model_params *params,
                                      struct srp_error *err);
/* As above, with pseudo-random parameters of zero mean from `seed`: for benchmarks and plans. */
SRP_API enum srp_err srp_model_create_random(struct srp_model **out, const struct srp_blob *graph,
                                             uint64_t seed, struct srp_error *err);
/* Whether the bytes are a safetensors file that some graph may have: its table and how the arrays
 * lie, not their values. Thread-safety: safe. Errors: as above. */
SRP_API enum srp_err srp_parameters_check(const struct srp_blob *parameters, struct srp_error *err);
SRP_API struct srp_model *srp_model_ref(struct srp_model *model);
/* Drops one reference and sets *model to NULL. NULL and &{NULL} are fine. */
SRP_API void srp_model_unref(struct srp_model **model);
SRP_API void srp_model_get_info(const struct srp_model *model, struct srp_model_info *info);
/* Frees the parameters: for a program that has made all that it will make of the model. What was
 * made goes on; to make more is refused (USAGE). An int8 or bf16 network needs a fifth to a half of
 * the memory then.
 * Errors: USAGE (an executor of another backend than NATIVE reads them, which goes on).
 * Thread-safety: nothing else uses the model or its paths meanwhile. */
SRP_API enum srp_err srp_model_drop_parameters(struct srp_model *model, struct srp_error *err);
/* Path `index` of a model with a route, as a model of its own that shares the parameters; of a
 * model without one, path 0 is the model itself. A new reference; NULL: there is no such path. */
SRP_API struct srp_model *srp_model_path(struct srp_model *model, uint32_t index);

/* ---- execution on tensors ------------------------------------------------------------------- */

enum srp_backend {
    SRP_BACKEND_AUTO = 0,   /* the fastest that was built in */
    SRP_BACKEND_REFERENCE,  /* plain C, node after node; the definition of every operator */
    SRP_BACKEND_XNNPACK,
    SRP_BACKEND_NATIVE,     /* the library's own fused engine: row by row, generated kernels */
};
/* "auto", "reference", "xnnpack", "native". */
SRP_API const char *srp_backend_name(enum srp_backend backend);
/* Sets *out from a name. Errors: USAGE (unknown), UNSUPPORTED (not built in). */
SRP_API enum srp_err srp_backend_from_name(enum srp_backend *out, const char *name);

/* What a network computes with (docs/arithmetic.md). */
enum srp_dtype {
    SRP_DTYPE_AUTO = 0, /* int8 where the parameters state ranges (docs/format.md), else f32 */
    SRP_DTYPE_F32,
    SRP_DTYPE_INT8,     /* u8 activations, s8 weights, exact sums: the same bytes everywhere */
    SRP_DTYPE_BF16,     /* where the processor has it; else UNSUPPORTED */
};
/* "auto", "f32", "int8", "bf16". */
SRP_API const char *srp_dtype_name(enum srp_dtype dtype);
/* Sets *out from a name. Errors: USAGE (unknown). */
SRP_API enum srp_err srp_dtype_from_name(enum srp_dtype *out, const char *name);

/* Runs one model, of a model with a route the default path.
 * Thread-safety: one thread at a time per executor; executors are independent. */
struct srp_executor;

struct srp_executor_params {
    struct srp_model *model; /* the executor takes its own reference */
    enum srp_backend backend;
    uint32_t threads;        /* 0: one per core */
    enum srp_dtype dtype;    /* INT8 and BF16: NATIVE alone (INT8: REFERENCE too) */
};

struct srp_executor_info {
    enum srp_backend backend; /* never AUTO */
    const char *dtype;        /* "f32", "int8", "bf16" */
    const char *isa;
    uint32_t threads;
    uint64_t arena_bytes;     /* intermediates; 0 before the first reserve or run */
};

SRP_API enum srp_err srp_executor_create(struct srp_executor **out,
                                         const struct srp_executor_params *params,
                                         struct srp_error *err);
SRP_API void srp_executor_destroy(struct srp_executor **ex);
/* Plans and allocates for width x height input pixels. Runs at this size or smaller sizes that were
 * reserved before allocate nothing. Errors: LIMIT, NOMEM, DEVICE. */
SRP_API enum srp_err srp_executor_reserve(struct srp_executor *ex, uint32_t width, uint32_t height,
                                          struct srp_error *err);
/* in: [height][width][channels] f32, dense, in the units of enum srp_colour_space; the graph's
 * mean is applied inside.
 * out: [height*scale][width*scale][channels] f32, dense, NOT clipped. The two must not overlap. */
SRP_API enum srp_err srp_executor_run(struct srp_executor *ex, const float *in, uint32_t width,
                                      uint32_t height, float *out, struct srp_error *err);
/* A rectangle of the input tensor, in its pixels; it lies inside and is not empty. */
struct srp_region {
    uint32_t x, y, width, height;
};
/* As srp_executor_run, but computes, and writes to `out`, the regions alone (at most
 * SRP_MAX_REGIONS; they may overlap). Regions see their neighbours: the pixels are those of the
 * whole picture; in int8 and with direct convolutions bit for bit, with Winograd's within the
 * tolerance of docs/arithmetic.md. */
SRP_API enum srp_err srp_executor_run_regions(struct srp_executor *ex, const float *in,
                                              uint32_t width, uint32_t height,
                                              const struct srp_region *regions, uint32_t count,
                                              float *out, struct srp_error *err);
/* Multiply-accumulates of such a run: `needed` for the regions and what they see around themselves
 * (other backends than NATIVE always compute the whole picture); `made` with the rows and columns
 * by which layers that come in tiles of 4x4 pixels (Winograd's) hang over the edges of that. */
struct srp_macs {
    uint64_t needed, made;
};
/* Plans for the size. Errors: as above. */
SRP_API enum srp_err srp_executor_region_macs(struct srp_executor *ex, uint32_t width,
                                              uint32_t height, const struct srp_region *regions,
                                              uint32_t count, struct srp_macs *macs,
                                              struct srp_error *err);
SRP_API void srp_executor_get_info(const struct srp_executor *ex, struct srp_executor_info *info);

#ifdef __cplusplus
}
#endif
#endif
