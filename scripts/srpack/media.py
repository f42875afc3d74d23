# SPDX-License-Identifier: BSD-2-Clause
"""The ffmpeg side: source -> reference frames, low-resolution video, audio; and back to decoded
frames."""

import dataclasses
import math
import pathlib
import shutil
from fractions import Fraction

from . import tools
from .errors import Interrupted, PackError, UsageError
from .probe import Source

CHROMA_POSITION = {
    "left": (0, 128),
    "center": (128, 128),
    "topleft": (0, 0)
}  # in 1/256 of a luma pixel
DEFAULT_SPACE = {"bt709": "bt709", "bt601": "smpte170m", "bt2020": "bt2020nc"}
MIN_SIDE = {
    "h264": 32,
    "hevc": 64,
    "av1": 64
}  # low-resolution pixels that every encoder build accepts
MAX_SIDE = 16384      # SRP_MAX_DIMENSION
MAX_PIXELS = 1 << 26  # SRP_MAX_PICTURE_PIXELS
TRAIN_FRAMES = 500    # of a longer source, this many evenly spread frames are kept for training
TRAIN_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True)
class Geometry:
    width: int       # shown
    height: int
    lr_width: int
    lr_height: int
    scale: int

    @property
    def hr_width(
            self
    ):  # padded at the right and bottom so that every LR pixel covers scale x scale pixels
        return self.lr_width * self.scale

    @property
    def hr_height(self):
        return self.lr_height * self.scale


def geometry(source: Source, scale: int, codec: str) -> Geometry:
    lr = [2 * math.ceil(side / (2 * scale)) for side in (source.width, source.height)]
    least = MIN_SIDE[codec]
    if min(lr) < least:
        raise PackError(
            f"{source.path}: {source.width}x{source.height} is too small for scale {scale} "
            f"with {codec}: "
            f"the low-resolution side would be {min(lr)} pixels, at least {least} are needed")
    if max(lr) * scale > MAX_SIDE or lr[0] * lr[1] * scale * scale > MAX_PIXELS:
        raise PackError(
            f"{source.path}: {source.width}x{source.height} is larger than the "
            "package format allows"
        )
    return Geometry(source.width, source.height, lr[0], lr[1], scale)


@dataclasses.dataclass(frozen=True)
class Range:
    """Which part of the source is packed."""

    skip: int         # frames before the first one (constant frame rate)
    start: float      # seconds after the container's start at which the first packed frame is shown
    frames: int       # how many are expected
    seek: float | None  # ffmpeg -ss, or None: from the beginning


def choose_range(source: Source, start: float, duration: float | None) -> Range:
    """Start moves forward to the next frame; duration is rounded to whole frames."""
    rate, times = float(source.rate), source.times
    end = times[-1] + 1 / rate
    skip = next((i for i, t in enumerate(times) if t >= start - 0.25 / rate), len(times))
    if skip == len(times):
        raise UsageError(f"{source.path}: --start {start:g} lies beyond its end ({end:.2f} s)")
    begin = times[skip]
    available = len(times) - skip if source.constant else max(1, round((end - begin) * rate))
    frames = available if duration is None else min(available, max(1, round(duration * rate)))
    return Range(skip, begin, frames, begin - 0.5 / rate if skip else None)


