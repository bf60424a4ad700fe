"""Block transforms are integer arithmetic of 16 and 32 bits, nearly orthonormal, and as streams were coded with."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.fft import dct, dctn
from torch import Tensor

from lvc.ops.blockdct import (
    BASIS_SHIFT,
    CHROMA_STEP,
    COEFFICIENT_SHIFT,
    COEFFICIENTS,
    CONTEXT_MAX,
    LUMA,
    SIZES,
    STEP_SHIFT,
    _magnitude_table,
    _steps,
    basis,
    forward_dct,
    in_steps,
    inverse_dct,
    magnitude_context,
    quantizer_step,
    zigzag,
)

PICTURES = [(8, 8), (8, 24), (40, 16), (64, 72)]
"""Of whole and of cut transforms of all sizes."""

Ints = npt.NDArray[np.int64]

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


def ints(array: Tensor) -> Ints:
    """The same in int64; it holds nothing else."""
    result = array.numpy().astype(np.int64)
    np.testing.assert_array_equal(result, array.numpy())
    return result


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


# -- the same in plain integers, block by block --------------------------------------------------------------


def fits(x: Ints, bits: int) -> Ints:
    """x, which must be what so many bits hold."""
    assert -(2 ** (bits - 1)) <= x.min()
    assert x.max() < 2 ** (bits - 1)
    return x


def channels(plane: int) -> slice:
    return slice(0, LUMA) if plane == 0 else slice(LUMA + plane - 1, COEFFICIENTS, 2)


def reference_forward(pictures: list[Tensor], size: int) -> Ints:
    h, w = pictures[0].shape[0] // 8, pictures[0].shape[1] // 8
    out = np.zeros((COEFFICIENTS, h, w), np.int64)
    for number, picture in enumerate(pictures):
        m = 8 if number == 0 else 4
        n, f = size * m // 8, size // 8
        order = {place: rank for rank, place in enumerate(scan(m))}
        d = ints(basis(n))
        padded = np.pad(ints(picture), [(0, -side % n) for side in picture.shape], "edge")
        for y, x in np.ndindex(padded.shape[0] // n, padded.shape[1] // n):
            block = padded[y * n : y * n + n, x * n : x * n + n]
            rows = fits((fits(block @ d.T, 32) + 32) >> 6, 16)
            block = fits(d @ rows, 32)
            for k, q in np.ndindex(n, n):
                i, j = y * f + k % f, x * f + q % f
                if i < h and j < w:
                    out[channels(number)][order[k // f * m + q // f], i, j] = block[k, q]
    return out


def reference_inverse(symbols: Ints, step: int, size: int) -> list[Ints]:
    _, h, w = symbols.shape
    out = []
    for number in range(3):
        m = 8 if number == 0 else 4
        n, f = size * m // 8, size // 8
        order = {place: rank for rank, place in enumerate(scan(m))}
        d, own = ints(basis(n)), step if number == 0 else (step * CHROMA_STEP + 8) >> 4
        rows, columns = -(-h // f), -(-w // f)
        plane = np.zeros((rows * n, columns * n), np.int64)
        for y, x in np.ndindex(rows, columns):
            block = np.zeros((n, n), np.int64)
            for k, q in np.ndindex(n, n):
                i, j = y * f + k % f, x * f + q % f
                if i < h and j < w:
                    block[k, q] = symbols[channels(number)][order[k // f * m + q // f], i, j]
            scaled = ((fits(block * own, 32) + 2) >> 2).clip(-32768, 32767)
            half = ((fits(d.T @ scaled + 128, 32)) >> 8).clip(-32768, 32767)
            plane[y * n : y * n + n, x * n : x * n + n] = fits((fits(half @ d + 8192, 32)) >> 14, 16)
        out.append(plane[: h * m, : w * m])
    return out


# -- tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 8])
def test_zigzag(n: int) -> None:
    assert zigzag(n) == scan(n)
    assert zigzag(4) == [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15]


@pytest.mark.parametrize(("n", "digest"), [
    (4, "3bda04f245f0e12a"), (8, "86f383e7e9683241"), (16, "67e9dd4b0148a501"), (32, "723ce3aebf9a0456")])
def test_basis_is_the_rounded_dct(n: int, digest: str) -> None:
    """Against another library's DCT; no entry is near the middle of two integers, so every libm gives these."""
    exact = dct(np.eye(n), axis=0, norm="ortho") * 2**BASIS_SHIFT
    np.testing.assert_array_equal(basis(n).numpy(), np.rint(exact))
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 5e-4
    assert hashlib.sha256(basis(n).numpy().astype("<i2").tobytes()).hexdigest()[:16] == digest
    gram = basis(n).numpy() @ basis(n).numpy().T / 4.0**BASIS_SHIFT
    assert np.abs(gram - np.eye(n)).max() < 5e-3


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


