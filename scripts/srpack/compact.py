# SPDX-License-Identifier: BSD-2-Clause
"""Compact parameters (docs/format.md): those of a safetensors file without its table, each byte of
a value's width as a stream of its own; and updates, what has to be added to these bytes."""

import hashlib
import struct

import safetensors

from . import tools
from .errors import PackError

DTYPES = {"F32": 0, "F16": 1, "BF16": 2, "I8": 3}
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}
PARTS = ("weight", "bias", "slope", "scale")  # in the order of their dtypes
RANGES = ("range", "range16", "input_range", "input_range16")  # parts of names, 8 and 16 bits
FINE = 4
LEVELS = (1, 19)  # codes hold no matches: the search for some at times costs more than it finds


def pack(data: bytes) -> bytes:
    """`data`: a safetensors file that fits its graph. PackError: it holds what no graph wants."""
    head, streams = _split(data)
    return head + b"".join(_frame(stream) for stream in streams if stream)


def update(base: bytes, changed: bytes) -> bytes:
    """From one safetensors file of a graph to another with the same dtypes and groups: an update of
    pack(base). PackError: they are not alike."""
    packed = pack(base)
    (head, before), (other, after) = _split(base), _split(changed)
    if head != other or list(map(len, before)) != list(map(len, after)):
        raise PackError("parameters: an update of others than these")
    change = [bytes((b - a) & 255 for a, b in zip(x, y)) for x, y in zip(before, after)]
    frames = []
    for stream in change:
        # A stream that does not change costs a frame less in the one before.
        if frames and not any(stream):
            frames[-1] += stream
        else:
            frames.append(stream)
    return (struct.pack("<4sB3x", b"SRPU", 1) + hashlib.sha256(packed).digest()
            + b"".join(_frame(stream) for stream in frames if stream))


def _split(data: bytes):
    """(header, streams) of a safetensors file."""
    try:
        arrays = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise PackError(f"parameters: {error}") from error
    nodes, ranges, of_input = {}, {}, False
    for name, array in arrays.items():
        if array["dtype"] not in DTYPES:
            raise PackError(f"parameters: tensor {name!r}: dtype {array['dtype']}")
        owner, _, part = name.rpartition(".")
        if part in PARTS:
            nodes.setdefault(owner, {})[part] = array
        elif part in RANGES:
            ranges[owner] = (array, part.endswith("16"))
            of_input = of_input or part.startswith("input")
        else:
            raise PackError(f"parameters: tensor {name!r} is of no use to a graph")
    kinds, ordered = bytearray(), []
    for owner in sorted(nodes):
        kinds += _kind(owner, nodes[owner])
        ordered += [nodes[owner][part] for part in ("weight", "scale", "bias", "slope")
                    if part in nodes[owner]]
    for owner in sorted(ranges):
        array, fine = ranges[owner]
        kinds.append(DTYPES[array["dtype"]] | (FINE if fine else 0))
        ordered.append(array)
    head = struct.pack("<4sBBH", b"SRPM", 1, 2 if of_input else bool(ranges), len(nodes))
    return bytes(head + kinds), list(_streams(ordered))


def _kind(owner, parts) -> bytes:
    if "weight" not in parts or "bias" not in parts:
        raise PackError(f"parameters: {owner!r} has no weight or no bias")
    word = 0
    for index, part in enumerate(PARTS):
        if part in parts:
            word |= DTYPES[parts[part]["dtype"]] << 2 * index
    shape = parts["scale"]["shape"] if "scale" in parts else [0, 0]
    return bytes([word, shape[1] if len(shape) == 2 else 1])


def _streams(arrays):
    """The bytes of all values, by width, the most significant bytes first."""
    for width in (1, 2, 4):
        values = b"".join(bytes(a["data"]) for a in arrays if WIDTHS[a["dtype"]] == width)
        for byte in reversed(range(width)):
            yield values[byte::width]


def _frame(stream: bytes) -> bytes:
    return min((tools.zstd(stream, level) for level in LEVELS), key=len)
