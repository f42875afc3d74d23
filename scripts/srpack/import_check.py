# SPDX-License-Identifier: BSD-2-Clause
"""Runs the ONNX file and the graph made from it on the same random pictures."""

import numpy as np
import onnxruntime
import torch

from . import graph as graphs
from . import native
from .errors import PackError, one_line

SIZES = ((17, 23), (32, 40), (45, 30))  # height, width


class Original:
    """The ONNX file in onnxruntime. `size`: (height, width) where its inside fixes them, else
    None: then its outside is made free too."""

    def __init__(self, model, size, low, high, mean):
        self.low, self.high, self.mean = low, high, np.asarray(mean).reshape(1, -1, 1, 1)
        self.type, self.input = model.type, model.input
        proto = type(model.proto)()
        proto.CopyFrom(model.proto)
        del proto.graph.node[:]  # it may not know the operators of those that nobody reads
        proto.graph.node.extend(model.nodes)
        if size is None:
            del proto.graph.value_info[:]
            for value in (*proto.graph.input, *proto.graph.output):
                if value.name in (model.input, model.output):
                    shape = value.type.tensor_type.shape
                    for i, dim in enumerate(shape.dim):
                        if i != 1:
                            dim.Clear()
                            dim.dim_param = f"{'in' if value.name == model.input else 'out'}{i}"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 2
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"],
                enable_fallback=0)  # the fallback prints
        except Exception as error:
            raise PackError(f"onnxruntime does not load it: {one_line(error)}") from None

    def run(self, x):
        """x: [1][channels][height][width], 0..1, float64; the result likewise."""
        picture = (self.low + (self.high - self.low) * x - self.mean).astype(self.type)
        try:
            y, = self.session.run(None, {self.input: picture})
        except Exception as error:
            raise PackError(f"onnxruntime does not run it at {x.shape[3]}x{x.shape[2]}: "
                            f"{one_line(error)}") from None
        return (y.astype(np.float64) + self.mean - self.low) / (self.high - self.low)


def compare(original, graph, tensors, parameters, text, sizes):
    """{"pytorch", "libsrp" (None: not built)}: largest differences in samples 0..1, and "peak",
    the largest magnitude of the original's output. tensors: {name: torch tensor}; parameters,
    text: the bytes of the two files."""
    module = graphs.load_module(graph)
    with torch.no_grad():
        for name, parameter in module.named_tensors().items():
            parameter.copy_(tensors[name])
    library = native.find()
    try:
        engine = native.Model(library, text, parameters) if library else None
    except (OSError, RuntimeError) as error:
        raise PackError(f"libsrp does not take the graph: {one_line(error)}") from None
    result = {"pytorch": 0.0, "libsrp": None if engine is None else 0.0, "peak": 0.0}
    generator = np.random.default_rng(1)
    try:
        for height, width in sizes:
            x = generator.random((1, module.channels, height, width)).astype(np.float32)
            expected = original.run(x.astype(np.float64))
            shape = (1, module.channels, height * module.scale, width * module.scale)
            if expected.shape != shape:
                raise PackError(f"its output is {list(expected.shape)}, the graph's {list(shape)}")
            if not np.isfinite(expected).all():
                raise PackError(f"its output holds NaN or infinity at {width}x{height}")
            with torch.no_grad():
                found = {"pytorch": module(torch.from_numpy(x)).numpy()}
            if engine is not None:
                y = engine.run(x[0].transpose(1, 2, 0), module.scale)
                found["libsrp"] = y.transpose(2, 0, 1)[None]
            for key, value in found.items():
                difference = float(np.abs(value - expected).max())
                result[key] = difference if np.isnan(difference) else max(result[key], difference)
            result["peak"] = max(result["peak"], float(np.abs(expected).max()))
    except RuntimeError as error:
        raise PackError(f"the graph does not run: {one_line(error)}") from None
    finally:
        if engine is not None:
            engine.close()
    return result
