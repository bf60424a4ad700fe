"""The choice of kernels, and what narrow symbols must not do to any of them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from lvc.coding import Decoder, Encoder, available_kernels, current_kernels, use_kernels
from lvc.errors import UsageError


def test_there_are_always_portable_kernels():
    assert available_kernels()[:2] == ("warp", "scalar")
    assert len(set(available_kernels())) == len(available_kernels())


def test_use_and_reset(kernels):
    assert current_kernels() == kernels
    use_kernels()
    assert current_kernels() == available_kernels()[-1]


def test_unknown_kernels_are_refused():
    before = current_kernels()
    with pytest.raises(UsageError, match=r"kernels must be one of warp, scalar.*not 'mmx'"):
        use_kernels("mmx")
    with pytest.raises(UsageError, match="named by a string"):
        use_kernels(2)
    assert current_kernels() == before


@pytest.mark.parametrize(("name", "expected"), [("scalar", "scalar"), ("", None), ("no such", None)])
def test_environment(name, expected):
    code = "from lvc.coding import *; print(current_kernels())"
    result = subprocess.run([sys.executable, "-c", code], env={**os.environ, "LVC_SIMD": name},
                            capture_output=True, text=True, check=True)
    assert result.stdout.strip() == (expected or available_kernels()[-1])


EDGES = {
    "within 16 bits": [-16384, 16381, -1, 0],
    "one value too low": [-16385, 16381, -1, 0],
    "one value too high": [-16384, 16382, -1, 0],
    "at the ends of int32": [-(2**31), 2**31 - 3, -1, 0],
}


@pytest.mark.parametrize("offsets", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_symbols_of_every_width_are_coded_alike(kernels, make_tables, offsets, dtype):
    """Kernels subtract in 16 bits where tables allow it: no value outside may come to lie inside.

    Three values a table, so that the last of the second one is 16383, the greatest that is allowed.
    """
    tables = make_tables([[1, 4, 2, 1], [3, 2, 2, 1], [1, 1, 5, 1], [2, 2, 2, 2]], offsets, 3)
    info = np.iinfo(dtype)
    near = [offset + turn + step for offset in offsets for turn in (-65536, 0, 65536) for step in range(-2, 5)]
    values = [value for value in [*near, info.min, info.max, 0, 1, -1] if info.min <= value <= info.max]
    symbols = np.resize(np.array(values, dtype), (4, 2 * len(values) + 33))
    index = np.repeat(np.arange(4, dtype=np.uint8), symbols.shape[1]).reshape(symbols.shape)
    wide = Encoder(tables)
    wide.push(symbols.astype(np.int32), index.astype(np.int32))
    expected = wide.finish()
    for push in (lambda encoder: encoder.push(symbols, index), lambda encoder: encoder.push_channels(symbols)):
        encoder = Encoder(tables)
        push(encoder)
        data = encoder.finish()
        assert data == expected
        decoder = Decoder(data, tables)
        assert np.array_equal(decoder.pull(index), symbols)
        decoder.close()
