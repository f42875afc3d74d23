# SPDX-License-Identifier: BSD-2-Clause
"""Where training runs: on CUDA where there is a device that works, else on the CPU. Everything
else of srpack runs on the CPU."""

import contextlib
import sys
import warnings

import torch
import torch.nn.functional as F

from .errors import one_line

# Errors of PyTorch that have no class of their own; a mix-up of devices is none of them.
SIGNS = ("CUDA error", "CUDA out of memory", "CUDA driver", "cuDNN", "CUDNN", "CUBLAS",
         "cusolver", "CUSOLVER")


def note(text):
    """Tells the user, as report.Report.note()."""
    print(f"srpack: note: {text}", file=sys.stderr, flush=True)


def choose() -> str:
    """"cuda" or "cpu". A device that is there and cannot be used (a driver that is too old, a
    processor that PyTorch has no code for) is said and passed over."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if not there:
        if told:  # why it is not, where there is a device
            _passed_over(told[0].message)
        return "cpu"
    try:
        with torch.no_grad():  # a little of what training needs: kernels, cuDNN, cuSOLVER
            x = torch.ones(1, 1, 8, 8, device="cuda")
            torch.linalg.eigh(F.conv2d(x, x[..., :3, :3], padding=1)[0, 0])
            torch.cuda.synchronize()
    except RuntimeError as error:
        _passed_over(error)
        return "cpu"
    return "cuda"


def _passed_over(why):
    note(f"CUDA cannot be used, training runs on the CPU: {one_line(why)}")


def failed(error: RuntimeError, device: str) -> bool:
    """Whether a run on `device` ended because of it, so that the CPU can go on: out of memory, or
    lost."""
    classes = (torch.OutOfMemoryError, getattr(torch, "AcceleratorError", torch.OutOfMemoryError))
    return device == "cuda" and (
        isinstance(error, classes) or any(sign in str(error) for sign in SIGNS))


def synchronise(device: str):
    """Waits for what was begun, so that a clock that is read then has seen it."""
    if device == "cuda":
        torch.cuda.synchronize()


def exact(device: str):
    """Context of a run: convolutions in f32, not TF32, which has too few bits for the codes of int8
    and for the figures by which weights are chosen; and by algorithms that repeat."""
    if device == "cuda":
        return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    return contextlib.nullcontext()
