"""Filters of decoded frames whose coefficients come with the stream.

A filtered sample is the decoded one plus a weighted sum of terms: differences between samples around it (in its own
plane, in those of the motion-compensated neighbours, in the other planes) and it, each as it is and limited to two
ranges; and what a network proposes, likewise. The encoder finds the weights that bring a group of frames nearest to
their originals (lvc.enhance.adaptivefit). Blocks of 8x8 luma samples fall into nine classes, by activity and by change
between frames, which may have weights of their own. In each block, filters lie as its structures do: transposed,
mirrored, or both.

After the adaptive loop filter of VVC with its clipping and its transformations (Karczewicz et al., "VVC in-loop
filters", IEEE Trans. CSVT 31(10), 2021), here behind the decoder, over time, and beside a network. All in integers but
for the proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc import _filters
from lvc.enhance.levels import LEVELS, level_of_index
from lvc.types import Plane

Planes = tuple[Plane, Plane, Plane]
Array = npt.NDArray[Any]
Term = tuple[int, int, int, list[tuple[int, int, int]]]
"""Of a filter: plane that is subtracted (-1: none), limits, places as (plane, dy, dx)."""

WAYS: int = _filters.WAYS
"""Coefficients of a term: for its differences as they are, limited narrowly, limited widely."""

VALUE: int = 1 << _filters.VALUE_BITS
"""What a sample's unit counts in values."""

COEFFICIENT: int = 1 << _filters.COEFFICIENT_BITS
"""What a coefficient of 1 is in integers."""

MAX_COEFFICIENT: int = _filters.MAX_COEFFICIENT

LUMA_PROPOSALS, CHROMA_PROPOSALS = 3, 1
"""Planes that a network proposes, for luma and for each chroma plane."""

CLASSES = 9

ORIENTATIONS = 4

PARTITIONS = (np.zeros(CLASSES, np.uint8), np.repeat(np.arange(3, dtype=np.uint8), 3),
              np.arange(CLASSES, dtype=np.uint8))
"""Ways to share coefficients among classes: all; those of like activity; none."""

_LUMA_SIDE, _CHROMA_SIDE = 8, 4

NARROW, WIDE = 0.7, 2.0
_ACTIVITY, _CHANGE = (1.0, 4.0), (0.25, 0.7)
"""Limits, in units of a frame's level."""

_CHROMA_FACTOR, _CHROMA_POWER = 0.85, 0.65

_CROSS = ((0, 1), (1, 0))
_RING = (*_CROSS, (1, 1), (1, -1))
_DIAMOND = (*_RING, (0, 2), (2, 0))
_SQUARE = (*_DIAMOND, (1, 2), (2, 1), (1, -2), (2, -1), (2, 2), (2, -2))

# planes of a filter, in this order; chroma has the halved luma and the other chroma plane, too
_FRAME, _BEFORE, _AFTER, _EARLY, _LATE, _LUMA, _OTHER = range(7)

_TIME = 2 * (1 + len(_CROSS))
N_LUMA = WAYS * (len(_SQUARE) + _TIME + LUMA_PROPOSALS)
N_CHROMA = WAYS * (len(_DIAMOND) + _TIME + len(_DIAMOND) + len(_RING) + CHROMA_PROPOSALS)
"""Coefficients of a class."""

KMAC_PER_PIXEL = (N_LUMA + 2 * N_CHROMA / 4) / 1000.0
"""Thousands of multiply-adds a luma sample."""


