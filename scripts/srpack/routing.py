# SPDX-License-Identifier: BSD-2-Clause
"""The routes of a package: measures what each path of the trained model gains, as viewers will see
it, and makes the objects of the chunks. The rules are in routes.py."""

import dataclasses
import json
import pathlib
import struct

import numpy as np

from . import halo, routes, settle, tools
from .errors import PackError, one_line

# What `srbench gains` writes: this header, then f64 [frames][paths][rows][columns].
GAINS = struct.Struct("<4s7I")


@dataclasses.dataclass
class Routing:
    objects: list      # bytes of each chunk's routes, or None
    figures: dict      # for --json and the table


def read_gains(path: pathlib.Path, grid: routes.Grid, paths: int, frames: int) -> np.ndarray:
    """The errors of `srbench gains`, mapped. PackError when they are not of this clip."""
    try:
        with open(path, "rb") as file:
            head = GAINS.unpack(file.read(GAINS.size))
    except (OSError, struct.error) as error:
        raise PackError(f"{path}: {one_line(error)}") from error
    wanted = (b"SRGN", 1, grid.columns, grid.rows, paths, frames, grid.cell_width,
              grid.cell_height)
    if head != wanted:
        raise PackError(f"{path}: gains of {head}, {wanted} expected")
    shape = (frames, paths, grid.rows, grid.columns)
    size = GAINS.size + 8 * int(np.prod(shape))
    if path.stat().st_size != size:
        raise PackError(f"{path}: {path.stat().st_size} bytes, {size} expected")
    return np.memmap(path, "<f8", "r", GAINS.size, shape)


def cells(options, geo) -> routes.Grid:
    """The cells of the low-resolution picture."""
    return routes.Grid(geo.lr_width, geo.lr_height,
                       *(options.grid or routes.DEFAULT_CELL[geo.scale]))


def measure(job, work, staged, grid, dtype, stop) -> pathlib.Path:
    """Runs `srbench gains` on the staged package, once for each arithmetic and grid."""
    name = f"gains-{dtype}-{grid.cell_width}x{grid.cell_height}"
    path = work.path(f"{name}.bin")
    if work.done(name) is None:
        command = [tools.find("srbench"), "gains", staged / "manifest.json", "--reference",
                   job.source.path.absolute(), "-o", path, "--json",
                   "--grid", f"{grid.cell_width}x{grid.cell_height}"]
        if job.options.threads:
            command += ["--threads", job.options.threads]
        tools.run(command, stop=stop, subject=str(staged))
        work.finish(name)
    return path


def from_gains(errors, counts, sizes, graph, grid, loss_db, samples, check=lambda: None) -> Routing:
    """Routes of kind gains. `counts`: frames of each chunk; `sizes`: bytes of its video;
    `samples`: output luma samples of one frame. One threshold holds for the whole clip. check():
    called now and then, may raise."""
    macs, pixels, default = routes.path_macs(graph), grid.pixels, routes.default_path(graph)
    coded, accounts, at, costs = [], [], 0, halo.Costs(graph, grid)
    for count, size in zip(counts, sizes):
        part = np.asarray(errors[at:at + count], np.float64)
        if not np.isfinite(part).all() or (part < 0).any():
            raise PackError(f"srbench gains: frames {at} to {at + count - 1}: not squared errors")
        found = routes.fit(count, int(routes.SHARE * size),
                           lambda n, part=part: routes.coarse_levels(part, macs, pixels, n))
        coded.append(found)
        accounts.append(routes.account(part, found[0], macs, pixels) if found
                        else routes.fixed_account(part, default, macs, pixels))
        at += count
    total = accounts[0]
    for one in accounts[1:]:
        total = total + one
    begin = routes.best_threshold(total, loss_db)
    parts, at = [], 0
    for found, count in zip(coded, counts):
        if found is not None:
            part = np.asarray(errors[at:at + count], np.float64)
            parts.append(settle.Part(part, found[0], costs, begin))
        at += count
    fixed = sum(one.error[1] for one, found in zip(accounts, coded) if found is None)
    most = total.path_error[-1] * 10 ** (loss_db / 10) - fixed
    threshold = settle.settle(parts, begin, most, check)
    objects, choices, error, parts = [], [], fixed, iter(parts)
    for found, one, count, size in zip(coded, accounts, counts, sizes):
        if found is None:
            objects.append(None)
            choices.append(np.full((count, grid.rows, grid.columns), default, np.uint8))
            continue
        part = next(parts)
        choice = part.choice()
        fits = settle.fit(settle.adjust(found[0], choice, threshold), threshold,
                          int(routes.SHARE * size))
        if fits is None:  # as the levels are, which fit
            fits, choice = found[:2], routes.choose(found[0], threshold)
            error += one.error[threshold]
        else:
            error += part.error()
        objects.append(routes.encode_gains(fits[0], threshold, grid, fits[1]))
        choices.append(choice)
    samples *= sum(counts)
    figures = _figures("gains", objects, choices, [c and c[2] for c in coded], sizes, macs,
                       costs)
    figures |= {
        "threshold": threshold,
        "psnr_y_paths": [round(routes.psnr(e, samples), 4) for e in total.path_error],
        "psnr_y": round(routes.psnr(error, samples), 4),
    }
    return Routing(objects, figures)


