"""The entropy coder: arrays in, bytes out, and back. The work is done in C++ without the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc import _C
from lvc.coding.intervals import PRECISION
from lvc.coding.tables import CdfTables, Int32Array, as_array
from lvc.errors import CorruptStreamError, UsageError

_SYMBOL_TYPES = (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32))
_INDEX_TYPES = (np.dtype(np.uint8), np.dtype(np.int32))


LANES = (1, 4, 8, 32)
"""Numbers of interleaved states that a stream can have."""


def check_tables(tables: Any, default: CdfTables | None = None) -> CdfTables:
    chosen = default if tables is None else tables
    if not isinstance(chosen, CdfTables):
        raise UsageError(f"tables must be CdfTables, not {type(chosen).__name__}")
    return chosen


def check_lanes(lanes: Any) -> int:
    """The number of lanes, 0 for None."""
    if lanes is None:
        return 0
    if isinstance(lanes, bool) or lanes not in LANES:
        raise UsageError(f"lanes must be 1, 4, 8 or 32, not {lanes!r}")
    return int(lanes)


def check_symbols(symbols: Any) -> npt.NDArray[Any]:
    """Symbols in C order; a copy only of what is strided or of foreign byte order."""
    array = as_array(symbols, "symbols")
    native = array.dtype.newbyteorder("=")
    if native not in _SYMBOL_TYPES:
        raise UsageError(f"symbols must be int8, int16 or int32, not {array.dtype}")
    return np.asarray(array, dtype=native, order="C")


def check_index(index: Any, n_tables: int) -> npt.NDArray[Any]:
    """An index as uint8 or int32 in C order; a copy only of what is strided or of another type.

    Values in uint8 and int32 are left to the kernel to check.
    """
    array = as_array(index, "index")
    if array.dtype in _INDEX_TYPES:
        return np.asarray(array, order="C")
    if array.dtype.kind not in "iu":
        raise UsageError(f"index must hold integers, not {array.dtype}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < n_tables:
        raise bad_index(n_tables)
    return np.asarray(array, dtype=np.int32, order="C")


def check_channels(tables: CdfTables, shape: Sequence[int], what: str) -> None:
    if len(shape) == 0 or shape[0] != tables.n_tables:
        raise UsageError(f"{what} must be (channels, ...) with {tables.n_tables} channels, one a table, "
                         f"not {tuple(shape)}")


def check_shape(shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in shape)
    except (TypeError, ValueError):
        raise UsageError(f"shape must be a sequence of integers, not {shape!r}") from None
    if any(size < 0 for size in sizes):
        raise UsageError(f"shape must not be negative, not {sizes}")
    return sizes


def bad_index(n_tables: int) -> UsageError:
    return UsageError(f"index must be from 0 to {n_tables - 1}, the number of tables less one")


class Encoder:
    """Codes integers into bytes. What is pushed is kept (2 bytes a symbol) and coded by :meth:`finish`.

    Different encoders may work in different threads at the same time; the GIL is released.

    Args:
        tables: what pushes use that name no other tables.
        lanes: number of interleaved states, 1, 4, 8 or 32, which cost about 2.4 bytes each and are decoded
            side by side. Chosen by content if None. The bytes depend on it, not on the machine.

    Raises:
        UsageError: another number of lanes, or tables that are none.
    """

    __slots__ = ("_native", "_tables")

    def __init__(self, tables: CdfTables | None = None, *, lanes: int | None = None) -> None:
        self._tables = None if tables is None else check_tables(tables)
        self._native: _C.Encoder | None = _C.Encoder(check_lanes(lanes))

    def _open(self) -> _C.Encoder:
        if self._native is None:
            raise UsageError("the encoder is finished; make another one")
        return self._native

    def push(self, symbols: Any, index: Any, tables: CdfTables | None = None) -> None:
        """Append symbols, each with the table that its index names.

        Args:
            symbols: int8, int16 or int32 array or CPU tensor of any shape; taken in C order. Every value is
                allowed, those outside of their table cost more (an escape). May be changed after the call.
            index: integers of the same shape, 0 to ``n_tables - 1``; uint8 (the fastest) and int32 are not
                copied.
            tables: others than those of the encoder; they may differ from push to push.

        Raises:
            UsageError: a wrong type, shape or index; nothing was appended then.
        """
        native, tables = self._open(), check_tables(tables, self._tables)
        values, places = check_symbols(symbols), check_index(index, tables.n_tables)
        if values.shape != places.shape:
            raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
        if native.push(tables.native(), values, places) != _C.OK:
            raise bad_index(tables.n_tables)

    def push_channels(self, symbols: Any, tables: CdfTables | None = None) -> None:
        """Append symbols of shape (``n_tables``, ...): all of channel ``c`` with table ``c``.

        Raises:
            UsageError: a wrong type or shape; nothing was appended then.
        """
        native, tables = self._open(), check_tables(tables, self._tables)
        values = check_symbols(symbols)
        check_channels(tables, values.shape, "symbols")
        native.push_channels(tables.native(), values)

    def finish(self) -> bytes:
        """The coded bytes; empty if no symbol was pushed. The encoder takes nothing more thereafter."""
        native = self._open()
        self._native = None
        return native.finish()


class Decoder:
    """Gives back what an encoder took: the same tables, indices and shapes in the same order.

    Pulls may be of other sizes than the pushes were: only the order of the symbols counts. Damaged data gives
    wrong symbols or CorruptStreamError, never anything else. Changed bytes are noticed nearly always, at
    :meth:`close` if not before: each lane must end in the state where it began, with every byte used. What
    escapes carry has no redundancy, though, so the container adds a checksum.

    Args:
        data: bytes-like; copied.
        tables: what pulls use that name no other tables.

    Raises:
        UsageError: data that is not bytes-like, or tables that are none.
    """

    __slots__ = ("_native", "_tables")

    def __init__(self, data: bytes | bytearray | memoryview, tables: CdfTables | None = None) -> None:
        self._tables = None if tables is None else check_tables(tables)
        self._native: _C.Decoder | _C.DecoderV1 = self._open(check_data(data))

    def _open(self, data: Any) -> _C.Decoder | _C.DecoderV1:
        return _C.Decoder(data)

    def _native_tables(self, tables: CdfTables) -> Any:
        return tables.native()

    def _check(self, status: int, tables: CdfTables) -> None:
        if status == _C.OK:
            return
        if status == _C.BAD_INDEX:
            raise bad_index(tables.n_tables)
        raise self._damage(status)

    def _damage(self, status: int) -> CorruptStreamError:
        if status == _C.LEFT_OVER and self._native.position == 0:
            return CorruptStreamError("no symbol was taken from entropy-coded data that is not empty")
        at = f"at symbol {self._native.position}"
        return CorruptStreamError({
            _C.EXHAUSTED: f"entropy-coded data ends too early, {at}",
            _C.BAD_ESCAPE: f"entropy-coded data holds an impossible escape code {at}",
            _C.LEFT_OVER: f"entropy-coded data does not end with its last symbol, {at}",
            _C.BAD_LAYOUT: self._bad_layout,
        }[status])

    _bad_layout = "entropy-coded data is too short for its states"

    def pull(self, index: Any, tables: CdfTables | None = None, out: Any = None) -> Int32Array:
        """The next symbols, int32 in the shape of ``index``.

        Args:
            index: integers, 0 to ``n_tables - 1``, as they were pushed.
            tables: those that the symbols were pushed with, if others than those of the decoder.
            out: where to write: a writable int32 array or CPU tensor in C order, of the shape of ``index``.

        Returns:
            ``out`` as a numpy array, or a new one.

        Raises:
            UsageError: a wrong type, shape or index; nothing was taken then.
            CorruptStreamError: no encoder made this data with these tables and indices. All further calls
                raise it, too.
        """
        tables = check_tables(tables, self._tables)
        places = check_index(index, tables.n_tables)
        target = _target(out, places.shape)
        if out is not None and np.may_share_memory(places, target):
            places = places.copy()
        self._check(self._native.pull(self._native_tables(tables), places, target), tables)
        return target

    def pull_channels(self, shape: Sequence[int], tables: CdfTables | None = None,
                      out: Any = None) -> Int32Array:
        """The next symbols, int32 of shape (``n_tables``, ...): all of channel ``c`` with table ``c``.

        Raises:
            UsageError, CorruptStreamError: as :meth:`pull` does.
        """
        tables, sizes = check_tables(tables, self._tables), check_shape(shape)
        check_channels(tables, sizes, "shape")
        target = _target(out, sizes)
        self._check(self._native.pull_channels(self._native_tables(tables), target), tables)
        return target

    def close(self) -> None:
        """Verify that nothing is left and that every lane is where the encoder started.

        Raises:
            CorruptStreamError: it is not so, or a pull had failed: the data was damaged.
        """
        status = self._native.close()
        if status != _C.OK:
            raise self._damage(status)


def check_data(data: Any) -> Any:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UsageError(f"coded data must be bytes, not {type(data).__name__}")
    return data if not isinstance(data, memoryview) or data.c_contiguous else bytes(data)


def _target(out: Any, shape: tuple[int, ...]) -> Int32Array:
    if out is None:
        return np.empty(shape, dtype=np.int32)
    array = as_array(out, "out")
    if array.dtype != np.int32 or not array.flags.c_contiguous or not array.flags.writeable:
        raise UsageError("out must be a writable int32 array in C order")
    if array.shape != shape:
        raise UsageError(f"out must have the shape {shape}, not {array.shape}")
    return array


def code_length(symbols: Any, index: Any = None, tables: CdfTables | None = None) -> float:
    """Ideal cost of symbols under the intervals that they are coded with, in bits, escape codes included.

    :meth:`Encoder.finish` gives about this and 3.2 bytes, with more than one lane 2.4 bytes a lane.

    Args:
        symbols, index, tables: as in :meth:`Encoder.push`, or without index as in ``push_channels``.

    Raises:
        UsageError: as those do.
    """
    tables = check_tables(tables)
    values = check_symbols(symbols).astype(np.int64)
    if index is None:
        check_channels(tables, values.shape, "symbols")
        places = np.arange(tables.n_tables).reshape(-1, *[1] * (values.ndim - 1))
        places = np.broadcast_to(places, values.shape)
    else:
        places = check_index(index, tables.n_tables)
        if values.shape != places.shape:
            raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
        if places.size and not 0 <= int(places.min()) <= int(places.max()) < tables.n_tables:
            raise bad_index(tables.n_tables)
    values, places = values.ravel(), places.ravel().astype(np.int64)
    bits = 0.0
    for table in np.unique(places):
        row = tables.rows()[table]
        mine = values[places == table]
        inside = (row.first <= mine) & (mine <= row.last)
        frequency = np.diff(row.cdf)
        by_value = np.append(frequency[:-1][np.argsort(row.values)], frequency[-1])
        symbol = np.where(inside, mine - row.first, len(row.values))
        bits += float(PRECISION * mine.size - np.log2(by_value[symbol]).sum())
        code = np.where(mine > row.last, 2 * (mine - row.last) - 1, 2 * (row.first - mine))[~inside]
        # frexp is exact here: codes are below 2**53. Its exponent is floor(log2(code)) + 1.
        bits += float((2 * np.frexp(code.astype(np.float64))[1] - 1).sum())
    return bits
