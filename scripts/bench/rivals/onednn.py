# SPDX-License-Identifier: BSD-2-Clause
"""oneDNN as Debian packages it, through ../onednn.c: layouts of its own choice, fused additions."""
from .. import plan


def command(task):
    return plan.command(task, "onednn", in_place=True)
