# SPDX-License-Identifier: BSD-2-Clause
"""srpack from end to end: what it writes, in every HLS player's eyes and in its own reader's."""
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import environment, ffmpeg, ffprobe, packed, srpack


def check_objects(package):
    """Every file that the manifest names has its size and hash; nothing else lies in the
    package."""
    manifest = json.loads((package / "manifest.json").read_bytes())
    objects = [manifest["video"]["init"]] + [c["segment"] for c in manifest["chunks"]]
    for model in manifest["models"]:
        objects += [model["graph"], model["parameters"]]
    objects += [c["routes"] for c in manifest["chunks"] if "routes" in c]
    if "audio" in manifest:
        objects += [manifest["audio"]["init"]] + manifest["audio"]["segments"]
    for item in objects:
        data = (package / item["uri"]).read_bytes()
        assert len(data) == item["size"], item["uri"]
        assert hashlib.sha256(data).hexdigest() == item["sha256"], item["uri"]
    names = {o["uri"] for o in objects} | {"manifest.json", "master.m3u8", "video.m3u8"}
    names |= {"audio.m3u8"} if "audio" in manifest else set()
    there = {str(p.relative_to(package)) for p in package.rglob("*") if p.is_file()}
    assert there == names
    return manifest


def check_hls(package, frames, audio):
    """A player that knows only HLS sees every frame once, evenly spaced from 0, and the sound
    beside it."""
    manifest = check_objects(package)
    info = ffprobe(package / "master.m3u8", "-show_streams", "-count_frames")
    kinds = sorted(s["codec_type"] for s in info["streams"])
    assert kinds == (["audio", "video"] if audio else ["video"])
    video = next(s for s in info["streams"] if s["codec_type"] == "video")
    assert int(video["nb_read_frames"]) == frames == manifest["frame_count"]
    assert (video["width"], video["height"]) == (manifest["video"]["width"],
                                                 manifest["video"]["height"])
    shown = ffprobe(package / "master.m3u8", "-select_streams", "v", "-show_entries",
                    "frame=pts_time")["frames"]
    num, den = manifest["frame_rate"]
    for i, frame in enumerate(shown):
        assert abs(float(frame["pts_time"]) - i * den / num) < 2e-4, i
    at = 0
    for index, chunk in enumerate(manifest["chunks"]):
        segment = chunk["segment"]
        assert segment["start"] == at
        at += segment["duration"]
        whole = package.parent / "segment.mp4"
        whole.write_bytes((package / "video-init.mp4").read_bytes() +
                          (package / segment["uri"]).read_bytes())
        frame = ffprobe(whole, "-show_entries", "frame=key_frame,pts_time", "-show_entries",
                        "stream=nb_read_frames", "-count_frames")
        assert len(frame["frames"]) == chunk["frames"], f"chunk {index} does not decode by itself"
        assert frame["frames"][0]["key_frame"] == 1
        assert abs(
            float(frame["frames"][0]["pts_time"]) -
            segment["start"] / manifest["video"]["timescale"]) < 1e-3
    assert sum(c["frames"] for c in manifest["chunks"]) == frames
    assert abs(at / manifest["video"]["timescale"] - frames * den / num) < 1e-6
    text = (package / "video.m3u8").read_text()
    assert text.count("#EXT-X-DATERANGE:") == text.count("#EXTINF:") == len(manifest["chunks"])
    assert abs(sum(map(float, re.findall(r"#EXTINF:([0-9.]+)", text))) - frames * den / num) < 1e-4
    assert 'org.srplay.manifest",URI="manifest.json"' in (package / "master.m3u8").read_text()
    if audio:
        sound = manifest["audio"]
        at = 0
        for segment in sound["segments"]:
            assert segment["start"] == at
            at += segment["duration"]
        assert abs(at / sound["timescale"] - frames * den / num) < 0.1
    return manifest


