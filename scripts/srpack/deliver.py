# SPDX-License-Identifier: BSD-2-Clause
"""The last steps: from trained parameters to the package in its place."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil

from . import mp4, report, routing, verify
from .errors import Interrupted, PackError
from .package import Writer, put_in_place
from .work import Work

GENERATOR = "srpack 0.1.0"


def _chunks(track, group):
    """Fragments of a video track by chunk; every chunk begins with a key frame at a multiple of
    `group`."""
    chunks, count = [], 0
    for fragment in track.fragments:
        if count % group == 0:
            if not fragment.key:
                raise PackError(f"video frame {count}: a chunk begins without a key frame")
            chunks.append([])
        chunks[-1].append(fragment)
        before, count = count, count + fragment.samples
        if count % group and before // group != count // group:
            raise PackError(f"video frame {before}: no key frame at the beginning of a chunk")
    return chunks


def _spans(track, seconds):
    """Fragments of an audio track by chunk time."""
    groups = {}
    for fragment in track.fragments:
        middle = (fragment.start + fragment.duration / 2) / track.timescale
        groups.setdefault(int(middle // seconds), []).append(fragment)
    return [groups[key] for key in sorted(groups)]


def write(job, work: Work, frames: int, parameters: pathlib.Path | None,
          folder: pathlib.Path, changed: list | None = None) -> Writer:
    """Every file of the package but routes. `changed`: of each chunk the file of its own parameters,
    or None."""
    source, geo, writer = job.source, job.geo, Writer(folder)
    video = mp4.read(work.path("video.mp4"))
    if (video.width, video.height) != (geo.lr_width, geo.lr_height):
        raise PackError(f"{work.path('video.mp4')}: {video.width}x{video.height} coded, "
                        f"{geo.lr_width}x{geo.lr_height} expected")
    groups = _chunks(video, job.group)
    init, segments = writer.track("video", video, groups)
    tracks = [(video, init, segments), None]
    length = float(frames / source.rate)
    key = f"{source.sha256} {job.span.start:.6f} {length:.6f}"
    writer.manifest = {
        "format": "srplay-package",
        "version": 1,
        "content_id": hashlib.sha256(key.encode()).hexdigest()[:32],
        "generator": GENERATOR,
        "scale": geo.scale,
        "source": {
            "width": geo.width,
            "height": geo.height,
            "start": round(max(0.0, job.span.start), 6)
        },
        "output": {
            "width": geo.width,
            "height": geo.height
        },
        "frame_rate": [source.rate.numerator, source.rate.denominator],
        "frame_count": frames,
        "colour": source.colour,
        "video": {
            "codec": video.codec,
            "timescale": video.timescale,
            "width": geo.lr_width,
            "height": geo.lr_height,
            "init": init
        }
    }
    if work.done("audio")["present"]:
        audio = mp4.read(work.path("audio.mp4"))
        init, sound = writer.track("audio", audio, _spans(audio, float(job.group / source.rate)))
        tracks[1] = (audio, init, sound)
        writer.manifest["audio"] = {"codec": audio.codec, "timescale": audio.timescale,
                                    "sample_rate": audio.sample_rate, "channels": audio.channels,
                                    "init": init, "segments": sound}
    models = []
    if parameters is not None:
        models.append({"name": job.model, "graph": writer.object(job.graph, "json"),
                       "parameters": writer.parameters(parameters.read_bytes())})
    writer.manifest["models"] = models
    writer.manifest["chunks"] = [{
        "segment": segment,
        "frames": sum(f.samples for f in group),
        "model": 0 if models else None
    } for segment, group in zip(segments, groups)]
    if changed is not None:
        base = parameters.read_bytes()
        for chunk, file in zip(writer.manifest["chunks"], changed, strict=True):
            if file is not None:
                chunk["update"] = writer.update(base, file.read_bytes())
    writer.tracks, writer.rate = tracks, source.rate
    writer.playlists()
    writer.write_manifest()
    return writer


@dataclasses.dataclass
class Attempt:
    """A package in the staging place, verified and measured."""

    writer: Writer
    figures: dict
    routing: routing.Routing | None


def _attempt(job, work, frames, parameters, dtype, staged, out, stop, changed=None) -> Attempt:
    if staged.exists():
        shutil.rmtree(staged)
    with out.clock.step("write"):
        writer = write(job, work, frames, parameters, staged, changed)
    made = None
    if parameters is not None:
        made = routing.make(job, work, staged, writer.manifest, dtype, out, stop)
    if made is not None:
        with out.clock.step("write"):
            writer.add_routes(made.objects)
    with out.clock.step("verify"):
        verify.check(staged, stop)
    with out.clock.step("measure"):
        figures = verify.measure(staged, job, stop)
    return Attempt(writer, figures, made)


def _without_updates(job, work, frames, parameters, dtype, attempt, staged, out, stop) -> float:
    """PSNR of luma of these parameters in all chunks, with the routes that `attempt` has."""
    stem, _, number = staged.name.rpartition("-")
    beside = staged.with_name(f"{stem}-{dtype}-{number}")  # as _clean_stale() knows them
    try:
        with out.clock.step("write"):
            writer = write(job, work, frames, parameters, beside)
            if attempt.routing is not None:
                writer.add_routes(attempt.routing.objects)
        with out.clock.step("measure"):
            return verify.measure(beside, job, stop, dtype)["psnr_y"]["sr"]
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _ships_int8(loss, got, f32, bicubic, most) -> bool:
    """`loss`: of int8 against f32, both without updates, so that what these win hides nothing of
    it. But where they win more than that, f32, which has none, would be the worse package."""
    return (loss <= most or got >= f32) and (got > bicubic or f32 <= bicubic)


def _settle(job, work, frames, plain, int8, changed, staged, out, stop) -> tuple[Attempt, dict]:
    """Of codes, by which players compute in int8, unless that loses too much; and what was found
    about it."""
    if plain is None or int8 is None:
        attempt = _attempt(job, work, frames, plain, "f32", staged, out, stop)
        return attempt, {"chosen": "f32" if plain is not None else None}
    try:
        attempt = _attempt(job, work, frames, int8, "int8", staged, out, stop, changed)

        def measured(parameters, dtype):
            return _without_updates(job, work, frames, parameters, dtype, attempt, staged, out,
                                    stop)
        f32 = measured(plain, "f32")
        base = measured(int8, "int8") if any(changed or ()) else None
    except Interrupted:
        raise
    except PackError as error:  # an activation or weight that int8 cannot hold
        out.note(f"{job.model} does not run in int8: {error}")
        attempt = _attempt(job, work, frames, plain, "f32", staged, out, stop)
        return attempt, {"chosen": "f32", "refused": str(error)}
    got, bicubic = (attempt.figures["psnr_y"][key] for key in ("sr", "bicubic"))
    loss = round(f32 - (got if base is None else base), 5)
    found = {"int8": got, "int8_base": base, "f32": f32, "loss_db": loss}
    text = f"int8 {got:.2f} dB{'' if base is None else f', without updates {base:.2f} dB'}, " \
           f"f32 {f32:.2f} dB"
    if _ships_int8(loss, got, f32, bicubic, job.options.quant_loss):
        out.say(f"arithmetic: int8 ({text})")
        return attempt, {"chosen": "int8", **found, **work.done("quant"),
                         "updates": work.done("updates")}
    out.say(f"arithmetic: f32, as int8 loses too much ({text})")
    return (_attempt(job, work, frames, plain, "f32", staged, out, stop),
            {"chosen": "f32", **found})


def _clean_stale(out: pathlib.Path):
    """Removes staging directories of srpack processes that were killed."""
    for path in out.absolute().parent.glob(out.name + ".tmp-*"):
        number = path.name.rpartition("-")[2]
        if number.isdigit() and not pathlib.Path(f"/proc/{number}").exists() and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _staging(target):
    """The place beside the target; nothing is left there in the end."""
    staged = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    _clean_stale(target)
    try:
        yield staged
    except OSError as error:
        raise PackError(f"{error.filename or staged}: {error.strerror}") from error
    finally:
        if staged.exists():
            shutil.rmtree(staged, ignore_errors=True)


def finish(job, work: Work, frames: int, plain, int8, changed, out: report.Report, stop) -> dict:
    """Writes beside the target, verifies, measures, puts in place. `plain`, `int8`: parameters as
    they are and as codes, or None; `changed`: pack.update()."""
    with _staging(job.options.output) as staged:
        done, arithmetic = _settle(job, work, frames, plain, int8, changed, staged, out, stop)
        figures, shipped = done.figures, plain is not None
        if shipped and figures["psnr_y"]["sr"] <= figures["psnr_y"]["bicubic"]:
            # What is worse than the base picture is never shipped: the same package, without the
            # model.
            out.note(
                f"{job.model} does not beat bicubic on the delivered frames "
                f"({figures['psnr_y']['sr']:.2f} dB "
                f"against {figures['psnr_y']['bicubic']:.2f} dB): packed without super-resolution")
            done, shipped = _attempt(job, work, frames, None, "f32", staged, out, stop), False
            figures = done.figures
        size = (staged / "manifest.json").stat().st_size
        done.writer.manifest["quality"] = {
            key: figures[key]
            for key in ("frames", "psnr_y", "psnr_rgb", "ssim_y")
        }
        done.writer.write_manifest()
        grown = (staged / "manifest.json").stat().st_size - size
        figures["bytes"]["manifest"] += grown
        figures["bytes"]["total"] += grown
        with out.clock.step("verify"):
            verify.check(staged, stop)
        stop.check()
        put_in_place(staged, job.options.output)
    return {
        **figures,
        "model": job.model if shipped else None,
        "arithmetic": arithmetic if shipped else None,
        "routing": done.routing.figures if done.routing else None,
    }
