# SPDX-License-Identifier: BSD-2-Clause
"""int8: how far it is from f32 on pictures, and which parameters are refused. Its bits: test_int8_reference.py."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "clips"
sys.path.insert(0, str(Path(__file__).resolve().parent))

import int8_graphs as graphs  # noqa: E402
import srp  # noqa: E402

F, D = np.float32, np.float64


@pytest.fixture
def aid(build, tmp_path):
    return graphs.Aid(build, tmp_path)


def frame(clip, width, height):
    """One luma picture [H][W][1] of a clip."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-vf", f"select=gte(n\\,20),scale={width}:{height}",
                           "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 1)


GENERAL = sorted((ROOT / "models" / "general").glob("*.safetensors"))


@pytest.fixture(scope="module")
def pictures():
    clips = sorted(p for p in CLIPS.iterdir() if p.suffix in (".mp4", ".mpg")) if CLIPS.is_dir() else []
    return {p.name: frame(p, 240, 136) for p in clips} or {"drawn": graphs.picture(136, 240, 1, 5)}


@pytest.mark.parametrize("path", GENERAL, ids=lambda p: p.stem)
def test_quality(aid, build, pictures, path):
    """int8 against f32 of the general models on real pictures, before rounding to 8 bits."""
    lib = srp.Srp(build / "libsrp.so")
    text = (ROOT / "models" / f"{path.stem}.json").read_bytes()
    graph = json.loads(text)
    route = next((n for n in graph["nodes"] if n["op"] == "route"), {"default": 0})
    model = lib.model(text, path.read_bytes())
    for name, codes in pictures.items():
        codes = np.repeat(codes, graphs.INPUTS[graph["colour"]], axis=2)
        got, _ = aid.run(text, path.read_bytes(), codes, graph["scale"], route["default"])
        wanted = lib.run(model, (codes / 255).astype(F), graph["scale"], srp.REFERENCE)
        psnr = -10 * np.log10(np.mean((got + F(graph["mean"]) - wanted).astype(D) ** 2))
        # streams of sums are requantised by each sum
        assert psnr > (44 if "dydca" in path.stem else 52), (name, psnr)
    lib.free(model)


def test_a_padded_border_is_no_worse_than_the_rest(aid, build):
    """The input's zero point is rounded in padding only: with mean 0.5 the border is off by half a code there."""
    lib = srp.Srp(build / "libsrp.so")
    graph, parameters = graphs.made("edge", 3)
    text, file = json.dumps(graph).encode(), graphs.packed(parameters)
    codes = graphs.picture(40, 40, 1, 3)
    got, _ = aid.run(text, file, codes, 2)
    model = lib.model(text, file)
    wanted = lib.run(model, (codes / 255).astype(F), 2, srp.REFERENCE) - F(0.5)
    lib.free(model)
    error = np.abs(got - wanted)
    inner = error[16:-16, 16:-16].mean()
    border = np.concatenate([error[:4].ravel(), error[-4:].ravel()]).mean()
    assert 0 < inner < 0.02 and border < 2 * inner + 0.002


# ---- what is refused at load ---------------------------------------------------------------------

def for_refusals():
    """x -conv a-> h -tanh conv c-> g -concat-> k (h and g) -conv t-> t -> y, with ranges, codes of `a` and groups of `t`."""
    graph = graphs.whole("bad", "y", 2, 0.5, [
        graphs.conv("a", "x", "h", 5, activation="relu"), graphs.conv("c", "h", "g", 7, activation="tanh"),
        graphs.node("concat", "j", ["h", "g"], "k"), graphs.conv("t", "k", "t", 4),
        graphs.node("depth_to_space", "s", ["t"], "y", block=2)])
    parameters = graphs.parameters_of(graph, 1)
    for t in ("h", "g", "k", "t"):
        parameters[f"{t}.range"] = np.array([-1, 1], F)
    for name, groups in (("a", 1), ("t", 3)):
        shape = parameters[f"{name}.weight"].shape
        parameters[f"{name}.weight"] = np.random.default_rng(2).integers(-127, 128, shape).astype(np.int8)
        parameters[f"{name}.scale"] = np.full((shape[0], groups), 0.01, F)
    return graph, parameters


def put(array, at, value):
    array = array.copy()
    array[at] = value
    return array


