# SPDX-License-Identifier: BSD-2-Clause
"""int8 execution, bit by bit: a second implementation of docs/arithmetic.md in NumPy, written from that page alone,
against the library's reference; and how far int8 is from f32 on pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "clips"
sys.path.insert(0, str(Path(__file__).resolve().parent))

import srp  # noqa: E402
from safetensors.numpy import save  # noqa: E402

F, D = np.float32, np.float64
MOVERS = ("slice", "concat", "depth_to_space")
INPUTS = {"y": 1, "rgb": 3, "yuv420": 6}


# ---- single precision ----------------------------------------------------------------------------

def fma(a, b, c):
    """One rounding: the product is exact in double; the sum is rounded to odd there, then to single."""
    p = np.asarray(a, D) * np.asarray(b, D)
    c = np.broadcast_to(np.asarray(c, D), np.broadcast_shapes(p.shape, np.shape(c)))
    s = p + c
    t = s - p
    lost = (p - (s - t)) + (c - t)
    even = (s.view(np.int64) & 1) == 0
    odd = np.where(lost > 0, np.nextafter(s, np.inf), np.nextafter(s, -np.inf))
    return np.where((lost != 0) & even, odd, s).astype(F)


def saturate(v):
    return np.clip(np.rint(v), 0, 255).astype(np.uint8)


def exponential(a):
    n = np.rint(a * F(-1.44269504))
    r = (-a - n * F(0.693359375)) - n * F(-2.12194440e-4)
    p = F(0.00138142216)
    for c in (0.00836889911, 0.0416684039, 0.166665196, 0.49999994):
        p = p * r + F(c)
    return (p * (r * r) + r + F(1)) * np.exp2(n.astype(D)).astype(F)


def activate(x, node, slope=None):
    kind = node.get("activation", "none")
    if kind == "relu":
        return np.where(x > 0, x, F(0))
    if kind == "leaky_relu":
        return np.where(x >= 0, x, F(node["alpha"]) * x)
    if kind == "prelu":
        return np.where(x >= 0, x, slope * x)
    if kind == "clip":
        low, high = F(node["min"]), F(node["max"])
        x = np.where(x > low, x, low)
        return np.where(x < high, x, high)
    if kind == "sigmoid":
        e = exponential(np.minimum(np.abs(x), F(87)))
        return np.where(x < 0, e, F(1)) / (F(1) + e)
    if kind == "tanh":
        a = np.minimum(np.abs(x), F(10))
        e = exponential(a + a)
        z = a * a
        p = F(-0.00566690043)
        for c in (0.0206061099, -0.0537299886, 0.133313313, -0.333332777):
            p = p * z + F(c)
        return np.copysign(np.where(a < F(0.625), p * z * a + a, (F(1) - e) / (F(1) + e)), x)
    return x


# ---- the picture for ranges ----------------------------------------------------------------------

def scramble(y, x):
    h = (x * 374761393 + y * 668265263) & 0xffffffff
    h = ((h ^ (h >> 13)) * 1274126177) & 0xffffffff
    return h ^ (h >> 16)


def wave(n, p, a):
    k = n % p
    return 2 * np.minimum(k, p - k) * a // p


def luma(y, x):
    h = scramble(y, x)
    weave = wave(y, 32, 40)
    kinds = [40 + wave(3 * x + 2 * y, 256, 160), 100 + wave(5 * x + 3 * y, 16, 60),
             np.where((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2 < 36, 220, 50),
             np.where((x + 2 * y) % 32 < 16, 235, 16), np.where(x % 4 == 0, 200, 90), 96 + (h >> 8) % 64,
             np.where((x + y) % 2 == 0, 128 + weave, 128 - weave), np.where(scramble(y // 3, x // 2) % 2 == 0, 16, 240)]
    return np.clip(np.choose((x // 16 + 5 * (y // 16)) % 8, kinds) + h % 7 - 3, 0, 255)


def calibration_picture(colour, h, w):
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    u, v = wave(7 * x + 3 * y, 160, 80) - 40, wave(2 * x + 9 * y, 112, 64) - 32
    if colour == "y":
        planes = [luma(y, x)]
    elif colour == "rgb":
        planes = [luma(y, x) + v, luma(y, x), luma(y, x) + u]
    else:
        planes = [luma(2 * y + c // 2, 2 * x + c % 2) for c in range(4)] + [128 + u, 128 + v]
    return np.clip(np.stack(planes, -1), 0, 255)


# ---- operators -----------------------------------------------------------------------------------

def taps(x, kh, kw, outside):
    """The operand under each tap (ky, kx), with what lies outside."""
    h, w, _ = x.shape
    padded = np.pad(x, ((kh // 2,) * 2, (kw // 2,) * 2, (0, 0)), constant_values=outside)
    for ky in range(kh):
        for kx in range(kw):
            yield ky, kx, padded[ky:ky + h, kx:kx + w]


def convolve_f32(x, weight, bias):
    out = np.broadcast_to(bias, (*x.shape[:2], len(bias))).copy()
    inside = np.ones((*x.shape[:2], 1), bool)
    _, channels, kh, kw = weight.shape
    for (ky, kx, part), (_, _, there) in zip(taps(x, kh, kw, 0), taps(inside, kh, kw, False)):
        for i in range(channels):
            out = np.where(there, out + part[..., i:i + 1] * weight[:, i, ky, kx], out)
    return out


def shuffle(x, node):
    h, w, c = x.shape
    b = node["block"]
    if node.get("order", "crd") == "crd":
        return x.reshape(h, w, c // b**2, b, b).transpose(0, 3, 1, 4, 2).reshape(h * b, w * b, -1)
    return x.reshape(h, w, b, b, c // b**2).transpose(0, 2, 1, 3, 4).reshape(h * b, w * b, -1)


def keys(t):
    a, t = -0.6, abs(t)
    if t < 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0


def resize_weights(mode, scale, phase):
    position = 2 * phase + 1 - scale  # in 1 / (2 scale)
    k, f = position // (2 * scale), D(position % (2 * scale)) / (2 * scale)
    weights = {"nearest": {k + (f >= 0.5): 1.0}, "bilinear": {k: 1 - f, k + 1: f},
               "bicubic": {k + d: keys(d - f) for d in (-1, 0, 1, 2)}}[mode]
    return [F(weights.get(d, 0.0)) for d in range(-2, 3)]


def resize_axis(x, mode, scale):
    """Along axis 0."""
    count = x.shape[0]
    out = np.zeros((count * scale, *x.shape[1:]), F)
    for phase in range(scale):
        total = np.zeros_like(x)
        for d, weight in zip(range(-2, 3), resize_weights(mode, scale, phase)):
            total = total + weight * x[np.clip(np.arange(count) + d, 0, count - 1)]
        out[phase::scale] = total
    return out


def operate(node, operands):
    op = node["op"]
    if op in ("add", "mul"):
        total = operands[0]
        for x in operands[1:]:
            total = total + x if op == "add" else total * x
        return activate(total, node)
    if op == "concat":
        return np.concatenate(operands, -1)
    if op == "slice":
        return operands[0][..., node["first"]:node["first"] + node["channels"]]
    if op == "depth_to_space":
        return shuffle(operands[0], node)
    down = resize_axis(operands[0], node["mode"], node["scale"])
    return resize_axis(down.transpose(1, 0, 2), node["mode"], node["scale"]).transpose(1, 0, 2)


# ---- a program -----------------------------------------------------------------------------------

class Step:
    def __init__(self, node, total=None):
        self.node, self.total = node, total
        self.last = total or node
        self.output = self.last["output"]
        self.residual = None
        if total:
            self.residual = next(t for t in total["inputs"] if t != node["output"])
        self.reads = node["inputs"] + ([self.residual] if total else [])
        self.conv = node["op"] == "conv2d"
        self.moves = node["op"] in MOVERS or node.get("mode") == "nearest"


def ordered(graph):
    left, there, order = list(graph["nodes"]), {graph["input"]}, []
    while left:
        node = next(n for n in left if set(n["inputs"]) <= there)
        left.remove(node)
        there.add(node["output"])
        order.append(node)
    return order


def steps_of(graph):
    order = ordered(graph)
    writer = {n["output"]: n for n in order}
    reads = [t for n in order for t in n["inputs"]]
    taken = {}
    for node in order:
        a = node["inputs"]
        if node["op"] != "add" or len(a) != 2 or a[0] == a[1] or node.get("activation", "none") not in ("none", "relu", "clip"):
            continue
        convs = [writer[t] for t in a if t in writer and writer[t]["op"] == "conv2d" and reads.count(t) == 1
                 and writer[t].get("activation", "none") in ("none", "relu", "leaky_relu", "prelu")]
        if convs:
            taken[node["output"]] = max(convs, key=order.index)
    return [Step(taken[n["output"]], n) if n["output"] in taken else Step(n) for n in order
            if not any(n is conv for conv in taken.values())]


class Quantised:
    def __init__(self, graph, parameters):
        self.graph, self.p = graph, {k: v.astype(F) for k, v in parameters.items()}
        self.input, self.mean = graph["input"], F(graph.get("mean", 0))
        self.steps = steps_of(graph)
        self.q8 = {self.input}
        for step in reversed(self.steps):
            if step.conv or step.output in self.q8:
                self.q8.update(step.node["inputs"])
        self.q8.discard(graph["output"])
        self.group()
        self.find_ranges()
        self.find_scales()

    def group(self):
        self.groups = {t: {t} for t in self.q8}
        for step in self.steps:
            if not step.moves or step.output not in self.q8:
                continue
            inside = [self.input in self.groups[t] for t in step.node["inputs"]]
            for t, is_input in zip(step.node["inputs"], inside):
                if all(inside) or not is_input:
                    union = self.groups[t] | self.groups[step.output]
                    self.groups.update({member: union for member in union})

    def size(self):
        channels, factor, macs, values = {self.input: INPUTS[self.graph["colour"]]}, {self.input: 1}, 0, 0
        for n in ordered(self.graph):
            a, out = n["inputs"][0], n["output"]
            channels[out], factor[out] = channels[a], factor[a] * n.get("block", n.get("scale", 1))
            if n["op"] == "conv2d":
                channels[out] = n["channels"]
                macs += channels[a] * channels[out] * n["kernel"][0] * n["kernel"][1] * factor[a] ** 2
            elif n["op"] == "concat":
                channels[out] = sum(channels[t] for t in n["inputs"])
            elif n["op"] == "slice":
                channels[out] = n["channels"]
            elif n["op"] == "depth_to_space":
                channels[out] = channels[a] // n["block"] ** 2
        values = sum(channels[t] * factor[t] ** 2 for t in channels)
        w, h = 96, 64
        while w > 12 and (macs * w * h > 2**31 or values * w * h > 2**27):
            w, h = w // 2, h // 2
        return h, w

    def find_ranges(self):
        wanted = [s.output for s in self.steps if s.output in self.q8 and self.input not in self.groups[s.output]]
        if any(name.endswith(".range") for name in self.p):
            self.ranges = {t: tuple(self.p[f"{t}.range"]) for t in wanted}
            return
        x = calibration_picture(self.graph["colour"], *self.size()).astype(F) / F(255) - self.mean
        t, most = {self.input: x}, F(np.finfo(F).max)
        limits = {self.input: (-self.mean, F(1) - self.mean)}
        self.ranges = {}
        for step in self.steps:
            node = step.node
            if step.conv:
                name = node["name"]
                y = convolve_f32(t[node["inputs"][0]], self.p[f"{name}.weight"], self.p[f"{name}.bias"])
                y = activate(y, node, self.p.get(f"{name}.slope"))
                if step.total:
                    y = activate(y + t[step.residual], step.total)
            else:
                y = operate(node, [t[i] for i in node["inputs"]])
            t[step.output] = y
            kind = step.last.get("activation", "none")
            limits[step.output] = {"relu": (F(0), most), "tanh": (F(-1), F(1)), "sigmoid": (F(0), F(1)), "clip": (
                min(F(step.last.get("min", 0)), F(0)), max(F(step.last.get("max", 0)), F(0)))}.get(kind, (-most, most))
            if step.moves:
                limits[step.output] = (min(limits[i][0] for i in node["inputs"]), max(limits[i][1] for i in node["inputs"]))
            if step.output in wanted:
                low, high = F(min(F(0), y.min())) * F(1.125), F(max(F(0), y.max())) * F(1.125)
                self.ranges[step.output] = (max(low, limits[step.output][0]), min(high, limits[step.output][1]))

    def find_scales(self):
        self.scale, self.zero = {}, {}
        for t in self.q8:
            if self.input in self.groups[t]:
                self.scale[t], self.zero[t] = D(1) / 255, D(255) * D(self.mean)
                continue
            low = D(min(self.ranges[m][0] for m in self.groups[t]))
            high = D(max(self.ranges[m][1] for m in self.groups[t]))
            high = D(1) if low == high else high
            self.scale[t] = D(max(F((high - low) / 255), F(2.0**-100)))
            self.zero[t] = np.rint(-low / self.scale[t])

    def real(self, name, value):
        return (value.astype(F) - F(self.zero[name])) * F(self.scale[name]) if name in self.q8 else value

    def code(self, name, value):
        return saturate(fma(value, F(1 / self.scale[name]), F(self.zero[name])))

    def convolve(self, step, t):
        node, name = step.node, step.node["name"]
        a = node["inputs"][0]
        w, b = self.p[f"{name}.weight"].astype(D), self.p[f"{name}.bias"].astype(D)
        si, zi = self.scale[a], self.zero[a]
        sw = np.maximum(np.abs(w).max((1, 2, 3)) / 127, np.abs(b) / si / 2.0**29)
        sw[sw == 0] = 1
        wq = np.rint(w / sw[:, None, None, None])
        st = si * sw
        e = b / st - zi * wq.sum((1, 2, 3))
        bq = np.rint(e)
        total = np.broadcast_to(bq.astype(np.int64), (*t[a].shape[:2], len(bq))).copy()
        for ky, kx, part in taps(t[a], *wq.shape[2:], int(np.rint(zi))):
            total += part.astype(np.int64) @ wq[:, :, ky, kx].T.astype(np.int64)
        assert np.abs(total).max() < 2**31
        s, last = total.astype(F), step.last
        kind, out = node.get("activation", "none"), step.output
        slope = {"prelu": self.p.get(f"{name}.slope"), "leaky_relu": F(node.get("alpha", 0))}.get(kind)
        if kind == "relu" and step.total:
            slope = F(0)
        curve = last.get("activation", "none") in ("tanh", "sigmoid")
        to_codes = out in self.q8 and not curve
        if to_codes:
            so, zo = self.scale[out], self.zero[out]
            m, offset = (st / so).astype(F), F(zo)
            residual, mr = t.get(step.residual), F(1 / so)
            if step.residual in self.q8:
                ratio = self.scale[step.residual] / so
                mr, offset, residual = F(ratio), F(zo - self.zero[step.residual] * ratio), residual.astype(F)
            if slope is None:
                v = fma(s, m, offset)
            else:
                v = s * m
                v = np.where(v < 0, v * slope, v) + offset
        else:
            so, zo = D(1), D(0)
            v = fma(s, st.astype(F), ((e - bq) * st).astype(F))
            v = v if slope is None else np.where(v < 0, v * slope, v)
            mr = F(1)
            residual = self.real(step.residual, t[step.residual]) if step.residual else None
        if step.residual:
            v = fma(residual, mr, v)
        if last.get("activation") == "relu":
            v = np.where(v > F(zo), v, F(zo))
        elif last.get("activation") == "clip":
            low, high = F(D(F(last["min"])) / so + zo), F(D(F(last["max"])) / so + zo)
            v = np.where(v > low, v, low)
            v = np.where(v < high, v, high)
        if to_codes:
            return saturate(v)
        v = activate(v, last) if curve else v
        return self.code(out, v) if out in self.q8 else v

    def run(self, codes):
        t = {self.input: codes}
        for step in self.steps:
            if step.conv:
                t[step.output] = self.convolve(step, t)
                continue
            y = operate(step.node, [self.real(i, t[i]) for i in step.node["inputs"]])
            t[step.output] = self.code(step.output, y) if step.output in self.q8 else y
        return t[self.graph["output"]]


# ---- graphs --------------------------------------------------------------------------------------

def conv(name, a, out, channels, kernel=3, **more):
    kernel = [kernel, kernel] if isinstance(kernel, int) else kernel
    return {"op": "conv2d", "name": name, "inputs": [a], "output": out, "channels": channels, "kernel": kernel, **more}


def node(op, name, inputs, out, **more):
    return {"op": op, "name": name, "inputs": inputs, "output": out, **more}


def end(a, scale, base="bicubic"):
    return [node("depth_to_space", "shuffle", [a], "d", block=scale),
            node("resize", "base", ["x"], "b", scale=scale, mode=base), node("add", "sum", ["d", "b"], "y")]


GRAPHS = {
    # name: (colour, scale, mean, nodes)
    "edge": ("y", 2, 0.5, [conv("a", "x", "h", 12, activation="relu"), conv("c", "h", "g", 20, activation="relu"),
                           conv("t", "g", "t", 4), *end("t", 2)]),
    "wdsr": ("rgb", 2, 0.4488, [
        conv("head", "x", "h", 16), conv("e0", "h", "e0", 24, activation="relu"), conv("r0", "e0", "r0", 16),
        node("add", "s0", ["r0", "h"], "h1"), conv("e1", "h1", "e1", 24, 1, activation="relu"), conv("r1", "e1", "r1", 16),
        node("add", "s1", ["h1", "r1"], "h2"), conv("tail", "h2", "t", 12), conv("skip", "x", "s", 12, 5),
        node("add", "sum", ["t", "s"], "u"), node("depth_to_space", "shuffle", ["u"], "y", block=2)]),
    "espcn": ("y", 3, 0.0, [conv("a", "x", "h", 16, 5, activation="tanh"), conv("c", "h", "g", 8, activation="tanh"),
                            conv("t", "g", "t", 9), node("depth_to_space", "s", ["t"], "y", block=3)]),
    "activations": ("y", 1, 0.3, [
        conv("a", "x", "h", 7, activation="prelu"), conv("c", "h", "g", 9, [1, 3], activation="leaky_relu", alpha=0.2),
        conv("e", "g", "i", 6, [3, 1], activation="clip", min=-0.25, max=0.5),
        conv("f", "i", "j", 5, activation="clip", min=0.1, max=0.4), conv("k", "j", "k", 6, activation="sigmoid"),
        conv("t", "k", "y", 1, activation="clip", min=-0.5, max=0.5)]),
    "sums": ("y", 1, 0.5, [
        conv("a", "x", "h", 8), conv("c", "h", "g", 8, activation="prelu"), node("add", "s0", ["h", "g"], "i", activation="relu"),
        conv("e", "i", "j", 8, activation="relu"), node("add", "s1", ["j", "i"], "k", activation="clip", min=-0.2, max=0.6),
        conv("f", "k", "l", 8, activation="leaky_relu", alpha=-0.5), node("add", "s2", ["k", "l"], "m"),
        conv("g", "m", "n", 8), node("add", "s3", ["n", "m", "h"], "o", activation="leaky_relu", alpha=0.1),
        conv("p", "o", "p", 1), node("add", "s4", ["p", "x"], "q"), conv("q", "q", "r", 1),
        node("add", "s5", ["x", "r"], "y")]),
    "skip": ("y", 1, 0.5, [  # a Q8 tensor is added to the F32 output, and an F32 one to a Q8 sum
        conv("a", "x", "h", 4), conv("c", "h", "g", 4, activation="relu"), conv("e", "g", "i", 4),
        conv("f", "x", "j", 4, 1), node("add", "s0", ["i", "j"], "k"), conv("t", "k", "l", 1), conv("u", "h", "m", 1, 1),
        conv("v", "m", "n", 1), node("add", "s1", ["l", "m"], "o"), node("add", "s2", ["o", "n"], "y")]),
    "concat": ("rgb", 2, 0.4488, [
        node("slice", "p", ["x"], "p", first=1, channels=2), conv("a", "p", "h", 12, activation="relu"),
        conv("c", "h", "g", 20, activation="tanh"), node("concat", "k", ["g", "h", "x"], "k"), conv("e", "k", "i", 16, 1),
        node("concat", "l", ["x", "p"], "l"), conv("f", "l", "j", 16), node("mul", "m", ["i", "j"], "m"),
        conv("t", "m", "t", 12), *end("t", 2, "bilinear")]),
    "attention": ("y", 2, 0.5, [
        conv("a", "x", "h", 12, activation="relu"), conv("c", "h", "g", 12, 1, activation="sigmoid"),
        node("mul", "m", ["h", "g"], "m"), node("mul", "n", ["m", "g", "h"], "n", activation="tanh"),
        node("add", "o", ["n", "h"], "o", activation="sigmoid"), conv("t", "o", "t", 4), *end("t", 2)]),
    "middle": ("y", 4, 0.5, [
        conv("a", "x", "h", 16, activation="relu"), node("depth_to_space", "d0", ["h"], "h2", block=2, order="dcr"),
        node("resize", "n0", ["x"], "n2", scale=2, mode="nearest"), node("resize", "b0", ["x"], "b2", scale=2, mode="bicubic"),
        node("resize", "l0", ["h"], "l2", scale=2, mode="bilinear"), node("concat", "k", ["h2", "n2", "b2", "l2"], "k"),
        conv("c", "k", "g", 12, activation="leaky_relu", alpha=0.1), node("resize", "n1", ["g"], "g4", scale=2, mode="nearest"),
        conv("e", "g4", "i", 1, 5), node("resize", "base", ["x"], "b", scale=4, mode="bicubic"),
        node("add", "sum", ["i", "b"], "y")]),
    "yuv": ("yuv420", 3, 0.5, [conv("a", "x", "h", 10, activation="relu"), conv("t", "h", "t", 54),
                               *end("t", 3, "nearest")]),
}


def made(name, seed):
    colour, scale, mean, nodes = GRAPHS[name]
    graph = {"format": "srp-graph", "version": 1, "name": name, "scale": scale, "colour": colour, "mean": mean,
             "input": "x", "output": "y", "nodes": nodes}
    rng = np.random.default_rng(seed)
    parameters, channels = {}, {"x": INPUTS[colour]}
    for n in nodes:
        a = n["inputs"][0]
        channels[n["output"]] = n.get("channels", channels[a])
        if n["op"] == "concat":
            channels[n["output"]] = sum(channels[t] for t in n["inputs"])
        elif n["op"] == "depth_to_space":
            channels[n["output"]] = channels[a] // n["block"] ** 2
        elif n["op"] == "conv2d":
            shape = (n["channels"], channels[a], *n["kernel"])
            w = rng.normal(0, 1.2 / np.sqrt(np.prod(shape[1:])), shape)
            if n["channels"] > 2:  # channels that have died, but for their bias
                w[0] *= 10.0 ** rng.integers(-12, 1)
                w[-1] *= rng.integers(0, 2)
            parameters[f"{n['name']}.weight"] = w.astype(F)
            parameters[f"{n['name']}.bias"] = rng.normal(0, 0.1, shape[0]).astype(F)
            if n.get("activation") == "prelu":
                parameters[f"{n['name']}.slope"] = rng.normal(0.2, 0.6, shape[0]).astype(F)
    return graph, parameters


def picture(h, w, channels, seed):
    rng = np.random.default_rng(seed)
    x = np.clip(rng.integers(0, 256, (h // 4 + 1, w // 4 + 1, channels)).repeat(4, 0).repeat(4, 1)[:h, :w]
                + rng.normal(0, 25, (h, w, channels)), 0, 255)
    return np.rint(x).astype(np.uint8)


class Aid:
    def __init__(self, build, folder):
        self.program, self.folder = build / "test/golden/aid_int8", folder

    def start(self, graph, parameters, codes):
        h, w, _ = codes.shape
        (self.folder / "g.json").write_bytes(graph)
        (self.folder / "p.safetensors").write_bytes(parameters)
        (self.folder / "in").write_bytes(codes.tobytes())
        return subprocess.run([self.program, "g.json", "p.safetensors", str(w), str(h), "in", "out"], cwd=self.folder,
                              capture_output=True, text=True, timeout=120)

    def run(self, graph, parameters, codes, scale):
        """The output tensor, and {tensor: (scale, zero) or None}."""
        done = self.start(graph, parameters, codes)
        assert done.returncode == 0, done.stdout + done.stderr
        tensors = {}
        for line in done.stdout.splitlines()[:-1]:
            name, *numbers = line.split()
            tensors[name] = None if numbers == ["f32"] else tuple(map(float.fromhex, numbers))
        h, w, c = codes.shape
        return np.fromfile(self.folder / "out", F).reshape(h * scale, w * scale, c), tensors


@pytest.fixture
def aid(build, tmp_path):
    return Aid(build, tmp_path)


def same_bits(a, b):
    return np.array_equal(np.ascontiguousarray(a, F).view(np.uint32), np.ascontiguousarray(b, F).view(np.uint32))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("stated", [False, True], ids=["calibrated", "stated"])
@pytest.mark.parametrize("name", GRAPHS)
def test_bits(aid, name, stated, seed):
    graph, parameters = made(name, seed)
    if stated:  # ranges that saturate, and that activations would not allow
        rng = np.random.default_rng(seed)
        for t in sorted({n["output"] for n in graph["nodes"]} - {graph["output"]}):
            parameters[f"{t}.range"] = np.array([-rng.integers(0, 3) * 0.3, rng.integers(1, 4) * 0.4], F)
    mine = Quantised(graph, parameters)
    for h, w in ((13, 22), (1, 1)):
        codes = picture(h, w, INPUTS[graph["colour"]], seed)
        got, tensors = aid.run(json.dumps(graph).encode(), save(parameters), codes, graph["scale"])
        for t, numbers in tensors.items():
            assert (numbers is None) == (t not in mine.q8), t
            assert numbers is None or numbers == (mine.scale[t], mine.zero[t]), t
        expected = mine.run(codes)
        assert np.isfinite(expected).all() and (h == 1 or expected.std() > 0.01)
        assert same_bits(got, expected), np.abs(got - expected).max()


def frame(clip, width, height):
    """One luma picture [H][W][1] of a clip."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-vf", f"select=gte(n\\,20),scale={width}:{height}",
                           "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 1)


