/* SPDX-License-Identifier: BSD-2-Clause */
/* cpu.h - which of our kernels this machine can run. */
#ifndef SRPI_CPU_H
#define SRPI_CPU_H

#include <stdbool.h>

/* True when the AVX2 + FMA kernels may be used: the machine has these instructions and SRP_CPU
 * (kernels/row.h) does not stay below. Safe in any thread. */
bool srpi_cpu_avx2(void);
/* The same of AVX-512 F, BW, DQ and VL. */
bool srpi_cpu_avx512(void);

#endif
