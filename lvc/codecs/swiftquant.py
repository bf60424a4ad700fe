"""Rate-distortion optimized quantization for swift: which integers are worth their bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lvc.codecs.swiftframe import Planes, Prediction, Sizes, size_map
from lvc.entropy.symbols import RecordSymbols
from lvc.models.swift import GROUPS, LUMA_GROUPS, SwiftContext, SwiftEntropy
from lvc.models.swiftmodel import SwiftModel
from lvc.ops.blockdct import CHROMA_STEP, LUMA

LAGRANGIAN = 7.5
"""Bits that a squared error of one step is worth: HEVC's 0.85 * 2**((QP - 12) / 3) in units of the step."""

CHROMA_WEIGHT = 2.0
"""Weight of a squared error in U and V relative to luma."""

ROUNDING = 0.33
"""Of the first guess: magnitudes are rounded up from a fraction of 1 - ROUNDING on."""


def weighted_error(planes: Planes, wanted: Planes) -> float:
    """Sum of squared errors, chroma by CHROMA_WEIGHT."""
    return sum(weight * float(np.square(a.astype(np.int32) - b).sum(dtype=np.int64))
               for weight, a, b in zip((1.0, CHROMA_WEIGHT, CHROMA_WEIGHT), planes, wanted))


def first_guess(coefficients: Tensor) -> Tensor:
    """Coefficients in steps (96, h, w) -> integers by plain rounding with a dead zone."""
    return (coefficients.sign() * torch.floor(coefficients.abs() + ROUNDING)).float()


def _weights() -> Tensor:
    weight = torch.full((GROUPS[-1][1], 1, 1), LAGRANGIAN)
    weight[LUMA:] *= CHROMA_WEIGHT * (CHROMA_STEP / 16.0) ** 2
    return weight


def choose_symbols(model: SwiftEntropy, coefficients: Tensor, context: SwiftContext) -> tuple[Tensor, Tensor]:
    """Coefficients in steps (96, h, w) -> the integers to code, and what each position costs (h, w), in bits.

    The distributions are those that a first guess leads to. Each coefficient takes the value of least cost, bits
    plus weighted squared error; then each block the number of groups of least cost, flags included, among those up
    to the last group that the nearest integers do not leave empty.
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
    filled = torch.empty(cost.shape, dtype=torch.bool)
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
        filled[k] = (nearest != 0).any(0)
        cost[k] = best_cost.sum(0)
        empty[k] = (w * value.square()).sum(0)
    return symbols, _truncate(symbols, cost, empty, filled, flag_bits)


def choose_sizes(model: SwiftModel, prediction: Prediction, current: Planes, motion_sizes: Sizes,
                 former_sizes: Sizes | None) -> Sizes:
    """The transform sizes of least cost: uint8 (h, w) of 8, 16 and 32. Each is tried on the whole frame.

    Args:
        prediction: with 8x8 transforms.
        motion_sizes: squares of the motion.
        former_sizes: transforms of the former frame.
    """
    former = None if former_sizes is None else size_map(former_sizes)

    def cost(size: int) -> Tensor:
        trial = prediction.with_sizes(np.full_like(prediction.sizes, size))
        return choose_symbols(model.entropy, trial.residual(current), trial.context)[1]

    def flag_bits(size: int) -> Tensor:
        return model.sizes.flag_bits(size, prediction.context, size_map(motion_sizes), former)[0]

    return best_sizes(cost, flag_bits, prediction.sizes.shape)


def best_sizes(cost: Callable[[int], Tensor], flag_bits: Callable[[int], Tensor], shape: tuple[int, ...]) -> Sizes:
    """The sizes (h, w) of least cost.

    Args:
        cost: bits of each position (h, w) if all transforms are of a size.
        flag_bits: bits that it takes to say whether a square is split or not, (2, h // f, w // f), f = size // 8.
        shape: (h, w).
    """
    def squares(x: Tensor, f: int) -> Tensor:
        h, w = (n // f * f for n in x.shape)
        return x[:h, :w].reshape(h // f, f, w // f, f).sum((1, 3))

    best, sizes = cost(8), torch.full(shape, 8, dtype=torch.uint8)
    for size in (16, 32):
        f = size // 8
        rows, columns = (n // f for n in sizes.shape)
        if not rows or not columns:
            break
        split, joined = flag_bits(size)
        apart, together = squares(best, f) + split, squares(cost(size), f) + joined
        join = (together < apart).repeat_interleave(f, 0).repeat_interleave(f, 1)
        area = sizes[: rows * f, : columns * f]
        area[join] = size
        # The first position stands for the square on the next level.
        best = torch.zeros_like(best)
        best[: rows * f : f, : columns * f : f] = torch.minimum(apart, together)
    return sizes.numpy()


def _flag_bits(model: SwiftEntropy, record: RecordSymbols) -> Tensor:
    """(2, 6, h, w): bits of each flag being 0 or 1 at every position."""
    calls = record.calls[: -len(GROUPS)]
    n = len(GROUPS)
    index = torch.zeros(n, *calls[0][0].shape[2:])
    for start in range(0, len(calls), n):
        phase = calls[start][1][0, 0]
        stacked = torch.cat([calls[start + k][0][0] for k in range(n)])
        index = torch.where(phase, stacked, index)
    return model.flag_distribution.flag_bits(index)


def _truncate(symbols: Tensor, cost: Tensor, empty: Tensor, filled: Tensor, flag_bits: Tensor) -> Tensor:
    """Empty the groups of each block from where on that is cheaper; in place. Returns the least cost."""
    n, least = len(LUMA_GROUPS), torch.zeros(cost.shape[1:])
    for first, last in ((0, n), (n, len(GROUPS))):
        # total[r]: cost of keeping the first r groups of this kind of plane.
        totals = []
        for r in range(last - first + 1):
            kept, dropped = cost[first : first + r].sum(0), empty[first + r : last].sum(0)
            flags = flag_bits[1, first : first + r].sum(0)
            if first + r < last:
                flags = flags + flag_bits[0, first + r]
            total = kept + dropped + flags
            if r > 0:
                total[~filled[first + r - 1 : last].any(0)] = torch.inf
            totals.append(total)
        lowest, reach = torch.stack(totals).min(0)
        least += lowest
        for r in range(last - first):
            a, b = GROUPS[first + r]
            symbols[a:b] *= reach > r
    return least
