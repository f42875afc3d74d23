# SPDX-License-Identifier: BSD-2-Clause
"""Routes from package to picture: each cell by its own path, and what happens when they are bad."""
import itertools
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import package_aid as aid  # noqa: E402
import route_aid  # noqa: E402
import srp_ctypes  # noqa: E402
import tiny  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "net"))
from fault_server import Server  # noqa: E402

SIZE, SECONDS = (98, 66), 3
GRID = (5, 4)  # rows, columns of cells of 32x16
FRAMES = SECONDS * tiny.RATE


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("routes") / "plain", SECONDS, size=SIZE)


@pytest.fixture(scope="module")
def levels():
    return [route_aid.random_levels(seed, grid=GRID) for seed in range(SECONDS)]


@pytest.fixture(scope="module")
def package(plain, levels):
    return route_aid.add(plain, levels, plain.parent / "routed")


@pytest.fixture
def broken(package, tmp_path):
    return pathlib.Path(shutil.copytree(package, tmp_path / "broken"))


@pytest.fixture(scope="module")
def srplay(build):
    def run(*arguments, **options):
        environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        return subprocess.run([str(x) for x in (build / "srplay", "--no-display", "--no-cache", *arguments)],
                              capture_output=True, timeout=60, stdin=subprocess.DEVNULL, env=environment, **options)
    return run


def y4m(data):
    """(header, frames as [Y, U, V])."""
    head, rest = data.split(b"\n", 1)
    width, height = (int(word[1:]) for word in head.split()[1:3])
    sizes = [(height, width)] + [((height + 1) // 2, (width + 1) // 2)] * 2
    frames, at = [], 0
    while at < len(rest):
        assert rest[at:at + 6] == b"FRAME\n"
        at, planes = at + 6, []
        for h, w in sizes:
            planes.append(np.frombuffer(rest, np.uint8, h * w, at).reshape(h, w))
            at += h * w
        frames.append(planes)
    return frames


def dump(srplay, package, *options):
    """Frames and statistics."""
    out = package.parent / f"{package.name}.y4m"
    done = srplay("--dump", out, "--stats=-", *options, package / "manifest.json")
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    routes = stats["routes"]
    assert routes["frames"] + routes["default"]["total"] == stats["upscaled"]
    assert routes["default"]["total"] == sum(v for k, v in routes["default"].items() if k != "total")
    return y4m(out.read_bytes()), stats, done.stderr.decode()


def low_resolution(package):
    whole = aid.whole_video(package)
    raw = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", whole, "-f", "rawvideo", "-pix_fmt", "yuv420p",
                          "-vsync", "passthrough", "-"], capture_output=True, check=True).stdout
    width, height = SIZE
    size, frames = width * height * 3 // 2, []
    for at in range(0, len(raw), size):
        y = np.frombuffer(raw, np.uint8, width * height, at).reshape(height, width)
        chroma = np.frombuffer(raw, np.uint8, size - y.size, at + y.size).reshape(2, height // 2, width // 2)
        frames.append([y.copy(), chroma[0].copy(), chroma[1].copy()])
    return frames


@pytest.fixture(scope="module")
def by_path(build, package):
    """make(index, frame): the whole picture by one path, by libsrp without routes."""
    whole, parameters = route_aid.graph(), tiny.parameters(5, 0.08, route_aid.graph())
    source, ups = low_resolution(package), []
    for index in range(route_aid.PATHS):
        one = route_aid.path_graph(whole, index)
        ups.append(srp_ctypes.Upscaler(build, json.dumps(one).encode(), pick(parameters, one)))
    made = {}

    def make(index, frame):
        if (index, frame) not in made:
            made[index, frame] = ups[index].process(source[frame], srp_ctypes.SR)
        return made[index, frame]
    return make


def pick(parameters, graph):
    """The tensors that a graph needs."""
    size = int.from_bytes(parameters[:8], "little")
    header, body, data, entries = json.loads(parameters[8:8 + size]), parameters[8 + size:], b"", {}
    wanted = {node["name"] for node in graph["nodes"] if node["op"] == "conv2d"}
    for key, entry in header.items():
        if key.split(".")[0] in wanted:
            begin, end = entry["data_offsets"]
            entries[key] = {**entry, "data_offsets": [len(data), len(data) + end - begin]}
            data += body[begin:end]
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def composed(by_path, paths, frame):
    """The picture whose cells are those of the whole pictures."""
    out = [plane.copy() for plane in by_path(0, frame)]
    for (row, column), path in np.ndenumerate(paths):
        for i, plane in enumerate(by_path(int(path), frame)):
            w, h = (2 * side >> (i > 0) for side in route_aid.CELL)
            cell = np.s_[row * h:(row + 1) * h, column * w:(column + 1) * w]
            out[i][cell] = plane[cell]
    return out


def assert_same(found, wanted, what, tolerance=1):
    """f32: Winograd rounds regions in another order than the whole (docs/arithmetic.md)."""
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a.astype(int) - b).max() <= tolerance, what
        assert np.mean(a != b) < 0.01, what


