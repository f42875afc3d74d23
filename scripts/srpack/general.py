# SPDX-License-Identifier: BSD-2-Clause
"""The general models of models/general: `python -m srpack.general` makes the data, trains and
measures them.

Data are fetched at training time and never committed: photographs from Debian's wallpaper
packages, halved first so that they are sharp and free of noise and aliasing, panned slowly so
that a codec treats them as video; and training clips from a folder beside the repository, where
it exists. The low-resolution side is FFmpeg's bicubic, clean and coded by x264 at several
qualities, so that decoded frames are what the networks expect. Luma only, but for networks of RGB.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import safetensors.torch
import torch

from . import graph as graphs
from . import models, train
from .colour import Colour, Frames, frames_from_raw

ROOT = models.MODELS_DIR.parent
PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds")
# Photographs large enough to be halved, with their licences; paintings, gradients and vector art
# teach a network little.
PHOTOS = {
    "aitzgorri_by_Aitzol_Berasategi.jpg": "CC-BY-4.0",
    "Bridge_by_Sander_Klootwijk.jpg": "CC-BY-SA-4.0",
    "Dragonfly_by_Bolly.jpg": "CC-BY-SA-4.0",
    "friends_by_Aitzol_Berasategi.jpg": "CC-BY-4.0",
    "greentock_by_Peter_Nerlich.jpg": "CC-BY-SA-4.0",
    "life_by_Aitzol_Berasategi.jpg": "CC-BY-4.0",
    "picosdeeuropa_by_Aitzol_Berasategi.jpg": "CC-BY-4.0",
    "Picture_0B_by_freespace.jpg": "CC-BY-4.0",
    "seeding_by_Clements_Engelhardt.jpg": "CC0-1.0",
    "sunset_by_Aitzol_Berasategi.jpg": "CC-BY-4.0",
    "umang_by_Abhishek_Mudgal.jpg": "CC-BY-4.0",
    "Fossa_by_Jasper_Roks.jpg": "CC-BY-SA-3.0",
    "Infinite-Sea_by_Aury88.jpg": "CC-BY-SA-3.0",
    "Kleiber_by_Lukas_Baubkus.jpg": "CC-BY-SA-3.0",
    **{
        f"mate/nature/{name}.jpg": "GPL-2+"
        for name in ("Aqua", "Garden", "LadyBird", "TwoWings", "Wood", "YellowFlower")
    },
}
TRAINING_CLIPS = {
    "aerial_city_1080p24.mp4": "from a package under MIT",
    "cups_720p30.mp4": "from an Apache-2.0 repository",
    "game_openarena_1080p30.mp4": "OpenArena, GPL-2 assets",
}
HELD_OUT_CLIPS = (
    "bbb_1080p24.mp4",
    "cactusflower_720p30.mp4",
    "citynight_720x405.mpg",
)  # never trained on
CROP = (
    960,
    720,
)  # of a photograph; a multiple of 24, so that every scale has even low-resolution sizes
PAN = 6  # frames of a pan over each crop
QUALITIES = (18, 22, 26)  # x264 crf
CLEAN_SHARE = 0.3  # of the patches
PHOTO_SHARE = 0.5
MEASURED_QUALITY = 20
BICUBIC = (
    "flags=bicubic+accurate_rnd+full_chroma_int:in_h_chr_pos=0:out_h_chr_pos=0:"
    "in_v_chr_pos=128:out_v_chr_pos=128"
)
# The others begin with the features of the first, dydca with nothing.
STEPS = {"edge16-x4": 6000, "edge16-x1": 1500, "dydca-x4": 5200}
OTHER_STEPS = 2500
FIRST = "edge16-x4"
# Complete, so that what is tuned for overfitting does not change these weights.
RECIPE = train.Options(
    batch=16,
    patch=48,
    margin=2,
    rate=4e-3,
    warmup=0.02,
    loss="mse",
    policy="weighted",
    sharpness=0.35,
    average=0.998,
    optimiser="soap",
    clip=1.0,
)
REFINE_RECIPE = dataclasses.replace(RECIPE, rate=1.5e-3)
FIRST_RECIPE = dataclasses.replace(RECIPE, rate=3e-3, loss="mixed")
# Of networks with a hundred times the work: more steps in the same time.
DEAR_RECIPE = dataclasses.replace(FIRST_RECIPE, batch=8, patch=32)
PHOTO_COLOUR = Colour("bt601")  # what swscale makes of a JPEG


def _run(*command, **kwargs):
    subprocess.run([str(part) for part in command], check=True, **kwargs)


def _ffmpeg(*arguments):
    _run("ffmpeg", "-nostdin", "-v", "error", "-y", *arguments)


def fetch(build):
    """Unpacks the wallpaper packages below build/x; apt keeps no copy."""
    target = build / "x"
    if not (target / ".done").exists():
        target.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES:
            if not list(build.glob(f"{package}_*.deb")):
                _run("apt-get", "download", package, cwd=build)
            _run("dpkg-deb", "-x", next(build.glob(f"{package}_*.deb")), target)
        (target / ".done").touch()
    return target / "usr/share/backgrounds"


def _size(path):
    out = subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=width,height",
            "-of",
            "json",
            str(path),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    stream = json.loads(out)["streams"][0]
    return stream["width"], stream["height"]


def make_photos(backgrounds, build):
    """One 4:2:0 file of all pans: every photograph halved, cut into crops, each moved by a few
    pixels a frame."""
    path = build / "photos.yuv"
    if path.exists():
        return path, CROP
    width, height = CROP
    partial = path.with_suffix(".part")
    with open(partial, "wb") as file:
        for name in PHOTOS:
            w, h = _size(backgrounds / name)
            w, h = w // 4 * 2, h // 4 * 2  # half, even
            raw = subprocess.run(
                [
                    "ffmpeg",
                    "-nostdin",
                    "-v",
                    "error",
                    "-i",
                    str(backgrounds / name),
                    "-vf",
                    f"scale={w}:{h}:flags=bicubic+accurate_rnd,format=yuv420p",
                    "-f",
                    "rawvideo",
                    "-",
                ],
                check=True,
                capture_output=True,
            ).stdout
            data = np.frombuffer(raw, np.uint8)
            y = data[: w * h].reshape(h, w)
            chroma = data[w * h :].reshape(2, h // 2, w // 2)
            room_x, room_y = w - width - 4 * PAN, h - height - 2 * PAN
            for top in {0, room_y // 4 * 2, room_y // 2 * 2}:
                for left in sorted({0, room_x // 6 * 2, room_x // 3 * 2, room_x // 2 * 2}):
                    for i in range(PAN):
                        t, l = top + 2 * i, left + 4 * i
                        file.write(np.ascontiguousarray(y[t : t + height, l : l + width]).tobytes())
                        file.write(
                            np.ascontiguousarray(
                                chroma[:, t // 2 : (t + height) // 2, l // 2 : (l + width) // 2]
                            ).tobytes()
                        )
    partial.rename(path)
    return path, CROP


def make_clip(source, build):
    """The clip as 4:2:0, cropped to a multiple of 24 at the right and bottom."""
    w, h = _size(source)
    w, h = w // 24 * 24, h // 24 * 24
    path = build / f"{source.stem}.yuv"
    if not path.exists():
        partial = path.with_suffix(".part")
        _ffmpeg(
            "-i",
            source,
            "-vf",
            f"crop={w}:{h}:0:0",
            "-pix_fmt",
            "yuv420p",
            "-f",
            "rawvideo",
            partial,
        )
        partial.rename(path)
    return path, (w, h)


def make_low(path, size, scale, quality):
    """The clip made smaller; quality None: clean, otherwise x264 crf, decoded again."""
    (w, h), name = size, f"{path.stem}-x{scale}-{'clean' if quality is None else quality}.yuv"
    low = path.with_name(name)
    if low.exists():
        return low
    partial, small = low.with_suffix(".part"), (w // scale, h // scale)
    filters = f"scale={small[0]}:{small[1]}:{BICUBIC}" if scale > 1 else "null"
    raw = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-s",
        f"{w}x{h}",
        "-r",
        "24",
        "-i",
        path,
        "-vf",
        filters,
    ]
    if quality is None:
        _ffmpeg(*raw, "-f", "rawvideo", partial)
    else:
        coded = low.with_suffix(".mp4")
        _ffmpeg(
            *raw, "-c:v", "libx264", "-preset", "medium", "-crf", quality, "-threads", "2", coded
        )
        _ffmpeg("-i", coded, "-pix_fmt", "yuv420p", "-f", "rawvideo", partial)
        coded.unlink()
    partial.rename(low)
    return low


def _frames(path, size, space):
    found = frames_from_raw(path, *size)
    return Frames(found.y) if space == "y" else found


def sources(scale, build, clips, space="y"):
    """Training sources with their shares, for networks of this colour."""
    kinds = [(make_photos(fetch(build), build), PHOTO_SHARE)]
    present = [name for name in TRAINING_CLIPS if (clips / name).exists()]
    kinds += [
        (make_clip(clips / name, build), (1 - PHOTO_SHARE) / len(present)) for name in present
    ]
    found = []
    for (path, size), share in kinds:
        high = _frames(path, size, space)
        colour = PHOTO_COLOUR if path.stem == "photos" else Colour()
        small = (size[0] // scale, size[1] // scale)
        qualities = [(None, CLEAN_SHARE)] if scale > 1 else []
        coded = 1 - sum(part for _, part in qualities)
        qualities += [(quality, coded / len(QUALITIES)) for quality in QUALITIES]
        for quality, part in qualities:
            low = _frames(make_low(path, size, scale, quality), small, space)
            found.append(train.Source(low, high, colour, share=share * part))
    return found


def measure(module, build, clips):
    """{clip: {"clean"|"crf 20": (bicubic, model)}}: whole-frame PSNR of every tenth frame, in the
    network's own channels; of a dynamic network bicubic and each path that learns."""
    result = {}
    for name in HELD_OUT_CLIPS:
        if not (clips / name).exists():
            continue
        path, size = make_clip(clips / name, build)
        high = _frames(path, size, module.colour)
        for quality in (None, MEASURED_QUALITY):
            if module.scale == 1 and quality is None:
                continue
            low = _frames(
                make_low(path, size, module.scale, quality),
                (size[0] // module.scale, size[1] // module.scale),
                module.colour,
            )
            pairs = [(0, i) for i in range(0, len(low), 10)]
            source = train.Source(low, high, Colour())
            paths, bicubic = train.evaluate_paths(module, pairs, [source])
            learnt = [psnr for psnr, macs in zip(paths, module.macs_of_path) if macs]
            kind = "clean" if quality is None else f"crf {quality}"
            result.setdefault(pathlib.Path(name).stem, {})[kind] = (bicubic, *learnt)
    return result


def records(out):
    """What make() recorded of each model, by name."""
    path = out / "records.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def borrow(graph, path, start):
    """Writes start weights: those of the model at `path` wherever a convolution has the same
    name and shape and is not the last one. None when nothing fits or there is no such model."""
    if not path.exists():
        return None
    module = graphs.load_module(graph)
    graphs.initialise(module)
    own, theirs = module.named_tensors(), safetensors.torch.load_file(path)
    names = [
        name
        for name in own
        if name in theirs and not name.startswith("tail.") and own[name].shape == theirs[name].shape
    ]
    if not names:
        return None
    with torch.no_grad():
        for name in names:
            own[name].copy_(theirs[name])
    graphs.export(module, start, "f32")
    return start


def grow(graph, path, start):
    """Writes start weights of an edge-dyn graph from those of a plain edge network at `path`: its
    layers first, the identity for those that it lacks, its tail for the deep exit, whose picture is
    then the plain network's, and nothing yet for the others. None where it does not fit."""
    module = graphs.load_module(graph)
    graphs.initialise(module)
    own, theirs = module.named_tensors(), safetensors.torch.load_file(path)
    with torch.no_grad():
        for name, parameter in own.items():
            source = theirs.get(name.removeprefix("deep."))
            if source is not None and source.shape == parameter.shape:
                parameter.copy_(source)
            elif name.startswith("body") and name.endswith("weight"):
                if parameter.shape[0] != parameter.shape[1]:
                    return None
                # ReLU leaves what is not negative: a layer that passes it on. A little noise lets
                # it learn to do more.
                parameter.mul_(0.05)
                middle = parameter.shape[2] // 2, parameter.shape[3] // 2
                parameter[:, :, middle[0], middle[1]] += torch.eye(parameter.shape[0])
            elif not name.startswith(("body", "shallow.")):
                return None
    graphs.export(module, start, "f32")
    return start


def beginning(name, graph, build, out):
    """(start weights or None, what they come from, options) of a model's first training."""
    scale, start = graph["scale"], build / f"{name}-start.safetensors"
    if name.startswith("edge-dyn-"):
        plain = f"edge16-x{scale}"
        return grow(graph, out / f"{plain}.safetensors", start), plain, RECIPE
    if name.startswith("dydca-"):
        return None, "bicubic", DEAR_RECIPE
    if name != FIRST:
        found = borrow(graph, out / f"{FIRST}.safetensors", start)
        if found is not None:
            return found, FIRST, RECIPE
    return None, "random", FIRST_RECIPE


def make(name, build, clips, out, steps, threads, seed, refine=None, seconds=None):
    """Trains and measures one model; writes its weights and its row of figures. With `refine` it
    goes on from its own weights for so many steps; with `seconds` it takes so long, whatever the
    steps."""
    graph = models.all_models()[name]
    begin = time.time()
    found = sources(graph["scale"], build, clips, graph["colour"])
    print(
        f"{name}: {len(found)} sources, {sum(len(s.lr) for s in found)} frames, "
        f"data {time.time() - begin:.0f} s",
        flush=True,
    )
    steps, before = steps or STEPS.get(name, OTHER_STEPS), ""
    if refine is not None:
        steps, options, start = refine, REFINE_RECIPE, out / f"{name}.safetensors"
        old = records(out)[name]
        came_from, before = old["start"], f"{old['steps']} + "
    else:
        start, came_from, options = beginning(name, graph, build, out)
    shown = [0.0]

    def progress(fraction, loss, psnr):
        if time.time() - shown[0] > 20:
            shown[0] = time.time()
            print(f"{name}: {100 * fraction:.1f} % loss {loss:.5f} PSNR {psnr:.3f}", flush=True)

    result = train.train(
        graph,
        found,
        steps=None if seconds else steps,
        budget_seconds=seconds,
        seed=seed,
        threads=threads,
        options=options,
        progress=progress,
        init=start,
        checkpoint_path=build / f"{name}.checkpoint",
    )
    figures = measure(result.module, build, clips)
    graphs.export(result.module, out / f"{name}.safetensors")
    record = {
        "steps": f"{before}{result.steps}",
        "threads": threads,
        "seed": seed,
        "batch": options.batch,
        "start": came_from,
        "seconds": round(result.seconds),
        **({"budget": seconds} if seconds else {}),
        "figures": figures,
    }
    everything = dict(sorted({**records(out), name: record}.items()))
    text = json.dumps(everything, indent=1) + "\n"
    graphs.write_atomically(out / "records.json", text.encode())
    for clip, kinds in figures.items():
        for kind, (bicubic, *paths) in kinds.items():
            print(
                f"{name} {clip} {kind}: bicubic {bicubic:.2f} model "
                + ", ".join(f"{psnr:.2f} {psnr - bicubic:+.2f} dB" for psnr in paths),
                flush=True,
            )


README = """# General models

Small networks that were not made for one video: the start point of overfitting, and what srplay
uses for a plain video file. Written by `make general-models` (`scripts/srpack/general.py`).

## Figures

Whole-frame Y-PSNR in dB over every tenth frame of clips that no model was trained on, nothing
shaved, after rounding to 8 bits; bicubic -> model (difference). `clean`: FFmpeg's bicubic
reduction; `crf 20`: the same coded by x264 (preset medium) and decoded, which is what a player has.
Frames are cropped to a multiple of 24 first. At x1, restoration, bicubic is the decoded picture.
Of a dynamic model each path is measured as if it were taken everywhere; networks of RGB are
measured in RGB.

{table}

## Recipe

- Data: {photos} photographs of the Debian packages {packages},
  halved by bicubic, cut into crops of {crop[0]}x{crop[1]} and panned by 4x2 pixels a
  frame for {pan} frames; clips {clips}.
  {photo_share:.0%} of the patches come from photographs. Low-resolution side: bicubic,
  {clean_share:.0%} clean, the rest coded by x264 at crf {qualities} and decoded.
- Training: `srpack.train` (SOAP optimiser, cosine schedule, squared error; {first}: L1 turning into
  squared error), patches of 48x48 low-resolution pixels, drawn more often where bicubic is wrong;
  luma only, float32, weights rounded to f16. `edge-dyn` starts with `edge16` of its scale and the
  identity for the layers that this lacks, and all its paths learn together; the others start with
  the features of {first}.
{refined}
| model | steps | start | batch | threads | seed | last term, s | SHA-256 of the weights |
|---|---|---|---|---|---|---|---|
{runs}

A run repeats bit for bit for a seed, a number of threads, and equal data, PyTorch and CPU type; one
that was given a time (`--seconds`) takes the steps that it has time for, and does not.
The data pass through the ffmpeg and x264 of the machine.

## Data and licences

Nothing of it is in this repository; the weights are the project's.

| file | licence |
|---|---|
{data}
"""


REFINED = """- The first term of `steps` was trained before the loss saw the edges of the frame, the
  second (`--refine`, at a lower rate) with the trainer as it is now.
"""


def write_readme(out):
    """The page of the models in `out`, from what make() recorded."""
    known = records(out)
    columns = sorted(
        {
            (clip, kind)
            for r in known.values()
            for clip, kinds in r["figures"].items()
            for kind in kinds
        }
    )
    table = [
        "| model | " + " | ".join(f"{clip}, {kind}" for clip, kind in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    runs = []
    for name, record in known.items():
        found = [record["figures"].get(clip, {}).get(kind) for clip, kind in columns]
        paths = max((len(one) - 1 for one in found if one), default=1)
        for path in range(1, paths + 1):  # of a dynamic model each that learns
            cells = [
                f"{one[0]:.2f} -> {one[path]:.2f} ({one[path] - one[0]:+.2f})" if one else "-"
                for one in found
            ]
            title = name if paths == 1 else f"{name}, path {path}"
            table.append(f"| {title} | " + " | ".join(cells) + " |")
        timed = f" in {record['budget']:g} s" if "budget" in record else ""
        digest = hashlib.sha256((out / f"{name}.safetensors").read_bytes()).hexdigest()
        runs.append(
            f"| {name} | {record['steps']}{timed} | {record['start']} | {record['batch']} "
            f"| {record['threads']} | {record['seed']} | {record['seconds']} | `{digest}` |"
        )
    data = [f"| {name} | {licence} |" for name, licence in {**PHOTOS, **TRAINING_CLIPS}.items()]
    text = README.format(
        table="\n".join(table),
        runs="\n".join(runs),
        data="\n".join(data),
        photos=len(PHOTOS),
        packages=", ".join(PACKAGES),
        crop=CROP,
        first=FIRST,
        refined=REFINED if any("+" in str(r["steps"]) for r in known.values()) else "",
        pan=PAN,
        clips=", ".join(TRAINING_CLIPS),
        photo_share=PHOTO_SHARE,
        clean_share=CLEAN_SHARE,
        qualities=", ".join(map(str, QUALITIES)),
    )
    graphs.write_atomically(out / "README.md", text.encode())


def main(argv=None):
    parser = argparse.ArgumentParser(prog="srpack.general", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        default=["edge16-x4", "edge16-x2", "edge16-x3", "edge16-x1", "edge-dyn-x4", "edge-dyn-x2", "dydca-x4"],
        help="which models",
    )
    parser.add_argument(
        "--build", type=pathlib.Path, default=ROOT / "build/general", help="where data are made"
    )
    parser.add_argument(
        "--clips",
        type=pathlib.Path,
        default=ROOT / "../shared/clips",
        help="training and test clips",
    )
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "models/general")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--threads", type=int, default=2, help="part of what makes a run reproducible"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--refine", type=int, metavar="N", help="go on from the present weights for N steps"
    )
    parser.add_argument(
        "--seconds", type=float, help="train for so long in place of steps: not reproducible"
    )
    args = parser.parse_args(argv)
    args.build.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names:
        make(
            name,
            args.build,
            args.clips,
            args.out,
            args.steps,
            args.threads,
            args.seed,
            args.refine,
            args.seconds,
        )
        write_readme(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
