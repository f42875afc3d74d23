/* SPDX-License-Identifier: BSD-2-Clause */
#include "exec/cpu.h"

#include <srp/common.h>

#include "kernels/row.h"

bool srpi_cpu_avx2(void)
{
    const enum srpi_isa best = srpi_kernels_best()->isa;
    return best >= SRPI_ISA_AVX2 && best <= SRPI_ISA_AMX;
}

bool srpi_cpu_avx512(void)
{
    const enum srpi_isa best = srpi_kernels_best()->isa;
    return best >= SRPI_ISA_AVX512 && best <= SRPI_ISA_AMX;
}

const char *srp_isa(void)
{
    return srpi_kernels_best()->name;
}
