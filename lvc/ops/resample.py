"""Bicubic resampling of planes by 1, 1.5 and 2. Works on numpy.

Scales are counted in halves: 2, 3 and 4. Sample x of a plane lies at (x + 1/2) times the scale, less 1/2, of the larger
one, whatever the sizes: so what is not divisible is cut at the right and bottom, and outside of a plane its nearest
sample counts. Upscaling is exact in integers, so that it is the same on every machine.

The kernel is that of Keys ("Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29(6),
1981), a = -1/2; for downscaling it is stretched by the scale, so that little folds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.errors import UsageError
from lvc.types import Plane

SCALES = (2, 3, 4)
"""Halves."""

_WEIGHTS = {2: ((0, 128, 0, 0),),
            3: ((-2, 17, 120, -7), (-8, 72, 72, -8), (-7, 120, 17, -2)),
            4: ((-3, 29, 111, -9), (-9, 111, 29, -3))}
"""In 1/128: for sample x of a larger plane, entry x mod (number of entries) weights four samples of the smaller one."""

_SHIFT = 14

Array = npt.NDArray[Any]


def reduced_size(size: int, halves: int) -> int:
    """Samples of a smaller line that stands for ``size`` samples: size / scale, rounded up. Raises UsageError."""
    _check(halves)
    return -(-2 * size // halves)


def upscale(plane: Plane, height: int, width: int, halves: int) -> Plane:
    """A larger plane.

    Args:
        plane: uint8 [h, w].
        height, width: of the result.
        halves: twice the scale: 2, 3 or 4.

    Returns:
        uint8 [height, width]. At scale 1 and the same size, the plane itself.

    Raises:
        UsageError: another scale.
    """
    _check(halves)
    if halves == 2 and plane.shape == (height, width):
        return plane
    wide = np.zeros((plane.shape[0], width), np.int32)
    index, weights = _up(width, plane.shape[1], halves)
    source = plane.astype(np.int32)
    for k in range(4):
        wide += source[:, index[k]] * weights[k]
    total = np.full((height, width), 1 << (_SHIFT - 1), np.int32)
    index, weights = _up(height, plane.shape[0], halves)
    for k in range(4):
        total += wide[index[k]] * weights[k][:, None]
    return np.clip(total >> _SHIFT, 0, 255).astype(np.uint8)


def downscale(plane: Plane, height: int, width: int, halves: int) -> Plane:
    """A smaller plane: the same with the inverse of the scale. In floating point."""
    _check(halves)
    if halves == 2 and plane.shape == (height, width):
        return plane
    index, weights = _down(width, plane.shape[1], halves)
    source = plane.astype(np.float32)
    narrow = sum(source[:, i] * w for i, w in zip(index, weights))
    index, weights = _down(height, plane.shape[0], halves)
    total: Array = np.asarray(sum(narrow[i] * w[:, None] for i, w in zip(index, weights)))
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)


@lru_cache(64)
def _up(size: int, available: int, halves: int) -> tuple[Array, Array]:
    """Four samples for each of ``size`` and their weights, int [4, size]."""
    x = np.arange(size)
    first = (4 * x + 2 - halves) // (2 * halves) - 1
    weights = np.array(_WEIGHTS[halves], np.int32)[x % len(_WEIGHTS[halves])].T
    return np.clip(first + np.arange(4)[:, None], 0, available - 1), np.ascontiguousarray(weights)


@lru_cache(64)
def _down(size: int, available: int, halves: int) -> tuple[Array, Array]:
    """The samples under the stretched kernel for each of ``size`` and their weights, [taps, size]."""
    scale = halves / 2
    centre = (np.arange(size) + 0.5) * scale - 0.5
    reach = 2 * halves // 2
    index = np.floor(centre).astype(np.int64) + np.arange(1 - reach, reach + 1)[:, None]
    weights = _keys((index - centre) / scale)
    return np.clip(index, 0, available - 1), (weights / weights.sum(0)).astype(np.float32)


def _keys(x: Array) -> Array:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _check(halves: int) -> None:
    if halves not in SCALES:
        raise UsageError(f"planes are scaled by 1, 1.5 or 2, not {halves / 2:g}")
