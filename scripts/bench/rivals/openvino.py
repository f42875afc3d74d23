# SPDX-License-Identifier: BSD-2-Clause
"""OpenVINO, CPU device: one stream, latency hint, input and output in memory of ours."""
import numpy as np
import openvino as ov

from . import Missing, refuse


def version():
    return ov.__version__.split("-")[0]


class Engine:
    def __init__(self, task):
        refuse(task, "f32", "int8", "bf16")
        int8, network = task.dtype == "int8", task.network()
        core = ov.Core()
        if task.dtype == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Missing("this processor has no bf16")
        model = core.read_model(task.folder / ("model-int8.onnx" if int8 else "model.onnx"))
        compiled = core.compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": task.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if task.dtype == "bf16" else "f32"})
        self.request = compiled.create_infer_request()
        self.input = task.picture() if int8 else task.samples()
        self.result = np.zeros(compiled.output(0).shape, np.uint8 if int8 else np.float32)
        self.request.set_input_tensor(ov.Tensor(self.input, shared_memory=True))
        self.request.set_output_tensor(ov.Tensor(self.result, shared_memory=True))
        self.scale, self.zero = network.unsigned(network.output) if int8 else (1, 0)

    def run(self):
        self.request.infer()

    def output(self):
        return (self.result.astype(np.float32) - self.zero) * np.float32(self.scale)
