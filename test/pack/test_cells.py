# SPDX-License-Identifier: BSD-2-Clause
"""Cheaper paths learn from the cells that they are going to be given: which those are, from what
patches, and that such a run repeats and resumes."""

import functools

import numpy as np
import pytest
import torch
from test_train import equal, video, weights

from srpack import cells, colour, graph, models, patches, train

TWO = models.dydca(2, width=4)
SHARED = models.edge_dyn(2, width=8, shallow=1, deep=3)
OPTIONS = train.Options(batch=2, patch=16, margin=0, rate=4e-3, looks=3, looked=4)


def source():
    lr, hr = video()
    found = train.Source(lr, hr, colour.Colour())
    found.statistics = patches.score(found, 2, cell=(24, 24), numbers=[0, 3, 6, 9])
    return found


def test_which_networks_have_cells_to_give():
    copies = models.chunked(models.all_models()["edge8-x2"], 3)  # of equal cost
    for value, answer in ((TWO, True), (SHARED, True), (copies, False),
                          (models.all_models()["edge8-x2"], False), (models.path(TWO, 1), False)):
        assert cells.can_be_given(graph.load_module(value)) == answer


def test_errors_are_those_of_the_patch_statistics():
    clip = source()
    module = graph.load_module(models.edge_dyn(2, width=8))
    graph.initialise(module, 1)
    found = cells.errors(module, clip, clip.statistics.numbers)
    assert found.shape == (4, 3, clip.statistics.rows, clip.statistics.columns)
    rounding = 0.5 * clip.statistics.pixels().max()  # only the statistics round to codes
    wanted = clip.statistics.squared(bicubic=True)
    assert np.allclose(found[:, 0] * 255**2, wanted, rtol=0.03, atol=rounding)


@pytest.mark.parametrize("seed", range(5))
def test_a_choice_loses_what_it_may_and_no_cheaper_threshold_does(seed):
    rng = np.random.default_rng(seed)
    macs, pixels = [0, 55, 100], np.full((3, 4), 10)
    squared = np.cumsum(rng.exponential(size=(6, 3, 3, 4)), 1)[:, ::-1]
    chosen = cells.choose(squared, macs, pixels, 0.5)

    def loss(paths):
        left = np.take_along_axis(squared, paths[:, None], 1).sum()
        return 10 * np.log10(left / squared[:, 2].sum())
    assert loss(chosen) <= 0.5
    slopes = cells.routes.slopes(squared, macs, pixels)
    least = min(slopes[:, 0][chosen >= 1].min(), slopes[:, 1][chosen == 2].min())
    assert loss((slopes > least).sum(1)) > 0.5


def test_where_the_dearest_is_all_that_helps_it_is_chosen():
    squared = np.ones((2, 3, 2, 2))
    squared[:, 2] = 0.1
    assert (cells.choose(squared, [0, 55, 100], np.full((2, 2), 9), 0.0) == 2).all()


def test_a_path_looks_at_its_own_cells():
    clip = source()
    sampler = train.Sampler([clip], "y", 2, train.Options(patch=4), {})
    chosen = np.full((4, clip.statistics.rows, clip.statistics.columns), 2)
    chosen[:, 1, 2] = 1
    sampler.weigh(0, [cells.favours(chosen, 1)])
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        _, top, left = sampler._place(rng, 0, (4, 4))
        inside += 24 - 4 < top + 2 < 48 + 4 and 48 - 4 < left + 2 < 72 + 4
    sampler.weigh(0)
    before = sum(24 - 4 < top + 2 < 48 + 4 and 48 - 4 < left + 2 < 72 + 4
                 for _, top, left in (sampler._place(rng, 0, (4, 4)) for _ in range(300)))
    assert inside > 2 * before


@pytest.mark.parametrize(("value", "threads"), [(TWO, 1), (TWO, 2), (SHARED, 2)])
def test_such_a_run_repeats_and_resumes(tmp_path, value, threads):
    run = functools.partial(train.train, value, [source()], steps=12, threads=threads, seed=5,
                            options=OPTIONS)
    whole, again = run(), run()
    assert equal(weights(whole), weights(again))
    polled = []

    def stop_after_seven():
        polled.append(None)
        return len(polled) > 7

    part = run(checkpoint_path=tmp_path / "c", should_stop=stop_after_seven)
    assert not part.finished and part.steps == 7
    rest = run(checkpoint_path=tmp_path / "c")
    assert equal(weights(whole), weights(rest)) and whole.psnr_of_path == rest.psnr_of_path


def test_cheaper_paths_draw_from_the_cells_they_were_given():
    clip = source()
    trainer = train.Trainer(graph.load_module(SHARED), [clip], OPTIONS, 0, 1, "cpu")
    assert trainer.samplers == {}
    trainer.give_cells()
    chosen = trainer.given[-1][0].numpy()
    assert chosen.shape == (4, clip.statistics.rows, clip.statistics.columns)
    assert list(trainer.samplers) == [1]
    assert trainer.samplers[1].tables is not trainer.sampler.tables
    without = train.Trainer(graph.load_module(SHARED), [train.Source(clip.lr, clip.hr)], OPTIONS, 0,
                            1, "cpu")
    assert not without.gives


def test_the_dearest_path_learns_as_it_did_and_the_cheaper_one_too():
    found = {}
    for looks in (0, 3):
        options = train.Options(batch=2, patch=16, margin=0, rate=4e-3, looks=looks, looked=4)
        found[looks] = train.train(TWO, [source()], steps=60, threads=2, options=options)
    for result in found.values():
        assert min(result.psnr_of_path[1:]) > result.psnr_bicubic + 0.2
    assert abs(found[3].psnr_of_path[2] - found[0].psnr_of_path[2]) < 0.3
    assert not torch.equal(weights(found[0])["shallow.tail.weight"],
                           weights(found[3])["shallow.tail.weight"])
