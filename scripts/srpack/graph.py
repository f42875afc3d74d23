# SPDX-License-Identifier: BSD-2-Clause
"""Graphs of docs/format.md as PyTorch modules; parameters from and to safetensors.

Tensors are [n][channels][height][width] float32, samples in code / 255; the graph's mean is
taken off and put back inside the module. The C reference executor is the definition; a test
compares the two.
"""

import json
import math
import os
import pathlib
import tempfile

import safetensors.torch
import torch
import torch.nn.functional as F

from . import quant

CHANNELS = {"y": 1, "rgb": 3, "yuv420": 6}
CUBIC_A = -0.6  # the free parameter of Keys' cubic: B = 0, C = 0.6
MAX_PATHS = 8  # SRP_MAX_PATHS
ACTIVATION = {"activation", "alpha", "min", "max"}
KEYS = {  # of each operator's nodes, beside those that all have
    "conv2d": {"channels", "kernel", *ACTIVATION}, "add": ACTIVATION, "mul": ACTIVATION,
    "concat": set(), "depth_to_space": {"block", "order"}, "resize": {"scale", "mode"},
    "slice": {"first", "channels"}, "route": {"default"}}


def cubic(t):
    """Keys' cubic kernel at distance t (float)."""
    t, a = abs(t), CUBIC_A
    if t < 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    if t < 2:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return 0.0


def phase_taps(position, mode="bicubic"):
    """Weights of source samples -2..2 for a sample at `position` in [-1, 1) of their grid."""
    if mode == "bicubic":
        return [cubic(position - k) for k in range(-2, 3)]
    if mode == "bilinear":
        return [max(0.0, 1 - abs(position - k)) for k in range(-2, 3)]
    raise ValueError(f"unknown resize mode {mode!r}")


def resize_kernel(scale, mode="bicubic"):
    """[scale * scale][1][5][5]: one 5x5 kernel for each output phase (row * scale + column)."""
    taps = torch.tensor(
        [phase_taps((i + 0.5) / scale - 0.5, mode) for i in range(scale)], dtype=torch.float64
    )
    return torch.einsum("ik,jl->ijkl", taps, taps).reshape(scale * scale, 1, 5, 5).float()


def resize(x, scale, mode="bicubic", kernel=None):
    """Enlarges [n][c][h][w] by an integer: pixel centres aligned, edges replicated."""
    if scale == 1:
        return x
    if mode == "nearest":
        return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    n, c, h, w = x.shape
    kernel = resize_kernel(scale, mode).to(x) if kernel is None else kernel
    padded = F.pad(x.reshape(n * c, 1, h, w), (2, 2, 2, 2), mode="replicate")
    return F.pixel_shuffle(F.conv2d(padded, kernel), scale).reshape(n, c, h * scale, w * scale)


def read_graph(graph):
    """The dict of a graph given as dict or path."""
    if isinstance(graph, dict):
        return graph
    try:
        return json.loads(pathlib.Path(graph).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{graph}: not JSON: {error}") from None


def _ordered(graph):
    """The nodes in an order in which each tensor is written before it is read."""
    waiting, known, order = list(graph["nodes"]), {graph["input"]}, []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node["inputs"])]
        if not ready:
            raise ValueError(
                f"graph {graph['name']}: cycle or missing tensor at node {waiting[0]['name']}"
            )
        for node in ready:
            if node["output"] in known:
                raise ValueError(f"graph {graph['name']}: tensor {node['output']} is written twice")
            known.add(node["output"])
            order.append(node)
        waiting = [node for node in waiting if node not in ready]
    if graph["output"] not in known:
        raise ValueError(f"graph {graph['name']}: nothing writes the output {graph['output']}")
    return order


