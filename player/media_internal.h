/* SPDX-License-Identifier: BSD-2-Clause */
/* media_internal.h - what media.c shares with the two kinds of medium. */
#ifndef SP_MEDIA_INTERNAL_H
#define SP_MEDIA_INTERNAL_H

#include "cache.h"
#include "decode.h"
#include "media.h"
#include "source.h"

/* One kind of medium. Calls come with no lock held; `kind` is what open returned. */
struct sp_media_ops {
    void (*close)(void *kind);
    void (*get_info)(const void *kind, struct sp_media_info *info);
    int (*read_video)(void *kind, AVFrame *frame, struct sp_frame_meta *meta,
                      struct srp_error *err);
    int (*read_audio)(void *kind, AVFrame *frame, double *pts, struct srp_error *err);
    enum srp_err (*seek)(void *kind, double seconds, bool exact, struct srp_error *err);
    double (*buffered)(void *kind); /* any thread */
};

struct sp_media {
    struct sp_media_params params; /* its strings are only used while it is being opened */
    struct sp_gate gate;
    struct sp_counters counters;
    struct sp_net *net;
    struct sp_cache *cache;
    struct sp_source_env env;
    struct srp_model *general; /* the general model, for the whole medium; may be NULL */
    char general_name[64];
    const struct sp_media_ops *ops;
    void *kind;
    unsigned readers; /* calls inside; guarded by the gate */
};

/* Takes over neither; `manifest` is only read during the call. */
enum srp_err sp_package_media_open(struct sp_media *m, const struct sp_bytes *manifest,
                                   const char *location, struct srp_error *err);
/* Takes over *source on success and on failure. */
enum srp_err sp_plain_media_open(struct sp_media *m, struct sp_source **source,
                                 struct srp_error *err);
/* For HLS: makes a network thread where there is none yet. */
enum srp_err sp_media_need_net(struct sp_media *m, struct srp_error *err);

#endif
