"""What swift's encoder and decoder share about a frame, and the encoder's choices of sizes and symbols."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lvc.codecs.swiftframe import (
    _LOG,
    Planes,
    Prediction,
    Reference,
    Sizes,
    _shifted,
    pad_to_blocks,
    predict_frame,
    size_aux,
    size_map,
)
from lvc.codecs.swiftquant import CHROMA_WEIGHT, LAGRANGIAN, choose_sizes, choose_symbols, first_guess, weighted_error
from lvc.entropy.symbols import EstimateSymbols
from lvc.models.swift import AUX, CONTEXT_MAX
from lvc.models.swiftmodel import SwiftConfig, SwiftModel
from lvc.ops.blockdct import CHROMA_STEP, LUMA, forward_dct, in_steps, inverse_dct, magnitude_context
from lvc.ops.blockmotion import search
from lvc.types import Frame
from lvc.weights import SwiftWeights

FrameMaker = Callable[..., list[Frame]]


def noise(shape: tuple[int, int], seed: int = 0, low: int = 0, high: int = 255) -> Planes:
    """Planes of (h, w) blocks."""
    rng = np.random.default_rng(seed)
    y, u, v = (rng.integers(low, high + 1, (shape[0] * n, shape[1] * n)).astype(np.uint8) for n in (8, 4, 4))
    return y, u, v


def flat(shape: tuple[int, int], value: int = 128) -> Planes:
    y, u, v = (np.full((shape[0] * n, shape[1] * n), value, np.uint8) for n in (8, 4, 4))
    return y, u, v


def still(planes: Planes, quality: int) -> Prediction:
    """Prediction of a frame by the one before it, an I frame, as it is."""
    h, w = planes[0].shape[0] // 8, planes[0].shape[1] // 8
    return predict_frame(Reference(planes), np.zeros((2, h, w), np.int16), quality)


def mixed_sizes() -> Sizes:
    """(9, 14) of all sizes, in several arrangements."""
    sizes = np.full((9, 14), 8, np.uint8)
    for y, x, f in ((0, 0, 4), (0, 4, 2), (2, 6, 2), (4, 0, 2), (4, 8, 4), (6, 12, 2), (0, 12, 2)):
        sizes[y : y + f, x : x + f] = 8 * f
    return sizes


def squares(sizes: Sizes) -> list[tuple[int, int, int]]:
    """(row, column, side) of each transform, in blocks."""
    found = []
    for y, x in np.ndindex(sizes.shape):
        f = int(sizes[y, x]) // 8
        if y % f == x % f == 0:
            found.append((y, x, f))
    return found


def cut(planes: Planes, y: int, x: int, f: int) -> list[torch.Tensor]:
    return [torch.from_numpy(p[n * y : n * (y + f), n * x : n * (x + f)].astype(np.int64))
            for p, n in zip(planes, (8, 4, 4), strict=True)]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 9), (16, 8), (15, 24)])
def test_padding_is_by_replication(width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    half = (height + 1) // 2, (width + 1) // 2
    planes = tuple(rng.integers(0, 256, s, dtype=np.uint8) for s in ((height, width), half, half))
    padded = pad_to_blocks(planes)  # type: ignore[arg-type]
    for plane, source, n in zip(padded, planes, (8, 4, 4), strict=True):
        assert plane.shape == (-(-height // 8) * n, -(-width // 8) * n)
        rows = np.minimum(np.arange(plane.shape[0]), source.shape[0] - 1)
        columns = np.minimum(np.arange(plane.shape[1]), source.shape[1] - 1)
        np.testing.assert_array_equal(plane, source[rows][:, columns])


def test_logarithms_are_those_of_old_streams() -> None:
    assert _LOG[:18].tolist() == [0, 8, 13, 16, 19, 21, 22, 24, 25, 27, 28, 29, 30, 30, 31, 32, 33, 33]
    assert (_LOG.max(), int(np.argmax(_LOG == 63)), len(_LOG)) == (63, 224, 4096)


def test_former_symbols_come_from_where_vectors_point() -> None:
    """Vectors are rounded to whole blocks; what is outside is its nearest block."""
    rng = np.random.default_rng(0)
    symbols = torch.from_numpy(rng.integers(-9, 10, (96, 4, 6))).float()
    vectors = rng.integers(-100, 101, (2, 4, 6)).astype(np.int16)
    vectors[:, 0, 0], vectors[:, 0, 1] = (15, 16), (-16, -17)
    got = _shifted(symbols, vectors)
    for i, j in np.ndindex(4, 6):
        column, row = (int(np.floor(v / 32 + 0.5)) for v in vectors[:, i, j])
        want = symbols[:, min(max(i + row, 0), 3), min(max(j + column, 0), 5)]
        assert torch.equal(got[:, i, j], want)


def test_contexts_fit_the_networks() -> None:
    """Integers from 0 to 63, whatever the picture, the vectors, the former symbols and the transforms."""
    rng = np.random.default_rng(0)
    picture: Any = tuple(rng.choice(np.array([0, 255], np.uint8), s) for s in ((72, 112), (36, 56), (36, 56)))
    former = torch.from_numpy(rng.integers(-32767, 32768, (96, 9, 14))).float()
    vectors = rng.integers(-32768, 32768, (2, 9, 14)).astype(np.int16)
    for symbols in (None, former):
        prediction = predict_frame(Reference(picture, symbols), vectors, 63)
        assert (prediction.sizes == 8).all()
        for context in (prediction.context, prediction.with_sizes(mixed_sizes()).context):
            for part in (context.prediction, context.former, context.aux):
                assert part.dtype == torch.float32
                assert torch.equal(part, part.round().clamp(0, CONTEXT_MAX))
            assert bool(context.former.any()) == (symbols is not None)
            assert (context.aux[0, 0] == 63).all()
            assert context.aux.shape == (1, AUX, 9, 14)


def test_sizes_in_the_context() -> None:
    """The size, and where in its transform a block is."""
    sizes = mixed_sizes()
    aux = size_aux(sizes)
    assert (aux.shape, aux.dtype) == ((3, 9, 14), np.uint8)
    for y, x, f in squares(sizes):
        for i, j in np.ndindex(f, f):
            assert aux[:, y + i, x + j].tolist() == [{1: 0, 2: 24, 4: 48}[f], 16 * i, 16 * j]
    prediction = still(noise(sizes.shape), 30)
    other = prediction.with_sizes(sizes)
    np.testing.assert_array_equal(other.context.aux[0, -3:].numpy(), aux)
    assert torch.equal(other.context.aux[:, :-3], prediction.context.aux[:, :-3])
    assert not prediction.context.aux[:, -3:].any()  # the first one is as it was
    assert size_map(sizes).shape == (1, 1, 9, 14)
    assert size_map(sizes).dtype == torch.float32


def test_transforms_of_mixed_sizes_are_those_of_each_square() -> None:
    """Context, residual and reconstruction: square by square, each as a picture of its own."""
    sizes, rng = mixed_sizes(), np.random.default_rng(3)
    planes, current = noise(sizes.shape, 1), noise(sizes.shape, 2)
    prediction = still(planes, 25).with_sizes(sizes)
    coefficients = prediction.residual(current)
    symbols = torch.from_numpy(rng.integers(-2, 3, (96, *sizes.shape)) * (rng.random((96, *sizes.shape)) < 0.1))
    decoded = prediction.decoded(symbols.float())
    found = squares(sizes)
    assert sum(f * f for *_, f in found) == sizes.size
    for y, x, f in found:
        here, size, step = np.s_[:, y : y + f, x : x + f], 8 * f, prediction.step
        own, other = cut(prediction.planes, y, x, f), cut(current, y, x, f)
        want = magnitude_context(forward_dct(*own, size), step)
        assert torch.equal(prediction.context.prediction[0][here], want.float())
        difference = [b - a for a, b in zip(own, other, strict=True)]
        assert torch.equal(coefficients[here], in_steps(forward_dct(*difference, size), step))
        residual = inverse_dct(symbols[here], step, size)
        for got, a, b in zip(cut(decoded, y, x, f), own, residual, strict=True):
            np.testing.assert_array_equal(got.numpy(), (a + b).clamp(0, 255).numpy())
    assert (decoded[0] != prediction.planes[0]).mean() > 0.5


def test_reconstruction_is_limited_to_samples(swift_weights: SwiftWeights) -> None:
    """Symbols as large as the format holds neither overflow nor wrap."""
    for size in (8, 16, 32):
        prediction = still(flat((4, 4)), 0).with_sizes(np.full((4, 4), size, np.uint8))
        for value, sample in ((32767.0, 255), (-32767.0, 0)):
            symbols = torch.zeros(96, 4, 4)
            symbols[[0, 64, 65], :: size // 8, :: size // 8] = value
            decoded = prediction.decoded(symbols)
            for plane in decoded:
                assert plane.dtype == np.uint8
                assert (plane == sample).all()
            for plane in prediction.filtered(decoded, swift_weights.model.filter):
                assert plane.dtype == np.uint8
                assert np.abs(plane.astype(int) - sample).max() < 100


def test_samples_where_something_is_coded() -> None:
    """Transform by transform: those with any symbol, of any plane, are taken whole."""
    sizes, rng = mixed_sizes(), np.random.default_rng(0)
    prediction = still(flat(sizes.shape), 30).with_sizes(sizes)
    symbols = torch.from_numpy(rng.integers(-1, 2, (96, *sizes.shape)) * (rng.random((96, *sizes.shape)) < 0.003))
    got = prediction.where_coded(symbols.float(), flat(sizes.shape, 200), flat(sizes.shape, 50))
    seen = set()
    for y, x, f in squares(sizes):
        coded = bool(symbols[:, y : y + f, x : x + f].any())
        seen.add((f, coded))
        for part in cut(got, y, x, f):
            assert (part == (200 if coded else 50)).all()
    assert {coded for _, coded in seen} == {True, False}
    assert all(plane.dtype == np.uint8 for plane in got)
    assert weighted_error(flat((2, 1), 10), flat((2, 1), 13)) == 9 * 64 * 2 * (1 + 2 * CHROMA_WEIGHT / 4)


# -- choices ---------------------------------------------------------------------------------------------


def pair(textured_frames: FrameMaker, width: int, height: int, quality: int) -> tuple[Prediction, Planes, Sizes]:
    """A prediction by motion that leaves something, the frame, and the squares of the motion."""
    one, _, two = (pad_to_blocks(f.planes) for f in textured_frames(3, width, height))
    motion = search(two[0], one[0], 400.0, effort=0)
    return predict_frame(Reference(one), motion.vectors, quality), two, motion.sizes


@pytest.mark.parametrize("size", [8, 16, 32])
def test_chosen_symbols_are_worth_their_bits(swift_weights: SwiftWeights, textured_frames: FrameMaker,
                                             size: int) -> None:
    """The choice costs less, bits and errors together, than plain rounding and than nothing."""
    model = swift_weights.model.entropy
    prediction, current, _ = pair(textured_frames, 64, 64, 35)
    prediction = prediction.with_sizes(np.full_like(prediction.sizes, size))
    # (a coarse prediction, so that there is something to code)
    coefficients = prediction.residual(current) * 2
    weight = torch.full((96, 1, 1), LAGRANGIAN)
    weight[LUMA:] *= CHROMA_WEIGHT * (CHROMA_STEP / 16) ** 2

    def cost(symbols: torch.Tensor) -> float:
        coder = EstimateSymbols(torch.ones(1))
        model(coder, symbols[None], prediction.context)
        return float(torch.stack(coder.bits).sum() + (weight * (coefficients - symbols) ** 2).sum())

    with torch.inference_mode():
        chosen, costs = choose_symbols(model, coefficients, prediction.context)
        guess = first_guess(coefficients)
        assert cost(chosen) < cost(guess)
        assert cost(chosen) < cost(coefficients.round().float())
        assert cost(chosen) < cost(torch.zeros_like(guess))
        # What each position was thought to cost is about what it does.
        assert float(costs.sum()) == pytest.approx(cost(chosen), rel=0.25)
    assert costs.shape == prediction.sizes.shape
    assert (costs > 0).all()
    assert chosen.any()
    assert torch.equal(chosen, chosen.round())
    assert (chosen.abs() <= coefficients.abs().round()).all()
    assert (chosen * coefficients >= 0).all()


def costs_of_trees(model: SwiftModel, prediction: Prediction, current: Planes, motion: Sizes,
                   former: Sizes | None) -> tuple[dict[int, npt.NDArray[np.float64]], dict[int, Any]]:
    """Of each position by size, and of the flags by level: (2, rows, columns)."""
    positions, flags = {}, {}
    for size in (8, 16, 32):
        trial = prediction.with_sizes(np.full_like(prediction.sizes, size))
        cost = choose_symbols(model.entropy, trial.residual(current), trial.context)[1]
        positions[size] = cost.double().numpy()
        if size > 8:
            flags[size] = model.sizes.flag_bits(size, prediction.context, size_map(motion),
                                                None if former is None else size_map(former))[0].double().numpy()
    return positions, flags


def cost_of(sizes: Sizes, positions: dict[int, npt.NDArray[np.float64]], flags: dict[int, Any]) -> float:
    """Of a whole quad-tree: all its positions and all its flags."""
    total = sum(float(cost[sizes == size].sum()) for size, cost in positions.items())
    for size, bits in flags.items():
        f = size // 8
        for i, j in np.ndindex(*bits.shape[1:]):
            if size == 32 or sizes[i * f, j * f] < 32:
                total += float(bits[int(sizes[i * f, j * f] == size), i, j])
    return total


@pytest.mark.parametrize("with_former", [False, True])
def test_chosen_sizes_are_of_least_cost(swift_weights: SwiftWeights, textured_frames: FrameMaker,
                                        with_former: bool) -> None:
    """Of all trees: all 17 of each 32x32 square, and both of each 16x16 square beside; all 8x8 is among them."""
    model = swift_weights.model
    prediction, current, motion = pair(textured_frames, 80, 88, 15)
    former = np.full_like(motion, 16) if with_former else None
    with torch.inference_mode():
        chosen = choose_sizes(model, prediction, current, motion, former)
        positions, flags = costs_of_trees(model, prediction, current, motion, former)
    assert (chosen.shape, chosen.dtype) == ((11, 10), np.uint8)
    got = cost_of(chosen, positions, flags)
    best = np.full((11, 10), 8, np.uint8)
    for i, j in itertools.product(range(5), range(5)):
        if i < 4 and j < 4:
            continue
        trial = best.copy()
        trial[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 16
        best = min(best, trial, key=lambda sizes: cost_of(sizes, positions, flags))
    for i, j in itertools.product(range(0, 8, 4), range(0, 8, 4)):
        trials = []
        for pattern in range(17):
            trial = best.copy()
            for k in range(4):
                if pattern >> k & 1:
                    y, x = i + k // 2 * 2, j + k % 2 * 2
                    trial[y : y + 2, x : x + 2] = 16
            if pattern == 16:
                trial[i : i + 4, j : j + 4] = 32
            trials.append(trial)
        best = min(trials, key=lambda sizes: cost_of(sizes, positions, flags))
    assert got == pytest.approx(cost_of(best, positions, flags), rel=1e-6)
    assert got <= cost_of(np.full_like(chosen, 8), positions, flags) + 1e-3
    assert len(np.unique(chosen)) > 1


@pytest.fixture(scope="module")
def untrained() -> SwiftModel:
    """At its start all sizes cost the same: only the symbols decide."""
    torch.manual_seed(0)
    return SwiftModel(SwiftConfig(entropy_width=8, motion_width=8, sizes_width=8)).eval()


def test_smooth_errors_take_large_transforms_and_local_ones_small(untrained: SwiftModel) -> None:
    """A wave over 32 samples is one coefficient of a large transform; a speck is many of them."""
    current, shape = flat((4, 12)), (4, 12)
    prediction = still(flat(shape), 40)
    ramp = np.rint(30 * np.cos(np.pi * (np.arange(32) + 0.5) / 32)).astype(int)
    current[0][:, :32] = 128 + ramp[:, None]
    current[0][:, 32:64] = 128 + ramp[None] // 2 + ramp[:, None] // 2
    rng = np.random.default_rng(0)
    for y, x in ((0, 0), (3, 2), (1, 3)):
        current[0][8 * y : 8 * y + 8, 64 + 8 * x : 72 + 8 * x] = rng.integers(60, 200, (8, 8))
    with torch.inference_mode():
        sizes = choose_sizes(untrained, prediction, current, np.full(shape, 8, np.uint8), None)
    assert (sizes[:, :8] == 32).all()
    for y, x in ((0, 0), (3, 2), (1, 3)):
        assert sizes[y, 8 + x] == 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (2, 5)])
def test_sizes_of_small_pictures(untrained: SwiftModel, shape: tuple[int, int]) -> None:
    """Squares that stick out are never one transform."""
    prediction = still(flat(shape, 100), 40)
    with torch.inference_mode():
        sizes = choose_sizes(untrained, prediction, flat(shape, 130), np.full(shape, 8, np.uint8), None)
    assert sizes.shape == shape
    whole = np.zeros(shape, bool)
    whole[: shape[0] // 2 * 2, : shape[1] // 2 * 2] = True
    assert (sizes[~whole] == 8).all()
    assert (sizes[whole] == 16).all()
