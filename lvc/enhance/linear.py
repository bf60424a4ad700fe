"""The classical enhancer: pictures between two others by block motion between these two.

A block of the picture between is where motion in a straight line takes content from one to the other: it is
predicted by the mean of both. Vectors are found by block search between the two pictures in both directions, of which
each block takes, of what was found at its place and around it, what makes both predictions agree best (bilateral
matching, as by Choi et al., "Motion-compensated frame interpolation using bilateral motion estimation and adaptive
overlapped block motion compensation", IEEE Trans. CSVT 17(4), 2007). All in integers, so that it is the same on every
machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.enhance.neighbours import Planes
from lvc.ops.blockmotion import BLOCK, MAX_LAGRANGIAN, Field, Second, disagreement, predict, search
from lvc.ops.resample import upscale
from lvc.types import Frame

_LAGRANGIAN = 3.0
"""SATD a bit of motion is worth, relative to the level of coding errors: more than for a prediction that is coded, for
what counts is the true motion."""

_ROUNDS = 1
_AROUND = ((0, -1), (0, 1), (-1, 0), (1, 0))

Array = npt.NDArray[Any]


def enlarged(frame: Frame, width: int, height: int, halves: int) -> Frame:
    """A frame of the given size out of one reduced by ``halves`` / 2 (see lvc.ops.resample); the pts stays."""
    half = (height + 1) // 2, (width + 1) // 2
    return Frame(upscale(frame.y, height, width, halves), upscale(frame.u, *half, halves),
                 upscale(frame.v, *half, halves), frame.pts)


def between(first: Planes, second: Planes, level: float, threads: int = 1) -> Planes:
    """The picture halfway between two pictures.

    Args:
        first, second: Y uint8 [H, W], U and V uint8 [ceil(H / 2), ceil(W / 2)].
        level: root mean squared coding error of their luma.
        threads: of the search; the result does not depend on it.
    """
    motion = bilateral(first[0], second[0], min(_LAGRANGIAN * level, MAX_LAGRANGIAN), threads)
    back, forth = halves(motion)
    both = np.ones(motion.shape[1:], np.bool_)
    return predict(first, back, second=Second(second, forth, both))


def halves(motion: Field) -> tuple[Field, Field]:
    """Vectors of a picture halfway (into the first, into the second), for those from the first to the second."""
    back = -(motion >> 1)
    return back.astype(np.int16), (motion + back).astype(np.int16)


def bilateral(first: Array, second: Array, lagrangian: float, threads: int = 1) -> Field:
    """Motion from the first to the second luma plane, at the blocks of the picture halfway.

    Returns:
        int16 [2, ceil(H / 8), ceil(W / 8)], in quarters of a sample.
    """
    forward = search(first, second, lagrangian, effort=0, threads=threads).vectors
    backward = search(second, first, lagrangian, effort=0, threads=threads).vectors
    one, two = _whole_blocks(first), _whole_blocks(second)

    def cost(motion: Field) -> Array:
        back, forth = halves(motion)
        return _box(disagreement(one, back, two, forth))

    opposite = _negative(backward)
    best = np.zeros_like(forward)
    least = cost(best)
    for candidate in (forward, opposite, _passing(forward, -1), _passing(opposite, 1)):
        _take(best, least, candidate, cost(candidate))
    for _ in range(_ROUNDS):
        for dy, dx in _AROUND:
            candidate = _moved(best, dy, dx)
            _take(best, least, candidate, cost(candidate))
    return best


def _take(best: Field, least: Array, candidate: Field, found: Array) -> None:
    better = found < least
    best[:, better] = candidate[:, better]
    least[better] = found[better]


def _negative(field: Field) -> Field:
    return np.maximum(-field.astype(np.int32), -2**15).clip(max=2**15 - 1).astype(np.int16)


def _passing(field: Field, sign: int) -> Field:
    """The vectors of the blocks that half of each block's own vector leads back to."""
    _, h, w = field.shape
    blocks = (sign * (field.astype(np.int32) >> 1) + 2 * BLOCK) >> 5  # from quarters of a sample
    rows = np.clip(np.arange(h)[:, None] + blocks[1], 0, h - 1)
    columns = np.clip(np.arange(w)[None] + blocks[0], 0, w - 1)
    return np.ascontiguousarray(field[:, rows, columns])


def _moved(field: Field, dy: int, dx: int) -> Field:
    """Each block's neighbour's vector; at the edge the block's own."""
    _, h, w = field.shape
    rows, columns = np.clip(np.arange(h) + dy, 0, h - 1), np.clip(np.arange(w) + dx, 0, w - 1)
    return np.ascontiguousarray(field[:, rows[:, None], columns[None]])


def _box(costs: Array) -> Array:
    """Sums over 3x3 blocks, the middle one counted four times."""
    wide = np.pad(costs, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    total: Array = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 3 * costs
    return total


def _whole_blocks(plane: Array) -> Array:
    height, width = plane.shape
    pad = (0, -height % BLOCK), (0, -width % BLOCK)
    return np.ascontiguousarray(np.pad(plane, pad, mode="edge"))
