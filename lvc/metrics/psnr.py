"""Peak signal-to-noise ratio of 8-bit pictures, in dB."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.errors import UsageError
from lvc.types import ColorInfo, Frame

PSNR_CAP = 100.0
"""dB given for identical pictures, so that means over frames stay finite."""

_PEAK = 255.0


def psnr(reference: npt.NDArray[Any], decoded: npt.NDArray[Any]) -> float:
    """PSNR of two 8-bit arrays: 10 log10(255^2 / MSE), the MSE taken over all samples together.

    Args:
        reference, decoded: uint8, equal shapes of any number of dimensions, not empty.

    Returns:
        dB, at most PSNR_CAP (which identical arrays get).

    Raises:
        UsageError: other dtypes, different shapes, or no samples.
    """
    if reference.dtype != np.uint8 or decoded.dtype != np.uint8:
        raise UsageError(f"PSNR wants uint8 arrays, not {reference.dtype} and {decoded.dtype}")
    if reference.shape != decoded.shape:
        raise UsageError(f"pictures differ in shape: {reference.shape} and {decoded.shape}")
    if reference.size == 0:
        raise UsageError("PSNR of pictures without samples is undefined")
    difference = reference.astype(np.int32) - decoded
    # Whole numbers all along: the sum is exact, and so the same on every machine.
    squared = int(np.sum(difference * difference, dtype=np.int64))
    if squared == 0:
        return PSNR_CAP
    return min(PSNR_CAP, 10.0 * math.log10(_PEAK * _PEAK * reference.size / squared))


def plane_psnr(reference: Frame, decoded: Frame) -> tuple[float, float, float]:
    """PSNR of the Y, U and V planes, each by itself, in dB (see :func:`psnr`)."""
    y, u, v = (psnr(a, b) for a, b in zip(reference.planes, decoded.planes, strict=True))
    return y, u, v


def psnr_yuv611(y: float, u: float, v: float) -> float:
    """The 6:1:1 mean of per-plane PSNR: (6 Y + U + V) / 8, in dB.

    The weights apply to the dB values of one frame (the convention of HM, VTM and JCT-VC reports
    since Ohm et al., "Comparison of the Coding Efficiency of Video Coding Standards", IEEE TCSVT
    22(12), 2012), not to squared errors.
    """
    return (6.0 * y + u + v) / 8.0


def rgb_psnr(reference: Frame, decoded: Frame, color: ColorInfo | None = None) -> float:
    """PSNR of 8-bit RGB, the error taken over the three channels together (learned-codec papers).

    Both frames are converted by :func:`lvc.metrics.frame_to_rgb`, which states matrix, range and
    chroma interpolation.
    """
    from lvc.metrics.rgb import frame_to_rgb

    return psnr(frame_to_rgb(reference, color), frame_to_rgb(decoded, color))
