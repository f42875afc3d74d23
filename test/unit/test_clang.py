# SPDX-License-Identifier: BSD-2-Clause
"""The other compiler takes everything, and makes kernels that give the same. gcc lets pass what clang does not: an immediate
that is a constant only after a loop was written out, say."""
import pytest

MAKE = ("make", "CC=clang", "BUILD=build/clang", "CFLAGS=-Werror", "all", "c-tests")
PROGRAMS = [(f"build/clang/test/kernel/test_{name}",) for name in ("rows", "rowops", "winograd_f32", "winograd_q8")]


@pytest.mark.beside(MAKE, *PROGRAMS)
def test_clang_compiles_everything_without_a_warning(beside):
    done = beside(MAKE)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for program in PROGRAMS:
        ran = beside(program)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
