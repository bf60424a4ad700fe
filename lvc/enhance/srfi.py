"""SRFI: super-resolution, then frame interpolation, of clips that a standard codec coded with fewer samples.

After patent text CN115689917A: features of all frames run through a bidirectional recurrence (hidden states aligned by
a pyramid flow network, in the way of SpyNet, Ranjan and Black, CVPR 2017; recurrence and fusion as in BasicVSR, Chan et
al., CVPR 2021); features of a missing frame come from those of both neighbours by deformable convolutions (Dai et al.,
ICCV 2017) with offsets out of both, coarse to fine; a tail of residual blocks and a pixel shuffle give pictures.

What is different: frames go in as they are enlarged by the classical filter, packed to 24 channels at a quarter of the
luma resolution (lvc.enhance.restore), so that one network serves all scales; missing frames go in as block motion makes
them (lvc.enhance.linear); what comes out is added to these. As in lvc.enhance.restore, all counts in units of the
frames' levels, and the network begins as the identity.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.enhance.restore import CHANNELS, LUMA, STRIDE, by_plane, high_pass, plane_means, units
from lvc.ops.warp import backward_warp, resize_flow

_INPUTS = 2 * CHANNELS + 3
_CONDITIONS = 5
_HIDDEN = 32
_DETAIL_SCALE = 0.25
_LEVEL_CENTER = 1.3
_OUTPUT_SCALE = 0.25
_FLOW_PLANES = 4
_FLOW_SCALE = 1 / 64
_TAPS = 9


@dataclass(frozen=True)
class SrfiConfig:
    """Sizes of a :class:`Srfi`, stored with its weights.

    Attributes:
        name: of the weights.
        width: channels inside.
        blocks: residual ones of each direction of the recurrence. tail: of those before the pixel shuffle.
        groups: of channels that have deformable offsets of their own.
        flow_levels, flow_kernel, flow_widths: of the flow network: levels of the pyramid, side of the kernels, channels
            between the first and the last convolution of a level.
    """

    name: str = "stsr"
    width: int = 128
    blocks: int = 15
    tail: int = 5
    groups: int = 8
    flow_levels: int = 5
    flow_kernel: int = 7
    flow_widths: tuple[int, ...] = (32, 64, 32, 16)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SrfiConfig:
        """The inverse of to_json. Raises ValueError or TypeError on what is not a configuration."""
        values = json.loads(text)
        return cls(**{**values, "flow_widths": tuple(values["flow_widths"])})


SRFI = SrfiConfig()
SRFI_LITE = SrfiConfig("stsr-lite", width=48, blocks=2, tail=1, groups=4, flow_levels=3, flow_kernel=3,
                       flow_widths=(16, 16))
CONFIGS = {config.name: config for config in (SRFI, SRFI_LITE)}
"""Configurations by name."""


class Blocks(nn.Module):
    """A convolution, then residual blocks of two, moved by conditions. (N, inputs, h, w) -> (N, width, h, w)."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(inputs, width, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))
        self.shift = nn.Linear(_HIDDEN, width)
        with torch.no_grad():
            for layer in self.second:
                assert isinstance(layer, nn.Conv2d)
                layer.weight.mul_(0.3)
            for parameter in self.shift.parameters():
                parameter.zero_()

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``hidden``: conditions, (N, 32)."""
        x = F.relu(self.start(x) + self.shift(hidden)[..., None, None])
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.relu(first(x)))
        return x


class FlowPyramid(nn.Module):
    """(luma, another luma), each (N, 16, h, w), packed -> flow (N, 2, h, w) from the first one to the other.

    In samples of the packed frames, float32. It begins as zero.
    """

    def __init__(self, config: SrfiConfig) -> None:
        super().__init__()
        sizes = (2 * _FLOW_PLANES + 2, *config.flow_widths, 2)
        pad = config.flow_kernel // 2
        self.levels = nn.ModuleList()
        for _ in range(config.flow_levels):
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(sizes):
                layers += [nn.Conv2d(inputs, outputs, config.flow_kernel, padding=pad), nn.ReLU()]
            end = layers[-2]
            assert isinstance(end, nn.Conv2d)
            with torch.no_grad():
                end.weight.zero_()
                assert end.bias is not None
                end.bias.zero_()
            self.levels.append(nn.Sequential(*layers[:-1]))

    def forward(self, luma: Tensor, other: Tensor) -> Tensor:
        pyramid = [(_halved(luma), _halved(other))]
        for _ in self.levels[1:]:
            one, two = pyramid[0]
            if min(one.shape[-2:]) < 4:
                break
            pyramid.insert(0, (F.avg_pool2d(one, 2), F.avg_pool2d(two, 2)))
        flow = luma.new_zeros(len(luma), 2, *pyramid[0][0].shape[-2:])
        for level, (one, two) in zip(list(self.levels)[-len(pyramid):], pyramid, strict=True):
            if flow.shape[-2:] != one.shape[-2:]:
                flow = resize_flow(flow, (one.shape[-2], one.shape[-1]), 2.0)
            flow = flow + level(torch.cat((one, backward_warp(two, flow, "bilinear"), flow), 1)).float()
        return flow


def _halved(luma: Tensor) -> Tensor:
    """Packed luma (N, 16, h, w) -> means of 2x2 samples, (N, 4, h, w), about -2..2."""
    n, _, h, w = luma.shape
    return (luma.reshape(n, 2, 2, 2, 2, h, w).mean((2, 4)).reshape(n, _FLOW_PLANES, h, w) - 128.0) * _FLOW_SCALE


class DeformedConv2d(nn.Conv2d):
    """torchvision.ops.deform_conv2d with masks, of kernels 3x3, by grid_sample: several times as fast on CPUs.

    Shape: x (N, inputs, h, w); offsets (N, groups * 9 * 2, h, w), dy and dx of each tap; mask (N, groups * 9, h, w).
        Result: (N, outputs, h, w). Outside of x there are zeros. float32.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)

    def forward(self, x: Tensor, offsets: Tensor, mask: Tensor) -> Tensor:
        n, c, h, w = x.shape
        groups = mask.shape[1] // _TAPS
        side = torch.arange(3.0, device=x.device) - 1
        dy, dx = offsets.reshape(n * groups, _TAPS, 2, h, w).unbind(2)
        ys = dy + side.repeat_interleave(3)[:, None, None] + torch.arange(float(h), device=x.device)[:, None]
        xs = dx + side.repeat(3)[:, None, None] + torch.arange(float(w), device=x.device)
        grid = torch.stack((xs * (2 / w) + (1 / w - 1), ys * (2 / h) + (1 / h - 1)), -1)
        taken = F.grid_sample(x.reshape(n * groups, c // groups, h, w), grid.reshape(n * groups, _TAPS * h, w, 2),
                              mode="bilinear", padding_mode="zeros", align_corners=False)
        taken = taken.reshape(n, groups, c // groups, _TAPS, h, w) * mask.reshape(n, groups, 1, _TAPS, h, w)
        return F.conv2d(taken.reshape(n, c * _TAPS, h, w), self.weight.flatten(1)[..., None, None], self.bias)


class Interpolation(nn.Module):
    """Features of two frames, (N, width, h, w) -> those of the frame between them, by deformable convolutions.

    Offsets come from both, at half the resolution first.
    """

    def __init__(self, config: SrfiConfig) -> None:
        super().__init__()
        width, self.outputs = config.width, 3 * _TAPS * config.groups
        self.coarse = nn.Conv2d(2 * width, width, 3, padding=1)
        self.fine = nn.Conv2d(3 * width, width, 3, padding=1)
        self.coarse_offsets = nn.Conv2d(width, 2 * self.outputs, 3, padding=1)
        self.offsets = nn.Conv2d(width, 2 * self.outputs, 3, padding=1)
        self.before = DeformedConv2d(width, width)
        self.after = DeformedConv2d(width, width)
        self.fuse = nn.Conv2d(2 * width, width, 1)
        with torch.no_grad():
            for layer in (self.coarse_offsets, self.offsets):
                layer.weight.zero_()
                assert layer.bias is not None
                layer.bias.zero_()

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        size = before.shape[-2:]
        pair = torch.cat((before, after), 1)
        coarse = F.relu(self.coarse(F.avg_pool2d(pair, 2, ceil_mode=True)))
        wide = F.interpolate(coarse.float(), size=size, mode="bilinear", align_corners=False).to(coarse.dtype)
        rough = F.interpolate(self.coarse_offsets(coarse).float(), size=size, mode="bilinear", align_corners=False)
        parts = rough + self.offsets(F.relu(self.fine(torch.cat((pair, wide), 1)))).float()
        found = []
        with torch.autocast(before.device.type, enabled=False):
            for x, layer, part in zip((before, after), (self.before, self.after), parts.chunk(2, 1)):
                offset, mask = part.split((2 * self.outputs // 3, self.outputs // 3), 1)
                found.append(layer(x.float(), offset, torch.sigmoid(mask)))
        fused: Tensor = self.fuse(torch.cat(found, 1))
        return fused


class Srfi(nn.Module):
    """Clips of enlarged frames -> the frames enhanced, and those between them.

    Shapes, of clips of T frames: plain (N, T, 24, h, w), packed, values 0..255; middles (N, T - 1, 24, h, w), likewise,
    what classical interpolation makes of neighbours; levels (N, T), root mean squared luma errors, above 0; kinds
    (N, T, 2), each 0 or 1: whether a frame is an intra frame, whether the base codec is AV1; scales (N,), by how much
    frames were enlarged: 1, 1.5 or 2.
    """

    def __init__(self, config: SrfiConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.condition = nn.Linear(_CONDITIONS, _HIDDEN)
        self.start = nn.Conv2d(_INPUTS, width, 3, padding=1)
        self.flow = FlowPyramid(config)
        self.backward_blocks = Blocks(2 * width, width, config.blocks)
        self.forward_blocks = Blocks(2 * width, width, config.blocks)
        self.fuse = nn.Conv2d(2 * width, width, 1)
        self.interpolation = Interpolation(config)
        self.middle = nn.Conv2d(_INPUTS, width, 3, padding=1)
        self.tail = Blocks(2 * width, width, config.tail)
        self.end = nn.Conv2d(width, CHANNELS, 3, padding=1)
        with torch.no_grad():
            for parameter in self.end.parameters():
                parameter.zero_()

    def forward(self, plain: Tensor, middles: Tensor, levels: Tensor, kinds: Tensor,
                scales: Tensor) -> tuple[Tensor, Tensor]:
        """Enhanced (N, T, 24, h, w) and (N, T - 1, 24, h, w), float32, neither rounded nor limited."""
        hidden = self.conditions(levels, kinds, scales)
        inputs, features = self.propagated(plain, levels, hidden)
        frames = [self.picture(plain[:, t], inputs[t], features[t], levels[:, t], hidden[:, t])
                  for t in range(plain.shape[1])]
        between = [self.between(middles[:, t], features[t], features[t + 1], levels[:, t: t + 2].mean(1),
                                hidden[:, t: t + 2].mean(1)) for t in range(middles.shape[1])]
        return torch.stack(frames, 1), torch.stack(between, 1) if between else middles

    def conditions(self, levels: Tensor, kinds: Tensor, scales: Tensor) -> Tensor:
        """(N, T, 32)."""
        scale = scales[:, None].expand_as(levels)
        known = torch.stack((torch.log2(levels) - _LEVEL_CENTER, *kinds.unbind(2), (scale == 1.5).to(levels),
                             (scale == 2.0).to(levels)), 2)
        return F.silu(self.condition(known))

    def propagated(self, plain: Tensor, levels: Tensor, hidden: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """For each frame, features (N, width, h, w): its own ones, and those that know of the whole clip."""
        count = plain.shape[1]
        inputs = [F.relu(self.start(self.inputs(plain[:, t], levels[:, t]))) for t in range(count)]

        def run(order: range, blocks: Blocks) -> dict[int, Tensor]:
            states: dict[int, Tensor] = {}
            state, former = torch.zeros_like(inputs[0]), None
            for t in order:
                if former is not None:
                    flow = self.flow(plain[:, t, :LUMA], plain[:, former, :LUMA])
                    state = backward_warp(state, flow, "bilinear").to(inputs[t].dtype)
                state = blocks(torch.cat((inputs[t], state), 1), hidden[:, t])
                states[t], former = state, t
            return states

        back = run(range(count - 1, -1, -1), self.backward_blocks)
        forth = run(range(count), self.forward_blocks)
        return inputs, [self.fuse(torch.cat((back.pop(t), forth.pop(t)), 1)) for t in range(count)]

    def picture(self, plain: Tensor, own: Tensor, features: Tensor, level: Tensor, hidden: Tensor) -> Tensor:
        """A frame enhanced: ``plain`` (N, 24, h, w) and what the tail makes of its features."""
        tail = self.end(self.tail(torch.cat((own, features), 1), hidden)).float()
        return plain + _unit(level) * _OUTPUT_SCALE * tail

    def between(self, plain: Tensor, before: Tensor, after: Tensor, level: Tensor, hidden: Tensor) -> Tensor:
        """The frame between two of these features enhanced; ``plain``: what classical interpolation gives."""
        own = F.relu(self.middle(self.inputs(plain, level)))
        return self.picture(plain, own, self.interpolation(before, after), level, hidden)

    def inputs(self, plain: Tensor, level: Tensor) -> Tensor:
        """What is seen of a frame, (N, 51, h, w)."""
        unit = _unit(level)
        local = F.avg_pool2d(plane_means(plain), 5, 1, 2, count_include_pad=False)
        detail = (plain - by_plane(local)) * (_DETAIL_SCALE / unit)
        x = torch.cat((high_pass(plain) / unit, detail, local / 128.0 - 1.0), 1)
        return x.contiguous(memory_format=torch.channels_last)

    def kmac_per_pixel(self, kt: int = 1) -> float:
        """Thousands of multiply-adds of the convolutions for each luma sample of the video, overlaps of clips aside.

        Args:
            kt: 1: all frames are in the base stream; 2: every second one.
        """
        def weights(*modules: nn.Module) -> float:
            return float(sum(layer.weight.numel() for module in modules for layer in module.modules()
                             if isinstance(layer, nn.Conv2d)))

        flow = sum(weights(level) / 4**i for i, level in enumerate(reversed(list(self.flow.levels))))
        tail = weights(self.tail, self.end)
        kept = weights(self.start, self.backward_blocks, self.forward_blocks, self.fuse) + 2 * flow + tail
        halved = weights(self.interpolation.coarse, self.interpolation.coarse_offsets)
        middle = weights(self.interpolation) - 0.75 * halved + weights(self.middle) + tail
        return (kept if kt == 1 else (kept + middle) / 2) / STRIDE**2 / 1000.0


def _unit(level: Tensor) -> Tensor:
    return units(level[:, None])
