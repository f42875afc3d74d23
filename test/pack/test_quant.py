# SPDX-License-Identifier: BSD-2-Clause
"""Weights as codes: granularity, which layers are flagged, the file; and a graph as int8 computes
it, in PyTorch, against the engine."""
import copy
import dataclasses
import json
import pathlib
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT, environment, packed, srpack

sys.path.insert(0, str(pathlib.Path(ROOT) / "test/golden"))

import int8_graphs as golden  # noqa: E402
import int8_reference as reference  # noqa: E402

from srpack import (colour, equalise, fake, graph, models, native, options, qat, quant,  # noqa: E402
                    quantising, ranges, report, sampler, steps, train, training)
from srpack.errors import UsageError  # noqa: E402


def weights(out, channels, kernel=3, seed=1):
    return torch.randn(out, channels, kernel, kernel, generator=torch.Generator().manual_seed(seed))


# ---- granularity ----

def test_widths():
    assert quant.widths(64, 16) == [16, 8, 4, 2, 1]
    assert quant.widths(24, 16) == [12, 8, 6, 4, 3, 2, 1]
    assert quant.widths(16, 16) == [8, 4, 2, 1] and quant.widths(1, 16) == []
    assert quant.widths(256, 16) == [16, 8, 4]  # 64 groups at most


def test_scales_by_hand():
    weight = torch.zeros(2, 4, 1, 1)
    weight[0, :, 0, 0] = torch.tensor([127.0, -1, 0.5, 0.25])
    weight[1, :, 0, 0] = torch.tensor([0.0, 0, 0, -254])
    assert quant.scales(weight).tolist() == [[1], [2]]
    assert quant.scales(weight, 0).tolist() == [[2]]
    grouped = quant.scales(weight, 2)
    assert torch.equal(grouped, torch.tensor([[1, 1 / 128], [2, 2]]))
    assert quant.codes(weight, grouped)[:, :, 0, 0].tolist() == [[127, -1, 64, 32],
                                                                [0, 0, 0, -127]]
    found = quant.measure(weight, quant.scales(weight))
    assert found.zeros == 2 / 5  # 0.5 and 0.25: to even, to zero
    assert quant.measure(weight, grouped).zeros == 0


def test_coarser_codes_by_hand():
    """A scale is the coarser the less its weights matter, within GREATEST and LEAST."""
    weight = torch.tensor([126.0, -63, 3, 1]).reshape(1, 4, 1, 1).repeat(5, 1, 1, 1)
    weight[4] = 0
    power = torch.tensor([100.0, 1, 0.25, 1e-9, 1])[:, None, None, None].expand(weight.shape)
    scale = quant.scales(weight, power=power, grain=2.0)
    assert scale.flatten().tolist() == pytest.approx([126 / 127, 2, 4, 126 / 8, 1])
    assert quant.codes(weight, scale)[1].flatten().tolist() == [63, -32, 2, 0]
    assert quant.codes(9 * weight, scale)[1].flatten().tolist() == [127, -127, 14, 4]
    assert torch.equal(quant.scales(weight, power=power), quant.scales(weight))
    # Under one scale the mean counts.
    power = torch.tensor([1.0, 1, 4, 16]).reshape(1, 4, 1, 1)
    grouped = quant.scales(weight[:1], 2, power, 1.0)
    assert grouped[0].tolist() == [1, 0.25]  # of 10 ** -0.5 the nearest power of two


@pytest.mark.parametrize("grain", [None, 1e-3, 0.1, 10.0])
def test_scales_of_groups_are_powers_of_two_of_each_other(grain):
    weight = weights(20, 12) * torch.logspace(-3, 0, 12)[:, None, None]
    weight[3, :3] = weight[4] = 0
    power = None if grain is None else weights(20, 12, seed=2).exp()
    scale = quant.scales(weight, 4, power, grain or 0.0)
    mantissa, exponent = torch.frexp(scale / scale.amin(1, keepdim=True))
    assert (mantissa == 0.5).all() and exponent.max() > 3
    assert torch.equal(scale[4], torch.ones(4)) and scale[3, 0] == scale[3].max()
    most = (weight.reshape(20, 4, -1).abs().amax(2) / scale)[weight.reshape(20, 4, -1).amax(2) > 0]
    assert most.max() <= 127.01 and most.min() >= (63 if grain is None else quant.LEAST - 0.01)
    # Three octaves are enough where they leave codes of 31; then they are all.
    weight = torch.tensor([127.0, 4]).reshape(1, 2, 1, 1)
    assert quant.scales(weight, 2).tolist() == [[1, 1 / 8]]
    weight[0, 1] = 3.8
    assert quant.scales(weight, 2).tolist() == [[1, 1 / 32]]
    stored = quant.f16_or_bf16(scale).float()
    assert torch.equal(stored / stored.amax(1, keepdim=True), scale / scale.amax(1, keepdim=True))


