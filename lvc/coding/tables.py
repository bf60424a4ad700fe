"""Integer CDF tables: what encoder and decoder must share to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lvc import _C
from lvc.errors import UsageError

if TYPE_CHECKING:
    from lvc.coding.intervals import Row

MIN_PRECISION = _C.MIN_PRECISION
MAX_PRECISION = _C.MAX_PRECISION

Int32Array = npt.NDArray[np.int32]


def as_array(value: Any, what: str) -> npt.NDArray[Any]:
    """Numpy arrays, torch CPU tensors and anything else with ``__array__``; never lists. No copy."""
    if not hasattr(value, "__array__"):
        raise UsageError(f"{what} must be a numpy array or a CPU tensor, not {type(value).__name__}")
    try:
        return np.asarray(value)
    except Exception as error:  # torch raises several types for CUDA, gradient or sparse tensors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"{what} cannot be seen as a numpy array: {reason}") from None


def as_int32(value: Any, what: str, ndim: int) -> Int32Array:
    """An integer array of ``ndim`` dimensions as int32, C order; UsageError if a value does not fit."""
    array = as_array(value, what)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} must hold integers, not {array.dtype}")
    if array.ndim != ndim:
        raise UsageError(f"{what} must have {ndim} dimensions, not {array.ndim}")
    info = np.iinfo(np.int32)
    if array.size and not (info.min <= int(array.min()) and int(array.max()) <= info.max):
        raise UsageError(f"{what} must fit 32 bits")
    return np.array(array, dtype=np.int32, order="C")


def check_precision(precision: Any) -> int:
    if isinstance(precision, bool) or not isinstance(precision, (int, np.integer)):
        raise UsageError(f"precision must be an integer, not {type(precision).__name__}")
    if not MIN_PRECISION <= precision <= MAX_PRECISION:
        raise UsageError(f"precision must be from {MIN_PRECISION} to {MAX_PRECISION}, not {precision}")
    return int(precision)


class CdfTables:
    """A set of integer CDFs over integers, checked once, immutable, shareable between threads.

    Row ``t`` holds ``lengths[t]`` entries ``0 = cdf[t, 0] < cdf[t, 1] < ... = 2**precision``, hence
    ``lengths[t] - 1`` symbols. Symbol ``s`` has frequency ``cdf[t, s + 1] - cdf[t, s]`` and stands for the
    value ``offsets[t] + s``, except for the last symbol, the escape: it stands for all other int32 values,
    which follow it as Exp-Golomb codes. So every row has at least one value and the escape (length 3).

    Args:
        cdf: integers, shape (n_tables, max_length); entries from ``lengths[t]`` on are ignored.
        lengths: integers, shape (n_tables,), each from 3 to min(max_length, 2**precision + 1).
        offsets: integers, shape (n_tables,).
        precision: bits of a probability, 2 to 16; the total of each row is ``2**precision``.

    Raises:
        UsageError: an array of the wrong kind or shape, or a row that breaks a rule above.
    """

    __slots__ = ("_digest", "_native", "_rows", "cdf", "lengths", "native_v1", "offsets", "precision")

    cdf: Int32Array
    """Shape (n_tables, max(lengths)), zero from ``lengths[t]`` on; read-only, as are the two below."""
    lengths: Int32Array
    offsets: Int32Array
    precision: int
    native_v1: _C.TablesV1
    """For :class:`~lvc.coding.v1.DecoderV1`."""
    _native: _C.Tables | None
    _rows: list[Row] | None
    _digest: bytes | None

    def __init__(self, cdf: Any, lengths: Any, offsets: Any, precision: int) -> None:
        precision = check_precision(precision)
        rows = as_int32(cdf, "cdf", 2)
        n = as_int32(lengths, "lengths", 1)
        first = as_int32(offsets, "offsets", 1)
        if not len(rows) == len(n) == len(first):
            raise UsageError(f"cdf has {len(rows)} rows, lengths {len(n)} and offsets {len(first)} entries: "
                             "they must be as many")
        if (rows < 0).any() or (n < 0).any():
            raise UsageError("cdf and lengths must not be negative")
        rows = np.ascontiguousarray(rows[:, : n.max(initial=0)])
        rows[np.arange(rows.shape[1]) >= n[:, None]] = 0
        try:
            native = _C.TablesV1(rows.view(np.uint32), n.view(np.uint32), first, precision)
        except ValueError as error:
            raise UsageError(str(error)) from None
        for array in (rows, n, first):
            array.setflags(write=False)
        for name, value in (
            ("cdf", rows),
            ("lengths", n),
            ("offsets", first),
            ("precision", precision),
            ("native_v1", native),
            ("_native", None),
            ("_rows", None),
            ("_digest", None),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise UsageError("CdfTables cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise UsageError("CdfTables cannot be changed")

    @property
    def n_tables(self) -> int:
        return len(self.lengths)

    def rows(self) -> list[Row]:
        """The intervals of 14 bits that symbols are coded with; made at the first call.

        Raises:
            UsageError: a row with more than 2**14 symbols that are not too rare to be kept.
        """
        if self._rows is None:
            from lvc.coding.intervals import coding_rows

            object.__setattr__(self, "_rows", coding_rows(self))
        assert self._rows is not None
        return self._rows

    def native(self) -> _C.Tables:
        """The same for the kernels. Raises UsageError as :meth:`rows` does, or with over 2**20 symbols in
        all."""
        if self._native is None:
            from lvc.coding.intervals import native_tables

            object.__setattr__(self, "_native", native_tables(self.rows()))
        assert self._native is not None
        return self._native

    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of all that decides about coded bytes; equal tables have equal digests."""
        digest = self._digest
        if digest is None:
            hasher = hashlib.sha256(b"lvc.CdfTables\0")
            hasher.update(np.array([self.precision, *self.cdf.shape], dtype="<i4").tobytes())
            for array in (self.lengths, self.offsets, self.cdf):
                hasher.update(array.astype("<i4").tobytes())
            digest = hasher.digest()
            object.__setattr__(self, "_digest", digest)
        return digest

    def arrays(self) -> dict[str, Int32Array]:
        """What to store: int32 ``cdf``, ``lengths``, ``offsets`` and ``precision`` (shape (1,))."""
        return {
            "cdf": self.cdf.copy(),
            "lengths": self.lengths.copy(),
            "offsets": self.offsets.copy(),
            "precision": np.array([self.precision], dtype=np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> CdfTables:
        """The tables that :meth:`arrays` gave. Raises UsageError if an array is missing or breaks a rule."""
        for name in ("cdf", "lengths", "offsets", "precision"):
            if name not in arrays:
                raise UsageError(f"stored tables lack {name}")
        precision = as_int32(arrays["precision"], "precision", 1)
        if precision.shape != (1,):
            raise UsageError(f"precision must be stored as one integer, not {len(precision)}")
        return cls(arrays["cdf"], arrays["lengths"], arrays["offsets"], int(precision[0]))

    def __eq__(self, other: object) -> bool:
        return self.digest() == other.digest() if isinstance(other, CdfTables) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return f"CdfTables({self.n_tables} tables, {self.precision} bits, digest {self.digest().hex()[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return CdfTables, (self.cdf, self.lengths, self.offsets, self.precision)
