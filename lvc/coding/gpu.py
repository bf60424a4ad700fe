"""Chunks coded and decoded on a GPU, where arrays are in its memory: for :mod:`lvc.coding.chunks`.

The extension ``lvc._cuda`` is built with lvc if the environment variable LVC_CUDA is 1 and nvcc is found. Arrays are
whatever has the CUDA array interface (``__cuda_array_interface__``): tensors of PyTorch, arrays of CuPy, Numba and
others.
"""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any, NamedTuple

from lvc import _C
from lvc.coding.intervals import row_arrays
from lvc.coding.tables import CdfTables
from lvc.errors import CorruptStreamError, LvcError, UsageError


class GpuArray(NamedTuple):
    """An array in C order: its address in device memory and its shape."""

    address: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def _interface(value: Any) -> Any:
    try:
        return getattr(value, "__cuda_array_interface__", None)
    except RuntimeError as error:  # PyTorch's, for a tensor that requires a gradient
        raise UsageError(f"an array on a GPU cannot be coded: {next(iter(str(error).splitlines()), '')}") from None


def on_gpu(value: Any) -> bool:
    """Whether it is an array in the memory of a GPU. Raises UsageError for a tensor there that needs a gradient."""
    return _interface(value) is not None


def gpu_array(value: Any, what: str, typestr: str) -> GpuArray:
    """Raises UsageError for an array that is not on a GPU, of another type or not in C order."""
    interface = _interface(value)
    if interface is None:
        raise UsageError(f"{what} must be on the GPU, as the other arrays are")
    if interface["typestr"] != typestr:
        names = {"<i4": "int32", "|u1": "uint8"}
        raise UsageError(f"{what} must be {names[typestr]} on a GPU, not {interface['typestr']}")
    shape = tuple(int(size) for size in interface["shape"])
    steps = interface.get("strides")
    if steps is not None:
        expected, step = [], int(typestr[2:])
        for size in reversed(shape):
            expected.append(step)
            step *= size
        if any(a != b for a, b, size in zip(steps, reversed(expected), shape) if size > 1):
            raise UsageError(f"{what} must be in C order on a GPU")
    return GpuArray(int(interface["data"][0]), shape)


def _kernels() -> Any:
    try:
        return importlib.import_module("lvc._cuda")
    except ImportError as error:
        raise UsageError("arrays are on a GPU, but lvc was built without its CUDA kernels (set LVC_CUDA=1 to have "
                         f"them built by nvcc): {error}") from None


def _tables(kernels: Any, tables: CdfTables) -> Any:
    tables.native()  # raises UsageError for what cannot be coded
    return kernels.Tables(*row_arrays(tables.rows()))


def encode(symbols: Any, index: Any, tables: CdfTables, chunk_symbols: int) -> list[bytes]:
    """The streams of all chunks, as the CPU makes them.

    Raises:
        UsageError: no CUDA kernels, arrays other than int32 symbols and uint8 index of one shape in C order, or an
            index that names no table.
        LvcError: CUDA failed.
    """
    values, places = gpu_array(symbols, "symbols", "<i4"), gpu_array(index, "index", "|u1")
    if values.shape != places.shape:
        raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
    kernels = _kernels()
    try:
        status, chunks = kernels.encode(_tables(kernels, tables), values.address, places.address, values.size,
                                        chunk_symbols)
    except RuntimeError as error:
        raise LvcError(f"coding on the GPU failed: {error}") from None
    _check(status, 0, tables)
    return list(chunks)


def decode(chunks: list[bytes], index: Any, tables: CdfTables, out: Any, chunk_symbols: int) -> Any:
    """Decode into ``out``, a new tensor if it is None and ``index`` a tensor of PyTorch; gives it.

    Raises:
        UsageError: as :func:`encode` does.
        CorruptStreamError: no encoder made these chunks with these tables and indices.
        LvcError: CUDA failed.
    """
    places = gpu_array(index, "index", "|u1")
    if out is None:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(index, torch.Tensor):
            raise UsageError("out must be given where index is on a GPU, but not a tensor of PyTorch")
        out = torch.empty(places.shape, dtype=torch.int32, device=index.device)
    target = gpu_array(out, "out", "<i4")
    if target.shape != places.shape:
        raise UsageError(f"out must have the shape {places.shape}, not {target.shape}")
    kernels = _kernels()
    try:
        status, at = kernels.decode(_tables(kernels, tables), b"".join(chunks), [len(chunk) for chunk in chunks],
                                    places.address, target.address, places.size, chunk_symbols)
    except RuntimeError as error:
        raise LvcError(f"decoding on the GPU failed: {error}") from None
    _check(status, at, tables)
    return out


def _check(status: int, chunk: int, tables: CdfTables) -> None:
    if status == _C.BAD_INDEX:
        raise UsageError(f"index must be from 0 to {tables.n_tables - 1}, the number of tables less one")
    if status != _C.OK:
        raise CorruptStreamError(f"chunk {chunk} of entropy-coded data is damaged")
