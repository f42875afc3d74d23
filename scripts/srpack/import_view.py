# SPDX-License-Identifier: BSD-2-Clause
"""Reshape, Transpose, Expand and their kind, followed element by element.

A View is a tensor of the network seen through such operators. Each of its dimensions is a list of
atoms: the picture's rows, its columns, or a part of the channel index with its stride (channel =
sum of index * stride; stride 0 repeats). settle() turns the view back into a tensor of
[1][channels][height][width] when its atoms allow it: what then is left is a choice of channels and
a depth_to_space, whichever way the file spelled it.
"""

import dataclasses
import math

import numpy as np

from .import_net import MAX_CHANNELS, MAX_WEIGHTS, Net, Node, Refused


@dataclasses.dataclass(frozen=True)
class Atom:
    kind: str    # rows, columns, channels
    size: int
    stride: int = 0


class View:
    """`height` and `width` are those of the tensor `node` during the trace."""

    def __init__(self, net: Net, node: Node, height: int, width: int, dims=None):
        self.net, self.node, self.height, self.width = net, node, height, width
        plain = [[], [Atom("channels", node.channels, 1)], [Atom("rows", height)],
                 [Atom("columns", width)]]
        self.dims = [[a for a in dim if a.size > 1] for dim in (plain if dims is None else dims)]
        self.shape = tuple(math.prod(a.size for a in dim) for dim in self.dims)
        self._settled = self if dims is None else None

    def _with(self, dims):
        return View(self.net, self.node, self.height, self.width, dims)

    def axis(self, axis):
        if not -len(self.dims) <= axis < len(self.dims):
            raise Refused(f"axis {axis} of a tensor with {len(self.dims)} dimensions")
        return axis % len(self.dims)

    def transpose(self, order):
        if sorted(order) != list(range(len(self.dims))):
            raise Refused(f"the order {list(order)} does not fit {len(self.dims)} dimensions")
        return self._with([self.dims[i] for i in order])

    def reshape(self, shape):
        """shape: whole numbers without 0 and -1."""
        divisor = self._divides(shape)
        if divisor is not None:
            raise Refused(f"makes the picture smaller: a reshape divides its {divisor}, as "
                          "PixelUnshuffle and windows do, which the format cannot")
        if math.prod(shape) != math.prod(self.shape) or min(shape, default=1) < 1:
            raise Refused(f"a tensor of {list(self.shape)} cannot become {list(shape)}")
        atoms, dims = [atom for dim in reversed(self.dims) for atom in reversed(dim)], []
        for size in shape:
            dim, missing = [], size
            while missing > 1:
                atom = atoms.pop()
                if missing % atom.size == 0:
                    dim.append(atom)
                    missing //= atom.size
                    continue
                if atom.kind != "channels" or atom.size % missing:
                    raise Refused(f"divides the {atom.kind} of a picture in the reshape "
                                  f"{list(self.shape)} -> {list(shape)}")
                rest = atom.size // missing
                dim.append(Atom("channels", missing, atom.stride * rest))
                atoms.append(Atom("channels", rest, atom.stride))
                missing = 1
            dims.append(dim)
        return self._with(dims)

    def _divides(self, shape):
        """Says "rows by 2" where the first size that changes is a part of them, else None. The
        sizes of a trace may not divide: then `shape` was computed by rounding down."""
        dims = [dim for dim in self.dims if dim]
        for dim, size in zip(dims, (n for n in shape if n != 1)):
            whole = math.prod(a.size for a in dim)
            if size == whole:
                continue
            parts = whole // size if size > 0 else 1
            if (len(dim) == 1 and dim[0].kind != "channels" and parts > 1 and parts in shape
                    and whole // parts == size):
                return f"{dim[0].kind} by {parts}"
            return None
        return None

    def expand(self, shape):
        """Repeats dimensions of size 1, as numpy.broadcast_to does in both directions."""
        rank = max(len(shape), len(self.dims))
        shape = (1,) * (rank - len(shape)) + tuple(shape)
        dims = [[] for _ in range(rank - len(self.dims))] + self.dims
        result = []
        for dim, size in zip(dims, shape):
            if size == 1 or size == math.prod(a.size for a in dim):
                result.append(dim)
            elif not dim and 1 < size <= MAX_CHANNELS:
                result.append([Atom("channels", size, 0)])
            else:
                raise Refused(f"a tensor of {list(self.shape)} does not expand to {list(shape)}")
        return self._with(result)

    def tile(self, counts):
        if len(counts) != len(self.dims) or not all(1 <= n <= MAX_CHANNELS for n in counts):
            raise Refused(f"cannot repeat {list(self.shape)} by {list(counts)}")
        return self._with([[Atom("channels", int(n), 0), *dim]
                           for n, dim in zip(counts, self.dims)])

    def settle(self, name):
        """The same values as a plain [1][channels][height][width]."""
        if self._settled is None:
            self._settled = self._settle(name)
        return self._settled

    def _settle(self, name):
        if len(self.dims) != 4 or self.dims[0]:
            raise Refused(f"needs [1][channels][height][width], has {list(self.shape)}")
        channels, rows, columns = self.dims[1:]
        order = [[a.kind for a in dim] for dim in (channels, rows, columns)]
        if (set(order[0]) - {"channels"} or order[1][:1] != ["rows"]
                or order[2][:1] != ["columns"] or set(order[1][1:] + order[2][1:]) - {"channels"}):
            raise Refused(f"{list(self.shape)} is not a pixel shuffle nor a choice of channels")
        parts = [channels, rows[1:], columns[1:]]
        sizes = [math.prod(a.size for a in part) for part in parts]
        if math.prod(sizes) > MAX_CHANNELS:
            raise Refused(f"{math.prod(sizes)} channels, more than {MAX_CHANNELS}")
        index = np.zeros(1, np.int64)
        for atom in (a for part in parts for a in part):
            index = (index[:, None] + np.arange(atom.size) * atom.stride).reshape(-1)
        block = sizes[1]
        if block != sizes[2]:
            raise Refused(f"shuffles blocks of {sizes[1]} x {sizes[2]}, which are not square")
        if block == 1:
            return self._tensor(gather(self.net, self.node, index, name), 1)
        if block > 4:
            raise Refused(f"shuffles blocks of {block} x {block}, at most 4 x 4 are possible")
        plain, word = np.arange(len(index)), "crd"
        if len(index) == self.node.channels and not np.array_equal(index, plain):
            if np.array_equal(index, plain.reshape(block * block, sizes[0]).T.reshape(-1)):
                index, word = plain, "dcr"
        source = gather(self.net, self.node, index, name)
        return self._tensor(self.net.new("depth_to_space", [source], sizes[0], name, factor=block,
                                         word=word), block)

    def _tensor(self, node, block):
        return View(self.net, node, self.height * block, self.width * block)


def gather(net, source, index, name):
    """The channels `index` of a node: nothing, a slice, or a convolution with zeros and ones."""
    count = len(index)
    if count == source.channels and np.array_equal(index, np.arange(count)):
        return source
    if count == 0 or index.min() < 0 or index.max() >= source.channels:
        raise Refused(f"takes channels that the {source.channels} do not have")
    if np.array_equal(index, np.arange(index[0], index[0] + count)):
        return net.new("slice", [source], count, name, first=int(index[0]))
    if count > MAX_CHANNELS or count * source.channels > MAX_WEIGHTS:
        raise Refused(f"{count} channels of {source.channels} are too many")
    weight = np.zeros((count, source.channels, 1, 1))
    weight[np.arange(count), index] = 1
    return net.conv(source, weight, np.zeros(count), name)
