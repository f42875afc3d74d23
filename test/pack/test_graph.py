# SPDX-License-Identifier: BSD-2-Clause
"""Every operator of docs/format.md against a definition written out in loops, and parameter
files."""

import math

import numpy as np
import pytest
import safetensors.torch
import torch

from srpack import graph, models

GENERATOR = np.random.default_rng(7)


def keys(t):
    """Cubic convolution with B = 0, C = 0.6, as Mitchell and Netravali write it."""
    t, b, c = abs(t), 0.0, 0.6
    if t < 1:
        return ((12 - 9 * b - 6 * c) * t**3 + (-18 + 12 * b + 6 * c) * t**2 + (6 - 2 * b)) / 6
    if t < 2:
        return (
            (-b - 6 * c) * t**3
            + (6 * b + 30 * c) * t**2
            + (-12 * b - 48 * c) * t
            + (8 * b + 24 * c)
        ) / 6
    return 0.0


def resize_slowly(plane, scale, mode):
    h, w = plane.shape
    out = np.zeros((h * scale, w * scale))
    for i in range(h * scale):
        for j in range(w * scale):
            y, x = (i + 0.5) / scale - 0.5, (j + 0.5) / scale - 0.5
            if mode == "nearest":
                out[i, j] = plane[i // scale, j // scale]
                continue
            for dy in range(-1, 3):
                for dx in range(-1, 3):
                    sy, sx = math.floor(y) + dy, math.floor(x) + dx
                    f = keys if mode == "bicubic" else lambda t: max(0.0, 1 - abs(t))
                    out[i, j] += (
                        f(y - sy)
                        * f(x - sx)
                        * plane[min(max(sy, 0), h - 1), min(max(sx, 0), w - 1)]
                    )
    return out


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_resize(mode, scale, size):
    x = GENERATOR.random((2, 2, *size)).astype(np.float32)
    y = graph.resize(torch.from_numpy(x), scale, mode).numpy()
    for n in range(2):
        for c in range(2):
            assert np.allclose(y[n, c], resize_slowly(x[n, c], scale, mode), atol=2e-6)


def conv_slowly(x, weight, bias):
    out, _, kh, kw = weight.shape
    _, h, w = x.shape
    y = np.zeros((out, h, w))
    for o in range(out):
        for i in range(h):
            for j in range(w):
                total = float(bias[o])
                for a in range(kh):
                    for b in range(kw):
                        r, c = i + a - (kh - 1) // 2, j + b - (kw - 1) // 2
                        if 0 <= r < h and 0 <= c < w:
                            total += float((weight[o, :, a, b] * x[:, r, c]).sum())
                y[o, i, j] = total
    return y


def one_conv(activation=None, kernel=(3, 3), **keys_of_activation):
    node = {
        "op": "conv2d",
        "name": "c",
        "inputs": ["x"],
        "output": "y",
        "channels": 3,
        "kernel": list(kernel),
        **keys_of_activation,
    }
    if activation:
        node["activation"] = activation
    return {
        "format": "srp-graph",
        "version": 1,
        "name": "one",
        "scale": 1,
        "colour": "rgb",
        "mean": 0.25,
        "input": "x",
        "output": "y",
        "nodes": [node],
    }


ACTIVATIONS = {
    "none": ({}, lambda v: v),
    "relu": ({}, lambda v: np.maximum(v, 0)),
    "leaky_relu": ({"alpha": 0.1}, lambda v: np.where(v > 0, v, 0.1 * v)),
    "clip": ({"min": -0.2, "max": 0.3}, lambda v: np.clip(v, -0.2, 0.3)),
    "tanh": ({}, np.tanh),
    "sigmoid": ({}, lambda v: 1 / (1 + np.exp(-v))),
    "prelu": ({}, lambda v: np.where(v > 0, v, v * np.array([0.1, -0.5, 2]).reshape(3, 1, 1))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5)])
