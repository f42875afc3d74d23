# SPDX-License-Identifier: BSD-2-Clause
"""How srpack ends. Each class carries the exit status that docs/srpack.md promises."""


class PackError(Exception):
    """The package could not be made; the text is "file: cause", one line."""

    status = 2


class UsageError(PackError):
    """The command line makes no sense."""

    status = 1


class Interrupted(PackError):
    """Stopped on request (Ctrl-C); the text says how to resume."""

    status = 4


def one_line(text) -> str:
    """`text` without line ends and control characters, at most 300 characters."""
    clean = "".join(c if c.isprintable() else " " for c in str(text))
    clean = " ".join(clean.split())
    return clean if len(clean) <= 300 else clean[:297] + "..."
