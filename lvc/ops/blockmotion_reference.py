"""Block motion compensation in plain numpy: what :func:`lvc.ops.blockmotion.predict` computes, to be read.

Every sample is computed on its own, with a dense field of one vector a sample, so there are no block edges,
borders or special cases here. All arithmetic is int64; right shifts round down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.ops.blockmotion import BLOCK, Field, Second
from lvc.types import Plane

Ints = npt.NDArray[np.int64]

LUMA_FILTER = np.array([  # by quarters of a sample; taps at positions -3 to 4
    [0, 0, 0, 64, 0, 0, 0, 0],
    [-1, 4, -10, 58, 17, -5, 1, 0],
    [-1, 4, -11, 40, 40, -11, 4, -1],
    [0, 1, -5, 17, 58, -10, 4, -1],
])

CHROMA_FILTER = np.array([  # by eighths of a sample; taps at positions -1 to 2
    [0, 64, 0, 0],
    [-2, 58, 10, -2],
    [-4, 54, 16, -2],
    [-6, 46, 28, -4],
    [-4, 36, 36, -4],
    [-4, 28, 46, -6],
    [-2, 16, 54, -4],
    [-2, 10, 58, -2],
])

# Weights in sixteenths of the later of two neighbouring blocks, at the samples from centre to centre.
LATER_WEIGHT = {
    ("linear", 8): [1, 3, 5, 7, 9, 11, 13, 15],
    ("linear", 4): [2, 6, 10, 14],
    ("cosine", 8): [0, 1, 4, 6, 10, 12, 15, 16],
    ("cosine", 4): [1, 5, 11, 15],
}


def expand(vectors: Field, height: int, width: int, block: int = BLOCK) -> Ints:
    """One vector a sample: int16 [n, rows, columns] of blocks -> [n, height, width]."""
    dense = vectors.astype(np.int64).repeat(block, axis=1).repeat(block, axis=2)
    return dense[:, :height, :width]


def interpolate(plane: Plane, dense: Ints, filters: npt.NDArray[Any]) -> Ints:
    """Sample a plane at (x + dx / n, y + dy / n), where n is the number of filters.

    Args:
        plane: uint8 [H, W].
        dense: [2, H, W], (dx, dy) of each sample in fractions of one.
        filters: [n, taps], a row for each fraction; the middle taps belong to the sample itself and the next.

    Returns:
        [H, W], 64 times the sample values, clipped to 16 bits.
    """
    height, width = plane.shape
    fractions, taps = filters.shape
    y, x = np.mgrid[:height, :width]
    left, top = x + dense[0] // fractions, y + dense[1] // fractions
    filter_x, filter_y = filters[dense[0] % fractions], filters[dense[1] % fractions]
    result = np.zeros((height, width), np.int64)
    for j in range(taps):
        row = np.clip(top + j - (taps // 2 - 1), 0, height - 1)
        across = np.zeros((height, width), np.int64)
        for i in range(taps):
            column = np.clip(left + i - (taps // 2 - 1), 0, width - 1)
            across += filter_x[..., i] * plane[row, column]
        result += filter_y[..., j] * across
    return np.clip(result >> 6, -32768, 32767)


def _sample(plane: Plane, fields: Ints, second: Plane | None, filters: npt.NDArray[Any]) -> Ints:
    """The first reference, or the mean of both, at dense (dx, dy, dx of the second, dy of it, whether both)."""
    values = interpolate(plane, fields[:2], filters)
    if second is None:
        return values
    mean = (values + interpolate(second, fields[2:4], filters) + 1) >> 1
    return np.where(fields[4] > 0, mean, values)


def predict_plane(plane: Plane, vectors: Field, *, second: tuple[Plane, Field, npt.NDArray[np.bool_]] | None = None,
                  chroma: bool = False, window: str = "none") -> Plane:
    """One plane of :func:`lvc.ops.blockmotion.predict`; the second reference as its plane, vectors, and compound."""
    height, width = plane.shape
    block, filters = (BLOCK // 2, CHROMA_FILTER) if chroma else (BLOCK, LUMA_FILTER)
    other, fields = None, vectors
    if second is not None:
        other, others, compound = second
        fields = np.concatenate((vectors, others, compound[None].astype(np.int16)))
    if window == "none":
        values = _sample(plane, expand(fields, height, width, block), other, filters)
        return np.clip((values + 32) >> 6, 0, 255).astype(np.uint8)
    later = np.array(LATER_WEIGHT[window, block])
    # Squares from block centre to block centre; around the field, its outermost vectors are repeated.
    around = np.pad(fields, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = around.shape[1] - 1, around.shape[2] - 1
    inside = np.s_[block // 2 : block // 2 + height, block // 2 : block // 2 + width]
    total = np.full((height, width), 1 << 13, np.int64)
    for below in (0, 1):
        for right in (0, 1):
            four = around[:, below : below + rows, right : right + columns]
            dense = expand(four, rows * block, columns * block, block)[:, inside[0], inside[1]]
            weight_y = np.tile(later if below else 16 - later, rows)[inside[0]]
            weight_x = np.tile(later if right else 16 - later, columns)[inside[1]]
            total += np.outer(weight_y, weight_x) * _sample(plane, dense, other, filters)
    return np.clip(total >> 14, 0, 255).astype(np.uint8)


def predict(planes: Sequence[Plane], vectors: Field, *, second: Second | None = None,
            window: str = "none") -> tuple[Plane, Plane, Plane]:
    """The same arguments and results as :func:`lvc.ops.blockmotion.predict`; nothing is checked."""
    y, u, v = (predict_plane(
        plane, vectors, chroma=k > 0, window=window,
        second=None if second is None else (second.planes[k], second.vectors, second.compound))
        for k, plane in enumerate(planes))
    return y, u, v
