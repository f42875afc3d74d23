# SPDX-License-Identifier: BSD-2-Clause
"""Reads an ONNX file: checks what is said about it before anything is computed, finds its one
input and output, puts its nodes in order, and evaluates what depends on constants alone."""

import dataclasses
import math

import numpy as np
import onnx
import onnx.checker
import onnx.numpy_helper
import onnx.reference

from .errors import PackError, one_line
from .import_net import MAX_ELEMENTS, Refused

MAX_FILE_BYTES = 256 << 20
MAX_NODES = 4096
FLOATS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64,
          onnx.TensorProto.FLOAT16: np.float16}
# Evaluated when all their inputs are constants. Shape and Size are here too: the sizes of a trace
# are known.
CONSTANT_OPS = frozenset(
    "Abs Add And Cast CastLike Ceil Concat Constant ConstantOfShape Conv Div Equal Exp Expand "
    "Flatten Floor Gather Greater Identity Less MatMul Max Min Mod Mul Neg Not Pad Pow Range "
    "Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Round "
    "ScatterND Shape Sign Size Slice Split Sqrt Squeeze Sub Sum Tile Transpose Unsqueeze "
    "Where".split())


@dataclasses.dataclass
class Model:
    proto: onnx.ModelProto
    nodes: list            # NodeProto, each after those that it reads; none that nobody reads
    constants: dict        # initialisers by name
    opset: int
    input: str
    output: str
    type: type             # of the input's samples, a numpy type
    dims: list             # of the input: a number, or None where it is free
    widened: bool          # it had float16, which became float32 in all of the above


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def title(node):
    """How messages call a node: its name, else the name of what it writes."""
    text = node.name or (node.output[0] if node.output else "without a name")
    return text if isinstance(text, str) else text.decode(errors="replace")  # not UTF-8


def tensor(proto):
    """The numpy array of a TensorProto, after a look at how large it says it is."""
    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise Refused(f"'{proto.name}' lies in another file: save the model as one "
                      "(torch.onnx.export(..., external_data=False))")
    if any(d < 0 for d in proto.dims) or math.prod(proto.dims) > MAX_ELEMENTS:
        raise Refused(f"'{proto.name}' says its size is {list(proto.dims)}")
    try:
        return onnx.numpy_helper.to_array(proto)
    except Exception as error:
        raise Refused(f"'{proto.name}' cannot be read: {one_line(error)}") from None


def _parse(path):
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PackError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        raise PackError(f"{path}: not an ONNX file, or a part of one") from None
    if not model.graph.node:
        raise PackError(f"{path}: not an ONNX file, or one without a network")
    return model


def _opset(model):
    versions = {item.domain: item.version for item in model.opset_import}
    version = versions.get("", versions.get("ai.onnx"))
    if version is None or not 7 <= version <= onnx.defs.onnx_opset_version():
        raise Refused(f"operator set {version}, from 7 to {onnx.defs.onnx_opset_version()} can be "
                      "imported")
    return version


def _ends(graph, constants):
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise Refused(f"has {len(inputs)} inputs and {len(graph.output)} outputs, not one of each")
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in FLOATS:
        types = dict(zip(onnx.TensorProto.DataType.values(), onnx.TensorProto.DataType.keys()))
        name = types.get(kind.elem_type, kind.elem_type)
        raise Refused(f"the input '{inputs[0].name}' is of type {name}, not of floating point")
    if not kind.HasField("shape") or len(kind.shape.dim) != 4:
        raise Refused(f"the input '{inputs[0].name}' is not [batch][channels][height][width]")
    dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in kind.shape.dim]
    return inputs[0].name, graph.output[0].name, FLOATS[kind.elem_type], dims


def _ordered(graph, known):
    """The nodes, each after those that it reads."""
    writers = {}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in writers or name in known:
                raise Refused(f"'{name}' is written twice", node)
            writers[name] = node
    order, state = [], {}
    for root in graph.node:
        waiting = [root]
        while waiting:
            node = waiting[-1]
            if state.get(id(node)) == "done":
                waiting.pop()
                continue
            sources = []
            for name in node.input:
                if name and name not in known and name not in writers:
                    raise Refused(f"its input '{name}' is not in the file", node)
                if name in writers and state.get(id(writers[name])) != "done":
                    sources.append(writers[name])
            if not sources:
                state[id(node)] = "done"
                order.append(node)
                waiting.pop()
            elif state.get(id(node)) == "open":
                raise Refused("hangs on a cycle", node)
            else:
                state[id(node)] = "open"
                waiting += sources
    return order


