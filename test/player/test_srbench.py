# SPDX-License-Identifier: BSD-2-Clause
"""srbench: its figures against FFmpeg's own filters, its keys, and what it refuses."""
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import package_aid as aid
import pytest

METHODS = ("sr", "bicubic", "lanczos")


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    return tmp_path_factory.mktemp("srbench")


@pytest.fixture(scope="session")
def clip(space):
    return aid.clip(space / "clip.mp4")


@pytest.fixture(scope="session")
def same_size(build, space, clip):
    """Scale 1 without a model: the shown picture is the decoded one, which FFmpeg can measure as well."""
    return aid.pack(build, clip, space / "same", "--scale", 1)


@pytest.fixture(scope="session")
def double(build, space, clip):
    return aid.pack(build, clip, space / "double", "--scale", 2)


def measure(build, package, reference, *options, **run):
    return aid.json_of(build / "srbench", "package", package / "manifest.json", "--reference",
                       reference, "--json", *options, **run)


def by_ffmpeg(package, reference, filters="null", shown=None):
    """Y-PSNR and Y-SSIM of the package's own video (or `shown`), frame n against frame n of the
    filtered reference."""
    whole = shown or aid.whole_video(package)
    size = json.loads((package / "manifest.json").read_bytes())["output"]
    crop = f"crop={size['width']}:{size['height']}:0:0:exact=1"
    graph = (f"[0:v]{crop},settb=1/25,setpts=N[a];[1:v]{filters},settb=1/25,setpts=N[b];"
             "[a]split[a1][a2];[b]split[b1][b2];[a1][b1]psnr=shortest=1[c];[a2][b2]ssim=shortest=1[d]")
    done = subprocess.run(["ffmpeg", "-nostdin", "-hide_banner", "-i", whole, "-i", reference,
                           "-lavfi", graph, "-map", "[c]", "-map", "[d]", "-f", "null", "-"],
                          capture_output=True, text=True, timeout=60, check=True)
    psnr = re.search(r"PSNR y:([0-9.]+)", done.stderr)
    ssim = re.search(r"SSIM Y:([0-9.]+)", done.stderr)
    return float(psnr[1]), float(ssim[1])


def assert_equals_ffmpeg(figures, package, reference, filters="null", psnr=1e-4, ssim=2e-6):
    expected = by_ffmpeg(package, reference, filters)
    for method in ("bicubic", "lanczos"):  # at scale 1 neither changes a sample
        assert figures["psnr_y"][method] == pytest.approx(expected[0], abs=psnr)
        assert figures["ssim_y"][method] == pytest.approx(expected[1], abs=ssim)


# ---- package: figures ----------------------------------------------------------------------------


def test_psnr_and_ssim_equal_ffmpegs(build, same_size, clip):
    figures = measure(build, same_size, clip)
    assert figures["frames"] == aid.FRAMES
    assert_equals_ffmpeg(figures, same_size, clip)
    assert 20 < figures["psnr_rgb"]["bicubic"] < 60
    assert figures["psnr_y"]["sr"] is None and figures["upscaled"] == 0


def luma(video):
    """[frames][rows][columns] of the first plane."""
    raw = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", video, "-f", "rawvideo", "-"],
                         capture_output=True, timeout=60, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, aid.WIDTH * aid.HEIGHT * 3 // 2)
    return frames[:, :aid.WIDTH * aid.HEIGHT].astype(float)


def test_change_is_that_of_the_difference(build, same_size, clip):
    """Flicker by its definition: what is added from frame to frame to the error."""
    error = luma(aid.whole_video(same_size)) - luma(clip)[:aid.FRAMES]
    expected = 10 * np.log10(255 ** 2 / np.square(np.diff(error, axis=0)).mean())
    figures = measure(build, same_size, clip)
    assert figures["psnr_y_change"]["bicubic"] == pytest.approx(expected, abs=1e-6)
    assert figures["psnr_y_change"]["sr"] is None
    assert measure(build, same_size, clip, "--frames", 1)["psnr_y_change"]["bicubic"] == 100


