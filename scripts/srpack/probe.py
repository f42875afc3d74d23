# SPDX-License-Identifier: BSD-2-Clause
"""What a source file is, and whether srpack can take it."""

import dataclasses
import hashlib
import json
import pathlib
import re
from fractions import Fraction

from . import tools
from .errors import PackError, one_line

# Nominal rates that a measured average is moved to when it lies within 0.1 %.
STANDARD_RATES = [Fraction(n * 1000, 1001) for n in (24, 30, 60)] + [
    Fraction(n) for n in (24, 25, 30, 48, 50, 60, 120)]
MATRICES = {"bt709": "bt709", "bt470bg": "bt601", "smpte170m": "bt601", "bt2020nc": "bt2020"}
CHROMA = {"left": "left", "center": "center", "topleft": "topleft"}
HDR_TRANSFERS = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
PIXEL_FORMAT = re.compile(
    r"(yuvj?4(20|22|44|40)p|nv12|nv16|p010|p210|p012)((9|10|12|14|16)?(le|be))?$")
RGB = re.compile(r"(rgb|bgr|gbr|argb|abgr|0rgb|0bgr|x2)")
NATIVE = ("yuv420p", "yuvj420p")


@dataclasses.dataclass
class Audio:
    index: int          # stream index in the source
    codec: str
    sample_rate: int
    channels: int
    start: float        # seconds, on the clock of Source.times
    tracks: int         # in the source; the default one is taken, else the first


@dataclasses.dataclass
class Source:
    path: pathlib.Path
    sha256: str
    index: int              # video stream index
    width: int              # as shown: after rotation
    height: int
    rate: Fraction          # frames per second of the package
    constant: bool          # False: the source's frames are not evenly spaced
    times: list             # presentation time of each frame, seconds after the container's start
    colour: dict            # matrix, range, chroma, as in the manifest
    guessed: bool           # the matrix was not in the file
    tags: dict              # color_primaries, color_transfer, color_space of ffprobe, where known
    sample_aspect: str      # "1:1"
    pixel_format: str
    rotation: int           # degrees, 0 90 180 270
    audio: Audio | None

    @property
    def url(self) -> str:
        """For FFmpeg: whatever the file's name is, it is neither an option nor another protocol."""
        return f"file:{self.path}"

    @property
    def converted(self) -> list[str]:
        """What was done to the source before anything else, in words; empty when its own frames are
        packed."""
        notes = []
        if not self.constant:
            notes.append(f"variable frame rate, made constant at {float(self.rate):.3f} frames/s")
        if self.pixel_format not in NATIVE:
            notes.append(f"{self.pixel_format} converted to 8-bit 4:2:0")
        if self.audio and self.audio.tracks > 1:
            notes.append(f"{self.audio.tracks} audio tracks: stream {self.audio.index} taken")
        if self.rotation:
            notes.append(f"turned by {self.rotation} degrees, as its metadata say")
        return notes


INTERLACED = ("interlaced video ({}); deinterlace it first, for example with "
              "ffmpeg -vf bwdif=mode=send_frame")
LOOK_AT = 12  # frames, whether they are interlaced where the container does not say so


def _sha256(path, stop):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                stop.check()
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from error
    return digest.hexdigest()


def _fraction(text):
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError, TypeError):
        return None
    return value if value > 0 else None


def _fits(times, rate):
    """Whether frame i lies within half a frame of its place on an even grid."""
    half = 0.5 / float(rate)
    return all(abs(t - times[0] - i / float(rate)) < half for i, t in enumerate(times))


def frame_rate(times, nominal, average):
    """(rate, constant) from the presentation times and the two rates that ffprobe reports."""
    candidates = [rate for rate in (nominal, average) if rate is not None and rate <= 1000]
    if len(times) < 2:
        return (candidates[0] if candidates else Fraction(25)), True
    measured = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 25.0
    standard = min(STANDARD_RATES, key=lambda rate: abs(float(rate) - measured))
    near = [standard] if abs(float(standard) / measured - 1) < 1e-3 else []
    for rate in candidates[:1] + near + candidates[1:]:
        if _fits(times, rate):
            return rate.limit_denominator(100000), True
    # Not even. A rate that holds for most of the steps is the true one, with gaps that repeated
    # frames fill.
    steps = [b - a for a, b in zip(times, times[1:])]
    for rate in candidates[:1] + STANDARD_RATES:
        if sum(abs(step * float(rate) - 1) < 0.1 for step in steps) > 0.8 * len(steps):
            return rate.limit_denominator(100000), False
    return (near[0] if near else Fraction(measured).limit_denominator(1001)), False


def _times(path, index, start, stop):
    text = tools.run(["ffprobe", "-v", "error", "-select_streams", index, "-show_entries",
                      "packet=pts_time,dts_time,flags", "-of", "csv=p=0", f"file:{path}"],
                     stop=stop, subject=str(path))
    times = []
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) < 3 or "D" in fields[2]:  # D: cut away by an edit list
            continue
        stamp = fields[0] if fields[0] != "N/A" else fields[1]
        if stamp == "N/A":
            return None
        times.append(float(stamp) - start)
    return sorted(times)


def _check_fields(path, video, stop):
    """Refuses interlaced video, whether the container says so or the frames do."""
    order = video.get("field_order", "progressive")
    if order not in ("progressive", "unknown"):
        raise PackError(f"{path}: " + INTERLACED.format(f"field order {order}"))
    text = tools.run(["ffprobe", "-v", "error", "-select_streams", video["index"],
                      "-read_intervals", f"%+#{LOOK_AT}", "-show_entries",
                      "frame=interlaced_frame", "-of", "csv=p=0", f"file:{path}"],
                     stop=stop, subject=str(path))
    marks = [line.strip(",")[:1] for line in text.split()]
    if marks.count("1") > len(marks) / 2:
        raise PackError(f"{path}: " + INTERLACED.format("its frames say so"))


