# SPDX-License-Identifier: BSD-2-Clause
"""int8 execution, bit by bit: int8_reference.py against the library, its reference in C and its native executor on each
instruction set that the machine has."""

import ctypes
import ctypes.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import int8_graphs as graphs  # noqa: E402
import int8_reference as reference  # noqa: E402

F = np.float32
GENERAL = sorted((ROOT / "models" / "general").glob("*.safetensors"))
SEEDS = range(64)


@pytest.fixture
def aid(build, tmp_path):
    return graphs.Aid(build, tmp_path)


def bits(array):
    return np.ascontiguousarray(array, F).view(np.uint32)


def differences(got, expected):
    """None, or where the first difference is and how many there are."""
    wrong = np.argwhere(bits(got) != bits(expected))
    if len(wrong) == 0:
        return None
    at = tuple(int(i) for i in wrong[0])
    return f"{len(wrong)} of {got.size} values, first at {at}: {got[at]!r}, not {expected[at]!r}"


def check(aid, graph, file, sizes, seed=1, path=None):
    """graph: the object; file: the parameters' bytes; path: None where the graph has no route."""
    text = json.dumps(graph).encode()
    network = reference.Network(graph if path is None else reference.path_of(graph, path), reference.read_parameters(file))
    for h, w in sizes:
        codes = graphs.picture(h, w, graphs.INPUTS[graph["colour"]], seed)
        if network.tensors[network.input].wide:
            codes = codes * np.uint16(256) + np.random.default_rng(seed).integers(0, 256, codes.shape, np.uint16)
        expected = network.run(codes)
        assert np.isfinite(expected).all()
        got, tensors = aid.run(text, file, codes, graph["scale"], path or 0)
        assert {t: n for t, n in tensors.items() if n} == {t: q.exact for t, q in network.tensors.items()}
        assert differences(got, expected) is None
        for cpu in aid.sets():
            got = aid.run_native(cpu, text, file, codes, graph["scale"], path or 0)
            assert differences(got, expected + F(graph.get("mean", 0))) is None, cpu
    return network


def test_fma_is_that_of_the_c_library():
    fmaf = ctypes.CDLL(ctypes.util.find_library("m")).fmaf
    fmaf.argtypes, fmaf.restype = [ctypes.c_float] * 3, ctypes.c_float
    rng = np.random.default_rng(5)
    a, b, c = (rng.normal(0, 1, 40000).astype(F) * F(2) ** rng.integers(-9, 9, 40000).astype(F) for _ in range(3))
    # c + 2^-24 is a tie in single precision. The product is 2^-24 -+ 2^-54, for which the sum in double has no room.
    c[:8000] = 1 + rng.integers(0, 2**23, 8000).astype(F) * F(2.0**-23)
    a[:4000], b[:4000] = F(1 + 2.0**-15), F(2.0**-24) * F(1 - 2.0**-15)
    a[4000:8000], b[4000:8000] = F(13325), F(80581) * F(2.0**-54)  # 13325 * 80581 = 2^30 + 1
    a[:8000:2] *= -1
    c[2000:6000] *= -1
    c[8000:12000] = -(a * b)[8000:12000]        # nearly nothing is left
    a[12000:16000] *= F(2.0**-70)               # subnormal results
    b[12000:16000] *= F(2.0**-70)
    c[12000:16000] *= F(2.0**-130)
    c[16000:18000] *= F(2.0**60)
    expected = np.array([fmaf(*map(float, row)) for row in zip(a, b, c)], F)
    twice = (a.astype(float) * b + c).astype(F)
    assert (bits(twice) != bits(expected)).sum() > 1000  # what rounding twice would give is another thing
    assert np.array_equal(bits(reference.fma(a, b, c)), bits(expected))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("form", ["calibrated", "stated", "codes", "wide", "wide codes"])
@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_bits(aid, name, form, seed):
    graph, parameters = graphs.made(name, seed)
    if "codes" in form:
        graphs.to_codes(graph, parameters, seed)
    if "wide" in form or form == "stated":  # ranges that saturate, and that activations would not allow
        graphs.state_ranges(graph, parameters, seed, wide=0.7 if "wide" in form else 0.0)
    check(aid, graph, graphs.packed(parameters), [(13, 22)] if seed == 1 else [(12, 5), (1, 1)], seed)


