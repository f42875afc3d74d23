# SPDX-License-Identifier: BSD-2-Clause
"""Weights as int8 codes with scales for a layer, for each output channel, or for groups of input
channels; which layers need the groups; parameters of codes as a file (docs/format.md).

After Qin et al., "The Uniqueness of LLaMA3-70B with Per-Channel Quantization" (2024): one scale
for each channel nearly everywhere, finer groups in the few layers whose weights' distribution asks
for them. No data is needed to see which.
"""

import dataclasses
import math

import safetensors
import safetensors.torch
import torch

from .compact import RANGES

GRANULARITIES = ("tensor", "channel", "group", "mixed")
MAX_GROUPS = 64          # SRP_MAX_GROUPS
GREATEST = 127           # of all codes
LEAST = 8                # code of the greatest weight of a scale, however little it matters
LARGEST_BIAS = 2.0**29   # |bias| in units of input scale * weight scale
TIE = 1 + 2.0**-20       # what keeps a coarsened channel below it after rounding
NEAR, FIRM = 3, 31       # octaves between groups that cost no time; code for which that is enough
MOST_SHIFT = 8           # groups have one sum if their scales are at most so many octaves apart
LARGEST_JOINED = 2.0**24  # and their sum stays below this


@dataclasses.dataclass(frozen=True)
class Rules:
    """When a layer is given groups, and which."""

    granularity: str = "mixed"
    width: int = 16        # input channels of a group, at most
    zeros: float = 0.10    # flagged: a greater share of weights rounds to zero ...
    sqnr: float = 25.0     # ... or the columns (below) keep less than so many dB


