# SPDX-License-Identifier: BSD-2-Clause
"""Every graph in models/ gives in libsrp what it gives in PyTorch, as tensors and as pictures."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import srp  # noqa: E402

import torch  # noqa: E402
from safetensors.torch import save  # noqa: E402
from srpack.graph import load_module  # noqa: E402

GRAPHS = sorted((ROOT / "models").glob("*.json"))
BACKENDS = {"reference": srp.REFERENCE, "xnnpack": srp.XNNPACK, "native": srp.NATIVE}
TOLERANCE = 2e-5  # of a network whose values are of order 1; 1/255 is the promise
SMALL = 15_000    # multiply-accumulates per pixel up to which a network runs at the largest size too


@pytest.fixture(scope="module")
def lib(build):
    torch.set_num_threads(2)
    return srp.Srp(build / "libsrp.so")


def randomised(path):
    """Module with random parameters that keep activations at the input's size, and its file."""
    module = load_module(path)
    generator = torch.Generator().manual_seed(len(path.name))
    tensors = {}
    with torch.no_grad():
        for name, parameter in module.named_tensors().items():
            fan = parameter[0].numel() if parameter.dim() == 4 else 400
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.7 / fan) ** 0.5)
            tensors[name] = parameter.detach().clone().contiguous()
    return module, save(tensors)


def test_there_are_graphs():
    assert len(GRAPHS) >= 10, "models/*.json is missing"


def chain(*layers):
    """A graph of convolutions (channels, height, width of the kernel) and a shuffle."""
    nodes = [{"op": "conv2d", "name": f"c{i}", "inputs": [f"t{i - 1}" if i else "x"], "output": f"t{i}", "channels": c,
              "kernel": [h, w], "activation": "relu" if i + 1 < len(layers) else "none"}
             for i, (c, h, w) in enumerate(layers)]
    nodes.append({"op": "depth_to_space", "name": "s", "inputs": [nodes[-1]["output"]], "output": "y", "block": 2})
    return {"format": "srp-graph", "version": 1, "name": "chain", "scale": 2, "colour": "y", "mean": 0.4, "input": "x",
            "output": "y", "nodes": nodes}


@pytest.mark.parametrize("layers", [
    ((16, 5, 5), (24, 5, 5), (9, 5, 5), (16, 3, 3), (4, 5, 5)),     # by Winograd
    ((16, 5, 5), (16, 7, 7), (20, 9, 9), (24, 5, 7), (16, 7, 3), (4, 9, 9)),
    ((8, 3, 3), (8, 3, 3), (8, 5, 5), (7, 5, 5), (4, 3, 3)),        # narrow ones
    ((56, 5, 5), (12, 1, 1), (12, 3, 3), (56, 1, 1), (4, 5, 5)),    # FSRCNN's
    ((12, 3, 5), (40, 1, 3), (20, 5, 1), (16, 5, 3), (4, 1, 5)),    # no squares
], ids=str)
def test_chains(lib, tmp_path, layers):
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(chain(*layers)))
    test_tensors(lib, path)


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.stem)
def test_tensors(lib, path):
    module, parameters = randomised(path)
    model = lib.model(path.read_bytes(), parameters)
    sizes = [(1, 1), (17, 31), (48, 64)]
    if module.macs_per_pixel < SMALL:
        sizes.append((359, 641))
    for size in sizes:
        rng = np.random.default_rng(size[0])
        x = (rng.integers(0, 256, (*size, module.channels)) / 255).astype(np.float32)
        with torch.no_grad():
            expected = module(torch.from_numpy(x).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        for name, backend in BACKENDS.items():
            if not lib.has(name):
                assert name != "reference"
                continue
            got = lib.run(model, x, module.scale, backend)
            worst = float(np.abs(got - expected).max())
            assert worst < TOLERANCE * max(1.0, float(np.abs(expected).max())), (name, size, worst)
    lib.free(model)


# ---- pictures ------------------------------------------------------------------------------------

COLOURS = [("bt709", "limited", "left"), ("bt601", "full", "center"), ("bt2020", "limited", "topleft")]


def keys(t):
    a, t = -0.6, np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def matrix_to(count, positions):
    """[positions][count]: the cubic that reads a row of `count` samples at `positions`, edges replicated."""
    m = np.zeros((len(positions), count))
    for row, p in enumerate(positions):
        for k in range(int(np.floor(p)) - 1, int(np.floor(p)) + 3):
            m[row, min(max(k, 0), count - 1)] += keys(p - k)
    return m


def enlarge(plane, rows, columns):
    return matrix_to(plane.shape[0], rows) @ plane @ matrix_to(plane.shape[1], columns).T


def to_luma(count, chroma_factor, sited):
    """Where luma samples 0 .. count - 1 of a picture enlarged by chroma_factor / 2 lie in the small chroma plane."""
    offset = 0.25 if sited else 0.5
    return (np.arange(count) + 0.5) / chroma_factor - offset


def to_chroma(count, factor, sited):
    offset = 0.25 if sited else 0.5
    return (np.arange(count) + offset) / factor - offset


def coefficients(colour):
    kr, kb = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}[colour[0]]
    forward = np.array([[kr, 1 - kr - kb, kb],
                        [-kr / (2 - 2 * kb), -(1 - kr - kb) / (2 - 2 * kb), 0.5],
                        [0.5, -(1 - kr - kb) / (2 - 2 * kr), -kb / (2 - 2 * kr)]])
    full = colour[1] == "full"
    return forward, np.array([255.0 if full else 219.0, *([255.0 if full else 224.0] * 2)]), \
        np.array([0.0 if full else 16.0, 128.0, 128.0])


