# SPDX-License-Identifier: BSD-2-Clause
"""A folded network as a graph of docs/format.md and its parameters."""

import re

import numpy as np

from .import_net import MAX_INPUTS, Refused

# srp/limits.h
MAX_NODES, MAX_CHANNELS, MAX_KERNEL, MAX_SCALE, MAX_NAME = 512, 512, 11, 4, 64
MAX_PARAMETERS, MAX_MACS = 16 << 20, 4 << 20
COLOURS = {1: "y", 3: "rgb"}


class _Names:
    """ONNX names within [A-Za-z0-9_.], 1..64, each once."""

    def __init__(self):
        self.taken = {"x"}

    def __call__(self, text):
        clean = re.sub(r"[^A-Za-z0-9_.]+", "_", text.strip("/").replace("/", ".")).strip("_.")
        clean = re.sub(r"^model\.(?=.)", "", re.sub(r"\.Conv(_\d+)?$", "", clean))
        clean = clean[-(MAX_NAME - 6):].lstrip("_.") or "node"
        name, number = clean, 1
        while name in self.taken:
            number += 1
            name = f"{clean}_{number}"
        self.taken.add(name)
        return name


def _activation(act):
    if act is None:
        return {}
    keys = {"leaky_relu": ("alpha",), "clip": ("min", "max")}.get(act[0], ())
    return {"activation": act[0], **{k: float(np.float32(v)) for k, v in zip(keys, act[1:])}}


def _attributes(node):
    if node.op == "conv2d":
        kernel = list(node.weight.shape[2:])
        if max(kernel) > MAX_KERNEL:
            raise Refused(f"a kernel of {kernel[0]} x {kernel[1]}, at most {MAX_KERNEL}", node)
        return {"channels": node.channels, "kernel": kernel, **_activation(node.act)}
    if node.op in ("add", "mul", "concat") and len(node.inputs) > MAX_INPUTS:
        raise Refused(f"{len(node.inputs)} inputs, at most {MAX_INPUTS}", node)
    if node.op in ("add", "mul"):
        return _activation(node.act)
    if node.op == "slice":
        return {"first": node.first, "channels": node.channels}
    if node.op == "depth_to_space":
        return {"block": node.factor, **({"order": "dcr"} if node.word == "dcr" else {})}
    if node.op == "resize":
        return {"scale": node.factor, "mode": node.word}
    return {}


def write(net, name):
    """(graph as a dict, {tensor name: float64 array}); Refused above a limit of the format."""
    order, names, tensors, parameters = net.order(), _Names(), {net.input: "x"}, {}
    factors, macs, nodes = {net.input: 1}, 0, []
    for node in order[1:] if order[0] is net.input else order:
        factor = factors[node.inputs[0]]
        if node.channels > MAX_CHANNELS:
            raise Refused(f"{node.channels} channels, at most {MAX_CHANNELS}", node)
        title = names(node.name)
        if node.op == "conv2d":
            parameters[f"{title}.weight"], parameters[f"{title}.bias"] = node.weight, node.bias
            if node.act is not None and node.act[0] == "prelu":
                parameters[f"{title}.slope"] = node.act[1]
            macs += node.weight.size * factor * factor
        elif node.op in ("depth_to_space", "resize"):
            factor *= node.factor
        factors[node], tensors[node] = factor, title
        nodes.append({"op": node.op, "name": title,
                      "inputs": [tensors[source] for source in node.inputs], "output": title,
                      **_attributes(node)})
    scale, count = factors[net.output], sum(array.size for array in parameters.values())
    if net.output.channels != net.input.channels:
        raise Refused(f"the output has {net.output.channels} channels, the input "
                      f"{net.input.channels}")
    for value, limit, what in ((scale, MAX_SCALE, "times the input's size"),
                               (len(nodes), MAX_NODES, "nodes"),
                               (count, MAX_PARAMETERS, "parameters"),
                               (macs, MAX_MACS, "multiply-accumulates per pixel")):
        if value > limit:
            raise Refused(f"{value} {what}, at most {limit}")
    if max(factors.values()) > scale:
        raise Refused(f"enlarges to {max(factors.values())} times and ends at {scale} times")
    header = {"format": "srp-graph", "version": 1, "name": name, "scale": scale,
              "colour": COLOURS[net.input.channels]}
    if net.mean:
        header["mean"] = float(np.float32(net.mean))
    return {**header, "input": "x", "output": tensors[net.output], "nodes": nodes}, parameters
