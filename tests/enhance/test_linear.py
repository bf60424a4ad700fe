"""The classical enhancer: pictures halfway between two others."""

from __future__ import annotations

import numpy as np
import pytest

from lvc.enhance.linear import between, bilateral, enlarged, halves
from lvc.types import Frame


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random texture."""
    rng = np.random.default_rng(seed)
    canvas = rng.integers(16, 236, (height // 4 + 2, width // 4 + 2)).astype(np.float64)
    rows, columns = np.arange(height) / 4, np.arange(width) / 4
    r, c = rows.astype(int), columns.astype(int)
    fr, fc = (rows - r)[:, None], (columns - c)[None]
    top = canvas[r][:, c] * (1 - fc) + canvas[r][:, c + 1] * fc
    low = canvas[r + 1][:, c] * (1 - fc) + canvas[r + 1][:, c + 1] * fc
    return np.rint(top * (1 - fr) + low * fr).astype(np.uint8)


def planes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    half = ((y.shape[0] + 1) // 2, (y.shape[1] + 1) // 2)
    return np.ascontiguousarray(y), np.full(half, 100, np.uint8), np.full(half, 140, np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


@pytest.mark.parametrize("shift", [(0, 0), (0, 12), (6, -4), (-10, 10)])
def test_straight_motion_is_found(shift):
    world = textured(160, 200)
    dy, dx = shift
    first, middle, second = (world[40 + k * dy // 2:112 + k * dy // 2, 40 + k * dx // 2:141 + k * dx // 2]
                             for k in range(3))
    y, u, v = between(planes(first), planes(second), 1.0)
    assert y.shape == first.shape
    inside = slice(16, -16), slice(16, -16)
    assert psnr(y[inside], middle[inside]) > 45
    assert (u == 100).all()
    assert (v == 140).all()
    if shift != (0, 0):
        mean = ((first.astype(int) + second + 1) // 2).astype(np.uint8)
        assert psnr(mean[inside], middle[inside]) < 35  # so motion was needed


def test_an_object_on_a_still_ground():
    ground, thing = textured(96, 128), textured(32, 32, 5) // 2 + 100
    pictures = []
    for x in (32, 40, 48):
        picture = ground.copy()
        picture[32:64, x:x + 32] = thing
        pictures.append(picture)
    y, _, _ = between(planes(pictures[0]), planes(pictures[2]), 1.0)
    assert psnr(y[36:60, 44:68], pictures[1][36:60, 44:68]) > 38
    assert np.abs(y[:16].astype(int) - ground[:16]).max() <= 1


def test_the_other_way_round_the_same_motion():
    world = textured(120, 160)
    first, second = world[8:104, 8:136].copy(), world[14:110, 2:130].copy()
    inside = slice(None), slice(2, -2), slice(2, -2)
    there, back = bilateral(first, second, 2.0)[inside], bilateral(second, first, 2.0)[inside]
    assert (there == np.array([24, -24])[:, None, None]).mean() > 0.95
    assert (there == -back).mean() > 0.9


def test_halves_add_up():
    motion = np.array([-32768, -5, -1, 0, 1, 2, 7, 32767], np.int16).reshape(2, 2, 2)
    back, forth = halves(motion)
    assert back.dtype == forth.dtype == np.int16
    assert np.array_equal(forth.astype(int) - back, motion)
    assert np.abs(forth.astype(int) + back).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 9), (33, 20)])
def test_any_size_and_threads(width, height):
    rng = np.random.default_rng(1)
    first, second = (planes(rng.integers(0, 256, (height, width), dtype=np.uint8)) for _ in range(2))
    one, two = between(first, second, 3.0), between(first, second, 3.0, threads=2)
    for a, b, c in zip(one, two, first, strict=True):
        assert a.shape == c.shape
        assert np.array_equal(a, b)
    for a, c in zip(between(first, first, 3.0), first, strict=True):
        assert np.array_equal(a, c)


def test_enlarged():
    frame = Frame(*planes(textured(10, 14)), 77)
    large = enlarged(frame, 20, 15, 3)
    assert (large.width, large.height, large.pts) == (20, 15, 77)
    assert (large.u == 100).all()
