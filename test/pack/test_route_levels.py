# SPDX-License-Identifier: BSD-2-Clause
"""Gains to levels, the choice, the threshold, coding over time, and the bytes of docs/format.md."""
import itertools
import json
import struct
import types

import numpy as np
import pytest
from routed import route_graph

from srpack import package, routes, routing, tools, work
from srpack.errors import PackError

MACS = [0.0, 2000.0, 9000.0, 40000.0]


def threshold_for(errors, levels_, macs, pixels, loss_db: float, samples: int):
    """(threshold, PSNR, share of the MACs of the dearest path everywhere) of a clip. `samples`:
    output samples of all its frames."""
    total = routes.account(errors, levels_, macs, pixels)
    t = routes.best_threshold(total, loss_db)
    return t, routes.psnr(total.error[t], samples), float(total.macs[t] / total.path_macs[-1])


def clip(frames=6, size=(100, 70), cell=(32, 24), paths=3, seed=1, noise=1.0):
    """(errors, macs, grid): cells of very different worth; dearer paths mostly leave less."""
    grid, rng = routes.Grid(*size, *cell), np.random.default_rng(seed)
    base = rng.lognormal(3, 2, (1, 1, grid.rows, grid.columns)) * grid.pixels
    left = np.array([1.0, 0.6, 0.5, 0.35])[:paths, None, None]
    errors = base * left * rng.lognormal(0, 0.3 * noise, (frames, paths, grid.rows, grid.columns))
    return errors, MACS[:paths], grid


def pooled(gains, costs):
    """Pool-adjacent-violators, step by step: gain for cost that does not rise."""
    blocks = []
    for gain, cost in zip(gains, costs):
        blocks.append([gain, cost, 1])
        while len(blocks) > 1 and blocks[-1][0] / blocks[-1][1] > blocks[-2][0] / blocks[-2][1]:
            gain, cost, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + gain, blocks[-1][1] + cost, blocks[-1][2] + count]
    return [g / c for g, c, n in blocks for _ in range(n)]


def test_cells_at_the_edge_have_what_is_left():
    grid = routes.Grid(100, 70, 32, 24)
    assert (grid.columns, grid.rows) == (4, 3)
    assert grid.pixels.sum() == 7000 and grid.pixels[0, 0] == 768 and grid.pixels[2, 3] == 4 * 22


@pytest.mark.parametrize("paths", [2, 3, 4])
def test_slopes_are_pooled(paths):
    errors, macs, grid = clip(paths=paths, seed=paths, noise=3)
    got = routes.slopes(errors, macs, grid.pixels)
    for f, r, c in np.ndindex(len(errors), grid.rows, grid.columns):
        costs = np.diff(macs) * grid.pixels[r, c] / 1e6
        wanted = pooled(-np.diff(errors[f, :, r, c]), costs)
        assert got[f, :, r, c] == pytest.approx(wanted)


def test_the_choice_is_the_best_at_its_slope():
    """Of all choices, the one by slope has the least error plus slope times cost, cell by cell."""
    errors, macs, grid = clip(paths=4, noise=3)
    slopes = routes.slopes(errors, macs, grid.pixels)
    assert (np.diff(slopes, axis=1) <= 1e-9).all()
    cost = np.array(macs)[:, None, None] * grid.pixels / 1e6
    for slope in (0.5, 3.0, 40.0, 1000.0):
        chosen = (slopes >= slope).sum(1)
        total = errors + slope * cost
        taken = np.take_along_axis(total, chosen[:, None], 1)[:, 0]
        assert taken == pytest.approx(total.min(1))


def test_levels_are_those_of_the_format():
    grid = routes.Grid(32, 24, 32, 24)
    for gain, level in [(0.999, 0), (-5, 0), (0, 0), (1, 1), (1.18, 1), (1.2, 2), (2**0.5, 2),
                        (2, 3), (64, 13), (2**31.5, 64), (1e30, 64)]:
        errors = np.zeros((1, 2, 1, 1))
        cost = 2000 * 32 * 24 / 1e6
        errors[0, 1] = max(0, -gain * cost)
        errors[0, 0] = errors[0, 1] + gain * cost
        assert routes.levels(errors, [0, 2000], grid.pixels).ravel()[0] == level, gain
    with pytest.raises(ValueError, match="cost more"):
        routes.levels(np.ones((1, 2, 1, 1)), [5, 5], grid.pixels)


