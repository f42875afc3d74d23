# SPDX-License-Identifier: BSD-2-Clause
"""`srpack paper`: the comparison of STDO and Dy-DCA on one clip. Every method gets the same number
of training steps and the same bytes of parameters; figures are the papers' (shaved patches) and
ours (whole frames), side by side, over several seeds."""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

from . import graph as graphs
from . import models, patches, stdo, train
from .clip import PROTOCOLS, open_clip
from .colour import Frames
from .errors import PackError, UsageError, one_line
from .measure import Judge, lanczos
from .options import Parser, _crf, _integer, _positive, cell_size, seconds
from .sampler import Source

METHODS = {
    "awdnn": "one model, all patches alike",
    "time-chunks": "a model for each part of the time",
    "stdo": "a model for each group of patches by difficulty",
    "joint": "one model, fewer of the easier patches, none of the easiest",
    "dydca": "one dynamic model, each patch by the path that its gain is worth",
}
BASELINES = {
    "small": "one model of half the bytes, all patches alike",
    "subset": "one model, a random subset of patches, as many as joint keeps",
}
DYNAMIC = {"edge": models.edge_dyn, "wdsr": models.dydca}
WIDTHS = range(2, 66)
KEYS = ("patch_y", "patch_rgb", "frame_y", "frame_rgb")


