# SPDX-License-Identifier: BSD-2-Clause
"""Every kind of source: packed and played, or refused with one clear line and nothing left."""
import json
import re
import subprocess

import pytest
from conftest import ffprobe, srpack
from test_pack import check_hls, refused, verified

LAVFI = ["-f", "lavfi", "-i"]
SCENE = "testsrc2=s={}:r=25:d={},noise=alls=5:allf=t"
FFV1, X264 = ["-c:v", "ffv1"], ["-c:v", "libx264", "-crf", "12", "-preset", "ultrafast"]


def scene(size="160x120", seconds=0.4, more=""):
    return [*LAVFI, SCENE.format(size, seconds) + more]


def plays(package, source, build, frames, mean=18):
    """The player's pipeline shows every frame, and the figures are those of a true copy."""
    play = json.loads(subprocess.run(
        [build / "srbench", "play", package / "manifest.json", "--json"], capture_output=True,
        text=True, check=True, timeout=60).stdout)
    manifest = json.loads((package / "manifest.json").read_bytes())
    assert play["frames"] == frames and play["dropped"] == 0
    assert play["upscaled"] == (frames if manifest["models"] else 0)
    assert (play["width"], play["height"]) == tuple(manifest["output"].values()) or \
        not manifest["models"]
    bench = json.loads(subprocess.run(
        [build / "srbench", "package", package / "manifest.json", "--reference", source, "--json"],
        capture_output=True, text=True, check=True, timeout=60).stdout)
    assert bench["frames"] == frames and bench["psnr_y"]["bicubic"] > mean
    assert manifest["quality"]["psnr_y"]["bicubic"] == pytest.approx(
        bench["psnr_y"]["bicubic"], abs=1e-3)


