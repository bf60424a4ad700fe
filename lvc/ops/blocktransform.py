"""lvc.ops.blockdct in C++, for inference: channels last, samples and coefficients as integers. Works on numpy.

Results are those of the functions of that name there, to the last bit, for every number of threads.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from lvc import _nets
from lvc.ops import blockdct
from lvc.ops.blockdct import COEFFICIENT_SHIFT, COEFFICIENTS, STEP_SHIFT, basis, zigzag
from lvc.ops.intnet import default_simd
from lvc.types import Plane

Planes = tuple[Plane, Plane, Plane]
Coefficients = npt.NDArray[np.int32]
"""(h / 8, w / 8, 96)."""
Positions = npt.NDArray[np.int32]
Steps = npt.NDArray[np.int32]
"""(96,) of the coefficients, in units of 2**-4."""


@functools.cache
def _transform(size: int) -> _nets.Transform:
    luma, chroma = (np.ascontiguousarray(basis(n).numpy(), np.int32) for n in (size, size // 2))
    orders = (np.array(zigzag(n), np.int32) for n in (8, 4))
    return _nets.Transform(size, luma, chroma, *orders, blockdct._FORWARD_SHIFT,
                           STEP_SHIFT - blockdct._INVERSE_INPUT_SHIFT, blockdct._INVERSE_SHIFTS)


@functools.cache
def _steps(step: int) -> npt.NDArray[np.int32]:
    """(96,) steps of the coefficients for a luma step, all in units of 2**-4."""
    return np.ascontiguousarray(blockdct._steps(step)[:, 0, 0].numpy(), np.int32)


def squares(sizes: npt.NDArray[np.uint8], size: int) -> Positions:
    """Linear positions of the first blocks of all transforms of a size, of a quad-tree of sizes (h, w)."""
    f = size // 8
    first = np.zeros(sizes.shape, np.bool_)
    first[::f, ::f] = sizes[::f, ::f] == size
    return np.flatnonzero(first).astype(np.int32)


def forward_dct(planes: Planes, minus: Planes | None = None, size: int = 8, *, blocks: Positions | None = None,
                out: Coefficients | None = None, threads: int = 1) -> Coefficients:
    """Planes of whole blocks, less others -> (h / 8, w / 8, 96) int32.

    Args:
        size: of the transforms, 8, 16 or 32.
        blocks: the squares to transform, as of :func:`squares`, the others are left as they are; all, if None.
        out: where to write.
    """
    h, w = planes[0].shape
    if out is None:
        out = np.zeros((h // 8, w // 8, COEFFICIENTS), np.int32)
    _transform(size).forward(planes, minus, blocks, out, threads, default_simd())
    return out


def reconstruct(prediction: Planes, symbols: npt.NDArray[np.int16], step: int, sizes: npt.NDArray[np.uint8],
                threads: int = 1) -> Planes:
    """Prediction + residual, limited to 8 bits.

    Args:
        prediction: planes of whole blocks.
        symbols: (h / 8, w / 8, 96), integers that count steps.
        step: of luma, see lvc.ops.blockdct.quantizer_step.
        sizes: (h / 8, w / 8), of the transforms: a quad-tree.
    """
    y, u, v = prediction
    out = np.empty_like(y), np.empty_like(u), np.empty_like(v)
    for size in blockdct.SIZES:
        blocks = squares(sizes, size)
        if len(blocks):
            inverse_into(out, prediction, symbols, _steps(step), blocks, threads, size)
    return out


def inverse_into(out: Planes, prediction: Planes, symbols: npt.NDArray[np.int16], steps: Steps, blocks: Positions,
                 threads: int = 1, size: int = 8) -> None:
    """Write prediction + residual of some transforms of one size into planes, with these (96,) steps."""
    _transform(size).inverse(symbols, steps, prediction, blocks, out, threads, default_simd())


def in_steps(coefficients: Coefficients, step: int, threads: int = 1) -> npt.NDArray[np.float32]:
    """Result of forward_dct in units of the quantization steps, rounded to float32 once."""
    dividers = _steps(step) * 2.0 ** (COEFFICIENT_SHIFT - STEP_SHIFT)
    return _nets.in_steps(coefficients, dividers, threads)


@functools.cache
def _magnitude_table() -> npt.NDArray[np.uint8]:
    return np.asarray(blockdct._magnitude_table().numpy())


def magnitude_context(coefficients: Coefficients, step: int, threads: int = 1) -> npt.NDArray[np.uint8]:
    """Log-magnitudes of coefficients relative to the step, 0..42."""
    return magnitudes_by(coefficients, _steps(step), threads)


def magnitudes_by(coefficients: Coefficients, steps: Steps, threads: int = 1) -> npt.NDArray[np.uint8]:
    """The same relative to these (96,) steps."""
    dividers = steps * 2 ** (COEFFICIENT_SHIFT - STEP_SHIFT - 3)
    return _nets.magnitudes(coefficients, dividers, _magnitude_table(), threads, default_simd())
