/* SPDX-License-Identifier: BSD-2-Clause */
/* winograd_forward_q8.inc.h - the forward stage of winograd_q8.inc.h for one kind of vectors of
 * terms: f_vec, of uint16_t (they are signed numbers, modulo 2^16), f_codes, which loads as many
 * codes, and f_store. FORWARD(name) makes names. All of these are undefined again at the end. */

/* Six neighbours to six points, along a row. */
INLINE void FORWARD(forward6)(f_vec v[6], const f_vec d[6])
{
    const f_vec even1 = d[4] - (d[2] << 2), odd1 = d[3] - (d[1] << 2);
    const f_vec even2 = d[4] - d[2], odd = d[3] - d[1], odd2 = odd + odd;
    v[0] = ((d[0] - d[2]) << 2) + even2;
    v[1] = even1 + odd1;
    v[2] = even1 - odd1;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = (d[5] - d[3]) - (odd2 + odd2);
}

/* Six neighbours at `at` down a column to the two points of a pass. */
INLINE void FORWARD(forward2)(f_vec *a, f_vec *b, const uint8_t *const rows[SIDE], size_t at,
                              const uint32_t pass)
{
    const f_vec d1 = f_codes(rows[1] + at), d2 = f_codes(rows[2] + at);
    const f_vec d3 = f_codes(rows[3] + at), d4 = f_codes(rows[4] + at);
    if (pass == 0) {
        const f_vec even = d4 - (d2 << 2), odd = d3 - (d1 << 2);
        *a = even + odd;
        *b = even - odd;
    } else if (pass == 1) {
        const f_vec even = d4 - d2, odd = d3 - d1, odd2 = odd + odd;
        *a = even + odd2;
        *b = even - odd2;
    } else {
        *a = ((f_codes(rows[0] + at) - d2) << 2) + (d4 - d2);
        *b = ((d1 - d3) << 2) + (f_codes(rows[5] + at) - d3);
    }
}

#define sample uint8_t
#include "kernels/winograd_forward.inc.h"
#undef f_codes
