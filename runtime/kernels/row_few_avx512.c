/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiled with the flags of the generated kernels of avx512 (Makefile). */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>

#define BYTES 64
#define GROUPS 4 /* 16 sums, 4 values and a weight of 32 registers */
#define KERNELS srpi_rows_avx512few
#define ISA SRPI_ISA_AVX512
#define NAME "avx512"

/* Not __m512i, for gcc's sake: docs/codegen.md */
typedef int32_t vint __attribute__((vector_size(BYTES)));
typedef __m512 vfloat;
#define v_zero() (vint){0}
#define v_load(p) (vint)_mm512_loadu_si512(p)
#define v_dot(sum, x, w) (vint)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(x), (__m512i)(w))
#define v_add(a, b) ((a) + (b))
#define v_low32(a, b) (vint)_mm512_unpacklo_epi32((__m512i)(a), (__m512i)(b))
#define v_high32(a, b) (vint)_mm512_unpackhi_epi32((__m512i)(a), (__m512i)(b))
#define v_low64(a, b) (vint)_mm512_unpacklo_epi64((__m512i)(a), (__m512i)(b))
#define v_high64(a, b) (vint)_mm512_unpackhi_epi64((__m512i)(a), (__m512i)(b))
/* Of a's and then b's four lanes of 128 bits those of even and of odd place. */
#define v_even_lanes(a, b) (vint)_mm512_shuffle_i32x4((__m512i)(a), (__m512i)(b), 0x88)
#define v_odd_lanes(a, b) (vint)_mm512_shuffle_i32x4((__m512i)(a), (__m512i)(b), 0xdd)
#define ZIP(a, b, ...) \
    (vint)_mm512_permutex2var_epi64((__m512i)(a), _mm512_setr_epi64(__VA_ARGS__), (__m512i)(b))
/* Lanes of 128 bits of a and b in turn: those of the lower half, of the upper. */
#define v_zip_low(a, b) ZIP(a, b, 0, 1, 8, 9, 2, 3, 10, 11)
#define v_zip_high(a, b) ZIP(a, b, 4, 5, 12, 13, 6, 7, 14, 15)
#define v_four_ints(p) (vint)_mm512_broadcast_i32x4(_mm_loadu_si128(p))
#define v_four(p) _mm512_broadcast_f32x4(_mm_loadu_ps(p))
#define v_all(x) _mm512_set1_ps(x)
#define v_load_float(p) _mm512_loadu_ps(p)
#define v_store_float(p, v) _mm512_storeu_ps(p, v)
#define v_to_float(v) _mm512_cvtepi32_ps((__m512i)(v))
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_lean(v, s) \
    _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, s)

#include "kernels/row_few_vnni.inc.h"

#endif
