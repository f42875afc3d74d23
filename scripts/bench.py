# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`: this machine's peaks, the engine on the model families, and the demo package, in one run.

Writes BUILD/bench.json (everything measured) and docs/benchmarks.md (the table made from it). Only the
standard library is needed. Usage: bench.py BUILD
"""
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = (1920, 1080)
ENGINE_MODELS = ["edge8-x2", "edge8-x4", "edge16-x1", "edge16-x2", "edge16-x3", "edge16-x4",
                 "espcn-x3", "wdsr2-x4"]
ROUNDS = 3


def run(*command, stdin=None):
    """The JSON that a command prints."""
    done = subprocess.run([str(c) for c in command], stdin=stdin, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def machine():
    """What the figures were taken on, without names of hosts or paths."""
    model, flags = platform.machine(), set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    isa = [f for f in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16") if f in flags]
    return {"cpu": model, "cores": os.cpu_count(), "isa": isa, "system": platform.system(),
            "compiler": subprocess.run(["cc", "--version"], capture_output=True,
                                       text=True).stdout.splitlines()[0]}


def median(runs, key):
    values = sorted(r[key] for r in runs)
    return values[len(values) // 2]


def engine(build, threads):
    """Interleaved rounds, so that a slow moment of the machine does not fall on one model alone."""
    runs = {name: [] for name in ENGINE_MODELS}
    for _ in range(ROUNDS):
        for name in ENGINE_MODELS:
            scale = int(name[-1])
            size = f"{OUTPUT[0] // scale}x{OUTPUT[1] // scale}"
            runs[name].append(run(build / "srbench", "engine", "--graph", f"models/{name}.json",
                                  "--size", size, "--threads", threads, "--seconds", "2", "--json"))
    return {name: {**r[0], "ms_p50": median(r, "ms_p50"), "ops_per_s": median(r, "ops_per_s")}
            for name, r in runs.items()}


def demo(build):
    package = "models/demo/manifest.json"
    scene = subprocess.Popen([build / "demo-scene", "--video", "-"], stdout=subprocess.PIPE)
    quality = run(build / "srbench", "package", package, "--reference", "-", "--json",
                  stdin=scene.stdout)
    scene.wait()
    return {"package": quality, "play": run(build / "srbench", "play", package, "--json")}


def table(result):
    m, peak = result["machine"], result["peak"]
    lines = [
        "# Benchmarks", "",
        "Written by `make bench`; do not edit. Machine: "
        f"{m['cpu']}, {m['cores']} cores, {' '.join(m['isa']) or 'baseline'}, {m['compiler']}.", "",
        f"Peaks with {peak['threads']} threads: fp32 {peak['fp32_ops_per_s'] / 1e9:.0f} GFLOP/s, "
        f"int8 {peak['int8_ops_per_s'] / 1e9:.0f} GOP/s, "
        f"reading {peak['read_bytes_per_s'] / 1e9:.0f} GB/s.", "",
        "## Engine", "",
        "Whole picture: 8-bit YUV 4:2:0 in, 1920x1080 8-bit YUV 4:2:0 out, random parameters, median of "
        f"{ROUNDS} interleaved rounds.", "",
        "| model | backend | threads | ms per frame | GMAC | of fp32 peak | arena MB |",
        "|---|---|---|---|---|---|---|"]
    for threads, models in result["engine"].items():
        share = int(threads) / peak["threads"]
        for name, r in models.items():
            lines.append(f"| {name} | {r['backend']} {r['dtype']} | {threads} | {r['ms_p50']:.1f} | "
                         f"{r['macs'] / 1e9:.2f} | "
                         f"{100 * r['ops_per_s'] / (peak['fp32_ops_per_s'] * share):.0f} % | "
                         f"{r['arena_bytes'] / 1e6:.1f} |")
    quality, play = result["demo"]["package"], result["demo"]["play"]
    lines += ["", "## Demo package", "",
              f"{quality['frames']} frames, {quality['duration_s']:.1f} s, "
              f"{quality['bytes']['total'] / 1e3:.0f} kB in all, "
              f"{quality['bytes']['parameters'] / 1e3:.1f} kB of them parameters. Whole frames, "
              "decoded video, against the original.", "",
              "| | bicubic | Lanczos | SR |", "|---|---|---|---|"]
    for key, title, digits in (("psnr_y", "PSNR Y, dB", 2), ("psnr_rgb", "PSNR RGB, dB", 2),
                               ("ssim_y", "SSIM Y", 4)):
        row = quality[key]
        lines.append(f"| {title} | " + " | ".join(f"{row[k]:.{digits}f}"
                                                  for k in ("bicubic", "lanczos", "sr")) + " |")
    lines += ["", f"The whole player as fast as it goes: {play['fps']:.1f} FPS, peak RSS "
              f"{play['peak_rss_bytes'] / 1e6:.0f} MB, arena {play['arena_bytes'] / 1e6:.1f} MB.", ""]
    return "\n".join(lines)


def main():
    build = Path(sys.argv[1] if len(sys.argv) > 1 else "build")
    os.chdir(ROOT)
    cores = os.cpu_count() or 1
    result = {"machine": machine(), "peak": run(build / "srbench", "peak", "--json"),
              "engine": {str(t): engine(build, t) for t in sorted({1, min(cores, 2)})},
              "demo": demo(build)}
    (build / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    text = table(result)
    Path("docs/benchmarks.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