GENERAL = sorted((ROOT / "models" / "general").glob("*.safetensors"))


@pytest.fixture(scope="module")
def pictures():
    clips = sorted(p for p in CLIPS.iterdir() if p.suffix in (".mp4", ".mpg")) if CLIPS.is_dir() else []
    return {p.name: frame(p, 240, 136) for p in clips} or {"drawn": picture(136, 240, 1, 5)}


@pytest.mark.parametrize("path", GENERAL, ids=lambda p: p.stem)
def test_quality(aid, build, pictures, path):
    """int8 against f32 of the general models on real pictures, before rounding to 8 bits."""
    lib = srp.Srp(build / "libsrp.so")
    text = (ROOT / "models" / f"{path.stem}.json").read_bytes()
    graph = json.loads(text)
    model = lib.model(text, path.read_bytes())
    for name, codes in pictures.items():
        got, _ = aid.run(text, path.read_bytes(), codes, graph["scale"])
        wanted = lib.run(model, (codes / 255).astype(F), graph["scale"], srp.REFERENCE)
        psnr = -10 * np.log10(np.mean((got + F(graph["mean"]) - wanted).astype(D) ** 2))
        assert psnr > 52, (name, psnr)
    lib.free(model)


def test_a_padded_border_is_no_worse_than_the_rest(aid, build):
    """The input's zero point is rounded in padding only: with mean 0.5 the border is off by half a code there."""
    lib = srp.Srp(build / "libsrp.so")
    graph, parameters = made("edge", 3)
    text, file = json.dumps(graph).encode(), save(parameters)
    codes = picture(40, 40, 1, 3)
    got, _ = aid.run(text, file, codes, 2)
    model = lib.model(text, file)
    wanted = lib.run(model, (codes / 255).astype(F), 2, srp.REFERENCE) - F(0.5)
    lib.free(model)
    error = np.abs(got - wanted)
    inner = error[16:-16, 16:-16].mean()
    border = np.concatenate([error[:4].ravel(), error[-4:].ravel()]).mean()
    assert 0 < inner < 0.02 and border < 2 * inner + 0.002


@pytest.mark.parametrize("change, line", [
    ("t.range", "tensor 't.range' is missing where others have a range"),
    ("nan", "tensor 'h.range': element 0 is NaN"),
    ("reversed", "tensor 'h.range': 1 to -1 is no range"),
])
def test_bad_ranges_are_refused(aid, change, line):
    graph, parameters = made("edge", 1)
    for t in ("h", "g", "t", "d", "b"):
        parameters[f"{t}.range"] = np.array([-1, 1], F)
    if change in parameters:
        del parameters[change]
    else:
        parameters["h.range"] = np.array([np.nan, 1] if change == "nan" else [1, -1], F)
    done = aid.start(json.dumps(graph).encode(), save(parameters), picture(4, 4, 1, 1))
    assert done.returncode == 2 and line in done.stdout
