"""Streams in chunks: the same symbols for any number of threads, and damage noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.coding import Decoder, decode_chunks, encode_chunks, gaussian_tables
from lvc.errors import CorruptStreamError, UsageError

SCALES = np.geomspace(0.11, 64, 64)
TABLES = gaussian_tables(SCALES)


def sample(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 64, n).astype(np.uint8)
    return np.rint(rng.standard_normal(n) * SCALES[index]).astype(np.int16), index


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 5000])
def test_round_trip(size):
    symbols, index = sample(1000)
    symbols, index = symbols.reshape(10, 100), index.reshape(10, 100)
    data = encode_chunks(symbols, index, TABLES, chunk_symbols=size, threads=1)
    assert data == encode_chunks(symbols, index, TABLES, chunk_symbols=size, threads=3)
    for threads in (1, 3, None):
        assert np.array_equal(decode_chunks(data, index, TABLES, threads=threads), symbols)
    out = np.empty((10, 100), np.int32)
    assert decode_chunks(bytearray(data), index, TABLES, out=out) is out
    assert np.array_equal(out, symbols)


def test_layout_by_hand():
    symbols, index = sample(600)
    data = encode_chunks(symbols, index, TABLES, chunk_symbols=400)
    assert data[:2] == bytes([400 % 128 + 128, 3])
    assert data[2] >= 128 > data[3]
    first = data[2] % 128 + 128 * data[3]
    part = Decoder(data[4 : 4 + first], TABLES)
    assert np.array_equal(part.pull(index[:400]), symbols[:400])
    part.close()
    part = Decoder(data[4 + first :], TABLES)
    assert np.array_equal(part.pull(index[400:]), symbols[400:])
    part.close()


def test_nothing_is_no_bytes():
    symbols, index = sample(0)
    assert encode_chunks(symbols, index, TABLES) == b""
    assert decode_chunks(b"", index, TABLES).shape == (0,)
    with pytest.raises(CorruptStreamError, match="hold no symbols"):
        decode_chunks(b"\x01", index, TABLES)


def test_a_chunk_costs_little():
    symbols, index = sample(300_000)
    whole = len(encode_chunks(symbols, index, TABLES, chunk_symbols=300_000))
    parts = len(encode_chunks(symbols, index, TABLES, chunk_symbols=100_000))
    assert whole < parts <= whole + 2 * 83


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_an_error_or_other_symbols(draw):
    symbols, index = sample(400, draw.draw(st.integers(0, 5)))
    data = bytearray(encode_chunks(symbols, index, TABLES, chunk_symbols=64))
    data[draw.draw(st.integers(0, min(20, len(data) - 1)) | st.integers(0, len(data) - 1))] ^= draw.draw(
        st.integers(1, 255))
    data = data[: draw.draw(st.integers(0, len(data)) | st.just(len(data)))]
    try:
        result = decode_chunks(bytes(data), index, TABLES, threads=1)
    except CorruptStreamError:
        return
    assert not np.array_equal(result, symbols)


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x80", b"\x80\x00", b"\xff" * 9, b"\x01\x05", b"\x40\xff\xff\x7f" + bytes(9)])
def test_damaged_sizes(data):
    with pytest.raises(CorruptStreamError):
        decode_chunks(data, np.zeros(400, np.uint8), TABLES)


def test_wrong_calls():
    symbols, index = sample(100)
    for size in (0, -1, 2**32 + 1, 1.5, True, "9"):
        with pytest.raises(UsageError, match="chunk_symbols must be an integer"):
            encode_chunks(symbols, index, TABLES, chunk_symbols=size)
    for threads in (0, -1, 1.5, "2"):
        with pytest.raises(UsageError, match="threads must be an integer"):
            encode_chunks(symbols, index, TABLES, chunk_symbols=10, threads=threads)
    with pytest.raises(UsageError, match="one shape"):
        encode_chunks(symbols, index[:50], TABLES)
    with pytest.raises(UsageError, match="from 0 to 63"):
        encode_chunks(symbols, index + 64, TABLES)
    data = encode_chunks(symbols, index, TABLES)
    with pytest.raises(UsageError, match="from 0 to 63"):
        decode_chunks(data, index + 64, TABLES)
    with pytest.raises(UsageError, match="coded data must be bytes"):
        decode_chunks("data", index, TABLES)
