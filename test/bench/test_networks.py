# SPDX-License-Identifier: BSD-2-Clause
"""The forms that other engines get of a graph, against this project's PyTorch executor."""
import json

import numpy as np
import onnx
import pytest
import torch
from bench import lower, onnx_export, plan
from bench.network import Network, relative_rms
from conftest import ROOT
from onnx.reference import ReferenceEvaluator
from srpack.graph import load_module

MODELS = ("wdsr2-x4", "edge16-x3", "espcn-x2")
WIDTH, HEIGHT = 13, 9


@pytest.fixture(params=MODELS, scope="module")
def case(request):
    """Network, its input without the mean, and what the graph's module makes of it."""
    module = lower.random_module(ROOT / "models" / f"{request.param}.json")
    network = lower.lower(module, WIDTH, HEIGHT)
    picture = lower.picture(network.channels, WIDTH, HEIGHT)
    with torch.inference_mode():
        samples = torch.from_numpy(picture).float() / 255
        lower.calibrate(network, samples - module.mean)
        return network, picture, (samples - module.mean).numpy(), module(samples).numpy()


def test_lowered_network_is_the_graph(case):
    network, _, x, want = case
    got = lower.run(network, torch.from_numpy(x))[network.output].numpy()
    assert got.shape == want.shape == (1, network.channels, HEIGHT * network.scale,
                                       WIDTH * network.scale)
    assert relative_rms(got, want) < 1e-5
    assert network.shapes()[network.output] == got.shape[1:]


def test_onnx_computes_what_the_executor_does(case):
    network, _, x, want = case
    model = onnx_export.export(network)
    got = ReferenceEvaluator(model).run(None, {network.input: x})[0]
    assert relative_rms(got, want) < 1e-5


def test_int8_onnx_takes_and_gives_bytes_near_the_executor(case):
    network, picture, _, want = case
    model = onnx_export.export_int8(network)
    onnx.checker.check_model(model, full_check=True)
    got = ReferenceEvaluator(model).run(None, {network.input: picture})[0]
    scale, zero = network.unsigned(network.output)
    assert got.dtype == np.uint8
    assert relative_rms((got.astype(np.float32) - zero) * scale, want) < 0.08


def test_saved_network_is_the_same(case, tmp_path):
    network, _, x, want = case
    network.save(tmp_path / "network.npz")
    again = Network.load(tmp_path / "network.npz")
    got = lower.run(again, torch.from_numpy(x))[again.output].numpy()
    assert relative_rms(got, want) < 1e-5
    assert again.ranges.keys() == network.ranges.keys()


@pytest.mark.parametrize("in_place", (False, True))
def test_fused_steps_in_shared_memory(case, in_place):
    """Steps run in order with one value for each slot: a slot that is reused too early shows."""
    network, _, x, want = case
    steps = plan.steps(network)
    slot = plan.slots(steps, network.shapes(), network.input, in_place)
    assert len(set(slot.values())) < len(slot)
    memory = {slot[network.input]: torch.from_numpy(x)}
    for step in steps:
        single = Network(**{**vars(network), "ops": [step.op], "input": step.source})
        y = lower.run(single, memory[slot[step.source]])[step.op.output]
        if step.residual:
            y = y + memory[slot[step.residual]]
        memory[slot[step.target]] = torch.tanh(y) if step.activation == "tanh" else y
    assert relative_rms(memory[slot[network.output]].numpy(), want) < 1e-5


def test_plan_file_holds_the_network(case, tmp_path):
    network, picture, _, want = case
    plan.write(network, picture, want, tmp_path / "plan", in_place=True)
    text, _, data = (tmp_path / "plan").read_bytes().partition(b"data\n")
    tensors, steps, scale, channels = map(int, text.split(b"\n")[1].split())
    assert (scale, channels) == (network.scale, network.channels)
    assert len(text.split(b"\n")) == 2 + tensors + steps + 1
    weights = sum(op.weight.size + op.bias.size for op in network.ops if op.kind == "conv")
    assert len(data) == 4 * weights + picture.size + 4 * want.size


def test_what_cannot_be_expressed_is_refused():
    graph = json.loads((ROOT / "models" / "espcn-x2.json").read_text())
    graph["nodes"][0]["activation"] = "sigmoid"
    with pytest.raises(ValueError, match="cannot express node head"):
        lower.lower(load_module(graph), WIDTH, HEIGHT)
