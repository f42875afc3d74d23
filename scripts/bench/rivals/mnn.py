# SPDX-License-Identifier: BSD-2-Clause
"""MNN through its session interface, Winograd as it likes, converted by the wheel's own converter.

Never import MNN.tools: it installs packages and sends usage data. The converter is called directly,
in a process of its own (`python -m bench.rivals.mnn FROM.onnx TO.mnn`) so that it costs no memory here.
"""
import importlib.metadata
import os
import subprocess
import sys

import MNN
import numpy as np

from . import Missing


def version():
    return importlib.metadata.version("MNN")


def _converted(task):
    path, source = task.folder / "model.mnn", task.folder / "model.onnx"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        part = path.with_suffix(".part")
        done = subprocess.run([sys.executable, "-m", __name__, source, part],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode or not part.exists():
            raise Missing("its converter does not take this model")
        os.replace(part, path)
    return str(path)


class Engine:
    def __init__(self, task):
        if task.dtype == "int8":
            raise Missing("the wheel's quantiser aborts (std::length_error) and its converter reads no "
                          "quantise/dequantise pairs")
        if task.dtype == "bf16":
            raise Missing("its low precision computes in float32 on x86-64")
        self.interpreter = MNN.Interpreter(_converted(task))
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


if __name__ == "__main__":
    import _tools
    _tools.mnnconvert(["MNNConvert", "-f", "ONNX", "--modelFile", sys.argv[1], "--MNNModel", sys.argv[2],
                       "--bizCode", "bench"])
