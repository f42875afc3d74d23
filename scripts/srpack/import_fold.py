# SPDX-License-Identifier: BSD-2-Clause
"""Rewrites an imported network until it has the operators of docs/format.md alone.

Every rewrite leaves the function as it is, picture edges included; docs/import.md has the proofs.
The edges are what makes this more than algebra: a convolution continues its input with zeros, so
whatever does not map zero to zero must not move past that padding.
"""

import numpy as np

from .import_net import MAX_CHANNELS, MAX_INPUTS, MAX_REAL, MAX_WEIGHTS, Refused

DEPTHWISE_LEAST = 8  # channels from which libsrp has kernels for depthwise layers
POSITIVE = ("relu", "leaky_relu", "prelu")  # act(a * x) = a * act(x) for a > 0


def fold(net):
    """Raises Refused for a node that cannot be written in the format."""
    _settle(net)
    if _take_mean(net):
        _settle(net)
    for node in net.order():
        if node.op == "affine":
            _lower_affine(net, node)
    for node in net.order():
        if node.op == "act":
            _lower_act(net, node)
    for node in net.order():
        if node.op == "pad":
            raise Refused("its zeros can only go into a convolution that reads nothing else",
                          node)
        if node.op == "conv2d" and not node.keeps_size():
            raise Refused(f"a kernel of {node.weight.shape[2]} x {node.weight.shape[3]} with "
                          f"padding {list(node.pads)} changes the size of the picture", node)
    if net.output is net.input:
        _lower_affine(net, _append(net, 1, 0))


def _settle(net):
    passes = {"pad": _pad, "conv2d": _conv, "affine": _affine, "act": _act, "add": _sum}
    changed = True
    while changed:
        changed = False
        for node in net.order():
            if node in net.users and node.op in passes:
                changed |= passes[node.op](net, node)


def _append(net, a, b):
    """An affine node behind the output."""
    node = net.affine(net.output, a, b, "output")
    net.output = node
    return node


# ---- padding ----------------------------------------------------------------------------------

def _added(one, other):
    return tuple(x + y for x, y in zip(one, other))


def _pad(net, node):
    source = node.inputs[0]
    if source.op != "pad":
        return False
    node.pads = _added(node.pads, source.pads)
    net.rewire(node, source.inputs)
    return True


def _centre(node):
    """The kernel that does the same with equal padding on all sides: odd, with zeros around."""
    top, left, bottom, right = node.pads
    up, aside = max(top, bottom), max(left, right)
    height, width = node.weight.shape[2:]
    full = np.zeros((*node.weight.shape[:2], 2 * up + 1, 2 * aside + 1))
    full[:, :, up - top:up - top + height, aside - left:aside - left + width] = node.weight
    node.weight, node.pads = full, (up, aside, up, aside)


def _conv(net, node):
    source = node.inputs[0]
    if source.op == "pad":
        node.pads = _added(node.pads, source.pads)
        net.rewire(node, source.inputs)
        return True
    if node.keeps_size() and (node.pads[0] != node.pads[2] or node.pads[1] != node.pads[3]):
        _centre(node)
        return True
    if node.act is None and _is_diagonal(node.weight) and not any(node.pads):
        net.replace(node, net.affine(source, np.diagonal(node.weight[:, :, 0, 0]).copy(), node.bias,
                                     node.name))
        return True
    return source.op == "conv2d" and source.act is None and _compose(net, source, node)


def _is_diagonal(weight):
    """Whether a convolution does no more than an affine node, as EDSR's shifts of the mean."""
    out, count, height, width = weight.shape
    if (out, height, width) != (count, 1, 1):
        return False
    matrix = weight[:, :, 0, 0]
    return np.count_nonzero(matrix) == np.count_nonzero(np.diagonal(matrix))


# ---- convolution after convolution ------------------------------------------------------------

def _weights(first, second):
    """Elements of the two's product."""
    (out, _, h2, w2), (_, count, h1, w1) = second.weight.shape, first.weight.shape
    return out * count * (h1 + h2 - 1) * (w1 + w2 - 1)


def _is_depthwise(weight):
    """Whether each output reads its own input alone, so that libsrp computes no more than that."""
    out, count = weight.shape[:2]
    own = np.arange(min(out, count))
    return (out == count >= DEPTHWISE_LEAST
            and np.count_nonzero(weight) == np.count_nonzero(weight[own, own]))


