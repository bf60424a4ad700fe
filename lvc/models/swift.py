"""The probabilities of swift: integer networks that tell how a block of coefficients will turn out.

A P frame is a prediction (exact integers) plus a residual of block DCT coefficients (lvc.ops.blockdct). What is
coded at each 8x8 position: first how far its coefficients reach (flags: none, the lowest group, ...), in three
interleaved passes that see their coded neighbours; then the coefficients themselves, group by group in order of
frequency, each group seeing the former ones and all flags. All networks see the transform of the prediction,
the former frame's coefficients where the motion points, the motion, and the quality. Everything is exact integer
arithmetic, so that every machine decodes the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lvc.entropy.distributions import TableDistribution, TableModule
from lvc.entropy.scales import N_SCALES
from lvc.entropy.symbols import SymbolCoder
from lvc.ops.blockdct import COEFFICIENTS, LUMA
from lvc.ops.gains import QualityTable
from lvc.ops.integer import IntConv2d
from lvc.ops.rounding import clamp_ste

LUMA_GROUPS = ((0, 3), (3, 10), (10, 28), (28, 64))
CHROMA_GROUPS = ((64, 66), (66, 96))
GROUPS = LUMA_GROUPS + CHROMA_GROUPS
N_FLAGS = len(GROUPS)
"""A flag a group: whether it or a later group of the same plane kind holds anything."""

CONTEXT_MAX = 63
HIDDEN_MAX = 127
AUX = 10
_REACH = 18


@dataclass
class SwiftContext:
    """What both sides know before the residual; integers in float32, (N, ., h, w) at 1/8 resolution.

    Attributes:
        prediction: (N, 96, h, w), magnitude_context of the prediction's transform.
        former: (N, 96, h, w), symbol_context of the former frame's symbols where the motion points.
        aux: (N, 10, h, w), see lvc.codecs.swiftframe: motion, transform size and the quality, 0..63.
        quality: (N,) integers 0..63.
    """

    prediction: Tensor
    former: Tensor
    aux: Tensor
    quality: Tensor


def log_magnitudes(count: int) -> npt.NDArray[np.uint8]:
    """round(8 * log2(1 + i)) for i = 0..count - 1, limited to 63: reached at 224, so larger numbers need no entry."""
    return np.minimum(CONTEXT_MAX, np.round(8.0 * np.log2(1.0 + np.arange(count)))).astype(np.uint8)


SYMBOL_CONTEXT = log_magnitudes(256)
_SYMBOL_CONTEXT = torch.from_numpy(SYMBOL_CONTEXT).float()


def symbol_context(symbols: Tensor) -> Tensor:
    """Integers -> log-magnitudes 0..63 (float32)."""
    return _SYMBOL_CONTEXT[symbols.abs().clamp(max=255).long()]


def flags_of(symbols: Tensor) -> Tensor:
    """Symbols (N, 96, h, w) -> (N, 6, h, w) of 0 and 1: flag k is set where group k or a later one is not empty."""
    filled = torch.stack([(symbols[:, a:b] != 0).any(1) for a, b in GROUPS], 1)
    n = len(LUMA_GROUPS)
    for k in (*range(n - 1, 0, -1), *range(N_FLAGS - 1, n, -1)):
        filled[:, k - 1] |= filled[:, k]
    return filled.float()


def _phases(h: int, w: int) -> Tensor:
    """(3, h, w) bool: a quarter of the positions, their diagonal neighbours, the rest."""
    i, j = torch.arange(h)[:, None] % 2, torch.arange(w)[None] % 2
    return torch.stack(((i == 0) & (j == 0), (i == 1) & (j == 1), i != j))


class _Fuse(nn.Module):
    """Sum of integer convolutions of several inputs, rectified: inputs of (channels, kernel, x_max)."""

    def __init__(self, inputs: list[tuple[int, int, int]], width: int) -> None:
        super().__init__()
        gain = len(inputs) ** -0.5
        self.parts = nn.ModuleList(IntConv2d(c, width, k, x_max=m, low=-2047, high=2047, gain=gain)
                                   for c, k, m in inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        total = sum(part(x) for part, x in zip(self.parts, inputs, strict=True))
        assert isinstance(total, Tensor)
        return total.clamp(0, HIDDEN_MAX)


class SwiftEntropy(TableModule):
    """Codes the symbols of a P frame, (N, 96, h, w)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.flag_distribution = TableDistribution(1, signed=False)
        self.distribution = TableDistribution(_REACH, signed=True)
        relu = {"low": 0, "high": HIDDEN_MAX}
        self.trunk = nn.Sequential(
            IntConv2d(2 * COEFFICIENTS + AUX, width, 1, x_max=CONTEXT_MAX, **relu),
            IntConv2d(width, width, 3, x_max=HIDDEN_MAX, **relu),
            IntConv2d(width, width, 1, x_max=HIDDEN_MAX, **relu))
        hidden = (width, 1, HIDDEN_MAX)
        self.flag_nets = nn.ModuleList(
            nn.Sequential(_Fuse([hidden] + [(N_FLAGS + 1, 3, CONTEXT_MAX)] * (p > 0), width))
            for p in range(3))
        self.flag_heads = nn.ModuleList(self._head(width, N_FLAGS) for _ in range(3))
        self.flag_base = nn.ModuleList(QualityTable(N_FLAGS, start=36.0) for _ in range(3))
        self.mix = _Fuse([hidden, (N_FLAGS, 3, CONTEXT_MAX)], width)
        self.group_nets = nn.ModuleList()
        self.group_heads = nn.ModuleList()
        for k, (a, b) in enumerate(GROUPS):
            inputs = [hidden, (2 * (b - a), 1, CONTEXT_MAX)]
            if channels := sum(d - c for c, d in _former_groups(k)):
                inputs.append((channels, 3, CONTEXT_MAX))
            self.group_nets.append(_Fuse(inputs, width))
            self.group_heads.append(self._head(width, b - a))
        self.base_index = QualityTable(COEFFICIENTS, start=20.0)

    @staticmethod
    def _head(width: int, outputs: int) -> IntConv2d:
        return IntConv2d(width, outputs, 1, x_max=HIDDEN_MAX, low=-1023, high=1023, gain=0.1)

    def forward(self, coder: SymbolCoder, symbols: Tensor | None, context: SwiftContext) -> Tensor:
        """Code symbols (None when reading); returns them.

        Args:
            symbols: (N, 96, h, w), integers in float32.
            context: of the same N, h, w.
        """
        quality = context.quality
        trunk = self.trunk(torch.cat((context.prediction, context.former, context.aux), 1))
        flags = self._flags(coder, None if symbols is None else flags_of(symbols), trunk, quality)
        mixed = self.mix(trunk, flags * CONTEXT_MAX)
        result = torch.zeros(len(quality), COEFFICIENTS, *trunk.shape[2:])
        known = torch.zeros_like(result)
        base = self.base_index.integers(quality)
        for k, (a, b) in enumerate(GROUPS):
            own = torch.cat((context.prediction[:, a:b], context.former[:, a:b]), 1)
            inputs = [mixed, own]
            if former := _former_groups(k):
                inputs.append(torch.cat([known[:, c:d] for c, d in former], 1))
            index = self.group_heads[k](self.group_nets[k](*inputs)) + base[:, a:b]
            mask = (flags[:, k : k + 1] > 0).expand(-1, b - a, -1, -1)
            value = coder.symbols(None if symbols is None else symbols[:, a:b],
                                  clamp_ste(index, 0, N_SCALES - 1), mask, self.distribution)
            result[:, a:b] = value
            known[:, a:b] = symbol_context(value)
        return result

    def _flags(self, coder: SymbolCoder, flags: Tensor | None, trunk: Tensor, quality: Tensor) -> Tensor:
        h, w = trunk.shape[2:]
        coded = torch.zeros(len(trunk), N_FLAGS, h, w)
        done = torch.zeros(1, 1, h, w)
        for p, phase in enumerate(_phases(h, w)):
            inputs = [trunk]
            if p:
                inputs.append(torch.cat((coded, done.expand(len(trunk), -1, -1, -1)), 1) * CONTEXT_MAX)
            index = self.flag_heads[p](self.flag_nets[p][0](*inputs)) + self.flag_base[p].integers(quality)
            index = clamp_ste(index, 0, N_SCALES - 1)
            here = phase.expand(len(trunk), 1, -1, -1)
            for k in range(N_FLAGS):
                first = k in (0, len(LUMA_GROUPS))
                mask = here if first else here & (coded[:, k - 1 : k] > 0)
                coded[:, k : k + 1] += coder.symbols(None if flags is None else flags[:, k : k + 1],
                                                     index[:, k : k + 1], mask, self.flag_distribution)
            done = done + phase
        return coded

    def freeze(self) -> None:
        super().freeze()
        for table in (*self.flag_base, self.base_index):
            table.freeze()


def _former_groups(k: int) -> tuple[tuple[int, int], ...]:
    """The groups whose symbols the network of group k sees, in a neighbourhood of 3x3."""
    if k < len(LUMA_GROUPS):
        return GROUPS[max(0, k - 2) : k]
    return (GROUPS[0], GROUPS[1]) if k == len(LUMA_GROUPS) else (GROUPS[1], GROUPS[k - 1])


assert [GROUPS[0][0], GROUPS[len(LUMA_GROUPS)][0], GROUPS[-1][1]] == [0, LUMA, COEFFICIENTS]