def to_rgb(yuv, colour):
    """[h][w][3] codes to 0..1."""
    forward, gain, offset = coefficients(colour)
    return (yuv - offset) / gain @ np.linalg.inv(forward).T


def to_yuv(rgb, colour):
    forward, gain, offset = coefficients(colour)
    return rgb @ forward.T * gain + offset


def halve(plane, axis, sited):
    count = plane.shape[axis]
    even = np.arange(0, count, 2)
    take = lambda i: np.take(plane, np.clip(i, 0, count - 1), axis)  # noqa: E731
    if sited:
        return (take(even - 1) + 2 * take(even) + take(even + 1)) / 4
    return (take(even) + take(even + 1)) / 2


def codes(values):
    return np.clip(np.rint(values), 0, 255)


def painted(h, w, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w]
    return np.clip(120 + 60 * np.sin(x * 0.4 + seed) * np.cos(y * 0.3) + rng.normal(0, 12, (h, w)), 0, 255).astype(np.uint8)


def network(module, x):
    with torch.no_grad():
        y = module(torch.from_numpy(np.ascontiguousarray(x.astype(np.float32))).permute(2, 0, 1)[None])
    return y[0].permute(1, 2, 0).double().numpy()


def check(got, expected):
    """Equal but where a value lies on the edge between two codes."""
    for plane, wanted in zip(got, expected):
        difference = np.abs(plane.astype(float) - wanted)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.006 or (difference > 0).sum() <= 2


def graph_of(colour, scale):
    """A small network of each colour space; those of models/ cover Y and RGB, this all three."""
    channels = {"y": 1, "rgb": 3, "yuv420": 6}[colour]
    return {"format": "srp-graph", "version": 1, "name": "small", "scale": scale, "colour": colour, "mean": 0.4,
            "input": "x", "output": "y", "nodes": [
                {"op": "conv2d", "name": "a", "inputs": ["x"], "output": "h", "channels": 7, "kernel": [3, 3],
                 "activation": "relu"},
                {"op": "slice", "name": "p", "inputs": ["h"], "output": "p", "first": 2, "channels": 5},
                {"op": "slice", "name": "q", "inputs": ["h"], "output": "q", "first": 0, "channels": 5},
                {"op": "mul", "name": "g", "inputs": ["p", "q", "p"], "output": "g", "activation": "sigmoid"},
                {"op": "conv2d", "name": "b", "inputs": ["g"], "output": "t", "channels": channels * scale**2,
                 "kernel": [3, 3]},
                {"op": "depth_to_space", "name": "s", "inputs": ["t"], "output": "d", "block": scale},
                {"op": "resize", "name": "r", "inputs": ["x"], "output": "b", "scale": scale, "mode": "bicubic"},
                {"op": "add", "name": "e", "inputs": ["d", "b"], "output": "y"}]}


@pytest.fixture(params=[("y", 4), ("y", 3), ("rgb", 2), ("yuv420", 2), ("yuv420", 3)], ids=str)
def small(request, lib):
    graph = graph_of(*request.param)
    module = load_module(graph)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.named_tensors().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.08)
    model = lib.model(json.dumps(graph).encode(),
                      save({n: p.detach().clone() for n, p in module.named_tensors().items()}))
    yield module, model
    lib.free(model)


