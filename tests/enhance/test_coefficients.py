"""Coefficients of filters in streams, and the tables that they are coded with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lvc.coding import CdfTables, Encoder, gaussian_tables
from lvc.enhance.adaptive import CLASSES, COEFFICIENT, MAX_COEFFICIENT, N_CHROMA, N_LUMA, PARTITIONS, Views
from lvc.enhance.coefficients import Coefficients, Quantized
from lvc.enhance.prior import (
    MAX_SPREAD,
    PER_OCTAVE,
    QUANTA,
    ROWS,
    SITUATIONS,
    FilterPrior,
    situation,
    spread_of,
    table_index,
)
from lvc.enhance.restore import RestoreConfig, RestoreNet
from lvc.errors import CorruptStreamError, WeightsError
from lvc.weights import load_restore_weights, save_restore_weights

HOWS = [None, *((partition, step) for partition in range(len(PARTITIONS)) for step in range(len(QUANTA)))]
"""How planes can be coded."""

Array = np.ndarray[Any, Any]


def random_prior(seed: int = 0) -> FilterPrior:
    """Tables of which no two are alike."""
    rng = np.random.default_rng(seed)
    prior = FilterPrior()
    for name in ("luma", "chroma"):
        mean, spread = getattr(prior, f"{name}_mean"), getattr(prior, f"{name}_spread")
        mean.copy_(torch.from_numpy(rng.normal(0, 90, mean.shape).clip(-MAX_COEFFICIENT, MAX_COEFFICIENT)).round())
        spread.copy_(torch.from_numpy(rng.integers(0, MAX_SPREAD + 1, spread.shape)))
    return prior


PRIOR = random_prior()


def coefficients_of(luma: tuple[int, int] | None, chroma: tuple[int, int] | None, where: int,
                    seed: int = 0) -> Coefficients:
    """Random ones, as the tables say; one is the largest that there can be."""
    rng = np.random.default_rng(seed)
    planes: list[Quantized | None] = []
    for plane, how in enumerate((luma, chroma, chroma)):
        if how is None:
            planes.append(None)
            continue
        _, spread = PRIOR.of(where, plane, how[0])
        symbols = np.round(rng.normal(0, 2.0 ** (spread / PER_OCTAVE)) / QUANTA[how[1]])
        symbols[-1, plane] = rng.choice([-1, 1]) * 2 * MAX_COEFFICIENT
        planes.append(Quantized(*how, symbols.clip(-2 * MAX_COEFFICIENT, 2 * MAX_COEFFICIENT).astype(np.int16)))
    return Coefficients((planes[0], planes[1], planes[2]))


def check_same(one: Coefficients, two: Coefficients) -> None:
    for a, b in zip(one.planes, two.planes, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.partition, a.step) == (b.partition, b.step)
            assert a.symbols.dtype == b.symbols.dtype == np.int16
            assert np.array_equal(a.symbols, b.symbols)


def check_valid(found: Coefficients, where: int) -> None:
    """Whatever was read can be used and written."""
    assert (found.planes[1] is None) == (found.planes[2] is None)
    for plane, own in enumerate(found.planes):
        if own is not None:
            shape = PARTITIONS[own.partition].max() + 1, N_CHROMA if plane else N_LUMA
            assert own.symbols.shape == own.values(PRIOR, where, plane).shape == shape
            assert np.abs(own.symbols.astype(int)).max() <= 2 * MAX_COEFFICIENT
            assert np.abs(own.values(PRIOR, where, plane).astype(int)).max() <= MAX_COEFFICIENT
    check_same(found, Coefficients.from_bytes(found.to_bytes(PRIOR, where), PRIOR, where))


# -- bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("luma", HOWS)
def test_bytes_round_trip(luma):
    for number, chroma in enumerate(HOWS):
        where = number % SITUATIONS
        coefficients = coefficients_of(luma, chroma, where, number)
        data = coefficients.to_bytes(PRIOR, where)
        low, high = (3 if how is None else how[0] + 4 * how[1] for how in (luma, chroma))
        assert data[0] == low + 16 * high
        assert len(data) == 1 if luma is chroma is None else len(data) > 20
        check_same(Coefficients.from_bytes(data, PRIOR, where), coefficients)


def test_likely_coefficients_cost_little():
    """What tables say is what coefficients cost."""
    prior = FilterPrior()
    for tensor in (prior.luma_spread, prior.chroma_spread):
        tensor.fill_(0)
    nothing = Quantized(2, 1, np.zeros((CLASSES, N_LUMA), np.int16))
    assert len(Coefficients((nothing, None, None)).to_bytes(prior, 0)) < 25
    something = Quantized(2, 1, np.ones((CLASSES, N_LUMA), np.int16))
    assert len(Coefficients((something, None, None)).to_bytes(prior, 0)) > 300
    prior.luma_spread.fill_(10)
    assert 100 < len(Coefficients((something, None, None)).to_bytes(prior, 0)) < 200


@pytest.mark.parametrize(("luma", "chroma"), [((0, 1), None), (None, (1, 2)), ((2, 1), (0, 1))])
def test_truncated_bytes(luma, chroma):
    data = coefficients_of(luma, chroma, 1).to_bytes(PRIOR, 1)
    for length in range(len(data)):
        with pytest.raises(CorruptStreamError):
            Coefficients.from_bytes(data[:length], PRIOR, 1)
    with pytest.raises(CorruptStreamError):
        Coefficients.from_bytes(data + b"\0", PRIOR, 1)


def test_nothing_filtered_is_one_byte():
    off = Coefficients((None, None, None))
    assert off.to_bytes(PRIOR, 2) == b"\x33"
    with pytest.raises(CorruptStreamError):
        Coefficients.from_bytes(b"\x33\0\0\0\0", PRIOR, 2)
    with pytest.raises(CorruptStreamError, match="missing"):
        Coefficients.from_bytes(b"", PRIOR, 2)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(HOWS), st.sampled_from(HOWS), st.integers(0, SITUATIONS - 1),
       st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=3), st.integers(0, 2000))
def test_damaged_bytes(luma, chroma, where, flips, length):
    damaged = bytearray(coefficients_of(luma, chroma, where).to_bytes(PRIOR, where)[:length])
    for at, change in flips:
        if damaged:
            damaged[at % len(damaged)] ^= change
    try:
        found = Coefficients.from_bytes(bytes(damaged), PRIOR, where)
    except CorruptStreamError:
        return
    check_valid(found, where)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, SITUATIONS - 1))
def test_random_bytes(data, where):
    try:
        found = Coefficients.from_bytes(data, PRIOR, where)
    except CorruptStreamError:
        return
    check_valid(found, where)


@pytest.mark.parametrize("symbol", [2 * MAX_COEFFICIENT + 1, -2 * MAX_COEFFICIENT - 1, 2**31 - 1, -(2**31)])
def test_symbols_out_of_range(symbol):
    symbols = np.zeros((1, N_LUMA), np.int32)
    symbols[0, 3] = symbol
    encoder = Encoder(PRIOR.tables()["coefficients"])
    encoder.push(symbols, table_index(PRIOR.of(0, 0, 0)[1], 0))
    with pytest.raises(CorruptStreamError, match="out of range"):
        Coefficients.from_bytes(b"\x30" + encoder.finish(), PRIOR, 0)


# -- filtering -----------------------------------------------------------------------------------------------


def random_views(seed: int) -> Views:
    rng = np.random.default_rng(seed)
    frame, before, after = (tuple(rng.integers(0, 256, size, dtype=np.uint8) for size in ((30, 44), (15, 22), (15, 22)))
                            for _ in range(3))
    proposals = tuple(rng.integers(-50, 50, (k, *plane.shape)).astype(np.int16)
                      for k, plane in zip((3, 1, 1), frame, strict=True))
    return Views(frame, before, after, 9, proposals)


def test_values_are_limited():
    prior = FilterPrior()
    prior.chroma_mean[2, 1] = 1000
    own = Quantized(1, 3, np.tile(np.resize(np.array([-2046, -100, 0, 1, 2, 2046], np.int16), N_CHROMA), (3, 1)))
    values = own.values(prior, 2, 2)
    assert values.dtype == np.int16
    assert values[:, :6].tolist() == [[-1023, 1000 - 1600, 1000, 1016, 1023, 1023]] * 3
    assert own.values(prior, 2, 1)[0, :6].tolist() == [-1023, -1023, 0, 16, 32, 1023]


def test_applying_filters_the_planes_that_are_on():
    views = random_views(1)
    for number, (luma, chroma) in enumerate([((2, 0), (1, 3)), (None, (0, 1)), ((1, 1), None), (None, None)]):
        where = number % SITUATIONS
        coefficients = coefficients_of(luma, chroma, where)
        frame = coefficients.apply(views, 77, PRIOR, where)
        assert frame.pts == 77
        for plane, own in enumerate(coefficients.planes):
            expected = views.frame[plane]
            if own is not None:
                mean, _ = PRIOR.of(where, plane, own.partition)
                values = np.clip(mean + QUANTA[own.step] * own.symbols.astype(int), -1023, 1023).astype(np.int16)
                assert np.abs(values).max() == MAX_COEFFICIENT  # so some were limited
                expected = views.filtered(plane, PARTITIONS[own.partition][views.classes], values)
                assert not np.array_equal(expected, views.frame[plane])
            assert np.array_equal(frame.planes[plane], expected)
        for a, b in zip(frame.planes, coefficients.apply(views, 77, PRIOR, where, threads=3).planes, strict=True):
            assert np.array_equal(a, b)


# -- tables --------------------------------------------------------------------------------------------------


def test_every_situation_plane_and_class_has_its_own_tables():
    assert sorted(situation(av1, network) for av1 in (False, True) for network in (False, True)) == [0, 1, 2, 3]
    for planes in ((0,), (1, 2)):
        found = [PRIOR.of(where, plane, partition) for where in range(SITUATIONS) for plane in planes
                 for partition in range(len(PARTITIONS))]
        for part in range(2):
            rows = np.concatenate([pair[part] for pair in found])
            assert rows.shape == (SITUATIONS * len(planes) * ROWS, N_CHROMA if planes[0] else N_LUMA)
            assert len({row.tobytes() for row in rows}) == len(rows)
    assert ROWS == 13


def test_tables_are_views():
    prior = FilterPrior()
    prior.of(3, 2, 1)[0][2, 5] = -7
    assert prior.chroma_mean[3, 1, 3, 5] == -7
    assert prior.chroma_mean.count_nonzero() == 1
    prior.of(1, 0, 2)[1][0, 1] = 40
    assert prior.luma_spread[1, 0, 4, 1] == 40


def test_spreads_are_those_of_the_tables():
    spread = np.arange(MAX_SPREAD + 1, dtype=np.uint8)
    scales = 2.0 ** (np.arange(MAX_SPREAD + 1) / PER_OCTAVE - 3)  # see FilterPrior.freeze
    for step, quantum in enumerate(QUANTA):
        index = table_index(spread, step)
        assert index.dtype == np.uint8
        wanted = 2.0 ** (spread / PER_OCTAVE) / quantum
        assert np.allclose(scales[index], wanted.clip(scales[0], scales[-1]))
    assert table_index(np.array([255], np.uint8), 0) == MAX_SPREAD  # whatever a file holds


def test_tables_are_normal_distributions():
    tables = FilterPrior().tables()["coefficients"]
    expected = gaussian_tables(2.0 ** (np.arange(MAX_SPREAD + 1) / PER_OCTAVE - 3))
    assert tables.n_tables == MAX_SPREAD + 1
    for name, values in tables.arrays().items():
        assert np.array_equal(values, expected.arrays()[name])


@given(st.floats(0, 1e6))
def test_the_nearest_spread(deviation):
    spread = spread_of(np.array([deviation]))
    assert spread.dtype == np.uint8
    octaves = np.log2(max(deviation, 1 / COEFFICIENT))
    nearest = min(range(MAX_SPREAD + 1), key=lambda n: abs(n / PER_OCTAVE - octaves))
    assert abs(int(spread[0]) / PER_OCTAVE - octaves) <= abs(nearest / PER_OCTAVE - octaves) + 1e-9


def wrong_tables() -> Iterator[dict[str, CdfTables]]:
    yield {}
    yield {"other": FilterPrior().tables()["coefficients"]}
    yield {"coefficients": gaussian_tables(np.array([1.0, 2.0]))}


@pytest.mark.parametrize("tables", list(wrong_tables()))
def test_tables_that_are_missing(tables):
    with pytest.raises(ValueError, match="tables of filter coefficients are missing"):
        FilterPrior().set_tables(tables)


def test_tables_of_a_file_are_used():
    prior = FilterPrior()
    tables = gaussian_tables(np.full(MAX_SPREAD + 1, 3.0))
    prior.set_tables({"coefficients": tables})
    assert prior.tables()["coefficients"] is tables


# -- weights -------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    net = RestoreNet(RestoreConfig(width=8, blocks=1))
    net.prior.load_state_dict(PRIOR.state_dict())
    save_restore_weights(tmp_path / "w.safetensors", net, {})
    return tmp_path / "w.safetensors"


def test_weights_keep_the_tables(weights):
    prior = load_restore_weights(weights).net.prior
    for name, tensor in PRIOR.state_dict().items():
        assert prior.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(prior.state_dict()[name], tensor)
    coefficients = coefficients_of((2, 0), (1, 1), 3)
    data = coefficients.to_bytes(PRIOR, 3)
    assert coefficients.to_bytes(prior, 3) == data
    check_same(Coefficients.from_bytes(data, prior, 3), coefficients)


@pytest.mark.parametrize("start", ["restore.prior.luma_mean", "restore.prior.chroma_spread", "restore.prior.tables."])
def test_weights_without_tables(weights, start):
    tensors = load_file(weights)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(start)}
    assert len(kept) < len(tensors)
    save_file(kept, weights, {"config": RestoreConfig(width=8, blocks=1).to_json()})
    with pytest.raises(WeightsError, match="cannot be used"):
        load_restore_weights(weights)
