# SPDX-License-Identifier: BSD-2-Clause
"""The quantisation step of srpack: the trained parameters become int8 codes, then learn on with
int8's arithmetic; the better of both is what int8 has to offer. And --quant-report, every
granularity side by side by the engine."""

import dataclasses
import json
import math
import pathlib

import safetensors.torch
import torch

from . import clip, equalise, graph, models, native, qat, quant, ranges, train, training
from .colour import to_tensor
from .errors import Interrupted, PackError, one_line


def rules(options, granularity=None) -> quant.Rules:
    made = {"granularity": granularity or options.granularity}
    if options.group_width is not None:
        made["width"] = options.group_width
    if options.flag_zeros is not None:
        made["zeros"] = options.flag_zeros / 100
    return quant.Rules(**made)


class Quantiser:
    """A trained network and the video that it is for."""

    def __init__(self, job, work, parameters, stop):
        self.job, self.work, self.stop, self.options = job, work, stop, job.options
        self.module = graph.load_module(json.loads(job.graph))
        graph.load_parameters(self.module, parameters)
        self.source = clip.frames(work.folder, job.geo, job.source.colour, job.options.protocol)
        self.source.statistics = training.judge(job, self.source, work, stop,
                                                every_frame=bool(job.options.chunks))
        self.pairs, _ = train.evaluation_frames(self.module, [self.source])
        self.balanced = equalise.balance(self.module, self.source.lr, self.source.colour)
        self.found = ranges.collect(self.module, self.source.lr, self.source.colour,
                                    lambda: stop.requested)
        stop.check()

    def plan(self, granularity=None) -> qat.Plan:
        mixed = self.options.quant == "w8a8-mixed"
        size = self.work.path("video.mp4").stat().st_size
        return qat.plan(self.module, self.found, rules(self.options, granularity), self.source,
                        sixteen=mixed, video_bytes=size if mixed else None)

    def amount(self):
        """(seconds, steps) of the training in int8; None where it is not wanted."""
        o = self.options
        share = training.qat_share(o)
        if not share:
            return None
        if o.budget is not None:
            return o.budget * share, o.qat
        return None, o.qat or max(1, round(o.steps * share))

    def tune(self, made, name, progress=None) -> train.Result:
        seconds, steps = self.amount()
        result = qat.tune(made, self.source, budget_seconds=seconds, steps=steps,
                          seed=self.options.seed, threads=self.options.threads, progress=progress,
                          checkpoint_path=self.work.path(f"{name}.pt"),
                          should_stop=lambda: self.stop.requested)
        if not result.finished:
            raise Interrupted("interrupted")
        return result

    def psnr(self, module, pairs=None):
        """dB of each path on the held-out frames, or those of `pairs`, by fake quantisation."""
        return train.evaluate_paths(module, pairs or self.pairs, [self.source])[0]


def _settled(made):
    made.settle()
    return made


def run(job, work, parameters, coded: pathlib.Path, out, stop):
    """Writes `coded`, and the report where one is wanted; what an interrupted run has done of the
    two is taken as it is."""
    reports = job.options.quant_report is not None
    quantised, reported = (work.done(step) is not None for step in ("quant", "quant-report"))
    before = torch.get_num_threads()
    if job.options.threads:  # part of what makes a run reproducible
        torch.set_num_threads(job.options.threads)
    try:
        if not quantised or (reports and not reported):
            with out.clock.step("quantise"):
                it = Quantiser(job, work, parameters, stop)
        if not quantised:
            work.finish("quant", _quantise(it, coded, out))
        if reports and not reported:
            with out.clock.step("quant-report"):
                work.finish("quant-report", {"model": job.model, "frames": len(it.pairs),
                                             "rows": rows(it)})
    except (ValueError, FloatingPointError) as error:
        raise PackError(f"{job.source.path}: int8 of {job.model}: {one_line(error)}") from error
    finally:
        torch.set_num_threads(before)
    if reports:
        _report(work.done("quant-report"), job.options.quant_report, out)


def _quantise(it, coded, out) -> dict:
    """Writes `coded`; returns what --json says of it."""
    with out.clock.step("quantise"):
        plan = it.plan()
    exact = [path["psnr"] for path in it.work.done("train")["paths"]]
    found = {"psnr_f32": _mean(exact), "psnr_ptq": None, "qat": None}
    if it.amount() is None:
        best = _settled(plan.module(it.module))
        found["psnr_ptq"] = _mean(it.psnr(best))
    else:
        with out.clock.step("qat"), out.training_bar("int8") as update:
            result = it.tune(plan.module(it.module), "qat", update)
        best = result.module
        if len(result.judged) < len(it.pairs):  # of the same frames
            found["psnr_f32"] = _mean(it.psnr(it.module, result.judged))
        found["psnr_ptq"] = _mean(result.psnr_start)
        found["qat"] = {"steps": result.steps, "seconds": round(result.seconds, 1),
                        "psnr": _mean(result.psnr_of_path), "kept": result.chosen != "init"}
    graph.write_atomically(coded, safetensors.torch.save(quant.file_tensors(best)))
    size, f16 = qat.parameter_bytes(best), qat.f16_bytes(it.module)
    if it.balanced:
        out.detail(f"int8: channels brought back to the size of others: {', '.join(it.balanced)}")
    flagged = [name for name in plan.groups if best.granularity(name) == "group"]
    out.detail(f"int8: f32 {found['psnr_f32']:.3f} dB, codes {found['psnr_ptq']:.3f} dB"
               + (f", after {found['qat']['steps']} steps {found['qat']['psnr']:.3f} dB"
                  if found["qat"] else "")
               + f"; groups: {', '.join(flagged) or 'none'}; "
               f"16 bits: {', '.join(plan.wide) or 'none'}; {size:,} bytes, "
               f"{100 * size / f16:.1f} % of f16")
    return {**found, "granularity": it.options.granularity, "tensors16": plan.wide,
            "gain16_db": plan.tried, "bytes": size, "bytes_f16": f16, "grain": plan.grain,
            "grains_tried": plan.weighed, "layers": quant.report(best)}


