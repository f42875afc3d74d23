/* SPDX-License-Identifier: BSD-2-Clause */
/* cpu.h - which of our kernels this machine can run. */
#ifndef SRPI_CPU_H
#define SRPI_CPU_H

#include <stdbool.h>

/* True when the AVX2 + FMA kernels may be used. The environment variable SRP_CPU=scalar turns them
 * off, so that the plain C kernels can be tested on any machine. Detected once; safe in any
 * thread. */
bool srpi_cpu_avx2(void);

#endif
