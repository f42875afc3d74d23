# SPDX-License-Identifier: BSD-2-Clause
"""int8 execution in NumPy, bit for bit: docs/arithmetic.md and the formats of docs/format.md as a slow program, written
from those two pages alone. A second implementer may read it beside them: each part names its section.

    network = Network(graph, parameters)      # graph: the JSON's object; parameters: from read_parameters
    y = network.run(codes)                    # codes: uint8 [H][W][C] of the input tensor; y: float32, without the mean

Graphs and parameters are taken to be valid; of what arithmetic.md refuses, only sums beyond 32 bits are (Refused).
"""

import json
import sys
from pathlib import Path

import numpy as np

F, D = np.float32, np.float64
CHANNELS = {"y": 1, "rgb": 3, "yuv420": 6}
FUSED = ("none", "relu", "leaky_relu", "prelu")


class Refused(ValueError):
    """What a conforming reader does not run."""


def read_parameters(data):
    """safetensors: {name: array}, I8 as int8 and everything else as float32."""
    size = int.from_bytes(data[:8], "little")
    arrays = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        raw, dtype = data[begin:end], entry["dtype"]
        if dtype == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(F)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2", "I8": "i1"}[dtype])
            values = values if dtype == "I8" else values.astype(F)
        arrays[name] = values.reshape(entry["shape"])
    return arrays


def path_of(graph, index):
    """Path `index` of a graph with a route, as a graph of its own."""
    route = next(n for n in graph["nodes"] if n["op"] == "route")
    output = route["inputs"][index]
    return {**graph, "output": output, "nodes": needed([n for n in graph["nodes"] if n is not route], output)}


def needed(nodes, wanted):
    """The nodes that `wanted` is made of, in the order of the file."""
    writer = {n["output"]: n for n in nodes}
    found, look = set(), [wanted]
    while look:
        t = look.pop()
        if t in writer and t not in found:
            found.add(t)
            look += writer[t]["inputs"]
    return [n for n in nodes if n["output"] in found]


# ---- single precision ----------------------------------------------------------------------------

def fma(a, b, c):
    """f32(a * b + c) with one rounding. The product of two floats is exact in double. The sum is not: it is rounded to
    odd there, which keeps what the rounding to single needs to know (double has more than two bits to spare)."""
    p = np.asarray(a, F).astype(D) * np.asarray(b, F).astype(D)
    p, c = np.broadcast_arrays(p, np.asarray(c, F).astype(D))
    s = np.asarray(p + c)
    virtual = s - p
    lost = np.asarray((p - (s - virtual)) + (c - virtual))  # p + c = s + lost, exactly
    bits = s.view(np.int64)
    towards = np.where((lost > 0) == (s > 0), 1, -1)  # the exact sum lies on this side of |s|
    return (bits + np.where((lost != 0) & (bits & 1 == 0), towards, 0)).view(D).astype(F)


def saturate(v, most=255):
    """sat(RNE(v)), or as far as 65535: rint rounds ties to even."""
    return np.clip(np.rint(v), 0, most).astype(np.uint8 if most == 255 else np.uint16)


def code(held):
    """The codes of a Q8 tensor: the upper byte of 16 bits."""
    return held if held.dtype == np.uint8 else (held >> 8).astype(np.uint8)


def exponential(a):
    n = np.rint(a * F(-1.44269504))
    r = (-a - n * F(0.693359375)) - n * F(-2.12194440e-4)
    p = F(0.00138142216)
    for c in (0.00836889911, 0.0416684039, 0.166665196, 0.49999994):
        p = p * r + F(c)
    return (p * (r * r) + r + F(1)) * np.ldexp(F(1), n.astype(int))


def sigmoid(x):
    e = exponential(np.minimum(np.abs(x), F(87)))
    return np.where(x < 0, e, F(1)) / (F(1) + e)


def tanh(x):
    a = np.minimum(np.abs(x), F(10))
    e, z, p = exponential(a + a), a * a, F(-0.00566690043)
    for c in (0.0206061099, -0.0537299886, 0.133313313, -0.333332777):
        p = p * z + F(c)
    return np.copysign(np.where(a >= F(0.625), (F(1) - e) / (F(1) + e), p * z * a + a), x)


def clamp(v, low, high):
    v = np.where(v > low, v, low)
    return v if high is None else np.where(v < high, v, high)


