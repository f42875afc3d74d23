# SPDX-License-Identifier: BSD-2-Clause
"""Runs ffmpeg, ffprobe, srinfo and srbench: one place for time, interruption and errors; zstd."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import zstandard

from .errors import Interrupted, PackError, one_line

SOURCE_ROOT = pathlib.Path(__file__).resolve().parents[2]


class Stop:
    """Turns SIGINT and SIGTERM into a flag that the long steps poll. A second SIGINT ends the
    process at once."""

    def __init__(self):
        self.requested = False

    def install(self):
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number, _frame):
        if self.requested and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        self.requested = True

    def check(self):
        if self.requested:
            raise Interrupted("interrupted")


def find(name: str) -> str:
    """Path of a program of this project: $SRP_BINDIR, the build folder of this checkout, then
    $PATH."""
    folders = [os.environ.get("SRP_BINDIR"), SOURCE_ROOT / "build"]
    for folder in folders:
        if folder and os.access(pathlib.Path(folder) / name, os.X_OK):
            return str(pathlib.Path(folder) / name)
    found = shutil.which(name)
    if found is None:
        raise PackError(f"{name}: program not found (run make, or set SRP_BINDIR to where it is)")
    return found


def _end(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(command, *, stop: Stop, subject: str, on_line=None) -> str:
    """Runs `command` to its end and returns its stdout; on_line(text) takes the lines instead, as
    they come.

    Raises PackError "subject: last line of stderr" when it fails, Interrupted when `stop` was
    requested.
    """
    # A session of its own: Ctrl-C at the terminal reaches srpack alone, which then ends the child
    # in good order.
    try:
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stderr=errors,
                stdout=subprocess.PIPE if on_line else output, start_new_session=True)
            try:
                if on_line:
                    for raw in process.stdout:
                        on_line(raw.decode("utf-8", "replace").strip())
                        stop.check()
                while True:
                    try:
                        process.wait(0.1)
                        break
                    except subprocess.TimeoutExpired:
                        stop.check()
            except BaseException:
                _end(process)
                raise
            finally:
                if process.stdout:
                    process.stdout.close()
            stop.check()
            if process.returncode != 0:
                errors.seek(0)
                lines = errors.read().decode("utf-8", "replace").strip().splitlines()
                cause = one_line(lines[-1]) if lines else f"exit status {process.returncode}"
                name = pathlib.Path(str(command[0])).name
                raise PackError(f"{subject}: {name}: {cause}")
            output.seek(0)
            return output.read().decode("utf-8", "replace")
    except FileNotFoundError as error:
        raise PackError(f"{command[0]}: program not found") from error


def zstd(data: bytes, level: int = 19) -> bytes:
    """One zstd frame that declares its content size, as readers demand; no checksum, since objects
    have their SHA-256. `data` is not empty."""
    return zstandard.ZstdCompressor(level, write_checksum=False).compress(data)


def unzstd(data: bytes) -> bytes:
    """The content of a frame that declares its size. PackError: it is none."""
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise PackError(f"zstd: {one_line(str(error))}") from error


class Clock:
    """Seconds per step, in order."""

    def __init__(self):
        self.seconds = {}

    def step(self, name):
        return _Step(self, name)


class _Step:
    def __init__(self, clock, name):
        self.clock, self.name = clock, name

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, *_):
        spent = time.monotonic() - self.began
        self.clock.seconds[self.name] = round(self.clock.seconds.get(self.name, 0.0) + spent, 2)
