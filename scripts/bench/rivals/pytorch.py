# SPDX-License-Identifier: BSD-2-Clause
"""PyTorch, channels last: f32 and bf16 traced and frozen, 8-bit by its quantised operators."""
import warnings

import numpy as np
import torch
import torch.nn.functional as F

from ..network import quantise_weights
from . import refuse


def version():
    return torch.__version__.split("+")[0]


class _Module(torch.nn.Module):
    """A Network's operations on parameters of one dtype."""

    def __init__(self, network, dtype):
        super().__init__()
        self.ops, self.names = network.ops, (network.input, network.output)
        for i, op in enumerate(network.ops):
            if op.kind == "conv":
                weight = torch.from_numpy(op.weight).to(dtype, memory_format=torch.channels_last)
                self.register_buffer(f"weight{i}", weight)
                self.register_buffer(f"bias{i}", torch.from_numpy(op.bias).to(dtype))

    def forward(self, x):
        values = {self.names[0]: x}
        for i, op in enumerate(self.ops):
            inputs = [values[t] for t in op.inputs]
            if op.kind == "conv":
                y = F.conv2d(inputs[0], getattr(self, f"weight{i}"), getattr(self, f"bias{i}"),
                             padding=op.pad)
                y = F.relu(y) if op.activation == "relu" else y
            elif op.kind == "tanh":
                y = torch.tanh(inputs[0])
            elif op.kind == "add":
                y = inputs[0] + inputs[1]
            elif op.kind == "pad":
                y = F.pad(inputs[0], (op.pad,) * 4, mode="replicate")
            else:
                y = F.pixel_shuffle(inputs[0], op.block)
            values[op.output] = y
        return values[self.names[1]]


class _Quantised:
    """A Network's operations on unsigned 8-bit tensors."""

    def __init__(self, network):
        self.network, self.packed = network, {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for op in network.ops:
                if op.kind == "conv":
                    weights, scale = quantise_weights(op.weight)
                    zero = torch.zeros(len(scale), dtype=torch.long)
                    weights = torch._make_per_channel_quantized_tensor(
                        torch.from_numpy(weights), torch.from_numpy(scale).double(), zero, 0)
                    self.packed[op.output] = torch.ops.quantized.conv2d_prepack(
                        weights, torch.from_numpy(op.bias), [1, 1], [op.pad] * 2, [1, 1], 1)
        self.rows, self.columns = (torch.arange(-2, n + 2).clamp(0, n - 1)
                                   for n in (network.height, network.width))

    def input(self, x):
        return torch._make_per_tensor_quantized_tensor(x, *self.network.unsigned(self.network.input))

    def __call__(self, x):
        quantised, values = torch.ops.quantized, {self.network.input: self.input(x)}
        for op in self.network.ops:
            inputs = [values[t] for t in op.inputs]
            if op.kind == "conv":
                conv = quantised.conv2d_relu if op.activation == "relu" else quantised.conv2d
                y = conv(inputs[0], self.packed[op.output], *self.network.unsigned(op.output))
            elif op.kind == "tanh":
                y = torch.tanh(inputs[0])
            elif op.kind == "add":
                y = quantised.add(*inputs, *self.network.unsigned(op.output))
            elif op.kind == "pad":  # of the picture: quantised tensors have no such padding
                y = self.input(x[:, :, self.rows][:, :, :, self.columns])
            else:
                y = torch.pixel_shuffle(inputs[0], op.block)
            values[op.output] = y
        return values[self.network.output]


class Engine:
    def __init__(self, task):
        refuse(task, "f32", "int8", "bf16")
        torch.set_num_threads(task.threads)
        torch.set_flush_denormal(True)
        if task.dtype == "int8":
            self.input = torch.from_numpy(task.picture()).contiguous(memory_format=torch.channels_last)
            self.module = _Quantised(task.network())
            self.result = None
            return
        dtype = torch.bfloat16 if task.dtype == "bf16" else torch.float32
        x = torch.from_numpy(task.samples())
        self.input = x.to(dtype, memory_format=torch.channels_last)
        module = _Module(task.network(), dtype).eval()
        with torch.inference_mode():
            traced = torch.jit.trace(module, self.input, check_trace=False)
            self.module = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            self.result = self.module(self.input)

    def run(self):
        with torch.inference_mode():
            self.result = self.module(self.input)

    def output(self):
        result = self.result.dequantize() if self.result.is_quantized else self.result.float()
        return np.ascontiguousarray(result.numpy())
