# SPDX-License-Identifier: BSD-2-Clause
"""Which patches of a video are hard: one store of squared errors that all training policies read.

Each low-resolution frame is cut on a grid; a general model enlarges the frame and its error in
every cell says how hard the cell is, after STDO (Li et al., CVPR 2023), whose grids these are.
The store keeps finer blocks than the cells, from which the cells' figures are sums. docs/training.md
documents the file.
"""

import dataclasses
import hashlib
import io
import pathlib
import zipfile

import numpy as np
import torch

from . import graph as graphs
from . import models
from .colour import to_tensor

GRIDS = {1: (48, 54), 2: (48, 54), 3: (64, 60), 4: (48, 54)}  # low-resolution width, height
BLOCK = 16  # low-resolution pixels, about: side of the blocks that cells are made of
GENERAL = "edge16"
FORMAT = 1
PEAK = 255.0


def cuts(size, cell):
    """Beginnings of the cells of one side: the last is as large as what is left."""
    return np.arange(0, size, cell)


def _fine(size, cell):
    """Beginnings of the blocks: each cell is cut alike, into parts of about BLOCK pixels."""
    parts = max(1, round(cell / BLOCK))
    inside = np.arange(parts) * cell // parts
    all_cuts = (cuts(size, cell)[:, None] + inside[None]).ravel()
    return all_cuts[all_cuts < size]


def _sums(values, rows, columns):
    """Sums of a [..][h][w] array over blocks that begin at `rows` and `columns`."""
    return np.add.reduceat(np.add.reduceat(values, rows, -2), columns, -1)


