# SPDX-License-Identifier: BSD-2-Clause
"""Training on CUDA, on a stand-in for it (standin.py): nothing mixes devices, the run is that of
the CPU, clocks are read when the device is done, and where it fails the CPU goes on."""

import argparse
import dataclasses
import functools
import math
import types
import warnings

import numpy as np
import pytest
import standin
import torch
from test_cells import SHARED, TWO
from test_train import GRAPH, SMALL, equal, video, weights

from srpack import (colour, device, fake, graph, measure, models, paper, patches, qat, quant,
                    ranges, train, updates)

OPTIONS = train.Options(batch=4, patch=16, margin=1, rate=4e-3, looks=2, looked=2)


@pytest.fixture(autouse=True)
def alike(monkeypatch):
    """Both devices round alike: one thread, one layout of tensors."""
    monkeypatch.setattr(torch, "channels_last", torch.contiguous_format)
    monkeypatch.setattr(train, "PROBE_STEPS", 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def source():
    """Four frames, two of them judged."""
    lr, hr = (colour.Frames(f.y[:4], f.u[:4], f.v[:4]) for f in video())
    found = train.Source(lr, hr, colour.Colour())
    found.statistics = patches.score(found, 2, cell=(24, 24), numbers=[0, 2])
    return found


def overfit(**more):
    clip = source()
    return train.overfit(GRAPH, clip.lr, clip.hr, options=SMALL, **more)


def both(run):
    """Results of run() on the CPU and on the stand-in."""
    here = run()
    with standin.present() as it:
        there = run()
        assert it.operators > 100
    return here, there


def on_the_cpu(module):
    tensors = [*module.state_dict().values(), *getattr(module, "latent", {}).values()]
    return not any(isinstance(tensor, standin.Tensor) for tensor in tensors)


def test_the_stand_in_refuses_what_cuda_refuses():
    with standin.present():
        here, there = torch.ones(2, 3), torch.ones(2, 3).to("cuda")
        assert str(there.device) == "cuda:0" and str((there + 1).cpu().device) == "cpu"
        assert torch.equal((there * torch.tensor(2.0)).cpu(), here * 2)
        assert torch.equal(there[:, [0, 2]].cpu(), here[:, [0, 2]])
        for mixed in (lambda: there + here, lambda: here.add_(there), lambda: there @ here.T,
                      lambda: torch.cat((there, here)), lambda: torch.tensor(1.0).add_(there[0, 0]),
                      lambda: torch.stack((there.mean(), torch.tensor(1.0)))):
            with pytest.raises(RuntimeError, match="two different devices"):
                mixed()
        for read in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="to numpy"):
                read()


@pytest.mark.parametrize(("value", "known", "steps", "more"), [
    (GRAPH, False, 12, {"loss": "mixed"}),  # SOAP refreshes its bases after ten
    (GRAPH, True, 4, {"optimiser": "adam", "policy": "group", "groups": 2, "group": 1}),
    (models.all_models()["espcn-x2"], False, 4, {"margin": 0, "loss": "charbonnier"}),
    (SHARED, True, 4, {}),
    (SHARED, False, 4, {"loss": "l1"}),
    (TWO, True, 4, {}),
])
def test_a_run_is_that_of_the_cpu_by_one_replica_in_f32(value, known, steps, more, capsys):
    clip = source()
    clip.statistics = clip.statistics if known else None
    options = dataclasses.replace(OPTIONS, **more)
    run = functools.partial(train.train, value, [clip], steps=steps, seed=3)
    here = run(threads=1, options=options)
    with standin.present() as it:
        there = run(threads=3, options=dataclasses.replace(options, bf16=True))
        assert it.operators > 100
    assert equal(weights(here), weights(there)) and on_the_cpu(there.module)
    assert here.psnr_of_path == there.psnr_of_path and here.chosen == there.chosen
    assert capsys.readouterr().err == ""


def test_a_step_that_kills_the_network_is_undone(monkeypatch):
    """By weights that were kept on the device."""
    clip, looked = source(), []
    true_look = train.Trainer.look

    def look(self):
        looked.append(self.caution)
        if len(looked) % 4 == 3:
            with torch.no_grad():
                for parameter in self.parameters:
                    parameter.fill_(math.nan)
        true_look(self)
    monkeypatch.setattr(train.Trainer, "look", look)
    here, there = both(lambda: train.train(GRAPH, [clip], steps=14, threads=1, options=OPTIONS))
    assert equal(weights(here), weights(there)) and looked[3] == 0.5


def test_a_stopped_run_goes_on_and_no_other_does(tmp_path):
    run = functools.partial(train.train, SHARED, [source()], steps=8, threads=1, options=OPTIONS)
    whole, checkpoint = run(), tmp_path / "c"
    with standin.present():
        part = run(checkpoint_path=checkpoint, should_stop=iter([False] * 5 + [True]).__next__)
        assert not part.finished and part.steps == 5
    other = run(checkpoint_path=checkpoint, should_stop=lambda: True)
    assert other.steps == 0  # the CPU's own run begins anew, as its bits are others
    with standin.present():
        run(checkpoint_path=checkpoint, should_stop=iter([False] * 5 + [True]).__next__)
        rest = run(checkpoint_path=checkpoint)
    assert rest.finished and equal(weights(whole), weights(rest))


