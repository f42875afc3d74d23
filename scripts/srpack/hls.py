# SPDX-License-Identifier: BSD-2-Clause
"""HLS playlists: what every other player reads. RFC 8216; our own additions are ones that players
ignore."""

import datetime
import math

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _date(seconds):
    """Programme time: the package begins at the epoch, for want of a true date and so that packing
    is repeatable."""
    moment = EPOCH + datetime.timedelta(milliseconds=round(seconds * 1000))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def media_playlist(init, segments, side=None) -> str:
    """`segments`: (uri, seconds). `side`: per segment the hashes of its side data by name
    (PARAMETERS, UPDATE, ROUTES), None for what it lacks; None: no side data."""
    target = max(1, max(math.ceil(seconds - 1e-9) for _, seconds in segments))
    lines = [
        "#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target}", "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS", f'#EXT-X-MAP:URI="{init}"'
    ]
    at = 0.0
    for index, (uri, seconds) in enumerate(segments):
        if index == 0 or side is not None:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date(at)}")
        if side is not None:
            extra = "".join(f',X-SRPLAY-{name}="{value}"' for name, value in side[index].items()
                            if value)
            lines.append(f'#EXT-X-DATERANGE:ID="chunk-{index}",CLASS="org.srplay.chunk",'
                         f'START-DATE="{_date(at)}",DURATION={seconds:.6f}{extra}')
        lines += [f"#EXTINF:{seconds:.6f},", uri]
        at += seconds
    return "\n".join(lines + ["#EXT-X-ENDLIST", ""])


def master_playlist(*, codecs, width, height, rate, peak, average, audio) -> str:
    """`peak` and `average`: bits per second of all tracks together. `audio`: None or the number of
    channels."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS",
             '#EXT-X-SESSION-DATA:DATA-ID="org.srplay.manifest",URI="manifest.json"']
    group = ""
    if audio is not None:
        lines.append(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,'
            f'CHANNELS="{audio}",URI="audio.m3u8"')
        group = ',AUDIO="audio"'
    lines.append(
        f"#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},"
        f'CODECS="{",".join(codecs)}",RESOLUTION={width}x{height},FRAME-RATE={rate:.3f}{group}')
    return "\n".join(lines + ["video.m3u8", ""])


def peak_rate(sizes, seconds) -> int:
    """Highest bit rate of a segment (those shorter than half the longest are left out, as RFC 8216
    allows)."""
    longest = max(seconds)
    return max(
        math.ceil(8 * size / time) for size, time in zip(sizes, seconds) if time > longest / 2)
