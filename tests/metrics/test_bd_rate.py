"""BD-rate: values that can be worked out by hand, published ones, and refusals."""

from __future__ import annotations

import math

import pytest

from lvc.errors import UsageError
from lvc.metrics import bd_quality, bd_rate

RATE = [100.0, 200.0, 400.0, 800.0]
QUALITY = [30.0, 33.0, 35.5, 37.0]


@pytest.mark.parametrize("method", ["pchip", "akima"])
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.25, 3.0])
def test_a_constant_factor_in_rate_is_the_bd_rate(method, factor):
    result = bd_rate(RATE, QUALITY, [r * factor for r in RATE], QUALITY, method=method)
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert result.overlap == 1.0


def test_straight_curves_of_different_ranges():
    # Quality = 10 log2(rate) for the anchor, and 10 log2(rate / 2) for the test codec: always double.
    anchor = [1.0, 2.0, 4.0, 8.0, 16.0]
    test = [6.0, 12.0, 24.0, 48.0]
    result = bd_rate(anchor, [10 * math.log2(r) for r in anchor], test, [10 * math.log2(r / 2) for r in test])
    assert result.percent == pytest.approx(100.0, abs=1e-6)
    low, high = 10 * math.log2(3), 10 * math.log2(16)
    assert result.overlap == pytest.approx((high - low) / (10 * math.log2(24)))


def test_order_of_points_does_not_matter():
    result = bd_rate(RATE[::-1], QUALITY[::-1], [90.0, 700.0, 180.0, 350.0], [30.0, 37.0, 33.0, 35.5])
    assert result == bd_rate(RATE, QUALITY, [90.0, 180.0, 350.0, 700.0], QUALITY)
    assert result.percent < 0


# HEVC class D, GOP 10, bpp and RGB PSNR: ZhihaoHu/PyTorchVideoCompression, Benchmark/draw_HEVC.py.
PUBLISHED_D = {
    "dvc": ([0.141631075, 0.206291275, 0.2892303, 0.4370301311],
            [28.41229473, 29.72853673, 31.1727661, 32.53451213]),
    "x265": ([0.593745117, 0.347317166, 0.198283963, 0.113808322],
             [34.91076403, 32.50539009, 30.21889251, 28.07014606]),
}


def test_published_pair():
    """DVC needs 17.0 % more than x265 (medium, zerolatency); the figure is the published one."""
    result = bd_rate(*PUBLISHED_D["x265"], *PUBLISHED_D["dvc"])
    assert result.percent == pytest.approx(17.0, abs=0.05)
    assert result.overlap == pytest.approx(0.603, abs=0.001)


@pytest.mark.parametrize("method", ["pchip", "akima"])
@pytest.mark.parametrize("offset", [-1.5, 0.0, 0.25])
def test_a_constant_offset_in_quality_is_the_bd_quality(method, offset):
    result = bd_quality(RATE, QUALITY, RATE, [q + offset for q in QUALITY], method=method)
    assert result.difference == pytest.approx(offset, abs=1e-9)
    assert result.overlap == pytest.approx(1.0)


def test_bd_quality_over_the_common_range_of_log_rate():
    # 10 log2(rate) against 10 log2(rate / 2): 10 less everywhere; rates from 2 to 16 of 1 to 32.
    anchor, test = [1.0, 2.0, 4.0, 8.0, 16.0], [2.0, 4.0, 8.0, 16.0, 32.0]
    result = bd_quality(anchor, [10 * math.log2(r) for r in anchor], test,
                        [10 * math.log2(r / 2) for r in test])
    assert result.difference == pytest.approx(-10.0, abs=1e-6)
    assert result.overlap == pytest.approx(3 / 5)
    with pytest.raises(UsageError, match="no common range of rate"):
        bd_quality(RATE, QUALITY, [10 * r for r in RATE], QUALITY)
    with pytest.raises(UsageError, match="3 points"):
        bd_quality(RATE, QUALITY, RATE[:3], QUALITY[:3])


@pytest.mark.parametrize(
    ("rate", "quality", "message"),
    [
        (RATE[:3], QUALITY[:3], "3 points"),
        ([1.0], [30.0], "1 point;"),
        (RATE, QUALITY[:3], "4 rates and 3 qualities"),
        (RATE, [30.0, math.nan, 35.5, 37.0], "not finite"),
        ([100.0, math.inf, 400.0, 800.0], QUALITY, "not finite"),
        ([0.0, 200.0, 400.0, 800.0], QUALITY, "not above zero"),
        (RATE, [30.0, 33.0, 32.0, 37.0], "not monotonic"),
        ([100.0, 200.0, 200.0, 800.0], QUALITY, "not monotonic"),
        (RATE, [40.0, 41.0, 42.0, 43.0], "no common range"),
    ],
)
def test_bad_curves_are_refused(rate, quality, message):
    with pytest.raises(UsageError, match=message):
        bd_rate(RATE, QUALITY, rate, quality)
    if "common" not in message:
        with pytest.raises(UsageError, match=f"anchor.*{message}"):
            bd_rate(rate, quality, RATE, QUALITY)


def test_fewer_points_on_request_and_unknown_methods():
    assert bd_rate(RATE[:2], QUALITY[:2], RATE[:2], QUALITY[:2], min_points=2).percent == pytest.approx(0)
    with pytest.raises(UsageError, match="cubic"):
        bd_rate(RATE, QUALITY, RATE, QUALITY, method="cubic")
