/* SPDX-License-Identifier: BSD-2-Clause */
/* hash.h - one number for an array, to hold bits to on every machine. */
#ifndef TEST_HASH_H
#define TEST_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* FNV-1a over 32-bit words. */
static inline uint64_t hash_floats(const float *values, size_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
    }
    return hash;
}

#endif
