# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`: this project's engine and other engines on the same graphs, side by side."""