def verified(package, build):
    done = subprocess.run([build / "srinfo", "verify", package / "manifest.json"],
                          capture_output=True,
                          text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr


CASES = {
    # name: (ffmpeg source arguments, srpack arguments, frames, low-resolution size, output size,
    # codec string)
    "odd-x2": ([
        "-f", "lavfi", "-i",
        "testsrc2=s=854x480:r=25:d=1.2,format=yuv444p,crop=853:479:0:0,format=yuv420p"
    ], ["--scale", 2, "--chunk", "0.5"], 30, (428, 240), (853, 479), "avc1."),
    "film-x4": (["-f", "lavfi", "-i", "mandelbrot=s=480x272:r=24000/1001", "-t",
                 1.5], ["--scale", 4, "--chunk", "1s"], 36, (120, 68), (480, 272), "avc1."),
    "x3-hevc": (["-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=1.5"],
                ["--scale", 3, "--codec", "hevc", "--chunk", 1, "--crf",
                 28], 45, (108, 80), (320, 240), "hvc1."),
    "x1-av1": (["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=1.5"],
               ["--scale", 1, "--codec", "av1", "--chunk", 1, "--bitrate",
                "300k"], 38, (320, 240), (320, 240), "av01."),
    "scene-cuts": ([
        "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=3,hue=h='if(mod(floor(n/7),2),180,0)'"
    ], ["--chunk", 1], 75, (160, 120), (320, 240), "avc1."),
}


@pytest.mark.parametrize("case", CASES)
def test_every_player_sees_the_package(case, clips, tmp_path, build):
    source, options, frames, low, shown, codec = CASES[case]
    clip = clips(f"{case}.mkv", *source, "-pix_fmt", "yuv420p", "-c:v", "ffv1")
    result = packed(clip, "-o", tmp_path / "p", "--model", "none", *options)
    manifest = check_hls(tmp_path / "p", frames, audio=False)
    assert (manifest["video"]["width"], manifest["video"]["height"]) == low
    assert (manifest["output"]["width"], manifest["output"]["height"]) == shown
    assert manifest["video"]["codec"].startswith(codec)
    assert result["frame_count"] == result["frames"] == frames and result[
        "model"] is None and result["bytes"]["parameters"] == 0
    verified(tmp_path / "p", build)
    assert not list(tmp_path.glob("p.*")), "work or staging files are left"


def test_start_and_duration(plain, tmp_path, build):
    whole = packed(plain, "-o", tmp_path / "w", "--model", "none", "--chunk", 1)
    check_hls(tmp_path / "w", 50, audio=True)
    packed(plain, "-o", tmp_path / "p", "--model", "none", "--start", "0.62", "--duration", "0.8s")
    manifest = check_hls(tmp_path / "p", 20, audio=True)
    assert manifest["source"]["start"] == pytest.approx(0.64)  # the next frame
    first = json.loads((tmp_path / "w/manifest.json").read_bytes())
    assert manifest["content_id"] != first["content_id"]
    # The frames are the right ones: a wrong one would be far from the original at the same time.
    quality = manifest["quality"]["psnr_y"]["bicubic"]
    assert quality == pytest.approx(whole["psnr_y"]["bicubic"], abs=1.5)


SYNC = [
    "-f", "lavfi", "-i",
    "color=black:s=128x96:r=25:d=3,drawbox=c=white:t=fill:enable='between(n,38,40)'", "-f", "lavfi",
    "-i", "aevalsrc='if(between(t,1.52,1.64),0.8*sin(2*PI*1000*t),0)':s=48000:d=3"
]


@pytest.mark.parametrize("name, codec, start", [
    ("sync.mp4", ["-c:v", "libx264", "-bf", 2, "-c:a", "aac"], 0),    # copied
    ("sync.mp4", ["-c:v", "libx264", "-bf", 2, "-c:a", "aac"], 0.6),  # cut
    ("sync.mkv", ["-c:v", "ffv1", "-c:a", "pcm_s16le"], 0),           # coded anew
    ("late.mp4", ["-c:v", "libx264", "-output_ts_offset", 2, "-c:a", "libopus"], 0),
])
def test_sound_stays_in_sync(name, codec, start, clips, tmp_path):
    clip = clips(name, *SYNC, "-pix_fmt", "yuv420p", *codec)
    packed(clip, "-o", tmp_path / "p", "--model", "none", "--scale", 2, "--chunk", "0.5", "--start",
           start)
    frames = ffprobe(f"movie={tmp_path}/p/master.m3u8,signalstats", "-f", "lavfi", "-show_entries",
                     "frame=pts_time:frame_tags=lavfi.signalstats.YAVG")["frames"]
    flash = next(
        float(f["pts_time"]) for f in frames if float(f["tags"]["lavfi.signalstats.YAVG"]) > 120)
    assert flash == pytest.approx(1.52 - start, abs=1e-3)
    # Time stamps as a player honours them: what lies before 0 is priming and is not heard.
    raw = tmp_path / "sound.raw"
    ffmpeg("-copyts", "-i", tmp_path / "p/audio.m3u8", "-af", "aresample=48000:async=1:first_pts=0",
           "-ac", 1, "-f", "s16le", raw)
    samples = memoryview(raw.read_bytes()).cast("h")
    beep = next(i for i, s in enumerate(samples) if abs(s) > 6000) / 48000
    assert beep == pytest.approx(flash, abs=0.005)


def test_figures_are_those_of_srbench(plain, tmp_path, build):
    done = srpack(plain, "-o", tmp_path / "p", "--scale", 2, "--steps", 25, "--threads", 2,
                  "--chunk", 1)
    assert done.returncode == 0, done.stderr
    manifest = check_hls(tmp_path / "p", 50, audio=True)
    verified(tmp_path / "p", build)
    text = subprocess.run([
        build / "srbench", "package", tmp_path / "p/manifest.json", "--reference", plain, "--json"
    ],
                          capture_output=True,
                          text=True,
                          check=True,
                          timeout=120).stdout
    bench = json.loads(text)
    assert bench["frames"] == 50
    for key in ("psnr_y", "psnr_rgb", "ssim_y"):
        for method in ("bicubic", "lanczos", "sr"):
            assert manifest["quality"][key][method] == pytest.approx(bench[key][method], abs=1e-3)
    for title, method in (("bicubic", "bicubic"), ("Lanczos", "lanczos"), ("SR", "sr")):
        row = re.search(rf"^{title} +([0-9.]+) dB +([0-9.]+) dB +([0-9.]+)$", done.stdout, re.M)
        assert row, done.stdout
        assert float(row[1]) == pytest.approx(bench["psnr_y"][method], abs=0.006)
        assert float(row[2]) == pytest.approx(bench["psnr_rgb"][method], abs=0.006)
        assert float(row[3]) == pytest.approx(bench["ssim_y"][method], abs=6e-5)
    for kind in ("video", "audio", "parameters", "routes", "manifest", "total"):
        size = re.search(rf"^{kind} +([0-9,]+) ", done.stdout, re.M)
        assert int(size[1].replace(",", "")) == bench["bytes"][kind], kind
    assert bench["psnr_y"]["sr"] > bench["psnr_y"]["bicubic"]
    assert [c["model"] for c in manifest["chunks"]] == [0, 0]
    assert bench["bytes"]["parameters"] > 10000
    # Repeatable to the byte for a number of steps.
    again = srpack(plain, "-o", tmp_path / "q", "--scale", 2, "--steps", 25, "--threads", 2,
                   "--chunk", 1)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "p/manifest.json").read_bytes() == (tmp_path /
                                                           "q/manifest.json").read_bytes()