def test_convolution_and_activation(name, kernel):
    extra, function = ACTIVATIONS[name]
    module = graph.load_module(one_conv(name, kernel, **extra))
    conv = module.convolutions["c"]
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(GENERATOR.normal(size=conv.weight.shape)))
        conv.bias.copy_(torch.from_numpy(GENERATOR.normal(size=3)))
        if name == "prelu":
            conv.slope.copy_(torch.tensor([0.1, -0.5, 2]))
    x = GENERATOR.random((3, 5, 6)).astype(np.float32)
    y = module(torch.from_numpy(x)[None])[0].detach().numpy()
    wanted = (
        function(conv_slowly(x - 0.25, conv.weight.detach().numpy(), conv.bias.detach().numpy()))
        + 0.25
    )
    assert np.allclose(y, wanted, atol=1e-5)


@pytest.mark.parametrize("order", ["crd", "dcr"])
def test_depth_to_space_and_concat_and_add(order):
    """Four copies of the input, shuffled: output (i, j) of a block is channel of the format's
    formula."""
    block = 2
    nodes = [
        {"op": "concat", "name": "cat", "inputs": ["x", "x", "x", "x"], "output": "q"},
        {
            "op": "depth_to_space",
            "name": "d",
            "inputs": ["q"],
            "output": "d",
            "block": block,
            "order": order,
        },
        {
            "op": "resize",
            "name": "r",
            "inputs": ["x"],
            "output": "b",
            "scale": 2,
            "mode": "nearest",
        },
        {"op": "add", "name": "a", "inputs": ["d", "b", "b"], "output": "y", "activation": "relu"},
    ]
    # Nodes may stand in any order.
    module = graph.load_module(
        {
            "format": "srp-graph",
            "version": 1,
            "name": "s",
            "scale": 2,
            "colour": "rgb",
            "input": "x",
            "output": "y",
            "nodes": nodes[::-1],
        }
    )
    x = GENERATOR.normal(size=(3, 4, 3)).astype(np.float32)
    y = module(torch.from_numpy(x)[None])[0].numpy()
    wide = np.concatenate([x] * 4)
    for h in range(4):
        for w in range(3):
            for i in range(block):
                for j in range(block):
                    for c in range(3):
                        source = c * 4 + i * 2 + j if order == "crd" else (i * 2 + j) * 3 + c
                        wanted = max(0.0, wide[source, h, w] + 2 * x[c, h, w])
                        assert abs(y[c, h * 2 + i, w * 2 + j] - wanted) < 1e-6


def test_mul_and_slice():
    nodes = [
        {"op": "concat", "name": "cat", "inputs": ["x", "x"], "output": "q"},
        {"op": "slice", "name": "s", "inputs": ["q"], "output": "s", "first": 2, "channels": 3},
        {"op": "mul", "name": "m", "inputs": ["x", "s", "x"], "output": "y", "activation": "tanh"},
    ]
    value = {**one_conv(), "mean": 0, "nodes": nodes}
    x = GENERATOR.normal(size=(3, 4, 3)).astype(np.float32)
    y = graph.load_module(value)(torch.from_numpy(x)[None])[0].numpy()
    assert np.allclose(y, np.tanh(x * x * x[[2, 0, 1]]), atol=1e-6)
    nodes[1]["first"] = 4
    with pytest.raises(ValueError, match="cannot run 'slice'"):
        graph.load_module(value)


@pytest.mark.parametrize("name", ["edge16-x1", "edge16-x4", "edge8-x3", "wdsr2-x2", "wdsr4-x4"])
def test_initial_picture_is_bicubic(name):
    module = graph.load_module(models.all_models()[name])
    graph.initialise(module, 3)
    x = torch.rand(1, module.channels, 9, 11)
    with torch.no_grad():
        difference = (module(x) - graph.resize(x, module.scale)).abs()
    inner = difference[
        ..., 2 * module.scale : -2 * module.scale, 2 * module.scale : -2 * module.scale
    ]
    assert inner.max() < 1e-5  # a skip convolution pads with zeros at the edge


