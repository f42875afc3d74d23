# SPDX-License-Identifier: BSD-2-Clause
"""Patch statistics, what the policies make of them, and STDO's groups."""

import math

import numpy as np
import pytest
import torch
from test_train import equal, video, weights

from srpack import colour, general, graph, measure, models, patches, sampler, stdo, train

GRAPH = models.edge(4, 2, middle=1)
SMALL = train.Options(batch=4, patch=16, margin=1, groups=2)


def scored(**options):
    lr, hr = video()
    return patches.score(train.Source(lr, hr), 2, cell=(32, 18), **options)


def test_errors_are_sums_over_cells():
    lr, hr = video()
    found = scored(numbers=[0, 7])
    assert (found.model, found.columns, found.rows) == ("bicubic", 4, 4)
    y = graph.resize(torch.from_numpy(lr.y[7].astype(np.float32) / 255)[None, None], 2)[0, 0]
    code = np.clip(np.round(y.numpy() * np.float32(255)), 0, 255)
    squares = (code - hr.y[7].astype(float)) ** 2
    for row in range(4):
        for column in range(4):  # the last column is 120 - 96 = 24 pixels wide
            part = squares[36 * row : 36 * row + 36, 64 * column : 64 * column + 64]
            assert found.squared()[1, row, column] == pytest.approx(part.sum())
            assert found.pixels()[row, column] == part.size
            psnr = 10 * math.log10(255**2 / part.mean())
            assert found.psnr()[1, row, column] == pytest.approx(psnr)
    assert np.array_equal(found.error, found.bicubic)
    assert found.error.sum() == pytest.approx(found.squared().sum())


def test_padding_does_not_count():
    whole, part = scored(), scored(shown=(150, 71))
    assert part.pixels().sum() == 150 * 71 and part.pixels()[3].sum() == 0
    assert np.isnan(part.psnr()[:, 2:]).all() and not np.isnan(part.psnr()[:, :2, :3]).any()
    assert np.array_equal(part.squared()[:, 0, 0], whole.squared()[:, 0, 0])
    assert (part.labels(3)[:, 2:] == 2).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (427, 240), (33, 57)])
