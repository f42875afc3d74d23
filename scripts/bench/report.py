# SPDX-License-Identifier: BSD-2-Clause
"""Results as Markdown. `python -m bench.report RESULTS.json PAGE.md` writes the page's tables anew."""
import json
import statistics
import sys
from pathlib import Path

from .rivals import TITLES

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
# Above this relative error an engine computes something else. 8-bit pays for its one calibration picture.
WRONG = {"f32": 1e-3, "bf16": 3e-2, "int8": 0.1}
NOISY = 0.1  # of a core, taken by others during most bursts
PEAKS = (("f32", "fp32"), ("int8", "int8"), ("bf16", "bf16"))


def _table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows), ""]


def _ms(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def peak(result, dtype, threads):
    """Median of the peaks that were taken with these threads; None where there is no instruction."""
    key = f"{dict(PEAKS)[dtype]}_ops_per_s"
    values = [p[key] for p in result["peaks"] if p["threads"] == threads and p[key]]
    return statistics.median(values) if values else None


def wrong(result):
    """(model, dtype, engine) -> relative error, of those that compute something else."""
    return {(p["model"], p["dtype"], p["engine"]): p["rms"] for p in result["points"]
            if p.get("rms") is not None and not p["rms"] <= WRONG[p["dtype"]]}


def summary(result):
    """For each model, dtype and thread count: srplay's point, the best rival's, rival / srplay.

    Points are None where nothing ran; wrong engines are no rivals; the ratio is above 1 where srplay
    is faster.
    """
    bad, groups = wrong(result), {}
    for p in result["points"]:
        groups.setdefault((p["model"], p["dtype"], p["threads"]), []).append(p)
    lines = []
    for (model, dtype, threads), points in groups.items():
        ran = [p for p in points if "ms" in p and (model, dtype, p["engine"]) not in bad]
        ours = next((p for p in ran if p["engine"] == "srplay"), None)
        best = min((p for p in ran if p["engine"] != "srplay"), key=lambda p: p["ms"], default=None)
        ratio = best["ms"] / ours["ms"] if ours and best else None
        lines.append({"model": model, "dtype": dtype, "threads": threads, "ours": ours, "best": best,
                      "ratio": ratio})
    return lines


def _threads(result):
    return sorted({p["threads"] for p in result["points"]})


def _machine(result):
    m = result["machine"]
    versions = ", ".join(f"{TITLES[k]} {v}" for k, v in result["versions"].items())
    lines = [f"Machine: {m['cpu']}, {m['cores']} cores, {' '.join(m['isa']) or 'baseline'}; {m['kernel']}; "
             f"huge pages: {m['huge_pages']}; {'; '.join(m['compilers'])}; Python {m['python']}.", "",
             f"Engines: {versions}.", ""]
    columns = [("f32 GFLOP/s", "fp32_ops_per_s"), ("int8 GOP/s", "int8_ops_per_s"),
               ("int8 tiles GOP/s", "int8_tile_ops_per_s"), ("bf16 GFLOP/s", "bf16_ops_per_s"),
               ("reading GB/s", "read_bytes_per_s")]
    tiles = any(p.get("int8_tile_ops_per_s") for p in result["peaks"])
    columns = [c for c in columns if tiles or "tile" not in c[1]]
    head = ["threads", *(name for name, _ in columns)]
    rows = []
    for threads in _threads(result):
        found = [p for p in result["peaks"] if p["threads"] == threads]
        row = [str(threads)]
        for _, key in columns:
            values = [p[key] / 1e9 for p in found if p.get(key)]
            row.append(f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"
                       if values else "-")
        rows.append(row)
    taken = len(result["peaks"]) // max(len(_threads(result)), 1)
    note = (" int8's \"of peak\" is of dot products: kernels of tile products pass 100 %." if tiles else "")
    return lines + [f"Peaks, taken {taken} times during the run: median (least to greatest).{note}", "",
                    *_table(head, rows)]


def _summary_table(result):
    threads, found = _threads(result), {}
    for line in summary(result):
        found.setdefault((line["model"], line["dtype"]), {})[line["threads"]] = line
    head = ["model", "dtype"]
    for n in threads:
        head += [f"srplay, {n} thr.", "best rival", "ratio"]
    rows = []
    for (model, dtype), by_threads in found.items():
        row = [model, dtype]
        for n in threads:
            line = by_threads.get(n, {"ours": None, "best": None, "ratio": None})
            best, ratio = line["best"], line["ratio"]
            row += [_ms(line["ours"]["ms"]) if line["ours"] else "missing",
                    f"{_ms(best['ms'])} {TITLES[best['engine']]}" if best else "missing",
                    f"{ratio:.2f}" if ratio else "-"]
        rows.append(row)
    return ["### srplay against the best rival", "",
            "Milliseconds per picture; ratio: the rival's time by srplay's, above 1 where srplay is faster.",
            "", *_table(head, rows)]


def _model_table(result, model, bad):
    threads = _threads(result)
    points = [p for p in result["points"] if p["model"] == model]
    ran = {}
    for p in points:
        if "ms" in p:
            ran.setdefault((p["dtype"], p["engine"]), {})[p["threads"]] = p
    head = ["dtype", "engine"]
    for n in threads:
        head += [f"ms, {n} thr.", "GOP/s", "of peak"]
    head += ["peak RSS MB", "arena MB", "error"]
    rows = []
    for (dtype, engine), by_threads in ran.items():
        row = [dtype, TITLES[engine]]
        for n in threads:
            p, top = by_threads.get(n), peak(result, dtype, n)
            if p is None:
                row += ["missing", "-", "-"]
                continue
            row += [_ms(p["ms"]) + ("~" if p["elsewhere"] > NOISY else ""), f"{p['ops_per_s'] / 1e9:.0f}",
                    f"{100 * p['ops_per_s'] / top:.0f} %" if top else "-"]
        some = list(by_threads.values())
        error = next((p["rms"] for p in some if p.get("rms") is not None), None)
        row += [f"{max(p['peak_rss_bytes'] for p in some) / 1e6:.0f}",
                f"{max(p['arena_bytes'] for p in some) / 1e6:.1f}" if "arena_bytes" in some[0] else "",
                ("" if error is None else f"{error:.1e}")
                + (" **wrong**" if (model, dtype, engine) in bad else "")]
        rows.append(row)
    size, macs = points[0]["size"], next((p["macs"] for p in points if "macs" in p), 0)
    return [f"#### {model}, {size}, {macs / 1e9:.2f} GMAC", "", *_table(head, rows)]


def _missing(result):
    reasons = {}
    for p in result["points"] + result["busy"]:
        if "missing" in p:
            reasons.setdefault((p["engine"], p["dtype"], p["missing"]), {})[p["model"]] = None
    models = {p["model"] for p in result["points"]}
    rows = [[TITLES[engine], dtype, "all" if set(found) == models else ", ".join(found),
             why.replace("|", "/")] for (engine, dtype, why), found in reasons.items()]
    rows += [[TITLES[engine], dtype, model, f"wrong: relative error {error:.2g}"]
             for (model, dtype, engine), error in wrong(result).items()]
    if not rows:
        return ["### Missing or wrong", "", "Nothing.", ""]
    return ["### Missing or wrong", "", *_table(["engine", "dtype", "models", "why"], rows)]


def _busy(result):
    if not result["busy"]:
        return []
    keys = list(dict.fromkeys((p["model"], p["dtype"]) for p in result["busy"]))
    engines = list(dict.fromkeys(p["engine"] for p in result["busy"] if "factor" in p))
    found = {(p["model"], p["dtype"], p["engine"]): p for p in result["busy"]}
    rows = []
    for engine in engines:
        row = [TITLES[engine]]
        for model, dtype in keys:
            p = found.get((model, dtype, engine), {})
            row.append(f"{_ms(p['calm_ms'])} to {_ms(p['busy_ms'])}: x{p['factor']:.2f}" if "factor" in p
                       else "missing")
        rows.append(row)
    threads = result["busy"][0]["threads"]
    return ["### One core taken", "",
            f"{threads} threads, milliseconds without and with another process that spins on one core.", "",
            *_table(["engine", *(f"{m} {d}" for m, d in keys)], rows)]


def _own(result):
    if "own" not in result:
        return []
    rows = [[r["model"], f"{r['backend']} {r['dtype']}", str(r["threads"]), _ms(r["ms_p50"]),
             f"{r['macs'] / 1e9:.2f}", f"{r['ops_per_s'] / 1e9:.0f}", f"{r['arena_bytes'] / 1e6:.1f}"]
            for r in result["own"]]
    quality, play = result["demo"]["package"], result["demo"]["play"]
    demo = [[title, *(f"{quality[key][k]:.{digits}f}" for k in ("bicubic", "lanczos", "sr"))]
            for key, title, digits in (("psnr_y", "PSNR Y, dB", 2), ("psnr_rgb", "PSNR RGB, dB", 2),
                                       ("ssim_y", "SSIM Y", 4))]
    return ["### Further models of srplay", "",
            *_table(["model", "backend", "threads", "ms", "GMAC", "GOP/s", "arena MB"], rows),
            "### Demo package", "",
            f"{quality['frames']} frames, {quality['duration_s']:.1f} s, "
            f"{quality['bytes']['total'] / 1e3:.0f} kB in all, {quality['bytes']['parameters'] / 1e3:.1f} kB "
            "of them parameters. Whole frames, decoded video, against the original.", "",
            *_table(["", "bicubic", "Lanczos", "SR"], demo),
            f"The whole player as fast as it goes: {play['fps']:.1f} FPS, peak RSS "
            f"{play['peak_rss_bytes'] / 1e6:.0f} MB, arena {play['arena_bytes'] / 1e6:.1f} MB.", ""]


def markdown(result):
    bad = wrong(result)
    lines = _machine(result) + _summary_table(result) + _busy(result) + _own(result) + _missing(result)
    lines += ["### Every engine", "",
              f"`~`: other processes took more than {100 * NOISY:.0f} % of a core during most of its bursts. "
              "Error: relative root mean square of the difference from PyTorch's float32 output.", ""]
    for model in dict.fromkeys(p["model"] for p in result["points"]):
        lines += _model_table(result, model, bad)
    return "\n".join(lines)


def replace(path, text):
    """Puts the text between the page's markers. ValueError when they are not there."""
    page = Path(path).read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: no markers for the tables")
    Path(path).write_text(f"{before}{begin}\n\n{text.rstrip()}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    replace(sys.argv[2], markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
