# SPDX-License-Identifier: BSD-2-Clause
"""srinfo quant: its figures against NumPy's, and what it refuses. What srinfo plan says of
parameters with groups and ranges of 16 bits."""
import json
import math

import numpy as np
import package_aid as aid
import pytest
import safetensors.numpy

ROOT = aid.ROOT
RNG = np.random.default_rng(11)


def shapes(graph):
    """Convolution -> (out, in, height, width); the nodes stand in a good order."""
    channels, found = {graph["input"]: {"y": 1, "rgb": 3, "yuv420": 6}[graph["colour"]]}, {}
    for node in graph["nodes"]:
        into = channels[node["inputs"][0]]
        made = into // node["block"]**2 if node["op"] == "depth_to_space" else node.get("channels", into)
        channels[node["output"]] = made
        if node["op"] == "conv2d":
            found[node["name"]] = (made, into, *node["kernel"])
    return found


def graph_of(name):
    return json.loads((ROOT / f"models/{name}.json").read_bytes())


def reals(graph, dtype=np.float32):
    arrays = {}
    for name, shape in shapes(graph).items():
        arrays[f"{name}.weight"] = RNG.normal(0, 0.1, shape).astype(dtype)
        arrays[f"{name}.bias"] = RNG.normal(0, 0.05, shape[0]).astype(dtype)
    return arrays


def f16_size(arrays):
    """Of the safetensors file of them in f16."""
    return len(safetensors.numpy.save({name: a.astype(np.float16) for name, a in arrays.items()}))


def quant(build, tmp_path, name, arrays, *more):
    path = tmp_path / "p.safetensors"
    path.write_bytes(safetensors.numpy.save(arrays))
    return aid.json_of(build / "srinfo", "quant", "--graph", ROOT / f"models/{name}.json", "--parameters",
                       path, "--json", *more), path


def decibel(signal, noise):
    return 10 * math.log10(signal / noise)


def by_channel(weight):
    """Lost share, dB of the columns, dB of all, under a scale for each output channel."""
    weight = weight.astype(np.float64)
    scale = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    codes = np.rint(weight / np.where(scale > 0, scale, 1))
    error, power = (codes * scale - weight)**2, weight**2
    there = weight != 0
    columns = power.sum((0, 2, 3))
    live = columns > 0
    share = (error.sum((0, 2, 3))[live] / columns[live]).mean()
    return (codes == 0)[there].mean(), decibel(1, share), decibel(power.sum(), error.sum())


def check_channel(layer, weight):
    lost, columns, sqnr = by_channel(weight)
    assert layer["lost_fraction"] == pytest.approx(lost, abs=1e-8)
    assert layer["columns_db"] == pytest.approx(columns, abs=1e-5)
    assert layer["flagged"] == (lost > 0.1 or columns < 25)
    return sqnr


@pytest.mark.parametrize("name, dtype, word", [("edge8-x2", np.float32, "F32"),
                                               ("edge16-x3", np.float16, "F16")])
def test_reals(build, tmp_path, name, dtype, word):
    graph, arrays = graph_of(name), reals(graph_of(name), dtype)
    arrays["body0.weight"][:, 2] *= dtype(1 / 512)  # a channel that others dwarf: all of it is lost
    arrays["body0.weight"][0, 0] = 0
    found, path = quant(build, tmp_path, name, arrays)
    [model] = found["models"]
    assert found["kind"] == "quant" and model["model"] == name
    assert [(layer["name"], layer["out"], layer["in"], *layer["kernel"])
            for layer in model["layers"]] == [(n, *s) for n, s in shapes(graph).items()]
    for layer in model["layers"]:
        weight = arrays[f"{layer['name']}.weight"]
        sqnr = check_channel(layer, weight)
        assert layer["sqnr_kind"] == "measured" and layer["sqnr_db"] == pytest.approx(sqnr, abs=1e-5)
        assert layer["weights"] == word and layer["granularity"] == "channel" and layer["group"] is None
        assert layer["zero_fraction"] == pytest.approx((weight == 0).mean(), abs=1e-8)
        assert layer["bytes"] == weight.nbytes + arrays[f"{layer['name']}.bias"].nbytes
        assert (layer["in_bits"], layer["out_bits"]) == (8, 32 if layer["name"] == "tail" else 8)
    assert [layer["name"] for layer in model["layers"] if layer["flagged"]] == ["body0"]
    assert model["flagged"] == 1 and model["bytes"] == sum(a.nbytes for a in arrays.values())
    assert model["f16_bytes"] == f16_size(arrays) and model["range_bytes"] == 0
    assert model["file_bytes"] == path.stat().st_size