# ---- pictures ------------------------------------------------------------------------------------


def test_exact_routes_are_the_packers_choice(srplay, package, levels, by_path):
    frames, stats, _ = dump(srplay, package, "--route=exact")
    assert len(frames) == FRAMES
    paths = np.concatenate([route_aid.choice(x) for x in levels])
    assert set(np.unique(paths)) == {0, 1, 2}
    for frame in (0, 1, 7, tiny.RATE - 1, tiny.RATE, 2 * tiny.RATE + 3, FRAMES - 1):
        assert_same(frames[frame], composed(by_path, paths[frame], frame), frame)
    routes = stats["routes"]
    assert routes["frames"] == FRAMES and routes["default"]["total"] == routes["missed_chunks"] == 0
    assert sum(routes["cells"]) + routes["reused"] == paths.size
    if routes["reused"] == 0:
        assert routes["cells"] == [int((paths == p).sum()) for p in range(3)]
    assert 0 < routes["macs_share"] < 1
    assert stats["media"]["bytes_routes"] == sum(f.stat().st_size for f in package.glob("objects/*.routes"))


def test_off_is_the_default_path(srplay, package, by_path):
    frames, stats, _ = dump(srplay, package, "--route=off")
    for frame in (0, 30, FRAMES - 1):
        assert_same(frames[frame], by_path(1, frame), frame, 0)
    assert stats["routes"]["default"] == {**stats["routes"]["default"], "user": FRAMES, "total": FRAMES}
    assert stats["routes"]["macs_share"] is None and stats["routes"]["cells"] == []
    assert stats["media"]["bytes_routes"] == 0


def test_budget_without_a_limit_takes_every_gain(srplay, package, levels, by_path):
    frames, stats, _ = dump(srplay, package)
    paths = np.concatenate([(x > 0).sum(axis=0) for x in levels])
    for frame in (0, 12, 40, FRAMES - 1):
        assert_same(frames[frame], composed(by_path, paths[frame], frame), frame)
    assert stats["routes"]["frames"] == FRAMES


