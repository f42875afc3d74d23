# SPDX-License-Identifier: BSD-2-Clause
"""Graphs, parameters and pictures for the tests of int8, and the way to the library (aid_int8)."""

import json
import os
import subprocess

import numpy as np

F = np.float32
INPUTS = {"y": 1, "rgb": 3, "yuv420": 6}


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
    "edsr": ("rgb", 2, 0.4488, [  # layers that are wide enough for Winograd
        conv("head", "x", "h", 32), conv("e0", "h", "e0", 64, activation="relu"), conv("r0", "e0", "r0", 32),
        node("add", "s0", ["r0", "h"], "h1"), conv("e1", "h1", "e1", 33, activation="prelu"), conv("r1", "e1", "r1", 32),
        node("add", "s1", ["h1", "r1"], "h2", activation="clip", min=-0.5, max=0.7), conv("f", "h2", "f", 25, activation="tanh"),
        conv("tail", "f", "t", 12), *end("t", 2)]),
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
    "depthwise": ("rgb", 2, 0.4488, [  # of which no output reads another input than its own
        conv("a", "x", "h", 13), conv("c", "h", "g", 13, activation="prelu", depthwise=True),
        conv("e", "g", "i", 13, 1, activation="relu"), conv("f", "i", "j", 13, [3, 5], depthwise=True),
        node("add", "s0", ["j", "h"], "k", activation="clip", min=-0.4, max=0.7),
        conv("g", "k", "l", 13, 1, activation="sigmoid", depthwise=True), node("mul", "m", ["k", "l"], "m"),
        conv("n", "m", "n", 12), conv("o", "n", "t", 12, 5, depthwise=True), *end("t", 2)]),
    "dilated": ("rgb", 2, 0.4488, [  # of whose taps most have no weights
        conv("a", "x", "h", 13, 5, dilation=2, activation="relu"), conv("c", "h", "g", 13, [7, 5], dilation=3, activation="tanh"),
        node("add", "s0", ["g", "h"], "i"), conv("e", "i", "j", 24, [1, 9], dilation=4, activation="prelu"),
        conv("f", "j", "k", 24, 11, dilation=5), node("add", "s1", ["k", "j"], "l", activation="clip", min=-0.4, max=0.7),
        conv("g", "l", "t", 12, 9, dilation=8), *end("t", 2)]),
    "yuv": ("yuv420", 3, 0.5, [conv("a", "x", "h", 10, activation="relu"), conv("t", "h", "t", 54),
                               *end("t", 3, "nearest")]),
}


def whole(name, colour, scale, mean, nodes):
    return {"format": "srp-graph", "version": 1, "name": name, "scale": scale, "colour": colour, "mean": mean,
            "input": "x", "output": "y", "nodes": nodes}


def channels_of(graph):
    channels = {graph["input"]: INPUTS[graph["colour"]]}
    left = list(graph["nodes"])
    while left:
        n = next(n for n in left if set(n["inputs"]) <= set(channels))
        left.remove(n)
        a = n["inputs"][0]
        channels[n["output"]] = n.get("channels", channels[a])
        if n["op"] == "concat":
            channels[n["output"]] = sum(channels[t] for t in n["inputs"])
        elif n["op"] == "depth_to_space":
            channels[n["output"]] = channels[a] // n["block"] ** 2
    return channels


HINTS = {"depthwise": False, "dilation": 1}  # keys that only this file knows, and what they are else


def parameters_of(graph, seed):
    rng, parameters, channels = np.random.default_rng(seed), {}, channels_of(graph)
    for n in graph["nodes"]:
        if n["op"] != "conv2d":
            continue
        shape = (n["channels"], channels[n["inputs"][0]], *n["kernel"])
        own, dilation = (n.get(key, none) for key, none in HINTS.items())
        w = rng.normal(0, 1.2 / np.sqrt(np.prod(shape[2 if own else 1:])), shape)
        if own:
            w *= np.eye(shape[0])[:, :, None, None]
        w *= (np.indices(shape[2:]) % dilation == 0).all(0)
        if n["channels"] > 2:  # channels that have died, but for their bias
            w[0] *= 10.0 ** rng.integers(-12, 1)
            w[-1] *= rng.integers(0, 2)
        parameters[f"{n['name']}.weight"] = w.astype(F)
        parameters[f"{n['name']}.bias"] = rng.normal(0, 0.1, shape[0]).astype(F)
        if n.get("activation") == "prelu":
            parameters[f"{n['name']}.slope"] = rng.normal(0.2, 0.6, shape[0]).astype(F)
    return parameters


