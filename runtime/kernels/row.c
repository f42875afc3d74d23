/* SPDX-License-Identifier: BSD-2-Clause */
/* Which sets of row kernels were built in, and which this machine can run. The build defines
 * SRPI_ROWS_NAME for each set. */
#include "kernels/row.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "kernels/row_sets.h"

static const struct srpi_row_set *const built[SRPI_ISA_COUNT] = {
    [SRPI_ISA_SCALAR] = &srpi_rows_scalar,
#ifdef SRPI_ROWS_avx2
    [SRPI_ISA_AVX2] = &srpi_rows_avx2,
#endif
#ifdef SRPI_ROWS_avxvnni
    [SRPI_ISA_AVXVNNI] = &srpi_rows_avxvnni,
#endif
#ifdef SRPI_ROWS_avx512
    [SRPI_ISA_AVX512] = &srpi_rows_avx512,
#endif
#ifdef SRPI_ROWS_avx512bf16
    [SRPI_ISA_AVX512BF16] = &srpi_rows_avx512bf16,
#endif
#ifdef SRPI_ROWS_amx
    [SRPI_ISA_AMX] = &srpi_rows_amx,
#endif
#ifdef SRPI_ROWS_neon
    [SRPI_ISA_NEON] = &srpi_rows_neon,
#endif
#ifdef SRPI_ROWS_dotprod
    [SRPI_ISA_DOTPROD] = &srpi_rows_dotprod,
#endif
};

#if defined(__x86_64__)

/* Bit 4 of EAX of leaf 7.1; older compilers know no name for it. It needs what AVX2 needs of the
 * system. */
static bool has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

/* Bits 22, 24 and 25 of EDX of leaf 7: products of bf16, tiles, products of int8. Linux gives the
 * memory for them to a process that asks, once for all its threads; to ask again does no harm. */
static bool has_amx(void)
{
#ifdef __linux__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 13) == 13 &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

bool srpi_adds_apart(void)
{
    return __builtin_cpu_is("amd") != 0;
}

static bool runs(enum srpi_isa isa)
{
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    switch (isa) {
    case SRPI_ISA_AVX2:
        return avx2;
    case SRPI_ISA_AVXVNNI:
        return avx2 && has_avxvnni();
    case SRPI_ISA_AVX512:
        return avx512;
    case SRPI_ISA_AVX512BF16:
        return avx512 && __builtin_cpu_supports("avx512bf16");
    case SRPI_ISA_AMX:
        return avx512 && __builtin_cpu_supports("avx512bf16") && has_amx();
    default:
        return isa == SRPI_ISA_SCALAR;
    }
}

#elif defined(__aarch64__)

bool srpi_adds_apart(void)
{
    return false;
}

static bool runs(enum srpi_isa isa)
{
    return isa == SRPI_ISA_SCALAR || isa == SRPI_ISA_NEON ||
           (isa == SRPI_ISA_DOTPROD && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0);
}

#else

bool srpi_adds_apart(void)
{
    return false;
}

static bool runs(enum srpi_isa isa)
{
    return isa == SRPI_ISA_SCALAR;
}

#endif

const struct srpi_kernels *srpi_kernels_of(enum srpi_isa isa)
{
    return isa < SRPI_ISA_COUNT && built[isa] != NULL && runs(isa) ? &built[isa]->kernels : NULL;
}

static const struct srpi_kernels *choose(void)
{
    static const char *const names[SRPI_ISA_COUNT] = {"scalar",     "avx2", "avxvnni", "avx512",
                                                      "avx512bf16", "amx",  "neon",    "dotprod"};
    const char *mask = getenv("SRP_CPU");
    int top = SRPI_ISA_COUNT - 1;
    for (int isa = 0; mask != NULL && isa < SRPI_ISA_COUNT; isa++) {
        if (strcmp(mask, names[isa]) == 0) {
            top = isa;
        }
    }
    while (srpi_kernels_of((enum srpi_isa)top) == NULL) {
        top--; /* ends at the plain C */
    }
    return &built[top]->kernels;
}

const struct srpi_kernels *srpi_kernels_best(void)
{
    /* Two threads that look at once find the same. */
    static _Atomic(const struct srpi_kernels *) best;
    const struct srpi_kernels *known = atomic_load_explicit(&best, memory_order_relaxed);
    if (known == NULL) {
        known = choose();
        atomic_store_explicit(&best, known, memory_order_relaxed);
    }
    return known;
}
