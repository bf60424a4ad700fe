"""Adaptive filters: what C++ gives is what plain numpy gives, sample for sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc import _filters
from lvc.enhance.adaptive import (
    CHROMA_PROPOSALS,
    CLASSES,
    COEFFICIENT,
    LUMA_PROPOSALS,
    MAX_COEFFICIENT,
    N_CHROMA,
    N_LUMA,
    PARTITIONS,
    VALUE,
    WAYS,
    Views,
    block_side,
    chroma_unit,
)
from lvc.enhance.levels import LEVELS, level_of_index

STYLES = ("noise", "extreme", "smooth", "flat")
SIZES = [(1, 1), (1, 70), (70, 1), (2, 3), (7, 9), (8, 8), (37, 21), (64, 64), (66, 129), (40, 200)]
"""(height, width)"""

Array = np.ndarray[Any, Any]


def picture(rng: np.random.Generator, height: int, width: int, style: str) -> Array:
    if style == "extreme":
        return rng.choice(np.array([0, 255], np.uint8), (height, width))
    if style == "flat":
        return np.full((height, width), rng.integers(256), np.uint8)
    if style == "smooth":
        wave = 120 * np.sin(np.arange(height)[:, None] / 9) + 8 * np.arange(width) / width
        return np.clip(128 + wave + rng.normal(0, 2, (height, width)), 0, 255).astype(np.uint8)
    return rng.integers(0, 256, (height, width), dtype=np.uint8)


def make_views(seed: int, height: int, width: int, style: str = "noise", index: int = 8,
               network: bool = True) -> Views:
    rng = np.random.default_rng(seed)
    half = (height + 1) // 2, (width + 1) // 2
    shapes = ((height, width), half, half)
    frame, before, after, *further = (tuple(picture(rng, *shape, style) for shape in shapes) for _ in range(5))
    if style == "smooth":  # neighbours are like the frame
        before, after, *further = (tuple(np.clip(plane + rng.normal(0, 2, plane.shape), 0, 255).astype(np.uint8)
                                         for plane in frame) for _ in range(4))
    reach = VALUE * (255 if style == "extreme" else 3)
    counts = LUMA_PROPOSALS, CHROMA_PROPOSALS, CHROMA_PROPOSALS
    proposals = tuple(rng.integers(-reach, reach + 1, (k, *shape)).astype(np.int16)
                      for k, shape in zip(counts, shapes, strict=True))
    return Views(frame, before, after, index, proposals if network else None, tuple(further) if seed % 4 else None)


def random_filter(seed: int, views: Views, plane: int, rows: int = 3,
                  reach: int = MAX_COEFFICIENT) -> tuple[Array, Array]:
    """(classes, coefficients)"""
    rng = np.random.default_rng(seed)
    shape = [-(-side // block_side(plane)) for side in views.frame[plane].shape]
    coefficients = rng.integers(-reach, reach + 1, (rows, N_CHROMA if plane else N_LUMA))
    if seed % 3 == 0:
        coefficients = np.sign(coefficients) * reach
    return rng.integers(0, rows, shape, dtype=np.uint8), coefficients.astype(np.int16)


# -- the same in plain numpy ---------------------------------------------------------------------------------


def reference_terms(views: Views, plane: int, orientation: int = 0) -> Iterator[tuple[Array, Array | None, int, int]]:
    """(values around a sample [places, h, w], what is subtracted, small limit, large limit), term by term.

    A filter that is turned has its places turned.
    """
    def scaled(samples: Array) -> Array:
        return VALUE * samples.astype(np.int64)

    def at(values: Array, dy: int, dx: int) -> Array:
        h, w = values.shape
        return np.pad(values, 2, "edge")[2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w]

    level = level_of_index(views.index)
    luma = round(16 * 0.7 * level), round(16 * 2.0 * level)
    own = luma if plane == 0 else (round(16 * 0.7 * chroma_unit(level)), round(16 * 2.0 * chroma_unit(level)))
    frame, *others = (scaled(planes[plane]) for planes in (
        views.frame, views.before, views.after, *(views.further or (views.frame, views.frame))))
    cross = [(0, 1), (1, 0)]
    ring = [*cross, (1, 1), (1, -1)]
    diamond = [*ring, (0, 2), (2, 0)]
    square = [*diamond, (1, 2), (2, 1), (1, -2), (2, -1), (2, 2), (2, -2)]

    def turned(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        mirrored = [(-dy, dx) if orientation & 2 else (dy, dx) for dy, dx in places]
        return [(dx, dy) if orientation & 1 else (dy, dx) for dy, dx in mirrored]

    cross, ring, diamond, square = turned(cross), turned(ring), turned(diamond), turned(square)

    def pairs(values: Array, places: list[tuple[int, int]], limits: tuple[int, int]) -> Iterator[Any]:
        for dy, dx in places:
            yield np.stack([at(values, dy, dx), at(values, -dy, -dx)]), values_below, *limits

    values_below = frame
    yield from pairs(frame, diamond if plane else square, own)
    for two in (others[:2], others[2:]):
        yield np.stack(two), frame, *own
        for dy, dx in cross:
            yield np.stack([at(values, k * dy, k * dx) for values in two for k in (1, -1)]), frame, *own
    if plane:
        wide = np.pad(views.frame[0].astype(np.int64), [(0, side % 2) for side in views.frame[0].shape], "edge")
        values_below = 4 * (wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2])
        yield from pairs(values_below, diamond, luma)
        values_below = scaled(views.frame[3 - plane])
        yield from pairs(values_below, ring, own)
    for proposal in () if views.proposals is None else views.proposals[plane]:
        yield proposal.astype(np.int64)[None], None, *own


def reference_sums(views: Views, plane: int, orientation: int = 0) -> Array:
    """Terms, each in three ways: [n, h, w]."""
    sums = []
    for values, below, small, large in reference_terms(views, plane, orientation):
        differences = values if below is None else values - below
        sums += [differences.sum(0), differences.clip(-small, small).sum(0), differences.clip(-large, large).sum(0)]
    return np.stack(sums)


def reference_orientations(views: Views) -> Array:
    wide = np.pad(views.frame[0].astype(int), 1, "edge")
    h, w = views.frame[0].shape
    middle = wide[1:-1, 1:-1]

    def bend(dy: int, dx: int) -> Array:
        one, two = (wide[1 + k * dy : 1 + k * dy + h, 1 + k * dx : 1 + k * dx + w] for k in (1, -1))
        return abs(2 * middle - one - two)

    found = np.zeros([-(-side // 8) for side in (h, w)], np.uint8)
    lines = [bend(0, 1), bend(1, 0), bend(1, 1), bend(1, -1)]
    for y, x in np.ndindex(found.shape):
        across, down, falling, rising = (line[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].sum() for line in lines)
        found[y, x] = (down > across) + 2 * (rising > falling)
    return found


def reference_filtered(views: Views, plane: int, classes: Array, coefficients: Array) -> Array:
    h, w = views.frame[plane].shape
    side = 4 if plane else 8

    def of_samples(blocks: Array) -> Array:
        return np.repeat(np.repeat(blocks, side, 0), side, 1)[:h, :w]

    weights = np.moveaxis(coefficients.astype(np.int64)[of_samples(classes)], -1, 0)
    sums = [reference_sums(views, plane, orientation) for orientation in range(4)]
    totals = [(weights[:len(own)] * own).sum(0) for own in sums]
    total = np.choose(of_samples(reference_orientations(views)), totals)
    return np.clip(views.frame[plane] + ((total + 2048) >> 12), 0, 255)


def reference_classes(views: Views) -> Array:
    level = level_of_index(views.index)
    activity, change = ([round(16 * part * level) for part in parts] for parts in ((1.0, 4.0), (0.25, 0.7)))
    frame, before, after = (planes[0].astype(int) for planes in (views.frame, views.before, views.after))
    found = np.zeros([-(-side // 8) for side in frame.shape], np.uint8)
    for place in np.ndindex(found.shape):
        block, moved = ((values[8 * place[0] : 8 * place[0] + 8, 8 * place[1] : 8 * place[1] + 8])
                        for values in (frame, abs(before + after - 2 * frame)))
        n = block.size
        variance = 256 * (n * (block**2).sum() - block.sum() ** 2)  # of values, times n squared
        found[place] = (3 * sum(variance >= (n * limit) ** 2 for limit in activity)
                        + sum(8 * moved.sum() >= n * limit for limit in change))
    return found


# -- filters -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 80), st.integers(1, 150)) | st.sampled_from(SIZES), st.integers(0, LEVELS - 1),
       st.sampled_from(STYLES), st.sampled_from([3, 60, MAX_COEFFICIENT]), st.booleans(), st.integers(0, 2**32))
def test_filtered_is_what_numpy_gives(size, index, style, reach, network, seed):
    views = make_views(seed, *size, style, index, network)
    for plane in range(3):
        classes, coefficients = random_filter(seed, views, plane, 1 + seed % 9, reach)
        found = views.filtered(plane, classes, coefficients)
        assert found.dtype == np.uint8
        assert np.array_equal(found, reference_filtered(views, plane, classes, coefficients))
        planes, terms, side = views._filter(plane)
        used = coefficients[:, :WAYS * len(terms)].copy()
        fast, scalar = (_filters.apply(views.frame[plane], planes, terms, classes, side, used, 1, plain=plain)
                        for plain in (False, True))
        assert np.array_equal(fast, scalar)  # as on a machine without AVX2


@pytest.mark.parametrize("size", SIZES)
def test_threads_do_not_matter(size):
    views = make_views(3, *size)
    for plane in range(3):
        classes, coefficients = random_filter(4, views, plane, reach=40)
        one, *others = (views.filtered(plane, classes, coefficients, threads) for threads in (1, 2, 5))
        assert not np.array_equal(one, views.frame[plane])
        for other in others:
            assert np.array_equal(one, other)


@pytest.mark.parametrize("size", SIZES)
def test_zero_coefficients_give_the_frame_back(size):
    views = make_views(1, *size)
    for plane in range(3):
        classes, coefficients = random_filter(1, views, plane)
        assert np.array_equal(views.filtered(plane, classes, 0 * coefficients), views.frame[plane])


def test_every_coefficient_matters():
    """Each of a class changes its own blocks, and no others."""
    views = make_views(7, 48, 64)
    for plane in range(3):
        side = block_side(plane)
        shape = [length // side for length in views.frame[plane].shape]
        classes = (np.arange(shape[0])[:, None] + np.arange(shape[1])).astype(np.uint8) % 2
        for n in range(N_CHROMA if plane else N_LUMA):
            coefficients = np.zeros((2, N_CHROMA if plane else N_LUMA), np.int16)
            coefficients[1, n] = COEFFICIENT
            changed = views.filtered(plane, classes, coefficients) != views.frame[plane]
            blocks = changed.reshape(shape[0], side, shape[1], side).any((1, 3))
            assert np.array_equal(blocks, classes == 1), n


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_do_not_overflow(sign):
    """As many terms of as many places with as large differences as there can be."""
    planes = [np.full((9, 70), value, np.int16) for value in (-32768, 32767)][::sign]
    terms = [(0, 4080, 4080, [(1, 2, -2)] * 4)] * 20
    coefficients = np.full((1, 60), MAX_COEFFICIENT, np.int16)
    samples = np.full((9, 70), 128, np.uint8)
    for plain in (False, True):
        found = _filters.apply(samples, planes, terms, np.zeros((2, 9), np.uint8), 8, coefficients, 1, plain)
        assert (found == (255 if sign > 0 else 0)).all()
    values = _filters.features(planes, terms, np.array([0], np.int32), 8)
    assert values.shape == (60, 64)
    assert (values[::3] == sign * 4 * 8160).all()  # values beyond those of samples were limited
    assert (values[1::3] == sign * 4 * 4080).all()


def test_without_a_network_there_are_fewer_terms():
    with_them, without = (make_views(2, 40, 48, network=network) for network in (True, False))
    for plane in range(3):
        fewer = WAYS * (CHROMA_PROPOSALS if plane else LUMA_PROPOSALS)
        blocks = np.array([1, 7, 3], np.int32)
        features = with_them.features(plane, blocks)
        assert np.array_equal(without.features(plane, blocks), features[:-fewer])
        classes, coefficients = random_filter(5, without, plane)
        coefficients[:, :-fewer] = 0
        assert np.array_equal(without.filtered(plane, classes, coefficients), without.frame[plane])
        assert not np.array_equal(with_them.filtered(plane, classes, coefficients), without.frame[plane])


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.integers(1, 70), st.integers(1, 140)) | st.sampled_from(SIZES), st.sampled_from(STYLES),
       st.integers(0, LEVELS - 1), st.integers(0, 2**32))
def test_features_are_what_filters_add_up(size, style, index, seed):
    views = make_views(seed, *size, style, index)
    for plane in range(3):
        h, w = views.frame[plane].shape
        side, cols = block_side(plane), -(-w // block_side(plane))
        blocks = (np.arange(h // side)[:, None] * cols + np.arange(w // side)).ravel().astype(np.int32)
        np.random.default_rng(seed).shuffle(blocks)
        features = views.features(plane, blocks)
        assert features.dtype == np.float32
        assert features.shape == (N_CHROMA if plane else N_LUMA, len(blocks) * side**2)
        classes, coefficients = random_filter(seed, views, plane, 1)
        own = coefficients[0].astype(float)[None, :]
        weights = np.zeros((len(blocks), features.shape[0]))  # of features as they are, in each block
        order = views.places(plane)[views.orientations.ravel()[blocks]]
        np.put_along_axis(weights, order, np.broadcast_to(own, order.shape), 1)
        by_block = features.astype(float).reshape(len(features), len(blocks), side**2) * VALUE
        total = (np.einsum("bn,nbs->bs", weights, by_block) + 2048) // 4096
        filtered, frame = views.filtered(plane, classes, coefficients), views.frame[plane]
        for block, added in zip(blocks, total.reshape(-1, side, side), strict=True):
            where = tuple(slice(side * at, side * (at + 1)) for at in divmod(int(block), cols))
            assert np.array_equal(filtered[where], np.clip(frame[where] + added, 0, 255))


# -- classes, and halved planes ------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 50), st.integers(1, 90)) | st.sampled_from(SIZES), st.integers(0, LEVELS - 1),
       st.sampled_from(STYLES), st.integers(0, 2**32))
def test_classes_are_what_numpy_gives(size, index, style, seed):
    views = make_views(seed, *size, style, index)
    assert np.array_equal(views.classes, reference_classes(views))


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 50), st.integers(1, 90)) | st.sampled_from(SIZES), st.sampled_from(STYLES),
       st.integers(0, 2**32))
def test_orientations_are_what_numpy_gives(size, style, seed):
    views = make_views(seed, *size, style)
    assert np.array_equal(views.orientations, reference_orientations(views))


def test_stripes_have_orientations():
    y, x = np.indices((32, 32))
    for angle, expected in ((x, 0), (y, 1)):
        stripes = np.where(angle // 2 % 2, 200, 40).astype(np.uint8)
        assert set(_filters.orient(stripes)[1:-1, 1:-1].ravel() & 1) == {expected}
    for angle, expected in ((x + y, 0), (x - y, 2)):
        stripes = np.where(angle // 2 % 2, 200, 40).astype(np.uint8)
        assert set(_filters.orient(stripes)[1:-1, 1:-1].ravel() & 2) == {expected}


def test_a_turned_picture_is_filtered_alike():
    """Except at blocks that change as much one way as the other."""
    views = make_views(9, 64, 64, network=False)
    classes = np.zeros((8, 8), np.uint8)
    _, coefficients = random_filter(5, views, 0, 1, 20)

    def flipped(planes: Any) -> Any:
        return tuple(np.ascontiguousarray(plane[::-1].T) for plane in planes)

    other = Views(flipped(views.frame), flipped(views.before), flipped(views.after), views.index, None,
                  tuple(flipped(planes) for planes in views.further))
    found = other.filtered(0, classes, coefficients)
    assert np.mean(found == flipped([views.filtered(0, classes, coefficients)])[0]) > 0.95


def test_every_class_and_the_limits_themselves():
    """Deviations and changes at a limit belong to the upper side of it."""
    checks = np.where(np.indices((8, 8)).sum(0) % 2, 1, -1)
    found = []
    for deviation in (2, 3, 5):
        frame = (100 + deviation * checks).astype(np.uint8)  # whose standard deviation is just that
        for change in (1, 2, 4):
            found.append(int(_filters.classify(frame, frame + np.uint8(change), frame + np.uint8(change),
                                               [16 * 3, 16 * 5], [16 * 2, 16 * 4])[0, 0]))
    assert found == list(range(CLASSES))


def test_partitions_share_classes():
    assert [sorted(set(partition.tolist())) for partition in PARTITIONS] == [[0], [0, 1, 2], list(range(9))]
    assert [len(partition) for partition in PARTITIONS] == [CLASSES] * 3
    assert PARTITIONS[1].tolist() == [k // 3 for k in range(CLASSES)]  # classes of one activity are neighbours


@pytest.mark.parametrize("size", SIZES)
def test_halves_are_means(size):
    samples = picture(np.random.default_rng(5), *size, "noise")
    halved = _filters.halve(samples)
    wide = np.pad(samples.astype(float), [(0, side % 2) for side in size], "edge")
    means = wide.reshape(len(wide) // 2, 2, -1, 2).mean((1, 3))
    assert halved.dtype == np.int16
    assert np.array_equal(halved, VALUE * means)
