# SPDX-License-Identifier: BSD-2-Clause
"""Generated clips, and srpack as a user runs it."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def ffmpeg(*args):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, args)],
                   check=True,
                   timeout=60)


def ffprobe(path, *args):
    """ffprobe's JSON."""
    text = subprocess.run(["ffprobe", "-v", "error", "-of", "json", *map(str, args),
                           str(path)],
                          check=True,
                          timeout=60,
                          capture_output=True).stdout
    return json.loads(text)


def environment(**more):
    python = os.pathsep.join([str(ROOT / "scripts"),
                              os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": python, **more}


def srpack(*args, env=None, cwd=None):
    """The finished process of one srpack command."""
    return subprocess.run([sys.executable, "-m", "srpack", *map(str, args)],
                          env=env or environment(),
                          cwd=cwd,
                          capture_output=True,
                          text=True,
                          timeout=120)


def packed(*args, env=None):
    """The result that a command which must succeed prints as JSON."""
    done = srpack(*args, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """make(name, *ffmpeg arguments): a clip, made once."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name, *args):
        path = folder / name
        if not path.exists():
            ffmpeg(*args, path)
        return path
    return make


@pytest.fixture(scope="session")
def plain(clips):
    """2 s of 320x240, 25 frames/s, moving detail, with sound, stored without loss."""
    return clips("plain.mkv", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=2", "-f", "lavfi",
                 "-i", "sine=440:d=2", "-pix_fmt", "yuv420p", "-c:v", "ffv1", "-c:a", "pcm_s16le")