def test_groups_read_the_code_alone_where_the_output_has_codes(aid):
    """A tensor of 16 bits between two convolutions, of which the second has groups and writes a Q8 tensor: it is read as one
    of 8 bits, zero point and all."""
    graph = graphs.whole("few", "y", 1, 0.0, [graphs.conv("a", "x", "h", 4, 1), graphs.conv("c", "h", "g", 3, 1),
                                              graphs.conv("t", "g", "y", 1, 1)])
    parameters = graphs.parameters_of(graph, 1)
    parameters["h.range16"], parameters["g.range"] = np.array([-2, 2], F), np.array([-2, 2], F)
    parameters["c.weight"] = np.full((3, 4, 1, 1), 100, np.int8)
    parameters["c.scale"] = np.full((3, 2), 0.004, F)
    check(aid, graph, graphs.packed(parameters), [(9, 9)])


@pytest.mark.parametrize("mean", [0.0, 0.4488])
@pytest.mark.parametrize("cells", [1, 2], ids=["one scale", "groups"])
def test_an_input_of_16_bits(aid, mean, cells):
    """Layers to f32, residuals and sums read all of it; layers to codes, and what moves codes, the code alone."""
    graph = graphs.whole("fine", "yuv420", 2, mean, [
        graphs.conv("head", "x", "h", 16), graphs.conv("c", "h", "g", 6, activation="relu"),
        graphs.node("add", "s0", ["g", "x"], "i"), graphs.node("mul", "m", ["x", "i"], "j"),
        graphs.node("slice", "part", ["x"], "p", first=2, channels=3), graphs.conv("of_part", "p", "q", 6, 1),
        graphs.node("add", "s1", ["j", "q"], "k"), graphs.conv("tail", "k", "t", 24), graphs.conv("skip", "x", "s", 24, 5),
        graphs.node("add", "sum", ["t", "s"], "u"), graphs.node("depth_to_space", "shuffle", ["u"], "v", block=2),
        graphs.node("resize", "base", ["x"], "b", scale=2, mode="bicubic"), graphs.node("add", "end", ["v", "b"], "y")])
    parameters = graphs.parameters_of(graph, 7)
    if cells > 1:
        for n in ("skip", "tail"):
            shape = parameters[f"{n}.weight"].shape
            parameters[f"{n}.weight"] = np.random.default_rng(3).integers(-127, 128, shape).astype(np.int8)
            parameters[f"{n}.scale"] = np.random.default_rng(4).uniform(1e-4, 1e-3, (shape[0], cells)).astype(F)
    graphs.state_ranges(graph, parameters, 1)
    parameters["x.input_range16"] = np.array([-0.55, 0.61], F)
    network = check(aid, graph, graphs.packed(parameters), [(13, 22), (1, 2)])
    assert network.tensors["x"].wide
    fine = np.full((6, 8, 6), 0x40ff, np.uint16)
    assert differences(network.run(fine), network.run(fine & 0xff00)) is not None


