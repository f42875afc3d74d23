# SPDX-License-Identifier: BSD-2-Clause
"""Runs every test, C and Python, and ends with one line: `N passed, N failed[, N skipped]`.

Arguments go to pytest: paths, `-k EXPRESSION`, `-x`. Without paths: the whole of test/.
"""
import os
import sys
from pathlib import Path

import pytest


class Summary:
    """Counts each test once, by its worst phase."""

    def __init__(self):
        self.outcome = {}

    def pytest_runtest_logreport(self, report):
        rank = {"passed": 0, "skipped": 1, "failed": 2}
        before = self.outcome.get(report.nodeid, "passed")
        self.outcome[report.nodeid] = max(before, report.outcome, key=rank.__getitem__)

    def pytest_collectreport(self, report):
        if report.failed:
            self.outcome[report.nodeid] = "failed"

    def count(self, outcome):
        return sum(1 for value in self.outcome.values() if value == outcome)


def main():
    root = Path(__file__).resolve().parent.parent
    os.chdir(root)
    arguments = sys.argv[1:]
    if not any(Path(a.split("::")[0]).exists() for a in arguments):
        arguments = ["test", *arguments]
    summary = Summary()
    code = pytest.main(["-p", "no:cacheprovider", "--rootdir", str(root), "-q", "-ra",
                        "--durations=10", *arguments], plugins=[summary])
    skipped = summary.count("skipped")
    print(f"{summary.count('passed')} passed, {summary.count('failed')} failed"
          + (f", {skipped} skipped" if skipped else ""), flush=True)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
