# SPDX-License-Identifier: BSD-2-Clause
"""What codegen/srcc writes: the same bytes each time, loops without stack traffic, one-line refusals."""
import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

import inner_loops

ISAS = ["scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "neon", "dotprod"]
FILES = [*(isa for isa in ISAS if isa != "amx"), "avx512vl"]  # amx is written by hand


def srcc(build, root, to, isa, **environment):
    graphs = [a for g in sorted((root / "models").glob("*.json")) for a in ("--graph", g)]
    return subprocess.run([build / "srcc", "--isa", isa, *graphs, "-o", to], cwd=root,
                          env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.fixture
def root(request):
    return request.config.rootpath


@pytest.mark.parametrize("isa", FILES)
def test_same_bytes_each_time(build, root, tmp_path, isa):
    texts = []
    for i, environment in enumerate([{"LC_ALL": "C", "TZ": "UTC"},
                                     {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}]):
        done = srcc(build, root, tmp_path / f"{i}.c", isa, **environment)
        assert done.returncode == 0, done.stderr
        texts.append((tmp_path / f"{i}.c").read_bytes())
    assert texts[0] == texts[1]
    built = build / "gen" / f"rows_{isa}.c"
    if (build / "obj" / "gen" / f"rows_{isa}.o").exists():
        assert built.read_bytes() == texts[0]
    head = texts[0].decode().splitlines()[:4]
    assert "do not edit" in head[1] and re.search(r"[0-9a-f]{16}", head[2])


def test_inputs_show_in_the_hash(build, root, tmp_path):
    heads = set()
    for isa, graphs in [("avx2", []), ("avx512", []), ("avx2", ["models/edge8-x1.json"])]:
        options = [a for g in graphs for a in ("--graph", g)]
        subprocess.run([build / "srcc", "--isa", isa, *options, "-o", tmp_path / "x.c"], cwd=root,
                       check=True)
        heads.add(re.search(r"[0-9a-f]{16}", (tmp_path / "x.c").read_text())[0])
    assert len(heads) == 3


def test_refusals_are_one_line(build, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": "srp-graph"')
    for options in (["--isa", "avx2", "--graph", broken, "-o", tmp_path / "x.c"],
                    ["--isa", "avx2", "--graph", tmp_path / "none.json", "-o", tmp_path / "x.c"],
                    ["--isa", "avx2", "-o", tmp_path / "no" / "x.c"]):
        done = subprocess.run([build / "srcc", *options], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("srcc: ") and done.stderr.count("\n") == 1
    for options in (["--isa", "mmx", "-o", "x"], [], ["--isa"], ["--isa", "avx2"]):
        done = subprocess.run([build / "srcc", *options], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("usage: srcc")


def test_inner_loops_keep_off_the_stack(build):
    objects = sorted(p for p in (build / "obj" / "gen").glob("rows_*.o") if "scalar" not in p.name)
    if platform.machine() in ("x86_64", "aarch64"):
        assert objects
    for path in objects:
        tiles, bad = inner_loops.check(path)
        assert tiles > 20, path
        assert not bad, "\n".join(bad[:20])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have no such kernels")
def test_inner_loops_of_winograd_keep_off_the_stack(build):
    for name in ("_q8_avx2", "_q8_avx512", "_q8_overlap512", "_f32_avx2", "_f32_wide_avx2",
                 "_f32_avx512"):
        count, bad = inner_loops.check_winograd(
            build / "obj" / "runtime" / "kernels" / f"winograd{name}.o")
        assert count > 100, name
        assert not bad, "\n".join(bad[:20])


def test_srp_cpu_is_an_upper_bound(build):
    def listed(mask):
        environment = {k: v for k, v in os.environ.items() if k != "SRP_CPU"}
        lines = subprocess.run([build / "test" / "kernel" / "aid_rows", "list"], text=True,
                               env={**environment, **mask}, check=True, capture_output=True)
        return lines.stdout.split()
    *names, best = listed({})
    assert best == names[-1]
    assert listed({"SRP_CPU": "unheard-of"})[-1] == best
    for isa in ISAS:
        chosen = listed({"SRP_CPU": isa})[-1]
        assert ISAS.index(chosen) <= ISAS.index(isa)
        assert chosen == isa or isa not in names


AVXVNNI_MAIN = """
#include "kernel/rows.h"

int main(void)
{
    const struct srpi_kernels *k = &srpi_rows_avxvnni.kernels;
    const char *why = check_random(k, 400);
    why = why != NULL ? why : check_widths(k);
    why = why != NULL ? why : check_few(k);
    why = why != NULL ? why : check_made(k);
    why = why != NULL ? why : check_golden(k);
    puts(why != NULL ? why : "ok");
    return why != NULL;
}
"""


def test_avxvnni_on_avx512(build, root, tmp_path):
    """Few machines have AVX-VNNI; AVX-512 has the same product of 256 bits under another name."""
    flags = Path("/proc/cpuinfo").read_text().split() if platform.machine() == "x86_64" else []
    if "avx512_vnni" not in flags or "avx512vl" not in flags:
        pytest.skip("this processor has no AVX-512 VNNI")
    (tmp_path / "kernels").mkdir()
    for name in ("vector_avxvnni.h", "row_few_avxvnni.c"):
        text = (root / "runtime" / "kernels" / name).read_text()
        assert text.count("_mm256_dpbusd_avx_epi32") == 1
        (tmp_path / "kernels" / name).write_text(
            text.replace("_mm256_dpbusd_avx_epi32", "_mm256_dpbusd_epi32"))
    assert srcc(build, root, tmp_path / "rows.c", "avxvnni").returncode == 0
    (tmp_path / "main.c").write_text(AVXVNNI_MAIN)
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O1", "-D_GNU_SOURCE", "-mavx2", "-mfma",
                    "-mavx512vl", "-mavx512vnni", "-ffp-contract=off", f"-I{tmp_path}",
                    "-Iruntime/include", "-Iruntime", "-Itest", "-DSRPI_ROWS_avxvnni",
                    tmp_path / "main.c", tmp_path / "rows.c",
                    tmp_path / "kernels" / "row_few_avxvnni.c", build / "libsrp.a", "-lm", "-o", tmp_path / "check"],
                   cwd=root, check=True)
    done = subprocess.run([tmp_path / "check"], capture_output=True, text=True)
    assert done.stdout == "ok\n" and done.returncode == 0
