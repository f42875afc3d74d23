/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <srp/common.h>

static bool detect(void)
{
    const char *mask = getenv("SRP_CPU");
    if (mask != NULL && strcmp(mask, "scalar") == 0) {
        return false;
    }
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

bool srpi_cpu_avx2(void)
{
    /* 0: not looked yet, 1: no, 2: yes. Two threads that look at once find the same answer. */
    static atomic_int known;
    int state = atomic_load_explicit(&known, memory_order_relaxed);
    if (state == 0) {
        state = detect() ? 2 : 1;
        atomic_store_explicit(&known, state, memory_order_relaxed);
    }
    return state == 2;
}

const char *srp_isa(void)
{
    return srpi_cpu_avx2() ? "avx2" : "scalar";
}
