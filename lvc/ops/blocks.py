"""Building blocks: the flow pyramid, residual blocks, and the refinement network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.ops.warp import backward_warp, resize_flow


def conv(in_channels: int, out_channels: int, kernel: int = 3, *, zero: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size; ``zero``: it starts at zero."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    if zero:
        nn.init.zeros_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), the second convolution starting small."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class PyramidFlow(nn.Module):
    """Coarse-to-fine optical flow: SpyNet (Ranjan and Black, 2017) as DVC uses it.

    At each level of an average-pooled pyramid, a small network sees the current picture, the reference
    warped by the flow so far, and that flow, and gives what is to be added to it.

    Args:
        levels: number of pyramid levels.
        kernel: of the five convolutions a level.
        widths: channels after the first four of them.
        unshuffle: 1 works at full resolution (DVC). 4 folds 4x4 luma samples into channels: the flow then has
            a quarter of the resolution and costs a sixteenth, without loss of sub-pixel detail.
    """

    def __init__(self, levels: int = 5, kernel: int = 7, widths: Sequence[int] = (32, 64, 32, 16),
                 unshuffle: int = 1) -> None:
        super().__init__()
        self.levels, self.unshuffle = levels, unshuffle
        self.nets = nn.ModuleList()
        for _ in range(levels):
            layers: list[nn.Module] = []
            channels = 2 * unshuffle**2 + 2
            for width in widths:
                layers += [conv(channels, width, kernel), nn.ReLU()]
                channels = width
            layers.append(conv(channels, 2, kernel, zero=True))
            self.nets.append(nn.Sequential(*layers))

    def forward(self, current: Tensor, reference: Tensor) -> Tensor:
        """Luma (N, 1, H, W) of both, 8-bit scale -> flow (N, 2, H/unshuffle, W/unshuffle) in luma samples.

        H and W must be multiples of unshuffle * 2**(levels - 1). ``current(x) ~ reference(x + flow(x))``.
        """
        pyramid = [((current - 128.0) / 64.0, (reference - 128.0) / 64.0)]
        for _ in range(self.levels - 1):
            pyramid.append(tuple(F.avg_pool2d(image, 2) for image in pyramid[-1]))
        flow: Tensor | None = None
        for net, (cur, ref) in zip(self.nets, reversed(pyramid), strict=True):
            size = (cur.shape[2] // self.unshuffle, cur.shape[3] // self.unshuffle)
            if flow is None:
                flow = cur.new_zeros((len(cur), 2, *size))
                warped = ref
            else:
                flow = resize_flow(flow, size, 2.0)
                dense = resize_flow(flow, (cur.shape[2], cur.shape[3]), 1.0)
                warped = backward_warp(ref, dense, "bilinear")
            if self.unshuffle > 1:
                cur, warped = (F.pixel_unshuffle(image, self.unshuffle) for image in (cur, warped))
            flow = flow + 4.0 * net(torch.cat((cur, warped, flow * 0.25), 1)).float()
        assert flow is not None
        return flow


class RefinementNet(nn.Module):
    """Two scales down and up with skips (DVC's motion compensation network, figure 5); starts as zero.

    Args:
        in_channels, out_channels: of the tensors at the picture's resolution.
        widths: channels at the first, second and third scale.
        fold: 1 runs the first scale at the picture's resolution, 2 at half of it (pixel unshuffle).
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int] = (64, 64, 64),
                 fold: int = 1) -> None:
        super().__init__()
        self.fold = fold
        a, b, c = widths
        self.head = conv(in_channels * fold**2, a)
        self.down_a = ResidualBlock(a)
        self.to_b, self.down_b = conv(a, b, 1), ResidualBlock(b)
        self.to_c, self.middle = conv(b, c, 1), ResidualBlock(c)
        self.from_c, self.up_b = conv(c, b, 1), ResidualBlock(b)
        self.from_b, self.up_a = conv(b, a, 1), ResidualBlock(a)
        self.tail = conv(a, out_channels * fold**2, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W); H and W multiples of 4 * fold."""
        if self.fold > 1:
            x = F.pixel_unshuffle(x, self.fold)
        a = self.down_a(self.head(x))
        b = self.down_b(self.to_b(F.avg_pool2d(a, 2)))
        c = self.middle(self.to_c(F.avg_pool2d(b, 2)))
        b = self.up_b(b + F.interpolate(self.from_c(c), scale_factor=2.0, mode="nearest"))
        a = self.up_a(a + F.interpolate(self.from_b(b), scale_factor=2.0, mode="nearest"))
        out = self.tail(a)
        return F.pixel_shuffle(out, self.fold) if self.fold > 1 else out


def high_pass(x: Tensor) -> Tensor:
    """x (N, C, H, W), H and W even, minus its local mean (6x6 samples about each cell of 2x2)."""
    mean = F.avg_pool2d(x, 6, 2, 2, count_include_pad=False)
    return x - F.interpolate(mean, scale_factor=2.0, mode="nearest")


def soft_clip(x: Tensor, limit: float = 8.0) -> Tensor:
    """x / (1 + |x| / limit): the identity near 0, within +-limit, so that strong edges blow nothing up."""
    return x / (1.0 + x.abs() * (1.0 / limit))


def log_step_plane(step: Tensor, like: Tensor) -> Tensor:
    """log2 of quantization steps (N, 1, 1, 1), less 4, as a channel of the size of ``like``: (N, 1, H, W)."""
    return (torch.log2(step) - 4.0).expand(-1, 1, like.shape[2], like.shape[3])