def test_rgb_psnr_is_near_ffmpegs(build, same_size, clip):
    """Not equal: the two enlarge chroma with different arithmetic."""
    rgb = "scale=flags=bicubic+accurate_rnd+full_chroma_int:in_color_matrix=bt601,format=gbrp,settb=1/25,setpts=N"
    done = subprocess.run(["ffmpeg", "-nostdin", "-hide_banner", "-i", aid.whole_video(same_size), "-i",
                           clip, "-lavfi", f"[0:v]{rgb}[a];[1:v]{rgb}[b];[a][b]psnr=shortest=1",
                           "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=True)
    expected = float(re.search(r"PSNR r:.*average:([0-9.]+)", done.stderr)[1])
    assert measure(build, same_size, clip)["psnr_rgb"]["bicubic"] == pytest.approx(expected, abs=0.2)


def test_identical_pictures_from_standard_input(build, same_size):
    frames = subprocess.run(["ffmpeg", "-v", "error", "-i", aid.whole_video(same_size), "-f",
                             "yuv4mpegpipe", "-"], capture_output=True, timeout=60, check=True).stdout
    figures = measure(build, same_size, "-", input=frames)
    for key, most in (("psnr_y", 100.0), ("psnr_rgb", 100.0), ("ssim_y", 1.0)):
        assert figures[key] == {"sr": None, "bicubic": most, "lanczos": most}


def test_frames_limits_what_is_compared(build, same_size, clip):
    figures = measure(build, same_size, clip, "--frames", 7)
    assert figures["frames"] == 7
    assert_equals_ffmpeg(figures, same_size, clip, "trim=end_frame=7")
    assert figures["bytes"] == measure(build, same_size, clip)["bytes"]


def test_figures_do_not_depend_on_threads(build, double, clip):
    assert measure(build, double, clip, "--threads", 1) == measure(build, double, clip, "--threads", 3)


def test_bytes_by_kind(build, double, clip):
    found = measure(build, double, clip)["bytes"]
    size = {kind: sum(f.stat().st_size for pattern in patterns for f in double.glob(pattern))
            for kind, patterns in (("video", ("video-*",)), ("audio", ("audio-*",)),
                                   ("parameters", ("objects/*",)),
                                   ("manifest", ("manifest.json", "*.m3u8")))}
    size |= {"routes": 0, "total": sum(size.values())}
    assert found == size
    assert found["video"] > 1000 and found["audio"] > 1000
    assert found["total"] == sum(f.stat().st_size for f in double.rglob("*") if f.is_file())


def test_output_is_cropped_to_the_original(build, double, clip):
    figures = measure(build, double, clip)
    assert (figures["width"], figures["height"], figures["scale"]) == (aid.WIDTH, aid.HEIGHT, 2)
    assert 20 < figures["psnr_y"]["bicubic"] < 50
    assert figures["psnr_y"]["bicubic"] != figures["psnr_y"]["lanczos"]
    assert figures["duration_s"] == pytest.approx(aid.FRAMES / aid.RATE, abs=1e-6)


def test_package_begins_inside_the_original(build, space, clip):
    package = aid.pack(build, clip, space / "late", "--scale", 1, "--start", 1, "--duration", 0.6)
    figures = measure(build, package, clip)
    assert figures["frames"] == 15
    assert_equals_ffmpeg(figures, package, clip, "trim=start_frame=25:end_frame=40")


def test_seeking_in_a_long_original(build, space):
    clip = aid.clip(space / "long.mp4", 8, (64, 48))
    package = aid.pack(build, clip, space / "far", "--scale", 1, "--start", 7, "--duration", 0.4)
    assert_equals_ffmpeg(measure(build, package, clip), package, clip,
                         "trim=start_frame=175:end_frame=185")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_original(build, space, clip, degrees):
    turned = space / f"turned{degrees}.mp4"
    aid.ffmpeg("-i", clip, "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}", turned)
    package = aid.pack(build, turned, space / f"turned{degrees}", "--scale", 1)
    figures = measure(build, package, turned, "--frames", 10)
    size = (aid.WIDTH, aid.HEIGHT) if degrees == 180 else (aid.HEIGHT, aid.WIDTH)
    assert (figures["width"], figures["height"]) == size
    assert_equals_ffmpeg(figures, package, turned, "trim=end_frame=10")


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv444p", "yuvj420p", "nv12"])
def test_other_pixel_formats(build, space, clip, pixel_format):
    other = space / f"{pixel_format}.mkv"
    codec = ["-c:v", "rawvideo"] if pixel_format == "nv12" else ["-c:v", "ffv1"]
    if pixel_format == "yuvj420p":
        codec = ["-c:v", "libx264", "-crf", 12]
    aid.ffmpeg("-i", clip, "-an", "-frames:v", 12, "-pix_fmt", pixel_format, *codec, other)
    package = aid.pack(build, other, space / pixel_format, "--scale", 1)
    full = "full" if pixel_format == "yuvj420p" else "limited"
    filters = (f"scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp:in_range={full}:"
               f"out_range={full}:in_h_chr_pos=0:out_h_chr_pos=0:in_v_chr_pos=128:out_v_chr_pos=128,"
               "format=yuv420p")
    assert_equals_ffmpeg(measure(build, package, other), package, other, filters)


def test_variable_frame_rate_is_held(build, space, clip):
    uneven = space / "uneven.mkv"
    aid.ffmpeg("-i", clip, "-an", "-vf", "select=not(between(n\\,7\\,11)+between(n\\,20\\,21))",
               "-vsync", "vfr", "-c:v", "libx264", "-crf", 12, uneven)
    package = aid.pack(build, uneven, space / "uneven", "--scale", 1)
    manifest = json.loads((package / "manifest.json").read_bytes())
    rate = "{}/{}".format(*manifest["frame_rate"])
    figures = measure(build, package, uneven)
    assert figures["frames"] == manifest["frame_count"]
    assert_equals_ffmpeg(figures, package, uneven, f"setpts=PTS-STARTPTS,fps={rate}")


def test_real_clip(build, space):
    """Grain and motion that no test source has, of an odd height; without the clip, a noisy zoom stands in."""
    real = aid.CLIPS / "citynight_720x405.mpg"
    if not real.exists():
        real = space / "zoom.mpg"
        aid.ffmpeg("-f", "lavfi", "-i", "mandelbrot=s=720x405:r=25,noise=alls=8:allf=t",
                   "-frames:v", 12, "-c:v", "mpeg2video", "-q:v", 3, real)
    package = aid.pack(build, real, space / "real", "--scale", 1, "--duration", 0.4)
    assert_equals_ffmpeg(measure(build, package, real), package, real, "trim=end_frame=10")


def test_model(build, space, double, clip):
    """All frames go through the model; the figures are those of the picture that the model makes."""
    package = aid.with_model(double, space / "model")
    figures = measure(build, package, clip)
    assert figures["upscaled"] == figures["frames"] == aid.FRAMES
    assert figures["model"] == "edge8-x2"
    assert all(isinstance(figures[key][m], float) for key in ("psnr_y", "psnr_rgb", "ssim_y")
               for m in METHODS)
    # Zero weights leave the graph's bicubic base, computed in floating point.
    assert figures["psnr_y"]["sr"] == pytest.approx(figures["psnr_y"]["bicubic"], abs=0.05)
    noisy = measure(build, aid.with_model(double, space / "noisy", bias=0.1), clip)
    assert noisy["psnr_y"]["sr"] < figures["psnr_y"]["sr"] - 3
    assert noisy["psnr_y"]["bicubic"] == figures["psnr_y"]["bicubic"]
    half = measure(build, aid.with_model(double, space / "half", bias=0.1, chunks=[1]), clip)
    assert half["upscaled"] == 25
    assert noisy["psnr_y"]["sr"] < half["psnr_y"]["sr"] < figures["psnr_y"]["sr"]


def test_sr_figures_are_those_of_the_player(build, space, double, clip):
    package = aid.with_model(double, space / "dumped", bias=0.02)
    dump = space / "dump.y4m"
    done = aid.run(build / "srplay", "--no-display", "--no-cache", "--quiet", "--dump", dump,
                   package / "manifest.json")
    assert done.returncode == 0, done.stderr
    figures = measure(build, package, clip)
    psnr, ssim = by_ffmpeg(package, clip, shown=dump)
    assert figures["psnr_y"]["sr"] == pytest.approx(psnr, abs=1e-4)
    assert figures["ssim_y"]["sr"] == pytest.approx(ssim, abs=2e-6)
    assert figures["psnr_y"]["sr"] != pytest.approx(figures["psnr_y"]["bicubic"], abs=0.01)


def test_table(build, double, clip):
    done = aid.run(build / "srbench", "package", double / "manifest.json", "--reference", clip)
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"^bicubic +\d\d\.\d{3} +\d\d\.\d{3} +0\.\d{5} +\d\d\.\d{3}$", done.stdout, re.M)
    assert re.search(r"^total +\d+ +\d+\.\d$", done.stdout, re.M)


# ---- package: what is refused --------------------------------------------------------------------


def refused(build, status, words, *arguments, **options):
    done = aid.run(build / "srbench", *arguments, **options)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines and lines[-1].startswith("srbench: ") and words in lines[-1], done.stderr
    return lines


def test_unsuitable_references(build, space, double, clip):
    manifest = double / "manifest.json"
    short, small = space / "short.mp4", space / "small.mp4"
    aid.ffmpeg("-i", clip, "-an", "-frames:v", 20, "-c:v", "libx264", short)
    aid.ffmpeg("-i", clip, "-an", "-vf", "scale=160:-2", "-c:v", "libx264", small)
    text, sound = space / "text.mp4", space / "sound.m4a"
    text.write_text("no video\n" * 100)
    aid.ffmpeg("-i", clip, "-vn", "-c", "copy", sound)
    for reference, words in ((short, "short.mp4: ends at 0.8"), (small, "smaller than"),
                             (space / "absent.mp4", "No such file"), (text, "text.mp4"),
                             (sound, "no video stream"), ("-", "standard input")):
        refused(build, 2, words, "package", manifest, "--reference", reference, "--json", input=b"")
    late = aid.pack(build, clip, space / "late2", "--scale", 1, "--start", 1.5)
    refused(build, 2, "begins", "package", late / "manifest.json", "--reference", short)


def test_refused_packages(build, space, double, clip):
    def case(name):
        return shutil.copytree(aid.with_model(double, space / "whole", replace=False), space / name)

    absent = space / "absent" / "manifest.json"
    refused(build, 2, "absent/manifest.json", "package", absent, "--reference", clip)
    refused(build, 5, "clip.mp4", "package", clip, "--reference", clip)
    for name, pattern in (("b-params", "objects/*.safetensors"), ("b-graph", "objects/*.json"),
                          ("b-segment", "video-00001.m4s"), ("b-init", "video-init.mp4")):
        package = case(name)
        aid.flip(next(package.glob(pattern)))
        lines = refused(build, 5, "", "package", package / "manifest.json", "--reference", clip)
        assert any(next(package.glob(pattern)).name in line for line in lines), lines
    package = case("frames")
    aid.edit(package, lambda m: m["chunks"][1].update(frames=24) or m.update(frame_count=aid.FRAMES - 1))
    refused(build, 5, "frames", "package", package / "manifest.json", "--reference", clip)


@pytest.mark.parametrize("arguments, words", [
    (["package"], "one manifest"), (["package", "a", "b"], "one manifest"),
    (["package", "a"], "--reference"), (["package", "a", "--reference"], "--reference"),
    (["package", "a", "--frames", "0"], "--frames"), (["package", "a", "--frames", "-1"], "--frames"),
    (["package", "a", "--threads", "65"], "--threads"), (["package", "a", "--backend", "x"], "backend"),
    (["package", "a", "--bogus"], "--bogus"),
    (["play"], "one manifest"), (["play", "a", "--frames", "x"], "--frames"),
    (["play", "a", "--threads", "0"], "--threads"), (["play", "a", "--backend", "x"], "backend"),
    (["play", "a", "--bogus"], "--bogus"),
    (["engine"], "--graph"), (["engine", "--graph", "a"], "--size"),
    (["engine", "--graph", "a", "--size", "0x4"], "--size"),
    (["engine", "--graph", "a", "--size", "64x36", "extra"], "extra"),
    (["engine", "--graph", "a", "--dtype", "f64"], "dtype"), (["engine", "--runs", "0"], "--runs"),
    (["engine", "--seconds", "nan"], "--seconds"), (["engine", "--threads", "x"], "--threads"),
    (["engine", "--backend", "x"], "backend"), (["engine", "--bogus"], "--bogus"),
    (["peak", "--threads", "0"], "--threads"), (["peak", "--bogus"], "--bogus"),
    (["peak", "extra"], "extra"), (["bogus"], "bogus"),
])
def test_usage(build, arguments, words):
    assert len(refused(build, 1, words, *arguments)) == 1


# ---- the other commands --------------------------------------------------------------------------


def types_of(value, **kinds):
    for key, kind in kinds.items():
        assert type(value[key]) is kind, (key, value[key])


def test_play(build, space, double):
    package = aid.with_model(double, space / "play")
    found = aid.json_of(build / "srbench", "play", package / "manifest.json", "--json")
    types_of(found, fps=float, frames=int, upscaled=int, not_upscaled=int, late=int, dropped=int,
             stage_ms=dict, peak_rss_bytes=int, arena_bytes=int)
    assert found["frames"] == found["upscaled"] == aid.FRAMES
    assert found["not_upscaled"] == found["late"] == found["dropped"] == 0
    assert found["fps"] > 0 and found["arena_bytes"] > 0 and found["peak_rss_bytes"] > 1 << 20
    assert set(found["stage_ms"]) >= {"decode", "upscale", "present"}
    for stage in found["stage_ms"].values():
        types_of(stage, p50=float, p95=float, p99=float)
        assert 0 <= stage["p50"] <= stage["p95"] <= stage["p99"]
    few = aid.json_of(build / "srbench", "play", package / "manifest.json", "--frames", 10, "--no-audio",
                      "--no-sr", "--json")
    assert (few["frames"], few["upscaled"], few["not_upscaled"]) == (10, 0, 10)
    done = aid.run(build / "srbench", "play", package / "manifest.json")
    assert done.returncode == 0 and re.search(r"^upscale +[0-9.]+ +[0-9.]+ +[0-9.]+$", done.stdout, re.M)


def test_play_reports_what_was_not_verified(build, space, double):
    package = aid.with_model(double, space / "unverified")
    aid.flip(next(package.glob("objects/*.safetensors")))
    done = aid.run(build / "srbench", "play", package / "manifest.json", "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["upscaled"] == 0
    assert "srbench: play: 50 frames without SR" in done.stderr
    refused(build, 2, "absent", "play", space / "absent.mp4")


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("path", ["picture", "tensor"])
def test_engine(build, space, backend, path):
    options = ["--tensor"] if path == "tensor" else []
    found = aid.json_of(build / "srbench", "engine", "--graph", aid.ROOT / "models/edge8-x2.json",
                        "--size", "33x18", "--threads", 1, "--runs", 3, "--backend", backend,
                        "--json", *options)
    types_of(found, ms_p50=float, ms_min=float, ms_max=float, macs=int, ops_per_s=float,
             arena_bytes=int, backend=str, dtype=str, isa=str, threads=int)
    assert 0 < found["ms_min"] <= found["ms_p50"] <= found["ms_max"]
    per_pixel = 9 * (1 * 8 + 4 * 8 * 8 + 8 * 4)
    assert found["macs"] == per_pixel * 33 * 18
    assert found["ops_per_s"] == pytest.approx(2 * found["macs"] / found["ms_p50"] * 1e3, rel=1e-6)
    assert found["dtype"] == "f32" and found["threads"] == 1 and found["runs"] == 3
    assert found["path"] == path and found["arena_bytes"] > 0
    assert found["backend"] == "reference" if backend == "reference" else found["backend"] != "auto"


@pytest.mark.parametrize("name,size,pictures", [("edge16-x4", "480x270", 1.5), ("wdsr4-x4", "480x270", 3)])
def test_engine_keeps_little(build, name, size, pictures):
    """What is written to, beside the pictures and the arena: nothing of loading is left."""
    process = subprocess.Popen([build / "srbench", "engine", "--graph", aid.ROOT / f"models/{name}.json",
                                "--size", size, "--threads", "2", "--dtype", "int8", "--seconds", "1.5",
                                "--json"], stdout=subprocess.PIPE, text=True)
    written = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        written = max(written, int(found[1]) * 1024 if found else 0)
        time.sleep(0.01)
    width, height = map(int, size.split("x"))
    found = json.load(process.stdout)
    arena = found["arena_bytes"]
    # Packed: a byte or two each, and 36 terms of 16 bits for 9 weights where Winograd's kernels are.
    packed = found["macs"] / (width * height) * (10 if found["isa"].startswith("avx") else 2)
    assert written > arena
    assert written - arena - 17 * width * height * pictures - packed < 1e6


def test_engine_with_parameters(build, space, double, monkeypatch):
    objects = aid.with_model(double, space / "engine") / "objects"
    graph, parameters = next(objects.glob("*.json")), next(objects.glob("*.safetensors"))
    arguments = ["engine", "--graph", graph, "--parameters", parameters, "--size", "32x16",
                 "--runs", 2]
    done = aid.run(build / "srbench", *arguments)
    assert done.returncode == 0 and re.search(r"^latency +[0-9.]+ ms", done.stdout, re.M)
    whole, update = space / "engine/p.safetensors.zst", space / "engine/p.update"
    aid.run("zstd", "-q", "--content-size", parameters, "-o", whole)
    update.write_bytes(b"SRPU\1" + bytes(35))
    where = arguments.index(parameters)
    arguments[where] = whole
    done = aid.run(build / "srbench", *arguments)
    assert done.returncode == 0 and re.search(r"^latency +[0-9.]+ ms", done.stdout, re.M)
    whole.write_bytes(whole.read_bytes()[:-1])
    refused(build, 5, "p.safetensors.zst: damaged zstd frame", *arguments)
    arguments[where] = update
    refused(build, 5, "p.update: an update of parameters, not a safetensors file", *arguments)
    update.write_bytes(b"SRPM\2" + bytes(35))
    refused(build, 5, "p.update: version 2 of compact parameters", *arguments)
    arguments[where] = parameters
    model, strange = graph.read_text(), space / "engine/strange.json"
    for known, unknown in (('"version": 1', '"version": 2'), ('"op": "add"', '"op": "pool"')):
        strange.write_text(model.replace(known, unknown))
        for given in (["--parameters", parameters], []):
            refused(build, 5, "strange.json: ", "engine", "--graph", strange, *given, "--size", "32x16")
    monkeypatch.setenv("SRP_CPU", "scalar")
    refused(build, 2, "bf16", "engine", "--graph", graph, "--size", "32x16", "--dtype", "bf16")
    aid.flip(graph, 0)
    refused(build, 5, graph.name, *arguments)
    refused(build, 2, "absent.json", "engine", "--graph", space / "absent.json", "--size", "32x16")
    refused(build, 2, "absent.st", "engine", "--graph", aid.ROOT / "models/edge8-x2.json", "--parameters",
            space / "absent.st", "--size", "32x16")
    refused(build, 1, "too large", "engine", "--graph", aid.ROOT / "models/edge8-x2.json", "--size",
            "16384x16384")


def test_peak(build):
    found = aid.json_of(build / "srbench", "peak", "--threads", 1, "--json")
    types_of(found, fp32_ops_per_s=float, int8_ops_per_s=float, read_bytes_per_s=float, threads=int)
    assert found["threads"] == 1
    for key in ("bf16_ops_per_s", "int8_tile_ops_per_s"):
        assert found[key] is None or found[key] > 1e8
    assert all(found[key] > 1e8 for key in ("fp32_ops_per_s", "int8_ops_per_s", "read_bytes_per_s"))
    assert all(found[f"{key}_method"] for key in ("fp32", "int8", "int8_tile", "bf16", "read"))


def test_help_and_version(build):
    for program in ("srbench", "srinfo"):
        for option in ("--help", "--version"):
            done = aid.run(build / program, option)
            assert done.returncode == 0 and done.stdout.startswith(program) and done.stderr == ""
        assert aid.run(build / program).returncode == 1
