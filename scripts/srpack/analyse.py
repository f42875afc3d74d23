# SPDX-License-Identifier: BSD-2-Clause
"""`srpack analyse`: which patches of a video are hard, and how unevenly the error lies."""

import argparse
import json
import pathlib
import tempfile

import numpy as np

from . import media, patches
from .clip import PROTOCOLS, Clip, frames, open_clip
from .errors import PackError, UsageError, one_line
from .measure import Judge, decibel
from .options import Parser, _crf, _integer, _positive, cell_size, seconds
from .verify import check

QUANTILES = (1, 10, 25, 50, 75, 90, 99)
WORST = (5, 10, 20, 50)


def parse(argv):
    parser = Parser(
        prog="srpack analyse",
        description="Cuts the frames of videos on a grid, lets a general network enlarge them, and "
        "says where it is wrong. Nothing is trained or packed.",
        allow_abbrev=False)
    parser.add_argument("sources", nargs="+", type=pathlib.Path, metavar="VIDEO|PACKAGE",
                        help="any file that FFmpeg reads, or a directory that srpack wrote")
    parser.add_argument("--reference", type=pathlib.Path, metavar="VIDEO",
                        help="what a package was made from")
    parser.add_argument("--scale", type=_integer(1, 4),
                        help="1..4 (default: 4 from 1080 lines up, else 2)")
    parser.add_argument("--codec", choices=("h264", "hevc", "av1"), default="h264",
                        help="default: h264")
    parser.add_argument("--crf", type=_crf, default=20, metavar="N",
                        help="constant quality (default: 20)")
    parser.add_argument("--start", type=seconds, default=0.0, metavar="TIME",
                        help="begin here (default: 0)")
    parser.add_argument("--duration", type=_positive, metavar="TIME",
                        help="look at so much (default: all)")
    parser.add_argument("--frames", type=_integer(1, 10**6), metavar="N",
                        help="judge N evenly spread frames (default: all that training would see)")
    parser.add_argument("--grid", type=cell_size, metavar="WxH",
                        help="low-resolution pixels of a cell (default: 48x54; 64x60 at scale 3)")
    parser.add_argument("--groups", type=_integer(1, 64), default=4, metavar="N",
                        help="groups of equal number, by PSNR (default: 4)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="codec",
                        help="frames as viewers decode them, or clean reduced ones as in papers "
                        "(default: codec)")
    parser.add_argument("--store", type=pathlib.Path, metavar="FILE.npz",
                        help="keep the statistics (docs/training.md says what is in it)")
    parser.add_argument("--threads", type=_integer(0, 64), default=0, metavar="N",
                        help="of the encoder (default: its own choice)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-vv: tracebacks")
    options = parser.parse_args(argv)
    if options.store is not None and len(options.sources) > 1:
        raise UsageError("--store: is for one video (srpack analyse --help)")
    return options


def _manifest(folder, stop) -> dict:
    """That of a package which is whole, as the player's own reader sees it."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise PackError(f"{folder}: not a package: no manifest.json")
    check(folder, stop)
    return json.loads(path.read_bytes())


def _package(folder, reference, work, stop, options) -> Clip:
    """A package's own low-resolution frames against the video that it was made from."""
    if reference is None:
        raise UsageError(f"{folder}: a package needs --reference VIDEO, what it was made from")
    manifest = _manifest(folder, stop)
    scale, low = manifest["scale"], manifest["video"]
    video = work / "package.mp4"
    with open(video, "wb") as file:
        for item in (low["init"], *(chunk["segment"] for chunk in manifest["chunks"])):
            file.write((folder / item["uri"]).read_bytes())
    clip = open_clip(reference, work, stop, scale=scale, start=manifest["source"]["start"],
                     duration=manifest["frame_count"] * manifest["frame_rate"][1]
                     / manifest["frame_rate"][0], protocol="paper", threads=options.threads)
    if (clip.geo.lr_width, clip.geo.lr_height) != (low["width"], low["height"]):
        raise PackError(f"{reference}: is not what {folder} was made from: "
                        f"{clip.geo.width}x{clip.geo.height}")
    media.decode_video(video, clip.every, work / "lr.yuv", stop)
    clip.source = frames(work, clip.geo, manifest["colour"], "codec")
    if len(clip.source.lr) != len(clip.source.hr):
        raise PackError(f"{reference}: has {len(clip.source.hr)} frames where {folder} has "
                        f"{len(clip.source.lr)}")
    return clip


