# SPDX-License-Identifier: BSD-2-Clause
"""What srpack tells: notes and progress on stderr, the result on stdout."""

import contextlib
import json
import math
import sys

from .tools import Clock

KINDS = ("video", "audio", "parameters", "routes", "manifest", "total")
METHODS = (("bicubic", "bicubic"), ("Lanczos", "lanczos"), ("SR", "sr"))


class Report:
    def __init__(self, options):
        self.options = options
        self.clock = Clock()
        self.progress = sys.stderr.isatty() if options.progress is None else options.progress

    def say(self, text):
        print(f"srpack: {text}", file=sys.stderr, flush=True)

    def note(self, text):
        """Something that the user must know."""
        self.say(f"note: {text}")

    def detail(self, text):
        if self.options.verbose:
            self.say(text)

    def describe(self, job):
        source, geo = job.source, job.geo
        self.say(
            f"{source.path}: {source.width}x{source.height}, {float(source.rate):.3f} frames/s, "
            f"{source.colour['matrix']}{' (guessed)' if source.guessed else ''}, "
            f"{'sound ' + source.audio.codec if source.audio else 'no sound'}")
        for text in source.converted:
            self.note(text)
        if source.audio and source.audio.channels > 2 and source.audio.codec not in ("aac", "opus"):
            self.note(f"{source.audio.channels} audio channels mixed to stereo")
        count = -(-job.span.frames // job.group)
        self.say(
            f"packing {job.span.frames} frames from {job.span.start:.3f} s in {count} "
            f"chunk{'s' if count > 1 else ''}: {geo.lr_width}x{geo.lr_height} "
            f"{self.options.codec}, "
            f"scale {geo.scale}, model {job.model or 'none'}"
            f"{' from general weights' if job.init else ''}")

    def _bar(self, **options):
        from tqdm import tqdm
        return tqdm(file=sys.stderr,
                    disable=not self.progress,
                    dynamic_ncols=True,
                    leave=False,
                    **options)

    @contextlib.contextmanager
    def frames_bar(self, name, total):
        with self._bar(total=total, desc=name, unit="frame") as bar:
            yield lambda count: bar.update(count - bar.n)

    @contextlib.contextmanager
    def training_bar(self, name="train"):
        layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        with self._bar(total=1.0, desc=name, bar_format=layout) as bar:
            def update(fraction, loss, psnr):
                bar.set_postfix_str(f"{psnr:.2f} dB" if math.isfinite(psnr) else f"loss {loss:.3g}",
                                    refresh=False)
                bar.update(max(0.0, fraction - bar.n))
            yield update

    def result(self, result):
        if self.options.json:
            print(json.dumps(result, indent=1))
            return
        print(table(result))
        spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result["seconds"].items())
        self.detail(f"time: {spent}")
        self.say(f"{self.options.output} is complete ({sum(result['seconds'].values()):.0f} s)")


def table(result) -> str:
    """The figures of srbench package, for people."""
    length = result["duration_s"]
    lines = [f"{'bytes':<12}{'':>12}{'kbit/s':>10}"]
    for kind in KINDS:
        size = result["bytes"][kind]
        lines.append(f"{kind:<12}{size:>12,}{8e-3 * size / length:>10.1f}")
    lines += ["", f"{'quality':<12}{'PSNR Y':>12}{'PSNR RGB':>10}{'SSIM Y':>10}"]
    for title, key in METHODS:
        if key == "sr" and result["model"] is None:
            why = "none: does not beat bicubic" if result["trained"] else "none asked for"
            lines.append(f"{title:<12}{why:>32}")
            continue
        lines.append(
            f"{title:<12}{result['psnr_y'][key]:>9.2f} dB{result['psnr_rgb'][key]:>7.2f} dB"
            f"{result['ssim_y'][key]:>10.4f}")
    if result["arithmetic"] is not None:
        found = result["arithmetic"]
        against = f" (f32 {found['f32']:.2f} dB)" if found["chosen"] == "int8" else (
            f" (int8 {found['int8']:.2f} dB)" if "int8" in found else "")
        lines += ["", f"{'arithmetic':<12}{found['chosen']}{against}"]
        if found["chosen"] == "int8":
            lines += ["", *_layer_table(found)]
    if result["routing"] is not None:
        lines += ["", *_routing_table(result["routing"])]
    return "\n".join(lines)


def _layer_table(found) -> list[str]:
    """What each convolution's codes lose, and its bytes."""
    wide = max([12] + [len(line["layer"]) + 2 for line in found["layers"]])
    lines = [f"{'layer':<{wide}}{'scales':>10}{'zeros':>9}{'SQNR':>11}{'bytes':>10}"]
    for line in found["layers"]:
        kind = f"{line['groups']} groups" if line["groups"] > 1 else line["granularity"]
        lines.append(f"{line['layer']:<{wide}}{kind:>10}{100 * line['zero_fraction']:>7.1f} %"
                     f"{line['sqnr_db']:>8.1f} dB{line['bytes']:>10,}")
    return [*lines, f"16 bits: {', '.join(found['tensors16']) or 'none'}",
            f"parameters: {found['bytes']:,} bytes, "
            f"{100 * found['bytes'] / found['bytes_f16']:.1f} % of f16", *_updates(found["updates"])]


def _updates(found) -> list[str]:
    """How many chunks have one; `found`: null without --updates."""
    if found is None:
        return []
    kept = [line for line in found if line["kept"]]
    return [f"updates: {len(kept)} of {len(found)} chunks, "
            f"{sum(line['bytes'] for line in kept):,} bytes"]


def _routing_table(found) -> list[str]:
    """What each path does everywhere, how many cells take it, and what the routes make of it."""
    columns, rows = found["grid"]
    dearest, everywhere = max(found["macs_per_pixel"]), found.get("psnr_y_paths")

    def line(title, share, psnr, cells):
        quality = f"{psnr:.2f} dB" if psnr is not None else ""
        return f"{title:<12}{100 * share:>10.1f} %{quality:>12}{cells:>10}".rstrip()
    lines = [f"{'paths':<12}{'MAC':>12}{'PSNR Y':>12}{'cells':>10}"]
    for path, macs in enumerate(found["macs_per_pixel"]):
        lines.append(line(str(path), macs / dearest, everywhere and everywhere[path],
                          f"{100 * found['cells'][path]:.1f} %"))
    lines.append(line("routed", found["mac_share"], found.get("psnr_y"), ""))
    lines.append(line("computed", found["mac_share_computed"], None, ""))
    lines.append(f"{columns}x{rows} cells of {'x'.join(map(str, found['cell']))}; routes take "
                 f"{100 * found['share_of_video']:.2f} % of the video's bytes")
    return lines
