# SPDX-License-Identifier: BSD-2-Clause
"""What regions, groups of scales, and tensors of 16 bits cost: the tables of docs/engine.md.

    PYTHONPATH=scripts build/venv/bin/python -m bench.costs build [--rounds 14]

Runs of what is compared take turns, on one thread; the least of each counts. Parameters are random."""

import argparse
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path

import safetensors.torch
import torch

GROUPS = {  # graph: layer and number of groups
    "wdsr2-x2": [("skip", 3), ("tail", 2), ("tail", 4), ("block0.expand", 2), ("block0.reduce", 4)],
    "wdsr2-x4": [("skip", 3)],
    "edge16-x2": [("body1", 2), ("tail", 2)],
}
SIXTEEN = {"wdsr2-x2": ["x", "h2"], "wdsr2-x4": ["x"]}  # graph: tensors of 16 bits
APART = (3, 5, None)  # octaves from scale to scale of the groups
DEVIATION = 32  # of the codes
MASKS = ("best", "avx2")  # SRP_CPU; what is no set masks nothing


def parameters(graph, grouped, apart, path, sixteen=None):
    """A file of random codes for `graph`, {layer: groups} of them with a scale for each group: powers
    of two, up to `apart` octaves from each other, as srpack makes them, or others (None). With
    `sixteen` ranges too, these tensors' of 16 bits."""
    torch.manual_seed(1)
    channels, tensors = {graph["input"]: {"rgb": 3, "y": 1}[graph["colour"]]}, {}
    for node in graph["nodes"]:
        read = channels[node["inputs"][0]]
        if node["op"] == "depth_to_space":
            read //= node["block"] ** 2
        channels[node["output"]] = node["channels"] if node["op"] == "conv2d" else read
        if node["op"] == "conv2d":
            shape, groups = (node["channels"], read, *node["kernel"]), grouped.get(node["name"], 1)
            deviation = math.sqrt(2 / math.prod(shape[1:])) / DEVIATION
            scales = (shape[0], groups) if groups > 1 else shape[:1]
            # As trained weights are: few are as large as the largest.
            codes = (DEVIATION * torch.randn(shape)).round().clamp(-127, 127)
            scale = torch.full(scales, deviation)
            if groups > 1:
                octaves = torch.randint(0, (apart or 0) + 1, scales)
                scale = torch.ldexp(scale, -octaves) if apart is not None else scale * octaves.add(
                    torch.rand(scales)).neg().exp2()
            tensors[f"{node['name']}.weight"] = codes.to(torch.int8)
            tensors[f"{node['name']}.bias"] = (0.1 * torch.randn(shape[0])).half()
            tensors[f"{node['name']}.scale"] = scale.half()
    for tensor in channels if sixteen is not None else ():
        if tensor != graph["output"]:
            part = f"{'input_' if tensor == graph['input'] else ''}range{16 * (tensor in sixteen) or ''}"
            tensors[f"{tensor}.{part}"] = torch.tensor([-1.0, 1.0])
    safetensors.torch.save_file(tensors, path)


def least(build, isa, rounds, variants):
    """Each variant's least milliseconds, and its last report."""
    times, reports = [math.inf] * len(variants), [None] * len(variants)
    for _ in range(rounds):
        for i, options in enumerate(variants):
            done = subprocess.run(
                [build / "srbench", "engine", "--threads", "1", "--seconds", "0.2", "--json", *options],
                env={**os.environ, "SRP_CPU": isa}, check=True, capture_output=True, text=True)
            reports[i] = json.loads(done.stdout)
            times[i] = min(times[i], reports[i]["ms_min"])
    return times, reports


def frames(build, isa, rounds, path, files):
    """The least milliseconds of a graph's int8 frame with each of the files."""
    return least(build, isa, rounds, [
        ["--graph", path, "--parameters", file, "--size", "192x108", "--dtype", "int8"]
        for file in files])[0]


def regions(build, isa, rounds):
    for dtype in ("int8", "f32"):
        same = ["--graph", "models/wdsr2-x2.json", "--size", "960x540", "--dtype", dtype, "--tensor"]
        (whole, cut), (a, b) = least(build, isa, rounds, [[*same, "--regions", "960x540"],
                                                          [*same, "--regions", "48x54"]])
        per = [100 * (cut / whole * a[key] / b[key] - 1) for key in ("region_macs", "region_macs_made")]
        print(f"{isa} {dtype}: {whole:.1f} ms, as 200 regions {cut:.1f}: {per[0]:+.1f} % for each "
              f"multiply-accumulate, {per[1]:+.1f} % with what hangs over", flush=True)


def groups(build, isa, rounds):
    with tempfile.TemporaryDirectory() as folder:
        for name, layers in GROUPS.items():
            path = f"models/{name}.json"
            graph = json.loads(Path(path).read_text())
            what = [({}, None), *(({layer: n}, apart) for layer, n in layers for apart in APART)]
            files = [f"{folder}/{i}.safetensors" for i in range(len(what))]
            for file, (grouped, apart) in zip(files, what):
                parameters(graph, grouped, apart, file)
            plain, *times = frames(build, isa, rounds, path, files)
            costs = [f"{100 * (time / plain - 1):+.1f}" for time in times]
            for i, (layer, n) in enumerate(layers):
                print(f"{isa} {name} {layer}, {n} groups: " + ", ".join(
                    costs[i * len(APART):(i + 1) * len(APART)])
                    + f" % of {plain:.2f} ms, up to {APART[0]}, {APART[1]} octaves apart, by chance",
                    flush=True)


def sixteen(build, isa, rounds):
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in SIXTEEN.items():
            path = f"models/{name}.json"
            graph = json.loads(Path(path).read_text())
            what = [[], *([tensor] for tensor in tensors)]
            files = [f"{folder}/{i}.safetensors" for i in range(len(what))]
            for file, wide in zip(files, what):
                parameters(graph, {}, None, file, wide)
            plain, *times = frames(build, isa, rounds, path, files)
            for tensor, time in zip(tensors, times):
                print(f"{isa} {name} 16 bits of {tensor}: {100 * (time / plain - 1):+.1f} % of "
                      f"{plain:.2f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--rounds", type=int, default=14)
    options = parser.parse_args()
    for isa in MASKS:
        regions(options.build, isa, options.rounds)
        groups(options.build, isa, options.rounds)
        sixteen(options.build, isa, options.rounds)


if __name__ == "__main__":
    main()
