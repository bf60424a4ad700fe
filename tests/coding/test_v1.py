"""The decoder of format version 1: old streams stay decodable, and damage to them is noticed as ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.coding import gaussian_tables
from lvc.coding.reference_v1 import ReferenceDecoderV1, ReferenceEncoderV1
from lvc.coding.v1 import DecoderV1
from lvc.errors import CorruptStreamError, UsageError

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
DECODERS = [DecoderV1, ReferenceDecoderV1]
TABLES = gaussian_tables(np.geomspace(0.11, 64, 64))


def stream(seed: int, n: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 64, n).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(n) * np.geomspace(0.11, 64, 64)[index] * 1.2).astype(np.int32)
    encoder = ReferenceEncoderV1()
    encoder.push(symbols, index, TABLES)
    return encoder.finish(), symbols, index


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("data", "value"), [("000004", 0), ("aeaa02", 1), ("b1aa0a", -1)])
def test_streams_by_hand(make_tables, decoder, data, value):
    # 65536 // 1 * 4 + 0 = 0x040000; then with escapes: see reference_v1
    tables = make_tables([[1, 3]], [0], 2)
    reader = decoder(bytes.fromhex(data))
    assert reader.pull(np.zeros(1, np.uint8), tables) == value
    reader.close()


@pytest.mark.parametrize("decoder", DECODERS)
def test_word_order_by_hand(make_tables, decoder):
    tables = make_tables([[1] * 65536], [0], 16)
    reader = decoder(bytes([1, 0, 0, 0, 1, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0]))
    assert reader.pull(np.zeros(7, np.uint8), tables).tolist() == [1, 2, 3, 4, 5, 6, 7]
    reader.close()


@pytest.mark.parametrize("decoder", DECODERS)
def test_mixed_stream(make_tables, decoder):
    tables = make_tables([[3, 50, 3, 8], [10, 20, 20, 10, 4], [1, 62, 1]], [-1, -2, 7], 6)
    reader = decoder(bytes.fromhex("a91d6bd67151bb0100000000000400009f3b00001fe0ffff"))
    values = reader.pull(np.array([0, 1, 1, 0, 1, 2, 0, 1, 2, 1]), tables)
    assert values.tolist() == [0, 1, -1, 0, 100, INT32_MIN, INT32_MAX, 2, 8, -2]
    reader.close()


def test_long_stream(make_tables):
    rows = [[100, 3000, 700, 296], [1, 1, 4000, 90, 4], [2048, 1024, 512, 512]]
    tables = make_tables(rows, [-1, -2, 0], 12)
    x, values, index = 12345, [], []
    for _ in range(20_000):
        x = (1103515245 * x + 12345) % 2**31
        values.append((x >> 16) % 7 - 3)
        index.append((x >> 24) % 3)
    encoder = ReferenceEncoderV1()
    encoder.push(np.array(values, np.int8), np.array(index, np.uint8), tables)
    encoder.push_channels(np.array(values[:300], np.int16).reshape(3, 10, 10), tables)
    data = encoder.finish()
    assert (len(data), hashlib.sha256(data).hexdigest()[:32]) == (16310, "3aabe41fb34ac13c0fce689a648bbba0")
    decoder = DecoderV1(data, tables)
    assert decoder.pull(np.array(index, np.int32)).tolist() == values
    assert decoder.pull_channels((3, 10, 10)).ravel().tolist() == values[:300]
    decoder.close()


def outcome(decoder, index):
    symbols = []
    try:
        for part in np.split(index, range(16, len(index), 16)):
            symbols.append(decoder.pull(part, TABLES).tolist())
        decoder.close()
    except CorruptStreamError as error:
        return symbols, str(error).split(",")[0].split(" at symbol")[0]
    return symbols, None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage(draw):
    data, _, index = stream(draw.draw(st.integers(0, 20)), 60)
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        broken[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    broken = broken[: draw.draw(st.integers(0, len(broken)))]
    assert outcome(DecoderV1(bytes(broken)), index) == outcome(ReferenceDecoderV1(bytes(broken)), index)


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_wrong_is_told(decoder):
    data, _, index = stream(5, 500)
    with pytest.raises(CorruptStreamError, match="ends too early"):
        decoder(data[: len(data) // 8 * 4]).pull(index, TABLES)
    reader = decoder(data)
    reader.pull(index[:100], TABLES)
    with pytest.raises(CorruptStreamError, match="does not end with its last symbol"):
        reader.close()
    with pytest.raises(CorruptStreamError, match="impossible state"):
        decoder(bytes(9)).pull(index, TABLES)
    with pytest.raises(UsageError, match="index must be from 0 to 63"):
        decoder(data).pull(np.array([64], np.uint8), TABLES)


def test_every_truncation_is_noticed():
    data, _, index = stream(1, 300)
    for size in range(len(data)):
        decoder = DecoderV1(data[:size], TABLES)
        with pytest.raises(CorruptStreamError):  # noqa: PT012
            decoder.pull(index)
            decoder.close()