def stride(frames: int, geo: Geometry) -> int:
    """Every n-th frame is kept for training."""
    size = geo.hr_width * geo.hr_height * 3 // 2
    most = max(1, min(TRAIN_FRAMES, TRAIN_BYTES // size))
    return math.ceil(frames / most)


def check_disk(folder: pathlib.Path, frames: int, geo: Geometry, every: int, have: int = 0):
    """Refuses before any work is done when the intermediate frames would not fit."""
    kept = math.ceil(frames / every)
    raw = kept * (geo.hr_width * geo.hr_height + geo.lr_width * geo.lr_height) * 3 // 2
    needed = raw + frames * geo.lr_width * geo.lr_height // 8 + (64 << 20) - have
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PackError(
            f"{folder}: {needed >> 20} MiB needed for intermediate frames, {free >> 20} MiB free "
            "(free some, choose another --work-dir, or pack less with --duration)")


def _scale(width, height, location, full):
    h, v = CHROMA_POSITION[location]
    span = "full" if full else "limited"
    return (f"scale=w={width}:h={height}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
            f":in_range={span}:out_range={span}"
            f":in_h_chr_pos={h}:in_v_chr_pos={v}:out_h_chr_pos={h}:out_v_chr_pos={v}")


def _reference_chain(source: Source, geo: Geometry, span: Range) -> str:
    """Filters from the source's frames to padded 8-bit 4:2:0 frames at a constant rate, colour
    tagged."""
    rate = f"{source.rate.numerator}/{source.rate.denominator}"
    if source.constant:
        # Frame n is shown at n / rate: jitter and rounding of the container's time stamps end here.
        steps = [
            f"settb={source.rate.denominator}/{source.rate.numerator}", "setpts=N", f"fps={rate}"
        ]
    else:
        steps = ["setpts=PTS-STARTPTS", f"fps={rate}"]
    full = source.colour["range"] == "full"
    # yuvj420p says the same as yuv420p with full range, but some encoders know only the latter.
    if source.pixel_format not in ("yuv420p",):
        steps += [_scale(geo.width, geo.height, source.colour["chroma"], full), "format=yuv420p"]
    steps += _pad(geo)
    space = source.tags.get("color_space", DEFAULT_SPACE[source.colour["matrix"]])
    tags = ["range=" + source.colour["range"], f"colorspace={space}",
            f"color_primaries={source.tags.get('color_primaries', _like(space))}",
            f"color_trc={source.tags.get('color_transfer', _transfer_like(space))}"]
    steps += ["setparams=" + ":".join(tags), f"setsar={source.sample_aspect.replace(':', '/')}"]
    return ",".join(steps)


def _pad(geo: Geometry) -> list:
    """Repeats the last column and row of every plane up to the size that the low resolution
    needs."""
    right, bottom = geo.hr_width - geo.width, geo.hr_height - geo.height

    def fill(width, height, more, below):
        return (f"pad=w={width + more}:h={height + below}:x=0:y=0,"
                f"fillborders=right={more}:bottom={below}:mode=smear")
    if not right and not bottom:
        return []
    if geo.width % 2 == 0 and geo.height % 2 == 0:
        return [fill(geo.width, geo.height, right, bottom)]
    # The pad filter drops the last column or row of an odd 4:2:0 picture, so each plane is padded
    # as a picture.
    chroma = fill((geo.width + 1) // 2, (geo.height + 1) // 2, right // 2, bottom // 2)
    return [f"extractplanes=y+u+v[y0][u0][v0];[y0]{fill(geo.width, geo.height, right, bottom)}[y1];"
            f"[u0]{chroma}[u1];[v0]{chroma}[v1];[y1][u1][v1]mergeplanes=0x001020:yuv420p"]


def _like(space):
    return {"bt2020nc": "bt2020"}.get(space, space)


def _transfer_like(space):
    return {"bt2020nc": "bt2020-10", "bt470bg": "gamma28"}.get(space, space)


def _encoder(options, rate, group, colour):
    """ffmpeg options of the video encoder: closed GOPs, a key frame at every chunk's beginning."""
    key = ["-g", group, "-force_key_frames", f"expr:eq(mod(n,{group}),0)"]
    quality = ["-b:v", options.bitrate] if options.bitrate else ["-crf", options.crf]
    if options.bitrate:
        quality += ["-maxrate", options.bitrate * 3 // 2, "-bufsize", options.bitrate * 2]
    threads = ["-threads", options.threads] if options.threads else []
    if options.codec == "h264":
        return ["-c:v", "libx264", "-preset", "medium", "-forced-idr", 1,
                "-x264-params", "open-gop=0", *key, *quality, *threads]
    if options.codec == "hevc":
        pools = f":pools={options.threads}" if options.threads else ""
        return ["-c:v", "libx265", "-preset", "medium", "-forced-idr", 1, "-tag:v", "hvc1",
                "-x265-params", f"open-gop=0:log-level=error{pools}", *key, *quality]
    # SVT-AV1 takes no forced key frames from ffmpeg 5.1; its own fixed period puts them at the same
    # places.
    if options.bitrate:
        quality = ["-b:v", options.bitrate]
    pools = f":lp={options.threads}" if options.threads else ""
    return [
        "-c:v", "libsvtav1", "-preset", 6, "-g", group, "-svtav1-params",
        f"scd=0:color-range={int(colour['range'] == 'full')}{pools}", *quality
    ]


def progress_lines(update):
    """A line handler for ffmpeg -progress pipe:1 that calls update(frames)."""
    def on_line(line):
        if line.startswith("frame="):
            update(int(line[6:].strip() or 0))
    return on_line


def encode_video(source: Source, span: Range, geo: Geometry, options, group: int, every: int,
                 reference: pathlib.Path, video: pathlib.Path, stop, update):
    """One decode of the source: padded HR frames (every n-th) to `reference`, the encoded LR video
    to `video`."""
    rate = source.rate
    ticks = rate.numerator if rate.numerator >= 10000 else rate.numerator * 512
    if not 1 <= ticks < 1 << 31:
        raise PackError(f"{source.path}: frame rate {rate} is not supported")
    seek = ["-ss", f"{span.seek:.6f}"] if span.seek is not None else []
    same = geo.scale == 1
    down = "null" if same else _scale(geo.lr_width, geo.lr_height, source.colour["chroma"],
                                      source.colour["range"] == "full")
    # One decode feeds both the kept reference frames and the encoder.
    graph = (
        f"[0:{source.index}]{_reference_chain(source, geo, span)},"
        f"trim=end_frame={span.frames},split[h][l];"
        f"[h]select=not(mod(n\\,{every}))[hr];"
        f"[l]{down},setsar={source.sample_aspect.replace(':', '/')}[lr]")
    # The edit list puts the first picture at 0 although decoding begins earlier; composition
    # offsets stay positive, for ffmpeg's demuxer mistimes fragments with negative ones.
    tools.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", "-progress", "pipe:1", "-nostats", *seek,
         "-i", source.url, "-filter_complex", graph,
         "-map", "[hr]", "-vsync", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo",
         reference,
         "-map", "[lr]", "-vsync", "passthrough", "-pix_fmt", "yuv420p",
         *_encoder(options, rate, group, source.colour),
         "-video_track_timescale", ticks, "-fflags", "+bitexact", "-map_metadata", -1,
         "-movflags", "+cmaf+delay_moov+frag_keyframe", "-use_editlist", 1, "-f", "mp4", video],
        stop=stop, subject=str(source.path), on_line=progress_lines(update))


def decode_video(video: pathlib.Path, every: int, out: pathlib.Path, stop):
    """The frames that a viewer's decoder sees, the same selection as the reference."""
    tools.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", video, "-map", "0:v:0",
               "-vf", f"select=not(mod(n\\,{every}))", "-vsync", "passthrough",
               "-f", "rawvideo", "-pix_fmt", "yuv420p", out], stop=stop, subject=str(video))


