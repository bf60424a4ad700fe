"""Wire types and declared structures: one table yields the reader, the writer and the documentation.

A :class:`Struct` is a list of named fields, each with a wire type that knows its limits. ``pack`` refuses a
value outside them with UsageError (the caller's fault), ``unpack`` with :class:`FieldError` (the stream's
fault), which the container turns into CorruptStreamError with packet and offset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from lvc.errors import UsageError

MAX_VARINT_BYTES = 9
"""Nine groups of seven bits: every varint holds 0..2**63-1, and fits a signed 64-bit integer."""
UVARINT_LIMIT = 1 << 63
SVARINT_LIMIT = 1 << 62


class FieldError(Exception):
    """A value on the wire that breaks its limits or its canonical form."""


class ShortError(FieldError):
    """The bytes at hand end within a field; more of them may settle it."""


class Cursor:
    """Reads forward over bytes.

    Attributes:
        data: what is read; not copied.
        pos: index of the next byte.
    """

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes | bytearray, pos: int = 0) -> None:
        self.data = data
        self.pos = pos

    @property
    def left(self) -> int:
        """Number of bytes not read yet."""
        return len(self.data) - self.pos

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises ShortError if there are fewer."""
        if size > self.left:
            raise ShortError("the data ends within a field")
        self.pos += size
        return bytes(self.data[self.pos - size:self.pos])


def write_uvarint(value: int) -> bytes:
    """LEB128 of 0..2**63-1: groups of seven bits, lowest first, bit 7 set on all bytes but the last."""
    if not 0 <= value < UVARINT_LIMIT:
        raise UsageError(f"{value} does not fit a varint of the stream")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uvarint(cursor: Cursor) -> int:
    """Inverse of write_uvarint. Raises FieldError on more than nine bytes or a superfluous last zero byte."""
    value = 0
    for i in range(MAX_VARINT_BYTES):
        if cursor.pos >= len(cursor.data):
            raise ShortError("the data ends within a number")
        byte = cursor.data[cursor.pos]
        cursor.pos += 1
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise FieldError("a number is not in its shortest form")
            return value
    raise FieldError("a number is longer than 9 bytes")


def write_svarint(value: int) -> bytes:
    """Zigzag (0, -1, 1, -2, ...) and then LEB128, of -2**62..2**62-1."""
    if not -SVARINT_LIMIT <= value < SVARINT_LIMIT:
        raise UsageError(f"{value} does not fit a signed varint of the stream")
    return write_uvarint(value << 1 if value >= 0 else -2 * value - 1)


def read_svarint(cursor: Cursor) -> int:
    """Inverse of write_svarint."""
    value = read_uvarint(cursor)
    return -(value + 1 >> 1) if value & 1 else value >> 1


class Wire(Protocol):
    """How a field stands in the stream, and what it may hold."""

    def write(self, value: Any) -> bytes: ...

    def read(self, cursor: Cursor) -> Any: ...

    def type_name(self) -> str: ...

    def values(self) -> str: ...


