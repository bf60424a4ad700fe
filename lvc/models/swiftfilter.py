"""Swift's in-loop filter: corrections of decoded samples, in exact integer arithmetic.

It works on cells of 4x4 luma and 2x2 chroma samples. A cell's samples less their surroundings' mean, and what was
added to their prediction, both in units of the quantization step, go through 3x3 convolutions; so the networks see
the same numbers at every quality. The output is added to the samples: it removes borders of blocks, moves
coefficients within their quantization intervals, and attenuates noise before it becomes part of predictions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.entropy.distributions import TableDistribution, TableModule
from lvc.entropy.symbols import SymbolCoder
from lvc.ops.integer import IntConv2d
from lvc.types import MAX_QUALITY

CELL = 24
"""Samples of a cell: 16 of luma, 4 of U, 4 of V."""

INPUT_MAX = 127
HIDDEN_MAX = 127
SIZE_AUX = 3
"""Channels that tell the transform: its size, and a block's row and column in it, each 0..63."""

_INPUT_SCALE = 32
"""Inputs count 1/32 of a step, outputs 1/256."""
_OUTPUT_SHIFT = 12
_OUTPUT_MAX = 1023
_EVEN = 40
"""Index of even odds (lvc.entropy.distributions)."""

Planes = tuple[Tensor, Tensor, Tensor]


def to_cells(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Planes (N, 1, H, W), (N, 1, H/2, W/2) twice -> (N, 24, H/4, W/4)."""
    return torch.cat((F.pixel_unshuffle(y, 4), F.pixel_unshuffle(u, 2), F.pixel_unshuffle(v, 2)), 1)


def from_cells(cells: Tensor) -> Planes:
    """The inverse of to_cells."""
    return (F.pixel_shuffle(cells[:, :16], 4), F.pixel_shuffle(cells[:, 16:20], 2),
            F.pixel_shuffle(cells[:, 20:], 2))


def _detail(cells: Tensor, steps: Tensor) -> Tensor:
    """Cells less the mean of the 3x3 cells around, in units of steps / 32; rounded down. float64, exact."""
    out = []
    for part in cells.split((16, 4, 4), 1):
        total = F.pad(part.sum(1, keepdim=True), (1, 1, 1, 1), "replicate")
        rows = total[..., :-2, :] + total[..., 1:-1, :] + total[..., 2:, :]
        around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        n = 9 * part.shape[1]
        out.append(torch.floor((part * n - around) * (16 * _INPUT_SCALE) / (n * steps)))
    return torch.cat(out, 1)


def filter_input(decoded: Tensor, predicted: Tensor, sizes: Tensor, quality: Tensor, steps: Tensor) -> Tensor:
    """What the networks see: integers in float32, (N, 54, H/4, W/4).

    Args:
        decoded, predicted: cells, samples 0..255 in float64.
        sizes: (N, 3, H/8, W/8), 0..63.
        quality, steps: (N,), 0..63 and luma steps in units of 2**-4.
    """
    steps = steps.double()[:, None, None, None]
    added = torch.floor((decoded - predicted) * (16 * _INPUT_SCALE) / steps)
    x = torch.cat((_detail(decoded, steps), added), 1).clamp(-INPUT_MAX, INPUT_MAX).float()
    n, _, h, w = x.shape
    place = torch.zeros(2, h, w)
    place[0, 1::2], place[1, :, 1::2] = 64.0, 64.0
    return torch.cat((x, sizes.float().repeat_interleave(2, 2).repeat_interleave(2, 3), place.expand(n, -1, -1, -1),
                      (2.0 * quality.float() - MAX_QUALITY)[:, None, None, None].expand(-1, 1, h, w)), 1)


AREAS = ("none", "coded", "all")
"""What of a frame is filtered, by the encoder's choice: nothing, the transforms that are not empty, or everything.
Where nothing is coded, the prediction has been filtered before; to do it again and again wears texture off."""


class SwiftFilter(TableModule):
    """(N, 54, h, w) as of filter_input -> (N, 24, h, w), corrections of cells in units of 2**-8 steps."""

    def __init__(self, width: int = 48, layers: int = 3) -> None:
        super().__init__()
        relu = {"low": 0, "high": HIDDEN_MAX}
        inputs = 2 * CELL + SIZE_AUX + 3
        out = {"low": -_OUTPUT_MAX, "high": _OUTPUT_MAX, "gain": 0.0}
        self.start = IntConv2d(inputs, width, 1, x_max=INPUT_MAX, **relu)
        self.middle = nn.ModuleList(IntConv2d(width, width, 3, x_max=HIDDEN_MAX, **relu) for _ in range(layers))
        self.direct = IntConv2d(inputs, CELL, 3, x_max=INPUT_MAX, **out)
        self.end = IntConv2d(width, CELL, 1, x_max=HIDDEN_MAX, **out)
        self.flag_distribution = TableDistribution(1, signed=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.start(x)
        for layer in self.middle:
            hidden = (hidden + layer(hidden)).clamp(max=HIDDEN_MAX)
        y = self.end(hidden) + self.direct(x)
        assert isinstance(y, Tensor)
        return y

    def code_area(self, coder: SymbolCoder, area: int | None) -> int:
        """Code which of AREAS is filtered (None when reading), two flags; returns it."""
        one = torch.ones(1, 1, 1, 1)
        for value in (1, 2):
            wanted = None if area is None else one * (area >= value)
            if not coder.symbols(wanted, one * _EVEN, one > 0, self.flag_distribution):
                return value - 1
        return 2


def corrected(decoded: Tensor, correction: Tensor, steps: Tensor) -> Tensor:
    """Cells with their correction: integers 0..255 in float64."""
    change = torch.floor(correction.double() * steps.double()[:, None, None, None] * 2.0**-_OUTPUT_SHIFT + 0.5)
    return (decoded + change).clamp(0, 255)
