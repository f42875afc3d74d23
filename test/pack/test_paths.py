# SPDX-License-Identifier: BSD-2-Clause
"""Dynamic networks: what a path computes and costs, what is refused, and that all paths learn in
one run."""

import copy
import functools

import numpy as np
import pytest
import torch
from test_train import equal, video, weights

from srpack import colour, graph, models, patches, train

DYNAMIC = {name: g for name, g in models.all_models().items() if g["nodes"][-1]["op"] == "route"}
SMALL = train.Options(batch=4, patch=24, margin=1)
TINY = models.edge_dyn(2, width=8, shallow=1, deep=3)


def loaded(value, seed=3):
    module = graph.load_module(value)
    graph.initialise(module, seed)
    with torch.no_grad():  # nothing at zero, so that every part shows
        for parameter in module.named_tensors().values():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return module


def test_dynamic_models_have_these_names():
    expected = {f"edge-dyn-x{s}" for s in (1, 2, 3, 4)} | {f"dydca-x{s}" for s in (2, 3, 4)}
    assert set(DYNAMIC) == expected


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_path_is_the_graph_of_its_own(name):
    value = DYNAMIC[name]
    module = loaded(value)
    x = torch.rand(2, module.channels, 9, 12)
    with torch.no_grad():
        together = module.forward_paths(x, [2, 0, 1])
        for path, wanted in zip((2, 0, 1), together):
            alone = graph.load_module(models.path(value, path))
            for node, conv in alone.convolutions.items():
                conv.load_state_dict(module.convolutions[node].state_dict())
            assert torch.equal(alone(x), wanted)
            assert torch.equal(module(x, path), wanted)
            assert alone.macs_per_pixel == module.macs_of_path[path]
        assert torch.equal(module(x), module(x, module.default_path))
        assert torch.equal(module(x, 0), graph.resize(x - 0.5, module.scale) + 0.5)
    assert module.paths == 3 and module.default_path == 1
    assert module.macs_per_pixel == module.macs_of_path[2] > module.macs_of_path[1] > 0
    assert module.macs_of_path[0] == 0


def test_costs():
    assert graph.load_module(DYNAMIC["dydca-x2"]).macs_of_path == [0, 78948, 152676]
    assert graph.load_module(DYNAMIC["dydca-x4"]).macs_of_path == [0, 92016, 165744]
    cost = graph.load_module(DYNAMIC["edge-dyn-x2"]).macs_of_path
    assert 3000 <= cost[1] <= 6500 and 14000 <= cost[2] <= 20000
    assert graph.load_module(models.all_models()["edge16-x2"]).macs_of_path == [9936]


def test_a_path_computes_only_what_it_reads():
    module = loaded(DYNAMIC["edge-dyn-x2"])
    run = []
    for name, conv in module.convolutions.items():
        conv.register_forward_hook(lambda *_, name=name: run.append(name))
    x = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        module(x, 0)
        assert run == []
        module(x, 1)
        assert run and not any(name.startswith("deep") for name in run)
        run.clear()
        module.forward_paths(x, [1, 2])
    assert sorted(run) == sorted(module.convolutions)  # each once


@pytest.mark.parametrize("name", DYNAMIC)
def test_every_path_begins_at_bicubic(name):
    module = graph.load_module(DYNAMIC[name])
    graph.initialise(module, 3)
    x = torch.rand(1, module.channels, 9, 11)
    edge = 2 * module.scale
    with torch.no_grad():
        for y in module.forward_paths(x, range(module.paths)):
            difference = (y - graph.resize(x, module.scale)).abs()
            assert difference[..., edge:-edge, edge:-edge].max() < 1e-5


def broken(**changes):
    value = copy.deepcopy(TINY)
    value["nodes"][-1].update(changes)
    return value


def test_refusals():
    beyond = broken(output="z")
    beyond["nodes"].append({"op": "add", "name": "a", "inputs": ["z", "b"], "output": "y"})
    cases = {
        "1 paths, not 2 to 8": broken(inputs=["b"]),
        "9 paths, not 2 to 8": broken(inputs=["b"] * 9),
        "b is two of its paths": broken(inputs=["b", "y1", "y2", "b"]),
        "no path 3": broken(default=3),
        "no path None": broken(default=None),
        "cannot run 'route' on channels": broken(inputs=["shallow.d", "y1", "y2", "h0"]),
        "a route makes the graph's output": beyond,
    }
    cases["cannot run 'route' on channels"]["nodes"][1]["channels"] = 8
    for message, value in cases.items():
        with pytest.raises(ValueError, match=message):
            try:
                graph.load_module(value)
            except ValueError as error:
                # Tensors of different size are refused before their channels are looked at.
                text = str(error).replace(
                    "inputs of different size", "cannot run 'route' on channels"
                )
                raise ValueError(text) from error
    own = models.edge_dyn(1, width=8, shallow=1, deep=2)
    own["nodes"][-1]["inputs"] = ["x", "y1", "y2", "b"]
    with pytest.raises(ValueError, match="the graph's input x is no path"):
        graph.load_module(own)