def _colour(path, video, width, height):
    transfer = video.get("color_transfer", "unknown")
    if transfer in HDR_TRANSFERS:
        raise PackError(f"{path}: HDR video ({HDR_TRANSFERS[transfer]} transfer) is not supported")
    space = video.get("color_space", "unknown")
    guessed = space in ("unknown", "reserved", "unspecified")
    if guessed:
        matrix = "bt709" if height >= 720 or width >= 1280 else "bt601"
    elif space in MATRICES:
        matrix = MATRICES[space]
    else:
        raise PackError(f"{path}: colour matrix {space} is not supported")
    full = video.get("color_range") == "pc" or video["pix_fmt"].startswith("yuvj")
    location = video.get("chroma_location", "unspecified")
    if location in ("unspecified", "unknown") or "420" not in video["pix_fmt"]:
        location = "left"
    if location not in CHROMA:
        raise PackError(f"{path}: chroma location {location} is not supported")
    return {"matrix": matrix, "range": "full" if full else "limited", "chroma": location}, guessed


def _rotation(video):
    for data in video.get("side_data_list", []):
        if "rotation" in data:
            return int(round(-float(data["rotation"]))) % 360
    return 0


def _audio(streams, start):
    candidates = [s for s in streams if s.get("codec_type") == "audio"]
    candidates.sort(key=lambda s: -s.get("disposition", {}).get("default", 0))
    for stream in candidates:
        if stream.get("codec_name", "unknown") == "unknown" or int(stream.get("channels", 0)) == 0:
            continue
        begin = stream.get("start_time")
        return Audio(stream["index"], stream["codec_name"], int(stream["sample_rate"]),
                     int(stream["channels"]),
                     (float(begin) if begin not in (None, "N/A") else start) - start,
                     len(candidates))
    return None


def probe(path: pathlib.Path, stop, with_audio: bool = True) -> Source:
    """Reads everything that the packer must know. Raises PackError naming the file and the
    cause."""
    if not path.exists():
        raise PackError(f"{path}: no such file")
    if not path.is_file():
        raise PackError(f"{path}: not a regular file")
    digest = _sha256(path, stop)
    try:
        text = tools.run(
            ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json",
             f"file:{path}"],
            stop=stop,
            subject=str(path))
        info = json.loads(text)
    except PackError as error:
        if "not found" in str(error):
            raise
        raise PackError(f"{path}: not a video file that FFmpeg can read") from error
    except ValueError as error:
        raise PackError(f"{path}: ffprobe: {one_line(error)}") from error
    streams = info.get("streams", [])
    if re.search(r"_pipe$|image2", info.get("format", {}).get("format_name", "")):
        raise PackError(f"{path}: a still picture, not a video")
    videos = [s for s in streams if s.get("codec_type") == "video"
              and not s.get("disposition", {}).get("attached_pic", 0)]
    if not videos:
        raise PackError(f"{path}: no video stream")
    video = videos[0]
    pixel_format = video.get("pix_fmt")
    if pixel_format is None:
        raise PackError(f"{path}: the video stream cannot be decoded")
    if not PIXEL_FORMAT.match(pixel_format):
        kind = "RGB video (pixel format {})" if RGB.match(pixel_format) else "pixel format {}"
        raise PackError(f"{path}: {kind.format(pixel_format)} is not supported; convert it first, "
                        "for example with ffmpeg -pix_fmt yuv420p")
    rotation = _rotation(video)
    width, height = int(video["width"]), int(video["height"])
    aspect = video.get("sample_aspect_ratio", "1:1")
    aspect = "1:1" if aspect in ("N/A", "0:1") else aspect
    if rotation in (90, 270):
        width, height = height, width
        aspect = ":".join(reversed(aspect.split(":")))
    elif rotation not in (0, 180):
        raise PackError(f"{path}: rotation by {rotation} degrees is not supported")
    start = info.get("format", {}).get("start_time")
    start = float(start) if start not in (None, "N/A") else 0.0
    nominal, average = _fraction(video.get("r_frame_rate")), _fraction(video.get("avg_frame_rate"))
    times = _times(path, video["index"], start, stop)
    if times is not None and not times:
        raise PackError(f"{path}: the video stream holds no frame")
    if times is None:
        # Old containers without time stamps (raw streams): the nominal rate is all there is.
        rate = nominal or average or Fraction(25)
        count = int(video.get("nb_frames", 0) or 0) or int(
            float(video.get("duration", 0) or 0) * rate)
        if count == 0:
            raise PackError(
                f"{path}: no time stamps and no frame count; remux it first (ffmpeg -c copy)")
        times, constant = [float(i / rate) for i in range(count)], True
    else:
        rate, constant = frame_rate(times, nominal, average)
    _check_fields(path, video, stop)
    colour, guessed = _colour(path, video, width, height)
    tags = {key: video[key] for key in ("color_primaries", "color_transfer", "color_space")
            if video.get(key) not in (None, "unknown", "reserved", "unspecified")}
    return Source(path, digest, video["index"], width, height, rate, constant, times, colour,
                  guessed, tags, aspect, pixel_format, rotation,
                  _audio(streams, start) if with_audio else None)
