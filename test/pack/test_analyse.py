# SPDX-License-Identifier: BSD-2-Clause
"""srpack analyse and srpack paper as commands, and the training policies of srpack."""

import json

import numpy as np
import pytest
from conftest import packed, srpack

from srpack import models, paper, patches


@pytest.fixture(scope="module")
def small(clips):
    """Twelve frames of 160x120 with detail."""
    return clips("analysed.mkv", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=12:d=1", "-pix_fmt",
                 "yuv420p", "-c:v", "ffv1")


def analysed(*args):
    done = srpack("analyse", *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_analysis(small, tmp_path):
    first, second = analysed(small, small, "--scale", 2, "--grid", "16x18")
    assert first == second
    assert (first["model"], first["grid"], first["frames"]) == ("edge16-x2", [5, 4], 12)
    assert first["patches"] == 12 * 20
    quantiles = list(first["quantiles"].values())
    assert quantiles == sorted(quantiles) and first["patch_rgb"] > 10
    worst = list(first["error_of_worst"].values())
    assert worst == sorted(worst) and 0.05 <= worst[0] <= worst[-1] <= 1
    assert sum(g["error"] for g in first["groups"]) == pytest.approx(1)
    assert [g["joint_share"] for g in first["groups"]] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert first["thresholds"]["50"] <= first["thresholds"]["80"]
    store = tmp_path / "s.npz"
    done = srpack("analyse", small, "--scale", 2, "--store", store, "--frames", 4)
    assert done.returncode == 0, done.stderr
    assert "hold of the error" in done.stdout and "joint training keeps" in done.stdout
    found = patches.load(store)
    assert len(found.numbers) == 4 and found.shaved.shape == (4, 2, 2, 2)
    clean = analysed(small, "--scale", 2, "--protocol", "paper", "--grid", "16x18")[0]
    assert clean["psnr_y_bicubic"] > first["psnr_y_bicubic"]  # no codec in between


def test_analysis_of_a_package(small, tmp_path):
    packed(small, "-o", tmp_path / "p", "--model", "none", "--scale", 2)
    of_package = analysed(tmp_path / "p", "--reference", small, "--grid", "16x18")[0]
    of_video = analysed(small, "--scale", 2, "--grid", "16x18")[0]
    assert of_package["psnr_y"] == pytest.approx(of_video["psnr_y"], abs=1e-9)
    done = srpack("analyse", tmp_path / "p")
    assert done.returncode == 1 and "needs --reference VIDEO" in done.stderr


@pytest.mark.parametrize("source", ["color=gray:s=853x479:r=5:d=0.2", "testsrc2=s=853x479:r=5:d=1",
                                    "color=black:s=64x64:r=5:d=1"])
def test_analysis_of_odd_static_and_single_frames(source, clips):
    name = "".join(c if c.isalnum() else "_" for c in source)
    clip = clips(f"{name}.mkv", "-f", "lavfi", "-i", f"{source},format=yuv444p,format=yuv420p",
                 "-c:v", "ffv1")
    for scale in (1, 2) if "853" in source else (2,):
        result = analysed(clip, "--scale", scale)[0]
        assert result["psnr_y"] is not None and 0 <= result["below_40_db"] <= 1
        assert result["patches"] == result["frames"] * np.prod(result["grid"])


def test_refusals(clips, tmp_path):
    tiny = clips("tiny.mkv", "-f", "lavfi", "-i", "color=gray:s=1x1:r=5:d=0.4,format=yuv444p",
                 "-c:v", "ffv1")
    (tmp_path / "empty").mkdir()
    cases = [
        (["analyse", tiny], 2, "too small for scale"),
        (["paper", tiny, "--steps", 1], 2, "too small for scale"),
        (["analyse", tmp_path / "nowhere"], 2, "no such file"),
        (["analyse", tmp_path / "empty", "--reference", tiny], 2, "not a package"),
        (["analyse", tiny, "--grid", "7x8"], 1, "not a size of cells"),
        (["analyse", tiny, tiny, "--store", "x"], 1, "--store: is for one video"),
        (["paper", tiny, "--method", "magic"], 1, "invalid choice"),
    ]
    for args, status, text in cases:
        done = srpack(*args)
        assert done.returncode == status, (args, done.stderr)
        assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_paper_runs_every_method(small, tmp_path):
    done = srpack("paper", small, "--scale", 2, "--steps", 8, "--seeds", 2, "--models", 2,
                  "--frames", 3, "--model-bytes", 3000, "--grid", "32x30", "--threads", 2,
                  "-o", tmp_path / "t")
    assert done.returncode == 0, done.stderr
    text, result = (tmp_path / "t.md").read_text(), json.loads((tmp_path / "t.json").read_bytes())
    assert done.stdout == text
    names = ["bicubic", "lanczos", "awdnn", "time-chunks", "stdo", "joint", "dydca", "small",
             "subset"]
    assert list(result["methods"]) == names and result["shave"] == 6
    for name in names:
        assert f"| {name} |" in text
        one = result["methods"][name]
        assert set(one["mean"]) == {"frame_y", "frame_rgb", "patch_y", "patch_rgb"}
        assert all(15 < value <= 100 for value in one["mean"].values())
        if name in ("bicubic", "lanczos"):
            continue
        assert len(one["runs"]) == 2 and all(run["bytes"] <= 3000 for run in one["runs"])
        assert one["mean"]["frame_y"] == pytest.approx(
            sum(run["frame_y"] for run in one["runs"]) / 2)
    dynamic = result["methods"]["dydca"]["runs"][0]
    assert dynamic["mac_share"] <= 0.6 and set(dynamic["everywhere"]) == {"1", "2"}
    assert result["methods"]["small"]["runs"][0]["bytes"] <= 1500


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_models_of_a_comparison_weigh_alike(scale):
    """What four models leave of the bytes that one may have: less than a sixth."""
    limit = paper.parameter_bytes(models.edge(16, scale))
    one = paper.sized(lambda width: models.edge(width, scale), limit // 4, "a model")
    assert limit * 5 / 6 < 4 * paper.parameter_bytes(one) <= limit


def test_paper_with_too_few_bytes(small):
    done = srpack("paper", small, "--scale", 2, "--model-bytes", 300)
    assert done.returncode == 1 and "--model-bytes: " in done.stderr


def test_paper_on_rgb(small):
    done = srpack("paper", small, "--scale", 2, "--steps", 2, "--seeds", 1, "--models", 2,
                  "--frames", 1, "--family", "wdsr", "--model-bytes", 9000, "--method", "dydca",
                  "--no-baselines", "--json", "--protocol", "codec")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["methods"]) == ["bicubic", "lanczos", "dydca"]


# ---- policies of srpack ------------------------------------------------------------------


def test_one_model_for_each_group(small, tmp_path):
    result = packed(small, "-o", tmp_path / "p", "--scale", 2, "--chunks", 2, "--model", "edge8",
                    "--steps", 40, "--threads", 2)
    trained = result["trained"]
    assert trained["chunks"] == 2 and trained["steps"] == 40 and len(trained["paths"]) == 3
    assert trained["paths"][0]["macs_per_pixel"] == 0
    manifest = json.loads((tmp_path / "p/manifest.json").read_bytes())
    if manifest["models"]:
        value = json.loads((tmp_path / "p" / manifest["models"][0]["graph"]["uri"]).read_bytes())
        assert value == models.chunked(models.all_models()["edge8-x2"], 2)
        assert value["name"] == "edge8-chunks2-x2"


def test_clean_frames_and_dynamic_model_by_default(small, tmp_path):
    result = packed(small, "-o", tmp_path / "p", "--scale", 2, "--protocol", "paper", "--steps", 4,
                    "--threads", 2)
    trained = result["trained"]
    assert trained["protocol"] == "paper" and trained["joint"] == 4
    costs = [path["macs_per_pixel"] for path in trained["paths"]]
    assert len(costs) == 3 and costs == sorted(costs)
    clean = packed(small, "-o", tmp_path / "q", "--scale", 2, "--steps", 4, "--threads", 2)
    assert trained["psnr_bicubic"] > clean["trained"]["psnr_bicubic"]


@pytest.mark.parametrize("args, text", [
    (["--chunks", 4, "--joint"], "not allowed with"),
    (["--chunks", 8], "not a whole number from 2 to 7"),
    (["--chunks", 2, "--model", "edge-dyn", "--scale", 2], "has paths of its own"),
    (["--protocol", "magic"], "invalid choice"),
])
def test_usage(small, tmp_path, args, text):
    done = srpack(small, "-o", tmp_path / "p", *args)
    assert done.returncode == 1 and text in done.stderr and done.stderr.count("\n") == 1
