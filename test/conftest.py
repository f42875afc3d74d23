# SPDX-License-Identifier: BSD-2-Clause
"""pytest set-up: paths, and a collector that shows each cmocka test of test/**/test_*.c as one item."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".c" and file_path.name.startswith("test_"):
        return CFile.from_parent(parent, path=file_path)
    return None


class CFile(pytest.File):
    """One cmocka program. It runs once, when its first item does; items read its TAP lines."""

    def collect(self):
        names = re.findall(r"cmocka_unit_test\w*\(\s*(\w+)", self.path.read_text())
        if not names:
            names = ["main"]
        for name in dict.fromkeys(names):
            yield CItem.from_parent(self, name=name)

    def results(self):
        if not hasattr(self, "_results"):
            program = BUILD / self.path.relative_to(ROOT).with_suffix("")
            env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"}
            try:
                done = subprocess.run([program], capture_output=True, text=True, errors="replace",
                                      timeout=C_TIMEOUT, env=env, cwd=ROOT)
                output, code = done.stdout + done.stderr, done.returncode
            except subprocess.TimeoutExpired as error:
                output, code = f"timed out after {C_TIMEOUT} s\n{error.stdout!r}", -1
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
