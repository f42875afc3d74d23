# SPDX-License-Identifier: BSD-2-Clause
"""Overfits one network to one video, or trains it on many.

The network learns from random patches of the decoded low-resolution frames (uint8 planes, memory
maps are fine) towards the same place of the original. Each thread computes the gradient of its
own part of a batch with a replica of the module whose parameters share the master's memory;
parts are summed in a fixed order, so a run of a given number of steps is reproducible bit for
bit on a CPU for a seed and a number of threads.

Ideas from: Liu et al., "Overfitting the Data: Compact Neural Video Delivery" (CaFM, ICCV 2021)
and Li et al., STDO (CVPR 2023): overfit, and look more often where the error is; Vyas et al.,
"SOAP" (2024): Adam in the eigenbasis of Shampoo's preconditioner, cheap for nets this small.
"""

import concurrent.futures
import copy
import dataclasses
import hashlib
import io
import json
import math
import os
import pathlib
import time
import typing

import numpy as np
import torch
import torch.nn.functional as F

from . import graph as graphs
from .colour import Colour, Frames, to_tensor
from .optimiser import Soap

CHECKPOINT_SECONDS = 20.0
PROGRESS_SECONDS = 0.5
CELL = 16  # low-resolution pixels: side of the cells that carry sampling weights
WEIGHED_FRAMES = 16  # frames per source on which these weights are measured
PROBE_STEPS = 100  # how often a fixed batch is looked at for signs of divergence
PEAK = 255.0


@dataclasses.dataclass
class Options:
    """What was tuned; the defaults are what measured best for a few minutes on two cores."""

    batch: int = 16
    patch: int = 32  # low-resolution pixels
    margin: int = 2  # low-resolution pixels at a patch's edge that the loss does not see
    rate: float = 7e-3
    warmup: float = 0.02  # fraction of the run
    loss: str = "mse"  # l1, mse, charbonnier, mixed
    sharpness: float = 0.5  # sampling weight = (squared error of bicubic) ** sharpness; 0: uniform
    average: float = 0.998  # decay of the averaged weights, per step
    optimiser: str = "soap"  # soap, adam
    clip: float = 1.0  # largest gradient norm


@dataclasses.dataclass
class Result:
    """What a training run gives back."""

    module: torch.nn.Module  # best weights found, rounded to f16; graph.export() writes it
    better: bool  # False: no better than bicubic on the held-out frames; do not ship it
    finished: bool  # False: stopped on request, resume from the checkpoint
    chosen: str  # "ema", "raw" or "init": which weights `module` holds
    psnr: float  # dB on the held-out frames (whole frames, 8-bit rounded, the graph's own channels)
    psnr_bicubic: float
    steps: int
    seconds: float  # of training, all resumed parts together


@dataclasses.dataclass
class Source:
    """One clip: frames in, frames wanted, its colour, and its share of the patches (by default
    its pixels)."""

    lr: Frames
    hr: Frames
    colour: Colour | None = None
    share: float | None = None


