# SPDX-License-Identifier: BSD-2-Clause
"""4:2:0 video planes <-> network tensors; equal to the definition in docs/format.md and
srp/upscaler.h.

Tensors are float32 [channels][height][width] with a leading batch where said. R'G'B' is full
range, 0..1 for colours inside the gamut, neither clipped nor rounded on its way into the
network.
"""

import dataclasses
import os

import numpy as np
import torch
import torch.nn.functional as F

from .graph import phase_taps

COEFFICIENTS = {
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "bt2020": (0.2627, 0.0593),
}  # Kr, Kb
RANGES = ("limited", "full")
SITINGS = {
    "left": (True, False),
    "center": (False, False),
    "topleft": (True, True),
}  # co-sited in x, in y


@dataclasses.dataclass(frozen=True)
class Colour:
    """As in the manifest."""

    matrix: str = "bt709"  # bt709, bt601, bt2020 (non-constant luminance)
    range: str = "limited"  # limited, full
    chroma: str = "left"  # left, center, topleft

    def __post_init__(self):
        if (
            self.matrix not in COEFFICIENTS
            or self.range not in RANGES
            or self.chroma not in SITINGS
        ):
            raise ValueError(f"unknown colour {self.matrix}/{self.range}/{self.chroma}")


@dataclasses.dataclass
class Frames:
    """8-bit 4:2:0 frames: y [n][height][width], u and v [n][ceil(height/2)][ceil(width/2)] uint8
    or None."""

    y: np.ndarray
    u: np.ndarray | None = None
    v: np.ndarray | None = None

    def __len__(self):
        return self.y.shape[0]

    @property
    def height(self):
        return self.y.shape[1]

    @property
    def width(self):
        return self.y.shape[2]


def frames_from_raw(path, width: int, height: int) -> Frames:
    """Maps a yuv420p rawvideo file (ffmpeg -f rawvideo) without reading it. ValueError when its
    size is not a whole number of frames."""
    cw, ch = (width + 1) // 2, (height + 1) // 2
    luma, chroma = width * height, cw * ch
    size = os.path.getsize(path)
    if size == 0 or size % (luma + 2 * chroma):
        raise ValueError(f"{path}: {size} bytes are not whole {width}x{height} 4:2:0 frames")
    raw = np.memmap(path, np.uint8, "r").reshape(-1, luma + 2 * chroma)
    return Frames(
        raw[:, :luma].reshape(-1, height, width),
        raw[:, luma : luma + chroma].reshape(-1, ch, cw),
        raw[:, luma + chroma :].reshape(-1, ch, cw),
    )


def _double(x, axis, cosited):
    """Doubles an axis with the base cubic at the sited positions, edges replicated."""
    x = x.movedim(axis, -1)
    padded = F.pad(x.reshape(1, -1, x.shape[-1]), (2, 2), mode="replicate")[0]
    phases = []
    for position in (0.0, 0.5) if cosited else (-0.25, 0.25):
        taps = phase_taps(position)
        phases.append(
            sum(weight * padded[:, k : k + x.shape[-1]] for k, weight in enumerate(taps) if weight)
        )
    y = torch.stack(phases, -1).reshape(*x.shape[:-1], 2 * x.shape[-1])
    return y.movedim(-1, axis)


def chroma_to_444(planes, colour: Colour, width: int, height: int):
    """[..][ch][cw] chroma -> [..][height][width], float."""
    cosited_x, cosited_y = SITINGS[colour.chroma]
    return _double(_double(planes, -1, cosited_x), -2, cosited_y)[..., :height, :width]


def yuv_to_rgb(y, u, v, colour: Colour):
    """Codes (0..255, float) at equal size -> R'G'B' [..][3][h][w]."""
    kr, kb = COEFFICIENTS[colour.matrix]
    kg = 1 - kr - kb
    if colour.range == "limited":
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    else:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    r = y + 2 * (1 - kr) * v
    b = y + 2 * (1 - kb) * u
    g = y - (2 * kb * (1 - kb) * u + 2 * kr * (1 - kr) * v) / kg
    return torch.stack((r, g, b), -3)


def rgb_to_yuv(rgb, colour: Colour):
    """R'G'B' [..][3][h][w] -> codes y, u, v (float, not rounded) at equal size."""
    kr, kb = COEFFICIENTS[colour.matrix]
    r, g, b = rgb.unbind(-3)
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if colour.range == "limited":
        return y * 219 + 16, u * 224 + 128, v * 224 + 128
    return y * 255, u * 255 + 128, v * 255 + 128


