"""The encoder's side of the filters: what it finds is worth its bits, and brings what it predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from lvc.enhance import adaptivefit
from lvc.enhance.adaptive import CLASSES, COEFFICIENT, MAX_COEFFICIENT, N_CHROMA, N_LUMA, PARTITIONS, VALUE, Views
from lvc.enhance.adaptivefit import PLANE_WEIGHTS, Normal, PooledPlane, _quantize, fit, normal_equations
from lvc.enhance.coefficients import Coefficients, Quantized
from lvc.enhance.levels import index_of_level
from lvc.enhance.prior import PER_OCTAVE, QUANTA, FilterPrior

PRIOR = FilterPrior()
RICH = 1e6
"""Bits that make coefficients cheap."""

Array = np.ndarray[Any, Any]
Planes = tuple[Array, Array, Array]


def picture(rng: np.random.Generator, height: int, width: int) -> Array:
    """A texture that is strong to the left and weak to the right."""
    texture = gaussian_filter(rng.standard_normal((height, width)), 1.5)
    return 128 + texture / max(texture.std(), 1e-3) * np.linspace(28, 2, width)


def samples(x: Array) -> Array:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def make_group(seed: int, count: int = 2, height: int = 96, width: int = 128, noise: float = 4.0, blur: float = 0.8,
               hint: float = 0.0) -> list[tuple[Views, Planes]]:
    """Frames with their originals. ``hint``: share of the error that the first proposal gives away."""
    rng = np.random.default_rng(seed)
    shapes = ((height, width), *[((height + 1) // 2, (width + 1) // 2)] * 2)
    group = []
    for _ in range(count):
        originals = [picture(rng, *shape) for shape in shapes]
        frame, before, after = (
            tuple(samples(gaussian_filter(x, blur) + rng.normal(0, noise, x.shape)) for x in originals)
            for _ in range(3))
        goals = tuple(samples(x) for x in originals)
        proposals = []
        for k, goal, plane in zip((3, 1, 1), goals, frame, strict=True):
            proposals.append(np.zeros((k, *goal.shape), np.int16))
            proposals[-1][0] = np.rint(VALUE * hint * (goal.astype(float) - plane))
        level = float(np.sqrt(np.mean((goals[0].astype(float) - frame[0]) ** 2)))
        group.append((Views(frame, before, after, index_of_level(level), tuple(proposals)), goals))
    return group


def equations(group: list[tuple[Views, Planes]]) -> list[Normal]:
    return [normal_equations(views, goals, number) for number, (views, goals) in enumerate(group)]


def errors(planes: Planes, goals: Planes) -> Array:
    return np.array([np.mean((a.astype(float) - b) ** 2) for a, b in zip(planes, goals, strict=True)])


def gains(group: list[tuple[Views, Planes]], coefficients: Coefficients, prior: FilterPrior = PRIOR) -> Array:
    """What filtering really gives, in dB: [frames, 3]."""
    found = []
    for views, goals in group:
        frame = coefficients.apply(views, 0, prior, 0)
        found.append(10 * np.log10(errors(views.frame, goals) / errors(frame.planes, goals)))
    return np.array(found)


def predicted(normals: list[Normal], coefficients: Coefficients, prior: FilterPrior = PRIOR) -> Array:
    """What the normal equations say about it."""
    found = np.zeros((len(normals), 3))
    for plane, own in enumerate(coefficients.planes):
        if own is not None:
            values = own.values(prior, 0, plane)[PARTITIONS[own.partition]] / COEFFICIENT
            found[:, plane] = PooledPlane(normals, plane).decibels(values)
    return found


def check_range(coefficients: Coefficients, prior: FilterPrior = PRIOR) -> None:
    """Limiting has nothing to do: what was found is what is used."""
    for plane, own in enumerate(coefficients.planes):
        if own is not None:
            mean, _ = prior.of(0, plane, own.partition)
            values = mean + QUANTA[own.step] * own.symbols.astype(int)
            assert np.abs(values).max() <= MAX_COEFFICIENT
            assert np.array_equal(values, own.values(prior, 0, plane))


# -- whole fits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "blur", "bits", "least"), [
    (4.0, 1.0, RICH, 3.0), (1.5, 0.6, 5e3, 3.0), (10.0, 0.4, 1e4, 3.0)])
def test_filters_bring_what_is_predicted(noise, blur, bits, least):
    group = make_group(1, height=144, width=192, noise=noise, blur=blur)
    normals = equations(group)
    coefficients, wanted = fit(normals, bits, PRIOR, 0)
    check_range(coefficients)
    real, said = gains(group, coefficients), predicted(normals, coefficients)
    assert real[:, 0].min() > least
    assert wanted == [True, True]
    assert np.abs((real - said) @ PLANE_WEIGHTS).max() < 0.05
    assert np.abs(real - said).max() < 0.1


def test_more_bits_allow_for_more_gain():
    group = make_group(2)
    normals = equations(group)
    found = []
    for bits in (0.0, 1e3, 1e4, RICH):
        coefficients, wanted = fit(normals, bits, PRIOR, 0)
        found.append((len(coefficients.to_bytes(PRIOR, 0)), (gains(group, coefficients) @ PLANE_WEIGHTS).mean()))
        if bits == 0:
            assert coefficients.planes == (None, None, None)
            assert wanted == [False, False]
    sizes, gained = zip(*found, strict=True)
    assert list(sizes) == sorted(sizes)
    assert list(gained) == sorted(gained)
    assert sizes[0] == 1
    assert gained[0] == 0
    assert gained[-1] > gained[1] > 0.2


def test_proposals_are_used():
    """An error that is given away is taken away, by the one coefficient that does it."""
    group = make_group(3, hint=0.5)
    coefficients, _ = fit(equations(group), RICH, PRIOR, 0)
    assert gains(group, coefficients).min() > 15
    without = make_group(3, hint=0.0)
    assert gains(without, fit(equations(without), RICH, PRIOR, 0)[0]).max() < 10
    luma = coefficients.planes[0]
    assert luma is not None
    assert luma.values(PRIOR, 0, 0)[:, -9:-6].sum(1).mean() == pytest.approx(2 * COEFFICIENT, rel=0.2)


def test_without_a_network_nothing_is_said_of_its_proposals():
    """Zero coefficients of theirs cost next to nothing, as tables expect nothing else."""
    group = [(Views(views.frame, views.before, views.after, views.index, None), goals)
             for views, goals in make_group(3, hint=0.5)]
    normals = equations(group)
    assert [part.shape for part in normals[0].goals] == [(CLASSES, N_LUMA), *[(CLASSES, N_CHROMA)] * 2]
    coefficients, wanted = fit(normals, RICH, PRIOR, 0)
    assert wanted == [True, True]
    assert gains(group, coefficients).min() > 3
    for own, count in zip(coefficients.planes, (9, 3, 3), strict=True):
        assert own is not None
        assert own.symbols[:, :-count].any()
        assert not own.symbols[:, -count:].any()


def test_classes_have_filters_of_their_own_where_that_pays():
    """Here only flat parts are noisy, and only flat parts of luma."""
    rng = np.random.default_rng(5)
    group = []
    for views, goals in make_group(5, noise=0.01, blur=0.01, height=128, width=256):
        frame, before, after = ((planes[0].copy(), planes[1], planes[2])
                                for planes in (views.frame, views.before, views.after))
        for plane in (frame[0], before[0], after[0]):
            plane[:, 128:] = samples(goals[0][:, 128:] + rng.normal(0, 5, (128, 128)))
        group.append((Views(frame, before, after, 6, views.proposals), goals))
    normals = equations(group)
    coefficients, _ = fit(normals, RICH, PRIOR, 0)
    luma = coefficients.planes[0]
    assert luma is not None
    assert luma.partition > 0
    best = gains(group, coefficients)[:, 0].min()
    shared = Quantized(0, 1, _quantize(*PooledPlane(normals, 0).shared(0), 1e6, *PRIOR.of(0, 0, 0), 1)[1])
    assert best > 0.3 + gains(group, Coefficients((shared, None, None)))[:, 0].max()


def test_frames_that_would_lose_are_left_alone():
    """One frame of many is not like the others: their filter is not for it."""
    group = make_group(6, 5, noise=5.0, blur=0.3)
    views, goals = make_group(7, 1, noise=0.5, blur=0.1)[0]
    others = make_group(7, 1, noise=30.0, blur=0.1)[0][0]
    group[2] = Views(views.frame, others.before, others.after, views.index, views.proposals), goals
    coefficients, wanted = fit(equations(group), 3e3, PRIOR, 0)
    real = gains(group, coefficients) @ PLANE_WEIGHTS
    assert wanted == [gain > 0 for gain in real]
    assert wanted == [True, True, False, True, True]


def test_frames_that_are_right_are_not_filtered():
    rng = np.random.default_rng(1)
    planes = tuple(samples(picture(rng, *shape)) for shape in ((64, 64), (32, 32), (32, 32)))
    other = tuple(samples(plane + rng.normal(0, 3, plane.shape)) for plane in planes)
    views = Views(planes, other, other, 15, tuple(np.ones((k, *p.shape), np.int16)
                                                  for k, p in zip((3, 1, 1), planes, strict=True)))
    coefficients, wanted = fit(equations([(views, planes)] * 3), RICH, PRIOR, 0)
    assert coefficients.planes == (None, None, None)
    assert wanted == [False] * 3
    # nor where others of the group are
    group = make_group(8)
    coefficients, wanted = fit(equations([*group, (views, planes)]), RICH, PRIOR, 0)
    assert wanted == [True, True, False]
    assert gains(group, coefficients)[:, 0].min() > 1


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (30, 5)])
def test_frames_without_a_whole_block(size):
    group = make_group(1, 2, *size)
    normals = equations(group)
    assert not normals[0].energy[0].any()
    coefficients, wanted = fit(normals, RICH, PRIOR, 0)
    assert coefficients.planes[0] is None
    if size != (7, 30):  # whose chroma blocks are whole
        assert coefficients.planes == (None, None, None)
        assert wanted == [False, False]
    assert [p.shape for p in coefficients.apply(group[0][0], 0, PRIOR, 0).planes] == [p.shape for p in group[0][1]]


# -- normal equations ----------------------------------------------------------------------------------------


def test_normal_equations_are_those_of_all_whole_blocks():
    (views, goals), = make_group(9, 1, 50, 70)
    normal = normal_equations(views, goals)
    for plane, side in ((0, 8), (1, 4), (2, 4)):
        h, w = (length // side for length in goals[plane].shape)
        blocks = [(row, col) for row in range(h) for col in range(w)]
        cols = views.classes.shape[1]
        features = views.features(plane, np.array([row * cols + col for row, col in blocks], np.int32)).astype(float)
        features = features.reshape(len(features), len(blocks), -1)
        turned = [views.places(plane)[views.orientations[place]] for place in blocks]
        features = np.stack([features[order, i] for i, order in enumerate(turned)], 1)
        target = goals[plane].astype(float) - views.frame[plane]
        tiles = np.array([target[side * row : side * (row + 1), side * col : side * (col + 1)] for row, col in blocks])
        energy = 0.0
        for k in range(CLASSES):
            own = [i for i, place in enumerate(blocks) if views.classes[place] == k]
            x = features[:, own].reshape(len(features), -1)
            y = tiles[own].ravel()
            assert np.allclose(normal.products[plane][k], x @ x.T, rtol=1e-4, atol=1)
            assert np.allclose(normal.goals[plane][k], x @ y, rtol=1e-4, atol=1)
            assert normal.energy[plane][k] == pytest.approx((y**2).sum(), rel=1e-5)
            energy += (y**2).sum()
        assert energy == pytest.approx((target[: h * side, : w * side] ** 2).sum())
        assert normal.errors[plane] == pytest.approx((target**2).mean(), rel=1e-5)


def test_large_frames_are_looked_at_in_part(monkeypatch):
    """Other blocks from frame to frame, which together are all; and what is found is nearly as good."""
    group = make_group(10, 1, 96, 128)
    whole = equations(group)[0]
    monkeypatch.setattr(adaptivefit, "_MAX_BLOCKS", 50)
    parts = [normal_equations(*group[0], number) for number in range(4)]  # 192 blocks
    for plane in range(3):
        for part in parts:
            assert 0 < part.energy[plane].sum() < 0.5 * whole.energy[plane].sum()
            assert part.errors == whole.errors
        assert np.allclose(sum(part.products[plane] for part in parts), whole.products[plane], rtol=1e-3, atol=30)
        assert np.allclose(sum(part.energy[plane] for part in parts), whole.energy[plane], rtol=1e-3)
    assert np.array_equal(normal_equations(*group[0], 6).energy[0], parts[2].energy[0])
    coefficients, _ = fit(parts, RICH, PRIOR, 0)
    assert gains(group, coefficients)[0, 0] > 0.9 * gains(group, fit([whole], RICH, PRIOR, 0)[0])[0, 0]


def test_each_frame_counts_by_its_error():
    """So a frame of four times the error changes no filter that suits both."""
    (views, goals), = make_group(11, 1)
    normal = normal_equations(views, goals)
    louder = Normal(*(tuple(16 * x for x in part) for part in (normal.products, normal.goals, normal.energy)),
                    tuple(16 * x for x in normal.errors))
    one, two = PooledPlane([normal], 0), PooledPlane([normal, louder], 0)
    assert len(one) == 1
    assert len(two) == 2
    assert np.allclose(two.products, 2 * one.products)
    assert np.allclose(two.goals, 2 * one.goals)
    for partition in range(len(PARTITIONS)):
        products, _ = one.shared(partition)
        assert len(products) == PARTITIONS[partition].max() + 1
        assert np.allclose(products.sum(0), one.products.sum(0))


# -- quantization --------------------------------------------------------------------------------------------


def cost_of(symbols: Array, products: Array, goals: Array, worth: float, mean: Array, spread: Array,
            step: int) -> float:
    """What _quantize states of its own symbols, of any."""
    values = (mean + QUANTA[step] * symbols.astype(float)) / COEFFICIENT
    error = np.einsum("ki,kij,kj->", values, products, values) - 2 * np.sum(values * goals)
    table = adaptivefit.bit_costs()[adaptivefit.table_index(spread, step)]
    size = np.abs(symbols).astype(int)
    bits = np.take_along_axis(table, np.minimum(size, 63)[..., None], -1)[..., 0]
    return float(worth * error + (bits + 2 * np.log2(np.maximum(size / 63, 1))).sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 12), st.floats(-2, 7), st.integers(0, 3),
       st.booleans(), st.booleans())
@example(4140376541, 2, 12, 3.2837396568769837, 0, False, True)  # where coordinate descent alone ends above zeros
def test_no_symbols_are_worse_than_zeros(seed, classes, n, octaves, step, near, alike):
    """Also for terms that are nearly the same."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(classes, n, 30)) * 10.0 ** rng.uniform(-2, 2, (classes, n, 1))
    if alike:
        x = x[:, :1] + 1e-3 * x
    target = np.einsum("kns,kn->ks", x, rng.normal(0, 1, (classes, n))) if near else rng.normal(size=(classes, 30))
    products, goals = x @ x.swapaxes(1, 2), np.einsum("kns,ks->kn", x, target)
    mean = rng.integers(-MAX_COEFFICIENT, MAX_COEFFICIENT + 1, (classes, n)) // 10 ** rng.integers(0, 4)
    spread = rng.integers(0, 41, (classes, n)).astype(np.uint8)
    given = products, goals, 10.0**octaves / max((target**2).sum(), 1e-9), mean.astype(np.int16), spread, step
    cost, symbols = _quantize(*given)
    assert symbols.shape == (classes, n)
    assert symbols.dtype == np.int16
    assert np.abs(mean + QUANTA[step] * symbols.astype(int)).max() <= MAX_COEFFICIENT
    assert cost == pytest.approx(cost_of(symbols, *given), rel=1e-6, abs=1e-6)
    assert cost <= cost_of(np.zeros_like(symbols), *given) + 1e-6


