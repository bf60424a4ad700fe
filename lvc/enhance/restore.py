"""A small network that takes coding artefacts out of decoded pictures.

It sees a decoded frame and its two neighbours, motion-compensated by block search between decoded frames. Frames are
packed to 24 channels at a quarter of the luma resolution: 16 of luma, 4 of each chroma plane. What goes in (a
high-pass of the frame, its difference from a local mean, the differences of the neighbours) and what comes out counts
in units of the frame's ``level``, its root mean squared coding error: so one network serves all rates. It does not
restore by itself: it proposes planes that filters may add to the frame, with weights that come with the stream
(lvc.enhance.adaptive).

In the spirit of multi-frame quality enhancement of compressed video (Yang et al., CVPR 2018), at a hundredth of the
multiply-adds.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.enhance.adaptive import CHROMA_PROPOSALS, LUMA_PROPOSALS, chroma_unit
from lvc.enhance.prior import FilterPrior

LUMA, CHROMA = 16, 4
CHANNELS = LUMA + 2 * CHROMA
"""Of a packed frame."""

PROPOSED = LUMA * LUMA_PROPOSALS + 2 * CHROMA * CHROMA_PROPOSALS
"""Channels of packed proposals."""

STRIDE = 4
"""Luma samples a side of a position of a packed frame."""

INPUTS = 4 * CHANNELS + 3
_CONDITIONS = 5
_DIFFERENCE_MAX = 4.0
_DETAIL_SCALE = 0.25
_DIFFERENCE_SCALE = 0.5
_LEVEL_CENTER = 1.3
_OUTPUT_SCALE = 0.25


@dataclass(frozen=True)
class RestoreConfig:
    """Sizes of a :class:`RestoreNet`, stored with its weights.

    Attributes:
        name: of the weights. width: channels inside. blocks: residual ones, of two 3x3 convolutions each.
    """

    name: str = "restore"
    width: int = 64
    blocks: int = 3

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RestoreConfig:
        """The inverse of to_json. Raises ValueError or TypeError on what is not a configuration."""
        return cls(**json.loads(text))

    @property
    def kmac_per_pixel(self) -> float:
        """Thousands of multiply-adds a luma sample."""
        layers = INPUTS * self.width + 2 * self.blocks * self.width**2 + self.width * PROPOSED
        return 9.0 * layers / STRIDE**2 / 1000.0


def pack(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Planes (N, 1, H, W) and (N, 1, H/2, W/2), H and W multiples of 4 -> packed frame (N, 24, H/4, W/4)."""
    return torch.cat((F.pixel_unshuffle(y, STRIDE), F.pixel_unshuffle(u, STRIDE // 2),
                      F.pixel_unshuffle(v, STRIDE // 2)), 1)


def unpack(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of pack."""
    y, u, v = x.split((LUMA, CHROMA, CHROMA), 1)
    return F.pixel_shuffle(y, STRIDE), F.pixel_shuffle(u, STRIDE // 2), F.pixel_shuffle(v, STRIDE // 2)


def unpack_proposals(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Packed proposals (N, PROPOSED, h, w) -> of Y (N, LUMA_PROPOSALS, 4 h, 4 w), of U and V (N, CHROMA_PROPOSALS,
    2 h, 2 w)."""
    luma, chroma = LUMA * LUMA_PROPOSALS, CHROMA * CHROMA_PROPOSALS
    y, u, v = x.split((luma, chroma, chroma), 1)
    return F.pixel_shuffle(y, STRIDE), F.pixel_shuffle(u, STRIDE // 2), F.pixel_shuffle(v, STRIDE // 2)


def by_plane(values: Tensor) -> Tensor:
    """(N, 3, ...) for Y, U, V -> (N, 24, ...), each repeated for the channels of its plane."""
    index = torch.tensor((0,) * LUMA + (1,) * CHROMA + (2,) * CHROMA, device=values.device)
    return values.index_select(1, index)


def _by_proposal(values: Tensor) -> Tensor:
    """(N, 3) for Y, U, V -> (N, PROPOSED, 1, 1)."""
    luma, chroma = LUMA * LUMA_PROPOSALS, CHROMA * CHROMA_PROPOSALS
    index = torch.tensor((0,) * luma + (1,) * chroma + (2,) * chroma, device=values.device)
    return values.index_select(1, index)[..., None, None]


def plane_means(x: Tensor) -> Tensor:
    """(N, 24, ...) -> (N, 3, ...): means over the channels of each plane."""
    return torch.stack([part.mean(1) for part in x.split((LUMA, CHROMA, CHROMA), 1)], 1)


def high_pass(x: Tensor) -> Tensor:
    """Packed frame -> the same of every sample's difference from the mean of the 3x3 samples around it."""
    return pack(*(plane - _box(plane) for plane in unpack(x)))


def _box(plane: Tensor) -> Tensor:
    """Means of 3x3 samples; sums of slices are several times as fast as a pooling layer."""
    wide = F.pad(plane, (1, 1, 1, 1), "replicate")
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9.0


def units(levels: Tensor) -> Tensor:
    """Levels (N, 3) -> what the values of the frame's planes are counted in, (N, 24, 1, 1)."""
    return by_plane(_plane_units(levels)[..., None, None])


def _plane_units(levels: Tensor) -> Tensor:
    """(N, 3), of Y, U and V."""
    chroma = [chroma_unit(level) for level in levels[:, 0].tolist()]
    return torch.stack((levels[:, 0], levels.new_tensor(chroma), levels.new_tensor(chroma)), 1)


class RestoreNet(nn.Module):
    """(frame, its neighbours, levels, kind) -> proposals.

    Shape: frame, previous, following: (N, 24, h, w), packed, values 0..255; the neighbours predict the frame.
        Where there is no neighbour, the frame itself stands in. levels: (N, 3), root mean squared luma error of the
        three, above 0. kind: (N, 2), each 0 or 1: whether it is an intra frame, whether the base codec is AV1.
        Result: (N, PROPOSED, h, w) float32, packed, in samples' units: see unpack_proposals.

    Attributes:
        prior: what the filters' coefficients are likely to be, with these proposals.

    In its convolutions it needs RestoreConfig.kmac_per_pixel.
    """

    def __init__(self, config: RestoreConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.start = nn.Conv2d(INPUTS, width, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(config.blocks))
        self.second = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(config.blocks))
        self.end = nn.Conv2d(width, PROPOSED, 3, padding=1)
        self.condition = nn.Linear(_CONDITIONS, 32)
        self.shift = nn.Linear(32, width * (config.blocks + 1))
        self.prior = FilterPrior()
        with torch.no_grad():
            for layer in self.second:
                assert isinstance(layer, nn.Conv2d)
                layer.weight.mul_(0.3)
            for parameter in self.shift.parameters():
                parameter.zero_()

    def forward(self, frame: Tensor, previous: Tensor, following: Tensor, levels: Tensor, kind: Tensor) -> Tensor:
        unit = units(levels)
        features = self.features(self.inputs(frame, previous, following, unit), levels, kind)
        return self.end(features).float() * (_OUTPUT_SCALE * _by_proposal(_plane_units(levels)))

    def inputs(self, frame: Tensor, previous: Tensor, following: Tensor, unit: Tensor) -> Tensor:
        """What the first layer sees, (N, INPUTS, h, w)."""
        local = F.avg_pool2d(plane_means(frame), 5, 1, 2, count_include_pad=False)
        detail = (frame - by_plane(local)) * (_DETAIL_SCALE / unit)
        scale = _DIFFERENCE_SCALE / unit
        differences = [((other - frame) * scale).clamp(-_DIFFERENCE_MAX, _DIFFERENCE_MAX)
                       for other in (previous, following)]
        x = torch.cat((high_pass(frame) / unit, detail, *differences, local / 128.0 - 1.0), 1)
        return x.contiguous(memory_format=torch.channels_last)

    def features(self, inputs: Tensor, levels: Tensor, kind: Tensor) -> Tensor:
        """What the last layer sees, (N, width, h, w)."""
        log = torch.log2(levels)
        conditions = torch.stack((log[:, 0] - _LEVEL_CENTER, log[:, 1] - log[:, 0], log[:, 2] - log[:, 0],
                                  *kind.unbind(1)), 1)
        shifts = self.shift(F.silu(self.condition(conditions)))[..., None, None].chunk(len(self.first) + 1, 1)
        x = F.relu(self.start(inputs) + shifts[0])
        for first, second, shift in zip(self.first, self.second, shifts[1:], strict=True):
            x = x + second(F.relu(first(x) + shift))
        return x
