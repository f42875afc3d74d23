# SPDX-License-Identifier: BSD-2-Clause
"""Cuts a fragmented MP4 file into a CMAF header and media segments, and reads what the playlists
must say.

Only files that our own ffmpeg command wrote pass through here, yet every length is checked: a bad
one is an error.
"""

import dataclasses
import struct

from .errors import PackError

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000,
             7350)


@dataclasses.dataclass
class Fragment:
    start: int       # ticks
    duration: int    # ticks
    samples: int
    key: bool        # the first sample is a sync sample
    data: bytes      # moof + mdat


@dataclasses.dataclass
class Track:
    init: bytes      # ftyp + moov
    timescale: int
    codec: str       # RFC 6381
    width: int       # 0 for audio
    height: int
    sample_rate: int
    channels: int
    fragments: list


def boxes(data, begin=0, end=None):
    """(type, start, payload start, end) of the boxes in data[begin:end]."""
    end = len(data) if end is None else end
    while begin < end:
        if end - begin < 8:
            raise ValueError(f"truncated box at byte {begin}")
        size, kind = struct.unpack_from(">I4s", data, begin)
        head = 8
        if size == 1:
            if end - begin < 16:
                raise ValueError(f"truncated box at byte {begin}")
            size, head = struct.unpack_from(">Q", data, begin + 8)[0], 16
        if size < head or begin + size > end:
            raise ValueError(f"box of {size} bytes at byte {begin} does not fit")
        yield kind, begin, begin + head, begin + size
        begin += size


def _find(data, path, begin=0, end=None):
    """Payload (start, end) of the first box at `path`, or None."""
    for kind, _, payload, stop in boxes(data, begin, end):
        if kind == path[0]:
            return (payload, stop) if len(path) == 1 else _find(data, path[1:], payload, stop)
    return None


def _need(data, path, begin=0, end=None):
    found = _find(data, path, begin, end)
    if found is None:
        raise ValueError("no box " + "/".join(p.decode() for p in path))
    return found


def _hevc(config):
    """hvc1.PROFILE.COMPAT.TIERLEVEL.CONSTRAINTS as ISO 14496-15 annex E writes it."""
    space = ["", "A", "B", "C"][config[1] >> 6]
    tier = "H" if config[1] & 0x20 else "L"
    compatibility = int(f"{struct.unpack('>I', config[2:6])[0]:032b}"[::-1], 2)
    constraints = list(config[6:12])
    while len(constraints) > 1 and constraints[-1] == 0:
        constraints.pop()
    tail = ".".join(f"{byte:X}" for byte in constraints)
    return f"hvc1.{space}{config[1] & 0x1f}.{compatibility:X}.{tier}{config[12]}.{tail}"


def _av1(config):
    profile, level = config[1] >> 5, config[1] & 0x1f
    tier = "H" if config[2] & 0x80 else "M"
    depth = 12 if config[2] & 0x20 else 10 if config[2] & 0x40 else 8
    return f"av01.{profile}.{level:02d}{tier}.{depth:02d}"


def _aac(payload):
    """(mp4a.40.N, sample rate or 0, channels or 0) from the AudioSpecificConfig inside an esds box.
    Rate and channels of the sample entry itself are not to be trusted: our muxer writes 2 channels
    for mono."""
    at = 4
    while at + 2 <= len(payload):
        tag = payload[at]
        at += 1
        size = 0
        for _ in range(4):
            byte = payload[at]
            at += 1
            size = size << 7 | byte & 0x7f
            if byte & 0x80 == 0:
                break
        if tag == 3:
            at += 3          # ES_ID and flags; our muxer sets none of the optional fields
        elif tag == 4:
            at += 13
        elif tag == 5:
            bits = int.from_bytes(payload[at:at + size], "big")
            left = 8 * size

            def take(count):
                nonlocal left
                left -= count
                if left < 0:
                    raise ValueError("AudioSpecificConfig ends early")
                return bits >> left & (1 << count) - 1
            kind = take(5)
            kind = 32 + take(6) if kind == 31 else kind
            index = take(4)
            rate = take(24) if index == 15 else (AAC_RATES[index] if index < len(AAC_RATES) else 0)
            layout = take(4)
            return f"mp4a.40.{kind}", rate, {7: 8}.get(layout, layout)
        else:
            at += size
    raise ValueError("esds without a decoder configuration")


