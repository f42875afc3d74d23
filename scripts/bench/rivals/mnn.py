# SPDX-License-Identifier: BSD-2-Clause
"""MNN through its session interface, Winograd as it likes, converted by the wheel's own converter.

Never import MNN.tools: it installs packages and sends usage data. The converter and the quantiser are
called directly, in a process of their own (`python -m bench.rivals.mnn FOLDER NAME`, NAME being
model.mnn or model-int8.mnn), so that they cost no memory here and may crash.
"""
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import MNN
import numpy as np

from ..network import Network
from . import Missing


CORNER = 160, 96


def version():
    return importlib.metadata.version("MNN")


def _converted(task, name):
    path, source = task.folder / name, task.folder / "model.onnx"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        done = subprocess.run([sys.executable, "-m", __name__, task.folder, name],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode or not path.exists():
            raise Missing("its converter fails on this model" if name == "model.mnn"
                          else "its quantiser fails on this model")
    return str(path)


class Engine:
    def __init__(self, task):
        if task.dtype == "bf16":
            raise Missing("its low precision computes in float32 on x86-64")
        name = "model-int8.mnn" if task.dtype == "int8" else "model.mnn"
        self.interpreter = MNN.Interpreter(_converted(task, name))
        self.session = self.interpreter.createSession(
            {"numThread": task.threads, "precision": "high", "backend": "CPU", "power": "high"})
        self.input = self.interpreter.getSessionInput(self.session)
        self.result = self.interpreter.getSessionOutput(self.session)
        self.samples = task.samples()
        self.host = MNN.Tensor(self.input.getShape(), MNN.Halide_Type_Float, self.samples,
                               MNN.Tensor_DimensionType_Caffe)

    def run(self):
        self.input.copyFrom(self.host)  # a run overwrites its input
        self.interpreter.runSession(self.session)

    def output(self):
        shape = self.result.getShape()
        host = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32),
                          MNN.Tensor_DimensionType_Caffe)
        self.result.copyToHostTensor(host)
        return np.array(host.getNumpyData()).reshape(shape)


def _convert(folder, path):
    import _tools
    _tools.mnnconvert(["MNNConvert", "-f", "ONNX", "--modelFile", str(folder / "model.onnx"), "--MNNModel",
                       str(path), "--bizCode", "bench"])


def _quantise(folder, path):
    """Ranges from a corner of the calibration picture (the tool is slow), as text: samples less the mean."""
    import _tools
    _convert(folder, folder / "model-float.mnn")
    network = Network.load(folder / "network.npz")
    picture = np.load(folder / "picture.npy")[:, :, :CORNER[1], :CORNER[0]]
    inputs = folder / "mnn" / "0"
    inputs.mkdir(parents=True, exist_ok=True)
    np.savetxt(inputs / f"{network.input}.txt", (picture / 255 - 0.5).ravel(), fmt="%.6f")
    (inputs / "input.json").write_text(json.dumps({
        "inputs": [{"name": network.input, "shape": list(picture.shape)}], "outputs": [network.output]}))
    settings = folder / "mnn.json"
    settings.write_text(json.dumps({
        "format": "RGB", "mean": [0.0], "normal": [1.0], "width": picture.shape[3], "height": picture.shape[2],
        "path": f"{inputs.parent}/", "used_image_num": 1, "batch_size": 1, "quant_bits": 8,
        "feature_quantize_method": "EMA", "weight_quantize_method": "MAX_ABS", "input_type": "sequence"}))
    # One list of arguments: the wheel's own wrapper passes them apart, and that ends the process.
    _tools.mnnquant(["quantized", str(folder / "model-float.mnn"), str(path), str(settings)])


def _main(folder, name):
    part = folder / f"{name}.part"
    (_quantise if name == "model-int8.mnn" else _convert)(folder, part)
    os.replace(part, folder / name)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
