# SPDX-License-Identifier: BSD-2-Clause
"""Colour conversion and chroma positions against definitions written out anew."""

import itertools
import math

import numpy as np
import pytest
import torch

from srpack import colour

GENERATOR = np.random.default_rng(11)
SPACES = [
    colour.Colour(m, r, c)
    for m, r, c in itertools.product(
        ("bt709", "bt601", "bt2020"), ("limited", "full"), ("left", "center", "topleft")
    )
]


def frames(n=2, width=11, height=7):
    cw, ch = (width + 1) // 2, (height + 1) // 2
    return colour.Frames(
        GENERATOR.integers(0, 256, (n, height, width), np.uint8),
        GENERATOR.integers(0, 256, (n, ch, cw), np.uint8),
        GENERATOR.integers(0, 256, (n, ch, cw), np.uint8),
    )


def cubic(t):
    t, a = abs(t), -0.6
    if t < 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def chroma_at(plane, y, x):
    """The cubic at chroma position (y, x), edges replicated."""
    total = 0.0
    for r in range(math.floor(y) - 1, math.floor(y) + 3):
        for c in range(math.floor(x) - 1, math.floor(x) + 3):
            sample = plane[min(max(r, 0), plane.shape[0] - 1), min(max(c, 0), plane.shape[1] - 1)]
            total += cubic(y - r) * cubic(x - c) * float(sample)
    return total


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rgb_of_a_frame(space):
    f = frames()
    got = colour.to_tensor(f, 1, "rgb", space).numpy()
    kr, kb = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}[
        space.matrix
    ]
    for i, j in ((0, 0), (0, 10), (6, 0), (6, 10), (3, 4), (2, 7), (5, 5)):
        cy = i / 2 if space.chroma == "topleft" else (i + 0.5) / 2 - 0.5
        cx = j / 2 if space.chroma != "center" else (j + 0.5) / 2 - 0.5
        y, u, v = (
            float(f.y[1, i, j]),
            chroma_at(f.u[1], cy, cx) - 128,
            chroma_at(f.v[1], cy, cx) - 128,
        )
        if space.range == "limited":
            y, u, v = (y - 16) / 219, u / 224, v / 224
        else:
            y, u, v = y / 255, u / 255, v / 255
        # v = (r - y) / (2 (1 - kr)), u = (b - y) / (2 (1 - kb)), y = kr r + kg g + kb b
        r, b = y + v * 2 * (1 - kr), y + u * 2 * (1 - kb)
        g = (y - kr * r - kb * b) / (1 - kr - kb)
        assert np.allclose(got[:, i, j], (r, g, b), atol=2e-5)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_grey_and_primaries(space):
    low, high = (16, 235) if space.range == "limited" else (0, 255)
    white = torch.full((1, 1), float(high)), torch.full((1, 1), 128.0), torch.full((1, 1), 128.0)
    assert torch.allclose(colour.yuv_to_rgb(*white, space), torch.ones(3, 1, 1), atol=1e-6)
    red = torch.tensor([1.0, 0, 0]).reshape(3, 1, 1)
    y, _, v = colour.rgb_to_yuv(red, space)
    assert abs(float(v) - (240 if space.range == "limited" else 255.5)) < 1e-4
    assert low < float(y) < high


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_there_and_back(space):
    """A picture whose chroma is a plain ramp survives 4:2:0 -> R'G'B' -> 4:2:0 within one code."""
    ramp = np.arange(9)[None, :, None] * 2 + np.arange(12)[None, None] * 3
    f = colour.Frames(
        np.full((1, 18, 24), 120, np.uint8),
        (100 + ramp).astype(np.uint8),
        (150 - ramp).astype(np.uint8),
    )
    y, u, v = colour.rgb_to_yuv420(colour.to_tensor(f, 0, "rgb", space), space)
    assert np.abs(y.numpy().astype(int) - f.y[0]).max() <= 1
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(u.numpy().astype(int) - f.u[0])[inner].max() <= 1
    assert np.abs(v.numpy().astype(int) - f.v[0])[inner].max() <= 1


@pytest.mark.parametrize("chroma", ["left", "center", "topleft"])
def test_halving_keeps_the_sited_positions(chroma):
    space = colour.Colour(chroma=chroma)
    plane = torch.from_numpy(GENERATOR.random((8, 10)))
    got = colour.chroma_to_420(plane, space)
    p = np.pad(plane.numpy(), 1, mode="edge")
    across = (
        p[:, :-2] / 4 + p[:, 1:-1] / 2 + p[:, 2:] / 4
        if chroma != "center"
        else (p[:, 1:-1] + p[:, 2:]) / 2
    )
    both = (
        across[:-2] / 4 + across[1:-1] / 2 + across[2:] / 4
        if chroma == "topleft"
        else (across[1:-1] + across[2:]) / 2
    )
    assert np.allclose(got.numpy(), both[::2, ::2], atol=1e-12)


@pytest.mark.parametrize("space", ["y", "rgb", "yuv420"])
def test_a_part_equals_the_same_part_of_the_whole(space):
    f, c = frames(2, 26, 22), colour.Colour()
    whole = colour.to_tensor(f, 1, space, c)
    for top, left, height, width in ((0, 0, 8, 8), (4, 6, 10, 12), (14, 18, 8, 8), (0, 0, 22, 26)):
        part = colour.to_tensor(f, 1, space, c, (top, left, height, width))
        d = 2 if space == "yuv420" else 1
        assert torch.equal(
            part, whole[:, top // d : (top + height) // d, left // d : (left + width) // d]
        )


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 1)])
def test_yuv420_packing(size):
    f = frames(1, *size)
    x = colour.to_tensor(f, 0, "yuv420").numpy()
    h, w = f.y.shape[1:]
    assert x.shape == (6, (h + 1) // 2, (w + 1) // 2)
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        for r in range(x.shape[1]):
            for c in range(x.shape[2]):
                assert x[k, r, c] == np.float32(
                    f.y[0, min(2 * r + i, h - 1), min(2 * c + j, w - 1)]
                ) / np.float32(255)
    assert np.array_equal(x[4], f.u[0].astype(np.float32) / np.float32(255))
    y, u, v = colour.yuv420_unpack(torch.from_numpy(x))
    assert np.array_equal(y.numpy().round()[:h, :w], f.y[0]) and np.array_equal(
        v.numpy().round(), f.v[0]
    )
    assert np.array_equal(u.numpy().round(), f.u[0])


def test_raw_file(tmp_path):
    f = frames(3, 5, 3)
    path = tmp_path / "v.yuv"
    path.write_bytes(b"".join(p[i].tobytes() for i in range(3) for p in (f.y, f.u, f.v)))
    got = colour.frames_from_raw(path, 5, 3)
    assert len(got) == 3 and (got.width, got.height) == (5, 3)
    for a, b in ((got.y, f.y), (got.u, f.u), (got.v, f.v)):
        assert np.array_equal(a, b)
    assert isinstance(got.y.base, np.memmap) or isinstance(got.y, np.memmap)
    for size in (26, 0):
        path.write_bytes(bytes(size))
        with pytest.raises(ValueError, match="v.yuv"):
            colour.frames_from_raw(path, 5, 3)


def test_refusals():
    with pytest.raises(ValueError, match="unknown colour"):
        colour.Colour(matrix="ycgco")
    with pytest.raises(ValueError, match="even row"):
        colour.to_tensor(frames(), 0, "rgb", colour.Colour(), (1, 0, 2, 2))
