"""Block motion: the same bytes as plain numpy, for every instruction set; searches that find what moved."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.ndimage import gaussian_filter

from lvc.errors import UsageError
from lvc.ops import blockmotion_reference as reference
from lvc.ops.blockmotion import (
    BLOCK,
    MAX_EFFORT,
    MAX_LAGRANGIAN,
    WINDOWS,
    BlockMotion,
    Second,
    chain,
    disagreement,
    field_shape,
    mirror,
    predict,
    search,
    simd_levels,
)

CSRC = Path(__file__).parents[2] / "csrc" / "motion"
SIZES = [(1, 1), (1, 9), (17, 3), (8, 8), (33, 70), (50, 101), (96, 160)]


def random_planes(rng: np.random.Generator, height: int, width: int, *, extreme: bool = False) -> list[Any]:
    half = ((height + 1) // 2, (width + 1) // 2)
    planes = [rng.integers(0, 2 if extreme else 256, shape, dtype=np.uint8)
              for shape in ((height, width), half, half)]
    return [plane * 255 for plane in planes] if extreme else planes


def texture(rng: np.random.Generator, height: int, width: int, sigma: float = 1.5) -> Any:
    noise = gaussian_filter(rng.standard_normal((height, width)), sigma)
    return 128 + noise * (45 / noise.std())


def to_samples(values: Any) -> Any:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def shifted_pair(dx: int, dy: int, height: int = 120, width: int = 176) -> tuple[Any, Any]:
    """(current, reference) with current(x) = reference(x + d / 4), from a texture four times as fine."""
    fine = texture(np.random.default_rng(7), 4 * height + 512, 4 * width + 512, 8.0)
    cut = [to_samples(fine[256 + y : 256 + y + 4 * height : 4, 256 + x : 256 + x + 4 * width : 4])
           for x, y in ((dx, dy), (0, 0))]
    return cut[0], cut[1]


def total_error(current: Any, other: Any, motion: BlockMotion, window: str) -> int:
    predicted = reference.predict_plane(other, motion.vectors, window=window)
    return int(np.abs(current.astype(int) - predicted).sum())


def squares(motion: BlockMotion) -> float:
    """How many squares a field has; those that the picture's edge cuts count by their part inside."""
    return sum(float((motion.sizes == size).sum()) / (size // BLOCK) ** 2 for size in (8, 16, 32))


@pytest.mark.parametrize("simd", simd_levels())
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_prediction_is_that_of_the_reference(size: tuple[int, int], window: str, simd: str) -> None:
    rng = np.random.default_rng(3)
    for reach in (1, 4, 40, 400, 32768):
        planes = random_planes(rng, *size, extreme=reach == 4)
        field = rng.integers(-reach, reach, field_shape(*size)).astype(np.int16)
        odd = field[:, ::2, 1::2]
        odd[:] = field[:, ::2, ::2][:, :, : odd.shape[2]]  # runs of one vector, too
        expected = reference.predict(planes, field, window=window)
        for got, want in zip(predict(planes, field, window=window, simd=simd), expected, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("simd", simd_levels())
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_prediction_by_two_references_is_that_of_the_reference(size: tuple[int, int], window: str, simd: str) -> None:
    rng = np.random.default_rng(4)
    for reach, share in ((1, 0.5), (40, 0.9), (400, 0.2), (32768, 0.5)):
        one, two = (random_planes(rng, *size, extreme=reach == 40) for _ in range(2))
        fields = [rng.integers(-reach, reach, field_shape(*size)).astype(np.int16) for _ in range(2)]
        compound = rng.random(field_shape(*size)[1:]) < share
        for array in (*fields, compound[None]):
            odd = array[:, ::2, 1::2]
            odd[:] = array[:, ::2, ::2][:, :, : odd.shape[2]]  # runs of blocks that are predicted alike, too
        second = Second(two, fields[1], compound)
        expected = reference.predict(one, fields[0], second=second, window=window)
        for got, want in zip(predict(one, fields[0], second=second, window=window, simd=simd), expected, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("window", WINDOWS)
def test_means_of_two_references_by_hand(window: str) -> None:
    """The mean where all blocks take both, rounded up; the first reference where none does."""
    rng = np.random.default_rng(8)
    one, two = random_planes(rng, 40, 56), random_planes(rng, 40, 56)
    still = np.zeros(field_shape(40, 56), np.int16)
    for compound in (False, True):
        second = Second(two, still, np.full(still.shape[1:], compound))
        for a, b, got in zip(one, two, predict(one, still, second=second, window=window), strict=True):
            want = (a.astype(int) + b + 1) >> 1 if compound else a
            np.testing.assert_array_equal(got, want)


def test_chains_lead_through_the_block_pointed_to() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-100, 101, (2, 4, 6)).astype(np.int16)
    vectors[:, 0, 0], vectors[:, 0, 1], vectors[:, 1, 1] = (15, 16), (-16, -17), (32767, -32768)
    beyond = rng.integers(-999, 1000, (2, 4, 6)).astype(np.int16)
    got = chain(vectors, beyond)
    for i, j in np.ndindex(4, 6):
        column, row = (int(np.floor(int(v) / 32 + 0.5)) for v in vectors[:, i, j])
        want = vectors[:, i, j].astype(int) + beyond[:, min(max(i + row, 0), 3), min(max(j + column, 0), 5)]
        assert got[:, i, j].tolist() == np.clip(want, -32768, 32767).tolist()
    assert got.dtype == np.int16


def test_disagreement_is_of_predictions_without_overlap() -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.integers(0, 256, (24, 40), dtype=np.uint8) for _ in range(2))
    fields = [rng.integers(-50, 51, (2, 3, 5)).astype(np.int16) for _ in range(2)]
    a, b = (reference.predict_plane(p, f).astype(int) for p, f in zip((one, two), fields, strict=True))
    want = np.abs(a - b).reshape(3, BLOCK, 5, BLOCK).sum((1, 3))
    np.testing.assert_array_equal(disagreement(one, fields[0], two, fields[1]), want)
    assert not disagreement(one, fields[0], one, fields[0]).any()


def test_half_a_sample_by_hand() -> None:
    """An edge from 0 to 255, seen half a luma sample further right: the taps of H.265, table 8-11, summed."""
    row = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)
    planes = (np.tile(row, (8, 1)), np.tile(row[::2], (4, 1)), np.tile(row[::2], (4, 1)))
    field = np.zeros((2, 1, 2), np.int16)
    field[0] = 2
    y, u, _ = predict(planes, field, window="none")
    # Sums over the taps that see 255: -1, 3, -8, 32, 72, 61, 65, 64 sixty-fourths.
    assert y[3].tolist() == [0, 0, 0, 0, 0, 12, 0, 128, 255, 243, 255, 255, 255, 255, 255, 255]
    # A quarter of a chroma sample: taps -4, 54, 16, -2.
    assert u[1].tolist() == [0, 0, 0, 56, 255, 255, 255, 255]


@pytest.mark.parametrize("window", WINDOWS)
def test_whole_samples_are_copied(window: str) -> None:
    planes = random_planes(np.random.default_rng(0), 48, 64)
    field = np.zeros(field_shape(48, 64), np.int16)
    field[0], field[1] = 4 * 6, -4 * 10
    y, u, v = predict(planes, field, window=window)
    np.testing.assert_array_equal(y[10:, :-6], planes[0][:-10, 6:])
    np.testing.assert_array_equal(u[5:, :-3], planes[1][:-5, 3:])
    np.testing.assert_array_equal(v[5:, :-3], planes[2][:-5, 3:])
    np.testing.assert_array_equal(y[:10, :-6], np.tile(planes[0][0, 6:], (10, 1)))


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_windows_weigh_to_one_and_keep_block_centres(window: str) -> None:
    for block in (8, 4):
        later = np.array(reference.LATER_WEIGHT[window, block])
        np.testing.assert_array_equal(later + later[::-1], 16)
        assert (np.diff(later) > 0).all()
    planes = random_planes(np.random.default_rng(1), 40, 56)
    field = np.full(field_shape(40, 56), 5, np.int16)
    for blended, plain in zip(predict(planes, field, window=window), predict(planes, field, window="none")):
        np.testing.assert_array_equal(blended, plain)
    planes = [np.full_like(plane, 200) for plane in planes]
    field = np.random.default_rng(2).integers(-99, 99, field.shape).astype(np.int16)
    for blended in predict(planes, field, window=window):
        assert (blended == 200).all()


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -3), (2, 2), (-7, 5), (39, -22), (-130, 61)])
def test_shifts_are_found(dx: int, dy: int) -> None:
    """Also quarter samples, and shifts far beyond the finest levels' reach."""
    current, other = shifted_pair(dx, dy)
    motion = search(current, other, 4.0)
    inside = motion.vectors[:, 4:-4, 5:-5]
    assert np.mean((inside[0] == dx) & (inside[1] == dy)) > 0.97
    crop = np.s_[32:-32, 40:-40]
    predicted = reference.predict_plane(other, motion.vectors)
    assert np.abs(predicted[crop].astype(int) - current[crop]).mean() < 1.0


