# SPDX-License-Identifier: BSD-2-Clause
"""A small graph with a route, for tests."""


def route_graph(scale=2, colour="y"):
    """Path 0 bicubic, path 1 a small net, path 2 a deeper one on the same first layer."""
    channels = {"y": 1, "rgb": 3, "yuv420": 6}[colour]

    def conv(name, source, output, count, activation="none"):
        return {"op": "conv2d", "name": name, "inputs": [source], "output": output,
                "channels": count, "kernel": [3, 3], "activation": activation}
    fine = channels * scale * scale
    nodes = [
        {"op": "resize", "name": "base", "inputs": ["x"], "output": "b", "scale": scale,
         "mode": "bicubic"},
        conv("head", "x", "h", 4, "relu"),
        conv("exit", "h", "e", fine),
        {"op": "depth_to_space", "name": "s1", "inputs": ["e"], "output": "d1", "block": scale},
        {"op": "add", "name": "sum1", "inputs": ["d1", "b"], "output": "p1"},
        conv("body", "h", "g", 8, "relu"),
        conv("tail", "g", "t", fine),
        {"op": "depth_to_space", "name": "s2", "inputs": ["t"], "output": "d2", "block": scale},
        {"op": "add", "name": "sum2", "inputs": ["d2", "b"], "output": "p2"},
        {"op": "route", "name": "route", "inputs": ["b", "p1", "p2"], "output": "y", "default": 2},
    ]
    return {"format": "srp-graph", "version": 1, "name": f"small-x{scale}", "scale": scale,
            "colour": colour, "mean": 0.5, "input": "x", "output": "y", "nodes": nodes}
