"""The entropy coder of format version 1 in plain Python: the specification of old streams.

The C++ decoder accepts the same bytes; nothing writes such streams any more but tests. What follows is
enough to write another coder.

**Numbers.** A state is an integer below 2**64. A table row (see :class:`~lvc.coding.tables.CdfTables`) of
``precision`` bits gives symbol ``s`` the interval ``start = cdf[s]``, ``frequency = cdf[s + 1] - cdf[s]``.
All divisions round down.

**Steps.** Each value becomes one or more steps ``(start, frequency, precision)``:

1. A value of the table, ``offset <= value <= last`` with ``last = offset + n_symbols - 2``, is one step with
   the interval of symbol ``value - offset``.
2. Any other int32 value is a step with the interval of the last symbol, the escape, and then the bits of an
   Exp-Golomb code of order 0 of the integer ``code``: ``2 * (value - last) - 1`` for ``value > last``,
   ``2 * (offset - value)`` for ``value < offset``. With ``n = floor(log2(code))`` these are ``n`` zeros, then
   ``code`` in ``n + 1`` bits, the most significant first (it is a one). ``n`` is 32 at most.
3. A bit ``b`` is a step with ``frequency = 2**(precision - 1)`` and ``start = b * frequency``, at the
   precision of the tables that the value is coded with.

**Encoding.** Steps are coded in reverse order, the last one first, from the state ``2**16`` on. For each
step: if ``state >= frequency * 2**(64 - precision)``, the low 32 bits of the state are a word: keep it and
shift the state right by 32. Then
``state = (state // frequency) * 2**precision + state % frequency + start``.

**Bytes.** Without any step: none. Otherwise the final state in little-endian order without leading (that is,
last) zero bytes, then the words, the one kept last first, each in four bytes, little-endian. With words the
state takes 5 to 8 bytes, so in ``size`` bytes it takes ``size`` if that is 8 or less, else
``5 + (size - 1) % 4``.

**Decoding.** From that state (``2**16`` if there are no bytes), for each step:
``slot = state % 2**precision`` lies within one interval of the table (or of the bit), which gives the symbol.
Then ``state = frequency * (state // 2**precision) + slot - start``. If the state is now below 2**32 and words
are left, ``state = state * 2**32 + word``.

**Damage.** A decoder must refuse: a first state of ``2**16`` or less, or with a zero as its last byte; a
state below ``2**16`` after a step, with no words left; an Exp-Golomb code with more than 32 zeros, or of a
value that int32 does not hold; and, once all symbols are taken, a state other than ``2**16`` or words left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lvc.coding.coder import bad_index, check_channels, check_index, check_shape, check_symbols, check_tables
from lvc.coding.tables import CdfTables, Int32Array
from lvc.errors import CorruptStreamError, UsageError

INITIAL_STATE = 2**16
LOWER_BOUND = 2**32
MAX_ZEROS = 32
INT32 = range(-(2**31), 2**31)

Step = tuple[int, int, int]
"""start, frequency, precision"""


def _row(tables: CdfTables, table: int) -> tuple[list[int], int, int]:
    """The CDF of a table without padding, its first and its last value."""
    if not 0 <= table < tables.n_tables:
        raise bad_index(tables.n_tables)
    cdf = tables.cdf[table, : tables.lengths[table]].tolist()
    first = int(tables.offsets[table])
    return cdf, first, first + len(cdf) - 3


def _bit_step(bit: int, precision: int) -> Step:
    half = 2 ** (precision - 1)
    return bit * half, half, precision


def steps(tables: CdfTables, table: int, value: int) -> Iterator[Step]:
    """The coding steps of one value."""
    cdf, first, last = _row(tables, table)
    precision = tables.precision
    if first <= value <= last:
        start, end = cdf[value - first : value - first + 2]
        yield start, end - start, precision
        return
    yield cdf[-2], cdf[-1] - cdf[-2], precision
    code = 2 * (value - last) - 1 if value > last else 2 * (first - value)
    n = code.bit_length() - 1
    for _ in range(n):
        yield _bit_step(0, precision)
    for i in reversed(range(n + 1)):
        yield _bit_step(code >> i & 1, precision)


class ReferenceEncoderV1:
    """Writes what :class:`~lvc.coding.v1.DecoderV1` reads."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._finished = False

    def push(self, symbols: Any, index: Any, tables: CdfTables) -> None:
        values, places = check_symbols(symbols), check_index(index, check_tables(tables).n_tables)
        if values.shape != places.shape:
            raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
        self._append(tables, values.ravel().tolist(), places.ravel().tolist())

    def push_channels(self, symbols: Any, tables: CdfTables) -> None:
        values = check_symbols(symbols)
        check_channels(check_tables(tables), values.shape, "symbols")
        places = np.repeat(np.arange(tables.n_tables), values.size // tables.n_tables)
        self._append(tables, values.ravel().tolist(), places.tolist())

    def _append(self, tables: CdfTables, values: list[int], places: list[int]) -> None:
        if self._finished:
            raise UsageError("the encoder is finished; make another one")
        new = [step for value, table in zip(values, places) for step in steps(tables, table, value)]
        self._steps += new

    def finish(self) -> bytes:
        if self._finished:
            raise UsageError("the encoder is finished; make another one")
        self._finished = True
        if not self._steps:
            return b""
        state = INITIAL_STATE
        words = []
        for start, frequency, precision in reversed(self._steps):
            if state >= frequency * 2 ** (64 - precision):
                words.append(state % 2**32)
                state //= 2**32
            state = state // frequency * 2**precision + state % frequency + start
        head = state.to_bytes((state.bit_length() + 7) // 8, "little")
        return head + b"".join(word.to_bytes(4, "little") for word in reversed(words))


class ReferenceDecoderV1:
    """Does what :class:`~lvc.coding.v1.DecoderV1` does."""

    def __init__(self, data: bytes) -> None:
        size = len(data)
        n_head = size if size <= 8 else 5 + (size - 1) % 4
        self._state = int.from_bytes(data[:n_head], "little") if data else INITIAL_STATE
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(n_head, size, 4)]
        self._words = words[::-1]  # the next one is the last
        self._damage: str | None = None
        if data and (self._state <= INITIAL_STATE or data[n_head - 1] == 0):
            self._damage = "entropy-coded data starts with an impossible state"

    def pull(self, index: Any, tables: CdfTables) -> Int32Array:
        places = check_index(index, check_tables(tables).n_tables)
        return np.array(self._take(tables, places.ravel().tolist()), dtype=np.int32).reshape(places.shape)

    def pull_channels(self, shape: Sequence[int], tables: CdfTables) -> Int32Array:
        sizes = check_shape(shape)
        check_channels(check_tables(tables), sizes, "shape")
        run = int(np.prod(sizes[1:]))
        places = [table for table in range(tables.n_tables) for _ in range(run)]
        return np.array(self._take(tables, places), dtype=np.int32).reshape(sizes)

    def close(self) -> None:
        self._raise_damage()
        if self._state != INITIAL_STATE or self._words:
            raise CorruptStreamError("entropy-coded data does not end with its last symbol")

    def _raise_damage(self) -> None:
        if self._damage:
            raise CorruptStreamError(self._damage)

    def _fail(self, message: str) -> CorruptStreamError:
        self._damage = message
        return CorruptStreamError(message)

    def _take(self, tables: CdfTables, places: list[int]) -> list[int]:
        self._raise_damage()
        for table in places:
            _row(tables, table)  # a bad index is the caller's mistake: nothing is taken then
        return [self._value(tables, table) for table in places]

    def _value(self, tables: CdfTables, table: int) -> int:
        cdf, first, last = _row(tables, table)
        symbol = self._symbol(cdf, tables.precision)
        if symbol < len(cdf) - 2:
            return first + symbol
        bits = [0, 2 ** (tables.precision - 1), 2**tables.precision]
        n = 0
        while self._symbol(bits, tables.precision) == 0:
            n += 1
            if n > MAX_ZEROS:
                raise self._fail("entropy-coded data holds an impossible escape code")
        code = 1
        for _ in range(n):
            code = 2 * code + self._symbol(bits, tables.precision)
        value = last + (code + 1) // 2 if code % 2 else first - code // 2
        if value not in INT32:
            raise self._fail("entropy-coded data holds an impossible escape code")
        return value

    def _symbol(self, cdf: list[int], precision: int) -> int:
        quotient, slot = divmod(self._state, 2**precision)
        symbol = next(s for s in range(len(cdf) - 1) if cdf[s] <= slot < cdf[s + 1])
        state = (cdf[symbol + 1] - cdf[symbol]) * quotient + slot - cdf[symbol]
        if state < LOWER_BOUND and self._words:
            state = state * 2**32 + self._words.pop()
        elif state < INITIAL_STATE:
            raise self._fail("entropy-coded data ends too early")
        self._state = state
        return symbol
