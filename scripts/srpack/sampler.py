# SPDX-License-Identifier: BSD-2-Clause
"""Clips to train on, and the patches that are drawn from them: where patch statistics say that
there is something to learn."""

import dataclasses
import typing

import numpy as np
import torch

from . import patches
from .colour import Colour, Frames, to_tensor

WEIGHED_FRAMES = 16  # frames per source that are judged where no statistics are given
PEAK = 255.0


@dataclasses.dataclass
class Source:
    """One clip: frames in, frames wanted, its colour, and its share of the patches (by default
    its pixels). statistics: of its patches; by default those of bicubic on a few frames."""

    lr: Frames
    hr: Frames
    colour: Colour | None = None
    share: float | None = None
    statistics: patches.Statistics | None = None


class Table(typing.NamedTuple):
    """Where the patches of one source lie: frames, blocks, and how often they are drawn."""

    frames: np.ndarray  # cumulated weights of the frames
    nearest: np.ndarray  # row of `blocks` for each of these frames
    blocks: np.ndarray  # [judged frames][blocks] cumulated weights
    rows: np.ndarray  # first rows of the blocks, and the end
    columns: np.ndarray


class Sampler:
    """Draws patches. Frames in `held` = {source: set of frames} are never drawn."""

    def __init__(self, sources, space, scale, options, held):
        self.sources, self.space, self.scale, self.options = sources, space, scale, options
        self.frames, self.tables = [], [None] * len(sources)
        shares = []
        for number, source in enumerate(sources):
            self.frames.append([i for i in range(len(source.lr)) if i not in held.get(number, ())])
            h, w = self._usable(source)
            shares.append(source.share if source.share is not None else len(source.lr) * h * w)
        self.shares = np.cumsum(shares) / sum(shares)

    def _usable(self, source):
        """Low-resolution rows and columns whose enlargement lies in the wanted frame."""
        return (
            min(source.lr.height, source.hr.height // self.scale),
            min(source.lr.width, source.hr.width // self.scale),
        )

    def weigh(self, seed=0, favours=None):
        """Sets the weights of frames and blocks by the policy of the options. favours: of each
        source, which has statistics, [judged frames][rows][columns] in place of the shares of
        groups."""
        o, self.tables = self.options, [None] * len(self.sources)
        for number, source in enumerate(self.sources):
            found, mine = source.statistics, self.frames[number]
            if found is None:
                judged = [mine[i] for i in patches.spaced(len(mine), WEIGHED_FRAMES)]
                found = patches.score(source, self.scale, numbers=judged)
            rng = np.random.default_rng([seed, number])
            policy = o.policy if favours is None else "weighted"
            weights = patches.weights(found, policy, o.sharpness, o.groups, o.group, rng)
            if favours is not None:
                weights = weights * found.spread(favours[number])
            nearest = found.nearest(len(source.lr))[mine]
            # Weights are per pixel: a block counts by its size.
            weights = (weights * found.block_pixels()).reshape(len(weights), -1)
            totals = np.cumsum(weights.sum(1)[nearest])
            if totals[-1] <= 0:
                raise ValueError(f"no patch of group {o.group + 1} lies in a frame to train on")
            edges = [np.append(side, size) for side, size in zip(found.blocks(), found.size[::-1])]
            self.tables[number] = Table(totals, nearest, np.cumsum(weights, 1), *edges)

    def _place(self, rng, number, size):
        """(frame, top, left) of a patch whose middle lies in a block drawn by its weight."""
        (h, w), (ph, pw) = self._usable(self.sources[number]), size
        table = self.tables[number]
        if table is None:
            index = self.frames[number][int(rng.integers(len(self.frames[number])))]
            return index, rng.integers(h - ph + 1), rng.integers(w - pw + 1)
        at = int(np.searchsorted(table.frames, rng.random() * table.frames[-1], side="right"))
        row = table.blocks[table.nearest[at]]
        block = int(np.searchsorted(row, rng.random() * row[-1], side="right"))
        i, j = divmod(block, len(table.columns) - 1)
        top = table.rows[i] + rng.integers(table.rows[i + 1] - table.rows[i]) - ph // 2
        left = table.columns[j] + rng.integers(table.columns[j + 1] - table.columns[j]) - pw // 2
        index = self.frames[number][at]
        return index, min(max(top, 0), h - ph), min(max(left, 0), w - pw)

    def draw(self, rng, count):
        """x [count][c][p][p] and wanted t [count][c][p*s][p*s], float in code / 255, and for
        each patch whether its top, left, bottom, right edge is the frame's."""
        xs, ts, edges = [], [], []
        p, s = self.options.patch, self.scale
        for _ in range(count):
            number = int(np.searchsorted(self.shares, rng.random(), side="right"))
            source = self.sources[number]
            h, w = self._usable(source)
            ph, pw = min(p, h), min(p, w)
            index, top, left = self._place(rng, number, (ph, pw))
            top, left = int(top), int(left)
            if self.space != "y":
                top, left = top & ~1, left & ~1
            edges.append((top == 0, left == 0, top + ph >= h, left + pw >= w))
            xs.append(self._cut(source, source.lr, index, (top, left, ph, pw)))
            ts.append(self._cut(source, source.hr, index, (top * s, left * s, ph * s, pw * s)))
        if self.space == "y":
            return (
                torch.from_numpy(np.stack(xs)).unsqueeze(1).float().div_(PEAK),
                torch.from_numpy(np.stack(ts)).unsqueeze(1).float().div_(PEAK),
                edges,
            )
        return torch.stack(xs), torch.stack(ts), edges

    def _cut(self, source, frames, index, area):
        if self.space == "y":
            top, left, height, width = area
            return frames.y[index, top : top + height, left : left + width]
        return to_tensor(frames, index, self.space, source.colour, area)
