# SPDX-License-Identifier: BSD-2-Clause
"""python -m srpack: see docs/srpack.md."""

import sys

from .pack import main

sys.exit(main())
