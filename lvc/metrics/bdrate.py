"""Bjontegaard deltas: the mean difference in rate at equal quality, and in quality at equal rate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import bjontegaard
import numpy as np
import numpy.typing as npt

from lvc.errors import UsageError


@dataclass(frozen=True, slots=True)
class BDRate:
    """A BD-rate and how much of the curves it rests on.

    Attributes:
        percent: mean difference in rate at equal quality; below zero, the test codec needs fewer bits.
        overlap: length of the quality range that both curves cover over that which either covers, 0 to 1.
            With a small share the figure says little: state it, or measure more points.
    """

    percent: float
    overlap: float


@dataclass(frozen=True, slots=True)
class BDQuality:
    """A BD-quality (BD-PSNR, BD-VMAF, ...) and how much of the curves it rests on.

    Attributes:
        difference: mean difference in quality at equal rate, in the unit of the quality (dB for PSNR); above
            zero, the test codec is better.
        overlap: length of the range of log rate that both curves cover over that which either covers, 0 to 1.
    """

    difference: float
    overlap: float


def bd_rate(
    anchor_rate: Sequence[float],
    anchor_quality: Sequence[float],
    test_rate: Sequence[float],
    test_quality: Sequence[float],
    *,
    method: str = "pchip",
    min_points: int = 4,
) -> BDRate:
    """BD-rate of a test codec against an anchor (VCEG-M33, with piecewise cubic interpolation, VCEG-AI11).

    Integration is over the range of quality that both curves cover. Points may come in any order.

    Args:
        anchor_rate, test_rate: bits in any unit (the same for both), above zero.
        anchor_quality, test_quality: PSNR in dB, MS-SSIM or any measure that grows with quality.
        method: ``pchip`` or ``akima``.
        min_points: curves with fewer points are refused.

    Raises:
        UsageError: too few points, lists of different lengths, values that are not finite, rates not above
            zero, a curve whose quality does not grow with its rate, or no common range of quality.
    """
    anchor, test = _curves(anchor_rate, anchor_quality, test_rate, test_quality, method, min_points)
    low, high = max(anchor[1][0], test[1][0]), min(anchor[1][-1], test[1][-1])
    if high <= low:
        raise UsageError(f"no common range of quality: the anchor spans {anchor[1][0]:.4g} to "
                         f"{anchor[1][-1]:.4g}, the test codec {test[1][0]:.4g} to {test[1][-1]:.4g}")
    whole = max(anchor[1][-1], test[1][-1]) - min(anchor[1][0], test[1][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overlap is part of the result
        percent = bjontegaard.bd_rate(*anchor, *test, method=method, require_matching_points=False,
                                      min_overlap=0)
    return BDRate(float(percent), float((high - low) / whole))


def bd_quality(
    anchor_rate: Sequence[float],
    anchor_quality: Sequence[float],
    test_rate: Sequence[float],
    test_quality: Sequence[float],
    *,
    method: str = "pchip",
    min_points: int = 4,
) -> BDQuality:
    """BD-quality of a test codec against an anchor: BD-PSNR of VCEG-M33, for any measure.

    Integration is over the range of the logarithm of the rate that both curves cover.

    Args:
        anchor_rate, anchor_quality, test_rate, test_quality, method, min_points: see :func:`bd_rate`.

    Raises:
        UsageError: as :func:`bd_rate`, but for no common range of rate.
    """
    anchor, test = _curves(anchor_rate, anchor_quality, test_rate, test_quality, method, min_points)
    ends = [np.log10(rate[[0, -1]]) for rate in (anchor[0], test[0])]
    low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    if high <= low:
        raise UsageError(f"no common range of rate: the anchor spans {anchor[0][0]:.4g} to "
                         f"{anchor[0][-1]:.4g}, the test codec {test[0][0]:.4g} to {test[0][-1]:.4g}")
    whole = max(ends[0][1], ends[1][1]) - min(ends[0][0], ends[1][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        difference = bjontegaard.bd_psnr(*anchor, *test, method=method, require_matching_points=False,
                                         min_overlap=0)
    return BDQuality(float(difference), float((high - low) / whole))


_Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _curves(anchor_rate: Sequence[float], anchor_quality: Sequence[float], test_rate: Sequence[float],
            test_quality: Sequence[float], method: str, min_points: int) -> tuple[_Curve, _Curve]:
    if method not in ("pchip", "akima"):
        raise UsageError(f"BD-rate is computed by pchip or akima interpolation, not {method}")
    return (_curve("anchor", anchor_rate, anchor_quality, min_points),
            _curve("test", test_rate, test_quality, min_points))


def _curve(name: str, rates: Sequence[float], qualities: Sequence[float], min_points: int) -> _Curve:
    """Checked and sorted (rate, quality) arrays."""
    rate, quality = np.asarray(rates, np.float64), np.asarray(qualities, np.float64)
    if rate.ndim != 1 or rate.shape != quality.shape:
        raise UsageError(f"the {name} curve has {rate.size} rates and {quality.size} qualities")
    if rate.size < max(2, min_points):
        raise UsageError(f"the {name} curve has {rate.size} point{'s' * (rate.size != 1)}; "
                         f"BD-rate needs at least {max(2, min_points)}")
    if not (np.isfinite(rate).all() and np.isfinite(quality).all()):
        raise UsageError(f"the {name} curve holds values that are not finite")
    if (rate <= 0).any():
        raise UsageError(f"the {name} curve holds rates that are not above zero")
    order = np.argsort(rate, kind="stable")
    rate, quality = rate[order], quality[order]
    for i in range(rate.size - 1):
        if rate[i + 1] == rate[i] or quality[i + 1] <= quality[i]:
            raise UsageError(f"the {name} curve is not monotonic: from rate {rate[i]:.6g} to "
                             f"{rate[i + 1]:.6g} its quality goes from {quality[i]:.6g} to "
                             f"{quality[i + 1]:.6g}")
    return rate, quality
