# SPDX-License-Identifier: BSD-2-Clause
"""Parts of srpack that are best tested alone."""
import argparse
import json
import pathlib
import shutil
from fractions import Fraction

import numpy as np
import pytest
from conftest import ffmpeg

from srpack import hls, media, mp4, options, package, probe, tools
from srpack.errors import PackError, one_line


@pytest.mark.parametrize("text, value", [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200),
                                         ("1:30", 90), ("1:02:03.5", 3723.5), ("0", 0)])
def test_times(text, value):
    assert options.seconds(text) == value


@pytest.mark.parametrize("text, value", [("48x54", (48, 54)), ("8x1024", (8, 1024))])
def test_cell_sizes(text, value):
    assert options.cell_size(text) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1:60", "1:2:3:4", "1m30s", "1e3", "inf", "nan"])
def test_bad_times(text):
    with pytest.raises(argparse.ArgumentTypeError):
        options.seconds(text)


@pytest.mark.parametrize("text, value", [("700k", 700000), ("2.5M", 2500000), ("64000", 64000)])
def test_bit_rates(text, value):
    assert options.bitrate(text) == value


def grid(rate, count, jitter=0.0):
    return [i / float(rate) + jitter * (-1) ** i for i in range(count)]


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001),
             Fraction(25), Fraction(30000, 1001),
             Fraction(60)])
def test_even_rates(rate):
    assert probe.frame_rate(grid(rate, 200), rate, None) == (rate, True)
    rounded = [round(t, 3) for t in grid(rate, 200)]  # Matroska's milliseconds
    assert probe.frame_rate(rounded, None, Fraction(199, 8)) == (rate, True)
    # r_frame_rate may be twice the truth
    assert probe.frame_rate(grid(rate, 200), 2 * rate, rate) == (rate, True)


def test_uneven_rates():
    gap = [t + (0.08 if i > 300 else 0) for i, t in enumerate(grid(24, 305))]
    assert probe.frame_rate(gap, Fraction(24), Fraction(305, 13)) == (Fraction(24), False)
    phone = list(np.cumsum(np.random.default_rng(1).uniform(0.02, 0.06, 300)))
    rate, constant = probe.frame_rate(phone, Fraction(90000), None)
    assert not constant and abs(float(rate) - 299 / (phone[-1] - phone[0])) < 0.1
    assert probe.frame_rate([0.0], Fraction(25), None) == (Fraction(25), True)


class Options:
    codec, bitrate, crf, threads = "h264", None, 20, 1


@pytest.mark.parametrize("size, scale, full", [("853x479", 2, False), ("321x203", 4, True),
                                               ("322x242", 3, False), ("97x65", 1, True)])