def from_labels(labels, counts, sizes, graph, grid) -> Routing:
    """Routes of kind choice. labels: [frames][rows][columns], a path each."""
    macs = routes.path_macs(graph)
    objects, choices, coarse, at = [], [], [], 0
    for count, size in zip(counts, sizes):
        part = labels[at:at + count]
        found = routes.fit(count, int(routes.SHARE * size),
                           lambda n, part=part: routes.coarse_labels(part, n)[:, None])
        if found is None:
            objects.append(None)
            choices.append(np.full(part.shape, routes.default_path(graph), np.uint8))
        else:
            objects.append(routes.encode_choice(found[0][:, 0], len(macs), grid, found[1]))
            choices.append(found[0][:, 0])
        coarse.append(found and found[2])
        at += count
    costs = halo.Costs(graph, grid)
    return Routing(objects, _figures("choice", objects, choices, coarse, sizes, macs, costs))


def _figures(kind, objects, choices, coarse, sizes, macs, costs):
    grid = costs.grid
    pixels = np.broadcast_to(grid.pixels, (1, grid.rows, grid.columns))
    weight = np.zeros(len(macs))
    cells_by_path, changed, pairs = np.zeros(len(macs)), 0, 0
    for choice in choices:
        cells_by_path += np.bincount(choice.ravel(), minlength=len(macs))
        weight += np.bincount(choice.ravel(), minlength=len(macs),
                              weights=np.broadcast_to(pixels, choice.shape).ravel())
        changed += int((choice[1:] != choice[:-1]).sum())
        pairs += choice[1:].size
    frames, dearest = sum(map(len, choices)), int(np.argmax(macs))
    computed = sum(map(costs.choice, choices)) / (frames * costs.everywhere(dearest))
    size = sum(len(o) for o in objects if o is not None)
    return {
        "kind": kind,
        "cell": [grid.cell_width, grid.cell_height],
        "grid": [grid.columns, grid.rows],
        "macs_per_pixel": [int(m) if m == int(m) else m for m in macs],
        "cells": [round(float(n), 5) for n in cells_by_path / cells_by_path.sum()],
        "mac_share": round(float((weight * macs).sum() / (weight.sum() * max(macs))), 5),
        "mac_share_computed": round(computed, 5),
        "changes": round(changed / max(1, pairs), 5),
        "bytes": size,
        "share_of_video": round(size / sum(sizes), 6),
        "frames_per_set": coarse,
        "chunks_without": sum(o is None for o in objects),
    }


def read_labels(path: pathlib.Path, frames: int, every: int, grid, paths: int) -> np.ndarray:
    """labels.npy of training: of all frames, or of every n-th, which then hold until the next."""
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PackError(f"{path}: {one_line(error)}") from error
    kept = -(-frames // every)
    if labels.shape[1:] != (grid.rows, grid.columns) or len(labels) not in (frames, kept):
        raise PackError(f"{path}: labels {list(labels.shape)}, "
                        f"{[frames, grid.rows, grid.columns]} expected")
    if labels.min() < 0 or labels.max() >= paths:
        raise PackError(f"{path}: labels {labels.min()} to {labels.max()} for {paths} paths")
    labels = labels.astype(np.uint8)
    return labels if len(labels) == frames else labels[np.arange(frames) // every]


def make(job, work, staged, manifest, dtype, out, stop) -> Routing | None:
    """The routes of a staged package without routes; None where its model has one path."""
    graph = json.loads(job.graph)
    if routes.default_path(graph) is None:
        return None
    grid, macs = cells(job.options, job.geo), routes.path_macs(graph)
    counts = [chunk["frames"] for chunk in manifest["chunks"]]
    sizes = [chunk["segment"]["size"] for chunk in manifest["chunks"]]
    labels = work.path("labels.npy")
    if labels.exists():
        known = read_labels(labels, sum(counts), job.every, grid, len(macs))
        with out.clock.step("routes"):
            routing = from_labels(known, counts, sizes, graph, grid)
    else:
        with out.clock.step("gains"):
            path = measure(job, work, staged, grid, dtype, stop)
        with out.clock.step("routes"):
            errors = read_gains(path, grid, len(macs), sum(counts))
            routing = from_gains(errors, counts, sizes, graph, grid, job.options.route_loss,
                                 job.geo.width * job.geo.height, stop.check)
    missing = routing.figures["chunks_without"]
    if missing:
        out.note(f"{missing} of {len(counts)} chunks have no routes, which would take more than "
                 f"{100 * routes.SHARE:g} % of their video: they play by path "
                 f"{routes.default_path(graph)}")
    return routing
