# SPDX-License-Identifier: BSD-2-Clause
"""The updates step of srpack: the codes that are for the whole video (the base) learn on with the
frames of each chunk alone. What that changes is the chunk's update, where it is worth its bytes."""

import copy
import dataclasses
import json
import math
import pathlib

import safetensors.torch
import torch

from . import clip, compact, fake, graph, qat, quant, sampler, train
from .colour import Frames
from .errors import Interrupted, PackError, one_line

RATE = 0.4             # for f32's 1, more than the training in int8 has: there is further to go
MOVES = (0, 1.0, 1.5)  # codes that moved by less than so many steps stay: what is tried
ENTRY = 340            # bytes that the manifest and the playlist need to name an update


def module_of(text: bytes, file: pathlib.Path) -> fake.Module:
    """The fake-quantised module that a file of codes and ranges holds."""
    tensors = safetensors.torch.load_file(file)
    plain = graph.load_module(json.loads(text))
    graph.load_parameters(plain, file)
    found = {name.rpartition(".")[0]: tuple(pair.tolist()) for name, pair in tensors.items()
             if quant.is_extra(name)}
    wide = [name.rpartition(".")[0] for name in tensors
            if quant.is_extra(name) and name.endswith("16")]
    scales = {name: tensors[f"{name}.scale"].float() for name in plain.convolutions}
    made = fake.Module(plain, found, wide, {name: scale.reshape(len(scale), -1)
                                            for name, scale in scales.items()})
    made.settle()
    return made


