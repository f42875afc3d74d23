# SPDX-License-Identifier: BSD-2-Clause
"""A graph as the few operations that every engine has, with its weights and ranges.

Numpy alone: the processes that measure an engine must not carry PyTorch. lower.py makes it.
"""
import json
from dataclasses import dataclass, field

import numpy as np

ARRAYS = ("weight", "bias")


@dataclass
class Op:
    """conv (activation none or relu, zero padding), tanh, add (two inputs), pad (repeats the edge),
    shuffle (depth to space; output channel c takes the inputs c * block^2 and up, row by row)."""
    kind: str
    inputs: list
    output: str
    activation: str = "none"
    pad: int = 0
    block: int = 0
    weight: np.ndarray = None  # out, in, height, width
    bias: np.ndarray = None


@dataclass
class Network:
    """`ranges`: least and greatest value of each tensor on the calibration picture."""
    name: str
    scale: int
    channels: int
    width: int   # of the input
    height: int
    macs: int    # of one picture, the graph's own convolutions
    input: str
    output: str
    ops: list = field(default_factory=list)
    ranges: dict = field(default_factory=dict)

    def shapes(self):
        """Channels, height, width of each tensor."""
        shapes = {self.input: (self.channels, self.height, self.width)}
        for op in self.ops:
            c, h, w = shapes[op.inputs[0]]
            if op.kind == "conv":
                edge = 2 * op.pad + 1 - op.weight.shape[2]
                c, h, w = op.weight.shape[0], h + edge, w + edge
            elif op.kind == "pad":
                h, w = h + 2 * op.pad, w + 2 * op.pad
            elif op.kind == "shuffle":
                c, h, w = c // op.block ** 2, h * op.block, w * op.block
            shapes[op.output] = (c, h, w)
        return shapes

    def unsigned(self, tensor):
        """Scale and zero point for 0..255 that cover the tensor's range and hold 0 exactly."""
        if tensor == self.input:
            return 1 / 255, 128  # 8-bit samples less one half
        low, high = self.ranges[tensor]
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-6) / 255
        return scale, int(np.clip(round(-low / scale), 0, 255))

    def signed(self, tensor):
        """Scale for -127..127 around 0."""
        if tensor == self.input:
            return 1 / 255
        return max(abs(v) for v in self.ranges[tensor]) / 127 or 1e-6

    def save(self, path):
        ops = [{k: v for k, v in vars(op).items() if k not in ARRAYS} for op in self.ops]
        head = {**{k: v for k, v in vars(self).items() if k != "ops"}, "ops": ops}
        arrays = {f"{i}.{key}": getattr(op, key) for i, op in enumerate(self.ops)
                  for key in ARRAYS if getattr(op, key) is not None}
        np.savez(path, head=np.array(json.dumps(head)), **arrays)

    @classmethod
    def load(cls, path):
        with np.load(path) as file:
            head = json.loads(str(file["head"]))
            ops = [Op(**op, **{k: file[f"{i}.{k}"] for k in ARRAYS if f"{i}.{k}" in file})
                   for i, op in enumerate(head.pop("ops"))]
        return cls(ops=ops, **head)


def quantise_weights(weight):
    """Per output channel: int8 weights and the scales."""
    scale = np.maximum(np.abs(weight).reshape(len(weight), -1).max(1), 1e-8) / 127
    return (np.rint(weight / scale[:, None, None, None]).astype(np.int8), scale.astype(np.float32))


def relative_rms(got, want):
    """Root mean square of the difference over that of the wanted values' spread."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.sqrt(np.mean((got - want) ** 2)) / max(np.std(want), 1e-12))