def test_account_is_what_the_choice_costs():
    errors, macs, grid = clip(paths=4, noise=3)
    levels = routes.levels(errors, macs, grid.pixels)
    total = routes.account(errors, levels, macs, grid.pixels)
    for t in range(1, 66):
        chosen = routes.choose(levels, t)
        error = np.take_along_axis(errors, chosen[:, None].astype(int), 1).sum()
        cost = (np.array(macs)[chosen] * grid.pixels).sum()
        assert total.error[t] == pytest.approx(error) and total.macs[t] == pytest.approx(cost)
    assert total.path_error == pytest.approx(errors.sum((0, 2, 3)))
    halves = [routes.account(errors[s], levels[s], macs, grid.pixels)
              for s in (slice(0, 2), slice(2, 6))]
    assert (halves[0] + halves[1]).error == pytest.approx(total.error)
    fixed = routes.fixed_account(errors, 1, macs, grid.pixels)
    assert fixed.error[7] == pytest.approx(errors[:, 1].sum())
    assert fixed.macs[7] == pytest.approx(macs[1] * grid.pixels.sum() * len(errors))


@pytest.mark.parametrize("loss", [0.0, 0.04, 0.5, 3.0])
def test_threshold_is_the_greatest_that_loses_no_more(loss):
    errors, macs, grid = clip(frames=20, paths=3)
    levels = routes.levels(errors, macs, grid.pixels)
    samples = 20 * 200 * 140
    t, psnr, share = threshold_for(errors, levels, macs, grid.pixels, loss, samples)
    dearest = 10 * np.log10(255**2 * samples / errors[:, -1].sum())

    def at(t):
        chosen = routes.choose(levels, t)[:, None].astype(int)
        return 10 * np.log10(255**2 * samples / np.take_along_axis(errors, chosen, 1).sum())
    assert psnr == pytest.approx(at(t)) and psnr >= dearest - loss - 1e-9
    assert t == 64 or at(t + 1) < dearest - loss
    assert 0 < share <= 1


def test_routes_can_beat_the_dearest_path():
    errors, macs, grid = clip(frames=5, paths=3)
    errors[:, 2, ::2] = 2 * errors[:, 1, ::2]  # there the dearest path hurts
    levels = routes.levels(errors, macs, grid.pixels)
    t, psnr, share = threshold_for(errors, levels, macs, grid.pixels, 0.0, 5 * 28000)
    assert psnr > routes.psnr(errors[:, 2].sum(), 5 * 28000) and share < 0.9
    assert not (routes.choose(levels, t)[:, ::2] == 2).any()


def errors_of(levels_, cost):
    """[frames] levels as the errors of two paths in one cell."""
    gain = np.where(np.array(levels_) > 0, 2.0 ** ((np.array(levels_) - 1) / 2), 0) * cost
    return np.stack([gain, np.zeros_like(gain)], 1)[:, :, None, None]


def test_held_levels_change_seldom():
    grid, macs = routes.Grid(32, 24, 32, 24), [0, 2000]
    quiet = np.array([9, 10, 9, 8, 9, 10, 9, 8, 9, 10] * 3)

    def held(levels):
        errors = errors_of(levels, 2000 * 768 / 1e6)
        return routes.held_levels(errors, macs, grid.pixels, routes.HOLD).ravel().astype(int)
    assert len(set(held(quiet))) == 1
    dip = quiet.copy()
    dip[11:13] = 2
    assert len(set(held(dip))) == 1
    cut = quiet.copy()
    cut[15:] += 8
    assert len(set(held(cut)[:15])) == 1 and len(set(held(cut)[15:])) == 1
    assert abs(held(cut)[15] - held(cut)[14] - 8) <= 1
    down = held(cut[::-1])
    assert len(set(down[:15])) == 1 and len(set(down[15:])) == 1 and down[14] - down[15] >= 7
    flicker = held([0, 12] * 10)  # worth half of 12 on average: two levels less
    assert set(flicker) == {10}


def test_held_levels_do_not_rise():
    errors, macs, grid = clip(frames=40, paths=4, noise=4)
    held = routes.held_levels(errors, macs, grid.pixels, 6).astype(int)
    assert (np.diff(held, axis=1) <= 0).all()


