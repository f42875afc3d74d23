# SPDX-License-Identifier: BSD-2-Clause
"""pytest set-up: paths, what runs beside the tests (beside.py), and a collector that shows each cmocka test of
test/**/test_*.c as one item."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from beside import Beside, is_alone

ROOT = Path(__file__).resolve().parent.parent
BUILD = (ROOT / os.environ.get("SRP_BUILD", "build")).resolve()
CLIPS = ROOT.parent / "shared" / "clips"
C_TIMEOUT = 300

sys.path.insert(0, str(ROOT / "scripts"))
os.environ.setdefault("SRP_BINDIR", str(BUILD))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as scripts/srpack/__main__.py, and why


@pytest.fixture(scope="session")
def build():
    """The folder with the built programs."""
    return BUILD


# ---- commands beside the tests ----

def pytest_configure(config):
    config.addinivalue_line("markers", "beside(command, ...): these run beside other tests (beside.py)")
    config.addinivalue_line("markers", "alone: nothing runs beside this test")
    config.beside = Beside()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("beside") is not None)


def pytest_collection_finish(session):
    for item in session.items:  # it would wait for what stands still
        assert not (is_alone(item) and item.get_closest_marker("beside")), item.nodeid
    if not session.config.option.collectonly:
        for mark in [m for item in session.items for m in item.iter_markers("beside")]:
            for command in mark.args:
                session.config.beside.begin(command)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    if not is_alone(item):
        return (yield)
    with item.config.beside.still():
        return (yield)


def pytest_sessionfinish(session):
    session.config.beside.end()


@pytest.fixture(scope="session")
def beside(request):
    """The finished process of a command that a mark `beside` of the test names."""
    return request.config.beside.result


# ---- C tests ----

def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".c" and file_path.name.startswith("test_"):
        return CFile.from_parent(parent, path=file_path)
    return None


class CFile(pytest.File):
    """One cmocka program. It runs once, when its first item does, or beside the tests when it only
    computes; items read its TAP lines."""

    def collect(self):
        if self.path.parent.name == "kernel":
            self.add_marker(pytest.mark.beside(self.command()))
        names = re.findall(r"cmocka_unit_test\w*\(\s*(\w+)", self.path.read_text())
        if not names:
            names = ["main"]
        for name in dict.fromkeys(names):
            yield CItem.from_parent(self, name=name)

    def command(self):
        return (BUILD / self.path.relative_to(ROOT).with_suffix(""),)

    def run(self):
        if self.get_closest_marker("beside"):
            return self.config.beside.result(self.command())
        env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"}
        return subprocess.run(self.command(), capture_output=True, text=True, errors="replace",
                              timeout=C_TIMEOUT, env=env, cwd=ROOT)

    def results(self):
        if not hasattr(self, "_results"):
            try:
                done = self.run()
                output, code = done.stdout + done.stderr, done.returncode
            except subprocess.TimeoutExpired as error:
                output, code = f"timed out after {error.timeout} s\n{error.stdout!r}", -1
            self._results = (dict(reversed(m) for m in
                                  re.findall(r"^(ok|not ok) \d+ - (\S+)", output, re.M)),
                             output, code)
        return self._results


class CItem(pytest.Item):
    def runtest(self):
        lines, output, code = self.parent.results()
        if self.name == "main" and not lines:
            verdict = "ok" if code == 0 else None
        else:
            verdict = lines.get(self.name)
        if verdict == "ok" and re.search(rf"^ok \d+ - {self.name} # SKIP", output, re.M):
            pytest.skip("skipped by the program")
        if verdict != "ok":
            raise CFailure(f"{verdict or 'did not report'} (exit {code})\n{output[-6000:]}")
        # A crash at exit, or a sanitizer's report after the last test, fails the last item.
        if code != 0 and all(v == "ok" for v in lines.values()):
            raise CFailure(f"all passed, but exit status {code}\n{output[-6000:]}")

    def repr_failure(self, excinfo):
        return str(excinfo.value)

    def reportinfo(self):
        return self.path, 0, f"{self.path.relative_to(ROOT)}::{self.name}"


class CFailure(Exception):
    pass