def _entry(data, trak):
    """Codec, size and sound of the one sample entry of a track."""
    begin, _ = _need(data, [b"mdia", b"minf", b"stbl", b"stsd"], *trak)
    kind, _, payload, end = next(boxes(data, begin + 8, None))
    if kind in (b"avc1", b"hvc1", b"av01"):
        width, height = struct.unpack_from(">HH", data, payload + 24)
        inner = payload + 78
        if kind == b"avc1":
            at = _need(data, [b"avcC"], inner, end)[0]
            codec = "avc1." + data[at + 1:at + 4].hex()
        elif kind == b"hvc1":
            codec = _hevc(data[slice(*_need(data, [b"hvcC"], inner, end))])
        else:
            codec = _av1(data[slice(*_need(data, [b"av1C"], inner, end))])
        return codec, width, height, 0, 0
    channels, = struct.unpack_from(">H", data, payload + 16)
    rate = struct.unpack_from(">I", data, payload + 24)[0] >> 16
    if kind == b"Opus":
        return "opus", 0, 0, 48000, channels
    if kind == b"mp4a":
        config = data[slice(*_need(data, [b"esds"], payload + 28, end))]
        codec, true_rate, true_channels = _aac(config)
        return codec, 0, 0, true_rate or rate, true_channels or channels
    raise ValueError(f"unknown sample entry {kind!r}")


def _sample_defaults(data, at):
    """tfhd or trex fields: (duration, flags) of samples that the run does not describe."""
    flags = struct.unpack_from(">I", data, at)[0] & 0xffffff
    at += 8
    at += 8 if flags & 0x1 else 0
    at += 4 if flags & 0x2 else 0
    duration = sample_flags = None
    if flags & 0x8:
        duration, = struct.unpack_from(">I", data, at)
        at += 4
    at += 4 if flags & 0x10 else 0
    if flags & 0x20:
        sample_flags, = struct.unpack_from(">I", data, at)
    return duration, sample_flags


def _run(data, at, duration, flags_default):
    """(ticks, samples, flags of the first sample) of one trun."""
    flags = struct.unpack_from(">I", data, at)[0] & 0xffffff
    count, = struct.unpack_from(">I", data, at + 4)
    at += 8 + (4 if flags & 0x1 else 0)
    first = flags_default
    if flags & 0x4:
        first, = struct.unpack_from(">I", data, at)
        at += 4
    total = 0
    for i in range(count):
        if flags & 0x100:
            total += struct.unpack_from(">I", data, at)[0]
            at += 4
        else:
            total += duration
        at += 4 if flags & 0x200 else 0
        if flags & 0x400:
            if i == 0:
                first, = struct.unpack_from(">I", data, at)
            at += 4
        at += 4 if flags & 0x800 else 0
    return total, count, first


def _fragment(data, moof, defaults):
    traf = _need(data, [b"traf"], *moof)
    duration, flags = _sample_defaults(data, _need(data, [b"tfhd"], *traf)[0])
    duration = defaults[0] if duration is None else duration
    flags = defaults[1] if flags is None else flags
    at = _need(data, [b"tfdt"], *traf)[0]
    start, = struct.unpack_from(">Q" if data[at] == 1 else ">I", data, at + 4)
    total = samples = 0
    key = None
    for kind, _, payload, _ in boxes(data, *traf):
        if kind == b"trun":
            ticks, count, first = _run(data, payload, duration, flags)
            key = first & 0x10000 == 0 if key is None else key
            total += ticks
            samples += count
    return start, total, samples, bool(key)


def read(path) -> Track:
    """Reads a fragmented MP4 file with one track."""
    try:
        data = path.read_bytes()
        init, fragments, pending, defaults, moov = [], [], None, (0, 0), None
        for kind, begin, payload, end in boxes(data):
            if kind in (b"ftyp", b"moov"):
                init.append(data[begin:end])
            if kind == b"moov":
                moov = (payload, end)
                at = _need(data, [b"mvex", b"trex"], *moov)[0]
                _, _, duration, _, flags = struct.unpack_from(">IIIII", data, at + 4)
                defaults = (duration, flags)
            elif kind == b"moof":
                pending = (begin, _fragment(data, (payload, end), defaults))
            elif kind == b"mdat" and pending is not None:
                begin, fields = pending
                fragments.append(Fragment(*fields, data[begin:end]))
                pending = None
        if moov is None or not fragments:
            raise ValueError("no moov box or no fragment")
        trak = _need(data, [b"trak"], *moov)
        at = _need(data, [b"mdia", b"mdhd"], *trak)[0]
        timescale, = struct.unpack_from(">I", data, at + (20 if data[at] == 1 else 12))
        codec, width, height, rate, channels = _entry(data, trak)
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise PackError(f"{path}: unexpected MP4 structure: {error}") from error
    return Track(b"".join(init), timescale, codec, width, height, rate, channels, fragments)


def join(fragments) -> Fragment:
    """Several neighbouring fragments as one segment."""
    return Fragment(fragments[0].start, sum(f.duration for f in fragments),
                    sum(f.samples for f in fragments), fragments[0].key,
                    b"".join(f.data for f in fragments))
