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
REACH = 256          # codes beyond 0 and 255 that RGB is looked for in
SHARES = 16          # of how far it reaches, tried for the input's range
WORTH = 0.5          # of the squared error of samples as codes is left where a range is stated
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


def of_input(counts) -> tuple[float, float] | None:
    """Least and greatest sample, in 8-bit codes, that the codes of the input should stand for, so
    that the sum of squares of what rounding and saturation do is least; None: 0..255, the samples
    as they are, are not much worse. `counts`: of each sample from -REACH to 255 + REACH how often it was seen."""
    values = torch.arange(-REACH, REACH + 256, dtype=torch.float64)
    there = values[counts > 0]
    if not len(there):
        return None
    least, most = min(0.0, float(there[0])), max(255.0, float(there[-1]))
    errors, tried = [], []
    for k in range(SHARES + 1):
        low, high = least * k / SHARES, 255 + (most - 255) * k / SHARES
        clipped = (values.clamp(low, high) - values).square()
        step = (high - low) / 255
        errors.append(float(((clipped + step**2 / 12) * counts).sum()))
        tried.append((low, high))
    best = errors.index(min(errors))
    return tried[best] if errors[best] < WORTH * errors[0] else None


def chosen_frames(module, frames) -> list[int]:
    """Evenly spread frames, fewer where the network is dear."""
    cost = max(1, module.macs_per_pixel) * frames.height * frames.width
    count = min(len(frames), FRAMES, max(MIN_FRAMES, int(WORK / cost)))
    return [int((i + 0.5) * len(frames) / count) for i in range(count)]


def collect(module, frames, colour=None, should_stop=lambda: False) -> dict | None:
    """{tensor: (least, greatest)} over whole decoded low-resolution frames, with head-room, within
    what the activation can give; least <= 0 <= greatest, least < greatest. Of the input where RGB
    made of decoded planes reaches so far beyond 0..255 that codes for it lose less than clipping.
    None: stopped."""
    node_of = {node["output"]: node for node in module.order}
    seen: dict[str, tuple[float, float]] = {}
    counts = torch.zeros(2 * REACH + 256, dtype=torch.float64)
    with torch.no_grad():
        for index in chosen_frames(module, frames):
            if should_stop():
                return None
            x = to_tensor(frames, index, module.colour, colour)[None]
            counts += torch.histc(x * 255, len(counts), -REACH - 0.5, 255.5 + REACH).double()
            for name, value in tensors(module, x):
                low, high = (float(v) for v in torch.aminmax(value))
                before = seen.get(name, (0.0, 0.0))
                seen[name] = min(before[0], low), max(before[1], high)
    ranges, samples = {}, of_input(counts)
    if samples is not None:
        ranges[module.graph["input"]] = tuple(code / 255 - module.mean for code in samples)
    for name, (low, high) in seen.items():
        if name == module.graph["output"]:
            continue
        least, most = limits(node_of[name])
        low, high = max(low * HEAD_ROOM, least), min(high * HEAD_ROOM, most)
        ranges[name] = (low, high) if low < high else (low, 1.0)
    return ranges
