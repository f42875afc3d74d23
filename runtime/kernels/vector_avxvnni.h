/* SPDX-License-Identifier: BSD-2-Clause */
/* vector_avxvnni.h - the vocabulary of the generated row kernels: AVX2 + FMA + AVX-VNNI. */
#ifndef SRPI_VECTOR_AVXVNNI_H
#define SRPI_VECTOR_AVXVNNI_H

#include "kernels/vector_256_u8.h"

/* x: four u8 in each lane; w: four s8. */
INLINE vint dot_q8(vint sum, value_q8 x, weight_q8 w)
{
    return (vint)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
}

#endif