def activate(x, node, slope=None):
    kind = node.get("activation", "none")
    if kind in ("leaky_relu", "prelu"):
        return np.where(x >= 0, x, (F(node["alpha"]) if kind == "leaky_relu" else slope) * x)
    if kind == "relu":
        return np.where(x > 0, x, F(0))
    if kind == "clip":
        return clamp(x, F(node["min"]), F(node["max"]))
    return {"none": lambda v: v, "tanh": tanh, "sigmoid": sigmoid}[kind](x)


# ---- operators on real values ("Other steps"; a convolution as in "Ranges") -----------------------

def convolve_f32(x, weight, bias):
    """Product by product from the bias, rows from the top, columns from the left, then channels; outside is skipped."""
    h, w, channels = x.shape
    kh, kw = weight.shape[2:]
    out = np.empty((h, w, len(bias)), F)
    out[:] = bias
    for dy in range(-(kh // 2), kh // 2 + 1):
        for dx in range(-(kw // 2), kw // 2 + 1):
            rows, columns = slice(max(0, -dy), min(h, h - dy)), slice(max(0, -dx), min(w, w - dx))
            part = x[max(0, dy):h + min(0, dy), max(0, dx):w + min(0, dx)]
            for c in range(channels):
                out[rows, columns] += part[..., c:c + 1] * weight[:, c, dy + kh // 2, dx + kw // 2]
    return out


def keys(t):
    a = -0.6
    if t < 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0


def resize_weights(mode, scale, phase):
    """Of the source samples -2..2 around the one of an output sample j with j mod scale = phase."""
    k, rest = divmod(2 * phase + 1 - scale, 2 * scale)
    f = rest / (2 * scale)
    if mode == "nearest":
        weights = {k if f < 0.5 else k + 1: 1.0}
    elif mode == "bilinear":
        weights = {k: 1 - f, k + 1: f}
    else:
        weights = {k - 1: keys(1 + f), k: keys(f), k + 1: keys(1 - f), k + 2: keys(2 - f)}
    return [F(weights.get(d, 0.0)) for d in range(-2, 3)]


def resize_down(x, node):
    """Down the columns."""
    count, scale = len(x), node["scale"]
    out = np.empty((count * scale, *x.shape[1:]), F)
    for phase in range(scale):
        total = np.zeros_like(x)
        for d, weight in enumerate(resize_weights(node["mode"], scale, phase), -2):
            total = total + x[np.clip(np.arange(count) + d, 0, count - 1)] * weight
        out[phase::scale] = total
    return out


def depth_to_space(x, node):
    h, w, channels = x.shape
    b = node["block"]
    if node.get("order", "crd") == "crd":
        x = x.reshape(h, w, channels // b**2, b, b).transpose(0, 3, 1, 4, 2)
    else:
        x = x.reshape(h, w, b, b, channels // b**2).transpose(0, 2, 1, 3, 4)
    return x.reshape(h * b, w * b, channels // b**2)


def operate(node, operands):
    """Any node but a convolution; movers take codes as well."""
    op, x = node["op"], operands[0]
    if op == "concat":
        return np.concatenate(operands, -1)
    if op == "slice":
        return x[..., node["first"]:node["first"] + node["channels"]]
    if op == "depth_to_space":
        return depth_to_space(x, node)
    if op == "resize":
        if node["mode"] == "nearest" and x.dtype == np.uint8:
            return resize_down(resize_down(x.astype(F), node).swapaxes(0, 1), node).swapaxes(0, 1).astype(np.uint8)
        return resize_down(resize_down(x, node).swapaxes(0, 1), node).swapaxes(0, 1)
    for other in operands[1:]:
        x = x + other if op == "add" else x * other
    return activate(x, node)


# ---- the picture that ranges are taken from ("Ranges") --------------------------------------------

def scramble(y, x):
    h = x.astype(np.uint32) * np.uint32(374761393) + y.astype(np.uint32) * np.uint32(668265263)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    return (h ^ (h >> np.uint32(16))).astype(np.int64)


def wave(n, p, a):
    k = n % p
    return 2 * np.minimum(k, p - k) * a // p


def luma(y, x):
    h, ripple = scramble(y, x), wave(y, 32, 40)
    patterns = [
        40 + wave(3 * x + 2 * y, 256, 160),
        100 + wave(5 * x + 3 * y, 16, 60),
        np.where((y % 16 - 8)**2 + (x % 16 - 8)**2 < 36, 220, 50),
        np.where((x + 2 * y) % 32 < 16, 235, 16),
        np.where(x % 4 == 0, 200, 90),
        96 + (h >> 8) % 64,
        np.where((x + y) % 2 == 0, 128 + ripple, 128 - ripple),
        np.where(scramble(y // 3, x // 2) % 2 == 0, 16, 240),
    ]
    return np.clip(np.choose((x // 16 + 5 * (y // 16)) % 8, patterns) + h % 7 - 3, 0, 255)


def built_in_picture(colour, height, width):
    y, x = np.mgrid[:height, :width]
    u, v = wave(7 * x + 3 * y, 160, 80) - 40, wave(2 * x + 9 * y, 112, 64) - 32
    planes = {"y": lambda: [luma(y, x)],
              "rgb": lambda: [luma(y, x) + v, luma(y, x), luma(y, x) + u],
              "yuv420": lambda: [*(luma(2 * y + c // 2, 2 * x + c % 2) for c in range(4)), 128 + u, 128 + v]}
    return np.clip(np.stack(planes[colour](), -1), 0, 255).astype(np.uint8)


# ---- a network -----------------------------------------------------------------------------------

class Step:
    """A node, and the sum that it takes over where it is a convolution ("Steps")."""

    def __init__(self, node, total=None):
        self.node, self.last = node, total or node
        self.output = self.last["output"]
        self.conv = node["op"] == "conv2d"
        self.residual = next(t for t in total["inputs"] if t != node["output"]) if total else None
        self.inputs = node["inputs"]
        self.moves = node["op"] in ("slice", "concat", "depth_to_space") or node.get("mode") == "nearest"
        self.curve = self.conv and self.last.get("activation") in ("tanh", "sigmoid")


class Tensor:
    """A Q8 tensor's numbers; wide: it has 16 bits.

    scale, zero: of its codes. unit, origin: of what it holds, codes or 16-bit numbers, whose greatest is `most`; s, z and i
    are those in single precision."""

    def __init__(self, scale, zero, wide):
        self.scale, self.zero, self.wide = D(scale), D(zero), wide
        self.exact = (self.scale, self.zero)
        self.unit, self.origin, self.most = self.scale, self.zero, 255
        self.s, self.i = F(scale), F(1 / self.scale)
        self.padding = np.uint8(np.rint(zero))
        if wide:
            self.unit, self.origin, self.most = self.scale / 256, 256 * self.zero + 128, 65535
            self.s, self.i = self.s * F(1 / 256), self.i * F(256)
        self.z = F(self.origin)


def execution_order(graph, nodes):
    left, there, order = list(nodes), {graph["input"]}, []
    while left:
        node = next(n for n in left if there.issuperset(n["inputs"]))
        left.remove(node)
        there.add(node["output"])
        order.append(node)
    return order


class Network:
    """Plans in the order of arithmetic.md: steps, which tensors are Q8, groups, ranges, scales.

    wanted: the tensor that run() gives; None: the graph's output. A graph with a route has to be cut by path_of first.
    Afterwards `tensors` has a Tensor for each that is Q8."""

    def __init__(self, graph, parameters, wanted=None):
        self.graph, self.parameters = graph, parameters
        self.input, self.wanted = graph["input"], wanted or graph["output"]
        self.mean = F(graph.get("mean", 0))
        self.order = execution_order(graph, graph["nodes"])
        self.steps = self.find_steps(needed(self.order, self.wanted))
        self.q8 = {self.input}
        for step in reversed(self.steps):
            if step.conv or step.output in self.q8:
                self.q8.update(step.inputs)
        self.groups = self.find_groups()
        ranges = self.stated_ranges() or self.measured_ranges()
        self.tensors = {t: self.tensor(t, ranges) for t in self.q8}

    def find_steps(self, order):
        writer = {n["output"]: n for n in order}
        reads = [t for n in order for t in n["inputs"]]

        def may_take(t):
            n = writer.get(t)
            return (n is not None and n["op"] == "conv2d" and n.get("activation", "none") in FUSED
                    and reads.count(t) == 1 and t != self.wanted)

        taken = {}
        for total in order:
            if total["op"] == "add" and len(total["inputs"]) == len(set(total["inputs"])) == 2 \
                    and total.get("activation", "none") in ("none", "relu", "clip"):
                convs = [n for n in order if n["output"] in total["inputs"] and may_take(n["output"])]
                if convs:
                    taken[total["output"]] = convs[-1]
        gone = {n["output"] for n in taken.values()}
        return [Step(taken[n["output"]], n) if n["output"] in taken else Step(n) for n in order
                if n["output"] not in gone]

    def find_groups(self):
        """{tensor: the set of tensors that have one scale and zero}."""
        groups = {t: {t} for t in self.q8}
        for step in self.steps:
            if step.moves and step.output in self.q8:
                of_input = [t for t in step.inputs if self.input in groups[t]]
                joined = step.inputs if len(of_input) == len(step.inputs) else set(step.inputs) - set(of_input)
                for t in joined:
                    union = groups[t] | groups[step.output]
                    groups.update({member: union for member in union})
        return groups

    # -- ranges and scales --

    def stated_ranges(self):
        parts = {t: f"{t}.input_range" if t == self.input else f"{t}.range" for t in self.q8}
        find = {t: self.parameters.get(part, self.parameters.get(f"{part}16")) for t, part in parts.items()}
        return {t: tuple(r) for t, r in find.items() if r is not None}

    def picture_size(self):
        channels, factor, products = {self.input: CHANNELS[self.graph["colour"]]}, {self.input: 1}, 0
        for n in self.order:
            a, t = n["inputs"][0], n["output"]
            channels[t] = n.get("channels", channels[a])
            if n["op"] == "concat":
                channels[t] = sum(channels[i] for i in n["inputs"])
            elif n["op"] == "depth_to_space":
                channels[t] = channels[a] // n["block"]**2
            factor[t] = factor[a] * n.get("block", n.get("scale", 1))
            if n["op"] == "conv2d":
                products += channels[a] * channels[t] * n["kernel"][0] * n["kernel"][1] * factor[t]**2
        values = sum(channels[t] * factor[t]**2 for t in channels)
        width, height = 96, 64
        while width > 12 and (products * width * height > 2**31 or values * width * height > 2**27):
            width, height = width // 2, height // 2
        return height, width

    def real_weights(self, name):
        w = self.parameters[f"{name}.weight"]
        if w.dtype != np.int8:
            return w
        scale = self.parameters[f"{name}.scale"].reshape(len(w), -1)
        return w.astype(F) * scale.repeat(w.shape[1] // scale.shape[1], axis=1)[:, :, None, None]

    def measured_ranges(self):
        x = built_in_picture(self.graph["colour"], *self.picture_size()).astype(F) / F(255) - self.mean
        values, most = {self.input: x}, F(np.inf)
        holds, ranges = {self.input: (-self.mean, F(1) - self.mean)}, {}
        for step in self.steps:
            node, last = step.node, step.last
            if step.conv:
                name, x = node["name"], values[step.inputs[0]]
                y = convolve_f32(x, self.real_weights(name), self.parameters[f"{name}.bias"])
                y = activate(y, node, self.parameters.get(f"{name}.slope"))
                if step.residual:
                    y = activate(y + values[step.residual], last)
            else:
                y = operate(node, [values[t] for t in step.inputs])
            values[step.output] = y
            if step.moves:
                low, high = min(holds[t][0] for t in step.inputs), max(holds[t][1] for t in step.inputs)
            else:
                low, high = {"relu": (F(0), most), "tanh": (F(-1), F(1)), "sigmoid": (F(0), F(1)),
                             "clip": (min(F(last.get("min", 0)), F(0)), max(F(last.get("max", 0)), F(0)))
                             }.get(last.get("activation", "none"), (-most, most))
            holds[step.output] = low, high
            ranges[step.output] = (max(min(F(0), y.min()) * F(1.125), low), min(max(F(0), y.max()) * F(1.125), high))
        return ranges

    def tensor(self, name, ranges):
        members = self.groups[name]
        if self.input in members:
            if self.input not in ranges:
                return Tensor(D(1) / 255, D(255) * D(self.mean), False)
            members = {self.input}
        low, high = (D(end(ranges[t][k] for t in members)) for k, end in ((0, min), (1, max)))
        high = D(1) if low == high else high
        scale = D(max(F((high - low) / 255), F(2.0**-100)))
        wide = f"{name}.input_range16" if name == self.input else f"{name}.range16"
        return Tensor(scale, np.rint(-low / scale), wide in self.parameters)

    # -- running: an F32 tensor is held as float32, a Q8 tensor as uint8, one of 16 bits as uint16 --

    def hold(self, name, v):
        """What a tensor holds of real values."""
        if name not in self.q8:
            return v
        t = self.tensors[name]
        return saturate(fma(v, t.i, t.z), t.most)

    def real(self, name, held):
        if name not in self.q8:
            return held
        t = self.tensors[name]
        return (held.astype(F) - t.z) * t.s

    def real_of_code(self, name, held):
        """By the code alone, also of a tensor of 16 bits."""
        if name not in self.q8:
            return held
        t = self.tensors[name]
        return (code(held).astype(F) - F(t.zero)) * F(t.scale)

    def weights(self, name, si):
        """Codes [out][in][h][w] and scales [out][groups], both double."""
        w = self.parameters[f"{name}.weight"].astype(D)
        if f"{name}.scale" in self.parameters:
            return w, self.parameters[f"{name}.scale"].astype(D).reshape(len(w), -1)
        b = self.parameters[f"{name}.bias"].astype(D)
        sw = np.maximum(np.abs(w).max((1, 2, 3)) / 127, np.abs(b) / si / 2.0**29)
        sw[sw == 0] = 1
        return np.rint(w / sw[:, None, None, None]), sw[:, None]

    def sums(self, codes, padding, wq, bq):
        """bq + the sum of code * wq over all taps: exact, here in double."""
        worst = np.abs(bq) + 256 * np.abs(wq).sum((1, 2, 3))
        if worst.max() > 2**31 - 1:
            raise Refused("sums beyond 32 bits")
        (h, w, _), (kh, kw) = codes.shape, wq.shape[2:]
        x = np.pad(codes, ((kh // 2,) * 2, (kw // 2,) * 2, (0, 0)), constant_values=padding).astype(D)
        total = np.zeros((h, w, len(wq))) + bq
        for i in range(kh):
            for j in range(kw):
                total += x[i:i + h, j:j + w] @ wq[:, :, i, j].T
        return total.astype(np.int32)

    def convolve(self, step, held):
        a = self.tensors[step.inputs[0]]
        wq, sw = self.weights(step.node["name"], a.scale)
        fractions = a.wide and step.output not in self.q8
        if not fractions and sw.shape[1] > 1:
            wq, sw = self.joined(step, a, wq, sw)
        if fractions or sw.shape[1] > 1:
            v = self.finish(step, held, self.split_sums(step, held[step.inputs[0]], fractions, wq, sw))
        else:
            v = self.one_sum(step, held, wq, sw[:, 0])
            if step.output in self.q8 and not step.curve:
                return saturate(v, self.tensors[step.output].most)
        return self.hold(step.output, activate(v, step.last) if step.curve else v)

    def joined(self, step, a, wq, sw):
        """Codes and scales of one sum, where the groups have one; else what they are."""
        least = sw.min(1, keepdims=True)
        mantissa, exponent = np.frexp(sw / least)
        if (mantissa != 0.5).any() or exponent.max() > 9:
            return wq, sw
        whole = wq * np.repeat(sw / least, wq.shape[1] // sw.shape[1], 1)[:, :, None, None]
        bias = self.parameters[f"{step.node['name']}.bias"].astype(D)
        bq = np.rint(bias / (a.scale * least[:, 0]) - a.zero * whole.sum((1, 2, 3)))
        ends = [255 * whole.clip(0, None).sum((1, 2, 3)), 255 * whole.clip(None, 0).sum((1, 2, 3))]
        most = np.abs([*ends, *(bq + end for end in ends)]).max()
        return (whole, least) if most < 2**24 else (wq, sw)

    def slope(self, step):
        kind = step.node.get("activation", "none")
        if kind == "relu" and step.residual:
            return F(0)
        return {"prelu": self.parameters.get(f"{step.node['name']}.slope"),
                "leaky_relu": F(step.node.get("alpha", 0))}.get(kind)

    def one_sum(self, step, held, wq, sw):
        """To Q8: the value in units of what the output holds; to F32, and in front of tanh and sigmoid: the real value."""
        a = self.tensors[step.inputs[0]]
        st = a.scale * sw
        e = self.parameters[f"{step.node['name']}.bias"].astype(D) / st - a.zero * wq.sum((1, 2, 3))
        bq = np.rint(e)
        s = self.sums(code(held[step.inputs[0]]), a.padding, wq, bq).astype(F)
        if step.output not in self.q8 or step.curve:
            return self.finish(step, held, fma(s, st.astype(F), ((e - bq) * st).astype(F)))

        out, last, slope = self.tensors[step.output], step.last, self.slope(step)
        m, offset = (st / out.unit).astype(F), F(out.origin)
        if step.residual in self.q8:
            given = self.tensors[step.residual]
            ratio = given.unit / out.unit
            r, mr, offset = held[step.residual].astype(F), F(ratio), F(out.origin - given.origin * ratio)
        elif step.residual:
            r, mr = held[step.residual], F(1 / out.unit)
        if slope is None:
            v = fma(s, m, offset)
        else:
            t = s * m
            v = np.where(t < 0, t * slope, t) + offset
        if step.residual:
            v = fma(r, mr, v)
        if last.get("activation") == "relu":
            v = clamp(v, F(out.origin), None)
        elif last.get("activation") == "clip":
            v = clamp(v, *(F(D(F(last[key])) / out.unit + out.origin) for key in ("min", "max")))
        return v

    def split_sums(self, step, x, fractions, wq, sw):
        """x: what the input holds. Real values before slope and residual."""
        a, groups = self.tensors[step.inputs[0]], sw.shape[1]
        zero, each = a.zero + D(0.5) if fractions else a.zero, wq.shape[1] // groups
        bias = self.parameters[f"{step.node['name']}.bias"].astype(D)
        st, values = a.scale * sw, []
        m = st.astype(F)
        for g in range(groups):
            some = slice(g * each, (g + 1) * each)
            e = -zero * wq[:, some].sum((1, 2, 3))
            bq = np.rint(e)
            shift = (e - bq) * st[:, g] + (bias if g == 0 else 0)
            s = self.sums(code(x)[..., some], a.padding, wq[:, some], bq)
            values.append(fma(s.astype(F), m[:, g], shift.astype(F)))
        for g in range(groups if fractions else 0):
            some = slice(g * each, (g + 1) * each)
            s = self.sums((x % 256).astype(np.uint8)[..., some], 128, wq[:, some], np.zeros(len(wq)))
            values.append(fma(s.astype(F), m[:, g] * F(1 / 256), F(0)))
        total = values[0]
        for v in values[1:]:
            total = total + v
        return total

    def finish(self, step, held, v):
        """What follows a sum in real values, but tanh and sigmoid."""
        slope = self.slope(step)
        if slope is not None:
            v = np.where(v < 0, v * slope, v)
        if step.residual:
            v = v + self.real(step.residual, held[step.residual])
        kind = step.last.get("activation", "none")
        if kind == "relu":
            v = clamp(v, F(0), None)
        return clamp(v, F(step.last["min"]), F(step.last["max"])) if kind == "clip" else v

    def move(self, step, held):
        """A mover with Q8 output: codes where operand and output have one scale and zero, else converted."""
        codes = []
        for t in step.inputs:
            same = self.tensors[t].exact == self.tensors[step.output].exact
            codes.append(code(held[t]) if same else self.hold(step.output, self.real_of_code(t, held[t])))
        return operate(step.node, codes)

    def run(self, codes):
        held = {self.input: codes}
        for step in self.steps:
            if step.conv:
                held[step.output] = self.convolve(step, held)
            elif step.moves and step.output in self.q8:
                held[step.output] = self.move(step, held)
            else:
                real = self.real if step.node["op"] in ("add", "mul") else self.real_of_code
                held[step.output] = self.hold(step.output, operate(step.node, [real(t, held[t]) for t in step.inputs]))
        return held[self.wanted]


def main():
    """GRAPH PARAMETERS WIDTH HEIGHT CODES OUT [PATH]: codes as raw bytes [H][W][C], as numbers of two bytes where the input
    has 16 bits; out as raw f32."""
    graph_file, parameter_file, width, height, codes_file, out_file, *path = sys.argv[1:]
    graph = json.loads(Path(graph_file).read_bytes())
    graph = path_of(graph, int(path[0])) if path else graph
    network = Network(graph, read_parameters(Path(parameter_file).read_bytes()))
    wide = network.tensors[network.input].wide
    codes = np.frombuffer(Path(codes_file).read_bytes(), "<u2" if wide else np.uint8)
    network.run(codes.reshape(int(height), int(width), -1)).astype("<f4").tofile(out_file)


if __name__ == "__main__":
    main()