def summary(found, groups) -> dict:
    """What one store says; dB of cells."""
    pixels = np.broadcast_to(found.pixels(), found.squared().shape)
    known = pixels > 0
    squared, bicubic, psnr = found.squared()[known], found.squared(True)[known], found.psnr()[known]
    mse = squared / pixels[known]
    order = np.argsort(-mse, kind="stable")
    total = squared.sum()
    below = [(found.labels(groups)[known] == g) for g in range(groups)]

    def share(percent):
        worst = order[: max(1, round(len(order) * percent / 100))]
        return float(squared[worst].sum() / total) if total > 0 else 0.0
    result = {
        "model": found.model,
        "scale": found.scale,
        "size": list(found.size),
        "cell": list(found.cell),
        "grid": [found.columns, found.rows],
        "frames": len(found.numbers),
        "patches": int(known.sum()),
        "psnr_y": decibel(total / pixels[known].sum(), 1),
        "psnr_y_bicubic": decibel(bicubic.sum() / pixels[known].sum(), 1),
        "quantiles": {str(q): float(np.percentile(psnr, q)) for q in QUANTILES},
        "error_of_worst": {str(p): share(p) for p in WORST},
        "below_40_db": float((psnr <= 40).mean()),
        "groups": [
            {
                "from_db": float(psnr[cells].min()),
                "to_db": float(psnr[cells].max()),
                "error": float(squared[cells].sum() / total) if total > 0 else 0.0,
                "joint_share": float(patches.shares(groups)[g]),
            }
            for g, cells in enumerate(below) if cells.any()
        ],
    }
    # A threshold that sends the worst cells with half, and with four fifths of the error one way.
    cumulated = np.cumsum(squared[order])
    result["thresholds"] = {
        str(part): float(psnr[order[np.searchsorted(cumulated, part / 100 * total)]])
        for part in (50, 80)
    } if total > 0 else {}
    if found.shaved is not None:
        left = found.shaved_pixels()
        cells = found.shaved[:, left > 0] / left[left > 0][None, :, None]
        for i, name in enumerate(("patch_y", "patch_rgb")):
            result[name] = decibel(float(cells[..., i].sum()), cells[..., i].size)
    return {"video": "", **result}


def analyse(path, options, stop) -> dict:
    """Judges one video or package."""
    with tempfile.TemporaryDirectory(prefix="srpack-analyse-") as name:
        work = pathlib.Path(name)
        if path.is_dir():
            clip = _package(path, options.reference, work, stop, options)
        else:
            clip = open_clip(path, work, stop, scale=options.scale, codec=options.codec,
                             crf=options.crf, start=options.start, duration=options.duration,
                             protocol=options.protocol, threads=options.threads)
        numbers = patches.spaced(len(clip.source.lr), options.frames or len(clip.source.lr))
        scale, shown = clip.geo.scale, (clip.geo.width, clip.geo.height)
        judge = Judge(clip.source, scale, options.grid, shown)
        module, digest = patches.general_model(scale)
        found = patches.score(
            clip.source, scale, module=module, digest=digest, cell=options.grid, numbers=numbers,
            shown=shown, check=stop.check,
            shaved=lambda luma, n: (judge.with_chroma(luma, n), judge.truth(n)[1]))
        if options.store is not None:
            try:
                found.save(options.store)
            except OSError as error:
                raise PackError(f"{options.store}: {error.strerror}") from error
        return {**summary(found, options.groups), "video": str(path), "every": clip.every}


def table(result) -> str:
    def db(value):
        return "-" if value is None else f"{value:.2f} dB"
    lines = [
        f"{result['video']}: {result['frames']} frames, {result['patches']} patches of "
        f"{result['cell'][0]}x{result['cell'][1]} at {result['size'][0]}x{result['size'][1]}, "
        f"scale {result['scale']}",
        f"judged by {result['model']}: whole frames {db(result['psnr_y'])} "
        f"(bicubic {db(result['psnr_y_bicubic'])}); shaved patches Y {db(result.get('patch_y'))}, "
        f"RGB {db(result.get('patch_rgb'))}",
        "",
        "patches below, %   " + "".join(f"{q:>8}" for q in result["quantiles"]),
        "PSNR Y, dB         " + "".join(f"{v:>8.2f}" for v in result["quantiles"].values()),
        "",
        "the worst, %       " + "".join(f"{p:>8}" for p in result["error_of_worst"]),
        "hold of the error  " + "".join(f"{100 * v:>6.1f} %"
                                        for v in result["error_of_worst"].values()),
        "",
        f"{'group':<8}{'from':>8}{'to dB':>9}{'error':>9}{'joint training keeps':>22}",
    ]
    for i, g in enumerate(result["groups"]):
        lines.append(f"{i + 1:<8}{g['from_db']:>8.2f}{g['to_db']:>9.2f}{100 * g['error']:>7.1f} %"
                     f"{100 * g['joint_share']:>20.0f} %")
    lines += ["", f"at most 40 dB: {100 * result['below_40_db']:.1f} % of the patches"]
    for part, value in result["thresholds"].items():
        lines.append(f"{part} % of the error lies in patches of at most {value:.2f} dB")
    return "\n".join(lines)


def run(argv, stop) -> int:
    options = parse(argv)
    stop.install()
    results = []
    for path in options.sources:
        try:
            results.append(analyse(path, options, stop))
        except ValueError as error:
            raise PackError(f"{path}: {one_line(error)}") from error
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        print("\n\n".join(map(table, results)))
    return 0
