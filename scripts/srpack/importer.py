# SPDX-License-Identifier: BSD-2-Clause
"""srpack import: an ONNX network as a graph and parameters (docs/import.md)."""

import argparse
import dataclasses
import json
import math
import pathlib
import re
import sys

import numpy as np

from .errors import Interrupted, PackError, UsageError, one_line
from .import_net import Node, Refused
from .options import Parser

EPILOG = """examples:
  srpack import espcn.onnx -o models/espcn-mine-x2
  srpack import edsr.onnx -o models/edsr-x4 --range 0:255
  srplay --model espcn-mine-x2 movie.mp4

exit status: 0 imported, 1 usage, 2 could not be imported, 4 interrupted
"""
MAX_FIXED_PIXELS = 1 << 20  # of a size that the file fixes: it is run at it
TRACES = ((37, 29), (22, 46))  # height, width: not of equal shape, nor multiples of each other


@dataclasses.dataclass
class Converted:
    graph: dict
    parameters: dict         # float64 arrays
    model: object            # import_read.Model
    size: tuple | None       # (height, width) where the file's inside fixes them
    low: float               # what black and white are to the network
    high: float
    found: str | None        # where the range was read from; None: given or the default


def parse(argv):
    parser = Parser(prog="srpack import",
                    description="Turns an ONNX super-resolution network into a graph and "
                    "parameters for srplay, and checks the result against onnxruntime.",
                    epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
                    allow_abbrev=False)
    parser.add_argument("source", type=pathlib.Path, metavar="MODEL.onnx",
                        help="input [1][1 or 3][height][width]: luma or RGB")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="DIR/NAME",
                        help="writes DIR/NAME.json and DIR/NAME.safetensors; older ones are "
                        "replaced")
    parser.add_argument("--range", type=_range, metavar="LOW:HIGH",
                        help="what black and white are to the network, in and out: 0:1, 0:255, "
                        "--range=-1:1 (default: 0:255 where the file shows it, else 0:1)")
    parser.add_argument("--mean", type=_means, metavar="M[,M,M]",
                        help="what its caller subtracts from the input and adds to the output, in "
                        "the units of the range, for all channels or each (default: 0)")
    parser.add_argument("--dtype", choices=("f32", "f16"), default="f32",
                        help="of the parameters in the file (default: f32)")
    parser.add_argument("--tolerance", type=_tolerance, metavar="D",
                        help="largest difference to the file that is accepted, of samples 0..1 "
                        "(default: 1e-4; f16: 4e-3, one step of 8 bits)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-vv: tracebacks")
    return parser.parse_args(argv)


