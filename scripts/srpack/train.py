# SPDX-License-Identifier: BSD-2-Clause
"""Overfits one network to one video, or trains it on many.

The network learns from random patches of the decoded low-resolution frames (uint8 planes, memory
maps are fine) towards the same place of the original. All paths of a dynamic network learn in the
same run, the cheaper ones from patches of their own (cells.py). Each thread computes the gradient
of its own part of a batch with a replica of the module whose parameters share the master's memory;
parts are summed in a fixed order, so a run of a given number of steps is reproducible bit for
bit on a CPU for a seed and a number of threads. On CUDA (device.py) there is one replica.

Ideas from: Liu et al., "Overfitting the Data: Compact Neural Video Delivery" (CaFM, ICCV 2021)
and Li et al., STDO (CVPR 2023): overfit, and look more often where the error is; Vyas et al.,
"SOAP" (2024): Adam in the eigenbasis of Shampoo's preconditioner, cheap for nets this small.
"""

import concurrent.futures
import contextlib
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

from . import cells
from . import device as devices
from . import graph as graphs
from .colour import Colour, to_tensor
from .errors import one_line
from .optimiser import Soap
from .sampler import Sampler, Source

CHECKPOINT_SECONDS = 20.0
PROGRESS_SECONDS = 0.5
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
    policy: str = "joint"  # which patches are drawn how often: patches.weights()
    sharpness: float = 0.5  # of joint and weighted
    groups: int = 4  # by difficulty, of joint, group and subset
    group: int = 0  # which one, of group
    hold_out: bool = True  # the frames that judge the result are not trained on
    cheaper: float = 1.0  # of a dynamic network: weight of the cheaper paths' losses
    average: float = 0.998  # decay of the averaged weights, per step
    optimiser: str = "soap"  # soap, adam
    clip: float = 1.0  # largest gradient norm
    factors: float = 1.0  # rate of scales and ranges, of a fake-quantised network, for weights' 1
    bf16: bool = False  # convolutions in it, weights and their learning in f32; on a CPU
    stored: str = "f16"  # type of the parameters that are judged and given back: graph.DTYPES
    looks: int = 3  # of a dynamic network: how often in a run its cells are given out (cells.py)
    looked: int = 12  # and the frames of each source by which that is done


@dataclasses.dataclass
class Result:
    """What a training run gives back."""

    module: torch.nn.Module  # best weights found, rounded as stored; graph.export() writes it
    better: bool  # False: no better than bicubic on the held-out frames; do not ship it
    finished: bool  # False: stopped on request, resume from the checkpoint
    chosen: str  # "ema", "raw" or "init": which weights `module` holds
    psnr: float  # dB on the held-out frames (whole frames, 8-bit rounded, the graph's own
    # channels); of a dynamic network: of the dearest path everywhere
    psnr_bicubic: float
    steps: int
    seconds: float  # of training, all resumed parts together
    psnr_of_path: list  # the same for each path, of one everywhere
    psnr_start: list  # and of what training began with
    judged: list  # the (source, frame) pairs that all these are of


def _loss(kind, y, t, fraction):
    """Mean over everything."""
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


def _ease(y, t):
    """[n][1][1][1] for each patch how much the cheaper paths care for it: those that even the
    dearest path (its output y) gets wrong will be given to that one. 1 in the mean."""
    error = (y.detach() - t).square().mean((1, 2, 3), keepdim=True)
    middle = error.median()
    ease = (middle + 1e-9) / (middle + error + 1e-9)
    return ease / ease.mean()


def evaluate_paths(module, frames, sources, device="cpu", scored=None):
    """([PSNR of each path, of one everywhere], PSNR of bicubic): whole frames, clipped and
    rounded to 8 bits, mean squared error over all channels and the given (source, frame) pairs.
    scored(source number, frame): bool [h][w] of the original, the pixels that count."""
    errors, count = [0.0] * (module.paths + 1), 0
    for number, index in frames:
        source = sources[number]
        x = to_tensor(source.lr, index, module.colour, source.colour)[None].to(device)
        t = to_tensor(source.hr, index, module.colour, source.colour)[None].to(device)
        mask = scored(number, index) if scored is not None else None
        with torch.no_grad():
            outputs = module.forward_paths(x, range(module.paths))
            for i, y in enumerate((*outputs, graphs.resize(x, module.scale))):
                h, w = min(t.shape[2], y.shape[2]), min(t.shape[3], y.shape[3])
                y = (y[..., :h, :w].clamp(0, 1) * PEAK).round()
                squared = (y - t[..., :h, :w] * PEAK).square()
                if mask is None:
                    errors[i] += float(squared.mean(dtype=torch.float64))
                else:
                    squared = squared * torch.from_numpy(mask[:h, :w]).to(device)
                    errors[i] += float(squared.sum(dtype=torch.float64)) / module.channels
        count += 1 if mask is None else int(mask[:h, :w].sum())
    if count == 0 and frames:  # none of these frames holds such a pixel
        return evaluate_paths(module, frames, sources, device)
    psnr = [_psnr(e / max(1, count)) for e in errors]
    return psnr[:-1], psnr[-1]


