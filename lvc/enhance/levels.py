"""Levels of coding errors, as streams tell them."""

from __future__ import annotations

import math

LEVELS = 16
"""Levels that a stream can tell, 0 the largest error."""

_LEAST, _PER_OCTAVE = 0.3, 2.5


def level_of_index(index: int) -> float:
    """Root mean squared error, of values 0..255, that a level 0..15 stands for: 0.3 * 2**((15 - index) / 2.5)."""
    return _LEAST * 2.0 ** ((LEVELS - 1 - index) / _PER_OCTAVE)


def index_of_level(level: float) -> int:
    """The nearest level 0..15 to a root mean squared error of 0 or more."""
    octaves = math.log2(max(level, _LEAST) / _LEAST)
    return LEVELS - 1 - min(LEVELS - 1, round(octaves * _PER_OCTAVE))