def widths(channels: int, most: int) -> list[int]:
    """Widths of groups to try, falling: divisors of `channels` that make 2 to 64 groups; none for a
    single channel."""
    return [g for g in range(min(most, channels // 2), 0, -1)
            if channels % g == 0 and channels // g <= MAX_GROUPS]


def _blocks(values, groups):
    """[out][groups][values under one scale]; groups 0: [1][1][all]."""
    return values.reshape(len(values) if groups else 1, groups or 1, -1)


def scales(weight, groups=1, power=None, grain=0.0):
    """[out][groups] ([1][1] with groups 0): the greatest weight is code GREATEST; 1 where all are
    zero. With `power`, like the weight, what noise of variance 1 on each weight adds to the squared
    error, scales are coarser where that is little: rounding adds grain^2 / 12 for each weight, the
    mean of those under a scale, as far as GREATEST and LEAST allow. Those of a channel's groups are
    powers of two of each other, so that the engine needs one sum (docs/arithmetic.md): the greatest
    is as above, others the nearest to that which GREATEST and LEAST allow, and at most NEAR octaves
    below it if so the greatest weight of each group keeps a code of FIRM."""
    most = _blocks(weight.abs(), groups).amax(2)
    scale = most / GREATEST
    if power is not None:
        wanted = grain / _blocks(power, groups).mean(2).sqrt()
        scale = wanted.clamp(scale, most / LEAST)
    if groups > 1:
        scale = _octaves(scale, most)
    return torch.where(most.amax(1, keepdim=True) > 0, scale, torch.ones_like(most))


def _octaves(scale, most):
    """The greatest of each row, and its halves, quarters...: see scales()."""
    top = scale.amax(1, keepdim=True)
    finest = torch.floor(torch.log2(top * GREATEST / most) + 1e-5)  # of rounding
    coarsest = torch.ceil(torch.log2(top * LEAST / most) - 1e-5)
    down = torch.log2(top / scale).round().clamp(coarsest, finest)
    if (torch.log2(top * FIRM / most)[most > 0] <= NEAR).all():
        down = down.clamp_max(NEAR)
    down = torch.where(most > 0, down, torch.zeros_like(down))
    return torch.ldexp(top.expand_as(down), -down.int())


def joined(code, scale, input_scale, zero, bias):
    """Codes [out][in][ky][kx] and scales [out][1] of one sum, both double, where the engine has one
    for the groups of a layer; None where it adds up several."""
    scale = scale.double()
    least = scale.amin(1, keepdim=True)
    mantissa, exponent = torch.frexp(scale / least)
    if (mantissa != 0.5).any() or int(exponent.max()) > MOST_SHIFT + 1:
        return None
    whole = code.double() * spread(scale / least, code)
    offset = bias.double() / (input_scale * least[:, 0]) - zero * whole.sum((1, 2, 3))
    above = 255 * whole.clamp_min(0).sum((1, 2, 3))
    below = 255 * whole.clamp_max(0).sum((1, 2, 3))
    sums = torch.stack([above, below, offset.round() + above, offset.round() + below])
    return (whole, least) if float(sums.abs().max()) < LARGEST_JOINED else None


def spread(scale, weight):
    """The scale of each weight, in a shape that goes with the weight's."""
    groups = scale.shape[1]
    return scale.repeat_interleave(weight.shape[1] // groups, 1)[:, :, None, None]


def codes(weight, scale):
    return torch.round(weight / spread(scale, weight)).clamp(-GREATEST, GREATEST)


@dataclasses.dataclass
class Layer:
    """What a choice of scales does to a layer's weights."""

    zeros: float    # share of weights that are not zero and whose code is
    sqnr: float     # dB: sum of squares of the weights over that of their errors
    columns: float  # dB: the same, each input channel's weights brought to equal power first


def measure(weight, scale) -> Layer:
    """`columns` is what an input channel keeps if each of them matters alike, which is what one
    that others dwarf does to it: plain SQNR does not see that."""
    code, there = codes(weight, scale), weight != 0
    noise = (code * spread(scale, weight) - weight).double().square()
    weight64 = weight.double().square()
    lost = int(((code == 0) & there).sum())
    power, error = weight64.sum((0, 2, 3)), noise.sum((0, 2, 3))
    live = power > 0
    share = float((error[live] / power[live]).mean()) if live.any() else 0.0
    return Layer(lost / max(1, int(there.sum())),
                 _decibel(power.sum() / error.sum().clamp_min(1e-99)), _decibel(1 / share if share > 0 else math.inf))


def _decibel(ratio):
    ratio = float(ratio)
    return min(200.0, 10 * math.log10(ratio)) if ratio > 0 else 200.0


def flagged(found: Layer, rules: Rules) -> bool:
    return found.zeros > rules.zeros or found.columns < rules.sqnr


def groups_of(weight, rules: Rules) -> int:
    """Groups of a layer; 1: a scale for each output channel, 0: one for the layer. Mixed: those of
    the widest groups with which the layer is not flagged; where it always is, the narrowest that
    still repair something."""
    if rules.granularity in ("tensor", "channel"):
        return int(rules.granularity == "channel")
    channels = weight.shape[1]
    able = [channels // width for width in widths(channels, rules.width)]
    if rules.granularity == "group":
        return able[0] if able else 1
    before = measure(weight, scales(weight))
    if not flagged(before, rules):
        return 1
    best = 1
    for groups in able:
        found = measure(weight, scales(weight, groups))
        if not flagged(found, rules):
            return groups
        if found.columns > before.columns + 1:
            best, before = groups, found
    return best


def f16_or_bf16(scale):
    """Scales rounded up to two bytes: f16 where that is exact enough, else bf16. A scale that is up
    to 2^-8 coarser costs its codes nothing."""
    smallest, greatest = float(scale.min()), float(scale.max())
    kind = torch.float16 if 2.0**-14 <= smallest and greatest < 32000 else torch.bfloat16
    near = scale.to(kind)
    up = torch.nextafter(near, torch.full_like(near, math.inf))
    return torch.where(near.float() < scale, up, near)


def least_scale(bias, input_scale):
    """[out]: what the bias's place in 32 bits asks of a channel's scale."""
    return bias.abs() * (TIE / (float(input_scale) * LARGEST_BIAS))


def is_extra(name: str) -> bool:
    """Whether a tensor of a parameter file is for int8 execution alone."""
    return name.rpartition(".")[2] in RANGES


def plain(tensors: dict) -> dict:
    """The parameters of a file as f32, codes as the weights that they stand for, without what is
    for int8 alone. ValueError for codes without scales and the reverse."""
    tensors = {name: value for name, value in tensors.items() if not is_extra(name)}
    found = {}
    for name, value in tensors.items():
        if name.endswith(".scale"):
            weight = tensors.get(name.removesuffix("scale") + "weight")
            if weight is None or weight.dtype != torch.int8:
                raise ValueError(f"{name} has no codes")
            continue
        if value.dtype == torch.int8:
            stem = name.removesuffix("weight")
            scale = tensors.get(f"{stem}scale")
            if stem == name or value.dim() != 4 or scale is None:
                raise ValueError(f"{name} is of codes without scales")
            scale = scale.float().reshape(scale.shape[0], -1)
            groups = scale.shape[1]
            if scale.shape[0] != value.shape[0] or groups == 0 or value.shape[1] % groups:
                raise ValueError(f"{name[:-6]}scale has shape {list(scale.shape)} for {name} of "
                                 f"{list(value.shape)}")
            value = value.float()
            value = value * spread(scale, value)
        found[name] = value.float()
    return found


def read(path) -> dict:
    """plain() of a file."""
    try:
        return plain(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def file_tensors(module) -> dict:
    """Tensors of the file of a fake-quantised module (fake.Module) that settle() has rounded."""
    tensors = {}
    for name, conv in module.convolutions.items():
        weight = conv.weight.detach().float().cpu()
        scale = module.weight_scale(name).detach().cpu()
        tensors[f"{name}.weight"] = codes(weight, scale).to(torch.int8).contiguous()
        tensors[f"{name}.bias"] = conv.bias.detach().cpu().half()
        if hasattr(conv, "slope"):
            tensors[f"{name}.slope"] = conv.slope.detach().cpu().half()
        scale = scale.expand(len(weight), -1)  # that of a layer: the same for all channels
        stored = f16_or_bf16(scale)
        tensors[f"{name}.scale"] = (stored[:, 0] if scale.shape[1] == 1 else stored).contiguous()
    for tensor, pair in module.stated_ranges().items():
        part = RANGES[2 * (tensor == module.graph["input"]) + (tensor in module.wide)]
        tensors[f"{tensor}.{part}"] = torch.tensor(pair, dtype=torch.float32)
    return tensors


def report(module) -> list[dict]:
    """Of each convolution of a settled fake-quantised module: what its weights were and are, and
    its bytes. Zero fraction and `channel` figures are those under a scale for each output channel
    and codes to 127, by which layers are flagged."""
    lines = []
    for name, conv in module.convolutions.items():
        weight, scale = module.latent[name].cpu(), module.weight_scale(name).detach().cpu()
        before, now = measure(weight, scales(weight)), measure(weight, scale)
        stored = conv.weight.shape[0] * scale.shape[1]
        lines.append({
            "layer": name,
            "granularity": module.granularity(name),
            "groups": scale.shape[1],
            "zero_fraction": round(before.zeros, 5),
            "sqnr_channel_db": round(before.sqnr, 2),
            "columns_channel_db": round(before.columns, 2),
            "sqnr_db": round(now.sqnr, 2),
            "bytes": conv.weight.numel() + 2 * (stored + conv.bias.numel()
                                                * (2 if hasattr(conv, "slope") else 1)),
        })
    return lines
