# SPDX-License-Identifier: BSD-2-Clause
"""From a video to a package: the steps in order, each one resumable."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sys
from fractions import Fraction

from . import media, models, mp4, report, tools
from .deliver import finish
from .errors import Interrupted, PackError, UsageError, one_line
from .models import MODELS_DIR
from .options import INT8, chunk_frames
from .package import check_file, check_target
from .probe import probe
from .work import Work, job_id


@dataclasses.dataclass
class Job:
    """All that is known before the work begins."""

    options: object
    source: object
    geo: media.Geometry
    span: media.Range
    group: int                # frames per chunk
    every: int                # every n-th frame is kept for training
    model: str | None         # name of the graph; None: no super-resolution asked for
    graph: bytes | None
    init: pathlib.Path | None
    base: bytes | None = None  # the network that --chunks makes copies of


def _model_folders():
    """Where models lie: the player's places, as far as the packer knows them."""
    given = os.environ.get("SRP_MODELS_DIR")
    return [pathlib.Path(given), MODELS_DIR] if given else [MODELS_DIR]


def _named_graph(name, scale) -> pathlib.Path:
    """NAME-xSCALE.json, else NAME.json (an imported network may have any name)."""
    names = [name] if re.search(r"-x\d$", name) else [f"{name}-x{scale}", name]
    if re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        for full in names:
            for folder in _model_folders():
                if (folder / f"{full}.json").is_file():
                    return folder / f"{full}.json"
    known = ", ".join(sorted({p.stem for f in _model_folders() for p in f.glob(f"*-x{scale}.json")}))
    raise UsageError(f"--model {name}: no such graph for scale {scale} (there are: {known})")


def find_graph(name: str, scale: int) -> tuple[str | None, bytes | None, pathlib.Path | None]:
    """(name, text, general weights or None) of --model. The weights are where the player looks:
    general/NAME.safetensors for a named graph, else beside the graph, where `srpack import` puts
    them."""
    if name == "none":
        return None, None, None
    is_file = name.endswith(".json")
    path = pathlib.Path(name) if is_file else _named_graph(name, scale)
    try:
        text = path.read_bytes()
        graph = json.loads(text)
        title, factor = graph["name"], graph["scale"]
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path}: not a model graph: {one_line(error)}") from error
    if factor != scale:
        raise UsageError(f"--model {name}: is for scale {factor}, the package has scale {scale}")
    beside = path.with_suffix(".safetensors")
    general = path.parent / "general" / beside.name
    weights = beside if is_file and beside.is_file() or not general.is_file() else general
    if not weights.is_file() and title.startswith("edge-dyn-"):
        weights = general.with_name(f"edge16-x{scale}.safetensors")  # what it grows from
    return title, text, weights if weights.is_file() else None


def copies(model: str, text: bytes, count: int) -> tuple[str, bytes]:
    """(name, text) of the graph with `count` copies of a network, for --chunks."""
    graph = json.loads(text)
    if any(node.get("op") == "route" for node in graph["nodes"]):
        raise UsageError(f"--chunks: {model} has paths of its own; choose one without, like edge16")
    whole = models.chunked(graph, count)
    return whole["name"], models.dump(whole).encode()


def prepare(options, stop) -> Job:
    source = probe(options.source, stop, with_audio=not options.no_audio)
    scale = options.scale or (4 if min(source.width, source.height) >= 1080 else 2)
    geo = media.geometry(source, scale, options.codec)
    span = media.choose_range(source, options.start, options.duration)
    model, graph, init = find_graph(options.model, scale)
    base = None
    if options.chunks and graph is not None:
        base, (model, graph) = graph, copies(model, graph, options.chunks)
    group = chunk_frames(options.chunk, source.rate)
    if group > 1 << 15:
        raise UsageError(f"--chunk {options.chunk:g}: longer than {1 << 15} frames")
    return Job(options, source, geo, span, group, media.stride(span.frames, geo), model, graph,
               init, base)