def upscaled(module, y, u, v, colour):
    """What the definition gives: (luma, U, V) codes at full resolution of each plane, or RGB codes."""
    h, w = y.shape
    s, x_sited, y_sited = module.scale, colour[2] != "center", colour[2] == "topleft"
    if module.colour == "y":
        luma = network(module, y[..., None] / 255)[..., 0] * 255
        return [luma, *(enlarge(p, to_chroma(p.shape[0] * s, s, y_sited)[:(h * s + 1) // 2],
                                to_chroma(p.shape[1] * s, s, x_sited)[:(w * s + 1) // 2]) for p in (u, v))]
    if module.colour == "yuv420":
        even = np.pad(y, ((0, h % 2), (0, w % 2)), "edge")
        planes = [even[i::2, j::2] for i in range(2) for j in range(2)] + [u, v]
        out = network(module, np.stack(planes, -1) / 255) * 255
        luma = np.zeros((out.shape[0] * 2, out.shape[1] * 2))
        for k in range(4):
            luma[k // 2::2, k % 2::2] = out[..., k]
        return [luma[:h * s, :w * s], *(out[:(h * s + 1) // 2, :(w * s + 1) // 2, c] for c in (4, 5))]
    chroma = [enlarge(p, to_luma(h, 2, y_sited), to_luma(w, 2, x_sited)) for p in (u, v)]
    rgb = network(module, to_rgb(np.stack([y, *chroma], -1), colour))
    return list(np.moveaxis(to_yuv(rgb, colour), -1, 0)), rgb


@pytest.mark.parametrize("colour", COLOURS, ids="-".join)
@pytest.mark.parametrize("size", [(48, 64), (17, 31), (1, 1)], ids=str)
def test_yuv_pictures(lib, small, colour, size):
    module, model = small
    h, w = size
    half = ((h + 1) // 2, (w + 1) // 2)
    planes = [painted(h, w, 1), painted(*half, 2), painted(*half, 3)]
    y, u, v = (p.astype(np.float64) for p in planes)
    got = lib.upscale(model, planes, srp.YUV420, size, srp.YUV420, module.scale, colour)
    rgb = lib.upscale(model, planes, srp.YUV420, size, srp.RGB, module.scale, colour)[0]
    x_sited, y_sited = colour[2] != "center", colour[2] == "topleft"
    if module.colour == "rgb":
        full, out_rgb = upscaled(module, y, u, v, colour)
        check(got, [codes(full[0]), *(codes(halve(halve(p, 1, x_sited), 0, y_sited)) for p in full[1:])])
        check([rgb], [codes(out_rgb * 255)])
        return
    expected = upscaled(module, y, u, v, colour)
    check(got, [codes(p) for p in expected])
    s = module.scale
    if module.colour == "y":
        chroma = [enlarge(p, to_luma(h * s, 2 * s, y_sited), to_luma(w * s, 2 * s, x_sited)) for p in (u, v)]
    else:
        # Chroma rows and columns that a crop takes away still count as neighbours.
        even = upscaled(module, np.pad(y, ((0, h % 2), (0, w % 2)), "edge"), u, v, colour)
        chroma = [enlarge(p, to_luma(h * s, 2, y_sited), to_luma(w * s, 2, x_sited)) for p in even[1:]]
    check([rgb], [codes(to_rgb(np.stack([expected[0], *chroma], -1), colour) * 255)])


@pytest.mark.parametrize("size", [(48, 64), (17, 31)], ids=str)
def test_rgb_pictures(lib, small, size):
    module, model = small
    colour = ("bt709", "full", "left")
    h, w = size
    plane = np.stack([painted(h, w, i) for i in range(3)], -1)
    got = lib.upscale(model, [plane], srp.RGB, size, srp.RGB, module.scale, colour)
    if module.colour == "rgb":
        check(got, [codes(network(module, plane / 255) * 255)])
    elif module.colour == "y":
        s = module.scale
        centred = lambda n: (np.arange(n * s) + 0.5) / s - 0.5  # noqa: E731
        base = np.stack([enlarge(plane[..., k].astype(float), centred(h), centred(w)) for k in range(3)], -1)
        yuv = to_yuv(base / 255, colour)
        yuv[..., 0] = network(module, to_yuv(plane / 255, colour)[..., :1] / 255)[..., 0] * 255
        check(got, [codes(to_rgb(yuv, colour) * 255)])
    else:
        halved = [codes(p) for p in np.moveaxis(to_yuv(plane / 255, colour), -1, 0)]
        full = to_yuv(plane / 255, colour)
        u, v = (codes(halve(halve(full[..., k], 1, True), 0, False)).astype(np.uint8) for k in (1, 2))
        via = lib.upscale(model, [halved[0].astype(np.uint8), u, v], srp.YUV420, size, srp.RGB, module.scale, colour)
        check(got, [via[0].astype(float)])


@pytest.mark.parametrize("colour", COLOURS, ids="-".join)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_base_pictures(lib, colour, scale):
    h, w = 17, 31
    planes = [painted(h, w, 1), painted(9, 16, 2), painted(9, 16, 3)]
    got = lib.upscale(None, planes, srp.YUV420, (h, w), srp.RGB, scale, colour, method=1)
    x_sited, y_sited = colour[2] != "center", colour[2] == "topleft"
    centred = lambda n: (np.arange(n * scale) + 0.5) / scale - 0.5  # noqa: E731
    luma = enlarge(planes[0].astype(float), centred(h), centred(w))
    chroma = [enlarge(p.astype(float), to_luma(h * scale, 2 * scale, y_sited), to_luma(w * scale, 2 * scale, x_sited))
              for p in planes[1:]]
    check(got, [codes(to_rgb(np.stack([luma, *chroma], -1), colour) * 255)])