def _number(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of -1e6..1e6")
    return value


def _range(text):
    parts = text.split(":")
    if len(parts) != 2 or not _number(parts[0]) < _number(parts[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range (0:1, 0:255, -1:1)")
    return _number(parts[0]), _number(parts[1])


def _means(text):
    return [_number(part) for part in text.split(",")]


def _tolerance(text):
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than zero")
    return value


# ---- conversion -----------------------------------------------------------------------------------

def _shows_255(net):
    """Where the network itself shows that its samples are 0..255, or None."""
    for node in net.users[net.input]:
        if node.op == "affine" and np.allclose(node.a, 1 / 255) and not node.b.any():
            return f"{node.name} divides by 255"
        shift = node.b if node.op == "affine" else node.bias if node.op == "conv2d" and (
            node.weight.shape[2:] == (1, 1) and node.channels == net.input.channels) else None
        if shift is not None and shift.min() < -1.5:
            return f"{node.name} subtracts up to {-shift.min():.1f}"
    node = net.output
    while node.op in ("affine", "act", "depth_to_space"):
        if node.op == "act" and node.act[0] == "clip" and node.act[2] == 255:
            return f"{node.name} clips at 255"
        node = node.inputs[0]
    return None


def _set_range(net, low, high, mean):
    """Puts code / 255 -> the network's units before it, and back behind it."""
    mean, span = np.broadcast_to(mean, net.input.channels), high - low
    readers = list(dict.fromkeys(net.users[net.input]))
    first = net.affine(net.input, span, low - mean, "input")
    for node in readers:
        net.rewire(node, [first if source is net.input else source for source in node.inputs])
    if net.output is net.input:
        net.output = first
    if net.output.channels != net.input.channels:
        raise Refused(f"the output has {net.output.channels} channels, the input "
                      f"{net.input.channels}")
    net.output = net.affine(net.output, 1 / span, (mean - low) / span, "output")


def _trace(model):
    """(network, None), or (network, (height, width)) when it holds for that size alone."""
    from .import_net import same
    from .import_trace import trace
    batch, channels, height, width = model.dims
    if batch not in (None, 1):
        raise Refused(f"the input holds {batch} pictures at once, not 1")
    if channels not in (1, 3) and width in (1, 3):
        raise Refused(f"the input is [batch][height][width][{width}]: export it with channels "
                      "first (tf2onnx: --inputs-as-nchw and --outputs-as-nchw)")
    if channels not in (1, 3):
        raise Refused(f"the input has {channels or 'any number of'} channels: 1 (luma) or 3 (RGB) "
                      "can be imported")
    try:
        nets = [trace(model, channels, *size) for size in TRACES]
        if same(*nets):
            return nets[0], None
        problem = Refused("computes something else at another size of the picture")
    except Refused as error:
        problem = error
    if height is None or width is None or height * width > MAX_FIXED_PIXELS:
        raise problem
    return trace(model, channels, height, width), (height, width)


def convert(path, name, sample_range=None, mean=None) -> Converted:
    """PackError with one line: file, node, operator, reason."""
    try:
        from .import_fold import fold
        from .import_read import read, title
        from .import_write import write
    except ImportError as error:
        raise PackError(f"import needs onnx and onnxruntime: {error} (run make deps-dev)") from None
    try:
        model = read(path)
        net, size = _trace(model)
        if mean is not None and len(mean) not in (1, net.input.channels):
            raise UsageError(f"--mean: {len(mean)} numbers for {net.input.channels} channels")
        found = None
        if sample_range is None:
            found = _shows_255(net)
            sample_range = (0.0, 255.0) if found else (0.0, 1.0)
        _set_range(net, *sample_range, np.asarray(mean or [0.0]))
        fold(net)
        graph, parameters = write(net, name)
    except Refused as error:
        node = error.node
        if node is None:
            raise PackError(one_line(f"{path}: {error}")) from error
        if isinstance(node, Node):  # of the network; the user knows the file's
            label, op = node.name, {title(n): n.op_type for n in model.nodes}.get(node.name, node.op)
        else:
            label, op = title(node), node.op_type
        raise PackError(one_line(f"{path}: node '{label}' ({op}): {error}")) from error
    except (RecursionError, MemoryError) as error:
        raise PackError(f"{path}: too large a network to be folded") from error
    return Converted(graph, parameters, model, size, *sample_range, found)


# ---- the command ------------------------------------------------------------------------------------

def _target(options):
    """(folder, name) of --output."""
    path = options.output
    if path.is_dir():
        path = path / re.sub(r"[^A-Za-z0-9_.-]+", "_", options.source.stem)
    name = path.name.removesuffix(".json")
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", name):
        raise UsageError(f"--output {options.output}: a model's name is 1 to 64 of A-Z a-z 0-9 _ . "
                         "-, the first no dot")
    if not path.parent.is_dir():
        raise UsageError(f"--output {options.output}: there is no directory {path.parent}")
    general = path.parent / "general" / f"{name}.safetensors"
    if general.exists():
        raise UsageError(f"--output {options.output}: the weights {general} would be taken "
                         "instead; choose another name")
    return path.parent, name


def run(argv) -> int:
    options = parse(argv)
    try:
        folder, name = _target(options)
        result = _import(options, folder, name)
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    if options.json:
        print(json.dumps(result))
        return 0
    graph, difference = result["graph"], result["difference"]
    print(f"{graph}: {result['colour']}, scale {result['scale']}, {result['convolutions']} "
          f"convolutions in {result['nodes']} nodes, {result['parameter_count']:,} parameters, "
          f"{result['macs_per_pixel']:,} multiply-accumulates per pixel")
    parts = [f"{key} {value:.1e}" for key, value in difference.items() if value is not None]
    print(f"largest difference to onnxruntime: {', '.join(parts)} of samples 0..1, at "
          f"{', '.join(result['sizes'])} ({result['tolerance']:.1e} allowed)")
    if difference["libsrp"] is None:
        print("srpack: note: libsrp.so is not built: the graph was run in PyTorch alone",
              file=sys.stderr)
    print(f"play it: srplay --models-dir {folder} --model {name} VIDEO")
    return 0


def _import(options, folder, name):
    say = (lambda text: print(f"srpack: {text}", file=sys.stderr, flush=True))
    made = convert(options.source, name, options.range, options.mean)
    if made.found:
        say(f"note: samples 0..255: {made.found}")
    if made.model.widened:
        say("note: the file has float16: compared with onnxruntime of a copy in float32")
    if made.size:
        say(f"note: the file holds for {made.size[1]}x{made.size[0]} alone, the graph for any size: "
            "compared at that one")
    import safetensors.torch
    import torch
    from . import graph as graphs
    from .import_check import SIZES, Original, compare
    from .models import dump
    kind = {"f32": torch.float32, "f16": torch.float16}[options.dtype]
    tensors = {key: torch.from_numpy(np.array(value, order="C")).to(kind)
               for key, value in made.parameters.items()}
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise PackError(f"{options.source}: {key} is not finite in {options.dtype}")
    data, text = safetensors.torch.save(tensors), dump(made.graph).encode()
    sizes = SIZES
    if made.size is not None:
        sizes = [made.size] * (3 if math.prod(made.size) <= 1 << 16 else 1)
    try:
        original = Original(made.model, made.size, made.low, made.high, options.mean or [0.0])
        found = compare(original, made.graph, tensors, data, text, sizes)
    except PackError as error:
        raise PackError(f"{options.source}: {error}") from error
    peak = found.pop("peak")
    allowed = (options.tolerance or (1e-4 if options.dtype == "f32" else 4e-3)) * max(1.0, peak)
    worst = max((value for value in found.values() if value is not None),
                key=lambda v: math.inf if math.isnan(v) else v)
    if not worst <= allowed:
        raise PackError(f"{options.source}: the graph differs from onnxruntime by {worst:.1e}, "
                        f"more than {allowed:.1e}")
    # The parameters first: with the old graph they are refused, never shown.
    paths = [folder / f"{name}.safetensors", folder / f"{name}.json"]
    for path, content in zip(paths, (data, text)):
        try:
            graphs.write_atomically(path, content)
        except OSError as error:
            raise PackError(f"{path}: {error.strerror}") from error
    module = graphs.load_module(made.graph)
    return {
        "graph": str(paths[1]), "parameters": str(paths[0]), "name": name,
        "colour": module.colour, "scale": module.scale, "mean": module.mean,
        "range": [made.low, made.high], "nodes": len(module.order),
        "convolutions": len(module.convolutions),
        "parameter_count": sum(p.numel() for p in module.named_tensors().values()),
        "macs_per_pixel": module.macs_per_pixel,
        "difference": found, "tolerance": allowed,
        "sizes": [f"{width}x{height}" for height, width in dict.fromkeys(sizes)],
    }
