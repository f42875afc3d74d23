# SPDX-License-Identifier: BSD-2-Clause
"""From a trained network to its int8 form: which layers get groups, which tensors 16 bits, how
coarse the codes of its weights are, and the training that follows with the same arithmetic
(fake.Module)."""

import dataclasses
import math

import safetensors.torch
import torch
import torch.nn.functional as F

from . import compact, fake, models, quant, steps, train
from .colour import to_tensor

FRAMES = 6       # looked at to choose the tensors of 16 bits and codes
WORK = 6e9       # multiply-accumulates of one look at all of them; dear networks see parts
ERROR_WORK = 4 * WORK  # of the look at what codes can make up for: it must be of all kinds of places
# What 16 bits must win: so many dB, as both halves of a stream are written and read (one to four
# per cent of wdsr2's time), and so many for each doubling of a path's multiply-accumulates (the
# fractions of a layer's input are a second sum, as dear as the first). Layers that read few channels
# do not go by Winograd: theirs are so many times as dear.
LEAST_GAIN = 0.005
GAIN_FOR_COST = 0.3
FEW, DEAR = 5, 3
# A parameter byte is worth what a video byte is: one per cent more of these would take so many per
# cent from the squared error of what viewers see (measured: docs/training.md).
WORTH = 0.5
# Of the squared error that rounding alone would add, what is left where codes make up for it, about.
LEFT = 1 / 3
# What parameters weigh of their size in f16, unless they lose too much: 40 %, less what training in
# int8 may add.
SMALL = 0.397
# dB that codes may lose, or MORE_LOSS more than the finest ones lose.
MOST_LOSS = 0.015
MORE_LOSS = 0.003
APART = (0.618, 0.755)  # from part to part, of the room that a frame leaves
PLACES = 20000      # of a sample, about, at which a layer's input is looked at
PROBES = 2         # random directions for each sample in which the weights' power is looked at
SILENT = 1e-4      # of the mean power: what weights have that change nothing in these samples
RATE = 0.05        # of the training in int8, for f32's 1


@dataclasses.dataclass
class Plan:
    """How a network becomes int8, before any of it learns."""

    ranges: dict   # {tensor: (low, high)}
    groups: dict   # {convolution: quant.groups_of()}
    wide: list     # tensors of 16 bits
    tried: dict    # {tensor: dB that 16 bits win there}
    power: dict | None = None  # {convolution: power()}, None: all codes to 127
    grain: float = 0.0         # quant.scales()
    weighed: list = dataclasses.field(default_factory=list)  # choose_grain()
    passes: dict | None = None  # errors(), None: each weight gets the nearest code

    def module(self, module):
        ranges, source = self.ranges, module.graph["input"]
        if source in self.wide:  # that of the samples, where no other is stated
            ranges = {source: (-module.mean, 1.0 - module.mean), **ranges}
        made = fake.Module(module, ranges, self.wide, {
            name: quant.scales(conv.weight.detach(), self.groups[name],
                               self.power and self.power[name], self.grain)
            for name, conv in module.convolutions.items()})
        if self.passes is not None:
            made.compensate(self.passes)
        return made


def candidates(module) -> list[str]:
    """Tensors whose 16 bits something would read, in order."""
    found = {}
    for program in (steps.Program(models.path(module.graph, p)) for p in range(module.paths)):
        for tensor in (module.graph["input"], *(step.output for step in program.steps)):
            if program.may_be_wide(tensor):
                found[tensor] = None
    return list(found)


def extra_cost(module, tensor) -> float:
    """Multiply-accumulates that 16 bits of `tensor` add, as dear ones as the others are, for one of
    the dearest path that reads them."""
    worst = 0.0
    for p in range(module.paths):
        program = steps.Program(models.path(module.graph, p))
        readers = [step.node["name"] for step in program.fine_readers(tensor)
                   if step.is_conv and tensor in step.node["inputs"]]
        added = sum(module.macs(name) * (
            DEAR if module.convolutions[name].weight.shape[1] <= FEW else 1) for name in readers)
        worst = max(worst, added / max(1, module.macs_of_path[p]))
    return worst


