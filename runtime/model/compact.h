/* SPDX-License-Identifier: BSD-2-Clause */
/* compact.h - parameters in the order that the graph gives, without a table (docs/format.md). */
#ifndef SRPI_COMPACT_H
#define SRPI_COMPACT_H

#include <stdbool.h>

#include "graph.h"
#include "safetensors.h"

/* Whether the bytes are such a file. No safetensors file begins like one. */
bool srpi_is_compact(const struct srp_blob *blob);

/* Unpacks the parameters of `graph`, changed by `update` where that holds data, into a table as of
 * a safetensors file, which owns its arrays (offsets are 0) and does not look at their values.
 * srpi_safetensors_free releases it; on failure *out is untouched. Errors: PARSE, FORMAT, LIMIT,
 * SIZE, UNSUPPORTED (version), PARAMS (made for another graph), HASH (an update of other
 * parameters), NOMEM. */
enum srp_err srpi_compact_read(struct srpi_safetensors *out, const struct srp_blob *blob,
                               const struct srp_blob *update, const struct srpi_graph *graph,
                               struct srp_error *err);

#endif
