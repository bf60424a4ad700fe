"""Block motion: search at the encoder, compensation at both ends, in integers throughout. Works on numpy.

A field holds one vector for each 8x8 block of luma samples: int16 [2, ceil(H / 8), ceil(W / 8)], first dx,
then dy, in quarters of a luma sample. The prediction of sample (x, y) is the reference at (x + dx / 4,
y + dy / 4); outside of a picture its nearest sample counts. Vectors may point anywhere.

Samples between samples come from the separable filters of HEVC (ITU-T H.265, 8.5.3.3.3: 8 taps for luma,
4 taps at eighths of a sample for chroma), with 14-bit intermediate values that are rounded once, at the end.
So predictions are the same bytes on every machine and with every instruction set.

A block may also be predicted by the mean of two references. Vectors into the second one need not be coded:
:func:`chain` derives them from those into the first.
:mod:`lvc.ops.blockmotion_reference` says the same in plain numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc import _motion, _nets
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
        compound: bool [ceil(H / 8), ceil(W / 8)], the same in all blocks of a square: whether it is predicted
            by the mean of both references. False throughout where there is one.
    """

    vectors: Field
    sizes: npt.NDArray[np.uint8]
    satd: npt.NDArray[np.int32]
    compound: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Second:
    """A second reference of a prediction.

    Attributes:
        planes: Y, U and V, of the same shapes as the first reference's.
        vectors: the field that leads into it. Only those of compound blocks matter.
        compound: bool [ceil(H / 8), ceil(W / 8)], the blocks that are predicted by the mean of both references.
    """

    planes: Sequence[Plane]
    vectors: Field
    compound: npt.NDArray[np.bool_]


