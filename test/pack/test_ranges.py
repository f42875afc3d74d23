# SPDX-License-Identifier: BSD-2-Clause
"""Activation ranges: of every tensor, on the video's own frames, and what the engine makes of
them."""
import json

import numpy as np
import parameters
import pytest
import safetensors.torch
import torch
from conftest import ROOT, packed
from routed import route_graph

from srpack import colour, fake, graph, models, native, quant, ranges


def some_frames(count=3, size=(40, 30), seed=2):
    rng = np.random.default_rng(seed)
    y = np.clip(rng.normal(120, 50, (count, size[1], size[0])), 0, 255).astype(np.uint8)
    return colour.Frames(y, y[:, ::2, ::2].copy(), y[:, 1::2, 1::2].copy())


def trained(text, seed=3):
    """A module with parameters of which none is zero."""
    module = graph.load_module(text)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.named_tensors().values():
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    return module


def test_ranges_of_a_network_by_hand():
    module, frames = trained(models.edge(8, 2)), some_frames()
    got = ranges.collect(module, frames)
    assert got.keys() == {n["output"] for n in module.order} - {"y"}
    x = torch.from_numpy(frames.y[:, None] / np.float32(255)) - 0.5
    with torch.no_grad():
        head = module.convolutions["head"](x)
        base = graph.resize(x, 2)
    assert got["h0"] == (0.0, pytest.approx(float(head.max()) * ranges.HEAD_ROOM, rel=1e-5))
    assert got["b"] == (pytest.approx(float(base.min()) * ranges.HEAD_ROOM, rel=1e-5),
                        pytest.approx(float(base.max()) * ranges.HEAD_ROOM, rel=1e-5))


def test_ranges_stay_within_the_activation():
    node = {"activation": "clip", "min": 0.25, "max": 6}
    assert ranges.limits(node) == (0.0, 6.0)
    assert ranges.limits({"activation": "tanh"}) == (-1, 1)
    assert ranges.limits({"op": "add"}) == (-np.inf, np.inf)
    module = trained(models.espcn(2))
    got = ranges.collect(module, some_frames())
    assert all(-1 <= low <= 0 <= high <= 1 for low, high in (got["h0"], got["h1"]))


def test_dead_tensors_have_a_range():
    module = graph.load_module(models.edge(8, 2))  # all parameters zero
    got = ranges.collect(module, some_frames())
    assert got["h0"] == (0.0, 1.0) and got["t"] == (0.0, 1.0)


def test_all_paths_have_ranges():
    text = route_graph()
    got = ranges.collect(trained(text), some_frames())
    assert got.keys() == {n["output"] for n in text["nodes"]} - {"y"}


def counted(*samples):
    counts = torch.zeros(2 * ranges.REACH + 256, dtype=torch.float64)
    for sample, often in samples:
        counts[ranges.REACH + sample] = often
    return counts


def test_the_input_gets_a_range_where_clipping_loses_more():
    assert ranges.of_input(counted((0, 9), (128, 9), (255, 9))) is None
    assert ranges.of_input(counted((-1, 1), (128, 999))) is None    # not worth coarser codes for all
    assert ranges.of_input(counted((-60, 9), (128, 9), (300, 9))) == (-60, 300)
    low, high = ranges.of_input(counted((-200, 1), (-20, 10**5), (128, 10**6), (255, 9)))
    assert -100 < low <= -20 and high == 255                        # the rarest are clipped
    assert ranges.of_input(counted()) is None


def test_rgb_of_saturated_colours_has_a_range():
    module = trained(models.wdsr(1, 1, 2, width=4))
    grey = some_frames()
    grey.y, grey.u[:], grey.v[:] = grey.y.clip(16, 235), 128, 128
    assert "x" not in ranges.collect(module, grey, colour.Colour())
    low, high = ranges.collect(module, some_frames(), colour.Colour())["x"]
    assert low < -0.6 and high > 0.6  # of -0.5 and 0.5


