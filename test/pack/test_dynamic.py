# SPDX-License-Identifier: BSD-2-Clause
"""A dynamic model from the source to the player: gains, routes, and what everybody says of them."""
import json
import subprocess

import numpy as np
import pytest
from conftest import environment, packed, srpack
from test_pack import check_hls, verified

from srpack import routes

OPTIONS = ["--scale", 2, "--model", "edge-dyn", "--steps", 30, "--threads", 2, "--chunk", 1,
           "--crf", 8, "--grid", "16x20", "--no-audio", "--route-loss", "0.1"]

DEFAULT = 1  # of edge-dyn


def tool(build, *command):
    done = subprocess.run([build / command[0], *map(str, command[1:])], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def package(plain, tmp_path_factory, build):
    """(directory, what srpack said)"""
    folder = tmp_path_factory.mktemp("dynamic") / "p"
    return folder, packed(plain, "-o", folder, *OPTIONS)


def test_package_is_whole(package, build):
    folder, result = package
    manifest = check_hls(folder, 50, audio=False)
    verified(folder, build)
    sizes = [(c["routes"]["size"], c["segment"]["size"]) for c in manifest["chunks"]]
    assert len(sizes) == 2 and all(r <= 0.01 * v for r, v in sizes)
    text = (folder / "video.m3u8").read_text()
    for chunk in manifest["chunks"]:
        assert f'X-SRPLAY-ROUTES="{chunk["routes"]["sha256"]}"' in text
    found = result["routing"]
    assert found["bytes"] == result["bytes"]["routes"] == sum(r for r, _ in sizes)
    assert found["share_of_video"] == pytest.approx(
        found["bytes"] / sum(v for _, v in sizes), abs=1e-6)


def test_figures_are_those_of_the_player(package, plain, build):
    """What the packer computed from gains is what the engine gives by these routes."""
    folder, result = package
    bench = tool(build, "srbench", "package", folder / "manifest.json", "--reference", plain,
                 "--json")
    found = result["routing"]
    assert bench["routed"] == 50
    assert bench["psnr_y"]["sr"] == pytest.approx(found["psnr_y"], abs=1e-3)
    assert bench["macs_share"] == pytest.approx(found["mac_share"], abs=1e-4)
    cells = np.array(bench["cells"])
    assert cells / cells.sum() == pytest.approx(found["cells"], abs=1e-4)
    assert found["psnr_y_paths"][0] == pytest.approx(bench["psnr_y"]["bicubic"], abs=1e-3)
    assert found["psnr_y"] >= found["psnr_y_paths"][-1] - 0.1
    off = tool(build, "srbench", "package", folder / "manifest.json", "--reference", plain,
               "--json", "--route", "off")
    assert off["psnr_y"]["sr"] == pytest.approx(found["psnr_y_paths"][DEFAULT], abs=1e-3)


def test_player_takes_the_packers_choice(package, build):
    folder, _ = package
    play = tool(build, "srbench", "play", folder / "manifest.json", "--json")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    chosen = np.concatenate([routes.decode((folder / c["routes"]["uri"]).read_bytes()).exact()
                             for c in manifest["chunks"]])
    assert chosen.shape == (50, 6, 10)
    assert play["upscaled"] == 50 and play["routes"]["frames"] == 50
    assert play["routes"]["missed_chunks"] == 0
    computed, wanted = np.array(play["routes"]["cells"]), np.bincount(chosen.ravel(), minlength=3)
    assert (computed <= wanted).all()
    assert computed.sum() + play["routes"]["reused"] == wanted.sum() == chosen.size


def test_table_shows_the_paths(plain, tmp_path):
    done = srpack(plain, "-o", tmp_path / "p", *OPTIONS, "--duration", "0.4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("paths "))
    titles = [line.split()[0] for line in lines[at + 1:at + 6]]
    assert titles == ["0", "1", "2", "routed", "computed"]
    assert lines[at + 3].split()[1:3] == ["100.0", "%"]
    assert lines[at + 6].startswith("10x6 cells of 16x20; routes take ")
    assert any(line.startswith("arithmetic  ") for line in lines)


def test_chunks_without_room_play_by_default(plain, tmp_path, build):
    """A video of a few hundred bytes has no 1 % for routes."""
    done = srpack(plain, "-o", tmp_path / "p", *OPTIONS, "--grid", "8x8", "--crf", 45, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["model"] is not None  # it beats bicubic even at this rate
    assert result["routing"]["chunks_without"] == 2
    assert "2 of 2 chunks have no routes" in done.stderr
    assert result["bytes"]["routes"] == 0 and result["routing"]["cells"] == [0, 1, 0]
    manifest = check_hls(tmp_path / "p", 50, audio=False)
    assert not any("routes" in c for c in manifest["chunks"])
    verified(tmp_path / "p", build)


def wrapped(folder, build, condition):
    """A folder of programs whose srbench fails where the shell condition holds."""
    folder.mkdir()
    (folder / "srinfo").symlink_to(build / "srinfo")
    (folder / "srbench").write_text(
        f"#!/bin/sh\nif {condition}; then echo 'srbench: broken on purpose' >&2; exit 2; fi\n"
        f"exec {build}/srbench \"$@\"\n")
    (folder / "srbench").chmod(0o755)
    return environment(SRP_BINDIR=str(folder))


def test_goes_on_behind_the_training(plain, tmp_path, build):
    command = [plain, "-o", tmp_path / "p", *OPTIONS, "--duration", "0.4"]
    env = wrapped(tmp_path / "bin", build, '[ "$1" = gains ]')
    failed = srpack(*command, env=env)
    assert failed.returncode == 2 and "broken on purpose" in failed.stderr
    assert not (tmp_path / "p").exists() and not list(tmp_path.glob("p.tmp-*"))
    result = packed(*command)
    assert not {"encode", "train", "ranges"} & result["seconds"].keys()
    assert "gains" in result["seconds"] and result["routing"]["kind"] == "gains"
    assert not list(tmp_path.glob("p.*"))


def test_what_int8_cannot_hold_is_packed_in_f32(plain, tmp_path, build):
    env = wrapped(tmp_path / "bin", build, f'[ "$1" = package ] && mkdir {tmp_path}/once')
    result = packed(plain, "-o", tmp_path / "p", *OPTIONS, "--duration", "0.4", env=env)
    assert result["arithmetic"]["chosen"] == "f32"
    assert "broken on purpose" in result["arithmetic"]["refused"]
    assert result["routing"]["kind"] == "gains" and result["psnr_y"]["sr"] > 0


def test_a_copy_for_each_group_is_chosen_by_labels(plain, tmp_path, build):
    options = [o if o != "edge-dyn" else "edge8" for o in OPTIONS]
    result = packed(plain, "-o", tmp_path / "p", *options, "--chunks", 3)
    assert result["model"] is not None
    found = result["routing"]
    assert found["kind"] == "choice" and len(found["macs_per_pixel"]) == 4
    manifest = check_hls(tmp_path / "p", 50, audio=False)
    verified(tmp_path / "p", build)
    kinds = [routes.decode((tmp_path / "p" / c["routes"]["uri"]).read_bytes())
             for c in manifest["chunks"] if "routes" in c]
    assert kinds and all(r.kind == routes.CHOICE and r.paths == 4 for r in kinds)
    play = tool(build, "srbench", "play", tmp_path / "p/manifest.json", "--json")
    assert play["routes"]["missed_chunks"] == 0
