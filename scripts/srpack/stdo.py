# SPDX-License-Identifier: BSD-2-Clause
"""One model for each group of patches, after STDO (Li et al., CVPR 2023): the cells of all frames,
sorted by how well a general model does there, make groups of equal number; a copy of the network
overfits each, and all copies are the paths of one graph (models.chunked)."""

import dataclasses
import pathlib

import numpy as np
import torch

from . import graph as graphs
from . import models, train
from .colour import to_tensor


@dataclasses.dataclass
class Groups:
    """What overfit_groups() gives back."""

    module: torch.nn.Module | None  # of the graph with all copies; None: not finished
    labels: np.ndarray  # [frames][rows][columns] uint8: the path of each cell
    finished: bool
    better: bool
    psnr: float  # dB on the held-out frames, each cell by the copy of its group
    psnr_bicubic: float
    psnr_of_path: list  # each copy everywhere
    steps: int
    seconds: float
    chosen: str


def share(total, count, number):
    """Part `number` of `count` of a whole number of steps."""
    return total * (number + 1) // count - total * number // count


def mixed(module, labels, pairs, source, cell):
    """(PSNR, PSNR of bicubic) of whole frames that take in each cell the path of its label."""
    errors, s = [0.0, 0.0], module.scale
    for _, index in pairs:
        x = to_tensor(source.lr, index, module.colour, source.colour)[None]
        t = to_tensor(source.hr, index, module.colour, source.colour)[None]
        rows = np.arange(source.lr.height * s) // (cell[1] * s)
        columns = np.arange(source.lr.width * s) // (cell[0] * s)
        step = 2 if module.colour == "yuv420" else 1  # of its tensors, in luma samples
        chosen = labels[index][rows][:, columns][::step, ::step]
        which = torch.from_numpy(np.ascontiguousarray(chosen))
        y = torch.zeros(())
        with torch.no_grad():
            for path, output in enumerate(module.forward_paths(x, range(module.paths))):
                y = torch.where(which == path, output, y)
            for i, picture in enumerate((y, graphs.resize(x, s))):
                h, w = min(t.shape[2], picture.shape[2]), min(t.shape[3], picture.shape[3])
                code = (picture[..., :h, :w].clamp(0, 1) * train.PEAK).round()
                squared = (code - t[..., :h, :w] * train.PEAK).square()
                errors[i] += float(squared.mean(dtype=torch.float64))
    return tuple(train._psnr(e / len(pairs)) for e in errors)


def overfit_groups(graph, count, source, *, budget_seconds=None, steps=None, folder=None,
                   progress=None, should_stop=None, options=None, **more) -> Groups:
    """Trains `count` copies of `graph` (a dict without a route) on the groups of
    source.statistics, which must judge every frame, each with an equal part of the budget or of
    the steps. folder: where checkpoints and finished copies lie, so that a stopped run goes on.
    The other arguments are those of train.overfit()."""
    statistics = source.statistics
    if len(statistics.numbers) != len(source.lr):
        raise ValueError("groups need the statistics of every frame")
    labels = (statistics.labels(count) + 1).astype(np.uint8)
    whole = graphs.load_module(models.chunked(graph, count))
    options = options or train.default_options(graphs.load_module(graph))
    seconds, done, chosen = 0.0, 0, []
    for number in range(count):
        mine = dataclasses.replace(options, policy="group", groups=count, group=number)
        if not (labels == number + 1).any():  # fewer cells than groups: bicubic is left there
            continue

        def told(fraction, loss, psnr, number=number):
            if progress is not None:
                progress((number + fraction) / count, loss, psnr)

        checkpoint = pathlib.Path(folder) / f"group{number + 1}.pt" if folder else None
        result = train.train(
            graph,
            [source],
            budget_seconds=None if budget_seconds is None else budget_seconds / count,
            steps=None if steps is None else max(1, share(steps, count, number)),
            checkpoint_path=checkpoint,
            keep_checkpoint=True,
            progress=told,
            should_stop=should_stop,
            options=mine,
            **more,
        )
        done, seconds = done + result.steps, seconds + result.seconds
        if not result.finished:
            return Groups(None, labels, False, False, result.psnr, result.psnr_bicubic, [], done,
                          seconds, "")
        chosen.append(result.chosen)
        own = whole.named_tensors()
        with torch.no_grad():
            for name, value in result.module.named_tensors().items():
                own[f"g{number + 1}_{name}"].copy_(value)
    pairs, _ = train.evaluation_frames(whole, [source])
    psnr, bicubic = mixed(whole, labels, pairs, source, statistics.cell)
    alone, _ = train.evaluate_paths(whole, pairs, [source])
    return Groups(whole, labels, True, psnr > bicubic, psnr, bicubic, alone, done, seconds,
                  "/".join(chosen))
