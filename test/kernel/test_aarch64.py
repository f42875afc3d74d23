# SPDX-License-Identifier: BSD-2-Clause
"""The AArch64 row kernels: cross-built, run under qemu-user, and looked at for stack traffic."""
import subprocess

import inner_loops


def test_aarch64(request):
    root = request.config.rootpath
    done = subprocess.run(["make", "aarch64"], cwd=root, capture_output=True, text=True,
                          timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("scalar: ok", "neon: ok", "dotprod: ok"):
        assert line in done.stdout.splitlines()
    # the second processor has no dot products
    assert done.stdout.splitlines().count("neon: ok") == 2
    assert done.stdout.splitlines().count("dotprod: ok") == 1
    for isa in ("neon", "dotprod"):
        tiles, bad = inner_loops.check(root / "build" / "aarch64" / "obj" / "gen" / f"rows_{isa}.o",
                                       "aarch64-linux-gnu-objdump")
        assert tiles > 20
        assert not bad, "\n".join(bad[:20])
