# SPDX-License-Identifier: BSD-2-Clause
"""Updates from package to picture: a chunk is shown with its own update of the model, or without
super-resolution, and each file is fetched once."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "net"), str(HERE.parents[1] / "scripts")]
import package_aid as aid  # noqa: E402
import tiny  # noqa: E402
from fault_server import Server  # noqa: E402
from srpack import compact  # noqa: E402

SIZE, SECONDS = (98, 66), 5
BIAS = [None, 0.1, 0.1, None, 0.2]  # by chunk of a second; of the base: 0.05


def file_of(bias):
    graph = json.loads(pathlib.Path(tiny.GRAPH).read_bytes())
    return aid.safetensors(aid.parameters_of(graph, bias))


def updates_to(package, base, biases, put=aid.put_object):
    def change(manifest):
        for chunk, bias in zip(manifest["chunks"], biases, strict=True):
            if bias is not None:
                chunk["update"] = put(package, compact.update(base, file_of(bias)), "update")
    aid.edit(package, change)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("updates") / "plain", SECONDS, size=SIZE)


@pytest.fixture(scope="module")
def package(plain):
    """The base alone, and with updates."""
    out = aid.with_model(plain, plain.parent / "updated",
                         graph=json.loads(pathlib.Path(tiny.GRAPH).read_bytes()))

    def change(manifest):
        manifest["models"][0]["parameters"] = aid.put_object(out, compact.pack(file_of(0.05)),
                                                             "parameters")
    aid.edit(out, change)
    updates_to(out, file_of(0.05), BIAS)
    return out


@pytest.fixture
def broken(package, tmp_path):
    return pathlib.Path(shutil.copytree(package, tmp_path / "broken"))


def play(build, location, *options):
    """(the dump, statistics, log)."""
    done = subprocess.run([str(x) for x in (build / "srplay", "--no-display", "--no-cache", "--dump", "-",
                                            *options, location)], capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL, env={**os.environ, "no_proxy": "127.0.0.1"})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.decode()


def frames(data):
    head, rest = data.split(b"\n", 1)
    return rest.split(b"FRAME\n")[1:]


@pytest.fixture(scope="module")
def wanted(build, plain, package):
    """Each chunk's frames by a model of its own."""
    shown = {}
    for bias in {0.05 if b is None else b for b in BIAS}:
        whole = aid.with_model(plain, plain.parent / f"whole{bias}", bias,
                               graph=json.loads(pathlib.Path(tiny.GRAPH).read_bytes()))
        shown[bias] = frames(play(build, whole / "manifest.json")[0])
    return [shown[0.05 if bias is None else bias][i] for bias, i in
            ((BIAS[i // tiny.RATE], i) for i in range(SECONDS * tiny.RATE))]


def test_each_chunk_has_its_own(build, package, wanted):
    assert len(set(wanted)) > 3 * tiny.RATE
    data, log = play(build, package / "manifest.json")
    assert frames(data) == wanted and "without" not in log
    data, _ = play(build, package / "manifest.json", "--start", "4")
    assert frames(data) == wanted[4 * tiny.RATE:]


def test_each_file_is_fetched_once(build, package, wanted):
    """The base and its graph once for all chunks; a shared update once; over HTTP without a cache."""
    with Server(package) as server:
        data, _ = play(build, f"{server.url}/manifest.json")
        assert frames(data) == wanted
        fetched = [request[0] for request in server.requests if "objects/" in request[0]]
    assert len(fetched) == len(set(fetched)) == 4, fetched


@pytest.mark.parametrize("how", ["missing", "flipped", "of another base", "garbage"])
def test_a_bad_update_costs_its_chunk_alone(build, broken, wanted, how):
    name = json.loads((broken / "manifest.json").read_bytes())["chunks"][4]["update"]["uri"]
    if how == "missing":
        (broken / name).unlink()
    elif how == "flipped":
        aid.flip(broken / name)
    else:
        def change(manifest):
            data = compact.update(file_of(0.1), file_of(0.2)) if how == "of another base" else b"junk"
            manifest["chunks"][4]["update"] = aid.put_object(broken, data, "update")
        aid.edit(broken, change)
    data, log = play(build, broken / "manifest.json")
    assert frames(data)[:4 * tiny.RATE] == wanted[:4 * tiny.RATE]
    assert not set(frames(data)[4 * tiny.RATE:]) & set(wanted)
    assert log.count("chunk 4 without super-resolution") == 1, log
    done = aid.run(build / "srinfo", "verify", broken / "manifest.json")
    assert done.returncode == 5, done.stderr
    [line] = done.stderr.splitlines()
    assert {"missing": "o such file", "flipped": "the SHA-256 is not the one",
            "of another base": ".update: an update of parameters",
            "garbage": ".update: no update of parameters"}[how] in line


def test_srinfo_and_srbench_count_them(build, plain, package, tmp_path):
    done = aid.run(build / "srinfo", "verify", package / "manifest.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    shown = aid.json_of(build / "srinfo", "show", package / "manifest.json", "--json")
    listed = json.loads((package / "manifest.json").read_bytes())["chunks"]
    assert [c["update"] for c in shown["chunks"]] == [c.get("update") for c in listed]
    text = aid.run(build / "srinfo", "show", package / "manifest.json").stdout
    assert "used by 5 chunks, 3 with an update" in text
    update, base = (package / json.loads((package / "manifest.json").read_bytes())[k][i][j]["uri"]
                    for k, i, j in (("chunks", 1, "update"), ("models", 0, "parameters")))
    assert aid.json_of(build / "srinfo", "show", update, "--json") == {
        "kind": "update", "bytes": update.stat().st_size, "base": base.stem}
    assert f"of parameters {base.stem}" in aid.run(build / "srinfo", "show", update).stdout
    (tmp_path / "short.update").write_bytes(update.read_bytes()[:39])
    done = aid.run(build / "srinfo", "show", tmp_path / "short.update")
    assert done.returncode != 0 and "too short for an update of parameters" in done.stderr
    source = tmp_path / "clip.mkv"
    tiny.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={SIZE[0] * 2}x{SIZE[1] * 2}:r={tiny.RATE}:d={SECONDS}",
                "-pix_fmt", "yuv420p", "-c:v", "ffv1", source)
    saved = tmp_path / "saved.y4m"
    found = aid.json_of(build / "srbench", "package", package / "manifest.json", "--reference", source, "--save",
                        saved, "--json")
    model = json.loads((package / "manifest.json").read_bytes())["models"][0]
    sizes = {c["update"]["uri"]: c["update"]["size"] for c in listed if "update" in c}
    assert len(sizes) == 2
    assert found["bytes"]["parameters"] == (sum(sizes.values()) + model["graph"]["size"]
                                            + model["parameters"]["size"])
    assert saved.read_bytes() == play(build, package / "manifest.json")[0]