def test_bit_costs_are_nearly_those_of_the_coder():
    rng = np.random.default_rng(1)
    prior = FilterPrior()
    for spread, step in ((8, 0), (16, 1), (24, 2), (32, 1)):
        prior.luma_spread.fill_(spread)
        deviation = 2.0 ** (spread / PER_OCTAVE) / QUANTA[step]
        symbols = np.rint(rng.normal(0, deviation, (CLASSES, N_LUMA))).astype(np.int16)
        size = 8 * len(Coefficients((Quantized(2, step, symbols), None, None)).to_bytes(prior, 0))
        zeros = np.zeros((CLASSES, N_LUMA, N_LUMA)), np.zeros((CLASSES, N_LUMA))
        said = cost_of(symbols, *zeros, 1.0, *prior.of(0, 0, 2), step)
        assert said == pytest.approx(size, rel=0.04, abs=80)


def test_costs_are_compared_to_no_filter_at_all():
    """With a prior that is far from right, no filter is better than what it says is likely."""
    group = make_group(12)
    prior = FilterPrior()
    for name in ("luma", "chroma"):
        getattr(prior, f"{name}_mean").fill_(200)
        getattr(prior, f"{name}_spread").fill_(0)
    coefficients, wanted = fit(equations(group), 200.0, prior, 0)
    assert coefficients.planes == (None, None, None)
    assert not any(wanted)
    # a prior that is right makes the same gain cheaper, even with all symbols zero
    normals = equations(group)
    best, _ = fit(normals, RICH, PRIOR, 0)
    right = FilterPrior()
    for plane, own in enumerate(best.planes):
        assert own is not None
        mean, spread = right.of(0, plane, 2)
        mean[:], spread[:] = own.values(PRIOR, 0, plane)[PARTITIONS[own.partition]], 0
    coefficients, wanted = fit(normals, 3000.0, right, 0)
    plain, _ = fit(normals, 3000.0, PRIOR, 0)
    assert all(wanted)
    assert len(coefficients.to_bytes(right, 0)) < 0.5 * len(plain.to_bytes(PRIOR, 0))
    assert (gains(group, coefficients, right) @ PLANE_WEIGHTS).min() > (gains(group, plain) @ PLANE_WEIGHTS).max()
