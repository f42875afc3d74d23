# SPDX-License-Identifier: BSD-2-Clause
"""Writes what the engines need of one model at one size: `python -m bench.prepare GRAPH WxH FOLDER`.

In the folder: network.npz, model.onnx, model-int8.onnx, parameters.safetensors (for srbench),
picture.npy (bytes), reference.npy (PyTorch's float32 output).
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from srpack.graph import export as export_parameters

from . import lower, onnx_export


def _write(path, model):
    """An unchanged file keeps its time: what engines converted from it stays good."""
    content = model.SerializeToString()
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def prepare(graph, width, height, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module = lower.random_module(graph)
    network = lower.lower(module, width, height)
    picture = lower.picture(network.channels, width, height)
    with torch.inference_mode():
        x = torch.from_numpy(picture).float() / 255
        lower.calibrate(network, x - module.mean)
        reference = module(x).numpy()
    network.save(folder / "network.npz")
    (folder / "network.json").write_text(json.dumps({"macs": network.macs}))
    _write(folder / "model.onnx", onnx_export.export(network))
    _write(folder / "model-int8.onnx", onnx_export.export_int8(network))
    export_parameters(module, folder / "parameters.safetensors", "f32")
    np.save(folder / "picture.npy", picture)
    np.save(folder / "reference.npy", reference)
    return network


if __name__ == "__main__":
    prepare(sys.argv[1], *map(int, sys.argv[2].split("x")), sys.argv[3])
