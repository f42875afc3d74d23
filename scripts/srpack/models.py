# SPDX-License-Identifier: BSD-2-Clause
"""The model families, and nothing else: each function returns a graph (docs/format.md) as a
dict.

`python -m srpack.models --write` writes models/FAMILY-xSCALE.json; the text is a function of
this file alone.

Papers: espcn - Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016. wdsr - Yu et al., "Wide Activation for
Efficient and Accurate Image Super-Resolution", 2018, in the widths that STDO (CVPR 2023; wdsr16)
and Dy-DCA (ECCV 2024; wdsr2 shallow, wdsr4 deep branch) use. edge - a plain contest-size net
over a bicubic base, after ECBSR (MM 2021) and SESR (MLSys 2022).
"""

import argparse
import json
import pathlib
import sys

MODELS_DIR = pathlib.Path(__file__).resolve().parents[2] / "models"


def _conv(name, source, output, channels, kernel=3, activation=None):
    node = {
        "op": "conv2d",
        "name": name,
        "inputs": [source],
        "output": output,
        "channels": channels,
        "kernel": [kernel, kernel],
    }
    if activation is not None:
        node["activation"] = activation
    return node


def _add(name, inputs, output):
    return {"op": "add", "name": name, "inputs": inputs, "output": output}


def _shuffle(source, output, scale):
    return {
        "op": "depth_to_space",
        "name": "shuffle",
        "inputs": [source],
        "output": output,
        "block": scale,
    }


def _graph(name, scale, colour, nodes):
    return {
        "format": "srp-graph",
        "version": 1,
        "name": name,
        "scale": scale,
        "colour": colour,
        "mean": 0.5,
        "input": "x",
        "output": "y",
        "nodes": nodes,
    }


def edge(width, scale, middle=4):
    """Plain 3x3 net of `width` channels on luma that predicts what the bicubic base misses."""
    nodes = [_conv("head", "x", "h0", width, 3, "relu")]
    for i in range(middle):
        nodes.append(_conv(f"body{i}", f"h{i}", f"h{i + 1}", width, 3, "relu"))
    nodes.append(_conv("tail", f"h{middle}", "t", scale * scale))
    if scale == 1:
        nodes.append(_add("sum", ["t", "x"], "y"))
    else:
        nodes.append(_shuffle("t", "d", scale))
        nodes.append(
            {
                "op": "resize",
                "name": "base",
                "inputs": ["x"],
                "output": "b",
                "scale": scale,
                "mode": "bicubic",
            }
        )
        nodes.append(_add("sum", ["d", "b"], "y"))
    return _graph(f"edge{width}-x{scale}", scale, "y", nodes)


def espcn(scale):
    """ESPCN on luma: 5x5 to 64, 3x3 to 32, 3x3 to s*s, sub-pixel shuffle."""
    nodes = [
        _conv("head", "x", "h0", 64, 5, "tanh"),
        _conv("body", "h0", "h1", 32, 3, "tanh"),
        _conv("tail", "h1", "t", scale * scale),
        _shuffle("t", "y", scale),
    ]
    return _graph(f"espcn-x{scale}", scale, "y", nodes)


def wdsr(blocks, wide, scale, width=32):
    """WDSR on RGB: head, `blocks` residual blocks width -> width*wide -> width, tail, 5x5 skip,
    shuffle."""
    nodes = [_conv("head", "x", "h0", width)]
    for i in range(blocks):
        nodes += [
            _conv(f"block{i}.expand", f"h{i}", f"e{i}", width * wide, 3, "relu"),
            _conv(f"block{i}.reduce", f"e{i}", f"r{i}", width),
            _add(f"block{i}.sum", [f"r{i}", f"h{i}"], f"h{i + 1}"),
        ]
    nodes += [
        _conv("tail", f"h{blocks}", "t", 3 * scale * scale),
        _conv("skip", "x", "s", 3 * scale * scale, 5),
        _add("sum", ["t", "s"], "u"),
        _shuffle("u", "y", scale),
    ]
    return _graph(f"wdsr{blocks}-x{scale}", scale, "rgb", nodes)


def all_models():
    """Every graph that the project ships, by name, in a fixed order."""
    graphs = [edge(width, scale) for width in (16, 8) for scale in (1, 2, 3, 4)]
    graphs += [espcn(scale) for scale in (2, 3, 4)]
    graphs += [
        wdsr(blocks, wide, scale)
        for blocks, wide in ((2, 2), (4, 2), (16, 4))
        for scale in (2, 3, 4)
    ]
    return {graph["name"]: graph for graph in graphs}


def dump(graph):
    """The file's text: keys in the order above, one node per line."""
    lines = ["{"]
    for key, value in graph.items():
        if key != "nodes":
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)},")
    lines.append('  "nodes": [')
    lines.append(",\n".join("    " + json.dumps(node) for node in graph["nodes"]))
    lines += ["  ]", "}"]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="srpack.models", description="list or write the model graphs"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the files (default: print the names)"
    )
    parser.add_argument(
        "--directory", type=pathlib.Path, default=MODELS_DIR, help="where to (default: models/)"
    )
    args = parser.parse_args(argv)
    for name, graph in all_models().items():
        if args.write:
            (args.directory / f"{name}.json").write_text(dump(graph), encoding="utf-8")
        else:
            print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
