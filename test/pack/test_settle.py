# SPDX-License-Identifier: BSD-2-Clause
"""What a choice of paths costs with the surroundings of its cells, and the choice that knows it."""
import json
import subprocess

import numpy as np
import pytest
from routed import route_graph

from srpack import halo, models, routes, routing, settle

# Of route_graph's paths: (multiply-accumulates for a pixel, pixels around that are computed too).
LAYERS = {"y": [[], [(36, 1), (144, 0)], [(36, 2), (288, 1), (288, 0)]],
          "rgb": [[], [(108, 2), (432, 1)], [(108, 3), (288, 2), (864, 1)]],
          "yuv420": [[], [(216, 1), (864, 0)], [(216, 2), (288, 1), (1728, 0)]]}


def random_labels(grid, seed, frames=1):
    """Patches of paths, so that there are runs and rectangles."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (frames, grid.rows, grid.columns), np.uint8)
    for frame in labels:
        y, x = rng.integers(grid.rows), rng.integers(grid.columns)
        frame[y:y + 3, x:x + 4] = rng.integers(3)
    return labels


def rectangles(labels):
    """Runs, joined with those below that begin and end with them, one after the other."""
    rows, columns = labels.shape
    found, taken = [], set()
    for y in range(rows):
        x = 0
        while x < columns:
            end = x
            while end < columns and labels[y, end] == labels[y, x]:
                end += 1

            def same(row, x=x, end=end, path=labels[y, x]):
                whole = (labels[row, x:end] == path).all()
                return whole and (x == 0 or labels[row, x - 1] != path) and (
                    end == columns or labels[row, end] != path)
            if (y, x) not in taken:
                down = y
                while down < rows and same(down):
                    taken.add((down, x))
                    down += 1
                found.append((x, end, y, down, int(labels[y, x])))
            x = end
    return found


def counted(labels, grid, colour):
    """Pixel by pixel."""
    by, total = 2 if colour == "yuv420" else 1, 0
    wide, high = -(-grid.width // by), -(-grid.height // by)
    for x, end, y, down, path in rectangles(labels):
        for macs, around in LAYERS[colour][path]:
            mask = np.zeros((high + 2 * around, wide + 2 * around), bool)
            for dy in range(2 * around + 1):
                for dx in range(2 * around + 1):
                    mask[dy + y * grid.cell_height // by:dy + down * grid.cell_height // by,
                         dx + x * grid.cell_width // by:dx + end * grid.cell_width // by] = True
            inside = mask[around:around + high, around:around + wide]
            total += macs * int(inside.sum())
    return total


@pytest.mark.parametrize("colour", ["y", "rgb", "yuv420"])
@pytest.mark.parametrize("size", [(96, 64), (101, 50), (33, 63)])
def test_costs_are_those_of_merged_cells(colour, size):
    grid = routes.Grid(*size, 8, 10)
    costs = halo.Costs(route_graph(colour=colour), grid)
    for seed in range(6):
        labels = random_labels(grid, seed)
        assert costs.choice(labels) == counted(labels[0], grid, colour)
    by = 2 if colour == "yuv420" else 1
    pixels = -(-size[0] // by) * -(-size[1] // by)
    assert costs.everywhere(2) == pixels * sum(macs for macs, _ in LAYERS[colour][2])
    assert costs.everywhere(0) == 0


def test_a_layer_is_computed_as_far_as_any_reader_sees():
    def conv(name, source, side):
        return {"op": "conv2d", "name": name, "inputs": [source], "output": name, "channels": 4,
                "kernel": [side, side]}
    nodes = [conv("h", "x", 3), conv("near", "h", 1), conv("far", "h", 3),
             conv("farther", "far", 5),
             {"op": "add", "name": "sum", "inputs": ["near", "farther"], "output": "s"},
             {"op": "depth_to_space", "name": "d", "inputs": ["s"], "output": "y", "block": 2}]
    graph = {"name": "g", "scale": 2, "colour": "y", "input": "x", "output": "y", "nodes": nodes}
    found = {one.macs: (one.factor, one.halo) for one in halo.layers(graph, 0)[0]}
    assert found == {36: (1, 3), 16: (1, 0), 144: (1, 2), 400: (1, 0)}
    assert {one.halo for one in halo.layers(graph, 3)[0]} == {5, 2, 4}  # of the output's samples


def test_a_change_is_the_difference_of_two_frames():
    grid = routes.Grid(100, 62, 12, 10)
    costs = halo.Costs(route_graph(colour="rgb"), grid)
    rng = np.random.default_rng(3)
    for seed in range(40):
        labels = random_labels(grid, seed)[0]
        y, x, path = rng.integers(grid.rows), rng.integers(grid.columns), int(rng.integers(3))
        rows = [row.tobytes() for row in labels]
        after = labels.copy()
        after[y, x] = path
        upper, lower = rows[y - 1] if y else b"", rows[y + 1] if y + 1 < len(rows) else b""
        assert costs.change(y, x, path, upper, rows[y], lower) == (
            costs.choice(after[None]) - costs.choice(labels[None]))


@pytest.mark.parametrize("name, path, size, cell", [
    ("edge-dyn-x2", 2, (200, 120), (48, 54)), ("edge-dyn-x4", 1, (100, 62), (24, 26)),
    ("edge-dyn-x1", 2, (100, 62), (24, 26)), ("dydca-x4", 2, (100, 70), (48, 54)),
    ("dydca-x2", 1, (100, 70), (32, 24))])
def test_costs_are_those_of_the_engine(build, name, path, size, cell):
    graph = models.all_models()[name]
    done = subprocess.run(
        [build / "srbench", "engine", "--graph", models.MODELS_DIR / f"{name}.json", "--size",
         "{}x{}".format(*size), "--regions", "{}x{}".format(*cell), "--path", str(path), "--tensor",
         "--runs", "1", "--threads", "1", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    engine = json.loads(done.stdout)
    grid = routes.Grid(*size, *cell)
    costs = halo.Costs(graph, grid, 0)  # a tensor alone: nothing is halved behind it
    alone = sum(sum(costs.run(x, x + 1, path, y))
                for y in range(grid.rows) for x in range(grid.columns))
    assert alone == engine["region_macs"] > engine["macs"] == costs.everywhere(path)


# ---- the choice ----------------------------------------------------------------------------------

GRAPH = models.all_models()["edge-dyn-x2"]
MACS = routes.path_macs(GRAPH)
GRID = routes.Grid(480, 270, 48, 54)
COSTS = halo.Costs(GRAPH, GRID)


def worth(deep, path=2):
    """errors [1][3][rows][columns]: path `path` saves so much for 10^6 multiply-accumulates."""
    errors = np.zeros((1, 3, *deep.shape))
    errors[0, :path] = deep * (MACS[path] - MACS[0]) * GRID.pixels / 1e6
    return errors


def test_a_lone_cell_is_dear_and_a_hole_is_cheap():
    """Threshold 21 is a slope of 1024. A cell alone costs a quarter more than its pixels; one that
    is missing among others costs nothing, as that alone would cut their rectangle."""
    deep = np.zeros((GRID.rows, GRID.columns))
    deep[0, 0] = 1e7
    deep[2, 4] = 1100
    lone = worth(deep)
    assert routes.choose(routes.levels(lone, MACS, GRID.pixels), 21)[0, 2, 4] == 2
    search = settle._Search([settle.Part(lone, routes.levels(lone, MACS, GRID.pixels), COSTS, 21)],
                            np.inf)
    search.at(1024e-6, lambda: None)
    assert np.argwhere(search.parts[0].choice()[0]).tolist() == [[0, 0]]
    deep[:] = 1e7
    deep[2, 4] = 1100 / 2  # two levels too little
    hole = worth(deep)
    part = settle.Part(hole, routes.levels(hole, MACS, GRID.pixels), COSTS, 21)
    assert part.choice()[0, 2, 4] == 0
    settle.settle([part], 21, 0)
    assert (part.choice() == 2).all()


def noisy(frames=30, seed=2):
    rng = np.random.default_rng(seed)
    base = rng.lognormal(3, 1.5, (1, 1, GRID.rows, GRID.columns)) * GRID.pixels
    left = np.array([1.0, 0.75, 0.6])[:, None, None]
    return base * left * rng.lognormal(0, 0.05, (frames, 3, GRID.rows, GRID.columns))


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.3])
def test_costs_less_at_the_loss_that_is_allowed(loss):
    errors = noisy()
    levels = routes.coarse_levels(errors, MACS, GRID.pixels, 1)
    total = routes.account(errors, levels, MACS, GRID.pixels)
    begin = routes.best_threshold(total, loss)
    most = total.path_error[-1] * 10 ** (loss / 10)
    halves = [settle.Part(errors[s], levels[s], COSTS, begin) for s in (slice(12), slice(12, 30))]
    first = np.concatenate([part.choice() for part in halves])
    assert (first == routes.choose(levels, begin)).all()
    last = settle.settle(halves, begin, most)
    chosen = np.concatenate([part.choice() for part in halves])
    error = float(np.take_along_axis(errors, chosen[:, None].astype(int), 1).sum())
    assert error <= most * (1 + 1e-9)
    assert sum(part.error() for part in halves) == pytest.approx(error)
    assert COSTS.choice(chosen) < 0.98 * COSTS.choice(first)
    for part in (slice(12), slice(12, 30)):  # it changes where the first choice did, or does not
        moved = chosen[part][1:] != chosen[part][:-1]
        assert not (moved & (first[part][1:] == first[part][:-1])).any()
    for part, where in zip(halves, (slice(12), slice(12, 30))):
        made = settle.adjust(levels[where], part.choice(), last)
        assert (routes.choose(made, last) == part.choice()).all()
        assert (np.diff(made.astype(int), axis=1) <= 0).all()


def test_no_cell_could_do_better_by_itself():
    errors = noisy(1)
    part = settle.Part(errors, routes.levels(errors, MACS, GRID.pixels), COSTS, 12)
    search = settle._Search([part], np.inf)
    search.at(2 ** 5.5 * 1e-6, lambda: None)
    chosen = part.choice()

    def energy(labels):
        error = np.take_along_axis(errors, labels[:, None].astype(int), 1).sum()
        return error + 2 ** 5.5 * 1e-6 * COSTS.choice(labels)
    best = energy(chosen)
    for y, x, path in np.ndindex(GRID.rows, GRID.columns, 3):
        other = chosen.copy()
        other[0, y, x] = path
        assert energy(other) >= best * (1 - 1e-9)


def test_search_can_be_stopped():
    class Stopped(Exception):
        pass

    def check():
        raise Stopped
    errors = noisy(2)
    part = settle.Part(errors, routes.levels(errors, MACS, GRID.pixels), COSTS, 9)
    with pytest.raises(Stopped):
        settle.settle([part], 9, np.inf, check)


def test_adjusted_levels_keep_what_they_can():
    levels = np.array([[9, 5], [9, 5], [9, 5], [3, 0], [64, 64]], np.uint8)[:, :, None, None]
    labels = np.array([0, 1, 2, 2, 0], np.uint8)[:, None, None]
    got = settle.adjust(levels, labels, 7)[:, :, 0, 0]
    assert got.tolist() == [[6, 5], [9, 5], [9, 7], [7, 7], [6, 6]]


def test_levels_far_from_the_threshold_go_first():
    rng = np.random.default_rng(4)
    shape = (40, 2, GRID.rows, GRID.columns)
    levels = np.sort(rng.integers(0, 65, shape, np.uint8), 1)[:, ::-1]
    sizes = [len(routes.compress(levels)) + routes.HEADER.size]
    for limit in (sizes[0], sizes[0] - 1, sizes[0] * 2 // 3, sizes[0] // 3):
        made, body = settle.fit(levels, 30, limit)
        assert len(routes.encode_gains(made, 30, GRID, body)) <= limit
        assert (routes.choose(made, 30) == routes.choose(levels, 30)).all()
        assert (made == levels).all() == (limit == sizes[0])
        assert (np.diff(made.astype(int), axis=1) <= 0).all()
    assert settle.fit(levels, 30, 100) is None
    low, _ = settle.fit(levels, 1, 10**6)
    assert (low == levels).all()


def test_routes_say_what_is_computed():
    errors = noisy(40)
    got = routing.from_gains(errors, [25, 15], [60_000, 60_000], GRAPH, GRID, 0.05, 960 * 540)
    chosen = np.concatenate([routes.decode(o).exact() for o in got.objects])
    share = COSTS.choice(chosen) / (40 * COSTS.everywhere(2))
    assert got.figures["mac_share_computed"] == pytest.approx(share, abs=1e-5)
    assert share > got.figures["mac_share"]
    assert got.figures["psnr_y"] >= got.figures["psnr_y_paths"][2] - 0.05 - 1e-4
    labels = routing.from_labels(chosen, [25, 15], [10**6, 10**6], GRAPH, GRID)
    assert labels.figures["mac_share_computed"] == pytest.approx(share, abs=1e-5)


def test_the_choice_outlives_a_lack_of_room():
    """Where the settled levels take too much they come nearer to the threshold; the choice and so
    the loss are the same."""
    errors = noisy(40)
    roomy = routing.from_gains(errors, [40], [10**6], GRAPH, GRID, 0.05, 960 * 540)
    fits = 100 * (len(roomy.objects[0]) - 1)
    tight = routing.from_gains(errors, [40], [fits], GRAPH, GRID, 0.05, 960 * 540)
    assert len(tight.objects[0]) <= fits // 100 < len(roomy.objects[0])
    assert tight.figures["psnr_y"] >= tight.figures["psnr_y_paths"][2] - 0.05 - 1e-4