@pytest.mark.parametrize("scale, flags", [(1, False), (10, False), (1000, True)])
def test_a_channel_that_dwarfs_the_others_is_flagged(scale, flags):
    weight = weights(32, 64)
    weight[:, 5] *= scale
    found = quant.measure(weight, quant.scales(weight))
    assert quant.flagged(found, quant.Rules()) == flags
    groups = quant.groups_of(weight, quant.Rules())
    assert (groups > 1) == flags
    if flags:
        assert found.zeros > 0.9 and groups == 64  # the one stands alone
        assert quant.measure(weight, quant.scales(weight, groups)).columns > 40


def test_a_heavy_tail_is_flagged_by_its_zeros():
    weight = weights(16, 32)
    weight = weight.sign() * weight.abs() ** 4
    found = quant.measure(weight, quant.scales(weight))
    assert 0.10 < found.zeros < 0.9 and quant.flagged(found, quant.Rules())
    assert not quant.flagged(found, quant.Rules(zeros=found.zeros + 0.01))
    groups = quant.groups_of(weight, quant.Rules())
    assert groups > 1
    assert quant.measure(weight, quant.scales(weight, groups)).zeros < found.zeros


def test_granularities():
    weight = weights(8, 48)
    got = {kind: quant.groups_of(weight, quant.Rules(kind)) for kind in quant.GRANULARITIES}
    assert got == {"tensor": 0, "channel": 1, "group": 3, "mixed": 1}
    assert quant.groups_of(weight, quant.Rules("group", width=12)) == 4
    assert quant.groups_of(weights(8, 1), quant.Rules("group")) == 1


@pytest.mark.parametrize("values, kind", [([1.0, 0.3], torch.float16),
                                          ([1.0, 1e-6], torch.bfloat16),
                                          ([1e6, 1.0], torch.bfloat16)])
def test_scales_are_rounded_up_to_two_bytes(values, kind):
    scale = torch.tensor([values]) * torch.linspace(1, 1.9, 37)[:, None]
    got = quant.f16_or_bf16(scale)
    assert got.dtype == kind
    assert ((got.float() >= scale) & (got.float() <= scale * (1 + 2.0**-7))).all()
    assert torch.equal(quant.f16_or_bf16(got.float()), got)


# ---- the file ----

def made(name, granularity="mixed", wide=None, seed=3):
    """A fake-quantised network of test/golden with ranges of its own values."""
    value, parameters = golden.made(name, seed)
    module = graph.load_module(value)
    with torch.no_grad():
        for key, tensor in module.named_tensors().items():
            tensor.copy_(torch.from_numpy(parameters[key]))
    found = {}
    x = torch.from_numpy(golden.picture(40, 48, golden.INPUTS[value["colour"]], seed))
    x = x.permute(2, 0, 1)[None].float() / 255
    for tensor, y in ranges.tensors(module, x):
        if tensor != value["output"]:
            low, high = (float(v.detach()) for v in torch.aminmax(y))
            found[tensor] = min(low, 0.0), max(high, 0.1)
    wide = qat.candidates(module) if wide is None else wide
    if value["input"] in wide:
        found[value["input"]] = -module.mean, 1.0 - module.mean
    return module, fake.Module(module, found, wide, scales(module, quant.Rules(granularity))), x


def scales(module, rules):
    weights = {name: conv.weight.detach() for name, conv in module.convolutions.items()}
    return {name: quant.scales(weight, quant.groups_of(weight, rules))
            for name, weight in weights.items()}


def test_the_file_reads_back_as_what_the_module_computes(tmp_path):
    module, quantised, _ = made("wdsr", "group")
    quantised.settle()
    before = {k: v.clone() for k, v in quantised.named_tensors().items()}
    tensors = quant.file_tensors(quantised)
    assert tensors["e0.weight"].dtype == torch.int8 and tensors["h.range16"].shape == (2,)
    assert tensors["e0.scale"].shape == (24, 2) and "t.range" in tensors
    (tmp_path / "p").write_bytes(safetensors.torch.save(tensors))
    graph.load_parameters(module, tmp_path / "p")
    for key, value in module.named_tensors().items():
        assert torch.equal(value, before[key]), key
    quantised.settle()  # nothing is left to round
    assert all(torch.equal(before[k], v) for k, v in quantised.named_tensors().items())


@pytest.mark.parametrize("change, line", [
    ({"a.scale": None}, "a.weight is of codes without scales"),
    ({"a.weight": torch.zeros(12, 1, 3, 3)}, "a.scale has no codes"),
    ({"c.scale": torch.ones(20, 5)}, r"c.scale has shape \[20, 5\] for c.weight of"),
])
def test_files_that_are_refused(tmp_path, change, line):
    module, quantised, _ = made("edge")
    quantised.settle()
    tensors = {**quant.file_tensors(quantised), **change}
    data = safetensors.torch.save({k: v for k, v in tensors.items() if v is not None})
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(ValueError, match=line):
        graph.load_parameters(module, tmp_path / "p")


def test_a_bias_that_dwarfs_its_channel_coarsens_it():
    module, _, x = made("edge")
    with torch.no_grad():
        module.convolutions["c"].weight[0] = 1e-9
        module.convolutions["c"].bias[0] = 3.0
    quantised = fake.Module(module, made("edge")[1].stated_ranges())
    quantised.settle()
    program = quantised.programs[0]
    grid = quantised._grids(program)["h"]
    unit = float((grid[0] * quantised.weight_scale("c")[0, 0]).detach())
    assert 2.0**27 < 3.0 / unit < 2.0**29
    assert bool((quantised.convolutions["c"].weight[0] == 0).all())


