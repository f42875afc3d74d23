# SPDX-License-Identifier: BSD-2-Clause
"""srpack import: networks written in PyTorch come back with the same output; what cannot be
imported is refused in one line."""
import json
import os
import pathlib
import re
import subprocess
import warnings

import nets
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, srpack
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from srpack import graph as graphs
from srpack import importer, native, pack
from srpack.errors import PackError, UsageError

BUILD = pathlib.Path(os.environ.get("SRP_BUILD", "build"))
SIZES = ((17, 23), (32, 40), (29, 26))
# f32 against f32, in samples 0..1 of networks with outputs around 1: sums in another order.
TOLERANCE = 1e-5
torch.set_num_threads(1)  # for pictures this small, threads cost more than they do


def export(net, path, channels, free=True, size=(20, 24), kind=torch.float32, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), torch.rand(1, channels, *size, dtype=kind), str(path),
                          dynamo=False, input_names=["in"], output_names=["out"], opset_version=17,
                          dynamic_axes={"in": {2: "h", 3: "w"}} if free else None, **more)
    return path


def imported(path, *args):
    """(graph, torch tensors, what --json prints) of a command that must succeed."""
    target = path.with_suffix("")
    result = importer._import(importer.parse([str(path), "-o", str(target), *map(str, args)]),
                              target.parent, target.name)
    return json.loads(target.with_suffix(".json").read_text()), target, result


def both_outputs(target, x):
    """The graph's output by PyTorch and by libsrp's reference and default backends."""
    module = graphs.load_module(target.with_suffix(".json"))
    graphs.load_parameters(module, target.with_suffix(".safetensors"))
    with torch.no_grad():
        yield module(x).numpy()
    engine = native.Model(BUILD / "libsrp.so", target.with_suffix(".json").read_bytes(),
                          target.with_suffix(".safetensors").read_bytes())
    try:
        for backend in (native.REFERENCE, native.AUTO):
            y = engine.run(x[0].numpy().transpose(1, 2, 0), module.scale, backend, 1)
            yield y.transpose(2, 0, 1)[None]
    finally:
        engine.close()


# name: network, channels, what it must become: scale, mean, range, {operator: count}
NETS = {
    "espcn": (nets.espcn, 1, 3, 0, 1, {"conv2d": 3, "depth_to_space": 1}),
    "fsrcnn-x2": (nets.fsrcnn, 1, 2, 0, 1, {"conv2d": 5, "depth_to_space": 1}),
    "fsrcnn-x3": (lambda: nets.fsrcnn(3), 1, 3, 0, 1, {"conv2d": 5, "depth_to_space": 1}),
    "fsrcnn-x4": (lambda: nets.fsrcnn(4, 8), 1, 4, 0, 1, {"conv2d": 5, "depth_to_space": 1}),
    # Every block becomes one 3x3; the repeated channel of the skip is a 1x1.
    "ecbsr": (nets.Ecbsr, 1, 2, 0, 1, {"conv2d": 5, "add": 1, "depth_to_space": 1}),
    # With a bias between 1x1 and padded 3x3 those two stay, and the rest becomes one.
    "ecbsr-bias": (lambda: nets.Ecbsr(bias=True), 1, 2, 0, 1,
                   {"conv2d": 13, "add": 3, "depth_to_space": 1}),
    "sesr": (nets.Sesr, 1, 2, 0, 1, {"conv2d": 6, "add": 2, "depth_to_space": 1}),
    "xlsr": (nets.Xlsr, 3, 3, 0, 1, {"conv2d": 8, "concat": 1, "depth_to_space": 1}),
    "abpn": (nets.Abpn, 3, 3, 0, 255, {"conv2d": 4, "add": 1, "depth_to_space": 1}),
    # Per block: three convolutions, two sigmoids, half a tanh (two 1x1);
    # and the means at the input.
    "span": (nets.Span, 3, 4, 0, 1,
             {"conv2d": 18, "add": 2, "mul": 6, "concat": 1, "depth_to_space": 1}),
    "edsr": (nets.Edsr, 3, 4, 0, 255, {"conv2d": 10, "add": 3, "depth_to_space": 2}),
    "wdsr": (nets.Wdsr, 3, 2, 0.5, 1, {"conv2d": 9, "add": 3, "depth_to_space": 1}),
    "srresnet": (nets.Srresnet, 3, 2, 0, 1, {"conv2d": 6, "add": 2, "depth_to_space": 1}),
    "nearest": (nets.Nearest, 3, 2, 0, 1, None),
    "gated": (nets.Gated, 1, 2, 0, 1, None),
}


@pytest.fixture(scope="module", params=NETS)
def case(request, tmp_path_factory):
    build, channels, *expected = NETS[request.param]
    torch.manual_seed(3)
    net = build()
    path = export(net, tmp_path_factory.mktemp("net") / f"{request.param}.onnx", channels)
    return (net, channels, *imported(path), expected)


def test_output_is_that_of_pytorch(case):
    net, channels, _, target, result, (scale, *_) = case
    span = result["range"][1]
    for height, width in SIZES:
        x = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(height))
        with torch.no_grad():
            expected = net(x * span).numpy() / span
        assert expected.shape == (1, channels, height * scale, width * scale)
        assert expected.std() > 1e-3
        for found in both_outputs(target, x):
            assert np.abs(found - expected).max() < TOLERANCE * max(1, np.abs(expected).max())


