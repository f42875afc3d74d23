# SPDX-License-Identifier: BSD-2-Clause
"""From a graph of models/ to a Network: random weights, bicubic base as a convolution, ranges.

The mean leaves the graph: engines get samples less the mean, and the last convolution's bias adds
it again. Both are exact.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F
from srpack.graph import load_module, resize_kernel

from .network import Network, Op


def random_module(graph, seed=1):
    """The graph with weights that keep the signal's size from layer to layer."""
    module = load_module(graph)
    generator = torch.Generator().manual_seed(seed)
    residual = {n["inputs"][0] for n in module.order if n["op"] == "add"}
    with torch.no_grad():
        for node in module.order:
            if node["op"] != "conv2d":
                continue
            conv = module.convolutions[node["name"]]
            gain = (2.0 if node.get("activation") == "relu" else 1.0) / conv.weight[0].numel()
            gain *= 0.1 if node["output"] in residual else 1.0
            conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) * math.sqrt(gain))
            conv.bias.copy_(torch.randn(conv.bias.shape, generator=generator) * 0.02)
    return module.eval()


def _conv(module, node):
    conv = module.convolutions[node["name"]]
    activation = node.get("activation", "none")
    if activation not in ("none", "relu", "tanh") or len(set(node["kernel"])) != 1:
        raise ValueError(f"{module.graph['name']}: the bench cannot express node {node['name']}")
    weight, bias = (p.detach().numpy().copy() for p in (conv.weight, conv.bias))
    output = node["output"] if activation != "tanh" else node["output"] + ".linear"
    ops = [Op("conv", node["inputs"], output, "relu" if activation == "relu" else "none",
              pad=conv.padding[0], weight=weight, bias=bias)]
    if activation == "tanh":
        ops.append(Op("tanh", [output], node["output"]))
    return ops


def _base(module, node, ops):
    """sum(shuffle(t), bicubic(x)) is shuffle(t + conv(pad(x))): one kernel for each output phase."""
    by_output = {n["output"]: n for n in module.order}
    shuffle, resize = (by_output[t] for t in node["inputs"])
    if (shuffle["op"], resize["op"], module.channels) != ("depth_to_space", "resize", 1):
        raise ValueError(f"{module.graph['name']}: the bench cannot express node {node['name']}")
    ops[:] = [op for op in ops if op.output != shuffle["output"]]
    kernel = resize_kernel(module.scale, resize["mode"]).numpy()
    return [Op("pad", resize["inputs"], "base.pad", pad=2),
            Op("conv", ["base.pad"], "base.conv", weight=kernel,
               bias=np.zeros(len(kernel), np.float32)),
            Op("add", [shuffle["inputs"][0], "base.conv"], "base.sum"),
            Op("shuffle", ["base.sum"], node["output"], block=module.scale)]


def lower(module, width, height):
    """Network of a module; ranges are still empty (calibrate)."""
    graph, ops = module.graph, []
    resized = {n["output"] for n in module.order if n["op"] == "resize"}
    for node in module.order:
        if node["op"] == "conv2d":
            ops += _conv(module, node)
        elif node["op"] == "add" and resized.intersection(node["inputs"]):
            ops += _base(module, node, ops)
        elif node["op"] == "add" and len(node["inputs"]) == 2:
            ops.append(Op("add", node["inputs"], node["output"]))
        elif node["op"] == "depth_to_space" and node.get("order", "crd") == "crd":
            ops.append(Op("shuffle", node["inputs"], node["output"], block=node["block"]))
        elif node["op"] != "resize":
            raise ValueError(f"{graph['name']}: the bench cannot express node {node['name']}")
    if ops[-1].kind != "shuffle":
        raise ValueError(f"{graph['name']}: the bench takes graphs that end in a shuffle")
    before = ops[-2]
    last = before.inputs[0] if before.kind == "add" else before.output
    next(op for op in ops if op.output == last).bias += module.mean
    return Network(graph["name"], module.scale, module.channels, width, height,
                   module.macs_per_pixel * width * height, graph["input"], graph["output"], ops)


def run(network, x):
    """Every tensor of the network for the input [1][c][h][w] without its mean."""
    values = {network.input: x}
    for op in network.ops:
        inputs = [values[t] for t in op.inputs]
        if op.kind == "conv":
            y = F.conv2d(inputs[0], torch.from_numpy(op.weight), torch.from_numpy(op.bias),
                         padding=op.pad)
            y = F.relu(y) if op.activation == "relu" else y
        elif op.kind == "tanh":
            y = torch.tanh(inputs[0])
        elif op.kind == "add":
            y = inputs[0] + inputs[1]
        elif op.kind == "pad":
            y = F.pad(inputs[0], (op.pad,) * 4, mode="replicate")
        else:
            y = F.pixel_shuffle(inputs[0], op.block)
        values[op.output] = y
    return values


def calibrate(network, x):
    """Sets the ranges; tensors that only move samples share their input's."""
    network.ranges = {t: (float(v.min()), float(v.max())) for t, v in run(network, x).items()}
    for op in network.ops:
        if op.kind == "shuffle":
            network.ranges[op.output] = network.ranges[op.inputs[0]]


def picture(channels, width, height):
    """8-bit samples [1][c][h][w] with edges, slopes and texture, the same every time."""
    y, x = np.mgrid[0:height, 0:width]
    generator = np.random.default_rng(1)
    planes = []
    for plane in range(channels):
        value = 128 + 60 * np.sin(x / (9.0 + plane)) * np.cos(y / 13.0) + 40 * ((x // 24 + y // 16) % 2)
        planes.append(value + generator.normal(0, 6, (height, width)) - 20)
    return np.clip(np.stack(planes)[None], 0, 255).astype(np.uint8)
