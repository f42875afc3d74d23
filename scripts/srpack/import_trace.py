# SPDX-License-Identifier: BSD-2-Clause
"""Runs through an ONNX file with a picture of known size and writes down what is done to it.

With the size known, all that a file computes from shapes is plain numbers. What is written down
(import_net.Net) has no sizes any more; that two traces at different sizes write the same is the
proof that the network does not depend on them.
"""

import math

import numpy as np

from .errors import one_line
from .import_net import MAX_CHANNELS, MAX_ELEMENTS, MAX_REAL, MAX_WEIGHTS, Net, Refused
from .import_read import CONSTANT_OPS, attributes, evaluate, title
from .import_view import View, gather

INFINITE = 1e30  # exporters write "no bound" as the largest number of some type


def trace(model, channels, height, width) -> Net:
    """Raises Refused with the ONNX node."""
    return _Trace(model, channels, height, width).run()


class _Trace:
    def __init__(self, model, channels, height, width):
        self.model, self.opset = model, model.opset
        self.net = Net(channels)
        self.values = dict(model.constants)
        self.values[model.input] = View(self.net, self.net.input, height, width)
        self.values[""] = None
        self.elements = 0  # in constants

    def run(self):
        for node in self.model.nodes:
            try:
                self.step(node)
            except Refused as error:
                raise Refused(str(error), error.node or node) from None
            except (ArithmeticError, AttributeError, IndexError, KeyError, MemoryError,
                    NotImplementedError, OverflowError, RuntimeError, TypeError,
                    ValueError) as error:
                raise Refused(f"cannot be read: {one_line(error) or type(error).__name__}",
                              node) from error
        output = self.values.get(self.model.output)
        if not isinstance(output, View):
            raise Refused("the output does not depend on the input")
        output = output.settle("output")
        self.net.finish(output.node)
        self.size = output.height, output.width
        return self.net

    def step(self, node):
        op, inputs = node.op_type, [self.values[name] for name in node.input]
        attrs = attributes(node)
        constant = not any(isinstance(value, View) for value in inputs)
        if op in ("Shape", "Size") and not constant:
            inputs, constant = [np.broadcast_to(np.int8(0), inputs[0].shape)], True
        if constant:
            if op not in CONSTANT_OPS:
                raise Refused("the operator is not evaluated for constants")
            results = evaluate(node, attrs, inputs, self.opset)
            self.elements += sum(np.size(result) for result in results)
            if self.elements > MAX_ELEMENTS:
                raise Refused(f"more than {MAX_ELEMENTS} numbers in constants, with this one")
        else:
            method = getattr(self, "op_" + op, None)
            if method is None:
                raise Refused(_why_not(op))
            self.outputs = len(node.output)
            results = method(title(node), inputs, attrs)
            results = results if isinstance(results, list) else [results]
        for name, value in zip(node.output, results):
            if isinstance(value, View) and value.node.channels > MAX_CHANNELS:
                raise Refused(f"{value.node.channels} channels, more than {MAX_CHANNELS}")
            self.values[name] = value
        for name in node.output[len(results):]:
            if name:
                raise Refused(f"its output '{name}' cannot be imported")

    # ---- what the methods share ------------------------------------------------------------

    def plain(self, value, node, height=None, width=None):
        """A View of a new node, as large as `value` unless said otherwise."""
        return View(self.net, node, value.height if height is None else height,
                    value.width if width is None else width)

    def tensor(self, value, name):
        if not isinstance(value, View):
            raise Refused("a constant where the picture is expected")
        return value.settle(name)

    def given(self, value, what, optional=False):
        """A constant as an array, finite where it is a float."""
        if value is None and optional:
            return None
        if value is None or isinstance(value, View):
            raise Refused(f"its {what} is computed from the picture" if value is not None
                          else f"its {what} is missing")
        value = np.asarray(value)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise Refused(f"its {what} holds NaN or infinity")
        return value

    def numbers(self, inputs, index, attrs, key):
        """A list of whole numbers that is an input since some operator set, an attribute before."""
        value = inputs[index] if len(inputs) > index else None
        if value is None:
            value = attrs.get(key)
        return None if value is None else [int(n) for n in np.ravel(self.given(value, key))]

    def per_channel(self, constant, value):
        """A constant operand as one number per channel."""
        c = np.asarray(self.given(constant, "constant"), np.float64)
        if c.ndim > 4 or c.size == 0 or (c.ndim == 4 and c.shape[0] != 1):
            raise Refused(f"a constant of {list(c.shape)}")
        c = c.reshape((1,) * (4 - c.ndim) + c.shape)[0]
        if not np.all(c == c[:, :1, :1]):
            raise Refused("a constant that changes from pixel to pixel")
        if c.shape[1] not in (1, value.height) or c.shape[2] not in (1, value.width):
            raise Refused(f"a constant of {list(c.shape)}")
        return c[:, 0, 0]

    def channels(self, value, count, name):
        """Repeats the one channel of `value`, as operands are broadcast."""
        if value.node.channels == count or value.node.channels != 1:
            return value
        return self.plain(value, gather(self.net, value.node, np.zeros(count, np.int64), name))

    def affine(self, value, a, b, name):
        count = max(np.size(a), np.size(b))
        value = self.channels(value, count, name) if count > 1 else value
        if count not in (1, value.node.channels):
            raise Refused(f"a constant for {count} channels, of {value.node.channels}")
        return self.plain(value, self.net.affine(value.node, a, b, name))

    def act(self, value, act, name):
        return self.plain(value, self.net.new("act", [value.node], value.node.channels, name,
                                              act=act))

    # ---- convolutions ----------------------------------------------------------------------

    def conv_attributes(self, attrs, weight, what):
        if weight.ndim != 4 or 0 in weight.shape:
            raise Refused(f"its weights are {list(weight.shape)}, not of a 2-D convolution")
        kernel = attrs.get("kernel_shape", list(weight.shape[2:]))
        dilations, strides = attrs.get("dilations", [1, 1]), attrs.get("strides", [1, 1])
        if list(kernel) != list(weight.shape[2:]) or len(dilations) != 2 or len(strides) != 2:
            raise Refused(f"its attributes do not fit its weights {list(weight.shape)}")
        if min(dilations) < 1 or max(dilations) > 5:
            raise Refused(f"dilation {list(dilations)}")
        if what == "Conv" and list(strides) != [1, 1]:
            raise Refused(f"stride {list(strides)}: only 1 keeps the size of the picture")
        return list(dilations), list(strides)

    def dense(self, weight, groups, inputs):
        """[out][in / groups][h][w] with zeros between the groups; transposed: see op_ConvTranspose.
        """
        out, part, height, width = weight.shape
        if groups < 1 or out % groups or part * groups != inputs:
            raise Refused(f"weights {list(weight.shape)} in {groups} groups do not fit "
                          f"{inputs} channels")
        if out * inputs * height * width > MAX_WEIGHTS or max(out, inputs) > MAX_CHANNELS:
            raise Refused(f"{out} x {inputs} x {height} x {width} weights are too many")
        full = np.zeros((out, inputs, height, width))
        for g in range(groups):
            rows = slice(g * (out // groups), (g + 1) * (out // groups))
            full[rows, g * part:(g + 1) * part] = weight[rows]
        return full

    def bias(self, inputs, count):
        bias = self.given(inputs[2] if len(inputs) > 2 else None, "bias", optional=True)
        if bias is None:
            return np.zeros(count)
        if bias.shape != (count,):
            raise Refused(f"its bias is {list(bias.shape)}, not [{count}]")
        return bias.astype(np.float64)

    def pads(self, attrs, totals):
        """(top, left, bottom, right); `totals` is what SAME needs in each direction."""
        auto = attrs.get("auto_pad", b"NOTSET").decode()
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            if min(totals) < 0:
                raise Refused(f"auto_pad {auto} of negative size")
            small, large = [n // 2 for n in totals], [n - n // 2 for n in totals]
            return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)
        if auto not in ("NOTSET", "VALID"):
            raise Refused(f"auto_pad {auto}")
        pads = [0] * 4 if auto == "VALID" else list(attrs.get("pads", [0] * 4))
        if len(pads) != 4 or min(pads) < 0 or max(pads) > 1024:
            raise Refused(f"pads {pads}")
        return tuple(pads)

    def op_Conv(self, name, inputs, attrs):
        x, weight = self.tensor(inputs[0], name), self.given(inputs[1], "weights")
        dilations, _ = self.conv_attributes(attrs, weight, "Conv")
        dense = self.dense(weight.astype(np.float64), attrs.get("group", 1), x.node.channels)
        if dilations != [1, 1]:  # zeros between the taps
            spread = np.zeros((*dense.shape[:2], *((k - 1) * d + 1 for k, d in
                                                   zip(dense.shape[2:], dilations))))
            spread[:, :, ::dilations[0], ::dilations[1]] = dense
            dense = spread
        kernel = dense.shape[2:]
        pads = self.pads(attrs, [k - 1 for k in kernel])
        height = x.height + pads[0] + pads[2] - kernel[0] + 1
        width = x.width + pads[1] + pads[3] - kernel[1] + 1
        if height < 1 or width < 1:
            raise Refused(f"a kernel of {kernel[0]} x {kernel[1]} is larger than the picture")
        node = self.net.conv(x.node, dense, self.bias(inputs, len(dense)), name, pads)
        return self.plain(x, node, height, width)

    def op_ConvTranspose(self, name, inputs, attrs):
        """As a convolution for each of the stride x stride phases of the output, shuffled together.

        Output row s * q + i gets input row q + (i + top - t) / s times kernel row t, for those t
        that divide; so in phase i, kernel row t becomes the tap at that offset. What lies outside
        the picture is zero in both forms. The picture must come out as stride times its size.
        """
        x, weight = self.tensor(inputs[0], name), self.given(inputs[1], "weights")
        dilations, strides = self.conv_attributes(attrs, weight, "ConvTranspose")
        stride, groups = strides[0], attrs.get("group", 1)
        if strides != [stride, stride] or not 1 <= stride <= 4 or dilations != [1, 1]:
            raise Refused(f"strides {strides}, dilations {dilations}: needs equal strides up to 4")
        extra = list(attrs.get("output_padding", [0, 0]))
        kernel = weight.shape[2:]
        size = [k + e - stride for k, e in zip(kernel, extra)]
        if "output_shape" in attrs:
            raise Refused("has an output_shape, which fixes the picture's size")
        pads = self.pads(attrs, size)
        grown = [s - pads[d] - pads[d + 2] for d, s in enumerate(size)]
        if grown != [0, 0]:
            raise Refused(f"kernel + output_padding - padding is {stride + grown[0]} x "
                          f"{stride + grown[1]}, not the stride {stride}: the picture does not "
                          "become a whole multiple")
        if weight.shape[0] != x.node.channels or groups < 1 or len(weight) % groups:
            raise Refused(f"weights {list(weight.shape)} in {groups} groups do not fit "
                          f"{x.node.channels} channels")
        parts = np.split(weight.astype(np.float64), groups)  # [in / groups][out / groups][h][w]
        ordered = np.concatenate([part.transpose(1, 0, 2, 3) for part in parts])
        taps = self.dense(ordered, groups, x.node.channels)
        offsets = [[(i + pads[d] - t) // stride if (i + pads[d] - t) % stride == 0 else None
                    for i in range(stride) for t in range(kernel[d])] for d in (0, 1)]
        reach = [max((abs(o) for o in row if o is not None), default=0) for row in offsets]
        count = len(taps) * stride * stride
        if count * taps.shape[1] * math.prod(2 * r + 1 for r in reach) > MAX_WEIGHTS:
            raise Refused(f"{count} x {taps.shape[1]} filters are too many")
        full = np.zeros((len(taps), stride, stride, taps.shape[1],
                         2 * reach[0] + 1, 2 * reach[1] + 1))
        for i in range(stride):
            for t in range(kernel[0]):
                for j in range(stride):
                    for u in range(kernel[1]):
                        row, column = offsets[0][i * kernel[0] + t], offsets[1][j * kernel[1] + u]
                        if row is not None and column is not None:
                            full[:, i, j, :, row + reach[0], column + reach[1]] += taps[:, :, t, u]
        bias = np.repeat(self.bias(inputs, len(taps)), stride * stride)
        node = self.net.conv(x.node, full.reshape(count, *full.shape[3:]), bias, name,
                             (*reach, *reach))
        if stride > 1:
            node = self.net.new("depth_to_space", [node], len(taps), name, factor=stride,
                                word="crd")
        return self.plain(x, node, x.height * stride, x.width * stride)

    def op_BatchNormalization(self, name, inputs, attrs):
        x = self.tensor(inputs[0], name)
        if attrs.get("training_mode", 0):
            raise Refused("is in training mode")
        scale, shift, mean, variance = (
            np.asarray(self.given(value, "statistics"), np.float64) for value in inputs[1:5])
        if any(v.shape != (x.node.channels,) for v in (scale, shift, mean, variance)):
            raise Refused(f"statistics of another size than {x.node.channels} channels")
        if variance.min() + attrs.get("epsilon", 1e-5) <= 0:
            raise Refused("its variance is negative")
        a = scale / np.sqrt(variance + attrs.get("epsilon", 1e-5))
        return self.affine(x, a, shift - a * mean, name)

    def op_Pad(self, name, inputs, attrs):
        x = self.tensor(inputs[0], name)
        amounts = self.numbers(inputs, 1, attrs, "pads")
        axes = self.numbers(inputs, 3, {}, "axes") or [0, 1, 2, 3]
        if amounts is None or len(amounts) != 2 * len(axes):
            raise Refused(f"pads {amounts}")
        before, after = [0] * 4, [0] * 4
        for k, axis in enumerate(axes):
            before[x.axis(axis)], after[x.axis(axis)] = amounts[k], amounts[k + len(axes)]
        if not any(before + after):
            return x
        mode = attrs.get("mode", b"constant").decode()
        value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else attrs.get("value", 0)
        if mode != "constant" or np.any(self.given(value, "value") != 0):
            raise Refused(f"pads with {'a value' if mode == 'constant' else mode}, convolutions "
                          "here pad with zeros")
        if any(before[:2] + after[:2]) or min(before + after) < 0 or max(before + after) > 1024:
            raise Refused(f"pads {before} {after}")
        pads = (before[2], before[3], after[2], after[3])
        node = self.net.new("pad", [x.node], x.node.channels, name, pads=pads)
        return self.plain(x, node, x.height + pads[0] + pads[2], x.width + pads[1] + pads[3])

    # ---- activations -----------------------------------------------------------------------

    def op_Relu(self, name, inputs, attrs):
        return self.act(self.tensor(inputs[0], name), ("relu",), name)

    def op_Tanh(self, name, inputs, attrs):
        return self.act(self.tensor(inputs[0], name), ("tanh",), name)

    def op_Sigmoid(self, name, inputs, attrs):
        return self.act(self.tensor(inputs[0], name), ("sigmoid",), name)

    def op_LeakyRelu(self, name, inputs, attrs):
        return self.leaky(self.tensor(inputs[0], name), np.array([attrs.get("alpha", 0.01)]), name)

    def op_PRelu(self, name, inputs, attrs):
        x = self.tensor(inputs[0], name)
        slope = self.per_channel(self.given(inputs[1], "slope"), x)
        if len(slope) not in (1, x.node.channels):
            raise Refused(f"{len(slope)} slopes for {x.node.channels} channels")
        return self.leaky(x, slope, name)

    def leaky(self, x, slope, name):
        if np.abs(slope).max() > MAX_REAL:
            raise Refused(f"a slope of {np.abs(slope).max():g}")
        if np.all(slope == slope[0]):
            return self.act(x, ("relu",) if slope[0] == 0 else ("leaky_relu", float(slope[0])),
                            name)
        return self.act(x, ("prelu", slope), name)

    def bound(self, value):
        """A bound of Clip, Max or Min; None when it is no bound."""
        if value is None:
            return None
        value = np.asarray(value, np.float64)
        if value.size != 1 or np.isnan(value).any():
            raise Refused("its bound is not one number")
        number = float(value.reshape(-1)[0])
        return None if abs(number) > INFINITE else number

    def clip(self, x, low, high, name):
        """One-sided bounds need no number for the other side: max(x, l) = relu(x - l) + l."""
        if any(v is not None and abs(v) > MAX_REAL for v in (low, high)):
            raise Refused(f"bounds {low}, {high} are beyond {MAX_REAL:g}")
        if low is None and high is None:
            return x
        if high is None:
            x = self.affine(x, 1, -low, name) if low else x
            x = self.act(x, ("relu",), name)
            return self.affine(x, 1, low, name) if low else x
        if low is None:
            x = self.act(self.affine(x, -1, high, name), ("relu",), name)
            return self.affine(x, -1, high, name)
        return self.act(x, ("clip", min(low, high), high), name)

    def op_Clip(self, name, inputs, attrs):
        bounds = [inputs[i] if len(inputs) > i else attrs.get(key)
                  for i, key in ((1, "min"), (2, "max"))]
        if any(isinstance(b, View) for b in bounds):
            raise Refused("its bounds are computed from the picture")
        return self.clip(self.tensor(inputs[0], name), *map(self.bound, bounds), name)

    def op_Max(self, name, inputs, attrs, low=True):
        views = [v for v in inputs if isinstance(v, View)]
        if len(views) != 1 or len(inputs) != 2:
            raise Refused("compares two pictures, only a picture and a number can be")
        limit = self.bound(next(v for v in inputs if not isinstance(v, View)))
        return self.clip(self.tensor(views[0], name), limit if low else None,
                         None if low else limit, name)

    def op_Min(self, name, inputs, attrs):
        return self.op_Max(name, inputs, attrs, low=False)

    def op_HardSigmoid(self, name, inputs, attrs):
        x = self.affine(self.tensor(inputs[0], name), attrs.get("alpha", 0.2),
                        attrs.get("beta", 0.5), name)
        return self.act(x, ("clip", 0.0, 1.0), name)

    def op_HardSwish(self, name, inputs, attrs):
        x = self.tensor(inputs[0], name)
        gate = self.op_HardSigmoid(name, [x], {"alpha": 1 / 6, "beta": 0.5})
        return self.join("mul", [x, gate], name)

    # ---- arithmetic ------------------------------------------------------------------------

    def join(self, op, views, name):
        views = [self.tensor(v, name) for v in views]
        count = max(v.node.channels for v in views)
        views = [self.channels(v, count, name) for v in views]
        if len({(v.node.channels, v.height, v.width) for v in views}) != 1:
            shapes = " and ".join(str(list(v.shape)) for v in views)
            raise Refused(f"joins tensors of {shapes}")
        return self.plain(views[0], self.net.new(op, [v.node for v in views], count, name))

    def op_Add(self, name, inputs, attrs):
        return self.arithmetic(name, inputs, lambda c: (1, c), lambda c: (1, c), "add")

    def op_Sub(self, name, inputs, attrs):
        if all(isinstance(v, View) for v in inputs):
            return self.join("add", [inputs[0], self.op_Neg(name, inputs[1:], {})], name)
        return self.arithmetic(name, inputs, lambda c: (1, -c), lambda c: (-1, c), None)

    def op_Mul(self, name, inputs, attrs):
        return self.arithmetic(name, inputs, lambda c: (c, 0), lambda c: (c, 0), "mul")

    def op_Div(self, name, inputs, attrs):
        if isinstance(inputs[1], View):
            raise Refused("divides by what is computed from the picture")
        if np.any(self.given(inputs[1], "divisor") == 0):
            raise Refused("divides by zero")
        return self.arithmetic(name, inputs, lambda c: (1 / c, 0), None, None)

    def op_Neg(self, name, inputs, attrs):
        return self.affine(self.tensor(inputs[0], name), -1, 0, name)

    def arithmetic(self, name, inputs, right, left, both):
        """right, left: what a constant on that side does, as (a, b) of a * x + b."""
        if len(inputs) != 2:
            raise Refused(f"{len(inputs)} operands")
        if all(isinstance(v, View) for v in inputs):
            return self.join(both, inputs, name)
        index = 0 if isinstance(inputs[0], View) else 1
        x = self.tensor(inputs[index], name)
        c = self.per_channel(inputs[1 - index], x)
        return self.affine(x, *(right if index == 0 else left)(c), name)

    def op_Sum(self, name, inputs, attrs):
        result = inputs[0]
        for other in inputs[1:]:
            result = self.op_Add(name, [result, other], attrs)
        return result

    def reduce(self, name, inputs, attrs, mean):
        """Over the channels that is a 1x1 convolution."""
        x = self.tensor(inputs[0], name)
        axes = self.numbers(inputs, 1, attrs, "axes")
        if axes is None or [x.axis(axis) for axis in axes] != [1]:
            raise Refused(_why_not("Reduce"))
        if not attrs.get("keepdims", 1):
            raise Refused("takes the axis of the channels away (keepdims=0)")
        count = x.node.channels
        weight = np.full((1, count, 1, 1), 1 / count if mean else 1.0)
        return self.plain(x, self.net.conv(x.node, weight, np.zeros(1), name, (0, 0, 0, 0)))

    def op_ReduceMean(self, name, inputs, attrs):
        return self.reduce(name, inputs, attrs, True)

    def op_ReduceSum(self, name, inputs, attrs):
        return self.reduce(name, inputs, attrs, False)

    # ---- shapes ----------------------------------------------------------------------------

    def same(self, name, inputs, attrs):
        return inputs[0]

    op_Identity = same

    def op_Dropout(self, name, inputs, attrs):
        training = inputs[2] if len(inputs) > 2 else None
        if training is not None and np.any(self.given(training, "mode")):
            raise Refused("is in training mode")
        return inputs[0]

    def op_Cast(self, name, inputs, attrs):
        if attrs["to"] not in (1, 10, 11, 16):  # float, float16, double, bfloat16
            raise Refused("casts the picture to another type than floating point")
        return inputs[0]

    def op_Concat(self, name, inputs, attrs):
        if any(not isinstance(v, View) for v in inputs):
            raise Refused("joins the picture with constants")
        if inputs[0].axis(attrs["axis"]) != 1:
            raise Refused(f"joins along axis {attrs['axis']}, not along the channels")
        views = [self.tensor(v, name) for v in inputs]
        if len({(v.height, v.width) for v in views}) != 1:
            raise Refused("joins tensors of different size")
        if len(views) == 1:
            return views[0]
        nodes = [v.node for v in views]
        if len(set(nodes)) == 1:  # the repeated picture of ABPN: one cheap convolution or none
            return self.plain(views[0], gather(
                self.net, nodes[0], np.tile(np.arange(nodes[0].channels), len(nodes)), name))
        return self.plain(views[0], self.net.new("concat", nodes, sum(n.channels for n in nodes),
                                                 name))

    def take(self, view, first, count, name):
        return self.plain(view, gather(self.net, view.node, np.arange(first, first + count), name))

    def op_Split(self, name, inputs, attrs):
        x = self.tensor(inputs[0], name)
        if x.axis(attrs.get("axis", 0)) != 1:
            raise Refused("divides another axis than the channels")
        sizes = self.numbers(inputs, 1, attrs, "split")
        if sizes is None:
            parts = self.outputs
            size = -(-x.node.channels // parts)
            sizes = [size] * (parts - 1) + [x.node.channels - size * (parts - 1)]
        if sum(sizes) != x.node.channels or min(sizes) < 1:
            raise Refused(f"divides {x.node.channels} channels into {sizes}")
        starts = np.cumsum([0, *sizes])
        return [self.take(x, int(s), n, name) for s, n in zip(starts, sizes)]

    def op_Slice(self, name, inputs, attrs):
        x = inputs[0]
        starts, ends = (self.numbers(inputs, i, attrs, k) for i, k in ((1, "starts"), (2, "ends")))
        axes = self.numbers(inputs, 3, attrs, "axes") or list(range(len(starts)))
        steps = self.numbers(inputs, 4, {}, "steps") or [1] * len(starts)
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise Refused("its ranges do not fit together")
        for start, end, axis, step in zip(starts, ends, axes, steps):
            size = x.shape[x.axis(axis)]
            picked = range(size)[start:end:step]
            if picked == range(size):
                continue
            if x.axis(axis) != 1 or len(x.shape) != 4:
                raise Refused(f"cuts axis {axis} from {size} to {len(picked)}: only channels can "
                              "be taken")
            x = self.tensor(x, name)
            x = self.plain(x, gather(self.net, x.node, np.array(picked, np.int64), name))
        return x

    def op_Gather(self, name, inputs, attrs):
        x, index = inputs[0], self.given(inputs[1], "indices")
        if not isinstance(x, View):
            raise Refused("its data are constants, its indices not")
        if x.axis(attrs.get("axis", 0)) != 1 or index.ndim != 1:
            raise Refused("takes other things than channels")
        x = self.tensor(x, name)
        index = np.where(index < 0, index + x.node.channels, index).astype(np.int64)
        return self.plain(x, gather(self.net, x.node, index, name))

    def op_Transpose(self, name, inputs, attrs):
        return inputs[0].transpose(attrs.get("perm", list(range(len(inputs[0].shape)))[::-1]))

    def op_Reshape(self, name, inputs, attrs):
        x, shape = inputs[0], self.numbers(inputs, 1, attrs, "shape")
        if not attrs.get("allowzero", 0):
            shape = [x.shape[i] if n == 0 and i < len(x.shape) else n for i, n in enumerate(shape)]
        if shape.count(-1) == 1:
            rest = math.prod(n for n in shape if n != -1)
            shape[shape.index(-1)] = math.prod(x.shape) // rest if rest > 0 else 0
        try:
            return x.reshape(shape)
        except Refused as error:  # channels that were shuffled before: a plain tensor may divide
            try:
                return self.tensor(x, name).reshape(shape)
            except Refused:
                raise error from None

    def op_Unsqueeze(self, name, inputs, attrs):
        x, axes = inputs[0], self.numbers(inputs, 1, attrs, "axes")
        rank = len(x.shape) + len(axes)
        if len({a % rank for a in axes}) != len(axes) or rank > 16:
            raise Refused(f"axes {axes}")
        shape, axes = list(x.shape), {a % rank for a in axes}
        return x.reshape([1 if i in axes else shape.pop(0) for i in range(rank)])

    def op_Squeeze(self, name, inputs, attrs):
        x, axes = inputs[0], self.numbers(inputs, 1, attrs, "axes")
        gone = {x.axis(a) for a in axes} if axes else {i for i, n in enumerate(x.shape) if n == 1}
        if any(x.shape[i] != 1 for i in gone):
            raise Refused(f"axes {axes} of {list(x.shape)}")
        return x.reshape([n for i, n in enumerate(x.shape) if i not in gone])

    def op_Expand(self, name, inputs, attrs):
        return inputs[0].expand(self.numbers(inputs, 1, attrs, "shape"))

    def op_Tile(self, name, inputs, attrs):
        return inputs[0].tile(self.numbers(inputs, 1, attrs, "repeats"))

    def op_DepthToSpace(self, name, inputs, attrs):
        x, block = self.tensor(inputs[0], name), attrs["blocksize"]
        word = attrs.get("mode", b"DCR").decode().lower()
        if not 1 <= block <= 4 or word not in ("dcr", "crd") or x.node.channels % block ** 2:
            raise Refused(f"blocks of {block} from {x.node.channels} channels, mode {word}")
        if block == 1:
            return x
        count = x.node.channels // block ** 2
        node = self.net.new("depth_to_space", [x.node], count, name, factor=block,
                            word="crd" if count == 1 else word)
        return self.plain(x, node, x.height * block, x.width * block)

    def op_Upsample(self, name, inputs, attrs):
        # Its samples lie where the coordinate transformation "asymmetric" puts them.
        scales = inputs[1] if len(inputs) > 1 else attrs.get("scales")
        return self.op_Resize(name, [inputs[0], None, scales], {
            "mode": attrs.get("mode", b"nearest"), "nearest_mode": b"floor",
            "coordinate_transformation_mode": b"asymmetric"})

    def op_Resize(self, name, inputs, attrs):
        x = self.tensor(inputs[0], name)
        if len(inputs) == 2:  # operator set 10
            return self.op_Upsample(name, inputs, attrs)
        inputs = [*inputs, None]
        scale = self.enlargement(x, inputs, attrs)
        if scale == 1:
            return x
        mode = attrs.get("mode", b"nearest").decode()
        place = attrs.get("coordinate_transformation_mode", b"half_pixel").decode()
        rounding = attrs.get("nearest_mode", b"round_prefer_floor").decode()
        centred = place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
        if mode == "nearest":
            if any(_nearest(place, rounding, scale, size) !=
                   [y // scale for y in range(scale * size)] for size in (x.height, x.width)):
                raise Refused(f"nearest by {place} and {rounding}: takes other pixels than "
                              "floor(y / scale)")
        elif mode not in ("linear", "cubic"):
            raise Refused(f"mode {mode}")
        elif not centred:
            raise Refused(f"{mode} by {place}: only aligned pixel centres (half_pixel; in PyTorch "
                          "align_corners=False) can be imported")
        elif attrs.get("exclude_outside", 0) or attrs.get("antialias", 0):
            raise Refused(f"{mode} with exclude_outside or antialias")
        elif mode == "cubic" and abs(attrs.get("cubic_coeff_a", -0.75) + 0.6) > 1e-6:
            raise Refused(f"cubic with a = {attrs.get('cubic_coeff_a', -0.75):g}: only -0.6 can be "
                          "imported")
        word = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}[mode]
        node = self.net.new("resize", [x.node], x.node.channels, name, factor=scale, word=word)
        return self.plain(x, node, x.height * scale, x.width * scale)

    def enlargement(self, x, inputs, attrs):
        axes = [x.axis(a) for a in attrs.get("axes", [0, 1, 2, 3])]
        if inputs[3] is not None and np.size(inputs[3]):
            sizes = np.ravel(self.given(inputs[3], "sizes")).astype(np.float64)
            if attrs.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
                raise Refused("keeps an aspect ratio")
            scales = [s / x.shape[a] for s, a in zip(sizes, axes)]
        elif inputs[2] is not None:
            scales = [float(s) for s in np.ravel(self.given(inputs[2], "scales"))]
        else:
            raise Refused("has neither scales nor sizes")
        if len(scales) != len(axes):
            raise Refused(f"{len(scales)} scales for {len(axes)} axes")
        full = [1.0] * 4
        for axis, scale in zip(axes, scales):
            full[axis] = scale
        if full[:2] != [1, 1] or full[2] != full[3] or full[2] not in (1, 2, 3, 4):
            raise Refused(f"scales {[round(s, 4) for s in full]}: only 1, 2, 3 or 4 for height "
                          "and width alike")
        return int(full[2])


def _nearest(place, rounding, scale, size):
    """The source pixels that ONNX's Resize takes for a row of scale * size pixels, or None where it
    has no such modes. In whole numbers, so that no case hangs on how a quotient is rounded."""
    if place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        places = [(2 * y + 1 - scale, 2 * scale) for y in range(scale * size)]
    elif place == "tf_half_pixel_for_nn":
        places = [(2 * y + 1, 2 * scale) for y in range(scale * size)]
    elif place == "align_corners":
        places = [(y * (size - 1), scale * size - 1) for y in range(scale * size)]
    else:
        places = [(y, scale) for y in range(scale * size)] if place == "asymmetric" else None
    whole = {"floor": lambda n, d: n // d, "ceil": lambda n, d: -(-n // d),
             "round_prefer_floor": lambda n, d: -((d - 2 * n) // (2 * d)),
             "round_prefer_ceil": lambda n, d: (2 * n + d) // (2 * d)}.get(rounding)
    if places is None or whole is None:
        return None
    return [min(max(whole(n, d), 0), size - 1) for n, d in places]


def _why_not(op):
    if op.startswith(("GlobalAverage", "GlobalMax", "Reduce")):
        return "looks at the whole picture, which the format cannot"
    if op.endswith(("Pool", "SpaceToDepth")):
        return "makes the picture smaller, which the format cannot"
    if op.startswith(("Quantize", "Dequantize", "QLinear")) or op.endswith("Integer"):
        return "is quantised: import the file of floating point"
    return "the operator cannot be imported"