def test_decisions_do_not_flicker():
    """Noise around a threshold: held levels change the path far less often, at little cost."""
    _, macs, grid = clip()
    grid, rng = routes.Grid(480, 270, 48, 54), np.random.default_rng(5)
    worth = rng.lognormal(3, 2, (1, 1, grid.rows, grid.columns)) * grid.pixels
    worth = worth * rng.lognormal(0, 0.15, (96, 1, grid.rows, grid.columns))
    errors = worth * np.array([1.0, 0.6, 0.5])[:, None, None]
    errors = errors * rng.lognormal(0, 0.01, errors.shape)
    raw, held = (f(errors, macs, grid.pixels) for f in
                 (routes.levels, lambda *a: routes.coarse_levels(*a, 1)))
    changes, loss = [], []
    for levels in (raw, held):
        t, psnr, share = threshold_for(errors, levels, macs, grid.pixels, 0.04, 96 * 2073600)
        chosen = routes.choose(levels, t).astype(int)
        changes.append((np.diff(chosen, axis=0) != 0).mean())
        loss.append((psnr, share))
    assert changes[1] < 0.2 * changes[0]
    assert loss[1][0] >= loss[0][0] - 0.05 and loss[1][1] < loss[0][1] + 0.1


@pytest.mark.parametrize("frames, wanted", [(1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5]),
                                            (96, [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96])])
def test_periods(frames, wanted):
    assert list(routes.periods(frames)) == wanted


def test_coarse_levels_are_those_of_the_mean():
    errors, macs, grid = clip(frames=10, paths=3, noise=2)
    whole = routes.coarse_levels(errors, macs, grid.pixels, 10)
    wanted = routes.levels(errors.mean(0, keepdims=True), macs, grid.pixels)
    assert (whole == wanted).all() and whole.shape[0] == 10
    halves = routes.coarse_levels(errors, macs, grid.pixels, 8)
    assert (halves[:8] == halves[:1]).all() and (halves[8:] == halves[9:]).all()


def test_coarse_labels_are_the_most_frequent():
    labels = np.array([2, 2, 1, 0, 1, 0, 1, 1], np.uint8)[:, None, None]
    assert routes.coarse_labels(labels, 4).ravel().tolist() == [2] * 4 + [1] * 4
    assert routes.coarse_labels(labels, 8).ravel().tolist() == [1] * 8
    assert (routes.coarse_labels(labels, 1) == labels).all()


def test_fit_takes_the_finest_that_fits():
    errors, macs, grid = clip(frames=48, size=(480, 270), paths=3, noise=3)
    sizes = {}
    for limit in (10**6, 2200, 900, 400, 100):
        found = routes.fit(48, limit, lambda n: routes.coarse_levels(errors, macs, grid.pixels, n))
        if found is None:
            assert limit == 100
            continue
        levels, body, period = found
        sizes[limit] = period
        assert len(routes.encode_gains(levels, 5, grid, body)) <= limit
        assert (np.diff(levels[:period].astype(int), axis=0) == 0).all()
    assert sizes[10**6] == 1 and sorted(sizes.values()) == list(sizes.values())


@pytest.mark.parametrize("paths, frames", [(2, 1), (3, 7), (8, 4)])
def test_gains_survive_the_bytes(paths, frames):
    grid, rng = routes.Grid(101, 64, 16, 24), np.random.default_rng(paths)
    shape = (frames, paths - 1, grid.rows, grid.columns)
    levels = np.sort(rng.integers(0, 65, shape, np.uint8), 1)[:, ::-1]
    data = routes.encode_gains(levels, 17, grid)
    assert data[:24] == (b"SRTE" + bytes([1, 0, paths, 17])
                         + struct.pack("<4HII", 16, 24, 7, 3, frames, 0))
    assert data[24:28] == b"\x28\xb5\x2f\xfd" and data[28] & 0xe0, "no content size declared"
    planes = np.frombuffer(tools.unzstd(data[24:]), np.uint8).reshape(paths - 1, frames, 3, 7)
    assert (planes[:, 0] == levels[0]).all()  # plane after plane; the first frame as it is
    if frames > 1:
        assert (planes[:, 1] == (levels[1] - levels[0])).all()
    back = routes.decode(data)
    assert (back.kind, back.paths, back.threshold, back.cell) == (0, paths, 17, (16, 24))
    assert (back.values == levels).all() and (back.exact() == routes.choose(levels, 17)).all()


def test_choices_survive_the_bytes():
    grid = routes.Grid(96, 54, 48, 54)
    labels = np.random.default_rng(1).integers(0, 5, (9, 1, 2), np.uint8)
    back = routes.decode(routes.encode_choice(labels, 5, grid))
    assert (back.kind, back.paths, back.threshold) == (1, 5, 0) and (back.exact() == labels).all()
    with pytest.raises(ValueError, match="label"):
        routes.encode_choice(labels, 4, grid)