@dataclasses.dataclass
class Statistics:
    """Squared errors, in 8-bit codes, of frames cut on a grid."""

    model: str  # name of the model that was judged, or "bicubic"
    digest: str  # SHA-256 of its parameters, "" for bicubic
    scale: int
    size: tuple  # width and height of the low-resolution frames
    shown: tuple  # width and height of the original that count: padding does not
    cell: tuple  # width and height of a cell, low-resolution pixels
    numbers: np.ndarray  # [n] which frames were judged, ascending
    error: np.ndarray  # [n][block rows][block columns] of the model, luma
    bicubic: np.ndarray  # the same of the bicubic enlargement
    shaved: np.ndarray | None = None  # [n][rows][columns][2] luma and RGB, scale + 4 pixels less

    @property
    def rows(self):
        return len(cuts(self.size[1], self.cell[1]))

    @property
    def columns(self):
        return len(cuts(self.size[0], self.cell[0]))

    def blocks(self):
        """Beginnings of the blocks' rows and columns, low-resolution pixels."""
        return _fine(self.size[1], self.cell[1]), _fine(self.size[0], self.cell[0])

    def block_pixels(self):
        """[block rows][block columns]: pixels of the shown original in each block."""
        sides = []
        for begins, size, shown in zip(self.blocks(), self.size[::-1], self.shown[::-1]):
            edges = np.minimum(np.append(begins, size) * self.scale, shown)
            sides.append(np.diff(edges))
        return np.outer(*sides)

    def _cells(self, values):
        rows, columns = self.blocks()
        return _sums(
            values,
            np.searchsorted(rows, cuts(self.size[1], self.cell[1])),
            np.searchsorted(columns, cuts(self.size[0], self.cell[0])),
        )

    def pixels(self):
        """[rows][columns]: pixels of the shown original in each cell."""
        return self._cells(self.block_pixels())

    def squared(self, bicubic=False):
        """[n][rows][columns]: squared error of luma, summed over each cell."""
        return self._cells(self.bicubic if bicubic else self.error)

    def shaved_pixels(self):
        """[rows][columns]: pixels of each cell that are left by the papers' shaving."""
        return np.outer(
            *(
                [max(0, b - a) for a, b in shaved_spans(n, c, s, self.scale)]
                for n, c, s in zip(self.size[::-1], self.cell[::-1], self.shown[::-1])
            )
        )

    def psnr(self):
        """[n][rows][columns] dB of each cell, capped at 100; NaN where a cell is all padding."""
        pixels = self.pixels().astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            mse = np.where(pixels > 0, self.squared() / pixels, np.nan)
            return np.minimum(100.0, 10 * np.log10(PEAK**2 / mse))

    def labels(self, count):
        """[n][rows][columns] int: the group of each cell, of `count` groups of equal number by
        quantiles of PSNR; 0 is the hardest. Cells of padding alone belong to the last."""
        psnr = self.psnr().ravel()
        known = np.flatnonzero(~np.isnan(psnr))
        order = known[np.argsort(psnr[known], kind="stable")]
        labels = np.full(psnr.shape, count - 1)
        labels[order] = np.arange(len(order)) * count // max(1, len(order))
        return labels.reshape(len(self.numbers), self.rows, self.columns)

    def spread(self, cells):
        """The blocks' values of an array of cells [..][rows][columns]."""
        rows, columns = self.blocks()
        return cells[..., rows // self.cell[1], :][..., columns // self.cell[0]]

    def nearest(self, count):
        """For each of `count` frames the place in `numbers` of the judged frame next to it."""
        return np.abs(np.arange(count)[:, None] - self.numbers[None]).argmin(1)

    def save(self, path):
        data = io.BytesIO()
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        np.savez(
            data,
            format=FORMAT,
            **{name: np.asarray(value) for name, value in fields.items() if value is not None},
        )
        graphs.write_atomically(path, data.getvalue())


def load(path) -> Statistics:
    """ValueError when the file is not a store of this format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise ValueError(f"{path}: patch statistics of format {int(file['format'])}")
            fields = {f.name: file.get(f.name) for f in dataclasses.fields(Statistics)}
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not patch statistics: {error}") from None
    for name in ("model", "digest"):
        fields[name] = str(fields[name])
    fields["scale"] = int(fields["scale"])
    for name in ("size", "shown", "cell"):
        fields[name] = tuple(int(v) for v in fields[name])
    found = Statistics(**fields)
    shape = (len(found.numbers), *(len(side) for side in found.blocks()))
    if found.error.shape != shape or found.bicubic.shape != shape:
        raise ValueError(f"{path}: not patch statistics: arrays that do not fit each other")
    return found


def shaved_spans(size, cell, shown, scale):
    """[(first, end)] in pixels of the original: the cells of one side, scale + 4 less at each
    end. What is left may be nothing."""
    edge, begins = scale + 4, cuts(size, cell)
    ends = np.append(begins[1:], size)
    return [
        (a * scale + edge, min(b * scale, shown) - edge) for a, b in zip(begins, ends)
    ]


def general_model(scale, folder=models.MODELS_DIR):
    """(module, digest) of the general network that judges patches; (None, "") where it has no
    weights: bicubic judges then."""
    name = f"{GENERAL}-x{scale}"
    graph, weights = folder / f"{name}.json", folder / "general" / f"{name}.safetensors"
    if not graph.is_file() or not weights.is_file():
        return None, ""
    module = graphs.load_module(graph)
    graphs.load_parameters(module, weights)
    module = module.to(memory_format=torch.channels_last)  # half as long on a CPU
    return module, hashlib.sha256(weights.read_bytes()).hexdigest()


def spaced(total, most):
    """At most `most` numbers of `total`, evenly spread from the first on."""
    return list(range(0, total, max(1, -(-total // most))))


def score(source, scale, *, module=None, digest="", cell=None, numbers=None, shown=None,
          shaved=None, check=None, progress=None) -> Statistics:
    """Judges frames. source: train.Source. module: None is bicubic. numbers: which frames, all by
    default. shown: width and height that count. shaved(luma codes, number) gives the RGB codes
    [h][w][3] of an enlarged and of the original frame: then the papers' figures are kept too.
    check(): called for each frame, may raise. progress(frames done)."""
    lr, hr = source.lr, source.hr
    cell = tuple(cell or GRIDS[scale])
    width = min(lr.width * scale, hr.width, shown[0] if shown else hr.width)
    height = min(lr.height * scale, hr.height, shown[1] if shown else hr.height)
    numbers = np.arange(len(lr)) if numbers is None else np.asarray(numbers)
    rows, columns = (_fine(lr.height, cell[1]) * scale, _fine(lr.width, cell[0]) * scale)
    spans = [
        shaved_spans(n, c, s, scale)
        for n, c, s in ((lr.height, cell[1], height), (lr.width, cell[0], width))
    ]
    kernel, found = graphs.resize_kernel(scale), ([], [], [])
    squares = np.zeros((lr.height * scale, lr.width * scale))
    for done, number in enumerate(numbers):
        if check is not None:
            check()
        x = to_tensor(lr, int(number), "y")[None]
        wanted = hr.y[number][:height, :width].astype(np.float32)
        codes = []
        with torch.no_grad():
            base = graphs.resize(x, scale, "bicubic", kernel)
            dearest = int(np.argmax(module.macs_of_path)) if module is not None else 0
            for y in (base if module is None else module(x, dearest), base):
                codes.append((y[0, 0, :height, :width].clamp(0, 1) * PEAK).round().numpy())
        for i, luma in enumerate(codes):
            np.square(luma - wanted, out=squares[:height, :width], casting="same_kind")
            found[i].append(_sums(squares, rows, columns))
            if i == 0 and shaved is not None:
                made, original = shaved(luma, int(number))
                rgb = np.square(made - original).mean(-1)
                found[2].append(
                    np.stack([_shave(squares, *spans), _shave(rgb, *spans)], -1)
                )
        if progress is not None:
            progress(done + 1)
    return Statistics(
        module.graph["name"] if module is not None else "bicubic",
        digest,
        scale,
        (lr.width, lr.height),
        (width, height),
        cell,
        numbers,
        np.stack(found[0]),
        np.stack(found[1]),
        np.stack(found[2]) if found[2] else None,
    )


def _shave(squares, rows, columns):
    """[rows][columns] sums over what is left of each cell."""
    return np.array(
        [
            [float(squares[a:b, c:d].sum()) if b > a and d > c else 0.0 for c, d in columns]
            for a, b in rows
        ]
    )


def shares(count):
    """STDO's joint training: of the hardest of `count` groups every patch, of the next ones a
    share that shrinks evenly, of the easiest none. A single group: all."""
    return np.array([1.0]) if count == 1 else 1 - np.arange(count) / (count - 1)


def weights(statistics, policy, sharpness=0.5, count=4, group=0, rng=None):
    """[n][block rows][block columns] how often each block's pixels are looked at, per pixel.

    uniform: all alike; weighted: (squared error of the general model) ** sharpness; joint: the
    same, times shares(count) of the cell's group; group: the cells of one group alone; subset: a
    random part of the cells, as many as joint keeps in the mean (needs rng)."""
    mse = statistics.error / np.maximum(1, statistics.block_pixels()) / PEAK**2
    even = np.broadcast_to(statistics.block_pixels() > 0, mse.shape).astype(float)
    if policy == "uniform":
        return even
    if policy == "subset":
        cells = rng.random(statistics.squared().shape) < shares(count).mean()
        chosen = statistics.spread(cells) * even
        return chosen if chosen.any() else even
    steep = even * (mse + 1e-6) ** sharpness
    if policy == "weighted":
        return steep
    labels = statistics.spread(statistics.labels(count))
    if policy == "joint":
        return steep * shares(count)[labels]
    if policy == "group":
        return even * (labels == group)
    raise ValueError(f"unknown training policy {policy!r}")


def spend(squared, macs, pixels, budget):
    """Which path each cell takes so that `budget` multiply-accumulates save most squared error.

    squared: [paths][cells...] of each path; macs: per pixel and path, rising; pixels: of each
    cell, low resolution. Steps along each cell's convex hull, the steepest first, while they fit.
    (paths, spent)."""
    shape = squared.shape[1:]
    squared, pixels = squared.reshape(len(macs), -1), np.broadcast_to(pixels, shape).ravel()
    slopes, steps = [], []
    for cell in range(squared.shape[1]):
        at = 0
        while at + 1 < len(macs):
            gains = [
                ((squared[at, cell] - squared[p, cell]) / ((macs[p] - macs[at]) * pixels[cell]), p)
                for p in range(at + 1, len(macs))
            ]
            slope, best = max(gains)
            if slope <= 0:
                break
            slopes.append(slope)
            steps.append((cell, best, (macs[best] - macs[at]) * int(pixels[cell])))
            at = best
    chosen, spent = np.zeros(squared.shape[1], int), macs[0] * int(pixels.sum())
    for index in np.argsort(-np.array(slopes), kind="stable"):
        cell, path, cost = steps[index]
        if spent + cost > budget:
            break
        chosen[cell] = path
        spent += cost
    return chosen.reshape(shape), spent


def ensure(path: pathlib.Path, source, scale, **options) -> Statistics:
    """The store at `path`, made where it is not there or was made by another judge, grid or
    choice of frames."""
    module, digest = general_model(scale)
    options = {"module": module, "digest": digest, **options}
    cell = tuple(options.get("cell") or GRIDS[scale])
    numbers = options.get("numbers")
    wanted = np.arange(len(source.lr)) if numbers is None else np.asarray(numbers)
    if path.is_file():
        try:
            old = load(path)
            if (
                (old.digest, old.scale, old.cell) == (digest, scale, cell)
                and old.size == (source.lr.width, source.lr.height)
                and np.array_equal(old.numbers, wanted)
                and (options.get("shaved") is None or old.shaved is not None)
            ):
                return old
        except ValueError:
            pass  # damaged: made anew
    made = score(source, scale, **options)
    made.save(path)
    return made
