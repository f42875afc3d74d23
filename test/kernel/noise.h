/* SPDX-License-Identifier: BSD-2-Clause */
/* noise.h - the same pseudo-random numbers on every machine. */
#ifndef TEST_NOISE_H
#define TEST_NOISE_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static inline float noise_f(uint32_t *state) /* -1 .. 1 */
{
    return (float)noise(state) / 8388608.0f - 1.0f;
}

static inline void noise_fill(float *data, size_t count, uint32_t *state)
{
    for (size_t i = 0; i < count; i++) {
        data[i] = noise_f(state);
    }
}

#endif
