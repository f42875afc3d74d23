/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/package.h - tier 3: a package's manifest, and models that are only handed out verified.
 *
 * The library opens no files and no sockets: the caller fetches the bytes that `struct srp_object`
 * names and hands them in. docs/format.md is the specification. */
#ifndef SRP_PACKAGE_H
#define SRP_PACKAGE_H

#include <srp/upscaler.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A validated manifest. Immutable. Thread-safety: safe. All pointers live as long as it does. */
struct srp_package;

/* A file of the package, beside the manifest: "objects/<sha256>.<ext>" or a plain file name. */
struct srp_object {
    const char *uri;
    uint64_t size;
    uint8_t sha256[32];
};

struct srp_segment { /* one media segment of a track */
    struct srp_object object;
    uint64_t start, duration; /* in ticks of the track's timescale */
};

struct srp_chunk {
    struct srp_segment segment; /* the LR video of this chunk */
    uint32_t frames;
    int32_t model;              /* index of the model, or -1: played without SR */
    bool has_routes, has_update;
    struct srp_object routes;   /* zero without has_routes */
    struct srp_object update;   /* of the model's parameters; zero without has_update */
};

struct srp_track {
    const char *codec; /* RFC 6381, for example "avc1.64001e" */
    uint32_t timescale;
    struct srp_object init; /* CMAF header */
    uint32_t segment_count;
};

struct srp_package_model {
    const char *name;
    struct srp_object graph;
    struct srp_object parameters; /* .parameters, .safetensors or .safetensors.zst */
};

struct srp_package_info {
    const char *content_id;
    const char *generator;
    uint32_t scale;
    uint32_t lr_width, lr_height;   /* of the coded video */
    uint32_t out_width, out_height; /* shown: at most lr * scale */
    uint32_t frame_rate_num, frame_rate_den;
    uint64_t frame_count;
    enum srp_matrix matrix;
    enum srp_range range;
    enum srp_chroma chroma;
    double source_start;            /* seconds into the original at which the package begins */
    uint32_t chunk_count, model_count;
    bool has_audio;
    struct srp_track video, audio;  /* audio is zero without has_audio */
    double duration;                /* seconds of video */
    uint32_t audio_sample_rate, audio_channels; /* 0 without audio */
};

/* Errors: PARSE, FORMAT, LIMIT, UNSUPPORTED, NOMEM. */
SRP_API enum srp_err srp_package_create(struct srp_package **out, const struct srp_blob *manifest,
                                        struct srp_error *err);
SRP_API void srp_package_destroy(struct srp_package **pkg);
SRP_API void srp_package_get_info(const struct srp_package *pkg, struct srp_package_info *info);
/* NULL when the index is out of range. */
SRP_API const struct srp_chunk *srp_package_chunk(const struct srp_package *pkg, uint32_t index);
SRP_API const struct srp_segment *srp_package_audio_segment(const struct srp_package *pkg,
                                                            uint32_t index);
SRP_API const struct srp_package_model *srp_package_get_model(const struct srp_package *pkg,
                                                              uint32_t index);
/* Index of the chunk shown at `seconds` (clamped to the first and last). */
SRP_API uint32_t srp_package_chunk_at(const struct srp_package *pkg, double seconds);

/* SRP_OK when size and SHA-256 are the declared ones. Errors: SIZE, HASH. */
SRP_API enum srp_err srp_object_verify(const struct srp_object *object, const void *data,
                                       size_t size, struct srp_error *err);

/* Verifies both blobs, decompresses, creates the model, and checks that its scale is the package's.
 * No model leaves this function unverified (promise P0). */
SRP_API enum srp_err srp_package_load_model(const struct srp_package *pkg, uint32_t index,
                                            const struct srp_blob *graph,
                                            const struct srp_blob *parameters,
                                            struct srp_model **out, struct srp_error *err);
/* The model of a chunk: as above, and where the chunk has an update (else `update` is NULL), which
 * is verified too, with the parameters that it makes of these. */
SRP_API enum srp_err srp_package_load_chunk_model(const struct srp_package *pkg, uint32_t chunk,
                                                  const struct srp_blob *graph,
                                                  const struct srp_blob *parameters,
                                                  const struct srp_blob *update,
                                                  struct srp_model **out, struct srp_error *err);

#ifdef __cplusplus
}
#endif
#endif
