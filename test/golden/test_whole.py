# SPDX-License-Identifier: BSD-2-Clause
"""Whole networks of models/ in int8 give the bytes that aid_whole.c states, on every instruction set of this machine
(test/kernel/test_aarch64.py asks AArch64 for the same); and those of the tensors are NumPy's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

from int8_reference import CHANNELS, F, Network, path_of, read_parameters  # noqa: E402

NETWORKS = ["edge16-x1", "edge16-x2", "edge16-x3", "edge16-x4", "edge8-x3", "espcn-x3", "edge-dyn-x2", "wdsr2-x2"]
MODELS = ROOT / "models"
SEED = 7


def run(program, *arguments, isa=None):
    environment = {k: v for k, v in os.environ.items() if k != "SRP_CPU"}
    if isa:
        environment["SRP_CPU"] = isa
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture(scope="module")
def program(build):
    return build / "test/golden/aid_whole"


@pytest.fixture(scope="module")
def stated(program):
    """{network: [weights, width, height, channels, scale, hash of the tensor, hash of the picture]}"""
    rows = [line.split() for line in run(program, "list", MODELS).stdout.splitlines()]
    return {name: [weights, *map(int, numbers[:4]), *(int(h, 16) for h in numbers[4:])] for name, weights, *numbers in rows}


@pytest.fixture(scope="module")
def results(program, tmp_path_factory):
    """The folder with int8's results."""
    folder = tmp_path_factory.mktemp("whole")
    done = run(program, "write", "int8", MODELS, folder)
    assert done.returncode == 0, done.stderr
    return folder


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def test_every_instruction_set(build, program):
    sets = run(build / "test/kernel/aid_rows", "list").stdout.split()[:-1]  # the last line is the one chosen
    assert "scalar" in sets
    for isa in sets:
        done = run(program, "check", MODELS, isa=isa)
        assert done.stdout == f"{isa}: networks ok\n" and done.returncode == 0, done.stdout + done.stderr


def test_the_check_notices_another_model(program, tmp_path):
    shutil.copytree(MODELS, tmp_path / "models", ignore=shutil.ignore_patterns("demo*"))
    path = tmp_path / "models" / "edge16-x2.json"
    path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.4375'))
    done = run(program, "check", tmp_path / "models")
    assert done.returncode == 1 and "networks ok" not in done.stdout
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == ["edge16-x2"]


# ---- NumPy ---------------------------------------------------------------------------------------

def random_parameters(graph):
    """What srp_model_create_random makes: SplitMix64, its upper 24 bits as -1 <= value < 1."""
    state = SEED

    def draw(count, amplitude):
        nonlocal state
        z = np.uint64(state) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        state = (state + count * 0x9e3779b97f4a7c15) % 2**64
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        z ^= z >> np.uint64(31)
        return ((z >> np.uint64(40)).astype(F) * F(2.0**-23) - F(1)) * F(amplitude)

    parameters, channels = {}, {graph["input"]: CHANNELS[graph["colour"]]}
    for node in graph["nodes"]:
        a, out = node["inputs"][0], node["output"]
        channels[out] = node.get("channels", channels[a])
        if node["op"] == "depth_to_space":
            channels[out] = channels[a] // node["block"] ** 2
        if node["op"] == "conv2d":
            shape = (channels[out], channels[a], *node["kernel"])
            count = int(np.prod(shape))
            spread = np.sqrt(F(3) * F(shape[0]) / F(count))
            parameters[f"{node['name']}.weight"] = draw(count, spread).reshape(shape)
            parameters[f"{node['name']}.bias"] = draw(shape[0], 0.05)
            assert node.get("activation") != "prelu"
    return parameters


def default_path(graph):
    route = next((n for n in graph["nodes"] if n["op"] == "route"), None)
    return graph if route is None else path_of(graph, route["default"])


def test_the_table_is_whole(stated):
    assert list(stated) == NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_hashes(stated, results, name):
    weights, width, height, channels, scale, tensor_hash, picture_hash = stated[name]
    graph = json.loads((MODELS / f"{name}.json").read_text())
    if weights == "general":
        parameters = read_parameters((MODELS / "general" / f"{name}.safetensors").read_bytes())
    else:
        parameters = random_parameters(graph)
    codes = np.fromfile(results / f"{name}.codes", np.uint8).reshape(height, width, channels)
    assert codes.std() > 30
    mean = F(graph.get("mean", 0))
    tensor = Network(default_path(graph), parameters).run(codes) + mean
    assert fnv(tensor.astype("<f4").tobytes()) == tensor_hash
    got = np.fromfile(results / f"{name}.tensor", F).reshape(tensor.shape)
    assert got.tobytes() == tensor.astype("<f4").tobytes(), np.abs(got - tensor).max()
    picture = np.fromfile(results / f"{name}.picture", np.uint8)
    assert fnv(picture.tobytes()) == picture_hash
    # where luma is the network's alone: it rounds 255 times the tensor, but sums in another order
    if name in ("edge16-x1", "edge16-x2", "espcn-x3"):
        luma = picture[:got.size].astype(int)
        off = np.abs(luma - np.clip(np.rint(got.ravel().astype(float) * 255), 0, 255).astype(int))
        assert off.max() <= 1 and (off > 0).mean() < 0.002
