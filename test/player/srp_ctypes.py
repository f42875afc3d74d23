# SPDX-License-Identifier: BSD-2-Clause
"""libsrp from Python: what a frame must look like, without the player in between."""
import ctypes as c
import numpy as np

YUV420, RGB = 1, 3
SR, BICUBIC = 0, 1
MATRIX = {"bt709": 0, "bt601": 1, "bt2020": 2}


class Error(c.Structure):
    _fields_ = [("code", c.c_int), ("detail", c.c_char * 512)]


class Blob(c.Structure):
    _fields_ = [("data", c.c_char_p), ("size", c.c_size_t), ("name", c.c_char_p)]


class ModelParams(c.Structure):
    _fields_ = [("graph", Blob), ("parameters", Blob), ("update", Blob)]


class UpscalerParams(c.Structure):
    _fields_ = [("model", c.c_void_p), ("scale", c.c_uint32), ("backend", c.c_int), ("threads", c.c_uint32),
                ("dtype", c.c_int)]


class Picture(c.Structure):
    _fields_ = [("format", c.c_int), ("width", c.c_uint32), ("height", c.c_uint32), ("matrix", c.c_int),
                ("range", c.c_int), ("chroma", c.c_int), ("data", c.c_void_p * 3), ("stride", c.c_ssize_t * 3)]


def picture(planes, matrix="bt601"):
    """A view on C-contiguous Y, U, V arrays."""
    p = Picture(YUV420, planes[0].shape[1], planes[0].shape[0], MATRIX[matrix], 0, 0)
    for i, plane in enumerate(planes):
        assert plane.flags["C_CONTIGUOUS"] and plane.dtype == np.uint8
        p.data[i], p.stride[i] = plane.ctypes.data, plane.shape[1]
    return p


def blank(width, height):
    return [np.zeros((height, width), np.uint8)] + [
        np.zeros(((height + 1) // 2, (width + 1) // 2), np.uint8) for _ in range(2)]


class Upscaler:
    """graph, parameters: bytes of a model, or None for the base upscaler alone."""

    def __init__(self, build, graph=None, parameters=None, scale=2):
        self.lib, self.error = c.CDLL(str(build / "libsrp.so")), Error()
        model = c.c_void_p()
        if graph is not None:
            params = ModelParams(Blob(graph, len(graph), b"graph"), Blob(parameters, len(parameters), b"parameters"))
            self.check(self.lib.srp_model_create(c.byref(model), c.byref(params), c.byref(self.error)))
        self.scale, self.handle = scale, c.c_void_p()
        params = UpscalerParams(model, scale, 0, 2)
        self.check(self.lib.srp_upscaler_create(c.byref(self.handle), c.byref(params), c.byref(self.error)))

    def check(self, code):
        assert code == 0, self.error.detail.decode()

    def process(self, planes, method, matrix="bt601"):
        height, width = planes[0].shape
        out = blank(width * self.scale, height * self.scale)
        source, target = picture(planes, matrix), picture(out, matrix)
        self.check(self.lib.srp_upscaler_process(self.handle, method, c.byref(source), c.byref(target),
                                                 c.byref(self.error)))
        return out
