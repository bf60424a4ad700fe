"""What is done to planes and symbols in C++ beside the networks is what numpy does."""

from __future__ import annotations

import numpy as np
import pytest

from lvc.codecs.swiftframe import where_filled
from lvc.ops.intnet import kernels, simd_levels


@pytest.mark.parametrize("simd", simd_levels())
def test_cells_are_floors_of_quotients(simd: str) -> None:
    """At all that a sample and its surroundings can be, also where quotients are whole."""
    rng = np.random.default_rng(0)
    for step in (16, 17, 48, 300, 4095, 4096):
        h, w = 40, 24
        decoded, predicted = (tuple(rng.choice([0, 1, 128, 254, 255, *range(0, 256, 8)], (h * n // 2, w * n // 2))
                                    .astype(np.uint8) for n in (2, 1, 1)) for _ in range(2))
        inputs = np.zeros((h // 4, w // 4, 48), np.int8)
        kernels.cell_inputs(decoded, predicted, 512, step, 127, inputs, 2, simd)
        first = 0
        for a, b, side in zip(decoded, predicted, (4, 2, 2), strict=True):
            cells, others = (x.astype(int).reshape(h // 4, side, w // 4, side).transpose(0, 2, 1, 3)
                             .reshape(h // 4, w // 4, -1) for x in (a, b))
            padded = np.pad(cells.sum(2), 1, "edge")
            around = sum(padded[i : i + h // 4, j : j + w // 4] for i in range(3) for j in range(3))
            n = 9 * side * side
            detail = (cells * n - around[:, :, None]) * 512 // (n * step)
            np.testing.assert_array_equal(inputs[:, :, first : first + side * side], detail.clip(-127, 127))
            added = ((cells - others) * 512 // step).clip(-127, 127)
            np.testing.assert_array_equal(inputs[:, :, 24 + first : 24 + first + side * side], added)
            first += side * side


@pytest.mark.parametrize("simd", simd_levels())
def test_magnitudes_are_looked_up_by_floors_of_quotients(simd: str) -> None:
    rng = np.random.default_rng(1)
    table = np.arange(200, dtype=np.uint8)
    dividers = rng.integers((1 << 10) + 1, (1 << 18) + 1, 96).astype(np.int32)
    dividers[:2] = (1 << 10) + 1, 1 << 18
    whole = rng.integers(0, 300, (3, 50, 96)) * dividers
    coefficients = (whole + rng.integers(-1, 2, whole.shape)).astype(np.int32) * rng.choice([-1, 1], whole.shape)
    coefficients = coefficients.astype(np.int32)
    got = kernels.magnitudes(coefficients, dividers, table, 2, simd)
    np.testing.assert_array_equal(got, table[np.minimum(np.abs(coefficients) // dividers, 199)])


def test_numbers_of_symbols_and_samples() -> None:
    rng = np.random.default_rng(2)
    values = (rng.normal(0, 2, (5, 7, 96)) * rng.choice([0.1, 1, 100], (5, 7, 96))).astype(np.float32)
    guess = np.sign(values) * np.floor(np.abs(values) + np.float32(0.33))
    symbols = kernels.first_guess(values, 0.33)
    np.testing.assert_array_equal(symbols, guess.astype(np.int16))
    table = rng.integers(0, 64, 9).astype(np.uint8)
    np.testing.assert_array_equal(kernels.contexts(symbols, table), table[np.minimum(np.abs(symbols), 8)])
    a, b = rng.integers(0, 256, (2, 96, 104)).astype(np.uint8)
    assert kernels.squared_error(a, b) == np.square(a.astype(int) - b).sum()
    assert kernels.squared_error(0 * a, 0 * a + np.uint8(255)) == 255**2 * a.size


def test_samples_of_filled_blocks() -> None:
    rng = np.random.default_rng(3)
    filled = rng.random((5, 9)) < 0.5
    there, elsewhere = (tuple(rng.integers(0, 256, (5 * n, 9 * n)).astype(np.uint8) for n in (8, 4, 4)) for _ in "ab")
    expected = where_filled(np.full(filled.shape, 8, np.uint8), filled, there, elsewhere)
    for a, b, right in zip(there, elsewhere, expected, strict=True):
        np.testing.assert_array_equal(kernels.where_filled(filled, a, b), right)
    with pytest.raises(ValueError):
        kernels.where_filled(filled, there[0], there[1])
