# SPDX-License-Identifier: BSD-2-Clause
"""The command line of srpack."""

import argparse
import os
import pathlib
import re
from fractions import Fraction

from .errors import UsageError

INT8 = ("w8a8", "w8a8-mixed")  # values of --quant that ship codes

EPILOG = """examples:
  srpack movie.mp4 -o out          scale 4 from 1080 lines up, else 2; 5 minutes of training
  srpack movie.mp4 -o out --scale 2 --codec hevc --crf 26 --budget 10m
  srpack movie.mp4 -o out --start 1:30 --duration 20 --model wdsr2
  srpack movie.mp4 -o out --chunks 4           a small network for each of four groups of patches
  srpack analyse movie.mp4                     which patches are hard: srpack analyse --help
  srpack paper movie.mp4 --method joint        the papers' comparison: srpack paper --help
  srpack import model.onnx -o models/mine-x2   a network of your own: srpack import --help

exit status: 0 packed, 1 usage, 2 could not pack,
             4 interrupted (run the same command again to go on)
"""


def seconds(text: str) -> float:
    """90, 90s, 1.5m, 2h, 1:30, 1:02:03.5"""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match:
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    match = re.fullmatch(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)", text)
    if match and int(match[2]) < 60 and float(match[3]) < 60:
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3])
    raise argparse.ArgumentTypeError(f"{text!r} is not a time (90, 90s, 3m, 1:30)")


def _positive(text: str) -> float:
    value = seconds(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than zero")
    return value


def bitrate(text: str) -> int:
    """700000, 700k, 2.5M: bits per second"""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text)
    unit = {"": 1, "k": 1000, "m": 1000000}
    value = int(float(match[1]) * unit[match[2].lower()]) if match else 0
    if not 1000 <= value <= 1000000000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a bit rate (700k, 2.5M)")
    return value


def _integer(low, high):
    def parse(text):
        if not re.fullmatch(r"\d{1,10}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)
    return parse


def _crf(text):
    if not re.fullmatch(r"\d{1,2}(\.\d+)?", text) or float(text) > 63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a quality from 0 to 63")
    return float(text) if "." in text else int(text)


def _decibel(text):
    if not re.fullmatch(r"\d{1,2}(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of dB from 0 to 99")
    return float(text)


def _percent(text):
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", text) or float(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 100 %")
    return float(text)


def cell_size(text: str) -> tuple[int, int]:
    """48x54: even, 8 to 1024"""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    sides = (int(match[1]), int(match[2])) if match else ()
    if not match or any(side % 2 or not 8 <= side <= 1024 for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size of cells (48x54: even, 8 to 1024 pixels)")
    return sides


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message} ({self.prog} --help)")


def _quantisation(parser):
    group = parser.add_argument_group("arithmetic")
    group.add_argument("--quant",
                       choices=(*INT8, "bf16", "f32"),
                       default="w8a8-mixed",
                       help="w8a8: int8; w8a8-mixed: with 16 bits and finer scales where they pay; "
                       "bf16, f32: parameters of these, no int8 (default: w8a8-mixed)")
    group.add_argument("--granularity",
                       choices=("tensor", "channel", "group", "mixed"),
                       help="scales of int8 weights: one for a layer, for each output channel, for "
                       "groups of input channels, or groups in the layers that need them "
                       "(default: channel with w8a8, else mixed)")
    group.add_argument("--group-width",
                       type=_integer(1, 64),
                       metavar="N",
                       help="input channels of a group, at most (default: 16)")
    group.add_argument("--flag-zeros",
                       type=_percent,
                       metavar="PERCENT",
                       help="a layer needs groups where more of its weights become zero "
                       "(default: 10)")
    group.add_argument("--qat",
                       type=_integer(0, 10**9),
                       metavar="N",
                       help="so many training steps with int8's arithmetic, at most 15 %% of the "
                       "budget; 0: none (default: 5 %% of the training)")
    group.add_argument("--quant-loss",
                       type=_decibel,
                       default=0.1,
                       metavar="DB",
                       help="what int8 may lose against f32 (default: 0.1)")
    group.add_argument("--updates",
                       type=_integer(0, 10**9),
                       metavar="N",
                       help="let each chunk change the parameters where that is worth its bytes: "
                       "so many training steps for each (default: 0, none)")
    group.add_argument("--quant-report",
                       type=pathlib.Path,
                       metavar="FILE",
                       help="try every granularity, before and after training, on the held-out "
                       "frames by the engine; JSON")


def _check_quantisation(options):
    """Options that make no sense together; what is left open."""
    int8 = options.quant in INT8
    for name in ("granularity", "group_width", "flag_zeros", "qat", "quant_report", "updates"):
        if getattr(options, name) is None:
            continue
        if not int8 or options.model == "none":
            reason = (f"--quant {options.quant} has no int8" if not int8
                      else "--model none has no network")
            raise UsageError(f"--{name.replace('_', '-')}: {reason} (srpack --help)")
    if options.chunks and options.updates:
        raise UsageError("--updates: the models of --chunks are not trained in int8")
    if options.chunks and options.qat:
        raise UsageError("--qat: the models of --chunks are not trained in int8")
    if options.granularity is None:
        options.granularity = "channel" if options.quant == "w8a8" else "mixed"
    for name in ("group_width", "flag_zeros"):
        if getattr(options, name) is not None and options.granularity not in ("group", "mixed"):
            raise UsageError(f"--{name.replace('_', '-')}: --granularity {options.granularity} has "
                             "no groups")
    if (options.flag_zeros is not None and options.granularity == "group"
            and options.quant_report is None):  # which has a row of mixed
        raise UsageError("--flag-zeros: --granularity group has groups in every layer")
    if options.quant_report is not None:
        options.quant_report = pathlib.Path(os.path.abspath(options.quant_report))
        if options.quant_report.is_relative_to(options.output):
            raise UsageError(f"--quant-report {options.quant_report}: a package holds nothing else")