@pytest.mark.parametrize("groups", [1, 2])
def test_codes_make_up_for_each_other(groups):
    """Of inputs that go together, sums of codes lose far less than those of the nearest codes; of
    inputs that do not, nothing can be made up for, and the nearest it is."""
    rng = torch.Generator().manual_seed(5)
    weight = weights(16, 4, 3) ** 3
    scale = quant.scales(weight, groups)
    spread = quant.spread(scale, weight)
    apart = torch.randn(36, 4000, generator=rng).double()
    together = apart + 4 * torch.randn(1, 4000, generator=rng).double()

    def lost(codes, inputs):
        off = (codes * spread - weight).flatten(1).double() @ inputs
        return float(off.square().mean())

    def compensated(moments):
        return fake._compensated(weight, scale, *fake.passing(moments))
    nearest = quant.codes(weight, scale)
    found = compensated(together @ together.T)
    assert lost(found, together) < 0.3 * lost(nearest, together)
    assert found.abs().max() == 127 and (found - nearest).abs().max() <= 3
    assert torch.equal(compensated(torch.eye(36).double()), nearest)
    still = together.clone()
    still[5:9] = 0  # channels that have died
    assert lost(compensated(still @ still.T), still) < 0.3 * lost(nearest, still)


def test_codes_keep_flat_pictures():
    """A sum of rounded weights that is off gives a flat picture another colour. And learning begins
    at the codes that were chosen."""
    rng = np.random.default_rng(3)
    levels = rng.integers(20, 60, (12, 1, 1)) + rng.integers(-9, 10, (12, 48, 48))
    lr = colour.Frames(levels.astype(np.uint8))  # almost flat
    module = graph.load_module(golden.whole("one", "y", 1, 0.5, [golden.conv("c", "x", "y", 1, 5)]))
    flat = torch.full((1, 1, 9, 9), 40 / 255)

    def lost(made):
        made.settle()
        with torch.no_grad():
            off = (made(flat) - module(flat))[..., 4, 4]
        return abs(float(off))
    passes = qat.errors(module, qat.samples(module, sampler.Source(lr, lr)))
    sums = [0.0, 0.0]
    for seed in range(40):
        with torch.no_grad():
            module.convolutions["c"].weight.copy_(weights(1, 1, 5, seed))
        nearest, chosen = (fake.Module(module, {}) for _ in range(2))
        chosen.compensate(passes)
        weight, scale = chosen.convolutions["c"].weight.detach().clone(), chosen.weight_scale("c")
        codes = quant.codes(weight, scale)
        off = (weight / scale[:, :, None, None] - codes).detach().abs()
        assert float(off.max()) <= fake.INSIDE + 1e-4
        sums[0], sums[1] = sums[0] + lost(nearest), sums[1] + lost(chosen)
        assert torch.equal(quant.file_tensors(chosen)["c.weight"].float(), codes)
    assert sums[1] < 0.4 * sums[0]


def test_errors_are_of_what_convolutions_read():
    """All paths together, padding included."""
    module, _ = a_network(a_video())
    pairs = qat.samples(module, a_video())
    x = torch.cat([x for x, _ in pairs])
    name = next(iter(module.convolutions))
    conv = module.convolutions[name]
    columns = torch.nn.functional.unfold(x - module.mean, conv.weight.shape[2:],
                                         padding=conv.padding).double()
    expected = fake.passing((columns @ columns.mT).sum(0))
    got = qat.errors(module, pairs)[name]
    assert torch.equal(got[0], expected[0]) and torch.allclose(got[1], expected[1], rtol=1e-3)


# ---- against the engine ----

# A value on the edge between two codes falls to either side, as f32 is summed in another order, and
# so do those made from it: the difference stays this much below that of int8 from f32.
BELOW = 0.2


@pytest.mark.parametrize("wide", [False, True], ids=["8", "16"])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("name", golden.GRAPHS)
def test_fake_quantisation_is_the_engine(build, name, granularity, wide):
    module, quantised, x = made(name, granularity, None if wide else [])
    if wide and not quantised.wide:
        assert name in ("espcn", "activations", "attention", "yuv", "middle"), "no 16 bits?"
    off, lost = against_the_engine(build, module, quantised, x)
    assert lost > 0 and off < BELOW * lost, (off, lost)


def against_the_engine(build, module, quantised, x):
    """Root mean squares of what the engine differs by from fake quantisation, and from f32."""
    quantised.settle()
    data = safetensors.torch.save(quant.file_tensors(quantised))
    model = native.Model(build / "libsrp.so", json.dumps(module.graph).encode(), data)
    got = model.run(x[0].permute(1, 2, 0).numpy(), module.scale)
    model.close()
    with torch.no_grad():
        mine, exact = (m(x)[0].permute(1, 2, 0).numpy() for m in (quantised, module))
    return np.sqrt(np.mean((mine - got) ** 2)), np.sqrt(np.mean((exact - got) ** 2))


