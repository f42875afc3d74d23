# SPDX-License-Identifier: BSD-2-Clause
"""scripts/bench/costs.py: its parameters are what it says, and its figures are of what it names."""
import json
import re

import pytest
from bench import costs
from conftest import ROOT
from safetensors.torch import load_file


@pytest.fixture
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("apart", [2, None])
def test_parameters_have_the_groups(tmp_path, apart):
    graph = json.loads((ROOT / "models" / "wdsr2-x2.json").read_text())
    costs.parameters(graph, {"skip": 3}, apart, tmp_path / "p.safetensors")
    tensors = load_file(tmp_path / "p.safetensors")
    assert tensors["skip.weight"].shape == (12, 3, 5, 5)
    assert tensors["skip.scale"].shape == (12, 3)
    assert tensors["tail.scale"].shape == (12,)
    octaves = (tensors["skip.scale"].float() / tensors["skip.scale"].float().min()).log2()
    assert ((octaves == octaves.round()).all() and octaves.max() == 2) == (apart == 2)
    assert all(f"{node['name']}.weight" in tensors for node in graph["nodes"] if node["op"] == "conv2d")


def test_parameters_have_the_16_bits(tmp_path):
    graph = json.loads((ROOT / "models" / "wdsr2-x2.json").read_text())
    costs.parameters(graph, {}, None, tmp_path / "p.safetensors", ["x", "h2"])
    tensors = load_file(tmp_path / "p.safetensors")
    assert {"x.input_range16", "h2.range16", "h1.range"} < tensors.keys()
    assert not {"x.input_range", "h2.range", "y.range", "y.range16"} & tensors.keys()


def test_16_bits_of_one_graph(build, in_root, monkeypatch, capsys):
    monkeypatch.setattr(costs, "SIXTEEN", {"wdsr2-x2": ["x"]})
    costs.sixteen(build, "best", 1)
    assert re.fullmatch(r"best wdsr2-x2 16 bits of x: [+-]\d+\.\d % of \d+\.\d\d ms\n", capsys.readouterr().out)


def test_groups_of_one_graph(build, in_root, monkeypatch, capsys):
    monkeypatch.setattr(costs, "GROUPS", {"edge8-x2": [("body1", 2)]})
    costs.groups(build, "best", 1)
    assert re.fullmatch(r"best edge8-x2 body1, 2 groups: ([+-]\d+\.\d(, )?){3} % of \d+\.\d\d ms, "
                        r"up to 3, 5 octaves apart, by chance\n", capsys.readouterr().out)


def test_variants_take_turns(build, in_root):
    times, reports = costs.least(build, "scalar", 1, [["--graph", "models/edge8-x2.json", "--size", size]
                                                      for size in ("16x8", "32x8")])
    assert [report["width"] for report in reports] == [16, 32]
    assert all(report["isa"] == "scalar" for report in reports)
    assert times == [report["ms_min"] for report in reports]
