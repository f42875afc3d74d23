# SPDX-License-Identifier: BSD-2-Clause
"""ncnn: its two files are written here; Winograd, packing and pool allocators on.

8-bit: signed weights per output channel; a convolution whose only readers are convolutions hands its
output on as 8-bit, as ncnn's own tool would make it. bf16 is ncnn's storage in bf16.
"""
import ncnn
import numpy as np

from ..network import quantise_weights
from . import refuse

INT8_TAG = 0x000D4B38


def version():
    return ncnn.__version__


class _Files:
    """The text and the weights of one network."""

    def __init__(self, network, int8):
        self.network, self.int8 = network, int8
        self.lines, self.data, self.blobs = [], bytearray(), 0
        self.readers = {}
        for op in network.ops:
            for tensor in op.inputs:
                self.readers.setdefault(tensor, []).append(op)
        self.copies = {}
        self.layer("Input", [], network.input, {0: network.width, 1: network.height, 2: network.channels})
        for op in network.ops:
            self.operation(op)

    def layer(self, kind, inputs, output, parameters):
        """Adds a layer; an output that is read more than once is followed by a Split."""
        inputs = [self.copies[t].pop(0) for t in inputs]
        self.line(kind, output, inputs, [output], parameters)
        count = len(self.readers.get(output, []))
        self.copies[output] = [output]
        if count > 1:
            self.copies[output] = [f"{output}.{i}" for i in range(count)]
            self.line("Split", f"{output}.split", [output], self.copies[output][:], {})

    def line(self, kind, name, inputs, outputs, parameters):
        self.blobs += len(outputs)
        self.lines.append(" ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs,
                                    *(f"{k}={v}" for k, v in parameters.items())]))

    def operation(self, op):
        if op.kind == "conv":
            self.convolution(op)
        elif op.kind == "tanh":
            self.layer("TanH", op.inputs, op.output, {})
        elif op.kind == "add":
            self.layer("BinaryOp", op.inputs, op.output, {0: 0})
        elif op.kind == "pad":
            self.layer("Padding", op.inputs, op.output, {**dict.fromkeys(range(4), op.pad), 4: 1})
        else:
            self.layer("PixelShuffle", op.inputs, op.output, {0: op.block})

    def convolution(self, op):
        out, _, kernel, _ = op.weight.shape
        parameters = {0: out, 1: kernel, 4: op.pad, 5: 1, 6: op.weight.size,
                      9: int(op.activation == "relu")}
        floats = [op.bias]
        if self.int8:
            stays = all(r.kind == "conv" for r in self.readers.get(op.output, [op]))
            stays = stays and op.output in self.readers
            parameters[8] = 102 if stays else 2
            weights, scale = quantise_weights(op.weight)
            self.data += np.uint32(INT8_TAG).tobytes() + weights.tobytes() + bytes(-weights.size % 4)
            source = self.network.input if op.inputs[0] == "base.pad" else op.inputs[0]
            floats += [1 / scale, np.float32([1 / self.network.signed(source)])]
            if stays:
                floats.append(np.float32([1 / self.network.signed(op.output)]))
        else:
            self.data += np.uint32(0).tobytes() + op.weight.astype(np.float32).tobytes()
        for values in floats:
            self.data += values.astype(np.float32).tobytes()
        self.layer("Convolution", op.inputs, op.output, parameters)

    def text(self):
        return "\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])


class Engine:
    def __init__(self, task):
        refuse(task, "f32", "int8", "bf16")
        network, int8 = task.network(), task.dtype == "int8"
        files = _Files(network, int8)
        base = task.folder / ("model-int8.ncnn" if int8 else "model.ncnn")
        base.with_suffix(".param").write_text(files.text())
        base.with_suffix(".bin").write_bytes(files.data)
        self.names = network.input, network.output
        self.net = ncnn.Net()
        self.allocators = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
        options = self.net.opt
        options.num_threads = task.threads
        options.use_vulkan_compute = False
        options.use_winograd_convolution = options.use_sgemm_convolution = True
        options.use_packing_layout = options.lightmode = True
        options.use_int8_inference = int8
        options.use_bf16_storage = task.dtype == "bf16"
        options.blob_allocator, options.workspace_allocator = self.allocators
        if (self.net.load_param(str(base.with_suffix(".param")))
                or self.net.load_model(str(base.with_suffix(".bin")))):
            raise RuntimeError("ncnn does not load its files")
        self.samples = np.ascontiguousarray(task.samples()[0])  # a Mat only borrows it
        self.input = ncnn.Mat(self.samples)
        self.result = None

    def run(self):
        extractor = self.net.create_extractor()
        extractor.input(self.names[0], self.input)
        self.result = extractor.extract(self.names[1])[1]

    def output(self):
        return np.array(self.result)[None].astype(np.float32)