@pytest.mark.parametrize("name, fine", [("edge", False), ("wdsr", False), ("yuv", False), ("wdsr", True)])
def test_a_range_of_the_input_is_the_engines(build, name, fine):
    """Samples from -100 to 340 reach both; without the range both see them clipped."""
    module, quantised, x = made(name, wide=[])
    x = x * (440 / 255) - 100 / 255
    found = {t: (4 * low - 1, 4 * high + 1) for t, (low, high) in quantised.stated_ranges().items()}
    off, clipped = against_the_engine(build, module, fake.Module(module, found), x)
    assert off < BELOW * clipped
    found["x"] = (-100 / 255 - module.mean, 340 / 255 - module.mean)
    wide = ["x"] if fine else []
    off, lost = against_the_engine(build, module, fake.Module(module, found, wide), x)
    assert off < BELOW * lost and lost < 0.5 * clipped, (off, lost, clipped)


def test_an_input_of_16_bits_loses_less(build):
    """RGB whose samples are not whole, in a network that hands them on."""
    module, quantised, x = made("wdsr", wide=[])
    x = (x + torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) / 255).clamp(0, 1)
    found = {**quantised.stated_ranges(), "x": (-module.mean, 1.0 - module.mean)}
    quantised.settle()
    with torch.no_grad():  # only what the input loses is looked at
        for name, conv in module.convolutions.items():
            conv.weight.copy_(quantised.convolutions[name].weight)
            conv.bias.copy_(quantised.convolutions[name].bias)
        module.convolutions["tail"].weight.zero_()
    scale_of = {name: quantised.weight_scale(name).detach() for name in module.convolutions}
    (off, coarse), (off16, fine) = (
        against_the_engine(build, module, fake.Module(module, found, wide, scale_of), x)
        for wide in ([], ["x"]))
    assert off < BELOW * coarse and off16 < BELOW * fine and fine < 0.1 * coarse, (coarse, fine)


def test_the_range_of_the_input_learns():
    module, quantised, x = made("edge")
    found = {**quantised.stated_ranges(), "x": (-module.mean - 0.5, 1.5 - module.mean)}
    quantised = fake.Module(module, found)
    assert quantised.range_names[0] == "x"
    quantised(x).square().sum().backward()
    assert (quantised.range_steps.grad[:2] != 0).all()


def test_steps_are_those_of_the_second_implementation():
    for name in golden.GRAPHS:
        value, parameters = golden.made(name, 1)
        program, other = steps.Program(value), reference.Network(value, parameters)
        assert [(s.output, s.residual) for s in program.steps] == [
            (s.output, s.residual) for s in other.steps]
        assert program.codes == other.q8
        assert {t: set(g) for t, g in program.group_of.items()} == other.groups


def test_paths_share_what_they_have_in_common(monkeypatch):
    value = json.loads((ROOT / "models/edge-dyn-x2.json").read_bytes())
    module = graph.load_module(value)
    graph.initialise(module, 1)
    names = [n["output"] for n in value["nodes"] if n["output"] != "y"]
    quantised = fake.Module(module, {t: (-1.0, 1.0) for t in names})
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        apart = [quantised.forward_paths(x, [p])[0] for p in range(3)]
        ran = []
        convolve = quantised._convolve
        monkeypatch.setattr(quantised, "_convolve",
                            lambda step, *a: ran.append(step.node["name"]) or convolve(step, *a))
        together = quantised.forward_paths(x, range(3))
    assert all(torch.equal(a, b) for a, b in zip(apart, together))
    assert len(ran) == len(set(ran)) == len(module.convolutions)


# ---- options ----

@pytest.mark.parametrize("given, line", [
    (["--quant", "f32", "--qat", "5"], "--qat: --quant f32 has no int8"),
    (["--quant", "bf16", "--granularity", "mixed"], "--granularity: --quant bf16 has no int8"),
    (["--model", "none", "--quant-report", "r.json"], "--quant-report: --model none has no network"),
    (["--model", "none", "--updates", "9"], "--updates: --model none has no network"),
    (["--model", "none", "--qat", "9"], "--qat: --model none has no network"),
    (["--quant-report", "out/r.json"], "--quant-report .*/out/r.json: a package holds nothing else"),
    (["--quant", "w8a8", "--group-width", "8"], "--group-width: --granularity channel has no grou"),
    (["--granularity", "tensor", "--flag-zeros", "5"], "--flag-zeros: --granularity tensor has no"),
    (["--chunks", "3", "--qat", "9"], "--qat: the models of --chunks are not trained in int8"),
    (["--granularity", "group", "--flag-zeros", "5"], "--flag-zeros: --granularity group has groups "),
    (["--group-width", "65"], "argument --group-width: '65' is not a whole number from 1 to 64"),
    (["--flag-zeros", "101"], "argument --flag-zeros: '101' is not a share from 0 to 100 %"),
    (["--quant", "int4"], "argument --quant: invalid choice: 'int4'"),
    (["--dtype", "f32"], "unrecognized arguments: --dtype f32"),
])
def test_options_that_are_refused(given, line):
    with pytest.raises(UsageError, match=line):
        options.parse(["v.mp4", "-o", "out", *given])