def test_what_stands_still_is_one_vector() -> None:
    picture, _ = shifted_pair(0, 0, 96, 128)
    motion = search(picture, picture, 1.0)
    assert not motion.vectors.any()
    assert not motion.satd.any()
    assert (motion.sizes == 32).all()


def test_two_objects_are_told_apart() -> None:
    current, other = shifted_pair(0, 0, 96, 128)
    moved, moved_from = shifted_pair(12, -8, 96, 128)
    current[24:64, 40:88], other[12:68, 32:96] = moved[24:64, 40:88], moved_from[12:68, 32:96]
    motion = search(current, other, 4.0)
    inside, outside = motion.vectors[:, 3:8, 5:11], motion.vectors[:, 10:, :]
    assert (inside == np.array([12, -8])[:, None, None]).all()
    assert not outside.any()
    assert (motion.sizes[3, 5:11] < 32).all()
    assert (motion.sizes == 32).any()


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_searches_agree(size: tuple[int, int], effort: int) -> None:
    """The same for all threads and instruction sets, in squares, with the SATD that it says."""
    rng = np.random.default_rng(5)
    current, other = (to_samples(texture(rng, *size) + rng.normal(0, 6, size)) if min(size) > 8
                      else rng.integers(0, 256, size, dtype=np.uint8) for _ in range(2))
    previous = rng.integers(-300, 300, field_shape(*size)).astype(np.int16)
    window = WINDOWS[effort % 3]
    first = search(current, other, 3.0, previous=previous, window=window, effort=effort)
    assert first.vectors.shape == field_shape(*size)
    for simd in simd_levels():
        for threads in (1, 2, 7):
            again = search(current, other, 3.0, previous=previous, window=window, effort=effort,
                           threads=threads, simd=simd)
            for name in ("vectors", "sizes", "satd"):
                np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    rows, columns = first.sizes.shape
    for row in range(rows):
        for column in range(columns):
            n = int(first.sizes[row, column]) // BLOCK
            top, left = row // n * n, column // n * n
            assert (first.sizes[top : top + n, left : left + n] == n * BLOCK).all()
            assert (first.vectors[:, row, column] == first.vectors[:, top, left]).all()
    pad = ((0, -size[0] % BLOCK), (0, -size[1] % BLOCK))
    whole = np.pad(other, pad, mode="edge")
    difference = np.pad(current, pad, mode="edge").astype(int) - reference.predict_plane(whole, first.vectors)
    parts = difference.reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
    satd = np.abs(hadamard(BLOCK) @ parts @ hadamard(BLOCK)).sum((2, 3))
    np.testing.assert_array_equal(first.satd, (satd + 2) // 4)


def noisy_history(noise: float) -> tuple[Any, Any, Any, Any]:
    """(current, first, second, vectors between each two): a texture that moves, the references with noise."""
    rng = np.random.default_rng(9)
    fine = texture(rng, 200, 300)
    current, first, second = (fine[20 + y : 116 + y, 30 + x : 222 + x] for y, x in ((0, 0), (3, -2), (6, -4)))
    field = np.zeros(field_shape(96, 192), np.int16)
    field[0], field[1] = 4 * 2, -4 * 3
    return (to_samples(current), *(to_samples(p + rng.normal(0, noise, p.shape)) for p in (first, second)), field)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
def test_the_mean_of_two_noisy_references_is_taken(effort: int, window: str) -> None:
    current, first, second, field = noisy_history(6.0)
    found = search(current, first, 4.0, second=(second, field), window=window, effort=effort)
    assert np.mean(found.compound) > 0.7
    alone = search(current, first, 4.0, window=window, effort=effort)
    assert not alone.compound.any()
    halves = ((48, 96), (48, 96))
    planes = [(p, np.zeros(halves[0], np.uint8), np.zeros(halves[1], np.uint8)) for p in (first, second)]
    mean = predict(planes[0], found.vectors, window=window,
                   second=Second(planes[1], chain(found.vectors, field), found.compound))[0]
    single = predict(planes[0], alone.vectors, window=window)[0]
    errors = [float(((p.astype(int) - current)[8:-8, 8:-8] ** 2).mean()) for p in (mean, single)]
    assert errors[0] < 0.7 * errors[1]  # the variance of the noise is halved


def test_a_second_reference_of_no_use_is_left_alone() -> None:
    current, first, _, field = noisy_history(3.0)
    other = np.random.default_rng(0).integers(0, 256, current.shape, dtype=np.uint8)
    found = search(current, first, 4.0, second=(other, field))
    assert not found.compound.any()
    np.testing.assert_array_equal(found.vectors, search(current, first, 4.0).vectors)


@pytest.mark.parametrize("effort", range(MAX_EFFORT + 1))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_searches_with_two_references_agree(size: tuple[int, int], effort: int) -> None:
    """The same for all threads and instruction sets, alike in squares, with the SATD that it says."""
    rng = np.random.default_rng(6)
    clean = to_samples(texture(rng, *size)).astype(int) if min(size) > 8 else rng.integers(0, 256, size)
    current, one, two = (to_samples(clean + rng.normal(0, 8, size)) for _ in range(3))
    beyond = rng.integers(-3, 4, field_shape(*size)).astype(np.int16)
    window = WINDOWS[effort % 3]
    first = search(current, one, 3.0, second=(two, beyond), window=window, effort=effort)
    assert first.compound.dtype == np.bool_
    assert first.compound.any() or min(size) < 9
    for simd in simd_levels():
        for threads in (1, 3):
            again = search(current, one, 3.0, second=(two, beyond), window=window, effort=effort,
                           threads=threads, simd=simd)
            for name in ("vectors", "sizes", "satd", "compound"):
                np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    rows, columns = first.sizes.shape
    for row, column in np.ndindex(rows, columns):
        n = int(first.sizes[row, column]) // BLOCK
        assert first.compound[row, column] == first.compound[row // n * n, column // n * n]
    pad = ((0, -size[0] % BLOCK), (0, -size[1] % BLOCK))
    a, b = (reference.predict_plane(np.pad(p, pad, mode="edge"), field).astype(int)
            for p, field in ((one, first.vectors), (two, chain(first.vectors, beyond))))
    predicted = np.where(np.kron(first.compound, np.ones((BLOCK, BLOCK))) > 0, (a + b + 1) >> 1, a)
    parts = (np.pad(current, pad, mode="edge") - predicted).reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
    satd = np.abs(hadamard(BLOCK) @ parts @ hadamard(BLOCK)).sum((2, 3))
    np.testing.assert_array_equal(first.satd, (satd + 2) // 4)


def busy_pair() -> tuple[Any, Any]:
    """A texture that is stretched, so that every block moves by another fraction."""
    rng = np.random.default_rng(11)
    fine = texture(rng, 1100, 1500, 6.0)
    rows, columns = np.mgrid[:192, :256]
    other = to_samples(fine[40 + 4 * rows, 40 + 4 * columns])
    current = to_samples(fine[40 + 4 * rows + rows // 20, 50 + 4 * columns - columns // 30])
    return current, other


@pytest.mark.parametrize("window", WINDOWS)
def test_the_lagrangian_trades_error_for_vectors(window: str) -> None:
    current, other = busy_pair()
    found = [search(current, other, lagrangian, window=window) for lagrangian in (0.0, 30.0, 300.0)]
    counts = [squares(motion) for motion in found]
    assert counts[0] > 1.5 * counts[1] > 2 * counts[2]
    errors = [total_error(current, other, motion, window) for motion in found]
    assert errors[0] < errors[1] < errors[2] < np.abs(current.astype(int) - other).sum() / 2


def test_effort_pays() -> None:
    """With bits for nothing, what a search minimises is the SATD."""
    current, other = busy_pair()
    errors = [int(search(current, other, 0.0, window="none", effort=effort).satd.sum())
              for effort in range(MAX_EFFORT + 1)]
    assert errors[0] > 1.1 * errors[1] > 1.1 * errors[2] >= 1.1 * errors[3]


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_a_search_for_a_window_serves_it_better(window: str) -> None:
    current, other = busy_pair()
    errors = [total_error(current, other, search(current, other, 4.0, window=w), window)
              for w in (window, "none")]
    assert errors[0] < 0.997 * errors[1]


def test_the_former_field_leads_where_the_search_would_not_reach() -> None:
    fine = to_samples(texture(np.random.default_rng(4), 160, 1000))
    current, other = fine[:, 200:800].copy(), fine[:, :600].copy()  # too far for 1/8 of the resolution
    previous = np.zeros(field_shape(160, 600), np.int16)
    previous[0] = 4 * 200
    inside = np.s_[0, :, : (600 - 200) // BLOCK - 4]
    alone = search(current, other, 4.0, effort=0)
    led = search(current, other, 4.0, effort=0, previous=previous)
    assert np.mean(alone.vectors[inside] == 800) < 0.1
    assert np.mean(led.vectors[inside] == 800) > 0.95


def test_strided_and_read_only_arrays() -> None:
    rng = np.random.default_rng(0)
    planes = random_planes(rng, 48, 64)
    field = rng.integers(-20, 20, field_shape(48, 64)).astype(np.int16)
    wide = [np.repeat(plane, 2, axis=1)[:, ::2] for plane in planes]
    for plane in wide:
        plane.flags.writeable = False
    for got, want in zip(predict(wide, np.asfortranarray(field)), predict(planes, field)):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(search(wide[0], planes[0][::-1], 2.0).vectors,
                                  search(planes[0], planes[0][::-1].copy(), 2.0).vectors)


PLANES = (np.zeros((16, 24), np.uint8), np.zeros((8, 12), np.uint8), np.zeros((8, 12), np.uint8))
FIELD = np.zeros((2, 2, 3), np.int16)


@pytest.mark.parametrize(("arguments", "options", "message"), [
    ((PLANES[:2], FIELD), {}, "three arrays"),
    ((PLANES[0], FIELD), {}, "three arrays"),
    ((None, FIELD), {}, "three arrays"),
    (((PLANES[0].astype(np.int16), *PLANES[1:]), FIELD), {}, "plane Y must be .* uint8"),
    (((PLANES[0], PLANES[1], PLANES[2][:, 1:]), FIELD), {}, "chroma planes of a 24x16"),
    (((PLANES[0][:0], *PLANES[1:]), FIELD), {}, "plane Y must have 1 to"),
    (((*PLANES[:2], PLANES[2][0]), FIELD), {}, "plane V must be a two-dimensional"),
    ((PLANES, FIELD[:, :1]), {}, r"vectors must be an int16 array of shape \(2, 2, 3\)"),
    ((PLANES, FIELD.astype(np.int32)), {}, "vectors must be an int16"),
    ((PLANES, None), {}, "vectors must be an int16"),
    ((PLANES, FIELD), {"window": "hann"}, "window must be one of none, linear, cosine"),
    ((PLANES, FIELD), {"window": None}, "window must be one of"),
    ((PLANES, FIELD), {"simd": "mmx"}, "simd must be auto or one of"),
])
def test_wrong_predictions_are_refused(arguments: tuple[Any, ...], options: dict[str, Any],
                                       message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(*arguments, **options)


OTHER = Second(PLANES, FIELD, np.zeros((2, 3), np.bool_))


@pytest.mark.parametrize(("second", "message"), [
    (Second(PLANES[:2], FIELD, OTHER.compound), "three arrays"),
    (Second((PLANES[0][:8], PLANES[1][:4], PLANES[2][:4]), FIELD, OTHER.compound), "both references must have one"),
    (Second(PLANES, FIELD[:, :1], OTHER.compound), "vectors of the second reference must be an int16 array"),
    (Second(PLANES, FIELD, OTHER.compound[:1]), r"compound must be a bool array of shape \(2, 3\)"),
    (Second(PLANES, FIELD, OTHER.compound.astype(np.uint8)), "compound must be a bool array"),
])
def test_wrong_second_references_are_refused(second: Second, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(PLANES, FIELD, second=second)


def test_wrong_fields_and_planes_are_refused() -> None:
    for arguments in ((FIELD, FIELD[:, :1]), (FIELD[0], FIELD), (FIELD, FIELD.astype(np.int32)), (None, FIELD)):
        with pytest.raises(UsageError):
            chain(*arguments)  # type: ignore[arg-type]
    for plane in (PLANES[1], np.zeros((15, 24), np.uint8), None):
        with pytest.raises(UsageError):
            disagreement(plane, FIELD, PLANES[0], FIELD)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="int16"):
        disagreement(PLANES[0], FIELD[:, :1], PLANES[0], FIELD)


@pytest.mark.parametrize(("changes", "message"), [
    ({"current": PLANES[1]}, "must have one shape"),
    ({"reference": "x"}, "plane reference must be"),
    ({"lagrangian": -1.0}, "lagrangian must be a number from 0"),
    ({"lagrangian": float("nan")}, "lagrangian must be"),
    ({"lagrangian": 2 * MAX_LAGRANGIAN}, "lagrangian must be"),
    ({"lagrangian": "much"}, "lagrangian must be"),
    ({"lagrangian": None}, "lagrangian must be"),
    ({"previous": FIELD[0]}, "previous must be an int16 array"),
    ({"second": PLANES[0]}, "second must be a plane and a field"),
    ({"second": (PLANES[1], FIELD)}, "field of the second reference|must have one shape"),
    ({"second": (PLANES[0], FIELD[:, :1])}, "field of the second reference must be an int16 array"),
    ({"window": "hann"}, "window must be one of none, linear, cosine"),
    ({"effort": MAX_EFFORT + 1}, "effort must be an integer from 0"),
    ({"effort": 1.5}, "effort must be"),
    ({"effort": True}, "effort must be"),
    ({"threads": 0}, "threads must be an integer from 1"),
    ({"simd": ["auto"]}, "simd must be"),
])
def test_wrong_searches_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"current": PLANES[0], "reference": PLANES[0], "lagrangian": 1.0} | changes
    with pytest.raises(UsageError, match=message):
        search(**arguments)


@pytest.mark.slow
def test_random_input_under_sanitizers(tmp_path: Path) -> None:
    """The C++ alone, under AddressSanitizer and UBSan: kernels and threads agree, nothing is read beyond."""
    program = tmp_path / "check_motion"
    sources = [CSRC / "tests" / "check_motion.cpp", *sorted(CSRC.glob("*.cpp"))]
    flags = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-fno-sanitize-recover=all", "-pthread"]
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, *flags, "-fsanitize=address,undefined", *sources, "-o", program], check=True)
    result = subprocess.run([program, "1", "60"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"60 rounds, {len(simd_levels())} kernels\n"


def test_a_mirrored_second_reference_takes_noise_away() -> None:
    """Of a steady pan between two noisy pictures, most squares are the mean of both, by vectors there and back."""
    rng = np.random.default_rng(5)
    wide = gaussian_filter(rng.standard_normal((80, 128)), 2.0)
    wide = 128 + 40 * wide / wide.std()

    def at(x: int, noise: float) -> Any:
        part = wide[8:72, 20 + x : 100 + x]
        return np.clip(np.rint(part + rng.normal(0, noise, part.shape)), 0, 255).astype(np.uint8)

    past, current, future = at(-3, 6), at(0, 0), at(3, 6)
    found = [search(current, past, 2.0, second=(future, None), effort=2, threads=threads, simd=simd)
             for threads in (1, 3) for simd in simd_levels()]
    for other in found[1:]:
        np.testing.assert_array_equal(other.vectors, found[0].vectors)
        np.testing.assert_array_equal(other.compound, found[0].compound)
        np.testing.assert_array_equal(other.satd, found[0].satd)
    motion = found[0]
    assert motion.compound[1:-1, 1:-1].mean() > 0.8
    assert abs(np.median(motion.vectors[0, 1:-1, 1:-1]) - 12) <= 2
    assert abs(np.median(motion.vectors[1, 1:-1, 1:-1])) <= 2
    chroma = np.full((32, 40), 128, np.uint8)
    errors = []
    for second in (None, Second((future, chroma, chroma), mirror(motion.vectors), motion.compound)):
        luma = predict((past, chroma, chroma), motion.vectors, second=second)[0]
        errors.append(float(np.mean((luma[8:-8, 8:-8].astype(float) - current[8:-8, 8:-8]) ** 2)))
    assert errors[1] < 0.7 * errors[0]
    alone = search(current, past, 2.0, effort=2)
    assert motion.satd.sum() < 0.9 * alone.satd.sum()


def test_mirror() -> None:
    field = np.array([[[0, 5, -(2**15)]], [[2**15 - 1, -7, 1]]], np.int16)
    assert mirror(field).tolist() == [[[0, -5, 2**15 - 1]], [[-(2**15) + 1, 7, -1]]]
    assert mirror(field).dtype == np.int16
