# SPDX-License-Identifier: BSD-2-Clause
"""Updates of chunks: from codes back to the network, what is kept and what is not, and packages."""
import json
import types

import numpy as np
import parameters
import pytest
import safetensors.torch
import torch
from conftest import packed
from srpack import (colour, compact, deliver, fake, models, options, quant, ranges, sampler,
                    train, updates, work)
from srpack.errors import Interrupted, UsageError

GROUP, SIZE = 36, (48, 40)


def scene(kind, count=GROUP):
    """Frames of stripes, which lie and move otherwise in each kind; odd ones are much sharper."""
    y, x = np.mgrid[0:2 * SIZE[1], 0:2 * SIZE[0]]
    angle, sharp = (0.3, 4.0) if kind else (1.2, 0.7)
    waves = [np.sin((x * np.cos(angle) + y * np.sin(angle)) / 2.2 + 0.4 * i) for i in range(count)]
    hr = torch.from_numpy(np.stack([128 + 90 * np.tanh(sharp * w) for w in waves]))[:, None]
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    return [t[:, 0].round().byte().numpy() for t in (lr, hr)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """make(kinds): a job of these scenes, one for each chunk, a network that learnt them all."""
    def make(kinds, steps=40, video_bytes=300_000):
        folder = tmp_path_factory.mktemp("job")
        scenes = [scene(kind) for kind in kinds]
        lr, hr = (np.concatenate([s[i] for s in scenes]) for i in (0, 1))
        for name, luma in (("lr.yuv", lr), ("hr.yuv", hr)):
            chroma = np.full((len(luma), luma[0].size // 2), 128, np.uint8)
            (folder / name).write_bytes(np.hstack([luma.reshape(len(luma), -1), chroma]).tobytes())
        (folder / "video.mp4").write_bytes(bytes(video_bytes))
        source = sampler.Source(colour.Frames(lr), colour.Frames(hr))
        text = models.edge(8, 2, 2)
        module = train.train(text, [source], steps=steps, threads=1).module
        coded = fake.Module(module, ranges.collect(module, source.lr))
        coded.settle()
        file = folder / "int8.safetensors"
        file.write_bytes(safetensors.torch.save(quant.file_tensors(coded)))
        box = work.Work(folder)
        box._state = {"job": "x", "done": {}}
        job = types.SimpleNamespace(
            graph=json.dumps(text).encode(), model="edge8", group=GROUP, every=1,
            geo=types.SimpleNamespace(lr_width=SIZE[0], lr_height=SIZE[1], hr_width=2 * SIZE[0],
                                      hr_height=2 * SIZE[1], scale=2),
            source=types.SimpleNamespace(path="v.mp4", colour={}),
            options=types.SimpleNamespace(updates=60, seed=0, threads=1, protocol="codec"))
        return job, box, file, len(lr), coded
    return make


class Out:
    """As report.Report, and remembers."""

    def __init__(self):
        self.details, self.detail = [], lambda text: self.details.append(text)
        self.clock = types.SimpleNamespace(step=lambda name: _Nothing())

    def training_bar(self, name):
        return _Nothing()


class _Nothing:
    def __enter__(self):
        return lambda *_: None

    def __exit__(self, *_):
        return None


class Stop:
    requested = False

    def check(self):
        if self.requested:
            raise Interrupted("interrupted")


def run(job, box, file, frames):
    out = Out()
    return updates.run(job, box, file, frames, out, Stop()), box.done("updates"), out.details


def test_which_frames_are_a_chunks():
    assert updates.spans(10, 4, 1) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    # of frames 0 3 6 9: those in 0..3, 4..7, 8..9
    assert updates.spans(10, 4, 3) == [slice(0, 2), slice(2, 3), slice(3, 4)]
    assert updates.spans(9, 2, 5) == [slice(0, 1), slice(1, 1), slice(1, 2), slice(2, 2), slice(2, 2)]


def test_a_file_becomes_its_module_again(trained):
    job, _, file, _, coded = trained([0], steps=5)
    again = updates.module_of(job.graph, file)
    assert safetensors.torch.save(quant.file_tensors(again)) == file.read_bytes()
    x = torch.rand(1, 1, 24, 32)
    with torch.no_grad():
        assert torch.equal(again(x), coded(x))


def test_scenes_get_updates_of_their_own(trained):
    """Each learns its scene: better there, as said; the third chunk plays the second's again."""
    job, box, file, frames, coded = trained([0, 1, 1])
    files, found, details = run(job, box, file, frames)
    assert all(files) and [line["shared"] for line in found] == [False, False, True]
    assert found[2]["bytes"] == 0 and files[2].read_bytes() == files[1].read_bytes()
    base = file.read_bytes()
    for number, (path, kind) in enumerate(zip(files, [0, 1, 1])):
        change = compact.update(base, path.read_bytes())
        assert found[number]["bytes"] in (len(change), 0)
        whole = sampler.Source(*(colour.Frames(planes) for planes in scene(kind)))
        pairs, _ = train.evaluation_frames(coded, [whole])
        before, after = (train.evaluate(net, pairs, [whole])[0] for net in (
            coded, updates.module_of(job.graph, path)))
        assert after - before == pytest.approx(found[number]["gain_db"], abs=2e-3)
        assert found[number]["gain_db"] > 0.1
        # Scales and ranges are the base's: what the update costs is codes and biases.
        old, new = (safetensors.torch.load(data) for data in (base, path.read_bytes()))
        assert all(torch.equal(new[n], v) for n, v in old.items() if n.endswith(("range", "scale")))
    assert details[0].startswith("chunk 0: update of ") and details[0].endswith(" dB")

    # What is done is done: nothing is trained again.
    job.options.updates = None
    assert updates.run(job, box, file, frames, Out(), Stop()) == files


def test_what_is_not_worth_its_bytes_is_left_out(trained):
    job, box, file, frames, _ = trained([0, 1], video_bytes=200)
    files, found, _ = run(job, box, file, frames)
    assert files == [None, None]
    assert all(not line["kept"] and line["bytes"] == 0 and line["gain_db"] == 0 for line in found)


def test_chunks_of_few_frames_play_the_base(trained):
    job, box, file, frames, _ = trained([0], steps=5)
    job.group = 30  # 30 and 6: neither has frames to spare
    files, found, details = run(job, box, file, frames)
    assert files == [None, None] and details == [f"chunk {i}: the base, too few frames" for i in (0, 1)]


def test_a_stop_is_heeded(trained):
    job, box, file, frames, _ = trained([0], steps=5)
    stop = Stop()
    updater = updates.Updater(job, box, file, frames, stop)
    stop.requested = True
    with pytest.raises(Interrupted):
        updater.choose(0, None, None)


@pytest.mark.parametrize("given, line", [
    (["--updates", "5", "--quant", "f32"], "--updates: --quant f32 has no int8"),
    (["--updates", "5", "--chunks", "2"], "--updates: the models of --chunks"),
    (["--updates", "-1"], "--updates"),
])
def test_options_that_make_no_sense(given, line):
    with pytest.raises(UsageError, match=line):
        options.parse(["v.mp4", "-o", "out", *given])


@pytest.mark.parametrize("loss, got, ships", [
    (0.1, 39.9, True), (0.11, 39.99, False),  # updates do not make up for what int8 loses
    (0.11, 40.0, True),                       # but f32, which has none, is not to be worse
])
def test_updates_do_not_hide_what_int8_loses(loss, got, ships):
    assert deliver._ships_int8(loss, got, 40.0, 35.0, 0.1) == ships
    assert not deliver._ships_int8(loss, 34.9, 40.0, 35.0, 0.1)


def test_the_package_has_them(clips, tmp_path, build):
    clip = clips("scenes.mkv", "-f", "lavfi", "-i", "testsrc2=s=192x128:r=25:d=2", "-f", "lavfi", "-i",
                 "mandelbrot=s=192x128:r=25:start_scale=0.3:end_scale=0.1,trim=0:2", "-filter_complex",
                 "[0:v]setsar=1[a];[1:v]setsar=1[b];[a][b]concat=n=2:v=1", "-pix_fmt", "yuv420p",
                 "-c:v", "ffv1")
    common = [clip, "--scale", 2, "--crf", 8, "--chunk", 2, "--steps", 20, "--threads", 2, "--model",
              "edge8", "--quant-loss", 9, "--qat", 0]
    alone = packed(*common, "-o", tmp_path / "alone")
    assert alone["arithmetic"]["updates"] is None
    result = packed(*common, "-o", tmp_path / "p", "--updates", 60)
    found = result["arithmetic"]["updates"]
    assert len(found) == 2 and any(line["kept"] for line in found)
    manifest = json.loads((tmp_path / "p/manifest.json").read_bytes())
    assert [line["bytes"] for line in found] == [c.get("update", {"size": 0})["size"]
                                                 for c in manifest["chunks"]]
    assert result["bytes"]["parameters"] == (alone["bytes"]["parameters"]
                                             + sum(line["bytes"] for line in found))
    assert result["psnr_y"]["sr"] > alone["psnr_y"]["sr"] + 0.05
    # What int8 loses is told apart from what updates win.
    mine, plain = result["arithmetic"], alone["arithmetic"]
    assert plain["int8_base"] is None and mine["int8"] == result["psnr_y"]["sr"]
    assert [mine[key] for key in ("int8_base", "f32", "loss_db")] == [
        plain[key] for key in ("int8", "f32", "loss_db")]
    assert mine["loss_db"] == pytest.approx(mine["f32"] - mine["int8_base"], abs=1e-4)
    graph = json.loads((tmp_path / "p" / manifest["models"][0]["graph"]["uri"]).read_bytes())
    base = (tmp_path / "p" / manifest["models"][0]["parameters"]["uri"]).read_bytes()
    playlist = (tmp_path / "p/video.m3u8").read_text()
    for chunk in manifest["chunks"]:
        if "update" in chunk:
            change = (tmp_path / "p" / chunk["update"]["uri"]).read_bytes()
            assert parameters.unpack(base, graph, change).keys() == parameters.unpack(base, graph).keys()
            assert f'X-SRPLAY-UPDATE="{chunk["update"]["sha256"]}"' in playlist