def made(name, seed):
    graph = whole(name, *GRAPHS[name])
    nodes = [{key: value for key, value in n.items() if key not in HINTS} for n in graph["nodes"]]
    return {**graph, "nodes": nodes}, parameters_of(graph, seed)


# ---- what docs/format.md has for int8 ------------------------------------------------------------

def to_codes(graph, parameters, seed, share=0.8):
    """Weights of most convolutions as codes: with one scale for each channel, or for groups of input channels; scales in
    each of the three dtypes (BF16 as uint16). Every second layer's groups have scales that are powers of two of each other:
    few and far apart, such that they have one sum, of 8 bits or of more, and such that they have not."""
    rng = np.random.default_rng(seed)
    for n in graph["nodes"]:
        if n["op"] != "conv2d" or rng.random() > share:
            continue
        shape = parameters[f"{n['name']}.weight"].shape
        counts = [g for g in range(1, min(64, shape[1]) + 1) if shape[1] % g == 0]
        size = [(shape[0],), (shape[0], 1), (shape[0], int(rng.choice(counts)))][rng.integers(0, 3)]
        scale = (rng.uniform(0.3, 1.7, size) * 1.2 / 73 / np.sqrt(np.prod(shape[1:]))).astype(F)
        if scale.ndim == 2 and rng.random() < 0.5:
            scale = scale[:, :1] * F(2) ** rng.integers(0, rng.choice([1, 3, 5, 10]), size).astype(F)
            scale = (scale.view(np.uint32) & np.uint32(0xffff0000)).view(F)  # the same in each dtype
            codes = rng.integers(-127, 128, shape) // rng.choice([2, 3, 16])
        else:
            scale.flat[0] *= F(2.0 ** -rng.integers(0, 12))  # still a normal number as F16
            codes = rng.integers(-127, 128, shape)
        form = rng.integers(0, 3)
        parameters[f"{n['name']}.weight"] = codes.clip(-127, 127).astype(np.int8)
        parameters[f"{n['name']}.scale"] = [scale, scale.astype(np.float16), (scale.view(np.uint32) >> 16).astype(np.uint16)][form]


def may_be_wide(n):
    return n["op"] in ("add", "mul") or (n["op"] == "conv2d" and n.get("activation") not in ("tanh", "sigmoid"))


