# SPDX-License-Identifier: BSD-2-Clause
"""Routes (docs/format.md): what each path of a dynamic model is worth in each cell of each frame,
and the threshold at which the packer takes a path. Pure numpy; C of it is runtime/route.

Arrays: errors f64 [frames][paths][rows][columns], the squared error of luma that each path leaves
in a cell; macs [paths], multiply-accumulates per low-resolution pixel, rising; pixels
[rows][columns], low-resolution pixels of a cell; levels u8 [frames][paths - 1][rows][columns],
plane p - 1 belongs to path p.

After Dy-DCA (Zhan et al., ECCV 2024), which sends a patch to a path by how well a general network
does there. Here the gain of each path is measured, so that the choice is by gain for cost, and
exact for one slope: of all choices that cost as much, none leaves less error (Shoham and Gersho,
"Efficient bit allocation for an arbitrary set of quantizers", 1988).
"""

import dataclasses
import math
import struct

import numpy as np

from . import tools

GAINS, CHOICE = 0, 1
VERSION = 1
HEADER = struct.Struct("<4s4B4H2I")
TOP = 64           # the highest level; level v is worth 2 ** ((v - 1) / 2) for 10^6 MACs
PEAK = 255.0
MOST = 64 << 20    # levels of a chunk, SRP_MAX_ROUTES_LEVELS
SHARE = 0.01       # of the bytes of a chunk's video, at most, for its routes
HOLD = 6           # frames whose level together must be elsewhere before a level moves
DEFAULT_CELL = {1: (48, 54), 2: (48, 54), 3: (64, 60), 4: (48, 54)}  # STDO's, by scale


