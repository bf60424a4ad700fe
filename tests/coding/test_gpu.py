"""Arrays on a GPU: what is checked before any kernel runs, the way to the kernels and back, and the bytes."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from lvc import _C
from lvc.coding import decode_chunks, encode_chunks, gaussian_tables
from lvc.errors import CorruptStreamError, LvcError, UsageError

TABLES = gaussian_tables(np.geomspace(0.11, 64, 64))


class Stand:
    """An array on the CPU that says it is on a GPU."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 3}


def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    index = rng.integers(0, 64, (2, n // 2)).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(index.shape) * np.geomspace(0.11, 64, 64)[index] * 1.3).astype(np.int32)
    symbols.flat[:2] = (-(2**31), 2**31 - 1)
    return symbols, index


def array_at(address: int, n: int, kind: type) -> np.ndarray:
    return np.frombuffer((kind * n).from_address(address), dtype=kind)


def encode(tables, symbols, index, n, chunk_symbols):
    values, places = array_at(symbols, n, ctypes.c_int32), array_at(index, n, ctypes.c_uint8)
    chunks = []
    for begin in range(0, n, chunk_symbols):
        encoder = _C.Encoder()
        part = slice(begin, begin + chunk_symbols)
        status = encoder.push(tables, values[part].astype(np.int32), places[part].astype(np.uint8))
        if status != _C.OK:
            return status, []
        chunks.append(encoder.finish())
    return _C.OK, chunks


def decode(tables, data, sizes, index, out, n, chunk_symbols):
    target, places = array_at(out, n, ctypes.c_int32), array_at(index, n, ctypes.c_uint8)
    for k, size in enumerate(sizes):
        part = slice(k * chunk_symbols, (k + 1) * chunk_symbols)
        decoder = _C.Decoder(data[:size])
        symbols = np.empty(len(places[part]), np.int32)
        status = decoder.pull(tables, places[part].astype(np.uint8), symbols) or decoder.close()
        if status != _C.OK:
            return status, k
        target[part] = symbols
        data = data[size:]
    return _C.OK, 0


@pytest.fixture
def stand_in(monkeypatch):
    """The interface of lvc._cuda, on the CPU."""
    module = types.SimpleNamespace(Tables=_C.Tables, encode=encode, decode=decode)
    monkeypatch.setitem(sys.modules, "lvc._cuda", module)


@pytest.mark.parametrize(("n", "chunk_symbols"), [(2, 1000), (5000, 1000), (4096, 1024)])
def test_arrays_reach_the_kernels_and_come_back(stand_in, n, chunk_symbols):
    symbols, index = sample(n)
    data = encode_chunks(Stand(symbols), Stand(index), TABLES, chunk_symbols=chunk_symbols)
    assert data == encode_chunks(symbols, index, TABLES, chunk_symbols=chunk_symbols)
    out = Stand(np.empty_like(symbols))
    assert decode_chunks(data, Stand(index), TABLES, out=out) is out
    assert np.array_equal(out.array, symbols)


def test_nothing_is_no_bytes(stand_in):
    symbols, index = Stand(np.empty(0, np.int32)), Stand(np.empty(0, np.uint8))
    assert encode_chunks(symbols, index, TABLES) == b""
    decode_chunks(b"", index, TABLES, out=symbols)


def test_what_kernels_report_is_raised(stand_in):
    symbols, index = sample(4000)
    data = encode_chunks(symbols, index, TABLES, chunk_symbols=1000)
    out = Stand(np.empty_like(symbols))
    with pytest.raises(CorruptStreamError, match="chunk 3 of entropy-coded data is damaged"):
        decode_chunks(data[:-9], Stand(index), TABLES, out=out)
    with pytest.raises(UsageError, match="index must be from 0 to 63"):
        encode_chunks(Stand(symbols), Stand(np.full_like(index, 64)), TABLES)
    with pytest.raises(UsageError, match="index must be from 0 to 63"):
        decode_chunks(data, Stand(np.full_like(index, 64)), TABLES, out=out)


def test_wrong_arrays_are_refused(stand_in):
    symbols, index = sample(100)
    out = Stand(np.empty_like(symbols))
    for values, places, message in (
        (Stand(symbols), index, "index must be on the GPU"),
        (symbols, Stand(index), "symbols must be on the GPU"),
        (Stand(symbols.astype(np.int16)), Stand(index), "symbols must be int32 on a GPU, not <i2"),
        (Stand(symbols), Stand(index.astype(np.int64)), "index must be uint8 on a GPU, not <i8"),
        (Stand(symbols[:, ::2]), Stand(index[:, ::2].copy()), "symbols must be in C order"),
        (Stand(symbols), Stand(index[:1].copy()), "must have one shape"),
    ):
        with pytest.raises(UsageError, match=message):
            encode_chunks(values, places, TABLES)
    data = encode_chunks(symbols, index, TABLES)
    with pytest.raises(UsageError, match="out must be given"):
        decode_chunks(data, Stand(index), TABLES)
    with pytest.raises(UsageError, match="out must be on the GPU"):
        decode_chunks(data, Stand(index), TABLES, out=out.array)
    with pytest.raises(UsageError, match=r"out must have the shape \(2, 50\), not \(1, 50\)"):
        decode_chunks(data, Stand(index), TABLES, out=Stand(out.array[:1]))


def test_arrays_that_cannot_be_had_are_refused():
    class NeedsGradient:
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.\nMore")

    with pytest.raises(UsageError, match=r"cannot be coded: Can't get .* requires grad\.$"):
        encode_chunks(NeedsGradient(), NeedsGradient(), TABLES)


def test_kernels_that_were_not_built_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lvc._cuda", None)
    symbols, index = sample(10)
    with pytest.raises(UsageError, match="built without its CUDA kernels"):
        encode_chunks(Stand(symbols), Stand(index), TABLES)
    data = encode_chunks(symbols, index, TABLES)
    with pytest.raises(UsageError, match="built without its CUDA kernels"):
        decode_chunks(data, Stand(index), TABLES, out=Stand(symbols))


if importlib.util.find_spec("lvc._cuda") is not None:

    def test_memory_of_the_cpu_is_refused():
        """With a GPU because it is not in its memory, without one because there is none."""
        symbols, index = sample(10)
        with pytest.raises(LvcError, match="coding on the GPU failed: CUDA"):
            encode_chunks(Stand(symbols), Stand(index), TABLES)

    if torch.cuda.is_available():

        @pytest.mark.cuda
        @pytest.mark.parametrize("n", [2, 1000, 60_000, 1_000_000])
        def test_the_gpu_gives_the_bytes_of_the_cpu(n):
            symbols, index = sample(n)
            there, index_there = torch.from_numpy(symbols).cuda(), torch.from_numpy(index).cuda()
            data = encode_chunks(there, index_there, TABLES, chunk_symbols=300_000)
            assert data == encode_chunks(symbols, index, TABLES, chunk_symbols=300_000)
            assert torch.equal(decode_chunks(data, index_there, TABLES), there)
            assert torch.equal(decode_chunks(data, index_there, TABLES, out=torch.empty_like(there)), there)
            damaged = bytearray(data)
            damaged[len(data) // 2] ^= 16
            with pytest.raises(CorruptStreamError):  # noqa: PT012
                decoded = decode_chunks(bytes(damaged), index_there, TABLES)
                raise CorruptStreamError("" if not torch.equal(decoded, there) else "the same")
            with pytest.raises(UsageError, match="index must be from 0 to 63"):
                encode_chunks(there, torch.full_like(index_there, 64), TABLES)
            with pytest.raises(UsageError, match="index must be from 0 to 63"):
                decode_chunks(data, torch.full_like(index_there, 64), TABLES)