def _mean(values):
    """Of the paths; an error of nothing counts as 100 dB."""
    return round(min(100.0, sum(values) / len(values)), 4)


class Engine:
    """Runs a network's dearest path by libsrp."""

    def __init__(self, module):
        library = native.find()
        if library is None:
            raise PackError("libsrp.so: not found (run make, or set SRP_BINDIR to where it is)")
        self.lib, self.scale = library, module.scale
        self.colour, self.path = module.colour, train.dearest(module)
        self.value = models.path(module.graph, self.path)
        self.names = {node["name"] for node in self.value["nodes"]}
        self.tensors = {node["output"] for node in self.value["nodes"]} - {self.value["output"]}
        self.tensors.add(self.value["input"])

    def of_path(self, tensors):
        """The parameters of this path alone."""
        return {name: value.contiguous() for name, value in tensors.items()
                if name.rpartition(".")[0] in (
                    self.tensors if quant.is_extra(name) else self.names)}

    def psnr(self, tensors: dict, pairs, source) -> float:
        """dB on whole frames, rounded to 8 bits, as train.evaluate_paths()."""
        data = safetensors.torch.save(self.of_path(tensors))
        model = native.Model(self.lib, json.dumps(self.value).encode(), data)
        total = 0.0
        try:
            for _, index in pairs:
                x, t = (to_tensor(frames, index, self.colour, source.colour).permute(1, 2, 0)
                        for frames in (source.lr, source.hr))
                y = torch.from_numpy(model.run(x.numpy(), self.scale))
                h, w = min(t.shape[0], y.shape[0]), min(t.shape[1], y.shape[1])
                y = (y[:h, :w].clamp(0, 1) * 255).round()
                total += float((y - t[:h, :w] * 255).square().mean(dtype=torch.float64))
        finally:
            model.close()
        return 10 * math.log10(255**2 * len(pairs) / total) if total > 0 else 100.0


def rows(it, after=True) -> list[dict]:
    """The table of --quant-report: PSNR by the engine of every granularity, as it is and, `after`,
    after training in int8."""
    engine, lines = Engine(it.module), []
    plain = {k: v.detach() for k, v in it.module.named_tensors().items()}
    lines.append({"granularity": "f32", "psnr": engine.psnr(plain, it.pairs, it.source)})
    chosen = it.plan()
    wide = chosen.wide
    kinds = [(kind, wide) for kind in quant.GRANULARITIES]
    if wide:
        kinds.insert(0, ("channel", []))
    for kind, tensors in kinds:
        groups = {name: quant.groups_of(conv.weight.detach(), rules(it.options, kind))
                  for name, conv in it.module.convolutions.items()}
        plan = dataclasses.replace(chosen, groups=groups, wide=tensors)
        line = {"granularity": kind, "tensors16": len(tensors),
                "flagged": sum(count > 1 for count in groups.values()),
                "layers": len(groups)}
        files = [("psnr", _settled(plan.module(it.module)))]
        if after and it.amount() is not None:
            result = it.tune(plan.module(it.module), f"report-{kind}{len(tensors)}")
            files.append(("psnr_qat", result.module))
        for key, made in files:
            line[key] = engine.psnr(quant.file_tensors(made), it.pairs, it.source)
        lines.append(line)
    return lines


def _report(found, path, out):
    """--quant-report."""
    try:
        graph.write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from error
    head = f"{'arithmetic':<12}{'16 bits':>9}{'groups':>9}{'PTQ':>13}{'QAT':>13}"
    out.say(f"held-out frames, by the engine:\n{head}\n" + "\n".join(map(_row, found["rows"])))


def _row(line):
    shown = [f"{line[key]:.3f} dB" if key in line else "" for key in ("psnr", "psnr_qat")]
    counts = [str(line.get("tensors16", "")),
              f"{line['flagged']}/{line['layers']}" if "layers" in line else ""]
    return (f"{line['granularity']:<12}{counts[0]:>9}{counts[1]:>9}{shown[0]:>13}"
            f"{shown[1]:>13}").rstrip()