@pytest.mark.parametrize("at, value, cause", [(0, 0, "not routes"), (4, 2, "not routes"),
                                              (5, 2, "not routes"), (6, 1, "not routes"),
                                              (7, 0, "threshold"), (7, 65, "threshold"),
                                              (8, 15, "odd cells"), (16, 3, "levels where")])
def test_decode_refuses(at, value, cause):
    grid = routes.Grid(96, 54, 48, 54)
    data = bytearray(routes.encode_gains(np.ones((2, 1, 1, 2), np.uint8), 3, grid))
    data[at] = value
    with pytest.raises(ValueError, match=cause):
        routes.decode(bytes(data))


def test_decode_refuses_levels():
    grid = routes.Grid(96, 54, 48, 54)
    levels = np.ones((2, 2, 1, 2), np.uint8)
    for value, cause in ((65, "level out of range"), (2, "rise")):
        levels[1, 1, 0, 1] = value
        with pytest.raises(ValueError, match=cause):
            routes.decode(routes.encode_gains(levels, 3, grid))


# ---- graphs and packages -------------------------------------------------------------------------

def test_macs_of_paths():
    graph = route_graph()
    head, early, body, tail = 9 * 4, 9 * 4 * 4, 9 * 4 * 8, 9 * 8 * 4
    wanted = [0, head + early, head + body + tail]
    assert routes.path_macs(graph) == wanted and routes.default_path(graph) == 2
    graph["nodes"].reverse()  # in any order
    assert routes.path_macs(graph) == wanted
    four = routes.path_macs(route_graph(colour="yuv420"))
    assert four[1] == 9 * (6 * 4 + 4 * 24) / 4  # one tensor pixel for four of the picture
    plain = {**graph, "nodes": [n for n in graph["nodes"] if n["output"] in "xbhed1p1"],
             "output": "p1"}
    assert routes.path_macs(plain) == [head + early] and routes.default_path(plain) is None


def gains_file(path, errors, grid):
    frames, paths = errors.shape[:2]
    head = struct.pack("<4s7I", b"SRGN", 1, grid.columns, grid.rows, paths, frames,
                       grid.cell_width, grid.cell_height)
    path.write_bytes(head + errors.astype("<f8").tobytes())


def test_gains_of_srbench_are_read(tmp_path):
    errors, _, grid = clip(frames=4)
    path = tmp_path / "g.bin"
    gains_file(path, errors, grid)
    assert (routing.read_gains(path, grid, 3, 4) == errors).all()
    with pytest.raises(PackError, match="expected"):
        routing.read_gains(path, grid, 3, 5)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PackError, match="bytes"):
        routing.read_gains(path, grid, 3, 4)
    path.write_bytes(b"SRGN")
    with pytest.raises(PackError, match="g.bin"):
        routing.read_gains(path, grid, 3, 4)


def test_routes_of_a_clip():
    """One threshold; each chunk within 1 % of its video; the figures are those of the choices."""
    graph = route_graph()
    errors, _, grid = clip(frames=60, size=(480, 270), cell=(48, 54), seed=5)
    counts, sizes = [25, 25, 10], [400_000, 20_000, 900]
    got = routing.from_gains(errors, counts, sizes, graph, grid, 0.04, 960 * 540)
    assert got.objects[2] is None and got.figures["chunks_without"] == 1
    assert len(got.objects[0]) <= 4000 and len(got.objects[1]) <= 200
    found = [routes.decode(o) for o in got.objects[:2]]
    assert found[0].threshold == found[1].threshold == got.figures["threshold"]
    chosen = np.concatenate([*(f.exact() for f in found), np.full((10, 5, 10), 2)]).astype(int)
    error = np.take_along_axis(errors, chosen[:, None], 1).sum()
    samples = 60 * 960 * 540
    assert got.figures["psnr_y"] == pytest.approx(routes.psnr(error, samples), abs=1e-3)
    assert got.figures["psnr_y_paths"][2] == pytest.approx(
        routes.psnr(errors[:, 2].sum(), samples), abs=1e-3)
    assert got.figures["psnr_y"] >= got.figures["psnr_y_paths"][2] - 0.04
    assert got.figures["mac_share"] == pytest.approx(
        (np.array(routes.path_macs(graph))[chosen] * grid.pixels).sum()
        / (routes.path_macs(graph)[2] * grid.pixels.sum() * 60), abs=1e-4)
    assert got.figures["bytes"] == sum(len(o) for o in got.objects[:2])
    assert sum(got.figures["cells"]) == pytest.approx(1, abs=1e-4)
    json.dumps(got.figures)


