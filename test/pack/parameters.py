# SPDX-License-Identifier: BSD-2-Clause
"""A second reader of compact parameters, from docs/format.md alone."""
import hashlib
import json
import subprocess

import numpy as np

CHANNELS = {"y": 1, "rgb": 3, "yuv420": 6}
TYPES = ["<f4", "<f2", "bf16", "i1"]


def shapes_of(graph):
    """Convolutions of a graph: name -> (out, in, height, width, whether it has a slope); tensors
    that have a range where there are such, and the input."""
    channels, waiting, nodes = {graph["input"]: CHANNELS[graph["colour"]]}, list(graph["nodes"]), {}
    while waiting:
        node = next(n for n in waiting if all(i in channels for i in n["inputs"]))
        waiting.remove(node)
        inputs = [channels[i] for i in node["inputs"]]
        made = node.get("channels", inputs[0])
        if node["op"] == "concat":
            made = sum(inputs)
        elif node["op"] == "depth_to_space":
            made = inputs[0] // node["block"]**2
        elif node["op"] == "conv2d":
            nodes[node["name"]] = (made, inputs[0], *node["kernel"], node.get("activation") == "prelu")
        channels[node["output"]] = made
    return nodes, sorted(set(channels) - {graph["input"], graph["output"]}), graph["input"]


def unzstd(data):
    return subprocess.run(["zstd", "-qdc"], input=data, capture_output=True, check=True).stdout


def unpack(data, graph, update=None):
    """name -> (dtype, array as it is stored; of bf16 its 16 bits)."""
    nodes, tensors, source = shapes_of(graph)
    assert data[:5] == b"SRPM\1" and data[5] in (0, 1, 2)
    assert int.from_bytes(data[6:8], "little") == len(nodes)
    listed, at = [], 8
    for name in sorted(nodes):
        out, into, height, width, slope = nodes[name]
        kinds, groups = data[at], data[at + 1]
        at += 2
        weight, bias, bend, scale = (TYPES[kinds >> shift & 3] for shift in (0, 2, 4, 6))
        listed.append((f"{name}.weight", weight, (out, into, height, width)))
        if weight == "i1":
            listed.append((f"{name}.scale", scale, (out, groups) if groups > 1 else (out,)))
        listed.append((f"{name}.bias", bias, (out,)))
        if slope:
            listed.append((f"{name}.slope", bend, (out,)))
    tensors = [[], tensors, sorted([*tensors, source])][data[5]]
    for name in tensors:
        part = ("input_" if name == source else "") + ("range16" if data[at] & 4 else "range")
        listed.append((f"{name}.{part}", TYPES[data[at] & 3], (2,)))
        at += 1
    sizes = [int(np.prod(shape)) for _, _, shape in listed]
    wide = [1 if kind == "i1" else 4 if kind == "<f4" else 2 for _, kind, _ in listed]
    streams = unzstd(data[at:]) if sum(sizes) else b""
    assert len(streams) == sum(n * w for n, w in zip(sizes, wide))
    if update is not None:
        assert update[:8] == b"SRPU\1\0\0\0" and update[8:40] == hashlib.sha256(data).digest()
        change = np.frombuffer(unzstd(update[40:]), np.uint8)
        streams = (np.frombuffer(streams, np.uint8) + change).tobytes()
    values, start = {}, 0
    for width in (1, 2, 4):
        count = sum(n for n, w in zip(sizes, wide) if w == width)
        part = np.frombuffer(streams, np.uint8)[start:start + count * width]
        values[width] = part.reshape(width, count)[::-1].T.tobytes()  # little-endian values
        start += count * width
    arrays, taken = {}, {1: 0, 2: 0, 4: 0}
    for (name, kind, shape), n, w in zip(listed, sizes, wide):
        raw = values[w][taken[w]:taken[w] + n * w]
        taken[w] += n * w
        arrays[name] = (kind, np.frombuffer(raw, "<u2" if kind == "bf16" else kind).reshape(shape))
    return arrays


def of_package(folder):
    """The arrays of a package's first model."""
    model = json.loads((folder / "manifest.json").read_bytes())["models"][0]
    return unpack((folder / model["parameters"]["uri"]).read_bytes(),
                  json.loads((folder / model["graph"]["uri"]).read_bytes()))
