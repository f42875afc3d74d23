# SPDX-License-Identifier: BSD-2-Clause
"""models/*.json and their generator agree, and the families are what models/README.md says."""

import json
import pathlib
import subprocess
import sys

import pytest

from srpack import graph, models

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAPHS = models.all_models()
# Parameters, multiply-accumulates per low-resolution pixel; counted by hand from the layers.
COSTS = {
    "edge16-x4": (9 * 16 + 16 + 4 * (9 * 256 + 16) + 9 * 256 + 16, 9 * 16 + 4 * 9 * 256 + 9 * 256),
    "edge16-x1": (9 * 16 + 16 + 4 * (9 * 256 + 16) + 9 * 16 + 1, 9 * 16 + 4 * 9 * 256 + 9 * 16),
    "edge8-x2": (9 * 8 + 8 + 4 * (9 * 64 + 8) + 9 * 32 + 4, 9 * 8 + 4 * 9 * 64 + 9 * 32),
    "espcn-x3": (
        25 * 64 + 64 + 9 * 64 * 32 + 32 + 9 * 32 * 9 + 9,
        25 * 64 + 9 * 64 * 32 + 9 * 32 * 9,
    ),
    "wdsr4-x2": (None, 152676),
    "wdsr2-x2": (None, 78948),
    "wdsr16-x2": (None, 1184868),
    "wdsr4-x4": (None, 165744),
    "wdsr2-x3": (None, 84393),
    "wdsr16-x4": (None, 1197936),
}


def test_files_are_what_the_generator_writes():
    shipped = {path.stem for path in (ROOT / "models").glob("*.json")}
    # `srpack import` puts a user's own graphs here, each with its parameters beside it.
    own = {path.stem for path in (ROOT / "models").glob("*.safetensors")}
    assert not own & GRAPHS.keys() and shipped - own == GRAPHS.keys()
    for name, value in GRAPHS.items():
        text = (ROOT / "models" / f"{name}.json").read_text(encoding="utf-8")
        assert text == models.dump(value)
        assert json.loads(text) == value


def test_command_writes_the_same_bytes(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "srpack.models", "--write", "--directory", tmp_path],
        check=True,
        cwd=ROOT / "scripts",
        timeout=60,
    )
    assert {path.stem for path in tmp_path.iterdir()} == GRAPHS.keys()
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ROOT / "models" / path.name).read_bytes()


def test_expected_names():
    expected = {f"{family}-x{scale}" for family in ("edge16", "edge8") for scale in (1, 2, 3, 4)}
    expected |= {
        f"{family}-x{scale}"
        for family in ("espcn", "wdsr2", "wdsr4", "wdsr16")
        for scale in (2, 3, 4)
    }
    expected |= {f"dydca-x{scale}" for scale in (2, 3, 4)}
    expected |= {f"edge-dyn-x{scale}" for scale in (1, 2, 3, 4)}
    assert set(GRAPHS) == expected


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_builds_and_has_its_name_scale_and_colour(name):
    module = graph.load_module(GRAPHS[name])
    assert module.graph["name"] == name and name.endswith(f"-x{module.scale}")
    assert module.colour == ("rgb" if name.startswith(("wdsr", "dydca")) else "y")


@pytest.mark.parametrize("name", COSTS)
def test_size_of_the_networks(name):
    module = graph.load_module(GRAPHS[name])
    parameters, macs = COSTS[name]
    assert module.macs_per_pixel == macs
    if parameters is not None:
        assert sum(p.numel() for p in module.named_tensors().values()) == parameters
