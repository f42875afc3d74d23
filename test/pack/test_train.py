# SPDX-License-Identifier: BSD-2-Clause
"""Training beats bicubic, resumes to the same bits, repeats for a seed, and says no where it
should."""

import dataclasses
import functools
import math
import subprocess
import time

import numpy as np
import pytest
import torch

from srpack import colour, graph, models, optimiser, qat, train

BICUBIC = "flags=bicubic+accurate_rnd"
GRAPH = models.all_models()["edge8-x2"]
SMALL = train.Options(batch=4, patch=24, margin=1)


def raw(*arguments):
    return subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", *map(str, arguments)],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout


@functools.cache
def video(scale=2):
    """Twelve frames of a detailed moving pattern, 240x144, and their bicubic reductions."""
    width, height = 240, 144
    large = raw(
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=s={width}x{height}:r=12:d=1",
        "-pix_fmt",
        "yuv420p",
        "-f",
        "rawvideo",
        "-",
    )
    small = subprocess.run(
        [
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "yuv420p",
            "-s",
            f"{width}x{height}",
            "-i",
            "-",
            "-vf",
            f"scale={width // scale}:{height // scale}:{BICUBIC}",
            "-f",
            "rawvideo",
            "-",
        ],
        input=large,
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    return cut(small, width // scale, height // scale), cut(large, width, height)


def cut(data, width, height):
    luma, chroma = width * height, (width // 2) * (height // 2)
    planes = np.frombuffer(data, np.uint8).reshape(-1, luma + 2 * chroma)
    return colour.Frames(
        planes[:, :luma].reshape(-1, height, width),
        planes[:, luma : luma + chroma].reshape(-1, height // 2, width // 2),
        planes[:, luma + chroma :].reshape(-1, height // 2, width // 2),
    )


def weights(result):
    return {name: value.detach().clone() for name, value in result.module.named_tensors().items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_beats_bicubic_by_two_decibels():
    lr, hr = video()
    result = train.overfit(GRAPH, lr, hr, steps=250, seed=1, threads=2, options=SMALL)
    assert (
        result.finished
        and result.better
        and result.chosen in ("raw", "ema")
        and result.steps == 250
    )
    # The figure is a whole-frame figure that anyone can recompute, over all frames here.
    source = [train.Source(lr, hr)]
    psnr, bicubic = train.evaluate(result.module, [(0, i) for i in range(len(lr))], source)
    assert psnr > bicubic + 2
    assert abs(psnr - result.psnr) < 1 and abs(bicubic - result.psnr_bicubic) < 1


def test_bf16_learns_as_f32_does():
    lr, hr = video()
    found = {}
    for bf16 in (False, True):
        options = train.Options(batch=4, patch=24, margin=1, bf16=bf16)
        found[bf16] = train.overfit(GRAPH, lr, hr, steps=80, threads=2, options=options)
    assert found[True].better and not equal(weights(found[False]), weights(found[True]))
    gains = [found[bf16].psnr - found[bf16].psnr_bicubic for bf16 in (False, True)]
    assert gains[1] > 0.8 * gains[0]
    again = train.overfit(GRAPH, lr, hr, steps=80, threads=2, options=options)
    assert equal(weights(found[True]), weights(again))


def test_only_dear_networks_learn_in_bf16_and_int8_never_does(monkeypatch):
    wanted = {"edge16-x2": False, "edge-dyn-x4": False, "dydca-x4": True, "wdsr2-x2": True}
    for name, dear in wanted.items():
        module = graph.load_module(models.all_models()[name])
        for has in (False, True):
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
            assert train.default_options(module).bf16 == (dear and has)
            assert not qat.default_options(module).bf16


def test_evaluate_is_the_mean_squared_error_of_8_bit_pictures():
    lr, hr = video()
    module = graph.load_module(GRAPH)
    graph.initialise(module, 0)
    squares = []
    for i in (0, 5):
        y = graph.resize(torch.from_numpy(lr.y[i].astype(np.float32) / 255)[None, None], 2)[
            0, 0
        ].numpy()
        code = np.clip(np.round(y * np.float32(255)), 0, 255)
        squares.append(np.mean((code - hr.y[i]) ** 2))
    psnr, bicubic = train.evaluate(module, [(0, 0), (0, 5)], [train.Source(lr, hr)])
    assert abs(bicubic - 10 * math.log10(255**2 / np.mean(squares))) < 1e-3
    assert abs(psnr - bicubic) < 1e-3  # an untrained network is the bicubic picture


def test_half_a_pixel_is_seen():
    """The sampler cuts both sides at the same place, to less than half a pixel."""
    lr, hr = video()
    sampler = train.Sampler([train.Source(lr, hr)], "y", 2, SMALL, {})
    sampler.weigh()
    x, t, edges = sampler.draw(np.random.default_rng(0), 40)
    aligned = (graph.resize(x, 2) - t).square().mean()
    shifted = (graph.resize(x, 2)[..., 1:] - t[..., :-1]).square().mean()
    assert aligned < 0.5 * shifted
    assert x.shape == (40, 1, 24, 24) and t.shape == (40, 1, 48, 48)
    # Edges are told truly: a patch at the top of the frame begins with the frame's first row.
    rows = {lr.y[n, 0, c : c + 24].tobytes() for n in range(len(lr)) for c in range(120 - 23)}
    for patch, (top, _, _, _) in zip(x, edges):
        first = (patch[0, 0] * 255).round().to(torch.uint8).numpy().tobytes()
        assert first in rows or not top
    assert {sides[0] for sides in edges} == {True, False}


def test_what_the_loss_sees():
    mask = train._scored([(True, False, False, True), (False,) * 4], (10, 12), 3)
    wanted = torch.zeros(2, 1, 10, 12)
    wanted[0, :, 0:7, 3:12] = 1
    wanted[1, :, 3:7, 3:9] = 1
    assert torch.equal(mask, wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_bits(threads):
    lr, hr = video()
    run = functools.partial(train.overfit, GRAPH, lr, hr, steps=12, threads=threads, options=SMALL)
    first, second, other = run(seed=5), run(seed=5), run(seed=6)
    assert equal(weights(first), weights(second)) and first.psnr == second.psnr
    assert not equal(weights(first), weights(other))


@pytest.mark.parametrize("optimiser", ["soap", "adam"])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, optimiser):
    lr, hr = video()
    options = train.Options(batch=4, patch=24, margin=1, optimiser=optimiser)
    run = functools.partial(train.overfit, GRAPH, lr, hr, steps=25, threads=2, options=options)
    whole = run()
    polled = []

    def stop_after_thirteen():
        polled.append(None)
        return len(polled) > 13

    checkpoint = tmp_path / "c"
    part = run(checkpoint_path=checkpoint, should_stop=stop_after_thirteen)
    assert not part.finished and part.steps == 13 and checkpoint.exists()
    rest = run(checkpoint_path=checkpoint)
    assert rest.finished and rest.steps == 25
    assert equal(weights(whole), weights(rest)) and whole.psnr == rest.psnr
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_checkpoint_of_another_run_or_a_torn_one_is_not_used(tmp_path):
    lr, hr = video()
    checkpoint = tmp_path / "c"
    stop = iter([False] * 5 + [True]).__next__
    train.overfit(
        GRAPH,
        lr,
        hr,
        steps=20,
        options=SMALL,
        threads=1,
        checkpoint_path=checkpoint,
        should_stop=stop,
    )
    fresh = train.overfit(GRAPH, lr, hr, steps=20, options=SMALL, threads=1, seed=9)
    other = train.overfit(
        GRAPH, lr, hr, steps=20, options=SMALL, threads=1, seed=9, checkpoint_path=checkpoint
    )
    assert equal(weights(fresh), weights(other))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    torn = train.overfit(
        GRAPH, lr, hr, steps=20, options=SMALL, threads=1, seed=9, checkpoint_path=checkpoint
    )
    assert equal(weights(fresh), weights(torn))


@pytest.mark.alone
def test_budget_is_kept_and_progress_is_told():
    lr, hr = video()
    train.overfit(GRAPH, lr, hr, steps=1, options=SMALL)  # PyTorch loads much of itself late
    told = []
    result = train.overfit(
        GRAPH,
        lr,
        hr,
        budget_seconds=4,
        options=SMALL,
        threads=2,
        progress=lambda *values: told.append(values),
    )
    assert result.finished and result.seconds < 8
    fractions = [fraction for fraction, _, _ in told]
    assert len(told) >= 3 and fractions == sorted(fractions) and fractions[-1] == 1.0
    assert told[-1][2] == result.psnr and all(math.isfinite(loss) for _, loss, _ in told)


@pytest.mark.alone
def test_a_short_budget_judges_by_fewer_frames(monkeypatch):
    """Where judging by all of them would leave no time to learn in, as int8's arithmetic of large
    frames in a tenth of a budget."""
    lr, hr = video()
    whole = train.overfit(GRAPH, lr, hr, steps=1, options=SMALL)  # and loads all of PyTorch
    assert len(whole.judged) == 8
    judge = train.Trainer.judge

    def slow(self, module, every=1):
        time.sleep(0.15 * len(self.pairs[::every]))
        return judge(self, module, every)
    monkeypatch.setattr(train.Trainer, "judge", slow)
    result = train.overfit(GRAPH, lr, hr, budget_seconds=2.5, options=SMALL, threads=1)
    assert result.steps > 3 and 1 <= len(result.judged) <= 4


def test_start_from_given_weights(tmp_path):
    lr, hr = video()
    first = train.overfit(GRAPH, lr, hr, steps=60, options=SMALL, threads=2)
    graph.export(first.module, tmp_path / "w", "f16")
    again = train.overfit(GRAPH, lr, hr, steps=1, options=SMALL, threads=2, init=tmp_path / "w")
    assert again.psnr >= first.psnr - 0.01  # the result is never below its start


def test_never_worse_than_its_start_and_says_when_it_is_no_better():
    """The wanted frames are the bicubic picture itself: nothing can be gained."""
    lr, _ = video()
    y = torch.from_numpy(lr.y.astype(np.float32) / 255)[:, None]
    wanted = (graph.resize(y, 2).clamp(0, 1) * 255).round()[:, 0].to(torch.uint8).numpy()
    result = train.overfit(GRAPH, lr, colour.Frames(wanted), steps=15, options=SMALL, threads=1)
    assert not result.better and result.chosen == "init"
    assert result.psnr > 90 and result.psnr_bicubic == math.inf


def test_diverged_training_is_an_error_and_single_nans_are_not(monkeypatch):
    lr, hr = video()
    calls = []
    true_loss = train._loss

    def sometimes(kind, y, t, fraction, bad=lambda n: n in (3, 7)):
        calls.append(None)
        loss = true_loss(kind, y, t, fraction)
        return loss * math.nan if bad(len(calls)) else loss

    monkeypatch.setattr(train, "_loss", sometimes)
    result = train.overfit(GRAPH, lr, hr, steps=40, options=SMALL, threads=1)
    assert all(torch.isfinite(value).all() for value in weights(result).values()) and result.better
    calls.clear()
    monkeypatch.setattr(train, "_loss", functools.partial(sometimes, bad=lambda n: n > 5))
    with pytest.raises(FloatingPointError, match="diverged at step"):
        train.overfit(GRAPH, lr, hr, steps=40, options=SMALL, threads=1)


def test_a_rate_that_kills_the_network_is_survived(monkeypatch):
    """A step that sets all weights to zero in the middle of the run: finite, and never repaired."""
    lr, hr = video()
    monkeypatch.setattr(train, "PROBE_STEPS", 20)
    true_advance = train.Trainer.advance
    cautions = []

    def advance(self, pool, fraction):
        if self.step == 90:
            with torch.no_grad():
                for parameter in self.parameters:
                    parameter.zero_()
        cautions.append(self.caution)
        return true_advance(self, pool, fraction)

    monkeypatch.setattr(train.Trainer, "advance", advance)
    result = train.overfit(GRAPH, lr, hr, steps=180, options=SMALL, threads=2)
    assert cautions[0] == 1 and cautions[-1] == 0.5
    assert result.psnr > result.psnr_bicubic + 1


@pytest.mark.parametrize("name", ["wdsr2-x2", "espcn-x2"])
def test_other_families_train(name):
    lr, hr = video()
    options = train.Options(batch=2, patch=16, margin=0, rate=2e-3)
    module = models.all_models()[name]
    result = train.overfit(
        module, lr, hr, steps=60, options=options, threads=2, colour=colour.Colour()
    )
    if name.startswith("wdsr"):  # it begins at bicubic; ESPCN has a long way from its random start
        assert result.better and result.psnr > result.psnr_bicubic + 0.3
    else:
        start = graph.load_module(module)
        graph.initialise(start, 0)
        assert result.psnr > train.evaluate(start, [(0, 6)], [train.Source(lr, hr)])[0] + 3


def test_a_basis_that_cannot_be_found_is_the_identity(monkeypatch):
    broken = torch.full((24, 24), math.nan)  # LAPACK gives up here as with sums of denormals
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.eigh(broken)
    assert torch.equal(optimiser._basis(broken), torch.eye(24))
    # Some processors' LAPACK does not give up, but answers NaN.
    monkeypatch.setattr(torch.linalg, "eigh", lambda m: (m[0], torch.full_like(m, torch.nan)))
    assert torch.equal(optimiser._basis(torch.eye(24)), torch.eye(24))


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_flat_video_trains_without_harm(level):
    lr = colour.Frames(np.full((10, 48, 64), level, np.uint8))
    hr = colour.Frames(np.full((10, 96, 128), level, np.uint8))
    result = train.overfit(models.all_models()["edge16-x2"], lr, hr, steps=3, options=SMALL)
    assert not result.better


def test_refusals():
    lr, hr = video()
    with pytest.raises(ValueError, match="give budget_seconds or steps"):
        train.overfit(GRAPH, lr, hr)
    with pytest.raises(ValueError, match="12 low-resolution frames for 6"):
        train.overfit(GRAPH, lr, colour.Frames(hr.y[:6]), steps=1)
    with pytest.raises(ValueError, match="240x144 is not 2 times 120x71"):
        train.overfit(GRAPH, colour.Frames(lr.y[:, :71]), hr, steps=1)
    with pytest.raises(ValueError, match="colour of the video is needed"):
        train.overfit(models.all_models()["wdsr2-x2"], lr, hr, steps=1)
    with pytest.raises(ValueError, match="needs chroma planes"):
        train.overfit(
            models.all_models()["wdsr2-x2"],
            colour.Frames(lr.y),
            colour.Frames(hr.y),
            steps=1,
            colour=colour.Colour(),
        )


# ---- what the file can hold ----

def white(monkeypatch, stored):
    """Training from black frames to white ones that sets the last biases to 1e6, which are white
    when clipped."""
    lr, hr = (colour.Frames(np.full((2, n, n), code, np.uint8)) for n, code in ((32, 0), (64, 255)))

    def leap(trainer, pool, fraction):
        with torch.no_grad():
            trainer.module.convolutions["tail"].bias.fill_(1e6)
        trainer.step += 1
        return 0.0
    monkeypatch.setattr(train.Trainer, "advance", leap)
    options = dataclasses.replace(SMALL, stored=stored)
    return functools.partial(train.overfit, GRAPH, lr, hr, steps=1, threads=1, options=options)


def test_weights_that_f16_cannot_hold_are_not_chosen(monkeypatch, tmp_path):
    overfit = white(monkeypatch, "f16")
    result = overfit()
    assert result.chosen == "init"
    graph.export(result.module, tmp_path / "p")
    with torch.no_grad():
        result.module.convolutions["tail"].bias[2] = -1e6
    graph.export(result.module, tmp_path / "p", "f32")
    with pytest.raises(ValueError, match=r"^tail.bias: -1e\+06 is beyond the range of f16 \(65504\)"):
        overfit(init=tmp_path / "p")


def test_bf16_keeps_its_range_and_is_what_is_judged(monkeypatch, tmp_path):
    result = white(monkeypatch, "bf16")()
    assert result.chosen == "raw"
    assert all(torch.equal(value, value.bfloat16().float()) for value in weights(result).values())
    assert float(weights(result)["tail.bias"][0]) == pytest.approx(1e6, rel=2**-8)
    graph.export(result.module, tmp_path / "p", "bf16")
