# SPDX-License-Identifier: BSD-2-Clause
"""The committed general weights: their page is true, they load, and they beat bicubic."""

import hashlib
import pathlib
import subprocess

import numpy as np
import pytest
import safetensors.torch
import torch

from srpack import colour, general, graph, models, train

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERAL = ROOT / "models/general"
CLIP = ROOT / "../shared/clips/bbb_1080p24.mp4"  # held out of the training
NAMES = sorted(path.stem for path in GENERAL.glob("*.safetensors"))


def luma(source, width, height, *filters):
    data = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", *source, "-vf", ",".join(filters), "-frames:v", "3"]
        + ["-pix_fmt", "gray", "-f", "rawvideo", "-"],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    return colour.Frames(np.frombuffer(data, np.uint8).reshape(-1, height, width))


def test_page_agrees_with_the_weights(tmp_path):
    assert {"edge16-x2", "edge16-x3", "edge16-x4"} <= set(NAMES)
    assert set(general.records(GENERAL)) == set(NAMES)
    page = (GENERAL / "README.md").read_text(encoding="utf-8")
    for path in (GENERAL / "records.json", *GENERAL.glob("*.safetensors")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    general.write_readme(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page
    for name in NAMES:
        digest = hashlib.sha256((GENERAL / f"{name}.safetensors").read_bytes()).hexdigest()
        assert digest in page


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("x1")])
def test_beats_bicubic_by_half_a_decibel(name):
    module = graph.load_module(models.all_models()[name])
    graph.load_parameters(module, GENERAL / f"{name}.safetensors")
    width, height, s = 768, 432, module.scale
    if CLIP.exists():
        source, cut = ["-ss", "3", "-i", str(CLIP)], f"crop={width}:{height}:400:300"
    else:  # drawn twice as large, so that its edges are those of a photograph
        source = ["-f", "lavfi", "-i", f"testsrc2=s={2 * width}x{2 * height}"]
        cut = f"scale={width}:{height}:flags=area"
    hr = luma(source, width, height, "format=gray", cut)
    small = f"scale={width // s}:{height // s}:flags=bicubic+accurate_rnd"
    lr = luma(source, width // s, height // s, "format=gray", cut, small)
    frames = [(0, i) for i in range(3)]
    psnr, bicubic = train.evaluate(module, frames, [train.Source(lr, hr)])
    assert psnr > bicubic + 0.5


def test_borrowed_features(tmp_path):
    target = models.all_models()["edge16-x2"]
    first = GENERAL / "edge16-x4.safetensors"
    start = general.borrow(target, first, tmp_path / "start")
    mine, theirs = safetensors.torch.load_file(start), safetensors.torch.load_file(first)
    assert torch.equal(mine["body1.weight"], theirs["body1.weight"].float())
    assert not mine["tail.weight"].any()  # so that it begins at bicubic
    assert general.borrow(target, tmp_path / "none", tmp_path / "start") is None
    assert general.borrow(models.all_models()["wdsr2-x2"], first, tmp_path / "start") is None