def test_initialisation_depends_on_the_seed_alone():
    def weights(seed):
        module = graph.load_module(models.all_models()["edge8-x2"])
        torch.rand(5)
        graph.initialise(module, seed)
        return module.convolutions["body0"].weight

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


BROKEN = {
    "version": ({"version": 2}, None, "version 1"),
    "colour": ({"colour": "cmyk"}, None, "unknown colour"),
    "scale": ({"scale": 2}, None, "not scale times"),
    "output": ({"output": "z"}, None, "nothing writes"),
    "cycle": ({}, {"inputs": ["y"]}, "cycle or missing"),
    "even": ({}, {"kernel": [2, 2]}, "even kernel"),
    "activation": ({}, {"activation": "gelu"}, "unknown activation"),
    "stride": ({}, {"stride": 1}, "conv2d has no 'stride'"),
    "op": ({}, {"op": "lstm"}, "cannot run 'lstm'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_graphs_are_refused(case):
    keys_of_graph, keys_of_node, message = BROKEN[case]
    value = one_conv()
    value.update(keys_of_graph)
    value["nodes"][0].update(keys_of_node or {})
    with pytest.raises(ValueError, match=message):
        graph.load_module(value)


def test_surplus_and_doubled_tensors_are_refused():
    value = one_conv()
    value["nodes"].append({**value["nodes"][0], "name": "d", "output": "unused"})
    with pytest.raises(ValueError, match="unused is never read"):
        graph.load_module(value)
    value["nodes"][1]["output"] = "y"
    with pytest.raises(ValueError, match="written twice"):
        graph.load_module(value)


def test_graph_file_that_is_not_json(tmp_path):
    (tmp_path / "g.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="g.json: not JSON"):
        graph.load_module(tmp_path / "g.json")


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_export_and_load(tmp_path, dtype):
    module = graph.load_module(models.all_models()["wdsr2-x2"])
    graph.initialise(module, 1)
    graph.round_parameters(module, dtype)
    graph.export(module, tmp_path / "a", dtype)
    graph.export(module, tmp_path / "b", dtype)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # no temporary file stays
    assert "block0.expand.weight" in safetensors.torch.load_file(tmp_path / "a")
    other = graph.load_module(models.all_models()["wdsr2-x2"])
    graph.load_parameters(other, tmp_path / "a")
    for name, value in module.named_tensors().items():
        assert torch.equal(value, other.named_tensors()[name])


def test_bad_parameter_files_are_refused(tmp_path):
    module = graph.load_module(one_conv())
    good = {"c.weight": torch.ones(3, 3, 3, 3), "c.bias": torch.zeros(3)}
    cases = {
        "c.bias is missing": {"c.weight": good["c.weight"]},
        "d.bias is not in the graph": {**good, "d.bias": torch.zeros(1)},
        "c.bias has shape": {**good, "c.bias": torch.zeros(4)},
        "c.bias holds NaN": {**good, "c.bias": torch.tensor([0, math.nan, 0])},
    }
    path = tmp_path / "p.safetensors"
    for message, tensors in cases.items():
        safetensors.torch.save_file(tensors, path)
        with pytest.raises(ValueError, match=message):
            graph.load_parameters(module, path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="p.safetensors"):
        graph.load_parameters(module, path)


def test_export_refuses_what_f16_cannot_hold(tmp_path):
    module = graph.load_module(one_conv())
    with torch.no_grad():
        module.convolutions["c"].bias[1] = 1e6
    with pytest.raises(ValueError, match=r"^c.bias: 1e\+06 is beyond the range of f16 \(65504\)$"):
        graph.export(module, tmp_path / "p")
    assert not list(tmp_path.iterdir())
    graph.export(module, tmp_path / "p", "bf16")
    other = graph.load_module(one_conv())
    graph.load_parameters(other, tmp_path / "p")
    assert float(other.convolutions["c"].bias.detach()[1]) == pytest.approx(1e6, rel=2**-8)