# -- transforms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("picture", PICTURES, ids=str)
@pytest.mark.parametrize("extreme", [False, True])
def test_forward_is_integer_arithmetic(size: int, picture: tuple[int, int], extreme: bool) -> None:
    pictures = planes(*picture, extreme=extreme)
    got = forward_dct(*pictures, size)
    assert got.shape == (COEFFICIENTS, picture[0] // 8, picture[1] // 8)
    assert got.dtype == torch.float64
    np.testing.assert_array_equal(ints(got), reference_forward(pictures, size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("picture", PICTURES, ids=str)
@pytest.mark.parametrize("limit", [3, 400, 32767])
def test_inverse_is_integer_arithmetic(size: int, picture: tuple[int, int], limit: int) -> None:
    """Up to the largest symbols there are, where everything is clipped."""
    rng = np.random.default_rng(1)
    shape = (COEFFICIENTS, picture[0] // 8, picture[1] // 8)
    symbols = rng.choice([-limit, limit], shape) if limit > 400 else rng.integers(-limit, limit + 1, shape)
    for quality in (0, 31, 63):
        step = quantizer_step(quality)
        for got, want in zip(inverse_dct(torch.from_numpy(symbols).float(), step, size),
                             reference_inverse(symbols, step, size), strict=True):
            assert got.dtype == torch.float64
            np.testing.assert_array_equal(ints(got), want)


@pytest.mark.parametrize("size", SIZES)
def test_forward_sums_fit_32_bits_and_their_inputs_16(size: int) -> None:
    """By bounds; and by the samples that make a coefficient largest, of the signs of its basis function."""
    for n in (size, size // 2):
        d = np.abs(ints(basis(n)))
        first = 255 * int(d.sum(1).max())
        assert (first + 32) >> 6 < 2**15
        assert ((first + 32) >> 6) * int(d.sum(1).max()) < 2**28
    d = ints(basis(size))
    largest = 0
    for k, q in {(0, 0), (0, size - 1), (size - 1, 0), (size // 2, size // 3), (size - 1, size - 1)}:
        signs = np.where(np.outer(d[k], d[q]) < 0, -255, 255)
        half = signs[: size // 2, : size // 2]
        pictures = [torch.from_numpy(p) for p in (signs, half, -half)]
        expected = reference_forward(pictures, size)
        np.testing.assert_array_equal(ints(forward_dct(*pictures, size)), expected)
        largest = max(largest, int(np.abs(expected).max()))
    assert largest >= 0.999 * 255 * size * 2**COEFFICIENT_SHIFT


@pytest.mark.parametrize("size", SIZES)
def test_inverse_sums_fit_32_bits_and_their_inputs_16(size: int) -> None:
    """Symbols of the largest magnitude, of the signs that make a sample largest, at the largest step."""
    assert 32767 * quantizer_step(0) + 2 < 2**31
    for n in (size, size // 2):
        assert 32768 * int(np.abs(ints(basis(n))).sum(0).max()) + 8192 < 2**31
    f = size // 8
    for place in (0, 1, size // 2, size - 1):
        symbols = np.zeros((COEFFICIENTS, f, f), np.int64)
        for number in range(3):
            m = 8 if number == 0 else 4
            d = ints(basis(size * m // 8))
            signs = np.where(np.outer(d[:, place * m // 8], d[:, place * m // 8]) < 0, -32767, 32767)
            for rank, at in enumerate(scan(m)):
                k, q = at // m * f, at % m * f
                symbols[channels(number)][rank] = signs[k : k + f, q : q + f]
        for sign in (1, -1):
            expected = reference_inverse(sign * symbols, quantizer_step(0), size)
            for got, want in zip(inverse_dct(torch.from_numpy(sign * symbols), quantizer_step(0), size), expected):
                np.testing.assert_array_equal(ints(got), want)
            assert np.abs(expected[0]).max() > 2000  # not 8 bits by far: it was clipped on the way, and nothing wrapped


@pytest.mark.parametrize("size", SIZES)
def test_it_is_nearly_the_orthonormal_dct(size: int) -> None:
    """Against another library, with the interleaving undone."""
    pictures = planes(64, 96)
    got = in_steps(forward_dct(*pictures, size), 16).numpy()
    f = size // 8
    for number, picture in enumerate(pictures):
        m = 8 if number == 0 else 4
        n = size * m // 8
        h, w = (side // n for side in picture.shape)
        blocks = picture.numpy().astype(float).reshape(h, n, w, n).transpose(0, 2, 1, 3)
        exact = dctn(blocks, axes=(2, 3), norm="ortho") * (1.0 if number == 0 else 16 / 13)
        for rank, place in enumerate(scan(m)):
            for a, b in np.ndindex(f, f):
                part = got[channels(number)][rank, a::f, b::f]
                want = exact[:, :, place // m * f + a, place % m * f + b]
                assert np.abs(part - want).max() < 1.0 + 2e-3 * np.abs(want).max()
                assert np.corrcoef(part.ravel(), want.ravel())[0, 1] > 0.9999


def test_a_channel_is_a_frequency_whatever_the_size() -> None:
    """A wave of k / 16 cycles a sample is in one channel, at the first position of each transform."""
    nothing = torch.zeros(16, 16)
    for k, q in ((0, 0), (1, 0), (0, 1), (3, 2), (7, 7)):
        channel = scan(8).index(8 * k + q)
        for size in SIZES:
            f = size // 8
            d = dct(np.eye(size), axis=0, norm="ortho")
            wave = torch.from_numpy(np.tile(np.rint(np.outer(d[k * f], d[q * f]) * 100 * f), (4 // f, 4 // f)))
            coefficients = in_steps(forward_dct(wave, nothing, nothing, size), 16).abs()
            assert int(coefficients.sum((1, 2)).argmax()) == channel
            there = torch.zeros(4, 4, dtype=torch.bool)
            there[::f, ::f] = True
            assert (coefficients[channel][there] > 90 * f).all()
            assert coefficients[:, ~there].numel() == 0 or coefficients[:, ~there].max() < 4


def test_transforms_do_not_depend_on_threads() -> None:
    pictures = planes(72, 120)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            parts = [forward_dct(*pictures, size) for size in SIZES]
            for part, size in zip(list(parts), SIZES, strict=True):
                parts += inverse_dct(torch.floor(part / 1e6), 53, size)
            results.append(parts)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("size", SIZES)
def test_layout_of_the_channels(size: int) -> None:
    """Luma in zigzag order first, then U and V in turns; a flat plane is one coefficient a transform."""
    for plane, channel, side in ((0, 0, size), (1, LUMA, size // 2), (2, LUMA + 1, size // 2)):
        pictures = [torch.zeros(32, 64), torch.zeros(16, 32), torch.zeros(16, 32)]
        pictures[plane] += 10
        coefficients = forward_dct(*pictures, size)
        f = size // 8
        there = coefficients[channel, ::f, ::f]
        assert (there / (10 * side * 2**COEFFICIENT_SHIFT) - 1).abs().max() < 4e-3
        assert coefficients.count_nonzero() == there.numel()


@pytest.mark.parametrize("size", SIZES[1:])
def test_blocks_that_stick_out(size: int) -> None:
    """Forward: of the extended picture. Inverse: as if the coefficients outside were zero."""
    pictures = planes(40, 24)
    extended = [torch.nn.functional.pad(p[None, None].double(), (0, 64 * p.shape[1] // 24 - p.shape[1], 0,
                64 * p.shape[0] // 40 - p.shape[0]), "replicate")[0, 0] for p in pictures]
    coefficients = forward_dct(*pictures, size)
    assert torch.equal(coefficients, forward_dct(*extended, size)[:, :5, :3])
    symbols = torch.round(in_steps(coefficients, 100))
    whole = torch.zeros(COEFFICIENTS, 8, 8, dtype=torch.float64)
    whole[:, :5, :3] = symbols
    for got, want in zip(inverse_dct(symbols, 100, size), inverse_dct(whole, 100, size), strict=True):
        assert torch.equal(got, want[: got.shape[0], : got.shape[1]])
        assert got.any()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("extreme", [False, True])
def test_finest_steps_bring_samples_back(size: int, extreme: bool) -> None:
    """A residual survives the transform, coefficients in 1/16 of a sample's unit, and the inverse.

    What is lost, of noise as strong as it can be, is due to the 10 bits of the basis functions.
    """
    pictures = planes(64, 96, extreme=extreme)
    back = inverse_dct(torch.round(in_steps(forward_dct(*pictures, size), 1)), 1, size)
    for got, want in zip(back, pictures, strict=True):
        assert (got - want).abs().max() <= 4
        assert (got - want).square().mean() < 0.7
    for got, want in zip(inverse_dct(torch.round(in_steps(forward_dct(*(p // 8 for p in pictures), size), 1)), 1, size),
                         pictures, strict=True):
        assert (got - want // 8).abs().max() <= 1  # of what residuals usually are
        assert (got == want // 8).double().mean() > 0.9


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [0, 20, 40, 63])
def test_quantized_round_trip(size: int, quality: int) -> None:
    """The error of a block is within half a step of each coefficient, and mostly step**2 / 12 a sample."""
    pictures, step = planes(64, 96), quantizer_step(quality)
    coefficients = in_steps(forward_dct(*pictures, size), step)
    back = inverse_dct(torch.round(coefficients), step, size)
    for got, want, m, unit in zip(back, pictures, (8, 4, 4), (1.0, CHROMA_STEP / 16, CHROMA_STEP / 16)):
        n = size * m // 8
        width = unit * step / 2**STEP_SHIFT
        error = (got - want).reshape(got.shape[0] // n, n, -1, n).square().sum((1, 3)).sqrt()
        assert error.max() <= n * (0.5 * width + 0.7)
        expected = width**2 / 12 + 1 / 12
        assert float((got - want).square().mean()) == pytest.approx(expected, rel=0.2, abs=0.3)


# -- contexts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [0, 17, 63])
def test_contexts_are_quotients_of_integers(quality: int) -> None:
    """Just below, at and just above every multiple of the divisor: as Python rounds integers down."""
    step = quantizer_step(quality)
    rng = np.random.default_rng(2)
    largest = 255 * 32 << COEFFICIENT_SHIFT
    table = _magnitude_table().tolist()
    unit = np.array([int(v) << (COEFFICIENT_SHIFT - STEP_SHIFT - 3) for v in _steps(step).flatten().tolist()])
    for reach in (40, CONTEXT_MAX + 3, largest):
        times = np.array([int(rng.integers(-min(reach, largest // u), min(reach, largest // u) + 1)) for u in unit])
        for delta in (-1, 0, 1):
            values = times * unit + delta
            got = magnitude_context(torch.from_numpy(values.astype(np.float64)).reshape(-1, 1, 1), step)
            assert got.dtype == torch.uint8
            assert got.flatten().tolist() == [table[min(CONTEXT_MAX, abs(int(v)) // int(u))]
                                              for v, u in zip(values, unit)]


def test_contexts_of_a_picture() -> None:
    """What they mean: 6 * log2(1 + magnitude in steps)."""
    coefficients, step = forward_dct(*planes(32, 32)), quantizer_step(45)
    exact, magnitudes = in_steps(coefficients, step), magnitude_context(coefficients, step).float()
    fine = exact.abs() < 100
    assert (6 * torch.log2(1 + exact.abs()) - magnitudes)[fine].abs().max() <= 1.6
    assert len(magnitudes.unique()) > 15
