# SPDX-License-Identifier: BSD-2-Clause
"""srinfo: what it shows, and that it names every fault of a package."""
import functools
import http.server
import json
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
    done = aid.run(build / "srinfo", "verify", "ftp://127.0.0.1/manifest.json")
    assert done.returncode != 0 and len(done.stderr.splitlines()) == 1


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
    tensors_file(one(data_offsets=[0])), b"\x28\xb5\x2f\xfd" + b"junk" * 10, b'{"format": "x"}', b"{",
], ids=lambda d: d[:24].hex() or "empty")
def test_show_refuses(build, tmp_path, data):
    path = tmp_path / "bad"
    path.write_bytes(data)
    done = aid.run(build / "srinfo", "show", path, "--json")
    assert done.returncode == 5 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and f"{path}: " in done.stderr


def test_show_absent(build, tmp_path):
    done = aid.run(build / "srinfo", "show", tmp_path / "absent")
    assert done.returncode == 2 and "absent: No such file" in done.stderr
    assert aid.run(build / "srinfo", "show", tmp_path).returncode == 2