class Convolution(torch.nn.Module):
    """One conv2d node with its activation; the parameter names are those of the file."""

    def __init__(self, node, channels_in):
        super().__init__()
        out, (kh, kw) = node["channels"], node["kernel"]
        self.weight = torch.nn.Parameter(torch.zeros(out, channels_in, kh, kw))
        self.bias = torch.nn.Parameter(torch.zeros(out))
        if node.get("activation") == "prelu":
            self.slope = torch.nn.Parameter(torch.full((out,), 0.25))
        self.padding = ((kh - 1) // 2, (kw - 1) // 2)
        self.activation = activation(node)

    def forward(self, x):
        y = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return F.prelu(y, self.slope) if hasattr(self, "slope") else self.activation(y)


def activation(node):
    name = node.get("activation", "none")
    if name == "none":
        return lambda x: x
    if name == "relu":
        return F.relu
    if name == "leaky_relu":
        alpha = node["alpha"]
        return lambda x: F.leaky_relu(x, alpha)
    if name == "clip":
        low, high = node["min"], node["max"]
        return lambda x: x.clamp(low, high)
    if name == "tanh":
        return torch.tanh
    if name == "sigmoid":
        return torch.sigmoid
    if name == "prelu" and node["op"] == "conv2d":
        return None
    raise ValueError(f"node {node['name']}: unknown activation {name!r}")


def _depth_to_space(x, node):
    block = node["block"]
    if node.get("order", "crd") == "dcr":
        n, c, h, w = x.shape
        x = (
            x.reshape(n, block * block, c // (block * block), h, w)
            .transpose(1, 2)
            .reshape(n, c, h, w)
        )
    return F.pixel_shuffle(x, block)


class GraphModule(torch.nn.Module):
    """Runs a graph. `convolutions` maps node names to Convolution modules."""

    def __init__(self, graph):
        super().__init__()
        if graph.get("format") != "srp-graph" or graph.get("version") != 1:
            raise ValueError("not an srp-graph of version 1")
        if graph["colour"] not in CHANNELS:
            raise ValueError(f"graph {graph['name']}: unknown colour {graph['colour']!r}")
        self.graph = graph
        self.scale, self.colour, self.mean = graph["scale"], graph["colour"], graph.get("mean", 0)
        self.channels = CHANNELS[self.colour]
        self.order = _ordered(graph)
        self._index = {node["name"]: i for i, node in enumerate(self.order)}
        self.convolutions = {}
        self._modules_in_order = torch.nn.ModuleList()
        self._macs = {}  # of each convolution, by node name
        channels, factor = {graph["input"]: self.channels}, {graph["input"]: 1}
        for index, node in enumerate(self.order):
            c, f = self._check(node, channels, factor)
            channels[node["output"]], factor[node["output"]] = c, f
            if node["op"] == "resize" and node["mode"] != "nearest":
                self.register_buffer(
                    f"kernel{index}", resize_kernel(node["scale"], node["mode"]), persistent=False
                )
        if channels[graph["output"]] != self.channels or factor[graph["output"]] != self.scale:
            raise ValueError(f"graph {graph['name']}: the output is not scale times the input")
        reads = [t for node in self.order for t in node["inputs"]] + [graph["output"]]
        if set(channels) - set(reads):
            raise ValueError(
                f"graph {graph['name']}: {sorted(set(channels) - set(reads))[0]} is never read"
            )
        self._set_paths()

    def _set_paths(self):
        """Paths of the graph: their tensors, and what each costs."""
        route = next((node for node in self.order if node["op"] == "route"), None)
        tensors = route["inputs"] if route else [self.graph["output"]]
        self.default_path = route["default"] if route else 0
        self.paths, self._path_tensors = len(tensors), tensors
        self._schedules = {}  # wanted tensors -> what to run
        self.macs_of_path = [
            sum(self._macs.get(self.order[i]["name"], 0) for i, _ in self._schedule((tensor,)))
            for tensor in tensors
        ]
        self.macs_per_pixel = max(self.macs_of_path)

    def macs(self, name):
        """Multiply-accumulates of a convolution for each pixel of the input."""
        return self._macs[name]

    def path_nodes(self, path):
        """The nodes that path `path` reads, in order."""
        return [self.order[i] for i, _ in self._schedule((self._path_tensors[path],))]

    def _check(self, node, channels, factor):
        """Channels and size factor of the node's output; creates its convolution."""
        common = {"op", "name", "inputs", "output"}
        for key in sorted(node.keys() - common - KEYS.get(node["op"], node.keys())):
            raise ValueError(f"node {node['name']}: {node['op']} has no {key!r}")
        inputs = [channels[t] for t in node["inputs"]]
        first = factor[node["inputs"][0]]
        if node["op"] == "conv2d":
            if not all(k % 2 for k in node["kernel"]):
                raise ValueError(f"node {node['name']}: even kernel")
            conv = Convolution(node, inputs[0])
            self._modules_in_order.append(conv)
            self.convolutions[node["name"]] = conv
            self._macs[node["name"]] = conv.weight.numel() * first * first
            return node["channels"], first
        if any(factor[t] != first for t in node["inputs"]):
            raise ValueError(f"node {node['name']}: inputs of different size")
        if node["op"] == "route":
            return self._check_route(node, inputs), first
        if node["op"] in ("add", "mul") and len(set(inputs)) == 1 and len(inputs) > 1:
            activation(node)
            return inputs[0], first
        if node["op"] == "concat":
            return sum(inputs), first
        if node["op"] == "slice" and node["first"] + node["channels"] <= inputs[0]:
            return node["channels"], first
        if node["op"] == "depth_to_space" and inputs[0] % node["block"] ** 2 == 0:
            return inputs[0] // node["block"] ** 2, first * node["block"]
        if node["op"] == "resize":
            return inputs[0], first * node["scale"]
        raise ValueError(f"node {node['name']}: cannot run {node['op']!r} on channels {inputs}")

    def _check_route(self, node, channels):
        """Channels of a route between paths; the same refusals as the C reader's."""
        name, inputs, default = node["name"], node["inputs"], node.get("default")
        if not 2 <= len(inputs) <= MAX_PATHS:
            raise ValueError(f"node {name}: {len(inputs)} paths, not 2 to {MAX_PATHS}")
        if len(set(channels)) != 1:
            raise ValueError(f"node {name}: cannot run 'route' on channels {channels}")
        if node["output"] != self.graph["output"] or any(
            node["output"] in other["inputs"] for other in self.order
        ):
            raise ValueError(f"node {name}: a route makes the graph's output, and nothing reads it")
        if not isinstance(default, int) or not 0 <= default < len(inputs):
            raise ValueError(f"node {name}: no path {default}")
        if self.graph["input"] in inputs:
            raise ValueError(f"node {name}: the graph's input {self.graph['input']} is no path")
        twice = next((t for t in inputs if inputs.count(t) > 1), None)
        if twice is not None:
            raise ValueError(f"node {name}: {twice} is two of its paths")
        return channels[0]

    def _schedule(self, wanted):
        """[(node number, tensors that nothing reads after it)] that makes the wanted tensors."""
        if wanted not in self._schedules:
            needed, steps, later = set(wanted), [], set(wanted)
            for index in reversed(range(len(self.order))):
                node = self.order[index]
                if node["output"] in needed:
                    needed.update(node["inputs"])
                    steps.append((index, [t for t in set(node["inputs"]) if t not in later]))
                    later.update(node["inputs"])
            self._schedules[wanted] = steps[::-1]
        return self._schedules[wanted]

    def _node(self, index, inputs):
        node = self.order[index]
        if node["op"] == "conv2d":
            return self.convolutions[node["name"]](inputs[0])
        if node["op"] == "add":
            return activation(node)(sum(inputs[1:], inputs[0]))
        if node["op"] == "mul":
            return activation(node)(math.prod(inputs[1:], start=inputs[0]))
        if node["op"] == "slice":
            return inputs[0][:, node["first"] : node["first"] + node["channels"]]
        if node["op"] == "concat":
            return torch.cat(inputs, 1)
        if node["op"] == "depth_to_space":
            return _depth_to_space(inputs[0], node)
        kernel = getattr(self, f"kernel{index}", None)
        return resize(inputs[0], node["scale"], node["mode"], kernel)

    def forward_paths(self, x, which):
        """The outputs of the paths `which`, in that order; what they share is computed once."""
        wanted = tuple(self._path_tensors[path] for path in which)
        values = {self.graph["input"]: x - self.mean if self.mean else x}
        for index, done in self._schedule(wanted):
            node = self.order[index]
            y = self._node(index, [values[t] for t in node["inputs"]])
            for tensor in done:
                del values[tensor]
            values[node["output"]] = y
        outputs = [values[tensor] for tensor in wanted]
        return [y + self.mean if self.mean else y for y in outputs]

    def forward(self, x, path=None):
        """The output of a path, by default of the one that is taken without routes."""
        return self.forward_paths(x, [self.default_path if path is None else path])[0]

    def learnt_factors(self):
        """Parameters that are factors of scales (fake.Module has some)."""
        return []

    def description(self):
        """What, beside the parameters, tells two modules of one graph apart."""
        return []

    def settle(self):
        """Rounds the parameters to what the file holds."""
        with torch.no_grad():
            for parameter in self.named_tensors().values():
                parameter.copy_(parameter.half().float())

    def named_tensors(self):
        """Name in the file -> parameter, in the order of the nodes."""
        return {
            f"{name}.{key}": value
            for name, conv in self.convolutions.items()
            for key, value in conv.named_parameters()
        }


def load_module(graph) -> GraphModule:
    """Module of a graph (dict or path). Input [n][c][h][w] in code / 255, output
    [n][c][h*scale][w*scale], not clipped; the mean is applied inside. Attributes: graph (dict),
    scale, colour, channels, mean, paths (1: no route), default_path, macs_of_path, and
    macs_per_pixel, that of the dearest path.
    All parameters are zero: call initialise() or load_parameters()."""
    return GraphModule(read_graph(graph))


def _ends(module, path):
    """The convolutions that write a path's output with nothing but sums and shuffles behind
    them; and of them those that begin at the bicubic kernel, none where a base adds it anyway;
    and whether the picture begins at bicubic at all."""
    nodes, source = module.path_nodes(path), module.graph["input"]
    producer = {node["output"]: node for node in nodes}
    last, todo = [], [nodes[-1]["output"]]
    while todo:
        node = producer.get(todo.pop())
        if node is not None and node["op"] == "conv2d":
            last.append(node)
        elif node is not None and node.get("activation", "none") == "none":
            todo += node["inputs"]
    based = source in nodes[-1]["inputs"] or any(
        node["op"] == "resize" and node["inputs"] == [source] for node in nodes
    )
    skips = [
        node
        for node in last
        if node["inputs"] == [source]
        and node["kernel"] == [5, 5]
        and node["channels"] == module.channels * module.scale**2
        and node.get("activation", "none") == "none"
    ]
    return last, [] if based else skips[:1], bool(based or skips)


def _calm(module, path, last):
    """Residual branches begin small: the sum of many keeps its variance. Names of convolutions
    and their factor."""
    nodes, source = module.path_nodes(path), module.graph["input"]
    residual = [n for n in nodes if n["op"] == "add" and source not in n["inputs"]]
    outputs = {node["output"] for node in last}
    blocks = sum(1 for n in residual if len(n["inputs"]) == 2 and n["inputs"][1] not in outputs)
    if blocks <= 1:
        return {}
    summed = {tensor for node in residual for tensor in node["inputs"]}
    return {
        node["name"]: 1 / math.sqrt(blocks)
        for node in nodes
        if node["op"] == "conv2d" and node["output"] in summed
    }


def initialise(module, seed=0) -> None:
    """He initialisation; the last convolutions before each path's output begin at zero, or at the
    bicubic kernel where one of them reads the input, so that training starts at the bicubic
    picture where the graph allows it.
    """
    generator = torch.Generator().manual_seed(seed)
    activations = {node["name"]: node.get("activation", "none") for node in module.order}
    with torch.no_grad():
        for name, conv in module.convolutions.items():
            gain = 2.0 if activations[name] in ("relu", "leaky_relu", "prelu", "clip") else 1.0
            conv.weight.copy_(
                torch.randn(conv.weight.shape, generator=generator)
                * math.sqrt(gain / conv.weight[0].numel())
            )
            conv.bias.zero_()
        factors, zero, bicubic = {}, [], []
        for path in range(module.paths):
            last, skips, begins = _ends(module, path)
            factors.update(_calm(module, path, last))
            zero += last if begins else []
            bicubic += skips
        for name, factor in factors.items():
            module.convolutions[name].weight.mul_(factor)
        for node in zero:
            module.convolutions[node["name"]].weight.zero_()
        kernel, phases = resize_kernel(module.scale)[:, 0], module.scale**2
        for node in bicubic:
            weight = module.convolutions[node["name"]].weight
            for channel in range(module.channels):
                weight[channel * phases : (channel + 1) * phases, channel] = kernel


def load_parameters(module, path) -> None:
    """Reads a safetensors file into a module of load_module: codes as the weights that they stand
    for, without ranges. ValueError when names, shapes or values are wrong."""
    tensors = quant.read(path)
    expected = module.named_tensors()
    if tensors.keys() != expected.keys():
        name = sorted(tensors.keys() ^ expected.keys())[0]
        raise ValueError(
            f"{path}: tensor {name} is {'missing' if name in expected else 'not in the graph'}"
        )
    for name, parameter in expected.items():
        value = tensors[name]
        if value.shape != parameter.shape:
            raise ValueError(
                f"{path}: {name} has shape {list(value.shape)}, not {list(parameter.shape)}"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity")
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])


DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def round_parameters(module, dtype="f16") -> None:
    """Rounds the parameters in place to what export() writes, so that a measurement sees what is
    shipped."""
    if dtype == "f16":
        module.settle()  # fake.Module has codes
        return
    with torch.no_grad():
        for parameter in module.named_tensors().values():
            parameter.copy_(parameter.to(DTYPES[dtype]).float())


def check_range(module, dtype) -> None:
    """ValueError when that type has no finite number for a parameter."""
    for name, parameter in module.named_tensors().items():
        value = parameter.detach()
        lost = value[~torch.isfinite(value.to(DTYPES[dtype]))]
        if len(lost):
            raise ValueError(f"{name}: {float(lost[0]):g} is beyond the range of {dtype} "
                             f"({torch.finfo(DTYPES[dtype]).max:g})")


def export(module, path, dtype: str = "f16") -> None:
    """Writes the module's parameters as safetensors (f16, bf16 or f32), atomically, the same bytes
    for the same weights. Errors: those of check_range()."""
    check_range(module, dtype)
    tensors = {
        name: value.detach().to("cpu", DTYPES[dtype]).contiguous()
        for name, value in module.named_tensors().items()
    }
    write_atomically(path, safetensors.torch.save(tensors))


def write_atomically(path, data: bytes) -> None:
    """The file is the old one or the new one, never a part."""
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