@dataclass(frozen=True, eq=False)
class Views:
    """What the filters of a frame see.

    Attributes:
        frame, before, after: decoded planes; the neighbours are motion-compensated, or the frame itself.
        index: of the frame's level (lvc.enhance.levels).
        proposals: for Y, U and V: int16 [k, h, w], in sixteenths of a sample, what a network would add; None without.
        further: like the neighbours, the frames two before and two behind; None: the frame itself stands in.
    """

    frame: Planes
    before: Planes
    after: Planes
    index: int
    proposals: tuple[Array, Array, Array] | None
    further: tuple[Planes, Planes] | None = None

    @property
    def classes(self) -> Array:
        """Of the blocks of 8x8 luma samples, uint8 [ceil(H / 8), ceil(W / 8)], 0..8."""
        activity, change = _class_limits(self.index)
        return _filters.classify(self.frame[0], self.before[0], self.after[0], activity, change)

    @cached_property
    def orientations(self) -> Array:
        """How filters lie in the blocks of 8x8 luma samples, uint8 [ceil(H / 8), ceil(W / 8)]: 1 for those that change
        more from line to line than from column to column: transposed; plus 2 for those that change more from top right
        to bottom left than across that: mirrored before that."""
        return _filters.orient(self.frame[0])

    def features(self, plane: int, blocks: Array) -> Array:
        """Terms at whole blocks (int32 numbers, in rows) of a plane: float32 [n, samples], in samples' units.

        Proposals come last; without them there are fewer.
        """
        planes, terms, side = self._filter(plane)
        return _filters.features(planes, terms, blocks, side) / np.float32(VALUE)

    def places(self, plane: int) -> Array:
        """By orientation of a block, which of its features each coefficient weighs: int64 [ORIENTATIONS, n]."""
        return _places(len(self._filter(plane)[1]), plane > 0)

    def filtered(self, plane: int, classes: Array, coefficients: Array, threads: int = 1) -> Plane:
        """A plane, filtered.

        Args:
            plane: 0..2 for Y, U and V.
            classes: a number of a row of coefficients for each block.
            coefficients: int16 [k, N_LUMA or N_CHROMA], in 1 / COEFFICIENT.
            threads: the result does not depend on it.
        """
        planes, terms, side = self._filter(plane)
        count = WAYS * len(terms)
        used = np.empty((len(coefficients), ORIENTATIONS, count), np.int16)
        for orientation, places in enumerate(_places(len(terms), plane > 0)):
            used[:, orientation, places] = coefficients[:, :count]
        rows = (ORIENTATIONS * classes + self.orientations).astype(np.uint8)
        return _filters.apply(self.frame[plane], planes, terms, rows, side, used.reshape(-1, count), threads)

    def _filter(self, plane: int) -> tuple[list[Array], list[Term], int]:
        early, late = self.further or (self.frame, self.frame)
        planes: list[Array] = [self.frame[plane], self.before[plane], self.after[plane], early[plane], late[plane]]
        if plane:
            planes += [_filters.halve(self.frame[0]), self.frame[3 - plane]]
        terms = _terms(self.index, plane > 0)
        if self.proposals is None:
            terms = terms[:-(CHROMA_PROPOSALS if plane else LUMA_PROPOSALS)]
        else:
            planes += list(self.proposals[plane])
        return planes, terms, block_side(plane)


def block_side(plane: int) -> int:
    """Samples of a plane along a side of a block."""
    return _CHROMA_SIDE if plane else _LUMA_SIDE


def chroma_unit(level: float) -> float:
    """Typical chroma error for a luma error: 0.85 level^0.65 (SVT-AV1 and x265 on training clips)."""
    return float(_CHROMA_FACTOR * level**_CHROMA_POWER)


def _limits(unit: float) -> tuple[int, int]:
    return round(VALUE * NARROW * unit), round(VALUE * WIDE * unit)


@lru_cache(LEVELS)
def _class_limits(index: int) -> tuple[list[int], list[int]]:
    level = level_of_index(index)
    activity, change = ([round(VALUE * part * level) for part in parts] for parts in (_ACTIVITY, _CHANGE))
    return activity, change


@lru_cache(2 * LEVELS)
def _terms(index: int, chroma: bool) -> list[Term]:
    level = level_of_index(index)
    luma = _limits(level)
    own = _limits(chroma_unit(level)) if chroma else luma

    def around(plane: int, places: Sequence[tuple[int, int]], limits: tuple[int, int]) -> list[Term]:
        """A term for each pair of opposite places."""
        return [(plane, *limits, [(plane, dy, dx), (plane, -dy, -dx)]) for dy, dx in places]

    terms = around(_FRAME, _DIAMOND if chroma else _SQUARE, own)
    for one, two in ((_BEFORE, _AFTER), (_EARLY, _LATE)):
        terms.append((_FRAME, *own, [(one, 0, 0), (two, 0, 0)]))
        terms += [(_FRAME, *own, [(plane, k * dy, k * dx) for plane in (one, two) for k in (1, -1)])
                  for dy, dx in _CROSS]
    if chroma:
        terms += around(_LUMA, _DIAMOND, luma) + around(_OTHER, _RING, own)
    first = _OTHER + 1 if chroma else _LUMA
    for k in range(CHROMA_PROPOSALS if chroma else LUMA_PROPOSALS):
        terms.append((-1, *own, [(first + k, 0, 0)]))
    return terms


@lru_cache(4)
def _places(n_terms: int, chroma: bool) -> Array:
    """By orientation, which of the sums of the terms of a block each coefficient weighs: int64 [4, WAYS * n_terms]."""
    terms = _terms(0, chroma)[:n_terms]
    keys = [frozenset(places) for _, _, _, places in terms]
    found = np.zeros((ORIENTATIONS, len(terms), WAYS), np.int64)
    for orientation in range(ORIENTATIONS):
        for number, (_, _, _, places) in enumerate(terms):
            own = keys.index(frozenset(_turned(*place, orientation) for place in places))
            found[orientation, number] = WAYS * own + np.arange(WAYS)
    return found.reshape(ORIENTATIONS, -1)


def _turned(plane: int, dy: int, dx: int, orientation: int) -> tuple[int, int, int]:
    """Where a place of a filter is in a block of an orientation."""
    if orientation & 2:
        dy = -dy
    return (plane, dx, dy) if orientation & 1 else (plane, dy, dx)
