# SPDX-License-Identifier: BSD-2-Clause
"""srplay in a window, under Xvfb: what is on the screen, and what the keys do."""
import json
import os
import pathlib
import subprocess
import time

import numpy as np
import pytest

import sys
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import tiny  # noqa: E402

SIZE = (320, 180)
WIDTH, HEIGHT = SIZE[0] * 2, SIZE[1] * 2
SCREEN = (1280, 800)
PATIENCE = 15  # seconds that anything may take on a busy machine
# SDL's own YUV conversion is coarse, and it repeats chroma samples instead of interpolating them.
SAME = 4.0     # mean absolute difference below which two pictures are the same


@pytest.fixture(scope="module")
def screen():
    """A screen of its own; yields its environment."""
    reading, writing = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24",
                               "-nolisten", "tcp"], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    environment = {k: v for k, v in os.environ.items() if k != "SDL_RENDER_DRIVER"}
    yield {**environment, "DISPLAY": f":{number}", "SDL_AUDIODRIVER": "dummy", "SDL_VIDEODRIVER": "x11"}
    server.terminate()
    server.wait(PATIENCE)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("window") / "package", 3, size=SIZE)


@pytest.fixture(scope="module")
def picture(build, package, tmp_path_factory):
    """picture(index, sr="auto"): a frame as --dump writes it, RGB."""
    folder, cache = tmp_path_factory.mktemp("pictures"), {}

    def get(index, sr="auto"):
        if (index, sr) not in cache:
            path = folder / f"{index}-{sr}.png"
            subprocess.run([build / "srplay", "-q", "--no-display", "--no-cache", f"--sr={sr}", "--dump", path,
                            f"--start={index / tiny.RATE}", "--frames=1", package / "manifest.json"], check=True)
            cache[index, sr] = load(path)
        return cache[index, sr]
    return get


def load(path):
    raw = subprocess.run(["convert", path, "-depth", "8", "ppm:-"], capture_output=True, check=True).stdout
    return ppm(raw)


def ppm(raw):
    magic, size, depth, rest = raw.split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(rest, np.uint8).reshape(height, width, 3).astype(np.int16)


class Player:
    """srplay in the top left corner of the screen, picture and window of one size."""

    def __init__(self, build, screen, folder, media, *options):
        self.screen, self.stats, self.shot = screen, folder / "stats.json", folder / "failure.png"
        self.child = subprocess.Popen(
            [build / "srplay", "--no-cache", "--geometry", f"{WIDTH}x{HEIGHT}+0+0", "--stats", self.stats,
             "--screenshot-dir", folder, *options, media], env=screen, stderr=subprocess.PIPE, text=True)

    def xdotool(self, *words):
        subprocess.run(["xdotool", *map(str, words)], env=self.screen, check=True, timeout=PATIENCE)

    def key(self, *keys):
        for key in keys:
            self.xdotool("key", key)

    def grab(self):
        raw = subprocess.run(["import", "-silent", "-window", "root", "-depth", "8", "ppm:-"], env=self.screen,
                             capture_output=True, check=True, timeout=PATIENCE).stdout
        return ppm(raw)

    def view(self):
        return self.grab()[:HEIGHT, :WIDTH]

    def wait(self, condition, what):
        """The first view that satisfies the condition."""
        end = time.monotonic() + PATIENCE
        while True:
            seen = self.view()
            if condition(seen):
                return seen
            if time.monotonic() > end or self.child.poll() is not None:
                subprocess.run(["convert", "ppm:-", self.shot], check=False,
                               input=b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + seen.astype(np.uint8).tobytes())
                raise AssertionError(f"never seen: {what} (last view: {self.shot})")
            time.sleep(0.05)

    def wait_for(self, wanted, what, columns=slice(None)):
        return self.wait(lambda seen: distance(seen[:, columns], wanted[:, columns]) < SAME, what)

    def quit(self, code=0):
        self.key("q")
        _, log = self.child.communicate(timeout=PATIENCE)
        assert self.child.returncode == code, log
        return json.loads(self.stats.read_text()), log


def test_without_a_gpu_sdl_draws_by_itself(build, screen, package):
    """Not by an OpenGL that would take the processor from the network, where such a one is installed."""
    done = subprocess.run([build / "srplay", "-v", "--no-cache", "--frames=2", package / "manifest.json"], env=screen,
                          capture_output=True, text=True, timeout=4 * PATIENCE, check=True)
    assert "drawn by SDL's renderer 'software'" in done.stderr


def distance(a, b):
    return np.abs(a - b).mean()


@pytest.fixture
def play(build, screen, package, tmp_path):
    players = []

    def start(*options, media=None, environment=None):
        settings = {**screen, **{k: str(v) for k, v in (environment or {}).items()}}
        players.append(Player(build, settings, tmp_path, media or package / "manifest.json", *options))
        return players[-1]
    yield start
    for player in players:
        if player.child.poll() is None:
            player.child.kill()
            player.child.wait()


