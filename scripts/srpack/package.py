# SPDX-License-Identifier: BSD-2-Clause
"""Writes the files of a package (docs/format.md) and puts the finished directory in its place."""

import ctypes
import ctypes.util
import errno
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from . import compact, hls
from .errors import PackError
from .mp4 import join

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: pathlib.Path, data: bytes):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: pathlib.Path):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Writer:
    """A package under construction in `folder`; the keys of `manifest` are filled as the parts
    arrive."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.manifest = {}
        self.tracks = (None, None)  # (Track, init, segments) of video and of audio, if any
        self.rate = None            # frames per second
        folder.mkdir(parents=True)
        (folder / "objects").mkdir()

    def file(self, name: str, data: bytes) -> dict:
        _write(self.folder / name, data)
        return {"uri": name, "size": len(data), "sha256": digest(data)}

    def object(self, data: bytes, extension: str) -> dict:
        return self.file(f"objects/{digest(data)}.{extension}", data)

    def parameters(self, data: bytes) -> dict:
        """A safetensors file that fits its graph, made compact."""
        return self.object(compact.pack(data), "parameters")

    def update(self, base: bytes, changed: bytes) -> dict:
        """Of parameters(base), to what another safetensors file of that graph holds."""
        return self.object(compact.update(base, changed), "update")

    def track(self, kind: str, track, groups) -> tuple[dict, list[dict]]:
        """Header and one file per group of fragments; returns (init object, segments)."""
        init = self.file(f"{kind}-init.mp4", track.init)
        segments, at = [], 0
        for index, group in enumerate(groups):
            whole = join(group)
            if whole.start != at:
                raise PackError(
                    f"{kind} segment {index}: begins at tick {whole.start}, expected {at}")
            at += whole.duration
            entry = self.file(f"{kind}-{index:05d}.m4s", whole.data)
            segments.append({**entry, "start": whole.start, "duration": whole.duration})
        return init, segments

    def add_routes(self, objects: list):
        """Gives each chunk its routes (bytes or None)."""
        for chunk, data in zip(self.manifest["chunks"], objects, strict=True):
            if data is not None:
                chunk["routes"] = self.object(data, "routes")
        self.playlists()
        self.write_manifest()

    def playlists(self):
        """From `tracks` and the manifest: each chunk's parameters and routes are announced."""
        video, audio = self.tracks
        models, chunks = self.manifest["models"], self.manifest["chunks"]
        side = [{"PARAMETERS": models[c["model"]]["parameters"]["sha256"]
                 if c["model"] is not None else None,
                 "UPDATE": c["update"]["sha256"] if "update" in c else None,
                 "ROUTES": c["routes"]["sha256"] if "routes" in c else None} for c in chunks]
        tracks = [t for t in (video, audio) if t is not None]
        for kind, (track, init, segments) in zip(("video", "audio"), tracks):
            listed = [(s["uri"], s["duration"] / track.timescale) for s in segments]
            text = hls.media_playlist(init["uri"], listed, side if kind == "video" else None)
            _write(self.folder / f"{kind}.m3u8", text.encode())
        peak = average = 0
        for track, _, segments in tracks:
            seconds = [s["duration"] / track.timescale for s in segments]
            sizes = [s["size"] for s in segments]
            peak += hls.peak_rate(sizes, seconds)
            average += round(8 * sum(sizes) / sum(seconds))
        text = hls.master_playlist(codecs=[t[0].codec for t in tracks],
                                   width=video[0].width,
                                   height=video[0].height,
                                   rate=float(self.rate),
                                   peak=peak,
                                   average=average,
                                   audio=audio[0].channels if audio else None)
        _write(self.folder / "master.m3u8", text.encode())

    def write_manifest(self):
        text = json.dumps(self.manifest, indent=1, ensure_ascii=True) + "\n"
        _write(self.folder / "manifest.json", text.encode())


def check_target(out: pathlib.Path):
    """Refuses to replace anything but a package or an empty directory."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise PackError(f"{out}: exists and is not a directory")
    if not out.exists():
        if not out.absolute().parent.is_dir():
            raise PackError(f"{out}: its parent directory does not exist")
        return
    if not any(out.iterdir()):
        return
    try:
        is_package = json.loads(
            (out / "manifest.json").read_bytes()).get("format") == "srplay-package"
    except (OSError, ValueError, AttributeError):
        is_package = False
    if not is_package:
        raise PackError(f"{out}: is not empty and not an srplay package; choose another directory")


def check_file(path: pathlib.Path):
    """Refuses a place where no file can be written, before the work for it begins."""
    if path.is_dir():
        raise PackError(f"{path}: {os.strerror(errno.EISDIR)}")
    try:  # as graph.write_atomically()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from error


def _exchange(first: pathlib.Path, second: pathlib.Path) -> bool:
    """Swaps two directories in one step where the kernel and file system can."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second),
                          RENAME_EXCHANGE) == 0


def put_in_place(staged: pathlib.Path, out: pathlib.Path):
    """Makes `staged` appear as `out`: a reader sees the old package or the new one, never a
    mixture."""
    for folder in (staged / "objects", staged):
        _sync_folder(folder)
    check_target(out)
    if not out.exists():
        os.rename(staged, out)
    elif not any(out.iterdir()):
        os.rename(staged, out)  # rename(2) replaces an empty directory
    elif _exchange(staged, out):
        shutil.rmtree(staged)
    else:
        old = out.with_name(f"{out.name}.old-{os.getpid()}")
        os.rename(out, old)
        os.rename(staged, out)
        shutil.rmtree(old)
    _sync_folder(out.absolute().parent)
