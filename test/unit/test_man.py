# SPDX-License-Identifier: BSD-2-Clause
"""Each program's manual page knows every option that its --help shows."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", ["srplay", "srpack", "srpack import", "srpack analyse",
                                     "srpack paper", "srbench", "srinfo"])
def test_every_option_is_in_the_manual(build, command):
    program, *more = command.split()
    shown = subprocess.run([build / program, *more, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    options = set(re.findall(r"--[a-z][a-z-]+", shown.stdout)) - {"--help"}
    assert options
    page = (ROOT / f"docs/man/{program}.1").read_text().replace("\\-", "-")
    assert sorted(o for o in options if not re.search(re.escape(o) + r"(?![a-z-])", page)) == []
