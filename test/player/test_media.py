# SPDX-License-Identifier: BSD-2-Clause
"""The media layer: what comes out of packages, files and playlists, whole, damaged or hostile."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import zlib

import pytest
import tiny

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "net"))
from fault_server import Server  # noqa: E402

NO_MODEL, NOT_VERIFIED, NOT_ARRIVED, USER = "1", "2", "3", "4"
IO, NOT_FOUND, FORMAT, UNSUPPORTED, DECODE, USAGE = -1000, -1001, -2001, -2005, -4000, -7000
CLIP = tiny.ROOT.parent / "shared" / "clips" / "citynight_720x405.mpg"


class Result:
    def __init__(self, done):
        self.code, self.log, self.text = done.returncode, done.stderr, done.stdout
        lines = done.stdout.splitlines()
        self.frames = [fields(x) for x in lines if x.startswith("frame ")]
        self.audio = [fields(x) for x in lines if x.startswith("audio ")]
        self.info = next((fields(x) for x in lines if x.startswith("info ")), None)
        self.stats = {k: int(v) for x in lines if x.startswith("stats ")
                      for k, v in fields(x).items()}
        self.rounds = [fields(x) for x in lines if x.startswith("round ")]
        match = re.search(r"^(?:\w+-)?error (-\d+) (.*)$", done.stdout, re.M)
        self.error, self.detail = (int(match[1]), match[2]) if match else (0, "")

    def pts(self):
        return [float(f["pts"]) for f in self.frames]

    def sums(self):
        return [f["sum"] for f in self.frames]

    def of_chunk(self, chunk, key):
        return {f[key] for f in self.frames if f["chunk"] == str(chunk)}


def fields(line):
    return dict(re.findall(r"(\w+)=(\S+)", line))


@pytest.fixture
def play(build):
    def run(url, *options, models="/nonexistent", timeout=30, **env):
        begun = time.monotonic()
        done = subprocess.run([build / "test/player/aid_media", url, "--models", models,
                               *map(str, options)], capture_output=True, text=True,
                              timeout=timeout, cwd="/", errors="replace",
                              env={**os.environ, "no_proxy": "127.0.0.1",
                                   "SRP_MODELS_DIR": "", **env})
        assert done.returncode in (0, 1), done.stderr[-3000:]
        result = Result(done)
        result.seconds = time.monotonic() - begun
        return result
    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("made") / "package")


@pytest.fixture
def package(made, tmp_path):
    shutil.copytree(made, tmp_path / "p")
    return tmp_path / "p"


@pytest.fixture(scope="session")
def reference(made):
    """Adler-32 of every frame, decoded by the ffmpeg program."""
    return sums_by_ffmpeg(made / "video.m3u8", 96, 64)


def sums_by_ffmpeg(path, width, height, pixels="yuv420p"):
    raw = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-fps_mode",
                          "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-"],
                         check=True, capture_output=True).stdout
    size = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    return [f"{zlib.adler32(raw[i:i + size]):08x}" for i in range(0, len(raw), size)]


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def parameters_of(package, model):
    return package / tiny.read(package)["models"][model]["parameters"]["uri"]


# ---- packages ------------------------------------------------------------------------------------

def test_package_from_disk(play, made, reference):
    result = play(made / "manifest.json", "--exact", 1)
    assert result.sums() == reference and len(reference) == 100
    assert result.pts() == pytest.approx([i / 25 for i in range(100)], abs=1e-5)
    assert [int(f["chunk"]) for f in result.frames] == [i // 25 for i in range(100)]
    assert [f["model"] for f in result.frames] == [f"tiny{i // 25 % 2}" for i in range(100)]
    assert [f["key"] for f in result.frames].count("1") == 4
    assert {(f["matrix"], f["range"], f["chroma"]) for f in result.frames} == {("1", "0", "0")}
    assert result.info["out"] == "192x128" and result.info["duration"] == "4.000"


def test_package_audio_is_continuous(play, made):
    result = play(made / "manifest.json", "--audio", 1)
    pts = [float(a["pts"]) for a in result.audio]
    assert abs(pts[0]) < 0.002
    assert all(abs(b - a - 1024 / 48000) < 0.002 for a, b in zip(pts, pts[1:]))
    assert abs(sum(int(a["samples"]) for a in result.audio) / 48000 - 4) < 0.05


def test_package_over_http_and_cache(play, made, reference, tmp_path):
    with Server(made) as server:
        first = play(server.url + "/manifest.json", "--cache", tmp_path / "c", "--audio", 1,
                     "--exact", 1)
        assert first.sums() == reference
        assert {f["no_sr"] for f in first.frames} == {"0"}
        assert first.stats["hits"] == 0 and first.stats["misses"] > 8
        assert first.stats["status"] == 200
        server.requests.clear()
        second = play(server.url + "/manifest.json", "--cache", tmp_path / "c", "--audio", 1)
        assert second.sums() == reference and second.stats["misses"] == 0
        assert [r[0] for r in server.requests] == ["/manifest.json"]


@pytest.mark.parametrize("codec", [tiny.HEVC, tiny.AV1], ids=["hevc", "av1"])
def test_other_codecs(play, tmp_path, codec):
    package = tiny.make(tmp_path / "p", seconds=2, codec=codec, audio=False)
    expected = sums_by_ffmpeg(package / "video.m3u8", 96, 64)
    result = play(package / "manifest.json")
    assert result.sums() == expected and len(expected) == 50 and result.stats["damaged"] == 0
    assert play(package / "manifest.json", "--seek", 1.5).sums() == expected[37:]


def test_chunks_are_fetched_one_ahead(play, made):
    with Server(made) as server:
        play(server.url + "/manifest.json", "--frames", 1, "--pace", 300)
        paths = {r[0] for r in server.requests}
        assert "/video-00001.m4s" in paths and "/video-00002.m4s" not in paths
        assert {"/" + m["parameters"]["uri"] for m in tiny.read(made)["models"]} <= paths


@pytest.mark.parametrize("seconds", [0, 0.5, 1.0, 1.96, 2.02, 3.97, 99])
def test_package_seeks_exactly(play, made, reference, seconds):
    result = play(made / "manifest.json", "--seek", seconds, "--audio", 1)
    first = next((i for i in range(100) if i / 25 >= seconds - 0.02), 100)
    assert result.sums() == reference[first:]
    assert result.pts() == pytest.approx([i / 25 for i in range(first, 100)], abs=1e-5)
    if seconds < 4:
        start = float(result.audio[0]["pts"])
        assert start <= seconds + 0.002 and start > seconds - 0.03


def test_package_seeks_to_key_frame(play, made, reference):
    result = play(made / "manifest.json", "--seek", 2.7, "--key", 1)
    assert result.sums() == reference[50:] and result.frames[0]["key"] == "1"


@pytest.mark.parametrize("damage", ["flip", "truncate", "longer", "remove"])
def test_bad_segment_is_skipped(play, package, reference, damage):
    path = package / "video-00001.m4s"
    if damage == "flip":
        flip(path, 700)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.unlink()
    result = play(package / "manifest.json")
    assert result.sums() == reference[:25] + reference[50:] and result.code == 0
    assert result.pts()[25] == pytest.approx(2)
    assert result.stats["damaged"] == 1 and "video segment 1 (video-00001.m4s)" in result.log
    assert result.of_chunk(2, "model") == {"tiny0"}


@pytest.mark.parametrize("part", range(8))
def test_hostile_segment_with_the_right_hash(play, package, reference, part):
    """The hash only proves who wrote it: FFmpeg meets damage everywhere, and the rest plays on."""
    manifest, path = tiny.read(package), package / "video-00001.m4s"
    data = bytearray(path.read_bytes())
    for at in range(part * 7, len(data) if part >= 4 else 700, 61 if part >= 4 else 23):
        data[at] ^= 0xFF
    path.write_bytes(data)
    manifest["chunks"][1]["segment"].update(tiny.file(package, path.name))
    tiny.write(package, manifest)
    result = play(package / "manifest.json")
    rest = [f["sum"] for f in result.frames if f["chunk"] != "1"]
    assert rest == reference[:25] + reference[50:] and result.stats["damaged"] == 1
    pts = result.pts()
    assert all(a < b for a, b in zip(pts, pts[1:]))
    assert [f["pts"] for f in result.frames if f["chunk"] == "2"][0] == "2.00000"


def test_last_segment_missing_is_an_error(play, package, reference):
    (package / "video-00003.m4s").unlink()
    result = play(package / "manifest.json")
    assert result.sums() == reference[:75]
    assert result.error == NOT_FOUND and "video-00003.m4s" in result.detail


def test_missing_init_is_an_error(play, package):
    (package / "video-init.mp4").unlink()
    result = play(package / "manifest.json")
    assert result.error == NOT_FOUND and "video-init.mp4" in result.detail


def test_bad_audio_segment_is_skipped(play, package, reference):
    flip(package / "audio-00001.m4s", 500)
    result = play(package / "manifest.json", "--audio", 1)
    assert result.sums() == reference
    pts = [float(a["pts"]) for a in result.audio]
    gaps = [b - a for a, b in zip(pts, pts[1:]) if b - a > 0.05]
    assert len(gaps) == 1 and gaps[0] == pytest.approx(1.02, abs=0.03)


def test_wrong_bytes_are_fetched_again(play, made, reference):
    with Server(made) as server:
        server.faults["/video-00001.m4s"] = ["flip:700"]
        result = play(server.url + "/manifest.json", "--exact", 1)
        assert result.sums() == reference and result.stats["hash"] == 1
        assert server.asked("/video-00001.m4s")[1][2]["Cache-Control"] == "no-cache"
        server.faults["/video-00001.m4s"] = ["flip:700*"]
        result = play(server.url + "/manifest.json", "--exact", 1)
        assert result.sums() == reference[:25] + reference[50:] and result.stats["hash"] == 2
        assert "the SHA-256 is not the one in the manifest" in result.log


def test_network_gone_has_a_name(play, made, reference):
    with Server(made) as server:
        for i in range(1, 4):
            server.faults[f"/video-{i:05d}.m4s"] = ["status:503*"]
        result = play(server.url + "/manifest.json")
        assert result.sums() == reference[:25]
        assert result.error == -1002 and "HTTP status 503" in result.detail


# ---- promise P0: parameters ----------------------------------------------------------------------

@pytest.mark.parametrize("damage,reason", [("flip", NOT_VERIFIED), ("truncate", NOT_VERIFIED),
                                           ("remove", NOT_ARRIVED)])
def test_bad_parameters_never_enhance(play, package, reference, damage, reason):
    path = parameters_of(package, 1)
    if damage == "flip":
        flip(path, len(path.read_bytes()) - 3)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    result = play(package / "manifest.json", "--exact", 1)
    assert result.sums() == reference
    for chunk in (0, 2):
        assert result.of_chunk(chunk, "model") == {"tiny0"}
    for chunk in (1, 3):
        assert result.of_chunk(chunk, "model") == {"-"}
        assert result.of_chunk(chunk, "no_sr") == {reason}
    assert "chunk 1 without super-resolution" in result.log


def test_verified_but_not_finite_parameters(play, package):
    """The hash is right and the content is not: the validator is what stands in the way."""
    manifest = tiny.read(package)
    data = bytearray(parameters_of(package, 0).read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"  # NaN
    manifest["models"][0]["parameters"] = tiny.add_object(package, bytes(data), "safetensors")
    tiny.write(package, manifest)
    result = play(package / "manifest.json", "--exact", 1)
    assert len(result.frames) == 100 and result.of_chunk(0, "no_sr") == {NOT_VERIFIED}


def test_parameters_of_another_model(play, package):
    uri = [m["parameters"]["uri"] for m in tiny.read(package)["models"]]
    shutil.copy(package / uri[0], package / uri[1])
    result = play(package / "manifest.json", "--exact", 1)
    assert result.of_chunk(1, "no_sr") == {NOT_VERIFIED} and result.of_chunk(1, "model") == {"-"}


def test_late_parameters(play, made, reference):
    """The picture does not wait, the reason is told, and full quality comes once they are there."""
    with Server(made) as server:
        server.faults["/" + tiny.read(made)["models"][0]["parameters"]["uri"]] = ["slow:0.15"]
        result = play(server.url + "/manifest.json", "--start-wait", 50, "--pace", 15)
    assert result.sums() == reference
    reasons = [f["no_sr"] for f in result.frames]
    assert reasons[0] == NOT_ARRIVED and reasons[-25:] == ["0"] * 25
    assert all((f["model"] == "-") == (f["no_sr"] != "0") for f in result.frames)


def test_parameters_come_back(play, package):
    """P4: the server heals, and full quality is back within two chunks."""
    manifest = tiny.read(package)
    for chunk in manifest["chunks"]:
        chunk["model"] = 0
    tiny.write(package, manifest)
    with Server(package) as server:
        server.faults["/" + manifest["models"][0]["parameters"]["uri"]] = ["wrong"] * 4
        result = play(server.url + "/manifest.json", "--exact", 1)
    assert result.of_chunk(0, "no_sr") == {NOT_VERIFIED} and result.stats["hash"] == 4
    assert result.of_chunk(2, "model") == {"tiny0"} and result.of_chunk(3, "model") == {"tiny0"}


def test_no_model_wanted(play, made):
    result = play(made / "manifest.json", "--no-model", 1, "--frames", 3)
    assert {f["no_sr"] for f in result.frames} == {USER} and result.info["model"] == "-"
    assert result.stats["parameters"] == 0


def test_chunks_without_a_model(play, package):
    manifest = tiny.read(package)
    manifest["chunks"][1]["model"] = None
    tiny.write(package, manifest)
    result = play(package / "manifest.json", "--exact", 1)
    assert result.of_chunk(1, "no_sr") == {NO_MODEL} and result.of_chunk(2, "no_sr") == {"0"}


# ---- hostile manifests and playlists -------------------------------------------------------------

@pytest.mark.parametrize("uri", ["../secret.m4s", "/etc/passwd", "file:///etc/passwd", "a/b.m4s",
                                 "http://127.0.0.1:1/x.m4s", ".hidden", "c:x", "a\\b", "a\nb", ""])
def test_manifest_with_a_path_is_refused(play, package, uri):
    manifest = tiny.read(package)
    manifest["chunks"][1]["segment"]["uri"] = uri
    tiny.write(package, manifest)
    result = play(package / "manifest.json")
    assert result.error <= -2000 and result.error > -3000 and not result.frames
    assert "manifest.json" in result.detail


def test_playlist_announces_package(play, made, reference):
    result = play(made / "master.m3u8", "--exact", 1)
    assert result.info["package"] == "1" and result.sums() == reference
    with Server(made) as server:
        server.faults["/start.m3u8"] = ["redirect:/master.m3u8*"]
        result = play(server.url + "/start.m3u8", "--exact", 1)
        assert result.info["package"] == "1" and result.sums() == reference


def test_plain_playlist(play, made, reference):
    result = play(made / "video.m3u8")
    assert result.info["package"] == "0" and result.sums() == reference
    with Server(made) as server:
        result = play(server.url + "/video.m3u8", "--seek", 2.2)
        assert result.sums() == reference[55:] and result.pts()[0] == pytest.approx(2.2)


def test_broken_manifest_still_plays(play, package, reference):
    (package / "manifest.json").write_text('{"format": 1')
    result = play(package / "master.m3u8")
    assert result.sums() == reference and "playing the playlist without its package" in result.log
    assert play(package / "manifest.json").error == -2000


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "../m.json", "ftp://127.0.0.1/m.json"])
def test_announced_elsewhere_is_refused(play, package, reference, uri):
    text = (package / "master.m3u8").read_text()
    (package / "master.m3u8").write_text(text.replace("manifest.json", uri))
    result = play(package / "master.m3u8")
    assert "refused to open" in result.log and result.sums() == reference


SECRETS = ["file://{0}/secret.ts", "{0}/secret.ts", "concat:{0}/secret.ts", "../secret.ts",
           "data:text/plain,x", "crypto+file://{0}/secret.ts",
           "subfile,,start,0,end,9,,:{0}/secret.ts"]


@pytest.mark.parametrize("uri", SECRETS)
def test_remote_playlist_cannot_open_local_files(play, package, tmp_path, uri):
    """The file would play, so a refusal is the only reason why nothing comes out."""
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-c:v", "libx264",
                tmp_path / "secret.ts")
    (package / "evil.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{uri.format(tmp_path)}\n#EXT-X-ENDLIST\n")
    with Server(package) as server:
        result = play(server.url + "/evil.m3u8")
        assert result.error < 0 and not result.frames
    if not uri.startswith("{0}"):
        assert not play(package / "evil.m3u8").frames


def test_https_only_playlists(play, package):
    (package / "evil.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
                                       "rtp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    assert play(package / "evil.m3u8").error < 0


@pytest.mark.parametrize("url,code", [("ftp://127.0.0.1/x", UNSUPPORTED),
                                      ("/nonexistent/x", NOT_FOUND),
                                      ("rtsp://127.0.0.1/x", UNSUPPORTED), ("/etc", IO),
                                      ("/dev/zero", IO), ("http://[bad", USAGE),
                                      ("concat:/etc/passwd", NOT_FOUND), ("pipe:0", NOT_FOUND)])
def test_what_cannot_be_opened(play, url, code):
    result = play(url)
    assert result.error == code and url.split(":")[0] in result.detail


# ---- plain files ---------------------------------------------------------------------------------

def test_formats_off_the_list(play, tmp_path):
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", tmp_path / "a.gif")
    result = play(tmp_path / "a.gif")
    assert result.error == UNSUPPORTED and "the format 'gif'" in result.detail
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-c:v", "cinepak",
                tmp_path / "a.avi")
    result = play(tmp_path / "a.avi")
    assert result.error == UNSUPPORTED and "the codec 'cinepak'" in result.detail
    tiny.ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac", tmp_path / "a.mp4")
    assert "no video stream" in play(tmp_path / "a.mp4").detail
    (tmp_path / "empty").write_bytes(b"")
    assert "empty" in play(tmp_path / "empty").detail
    (tmp_path / "noise").write_bytes(os.urandom(5000))
    assert play(tmp_path / "noise").error in (DECODE, UNSUPPORTED)


@pytest.mark.parametrize("name,options", [
    ("a.mkv", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", 3, "-g", 12]),
    ("a.ts", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", 2, "-g", 12]),
    ("a.mpg", ["-c:v", "mpeg2video", "-pix_fmt", "yuv420p", "-bf", 2, "-g", 12]),
    ("a.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-deadline", "realtime", "-g", 12]),
    ("a.avi", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
    ("a.y4m", ["-pix_fmt", "yuv420p"]),
])
def test_seek_equals_linear_decode(play, tmp_path, name, options):
    size = (66, 50) if "libx264" in options else (65, 49)
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=66x50:r=25:d=2,format=yuv444p,"
                f"crop={size[0]}:{size[1]}:exact=1", *options, tmp_path / name)
    linear = play(tmp_path / name)
    assert linear.sums() == sums_by_ffmpeg(
        tmp_path / name, *size, options[options.index("-pix_fmt") + 1]) and len(linear.frames) == 50
    pts = linear.pts()
    assert pts[0] == 0 and all(0.03 < b - a < 0.05 for a, b in zip(pts, pts[1:]))
    for seconds in (0.0, 0.5, 1.27, 1.96):
        first = next(i for i, t in enumerate(pts) if t >= seconds - 0.02)
        result = play(tmp_path / name, "--seek", seconds)
        assert result.sums() == linear.sums()[first:], seconds
        assert result.pts()[0] == pytest.approx(pts[first], abs=1e-3)


def test_plain_file_over_http(play, tmp_path):
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=8", "-f", "lavfi", "-i", "sine=d=8",
                "-c:v", "libx264", "-b:v", "1M", "-pix_fmt", "yuv420p", "-c:a", "aac",
                tmp_path / "a.mp4")  # its index is at the end
    linear = play(tmp_path / "a.mp4", "--audio", 1)
    with Server(tmp_path) as server:
        server.faults["/a.mp4"] = ["reset:50000", "short:3000"]
        result = play(server.url + "/a.mp4", "--audio", 1)
        assert result.sums() == linear.sums() and len(result.frames) == 200
        assert result.audio == linear.audio and result.stats["retries"] >= 1
        assert play(server.url + "/a.mp4", "--seek", 6).sums() == linear.sums()[150:]
        server.faults["/a.mp4"] = ["ignore-range*"]
        assert play(server.url + "/a.mp4").sums() == linear.sums()


@pytest.mark.parametrize("pixels,extra,expected", [
    ("yuv420p10le", ["-colorspace", "bt709", "-color_range", "tv"], ("0", "0", "0")),
    ("yuv444p", ["-colorspace", "bt709", "-color_range", "pc"], ("0", "1", "0")),
    ("nv12", ["-colorspace", "smpte170m"], ("1", "0", "0")),
    ("gbrp", [], ("1", "0", "0")),
    ("gray", ["-color_range", "tv"], ("1", "0", "0")),
])
def test_other_pixel_formats_become_420(play, tmp_path, pixels, extra, expected):
    codec = ["-c:v", "ffv1"] if pixels != "nv12" else ["-c:v", "rawvideo"]
    name = "a.mkv" if pixels != "nv12" else "a.avi"
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=65x49:d=0.2,format=yuv420p", "-pix_fmt", pixels,
                *extra, *codec, tmp_path / name)
    result = play(tmp_path / name)
    assert len(result.frames) == 5 and {f["format"] for f in result.frames} == {"yuv420p"}
    shown = result.frames[0]
    if pixels != "nv12":  # AVI says nothing about colour
        assert (shown["matrix"], shown["range"], shown["chroma"]) == expected


def test_real_clip(play):
    if not CLIP.exists():
        pytest.skip("the clip is not here; generated ones are used in the other tests")
    linear = play(CLIP)
    assert linear.sums() == sums_by_ffmpeg(CLIP, 720, 405)
    result = play(CLIP, "--seek", 3.11)
    assert result.sums() == linear.sums()[-len(result.frames):]
    assert result.pts()[0] == pytest.approx(3.12)


def test_truncated_file_plays_what_is_there(play, tmp_path):
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=2", "-c:v", "libx264", "-g", 25,
                tmp_path / "a.ts")
    data = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(data[:len(data) * 2 // 3])
    result = play(tmp_path / "a.ts")
    assert 20 < len(result.frames) < 50
    noise = bytearray(data)
    for i in range(2000, len(noise), 997):
        noise[i] ^= 0xFF
    (tmp_path / "a.ts").write_bytes(noise)
    result = play(tmp_path / "a.ts")
    assert len(result.frames) > 10 or result.error == DECODE


# ---- general models ------------------------------------------------------------------------------

@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    (folder / "general").mkdir(parents=True)
    shutil.copy(tiny.GRAPH, folder / "edge16-x2.json")
    shutil.copy(tiny.GRAPH, folder / "mine-x2.json")
    (folder / "general" / "edge16-x2.safetensors").write_bytes(tiny.parameters(7))
    (folder / "general" / "mine-x2.safetensors").write_bytes(tiny.parameters(8))
    return folder


def test_general_model_for_plain_files(play, made, models):
    result = play(made / "video.m3u8", "--frames", 2, models=models)
    assert {f["model"] for f in result.frames} == {"edge8-x2"} and result.info["out"] == "192x128"
    result = play(made / "video.m3u8", "--frames", 2, SRP_MODELS_DIR=str(models))
    assert {f["model"] for f in result.frames} == {"edge8-x2"}
    result = play(made / "video.m3u8", "--frames", 2, "--scale", 3, models=models)
    assert {f["no_sr"] for f in result.frames} == {NO_MODEL} and result.info["out"] == "288x192"
    assert "edge16-x3" in result.log


def test_named_model(play, made, models):
    result = play(made / "manifest.json", "--frames", 30, "--model", "mine-x2", models=models)
    assert {f["model"] for f in result.frames} == {"edge8-x2"} and result.stats["parameters"] == 0
    path = models / "beside.json"
    shutil.copy(tiny.GRAPH, path)
    path.with_suffix(".safetensors").write_bytes(tiny.parameters(9))
    result = play(made / "video.m3u8", "--frames", 1, "--model", path)
    assert result.frames[0]["model"] == "edge8-x2"
    # By name too, as `srpack import` writes them; general/ is asked first.
    result = play(made / "video.m3u8", "--frames", 1, "--model", "beside", models=models)
    assert result.frames[0]["model"] == "edge8-x2"
    (models / "general" / "beside.safetensors").write_bytes(b"damaged")
    result = play(made / "video.m3u8", "--model", "beside", models=models)
    assert "general/beside.safetensors" in result.detail
    result = play(made / "video.m3u8", "--model", "absent-x2", models=models)
    assert result.error == NOT_FOUND and "absent-x2" in result.detail
    assert play(made / "video.m3u8", "--model", "../models/x", models=models).error == USAGE
    flip(models / "general" / "mine-x2.safetensors", 3)
    result = play(made / "video.m3u8", "--model", "mine-x2", models=models)
    assert "mine-x2.safetensors" in result.detail


def test_named_model_of_another_scale(play, made, models):
    shutil.copy(tiny.ROOT / "models" / "edge8-x3.json", models / "three.json")
    graph = json.loads((models / "three.json").read_text())
    data = tiny.parameters(1, graph=graph)
    (models / "general" / "three.safetensors").write_bytes(data)
    result = play(made / "manifest.json", "--model", "three", models=models)
    assert result.error == UNSUPPORTED and "3 times" in result.detail


# ---- interruption and what is left behind --------------------------------------------------------

def test_interrupt_is_prompt(play, made):
    with Server(made) as server:
        server.faults["/video-00001.m4s"] = ["stall:100*"]
        result = play(server.url + "/manifest.json", "--interrupt", 400, "--stall", 20)
        assert result.error == IO and result.detail == "interrupted" and result.seconds < 4
        assert len(result.frames) == 25
    tiny_file = made / "video.m3u8"
    with Server(made) as server:
        server.faults["/video-00002.m4s"] = ["stall:100*"]
        result = play(f"{server.url}/{tiny_file.name}", "--interrupt", 600, "--stall", 20)
        assert result.error == IO and result.seconds < 4


def test_nothing_is_left_behind(play, made, tmp_path):
    with Server(made) as server:
        for url in (server.url + "/manifest.json", server.url + "/video.m3u8",
                    str(made / "manifest.json")):
            result = play(url, "--rounds", 6, "--frames", 30, "--cache", tmp_path / "c")
            assert len({(r["fds"], r["threads"]) for r in result.rounds[1:]}) == 1, url
            assert result.rounds[-1]["threads"] == "3"  # ".", ".." and the main thread
