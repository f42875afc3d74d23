# SPDX-License-Identifier: BSD-2-Clause
"""The network while it is being imported: nodes that point at their inputs.

Operators: those of docs/format.md, and three that the passes of import_fold.py remove again:
  affine   out[c] = a[c] * in[c] + b[c]
  act      an activation that no other node has taken over yet
  pad      zeros around the picture, (top, left, bottom, right)
A conv2d may be of any kernel and padding until then. Constants are float64.
"""

import dataclasses

import numpy as np

MAX_CHANNELS = 4096      # while folding: a block may be wide before its convolutions are merged
MAX_WEIGHTS = 16 << 20   # of one convolution, written out densely
MAX_ELEMENTS = 64 << 20  # of all of them, and of all constants: memory, whatever the file says
MAX_INPUTS = 64          # of an add, mul or concat
MAX_REAL = 1e6           # constants of activations, as in docs/format.md


class Refused(Exception):
    """`node` (its name and operator, or None) cannot be converted; the text says why."""

    def __init__(self, reason, node=None):
        super().__init__(reason)
        self.node = node


@dataclasses.dataclass(eq=False)
class Node:
    op: str                     # input conv2d add mul concat slice depth_to_space resize
                                # affine act pad
    inputs: list
    channels: int               # of the output
    name: str                   # of the ONNX node it came from
    act: tuple | None = None    # conv2d, add, mul, act: (word, number or array, ...)
    weight: np.ndarray | None = None  # conv2d: [out][in][height][width]
    bias: np.ndarray | None = None
    pads: tuple = (0, 0, 0, 0)  # conv2d, pad: top, left, bottom, right
    a: np.ndarray | None = None  # affine
    b: np.ndarray | None = None
    first: int = 0              # slice
    factor: int = 1             # depth_to_space, resize
    word: str = ""              # depth_to_space: crd or dcr; resize: the mode

    def keeps_size(self):
        """Whether a convolution's output is as large as its input."""
        top, left, bottom, right = self.pads
        height, width = self.weight.shape[2:]
        return top + bottom == height - 1 and left + right == width - 1

    def facts(self):
        """What two traces of one file at different sizes must agree in, input nodes aside."""
        return (self.op, self.channels, self.pads, self.first, self.factor, self.word,
                self.weight, self.bias, self.a, self.b, *(self.act or ()))


class Net:
    """The nodes that the output hangs on. `users` maps each to its readers, one entry per read."""

    def __init__(self, channels):
        self.users = {}
        self.input = self.new("input", [], channels, "input")
        self.output = None
        self.mean = 0.0
        self.elements = 0

    def new(self, op, inputs, channels, name, **fields):
        node = Node(op, list(inputs), channels, name, **fields)
        self.users[node] = []
        for source in node.inputs:
            self.users[source].append(node)
        return node

    def conv(self, source, weight, bias, name, pads=(0, 0, 0, 0), act=None):
        self.elements += weight.size
        if self.elements > MAX_ELEMENTS:
            raise Refused(f"more than {MAX_ELEMENTS} weights, written out, before this one")
        return self.new("conv2d", [source], len(weight), name, weight=weight, bias=bias, pads=pads,
                        act=act)

    def affine(self, source, a, b, name):
        shape = (source.channels,)
        return self.new("affine", [source], source.channels, name,
                        a=np.broadcast_to(np.asarray(a, np.float64), shape),
                        b=np.broadcast_to(np.asarray(b, np.float64), shape))

    def once(self, node):
        """Whether exactly one node reads it, and the user of the network does not."""
        return len(self.users[node]) == 1 and node is not self.output

    def rewire(self, node, inputs):
        """Gives a node other inputs and forgets what nobody reads any more."""
        old, node.inputs = node.inputs, list(inputs)
        for source in node.inputs:
            self.users[source].append(node)
        for source in old:
            self.users[source].remove(node)
            self.forget(source)

    def replace(self, old, new):
        """All that read `old` read `new`, which must not be one of them."""
        if self.output is old:
            self.output = new
        for user in self.users[old]:
            user.inputs = [new if source is old else source for source in user.inputs]
        self.users[new] += self.users[old]
        self.users[old] = []
        self.forget(old)

    def forget(self, node):
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node not in self.users or self.users[node] or node in (self.output, self.input):
                continue
            del self.users[node]
            for source in node.inputs:
                self.users[source].remove(node)
                waiting.append(source)

    def finish(self, output):
        """Names the output and forgets all that it does not hang on."""
        self.output = output
        for node in reversed(list(self.users)):
            self.forget(node)

    def order(self):
        """The nodes, each after its inputs; the same order for the same network."""
        order, seen, waiting = [], set(), [self.output]
        while waiting:
            node = waiting[-1]
            pending = [source for source in node.inputs if source not in seen]
            if node in seen:
                waiting.pop()
            elif pending:
                waiting += reversed(pending)
            else:
                seen.add(node)
                order.append(node)
                waiting.pop()
        return order


def _equal(one, other):
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one is not None and other is not None and np.array_equal(one, other)
    return one == other


def same(one, other):
    """Whether two networks are the same, node by node."""
    first, second = one.order(), other.order()
    if len(first) != len(second):
        return False
    number = [{node: i for i, node in enumerate(nodes)} for nodes in (first, second)]
    for x, y in zip(first, second):
        if [number[0][s] for s in x.inputs] != [number[1][s] for s in y.inputs]:
            return False
        facts = x.facts(), y.facts()
        if len(facts[0]) != len(facts[1]) or not all(map(_equal, *facts)):
            return False
    return True
