# SPDX-License-Identifier: BSD-2-Clause
"""Small super-resolution networks in PyTorch, after the papers named, with random weights."""
import torch
import torch.nn.functional as F
from torch import nn


def conv(i, o, k=3, **more):
    return nn.Conv2d(i, o, k, padding=more.pop("padding", k // 2), **more)


class Seq(nn.Sequential):
    """A Sequential that adds its input to its output."""

    def forward(self, x):
        return x + super().forward(x)


def espcn(scale=3):
    return nn.Sequential(conv(1, 16, 5), nn.Tanh(), conv(16, 8), nn.Tanh(),
                         conv(8, scale * scale), nn.PixelShuffle(scale))


def fsrcnn(scale=2, kernel=9):
    """Dong et al. 2016: transposed convolution at the end."""
    pad = (kernel - scale + 1) // 2
    return nn.Sequential(
        conv(1, 12, 5), nn.PReLU(12), conv(12, 5, 1), nn.PReLU(5), conv(5, 5), nn.PReLU(5),
        conv(5, 12, 1), nn.PReLU(12),
        nn.ConvTranspose2d(12, 1, kernel, scale, pad, scale + 2 * pad - kernel))


class Ecb(nn.Module):
    """ECBSR's block before it is collapsed: 3x3, 1x1 -> 3x3, 1x1 -> depthwise edge filters, identity."""

    def __init__(self, width, bias):
        super().__init__()
        self.main = conv(width, width)
        self.one = conv(width, width, 1)
        self.squeeze, self.expand = conv(width, 2 * width, 1, bias=bias), conv(2 * width, width)
        self.edge1, self.edge2 = conv(width, width, 1, bias=bias), conv(width, width, 3, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.PReLU(width)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        y = (self.main(x) + self.one(x) + self.expand(self.squeeze(x)) + self.edge2(self.edge1(x))
             + self.norm(x) + x)
        return self.act(y)


class Ecbsr(nn.Module):
    def __init__(self, scale=2, bias=False):
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(conv(1, 8), nn.PReLU(8), Ecb(8, bias), Ecb(8, bias),
                                  conv(8, scale * scale))

    def forward(self, x):
        return F.pixel_shuffle(self.body(x) + x, self.scale)  # one channel repeated


class Sesr(nn.Module):
    """SESR: collapsible blocks k x k -> 1x1 with a short residual, a long one, ReLU in front."""

    def __init__(self, scale=2, width=8, wide=32):
        super().__init__()

        def block(i, o, k):
            return nn.Sequential(conv(i, wide, k, bias=False), conv(wide, o, 1))
        self.head, self.tail = block(1, width, 5), block(width, scale * scale, 5)
        self.blocks = nn.ModuleList(block(width, width, 3) for _ in range(3))
        self.acts = nn.ModuleList(nn.PReLU(width) for _ in range(4))
        self.scale = scale

    def forward(self, x):
        first = y = self.acts[0](self.head(x))
        for block, act in zip(self.blocks, self.acts[1:]):
            y = act(block(y) + y)
        return F.pixel_shuffle(self.tail(y + first) + x, self.scale)


class Xlsr(nn.Module):
    """XLSR: grouped convolutions, concatenation, clipped ReLU at the end."""

    def __init__(self, scale=3, width=16):
        super().__init__()
        self.head, self.side = conv(3, width), conv(3, width)
        self.groups = nn.Sequential(conv(width, width, groups=4), nn.ReLU(), conv(width, width, 1),
                                    conv(width, width, groups=4), nn.ReLU(), conv(width, width, 1))
        self.join, self.tail = conv(2 * width, width, 1), conv(width, 3 * scale * scale)
        self.scale = scale

    def forward(self, x):
        y = torch.cat([self.side(x), self.groups(self.head(x))], 1)
        y = self.tail(F.relu(self.join(y)))
        return F.pixel_shuffle(torch.clamp(y, 0, 1), self.scale)


class Abpn(nn.Module):
    """ABPN: the picture repeated by concatenation as the skip, samples 0..255, clip at the end."""

    def __init__(self, scale=3, width=12):
        super().__init__()
        self.body = nn.Sequential(conv(3, width), nn.ReLU(), conv(width, width), nn.ReLU(),
                                  conv(width, 3 * scale * scale))
        self.scale = scale

    def forward(self, x):
        skip = torch.cat([x] * self.scale ** 2, 1)
        y = self.body(x) + skip
        n, c, h, w = y.shape  # depth_to_space of TensorFlow
        y = y.reshape(n, self.scale, self.scale, 3, h, w).permute(0, 3, 4, 1, 5, 2)
        return torch.clamp(y.reshape(n, 3, h * self.scale, w * self.scale), 0.0, 255.0)


class Conv3xc(nn.Module):
    """SPAN's training block: the picture is padded first, so that 1x1 -> 3x3 -> 1x1 collapse."""

    def __init__(self, i, o):
        super().__init__()
        self.sk = conv(i, o, 1)
        self.conv = nn.Sequential(conv(i, 2 * i, 1), conv(2 * i, 2 * o, 3, padding=0),
                                  conv(2 * o, o, 1))

    def forward(self, x):
        return self.conv(F.pad(x, (1, 1, 1, 1), "constant", 0)) + self.sk(x)


class Spab(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c1, self.c2, self.c3 = (Conv3xc(width, width) for _ in range(3))

    def forward(self, x):
        out = self.c3(F.silu(self.c2(F.silu(self.c1(x)))))
        return (out + x) * (torch.sigmoid(out) - 0.5)


class Span(nn.Module):
    def __init__(self, scale=4, width=8):
        super().__init__()
        self.head, self.b1, self.b2 = Conv3xc(3, width), Spab(width), Spab(width)
        self.cat, self.up = conv(3 * width, width, 1), conv(width, 3 * scale * scale)
        self.register_buffer("mean", torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1))
        self.scale = scale

    def forward(self, x):
        x = x - self.mean
        y = self.head(x)
        z = self.b1(y)
        y = self.up(self.cat(torch.cat([y, z, self.b2(z)], 1)))
        return F.pixel_shuffle(y, self.scale)


class MeanShift(nn.Conv2d):
    def __init__(self, sign):
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040])


class Edsr(nn.Module):
    """EDSR with residual scaling, samples 0..255, two shuffles for scale 4."""

    def __init__(self, scale=4, width=8, blocks=2):
        super().__init__()

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width))

            def forward(self, x):
                return x + 0.1 * self.body(x)
        self.sub, self.add = MeanShift(-1), MeanShift(1)
        self.head = conv(3, width)
        self.body = Seq(*[Block() for _ in range(blocks)], conv(width, width))
        steps = [2] * (scale // 2) if scale != 3 else [3]
        self.tail = nn.Sequential(*[m for s in steps for m in (
            conv(width, width * s * s), nn.PixelShuffle(s))], conv(width, 3))

    def forward(self, x):
        return self.add(self.tail(self.body(self.head(self.sub(x)))))


class Wdsr(nn.Module):
    """WDSR-B with weight normalisation, one mean for all channels."""

    def __init__(self, scale=2, width=8):
        super().__init__()

        def norm(*args, **more):
            return nn.utils.weight_norm(conv(*args, **more))
        self.head = norm(3, width)
        self.body = nn.Sequential(*[Seq(norm(width, 6 * width, 1), nn.ReLU(),
                                        norm(6 * width, 6, 1), norm(6, width)) for _ in range(2)])
        self.tail, self.skip = norm(width, 3 * scale ** 2), norm(3, 3 * scale ** 2, 5)
        self.scale = scale

    def forward(self, x):
        x = (x - 0.5) / 0.5
        y = F.pixel_shuffle(self.tail(self.body(self.head(x))) + self.skip(x), self.scale)
        return y * 0.5 + 0.5


class Srresnet(nn.Module):
    """SRResNet: batch normalisation, one-slope PReLU behind a shuffle, tanh at the end."""

    def __init__(self, width=8):
        super().__init__()
        self.head = nn.Sequential(conv(3, width, 9), nn.PReLU())
        self.body = Seq(Seq(conv(width, width), nn.BatchNorm2d(width), nn.PReLU(),
                            conv(width, width), nn.BatchNorm2d(width)),
                        conv(width, width), nn.BatchNorm2d(width))
        self.tail = nn.Sequential(conv(width, 4 * width), nn.PixelShuffle(2), nn.PReLU(),
                                  conv(width, 3, 9), nn.Tanh())

    def forward(self, x):
        return self.tail(self.body(self.head(x)))


class Nearest(nn.Module):
    """Real-ESRGAN-like: dense concatenations, nearest upsampling, leaky ReLU, bilinear base."""

    def __init__(self, width=8):
        super().__init__()
        self.a, self.b = conv(3, width), conv(width + 3, width)
        self.c, self.d = conv(2 * width + 3, width), conv(width, 3)

    def forward(self, x):
        a = F.leaky_relu(self.a(x), 0.2)
        b = F.leaky_relu(self.b(torch.cat([x, a], 1)), 0.2)
        y = self.c(torch.cat([x, a, b], 1)) * 0.2 + a
        y = F.leaky_relu(F.interpolate(y, scale_factor=2, mode="nearest"), 0.2)
        return self.d(y) + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Gated(nn.Module):
    """NAFNet-like gates, split and shuffled channels, hardswish, dilation, an even kernel."""

    def __init__(self, width=8):
        super().__init__()
        self.a, self.b = conv(1, width), conv(width // 2, width, 3, padding=2, dilation=2)
        self.c, self.d = nn.Conv2d(width, width, 2), conv(width, 4)

    def forward(self, x):
        p, q = torch.chunk(self.a(x), 2, 1)
        y = self.b(p * torch.sigmoid(q))
        n, c, h, w = y.shape
        y = y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = F.hardswish(self.c(F.pad(y, (0, 1, 1, 0))))
        y = F.relu(y.clamp(min=-0.25)) - y.clamp(max=0.5)
        return F.pixel_shuffle(self.d(F.relu(y + 0.1)), 2) + F.interpolate(x, scale_factor=2)