def test_frames_looked_at():
    class Dear:
        macs_per_pixel = 10**6
    assert len(ranges.chosen_frames(Dear, some_frames(40, (480, 270)))) == ranges.MIN_FRAMES
    Dear.macs_per_pixel = 100
    few = ranges.chosen_frames(Dear, some_frames(3))
    assert few == [0, 1, 2]
    many = ranges.chosen_frames(Dear, some_frames(100))
    assert len(many) == ranges.FRAMES and many == sorted(set(many)) and many[-1] < 100
    stopped = ranges.collect(trained(models.edge(8, 2)), some_frames(), should_stop=lambda: True)
    assert stopped is None


def test_the_engine_takes_them(tmp_path, build):
    """By itself it computes in int8 then: close to f32, and not the same."""
    text = (ROOT / "models/edge8-x2.json").read_bytes()
    module, frames = trained(json.loads(text)), some_frames(size=(64, 48))
    graph.export(module, tmp_path / "p.safetensors")
    graph.load_parameters(module, tmp_path / "p.safetensors")
    coded = fake.Module(module, ranges.collect(module, frames))
    coded.settle()
    (tmp_path / "r.safetensors").write_bytes(safetensors.torch.save(quant.file_tensors(coded)))
    data = (tmp_path / "r.safetensors").read_bytes()
    stored = safetensors.torch.load(data)
    assert stored["h0.range"].dtype == torch.float32 and stored["h0.range"].shape == (2,)
    graph.load_parameters(module, tmp_path / "r.safetensors")  # ranges are no parameters
    assert torch.equal(module.convolutions["head"].weight, coded.convolutions["head"].weight)
    x = frames.y[0][:, :, None] / np.float32(255)
    outputs = []
    for name in ("p", "r"):
        model = native.Model(build / "libsrp.so", text,
                             (tmp_path / f"{name}.safetensors").read_bytes())
        outputs.append(model.run(x, 2))
        model.close()
    error = np.abs(outputs[0] - outputs[1]).max()
    spread = np.ptp(outputs[0])
    assert 0 < error < 0.05 * spread


def test_int8_is_shipped_where_it_loses_little(plain, tmp_path, build):
    common = [plain, "--scale", 2, "--steps", 20, "--threads", 2, "--duration", "0.4", "--no-audio",
              "--route-loss", 0]
    result = packed(*common, "-o", tmp_path / "p", "--quant-loss", 3, "--qat", 0)
    found = result["arithmetic"]
    assert found["chosen"] == "int8" and found["int8"] == result["psnr_y"]["sr"]
    assert found["loss_db"] == pytest.approx(found["f32"] - found["int8"], abs=1e-4)
    shipped = parameters.of_package(tmp_path / "p")
    assert any(name.endswith(".range") for name in shipped)
    assert shipped["body0.weight"][0] == "i1" and shipped["body0.scale"][1].shape == (16,)
    assert sorted(line["layer"] for line in found["layers"]) == sorted(
        name.removesuffix(".weight") for name in shipped if name.endswith(".weight"))
    assert found["qat"] is None
    result = packed(*common, "-o", tmp_path / "q", "--quant", "f32")
    assert result["arithmetic"] == {"chosen": "f32"}
    # Each has routes of its own; those of f32 beside int8 were int8's. They agree, as routes may lose
    # nothing: at the default one of the twelve cells may lie between two paths, 0.1 dB apart.
    assert result["psnr_y"]["sr"] == pytest.approx(found["f32"], abs=0.02)
    assert not any(name.endswith(".range") for name in parameters.of_package(tmp_path / "q"))


def test_int8_is_not_shipped_where_it_loses_more(plain, tmp_path, build):
    result = packed(plain, "-o", tmp_path / "p", "--scale", 2, "--steps", 20, "--threads", 2,
                    "--duration", "0.4", "--quant-loss", 0)
    found = result["arithmetic"]
    assert "int8" in found
    assert found["chosen"] == ("f32" if found["loss_db"] > 0 else "int8")
    assert result["psnr_y"]["sr"] == found[found["chosen"]]
    assert found["loss_db"] < 0.3
