# SPDX-License-Identifier: BSD-2-Clause
"""The work directory: what an interrupted run leaves, and whether the next one may go on from
it."""

import hashlib
import json
import os
import pathlib
import shutil

from .errors import PackError

FORMAT = 1  # of the directory; raised when the meaning of its files changes


def job_id(source_sha256: str, options: dict) -> str:
    """Identifies inputs that lead to the same intermediate files."""
    text = json.dumps({
        "format": FORMAT,
        "source": source_sha256,
        "options": options
    },
                      sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Work:
    """Files of one job and a record of the steps that are complete."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.resumed = False
        self._lock = None
        self._state = {}

    def open(self, job: str, description: str, restart: bool):
        """Creates the directory or takes up the one that is there. A directory of another job is
        refused."""
        record = self.folder / "job.json"
        try:
            if self.folder.exists():
                if not record.is_file() and any(self.folder.iterdir()):
                    raise PackError(
                        f"{self.folder}: is not empty and not a work directory of srpack")
            self.folder.mkdir(exist_ok=True)
            self._take(self.folder / "lock")
            old = {}
            if record.is_file():
                try:
                    old = json.loads(record.read_bytes())
                except ValueError:
                    old = {}
            if restart:
                self._clear()
            elif old and old.get("job") != job:
                raise PackError(
                    f"{self.folder}: holds an interrupted run with other inputs or options "
                    f"({old.get('description', 'unknown')}); repeat that command, or add --restart "
                    "to discard it")
            elif old:
                self._state = old
                self.resumed = bool(old.get("done"))
                return
            self._state = {"job": job, "description": description, "done": {}}
            self._save()
        except OSError as error:
            raise PackError(f"{self.folder}: {error.strerror}") from error

    def _take(self, path):
        import fcntl
        self._lock = open(path, "w", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PackError(f"{self.folder}: another srpack is using it") from error

    def _clear(self):
        for entry in self.folder.iterdir():
            if entry.name == "lock":
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _save(self):
        temporary = self.folder / "job.json.tmp"
        temporary.write_text(json.dumps(self._state, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / "job.json")

    def path(self, name: str) -> pathlib.Path:
        return self.folder / name

    def done(self, step: str):
        """What finish() recorded, or None when the step is not complete."""
        return self._state["done"].get(step)

    def finish(self, step: str, value=True):
        self._state["done"][step] = value
        self._save()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        if self._lock is not None:
            self._lock.close()
            self._lock = None
