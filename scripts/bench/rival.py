# SPDX-License-Identifier: BSD-2-Clause
"""Measures one engine on one model: one JSON line after warm-up and SECONDS of runs.

    python -m bench.rival NAME --model GRAPH --size WxH --threads N --dtype f32|int8|bf16

The line: engine, version, ms (one number for each run), peak_rss_bytes, rms (relative root mean
square of the difference from PyTorch's float32 output). Or {"missing": REASON}, and that is no error.
With --serve the process prints {"ready": true, "version": V} after its warm-up and then answers each line on
standard input: `run SECONDS` with ms and peak_rss_bytes, `check` with rms.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import rivals
from .network import Network, relative_rms

ROOT = Path(__file__).resolve().parents[2]
WARM_RUNS, WARM_SECONDS = 3, 0.3
MOST_RUNS = 100000


@dataclass
class Task:
    """What to measure; `folder` is what prepare.py wrote."""
    folder: Path
    work: Path
    threads: int
    dtype: str
    seconds: float
    serve: bool

    def network(self):
        return Network.load(self.folder / "network.npz")

    def picture(self):
        """Bytes [1][c][h][w]."""
        return np.load(self.folder / "picture.npy")

    def samples(self):
        """Float32 [1][c][h][w] without the mean."""
        return self.picture().astype(np.float32) / 255 - np.float32(0.5)

    def reference(self):
        return np.load(self.folder / "reference.npy")


def peak_rss():
    """High-water mark of this process alone; ru_maxrss would count the parent's before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def burst(run, seconds):
    """Milliseconds of each run; at least one."""
    ms, begin = [], time.perf_counter()
    while len(ms) < MOST_RUNS:
        t = time.perf_counter()
        if ms and t - begin >= seconds:
            break
        run()
        ms.append((time.perf_counter() - t) * 1e3)
    return ms


def warm_up(run):
    begin, runs = time.perf_counter(), 0
    while True:
        run()
        runs += 1
        spent = time.perf_counter() - begin
        if spent >= WARM_SECONDS * (1 if runs >= WARM_RUNS else 2):
            return


def own_stdout():
    """Engines print: what they write goes to standard error, the returned file is standard output."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def measure(engine, version, task, say):
    run = engine.run
    warm_up(run)

    def timed(seconds):
        return {"ms": [round(v, 4) for v in burst(run, seconds)], "peak_rss_bytes": peak_rss()}

    def check():
        run()
        return {"rms": relative_rms(engine.output(), task.reference())}

    if not task.serve:
        return {**timed(task.seconds), **check()}
    say(ready=True, version=version)
    for line in sys.stdin:
        word = line.split()
        say(**(check() if word == ["check"] else timed(float(word[1]))))
    return None


def arguments(argv):
    parser = argparse.ArgumentParser(prog="bench.rival", description="measure one engine on one model")
    parser.add_argument("name", choices=rivals.NAMES)
    parser.add_argument("--model", required=True, type=Path, help="a graph of models/")
    parser.add_argument("--size", required=True, help="WIDTHxHEIGHT of the input")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("f32", "int8", "bf16"), default="f32")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="for converted models")
    parser.add_argument("--serve", action="store_true", help="answer commands on standard input")
    return parser.parse_args(argv)


def prepared(graph, size, work):
    """The folder of a model at a size. Another process writes it: PyTorch would count as memory here."""
    folder = work / "models" / f"{graph.stem}-{size}"
    if not (folder / "reference.npy").exists():
        subprocess.run([sys.executable, "-m", "bench.prepare", graph, size, folder], check=True)
    return folder


def main(argv=None):
    a = arguments(argv)
    stream = own_stdout()

    def say(**line):
        print(json.dumps(line), file=stream)

    task = Task(prepared(a.model, a.size, a.work), a.work, a.threads, a.dtype, a.seconds, a.serve)
    try:
        module = rivals.load(a.name)
        if hasattr(module, "command"):
            command = [str(c) for c in module.command(task)]
            os.dup2(stream.fileno(), 1)
            environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
            os.execve(command[0], command, environment)  # it asks for huge pages itself
        answer = measure(module.Engine(task), module.version(), task, say)
        if answer:
            say(engine=a.name, version=module.version(), **answer)
    except rivals.Missing as missing:
        say(engine=a.name, missing=str(missing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
