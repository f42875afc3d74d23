# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of srbench and srinfo share: a small clip, packages of it, and ways to break them."""
import hashlib
import json
import pathlib
import shutil
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLIPS = ROOT.parent / "shared" / "clips"
WIDTH, HEIGHT, RATE, FRAMES = 190, 110, 25, 50
CHUNK = 1  # seconds: two chunks


def run(*command, input=None):
    """stdout and stderr as text; `input` is bytes."""
    done = subprocess.run([str(c) for c in command], input=input, capture_output=True, timeout=120,
                          stdin=subprocess.DEVNULL if input is None else None)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def json_of(*command, **options):
    """The JSON that a command prints, which must be all that it prints."""
    done = run(*command, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ffmpeg(*arguments):
    done = run("ffmpeg", "-nostdin", "-v", "error", "-y", *arguments)
    assert done.returncode == 0, done.stderr


def clip(path, seconds=FRAMES // RATE, size=(WIDTH, HEIGHT)):
    """Moving, textured, with sound."""
    ffmpeg("-f", "lavfi", "-i",
           f"testsrc2=s={size[0]}x{size[1]}:r={RATE}:d={seconds},noise=alls=6:allf=t",
           "-f", "lavfi", "-i", f"sine=440:d={seconds}", "-c:v", "libx264", "-crf", 14, "-bf", 2,
           "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


def pack(build, source, out, *options):
    done = run(build / "srpack", source, "-o", out, "--model", "none", "--chunk", CHUNK, *options)
    assert done.returncode == 0, done.stderr
    return out


def whole_video(package):
    """Header and segments joined: what any player decodes."""
    whole = package.parent / f"{package.name}-whole.mp4"
    parts = [package / "video-init.mp4", *sorted(package.glob("video-*.m4s"))]
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    return whole


def edit(package, change):
    """Lets `change` work on the manifest."""
    path = package / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=1))


def entry(data):
    """What the manifest says of a file's contents."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def put_object(package, data, extension):
    """Stores bytes under their hash and returns the manifest's entry."""
    name = f"objects/{entry(data)['sha256']}.{extension}"
    (package / "objects").mkdir(exist_ok=True)
    (package / name).write_bytes(data)
    return {"uri": name, **entry(data)}


def safetensors(tensors):
    """tensors: name -> (shape, list of floats)."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def parameters_of(graph, bias=0.0):
    """All weights zero; `bias` in the last convolution."""
    channels, tensors = {graph["input"]: {"y": 1, "rgb": 3, "yuv420": 6}[graph["colour"]]}, {}
    convolutions = [node for node in graph["nodes"] if node["op"] == "conv2d"]
    for node in convolutions:
        before, out = channels[node["inputs"][0]], node["channels"]
        channels[node["output"]] = out
        size = out * before * node["kernel"][0] * node["kernel"][1]
        value = bias if node is convolutions[-1] else 0.0
        tensors[f"{node['name']}.weight"] = ([out, before, *node["kernel"]], [0.0] * size)
        tensors[f"{node['name']}.bias"] = ([out], [value] * out)
    return tensors


def with_model(package, out, bias=0.0, chunks=None, graph=None, tensors=None, replace=True):
    """A copy of `package` whose chunks (all, or those listed) name a model."""
    if out.exists() and not replace:
        return out
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(package, out)
    graph = graph or json.loads((ROOT / "models" / "edge8-x2.json").read_bytes())
    tensors = tensors or parameters_of(graph, bias)

    def change(manifest):
        manifest["models"] = [{"name": graph.get("name", "x"),
                               "graph": put_object(out, json.dumps(graph).encode(), "json"),
                               "parameters": put_object(out, safetensors(tensors), "safetensors")}]
        for index, chunk in enumerate(manifest["chunks"]):
            chunk["model"] = 0 if chunks is None or index in chunks else None
    edit(out, change)
    return out


def flip(path, at=None):
    """Flips one bit, in the middle unless `at` says where."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 4
    path.write_bytes(data)


def cut(path):
    """Takes the last byte away."""
    path.write_bytes(path.read_bytes()[:-1])
