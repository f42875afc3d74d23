/* SPDX-License-Identifier: BSD-2-Clause */
/* unroll.h - UNROLL in front of a loop whose count is a constant of at most 16: its arrays of
 * vectors stay in registers only when it is written out. */
#ifndef SRPI_UNROLL_H
#define SRPI_UNROLL_H

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
