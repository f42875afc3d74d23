# SPDX-License-Identifier: BSD-2-Clause
"""A channel that is small beside the others of its tensor, and whose column in what reads it is as
much larger (or the reverse), brought back to their size: the same function in f32, while in int8
such a channel is below a step of its tensor, which no scale of weights repairs.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV
2019), but only of what is far out of balance: what training leaves is not touched.
"""

import torch

from . import ranges
from .colour import to_tensor

FRAMES = 4   # looked at, at most
FAR = 16.0  # times the median of the channels, both in the tensor and in what reads it
HOMOGENEOUS = ("none", "relu", "leaky_relu", "prelu")  # f(k x) = k f(x) for k > 0


def between_convolutions(module) -> dict:
    """{tensor: (the convolution that writes it, those that read it)} where nothing else reads it."""
    found = {}
    for node in module.order:
        readers = [other for other in module.order if node["output"] in other["inputs"]]
        if (node["op"] == "conv2d" and node.get("activation", "none") in HOMOGENEOUS and readers
                and all(other["op"] == "conv2d" for other in readers)):
            found[node["output"]] = node["name"], [other["name"] for other in readers]
    return found


def _relative(sizes):
    """To the median of those that are there; 1 where nothing is."""
    live = sizes > 0
    if not live.any():
        return torch.ones_like(sizes)
    return torch.where(live, sizes / sizes[live].median(), torch.ones_like(sizes))


def factors(reach, columns):
    """[channels] powers of two to multiply a tensor's channels by. reach: the greatest value of
    each; columns: of each reader the greatest weight of each."""
    size = _relative(reach)
    least, most = (torch.stack([_relative(c) for c in columns]).aminmax(dim=0))
    grow = torch.minimum(1 / size, least)
    shrink = torch.minimum(size, 1 / most)
    by = torch.where(grow >= FAR, grow, torch.where(shrink >= FAR, 1 / shrink, 1.0))
    return torch.exp2(torch.round(torch.log2(by)))


@torch.no_grad()
def balance(module, frames, colour=None) -> list[str]:
    """Changes the module's parameters; the tensors that were out of balance."""
    reach = {}
    pairs = between_convolutions(module)
    chosen = ranges.chosen_frames(module, frames)
    for index in chosen[::-(-len(chosen) // FRAMES)]:
        for name, value in ranges.tensors(module, to_tensor(frames, index, module.colour,
                                                            colour)[None]):
            if name in pairs:
                here = value.abs().amax((0, 2, 3))
                reach[name] = torch.maximum(reach.get(name, here), here)
    changed = []
    for name, (writer, readers) in pairs.items():
        one, others = module.convolutions[writer], [module.convolutions[r] for r in readers]
        by = factors(reach[name], [r.weight.abs().amax((0, 2, 3)) for r in others])
        if bool((by == 1).all()):
            continue
        one.weight *= by[:, None, None, None]
        one.bias *= by
        for other in others:
            other.weight /= by[None, :, None, None]
        changed.append(name)
    return changed