@pytest.mark.parametrize("shifts", [None, 0, 2, 4, 8], ids=lambda s: "apart" if s is None else f"by {s}")
@pytest.mark.parametrize("wide", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("kernel, channels, groups", [
    ([5, 5], 3, 3), ([3, 3], 3, 3), ([3, 3], 6, 2), ([3, 3], 10, 5), ([5, 5], 8, 8), ([1, 3], 4, 4), ([3, 1], 9, 3),
    ([1, 1], 12, 3), ([11, 11], 2, 2), ([3, 3], 32, 2), ([3, 3], 64, 4), ([3, 3], 16, 2), ([3, 3], 96, 2)])
def test_groups(aid, kernel, channels, groups, wide, shifts):
    """Narrow groups and wide ones, in a layer to codes and in one to f32 that reads the input or 16 bits; scales by chance, or
    up to so many powers of two apart."""
    graph = graphs.whole("groups", "rgb", 2, 0.4488, [
        graphs.conv("head", "x", "h", channels, 1), graphs.conv("a", "h", "g", 13, kernel, activation="relu"),
        graphs.conv("c", "h", "f", 48, kernel), graphs.conv("e", "f", "e", 12, 1), graphs.conv("t", "g", "t", 12),
        graphs.conv("skip", "h" if wide else "x", "s", 12, kernel), graphs.node("add", "sum", ["t", "s"], "u"),
        graphs.node("add", "last", ["u", "e"], "v"), graphs.node("depth_to_space", "shuffle", ["v"], "y", block=2)])
    parameters = graphs.parameters_of(graph, channels)
    rng = np.random.default_rng(channels + groups)
    for n, count in (("a", groups), ("c", groups), ("skip", groups if wide else 3)):
        shape = parameters[f"{n}.weight"].shape
        parameters[f"{n}.weight"] = rng.integers(-127, 128, shape).astype(np.int8)
        parameters[f"{n}.scale"] = (rng.uniform(0.3, 1.7, (shape[0], count)) / 73 / np.sqrt(np.prod(shape[1:]))).astype(F)
        if shifts is not None:
            apart = F(2) ** -rng.integers(0, shifts + 1, (shape[0], count)).astype(F)
            parameters[f"{n}.scale"] = parameters[f"{n}.scale"][:, :1] * apart
            parameters[f"{n}.weight"] //= np.int8(3)  # so that most layers' sums are below 2^24
    for t in "hgfestu":
        parameters[f"{t}.range16" if wide and t in "hf" else f"{t}.range"] = np.array([-1.1, 1.4], F)
    parameters["v.range"] = np.array([-1, 1], F)
    check(aid, graph, graphs.packed(parameters), [(9, 53), (6, 7), (1, 2)] if kernel == [5, 5] else [(7, 51), (1, 1)])


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(aid, seed):
    graph, parameters = graphs.drawn(seed)
    check(aid, graph, graphs.packed(parameters), [(11, 9), (1, 2)][:1 + seed % 2], seed)


def test_random_graphs_have_everything():
    """What the definition tells apart occurs among the graphs above, so that none of it goes untested."""
    seen = set()
    for seed in SEEDS:
        graph, parameters = graphs.drawn(seed)
        if not any(".range" in name for name in parameters):  # the steps are the same, and measuring takes long
            graphs.state_ranges(graph, parameters, seed)
        network = reference.Network(graph, parameters)
        kinds = [kind for kind in ("input_range", "input_range16") if f"x.{kind}" in parameters]
        seen.add(f"input {kinds[0] if kinds else 'samples'}")
        seen |= {f"{s.node['op']} {s.last.get('activation', 'none')}" for s in network.steps}
        seen |= {f"{s.node['op']} {s.node.get('mode', s.node.get('order', ''))}" for s in network.steps}
        for s in network.steps:
            q8 = "q8" if s.output in network.q8 else "f32"
            wide = [t for t in s.inputs if t in network.q8 and network.tensors[t].wide]
            seen |= {f"{s.node['op']} reads 16 bits to {q8}"} if wide else set()
            if s.conv:
                seen.add(f"conv to {q8}")
                scale = parameters.get(f"{s.node['name']}.scale", np.ones(1))
                if scale.ndim == 2 and scale.shape[1] > 1:
                    a = network.tensors[s.inputs[0]]
                    wq, sw = network.joined(s, a, *network.weights(s.node["name"], a.scale))
                    sums = "groups" if sw.shape[1] > 1 else f"joined {8 if np.abs(wq).max() < 128 else 16} bits"
                    seen |= {f"{sums} to {q8}", f"{sums} {s.residual is not None}"}
            if s.residual:
                r = network.tensors.get(s.residual)
                seen.add(f"residual {'f32' if r is None else 'wide' if r.wide else 'q8'} to {q8}")
            if s.moves and s.output in network.q8:
                seen |= {f"moved {network.tensors[t].exact == network.tensors[s.output].exact}" for t in s.inputs}
        seen |= {f"wide {s.node['op']}" for s in network.steps if s.output in network.q8 and network.tensors[s.output].wide}
    activations = ("none", "relu", "leaky_relu", "clip", "tanh", "sigmoid")
    wanted = {
        *(f"{op} {a}" for op in ("conv2d", "add", "mul") for a in activations), "conv2d prelu", "concat none", "slice none",
        "resize nearest", "resize bilinear", "resize bicubic", "depth_to_space dcr", "depth_to_space ", "conv to q8", "conv to f32",
        "input input_range", "input input_range16", "input samples", "moved True", "moved False", "wide conv2d", "wide add",
        "wide mul", *(f"residual {r} to {o}" for r in ("f32", "q8", "wide") for o in ("q8", "f32")),
        *(f"{g} {what}" for g in ("groups", "joined 8 bits", "joined 16 bits") for what in ("to q8", "to f32", True, False)),
        *(f"{op} reads 16 bits to {o}" for op in ("conv2d", "add", "mul") for o in ("q8", "f32")),
        "slice reads 16 bits to q8", "resize reads 16 bits to q8", "depth_to_space reads 16 bits to q8",
    }
    assert wanted - seen == set()


@pytest.mark.parametrize("path", GENERAL, ids=lambda p: p.stem)
def test_general_models(aid, path):
    graph = json.loads((ROOT / "models" / f"{path.stem}.json").read_bytes())
    route = next((n for n in graph["nodes"] if n["op"] == "route"), None)
    for index in range(len(route["inputs"])) if route else [None]:
        check(aid, graph, path.read_bytes(), [(23, 37)], path=index)


@pytest.mark.parametrize("name", ["espcn-x3", "edge8-x1", "wdsr2-x4"])
def test_other_models(aid, name):
    graph = json.loads((ROOT / "models" / f"{name}.json").read_bytes())
    check(aid, graph, graphs.packed(graphs.parameters_of(graph, 3)), [(23, 37)])


@pytest.mark.parametrize("form", ["calibrated", "wide codes"])
@pytest.mark.parametrize("name, path", [(n, p) for n, c in (("edge-dyn-x2", 3), ("edge-dyn-x3", 3), ("dydca-x2", 3))
                                        for p in range(c)])
def test_paths(aid, name, path, form):
    graph = json.loads((ROOT / "models" / f"{name}.json").read_bytes())
    assert len(graph["nodes"][-1]["inputs"]) == 3
    plain = {**graph, "nodes": graph["nodes"][:-1]}
    parameters = graphs.parameters_of(plain, 4)
    if form != "calibrated":
        graphs.to_codes(plain, parameters, 5)
        graphs.state_ranges(plain, parameters, 6, wide=0.6)
    check(aid, graph, graphs.packed(parameters), [(9, 14)], path=path)


def test_the_program(build, aid, tmp_path):
    """The reference as a program, on a path; BF16 scales are read."""
    graph = json.loads((ROOT / "models" / "edge-dyn-x2.json").read_bytes())
    plain = {**graph, "nodes": graph["nodes"][:-1]}
    parameters = graphs.parameters_of(plain, 4)
    graphs.to_codes(plain, parameters, 1, share=1.0)
    assert any(a.dtype == np.uint16 for a in parameters.values())
    codes = graphs.picture(5, 6, 1, 1)
    got, _ = aid.run(json.dumps(graph).encode(), graphs.packed(parameters), codes, 2, path=1)
    subprocess.run([sys.executable, Path(reference.__file__), "g.json", "p.safetensors", "6", "5", "in", "mine", "1"],
                   cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "mine").read_bytes() == got.tobytes()


def test_sums_beyond_32_bits_are_refused():
    graph = graphs.whole("deep", "y", 1, 0.0, [graphs.conv("a", "x", "h", 512, 1, activation="relu"),
                                               graphs.conv("c", "h", "y", 1, 11)])
    parameters = graphs.parameters_of(graph, 1)
    parameters["c.weight"] = np.full((1, 512, 11, 11), 127, np.int8)  # 256 * 127 * 61952 is just below 2^31
    parameters["c.scale"], parameters["c.bias"] = np.ones(1, F), np.zeros(1, F)
    for t, fits in (([0, 1], True), ([-0.1, 1], False)):
        network = reference.Network(graph, {**parameters, "h.range": np.array(t, F)})
        if fits:
            network.run(np.zeros((1, 1, 1), np.uint8))
        else:
            with pytest.raises(reference.Refused):
                network.run(np.zeros((1, 1, 1), np.uint8))
