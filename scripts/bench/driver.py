# SPDX-License-Identifier: BSD-2-Clause
"""Runs everything and collects it: peaks, engines in turns, one core taken, srplay's own parts.

A point is one engine on one case. The engines of a case take turns, several rounds, so that a slow
moment of the machine hits all alike; the figure is the median of the rounds' medians.
"""
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass

from . import machine, rivals
from .rivals import Missing
from .workers import Case, Rival, Srplay

OUTPUT = (1920, 1080)
OWN_MODELS = ("edge8-x2", "edge8-x4", "edge16-x1")  # beside those that the rivals run
BUSY_MODELS = ("wdsr2-x4", "edge16-x4")
SLOW_MS = 500  # an engine that takes longer for a picture has two turns: its figure varies little
PEAK_KEYS = {"f32": "fp32_ops_per_s", "int8": "int8_ops_per_s", "bf16": "bf16_ops_per_s"}


@dataclass
class Settings:
    root: object       # of the repository
    build: object      # folder with srbench; results go to its bench/
    models: list
    engines: list      # names of rivals, and srplay
    dtypes: list
    threads: list
    rounds: int
    seconds: float     # of one burst
    own_parts: bool    # also srplay's further models and the demo package


def run_json(*command, stdin=None):
    """The JSON that a command prints."""
    done = subprocess.run([str(c) for c in command], stdin=stdin, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def run_text(*command):
    """What a command prints; "" when it fails (a copy of the sources without git)."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def say(text):
    print(text, file=sys.stderr, flush=True)


def size_of(model):
    scale = int(model.rpartition("-x")[2])
    return f"{OUTPUT[0] // scale}x{OUTPUT[1] // scale}"


class Bench:
    def __init__(self, settings):
        self.s = settings
        self.work = settings.build / "bench"
        self.result = {"machine": machine.describe(), "versions": {}, "peaks": [], "points": [],
                       "busy": []}

    def peaks(self):
        """Taken before, between and after: what the machine gave at that time."""
        for threads in self.s.threads:
            self.result["peaks"].append(run_json(self.s.build / "srbench", "peak", "--threads", threads,
                                                 "--json"))

    def peak(self, dtype, threads):
        """Median operations per second; None where the machine has no such instruction."""
        values = [p[PEAK_KEYS[dtype]] for p in self.result["peaks"] if p["threads"] == threads]
        values = [v for v in values if v]
        return statistics.median(values) if values else None

    def cases(self, model, dtypes, threads):
        graph, size = self.s.root / "models" / f"{model}.json", size_of(model)
        folder = self.work / "models" / f"{model}-{size}"
        say(f"{model}: converting")
        subprocess.run([sys.executable, "-m", "bench.prepare", graph, size, folder], check=True)
        macs = json.loads((folder / "network.json").read_text())["macs"]
        for dtype in dtypes:
            for count in threads:
                yield Case(model, graph, size, macs, dtype, count, folder, self.work)

    def start(self, name, case):
        if name != "srplay":
            return Rival(name, case)
        return Srplay(self.s.build / "srbench", case, self.peak("f32", case.threads))

    @contextlib.contextmanager
    def started(self, case):
        """Workers by name, and why the others are missing. They end with the context."""
        workers, missing = {}, {}
        try:
            for name in self.s.engines:
                try:
                    workers[name] = self.start(name, case)
                    if workers[name].version:
                        self.result["versions"][name] = workers[name].version
                except Missing as reason:
                    missing[name] = str(reason)
            yield workers, missing
        finally:
            for worker in workers.values():
                worker.stop()

    def turns(self, workers, missing, rounds):
        """Bursts of each worker; who fails moves to the missing."""
        bursts = {name: [] for name in workers}
        for turn in range(rounds):
            names = list(workers)
            for name in names[turn % max(len(names), 1):] + names[:turn % max(len(names), 1)]:
                slow = turn >= 2 and bursts[name] and bursts[name][-1]["ms"] > SLOW_MS
                if name in missing or slow:
                    continue
                try:
                    bursts[name].append(workers[name].burst(self.s.seconds))
                except Missing as reason:
                    missing[name] = str(reason)
        return {name: b for name, b in bursts.items() if name not in missing}

    def measure(self, case, check):
        key = {"model": case.model, "size": case.size, "dtype": case.dtype, "threads": case.threads}
        with self.started(case) as (workers, missing):
            for name, bursts in self.turns(workers, missing, self.s.rounds).items():
                ms = statistics.median(b["ms"] for b in bursts)
                point = {**key, "engine": name, "macs": case.macs, "ms": ms,
                         "ms_min": min(b["ms_min"] for b in bursts),
                         "round_ms": [b["ms"] for b in bursts], "runs": sum(b["runs"] for b in bursts),
                         "ops_per_s": 2 * case.macs / ms * 1e3,
                         "peak_rss_bytes": max(b["peak_rss_bytes"] for b in bursts),
                         "elsewhere": statistics.median(b["elsewhere"] for b in bursts)}
                point.update({k: bursts[-1][k] for k in ("arena_bytes", "backend", "isa")
                              if k in bursts[-1]})
                try:
                    point.update({"rms": workers[name].check()} if check else {})
                except Missing as reason:
                    missing[name] = str(reason)
                    continue
                self.result["points"].append(point)
        self.result["points"] += [{**key, "engine": name, "missing": why}
                                  for name, why in missing.items()]
        done = [p for p in self.result["points"][-len(self.s.engines):] if "ms" in p]
        say(f"{case.model} {case.dtype} {case.threads}T: "
            + ", ".join(f"{p['engine']} {p['ms']:.1f}" for p in sorted(done, key=lambda p: p["ms"])))

    def engines(self):
        for number, model in enumerate(self.s.models):
            if number % 4 == 0:
                self.peaks()
            for case in self.cases(model, self.s.dtypes, self.s.threads):
                self.measure(case, check=case.threads == self.s.threads[0])
                self.save()
        self.peaks()

    def busy(self):
        """The same with another process spinning on the first core, as many threads as asked at most."""
        threads = max(self.s.threads)
        models = [m for m in BUSY_MODELS if m in self.s.models] or self.s.models[:1]
        dtypes = [d for d in self.s.dtypes if d != "bf16"] or self.s.dtypes
        spinner = subprocess.Popen([sys.executable, "-c",
                                    "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
                                    "while True: pass"])
        spinner.send_signal(signal.SIGSTOP)
        try:
            for model in models:
                for case in self.cases(model, dtypes, [threads]):
                    self.one_core_taken(case, spinner)
        finally:
            spinner.kill()
            spinner.wait()

    def one_core_taken(self, case, spinner):
        key = {"model": case.model, "dtype": case.dtype, "threads": case.threads}
        bursts = {"calm": {}, "busy": {}}
        with self.started(case) as (workers, missing):
            for _ in range(2):
                for state in bursts:
                    if state == "busy":
                        spinner.send_signal(signal.SIGCONT)
                    for name, found in self.turns(workers, missing, 1).items():
                        bursts[state].setdefault(name, []).append(found[0]["ms"])
                    spinner.send_signal(signal.SIGSTOP)
        for name in self.s.engines:
            if name in missing:
                self.result["busy"].append({**key, "engine": name, "missing": missing[name]})
                continue
            calm, busy = (statistics.median(bursts[state][name]) for state in ("calm", "busy"))
            self.result["busy"].append({**key, "engine": name, "calm_ms": calm, "busy_ms": busy,
                                        "factor": busy / calm})
        say(f"{case.model} {case.dtype} with one core taken: "
            + ", ".join(f"{p['engine']} x{p['factor']:.2f}"
                        for p in self.result["busy"][-len(self.s.engines):] if "factor" in p))

    def own(self):
        """srplay's further models, and the demo package through srbench."""
        self.result["own"] = []
        for threads in self.s.threads:
            for model in OWN_MODELS:
                runs = [run_json(self.s.build / "srbench", "engine", "--graph",
                                 self.s.root / "models" / f"{model}.json", "--size", size_of(model),
                                 "--threads", threads, "--seconds", "1", "--json") for _ in range(3)]
                best = sorted(runs, key=lambda r: r["ms_p50"])[1]
                self.result["own"].append({**best, "model": model})
        package = self.s.root / "models" / "demo" / "manifest.json"
        scene = subprocess.Popen([self.s.build / "demo-scene", "--video", "-"], stdout=subprocess.PIPE)
        quality = run_json(self.s.build / "srbench", "package", package, "--reference", "-", "--json",
                           stdin=scene.stdout)
        scene.stdout.close()
        scene.wait()
        self.result["demo"] = {"package": quality, "play": run_json(self.s.build / "srbench", "play",
                                                                    package, "--json")}

    def run(self):
        os.makedirs(self.work, exist_ok=True)
        self.result["versions"]["srplay"] = " ".join(
            [run_text(self.s.build / "srbench", "--version").split()[-1],
             run_text("git", "-C", self.s.root, "describe", "--always", "--dirty")]).strip()
        self.engines()
        if len(self.s.engines) and max(self.s.threads) > 1:
            self.busy()
        if self.s.own_parts:
            self.own()
        self.save()
        return self.result

    def save(self):
        """What is known so far, so that a run that is ended early is not lost."""
        text = json.dumps(self.result, indent=1) + "\n"
        (self.work / "results.json").write_text(text, encoding="utf-8")


def known_engines():
    return ["srplay", *rivals.NAMES]