def _halve(x, axis, cosited):
    """[1 2 1]/4 at even samples (co-sited) or [1 1]/2 of pairs (centred), edges replicated."""
    x = x.movedim(axis, -1)
    if x.shape[-1] % 2:
        x = torch.cat((x, x[..., -1:]), -1)
    even, odd = x[..., 0::2], x[..., 1::2]
    if cosited:
        before = torch.cat((even[..., :1], odd[..., :-1]), -1)
        y = (before + 2 * even + odd) / 4
    else:
        y = (even + odd) / 2
    return y.movedim(-1, axis)


def chroma_to_420(plane, colour: Colour):
    """[..][h][w] chroma -> [..][ceil(h/2)][ceil(w/2)], float."""
    cosited_x, cosited_y = SITINGS[colour.chroma]
    return _halve(_halve(plane, -1, cosited_x), -2, cosited_y)


def rgb_to_yuv420(rgb, colour: Colour):
    """R'G'B' [..][3][h][w] -> 8-bit planes y, u, v (uint8 tensors)."""
    y, u, v = rgb_to_yuv(rgb, colour)
    u, v = chroma_to_420(u, colour), chroma_to_420(v, colour)
    return tuple(p.round().clamp(0, 255).to(torch.uint8) for p in (y, u, v))


def yuv420_pack(y, u, v):
    """Codes y [..][h][w], u, v [..][ch][cw] -> [..][6][ch][cw] in code / 255; an odd last row or
    column of luma is replicated."""
    h, w = y.shape[-2:]
    if h % 2:
        y = torch.cat((y, y[..., -1:, :]), -2)
    if w % 2:
        y = torch.cat((y, y[..., -1:]), -1)
    planes = [y[..., i::2, j::2] for i in (0, 1) for j in (0, 1)] + [u, v]
    return torch.stack(planes, -3) / 255


def yuv420_unpack(x):
    """[..][6][ch][cw] in code / 255 -> codes y [..][2ch][2cw], u, v [..][ch][cw], float."""
    y = F.pixel_shuffle(x[..., :4, :, :], 2).squeeze(-3)
    return y * 255, x[..., 4, :, :] * 255, x[..., 5, :, :] * 255


def _cut(plane, top, left, height, width):
    """A rectangle of a [h][w] uint8 plane as float codes, rows and columns outside replicated."""
    h, w = plane.shape
    if 0 <= top and top + height <= h and 0 <= left and left + width <= w:
        part = plane[top : top + height, left : left + width]
    else:
        part = plane[
            np.clip(np.arange(top, top + height), 0, h - 1)[:, None],
            np.clip(np.arange(left, left + width), 0, w - 1)[None],
        ]
    return torch.from_numpy(part.astype(np.float32))


def to_tensor(frames: Frames, index: int, space: str, colour: Colour | None = None, area=None):
    """Frame `index` as the network sees it: float32 [1, 3 or 6][height][width]. `area` = (top,
    left, height, width) in luma samples cuts a part, equal to the same part of the whole; even
    numbers for rgb and yuv420.
    """
    top, left, height, width = area or (0, 0, frames.height, frames.width)
    y = _cut(frames.y[index], top, left, height, width)
    if space == "y":
        return y[None] / 255
    if top % 2 or left % 2:
        raise ValueError("an area of 4:2:0 begins at an even row and column")
    ch, cw = (height + 1) // 2, (width + 1) // 2
    if space == "yuv420":
        u, v = (_cut(p[index], top // 2, left // 2, ch, cw) for p in (frames.u, frames.v))
        return yuv420_pack(y, u, v)
    margin = 2  # of the cubic, in chroma samples: beyond the frame both ways of padding replicate
    u, v = (
        _cut(p[index], top // 2 - margin, left // 2 - margin, ch + 2 * margin, cw + 2 * margin)
        for p in (frames.u, frames.v)
    )
    wide, high = 2 * (cw + 2 * margin), 2 * (ch + 2 * margin)
    part = (slice(2 * margin, 2 * margin + height), slice(2 * margin, 2 * margin + width))
    u, v = (chroma_to_444(p, colour, wide, high)[part] for p in (u, v))
    return yuv_to_rgb(y, u, v, colour)
