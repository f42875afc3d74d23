# SPDX-License-Identifier: BSD-2-Clause
"""The other compiler takes everything, and makes kernels that give the same. gcc lets pass what clang does not: an immediate
that is a constant only after a loop was written out, say."""
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_clang_compiles_everything_without_a_warning():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(["make", "-j2", "CC=clang", "BUILD=build/clang", "CFLAGS=-Werror", "all", "c-tests"], cwd=ROOT,
                          env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for name in ("rows", "rowops", "winograd_f32", "winograd_q8"):
        ran = subprocess.run([ROOT / "build/clang/test/kernel" / f"test_{name}"], capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
