"""Coefficients of filters (lvc.enhance.adaptive) that bring frames nearest to their originals, for their bits.

Everything comes out of the normal equations of the frames, so no frame has to be filtered to know what that gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc.enhance.adaptive import (
    CLASSES,
    COEFFICIENT,
    MAX_COEFFICIENT,
    N_CHROMA,
    N_LUMA,
    ORIENTATIONS,
    PARTITIONS,
    Planes,
    Views,
    block_side,
)
from lvc.enhance.coefficients import Coefficients, Quantized
from lvc.enhance.prior import MAX_SPREAD, PER_OCTAVE, QUANTA, FilterPrior, table_index

Array = npt.NDArray[Any]

PLANE_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)
"""Of Y, U and V, as in 6:1:1 PSNR."""

DECIBEL_WORTH = 0.2
"""Share of a stream's bits that a decibel is worth: about what codecs need for it."""

_MAX_BLOCKS = 2048
"""Of a frame, that are looked at."""

_STEPS = (1, 2)
_SWEEPS = 3
_RIDGE = 1e-4
_ROUNDING = 1 / 12
"""Squared error of rounding a filtered sample."""

_DECIBEL = 10.0 / math.log(10.0)
_TABLE = 64


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations of a frame's filters by class.

    Attributes:
        products: of Y, U and V: float32 [CLASSES, n, n]. goals: [CLASSES, n]. energy: [CLASSES], squared errors
            without filters.
        errors: mean squared errors of the whole planes without filters.
    """

    products: tuple[Array, Array, Array]
    goals: tuple[Array, Array, Array]
    energy: tuple[Array, Array, Array]
    errors: tuple[float, float, float]


def normal_equations(views: Views, original: Planes, number: int = 0) -> Normal:
    """Of a frame. ``number``: of large frames, other blocks are looked at from frame to frame."""
    classes = views.classes
    found: list[tuple[Array, Array, Array]] = []
    errors = []
    for plane, (samples, goal) in enumerate(zip(views.frame, original, strict=True)):
        difference = goal.astype(np.float32) - samples
        errors.append(float(np.mean(np.square(difference))))
        found.append(_of_plane(views, plane, classes, difference, number))
    products, goals, energy = ((a[0], a[1], a[2]) for a in zip(*found, strict=True))
    return Normal(products, goals, energy, (errors[0], errors[1], errors[2]))


def _of_plane(views: Views, plane: int, classes: Array, difference: Array, number: int) -> tuple[Array, Array, Array]:
    side, cols = block_side(plane), classes.shape[1]
    rows, whole_cols = difference.shape[0] // side, difference.shape[1] // side
    every = -(-rows * whole_cols // _MAX_BLOCKS) or 1
    blocks = (np.arange(rows)[:, None] * cols + np.arange(whole_cols)).ravel()[number % every::every].astype(np.int32)
    own = ORIENTATIONS * classes.ravel()[blocks].astype(np.int64) + views.orientations.ravel()[blocks]
    order = np.argsort(own, kind="stable")
    blocks, own = blocks[order], own[order]
    tiles = difference[:rows * side, :whole_cols * side].reshape(rows, side, whole_cols, side).swapaxes(1, 2)
    target = tiles[blocks // cols, blocks % cols].reshape(-1)
    features = views.features(plane, blocks)
    n, used = N_CHROMA if plane else N_LUMA, len(features)
    products, goals = np.zeros((CLASSES, n, n), np.float32), np.zeros((CLASSES, n), np.float32)
    energy = np.zeros(CLASSES, np.float32)
    ends = np.searchsorted(own, np.arange(CLASSES * ORIENTATIONS + 1)) * side**2
    places = views.places(plane)
    for number in range(CLASSES * ORIENTATIONS):
        part, (k, orientation) = slice(ends[number], ends[number + 1]), divmod(number, ORIENTATIONS)
        order = places[orientation]
        products[k, :used, :used] += (features[:, part] @ features[:, part].T)[np.ix_(order, order)]
        goals[k, :used] += (features[:, part] @ target[part])[order]
        energy[k] += np.square(target[part]).sum()
    return products, goals, energy


def fit(frames: Sequence[Normal], bits: float, prior: FilterPrior, where: int) -> tuple[Coefficients, list[bool]]:
    """The best coefficients for a group of frames, and which of these to filter.

    Args:
        frames: one or more. bits: what they take in the base stream.
        prior, where: what coefficients cost (see lvc.enhance.prior).
    """
    luma, chroma = ([PooledPlane(frames, plane) for plane in planes] for planes in ((0,), (1, 2)))
    chosen = [*_choose(luma, bits, prior, where), *_choose(chroma, bits, prior, where)]
    coefficients = Coefficients((chosen[0], chosen[1], chosen[2]))
    gains = np.zeros(len(frames))
    for own, plane in zip(chosen, (*luma, *chroma), strict=True):
        if own is not None:
            values = own.values(prior, where, plane.number).astype(np.float64) / COEFFICIENT
            gains += PLANE_WEIGHTS[plane.number] * plane.decibels(values[PARTITIONS[own.partition]])
    return coefficients, [bool(gain > 0) for gain in gains]


class PooledPlane:
    """A plane of a group of frames; each frame counts by its squared error."""

    def __init__(self, frames: Sequence[Normal], number: int) -> None:
        self.number = number
        self._frames = frames
        energy = np.array([frame.energy[number].sum() for frame in frames])
        self._weights = np.where(energy > 0, 1.0 / np.maximum(energy, 1e-9), 0.0)
        pairs = list(zip(self._weights, frames, strict=True))
        self.products = sum(w * f.products[number].astype(np.float64) for w, f in pairs)
        self.goals = sum(w * f.goals[number].astype(np.float64) for w, f in pairs)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    def shared(self, partition: int) -> tuple[Array, Array]:
        """Products and goals by the classes of a partition."""
        count = int(PARTITIONS[partition].max()) + 1
        to = np.eye(count)[PARTITIONS[partition]]
        return np.einsum("ck,cij->kij", to, self.products), np.einsum("ck,ci->ki", to, self.goals)

    def decibels(self, values: Array) -> Array:
        """What coefficients [CLASSES, n] gain in each frame."""
        gains = []
        for weight, frame in zip(self._weights, self._frames, strict=True):
            products, goals = frame.products[self.number], frame.goals[self.number]
            saved = 2.0 * np.sum(values * goals) - np.einsum("ci,cij,cj->", values, products, values)
            error = frame.errors[self.number]
            after = max(error * (1.0 - weight * saved), 0.0) + _ROUNDING
            gains.append(_DECIBEL * math.log(max(error, 1e-3) / max(after, 1e-3)))
        return np.array(gains)


def worth_of_error(bits: float, plane: int, frames: int) -> float:
    """What the error of a plane of one frame, in units of what it is without filters, is worth in bits."""
    return bits * DECIBEL_WORTH * _DECIBEL * PLANE_WEIGHTS[plane] / frames


def relaxed(products: Array, goals: Array, worth: float, center: Array, deviation: Array) -> Array:
    """What coefficients have above their means in 1 / COEFFICIENT, [k, n], if they need not be integers."""
    a, b = products * (worth / COEFFICIENT**2), goals * (worth / COEFFICIENT)
    # a normal distribution's bits are a parabola
    ridge = _RIDGE * np.einsum("kii->ki", a) + 1.0 / (2.0 * math.log(2.0) * deviation**2)
    return np.linalg.solve(a + ridge[..., None] * np.eye(a.shape[1]),
                           (b - np.einsum("kij,kj->ki", a, center))[..., None])[..., 0]


def _choose(planes: Sequence[PooledPlane], bits: float, prior: FilterPrior, where: int) -> list[Quantized | None]:
    """Coefficients of planes of one kind; None if none are worth their bits."""
    least, best = 0.0, None
    for partition in range(len(PARTITIONS)):
        for step in _STEPS:
            cost, found = 0.0, []
            for plane in planes:
                worth = worth_of_error(bits, plane.number, len(plane))
                own, symbols = _quantize(*plane.shared(partition), worth, *prior.of(where, plane.number, partition),
                                         step)
                cost += own
                found.append(Quantized(partition, step, symbols))
            if cost < least:
                least, best = cost, found
    return [None] * len(planes) if best is None else list(best)


def _quantize(products: Array, goals: Array, worth: float, mean: Array, spread: Array,
              step: int) -> tuple[float, Array]:
    """Symbols of the least cost, and that cost, compared to no filter at all, in bits.

    Coordinate descent on the quantized coefficients of all classes at once, from what is best without quantization.
    """
    quantum = QUANTA[step]
    a, b = products * (worth / COEFFICIENT**2), goals * (worth / COEFFICIENT)
    diagonal = np.einsum("kii->ki", a)
    table = bit_costs()[table_index(spread, step)]  # [k, n, _TABLE]
    center = mean.astype(np.float64)
    start = relaxed(products, goals, worth, center, 2.0 ** (spread / PER_OCTAVE))
    reach = np.floor((MAX_COEFFICIENT - np.abs(center)) / quantum)
    symbols = np.clip(np.round(start / quantum), -reach, reach)
    rest = b - np.einsum("kij,kj->ki", a, center + quantum * symbols)
    rows = np.arange(len(a))

    def bits_of(i: int, values: Array) -> Array:
        size = np.abs(values).astype(np.int64)
        costs: Array = table[rows, i, np.minimum(size, _TABLE - 1)]
        return costs + 2.0 * np.log2(np.maximum(size / (_TABLE - 1), 1.0))

    for _ in range(_SWEEPS):
        for i in range(a.shape[1]):
            now = symbols[:, i]
            ideal = now + rest[:, i] / (quantum * np.maximum(diagonal[:, i], 1e-12))
            best, least = now, bits_of(i, now)
            for other in (np.floor(ideal), np.ceil(ideal), np.trunc(now - np.sign(now)), np.zeros_like(now)):
                other = np.clip(other, -reach[:, i], reach[:, i])
                move = quantum * (other - now)
                cost = bits_of(i, other) + diagonal[:, i] * move**2 - 2.0 * rest[:, i] * move
                best, least = np.where(cost < least, other, best), np.minimum(cost, least)
            rest -= a[:, :, i] * (quantum * (best - now))[:, None]
            symbols[:, i] = best

    def costs(symbols: Array) -> Array:
        """By class."""
        values = center + quantum * symbols
        bits = sum(bits_of(i, symbols[:, i]) for i in range(a.shape[1]))
        return np.einsum("ki,kij,kj->k", values, a, values) - 2.0 * np.sum(b * values, 1) + bits

    # where terms are nearly the same, the descent may end above what it is worth to code nothing
    found, nothing = costs(symbols), costs(np.zeros_like(symbols))
    symbols = np.where((found < nothing)[:, None], symbols, 0.0)
    return float(np.minimum(found, nothing).sum()), symbols.astype(np.int16)


@lru_cache(1)
def bit_costs() -> Array:
    """Bits of symbols of size 0.._TABLE - 1 by table, about."""
    from scipy.special import ndtr

    scales = 2.0 ** (np.arange(MAX_SPREAD + 1) / PER_OCTAVE - 3)[:, None]
    size = np.arange(_TABLE)[None]
    chance = ndtr((size + 0.5) / scales) - ndtr((size - 0.5) / scales)
    costs: Array = -np.log2(np.maximum(chance, 2.0**-20))
    return costs
