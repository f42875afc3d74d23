# SPDX-License-Identifier: BSD-2-Clause
"""Packages with a dynamic model and routes: a writer of docs/format.md's routes beside srpack."""
import hashlib
import json
import shutil

import numpy as np
import tiny

CELL = (32, 16)
PATHS = 3


def conv(name, inputs, output, channels, **more):
    return {"op": "conv2d", "name": name, "inputs": [inputs], "output": output, "channels": channels,
            "kernel": [3, 3], **more}


def branch(prefix, channels, depth):
    """Nodes of one network on top of the base."""
    nodes, at = [conv(f"{prefix}head", "x", f"{prefix}0", channels, activation="relu")], f"{prefix}0"
    for i in range(1, depth):
        nodes.append(conv(f"{prefix}mid{i}", at, f"{prefix}{i}", channels, activation="relu"))
        at = f"{prefix}{i}"
    return [*nodes, conv(f"{prefix}tail", at, f"{prefix}t", 4),
            {"op": "depth_to_space", "name": f"{prefix}up", "inputs": [f"{prefix}t"], "output": f"{prefix}d", "block": 2},
            {"op": "add", "name": f"{prefix}sum", "inputs": [f"{prefix}d", "b"], "output": f"{prefix}y"}]


def graph(name="dyn-x2", paths=PATHS, default=1):
    """Path 0 is the base upscaler; each path is dearer than the one before."""
    branches = [branch("p", 4, 1), branch("q", 8, 2), branch("r", 8, 3)][:paths - 1]
    return {"format": "srp-graph", "version": 1, "name": name, "scale": 2, "colour": "y", "input": "x",
            "output": "y", "nodes": [
                {"op": "resize", "name": "base", "inputs": ["x"], "output": "b", "scale": 2, "mode": "bicubic"},
                *(node for nodes in branches for node in nodes),
                {"op": "route", "name": "route", "inputs": ["b", *(n[-1]["output"] for n in branches)],
                 "output": "y", "default": default}]}


MACS = [0, 9 * (4 + 16), 9 * (8 + 64 + 32)]


def path_graph(whole, index):
    """That path alone, as a stranger would cut it out: backwards from its output."""
    wanted, nodes = {whole["nodes"][-1]["inputs"][index]}, []
    for node in reversed(whole["nodes"][:-1]):
        if node["output"] in wanted:
            wanted |= set(node["inputs"])
            nodes.insert(0, dict(node))
    return {**whole, "name": f"{whole['name']}-{index}", "output": whole["nodes"][-1]["inputs"][index], "nodes": nodes}


def zstd(data):
    """One zstd frame of raw blocks that declares its size."""
    out = b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little")
    for at in range(0, len(data), 1 << 17):
        block = data[at:at + (1 << 17)]
        last = at + len(block) == len(data)
        out += (len(block) << 3 | last).to_bytes(3, "little") + block
    return out


def encode(levels, cell=CELL, paths=PATHS, threshold=20):
    """levels: [plane][frame][row][column]; threshold 0: a choice."""
    planes, frames, rows, columns = levels.shape
    kind = 1 if threshold == 0 else 0
    assert planes == (1 if kind else paths - 1)
    differences = np.diff(levels.astype(np.uint8), axis=1, prepend=np.uint8(0))
    head = b"SRTE" + bytes([1, kind, paths, threshold])
    for value in (*cell, columns, rows):
        head += value.to_bytes(2, "little")
    head += frames.to_bytes(4, "little") + bytes(4)
    return head + zstd(differences.tobytes())


def random_levels(seed, frames=tiny.RATE, grid=(4, 3), paths=PATHS):
    """Gains that last for some frames, half of them below the threshold of 20."""
    random = np.random.default_rng(seed)
    levels = random.integers(0, 41, (paths - 1, frames, *grid))
    levels[:, 1:][random.random(levels[:, 1:].shape) < 0.5] = 0
    for f in range(1, frames):
        if f % 5:
            levels[:, f] = levels[:, f - 1]
    return np.minimum.accumulate(levels, axis=0).astype(np.uint8)


def choice(levels, threshold=20):
    """The packer's own choice, [frame][row][column]."""
    return levels[0] if threshold == 0 else (levels >= threshold).sum(axis=0)


def add(package, levels, out=None, model=None, default=1, **options):
    """Gives a package of tiny.make a dynamic model and every chunk its routes; returns the package.

    levels: one array for each chunk, or None for a chunk without routes."""
    if out is not None:
        shutil.copytree(package, out)
    package = out or package
    whole = model or graph(default=default)
    manifest = tiny.read(package)
    manifest["models"] = [{"name": whole["name"],
                           "graph": tiny.add_object(package, json.dumps(whole).encode(), "json"),
                           "parameters": tiny.add_object(package, tiny.parameters(5, 0.08, whole), "safetensors")}]
    for chunk, one in zip(manifest["chunks"], levels, strict=True):
        chunk["model"] = 0
        chunk.pop("routes", None)
        if one is not None:
            chunk["routes"] = tiny.add_object(package, encode(one, **options), "routes")
    tiny.write(package, manifest)
    return package


def replace(package, chunk, data):
    """Other routes for one chunk, rightly declared."""
    manifest = tiny.read(package)
    manifest["chunks"][chunk]["routes"] = tiny.add_object(package, data, "routes")
    tiny.write(package, manifest)


def path_of(package, chunk):
    return package / tiny.read(package)["chunks"][chunk]["routes"]["uri"]


def name(data):
    return hashlib.sha256(data).hexdigest()