@dataclasses.dataclass(frozen=True)
class Grid:
    """The cells of a low-resolution picture."""

    width: int
    height: int
    cell_width: int
    cell_height: int

    @property
    def columns(self) -> int:
        return -(-self.width // self.cell_width)

    @property
    def rows(self) -> int:
        return -(-self.height // self.cell_height)

    @property
    def pixels(self) -> np.ndarray:
        """[rows][columns]: those at the right and bottom have what is left."""
        wide = np.minimum(self.cell_width, self.width - self.cell_width * np.arange(self.columns))
        high = np.minimum(self.cell_height, self.height - self.cell_height * np.arange(self.rows))
        return high[:, None] * wide


@dataclasses.dataclass
class Tensors:
    """What the nodes of a graph make: nodes in an order that runs, channels of each tensor, its
    size by that of the input tensor, and multiply-accumulates for a pixel of it."""

    order: list
    channels: dict
    factor: dict
    macs: dict

    def needed(self, ends) -> list:
        """The nodes that these tensors come from, in order."""
        writer, found, todo = {node["output"]: node for node in self.order}, set(), list(ends)
        while todo:
            tensor = todo.pop()
            if tensor in writer and tensor not in found:
                found.add(tensor)
                todo += writer[tensor]["inputs"]
        return [node for node in self.order if node["output"] in found]


def tensors(graph: dict) -> Tensors:
    """ValueError: the graph has a cycle or a tensor that nothing makes."""
    found = Tensors([], {graph["input"]: {"y": 1, "rgb": 3, "yuv420": 6}[graph["colour"]]},
                    {graph["input"]: 1}, {})
    channels, waiting = found.channels, list(graph["nodes"])
    while waiting:
        later = [n for n in waiting if not channels.keys() >= set(n["inputs"])]
        if len(later) == len(waiting):
            raise ValueError(f"graph {graph['name']}: cycle or missing tensor")
        for node in (n for n in waiting if n not in later):
            c = [channels[t] for t in node["inputs"]]
            f, cost, op = found.factor[node["inputs"][0]], 0, node["op"]
            out = c[0]
            if op == "conv2d":
                out = node["channels"]
                cost = c[0] * out * math.prod(node["kernel"])
            elif op == "concat":
                out = sum(c)
            elif op == "slice":
                out = node["channels"]
            elif op == "depth_to_space":
                out, f = c[0] // node["block"] ** 2, f * node["block"]
            elif op == "resize":
                f *= node["scale"]
            tensor = node["output"]
            channels[tensor], found.factor[tensor], found.macs[tensor] = out, f, cost
            found.order.append(node)
        waiting = later
    return found


def ends(graph: dict) -> list:
    """The tensor in which each path ends; one of a graph without a route."""
    route = next((n for n in graph["nodes"] if n["op"] == "route"), None)
    return route["inputs"] if route else [graph["output"]]


def tensor_pixels(graph: dict) -> int:
    """Luma samples across for each column of the input tensor."""
    return 2 if graph["colour"] == "yuv420" else 1


def path_macs(graph: dict) -> list[float]:
    """Multiply-accumulates of each path's convolutions per low-resolution pixel."""
    found, share = tensors(graph), tensor_pixels(graph) ** 2
    return [sum(found.macs[n["output"]] * found.factor[n["output"]] ** 2
                for n in found.needed([end])) / share for end in ends(graph)]


def default_path(graph: dict) -> int | None:
    """The path that chunks without routes take; None for a graph without a route."""
    return next((n["default"] for n in graph["nodes"] if n["op"] == "route"), None)


# ---- levels ------------------------------------------------------------------------------------

def slopes(errors, macs, pixels) -> np.ndarray:
    """Gain for 10^6 MACs of each path over the one before, made so that it does not rise with the
    path: the slopes of the upper hull of (cost, gain). [frames][paths - 1][rows][columns].

    What pool-adjacent-violators gives, written as its minimax formula (Barlow et al., 1972): path
    k has the least over i < k of the greatest over j >= k of the gain for cost from i to j."""
    macs = np.asarray(macs, np.float64)
    if np.any(np.diff(macs) <= 0):
        raise ValueError("each path of a route must cost more than the one before")
    paths = errors.shape[1]
    out = np.empty((errors.shape[0], paths - 1, *errors.shape[2:]))
    for k in range(1, paths):
        least = np.inf
        for i in range(k):
            most = -np.inf
            for j in range(k, paths):
                cost = (macs[j] - macs[i]) * pixels / 1e6
                most = np.maximum(most, (errors[:, i] - errors[:, j]) / cost)
            least = np.minimum(least, most)
        out[:, k - 1] = least
    return out


def levels(errors, macs, pixels) -> np.ndarray:
    """Levels of docs/format.md, one set for each frame."""
    g = slopes(errors, macs, pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.clip(1 + np.rint(2 * np.log2(g)), 1, TOP)
    return np.where(g < 1, 0, level).astype(np.uint8)


def choose(levels_, threshold: int) -> np.ndarray:
    """The packer's own choice: [frames][rows][columns] u8, the greatest path whose level is at
    least the threshold, else 0."""
    paths = np.arange(1, levels_.shape[1] + 1, dtype=np.uint8)[:, None, None]
    return ((levels_ >= threshold) * paths).max(1)


@dataclasses.dataclass
class Account:
    """Squared error and MACs of the exact choice by threshold (index 0..65; 65: path 0 everywhere),
    and of each path everywhere. Accounts of the parts of a clip add up to that of the clip."""

    error: np.ndarray         # [66]
    macs: np.ndarray          # [66]
    path_error: np.ndarray    # [paths]
    path_macs: np.ndarray     # [paths]

    def __add__(self, other):
        return Account(*(a + b for a, b in zip(dataclasses.astuple(self),
                                               dataclasses.astuple(other))))


def account(errors, levels_, macs, pixels) -> Account:
    """levels_: None where there are no routes; `fixed_account` is for that."""
    macs = np.asarray(macs, np.float64)
    step = np.broadcast_to(np.diff(macs)[:, None, None] * pixels, levels_.shape)
    saved = errors[:, :-1] - errors[:, 1:]

    def above(weights):  # sum over all that have at least this level
        sums = np.bincount(levels_.ravel(), weights=weights.ravel(), minlength=TOP + 2)
        return np.cumsum(sums[::-1])[::-1]
    frames = errors.shape[0]
    path_error = np.array(errors.sum((0, 2, 3)))
    path_cost = macs * float(pixels.sum()) * frames
    return Account(path_error[0] - above(saved), path_cost[0] + above(step), path_error, path_cost)


def fixed_account(errors, path: int, macs, pixels) -> Account:
    """One path in every cell, whatever the threshold."""
    nothing = np.zeros((errors.shape[0], errors.shape[1] - 1, *errors.shape[2:]), np.uint8)
    whole = account(errors, nothing, macs, pixels)
    return Account(np.full(TOP + 2, whole.path_error[path]),
                   np.full(TOP + 2, whole.path_macs[path]), whole.path_error, whole.path_macs)


def psnr(error: float, samples: int) -> float:
    """dB of a squared error over so many samples; 100 for none, as srbench prints it."""
    return 100.0 if error <= 0 else min(100.0, 10 * math.log10(PEAK * PEAK * samples / error))


def best_threshold(total: Account, loss_db: float) -> int:
    """The greatest threshold at which the clip loses at most loss_db against its dearest path
    everywhere; 1 where none does."""
    most = total.path_error[-1] * 10 ** (loss_db / 10)
    fit = [t for t in range(1, TOP + 1) if total.error[t] <= most * (1 + 1e-12)]
    return max(fit, default=1)


# ---- over time ---------------------------------------------------------------------------------

def _window_mean(errors, length: int) -> np.ndarray:
    """The mean of each frame and those after it, `length` in all; at the end, of the last ones."""
    length = min(length, len(errors))
    sums = np.concatenate([np.zeros_like(errors[:1]), np.cumsum(errors, 0)])
    begin = np.minimum(np.arange(len(errors)), len(errors) - length)
    return np.maximum(sums[begin + length] - sums[begin], 0) / length


def held_levels(errors, macs, pixels, patience: int) -> np.ndarray:
    """Levels that change seldom. One is held until a frame is more than one step away from it, and
    so is, to the same side, the level of that frame and the next ones together (`patience` in
    all); it then takes the latter. So a flicker becomes its mean, a short dip is passed over, and
    a cut acts in its own frame, neither before nor after."""
    now = levels(errors, macs, pixels).astype(np.int16)
    ahead = levels(_window_mean(errors, patience), macs, pixels).astype(np.int16)
    out, held = np.empty(now.shape, np.uint8), ahead[0]
    for i, (here, next_ones) in enumerate(zip(now, ahead)):
        up = np.minimum(here, next_ones) - held > 1
        down = held - np.maximum(here, next_ones) > 1
        held = np.where(up | down, next_ones, held)
        out[i] = held
    return np.minimum.accumulate(out, 1)  # holding must not make them rise with the path


def periods(frames: int):
    """Frames that share one set of levels, from the finest to all."""
    known = [n * f for f in (1 << e for e in range(16)) for n in (2, 3)]
    return [1, *sorted(n for n in known if n < frames), *([frames] if frames > 1 else [])]


def _starts(frames, period):
    return np.arange(0, frames, period)


def coarse_levels(errors, macs, pixels, period: int) -> np.ndarray:
    """Levels that are constant over `period` frames, made from the errors of all of them, and held
    over time."""
    starts = _starts(len(errors), period)
    lengths = np.diff(np.append(starts, len(errors)))
    # The mean of a group of frames, so that its cost is that of one frame.
    mean = np.add.reduceat(errors, starts, 0) / lengths[:, None, None, None]
    patience = max(1, round(HOLD / period))
    return np.repeat(held_levels(mean, macs, pixels, patience), lengths, 0)


def coarse_labels(labels, period: int) -> np.ndarray:
    """Labels that are constant over `period` frames: the most frequent, of equals the least."""
    starts = _starts(len(labels), period)
    lengths = np.diff(np.append(starts, len(labels)))
    counts = np.stack([np.add.reduceat((labels == k).astype(np.int32), starts, 0)
                       for k in range(int(labels.max()) + 1)])
    return np.repeat(counts.argmax(0).astype(np.uint8), lengths, 0)


def fit(frames: int, limit: int, at):
    """(planes, body, period) of the finest coding that takes at most `limit` bytes with its header,
    None where even one set for the whole chunk takes more. at(period) -> [frames][planes][rows]
    [columns]. Finer is never worse: a group of frames gets the levels of its own mean."""
    for period in periods(frames):
        planes = at(period)
        if planes.size > MOST:
            return None
        body = compress(planes)
        if HEADER.size + len(body) <= limit:
            return planes, body, period
    return None


# ---- bytes -------------------------------------------------------------------------------------

def compress(planes) -> bytes:
    """[frames][planes][rows][columns] -> the zstd frame: plane after plane, differences in time."""
    planes = np.ascontiguousarray(np.swapaxes(np.asarray(planes, np.uint8), 0, 1))
    change = planes.copy()
    change[:, 1:] -= planes[:, :-1]  # modulo 256
    return tools.zstd(change.tobytes())


def _header(kind, paths, threshold, grid, frames):
    return HEADER.pack(b"SRTE", VERSION, kind, paths, threshold, grid.cell_width,
                       grid.cell_height, grid.columns, grid.rows, frames, 0)


def encode_gains(levels_, threshold: int, grid: Grid, body: bytes | None = None) -> bytes:
    """The routes object; `body` from compress(), where it is there already."""
    frames, planes = levels_.shape[:2]
    return _header(GAINS, planes + 1, threshold, grid, frames) + (body or compress(levels_))


def encode_choice(labels, paths: int, grid: Grid, body: bytes | None = None) -> bytes:
    """labels: [frames][rows][columns], each less than paths."""
    if labels.max() >= paths:
        raise ValueError(f"label {labels.max()} of a model with {paths} paths")
    return (_header(CHOICE, paths, 0, grid, len(labels)) + (body or compress(labels[:, None])))


@dataclasses.dataclass
class Decoded:
    kind: int
    paths: int
    threshold: int
    cell: tuple        # width, height
    values: np.ndarray  # [frames][planes][rows][columns]

    def exact(self) -> np.ndarray:
        """[frames][rows][columns]: the packer's own choice."""
        if self.kind == CHOICE:
            return self.values[:, 0]
        return choose(self.values, self.threshold)


def decode(data: bytes) -> Decoded:
    """A second reader of the format, for tests. ValueError: not as docs/format.md says."""
    magic, version, kind, paths, threshold, cw, ch, columns, rows, frames, zero = \
        HEADER.unpack_from(data)
    if (magic, version, zero) != (b"SRTE", VERSION, 0) or kind > CHOICE or not 2 <= paths <= 8:
        raise ValueError("not routes of version 1")
    if any(side % 2 or not 8 <= side <= 1024 for side in (cw, ch)):
        raise ValueError("odd cells")
    if not (1 <= threshold <= TOP if kind == GAINS else threshold == 0):
        raise ValueError("threshold out of range")
    raw = np.frombuffer(tools.unzstd(data[HEADER.size:]), np.uint8)
    planes = 1 if kind == CHOICE else paths - 1
    if raw.size != planes * frames * rows * columns:
        raise ValueError(f"{raw.size} levels where {planes}x{frames}x{rows}x{columns} are stated")
    values = np.cumsum(raw.reshape(planes, frames, rows, columns), 1, dtype=np.uint8)
    values = np.swapaxes(values, 0, 1)
    if values.max() > (TOP if kind == GAINS else paths - 1):
        raise ValueError("level out of range")
    if np.any(values[:, 1:] > values[:, :-1]):
        raise ValueError("levels rise with the path")
    return Decoded(kind, paths, threshold, (cw, ch), values)
