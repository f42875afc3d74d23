# SPDX-License-Identifier: BSD-2-Clause
"""A Network as a TFLite file: [n][h][w][c], float32 or 8-bit (weights per output channel).

Depth to space of TFLite takes the phase before the channel, so the convolutions in front of it get
their output channels in that order. Its mirror padding repeats the edge when it pads by one.
"""
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .network import quantise_weights

TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8,
         "int32": schema.TensorType.INT32}


def _reordered(network):
    """Names of the convolutions before the shuffle, and the order of their output channels."""
    shuffle = network.ops[-1]
    producer = {op.output: op for op in network.ops}
    last = producer[shuffle.inputs[0]]
    names = last.inputs if last.kind == "add" else [last.output]
    channels, phases = network.channels, shuffle.block ** 2
    return set(names), np.arange(channels * phases).reshape(channels, phases).T.ravel()


class _Writer:
    def __init__(self, network, int8):
        self.network, self.int8 = network, int8
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.description = 3, network.name
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph.tensors, self.graph.operators, self.codes = [], [], {}
        self.tensors = {}

    def quantisation(self, name):
        """Scale and zero point of an activation."""
        kinds = {op.output: op.kind for op in self.network.ops}
        if kinds.get(name) == "tanh":
            return 1 / 128, 0  # TFLite allows nothing else
        scale, zero = self.network.unsigned(name)
        return scale, zero - 128

    def tensor(self, name, shape, kind, scale=None, zero=None, data=None):
        t = schema.TensorT()
        t.name, t.shape, t.type, t.buffer = name, [int(d) for d in shape], TYPES[kind], 0
        if scale is not None:
            t.quantization = schema.QuantizationParametersT()
            t.quantization.scale = [float(s) for s in np.atleast_1d(scale)]
            t.quantization.zeroPoint = [int(z) for z in np.atleast_1d(zero)]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            t.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(t)
        self.tensors[name] = len(self.graph.tensors) - 1
        return self.tensors[name]

    def activation(self, name, shape, like=None):
        c, h, w = shape
        if not self.int8:
            return self.tensor(name, (1, h, w, c), "float32")
        return self.tensor(name, (1, h, w, c), "int8", *self.quantisation(like or name))

    def operator(self, code, inputs, output, kind, options):
        if code not in self.codes:
            self.codes[code] = len(self.model.operatorCodes)
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = 3 if self.int8 and code == schema.BuiltinOperator.CONV_2D else 2
            self.model.operatorCodes.append(entry)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = self.codes[code], inputs, [output]
        op.builtinOptionsType, op.builtinOptions = kind, options
        self.graph.operators.append(op)

    def convolution(self, op, shape, order):
        weight, bias = op.weight, op.bias
        if order is not None:
            weight, bias = weight[order], bias[order]
        layout = (0, 2, 3, 1)
        if self.int8:
            weight, scale = quantise_weights(weight)
            zero = np.zeros(len(scale), np.int64)
            step = scale * self.input_scale(op.inputs[0])
            w = self.tensor(f"{op.output}.weight", np.array(weight.shape)[list(layout)], "int8", scale,
                            zero, weight.transpose(layout))
            b = self.tensor(f"{op.output}.bias", bias.shape, "int32", step, zero,
                            np.rint(bias / step).astype(np.int32))
        else:
            w = self.tensor(f"{op.output}.weight", np.array(weight.shape)[list(layout)], "float32",
                            data=weight.transpose(layout))
            b = self.tensor(f"{op.output}.bias", bias.shape, "float32", data=bias)
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME if op.pad else schema.Padding.VALID
        options.strideW = options.strideH = 1
        options.dilationWFactor = options.dilationHFactor = 1
        relu = schema.ActivationFunctionType.RELU
        options.fusedActivationFunction = relu if op.activation == "relu" else 0
        self.operator(schema.BuiltinOperator.CONV_2D, [self.tensors[op.inputs[0]], w, b],
                      self.activation(op.output, shape), schema.BuiltinOptions.Conv2DOptions, options)

    def input_scale(self, name):
        padded = {op.output: op.inputs[0] for op in self.network.ops if op.kind == "pad"}
        return np.float32(self.quantisation(padded.get(name, name))[0])

    def pad(self, op, shape):
        c, h, w = shape
        by_one = self.tensor(f"{op.output}.by", (4, 2), "int32",
                             data=np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
        source = self.tensors[op.inputs[0]]
        for left in reversed(range(op.pad)):
            options = schema.MirrorPadOptionsT()
            options.mode = schema.MirrorPadMode.SYMMETRIC
            name = op.output if left == 0 else f"{op.output}.{left}"
            target = self.activation(name, (c, h - 2 * left, w - 2 * left), op.inputs[0])
            self.operator(schema.BuiltinOperator.MIRROR_PAD, [source, by_one], target,
                          schema.BuiltinOptions.MirrorPadOptions, options)
            source = target

    def bytes(self):
        network, shapes = self.network, self.network.shapes()
        reorder, order = _reordered(network)
        self.graph.inputs = [self.activation(network.input, shapes[network.input])]
        for op in network.ops:
            shape = shapes[op.output]
            if op.kind == "conv":
                self.convolution(op, shape, order if op.output in reorder else None)
                continue
            if op.kind == "pad":
                self.pad(op, shape)
                continue
            inputs = [self.tensors[t] for t in op.inputs]
            kind, options = schema.BuiltinOptions.NONE, None
            code = schema.BuiltinOperator.TANH
            if op.kind == "add":
                code, kind = schema.BuiltinOperator.ADD, schema.BuiltinOptions.AddOptions
                options = schema.AddOptionsT()
            elif op.kind == "shuffle":
                code = schema.BuiltinOperator.DEPTH_TO_SPACE
                kind, options = schema.BuiltinOptions.DepthToSpaceOptions, schema.DepthToSpaceOptionsT()
                options.blockSize = op.block
            self.operator(code, inputs, self.activation(op.output, shape), kind, options)
        self.graph.outputs = [self.tensors[network.output]]
        self.model.subgraphs = [self.graph]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def export(network, int8):
    """Bytes of the file; and scale and zero point of its output (1, 0 for float32)."""
    writer = _Writer(network, int8)
    scale, zero = writer.quantisation(network.output) if int8 else (1.0, 0)
    return writer.bytes(), scale, zero
