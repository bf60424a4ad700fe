"""The bytes themselves. A change here breaks every stream ever written."""

from __future__ import annotations

import hashlib

import numpy as np

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def encode(coder, tables, values, index=None):
    encoder = coder[0]()
    symbols = np.array(values, dtype=np.int32)
    encoder.push(tables, symbols, np.zeros(symbols.shape, np.uint8) if index is None else np.array(index))
    return encoder.finish()


def test_nothing_is_no_bytes(coder):
    assert coder[0]().finish() == b""


def test_one_symbol_by_hand(coder, make_tables):
    # 65536 // 1 * 4 + 65536 % 1 + 0 = 0x040000
    assert encode(coder, make_tables([[1, 3]], [0], 2), [0]) == bytes([0x00, 0x00, 0x04])


def test_escape_by_hand(coder, make_tables):
    # The value 1 is one above the table: code 1, no zeros, the bit 1. Coded in reverse:
    # bit: 65536 // 2 * 4 + 0 + 2 = 131074; escape [1, 4): 131074 // 3 * 4 + 131074 % 3 + 1 = 0x02aaae
    assert encode(coder, make_tables([[1, 3]], [0], 2), [1]) == bytes([0xAE, 0xAA, 0x02])
    # The value -1 is one below: code 2, the bits 0 1 0. State 2**17, then * 2 + 2 (one), then * 2 (zero), ...
    # bits: 131072, 262146, 524292; escape: 524292 // 3 * 4 + 0 + 1 = 0x0aaab1
    assert encode(coder, make_tables([[1, 3]], [0], 2), [-1]) == bytes([0xB1, 0xAA, 0x0A])


def test_words_by_hand(coder, make_tables):
    # Each symbol shifts the state by two bits: twice it grows to 2**62 and gives up a word of zeros.
    data = encode(coder, make_tables([[1, 3]], [0], 2), [0] * 40)
    assert data == bytes([0, 0, 0, 0, 1]) + bytes(8)


def test_word_order_by_hand(coder, make_tables):
    # Frequency 1 at 16 bits: a step shifts the state by 16 bits, and the start, here the value, comes in
    # below. In reverse: 7 and 6 give 0x1_0000_0007_0006 >= 2**48, so 5 first pushes out the word 0x0007_0006,
    # 3 the word 0x0005_0004 and 1 the word 0x0003_0002; 0x1_0000_0001 stays.
    tables = make_tables([[1] * 65536], [0], 16)
    data = encode(coder, tables, [1, 2, 3, 4, 5, 6, 7])
    assert data == bytes([1, 0, 0, 0, 1, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0])


def test_mixed_stream(coder, make_tables):
    tables = make_tables(
        [[3, 50, 3, 8], [10, 20, 20, 10, 4], [1, 62, 1]],
        [-1, -2, 7],
        6,
    )
    values = [0, 1, -1, 0, 100, INT32_MIN, INT32_MAX, 2, 8, -2]
    index = [0, 1, 1, 0, 1, 2, 0, 1, 2, 1]
    assert encode(coder, tables, values, index).hex() == "a91d6bd67151bb0100000000000400009f3b00001fe0ffff"


def test_long_stream(coder, make_tables):
    """20,000 symbols of a linear congruential generator: words, escapes and both kinds of push."""
    rows = [[100, 3000, 700, 296], [1, 1, 4000, 90, 4], [2048, 1024, 512, 512]]
    tables = make_tables(rows, [-1, -2, 0], 12)
    x, values, index = 12345, [], []
    for _ in range(20_000):
        x = (1103515245 * x + 12345) % 2**31
        values.append((x >> 16) % 7 - 3)
        index.append((x >> 24) % 3)
    encoder = coder[0]()
    encoder.push(tables, np.array(values, np.int8), np.array(index, np.uint8))
    encoder.push_channels(tables, np.array(values[:300], np.int16).reshape(3, 10, 10))
    data = encoder.finish()
    assert (len(data), hashlib.sha256(data).hexdigest()[:32]) == (16310, "3aabe41fb34ac13c0fce689a648bbba0")


def test_tables_digest(make_tables):
    """Digests are stored beside streams and weights, so they must not change either."""
    tables = make_tables([[1, 3], [1, 1, 2]], [0, -1], 2)
    expected = hashlib.sha256(
        b"lvc.CdfTables\0"
        + np.array([2, 2, 4, 3, 4, 0, -1, 0, 1, 4, 0, 0, 1, 2, 4], dtype="<i4").tobytes()
    ).digest()
    assert tables.digest() == expected
