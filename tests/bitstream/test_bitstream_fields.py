from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvc.bitstream.crc import crc32c
from lvc.bitstream.fields import (
    Blob,
    Constant,
    Cursor,
    Field,
    FieldError,
    Integer,
    Rational,
    ShortError,
    Struct,
    read_svarint,
    read_uvarint,
    write_svarint,
    write_uvarint,
)
from lvc.errors import UsageError

UVARINTS = [(0, "00"), (1, "01"), (127, "7f"), (128, "80 01"), (300, "ac 02"), (16383, "ff 7f"),
            (16384, "80 80 01"), (2**63 - 1, "ff ff ff ff ff ff ff ff 7f")]
SVARINTS = [(0, "00"), (-1, "01"), (1, "02"), (-64, "7f"), (64, "80 01"),
            (2**62 - 1, "fe ff ff ff ff ff ff ff 7f"), (-(2**62), "ff ff ff ff ff ff ff ff 7f")]


@pytest.mark.parametrize(("value", "text"), UVARINTS)
def test_uvarint_bytes(value: int, text: str) -> None:
    assert write_uvarint(value).hex(" ") == text
    assert read_uvarint(Cursor(bytes.fromhex(text))) == value


@pytest.mark.parametrize(("value", "text"), SVARINTS)
def test_svarint_bytes(value: int, text: str) -> None:
    assert write_svarint(value).hex(" ") == text
    assert read_svarint(Cursor(bytes.fromhex(text))) == value


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(-(2**62), 2**62 - 1))))
def test_varints_in_a_row(pairs: list[tuple[int, int]]) -> None:
    cursor = Cursor(b"".join(write_uvarint(u) + write_svarint(s) for u, s in pairs))
    assert [(read_uvarint(cursor), read_svarint(cursor)) for _ in pairs] == pairs
    assert cursor.left == 0


@given(st.binary(max_size=12))
def test_varints_are_canonical(data: bytes) -> None:
    cursor = Cursor(data)
    try:
        value = read_uvarint(cursor)
    except FieldError:
        return
    assert write_uvarint(value) == data[:cursor.pos]


@pytest.mark.parametrize("text", ["80 00", "ff 80 00", "80 80 80 80 80 80 80 80 80 01",
                                  "ff ff ff ff ff ff ff ff ff 7f"])
def test_varint_bad_form(text: str) -> None:
    with pytest.raises(FieldError) as caught:
        read_uvarint(Cursor(bytes.fromhex(text)))
    assert caught.type is FieldError


@pytest.mark.parametrize("text", ["", "80", "ff ff ff ff ff ff ff ff"])
def test_varint_cut(text: str) -> None:
    with pytest.raises(ShortError):
        read_uvarint(Cursor(bytes.fromhex(text)))


@pytest.mark.parametrize("value", [-1, 2**63])
def test_uvarint_refuses(value: int) -> None:
    with pytest.raises(UsageError):
        write_uvarint(value)


@pytest.mark.parametrize("value", [-(2**62) - 1, 2**62])
def test_svarint_refuses(value: int) -> None:
    with pytest.raises(UsageError):
        write_svarint(value)


EVERYTHING = Struct("all kinds", (
    Field("mark", Constant(b"\x00mark"), ""),
    Field("small", Integer("u8", 3, 250), ""),
    Field("large", Integer("u32", 0, 2**32 - 1), ""),
    Field("count", Integer("uvarint", 0, 1000), ""),
    Field("delta", Integer("svarint", -5, 5), ""),
    Field("rate", Rational(1), ""),
    Field("ratio", Rational(0), ""),
    Field("digest", Blob(4, (0, 4)), ""),
    Field("data", Blob(10), ""),
))
FRACTIONS = st.builds(Fraction, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1))
VALUES = st.fixed_dictionaries({
    "mark": st.none(), "small": st.integers(3, 250), "large": st.integers(0, 2**32 - 1),
    "count": st.integers(0, 1000), "delta": st.integers(-5, 5),
    "rate": FRACTIONS, "ratio": FRACTIONS | st.just(Fraction(0)),
    "digest": st.sampled_from([b"", b"abcd"]), "data": st.binary(max_size=10)})


@given(VALUES)
def test_struct_round_trip(values: dict[str, object]) -> None:
    data = EVERYTHING.pack(values)
    cursor = Cursor(data + b"more")
    assert EVERYTHING.unpack(cursor) == values
    assert cursor.left == 4
    for size in range(len(data)):
        with pytest.raises(ShortError):
            EVERYTHING.unpack(Cursor(data[:size]))


def test_struct_bytes() -> None:
    data = EVERYTHING.pack({"small": 3, "large": 0x01020304, "count": 200, "delta": -2,
                            "rate": Fraction(30000, 1001), "ratio": 0, "digest": b"abcd", "data": b""})
    assert data.hex(" ") == "00 6d 61 72 6b 03 04 03 02 01 c8 01 03 b0 ea 01 e9 07 00 01 04 61 62 63 64 00"


@pytest.mark.parametrize(("name", "value"), [
    ("small", 2), ("small", 251), ("large", -1), ("count", 1001), ("delta", 6), ("rate", 0),
    ("rate", Fraction(-1, 2)), ("rate", Fraction(2**31, 3)), ("ratio", Fraction(1, 2**31)),
    ("digest", b"abc"), ("data", bytes(11)),
    ("small", None), ("small", "x"),
])
def test_struct_refuses_to_write(name: str, value: object) -> None:
    good = {"small": 3, "large": 0, "count": 0, "delta": 0, "rate": 1, "ratio": 0, "digest": b"", "data": b""}
    with pytest.raises(UsageError, match=f"all kinds: {name} "):
        EVERYTHING.pack({**good, name: value})


@pytest.mark.parametrize(("wire", "text"), [
    (Integer("u8", 3, 250), "02"), (Integer("uvarint", 1, 10), "0b"), (Integer("svarint", -5, 5), "0b"),
    (Rational(1), "00 01"), (Rational(0), "00 02"), (Rational(0), "02 04"), (Rational(0), "01 00"),
    (Rational(0), "01 80 80 80 80 08"), (Blob(4, (0, 4)), "01 00"), (Blob(2), "03 00 00 00"),
    (Blob(2), "ff ff ff ff 0f"),
    (Constant(b"ab"), "61 63"), (Constant(b"ab"), "62"),
])
def test_wire_refuses_to_read(wire: Integer | Rational | Blob | Constant, text: str) -> None:
    with pytest.raises(FieldError) as caught:
        wire.read(Cursor(bytes.fromhex(text)))
    assert caught.type is FieldError


def test_crc32c_known_answers() -> None:
    # RFC 3720, B.4, and the usual check value.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"56789", crc32c(b"1234")) == 0xE3069283