def parse(argv):
    parser = Parser(
        prog="srpack paper",
        description="Trains the methods of the papers on one clip, with equal steps and equal "
        "bytes of parameters, and compares them.",
        epilog="\n".join(f"  {name:<12} {what}" for name, what in {**METHODS, **BASELINES}.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    parser.add_argument("clip", type=pathlib.Path, metavar="CLIP", help="any file FFmpeg reads")
    parser.add_argument("--method", action="append", choices=tuple(METHODS),
                        help="may be given several times (default: all)")
    parser.add_argument("--scale", type=_integer(1, 4),
                        help="1..4 (default: 4 from 1080 lines up, else 2)")
    parser.add_argument("--steps", type=_integer(1, 10**9), default=2000, metavar="N",
                        help="training steps of each method, all its models together "
                        "(default: 2000)")
    parser.add_argument("--seeds", type=_integer(1, 100), default=3, metavar="N",
                        help="runs of each method (default: 3)")
    parser.add_argument("--model-bytes", type=_integer(200, 1 << 26), metavar="N",
                        help="of the parameters of each method, f16, all its models together "
                        "(default: those of edge16, or wdsr2)")
    parser.add_argument("--family", choices=tuple(DYNAMIC), default="edge",
                        help="networks: edge on luma, wdsr on RGB (default: edge)")
    parser.add_argument("--models", type=_integer(2, 7), default=4, metavar="K",
                        help="of stdo and time-chunks; groups of joint (default: 4)")
    parser.add_argument("--mac-share", type=_integer(1, 100), default=60, metavar="PERCENT",
                        help="what dydca may spend of its deep path everywhere (default: 60)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="paper",
                        help="clean reduced frames, or those that viewers decode (default: paper)")
    parser.add_argument("--crf", type=_crf, default=20, metavar="N",
                        help="of the codec (default: 20)")
    parser.add_argument("--start", type=seconds, default=0.0, metavar="TIME",
                        help="begin here (default: 0)")
    parser.add_argument("--duration", type=_positive, metavar="TIME",
                        help="use so much (default: all)")
    parser.add_argument("--frames", type=_integer(1, 10**6), default=24, metavar="N",
                        help="score N evenly spread frames (default: 24)")
    parser.add_argument("--grid", type=cell_size, metavar="WxH",
                        help="low-resolution pixels of a patch (default: 48x54; 64x60 at scale 3)")
    parser.add_argument("--no-baselines", action="store_true",
                        help="no smaller network, no random subset")
    parser.add_argument("--threads", type=_integer(0, 64), default=0, metavar="N",
                        help="default: one per core")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="NAME",
                        help="write NAME.md and NAME.json")
    parser.add_argument("--json", action="store_true", help="print JSON, not the table")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-vv: tracebacks")
    return parser.parse_args(argv)


# ---- networks of so many bytes -----------------------------------------------------------


def parameter_bytes(graph) -> int:
    """Of f16 parameters, without the file's header."""
    module = graphs.load_module(graph)
    return 2 * sum(p.numel() for p in module.named_tensors().values())


def plain(family, scale, width):
    return models.edge(width, scale) if family == "edge" else models.wdsr(2, 2, scale, width)


def sized(make, limit, what):
    """The widest network of make(width) that fits in `limit` bytes."""
    best = None
    for width in WIDTHS:
        graph = make(width)
        if parameter_bytes(graph) > limit:
            break
        best = graph
    if best is None:
        raise UsageError(f"--model-bytes: {what} would need {parameter_bytes(make(WIDTHS[0]))} "
                         f"bytes, {limit} are left for it")
    return best


# ---- one run of each method --------------------------------------------------------------


@dataclasses.dataclass
class Bench:
    """What all runs share."""

    options: argparse.Namespace
    source: Source
    judge: Judge
    scale: int
    bytes: int
    numbers: list  # frames that are scored
    stop: object

    def network(self, part=1, dynamic=False):
        """The network that fits in one of `part` equal parts of the bytes."""
        family, scale = self.options.family, self.scale
        if dynamic:
            make = DYNAMIC[family]
            return sized(lambda w: make(scale, w), self.bytes // part, "the dynamic model")
        return sized(lambda w: plain(family, scale, w), self.bytes // part, "a model")

    def recipe(self, graph, policy):
        """Training options: equal for all but for which patches are drawn. As in the papers the
        frames that are scored are trained on, and no patch counts more than another."""
        options = train.default_options(graphs.load_module(graph))
        return dataclasses.replace(options, policy=policy, sharpness=0.0, hold_out=False,
                                   groups=self.options.models)

    def one(self, graph, policy, seed, source=None, steps=None):
        result = train.train(graph, [source or self.source], steps=steps or self.options.steps,
                             seed=seed, threads=self.options.threads,
                             should_stop=lambda: self.stop.requested,
                             options=self.recipe(graph, policy))
        self.stop.check()
        return result.module

    def score(self, picture):
        return self.judge.psnr(picture, self.numbers)


def _single(bench, seed, policy, part=1):
    graph = bench.network(part)
    module = bench.one(graph, policy, seed)
    figures = bench.score(lambda i: bench.judge.made(module, i))
    return {**figures, "bytes": parameter_bytes(graph), "macs": module.macs_per_pixel}


def _groups(bench, seed):
    count = bench.options.models
    graph = bench.network(count)
    found = stdo.overfit_groups(graph, count, bench.source, steps=bench.options.steps, seed=seed,
                                threads=bench.options.threads,
                                should_stop=lambda: bench.stop.requested,
                                options=bench.recipe(graph, "group"))
    bench.stop.check()
    figures = bench.score(lambda i: bench.judge.made(found.module, i, found.labels[i]))
    return {**figures, "bytes": count * parameter_bytes(graph),
            "macs": graphs.load_module(graph).macs_per_pixel}


def _slice(frames, begin, end):
    return Frames(*(None if p is None else p[begin:end] for p in (frames.y, frames.u, frames.v)))


def _times(bench, seed):
    count, frames = bench.options.models, len(bench.source.lr)
    graph, networks = bench.network(count), []
    edges = [frames * i // count for i in range(count + 1)]
    for number, (begin, end) in enumerate(zip(edges, edges[1:])):
        if begin == end:  # fewer frames than models
            networks.append(None)
            continue
        part = Source(_slice(bench.source.lr, begin, end), _slice(bench.source.hr, begin, end),
                      bench.source.colour)
        steps = max(1, stdo.share(bench.options.steps, count, number))
        networks.append(bench.one(graph, "uniform", seed, part, steps))

    def picture(index):
        part = int(np.searchsorted(edges, index, side="right")) - 1
        return bench.judge.made(networks[part], index)
    return {**bench.score(picture), "bytes": count * parameter_bytes(graph),
            "macs": graphs.load_module(graph).macs_per_pixel}


def cell_errors(judge, module, index):
    """[paths][rows][columns] squared error of luma."""
    truth = judge.source.hr.y[index][: judge.height, : judge.width].astype(np.float32)
    s, (w, h) = judge.scale, judge.cell
    rows = patches.cuts(judge.source.lr.height, h)
    columns = patches.cuts(judge.source.lr.width, w)
    found = []
    for path in range(module.paths):
        choice = np.full((len(rows), len(columns)), path)
        squares = np.zeros((judge.source.lr.height * s, judge.source.lr.width * s))
        luma = judge.made(module, index, choice)[0]
        squares[: judge.height, : judge.width] = np.square(luma - truth)
        found.append(patches._sums(squares, rows * s, columns * s))
    return np.stack(found)


def _dynamic(bench, seed):
    graph, judge = bench.network(dynamic=True), bench.judge
    module = bench.one(graph, "joint", seed)
    squared = np.stack([cell_errors(judge, module, i) for i in bench.numbers], 1)
    lr, (w, h) = bench.source.lr, judge.cell
    sides = [np.diff(np.append(patches.cuts(n, c), n)) for n, c in ((lr.height, h), (lr.width, w))]
    pixels = np.broadcast_to(np.outer(*sides), squared.shape[1:])
    deep = module.macs_per_pixel * int(pixels.sum())
    choice, spent = patches.spend(squared, module.macs_of_path, pixels,
                                  deep * bench.options.mac_share / 100)
    of_frame = dict(zip(bench.numbers, choice))
    figures = bench.score(lambda i: judge.made(module, i, of_frame[i]))
    every = {}
    for path in range(1, module.paths):
        alone = np.full(choice.shape[1:], path)
        every[str(path)] = bench.score(lambda i, alone=alone: judge.made(module, i, alone))
    return {**figures, "bytes": parameter_bytes(graph), "macs": spent / int(pixels.sum()),
            "mac_share": spent / deep, "everywhere": every}


RUNS = {
    "awdnn": lambda bench, seed: _single(bench, seed, "uniform"),
    "time-chunks": _times,
    "stdo": _groups,
    "joint": lambda bench, seed: _single(bench, seed, "joint"),
    "dydca": _dynamic,
    "small": lambda bench, seed: _single(bench, seed, "uniform", 2),
    "subset": lambda bench, seed: _single(bench, seed, "subset"),
}


# ---- the command -------------------------------------------------------------------------


def compare(options, stop, say) -> dict:
    """Runs everything; what --json prints."""
    with tempfile.TemporaryDirectory(prefix="srpack-paper-") as name:
        clip = open_clip(options.clip, pathlib.Path(name), stop, scale=options.scale,
                         crf=options.crf, start=options.start, duration=options.duration,
                         protocol=options.protocol, threads=options.threads)
        scale, source = clip.geo.scale, clip.source
        shown = (clip.geo.width, clip.geo.height)
        limit = options.model_bytes or parameter_bytes(
            plain(options.family, scale, 16 if options.family == "edge" else 32))
        bench = Bench(options, source, Judge(source, scale, options.grid, shown), scale, limit,
                      patches.spaced(len(source.lr), options.frames), stop)
        wanted = options.method or list(METHODS)
        runs = wanted + ([] if options.no_baselines else list(BASELINES))
        for method in runs:  # what does not fit is said before anything is trained
            bench.network({"stdo": options.models, "time-chunks": options.models,
                           "small": 2}.get(method, 1), method == "dydca")
        begin = time.monotonic()
        module, digest = patches.general_model(scale)
        source.statistics = patches.score(source, scale, module=module, digest=digest,
                                          cell=options.grid, shown=shown, check=stop.check)
        result = {
            "clip": str(options.clip),
            "scale": scale,
            "protocol": options.protocol,
            "shown": list(shown),
            "frames": len(source.lr),
            "scored": len(bench.numbers),
            "cell": list(bench.judge.cell),
            "shave": scale + 4,
            "steps": options.steps,
            "model_bytes": limit,
            "models": options.models,
            "judge_seconds": round(time.monotonic() - begin, 1),
            "methods": {
                "bicubic": {"runs": [bench.score(bench.judge.filtered)]},
                "lanczos": {"runs": [bench.score(lambda i: bench.judge.filtered(i, lanczos))]},
            },
        }
        for method in runs:
            found = []
            for seed in range(options.seeds):
                stop.check()
                begin = time.monotonic()
                found.append(RUNS[method](bench, seed))
                found[-1]["seconds"] = round(time.monotonic() - begin, 1)
                say(f"{method}, seed {seed}: whole frames Y {found[-1]['frame_y']:.2f} dB, "
                    f"{found[-1]['seconds']:.0f} s")
            result["methods"][method] = {"runs": found}
    for one in result["methods"].values():
        one["mean"], one["spread"] = {}, {}
        for key in KEYS:
            values = [run[key] for run in one["runs"] if run[key] is not None]
            one["mean"][key] = float(np.mean(values)) if values else None
            one["spread"][key] = max(values) - min(values) if values else None
    return result


def markdown(result) -> str:
    """The table, for people."""
    def cell(one, key):
        mean, spread = one["mean"][key], one["spread"][key]
        if mean is None:
            return "-"
        return f"{mean:.2f}" + (f" ({spread:.2f})" if len(one["runs"]) > 1 else "")
    seeds = max(len(one["runs"]) for one in result["methods"].values())
    side = "clean bicubic" if result["protocol"] == "paper" else "decoded"
    lines = [
        f"## {pathlib.Path(result['clip']).name}, x{result['scale']}",
        "",
        f"{result['frames']} frames of {result['shown'][0]}x{result['shown'][1]}, {side} "
        f"low-resolution side; {result['steps']} steps and at most {result['model_bytes']} bytes of "
        f"f16 parameters for each method; {result['scored']} frames scored; mean of {seeds} seeds "
        "(in brackets: largest minus smallest). Patches: "
        f"{result['cell'][0]}x{result['cell'][1]} low-resolution pixels, {result['shave']} pixels "
        "shaved at each side, from the mean over patches of their mean squared error. Frames: "
        "nothing shaved. PSNR in dB.",
        "",
        "| method | patches Y | patches RGB | frames Y | frames RGB | bytes | MAC per LR pixel "
        "| s a run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in result["methods"].items():
        first = one["runs"][0]
        lines.append(
            f"| {name} | " + " | ".join(cell(one, key) for key in KEYS)
            + f" | {first.get('bytes', 0)} | {first.get('macs', 0):.0f} | "
            + (f"{np.mean([r['seconds'] for r in one['runs']]):.0f} |" if "seconds" in first
               else "- |"))
    known = {**METHODS, **BASELINES}
    lines += [""] + [f"- {name}: {known[name]}" for name in result["methods"] if name in known]
    for run in result["methods"].get("dydca", {"runs": []})["runs"][:1]:
        paths = "; ".join(f"path {path} everywhere {figures['frame_y']:.2f} dB"
                          for path, figures in run["everywhere"].items())
        lines.append(f"- dydca with seed 0: {100 * run['mac_share']:.0f} % of the deep path's "
                     f"multiply-accumulates; frames Y: {paths}")
    return "\n".join(lines) + "\n"


def run(argv, stop) -> int:
    options = parse(argv)
    stop.install()
    try:
        result = compare(options, stop,
                         lambda text: print(f"srpack: {text}", file=sys.stderr, flush=True))
    except (ValueError, FloatingPointError) as error:
        raise PackError(f"{options.clip}: {one_line(error)}") from error
    text = markdown(result)
    if options.output is not None:
        for suffix, data in ((".md", text), (".json", json.dumps(result, indent=1) + "\n")):
            path = options.output.with_name(options.output.name + suffix)
            try:
                path.write_text(data, encoding="utf-8")
            except OSError as error:
                raise PackError(f"{path}: {error.strerror}") from error
    print(json.dumps(result, indent=1) if options.json else text, end="\n" if options.json else "")
    return 0
