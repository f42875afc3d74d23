# SPDX-License-Identifier: BSD-2-Clause
"""python -m srpack: see docs/srpack.md."""

import os
import sys

# PyTorch's threads wait for each other after every operator, spinning. Where something else has one
# of the cores they spin for all of its turn: what takes 4 s takes 38. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .pack import main

sys.exit(main())
