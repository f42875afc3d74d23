/* SPDX-License-Identifier: BSD-2-Clause */
/* unroll.h - loops that are written out. UNROLL stands in front of one whose count is a constant of
 * at most 16: its arrays of vectors stay in registers only so. */
#ifndef SRPI_UNROLL_H
#define SRPI_UNROLL_H

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* `shuffle` (an intrinsic) that gives all of each four values the one of number k, which becomes a
 * constant only when its loop is written out: clang wants one that is written as such. */
#define OF_FOUR(shuffle, v, k) \
    ((k) == 0   ? shuffle(v, 0x00) \
     : (k) == 1 ? shuffle(v, 0x55) \
     : (k) == 2 ? shuffle(v, 0xaa) \
                : shuffle(v, 0xff))

#endif
