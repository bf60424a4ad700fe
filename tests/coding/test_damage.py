"""Damaged data: an error or symbols, the same from both decoders; never a crash or a hang."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.coding import RangeDecoder, RangeEncoder, gaussian_tables
from lvc.coding.reference import ReferenceDecoder, ReferenceEncoder
from lvc.errors import CorruptStreamError

SCALES = np.geomspace(0.11, 64, 64)
TABLES = gaussian_tables(SCALES)


def sample(seed: int, n: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 64, n).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(n) * SCALES[index] * 1.2).astype(np.int32)
    encoder = RangeEncoder()
    encoder.push(TABLES, symbols, index)
    return encoder.finish(), symbols, index


def outcome(decoder, index):
    """What a decoder makes of data: its symbols and the kind of its complaint, if any."""
    symbols = []
    try:
        for part in np.split(index, range(16, len(index), 16)):
            symbols.append(decoder.pull(TABLES, part).tolist())
    except CorruptStreamError as error:
        with pytest.raises(CorruptStreamError):
            decoder.close()  # damage is not forgotten
        return symbols, str(error).split(",")[0].split(" at symbol")[0]
    try:
        decoder.close()
    except CorruptStreamError as error:
        return symbols, str(error).split(",")[0]
    return symbols, None


def test_every_truncation_is_noticed():
    data, _, index = sample(1, 300)
    for size in range(len(data)):
        decoder = RangeDecoder(data[:size])
        with pytest.raises(CorruptStreamError):  # noqa: PT012
            decoder.pull(TABLES, index)
            decoder.close()


def test_what_is_left_over_is_noticed(coder):
    data, _, index = sample(2, 300)
    for cut in (0, 1, 150, 299):
        decoder = coder[1](data)
        decoder.pull(TABLES, index[:cut])
        with pytest.raises(CorruptStreamError, match="does not end with its last symbol"):
            decoder.close()
    for extra in (4, 8):
        decoder = coder[1](data + bytes(extra))
        decoder.pull(TABLES, index)
        with pytest.raises(CorruptStreamError, match="does not end with its last symbol"):
            decoder.close()


def test_impossible_beginnings_are_noticed(coder):
    short = [b"\0", b"\1", b"\1\2", b"\0\0\1", b"\1\2\3\0"]
    for data in (*short, bytes(8), bytes(9), bytes(100), b"\1\1\1\1\0" + bytes(4)):
        decoder = coder[1](data)
        with pytest.raises(CorruptStreamError, match="impossible state"):
            decoder.pull(TABLES, np.zeros(1, np.uint8))
        with pytest.raises(CorruptStreamError, match="impossible state"):
            decoder.close()


def forge(steps: list[tuple[int, int, int]]) -> bytes:
    """A stream of any coding steps, those that no value leads to included."""
    encoder = ReferenceEncoder()
    encoder._steps = steps
    return encoder.finish()


@pytest.mark.parametrize(
    "bits",
    [
        [0] * 33 + [1] * 34,  # a longer prefix than any value has
        [0] * 32 + [1] * 33,  # above 2**31 - 1
        [0] * 32 + [1] * 32 + [0],  # below -2**31
    ],
)
def test_impossible_escapes_are_noticed(coder, make_tables, bits):
    tables = make_tables([[1, 3]], [5], 2)
    escape = [(1, 3, 2)]
    decoder = coder[1](forge(escape + [(2 * bit, 2, 2) for bit in bits]))
    for _ in range(2):
        with pytest.raises(CorruptStreamError, match="impossible escape"):
            decoder.pull(tables, np.zeros(1, np.uint8))
    with pytest.raises(CorruptStreamError, match="impossible escape"):
        decoder.close()
    sound = coder[1](forge(escape + [(2 * bit, 2, 2) for bit in [0, 0, 1, 1, 1]]))
    assert sound.pull(tables, np.zeros(1, np.uint8)) == 5 + (7 + 1) // 2
    sound.close()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 2**32))
def test_random_bytes(data, seed):
    index = np.random.default_rng(seed).integers(0, 64, 100).astype(np.uint8)
    assert outcome(RangeDecoder(data), index) == outcome(ReferenceDecoder(data), index)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bits(draw):
    data, _, index = sample(draw.draw(st.integers(0, 20)), 60)
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        broken[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    assert outcome(RangeDecoder(bytes(broken)), index) == outcome(ReferenceDecoder(bytes(broken)), index)


def test_most_flipped_bits_are_noticed():
    data, symbols, index = sample(3, 400)
    unnoticed = 0
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        decoder = RangeDecoder(broken)
        try:
            result = decoder.pull(TABLES, index)
            decoder.close()
        except CorruptStreamError:
            continue
        assert not np.array_equal(result, symbols)  # no two streams for the same symbols
        unnoticed += 1
    assert unnoticed < 0.01 * 8 * len(data)


def test_wrong_tables_are_noticed():
    data, _, index = sample(4, 2000)
    decoder = RangeDecoder(data)
    with pytest.raises(CorruptStreamError):  # noqa: PT012
        decoder.pull(gaussian_tables(SCALES * 1.01), index)
        decoder.close()


def test_the_message_says_where():
    data, _, index = sample(5, 500)
    decoder = RangeDecoder(data[: len(data) // 8 * 4])
    with pytest.raises(CorruptStreamError, match=r"^entropy-coded data .* at symbol \d+$"):
        decoder.pull(TABLES, index)