def test_defaults():
    got = options.parse(["v.mp4", "-o", "out"])
    assert (got.quant, got.granularity, got.qat) == ("w8a8-mixed", "mixed", None)
    assert options.parse(["v.mp4", "-o", "out", "--quant", "w8a8"]).granularity == "channel"


def test_shares_of_the_budget():
    """f32 gets what int8 does not take."""
    for given, share in (([], 0.05), (["--qat", "50"], 0.15), (["--qat", "0"], 0),
                         (["--quant", "f32"], 0), (["--chunks", "2"], 0)):
        assert training.qat_share(options.parse(["v.mp4", "-o", "out", *given])) == share, given
    it = quantising.Quantiser.__new__(quantising.Quantiser)
    for given, amount in ((["--budget", "100"], (5, None)), (["--budget", "100", "--qat", "9"],
                                                             (15, 9)),
                          (["--steps", "100"], (None, 5)), (["--steps", "9"], (None, 1)),
                          (["--steps", "9", "--qat", "7"], (None, 7)), (["--qat", "0"], None)):
        it.options = options.parse(["v.mp4", "-o", "out", *given])
        assert it.amount() == amount, given


def test_help_names_them():
    text = srpack("--help").stdout
    for name in ("--quant ", "--granularity", "--group-width", "--flag-zeros", "--qat",
                 "--quant-report"):
        assert name in text


# ---- training, and the packer ----

