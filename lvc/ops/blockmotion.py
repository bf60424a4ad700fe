"""Block motion: search at the encoder, compensation at both ends, in integers throughout. Works on numpy.

A field holds one vector for each 8x8 block of luma samples: int16 [2, ceil(H / 8), ceil(W / 8)], first dx,
then dy, in quarters of a luma sample. The prediction of sample (x, y) is the reference at (x + dx / 4,
y + dy / 4); outside of a picture its nearest sample counts. Vectors may point anywhere.

Samples between samples come from the separable filters of HEVC (ITU-T H.265, 8.5.3.3.3: 8 taps for luma,
4 taps at eighths of a sample for chroma), with 14-bit intermediate values that are rounded once, at the end.
So predictions are the same bytes on every machine and with every instruction set.
:mod:`lvc.ops.blockmotion_reference` says the same in plain numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc import _motion
from lvc.errors import UsageError
from lvc.types import MAX_DIMENSION, Plane

BLOCK: int = _motion.BLOCK
"""Luma samples along a side of a block, the unit of a field."""

MAX_EFFORT: int = _motion.MAX_EFFORT
"""Efforts of :func:`search` run from 0 (fastest) to this (best)."""

MAX_LAGRANGIAN: float = _motion.MAX_LAGRANGIAN

WINDOWS = ("none", "linear", "cosine")
"""How predictions of neighbouring blocks are blended; the place in this tuple is a stable number."""

Field = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class BlockMotion:
    """What a search found.

    Attributes:
        vectors: the field, int16 [2, ceil(H / 8), ceil(W / 8)], in quarters of a luma sample.
        sizes: uint8 [ceil(H / 8), ceil(W / 8)], the side of the square that each block is part of: 8, 16 or
            32 luma samples. Squares lie on multiples of their size; all blocks of one have the same vector.
        satd: int32 [ceil(H / 8), ceil(W / 8)], what is left of each block of luma: the sum of absolute values
            of the 8x8 Hadamard transform of current - prediction, divided by 4. The prediction is that by
            the block's own vector (window "none") whatever window was searched for.
    """

    vectors: Field
    sizes: npt.NDArray[np.uint8]
    satd: npt.NDArray[np.int32]


def field_shape(height: int, width: int) -> tuple[int, int, int]:
    """The shape of the field of a picture, (2, rows, columns) of blocks, by the size of its luma plane."""
    return 2, -(-height // BLOCK), -(-width // BLOCK)


def simd_levels() -> tuple[str, ...]:
    """The instruction sets that this machine has kernels for, best first; the last one is "scalar"."""
    return tuple(name for name in ("avx2", "scalar") if _motion.has_simd(name))


def predict(planes: Sequence[Plane], vectors: Field, *, window: str = "cosine",
            simd: str = "auto") -> tuple[Plane, Plane, Plane]:
    """Motion-compensated prediction of a picture.

    Args:
        planes: the reference: Y uint8 [H, W]; U and V uint8 [ceil(H / 2), ceil(W / 2)].
        vectors: int16, of shape ``field_shape(H, W)``.
        window: "none" predicts block by block. "linear" and "cosine" blend at each sample the predictions by
            the vectors of the four blocks whose centres are nearest, weighted by a separable window of that
            form in 1/256 (overlapped block motion compensation: Orchard and Sullivan, IEEE Trans. Image
            Processing 3(5), 1994).
        simd: the kernels to use, one of :func:`simd_levels` or "auto"; the result is the same.

    Returns:
        Predicted planes of the same shapes, uint8.

    Raises:
        UsageError: a wrong type, shape or name.
    """
    if isinstance(planes, np.ndarray) or not isinstance(planes, Sequence) or len(planes) != 3:
        raise UsageError("planes must be three arrays: Y, U and V")
    y, u, v = (_plane(plane, name) for plane, name in zip(planes, ("Y", "U", "V")))
    height, width = y.shape
    half = (-(-height // 2), -(-width // 2))
    if u.shape != half or v.shape != half:
        raise UsageError(f"chroma planes of a {width}x{height} picture must have shape {half}, "
                         f"not {u.shape} and {v.shape}")
    field = _field(vectors, height, width, "vectors")
    kind = _window(window)
    _check_simd(simd)
    return (_motion.predict_plane(y, field, False, kind, simd),
            _motion.predict_plane(u, field, True, kind, simd),
            _motion.predict_plane(v, field, True, kind, simd))


def search(current: Plane, reference: Plane, lagrangian: float, *, previous: Field | None = None,
           window: str = "cosine", effort: int = 1, threads: int = 1, simd: str = "auto") -> BlockMotion:
    """Find vectors that predict a luma plane well and cost few bits.

    A hierarchical search (1/8, 1/4, 1/2 of the resolution, then whole, half and quarter samples with the
    filters of :func:`predict`) for squares of 32, 16 and 8 samples in a quad-tree. It minimises SATD +
    lagrangian * bits, where the bits are those of a simple model of an adaptive entropy coder: a vector of a
    known neighbour or zero is cheapest, others cost by their difference from the median of the neighbours.
    From effort 1 on, the field is then refined as a whole for the window that it is meant for.

    Args:
        current: uint8 [H, W], to be predicted.
        reference: uint8 [H, W], to predict from.
        lagrangian: SATD that one bit is worth, 0 to MAX_LAGRANGIAN. For a codec with quantization step ``s``
            and a Lagrangian of s^2 / 7.5 squared error a bit, its square root, about 0.37 * s, is right.
        previous: a field whose vectors are worth a try, usually that of the picture before; it only guides.
        window: what the field will be used with, as for :func:`predict`.
        effort: 0 (fastest, no 8x8 squares) to MAX_EFFORT.
        threads: at least 1; the result does not depend on it.
        simd: as for :func:`predict`; the result does not depend on it.

    Memory: about 20 bytes a luma sample while it works.

    Raises:
        UsageError: a wrong type, shape or value.
    """
    one, other = _plane(current, "current"), _plane(reference, "reference")
    if one.shape != other.shape:
        raise UsageError(f"current and reference must have one shape, not {one.shape} and {other.shape}")
    former = None if previous is None else _field(previous, one.shape[0], one.shape[1], "previous")
    kind = _window(window)
    try:
        weight = float(lagrangian)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight <= MAX_LAGRANGIAN:
        raise UsageError(f"lagrangian must be a number from 0 to {MAX_LAGRANGIAN:g}, not {lagrangian!r}")
    _check_int("effort", effort, 0, MAX_EFFORT)
    _check_int("threads", threads, 1, 1024)
    _check_simd(simd)
    return BlockMotion(*_motion.search(one, other, former, kind, weight, int(effort), int(threads), simd))


def _plane(plane: Any, name: str) -> Plane:
    if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.ndim != 2:
        raise UsageError(f"plane {name} must be a two-dimensional array of uint8")
    if not all(1 <= size <= MAX_DIMENSION for size in plane.shape):
        raise UsageError(f"plane {name} must have 1 to {MAX_DIMENSION} rows and columns, not {plane.shape}")
    return np.ascontiguousarray(plane)


def _field(vectors: Any, height: int, width: int, name: str) -> Field:
    shape = field_shape(height, width)
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.int16 or vectors.shape != shape:
        raise UsageError(f"{name} must be an int16 array of shape {shape} for a {width}x{height} picture")
    return np.ascontiguousarray(vectors, dtype=np.int16)


def _window(window: Any) -> int:
    if window not in WINDOWS:
        raise UsageError(f"window must be one of {', '.join(WINDOWS)}, not {window!r}")
    return WINDOWS.index(window)


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise UsageError(f"{name} must be an integer from {low} to {high}, not {value!r}")


def _check_simd(simd: Any) -> None:
    levels = simd_levels()
    if simd != "auto" and simd not in levels:
        raise UsageError(f"simd must be auto or one of {', '.join(levels)} on this machine, not {simd!r}")
