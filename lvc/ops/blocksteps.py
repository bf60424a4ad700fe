"""Quantization steps that differ by block and by coefficient, in exact integers: what lvc.ops.blocktransform does with
one step for all, for models that measure errors relative to what is around them.

MS-SSIM divides errors by the local variance, and most of its weight lies on scales that lack the finest frequencies. So
a block may be coded by a coarser step the livelier its prediction is, which the decoder knows: no side information.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lvc.ops.blockdct import COEFFICIENTS, quantizer_step, zigzag
from lvc.ops.blockmotion import BLOCK
from lvc.ops.blocktransform import Coefficients, Planes, Positions, inverse_into, magnitudes_by
from lvc.ops.gains import STEP_DECAY
from lvc.types import MAX_QUALITY, Plane

FLAT = 16
"""Relative steps are in units of 2**-4."""

CONTEXT_STEPS = 9, 2048
"""As contexts, predictions are seen relative to steps limited to this range, in sixteenths."""


_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, from the finest on."""

_FLOOR, _MEDIUM = 4.0, 81.0
"""Variances: what is added to that of a block, and where steps are those of the frame's quality."""

_FINEST, _COARSEST = 8, -16
"""Qualities of blocks relative to that of the frame, at most and at least."""


@dataclass(frozen=True)
class StepRule:
    """How steps follow from a prediction. All numbers are integers: every machine must come to the same.

    Attributes:
        finest: what blocks without any activity are coded finer by, as a difference of qualities.
        thresholds: rising activities (:func:`activity`); each that a block reaches takes one from its quality.
        relative: (96,) steps of the coefficients (lvc.ops.blockdct) in sixteenths of a block's luma step.
    """

    finest: int
    thresholds: tuple[int, ...]
    relative: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.thresholds, self.thresholds[1:]))
        if not rising or len(self.relative) != COEFFICIENTS or min(self.relative) < 1 or max(self.relative) > 255:
            raise ValueError("thresholds must rise, and there must be 96 relative steps of 1 to 255")


def ms_ssim_rule(strength: float, contrast: float, chroma: float) -> StepRule:
    """A rule for MS-SSIM (Wang, Simoncelli and Bovik, Asilomar 2003), whose numbers are then kept with the weights.

    Args:
        strength: blocks of variance v have steps in proportion to ((v + _FLOOR) / _MEDIUM) ** (strength / 2).
        contrast: coefficients have steps in proportion to w ** -contrast, w being the weight of all scales of the
            measure that an error of that frequency is seen on, relative to the lowest one.
        chroma: steps of the lowest frequencies of chroma relative to luma.
    """
    taken = range(_FINEST - _COARSEST)
    variances = [_MEDIUM * 2 ** ((n + 0.5 - _FINEST) * 2 / (STEP_DECAY * strength)) - _FLOOR for n in taken]
    thresholds = tuple(round(v * 2**16) for v in variances if v > 0)
    lowest = _visibility(0, 1)

    def step(scale: float, row: int, column: int) -> int:
        return round(FLAT * scale * min(1.0, _visibility(row, column) / lowest) ** -contrast)

    luma = [step(1.0, *divmod(p, 8)) for p in zigzag(8)]
    uv = [step(chroma, *divmod(p, 4)) for p in zigzag(4) for _ in "uv"]
    return StepRule(_FINEST - len(taken) + len(thresholds), thresholds, (*luma, *uv))


def _visibility(row: int, column: int) -> float:
    """Weight of an error in a coefficient of an 8x8 DCT: over all scales, each made of means over 2x2."""
    power, vertical, horizontal, total = 1.0, row / 16, column / 16, 0.0
    for weight in _SCALE_WEIGHTS:
        total += weight * power
        power *= (math.cos(math.pi * vertical) * math.cos(math.pi * horizontal)) ** 2
        vertical, horizontal = 2 * vertical, 2 * horizontal
    return total


def activity(luma: Plane) -> npt.NDArray[np.int64]:
    """Variance about each 8x8 block of a plane of whole blocks, times 2**16: (h, w).

    Of each block 64 * sum(x**2) - sum(x)**2, 2**12 times its variance; of these a sum over 3x3 blocks, weighted
    1 2 1 either way. Blocks at the border are repeated outside of it.
    """
    h, w = (n // BLOCK for n in luma.shape)
    x = luma.astype(np.int64).reshape(h, BLOCK, w, BLOCK)
    own = BLOCK**2 * np.square(x).sum((1, 3)) - np.square(x.sum((1, 3)))
    padded = np.pad(own, 1, "edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


class BlockSteps:
    """The steps of a frame.

    Args:
        rule: of the model.
        luma: of the prediction, of whole blocks, the same on every machine.
        quality: of the frame, 0..63.

    Attributes:
        qualities: of the blocks, uint8 (h, w), 0..63.
    """

    def __init__(self, rule: StepRule, luma: Plane, quality: int) -> None:
        taken = np.searchsorted(np.array(rule.thresholds, np.int64), activity(luma), side="right")
        self.qualities = np.clip(quality + rule.finest - taken, 0, MAX_QUALITY).astype(np.uint8)
        self._relative = np.array(rule.relative, np.int32)

    def steps(self, quality: int) -> npt.NDArray[np.int32]:
        """(96,) steps of the coefficients of a block, in units of 2**-4 of the 8-bit scale."""
        return np.maximum(1, (quantizer_step(quality) * self._relative + FLAT // 2) // FLAT).astype(np.int32)

    def _levels(self) -> Iterator[tuple[Positions, npt.NDArray[np.int32]]]:
        flat = self.qualities.ravel()
        for quality in np.unique(flat):
            yield np.flatnonzero(flat == quality).astype(np.int32), self.steps(int(quality))

    def reconstruct(self, prediction: Planes, symbols: npt.NDArray[np.int16], threads: int = 1) -> Planes:
        """As of lvc.ops.blocktransform, all transforms 8x8."""
        y, u, v = prediction
        out = np.empty_like(y), np.empty_like(u), np.empty_like(v)
        for blocks, steps in self._levels():
            inverse_into(out, prediction, symbols, steps, blocks, threads)
        return out

    def magnitude_context(self, coefficients: Coefficients, threads: int = 1) -> npt.NDArray[np.uint8]:
        """As of lvc.ops.blocktransform."""
        rows = coefficients.reshape(-1, COEFFICIENTS)
        out = np.empty(rows.shape, np.uint8)
        for blocks, steps in self._levels():
            limited = np.clip(steps, *CONTEXT_STEPS)
            out[blocks] = magnitudes_by(np.ascontiguousarray(rows[blocks])[None], limited, threads)[0]
        return out.reshape(coefficients.shape)

    def error(self, planes: Planes, wanted: Planes) -> float:
        """Sum of squared errors relative to the blocks' steps; for the encoder only.

        A sample of chroma stands for four of RGB, whose errors are about as large as one of luma makes them.
        """
        (h, w), total = self.qualities.shape, 0.0
        weight = np.exp2(self.qualities * (2 / STEP_DECAY))
        for plane, other, side, share in zip(planes, wanted, (8, 4, 4), (1.0, 4.0, 4.0)):
            squares = np.square(plane.astype(np.int32) - other).reshape(h, side, w, side).sum((1, 3))
            total += share * float((squares * weight).sum())
        return total
