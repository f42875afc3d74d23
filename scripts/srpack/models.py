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
Dynamic ones, whose last node is a route between paths of rising cost: dydca - Zhan et al., Dy-DCA
(ECCV 2024), two separate WDSR bodies; edge-dyn - one edge trunk with an early exit. chunked() makes
K copies of a network the paths of one graph, as STDO ships a model for each group of patches.
"""

import argparse
import copy
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


def _shuffle(source, output, scale, name="shuffle"):
    return {
        "op": "depth_to_space",
        "name": name,
        "inputs": [source],
        "output": output,
        "block": scale,
    }


def _base(scale, output="b"):
    return {
        "op": "resize",
        "name": "base",
        "inputs": ["x"],
        "output": output,
        "scale": scale,
        "mode": "bicubic",
    }


def _route(paths, default, output="y"):
    return {"op": "route", "name": "route", "inputs": paths, "output": output, "default": default}


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
        nodes.append(_base(scale))
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


def _wdsr_nodes(blocks, wide, scale, width, output, prefix=""):
    nodes = [_conv(f"{prefix}head", "x", f"{prefix}h0", width)]
    for i in range(blocks):
        before, after = f"{prefix}h{i}", f"{prefix}h{i + 1}"
        middle, reduced, name = f"{prefix}e{i}", f"{prefix}r{i}", f"{prefix}block{i}"
        nodes += [
            _conv(f"{name}.expand", before, middle, width * wide, 3, "relu"),
            _conv(f"{name}.reduce", middle, reduced, width),
            _add(f"{name}.sum", [reduced, before], after),
        ]
    return nodes + [
        _conv(f"{prefix}tail", f"{prefix}h{blocks}", f"{prefix}t", 3 * scale * scale),
        _conv(f"{prefix}skip", "x", f"{prefix}s", 3 * scale * scale, 5),
        _add(f"{prefix}sum", [f"{prefix}t", f"{prefix}s"], f"{prefix}u"),
        _shuffle(f"{prefix}u", output, scale, f"{prefix}shuffle"),
    ]


def wdsr(blocks, wide, scale, width=32):
    """WDSR on RGB: head, `blocks` residual blocks width -> width*wide -> width, tail, 5x5 skip,
    shuffle."""
    nodes = _wdsr_nodes(blocks, wide, scale, width, "y")
    return _graph(f"wdsr{blocks}-x{scale}", scale, "rgb", nodes)


def dydca(scale, width=32):
    """Dy-DCA's dynamic model: bicubic, WDSR-2, WDSR-4; bodies, heads, tails and skips apart."""
    nodes = [_base(scale)]
    nodes += _wdsr_nodes(2, 2, scale, width, "y1", "shallow.")
    nodes += _wdsr_nodes(4, 2, scale, width, "y2", "deep.")
    nodes.append(_route(["b", "y1", "y2"], 1))
    return _graph(f"dydca-x{scale}", scale, "rgb", nodes)


def edge_dyn(scale, width=16, shallow=2, deep=6):
    """One trunk on luma whose picture may be taken after `shallow` or `deep` middle layers, or
    before the first: the bicubic base, to which both exits add what it misses."""
    nodes = [_base(scale), _conv("head", "x", "h0", width, 3, "relu")]
    for i in range(deep):
        nodes.append(_conv(f"body{i}", f"h{i}", f"h{i + 1}", width, 3, "relu"))
    for name, depth, output in (("shallow", shallow, "y1"), ("deep", deep, "y2")):
        nodes += [
            _conv(f"{name}.tail", f"h{depth}", f"{name}.t", scale * scale),
            _shuffle(f"{name}.t", f"{name}.d", scale, f"{name}.shuffle"),
            _add(f"{name}.sum", [f"{name}.d", "b"], output),
        ]
    nodes.append(_route(["b", "y1", "y2"], 1))
    return _graph(f"edge-dyn-x{scale}", scale, "y", nodes)


def path(graph, index):
    """Path `index` of a graph with a route, as a graph of its own."""
    route = next((node for node in graph["nodes"] if node["op"] == "route"), None)
    if route is None:
        return graph
    needed, nodes = {route["inputs"][index]}, {node["output"]: node for node in graph["nodes"]}
    todo = list(needed)
    while todo:
        for tensor in nodes.get(todo.pop(), {"inputs": []})["inputs"]:
            if tensor not in needed:
                needed.add(tensor)
                todo.append(tensor)
    kept = [node for node in graph["nodes"] if node["output"] in needed]
    return {**graph, "output": route["inputs"][index], "nodes": kept}


def chunked(graph, count):
    """`count` copies of a network (names behind g1_, g2_ ...) as paths 1.. of one graph, over path
    0, bicubic: STDO's models of `count` groups of patches, shipped as one."""
    nodes, paths = [_base(graph["scale"], "b0")], ["b0"]
    source, scale = graph["input"], graph["scale"]
    nodes[0]["name"] = "g0_base"
    nodes[0]["inputs"] = [source]
    for number in range(1, count + 1):
        for node in copy.deepcopy(graph["nodes"]):
            node["name"] = f"g{number}_{node['name']}"
            node["inputs"] = [t if t == source else f"g{number}_{t}" for t in node["inputs"]]
            node["output"] = f"g{number}_{node['output']}"
            nodes.append(node)
        paths.append(f"g{number}_{graph['output']}")
    nodes.append(_route(paths, 0, "routed"))
    stem = graph["name"].removesuffix(f"-x{scale}")
    return {
        **graph, "name": f"{stem}-chunks{count}-x{scale}", "output": "routed", "nodes": nodes
    }


def all_models():
    """Every graph that the project ships, by name, in a fixed order."""
    graphs = [edge(width, scale) for width in (16, 8) for scale in (1, 2, 3, 4)]
    graphs += [espcn(scale) for scale in (2, 3, 4)]
    graphs += [
        wdsr(blocks, wide, scale)
        for blocks, wide in ((2, 2), (4, 2), (16, 4))
        for scale in (2, 3, 4)
    ]
    graphs += [dydca(scale) for scale in (2, 3, 4)]
    graphs += [edge_dyn(scale) for scale in (1, 2, 3, 4)]
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
