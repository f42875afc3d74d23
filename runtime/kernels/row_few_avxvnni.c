/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with the flags of the generated kernels of avxvnni, where the compiler knows them
 * (Makefile). */
#if defined(__x86_64__) && defined(SRPI_ROWS_avxvnni)

#include <immintrin.h>
#include <stdint.h>

#define BYTES 32
#define GROUPS 2 /* 8 sums, 2 values and a weight of 16 registers */
#define KERNELS srpi_rows_avxvnnifew
#define ISA SRPI_ISA_AVXVNNI
#define NAME "avxvnni"

/* Not __m256i, for gcc's sake: docs/codegen.md */
typedef int32_t vint __attribute__((vector_size(BYTES)));
typedef __m256 vfloat;
#define v_zero() (vint){0}
#define v_load(p) (vint)_mm256_loadu_si256((const __m256i *)(const void *)(p))
#define v_dot(sum, x, w) (vint)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(x), (__m256i)(w))
#define v_add(a, b) ((a) + (b))
#define v_low32(a, b) (vint)_mm256_unpacklo_epi32((__m256i)(a), (__m256i)(b))
#define v_high32(a, b) (vint)_mm256_unpackhi_epi32((__m256i)(a), (__m256i)(b))
#define v_low64(a, b) (vint)_mm256_unpacklo_epi64((__m256i)(a), (__m256i)(b))
#define v_high64(a, b) (vint)_mm256_unpackhi_epi64((__m256i)(a), (__m256i)(b))
/* Of a's and then b's two lanes of 128 bits those of even and of odd place: with two lanes that is
 * the same as taking them in turn, lower halves and upper halves. */
#define v_even_lanes(a, b) (vint)_mm256_permute2x128_si256((__m256i)(a), (__m256i)(b), 0x20)
#define v_odd_lanes(a, b) (vint)_mm256_permute2x128_si256((__m256i)(a), (__m256i)(b), 0x31)
#define v_zip_low(a, b) v_even_lanes(a, b)
#define v_zip_high(a, b) v_odd_lanes(a, b)
#define v_four_ints(p) (vint)_mm256_broadcastsi128_si256(_mm_loadu_si128(p))
#define v_four(p) _mm256_broadcast_ps((const __m128 *)(const void *)(p))
#define v_all(x) _mm256_set1_ps(x)
#define v_load_float(p) _mm256_loadu_ps(p)
#define v_store_float(p, v) _mm256_storeu_ps(p, v)
#define v_to_float(v) _mm256_cvtepi32_ps((__m256i)(v))
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_lean(v, s) \
    _mm256_blendv_ps(v, _mm256_mul_ps(v, s), _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ))

#include "kernels/row_few_vnni.inc.h"

#endif