def field_shape(height: int, width: int) -> tuple[int, int, int]:
    """The shape of the field of a picture, (2, rows, columns) of blocks, by the size of its luma plane."""
    return 2, -(-height // BLOCK), -(-width // BLOCK)


def simd_levels() -> tuple[str, ...]:
    """The instruction sets that this machine has kernels for, best first; the last one is "scalar"."""
    return tuple(name for name in ("avx2", "scalar") if _motion.has_simd(name))


def chain(vectors: Field, beyond: Field) -> Field:
    """Vectors that lead on: through the block of a first picture that each vector points to.

    Args:
        vectors: int16 [2, h, w], into a first picture; rounded to whole blocks, limited to the picture, they tell
            which of its blocks is meant.
        beyond: int16 [2, h, w], from the blocks of that picture into a second one.

    Returns:
        int16 [2, h, w], the sums, limited to 16 bits: into the second picture.

    Raises:
        UsageError: fields of two shapes, or not fields.
    """
    for name, field in (("vectors", vectors), ("beyond", beyond)):
        if not isinstance(field, np.ndarray) or field.dtype != np.int16 or field.ndim != 3 or len(field) != 2:
            raise UsageError(f"{name} must be an int16 array of shape (2, rows, columns)")
    if vectors.shape != beyond.shape:
        raise UsageError(f"fields must have one shape, not {vectors.shape} and {beyond.shape}")
    _, h, w = vectors.shape
    wide = vectors.astype(np.int32)
    blocks = (wide + 2 * BLOCK) >> 5  # from quarters of a sample
    rows = np.clip(np.arange(h)[:, None] + blocks[1], 0, h - 1)
    columns = np.clip(np.arange(w)[None] + blocks[0], 0, w - 1)
    return np.clip(wide + beyond[:, rows, columns], -2**15, 2**15 - 1).astype(np.int16)


def mirror(vectors: Field) -> Field:
    """Vectors into a second picture that lies as far away in time as the first one, on the other side: int16 [2, h, w].

    Steady motion leads as far ahead as it came from. Negated, limited to 16 bits.
    """
    return np.negative(np.maximum(vectors, -2**15 + 1))


def predict(planes: Sequence[Plane], vectors: Field, *, second: Second | None = None, window: str = "cosine",
            simd: str = "auto") -> tuple[Plane, Plane, Plane]:
    """Motion-compensated prediction of a picture.

    Args:
        planes: the reference: Y uint8 [H, W]; U and V uint8 [ceil(H / 2), ceil(W / 2)].
        vectors: int16, of shape ``field_shape(H, W)``.
        second: a second reference. The mean of two predictions is taken in their 14-bit intermediate values,
            (a + b + 1) >> 1, before those of neighbouring blocks are blended.
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
    first = _picture(planes)
    height, width = first[0].shape
    field = _field(vectors, height, width, "vectors")
    kind = _window(window)
    _check_simd(simd)
    others: list[tuple[Plane, Field, npt.NDArray[np.uint8]] | None] = [None] * 3
    if second is not None:
        pictures = _picture(second.planes)
        if pictures[0].shape != first[0].shape:
            raise UsageError(f"both references must have one shape, not {first[0].shape} and {pictures[0].shape}")
        other_field = _field(second.vectors, height, width, "vectors of the second reference")
        others = [(plane, other_field, _flags(second.compound, field.shape[1:])) for plane in pictures]
    y, u, v = (_motion.predict_plane(plane, field, other, k > 0, kind, simd)
               for k, (plane, other) in enumerate(zip(first, others, strict=True)))
    return y, u, v


def disagreement(plane: Plane, vectors: Field, other: Plane, other_vectors: Field) -> npt.NDArray[np.int32]:
    """How far two predictions of a picture's luma differ.

    Args:
        plane, other: two references, uint8 [H, W], H and W multiples of BLOCK.
        vectors, other_vectors: fields into them.

    Returns:
        int32 [H / 8, W / 8], the sum of absolute differences in each block, of predictions block by block.

    Raises:
        UsageError: a wrong type or shape.
    """
    one, two = _plane(plane, "plane"), _plane(other, "other")
    height, width = one.shape
    if one.shape != two.shape or height % BLOCK or width % BLOCK:
        raise UsageError(f"planes must have one shape, of whole blocks, not {one.shape} and {two.shape}")
    a, b = (_motion.predict_plane(p, _field(v, height, width, "vectors"), None, False, 0, "auto")
            for p, v in ((one, vectors), (two, other_vectors)))
    return _nets.differences(a, b)


def search(current: Plane, reference: Plane, lagrangian: float, *, previous: Field | None = None,
           second: tuple[Plane, Field | None] | None = None, window: str = "cosine", effort: int = 1, threads: int = 1,
           simd: str = "auto") -> BlockMotion:
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
        second: luma of a second reference, and how far it is displaced from the blocks of the first one. Each square
            then takes the mean of both predictions where that is better: by a vector v from the first reference,
            by ``chain(v, second[1])`` from the other one. With None for the field, the second reference lies as far
            away in time as the first one, on the other side: by ``mirror(v)``.
        window: what the field will be used with, as for :func:`predict`.
        effort: 0 (fastest, no 8x8 squares) to MAX_EFFORT.
        threads: at least 1; the result does not depend on it.
        simd: as for :func:`predict`; the result does not depend on it.

    Memory: about 20 bytes a luma sample and reference while it works.

    Raises:
        UsageError: a wrong type, shape or value.
    """
    one, base = _plane(current, "current"), _plane(reference, "reference")
    if one.shape != base.shape:
        raise UsageError(f"current and reference must have one shape, not {one.shape} and {base.shape}")
    former = None if previous is None else _field(previous, one.shape[0], one.shape[1], "previous")
    other = None
    if second is not None:
        if not isinstance(second, tuple) or len(second) != 2:
            raise UsageError("second must be a plane and a field")
        plane, beyond = second
        beyond = None if beyond is None else _field(beyond, *one.shape, "field of the second reference")
        other = _plane(plane, "second"), beyond
        if other[0].shape != one.shape:
            raise UsageError(f"current and second must have one shape, not {one.shape} and {other[0].shape}")
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
    vectors, sizes, satd, compound = _motion.search(one, base, former, other, kind, weight, int(effort),
                                                    int(threads), simd)
    return BlockMotion(vectors, sizes, satd, compound.view(np.bool_))


def _plane(plane: Any, name: str) -> Plane:
    if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.ndim != 2:
        raise UsageError(f"plane {name} must be a two-dimensional array of uint8")
    if not all(1 <= size <= MAX_DIMENSION for size in plane.shape):
        raise UsageError(f"plane {name} must have 1 to {MAX_DIMENSION} rows and columns, not {plane.shape}")
    return np.ascontiguousarray(plane)


def _picture(planes: Any) -> tuple[Plane, Plane, Plane]:
    if isinstance(planes, np.ndarray) or not isinstance(planes, Sequence) or len(planes) != 3:
        raise UsageError("planes must be three arrays: Y, U and V")
    y, u, v = (_plane(plane, name) for plane, name in zip(planes, ("Y", "U", "V")))
    height, width = y.shape
    half = (-(-height // 2), -(-width // 2))
    if u.shape != half or v.shape != half:
        raise UsageError(f"chroma planes of a {width}x{height} picture must have shape {half}, "
                         f"not {u.shape} and {v.shape}")
    return y, u, v


def _flags(compound: Any, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    if not isinstance(compound, np.ndarray) or compound.dtype != np.bool_ or compound.shape != shape:
        raise UsageError(f"compound must be a bool array of shape {shape}")
    return np.ascontiguousarray(compound).view(np.uint8)


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
