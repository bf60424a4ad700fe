"""Block transforms of 4:2:0 pictures in exact integer arithmetic: DCT of 8, 16 and 32 luma samples a side.

An n x n luma block (n = 8, 16, 32) and its two chroma blocks of half that size become 96 coefficients at each of
its 8x8 positions: 64 of luma in zigzag order, then 16 of U and V in turns, in zigzag order, too. Where n is more
than 8, the coefficient of frequency (k, l) goes to position (k mod n/8, l mod n/8) within the block, at the place
of frequency (k div n/8, l div n/8) of an 8x8 block: so a channel holds coefficients of like frequency, whatever
the size, and what models probabilities need not know of sizes.

The transforms are separable, with a rounding after each pass as below. Samples of at most 255 and symbols of at most
32767 in magnitude given, every input of a pass fits 16 bits and every sum, the result of forward_dct included, 32
bits. Here they run on float64 tensors that hold such integers, and so exactly.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from lvc.ops.transforms import dct_matrix

COEFFICIENTS = 96
LUMA = 64
SIZES = (8, 16, 32)
"""Sides of the transforms in luma samples."""

BASIS_SHIFT = 10
"""Basis functions of the one-dimensional transforms are integers, rounded at 2**-10."""

_FORWARD_SHIFT = 6
"""Of the first pass of the forward transform: 2**-4 of a sample's unit remain."""

COEFFICIENT_SHIFT = 2 * BASIS_SHIFT - _FORWARD_SHIFT
"""forward_dct gives orthonormal coefficients in units of 2**-14."""

_INVERSE_INPUT_SHIFT, _INVERSE_SHIFTS = 2, (8, 14)
"""The inverse transform starts from units of 2**-2; 2**-4 remain after its first pass."""

STEP_SHIFT = 4
"""Quantization steps are integers in units of 2**-4 of the 8-bit scale."""

CHROMA_STEP = 13
"""Step of chroma relative to luma, in 1/16: 6:1:1 PSNR counts chroma for more than its share of samples."""

CONTEXT_MAX = 1023


