/* SPDX-License-Identifier: BSD-2-Clause */
/* select.h - a choice that no compiler makes a branch of, which would keep a loop from becoming
 * vectors. */
#ifndef SRPI_SELECT_H
#define SRPI_SELECT_H

#include <stdint.h>
#include <string.h>

/* condition: 0 or 1 */
static inline float srpi_select(int condition, float yes, float no)
{
    const uint32_t mask = 0u - (uint32_t)condition;
    uint32_t a, b;
    memcpy(&a, &yes, sizeof(a));
    memcpy(&b, &no, sizeof(b));
    a = (a & mask) | (b & ~mask);
    memcpy(&yes, &a, sizeof(yes));
    return yes;
}

#endif
