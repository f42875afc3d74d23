# SPDX-License-Identifier: BSD-2-Clause
"""The committed general weights: their page is true, they load, and they beat bicubic."""

import hashlib
import json
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
    y = np.frombuffer(data, np.uint8).reshape(-1, height, width)
    grey = np.full((len(y), (height + 1) // 2, (width + 1) // 2), 128, np.uint8)
    return colour.Frames(y, grey, grey)  # networks of RGB want chroma


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
    psnr, bicubic = train.evaluate(module, frames, [train.Source(lr, hr, colour.Colour())])
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


def test_page_has_a_row_for_each_path_that_learns(tmp_path):
    rows = {"edge16-x2": [30.0, 31.5], "edge-dyn-x2": [30.0, 31.25, 31.75]}
    known = {}
    for name, values in rows.items():
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
        known[name] = {"steps": "10", "threads": 1, "seed": 0, "batch": 16, "start": "random",
                       "seconds": 1, "figures": {"bbb": {"crf 20": values}}}
    (tmp_path / "records.json").write_text(json.dumps(known))
    general.write_readme(tmp_path)
    page = (tmp_path / "README.md").read_text().splitlines()
    assert "| edge16-x2 | 30.00 -> 31.50 (+1.50) |" in page
    assert "| edge-dyn-x2, path 1 | 30.00 -> 31.25 (+1.25) |" in page
    assert "| edge-dyn-x2, path 2 | 30.00 -> 31.75 (+1.75) |" in page


@pytest.mark.parametrize("name", ["edge-dyn-x2", "dydca-x2"])
def test_measures_each_path_that_learns(name, tmp_path, monkeypatch):
    """At the beginning every path is the bicubic picture, but for the frame's edges, in the
    network's own channels."""
    clip = tmp_path / "small.mp4"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i",
                    "testsrc2=s=100x80:d=0.5:r=24", "-pix_fmt", "yuv420p", clip], check=True)
    monkeypatch.setattr(general, "HELD_OUT_CLIPS", (clip.name, "not-there.mp4"))
    module = graph.load_module(models.all_models()[name])
    graph.initialise(module)
    found = general.measure(module, tmp_path, tmp_path)
    assert set(found) == {"small"} and set(found["small"]) == {"clean", "crf 20"}
    for bicubic, shallow, deep in found["small"].values():
        assert shallow == pytest.approx(bicubic, abs=0.5) == deep
    with torch.no_grad():
        tail = "deep.skip" if name == "dydca-x2" else "deep.tail"
        module.convolutions[tail].bias.add_(0.1)
    bicubic, shallow, deep = general.measure(module, tmp_path, tmp_path)["small"]["clean"]
    assert shallow == pytest.approx(bicubic, abs=0.5) and deep < bicubic - 1


@pytest.mark.parametrize("space", ["y", "rgb"])
def test_sources_have_what_the_network_reads(space, tmp_path, monkeypatch):
    clip = tmp_path / "small.mp4"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i",
                    "testsrc2=s=96x72:d=0.25:r=24", "-pix_fmt", "yuv420p", clip], check=True)
    raw, size = general.make_clip(clip, tmp_path)
    (tmp_path / "photos.yuv").write_bytes(raw.read_bytes())
    monkeypatch.setattr(general, "fetch", lambda build: None)
    monkeypatch.setattr(general, "CROP", size)
    monkeypatch.setattr(general, "TRAINING_CLIPS", {clip.name: ""})
    found = general.sources(2, tmp_path, tmp_path, space)
    assert len(found) == 8 and sum(one.share for one in found) == pytest.approx(1)
    assert [one.colour.matrix for one in found] == ["bt601"] * 4 + ["bt709"] * 4
    for one in found:
        assert (one.lr.u is None) == (one.hr.v is None) == (space == "y")
        assert one.lr.y.shape == (6, 36, 48) and one.hr.y.shape == (6, 72, 96)


def test_where_a_first_training_begins(tmp_path):
    graphs = models.all_models()
    start, came_from, options = general.beginning("edge-dyn-x2", graphs["edge-dyn-x2"], tmp_path,
                                                  GENERAL)
    assert came_from == "edge16-x2" and options == general.RECIPE
    mine = safetensors.torch.load_file(start)
    theirs = safetensors.torch.load_file(GENERAL / "edge16-x2.safetensors")
    assert torch.equal(mine["body1.weight"], theirs["body1.weight"].float())
    assert torch.equal(mine["deep.tail.weight"], theirs["tail.weight"].float())
    for name, source, wanted in (("dydca-x4", "bicubic", general.DEAR_RECIPE),
                                 ("edge16-x4", "random", general.FIRST_RECIPE)):
        assert general.beginning(name, graphs[name], tmp_path, GENERAL) == (None, source, wanted)