BAD = {
    # id: (what changes, {name: array, or a function of the good one, or None: gone}, the line)
    "range missing": ({"t.range": None}, "tensor 't.range' is missing where others have a range"),
    "range nan": ({"h.range": lambda r: put(r, 0, np.nan)}, "tensor 'h.range': element 0 is NaN"),
    "range reversed": ({"h.range": lambda r: -r}, "tensor 'h.range': 1 to -1 is no range"),
    "range16 nan": ({"h.range": None, "h.range16": np.array([np.nan, 1], F)}, "tensor 'h.range16': element 0 is NaN"),
    "range16 reversed": ({"h.range": None, "h.range16": np.array([1, -1], F)}, "tensor 'h.range16': 1 to -1 is no range"),
    "range16 empty": ({"h.range": None, "h.range16": np.array([0, 0], F)}, "tensor 'h.range16': 0 to 0 is no range"),
    "range16 shape": ({"h.range": None, "h.range16": np.zeros(3, F)}, "tensor 'h.range16': shape [3] where"),
    "range16 codes": ({"h.range": None, "h.range16": np.array([-1, 1], np.int8)}, "tensor 'h.range16': "),
    "range16 beside range": ({"h.range16": np.array([-1, 1], F)}, "tensors 'h.range' and 'h.range16': one of them"),
    "range16 of tanh": ({"g.range": None, "g.range16": np.array([-1, 1], F)}, "tensor 'g.range16': "),
    "range16 of concat": ({"k.range": None, "k.range16": np.array([-1, 1], F)}, "tensor 'k.range16': "),
    "range of the input": ({"x.input_range": np.array([1, -1], F)}, "tensor 'x.input_range': 1 to -1 is no range"),
    "range of the input's kind": ({"h.input_range": np.array([-1, 1], F)}, "no use for tensor 'h.input_range'"),
    "input's range16 reversed": ({"x.input_range16": np.array([1, -1], F)}, "tensor 'x.input_range16': 1 to -1 is no range"),
    "input's range16 nan": ({"x.input_range16": np.array([-1, np.nan], F)}, "tensor 'x.input_range16': element 1 is NaN"),
    "input's range16 shape": ({"x.input_range16": np.zeros(3, F)}, "tensor 'x.input_range16': shape [3] where"),
    "input's range16 beside range": ({"x.input_range": np.array([-1, 1], F), "x.input_range16": np.array([-1, 1], F)},
                                     "tensors 'x.input_range' and 'x.input_range16': one of them"),
    "input's range16 of another": ({"h.input_range16": np.array([-1, 1], F)}, "no use for tensor 'h.input_range16'"),
    "range16 of the input": ({"x.range16": np.array([-1, 1], F)}, "no use for tensor 'x.range16'"),
    "range16 of the output": ({"y.range16": np.array([-1, 1], F)}, "no use for tensor 'y.range16'"),
    "scale 0": ({"a.scale": lambda s: put(s, (2, 0), 0)}, "tensor 'a.scale': element 2 is 0"),
    "scale -0": ({"a.scale": lambda s: put(s, (2, 0), -0.0)}, "tensor 'a.scale': element 2 is -0"),
    "scale negative": ({"t.scale": lambda s: put(s, (1, 2), -0.5)}, "tensor 't.scale': element 5 is -0.5"),
    "scale infinite": ({"t.scale": lambda s: put(s, (3, 0), np.inf)}, "tensor 't.scale': element 9 is infinite"),
    "scale nan": ({"a.scale": lambda s: put(s, (0, 0), np.nan)}, "tensor 'a.scale': element 0 is NaN"),
    "scale 0 in f16": ({"a.scale": lambda s: put(s, (4, 0), 1e-9).astype(np.float16)}, "tensor 'a.scale': element 4 is 0"),
    "scale infinite in bf16": ({"a.scale": np.full((5, 1), 0x7f80, np.uint16)}, "tensor 'a.scale': element 0 is infinite"),
    "scale as codes": ({"a.scale": np.ones(5, np.int8)}, "tensor 'a.scale': "),
    "scale missing": ({"a.scale": None}, "'a.scale' is missing"),
    "scale of floats": ({"c.scale": np.ones(7, F)}, "tensor 'c.scale'"),
    "scale for too few": ({"a.scale": lambda s: s[:4]}, "tensor 'a.scale': shape [4,1] where"),
    "scale of rank 3": ({"a.scale": lambda s: s[..., None]}, "tensor 'a.scale': shape [5,1,1] where"),
    "groups that do not divide": ({"t.scale": np.full((4, 5), 0.01, F)}, "tensor 't.scale': "),
    "more groups than channels": ({"t.scale": np.full((4, 24), 0.01, F)}, "tensor 't.scale': "),
    "code -128": ({"a.weight": lambda w: put(w, (1, 0, 0, 2), -128)}, "tensor 'a.weight': element 11 is -128"),
    "code -128 with groups": ({"t.weight": lambda w: put(w, (0, 0, 0, 0), -128)}, "tensor 't.weight': element 0 is -128"),
    # whatever the picture: by the bound of the whole network
    "sums beyond 32 bits": ({"a.bias": lambda b: put(b, 3, 1e30)}, "tensor 'a.weight': int8 sums of output channel 3 do not fit"),
    "sums of groups beyond 2^120": ({"t.scale": lambda s: put(s, (1, 2), 1e36)}, "tensor 't' of node 't': its values may pass 2^120"),
    "scale beyond its codes": ({"a.scale": lambda s: put(s, (2, 0), 1e12)}, "tensor 'h' of node 'a': its values may pass 2^29 steps"),
    "ranges below what they hold": ({f"{t}.range": np.array([0, 1e-12], F) for t in "hgk"}, "tensor 'h' of node 'a': its values may pass 2^29 steps"),
    "bias as codes": ({"a.bias": np.zeros(5, np.int8)}, "tensor 'a.bias': "),
}