def dearest(module):
    """The path that is best everywhere, cost aside."""
    return max(range(module.paths), key=lambda path: module.macs_of_path[path])


def evaluate(module, frames, sources, device="cpu"):
    """(PSNR, PSNR of bicubic) as evaluate_paths(), of the dearest path."""
    paths, bicubic = evaluate_paths(module, frames, sources, device)
    return paths[dearest(module)], bicubic


def _psnr(mse):
    return 10 * math.log10(PEAK * PEAK / mse) if mse > 0 else math.inf


def evaluation_frames(module, sources):
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
    """State of a run; everything that a checkpoint holds is in state(). begin: of this part of the
    run, by time.monotonic(); now by default."""

    def __init__(self, module, sources, options, seed, threads, device, begin=None):
        self.options, self.seed, self.device = options, seed, device
        self.begin, self.spent = time.monotonic() if begin is None else begin, 0.0
        self.module = module
        # On a CPU 1.2 to 1.5 times as fast; the values are the same functions of their places.
        self.layout = torch.channels_last if device == "cpu" else torch.contiguous_format
        self.module.to(device, memory_format=self.layout)
        self.sources = sources
        self.trained = [p for p in range(self.module.paths) if self.module.macs_of_path[p]]
        self.trained.sort(key=lambda path: self.module.macs_of_path[path])
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
        self.own_rngs = [np.random.default_rng([seed, i, 1]) for i in range(threads)]
        self.pairs, held = evaluation_frames(self.module, sources)
        held = held if options.hold_out else {}
        self.sampler = Sampler(sources, self.module.colour, self.module.scale, options, held)
        self.scored = None
        if options.policy == "group":
            self.labels = [source.statistics.labels(options.groups) for source in sources]
            self.scored = self.in_group
        self.sampler.weigh(seed)
        known = all(source.statistics is not None for source in sources)
        self.gives = known and options.policy != "group" and cells.can_be_given(self.module)
        self.given = []  # of each look and source the path of each cell of the judged frames
        self.samplers = {}  # of the cheaper paths then: their own patches
        self.refused = 0  # steps in a row whose gradient was not finite
        self.caution = 1.0  # factor of the rate, halved when training lost what it had gained
        with torch.no_grad():
            rng = np.random.default_rng([seed, len(self.rngs)])
            x, self.wanted, _ = self.sampler.draw(rng, 16)
            self.probe = x.to(device)
            base = graphs.resize(x, self.module.scale)
            self.bicubic = float((base - self.wanted).square().mean())
        self.best, self.safe = math.inf, self.copy()

    def seconds(self):
        """Of training so far, the parts before this one included. Waits for a device's work."""
        devices.synchronise(self.device)
        return self.spent + time.monotonic() - self.begin

    def part(self, number, fraction):
        """Gradient of one thread's part of the batch; returns its loss."""
        o = self.options
        count = o.batch // len(self.rngs) + (number < o.batch % len(self.rngs))
        if count == 0:
            return 0.0
        together = [self.trained[-1]] if self.samplers else self.trained
        outputs, t, weight = self.outputs(number, count, together, self.sampler, self.rngs[number])
        loss = _loss(o.loss, outputs[-1], t, fraction)
        if len(outputs) > 1:
            root = _ease(outputs[-1], t).sqrt()
            for y in outputs[:-1]:
                loss = loss + o.cheaper * _loss(o.loss, y * root, t * root, fraction)
        loss = loss * weight
        for path, sampler in self.samplers.items():
            (y,), t, weight = self.outputs(number, count, [path], sampler, self.own_rngs[number])
            loss = loss + o.cheaper * weight * _loss(o.loss, y, t, fraction)
        loss.backward()
        return float(loss.detach())

    def outputs(self, number, count, paths, sampler, rng):
        """(outputs of these paths, what is wanted, weight of its mean) of so many patches, without
        what the loss does not see."""
        o, s = self.options, self.module.scale
        x, t, edges = sampler.draw(rng, count)
        x = x.to(self.device, non_blocking=True, memory_format=self.layout)
        t = t.to(self.device, non_blocking=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=o.bf16 and self.device == "cpu"):
            outputs = self.replicas[number].forward_paths(x, paths)
        outputs = [y.float() for y in outputs]
        m, weight = o.margin * s, count / o.batch
        if m and min(t.shape[2:]) > 4 * m:
            if any(map(any, edges)):
                mask = _scored(edges, t.shape[2:], m).to(self.device)
                outputs, t = [y * mask for y in outputs], t * mask
                weight = weight * mask.numel() / float(mask.sum())
            else:
                outputs, t = [y[..., m:-m, m:-m] for y in outputs], t[..., m:-m, m:-m]
        return outputs, t, weight

    def give_cells(self):
        """Asks which path each cell is going to take; the cheaper paths then look at theirs."""
        o, macs = self.options, self.module.macs_of_path
        found = []
        for source in self.sources:
            known = source.statistics
            places = cells.looked_at(known, o.looked)
            squared = cells.errors(self.module, source, known.numbers[places], self.device, o.bf16)
            chosen = cells.choose(squared, macs, np.maximum(1, known.pixels()))
            nearest = np.abs(np.arange(len(known.numbers))[:, None] - places[None]).argmin(1)
            found.append(torch.from_numpy(chosen[nearest]))
        self.given.append(found)
        self.look_where_given()

    def look_where_given(self):
        for path in self.trained[:-1] if self.given else ():
            self.samplers[path] = copy.copy(self.sampler)
            self.samplers[path].weigh(
                self.seed, [cells.favours(found.numpy(), path) for found in self.given[-1]])

    def in_group(self, number, index):
        """The pixels of a frame that belong to the group that is trained."""
        found, s = self.sources[number].statistics, self.module.scale
        labels = self.labels[number][int(np.abs(found.numbers - index).argmin())]
        sides = [
            np.arange(n * s) // (c * s) for n, c in zip(found.size[::-1], found.cell[::-1])
        ]
        step = 2 if self.module.colour == "yuv420" else 1  # of its tensors, in luma samples
        return (labels == self.options.group)[sides[0]][:, sides[1]][::step, ::step]

    def judge(self, module, every=1):
        """([PSNR of each path], of bicubic) on every so many of the frames kept for it."""
        return evaluate_paths(
            module, self.pairs[::every], self.sources, self.device, self.scored
        )

    def spare(self, module, budget_seconds):
        """Judges by fewer frames where all of them would take most of a short budget: at the
        beginning and twice at the end, which leaves two thirds of it to learn in."""
        clock = self.seconds()
        self.judge(module, len(self.pairs))
        whole = 3 * len(self.pairs) * (self.seconds() - clock)
        every = math.ceil(whole / max(1e-3, budget_seconds / 3))
        self.pairs = self.pairs[::max(1, min(every, len(self.pairs)))]

    def mean(self, psnr_of_path):
        """What the weights are chosen by: the mean over the paths that learn."""
        return sum(psnr_of_path[path] for path in self.trained) / max(1, len(self.trained))

    def advance(self, pool, fraction):
        """One optimiser step at `fraction` of the run; returns the loss. FloatingPointError
        when the gradient is not finite ten times in a row."""
        o = self.options
        if self.gives and len(self.given) < o.looks and fraction * o.looks >= len(self.given):
            self.give_cells()
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
            group["lr"] = max(rate, o.rate * 1e-3) * group["times"]
        self.optimiser.step()
        keep = min(o.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), self.parameters, 1 - keep)
        if self.step % PROBE_STEPS == 0:
            self.look()
        return sum(losses)

    def new_optimiser(self):
        factors = {id(p) for p in self.module.learnt_factors()}
        parts = [{"params": [p for p in self.parameters if id(p) not in factors], "times": 1.0}]
        if factors:
            learnt = [p for p in self.parameters if id(p) in factors]
            parts.append({"params": learnt, "times": self.options.factors})
        if self.options.optimiser == "soap":
            return Soap(parts, self.options.rate)
        return torch.optim.Adam(parts, self.options.rate, betas=(0.9, 0.99))

    def copy(self):
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def look(self):
        """Goes back to the best weights seen, at half the rate, when nearly all of the gain over
        bicubic is lost: a step that kills all ReLUs gives finite numbers and is never repaired."""
        outputs = self.module.forward_paths(self.probe, self.trained)
        loss = sum(float((y.cpu() - self.wanted).square().mean()) for y in outputs)
        loss /= max(1, len(outputs))
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
            "given": self.given,
            "seconds": self.seconds(),
            "rngs": json.dumps([rng.bit_generator.state for rng in (*self.rngs, *self.own_rngs)]),
        }

    def restore(self, state):
        """Goes on from a state(), be it of another device and number of threads."""
        with torch.no_grad():
            for name, mine in self.module.named_parameters():
                mine.copy_(state["module"][name])  # in place: replicas share the memory
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.caution, self.best, self.safe = state["guard"]
        self.given = state["given"]
        self.look_where_given()
        self.spent = state["seconds"]
        saved = json.loads(state["rngs"])
        half = len(saved) // 2
        for mine, theirs in ((self.rngs, saved[:half]), (self.own_rngs, saved[half:])):
            for rng, one in zip(mine, theirs):
                rng.bit_generator.state = one