@pytest.mark.parametrize("name", ["edge8-x2", "edge8-x1", "wdsr2-x3"])
def test_copies_of_a_network_are_the_paths_of_one(name):
    single = models.all_models()[name]
    value = models.chunked(single, 3)
    module = loaded(value)
    assert module.paths == 4 and module.default_path == 0
    assert len(set(module.macs_of_path[1:])) == 1
    alone = graph.load_module(single)
    x = torch.rand(1, module.channels, 8, 10)
    with torch.no_grad():
        assert torch.equal(module(x), graph.resize(x - 0.5, module.scale) + 0.5)
        for number in (1, 2, 3):
            for node, conv in alone.convolutions.items():
                conv.load_state_dict(module.convolutions[f"g{number}_{node}"].state_dict())
            assert torch.equal(alone(x), module(x, number))
    with pytest.raises(ValueError, match="9 paths"):
        graph.load_module(models.chunked(single, 8))


# ---- training ----------------------------------------------------------------------------


def test_all_paths_learn_and_the_dearest_is_best():
    lr, hr = video()
    result = train.overfit(TINY, lr, hr, steps=250, seed=1, threads=2, options=SMALL)
    base, shallow, deep = result.psnr_of_path
    assert abs(base - result.psnr_bicubic) < 1e-4 and result.psnr == deep
    assert shallow > base + 1 and deep > shallow and result.better
    again, bicubic = train.evaluate(result.module, [(0, i) for i in range(len(lr))],
                                    [train.Source(lr, hr)])
    assert abs(again - deep) < 1 and abs(bicubic - base) < 1


def test_two_bodies_on_rgb_learn():
    lr, hr = video()
    options = train.Options(batch=2, patch=16, margin=0, rate=4e-3)
    value = models.dydca(2, width=8)
    result = train.overfit(value, lr, hr, steps=60, options=options, threads=2,
                           colour=colour.Colour())
    assert min(result.psnr_of_path[1:]) > result.psnr_bicubic + 0.2


def test_same_seed_same_bits_and_resumed_equals_uninterrupted(tmp_path):
    lr, hr = video()
    run = functools.partial(train.overfit, TINY, lr, hr, steps=16, threads=2, options=SMALL)
    whole, again = run(seed=5), run(seed=5)
    assert equal(weights(whole), weights(again)) and whole.psnr_of_path == again.psnr_of_path
    polled = []

    def stop_after_nine():
        polled.append(None)
        return len(polled) > 9

    part = run(seed=5, checkpoint_path=tmp_path / "c", should_stop=stop_after_nine)
    assert not part.finished and part.steps == 9
    rest = run(seed=5, checkpoint_path=tmp_path / "c")
    assert equal(weights(whole), weights(rest)) and whole.psnr_of_path == rest.psnr_of_path


def test_routing_keeps_the_quality_of_the_dearest_path_for_less():
    """The point of it all, in small: noise in one corner, a plain ramp elsewhere."""
    lr, hr = video()
    result = train.overfit(TINY, lr, hr, steps=200, seed=1, threads=2, options=SMALL)
    module = result.module
    squared = []
    for path in range(module.paths):
        value = models.path(TINY, path)
        if path == 0:
            found = patches.score(train.Source(lr, hr), 2, cell=(24, 24))
        else:
            single = graph.load_module(value)
            for node, conv in single.convolutions.items():
                conv.load_state_dict(module.convolutions[node].state_dict())
            found = patches.score(train.Source(lr, hr), 2, module=single, cell=(24, 24))
        squared.append(found.squared())
    squared = np.stack(squared)
    pixels = np.broadcast_to(found.pixels() // 4, squared.shape[1:])
    deep = module.macs_of_path[2] * pixels.sum()
    chosen, spent = patches.spend(squared, module.macs_of_path, pixels, 0.6 * deep)
    assert spent <= 0.6 * deep and set(np.unique(chosen)) <= {0, 1, 2}
    routed = np.take_along_axis(squared, chosen[None], 0).sum()
    assert 10 * np.log10(routed / squared[2].sum()) < 0.3
    free, all_of_it = patches.spend(squared, module.macs_of_path, pixels, deep)
    assert all_of_it <= deep
    assert np.take_along_axis(squared, free[None], 0).sum() <= squared[2].sum() * (1 + 1e-9)


@pytest.mark.parametrize("level", [0, 255])
def test_flat_and_single_frames_train_without_harm(level):
    lr = colour.Frames(np.full((1, 40, 34), level, np.uint8))
    hr = colour.Frames(np.full((1, 79, 67), level, np.uint8))
    result = train.overfit(TINY, lr, hr, steps=3, options=SMALL)
    assert not result.better and len(result.psnr_of_path) == 3


def test_one_pixel():
    lr, hr = (colour.Frames(np.full((1, n, n), 90, np.uint8)) for n in (1, 2))
    result = train.overfit(TINY, lr, hr, steps=2, options=SMALL, threads=1)
    assert result.finished


def test_a_graph_without_a_convolution_has_nothing_to_train():
    lr, hr = video()
    with pytest.raises(ValueError, match="nothing to train"):
        train.overfit(models.path(TINY, 0), lr, hr, steps=1)


