"""From probabilities to integer CDFs. Used when weights are made, never when they are loaded.

Floating point differs between machines by an ulp now and then, so tables are built once, stored as integers
with the weights (:meth:`CdfTables.arrays`) and read back as they are.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from lvc.coding.intervals import PRECISION
from lvc.coding.tables import CdfTables, Int32Array, as_array, as_int32, check_precision
from lvc.errors import UsageError

RARE = 1 / 8
"""A value of less than this share of the least frequency goes without an entry in tables of Gaussians."""
LEFT_TO_ESCAPES = 1 / 4
"""The same for other tables: near the best for Laplacians, Gaussians and Cauchy distributions, tried by halves."""

Rows = Sequence[Any] | npt.NDArray[Any]


def _rows(pmf: Any, what: str) -> list[npt.NDArray[np.float64]]:
    if not isinstance(pmf, (list, tuple)):
        pmf = as_array(pmf, what)
        if pmf.ndim != 2:
            raise UsageError(f"{what} must have 2 dimensions, not {pmf.ndim}")
    rows = []
    for i, row in enumerate(pmf):
        if isinstance(row, (list, tuple)):
            try:
                row = np.array(row)
            except ValueError:
                raise UsageError(f"{what} {i} must be one row of numbers") from None
        array = as_array(row, f"{what} {i}")
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise UsageError(f"{what} {i} must be one row of numbers")
        values = array.astype(np.float64)
        with np.errstate(over="ignore"):
            total = values.sum()
        if not np.isfinite(total) or (values < 0).any() or total <= 0:
            raise UsageError(f"{what} {i} must hold finite probabilities, none negative and not all zero")
        rows.append(values)
    return rows


def _frequencies(pmf: npt.NDArray[np.float64], precision: int) -> Int32Array:
    """Frequencies of at least 1 with the sum 2**precision and nearly the least mean code length for pmf."""
    total = 1 << precision
    if not 2 <= len(pmf) <= total:
        raise UsageError(f"a row must have 2 to {total} entries at {precision} bits, not {len(pmf)}")
    probability = pmf / math.fsum(pmf)
    frequency = np.maximum(1, np.floor(probability * total + 0.5)).astype(np.int64)
    excess = int(frequency.sum()) - total
    # The cost of a row, -sum(p log f), is convex in each f: moving one unit at a time where that costs least
    # (or helps most) is optimal for the sum of moves made. Equal costs go by the lowest symbol.
    if excess > 0:
        costs = zip(probability, frequency)
        heap = [(p * math.log(f / (f - 1)), i) for i, (p, f) in enumerate(costs) if f > 1]
        heapq.heapify(heap)
        for _ in range(excess):
            _, i = heapq.heappop(heap)
            frequency[i] -= 1
            if frequency[i] > 1:
                cost = probability[i] * math.log(frequency[i] / (frequency[i] - 1))
                heapq.heappush(heap, (cost, i))
    else:
        heap = [(-p * math.log1p(1 / f), i) for i, (p, f) in enumerate(zip(probability, frequency))]
        heapq.heapify(heap)
        for _ in range(-excess):
            _, i = heapq.heappop(heap)
            frequency[i] += 1
            heapq.heappush(heap, (-probability[i] * math.log1p(1 / frequency[i]), i))
    return frequency.astype(np.int32)


def pmf_to_cdf(pmf: Rows, precision: int = 16) -> tuple[Int32Array, Int32Array]:
    """Quantize probability mass functions to integer CDFs.

    Every entry gets a frequency of at least 1, even where its probability is 0, so that all can be coded.

    Args:
        pmf: rows of probabilities, the last of each row being that of the escape: an array of shape
            (n_tables, n_symbols), or a sequence of 1-D arrays of any lengths from 2 to ``2**precision``.
            Rows are normalized by their sums.
        precision: bits of a probability, 2 to 16.

    Returns:
        ``cdf``, int32, shape (n_tables, max length), padded with zeros, and ``lengths``, int32, shape
        (n_tables,), as :class:`CdfTables` takes them.

    Raises:
        UsageError: a row that is empty, too long, negative, not finite or all zero, or a bad precision.
    """
    precision = check_precision(precision)
    rows = [_frequencies(row, precision) for row in _rows(pmf, "pmf")]
    if not rows:
        raise UsageError("there must be at least one row")
    lengths = np.array([len(row) + 1 for row in rows], dtype=np.int32)
    cdf = np.zeros((len(rows), int(lengths.max())), dtype=np.int32)
    for i, row in enumerate(rows):
        cdf[i, 1 : lengths[i]] = np.cumsum(row)
    return cdf, lengths


def gaussian_tables(scales: Any, precision: int = 16, tail: float = 1e-6) -> CdfTables:
    """Tables of zero-mean Gaussians integrated over unit intervals: what a hyperprior model codes with.

    Table ``i`` gives integer ``k`` the probability Phi((k + 1/2) / s) - Phi((k - 1/2) / s), s = scales[i]
    (Balle et al. 2018, arXiv:1802.01436). A mean is subtracted before rounding, so it needs no tables.

    Args:
        scales: standard deviations in units of the quantization step, shape (n_tables,), above 0.
        precision: bits of a probability, 2 to 16.
        tail: probability left to the escape: values beyond are coded as escapes, and so are those too rare
            for this precision, whose own table entries would cost the others more than they are worth.

    Raises:
        UsageError: scales not above zero or not finite, or a tail not within (0, 1).
    """
    array = as_array(scales, "scales")
    if array.ndim != 1 or array.dtype.kind not in "fiu" or len(array) == 0:
        raise UsageError("scales must be one row of numbers")
    sigma = array.astype(np.float64)
    if not np.isfinite(sigma).all() or (sigma <= 0).any():
        raise UsageError("scales must be finite and above zero")
    if not isinstance(tail, (int, float)) or not 0 < tail < 1:
        raise UsageError(f"tail must be above 0 and below 1, not {tail}")
    precision = check_precision(precision)
    reach = -float(ndtri(tail / 2))
    rows, offsets = [], []
    for s in sigma:
        m = min(math.ceil(reach * s), (1 << precision) // 2 - 1)
        k = np.arange(m + 1)
        # Differences in the lower tail keep their relative accuracy.
        half = ndtr((0.5 - k) / s) - ndtr((-0.5 - k) / s)
        m = max(1, int(np.count_nonzero(half >= RARE * math.ldexp(1.0, -precision))) - 1)
        rows.append(np.concatenate([half[m:0:-1], half[: m + 1], [2 * ndtr(-(m + 0.5) / s)]]))
        offsets.append(-m)
    return CdfTables(*pmf_to_cdf(rows, precision), np.array(offsets, dtype=np.int32), precision)


def factorized_tables(pmf: Rows, offsets: Any, precision: int = 16) -> CdfTables:
    """Tables of any distributions, such as those of the channels of a factorized prior.

    Values at either end that are so rare that an entry of their own would cost the others more than it is worth are
    left to the escape, and frequencies are chosen at the 14 bits that the coder works with, however many are stored:
    of the best ones of 16 bits, the coder's rounding makes worse ones (0.09 % more bits for 128 Laplacians).

    Args:
        pmf: rows of probabilities of consecutive integers, without escape: shape (n_tables, n_values), or a
            sequence of 1-D arrays. A row may sum to less than 1: the rest is what escapes get.
        offsets: integers, shape (n_tables,): the value that the first entry of each row stands for.
        precision: bits of a probability, 2 to 16.

    Raises:
        UsageError: bad rows (see :func:`pmf_to_cdf`), a row with a sum above 1.001, or more than 2**14 values that
            are not too rare.
    """
    precision = check_precision(precision)
    bits = min(precision, PRECISION)
    first = as_int32(offsets, "offsets", 1)
    rows, dropped = [], []
    for i, row in enumerate(_rows(pmf, "pmf")):
        mass = math.fsum(row)
        if mass > 1.001:
            raise UsageError(f"pmf {i} must sum to at most 1, not {mass:.6g}")
        kept = np.flatnonzero(row >= min(row.max(), LEFT_TO_ESCAPES * math.ldexp(1.0, -bits)))
        low, high = int(kept[0]), int(kept[-1]) + 1
        escape = math.fsum([max(0.0, 1.0 - mass), *row[:low], *row[high:]])
        rows.append(np.append(row[low:high], escape))
        dropped.append(low)
    cdf, lengths = pmf_to_cdf(rows, bits)
    if len(first) == len(dropped):
        first = first + np.array(dropped, dtype=np.int64)
    return CdfTables(cdf << (precision - bits), lengths, first, precision)