def a_video(seed=5, count=6, size=(64, 48)):
    """A source of drawn frames: the original is smooth at the scale of two pixels."""
    rng = np.random.default_rng(seed)
    small = rng.normal(0, 60, (count, size[1] // 2 + 2, size[0] // 2 + 2))
    large = torch.from_numpy(small)[:, None]
    large = torch.nn.functional.interpolate(large, scale_factor=4, mode="bicubic")
    hr = (large[:, 0, 4:4 + 2 * size[1], 4:4 + 2 * size[0]] + 128).clamp(0, 255)
    lr = torch.nn.functional.avg_pool2d(hr[:, None], 2)[:, 0].round()
    return sampler.Source(colour.Frames(lr.byte().numpy()), colour.Frames(hr.byte().numpy()))


def a_network(source, steps=60):
    """A small network of source, trained; and the ranges of its tensors."""
    result = train.train(models.edge(8, 2, 2), [source], steps=steps, threads=1)
    return result.module, ranges.collect(result.module, source.lr)


def test_training_with_codes_repairs_what_codes_broke():
    """Scales and ranges that are far too wide: they learn, and the picture is better for it."""
    source = a_video()
    module, found = a_network(source)
    wider = {name: (6 * low, 6 * high) for name, (low, high) in found.items()}
    quantised = fake.Module(module, wider)
    before = {k: v.clone() for k, v in quantised.named_parameters()}
    pairs, _ = train.evaluation_frames(module, [source])
    options = qat.default_options(quantised)
    options.rate, options.factors = 3e-3, 5.0
    result = qat.tune(quantised, source, options=options, steps=60, threads=1)
    start = fake.Module(module, wider)
    start.settle()
    ptq = train.evaluate(start, pairs, [source])[0]
    assert result.chosen != "init" and result.psnr > ptq + 0.02
    assert result.psnr == pytest.approx(train.evaluate(result.module, pairs, [source])[0], abs=1e-6)
    after = dict(quantised.named_parameters())
    assert not torch.equal(before["range_steps"], after["range_steps"])
    high = [pair[1] for name, pair in result.module.stated_ranges().items() if name[0] == "h"]
    assert np.mean(high) < np.mean([wider[f"h{i}"][1] for i in range(len(high))])


def test_codes_are_kept_as_they_were_where_training_makes_them_worse():
    source = a_video()
    module, found = a_network(source)
    quantised = fake.Module(module, found)
    options = qat.default_options(quantised)
    options.rate = 0.5
    options.average = 0.0
    result = qat.tune(quantised, source, options=options, steps=3, threads=1)
    start = fake.Module(module, found)
    start.settle()
    assert result.chosen == "init"
    kept, expected = quant.file_tensors(result.module), quant.file_tensors(start)
    assert all(torch.equal(kept[name], value) for name, value in expected.items())


def test_gradients_of_scale_and_zero_are_those_of_the_formula():
    v = torch.tensor([-1.0, 0.024, 0.5, 9.0], requires_grad=True)
    scale = torch.tensor(0.02, requires_grad=True)
    zero = torch.tensor(3.0, requires_grad=True)
    fake._Round.apply(v, scale, zero, False, False).backward(torch.tensor([1.0, 1, 1, 1]))
    assert v.grad.tolist() == [0, 1, 1, 0]
    # saturated: code - zero; else code - value in codes
    assert float(scale.grad) == pytest.approx((0 - 3) + (4 - 4.2) + (28 - 28) + (255 - 3), abs=1e-3)
    assert float(zero.grad) == pytest.approx(-2 * 0.02)


def test_power_is_what_noise_adds():
    """Of each layer: the squared error of small noise on its weights against the forecast."""
    source = a_video()
    module, _ = a_network(source)
    pairs = qat.samples(module, source)
    power = qat.power(module, pairs)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        exact = [module.forward(x) for x, _ in pairs]
        left = np.mean([float((y - t).square().mean()) for (_, t), y in zip(pairs, exact)])
        for name, conv in module.convolutions.items():
            kept, added, sigma = conv.weight.clone(), [], 1e-3 * float(conv.weight.std())
            for _ in range(20):
                conv.weight.copy_(kept + sigma * torch.randn(kept.shape, generator=rng))
                added += [float((module.forward(x) - y).square().mean())
                          for (x, _), y in zip(pairs, exact)]
            conv.weight.copy_(kept)
            assert np.mean(added) / left == pytest.approx(
                sigma**2 * float(power[name].sum()), rel=0.5), name


def test_fine_codes_go_where_they_matter():
    """The two channels of a layer with the finest codes are made to matter a tenth, by what reads
    them: their codes become coarse, the others' stay. And for its bytes the network loses less
    than with one greatest code for all."""
    source = a_video()
    module, found = a_network(source)

    def planned():
        made = qat.plan(module, found, quant.Rules("channel"), source, video_bytes=10**10)
        coded = made.module(module)
        return made, (coded.convolutions["body0"].weight.abs().amax((1, 2, 3))
                      / coded.weight_scale("body0")[:, 0]).detach().round()
    _, before = planned()
    order = before.argsort()
    with torch.no_grad():
        module.convolutions["body1"].weight[:, order[-2:]] /= 10
    made, now = planned()
    assert (now >= quant.LEAST).all() and (now <= quant.GREATEST).all()
    assert (now[order[-2:]] < 0.4 * before[order[-2:]]).all(), (before, now)
    assert (now[order[:-2]] > 0.8 * before[order[:-2]]).all(), (before, now)

    def loss(coded):
        coded.settle()
        with torch.no_grad():
            return qat.parameter_bytes(coded), sum(
                float((coded.forward(x) - module.forward(x)).square().mean())
                for x, _ in qat.samples(module, source))

    def of_one_code(most):
        coded = fake.Module(module, found, scales={
            name: scale * 127 / most for name, scale in scales(module, quant.Rules()).items()})
        coded.compensate(made.passes)
        return loss(coded)
    size, lost = loss(made.module(module))
    larger = next(most for most in range(30, 128) if of_one_code(most)[0] >= size)
    assert lost < 0.8 * of_one_code(larger)[1]


def test_codes_are_as_coarse_as_bytes_are_dear(monkeypatch):
    """The same network beside videos of ever more bytes: its own become more, as far as SMALL; the
    more may be lost, the coarser are the codes."""
    source = a_video()
    module, found = a_network(source)
    pairs = qat.samples(module, source)
    f16 = qat.f16_bytes(module)

    def plan(video_bytes):
        return qat.plan(module, found, quant.Rules(), source, video_bytes=video_bytes)
    sizes = [10**2, 10**4, 10**10]
    chosen = [plan(size).weighed[-1]["bytes"] for size in sizes]
    assert all(a < 1.05 * b for a, b in zip(chosen, chosen[1:])) and chosen[0] < 0.9 * chosen[-1]
    assert 0.99 * qat.SMALL * f16 < chosen[-1] <= qat.SMALL * f16
    with monkeypatch.context() as patch:
        patch.setattr(qat, "MOST_LOSS", 10.0)
        easy = [plan(size).weighed[-1]["bytes"] for size in sizes]
    assert all(a < 1.05 * b for a, b in zip(easy, chosen)) and easy[0] < 0.95 * chosen[0]

    made = plan(1000)
    assert made.weighed[0]["grain"] == 0 and made.weighed[-1]["grain"] == made.grain
    coded = made.module(module)
    coded.settle()
    assert made.weighed[-1]["bytes"] == qat.parameter_bytes(coded)
    # The loss that is said: the error against f32 beside what f32 leaves.
    with torch.no_grad():
        exact = [module.forward(x) for x, _ in pairs]
        added = sum(float((coded.forward(x) - y).square().mean()) for (x, _), y in zip(pairs, exact))
        left = sum(float((y - t).square().mean()) for (_, t), y in zip(pairs, exact))
    assert made.weighed[-1]["loss_db"] == pytest.approx(10 * np.log10(1 + added / left), abs=1e-4)
    # Trained, they take hardly more bytes.
    tuned = qat.tune(plan(10**10).module(module), source, steps=20, threads=1).module
    assert qat.parameter_bytes(tuned) <= 0.4 * f16

    assert qat.plan(module, found, quant.Rules(), source).grain == 0
    # However dear bytes are, a loss that is seen is not taken; then the parameters become larger.
    monkeypatch.setattr(qat, "MOST_LOSS", 0.0)
    monkeypatch.setattr(qat, "MORE_LOSS", 0.0002)
    strict = plan(1000).weighed
    most, last = strict[0]["loss_db"] + qat.MORE_LOSS, strict[-1]
    assert last["loss_db"] <= most and last["bytes"] > qat.SMALL * f16
    assert any(most < line["loss_db"] and line["grain"] < 1.03 * last["grain"] for line in strict)
    # On the way SMALL itself was tried.
    assert any(0.99 * qat.SMALL * f16 < line["bytes"] <= qat.SMALL * f16 for line in strict)


def test_sixteen_bits_go_where_they_pay():
    """In wdsr with coarse streams each of them pays; where nothing is lost, none does."""
    source = sampler.Source(a_video().lr, a_video().hr, colour.Colour())
    module, found = a_network(source)
    pairs = qat.samples(module, source)
    assert qat.candidates(module) == ["h2"]
    plan = qat.Plan(found, {name: 1 for name in module.convolutions}, [], {})
    assert qat.choose_wide(module, plan, pairs)[0] == []
    coarse = {**found, "h2": (0.0, 400 * found["h2"][1])}
    wide, gains = qat.choose_wide(module, dataclasses.replace(plan, ranges=coarse), pairs)
    assert wide == ["h2"] and gains["h2"] > 0.2
    assert qat.extra_cost(module, "h2") == pytest.approx(
        module.macs("tail") / module.macs_per_pixel)


def test_the_picture_may_have_sixteen_bits_where_it_is_rgb():
    module = graph.load_module(models.wdsr(2, 2, 2))
    assert qat.candidates(module) == ["x", "h0", "h1", "h2"]
    assert qat.extra_cost(module, "x") == pytest.approx(3 * module.macs("skip") / module.macs_per_pixel)
    found = {node["output"]: (-1.0, 1.0) for node in module.order[:-1]}
    plan = qat.Plan(found, {name: 1 for name in module.convolutions}, ["x"], {})
    assert plan.module(module).stated_ranges()["x"] == pytest.approx((-module.mean, 1 - module.mean))
    luma = graph.load_module({**models.wdsr(2, 2, 2), "colour": "y", "nodes": [
        {**node, "channels": 4} if node["name"] in ("tail", "skip") else node
        for node in models.wdsr(2, 2, 2)["nodes"]]})
    assert qat.candidates(luma) == ["h0", "h1", "h2"]


def test_a_dwarfing_channel_collapses_channels_and_groups_repair_it(build):
    """The paper's failure: in two layers one channel 1000 times as small as it was, and what reads
    it 1000 times as large. f32 does not change."""
    source = sharp_video()
    module = train.train(models.edge(16, 2), [source], steps=80, threads=2,
                         init=ROOT / "models/general/edge16-x2.safetensors").module
    pairs = [(0, i) for i in range(len(source.lr))]
    engine = quantising.Engine(module)

    def psnr(tensors):
        return engine.psnr(tensors, pairs, source)

    def floats(module):
        return {name: tensor.detach() for name, tensor in module.named_tensors().items()}
    exact = psnr(floats(module))
    with torch.no_grad():
        for first, second in (("body0", "body1"), ("body2", "body3")):
            a, b = module.convolutions[first], module.convolutions[second]
            # the one that matters least to its readers: its own codes are lost in either case
            power = dict(ranges.tensors(module, lr_tensor(source)))[
                "h" + str(int(first[-1]) + 1)].square().mean((0, 2, 3))
            k = int((power * b.weight.square().sum((0, 2, 3))).argmin())
            a.weight[k] /= 1000
            a.bias[k] /= 1000
            b.weight[:, k] *= 1000
    assert psnr(floats(module)) == pytest.approx(exact, abs=1e-3)
    found = ranges.collect(module, source.lr)
    got = {}
    for kind in ("channel", "mixed"):
        made = scales(module, quant.Rules(kind))
        quantised = fake.Module(module, found, [], made)
        quantised.settle()
        got[kind] = psnr(quant.file_tensors(quantised))
    assert [name for name, scale in made.items() if scale.shape[1] > 1] == ["body1", "body3"]
    assert exact - got["channel"] >= 0.5 and exact - got["mixed"] <= 0.1, (exact, got)


@pytest.mark.parametrize("factor", [1000, 1 / 1000])
def test_far_channels_are_brought_back(build, factor):
    """Those that matter most, which groups of weights alone could not save."""
    source = sharp_video()
    module = train.train(models.edge(16, 2), [source], steps=20, threads=2,
                         init=ROOT / "models/general/edge16-x2.safetensors").module
    before = copy.deepcopy(module.state_dict())
    assert equalise.balance(module, source.lr) == []
    engine = quantising.Engine(module)
    pairs = [(0, i) for i in range(len(source.lr))]
    exact = engine.psnr({n: t.detach() for n, t in module.named_tensors().items()}, pairs, source)
    with torch.no_grad():
        for first, second in (("body0", "body1"), ("body2", "body3")):
            a, b = module.convolutions[first], module.convolutions[second]
            power = dict(ranges.tensors(module, lr_tensor(source)))[
                "h" + str(int(first[-1]) + 1)].square().mean((0, 2, 3))
            k = int((power * b.weight.square().sum((0, 2, 3))).argmax())
            a.weight[k] /= factor
            a.bias[k] /= factor
            b.weight[:, k] *= factor
    assert equalise.balance(module, source.lr) == ["h1", "h3"]
    for name, value in module.state_dict().items():  # but for a power of two below 2^4
        ratio = value[before[name] != 0] / before[name][before[name] != 0]
        assert 1 / 16 < float(ratio.min()) and float(ratio.max()) < 16, name
    plan = qat.plan(module, ranges.collect(module, source.lr), quant.Rules("mixed"))
    quantised = plan.module(module)
    quantised.settle()
    assert exact - engine.psnr(quant.file_tensors(quantised), pairs, source) < 0.1


def lr_tensor(source):
    return torch.from_numpy(source.lr.y[:1, None] / np.float32(255))


def sharp_video():
    """Frames of edges and rings, which a network restores far better than bicubic does."""
    y, x = np.mgrid[0:192, 0:256]
    frames = []
    for i in range(2):
        angle = 0.4 + 0.5 * i
        along = x * np.cos(angle) + y * np.sin(angle)
        rings = np.hypot(x - 128 - 9 * i, y - 96)
        lines, circles = np.tanh(3 * np.sin(along / 7)), np.tanh(4 * np.sin(rings / 9))
        frames.append(128 + 70 * lines + 40 * circles)
    hr = torch.from_numpy(np.stack(frames))[:, None].clamp(0, 255)
    lr = torch.nn.functional.interpolate(hr, scale_factor=0.5, mode="bicubic", antialias=True)
    planes = [colour.Frames(t[:, 0].round().clamp(0, 255).byte().numpy()) for t in (lr, hr)]
    return sampler.Source(*planes)


def test_the_packer_trains_reports_and_ships_codes(plain, tmp_path):
    result = packed(plain, "-o", tmp_path / "p", "--scale", 2, "--steps", 30, "--threads", 2,
                    "--duration", "0.4", "--no-audio", "--model", "edge8", "--quant-loss", 9,
                    "--qat", 4, "--quant-report", tmp_path / "r.json")
    found = result["arithmetic"]
    assert found["chosen"] == "int8" and found["qat"]["steps"] == 4
    assert found["qat"]["psnr"] >= found["psnr_ptq"] - 1e-3
    assert result["trained"]["steps"] == 30
    # A clip of so few bytes has coarse codes: each byte of the parameters is dear.
    assert found["bytes"] < 0.37 * found["bytes_f16"] and found["grains_tried"][0]["grain"] == 0
    assert found["grains_tried"][-1]["grain"] == found["grain"] > 0
    layer = found["layers"][1]
    assert layer["layer"] == "body0" and layer["granularity"] == "channel"
    assert layer["bytes"] == 8 * 8 * 9 + 2 * (8 + 8) and 15 < layer["sqnr_db"] < 60
    rows = json.loads((tmp_path / "r.json").read_bytes())["rows"]
    kinds = [r["granularity"] for r in rows]
    assert kinds[0] == "f32" and kinds[-4:] == ["tensor", "channel", "group", "mixed"]
    assert all(r["psnr_qat"] > r["psnr"] - 0.05 and abs(r["psnr"] - rows[0]["psnr"]) < 3
               for r in rows[1:])
    got = report.table(result)
    assert "body0" in got and "16 bits:" in got and "% of f16" in got


@pytest.mark.parametrize("name, cause", [("no/r.json", "No such file or directory"),
                                         ("folder", "Is a directory")])
def test_a_report_that_cannot_be_written_is_refused_first(name, cause, plain, tmp_path):
    (tmp_path / "folder").mkdir()
    done = srpack(plain, "-o", tmp_path / "p", "--quant-report", tmp_path / name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"srpack: error: {tmp_path / name}: {cause}\n"
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


def test_a_resumed_run_reports(plain, tmp_path, build):
    """Whether the codes or the report too were done before: nothing is done twice."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srinfo").symlink_to(build / "srinfo")
    (tools / "srbench").write_text("#!/bin/sh\n")
    (tools / "srbench").chmod(0o755)
    command = [plain, "-o", tmp_path / "p", "--scale", 2, "--steps", 20, "--threads", 2,
               "--duration", "0.4", "--no-audio", "--model", "edge8", "--qat", 0, "--quant-loss", 9]
    wish = ["--quant-report", tmp_path / "r.json"]
    broken = environment(SRP_BINDIR=str(tools))
    done = srpack(*command, env=broken)
    assert done.returncode == 2 and "srbench package: unexpected output" in done.stderr
    assert '"quant"' in (tmp_path / "p.srpack-work/job.json").read_text()
    assert srpack(*command, *wish, env=broken).returncode == 2
    first = (tmp_path / "r.json").read_bytes()
    kinds = [row["granularity"] for row in json.loads(first)["rows"]]
    assert kinds[0] == "f32" and kinds[-4:] == ["tensor", "channel", "group", "mixed"]
    (tmp_path / "r.json").unlink()
    result = packed(*command, *wish)
    assert (tmp_path / "r.json").read_bytes() == first
    assert result["arithmetic"]["chosen"] == "int8"
    assert not {"train", "quantise", "quant-report"} & result["seconds"].keys()
