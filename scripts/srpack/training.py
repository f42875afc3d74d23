# SPDX-License-Identifier: BSD-2-Clause
"""The training step of srpack: which frames, which patches, which policy; parameters and, for one
model per group of patches, the labels of the cells, into the work directory."""

import json
import pathlib

import numpy as np
import torch

from . import clip, general, graph, media, patches, quant, stdo, train
from .errors import Interrupted, PackError, one_line
from .options import INT8

# Of the training, with int8's arithmetic: as codes make up for each other before, the rest of the
# time is worth more to f32 (docs/training.md, "Training"). A number of steps that was asked for may
# take more.
QAT_SHARE, MOST_QAT_SHARE = 0.05, 0.15
JUDGED = 24  # frames whose patches are judged, where no frame needs a label of its own


def start_weights(job, work) -> pathlib.Path | None:
    """The weights that training begins with: the general ones of this graph, or those of the plain
    network that a dynamic one has grown from."""
    if job.init is None:
        return None
    module = graph.load_module(json.loads(job.base or job.graph))
    names = quant.read(job.init).keys()
    if names == module.named_tensors().keys():
        return job.init
    return general.grow(module.graph, job.init, work.path("start.safetensors"))


def qat_share(options) -> float:
    """Of the training: what is done with int8's arithmetic."""
    wanted = options.quant in INT8 and options.qat != 0 and not options.chunks
    if not wanted:
        return 0.0
    return QAT_SHARE if options.qat is None else MOST_QAT_SHARE


def judge(job, source, work, stop, every_frame) -> patches.Statistics:
    """The patch statistics of this job, which analyse writes too."""
    numbers = None if every_frame else patches.spaced(len(source.lr), JUDGED)
    before = torch.get_num_threads()
    if job.options.threads:  # part of what makes a run reproducible
        torch.set_num_threads(job.options.threads)
    try:
        return patches.ensure(
            work.path("patches.npz"),
            source,
            job.geo.scale,
            cell=getattr(job.options, "grid", None),
            numbers=numbers,
            shown=(job.geo.width, job.geo.height),
            check=stop.check,
        )
    finally:
        torch.set_num_threads(before)


def run(job, work, out, stop):
    """Trains; writes parameters.safetensors, and labels.npy with --chunks. The result."""
    o, geo = job.options, job.geo
    if o.protocol == "paper" and work.done("reduce") is None:
        with out.clock.step("reduce"):
            media.reduce_video(work.path("hr.yuv"), geo, job.source.colour,
                               work.path("clean.yuv"), stop)
        work.finish("reduce")
    source = clip.frames(work.folder, geo, job.source.colour, o.protocol)
    value = json.loads(job.base or job.graph)
    try:
        with out.clock.step("judge"):
            source.statistics = judge(job, source, work, stop, every_frame=bool(o.chunks))
        options = train.default_options(graph.load_module(value))
        options.stored = "bf16" if o.quant == "bf16" else "f16"
        shared = {
            "options": options,
            "budget_seconds": o.budget and o.budget * (1 - qat_share(o)),
            "steps": o.steps,
            "init": start_weights(job, work),
            "seed": o.seed,
            "threads": o.threads,
            "should_stop": lambda: stop.requested,
        }
        with out.clock.step("train"), out.training_bar() as update:
            if o.chunks:
                result = stdo.overfit_groups(value, o.chunks, source, folder=work.folder,
                                             progress=update, **shared)
            else:
                options.groups = o.groups
                result = train.train(value, [source], progress=update,
                                     checkpoint_path=work.path("checkpoint.pt"), **shared)
        if result.finished:
            graph.export(result.module, work.path("parameters.safetensors"), options.stored)
    except (ValueError, FloatingPointError) as error:
        raise PackError(
            f"{job.source.path}: training {job.model}: {one_line(error)}") from error
    if not result.finished:
        raise Interrupted("interrupted")
    if o.chunks:
        np.save(work.path("labels.npy"), result.labels)
    return result


def record(job, result) -> dict:
    """What --json says of it."""
    macs = graph.load_module(json.loads(job.graph)).macs_of_path
    mode = {"chunks": job.options.chunks} if job.options.chunks else {"joint": job.options.groups}
    return {
        "better": result.better,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "protocol": job.options.protocol,
        **mode,
        "psnr": _rounded(result.psnr),
        "psnr_bicubic": _rounded(result.psnr_bicubic),
        "paths": [
            {"macs_per_pixel": cost, "psnr": _rounded(value)}
            for cost, value in zip(macs, result.psnr_of_path)
        ],
    }


def _rounded(value):
    """JSON has no infinity: an error of nothing counts as 100 dB."""
    return round(min(100.0, value), 4)