def refusal(build, graph, parameters):
    """The line that loading ends with."""
    lib = srp.Srp(build / "libsrp.so")
    with pytest.raises(RuntimeError, match="^srp_model_create: -") as caught:
        lib.free(lib.model(json.dumps(graph).encode(), graphs.packed(parameters)))
    return str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters_are_refused(build, case):
    graph, parameters = for_refusals()
    changes, line = BAD[case]
    for name, change in changes.items():
        parameters[name] = change(parameters[name]) if callable(change) else change
    parameters = {n: a for n, a in parameters.items() if a is not None}
    assert line in refusal(build, graph, parameters)


def test_every_path_is_looked_at(build):
    """The dearest path alone has what int8 cannot hold; without ranges it is int8 that is refused, not the file."""
    graph = json.loads((ROOT / "models" / "edge-dyn-x2.json").read_bytes())
    plain = {**graph, "nodes": graph["nodes"][:-1]}
    parameters = graphs.parameters_of(plain, 4)
    graphs.to_codes(plain, parameters, 5, share=1.0)
    deepest = [n["name"] for n in graph["nodes"] if n["op"] == "conv2d"][-1]
    parameters[f"{deepest}.bias"] = np.full_like(parameters[f"{deepest}.bias"], 1e38)
    parameters[f"{deepest}.scale"] = np.array([[0.001, 0.003]] * len(parameters[f"{deepest}.bias"]), F)  # the bias is in no sum
    lib = srp.Srp(build / "libsrp.so")
    lib.free(lib.model(json.dumps(graph).encode(), graphs.packed(parameters)))
    graphs.state_ranges(plain, parameters, 6)
    assert f"' of node '{deepest}': its values may pass 2^120" in refusal(build, graph, parameters)


def test_the_good_ones_are_taken(aid, build):
    """What the cases above change is valid, so each is refused for its change alone."""
    graph, parameters = for_refusals()
    got, tensors = aid.run(json.dumps(graph).encode(), graphs.packed(parameters), graphs.picture(4, 4, 1, 1), 2)
    assert np.isfinite(got).all() and tensors["h"] is not None
    parameters["h.range16"] = parameters.pop("h.range")
    aid.run(json.dumps(graph).encode(), graphs.packed(parameters), graphs.picture(4, 4, 1, 1), 2)


def test_no_more_than_64_groups(build):
    graph = graphs.whole("many", "y", 1, 0.0, [graphs.conv("a", "x", "h", 130, 1), graphs.conv("c", "h", "y", 1, 1)])
    parameters = graphs.parameters_of(graph, 1)
    parameters["c.weight"] = np.ones((1, 130, 1, 1), np.int8)
    parameters["c.scale"] = np.ones((1, 65), F)
    assert "tensor 'c.scale': " in refusal(build, graph, parameters)
    lib = srp.Srp(build / "libsrp.so")
    parameters["c.scale"] = np.ones((1, 26), F)
    lib.free(lib.model(json.dumps(graph).encode(), graphs.packed(parameters)))


@pytest.mark.parametrize("groups, bias, fits", [(1, 0, False), (2, 0, True), (2, 1e30, True), (1, 1e9, False)])
def test_sums_beyond_32_bits_are_refused(aid, groups, bias, fits):
    """Zero points and biases count. With groups the bias is no part of a sum."""
    channels = 512 if bias == 0 else 4
    graph = graphs.whole("deep", "y", 1, 0.5, [graphs.conv("a", "x", "h", channels, 1), graphs.conv("c", "h", "y", 1, 11)])
    parameters = graphs.parameters_of(graph, 1)
    parameters["h.range"] = np.array([-1, 1], F)
    parameters["c.weight"] = np.full((1, channels, 11, 11), 127, np.int8)
    parameters["c.scale"], parameters["c.bias"] = np.full((1, groups), 1e-4, F), np.array([bias], F)
    done = aid.start(json.dumps(graph).encode(), graphs.packed(parameters), graphs.picture(2, 2, 1, 1))
    assert done.returncode == (0 if fits else 2), done.stdout
    assert fits or "tensor 'c.weight': int8 sums of output channel 0 do not fit 32 bits" in done.stdout
