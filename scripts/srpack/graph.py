# SPDX-License-Identifier: BSD-2-Clause
"""Graphs of docs/format.md as PyTorch modules; parameters from and to safetensors."""

import torch


def load_module(graph) -> torch.nn.Module:
    """Module of a graph (dict or path). Input [n][c][h][w] in code / 255, output [n][c][h*scale][w*scale], not clipped;
    the mean is applied inside. Attributes: graph (dict), scale, colour, channels, mean."""
    raise NotImplementedError


def load_parameters(module, path) -> None:
    """Reads a safetensors file into a module of load_module. ValueError when names or shapes do not match."""
    raise NotImplementedError


def export(module, path, dtype: str = "f16") -> None:
    """Writes the module's parameters as safetensors (f16 or f32), atomically, the same bytes for the same weights."""
    raise NotImplementedError
