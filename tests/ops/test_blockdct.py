"""Block transforms are integer arithmetic, nearly orthonormal, and their tables are what streams were coded with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from lvc.ops.blockdct import (
    BASIS_SHIFT,
    CHROMA_STEP,
    COEFFICIENTS,
    CONTEXT_MAX,
    FRACTION_SHIFT,
    LUMA,
    STEP_SHIFT,
    _basis,
    _magnitude_table,
    _steps,
    forward_dct,
    in_steps,
    inverse_dct,
    magnitude_context,
    quantizer_step,
    quarter_steps,
    zigzag,
)

SIZES = [(8, 8), (8, 24), (24, 16)]
Ints = npt.NDArray[np.object_]

STEPS = [
    1381, 1309, 1241, 1177, 1115, 1058, 1003, 951, 901, 854, 810, 768, 728, 690, 654, 620, 588, 558, 529,
    501, 475, 451, 427, 405, 384, 364, 345, 327, 310, 294, 279, 264, 251, 238, 225, 214, 203, 192, 182,
    173, 164, 155, 147, 139, 132, 125, 119, 113, 107, 101, 96, 91, 86, 82, 78, 74, 70, 66, 63, 59, 56, 53,
    51, 48,
]  # fmt: skip


def planes(height: int, width: int, *, extreme: bool = False, seed: int = 0) -> list[Tensor]:
    """Residual planes, -255..255; extreme ones hold nothing in between."""
    rng = np.random.default_rng(seed)
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    values = (rng.choice([-255, 255], s) if extreme else rng.integers(-255, 256, s) for s in shapes)
    return [torch.from_numpy(v.astype(np.int32)) for v in values]


def python_ints(array: Tensor) -> Ints:
    """The same as Python integers, which never overflow or round."""
    return np.array([int(v) for v in array.flatten().tolist()], object).reshape(tuple(array.shape))


def scan(n: int) -> list[int]:
    """The zigzag walk itself, step by step."""
    row = column = 0
    order = []
    for _ in range(n * n):
        order.append(row * n + column)
        up = (row + column) % 2 == 0
        if (up and column == n - 1) or (not up and row == n - 1):
            row, column = (row + 1, column) if up else (row, column + 1)
        elif up:
            row, column = max(row - 1, 0), column + 1
        else:
            row, column = row + 1, max(column - 1, 0)
    return order


def places(channel: int) -> tuple[int, int, int]:
    """Plane, side of its blocks, and number of the basis function of a coefficient 0..95."""
    return (0, 8, channel) if channel < LUMA else (1 + channel % 2, 4, (channel - LUMA) // 2)


def reference_forward(pictures: list[Tensor]) -> Ints:
    h, w = pictures[0].shape[0] // 8, pictures[0].shape[1] // 8
    out = np.empty((COEFFICIENTS, h, w), object)
    arrays = [python_ints(p) for p in pictures]
    for channel in range(COEFFICIENTS):
        plane, n, k = places(channel)
        basis = python_ints(_basis(n)[k])
        for i, j in np.ndindex(h, w):
            block = arrays[plane][n * i : n * i + n, n * j : n * j + n].ravel()
            out[channel, i, j] = int((basis * block).sum())
    return out


def reference_inverse(values: Tensor, step: int) -> list[Ints]:
    """Sums of scaled basis functions in integers, rounded half up by one shift."""
    _, h, w = values.shape
    coefficients = python_ints(values)
    out: list[Ints] = [np.zeros((8 * h, 8 * w), object), *(np.zeros((4 * h, 4 * w), object) for _ in "uv")]
    chroma = (step * CHROMA_STEP + 8) >> 4
    for channel in range(COEFFICIENTS):
        plane, n, k = places(channel)
        basis = python_ints(_basis(n)[k]).reshape(n, n)
        for i, j in np.ndindex(h, w):
            scaled = coefficients[channel, i, j] * (chroma if plane else step)
            out[plane][n * i : n * i + n, n * j : n * j + n] += basis * scaled
    shift = BASIS_SHIFT + STEP_SHIFT + FRACTION_SHIFT
    return [(plane + (1 << (shift - 1))) >> shift for plane in out]


@pytest.mark.parametrize("n", [4, 8])
def test_zigzag(n: int) -> None:
    assert zigzag(n) == scan(n)
    assert zigzag(4) == [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15]


@pytest.mark.parametrize(("n", "digest", "margin"), [(8, "65ba47f18b7d1974", 0.05), (4, "54328d69be59690c", 0.3)])
def test_basis_is_the_rounded_dct(n: int, digest: str, margin: float) -> None:
    """Against another library's DCT; no entry is near the middle of two integers, so every libm gives these."""
    basis = _basis(n).numpy()
    unit = np.eye(n * n).reshape(-1, n, n)
    exact = dctn(unit, axes=(1, 2), norm="ortho").reshape(n * n, n * n).T[zigzag(n)] * 2**BASIS_SHIFT
    np.testing.assert_array_equal(basis, np.rint(exact))
    assert np.abs(exact - np.floor(exact) - 0.5).min() > margin
    assert hashlib.sha256(basis.astype("<i2").tobytes()).hexdigest()[:16] == digest
    gram = basis @ basis.T / 4.0**BASIS_SHIFT
    assert np.abs(gram - np.eye(n * n)).max() < 7e-4
    assert (basis[0] == 2**BASIS_SHIFT // n).all()


def test_quantizer_steps_are_those_of_old_streams() -> None:
    """Literal values; and none hangs on the last bit of a power."""
    assert [quantizer_step(q) for q in range(64)] == STEPS
    exact = 48 * np.exp2((63 - np.arange(64)) / 13)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 0.005
    for step in STEPS:
        steps = _steps(step).flatten().tolist()
        assert steps == [step] * LUMA + [(step * 13 + 8) // 16] * (COEFFICIENTS - LUMA)


def test_magnitude_table_is_that_of_old_streams() -> None:
    table = _magnitude_table().numpy()
    assert table[:33].tolist() == [
        0, 1, 2, 3, 4, 4, 5, 5, 6, 7, 7, 7, 8, 8, 9, 9, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 13, 13,
        13, 13, 13, 14, 14,
    ]  # fmt: skip
    assert (len(table), table.dtype, int(table[-1])) == (CONTEXT_MAX + 1, np.uint8, 42)
    exact = 6 * np.log2(1 + np.arange(CONTEXT_MAX + 1) / 8)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 5e-4
    np.testing.assert_array_equal(table, np.rint(exact))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("extreme", [False, True])
def test_forward_is_integer_arithmetic(size: tuple[int, int], extreme: bool) -> None:
    pictures = planes(*size, extreme=extreme)
    got = forward_dct(*pictures)
    assert got.shape == (COEFFICIENTS, size[0] // 8, size[1] // 8)
    assert got.dtype == torch.float64
    np.testing.assert_array_equal(python_ints(got), reference_forward(pictures))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("limit", [40, 2**15, 2**24 - 1])
@pytest.mark.parametrize("quality", [0, 31, 63])
def test_inverse_is_integer_arithmetic(size: tuple[int, int], limit: int, quality: int) -> None:
    """Up to the largest values it is said to take, where the sums need more than 48 bits."""
    rng = np.random.default_rng(1)
    shape = (COEFFICIENTS, size[0] // 8, size[1] // 8)
    values = rng.choice([-limit, limit], shape) if limit > 2**15 else rng.integers(-limit, limit + 1, shape)
    tensor = torch.from_numpy(values).float()
    step = quantizer_step(quality)
    for got, want in zip(inverse_dct(tensor, step), reference_inverse(tensor, step), strict=True):
        assert got.dtype == torch.float64
        np.testing.assert_array_equal(python_ints(got), want)


def test_transforms_do_not_depend_on_threads() -> None:
    pictures = planes(72, 120)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            coefficients = forward_dct(*pictures)
            results.append((coefficients, *inverse_dct(torch.floor(coefficients / 1e4), 53)))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_layout_of_the_channels() -> None:
    """Luma in zigzag order first, then U and V in turns; a flat plane is a DC coefficient alone."""
    for plane, channel, gain in ((0, 0, 8), (1, LUMA, 4), (2, LUMA + 1, 4)):
        pictures = [torch.zeros(8, 16), torch.zeros(4, 8), torch.zeros(4, 8)]
        pictures[plane] += 10
        coefficients = forward_dct(*pictures)
        assert (coefficients[channel] == 10 * gain * 2**BASIS_SHIFT).all()
        assert coefficients.count_nonzero() == 2
    ramp = torch.arange(8.0).expand(8, 8)  # from left to right, then from top to bottom
    for picture, channel in ((ramp, 1), (ramp.T, 2)):
        coefficients = forward_dct(picture, torch.zeros(4, 4), torch.zeros(4, 4)).flatten().abs()
        assert int(coefficients[1:].argmax()) + 1 == channel


@pytest.mark.parametrize("extreme", [False, True])
def test_whole_steps_of_one_sample_come_back(extreme: bool) -> None:
    """A residual survives the transform, coefficients in fractions of a step of 1.0, and the inverse."""
    pictures = planes(48, 64, extreme=extreme)
    values = torch.round(in_steps(forward_dct(*pictures), 16) * 2**FRACTION_SHIFT)
    for got, want in zip(inverse_dct(values, 16), pictures, strict=True):
        assert (got - want).abs().max() <= (1 if extreme else 0)


@pytest.mark.parametrize("quality", [0, 20, 40, 63])
def test_quantized_round_trip(quality: int) -> None:
    """The error of a block is within half a step of each coefficient, and mostly step**2 / 12 a sample."""
    pictures, step = planes(80, 96), quantizer_step(quality)
    coefficients = in_steps(forward_dct(*pictures), step)
    back = inverse_dct(torch.round(coefficients) * 2**FRACTION_SHIFT, step)
    for got, want, n, unit in zip(back, pictures, (8, 4, 4), (1.0, CHROMA_STEP / 16, CHROMA_STEP / 16)):
        width = unit * step / 2**STEP_SHIFT
        error = (got - want).reshape(got.shape[0] // n, n, -1, n).square().sum((1, 3)).sqrt()
        assert error.max() <= n * (0.5 * width + 0.5) + 0.2
        expected = width**2 / 12 + 1 / 12
        assert float((got - want).square().mean()) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("quality", [0, 17, 63])
def test_contexts_are_quotients_of_integers(quality: int) -> None:
    """Just below, at and just above every multiple of the divisor: as Python rounds integers down."""
    step = quantizer_step(quality)
    rng = np.random.default_rng(2)
    divisor = python_ints(_steps(step)).ravel()
    functions: list[tuple[Callable[[Tensor, int], Tensor], int, torch.dtype]] = [
        (quarter_steps, BASIS_SHIFT - STEP_SHIFT - 2, torch.float32),
        (magnitude_context, BASIS_SHIFT - STEP_SHIFT - 3, torch.uint8),
    ]
    largest = 255 * 8 << BASIS_SHIFT
    table = _magnitude_table().tolist()
    for function, shift, dtype in functions:
        unit = divisor * 2**shift
        for delta in (-1, 0, 1):
            times = np.array([int(rng.integers(-largest // int(u), largest // int(u))) for u in unit], object)
            values = times * unit + delta
            got = function(torch.tensor([float(v) for v in values]).double().reshape(-1, 1, 1), step)
            assert got.dtype == dtype
            quarter = [int(v) // int(u) for v, u in zip(values, unit)]
            eighth = [table[min(CONTEXT_MAX, abs(int(v)) // int(u))] for v, u in zip(values, unit)]
            assert got.flatten().tolist() == (quarter if function is quarter_steps else eighth)


def test_contexts_of_a_picture() -> None:
    """What they mean: 6 * log2(1 + magnitude in steps), and the coefficient itself in quarters of a step."""
    coefficients, step = forward_dct(*planes(32, 32)), quantizer_step(45)
    exact = in_steps(coefficients, step)
    quarters, magnitudes = quarter_steps(coefficients, step), magnitude_context(coefficients, step).float()
    assert ((exact * 4 - quarters >= 0) & (exact * 4 - quarters < 1)).all()
    fine = exact.abs() < 100
    assert (6 * torch.log2(1 + exact.abs()) - magnitudes)[fine].abs().max() <= 1.6
    assert len(magnitudes.unique()) > 15