def test_routes_of_labels(tmp_path):
    graph, grid = route_graph(), routes.Grid(480, 270, 48, 54)
    labels = np.random.default_rng(1).integers(0, 3, (1, 5, 10), np.int64).repeat(20, 0)
    labels[12:, 2, 3] = 1
    np.save(tmp_path / "labels.npy", labels)
    known = routing.read_labels(tmp_path / "labels.npy", 20, 1, grid, 3)
    got = routing.from_labels(known, [12, 8], [50_000, 50_000], graph, grid)
    back = [routes.decode(o) for o in got.objects]
    assert (np.concatenate([b.exact() for b in back]) == labels).all()
    assert got.figures["kind"] == "choice" and got.figures["frames_per_set"] == [1, 1]
    # Every second frame was kept for training.
    np.save(tmp_path / "labels.npy", labels[::2])
    known = routing.read_labels(tmp_path / "labels.npy", 20, 2, grid, 3)
    assert (known[1::2] == labels[::2]).all()
    for shape, paths in (((20, 5, 9), 3), ((7, 5, 10), 3), ((20, 5, 10), 2)):
        np.save(tmp_path / "labels.npy", np.full(shape, 2))
        with pytest.raises(PackError, match="labels"):
            routing.read_labels(tmp_path / "labels.npy", 20, 1, grid, paths)


def fake_job(tmp_path, errors, grid, options, monkeypatch):
    """A job whose srbench writes these gains and notes how it was called."""
    gains_file(tmp_path / "known.bin", errors, grid)
    bench = tmp_path / "bin"
    bench.mkdir()
    (bench / "srbench").write_text(
        f"#!/bin/sh\necho \"$@\" >> {tmp_path}/calls\n"
        f"while [ $# -gt 0 ]; do [ \"$1\" = -o ] && cp {tmp_path}/known.bin \"$2\"; shift; done\n")
    (bench / "srbench").chmod(0o755)
    monkeypatch.setenv("SRP_BINDIR", str(bench))
    return types.SimpleNamespace(
        options=options, graph=json.dumps(route_graph()).encode(), every=1,
        geo=types.SimpleNamespace(scale=2, width=960, height=540, lr_width=480, lr_height=270),
        source=types.SimpleNamespace(path=tmp_path / "movie.mkv"))


def test_routes_enter_the_manifest_and_hls(tmp_path, monkeypatch):
    errors, _, grid = clip(frames=20, size=(480, 270), cell=(48, 54))
    options = types.SimpleNamespace(grid=None, route_loss=0.04, threads=2)
    job = fake_job(tmp_path, errors, grid, options, monkeypatch)
    folder = work.Work(tmp_path / "work")
    folder.open("job", "x", False)
    writer = package.Writer(tmp_path / "p")
    segments = [{**writer.file(f"video-{i:05d}.m4s", bytes(40_000)), "start": 10 * i,
                 "duration": 10} for i in range(2)]
    model = {"name": "small-x2", "parameters": {"sha256": "ab" * 32}}
    writer.manifest = {"models": [model], "chunks": [
        {"segment": s, "frames": 10, "model": 0} for s in segments]}
    track = types.SimpleNamespace(timescale=25, codec="avc1.64", width=480, height=270)
    writer.tracks, writer.rate = ((track, writer.file("video-init.mp4", b"x"), segments), None), 25
    out = types.SimpleNamespace(clock=tools.Clock(), note=pytest.fail)
    stop = tools.Stop()
    for _ in range(2):  # the second time, gains are there already
        made = routing.make(job, folder, tmp_path / "p", writer.manifest, "int8", out, stop)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and "gains" in calls[0] and "48x54" in calls[0]
    writer.add_routes(made.objects)
    manifest = json.loads((tmp_path / "p/manifest.json").read_bytes())
    text = (tmp_path / "p/video.m3u8").read_text()
    for chunk, data in itertools.zip_longest(manifest["chunks"], made.objects):
        assert chunk["routes"] == {"uri": f"objects/{package.digest(data)}.routes",
                                   "size": len(data), "sha256": package.digest(data)}
        assert (tmp_path / "p" / chunk["routes"]["uri"]).read_bytes() == data
        assert f'X-SRPLAY-ROUTES="{package.digest(data)}"' in text
    assert text.count("X-SRPLAY-PARAMETERS") == text.count("X-SRPLAY-ROUTES") == 2
    folder.close()