@pytest.mark.parametrize("cell", [(48, 54), (8, 8), (64, 60), (1024, 1024)])
def test_any_size_and_grid(size, cell):
    width, height = size
    rng = np.random.default_rng(1)
    lr = colour.Frames(rng.integers(0, 256, (2, height, width), dtype=np.uint8))
    hr = colour.Frames(rng.integers(0, 256, (2, 2 * height - 1, 2 * width - 1), dtype=np.uint8))
    found = patches.score(train.Source(lr, hr), 2, cell=cell)
    assert found.pixels().sum() == (2 * height - 1) * (2 * width - 1)
    assert found.squared().shape == (2, -(-height // cell[1]), -(-width // cell[0]))
    assert found.spread(found.pixels()).shape == found.block_pixels().shape


def test_general_model_judges_better_than_bicubic():
    module, digest = patches.general_model(2)
    assert module is not None and len(digest) == 64
    found = scored(numbers=[3], module=module, digest=digest)
    assert found.model == "edge16-x2" and found.error.sum() < found.bicubic.sum()
    assert patches.general_model(2, general.ROOT / "nowhere") == (None, "")


def test_saved_and_loaded_and_made_anew_when_it_must(tmp_path):
    path = tmp_path / "patches.npz"
    lr, hr = video()
    source = train.Source(lr, hr)
    first = patches.ensure(path, source, 2, numbers=[0, 6])
    stamp = path.stat().st_mtime_ns
    again = patches.ensure(path, source, 2, numbers=[0, 6])
    assert path.stat().st_mtime_ns == stamp
    for name in ("error", "bicubic", "numbers"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert (first.cell, first.size, first.shown) == (again.cell, again.size, again.shown)
    patches.ensure(path, source, 2, numbers=[0, 7])
    assert path.stat().st_mtime_ns != stamp
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="patches.npz"):
        patches.load(path)
    assert len(patches.ensure(path, source, 2).numbers) == 12
    np.savez(tmp_path / "other.npz", format=9)
    with pytest.raises(ValueError, match="format 9"):
        patches.load(tmp_path / "other.npz")


def test_groups_are_quantiles_of_equal_number():
    found = scored()
    labels, psnr = found.labels(4), found.psnr()
    counts = np.bincount(labels.ravel(), minlength=4)
    assert counts.sum() == labels.size and counts.max() - counts.min() <= 1
    for group in range(3):
        assert psnr[labels == group].max() <= psnr[labels == group + 1].min()
    assert (found.labels(1) == 0).all()
    assert list(patches.shares(4)) == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert list(patches.shares(1)) == [1] and list(patches.shares(2)) == [1, 0]


def test_policies():
    found = scored()
    labels = found.spread(found.labels(4))
    joint = patches.weights(found, "joint", 0.0)
    for group, share in enumerate(patches.shares(4)):
        assert joint[labels == group] == pytest.approx(share)
    assert patches.weights(found, "uniform").min() == 1
    hard = patches.weights(found, "group", group=0)
    assert np.array_equal(hard > 0, labels == 0)
    subset = patches.weights(found, "subset", rng=np.random.default_rng(0))
    assert 0.3 < subset.mean() < 0.7  # joint keeps half of four groups
    steep = patches.weights(found, "weighted", 0.5)
    assert steep[labels == 0].mean() > 2 * steep[labels == 3].mean()
    with pytest.raises(ValueError, match="unknown training policy"):
        patches.weights(found, "curious")


def test_patches_are_drawn_where_the_policy_says():
    lr, hr = video()
    source = train.Source(lr, hr, statistics=scored())
    options = train.Options(patch=8, policy="group", groups=4, group=0)
    drawn = sampler.Sampler([source], "y", 2, options, {0: {0, 1}})
    drawn.weigh()
    labels, rng = source.statistics.labels(4), np.random.default_rng(3)
    for _ in range(200):
        frame, top, left = drawn._place(rng, 0, (8, 8))
        near = labels[frame, max(0, top - 1) // 18 : (top + 9) // 18 + 1,
                      max(0, left - 1) // 32 : (left + 9) // 32 + 1]
        assert frame not in (0, 1) and (near == 0).any()


def test_spending_takes_the_steepest_gains_first():
    squared = np.array([[100.0, 100, 100, 7], [50, 90, 100, 9], [40, 0, 100, 9]])
    pixels = np.array([10, 10, 10, 10])
    chosen, spent = patches.spend(squared, [0, 1, 3], pixels, 30)
    # Cell 1: its hull leads straight to path 2 (100 / 30); cell 0: path 1 (50 / 10) comes first.
    assert list(chosen) == [1, 0, 0, 0] and spent == 10
    chosen, spent = patches.spend(squared, [0, 1, 3], pixels, 40)
    assert list(chosen) == [1, 2, 0, 0] and spent == 40
    chosen, spent = patches.spend(squared, [0, 1, 3], pixels, 1000)
    assert list(chosen) == [2, 2, 0, 0] and spent == 60


# ---- STDO: a model for each group ---------------------------------------------------------


def grouped(**options):
    lr, hr = video()
    source = train.Source(lr, hr, statistics=scored())
    return stdo.overfit_groups(GRAPH, 2, source, steps=60, threads=2, options=SMALL, **options)


def test_each_copy_is_best_on_its_own_group():
    found = grouped()
    assert found.finished and found.better and found.steps == 60
    assert found.labels.shape == (12, 4, 4) and set(np.unique(found.labels)) == {1, 2}
    assert found.psnr > found.psnr_bicubic + 0.3
    assert found.psnr >= max(found.psnr_of_path) - 0.05
    module = found.module
    assert module.paths == 3 and module.default_path == 0
    again = grouped()
    assert equal(weights(found), weights(again)) and found.psnr == again.psnr


def test_groups_resume(tmp_path):
    whole = grouped(seed=4)
    polled = []

    def stop_in_the_second():
        polled.append(None)
        return len(polled) > 45

    part = grouped(seed=4, folder=tmp_path, should_stop=stop_in_the_second)
    assert not part.finished and part.module is None and 30 < part.steps < 60
    rest = grouped(seed=4, folder=tmp_path)
    assert rest.finished and rest.steps == 60
    assert equal(weights(whole), weights(rest)) and whole.psnr == rest.psnr


def test_groups_need_every_frame():
    lr, hr = video()
    source = train.Source(lr, hr, statistics=scored(numbers=[0, 5]))
    with pytest.raises(ValueError, match="statistics of every frame"):
        stdo.overfit_groups(GRAPH, 2, source, steps=4)


def test_more_groups_than_cells():
    lr = colour.Frames(np.full((1, 16, 16), 9, np.uint8))
    hr = colour.Frames(np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8))
    source = train.Source(lr, hr)
    source.statistics = patches.score(source, 2)
    found = stdo.overfit_groups(GRAPH, 3, source, steps=6, threads=1, options=SMALL)
    assert found.finished and list(np.unique(found.labels)) == [1]


def test_statistics_of_another_clip_are_refused():
    lr, hr = video()
    other = scored()
    with pytest.raises(ValueError, match="patch statistics of 120x72 at scale 2 for 60x36"):
        train.overfit(GRAPH, colour.Frames(lr.y[:, ::2, ::2]), colour.Frames(hr.y[:, ::2, ::2]),
                      steps=1, statistics=other)


# ---- from edge16 to edge-dyn --------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_dynamic_network_grows_from_the_plain_one(scale, tmp_path):
    value = models.all_models()[f"edge-dyn-x{scale}"]
    weights_file = general.ROOT / f"models/general/edge16-x{scale}.safetensors"
    start = general.grow(value, weights_file, tmp_path / "start")
    module, _ = patches.general_model(scale)
    grown = graph.load_module(value)
    graph.load_parameters(grown, start)
    x = torch.rand(1, 1, 12, 14) * 0.5 + 0.25
    with torch.no_grad():
        base, shallow, deep = grown.forward_paths(x, [0, 1, 2])
        plain = module(x)
        assert torch.equal(shallow, base)
        assert (deep - plain).square().mean() < 0.3 * (plain - base).square().mean()
    assert general.grow(models.all_models()["wdsr2-x2"], weights_file, tmp_path / "no") is None


# ---- figures ------------------------------------------------------------------------------


def test_filters():
    x = torch.rand(2, 7, 9, dtype=torch.float32)
    for scale in (2, 3, 4):
        same = graph.resize(x[None], scale)[0]
        assert torch.allclose(measure.enlarge(x, scale), same, atol=2e-6)
        flat = measure.enlarge(torch.full((1, 5, 5), 0.25), scale, measure.lanczos)
        assert torch.allclose(flat, torch.full_like(flat, 0.25), atol=1e-6)
    ramp = torch.arange(20.0).expand(4, 20)  # a co-sited sample stays where it is
    wide = measure.enlarge(ramp, 2, cosited=(True, False))[0]
    assert wide[8] == pytest.approx((8 + 0.25) / 2 - 0.25, abs=0.03)


def test_two_ways_to_count():
    lr, hr = video()
    source = train.Source(lr, hr, colour.Colour())
    judge = measure.Judge(source, 2, cell=(32, 18))
    figures = judge.psnr(judge.filtered, [0, 5])
    assert figures["frame_y"] == pytest.approx(
        train.evaluate_paths(graph.load_module(GRAPH), [(0, 0), (0, 5)], [source])[1], abs=1e-6)
    total, count = 0.0, 0
    for index in (0, 5):
        squares = np.square(judge.filtered(index)[0] - judge.truth(index)[0])
        for row in range(4):
            for left in (0, 64, 128, 192):
                part = squares[36 * row + 6 : 36 * row + 30, left + 6 : min(left + 64, 240) - 6]
                total, count = total + part.mean(dtype=np.float64), count + 1
    assert figures["patch_y"] == pytest.approx(10 * math.log10(255**2 * count / total))
    assert judge.psnr(judge.truth, [2])["frame_rgb"] == 100
    assert set(figures) == {"frame_y", "frame_rgb", "patch_y", "patch_rgb"}


def test_a_choice_takes_each_cell_from_its_path():
    lr, hr = video()
    value = models.edge_dyn(2, width=4, shallow=1, deep=2)
    module = graph.load_module(value)
    graph.initialise(module, 1)
    with torch.no_grad():
        for parameter in module.named_tensors().values():
            parameter.add_(0.05)
    judge = measure.Judge(train.Source(lr, hr, colour.Colour()), 2, cell=(32, 18))
    whole = [judge.made(module, 0, np.full((4, 4), path))[0] for path in range(3)]
    choice = np.random.default_rng(0).integers(0, 3, (4, 4))
    luma = judge.made(module, 0, choice)[0]
    for row in range(4):
        for column in range(4):
            area = np.s_[36 * row : 36 * row + 36, 64 * column : 64 * column + 64]
            assert np.array_equal(luma[area], whole[choice[row, column]][area])
