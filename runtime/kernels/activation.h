/* SPDX-License-Identifier: BSD-2-Clause */
/* activation.h - tanh and sigmoid from IEEE single operations alone (no fused ones, no libm), in
 * one order: the same bits on every machine and at every vector width.
 *
 * Largest errors against the exact value, over all floats: see docs/arithmetic.md. */
#ifndef SRPI_ACTIVATION_H
#define SRPI_ACTIVATION_H

#include <stddef.h>

/* `count` values; out may be in. NaN and infinity are not meant to come here: they give some
 * value. */
void srpi_row_tanh(const float *in, float *out, size_t count);
void srpi_row_sigmoid(const float *in, float *out, size_t count);

#endif
