"""CdfTables: rules, identity, storage."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from lvc.coding import CdfTables
from lvc.errors import UsageError

CDF = np.array([[0, 1, 4, 0], [0, 1, 2, 4]])
LENGTHS = np.array([3, 4])
OFFSETS = np.array([0, -1])


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("cdf", "lengths", "offsets", "precision", "message"),
    [
        (CDF, LENGTHS, OFFSETS, 1, "precision must be from 2 to 16"),
        (CDF, LENGTHS, OFFSETS, 17, "precision must be from 2 to 16"),
        (CDF, LENGTHS, OFFSETS, 2.0, "precision must be an integer"),
        (CDF, LENGTHS, OFFSETS, True, "precision must be an integer"),
        (CDF, LENGTHS, OFFSETS, 3, "table 0: it must end with 8, not 4"),
        (changed(CDF, (1, 0), 1), LENGTHS, OFFSETS, 2, "table 1: it must start with 0"),
        (changed(CDF, (1, 2), 1), LENGTHS, OFFSETS, 2, "table 1: it must rise at entry 2"),
        (changed(CDF, (1, 1), 3), LENGTHS, OFFSETS, 2, "table 1: it must rise at entry 2"),
        (changed(CDF, (1, 1), 9), LENGTHS, OFFSETS, 2, "table 1: it must rise at entry 2"),
        (changed(CDF, (1, 1), -1), LENGTHS, OFFSETS, 2, "must not be negative"),
        (CDF, changed(LENGTHS, 0, 2), OFFSETS, 2, "table 0: its length must be from 3 to 4 entries, not 2"),
        (CDF, changed(LENGTHS, 0, 5), OFFSETS, 2, "table 0: its length"),
        (CDF, changed(LENGTHS, 0, 0), OFFSETS, 2, "table 0: its length"),
        (CDF, changed(LENGTHS, 0, -1), OFFSETS, 2, "must not be negative"),
        (CDF, changed(LENGTHS, 0, 2**32 + 3), OFFSETS, 2, "lengths must fit 32 bits"),
        (CDF, LENGTHS, changed(OFFSETS, 1, 2**31 - 1), 2, "table 1: its values exceed 32 bits"),
        (CDF, LENGTHS, changed(OFFSETS, 1, 2**31), 2, "offsets must fit 32 bits"),
        (CDF, LENGTHS[:1], OFFSETS, 2, "must be as many"),
        (CDF[:0], LENGTHS[:0], OFFSETS[:0], 2, "1 to 65536 tables, not 0"),
        (CDF[:, :0], LENGTHS, OFFSETS, 2, "table 0: its length"),
        (CDF[0], LENGTHS, OFFSETS, 2, "cdf must have 2 dimensions"),
        (CDF.astype(float), LENGTHS, OFFSETS, 2, "cdf must hold integers, not float64"),
        (CDF.tolist(), LENGTHS, OFFSETS, 2, "cdf must be a numpy array"),
    ],
)
def test_rules(cdf, lengths, offsets, precision, message):
    with pytest.raises(UsageError, match=message):
        CdfTables(cdf, lengths, offsets, precision)


def test_most_symbols():
    row = np.arange(2**16 + 1)[None]
    assert CdfTables(row, np.array([2**16 + 1]), np.array([0]), 16).n_tables == 1
    with pytest.raises(UsageError, match="its length must be from 3 to 5 entries, not 6"):
        CdfTables(np.arange(6)[None], np.array([6]), np.array([0]), 2)


@pytest.mark.parametrize("kind", [np.uint32, np.int16, np.int64, np.uint64, ">i4"])
def test_types_and_padding_do_not_matter(kind):
    tables = CdfTables(CDF, LENGTHS, OFFSETS, 2)
    padded = np.hstack([changed(CDF, (0, 3), 7), [[9, 9], [9, 9]]]).astype(kind)
    same = CdfTables(padded, LENGTHS.astype(kind), OFFSETS, 2)
    assert same == tables
    assert hash(same) == hash(tables)
    assert same.digest() == tables.digest()
    assert np.array_equal(same.cdf, CDF)


def test_digest_sees_every_number():
    wide = np.array([[0, 2, 8, 0], [0, 2, 4, 8]])
    several = [
        CdfTables(CDF, LENGTHS, OFFSETS, 2),
        CdfTables(wide, LENGTHS, OFFSETS, 3),
        CdfTables(changed(wide, (0, 1), 3), LENGTHS, OFFSETS, 3),
        CdfTables(wide, LENGTHS, OFFSETS + 1, 3),
        CdfTables(wide[:1], LENGTHS[:1], OFFSETS[:1], 3),
        CdfTables(wide[::-1], LENGTHS[::-1], OFFSETS, 3),
    ]
    assert len({tables.digest() for tables in several}) == len(several)
    assert several[0] != several[1]
    assert several[0] != "tables"


def test_immutable_and_apart_from_its_source():
    source = CDF.astype(np.int32)
    tables = CdfTables(source, LENGTHS, OFFSETS, 2)
    source[0, 1] = 3
    assert tables.cdf[0, 1] == 1
    with pytest.raises(ValueError, match="read-only"):
        tables.cdf[0, 1] = 3
    with pytest.raises(UsageError, match="cannot be changed"):
        tables.precision = 3
    with pytest.raises(UsageError, match="cannot be changed"):
        del tables.cdf


def test_storage():
    tables = CdfTables(CDF, LENGTHS, OFFSETS, 2)
    arrays = tables.arrays()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}
    assert CdfTables.from_arrays(arrays) == tables
    assert pickle.loads(pickle.dumps(tables)) == tables
    assert copy.deepcopy(tables) == tables
    for name in arrays:
        with pytest.raises(UsageError, match=f"lack {name}"):
            CdfTables.from_arrays({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(UsageError, match="one integer"):
        CdfTables.from_arrays({**arrays, "precision": np.array([2, 2])})
    with pytest.raises(UsageError, match="must end with"):
        CdfTables.from_arrays({**arrays, "precision": np.array([4])})
