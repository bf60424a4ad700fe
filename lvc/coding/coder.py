"""The range coder: arrays in, bytes out, and back. The work is done in C++ without the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lvc import _C
from lvc.coding.tables import CdfTables, Int32Array, as_array
from lvc.errors import CorruptStreamError, UsageError

_SYMBOL_TYPES = (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32))
_INDEX_TYPES = (np.dtype(np.uint8), np.dtype(np.int32))


def check_tables(tables: Any) -> CdfTables:
    if not isinstance(tables, CdfTables):
        raise UsageError(f"tables must be CdfTables, not {type(tables).__name__}")
    return tables


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


class RangeEncoder:
    """Codes integers into bytes. What is pushed is kept (4 bytes a symbol) and coded by :meth:`finish`.

    Different encoders may work in different threads at the same time.
    """

    __slots__ = ("_native",)

    def __init__(self) -> None:
        self._native: _C.Encoder | None = _C.Encoder()

    def _open(self) -> _C.Encoder:
        if self._native is None:
            raise UsageError("the encoder is finished; make another one")
        return self._native

    def push(self, tables: CdfTables, symbols: Any, index: Any) -> None:
        """Append symbols, each with the table that its index names.

        Args:
            tables: any tables; they may differ from push to push.
            symbols: int8, int16 or int32 array or CPU tensor of any shape; taken in C order. Every value is
                allowed, those outside of their table cost more (an escape).
            index: integers of the same shape, 0 to ``tables.n_tables - 1``; uint8 and int32 are not copied.

        Raises:
            UsageError: a wrong type, shape or index; nothing was appended then.
        """
        native, tables = self._open(), check_tables(tables)
        values, places = check_symbols(symbols), check_index(index, tables.n_tables)
        if values.shape != places.shape:
            raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
        if native.push(tables._native, values, places) != _C.OK:
            raise bad_index(tables.n_tables)

    def push_channels(self, tables: CdfTables, symbols: Any) -> None:
        """Append symbols of shape (``tables.n_tables``, ...): all of channel ``c`` with table ``c``.

        Raises:
            UsageError: a wrong type or shape; nothing was appended then.
        """
        native, tables = self._open(), check_tables(tables)
        values = check_symbols(symbols)
        check_channels(tables, values.shape, "symbols")
        native.push_channels(tables._native, values)

    def finish(self) -> bytes:
        """The coded bytes; empty if no symbol was pushed. The encoder takes nothing more thereafter."""
        native = self._open()
        self._native = None
        return native.finish()


class RangeDecoder:
    """Gives back what an encoder took: the same tables, indices and shapes in the same order.

    Pulls may be of other sizes than the pushes were: only the order of the symbols counts. Damaged data gives
    wrong symbols or CorruptStreamError, never anything else. Under usual tables changed bytes are noticed
    nearly always, at :meth:`close` if not before; but steps with a frequency that is a power of two, such as
    the bits of escapes, carry no redundancy. So the container adds a checksum.

    Args:
        data: bytes-like.
    """

    __slots__ = ("_native",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes):
            if not isinstance(data, (bytearray, memoryview)):
                raise UsageError(f"coded data must be bytes, not {type(data).__name__}")
            data = bytes(data)
        self._native = _C.Decoder(data)

    def _check(self, status: int, tables: CdfTables) -> None:
        if status == _C.OK:
            return
        if status == _C.BAD_INDEX:
            raise bad_index(tables.n_tables)
        raise self._damage(status)

    def _damage(self, status: int) -> CorruptStreamError:
        at = f"at symbol {self._native.position}"
        return CorruptStreamError({
            _C.EXHAUSTED: f"entropy-coded data ends too early, {at}",
            _C.BAD_ESCAPE: f"entropy-coded data holds an impossible escape code {at}",
            _C.LEFT_OVER: f"entropy-coded data does not end with its last symbol, {at}",
            _C.BAD_LAYOUT: "entropy-coded data starts with an impossible state",
        }[status])

    def pull(self, tables: CdfTables, index: Any, out: Any = None) -> Int32Array:
        """The next symbols, int32 in the shape of ``index``.

        Args:
            tables: those that the symbols were pushed with.
            index: integers, 0 to ``tables.n_tables - 1``, as they were pushed.
            out: where to write: a writable int32 array or CPU tensor in C order, of the shape of ``index``.

        Returns:
            ``out`` as a numpy array, or a new one.

        Raises:
            UsageError: a wrong type, shape or index; nothing was taken then.
            CorruptStreamError: no encoder made this data with these tables and indices. All further calls
                raise it, too.
        """
        tables = check_tables(tables)
        places = check_index(index, tables.n_tables)
        target = _target(out, places.shape)
        self._check(self._native.pull(tables._native, places, target), tables)
        return target

    def pull_channels(self, tables: CdfTables, shape: Sequence[int], out: Any = None) -> Int32Array:
        """The next symbols, int32 of shape (``tables.n_tables``, ...): all of channel ``c`` with table ``c``.

        Raises:
            UsageError, CorruptStreamError: as :meth:`pull` does.
        """
        tables, sizes = check_tables(tables), check_shape(shape)
        check_channels(tables, sizes, "shape")
        target = _target(out, sizes)
        self._check(self._native.pull_channels(tables._native, target), tables)
        return target

    def close(self) -> None:
        """Verify that nothing is left and that the state is the one that the encoder started with.

        Raises:
            CorruptStreamError: it is not, or a pull had failed: the data was damaged.
        """
        status = self._native.close()
        if status != _C.OK:
            raise self._damage(status)


def _target(out: Any, shape: tuple[int, ...]) -> Int32Array:
    if out is None:
        return np.empty(shape, dtype=np.int32)
    array = as_array(out, "out")
    if array.dtype != np.int32 or not array.flags.c_contiguous or not array.flags.writeable:
        raise UsageError("out must be a writable int32 array in C order")
    if array.shape != shape:
        raise UsageError(f"out must have the shape {shape}, not {array.shape}")
    return array


def code_length(tables: CdfTables, symbols: Any, index: Any = None) -> float:
    """Ideal cost of symbols under integer tables, in bits, escape codes included.

    :meth:`RangeEncoder.finish` gives about this plus three bytes.

    Args:
        tables, symbols, index: as in :meth:`RangeEncoder.push`, or without index as in ``push_channels``.

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
    first = tables.offsets.astype(np.int64)[places]
    escape = tables.lengths.astype(np.int64)[places] - 2
    last = first + escape - 1
    inside = (first <= values) & (values <= last)
    symbol = np.where(inside, values - first, escape)
    frequency = tables.cdf[places, symbol + 1] - tables.cdf[places, symbol]
    bits = float(tables.precision * values.size - np.log2(frequency).sum())
    above = 2 * (values - last) - 1
    below = 2 * (first - values)
    code = np.where(values > last, above, below)[~inside]
    # frexp is exact here: codes are below 2**53. Its exponent is floor(log2(code)) + 1.
    return bits + float((2 * np.frexp(code.astype(np.float64))[1] - 1).sum())