def number_text(value: int) -> str:
    """A number as documentation shows it: powers of two as such once they are large."""
    for plus, suffix in ((0, ""), (1, " - 1")):
        magnitude = abs(value) + plus
        if magnitude >= 1 << 20 and magnitude & (magnitude - 1) == 0:
            return f"{'-' if value < 0 else ''}2^{magnitude.bit_length() - 1}{suffix if value > 0 else ''}"
    return str(value)


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer from ``low`` to ``high``; ``wire`` is u8, u32 (little endian), uvarint or svarint."""

    wire: str
    low: int
    high: int

    def write(self, value: Any) -> bytes:
        number = int(value)
        if not self.low <= number <= self.high:
            raise UsageError(f"must be from {self.low} to {self.high}, not {number}")
        if self.wire == "uvarint":
            return write_uvarint(number)
        if self.wire == "svarint":
            return write_svarint(number)
        return number.to_bytes(1 if self.wire == "u8" else 4, "little")

    def read(self, cursor: Cursor) -> int:
        if self.wire == "uvarint":
            number = read_uvarint(cursor)
        elif self.wire == "svarint":
            number = read_svarint(cursor)
        else:
            number = int.from_bytes(cursor.take(1 if self.wire == "u8" else 4), "little")
        if not self.low <= number <= self.high:
            raise FieldError(f"must be from {self.low} to {self.high}, not {number}")
        return number

    def type_name(self) -> str:
        return self.wire

    def values(self) -> str:
        return f"{number_text(self.low)} .. {number_text(self.high)}"


@dataclass(frozen=True, slots=True)
class Rational:
    """Two uvarints, numerator and denominator, in lowest terms, both at most 2**31 - 1."""

    low: int
    """Least numerator: 1 for what must be above zero, else 0."""
    high = (1 << 31) - 1

    def write(self, value: Any) -> bytes:
        fraction = Fraction(value)
        if not (self.low <= fraction.numerator <= self.high and fraction.denominator <= self.high):
            raise UsageError(f"must be a fraction {'above' if self.low else 'of at least'} zero with "
                             f"numerator and denominator below 2^31, not {fraction}")
        return write_uvarint(fraction.numerator) + write_uvarint(fraction.denominator)

    def read(self, cursor: Cursor) -> Fraction:
        numerator, denominator = read_uvarint(cursor), read_uvarint(cursor)
        if not (self.low <= numerator <= self.high and 1 <= denominator <= self.high):
            raise FieldError(f"{numerator}/{denominator} is out of range")
        if math.gcd(numerator, denominator) != 1:
            raise FieldError(f"{numerator}/{denominator} is not in lowest terms")
        return Fraction(numerator, denominator)

    def type_name(self) -> str:
        return "rational"

    def values(self) -> str:
        return "above 0" if self.low else "0/1 or above 0"


@dataclass(frozen=True, slots=True)
class Blob:
    """A uvarint length and so many bytes; the length is 0..max_length, or one of ``lengths`` if given."""

    max_length: int
    lengths: tuple[int, ...] = ()

    def _allowed(self, length: int) -> bool:
        return length in self.lengths if self.lengths else length <= self.max_length

    def write(self, value: Any) -> bytes:
        data = bytes(value)
        if not self._allowed(len(data)):
            raise UsageError(f"must hold {self.values()}, not {len(data)}")
        return write_uvarint(len(data)) + data

    def read(self, cursor: Cursor) -> bytes:
        length = read_uvarint(cursor)
        if not self._allowed(length):
            raise FieldError(f"must hold {self.values()}, not {length}")
        return cursor.take(length)

    def type_name(self) -> str:
        return "bytes"

    def values(self) -> str:
        if self.lengths:
            return " or ".join(str(length) for length in self.lengths) + " bytes"
        return f"0 .. {self.max_length} bytes"


@dataclass(frozen=True, slots=True)
class Constant:
    """Bytes that are always the same; its value in Python is None, and need not be given to ``pack``."""

    data: bytes

    def write(self, value: Any) -> bytes:
        return self.data

    def read(self, cursor: Cursor) -> None:
        found = cursor.take(min(len(self.data), cursor.left))
        if not self.data.startswith(found):
            raise FieldError(f"{found.hex(' ')} is not {self.data.hex(' ')}")
        if len(found) < len(self.data):
            raise ShortError("the data ends within a field")

    def type_name(self) -> str:
        return f"{len(self.data)} bytes"

    def values(self) -> str:
        return f"`{self.data.hex(' ')}`"


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a structure: name, wire type and meaning (which goes into FORMAT.md)."""

    name: str
    wire: Wire
    meaning: str


@dataclass(frozen=True, slots=True)
class Struct:
    """Fields in the order of the stream, without padding."""

    name: str
    fields: tuple[Field, ...]

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """Bytes of the structure. Raises UsageError that names the field if a value is out of its limits."""
        parts = []
        for item in self.fields:
            try:
                parts.append(item.wire.write(values.get(item.name)))
            except (UsageError, TypeError, ValueError) as error:
                raise UsageError(f"{self.name}: {item.name.replace('_', ' ')} {error}") from error
        return b"".join(parts)

    def unpack(self, cursor: Cursor) -> dict[str, Any]:
        """Values by name; moves the cursor past them. Raises FieldError, or ShortError at the data's end."""
        values = {}
        for item in self.fields:
            try:
                values[item.name] = item.wire.read(cursor)
            except FieldError as error:
                raise type(error)(f"{item.name.replace('_', ' ')}: {error}") from error
        return values

    def table(self) -> str:
        """The structure as a Markdown table, as FORMAT.md shows it."""
        lines = ["| Field | Type | Values | Meaning |", "|---|---|---|---|"]
        lines += [f"| `{item.name}` | {item.wire.type_name()} | {item.wire.values()} | {item.meaning} |"
                  for item in self.fields]
        return "\n".join(lines)