def test_graph_is_as_small_as_it_can_be(case):
    _, channels, graph, _, result, (scale, mean, span, counts) = case
    assert (graph["scale"], result["range"], graph["colour"]) == (
        scale, [0, span], "y" if channels == 1 else "rgb")
    assert graph.get("mean", 0) == pytest.approx(mean)
    assert result["difference"]["libsrp"] is not None
    if counts is not None:
        ops = [node["op"] for node in graph["nodes"]]
        assert {op: ops.count(op) for op in ops} == counts


def test_names_are_the_files_own(case):
    _, _, graph, _, _, _ = case
    names = [node["name"] for node in graph["nodes"]]
    assert len(set(names)) == len(names)
    assert not [n for n in names if n.startswith(("Conv", "node", "onnx"))]


# ---- the command ---------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(5)
    return export(nets.espcn(2), tmp_path_factory.mktemp("small") / "net.onnx", 1)


def test_command_and_what_reads_its_result(small, tmp_path):
    done = srpack("import", small, "-o", tmp_path / "mine")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "scale 2" in done.stdout and "--model mine" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]
    shown = subprocess.run([BUILD / "srbench", "engine", "--graph", tmp_path / "mine.json",
                            "--parameters", tmp_path / "mine.safetensors", "--size", "64x48",
                            "--runs", "1"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    first = [(tmp_path / n).read_bytes() for n in ("mine.json", "mine.safetensors")]
    done = srpack("import", small, "-o", tmp_path / "mine.json", "--json")
    assert json.loads(done.stdout)["scale"] == 2
    assert [(tmp_path / n).read_bytes() for n in ("mine.json", "mine.safetensors")] == first


def test_f16_parameters(small, tmp_path):
    done = srpack("import", small, "-o", tmp_path / "half", "--dtype", "f16", "--json")
    result = json.loads(done.stdout)
    assert 1e-6 < result["difference"]["pytorch"] < 4e-3
    size = (tmp_path / "half.safetensors").stat().st_size
    assert size < 2.2 * result["parameter_count"] + 1000


def test_float16_files_are_compared_in_float32(tmp_path, capsys):
    """Whole ones, and those that converters make: float32 outside, casts, float16 inside."""
    torch.manual_seed(7)
    net = nn.Sequential(nets.conv(1, 16), nn.PReLU(16), nets.conv(16, 16), nn.Hardtanh(-1.0, 1.0),
                        nets.conv(16, 4), nn.PixelShuffle(2))
    whole = export(net.half(), tmp_path / "whole.onnx", 1, kind=torch.float16)
    proto = onnx.load(whole)
    for value, node in zip((proto.graph.input[0], proto.graph.output[0]), (0, -1)):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        names = getattr(proto.graph.node[node], "output" if node else "input")
        names[0] = f"{value.name}_half"
    proto.graph.node.insert(0, helper.make_node("Cast", ["in"], ["in_half"], to=TensorProto.FLOAT16))
    proto.graph.node.append(helper.make_node("Cast", ["out_half"], ["out"], to=TensorProto.FLOAT))
    onnx.save(proto, tmp_path / "inside.onnx")
    for path in (whole, tmp_path / "inside.onnx"):
        _, target, result = imported(path)
        assert max(result["difference"].values()) < 1e-5 and result["tolerance"] < 1.5e-4
        assert "float16" in capsys.readouterr().err
    x = torch.rand(1, 1, 11, 14, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net.float()(x).numpy()
    for found in both_outputs(target, x):
        assert np.abs(found - expected).max() < TOLERANCE


def test_srpack_finds_an_imported_graph(small, tmp_path, monkeypatch):
    imported_to = tmp_path / "mine"
    assert importer.run([str(small), "-o", str(imported_to)]) == 0
    weights = tmp_path / "mine.safetensors"
    title, _, init = pack.find_graph(str(tmp_path / "mine.json"), 2)
    assert (title, init) == ("mine", weights)
    monkeypatch.setenv("SRP_MODELS_DIR", str(tmp_path))
    assert pack.find_graph("mine", 2)[2] == weights
    assert pack.find_graph("edge16", 2)[2] == pack.MODELS_DIR / "general" / "edge16-x2.safetensors"
    with pytest.raises(UsageError, match="is for scale 2"):
        pack.find_graph("mine", 3)
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "mine.safetensors").write_bytes(b"")
    assert pack.find_graph("mine", 2)[2] == tmp_path / "general" / "mine.safetensors"
    with pytest.raises(UsageError, match="would be taken instead"):
        importer.run([str(small), "-o", str(imported_to)])


@pytest.mark.parametrize("args, text", [
    ([], "required"),
    (["-o", "{t}/.hidden"], "name"),
    (["-o", "{t}/no/where"], "no directory"),
    (["-o", "{t}/a b"], "name"),
    (["-o", "{t}/a", "--range", "1:0"], "not a range"),
    (["-o", "{t}/a", "--range", "0:nan"], "not a number"),
    (["-o", "{t}/a", "--mean", "1,2,3"], "3 numbers for 1 channels"),
    (["-o", "{t}/a", "--tolerance", "0"], "not more than zero"),
])
def test_usage(small, tmp_path, args, text):
    with pytest.raises(UsageError, match=text):
        importer.run([str(small), *(a.format(t=tmp_path) for a in args)])
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_refused(small, tmp_path, monkeypatch):
    convert = importer.convert

    def wrong(*args):
        made = convert(*args)
        name = next(n for n in made.parameters if n.endswith(".bias"))
        made.parameters[name] = made.parameters[name] + 0.01
        return made
    monkeypatch.setattr(importer, "convert", wrong)
    with pytest.raises(PackError, match="differs from onnxruntime by"):
        importer.run([str(small), "-o", str(tmp_path / "a")])
    assert list(tmp_path.iterdir()) == []


def test_names_become_those_of_the_format(tmp_path):
    torch.manual_seed(1)
    path = export(nets.espcn(2), tmp_path / "net.onnx", 1)
    proto = onnx.load(path)
    names = ["/a b/\u00e9", "/a b/\u00e8", "x", "", "n" * 200, "///"]
    for node, name in zip([n for n in proto.graph.node if n.op_type != "Constant"], names):
        node.name = name
    onnx.save(proto, path)
    graph, _, _ = imported(path)
    found = [node["name"] for node in graph["nodes"]]
    assert len(set(found)) == 4 and all(re.fullmatch(r"[A-Za-z0-9_.]{1,64}", n) for n in found)
    assert found[0] == "a_b" and "x" not in found


def test_memory_is_bounded(tmp_path, monkeypatch):
    from srpack import import_net, import_trace
    path = onnx_case(tmp_path, CONV, SHUFFLE, weights={"w": W["w"]})
    importer.convert(path, "net")
    monkeypatch.setattr(import_net, "MAX_ELEMENTS", 30)
    assert "(Conv): more than 30 weights" in refused(path)
    path = onnx_case(tmp_path, ("Mul", ["v", "v"], {}), ("Mul", ["in", "-"], {}), CONV, SHUFFLE,
                     weights={"w": W["w"], "v": np.ones((1, 1, 1, 1), np.float32)})
    monkeypatch.setattr(import_trace, "MAX_ELEMENTS", 0)
    assert "(Mul): more than 0 numbers" in refused(path)


@pytest.mark.parametrize("name, sizes", [("espcn", 3), ("abpn", 1)])
def test_fixed_sizes_become_free(tmp_path, capsys, name, sizes):
    """ABPN's Reshape has the size built in: compared at that one alone, right at the others too."""
    build, channels, scale, _, span, _ = NETS[name]
    torch.manual_seed(2)
    net = build()
    _, target, result = imported(export(net, tmp_path / "net.onnx", channels, free=False))
    assert len(result["sizes"]) == sizes
    assert ("holds for 24x20 alone" in capsys.readouterr().err) == (sizes == 1)
    x = torch.rand(1, channels, 21, 15)
    with torch.no_grad():
        expected = net(x * span).numpy() / span
    for found in both_outputs(target, x):
        assert np.abs(found - expected).max() < TOLERANCE


def test_channels_last_are_refused(tmp_path):
    path = onnx_case(tmp_path, CONV, SHUFFLE, weights={"w": W["w"]}, channels=20, dims=(24, 3))
    assert "--inputs-as-nchw" in refused(path)


# ---- range and mean ------------------------------------------------------------------------------

def check(net, path, channels, *args, low=0.0, high=1.0, mean=0.0):
    """Imports and compares with PyTorch; returns graph and result."""
    export(net, path, channels)
    graph, target, result = imported(path, *args)
    x = torch.rand(1, channels, 19, 22)
    with torch.no_grad():
        y = (net(low + (high - low) * x - mean) + mean - low) / (high - low)
    for found in both_outputs(target, x):
        assert np.abs(found - y.numpy()).max() < TOLERANCE * max(1, float(y.abs().max()))
    return graph, result


def test_given_range_becomes_the_mean(tmp_path):
    graph, _ = check(nn.Sequential(nets.conv(3, 8), nn.ReLU(), nets.conv(8, 12), nn.PixelShuffle(2)),
                     tmp_path / "a.onnx", 3, "--range=-1:1", low=-1.0)
    assert graph["mean"] == 0.5 and [n["op"] for n in graph["nodes"]] == [
        "conv2d", "conv2d", "depth_to_space"]


def test_given_means_per_channel(tmp_path):
    mean = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
    graph, _ = check(nn.Sequential(nets.conv(3, 8), nn.ReLU(), nets.conv(8, 3)), tmp_path / "a.onnx",
                     3, "--range", "0:255", "--mean", "10,20,30", high=255.0, mean=mean)
    # x - mean is a node of its own, so that the padding of the next continues it with zeros.
    assert "mean" not in graph and [n["kernel"] for n in graph["nodes"]] == [[1, 1], [3, 3], [3, 3]]


def test_division_by_255_shows_the_range(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nets.conv(1, 4)

        def forward(self, x):
            return F.pixel_shuffle(self.body(x / 255), 2) * 255
    graph, result = check(Net(), tmp_path / "a.onnx", 1, high=255.0)
    assert result["range"] == [0, 255] and len(graph["nodes"]) == 2


# ---- what is exact and what is not ------------------------------------------------------------------

def kernels(graph):
    return [node["kernel"][0] for node in graph["nodes"] if node["op"] == "conv2d"]


class Parallel(nn.Module):
    """The sum of convolutions of one tensor, each the product of some."""

    def __init__(self, *branches):
        super().__init__()
        self.head = nets.conv(1, 16)
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)
        self.tail = nets.conv(16, 4)

    def forward(self, x):
        x = self.head(x).relu()
        return F.pixel_shuffle(self.tail(sum(branch(x) for branch in self.branches).relu()), 2)


def depthwise(kernel=3):
    return nets.conv(16, 16, kernel, groups=16)


@pytest.mark.parametrize("branches, expected", [
    (([depthwise(3)], [depthwise(1)], [nn.Identity()]), [3, 3, 3]),
    (([depthwise(3)], [nets.conv(16, 16)]), [3, 3, 3]),
    (([depthwise(3)], [nets.conv(16, 16, 1)]), [3, 3, 1, 3]),              # 16 -> 16 at 3x3 is dearer
    (([nets.conv(16, 16, 1, bias=False), depthwise(3)], [nets.conv(16, 16)]), [3, 3, 3]),
    (([nets.conv(16, 16, 1, bias=False), depthwise(3)], [nets.conv(16, 16, 1)]), [3, 1, 3, 1, 3]),
], ids=range(5))
def test_sums_with_depthwise_layers(tmp_path, branches, expected):
    graph, _ = check(Parallel(*branches), tmp_path / "a.onnx", 1)
    assert sorted(kernels(graph)) == sorted(expected)


@pytest.mark.parametrize("layers, expected", [
    ((nets.conv(1, 4), nets.conv(4, 4), nets.conv(4, 4, 1)), [3, 3]),  # zeros between two 3x3
    ((nets.conv(1, 4, 1), nets.conv(4, 4)), [1, 3]),                   # a bias before padding
    ((nets.conv(1, 4, 1, bias=False), nets.conv(4, 4)), [3]),
    ((nets.conv(1, 9), nets.conv(9, 2, 1), nets.conv(2, 9, 1), nn.ReLU(), nets.conv(9, 4)),
     [3, 1, 3]),                                                       # 9 -> 9 at 3x3 is dearer
    ((nets.conv(1, 4, padding=2), nets.conv(4, 4, padding=0)), [5]),   # no zeros between
    ((nn.ZeroPad2d((2, 1, 0, 3)), nn.Conv2d(1, 4, (4, 4))), [7]),      # pads of unequal sides
    ((nets.conv(1, 16), nn.ReLU(), nets.conv(16, 16, groups=16), nets.conv(16, 12, 1)),
     [3, 3, 1, 3]),                                                    # depthwise: 3x3 is dearer
    ((nets.conv(1, 16), nn.ReLU(), nets.conv(16, 16, 1, bias=False), nets.conv(16, 16, groups=16)),
     [3, 1, 3, 3]),
    ((nets.conv(1, 16), nn.ReLU(), nets.conv(16, 16, groups=8), nets.conv(16, 12, 1)), [3, 3, 3]),
    ((nets.conv(1, 16), nn.ReLU(), nets.conv(16, 16, padding=2, groups=16),
      nets.conv(16, 16, padding=0, groups=16)), [3, 5, 3]),            # dearer, but pads elsewhere
], ids=range(10))
def test_series(tmp_path, layers, expected):
    graph, _ = check(nn.Sequential(*layers, nets.conv(layers[-1].out_channels, 4), nn.PixelShuffle(2))
                     if layers[-1].out_channels != 4 else
                     nn.Sequential(*layers, nn.PixelShuffle(2)), tmp_path / "a.onnx", 1)
    assert kernels(graph) == expected


def test_constant_before_padding_stays_a_node(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nets.conv(1, 4), nets.conv(4, 1)

        def forward(self, x):
            y = torch.relu(self.a(x))
            return self.b(2 * y + 1) + y[:, :1]
    graph, _ = check(Net(), tmp_path / "a.onnx", 1)
    assert kernels(graph) == [3, 1, 3]


# ---- random networks ---------------------------------------------------------------------------------

class Random:
    """A random network of the operators that can be imported, as an ONNX file."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def array(self, *shape, low=-1.0, high=1.0):
        self.count += 1
        value = self.rng.uniform(low, high, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(value, f"w{self.count}"))
        return f"w{self.count}"

    def whole(self, *values):
        self.count += 1
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), f"w{self.count}"))
        return f"w{self.count}"

    def add(self, op, inputs, outputs=1, **attributes):
        names = [f"t{self.count}_{i}" for i in range(outputs)]
        self.count += 1
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{self.count}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, inputs, outputs):
        k = int(self.rng.choice([1, 1, 2, 3, 3, 5]))
        bias = [self.array(outputs)] if self.rng.random() < 0.6 else []
        low = int(self.rng.integers(0, k)) if self.rng.random() < 0.5 else (k - 1) // 2
        pads = [low, k - 1 - low, k - 1 - low, low]
        if self.rng.random() < 0.3:  # zeros first, then a convolution without padding
            x = self.add("Pad", [x, self.whole(0, 0, *pads[:2], 0, 0, *pads[2:])])
            pads = [0] * 4
        s = 1.7 / (inputs * k * k) ** 0.5
        return self.add("Conv", [x, self.array(outputs, inputs, k, k, low=-s, high=s), *bias],
                        pads=pads)

    def layer(self, x, c):
        """(output, channels) of one random layer; `self.old` are (tensor, channels) before it."""
        rng, kind = self.rng, self.rng.integers(0, 15)
        if kind < 4 or (c == 1 and kind in (9, 10)):
            if c == 1:
                return self.conv(x, 1, 1), 1
            n = int(rng.choice([2, 4, 6]))
            return self.conv(x, c, n), n
        if kind == 4:
            act = rng.choice(["Relu", "Tanh", "Sigmoid", "LeakyRelu"])
            return self.add(act, [x]), c
        if kind == 5:
            shape = (c, 1, 1) if rng.random() < 0.5 else (1,)
            return self.add("PRelu", [x, self.array(*shape)]), c
        if kind == 6:
            low, high = [self.array(low=-1, high=0)], self.rng.random() < 0.5
            return self.add("Clip", [x, *low, *([self.array(low=0.2, high=2)] if high else [])]), c
        if kind in (7, 8):
            constant = self.array(*((1, c, 1, 1) if rng.random() < 0.5 else ()), low=0.2, high=1.5)
            op = rng.choice(["Add", "Sub", "Mul", "Div"])
            pair = [constant, x] if op != "Div" and rng.random() < 0.4 else [x, constant]
            return self.add(op, pair), c
        if kind == 9:
            parts = self.add("Split", [x, self.whole(c // 2, c - c // 2)], 2, axis=1)
            return self.add("Concat", [parts[1], parts[0]], axis=1), c
        if kind == 10:
            y = self.add("Reshape", [x, self.whole(0, 2, c // 2, -1, 1)])
            y = self.add("Transpose", [y], perm=[0, 2, 1, 3, 4])
            shape = self.add("Shape", [x])
            return self.add("Reshape", [y, shape]), c
        if kind == 11:
            return self.add("BatchNormalization", [x, *(
                self.array(c, low=0.5, high=1.5) for _ in range(4))]), c
        if kind == 12:
            return self.add("Neg", [x]), c
        same = [t for t, n in self.old if n == c]
        other = same[int(rng.integers(0, len(same)))] if same else x
        if kind == 13:
            parts = [self.conv(x, c, c) for _ in range(int(rng.integers(1, 3)))]
            return self.add("Sum", [*parts, x, other][:int(rng.integers(2, 5))]), c
        return self.add(rng.choice(["Add", "Mul", "Sub"]), [x, other]), c

    def model(self):
        x, c, self.old = "in", 1, []
        x, c = self.conv(x, 1, 4), 4
        for _ in range(int(self.rng.integers(3, 12))):
            self.old.append((x, c))
            x, c = self.layer(x, c)
        x = self.conv(x, c, 4)
        x = self.add("DepthToSpace", [x], blocksize=2, mode=self.rng.choice(["CRD", "DCR"]))
        x = self.layer(x, 1)[0] if self.rng.integers(0, 2) and not (self.old.clear()) else x
        return model(self.nodes, self.weights, x)


def model(nodes, weights=(), output="y", channels=1, opset=18, dims=("h", "w")):
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *size])
            for name, size in (("in", dims), (output, ("H", "W")))]
    graph = helper.make_graph(list(nodes), "net", info[:1], info[1:], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(tmp_path, seed):
    proto = Random(seed).model()
    path = tmp_path / "random.onnx"
    onnx.save(proto, path)
    _, target, _ = imported(path)
    x = torch.rand(1, 1, 11, 14, generator=torch.Generator().manual_seed(seed))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    expected, = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
            None, {"in": x.numpy()})
    for found in both_outputs(target, x):
        assert np.abs(found - expected).max() < TOLERANCE * max(1, np.abs(expected).max())


# ---- other spellings ---------------------------------------------------------------------------------

def refused(path):
    """The one line of a refusal."""
    with pytest.raises(PackError) as caught:
        imported(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and caught.value.status == 2
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return text[len(f"{path}: "):]


def onnx_case(tmp_path, *nodes, weights=(), **more):
    """A file: `nodes` are (op, inputs, attributes); each writes what the next calls "-"."""
    made, last = [], "in"
    for i, (op, inputs, attributes) in enumerate(nodes):
        names = [last if name == "-" else name for name in inputs]
        last = f"t{i}"
        made.append(helper.make_node(op, names, [last], name=f"{op}{i}", **attributes))
    weights = [numpy_helper.from_array(np.asarray(v), n) for n, v in dict(weights).items()]
    onnx.save(model(made, weights, last, **more), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


W = {"w": np.ones((4, 1, 3, 3), np.float32) / 9, "v": np.arange(4, dtype=np.float32) / 8}
CONV = ("Conv", ["-", "w"], {"pads": [1, 1, 1, 1]})
SHUFFLE = ("DepthToSpace", ["-"], {"blocksize": 2, "mode": "CRD"})
DCR = ("DepthToSpace", ["-"], {"blocksize": 2})


@pytest.mark.parametrize("nodes, opset", [
    ([("Conv", ["-", "w", "v"], {"auto_pad": "SAME_UPPER"}), SHUFFLE], 18),
    ([("Conv", ["-", "w", "v"], {"auto_pad": "SAME_LOWER", "kernel_shape": [3, 3]}), SHUFFLE], 18),
    ([CONV, ("Dropout", ["-"], {}), ("Identity", ["-"], {}), SHUFFLE], 18),
    ([CONV, ("Clip", ["-"], {"min": 0.0, "max": 0.5}), DCR], 9),
    ([CONV, ("Upsample", ["-", "two"], {"mode": "nearest"}), ("Conv", ["-", "r"], {})], 9),
    ([CONV, ("Resize", ["-", "two"], {"mode": "nearest"}), ("Conv", ["-", "r"], {})], 10),
    ([CONV, ("Min", ["half", "-"], {}), ("Max", ["-", "half"], {}), SHUFFLE], 18),
    ([CONV, ("Slice", ["-"], {"axes": [1], "starts": [-4], "ends": [4]}), DCR], 9),
    ([CONV, ("Gather", ["-", "index"], {"axis": 1}), SHUFFLE], 18),
    ([CONV, ("Slice", ["-", "end", "start", "one", "back"], {}), SHUFFLE], 18),
    ([("Tile", ["-", "repeat"], {}), SHUFFLE], 18),
    ([CONV, ("HardSigmoid", ["-"], {}), SHUFFLE], 18),
    ([("Resize", ["-", "", "two"], {"mode": "cubic", "cubic_coeff_a": -0.6})], 18),
    ([("Unsqueeze", ["-", "five"], {}), ("Expand", ["-", "wide"], {}),
      ("Reshape", ["-", "merged"], {})], 18),  # nearest, as repeat_interleave is exported
], ids=range(14))
def test_spellings(tmp_path, nodes, opset):
    def whole(*values):
        return np.array(values, np.int64)
    weights = {**W, "two": np.array([1, 1, 2, 2], np.float32), "half": np.float32(0.3),
               "r": np.ones((1, 4, 1, 1), np.float32), "index": whole(3, 0, -2, 1),
               "end": whole(3), "start": whole(-9), "one": whole(1), "back": whole(-1),
               "repeat": whole(1, 4, 1, 1), "five": whole(3, 5), "wide": whole(1, 1, 1, 2, 1, 2),
               "merged": whole(1, 1, 34, 46)}
    used = {name for _, inputs, _ in nodes for name in inputs}
    path = onnx_case(tmp_path, *nodes, weights={k: v for k, v in weights.items() if k in used},
                     opset=opset, dims=(17, 23) if "merged" in used else ("h", "w"))
    _, target, result = imported(path)
    assert result["scale"] == 2 and result["difference"]["libsrp"] < 1e-6


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_nodes_that_nobody_reads_are_removed(tmp_path, domain):
    path = onnx_case(tmp_path, CONV, SHUFFLE, weights={"w": W["w"]})
    proto = onnx.load(path)
    proto.graph.node.insert(1, helper.make_node("Mystery", ["t0"], ["dead"], domain=domain))
    proto.graph.node.append(helper.make_node("Relu", ["dead"], ["deader"]))
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(proto, path)
    graph, _, result = imported(path)
    assert len(graph["nodes"]) == 2 and result["difference"]["libsrp"] < 1e-6


PLACES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "asymmetric",
          "tf_half_pixel_for_nn", "align_corners")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("place", PLACES)
def test_nearest_is_taken_where_onnxruntime_takes_the_same_pixels(tmp_path, place, scale):
    """A case is imported exactly where rows and columns of 23 and 17 become floor(y / scale)."""
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        path = onnx_case(tmp_path, ("Resize", ["-", "", "scales"], {
            "mode": "nearest", "coordinate_transformation_mode": place, "nearest_mode": rounding}),
            weights={"scales": np.array([1, 1, scale, scale], np.float32)}, opset=19)
        x = np.arange(23 * 17, dtype=np.float32).reshape(1, 1, 23, 17)
        y, = onnxruntime.InferenceSession(path.read_bytes()).run(None, {"in": x})
        if np.array_equal(y, x.repeat(scale, 2).repeat(scale, 3)):
            assert imported(path)[2]["difference"]["libsrp"] < 1e-6
            path.with_suffix(".json").unlink()
            path.with_suffix(".safetensors").unlink()
        else:
            assert "takes other pixels than floor(y / scale)" in refused(path)


# ---- refusals --------------------------------------------------------------------------------------

def _net(*layers):
    return nn.Sequential(*layers)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nets.conv(1, 4), function

    def forward(self, x):
        return F.pixel_shuffle(self.function(self.conv(x)), 2)


@pytest.mark.parametrize("function", [  # the axes are an attribute of the first, an input of the second
    lambda y: y * torch.sigmoid(y.mean(1, keepdim=True)), lambda y: y + y.relu().sum(-3, keepdim=True)],
    ids=["mean", "sum"])
def test_sums_over_the_channels(tmp_path, function):
    graph, _ = check(Function(function), tmp_path / "a.onnx", 1)
    assert 1 in kernels(graph)


REFUSED = {
    "mean": (Function(lambda y: y * y.mean((2, 3), keepdim=True)), r"\(ReduceMean\): looks at the whole picture"),
    "mean of all": (Function(lambda y: y + y.mean()), r"\(ReduceMean\): looks at the whole picture"),
    "mean without axis": (Function(lambda y: y + y.mean(1)[:, None]), r"\(ReduceMean\): takes the axis"),
    "stride": (_net(nets.conv(1, 1, stride=2)), r"\(Conv\): stride \[2, 2\]"),
    "valid": (_net(nets.conv(1, 4, padding=0), nn.PixelShuffle(2)),
              r"\(Conv\): a kernel of 3 x 3 with padding \[0, 0, 0, 0\] changes the size"),
    "transposed": (_net(nets.conv(1, 4), nn.ConvTranspose2d(4, 1, 9, 3, 4)),
                   r"\(ConvTranspose\): kernel \+ output_padding - padding is 1 x 1, not the stride 3"),
    "reflect": (_net(nn.ReflectionPad2d(1), nets.conv(1, 1, padding=0)), r"\(Pad\): pads with reflect"),
    "attention": (Function(lambda y: y * torch.sigmoid(F.adaptive_avg_pool2d(y, 1))),
                  r"\(GlobalAveragePool\): looks at the whole picture"),
    "softmax": (Function(lambda y: torch.softmax(y, 1)),
                r"\(Softmax\): the operator cannot be imported"),
    "pool": (Function(lambda y: F.max_pool2d(y, 3, 1, 1)), r"\(MaxPool\): makes the picture smaller"),
    "crop": (Function(lambda y: y[:, :, 1:-1]), r"\(Slice\): cuts axis 2 from 37 to 35"),
    "divide": (Function(lambda y: y / (y * y + 1)), r"\(Div\): divides by what is computed"),
    "align": (Function(lambda y: F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)),
              r"\(Resize\): linear by align_corners"),
    "cubic": (Function(lambda y: F.interpolate(y, scale_factor=2, mode="bicubic")),
              r"\(Resize\): cubic with a = -0.75"),
    "scale": (Function(lambda y: F.interpolate(y, scale_factor=2.5)), r"\(Resize\): scales"),
    "eight": (_net(nets.conv(1, 64), nn.PixelShuffle(8)), r"\(DepthToSpace\): blocks of 8"),
    "unshuffle": (_net(nn.PixelUnshuffle(2), nets.conv(4, 16), nn.PixelShuffle(4)),
                  r"\(Reshape\): makes the picture smaller: a reshape divides its rows by 2"),
    "channels": (_net(nets.conv(2, 2)), "the input has 2 channels: 1"),
    "output": (_net(nets.conv(1, 3)), "the output has 3 channels, the input 1"),
    "wide": (_net(nets.conv(1, 600, 1), nn.ReLU(), nets.conv(600, 4, 1), nn.PixelShuffle(2)),
             r"600 channels, at most 512"),
    "kernel": (_net(nets.conv(1, 1, 13)), "a kernel of 13 x 13, at most 11"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path, name):
    net, text = REFUSED[name]
    channels = 2 if name == "channels" else 1
    assert re.search(text, refused(export(net, tmp_path / "net.onnx", channels)))


def test_pixel_constants_and_dependence_on_the_size_are_refused(tmp_path):
    bias = np.arange(80, dtype=np.float32).reshape(1, 1, 8, 10)
    text = refused(onnx_case(tmp_path, CONV, SHUFFLE, ("Add", ["-", "b"], {}),
                             weights={"w": W["w"], "b": bias}, dims=(4, 5)))
    assert "(Add): a constant that changes from pixel to pixel" in text
    path = onnx_case(tmp_path, CONV, SHUFFLE, ("Shape", ["in"], {}), weights={"w": W["w"]})
    proto = onnx.load(path)
    shape = proto.graph.node[-1].output[0]
    proto.graph.node.extend([
        helper.make_node("Cast", [shape], ["f"], to=1), helper.make_node("ReduceMax", ["f"], ["m"]),
        helper.make_node("Mul", ["t1", "m"], ["scaled"], name="scaled")])
    proto.graph.output[0].name = "scaled"
    onnx.save(proto, path)
    assert refused(path) == "computes something else at another size of the picture"


def test_two_inputs_and_integers(tmp_path):
    path = onnx_case(tmp_path, CONV, SHUFFLE, weights={"w": W["w"]})
    proto = onnx.load(path)
    proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(proto, path)
    assert refused(path) == "has 2 inputs and 1 outputs, not one of each"
    del proto.graph.input[1]
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(proto, path)
    assert "is of type UINT8" in refused(path)


# ---- hostile files ---------------------------------------------------------------------------------

def _truncated(data, proto):
    return data[:len(data) * 2 // 3]


def _external(data, proto):
    item = proto.graph.initializer[0]
    item.ClearField("raw_data")
    item.data_location = TensorProto.EXTERNAL
    item.external_data.add(key="location", value="/etc/passwd")


def _missing(data, proto):
    del proto.graph.initializer[0]


def _nan(data, proto):
    proto.graph.initializer[0].raw_data = np.full(36, np.nan, np.float32).tobytes()


def _short(data, proto):
    proto.graph.initializer[0].raw_data = b"123"


def _huge_shape(data, proto):
    proto.graph.initializer[0].dims[0] = 10**9


def _negative_shape(data, proto):
    proto.graph.initializer[0].dims[0] = -4


def _huge_constant(data, proto):
    proto.graph.initializer.append(numpy_helper.from_array(np.array([10**9, 1, 3, 3]), "s"))
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["s"], ["c"], name="fill"))
    proto.graph.node[1].input[1] = "c"


def _huge_expand(data, proto):
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 10**9, 1, 1]), "s"))
    proto.graph.node.insert(0, helper.make_node("Expand", ["in", "s"], ["e"], name="grow"))
    proto.graph.node[1].input[0] = "e"


def _huge_group(data, proto):
    proto.graph.node[0].attribute.append(helper.make_attribute("group", 10**9))


def _huge_pad(data, proto):
    proto.graph.node[0].attribute[0].ints[:] = [2**62, 2**62, 2**62, 2**62]


def _huge_block(data, proto):
    proto.graph.node[1].attribute[0].i = 2**40


def _cycle(data, proto):
    proto.graph.node[0].input[0] = proto.graph.node[1].output[0]


def _twice(data, proto):
    proto.graph.node[1].output[0] = proto.graph.node[0].output[0]


def _custom(data, proto):
    proto.graph.node[0].domain = "com.example"


def _wrong_attribute(data, proto):
    proto.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", "text"))


def _no_attribute(data, proto):
    del proto.graph.node[1].attribute[:]


def _no_input(data, proto):
    del proto.graph.node[0].input[1]


def _no_opset(data, proto):
    del proto.opset_import[:]


def _no_output(data, proto):
    proto.graph.output[0].name = "nobody"


def _fixed_huge(data, proto):
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 10**12
    proto.graph.node[0].attribute[0].ints[:] = [0, 0, 0, 0]


def _deep(data, proto):
    last = proto.graph.output[0].name
    for i in range(4000):
        proto.graph.node.append(helper.make_node("Mul", [last, last], [f"d{i}"]))
        last = f"d{i}"
    proto.graph.output[0].name = last


def _if(data, proto):
    proto.graph.node[1].op_type = "If"


HOSTILE = {
    _truncated: "not an ONNX file", _external: "lies in another file",
    _missing: r"node 'Conv0' \(Conv\): its input 'w' is not in the file",
    _nan: r"node 'Conv0' \(Conv\): its weights holds NaN", _short: "'w' cannot be read",
    _huge_shape: "says its size is", _negative_shape: "says its size is",
    _huge_constant: r"node 'fill' \(ConstantOfShape\): makes a constant that is too large",
    _huge_expand: r"node 'grow' \(Expand\)", _huge_group: r"\(Conv\): weights .* in 1000000000 groups",
    _huge_pad: r"\(Conv\): pads", _huge_block: r"\(DepthToSpace\): blocks of 1099511627776",
    _cycle: r"node 'Conv0' \(Conv\): hangs on a cycle|node 'DepthToSpace1' \(DepthToSpace\): hangs",
    _twice: "is written twice", _custom: "is an operator of 'com.example'",
    _wrong_attribute: r"node 'Conv0' \(Conv\)", _no_attribute: r"\(DepthToSpace\)",
    _no_input: r"\(Conv\)", _no_opset: "operator set None", _no_output: "the output does not depend on the input",
    _fixed_huge: "changes the size", _deep: "nodes, at most 512|too large|nodes, more than",
    _if: r"\(If\): the operator cannot be imported",
}


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
def test_hostile_files(tmp_path, spoil):
    path = onnx_case(tmp_path, CONV, SHUFFLE, weights={"w": W["w"]})
    proto, data = onnx.load(path), path.read_bytes()
    changed = spoil(data, proto)
    path.write_bytes(proto.SerializeToString() if changed is None else changed)
    assert re.search(HOSTILE[spoil], refused(path))


def test_files_that_are_no_networks(tmp_path):
    path = tmp_path / "a.onnx"
    for data in (b"", b"\x00" * 100, os.urandom(1000), b"{}", b"\x08\x09"):
        path.write_bytes(data)
        assert "ONNX file" in refused(path)
    path.unlink()
    path.mkdir()
    assert "directory" in refused(path)
    done = srpack("import", tmp_path / "none.onnx", "-o", tmp_path / "x")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr == f"srpack: error: {tmp_path}/none.onnx: No such file or directory\n"


def test_flipped_bytes_never_end_in_a_traceback(tmp_path):
    """Imports or refuses in one line, whatever the bytes."""
    path = onnx_case(tmp_path, CONV, ("PRelu", ["-", "v"], {}), SHUFFLE,
                     weights={"w": W["w"], "v": W["v"].reshape(4, 1, 1)})
    data, rng = path.read_bytes(), np.random.default_rng(7)
    for _ in range(300):
        noise = bytearray(data)
        for at in rng.integers(0, len(data), int(rng.integers(1, 4))):
            noise[at] = int(rng.integers(0, 256))
        path.write_bytes(noise)
        try:
            importer.convert(path, "net")
        except PackError as error:
            assert "\n" not in str(error)
