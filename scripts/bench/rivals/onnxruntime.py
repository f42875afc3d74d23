# SPDX-License-Identifier: BSD-2-Clause
"""ONNX Runtime: all graph optimisations, spinning threads, input and output bound to memory."""
import numpy as np
import onnxruntime as ort

from . import refuse


def version():
    return ort.__version__


class Engine:
    def __init__(self, task):
        refuse(task, "f32", "int8")
        int8, network = task.dtype == "int8", task.network()
        options = ort.SessionOptions()
        options.intra_op_num_threads = task.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        path = task.folder / ("model-int8.onnx" if int8 else "model.onnx")
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = ort.OrtValue.ortvalue_from_numpy(task.picture() if int8 else task.samples())
        output = self.session.get_outputs()[0]
        self.result = ort.OrtValue.ortvalue_from_numpy(
            np.zeros(output.shape, np.uint8 if int8 else np.float32))
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input(network.input, self.input)
        self.binding.bind_ortvalue_output(output.name, self.result)
        self.scale, self.zero = network.unsigned(network.output) if int8 else (1, 0)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return (self.result.numpy().astype(np.float32) - self.zero) * np.float32(self.scale)
