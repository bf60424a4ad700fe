"""The entropy coder in plain Python: slow, readable, and the specification of the bytes.

The C++ kernels give the same bytes and accept the same ones. What follows is enough to write another coder.

**Intervals.** :mod:`lvc.coding.intervals` says how tables become intervals of 14 bits: a symbol (a value of
its table, or the escape) has ``start`` and ``frequency``, and the intervals of a table cover ``0 <= slot <
2**14``.

**Lanes.** A stream has 1, 4, 8 or 32 lanes, each with a state ``2**16 <= state < 2**32``. Symbol ``i`` of
the stream, counted from 0 over all pushes, whatever their tables, belongs to lane ``i % lanes``.

**Escapes.** A value that its table lacks is coded as the escape. The integer ``code``, ``2 * (value - last)
- 1`` for ``value > last``, ``2 * (first - value)`` for ``value < first``, follows in a string of bits of
its own: with ``n = floor(log2(code))``, ``n`` zeros and a one, then the lowest ``n`` bits of ``code``.
``n`` is 32 at most. In this string, numbers stand lowest bit first.

**Encoding.** All lanes start at ``2**16``. Symbols are coded in reverse order, the last one first. For each
one, if ``state >= frequency * 2**18``, the low 16 bits of the state are a word: keep it and shift the state
right by 16. Then ``state = (state // frequency) * 2**14 + state % frequency + start``. All divisions round
down.

**Bytes.** Without any symbol: none. Otherwise the words, the one kept last first, each in two bytes, lowest
first; then a string of bits in reverse: bit ``i`` is bit ``i % 8`` (0 the lowest) of byte ``i // 8`` from
the end. It holds

1. 0, 1, 2 or 3 in two bits, for 1, 4, 8 or 32 lanes;
2. for each lane, its final state: ``floor(log2(state)) - 16`` in four bits, then the bits below the leading
   one;
3. the bits of the escapes, in the order of symbols;
4. zeros up to the next byte.

**Decoding.** For each symbol, ``slot = state % 2**14`` lies within one interval, which gives the symbol. Then
``state = frequency * (state // 2**14) + slot - start``, and if that is below ``2**16``,
``state = state * 2**16 + word`` with the next word. An escape takes its bits from the string.

**Damage.** A decoder must refuse: data that ends too early, that is, words and bits read so far that share
a byte; an Exp-Golomb code with more than 32 zeros, or of a value that int32 does not hold; and, once all
symbols are taken, a state other than ``2**16``, padding that is not zero, bytes that neither words nor
bits were read from, or any bytes at all if there was no symbol.

**Number of lanes.** That is the encoder's choice. This one takes 32 if the cost of the symbols is ``2**28``
at least, 8 from ``2**26`` on, 4 from ``2**25`` on, else 1. The cost is about 1024 times the bits: with ``n
= floor(log2(frequency))``, that of a symbol is ``1024 * (15 - n) - floor(frequency * 1024 / 2**n)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lvc.coding.coder import (
    LANES,
    bad_index,
    check_channels,
    check_index,
    check_lanes,
    check_shape,
    check_symbols,
    check_tables,
)
from lvc.coding.intervals import PRECISION, TOTAL, Row, coding_rows
from lvc.coding.tables import CdfTables, Int32Array
from lvc.errors import CorruptStreamError, UsageError

INITIAL_STATE = 2**16
WORD = 2**16
MAX_ZEROS = 32
INT32 = range(-(2**31), 2**31)
COST_OF_LANES = {32: 2**28, 8: 2**26, 4: 2**25, 1: 0}


def symbol_cost(frequency: int) -> int:
    """About 1024 times -log2(frequency / 2**14)."""
    n = frequency.bit_length() - 1
    return 1024 * (PRECISION + 1 - n) - (frequency * 1024 >> n)


def escape_bits(value: int, first: int, last: int) -> list[int]:
    """The bits that follow an escape, in their order in the string."""
    code = 2 * (value - last) - 1 if value > last else 2 * (first - value)
    n = code.bit_length() - 1
    return [0] * n + [1] + low_bits(code, n)


def low_bits(number: int, n: int) -> list[int]:
    return [number >> i & 1 for i in range(n)]


class _Rows:
    """Rows of the tables in use, made once."""

    def __init__(self) -> None:
        self._known: dict[CdfTables, list[Row]] = {}

    def get(self, tables: CdfTables, table: int) -> Row:
        if tables not in self._known:
            self._known[tables] = coding_rows(tables)
        if not 0 <= table < tables.n_tables:
            raise bad_index(tables.n_tables)
        return self._known[tables][table]


class ReferenceEncoder:
    """Does what :class:`~lvc.coding.coder.Encoder` does."""

    def __init__(self, tables: CdfTables | None = None, *, lanes: int | None = None) -> None:
        self._tables = tables
        self._lanes = check_lanes(lanes)
        self._rows = _Rows()
        self._intervals: list[tuple[int, int]] = []  # start, frequency
        self._bits: list[int] = []
        self._finished = False

    def push(self, symbols: Any, index: Any, tables: CdfTables | None = None) -> None:
        tables = check_tables(tables, self._tables)
        values, places = check_symbols(symbols), check_index(index, tables.n_tables)
        if values.shape != places.shape:
            raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
        self._append(tables, values.ravel().tolist(), places.ravel().tolist())

    def push_channels(self, symbols: Any, tables: CdfTables | None = None) -> None:
        tables = check_tables(tables, self._tables)
        values = check_symbols(symbols)
        check_channels(tables, values.shape, "symbols")
        places = np.repeat(np.arange(tables.n_tables), values.size // tables.n_tables)
        self._append(tables, values.ravel().tolist(), places.tolist())

    def _append(self, tables: CdfTables, values: list[int], places: list[int]) -> None:
        if self._finished:
            raise UsageError("the encoder is finished; make another one")
        rows = [self._rows.get(tables, table) for table in places]
        for value, row in zip(values, rows):
            symbol = int(np.flatnonzero(np.append(row.values, value) == value)[0])  # the escape, if no other
            start, end = row.cdf[symbol : symbol + 2].tolist()
            self._intervals.append((start, end - start))
            if symbol == len(row.values):
                self._bits += escape_bits(value, row.first, row.last)

    def finish(self) -> bytes:
        if self._finished:
            raise UsageError("the encoder is finished; make another one")
        self._finished = True
        if not self._intervals:
            return b""
        cost = sum(symbol_cost(frequency) for _, frequency in self._intervals)
        lanes = self._lanes or next(n for n, least in COST_OF_LANES.items() if cost >= least)
        states = [INITIAL_STATE] * lanes
        words = []
        for i in reversed(range(len(self._intervals))):
            start, frequency = self._intervals[i]
            state = states[i % lanes]
            if state >= frequency * 2**18:
                words.append(state % WORD)
                state //= WORD
            states[i % lanes] = state // frequency * TOTAL + state % frequency + start
        bits = low_bits(LANES.index(lanes), 2)
        for state in states:
            n = state.bit_length() - 1
            bits += low_bits(n - 16, 4) + low_bits(state, n)
        bits += self._bits
        string = sum(bit << i for i, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "big")
        return b"".join(word.to_bytes(2, "little") for word in reversed(words)) + string


class ReferenceDecoder:
    """Does what :class:`~lvc.coding.coder.Decoder` does."""

    def __init__(self, data: bytes, tables: CdfTables | None = None) -> None:
        self._data = bytes(data)
        self._tables = tables
        self._rows = _Rows()
        self._next_word = 0
        self._next_bit = 0
        self._position = 0
        self._states = [INITIAL_STATE]
        self._damage: str | None = None
        if data:
            try:
                self._states = [0] * LANES[self._bits(2)]
                for i in range(len(self._states)):
                    n = self._bits(4) + 16
                    self._states[i] = 2**n + self._bits(n)
            except CorruptStreamError:
                self._damage = "entropy-coded data is too short for its states"

    def pull(self, index: Any, tables: CdfTables | None = None) -> Int32Array:
        tables = check_tables(tables, self._tables)
        places = check_index(index, tables.n_tables)
        return np.array(self._take(tables, places.ravel().tolist()), dtype=np.int32).reshape(places.shape)

    def pull_channels(self, shape: Sequence[int], tables: CdfTables | None = None) -> Int32Array:
        tables = check_tables(tables, self._tables)
        sizes = check_shape(shape)
        check_channels(tables, sizes, "shape")
        run = int(np.prod(sizes[1:]))
        places = [table for table in range(tables.n_tables) for _ in range(run)]
        return np.array(self._take(tables, places), dtype=np.int32).reshape(sizes)

    def close(self) -> None:
        self._raise_damage()
        if self._data and self._position == 0:
            raise CorruptStreamError("no symbol was taken from entropy-coded data that is not empty")
        padding = self._bits(-self._next_bit % 8)
        reached = self._next_word == self._end_of_words(self._next_bit)
        if any(state != INITIAL_STATE for state in self._states) or padding or not reached:
            raise CorruptStreamError("entropy-coded data does not end with its last symbol")

    def _raise_damage(self) -> None:
        if self._damage:
            raise CorruptStreamError(self._damage)

    def _fail(self, message: str) -> CorruptStreamError:
        self._damage = message
        return CorruptStreamError(message)

    def _end_of_words(self, n_bits: int) -> int:
        """The first byte that holds any of so many bits: words must not reach into it."""
        return len(self._data) - (n_bits + 7) // 8

    def _bits(self, n: int) -> int:
        if self._next_word > self._end_of_words(self._next_bit + n):
            raise self._fail("entropy-coded data ends too early")
        number = 0
        for i in range(n):
            byte, bit = divmod(self._next_bit + i, 8)
            number |= (self._data[-1 - byte] >> bit & 1) << i
        self._next_bit += n
        return number

    def _take(self, tables: CdfTables, places: list[int]) -> list[int]:
        self._raise_damage()
        # A bad index is the caller's mistake: nothing is taken then.
        rows = [self._rows.get(tables, table) for table in places]
        return [self._value(row) for row in rows]

    def _value(self, row: Row) -> int:
        lane = self._position % len(self._states)
        quotient, slot = divmod(self._states[lane], TOTAL)
        symbol = int(np.searchsorted(row.cdf, slot, side="right")) - 1
        start, end = row.cdf[symbol : symbol + 2].tolist()
        state = (end - start) * quotient + slot - start
        if state < INITIAL_STATE:
            if self._next_word + 2 > self._end_of_words(self._next_bit):
                raise self._fail("entropy-coded data ends too early")
            state = state * WORD + int.from_bytes(self._data[self._next_word : self._next_word + 2], "little")
            self._next_word += 2
        value = int(row.values[symbol]) if symbol < len(row.values) else self._escape(row)
        self._states[lane] = state
        self._position += 1
        return value

    def _escape(self, row: Row) -> int:
        n = 0
        while self._bits(1) == 0:
            n += 1
            if n > MAX_ZEROS:
                raise self._fail("entropy-coded data holds an impossible escape code")
        code = 2**n + self._bits(n)
        value = row.last + (code + 1) // 2 if code % 2 else row.first - code // 2
        if value not in INT32:
            raise self._fail("entropy-coded data holds an impossible escape code")
        return value
