"""The bytes themselves. A change here breaks every stream ever written."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lvc import _C

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def encode(coder, tables, values, index=None, lanes=None):
    encoder = coder[0](lanes=lanes)
    symbols = np.array(values, dtype=np.int32)
    places = np.zeros(symbols.shape, np.uint8) if index is None else np.array(index)
    encoder.push(symbols, places, tables)
    return encoder.finish()


def test_nothing_is_no_bytes(coder):
    assert coder[0]().finish() == b""


def test_one_symbol_by_hand(coder, make_tables):
    # Frequency 4096, start 0: 65536 // 4096 * 16384 + 65536 % 4096 + 0 = 0x40000 = 2**18, no word.
    # Bits, lowest first: 00 (one lane), 0100 (18 - 16 = 2), 18 zeros: 24 bits, the bit of 2 being bit 3.
    assert encode(coder, make_tables([[1, 3]], [0], 2), [0]) == bytes([0, 0, 0b00001000])


def test_escape_by_hand(coder, make_tables):
    # The escape [4096, 16384): 65536 // 12288 * 16384 + 65536 % 12288 + 4096 = 90112 = 2**16 + 24576.
    # Bits: 00, 0000, the 16 bits of 24576 = 0x6000, lowest first, that is, ones at bits 6 + 13 and 6 + 14.
    # Then the escape codes, above: code 1, the bit 1, at bit 22; below: code 2, the bits 0 1 0, the one at
    # bit 23.
    number = 1 << 19 | 1 << 20
    tables = make_tables([[1, 3]], [0], 2)
    assert encode(coder, tables, [1]) == (number | 1 << 22).to_bytes(3, "big")
    assert encode(coder, tables, [-1]) == (number | 1 << 23).to_bytes(4, "big")


def test_words_by_hand(coder, make_tables):
    # 16383 values of frequency 1, from 0 on, and the escape. The centre is the value at slot 8192, so 8192;
    # starts go 8192: 0, 8193: 1, 8191: 2, 8194: 3. Frequency 1 needs a state below 2**18, which it shifts by
    # 14 bits.
    tables = make_tables([[1] * 16384], [0], 14)
    data = encode(coder, tables, [8193, 8191, 8194])
    # Last to first: 2**16 becomes 2**30 + 3; the word 3 goes, 2**14 becomes 2**28 + 2; the word 2 goes, 2**12
    # becomes 2**26 + 1. Bits: 00, 10 in four, 26 bits of 1: in all the number 10 * 4 + 1 * 64.
    assert data == bytes([2, 0, 3, 0]) + (10 * 4 + 1 * 64).to_bytes(4, "big")


def test_lanes_by_hand(coder, make_tables):
    # A half that starts at 0 doubles a state. Of five symbols, lane 0 has two, the others one each.
    data = encode(coder, make_tables([[2, 2]], [0], 2), [0, 0, 0, 0, 0], lanes=4)
    # Bits: 10 (four lanes), then 0100 and 18 zeros, then three times 1000 and 17 zeros: 87 bits, in eleven
    # bytes.
    number = 1 | 2 << 2 | 1 << 24 | 1 << 45 | 1 << 66
    assert data == number.to_bytes(11, "big")


MIXED = {
    None: "003f3ffffffee000000000000003a0000000116030fbffe0",
    4: "01fffffff7000000000000001d000000008b0098c0094c400896c6c02d588011",
    8: (
        "01fffffff7000000000000001d000000008b000780080e000c03f00603c0044600097000a56801538002"
    ),
    32: (
        "fffffffb800000000000000e800000004580000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000009e0008200000f00101c001807e00c0780088c0012e0019"
        "6800918003"
    ),
}


@pytest.mark.parametrize("lanes", MIXED)
def test_mixed_stream(coder, make_tables, lanes):
    tables = make_tables([[3, 50, 3, 8], [10, 20, 20, 10, 4], [1, 62, 1]], [-1, -2, 7], 6)
    values = [0, 1, -1, 0, 100, INT32_MIN, INT32_MAX, 2, 8, -2]
    index = [0, 1, 1, 0, 1, 2, 0, 1, 2, 1]
    assert encode(coder, tables, values, index, lanes).hex() == MIXED[lanes]


LONG = {
    None: (16351, "893d75c28257473ecdccdbc74220dd75"),
    1: (16333, "9ba3a1db46cdc1b314d35c7356ccd0f0"),
    8: (16351, "893d75c28257473ecdccdbc74220dd75"),
    32: (16410, "8d4bc3b1c91f7432004d19d6e6a4ca3d"),
}


@pytest.mark.parametrize("lanes", LONG)
def test_long_stream(coder, make_tables, lanes):
    """20,000 symbols of a linear congruential generator: words, escapes and both kinds of push."""
    rows = [[100, 3000, 700, 296], [1, 1, 4000, 90, 4], [2048, 1024, 512, 512]]
    tables = make_tables(rows, [-1, -2, 0], 12)
    x, values, index = 12345, [], []
    for _ in range(20_000):
        x = (1103515245 * x + 12345) % 2**31
        values.append((x >> 16) % 7 - 3)
        index.append((x >> 24) % 3)
    encoder = coder[0](tables, lanes=lanes)
    encoder.push(np.array(values, np.int8), np.array(index, np.uint8))
    encoder.push_channels(np.array(values[:300], np.int16).reshape(3, 10, 10))
    data = encoder.finish()
    assert (len(data), hashlib.sha256(data).hexdigest()[:32]) == LONG[lanes]


@pytest.mark.parametrize(
    ("n", "lanes"), [(2340, 1), (2341, 4), (4681, 4), (4682, 8), (18724, 8), (18725, 32)])
def test_number_of_lanes(coder, make_tables, n, lanes):
    """14 bits a symbol cost 14336 each: 4 lanes from 2**25 on, that is 2341 symbols, 8 from 4682, 32 from
    18725."""
    tables = make_tables([[1] * 16384], [0], 14)
    data = encode(coder, tables, np.arange(n) % 16383)
    assert _C.Decoder(data).lanes == lanes


def test_tables_digest(make_tables):
    """Digests are stored beside streams and weights, so they must not change either."""
    tables = make_tables([[1, 3], [1, 1, 2]], [0, -1], 2)
    expected = hashlib.sha256(
        b"lvc.CdfTables\0"
        + np.array([2, 2, 4, 3, 4, 0, -1, 0, 1, 4, 0, 0, 1, 2, 4], dtype="<i4").tobytes()
    ).digest()
    assert tables.digest() == expected
