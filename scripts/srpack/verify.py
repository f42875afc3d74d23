# SPDX-License-Identifier: BSD-2-Clause
"""Reads a package back with the project's own reader (libsrp, by way of srinfo and srbench)."""

import json
import pathlib

from . import tools
from .errors import PackError, one_line


def check(folder: pathlib.Path, stop):
    """srinfo verify: hashes, limits, graph and parameters as the player will judge them."""
    tools.run([tools.find("srinfo"), "verify", folder / "manifest.json"],
              stop=stop,
              subject=str(folder))


def measure(folder: pathlib.Path, job, stop, dtype: str | None = None) -> dict:
    """The JSON of srbench package, checked for the keys that srpack needs. `dtype`: not what the
    player would take."""
    command = [tools.find("srbench"), "package", folder / "manifest.json",
               "--reference", job.source.path.absolute(), "--json"]
    if dtype:
        command += ["--dtype", dtype]
    if job.options.threads:
        command += ["--threads", job.options.threads]
    if job.options.measure_frames:
        command += ["--frames", job.options.measure_frames]
    text = tools.run(command, stop=stop, subject=str(folder))
    try:
        figures = json.loads(text)
        for key in ("psnr_y", "psnr_rgb", "ssim_y"):
            figures[key] = {
                name: round(float(figures[key][name]), 5)
                for name in ("sr", "bicubic", "lanczos") if figures[key].get(name) is not None
            }
        sizes = {kind: int(figures["bytes"][kind])
                 for kind in ("video", "audio", "parameters", "routes", "manifest", "total")}
        result = {
            "bytes": sizes,
            "duration_s": float(figures["duration_s"]),
            "frames": figures["frames"],
            **{
                key: figures[key]
                for key in ("psnr_y", "psnr_rgb", "ssim_y")
            }
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackError(
            f"{folder}: srbench package: unexpected output: {one_line(error)}") from error
    return result
