/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/quant.h - what int8 makes of a model's parameters, in words: for people and scripts.
 *
 * Nothing here is needed to play. The text is for reading and may change; the JSON keeps the keys
 * that docs/srinfo.md lists. */
#ifndef SRP_QUANT_H
#define SRP_QUANT_H

#include <srp/model.h>

#ifdef __cplusplus
extern "C" {
#endif

enum srp_quant_format {
    SRP_QUANT_TEXT = 0,
    SRP_QUANT_JSON, /* one object */
};

struct srp_quant_params {
    struct srp_model *model;
    uint64_t file_bytes; /* of the parameters as they are delivered; 0: not to be told */
};

/* *text is one string, to be released with srp_quant_free. Where the parameters state no ranges,
 * the built-in picture is run through each path first. Thread-safety: safe.
 * Errors: USAGE, NOMEM, and those of quantising: LIMIT, NONFINITE. */
SRP_API enum srp_err srp_quant_describe(char **text, const struct srp_quant_params *params,
                                        enum srp_quant_format format, struct srp_error *err);
SRP_API void srp_quant_free(char *text);

#ifdef __cplusplus
}
#endif
#endif
