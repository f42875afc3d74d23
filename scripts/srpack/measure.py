# SPDX-License-Identifier: BSD-2-Clause
"""PSNR of enlarged frames in two ways side by side: of whole frames, nothing shaved, and as STDO
and Dy-DCA give it: patches of the grid, each shaved by scale + 4 pixels at every side, and minus
ten times the logarithm of the mean of the patches' mean squared errors. Luma and RGB, 8 bits.

Our patches are cut from whole enlarged frames, theirs are enlarged one by one with zeros around
them; shaving leaves hardly anything of that difference.
"""

import dataclasses
import math

import numpy as np
import torch
import torch.nn.functional as F

from . import patches
from .colour import SITINGS, Colour, chroma_to_444, rgb_to_yuv, to_tensor, yuv_to_rgb
from .graph import cubic

PEAK = 255.0


def lanczos(t):
    """Lanczos' kernel of three lobes at distance t."""
    t = abs(t)
    if t < 1e-9:
        return 1.0
    return 3 * math.sin(math.pi * t) * math.sin(math.pi * t / 3) / (math.pi * t) ** 2 * (t < 3)


def _stretch(x, scale, axis, cosited, kernel, radius):
    """Enlarges one axis, pixel centres aligned; a co-sited chroma sample lies on the first luma
    sample of its pair, so that its centre is a quarter of a chroma pixel in."""
    offset = 0.25 if cosited else 0.5
    x = x.movedim(axis, -1)
    n = x.shape[-1]
    padded = F.pad(x.reshape(1, -1, n), (radius, radius), mode="replicate")[0]
    phases = []
    for phase in range(scale):
        position = (phase + offset) / scale - offset
        taps = [kernel(position - k) for k in range(-radius, radius + 1)]
        total = sum(taps)
        phases.append(
            sum(tap / total * padded[:, k : k + n] for k, tap in enumerate(taps) if tap)
        )
    y = torch.stack(phases, -1).reshape(*x.shape[:-1], scale * n)
    return y.movedim(-1, axis)


def enlarge(x, scale, kernel=cubic, radius=3, cosited=(False, False)):
    """[..][h][w] -> [..][h*scale][w*scale]; cosited: in x, in y."""
    if scale == 1:
        return x
    return _stretch(_stretch(x, scale, -1, cosited[0], kernel, radius), scale, -2, cosited[1],
                    kernel, radius)


def codes(x):
    """0..1 -> 8-bit codes as float32 arrays."""
    return (x.clamp(0, 1) * PEAK).round().float().numpy()


@dataclasses.dataclass
class Figures:
    """Sums over frames; what they come to."""

    frame_y: float = 0.0  # mean squared errors of frames, summed
    frame_rgb: float = 0.0
    frames: int = 0
    patch_y: float = 0.0  # mean squared errors of patches, summed
    patch_rgb: float = 0.0
    patches: int = 0

    def psnr(self):
        """{name: dB}, capped at 100; None where there is nothing to say."""
        pairs = {
            "frame_y": (self.frame_y, self.frames),
            "frame_rgb": (self.frame_rgb, self.frames),
            "patch_y": (self.patch_y, self.patches),
            "patch_rgb": (self.patch_rgb, self.patches),
        }
        return {name: decibel(total, count) for name, (total, count) in pairs.items()}


def decibel(total, count):
    """PSNR of a sum of mean squared errors, capped at 100; None for no sample."""
    if count == 0:
        return None
    return 100.0 if total <= 0 else min(100.0, 10 * math.log10(PEAK**2 * count / total))


