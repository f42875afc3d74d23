# SPDX-License-Identifier: BSD-2-Clause
"""A Network as ONNX: float32, or 8-bit by quantise/dequantise pairs around every operation.

The 8-bit model takes and gives bytes; activations are unsigned per tensor, weights signed per
output channel: the form that ONNX Runtime and OpenVINO both turn into integer convolutions.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .network import quantise_weights

OPSET = 19


class _Writer:
    def __init__(self, network):
        self.network, self.nodes, self.constants = network, [], {}

    def constant(self, name, array):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def finish(self, kind, output):
        n = self.network
        shape_in = [1, n.channels, n.height, n.width]
        shape_out = [1, n.channels, n.height * n.scale, n.width * n.scale]
        graph = helper.make_graph(
            self.nodes, n.name, [helper.make_tensor_value_info(n.input, kind, shape_in)],
            [helper.make_tensor_value_info(output, kind, shape_out)],
            list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 9
        onnx.checker.check_model(model)
        return model

    def apply(self, op, inputs, output, weights=None):
        """One operation, its activation apart: engines fuse it themselves."""
        if op.kind == "conv":
            weights = weights or [self.constant(f"{op.output}.weight", op.weight),
                                  self.constant(f"{op.output}.bias", op.bias)]
            linear = output if op.activation == "none" else f"{output}.linear"
            self.node("Conv", inputs + weights, linear, pads=[op.pad] * 4,
                      kernel_shape=list(op.weight.shape[2:]))
            if op.activation == "relu":
                self.node("Relu", [linear], output)
        elif op.kind == "tanh":
            self.node("Tanh", inputs, output)
        elif op.kind == "add":
            self.node("Add", inputs, output)
        elif op.kind == "pad":
            pads = self.constant(f"{op.output}.pads", np.array([0, 0, op.pad, op.pad] * 2, np.int64))
            self.node("Pad", [inputs[0], pads], output, mode="edge")
        else:
            self.node("DepthToSpace", inputs, output, blocksize=op.block, mode="CRD")


def export(network):
    """Float32 ModelProto."""
    writer = _Writer(network)
    for op in network.ops:
        writer.apply(op, op.inputs, op.output)
    return writer.finish(TensorProto.FLOAT, network.output)


def export_int8(network):
    """8-bit ModelProto; its output is named OUTPUT.quantised."""
    writer, real = _Writer(network), {}

    def parameters(tensor):
        scale, zero = network.unsigned(tensor)
        return [writer.constant(f"{tensor}.scale", np.float32(scale)),
                writer.constant(f"{tensor}.zero", np.uint8(zero))]

    real[network.input] = writer.node(
        "DequantizeLinear", [network.input, *parameters(network.input)], f"{network.input}.real")
    for op in network.ops:
        weights = None
        if op.kind == "conv":
            quantised, scale = quantise_weights(op.weight)
            step = scale * np.float32(_scale(network, op.inputs[0]))
            weights = [
                _dequantised(writer, f"{op.output}.weight", quantised, scale),
                _dequantised(writer, f"{op.output}.bias", np.rint(op.bias / step).astype(np.int32),
                             step)]
        writer.apply(op, [real[t] for t in op.inputs], op.output, weights)
        source = op.inputs[0] if op.kind == "pad" else op.output
        quantised = writer.node("QuantizeLinear", [op.output, *parameters(source)],
                                f"{op.output}.quantised")
        if op.output != network.output:
            real[op.output] = writer.node("DequantizeLinear", [quantised, *parameters(source)],
                                          f"{op.output}.real")
    return writer.finish(TensorProto.UINT8, f"{network.output}.quantised")


def _scale(network, tensor):
    padded = {op.output: op.inputs[0] for op in network.ops if op.kind == "pad"}
    return network.unsigned(padded.get(tensor, tensor))[0]


def _dequantised(writer, name, values, scale):
    inputs = [writer.constant(f"{name}.quantised", values),
              writer.constant(f"{name}.scale", scale.astype(np.float32)),
              writer.constant(f"{name}.zero", np.zeros(len(scale), values.dtype))]
    return writer.node("DequantizeLinear", inputs, name, axis=0)
