# SPDX-License-Identifier: BSD-2-Clause
"""Activation ranges (`T.range`, docs/format.md): what each tensor of a trained network holds on the
frames of its own video, so that the player can run it in int8 (docs/arithmetic.md)."""

import torch

from .colour import to_tensor

# Of frames that were not looked at, and of the difference between f32 and int8 on the way. The
# player's built-in picture gets 1.125; frames of the video itself are a better sample.
HEAD_ROOM = 1.0625
FRAMES = 16          # looked at, at most
MIN_FRAMES = 4
WORK = 1.5e11         # multiply-accumulates to spend


def tensors(module, x):
    """(name, value) of every tensor of the graph but its input, of all paths where there is a
    route; the route's own output, a choice of these, is left out."""
    values = {module.graph["input"]: x - module.mean}
    last = {t: i for i, node in enumerate(module.order) for t in node["inputs"]}
    for index, node in enumerate(module.order):
        if node["op"] == "route":
            continue
        value = module._node(index, [values[t] for t in node["inputs"]])
        yield node["output"], value
        values[node["output"]] = value
        for tensor in node["inputs"]:
            if last[tensor] == index:
                values.pop(tensor, None)


def limits(node) -> tuple[float, float]:
    """What the activation of a node lets through."""
    kind = node.get("activation", "none")
    if kind == "clip":
        return min(node["min"], 0.0), max(node["max"], 0.0)
    return {"relu": (0.0, float("inf")), "tanh": (-1.0, 1.0),
            "sigmoid": (0.0, 1.0)}.get(kind, (-float("inf"), float("inf")))


def chosen_frames(module, frames) -> list[int]:
    """Evenly spread frames, fewer where the network is dear."""
    cost = max(1, module.macs_per_pixel) * frames.height * frames.width
    count = min(len(frames), FRAMES, max(MIN_FRAMES, int(WORK / cost)))
    return [int((i + 0.5) * len(frames) / count) for i in range(count)]


def collect(module, frames, colour=None, should_stop=lambda: False) -> dict | None:
    """{tensor: (least, greatest)} over whole decoded low-resolution frames, with head-room, within
    what the activation can give; least <= 0 <= greatest, least < greatest. None: stopped."""
    node_of = {node["output"]: node for node in module.order}
    seen: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        for index in chosen_frames(module, frames):
            if should_stop():
                return None
            x = to_tensor(frames, index, module.colour, colour)[None]
            for name, value in tensors(module, x):
                low, high = (float(v) for v in torch.aminmax(value))
                before = seen.get(name, (0.0, 0.0))
                seen[name] = min(before[0], low), max(before[1], high)
    ranges = {}
    for name, (low, high) in seen.items():
        if name == module.graph["output"]:
            continue
        least, most = limits(node_of[name])
        low, high = max(low * HEAD_ROOM, least), min(high * HEAD_ROOM, most)
        ranges[name] = (low, high) if low < high else (low, 1.0)
    return ranges
