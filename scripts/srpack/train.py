# SPDX-License-Identifier: BSD-2-Clause
"""Overfits one network to one video (or trains it on many)."""

import dataclasses
import pathlib
import typing

import torch


@dataclasses.dataclass
class Result:
    """What a training run gives back."""

    module: torch.nn.Module  # best weights found; graph.export() writes it
    better: bool             # False: no better than bicubic on the held-out sample; do not ship it
    finished: bool           # False: stopped on request, resume from the checkpoint
    chosen: str              # "ema", "raw" or "init": which weights `module` holds
    psnr: float              # dB on the held-out frames (whole frames, 8-bit rounded, the graph's own channels)
    psnr_bicubic: float
    steps: int
    seconds: float           # of training, all resumed parts together


def overfit(graph, lr, hr, *, budget_seconds: float | None = None, steps: int | None = None,
            init: pathlib.Path | None = None, seed: int = 0, threads: int = 0,
            checkpoint_path: pathlib.Path | None = None,
            progress: typing.Callable[[float, float, float], None] | None = None,
            should_stop: typing.Callable[[], bool] | None = None, colour=None) -> Result:
    """Trains `graph` (dict or path of docs/format.md) so that it maps the frames `lr` to the frames `hr`.

    lr, hr: colour.Frames (uint8 planes, may be memory maps) of equal length; hr is at most scale times lr.
    Exactly one of budget_seconds (wall clock, evaluation included) and steps (bit-reproducible on the CPU for
    equal seed and threads) is given. init: safetensors to start from. threads: 0 = one per core.
    checkpoint_path: written every 20 s, atomically, and read when it exists and belongs to the same run.
    progress(fraction 0..1, loss, psnr): about twice a second; psnr is NaN until it is known.
    should_stop(): polled each step; True saves the checkpoint and returns with finished=False.
    colour: colour.Colour of the video; needed by rgb graphs alone.
    Raises ValueError (frames that do not fit the graph), FloatingPointError (diverged beyond repair).
    """
    raise NotImplementedError
