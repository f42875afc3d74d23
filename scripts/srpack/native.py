# SPDX-License-Identifier: BSD-2-Clause
"""libsrp's executor through ctypes: runs a graph on an array as the player does."""

import ctypes as c
import json
import os
import pathlib

import numpy as np

from .graph import CHANNELS
from .tools import SOURCE_ROOT

AUTO, REFERENCE = 0, 1  # enum srp_backend
# Zero-initialised fields are sane defaults: room for those that later versions of libsrp append.
_LATER = ("later", c.c_uint64 * 16)


class _Error(c.Structure):
    _fields_ = [("code", c.c_int), ("detail", c.c_char * 512)]


class _Blob(c.Structure):
    _fields_ = [("data", c.c_char_p), ("size", c.c_size_t), ("name", c.c_char_p)]


class _ModelParams(c.Structure):
    _fields_ = [("graph", _Blob), ("parameters", _Blob), ("update", _Blob), _LATER]


class _ExecutorParams(c.Structure):
    _fields_ = [("model", c.c_void_p), ("backend", c.c_int), ("threads", c.c_uint32),
                _LATER]


def find():
    """Path of libsrp.so where the programs are built, None where it is not."""
    folders = [os.environ.get("SRP_BINDIR"), SOURCE_ROOT / "build"]
    paths = [pathlib.Path(folder) / "libsrp.so" for folder in folders if folder]
    return next((path for path in paths if path.is_file()), None)


class Model:
    """A model of libsrp. RuntimeError with the library's own words when it refuses something."""

    def __init__(self, path, graph: bytes, parameters: bytes, update: bytes | None = None):
        self._lib = c.CDLL(str(path))
        self._model = c.c_void_p()
        params = _ModelParams(_Blob(graph, len(graph), b"graph"),
                              _Blob(parameters, len(parameters), b"parameters"),
                              _Blob(update, len(update or b""), b"update"))
        self._call("srp_model_create", c.byref(self._model), c.byref(params))
        self.channels = CHANNELS[json.loads(graph)["colour"]]

    def _call(self, name, *arguments):
        error = _Error()
        if getattr(self._lib, name)(*arguments, c.byref(error)) != 0:
            raise RuntimeError(error.detail.decode(errors="replace"))

    def run(self, x, scale, backend=AUTO, threads=2):
        """x: [height][width][channels] float32; the result is `scale` times as high and wide."""
        x = np.ascontiguousarray(x, np.float32)
        height, width, channels = x.shape
        if channels != self.channels:  # the library takes memory as it comes
            raise ValueError(f"{channels} channels where the network has {self.channels}")
        out = np.full((height * scale, width * scale, channels), np.nan, np.float32)
        executor = c.c_void_p()
        self._call("srp_executor_create", c.byref(executor),
                   c.byref(_ExecutorParams(self._model, backend, threads)))
        try:
            self._call("srp_executor_run", executor, x.ctypes.data_as(c.c_void_p),
                       c.c_uint32(width), c.c_uint32(height), out.ctypes.data_as(c.c_void_p))
        finally:
            self._lib.srp_executor_destroy(c.byref(executor))
        return out

    def close(self):
        self._lib.srp_model_unref(c.byref(self._model))
