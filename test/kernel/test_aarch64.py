# SPDX-License-Identifier: BSD-2-Clause
"""libsrp for AArch64: cross-built, run under qemu-user; row kernels are looked at for stack traffic."""
import subprocess

import inner_loops
import numpy as np
import pytest

TOLERANCE = 2e-5  # f32, of a network whose values are of order 1 (docs/arithmetic.md)
# A processor with dot products (without SVE, which qemu is slow at), the same held to plain C, and
# one without either.
SETS = {"dotprod": ["-cpu", "neoverse-n1", "-U", "SRP_CPU"],
        "scalar": ["-cpu", "neoverse-n1", "-E", "SRP_CPU=scalar"],
        "neon": ["-cpu", "cortex-a72", "-U", "SRP_CPU"]}
MAKE = ("make", "aarch64")

pytestmark = pytest.mark.beside(MAKE)


@pytest.fixture(scope="module")
def made(request, beside):
    """The folder of the programs for AArch64, and what their checks printed."""
    done = beside(MAKE)
    assert done.returncode == 0, done.stdout + done.stderr
    return request.config.rootpath / "build" / "aarch64", done.stdout.splitlines()


def test_rows(made):
    lines = made[1]
    # the second processor has no dot products
    assert [lines.count(f"{isa}: ok") for isa in ("scalar", "neon", "dotprod")] == [2, 2, 1]


def test_rows_stay_in_registers(made):
    for isa in ("neon", "dotprod"):
        tiles, bad = inner_loops.check(made[0] / "obj" / "gen" / f"rows_{isa}.o",
                                       "aarch64-linux-gnu-objdump")
        assert tiles > 20
        assert not bad, "\n".join(bad[:20])


def test_networks_in_int8_give_the_known_hashes(made):
    """The program holds its results to the hashes that test/golden/test_whole.py has on this machine."""
    lines = made[1]
    assert [lines.count(f"{isa}: networks ok") for isa in SETS] == [1, 1, 1]


def test_networks_in_f32(made, build, request, tmp_path):
    """Tensors within the bound of this machine's, pictures within one code."""
    models = request.config.rootpath / "models"

    def write(command, folder):
        (tmp_path / folder).mkdir()
        done = subprocess.run([*command, "write", "f32", models, tmp_path / folder],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip(), tmp_path / folder

    _, mine = write([build / "test" / "golden" / "aid_whole"], "host")
    tensors = sorted(path.name for path in mine.glob("*.tensor"))
    assert len(tensors) >= 8
    for isa, processor in SETS.items():
        ran, theirs = write(["qemu-aarch64", *processor, made[0] / "whole-check"], isa)
        assert ran == isa
        for name in tensors:
            a, b = (np.fromfile(folder / name, np.float32) for folder in (mine, theirs))
            worst = float(np.abs(a - b).max())
            assert worst <= TOLERANCE * max(1.0, float(np.abs(a).max())), (isa, name, worst)
            name = name.replace(".tensor", ".picture")
            a, b = (np.fromfile(folder / name, np.uint8).astype(int) for folder in (mine, theirs))
            assert a.std() > 10 and np.abs(a - b).max() <= 1, (isa, name)