def in_codes(weight, groups, same=False):
    parts = weight.reshape(len(weight), groups, -1)
    scale = (np.abs(parts).max(2) / 100).astype(np.float16)
    scale[:] = scale.max() if same else scale
    spread = np.repeat(scale.astype(np.float32), weight.shape[1] // groups, 1)[:, :, None, None]
    codes = np.rint(weight / spread).astype(np.int8)
    return codes, scale if groups > 1 else scale[:, 0].copy(), codes * spread


KINDS = {"head": (1, True), "body0": (1, False), "body1": (4, False), "body2": (16, True)}


def mixed():
    """Of edge16-x2 a scale for all, for each channel, for groups; h1 is kept in 16 bits, h2 too and
    read by the last layer. Also the weights that the codes stand for."""
    graph, arrays, real = graph_of("edge16-x2"), reals(graph_of("edge16-x2")), {}
    for name, (groups, same) in KINDS.items():
        codes, scale, real[name] = in_codes(arrays[f"{name}.weight"], groups, same)
        arrays[f"{name}.weight"], arrays[f"{name}.scale"] = codes, scale
    outputs = [node["output"] for node in graph["nodes"] if node["output"] != "y"]
    last = next(node["inputs"][0] for node in graph["nodes"] if node["name"] == "tail")
    for output in outputs:
        fine = output in ("h1", last)
        arrays[f"{output}.range16" if fine else f"{output}.range"] = np.float32([-1, 4])
    return arrays, real


def test_codes_ranges_and_16_bits(build, tmp_path):
    arrays, real = mixed()
    model = quant(build, tmp_path, "edge16-x2", arrays)[0]["models"][0]
    layers = {layer["name"]: layer for layer in model["layers"]}
    assert [(layers[n]["granularity"], layers[n]["group"]) for n in KINDS] == [
        ("tensor", None), ("channel", None), ("group", 4), ("group", 1)]
    for name in KINDS:
        layer, codes, scale = layers[name], arrays[f"{name}.weight"], arrays[f"{name}.scale"]
        check_channel(layer, real[name])
        part = codes[0].size / (scale.size / len(scale))
        noise = (part * scale.astype(np.float64)**2 / 12).sum()
        assert layer["sqnr_kind"] == "uniform" and layer["weights"] == "I8"
        assert layer["sqnr_db"] == pytest.approx(decibel((real[name].astype(np.float64)**2).sum(), noise), abs=1e-4)
        assert layer["zero_fraction"] == pytest.approx((codes == 0).mean(), abs=1e-8)
        assert layer["bytes"] == codes.size + 2 * scale.size + 4 * len(codes)
    assert layers["body3"]["sqnr_kind"] == "measured" and layers["body3"]["weights"] == "F32"
    bits = {n: (layer["in_bits"], layer["out_bits"]) for n, layer in layers.items()}
    assert bits == {"head": (8, 8), "body0": (8, 16), "body1": (8, 8), "body2": (8, 8), "body3": (8, 16),
                    "tail": (16, 32)}
    assert model["range_bytes"] == 8 * sum(".range" in name for name in arrays)
    assert model["bytes"] == sum(layer["bytes"] for layer in layers.values()) + model["range_bytes"]


@pytest.mark.parametrize("dtype", ["f32", "bf16", "int8"])
def test_plan_and_engine_have_the_same_arena(build, tmp_path, dtype):
    """Random parameters have it too, but in int8, where they have neither groups nor 16 bits."""
    arrays, _ = mixed()
    _, path = quant(build, tmp_path, "edge16-x2", arrays)
    way = ["--graph", ROOT / "models/edge16-x2.json", "--size", "321x180", "--threads", 2,
           "--dtype", dtype]
    given = ["--parameters", path, "--json"]
    if dtype == "bf16" and "bf16" not in aid.run(build / "test/kernel/aid_rows", "list").stdout:
        for command in (["srbench", "engine"], ["srinfo", "plan"]):
            done = aid.run(build / command[0], command[1], *way, *given)
            assert done.returncode == 2 and "bf16 is not for this machine" in done.stderr, done
        return
    arena = aid.json_of(build / "srbench", "engine", *way, *given, "--runs", 1)["arena_bytes"]
    assert aid.json_of(build / "srinfo", "plan", *way, *given)["arena_bytes"] == arena
    bare = aid.json_of(build / "srinfo", "plan", *way, "--json")["arena_bytes"]
    assert (bare == arena) == (dtype != "int8")
    packed = path.with_suffix(".zst")
    aid.run("zstd", "-q", path, "-o", packed)
    again = aid.json_of(build / "srinfo", "plan", *way, "--parameters", packed, "--json")
    assert again["arena_bytes"] == arena


def test_plan_refuses_parameters(build, tmp_path):
    graph = ROOT / "models/edge16-x2.json"
    for name, status, text in ((tmp_path / "absent", 2, "No such file"), (graph, 5, ""),
                               ("", 1, "wants a file")):
        done = aid.run(build / "srinfo", "plan", "--graph", graph, "--parameters", name)
        assert done.returncode == status and done.stdout == "", done
        assert text in done.stderr and len(done.stderr.splitlines()) == 1


def test_paths_of_a_dynamic_model(build, tmp_path):
    """Each layer once, in the graph's order, those of the cheaper path too."""
    graph = graph_of("edge-dyn-x2")
    model = quant(build, tmp_path, "edge-dyn-x2", reals(graph))[0]["models"][0]
    assert [layer["name"] for layer in model["layers"]] == list(shapes(graph))
    bits = {layer["name"]: layer["out_bits"] for layer in model["layers"]}
    assert {n for n, b in bits.items() if b == 32} == {"shallow.tail", "deep.tail"}
    assert all(layer["sqnr_db"] > 30 for layer in model["layers"])


def test_weights_that_lose_nothing(build, tmp_path):
    """Zeros alone and whole codes have no noise: null, and a word in the text."""
    arrays = reals(graph_of("edge8-x2"))
    arrays["body0.weight"][:] = 0
    found, path = quant(build, tmp_path, "edge8-x2", arrays)
    layer = next(x for x in found["models"][0]["layers"] if x["name"] == "body0")
    assert layer["sqnr_db"] is None and layer["columns_db"] is None
    assert (layer["zero_fraction"], layer["lost_fraction"], layer["flagged"]) == (1.0, 0.0, False)
    text = aid.run(build / "srinfo", "quant", "--graph", ROOT / "models/edge8-x2.json", "--parameters", path)
    assert text.returncode == 0
    assert any(line.startswith("body0 ") and "exact measured" in line for line in text.stdout.splitlines())


def test_text(build, tmp_path):
    arrays = reals(graph_of("edge8-x2"))
    arrays["body0.weight"][:, 1] *= 1e-4
    found, path = quant(build, tmp_path, "edge8-x2", arrays)
    done = aid.run(build / "srinfo", "quant", "--parameters", path, "--graph", ROOT / "models/edge8-x2.json")
    assert (done.returncode, done.stderr) == (0, "")
    model, lines = found["models"][0], done.stdout.splitlines()
    assert lines[0].split() == ["model", "edge8-x2"]
    for line, layer in zip(lines[2:], model["layers"]):
        assert line.split()[:4] == [layer["name"], "3x3", f"{layer['in']}->{layer['out']}", "F32"]
        assert f"{100 * layer['lost_fraction']:.1f} %" in line and f"{layer['sqnr_db']:.1f} measured" in line
        assert line.endswith("FLAGGED") == layer["flagged"] == (layer["name"] == "body0")
    share = 100 * path.stat().st_size / f16_size(arrays)
    assert lines[-2].endswith(f"; as a file {path.stat().st_size}, {share:.1f} % of {f16_size(arrays)} in f16")
    assert lines[-1].split()[:5] == ["flagged", "1", "of", str(len(model["layers"])), "layers"]


def with_slopes(graph):
    for node in graph["nodes"]:
        if node.get("activation") == "relu":
            node["activation"] = "prelu"
    return graph


@pytest.mark.parametrize("name, slopes", [("edge16-x2", False), ("edge-dyn-x2", False), ("edge16-x2", True)])
def test_the_size_in_f16_is_that_of_a_file(build, tmp_path, name, slopes):
    """Of general weights as srpack would write them in f16: 100.0 % of itself, to the byte."""
    import safetensors.torch  # takes seconds to load
    import torch
    from srpack import graph, qat
    value = with_slopes(graph_of(name)) if slopes else graph_of(name)
    module = graph.load_module(value)
    if slopes:
        graph.initialise(module)
    else:
        graph.load_parameters(module, ROOT / f"models/general/{name}.safetensors")
    network, path = tmp_path / "g.json", tmp_path / "p.safetensors"
    network.write_text(json.dumps(value))
    graph.export(module, path)
    size = path.stat().st_size
    assert size == qat.f16_bytes(module) and any(n.endswith(".slope") for n in module.named_tensors()) == slopes
    assert all(v.dtype == torch.float16 for v in safetensors.torch.load_file(path).values())
    files = "--graph", network, "--parameters", path
    assert aid.json_of(build / "srinfo", "quant", *files, "--json")["models"][0]["f16_bytes"] == size
    said = aid.run(build / "srinfo", "quant", *files).stdout.splitlines()[-2]
    assert said.endswith(f"; as a file {size}, 100.0 % of {size} in f16")


@pytest.fixture(scope="module")
def package(build, tmp_path_factory):
    space = tmp_path_factory.mktemp("quant")
    bare = aid.pack(build, aid.clip(space / "clip.mp4"), space / "bare", "--scale", 2)
    return bare, aid.with_model(bare, space / "one", bias=0.25)


def test_package(build, package, tmp_path):
    bare, one = package
    found = aid.json_of(build / "srinfo", "quant", one / "manifest.json", "--json")
    [model] = found["models"]
    assert model["model"] == "edge8-x2"
    assert model["file_bytes"] == next(one.glob("objects/*.safetensors")).stat().st_size
    assert aid.json_of(build / "srinfo", "quant", "--json", bare / "manifest.json") == {
        "kind": "quant", "models": []}
    assert aid.run(build / "srinfo", "quant", bare / "manifest.json").stdout == "no models\n"


def test_package_of_two_models_compact_and_compressed(build, package, tmp_path):
    two = tmp_path / "two"
    arrays = reals(graph_of("edge8-x2"))
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes(safetensors.numpy.save(arrays))
    zst = tmp_path / "plain.safetensors.zst"
    aid.run("zstd", "-q", "--content-size", plain, "-o", zst)
    aid.with_model(package[0], two)
    order = sorted({name.rsplit(".", 1)[0] for name in arrays})
    values = np.concatenate([arrays[f"{n}.{p}"].ravel() for n in order for p in ("weight", "bias")])
    streams = values.view(np.uint8).reshape(-1, 4)[:, ::-1].T.tobytes()
    (tmp_path / "streams").write_bytes(streams)
    aid.run("zstd", "-q", "--content-size", tmp_path / "streams")
    compact = b"SRPM\1\0" + len(order).to_bytes(2, "little") + bytes(2 * len(order)) + (
        tmp_path / "streams.zst").read_bytes()

    def change(manifest):
        [model] = manifest["models"]
        manifest["models"] = [
            {**model, "parameters": aid.put_object(two, compact, "parameters")},
            {**model, "parameters": aid.put_object(two, zst.read_bytes(), "safetensors.zst")}]
    aid.edit(two, change)
    found = aid.json_of(build / "srinfo", "quant", two / "manifest.json", "--json")
    assert [m.pop("file_bytes") for m in found["models"]] == [len(compact), zst.stat().st_size]
    assert found["models"][0] == found["models"][1]
    for path in (zst, plain):
        again = aid.json_of(build / "srinfo", "quant", "--json", "--graph", ROOT / "models/edge8-x2.json",
                            "--parameters", path)
        assert again["models"][0].pop("file_bytes") == path.stat().st_size
        assert again["models"] == found["models"][:1]
    assert aid.run(build / "srinfo", "quant", two / "manifest.json").stdout.count("model      edge8-x2") == 2
    next(two.glob("objects/*.parameters")).unlink()
    done = aid.run(build / "srinfo", "quant", two / "manifest.json", "--json")
    assert done.returncode == 2 and done.stdout == "" and ".parameters: No such file" in done.stderr


GRAPH = ROOT / "models/edge8-x2.json"


@pytest.mark.parametrize("arguments, said", [
    ([], "wants a package, or --graph"), (["--graph", GRAPH], "wants a package, or --graph"),
    (["m", "--graph", GRAPH], "not both"), (["m", "n"], 'unexpected argument "n"'),
    (["--size", "1x1"], 'unexpected argument "--size"'), (["--graph"], "--graph: wants a file"),
    (["--graph", GRAPH, "--parameters"], "--parameters: wants a file")])
def test_misuse(build, arguments, said):
    done = aid.run(build / "srinfo", "quant", *arguments)
    assert (done.returncode, done.stdout) == (1, "") and said in done.stderr


def bad(change):
    arrays = reals(graph_of("edge8-x2"))
    codes, scale, _ = in_codes(arrays["body0.weight"], 2)
    arrays.update({"body0.weight": codes, "body0.scale": scale})
    change(arrays)
    return safetensors.numpy.save(arrays)


def put(name, index, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][index] = value
    return bad(change)


@pytest.mark.parametrize("data, status, said", [
    (None, 2, "p: No such file"), (b"junk", 5, "p: 4 bytes are no safetensors file"),
    (b"\x28\xb5\x2f\xfdjunk", 5, "p: "), (b"SRPM\1\0\1\0\0\0", 5, "p: parameters of 1 convolutions"),
    (b"SRPM\2\0\1\0\0\0", 5, "p: version 2 of compact parameters"),
    (b"SRPU\1" + bytes(35), 5, "p: an update of parameters, not a safetensors file"),
    (bad(lambda a: a.pop("tail.bias")), 5, "'tail.bias' is missing"),
    (put("body0.scale", (1, 1), 0), 5, "tensor 'body0.scale': element 3 is 0, no scale"),
    (put("body0.scale", (0, 0), -1), 5, "'body0.scale': element 0 is -1, no scale"),
    (put("body0.scale", (0, 0), np.inf), 5, "'body0.scale': element 0 is infinite"),
    (put("body0.weight", (0, 0, 0, 0), -128), 5, "'body0.weight': element 0 is -128"),
    (bad(lambda a: a.update({"body0.scale": np.ones((8, 3), np.float16)})), 5, "3 groups of 8 input channels"),
    (put("tail.weight", (0, 0, 0, 0), np.nan), 5, "'tail.weight': element 0 is NaN"),
    (put("tail.weight", (0, 0, 0, 0), 1e38), 5, "node 'tail': its values may pass 2^120"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_refuses(build, tmp_path, data, status, said):
    path = tmp_path / "p"
    if data is not None:
        path.write_bytes(data)
    done = aid.run(build / "srinfo", "quant", "--graph", GRAPH, "--parameters", path, "--json")
    assert (done.returncode, done.stdout) == (status, ""), done
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr
