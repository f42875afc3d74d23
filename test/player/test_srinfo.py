# SPDX-License-Identifier: BSD-2-Clause
"""srinfo: what it shows, and that it names every fault of a package."""
import functools
import http.server
import itertools
import json
import platform
import re
import shutil
import struct
import threading

import package_aid as aid
import pytest


@pytest.fixture(scope="module")
def sound(build, tmp_path_factory):
    """A package without a fault: two chunks, audio, a model."""
    space = tmp_path_factory.mktemp("srinfo")
    bare = aid.pack(build, aid.clip(space / "clip.mp4"), space / "bare", "--scale", 2)
    return aid.with_model(bare, space / "sound")


@pytest.fixture
def package(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "package")


def verify(build, package):
    return aid.run(build / "srinfo", "verify", package / "manifest.json")


def faults(build, package, *names):
    """One line for each fault, each naming its file; the same in JSON."""
    done = verify(build, package)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (5, ""), done
    assert len(lines) == len(names), lines
    for line, name in zip(lines, names):
        assert line.startswith("srinfo: ") and name in line, (line, name)
    shown = aid.run(build / "srinfo", "verify", package / "manifest.json", "--json")
    found = json.loads(shown.stdout)
    assert shown.returncode == 5 and found["ok"] is False
    assert [f"srinfo: {fault['cause']}" for fault in found["faults"]] == lines
    return lines


def name_of(package, what):
    """The file of the package that a word stands for."""
    return {"graph": next(package.glob("objects/*.json")),
            "parameters": next(package.glob("objects/*.safetensors")),
            "segment": package / "video-00001.m4s", "init": package / "video-init.mp4",
            "audio": package / "audio-00000.m4s", "audio init": package / "audio-init.mp4"}[what]


FILES = ["graph", "parameters", "segment", "init", "audio", "audio init"]


def test_sound_package(build, sound):
    done = verify(build, sound)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    found = aid.json_of(build / "srinfo", "verify", sound / "manifest.json", "--json")
    files = [f for f in sound.rglob("*") if f.is_file() and f.name != "manifest.json"
             and f.suffix != ".m3u8"]
    assert found == {"ok": True, "faults": [], "objects": len(files), "frames": aid.FRAMES,
                     "bytes": sum(f.stat().st_size for f in files)}


@pytest.mark.parametrize("what", FILES)
def test_missing_file(build, package, what):
    path = name_of(package, what)
    path.unlink()
    assert "No such file" in faults(build, package, path.name)[0]


@pytest.mark.parametrize("what", FILES)
def test_truncated_file(build, package, what):
    path = name_of(package, what)
    aid.cut(path)
    assert "size" in faults(build, package, path.name)[0]


@pytest.mark.parametrize("what", FILES)
def test_flipped_bit(build, package, what):
    path = name_of(package, what)
    aid.flip(path)
    assert "SHA-256" in faults(build, package, path.name)[0]


def test_surplus_byte_and_empty_file(build, package):
    with open(name_of(package, "segment"), "ab") as file:
        file.write(b"\0")
    name_of(package, "graph").write_bytes(b"")
    faults(build, package, name_of(package, "graph").name, "video-00001.m4s")


def test_every_fault_is_listed(build, package):
    for what in FILES:
        aid.flip(name_of(package, what))
    names = [name_of(package, what).name for what in
             ("graph", "parameters", "init", "segment", "audio init", "audio")]
    faults(build, package, *names)


# ---- the manifest --------------------------------------------------------------------------------


def set_at(path, value):
    """An edit of the manifest: `path` is like ("chunks", 0, "frames"); value ... deletes."""
    def change(manifest):
        at = manifest
        for key in path[:-1]:
            at = at[key]
        if value is ...:
            del at[path[-1]]
        else:
            at[path[-1]] = value
    return change


@pytest.mark.parametrize("path, value", [
    (("format",), "other"), (("version",), 2), (("version",), "1"), (("scale",), 0), (("scale",), 5),
    (("scale",), 2.5), (("scale",), -2), (("scale",), ...), (("scale",), 1 << 60),
    (("frame_count",), 51), (("frame_count",), -50), (("frame_rate",), [25, 0]),
    (("frame_rate",), [0, 1]), (("frame_rate",), [25]), (("output", "width"), 1 << 40),
    (("output", "width"), 0), (("output", "height"), 1000), (("colour", "matrix"), "xyz"),
    (("video", "timescale"), 0), (("video", "timescale"), 1 << 53), (("video", "width"), -1),
    (("video", "init", "uri"), "../video-init.mp4"), (("video", "init", "uri"), "/etc/passwd"),
    (("video", "init", "uri"), "http://127.0.0.1/x"), (("video", "init", "uri"), ".hidden"),
    (("video", "init", "uri"), "x" * 129), (("video", "init", "uri"), "a\u0000b"),
    (("video", "init", "size"), -1), (("video", "init", "size"), 1 << 62),
    (("video", "init", "size"), 1e300), (("video", "init", "sha256"), "0" * 63),
    (("video", "init", "sha256"), "G" * 64), (("video", "init", "sha256"), ...),
    (("chunks",), []), (("chunks",), {}), (("chunks", 0, "frames"), 0),
    (("chunks", 0, "frames"), 1 << 40), (("chunks", 0, "model"), 1), (("chunks", 0, "model"), -1),
    (("chunks", 0, "segment", "start"), 1), (("chunks", 1, "segment", "start"), 0),
    (("chunks", 0, "segment", "duration"), 0), (("chunks", 1, "segment", "duration"), 1 << 53),
    (("models", 0, "graph", "uri"), "objects/../manifest.json"),
    (("models", 0, "graph", "sha256"), "0" * 64), (("models", 0, "graph"), None),
    (("audio", "segments", 0, "size"), "12"), (("source", "start"), -1),
])
def test_hostile_manifest(build, package, path, value):
    aid.edit(package, set_at(path, value))
    faults(build, package, "manifest.json")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "trailing", "duplicate", "empty", "deep",
                                    "huge number", "list", "not UTF-8", "NaN"])
def test_malformed_manifest(build, package, damage):
    path = package / "manifest.json"
    text = path.read_text()
    data = {"truncated": text[:-3], "flipped": text.replace("{", "[", 1), "trailing": text + "x",
            "duplicate": text.replace('"scale":', '"scale": 2, "scale":', 1), "empty": "",
            "deep": text.replace('"scale": 2', '"scale": 2, "x": ' + "[" * 50 + "]" * 50, 1),
            "huge number": text.replace('"scale": 2', '"scale": 1' + "0" * 400, 1), "list": "[]",
            "not UTF-8": text.replace("srpack", "\udcff", 1),
            "NaN": text.replace('"scale": 2', '"scale": NaN', 1)}[damage]
    assert data != text
    path.write_bytes(data.encode(errors="surrogateescape"))
    faults(build, package, "manifest.json")


