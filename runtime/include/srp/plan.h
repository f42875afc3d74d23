/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/plan.h - how the native backend will run a model, in words: for people, scripts and graphviz.
 *
 * Nothing here is needed to play. The text is for reading and may change; the JSON keeps the keys
 * that docs/srinfo.md lists. */
#ifndef SRP_PLAN_H
#define SRP_PLAN_H

#include <srp/model.h>

#ifdef __cplusplus
extern "C" {
#endif

enum srp_plan_format {
    SRP_PLAN_TEXT = 0,
    SRP_PLAN_JSON, /* one object */
    SRP_PLAN_DOT,  /* a digraph, one cluster for each fused step */
};

struct srp_plan_params {
    struct srp_model *model; /* parameters may be random; in int8 groups and 16-bit ranges change
                                the plan */
    enum srp_dtype dtype;
    const char *isa;         /* kernels of "scalar", "avx2" ...; NULL: the best for this machine */
    uint32_t threads;        /* 0: one per core */
    uint32_t width, height;  /* of the picture before it is enlarged; 0: shapes as expressions only,
                                without rings, offsets and sums */
};

/* *text is one string, to be released with srp_plan_free. Thread-safety: safe.
 * Errors: USAGE (an isa that is unknown or that this machine cannot run, one of width and height
 * alone), UNSUPPORTED (dtype), LIMIT, GRAPH, NOMEM, and those of quantising. */
SRP_API enum srp_err srp_plan_describe(char **text, const struct srp_plan_params *params,
                                       enum srp_plan_format format, struct srp_error *err);
SRP_API void srp_plan_free(char *text);

#ifdef __cplusplus
}
#endif
#endif
