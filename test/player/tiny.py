# SPDX-License-Identifier: BSD-2-Clause
"""Makes small packages for the player's tests: a second writer of docs/format.md beside srpack."""
import hashlib
import json
import pathlib
import re
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GRAPH = ROOT / "models" / "edge8-x2.json"
RATE, TIMESCALE, AUDIO_RATE = 25, 1000, 48000


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def parameters(seed, scale=0.05, graph=None):
    """safetensors bytes of pseudo-random parameters for `graph`, by default GRAPH."""
    graph, random = graph or json.loads(GRAPH.read_text()), np.random.default_rng(seed)
    channels, header, body = {graph["input"]: 1}, {}, b""
    for node in graph["nodes"]:
        inputs = [channels[name] for name in node["inputs"]]
        if node["op"] == "conv2d":
            shapes = {"weight": [node["channels"], inputs[0], *node["kernel"]],
                      "bias": [node["channels"]]}
            for name, shape in shapes.items():
                data = (random.standard_normal(shape) * scale).astype("<f4").tobytes()
                header[f"{node['name']}.{name}"] = {
                    "dtype": "F32", "shape": shape,
                    "data_offsets": [len(body), len(body) + len(data)]}
                body += data
            channels[node["output"]] = node["channels"]
        elif node["op"] == "depth_to_space":
            channels[node["output"]] = inputs[0] // node["block"] ** 2
        else:
            channels[node["output"]] = inputs[0]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def segments(folder, kind, source, *codec):
    """Cuts `source` into <kind>-init.mp4 and one-second <kind>-00000.m4s..."""
    ffmpeg("-i", source, *codec, "-f", "hls", "-hls_time", 1, "-hls_playlist_type", "vod",
           "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", f"{kind}-init.mp4",
           "-hls_segment_filename", folder / f"{kind}-%05d.m4s", folder / f"{kind}.m3u8")
    text = (folder / f"{kind}.m3u8").read_text()
    return [float(x) for x in re.findall(r"#EXTINF:([\d.]+)", text)]


H264 = ("libx264", "-preset", "veryfast", "-crf", 20, "-bf", 2, "-keyint_min", RATE,
        "-sc_threshold", 0, "-flags", "+cgop", "-threads", 1)
HEVC = ("libx265", "-preset", "ultrafast", "-crf", 20, "-tag:v", "hvc1", "-x265-params",
        f"keyint={RATE}:min-keyint={RATE}:scenecut=0:open-gop=0:log-level=none:pools=1")
AV1 = ("libsvtav1", "-preset", 10, "-crf", 30, "-svtav1-params", "scd=0:enable-overlays=0")


def make(folder, seconds=4, models=(0, 1), size=(96, 64), audio=True, codec=H264):
    """A package of one-second chunks; chunk n uses model n % len(models)."""
    folder = pathlib.Path(folder)
    (folder / "objects").mkdir(parents=True)
    source = folder.parent / f"{folder.name}-source.mkv"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size[0]}x{size[1]}:r={RATE}:d={seconds}",
           "-f", "lavfi", "-i", f"sine=f=440:r={AUDIO_RATE}:d={seconds}",
           "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le", source)
    video = segments(folder, "video", source, "-an", "-g", RATE, "-c:v", *codec)
    sound = segments(folder, "audio", source, "-vn", "-c:a", "aac", "-b:a", "64k") if audio else []
    source.unlink()
    assert len(video) == seconds, video
    manifest = {
        "format": "srplay-package", "version": 1, "content_id": "c0ffee", "generator": "tiny",
        "scale": 2, "source": {"width": size[0] * 2, "height": size[1] * 2, "start": 0},
        "output": {"width": size[0] * 2, "height": size[1] * 2}, "frame_rate": [RATE, 1],
        "frame_count": seconds * RATE,
        "colour": {"matrix": "bt601", "range": "limited", "chroma": "left"},
        "video": {"codec": "avc1.64000a", "timescale": TIMESCALE, "width": size[0],
                  "height": size[1], "init": file(folder, "video-init.mp4")},
        "models": [], "chunks": []}
    for seed in models:
        graph = json.loads(GRAPH.read_text())
        graph["name"] = f"tiny{seed}"
        manifest["models"].append({
            "name": graph["name"],
            "graph": add_object(folder, json.dumps(graph).encode(), "json"),
            "parameters": add_object(folder, parameters(seed), "safetensors")})
    for i in range(seconds):
        manifest["chunks"].append({
            "segment": {**file(folder, f"video-{i:05d}.m4s"), "start": i * TIMESCALE,
                        "duration": TIMESCALE},
            "frames": RATE, "model": i % len(models) if models else None})
    if audio:
        at, parts = 0, []
        for i, length in enumerate(sound):
            ticks = round(length * AUDIO_RATE)
            parts.append({**file(folder, f"audio-{i:05d}.m4s"), "start": at, "duration": ticks})
            at += ticks
        manifest["audio"] = {"codec": "mp4a.40.2", "timescale": AUDIO_RATE,
                             "sample_rate": AUDIO_RATE, "channels": 1,
                             "init": file(folder, "audio-init.mp4"), "segments": parts}
    write(folder, manifest)
    (folder / "master.m3u8").write_text(
        '#EXTM3U\n#EXT-X-SESSION-DATA:DATA-ID="org.srplay.manifest",URI="manifest.json"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=200000\nvideo.m3u8\n')
    return folder


def file(folder, name):
    data = (folder / name).read_bytes()
    return {"uri": name, "size": len(data), "sha256": sha(data)}


def add_object(folder, data, extension):
    name = f"objects/{sha(data)}.{extension}"
    (folder / name).write_bytes(data)
    return {"uri": name, "size": len(data), "sha256": sha(data)}


def write(folder, manifest):
    (folder / "manifest.json").write_text(json.dumps(manifest))


def read(folder):
    return json.loads((folder / "manifest.json").read_text())