def test_choices(srplay, plain, by_path, tmp_path):
    wanted = [np.random.default_rng(seed).integers(0, 3, (1, tiny.RATE, *GRID)).astype(np.uint8) for seed in range(3)]
    package = route_aid.add(plain, wanted, tmp_path / "choice", threshold=0)
    for option in ("--route=exact", "--route=budget"):
        frames, stats, _ = dump(srplay, package, option)
        assert stats["routes"]["frames"] == FRAMES
        for frame in (0, 33, FRAMES - 1):
            paths = wanted[frame // tiny.RATE][0, frame % tiny.RATE]
            assert_same(frames[frame], composed(by_path, paths, frame), frame)


@pytest.mark.parametrize("start", [0.52, 1.0, 1.96, 2.48])
def test_a_seek_finds_the_frames_own_routes(srplay, package, start, levels, by_path):
    frames, stats, _ = dump(srplay, package, "--route=exact", f"--start={start}")
    first = round(start * tiny.RATE)
    paths = np.concatenate([route_aid.choice(x) for x in levels])
    assert len(frames) == FRAMES - first == stats["routes"]["frames"]
    for i in (0, 1, len(frames) - 1):
        assert_same(frames[i], composed(by_path, paths[first + i], first + i), i)


def test_real_time_by_budget(srplay, package):
    done = srplay("--stats=-", "--no-audio", package / "manifest.json")
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    assert stats["routes"]["frames"] > FRAMES * 3 // 4 and stats["dropped"] <= 2
    assert stats["routes"]["frames"] + stats["routes"]["default"]["total"] == stats["upscaled"]


def test_int8_is_the_same_for_any_number_of_threads(srplay, package):
    one, two = (dump(srplay, package, "--route=exact", "--dtype=int8", f"--threads={n}")[0] for n in (1, 3))
    for a, b in zip(one, two, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# ---- bad routes: the default path, and nothing worse ----------------------------------------------


def damage(package, how):
    """Spoils the routes of chunk 1; returns the reason in the statistics."""
    path = route_aid.path_of(package, 1)
    levels = route_aid.random_levels(1, grid=GRID)
    if how == "missing":
        path.unlink()
        return "not_arrived"
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "flipped":
        aid.flip(path)
    elif how == "another chunk's":
        path.write_bytes(route_aid.path_of(package, 0).read_bytes())
    elif how == "truncated, rightly declared":
        route_aid.replace(package, 1, path.read_bytes()[:-1])
    elif how == "garbage":
        route_aid.replace(package, 1, b"routes, or so they say")
    elif how == "another grid":
        route_aid.replace(package, 1, route_aid.encode(route_aid.random_levels(1, grid=(4, 4))))
    elif how == "another cell size":
        route_aid.replace(package, 1, route_aid.encode(levels, cell=(64, 32)))
    elif how == "too few frames":
        route_aid.replace(package, 1, route_aid.encode(levels[:, :-1]))
    elif how == "rising levels":
        route_aid.replace(package, 1, route_aid.encode(levels[::-1]))
    elif how == "no such level":
        route_aid.replace(package, 1, route_aid.encode(levels + 64))
    elif how == "other paths":
        route_aid.replace(package, 1, route_aid.encode(levels[:1], paths=2))
        return "mismatch"
    return "not_verified"


@pytest.mark.parametrize("how", [
    "missing", "truncated", "flipped", "another chunk's", "truncated, rightly declared", "garbage", "another grid",
    "another cell size", "too few frames", "rising levels", "no such level", "other paths"])
def test_bad_routes_cost_routes_alone(srplay, broken, how, levels, by_path):
    reason = damage(broken, how)
    frames, stats, log = dump(srplay, broken, "--route=exact")
    routes = stats["routes"]
    assert stats["upscaled"] == stats["frames"] == FRAMES
    assert routes["frames"] == 2 * tiny.RATE and routes["missed_chunks"] == 1
    assert routes["default"][reason] == routes["default"]["total"] == tiny.RATE
    assert log.count("chunk 1 by the model's default path") == 1, log
    paths = np.concatenate([route_aid.choice(x) for x in levels])
    for frame in (tiny.RATE, tiny.RATE + 9, 2 * tiny.RATE - 1):
        assert_same(frames[frame], by_path(1, frame), frame, 0)
    for frame in (tiny.RATE - 1, 2 * tiny.RATE):
        assert_same(frames[frame], composed(by_path, paths[frame], frame), frame)


def test_chunks_without_routes(srplay, plain, levels, by_path, tmp_path):
    package = route_aid.add(plain, [levels[0], None, levels[2]], tmp_path / "some")
    frames, stats, log = dump(srplay, package, "--route=exact")
    assert stats["routes"]["frames"] == 50 and stats["routes"]["default"]["none"] == 25
    assert stats["routes"]["missed_chunks"] == 0 and "default path" not in log
    assert_same(frames[30], by_path(1, 30), 30, 0)


def test_general_models_have_no_routes(srplay, package, tmp_path):
    (tmp_path / "general").mkdir()
    shutil.copy(tiny.GRAPH, tmp_path)
    (tmp_path / "general" / "edge8-x2.safetensors").write_bytes(tiny.parameters(3))
    _, stats, _ = dump(srplay, package, "--model=edge8-x2", "--models-dir", tmp_path, "--frames=5")
    assert stats["sr"]["model"] == "edge8-x2" and stats["routes"]["default"]["none"] == stats["upscaled"] == 5


def frames_of(build, manifest, *options):
    done = subprocess.run([str(x) for x in (build / "test/player/aid_media", manifest, *options)], cwd="/",
                          capture_output=True, text=True, timeout=60, errors="replace",
                          env={**os.environ, "no_proxy": "127.0.0.1"})
    rows = [dict(word.split("=", 1) for word in line.split()[1:])
            for line in done.stdout.splitlines() if line.startswith("frame ")]
    return [(int(row["chunk"]), int(row["place"]), int(row["no_routes"])) for row in rows], done.stderr


NONE, NOT_VERIFIED, NOT_ARRIVED = 1, 2, 3


def test_late_routes(build, package):
    """The picture does not wait, and takes them up once they are there."""
    with Server(package) as server:
        server.faults["/" + str(route_aid.path_of(package, 0).relative_to(package))] = ["stall:100"]
        found, log = frames_of(build, server.url + "/manifest.json", "--start-wait", 50, "--pace", 120, "--frames", 25)
    # On a busy machine the model, too, may be late for a few.
    reasons = list(itertools.dropwhile(lambda reason: reason == NONE, (r for _, _, r in found)))
    assert reasons[0] == NOT_ARRIVED and reasons[-1] == 0
    assert set(reasons) == {0, NOT_ARRIVED} and log.count("default path") == 1, log


def test_wrong_routes_are_fetched_again(build, package, tmp_path):
    path = "/" + str(route_aid.path_of(package, 1).relative_to(package))
    with Server(package) as server:
        server.faults[path] = ["flip:30"]
        found, _ = frames_of(build, server.url + "/manifest.json", "--exact", 1, "--cache", tmp_path / "c")
        assert {reason for _, _, reason in found} == {0} and len(server.asked(path)) == 2
        server.requests.clear()
        found, _ = frames_of(build, server.url + "/manifest.json", "--exact", 1, "--cache", tmp_path / "c")
        assert {reason for _, _, reason in found} == {0}
        assert [r[0] for r in server.requests] == ["/manifest.json"]
        server.faults[path] = ["flip:30*"]
        found, log = frames_of(build, server.url + "/manifest.json", "--exact", 1)
        assert [reason for _, _, reason in found] == [0] * 25 + [NOT_VERIFIED] * 25 + [0] * 25
        server.faults[path] = ["status:404*"]
        found, log = frames_of(build, server.url + "/manifest.json", "--exact", 1)
        assert [reason for _, _, reason in found] == [0] * 25 + [NOT_ARRIVED] * 25 + [0] * 25
        assert log.count("chunk 1 by the model's default path") == 1 and "404" in log


def test_a_lost_frame_shifts_nothing(build, broken):
    """The third frame of chunk 1 is gone from its file: the others keep their places."""
    whole, _ = frames_of(build, broken / "manifest.json", "--exact", 1)
    assert whole == [(i // 25, i % 25, 0) for i in range(FRAMES)]
    path = broken / "video-00001.m4s"
    data = bytearray(path.read_bytes())
    spoil_sample(data, 2)
    path.write_bytes(data)
    manifest = tiny.read(broken)
    manifest["chunks"][1]["segment"].update(tiny.file(broken, path.name))
    tiny.write(broken, manifest)
    found, log = frames_of(build, broken / "manifest.json", "--exact", 1)
    assert len(found) < FRAMES and "damaged" in log
    assert found[:25] == whole[:25] and found[-25:] == whole[-25:]
    assert set(found) <= set(whole) and len(set(found)) == len(found), log


def spoil_sample(data, index):
    """Makes one sample of a fragment undecodable, by its sizes in trun."""
    at = data.index(b"trun")
    flags = int.from_bytes(data[at + 5:at + 8], "big")
    count = int.from_bytes(data[at + 8:at + 12], "big")
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    entry = at + 12 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
    assert flags & 0x200 and index < count
    offset = data.index(b"mdat") + 4
    for i in range(index):
        where = entry + 4 * (i * len(fields) + fields.index(0x200))
        offset += int.from_bytes(data[where:where + 4], "big")
    data[offset:offset + 8] = b"\xff" * 8


# ---- srbench ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(package, tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "clip.mkv"
    tiny.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={SIZE[0] * 2}x{SIZE[1] * 2}:r={tiny.RATE}:d={SECONDS}",
                "-pix_fmt", "yuv420p", "-c:v", "ffv1", path)
    return path


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_srbench_measures_what_srplay_shows(build, srplay, package, original, levels, tmp_path, dtype):
    """Byte for byte."""
    for route in ("exact", "off"):
        saved, dumped = tmp_path / f"{route}.y4m", tmp_path / f"{route}-player.y4m"
        found = aid.json_of(build / "srbench", "package", package / "manifest.json", "--reference", original,
                            "--route", route, "--save", saved, "--dtype", dtype, "--json")
        done = srplay("--dtype", dtype, "--dump", dumped, f"--route={route}", package / "manifest.json")
        assert done.returncode == 0, done.stderr
        assert saved.read_bytes() == dumped.read_bytes()
        assert found["routed"] == (FRAMES if route == "exact" else 0)
    assert (tmp_path / "exact.y4m").read_bytes() != (tmp_path / "off.y4m").read_bytes()


def test_srbench_counts_routes(build, package, original, levels):
    found = aid.json_of(build / "srbench", "package", package / "manifest.json", "--reference", original, "--json")
    paths = np.concatenate([route_aid.choice(x) for x in levels])
    assert found["upscaled"] == found["routed"] == FRAMES
    assert found["cells"] == [int((paths == p).sum()) for p in range(3)]
    widths = np.minimum(32, SIZE[0] - 32 * np.arange(GRID[1]))
    heights = np.minimum(16, SIZE[1] - 16 * np.arange(GRID[0]))
    share = (np.array(route_aid.MACS)[paths] * heights[:, None] * widths).sum()
    assert found["macs_share"] == pytest.approx(share / (FRAMES * SIZE[0] * SIZE[1] * route_aid.MACS[2]), rel=1e-6)
    assert found["bytes"]["routes"] == sum(f.stat().st_size for f in package.glob("objects/*.routes"))
    assert found["bytes"]["total"] == sum(v for k, v in found["bytes"].items() if k != "total")
    text = aid.run(build / "srbench", "package", package / "manifest.json", "--reference", original).stdout
    assert f"cells by path: {' '.join(map(str, found['cells']))}," in text
    played = aid.json_of(build / "srbench", "play", package / "manifest.json", "--json")
    assert played["routes"]["frames"] == FRAMES and played["routes"]["default"]["total"] == 0
    assert sum(played["routes"]["cells"]) + played["routes"]["reused"] == paths.size
    for route, frames in (("off", 0), ("budget", FRAMES)):
        played = aid.json_of(build / "srbench", "play", package / "manifest.json", "--route", route, "--json")
        assert played["routes"]["frames"] == frames


def test_srbench_refuses_bad_routes(build, broken, original):
    damage(broken, "flipped")
    done = aid.run(build / "srbench", "package", broken / "manifest.json", "--reference", original, "--json")
    assert done.returncode == 5 and done.stdout == ""
    assert "chunk 1: its routes cannot be used: routes failed verification" in done.stderr
    done = aid.run(build / "srbench", "package", broken / "manifest.json", "--reference", original, "--json",
                   "--route", "off", "--frames", 30)
    assert done.returncode == 0
    done = aid.run(build / "srbench", "play", broken / "manifest.json", "--json")
    assert done.returncode == 5 and json.loads(done.stdout)["routes"]["default"]["not_verified"] == 25
    assert "25 frames by the default path: routes failed verification" in done.stderr
    assert aid.run(build / "srbench", "play", broken / "manifest.json", "--route", "off").returncode == 0


def read_gains(path):
    data = path.read_bytes()
    magic, version, columns, rows, paths, frames, width, height = struct.unpack("<4s7I", data[:32])
    assert (magic, version) == (b"SRGN", 1)
    return np.frombuffer(data, "<f8", offset=32).reshape(frames, paths, rows, columns), (width, height)


def planes_of(path, size):
    raw = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "yuv420p",
                          "-"], capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, size[0] * size[1] * 3 // 2)
    return frames[:, :size[0] * size[1]].reshape(-1, size[1], size[0])


def test_gains(build, package, original, by_path, tmp_path):
    out = tmp_path / "gains.bin"
    arguments = ["gains", package / "manifest.json", "--reference", original, "-o", out]
    found = aid.json_of(build / "srbench", *arguments, "--grid", "32x16", "--json")
    gains, cell = read_gains(out)
    assert cell == (32, 16) and gains.shape == (FRAMES, 3, *GRID) and not np.isnan(gains).any()
    assert found == {"frames": FRAMES, "paths": 3, "columns": GRID[1], "rows": GRID[0], "cell_width": 32,
                     "cell_height": 16, "bytes": out.stat().st_size}
    luma = planes_of(original, (2 * SIZE[0], 2 * SIZE[1]))
    for frame in (0, 31, FRAMES - 1):
        for path in range(3):
            error = (by_path(path, frame)[0].astype(int) - luma[frame]) ** 2
            for row in range(GRID[0]):
                for column in range(GRID[1]):
                    part = error[row * 32:(row + 1) * 32, column * 64:(column + 1) * 64]
                    assert gains[frame, path, row, column] == part.sum(), (frame, path, row, column)
    text = aid.run(build / "srbench", *arguments, "--frames", 7, "--dtype", "int8")
    assert text.returncode == 0 and "7 frames, 3 paths, 3x2 cells of 48x54 pixels" in text.stdout
    assert read_gains(out)[0].shape == (7, 3, 2, 3)


def test_gains_where_chunks_have_no_model(build, plain, levels, original, tmp_path):
    package = route_aid.add(plain, [None] * 3, tmp_path / "some")
    manifest = tiny.read(package)
    manifest["chunks"][0]["model"] = None
    tiny.write(package, manifest)
    out = tmp_path / "gains.bin"
    arguments = ["gains", package / "manifest.json", "--reference", original, "-o", out]
    assert aid.run(build / "srbench", *arguments).returncode == 0
    gains, _ = read_gains(out)
    assert np.isnan(gains[:25]).all() and not np.isnan(gains[25:]).any() and len(gains) == FRAMES
    for chunk in manifest["chunks"]:
        chunk["model"] = None
    tiny.write(package, manifest)
    out.unlink()
    done = aid.run(build / "srbench", *arguments)
    assert done.returncode == 5 and "no chunk has a model" in done.stderr and not out.exists()


@pytest.mark.parametrize("arguments, words", [
    (["gains"], "one manifest"), (["gains", "a"], "--reference"), (["gains", "a", "--reference", "b"], "-o"),
    (["gains", "a", "--grid", "31x16"], "--grid"), (["gains", "a", "--grid", "6x16"], "--grid"),
    (["gains", "a", "--grid", "2048x16"], "--grid"), (["gains", "a", "--bogus"], "--bogus"),
    (["package", "a", "--route", "budget"], "--route"), (["package", "a", "--save", "-"], "--save"),
    (["play", "a", "--route", "x"], "--route"), (["engine", "--path", "8"], "--path")])
def test_usage(build, arguments, words):
    done = aid.run(build / "srbench", *arguments)
    assert done.returncode == 1 and done.stdout == "" and words in done.stderr


def test_engine_and_plan_of_one_path(build, tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(route_aid.graph()))
    for index, option in ((0, ["--path", 0]), (1, []), (1, ["--path", 1]), (2, ["--path", 2])):
        found = aid.json_of(build / "srbench", "engine", "--graph", path, "--size", "64x48", "--runs", 2, "--json",
                            *option)
        assert found["macs"] == route_aid.MACS[index] * 64 * 48 and found["model_path"] == index
        if index > 0:
            plan = aid.json_of(build / "srinfo", "plan", "--graph", path, "--json", *option)
            assert plan["macs_per_pixel"] == route_aid.MACS[index]
    for program, command in (("srbench", ["engine", "--size", "64x48"]), ("srinfo", ["plan"])):
        done = aid.run(build / program, *command, "--graph", path, "--path", 3)
        assert done.returncode == 1 and "3" in done.stderr


# ---- srinfo -------------------------------------------------------------------------------------


def test_show_paths_and_routes(build, package, levels):
    graph = next(package.glob("objects/*.json"))
    for path in package.glob("objects/*.json"):
        found = aid.json_of(build / "srinfo", "show", path, "--json")
        graph = path if found["name"] == "dyn-x2" else graph
    found = aid.json_of(build / "srinfo", "show", graph, "--json")
    assert found["path_macs"] == route_aid.MACS and found["default_path"] == 1
    line = f"MAC per pixel of each: 0: 0, 1: {route_aid.MACS[1]} (default), 2: {route_aid.MACS[2]}"
    assert line in aid.run(build / "srinfo", "show", graph).stdout

    found = aid.json_of(build / "srinfo", "show", package / "manifest.json", "--json")
    assert found["models"][0]["path_macs"] == route_aid.MACS
    for chunk, one in zip(found["chunks"], levels, strict=True):
        paths, routes = route_aid.choice(one), chunk["routes"]
        assert routes["cells"] == [int((paths == p).sum()) for p in range(3)]
        assert (routes["routes_kind"], routes["threshold"], routes["paths"]) == ("gains", 20, 3)
        assert routes["cell"] == [32, 16] and routes["grid"] == [GRID[1], GRID[0]] and routes["frames"] == 25
    text = aid.run(build / "srinfo", "show", package / "manifest.json").stdout
    assert line in text and "in 3 chunks, gains of 3 paths, 4x5 cells of 32x16 pixels, threshold 20" in text
    paths = np.concatenate([route_aid.choice(x) for x in levels])
    assert f"path 0: {100 * (paths == 0).mean():.1f}%" in text

    path = route_aid.path_of(package, 0)
    found = aid.json_of(build / "srinfo", "show", path, "--json")
    assert found["kind"] == "routes" and found["bytes"] == path.stat().st_size and found["grid"] == [4, 5]
    assert "gains, 3 paths, threshold 20" in aid.run(build / "srinfo", "show", path).stdout


def test_show_with_bad_routes(build, broken):
    damage(broken, "flipped")
    found = aid.json_of(build / "srinfo", "show", broken / "manifest.json", "--json")
    assert "SHA-256" in found["chunks"][1]["routes"]["error"] and "cells" in found["chunks"][0]["routes"]
    assert "1 cannot be read" in aid.run(build / "srinfo", "show", broken / "manifest.json").stdout
    path = route_aid.path_of(broken, 0)
    aid.cut(path)
    done = aid.run(build / "srinfo", "show", path)
    assert done.returncode == 5 and done.stdout == "" and path.name in done.stderr


def test_verify(build, package):
    done = aid.run(build / "srinfo", "verify", package / "manifest.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped", "another chunk's", "truncated, rightly declared",
                                 "garbage", "another grid", "too few frames", "rising levels", "no such level",
                                 "other paths"])
def test_verify_names_bad_routes(build, broken, how):
    damage(broken, how)
    done = aid.run(build / "srinfo", "verify", broken / "manifest.json")
    assert done.returncode == 5 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert route_aid.path_of(broken, 1).name in line
