# SPDX-License-Identifier: BSD-2-Clause
"""libsrp through ctypes, as much of it as the golden tests need."""

import ctypes as c

import numpy as np

REFERENCE, XNNPACK, NATIVE = 1, 2, 3
YUV420, NV12, RGB, BGRA = 1, 2, 3, 4
MATRICES = {"bt709": 0, "bt601": 1, "bt2020": 2}
RANGES = {"limited": 0, "full": 1}
CHROMAS = {"left": 0, "center": 1, "topleft": 2}


class Error(c.Structure):
    _fields_ = [("code", c.c_int), ("detail", c.c_char * 512)]


class Blob(c.Structure):
    _fields_ = [("data", c.c_char_p), ("size", c.c_size_t), ("name", c.c_char_p)]


class ModelParams(c.Structure):
    _fields_ = [("graph", Blob), ("parameters", Blob), ("update", Blob)]


class ExecutorParams(c.Structure):
    _fields_ = [("model", c.c_void_p), ("backend", c.c_int), ("threads", c.c_uint32),
                ("dtype", c.c_int)]


class Picture(c.Structure):
    _fields_ = [("format", c.c_int), ("width", c.c_uint32), ("height", c.c_uint32), ("matrix", c.c_int),
                ("range", c.c_int), ("chroma", c.c_int), ("data", c.c_void_p * 3), ("stride", c.c_ssize_t * 3)]


class UpscalerParams(c.Structure):
    _fields_ = [("model", c.c_void_p), ("scale", c.c_uint32), ("backend", c.c_int), ("threads", c.c_uint32),
                ("dtype", c.c_int)]


class Srp:
    def __init__(self, path):
        self.lib = c.CDLL(str(path))
        self.lib.srp_model_unref.argtypes = [c.c_void_p]

    def call(self, name, *arguments):
        error = Error()
        code = getattr(self.lib, name)(*arguments, c.byref(error))
        if code != 0:
            raise RuntimeError(f"{name}: {code} {error.detail.decode()}")

    def has(self, backend):
        found = c.c_int()
        return self.lib.srp_backend_from_name(c.byref(found), backend.encode()) == 0

    def model(self, graph, parameters):
        """graph, parameters: the bytes of the two files."""
        model = c.c_void_p()
        params = ModelParams(Blob(graph, len(graph), b"graph"), Blob(parameters, len(parameters), b"parameters"))
        self.call("srp_model_create", c.byref(model), c.byref(params))
        return model

    def free(self, model):
        self.lib.srp_model_unref(c.byref(model))

    def run(self, model, x, scale, backend, threads=2):
        """x: [h][w][c] float32."""
        x = np.ascontiguousarray(x, np.float32)
        h, w, channels = x.shape
        out = np.full((h * scale, w * scale, channels), np.nan, np.float32)
        executor = c.c_void_p()
        self.call("srp_executor_create", c.byref(executor), c.byref(ExecutorParams(model, backend, threads)))
        try:
            self.call("srp_executor_run", executor, x.ctypes.data_as(c.c_void_p), c.c_uint32(w), c.c_uint32(h),
                      out.ctypes.data_as(c.c_void_p))
        finally:
            self.lib.srp_executor_destroy(c.byref(executor))
        return out

    def upscale(self, model, planes, kind, shape, out_kind, scale, colour, method=0, backend=0):
        """planes: list of uint8 arrays; shape: (height, width). Returns a list of uint8 arrays."""
        h, w = shape
        target = empty_planes(out_kind, h * scale, w * scale)
        source = [np.ascontiguousarray(p) for p in planes]
        up = c.c_void_p()
        self.call("srp_upscaler_create", c.byref(up),
                  c.byref(UpscalerParams(model, 0 if model else scale, backend, 2)))
        try:
            self.call("srp_upscaler_process", up, c.c_int(method), c.byref(picture(kind, source, h, w, colour)),
                      c.byref(picture(out_kind, target, h * scale, w * scale, colour)))
        finally:
            self.lib.srp_upscaler_destroy(c.byref(up))
        return target


def empty_planes(kind, h, w):
    half = ((h + 1) // 2, (w + 1) // 2)
    shapes = {YUV420: [(h, w), half, half], RGB: [(h, w, 3)]}[kind]
    return [np.zeros(s, np.uint8) for s in shapes]


def picture(kind, planes, h, w, colour):
    matrix, levels, chroma = colour
    p = Picture(kind, w, h, MATRICES[matrix], RANGES[levels], CHROMAS[chroma])
    for i, plane in enumerate(planes):
        p.data[i] = plane.ctypes.data
        p.stride[i] = plane.strides[0]
    return p
