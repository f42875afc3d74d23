# SPDX-License-Identifier: BSD-2-Clause
"""XNNPACK as Debian packages it, through ../xnnpack.c. LiteRT carries a newer one."""
from .. import plan


def command(task):
    return plan.command(task, "xnnpack", in_place=False)
