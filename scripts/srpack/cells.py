# SPDX-License-Identifier: BSD-2-Clause
"""Which cells a path of a dynamic network is going to be given, asked while it trains: a cheaper
path learns little from what a dearer one will do. The network enlarges some frames whole by each
path, a few times in a run, and the cells are given out as routes.py will do it. From then on each
cheaper path draws patches of its own, most of them from its cells.

After the mixture of experts of Jacobs et al., "Adaptive mixtures of local experts" (1991): who is
best at something sees more of it, and becomes better at it.
"""

import numpy as np
import torch

from . import patches, routes
from .colour import to_tensor

LOSS = 0.05  # dB that the choice may lose against the dearest path everywhere
# How often a cheaper path looks at a pixel of cheaper and of dearer paths' cells, for 1 of its own.
CHEAPER, DEARER = 0.05, 0.15


def can_be_given(module) -> bool:
    """Whether there are cheaper paths that learn, and costs rise."""
    return (np.count_nonzero(module.macs_of_path) > 1
            and bool(np.all(np.diff(module.macs_of_path) > 0)))


def looked_at(statistics, most: int) -> np.ndarray:
    """Places in statistics.numbers of the frames to ask about."""
    return np.asarray(patches.spaced(len(statistics.numbers), most))


@torch.no_grad()
def errors(module, source, numbers, device="cpu", bf16=False) -> np.ndarray:
    """[n][paths][rows][columns]: squared error of each cell of these frames by each path, mean of
    the network's channels."""
    found, s = source.statistics, module.scale
    step = 2 if module.colour == "yuv420" else 1  # of its tensors, in luma samples
    rows, columns = (np.arange(0, n, c) * s // step
                     for n, c in zip(found.size[::-1], found.cell[::-1]))
    out = np.zeros((len(numbers), module.paths, found.rows, found.columns))
    for place, number in enumerate(numbers):
        x = to_tensor(source.lr, int(number), module.colour, source.colour)[None].to(device)
        t = to_tensor(source.hr, int(number), module.colour, source.colour)[None].to(device)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and device == "cpu"):
            outputs = module.forward_paths(x, range(module.paths))
        for path, y in enumerate(outputs):
            h, w = min(t.shape[2], y.shape[2]), min(t.shape[3], y.shape[3])
            squared = np.zeros(y.shape[2:])
            squared[:h, :w] = (y.float()[..., :h, :w].clamp(0, 1) - t[..., :h, :w]).square().mean(
                (0, 1)).cpu().numpy()
            sums = np.add.reduceat(np.add.reduceat(squared, rows, 0), columns, 1)
            out[place, path] = sums
    return out


def choose(squared, macs, pixels, loss_db=LOSS) -> np.ndarray:
    """[n][rows][columns]: the path of each cell by gain for cost, as cheap as a loss of loss_db
    against the dearest path everywhere allows."""
    slopes = routes.slopes(squared, macs, pixels)
    saved = squared[:, :-1] - squared[:, 1:]
    order = np.argsort(-slopes, axis=None, kind="stable")
    left = squared[:, 0].sum() - np.cumsum(saved.ravel()[order])
    fits = np.flatnonzero(left <= squared[:, -1].sum() * 10 ** (loss_db / 10))
    least = max(0, slopes.ravel()[order[fits[0]]]) if len(fits) else -np.inf
    return (slopes >= least).sum(1)


def favours(chosen, path: int) -> np.ndarray:
    """How often the cheaper path `path` looks at a pixel of each cell of such a choice."""
    return np.where(chosen == path, 1.0, np.where(chosen < path, CHEAPER, DEARER))
