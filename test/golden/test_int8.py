# SPDX-License-Identifier: BSD-2-Clause
"""int8 execution, bit by bit: a second implementation of docs/arithmetic.md in NumPy, written from that page alone,
against the library's reference; and how far int8 is from f32 on pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "clips"
sys.path.insert(0, str(Path(__file__).resolve().parent))

import srp  # noqa: E402
from safetensors.numpy import save  # noqa: E402

@pytest.fixture
def aid(build, tmp_path):
    return Aid(build, tmp_path)


def same_bits(a, b):
    return np.array_equal(np.ascontiguousarray(a, F).view(np.uint32), np.ascontiguousarray(b, F).view(np.uint32))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("stated", [False, True], ids=["calibrated", "stated"])
@pytest.mark.parametrize("name", GRAPHS)
def test_bits(aid, name, stated, seed):
    graph, parameters = made(name, seed)
    if stated:  # ranges that saturate, and that activations would not allow
        rng = np.random.default_rng(seed)
        for t in sorted({n["output"] for n in graph["nodes"]} - {graph["output"]}):
            parameters[f"{t}.range"] = np.array([-rng.integers(0, 3) * 0.3, rng.integers(1, 4) * 0.4], F)
    mine = Quantised(graph, parameters)
    for h, w in ((13, 22), (1, 1)):
        codes = picture(h, w, INPUTS[graph["colour"]], seed)
        got, tensors = aid.run(json.dumps(graph).encode(), save(parameters), codes, graph["scale"])
        for t, numbers in tensors.items():
            assert (numbers is None) == (t not in mine.q8), t
            assert numbers is None or numbers == (mine.scale[t], mine.zero[t]), t
        expected = mine.run(codes)
        assert np.isfinite(expected).all() and (h == 1 or expected.std() > 0.01)
        assert same_bits(got, expected), np.abs(got - expected).max()


def frame(clip, width, height):
    """One luma picture [H][W][1] of a clip."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-vf", f"select=gte(n\\,20),scale={width}:{height}",
                           "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 1)


GENERAL = sorted((ROOT / "models" / "general").glob("*.safetensors"))


@pytest.fixture(scope="module")
def pictures():
    clips = sorted(p for p in CLIPS.iterdir() if p.suffix in (".mp4", ".mpg")) if CLIPS.is_dir() else []
    return {p.name: frame(p, 240, 136) for p in clips} or {"drawn": picture(136, 240, 1, 5)}


@pytest.mark.parametrize("path", GENERAL, ids=lambda p: p.stem)
def test_quality(aid, build, pictures, path):
    """int8 against f32 of the general models on real pictures, before rounding to 8 bits."""
    lib = srp.Srp(build / "libsrp.so")
    text = (ROOT / "models" / f"{path.stem}.json").read_bytes()
    graph = json.loads(text)
    model = lib.model(text, path.read_bytes())
    for name, codes in pictures.items():
        got, _ = aid.run(text, path.read_bytes(), codes, graph["scale"])
        wanted = lib.run(model, (codes / 255).astype(F), graph["scale"], srp.REFERENCE)
        psnr = -10 * np.log10(np.mean((got + F(graph["mean"]) - wanted).astype(D) ** 2))
        assert psnr > 52, (name, psnr)
    lib.free(model)


def test_a_padded_border_is_no_worse_than_the_rest(aid, build):
    """The input's zero point is rounded in padding only: with mean 0.5 the border is off by half a code there."""
    lib = srp.Srp(build / "libsrp.so")
    graph, parameters = made("edge", 3)
    text, file = json.dumps(graph).encode(), save(parameters)
    codes = picture(40, 40, 1, 3)
    got, _ = aid.run(text, file, codes, 2)
    model = lib.model(text, file)
    wanted = lib.run(model, (codes / 255).astype(F), 2, srp.REFERENCE) - F(0.5)
    lib.free(model)
    error = np.abs(got - wanted)
    inner = error[16:-16, 16:-16].mean()
    border = np.concatenate([error[:4].ravel(), error[-4:].ravel()]).mean()
    assert 0 < inner < 0.02 and border < 2 * inner + 0.002


@pytest.mark.parametrize("change, line", [
    ("t.range", "tensor 't.range' is missing where others have a range"),
    ("nan", "tensor 'h.range': element 0 is NaN"),
    ("reversed", "tensor 'h.range': 1 to -1 is no range"),
])
def test_bad_ranges_are_refused(aid, change, line):
    graph, parameters = made("edge", 1)
    for t in ("h", "g", "t", "d", "b"):
        parameters[f"{t}.range"] = np.array([-1, 1], F)
    if change in parameters:
        del parameters[change]
    else:
        parameters["h.range"] = np.array([np.nan, 1] if change == "nan" else [1, -1], F)
    done = aid.start(json.dumps(graph).encode(), save(parameters), picture(4, 4, 1, 1))
    assert done.returncode == 2 and line in done.stdout
