# SPDX-License-Identifier: BSD-2-Clause
"""How a graph runs in int8 (docs/arithmetic.md): its steps, which tensors hold codes, and which of
these share a scale."""

MOVERS = ("slice", "concat", "depth_to_space")
CARRIERS = ("none", "relu", "leaky_relu", "prelu")  # of a convolution that takes over a sum
SUMS = ("none", "relu", "clip")                     # of the sum
CURVES = ("tanh", "sigmoid")


def kind(node) -> str:
    return node.get("activation", "none")


class Step:
    """One node; or a convolution and the sum that it takes over, with what is added."""

    def __init__(self, node, total=None):
        self.node, self.total = node, total
        self.last = total or node  # whose activation comes at the end
        self.output = self.last["output"]
        self.residual = None
        if total is not None:
            self.residual = next(t for t in total["inputs"] if t != node["output"])
        self.reads = [*node["inputs"], *([self.residual] if total is not None else [])]
        self.is_conv = node["op"] == "conv2d"
        self.moves = node["op"] in MOVERS or node.get("mode") == "nearest"

    def reads_fine(self, tensor, is_code) -> bool:
        """Whether it takes what 16 bits hold of `tensor`; `is_code`: its output holds codes."""
        if self.is_conv:
            return tensor == self.residual or (tensor in self.node["inputs"] and not is_code)
        return self.node["op"] in ("add", "mul")


def _in_order(graph):
    waiting, known, order = list(graph["nodes"]), {graph["input"]}, []
    while waiting:
        node = next(n for n in waiting if known.issuperset(n["inputs"]))
        waiting.remove(node)
        known.add(node["output"])
        order.append(node)
    return order


def _taken(graph, order):
    """{name of a sum: the convolution that takes it over}"""
    writer = {node["output"]: node for node in order}
    reads = [t for node in order for t in node["inputs"]]
    place = {node["name"]: i for i, node in enumerate(order)}
    taken = {}
    for node in order:
        inputs = node["inputs"]
        if (node["op"] != "add" or len(inputs) != 2 or inputs[0] == inputs[1]
                or kind(node) not in SUMS):
            continue
        able = [
            writer[t] for t in inputs
            if t in writer and writer[t]["op"] == "conv2d" and kind(writer[t]) in CARRIERS
            and reads.count(t) == 1 and t != graph["output"]
            and writer[t]["name"] not in {conv["name"] for conv in taken.values()}
        ]
        if able:
            taken[node["name"]] = max(able, key=lambda conv: place[conv["name"]])
    return taken


class Program:
    """The steps of a graph without a route. `codes`: its Q8 tensors. `group_of`: for each of them
    the tensors that have one scale with it; `frozen`: those that have the input's."""

    def __init__(self, graph):
        order = _in_order(graph)
        taken = _taken(graph, order)
        inner = {conv["name"] for conv in taken.values()}
        self.graph = graph
        self.steps = [
            Step(taken[n["name"]], n) if n["name"] in taken else Step(n)
            for n in order if n["name"] not in inner
        ]
        self.codes = {graph["input"]}
        for step in reversed(self.steps):
            if step.is_conv or step.output in self.codes:
                self.codes.update(step.node["inputs"])
        self.codes.discard(graph["output"])
        self._set_groups()
        last = {t: i for i, step in enumerate(self.steps) for t in step.reads}
        self.done = [[t for t in set(step.reads) if last[t] == i and t != graph["output"]]
                     for i, step in enumerate(self.steps)]

    def _set_groups(self):
        source = self.graph["input"]
        group = {t: {t} for t in self.codes}
        for step in self.steps:
            if not step.moves or step.output not in self.codes:
                continue
            from_source = [source in group[t] for t in step.node["inputs"]]
            for tensor, is_source in zip(step.node["inputs"], from_source):
                if all(from_source) or not is_source:
                    union = group[tensor] | group[step.output]
                    group.update({member: union for member in union})
        self.group_of = {t: frozenset(members) for t, members in group.items()}
        self.frozen = group[source]

    def fine_readers(self, tensor):
        """Steps that take the 16 bits of a tensor."""
        return [step for step in self.steps
                if tensor in step.reads and step.reads_fine(tensor, step.output in self.codes)]

    def may_be_wide(self, tensor) -> bool:
        """Whether `tensor` may hold 16 bits, and something reads them. Of pictures only RGB is made
        of decoded planes; other samples are whole."""
        if tensor == self.graph["input"]:
            return self.graph["colour"] == "rgb" and bool(self.fine_readers(tensor))
        step = next((s for s in self.steps if s.output == tensor), None)
        return (step is not None and tensor in self.codes and tensor not in self.frozen
                and step.node["op"] in ("conv2d", "add", "mul") and kind(step.last) not in CURVES
                and bool(self.fine_readers(tensor)))