def _cost(*weights):
    """Multiply-accumulates for a pixel."""
    return sum(w.size // len(w) if _is_depthwise(w) else w.size for w in weights)


def _is_dearer(first, second):
    """Whether the two's product is dearer than both."""
    product = _weights(first, second)
    if _is_depthwise(first.weight) and _is_depthwise(second.weight):
        product //= len(second.weight)
    return product > _cost(first.weight, second.weight)


def _joins(net, first, second):
    """Whether the two's product becomes part of another convolution, to whose result it is added."""
    height, width = (a + b - 1 for a, b in zip(first.weight.shape[2:], second.weight.shape[2:]))
    reader = second
    while len(net.users[reader]) == 1 and net.users[reader][0].op == "add":
        reader = net.users[reader][0]
        for term in _terms(net, reader):
            if (term is not second and term.op == "conv2d" and term.inputs == first.inputs
                    and not _is_depthwise(term.weight)
                    and term.weight.shape[2] >= height and term.weight.shape[3] >= width):
                return True
        if reader.act is not None:
            break
    return False


def _compose(net, first, second):
    """second(first(x)) as one convolution, where that is exact and not dearer.

    Exact when the second pads nothing, for then it sees nothing but outputs of the first; or when
    the first is a 1x1 without bias and padding, for it then makes zeros of the zeros that the
    second would pad with. Two padded 3x3 are not exact: the first, continued beyond the edge, is
    not zero there.
    """
    sees_all = not any(second.pads)
    keeps_zero = (first.weight.shape[2:] == (1, 1) and not any(first.pads)
                  and not first.bias.any())
    if not (sees_all or keeps_zero):
        return False
    needed = not (first.keeps_size() and second.keeps_size())  # cannot stay as they are
    if not needed and not (net.once(first) and (not _is_dearer(first, second)
                                                or _joins(net, first, second))):
        return False
    if _weights(first, second) > MAX_WEIGHTS:
        return False
    (out, middle, h2, w2), (_, count, h1, w1) = second.weight.shape, first.weight.shape
    full = np.zeros((out, count, h1 + h2 - 1, w1 + w2 - 1))
    flat = first.weight.reshape(middle, -1)
    for i in range(h2):
        for j in range(w2):
            full[:, :, i:i + h1, j:j + w1] += (second.weight[:, :, i, j] @ flat).reshape(
                out, count, h1, w1)
    second.bias = second.bias + second.weight.sum((2, 3)) @ first.bias
    second.weight, second.pads = full, _added(first.pads, second.pads)
    net.rewire(second, first.inputs)
    return True


# ---- sums of parallel convolutions --------------------------------------------------------------

def _terms(net, node):
    """What a sum adds up, through sums that only serve it."""
    terms, waiting = [], list(reversed(node.inputs))
    while waiting:
        term = waiting.pop()
        if term.op == "add" and term.act is None and net.once(term):
            waiting += reversed(term.inputs)
        else:
            terms.append(term)
    return terms


def _linear(net, term, source):
    """(weight, bias) of a term as a convolution of `source`, None when it is none. The identity
    and affine nodes are 1x1 convolutions."""
    count = source.channels
    if term is source:
        return np.eye(count).reshape(count, count, 1, 1), np.zeros(count)
    if term.inputs[:1] != [source] or not net.once(term):
        return None
    if term.op == "affine":
        return np.diag(term.a).reshape(count, count, 1, 1), term.b
    if term.op == "conv2d" and term.act is None and term.keeps_size():
        top, left, bottom, right = term.pads
        return (term.weight, term.bias) if (top, left) == (bottom, right) else None
    return None


def _sum(net, node):
    """Convolutions of one tensor whose results are added are one convolution: with equal padding
    around the centre, each tap sees the same pixel or the same zero."""
    terms = _terms(net, node)
    for source in {id(s): s for t in terms for s in t.inputs[:1] if t.op == "conv2d"}.values():
        group = [(t, _linear(net, t, source)) for t in terms]
        group = [(t, linear) for t, linear in group if linear is not None]
        if len(group) < 2 or source.channels > MAX_CHANNELS:
            continue
        kernels = [linear[0].shape[2:] for _, linear in group]
        height, width = (max(k[d] for k in kernels) for d in (0, 1))
        cost = _cost(*(t.weight for t, _ in group if t.op == "conv2d"))
        whole = node.channels * source.channels * height * width
        if all(_is_depthwise(w) for _, (w, _) in group):
            whole //= node.channels
        taken = [t for t, _ in group]
        rest = [t for t in terms if t not in taken]
        if whole > cost or len(rest) >= MAX_INPUTS:
            continue
        weight = np.zeros((node.channels, source.channels, height, width))
        bias = np.zeros(node.channels)
        for _, (w, b) in group:
            y, x = (height - w.shape[2]) // 2, (width - w.shape[3]) // 2
            weight[:, :, y:y + w.shape[2], x:x + w.shape[3]] += w
            bias = bias + b
        pads = ((height - 1) // 2, (width - 1) // 2) * 2
        name = next(t.name for t in taken if t.op == "conv2d")
        merged = net.conv(source, weight, bias, name, pads)
        if rest:
            net.rewire(node, [merged, *rest])
        else:
            merged.act = node.act
            net.replace(node, merged)
        return True
    return False


# ---- affine ---------------------------------------------------------------------------------------

def _can_absorb(net, node, a, b, only_reader=True):
    """Whether `node` can give a * output + b instead of its output, nodes before it included."""
    if node.op == "input" or not only_reader:
        return False
    plain, scaled = not b.any(), a.min() > 0 and not b.any()
    before = [net.once(source) for source in node.inputs]
    if node.op == "affine":
        return True
    if node.op == "conv2d":
        return (node.act is None or node.act[0] in POSITIVE and scaled
                or node.act[0] == "clip" and _moved(node.act, a, b) is not None)
    if node.op == "act":
        if node.act[0] in POSITIVE and scaled or (
                node.act[0] == "clip" and _moved(node.act, a, b) is not None):
            return _can_absorb(net, node.inputs[0], a, b, before[0])
        return False
    if node.op == "add":
        fits = node.act is None or node.act[0] in POSITIVE and scaled
        return fits and all(_can_absorb(net, source, a, b if i == 0 else 0 * b, ok)
                            for i, (source, ok) in enumerate(zip(node.inputs, before)))
    if node.op == "mul":
        fits = plain and (node.act is None or node.act[0] in POSITIVE and scaled)
        return fits and _mul_side(net, node, a, b) is not None
    if node.op == "concat":
        return all(_can_absorb(net, source, *parts, ok) for source, parts, ok in
                   zip(node.inputs, _split(node, a, b), before))
    if node.op in ("depth_to_space", "resize"):
        return _can_absorb(net, node.inputs[0], *_spread(node, a, b), before[0])
    return False


def _absorb(net, node, a, b):
    """Does what _can_absorb has allowed."""
    if node.op == "affine":
        node.a, node.b = node.a * a, node.b * a + b
    elif node.op == "conv2d":
        node.weight, node.bias = node.weight * a[:, None, None, None], node.bias * a + b
        if node.act is not None:
            node.act = _moved(node.act, a, b)
    elif node.op == "act":
        node.act = _moved(node.act, a, b)
        _absorb(net, node.inputs[0], a, b)
    elif node.op == "add":
        for i, source in enumerate(node.inputs):
            _absorb(net, source, a, b if i == 0 else 0 * b)
    elif node.op == "mul":
        _absorb(net, _mul_side(net, node, a, b), a, b)
    elif node.op == "concat":
        for source, parts in zip(node.inputs, _split(node, a, b)):
            _absorb(net, source, *parts)
    else:
        _absorb(net, node.inputs[0], *_spread(node, a, b))


def _moved(act, a, b):
    """The activation after which a * x + b has been applied when it is applied before."""
    if act[0] != "clip":
        return act
    if a.min() != a.max() or b.min() != b.max() or a[0] <= 0:
        return None
    low, high = float(act[1] * a[0] + b[0]), float(act[2] * a[0] + b[0])
    return ("clip", low, high) if max(abs(low), abs(high)) <= MAX_REAL else None


def _mul_side(net, node, a, b):
    return next((source for source in node.inputs
                 if _can_absorb(net, source, a, b, net.once(source))), None)


def _split(node, a, b):
    ends = np.cumsum([source.channels for source in node.inputs])[:-1]
    return list(zip(np.split(a, ends), np.split(b, ends)))


def _spread(node, a, b):
    """a and b per channel of a depth_to_space's input; a resize's weights sum to one, so that
    constants pass it unchanged."""
    if node.op == "resize":
        return a, b
    area = node.factor ** 2
    spread = np.repeat if node.word == "crd" else np.tile
    return spread(a, area), spread(b, area)


def _affine(net, node):
    source = node.inputs[0]
    if np.all(node.a == 1) and not node.b.any():
        net.replace(node, source)
        return True
    if source.op == "affine":
        node.a, node.b = source.a * node.a, source.b * node.a + node.b
        net.rewire(node, source.inputs)
        return True
    if _can_absorb(net, source, node.a, node.b, net.once(source)):
        _absorb(net, source, node.a, node.b)
        net.replace(node, source)
        return True
    # Forwards, into convolutions: when all readers take it, for else it stays and nothing is won.
    # A constant that is added must not pass a zero padding.
    users = net.users[node]
    if users and node is not net.output and all(
            user.op == "conv2d" and (not node.b.any() or not any(user.pads)) for user in users):
        for user in list(users):
            user.bias = user.bias + user.weight.sum((2, 3)) @ node.b
            user.weight = user.weight * node.a[:, None, None]
        net.replace(node, source)
        return True
    return _to_tanh(net, node) or _past_mul(net, node)


def _to_tanh(net, node):
    """sigmoid(x) - 1/2 = tanh(x / 2) / 2: a factor travels further than a term."""
    source = node.inputs[0]
    if not (source.op == "act" and source.act == ("sigmoid",) and net.once(source)
            and np.array_equal(node.b, -node.a / 2)):
        return False
    half = net.affine(source.inputs[0], 0.5, 0, source.name)
    tanh = net.new("act", [half], source.channels, source.name, act=("tanh",))
    net.replace(node, net.affine(tanh, node.a / 2, 0, node.name))
    return True


def _past_mul(net, node):
    """(a * x) * y = a * (x * y), where convolutions then take the factor."""
    users = net.users[node]
    if len(users) != 1 or node.b.any() or users[0].op != "mul" or users[0].act is not None:
        return False
    product = users[0]
    if product is net.output or not all(u.op == "conv2d" for u in net.users[product]):
        return False
    for user in list(net.users[product]):
        user.weight = user.weight * node.a[:, None, None]
    net.replace(node, node.inputs[0])
    return True


def _take_mean(net):
    """x - m at the input, one m for all channels, is what the graph's `mean` does; the graph adds
    m to the output again, so that it is taken off there."""
    first = list(net.users[net.input])
    if not first or any(node.op != "affine" for node in first) or net.output is net.input:
        return False
    means = np.concatenate([-node.b / node.a if node.a.all() else node.a for node in first])
    mean = float(means[0])
    if not 0 < mean <= 1 or not np.allclose(means, mean, rtol=1e-6, atol=0):
        return False
    shape = (net.output.channels,)
    if not _can_absorb(net, net.output, np.ones(shape), np.full(shape, -mean),
                       not net.users[net.output]):
        return False
    for node in first:
        node.b = np.zeros_like(node.b)
    net.mean = mean
    _append(net, 1, -mean)
    return True


def _lower_affine(net, node):
    """What nothing took over becomes a 1x1 convolution."""
    count = node.channels
    if count * count > MAX_WEIGHTS:
        raise Refused(f"a factor or term for {count} channels stays alone", node)
    net.replace(node, net.conv(node.inputs[0], np.diag(node.a).reshape(count, count, 1, 1), node.b,
                               node.name))


# ---- activations ----------------------------------------------------------------------------------

def _joined(first, second):
    """One activation for two, None when there is none."""
    if first is None:
        return second
    if first[0] == second[0] == "relu":
        return first
    bounds = {"relu": (0.0, np.inf), "clip": first[1:]}.get(first[0])
    limits = {"relu": (0.0, np.inf), "clip": second[1:]}.get(second[0])
    if bounds is None or limits is None:
        return None
    return ("clip", *(float(min(max(v, limits[0]), limits[1])) for v in bounds))


def _act(net, node):
    """Fuses it into the node before; moves it before shuffles, which only move samples."""
    source = node.inputs[0]
    if not net.once(source):
        return False
    if source.op in ("conv2d", "act") or (source.op in ("add", "mul") and node.act[0] != "prelu"):
        both = _joined(source.act, node.act)
        if both is None:
            return False
        source.act = both
        net.replace(node, source)
        return True
    slopes = node.act[1] if node.act[0] == "prelu" else None
    if source.op == "depth_to_space":
        act = node.act if slopes is None else ("prelu", _spread(source, slopes, slopes)[0])
        inner = net.new("act", source.inputs, source.inputs[0].channels, node.name, act=act)
        net.rewire(source, [inner])
        net.replace(node, source)
        return True
    if source.op == "concat" and all(map(net.once, source.inputs)):
        parts = [None] * len(source.inputs) if slopes is None else [
            s for s, _ in _split(source, slopes, slopes)]
        inner = [net.new("act", [s], s.channels, node.name,
                         act=node.act if p is None else ("prelu", p))
                 for s, p in zip(source.inputs, parts)]
        net.rewire(source, inner)
        net.replace(node, source)
        return True
    return False


def _lower_act(net, node):
    source = node.inputs[0]
    if source.op == "conv2d" and source.act is None and net.once(source):
        source.act = node.act
        net.replace(node, source)
        return
    one = net.affine(source, 1, 0, node.name)
    net.rewire(node, [one])
    _lower_affine(net, one)
    node.inputs[0].act = node.act
    net.replace(node, node.inputs[0])