def test_what_is_worse_is_not_shipped(clips, tmp_path):
    # Without motion or detail there is nothing to learn; a step or two cannot help and may do harm.
    clip = clips("flat.mkv", "-f", "lavfi", "-i", "color=gray:s=320x240:r=25:d=0.4", "-pix_fmt",
                 "yuv420p", "-c:v", "ffv1")
    report = tmp_path / "r.json"
    done = srpack(clip, "-o", tmp_path / "p", "--scale", 2, "--steps", 1, "--quant-report", report)
    assert done.returncode == 0, done.stderr
    assert f"note: no {report}: there is no network to report on" in done.stderr
    assert not report.exists()
    manifest = check_hls(tmp_path / "p", 10, audio=False)
    assert manifest["models"] == [] and all(c["model"] is None for c in manifest["chunks"])
    assert "does not beat bicubic" in done.stderr
    assert "does not beat bicubic" in done.stdout


def start_training(arguments):
    """A running srpack that has begun to train."""
    process = subprocess.Popen([sys.executable, "-m", "srpack", *map(str, arguments)],
                               env=environment(),
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               text=True)
    return process


def wait_for(condition, process, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "took too long"
        time.sleep(0.05)


def test_interrupt_and_resume(plain, tmp_path):
    command = [plain, "-o", tmp_path / "p", "--scale", 2, "--budget", "5s", "--json"]
    work = tmp_path / "p.srpack-work"
    process = start_training(command)
    wait_for(lambda: (work / "job.json").exists() and '"decode"' in (work / "job.json").read_text(),
             process, 60)
    time.sleep(4)  # PyTorch loads, training is on its way
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 4, err
    assert out == "" and "run the same command again" in err and "Traceback" not in err
    assert len(err.splitlines()[-1]) < 400 and work.is_dir() and not (tmp_path / "p").exists()
    assert not list(tmp_path.glob("p.tmp-*"))

    other = srpack(plain, "-o", tmp_path / "p", "--scale", 2, "--budget", "5s", "--crf", 30)
    assert other.returncode == 2 and "other inputs or options" in other.stderr

    resumed = packed(*command[:-1])
    assert "encode" not in resumed["seconds"] and "decode" not in resumed["seconds"]
    check_hls(tmp_path / "p", 50, audio=True)
    assert not work.exists()


def test_restart_discards(plain, tmp_path):
    work = tmp_path / "p.srpack-work"
    work.mkdir()
    (work / "job.json"
     ).write_text('{"job": "another", "description": "x", "done": {"video": {"frames": 1}}}')
    assert srpack(plain, "-o", tmp_path / "p", "--model", "none").returncode == 2
    packed(plain, "-o", tmp_path / "p", "--model", "none", "--restart")
    check_hls(tmp_path / "p", 50, audio=True)


def test_interrupt_while_encoding(clips, tmp_path):
    clip = clips("long.mkv", "-f", "lavfi", "-i", "mandelbrot=s=640x480:r=25", "-t", 8, "-pix_fmt",
                 "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")
    process = start_training([clip, "-o", tmp_path / "p", "--model", "none"])
    wait_for(lambda: (tmp_path / "p.srpack-work/hr.yuv").exists(), process, 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 4, err
    assert not (tmp_path / "p").exists()


def snapshot(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_replaced_only_when_complete(plain, tmp_path, build):
    packed(plain, "-o", tmp_path / "p", "--model", "none")
    before = snapshot(tmp_path / "p")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srbench").symlink_to(build / "srbench")
    (tools /
     "srinfo").write_text("#!/bin/sh\necho 'srinfo: objects/x: hash mismatch' >&2\nexit 5\n")
    (tools / "srinfo").chmod(0o755)
    failed = srpack(plain, "-o", tmp_path / "p", "--model", "none", "--crf", 30, "--restart",
                    env=environment(SRP_BINDIR=str(tools)))
    assert failed.returncode == 2 and "hash mismatch" in failed.stderr
    assert snapshot(tmp_path / "p") == before
    packed(plain, "-o", tmp_path / "p", "--model", "none", "--crf", 30, "--no-audio", "--restart")
    check_hls(tmp_path / "p", 50, audio=False)  # nothing of the old one is left
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("p.")) == []


def test_stale_staging_is_removed(plain, tmp_path):
    stale = tmp_path / "p.tmp-999999999"
    stale.mkdir()
    packed(plain, "-o", tmp_path / "p", "--model", "none", "--no-audio")
    assert not stale.exists()


# ---- sources that need care --------------------------------------------------------------

def test_variable_rate_rotation_and_depth(clips, tmp_path):
    clip = clips("vfr.mkv", "-f", "lavfi", "-i",
                 "testsrc2=s=320x240:r=25:d=2,select='not(eq(mod(n,9),4))'", "-vsync", "vfr",
                 "-pix_fmt", "yuv422p10le", "-c:v", "ffv1")
    done = srpack(clip, "-o", tmp_path / "p", "--model", "none", "--scale", 2)
    assert done.returncode == 0, done.stderr
    assert "variable frame rate, made constant at 25.000" in done.stderr
    assert "yuv422p10le converted to 8-bit 4:2:0" in done.stderr
    manifest = check_hls(tmp_path / "p", 49,
                         audio=False)  # the very last one is among those left out
    assert manifest["quality"]["psnr_y"]["bicubic"] > 20

    flat = clips("flat.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.4", "-pix_fmt",
                 "yuv420p", "-c:v", "libx264")
    turned = clips("turned.mp4", "-i", flat, "-c", "copy", "-metadata:s:v", "rotate=90")
    done = srpack(turned, "-o", tmp_path / "r", "--model", "none", "--scale", 2)
    assert done.returncode == 0, done.stderr
    assert "turned by" in done.stderr
    manifest = check_hls(tmp_path / "r", 10, audio=False)
    assert manifest["output"] == {"width": 240, "height": 320}
    upright = packed(flat, "-o", tmp_path / "f", "--model", "none", "--scale", 2)
    assert manifest["quality"]["psnr_y"]["bicubic"] == pytest.approx(upright["psnr_y"]["bicubic"],
                                                                     abs=1.0)


@pytest.mark.parametrize("colour, options", [
    ({
        "matrix": "bt709",
        "range": "full",
        "chroma": "left"
    }, [
        "-vf",
        "scale=out_range=full:out_color_matrix=bt709,format=yuv420p,"
        "setparams=range=pc:colorspace=bt709"
    ]),
    ({
        "matrix": "bt601",
        "range": "limited",
        "chroma": "center"
    }, [
        "-vf", "format=yuv420p,setparams=colorspace=smpte170m", "-chroma_sample_location", "center",
        "-x264-params", "chromaloc=1"
    ]),
    ({
        "matrix": "bt2020",
        "range": "limited",
        "chroma": "topleft"
    }, ["-vf", "format=yuv420p,setparams=colorspace=bt2020nc", "-x264-params", "chromaloc=2"]),
])
def test_colour_is_honoured(colour, options, clips, tmp_path):
    clip = clips(f"{colour['matrix']}.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.4",
                 *options, "-c:v", "libx264", "-qp", 0)
    packed(clip, "-o", tmp_path / "p", "--model", "none", "--scale", 2)
    manifest = check_hls(tmp_path / "p", 10, audio=False)
    assert manifest["colour"] == colour
    video = ffprobe(tmp_path / "p/master.m3u8", "-show_streams")["streams"][0]
    assert video["color_range"] == ("pc" if colour["range"] == "full" else "tv")
    assert video["chroma_location"] == colour["chroma"]
    assert video["color_space"] == {
        "bt709": "bt709",
        "bt601": "smpte170m",
        "bt2020": "bt2020nc"
    }[colour["matrix"]]


@pytest.mark.parametrize("location", ["left", "center", "topleft"])
def test_no_shift_in_luma_or_chroma(location, clips, tmp_path):
    """Bicubic as delivered equals FFmpeg's own enlargement at the sited positions; half a pixel
    would cost dBs."""
    index = ["left", "center", "topleft"].index(location)
    clip = clips(f"shift-{location}.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.4",
                 "-vf", "format=yuv420p,setparams=colorspace=smpte170m:range=tv", "-c:v", "libx264",
                 "-qp", 0, "-x264-params", f"chromaloc={index}")
    result = packed(clip, "-o", tmp_path / "p", "--model", "none", "--scale", 2, "--crf", 8)
    h, v = {"left": (0, 128), "center": (128, 128), "topleft": (0, 0)}[location]
    place = f"in_h_chr_pos={h}:in_v_chr_pos={v}"
    flags = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    up = f"scale=320:240:{flags}:{place}:out_h_chr_pos={h}:out_v_chr_pos={v}"
    to_rgb = f"scale={flags}:{place}:in_color_matrix=bt601:in_range=tv,format=gbrp"

    def psnr(graph):
        done = subprocess.run([
            "ffmpeg", "-nostdin", "-i",
            str(tmp_path / "p/master.m3u8"), "-i",
            str(clip), "-filter_complex", graph, "-f", "null", "-"
        ],
                              capture_output=True,
                              text=True,
                              check=True,
                              timeout=60)
        line = [text for text in done.stderr.splitlines() if "PSNR" in text][-1]
        return {k: float(x) for k, x in re.findall(r"(\w+):([0-9.]+|inf)", line)}
    yuv = psnr(f"[0:v]{up}[a];[a][1:v]psnr")
    rgb = psnr(f"[0:v]{up},{to_rgb}[a];[1:v]{to_rgb}[b];[a][b]psnr")
    assert result["psnr_y"]["bicubic"] == pytest.approx(yuv["y"], abs=0.1)
    assert result["psnr_rgb"]["bicubic"] == pytest.approx(rgb["average"], abs=0.1)
    # The test can fail: chroma half a pixel away is measurably worse.
    wrong = f"scale=320:240:{flags}:{place}:out_h_chr_pos={128 - h if h else 256}:out_v_chr_pos={v}"
    worse = psnr(f"[0:v]{wrong}[a];[a][1:v]psnr")
    assert min(worse["u"], worse["v"]) < min(yuv["u"], yuv["v"]) - 0.3


# ---- refusals ----------------------------------------------------------------------------

LAVFI = ["-f", "lavfi", "-i"]
FFV1 = ["-c:v", "ffv1"]
BAD_SOURCES = {
    "missing": (None, "no such file"),
    "text": (b"this is not a video\n" * 50, "not a video file"),
    "empty": (b"", "not a video file"),
    "sound": ([*LAVFI, "sine=d=1", "-c:a", "pcm_s16le"], "no video stream"),
    "hdr": ([
        *LAVFI, "testsrc2=s=320x240:d=0.2", "-vf",
        "format=yuv420p10le,setparams=color_trc=smpte2084", *FFV1
    ], "HDR video (PQ transfer)"),
    "hlg": ([
        *LAVFI, "testsrc2=s=320x240:d=0.2", "-vf",
        "format=yuv420p10le,setparams=color_trc=arib-std-b67", *FFV1
    ], "HDR video (HLG transfer)"),
    "interlaced": ([
        *LAVFI, "testsrc2=s=320x240:d=0.4", "-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags",
        "+ilme+ildct"
    ], "interlaced"),
    "small": ([*LAVFI, "testsrc2=s=48x48:d=0.2", *FFV1], "too small"),
    "rgb": ([*LAVFI, "testsrc2=s=320x240:d=0.2", "-pix_fmt", "bgr0", *FFV1], "pixel format"),
    "matrix": ([
        *LAVFI, "testsrc2=s=320x240:d=0.2", "-vf", "format=yuv420p,setparams=colorspace=ycgco",
        *FFV1
    ], "colour matrix ycgco"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_source_is_refused(name, clips, tmp_path):
    how, cause = BAD_SOURCES[name]
    source = tmp_path / f"{name}.mkv"
    if isinstance(how, bytes):
        source.write_bytes(how)
    elif how is not None:
        source = clips(f"{name}.mkv", *how)
    refused(srpack(source, "-o", tmp_path / "p", "--model", "none"), 2, str(source), cause)
    assert not (tmp_path / "p").exists() and not (tmp_path / "p.srpack-work").exists()


def refused(done, status, *texts):
    assert done.returncode == status, done.stderr
    lines = done.stderr.splitlines()
    assert len([line
                for line in lines if line.startswith("srpack: error: ")]) == 1 and done.stdout == ""
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in lines[-1]


@pytest.mark.parametrize("location", range(3, 6))
def test_unsupported_chroma_location_is_refused(location, clips, tmp_path):
    clip = clips(f"loc{location}.mp4", *LAVFI, "testsrc2=s=320x240:d=0.2", "-pix_fmt", "yuv420p",
                 "-c:v", "libx264", "-x264-params", f"chromaloc={location}")
    refused(srpack(clip, "-o", tmp_path / "p"), 2, "chroma location")


def test_truncated_source(clips, tmp_path):
    clip = clips("cut.mp4", *LAVFI, "testsrc2=s=320x240:d=1", "-pix_fmt", "yuv420p", "-c:v",
                 "libx264")
    half = tmp_path / "half.mp4"
    half.write_bytes(clip.read_bytes()[:clip.stat().st_size // 2])  # the index lies at the end
    refused(srpack(half, "-o", tmp_path / "p"), 2, str(half), "not a video file")


@pytest.mark.parametrize("kind, cause", [("foreign", "not an srplay package"),
                                         ("file", "not a directory"),
                                         ("parent", "parent directory"),
                                         ("work", "not a work directory")])
def test_target_is_refused(kind, cause, plain, tmp_path):
    out = tmp_path / "p"
    if kind == "foreign":
        out.mkdir()
        (out / "manifest.json").write_text('{"name": "some web app"}')
    elif kind == "file":
        out.write_text("mine")
    elif kind == "parent":
        out = tmp_path / "no/p"
    else:
        (tmp_path / "p.srpack-work").mkdir()
        (tmp_path / "p.srpack-work/thesis.tex").write_text("mine")
    before = snapshot(tmp_path)
    refused(srpack(plain, "-o", out, "--model", "none"), 2, str(out), cause)
    assert snapshot(tmp_path) == before


BAD_OPTIONS = [
    ([], "required: -o"),
    (["--scale", 5], "--scale"),
    (["--codec", "vp9"], "--codec"),
    (["--chunk", 0], "--chunk"),
    (["--chunk", "2h"], "longer than"),
    (["--duration", "1:99"], "--duration"),
    (["--bitrate", "fast"], "--bitrate"),
    (["--crf", 70], "--crf"),
    (["--route-loss", "-1"], "--route-loss"),
    (["--grid", "48"], "--grid"),
    (["--grid", "47x54"], "--grid"),
    (["--grid", "48x2000"], "--grid"),
    (["--quant-loss", "x"], "--quant-loss"),
    (["--dtype", "int4"], "--dtype"),
    (["--crf", 60], "--crf"),
    (["--crf", 20, "--bitrate", "1M"], "not allowed with"),
    (["--steps", 0], "--steps"),
    (["--steps", 5, "--budget", "1m"], "exclude"),
    (["--model", "nope"], "--model nope"),
    (["--model", "../etc"], "--model"),
    (["--model", "edge16-x3"], "scale 3"),
    (["--threads", -1], "--threads"),
    (["--seed", "x"], "--seed"),
    (["--start", 9], "beyond its end"),
    (["--nonsense"], "--nonsense"),
    (["-o", "/"], "not a place"),
]


@pytest.mark.parametrize("options, cause", BAD_OPTIONS)
def test_bad_options(options, cause, plain, tmp_path):
    target = ["-o", tmp_path / "p"] if options else []
    refused(srpack(plain, *target, *options), 1, cause)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x"}', '{"name": "x", "scale": 2'])
def test_bad_graph_file(text, plain, tmp_path):
    graph = tmp_path / "g.json"
    graph.write_text(text)
    refused(srpack(plain, "-o", tmp_path / "p", "--model", graph), 2, str(graph),
            "not a model graph")


@pytest.mark.parametrize("quant, status", [("w8a8-mixed", 2), ("f32", 2), ("bf16", 0)])
def test_parameters_beyond_f16(quant, status, plain, tmp_path):
    """A bias that nothing reads; bf16 has room for it."""
    import safetensors.torch
    import torch
    model, tensors = tmp_path / "wide.json", {}
    graph = {"format": "srp-graph", "version": 1, "name": "wide", "scale": 2, "colour": "y",
             "mean": 0.0, "input": "x", "output": "y", "nodes": [
                 {"name": "a", "op": "conv2d", "inputs": ["x"], "output": "h", "channels": 4,
                  "kernel": [3, 3], "activation": "relu"},
                 {"name": "b", "op": "conv2d", "inputs": ["h"], "output": "s", "channels": 4,
                  "kernel": [3, 3]},
                 {"name": "d", "op": "depth_to_space", "inputs": ["s"], "output": "y", "block": 2}]}
    model.write_text(json.dumps(graph))
    for name, inputs in (("a", 1), ("b", 4)):
        tensors[f"{name}.weight"] = torch.full((4, inputs, 3, 3), 0.01)
        tensors[f"{name}.bias"] = torch.zeros(4)
    tensors["a.bias"][1] = -1e6
    safetensors.torch.save_file(tensors, model.with_suffix(".safetensors"))
    done = srpack(plain, "-o", tmp_path / "p", "--model", model, "--scale", 2, "--steps", 1,
                  "--duration", "0.2", "--quant", quant)
    if status == 0:
        assert done.returncode == 0, done.stderr
    else:
        refused(done, 2, f"{plain}: training wide: a.bias: -1e+06 is beyond the range of f16 (65504)")


@pytest.mark.parametrize("answer", ["", "[]", '{"psnr_y": 1}', '{"psnr_y": {}, "psnr_rgb": {}}'])
def test_unexpected_answer_of_srbench(answer, plain, tmp_path, build):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srinfo").symlink_to(build / "srinfo")
    (tools / "srbench").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tools / "srbench").chmod(0o755)
    done = srpack(plain, "-o", tmp_path / "p", "--model", "none", "--duration", "0.2",
                  env=environment(SRP_BINDIR=str(tools)))
    refused(done, 2, "srbench package: unexpected output")
    assert not (tmp_path / "p").exists() and not list(tmp_path.glob("p.tmp-*"))


def test_odd_rotation_is_refused(clips, tmp_path):
    clip = clips("straight.mp4", *LAVFI, "testsrc2=s=320x240:d=0.2", "-pix_fmt", "yuv420p", "-c:v",
                 "libx264")
    tilted = clips("tilted.mp4", "-i", clip, "-c", "copy", "-metadata:s:v", "rotate=45")
    refused(srpack(tilted, "-o", tmp_path / "p"), 2, "rotation by")


def test_names_that_look_like_something_else(plain, tmp_path):
    odd = tmp_path / "-y:http:%d movie.mkv"
    odd.write_bytes(plain.read_bytes())
    done = srpack("-o", "-p", "--model", "none", "--duration", "0.2", "--", odd.name, cwd=tmp_path)
    assert done.returncode == 1  # argparse takes -p for an option
    done = srpack("--output=-p %d", "--model", "none", "--duration", "0.2", "--", odd.name,
                  cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_hls(tmp_path / "-p %d", 5, audio=True)


def test_progress_is_shown_when_asked_for(plain, tmp_path):
    done = srpack(plain, "-o", tmp_path / "p", "--model", "none", "--progress")
    assert done.returncode == 0 and "encode:" in done.stderr and "/50" in done.stderr
    quiet = srpack(plain, "-o", tmp_path / "p", "--model", "none")
    assert "encode:" not in quiet.stderr


def test_missing_program(plain, tmp_path):
    # Neither ffprobe nor anything else is found; the message names it.
    env = environment(PATH=str(tmp_path))
    refused(srpack(plain, "-o", tmp_path / "p", env=env), 2, "ffprobe", "not found")


def test_second_srpack_is_refused(plain, tmp_path):
    import fcntl
    work = tmp_path / "p.srpack-work"
    work.mkdir()
    with open(work / "lock", "w", encoding="ascii") as lock:
        (work / "job.json").write_text("{}")
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(srpack(plain, "-o", tmp_path / "p", "--model", "none"), 2, "another srpack")


def test_signal_leaves_no_children(clips, tmp_path):
    clip = clips("long.mkv", "-f", "lavfi", "-i", "mandelbrot=s=640x480:r=25", "-t", 8, "-pix_fmt",
                 "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")
    process = start_training([clip, "-o", tmp_path / "p", "--model", "none", "--codec", "hevc"])
    wait_for(lambda: (tmp_path / "p.srpack-work/hr.yuv").exists(), process, 30)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 4
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            assert os.fsencode(str(tmp_path)) not in command, command
