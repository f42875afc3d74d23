# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`; options come by `make bench BENCH="..."`. See docs/benchmarks.md."""
import argparse
import os
import sys
from pathlib import Path

from . import report
from .driver import Bench, Settings, known_engines

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("wdsr2-x2", "wdsr2-x3", "wdsr2-x4", "wdsr4-x2", "wdsr4-x3", "wdsr4-x4", "wdsr16-x4",
          "edge16-x2", "edge16-x3", "edge16-x4", "espcn-x2", "espcn-x3", "espcn-x4")
DTYPES = ("f32", "int8", "bf16")
QUICK_MODELS = ("edge16-x4",)


def parse(argv):
    def names(known):
        def split(text):
            chosen = text.split(",")
            wrong = [name for name in chosen if name not in known]
            if wrong:
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(wrong)} (of {', '.join(known)})")
            return chosen
        return split

    parser = argparse.ArgumentParser(prog="bench", description="srplay and other engines side by side")
    parser.add_argument("build", type=Path, nargs="?", default=Path("build"), help="folder with srbench")
    parser.add_argument("--quick", action="store_true", help="one model, few runs")
    parser.add_argument("--only", type=names(known_engines()), metavar="ENGINE,...",
                        help=f"of {', '.join(known_engines())}")
    parser.add_argument("--models", type=names(MODELS), metavar="MODEL,...")
    parser.add_argument("--dtype", type=names(DTYPES), metavar="DTYPE,...")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], metavar="N,...")
    return parser.parse_args(argv)


def settings(a):
    cores = os.cpu_count() or 1
    threads = a.threads or ([min(cores, 2)] if a.quick else sorted({1, min(cores, 2)}))
    whole = not (a.quick or a.only or a.models or a.dtype or a.threads)
    return Settings(ROOT, a.build.resolve(), a.models or list(QUICK_MODELS if a.quick else MODELS),
                    a.only or known_engines(), a.dtype or list(DTYPES), threads,
                    rounds=2 if a.quick else 3, seconds=0.2, own_parts=whole)


def main(argv=None):
    chosen = settings(parse(argv))
    result = Bench(chosen).run()
    text = report.markdown(result)
    if chosen.own_parts:  # a part of the figures must not replace the whole
        report.replace(ROOT / "docs" / "benchmarks.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
