/* SPDX-License-Identifier: BSD-2-Clause */
/* branch.h - one path of a model in an upscaler: regions of a picture in, the same of a larger one
 * out. */
#ifndef SRPI_BRANCH_H
#define SRPI_BRANCH_H

#include "exec/executor.h"
#include "exec/picture.h"
#include "exec/pipe.h"
#include "model/model.h"

/* Work memory of an upscaler, for one branch at a time. */
struct srpi_work {
    struct srpi_pool *pool;
    struct srpi_scratch *storing; /* one per worker, for the output */
    struct srpi_scratch *loading; /* one per worker, for the input */
    void *memory;                 /* of all of them, grown to the largest pictures seen */
    size_t memory_size;
};
/* Errors: NOMEM. */
enum srp_err srpi_work_create(struct srpi_work *work, uint32_t threads, struct srp_error *err);
void srpi_work_destroy(struct srpi_work *work);
/* For rows of these widths; `loading` is that of the input's rows, or 0 where they are not loaded.
 * Errors: NOMEM. */
enum srp_err srpi_work_reserve(struct srpi_work *work, uint32_t source_width, uint32_t out_width,
                               uint32_t loading, struct srp_error *err);

/* Regions that are enlarged by a filter, some at a time. */
#define SRPI_FILTER_REGIONS 64u
struct srpi_filtering {
    struct srpi_pipe pipe;
    struct srpi_bands bands;
    struct srpi_part parts[SRPI_FILTER_REGIONS];
};

struct srpi_branch {
    struct srp_model *model; /* a path of it; owned reference */
    bool base;               /* the path is the base upscaler: there is no executor */
    struct srp_executor *executor;
    struct srpi_tail tail;
    /* Of the picture at work. */
    struct srpi_filtering filtering; /* its pipe is a network's too */
    struct srpi_loader loader;
    struct srpi_codec codec;
    struct srpi_work *work;
    struct srpi_stream_io io;
    struct srpi_region some[SRPI_STREAM_REGIONS];
    bool started; /* work is left for srpi_branch_work */
};

/* `fused`: the end of the network is done while the picture is stored. Errors: as
 * srpi_executor_create. */
enum srp_err srpi_branch_create(struct srpi_branch *branch, struct srp_model *path,
                                enum srp_backend backend, enum srp_dtype dtype,
                                struct srpi_pool *pool, bool fused, struct srp_error *err);
void srpi_branch_destroy(struct srpi_branch *branch);

/* What the rows of the output picture read of the network: from a YUV picture or another, to a YUV
 * picture with its chroma there or another. */
struct srpi_sink srpi_branch_sink(const struct srpi_tail *tail, const struct srpi_graph *graph,
                                  bool yuv_in, bool yuv_out, enum srp_chroma chroma);

/* Makes the parts of `out` that are `regions` of the input picture: in its pixels, begin and end
 * even or the picture's end; they do not overlap. `in` is 4:2:0 where the network's colour is. The
 * pictures are checked. Errors: LIMIT, NOMEM, DEVICE. */
enum srp_err srpi_branch_run(struct srpi_branch *branch, struct srpi_work *work,
                             const struct srp_picture *in, const struct srp_picture *out,
                             const struct srp_region *regions, uint32_t count,
                             struct srp_error *err);
/* The same in two parts, so that several branches for one pair of pictures can share a loop of the
 * pool. start prepares, and may do a part already; each worker that calls work (one branch after
 * the other) does what is left to be taken, so when all have returned the parts are made. The
 * pictures stay until then, `regions` need not. */
enum srp_err srpi_branch_start(struct srpi_branch *branch, struct srpi_work *work,
                               const struct srp_picture *in, const struct srp_picture *out,
                               const struct srp_region *regions, uint32_t count,
                               struct srp_error *err);
void srpi_branch_work(struct srpi_branch *branch, uint32_t worker);
/* By a filter, without a model. Errors: NOMEM. */
enum srp_err srpi_filter_run(struct srpi_filtering *filtering, struct srpi_work *work,
                             const struct srp_picture *in, const struct srp_picture *out,
                             uint32_t scale, enum srpi_filter filter, struct srp_error *err);

#endif