class Sampler:
    """Draws patches. Frames in `held` = {source: set of frames} are never drawn."""

    def __init__(self, sources, space, scale, options, held):
        self.sources, self.space, self.scale, self.options = sources, space, scale, options
        self.frames, self.weights = [], []
        shares = []
        for number, source in enumerate(sources):
            self.frames.append([i for i in range(len(source.lr)) if i not in held.get(number, ())])
            h, w = self._usable(source)
            shares.append(source.share if source.share is not None else len(source.lr) * h * w)
            self.weights.append(None)
        self.shares = np.cumsum(shares) / sum(shares)

    def _usable(self, source):
        """Low-resolution rows and columns whose enlargement lies in the wanted frame."""
        return (
            min(source.lr.height, source.hr.height // self.scale),
            min(source.lr.width, source.hr.width // self.scale),
        )

    def weigh(self):
        """Measures where the bicubic luma is wrong and sets the weights of the cells."""
        kernel = graphs.resize_kernel(self.scale)
        for number, source in enumerate(self.sources):
            h, w = self._usable(source)
            rows, columns = max(1, h // CELL), max(1, w // CELL)
            chosen = self.frames[number][
                :: max(1, math.ceil(len(self.frames[number]) / WEIGHED_FRAMES))
            ]
            maps = []
            for index in chosen:
                x = to_tensor(source.lr, index, "y")[None, :, :h, :w]
                t = to_tensor(source.hr, index, "y")[None, :, : h * self.scale, : w * self.scale]
                with torch.no_grad():
                    error = (graphs.resize(x, self.scale, "bicubic", kernel) - t).square_()
                maps.append(
                    F.adaptive_avg_pool2d(error, (rows, columns))[0, 0].double().numpy().ravel()
                )
            weights = (np.stack(maps) + 1e-6) ** self.options.sharpness
            self.weights[number] = (np.array(chosen), np.cumsum(weights, 1), (rows, columns))

    def draw(self, rng, count):
        """x [count][c][p][p] and wanted t [count][c][p*s][p*s], float in code / 255, and for
        each patch whether its top, left, bottom, right edge is the frame's."""
        xs, ts, edges = [], [], []
        p, s = self.options.patch, self.scale
        for _ in range(count):
            number = int(np.searchsorted(self.shares, rng.random(), side="right"))
            source = self.sources[number]
            index = self.frames[number][int(rng.integers(len(self.frames[number])))]
            h, w = self._usable(source)
            ph, pw = min(p, h), min(p, w)
            if self.weights[number] is None:
                top, left = rng.integers(h - ph + 1), rng.integers(w - pw + 1)
            else:
                chosen, cumulated, (rows, columns) = self.weights[number]
                nearest = int(np.argmin(np.abs(chosen - index)))
                row = cumulated[nearest]
                cell = int(np.searchsorted(row, rng.random() * row[-1], side="right"))
                top = cell // columns * h // rows + rng.integers(CELL) - ph // 2
                left = cell % columns * w // columns + rng.integers(CELL) - pw // 2
                top, left = min(max(top, 0), h - ph), min(max(left, 0), w - pw)
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


def _loss(kind, y, t, fraction):
    d = y - t
    if kind == "l1":
        return d.abs().mean()
    if kind == "mse":
        return d.square().mean() * 16
    if kind == "charbonnier":
        return (d.square() + 1e-4).sqrt().mean()
    if kind == "mixed":  # from robust to what PSNR counts
        return (1 - fraction) * d.abs().mean() + fraction * 16 * d.square().mean()
    raise ValueError(f"unknown loss {kind!r}")


def _scored(edges, size, margin):
    """[n][1][h][w]: 0 where a patch lacks the neighbours that the frame has, else 1. At the edge
    of the frame nothing is lacking: there the network sees the zeros that it will always see."""
    mask = torch.zeros(len(edges), 1, *size)
    for one, (top, left, bottom, right) in zip(mask, edges):
        rows = slice(0 if top else margin, size[0] if bottom else size[0] - margin)
        columns = slice(0 if left else margin, size[1] if right else size[1] - margin)
        one[:, rows, columns] = 1
    return mask


def evaluate(module, frames, sources, device="cpu"):
    """(PSNR of the module, of bicubic): whole frames, clipped and rounded to 8 bits, mean
    squared error over all channels and the given (source, frame) pairs."""
    errors, count = [0.0, 0.0], 0
    for number, index in frames:
        source = sources[number]
        x = to_tensor(source.lr, index, module.colour, source.colour)[None].to(device)
        t = to_tensor(source.hr, index, module.colour, source.colour)[None].to(device)
        with torch.no_grad():
            for i, y in enumerate((module(x), graphs.resize(x, module.scale))):
                h, w = min(t.shape[2], y.shape[2]), min(t.shape[3], y.shape[3])
                y = (y[..., :h, :w].clamp(0, 1) * PEAK).round()
                errors[i] += float((y - t[..., :h, :w] * PEAK).square().mean(dtype=torch.float64))
        count += 1
    return tuple(_psnr(e / count) for e in errors)


def _psnr(mse):
    return 10 * math.log10(PEAK * PEAK / mse) if mse > 0 else math.inf


def _evaluation_frames(module, sources):
    """Evenly spread (source, frame) pairs: up to 8 of a clip, fewer where the network is dear,
    and the sets to keep out of training where the clip is long enough to spare them."""
    pairs, held = [], {}
    for number, source in enumerate(sources):
        cost = module.macs_per_pixel * source.lr.height * source.lr.width * len(sources)
        count = int(min(8, len(source.lr), max(1, 1e11 // max(1, cost))))
        step = len(source.lr) / count
        chosen = sorted({int((i + 0.5) * step) for i in range(count)})
        pairs += [(number, i) for i in chosen]
        if len(source.lr) >= 4 * len(chosen):
            held[number] = set(chosen)
    return pairs, held


class Trainer:
    """State of a run; everything that a checkpoint holds is in state()."""

    def __init__(self, graph, sources, options, seed, threads, device, init):
        self.options, self.seed, self.device = options, seed, device
        self.module = graphs.load_module(graph)
        graphs.initialise(self.module, seed)
        if init is not None:
            graphs.load_parameters(self.module, init)
        self.module.to(device)
        self.average = copy.deepcopy(self.module)
        self.replicas = [copy.deepcopy(self.module) for _ in range(threads - 1)]
        for replica in self.replicas:
            for mine, theirs in zip(replica.parameters(), self.module.parameters()):
                mine.data = theirs.data
        self.replicas.insert(0, self.module)
        self.parameters = list(self.module.parameters())
        self.optimiser = self.new_optimiser()
        self.step = 0
        self.rngs = [np.random.default_rng([seed, i]) for i in range(threads)]
        self.pairs, held = _evaluation_frames(self.module, sources)
        self.sampler = Sampler(sources, self.module.colour, self.module.scale, options, held)
        self.refused = 0  # steps in a row whose gradient was not finite
        self.caution = 1.0  # factor of the rate, halved when training lost what it had gained
        with torch.no_grad():
            x, self.wanted, _ = self.sampler.draw(np.random.default_rng([seed, len(self.rngs)]), 16)
            self.probe = x.to(device)
            base = graphs.resize(x, self.module.scale)
            self.bicubic = float((base - self.wanted).square().mean())
        self.best, self.safe = math.inf, self.copy()

    def part(self, number, fraction):
        """Gradient of one thread's part of the batch; returns its loss."""
        o, s = self.options, self.module.scale
        count = o.batch // len(self.rngs) + (number < o.batch % len(self.rngs))
        if count == 0:
            return 0.0
        x, t, edges = self.sampler.draw(self.rngs[number], count)
        x, t = x.to(self.device, non_blocking=True), t.to(self.device, non_blocking=True)
        y = self.replicas[number](x)
        m, weight = o.margin * s, count / o.batch
        if m and min(y.shape[2:]) > 4 * m:
            if any(map(any, edges)):
                mask = _scored(edges, y.shape[2:], m).to(self.device)
                y, t, weight = y * mask, t * mask, weight * mask.numel() / float(mask.sum())
            else:
                y, t = y[..., m:-m, m:-m], t[..., m:-m, m:-m]
        loss = _loss(o.loss, y, t, fraction) * weight
        loss.backward()
        return float(loss.detach())

    def advance(self, pool, fraction):
        """One optimiser step at `fraction` of the run; returns the loss. FloatingPointError
        when the gradient is not finite ten times in a row."""
        o = self.options
        for replica in self.replicas:
            replica.zero_grad(set_to_none=True)
        losses = list(pool.map(lambda i: self.part(i, fraction), range(len(self.rngs))))
        for replica in self.replicas[1:]:
            for mine, theirs in zip(self.parameters, replica.parameters()):
                if theirs.grad is not None:
                    mine.grad = theirs.grad if mine.grad is None else mine.grad.add_(theirs.grad)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, o.clip)
        self.step += 1
        if not math.isfinite(float(norm)):
            self.refused += 1
            if self.refused >= 10:
                raise FloatingPointError(f"training diverged at step {self.step}")
            return math.nan
        self.refused = 0
        rate = (
            o.rate
            * self.caution
            * min(1.0, (fraction + 1e-4) / o.warmup)
            * 0.5
            * (1 + math.cos(math.pi * min(1.0, fraction)))
        )
        for group in self.optimiser.param_groups:
            group["lr"] = max(rate, o.rate * 1e-3)
        self.optimiser.step()
        keep = min(o.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), self.parameters, 1 - keep)
        if self.step % PROBE_STEPS == 0:
            self.look()
        return sum(losses)

    def new_optimiser(self):
        if self.options.optimiser == "soap":
            return Soap(self.parameters, self.options.rate)
        return torch.optim.Adam(self.parameters, self.options.rate, betas=(0.9, 0.99))

    def copy(self):
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def look(self):
        """Goes back to the best weights seen, at half the rate, when nearly all of the gain over
        bicubic is lost: a step that kills all ReLUs gives finite numbers and is never repaired."""
        loss = float((self.module(self.probe).cpu() - self.wanted).square().mean())
        gain = self.bicubic - self.best
        lost = gain > 0.02 * self.bicubic and loss > self.best + 0.9 * gain
        if loss < self.best:
            self.best, self.safe = loss, self.copy()
        elif lost or not math.isfinite(loss):
            for kind in (self.module, self.average):
                for parameter, safe in zip(kind.parameters(), self.safe):
                    parameter.copy_(safe)
            self.optimiser = self.new_optimiser()
            self.caution *= 0.5

    def state(self):
        return {
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "guard": (self.caution, self.best, self.safe),
            "rngs": json.dumps([rng.bit_generator.state for rng in self.rngs]),
        }

    def restore(self, state):
        with torch.no_grad():
            for mine, theirs in zip(self.parameters, state["module"].values()):
                mine.copy_(theirs)  # in place: replicas share the memory
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.caution, self.best, self.safe = state["guard"]
        for rng, saved in zip(self.rngs, json.loads(state["rngs"])):
            rng.bit_generator.state = saved


def _identity(graph, sources, options, seed, threads, init, amount):
    """Hash of all that decides a run, so that a checkpoint is only continued by the run that
    wrote it."""
    digest = hashlib.sha256()
    parts = [graphs.read_graph(graph), dataclasses.asdict(options), seed, threads, amount]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    if init is not None:
        digest.update(pathlib.Path(init).read_bytes())
    for source in sources:
        digest.update(
            repr((source.lr.y.shape, source.hr.y.shape, source.colour, source.share)).encode()
        )
        for frames in (source.lr, source.hr):
            digest.update(np.ascontiguousarray(frames.y[len(frames) // 2]).tobytes())
    return digest.hexdigest()


def _save(path, identity, trainer, seconds):
    data = io.BytesIO()
    torch.save({"identity": identity, "seconds": seconds, **trainer.state()}, data)
    graphs.write_atomically(path, data.getvalue())


def _load(path, identity):
    """The checkpoint, or None when there is none, it is damaged, or it belongs to another run."""
    if path is None or not os.path.exists(path):
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a torn or foreign file is no reason to fail: the run begins anew
        return None
    return state if isinstance(state, dict) and state.get("identity") == identity else None


def default_options(module):
    """Smaller batches for dear networks: many steps matter more than many pixels per step."""
    options = Options()
    if module.macs_per_pixel > 50000:
        options.batch = 8
        options.rate = 4e-3 if module.macs_per_pixel < 500000 else 2e-3
    return options


def overfit(
    graph,
    lr,
    hr,
    *,
    budget_seconds: float | None = None,
    steps: int | None = None,
    init: pathlib.Path | None = None,
    seed: int = 0,
    threads: int = 0,
    checkpoint_path: pathlib.Path | None = None,
    progress: typing.Callable[[float, float, float], None] | None = None,
    should_stop: typing.Callable[[], bool] | None = None,
    colour: Colour | None = None,
    options: Options | None = None,
) -> Result:
    """Trains `graph` (dict or path of docs/format.md) so that it maps the frames `lr` to the
    frames `hr`.

    lr, hr: colour.Frames (uint8 planes, may be memory maps) of equal length; hr is at most scale
    times lr.
    Exactly one of budget_seconds (wall clock, evaluation included) and steps (bit-reproducible
    on the CPU for equal seed and threads) is given. init: safetensors to start from. threads: 0
    = one per core.
    checkpoint_path: written every 20 s, atomically, and read when it exists and belongs to the
    same run.
    progress(fraction 0..1, loss, psnr): about twice a second; psnr is NaN until it is known.
    should_stop(): polled each step; True saves the checkpoint and returns with finished=False.
    colour: colour.Colour of the video; needed by rgb graphs alone.
    Raises ValueError (frames that do not fit the graph), FloatingPointError (diverged beyond
    repair).
    """
    return train(
        graph,
        [Source(lr, hr, colour)],
        budget_seconds=budget_seconds,
        steps=steps,
        init=init,
        seed=seed,
        threads=threads,
        checkpoint_path=checkpoint_path,
        progress=progress,
        should_stop=should_stop,
        options=options,
    )


def _check(module, sources, budget_seconds, steps):
    if (budget_seconds is None) == (steps is None):
        raise ValueError("give either budget_seconds or steps")
    for source in sources:
        lr, hr, s = source.lr, source.hr, module.scale
        if len(lr) == 0 or len(lr) != len(hr):
            raise ValueError(f"{len(lr)} low-resolution frames for {len(hr)} originals")
        for small, large in ((lr.width, hr.width), (lr.height, hr.height)):
            if not small * s - 2 * s < large <= small * s:
                raise ValueError(f"{hr.width}x{hr.height} is not {s} times {lr.width}x{lr.height}")
        if module.colour == "rgb" and source.colour is None:
            raise ValueError(
                f"graph {module.graph['name']} works in rgb: the colour of the video is needed"
            )
        if module.colour != "y" and (lr.u is None or hr.u is None):
            raise ValueError(f"graph {module.graph['name']} needs chroma planes")


def train(
    graph,
    sources,
    *,
    budget_seconds=None,
    steps=None,
    init=None,
    seed=0,
    threads=0,
    checkpoint_path=None,
    progress=None,
    should_stop=None,
    options=None,
) -> Result:
    """overfit() for a list of Source: the general models are trained with it."""
    begin = time.monotonic()
    module = graphs.load_module(graph)
    _check(module, sources, budget_seconds, steps)
    options = options or default_options(module)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = 1 if device == "cuda" else threads or len(os.sched_getaffinity(0))
    threads = min(threads, options.batch)
    before = torch.get_num_threads()
    if device == "cpu":  # one for each replica: cheaper than sharing each small operator
        torch.set_num_threads(1)
    try:
        trainer = Trainer(graph, sources, options, seed, threads, device, init)
        amount = ["seconds", budget_seconds] if steps is None else ["steps", steps]
        identity = _identity(graph, sources, options, seed, threads, init, amount)
        return _run(
            trainer,
            sources,
            identity,
            begin,
            budget_seconds,
            steps,
            checkpoint_path,
            progress,
            should_stop or (lambda: False),
        )
    finally:
        torch.set_num_threads(before)


def _run(
    trainer, sources, identity, begin, budget_seconds, steps, checkpoint_path, progress, should_stop
):
    state = _load(checkpoint_path, identity)
    spent = 0.0  # by the parts of this run before this one
    if state is not None:
        trainer.restore(state)
        spent = state["seconds"]
    if trainer.options.sharpness > 0:
        trainer.sampler.weigh()
    with torch.no_grad():
        clock = time.monotonic()
        start_psnr, bicubic = evaluate(trainer.module, trainer.pairs, sources, trainer.device)
        reserve = 2.5 * (time.monotonic() - clock) + 0.2  # for the evaluation at the end
    start = copy.deepcopy(trainer.module) if trainer.step == 0 else None
    saved = shown = time.monotonic()
    loss, psnr, finished = math.nan, math.nan, True
    smooth = None
    with concurrent.futures.ThreadPoolExecutor(len(trainer.rngs)) as pool:
        while True:
            now = time.monotonic()
            elapsed = spent + now - begin
            if budget_seconds is not None:
                fraction = elapsed / max(1e-3, budget_seconds - reserve)
            else:
                fraction = trainer.step / max(1, steps)
            if fraction >= 1:
                break
            if should_stop():
                finished = False
                break
            loss = trainer.advance(pool, fraction)
            if math.isfinite(loss):
                smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            if now - saved >= CHECKPOINT_SECONDS:
                saved = now
                psnr = evaluate(trainer.average, trainer.pairs[::4], sources, trainer.device)[0]
                if checkpoint_path is not None:
                    _save(checkpoint_path, identity, trainer, spent + time.monotonic() - begin)
            if progress is not None and now - shown >= PROGRESS_SECONDS:
                shown = now
                progress(min(1.0, fraction), math.nan if smooth is None else smooth, psnr)
    if not finished and checkpoint_path is not None:
        _save(checkpoint_path, identity, trainer, spent + time.monotonic() - begin)
    best, name, best_psnr = start, "init", start_psnr if start is not None else -math.inf
    for candidate, kind in ((trainer.module, "raw"), (trainer.average, "ema")):
        candidate = copy.deepcopy(candidate)
        graphs.round_parameters(candidate)
        value = evaluate(candidate, trainer.pairs, sources, trainer.device)[0]
        if best is None or value > best_psnr:  # false for NaN
            best, name, best_psnr = candidate, kind, value
    graphs.round_parameters(best)
    if progress is not None and finished:
        progress(1.0, math.nan if smooth is None else smooth, best_psnr)
    return Result(
        best.to("cpu"),
        best_psnr > bicubic,
        finished,
        name,
        best_psnr,
        bicubic,
        trainer.step,
        spent + time.monotonic() - begin,
    )