def test_missing_manifest_and_usage(build, package):
    done = aid.run(build / "srinfo", "verify", package / "absent.json")
    assert done.returncode == 2 and done.stdout == ""
    assert "absent.json: No such file" in done.stderr and len(done.stderr.splitlines()) == 1
    for arguments in (["verify"], ["show"], ["bogus", "a"], ["verify", "a", "b"], ["verify", "--bogus", "a"]):
        done = aid.run(build / "srinfo", *arguments)
        assert done.returncode == 1 and done.stdout == "" and done.stderr
    for command in ("show", "verify", "quant"):
        done = aid.run(build / "srinfo", command, "ftp://127.0.0.1/manifest.json")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_what_this_build_does_not_know_is_a_fault(build, sound, tmp_path):
    """Whichever command looks at it: a version of each kind of file."""
    files = {name: tmp_path / name for name in ("g.json", "p.parameters", "u.update", "r.routes")}
    files["g.json"].write_text(json.dumps(edge(version=9)))
    files["p.parameters"].write_bytes(b"SRPM\2" + bytes(35))
    files["u.update"].write_bytes(b"SRPU\2" + bytes(35))
    files["r.routes"].write_bytes(b"SRTE\x63" + bytes(59))
    graph = aid.ROOT / "models/edge8-x2.json"
    package, manifest = tmp_path / "package", json.loads((sound / "manifest.json").read_bytes())
    package.mkdir()
    (package / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    commands = [["show", path] for path in (*files.values(), package / "manifest.json")]
    commands += [["verify", package / "manifest.json"], ["quant", package / "manifest.json"],
                 ["plan", "--graph", files["g.json"]],
                 ["quant", "--graph", files["g.json"], "--parameters", files["p.parameters"]],
                 ["quant", "--graph", graph, "--parameters", files["p.parameters"]]]
    for command in commands:
        done = aid.run(build / "srinfo", *command)
        assert done.returncode == 5 and "version" in done.stderr, (command, done)
        assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


# ---- segments ------------------------------------------------------------------------------------


def replace_file(package, name, data):
    """Another file under the same name, rightly declared in the manifest."""
    (package / name).write_bytes(data)
    entry = aid.entry(data)

    def change(manifest):
        every = [manifest[track]["init"] for track in ("video", "audio")]
        every += [chunk["segment"] for chunk in manifest["chunks"]] + manifest["audio"]["segments"]
        [found] = [object for object in every if object["uri"] == name]
        found.update(entry)
    aid.edit(package, change)


def test_frame_counts(build, package):
    def change(manifest):
        manifest["chunks"][0]["frames"] -= 1
        manifest["chunks"][1]["frames"] += 1
    aid.edit(package, change)
    first, second = faults(build, package, "video-00000.m4s", "video-00001.m4s")
    assert "holds 25 frames, the manifest says 24" in first
    assert "holds 25 frames, the manifest says 26" in second


def test_truncated_segment_with_its_hash(build, package):
    data = (package / "video-00001.m4s").read_bytes()
    replace_file(package, "video-00001.m4s", data[:len(data) // 2])
    faults(build, package, "video-00001.m4s")


def test_segment_that_is_something_else(build, package):
    replace_file(package, "video-00000.m4s", b"no segment at all" * 20)
    replace_file(package, "audio-00001.m4s", b"no segment at all" * 20)
    faults(build, package, "video-00000.m4s", "audio-00001.m4s")


def test_header_of_the_wrong_track(build, package):
    audio, video = (package / f"{track}-init.mp4" for track in ("audio", "video"))
    sound = audio.read_bytes()
    replace_file(package, "audio-init.mp4", video.read_bytes())
    lines = faults(build, package, *[f.name for f in sorted(package.glob("audio-*.m4s"))])
    assert "audio stream" in lines[0]
    replace_file(package, "audio-init.mp4", sound)
    replace_file(package, "video-init.mp4", sound)
    lines = faults(build, package, "video-00000.m4s", "video-00001.m4s")
    assert "video stream" in lines[0]


def test_picture_size(build, package):
    def change(manifest):
        manifest["video"]["width"] += 2
        manifest["output"]["width"] += 4
    aid.edit(package, change)
    assert "the picture is" in faults(build, package, "video-00000.m4s", "video-00001.m4s")[0]


# ---- models --------------------------------------------------------------------------------------


def edge(**changes):
    return {**json.loads((aid.ROOT / "models" / "edge8-x2.json").read_bytes()), **changes}


def with_node(**changes):
    graph = edge()
    graph["nodes"][1].update(changes)
    return graph


@pytest.mark.parametrize("graph", [
    edge(scale=3), edge(scale=-2), edge(format="x"), edge(version=9), edge(nodes=[]),
    edge(colour="cmyk"), edge(output="nowhere"), with_node(op="exec"), with_node(channels=1 << 30),
    with_node(channels=-8), with_node(kernel=[2, 3]), with_node(kernel=[3, 1 << 33]),
    with_node(inputs=["nowhere"]), with_node(inputs=["x"], channels=9), with_node(name="../x"),
], ids=lambda g: str(hash(json.dumps(g)) & 0xffff))
def test_bad_graph(build, sound, tmp_path, graph):
    tensors = aid.parameters_of(edge())
    package = aid.with_model(sound, tmp_path / "package", graph=graph, tensors=tensors)
    done = verify(build, package)
    assert done.returncode == 5 and len(done.stderr.splitlines()) == 1 and "objects/" in done.stderr


def changed(name, shape=None, values=None, delete=False):
    tensors = aid.parameters_of(edge())
    if delete:
        del tensors[name]
    else:
        old = tensors.get(name, ([1], [0.0]))
        tensors[name] = (shape or old[0], values or old[1])
    return tensors


@pytest.mark.parametrize("tensors", [
    changed("head.bias", values=[0.0] * 7 + [float("nan")]),
    changed("head.bias", values=[float("-inf")] + [0.0] * 7),
    changed("head.bias", delete=True), changed("other.bias"),
    changed("head.bias", shape=[4, 2]), changed("head.bias", shape=[7], values=[0.0] * 7),
    changed("head.bias", shape=[9]), changed("head.bias", shape=[-8]),
    changed("head.bias", shape=[1 << 62, 8]),
], ids=["nan", "inf", "missing", "surplus", "shape", "short", "offsets", "negative", "overflow"])
def test_bad_parameters(build, sound, tmp_path, tensors):
    package = aid.with_model(sound, tmp_path / "package", graph=edge(), tensors=tensors)
    faults(build, package, "objects/")


# ---- http ----------------------------------------------------------------------------------------


@pytest.fixture
def server(package):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(package))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_over_http(build, package, server):
    done = aid.run(build / "srinfo", "verify", f"{server}/manifest.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    shown = aid.json_of(build / "srinfo", "show", f"{server}/manifest.json", "--json")
    assert shown["kind"] == "package" and shown["frame_count"] == aid.FRAMES
    aid.flip(package / "video-00000.m4s")
    (package / "audio-00001.m4s").unlink()
    done = aid.run(build / "srinfo", "verify", f"{server}/manifest.json")
    lines = done.stderr.splitlines()
    assert done.returncode == 5 and len(lines) == 2
    assert "video-00000.m4s" in lines[0] and "audio-00001.m4s" in lines[1]


# ---- show ----------------------------------------------------------------------------------------


def test_show_package(build, sound):
    manifest = json.loads((sound / "manifest.json").read_bytes())
    found = aid.json_of(build / "srinfo", "show", sound / "manifest.json", "--json")
    assert found["kind"] == "package" and found["content_id"] == manifest["content_id"]
    assert found["out_size"] == [aid.WIDTH, aid.HEIGHT] and found["scale"] == 2
    assert [c["frames"] for c in found["chunks"]] == [25, 25]
    assert [c["model"] for c in found["chunks"]] == [0, 0]
    assert found["models"][0]["graph"] == manifest["models"][0]["graph"]
    assert found["duration_s"] == pytest.approx(2.0)
    text = aid.run(build / "srinfo", "show", sound / "manifest.json").stdout
    assert manifest["content_id"] in text and "edge8-x2" in text and "used by 2 chunks" in text


def test_show_every_graph(build):
    for path in sorted((aid.ROOT / "models").glob("*.json")):
        found = aid.json_of(build / "srinfo", "show", path, "--json")
        assert found["kind"] == "graph" and found["name"] == path.stem
        assert found["parameter_count"] > 0 and found["macs_per_pixel"] > 0
    done = aid.run(build / "srinfo", "show", aid.ROOT / "models" / "edge8-x2.json")
    assert done.returncode == 0 and "depth_to_space" in done.stdout and "3x3 to 8" in done.stdout


def test_show_parameters(build, sound, tmp_path):
    path = next(sound.glob("objects/*.safetensors"))
    found = aid.json_of(build / "srinfo", "show", path, "--json")
    expected = aid.parameters_of(edge())
    assert found["kind"] == "parameters" and found["bytes"] == path.stat().st_size
    assert {t["name"]: t["shape"] for t in found["tensors"]} == {n: s for n, (s, _) in expected.items()}
    assert found["parameter_count"] == sum(len(v) for _, v in expected.values())
    packed = tmp_path / "packed.safetensors.zst"
    aid.run("zstd", "-q", "--content-size", path, "-o", packed)
    assert {**aid.json_of(build / "srinfo", "show", packed, "--json"), "bytes": 0} == {**found, "bytes": 0}
    odd = tmp_path / "odd.safetensors"
    odd.write_bytes(aid.safetensors({"a.bias": ([3], [1.5, -2.0, float("nan")])}))
    [tensor] = aid.json_of(build / "srinfo", "show", odd, "--json")["tensors"]
    assert (tensor["min"], tensor["max"], tensor["nonfinite"]) == (-2.0, 1.5, 1)
    assert "NOT FINITE" in aid.run(build / "srinfo", "show", odd).stdout


def test_show_half_precision(build, tmp_path):
    header = json.dumps({"h": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
                         "b": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]}}).encode()
    # 1.0, -65504, smallest subnormal, infinity; 1.0, -2.5
    data = struct.pack("<4H2H", 0x3c00, 0xfbff, 0x0001, 0x7c00, 0x3f80, 0xc020)
    path = tmp_path / "half.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    half, brain = aid.json_of(build / "srinfo", "show", path, "--json")["tensors"]
    assert (half["min"], half["max"], half["nonfinite"]) == (-65504.0, 1.0, 1)
    assert (brain["min"], brain["max"], brain["nonfinite"]) == (-2.5, 1.0, 0)


def test_show_codes(build, tmp_path):
    path = tmp_path / "codes.safetensors"
    path.write_bytes(tensors_file({"a": {"dtype": "I8", "shape": [3], "data_offsets": [0, 3]}},
                                  b"\x81\x00\x05"))
    [tensor] = aid.json_of(build / "srinfo", "show", path, "--json")["tensors"]
    assert (tensor["dtype"], tensor["min"], tensor["max"], tensor["count"]) == ("I8", -127.0, 5.0, 3)


@pytest.mark.parametrize("ranges", [b"\1", b"\2"])
def test_show_compact(build, tmp_path, ranges):
    path = tmp_path / "some.parameters"
    path.write_bytes(b"SRPM\1" + ranges + b"\3\0" + bytes([3 | 1 << 2 | 1 << 6, 1, 1 | 1 << 2, 0, 75, 4]) + b"rest")
    found = aid.json_of(build / "srinfo", "show", path, "--json")
    assert found == {"kind": "parameters", "compact": True, "bytes": 18, "convolutions": 3, "ranges": True,
                     "weights": {"F32": 0, "F16": 1, "BF16": 0, "I8": 2}}
    text = aid.run(build / "srinfo", "show", path).stdout
    assert "3 convolutions, weights in F16 (1), I8 (2), with ranges" in text


def tensors_file(header, data=b"\0" * 32, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changes):
    return {"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32], **changes}}


@pytest.mark.parametrize("data", [
    b"", b"short", tensors_file({}, length=1 << 63), tensors_file({}, length=1 << 19),
    tensors_file(b"[]"), tensors_file(b"{"), tensors_file(one(dtype="I8")), tensors_file(one(shape=[-1])),
    tensors_file(one(shape=[1 << 40, 1 << 40])), tensors_file(one(shape="8")),
    tensors_file(one(data_offsets=[0, 64])), tensors_file(one(data_offsets=[4, 32])),
    tensors_file(one(data_offsets=[32, 0])), tensors_file(one(data_offsets=[-4, 28])),
    tensors_file(one(data_offsets=[0])), b"\x28\xb5\x2f\xfd" + b"junk" * 10, b"SRPM\1", b"SRPM\2\0\0\0",
    tensors_file(one(shape=[4], data_offsets=[0, 16])), tensors_file(one(shape=[4], data_offsets=[16, 32])),
    tensors_file(b"{}"), tensors_file(one(shape=[8, 1, 1, 1, 1])), tensors_file(one(shape=[0], data_offsets=[0, 0])),
    b"SRPM\1\3\0\0", b"SRPM\1\0\2\0abc", b'{"format": "x"}', b"{",
], ids=lambda d: d[:24].hex() or "empty")
def test_show_refuses(build, tmp_path, data):
    path = tmp_path / "bad"
    path.write_bytes(data)
    done = aid.run(build / "srinfo", "show", path, "--json")
    assert done.returncode == 5 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and f"{path}: " in done.stderr


@pytest.mark.parametrize("second, said", [
    ([12, 28], "tensor 'b': overlaps the one before"), ([0, 16], "overlaps the one before"),
    ([20, 36], "tensor 'b': leaves a gap before it"), ([16, 32], "8 bytes after the last tensor")])
def test_show_refuses_as_the_player_does(build, tmp_path, second, said):
    """How the arrays lie; both commands in the same words."""
    path = tmp_path / "p.safetensors"
    array = {"dtype": "F32", "shape": [4]}
    path.write_bytes(tensors_file({"a": {**array, "data_offsets": [0, 16]}, "b": {**array, "data_offsets": second}},
                                  bytes(max(second) if second[0] == 20 else 28 if second[0] < 16 else 40)))
    done = aid.run(build / "srinfo", "show", path)
    assert (done.returncode, done.stdout) == (5, "") and said in done.stderr
    graph = aid.ROOT / "models/edge8-x2.json"
    assert aid.run(build / "srinfo", "quant", "--graph", graph, "--parameters", path).stderr == done.stderr


def test_show_absent(build, tmp_path):
    done = aid.run(build / "srinfo", "show", tmp_path / "absent")
    assert done.returncode == 2 and "absent: No such file" in done.stderr
    assert aid.run(build / "srinfo", "show", tmp_path).returncode == 2


# ---- plan ----------------------------------------------------------------------------------------


MODELS = sorted((aid.ROOT / "models").glob("*.json"))
# Every operator; nodes in no useful order; two enlarged branches.
ODD = {"format": "srp-graph", "version": 1, "name": "odd", "scale": 4, "colour": "rgb",
       "input": "x", "output": "y", "nodes": [
           {"op": "add", "name": "out", "inputs": ["q", "b"], "output": "y"},
           {"op": "conv2d", "name": "head", "inputs": ["x"], "output": "h", "channels": 8,
            "kernel": [3, 5], "activation": "prelu"},
           {"op": "conv2d", "name": "mid", "inputs": ["h"], "output": "m", "channels": 8,
            "kernel": [3, 3], "activation": "tanh"},
           {"op": "mul", "name": "gate", "inputs": ["m", "h", "x8"], "output": "g"},
           {"op": "concat", "name": "cat", "inputs": ["x", "x", "x"], "output": "x9"},
           {"op": "slice", "name": "cut", "inputs": ["x9"], "output": "x8", "first": 1, "channels": 8},
           {"op": "depth_to_space", "name": "up", "inputs": ["g"], "output": "d", "block": 2},
           {"op": "conv2d", "name": "last", "inputs": ["d"], "output": "l", "channels": 12,
            "kernel": [1, 1]},
           {"op": "depth_to_space", "name": "up2", "inputs": ["l"], "output": "q", "block": 2,
            "order": "dcr"},
           {"op": "resize", "name": "base", "inputs": ["x"], "output": "b", "scale": 4,
            "mode": "bilinear"}]}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "odd.json"
    path.write_text(json.dumps(ODD))
    return path


def plan(build, path, *arguments):
    return aid.json_of(build / "srinfo", "plan", "--graph", path, *arguments, "--json")


def paths_of(graph):
    """The graph of each path: of one without a route itself."""
    route = next((n for n in graph["nodes"] if n["op"] == "route"), None)
    for end in route["inputs"] if route else [graph["output"]]:
        writers, wanted, todo = {n["output"]: n for n in graph["nodes"]}, [], [end]
        while todo:
            node = writers.get(todo.pop())
            if node is not None and node not in wanted:
                wanted.append(node)
                todo += node["inputs"]
        yield {**graph, "nodes": wanted, "output": end}


def number(text, height, width):
    """The value of "4H", "W" or "16"."""
    symbols = {"H": height, "W": width}
    return int(text[:-1] or 1) * symbols[text[-1]] if text[-1] in symbols else int(text)


def check_plan(found, graph, width, height):
    assert found["kind"] == "plan" and found["model"] == graph["name"]
    names = [n for step in found["steps"] for n in step["nodes"]] + found["writer"]["nodes"]
    assert sorted(names) == sorted(n["name"] for n in graph["nodes"])
    assert sum(s["macs_per_pixel"] for s in found["steps"]) == found["macs_per_pixel"]
    tensors = {t["name"]: t for t in found["tensors"]}
    written = {graph["input"]}
    for step in found["steps"]:  # an order in which everything is there in time
        reads = step["inputs"] + ([step["residual"]] if step["residual"] else [])
        assert step["class"] == "ISDOS" and written.issuperset(reads)
        assert bool(step["kernel"]) == (step["op"] == "conv2d")
        written.add(step["output"])
    assert written == set(tensors) and written.issuperset(found["writer"]["reads"])
    for tensor in tensors.values():
        shape = tensor["shape"].split(" x ")
        assert tensor["size"] == [number(text, height, width) for text in shape]
        assert tensor["bytes"] == tensor["ring_rows"] * tensor["row_bytes"]
        assert tensor["skew"] >= tensor["lag"] >= 0
        element = {"f32": 4, "bf16": 2, "int8": 1}[tensor["dtype"]]
        columns = found["piece_columns"] * tensor["size"][1] // width
        assert tensor["row_bytes"] >= columns * tensor["size"][2] * element
    area = found["work_bytes"] + found["ring_bytes"]  # of each worker
    assert all(found["work_bytes"] <= t["offset"] <= area - t["bytes"] for t in tensors.values())
    for a, b in itertools.combinations(tensors.values(), 2):
        apart = (a["offset"] + a["bytes"] <= b["offset"] or b["offset"] + b["bytes"] <= a["offset"])
        in_turn = a["steps"][1] < b["steps"][0] or b["steps"][1] < a["steps"][0]
        assert apart or (a["local"] and b["local"] and in_turn), (a, b)
    assert found["lower_bound_bytes"] <= found["threads"] * found["ring_bytes"]
    seams = found["seams"] * found["seam_bytes"]
    pieces = -(-width // found["piece_columns"])  # shared out evenly, they need no strips
    even = pieces % found["threads"] == 0 and pieces >= 2 * found["threads"]
    assert found["seams"] == (0 if found["threads"] == 1 or even else found["threads"] + 1)
    assert found["threads"] * area + seams <= found["arena_bytes"]
    # Few branches: order and placement are proved optimal (sizes are rounded up in the arena).
    assert found["whole_lower_bound_proved"] is True
    above = found["whole_arena_bytes"] - found["whole_lower_bound_bytes"]
    assert 0 <= above < 64 * len(tensors)


@pytest.mark.parametrize("dtype", ["f32", "int8"])
@pytest.mark.parametrize("path", [*MODELS, None], ids=lambda p: p.stem if p else "odd")
def test_plan(build, odd, path, dtype):
    path = path or odd
    for number, graph in enumerate(paths_of(json.loads(path.read_bytes()))):
        which = ["--path", str(number), "--size", "427x241"]
        found = plan(build, path, *which, "--dtype", dtype, "--threads", "3")
        check_plan(found, graph, 427, 241)
        assert (found["picture"], found["threads"], found["dtype"]) == ([427, 241], 3, dtype)
        assert found == plan(build, path, *which, "--dtype", dtype, "--threads", "3")
        text = aid.run(build / "srinfo", "plan", "--graph", path, *which).stdout
        for word in (graph["name"], "writer", "lower bound", *(n["name"] for n in graph["nodes"])):
            assert word in text


@pytest.mark.parametrize("scale, size", [(2, "960x540"), (3, "640x360"), (4, "480x270")])
@pytest.mark.parametrize("model", ["wdsr2", "wdsr4", "edge16"])
@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_arena_of_a_full_hd_picture(build, model, scale, size, dtype):
    """At most 8 MB, also where the whole rows of the rings would take 64; and in the same pieces
    by any number of threads, as pixels may depend on these."""
    path = MODELS[0].parent / f"{model}-x{scale}.json"
    found = [plan(build, path, "--size", size, "--dtype", dtype, "--threads", str(threads))
             for threads in (1, 2, 5)]
    assert found[0]["arena_bytes"] < found[1]["arena_bytes"] <= 8e6
    assert len({one["piece_columns"] for one in found}) == 1


def test_plan_at_chroma_resolution(build, tmp_path):
    nodes = [{**n, "channels": 24} if n["name"] == "last" else n for n in ODD["nodes"]]
    graph = {**ODD, "colour": "yuv420", "nodes": nodes}
    path = tmp_path / "yuv.json"
    path.write_text(json.dumps(graph))
    check_plan(plan(build, path, "--size", "427x241"), graph, 214, 121)


def test_plan_without_a_size(build, odd):
    found = plan(build, odd, "--isa", "scalar")
    assert "arena_bytes" not in found and found["isa"] == "scalar" and found["threads"] >= 1
    assert {t["name"]: t["shape"] for t in found["tensors"]} == {
        "x": "H x W x 3", "h": "H x W x 8", "m": "H x W x 8", "x9": "H x W x 9", "x8": "H x W x 8",
        "g": "H x W x 8", "d": "2H x 2W x 2", "l": "2H x 2W x 12", "q": "4H x 4W x 3",
        "b": "4H x 4W x 3", "y": "4H x 4W x 3"}
    text = aid.run(build / "srinfo", "plan", "--graph", odd).stdout
    assert "4H x 4W x 3" in text and "arena" not in text


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_plan_of_depthwise_layers(build, tmp_path, dtype):
    """Their weights tell, and the arena is the engine's. AArch64 computes them densely."""
    layer = {"op": "conv2d", "kernel": [3, 3], "channels": 12}
    nodes = [{**layer, "name": "a", "inputs": ["x"], "output": "h"}, {**layer, "name": "b", "inputs": ["h"], "output": "g"},
             {**layer, "name": "c", "inputs": ["g"], "output": "i"}, {**layer, "name": "t", "inputs": ["i"], "output": "y",
                                                                      "channels": 1}]
    graph = {**ODD, "scale": 1, "colour": "y", "nodes": nodes}
    tensors = aid.parameters_of(graph)
    for name in ("b", "c"):
        for at in range(12):
            tensors[f"{name}.weight"][1][(12 * at + at) * 9 + 4] = 0.5
    tensors["c.weight"][1][9] = 0.5  # of another channel
    paths = tmp_path / "g.json", tmp_path / "p.safetensors"
    paths[0].write_text(json.dumps(graph))
    paths[1].write_bytes(aid.safetensors(tensors))
    which = ["--size", "320x200", "--dtype", dtype, "--threads", "2"]
    found = plan(build, paths[0], "--parameters", paths[1], *which)
    assert ["depthwise" in step["kernel"] for step in found["steps"]] == [
        False, platform.machine() == "x86_64", False, False]
    ran = aid.json_of(build / "srbench", "engine", "--graph", paths[0], "--parameters", paths[1], *which, "--tensor",
                      "--runs", "1", "--json")
    assert ran["arena_bytes"] == found["arena_bytes"]
    plain = plan(build, paths[0], "--parameters", paths[1], *which, "--isa", "scalar")
    assert not any("depthwise" in step["kernel"] for step in plain["steps"])


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_plan_of_kernels_with_few_taps(build, tmp_path, dtype):
    """Where most of a kernel's taps have no weights they are not computed: no blocks of four rows."""
    layer = {"op": "conv2d", "kernel": [7, 7], "channels": 16}
    nodes = [{**layer, "name": name, "inputs": [a], "output": b} for name, a, b in
             [("a", "x", "h"), ("b", "h", "g"), ("c", "g", "i")]]
    nodes.append({**layer, "name": "t", "inputs": ["i"], "output": "y", "channels": 1})
    graph = {**ODD, "scale": 1, "colour": "y", "nodes": nodes}
    tensors = aid.parameters_of(graph)
    for name, step in (("a", 1), ("b", 3), ("c", 1), ("t", 1)):
        weights = tensors[f"{name}.weight"][1]
        for at in range(len(weights)):
            y, x = at % 49 // 7, at % 7
            weights[at] = 0.01 * (at % 5 - 2) if y % step == x % step == 0 else 0.0
    paths = tmp_path / "g.json", tmp_path / "p.safetensors"
    paths[0].write_text(json.dumps(graph))
    paths[1].write_bytes(aid.safetensors(tensors))
    which = ["--size", "320x200", "--dtype", dtype, "--threads", "2"]
    found, dense = plan(build, paths[0], "--parameters", paths[1], *which), plan(build, paths[0], *which)
    kernels = [[step["kernel"] for step in one["steps"]] for one in (found, dense)]
    assert [a == b for a, b in zip(*kernels)] == [True, "winograd" not in kernels[1][1], True, True]
    ran = aid.json_of(build / "srbench", "engine", "--graph", paths[0], "--parameters", paths[1], *which, "--tensor",
                      "--runs", "1", "--json")
    assert ran["arena_bytes"] == found["arena_bytes"]


def test_plan_of_what_is_too_large_in_whole(build):
    path = aid.ROOT / "models" / "wdsr16-x2.json"
    found = plan(build, path, "--size", "4096x4096")
    assert found["arena_bytes"] < 1 << 30 and found["whole_arena_bytes"] is None
    done = aid.run(build / "srinfo", "plan", "--graph", path, "--size", "4096x4096")
    assert done.returncode == 0 and "above the limit" in done.stdout


def test_plan_of_a_picture_that_the_engine_refuses(build, tmp_path):
    nodes = [{**n, "channels": 24} if n["name"] == "last" else n for n in ODD["nodes"]]
    path = tmp_path / "yuv.json"
    path.write_text(json.dumps({**ODD, "colour": "yuv420", "nodes": nodes}))
    for graph, most, refused in (
            (aid.ROOT / "models" / "edge8-x2.json", "4096x4096", ("4097x4096", "16384x16384", "8193x2")),
            (path, "2048x2048", ("2049x2048",))):
        assert plan(build, graph, "--size", most)["arena_bytes"] > 0
        for size in refused:
            done = aid.run(build / "srinfo", "plan", "--graph", graph, "--size", size)
            assert done.returncode == 5 and done.stdout == "", done
            assert len(done.stderr.splitlines()) == 1 and f"--size {size}: times " in done.stderr


def test_plan_as_graphviz(build, odd):
    pictures = [(path, number, graph) for path in [*MODELS, odd]
                for number, graph in enumerate(paths_of(json.loads(path.read_bytes())))]
    for path, number, graph in pictures:
        text = aid.run(build / "srinfo", "plan", "--graph", path, "--path", str(number), "--dot").stdout
        assert text.startswith(f'digraph "{graph["name"]}" {{\n') and text.endswith("}\n")
        assert text.count("{") == text.count("}") and text.count('"') % 2 == 0
        for node in graph["nodes"]:
            assert text.count(f'label="{node["name"]}\\n{node["op"]}') == 1
        assert text.count(" -> ") == sum(len(n["inputs"]) for n in graph["nodes"]) + 1
        steps = plan(build, path, "--path", str(number))["steps"]
        assert text.count("subgraph") == len(steps) + 1


@pytest.mark.parametrize("arguments", [
    ["--size", "640"], ["--size", "0x1"], ["--size"], ["--threads", "0"], ["--threads", "65"],
    ["--dtype", "i8"], ["--isa", "mmx"], ["--isa"], ["--bogus"], ["again"],
    ["--json", "--dot"], ["--dot", "--json"]], ids=" ".join)
def test_plan_usage(build, odd, arguments):
    done = aid.run(build / "srinfo", "plan", "--graph", odd, *arguments)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1


def test_plan_of_any_instruction_set(build, odd):
    """One that this machine has not is something else than a word that is none."""
    row = (aid.ROOT / "runtime/kernels/row.c").read_text()
    names = re.findall(r'"(\w+)"', re.search(r"names\[.*?\{(.*?)\}", row, re.S)[1])
    assert {"scalar", "avx2", "neon"} <= set(names)
    missing = 0
    for name in names:
        done = aid.run(build / "srinfo", "plan", "--graph", odd, "--isa", name, "--json")
        if done.returncode == 0:
            assert json.loads(done.stdout)["isa"] == name
        else:
            assert done.returncode == 1
            assert done.stderr == f"srinfo: no kernels for '{name}' on this machine\n"
            missing += 1
    assert missing > 0  # no machine is of two architectures
    done = aid.run(build / "srinfo", "plan", "--graph", odd, "--isa", "mmx")
    assert '--isa "mmx": wants scalar, avx2, ' in done.stderr


def test_plan_refuses(build, tmp_path):
    assert aid.run(build / "srinfo", "plan").returncode == 1
    done = aid.run(build / "srinfo", "plan", "--graph", tmp_path / "absent")
    assert done.returncode == 2 and "absent: No such file" in done.stderr
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**ODD, "scale": 2}))
    done = aid.run(build / "srinfo", "plan", "--graph", path)
    assert done.returncode == 5 and "enlarges to 4 times" in done.stderr