def state_ranges(graph, parameters, seed, wide=0.0):
    """A range for each tensor, with every third seed for the input too; of those that may have 16 bits the share `wide`
    gets them."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 2:
        kind = "input_range16" if wide and seed % 2 else "input_range"
        parameters[f"{graph['input']}.{kind}"] = np.array([-0.9, 0.7], F) - F(0.1 * (seed % 5))
    for n in graph["nodes"]:
        if n["output"] != graph["output"]:
            kind = "range16" if may_be_wide(n) and rng.random() < wide else "range"
            low, high = -rng.integers(0, 4) * rng.uniform(0.1, 0.6), rng.integers(1, 5) * rng.uniform(0.1, 0.6)
            parameters[f"{n['output']}.{kind}"] = np.array([low, high], F)


def packed(parameters):
    """The bytes of a safetensors file."""
    dtypes = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int8": "I8"}
    header, data = {}, b""
    for name, array in sorted(parameters.items()):
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtypes[str(array.dtype)], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# ---- graphs by chance ----------------------------------------------------------------------------

class Drawn:
    """A random valid graph of every operator: odd channel counts, sums that convolutions take over and such that they
    do not, groups of movers, tensors at several factors. Nodes stand in random order."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        nodes = self.rng.integers(2, 11)
        self.scale = int(self.rng.choice([1, 1, 1, 2, 3, 4]))
        colour = str(self.rng.choice(list(INPUTS)))
        self.shapes = {"x": (INPUTS[colour], 1)}  # channels, factor
        self.nodes, self.unread = [], {"x"}
        while len(self.nodes) < nodes:
            self.step()
        self.close(INPUTS[colour])
        self.rng.shuffle(self.nodes)
        self.graph = whole(f"drawn{seed}", colour, self.scale, float(self.rng.choice([0.0, 0.4488, 0.5])), self.nodes)

    def pick(self, fits=lambda channels, factor: True):
        """A tensor, rather one that nothing reads yet; None: none fits."""
        names = [t for t, shape in self.shapes.items() if fits(*shape)]
        fresh = [t for t in names if t in self.unread]
        names = fresh if fresh and self.rng.random() < 0.7 else names
        return str(self.rng.choice(names)) if names else None

    def put(self, op, inputs, shape, output=None, **more):
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(node(op, f"n{len(self.nodes)}", inputs, name, **more))
        self.unread = (self.unread - set(inputs)) | {name}
        self.shapes[name] = shape
        return name

    def activation(self, kinds):
        kind = str(self.rng.choice(kinds))
        if kind == "clip":
            low = float(self.rng.choice([-0.5, -0.1, 0.0, 0.1]))
            return {"activation": kind, "min": low, "max": low + float(self.rng.uniform(0.2, 0.9))}
        if kind == "leaky_relu":
            return {"activation": kind, "alpha": float(self.rng.choice([0.1, 0.2, -0.5, 1.5]))}
        return {} if kind == "none" else {"activation": kind}

    def convolve(self, a, channels, output=None, plain=False):
        """plain: a sum may take it over."""
        kernel = [int(k) for k in self.rng.choice([[3, 3], [3, 3], [5, 5], [1, 1], [1, 3], [3, 1], [5, 3]])]
        kinds = ["none", "none", "relu", "relu", "prelu", "leaky_relu", *([] if plain else ["clip", "tanh", "sigmoid"])]
        return self.put("conv2d", [a], (channels, self.shapes[a][1]), output, channels=channels, kernel=kernel,
                        **self.activation(kinds))

    def join(self, op, a, b, output=None):
        inputs = [a, b] if self.rng.random() < 0.5 else [b, a]
        if op == "concat":
            return self.put(op, inputs, (sum(self.shapes[t][0] for t in inputs), self.shapes[a][1]), output)
        if self.rng.random() < 0.2:
            inputs.append(a)
        kinds = ["none", "none", "none", "none", "relu", "clip", "leaky_relu", "tanh", "sigmoid"]
        return self.put(op, inputs, self.shapes[a], output, **self.activation(kinds))

    def step(self):
        op = str(self.rng.choice(["conv", "conv", "sum", "sum", "sum", "mul", "concat", "slice", "shuffle", "resize"]))
        a = self.pick()
        channels, factor = self.shapes[a]
        room = [b for b in range(1, 5) if self.scale % (factor * b) == 0]
        if op == "conv":
            self.convolve(a, int(self.rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 19])))
        elif op in ("sum", "mul"):
            b = self.pick(lambda *shape: shape == (channels, factor))
            other = self.convolve(b, channels, plain=True) if op == "sum" or b == a else b
            self.join("add" if op == "sum" else "mul", a, other)
        elif op == "concat":
            b = self.pick(lambda c, f: f == factor and c + channels <= 40)
            if b is not None:
                self.join("concat", a, b)
        elif op == "slice" and channels > 1:
            first = int(self.rng.integers(0, channels))
            count = int(self.rng.integers(1, channels - first + 1))
            self.put("slice", [a], (count, factor), first=first, channels=count)
        elif op == "shuffle":
            block = int(self.rng.choice([b for b in room if channels % b**2 == 0]))
            more = {"order": "dcr"} if self.rng.random() < 0.4 else {}
            self.put("depth_to_space", [a], (channels // block**2, factor * block), block=block, **more)
        elif op == "resize":
            scale = int(self.rng.choice(room))
            mode = str(self.rng.choice(["nearest", "bilinear", "bicubic"]))
            self.put("resize", [a], (channels, factor * scale), scale=scale, mode=mode)

    def close(self, channels):
        """Everything that nothing reads ends in the sum that is the output."""
        ends = []
        for t in sorted(self.unread):
            c, factor = self.shapes[t]
            block = self.scale // factor
            if block > 1 and self.rng.random() < 0.5:
                t = self.convolve(t, channels * block**2)
                t = self.put("depth_to_space", [t], (channels, self.scale), block=block)
            else:
                t = self.convolve(t, channels) if c != channels else t
                if block > 1:
                    t = self.put("resize", [t], (channels, self.scale), scale=block, mode="bicubic")
            ends.append(t)
        if len(ends) == 1 or self.rng.random() < 0.5:
            ends.insert(int(self.rng.integers(0, 2)), self.convolve(ends[0], channels, plain=True))
        while len(ends) > 2:
            ends.append(self.join(str(self.rng.choice(["add", "add", "mul"])), ends.pop(0), ends.pop(0)))
        self.join(str(self.rng.choice(["add", "add", "mul"])), *ends, output="y")


def drawn(seed):
    """(graph, parameters); which of codes, ranges and 16 bits there are goes by the seed."""
    graph = Drawn(seed).graph
    parameters = parameters_of(graph, seed)
    if seed % 2:
        to_codes(graph, parameters, seed)
    if seed % 6 > 0:
        state_ranges(graph, parameters, seed, wide=0.8 if seed % 6 > 1 else 0.0)
    return graph, parameters


def picture(h, w, channels, seed):
    rng = np.random.default_rng(seed)
    x = np.clip(rng.integers(0, 256, (h // 4 + 1, w // 4 + 1, channels)).repeat(4, 0).repeat(4, 1)[:h, :w]
                + rng.normal(0, 25, (h, w, channels)), 0, 255)
    return np.rint(x).astype(np.uint8)


# ---- the library ---------------------------------------------------------------------------------

class Aid:
    def __init__(self, build, folder):
        self.program, self.folder = build / "test/golden/aid_int8", folder

    def start(self, graph, parameters, codes, path=0, cpu=None):
        """cpu: by the native executor on that instruction set, and not by the reference in C."""
        h, w, _ = codes.shape
        (self.folder / "g.json").write_bytes(graph)
        (self.folder / "p.safetensors").write_bytes(parameters)
        (self.folder / "in").write_bytes(codes.tobytes())
        arguments = ["g.json", "p.safetensors", str(w), str(h), "in", "out", str(path)]
        return subprocess.run([self.program, *arguments, *(["native"] if cpu else [])], cwd=self.folder,
                              env={**os.environ, "SRP_CPU": cpu} if cpu else None, capture_output=True, text=True,
                              timeout=120)

    def output(self, done, codes, scale):
        assert done.returncode == 0, done.stdout + done.stderr
        h, w, c = codes.shape
        return np.fromfile(self.folder / "out", F).reshape(h * scale, w * scale, c)

    def run(self, graph, parameters, codes, scale, path=0):
        """The output tensor, and {tensor: (scale, zero) or None}."""
        done = self.start(graph, parameters, codes, path)
        out, tensors = self.output(done, codes, scale), {}
        for line in done.stdout.splitlines()[:-1]:
            name, *numbers = line.split()
            tensors[name] = None if numbers == ["f32"] else tuple(map(float.fromhex, numbers))
        return out, tensors

    def run_native(self, cpu, graph, parameters, codes, scale, path=0):
        """The output tensor with the mean."""
        done = self.start(graph, parameters, codes, path, cpu)
        out = self.output(done, codes, scale)
        assert done.stdout.split() == [cpu]
        return out

    def sets(self):
        """Instruction sets that this machine runs."""
        listed = subprocess.run([self.program.parents[1] / "kernel" / "aid_rows", "list"], text=True, check=True,
                                env={k: v for k, v in os.environ.items() if k != "SRP_CPU"}, capture_output=True)
        return listed.stdout.split()[:-1]