def zigzag(n: int) -> list[int]:
    """Positions (row * n + column) of an n x n block in order of rising frequency."""
    return sorted(range(n * n), key=lambda p: (p // n + p % n, p // n if (p // n + p % n) % 2 else p % n))


@functools.cache
def basis(n: int) -> Tensor:
    """(n, n) integers in float64: row k is the orthonormal DCT-II function k times 2**10, rounded."""
    return torch.round(dct_matrix(n) * 2**BASIS_SHIFT)


@functools.cache
def _steps(step: int) -> Tensor:
    """(96, 1, 1) steps of the coefficients for a luma step, all in units of 2**-4."""
    steps = torch.full((COEFFICIENTS, 1, 1), float(step), dtype=torch.float64)
    steps[LUMA:] = float(max(1, (step * CHROMA_STEP + 8) >> 4))
    return steps


def quantizer_step(quality: int) -> int:
    """Luma step of a quality 0..63 in units of 2**-4: 48 (3.0) at 63, twice as much every 13 below."""
    return _STEPS[quality]


_STEPS = tuple(round(48 * 2 ** ((63 - q) / 13)) for q in range(64))


def _round_shift(x: Tensor, shift: int) -> Tensor:
    return torch.floor(x * 2.0**-shift + 0.5)


def _clip16(x: Tensor) -> Tensor:
    return x.clamp(-32768, 32767)


def _blocks(plane: Tensor, n: int) -> Tensor:
    """(H, W) -> (H/n, W/n, n, n)."""
    h, w = plane.shape
    return plane.double().reshape(h // n, n, w // n, n).permute(0, 2, 1, 3)


def _spread(blocks: Tensor, m: int) -> Tensor:
    """Coefficients (a, b, n, n) -> (m * m, a * n/m, b * n/m): interleaved over positions, channels in zigzag order."""
    a, b, n, _ = blocks.shape
    f = n // m
    grid = blocks.reshape(a, b, m, f, m, f).permute(2, 4, 0, 3, 1, 5)
    return grid.reshape(m * m, a * f, b * f)[zigzag(m)]


def _gather(channels: Tensor, m: int, n: int) -> Tensor:
    """The inverse of _spread."""
    f = n // m
    _, h, w = channels.shape
    grid = torch.empty_like(channels)
    grid[zigzag(m)] = channels
    return grid.reshape(m, m, h // f, f, w // f, f).permute(2, 4, 0, 3, 1, 5).reshape(h // f, w // f, n, n)


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Replicate the last rows and columns (of the last two dimensions) up to a multiple."""
    h, w = x.shape[-2:]
    return F.pad(x[None, None], (0, -w % multiple, 0, -h % multiple), "replicate")[0, 0]


def forward_dct(y: Tensor, u: Tensor, v: Tensor, size: int = 8) -> Tensor:
    """Integer planes (H, W), (H/2, W/2) twice; H and W multiples of 8 -> (96, H/8, W/8) float64.

    All by transforms of one size (of SIZES); blocks that stick out of the picture see it extended by replication,
    and their coefficients that would lie outside are left out. The result is the orthonormal transform times
    2**14 (up to rounding): integers of at most 28 bits and a sign where samples are within -255..255.
    """
    h, w = y.shape[0] // 8, y.shape[1] // 8
    out = torch.empty(COEFFICIENTS, h, w, dtype=torch.float64)

    def transform(plane: Tensor, m: int) -> Tensor:
        n = size * m // 8
        d = basis(n)
        blocks = _blocks(_pad(plane.double(), n), n)
        rows = _round_shift(blocks @ d.T, _FORWARD_SHIFT)
        return _spread(d @ rows, m)[:, :h, :w]

    out[:LUMA] = transform(y, 8)
    out[LUMA::2] = transform(u, 4)
    out[LUMA + 1 :: 2] = transform(v, 4)
    return out


def inverse_dct(symbols: Tensor, step: int, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (96, h, w), integers that count steps -> residual planes (8h, 8w), (4h, 4w) twice.

    The planes are integers in float64. All by transforms of one size; blocks that stick out have their missing
    coefficients zero.
    """
    _, h, w = symbols.shape
    f = size // 8
    scaled = _round_shift(symbols.double() * _steps(step), STEP_SHIFT - _INVERSE_INPUT_SHIFT)
    scaled = F.pad(_clip16(scaled), (0, -w % f, 0, -h % f))

    def back(channels: Tensor, m: int) -> Tensor:
        n = size * m // 8
        d = basis(n)
        blocks = _gather(channels, m, n)
        columns = _clip16(_round_shift(d.T @ blocks, _INVERSE_SHIFTS[0]))
        samples = _round_shift(columns @ d, _INVERSE_SHIFTS[1])
        a, b = samples.shape[:2]
        return samples.permute(0, 2, 1, 3).reshape(a * n, b * n)[: h * m, : w * m]

    return back(scaled[:LUMA], 8), back(scaled[LUMA::2], 4), back(scaled[LUMA + 1 :: 2], 4)


def in_steps(coefficients: Tensor, step: int) -> Tensor:
    """Result of forward_dct (96, h, w) in units of the quantization steps; float64, not rounded."""
    return coefficients / (_steps(step) * 2 ** (COEFFICIENT_SHIFT - STEP_SHIFT))


@functools.cache
def _magnitude_table() -> Tensor:
    """round(6 * log2(1 + v / 8)) for v = 0..1023: 0 to 42."""
    v = torch.arange(CONTEXT_MAX + 1, dtype=torch.float64)
    return torch.round(6.0 * torch.log2(1.0 + v / 8.0)).to(torch.uint8)


def magnitude_context(coefficients: Tensor, step: int) -> Tensor:
    """Log-magnitudes of coefficients relative to the step, as context: (96, h, w) uint8, 0..42.

    Exact: the quotient of two integers far below 2**53 is rounded down as it would be in integers.
    """
    eighths = torch.floor(coefficients.abs() / (_steps(step) * 2 ** (COEFFICIENT_SHIFT - STEP_SHIFT - 3)))
    return _magnitude_table()[eighths.clamp(max=CONTEXT_MAX).long()]
