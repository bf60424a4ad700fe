"""From tables of any precision to intervals of 14 bits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.coding import CdfTables, Encoder, gaussian_tables
from lvc.coding.intervals import TOTAL, coding_order, coding_rows, reduce_frequencies
from lvc.errors import UsageError


def reduced(frequency: list[int], precision: int) -> tuple[list[int], int]:
    assert sum(frequency) == 2**precision
    result, low = reduce_frequencies(np.array(frequency), precision)
    return result.tolist(), low


def test_low_precisions_are_scaled():
    assert reduced([1, 2, 1], 2) == ([4096, 8192, 4096], 0)
    assert reduced([1, 16383], 14) == ([1, 16383], 0)


def test_remainders_by_hand():
    # Quarters of 30001, 10002, 25531, 2: 7500.25, 2500.5, 6382.75 and a half, which counts 1 at least. One is
    # left, and goes to the largest remainder.
    assert reduced([30001, 10002, 25531, 2], 16) == ([7500, 2500, 6383, 1], 0)
    assert reduced([30002, 10002, 25530, 2], 16) == ([7501, 2500, 6382, 1], 0)  # at equals the lower symbol


def test_rare_ends_go_to_the_escape():
    assert reduced([1, 1, 65523, 1, 4, 1, 5], 16) == ([16380, 1, 1, 2], 2)
    assert reduced([1, 65534, 1], 16) == ([16383, 1], 1)


def test_one_value_stays():
    assert reduced([1, 1, 65534], 16) == ([1, 16383], 0)


def test_what_rare_values_need_comes_from_the_most_frequent():
    assert reduced([2, 1, 1, 1, 65529, 2], 16) == ([1, 1, 1, 1, 16379, 1], 0)
    assert reduced([2] * 8 + [32752, 32752, 16], 16)[0] == [1] * 8 + [8186, 8186, 4]


def test_order_by_hand():
    # Ends 100, 8192, 8193, ...: slot 8192 is that of the third value, 5.
    row = coding_order(np.array([100, 8092, 1, 8000, 100, 91]), 3)
    assert row.values.tolist() == [5, 6, 4, 7, 3]
    assert row.cdf.tolist() == [0, 1, 8001, 16093, 16193, 16293, 16384]
    assert (row.first, row.last) == (3, 7)


def test_centre_where_the_escape_has_most():
    row = coding_order(np.array([10, 20, 16354]), -1)
    assert row.values.tolist() == [0, -1]
    assert row.cdf.tolist() == [0, 20, 30, 16384]


@st.composite
def rows(draw):
    precision = draw(st.integers(2, 16))
    total = 2**precision
    cuts = draw(st.sets(st.integers(1, total - 1), min_size=1, max_size=min(200, total - 1)))
    return np.diff([0, *sorted(cuts), total]), precision


@settings(max_examples=150, deadline=None)
@given(rows())
def test_any_row(case):
    frequency, precision = case
    result, low = reduce_frequencies(frequency, precision)
    assert result.sum() == TOTAL
    assert result.min() >= 1
    assert len(result) >= 2
    kept = frequency[low : low + len(result) - 1]
    scaled = kept * 2.0 ** (14 - precision)
    # nobody gets a unit more than its share, and only the most frequent give more than one
    assert (result[:-1] <= np.maximum(1, scaled + 1)).all()
    row = coding_order(result, 7)
    assert sorted(row.values) == list(range(7, 7 + len(kept)))
    distance = np.abs(row.values - row.values[0])
    assert (np.diff(distance) >= 0).all()


def test_gaussian_tables_as_ever():
    """The intervals decide about bytes, so they must not change."""
    digest = hashlib.sha256()
    for row in coding_rows(gaussian_tables(np.geomspace(0.11, 64, 64))):
        digest.update(row.cdf.astype("<i8").tobytes() + row.values.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "cb4c400efcdd76a7"


def test_too_many_symbols_are_refused():
    one_row = CdfTables(np.arange(0, 2**16 + 1, 2)[None], np.array([2**15 + 1]), np.array([0]), 16)
    with pytest.raises(UsageError, match="a table of 32768 symbols is too long"):
        Encoder(one_row).push(np.zeros(1, np.int8), np.zeros(1, np.uint8))
    rows = np.tile(np.arange(2**14 + 1), (65, 1))
    wide = CdfTables(rows, np.full(65, 2**14 + 1), np.zeros(65, np.int64), 14)
    with pytest.raises(UsageError, match="more than 1048576 symbols"):
        Encoder(wide).push(np.zeros(1, np.int8), np.zeros(1, np.uint8))