NONE = ["--model", "none"]
# name: (suffix, ffmpeg arguments, srpack arguments, frames, output size, words of a note)
PACKED = {
    "one-frame": ("mkv", [*scene(), "-frames:v", 1, "-pix_fmt", "yuv420p", *FFV1], [], 1,
                  (160, 120), None),
    "two-frames": ("mp4", [*scene(), "-frames:v", 2, "-pix_fmt", "yuv420p", *X264], [], 2,
                   (160, 120), None),
    "one-frame-chunks": ("mkv", [*scene(seconds=0.2), "-pix_fmt", "yuv420p", *FFV1],
                         ["--chunk", "0.04", *NONE], 5, (160, 120), None),
    "static": ("mkv", [*LAVFI, "testsrc2=s=160x120:r=25:d=0.04,loop=9:1:0", "-pix_fmt", "yuv420p",
                       *FFV1], [], 10, (160, 120), None),
    "black": ("mkv", [*LAVFI, "color=black:s=160x120:r=25:d=0.4", "-pix_fmt", "yuv420p", *FFV1],
              [], 10, (160, 120), None),
    "odd-size": ("mkv", [*scene("200x100", more=",format=yuv444p,crop=153:79:0:0,format=yuv420p"),
                         *FFV1], [], 10, (153, 79), None),
    "variable-rate": ("mkv", [*scene(seconds=1, more=",select='not(eq(mod(n,9),4))'"), "-vsync",
                              "vfr", "-pix_fmt", "yuv420p", *FFV1], [], 25, (160, 120),
                      "variable frame rate"),
    "10-bit": ("mkv", [*scene(), "-pix_fmt", "yuv420p10le", *FFV1], [], 10, (160, 120),
               "yuv420p10le converted to 8-bit 4:2:0"),
    "4:2:2": ("mkv", [*scene(), "-pix_fmt", "yuv422p", *FFV1], NONE, 10, (160, 120),
              "yuv422p converted"),
    "4:4:4": ("mkv", [*scene(), "-pix_fmt", "yuv444p", *FFV1], [], 10, (160, 120),
              "yuv444p converted"),
    "4:4:4-10-bit": ("mp4", [*scene(), "-pix_fmt", "yuv444p10le", *X264], NONE, 10, (160, 120),
                     "yuv444p10le converted"),
    "full-range": ("mp4", [*scene(more=",scale=out_range=full,format=yuv420p,setparams=range=pc"),
                           *X264], [], 10, (160, 120), None),
    "not-square": ("mp4", [*scene(more=",setsar=16/11"), "-pix_fmt", "yuv420p", *X264], NONE, 10,
                   (160, 120), None),
    "no-sound": ("mp4", [*scene(), "-pix_fmt", "yuv420p", *X264], NONE, 10, (160, 120), None),
    "short-sound": ("mkv", [*scene(seconds=1), *LAVFI, "sine=d=0.1", "-pix_fmt", "yuv420p", *FFV1,
                            "-c:a", "pcm_s16le"], NONE, 25, (160, 120), None),
    "three-tracks": ("mkv", [*scene(), *LAVFI, "sine=440:d=0.4", *LAVFI, "sine=880:d=0.4", *LAVFI,
                             "sine=220:d=0.4", "-map", 0, "-map", 1, "-map", 2, "-map", 3,
                             "-disposition:a:0", 0, "-disposition:a:1", "default", "-pix_fmt",
                             "yuv420p", *FFV1, "-c:a", "pcm_s16le"], NONE, 10, (160, 120),
                     "3 audio tracks: stream 2 taken"),
    "av1-in-mp4": ("mp4", [*scene(), "-pix_fmt", "yuv420p", "-c:v", "libsvtav1", "-preset", 12],
                   NONE, 10, (160, 120), None),
    "old-avi": ("avi", [*scene(), "-pix_fmt", "yuv420p", "-c:v", "mpeg4", "-q:v", 2], NONE, 10,
                (160, 120), None),
    "starts-late": ("mp4", [*scene(), "-pix_fmt", "yuv420p", *X264, "-output_ts_offset", 3], NONE,
                    10, (160, 120), None),
    "scale-1": ("mkv", [*scene(), "-pix_fmt", "yuv420p", *FFV1], ["--scale", 1, "--crf", 35], 10,
                (160, 120), None),
    "scale-3": ("mkv", [*scene("170x130"), "-pix_fmt", "yuv420p", *FFV1], ["--scale", 3], 10,
                (170, 130), None),
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_and_played(name, clips, tmp_path, build):
    suffix, make, options, frames, shown, words = PACKED[name]
    clip = clips(f"{name.replace(':', '')}.{suffix}", *make)
    scale = [] if "--scale" in options else ["--scale", 2]
    done = srpack(clip, "-o", tmp_path / "p", *scale, "--steps", 3, "--threads", 2, "--json",
                  *options)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "internal" not in done.stderr
    assert words is None or words in done.stderr
    result = json.loads(done.stdout)
    if name == "short-sound":
        assert result["audio"]  # as long as it is
        manifest = json.loads((tmp_path / "p/manifest.json").read_bytes())
    else:
        manifest = check_hls(tmp_path / "p", frames, audio=result["audio"])
    assert (manifest["output"]["width"], manifest["output"]["height"]) == shown
    verified(tmp_path / "p", build)
    plays(tmp_path / "p", clip, build, frames)


def test_sound_is_that_of_the_default_track(clips, tmp_path):
    suffix, make = PACKED["three-tracks"][:2]
    clip = clips(f"three-tracks.{suffix}", *make)
    assert srpack(clip, "-o", tmp_path / "p", "--model", "none").returncode == 0
    text = subprocess.run(["ffmpeg", "-nostdin", "-i", tmp_path / "p/audio.m3u8", "-af",
                           "aresample=48000,astats=metadata=0", "-f", "null", "-"],
                          capture_output=True, text=True, check=True).stderr
    crossings = int(re.search(r"Zero crossings: (\d+)", text)[1])
    assert 600 < crossings < 850, "880 Hz for 0.4 s cross zero 704 times"


def test_non_square_pixels_stay(clips, tmp_path):
    suffix, make = PACKED["not-square"][:2]
    clip = clips(f"not-square.{suffix}", *make)
    assert srpack(clip, "-o", tmp_path / "p", "--model", "none", "--scale", 2).returncode == 0
    video = ffprobe(tmp_path / "p/master.m3u8", "-show_streams")["streams"][0]
    assert video["sample_aspect_ratio"] == "16:11"


@pytest.mark.parametrize("turn, shown", [(90, (120, 160)), (180, (160, 120)), (270, (120, 160))])
def test_phone_video_is_turned(turn, shown, clips, tmp_path, build):
    flat = clips("phone.mp4", *scene(), "-pix_fmt", "yuv420p", *X264)
    clip = clips(f"phone{turn}.mp4", "-i", flat, "-c", "copy", "-metadata:s:v", f"rotate={turn}")
    done = srpack(clip, "-o", tmp_path / "p", "--scale", 2, "--steps", 3)
    assert done.returncode == 0 and "turned by" in done.stderr, done.stderr
    manifest = json.loads((tmp_path / "p/manifest.json").read_bytes())
    assert (manifest["output"]["width"], manifest["output"]["height"]) == shown
    plays(tmp_path / "p", clip, build, 10)


@pytest.mark.parametrize("kind", ["mkv", "ts", "mp4"])
def test_broken_tail(kind, clips, tmp_path, build):
    """What is there is packed; what is missing is not invented."""
    more = {"mkv": [], "ts": [], "mp4": ["-movflags", "+faststart"]}[kind]
    clip = clips(f"whole.{kind}", *scene("320x240", 1.2), "-pix_fmt", "yuv420p", *X264, "-g", 10,
                 *more)
    torn = tmp_path / f"torn.{kind}"
    data = clip.read_bytes()
    torn.write_bytes(data[:len(data) * 7 // 10])
    done = srpack(torn, "-o", tmp_path / "p", "--scale", 2, "--steps", 3, "--json")
    assert "Traceback" not in done.stderr and "internal" not in done.stderr
    assert done.returncode == 0, done.stderr
    frames = json.loads(done.stdout)["frame_count"]
    assert 15 <= frames <= 24
    check_hls(tmp_path / "p", frames, audio=False)
    plays(tmp_path / "p", torn, build, frames)


# name: (suffix, ffmpeg arguments or bytes, words of the refusal)
REFUSED = {
    "1x1": ("mkv", [*LAVFI, "color=red:s=1x1:r=25:d=0.2,format=yuv444p", *FFV1], "too small"),
    "2x2": ("mkv", [*LAVFI, "color=red:s=2x2:r=25:d=0.2,format=yuv420p", *FFV1], "too small"),
    "17x33": ("mkv", [*LAVFI, "testsrc2=s=18x34:r=25:d=0.2,format=yuv444p,crop=17:33:0:0,"
                      "format=yuv420p", *FFV1], "too small"),
    "rgb": ("mkv", [*scene(), "-pix_fmt", "bgr0", *FFV1], "RGB video (pixel format bgr0)"),
    "rgb-planar": ("mkv", [*scene(), "-pix_fmt", "gbrp10le", *FFV1],
                   "RGB video (pixel format gbrp"),
    "raw-h264": ("h264", [*scene(), "-pix_fmt", "yuv420p", *X264], "no time stamps"),
    "grey": ("mkv", [*scene(), "-pix_fmt", "gray", *FFV1], "pixel format gray"),
    "alpha": ("mkv", [*scene(), "-pix_fmt", "yuva420p", *FFV1], "pixel format yuva420p"),
    "interlaced": ("mkv", [*scene(more=",setfield=tff"), "-pix_fmt", "yuv420p", "-c:v",
                           "mpeg2video", "-flags", "+ilme+ildct"], "interlaced"),
    "interlaced-h264": ("mp4", [*scene(more=",setfield=tff"), "-pix_fmt", "yuv420p", "-c:v",
                                "libx264", "-flags", "+ilme+ildct"], "interlaced"),
    "interlaced-ts": ("ts", [*scene(more=",setfield=bff"), "-pix_fmt", "yuv420p", "-c:v",
                             "libx264", "-x264-params", "bff=1"], "interlaced"),
    "pq": ("mkv", [*scene(), "-vf", "format=yuv420p10le,setparams=color_trc=smpte2084", *FFV1],
           "HDR video (PQ transfer)"),
    "hlg": ("mkv", [*scene(), "-vf", "format=yuv420p10le,setparams=color_trc=arib-std-b67", *FFV1],
            "HDR video (HLG transfer)"),
    "sound": ("wav", [*LAVFI, "sine=d=0.2"], "no video stream"),
    "sound-with-cover": ("mp3", [*LAVFI, "sine=d=0.2", *LAVFI, "testsrc2=s=64x64:d=0.04", "-map",
                                 0, "-map", 1, "-c:v", "png", "-disposition:v", "attached_pic"],
                         "no video stream"),
    "picture": ("png", [*scene(), "-frames:v", 1], "a still picture"),
    "photo": ("jpg", [*scene(), "-frames:v", 1, "-update", 1], "a still picture"),
    "no-index": ("mp4", None, "not a video file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, clips, tmp_path):
    suffix, make, words = REFUSED[name]
    if make is None:  # the index lies behind what is left
        whole = clips("indexed.mp4", *scene("320x240", 1), "-pix_fmt", "yuv420p", *X264)
        clip = tmp_path / "no-index.mp4"
        clip.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    else:
        clip = clips(f"{name}.{suffix}", *make)
    refused(srpack(clip, "-o", tmp_path / "p", "--scale", 2, "--steps", 3), 2, clip.name, words)
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith("p")]
