# SPDX-License-Identifier: BSD-2-Clause
"""The processes that run one engine on one model: rivals, which stay and answer, and srbench.

A process that waits for its turn is stopped (SIGSTOP), so that no spinning thread of it disturbs another.
"""
import json
import os
import resource
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .rivals import Missing

ANSWER_SECONDS = 180
# Memory that an engine frees stays with the process: fresh pages for each picture would be the dearest
# part of it. Huge pages where the kernel gives them on request, as srplay has them.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
               "MALLOC_TOP_PAD_": str(1 << 26), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@dataclass(frozen=True)
class Case:
    """One model at its size, dtype and number of threads. `folder` is what prepare.py wrote."""
    model: str
    graph: Path
    size: str
    macs: int
    dtype: str
    threads: int
    folder: Path
    work: Path


class _Noise:
    """Share of one core that other processes took while this one ran."""

    def __init__(self):
        self.begin, self.busy = time.monotonic(), machine.cpu_seconds()

    def share(self, own_seconds):
        wall = max(time.monotonic() - self.begin, 1e-3)
        return max(0.0, (machine.cpu_seconds() - self.busy - own_seconds) / wall)


class Rival:
    """`python -m bench.rival NAME --serve`. Missing when it refuses, fails or does not answer."""

    def __init__(self, name, case):
        self.name, self.errors = name, tempfile.TemporaryFile()
        scripts = Path(__file__).resolve().parents[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.rival", name, "--model", case.graph, "--size", case.size,
             "--threads", str(case.threads), "--dtype", case.dtype, "--work", case.work, "--serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(scripts), "PYTHONWARNINGS": "ignore"})
        self.buffer = b""
        try:
            ready = self._answer()
            if "missing" in ready:
                raise Missing(ready["missing"])
        except BaseException:
            self.stop()
            raise
        self.version = ready["version"]
        self.process.send_signal(signal.SIGSTOP)

    def _answer(self):
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Missing(f"no answer in {ANSWER_SECONDS} s")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise Missing(self._last_error())
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def _last_error(self):
        status = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"failed ({status}): {lines[-1][:150] if lines else 'no message'}"

    def _ask(self, command):
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
            answer = self._answer()
        except BrokenPipeError:
            raise Missing(self._last_error()) from None
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def burst(self, seconds):
        """Median and least of about `seconds` of runs."""
        noise, own = _Noise(), machine.process_cpu_seconds(self.process.pid)
        answer = self._ask(f"run {seconds}")
        own = machine.process_cpu_seconds(self.process.pid) - own
        return {"ms": statistics.median(answer["ms"]), "ms_min": min(answer["ms"]),
                "runs": len(answer["ms"]), "peak_rss_bytes": answer["peak_rss_bytes"],
                "elsewhere": noise.share(own)}

    def check(self):
        """Relative root mean square of the difference from PyTorch's float32 output."""
        return self._ask("check")["rms"]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


def _children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Srplay:
    """`srbench engine`: 8-bit pictures in and out; a process of its own for each burst."""

    def __init__(self, srbench, case, ops_per_s):
        self.command = [srbench, "engine", "--graph", case.graph, "--size", case.size, "--threads",
                        str(case.threads), "--dtype", case.dtype, "--parameters",
                        case.folder / "parameters.safetensors", "--json"]
        self.dtype = case.dtype
        self.guess = 2 * case.macs / ops_per_s  # seconds of one run
        self.version = ""
        self._run(1)

    def _run(self, runs):
        noise, before = _Noise(), _children_seconds()
        process = subprocess.Popen([*self.command, "--runs", str(runs)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        rss = 0
        while process.poll() is None:
            rss = max(rss, machine.peak_rss(process.pid))
            time.sleep(0.02)
        text, errors = (stream.read().decode(errors="replace") for stream in (process.stdout,
                                                                              process.stderr))
        process.stdout.close()
        process.stderr.close()
        if process.returncode:
            lines = errors.strip().splitlines()
            raise Missing(lines[-1] if lines else f"failed ({process.returncode})")
        answer = json.loads(text)
        if (answer["dtype"] == "f32") != (self.dtype == "f32"):
            raise Missing(f"srbench ran {answer['dtype']}")
        self.guess = answer["ms_p50"] / 1e3
        own = _children_seconds() - before
        return {"ms": answer["ms_p50"], "ms_min": answer["ms_min"], "runs": answer["runs"],
                "peak_rss_bytes": rss, "arena_bytes": answer["arena_bytes"],
                "backend": answer["backend"], "isa": answer["isa"], "elsewhere": noise.share(own)}

    def burst(self, seconds):
        return self._run(max(1, round(seconds / self.guess)))

    def check(self):
        """Its own tests compare it with PyTorch."""
        return None

    def stop(self):
        pass
