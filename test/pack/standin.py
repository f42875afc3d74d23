# SPDX-License-Identifier: BSD-2-Clause
"""A CUDA device for machines that have none. Its tensors say that they are on cuda:0 and hold their
values on the CPU, so that a whole run gives real figures; an operator that mixes devices raises,
where CUDA would.

To autograd they are tensors of the meta device, as PyTorch's own fake tensors are: a CPU build
knows no other that has no memory. `pending` says whether work may still be under way: kernels run
behind the program's back until something waits for them.
"""

import concurrent.futures
import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten
# Where CUDA takes indices of the CPU, too.
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)


class Device:
    """What the stand-in has seen, and when it is to fail: after `left` more operators, None: never;
    by `error`, once, or from then on where it is `lost`."""

    def __init__(self):
        self.pending, self.operators = False, 0
        self.left, self.error, self.lost = None, None, False

    def work(self):
        self.operators += 1
        self.pending = True
        if self.left is not None and self.operators > self.left:
            self.left = self.left if self.lost else None
            raise self.error

    def wait(self):
        if self.left is not None and self.lost and self.operators > self.left:
            raise self.error
        self.pending = False

    def fail(self, operators, error, lost=False):
        self.left, self.error, self.lost = self.operators + operators, error, lost


device = Device()


class Tensor(torch.Tensor):
    """On cuda:0. `held`: its values, of the same shape and layout, on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = CUDA
    is_cuda, is_cpu, is_meta = True, False, False

    @staticmethod
    def __new__(cls, real):
        made = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, strides=real.stride(), storage_offset=real.storage_offset(),
            dtype=real.dtype, device="meta")
        made.held = real
        return made

    def __repr__(self):
        return f"standin({self.held!r})"

    def __reduce_ex__(self, protocol):
        device.work()  # to be written its values are copied, and waited for
        device.wait()
        return _restored, (self.held.detach(),)

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    # PyTorch makes these tensors on the meta device, where they would lose their values.

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        return super().__getitem__(
            tuple(torch.tensor(k) if isinstance(k, list) else k for k in keys))

    def new_tensor(self, data):
        return torch.tensor(data, dtype=self.dtype).to(CUDA)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def _restored(real):
    return Tensor(real)


torch.serialization.add_safe_globals([_restored])


class Mode(TorchDispatchMode):
    """Moves tensors of the CPU to the device, and makes some there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, torch.Tensor)]
        assert not any(type(a) is torch.Tensor and a.is_meta for a in found), f"{func}: no values"
        if Tensor in map(type, found) or _on_device(kwargs):
            return run(func, args, kwargs)
        return func(*args, **kwargs)


def _on_device(kwargs):
    """Whether an operator is asked to give its result there; meta is what .to(other) asks for."""
    wanted = kwargs.get("device")
    return wanted is not None and torch.device(wanted).type in ("cuda", "meta")


def _check(func, args, kwargs):
    """Raises where CUDA would refuse the operands."""
    found = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, torch.Tensor)]
    if func in INDEXED:
        found = [a for a in (args[0], *args[2:3]) if isinstance(a, torch.Tensor)]
    here = [a for a in found if isinstance(a, Tensor)]
    others = [a for a in found if not isinstance(a, Tensor)]
    if not here or not others or func in (aten.copy_.default, aten._to_copy.default):
        return
    scalars = torch.Tag.pointwise in func.tags and all(a.dim() == 0 for a in others)
    writes = any(a is args[0] for a in others) and func._schema.is_mutable
    if not scalars or writes:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found two "
                           "different devices, cuda:0 and cpu")


def run(func, args, kwargs):
    """An operator, on the real values. In f32: no context may ask for less."""
    assert not torch.is_autocast_enabled("cuda")
    _check(func, args, kwargs)
    device.work()
    flat = tree_flatten((args, kwargs))[0]
    mine = {id(a.held): a for a in flat if isinstance(a, Tensor)}
    here, kwargs = bool(mine), dict(kwargs)
    if kwargs.get("device") is not None:
        here = _on_device(kwargs)
        kwargs["device"] = CPU

    def bare(a):
        return a.held if isinstance(a, Tensor) else a
    out = func(*tree_map(bare, args), **tree_map(bare, kwargs))
    if func._schema.is_mutable and not isinstance(args[0], (list, tuple, Tensor)):
        here = False  # copied to the CPU
    if func is aten._local_scalar_dense.default or not here:
        device.wait()

    def dressed(a):
        if not here or not isinstance(a, torch.Tensor):
            return a
        return mine[id(a)] if id(a) in mine else Tensor(a)
    return tree_map(dressed, out)


@contextlib.contextmanager
def present():
    """PyTorch finds the device while this lasts, in threads of pools too."""
    device.__init__()

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, initializer=lambda: Mode().__enter__(), **kwargs)

    to = torch.Tensor.to

    def numbered(where):  # PyTorch would ask the driver which device "cuda" is
        plain = isinstance(where, (str, torch.device)) and str(where) == "cuda"
        return CUDA if plain else where
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "to", lambda self, *args, **kwargs: to(
            self, *map(numbered, args), **{key: numbered(v) for key, v in kwargs.items()}))
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "synchronize", device.wait)
        patch.setattr(concurrent.futures, "ThreadPoolExecutor", Pool)
        with Mode():
            yield device
