"""From probabilities to integer CDFs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lvc.coding import code_length, factorized_tables, gaussian_tables, pmf_to_cdf
from lvc.errors import UsageError


def test_small_rows_by_hand():
    cdf, lengths = pmf_to_cdf([[0.5, 0.25, 0.25], [1, 0]], precision=2)
    assert cdf.tolist() == [[0, 2, 3, 4], [0, 3, 4, 0]]
    assert lengths.tolist() == [4, 3]
    cdf, _ = pmf_to_cdf(np.array([[0.9, 0.1]]), precision=16)
    assert cdf.tolist() == [[0, 58982, 65536]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=2, max_size=40).filter(any), min_size=1, max_size=4),
    st.integers(6, 16),
)
def test_any_row_becomes_a_table(rows, precision):
    cdf, lengths = pmf_to_cdf(rows, precision)
    for row, entries, length in zip(rows, cdf, lengths, strict=True):
        frequency = np.diff(entries[:length])
        assert length == len(row) + 1
        assert frequency.min() >= 1
        assert frequency.sum() == 2**precision
        assert not entries[length:].any()


def test_no_other_frequencies_are_better():
    """Against all of them, where that can be tried: the mean code length is the least one, but for 1 %."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        pmf = rng.dirichlet([0.3] * 3)
        cdf, _ = pmf_to_cdf([pmf], precision=4)
        cost = -(pmf * np.log2(np.diff(cdf[0]) / 16)).sum()
        triples = (t for t in itertools.product(range(1, 15), repeat=3) if sum(t) == 16)
        best = min(-(pmf * np.log2(np.array(t) / 16)).sum() for t in triples)
        assert cost <= best * 1.01


@pytest.mark.parametrize("precision", [12, 14, 16])
def test_gaussian_tables_are_near_the_gaussian(precision):
    """Samples cost what the Gaussian says, but for 0.01 bit and a little for the coarse precision."""
    scales = np.array([0.11, 0.3, 1.0, 4.0, 30.0])
    tables = gaussian_tables(scales, precision)
    rng = np.random.default_rng(2)
    for i, scale in enumerate(scales):
        x = np.rint(rng.standard_normal(50_000) * scale).astype(np.int32)
        ideal = -np.log2(norm.cdf(x + 0.5, scale=scale) - norm.cdf(x - 0.5, scale=scale)).mean()
        actual = code_length(x, np.full(x.shape, i), tables) / x.size
        assert ideal - 0.01 < actual < ideal + 0.005 + 40 / 2**precision


def test_gaussian_tables_are_symmetric_and_fall():
    tables = gaussian_tables(np.geomspace(0.05, 300, 40))
    for row, length, offset in zip(tables.cdf, tables.lengths, tables.offsets, strict=True):
        frequency = np.diff(row[:length])[:-1]
        assert len(frequency) == 1 - 2 * offset
        assert np.abs(frequency - frequency[::-1]).max() <= 1  # one unit may have gone to make up the sum
        assert (np.diff(frequency[-offset:]) <= 1).all()


def test_wide_gaussians_fit_low_precisions():
    for precision in (2, 5, 8):
        tables = gaussian_tables(np.array([0.01, 1.0, 1000.0]), precision)
        assert tables.lengths.max() <= 2**precision + 1


def test_gaussian_tables_are_not_made_of_nonsense():
    good = np.array([1.0])
    bad = [np.array([value]) for value in (0.0, -1.0, np.nan, np.inf, "1")]
    for scales in (*bad, np.zeros((2, 2)), np.array([]), "1", None, [1.0]):
        with pytest.raises(UsageError, match="scales"):
            gaussian_tables(scales)
    for tail in (0, 1, -1, 2, float("nan"), "1"):
        with pytest.raises(UsageError, match="tail"):
            gaussian_tables(good, tail=tail)
    for precision in (1, 17, 12.0, "12"):
        with pytest.raises(UsageError, match="precision"):
            gaussian_tables(good, precision)


