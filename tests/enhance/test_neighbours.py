"""Motion-compensated neighbours: finer vectors, vectors turned round, windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc import _filters
from lvc.enhance.levels import level_of_index
from lvc.enhance.neighbours import Neighbours, turned
from lvc.enhance.seen import Seen, Windows
from lvc.ops.blockmotion import predict, search
from lvc.types import Frame

Array = np.ndarray[Any, Any]


def reference_refined(current: Array, reference: Array, fields: list[Array], reach: int, steps: list[int]) -> Array:
    h, w = current.shape
    rows, cols = -(-h // 8), -(-w // 8)
    now = np.pad(current.astype(int), ((0, 8 * rows - h), (0, 8 * cols - w)), "edge")

    def sample(y: Array, x: Array) -> Array:
        return reference[np.clip(y, 0, h - 1)[:, None], np.clip(x, 0, w - 1)].astype(int)

    def difference(row: int, col: int, v: tuple[int, int]) -> int:
        y, x = np.arange(8 * row, 8 * row + 8) + (v[1] >> 2), np.arange(8 * col, 8 * col + 8) + (v[0] >> 2)
        right, below = v[0] & 3, v[1] & 3
        lines = [sample(y + k, x) * (4 - right) + sample(y + k, x + 1) * right for k in (0, 1)]
        mean = (lines[0] * (4 - below) + lines[1] * below + 8) >> 4
        return int(abs(mean - now[8 * row : 8 * row + 8, 8 * col : 8 * col + 8]).sum())

    found = np.zeros((2, rows, cols), np.int16)
    for row, col in np.ndindex(rows, cols):
        tried = [(row, col)]
        tried += [(row + k * dy, col + k * dx) for k in range(1, reach + 1)
                  for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))]
        vectors = [tuple(fields[0][:, min(max(y, 0), rows - 1), min(max(x, 0), cols - 1)].tolist()) for y, x in tried]
        vectors += [tuple(field[:, row, col].tolist()) for field in fields[1:]]
        best = min(vectors, key=lambda v: difference(row, col, v))
        for step in steps:
            moves = (0, 0), (step, 0), (-step, 0), (0, step), (0, -step)
            around = [tuple(np.clip((best[0] + dx, best[1] + dy), -(2**15), 2**15 - 1).tolist()) for dx, dy in moves]
            best = min(around, key=lambda v: difference(row, col, v))
        found[:, row, col] = best
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.sampled_from([3, 40, 32767]), st.integers(1, 3), st.integers(0, 2),
       st.lists(st.integers(1, 5), max_size=3), st.integers(0, 2**32))
def test_refined_vectors_are_what_numpy_gives(height, width, far, count, reach, steps, seed):
    rng = np.random.default_rng(seed)
    current, reference = (rng.integers(0, 256, (height, width), dtype=np.uint8) for _ in range(2))
    shape = 2, -(-height // 8), -(-width // 8)
    fields = [rng.integers(-far, far + 1, shape).astype(np.int16) for _ in range(count)]
    found = _filters.refine(current, reference, fields, reach, steps, 1)
    assert np.array_equal(found, reference_refined(current, reference, fields, reach, steps))
    assert np.array_equal(found, _filters.refine(current, reference, fields, reach, steps, 3))


def test_turned_vectors_lead_back(textured_frames, psnr):
    one, two = textured_frames(2, 96, 64)
    there = search(one.y, two.y, 4.0, effort=0).vectors
    back = turned(there)[0]
    assert psnr(two.y, predict(one.planes, back)[0]) > psnr(two.y, one.y) + 6.0
    still = np.zeros((2, 3, 5), np.int16)
    assert all(np.array_equal(field, still) for field in turned(still))
    far = np.full((2, 3, 5), -(2**15), np.int16)
    assert all((field == 2**15 - 1).all() for field in turned(far))


def windows_of(frames: list[Frame], starts: tuple[int, ...] = (0,)) -> list[Any]:
    windows = Windows()
    pushed = [w for i, frame in enumerate(frames) for w in windows.push(Seen(frame, 8, i in starts))]
    return pushed + windows.flush()


@pytest.mark.parametrize("starts", [(0,), (0, 1), (0, 3), (0, 4, 5, 6), (0, 2, 7)])
def test_windows_stay_within_groups(starts, textured_frames):
    frames = textured_frames(9, 16, 16)
    group = np.searchsorted(starts, np.arange(9), side="right")
    windows = windows_of(frames, starts)
    assert [w[2].frame for w in windows] == frames
    for at, window in enumerate(windows):
        expected = [i if 0 <= i < 9 and group[i] == group[at] else None for i in range(at - 2, at + 3)]
        assert [None if seen is None else frames.index(seen.frame) for seen in window] == expected


def test_windows_come_as_soon_as_they_are_complete(textured_frames):
    windows = Windows()
    counts = [len(windows.push(Seen(frame, 8, i in (0, 5)))) for i, frame in enumerate(textured_frames(8, 16, 16))]
    assert counts == [0, 0, 1, 1, 1, 2, 0, 1]
    assert len(windows.flush()) == 2
    assert not windows.flush()


def test_neighbours_do_not_depend_on_threads_or_what_came_before(textured_frames, psnr):
    frames = textured_frames(12, 96, 64)
    running = Neighbours()
    for number, window in enumerate(windows_of(frames)):
        found = running(window)
        for other in (Neighbours()(window), Neighbours()(window, 3)):
            assert all(np.array_equal(a, b) for one, two in zip(found, other, strict=True)
                       for a, b in zip(one, two, strict=True))
        now = window[2].frame
        for planes, seen in zip(found, (window[1], window[3], window[0], window[4]), strict=True):
            if seen is None:
                assert all(np.array_equal(a, b) for a, b in zip(planes, now.planes, strict=True))
            else:
                assert psnr(now.y, planes[0]) > psnr(now.y, seen.frame.y) + 4.0, number
    assert level_of_index(8) > 1