def samples(module, source, work=WORK):
    """Pairs of (low-resolution tensor, original) of a few frames, or of parts of them that lie here
    and there."""
    count = min(FRAMES, len(source.lr))
    pixels = work / max(1, module.macs_per_pixel) / count
    h, w = source.lr.height, source.lr.width
    part = min(1.0, math.sqrt(pixels / (h * w)))
    high, wide = (max(16, int(n * part) & ~1) for n in (h, w))
    high, wide = min(high, h & ~1), min(wide, w & ~1)
    s, pairs = module.scale, []
    for i in range(count):
        down, along = ((i + 0.5) * step % 1 for step in APART)
        top, left = int((h - high) * down) & ~1, int((w - wide) * along) & ~1
        index = int((i + 0.5) * len(source.lr) / count)
        x, t = (to_tensor(frames, index, module.colour, source.colour)[None]
                for frames in (source.lr, source.hr))
        k = 2 if module.colour == "yuv420" else 1
        x = x[..., top // k:(top + high) // k, left // k:(left + wide) // k]
        y = t[..., top * s // k:(top + high) * s // k, left * s // k:(left + wide) * s // k]
        pairs.append((x, y))
    return pairs


@torch.no_grad()
def _outputs(module, pairs, paths):
    return [module.forward_paths(x, paths) for x, _ in pairs]


def _mean_square(first, second):
    """For each path, over all samples."""
    return [
        sum(float((a[i][..., :b[i].shape[2], :b[i].shape[3]] - b[i]).square().mean())
            for a, b in zip(first, second)) / len(first)
        for i in range(len(first[0]))
    ]


def _exact(module, pairs, paths):
    """What f32 gives, and the squared error that it leaves, of each path."""
    exact = _outputs(module, pairs, paths)
    return exact, _mean_square(exact, [[t[..., :y.shape[2], :y.shape[3]] for y in outputs]
                                       for (_, t), outputs in zip(pairs, exact)])


def choose_wide(module, made, pairs) -> tuple[list[str], dict]:
    """(tensors that get 16 bits, dB that each candidate wins): with all of them, and with all but
    one; none where 8 bits lose less than they would have to win. The error against f32 adds to
    the error that f32 leaves; a path's gain is that of the sum, and the best path counts."""
    needs = {name: LEAST_GAIN + GAIN_FOR_COST * extra_cost(module, name)
             for name in candidates(module)}
    names = list(needs)
    paths = [p for p in range(module.paths) if module.macs_of_path[p]]
    if not names or not paths:
        return [], {}
    exact, left = _exact(module, pairs, paths)

    def error(wide):
        coded = dataclasses.replace(made, wide=wide).module(module)
        coded.settle()
        return _mean_square(exact, _outputs(coded, pairs, paths))

    def won(more, less):
        return max([10 * math.log10((rest + a) / (rest + b))
                    for rest, a, b in zip(left, more, less) if rest + b > 0], default=0.0)
    lost = won(error([]), [0.0] * len(paths))
    names = [name for name in names if lost >= needs[name]]
    if not names:
        return [], {}
    best = error(names)
    gains = {name: won(error([other for other in names if other != name]), best)
             for name in names}
    wide = [name for name in names if gains[name] >= needs[name]]
    return wide, {name: round(gain, 5) for name, gain in gains.items()}


def parameter_bytes(made) -> int:
    """What the parameters of a settled module weigh in a package."""
    return len(compact.pack(safetensors.torch.save(quant.file_tensors(made))))


def f16_bytes(module) -> int:
    """The size of its parameters as a safetensors file of f16."""
    return len(safetensors.torch.save({name: value.detach().cpu().half().contiguous()
                                       for name, value in module.named_tensors().items()}))


@torch.no_grad()
def errors(module, pairs) -> dict:
    """{convolution: fake.passing()} by what it reads, over all places of the samples, or every so
    many, and all paths."""
    found, hooks = {}, []
    for name, conv in module.convolutions.items():
        def note(conv, inputs, name=name):
            columns = F.unfold(inputs[0], conv.weight.shape[2:], padding=conv.padding)
            columns = columns[:, :, ::max(1, columns.shape[2] // PLACES)].double()
            product = (columns @ columns.mT).sum(0)
            found[name] = found.get(name, 0.0) + product
        hooks.append(conv.register_forward_pre_hook(note))
    try:
        for x, _ in pairs:
            module.forward_paths(x, range(module.paths))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: fake.passing(moments) for name, moments in found.items()}


def power(module, pairs) -> dict:
    """{convolution: like its weight}: what noise of variance 1 on each weight adds to the squared
    error, as a share of what f32 leaves, mean of the paths. The sum of squared derivatives of all
    samples of the output: the square of the derivative of their sum under random signs, on
    average."""
    paths = [p for p in range(module.paths) if module.macs_of_path[p]]
    left = _exact(module, pairs, paths)[1]
    weights = [conv.weight for conv in module.convolutions.values()]
    found = [torch.zeros_like(weight) for weight in weights]
    rng = torch.Generator().manual_seed(0)
    for x, _ in pairs:
        for path, rest in zip(paths, left):
            y, = module.forward_paths(x, [path])
            for _ in range(PROBES):
                signs = torch.randint(0, 2, y.shape, generator=rng) * 2.0 - 1
                slopes = torch.autograd.grad(y, weights, signs, retain_graph=True,
                                             allow_unused=True)
                scale = PROBES * len(pairs) * len(paths) * max(rest, 1e-12) * y.numel()
                for total, slope in zip(found, slopes):
                    if slope is not None:
                        total.add_(slope.square() / scale)
    mean = sum(float(f.sum()) for f in found) / sum(f.numel() for f in found)
    return {name: total.clamp_min(max(SILENT * mean, 1e-30))
            for name, total in zip(module.convolutions, found)}


def finest_small(module, settled) -> float:
    """The finest grain with which the parameters are SMALL; 0 where they never are."""
    most = SMALL * f16_bytes(module)

    def small(grain):
        return parameter_bytes(settled(grain)) <= most
    fine, coarse = 1e-6, 1.0
    if not small(coarse):
        return 0.0
    while coarse > 1.002 * fine:
        middle = math.sqrt(fine * coarse)
        fine, coarse = (fine, middle) if small(middle) else (middle, coarse)
    return coarse


def choose_grain(module, settled, pairs, video_bytes) -> tuple[float, list]:
    """(grain, what those that were tried give: bytes, and dB lost against f32). The search begins
    where finer codes would take as large a share from the squared error as they would add to the
    video's bytes, times WORTH, or where the parameters become SMALL, and goes on by half a bit of
    each weight while too much is lost, and then back as far as little enough is.
    settled(grain): the module."""
    paths = [p for p in range(module.paths) if module.macs_of_path[p]]
    exact, rest = _exact(module, pairs, paths)
    weighed = []

    def loss(grain):
        coded = settled(grain)
        added = _mean_square(exact, _outputs(coded, pairs, paths))
        share = sum(a / max(r, 1e-12) for a, r in zip(added, rest)) / len(paths)
        weighed.append({"grain": grain, "bytes": parameter_bytes(coded),
                        "loss_db": round(10 * math.log10(1 + share), 5)})
        return weighed[-1]["loss_db"]
    most = max(MOST_LOSS, loss(0.0) + MORE_LOSS)
    # Each weight adds LEFT * grain^2 / 12 to the error and -log2(grain) / 8 to the bytes.
    worth = math.sqrt(0.75 / math.log(2) * WORTH / (LEFT * video_bytes))
    small = finest_small(module, settled)
    grain = coarse = max(worth, small)
    while loss(grain) > most:
        finer, coarse = grain / math.sqrt(2), grain
        grain = small if finer < small < grain else finer
    while coarse > 1.02 * grain:
        middle = math.sqrt(grain * coarse)
        grain, coarse = (middle, coarse) if loss(middle) <= most else (grain, middle)
    weighed.sort(key=lambda line: line["grain"] == grain)  # that which is taken comes last
    return grain, weighed


def plan(module, found, rules, source=None, sixteen=True, video_bytes=None) -> Plan:
    """`found`: ranges.collect(); source: frames to choose codes by, None: each weight's is the
    nearest; sixteen: some tensors may have 16 bits; video_bytes: as choose_grain(), None: codes to
    127."""
    groups = {
        name: quant.groups_of(conv.weight.detach(), rules)
        for name, conv in module.convolutions.items()
    }
    made = Plan(found, groups, [], {})
    if source is None:
        return made
    pairs = samples(module, source)
    made.passes = errors(module, samples(module, source, ERROR_WORK))
    if sixteen:
        made.wide, made.tried = choose_wide(module, made, pairs)
    if video_bytes is not None:
        made.power = power(module, pairs)

        def settled(grain):
            coded = dataclasses.replace(made, grain=grain).module(module)
            coded.settle()
            return coded
        made.grain, made.weighed = choose_grain(module, settled, pairs, video_bytes)
    return made


def default_options(module):
    """The learning of weights that are nearly there, and of scales and ranges."""
    options = train.default_options(module)
    options.rate *= RATE
    options.warmup = 0.05
    options.average = 0.99
    options.bf16 = False  # codes are exact in f32 alone
    options.looks, options.looked = 1, 4  # dear in int8's arithmetic; not much moves any more
    return options


def tune(made, source, *, options=None, **more) -> train.Result:
    """Trains a fake-quantised module further; gives back the better of what it was and what it
    became, judged on held-out whole frames, settled. The arguments are those of train.train()."""
    options = options or default_options(made)
    return train.train(made.graph, [source], module=made, options=options, **more)

