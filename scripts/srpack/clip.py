# SPDX-License-Identifier: BSD-2-Clause
"""A video as training and analysis see it: low-resolution frames, as a viewer decodes them or
clean, and the originals."""

import dataclasses
import pathlib
import types

from . import media
from .colour import Colour, frames_from_raw
from .options import chunk_frames
from .probe import probe
from .sampler import Source

PROTOCOLS = ("codec", "paper")


@dataclasses.dataclass
class Clip:
    source: Source
    geo: media.Geometry
    rate: float
    every: int  # every n-th frame of the video is here


def frames(folder: pathlib.Path, geo, colour: dict, protocol: str) -> Source:
    """The frames of a work directory, mapped."""
    low = "clean.yuv" if protocol == "paper" else "lr.yuv"
    return Source(
        frames_from_raw(folder / low, geo.lr_width, geo.lr_height),
        frames_from_raw(folder / "hr.yuv", geo.hr_width, geo.hr_height),
        Colour(**colour),
    )


def open_clip(path, folder, stop, *, scale=None, codec="h264", crf=20, start=0.0, duration=None,
              protocol="codec", threads=0) -> Clip:
    """Decodes `path` and makes its low-resolution side in `folder`, which must exist, in the steps
    of srpack: bicubic reduction, encoder, decoder; protocol "paper" leaves the codec out. PackError
    says what is wrong with the file."""
    source = probe(pathlib.Path(path), stop, with_audio=False)
    scale = scale or (4 if min(source.width, source.height) >= 1080 else 2)
    geo = media.geometry(source, scale, codec)
    span = media.choose_range(source, start, duration)
    every = media.stride(span.frames, geo)
    media.check_disk(folder, span.frames, geo, every)
    options = types.SimpleNamespace(codec=codec, crf=crf, bitrate=None, threads=threads)
    video = folder / "video.mp4"
    media.encode_video(source, span, geo, options, chunk_frames(4.0, source.rate), every,
                       folder / "hr.yuv", video, stop, lambda count: None)
    if protocol == "paper":
        media.reduce_video(folder / "hr.yuv", geo, source.colour, folder / "clean.yuv", stop)
    else:
        media.decode_video(video, every, folder / "lr.yuv", stop)
    return Clip(frames(folder, geo, source.colour, protocol), geo, float(source.rate), every)
