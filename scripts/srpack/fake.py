# SPDX-License-Identifier: BSD-2-Clause
"""A graph as the engine computes it in int8 (docs/arithmetic.md), in PyTorch and differentiable.

Values are real numbers that lie where codes lie: of tensors, of weights, and of the fractions of
tensors of 16 bits; biases, padding and sums are those of the engine. Left out is the order in
which f32 rounds, so that now and then a value falls to the neighbouring code. Rounding passes gradients through; scales of weights and
ranges of tensors learn by them, each as the logarithm of a factor (Esser et al., "Learned Step
Size Quantization", ICLR 2020).
"""

import numpy as np
import torch
import torch.nn.functional as F

from . import graph as graphs
from . import models, quant
from .steps import CURVES, Program, kind

SMALLEST_SCALE = 2.0**-100
DAMP = 1e-5   # of the mean square, added to each: what never varies can make up for nothing
INSIDE = 0.4  # of a code: so near to its middle are weights that were moved to it
STEP = 0.51  # further from its code a value has saturated; 16 bits round their code up a little


class _Round(torch.autograd.Function):
    """Real values as those of their codes: of a tensor of 8 bits, or of one of 16 with or without
    the fractions. The gradient passes where nothing saturates; that of the scale is what rounding
    and saturation do to it."""

    @staticmethod
    def forward(ctx, v, scale, zero, wide, fractions):
        if wide:
            w = torch.addcmul(256 * zero + 128, v, 256 / scale)
            u = (w - 128) / 256
            w = w.round_().clamp_(0, 65535)
            q = w.sub_(128).div_(256) if fractions else w.div_(256).floor_()
        else:
            u = torch.addcmul(zero, v, 1 / scale)
            q = u.round().clamp_(0, 255)
        if any(ctx.needs_input_grad):
            by_scale = q - u
            inside = by_scale.abs() <= STEP
            by_scale = torch.where(inside, by_scale, q - zero)
            ctx.save_for_backward(inside, by_scale, scale)
        return (q - zero).mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        inside, by_scale, scale = ctx.saved_tensors
        passed = grad * inside
        by_zero = None
        if ctx.needs_input_grad[2]:
            by_zero = (scale * (passed.sum() - grad.sum())).reshape(())
        return passed, (grad * by_scale).sum().reshape(scale.shape), by_zero, None, None


def _straight(x):
    return x + (x.round() - x).detach()


def _weights(weight, scale):
    """Weights as codes times scales."""
    scale = quant.spread(scale, weight)
    limited = (weight / scale).clamp(-quant.GREATEST, quant.GREATEST)
    return _straight(limited) * scale


