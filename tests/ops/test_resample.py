"""Bicubic resampling by 1, 1.5 and 2: where samples lie, exactness, odd sizes."""

from __future__ import annotations

import numpy as np
import pytest

from lvc.errors import UsageError
from lvc.ops.resample import SCALES, downscale, reduced_size, upscale


def keys(x: float) -> float:
    x = abs(x)
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@pytest.mark.parametrize("halves", [3, 4])
def test_upscaling_is_the_kernel_at_the_right_places(halves):
    """Against the formula, sample by sample; weights in 1/128 differ by up to half a unit each."""
    line = np.random.default_rng(0).integers(0, 256, 11)
    width = 11 * halves // 2
    result = upscale(np.tile(line.astype(np.uint8), (3, 1)), 3 * halves // 2, width, halves)
    assert (result == result[0]).all()
    for x in range(width):
        at = (x + 0.5) * 2 / halves - 0.5
        taps = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
        expected = sum(keys(k - at) * line[min(max(k, 0), 10)] for k in taps)
        assert abs(int(result[0, x]) - np.clip(expected, 0, 255)) <= 2.1
    assert np.array_equal(upscale(np.tile(line.astype(np.uint8), (3, 1)).T.copy(), width, 4, halves)[:, 0], result[0])


@pytest.mark.parametrize("halves", SCALES)
@pytest.mark.parametrize("value", [0, 77, 255])
def test_flat_planes_stay_flat(halves, value):
    plane = np.full((7, 13), value, np.uint8)
    small = downscale(plane, reduced_size(7, halves), reduced_size(13, halves), halves)
    assert small.shape == (-(-14 // halves), -(-26 // halves))
    assert (small == value).all()
    large = upscale(small, 7, 13, halves)
    assert large.shape == (7, 13)
    assert (large == value).all()


@pytest.mark.parametrize("halves", SCALES)
@pytest.mark.parametrize("size", [1, 2, 3, 17, 64, 65])
def test_there_and_back_nothing_moves(halves, size):
    """A smooth ramp comes back as it was, away from the edges, whatever the remainder of the size."""
    plane = np.tile((40 + 2.5 * np.arange(size)).astype(np.uint8), (size, 1))
    n = reduced_size(size, halves)
    back = upscale(downscale(plane, n, n, halves), size, size, halves)
    assert back.shape == plane.shape
    assert np.abs(back.astype(int) - plane)[:, 4:-6].max(initial=0) <= 1


def test_scale_1_is_the_plane_itself():
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert upscale(plane, 3, 4, 2) is plane
    assert downscale(plane, 3, 4, 2) is plane


def test_detail_does_not_fold():
    """Stripes of one sample are gray at half the size."""
    plane = np.tile(np.array([0, 255], np.uint8), (16, 16))
    assert np.abs(downscale(plane, 8, 16, 4).astype(int)[:, 3:-3] - 127.5).max() < 4


@pytest.mark.parametrize("halves", [0, 1, 5, 8])
def test_other_scales(halves):
    plane = np.zeros((4, 4), np.uint8)
    for call in (upscale, downscale):
        with pytest.raises(UsageError, match=r"1, 1\.5 or 2"):
            call(plane, 4, 4, halves)
    with pytest.raises(UsageError):
        reduced_size(4, halves)