def _identity(module, sources, options, seed, threads, amount, device):
    """Hash of all that decides a run, so that a checkpoint is only continued by the run that
    wrote it. `module`: where it begins."""
    digest = hashlib.sha256()
    parts = [module.graph, module.description(), dataclasses.asdict(options), seed, threads, amount]
    if device != "cpu":
        parts.append(device)
    digest.update(json.dumps(parts, sort_keys=True).encode())
    for value in module.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    for source in sources:
        digest.update(
            repr((source.lr.y.shape, source.hr.y.shape, source.colour, source.share)).encode()
        )
        if source.statistics is not None:
            digest.update(source.statistics.error.tobytes())
        for frames in (source.lr, source.hr):
            digest.update(np.ascontiguousarray(frames.y[len(frames) // 2]).tobytes())
    return digest.hexdigest()


def _save(path, identity, trainer):
    data = io.BytesIO()
    torch.save({"identity": identity, **trainer.state()}, data)
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


def _rescued(trainer):
    """The state of a run whose device failed, on the CPU; None before its first step, or where it
    is lost with the device."""
    if trainer is None or trainer.step == 0:
        return None
    data = io.BytesIO()
    try:
        torch.save(trainer.state(), data)
    except RuntimeError:
        return None
    data.seek(0)
    return torch.load(data, map_location="cpu", weights_only=True)


def _has_bf16():
    """Whether the CPU multiplies bf16: without, it takes ten times as long."""
    find = getattr(torch.cpu, "get_capabilities", dict)
    return bool(find().get("avx512_bf16"))


def default_options(module):
    """Smaller batches for dear networks: many steps matter more than many pixels per step. They
    are also those that bf16 speeds up."""
    options = Options()
    if module.macs_per_pixel > 50000:
        options.batch = 8
        options.rate = 4e-3 if module.macs_per_pixel < 500000 else 2e-3
        options.bf16 = _has_bf16()
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
    statistics=None,
) -> Result:
    """Trains `graph` (dict or path of docs/format.md) so that it maps the frames `lr` to the
    frames `hr`.

    lr, hr: colour.Frames (uint8 planes, may be memory maps) of equal length; hr is at most scale
    times lr.
    budget_seconds (wall clock, evaluation included) or steps (bit-reproducible on the CPU for
    equal seed and threads) is given; of both, what comes first ends the run. init: safetensors to
    start from. threads: 0 = one per core.
    checkpoint_path: written every 20 s, atomically, and read when it exists and belongs to the
    same run.
    progress(fraction 0..1, loss, psnr): about twice a second; psnr is NaN until it is known.
    should_stop(): polled each step; True saves the checkpoint and returns with finished=False.
    colour: colour.Colour of the video; needed by rgb graphs alone.
    statistics: patches.Statistics of these frames, which the policy of the options reads.
    Raises ValueError (frames that do not fit the graph, weights to start from beyond the range of
    options.stored), FloatingPointError (diverged beyond repair). Runs on CUDA where that works
    (device.py), by one replica; where it fails on the way, the CPU does the rest, which is said on
    stderr.
    """
    return train(
        graph,
        [Source(lr, hr, colour, statistics=statistics)],
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
    if budget_seconds is None and steps is None:
        raise ValueError("give budget_seconds or steps")
    if not any(module.macs_of_path):
        raise ValueError(f"graph {module.graph['name']}: nothing to train")
    for source in sources:
        lr, hr, s = source.lr, source.hr, module.scale
        found = source.statistics
        if found is not None and (found.size, found.scale) != ((lr.width, lr.height), s):
            raise ValueError(f"patch statistics of {found.size[0]}x{found.size[1]} at scale "
                             f"{found.scale} for {lr.width}x{lr.height} at scale {s}")
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
    keep_checkpoint=False,
    module=None,
) -> Result:
    """overfit() for a list of Source: the general models are trained with it. keep_checkpoint:
    the state at the end is written too, so that the same call gives the same result at once.
    module: what is trained, in place of a new one of the graph (fake.Module)."""
    begin = time.monotonic()
    if module is None:
        module = graphs.load_module(graph)
        graphs.initialise(module, seed)
        if init is not None:
            graphs.load_parameters(module, init)
    _check(module, sources, budget_seconds, steps)
    options = options or default_options(module)
    if init is not None:
        graphs.check_range(module, options.stored)
    device, state = devices.choose(), None
    amount = [budget_seconds, steps]
    count = _replicas(device, threads, options)
    identity = _identity(module, sources, options, seed, count, amount, device)
    while True:
        trainer = None
        try:
            with _thread_for_each_replica(device), devices.exact(device):
                # Where CUDA fails the CPU begins with the module as it was.
                mine = copy.deepcopy(module) if device == "cuda" else module
                count = _replicas(device, threads, options)
                trainer = Trainer(mine, sources, options, seed, count, device, begin)
                return _run(
                    trainer,
                    identity,
                    state,
                    budget_seconds,
                    steps,
                    checkpoint_path,
                    progress,
                    should_stop or (lambda: False),
                    keep_checkpoint,
                )
        except RuntimeError as error:
            if not devices.failed(error, device):
                raise
            devices.note(f"CUDA failed, training goes on on the CPU: {one_line(error)}")
        device, state = "cpu", _rescued(trainer)
        begin = begin if state is None else time.monotonic()


def _replicas(device, threads, options):
    """How many compute a batch: one for each thread of a CPU, 0: for each core."""
    wanted = 1 if device == "cuda" else threads or len(os.sched_getaffinity(0))
    return min(wanted, options.batch)


@contextlib.contextmanager
def _thread_for_each_replica(device):
    """Cheaper than sharing each small operator."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(
    trainer, identity, state, budget_seconds, steps, checkpoint_path, progress, should_stop, keep
):
    start, stored = copy.deepcopy(trainer.module), trainer.options.stored
    graphs.round_parameters(start, stored)
    if trainer.device == "cuda":
        trainer.judge(start, len(trainer.pairs))  # loads kernels, which the reserve must not count
    if budget_seconds is not None:
        trainer.spare(start, budget_seconds)
    clock = trainer.seconds()
    start_psnr, bicubic = trainer.judge(start)
    reserve = 2.5 * (trainer.seconds() - clock) + 0.2  # for the evaluation at the end
    state = state or _load(checkpoint_path, identity)
    if state is not None:
        trainer.restore(state)
    saved = shown = time.monotonic()
    loss, psnr, finished = math.nan, math.nan, True
    smooth = None
    with concurrent.futures.ThreadPoolExecutor(len(trainer.rngs)) as pool:
        while True:
            elapsed, now = trainer.seconds(), time.monotonic()
            if budget_seconds is not None:
                fraction = elapsed / max(1e-3, budget_seconds - reserve)
            if steps is not None:
                done = trainer.step / max(1, steps)
                fraction = done if budget_seconds is None else max(fraction, done)
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
                psnr = trainer.judge(trainer.average, 4)[0][trainer.trained[-1]]
                if checkpoint_path is not None:
                    _save(checkpoint_path, identity, trainer)
            if progress is not None and now - shown >= PROGRESS_SECONDS:
                shown = now
                progress(min(1.0, fraction), math.nan if smooth is None else smooth, psnr)
    if (keep or not finished) and checkpoint_path is not None:
        _save(checkpoint_path, identity, trainer)
    best, name, best_psnr = start, "init", start_psnr
    for candidate, kind in ((trainer.module, "raw"), (trainer.average, "ema")):
        candidate = copy.deepcopy(candidate)
        graphs.round_parameters(candidate, stored)
        try:
            graphs.check_range(candidate, stored)
        except ValueError:  # no file holds it, well as it may look where values are clipped
            continue
        values = trainer.judge(candidate)[0]
        # The comparison is false for NaN.
        if trainer.mean(values) > trainer.mean(best_psnr):
            best, name, best_psnr = candidate, kind, values
    psnr = best_psnr[dearest(best)]
    if progress is not None and finished:
        progress(1.0, math.nan if smooth is None else smooth, psnr)
    return Result(
        best.to("cpu"),
        psnr > bicubic,
        finished,
        name,
        psnr,
        bicubic,
        trainer.step,
        trainer.seconds(),
        best_psnr,
        start_psnr,
        trainer.pairs,
    )
