# SPDX-License-Identifier: BSD-2-Clause
"""A choice of paths that knows what lies around a cell. Gain for cost, cell by cell (routes.py), is
exact while a cell costs its own pixels. The engine merges cells and computes their surroundings
(halo.py), so that here cells take, one after the other, the path at which squared error plus slope
times multiply-accumulates of the whole frame is least, given all others: iterated conditional modes
(Besag, "On the statistical analysis of dirty pictures", 1986), from the choice cell by cell. The
slope rises in small steps until the error that is allowed is used up.

A move gives one path to a cell for all the time between two changes of the first choice, so that
the choices never change more often than that.
"""

import math

import numpy as np

from . import halo, routes

PASSES = 8  # over all cells at one slope, at most; few are needed
STEPS = 4   # slopes in an octave
BACK = 4    # slopes before that of the threshold: cells that are worth more together are found then
MOST = 40   # slopes, at most


class Part:
    """The routes of a chunk on the way to its choice. errors: [frames][paths][rows][columns];
    levels: of routes.coarse_levels(); the choice begins as theirs at the threshold."""

    def __init__(self, errors, levels, costs: halo.Costs, threshold: int):
        labels = routes.choose(levels, threshold)
        moved = np.any(labels[1:] != labels[:-1], (1, 2))
        starts = np.flatnonzero(np.append(True, moved))
        self.levels, self.costs = levels, costs
        self.lengths = np.diff(np.append(starts, len(labels))).tolist()
        # Of spans of frames between two changes of any cell: [spans][paths][rows][columns].
        self.errors = np.add.reduceat(errors, starts, 0)
        self.labels = labels[starts]
        self.rows = [[row.tobytes() for row in span] for span in self.labels]
        self.versions, self.works = [0] * labels.shape[1], {}
        self.stretches = self._stretches()

    def choice(self) -> np.ndarray:
        """[frames][rows][columns]"""
        return np.repeat(self.labels, self.lengths, 0)

    def error(self) -> float:
        chosen = self.labels[:, None].astype(np.intp)
        return float(np.take_along_axis(self.errors, chosen, 1).sum())

    def _stretches(self):
        """[(first span, end, row, column)] of each cell between two of its changes."""
        found = []
        for y, x in np.ndindex(self.labels.shape[1:]):
            cell = self.labels[:, y, x]
            edges = [0, *(np.flatnonzero(cell[1:] != cell[:-1]) + 1).tolist(), len(cell)]
            found += [(begin, end, y, x) for begin, end in zip(edges, edges[1:])]
        return found

    def put(self, begin, end, y, x, path):
        self.labels[begin:end, y, x] = path
        self.versions[y] += 1
        for span in range(begin, end):
            self.rows[span][y] = self.labels[span, y].tobytes()

    def work(self, begin, end, y, x, path) -> int:
        """By how much the cost rises where a cell takes this path. Kept until one of the rows that
        it depends on changes."""
        key, version = (begin, y, x, path), sum(self.versions[max(0, y - 1):y + 2])
        if key in self.works and self.works[key][0] == version:
            return self.works[key][1]
        total, last, rise = 0, None, 0
        for length, rows in zip(self.lengths[begin:end], self.rows[begin:end]):
            now = rows[y - 1] if y else b"", rows[y], rows[y + 1] if y + 1 < len(rows) else b""
            if now != last:
                last, rise = now, self.costs.change(y, x, path, *now)
            total += length * rise
        self.works[key] = version, total
        return total


class _Search:
    def __init__(self, parts, most: float):
        self.parts, self.most = parts, most
        self.error = sum(part.error() for part in parts)
        self.full = False  # a move was refused, as its error was too much

    def at(self, slope: float, check):
        """All cells in turn, until none moves."""
        for _ in range(PASSES):
            moved = False
            for part in self.parts:
                check()
                for stretch in part.stretches:
                    moved |= self.move(part, slope, *stretch)
            if not moved:
                break

    def move(self, part, slope, begin, end, y, x) -> bool:
        """Gives a stretch its best path of those whose error is allowed; whether that is new."""
        here = int(part.labels[begin, y, x])
        error = part.errors[begin:end, :, y, x].sum(0) - part.errors[begin:end, here, y, x].sum()
        least, best = -1e-9 * self.error, None  # not back and forth by rounding
        for path in range(len(error)):
            if path == here:
                continue
            value = error[path] + slope * part.work(begin, end, y, x, path)
            if value < least:
                if error[path] > 0 and self.error + error[path] > self.most:
                    self.full = True
                else:
                    least, best = value, path
        if best is not None:
            part.put(begin, end, y, x, best)
            self.error += float(error[best])
        return best is not None


def settle(parts, threshold: int, most: float, check=lambda: None) -> int:
    """Moves the choices of all parts, which begin at this threshold, until they cost as little as
    they can with a squared error of at most `most` in all (where it is more already, it does not
    rise). The threshold that belongs to the last slope. check(): called now and then, may raise."""
    search, last = _Search(parts, most), threshold
    for step in range(MOST):
        octave = (threshold - 1) / 2 + (step - BACK) / STEPS
        search.at(2 ** octave * 1e-6, check)
        last = math.floor(1.5 + 2 * octave)
        if search.full and step >= BACK:
            break
        search.full = False
    return min(max(last, 1), routes.TOP)


def adjust(levels, labels, threshold: int) -> np.ndarray:
    """The levels, changed as little as makes these labels the choice at the threshold. They still
    do not rise with the path: all up to the label are raised, all behind it lowered."""
    paths = np.arange(1, levels.shape[1] + 1)[:, None, None]
    return np.where(paths <= labels[:, None], np.maximum(levels, threshold),
                    np.minimum(levels, threshold - 1)).astype(np.uint8)


def fit(levels, threshold: int, limit: int):
    """(levels, body) in at most `limit` bytes with their header, by the same choice; the farther a
    level is from the threshold, the sooner it is brought nearer. None where the choice alone takes
    more."""
    for room in (routes.TOP, 8, 4, 2, 1):
        near = np.clip(levels, max(0, threshold - room), min(routes.TOP, threshold + room - 1))
        body = routes.compress(near)
        if routes.HEADER.size + len(body) <= limit:
            return near, body
    return None
