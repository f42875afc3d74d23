# SPDX-License-Identifier: BSD-2-Clause
"""srpack: packs a video for srplay."""
