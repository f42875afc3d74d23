# SPDX-License-Identifier: BSD-2-Clause
"""LiteRT (TensorFlow Lite) with the XNNPACK delegate that it applies by itself."""
import importlib.metadata

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ..tflite import export
from . import refuse


def version():
    return importlib.metadata.version("ai-edge-litert")


class Engine:
    def __init__(self, task):
        refuse(task, "f32", "int8")
        int8 = task.dtype == "int8"
        content, self.scale, self.zero = export(task.network(), int8)
        self.interpreter = Interpreter(model_content=content, num_threads=task.threads)
        self.interpreter.allocate_tensors()
        samples = task.picture().astype(np.int16) - 128 if int8 else task.samples()
        samples = samples.astype(np.int8 if int8 else np.float32).transpose(0, 2, 3, 1)
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"],
                                    np.ascontiguousarray(samples))
        self.index = self.interpreter.get_output_details()[0]["index"]

    def run(self):
        self.interpreter.invoke()

    def output(self):
        result = self.interpreter.get_tensor(self.index).astype(np.float32)
        return ((result - self.zero) * np.float32(self.scale)).transpose(0, 3, 1, 2)
