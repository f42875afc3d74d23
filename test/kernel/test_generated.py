# SPDX-License-Identifier: BSD-2-Clause
"""What codegen/srcc writes: the same bytes each time, loops without stack traffic, one-line refusals."""
import os
import platform
import re
import subprocess

import pytest

import inner_loops

ISAS = ["scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "neon", "dotprod"]


def srcc(build, root, to, isa, **environment):
    graphs = [a for g in sorted((root / "models").glob("*.json")) for a in ("--graph", g)]
    return subprocess.run([build / "srcc", "--isa", isa, *graphs, "-o", to], cwd=root,
                          env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.fixture
def root(request):
    return request.config.rootpath


@pytest.mark.parametrize("isa", ISAS)
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