def test_training_in_int8():
    clip = source()
    module = graph.load_module(SHARED)
    graph.initialise(module, 1)
    found = ranges.collect(module, clip.lr, clip.colour)
    names = qat.candidates(module)[:1]

    def run():
        made = fake.Module(module, found, names)
        made.compensate(qat.errors(module, qat.samples(module, clip)))
        return qat.tune(made, clip, steps=4, threads=1)
    here, there = both(run)
    assert on_the_cpu(there.module)
    it = types.SimpleNamespace(base=here.module)  # of chunks' updates, which read what was trained
    assert equal(*(updates.Updater.still(it, one.module, 1.0).state_dict()
                   for one in (here, there)))
    assert quant.report(here.module) == quant.report(there.module)
    files = [quant.file_tensors(one.module) for one in (here, there)]
    assert equal(*files) and here.psnr_of_path == there.psnr_of_path


def test_the_comparison_of_papers():
    clip = source()
    o = argparse.Namespace(family="edge", models=2, steps=4, threads=1, mac_share=60)
    judge = measure.Judge(clip, 2, (24, 24))
    stop = types.SimpleNamespace(requested=False, check=lambda: None)
    bench = paper.Bench(o, clip, judge, 2, 6000, [0, 3], stop)
    for method in ("time-chunks", "dydca"):
        here, there = both(lambda method=method: paper.RUNS[method](bench, 0))
        assert here == there


def test_figures_are_of_f32_and_kernels_repeat():
    flags = torch.backends.cudnn
    before, seen = (flags.deterministic, flags.allow_tf32), []

    def stop():
        seen.append((flags.deterministic, flags.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return False
    with standin.present():
        overfit(steps=1, should_stop=stop)
    assert set(seen) == {(True, False, False)}
    assert (flags.deterministic, flags.allow_tf32) == before


def test_a_clock_is_read_when_the_device_is_done(monkeypatch, tmp_path):
    now = [0.0]

    def monotonic():
        assert not standin.device.pending
        now[0] += 0.01
        return now[0]
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.2)
    with standin.present():
        result = overfit(budget_seconds=0.6, checkpoint_path=tmp_path / "c")
    assert result.finished and result.steps > 5 and 0.4 < result.seconds < 0.6


MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")
LOST = RuntimeError("CUDA error: unspecified launch failure")


@pytest.mark.parametrize(("error", "lost"), [(MEMORY, False), (LOST, True)])
@pytest.mark.parametrize("after", [0, 4])
def test_where_the_device_fails_the_cpu_goes_on(monkeypatch, capsys, error, lost, after):
    steps, done = [], train.Trainer.advance
    with standin.present() as it:
        def advance(self, pool, fraction):
            steps.append(self.device)
            if len(steps) == after + 1:
                it.fail(30, error, lost)
            return done(self, pool, fraction)
        monkeypatch.setattr(train.Trainer, "advance", advance)
        result = overfit(steps=9, threads=2, seed=1)
    assert result.finished and result.steps == 9 and on_the_cpu(result.module)
    # What the device did is kept, but where it is lost with it.
    assert steps == ["cuda"] * (after + 1) + ["cpu"] * (9 if lost else 9 - after)
    told = capsys.readouterr().err
    assert told.startswith("srpack: note: CUDA failed, training goes on on the CPU: CUDA ")
    assert told.count("\n") == 1
    if lost:  # all over again
        assert equal(weights(result), weights(overfit(steps=9, threads=2, seed=1)))


def test_a_mix_up_is_no_failure_of_the_device():
    for text in ("Expected all tensors to be on the same device, but found at least two devices, "
                 "cuda:0 and cpu!", "The size of tensor a (3) must match"):
        assert not device.failed(RuntimeError(text), "cuda")
    assert device.failed(MEMORY, "cuda") and not device.failed(MEMORY, "cpu")


def test_a_device_that_cannot_be_used_is_said_and_passed_over(monkeypatch, capsys):
    with standin.present() as it:
        assert device.choose() == "cuda" and not it.pending
        it.fail(2, RuntimeError("CUDA error: no kernel image is available\nfor execution"), True)
        assert device.choose() == "cpu"
    assert capsys.readouterr().err == (
        "srpack: note: CUDA cannot be used, training runs on the CPU: CUDA error: no kernel image "
        "is available for execution\n")

    def available():
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old")
        return False
    monkeypatch.setattr(torch.cuda, "is_available", available)
    assert device.choose() == "cpu"
    assert "CPU: CUDA initialization: The NVIDIA driver" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose() == "cpu" and capsys.readouterr().err == ""
