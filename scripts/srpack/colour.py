# SPDX-License-Identifier: BSD-2-Clause
"""4:2:0 video planes <-> network tensors; equal to the definition in docs/format.md and srp/upscaler.h."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Colour:
    """As in the manifest."""

    matrix: str = "bt709"   # bt709, bt601, bt2020 (non-constant luminance)
    range: str = "limited"  # limited, full
    chroma: str = "left"    # left, center, topleft


@dataclasses.dataclass
class Frames:
    """8-bit 4:2:0 frames: y [n][height][width], u and v [n][ceil(height/2)][ceil(width/2)] uint8 or None."""

    y: np.ndarray
    u: np.ndarray | None = None
    v: np.ndarray | None = None


def frames_from_raw(path, width: int, height: int) -> Frames:
    """Maps a yuv420p rawvideo file (ffmpeg -f rawvideo) without reading it."""
    raise NotImplementedError
