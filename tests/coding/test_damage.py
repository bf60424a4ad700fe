"""Damaged data: an error or symbols, the same from both decoders; never a crash or a hang."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvc.coding import Decoder, Encoder, available_kernels, gaussian_tables, use_kernels
from lvc.coding.reference import ReferenceDecoder, ReferenceEncoder
from lvc.errors import CorruptStreamError

SCALES = np.geomspace(0.11, 64, 64)
TABLES = gaussian_tables(SCALES)


def sample(seed: int, n: int, lanes: int | None = None) -> tuple[bytes, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 64, n).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(n) * SCALES[index] * 1.2).astype(np.int32)
    encoder = Encoder(lanes=lanes)
    encoder.push(symbols, index, TABLES)
    return encoder.finish(), symbols, index


def outcome(decoder, index):
    """What a decoder makes of data: the symbols of each pull until it complains."""
    symbols = []
    try:
        for part in np.split(index, range(16, len(index), 16)):
            symbols.append(decoder.pull(part, TABLES).tolist())
    except CorruptStreamError:
        with pytest.raises(CorruptStreamError):
            decoder.close()  # damage is not forgotten
        return symbols
    try:
        decoder.close()
    except CorruptStreamError:
        return symbols
    return [*symbols, "closed"]


def test_every_truncation_is_noticed():
    data, _, index = sample(1, 300)
    for size in range(len(data)):
        decoder = Decoder(data[:size])
        with pytest.raises(CorruptStreamError):  # noqa: PT012
            decoder.pull(index, TABLES)
            decoder.close()


def test_what_is_left_over_is_noticed(coder):
    data, _, index = sample(2, 300)
    for cut in (1, 150, 299):
        decoder = coder[1](data)
        decoder.pull(index[:cut], TABLES)
        with pytest.raises(CorruptStreamError, match="does not end with its last symbol"):
            decoder.close()
    for extra in (1, 2, 8):
        decoder = coder[1](bytes(extra) + data)
        decoder.pull(index, TABLES)
        with pytest.raises(CorruptStreamError, match="does not end with its last symbol"):
            decoder.close()


@pytest.mark.parametrize("lanes", [1, 4, 8, 32])
def test_no_symbols_are_no_bytes(coder, lanes):
    """Nothing but states as they are at the start: all that a decoder verifies would be right."""
    empty = coder[1](b"")
    empty.pull(np.zeros(0, np.uint8), TABLES)
    empty.close()
    states = (2 + lanes * 20 + 7) // 8 - 1  # bytes below the one that tells the number of lanes
    data = bytes(states) + bytes([{1: 0, 4: 1, 8: 2, 32: 3}[lanes]])
    decoder = coder[1](data)
    decoder.pull(np.zeros(0, np.uint8), TABLES)
    with pytest.raises(CorruptStreamError, match="no symbol was taken from entropy-coded data that is not empty"):
        decoder.close()
    with pytest.raises(CorruptStreamError, match="ends too early"):
        coder[1](data).pull(np.zeros(1, np.uint8), TABLES)
    with pytest.raises(CorruptStreamError, match="no symbol was taken"):
        coder[1](sample(2, 300, lanes)[0]).close()


def test_data_too_short_for_its_states_is_noticed(coder):
    # the last byte tells 1, 4, 8 or 32 lanes, and the length of the first state
    for data in (b"\x00", b"\x00\x3c", b"\x00\x00\x01", bytes(8) + b"\x02", bytes(60) + b"\x03"):
        decoder = coder[1](data)
        with pytest.raises(CorruptStreamError, match="too short for its states"):
            decoder.pull(np.zeros(1, np.uint8), TABLES)
        with pytest.raises(CorruptStreamError, match="too short for its states"):
            decoder.close()


def forge(tables, bits: list[int]) -> bytes:
    """A stream of one escape of table 0, followed by any bits, those that no value leads to included."""
    encoder = ReferenceEncoder(tables)
    encoder.push(np.full(1, tables.offsets[0] - 1, np.int32), np.zeros(1, np.uint8))
    encoder._bits = bits
    return encoder.finish()


@pytest.mark.parametrize(
    "bits",
    [
        [0] * 33 + [1] * 34,  # a longer prefix than any value has
        [0] * 32 + [1] * 33,  # above 2**31 - 1
        [0] * 32 + [1, 0] + [1] * 31,  # below -2**31
    ],
)
def test_impossible_escapes_are_noticed(coder, make_tables, bits):
    tables = make_tables([[1, 3]], [5], 2)
    decoder = coder[1](forge(tables, bits))
    for _ in range(2):
        with pytest.raises(CorruptStreamError, match="impossible escape"):
            decoder.pull(np.zeros(1, np.uint8), tables)
    with pytest.raises(CorruptStreamError, match="impossible escape"):
        decoder.close()
    sound = coder[1](forge(tables, [0, 0, 1, 1, 1]))
    assert sound.pull(np.zeros(1, np.uint8), tables) == 5 + (7 + 1) // 2
    sound.close()


def test_padding_must_be_zero(coder, make_tables):
    tables = make_tables([[4096, 12288]], [0], 14)
    data = forge(tables, [1])
    assert data[0] < 128  # the string ends with a bit of padding at least
    coder[1](data).pull(np.zeros(1, np.uint8), tables)
    decoder = coder[1](bytes([data[0] | 128]) + data[1:])
    decoder.pull(np.zeros(1, np.uint8), tables)
    with pytest.raises(CorruptStreamError, match="does not end with its last symbol"):
        decoder.close()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 2**32))
def test_random_bytes(data, seed):
    index = np.random.default_rng(seed).integers(0, 64, 100).astype(np.uint8)
    expected = outcome(ReferenceDecoder(data), index)
    for name in available_kernels():
        use_kernels(name)
        assert outcome(Decoder(data), index) == expected
    use_kernels()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipped_bits(draw):
    data, _, index = sample(draw.draw(st.integers(0, 20)), 100, draw.draw(st.sampled_from([1, 4, 8, 32])))
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        broken[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    expected = outcome(ReferenceDecoder(bytes(broken)), index)
    for name in available_kernels():
        use_kernels(name)
        assert outcome(Decoder(bytes(broken)), index) == expected
    use_kernels()


def test_most_flipped_bits_are_noticed():
    data, symbols, index = sample(3, 400)
    unnoticed = 0
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        decoder = Decoder(broken)
        try:
            result = decoder.pull(index, TABLES)
            decoder.close()
        except CorruptStreamError:
            continue
        assert not np.array_equal(result, symbols)  # no two streams for the same symbols
        unnoticed += 1
    assert unnoticed < 0.01 * 8 * len(data)


def test_wrong_tables_are_noticed():
    data, _, index = sample(4, 2000)
    decoder = Decoder(data)
    with pytest.raises(CorruptStreamError):  # noqa: PT012
        decoder.pull(index, gaussian_tables(SCALES * 1.01))
        decoder.close()


def test_the_message_says_where():
    data, _, index = sample(5, 500)
    decoder = Decoder(data[-20:])
    with pytest.raises(CorruptStreamError, match=r"^entropy-coded data .* at symbol \d+$"):
        decoder.pull(index, TABLES)
