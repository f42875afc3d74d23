# SPDX-License-Identifier: BSD-2-Clause
"""PyTorch, traced and frozen, channels last; bf16 by its own bfloat16 convolutions."""
import numpy as np
import torch
import torch.nn.functional as F

from . import Missing, refuse


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


class Engine:
    def __init__(self, task):
        if task.dtype == "int8":
            raise Missing("its 8-bit convolutions moved to a package of their own (torchao)")
        refuse(task, "f32", "bf16")
        torch.set_num_threads(task.threads)
        torch.set_flush_denormal(True)
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
        return np.ascontiguousarray(self.result.float().numpy())