def passing(moments):
    """How the error of a rounded weight passes to those that are rounded after it, for
    _compensated(): (order, [all][all] upper triangle). moments: [all][all], double, mean products
    of the values that the weights of one output are multiplied by."""
    order = moments.diagonal().argsort(descending=True)
    ordered = moments[order][:, order]
    least = DAMP * ordered.diagonal().mean().clamp_min(1e-30)
    ordered = ordered + least * torch.eye(len(order), dtype=ordered.dtype, device=ordered.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
    return order, torch.linalg.cholesky(inverse, upper=True)


def _compensated(weight, scale, order, share):
    """Codes whose errors make up for each other in what the layer computes: one weight of each
    output after the other is rounded, and those that are still to come take over what its error
    does, as far as what they are multiplied by goes together (Frantar et al., "GPTQ: Accurate
    Post-Training Quantization", ICLR 2023). Where the picture is flat the sums are then right.
    In NumPy: the steps are many and small, and PyTorch's each take several times as long."""
    spread, left = (values.flatten(1).double()[:, order].cpu().numpy()
                    for values in (quant.spread(scale, weight).expand_as(weight), weight))
    share = share.cpu().numpy()
    codes = np.rint(left / spread)
    most = np.abs(codes).max()
    for i in range(len(order)):
        codes[:, i] = np.rint(left[:, i] / spread[:, i]).clip(-most, most)
        error = (left[:, i] - codes[:, i] * spread[:, i]) / share[i, i]
        left[:, i + 1:] -= error[:, None] * share[i, i + 1:]
    codes = torch.from_numpy(codes)[:, order.argsort().cpu()]
    return codes.reshape(weight.shape).to(weight)


class Module(graphs.GraphModule):
    """As graph.load_module()'s. `ranges`: {tensor: (low, high)}; `wide`: tensors of 16 bits, the
    input only if it has a range;
    `scales`: {convolution: quant.scales()}, None: one for each output channel. Weights are those
    of `module`."""

    def __init__(self, module, ranges, wide=(), scales=None):
        super().__init__(module.graph)
        with torch.no_grad():
            for mine, theirs in zip(self.parameters(), module.parameters(), strict=True):
                mine.copy_(theirs)
        self.wide = frozenset(wide)
        self.programs = [Program(models.path(self.graph, p)) for p in range(self.paths)]
        names = [self.graph["input"], *(n["output"] for n in self.order)]
        self.range_names = [name for name in names if name in ranges]
        self._range_place = {name: i for i, name in enumerate(self.range_names)}
        pairs = torch.tensor([ranges[t] for t in self.range_names]).reshape(-1, 2)
        self.register_buffer("range_base", pairs)
        self._lowest = [ranges[t][0] for t in self.range_names]
        self.range_steps = torch.nn.Parameter(torch.zeros(2 * len(self.range_names)))
        self._place = {name: i for i, name in enumerate(self.convolutions)}
        self.scale_steps = torch.nn.ParameterList()
        self.latent = {}  # weights before settle() made codes of them
        for i, (name, conv) in enumerate(self.convolutions.items()):
            base = quant.scales(conv.weight.detach()) if scales is None else scales[name]
            self.register_buffer(f"scale_base{i}", base.clone())
            # One factor for all groups of a channel: their ratios stay powers of two.
            self.scale_steps.append(torch.nn.Parameter(torch.zeros(len(base))))
        self._shared = self._shared_steps()

    def _apply(self, fn, recurse=True):
        """Moves `latent` too: it is no parameter, as a file and a checkpoint do without it."""
        super()._apply(fn, recurse)
        self.latent = {name: fn(value) for name, value in self.latent.items()}
        return self

    # ---- what is learnt ----

    def weight_scale(self, name):
        """[out][groups], or [1][1]."""
        i = self._place[name]
        base = getattr(self, f"scale_base{i}")
        return base * self.scale_steps[i][:, None].exp()

    def granularity(self, name):
        scale = getattr(self, f"scale_base{self._place[name]}")
        if scale.shape[1] > 1:
            return "group"
        single = scale.shape[0] == 1 and self.convolutions[name].weight.shape[0] > 1
        return "tensor" if single else "channel"

    def learnt_factors(self):
        """Parameters of scales and ranges; all others are the network's own."""
        return [self.range_steps, *self.scale_steps]

    def description(self):
        return [sorted(self.wide), self.range_names]

    def stated_ranges(self):
        """{tensor: (low, high)} as the file states them."""
        low_high = self._low_high().detach().cpu().tolist()
        return {name: tuple(pair) for name, pair in zip(self.range_names, low_high)}

    def _low_high(self):
        return self.range_base * self.range_steps.reshape(-1, 2).exp()

    def _falls(self, rows):
        return any(self._lowest[row] < 0 for row in rows)

    def _grid(self, pairs, rows):
        """(scale, zero) of the tensors whose ranges are these rows of `pairs`."""
        low = pairs[rows, 0].amin() if len(rows) > 1 else pairs[rows[0], 0]
        high = pairs[rows, 1].amax() if len(rows) > 1 else pairs[rows[0], 1]
        scale = ((high - low) / 255).clamp_min(SMALLEST_SCALE)
        # A tensor that never falls below zero keeps its zero.
        return scale, _straight(-low / scale) if self._falls(rows) else low.detach()

    def _input_grid(self, pairs):
        place = self._range_place.get(self.graph["input"])
        if place is None:  # the codes of the picture
            return pairs.new_tensor(1 / 255), pairs.new_tensor(255 * self.mean)
        return self._grid(pairs, [place])

    def _grids(self, program):
        """{tensor: (scale, zero)} of a path's codes."""
        pairs = self._low_high()
        written = {step.output for step in program.steps}
        made = {program.group_of[self.graph["input"]]: self._input_grid(pairs)}
        for group in map(program.group_of.get, sorted(program.codes)):
            if group not in made:
                made[group] = self._grid(pairs, [self._range_place[t]
                                                 for t in sorted(group & written)])
        return {tensor: made[program.group_of[tensor]] for tensor in program.codes}

    @torch.no_grad()
    def compensate(self, passes):
        """Chooses the codes of weights that have none yet; learning begins there. passes:
        {convolution: passing()}."""
        for i, (name, conv) in enumerate(self.convolutions.items()):
            base = getattr(self, f"scale_base{i}")
            base.copy_(quant.f16_or_bf16(base).float())  # as settle() would
            spread = quant.spread(base, conv.weight)
            codes = _compensated(conv.weight, base, *passes[name])
            near = torch.minimum(torch.maximum(conv.weight / spread, codes - INSIDE),
                                 codes + INSIDE)
            conv.weight.copy_(near * spread)

    @torch.no_grad()
    def settle(self):
        """Everything becomes what the file can hold: codes times scales, half precision. The module
        then computes what is shipped."""
        limits = {}
        for program in self.programs:
            grids = self._grids(program)
            for step in program.steps:
                if step.is_conv:
                    scale = float(grids[step.node["inputs"][0]][0])
                    name = step.node["name"]
                    limits[name] = min(scale, limits.get(name, scale))
        for i, (name, conv) in enumerate(self.convolutions.items()):
            self.latent[name] = conv.weight.detach().clone()
            conv.bias.copy_(conv.bias.half().float())
            if hasattr(conv, "slope"):
                conv.slope.copy_(conv.slope.half().float())
            least = quant.least_scale(conv.bias, limits[name])[:, None]
            base = getattr(self, f"scale_base{i}")
            scale = self.weight_scale(name)
            if scale.shape[1] > 1:  # by powers of two
                octaves = torch.log2(least / scale).ceil().clamp_min(0)
                scale = torch.ldexp(scale, octaves.int())
            else:
                scale = torch.maximum(scale, least.amax() if scale.shape[0] == 1 else least)
            base.copy_(quant.f16_or_bf16(scale.cpu()).float())
            self.scale_steps[i].zero_()
            spread = quant.spread(base, conv.weight)
            conv.weight.copy_(quant.codes(conv.weight, base) * spread)
        self.range_base.copy_(self._low_high())
        self.range_steps.zero_()

    # ---- running ----

    def _shared_steps(self):
        """For each path, for each step the key under which another path may find its value, or
        None: the same convolution of the same values to the same scale."""
        keys, counts = [], {}
        for program in self.programs:
            mine, here = {self.graph["input"]: ("input",)}, []
            for step in program.steps:
                code = step.output in program.codes
                key = (step.node["name"], step.output, code, program.group_of.get(step.output),
                       tuple(mine[t] for t in step.reads))
                mine[step.output] = hash(key)
                here.append(mine[step.output])
                counts[mine[step.output]] = counts.get(mine[step.output], 0) + 1
            keys.append(here)
        return [[key if counts[key] > 1 else None for key in here] for here in keys]

    @torch.no_grad()
    def _bias_error(self, step, program, weight, scale, grids):
        """What the bias gains when it becomes a whole number in units of the sum; a split sum and
        one that stays f32 get it back."""
        if step.output not in program.codes or kind(step.last) in CURVES:
            return 0.0
        bias = self.convolutions[step.node["name"]].bias.double()
        unit, zero = (value.double() for value in grids[step.node["inputs"][0]])
        code = (weight.double() / quant.spread(scale, weight)).round()
        if scale.shape[1] > 1:
            found = quant.joined(code, scale, unit, zero, bias)
            if found is None:
                return 0.0
            code, scale = found
        unit = unit * scale[:, 0].double()
        exact = bias / unit - zero * code.sum((1, 2, 3))
        return ((exact.round() - exact) * unit).float()

    def _convolve(self, step, program, x, grids):
        conv = self.convolutions[step.node["name"]]
        scale = self.weight_scale(step.node["name"])
        weight = _weights(conv.weight, scale)
        bias = conv.bias + self._bias_error(step, program, weight, scale, grids)
        frozen = step.node["inputs"][0] in program.frozen
        (py, px) = conv.padding
        zero = 255 * self.mean
        if (frozen and round(zero) != zero and self.graph["input"] not in self._range_place
                and (py or px)):
            # The nearest code to zero: the engine's padding (docs/arithmetic.md). round() is RNE.
            x = F.pad(x, (px, px, py, py), value=(round(zero) - zero) / 255)
            py = px = 0
        y = F.conv2d(x, weight, bias, padding=(py, px))
        return F.prelu(y, conv.slope) if hasattr(conv, "slope") else conv.activation(y)

    def _step(self, step, program, values, grids):
        """What the step gives before it becomes codes."""
        code = step.output in program.codes

        def take(tensor):
            coarse, fine = values[tensor]
            return fine if step.reads_fine(tensor, code) else coarse
        if not step.is_conv:
            index = self._index[step.node["name"]]
            return self._node(index, [take(t) for t in step.node["inputs"]])
        source = step.node["inputs"][0]
        x = values[source][0 if code else 1]
        y = self._convolve(step, program, x, grids)
        if step.total is not None:
            y = graphs.activation(step.total)(y + values[step.residual][1])
        return y

    def _codes(self, y, tensor, scale, zero):
        """(by its codes alone, by all 16 bits): what the tensor holds of real values."""
        wide = tensor in self.wide
        coarse = _Round.apply(y, scale, zero, wide, False)
        return coarse, _Round.apply(y, scale, zero, True, True) if wide else coarse

    def forward_paths(self, x, which):
        # RGB made of decoded planes may be neither whole nor within 0..255: its codes are.
        x = x - self.mean
        x = self._codes(x, self.graph["input"], *self._input_grid(self._low_high()))
        known, outputs = {}, []
        for path in which:
            program = self.programs[path]
            grids = self._grids(program)
            values = {self.graph["input"]: x}
            for step, done, key in zip(program.steps, program.done, self._shared[path]):
                value = known.get(key) if key is not None else None
                if value is None:
                    y = self._step(step, program, values, grids)
                    value = (y, y)
                    if step.output in program.codes:
                        value = self._codes(y, step.output, *grids[step.output])
                    if key is not None:
                        known[key] = value
                for tensor in done:
                    del values[tensor]
                values[step.output] = value
            outputs.append(values[program.graph["output"]][0])
        return [y + self.mean if self.mean else y for y in outputs]