def parse(argv) -> argparse.Namespace:
    parser = Parser(
        prog="srpack",
        description="Packs a video for srplay: low-resolution HLS and the network that "
        "restores it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    parser.add_argument("source",
                        type=pathlib.Path,
                        metavar="VIDEO",
                        help="any file that FFmpeg reads")
    parser.add_argument(
        "-o",
        "--output",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="the package; an older package there is replaced when the new one is complete")
    parser.add_argument("--scale",
                        type=_integer(1, 4),
                        help="1..4 (default: 4 from 1080 lines up, else 2)")
    parser.add_argument("--codec",
                        choices=("h264", "hevc", "av1"),
                        default="h264",
                        help="default: h264")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--bitrate",
                      type=bitrate,
                      metavar="R",
                      help="bits per second of the video, like 700k")
    rate.add_argument("--crf", type=_crf, metavar="N", help="constant quality (default: 20)")
    parser.add_argument("--chunk",
                        type=_positive,
                        default=4.0,
                        metavar="TIME",
                        help="length of a chunk (default: 4s)")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a graph of $SRP_MODELS_DIR or models/, like edge16 or dydca; a graph file; or none "
        "(default: edge-dyn; with --chunks edge16)")
    policy = parser.add_mutually_exclusive_group()
    policy.add_argument(
        "--joint",
        action="store_true",
        help="one model: all patches of the hardest group, fewer of the next, none of the easiest "
        "(this is the default)")
    policy.add_argument(
        "--chunks",
        type=_integer(2, 7),
        metavar="K",
        help="a copy of the model, 2..7, for each of K groups of patches by difficulty")
    parser.add_argument("--groups",
                        type=_integer(1, 64),
                        default=4,
                        metavar="N",
                        help="groups of --joint; 1: all patches (default: 4)")
    parser.add_argument("--protocol",
                        choices=("codec", "paper"),
                        default="codec",
                        help="train on frames as viewers decode them, or as the papers do on clean "
                        "reduced ones (default: codec)")
    parser.add_argument("--budget",
                        type=_positive,
                        metavar="TIME",
                        help="training time (default: 5m)")
    parser.add_argument(
        "--steps",
        type=_integer(1, 10**9),
        metavar="N",
        help="training steps instead of a time: the same package each time on a CPU")
    parser.add_argument("--route-loss",
                        type=_decibel,
                        default=0.05,
                        metavar="DB",
                        help="what routes may lose against the dearest path of a dynamic model "
                        "everywhere (default: 0.05)")
    parser.add_argument("--grid",
                        type=cell_size,
                        metavar="WxH",
                        help="low-resolution pixels of a cell of routes (default: 48x54; 64x60 at "
                        "scale 3)")
    _quantisation(parser)
    parser.add_argument("--threads",
                        type=_integer(0, 64),
                        default=0,
                        metavar="N",
                        help="default: one per core")
    parser.add_argument("--start",
                        type=seconds,
                        default=0.0,
                        metavar="TIME",
                        help="begin here (default: 0)")
    parser.add_argument("--duration",
                        type=_positive,
                        metavar="TIME",
                        help="pack so much (default: all)")
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    parser.add_argument("--seed", type=_integer(0, 2**31 - 1), default=0, metavar="N")
    parser.add_argument("--measure-frames", type=_integer(1, 10**9), metavar="N",
                        help="judge the quality by the first N frames (default: all)")
    parser.add_argument("--work-dir", type=pathlib.Path, metavar="DIR",
                        help="for intermediate files (default: DIR.srpack-work beside the package)")
    parser.add_argument("--restart",
                        action="store_true",
                        help="discard what an interrupted run left")
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None,
                        help="progress bars (default: on a terminal)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("-v",
                        "--verbose",
                        action="count",
                        default=0,
                        help="more detail; -vv: tracebacks")
    options = parser.parse_args(argv)
    # Absolute: never empty, and never like an option to the programs that are run.
    options.output = pathlib.Path(os.path.abspath(options.output))
    if options.work_dir is not None:
        options.work_dir = pathlib.Path(os.path.abspath(options.work_dir))
    if not options.output.name:
        raise UsageError(f"--output {options.output}: not a place for a package")
    if options.budget is not None and options.steps is not None:
        raise UsageError("--budget and --steps exclude each other (srpack --help)")
    _check_quantisation(options)
    if options.model is None:
        options.model = "edge16" if options.chunks else "edge-dyn"
    if options.budget is None and options.steps is None:
        options.budget = 300.0
    if options.crf is None and options.bitrate is None:
        options.crf = 20
    if options.crf is not None and options.codec != "av1" and options.crf > 51:
        raise UsageError(f"--crf {options.crf}: {options.codec} takes 0 to 51")
    return options


def chunk_frames(chunk: float, rate: Fraction) -> int:
    return max(1, round(Fraction(chunk) * rate))