def spans(frames: int, group: int, every: int) -> list[slice]:
    """Of each chunk, which of the frames that were kept for training."""
    return [slice(-(-begin // every), -(-min(begin + group, frames) // every))
            for begin in range(0, frames, group)]


def part(source, span: slice) -> sampler.Source:
    def cut(frames):
        return Frames(*(plane if plane is None else plane[span]
                        for plane in (frames.y, frames.u, frames.v)))
    return sampler.Source(cut(source.lr), cut(source.hr), source.colour)


@dataclasses.dataclass
class Part:
    """A chunk: its frames, those that judge, and the squared error that the base leaves there, mean
    of a sample of each path, times the chunk's frames."""

    source: sampler.Source
    pairs: list
    left: list


class Updater:
    def __init__(self, job, work, coded, frames, stop):
        self.job, self.work, self.stop = job, work, stop
        self.base = module_of(job.graph, coded)
        self.plain = coded.read_bytes()
        self.video_bytes = work.path("video.mp4").stat().st_size
        whole = clip.frames(work.folder, job.geo, job.source.colour, job.options.protocol)
        self.parts = []
        for span in spans(frames, job.group, job.every):
            source = part(whole, span)
            pairs, held = (train.evaluation_frames(self.base, [source]) if len(source.lr)
                           else ([], {}))
            found = Part(source, pairs if held else [], [])
            if found.pairs:
                found.left = self.error(self.base, found)
            self.parts.append(found)
            stop.check()
        # Chunks that cannot be judged are taken to be like the others.
        judged = [p for p in self.parts if p.left]
        seen = sum(len(p.source.lr) for p in judged)
        share = sum(len(p.source.lr) for p in self.parts) / max(1, seen)
        self.total = [share * sum(p.left[i] for p in judged) for i in range(self.base.paths)]

    def error(self, module, where: Part) -> list[float]:
        """As Part.left."""
        psnr, _ = train.evaluate_paths(module, where.pairs, [where.source])
        return [255**2 * 10 ** (-value / 10) * len(where.source.lr) for value in psnr]

    def gain(self, module, where: Part) -> float:
        """The share of the whole video's squared error that the module saves, mean of the paths."""
        paths = [p for p in range(self.base.paths) if self.base.macs_of_path[p]]
        saved = self.error(module, where)
        return sum((where.left[p] - saved[p]) / max(self.total[p], 1e-12)
                   for p in paths) / len(paths)

    def train(self, number: int, progress) -> train.Result:
        made = copy.deepcopy(self.base)
        for factor in made.learnt_factors():  # scales and ranges stay: only codes and biases move
            factor.requires_grad_(False)
        options = qat.default_options(made)
        options.rate *= RATE / qat.RATE
        o = self.job.options
        result = train.train(made.graph, [self.parts[number].source], module=made, options=options,
                             steps=o.updates, seed=o.seed, threads=o.threads, progress=progress,
                             checkpoint_path=self.work.path(f"update{number}.pt"),
                             should_stop=lambda: self.stop.requested)
        if not result.finished:
            raise Interrupted("interrupted")
        return result

    def still(self, trained, least: float) -> fake.Module:
        """`trained`, but codes that moved by less than `least` steps are the base's."""
        made = copy.deepcopy(trained)
        with torch.no_grad():
            for name, conv in made.convolutions.items():
                step = quant.spread(made.weight_scale(name), conv.weight)
                before = self.base.convolutions[name].weight
                moved = (trained.latent[name] - before).abs() >= least * step
                conv.weight.copy_(torch.where(moved, conv.weight, before))
        return made

    def choose(self, number: int, before: bytes | None, progress) -> tuple[bytes | None, dict]:
        """(file of the chunk's parameters or None: the base, what was found). `before`: the file of
        the chunk before, which to use again costs next to nothing."""
        where, tried = self.parts[number], [(0.0, None, 0, 0.0)]
        if not where.pairs:
            return None, {"chunk": number, "bytes": 0, "gain_db": 0.0, "why": "too few frames"}

        def weigh(module, file, size):
            saved = self.gain(module, where)
            tried.append((qat.WORTH * (size + ENTRY) / self.video_bytes - saved, file, size, saved))
        if before is not None:
            reused = self.work.path("update.safetensors")
            reused.write_bytes(before)
            weigh(module_of(self.job.graph, reused), before, 0)
        trained = self.train(number, progress).module
        for least in MOVES:
            made = self.still(trained, least)
            file = safetensors.torch.save(quant.file_tensors(made))
            try:
                size = len(compact.update(self.plain, file))
            except PackError:  # a bias that has grown asks for scales of another dtype
                continue
            weigh(made, file, size)
        _, file, size, saved = min(tried, key=lambda one: one[0])
        paths = [p for p in range(self.base.paths) if self.base.macs_of_path[p]]
        here = sum(where.left[p] / max(self.total[p], 1e-12) for p in paths) / len(paths)
        gain = 10 * math.log10(1 / max(1e-9, 1 - saved / here)) if here > 0 else 0.0
        return file, {"chunk": number, "bytes": size, "gain_db": round(gain, 4),
                      "shared": file is not None and file is before}


def run(job, work, coded, frames, out, stop) -> list[pathlib.Path | None]:
    """Of each chunk the file of its parameters, None where it plays the base. Chunks that an
    interrupted run has done are taken as they are."""
    threads = torch.get_num_threads()
    if job.options.threads:  # part of what makes a run reproducible
        torch.set_num_threads(job.options.threads)
    try:
        with out.clock.step("updates"):
            it = Updater(job, work, coded, frames, stop)
            files, found = [], []
            with out.training_bar("updates") as bar:
                for number in range(len(it.parts)):
                    path = work.path(f"update{number}.safetensors")
                    record = work.done(f"update{number}")
                    if record is None:
                        before = files[-1].read_bytes() if files and files[-1] else None

                        def progress(fraction, loss, psnr, number=number):
                            bar((number + fraction) / len(it.parts), loss, psnr)
                        file, record = it.choose(number, before, progress)
                        record["kept"] = file is not None
                        if file is not None:
                            graph.write_atomically(path, file)
                        work.path(f"update{number}.pt").unlink(missing_ok=True)
                        work.finish(f"update{number}", record)
                    files.append(path if record["kept"] else None)
                    found.append(record)
                    stop.check()
    except (ValueError, FloatingPointError) as error:
        raise PackError(f"{job.source.path}: updates of {job.model}: {one_line(error)}") from error
    finally:
        torch.set_num_threads(threads)
    work.finish("updates", found)
    for line in found:
        out.detail(f"chunk {line['chunk']}: " + (
            f"update of {line['bytes']} bytes, {line['gain_db']:+.3f} dB" if line["kept"]
            else f"the base{', ' + line['why'] if 'why' in line else ''}"))
    return files