class Judge:
    """Compares enlarged frames of one clip with the originals."""

    def __init__(self, source, scale, cell=None, shown=None):
        lr, hr = source.lr, source.hr
        self.source, self.scale = source, scale
        self.colour = source.colour or Colour()
        self.cell = tuple(cell or patches.GRIDS[scale])
        self.width = min(lr.width * scale, hr.width, shown[0] if shown else hr.width)
        self.height = min(lr.height * scale, hr.height, shown[1] if shown else hr.height)
        self.spans = [
            patches.shaved_spans(n, c, shown_side, scale)
            for n, c, shown_side in (
                (lr.height, self.cell[1], self.height),
                (lr.width, self.cell[0], self.width),
            )
        ]
        self.has_chroma = lr.u is not None and hr.u is not None

    def truth(self, index):
        """Luma codes [h][w] and RGB codes [h][w][3] of an original frame."""
        y = self.source.hr.y[index][: self.height, : self.width].astype(np.float32)
        if not self.has_chroma:
            return y, np.repeat(y[..., None], 3, -1)
        rgb = to_tensor(self.source.hr, index, "rgb", self.colour)
        return y, codes(rgb)[:, : self.height, : self.width].transpose(1, 2, 0)

    def with_chroma(self, luma, index, kernel=cubic, radius=3):
        """RGB codes of luma codes [h][w] over the enlarged chroma of the low-resolution frame,
        which becomes 4:2:0 of 8 bits on the way, as a player of luma networks makes it."""
        if not self.has_chroma:
            return np.repeat(luma[..., None], 3, -1)
        lr, wide, high = self.source.lr, self.source.lr.width, self.source.lr.height
        planes = [
            enlarge(torch.from_numpy(p[index].astype(np.float32)), self.scale, kernel, radius,
                    SITINGS[self.colour.chroma]).round().clamp(0, 255)
            for p in (lr.u, lr.v)
        ]
        u, v = (
            chroma_to_444(p, self.colour, wide * self.scale, high * self.scale)[
                : self.height, : self.width
            ]
            for p in planes
        )
        return codes(yuv_to_rgb(torch.from_numpy(luma), u, v, self.colour)).transpose(1, 2, 0)

    def filtered(self, index, kernel=cubic, radius=3):
        """Luma and RGB codes of a frame enlarged by a filter."""
        y = enlarge(to_tensor(self.source.lr, index, "y"), self.scale, kernel, radius)
        luma = codes(y)[0, : self.height, : self.width]
        return luma, self.with_chroma(luma, index, kernel, radius)

    def made(self, module, index, choice=None):
        """Luma and RGB codes of a frame enlarged by a network: by its dearest path, or by paths
        [rows][columns], one for each cell."""
        x = to_tensor(self.source.lr, index, module.colour, self.colour)[None]
        with torch.no_grad():
            if choice is None:
                y = module(x, int(np.argmax(module.macs_of_path)))[0]
            else:
                wanted = sorted({int(p) for p in np.unique(choice)})
                outputs = module.forward_paths(x, wanted)
                rows = np.arange(x.shape[2] * self.scale) // (self.cell[1] * self.scale)
                columns = np.arange(x.shape[3] * self.scale) // (self.cell[0] * self.scale)
                which = torch.from_numpy(np.ascontiguousarray(choice[rows][:, columns]))
                y = torch.zeros_like(outputs[0][0])
                for path, output in zip(wanted, outputs):
                    y = torch.where(which == path, output[0], y)
        y = y[:, : self.height, : self.width]
        if module.colour == "y":
            luma = codes(y)[0]
            return luma, self.with_chroma(luma, index)
        rgb = y.clamp(0, 1)
        luma = rgb_to_yuv(rgb, self.colour)[0].round().clamp(0, 255).numpy()
        return luma, codes(rgb).transpose(1, 2, 0)

    def compare(self, figures, made, truth):
        """Adds one frame to the figures."""
        squares = [np.square(made[0] - truth[0]), np.square(made[1] - truth[1]).mean(-1)]
        figures.frame_y += float(squares[0].mean(dtype=np.float64))
        figures.frame_rgb += float(squares[1].mean(dtype=np.float64))
        figures.frames += 1
        for a, b in self.spans[0]:
            for c, d in self.spans[1]:
                if b > a and d > c:
                    figures.patch_y += float(squares[0][a:b, c:d].mean(dtype=np.float64))
                    figures.patch_rgb += float(squares[1][a:b, c:d].mean(dtype=np.float64))
                    figures.patches += 1

    def psnr(self, picture, numbers):
        """Figures.psnr() of picture(index) -> (luma, RGB) codes over frames."""
        figures = Figures()
        for index in numbers:
            self.compare(figures, picture(index), self.truth(index))
        return figures.psnr()
