"""The intervals of 14 bits that the coder works with, out of tables of any precision; exact integer
arithmetic.

This module is part of the specification: encoder and decoder must come to the same intervals. Tables are
stored as they were made (often 16 bits), and each row becomes intervals in two steps.

**Frequencies** (:func:`reduce_frequencies`). Up to 14 bits, all are multiplied by ``2**(14 - precision)``.
Above, with ``k = precision - 14``:

1. Values at either end of the row with frequencies below ``2**(k - 1)`` are dropped; if all are so rare,
   the first one stays. The escape gets their frequencies.
2. Each frequency ``f`` becomes ``max(1, f >> k)``.
3. If less than ``2**14`` was given out: one each goes to the symbols with the largest remainders
   ``f % 2**k``, among those with ``f >= 2**k``; the lower symbol first at equal remainders (the escape is the
   highest).
4. If more: one each is taken from the symbol with the largest frequency at the time, the lower one at equals.

**Order** (:func:`coding_order`). The centre is the value whose interval, in order of values, holds the slot
``2**13``, or the last value if the escape does. Values follow each other by their distance from the centre,
the greater one first at equal distances; the escape comes last. Intervals are laid out from 0 on in this
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lvc import _C
from lvc.errors import UsageError

if TYPE_CHECKING:
    from lvc.coding.tables import CdfTables

PRECISION = _C.PRECISION
TOTAL = 1 << PRECISION

Int64Array = npt.NDArray[np.int64]


class Row(NamedTuple):
    """One table as it is coded with.

    Attributes:
        cdf: shape (n_values + 2,), from 0 to 2**14, in coding order.
        values: shape (n_values,), in coding order; the escape, the last interval, has none.
    """

    cdf: Int64Array
    values: Int64Array

    @property
    def first(self) -> int:
        """The least value."""
        return int(self.values.min())

    @property
    def last(self) -> int:
        """The greatest value."""
        return int(self.values.max())


def reduce_frequencies(frequency: Int64Array, precision: int) -> tuple[Int64Array, int]:
    """Frequencies of a row at 14 bits.

    Args:
        frequency: of each value and then of the escape, shape (n_values + 1,), the sum is 2**precision.
        precision: bits, 2 to 16.

    Returns:
        Frequencies with the sum 2**14, and how many values were dropped at the lower end.

    Raises:
        UsageError: more than 2**14 symbols are left.
    """
    if precision <= PRECISION:
        return frequency << (PRECISION - precision), 0
    k = precision - PRECISION
    kept = np.flatnonzero(frequency[:-1] >= 1 << (k - 1))
    low, high = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, 1)
    escape = frequency[-1] + frequency[:low].sum() + frequency[high:-1].sum()
    f = np.append(frequency[low:high], escape)
    if len(f) > TOTAL:
        raise UsageError(f"a table of {len(f)} symbols is too long: at most {TOTAL} can be coded")
    g = np.maximum(1, f >> k)
    missing = TOTAL - int(g.sum())
    if missing > 0:
        remainder = np.where(f >> k > 0, f & ((1 << k) - 1), -1)
        g[np.argsort(-remainder, kind="stable")[:missing]] += 1
    for _ in range(-missing):
        g[np.argmax(g)] -= 1
    return g, low


def coding_order(frequency: Int64Array, first: int) -> Row:
    """A row laid out for coding, from its frequencies in order of values (the sum is 2**14)."""
    n = len(frequency) - 1
    ends = np.cumsum(frequency)
    centre = first + min(int(np.searchsorted(ends, TOTAL // 2, side="right")), n - 1)
    values = np.arange(first, first + n, dtype=np.int64)
    # distance 0, +1, -1, +2, -2, ...
    order = np.argsort(np.where(values > centre, 2 * (values - centre) - 1, 2 * (centre - values)))
    cdf = np.concatenate([[0], np.cumsum(frequency[order]), [TOTAL]])
    return Row(cdf, values[order])


def coding_rows(tables: CdfTables) -> list[Row]:
    """All rows of a set of tables."""
    rows = []
    for entries, length, offset in zip(tables.cdf, tables.lengths, tables.offsets):
        frequency, low = reduce_frequencies(np.diff(entries[:length].astype(np.int64)), tables.precision)
        rows.append(coding_order(frequency, int(offset) + low))
    return rows


def row_arrays(rows: list[Row]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Rows as arrays ``cdf`` and ``order`` (n_tables, max length), zero behind their ends, and their lengths."""
    lengths = np.array([len(row.cdf) for row in rows], dtype=np.uint32)
    cdf = np.zeros((len(rows), int(lengths.max())), dtype=np.uint32)
    order = np.zeros(cdf.shape, dtype=np.int32)
    for i, row in enumerate(rows):
        cdf[i, : len(row.cdf)] = row.cdf
        order[i, : len(row.values)] = row.values
    return cdf, order, lengths


def native_tables(rows: list[Row]) -> _C.Tables:
    """Rows as the C++ kernels take them. Raises UsageError if there are more than 2**20 symbols in all."""
    try:
        return _C.Tables(*row_arrays(rows))
    except ValueError as error:
        raise UsageError(str(error)) from None
