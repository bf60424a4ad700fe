"""Rate-distortion optimized quantization for swift: which integers are worth their bits."""

from __future__ import annotations

import torch
from torch import Tensor

from lvc.entropy.symbols import RecordSymbols
from lvc.models.swift import GROUPS, LUMA_GROUPS, SwiftContext, SwiftEntropy
from lvc.ops.blockdct import CHROMA_STEP, LUMA

LAGRANGIAN = 7.5
"""Bits that a squared error of one step is worth: HEVC's 0.85 * 2**((QP - 12) / 3) in units of the step."""

CHROMA_WEIGHT = 2.0
"""Weight of a squared error in U and V relative to luma."""

ROUNDING = 0.33
"""Of the first guess: magnitudes are rounded up from a fraction of 1 - ROUNDING on."""


def first_guess(coefficients: Tensor) -> Tensor:
    """Coefficients in steps (96, h, w) -> integers by plain rounding with a dead zone."""
    return (coefficients.sign() * torch.floor(coefficients.abs() + ROUNDING)).float()


def _weights() -> Tensor:
    weight = torch.full((GROUPS[-1][1], 1, 1), LAGRANGIAN)
    weight[LUMA:] *= CHROMA_WEIGHT * (CHROMA_STEP / 16.0) ** 2
    return weight


def choose_symbols(model: SwiftEntropy, coefficients: Tensor, context: SwiftContext) -> Tensor:
    """Coefficients in steps (96, h, w) -> the integers to code.

    The distributions are those that a first guess leads to. Each coefficient takes the value of least cost, bits
    plus weighted squared error; then each block the number of groups of least cost, flags included.
    """
    coefficients = coefficients.float()
    guess = first_guess(coefficients)
    record = RecordSymbols()
    model(record, guess[None], context)
    flag_bits = _flag_bits(model, record)
    weight = _weights()
    symbols = torch.empty_like(guess)
    cost = torch.empty(len(GROUPS), *guess.shape[1:])
    empty = torch.empty_like(cost)
    for k, (a, b) in enumerate(GROUPS):
        index = record.calls[-len(GROUPS) + k][0][0]
        value, w = coefficients[a:b], weight[a:b]
        best = torch.zeros_like(value)
        best_cost = model.distribution.bits(best, index) + w * value.square()
        nearest = value.round()
        for candidate in (nearest, nearest - nearest.sign()):
            candidate_cost = model.distribution.bits(candidate, index) + w * (value - candidate).square()
            better = candidate_cost < best_cost
            best, best_cost = torch.where(better, candidate, best), torch.where(better, candidate_cost, best_cost)
        symbols[a:b] = best
        cost[k] = best_cost.sum(0)
        empty[k] = (w * value.square()).sum(0)
    _truncate(symbols, cost, empty, flag_bits)
    return symbols


def _flag_bits(model: SwiftEntropy, record: RecordSymbols) -> Tensor:
    """(2, 6, h, w): bits of each flag being 0 or 1 at every position."""
    calls = record.calls[: -len(GROUPS)]
    n = len(GROUPS)
    index = torch.zeros(n, *calls[0][0].shape[2:])
    for start in range(0, len(calls), n):
        phase = calls[start][1][0, 0]
        stacked = torch.cat([calls[start + k][0][0] for k in range(n)])
        index = torch.where(phase, stacked, index)
    zeros = torch.zeros_like(index)
    return torch.stack([model.flag_distribution.bits(zeros + v, index) for v in (0, 1)])


def _truncate(symbols: Tensor, cost: Tensor, empty: Tensor, flag_bits: Tensor) -> None:
    """Empty the groups of each block from where on that is cheaper; in place."""
    n = len(LUMA_GROUPS)
    for first, last in ((0, n), (n, len(GROUPS))):
        # total[r]: cost of keeping the first r groups of this kind of plane.
        totals = []
        for r in range(last - first + 1):
            kept, dropped = cost[first : first + r].sum(0), empty[first + r : last].sum(0)
            flags = flag_bits[1, first : first + r].sum(0)
            if first + r < last:
                flags = flags + flag_bits[0, first + r]
            totals.append(kept + dropped + flags)
        reach = torch.stack(totals).argmin(0)
        for r in range(last - first):
            a, b = GROUPS[first + r]
            symbols[a:b] *= reach > r
