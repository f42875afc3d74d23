# SPDX-License-Identifier: BSD-2-Clause
"""srpack import: networks written in PyTorch come back with the same output; what cannot be
imported is refused in one line."""
import json
import os
import pathlib
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


def export(net, path, channels, free=True, size=(20, 24), **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), torch.rand(1, channels, *size), str(path), dynamo=False,
                          input_names=["in"], output_names=["out"], opset_version=17,
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
            y = engine.run(x[0].numpy().transpose(1, 2, 0), module.scale, backend)
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


@pytest.mark.parametrize("layers, expected", [
    ((nets.conv(1, 4), nets.conv(4, 4), nets.conv(4, 4, 1)), [3, 3]),  # zeros between two 3x3
    ((nets.conv(1, 4, 1), nets.conv(4, 4)), [1, 3]),                   # a bias before padding
    ((nets.conv(1, 4, 1, bias=False), nets.conv(4, 4)), [3]),
    ((nets.conv(1, 9), nets.conv(9, 2, 1), nets.conv(2, 9, 1), nn.ReLU(), nets.conv(9, 4)),
     [3, 1, 3]),                                                       # 9 -> 9 at 3x3 is dearer
    ((nets.conv(1, 4, padding=2), nets.conv(4, 4, padding=0)), [5]),   # no zeros between
    ((nn.ZeroPad2d((2, 1, 0, 3)), nn.Conv2d(1, 4, (4, 4))), [7]),      # pads of unequal sides
], ids=range(6))
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
            low = self.array(low=-1, high=0)
            return self.add("Clip", [x, low, self.array(low=0.2, high=2)]
                            [:int(rng.integers(2, 4))]), c
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
            parts = [self.conv(x, c, c), self.conv(x, c, c), x, other]
            return self.add("Sum", parts[:int(rng.integers(2, 5))]), c
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


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(tmp_path, seed):
    proto = Random(seed).model()
    path = tmp_path / "random.onnx"
    onnx.save(proto, path)
    _, target, _ = imported(path)
    x = torch.rand(1, 1, 11, 14, generator=torch.Generator().manual_seed(seed))
    expected, = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"in": x.numpy()})
    for found in both_outputs(target, x):
        assert np.abs(found - expected).max() < TOLERANCE * max(1, np.abs(expected).max())