def identity(job: Job) -> str:
    """Hash over everything that the intermediate files depend on."""
    o = job.options
    weights = hashlib.sha256(job.init.read_bytes()).hexdigest() if job.init else None
    return job_id(
        job.source.sha256, {
            "geometry": dataclasses.astuple(job.geo),
            "span": dataclasses.astuple(job.span),
            "group": job.group,
            "codec": o.codec,
            "crf": o.crf,
            "bitrate": o.bitrate,
            "audio": job.source.audio is not None,
            "graph": hashlib.sha256(job.graph).hexdigest() if job.graph else None,
            "init": weights,
            "protocol": o.protocol,
            "groups": o.groups,
            "grid": o.grid,
            "budget": o.budget,
            "steps": o.steps,
            "seed": o.seed,
            "quant": [o.quant, o.granularity, o.group_width, o.flag_zeros, o.qat],
            "updates": o.updates or 0,
            "threads": o.threads
        })


def encode(job: Job, work: Work, out: report.Report, stop):
    """Steps 1 to 3: LR video with the kept reference frames, sound, and the LR frames as a viewer
    decodes them."""
    reference, video, audio, decoded = (work.path(n)
                                        for n in ("hr.yuv", "video.mp4", "audio.mp4", "lr.yuv"))
    if work.done("video") is None:
        with out.clock.step("encode"), out.frames_bar("encode", job.span.frames) as update:
            media.encode_video(job.source, job.span, job.geo, job.options, job.group, job.every,
                               reference, video, stop, update)
        track = mp4.read(video)
        frames = sum(f.samples for f in track.fragments)
        kept = reference.stat().st_size // (job.geo.hr_width * job.geo.hr_height * 3 // 2)
        if frames == 0 or kept != -(-frames // job.every):
            raise PackError(
                f"{job.source.path}: {frames} frames encoded but {kept} kept for training")
        work.finish("video", {"frames": frames})
    frames = work.done("video")["frames"]
    if frames != job.span.frames:
        out.note(f"{frames} frames decoded, {job.span.frames} expected from the container")
    if work.done("audio") is None:
        has_audio = False
        if job.source.audio is not None:
            with out.clock.step("audio"):
                has_audio = media.encode_audio(job.source, job.span, frames,
                                               Fraction(job.group) / job.source.rate, audio, stop)
        work.finish("audio", {"present": has_audio})
    if work.done("decode") is None and job.model is not None:
        with out.clock.step("decode"):
            media.decode_video(video, job.every, decoded, stop)
        kept = decoded.stat().st_size // (job.geo.lr_width * job.geo.lr_height * 3 // 2)
        if kept != -(-frames // job.every):
            raise PackError(f"{video}: {kept} frames decoded, {-(-frames // job.every)} expected")
        work.finish("decode")
    return frames


def train(job: Job, work: Work, out: report.Report, stop):
    """Step 4: the parameters, as a safetensors file in the work directory. None when no model is
    wanted."""
    if job.model is None:
        return None
    parameters = work.path("parameters.safetensors")
    if work.done("train") is not None:
        return parameters if work.done("train")["better"] else None
    from . import training  # PyTorch takes seconds to load
    result = training.run(job, work, out, stop)
    dynamic = ", ".join(f"{value:.2f}" for value in result.psnr_of_path)
    out.detail(
        f"training: {result.steps} steps in {result.seconds:.0f} s, {result.psnr:.2f} dB on the "
        f"held-out frames (bicubic {result.psnr_bicubic:.2f} dB"
        f"{f', paths {dynamic} dB' if len(result.psnr_of_path) > 1 else ''}), "
        f"{result.chosen} weights")
    work.finish("train", training.record(job, result))
    return parameters if result.better else None


def quantise(job: Job, work: Work, parameters, out: report.Report, stop):
    """Step 5: the parameters as codes with scales and ranges, for int8. None where there is nothing
    to run, or int8 is not wanted."""
    if parameters is None or job.options.quant not in INT8:
        return None
    coded = work.path("int8.safetensors")
    if work.done("quant") is None or job.options.quant_report is not None:
        from . import quantising
        quantising.run(job, work, parameters, coded, out, stop)
    return coded


def update(job: Job, work: Work, coded, frames: int, out: report.Report, stop):
    """Step 6: of each chunk the codes that it plays by, None: those of the whole video. None where
    that holds for all."""
    if coded is None or not job.options.updates:
        return None
    from . import updates
    files = updates.run(job, work, coded, frames, out, stop)
    return files if any(files) else None


def pack(options, stop, out: report.Report) -> dict:
    """Runs all steps; returns what --json prints. Raises PackError and its kin."""
    check_target(options.output)
    if options.quant_report is not None:
        check_file(options.quant_report)
    tools_needed = [tools.find(name) for name in ("srinfo", "srbench")]
    out.detail("programs: " + " ".join(tools_needed))
    with out.clock.step("probe"):
        job = prepare(options, stop)
    out.describe(job)
    folder = options.work_dir or options.output.with_name(options.output.name + ".srpack-work")
    work = Work(folder)
    work.open(identity(job), f"{options.source} -o {options.output}", options.restart)
    try:
        if work.resumed:
            out.say(f"going on from {folder}")
        if work.done("video") is None:
            media.check_disk(folder, job.span.frames, job.geo, job.every)
        frames = encode(job, work, out, stop)
        parameters = train(job, work, out, stop)
        if job.model is not None and parameters is None:
            out.note(
                f"{job.model} does not beat bicubic on this video: packed without super-resolution")
            if options.quant_report is not None:
                out.note(f"no {options.quant_report}: there is no network to report on")
        coded = quantise(job, work, parameters, out, stop)
        changed = update(job, work, coded, frames, out, stop)
        result = finish(job, work, frames, parameters, coded, changed, out, stop)
        has_audio = work.done("audio")["present"]
        if job.source.audio is not None and not has_audio:
            out.note("the source has no sound in this part")
        work.remove()
    except PackError as error:
        if work.done("video") is None:  # nothing that another run could use
            work.remove()
            raise
        if isinstance(error, Interrupted):
            raise Interrupted(
                f"interrupted: {folder} keeps the work; run the same command again to go on"
            ) from error
        raise
    finally:
        work.close()
    return {
        "output": str(options.output),
        "scale": job.geo.scale,
        "codec": options.codec,
        "frame_count": frames,
        "frame_rate": float(job.source.rate),
        "audio": has_audio,
        "trained": work.done("train"),
        "seconds": out.clock.seconds,
        **result
    }


def main(argv=None) -> int:
    from .options import parse
    argv = sys.argv[1:] if argv is None else argv
    stop = tools.Stop()
    deep = any(re.fullmatch(r"-v{2,}", a) for a in argv)
    try:
        if argv[:1] == ["import"]:
            from . import importer
            return importer.run(argv[1:])
        if argv[:1] == ["analyse"]:
            from . import analyse
            return analyse.run(argv[1:], stop)
        if argv[:1] == ["paper"]:
            from . import paper
            return paper.run(argv[1:], stop)
        options = parse(argv)
        stop.install()
        out = report.Report(options)
        result = pack(options, stop, out)
        out.result(result)
        return 0
    except Interrupted as error:
        print(f"srpack: {one_line(error)}", file=sys.stderr)
        return error.status
    except PackError as error:
        if deep:
            raise
        print(f"srpack: error: {one_line(error)}", file=sys.stderr)
        return error.status
    except Exception as error:  # the last resort: still one line
        if deep:
            raise
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        else:
            text = f"internal: {type(error).__name__}: {error} (-vv shows where)"
        print(f"srpack: error: {one_line(text)}", file=sys.stderr)
        return 2