def reduce_video(reference: pathlib.Path, geo: Geometry, colour: dict, out: pathlib.Path, stop):
    """The kept reference frames at low resolution without a codec, as the papers train."""
    down = "null" if geo.scale == 1 else _scale(geo.lr_width, geo.lr_height, colour["chroma"],
                                                colour["range"] == "full")
    tools.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p",
               "-s", f"{geo.hr_width}x{geo.hr_height}", "-r", 25, "-i", reference, "-vf", down,
               "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", out],
              stop=stop, subject=str(reference))


def encode_audio(source: Source, span: Range, frames: int, chunk: Fraction, out: pathlib.Path,
                 stop) -> bool:
    """Audio of exactly the packed time range, in sync with the first packed frame. False: none left
    in the range.

    AAC and Opus are copied when nothing has to be cut at the front; all else becomes AAC, 128
    kbit/s, because only a re-encode can begin between two packets.
    """
    audio = source.audio
    length = float(frames / source.rate)
    whole = span.skip == 0 and abs(audio.start - span.start) < 0.002
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    if whole and audio.codec in ("aac", "opus"):
        command += [
            "-i", source.url, "-map", f"0:{audio.index}", "-c:a", "copy", "-t", f"{length:.6f}"
        ]
    else:
        # Seeking ends up to a second early, on purpose: the filter then cuts at the exact sample.
        early = max(0.0, span.start - 1.0)
        seek = ["-ss", f"{early:.6f}"] if early > 0 else []
        rate = audio.sample_rate if audio.sample_rate in (32000, 44100, 48000) else 48000
        offset = span.start - early
        chain = (
            f"aresample={rate}:async=1:first_pts=0,atrim=start={offset:.6f}:duration={length:.6f},"
            "asetpts=PTS-STARTPTS")
        command += [*seek, "-i", source.url, "-map", f"0:{audio.index}", "-af", chain,
                    "-ac", min(2, audio.channels), "-c:a", "aac", "-b:a", "128k"]
    command += [
        "-fflags", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", -1, "-frag_duration",
        int(chunk * 1000000), "-movflags", "+cmaf+delay_moov", "-use_editlist", 1, "-f", "mp4", out
    ]
    try:
        tools.run(command,
                  stop=stop,
                  subject=f"{source.path}: audio stream {audio.index} ({audio.codec})")
    except Interrupted:
        raise
    except PackError as error:
        if "Cannot write moov atom before" in str(error):
            return False
        raise PackError(f"{error} (--no-audio leaves it out)") from error
    return b"mdat" in out.read_bytes()
