"""How swift codes which size of transform each block has: a quad-tree of squares of 32, 16 and 8 luma samples.

First, for every 32x32 square that lies within the picture, whether it is one transform; then the same for the
16x16 squares of the others. Each level in two passes, a checkerboard, so that the second sees its four neighbours.
A small integer network sees the transform of the prediction, the motion and the former frame's sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvc.entropy.distributions import TableDistribution, TableModule
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import SymbolCoder
from lvc.models.swift import LUMA_GROUPS, SwiftContext
from lvc.ops.blockdct import LUMA
from lvc.ops.integer import IntConv2d
from lvc.ops.rounding import clamp_ste

LEVELS = (32, 16)
_MAX = 63
_HIDDEN = 127
_FEATURES = 4 + 4 + 4 + 2 + 2 + 2 + 5
_SUM_SHIFTS = (2, 3, 5, 6)
"""Of the sums over the channels of each group of luma coefficients."""


class SwiftSizes(TableModule):
    """Codes a map of transform sizes."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        relu = {"low": 0, "high": _HIDDEN}
        self.joins = nn.Sequential(IntConv2d(_FEATURES, width, 1, x_max=_MAX, **relu),
                                   IntConv2d(width, width, 1, x_max=_HIDDEN, **relu),
                                   IntConv2d(width, 1, 1, x_max=_HIDDEN, low=-1023, high=1023, gain=0.1))
        self.flag_distribution = TableDistribution(1, signed=False)

    def forward(self, coder: SymbolCoder, sizes: Tensor | None, context: SwiftContext, motion_sizes: Tensor,
                former_sizes: Tensor | None) -> Tensor:
        """Code sizes (None when reading); returns them, (N, 1, h, w).

        Args:
            coder: counts, writes or reads.
            sizes: (N, 1, h, w) of 8, 16 and 32, float32; a quad-tree, of squares within the picture only.
            context: of the residual if all transforms were 8x8.
            motion_sizes: (N, 1, h, w), squares of the motion, 8, 16 and 32.
            former_sizes: (N, 1, h, w), the former frame's; None after an I frame.
        """
        n, _, h, w = context.prediction.shape
        result = torch.full((n, 1, h, w), 8.0)
        if former_sizes is None:
            former_sizes = torch.zeros_like(result)
        open_ = torch.ones(n, 1, h, w, dtype=torch.bool)
        for level, size in enumerate(LEVELS):
            f = size // 8
            rows, columns = h // f, w // f
            if not rows or not columns:
                continue
            area = (slice(None), slice(None), slice(0, rows * f), slice(0, columns * f))
            fixed = self._features(context, motion_sizes, former_sizes, f, level)
            todo = open_[area][..., ::f, ::f]
            coded = torch.zeros(n, 1, rows, columns)
            done = torch.zeros(1, 1, rows, columns)
            black = ((torch.arange(rows)[:, None] + torch.arange(columns)[None]) % 2 == 0)[None, None]
            wanted = None if sizes is None else (sizes[area][..., ::f, ::f] == size).float()
            for p, phase in enumerate((black, ~black)):
                value = coder.symbols(wanted, self._index(fixed, p, coded, done), todo & phase,
                                      self.flag_distribution)
                coded = coded + value
                done = done + phase
            chosen = (coded > 0).repeat_interleave(f, 2).repeat_interleave(f, 3)
            result[area] = torch.where(chosen, float(size), result[area])
            open_[area] &= ~chosen
        return result

    def _index(self, fixed: Tensor, phase: int, coded: Tensor, done: Tensor) -> Tensor:
        near = torch.cat([c - n for c, n in zip(_neighbours(coded), _neighbours(done - coded))], 1)
        features = torch.cat((fixed, torch.full_like(fixed[:, :1], phase * _MAX), near * _MAX), 1)
        return clamp_ste(self.joins(features) + 36.0, 0, N_SCALES - 1)

    def flag_bits(self, size: int, context: SwiftContext, motion_sizes: Tensor,
                  former_sizes: Tensor | None) -> Tensor:
        """About how many bits the flags of a level are: (N, 2, h/f, w/f), of 0 and of 1. For the encoder's choices."""
        if former_sizes is None:
            former_sizes = torch.zeros_like(motion_sizes)
        fixed = self._features(context, motion_sizes, former_sizes, size // 8, LEVELS.index(size))
        index = self._index(fixed, 0, torch.zeros_like(fixed[:, :1]), torch.zeros_like(fixed[:, :1]))
        return self.flag_distribution.flag_bits(index[:, 0]).movedim(0, 1)

    @staticmethod
    def _features(context: SwiftContext, motion_sizes: Tensor, former_sizes: Tensor, f: int, level: int) -> Tensor:
        n, _, h, w = motion_sizes.shape
        rows, columns = h // f, w // f

        def mean(x: Tensor) -> Tensor:
            blocks = x[..., : rows * f, : columns * f].unflatten(2, (rows, f)).unflatten(4, (columns, f))
            return torch.floor(blocks.sum((3, 5)) * (1.0 / f**2))

        parts = []
        for source in (context.prediction[:, :LUMA], context.former[:, :LUMA]):
            parts += [torch.floor(mean(source[:, a:b].sum(1, keepdim=True)) * 2.0**-shift)
                      for (a, b), shift in zip(LUMA_GROUPS, _SUM_SHIFTS)]
        parts.append(mean(context.aux[:, [1, 4, 5, 6]]))
        parts += [mean(motion_sizes), mean(former_sizes)]
        constant = torch.full((n, 1, rows, columns), _MAX * level)
        quality = context.quality.float()[:, None, None, None].expand(-1, 1, rows, columns)
        more = [(mean(former_sizes) >= size) * float(_MAX) for size in LEVELS]
        return torch.cat([*parts, *more, constant, quality], 1).clamp(0, _MAX)


def _neighbours(x: Tensor) -> tuple[Tensor, ...]:
    padded = F.pad(x, (1, 1, 1, 1))
    return padded[..., :-2, 1:-1], padded[..., 2:, 1:-1], padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
