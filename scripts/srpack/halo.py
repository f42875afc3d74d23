# SPDX-License-Identifier: BSD-2-Clause
"""What a choice of paths costs the engine. It merges cells of one path into rectangles and computes
each layer on its rectangle and what the layers behind it see around that (docs/engine.md), so that
a cell between others of its path costs its own pixels and a lone one far more. C of it is
runtime/exec/cells.c and runtime/plan/stream.c.
"""

import dataclasses
import functools

import numpy as np

from . import routes

RESIZE_RADIUS = 2  # what a resized pixel sees


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution: multiply-accumulates for a pixel of its output, the size of that by the input
    tensor's, and how many of its pixels around a rectangle are computed too."""

    macs: int
    factor: int
    halo: int


def margin(graph: dict) -> int:
    """Output samples around a rectangle that the player makes too, from 4:2:0 to 4:2:0: an RGB
    network's chroma is halved with what lies in front of it."""
    return graph["scale"] * (2 if graph["scale"] == 1 else 1) if graph["colour"] == "rgb" else 0


def layers(graph: dict, around: int) -> list[list[Layer]]:
    """The convolutions of each path, of whose output so many samples around are needed."""
    found, paths = routes.tensors(graph), []
    for end in routes.ends(graph):
        halos, convolutions = {end: around}, []
        for node in reversed(found.needed([end])):
            tensor, op = node["output"], node["op"]
            if op == "conv2d":
                convolutions.append(
                    Layer(found.macs[tensor], found.factor[tensor], halos[tensor]))
            for place, source in enumerate(node["inputs"]):
                ratio = found.factor[tensor] // found.factor[source]
                radius = 0
                if op == "conv2d" and place == 0:
                    radius = max(node["kernel"]) // 2
                elif op == "resize":
                    radius = RESIZE_RADIUS
                halos[source] = max(halos.get(source, 0), -(-halos[tensor] // ratio) + radius)
        paths.append(convolutions)
    return paths


class Costs:
    """Multiply-accumulates of a frame, by the path of each cell.

    A rectangle is a run of one path in a row of cells, with equal runs below. Its cost is a sum:
    of the rows of each run, of what lies above the first, and of what lies below the last. So a
    change of one cell has only to look at its own row and at the runs of the two around it. Rows
    are bytes, a path each."""

    def __init__(self, graph: dict, grid: routes.Grid, around: int | None = None):
        by = routes.tensor_pixels(graph)
        around = margin(graph) if around is None else around
        self.grid = grid
        self.paths = [
            tuple(np.array([getattr(one, key) for one in convolutions], np.int64)
                  for key in ("macs", "factor", "halo"))
            for convolutions in layers(graph, around)
        ]
        self.wide, self.high = -(-grid.width // by), -(-grid.height // by)
        self.across = _edges(grid.columns, grid.cell_width, grid.width, by)
        self.down = _edges(grid.rows, grid.cell_height, grid.height, by)
        self.run = functools.lru_cache(1 << 18)(self._run)
        self.runs = functools.lru_cache(1 << 16)(_runs)

    def _run(self, begin, end, path, y) -> tuple[int, int, int]:
        """Of cells begin..end of row y: of its own rows, of those above, of those below."""
        macs, factor, halo = self.paths[path]
        left, right = self.across[begin] * factor, self.across[end] * factor
        top, bottom = self.down[y] * factor, self.down[y + 1] * factor
        work = macs * (np.minimum(right + halo, self.wide * factor) - np.maximum(left - halo, 0))
        return (int((work * (bottom - top)).sum()), int((work * np.minimum(halo, top)).sum()),
                int((work * np.minimum(halo, self.high * factor - bottom)).sum()))

    def _value(self, run, y, above, below) -> int:
        """What a run adds to the frame between these runs: a run that goes on above or below is
        one rectangle with that, and neither pays where they meet."""
        own, top, bottom = self.run(*run, y)
        own += -self.run(*run, y - 1)[2] if run in above else top
        return own + (-self.run(*run, y + 1)[1] if run in below else bottom)

    def change(self, y: int, x: int, path: int, upper: bytes, row: bytes, lower: bytes) -> int:
        """By how much the cost rises where cell x of row y takes this path; upper, lower: the rows
        around it, empty at the edge of the frame."""
        old, new = self.runs(row), self.runs(row[:x] + bytes([path]) + row[x + 1:])
        above, below = self.runs(upper), self.runs(lower)
        return (sum(self._value(run, y, above, below) for run in new - old)
                - sum(self._value(run, y, above, below) for run in old - new))

    def frame(self, rows) -> int:
        """rows: [rows] bytes."""
        runs = [frozenset(), *map(self.runs, rows), frozenset()]
        total = 0
        for y in range(len(rows)):
            for run in runs[y + 1]:
                own, top, bottom = self.run(*run, y)
                total += own + (run not in runs[y]) * top + (run not in runs[y + 2]) * bottom
        return total

    def choice(self, labels) -> int:
        """labels: u8 [frames][rows][columns]."""
        total, last, cost = 0, None, 0
        for frame in labels:
            if last is None or (frame != last).any():
                last, cost = frame, self.frame([row.tobytes() for row in frame])
            total += cost
        return total

    def everywhere(self, path: int) -> int:
        """One path in the whole frame."""
        return self.frame([bytes([path]) * self.grid.columns] * self.grid.rows)


def _edges(count, cell, whole, by) -> list[int]:
    """Where cells begin, and the end, in pixels of the input tensor."""
    return [-(-min(i * cell, whole) // by) for i in range(count + 1)]


def _runs(row: bytes) -> frozenset:
    """{(begin, end, path)} of a row of cells."""
    found, begin = [], 0
    for x in range(1, len(row) + 1):
        if x == len(row) or row[x] != row[begin]:
            found.append((begin, x, row[begin]))
            begin = x
    return frozenset(found)
