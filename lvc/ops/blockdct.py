"""Block transforms of 4:2:0 pictures in exact integer arithmetic: 8x8 DCT of luma, 4x4 DCT of chroma.

An 8x8 luma block and its two 4x4 chroma blocks become 96 coefficients at one position: 64 of luma in zigzag
order, then 16 of U and V in turns, in zigzag order, too. Arithmetic is carried out on float64 tensors that
hold integers below 2**53, so results are the same on every machine, whatever the order of summation.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lvc.ops.transforms import dct_matrix

COEFFICIENTS = 96
LUMA = 64

BASIS_SHIFT = 12
"""Basis functions of the two-dimensional transforms are integers, rounded at 2**-12."""

STEP_SHIFT = 4
"""Quantization steps are integers in units of 2**-4 of the 8-bit scale."""

CHROMA_STEP = 13
"""Step of chroma relative to luma, in 1/16: 6:1:1 PSNR counts chroma for more than its share of samples."""

CONTEXT_MAX = 1023


def zigzag(n: int) -> list[int]:
    """Positions (row * n + column) of an n x n block in order of rising frequency."""
    return sorted(range(n * n), key=lambda p: (p // n + p % n, p // n if (p // n + p % n) % 2 else p % n))


@functools.cache
def _basis(n: int) -> Tensor:
    """(n * n, n * n) integers in float64: row k is basis function k in zigzag order."""
    d = dct_matrix(n)
    kron = torch.einsum("ai,bj->abij", d, d).reshape(n * n, n * n)
    return torch.round(kron[zigzag(n)] * 2**BASIS_SHIFT)


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


def _blocks(plane: Tensor, n: int) -> Tensor:
    h, w = plane.shape
    return plane.double().reshape(h // n, n, w // n, n).permute(0, 2, 1, 3).reshape(-1, n * n)


def _plane(blocks: Tensor, h: int, w: int, n: int) -> Tensor:
    return blocks.reshape(h, w, n, n).permute(0, 2, 1, 3).reshape(h * n, w * n)


def forward_dct(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Integer planes (H, W), (H/2, W/2) twice; H and W multiples of 8 -> (96, H/8, W/8) float64.

    The result is the orthonormal transform times 2**12 (of the rounded basis: an integer).
    """
    h, w = y.shape[0] // 8, y.shape[1] // 8
    out = torch.empty(COEFFICIENTS, h * w, dtype=torch.float64)
    out[:LUMA] = _basis(8) @ _blocks(y, 8).T
    out[LUMA::2] = _basis(4) @ _blocks(u, 4).T
    out[LUMA + 1 :: 2] = _basis(4) @ _blocks(v, 4).T
    return out.reshape(COEFFICIENTS, h, w)


FRACTION_SHIFT = 8
"""Coefficients are put back in units of 2**-8 steps."""


def inverse_dct(values: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (96, h, w), integers below 2**24 that count 2**-8 steps -> residual planes Y, U, V.

    The planes are integers in float64.
    """
    _, h, w = values.shape
    values = (values.double() * _steps(step)).reshape(COEFFICIENTS, -1)
    scale = 2.0 ** -(BASIS_SHIFT + STEP_SHIFT + FRACTION_SHIFT)

    def back(rows: Tensor, n: int) -> Tensor:
        return _plane(torch.floor((rows.T @ _basis(n)) * scale + 0.5), h, w, n)

    return back(values[:LUMA], 8), back(values[LUMA::2], 4), back(values[LUMA + 1 :: 2], 4)


def in_steps(coefficients: Tensor, step: int) -> Tensor:
    """Result of forward_dct (96, h, w) in units of the quantization steps; float64, not rounded."""
    return coefficients / (_steps(step) * 2 ** (BASIS_SHIFT - STEP_SHIFT))


@functools.cache
def _magnitude_table() -> Tensor:
    """round(6 * log2(1 + v / 8)) for v = 0..1023: 0 to 42."""
    v = torch.arange(CONTEXT_MAX + 1, dtype=torch.float64)
    return torch.round(6.0 * torch.log2(1.0 + v / 8.0)).to(torch.uint8)


def quarter_steps(coefficients: Tensor, step: int) -> Tensor:
    """Result of forward_dct (96, h, w) in quarters of a step, rounded down; float32 integers. Exact, as below."""
    quarters = torch.floor(coefficients / (_steps(step) * 2 ** (BASIS_SHIFT - STEP_SHIFT - 2)))
    return quarters.float()


def magnitude_context(coefficients: Tensor, step: int) -> Tensor:
    """Log-magnitudes of coefficients relative to the step, as context: (96, h, w) uint8, 0..42.

    Exact: the quotient of two integers far below 2**53 is rounded down as it would be in integers.
    """
    eighths = torch.floor(coefficients.abs() / (_steps(step) * 2 ** (BASIS_SHIFT - STEP_SHIFT - 3)))
    return _magnitude_table()[eighths.clamp(max=CONTEXT_MAX).long()]
