"""Large arrays in chunks: streams of their own one after the other, so that threads, or warps of a GPU,
share the work.

A chunk costs its length (one to four bytes) and its lanes (78 bytes with 32 of them); what is chunked
should have many thousand symbols a chunk. Layout: the number of symbols a chunk and the sizes of all chunks
but the last in bytes, as unsigned LEB128 (seven bits a byte, lowest first, the top bit set on all but the
last byte), then the chunks. Chunk ``k`` holds the symbols from ``k * chunk_symbols`` on, in C order. No
symbols are no bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from lvc.coding import gpu
from lvc.coding.coder import (
    Decoder,
    Encoder,
    _target,
    bad_index,
    check_data,
    check_index,
    check_symbols,
    check_tables,
)
from lvc.coding.tables import CdfTables
from lvc.errors import CorruptStreamError, UsageError

CHUNK_SYMBOLS = 1 << 18
"""Symbols a chunk, unless told otherwise."""

_MAX_CHUNK_SYMBOLS = 1 << 32

Item = TypeVar("Item")


def encode_chunks(symbols: Any, index: Any, tables: CdfTables, *, chunk_symbols: int = CHUNK_SYMBOLS,
                  threads: int | None = None) -> bytes:
    """Code symbols in chunks.

    Args:
        symbols, index, tables: as :meth:`Encoder.push <lvc.coding.coder.Encoder.push>` takes them; or int32 symbols
            and uint8 index in the memory of a GPU, in C order, which are coded there (tensors of PyTorch and
            others that have ``__cuda_array_interface__``). The bytes are the same.
        chunk_symbols: symbols a chunk, 1 to 2**32.
        threads: chunks coded at the same time; as many as there are CPUs if None.

    Raises:
        UsageError: a wrong type, shape, index or number; arrays on a GPU, but no CUDA kernels.
        LvcError: CUDA failed.
    """
    tables = check_tables(tables)
    size = _check_count(chunk_symbols, _MAX_CHUNK_SYMBOLS, "chunk_symbols")
    if gpu.on_gpu(symbols) or gpu.on_gpu(index):
        return _joined(size, gpu.encode(symbols, index, tables, size))
    values, places = check_symbols(symbols), check_index(index, tables.n_tables)
    if values.shape != places.shape:
        raise UsageError(f"symbols and index must have one shape, not {values.shape} and {places.shape}")
    values, places = values.reshape(-1), places.reshape(-1)

    def encode(begin: int) -> bytes:
        encoder = Encoder(tables)
        encoder.push(values[begin : begin + size], places[begin : begin + size])
        return encoder.finish()

    return _joined(size, _map(encode, list(range(0, values.size, size)), threads))


def _joined(size: int, chunks: list[bytes]) -> bytes:
    if not chunks:
        return b""
    return b"".join([_uvarint(size), *(_uvarint(len(chunk)) for chunk in chunks[:-1]), *chunks])


def decode_chunks(data: bytes | bytearray | memoryview, index: Any, tables: CdfTables, *, out: Any = None,
                  threads: int | None = None) -> Any:
    """Decode what :func:`encode_chunks` gave, and verify it.

    Args:
        data: bytes-like.
        index, tables: as they were when the symbols were coded. An index (uint8, C order) in the memory of a GPU is
            decoded there, wherever it was coded.
        out: where to write, as for :meth:`Decoder.pull <lvc.coding.coder.Decoder.pull>`; where the index is.
        threads: chunks decoded at the same time; as many as there are CPUs if None.

    Returns:
        int32 symbols in the shape of ``index``: ``out``, or a new array (a tensor on the GPU, if index is one).

    Raises:
        UsageError: a wrong type, shape or index; arrays on a GPU, but no CUDA kernels.
        CorruptStreamError: no encoder made this data with these tables and indices.
        LvcError: CUDA failed.
    """
    tables = check_tables(tables)
    if gpu.on_gpu(index):
        n = gpu.gpu_array(index, "index", "|u1").size
        size, parts = _split(memoryview(check_data(data)).cast("B"), n)
        return gpu.decode([bytes(part) for part in parts], index, tables, out, size)
    places = check_index(index, tables.n_tables)
    if places.size and not 0 <= int(places.min()) <= int(places.max()) < tables.n_tables:
        raise bad_index(tables.n_tables)
    target = _target(out, places.shape)
    if out is not None and np.may_share_memory(places, target):
        places = places.copy()
    flat, flat_places = target.reshape(-1), places.reshape(-1)
    size, parts = _split(memoryview(check_data(data)).cast("B"), places.size)

    def decode(k: int) -> None:
        decoder = Decoder(parts[k], tables)
        decoder.pull(flat_places[k * size : (k + 1) * size], out=flat[k * size : (k + 1) * size])
        decoder.close()

    _map(decode, list(range(len(parts))), threads)
    return target


def _split(data: memoryview, n_symbols: int) -> tuple[int, list[memoryview]]:
    if n_symbols == 0:
        if len(data):
            raise CorruptStreamError(f"{len(data)} bytes of entropy-coded chunks hold no symbols")
        return 1, []
    size, position = _read_uvarint(data, 0)
    if not 1 <= size <= _MAX_CHUNK_SYMBOLS:
        raise CorruptStreamError(f"chunks of {size} symbols are not allowed")
    count = -(-n_symbols // size)
    if count > len(data):
        raise CorruptStreamError("entropy-coded chunks end too early")
    sizes = []
    for _ in range(count - 1):
        length, position = _read_uvarint(data, position)
        sizes.append(length)
    parts = []
    for length in sizes:
        if length > len(data) - position:
            raise CorruptStreamError("entropy-coded chunks end too early")
        parts.append(data[position : position + length])
        position += length
    return size, [*parts, data[position:]]


def _map(function: Callable[[int], Item], items: list[int], threads: int | None) -> list[Item]:
    n = (os.cpu_count() or 1) if threads is None else _check_count(threads, 1 << 16, "threads")
    if min(n, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(n, len(items))) as pool:
        return list(pool.map(function, items))


def _check_count(value: Any, most: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
        raise UsageError(f"{what} must be an integer from 1 to {most}, not {value!r}")
    return int(value)


def _uvarint(value: int) -> bytes:
    data = bytearray()
    while value >= 128:
        data.append(value % 128 + 128)
        value //= 128
    return bytes([*data, value])


def _read_uvarint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if byte == 0 and shift:
                break
            return value, position
    raise CorruptStreamError("the sizes of entropy-coded chunks are damaged")