def test_reference_is_the_source_with_replicated_edges(size, scale, full, tmp_path):
    """Exact samples, full range unclipped, padded in luma and chroma by the last row and column."""
    width, height = map(int, size.split("x"))
    raw = np.random.default_rng(7).integers(0,
                                            256, (3, 1, height * width + 2 * ((height + 1) // 2) *
                                                  ((width + 1) // 2)),
                                            dtype=np.uint8)
    (tmp_path / "in.yuv").write_bytes(raw.tobytes())
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", 25, "-i", tmp_path / "in.yuv",
           "-vf", f"setparams=range={'pc' if full else 'tv'}:colorspace=bt709", "-c:v", "ffv1",
           tmp_path / "in.mkv")
    stop = tools.Stop()
    source = probe.probe(tmp_path / "in.mkv", stop)
    assert source.colour["range"] == ("full" if full else "limited")
    geo = media.geometry(source, scale, "h264")
    assert geo.lr_width % 2 == 0 and 0 <= geo.hr_width - width < 2 * scale
    span = media.choose_range(source, 0.0, None)
    media.encode_video(source, span, geo, Options, 2, 1, tmp_path / "hr.yuv", tmp_path / "v.mp4",
                       stop, lambda n: None)
    got = np.frombuffer((tmp_path / "hr.yuv").read_bytes(), np.uint8).reshape(3, -1)
    at_in = at_out = 0
    for w, h, pw, ph in ((width, height, geo.hr_width, geo.hr_height),
                         *[((width + 1) // 2,
                            (height + 1) // 2, geo.hr_width // 2, geo.hr_height // 2)] * 2):
        plane = raw[:, 0, at_in:at_in + w * h].reshape(3, h, w)
        wanted = np.pad(plane, ((0, 0), (0, ph - h), (0, pw - w)), mode="edge")
        assert np.array_equal(got[:, at_out:at_out + pw * ph].reshape(3, ph, pw), wanted)
        at_in, at_out = at_in + w * h, at_out + pw * ph
    track = mp4.read(tmp_path / "v.mp4")
    assert (track.width, track.height) == (geo.lr_width, geo.lr_height)
    assert sum(f.samples for f in track.fragments) == 3 and all(f.key for f in track.fragments)


def test_downscale_has_no_shift(tmp_path):
    """A ramp stays where it was: the centre of LR pixel i lies at (i + 0.5) * scale of the source,
    chroma as sited."""
    width, height, scale = 256, 128, 4
    x = np.arange(width)
    luma = np.broadcast_to(40 + 0.6 * x, (height, width))
    left = np.broadcast_to(40 + 0.6 * (2 * np.arange(width // 2)),
                           (height // 2, width // 2))  # co-sited in x
    frame = np.concatenate([np.rint(p).astype(np.uint8).ravel() for p in (luma, left, left)])
    (tmp_path / "in.yuv").write_bytes(frame.tobytes())
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", 25, "-i",
           tmp_path / "in.yuv", "-c:v", "ffv1", tmp_path / "in.mkv")
    stop = tools.Stop()
    source = probe.probe(tmp_path / "in.mkv", stop)
    geo = media.geometry(source, scale, "h264")

    class Fine(Options):
        crf = 0
    span = media.choose_range(source, 0.0, None)
    media.encode_video(source, span, geo, Fine, 1, 1, tmp_path / "hr.yuv", tmp_path / "v.mp4", stop,
                       lambda n: None)
    media.decode_video(tmp_path / "v.mp4", 1, tmp_path / "lr.yuv", stop)
    lw, lh = geo.lr_width, geo.lr_height
    data = np.frombuffer((tmp_path / "lr.yuv").read_bytes(), np.uint8).astype(float)
    y = data[:lw * lh].reshape(lh, lw)[:, 8:-8].mean(0)
    u = data[lw * lh:lw * lh * 5 // 4].reshape(lh // 2, lw // 2)[:, 4:-4].mean(0)
    where_y = (y - 40) / 0.6                            # source luma position
    wanted_y = (np.arange(lw)[8:-8] + 0.5) * scale - 0.5
    assert abs((where_y - wanted_y).mean()) < 0.35
    where_u = (u - 40) / 0.6
    # An LR chroma sample is co-sited with LR luma 2i, whose centre is at (2i + 0.5) * scale - 0.5.
    wanted_u = (2 * np.arange(lw // 2)[4:-4] + 0.5) * scale - 0.5
    assert abs((where_u - wanted_u).mean()) < 0.35, (where_u - wanted_u).mean()


def test_disk_is_checked_first(tmp_path, monkeypatch):
    geo = media.Geometry(1920, 1080, 480, 270, 4)
    monkeypatch.setattr(shutil, "disk_usage",
                        lambda _: shutil._ntuple_diskusage(1 << 40, 0, 500 << 20))
    with pytest.raises(PackError, match="MiB needed .* 500 MiB free"):
        media.check_disk(tmp_path, 240, geo, 1)
    media.check_disk(tmp_path, 24, geo, 1)


def test_too_large_a_picture_is_refused():
    class Huge:
        path, width, height = "huge.mkv", 16000, 9000
    with pytest.raises(PackError, match="larger than the package format allows"):
        media.geometry(Huge, 4, "h264")


def test_long_sources_keep_few_frames():
    geo = media.Geometry(1920, 1080, 480, 270, 4)
    assert media.stride(240, geo) == 1
    assert media.stride(172800, geo) == -(-172800 // 500)
    huge = media.Geometry(7680, 4320, 1920, 1080, 4)
    assert 1000 // media.stride(1000,
                                huge) * huge.hr_width * huge.hr_height * 3 // 2 <= media.TRAIN_BYTES


@pytest.mark.parametrize("damage", ["cut", "size", "empty", "plain"])
def test_mp4_reader_refuses_damage(damage, tmp_path):
    path = tmp_path / "v.mp4"
    flags = [] if damage == "plain" else ["-movflags", "+cmaf+delay_moov+frag_keyframe"]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-pix_fmt", "yuv420p", "-c:v", "libx264",
           *flags, path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:len(data) // 2]
    elif damage == "size":
        data[0:4] = b"\x00\x00\x00\x02"
    elif damage == "empty":
        data = b""
    path.write_bytes(data)
    with pytest.raises(PackError, match="unexpected MP4 structure"):
        mp4.read(path)


def test_playlists():
    text = hls.media_playlist("i.mp4", [("a", 4.0), ("b", 1.5)], [
        {"PARAMETERS": "ff", "ROUTES": "ee"}, {"PARAMETERS": None, "ROUTES": None}])
    assert "#EXT-X-TARGETDURATION:4\n" in text and text.endswith("#EXT-X-ENDLIST\n")
    assert 'ID="chunk-0"' in text and text.count("X-SRPLAY-PARAMETERS") == 1
    assert 'DURATION=4.000000,X-SRPLAY-PARAMETERS="ff",X-SRPLAY-ROUTES="ee"\n' in text
    assert "1970-01-01T00:00:04.000Z" in text
    assert hls.peak_rate([1000, 500, 900], [4.0, 4.0, 0.1]) == 2000


def test_errors_stay_on_one_line():
    assert one_line("a\nb\x1b[31m\tc") == "a b [31m c"
    assert len(one_line("x" * 1000)) == 300


def test_exchange_without_kernel_support(tmp_path, monkeypatch):
    """File systems that cannot swap two directories in one step still end with the new package
    alone."""
    monkeypatch.setattr(package, "_exchange", lambda a, b: False)
    for name, mark in (("p", 1), ("q", 2)):
        (tmp_path / name / "objects").mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text(
            json.dumps({
                "format": "srplay-package",
                "mark": mark
            }))
    package.put_in_place(tmp_path / "q", tmp_path / "p")
    assert json.loads((tmp_path / "p/manifest.json").read_text())["mark"] == 2
    assert [p.name for p in pathlib.Path(tmp_path).iterdir()] == ["p"]