def test_factorized_tables():
    rows = [[0.5, 0.25], np.array([0.125, 0.5, 0.25, 0.125])]
    tables = factorized_tables(rows, np.array([-1, 3]), precision=4)
    assert tables.offsets.tolist() == [-1, 3]
    assert tables.cdf[0].tolist() == [0, 8, 12, 16, 0, 0]  # the escape gets what is left
    assert tables.cdf[1, -1] == 16
    assert tables.cdf[1, -2] == 15  # and at least 1
    padded = factorized_tables(np.array([[0.5, 0.25]]), np.array([0]), precision=4)
    assert padded.cdf.tolist() == [[0, 8, 12, 16]]


def test_factorized_tables_leave_what_is_rare_at_the_ends_to_escapes():
    # At 4 bits, a probability below 1/64 has no entry at an end, and one of 1 between others.
    row = [0.01, 0.25, 0.0, 0.5, 0.2, 1 / 64, 0.01]
    tables = factorized_tables([row], np.array([-3]), precision=4)
    assert tables.offsets.tolist() == [-2]
    assert np.diff(tables.cdf[0]).tolist() == [3, 1, 7, 3, 1, 1]
    only = factorized_tables([[1e-9, 2e-9]], np.array([0]), precision=4)
    assert (only.offsets.tolist(), only.cdf.tolist()) == ([1], [[0, 1, 16]])


def test_frequencies_of_factorized_tables_are_those_of_the_coder():
    """However many bits are stored, what is coded with is what was chosen."""
    pmf = np.random.default_rng(5).dirichlet(np.full(300, 0.05), 8)
    coded = [factorized_tables(pmf, np.arange(8), precision).rows() for precision in (14, 15, 16)]
    for narrow, *others in zip(*coded, strict=True):
        for row in others:
            assert np.array_equal(row.cdf, narrow.cdf)
            assert np.array_equal(row.values, narrow.values)


@pytest.mark.parametrize(
    ("pmf", "message"),
    [
        ([[0.5, -0.1, 0.6]], "pmf 0 must hold finite"),
        ([[0.5, 0.5], [np.nan, 1]], "pmf 1 must hold finite"),
        ([[0.0, 0.0]], "not all zero"),
        ([[np.inf, 1]], "finite"),
        ([], "at least one row"),
        ([[]], "pmf 0"),
        ([[[0.5, 0.5]]], "pmf 0 must be one row"),
        ([["a", "b"]], "pmf 0 must be one row of numbers"),
        (["ab"], "pmf 0 must be"),
        ("ab", "pmf must be"),
        (np.float64(3), "pmf must have 2 dimensions"),
        (np.ones(3), "pmf must have 2 dimensions"),
        ([[1.0, [2.0]]], "pmf 0 must be one row"),
        ([[1e308, 1e308]], "pmf 0 must hold finite"),
        ([3.0, 4.0], "pmf 0 must be"),
        (np.ones((1, 17)), "2 to 16 entries at 4 bits, not 17"),
    ],
)
def test_bad_pmfs(pmf, message):
    with pytest.raises(UsageError, match=message):
        pmf_to_cdf(pmf, precision=4)


def test_bad_factorized_tables():
    with pytest.raises(UsageError, match=r"pmf 1 must sum to at most 1, not 1\.5"):
        factorized_tables([[0.5, 0.5], [1.0, 0.5]], np.array([0, 0]))
    with pytest.raises(UsageError, match="must be as many"):
        factorized_tables([[0.5, 0.5]], np.array([0, 0]))
    with pytest.raises(UsageError, match="offsets must be a numpy array"):
        factorized_tables([[0.5, 0.5]], [0])
    with pytest.raises(UsageError, match="2 to 16384 entries at 14 bits, not 65537"):
        factorized_tables([np.full(65536, 1 / 65536)], np.array([0]))
    with pytest.raises(UsageError, match="2 to 65536 entries"):
        pmf_to_cdf([np.ones(1)])