def _alive(nodes, output):
    """Of nodes in order those that the output hangs on."""
    read, alive = {output}, []
    for node in reversed(nodes):
        if not read.isdisjoint(node.output):
            read.update(filter(None, node.input))
            alive.append(node)
    return alive[::-1]


def _widen(graph, constants):
    """Makes float16 float32 everywhere. Whether there was any.

    The graph is computed in float32, so a file that rounds after every operator has no result of
    its own to compare with; the network that it means does. Its numbers are taken as they are."""
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    tensors = [item for item in graph.initializer if item.data_type == half]
    found = bool(tensors)
    for item in graph.node:
        for attribute in item.attribute:
            if attribute.HasField("t") and attribute.t.data_type == half:
                tensors.append(attribute.t)
            elif item.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i, found = full, True
    for item in tensors:
        item.CopyFrom(onnx.numpy_helper.from_array(tensor(item).astype(np.float32), item.name))
    for name, value in constants.items():
        constants[name] = value.astype(np.float32) if value.dtype == np.float16 else value
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type, found = full, True
    return found or bool(tensors)


def read(path) -> Model:
    """PackError when the file cannot be read, Refused when it is not what can be imported."""
    proto = _parse(path)
    graph = proto.graph
    opset = _opset(proto)
    if len(graph.node) > MAX_NODES:
        raise Refused(f"{len(graph.node)} nodes, more than {MAX_NODES}")
    if graph.sparse_initializer:
        raise Refused("has sparse weights")
    constants = {}
    for item in graph.initializer:
        if item.name in constants:
            raise Refused(f"'{item.name}' is there twice")
        constants[item.name] = tensor(item)
    name, output, kind, dims = _ends(graph, constants)
    nodes = _alive(_ordered(graph, {*constants, name}), output)
    for node in nodes:
        for item in node.attribute:
            if item.HasField("t"):
                try:
                    tensor(item.t)
                except Refused as error:
                    raise Refused(str(error), node) from None
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            raise Refused(f"is an operator of '{node.domain}', not of ONNX itself", node)
    widened = _widen(graph, constants)
    return Model(proto, nodes, constants, opset, name, output,
                 np.float32 if kind is np.float16 else kind, dims, widened)


def _size_of_result(op, attrs, inputs):
    """An upper bound for the elements that an operator makes of constants."""
    def broadcast():
        return math.prod(np.broadcast_shapes(*(np.shape(i) for i in inputs if i is not None)))
    if op in ("ConstantOfShape", "Expand", "Reshape"):
        shape = [int(n) for n in np.ravel(inputs[0 if op == "ConstantOfShape" else 1])]
        largest = math.prod(max(1, abs(n)) for n in shape)
        return largest * (np.size(inputs[0]) if op == "Expand" else 1) if op != "Reshape" else 0
    if op == "Tile":
        return np.size(inputs[0]) * math.prod(max(1, int(n)) for n in np.ravel(inputs[1]))
    if op == "Range":
        start, limit, delta = (float(np.ravel(i)[0]) for i in inputs)
        return abs((limit - start) / delta) if delta else math.inf
    if op == "Pad":
        pads = np.ravel(inputs[1] if len(inputs) > 1 else attrs.get("pads", []))
        return math.prod(n + int(np.abs(pads).sum()) for n in np.shape(inputs[0]))
    if op == "Gather":
        axis = attrs.get("axis", 0)
        return np.size(inputs[0]) / max(1, np.shape(inputs[0])[axis]) * np.size(inputs[1])
    if op == "Conv":  # the work, which is what counts here
        return np.size(inputs[0]) * np.size(inputs[1]) / max(1, np.shape(inputs[0])[1]) / 64
    if op == "MatMul":
        return np.size(inputs[0]) * np.shape(inputs[1])[-1]
    if op in ("Constant", "Concat", "Split"):
        return sum(np.size(i) for i in inputs)
    return broadcast() if len(inputs) > 1 and op in (
        "Add Sub Mul Div Pow Where Equal Greater Less And Max Min Mod Sum".split()) else 0


def evaluate(node, attrs, inputs, opset):
    """The outputs of a node all of whose inputs are constants (None: left out)."""
    if "sparse_value" in attrs:
        raise Refused("has a sparse value")
    if _size_of_result(node.op_type, attrs, inputs) > MAX_ELEMENTS:
        raise Refused("makes a constant that is too large")
    feeds = {name: np.asarray(value) for name, value in zip(node.input, inputs) if name}
    graph = onnx.helper.make_graph(
        [node], "constant", [onnx.ValueInfoProto(name=name) for name in feeds],
        [onnx.ValueInfoProto(name=name) for name in node.output if name])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        values = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    found = iter(values)
    return [np.asarray(next(found)) if name else None for name in node.output]