def test_picture_is_neither_tinted_nor_shifted(play, picture):
    player, wanted = play("--pause"), picture(0)
    seen = player.wait_for(wanted, "the first frame")
    for channel in range(3):
        assert abs(seen[..., channel].mean() - wanted[..., channel].mean()) < 1.5
    m = 4
    crop = wanted[m:-m, m:-m]
    fit = {(dy, dx): distance(seen[m + dy:HEIGHT - m + dy, m + dx:WIDTH - m + dx], crop)
           for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    assert min(fit, key=fit.get) == (0, 0), fit
    # No seams: the difference is nowhere much larger than elsewhere.
    blocks = np.abs(seen - wanted).mean(2).reshape(HEIGHT // 20, 20, WIDTH // 20, 20).mean((1, 3))
    assert blocks.max() < 6 * SAME
    stats, _ = player.quit()
    assert stats["frames"] == stats["upscaled"] == 1


def test_split_and_drag(play, picture):
    player = play("--pause", "--compare=split")
    sr, base = picture(0), picture(0, "off")
    assert distance(sr, base) > SAME  # or the rest shows nothing

    def split_at(seen, x):
        inner = slice(0, HEIGHT - 60)  # the labels are below
        return (distance(seen[inner, :x - 3], base[inner, :x - 3]) < SAME and
                distance(seen[inner, x + 3:], sr[inner, x + 3:]) < SAME and (seen[inner, x] > 250).all())
    seen = player.wait(lambda v: split_at(v, WIDTH // 2), "base left of the line, SR right of it")
    labels = seen[HEIGHT - 60:, WIDTH // 2 - 100:WIDTH // 2 + 100]
    assert (labels.min(2) > 230).sum() > 60  # white text
    player.xdotool("mousemove", WIDTH // 2, 100, "mousedown", 1, "mousemove", 200, 100, "mouseup", 1)
    player.wait(lambda v: split_at(v, 200), "the line at 200")
    player.key("c")
    player.wait_for(sr, "SR alone")
    player.xdotool("keydown", "h")
    player.wait_for(base, "the original while h is held")
    player.xdotool("keyup", "h")
    player.wait_for(sr, "SR again")
    player.quit()


def test_overlay_and_screenshots(play, picture, tmp_path):
    player, wanted = play("--pause"), picture(0)
    player.wait_for(wanted, "the first frame")
    player.key("i")
    corner = (slice(0, 90), slice(0, 400))
    player.wait(lambda v: v[corner].mean() < 0.7 * wanted[corner].mean() and (v[corner].min(2) > 230).sum() > 300,
                "white text on a dark box")
    player.key("S")
    player.key("s")
    player.key("o")
    bar = (slice(HEIGHT - 40, HEIGHT), slice(20, WIDTH - 20))
    player.wait(lambda v: distance(v[bar], wanted[bar]) > 20, "the progress bar")
    _, log = player.quit()
    with_osd, without = load(tmp_path / "srplay-shot0001.png"), load(tmp_path / "srplay-shot0002.png")
    assert "srplay-shot0001.png" in log and "srplay-shot0002.png" in log
    assert np.array_equal(without, wanted)
    assert with_osd[corner].mean() < 0.7 * wanted[corner].mean()
    assert distance(with_osd[150:], wanted[150:]) < SAME


def test_steps_seeks_and_pause(play, picture):
    player = play("--pause")
    player.wait_for(picture(0), "frame 0")
    player.key("period")
    player.wait_for(picture(1), "frame 1 after a step")
    player.key("period", "period")
    player.wait_for(picture(3), "frame 3 after two more")
    player.key("comma")
    player.wait_for(picture(2), "frame 2 after a step back")
    player.key("shift+Right")
    player.wait_for(picture(27), "frame 27, one second on")
    player.key("shift+Left")
    player.wait_for(picture(2), "frame 2 again")
    player.key("Right")
    player.wait_for(picture(74), "the last frame: five seconds are more than there are")
    player.key("Left")
    player.wait_for(picture(0), "the beginning")
    player.key("space")
    player.wait(lambda v: distance(v, picture(0)) > SAME, "another picture, playing")
    player.key("p")
    time.sleep(0.3)
    seen = player.view()[80:]  # above it a message may just go
    time.sleep(0.4)
    assert np.array_equal(seen, player.view()[80:])
    player.quit()


def test_sr_off_and_on(play, picture):
    player = play("--pause")
    player.wait_for(picture(0), "SR")
    player.key("n")
    player.wait(lambda v: distance(v[100:], picture(0, "off")[100:]) < SAME, "bicubic after n")
    player.key("n")
    player.wait(lambda v: distance(v[100:], picture(0)[100:]) < SAME, "SR after n again")
    stats, log = player.quit()
    assert stats["not_upscaled"]["user"] == 1 and stats["upscaled"] == 2
    assert "SR off" in log and "SR on" in log


def test_fullscreen_and_volume(play, picture, tmp_path):
    """Without a window manager nobody resizes the window itself: what the player draws is looked at."""
    player = play("--pause")
    player.wait_for(picture(0), "the window")
    player.key("9", "m", "0")
    player.wait(lambda v: (v[:60, :300].min(2) > 230).sum() > 30, "a message about the volume")
    player.wait(lambda v: distance(v[:60, :300], picture(0)[:60, :300]) < SAME, "no message any more")
    player.key("f", "S")
    player.quit()
    full = load(tmp_path / "srplay-shot0001.png")
    assert full.shape == (SCREEN[1], SCREEN[0], 3)
    height = SCREEN[0] * HEIGHT // WIDTH
    top = (SCREEN[1] - height) // 2
    assert full[:top].max() == 0 and full[top + height:].max() == 0
    assert full[top:top + height].std((1, 2)).min() > 5  # every line, from edge to edge
    assert distance(full[top:top + height:2, ::2][:HEIGHT], picture(0)) < 4 * SAME


def test_plays_in_time_and_ends(play, picture):
    player = play("--no-audio", "--length=2")
    _, log = player.child.communicate(timeout=PATIENCE)
    assert player.child.returncode == 0, log
    stats = json.loads(player.stats.read_text())
    assert stats["frames"] == 50
    assert 1.7 < stats["duration_s"] < 3.5
    assert stats["stage_ms"]["present"]["p50"] > 0


def test_odd_size_is_converted_here(play, build, tmp_path):
    """SDL halves odd planes in its own way; such pictures go through our conversion."""
    clip = tmp_path / "odd.mp4"
    tiny.ffmpeg("-f", "lavfi", "-i", "testsrc=s=161x91:r=25:d=1", "-pix_fmt", "yuv444p", "-c:v", "libx264", "-qp", 8, clip)
    shot = tmp_path / "shot.png"
    subprocess.run([build / "srplay", "-q", "--no-display", "--sr=off", "--scale=3", "--frames=1", "--dump", shot, clip],
                   check=True)
    wanted = load(shot)
    assert wanted.shape == (273, 483, 3)
    player = play("--pause", "--sr=off", "--scale=3", "--geometry=483x273+0+0", media=clip)
    player.wait(lambda v: np.array_equal(v[:273, :483], wanted), "the very pixels of the dump")
    player.quit()


def test_sound_is_whole(play, package, tmp_path):
    """SDL writes what it would play into a file: the tone of the source, without holes, for as long as the video."""
    player = play("--volume=100", environment={"SDL_AUDIODRIVER": "disk", "SDL_DISKAUDIOFILE": tmp_path / "sound.raw"})
    _, log = player.child.communicate(timeout=PATIENCE)
    assert player.child.returncode == 0, log
    stats = json.loads(player.stats.read_text())
    assert stats["audio"] and "without sound" not in log
    sound = np.fromfile(tmp_path / "sound.raw", np.float32)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    begin, end = loud[0], loud[-1]
    assert abs((end - begin) / tiny.AUDIO_RATE - 3) < 0.35
    inner = sound[begin + 2000:end - 2000]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner))))
    assert abs(np.argmax(spectrum) * tiny.AUDIO_RATE / len(inner) - 440) < 2
    gaps = np.diff(np.flatnonzero(np.abs(inner) > 0.01))
    if stats["stalls"] == 0:
        assert gaps.max() < 200, f"{gaps.max()} silent samples"
    player = play("--mute", "--length=1",
                  environment={"SDL_AUDIODRIVER": "disk", "SDL_DISKAUDIOFILE": tmp_path / "mute.raw"})
    player.child.communicate(timeout=PATIENCE)
    assert not np.fromfile(tmp_path / "mute.raw", np.float32).any()


def test_a_slow_screen_never_freezes_the_picture(build, screen, tmp_path):
    """The first picture's set-up (shaders, textures) must not count as what each picture costs, and
    however slow the screen, one picture in eight is shown."""
    stats = tmp_path / "stats.json"
    slow = {k: v for k, v in screen.items() if k != "SDL_RENDER_DRIVER"}  # OpenGL in software
    demo = pathlib.Path(__file__).resolve().parents[2] / "models/demo/manifest.json"
    subprocess.run([build / "srplay", "-q", "--no-cache", "--fs", "--stats", stats, demo],
                   env=slow, check=True, timeout=60)
    seen = json.loads(stats.read_text())
    assert seen["frames"] == 96
    assert seen["frames"] - seen["dropped"] >= 96 // 8
