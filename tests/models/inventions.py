"""Symbols and motion made up for the tests of swift's networks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvc.entropy.distributions import TableDistribution

Field = tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]


class Draw:
    """A coder that invents symbols as their distributions have it, so that they cost what they should."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def symbols(self, value: Tensor | None, index: Tensor, mask: Tensor, distribution: TableDistribution) -> Tensor:
        weights = torch.softmax(distribution.logits.detach(), 1)[index[mask].long()]
        result = torch.zeros(mask.shape)
        if len(weights):
            drawn = torch.multinomial(weights, 1, generator=self._generator)[:, 0].float()
            if distribution.signed:
                drawn *= torch.randint(0, 2, drawn.shape, generator=self._generator) * 2 - 1
            result[mask] = drawn if distribution.signed else drawn.clamp(max=1)
        return result


def tree_field(shape: tuple[int, int], seed: int, reach: int = 40, split: tuple[float, float] = (0.5, 0.5),
               patterns: list[int] | None = None) -> Field:
    """A random quad-tree with vectors that repeat now and then; or one of pattern p (0..16) a 32x32 square.

    Pattern 0 is not split; pattern 1 + bits is split, the quarters that bits tell once more.
    """
    rng = np.random.default_rng(seed)
    h, w = shape
    field, sizes = np.zeros((2, h, w), np.int16), np.zeros(shape, np.uint8)

    def fill(y: int, x: int, side: int, pattern: int | None) -> None:
        if y >= h or x >= w:
            return
        divide = rng.random() < split[0 if side == 4 else 1] if pattern is None else pattern > 0
        if side > 1 and divide:
            for k, (a, b) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
                below = None if pattern is None else (pattern - 1) >> k & 1 if side == 4 else 0
                fill(y + a * side // 2, x + b * side // 2, side // 2, below)
            return
        vector = rng.integers(-reach, reach + 1, 2)
        if rng.random() < 0.6:
            vector = field[:, max(y - 1, 0), max(x - 1, 0)]
        field[:, y : y + side, x : x + side] = vector[:, None, None]
        sizes[y : y + side, x : x + side] = 8 * side

    for number, (y, x) in enumerate((y, x) for y in range(0, h, 4) for x in range(0, w, 4)):
        fill(y, x, 4, None if patterns is None else patterns[number])
    return field, sizes
