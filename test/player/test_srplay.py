# SPDX-License-Identifier: BSD-2-Clause
"""srplay without a window: what it decodes, upscales, counts, writes and returns."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import sys
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import srp_ctypes  # noqa: E402
import tiny  # noqa: E402

ROOT = tiny.ROOT
CLIPS = ROOT.parent / "shared" / "clips"
SIZE, SECONDS = (96, 64), 3
FRAMES = SECONDS * tiny.RATE
TIMEOUT = 60


@pytest.fixture(scope="module")
def srplay(build):
    def run(*args, timeout=TIMEOUT, **options):
        command = [build / "srplay", "--no-display", "--no-cache", *args]
        environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        return subprocess.run([str(word) for word in command], capture_output=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, env=environment, **options)
    return run


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("srplay") / "package", SECONDS, size=SIZE)


@pytest.fixture
def broken(package, tmp_path):
    """A copy to damage."""
    return pathlib.Path(shutil.copytree(package, tmp_path / "broken"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def stats_of(done, code=0):
    assert done.returncode == code, done.stderr.decode()
    s = json.loads(done.stdout)
    assert s["frames"] == s["upscaled"] + s["not_upscaled"]["total"] + s["dropped"]
    assert s["not_upscaled"]["total"] == sum(v for k, v in s["not_upscaled"].items() if k != "total")
    return s


def read_y4m(data):
    """(header, frames as [Y, U, V])."""
    head, rest = data.split(b"\n", 1)
    fields = {word[:1]: word[1:].decode() for word in head.split()[1:]}
    width, height = int(fields[b"W"]), int(fields[b"H"])
    sizes = [(height, width)] + [((height + 1) // 2, (width + 1) // 2)] * 2
    frames, at = [], 0
    while at < len(rest):
        assert rest[at:at + 6] == b"FRAME\n"
        at, planes = at + 6, []
        for h, w in sizes:
            planes.append(np.frombuffer(rest, np.uint8, h * w, at).reshape(h, w))
            at += h * w
        frames.append(planes)
    return head.decode(), frames


def decode(path, width, height, pixel="yuv420p"):
    """Frames as the ffmpeg program decodes them."""
    raw = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt",
                          pixel, "-vsync", "passthrough", "-"], capture_output=True, check=True).stdout
    if pixel == "rgb24":
        return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    size = width * height * 3 // 2
    frames = []
    for at in range(0, len(raw), size):
        y = np.frombuffer(raw, np.uint8, width * height, at).reshape(height, width)
        u = np.frombuffer(raw, np.uint8, width * height // 4, at + width * height)
        v = np.frombuffer(raw, np.uint8, width * height // 4, at + width * height * 5 // 4)
        frames.append([y.copy(), *(p.reshape(height // 2, width // 2).copy() for p in (u, v))])
    return frames


def low_resolution(package):
    whole = package.parent / "whole.mp4"
    whole.write_bytes(b"".join(p.read_bytes() for p in [package / "video-init.mp4",
                                                        *sorted(package.glob("video-*.m4s"))]))
    return decode(whole, *SIZE)


# ---- the pictures ----

def test_dump_is_what_libsrp_makes(srplay, build, package, tmp_path):
    out = tmp_path / "out.y4m"
    s = stats_of(srplay("--dump", out, "--stats", "-", package / "manifest.json"))
    assert (s["frames"], s["upscaled"], s["dropped"], s["late"]) == (FRAMES, FRAMES, 0, 0)
    head, frames = read_y4m(out.read_bytes())
    assert head == f"YUV4MPEG2 W{SIZE[0] * 2} H{SIZE[1] * 2} F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED"
    assert len(frames) == FRAMES
    source, graph = low_resolution(package), tiny.GRAPH.read_bytes()
    ups = [srp_ctypes.Upscaler(build, graph, tiny.parameters(seed)) for seed in (0, 1)]
    for index in (0, 1, tiny.RATE - 1, tiny.RATE, 2 * tiny.RATE - 1, 2 * tiny.RATE, FRAMES - 1):
        wanted = ups[index // tiny.RATE % 2].process(source[index], srp_ctypes.SR)
        for plane in range(3):
            assert np.array_equal(frames[index][plane], wanted[plane]), (index, plane)


def test_sr_off_is_the_base_upscaler(srplay, build, package):
    done = srplay("--sr=off", "--dump", "-", "--frames=3", package / "manifest.json")
    assert done.returncode == 0
    _, frames = read_y4m(done.stdout)
    base = srp_ctypes.Upscaler(build)
    for got, low in zip(frames, low_resolution(package), strict=False):
        for a, b in zip(got, base.process(low, srp_ctypes.BICUBIC), strict=True):
            assert np.array_equal(a, b)


def test_side_by_side(srplay, package, tmp_path):
    manifest = package / "manifest.json"
    _, both = read_y4m(srplay("--compare=side", "--frames=1", "--dump=-", manifest).stdout)
    _, sr = read_y4m(srplay("--frames=1", "--dump=-", manifest).stdout)
    _, base = read_y4m(srplay("--frames=1", "--sr=off", "--dump=-", manifest).stdout)
    for pair, left, right in zip(both[0], base[0], sr[0], strict=True):
        assert np.array_equal(pair, np.hstack([left, right]))
    assert not np.array_equal(base[0][0], sr[0][0])


def test_png_last_and_series(srplay, package, tmp_path):
    manifest = package / "manifest.json"
    assert srplay("--frames=3", "--dump", tmp_path / "last.png", manifest).returncode == 0
    assert srplay("--frames=3", "--dump", tmp_path / "n%02d.png", manifest).returncode == 0
    names = sorted(p.name for p in tmp_path.glob("n*.png"))
    assert names == ["n01.png", "n02.png", "n03.png"]
    width, height = SIZE[0] * 2, SIZE[1] * 2
    last, third = (decode(tmp_path / n, width, height, "rgb24")[0] for n in ("last.png", "n03.png"))
    assert np.array_equal(last, third)
    assert not np.array_equal(third, decode(tmp_path / "n01.png", width, height, "rgb24")[0])
    y4m = tmp_path / "x.y4m"
    srplay("--frames=3", "--dump", y4m, manifest)
    # y4m carries no matrix; tell ffmpeg, whose chroma filter differs at edges: means must agree, no tint.
    rgb = subprocess.run(["ffmpeg", "-v", "error", "-i", y4m, "-vf",
                          "scale=in_color_matrix=bt601:flags=bicubic+accurate_rnd+full_chroma_int",
                          "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    rgb = np.frombuffer(rgb, np.uint8).reshape(-1, height, width, 3)[2]
    assert np.abs(rgb.astype(float).mean((0, 1)) - third.astype(float).mean((0, 1))).max() < 1


def psnr(a, b):
    return 10 * np.log10(255 ** 2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


def test_no_shift_against_the_original(srplay, tmp_path):
    """Downscaled and played at x2, the picture lies exactly on the original: no other position fits better,
    and left and right, up and down fit equally badly."""
    clip, original, low = CLIPS / "bbb_1080p24.mp4", tmp_path / "hr.mkv", tmp_path / "lr.mkv"
    source = (["-ss", "1", "-i", clip, "-vf", "scale=640:360"] if clip.exists() else
              ["-f", "lavfi", "-i", "mandelbrot=s=640x360:r=25"])
    tiny.ffmpeg(*source, "-frames:v", 2, "-an", "-pix_fmt", "yuv420p", "-c:v", "ffv1", original)
    sited = "in_h_chr_pos=0:in_v_chr_pos=128:out_h_chr_pos=0:out_v_chr_pos=128"
    tiny.ffmpeg("-i", original, "-vf", f"scale=320:180:flags=bicubic:{sited}", "-c:v", "libx264", "-qp", 4, low)
    done = srplay("--sr=off", "--scale=2", "--dump=-", low)
    assert done.returncode == 0, done.stderr
    _, frames = read_y4m(done.stdout)
    hr = decode(original, 640, 360)
    for plane in range(3):
        got, wanted, m = frames[0][plane], hr[0][plane], 8
        crop = wanted[m:-m, m:-m]
        fit = {(dy, dx): psnr(got[m + dy:got.shape[0] - m + dy, m + dx:got.shape[1] - m + dx], crop)
               for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
        print(plane, fit)
        assert max(fit, key=fit.get) == (0, 0), fit
        assert abs(fit[0, 1] - fit[0, -1]) < 0.8 and abs(fit[1, 0] - fit[-1, 0]) < 0.8, fit


def test_start_length_frames(srplay, package):
    manifest = package / "manifest.json"
    _, everything = read_y4m(srplay("--dump=-", manifest).stdout)
    _, part = read_y4m(srplay("--start=1.2", "--length=0.4", "--dump=-", manifest).stdout)
    assert len(part) == 10
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(part, everything[30:40], strict=True))
    s = stats_of(srplay("--frames=7", "--untimed", "--stats=-", manifest))
    assert s["frames"] == 7 and abs(s["media_duration_s"] - 7 / 25) < 1e-3
    s = stats_of(srplay("--loop", "--frames", FRAMES + 10, "--untimed", "--stats=-", manifest))
    assert s["frames"] == FRAMES + 10


# ---- time ----

def test_real_time_drops_nothing(srplay, package):
    begun = time.monotonic()
    done = srplay("--stats=-", package / "manifest.json")
    wall = time.monotonic() - begun
    s = stats_of(done)
    assert s["dropped"] == 0 and s["stalls"] == 0 and s["frames"] == FRAMES
    assert s["audio"] and not s["untimed"]
    assert SECONDS - 0.1 < wall < SECONDS + 5
    assert abs(s["duration_s"] - (SECONDS - 1 / 25)) < 0.5
    assert abs(s["fps"] - 25) < 4
    assert abs(s["av_offset_ms"]) < 40
    assert "keeps up" in s["verdict"] and s["errors"] == []
    assert s["sr"]["model"].startswith("tiny") and s["sr"]["scale"] == 2
    assert s["output"] == {"width": SIZE[0] * 2, "height": SIZE[1] * 2}
    assert s["media"]["bytes_video"] > 0 and s["arena_bytes"] > 0 and s["peak_rss_bytes"] > 1 << 20
    for stage in ("decode", "upscale", "present"):
        assert set(s["stage_ms"][stage]) == {"p50", "p95", "p99", "avg", "max"}
    assert 0 < s["stage_ms"]["upscale"]["p50"] <= s["stage_ms"]["upscale"]["p99"]


def test_without_audio_the_monotonic_clock(srplay, package):
    s = stats_of(srplay("--no-audio", "--length=1", "--stats=-", package / "manifest.json"))
    assert not s["audio"] and s["dropped"] == 0 and abs(s["duration_s"] - 0.96) < 0.4


def test_untimed_is_faster_than_time(srplay, package):
    s = stats_of(srplay("--untimed", "--stats=-", package / "manifest.json"))
    assert s["untimed"] and s["fps"] > 50 and s["frames"] == s["upscaled"] == FRAMES
    assert s["late"] == s["dropped"] == 0


# ---- reasons ----

def test_user_switched_off(srplay, package):
    s = stats_of(srplay("--sr=off", "--untimed", "--stats=-", package / "manifest.json"))
    assert s["not_upscaled"]["user"] == s["not_upscaled"]["total"] == FRAMES
    assert "SR on no frame" in s["verdict"]


def test_plain_file_without_and_with_a_model(srplay, tmp_path):
    clip, models = tmp_path / "clip.mp4", tmp_path / "models"
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc=s=97x65:r=25:d=1", "-pix_fmt", "yuv444p", "-c:v", "libx264", clip)
    one_line(srplay("--model=nonesuch", clip), 2, "nonesuch")
    s = stats_of(srplay("--models-dir", tmp_path, "--untimed", "--stats=-", clip, cwd=tmp_path))
    assert s["not_upscaled"]["no_model"] == s["frames"] == 25
    (models / "general").mkdir(parents=True)
    shutil.copy(tiny.GRAPH, models)
    (models / "general" / "edge8-x2.safetensors").write_bytes(tiny.parameters(3))
    s = stats_of(srplay("--model=edge8-x2", "--models-dir", models, "--untimed", "--stats=-", clip))
    assert s["upscaled"] == s["frames"] == 25
    assert s["output"] == {"width": 194, "height": 130}


def test_bad_parameters_cost_sr_alone(srplay, broken):
    first = tiny.read(broken)["models"][0]["parameters"]["uri"]
    flip(broken / first)
    done = srplay("--untimed", "--stats=-", broken / "manifest.json")
    s = stats_of(done)
    assert s["frames"] == FRAMES
    assert s["not_upscaled"]["not_verified"] == 2 * tiny.RATE  # chunks 0 and 2 use it
    assert s["upscaled"] == tiny.RATE
    assert first.encode() in done.stderr and b"SR off from chunk 0" in done.stderr


# ---- exit status and messages ----

def one_line(done, code, *parts):
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.decode().splitlines() if "error" in line]
    assert len(errors) == 1, done.stderr
    for part in parts:
        assert part in errors[0], errors[0]
    assert done.stdout == b""


def test_usage(srplay, build):
    one_line(srplay("--bogus", "x"), 1, "--bogus")
    one_line(srplay(), 1, "nothing to play")
    done = srplay("--help")
    assert done.returncode == 0 and b"--no-display" in done.stdout and done.stderr == b""
    done = srplay("--version")
    assert done.returncode == 0 and done.stdout.startswith(b"srplay ") and b"backends: " in done.stdout


def test_missing_and_garbage(srplay, tmp_path):
    one_line(srplay(tmp_path / "nothing.mp4"), 2, "nothing.mp4")
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(np.random.default_rng(1).bytes(100000))
    one_line(srplay(garbage), 2, "garbage.mp4")
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"format": "srplay-package", "version": 1')
    one_line(srplay(manifest), 2, "manifest.json")


def test_nothing_verified(srplay, broken):
    flip(broken / "video-init.mp4")
    done = srplay(broken / "manifest.json")
    assert done.returncode == 5, done.stderr
    assert b"video-init.mp4" in done.stderr


def test_partly_played(srplay, broken):
    flip(broken / "video-00001.m4s")
    done = srplay("--untimed", "--stats=-", broken / "manifest.json")
    s = stats_of(done, 3)
    assert s["frames"] == FRAMES - tiny.RATE
    assert s["media"]["damaged_chunks"] >= 1
    assert b"video-00001.m4s" in done.stderr


def test_no_display_to_open(build, package):
    done = subprocess.run([build / "srplay", package / "manifest.json"], capture_output=True, timeout=TIMEOUT,
                          env={**os.environ, "SDL_VIDEODRIVER": "x11", "DISPLAY": ":64999", "XDG_CACHE_HOME": "/nonexistent"})
    assert done.returncode == 1 and b"display" in done.stderr


def test_unwritable_outputs(srplay, package):
    manifest = package / "manifest.json"
    one_line(srplay("--dump=/nonexistent/x.y4m", manifest), 2, "/nonexistent/x.y4m")
    done = srplay("--untimed", "--frames=1", "--stats=/nonexistent/s.json", manifest)
    assert done.returncode == 3 and b"/nonexistent/s.json" in done.stderr
    one_line(srplay("--log-file=/nonexistent/log", manifest), 1, "/nonexistent/log")


def test_closed_pipe_ends_cleanly(build, package):
    with subprocess.Popen([build / "srplay", "--no-display", "--no-cache", "--loop", "--dump=-",
                           package / "manifest.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.read(1000)
        child.stdout.close()
        assert child.wait(TIMEOUT) == 3
        assert b"Broken pipe" in child.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_cleanly(build, package, tmp_path, number):
    stats = tmp_path / "s.json"
    with subprocess.Popen([build / "srplay", "--no-display", "--no-cache", "--loop", "--stats", stats,
                           package / "manifest.json"], stderr=subprocess.PIPE) as child:
        time.sleep(1.5)
        begun = time.monotonic()
        child.send_signal(number)
        assert child.wait(TIMEOUT) == 4
        assert time.monotonic() - begun < 2.5
    s = json.loads(stats.read_text())
    assert s["interrupted"] and s["frames"] > 0


def test_log_file(srplay, package, tmp_path):
    log = tmp_path / "log"
    done = srplay("--log-file", log, "--untimed", package / "manifest.json")
    assert done.returncode == 0 and done.stderr == b""
    assert "SR on every frame shown" in log.read_text()
    done = srplay("-q", "--untimed", package / "manifest.json")
    assert done.stderr == b"" and done.stdout == b""


def test_size_changes_on_the_way(srplay, tmp_path):
    """The model goes on where it can; a y4m cannot change its size and says so."""
    parts = []
    for name, size in (("a.ts", "160x90"), ("b.ts", "320x180")):
        tiny.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=1", "-c:v", "libx264", tmp_path / name)
        parts.append((tmp_path / name).read_bytes())
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(parts))
    s = stats_of(srplay("--sr=off", "--untimed", "--stats=-", both))
    assert s["frames"] >= 48
    done = srplay("--sr=off", "--dump", tmp_path / "x.y4m", both)
    assert done.returncode == 3 and b"changed from 320x180 to 640x360" in done.stderr
    assert srplay("--sr=off", "--dump", tmp_path / "x.png", both).returncode == 0
    assert decode(tmp_path / "x.png", 640, 360, "rgb24").shape == (1, 360, 640, 3)
