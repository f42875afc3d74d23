# SPDX-License-Identifier: BSD-2-Clause
"""A Network as a file for the C programs (harness.h): steps with fused activation and residual.

Text with the tensors and steps, then a line `data`, then little-endian float32 weights and bias of each
convolution in order, the picture's bytes and the reference's float32 samples (both [c][h][w]).
"""
from dataclasses import dataclass

import numpy as np

from .network import Op
from .rivals import Missing

ACTIVATIONS = {"none": 0, "relu": 1, "tanh": 2}


@dataclass
class Step:
    op: Op              # conv, pad or shuffle
    source: str
    target: str
    residual: str = ""  # added before the activation; not needed afterwards
    activation: str = "none"


def steps(network):
    """The network's operations fused. ValueError when an addition has no convolution to go into."""
    done, found = {}, []
    readers = {t: [op for op in network.ops if t in op.inputs] for t in network.shapes()}
    for op in network.ops:
        if op.kind == "conv":
            done[op.output] = Step(op, op.inputs[0], op.output, activation=op.activation)
            found.append(done[op.output])
        elif op.kind in ("add", "tanh"):
            first, last = op.inputs[0], op.inputs[-1]
            step = done.get(first)
            later = op.kind == "add" and readers[last][-1] is not op
            if step is None or len(readers[first]) > 1 or step.activation != "none" or later:
                raise ValueError(f"{network.name}: {op.output} cannot be fused")
            found.remove(step)
            found.append(step)
            step.target = op.output
            done[op.output] = step
            if op.kind == "tanh":
                step.activation = "tanh"
            else:
                step.residual = last
        else:
            found.append(Step(op, op.inputs[0], op.output))
    return found


def slots(sequence, shapes, start, in_place):
    """Which piece of memory each tensor lives in, so that few are needed. `in_place`: a step's result
    replaces its residual."""
    last = {}
    for i, s in enumerate(sequence):
        last.update(dict.fromkeys((s.source, s.residual), i))
    slot, free, count = {start: 0}, {}, 1
    for i, s in enumerate(sequence):
        if in_place and s.residual:
            slot[s.target] = slot[s.residual]
        else:
            slot[s.target] = next((k for k in free if free[k] >= np.prod(shapes[s.target])), count)
            count += slot[s.target] == count
            free.pop(slot[s.target], None)
        for tensor in {s.source, s.residual} - {"", start}:
            if last[tensor] == i and slot[tensor] != slot[s.target]:
                free[slot[tensor]] = np.prod(shapes[tensor])
    return slot


def write(network, picture, reference, path, in_place):
    shapes, sequence = network.shapes(), steps(network)
    slot = slots(sequence, shapes, network.input, in_place)
    names = [network.input] + [s.target for s in sequence]
    index = {name: i for i, name in enumerate(names)}
    padded = {s.target: s.source for s in sequence if s.op.kind == "pad"}
    lines = ["srp-bench 1", f"{len(names)} {len(sequence)} {network.scale} {network.channels}"]
    for name in names:
        c, h, w = shapes[name]
        low, high = network.ranges[padded.get(name, name)]
        if padded.get(name, name) == network.input:
            low, high = -128 / 255, 127 / 255
        lines.append(f"{c} {h} {w} {slot[name]} {low:.9g} {high:.9g}")
    data = []
    for s in sequence:
        kernel = s.op.weight.shape[2] if s.op.kind == "conv" else 0
        lines.append(f"{s.op.kind[0]} {index[s.source]} {index[s.target]} "
                     f"{index[s.residual] if s.residual else -1} {kernel} {s.op.pad} "
                     f"{ACTIVATIONS[s.activation]} {s.op.block} "
                     "{:.9g} {:.9g}".format(*network.ranges[s.op.output]))
        if kernel:
            data += [s.op.weight.astype("<f4"), s.op.bias.astype("<f4")]
    with open(path, "wb") as file:
        file.write("\n".join([*lines, "data", ""]).encode())
        for array in (*data, picture.astype(np.uint8), reference.astype("<f4")):
            file.write(np.ascontiguousarray(array).tobytes())


def command(task, program, in_place):
    """Arguments of a C program for a task; its plan is written."""
    binary = task.work / program
    if not binary.exists():
        raise Missing(f"{binary.name} is not built (make bench)")
    path = task.folder / f"{program}.plan"
    write(task.network(), task.picture(), task.reference(), path, in_place)
    return [binary, "--plan", path, "--threads", task.threads, "--dtype", task.dtype,
            "--seconds", task.seconds, *(["--serve"] if task.serve else [])]
