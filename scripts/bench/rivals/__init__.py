# SPDX-License-Identifier: BSD-2-Clause
"""One file for each engine. A module has VERSION() and either class Engine(task) or command(task).

Engine: created with everything ready to run; run() does one picture from and to memory that was
allocated before; output() is the last result as float32 [1][c][h][w]. command(task) is the argument
vector of a C program that speaks the protocol of ../rival.py itself.
What an engine cannot do is Missing, with the reason.
"""
import importlib

NAMES = ("onnxruntime", "openvino", "ncnn", "mnn", "litert", "xnnpack", "onednn", "pytorch")
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "ncnn": "ncnn", "mnn": "MNN",
          "litert": "LiteRT", "xnnpack": "XNNPACK", "onednn": "oneDNN", "pytorch": "PyTorch",
          "srplay": "srplay"}


class Missing(Exception):
    """This engine cannot run this model or dtype, and why."""


def load(name):
    """The adapter's module; Missing when the engine is not installed."""
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise Missing(f"not installed: {error}") from None


def refuse(task, *dtypes):
    """Missing unless the task's dtype is one of these."""
    if task.dtype not in dtypes:
        raise Missing(f"no {task.dtype} on x86-64")
