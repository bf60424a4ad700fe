"""The C++ extension of adaptive filters: nothing wrong gets into it, and it reads nothing that it should not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvc import _filters

CSRC = Path(__file__).parents[2] / "csrc" / "filters"
MAX_COEFFICIENT, WAYS = _filters.MAX_COEFFICIENT, _filters.WAYS

Array = np.ndarray[Any, Any]

PLANE = np.zeros((16, 20), np.uint8)
TERM = (0, 8, 16, [(0, 0, 1), (1, -2, 2)])


def arguments(**changes: Any) -> dict[str, Any]:
    return {"samples": PLANE, "planes": [PLANE, PLANE.astype(np.int16)], "terms": [TERM],
            "classes": np.zeros((2, 3), np.uint8), "side": 8, "coefficients": np.zeros((1, WAYS), np.int16),
            "threads": 1} | changes


PLANES = [([PLANE, PLANE.astype(np.float32)], "contiguous arrays of uint8 or int16"),
          ([PLANE, PLANE.astype(np.uint16)], "contiguous arrays"), ([PLANE, None], "contiguous arrays"),
          ([PLANE, np.zeros((16, 40), np.uint8)[:, ::2]], "contiguous arrays"),
          ([PLANE, np.zeros((20, 16), np.int16).T], "contiguous arrays"),
          ([PLANE, PLANE[:8]], "two sizes"), ([PLANE, np.zeros((16, 21), np.int16)], "two sizes"), ([], "no planes"),
          ([PLANE, PLANE[None]], "two-dimensional"), ([PLANE, PLANE[0].astype(np.int16)], "two-dimensional"),
          ([PLANE[:0]], "two-dimensional"), ([np.zeros((65537, 1), np.int16)], "1 to 65536 rows")]

TERMS = [([TERM] * 33, "too many terms"), ([(0, 8, 16, [(0, 0, 1)] * 4)] * 20 + [TERM], "too many places"),
         *(([(*change, [(0, 0, 0)])], "term is out of range") for change in (
    (-2, 8, 16), (2, 8, 16), (0, -1, 16), (0, 4081, 16), (0, 8, -1), (0, 8, 4081))),
    ([(0, 8, 16, [])], "term is out of range"), ([(0, 8, 16, [(0, 0, 0)] * 5)], "term is out of range"),
    *(([TERM, (0, 8, 16, [(0, 0, 0), place])], "place is out of range") for place in (
        (-1, 0, 0), (2, 0, 0), (0, 3, 0), (0, -3, 0), (0, 0, 3), (0, 0, -3), (0, -(2**31), 0), (0, 0, -(2**31))))]


@pytest.mark.parametrize(("changes", "message"), [
    *(({"planes": planes}, message) for planes, message in PLANES),
    *(({"terms": terms}, message) for terms, message in TERMS),
    ({"samples": PLANE[0]}, "two-dimensional"), ({"samples": PLANE[:, :0]}, "two-dimensional"),
    ({"samples": np.zeros((1, 65537), np.uint8)}, "1 to 65536 rows"), ({"samples": PLANE[:8]}, "two sizes"),
    ({"samples": PLANE[:, :19].copy()}, "two sizes"),
    ({"side": 0}, "sides of 4 or 8"), ({"side": 16}, "sides of 4 or 8"),
    ({"side": 4}, "classes do not fit"), ({"classes": np.zeros((3, 2), np.uint8)}, "classes do not fit"),
    ({"classes": np.zeros((2, 4), np.uint8)}, "classes do not fit"),
    ({"classes": np.zeros(6, np.uint8)}, "classes do not fit"),
    ({"classes": np.array([[0, 0, 0], [0, 0, 1]], np.uint8)}, "class without"),
    ({"coefficients": np.zeros((0, WAYS), np.int16)}, "class without"),
    ({"coefficients": np.zeros((1, 2 * WAYS), np.int16)}, "coefficients do not fit"),
    ({"coefficients": np.zeros(WAYS, np.int16)}, "coefficients do not fit"),
    *(({"coefficients": np.array([[0, 0, value]], np.int16)}, "coefficient is out of range")
      for value in (MAX_COEFFICIENT + 1, -MAX_COEFFICIENT - 1, -32768)),
    ({"threads": 0}, "threads must be"), ({"threads": -1}, "threads must be")])
def test_filters_that_cannot_be(changes, message):
    assert np.array_equal(_filters.apply(**arguments()), PLANE)
    with pytest.raises(ValueError, match=message):
        _filters.apply(**arguments(**changes))


BLOCKS = [(16, 24, 8, block) for block in (-1, 6, 2**31 - 1, -(2**31))]
BLOCKS += [(16, 20, 8, 2), (16, 20, 8, 5), (15, 24, 8, 3), (7, 7, 8, 0)]  # which are not whole
BLOCKS += [(16, 8, 8, block) for block in (2, 2**29, 2**31 - 1)] + [(8, 4, 4, 2**30)]  # whose numbers may overflow


@pytest.mark.parametrize(("height", "width", "side", "block"), BLOCKS)
def test_features_of_blocks_that_lie_outside(height, width, side, block):
    planes = [np.zeros((height, width), np.uint8)] * 2
    with pytest.raises(ValueError, match="block lies outside"):
        _filters.features(planes, [TERM], np.array([block], np.int32), side)


@pytest.mark.parametrize(("changes", "message"), [
    *(({"planes": planes}, message) for planes, message in PLANES),
    *(({"terms": terms}, message) for terms, message in TERMS), ({"side": 5}, "sides of 4 or 8")])
def test_features_that_cannot_be(changes, message):
    given = {"planes": [PLANE, PLANE], "terms": [TERM], "blocks": np.array([0, 4], np.int32), "side": 8}
    assert _filters.features(**given).shape == (WAYS, 128)
    with pytest.raises(ValueError, match=message):
        _filters.features(**given | changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"before": PLANE[:8]}, "two sizes"), ({"after": np.zeros((16, 21), np.uint8)}, "two sizes"),
    ({"frame": PLANE[0]}, "two-dimensional"), ({"after": PLANE[None]}, "two-dimensional"),
    *(({name: limits}, "limit is out of range") for name in ("activity", "change")
      for limits in ([-1, 5], [5, -1], [4081, 5], [5, 4081]))])
def test_classes_that_cannot_be(changes, message):
    given = {"frame": PLANE, "before": PLANE, "after": PLANE, "activity": [5, 9], "change": [5, 9]}
    assert not _filters.classify(**given).any()
    with pytest.raises(ValueError, match=message):
        _filters.classify(**given | changes)


@pytest.mark.parametrize("call", [
    lambda plane: _filters.apply(**arguments(samples=plane)),
    lambda plane: _filters.apply(**arguments(classes=np.zeros((2, 3), np.int64))),
    lambda plane: _filters.apply(**arguments(coefficients=np.zeros((1, WAYS), np.int32))),
    lambda plane: _filters.features([PLANE, PLANE], [TERM], np.array([0], np.int64), 8),
    lambda plane: _filters.classify(PLANE, plane, PLANE, [5, 9], [5, 9]), lambda plane: _filters.halve(plane),
    lambda plane: _filters.orient(plane)])
def test_other_types_are_not_converted(call: Callable[[Array], Any]):
    for plane in (PLANE.astype(np.int16), np.zeros((16, 40), np.uint8)[:, ::2]):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            call(plane)


FIELD = np.zeros((2, 2, 3), np.int16)


@pytest.mark.parametrize(("changes", "message"), [
    ({"reference": PLANE[:8]}, "two sizes"), ({"current": PLANE[0]}, "two-dimensional"), ({"fields": []}, "no fields"),
    *(({"fields": [FIELD, field]}, message) for field, message in (
        (FIELD[:1], "does not fit"), (FIELD[:, :1].copy(), "does not fit"), (FIELD[0], "does not fit"),
        (FIELD.astype(np.int32), "contiguous arrays of int16"), (FIELD[:, :, ::-1], "contiguous arrays of int16"))),
    ({"reach": -1}, "reach is out of range"), ({"reach": 17}, "reach is out of range"),
    ({"steps": [2, 0]}, "step is out of range"), ({"steps": [65]}, "step is out of range"),
    ({"threads": 0}, "threads must be")])
def test_vectors_that_cannot_be_refined(changes, message):
    given = {"current": PLANE, "reference": PLANE, "fields": [FIELD], "reach": 1, "steps": [1], "threads": 1}
    assert np.array_equal(_filters.refine(**given), FIELD)
    with pytest.raises(ValueError, match=message):
        _filters.refine(**given | changes)


@pytest.mark.parametrize("plane", [PLANE[0], PLANE[:0], PLANE[None], np.zeros((65537, 1), np.uint8)])
def test_planes_that_cannot_be_halved_or_oriented(plane):
    for call in (_filters.halve, _filters.orient):
        with pytest.raises(ValueError, match="two-dimensional"):
            call(plane)


@pytest.mark.slow
def test_random_input_under_sanitizers(tmp_path):
    """The C++ alone, under AddressSanitizer and UBSan: nothing is read beyond."""
    program = tmp_path / "check_filters"
    sources = [CSRC / "tests" / "check_filters.cpp", *sorted(CSRC.glob("*.cpp"))]
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-fno-sanitize-recover=all", "-pthread"]
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, *flags, "-fsanitize=address,undefined", *sources, "-o", program], check=True)
    result = subprocess.run([program, "1", "300"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "300 rounds\n"
